//! Closes connections: immediately, with a closing handshake, once their queued bytes have been sent, or by evicting
//! them to make room for others.

use crate::event::ConnectionRole;
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::ALONE_CLOSE_MS;
use crate::machine::Output;
use crate::session::outbox::Load;
use crate::session::web_socket::{Role, WebSocket};
use crate::session::{NEVER, SendState, SessionState};
use crate::shard::Sockets;
use crate::shard::admitted::{Holder, Member, Standing};
use crate::shard::context::Context;
use crate::shard::sockets::drain::Drain;
use crate::shard::todo::{Gone, Left, MemberEnd, Membership, Returned, Todo};
use crate::time::{Moment, Now};
use codec::signal::RECONNECT_ICE_SERVER;

impl Sockets {
    /// Asks a client to reconnect. If the client does not support such notices, schedules its connection to be closed.
    /// Returns `false` if the connection was replaced or the client does not read.
    ///
    /// A client that reconnects makes up to four calls and an upgrade. Connections are therefore closed one at a time,
    /// [`RECALL_STEP_MS`](crate::limits::RECALL_STEP_MS) apart.
    pub(crate) fn reconnect(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let has_room = self.has_control_room(cx, key);
        let Some(web_socket) = self.web_socket(key).filter(|it| !it.superseded) else {
            return false;
        };
        if web_socket.takes_notices() {
            if has_room {
                self.push_control(cx, key, |out| out.extend_from_slice(RECONNECT_ICE_SERVER));
            }
            return has_room;
        }
        let moment = self.ends.next_recall(cx.at.now);
        if let Some(web_socket) = self.web_socket(key) {
            web_socket.recall(moment);
        }
        self.arm_open(key, cx.at.now);
        true
    }

    /// Starts a drain that lasts `within_ms`. A server outside a cluster keeps its clients connected until the last
    /// [`ALONE_CLOSE_MS`], because no other node can serve them. Returns `false` if a drain is already in progress.
    pub(crate) fn begin_drain(&mut self, within_ms: u64, now: Now) -> bool {
        let begins = self.ends.drain.is_none();
        if begins {
            let is_alone = self.placement().cluster().is_none();
            let stay_ms =
                within_ms.saturating_sub(if is_alone { ALONE_CLOSE_MS } else { within_ms });
            self.ends.drain = Some(Drain::begin(now.after(stay_ms), now.after(within_ms)));
            self.leads.leave_all(within_ms / 4, now);
        }
        begins
    }

    /// Returns whether the process is shutting down.
    pub(crate) fn drains(&self) -> bool {
        self.ends.drain.is_some()
    }

    /// Reports once that the drain is complete: either its time is up, or there are no more WebSockets, queries,
    /// forwarded clients or forwarded requests. `quiet` tells whether the other parts of the shard have finished too.
    pub(crate) fn look_at_drain(&mut self, quiet: bool, now: Now) {
        let passes_nothing = self.leads.is_empty() && !self.requests.onward.any();
        let empty = quiet && self.web_sockets == 0 && self.shards.is_idle() && passes_nothing;
        let drain = self.ends.drain.as_mut();
        if drain.is_some_and(|drain| drain.end(empty, now)) {
            self.output(Output::Drained);
        }
    }

    /// Queues connections to be closed in later turns, with `why` as the reason. Skips connections without an open
    /// WebSocket.
    pub(crate) fn close_later(&mut self, keys: impl Iterator<Item = SessionKey>, why: EndReason) {
        for session in keys {
            if let Some(web_socket) = self.web_socket(session) {
                let is_viewer = web_socket.role.client_id().is_some();
                self.ends.closings.wait(is_viewer, session, why);
            }
        }
    }
}

impl Sockets {
    /// Starts an open WebSocket's closing handshake: sends a close frame, then waits for the peer's echo.
    pub(crate) fn close(&mut self, cx: &mut Context, key: SessionKey, reason: EndReason) {
        let (code, text) = reason.close();
        self.close_with(cx, key, (reason, code, text));
    }

    /// Starts an open WebSocket's closing handshake with this code and reason phrase.
    pub(crate) fn close_with(
        &mut self,
        cx: &mut Context,
        key: SessionKey,
        (reason, code, text): (EndReason, u16, &str),
    ) {
        if self.web_socket(key).is_none() {
            return;
        }
        self.because(key, reason);
        self.leave(cx, key);
        self.push_control(cx, key, |out| codec::ws::close_frame(out, code, text));
        let wait_ms = self.settings().timeouts.close_ms;
        let deadline = self.waits_from(cx.at).after(wait_ms);
        if let Some(session) = self.sessions.get_mut(key) {
            let ending = SessionState::AwaitGone(Box::default());
            let state = std::mem::replace(&mut session.state, ending);
            if let SessionState::Open(web_socket) = state {
                session.state = SessionState::AwaitCloseEcho(Box::new(web_socket), deadline);
            }
        }
        self.arm(key, deadline);
    }

    /// Disconnects a recipient that does not read. Sends a close frame with code 1008, which may never arrive, and
    /// takes back all undelivered messages.
    pub(crate) fn cut_slow(&mut self, cx: &mut Context, key: SessionKey) {
        if self.web_socket(key).is_some() {
            self.close(cx, key, EndReason::SlowConsumer);
            // The close frame and any partly sent message stay in the outbox until the peer reads. If such outboxes
            // hold too many bytes together, the connection is aborted.
            if self.note_cut(key) {
                self.abort(cx, key);
            }
        }
    }

    /// Closes a connection once the edge has sent its queued bytes. A WebSocket leaves its channel immediately.
    pub(crate) fn finish(&mut self, cx: &mut Context, key: SessionKey) {
        self.depart(cx, key);
        self.close_when_sent(key, cx.at);
    }

    /// Closes a connection once its queued bytes have been sent. The connection must not be in a channel or waiting for
    /// the answer to a call.
    pub(crate) fn close_when_sent(&mut self, key: SessionKey, at: Moment) {
        let deadline = self.waits_from(at).after(self.settings().timeouts.close_ms);
        let session = self.session(key);
        let waits = session.is_some_and(|session| session.sending == SendState::Withheld);
        if self.await_gone(key, deadline) {
            if !waits {
                self.output(Output::Close(key));
            }
            self.arm(key, deadline);
        }
    }

    /// Aborts a connection immediately. Does nothing if it was already aborted.
    pub(crate) fn abort(&mut self, cx: &mut Context, key: SessionKey) {
        let state = self.session(key).map(|session| &session.state);
        if matches!(state, Some(SessionState::AwaitGone(ending)) if ending.deadline == NEVER) {
            return;
        }
        self.depart(cx, key);
        self.await_gone(key, NEVER);
        self.output(Output::Abort(key));
    }

    /// Handles EOF from the peer. An HTTP connection is closed after its last response, or aborted if it waits for the
    /// answer to an Alexa call or is used for a device's poll.
    pub(crate) fn peer_ended(&mut self, cx: &mut Context, key: SessionKey) {
        self.peer_is_over(key, false);
        let Some(session) = self.session(key) else {
            return;
        };
        let answers_wait = session.answers_wait();
        match &session.state {
            SessionState::Http(_) => {
                let Some(http) = self.http(key) else { return };
                http.ended = true;
                if !http.awaits_reply() {
                    if !http.has_more(answers_wait) {
                        self.close_when_sent(key, cx.at);
                    }
                } else if self.hang_up(cx, key) || self.leave_wait(cx, key) {
                    self.abort(cx, key);
                }
            }
            // The forwarding node may be shutting down. Its client should still receive any partly sent message, and a
            // close frame.
            SessionState::Open(_) if session.peer().inner => {
                self.close(cx, key, EndReason::PeerGone);
                self.finish(cx, key);
            }
            SessionState::Open(_) => {
                self.because(key, EndReason::PeerGone);
                self.abort(cx, key);
            }
            SessionState::AwaitCloseEcho(..) => self.finish(cx, key),
            SessionState::AwaitGone(_) => {}
        }
        self.take_leave(cx, key);
    }

    /// Removes a connection that the edge has closed. `unacknowledged` is the number of bytes that the peer had not
    /// acknowledged by that time.
    pub(crate) fn gone(&mut self, cx: &mut Context, key: SessionKey, unacknowledged: u32) {
        if self.session(key).is_some_and(|it| !it.outbox.is_empty()) {
            self.confirm(cx, key, unacknowledged);
        }
        self.depart(cx, key);
        let Some(mut session) = self.remove_session(key) else {
            return;
        };
        cx.telemetry.unload(session.outbox.load());
        let (peer, tally) = (session.peer(), session.tally().copied());
        let reason = session.reason().unwrap_or_else(|| self.cut_off_reason());
        let refused_by = session.take_refused();
        let last_frame = session.open().map(WebSocket::last_frame);
        let Some((channel, role)) = session.membership() else {
            return;
        };
        let (before, _) = session.outbox.returned();
        let unsent = session.outbox.drain();
        let now = unsent.iter().filter(|message| message.written).count();
        cx.todo.push(Todo::Gone(Box::new(Gone {
            member: Membership {
                session: key,
                channel,
                role,
            },
            peer,
            tally,
            last_frame,
            reason,
            refused_by,
            unsent,
            returned: u32::try_from(before + now).unwrap_or(u32::MAX),
        })));
    }

    /// Stops sending to `older`, which a newer connection has replaced. Messages that were not sent go to the newer
    /// connection.
    pub(crate) fn supersede(&mut self, cx: &mut Context, older: SessionKey) {
        self.place(older, ConnectionRole::Superseded);
        self.admitted.becomes(older, Standing::Superseded);
        let Some(web_socket) = self.web_socket(older) else {
            return;
        };
        web_socket.superseded = true;
        let (channel, role) = (web_socket.channel, web_socket.role.clone());
        let returned = self.take_back(cx, older);
        cx.todo.push(Todo::Left(Box::new(Left {
            member: Membership {
                session: older,
                channel,
                role,
            },
            end: None,
            from: self.waits_from(cx.at),
            returned: Some(returned),
        })));
        self.ask(cx, older);
    }

    /// Makes a replaced connection a member of its channel again. Returns `false` if the connection is closing.
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
        self.admitted.becomes(session, standing);
        if standing == Standing::Master {
            self.judge_silence(session, at.now);
        }
        self.arm_open(session, at.now);
        true
    }

    /// Removes a connection from its channel, and ends the call or poll for which it is waiting, if any.
    fn depart(&mut self, cx: &mut Context, key: SessionKey) {
        self.leave(cx, key);
        self.hang_up(cx, key);
        self.leave_wait(cx, key);
        self.note_unanswered(cx, key);
    }

    /// Removes an open WebSocket from its channel. From then on, its client is considered offline.
    fn leave(&mut self, cx: &mut Context, key: SessionKey) {
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
            heard: web_socket.was_heard(),
            reason: session.reason().unwrap_or_else(|| self.cut_off_reason()),
        };
        self.admitted.becomes(key, Standing::Ending);
        let returned = (!superseded).then(|| self.take_back(cx, key));
        cx.todo.push(Todo::Left(Box::new(Left {
            member: Membership {
                session: key,
                channel,
                role,
            },
            end: Some(end),
            from: self.waits_from(cx.at),
            returned,
        })));
        self.ends.closings.forget(is_viewer, key);
    }

    /// Takes back the messages left in a connection's outbox when it leaves its channel or is replaced. A partly sent
    /// message stays in the outbox.
    fn take_back(&mut self, cx: &mut Context, key: SessionKey) -> Returned {
        let wait_ms = self.settings.timeouts.close_ms;
        let until = self.waits_from(cx.at).after(wait_ms);
        let Some(session) = self.sessions.get_mut(key) else {
            return Returned::default();
        };
        let before = session.outbox.load().messages;
        let unsent = session.outbox.take_unsent(&mut self.scratch.spares);
        // An edge that finds nothing to send reports nothing, so bytes queued later must be announced again.
        if session.outbox.unsent().is_empty() {
            session.was_taken();
        }
        let returned = Returned {
            unsent,
            begun: session.outbox.has_messages().then_some(until),
            unconfirmed: session.outbox.unconfirmed_since().is_some(),
        };
        cx.telemetry.unload(Load {
            messages: before - session.outbox.load().messages,
            control: 0,
        });
        self.weigh(key);
        returned
    }

    /// Returns the close reason for a connection that the edge has closed: either the process is shutting down, or the
    /// socket failed.
    fn cut_off_reason(&self) -> EndReason {
        if self.drains() {
            EndReason::Drain
        } else {
            EndReason::PeerGone
        }
    }

    /// Closes the slowest connection if connections that have fallen behind hold too many bytes. Returns whether a
    /// connection was closed.
    #[cold]
    pub(crate) fn shed(&mut self, cx: &mut Context) -> bool {
        let slowest = self.backlog.slowest();
        let slowest = slowest.filter(|_| self.too_far_behind());
        if let Some(slowest) = slowest {
            self.cut_slow(cx, slowest);
        }
        slowest.is_some()
    }

    /// Sends GO_AWAY to a client that supports it and has not received it yet.
    pub(crate) fn go_away(&mut self, cx: &mut Context, key: SessionKey) {
        let Some(web_socket) = self.web_socket(key) else {
            return;
        };
        if !web_socket.superseded && web_socket.tell_to_go() {
            cx.note(web_socket.channel).told_to_go(key);
            self.push_control(cx, key, |out| out.extend_from_slice(codec::signal::GO_AWAY));
        }
    }
}

impl Sockets {
    /// Evicts connections until `holder` may open another one. An open WebSocket is sent a close frame, and any other
    /// connection is aborted. Only a few evicted WebSockets may be closing at a time, and beyond that, the oldest of
    /// them is aborted. Returns `false` if there is still no room.
    pub(crate) fn make_room(&mut self, cx: &mut Context, holder: Holder) -> bool {
        while let Some(victim) = self.admitted.make_room(holder) {
            let victim = match victim {
                Member::OnLink(place) => {
                    self.output(Output::Displace(place));
                    continue;
                }
                Member::Session(victim) => victim,
            };
            if self.web_socket(victim).is_none() {
                self.abort(cx, victim);
                continue;
            }
            self.close(cx, victim, EndReason::MadeRoom);
            if let Some(first) = self.admitted.closes(victim) {
                self.abort(cx, first);
            }
        }
        self.admitted.has_place()
    }

    /// Returns when a connection opened at `opened` has to close because of its age. Clients that do not support
    /// `notices` are closed up to the GO_AWAY grace period earlier, which spreads these closes over time.
    pub(crate) fn age_end(&mut self, notices: bool, opened: Now) -> Now {
        let timeouts = &self.settings().timeouts;
        let (mut age, grace_ms) = (timeouts.connection_age_ms, timeouts.go_away_grace_ms);
        if age == 0 {
            return NEVER;
        }
        if !notices {
            let early =
                (u128::from(grace_ms) * u128::from(self.ends.next_in_spread())) >> u32::BITS;
            age = age.saturating_sub(u64::try_from(early).unwrap_or(u64::MAX));
        }
        opened.after(age)
    }
}
