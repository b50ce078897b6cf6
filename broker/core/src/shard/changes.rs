//! Changes of the registry: made durable first, then made, then answered. What follows when the store has reported one
//! is in `commits.rs`.
//!
//! ```text
//!  answer ──► alter / create ──► Store::submit ──► (the store's thread) ──► Letter::Committed ──► conclude ──► Answer
//!               │                                                              │
//!               └ a change of this channel is under way: waits behind it       └ the next one that waits
//! ```
//! Until a change is durable nobody sees it: neither a channel that is being created nor an update.
//! One change of a channel is under way at a time, so that what is read, changed and written cannot be mixed up.

pub(in crate::shard) mod commits;
pub(in crate::shard) mod record_update;

use super::books::Books;
use super::directory::Directory;
use super::directory::changes::{BegunChange, ChangeStep, ChangeUnderWay, Waiting};
use super::todo::{Todo, TodoList};
use super::{Alteration, Fault, Query, QueryKind};
use crate::channel::Life;
use crate::check::Check;
use crate::id::{Account, CallRef, ChannelKey, Identity};
use crate::limits::CHANGES_WAITING_PER_CHANNEL_MAX;
use crate::record::Record;
use crate::registry::{Change, StoreError, Submitted};
use crate::shard::calls::refusals::{absent, internal_failure, too_busy};
use crate::time::{Moment, Wall};
use codec::aws::{ChannelArn, ChannelName};
use codec::control::{CreateSignalingChannel, ErrorKind, Operation};
use record_update::altered;
use std::collections::VecDeque;

impl Directory {
    /// Enters a new channel into the tables, to be created; `held`: see [`Query::held`].
    pub(super) fn create(
        &mut self,
        books: &mut Books,
        identity: &Identity,
        create: CreateSignalingChannel,
        held: u64,
        at: Moment,
    ) -> Result<BegunChange, Fault> {
        if self.names.contains_key(identity) {
            let message = "A channel with this name exists already in this account and region.";
            return Err(Fault::new(
                Check::ChannelExists,
                ErrorKind::ResourceInUse,
                message,
            ));
        }
        // The creation time distinguishes a channel from an earlier one of its name, also when both fall into one
        // millisecond or the clock was set back.
        let created = at
            .wall
            .max(Wall(self.changes.last_created.0.saturating_add(1)));
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
            version: books.version(),
            tags: create.tags.into(),
        };
        let kind = ErrorKind::AccountChannelLimitExceeded;
        self.has_bytes(identity.tenant(), held, record.bytes(), kind)?;
        self.changes.last_created = created;
        let key = self.insert_channel(record, Life::Creating);
        let key = key.ok_or_else(|| {
            let message = "The server has as many channels as it may have.";
            let kind = ErrorKind::AccountChannelLimitExceeded;
            Fault::new(Check::ChannelsFull, kind, message)
        })?;
        Ok((key, ChangeStep::Create))
    }

    /// Begins a change of a channel; `None`: it waits for the change before. One that takes more bytes counts with them
    /// from here on.
    pub(super) fn alter(
        &mut self,
        books: &mut Books,
        caller: CallRef,
        arn: ChannelArn,
        alteration: Alteration,
        (operation, held): (Operation, u64),
    ) -> Result<Option<BegunChange>, Fault> {
        let Some(key) = self.find(&arn) else {
            return Err(self.not_found(&Identity::of(&arn), Some(&arn)));
        };
        if let Some(changing) = self.changes.under_way.get_mut(&key) {
            if changing.waiting.len() >= CHANGES_WAITING_PER_CHANNEL_MAX {
                let message = "Too many changes of this channel are under way. Try again.";
                let kind = ErrorKind::ClientLimitExceeded;
                return Err(Fault::new(Check::ChangesFull, kind, message));
            }
            if !self.changes.places.take(caller.account) {
                return Err(too_busy());
            }
            let query = Query {
                operation,
                held,
                caller: None,
                kind: QueryKind::Change(arn, alteration),
            };
            changing.waiting.push_back((caller, Box::new(query)));
            return Ok(None);
        }
        let channel = self.channels.get_mut(key);
        let channel = channel.ok_or_else(|| absent(Check::ChannelAbsent))?;
        let before = channel.record.bytes();
        let step = match altered(&channel.record, alteration, || books.version())? {
            Some(record) => {
                let after = record.bytes();
                if after > before {
                    let (identity, kind) =
                        (Identity::of(&record.arn), ErrorKind::ClientLimitExceeded);
                    self.has_bytes(identity.tenant(), held, after - before, kind)?;
                    self.recount(key, before, after);
                }
                ChangeStep::Replace(record)
            }
            None => {
                channel.state = Life::Deleting;
                self.changes.deleting += 1;
                ChangeStep::Delete
            }
        };
        Ok(Some((key, step)))
    }

    /// Changes of a channel wait: behind the one under way, or for the end of the step before.
    pub(super) fn wait_on(
        &mut self,
        todo: &mut TodoList,
        key: ChannelKey,
        mut waiting: Box<Waiting>,
    ) {
        match self.changes.under_way.get_mut(&key) {
            Some(next) => next.waiting.append(&mut waiting),
            None => todo.push(Todo::ServeWaiting(key, waiting)),
        }
    }

    /// Deletes a channel for nobody who waits; false when it cannot begin: a change is under way, or too many are.
    pub(super) fn delete(&mut self, todo: &mut TodoList, key: ChannelKey) -> bool {
        if self.changes.under_way.contains_key(&key) {
            return false;
        }
        let Some(channel) = self.channels.get_mut(key) else {
            return true;
        };
        channel.state = Life::Deleting;
        self.changes.deleting += 1;
        self.submit(todo, (key, ChangeStep::Delete), None)
    }

    /// Hands a change to the store; `caller` gets its result. False when the store does not take it.
    pub(super) fn submit(
        &mut self,
        todo: &mut TodoList,
        (key, step): BegunChange,
        caller: Option<CallRef>,
    ) -> bool {
        if let ChangeStep::Create = step {
            todo.push(Todo::ChannelCame(key));
        }
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
        todo.push(Todo::Committed(key, result));
        is_taken
    }
}

/// The partition of channels that we create.
const PARTITION: &str = "aws";
