//! Actions of the clients of a script, and the items that reach them.

use super::Script;
use crate::shard_transcripts::client::{self, Client, peer};
use crate::shard_transcripts::words::{CHANNEL, arn, upgrade};
use broker_core::clock_jump::Leap;
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Machine, Output};
use broker_core::shard::{Letter, Shard};
use broker_core::time::Now;
use std::collections::VecDeque;

impl Script {
    pub(crate) fn connect(&mut self, name: &str, arn: &str, wss: bool) {
        self.open(name);
        if name.starts_with('a') {
            return;
        }
        let id = name.split('-').next().filter(|id| id.starts_with('v'));
        let mut head = upgrade(arn, id);
        if wss {
            head.truncate(head.len() - 2);
            head.extend_from_slice(b"Sec-WebSocket-Protocol: wss\r\n\r\n");
        }
        let (shard, session) = self.place(name);
        let bytes = &mut head[..];
        self.input(shard, Input::Received { session, bytes });
    }

    /// A client asks for a WebSocket, and has left before that is read.
    pub(crate) fn connect_gone(&mut self, name: &str) {
        self.open(name);
        let id = name.split('-').next().filter(|id| id.starts_with('v'));
        let mut head = upgrade(&arn(CHANNEL), id);
        let (shard, session) = self.place(name);
        self.shards[shard].ends_behind(session);
        let bytes = &mut head[..];
        self.input(shard, Input::Received { session, bytes });
    }

    /// A connection that has said nothing, on shard 0.
    pub(crate) fn open(&mut self, name: &str) {
        let key = self.shards[0].open(peer(), self.at).expect("there is room");
        self.clients.push(Client::new(name, key));
    }

    /// One input, and everything that follows from it.
    pub(crate) fn input(&mut self, shard: usize, input: Input<'_, Letter>) {
        self.shards[shard].handle(input, self.at);
        self.obey(VecDeque::new());
    }

    pub(crate) fn obey(&mut self, mut mail: VecDeque<(usize, Letter)>) {
        let mut told = VecDeque::new();
        loop {
            for shard in 0..self.shards.len() {
                while let Some(output) = self.shards[shard].poll_output() {
                    match output {
                        Output::Send(key) => self.keyed(shard, key).announced = true,
                        Output::Ask(key) => {
                            let bytes = self.keyed(shard, key).cut.unwrap_or(0);
                            told.push_back((shard, key, bytes));
                        }
                        Output::Reset(_) => {}
                        Output::Drained => self.drained += 1,
                        Output::Post(to, letter) => {
                            let letter = *letter;
                            if self.refuses && Shard::refusable(&letter) {
                                self.shards[shard].handle(Input::Refused(letter), self.at);
                            } else if let Some(held) = &mut self.held {
                                held.push_back((to.index(), letter));
                            } else {
                                mail.push_back((to.index(), letter));
                            }
                        }
                        Output::HandOver(key, to) if self.leaving => {
                            self.hand_over(shard, key, to.index());
                        }
                        Output::HandOver(..)
                        | Output::PassOn(..)
                        | Output::Displace(_)
                        | Output::LoseOwner(_)
                        | Output::Leave(_)
                        | Output::KeepAlive(_)
                        | Output::Admin(_) => {}
                        Output::Close(key) => self.keyed(shard, key).ending = true,
                        Output::Abort(key) => {
                            let client = self.keyed(shard, key);
                            (client.ending, client.stalled) = (true, true);
                        }
                    }
                }
            }
            if let Some((shard, session, bytes)) = told.pop_front() {
                let answer = Input::Unacknowledged {
                    session,
                    bytes,
                    round_trip_ms: 10,
                };
                self.shards[shard].handle(answer, self.at);
                continue;
            }
            let Some((to, letter)) = mail.pop_front() else {
                return;
            };
            self.shards[to].handle(Input::Letter(letter), self.at);
        }
    }

    pub(crate) fn hand_over(&mut self, from: usize, key: SessionKey, to: usize) {
        let parcel = self.shards[from].release(key);
        let key_there = self.shards[to].adopt(parcel, self.at);
        let client = self.keyed(from, key);
        (client.shard, client.key) = (to, key_there);
    }

    /// Everybody who reads gets what waits; then connections that ended are gone.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        let mut got = Vec::new();
        loop {
            let before = got.len();
            for place in 0..self.clients.len() {
                let client = &self.clients[place];
                if !client.stalled && (client.announced || client.ending) {
                    self.send(place, usize::MAX);
                }
                got.extend(self.clients[place].reads());
                let client = &self.clients[place];
                if client.ending && !client.over && (client.stalled || self.unsent(place) == 0) {
                    self.clients[place].over = true;
                    got.push(format!("{} < end", self.clients[place].name));
                    let (shard, session) = (self.clients[place].shard, self.clients[place].key);
                    let unacknowledged = self.clients[place].cut.unwrap_or(0);
                    self.input(shard, client::gone(session, unacknowledged));
                }
            }
            if got.len() == before {
                return got;
            }
        }
    }

    /// The kernel reports that a connection is gone.
    pub(crate) fn reset(&mut self, name: &str) {
        let client = self.client(name);
        client.over = true;
        let (shard, session) = (client.shard, client.key);
        let unacknowledged = client.cut.unwrap_or(0);
        self.input(shard, client::gone(session, unacknowledged));
    }

    /// The edge sends this many of the unsent bytes.
    pub(crate) fn send(&mut self, place: usize, bytes: usize) {
        let client = &mut self.clients[place];
        if client.over {
            return;
        }
        let unsent = self.shards[client.shard].unsent(client.key);
        let bytes = bytes.min(unsent.len());
        match &mut client.cut {
            None => client.stream.extend_from_slice(&unsent[..bytes]),
            Some(cut) => *cut += u32::try_from(bytes).expect("a test's bytes"),
        }
        client.announced = bytes < unsent.len();
        let (shard, session) = (client.shard, client.key);
        if bytes > 0 {
            self.input(shard, client::sent(session, bytes));
        }
    }

    pub(crate) fn unsent(&self, place: usize) -> usize {
        let client = &self.clients[place];
        self.shards[client.shard].unsent(client.key).len()
    }

    /// Time goes from deadline to deadline.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.at.now.0 + ms;
        self.at.wall.0 += ms;
        loop {
            let next = self.shards.iter().filter_map(Machine::deadline).min();
            let Some(next) = next.filter(|next| next.0 <= until) else {
                break;
            };
            self.at.now = self.at.now.max(next);
            self.turns += 1;
            for shard in 0..self.shards.len() {
                self.input(shard, Input::Tick);
            }
        }
        self.at.now = Now(until);
    }

    /// The clock jumps, as the edge has it jump: shard by shard, and nobody is read meanwhile.
    pub(crate) fn leap(&mut self, ms: u64) {
        let (from, mut until) = (self.at, self.at);
        (until.now.0, until.wall.0) = (from.now.0 + ms, from.wall.0 + ms);
        for shard in 0..self.shards.len() {
            let mut leap = Leap::begin(&mut self.shards[shard], from, until);
            while let Some(at) = leap.next(self.shards[shard].deadline()) {
                self.at = at;
                self.input(shard, Input::Tick);
                for place in 0..self.clients.len() {
                    let client = &self.clients[place];
                    if !client.stalled && (client.announced || client.ending) {
                        self.send(place, usize::MAX);
                    }
                }
            }
        }
        self.at = until;
        self.pass(0);
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        let same = |client: &Client| client.name == *name;
        self.clients
            .iter()
            .position(same)
            .unwrap_or_else(|| panic!("who is {name}?"))
    }

    pub(crate) fn client(&mut self, name: &str) -> &mut Client {
        let place = self.index(name);
        &mut self.clients[place]
    }

    pub(crate) fn keyed(&mut self, shard: usize, key: SessionKey) -> &mut Client {
        let mut clients = self.clients.iter_mut();
        let found =
            clients.find(|client| client.shard == shard && client.key == key && !client.over);
        found.expect("an output names a living session")
    }

    pub(crate) fn place(&self, name: &str) -> (usize, SessionKey) {
        let client = &self.clients[self.index(name)];
        (client.shard, client.key)
    }
}
