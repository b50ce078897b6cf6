//! Handles expired deadlines and performs the steps of a drain. The code that closes connections is in
//! `sockets/ends.rs`.

use crate::channel::members::Members;
use crate::event::Purpose;
use crate::id::{ChannelKey, SessionKey};
use crate::machine::Intake;
use crate::refusal::Refusal;
use crate::session::http::HttpStage;
use crate::session::web_socket::{Due, Role};
use crate::session::{SessionState, Wait};
use crate::shard::calls::responses::refuse;
use crate::shard::calls::wake;
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::state::State;
use crate::shard::todo::{Each, Todo};
use crate::shard::{Directory, Sockets, onward};
use crate::time::Now;
use crate::{check::Check, journal::EndReason};
use codec::ws::{self, Opcode};
use std::iter::from_fn;

// Expired deadlines: overdue requests, silent or old connections, expired messages and calls.

/// Interval between checks of a stalled connection that has no other deadline, in milliseconds.
const STILL_LOOK_MS: u64 = 1000;

pub(crate) fn session_due(shard: &mut State, key: SessionKey) {
    let (sockets, _, cx, _) = shard.parts();
    let Some(session) = sockets.session(key) else {
        return;
    };
    if session.stands_still() {
        return sockets.arm(key, cx.at.now.after(STILL_LOOK_MS));
    }
    match session.waits(&sockets.settings().timeouts, cx.at.now) {
        Wait::Until(later) if later > cx.at.now => return sockets.arm(key, later),
        Wait::Until(_) => {}
        Wait::OwnTurn | Wait::Aborted => return,
    }
    match &session.state {
        SessionState::Http(_) => request_overdue(shard, key),
        SessionState::Open(_) => open_due(sockets, cx, key),
        SessionState::AwaitCloseEcho(..) | SessionState::AwaitGone(_) => sockets.abort(cx, key),
    }
}

/// Handles a request that did not arrive in time. Responds with 408 if part of a head or body has arrived, and just
/// closes the connection otherwise.
fn request_overdue(shard: &mut State, key: SessionKey) {
    let (sockets, _, cx, _) = shard.parts();
    let Some(http) = sockets.http(key) else {
        return;
    };
    if http.answer_due <= cx.at.now && !http.awaits_reply() {
        return sockets.abort(cx, key); // the peer does not read its responses
    }
    match &http.stage {
        HttpStage::AwaitTls => sockets.abort(cx, key),
        HttpStage::AwaitHead if http.buffer.is_empty() => sockets.close_when_sent(key, cx.at),
        HttpStage::AwaitHead => {
            let message = "The request head did not arrive in time.";
            let refusal = Refusal::of_head(Check::HeadTimeout, 408, message);
            refuse(shard, &Evidence::of(key, Purpose::Unknown), &refusal)
        }
        HttpStage::AwaitBody(awaited) => {
            let message = "The request body did not arrive in time.";
            let refusal = Refusal::of_head(Check::BodyTimeout, 408, message);
            let evidence = Evidence::of(key, awaited.target.purpose());
            refuse(shard, &evidence, &refusal)
        }
        HttpStage::AwaitReply(..) => {
            // The caller receives a 503 response. If an answer arrives later, it is dropped.
            sockets.hang_up(cx, key);
            sockets.note_unanswered(cx, key);
            if let Some(caller) = sockets.awaiting(key) {
                cx.todo.push(Todo::Overdue(caller));
            }
        }
        HttpStage::AwaitWake(awaited) if awaited.left_ms > 0 => {
            cx.todo.push(Todo::AskAgain(key));
        }
        HttpStage::AwaitWake(_) => wake::over(shard, key),
        HttpStage::AwaitHandover(..) | HttpStage::AwaitLink(_) | HttpStage::AwaitAdmin(_) => {
            sockets.abort(cx, key)
        }
        HttpStage::AwaitOwner(_) => onward::look_again(shard, key),
    }
}

/// Returns the error for a call that has timed out.
pub(crate) fn overdue() -> Refusal {
    let message = "The call took too long. Whether it changed anything is not known.";
    Refusal::unavailable(Check::ReplyTimeout, message)
}

fn open_due(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) {
    let paused = sockets.intake_of(key) == Intake::Paused && !sockets.is_half_open(key);
    let from = sockets.waits_from(cx.at);
    let Some((web_socket, settings)) = sockets.web_socket_and_settings(key) else {
        return;
    };
    if from > cx.at.now {
        web_socket.outlive_silence(from);
    }
    match web_socket.due(&settings.timeouts, cx.at.now) {
        Due::At(next) => return sockets.arm(key, next),
        Due::Ping => {
            let again = web_socket.awaits_pong();
            web_socket.sends(from);
            if !again {
                web_socket.pinged(from);
                if web_socket.role == Role::Master {
                    sockets.await_pong_of_master(key, from);
                }
            }
            if sockets.has_control_room(cx, key) {
                sockets.push_control(cx, key, |out| ws::frame(out, Opcode::Ping, &[]));
            }
        }
        // This process was not reading in the meantime, so a missing pong proves nothing. Restart the ping timer.
        Due::Unanswered if paused || web_socket.stood_still(&settings.timeouts, cx.at.now) => {
            web_socket.pinged(cx.at.now);
            if web_socket.role == Role::Master {
                sockets.await_pong_of_master(key, cx.at.now);
            }
        }
        Due::GoAway => sockets.go_away(cx, key),
        Due::Idle => sockets.close(cx, key, EndReason::Idle),
        Due::Unanswered => sockets.close(cx, key, EndReason::Unanswered),
        Due::Old if web_socket.is_asked() => cx.todo.push(Todo::AskAgain(key)),
        Due::Old => {
            let reason = web_socket.end();
            sockets.close(cx, key, reason);
        }
        Due::SlowMessage => sockets.close(cx, key, EndReason::SlowMessage),
    }
    sockets.arm_open(key, cx.at.now);
}

/// Handles a channel's deadline: drops expired pending messages, ends expired calls and closes connections that are
/// due.
pub(crate) fn channel_due(directory: &mut Directory, cx: &mut Context, key: ChannelKey) {
    if directory.channel(key).is_none() {
        return;
    }
    directory.expire_kept(cx, key);
    directory.offers_change(key, |offers| {
        offers.expire(cx.at.now); // messages held back for them follow the repeated offer
    });
    cx.todo.push(Todo::RepeatOffers(key));
    directory.expire_calls(cx, key);
    // A connection that has lost its slot must accept the rest of a message before its successor gets the slot.
    let now = cx.at.now;
    let mut members = directory.members_mut(key);
    let mut take = |take: fn(&mut Members, Now) -> Option<SessionKey>| {
        Vec::from_iter(from_fn(|| take(members.as_deref_mut()?, now)))
    };
    let asked = take(Members::take_holder_to_ask);
    let stuck = take(Members::take_overdue);
    let vacant = take(Members::take_for_vacancy);
    cx.todo.each(Each::Ask(asked.into_iter()));
    cx.todo
        .each(Each::abort(stuck, Some(EndReason::SupersededStuck)));
    for older in vacant {
        cx.todo
            .push(Todo::Close(older, EndReason::SupersededVacant));
    }
    directory.rest(key);
    cx.todo.push(Todo::Arm(key));
}

// The drain on shutdown. Clients that support GO_AWAY receive it first, then all connections are closed. Each phase is
// spread over time. At the end, pending calls are answered.
//
// Waiting devices are answered during the first phase.
// ```text
//  0 ─────────── ½ ────── ¾ ────── end
//  | GO_AWAY     | close  | echoes | waiting calls get 503, Drained
// ```
// Each phase walks the session table in proportion to the elapsed time. A step visits a bounded number of entries and
// leaves the rest for the next turn. The drain ends once no WebSocket, pending call or change in progress is left.

/// Performs the steps of the drain that are due.
pub(crate) fn step_drain(shard: &mut State) {
    let State { sockets, cx, .. } = shard;
    let places = sockets.places();
    let drain = sockets.ends.drain.as_mut();
    let Some(step) = drain.and_then(|drain| drain.step(places, cx.at.now)) else {
        return;
    };
    for place in step.told {
        let State { sockets, cx, .. } = shard;
        if let Some(key) = sockets.session_at(place) {
            sockets.go_away(cx, key);
            wake::over(shard, key);
        }
    }
    let State { sockets, cx, .. } = shard;
    for place in step.closed {
        if let Some(key) = sockets.session_at(place) {
            sockets.close(cx, key, EndReason::Drain);
        }
    }
    if step.ends_calls {
        cx.todo.push(Todo::FailCalls);
    }
}
