//! The end of connections: the part of it that belongs to the connection. What concerns its channel and its calls is
//! left to the shard ([`Todo`]).

use crate::event::ConnectionRole;
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::machine::Output;
use crate::session::web_socket::{Role, WebSocket};
use crate::session::{NEVER, Sending, SessionState};
use crate::shard::books::Books;
use crate::shard::shares::admitted::Standing;
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Gone, Left, MemberEnd, Returned, Todo, TodoList};
use crate::time::Moment;

impl Sockets {
    /// Begins the close handshake of an open WebSocket: a close frame, then the peer's echo is awaited.
    pub(crate) fn close(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        reason: EndReason,
        at: Moment,
    ) {
        let (code, text) = reason.close();
        self.close_with(books, todo, key, (reason, code, text), at);
    }

    /// The same with this code and text.
    pub(crate) fn close_with(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        (reason, code, text): (EndReason, u16, &str),
        at: Moment,
    ) {
        if self.web_socket(key).is_none() {
            return;
        }
        self.because(key, reason);
        self.leave(books, todo, key, at);
        self.push_control(books, key, |out| codec::ws::close_frame(out, code, text));
        let wait_ms = self.settings().timeouts.close_ms;
        let deadline = self.waits_from(at).after(wait_ms);
        self.await_close_echo(key, deadline);
    }

    /// The recipient does not read: 1008, as far as it will ever see it, and what it did not get goes back.
    pub(crate) fn cut_slow(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        if self.web_socket(key).is_some() {
            self.close(books, todo, key, EndReason::SlowConsumer, at);
            self.cut_off(books, todo, key, at);
        }
    }

    /// Lets the edge send what is queued and end the connection. A WebSocket has left its channel before, or leaves
    /// here.
    pub(crate) fn finish(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        self.depart(books, todo, key, at);
        self.close_when_sent(key, at);
    }

    /// The same for a connection that has left its channel or has none, and that waits for no answer of a call.
    pub(crate) fn close_when_sent(&mut self, key: SessionKey, at: Moment) {
        let deadline = self.waits_from(at).after(self.settings().timeouts.close_ms);
        let session = self.session(key);
        let waits = session.is_some_and(|session| session.sending == Sending::Withheld);
        if self.await_gone(key, deadline) {
            if !waits {
                self.output(Output::Close(key));
            }
            self.arm(key, deadline);
        }
    }

    /// Ends the connection at once, once.
    pub(crate) fn abort(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        let state = self.session(key).map(|session| &session.state);
        if matches!(state, Some(SessionState::AwaitGone(ending)) if ending.deadline == NEVER) {
            return;
        }
        self.depart(books, todo, key, at);
        self.await_gone(key, NEVER);
        self.output(Output::Abort(key));
    }

    /// The peer will send no more.
    pub(crate) fn peer_ended(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        let Some(session) = self.session(key) else {
            return;
        };
        let answers_wait = session.answers_wait();
        match &session.state {
            SessionState::Http(_) => self.sends_no_more(books, todo, key, answers_wait, at),
            // The node that passed it on may end: its client gets all that was begun, and a close frame.
            SessionState::Open(_) if session.peer().inner => {
                self.close(books, todo, key, EndReason::PeerGone, at);
                self.finish(books, todo, key, at);
            }
            SessionState::Open(_) => {
                self.because(key, EndReason::PeerGone);
                self.abort(books, todo, key, at);
            }
            SessionState::AwaitCloseEcho(..) => self.finish(books, todo, key, at),
            SessionState::AwaitGone(_) => {}
        }
    }

    /// The peer of an HTTP connection will send no more: it ends with the last answer, or at once if it waits for that
    /// of an Alexa call, or as a device.
    fn sends_no_more(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        answers_wait: bool,
        at: Moment,
    ) {
        let Some(http) = self.http(key) else {
            return;
        };
        http.ended = true;
        if http.awaits_reply() {
            if self.hang_up(todo, key) || self.leave_wait(todo, key) {
                self.abort(books, todo, key, at);
            }
        } else if !http.has_more(answers_wait) {
            self.close_when_sent(key, at);
        }
    }

    /// The edge has closed the connection.
    pub(crate) fn gone(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        self.depart(books, todo, key, at);
        let Some(mut session) = self.remove_session(key) else {
            return;
        };
        books.unload(session.outbox.load());
        let (peer, tally) = (session.peer(), session.tally().copied());
        let reason = session.reason().unwrap_or_else(|| self.cut_off_reason());
        let refused_by = session.take_refused();
        let last_frame = session.open().map(WebSocket::last_frame);
        let Some((channel, role)) = session.membership() else {
            return;
        };
        todo.push(Todo::Gone(Box::new(Gone {
            session: key,
            channel,
            role,
            peer,
            tally,
            last_frame,
            reason,
            refused_by,
            unsent: session.outbox.drain(),
        })));
    }

    /// The older connection of a slot falls silent; what it was not sent is for the newer one.
    pub(crate) fn supersede(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        older: SessionKey,
        at: Moment,
    ) {
        self.place(older, ConnectionRole::Superseded);
        self.becomes(older, Standing::Superseded);
        let Some(web_socket) = self.web_socket(older) else {
            return;
        };
        web_socket.superseded = true;
        let (channel, role) = (web_socket.channel, web_socket.role.clone());
        let returned = self.take_back(books, older, at);
        todo.push(Todo::Left(Box::new(Left {
            session: older,
            channel,
            role,
            end: None,
            from: self.waits_from(at),
            returned: Some(returned),
        })));
    }

    /// A connection has the slot again that it lost; false when it is closing itself.
    pub(crate) fn takes_place_again(&mut self, session: SessionKey, at: Moment) -> bool {
        let Some(web_socket) = self.web_socket(session) else {
            return false;
        };
        web_socket.superseded = false;
        let (place, standing) = match web_socket.role {
            Role::Master => (ConnectionRole::Master, Standing::Master),
            Role::Viewer(_) => (ConnectionRole::Viewer, Standing::Viewer),
        };
        self.place(session, place);
        self.becomes(session, standing);
        self.arm_open(session, at.now);
        true
    }

    /// Takes a connection out of its channel, and out of its calls, if it is in any.
    fn depart(&mut self, books: &mut Books, todo: &mut TodoList, key: SessionKey, at: Moment) {
        self.leave(books, todo, key, at);
        self.hang_up(todo, key);
        self.leave_wait(todo, key);
        self.note_unanswered(books, key);
    }

    /// An open WebSocket leaves its channel: it is offline from here on.
    fn leave(&mut self, books: &mut Books, todo: &mut TodoList, key: SessionKey, at: Moment) {
        self.stops_being_behind(key);
        let Some(session) = self.session(key) else {
            return;
        };
        let Some(web_socket) = session.open() else {
            return;
        };
        let (channel, role) = (web_socket.channel, web_socket.role.clone());
        let superseded = web_socket.superseded;
        let is_viewer = role.client_id().is_some();
        let end = MemberEnd {
            remote: session.remote(),
            opened: web_socket.opened(),
            spoke: web_socket.spoke(),
            reason: session.reason().unwrap_or_else(|| self.cut_off_reason()),
        };
        self.becomes(key, Standing::Ending);
        let returned = (!superseded).then(|| self.take_back(books, key, at));
        todo.push(Todo::Left(Box::new(Left {
            session: key,
            channel,
            role,
            end: Some(end),
            from: self.waits_from(at),
            returned,
        })));
        self.forget_closing(is_viewer, key);
    }

    /// Takes back what no byte of has left a connection that is no longer its slot's.
    fn take_back(&mut self, books: &mut Books, key: SessionKey, at: Moment) -> Returned {
        let until = self.waits_from(at).after(self.settings().timeouts.close_ms);
        let Some(taken) = self.take_unsent(key) else {
            return Returned::default();
        };
        books.unload(taken.freed);
        Returned {
            unsent: taken.unsent,
            begun: taken.begun.then_some(until),
        }
    }

    /// Why a connection ends that the edge cuts off without a word of ours: the end of the process, or a socket that
    /// failed.
    fn cut_off_reason(&self) -> EndReason {
        if self.drains() {
            EndReason::Drain
        } else {
            EndReason::PeerGone
        }
    }
}
