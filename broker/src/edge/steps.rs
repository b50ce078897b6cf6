//! Steps of a loop iteration that involve several parts of the edge: dispatching completions and queued handshakes,
//! processing messages from the mailbox, and ending the iteration.

use crate::edge::Edge;
use crate::edge::connection::{Destination, Stage, session};
use crate::edge::connections::keep;
use crate::edge::letters::{Post, Scraped};
use crate::edge::links::{LinkEnd, link_end};
use crate::edge::table::Transport;
use crate::edge::{counters::EdgeCounts, io::Shaking, limits::LETTERS_PER_TURN, turn::Shift};
use broker_core::clock_jump::Leap;
use broker_core::machine::{Input, Machine};
use broker_core::work_units;
use ring::Completion;

impl<M: Machine> Edge<M> {
    /// Handles a completion. Returns whether it counts as traffic, after which the shard avoids deep sleep for a while.
    pub(crate) fn complete(&mut self, completion: Completion) -> bool {
        let (sessions, io) = (&mut self.sessions, &mut self.io);
        match completion {
            Completion::Received {
                key,
                received,
                more,
            } => {
                // A completion can only belong to a link if it belongs to no session.
                if let Err(received) = sessions.received(session(key), received, more, io) {
                    match link_end(key) {
                        Some(LinkEnd::Link(it)) => sessions.link_received(it, received, more, io),
                        Some(LinkEnd::Client(it)) => sessions.client_received(it, received, io),
                        None => io.drop_received(received),
                    }
                }
            }
            Completion::Sent { key, bytes, result } => {
                let on_wire = result.unwrap_or(0);
                match link_end(key) {
                    Some(LinkEnd::Link(it)) => sessions.link_sent(it, bytes, on_wire, io),
                    Some(LinkEnd::Client(it)) => sessions.client_sent(it, bytes, on_wire, io),
                    None => sessions.sent(session(key), bytes, on_wire, io),
                }
            }
            Completion::Accepted { key, socket, more } => self.accepted(key, socket, more),
            Completion::Rang { key, more } => {
                if !more {
                    self.watch_bell(key);
                }
                return false;
            }
            Completion::Connected { key, result } => {
                if let Some(LinkEnd::Link(place)) = link_end(key) {
                    sessions.link_connected(place, &result, io);
                }
            }
            Completion::TimedOut => return false,
        }
        true
    }

    /// Processes queued handshakes, oldest first.
    pub(crate) fn step_handshakes(&mut self) {
        self.io.handshakes.steps = 0;
        while let Some(next) = self.io.handshakes.next() {
            match next {
                Shaking::Session(session) => {
                    self.name(session);
                    self.sessions.step(session, &mut self.io);
                }
                Shaking::Link(place) => self.sessions.link_step(place, &mut self.io),
            }
        }
    }
}

impl<M: Machine> Edge<M> {
    /// Processes messages from the mailbox, up to a limit. Returns whether any of them counts as traffic. The server's
    /// own requests do not count: they arrive every two seconds, and each would otherwise wake an idle shard three
    /// times.
    pub(crate) fn take_letters(&mut self) -> bool {
        let mut traffic = false;
        for _ in 0..LETTERS_PER_TURN {
            if self.work_of_turn() >= work_units::LETTERS {
                break;
            }
            let Some(letter) = self.sessions.mail.own().try_take() else {
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
                    if let Some(place) = self.sessions.streams.enter(*arrived, &mut self.io) {
                        self.sessions.greet_link(place, &mut self.io);
                    }
                }
                Post::Letter(letter) => {
                    traffic = true;
                    let letter = Input::Letter(letter);
                    self.sessions.feed(letter, &mut self.io);
                }
                // The requester may have stopped waiting.
                Post::Scrape(answer) => drop(answer.try_send(self.scraped())),
                Post::Inspect(question, answer) => {
                    let machine = &mut self.sessions.machine;
                    let reply = machine.inspect(*question, self.io.turn.at());
                    self.sessions.drain(&mut self.io);
                    drop(answer.try_send((self.sessions.mail.id(), reply)));
                }
                Post::Shift(shift, answer) => {
                    self.leap(shift);
                    self.shifted = Some(answer);
                }
                Post::Tls(config) => self.listeners.present(config),
                Post::Devices(devices) => {
                    self.sessions.devices.clone_from(&devices);
                    self.listeners.ask(devices);
                }
                Post::StopAccepting => self.listeners.stop(&mut self.io.ring),
                Post::Stop => self.stop(),
            }
        }
        traffic
    }

    /// Shifts the clocks. If they advance, handles the deadlines in between one by one, and sends the results. Data
    /// received in the meantime is handled afterwards.
    fn leap(&mut self, shift: Shift) {
        let (advances, until) = self.io.turn.shift(shift);
        if advances {
            let mut leap = Leap::begin(&mut self.sessions.machine, self.io.turn.at(), until);
            while let Some(at) = leap.next(self.sessions.machine.deadline()) {
                self.io.turn.move_to(at);
                self.sessions.feed(Input::Tick, &mut self.io);
                self.flush_touched();
            }
        }
        self.io.turn.move_to(until);
    }

    /// Acknowledges [`Post::Shift`] once no more work is due.
    pub(crate) fn report_shift(&mut self) {
        if !self.is_due()
            && let Some(answer) = self.shifted.take()
        {
            let id = self.sessions.mail.id();
            let _ = answer.try_send((id, self.io.turn.at())); // the caller may have stopped waiting
        }
    }

    fn scraped(&self) -> Scraped<M::Snapshot> {
        Scraped {
            shard: self.sessions.mail.id(),
            snapshot: self.sessions.machine.snapshot(),
            edge: EdgeCounts {
                clock_us: self.io.turn.at().now.0.saturating_mul(1000),
                connections_max: self.io.settings.connections as u64,
                ..self.io.counts
            },
            links: self.sessions.streams.table(),
        }
    }

    fn stop(&mut self) {
        self.io.stopping = true;
        self.listeners.stop(&mut self.io.ring);
        let connections = &mut self.sessions.connections;
        for session in connections.keys() {
            connections.cut(session, &mut self.io.counts);
        }
        self.sessions.close_links(&mut self.io);
    }
}

// End of an iteration: touched connections are flushed, and leaving connections move to their destinations.

impl<M: Machine> Edge<M> {
    /// Flushes all sessions touched in this iteration, and performs what their stages require. Sessions that are
    /// touched in the process are flushed in the next iteration.
    pub(crate) fn flush_touched(&mut self) {
        let (sessions, io) = (&mut self.sessions, &mut self.io);
        let mut touched = std::mem::take(&mut sessions.connections.touched);
        for session in touched.drain(..) {
            let stage = match sessions.connections.table.transport(session) {
                None => continue,
                Some(Transport::Stream(_)) => {
                    sessions.flush_stream(session, io);
                    continue;
                }
                Some(Transport::Socket(connection)) => {
                    connection.dirty = false;
                    connection.stage
                }
            };
            match stage {
                Stage::Open => {
                    sessions.flush(session, io);
                    sessions.watch(session, io);
                }
                Stage::Leaving(Destination::Shard(to)) => sessions.leave(session, to, io),
                Stage::Leaving(Destination::Node(to)) => sessions.pass_on(session, to, io),
                Stage::Leaving(Destination::Admin) => {
                    sessions.visit(session, self.admin.as_ref(), io);
                }
                Stage::Closing => sessions.close(session, io),
                Stage::Lingering => sessions.watch(session, io),
                Stage::Shut => sessions.close_descriptor(session, io),
            }
        }
        keep(&mut sessions.connections.touched, touched);
    }
}
