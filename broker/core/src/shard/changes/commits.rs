//! The end of a change of the registry: what is durable happens, what is not did not, and its caller gets the answer.

use crate::channel::{Channel, Life};
use crate::check::Check;
use crate::id::{Account, ChannelKey, Identity};
use crate::journal::EndReason;
use crate::record::Record;
use crate::registry::StoreError;
use crate::shard::books::Books;
use crate::shard::calls::refusals::absent;
use crate::shard::directory::Directory;
use crate::shard::directory::changes::{ChangeStep, ChangeUnderWay};
use crate::shard::todo::{Todo, TodoList};
use crate::shard::{Answer, Fault};
use crate::time::Moment;
use codec::control::{ChannelStatus, ErrorKind};

impl Directory {
    /// The store has reported a change.
    pub(in crate::shard) fn committed(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        result: Result<(), StoreError>,
        at: Moment,
    ) {
        let Some(changing) = self.changes.take(key) else {
            return;
        };
        let ChangeUnderWay {
            caller,
            step,
            waiting,
            ..
        } = changing;
        if matches!(step, ChangeStep::Delete) {
            self.changes.deleting -= 1;
        }
        let answer = match result {
            Ok(()) => self.make(books, todo, key, step),
            Err(error) => self.unmake(books, todo, key, &step, &error, at),
        };
        if let Some(caller) = caller {
            todo.answer(caller, answer);
        }
        if !waiting.is_empty() {
            todo.push(Todo::ServeWaiting(key, Box::new(waiting)));
        }
    }

    /// Makes a change that is durable.
    fn make(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        step: ChangeStep,
    ) -> Answer {
        let Some(channel) = self.channels.get_mut(key) else {
            return absent(Check::ChannelAbsent).into();
        };
        match step {
            ChangeStep::Create => {
                channel.state = Life::Active;
                Answer::Record(channel.record.clone(), ChannelStatus::Active)
            }
            ChangeStep::Replace(record) => {
                let (before, after) = (channel.record.bytes(), record.bytes());
                channel.record = record;
                self.recount(key, before.max(after), after);
                Answer::Done
            }
            ChangeStep::Delete => {
                let end = (absent(Check::ChannelDeleting), EndReason::ChannelDeleted);
                self.end_channel(books, todo, key, &end);
                Answer::Done
            }
        }
    }

    /// Takes back a change that is not durable.
    fn unmake(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        step: &ChangeStep,
        error: &StoreError,
        at: Moment,
    ) -> Answer {
        let (check, message) = match error {
            StoreError::Busy => (
                Check::ChangesFull,
                "Too many changes are under way. Try again.",
            ),
            StoreError::Failed(text) => {
                books.diary().trouble(at.now, text.clone());
                let message = "The registry takes no changes at the moment. Try again later.";
                (Check::StoreFailed, message)
            }
        };
        let channel = self.channels.get_mut(key);
        match (step, channel) {
            (ChangeStep::Create, Some(channel)) if channel.state == Life::Creating => {
                self.free_name(key);
                if let Some(channel) = self.channels.remove(key) {
                    self.channel_went(todo, key, channel);
                }
            }
            (ChangeStep::Replace(record), Some(_)) => self.not_replaced(key, record),
            (ChangeStep::Delete, Some(channel)) => channel.state = Life::Active,
            (ChangeStep::Create | ChangeStep::Replace(_) | ChangeStep::Delete, _) => {}
        }
        Fault::new(check, ErrorKind::ServiceUnavailable, message).into()
    }

    /// This record does not take the place of a channel's: its bytes no longer count.
    pub(in crate::shard) fn not_replaced(&mut self, key: ChannelKey, next: &Record) {
        if let Some(channel) = self.channels.get(key) {
            let own = channel.record.bytes();
            self.recount(key, own.max(next.bytes()), own);
        }
    }

    /// Ends a channel, or its time on this node: calls get this answer, connections are closed for this reason, what
    /// was kept is withdrawn, the name is free. See codec/PROTOCOL.md, CHAN-5.
    pub(in crate::shard) fn end_channel(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        (fault, reason): &(Fault, EndReason),
    ) {
        self.fail_calls(books, todo, key, fault);
        self.free_name(key);
        let Some(channel) = self.channels.remove(key) else {
            return;
        };
        if channel.connections > 0 {
            let arn = &channel.record.arn;
            let former = (Account::of(arn), arn.name().into(), channel.connections);
            self.former.insert(key, former);
        }
        self.kept_withdrawn(books, key, &channel);
        let members = channel
            .live()
            .map_or_else(Vec::new, |live| live.members.all());
        self.channel_went(todo, key, channel);
        for session in members {
            todo.push(Todo::Close(session, *reason));
        }
    }

    /// A channel is out of the table: the rest of the shard follows.
    fn channel_went(&mut self, todo: &mut TodoList, key: ChannelKey, channel: Channel) {
        if let Some(slots) = &mut self.slots {
            slots.channel_went(&Identity::of(&channel.record.arn), key);
        }
        todo.push(Todo::ChannelWent(Box::new((key, channel))));
    }
}
