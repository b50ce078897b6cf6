//! Reconstructs the connections of a channel from its events.
//!
//! An event either identifies its connection or has a mark that identifies a client id. An event with a mark belongs to
//! the last connection of this client id that started before the event or, if there is none, to the next one. If the
//! client id has no connections, the event belongs to a client that never connected.

use crate::side::trace::hints::{Facts, PlayerCall, Rivals, ended_by_proxy};
use broker_core::journal::{EndReason, Unaccepted};
use broker_core::shard::{AwaitedMaster, Passage, Towards, TraceEvent, TraceKind, TracePeer};
use broker_core::{id::SessionKey, time::Wall};
use codec::signal::{Action, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Default)]
pub(crate) struct TimelineReading {
    /// The time when the trace was read, by both clocks: wall-clock time, and microseconds since startup.
    pub(crate) read: (Wall, u64),
    /// Start of the period that the shard's recorded events cover, in microseconds since startup. `None` if there are
    /// none.
    pub(crate) since_us: Option<u64>,
    pub(crate) connected: Vec<TracePeer>,
    /// How long a master must have been connected before an offer that an earlier master has already received is
    /// redelivered to it, in milliseconds. `None` if offers are never redelivered.
    pub(crate) repeats_after_ms: Option<u64>,
    pub(crate) events: Vec<TraceEvent>,
    /// Whether the channel has more events than were read.
    pub(crate) cut: bool,
}

/// A connection, or a client id that has no connection.
#[derive(Debug, Default)]
pub(crate) struct TimelineConnection {
    /// The peer of the connection, or `None` for a client id that has no connection.
    pub(crate) peer: Option<TracePeer>,
    pub(crate) client_id: Option<Box<str>>,
    /// The time when the connection joined. For a client id without a connection, the time of its first event.
    pub(crate) joined_us: u64,
    /// When and why the connection was closed.
    pub(crate) left: Option<(u64, Option<EndReason>)>,
    /// The time when the last event before the close occurred, or when the connection joined if there were no events.
    last_us: u64,
    pub(crate) events: Vec<TraceEvent>,
    pub(crate) facts: Facts,
}

#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) viewers: Vec<TimelineConnection>,
    pub(crate) masters: Vec<TimelineConnection>,
    pub(crate) cut: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceMessage {
    serial: u64,
    at: f64,
    /// The action, or `None` if the message could not be parsed.
    action: Option<Action>,
    towards: Towards,
    passage: Passage,
    pub(crate) bytes: usize,
    pub(crate) most: usize,
    candidates: Option<usize>,
}

#[derive(Clone, Copy)]
enum Whose {
    Session(SessionKey),
    /// A viewer, identified by the mark of its client id.
    Mark(u64),
    /// The connection that was prepared by an earlier call.
    Caller,
}

impl Story {
    pub(crate) fn of(reading: TimelineReading) -> Self {
        let mut connections = Vec::new();
        for peer in reading.connected {
            connections.push(TimelineConnection::of(peer, None));
        }
        for event in &reading.events {
            if let TraceKind::Left(peer, reason) = &event.kind {
                let left = Some((event.at_us, *reason));
                connections.push(TimelineConnection::of((**peer).clone(), left));
            }
        }
        connections.sort_by_key(|one| (one.joined_us, one.session().map(SessionKey::pack)));
        let mut sessions = BTreeMap::new();
        let mut marks: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (place, one) in connections.iter().enumerate() {
            sessions.extend(one.session().map(|session| (session, place)));
            if let Some(mark) = one.peer.as_ref().and_then(|peer| peer.mark) {
                marks.entry(mark).or_default().push(place);
            }
        }
        let mut absent: BTreeMap<u64, TimelineConnection> = BTreeMap::new();
        for event in reading.events.into_iter().rev() {
            let place = match whose(&event.kind) {
                Some(Whose::Session(session)) => sessions.get(&session).copied(),
                Some(Whose::Mark(mark)) => match marks.get(&mark) {
                    Some(places) => nearest(&connections, places, event.at_us),
                    None => {
                        absent.entry(mark).or_default().add_absent(event);
                        continue;
                    }
                },
                Some(Whose::Caller) => prepared(&connections, &event),
                None => None,
            };
            let Some(one) = place.and_then(|place| connections.get_mut(place)) else {
                continue;
            };
            if let TraceKind::Joined(..) = event.kind {
                one.joined_us = event.at_us;
            }
            one.events.push(event);
        }
        let is_master = |one: &TimelineConnection| one.client_id.is_none();
        let (mut masters, mut viewers): (Vec<_>, Vec<_>) =
            connections.into_iter().partition(is_master);
        viewers.extend(absent.into_values());
        for one in masters.iter_mut().chain(&mut viewers) {
            let left = one.left.map_or(u64::MAX, |(left, _)| left);
            let before = one
                .events
                .iter()
                .map(|event| event.at_us)
                .filter(|at| *at < left);
            one.last_us = before.max().unwrap_or(one.joined_us);
        }
        let mut story = Self {
            viewers,
            masters,
            cut: reading.cut,
        };
        story.find_facts(reading.read.1, reading.repeats_after_ms);
        story
    }

    pub(crate) fn only(&mut self, client_id: &str) {
        self.viewers
            .retain(|one| one.client_id.as_deref() == Some(client_id));
    }

    /// Removes everything before a time, given in microseconds since startup.
    pub(crate) fn since(&mut self, us: u64) {
        self.keep(|event| event.at_us >= us);
        self.masters
            .retain(|one| one.left.is_none_or(|(left, _)| left >= us));
    }

    /// Keeps only the newest `limit` events of viewers, and only the newest `limit` masters.
    pub(crate) fn newest(&mut self, limit: usize) {
        let events = self.viewers.iter().flat_map(|one| &one.events);
        let mut serials: Vec<u64> = events.map(|event| event.serial).collect();
        if serials.len() > limit {
            serials.sort_unstable();
            let first = serials.len() - limit;
            let oldest = serials.get(first).copied().unwrap_or_default();
            self.cut = true;
            self.keep(|event| event.serial >= oldest);
        }
        let more = self.masters.len().saturating_sub(limit);
        self.masters.drain(..more);
    }

    fn keep(&mut self, stays: impl Fn(&TraceEvent) -> bool) {
        for one in &mut self.viewers {
            one.events.retain(&stays);
        }
        self.viewers
            .retain(|one| !one.events.is_empty() || (one.left.is_none() && one.peer.is_some()));
    }

    fn find_facts(&mut self, now_us: u64, repeats_after_ms: Option<u64>) {
        let of_masters = self.find_facts_of_masters(now_us);
        let joins: Vec<u64> = self.masters.iter().map(|one| one.joined_us).collect();
        let master = self.masters.iter().any(|one| one.left.is_none());
        let mut offered = BTreeSet::new();
        for one in &mut self.viewers {
            let mut facts = one.facts(now_us);
            let until = facts.answer.or(facts.left).unwrap_or(facts.now);
            if let Some(arrived) = facts.arrived {
                let next = joins.partition_point(|joined| one.ms(*joined) <= arrived);
                let replaced = joins.get(next).map(|joined| one.ms(*joined));
                facts.replaced = replaced.filter(|replaced| *replaced < until);
            }
            if let Some(arrived) = facts.arrived.filter(|_| facts.answer.is_none()) {
                for (reason, all) in &of_masters {
                    let next = all.partition_point(|(at_us, _)| one.ms(*at_us) < arrived);
                    let next = all.get(next).filter(|(at_us, _)| one.ms(*at_us) <= until);
                    let next = next.map(|(_, message)| (*reason, *message));
                    facts.of_master.extend(next);
                }
            }
            facts.master = master;
            facts.repeats_ms = repeats_after_ms.map(|ms| ms_of(ms.saturating_mul(1000)));
            facts.older_offer = offered.contains(&one.client_id);
            if facts.offer.is_some() && facts.answer.is_none() {
                offered.insert(one.client_id.clone());
            }
            one.facts = facts;
        }
    }

    /// Derives the facts about masters. Returns the masters' messages that had no recipient and were not accepted,
    /// grouped by reason and sorted by time.
    fn find_facts_of_masters(
        &mut self,
        now_us: u64,
    ) -> BTreeMap<Unaccepted, Vec<(u64, TraceMessage)>> {
        let (mut unaccepted, mut moments) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        let (mut older, mut newer) = (BTreeMap::new(), BTreeMap::new());
        for one in &mut self.masters {
            one.facts = one.facts(now_us);
            for event in &one.events {
                if let TraceKind::Superseded(old, new, is_unnamed) = event.kind {
                    moments.push(event.at_us);
                    older.insert(old.pack(), (event.at_us, new.pack()));
                    newer.insert(new.pack(), is_unnamed);
                }
                if let Some(message) = one.message(event)
                    && let Passage::Unaccepted(reason) = message.passage
                {
                    let of_reason = unaccepted.entry(reason).or_default();
                    of_reason.push((event.at_us, message));
                }
            }
        }
        for of_reason in unaccepted.values_mut() {
            of_reason.sort_by_key(|(at_us, _)| *at_us);
        }
        let peers = self.masters.iter().filter_map(|one| one.peer.as_ref());
        let remotes = peers.map(|peer| (peer.session.pack(), peer.remote.ip()));
        let remotes: BTreeMap<u64, IpAddr> = remotes.collect();
        for one in &mut self.masters {
            let session = one.session().map_or(0, SessionKey::pack);
            let taken_over = older.get(&session);
            one.facts.taken_over =
                taken_over.map(|(at_us, newer)| (one.ms(*at_us), remotes.get(newer).copied()));
            one.facts.unnamed = newer.get(&session).copied().unwrap_or_default();
            one.facts.remote = remotes.get(&session).copied();
        }
        let short = self.masters.iter().filter(|one| one.facts.is_short());
        let ends = moments.iter().max().zip(moments.iter().min());
        let rivals = Rivals {
            takeovers: older.len(),
            within: ms_of(ends.map_or(0, |(last, first)| last - first)),
            short: short.count(),
        };
        (self.masters.iter_mut()).for_each(|one| one.facts.rivals = rivals);
        unaccepted
    }
}

impl TimelineConnection {
    fn of(peer: TracePeer, left: Option<(u64, Option<EndReason>)>) -> Self {
        Self {
            client_id: peer.client_id.clone(),
            joined_us: peer.opened_us,
            peer: Some(peer),
            left,
            ..Self::default()
        }
    }

    /// Names the proxies that may have closed the connection. See [`ended_by_proxy`].
    pub(crate) fn ended_by_proxy(&self, ping_ms: u64) -> Option<String> {
        let left = (self.left).filter(|(_, why)| *why == Some(EndReason::PeerGone));
        let (left, _) = left?;
        let quiet_ms = left.saturating_sub(self.last_us) / 1000;
        let age_ms = left.saturating_sub(self.joined_us) / 1000;
        ended_by_proxy(age_ms, quiet_ms, ping_ms)
    }

    fn session(&self) -> Option<SessionKey> {
        self.peer.as_ref().map(|peer| peer.session)
    }

    fn add_absent(&mut self, event: TraceEvent) {
        if self.events.is_empty() {
            self.joined_us = event.at_us;
        }
        if let TraceKind::Message {
            viewer: Some(id), ..
        } = &event.kind
        {
            self.client_id.get_or_insert_with(|| id.clone());
        }
        self.events.push(event);
    }

    /// Returns the time from joining to `at_us`, in milliseconds. Negative if `at_us` is before the connection joined.
    pub(crate) fn ms(&self, at_us: u64) -> f64 {
        if at_us >= self.joined_us {
            ms_of(at_us - self.joined_us)
        } else {
            -ms_of(self.joined_us - at_us)
        }
    }

    fn message(&self, event: &TraceEvent) -> Option<TraceMessage> {
        let TraceKind::Message {
            action,
            towards,
            passage,
            bytes,
            most,
            candidates,
            ..
        } = event.kind
        else {
            return None;
        };
        let (serial, at) = (event.serial, self.ms(event.at_us));
        Some(TraceMessage {
            serial,
            at,
            action,
            towards,
            passage,
            bytes,
            most,
            candidates,
        })
    }

    fn facts(&self, now_us: u64) -> Facts {
        let peer = self.peer.as_ref();
        let mut facts = Facts {
            now: self.ms(now_us),
            left: self.left.map(|(us, _)| self.ms(us)),
            ended: self.left.and_then(|(_, reason)| reason),
            whole: peer.is_none(),
            absent: peer.is_none(),
            unconfirmed: peer.is_some_and(|peer| peer.unconfirmed),
            confirmed_by: peer.filter(|it| it.by_tcp).map(|it| it.remote.ip()),
            awaited: peer.and_then(|peer| peer.offer).map(|to| match to {
                AwaitedMaster::Current(due) => Some(self.ms(due.0.saturating_mul(1000))),
                AwaitedMaster::Next => None,
            }),
            ..Facts::default()
        };
        // Whether the broker closed the connection because of what the client had sent.
        facts.declined = matches!(
            facts.ended,
            Some(EndReason::ProtocolError(_) | EndReason::Unsupported | EndReason::SlowMessage)
        );
        for event in &self.events {
            match event.kind {
                TraceKind::Joined(_, _, by) => (facts.whole, facts.role_by) = (true, Some(by)),
                TraceKind::ToldToGo(_) => facts.told_to_go = Some(self.ms(event.at_us)),
                TraceKind::Left(..)
                | TraceKind::Superseded(..)
                | TraceKind::ApiCall { .. }
                | TraceKind::Message { .. } => {}
            }
        }
        let messages = self.events.iter().filter_map(|event| self.message(event));
        let messages = TraceMessages(messages.collect());
        messages.unaccepted(&mut facts);
        messages.offers(&mut facts);
        messages.answers(&mut facts);
        messages.candidates(&mut facts);
        facts
    }
}

struct TraceMessages(Vec<TraceMessage>);

const UP: Towards = Towards::Master;
const DOWN: Towards = Towards::Viewer;
const OFFER: Action = Action::SdpOffer;
const ANSWER: Action = Action::SdpAnswer;
const CANDIDATE: Action = Action::IceCandidate;

/// The stages of a message that the broker has received from its sender.
const CAME: &[Passage] = &[Passage::Relayed, Passage::Kept];
const WENT: &[Passage] = &[Passage::Relayed, Passage::Delivered];

impl TraceMessages {
    fn all(
        &self,
        action: Action,
        towards: Towards,
        passages: &'static [Passage],
    ) -> impl DoubleEndedIterator<Item = &TraceMessage> {
        let of_kind = move |it: &&TraceMessage| it.action == Some(action) && it.towards == towards;
        let all = self.0.iter().filter(of_kind);
        all.filter(|it| passages.contains(&it.passage))
    }

    fn first(&self, action: Action, towards: Towards, passages: &'static [Passage]) -> Option<f64> {
        self.all(action, towards, passages).next().map(|it| it.at)
    }

    fn unaccepted(&self, facts: &mut Facts) {
        for message in &self.0 {
            if let Passage::Unaccepted(reason) = message.passage {
                let may_be_offer = matches!(message.action, None | Some(OFFER));
                facts.declined |= may_be_offer && message.towards == UP;
                let first = (0, *message);
                let (count, last) = facts.unaccepted.entry(reason).or_insert(first);
                (*count, *last) = (*count + 1, *message);
            } else {
                facts.longest = facts.longest.max(message.bytes);
            }
        }
    }

    fn offers(&self, facts: &mut Facts) {
        facts.offer = self.first(OFFER, UP, CAME);
        facts.arrived = self.first(OFFER, UP, WENT);
        facts.expired = self.first(OFFER, UP, &[Passage::Expired]);
        facts.newer_offer = self
            .all(OFFER, UP, CAME)
            .any(|it| Some(it.at) > facts.offer);
        let back = self.first(OFFER, UP, &[Passage::Returned, Passage::Unconfirmed]);
        facts.returned = back.is_some();
        let last = self.all(OFFER, UP, &[Passage::Repeated]).next_back();
        facts.repeated = last.map(|last| {
            let with = self.all(CANDIDATE, UP, &[Passage::Repeated]);
            (last.at, with.filter(|it| it.serial > last.serial).count())
        });
    }

    fn answers(&self, facts: &mut Facts) {
        let offer = self.all(OFFER, UP, CAME).next();
        let is_early =
            |it: &&TraceMessage| facts.whole && offer.is_none_or(|offer| it.serial < offer.serial);
        let at = |message: Option<&TraceMessage>| message.map(|it| it.at);
        let answer = at(self.all(ANSWER, DOWN, WENT).find(|it| !is_early(it)));
        facts.early = at(self.all(ANSWER, DOWN, WENT).find(is_early));
        facts.answer = answer;
        facts.missed = self.first(ANSWER, DOWN, &[Passage::Kept]);
        facts.unconfirmed |= self.first(ANSWER, DOWN, &[Passage::Unconfirmed]).is_some();
        let passed = |passage| self.0.iter().filter(move |it| it.passage == passage);
        let answered = passed(Passage::AnsweredCall).next_back();
        facts.call_answered = answered.map(|it| it.candidates);
        facts.call_candidates = passed(Passage::ForCall).count();
        facts.player = passed(Passage::Called).next().map(|called| PlayerCall {
            answered: answered.map(|it| it.at - called.at),
            candidates: passed(Passage::Gathered).count(),
            last: (passed(Passage::Gathered).next_back()).map_or(0.0, |it| it.at - called.at),
            status: (passed(Passage::CallEnded).next_back()).map(|it| it.bytes),
        });
    }

    fn candidates(&self, facts: &mut Facts) {
        facts.viewer_trickled = self.first(CANDIDATE, UP, CAME);
        facts.master_trickled = self.first(CANDIDATE, DOWN, CAME);
        facts.viewer_candidates = self.all(CANDIDATE, UP, CAME).count();
        facts.master_candidates = self.all(CANDIDATE, DOWN, CAME).count();
        let inside = |action| {
            let mut all = self.0.iter().filter(|it| it.action == Some(action));
            all.find_map(|it| it.candidates)
        };
        (facts.in_offer, facts.in_answer) = (inside(OFFER), inside(ANSWER));
    }
}

fn ms_of(us: u64) -> f64 {
    let rest = u32::try_from(us % 1000).unwrap_or_default();
    let ms = u32::try_from(us / 1000).unwrap_or(u32::MAX);
    f64::from(ms) + f64::from(rest) / 1000.0
}

/// Returns the client that an event concerns. For a message, this is the viewer, if the event names one.
fn whose(kind: &TraceKind) -> Option<Whose> {
    match kind {
        TraceKind::Joined(session, Role::Master | Role::Viewer, _)
        | TraceKind::Superseded(session, ..)
        | TraceKind::ToldToGo(session) => Some(Whose::Session(*session)),
        TraceKind::Left(peer, _) => Some(Whose::Session(peer.session)),
        TraceKind::ApiCall { .. } => Some(Whose::Caller),
        TraceKind::Message {
            towards,
            from,
            to,
            mark,
            ..
        } => {
            let viewer = match towards {
                Towards::Master => *from,
                Towards::Viewer => *to,
            };
            let by_session = viewer.map(Whose::Session);
            let by_mark = mark.map(Whose::Mark);
            // A master's message that names no viewer belongs to the master.
            by_session.or(by_mark).or_else(|| from.map(Whose::Session))
        }
    }
}

/// Returns the index of the connection to which an event at `at_us` belongs. `places` contains the indices of the
/// connections of one client id, in the order in which they joined.
fn nearest(connections: &[TimelineConnection], places: &[usize], at_us: u64) -> Option<usize> {
    let joined = |place: &&usize| {
        let one = connections.get(**place);
        one.is_some_and(|one| one.joined_us <= at_us)
    };
    let before = places.iter().rfind(joined);
    before.or_else(|| places.first()).copied()
}

/// Returns the connection that an API call prepared, which is the next connection from the same address with the call's
/// role and client id.
fn prepared(connections: &[TimelineConnection], event: &TraceEvent) -> Option<usize> {
    let TraceKind::ApiCall {
        role,
        address,
        client,
        ..
    } = event.kind
    else {
        return None;
    };
    let fits = |one: &TimelineConnection| {
        let Some(peer) = &one.peer else { return false };
        let is_master = peer.client_id.is_none();
        peer.address == address
            && role.is_none_or(|role| (role == Role::Master) == is_master)
            && client.is_none_or(|client| peer.mark == Some(client))
    };
    // Connections are sorted only to the millisecond.
    let first = connections.partition_point(|one| one.joined_us + 1_000 <= event.at_us);
    let near = connections.iter().enumerate().skip(first);
    let near = near.take(CALLS_PREPARE_MAX);
    let mut near = near.take_while(|(_, one)| one.joined_us < event.at_us + CALLS_PRECEDE_US);
    near.find(|(_, one)| fits(one)).map(|(place, _)| place)
}

const CALLS_PRECEDE_US: u64 = 15_000_000;
const CALLS_PREPARE_MAX: usize = 256;

#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
