//! Alexa calls on their channel's shard: offered to the master, answered, expired, withdrawn. See codec/PROTOCOL.md,
//! ALEXA.
//!
//! In the books a call is one SDP_OFFER: received when its letter is taken in; in the pending gauge until some master's
//! outbox has it; delivered when that master got it. Giving it again to the next master counts nothing.

use super::books::Books;
use super::directory::Directory;
use super::sockets::Sockets;
use super::waits::{Call, Room};
use super::{Answer, Fault, Letter, calls};
use super::{answers, backlog, home, leave};
use crate::channel::{Channel, Waiting};
use crate::check::Check;
use crate::event::{Kind, Outcome};
use crate::id::{CallRef, ChannelKey, Identity, SessionKey};
use crate::limits::WAITING_CALLS_PER_CHANNEL_MAX;
use crate::machine::Output;
use crate::session::{Launch, NEVER, Session};
use crate::time::Moment;
use codec::control::ErrorKind;
use codec::signal::{Action, Delivery};

const OFFER: Kind = Kind::Known(Action::SdpOffer);

/// A call arrives at its channel. Only when it is certain that it fits, an older one of the same sender is answered
/// with nothing, or one of an account or channel with more than its share makes room.
pub(super) fn take_offer(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    key: ChannelKey,
    sender: &str,
    payload: &str,
    at: Moment,
) {
    match room_for_offer(sockets, directory, caller, key, sender) {
        Err(refused) => return home::send_answer(sockets, directory, books, caller, refused, at),
        Ok(Some(other)) => end_for_another(sockets, directory, books, other, at),
        Ok(None) => drop(end_call(sockets, directory, books, key, sender, None, at)),
    }
    let Some(channel) = directory.channels.get_mut(key) else {
        return;
    };
    let wait_ms = wait_ms(
        channel.record.ttl_seconds,
        sockets.settings.timeouts.alexa_wait_max_ms,
    );
    let order = channel.wake(&directory.hasher).next_order();
    directory
        .waits
        .begin(channel.record.arn.account(), (key, order));
    let mut frame = Vec::new();
    Delivery {
        action: Action::SdpOffer,
        payload,
        sender: Some(sender),
    }
    .write(&mut frame);
    channel.wake(&directory.hasher).calls.add(Waiting {
        caller,
        sender: sender.into(),
        expires: at.now.after(wait_ms),
        order,
        frame: frame.into_boxed_slice(),
        given: None,
        delivered: false,
    });
    books.counters.receive(OFFER);
    books.counters.waiting_calls += 1;
    books.counters.pending_messages += 1;
    if caller.shard != sockets.shards.id {
        directory.waits.hold(caller, (key, order));
        sockets.output(Output::Post(
            caller.shard,
            Letter::CallTaken(sockets.shards.id, caller),
        ));
    }
    give_offers(sockets, directory, books, key, u64::MAX);
    leave::arm_channel(sockets, directory, key, at);
}

/// Whether a call fits, and in place of which one of somebody else. In place of an older one of its sender it always
/// does.
fn room_for_offer(
    sockets: &Sockets,
    directory: &Directory,
    caller: CallRef,
    key: ChannelKey,
    sender: &str,
) -> Result<Option<Call>, Answer> {
    if caller.shard != sockets.shards.id && !directory.waits.has_place() {
        return Err(calls::too_busy().into());
    }
    let Some(channel) = directory.channels.get(key) else {
        return Ok(None);
    };
    let calls = channel.live().map(|live| &live.calls);
    if calls.is_some_and(|calls| calls.of(sender).is_some()) {
        return Ok(None);
    }
    if calls.is_some_and(|calls| calls.len() >= WAITING_CALLS_PER_CHANNEL_MAX) {
        return Err(over_limit(CHANNEL_FULL));
    }
    match directory.waits.room(channel.record.arn.account(), key) {
        Room::Free => Ok(None),
        Room::InPlaceOf(other) => Ok(Some(other)),
        Room::None => Err(over_limit(SHARD_FULL)),
    }
}

/// Ends a call in favour of one of an account, or of a channel of the same account, that has fewer.
fn end_for_another(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    (key, order): Call,
    at: Moment,
) {
    let live = directory.channels.get_mut(key).and_then(Channel::live_mut);
    if let Some(call) = live.and_then(|live| live.calls.take_of_order(order)) {
        close_call(directory, books, key, &call, Outcome::Overflow);
        answer_offer(sockets, directory, books, &call, over_limit(MADE_ROOM), at);
    }
    if let Some(channel) = directory.channels.get_mut(key) {
        channel.rest();
    }
}

/// Answers the caller of a call that waited.
fn answer_offer(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    call: &Waiting,
    answer: Answer,
    at: Moment,
) {
    let caller = call.caller;
    if caller.shard == sockets.shards.id {
        answers::take_answer(sockets, directory, books, caller, answer, at);
    } else {
        let letter = Letter::CallAnswer(sockets.shards.id, caller, Box::new(answer));
        sockets.output(Output::Post(caller.shard, letter));
    }
}

/// Gives waiting offers that the current master has not got to it, oldest first: those accepted before `before`.
pub(super) fn give_offers(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    before: u64,
) {
    let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) else {
        return;
    };
    let Some(master) = live.members.to_master() else {
        return;
    };
    let Some(session) = sockets.sessions.get_mut(master) else {
        return;
    };
    for call in live
        .calls
        .all()
        .filter(|call| call.given.is_none() && call.order < before)
    {
        call.given = Some(master);
        let launch = Launch {
            action: Action::SdpOffer,
            expires: NEVER,
            order: call.order,
            sender_bytes: u16::try_from(call.sender.len()).unwrap_or(u16::MAX),
            call: true,
            counted: !call.delivered,
            accepted_us: None,
        };
        let pushed = session
            .outbox
            .push_message(&mut sockets.scratch.spares, launch, |out| {
                out.extend_from_slice(&call.frame)
            });
        books.counters.outbox_bytes += pushed as u64;
        if !call.delivered {
            books.counters.pending_messages -= 1;
            books.counters.outbox_messages += 1;
        }
    }
    backlog::weigh(sockets, directory, master);
    sockets.touch(master);
}

impl Directory {
    /// The master is another one, or gone: offers it had and did not answer are for the next.
    pub(super) fn offers_lost_their_master(&mut self, key: ChannelKey) {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return;
        };
        for call in live.calls.all().filter(|call| call.delivered) {
            call.given = None;
        }
    }
}

/// The last byte of an offer was handed over to `master`.
pub(super) fn offer_delivered(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    master: SessionKey,
    order: u64,
) {
    let Some(key) = sockets.sessions.get(master).and_then(Session::channel) else {
        return;
    };
    let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) else {
        return;
    };
    let current = live.members.master() == Some(master);
    let Some(call) = live.calls.by_order(order) else {
        return;
    };
    call.delivered = true;
    // Another master may have it by now.
    if !current && call.given == Some(master) {
        call.given = None;
        give_offers(sockets, directory, books, key, u64::MAX);
    }
}

/// An offer came back from the outbox of `master`. While its call waits it is for the next one.
pub(super) fn offer_came_back(
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    master: SessionKey,
    launch: &Launch,
) {
    let live = directory.channels.get_mut(key).and_then(Channel::live_mut);
    let call = live.and_then(|live| live.calls.by_order(launch.order));
    match call {
        Some(call) => {
            call.given.take_if(|given| *given == master);
            if launch.counted {
                books.counters.pending_messages += 1;
            }
        }
        None if launch.counted => books.counters.end(OFFER, Outcome::Withdrawn),
        None => {}
    }
}

/// Ends the call that waits for an answer to `sender`: with the answer, or with nothing because a newer call of the
/// same sender takes its place. False when none waits.
pub(super) fn end_call(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    sender: &str,
    answer: Option<&str>,
    at: Moment,
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
    answer_offer(
        sockets,
        directory,
        books,
        &call,
        Answer::Answer(answer.map(Into::into)),
        at,
    );
    true
}

/// Answers calls whose time is over with nothing.
pub(super) fn expire_calls(
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
        answer_offer(sockets, directory, books, &call, Answer::Answer(None), at);
    }
}

/// A caller on this shard hung up: its call is withdrawn.
pub(super) fn withdraw_local(
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
pub(super) fn withdraw_offer(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    at: Moment,
) {
    let call = directory.waits.of(caller);
    if let Some(call) = call.and_then(|(key, _)| take_back_offer(directory, books, caller, key)) {
        answer_offer(sockets, directory, books, &call, Answer::Answer(None), at);
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
pub(super) fn fail_calls(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    fault: &Fault,
    at: Moment,
) {
    while let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) {
        let Some(call) = live.calls.take_any() else {
            return;
        };
        close_call(directory, books, key, &call, Outcome::Withdrawn);
        answer_offer(
            sockets,
            directory,
            books,
            &call,
            Answer::Fault(fault.clone()),
            at,
        );
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

/// How long a call waits: as long as its channel keeps messages, or as long as is configured.
fn wait_ms(ttl_seconds: u32, most_ms: u64) -> u64 {
    let ttl_ms = u64::from(ttl_seconds) * 1000;
    if most_ms == 0 {
        ttl_ms
    } else {
        ttl_ms.min(most_ms)
    }
}

fn over_limit(message: &'static str) -> Answer {
    let kind = ErrorKind::ClientLimitExceeded;
    Fault::new(Check::AlexaCallsFull, kind, message).into()
}

const CHANNEL_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for this channel. Try again later.";
const SHARD_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for channels of this account. Try again later.";
const MADE_ROOM: &str = "This account has more than its share of waiting SendAlexaOfferToMaster calls. Try again \
                         later.";
