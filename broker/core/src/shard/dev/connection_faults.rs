//! Faults of connections, which fall silent or end, and of requests, which are refused or not answered.

use crate::machine::Output;
use crate::refusal::{ErrorCode, Refusal};
use crate::session::http::Admission;
use crate::session::{NEVER, Session};
use crate::shard::calls::responses::refuse;
use crate::shard::context::Context;
use crate::shard::dev::faults::{FaultAct, Later, RequestAct, SessionAct, SharedRule, Subject};
use crate::shard::telemetry::Evidence;
use crate::shard::{calls::BegunCall, sockets::Sockets};
use crate::time::{Moment, Now};
use crate::{check::Check, id::SessionKey, journal::EndReason, limits::FAULTS_DUE_PER_TICK};
use codec::control::{Call, Selector};
use codec::signal::Role;
use codec::ws::{self, Opcode, close};

impl Sockets {
    /// When a fault has something to do.
    pub(crate) fn next_fault(&self) -> Option<Now> {
        self.dev()
            .faults
            .as_deref()
            .and_then(|faults| faults.held.next())
    }

    /// A connection is gone.
    pub(crate) fn forget_faults(&mut self, key: SessionKey) {
        if let Some(faults) = &mut self.dev_mut().faults {
            faults.held.forget(key);
            faults.held.mend(key);
            self.show(key);
        }
    }

    pub(crate) fn mute(&mut self, key: SessionKey, until: Now) {
        let Some(mut faults) = self.dev_mut().faults.take() else {
            return;
        };
        (faults.held).forget_gone(|session| self.session(session).is_some());
        if self.session(key).is_some() {
            let until = faults.held.mute(key, until);
            self.withhold(key, until == NEVER);
        }
        self.dev_mut().faults = Some(faults);
    }

    /// Sends what waited meanwhile; requests that waited are next. The deadlines of the connection begin again.
    fn unmute(&mut self, key: SessionKey, at: Moment) {
        self.show(key);
        let timeouts = &self.settings().timeouts;
        let from = self.waits_from(at);
        let (answer_due, deadline) = (
            from.after(timeouts.answer_ms),
            from.after(timeouts.keep_alive_ms),
        );
        if let Some(http) = self.http(key) {
            if http.answer_due != NEVER {
                http.answer_due = answer_due;
            }
            http.deadline = http.deadline.max(deadline);
            if !http.buffer.is_empty() {
                self.requests_go_on(key);
            }
        }
        self.touch(key);
        self.arm(key, at.now.after(1));
        let close_due = from.after(self.settings().timeouts.close_ms);
        if self.put_off_end(key, close_due) {
            self.output(Output::Close(key));
        }
    }
}

impl Sockets {
    /// Takes a fault in. True when it is one about sessions: it acts on those that are open.
    pub(crate) fn add_fault(&mut self, rule: SharedRule, at: Moment) -> bool {
        let Some(faults) = &mut self.dev_mut().faults else {
            return false;
        };
        let about_sessions = matches!(rule.act, FaultAct::Session(_));
        faults.add(rule, at.now);
        about_sessions
    }

    /// The next thing that faults held back until now.
    pub(crate) fn take_held(&mut self, at: Moment) -> Option<Later> {
        let faults = self.dev_mut().faults.as_deref_mut()?;
        faults.held.take_due(at.now)
    }

    /// Connections that faults kept silent until now are sent something again, a bounded number.
    pub(crate) fn unmute_due(&mut self, at: Moment) {
        for _ in 0..FAULTS_DUE_PER_TICK {
            let due = self.dev_mut().faults.as_deref_mut();
            match due.and_then(|faults| faults.held.take_unmuted(at.now)) {
                Some(key) => self.unmute(key, at),
                None => break,
            }
        }
        for _ in 0..FAULTS_DUE_PER_TICK {
            let due = self.dev_mut().faults.as_deref_mut();
            match due.and_then(|faults| faults.held.take_mended(at.now)) {
                Some(key) => self.output(Output::Send(key)),
                None => break,
            }
        }
    }

    /// Whether a fault has the peer of a connection seem cut off.
    #[inline]
    pub(crate) fn is_half_open(&self, key: SessionKey) -> bool {
        let faults = self.dev().faults.as_deref();
        faults.is_some_and(|faults| faults.held.is_half_open(key))
    }
}

/// Has a fault act on an open WebSocket of a channel of this name.
pub(crate) fn on_session(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    name: Option<&str>,
) {
    let session = sockets.session(key).and_then(Session::open);
    let Some(web_socket) = session.filter(|it| !it.superseded) else {
        return;
    };
    let subject = Subject {
        channel: name,
        role: Some(web_socket.role.on_wire()),
        client_id: web_socket.role.client_id(),
        ..Subject::default()
    };
    let sessions = |act: &FaultAct| matches!(act, FaultAct::Session(_));
    let rule =
        (sockets.dev().faults.as_deref()).and_then(|it| it.pick(sessions, &subject, cx.at.now));
    if let Some(FaultAct::Session(on)) = rule.as_deref().map(|rule| &rule.act) {
        act_on_session(sockets, cx, key, on);
    }
}

/// Acts on an open WebSocket that has its slot; on no other connection.
pub(crate) fn act_on_session(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    act: &SessionAct,
) {
    if sockets.web_socket(key).is_none_or(|it| it.superseded) {
        return;
    }
    match act {
        SessionAct::GoAway { grace_ms } => {
            sockets.go_away(cx, key);
            let (end, text) = (cx.at.now.after(*grace_ms), "Going away");
            close_later(sockets, end, key, close::GOING_AWAY, text);
        }
        SessionAct::Close {
            code,
            reason,
            after_ms: 0,
        } => {
            let ending = (EndReason::Operator, *code, &**reason);
            sockets.close_with(cx, key, ending);
        }
        SessionAct::Close {
            code,
            reason,
            after_ms,
        } => close_later(sockets, cx.at.now.after(*after_ms), key, *code, reason),
        SessionAct::Stall(ms) => sockets.mute(key, ms.map_or(NEVER, |ms| cx.at.now.after(ms))),
        SessionAct::HalfOpen(ms) => {
            let until = ms.map_or(NEVER, |ms| cx.at.now.after(ms));
            if let Some(faults) = &mut sockets.dev_mut().faults {
                faults.held.half_open(key, until);
                sockets.output(Output::Send(key)); // the edge asks whether to read on
            }
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

fn close_later(sockets: &mut Sockets, when: Now, key: SessionKey, code: u16, reason: &str) {
    if let Some(faults) = &mut sockets.dev_mut().faults {
        faults.held.close_at(when, key, code, reason.into());
    }
}

// Faults of requests: calls of the API, and upgrades.

/// Has a fault act on a request for a WebSocket; true when the request is dealt with.
pub(crate) fn on_connect(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    admission: &Admission,
) -> bool {
    let client_id = admission.client_id.as_deref();
    let role = client_id.map_or(Role::Master, |_| Role::Viewer);
    let subject = Subject {
        channel: Some(admission.arn.name()),
        role: Some(role),
        client_id,
        ..Subject::default()
    };
    let connects = |act: &FaultAct| matches!(act, FaultAct::Connect(_));
    let rule =
        (sockets.dev().faults.as_deref()).and_then(|it| it.pick(connects, &subject, cx.at.now));
    let Some(FaultAct::Connect(act)) = rule.as_deref().map(|rule| &rule.act) else {
        return false;
    };
    let evidence = Evidence {
        fault: rule.as_deref().map(|rule| rule.number),
        ..Evidence::of_admission(admission)
    };
    disturb(sockets, cx, key, &evidence, act)
}

/// Has a fault act on a call; true when the call is dealt with.
pub(crate) fn on_call(sockets: &mut Sockets, cx: &mut Context, begun: &BegunCall) -> bool {
    let BegunCall { key, asked, call } = begun;
    let subject = Subject {
        channel: channel_of(call),
        operation: Some(asked.operation),
        ..Subject::default()
    };
    let calls = |act: &FaultAct| matches!(act, FaultAct::Api(_));
    let rule = (sockets.dev().faults.as_deref()).and_then(|it| it.pick(calls, &subject, cx.at.now));
    let Some(FaultAct::Api(act)) = rule.as_deref().map(|rule| &rule.act) else {
        return false;
    };
    let evidence = Evidence {
        fault: rule.as_deref().map(|rule| rule.number),
        ..Evidence::of_call(asked)
    };
    disturb(sockets, cx, *key, &evidence, act)
}

/// The name of the channel that a call is about.
fn channel_of(call: &Call) -> Option<&str> {
    match call {
        Call::Create(create) => Some(create.name.as_str()),
        Call::Describe(describe) => Some(selected(&describe.channel)),
        Call::MediaStorage(storage) => Some(selected(&storage.channel)),
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

/// Acts on a request; true when it is dealt with.
fn disturb(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    evidence: &Evidence<'_>,
    act: &RequestAct,
) -> bool {
    match act {
        RequestAct::Refuse {
            error,
            status,
            message,
        } => {
            let operation = evidence.purpose.operation();
            let status = status.unwrap_or_else(|| error.status(operation));
            let error = ErrorCode::Injected(status, error.name, error.form(operation));
            let refusal = Refusal::new(Check::FaultInjected, error, message.to_string());
            refuse(sockets, cx, key, evidence, &refusal);
            true
        }
        RequestAct::Delay(ms) => {
            sockets.mute(key, cx.at.now.after(*ms));
            false
        }
        RequestAct::Hang => {
            sockets.mute(key, NEVER);
            true
        }
        RequestAct::Reset => {
            sockets.output(Output::Reset(key));
            sockets.abort(cx, key);
            true
        }
    }
}
