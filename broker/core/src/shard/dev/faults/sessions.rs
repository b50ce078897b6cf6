//! Faults of connections: they fall silent, or end.

use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::FAULTS_DUE_PER_TICK;
use crate::machine::Output;
use crate::session::{NEVER, Session};
use crate::shard::books::Books;
use crate::shard::dev::faults::held::Later;
use crate::shard::dev::faults::rule::Subject;
use crate::shard::dev::faults::{FaultAct, SessionAct, SharedRule};
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::{Moment, Now};
use codec::ws::close;

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
    }
}

/// Has a fault act on an open WebSocket of a channel of this name.
pub(crate) fn on_session(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    name: Option<&str>,
    at: Moment,
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
    let rule = (sockets.dev().faults.as_deref()).and_then(|it| it.pick(sessions, &subject, at.now));
    if let Some(FaultAct::Session(on)) = rule.as_deref().map(|rule| &rule.act) {
        act(sockets, books, todo, key, on, at);
    }
}

/// Acts on an open WebSocket that has its slot; on no other connection.
pub(crate) fn act(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    act: &SessionAct,
    at: Moment,
) {
    if sockets.web_socket(key).is_none_or(|it| it.superseded) {
        return;
    }
    match act {
        SessionAct::GoAway { grace_ms } => {
            sockets.go_away(books, key, at);
            let (end, text) = (at.now.after(*grace_ms), "Going away");
            close_later(sockets, end, key, close::GOING_AWAY, text);
        }
        SessionAct::Close {
            code,
            reason,
            after_ms: 0,
        } => {
            let ending = (EndReason::Operator, *code, &**reason);
            sockets.close_with(books, todo, key, ending, at);
        }
        SessionAct::Close {
            code,
            reason,
            after_ms,
        } => close_later(sockets, at.now.after(*after_ms), key, *code, reason),
        SessionAct::Stall(ms) => sockets.mute(key, ms.map_or(NEVER, |ms| at.now.after(ms))),
        SessionAct::ReconnectIce => {
            sockets.reconnect(books, key, at);
        }
        SessionAct::Reset => {
            sockets.because(key, EndReason::Operator);
            sockets.output(Output::Reset(key));
            sockets.abort(books, todo, key, at);
        }
    }
}

fn close_later(sockets: &mut Sockets, when: Now, key: SessionKey, code: u16, reason: &str) {
    if let Some(faults) = &mut sockets.dev_mut().faults {
        faults.held.close_at(when, key, code, reason.into());
    }
}
