//! The steps of a turn that need several parts of the edge: completions of the ring and handshakes that go on, each to
//! the part that it is for; letters; and the end of the turn.

use crate::edge::Edge;
use crate::edge::connection::{Destination, Stage, session};
use crate::edge::letters::{Post, Scraped};
use crate::edge::links::{LinkEnd, link_end};
use crate::edge::sessions::end::Returning;
use crate::edge::tunnels::{Half, Side, TunnelEvent};
use crate::edge::visiting::visit;
use crate::edge::{counters::EdgeCounts, io::Shaking, limits::LETTERS_PER_TURN, turn::Shift};
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{Input, Machine, TunnelFailure};
use broker_core::work_units;
use broker_core::{address_shares::Origin, clock_jump::Leap};
use ring::{Completion, Key, Received};
use std::io;

impl<M: Machine> Edge<M> {
    /// Serves one completion; returns whether it was traffic, which keeps the shard from sleeping deeply.
    pub(crate) fn complete(&mut self, completion: Completion) -> bool {
        match completion {
            Completion::Received {
                key,
                received,
                more,
            } => {
                let session = session(key);
                let known = self
                    .sessions
                    .received(session, received, more, &mut self.io);
                if let Err(received) = known {
                    self.link_received(key, received, more);
                }
            }
            Completion::Sent { key, bytes, result } => match link_end(key) {
                None => self
                    .sessions
                    .sent(session(key), bytes, result, &mut self.io),
                Some(end) => self.link_sent(end, bytes, &result),
            },
            Completion::Accepted { key, socket, more } => self.accepted(key, socket, more),
            Completion::Rang { key, more } => {
                if !more {
                    self.watch_bell(key);
                }
                return false;
            }
            Completion::Connected { key, result } => {
                let (sessions, io) = (&mut self.sessions, &mut self.io);
                match link_end(key) {
                    Some(LinkEnd::Owner(place)) => {
                        sessions.tunnel(place, TunnelEvent::Connected(&result), io);
                    }
                    Some(LinkEnd::Link(place)) => sessions.link_connected(place, &result, io),
                    Some(LinkEnd::Client(_) | LinkEnd::Inner(_)) | None => {}
                }
            }
            Completion::TimedOut => return false,
        }
        true
    }

    /// A completion of a connection between nodes.
    fn link_received(&mut self, key: Key, received: Received, more: bool) {
        let (place, side) = match link_end(key) {
            Some(LinkEnd::Link(place)) => {
                return self
                    .sessions
                    .link_received(place, received, more, &mut self.io);
            }
            Some(LinkEnd::Client(place)) if self.sessions.has_client(place) => {
                return self.sessions.client_received(place, received, &mut self.io);
            }
            Some(LinkEnd::Client(place)) => (place, Side::Client),
            Some(LinkEnd::Owner(place)) => (place, Side::Owner),
            Some(LinkEnd::Inner(place)) => {
                let arrival = self.inners.received(place, received, &mut self.io);
                return self.arrived(arrival);
            }
            None => {
                debug_assert!(false, "a connection outlives what is armed on it");
                if let Received::Bytes(lent) = received {
                    self.io.ring.give_back(lent);
                }
                return;
            }
        };
        let event = TunnelEvent::Received(side, received);
        self.sessions.tunnel(place, event, &mut self.io);
    }

    fn link_sent(&mut self, end: LinkEnd, flight: Vec<u8>, result: &io::Result<usize>) {
        let (place, side) = match end {
            LinkEnd::Link(place) => {
                return self.sessions.link_sent(place, flight, result, &mut self.io);
            }
            LinkEnd::Client(place) if self.sessions.has_client(place) => {
                return self
                    .sessions
                    .client_sent(place, flight, result, &mut self.io);
            }
            LinkEnd::Client(place) => (place, Side::Client),
            LinkEnd::Owner(place) => (place, Side::Owner),
            LinkEnd::Inner(place) => {
                let arrival = self.inners.sent(place, flight, result, &mut self.io);
                return self.arrived(arrival);
            }
        };
        let event = TunnelEvent::Sent(side, flight, result);
        self.sessions.tunnel(place, event, &mut self.io);
    }

    /// Goes on with handshakes whose bytes were put aside, oldest first.
    pub(crate) fn step_handshakes(&mut self) {
        self.io.handshakes.begin();
        while let Some(next) = self.io.handshakes.next() {
            match next {
                Shaking::Session(session) => self.sessions.step(session, &mut self.io),
                Shaking::Link(LinkEnd::Inner(place)) => {
                    let arrival = self.inners.step(place, &mut self.io);
                    self.arrived(arrival);
                }
                Shaking::Link(LinkEnd::Link(place)) => self.sessions.link_step(place, &mut self.io),
                Shaking::Link(LinkEnd::Owner(place) | LinkEnd::Client(place)) => {
                    self.sessions.tunnel(place, TunnelEvent::Step, &mut self.io);
                }
            }
        }
    }
}

impl<M: Machine> Edge<M> {
    /// Takes letters, a bounded number; returns whether any of them is traffic. Questions of the server's own are
    /// none: they come every other second, and would have a shard without clients wake three times for each.
    pub(crate) fn take_letters(&mut self) -> bool {
        let mut traffic = false;
        for _ in 0..LETTERS_PER_TURN {
            if self.work_of_turn() >= work_units::LETTERS {
                break;
            }
            let Some(letter) = self.sessions.mail().own().try_take() else {
                break;
            };
            self.io.turn.add_work(work_units::LETTER);
            match letter {
                Post::Handover(handover) => {
                    traffic = true;
                    self.adopt(*handover);
                }
                Post::Link(arrived) => {
                    traffic = true;
                    self.sessions.accept_link(*arrived, &mut self.io);
                }
                Post::Letter(letter) => {
                    traffic = true;
                    let letter = Input::Letter(letter);
                    self.sessions.feed(letter, &mut self.io);
                }
                // The caller may have stopped waiting.
                Post::Scrape(answer) => drop(answer.try_send(self.scraped())),
                Post::Inspect(question, answer) => {
                    let machine = self.sessions.machine_mut();
                    let reply = machine.inspect(*question, self.io.turn.at());
                    self.sessions.drain(&mut self.io);
                    drop(answer.try_send((self.sessions.mail().id(), reply)));
                }
                Post::Shift(shift, answer) => {
                    self.leap(shift);
                    self.shifted = Some(answer);
                }
                Post::Tls(config) => self.listeners.present(config),
                Post::Devices(devices) => {
                    self.sessions.judge_by(devices.clone());
                    self.listeners.ask(devices);
                }
                Post::Stop => self.stop(),
            }
        }
        traffic
    }

    /// Moves the clocks. What falls due within an advance is done and sent deadline by deadline, before anything that
    /// has arrived meanwhile.
    fn leap(&mut self, shift: Shift) {
        let (advances, until) = self.io.turn.shift(shift);
        if advances {
            let mut leap = Leap::begin(self.sessions.machine_mut(), self.io.turn.at(), until);
            while let Some(at) = leap.next(self.sessions.machine().deadline()) {
                self.io.turn.move_to(at);
                self.sessions.feed(Input::Tick, &mut self.io);
                self.flush_touched();
            }
        }
        self.io.turn.move_to(until);
    }

    /// Answers [`Post::Shift`] when nothing is due any more.
    pub(crate) fn report_shift(&mut self) {
        if !self.is_due()
            && let Some(answer) = self.shifted.take()
        {
            let id = self.sessions.mail().id();
            let _ = answer.try_send((id, self.io.turn.at())); // the asker may have stopped waiting
        }
    }

    fn scraped(&self) -> Scraped<M::Snapshot> {
        Scraped {
            shard: self.sessions.mail().id(),
            snapshot: self.sessions.machine().snapshot(),
            edge: EdgeCounts {
                clock_us: self.io.turn.at().now.0.saturating_mul(1000),
                ..self.io.counts
            },
        }
    }

    fn stop(&mut self) {
        self.answer_calls();
        self.io.stopping = true;
        self.listeners.stop(&mut self.io.ring);
        let connections = self.sessions.connections_mut();
        for session in connections.keys() {
            connections.cut(session, &mut self.io.counts);
        }
        self.sessions.close_tunnels(&mut self.io);
        self.sessions.close_links(&mut self.io);
        self.sessions.end_calls(&mut self.io);
        self.inners.end_all(&mut self.io);
    }
}

// The end of a turn: touched connections are flushed, and those that leave go where they are to go.

impl<M: Machine> Edge<M> {
    /// Flushes every connection that this turn has touched, and does what its stage asks for. What that touches is
    /// flushed in the next turn.
    pub(crate) fn flush_touched(&mut self) {
        self.answer_calls();
        let mut touched = self.sessions.connections_mut().take_touched();
        for session in touched.drain(..) {
            self.flush_one(session);
        }
        self.sessions.connections_mut().keep_touched(touched);
    }

    /// Sends the answers to calls of other nodes that are over, and says of those that are late that they are here.
    fn answer_calls(&mut self) {
        while let Some((session, place, answer)) = self.sessions.next_answer(&mut self.io) {
            match answer {
                Some(answer) => self
                    .inners
                    .answer(place, Some(session), &answer, &mut self.io),
                None => self.inners.fail(place, session, &mut self.io),
            }
        }
        let now = self.io.turn.at().now;
        self.sessions.schedule_calls(now);
        while let Some((session, place)) = self.sessions.next_slow_call(now) {
            self.inners.say_taken(place, session, &mut self.io);
        }
    }

    fn flush_one(&mut self, session: SessionKey) {
        let Some(stage) = self.sessions.connections_mut().untouch(session) else {
            return;
        };
        let io = &mut self.io;
        match stage {
            Stage::Open => {
                self.sessions.flush(session, io);
                self.sessions.watch(session, io);
            }
            Stage::Leaving(Destination::Shard(to)) => self.sessions.leave(session, to, io),
            Stage::Leaving(Destination::Node(to)) => self.pass_on(session, to),
            Stage::Leaving(Destination::Admin) => self.pass_to_admin(session),
            Stage::Closing => match self.sessions.give_back(session, io) {
                Returning::No => self.sessions.close(session, io),
                Returning::Waiting => {}
                Returning::Now(connection, lease) => self.inners.take_back(*connection, &lease, io),
            },
            Stage::Lingering => self.sessions.watch(session, io),
            Stage::Shut => self.sessions.close_descriptor(session, io),
        }
    }

    /// Passes a connection on to another node as soon as the kernel holds nothing of it.
    fn pass_on(&mut self, session: SessionKey, node: NodeId) {
        let Some(departed) = self.sessions.depart(session, &mut self.io) else {
            return;
        };
        let (origin, bytes) = (Origin::of(departed.remote().ip()), departed.bytes());
        let io = &mut self.io;
        if self.sessions.carries_streams() {
            return self.sessions.begin_stream(node, departed, io);
        }
        if (departed.repeats() || departed.is_call())
            && self.sessions.tunnel_room(origin, bytes, io)
            && let Some(taken) = (self.sessions.tunnels_mut()).take_waiting(node, &departed, io)
        {
            io.counts.tunnels_opened += 1;
            return self.sessions.begin_waiting(taken, node, departed, io);
        }
        let connected = self.connect(node, origin, bytes);
        let io = &mut self.io;
        match connected {
            Ok(owner) => {
                io.counts.tunnels_opened += 1;
                self.sessions.begin_tunnel(owner, node, departed, io);
            }
            Err(why) => self
                .sessions
                .return_client(departed.back(Some(node), why), io),
        }
    }

    /// Passes a connection to the side thread as soon as the kernel holds nothing of it.
    fn pass_to_admin(&mut self, session: SessionKey) {
        let Some(departed) = self.sessions.depart(session, &mut self.io) else {
            return;
        };
        let io = &mut self.io;
        match visit(departed, self.admin.as_ref(), io) {
            Ok(()) => io.descriptors.closed(),
            Err(returned) => self.sessions.return_client(*returned, io),
        }
    }

    /// Counts a descriptor for a client from `origin`. False, and it is not counted, when there is none and nobody
    /// makes room.
    fn open_for(&mut self, origin: Origin) -> bool {
        let crowded = self.io.count_descriptor();
        let room = !crowded || self.make_room(origin);
        if !room {
            self.io.descriptors.closed();
        }
        room
    }

    /// A place for a tunnel and a connection to its owner under way.
    fn connect(
        &mut self,
        node: NodeId,
        origin: Origin,
        bytes: usize,
    ) -> Result<(u32, Half), TunnelFailure> {
        if !self.sessions.tunnel_room(origin, bytes, &mut self.io) {
            return Err(TunnelFailure::NoRoom);
        }
        let address = self.sessions.tunnels_mut().address(node);
        let address = address.ok_or(TunnelFailure::Connect)?;
        if !self.open_for(origin) {
            return Err(TunnelFailure::NoRoom);
        }
        let tunnels = self.sessions.tunnels_mut();
        tunnels.connect(node, address, &mut self.io)
    }
}
