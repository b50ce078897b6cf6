//! Faults that affect connections and requests: connections fall silent or close, and requests are refused or never
//! answered.

use crate::machine::Output;
use crate::refusal::{ErrorCode, Refusal};
use crate::session::http::Admission;
use crate::session::{NEVER, SendState, Session};
use crate::shard::calls::responses::refuse;
use crate::shard::dev::faults::{FaultAct, FaultSubject, RequestAct, SessionAct};
use crate::shard::dev::injected::take_over;
use crate::shard::dev::state::Interposer;
use crate::shard::evidence::Evidence;
use crate::shard::state::State;
use crate::shard::{calls::BegunCall, sockets::Sockets};
use crate::time::{Moment, Now};
use crate::{check::Check, id::SessionKey, journal::EndReason};
use codec::control::{Call, Selector};
use codec::signal::Role;
use codec::ws::{self, Opcode, close};

/// Mutes a connection until `until`, or longer if another fault requires it.
fn mute(own: &mut Interposer, sockets: &mut Sockets, key: SessionKey, until: Now) {
    let held = &mut own.faults.held;
    held.forget_gone(|session| sockets.session(session).is_some());
    if let Some(session) = sockets.session_mut(key) {
        // When a temporary mute ends, the withheld bytes must be announced again.
        session.sending = match held.mute(key, until) {
            NEVER => SendState::WithheldForGood,
            _ => SendState::Withheld,
        };
    }
}

/// Unmutes a connection: sends the data queued while it was muted, resumes its queued requests, and restarts its
/// deadlines.
fn unmute(sockets: &mut Sockets, key: SessionKey, at: Moment) {
    sockets.show(key);
    let timeouts = &sockets.settings().timeouts;
    let from = sockets.waits_from(at);
    let (answer_due, deadline) = (
        from.after(timeouts.answer_ms),
        from.after(timeouts.keep_alive_ms),
    );
    if let Some(http) = sockets.http(key) {
        if http.answer_due != NEVER {
            http.answer_due = answer_due;
        }
        http.deadline = http.deadline.max(deadline);
        if !http.buffer.is_empty() {
            sockets.turns.answered.push_back(key);
        }
    }
    sockets.touch(key);
    sockets.arm(key, at.now.after(1));
    let close_due = from.after(sockets.settings().timeouts.close_ms);
    if sockets.put_off_end(key, close_due) {
        sockets.output(Output::Close(key));
    }
}

/// Ends expired faults, a limited number per call. Resumes sending on muted connections, and reading on half-open ones.
pub(crate) fn unmute_due(own: &mut Interposer, sockets: &mut Sockets, at: Moment) {
    let held = &mut own.faults.held;
    for key in take_over(&mut held.mutes, at.now) {
        unmute(sockets, key, at);
    }
    for key in take_over(&mut held.half_open, at.now) {
        sockets.half_open(key, false);
        sockets.output(Output::Send(key));
    }
}

/// Applies the first matching session fault to an open WebSocket.
pub(crate) fn on_session(shard: &mut State, key: SessionKey) {
    let Some((own, sockets, directory, cx)) = shard.interposed() else {
        return;
    };
    let session = sockets.session(key).and_then(Session::open);
    let Some(web_socket) = session.filter(|it| !it.superseded) else {
        return;
    };
    let channel = directory.channel(web_socket.channel);
    let subject = FaultSubject {
        channel: channel.map(|channel| channel.record.arn.name()),
        role: Some(web_socket.role.on_wire()),
        client_id: web_socket.role.client_id(),
        ..FaultSubject::default()
    };
    if let Some((act, _)) = (own.faults).pick(FaultAct::on_session, &subject, cx.at.now) {
        act_on_session(shard, key, &act);
    }
}

/// Performs `act` on an open WebSocket. Does nothing if the connection has been superseded.
pub(crate) fn act_on_session(shard: &mut State, key: SessionKey, act: &SessionAct) {
    let Some((own, sockets, _, cx)) = shard.interposed() else {
        return;
    };
    if sockets.web_socket(key).is_none_or(|it| it.superseded) {
        return;
    }
    let held = &mut own.faults.held;
    match act {
        SessionAct::GoAway { grace_ms } => {
            sockets.go_away(cx, key);
            let (end, text) = (cx.at.now.after(*grace_ms), "Going away".into());
            held.close_at(end, key, close::GOING_AWAY, text);
        }
        SessionAct::Close {
            code,
            reason,
            after_ms: 0,
        } => sockets.close_with(cx, key, (EndReason::Operator, *code, reason)),
        SessionAct::Close {
            code,
            reason,
            after_ms,
        } => held.close_at(cx.at.now.after(*after_ms), key, *code, reason.clone()),
        SessionAct::Stall(ms) => {
            let until = ms.map_or(NEVER, |ms| cx.at.now.after(ms));
            mute(own, sockets, key, until);
        }
        SessionAct::HalfOpen(ms) => {
            (held.half_open).insert(key, ms.map_or(NEVER, |ms| cx.at.now.after(ms)));
            sockets.half_open(key, true);
            sockets.output(Output::Send(key)); // the edge then checks whether to read on
        }
        SessionAct::ReconnectIce => {
            sockets.reconnect(cx, key);
        }
        SessionAct::SendEmpty => {
            sockets.push_control(cx, key, |out| ws::frame(out, Opcode::Text, b""));
        }
        SessionAct::Reset => {
            sockets.because(key, EndReason::Operator);
            sockets.output(Output::Reset(key));
            sockets.abort(cx, key);
        }
    }
}

// Request faults: API calls and upgrades.

/// Applies a fault to a WebSocket request. Returns `true` if the fault has taken over the request.
pub(crate) fn on_connect(shard: &mut State, key: SessionKey, admission: &Admission) -> bool {
    let client_id = admission.client_id.as_deref();
    let role = client_id.map_or(Role::Master, |_| Role::Viewer);
    let subject = FaultSubject {
        channel: Some(admission.arn.name()),
        role: Some(role),
        client_id,
        ..FaultSubject::default()
    };
    let evidence = Evidence::of_admission(key, admission);
    disturb(shard, FaultAct::on_connect, &subject, evidence)
}

/// Applies a fault to an API call. Returns `true` if the fault has taken over the call.
pub(crate) fn on_call(shard: &mut State, begun: &BegunCall) -> bool {
    let BegunCall { key, asked, call } = begun;
    let subject = FaultSubject {
        channel: channel_of(call),
        operation: Some(asked.operation),
        ..FaultSubject::default()
    };
    let evidence = Evidence::of_call(*key, asked);
    disturb(shard, FaultAct::on_call, &subject, evidence)
}

/// Returns the name of the channel to which a call refers, if any.
fn channel_of(call: &Call) -> Option<&str> {
    match call {
        Call::Create(create) => Some(create.name.as_str()),
        Call::Describe(channel) | Call::MediaStorage(channel) => Some(selected(channel)),
        Call::List(_) | Call::MappedResource(_) => None,
        Call::Update(_)
        | Call::Delete(_)
        | Call::Tag(_)
        | Call::Untag(_)
        | Call::ListTags(_)
        | Call::Endpoint(_)
        | Call::UpdateMediaStorage(_)
        | Call::Ice(_)
        | Call::Alexa(_)
        | Call::Join(_)
        | Call::JoinAsViewer(_) => call.arn().map(codec::identifiers::ChannelArn::name),
    }
}

fn selected(channel: &Selector) -> &str {
    match channel {
        Selector::ByName(name) => name.as_str(),
        Selector::ByArn(arn) => arn.name(),
    }
}

/// Applies a fault to a request. Returns `true` if the fault has taken over the request.
fn disturb(
    shard: &mut State,
    kind: fn(&FaultAct) -> Option<&RequestAct>,
    subject: &FaultSubject<'_>,
    evidence: Evidence<'_>,
) -> bool {
    let key = evidence.key;
    let Some((own, sockets, _, cx)) = shard.interposed() else {
        return false;
    };
    let Some((act, rule)) = own.faults.pick(kind, subject, cx.at.now) else {
        return false;
    };
    match act {
        RequestAct::Refuse {
            error,
            status,
            message,
        } => {
            let fault = Some(rule.number);
            let evidence = Evidence { fault, ..evidence };
            let operation = evidence.purpose.operation();
            let status = status.unwrap_or_else(|| error.status(operation));
            let error = ErrorCode::Injected(status, error.name, error.form(operation));
            let refusal = Refusal::new(Check::FaultInjected, error, message.to_string());
            refuse(shard, &evidence, &refusal);
        }
        RequestAct::Delay(ms) => {
            mute(own, sockets, key, cx.at.now.after(ms));
            return false;
        }
        RequestAct::Hang => mute(own, sockets, key, NEVER),
        RequestAct::Reset => {
            sockets.output(Output::Reset(key));
            sockets.abort(cx, key);
        }
    }
    true
}
