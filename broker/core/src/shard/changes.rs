//! Changes of the registry: made durable first, then made, then answered.
//!
//! ```text
//!  answer ──► alter / create ──► Store::submit ──► (the store's thread) ──► Letter::Committed ──► conclude ──► Answer
//!               │                                                              │
//!               └ a change of this channel is under way: waits behind it       └ the next one that waits
//! ```
//! Until a change is durable nobody sees it: neither a channel that is being created nor an update.
//! One change of a channel is under way at a time, so that what is read, changed and written cannot be mixed up.

use super::altered::altered;
use super::books::Books;
use super::directory::Directory;
use super::home::absent;
use super::sockets::Sockets;
use super::{Alteration, Answer, Fault, Query, QueryKind};
use super::{alexa, answers, census, home, kept, leave};
use crate::channel::Life;
use crate::check::Check;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::journal::EndReason;
use crate::limits::{CHANGES_PER_SHARD_MAX, CHANGES_WAITING_PER_CHANNEL_MAX};
use crate::record::{Record, Version};
use crate::registry::{Change, Store, StoreError, Submitted};
use crate::time::{Moment, Wall};
use ahash::RandomState;
use codec::aws::{ChannelArn, ChannelName};
use codec::control::{ChannelStatus, CreateSignalingChannel, ErrorKind, Operation};
use std::collections::{HashMap, VecDeque};

/// A change that the store has, and who waits for its end.
#[derive(Debug)]
pub(super) struct Changing {
    /// Who gets the result; a channel that was created by a connect has nobody.
    caller: Option<CallRef>,
    step: Step,
    /// Later changes of the same channel, in order.
    waiting: VecDeque<(CallRef, Box<Query>)>,
}

/// What happens once a change is durable.
#[derive(Debug)]
enum Step {
    Create,
    Replace(Record),
    Delete,
}

/// The changes under way: at most one for each channel.
pub(super) struct Changes {
    pub(super) store: Box<dyn Store>,
    /// Changes that the store has not reported.
    pub(super) under_way: HashMap<ChannelKey, Changing, RandomState>,
    /// Channels whose deletion is not durable yet.
    pub(super) deleting: u64,
    /// When the youngest channel was made: a name made again at once is another channel all the same.
    pub(super) last_created: Wall,
}

impl Changes {
    pub(super) fn new(store: Box<dyn Store>, newest: Wall, hasher: RandomState) -> Self {
        Self {
            store,
            under_way: HashMap::with_hasher(hasher),
            deleting: 0,
            last_created: newest,
        }
    }
}

/// Makes a new channel.
pub(super) fn create(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    identity: &Identity,
    create: CreateSignalingChannel,
    at: Moment,
) {
    if directory.names.contains_key(identity) {
        let message = "A channel with this name exists already in this account and region.";
        let fault = Fault::new(Check::ChannelExists, ErrorKind::ResourceInUse, message);
        return home::send_answer(sockets, directory, books, caller, fault.into(), at);
    }
    // The creation time tells a channel from an earlier one of its name, also when both fall into one millisecond or
    // the clock was set back.
    let created = at
        .wall
        .max(Wall(directory.changes.last_created.0.saturating_add(1)));
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
    let Some(arn) = arn else {
        let fault = answers::internal_failure();
        return home::send_answer(sockets, directory, books, caller, fault.into(), at);
    };
    let record = Record {
        arn,
        ttl_seconds: create.ttl_seconds,
        created,
        version: Version::draw(&mut books.random),
        tags: create.tags,
    };
    directory.changes.last_created = created;
    let Some(key) = directory.insert_channel(record, Life::Creating) else {
        let message = "The server has as many channels as it may have.";
        let kind = ErrorKind::AccountChannelLimitExceeded;
        let fault = Fault::new(Check::ChannelsFull, kind, message);
        return home::send_answer(sockets, directory, books, caller, fault.into(), at);
    };
    submit(
        sockets,
        directory,
        books,
        key,
        Some(caller),
        Step::Create,
        at,
    );
}

/// Has a channel kept that is in use already, because somebody connected to it.
pub(super) fn keep_channel(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    at: Moment,
) {
    submit(sockets, directory, books, key, None, Step::Create, at);
}

/// Changes a channel, or waits for the change before.
pub(super) fn alter(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    arn: ChannelArn,
    alteration: Alteration,
    operation: Operation,
    at: Moment,
) {
    let Some(key) = directory.find(&arn) else {
        let fault = directory.not_found(&Identity::of(&arn), Some(&arn));
        return home::send_answer(sockets, directory, books, caller, fault.into(), at);
    };
    if let Some(changing) = directory.changes.under_way.get_mut(&key) {
        if changing.waiting.len() < CHANGES_WAITING_PER_CHANNEL_MAX {
            let query = Query {
                operation,
                judge: None,
                kind: QueryKind::Change(arn, alteration),
            };
            changing.waiting.push_back((caller, Box::new(query)));
            return;
        }
        let message = "Too many changes of this channel are under way. Try again.";
        let kind = ErrorKind::ClientLimitExceeded;
        let fault = Fault::new(Check::ChangesFull, kind, message);
        return home::send_answer(sockets, directory, books, caller, fault.into(), at);
    }
    let Some(channel) = directory.channels.get_mut(key) else {
        let fault = absent(Check::ChannelAbsent);
        return home::send_answer(sockets, directory, books, caller, fault.into(), at);
    };
    match altered(&channel.record, alteration, &mut books.random) {
        Err(fault) => home::send_answer(sockets, directory, books, caller, fault.into(), at),
        Ok(None) => {
            channel.state = Life::Deleting;
            directory.changes.deleting += 1;
            submit(
                sockets,
                directory,
                books,
                key,
                Some(caller),
                Step::Delete,
                at,
            );
        }
        Ok(Some(record)) => submit(
            sockets,
            directory,
            books,
            key,
            Some(caller),
            Step::Replace(record),
            at,
        ),
    }
}

/// Deletes a channel for nobody who waits; false when it cannot begin: a change is under way, or too many are.
pub(super) fn delete(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    at: Moment,
) -> bool {
    if directory.changes.under_way.contains_key(&key) {
        return false;
    }
    let Some(channel) = directory.channels.get_mut(key) else {
        return true;
    };
    channel.state = Life::Deleting;
    directory.changes.deleting += 1;
    submit(sockets, directory, books, key, None, Step::Delete, at);
    (directory.channels.get(key)).is_none_or(|channel| channel.state == Life::Deleting)
}

fn submit(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    caller: Option<CallRef>,
    step: Step,
    at: Moment,
) {
    let Some(channel) = directory.channels.get(key) else {
        return;
    };
    let change = match &step {
        Step::Create => Change::Put(&channel.record),
        Step::Replace(record) => Change::Put(record),
        Step::Delete => Change::Remove(&channel.record.arn),
    };
    let submitted = if directory.changes.under_way.len() < CHANGES_PER_SHARD_MAX {
        directory.changes.store.submit(key, change)
    } else {
        Err(StoreError::Busy)
    };
    let changing = Changing {
        caller,
        step,
        waiting: VecDeque::new(),
    };
    match submitted {
        Ok(Submitted::Later) => drop(directory.changes.under_way.insert(key, changing)),
        Ok(Submitted::Kept) => conclude(sockets, directory, books, key, changing, Ok(()), at),
        Err(error) => conclude(sockets, directory, books, key, changing, Err(error), at),
    }
}

/// The store has reported a change.
pub(super) fn committed(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    result: Result<(), StoreError>,
    at: Moment,
) {
    if let Some(changing) = directory.changes.under_way.remove(&key) {
        conclude(sockets, directory, books, key, changing, result, at);
    }
}

fn conclude(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    changing: Changing,
    result: Result<(), StoreError>,
    at: Moment,
) {
    let Changing {
        caller,
        step,
        mut waiting,
    } = changing;
    if matches!(step, Step::Delete) {
        directory.changes.deleting -= 1;
    }
    let answer = match result {
        Ok(()) => make(sockets, directory, books, key, step, at),
        Err(error) => unmake(sockets, directory, books, key, &step, &error, at),
    };
    if let Some(caller) = caller {
        home::send_answer(sockets, directory, books, caller, answer, at);
    }
    while let Some((caller, query)) = waiting.pop_front() {
        home::serve(sockets, directory, books, caller, *query, at);
        if let Some(next) = directory.changes.under_way.get_mut(&key) {
            next.waiting.append(&mut waiting);
        }
    }
}

/// What is durable happens.
fn make(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    step: Step,
    at: Moment,
) -> Answer {
    let Some(channel) = directory.channels.get_mut(key) else {
        return absent(Check::ChannelAbsent).into();
    };
    match step {
        Step::Create => {
            channel.state = Life::Active;
            Answer::Record(channel.record.clone(), ChannelStatus::Active)
        }
        Step::Replace(record) => {
            channel.record = record;
            Answer::Done
        }
        Step::Delete => {
            let identity = Identity::of(&channel.record.arn);
            end_channel(sockets, directory, books, key, &identity, at);
            Answer::Done
        }
    }
}

/// What is not durable did not happen.
fn unmake(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    step: &Step,
    error: &StoreError,
    at: Moment,
) -> Answer {
    let (check, message) = match error {
        StoreError::Busy => (
            Check::ChangesFull,
            "Too many changes are under way. Try again.",
        ),
        StoreError::Failed(text) => {
            books.diary.trouble(at.now, text.clone());
            let message = "The registry takes no changes at the moment. Try again later.";
            (Check::StoreFailed, message)
        }
    };
    let channel = directory.channels.get_mut(key);
    match (step, channel) {
        (Step::Create, Some(channel)) if channel.state == Life::Creating => {
            let identity = Identity::of(&channel.record.arn);
            directory.free_name(&identity);
            census::remove_channel(sockets, directory, key);
        }
        (Step::Delete, Some(channel)) => channel.state = Life::Active,
        (Step::Create | Step::Replace(_) | Step::Delete, _) => {}
    }
    Fault::new(check, ErrorKind::ServiceUnavailable, message).into()
}

/// Ends a channel: calls get 404, connections are closed, what was kept is withdrawn, the name is free.
/// See codec/PROTOCOL.md, CHAN-5.
fn end_channel(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    identity: &Identity,
    at: Moment,
) {
    alexa::fail_calls(
        sockets,
        directory,
        books,
        key,
        &absent(Check::ChannelDeleting),
        at,
    );
    directory.free_name(identity);
    let Some(channel) = census::remove_channel(sockets, directory, key) else {
        return;
    };
    if channel.connections > 0 {
        let name = channel.record.arn.name().into();
        directory.former.insert(key, (name, channel.connections));
    }
    kept::kept_withdrawn(directory, books, key, &channel);
    sockets.backlog_withdrawn(key, &channel);
    let Some(live) = channel.live() else { return };
    for session in live.members.all() {
        leave::close_web_socket(
            sockets,
            directory,
            books,
            session,
            EndReason::ChannelDeleted,
            at,
        );
    }
}

impl Directory {
    /// Puts a record into the tables; no channel of its name exists before. `None` when there is no room.
    pub(super) fn insert_channel(&mut self, record: Record, state: Life) -> Option<ChannelKey> {
        let identity = Identity::of(&record.arn);
        let channel = crate::channel::Channel::new(record, state);
        let key = self.channels.insert(channel).ok()?;
        match self.tenants.get_mut(identity.tenant()) {
            Some(channels) => *channels += 1,
            None => drop(self.tenants.insert(identity.tenant().into(), 1)),
        }
        self.names.insert(identity, key);
        Some(key)
    }

    /// The name of a channel that is gone, or was never made, is free.
    fn free_name(&mut self, identity: &Identity) {
        if self.names.remove(identity).is_none() {
            return;
        }
        let tenant = identity.tenant();
        if let Some(channels) = self.tenants.get_mut(tenant) {
            *channels -= 1;
            if *channels == 0 {
                self.tenants.remove(tenant);
            }
        }
    }
}

/// The partition of channels that we create.
const PARTITION: &str = "aws";
