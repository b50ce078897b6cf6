//! Serves devices that poll for waiting clients: `GET /wake`. See codec/PROTOCOL.md, WAKE.
//!
//! As with an upgrade, the connection moves to its channel's home and waits there, so no other shard is involved. The
//! channel is checked when the device arrives, and after each input that changes the channel.

use crate::id::{Account, ChannelKey, Identity, SessionKey};
use crate::refusal::{ErrorCode, Refusal};
use crate::session::Session;
use crate::session::http::{Admission, Asks, AwaitedWake, HttpStage};
use crate::shard::calls::responses::{self, Response, absent, nobody, refuse};
use crate::shard::connect::upgrades::refuse_upgrade;
use crate::shard::context::Context;
use crate::shard::directory::waiting_callers::{PollChange, PollRoom};
use crate::shard::disconnect;
use crate::shard::evidence::Evidence;
use crate::shard::recheck::{self, AllowedCaller};
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Directory, Gate, Sockets};
use crate::time::{Moment, Now, Wall};
use crate::{channel::Channel, check::Check, event::Purpose, limits::RECHECK_CLOSE_MS};
use codec::{calendar::rfc3339, control::ErrorKind, identifiers::ChannelArn};

/// State of a channel, as reported to the device polling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// No client is waiting for the device.
    Nothing,
    /// Messages are pending for the device; the last of them expires at this time.
    Kept(Now),
    /// A master is connected.
    Master,
}

/// Handles a device's poll on its channel's home: responds immediately or lets the device wait.
pub(crate) fn begin(shard: &mut State, key: SessionKey, admission: &Admission) {
    let Asks::Wake { wait_ms, close } = admission.asks else {
        return debug_assert!(false, "only a device asks here");
    };
    let (sockets, directory, cx, ..) = shard.parts();
    let evidence = Evidence::of_admission(admission);
    if disconnect::refuses_in_drain(sockets, cx, key, &evidence) {
        return;
    }
    if let Some(refusal) = directory.forbids_tagged_upgrade(cx, admission) {
        return refuse_upgrade(sockets, cx, key, &evidence, admission, &refusal);
    }
    let evidence = Evidence { close, ..evidence };
    let channel = match directory.channel_to_wake(&admission.arn, cx.at) {
        Ok(channel) => channel,
        Err(refusal) => return refuse(sockets, cx, key, &evidence, &refusal),
    };
    if let Some(older) = directory.end_wait(channel) {
        end(sockets, cx, &older, Some(replaced()));
    }
    let found = directory.found(sockets, channel, cx.at.now);
    if found != Found::Nothing {
        return answer(sockets, cx, key, (&admission.arn, found, close));
    }
    let account = Account::of(&admission.arn);
    let Some(payer) = directory.room_to_wait(account) else {
        return refuse(sockets, cx, key, &evidence, &full());
    };
    if let Some(payer) = payer {
        end(sockets, cx, &payer, Some(full()));
    }
    let until = admission.caller.expires_s();
    let key_ms = until.map_or(u64::MAX, |end| (end * 1000).saturating_sub(cx.at.wall.0));
    let deadline = cx.at.now.after(wait_ms.min(key_ms));
    let Some(http) = sockets.http(key) else {
        return;
    };
    http.stage = HttpStage::AwaitWake(Box::new(AwaitedWake {
        channel,
        caller: admission.caller.held(),
        left_ms: 0,
        close,
    }));
    http.deadline = deadline;
    sockets.arm(key, deadline);
    directory.polls_mut().begin(account, channel, key);
}

/// Checks a channel that has changed: its waiting device is answered or keeps waiting.
pub(crate) fn look(shard: &mut State, (channel, change): (ChannelKey, PollChange)) {
    let (sockets, directory, cx, ..) = shard.parts();
    let Some(session) = directory.polls().of(channel) else {
        return;
    };
    let arn = directory.channel(channel).map(|it| it.record.arn.clone());
    let (Some(arn), PollChange::State) = (arn, change) else {
        let refusal = match change {
            PollChange::Deleted => Some(absent(Check::ChannelDeleting)),
            PollChange::State => None, // another node has it
        };
        if let Some(waited) = directory.end_wait(channel) {
            end(sockets, cx, &waited, refusal);
        }
        return;
    };
    let found = directory.found(sockets, channel, cx.at.now);
    if found == Found::Nothing {
        return;
    }
    directory.polls_mut().end(channel, session);
    if let Some(awaited) = sockets.take_awaited_wake(session) {
        answer(sockets, cx, session, (&arn, found, awaited.close));
        sockets.requests_go_on(session);
    }
}

/// Ends a device's wait with a 204 response because its time is up or the process is shutting down.
pub(crate) fn over(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) {
    if let Some(awaited) = sockets.take_awaited_wake(key) {
        cx.todo.push(Todo::PollOver(awaited.channel, key));
        answer_nothing(sockets, cx, key, awaited.close);
        sockets.requests_go_on(key);
    }
}

/// Schedules an authorization check of waiting devices after credentials or a channel's tags have changed, spread over
/// `RECHECK_CLOSE_MS`.
pub(crate) fn rules_changed(
    sockets: &mut Sockets,
    waiting: impl Iterator<Item = SessionKey>,
    at: Moment,
) {
    for key in waiting {
        let asked = sockets.spread_until(at.now.after(RECHECK_CLOSE_MS), at.now);
        let Some(http) = sockets.http(key).filter(|http| http.deadline > asked) else {
            continue;
        };
        if let HttpStage::AwaitWake(awaited) = &mut http.stage {
            let left_ms = http.deadline.since(asked) + u64::from(awaited.left_ms);
            awaited.left_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
            http.deadline = asked;
            sockets.arm(key, asked);
        }
    }
}

/// Handles the deadline of a waiting device: ends its wait, or reauthorizes the device if it has time left.
pub(crate) fn due(sockets: &mut Sockets, cx: &mut Context, (key, left_ms): (SessionKey, u32)) {
    if left_ms > 0 {
        cx.todo.push(Todo::AskAgain(key));
    } else {
        over(sockets, cx, key);
    }
}

/// Whether a waiting device is no longer authorized to wait. The caller must then respond with 204; the device's next
/// request is refused with the reason.
pub(crate) fn refuses(
    sockets: &mut Sockets,
    directory: &Directory,
    cx: &mut Context,
    (gate, key): (&mut Gate, SessionKey),
) -> bool {
    let peer = sockets.session(key).map(Session::peer);
    let http = sockets.http(key);
    let (Some(peer), Some(http)) = (peer, http) else {
        return false;
    };
    let HttpStage::AwaitWake(awaited) = &mut http.stage else {
        return false;
    };
    let channel = directory.channel(awaited.channel);
    let answer = awaited.caller.as_ref().zip(channel);
    let answer = answer.and_then(|(held, channel)| {
        let asked = AllowedCaller {
            held,
            client_id: None,
            since: cx.at.now,
            peer,
        };
        recheck::judge(&asked, &channel.record, cx, gate)
    });
    match answer {
        Some(Err(_)) => return true,
        Some(Ok(caller)) => awaited.caller = Some(caller),
        None => {}
    }
    let ends = http.deadline.after(awaited.left_ms.into());
    awaited.left_ms = 0;
    http.deadline = ends;
    sockets.arm(key, ends);
    false
}

/// A device removed from its channel's waiting list.
struct Waited {
    session: SessionKey,
    /// The channel's name, if the channel is still on this shard.
    channel: Option<Box<str>>,
}

/// Ends a device's wait, either with a refusal or because its time is up or the channel moved to another node.
fn end(sockets: &mut Sockets, cx: &mut Context, waited: &Waited, refusal: Option<Refusal>) {
    let session = waited.session;
    let Some(awaited) = sockets.take_awaited_wake(session) else {
        return debug_assert!(false, "a device that waits is connected");
    };
    let evidence = Evidence {
        close: awaited.close,
        channel: waited.channel.as_deref(),
        ..Evidence::of(Purpose::Wake)
    };
    match refusal {
        None => answer_nothing(sockets, cx, session, awaited.close),
        Some(refusal) => refuse(sockets, cx, session, &evidence, &refusal),
    }
    sockets.requests_go_on(session);
}

/// Responds to a device with its channel's state.
fn answer(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    (arn, found, close): (&ChannelArn, Found, bool),
) {
    let Found::Kept(until) = found else {
        return answer_nothing(sockets, cx, key, close);
    };
    let until = Wall(cx.at.wall.0 + until.since(cx.at.now));
    // Neither has a character that JSON escapes.
    let (name, until) = (arn.name(), rfc3339(until.0));
    let body = format!(r#"{{"channel":"{name}","until":"{until}"}}"#);
    let answer = Response::json(Purpose::Wake, body.as_bytes(), close);
    responses::respond(sockets, cx, key, &answer);
}

/// Sends a 204 response.
pub(crate) fn answer_nothing(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    close: bool,
) {
    let answer = Response {
        status: 204,
        content_type: "",
        ..Response::json(Purpose::Wake, b"", close)
    };
    responses::respond(sockets, cx, key, &answer);
}

/// Returns the error for a device that is replaced by a newer one.
fn replaced() -> Refusal {
    let error = ErrorCode::Fixed(409, ErrorKind::ResourceInUse.error_type());
    let message = "A newer request of this channel waits in place of this one.";
    Refusal::new(Check::WakePollReplaced, error, message)
}

/// Returns the error when the maximum number of devices is already waiting.
fn full() -> Refusal {
    let message = "As many devices of this account wait as may. Try again later.";
    Refusal::limited(Check::WakePollsFull, message)
}

impl Directory {
    /// Removes the device waiting on a channel, if any.
    fn end_wait(&mut self, channel: ChannelKey) -> Option<Waited> {
        let session = self.polls().of(channel)?;
        self.polls_mut().end(channel, session);
        let channel = self.channel(channel);
        Some(Waited {
            session,
            channel: channel.map(|channel| channel.record.arn.name().into()),
        })
    }

    /// Makes room for another waiting device of this account. Returns the device evicted for it, if any, or `None` if
    /// no room can be made.
    fn room_to_wait(&mut self, account: Account) -> Option<Option<Waited>> {
        match self.polls().room(account) {
            PollRoom::Free => Some(None),
            PollRoom::InPlaceOf(other) => Some(self.end_wait(other)),
            PollRoom::None => None,
        }
    }

    /// Finds the channel that a device polls; never creates one.
    fn channel_to_wake(&self, arn: &ChannelArn, at: Moment) -> Result<ChannelKey, Refusal> {
        let identity = Identity::of(arn);
        if !self.serves(&identity, at.now) {
            return Err(nobody());
        }
        let channel = self.find_active(arn);
        channel.ok_or_else(|| self.not_found(&identity, Some(arn)))
    }

    /// Returns the channel state to report to the device.
    fn found(&self, sockets: &Sockets, channel: ChannelKey, now: Now) -> Found {
        let Some(live) = self.channel(channel).and_then(Channel::live) else {
            return Found::Nothing;
        };
        let master = live.members.master();
        let master = master.and_then(|master| sockets.session(master));
        let doubtful = master.filter(|master| master.outbox.doubtful_since().is_some());
        if master.is_some() && doubtful.is_none() {
            return Found::Master;
        }
        let unconfirmed = doubtful.into_iter().flat_map(|it| it.outbox.unconfirmed());
        let unconfirmed = unconfirmed.map(|(launch, _)| launch.expires);
        let kept = live.pending.for_master().map(|kept| kept.message.expires);
        let calls = live.calls.iter().map(|call| call.expires);
        let until = kept.chain(calls).chain(unconfirmed).max();
        let until = until.filter(|until| *until > now);
        until.map_or(Found::Nothing, Found::Kept)
    }
}

impl Sockets {
    /// Ends the wait of the device on this connection; `None` if no device is waiting on it.
    fn take_awaited_wake(&mut self, key: SessionKey) -> Option<AwaitedWake> {
        let http = self.http(key)?;
        let stage = std::mem::replace(&mut http.stage, HttpStage::AwaitHead);
        if let HttpStage::AwaitWake(awaited) = stage {
            return Some(*awaited);
        }
        http.stage = stage;
        None
    }

    /// Ends the wait of a device that hung up. Returns `false` if it was not waiting.
    pub(crate) fn leave_wait(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let awaited = self.take_awaited_wake(key);
        if let Some(awaited) = &awaited {
            cx.todo.push(Todo::PollOver(awaited.channel, key));
        }
        awaited.is_some()
    }
}
