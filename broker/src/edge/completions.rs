//! Completions of the ring, and handshakes that go on: each to the part that it is for.

use crate::edge::connections::connection::session;
use crate::edge::handshakes::Shaking;
use crate::edge::nodes::links::{LinkEnd, link_end};
use crate::edge::nodes::tunnel::{Side, TunnelEvent};
use crate::edge::shard::Edge;
use broker_core::machine::Machine;
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
                    self.link_received(key, received);
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
                if let Some(LinkEnd::Owner(place)) = link_end(key) {
                    let event = TunnelEvent::Connected(&result);
                    self.sessions.tunnel(place, event, &mut self.io);
                }
            }
            Completion::TimedOut => return false,
        }
        true
    }

    /// A completion of a connection between nodes.
    fn link_received(&mut self, key: Key, received: Received) {
        let (place, side) = match link_end(key) {
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
                Shaking::Link(LinkEnd::Owner(place) | LinkEnd::Client(place)) => {
                    self.sessions.tunnel(place, TunnelEvent::Step, &mut self.io);
                }
            }
        }
    }
}
