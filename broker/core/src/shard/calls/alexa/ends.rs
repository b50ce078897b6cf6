//! The end of an Alexa call: answered, in favour of another, expired, withdrawn, failed.

use super::{OFFER, over_limit};
use crate::channel::{Channel, Waiting};
use crate::event::Outcome;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::machine::Output;
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::directory::waits::Call;
use crate::shard::sockets::Sockets;
use crate::shard::{Answer, Fault, Letter};
use crate::time::Moment;

/// Ends the call that waits for an answer to `sender`: with the answer, or with nothing because a newer call of the
/// same sender takes its place. False when none waits.
pub(in crate::shard) fn end_call(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    sender: &str,
    answer: Option<&str>,
) -> bool {
    let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) else {
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
    close_call(directory, books, key, &call, outcome);
    answer_offer(sockets, &call, Answer::Answer(answer.map(Into::into)));
    true
}

/// Answers calls whose time is over with nothing.
pub(in crate::shard) fn expire_calls(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    at: Moment,
) {
    while let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) {
        let Some(call) = live.calls.take_expired(at.now) else {
            return;
        };
        close_call(directory, books, key, &call, Outcome::Expired);
        answer_offer(sockets, &call, Answer::Answer(None));
    }
}

/// A caller on this shard hung up: its call is withdrawn.
pub(in crate::shard) fn withdraw_local(
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    identity: &Identity,
) {
    if let Some(&key) = directory.names.get(identity) {
        take_back_offer(directory, books, caller, key);
    }
}

/// A caller on another shard hung up: its call is withdrawn, unless its answer is on its way.
pub(in crate::shard) fn withdraw_offer(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
) {
    let call = directory.waits.of(caller);
    if let Some(call) = call.and_then(|(key, _)| take_back_offer(directory, books, caller, key)) {
        answer_offer(sockets, &call, Answer::Answer(None));
    }
}

fn take_back_offer(
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    key: ChannelKey,
) -> Option<Waiting> {
    let channel = directory.channels.get_mut(key)?;
    let call = channel
        .live_mut()
        .and_then(|live| live.calls.take_of_caller(caller));
    channel.rest();
    let call = call?;
    close_call(directory, books, key, &call, Outcome::Withdrawn);
    Some(call)
}

/// Ends every call of a channel with a fault: the channel is deleted, or the process ends.
pub(in crate::shard) fn fail_calls(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    fault: &Fault,
) {
    while let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) {
        let Some(call) = live.calls.take_any() else {
            return;
        };
        close_call(directory, books, key, &call, Outcome::Withdrawn);
        answer_offer(sockets, &call, Answer::Fault(fault.clone()));
    }
}

/// Books the end of a call: an offer that no outbox ever had ends as `outcome`; any other has its own end.
fn close_call(
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    call: &Waiting,
    outcome: Outcome,
) {
    books.counters.waiting_calls = books.counters.waiting_calls.saturating_sub(1);
    if let Some(channel) = directory.channels.get(key) {
        directory
            .waits
            .end(channel.record.arn.account(), (key, call.order));
    }
    if call.given.is_none() && !call.delivered {
        books.counters.pending_messages -= 1;
        books.counters.end(OFFER, outcome);
    }
}

/// Ends a call in favour of one of an account, or of a channel of the same account, that has fewer.
pub(super) fn end_for_another(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    (key, order): Call,
) {
    let live = directory.channels.get_mut(key).and_then(Channel::live_mut);
    if let Some(call) = live.and_then(|live| live.calls.take_of_order(order)) {
        close_call(directory, books, key, &call, Outcome::Overflow);
        answer_offer(sockets, &call, over_limit(MADE_ROOM));
    }
    if let Some(channel) = directory.channels.get_mut(key) {
        channel.rest();
    }
}

/// Answers the caller of a call that waited.
fn answer_offer(sockets: &mut Sockets, call: &Waiting, answer: Answer) {
    let caller = call.caller;
    if caller.shard == sockets.shards.id {
        sockets.send_answer(caller, answer);
    } else {
        let letter = Letter::CallAnswer(sockets.shards.id, caller, Box::new(answer));
        sockets.output(Output::Post(caller.shard, letter));
    }
}

const MADE_ROOM: &str = "This account has more than its share of waiting SendAlexaOfferToMaster calls. Try again \
                         later.";
