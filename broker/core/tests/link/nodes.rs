//! Nodes: their turns, the hellos between them, the map of who has which client, and processes that start again.
//!
//! Nodes 0 and 1 are fronts, 2 and 3 owners. One that is both has links of both sides, which share nothing.

use super::pipe::Pipe;
use super::world::{Conn, FRONT, OWNER, World};
use broker_core::cluster::limits::LINK_FENCE_MS;
use broker_core::cluster::link::{Death, Link, Mismatch, Role, check_hello};
use broker_core::time::Now;
use codec::link::{Hello, NodeName};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const NODES: usize = 4;

/// The side of a node.
pub(crate) fn side(node: usize) -> usize {
    node / 2
}

impl World {
    pub(crate) fn turn(&mut self, node: usize) {
        let (side, span) = (side(node), self.now - self.last_turn[node]);
        self.last_turn[node] = self.now;
        let mut all_read = Vec::new();
        for conn in 0..self.conns.len() {
            let it = &mut self.conns[conn];
            let is_here = it.nodes[side] == node && it.dead[side].is_none();
            if is_here && side == FRONT && span > LINK_FENCE_MS {
                it.fence = Some(self.now);
                self.meet("woken");
            }
            all_read.push(is_here && self.read(side, conn, span));
        }
        match side {
            FRONT => self.serve_all(node),
            _ => self.work_all(node),
        }
        all_read.resize(self.conns.len(), true);
        for (conn, all_read) in all_read.into_iter().enumerate() {
            if self.conns[conn].nodes[side] == node {
                self.write(side, conn, all_read);
            }
        }
    }

    /// The owner of a client, as far as a front knows.
    pub(crate) fn owner_seen(&self, front: usize, client: usize) -> usize {
        let client = &self.clients[client];
        if self.now < client.known_at[front] {
            client.before
        } else {
            client.owner
        }
    }

    /// Another node has a client from now on: the fronts learn of it later, each in its time.
    pub(crate) fn move_client(&mut self) {
        let place = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[place];
        (client.before, client.owner) = (client.owner, 5 - client.owner);
        client.known_at = [(); 2].map(|()| self.now + self.rng.u64(..3_000));
    }

    /// The link of two nodes on which a client may begin, if there is one.
    pub(crate) fn usable_conn(&mut self, nodes: [usize; 2]) -> Option<usize> {
        let is_usable = |conn: &Conn| conn.nodes == nodes && conn.dead[FRONT].is_none();
        let usable = self.conns.iter().rposition(is_usable);
        let is_there = self.now >= self.stopped[nodes[OWNER]];
        if usable.is_none() && is_there && self.greet(nodes[FRONT], nodes[OWNER]) {
            let end = |role| Link::new(role, self.plan.window, Now(self.now));
            let mut pipes = [Pipe::default(), Pipe::default()];
            if let Some((way, byte)) = self.plan.dies_at.filter(|_| self.conns.is_empty()) {
                pipes[way].dies_at = Some(byte);
            }
            self.conns.push(Conn {
                nodes,
                ends: [end(Role::Front), end(Role::Owner)],
                pipes,
                pending: [Vec::new(), Vec::new()],
                dead: [None; 2],
                cut: [0; 2],
                fence: None,
                dial_of: BTreeMap::new(),
                session_of: BTreeMap::new(),
                gone: [BTreeSet::new(), BTreeSet::new()],
            });
            return self.conns.len().checked_sub(1);
        }
        usable
    }

    /// One of the latest connections: four nodes have four at a time.
    pub(crate) fn some_conn(&mut self) -> Option<usize> {
        let most = self.conns.len().checked_sub(1)?;
        Some(most - self.rng.usize(..=most.min(3)))
    }

    /// Whether two nodes accept each other's hellos. A front that meant another process has the newer map next time.
    pub(crate) fn greet(&mut self, front: usize, owner: usize) -> bool {
        const NAMES: [&str; NODES] = ["n0", "n1", "n2", "n3"];
        let named = |node: usize, start| NodeName {
            name: NAMES[node],
            directory: 1,
            start,
        };
        let hello = |from: usize, to| Hello {
            version: 6 + u32::from(!self.starts[from].is_multiple_of(2)),
            cluster: "c",
            from: named(from, self.starts[from]),
            to,
            shard: 0,
            shards: 1,
        };
        let asks = hello(front, named(owner, self.known[front][owner]));
        let answers = hello(owner, named(front, self.starts[front]));
        assert_eq!(check_hello(&asks, &answers), Ok(()));
        let verdict = check_hello(&answers, &asks);
        self.known[front][owner] = self.starts[owner];
        if verdict.is_err() {
            assert_eq!(verdict, Err(Mismatch::Process));
            self.meet("another process");
        }
        verdict.is_ok()
    }

    /// A node's process ends without a word, and the next one starts. What it had in memory is lost.
    pub(crate) fn restart(&mut self, node: usize) {
        let (side, now) = (side(node), self.now);
        let silent_ms = [0, 16_000][self.rng.usize(..2)]; // nor does the machine say anything
        self.meet(["front restarted", "owner restarted"][side]);
        self.starts[node] += 1;
        self.stopped[node] = now + self.rng.u64(200..4_000);
        self.last_turn[node] = self.stopped[node];
        let is_here = |nodes: [usize; 2]| nodes[side] == node;
        for conn in self.conns.iter_mut().filter(|it| is_here(it.nodes)) {
            if conn.dead[side].is_none() {
                conn.dead[side] = Some(now);
                conn.ends[side] = Link::new([Role::Front, Role::Owner][side], 1, Now(now));
                conn.pending[side].clear();
                let is_cut = now < conn.cut[side];
                conn.pipes[side].close(Death::Reset, now + 1 + silent_ms, is_cut);
            }
        }
        if side == FRONT {
            for dial in self.dials.iter_mut().filter(|dial| dial.front == node) {
                dial.is_over = true;
            }
            return;
        }
        for session in self.sessions.iter_mut().filter(|session| !session.is_gone) {
            if self.conns[session.at.0].nodes[OWNER] == node {
                (session.is_gone, session.closes) = (true, true);
                let lost = session.marks[session.confirmed..].iter();
                let client = &mut self.clients[self.dials[session.dial].client];
                client.lost.extend(lost.map(|(_, id)| id));
                session.confirmed = session.marks.len();
            }
        }
        for client in self.clients.iter_mut().filter(|it| it.owner == node) {
            client.lost.extend(client.queue.drain(..));
        }
    }
}
