//! From the events of a channel to what each of its connections did.
//!
//! An event names connections, or stands for a client id by a mark where none was there. Such an event belongs to the
//! connection of that client id that came last before it; else to the next one; else to a client that never connected.

use crate::side::trace::hints::{Again, Facts, Lengths};
use broker_core::journal::{EndReason, Unaccepted};
use broker_core::shard::{AwaitedMaster, Passage, Towards, TraceEvent, TraceKind, TracePeer};
use broker_core::{id::SessionKey, time::Wall};
use codec::signal::{Action, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that was read of a channel.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// When, by both clocks: the calendar, and microseconds since the start.
    pub(crate) read: (Wall, u64),
    /// Since when there are notes; `None` when nothing is recorded.
    pub(crate) since_us: Option<u64>,
    /// The connected peers.
    pub(crate) connected: Vec<TracePeer>,
    /// How long a master is open before it gets an offer again that a former one had; `None` when it never does.
    pub(crate) repeats_after_ms: Option<u64>,
    /// Newest first.
    pub(crate) events: Vec<TraceEvent>,
    /// There was more than is read.
    pub(crate) cut: bool,
}

/// One connection, or a client id that had none.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Its peer; `None` for a client id without a connection.
    pub(crate) peer: Option<TracePeer>,
    /// A viewer's client id, as far as it is known.
    pub(crate) client_id: Option<Box<str>>,
    /// When it joined, or the first event of a client id without a connection.
    pub(crate) joined_us: u64,
    /// When it left, and why.
    pub(crate) left: Option<(u64, Option<EndReason>)>,
    /// Its events, oldest first: what it did and got.
    pub(crate) events: Vec<TraceEvent>,
    /// The facts that the hints follow from.
    pub(crate) facts: Facts,
}

/// The connections of a channel, each kind in the order in which they came.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) viewers: Vec<Connection>,
    pub(crate) masters: Vec<Connection>,
    /// Older events were left out.
    pub(crate) cut: bool,
}

/// Proxies by the seconds after which they end what they pass on, as they come: without a byte, unless they end all of
/// it then ([`WHOLE_LIFE_S`]). See deploy/PROXY.md.
const PROXIES: [(u64, &str); 5] = [
    (
        WHOLE_LIFE_S,
        "application load balancers of Google Cloud (timeoutSec)",
    ),
    (
        50,
        "HAProxy as Debian configures it (timeout client, timeout server)",
    ),
    (
        60,
        "nginx (proxy_read_timeout) and AWS' application load balancers (idle timeout)",
    ),
    (100, "Cloudflare"),
    (350, "AWS' network load balancers"),
];
const WHOLE_LIFE_S: u64 = 30;

/// How late the end comes to be known.
const PROXY_LATE_MS: u64 = 1_000;

/// To whom an event belongs.
#[derive(Clone, Copy)]
enum Whose {
    Session(SessionKey),
    /// A viewer by its mark.
    Mark(u64),
}

impl Story {
    /// Sorts out who did what.
    pub(crate) fn of(reading: Reading) -> Self {
        let mut connections = Vec::new();
        for peer in reading.connected {
            connections.push(Connection::of(peer, None));
        }
        for event in &reading.events {
            if let TraceKind::Left(peer, reason) = &event.kind {
                let left = Some((event.at_us, *reason));
                connections.push(Connection::of((**peer).clone(), left));
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
        let mut absent: BTreeMap<u64, Connection> = BTreeMap::new();
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
        let is_master = |one: &Connection| one.client_id.is_none();
        let (masters, mut viewers): (Vec<_>, Vec<_>) = connections.into_iter().partition(is_master);
        viewers.extend(absent.into_values());
        let mut story = Self {
            viewers,
            masters,
            cut: reading.cut,
        };
        story.find_facts(reading.read.1, reading.repeats_after_ms);
        story
    }

    /// Leaves out the viewers of other client ids.
    pub(crate) fn only(&mut self, client_id: &str) {
        self.viewers
            .retain(|one| one.client_id.as_deref() == Some(client_id));
    }

    /// Leaves out what was before a moment, in microseconds since the start.
    pub(crate) fn since(&mut self, us: u64) {
        self.keep(|event| event.at_us >= us);
        self.masters
            .retain(|one| one.left.is_none_or(|(left, _)| left >= us));
    }

    /// Leaves out all but the newest `limit` events of viewers, and all but as many masters.
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

    /// The moments of masters' messages that were not accepted and named no viewer, in order, by reason.
    fn unaccepted_of_masters(&self) -> BTreeMap<Unaccepted, Vec<(u64, Lengths)>> {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in self.masters.iter().flat_map(|master| &master.events) {
            if let Some((reason, lengths)) = unaccepted(event) {
                all.entry(reason).or_default().push((event.at_us, lengths));
            }
        }
        for of_reason in all.values_mut() {
            of_reason.sort_by_key(|(at_us, _)| *at_us);
        }
        all
    }

    /// Works out what hints follow from: from everything that is known, whatever is shown of it.
    fn find_facts(&mut self, now_us: u64, repeats_after_ms: Option<u64>) {
        let joins: Vec<u64> = self.masters.iter().map(|one| one.joined_us).collect();
        for one in &mut self.masters {
            one.facts = one.facts(now_us);
        }
        let master = self.masters.iter().any(|one| one.left.is_none());
        let of_masters = self.unaccepted_of_masters();
        let mut offered = BTreeSet::new();
        for one in &mut self.viewers {
            let mut facts = one.facts(now_us);
            facts.master = master;
            let replaced = one.arrived_us().and_then(|arrived| {
                let next = joins.partition_point(|joined| *joined <= arrived);
                joins.get(next).map(|joined| one.ms(*joined))
            });
            let until = facts.answer.or(facts.left).unwrap_or(facts.now);
            let replaced = replaced.filter(|replaced| *replaced < until);
            facts.replaced = replaced.map(|at| (at, one.again(&facts, at, repeats_after_ms)));
            facts.older_offer = offered.contains(&one.client_id);
            if let Some(arrived) = facts.arrived.filter(|_| facts.answer.is_none()) {
                let first = |all: &Vec<(u64, Lengths)>| {
                    let next = all.partition_point(|(at_us, _)| one.ms(*at_us) < arrived);
                    let next = all.get(next).filter(|(at_us, _)| one.ms(*at_us) <= until);
                    next.map(|(_, lengths)| *lengths)
                };
                let found = of_masters.iter();
                let found = found.filter_map(|(reason, all)| Some((*reason, first(all)?)));
                facts.of_master = found.collect();
            }
            if facts.offer.is_some() && facts.answer.is_none() {
                offered.insert(one.client_id.clone());
            }
            one.facts = facts;
        }
    }
}

impl Connection {
    fn of(peer: TracePeer, left: Option<(u64, Option<EndReason>)>) -> Self {
        Self {
            client_id: peer.client_id.clone(),
            joined_us: peer.opened_us,
            peer: Some(peer),
            left,
            ..Self::default()
        }
    }

    /// The proxies that end connections after as long a time as this one lasted, or was quiet before its end, if that
    /// came without a close. `ping_ms`: the silence after which the broker pings, or 0: a connection of which a shorter
    /// silence than a proxy's is ended by it alone.
    pub(crate) fn ended_by_proxy(&self, ping_ms: u64) -> Option<String> {
        let (left, reason) = self
            .left
            .filter(|(_, why)| *why == Some(EndReason::PeerGone))?;
        let before = self.events.iter().map(|event| event.at_us);
        let last = before.filter(|at_us| *at_us < left).max();
        let quiet_ms = left.saturating_sub(last.unwrap_or(self.joined_us)) / 1000;
        let age_ms = left.saturating_sub(self.joined_us) / 1000;
        let (seconds, proxies) = PROXIES.iter().find(|(seconds, _)| {
            let ms = seconds * 1000;
            let fits = |span: u64| (ms..ms + PROXY_LATE_MS).contains(&span);
            fits(age_ms) && *seconds == WHOLE_LIFE_S
                || fits(quiet_ms) && (ping_ms == 0 || ping_ms >= ms)
        })?;
        let says = reason.map_or_else(|| "".into(), EndReason::says);
        Some(format!(
            "{says}, {seconds} s after its last message, or its beginning: {proxies} do that to what they pass on; see \
             deploy/PROXY.md and `[timeouts] ping`"
        ))
    }

    fn session(&self) -> Option<SessionKey> {
        self.peer.as_ref().map(|peer| peer.session)
    }

    /// Of a client id without a connection.
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

    /// Milliseconds from when it joined to a moment.
    pub(crate) fn ms(&self, at_us: u64) -> f64 {
        let span = |later: u64, earlier: u64| {
            let us = u32::try_from((later - earlier) % 1000).unwrap_or_default();
            let ms = u32::try_from((later - earlier) / 1000).unwrap_or(u32::MAX);
            f64::from(ms) + f64::from(us) / 1000.0
        };
        if at_us >= self.joined_us {
            span(at_us, self.joined_us)
        } else {
            -span(self.joined_us, at_us)
        }
    }

    /// When an offer of it first went to a master.
    fn arrived_us(&self) -> Option<u64> {
        let went = |event: &&TraceEvent| match &event.kind {
            TraceKind::Message {
                action,
                towards,
                passage,
                ..
            } => {
                let offer = *action == Some(Action::SdpOffer) && *towards == Towards::Master;
                offer && matches!(passage, Passage::Relayed | Passage::Delivered)
            }
            TraceKind::Joined(..)
            | TraceKind::Left(..)
            | TraceKind::Superseded(..)
            | TraceKind::ToldToGo(_) => false,
        };
        self.events.iter().find(went).map(|event| event.at_us)
    }

    /// What becomes of its offer that a master had when another one connected.
    fn again(&self, facts: &Facts, replaced: f64, after_ms: Option<u64>) -> Again {
        let repeated = facts.repeated.filter(|(at, _)| *at >= replaced);
        let arrived = facts.arrived.unwrap_or_default();
        let spoke = facts.master_trickled.is_some_and(|at| at >= arrived);
        if let Some((at, candidates)) = repeated {
            return Again::Given(at - replaced, candidates);
        }
        if facts.returned {
            return Again::Returned;
        }
        let conditions = [
            (after_ms.is_none(), "[signaling] repeat_offers is off"),
            (spoke, "the master has sent this viewer an ICE candidate"),
            (facts.answer.is_some(), "the master answered it before"),
            (facts.newer_offer, "the viewer has sent a newer one"),
            (facts.left.is_some(), "the viewer has left"),
        ];
        if let Some((_, because)) = conditions.into_iter().find(|(holds, _)| *holds) {
            return Again::Not(because);
        }
        let after_ms = after_ms.unwrap_or_default();
        let open_ms = self.ms(self.joined_us.saturating_add(after_ms.saturating_mul(1000)));
        match self.peer.as_ref().and_then(|peer| peer.offer) {
            Some(AwaitedMaster::Current(due)) => {
                let due_ms = self.ms(due.0.saturating_mul(1000));
                Again::Due((due_ms - facts.now).max(0.0), open_ms)
            }
            Some(AwaitedMaster::Next) => Again::Next(open_ms),
            None => Again::Not("its time was over, or it made room for others"),
        }
    }

    /// The facts that its own events show.
    fn facts(&self, now_us: u64) -> Facts {
        let mut facts = Facts {
            now: self.ms(now_us),
            left: self.left.map(|(us, _)| self.ms(us)),
            whole: self.peer.is_none(),
            absent: self.peer.is_none(),
            declined: self
                .left
                .and_then(|(_, reason)| reason)
                .is_some_and(cut_off),
            arrived: self.arrived_us().map(|us| self.ms(us)),
            ended: self.left.and_then(|(_, reason)| reason),
            unconfirmed: self.peer.as_ref().is_some_and(|peer| peer.unconfirmed),
            confirmed_by: (self.peer.as_ref().filter(|peer| peer.by_tcp))
                .map(|peer| peer.remote.ip()),
            ..Facts::default()
        };
        for event in &self.events {
            match event.kind {
                TraceKind::Message {
                    action,
                    towards,
                    passage,
                    bytes,
                    candidates,
                    ..
                } => {
                    let at = self.ms(event.at_us);
                    facts.message(at, action, towards, passage, bytes);
                    facts.look_into(action, passage, candidates);
                    if let Some((reason, lengths)) = unaccepted(event) {
                        facts.unaccepted.add(reason, lengths);
                    }
                }
                TraceKind::Joined(_, _, by) => (facts.whole, facts.role_by) = (true, Some(by)),
                TraceKind::ToldToGo(_) => facts.told_to_go = Some(self.ms(event.at_us)),
                TraceKind::Left(..) | TraceKind::Superseded(..) => {}
            }
        }
        facts
    }
}

impl Facts {
    fn message(
        &mut self,
        at: f64,
        action: Option<Action>,
        towards: Towards,
        passage: Passage,
        bytes: usize,
    ) {
        let came = matches!(passage, Passage::Relayed | Passage::Kept);
        let went = matches!(passage, Passage::Relayed | Passage::Delivered);
        if !matches!(passage, Passage::Unaccepted(_)) {
            self.longest = self.longest.max(bytes);
        }
        let first = |known: &mut Option<f64>, is: bool| {
            if is {
                known.get_or_insert(at);
            }
        };
        match (action, towards) {
            (Some(Action::SdpOffer), Towards::Master) => {
                first(&mut self.offer, came);
                first(&mut self.expired, passage == Passage::Expired);
            }
            (Some(Action::SdpAnswer), Towards::Viewer) => {
                let early = self.whole && self.offer.is_none();
                first(&mut self.early, went && early);
                first(&mut self.answer, went && !early);
                first(&mut self.missed, passage == Passage::Kept);
                self.unconfirmed |= passage == Passage::Unconfirmed;
            }
            (Some(Action::IceCandidate), Towards::Master) => {
                first(&mut self.viewer_trickled, came);
                self.viewer_candidates += usize::from(came);
            }
            (Some(Action::IceCandidate), Towards::Viewer) => {
                first(&mut self.master_trickled, came);
                self.master_candidates += usize::from(came);
            }
            (Some(_) | None, Towards::Master | Towards::Viewer) => {}
        }
        self.again(at, action, towards, passage);
        let may_be_offer = matches!(action, None | Some(Action::SdpOffer));
        let declined = matches!(passage, Passage::Unaccepted(_)) && may_be_offer;
        self.declined |= declined && towards == Towards::Master;
    }
}

impl Facts {
    /// An offer that comes again, or takes the place of an older one; a candidate that comes with it.
    fn again(&mut self, at: f64, action: Option<Action>, towards: Towards, passage: Passage) {
        let is_repeated = passage == Passage::Repeated && towards == Towards::Master;
        if is_repeated && action == Some(Action::IceCandidate) {
            self.repeated = self.repeated.map(|(at, count)| (at, count + 1));
        }
        if action != Some(Action::SdpOffer) || towards != Towards::Master {
            return;
        }
        if is_repeated {
            self.repeated = Some((at, 0));
        }
        self.returned |= matches!(passage, Passage::Returned | Passage::Unconfirmed);
        let came = matches!(passage, Passage::Relayed | Passage::Kept);
        self.newer_offer |= came && self.offer.is_some_and(|first| first < at);
    }

    /// What a message contains, and what a master sends for a call over HTTP.
    fn look_into(&mut self, action: Option<Action>, passage: Passage, candidates: Option<usize>) {
        let known = match action {
            Some(Action::SdpOffer) => &mut self.in_offer,
            Some(Action::SdpAnswer) => &mut self.in_answer,
            Some(Action::IceCandidate) | None => &mut None,
        };
        *known = known.or(candidates);
        if passage == Passage::AnsweredCall {
            self.call.get_or_insert_default().answered = Some(candidates);
        } else if passage == Passage::ForCall {
            self.call.get_or_insert_default().dropped += 1;
        }
    }
}

/// Whether the broker ended a connection for what it was sending.
fn cut_off(reason: EndReason) -> bool {
    matches!(
        reason,
        EndReason::ProtocolError(_) | EndReason::Unsupported | EndReason::SlowMessage
    )
}

/// Why a message was not accepted, if the event is that; with its length, and the limit.
fn unaccepted(event: &TraceEvent) -> Option<(Unaccepted, Lengths)> {
    match event.kind {
        TraceKind::Message {
            passage: Passage::Unaccepted(reason),
            bytes,
            most,
            ..
        } => Some((reason, Lengths { bytes, most })),
        TraceKind::Message { .. }
        | TraceKind::Joined(..)
        | TraceKind::Left(..)
        | TraceKind::Superseded(..)
        | TraceKind::ToldToGo(_) => None,
    }
}

/// To whom an event belongs: to the viewer, where a message has one.
fn whose(kind: &TraceKind) -> Option<Whose> {
    match kind {
        TraceKind::Joined(session, Role::Master | Role::Viewer, _)
        | TraceKind::Superseded(session, ..)
        | TraceKind::ToldToGo(session) => Some(Whose::Session(*session)),
        TraceKind::Left(peer, _) => Some(Whose::Session(peer.session)),
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
            // A message of a master that names nobody is the master's own.
            by_session.or(by_mark).or_else(|| from.map(Whose::Session))
        }
    }
}

/// Which of the connections of a client id, in the order in which they came, an event at this moment belongs to.
fn nearest(connections: &[Connection], places: &[usize], at_us: u64) -> Option<usize> {
    let joined = |place: &&usize| {
        let one = connections.get(**place);
        one.is_some_and(|one| one.joined_us <= at_us)
    };
    let before = places.iter().rfind(joined);
    before.or_else(|| places.first()).copied()
}

#[cfg(test)]
mod tests;
