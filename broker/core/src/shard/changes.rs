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

mod commits;
mod record_update;

use crate::channel::Life;
use crate::check::Check;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::record::Record;
use crate::registry::Submitted;
use crate::shard::books::Books;
use crate::shard::calls::refusals::{absent, internal_failure, too_busy};
use crate::shard::directory::Directory;
use crate::shard::directory::changes::{BegunChange, ChangeStep, NoWait, Waiting};
use crate::shard::todo::{Todo, TodoList};
use crate::shard::{Alteration, Fault, Query, QueryKind};
use crate::time::Moment;
use codec::control::{CreateSignalingChannel, ErrorKind, Operation};
use codec::identifiers::{ChannelArn, ChannelName};
use record_update::altered;

impl Directory {
    /// Enters a new channel into the tables, to be created; `held`: see [`Query::held`].
    pub(crate) fn create(
        &mut self,
        books: &mut Books,
        identity: &Identity,
        create: CreateSignalingChannel,
        held: u64,
        at: Moment,
    ) -> Result<BegunChange, Fault> {
        if self.key_of(identity).is_some() {
            let message = "A channel with this name exists already in this account and region.";
            return Err(Fault::new(
                Check::ChannelExists,
                ErrorKind::ResourceInUse,
                message,
            ));
        }
        let created = self.creation_time(at.wall);
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
        self.note_created(created);
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
    pub(crate) fn alter(
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
        if self.is_changing(key) {
            let query = Query {
                operation,
                held,
                caller: None,
                client_id: None,
                kind: QueryKind::Change(arn, alteration),
            };
            return match self.wait_behind(key, caller, query) {
                Ok(()) => Ok(None),
                Err(NoWait::Channel) => {
                    let message = "Too many changes of this channel are under way. Try again.";
                    let kind = ErrorKind::ClientLimitExceeded;
                    Err(Fault::new(Check::ChangesFull, kind, message))
                }
                Err(NoWait::Account) => Err(too_busy()),
            };
        }
        let channel = self.channel(key);
        let channel = channel.ok_or_else(|| absent(Check::ChannelAbsent))?;
        let before = channel.record.bytes();
        let step = match altered(&channel.record, alteration, || books.version())? {
            Some(record) => {
                let after = record.bytes();
                if after > before {
                    let (identity, kind) =
                        (Identity::of(&record.arn), ErrorKind::ClientLimitExceeded);
                    self.has_bytes(identity.tenant(), held, after - before, kind)?;
                    self.reserve_record(key, &record);
                }
                ChangeStep::Replace(record)
            }
            None => {
                self.begin_deletion(key);
                ChangeStep::Delete
            }
        };
        Ok(Some((key, step)))
    }

    /// Changes of a channel wait: behind the one under way, or for the end of the step before.
    pub(crate) fn let_wait(
        &mut self,
        todo: &mut TodoList,
        key: ChannelKey,
        mut waiting: Box<Waiting>,
    ) {
        if !self.wait_on(key, &mut waiting) {
            todo.push(Todo::ServeWaiting(key, waiting));
        }
    }

    /// Deletes a channel for nobody who waits; false when it cannot begin: a change is under way, or too many are.
    pub(crate) fn delete(&mut self, todo: &mut TodoList, key: ChannelKey) -> bool {
        if self.is_changing(key) {
            return false;
        }
        if self.channel(key).is_none() {
            return true;
        }
        self.begin_deletion(key);
        self.submit(todo, (key, ChangeStep::Delete), None)
    }

    /// Hands a change to the store; `caller` gets its result. False when the store does not take it.
    pub(crate) fn submit(
        &mut self,
        todo: &mut TodoList,
        (key, step): BegunChange,
        caller: Option<CallRef>,
    ) -> bool {
        if let ChangeStep::Create = step {
            todo.push(Todo::ChannelCame(key));
        }
        let result = match self.submit_change((key, step), caller) {
            None => return false,
            Some(Ok(Submitted::Later)) => return true,
            Some(Ok(Submitted::Kept)) => Ok(()),
            Some(Err(error)) => Err(error),
        };
        let is_taken = result.is_ok();
        todo.push(Todo::Committed(key, result));
        is_taken
    }
}

/// The partition of channels that we create.
const PARTITION: &str = "aws";
