//! After every step: what a machine has asked for is done, and every checker looks at what it has let out.

use crate::sim::frames::Came;
use crate::sim::socket::{ConnId, Stage};
use crate::sim::wire::Item;
use crate::sim::world::{Cause, World};
use broker_core::id::SessionKey;
use broker_core::machine::{Machine, Output};
use std::collections::BTreeMap;

impl World {
    /// After an input: its outputs are obeyed, and the checkers look.
    pub(crate) fn after(&mut self, shard: usize, cause: Cause) {
        self.step += 1;
        let (mut ends, mut refused) = (Vec::new(), Vec::new());
        let (mut drained, mut sends) = (0, BTreeMap::new());
        while let Some(output) = self.shards[shard].poll_output() {
            match output {
                Output::Send(key) => {
                    let conn = self.conn(shard, key);
                    self.sockets[conn].asked_to_send = true;
                    let place = sends.len();
                    sends.entry(conn).or_insert(place);
                }
                Output::HandOver(key, to) => {
                    let conn = self.conn(shard, key);
                    assert_ne!(to.index(), shard, "it is at home");
                    self.sockets[conn].stage = Stage::Leaving(to.index());
                }
                Output::PassOn(..)
                | Output::Displace(_)
                | Output::LoseOwner(_)
                | Output::Leave(_)
                | Output::KeepAlive(_) => {
                    unreachable!("one process is the whole service")
                }
                Output::Admin(_) => unreachable!("pages are served without --lan elsewhere"),
                Output::Ask(key) => self.looks.push_back(self.conn(shard, key)),
                Output::Post(to, letter) => refused.extend(self.post(shard, to, *letter)),
                Output::Close(key) => ends.push((self.conn(shard, key), false)),
                Output::Abort(key) => ends.push((self.conn(shard, key), true)),
                Output::Reset(_) => {} // an abort follows
                Output::Drained => drained += 1,
            }
        }
        self.read_store(shard);
        let mut conns: Vec<ConnId> = self.keys[shard].values().copied().collect();
        // What came behind an upgrade may be answered on other connections. Upgrades are read in the order in which the
        // shard answered them: of two for one slot, the later one has it.
        conns.sort_by_key(|conn| {
            let reads_later = self.sockets[*conn].ws.is_some() || !self.is_upgraded(*conn);
            (reads_later, sends.get(conn).copied())
        });
        let added: Vec<_> = conns.iter().map(|conn| self.scan(*conn)).collect();
        for (conn, aborted) in ends {
            self.must_end(conn, aborted);
        }
        let former: Vec<bool> = conns.iter().map(|conn| self.holds_slot(*conn)).collect();
        self.look_at_channels(shard);
        for ((conn, added), former) in conns.into_iter().zip(added).zip(former) {
            self.messages_are_for(conn, added, former);
            self.sends_are_asked_for(conn);
        }
        let bytes = self
            .sockets
            .get(self.came.whose())
            .map_or(0, |it| it.waits.0);
        self.frames_answered(bytes);
        self.read_log(shard);
        self.gauges_agree(shard, cause);
        self.came = Came::default();
        self.drain_ends(shard, drained);
        while let Some(conn) = self.looks.pop_front() {
            self.say_unacknowledged(conn);
        }
        for letter in refused {
            self.refuse(shard, letter);
        }
    }

    fn conn(&self, shard: usize, key: SessionKey) -> ConnId {
        let conn = self.keys[shard].get(&key);
        *conn.expect("an output names a living session")
    }

    /// A drain ends once, in time, and not before nobody is left.
    fn drain_ends(&mut self, shard: usize, drained: u32) {
        assert!(drained <= u32::from(!self.drained[shard]), "Drained, once");
        if drained == 0 {
            return;
        }
        let (_, ends) = self.drains[shard].expect("it drains");
        let sockets = self.keys[shard].values();
        let sockets = sockets.filter(|conn| self.sockets[**conn].ws.is_some());
        let empty = sockets.count() == 0;
        assert!(empty || self.now >= ends, "somebody is left");
        self.drained[shard] = true;
    }

    /// Whether the last response of a connection makes it a WebSocket.
    fn is_upgraded(&self, conn: ConnId) -> bool {
        let items = self.items(conn);
        let response = |item: &Item| matches!(item, Item::Response(it) if it.status == 101);
        items.iter().any(|placed| response(&placed.item))
    }

    /// Judges the responses and frames that a connection's stream gained. Returns the messages.
    fn scan(&mut self, conn: ConnId) -> Vec<(String, String)> {
        let items = self.items(conn);
        let is_message = |item: &Item| matches!(item, Item::Message { .. });
        let last = items.iter().rev().skip(1);
        let mut before_last = last.map(|placed| &placed.item);
        assert!(
            !before_last.any(|item| matches!(item, Item::Close(..))),
            "connection {conn} got something behind its close frame: {items:?}"
        );
        let fresh = items.iter().map(|placed| &placed.item);
        let fresh = fresh.filter(|item| !is_message(item));
        for item in fresh.skip(self.sockets[conn].seen) {
            self.sockets[conn].seen += 1;
            match item {
                Item::Response(response) => self.answered(conn, response),
                item => self.frame_queued(conn, item),
            }
        }
        let messages = items.iter().filter_map(|placed| match &placed.item {
            Item::Message { text, payload } => Some((text, payload)),
            _ => None,
        });
        let before = &self.sockets[conn].queued;
        let same = messages.clone().zip(before);
        let same = same.take_while(|((_, one), other)| *one == *other).count();
        let added = messages.clone().skip(same);
        let added = added.map(|(text, payload)| (text.clone(), payload.clone()));
        let added = added.collect();
        self.sockets[conn].queued = messages.map(|(_, payload)| payload.clone()).collect();
        added
    }

    /// Only who has a slot gets messages, and only those that are for it.
    fn messages_are_for(&mut self, conn: ConnId, added: Vec<(String, String)>, former: bool) {
        for (text, payload) in added {
            let role = &self.sockets[conn].role;
            self.ledger.queued(conn, role, &text, &payload);
            let fine = former || self.holds_slot(conn);
            assert!(fine, "connection {conn} has no slot, and got {text}");
        }
    }

    /// Bytes that wait are reported to the edge.
    fn sends_are_asked_for(&self, conn: ConnId) {
        let socket = &self.sockets[conn];
        let unsent = !self.shards[socket.shard].unsent(socket.key).is_empty();
        let open = matches!(socket.stage, Stage::Open | Stage::Leaving(_));
        assert!(
            !unsent || !open || socket.reset || socket.asked_to_send || !socket.at_rest(),
            "connection {conn} has unsent bytes that were not reported"
        );
    }
}
