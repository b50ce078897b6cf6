//! The end of an Alexa call: answered, in favour of another, expired, withdrawn, failed.

use crate::channel::calls::{Calls, Waiting};
use crate::event::Outcome;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::journal::Unaccepted;
use crate::shard::books::Books;
use crate::shard::calls::alexa::{OFFER, over_limit};
use crate::shard::directory::Directory;
use crate::shard::directory::waits::Call;
use crate::shard::todo::{Todo, TodoList};
use crate::shard::{Answer, Fault};
use crate::time::Moment;

impl Directory {
    /// Ends the call that waits for an answer to `sender`: with the answer, or with nothing because a newer call of the
    /// same sender takes its place. False when none waits.
    pub(crate) fn end_call(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        sender: &str,
        answer: Option<&str>,
    ) -> bool {
        let Some(call) = self.take_call(key, |calls| calls.take(sender)) else {
            return false;
        };
        let outcome = if answer.is_some() {
            Outcome::Withdrawn
        } else {
            Outcome::Overwritten
        };
        close_call(books, &call, outcome);
        answer_offer(todo, &call, Answer::Answer(answer.map(Into::into)));
        true
    }

    /// Answers calls whose time is over with nothing.
    pub(crate) fn expire_calls(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        at: Moment,
    ) {
        while let Some(call) = self.take_call(key, |calls| calls.take_expired(at.now)) {
            close_call(books, &call, Outcome::Expired);
            answer_offer(todo, &call, Answer::Answer(None));
        }
    }

    /// A caller on this shard hung up: its call is withdrawn.
    pub(crate) fn withdraw_local(
        &mut self,
        books: &mut Books,
        caller: CallRef,
        identity: &Identity,
    ) {
        if let Some(key) = self.key_of(identity) {
            self.take_back_offer(books, caller, key);
        }
    }

    /// A caller on another shard hung up: its call is withdrawn, unless its answer is on its way.
    pub(crate) fn withdraw_offer(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        caller: CallRef,
    ) {
        let call = self.call_of(caller);
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
        let call = self.take_call(key, |calls| calls.take_of_caller(caller));
        self.rest(key);
        let call = call?;
        close_call(books, &call, Outcome::Withdrawn);
        Some(call)
    }

    /// Ends every call of a channel with a fault: the channel is deleted, or the process ends.
    pub(crate) fn fail_calls(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        fault: &Fault,
    ) {
        while let Some(call) = self.take_call(key, Calls::take_any) {
            close_call(books, &call, Outcome::Withdrawn);
            answer_offer(todo, &call, Answer::Fault(fault.clone()));
        }
    }

    /// Ends a call in favour of one of an account, or of a channel of the same account, that has fewer.
    pub(crate) fn end_for_another(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        (key, order): Call,
    ) {
        if let Some(call) = self.take_call(key, |calls| calls.take_of_order(order)) {
            books.count_call_over();
            if call.never_left() {
                books.count_unkept();
                books.count_unaccepted(OFFER, Unaccepted::NoRoom);
            }
            answer_offer(todo, &call, over_limit(MADE_ROOM));
        }
        self.rest(key);
    }
}

/// Books the end of a call: an offer that no outbox ever had ends as `outcome`; any other has its own end.
fn close_call(books: &mut Books, call: &Waiting, outcome: Outcome) {
    books.count_call_over();
    if call.never_left() {
        books.count_kept_ended(OFFER, outcome);
    }
}

/// Answers the caller of a call that waited.
fn answer_offer(todo: &mut TodoList, call: &Waiting, answer: Answer) {
    todo.push(Todo::OfferAnswer(call.caller, Box::new(answer)));
}

const MADE_ROOM: &str = "This account has more than its share of waiting SendAlexaOfferToMaster calls. Try again \
                         later.";
