//! Serves devices that poll for waiting clients (`GET /wake`). See codec/PROTOCOL.md, WAKE.
//!
//! As with an upgrade, the connection moves to the shard that owns the channel, and the device waits there without
//! involving any other shard. The channel is checked when the device arrives, and after every input that changes the
//! channel.

use crate::id::{Account, ChannelKey, Identity, SessionKey};
use crate::refusal::{ErrorCode, Refusal};
use crate::session::Session;
use crate::session::http::{Admission, Asks, AwaitedWake, HttpStage};
use crate::shard::calls::responses::{self, Response, absent, nobody, refuse, shutting_down};
use crate::shard::connect::upgrades::refuse_upgrade;
use crate::shard::directory::waiting_callers::PollChange;
use crate::shard::evidence::Evidence;
use crate::shard::recheck::{self, AllowedCaller};
use crate::shard::shares::RoomFor;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Directory, Sockets};
use crate::time::{Now, Wall};
use crate::{check::Check, event::Purpose, limits::RECHECK_CLOSE_MS};
use codec::{calendar::rfc3339, control::ErrorKind, identifiers::ChannelArn};

/// The channel state that is reported to a polling device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// No client is waiting for the device.
    Nothing,
    /// Messages are pending for the device, until this time at the latest.
    Kept(Now),
    /// A master is connected.
    Master,
}

/// Handles a device's poll on the shard that owns its channel: responds immediately, or makes the device wait.
pub(crate) fn begin(shard: &mut State, key: SessionKey, admission: &Admission) {
    let Asks::Wake { wait_ms, close } = admission.asks else {
        return debug_assert!(false, "only a device asks here");
    };
    let (sockets, directory, cx, ..) = shard.parts();
    let evidence = Evidence::of_admission(key, admission);
    if sockets.drains() {
        return refuse(shard, &evidence, &shutting_down());
    }
    if let Some(refusal) = directory.forbids_upgrade(cx, admission) {
        return refuse_upgrade(shard, &evidence, admission, &refusal);
    }
    let evidence = Evidence { close, ..evidence };
    let channel = match polled(directory, &admission.arn, cx.at.now) {
        Ok(channel) => channel,
        Err(refusal) => return refuse(shard, &evidence, &refusal),
    };
    end_wait(shard, channel, Some(replaced()));
    let (sockets, directory, cx, ..) = shard.parts();
    let found = found(directory, sockets, channel, cx.at.now);
    if found != Found::Nothing {
        return answer(shard, key, &admission.arn, found, close);
    }
    let account = Account::of(&admission.arn);
    match directory.polls.room(account) {
        RoomFor::Free => {}
        RoomFor::InPlaceOf(other) => end_wait(shard, other, Some(full())),
        RoomFor::None => return refuse(shard, &evidence, &full()),
    }
    let (sockets, directory, cx, ..) = shard.parts();
    let until = admission.caller.expires_s();
    let key_ms = until.map_or(u64::MAX, |end| (end * 1000).saturating_sub(cx.at.wall.0));
    let deadline = cx.at.now.after(wait_ms.min(key_ms));
    let stage = HttpStage::AwaitWake(Box::new(AwaitedWake {
        channel,
        caller: admission.caller.held(),
        left_ms: 0,
        close,
    }));
    if sockets.wait_in(key, stage, deadline) {
        directory.polls.begin(account, channel, key);
    }
}

/// Checks a channel after a change, and answers the waiting device if there is now something to report.
pub(crate) fn look(shard: &mut State, (channel, change): (ChannelKey, PollChange)) {
    let (sockets, directory, cx, ..) = shard.parts();
    let Some(session) = directory.polls.of(channel) else {
        return;
    };
    let arn = directory.channel(channel).map(|it| it.record.arn.clone());
    let (Some(arn), PollChange::State) = (arn, change) else {
        let refusal = match change {
            PollChange::Deleted => Some(absent(Check::ChannelDeleting)),
            PollChange::State => None, // the channel is on another node
        };
        return end_wait(shard, channel, refusal);
    };
    let found = found(directory, sockets, channel, cx.at.now);
    if found == Found::Nothing {
        return;
    }
    directory.polls.end(channel, session);
    if let Some(awaited) = sockets.take_awaited_wake(session) {
        answer(shard, session, &arn, found, awaited.close);
        shard.sockets.turns.answered.push_back(session);
    }
}

/// Ends a device's wait with a 204 response, because it has timed out or the process is shutting down.
pub(crate) fn over(shard: &mut State, key: SessionKey) {
    let (sockets, _, cx, _) = shard.parts();
    if let Some(awaited) = sockets.take_awaited_wake(key) {
        cx.todo.push(Todo::PollOver(awaited.channel, key));
        answer_nothing(shard, key, awaited.close);
        shard.sockets.turns.answered.push_back(key);
    }
}

/// Schedules an authorization check of a waiting device after a change to the credentials or to the channel's tags. The
/// checks of all devices are spread over `RECHECK_CLOSE_MS`.
pub(crate) fn rules_changed(sockets: &mut Sockets, waiting: SessionKey, now: Now) {
    let asked = now.after(RECHECK_CLOSE_MS);
    let asked = sockets.ends.spread_until(asked, now);
    let http = sockets.http(waiting);
    let Some(http) = http.filter(|http| http.deadline > asked) else {
        return;
    };
    if let HttpStage::AwaitWake(awaited) = &mut http.stage {
        let left_ms = http.deadline.since(asked) + u64::from(awaited.left_ms);
        awaited.left_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
        http.deadline = asked;
        sockets.arm(waiting, asked);
    }
}

/// Rechecks a waiting device's authorization. Returns `true` if the device is no longer authorized. The caller then
/// responds with 204, and the device learns the reason when its next request is refused.
pub(crate) fn refuses(shard: &mut State, key: SessionKey) -> bool {
    let (sockets, directory, cx, gate) = shard.parts();
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

/// Ends the wait of the channel's device, if there is one. Responds with `refusal` or, if that is `None`, with 204.
fn end_wait(shard: &mut State, channel: ChannelKey, refusal: Option<Refusal>) {
    let (sockets, directory, ..) = shard.parts();
    let Some(session) = directory.polls.of(channel) else {
        return;
    };
    directory.polls.end(channel, session);
    let Some(awaited) = sockets.take_awaited_wake(session) else {
        return debug_assert!(false, "a device that waits is connected");
    };
    let channel = directory.channel(channel);
    let channel = channel.map(|channel| Box::<str>::from(channel.record.arn.name()));
    let evidence = Evidence {
        close: awaited.close,
        channel: channel.as_deref(),
        ..Evidence::of(session, Purpose::Wake)
    };
    match refusal {
        None => answer_nothing(shard, session, awaited.close),
        Some(refusal) => refuse(shard, &evidence, &refusal),
    }
    shard.sockets.turns.answered.push_back(session);
}

/// Sends a device the state of its channel.
fn answer(shard: &mut State, key: SessionKey, arn: &ChannelArn, found: Found, close: bool) {
    let cx = &mut shard.cx;
    let Found::Kept(until) = found else {
        return answer_nothing(shard, key, close);
    };
    let until = Wall(cx.at.wall.0 + until.since(cx.at.now));
    // Neither value contains characters that need escaping in JSON.
    let (name, until) = (arn.name(), rfc3339(until.0));
    let body = format!(r#"{{"channel":"{name}","until":"{until}"}}"#);
    let answer = Response::json(key, Purpose::Wake, body.as_bytes(), close);
    responses::respond(shard, &answer);
}

/// Sends a 204 response.
pub(crate) fn answer_nothing(shard: &mut State, key: SessionKey, close: bool) {
    let answer = Response {
        status: 204,
        content_type: "",
        ..Response::json(key, Purpose::Wake, b"", close)
    };
    responses::respond(shard, &answer);
}

/// Returns the error for a device that a newer one has replaced.
fn replaced() -> Refusal {
    let error = ErrorCode::Fixed(409, ErrorKind::ResourceInUse.error_type());
    let message = "A newer request of this channel waits in place of this one.";
    Refusal::new(Check::WakePollReplaced, error, message)
}

/// Returns the error for a device that cannot wait because too many devices are already waiting.
fn full() -> Refusal {
    let message = "As many devices of this account wait as may. Try again later.";
    Refusal::limited(Check::WakePollsFull, message)
}

/// Returns the channel that a device polls. Unlike an upgrade, a poll never creates the channel.
fn polled(directory: &Directory, arn: &ChannelArn, now: Now) -> Result<ChannelKey, Refusal> {
    let identity = Identity::of(arn);
    if !directory.serves(&identity, now) {
        return Err(nobody());
    }
    let channel = directory.find_active(arn);
    channel.ok_or_else(|| directory.not_found(&identity, Some(arn)))
}

/// Returns the channel state to report to the device.
fn found(directory: &Directory, sockets: &Sockets, channel: ChannelKey, now: Now) -> Found {
    let Some(live) = directory.live(channel) else {
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
