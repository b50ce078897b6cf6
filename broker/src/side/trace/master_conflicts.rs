//! Connections of a master that take each other's place (two devices, or two processes of one, share a channel), or
//! that end soon after they began.

use crate::side::trace::hints::Span;
use crate::side::trace::timeline::{Connection, Story};
use broker_core::{event::SHORT_MS, id::SessionKey, shard::TraceKind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The connections of a channel's master that others took the place of.
pub(crate) struct Takeovers {
    by: BTreeMap<u64, Takeover>,
    /// The newer ones whose role nothing named.
    unnamed: BTreeSet<u64>,
    /// From the first of them to the last, in milliseconds.
    within: f64,
    /// The connections that ended soon, though no other one took their place.
    short: usize,
}

struct Takeover {
    /// From the older one's joining, in milliseconds.
    after: f64,
    /// The newer one, as far as it is known.
    newer: Option<SocketAddr>,
}

impl Takeovers {
    pub(crate) fn of(story: &Story) -> Self {
        let known = |session: SessionKey| {
            let peers = story.masters.iter().filter_map(|one| one.peer.as_ref());
            let mut same = peers.filter(|peer| peer.session == session);
            same.next().map(|peer| peer.remote)
        };
        let mut moments = Vec::new();
        let (mut by, mut unnamed) = (BTreeMap::new(), BTreeSet::new());
        for one in &story.masters {
            for event in &one.events {
                if let TraceKind::Superseded(older, newer, is_unnamed) = event.kind {
                    unnamed.extend(is_unnamed.then(|| newer.pack()));
                    let (after, newer) = (one.ms(event.at_us), known(newer));
                    moments.push(event.at_us);
                    by.insert(older.pack(), Takeover { after, newer });
                }
            }
        }
        let span = moments.iter().max().zip(moments.iter().min());
        let us = span.map_or(0, |(last, first)| last - first);
        let within = f64::from(u32::try_from(us / 1000).unwrap_or(u32::MAX));
        let mut takeovers = Self {
            by,
            unnamed,
            within,
            short: 0,
        };
        let short = story.masters.iter().filter(|one| takeovers.is_short(one));
        takeovers.short = short.count();
        takeovers
    }

    /// Whether another one took its place.
    pub(crate) fn has_lost(&self, one: &Connection) -> bool {
        let session = one.peer.as_ref().map(|peer| peer.session.pack());
        session.is_some_and(|session| self.by.contains_key(&session))
    }

    /// Whether it took the place of another one, and nothing named its role.
    pub(crate) fn is_unnamed(&self, one: &Connection) -> bool {
        let session = one.peer.as_ref().map(|peer| peer.session.pack());
        session.is_some_and(|session| self.unnamed.contains(&session))
    }

    /// Whether it ended soon after it began, and not for another one.
    fn is_short(&self, one: &Connection) -> bool {
        let left = one.left.map(|(us, _)| one.ms(us));
        left.is_some_and(|left| left <= SHORT_MS as f64) && !self.has_lost(one)
    }

    /// The hint of a connection that ended soon, where that happens again and again.
    pub(crate) fn flaps(&self, one: &Connection) -> Option<String> {
        let (left, short) = (one.left.map(|(us, _)| one.ms(us))?, self.short);
        let often = short >= TWINS && self.is_short(one);
        often.then(|| {
            let stayed = Span(left);
            format!(
                "it left {stayed} after it joined; {short} connections of this master ended within 10 s: its power, \
                 its network or its software"
            )
        })
    }

    /// The hint of a connection whose place another one took, or that took others'.
    pub(crate) fn hint(&self, one: &Connection) -> Option<String> {
        let peer = one.peer.as_ref()?;
        let many = self.by.len();
        let often = if many >= TWINS {
            let span = Span(self.within);
            format!(
                "; this happened {many} times within {span}: two devices, or processes of one, are this channel's \
                 master"
            )
        } else {
            String::new()
        };
        match self.by.get(&peer.session.pack()) {
            Some(Takeover { after, newer }) => {
                let from = match newer {
                    Some(newer) if newer.ip() == peer.remote.ip() => {
                        ", from the same address".into()
                    }
                    Some(newer) => format!(", from {}", newer.ip()),
                    None => String::new(),
                };
                let after = Span(*after);
                Some(format!(
                    "another connection took its place {after} after it joined{from}{often}"
                ))
            }
            None if many >= TWINS => {
                Some(format!("it took the place of an earlier connection{often}"))
            }
            None => None,
        }
    }
}

/// As many takeovers are no accident of a network: one that returns takes its own former place once.
const TWINS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::trace::timeline::Reading;
    use broker_core::journal::EndReason;
    use broker_core::shard::{TraceEvent, TracePeer};
    use broker_core::time::Wall;

    fn session(number: u32) -> SessionKey {
        SessionKey::unpack(number.into())
    }

    fn peer(number: u32) -> TracePeer {
        TracePeer {
            unconfirmed: false,
            by_tcp: false,
            offer: None,
            session: session(number),
            client_id: None,
            mark: None,
            remote: ([192, 0, 2, u8::try_from(number % 2).unwrap()], 9).into(),
            opened_us: u64::from(number) * 5_000_000,
        }
    }

    /// This many masters, each of which takes its predecessor's place after 5 s.
    fn story(masters: u32) -> Story {
        let left = (1..masters).map(|number| {
            let reason = Some(EndReason::PeerGone);
            (number, TraceKind::Left(Box::new(peer(number)), reason))
        });
        let taken = (1..masters).map(|number| {
            let kind = TraceKind::Superseded(session(number), session(number + 1), false);
            (number, kind)
        });
        let mut events: Vec<TraceEvent> = (taken.chain(left).zip(0..))
            .map(|((number, kind), serial)| TraceEvent {
                serial,
                at_us: u64::from(number + 1) * 5_000_000,
                kind,
            })
            .collect();
        events.reverse();
        Story::of(Reading {
            repeats_after_ms: None,
            read: (Wall(0), u64::from(masters + 1) * 5_000_000),
            since_us: Some(0),
            connected: vec![peer(masters)],
            events,
            cut: false,
        })
    }

    #[test]
    fn twins_are_named_with_their_number_and_the_other_address() {
        let story = story(4);
        let takeovers = Takeovers::of(&story);
        let hints = story.masters.iter().map(|one| takeovers.hint(one));
        let hints: Vec<String> = hints.map(Option::unwrap_or_default).collect();
        assert_eq!(hints.len(), 4, "{hints:?}");
        let wanted = "another connection took its place 5.0 s after it joined, from 192.0.2.0; this happened 3 times \
                      within 10.0 s: two devices, or processes of one, are this channel's master";
        assert_eq!(hints[0], wanted);
        assert!(hints[3].starts_with("it took the place of"), "{hints:?}");
    }

    /// As many masters, each of which leaves 300 ms after it came.
    fn flapping(masters: u32) -> Story {
        let left = (1..=masters).zip(0..).map(|(number, serial)| {
            let kind = TraceKind::Left(Box::new(peer(number)), Some(EndReason::PeerGone));
            TraceEvent {
                serial,
                at_us: u64::from(number) * 5_000_000 + 300_000,
                kind,
            }
        });
        let mut events: Vec<TraceEvent> = left.collect();
        events.reverse();
        Story::of(Reading {
            repeats_after_ms: None,
            read: (Wall(0), 60_000_000),
            since_us: Some(0),
            connected: vec![],
            events,
            cut: false,
        })
    }

    #[test]
    fn a_master_that_leaves_at_once_again_and_again_is_told() {
        let wanted = "it left 300 ms after it joined; 3 connections of this master ended within 10 s: its power, its \
                      network or its software";
        for (masters, hint) in [(2, None), (3, Some(wanted))] {
            let story = flapping(masters);
            let takeovers = Takeovers::of(&story);
            let hints: Vec<_> = (story.masters.iter())
                .map(|one| takeovers.flaps(one))
                .collect();
            let hints: Vec<_> = hints.iter().map(Option::as_deref).collect();
            assert_eq!(hints, vec![hint; masters as usize]);
        }
        let twins = story(4);
        let takeovers = Takeovers::of(&twins);
        assert!(
            twins
                .masters
                .iter()
                .all(|one| takeovers.flaps(one).is_none())
        );
        let lost = twins.masters.iter().filter(|one| takeovers.has_lost(one));
        assert_eq!(lost.count(), 3);
    }

    #[test]
    fn a_network_that_returns_is_no_twin() {
        let story = story(2);
        let takeovers = Takeovers::of(&story);
        let hints: Vec<_> = story
            .masters
            .iter()
            .map(|one| takeovers.hint(one))
            .collect();
        assert_eq!(hints[1], None);
        let first = hints[0].as_deref().unwrap_or_default();
        assert!(first.ends_with("from 192.0.2.0"), "{first}");
    }
}
