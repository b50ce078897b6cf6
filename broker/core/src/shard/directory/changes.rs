//! Changes to channel records. A change is first committed to the store, then applied to the tables, and finally
//! answered.
//!
//! ```text
//!  answer ──► alter / create ──► Store::submit ──► (the store's thread) ──► Letter::Committed ──► conclude ──► Answer
//!               │                                                              │
//!               └ a change to this channel is in progress: queued after it     └ the next queued change
//! ```
//! A creation or update is invisible until it is durable. At most one change per channel is in progress at a time, so
//! concurrent read-modify-write cycles cannot interleave.

use crate::id::{Account, CallRef, ChannelKey, Identity};
use crate::limits::CHANGES_WAITING_PER_CHANNEL_MAX;
use crate::record::{Holding, Record};
use crate::registry::{Change, StoreError, Submitted};
use crate::shard::calls::letters::WaitingQueries;
use crate::shard::calls::responses::{absent, internal_failure, nobody};
use crate::shard::context::Context;
use crate::shard::directory::waiting_callers::PollChange;
use crate::shard::directory::{BegunChange, ChangeStep, ChangeUnderWay, Changes, Directory};
use crate::shard::shares::too_busy;
use crate::shard::todo::{Each, Todo};
use crate::shard::{Alteration, Answer, Query, QueryKind};
use crate::time::Wall;
use crate::{channel::Life, check::Check, journal::EndReason, refusal::Refusal};
use codec::control::{ChannelStatus, CreateSignalingChannel, ErrorKind, TAGS_MAX};
use codec::identifiers::{ChannelArn, ChannelName};
use std::collections::VecDeque;
use std::sync::Arc;

impl Directory {
    /// Inserts a new channel into the tables, in the creating state. For `elsewhere`, see [`Query::elsewhere`].
    pub(crate) fn create(
        &mut self,
        cx: &mut Context,
        identity: &Identity,
        create: CreateSignalingChannel,
        elsewhere: Holding,
    ) -> Result<BegunChange, Refusal> {
        if self.key_of(identity).is_some() {
            let message = "A channel with this name exists already in this account and region.";
            let kind = ErrorKind::ResourceInUse;
            return Err(Refusal::new(Check::ChannelExists, kind, message));
        }
        // Must be later than any earlier channel's creation time, even within the same millisecond or after the clock
        // has been set back.
        let least = Wall(self.changes.last_created.0.saturating_add(1));
        let created = cx.at.wall.max(least);
        let arn = ChannelName::parse(identity.name()).ok().and_then(|name| {
            ChannelArn::build(
                PARTITION,
                identity.region(),
                identity.account(),
                name,
                created.0,
            )
            .ok()
        });
        let record = Record {
            arn: arn.ok_or_else(internal_failure)?,
            ttl_seconds: create.ttl_seconds,
            created,
            version: cx.telemetry.version(),
            tags: create.tags.into(),
        };
        let kind = ErrorKind::AccountChannelLimitExceeded;
        self.reserve(identity.tenant(), record.holding(), elsewhere, kind)?;
        self.changes.note_created(created);
        let key = self.insert_channel(record, Life::Creating);
        let key = key.ok_or_else(|| {
            let message = "The server has as many channels as it may have.";
            let kind = ErrorKind::AccountChannelLimitExceeded;
            Refusal::new(Check::ChannelsFull, kind, message)
        })?;
        Ok((key, ChangeStep::Create))
    }

    /// Queues a change if another change to the same channel is in progress. Returns the query if there is none, or if
    /// the query is not a change.
    ///
    /// # Errors
    /// Returns the refusal if the channel's queue is full or the account's capacity for changes is exhausted.
    pub(crate) fn queue(&mut self, from: CallRef, query: Query) -> Result<Option<Query>, Refusal> {
        let key = match &query.kind {
            QueryKind::Change(arn, _) => self.find(arn),
            QueryKind::Look(..) | QueryKind::Create(..) | QueryKind::Offer { .. } => None,
        };
        let Changes {
            under_way, places, ..
        } = &mut self.changes;
        let Some(change) = key.and_then(|key| under_way.get_mut(&key)) else {
            return Ok(Some(query));
        };
        if change.waiting.len() >= CHANGES_WAITING_PER_CHANNEL_MAX {
            let message = "Too many changes of this channel are under way. Try again.";
            return Err(Refusal::limited(Check::ChangesFull, message));
        }
        if !places.take(from.account) {
            return Err(too_busy());
        }
        change.waiting.push_back((from, Box::new(query)));
        Ok(None)
    }

    /// Starts a change to a channel that has no change in progress. If the new record is longer than the old one,
    /// immediately reserves the difference. For `elsewhere`, see [`Query::elsewhere`].
    pub(crate) fn alter(
        &mut self,
        cx: &mut Context,
        arn: &ChannelArn,
        alteration: Alteration,
        elsewhere: Holding,
    ) -> Result<BegunChange, Refusal> {
        let Some(key) = self.find(arn) else {
            return Err(self.not_found(&Identity::of(arn), Some(arn)));
        };
        let channel = self.channel(key);
        let channel = channel.ok_or_else(|| absent(Check::ChannelAbsent))?;
        let before = channel.record.bytes();
        let step = match altered(&channel.record, alteration, cx)? {
            Some(record) => {
                let after = record.bytes();
                if after > before {
                    let (identity, kind) =
                        (Identity::of(&record.arn), ErrorKind::ClientLimitExceeded);
                    let (channels, bytes) = (0, (after - before) as u64);
                    let more = Holding { channels, bytes };
                    self.reserve(identity.tenant(), more, elsewhere, kind)?;
                    (self.holdings).change(identity.tenant(), before, after);
                }
                ChangeStep::Replace(record)
            }
            None => {
                self.begin_deletion(key);
                ChangeStep::Delete
            }
        };
        Ok((key, step))
    }

    /// Deletes a channel without reporting the result to a caller. Returns `false` if another change to the channel is
    /// in progress or the store refuses the change.
    pub(crate) fn delete(&mut self, cx: &mut Context, key: ChannelKey) -> bool {
        if self.changes.is_changing(key) {
            return false;
        }
        if self.channel(key).is_none() {
            return true;
        }
        self.begin_deletion(key);
        self.submit(cx, (key, ChangeStep::Delete), None)
    }

    /// Submits a change to the store. The change is then in progress, and `caller` will receive its result. Returns
    /// `false` if the store refuses the change or the channel no longer exists.
    pub(crate) fn submit(
        &mut self,
        cx: &mut Context,
        (key, step): BegunChange,
        caller: Option<CallRef>,
    ) -> bool {
        let Some(channel) = self.channels.get(key) else {
            return false;
        };
        let change = match &step {
            ChangeStep::Create => Change::Put(&channel.record),
            ChangeStep::Replace(record) => Change::Put(record),
            ChangeStep::Delete => Change::Remove(&channel.record.arn),
        };
        let of_channel = || Account::of(&channel.record.arn);
        let account = caller.map_or_else(of_channel, |caller| caller.account);
        let changes = &mut self.changes;
        let has_place = changes.places.take(account);
        let submitted = if has_place {
            changes.store.submit(key, change)
        } else {
            Err(StoreError::Busy)
        };
        let changing = ChangeUnderWay {
            caller,
            account: has_place.then_some(account),
            step,
            waiting: VecDeque::new(),
        };
        changes.under_way.insert(key, changing);
        let result = match submitted {
            Ok(Submitted::Later) => return true,
            Ok(Submitted::Kept) => Ok(()),
            Err(error) => Err(error),
        };
        let is_taken = result.is_ok();
        cx.todo.push(Todo::Committed(key, result));
        is_taken
    }
}

/// The partition in the ARNs of channels created here.
const PARTITION: &str = "aws";

// Changes in progress, from submission until the store reports the result, and the changes queued behind them.

impl Changes {
    /// Returns whether a change to this channel is in progress.
    pub(crate) fn is_changing(&self, key: ChannelKey) -> bool {
        self.under_way.contains_key(&key)
    }

    /// Returns whether a change to any channel is in progress.
    pub(crate) fn has_any(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Records a creation time, so that channels created later get later times.
    pub(crate) fn note_created(&mut self, created: Wall) {
        self.last_created = self.last_created.max(created);
    }

    /// Queues changes behind the change in progress on a channel. Returns `false` if there is none.
    pub(crate) fn wait_on(&mut self, key: ChannelKey, waiting: &mut WaitingQueries) -> bool {
        let Some(next) = self.under_way.get_mut(&key) else {
            return false;
        };
        next.waiting.append(waiting);
        true
    }

    /// Takes the next change from a channel's queue and frees the capacity that it used.
    pub(crate) fn pop_from(&mut self, queue: &mut WaitingQueries) -> Option<(CallRef, Box<Query>)> {
        let (caller, query) = queue.pop_front()?;
        self.places.give_back(caller.account);
        Some((caller, query))
    }

    /// Marks a channel's creation as in progress. The creation is submitted to the store later, in a batch.
    pub(crate) fn creation_is_kept(&mut self, key: ChannelKey) {
        let kept = ChangeUnderWay {
            caller: None,
            account: None,
            step: ChangeStep::Create,
            waiting: VecDeque::new(),
        };
        self.under_way.insert(key, kept);
    }

    /// Returns whether the channel's creation is in progress and was started by [`Self::creation_is_kept`], that is,
    /// without a caller and as part of a batch.
    pub(crate) fn is_name_kept(&self, key: ChannelKey) -> bool {
        let change = self.under_way.get(&key);
        change.is_some_and(|it| {
            matches!(it.step, ChangeStep::Create) && it.caller.is_none() && it.account.is_none()
        })
    }

    /// Removes a channel's change from the changes in progress, whether it succeeded or failed.
    pub(crate) fn take_change(&mut self, key: ChannelKey) -> Option<ChangeUnderWay> {
        let changing = self.under_way.remove(&key)?;
        if let Some(account) = changing.account {
            self.places.give_back(account);
        }
        if let ChangeStep::Delete = changing.step {
            self.deleting -= 1;
        }
        Some(changing)
    }
}

impl Directory {
    /// Marks a channel as being deleted, so that clients can no longer connect. [`Directory::submit`] submits the
    /// deletion itself.
    fn begin_deletion(&mut self, key: ChannelKey) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.state = Life::Deleting;
            self.changes.deleting += 1;
        }
        self.publish(key);
    }
}

// The result of a change. A durable change is applied, and any other is reverted. Then the caller is answered.

impl Directory {
    /// Applies or reverts a change after the store has reported its result, and answers the caller.
    pub(crate) fn committed(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        result: Result<(), StoreError>,
    ) {
        let Some(changing) = self.changes.take_change(key) else {
            return;
        };
        let answer = match result {
            Ok(()) => self.make(cx, key, changing.step),
            Err(error) => {
                let refusal = not_durable(&error);
                if let StoreError::Failed(text) = error {
                    cx.telemetry.journal().trouble(cx.at.now, text);
                }
                self.unmake(cx, key, &changing.step);
                refusal.into()
            }
        };
        if let Some(caller) = changing.caller {
            cx.todo.answer(caller, answer);
        }
        if !changing.waiting.is_empty() {
            let waiting = Box::new(changing.waiting);
            cx.todo.push(Todo::ServeWaiting(key, waiting));
        }
    }

    /// Applies a durable change.
    fn make(&mut self, cx: &mut Context, key: ChannelKey, step: ChangeStep) -> Answer {
        let Some(channel) = self.channel(key) else {
            return absent(Check::ChannelAbsent).into();
        };
        match step {
            ChangeStep::Create => {
                let record = Arc::clone(&channel.record);
                self.activate(key);
                Answer::Record(record, ChannelStatus::Active)
            }
            ChangeStep::Replace(record) => {
                if record.tags != channel.record.tags {
                    cx.todo.push(Todo::TagsChanged(key));
                }
                self.replace_record(key, record);
                Answer::Done
            }
            ChangeStep::Delete => {
                self.end_channel(cx, key, EndReason::ChannelDeleted);
                Answer::Done
            }
        }
    }

    /// Reverts a change that could not be made durable.
    fn unmake(&mut self, cx: &mut Context, key: ChannelKey, step: &ChangeStep) {
        let state = self.channel(key).map(|channel| channel.state);
        match step {
            ChangeStep::Create if state == Some(Life::Creating) => {
                if let Some(channel) = self.remove_channel(cx, key) {
                    cx.todo.push(Todo::ChannelWent(Box::new((key, channel))));
                }
            }
            ChangeStep::Create => {}
            ChangeStep::Replace(record) => self.not_replaced(key, record),
            ChangeStep::Delete => self.activate(key),
        }
    }

    /// Removes a channel that was deleted or whose slot is moving to another node. Refuses the channel's calls,
    /// withdraws its pending messages, and frees its name. Its connections are closed with `reason`, a limited number
    /// per turn. See codec/PROTOCOL.md, CHAN-5.
    pub(crate) fn end_channel(&mut self, cx: &mut Context, key: ChannelKey, reason: EndReason) {
        let (refusal, change) = if reason == EndReason::ChannelDeleted {
            (absent(Check::ChannelDeleting), PollChange::Deleted)
        } else {
            (nobody(), PollChange::State)
        };
        self.fail_calls(cx, key, &refusal);
        self.polls.note(key, change);
        let Some(channel) = self.remove_channel(cx, key) else {
            return;
        };
        let members = channel
            .live()
            .map_or_else(Vec::new, |live| live.members.all());
        cx.todo.push(Todo::ChannelWent(Box::new((key, channel))));
        cx.todo.each(Each::close(members, reason));
    }
}

/// Returns the error for a change that could not be made durable.
fn not_durable(error: &StoreError) -> Refusal {
    let (check, message) = match error {
        StoreError::Busy => (
            Check::ChangesFull,
            "Too many changes are under way. Try again.",
        ),
        StoreError::Failed(_) => (
            Check::StoreFailed,
            "The registry takes no changes at the moment. Try again later.",
        ),
    };
    Refusal::unavailable(check, message)
}

// The effect of an alteration on a channel's record.

/// Returns the altered record, or `None` if the alteration deletes the channel.
fn altered(record: &Record, by: Alteration, cx: &mut Context) -> Result<Option<Record>, Refusal> {
    let mut next = record.clone();
    match by {
        Alteration::Update(current, ttl_seconds) => {
            check_version(record, Some(&current))?;
            next.ttl_seconds = ttl_seconds;
            next.version = cx.telemetry.version();
        }
        Alteration::Tag(tags) => {
            let mut all = next.tags.into_vec();
            for tag in tags {
                match all.iter_mut().find(|old| old.key == tag.key) {
                    Some(old) => old.value = tag.value,
                    None => all.push(tag),
                }
            }
            next.tags = all.into();
            if next.tags.len() > TAGS_MAX {
                let message = format!("A channel has at most {TAGS_MAX} tags.");
                let kind = ErrorKind::TagsPerResourceExceededLimit;
                return Err(Refusal::new(Check::TagsFull, kind, message));
            }
        }
        Alteration::Untag(keys) => {
            let mut left = next.tags.into_vec();
            left.retain(|tag| !keys.contains(&tag.key));
            next.tags = left.into();
        }
        Alteration::Delete(version) => {
            check_version(record, version.as_deref())?;
            return Ok(None);
        }
    }
    Ok(Some(next))
}

fn check_version(record: &Record, version: Option<&str>) -> Result<(), Refusal> {
    if version.is_none_or(|version| version == record.version.as_str()) {
        return Ok(());
    }
    let message = "CurrentVersion is not the version of the channel. Describe it again.";
    let check = Check::ChannelVersionStale;
    Err(Refusal::new(check, ErrorKind::VersionMismatch, message))
}
