//! The flight recorder's notes of a channel, read in steps between inputs and at the end of the world: in order, of the
//! connections that the wire has shown, and complete as long as the ring has overwritten none.

use crate::sim::socket::ConnId;
use crate::sim::world::{Cause, World};
use broker_core::id::{Identity, SessionKey};
use broker_core::shard::{Passage, Question, Reply, TraceEvent, TraceKind, TraceStep};
use broker_core::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// An operator asks a shard something.
    pub(crate) fn inspect_some(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        let (number, limit) = (
            self.random.usize(0..self.plan.channels),
            self.random.usize(1..30),
        );
        let name = format!("channel{number}");
        self.page(shard);
        self.not_in_another_account(shard, &name);
        self.read_trace(shard, &name, limit);
        self.after(shard, Cause::Operator);
    }

    /// Channels by pages: those that are here, in order.
    fn page(&mut self, shard: usize) {
        let after = self.random.bool().then(|| self.name());
        let limit = self.random.usize(1..4);
        let question = Question::Page {
            prefix: "channel".into(),
            after: after.as_deref().map(|name| self.identity(name)),
            limit,
            viewer: None,
            presence: true,
        };
        let Reply::Page(found, more) = self.ask(shard, question) else {
            panic!("a page is answered by a page");
        };
        let after = after.unwrap_or_default();
        let here = self.records.all().map(|(name, _)| name);
        let here = here.filter(|name| **name > *after && self.home(name) == shard);
        let here: Vec<&str> = here
            .filter(|name| self.records.visible(name).is_some())
            .collect();
        let found: Vec<&str> = found.iter().map(|line| line.arn.name()).collect();
        assert_eq!(found, here[..found.len()], "a page");
        let fine = found.len() == limit.min(here.len());
        assert!(fine, "{found:?} of {here:?}");
        assert!(!more || here.len() >= limit, "more than {here:?}");
    }

    /// An operator has clients fetch ICE servers again.
    pub(crate) fn reconnect_some(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        let name = self.random.bool().then(|| self.name());
        let channel = name.as_deref().map(|name| self.identity(name));
        let current = name.as_deref().and_then(|name| self.records.current(name));
        let arn = current.map(|record| record.arn.clone());
        for conn in self.keys[shard].values().copied().collect::<Vec<_>>() {
            let holds = self.holds_slot(conn);
            if let Some(ws) = self.sockets[conn].ws.as_mut().filter(|_| holds) {
                let meant = channel.is_none() || arn.as_ref() == Some(&ws.arn);
                ws.recalled |= meant && !ws.notices;
            }
        }
        let Reply::Reconnected(_, next) =
            self.ask(shard, Question::ReconnectIce { channel, from: 0 })
        else {
            panic!("the request is answered by a number");
        };
        assert_eq!(next, None, "few connections");
        self.recalls = true;
        self.after(shard, Cause::Operator);
        self.recalls = false;
    }

    /// Reads the traces of all channels to their ends.
    pub(crate) fn read_all_traces(&mut self) {
        for shard in 0..self.shards.len() {
            for channel in 0..self.plan.channels {
                let limit = self.random.usize(1..300);
                self.read_trace(shard, &format!("channel{channel}"), limit);
            }
        }
    }

    fn not_in_another_account(&mut self, shard: usize, name: &str) {
        let mine = self.identity(name);
        for account in 0..=self.plan.accounts {
            let other = (123_456_789_012 + account).to_string();
            let other = Identity::new("us-west-2", &other, name);
            if other != mine {
                let Reply::Trace(step) = self.ask(shard, question(other, None, 9)) else {
                    panic!("a trace is answered by a trace");
                };
                assert!(step.is_none(), "of another account");
            }
        }
    }

    fn read_trace(&mut self, shard: usize, name: &str, limit: usize) {
        let (mut from, mut events, mut complete) = (None, Vec::<TraceEvent>::new(), false);
        let here = self.home(name) == shard && self.records.visible(name).is_some();
        loop {
            let first = events.is_empty() && from.is_none();
            let asked = question(self.identity(name), from.take(), limit);
            let Reply::Trace(step) = self.ask(shard, asked) else {
                panic!("a trace is answered by a trace");
            };
            assert_eq!(step.is_some(), here, "whether {name} is here");
            let Some(step) = step.map(|step| *step) else {
                return;
            };
            let wanted = (Wall(self.wall), self.now * 1000);
            assert_eq!(step.read, wanted, "when it is read");
            if first {
                complete = step.since_us == Some(0);
                self.connected_are(shard, name, &step);
            } else {
                assert!(step.connected.is_empty(), "only in the first step");
            }
            events.extend(step.events);
            from = step.next;
            if from.is_none() {
                break;
            }
        }
        let ordered =
            |pair: &[TraceEvent]| pair[0].serial > pair[1].serial && pair[0].at_us >= pair[1].at_us;
        let fine = events.windows(2).all(ordered);
        assert!(fine, "events of {name}: {events:?}");
        for event in &events {
            if let TraceKind::Message { passage, .. } = event.kind {
                self.hit(word_of(passage));
            }
        }
        let latest = events.first().map_or(0, |event| event.at_us);
        assert!(latest <= self.now * 1000, "events of {name} to come");
        self.hit("trace read");
        let arn = self.records.current(name).expect("it is here").arn.clone();
        let whole = complete && self.records.lives(name) == 1;
        self.events_are(shard, &arn, &events, whole);
    }

    /// Who is connected, superseded connections included.
    fn connected_are(&self, shard: usize, name: &str, step: &TraceStep) {
        let arn = &self.records.current(name).expect("it is here").arn;
        let found = step.connected.iter();
        let found: BTreeSet<_> = found.map(|peer| (peer.remote, peer.opened_us)).collect();
        let here = self.keys[shard].values().map(|conn| &self.sockets[*conn]);
        let here = here.filter_map(|socket| Some((socket, socket.ws.as_ref()?)));
        let open = here.filter(|(socket, ws)| ws.arn == *arn && self.is_member(socket.number));
        let wanted: BTreeSet<_> = open
            .map(|(socket, ws)| (socket.remote, ws.opened * 1000))
            .collect();
        assert_eq!(found, wanted, "who is connected to {arn}");
    }

    /// Each connection has joined once, and left once when it is open no more. `whole`: no note is missing.
    fn events_are(&mut self, shard: usize, arn: &str, events: &[TraceEvent], whole: bool) {
        let of_shard = self.sockets.iter().filter(|socket| socket.shard == shard);
        let of_arn = of_shard.filter(|it| it.ws.as_ref().is_some_and(|ws| ws.arn == arn));
        let known: BTreeMap<SessionKey, ConnId> =
            of_arn.map(|socket| (socket.key, socket.number)).collect();
        let (mut joined, mut left) = (BTreeSet::new(), BTreeSet::new());
        let mut messages: BTreeMap<SessionKey, u32> = BTreeMap::new();
        for event in events {
            match &event.kind {
                TraceKind::Joined(session, ..) => {
                    assert!(joined.insert(*session), "{session:?} joined {arn} twice");
                }
                TraceKind::Left(peer, _) => {
                    let before = joined.contains(&peer.session);
                    let fine = !before && left.insert(peer.session);
                    assert!(fine, "{peer:?} left {arn} twice, or before it joined");
                }
                TraceKind::Message {
                    passage: Passage::Relayed | Passage::Delivered | Passage::Repeated,
                    to: Some(to),
                    ..
                } => *messages.entry(*to).or_default() += 1,
                TraceKind::Superseded(..)
                | TraceKind::ToldToGo(_)
                | TraceKind::ApiCall { .. }
                | TraceKind::Message { .. } => {}
            }
        }
        let calls = !self.ledger.callers.is_empty();
        for (session, conn) in known.into_iter().filter(|_| whole) {
            let holds = joined.contains(&session);
            assert!(holds, "{conn} joined {arn}, which is not noted");
            let open = self.is_member(conn);
            assert_eq!(left.contains(&session), !open, "whether {conn} left {arn}");
            let ws = self.sockets[conn].ws.as_ref().expect("it joined");
            let noted = messages.get(&session).copied().unwrap_or(0);
            let holds = calls || noted >= ws.messages_out;
            assert!(holds, "messages to {conn}: {noted}");
        }
        if whole {
            self.hit("trace read whole");
        }
    }
}

/// For the coverage table.
fn word_of(passage: Passage) -> &'static str {
    match passage {
        Passage::Repeated => "noted: repeated",
        Passage::Late => "noted: late",
        Passage::ForCall => "noted: for a call",
        Passage::Unconfirmed => "noted: unconfirmed",
        Passage::Returned => "noted: returned",
        Passage::Withdrawn => "noted: withdrawn",
        _ => "noted: another passage",
    }
}

fn question(
    identity: Identity,
    from: Option<broker_core::shard::TracePlace>,
    limit: usize,
) -> Question {
    Question::Trace {
        identity,
        from,
        limit,
    }
}
