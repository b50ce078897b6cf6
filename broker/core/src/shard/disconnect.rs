//! Closing connections, the deadlines that cause it, and shutting down the process.

use crate::event::{ConnectionRole, Purpose};
use crate::id::{Account, ChannelKey, SessionKey};
use crate::machine::{Intake, Output};
use crate::session::http::HttpStage;
use crate::session::web_socket::{Due, Role, WebSocket};
use crate::session::{NEVER, SendState, Session, SessionState, Wait};
use crate::shard::calls::responses::{refuse, shutting_down};
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::onward;
use crate::shard::todo::{Each, Gone, Left, MemberEnd, Returned, Todo};
use crate::shard::{Directory, Sockets};
use crate::shard::{admitted::Standing, calls::wake};
use crate::{check::Check, journal::EndReason, limits::PIPELINED_BYTES_MAX};
use crate::{refusal::Refusal, time::Moment};
use codec::ws::{self, Opcode};

// The end of connections: the part of it that belongs to the connection. What concerns its channel and its calls is
// left to the shard ([`Todo`]).

impl Sockets {
    /// Starts the closing handshake of an open WebSocket: sends a close frame, then waits for the peer's echo.
    pub(crate) fn close(&mut self, cx: &mut Context, key: SessionKey, reason: EndReason) {
        let (code, text) = reason.close();
        self.close_with(cx, key, (reason, code, text));
    }

    /// Closes a connection with this code and reason phrase.
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
        self.await_close_echo(key, deadline);
    }

    /// Disconnects a recipient that does not read, with code 1008, although the recipient may never see it. Undelivered
    /// messages are returned.
    pub(crate) fn cut_slow(&mut self, cx: &mut Context, key: SessionKey) {
        if self.web_socket(key).is_some() {
            self.close(cx, key, EndReason::SlowConsumer);
            self.cut_off(cx, key);
        }
    }

    /// Closes the connection once the edge has sent the queued bytes. A WebSocket that is still in its channel is
    /// removed from it now.
    pub(crate) fn finish(&mut self, cx: &mut Context, key: SessionKey) {
        self.depart(cx, key);
        self.close_when_sent(key, cx.at);
    }

    /// Once queued bytes are sent, closes a connection that is not in a channel and is not waiting for the answer to a
    /// call.
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

    /// Aborts the connection immediately; no effect if it is already aborted.
    pub(crate) fn abort(&mut self, cx: &mut Context, key: SessionKey) {
        let state = self.session(key).map(|session| &session.state);
        if matches!(state, Some(SessionState::AwaitGone(ending)) if ending.deadline == NEVER) {
            return;
        }
        self.depart(cx, key);
        self.await_gone(key, NEVER);
        self.output(Output::Abort(key));
    }

    /// Handles EOF from the peer.
    pub(crate) fn peer_ended(&mut self, cx: &mut Context, key: SessionKey) {
        self.peer_is_over(key, false);
        let Some(session) = self.session(key) else {
            return;
        };
        let answers_wait = session.answers_wait();
        match &session.state {
            SessionState::Http(_) => self.sends_no_more(cx, key, answers_wait),
            // The node that passed it on may end: its client gets all that was begun, and a close frame.
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

    /// Handles EOF on an HTTP connection: closes it after the last response, or immediately if it is waiting for the
    /// answer to an Alexa call or is a polling device.
    fn sends_no_more(&mut self, cx: &mut Context, key: SessionKey, answers_wait: bool) {
        let Some(http) = self.http(key) else {
            return;
        };
        http.ended = true;
        if http.awaits_reply() {
            if self.hang_up(cx, key) || self.leave_wait(cx, key) {
                self.abort(cx, key);
            }
        } else if !http.has_more(answers_wait) {
            self.close_when_sent(key, cx.at);
        }
    }

    /// Handles a connection that the edge has closed. `unacknowledged`: number of bytes that the peer had not
    /// acknowledged by then.
    pub(crate) fn gone(&mut self, cx: &mut Context, (key, unacknowledged): (SessionKey, u32)) {
        if self.session(key).is_some_and(|it| !it.outbox.is_empty()) {
            self.confirm_by_tcp(cx, key, unacknowledged);
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
            session: key,
            channel,
            role,
            peer,
            tally,
            last_frame,
            reason,
            refused_by,
            unsent,
            returned: u32::try_from(before + now).unwrap_or(u32::MAX),
        })));
    }

    /// Stops sending to the older connection of a slot; its unsent messages go to the newer one.
    pub(crate) fn supersede(&mut self, cx: &mut Context, older: SessionKey) {
        self.place(older, ConnectionRole::Superseded);
        self.becomes(older, Standing::Superseded);
        let Some(web_socket) = self.web_socket(older) else {
            return;
        };
        web_socket.superseded = true;
        let (channel, role) = (web_socket.channel, web_socket.role.clone());
        let returned = self.take_back(cx, older);
        cx.todo.push(Todo::Left(Box::new(Left {
            session: older,
            channel,
            role,
            end: None,
            from: self.waits_from(cx.at),
            returned: Some(returned),
        })));
        self.ask(cx, older, cx.at.now);
    }

    /// Restores the slot that a connection had lost. Returns `false` if the connection is closing.
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
        if standing == Standing::Master {
            self.judge_silence(session, at.now);
        }
        self.arm_open(session, at.now);
        true
    }

    /// Removes a connection from its channel and its calls, if any.
    fn depart(&mut self, cx: &mut Context, key: SessionKey) {
        self.leave(cx, key);
        self.hang_up(cx, key);
        self.leave_wait(cx, key);
        self.note_unanswered(cx, key);
    }

    /// Removes an open WebSocket from its channel; from then on, it is offline.
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
        self.becomes(key, Standing::Ending);
        let returned = (!superseded).then(|| self.take_back(cx, key));
        cx.todo.push(Todo::Left(Box::new(Left {
            session: key,
            channel,
            role,
            end: Some(end),
            from: self.waits_from(cx.at),
            returned,
        })));
        self.forget_closing(is_viewer, key);
    }

    /// Takes back the messages of a connection that no longer holds its slot, except any that are partly sent.
    fn take_back(&mut self, cx: &mut Context, key: SessionKey) -> Returned {
        let until = self
            .waits_from(cx.at)
            .after(self.settings().timeouts.close_ms);
        let Some(taken) = self.take_unsent(key) else {
            return Returned::default();
        };
        cx.telemetry.unload(taken.freed);
        Returned {
            unsent: taken.unsent,
            begun: taken.begun.then_some(until),
            unconfirmed: taken.unconfirmed,
        }
    }

    /// Returns the close reason for a connection that the edge disconnects on its own: the process is shutting down, or
    /// the socket failed.
    fn cut_off_reason(&self) -> EndReason {
        if self.drains() {
            EndReason::Drain
        } else {
            EndReason::PeerGone
        }
    }
}

// Connections that do not take what waits for them: see [`crate::shard::sockets`].

impl Sockets {
    /// Handles a full send buffer by marking the connection as having fallen behind.
    pub(crate) fn falls_behind(&mut self, directory: &Directory, key: SessionKey) {
        let session = self.session(key);
        let channel = session.and_then(Session::channel);
        let channel = channel.and_then(|channel| directory.channel(channel));
        let account = channel.map(|channel| Account::of(&channel.record.arn));
        self.begin_behind(key, account);
    }

    /// Closes the slowest connection if the connections that have fallen behind hold too many bytes in total. Returns
    /// whether one was closed.
    pub(crate) fn shed(&mut self, cx: &mut Context) -> bool {
        let slowest = self.slowest().filter(|_| self.too_far_behind());
        if let Some(slowest) = slowest {
            self.cut_slow(cx, slowest);
        }
        slowest.is_some()
    }

    /// Marks a connection as cut off for not reading: its close frame and any partly sent message wait until the peer
    /// reads. Aborts the connection if all such connections together hold too many bytes.
    fn cut_off(&mut self, cx: &mut Context, key: SessionKey) {
        if self.note_cut(key) {
            self.abort(cx, key);
        }
    }
}

// Deadlines that have passed: overdue heads, silent and old connections, expired messages and calls.

/// Interval in milliseconds at which a stalled connection with no other deadline is checked.
const STILL_LOOK_MS: u64 = 1000;

pub(crate) fn session_due(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) {
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
        SessionState::Http(_) => request_overdue(sockets, cx, key),
        SessionState::Open(_) => open_due(sockets, cx, key),
        SessionState::AwaitCloseEcho(..) | SessionState::AwaitGone(_) => sockets.abort(cx, key),
    }
}

/// Times out a request head or body: responds with 408 if part of it has arrived, otherwise just closes the connection.
fn request_overdue(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) {
    let Some(http) = sockets.http(key) else {
        return;
    };
    if http.answer_due <= cx.at.now && !http.awaits_reply() {
        return sockets.abort(cx, key); // it does not take what it was answered
    }
    match &http.stage {
        HttpStage::AwaitTls => sockets.abort(cx, key),
        HttpStage::AwaitHead if http.buffer.is_empty() => sockets.close_when_sent(key, cx.at),
        HttpStage::AwaitHead => {
            let message = "The request head did not arrive in time.";
            let refusal = Refusal::of_head(Check::HeadTimeout, 408, message);
            refuse(sockets, cx, key, &Evidence::of(Purpose::Unknown), &refusal)
        }
        HttpStage::AwaitBody(awaited) => {
            let message = "The request body did not arrive in time.";
            let refusal = Refusal::of_head(Check::BodyTimeout, 408, message);
            let evidence = Evidence::of(awaited.target.purpose());
            refuse(sockets, cx, key, &evidence, &refusal)
        }
        HttpStage::AwaitReply(..) => reply_overdue(sockets, cx, key),
        HttpStage::AwaitWake(awaited) => {
            let left_ms = awaited.left_ms;
            wake::due(sockets, cx, (key, left_ms))
        }
        HttpStage::AwaitHandover(..) | HttpStage::AwaitLink(_) | HttpStage::AwaitAdmin(_) => {
            sockets.abort(cx, key)
        }
        HttpStage::AwaitOwner(_) => onward::look_again(sockets, cx, key),
    }
}

/// Times out a call: its caller receives 503, and a late answer is dropped.
fn reply_overdue(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) {
    sockets.hang_up(cx, key);
    sockets.note_unanswered(cx, key);
    if let Some(caller) = sockets.awaiting(key) {
        cx.todo.push(Todo::Overdue(caller));
    }
}

/// Returns the error for a call that timed out.
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
        // An answer that we did not read ourselves cannot have come: the ping has its whole time again.
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

impl Directory {
    /// Handles the deadlines of a channel: expires its pending messages and calls, and closes connections that are due.
    pub(crate) fn channel_due(&mut self, cx: &mut Context, key: ChannelKey) {
        if self.channel(key).is_none() {
            return;
        }
        self.expire_kept(cx, key);
        self.offers_change(key, |offers| {
            offers.expire(cx.at.now); // what waited for them follows what is given once more
        });
        cx.todo.push(Todo::RepeatOffers(key));
        self.expire_calls(cx, key);
        // A connection that lost its slot and does not take the rest of a message keeps its successor waiting.
        while let Some(holder) = self.take_holder_to_ask(key, cx.at.now) {
            cx.todo.push(Todo::Ask(holder));
        }
        let stuck = Vec::from_iter(std::iter::from_fn(|| self.take_overdue(key, cx.at.now)));
        cx.todo
            .each(Each::abort(stuck, Some(EndReason::SupersededStuck)));
        while let Some(older) = self.take_for_vacancy(key, cx.at.now) {
            cx.todo
                .push(Todo::Close(older, EndReason::SupersededVacant));
        }
        self.rest(key);
        cx.todo.push(Todo::Arm(key));
    }
}

impl Sockets {
    /// Sends GO_AWAY to a client that supports it, at most once.
    pub(crate) fn go_away(&mut self, cx: &mut Context, key: SessionKey) {
        let Some(web_socket) = self.web_socket(key) else {
            return;
        };
        if !web_socket.superseded && web_socket.tell_to_go() {
            cx.telemetry
                .note()
                .told_to_go(cx.at, web_socket.channel, key);
            self.push_control(cx, key, |out| out.extend_from_slice(codec::signal::GO_AWAY));
        }
    }

    /// Returns whether the edge should pause reading from a session's socket, read once, or read repeatedly.
    pub(crate) fn intake_of(&self, key: SessionKey) -> Intake {
        let Some(session) = self.session(key).filter(|it| !it.asking.is_half_open()) else {
            return Intake::Paused;
        };
        match &session.state {
            SessionState::Http(http) => {
                let full = match http.stage {
                    HttpStage::AwaitReply(..) | HttpStage::AwaitWake(_) => {
                        http.buffer.len() >= PIPELINED_BYTES_MAX
                    }
                    HttpStage::AwaitHead => session.answers_wait(),
                    HttpStage::AwaitTls | HttpStage::AwaitBody(_) => false,
                    // Bytes that come are for its next shard or node: the edge keeps them.
                    HttpStage::AwaitHandover(..)
                    | HttpStage::AwaitLink(_)
                    | HttpStage::AwaitAdmin(_)
                    | HttpStage::AwaitOwner(_) => true,
                };
                if full || http.queued {
                    Intake::Paused
                } else {
                    Intake::Once
                }
            }
            SessionState::Open(_)
            | SessionState::AwaitCloseEcho(..)
            | SessionState::AwaitGone(_) => Intake::Many,
        }
    }
}

// The end of the process: clients that may get GO_AWAY do, then all are closed, each spread over time; then the
// waiting calls are answered.
//
// Devices that wait have their answer in the first half.
// ```text
//  0 ─────────── ½ ────── ¾ ────── end
//  | GO_AWAY     | close  | echoes | waiting calls get 503, Drained
// ```
// A walk goes over the table's slots in proportion to the time that has passed; one step takes a bounded number, and
// the rest at once in the next turn. Empty (no WebSocket, no waiting call, no change under way) is the end at once.

/// Starts the shutdown: from then on, no connection or call is accepted.
pub(crate) fn begin_drain(sockets: &mut Sockets, cx: &mut Context, within_ms: u64) {
    if sockets.begin_drain(within_ms, cx.at.now) {
        sockets.step_drain(cx);
    }
}

/// Refuses a request and closes its connection if the process is shutting down; otherwise returns `false`.
pub(crate) fn refuses_in_drain(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    evidence: &Evidence<'_>,
) -> bool {
    if sockets.drains() {
        refuse(sockets, cx, key, evidence, &shutting_down());
    }
    sockets.drains()
}

impl Sockets {
    /// Advances the drain in proportion to the elapsed time.
    pub(crate) fn step_drain(&mut self, cx: &mut Context) {
        let Some(step) = self.drain_step(cx.at.now) else {
            return;
        };
        for place in step.told {
            if let Some(key) = self.session_at(place) {
                self.go_away(cx, key);
                wake::over(self, cx, key);
            }
        }
        for place in step.closed {
            if let Some(key) = self.session_at(place) {
                self.close(cx, key, EndReason::Drain);
            }
        }
        if step.ends_calls {
            cx.todo.push(Todo::FailCalls);
        }
    }
}
