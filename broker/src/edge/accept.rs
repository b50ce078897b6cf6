//! Accepting: which connections are taken or refused, and when accepting pauses.
//!
//! A multishot accept takes a whole backlog in one go, before anything can be counted. So there are two nets: over the
//! soft limit connections are answered 503 and accepting pauses for a moment, with descriptors to spare for those
//! answers, so that nobody waits in the backlog without one; and when descriptors run out all the same, the accept ends
//! with an error and pauses as well. Never is it armed again at once after an error.

use super::answers::{remote, say_and_close, unavailable};
use super::connections::connection::Connection;
use super::limits::ACCEPT_REST_MS;
use super::shard::Edge;
use super::start::Listener;
use super::tls::Tls;
use broker_core::crowd::Origin;
use broker_core::machine::{Machine, Peer, TurnedAway};
use broker_core::work;
use ring::Key;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// One listener and how it is doing.
pub(super) struct Accepting {
    listener: Listener,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    /// Being cancelled, or ended by itself: what comes next is its final completion.
    Ending,
    /// Armed again at this moment.
    Resting(Instant),
    /// For good.
    Closed,
}

impl Accepting {
    pub(super) fn new(listener: Listener) -> Self {
        Self {
            listener,
            state: State::Closed,
        }
    }

    /// When it is to be armed again.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Resting(due) => Some(due),
            State::Armed | State::Ending | State::Closed => None,
        }
    }

    pub(super) fn closed(&self) -> bool {
        self.state == State::Closed
    }
}

impl<M: Machine> Edge<M> {
    /// Arms every listener.
    pub(super) fn listen(&mut self) {
        for place in 0..self.listeners.len() {
            self.arm_listener(place);
        }
    }

    /// Ends every listener. What is accepted until their final completions is dropped.
    pub(super) fn stop_listening(&mut self) {
        for (place, accepting) in self.listeners.iter_mut().enumerate() {
            match accepting.state {
                State::Armed => {
                    self.io.ring.cancel_accept(listener_key(place));
                    accepting.state = State::Ending;
                }
                State::Resting(_) => accepting.state = State::Closed,
                State::Ending | State::Closed => {}
            }
        }
    }

    /// Arms the listeners that have rested.
    pub(super) fn resume_listening(&mut self) {
        for place in 0..self.listeners.len() {
            if self.listeners[place]
                .due()
                .is_none_or(|due| due > self.io.turn.now())
            {
                continue;
            }
            // Also at the limit: another one may make room, and who finds none is answered.
            self.arm_listener(place);
        }
    }

    /// One completion of an accept.
    pub(super) fn accepted(&mut self, key: Key, socket: io::Result<OwnedFd>, more: bool) {
        let place = usize::try_from(key.bits()).expect("made by listener_key");
        if !more {
            let rest = socket.is_err() || self.listeners[place].state == State::Ending;
            match (self.io.stopping, rest) {
                (true, _) => self.listeners[place].state = State::Closed,
                (false, true) => self.rest(place),
                (false, false) => self.arm_listener(place),
            }
        }
        match socket {
            Ok(socket) if self.io.stopping => drop(socket),
            Ok(socket) if self.listeners[place].listener.inner => self.greet(socket),
            Ok(socket) => self.admit(place, socket),
            Err(error) => self.count_accept_error(&error),
        }
    }

    fn arm_listener(&mut self, place: usize) {
        let accepting = &mut self.listeners[place];
        self.io
            .ring
            .accept(accepting.listener.socket.as_fd(), listener_key(place));
        accepting.state = State::Armed;
    }

    fn rest(&mut self, place: usize) {
        self.listeners[place].state =
            State::Resting(self.io.turn.now() + Duration::from_millis(ACCEPT_REST_MS));
    }

    fn admit(&mut self, place: usize, socket: OwnedFd) {
        self.io.turn.add_work(work::ACCEPT);
        let tls = self.listeners[place].listener.tls;
        let crowded = self.io.descriptors.opened() > self.io.settings.connections;
        let Some(remote) = remote(&socket) else {
            // Reset before we looked.
            self.io.descriptors.closed();
            self.io.counts.accept_errors.other += 1;
            return;
        };
        let origin = Origin::of(remote.ip());
        let full = crowded || !self.machine.has_room();
        if full && !self.make_room(origin) {
            if crowded && self.listeners[place].state == State::Armed {
                self.io.ring.cancel_accept(listener_key(place));
                self.listeners[place].state = State::Ending;
            }
            return self.refuse(socket, remote, tls, TurnedAway::NoRoom);
        }
        let Ok(engine) = self.engine(tls, origin) else {
            return self.refuse(socket, remote, tls, TurnedAway::NoHandshakeRoom);
        };
        let peer = Peer {
            remote,
            listener: self.listeners[place].listener.number,
            tls,
            inner: false,
        };
        let opened = if full {
            self.machine.open_instead(peer, self.io.turn.at())
        } else {
            self.machine.open(peer, self.io.turn.at())
        };
        let Some(session) = opened else {
            return self.refuse(socket, remote, tls, TurnedAway::NoRoom);
        };
        self.io.counts.accepted += 1;
        self.connections.insert(
            session,
            Connection::new(session, socket, engine),
            &mut self.io,
        );
        self.connections
            .welcome(session, origin, tls, self.io.turn.at().now);
        self.drain();
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
    }

    /// Ends a guest for a newcomer from `origin`, or rather a connection to an inner listener that does not say whose
    /// it is. False when none can be evicted.
    pub(super) fn make_room(&mut self, origin: Origin) -> bool {
        // It has no session: of those there must be room already.
        if self.machine.has_room() && self.inner_makes_room() {
            return true;
        }
        self.connections.make_room(origin, &mut self.io)
    }

    /// What a connection from `origin` speaks through: for plain ones nothing.
    fn engine(&mut self, tls: bool, origin: Origin) -> Result<Option<Box<Tls>>, Refused> {
        if !tls {
            return Ok(None);
        }
        if !self.connections.handshake_room(origin, &mut self.io) {
            return Err(Refused);
        }
        let config = self.tls.as_ref().ok_or(Refused)?;
        Tls::new(config, origin).map(Some).map_err(|_| Refused)
    }

    /// Answers 503 and closes. On a TLS listener nothing can be said without a handshake, so it just closes.
    pub(super) fn refuse(
        &mut self,
        socket: OwnedFd,
        remote: SocketAddr,
        tls: bool,
        why: TurnedAway,
    ) {
        self.io.counts.accept_errors.limit += 1;
        let request_id = self.machine.turned_away(remote, why, self.io.turn.at());
        if !tls {
            let mut answer = Vec::new();
            unavailable(&mut answer, self.io.turn.at().wall, &request_id);
            say_and_close(&socket, &answer);
        }
        drop(socket);
        self.io.descriptors.closed();
    }

    /// The request id of the answer to a connection that is turned away; none for one that was reset meanwhile.
    pub(super) fn turned_away(&mut self, socket: &OwnedFd, why: TurnedAway) -> String {
        let remote = remote(socket);
        let id = remote.map(|remote| self.machine.turned_away(remote, why, self.io.turn.at()));
        id.unwrap_or_default()
    }

    fn count_accept_error(&mut self, error: &io::Error) {
        let errors = &mut self.io.counts.accept_errors;
        match error.raw_os_error() {
            Some(libc::ECANCELED) => {}
            Some(libc::EMFILE | libc::ENFILE) => errors.fd_limit += 1,
            Some(libc::ENOMEM | libc::ENOBUFS) => errors.memory += 1,
            Some(_) | None => errors.other += 1,
        }
    }
}

/// There is no room for another handshake.
struct Refused;

fn listener_key(place: usize) -> Key {
    Key::new(place as u64)
}
