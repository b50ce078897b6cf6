//! The end of an Alexa call: answered, in favour of another, expired, withdrawn, failed.

use super::{OFFER, over_limit};
use crate::channel::{Channel, Waiting};
use crate::event::Outcome;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::directory::waits::Call;
use crate::shard::todo::{Todo, TodoList};
use crate::shard::{Answer, Fault};
use crate::time::Moment;

impl Directory {
    /// Ends the call that waits for an answer to `sender`: with the answer, or with nothing because a newer call of the
    /// same sender takes its place. False when none waits.
    pub(in crate::shard) fn end_call(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        sender: &str,
        answer: Option<&str>,
    ) -> bool {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return false;
        };
        let Some(call) = live.calls.take(sender) else {
            return false;
        };
        let outcome = if answer.is_some() {
            Outcome::Withdrawn
        } else {
            Outcome::Overwritten
        };
        self.close_call(books, key, &call, outcome);
        answer_offer(todo, &call, Answer::Answer(answer.map(Into::into)));
        true
    }

    /// Answers calls whose time is over with nothing.
    pub(in crate::shard) fn expire_calls(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        at: Moment,
    ) {
        while let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) {
            let Some(call) = live.calls.take_expired(at.now) else {
                return;
            };
            self.close_call(books, key, &call, Outcome::Expired);
            answer_offer(todo, &call, Answer::Answer(None));
        }
    }

    /// A caller on this shard hung up: its call is withdrawn.
    pub(in crate::shard) fn withdraw_local(
        &mut self,
        books: &mut Books,
        caller: CallRef,
        identity: &Identity,
    ) {
        if let Some(&key) = self.names.get(identity) {
            self.take_back_offer(books, caller, key);
        }
    }

    /// A caller on another shard hung up: its call is withdrawn, unless its answer is on its way.
    pub(in crate::shard) fn withdraw_offer(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        caller: CallRef,
    ) {
        let call = self.waits.of(caller);
        if let Some(call) = call.and_then(|(key, _)| self.take_back_offer(books, caller, key)) {
            answer_offer(todo, &call, Answer::Answer(None));
        }
    }

    fn take_back_offer(
        &mut self,
        books: &mut Books,
        caller: CallRef,
        key: ChannelKey,
    ) -> Option<Waiting> {
        let channel = self.channels.get_mut(key)?;
        let call = channel
            .live_mut()
            .and_then(|live| live.calls.take_of_caller(caller));
        channel.rest();
        let call = call?;
        self.close_call(books, key, &call, Outcome::Withdrawn);
        Some(call)
    }

    /// Ends every call of a channel with a fault: the channel is deleted, or the process ends.
    pub(in crate::shard) fn fail_calls(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        fault: &Fault,
    ) {
        while let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) {
            let Some(call) = live.calls.take_any() else {
                return;
            };
            self.close_call(books, key, &call, Outcome::Withdrawn);
            answer_offer(todo, &call, Answer::Fault(fault.clone()));
        }
    }

    /// Books the end of a call: an offer that no outbox ever had ends as `outcome`; any other has its own end.
    fn close_call(&mut self, books: &mut Books, key: ChannelKey, call: &Waiting, outcome: Outcome) {
        books.count_call_over();
        if let Some(channel) = self.channels.get(key) {
            self.waits
                .end(channel.record.arn.account(), (key, call.order));
        }
        if call.given.is_none() && !call.delivered {
            books.count_kept_ended(OFFER, outcome);
        }
    }

    /// Ends a call in favour of one of an account, or of a channel of the same account, that has fewer.
    pub(super) fn end_for_another(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        (key, order): Call,
    ) {
        let live = self.channels.get_mut(key).and_then(Channel::live_mut);
        if let Some(call) = live.and_then(|live| live.calls.take_of_order(order)) {
            self.close_call(books, key, &call, Outcome::Overflow);
            answer_offer(todo, &call, over_limit(MADE_ROOM));
        }
        if let Some(channel) = self.channels.get_mut(key) {
            channel.rest();
        }
    }
}

/// Answers the caller of a call that waited.
fn answer_offer(todo: &mut TodoList, call: &Waiting, answer: Answer) {
    todo.push(Todo::OfferAnswer(call.caller, Box::new(answer)));
}

const MADE_ROOM: &str = "This account has more than its share of waiting SendAlexaOfferToMaster calls. Try again \
                         later.";
