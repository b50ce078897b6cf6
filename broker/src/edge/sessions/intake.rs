//! Receiving: handles the completion of a receive.

use crate::edge::answers;
use crate::edge::connections::connection::{Receive, Stage, Standing, session};
use crate::edge::handshakes::Shaking;
use crate::edge::limits::{LINGER_BYTES, REARMS_PER_TURN};
use crate::edge::nodes::links::{LinkEnd, link_end};
use crate::edge::nodes::tunnel::Side;
use crate::edge::shard::Edge;
use crate::edge::tls::Read;
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine, TurnedAway};
use ring::{Completion, Key, Lent, Received};
use std::io;

impl<M: Machine> Edge<M> {
    /// Serves one completion; returns whether it was traffic, which keeps the shard from sleeping deeply.
    pub(in crate::edge) fn complete(&mut self, completion: Completion) -> bool {
        match completion {
            Completion::Received {
                key,
                received,
                more,
            } => self.received(key, received, more),
            Completion::Sent { key, bytes, result } => match link_end(key) {
                None => self.sent(session(key), bytes, result),
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
                    let (machine, io) = (&mut self.machine, &mut self.io);
                    let settled = self.tunnels.connected(place, &result, machine, io);
                    self.settled(settled);
                }
            }
            Completion::TimedOut => return false,
        }
        true
    }

    /// A completion of a connection between nodes.
    fn link_received(&mut self, end: LinkEnd, received: Received) {
        match end {
            LinkEnd::Client(place) => self.tunnel_received(place, Side::Client, received),
            LinkEnd::Owner(place) => self.tunnel_received(place, Side::Owner, received),
            LinkEnd::Inner(place) => {
                let introduced = self.inners.received(place, received, &mut self.io);
                if let Some(introduced) = introduced {
                    self.open_inner(introduced);
                }
            }
        }
    }

    fn tunnel_received(&mut self, place: u32, side: Side, received: Received) {
        let (machine, io) = (&mut self.machine, &mut self.io);
        let settled = self.tunnels.received(place, side, received, machine, io);
        self.settled(settled);
    }

    fn link_sent(&mut self, end: LinkEnd, flight: Vec<u8>, result: &io::Result<usize>) {
        let (place, side) = match end {
            LinkEnd::Client(place) => (place, Side::Client),
            LinkEnd::Owner(place) => (place, Side::Owner),
            LinkEnd::Inner(_) => return debug_assert!(false, "a greeting is sent at once"),
        };
        let (machine, io) = (&mut self.machine, &mut self.io);
        let settled = self.tunnels.sent(place, side, flight, result, machine, io);
        self.settled(settled);
    }

    fn received(&mut self, key: Key, received: Received, more: bool) {
        let session = session(key);
        let Some(connection) = self.connections.get_mut(session) else {
            if let Some(end) = link_end(key) {
                return self.link_received(end, received);
            }
            debug_assert!(false, "a connection outlives what is armed on it");
            if let Received::Bytes(lent) = received {
                self.io.ring.give_back(lent);
            }
            return;
        };
        if !more {
            connection.receive = Receive::Idle;
        }
        match received {
            Received::Bytes(lent) => {
                let before = self.machine.work();
                if connection.filled(self.io.ring.fills(&lent)) {
                    self.connections.cap(session, &mut self.io);
                }
                self.take(session, lent);
                let work = self.machine.work() - before;
                self.connections.charge(session, work, &mut self.io);
            }
            Received::End => self.ended(session),
            Received::Failed(_) => {
                connection.broken = true;
                self.ended(session);
            }
            Received::NoBuffers => {
                if !self.io.ring.add_buffers() {
                    self.io.counts.no_buffers += 1;
                }
                self.connections.list(session);
            }
            Received::Cancelled => self.connections.list(session),
        }
        if !more && self.connections.awaits_rest(session) {
            self.connections.touch(session);
        }
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
    }

    /// Arms some of the listed receives again. All buffers of this turn are back by now.
    pub(in crate::edge) fn rearm_some(&mut self) {
        for _ in 0..self.connections.listed().min(REARMS_PER_TURN) {
            if let Some(session) = self.connections.unlist() {
                self.connections
                    .watch(session, &self.machine, &mut self.io.ring);
            }
        }
    }

    /// Goes on with handshakes whose bytes were put aside, oldest first.
    pub(in crate::edge) fn step_handshakes(&mut self) {
        self.io.handshakes.begin();
        while let Some(next) = self.io.handshakes.next() {
            let session = match next {
                Shaking::Session(session) => session,
                Shaking::Link(LinkEnd::Inner(place)) => {
                    if let Some(introduced) = self.inners.step(place, &mut self.io) {
                        self.open_inner(introduced);
                    }
                    continue;
                }
                Shaking::Link(LinkEnd::Owner(place) | LinkEnd::Client(place)) => {
                    let settled = self.tunnels.step(place, &mut self.machine, &mut self.io);
                    self.settled(settled);
                    continue;
                }
            };
            if let Some(connection) = self.connections.get_mut(session)
                && connection.receive == Receive::Queued
            {
                connection.receive = Receive::Idle;
                self.decrypt(session, &mut []);
                self.connections
                    .watch(session, &self.machine, &mut self.io.ring);
            }
        }
    }

    /// Takes what arrived on a connection that travelled here or could not leave.
    pub(in crate::edge) fn resume(&mut self, session: SessionKey, mut unread: Vec<u8>) {
        let Some(connection) = self
            .connections
            .get(session)
            .filter(|connection| connection.stage == Stage::Open)
        else {
            return;
        };
        if connection.tls.is_some() {
            // Also without more bytes: of a handshake under way whole records may be held.
            self.decrypt(session, &mut unread);
        } else if !unread.is_empty() {
            self.begin(session, unread);
        }
    }

    /// Gives the machine the first bytes of a connection, as its client sent them.
    pub(in crate::edge) fn begin(&mut self, session: SessionKey, mut bytes: Vec<u8>) {
        if self.connections.is_open(session) {
            let bytes = &mut bytes;
            self.machine
                .handle(Input::Received { session, bytes }, self.io.turn.at());
            self.drain();
        }
    }

    /// Received bytes go to the machine, or into the TLS engine, or nowhere.
    fn take(&mut self, session: SessionKey, mut lent: Lent) {
        self.io.count_received(lent.len());
        let Some(connection) = self.connections.get_mut(session) else {
            return self.io.ring.give_back(lent);
        };
        if connection.standing == Standing::Silent {
            self.connections.note_first_bytes(session);
        }
        let Some(connection) = self.connections.get_mut(session) else {
            return self.io.ring.give_back(lent);
        };
        match connection.stage {
            Stage::Open if connection.ended => {}
            Stage::Open if connection.tls.is_some() => return self.take_cipher(session, lent),
            Stage::Open => {
                let bytes = self.io.ring.bytes(&mut lent);
                self.machine
                    .handle(Input::Received { session, bytes }, self.io.turn.at());
                self.io.ring.give_back(lent);
                return self.drain();
            }
            Stage::Leaving(_) => {
                let bytes = self.io.ring.bytes(&mut lent);
                if !self.connections.put_aside(session, bytes) {
                    self.connections.cut(session, &mut self.io.counts);
                }
            }
            Stage::Closing | Stage::Lingering => {
                let len = u32::try_from(lent.len()).expect("a buffer has a 32-bit size");
                connection.discarded = connection.discarded.saturating_add(len);
                if connection.discarded > LINGER_BYTES {
                    self.connections.cut(session, &mut self.io.counts);
                }
            }
            Stage::Shut => {}
        }
        self.io.ring.give_back(lent);
    }

    /// Ciphertext goes into the engine at once, unless it belongs to a handshake and this turn has had its share of
    /// those.
    fn take_cipher(&mut self, session: SessionKey, mut lent: Lent) {
        let wait = self.io.handshakes.wait();
        if let Some(connection) = self.connections.get_mut(session)
            && wait
            && connection.handshaking()
            && connection.receive == Receive::Idle
            && let Some(tls) = &mut connection.tls
        {
            tls.hold(self.io.ring.bytes(&mut lent));
            connection.receive = Receive::Queued;
            self.io.ring.give_back(lent);
            self.io.handshakes.push(Shaking::Session(session));
            self.connections.recharge(session, &mut self.io.counts);
            return self.connections.hold_budgets(&mut self.io);
        }
        let Some(tls) = self
            .connections
            .get_mut(session)
            .and_then(|connection| connection.tls.as_deref_mut())
        else {
            return self.io.ring.give_back(lent);
        };
        let read = tls.read(
            self.io.ring.bytes(&mut lent),
            &mut self.io.plain,
            self.io.turn.at().now,
        );
        self.io.ring.give_back(lent);
        self.decrypted(session, read);
    }

    /// As [`Self::take_cipher`], for bytes that are ours already, or none: then the engine goes on with what it holds.
    fn decrypt(&mut self, session: SessionKey, bytes: &mut [u8]) {
        if let Some(tls) = self
            .connections
            .get_mut(session)
            .and_then(|connection| connection.tls.as_deref_mut())
        {
            let read = tls.read(bytes, &mut self.io.plain, self.io.turn.at().now);
            self.decrypted(session, read);
        }
    }

    /// What the engine made of it goes to the machine, in its order: secured, bytes, end.
    fn decrypted(&mut self, session: SessionKey, read: Read) {
        let Some(connection) = self.connections.get_mut(session) else {
            return;
        };
        let Some(tls) = &mut connection.tls else {
            return;
        };
        if tls.met_plain_http() {
            let mut answer = Vec::new();
            let why = TurnedAway::PlainHttp;
            let remote = answers::remote(&connection.socket);
            let id = remote.map(|remote| self.machine.turned_away(remote, why, self.io.turn.at()));
            answers::not_tls(
                &mut answer,
                self.io.turn.at().wall,
                id.as_deref().unwrap_or_default(),
            );
            tls.say_plainly(answer);
        }
        let shook = tls.handshaking();
        let kind = if shook { tls.just_secured() } else { None };
        if tls.has_out() {
            self.connections.touch(session);
        }
        if shook {
            self.io.count_handshake(kind);
            if kind.is_some() {
                self.connections
                    .handshake_over(session, &mut self.io.counts);
                self.feed(Input::Secured { session });
            }
        }
        if !self.io.plain.is_empty() {
            if self.connections.is_open(session) {
                self.machine.handle(
                    Input::Received {
                        session,
                        bytes: &mut self.io.plain,
                    },
                    self.io.turn.at(),
                );
            }
            self.io.plain.clear();
            self.drain();
        }
        self.connections.recharge(session, &mut self.io.counts);
        self.connections.limit_record(session, &self.io);
        self.connections.hold_budgets(&mut self.io);
        match read {
            Read::More => {}
            Read::End | Read::Failed => self.ended(session),
        }
    }
}
