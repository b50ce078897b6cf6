//! The end of connections, and their unsent messages.

use super::timers::Timer;
use crate::channel::{Channel, Slot};
use crate::id::{Account, ChannelKey, SessionKey};
use crate::journal::{ConnectionEnd, EndReason};
use crate::machine::{Output, Peer};
use crate::session::{Ending, NEVER, Role, Session, SessionState, Tally};
use crate::shard::books::Books;
use crate::shard::books::recorder::Leaver;
use crate::shard::calls;
use crate::shard::calls::answers;
use crate::shard::dev::parity;
use crate::shard::directory::Directory;
use crate::shard::road::unsent;
use crate::shard::shares::Standing;
use crate::shard::sockets::{Sockets, backlog, outboxes};
use crate::time::{Moment, Now};

/// Begins the close handshake of an open WebSocket: a close frame, then the peer's echo is awaited.
pub(in crate::shard) fn close_web_socket(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    reason: EndReason,
    at: Moment,
) {
    let (code, text) = reason.close();
    close_with(sockets, directory, books, key, (reason, code, text), at);
}

/// The same with this code and text.
pub(in crate::shard) fn close_with(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    (reason, code, text): (EndReason, u16, &str),
    at: Moment,
) {
    if sockets
        .sessions
        .get(key)
        .and_then(|session| session.open())
        .is_none()
    {
        return;
    }
    sockets.because(key, reason);
    leave(sockets, directory, books, key, at);
    outboxes::push_control(sockets, books, key, |out| {
        codec::ws::close_frame(out, code, text)
    });
    let wait_ms = sockets.settings.timeouts.close_ms;
    let deadline = sockets.waits_from(at).after(wait_ms);
    let Some(session) = sockets.sessions.get_mut(key) else {
        return;
    };
    let state = std::mem::replace(
        &mut session.state,
        SessionState::AwaitGone(Box::new(Ending {
            deadline,
            was: None,
            tally: None,
            reason: None,
            peer_is_done: false,
        })),
    );
    if let SessionState::Open(web_socket) = state {
        session.state = SessionState::AwaitCloseEcho(Box::new(web_socket), deadline);
    }
    sockets.arm(key, deadline);
}

/// Takes a connection out of its channel, and out of its calls, if it is in any.
fn depart(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) {
    leave(sockets, directory, books, key, at);
    calls::hang_up(sockets, directory, books, key);
    answers::note_unanswered(sockets, books, key);
}

/// Lets the edge send what is queued and end the connection. A WebSocket has left its channel before, or leaves here.
pub(in crate::shard) fn finish(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) {
    depart(sockets, directory, books, key, at);
    sockets.close_when_sent(key, at);
}

impl Sockets {
    /// The same for a connection that has left its channel or has none, and that waits for no answer of a call.
    pub(in crate::shard) fn close_when_sent(&mut self, key: SessionKey, at: Moment) {
        let close_ms = self.settings.timeouts.close_ms;
        let deferred = self.defers_close(key);
        let from = deferred.unwrap_or(at.now).max(self.waits_from(at));
        let deadline = from.after(close_ms);
        if self.end(key, deadline) {
            if deferred.is_none() {
                self.output(Output::Close(key));
            }
            self.arm(key, deadline);
        }
    }
}

/// Ends the connection at once, once.
pub(in crate::shard) fn abort(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) {
    let state = sockets.sessions.get(key).map(|session| &session.state);
    if matches!(state, Some(SessionState::AwaitGone(ending)) if ending.deadline == NEVER) {
        return;
    }
    depart(sockets, directory, books, key, at);
    sockets.end(key, NEVER);
    sockets.output(Output::Abort(key));
}

/// The recipient does not read: 1008, as far as it will ever see it, and what it did not get goes back.
pub(in crate::shard) fn cut_slow(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) {
    let open = |session: &Session| session.open().is_some();
    if sockets.sessions.get(key).is_some_and(open) {
        close_web_socket(sockets, directory, books, key, EndReason::SlowConsumer, at);
        backlog::cut_off(sockets, directory, books, key, at);
    }
}

impl Sockets {
    /// Notes why a connection ends, unless that is known.
    pub(in crate::shard) fn because(&mut self, key: SessionKey, reason: EndReason) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.because(reason);
        }
    }

    /// Moves to the last state; false when it was there before.
    fn end(&mut self, key: SessionKey, deadline: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        if let SessionState::AwaitGone(ending) = &mut session.state {
            ending.deadline = deadline;
            return false;
        }
        let (tally, reason) = (session.tally_mut().copied(), session.reason());
        let peer_is_done = session.peer_is_done();
        let ending = |was| {
            SessionState::AwaitGone(Box::new(Ending {
                deadline,
                was,
                tally,
                reason,
                peer_is_done,
            }))
        };
        session.state = match std::mem::replace(&mut session.state, ending(None)) {
            SessionState::Open(web_socket) => ending(Some((web_socket.channel, web_socket.role))),
            SessionState::AwaitCloseEcho(web_socket, _) => {
                ending(Some((web_socket.channel, web_socket.role)))
            }
            SessionState::Http(_) => ending(None),
            SessionState::AwaitGone(before) => SessionState::AwaitGone(before),
        };
        self.charge(key);
        true
    }
}

/// The peer will send no more.
pub(in crate::shard) fn peer_ended(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) {
    let Some(session) = sockets.sessions.get_mut(key) else {
        return;
    };
    let answers_wait = session.answers_wait();
    match &mut session.state {
        SessionState::Http(http) if !http.awaits_reply() && http.has_more(answers_wait) => {
            http.ended = true;
        }
        SessionState::Http(http) => {
            http.ended = true;
            if !http.awaits_reply() {
                sockets.close_when_sent(key, at);
            } else if calls::hang_up(sockets, directory, books, key) {
                abort(sockets, directory, books, key, at);
            }
        }
        SessionState::Open(_) => {
            sockets.because(key, EndReason::PeerGone);
            abort(sockets, directory, books, key, at);
        }
        SessionState::AwaitCloseEcho(..) => finish(sockets, directory, books, key, at),
        SessionState::AwaitGone(_) => {}
    }
}

/// The edge has closed the connection.
pub(in crate::shard) fn gone(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) {
    depart(sockets, directory, books, key, at);
    parity::on_gone(sockets, directory, key, at);
    let Some(mut session) = sockets.remove_session(key) else {
        return;
    };
    sockets.count_place(session.place, false);
    books.unload(session.outbox.load());
    if session.cut {
        sockets.cut_shrinks(session.outbox.bytes());
    }
    let (peer, tally) = (session.peer(), session.tally_mut().copied());
    let reason = session.reason();
    let was = match session.state {
        SessionState::AwaitGone(ending) => ending.was,
        SessionState::AwaitCloseEcho(web_socket, _) => Some((web_socket.channel, web_socket.role)),
        SessionState::Open(web_socket) => Some((web_socket.channel, web_socket.role)),
        SessionState::Http(_) => None,
    };
    let Some((channel, role)) = was else { return };
    if let Some(tally) = tally {
        note_end(
            sockets,
            directory,
            books,
            &peer,
            channel,
            &role,
            (&tally, reason),
            at,
        );
    }
    sockets.census.web_sockets = sockets.census.web_sockets.saturating_sub(1);
    sockets.admitted.leave(key);
    let unsent = session.outbox.drain();
    if let Some(live) = directory
        .channels
        .get_mut(channel)
        .and_then(Channel::live_mut)
    {
        live.members.release(key);
    }
    unsent::give_back(sockets, directory, books, key, channel, &role, unsent, at);
    if let Some(channel) = directory.channels.get_mut(channel) {
        channel.connections = channel.connections.saturating_sub(1);
        channel.rest();
    }
}

/// Notes for the recorder that a connection leaves its channel.
fn note_leave(sockets: &Sockets, books: &mut Books, key: SessionKey, at: Moment) {
    let Some(session) = sockets.sessions.get(key) else {
        return;
    };
    let Some(web_socket) = session.open() else {
        return;
    };
    let leaver = Leaver {
        session: key,
        role: &web_socket.role,
        remote: session.remote(),
        opened: web_socket.opened(),
        reason: session.reason().unwrap_or_else(|| sockets.cut_off()),
    };
    books.recorder.left(at, web_socket.channel, &leaver);
}

impl Sockets {
    /// Why a connection ends that the edge cuts off without a word of ours: the end of the process, or a socket that
    /// failed.
    fn cut_off(&self) -> EndReason {
        if self.drains() {
            EndReason::Drain
        } else {
            EndReason::PeerGone
        }
    }
}

/// Counts the end of a WebSocket connection, and notes its line in the log.
fn note_end(
    sockets: &Sockets,
    directory: &mut Directory,
    books: &mut Books,
    peer: &Peer,
    channel: ChannelKey,
    role: &Role,
    (tally, reason): (&Tally, Option<EndReason>),
    at: Moment,
) {
    let known = match directory.channels.get(channel) {
        Some(channel) => {
            let arn = &channel.record.arn;
            Some((Account::of(arn), Box::from(arn.name())))
        }
        None => directory.former_channel(channel),
    };
    let (account, name) = known.unzip();
    let reason = reason.unwrap_or_else(|| sockets.cut_off());
    books.counters.connection_end(reason);
    let end = ConnectionEnd {
        role: role.on_wire(),
        client_id: role.client_id().map(Box::from),
        channel: name,
        remote: peer.remote,
        duration_ms: at.now.since(tally.opened),
        messages_in: tally.messages_in,
        messages_out: tally.messages_out,
        offered_ms: tally.offered_ms(),
        answered_ms: tally.answered_ms(),
        reason,
    };
    let account = account.unwrap_or(Account(0));
    books.diary.ended(at.now, account, end);
}

impl Directory {
    /// Account and name of a channel that went before this connection of it; forgotten with the last one.
    fn former_channel(&mut self, channel: ChannelKey) -> Option<(Account, Box<str>)> {
        let (account, name, connections) = self.former.get_mut(&channel)?;
        let former = (*account, name.clone());
        *connections -= 1;
        if *connections == 0 {
            self.former.remove(&channel);
        }
        Some(former)
    }
}

/// Takes an open WebSocket out of its channel: it is offline from here on. What it was not sent goes back.
fn leave(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) {
    sockets.stops_being_behind(key);
    let Some(web_socket) = sockets.sessions.get(key).and_then(|session| session.open()) else {
        return;
    };
    let (channel, role, superseded) = (
        web_socket.channel,
        web_socket.role.clone(),
        web_socket.superseded,
    );
    note_leave(sockets, books, key, at);
    sockets.admitted.becomes(key, Standing::Ending);
    if let Some(live) = directory
        .channels
        .get_mut(channel)
        .and_then(|channel| channel.live_mut())
    {
        live.members
            .leave(&slot_of(&role), key, sockets.waits_from(at));
    }
    arm_channel(sockets, directory, channel, at);
    if !superseded {
        if role == Role::Master {
            directory.offers_lost_their_master(channel);
        }
        unsent::take_back(sockets, directory, books, key, channel, &role, at);
    }
    if let Some(channel) = directory.channels.get_mut(channel) {
        channel.rest();
    }
}

/// Has the wheel call for a channel when its next kept message or waiting call expires, or its rates can be forgotten.
pub(in crate::shard) fn arm_channel(
    sockets: &mut Sockets,
    directory: &mut Directory,
    key: ChannelKey,
    at: Moment,
) {
    let Some(channel) = directory.channels.get_mut(key) else {
        return;
    };
    match channel.next_due(&sockets.settings.quotas, at.now) {
        Some(next) => (sockets.wheel).call_by(&mut channel.timer, next, Timer::channel(key)),
        None => sockets.wheel.forget(&mut channel.timer),
    }
}

/// The members' slot of a role.
pub(in crate::shard) fn slot_of(role: &Role) -> Slot {
    match role {
        Role::Master => Slot::Master,
        Role::Viewer(id) => Slot::Viewer(id.clone()),
    }
}
