//! The flight recorder's notes of a channel, read in steps between inputs and at the end of the world: exactly the
//! events that the model saw happen there, as far as the ring still holds them.

use crate::sim::model::changes::Life;
use crate::sim::model::trail::{Recorded, What};
use crate::sim::world::World;
use ahash::RandomState;
use broker_core::id::Identity;
use broker_core::limits::ASK_AFTER_MS;
use broker_core::shard::{
    Question, Reply, Towards, TraceEvent, TraceKind, TracePeer, TracePlace, TraceStep,
};
use broker_core::time::Wall;
use codec::signal::Role;

/// Traces that are read.
pub(crate) struct Traces {
    /// Of each shard.
    hashers: Vec<RandomState>,
    /// Its own, so that what is read changes nothing that happens.
    random: fastrand::Rng,
    /// One that is not read to its end.
    under_way: Option<UnderWay>,
}

/// A trace of which there is more.
struct UnderWay {
    shard: usize,
    name: String,
    channel: usize,
    place: TracePlace,
    /// The number of the last event that was read.
    before: u64,
    /// The oldest note that was left then.
    oldest: u64,
}

impl Traces {
    /// Of the world of a seed, whose shards have these seeds.
    pub(crate) fn new(seed: u64, shards: impl Iterator<Item = [u64; 4]>) -> Self {
        let hashers = shards.map(|[a, b, c, d]| RandomState::with_seeds(a, b, c, d));
        Self {
            hashers: hashers.collect(),
            random: fastrand::Rng::with_seed(!seed),
            under_way: None,
        }
    }
}

impl World {
    /// The events of an input get their numbers. Those of a tick come in any order, which the machine knows; so do
    /// messages of several viewers that expired and are dropped by what comes before the tick.
    pub(crate) fn recorded_as_predicted(&mut self, shard: usize, clock: bool) {
        let events = std::mem::take(&mut self.model.out.trail);
        if self.model.hazy || self.recorder_notes() == 0 {
            return;
        }
        let at = self.model.now;
        let start = self.model.shards[shard].trail.written;
        let mut next = start;
        let numbered = events.into_iter().map(|(channel, what)| {
            let first = next;
            let serial = first + self.model.notes_before(&what);
            next = serial + 1;
            Recorded {
                channel,
                at,
                first,
                serial,
                what,
            }
        });
        let mut events: Vec<Recorded> = numbered.collect();
        let expired = events.iter().filter(|event| event.what.is_expiry()).count();
        if clock && events.len() > 1 || expired > 1 {
            self.model.met("events of one tick in any order");
            self.number_as_found(shard, (start, next), &mut events);
        }
        let trail = &mut self.model.shards[shard].trail;
        trail.events.append(&mut events);
        trail.written = next;
    }

    /// Takes the order of the events of a tick from the machine.
    fn number_as_found(&mut self, shard: usize, (start, end): (u64, u64), events: &mut [Recorded]) {
        let mut channels: Vec<usize> = events.iter().map(|event| event.channel).collect();
        channels.sort_unstable();
        channels.dedup();
        let oldest = end.saturating_sub(self.recorder_notes());
        for channel in channels {
            let one = &self.model.channels[channel];
            if !one.alive || one.life == Life::Creating {
                continue; // what is not there has no trace
            }
            let identity = self.identity(&one.name);
            let mut left: Vec<usize> = (0..events.len()).collect();
            left.retain(|&place| events[place].channel == channel);
            let step = self.step(shard, identity, None, left.len());
            let found = step.expect("the channel is there").events;
            for found in found.iter().take_while(|found| found.serial >= start) {
                let same = |place: &usize| {
                    let wanted = &events[*place];
                    self.differs(shard, found, wanted, oldest).is_none()
                };
                let Some(place) = left.iter().position(same) else {
                    let wanted: Vec<&What> = left.iter().map(|&one| &events[one].what).collect();
                    panic!("{found:?} was recorded in a tick, not {wanted:?}");
                };
                let event = &mut events[left.remove(place)];
                let before = event.serial - event.first;
                (event.first, event.serial) = (found.serial - before, found.serial);
            }
            for place in left {
                let event = &mut events[place];
                assert!(oldest > start, "not recorded in a tick: {:?}", event.what);
                let before = event.serial - event.first;
                (event.first, event.serial) = (start, start + before);
                assert!(event.first < oldest, "{:?}", event.what);
            }
        }
        events.sort_by_key(|event| event.serial);
    }

    /// Begins to read the trace of some channel, or reads on.
    pub(crate) fn read_trace(&mut self, shard: usize) {
        if self.model.hazy {
            return;
        }
        let limit = self.traces.random.usize(1..30);
        if let Some(begun) = self.traces.under_way.take()
            && self.traces.random.bool()
        {
            self.traces.under_way = self.read_on(begun, limit);
            return;
        }
        let name = format!("channel{}", self.traces.random.usize(0..self.plan.channels));
        self.not_in_another_account(shard, &name);
        self.traces.under_way = self.read_from_the_end(shard, &name, limit);
    }

    /// Reads the traces of all channels to their ends.
    pub(crate) fn read_all_traces(&mut self) {
        if self.model.hazy {
            return self
                .model
                .met("traces not compared: an order that does not show");
        }
        self.model.met("traces of all channels read");
        for shard in 0..self.shards.len() {
            for channel in 0..self.plan.channels {
                let limit = self.traces.random.usize(1..300);
                let name = format!("channel{channel}");
                let mut under_way = self.read_from_the_end(shard, &name, limit);
                while let Some(before) = under_way {
                    under_way = self.read_on(before, limit);
                }
            }
        }
    }

    fn not_in_another_account(&mut self, shard: usize, name: &str) {
        let mine = self.identity(name);
        for account in 0..self.plan.accounts + 1 {
            let other = (123_456_789_012 + account).to_string();
            let other = Identity::new("us-west-2", &other, name);
            if other != mine {
                assert!(
                    self.step(shard, other, None, 9).is_none(),
                    "of another account"
                );
            }
        }
    }

    fn read_from_the_end(&mut self, shard: usize, name: &str, limit: usize) -> Option<UnderWay> {
        let identity = self.identity(name);
        let step = self.step(shard, identity, None, limit);
        let channel = self.channel_here(shard, name);
        assert_eq!(step.is_some(), channel.is_some(), "whether {name} is here");
        let (Some(step), Some(channel)) = (step, channel) else {
            self.model.met("trace of a channel that is not here");
            return None;
        };
        let same = |one: &&crate::sim::model::Channel| one.name == name && one.home == shard;
        if self.model.channels.iter().filter(same).count() > 1 {
            self.model
                .met("trace of a channel whose name another one had");
        }
        self.connected_as_predicted(channel, &step);
        self.model.met("trace read");
        if self.recorder_notes() == 0 {
            self.model.met("nothing recorded");
        }
        let written = self.model.shards[shard].trail.written;
        let (before, oldest) = (written, self.oldest(shard));
        self.compare_step((shard, name, channel), before, oldest, limit, step)
    }

    fn read_on(&mut self, begun: UnderWay, limit: usize) -> Option<UnderWay> {
        let UnderWay {
            shard,
            name,
            channel,
            place,
            before,
            oldest,
        } = begun;
        let identity = self.identity(&name);
        let step = self.step(shard, identity, Some(place), limit);
        let there = self.channel_here(shard, &name) == Some(channel);
        assert_eq!(step.is_some(), there, "whether {name} is still here");
        let step = step?;
        assert!(step.connected.is_empty(), "only in the first step");
        self.model.met("trace read on");
        if self.oldest(shard) > oldest {
            let rule = "trace read on: its oldest notes were overwritten";
            self.model.met(rule);
        }
        let oldest = self.oldest(shard);
        self.compare_step((shard, &name, channel), before, oldest, limit, step)
    }

    /// Compares a step with what the channel's events were before a number. Returns where to read on.
    fn compare_step(
        &mut self,
        (shard, name, channel): (usize, &str, usize),
        before: u64,
        oldest: u64,
        limit: usize,
        step: TraceStep,
    ) -> Option<UnderWay> {
        let read = (Wall(self.model.wall), self.model.now * 1000);
        assert_eq!(step.read, read, "when it is read");
        let trail = &self.model.shards[shard].trail.events;
        let since = match trail.iter().find(|event| event.serial >= oldest) {
            _ if self.recorder_notes() == 0 => None,
            Some(event) if oldest > 0 => Some(event.at * 1000),
            Some(_) | None => Some(0),
        };
        assert_eq!(step.since_us, since, "since when there are notes");
        let readable = |event: &&Recorded| {
            let left = matches!(event.what, What::Left(..));
            let begins = if left { event.first } else { event.serial };
            event.channel == channel && event.serial < before && begins >= oldest
        };
        let of_channel = trail.iter().rev().filter(readable).take(limit);
        let wanted: Vec<&Recorded> = of_channel.collect();
        for (found, wanted) in step.events.iter().zip(&wanted) {
            let differs = self.differs(shard, found, wanted, oldest);
            let same = found.serial == wanted.serial && differs.is_none();
            let (what, serial) = (&wanted.what, wanted.serial);
            assert!(same, "{found:?}, not {serial} {what:?}: {differs:?}");
        }
        assert_eq!(step.events.len(), wanted.len(), "events of {name}");
        let last = step.events.last().map(|event| event.serial);
        let more = last.filter(|last| step.events.len() == limit && *last > oldest);
        assert_eq!(step.next.is_some(), more.is_some(), "whether there is more");
        self.met_of(channel, shard, oldest);
        Some(UnderWay {
            shard,
            name: name.to_owned(),
            channel,
            place: step.next?,
            before: more?,
            oldest,
        })
    }

    /// Which names the trace of a channel lacks.
    fn met_of(&mut self, channel: usize, shard: usize, oldest: u64) {
        let trail = self.model.shards[shard].trail.events.iter();
        let mut left = trail.skip_while(|event| event.serial < oldest);
        let Some(event) = left
            .next()
            .filter(|one| one.channel == channel && one.first < oldest)
        else {
            return;
        };
        match event.what {
            What::Left(..) => self
                .model
                .met("trace without an end whose name was overwritten"),
            What::Message(_) => self.model.met("trace without a name that was overwritten"),
            What::Joined(_) | What::Superseded(..) | What::ToldToGo(_) => {}
        }
    }

    fn connected_as_predicted(&self, channel: usize, step: &TraceStep) {
        let one = &self.model.channels[channel];
        let current = one.master.iter().chain(one.viewers.values()).copied();
        let superseded = one.superseded.iter().map(|(_, conn)| *conn);
        let mut wanted: Vec<TracePeer> = current
            .chain(superseded)
            .map(|conn| TracePeer {
                by_tcp: !self.model.by_pong(),
                offer: self.model.awaited(channel, conn),
                unconfirmed: self.is_unconfirmed(conn),
                ..self.peer(conn)
            })
            .collect();
        let mut found = step.connected.clone();
        wanted.sort_by_key(|peer| peer.session.pack());
        found.sort_by_key(|peer| peer.session.pack());
        assert_eq!(found, wanted, "who is connected");
    }

    /// Whether a connection has not confirmed something for two questions.
    fn is_unconfirmed(&self, conn: usize) -> bool {
        let first = self.model.conns[conn].written.front();
        first.is_some_and(|first| self.model.now - first.at > 2 * ASK_AFTER_MS)
    }

    /// A connection as a trace shows it.
    fn peer(&self, conn: usize) -> TracePeer {
        let one = &self.model.conns[conn];
        let ws = one.ws.as_ref().expect("it has or had a slot");
        TracePeer {
            unconfirmed: false,
            by_tcp: false,
            offer: None,
            session: self.sockets[conn].key,
            client_id: ws.viewer.as_deref().map(Box::from),
            mark: ws.viewer.as_deref().map(|id| self.mark(one.shard, id)),
            remote: one.remote,
            opened_us: ws.opened * 1000,
        }
    }

    /// The mark of a client id on a shard: 48 bits of its hash under the shard's key, which its seeds are.
    fn mark(&self, shard: usize, client_id: &str) -> u64 {
        let hash = self
            .traces
            .hashers
            .get(shard)
            .map(|it| it.hash_one(client_id));
        hash.expect("of each shard") >> 16
    }

    /// The difference in an event, if any.
    fn differs(
        &self,
        shard: usize,
        found: &TraceEvent,
        wanted: &Recorded,
        oldest: u64,
    ) -> Option<&'static str> {
        if found.at_us != wanted.at * 1000 {
            return Some("the time");
        }
        let key = |conn: &usize| {
            assert_eq!(self.sockets[*conn].shard, shard, "it lives here");
            self.sockets[*conn].key
        };
        let same = match (&found.kind, &wanted.what) {
            (TraceKind::Joined(session, role, _), What::Joined(conn)) => {
                let viewer = self.peer(*conn).client_id.is_some();
                *session == key(conn) && (*role == Role::Viewer) == viewer
            }
            (TraceKind::Left(peer, reason), What::Left(conn, wanted, or)) => {
                let reasons = [Some(*wanted), *or];
                **peer == self.peer(*conn) && reason.is_some() && reasons.contains(reason)
            }
            (TraceKind::Superseded(older, newer, _), What::Superseded(one, other)) => {
                (*older, *newer) == (key(one), key(other))
            }
            (TraceKind::ToldToGo(session), What::ToldToGo(conn)) => *session == key(conn),
            (
                TraceKind::Message {
                    action,
                    towards,
                    passage,
                    bytes,
                    most,
                    candidates: _,
                    from,
                    to,
                    mark,
                    viewer,
                },
                What::Message(passing),
            ) => {
                let first = found.serial - (wanted.serial - wanted.first);
                let named = passing.is_named() && first >= oldest;
                let name = passing.viewer.as_deref().filter(|_| named);
                *action == passing.action
                    && (*towards == Towards::Master) == passing.to_master
                    && (*passage, *bytes) == (passing.passage, passing.bytes)
                    && *most == passing.most
                    && *from == passing.from.as_ref().map(key)
                    && *to == passing.to.as_ref().map(key)
                    && *mark == passing.viewer.as_deref().map(|id| self.mark(shard, id))
                    && viewer.as_deref() == name
            }
            _ => false,
        };
        (!same).then_some("what happened")
    }

    fn step(
        &mut self,
        shard: usize,
        identity: Identity,
        from: Option<TracePlace>,
        limit: usize,
    ) -> Option<TraceStep> {
        let question = Question::Trace {
            identity,
            from,
            limit,
        };
        let Reply::Trace(step) = self.ask(shard, question) else {
            panic!("a trace is answered by a trace");
        };
        step.map(|step| *step)
    }

    fn channel_here(&self, shard: usize, name: &str) -> Option<usize> {
        let channel = self.model.named(name)?;
        let one = &self.model.channels[channel];
        (one.home == shard && one.life != Life::Creating).then_some(channel)
    }

    fn recorder_notes(&self) -> u64 {
        self.model.settings.recorder_notes_of_shard() as u64
    }

    /// The number of the oldest note that a shard still has.
    fn oldest(&self, shard: usize) -> u64 {
        let written = self.model.shards[shard].trail.written;
        written.saturating_sub(self.recorder_notes())
    }
}
