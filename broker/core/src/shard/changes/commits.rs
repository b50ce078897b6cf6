//! The end of a change of the registry: what is durable happens, what is not did not, and its caller gets the answer.

use crate::channel::Life;
use crate::check::Check;
use crate::id::ChannelKey;
use crate::journal::EndReason;
use crate::registry::StoreError;
use crate::shard::books::Books;
use crate::shard::calls::refusals::absent;
use crate::shard::calls::wake::polls::Change;
use crate::shard::directory::Directory;
use crate::shard::directory::changes::{ChangeStep, ChangeUnderWay};
use crate::shard::todo::each::Each;
use crate::shard::todo::{Todo, TodoList};
use crate::shard::{Answer, Fault};
use crate::time::Moment;
use codec::control::{ChannelStatus, ErrorKind};

impl Directory {
    /// The store has reported a change.
    pub(crate) fn committed(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        result: Result<(), StoreError>,
        at: Moment,
    ) {
        let Some(changing) = self.take_change(key) else {
            return;
        };
        let ChangeUnderWay {
            caller,
            step,
            waiting,
            ..
        } = changing;
        let answer = match result {
            Ok(()) => self.make(books, todo, key, step, at),
            Err(error) => {
                let fault = refusal(&error);
                if let StoreError::Failed(text) = error {
                    books.diary().trouble(at.now, text);
                }
                self.unmake(books, todo, key, &step);
                fault.into()
            }
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
        at: Moment,
    ) -> Answer {
        let Some(channel) = self.channel(key) else {
            return absent(Check::ChannelAbsent).into();
        };
        match step {
            ChangeStep::Create => {
                let record = channel.record.clone();
                self.activate(key);
                Answer::Record(record, ChannelStatus::Active)
            }
            ChangeStep::Replace(record) => {
                if record.tags != channel.record.tags {
                    todo.push(Todo::TagsChanged(key));
                }
                self.replace_record(key, record, at.now);
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
    ) {
        let state = self.channel(key).map(|channel| channel.state);
        match step {
            ChangeStep::Create if state == Some(Life::Creating) => {
                if let Some(channel) = self.remove_channel(books, key) {
                    todo.push(Todo::ChannelWent(Box::new((key, channel))));
                }
            }
            ChangeStep::Create => {}
            ChangeStep::Replace(record) => self.not_replaced(key, record),
            ChangeStep::Delete => self.activate(key),
        }
    }

    /// Ends a channel, or its time on this node: calls get this answer, connections are closed for this reason, a
    /// bounded number in a turn, what was kept is withdrawn, the name is free. See codec/PROTOCOL.md, CHAN-5.
    pub(crate) fn end_channel(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        (fault, reason): &(Fault, EndReason),
    ) {
        self.fail_calls(books, todo, key, fault);
        let change = if *reason == EndReason::ChannelDeleted {
            Change::Deleted
        } else {
            Change::State
        };
        self.polls_mut().note(key, change);
        let Some(channel) = self.remove_channel(books, key) else {
            return;
        };
        let members = channel
            .live()
            .map_or_else(Vec::new, |live| live.members.all());
        todo.push(Todo::ChannelWent(Box::new((key, channel))));
        todo.each(Each::close(members, *reason));
    }
}

/// The refusal of a change that is not durable.
fn refusal(error: &StoreError) -> Fault {
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
    Fault::new(check, ErrorKind::ServiceUnavailable, message)
}
