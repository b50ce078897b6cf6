//! Transcripts of channels, for tests. An entry describes an event by its time in milliseconds, the sender, the event
//! itself and the recipient. The last entry states when the trace is read. `a1` is the first connection of client id
//! `a`, and `M1` is the first connection of a master. A plain `a` is the client id without a connection, and `?a` is a
//! client id whose name was overwritten.

use super::*;
use crate::side::trace::hints::{of_master, of_viewer};
use broker_core::shard::RoleBy;
use broker_core::time::Now;
use codec::control::Operation;
use codec::ws::FrameError;

#[derive(Default)]
pub(super) struct Script {
    reading: TimelineReading,
    peers: Vec<TracePeer>,
}

pub(super) fn story(script: &str) -> Story {
    let mut all = Script::default();
    all.reading.repeats_after_ms = (!script.contains("norepeat")).then_some(2_000);
    let (events, now) = script.rsplit_once(';').unwrap();
    for event in events.split(';') {
        let words: Vec<&str> = event.split_whitespace().collect();
        if let [at, who, what, for_whom @ ..] = &words[..]
            && *who != "-"
        {
            let for_whom = for_whom.first().copied().unwrap_or_default();
            all.event(us(at), who, what, for_whom);
        }
    }
    all.reading.read.1 = us(now.trim());
    all.reading.since_us = Some(0);
    all.reading.connected = all.peers;
    Story::of(all.reading)
}

pub(super) fn us(ms: &str) -> u64 {
    ms.parse::<u64>().unwrap() * 1000
}

pub(super) fn session(name: &str) -> Option<SessionKey> {
    let bytes = name.as_bytes();
    let number = bytes.last().filter(|last| last.is_ascii_digit())?;
    Some(SessionKey::unpack(
        u64::from(bytes[0]) * 10 + u64::from(number - b'0'),
    ))
}

pub(super) fn client_id(name: &str) -> &str {
    name.trim_start_matches('?')
        .trim_end_matches(|c: char| c.is_ascii_digit())
}

pub(super) fn mark(name: &str) -> u64 {
    client_id(name)
        .bytes()
        .fold(7, |sum, byte| sum * 31 + u64::from(byte))
}

pub(super) fn peer(name: &str, opened_us: u64) -> TracePeer {
    let is_viewer = !name.starts_with('M');
    TracePeer {
        session: session(name).unwrap(),
        client_id: is_viewer.then(|| client_id(name).into()),
        mark: is_viewer.then(|| mark(name)),
        remote: ([192, 0, 2, name.as_bytes()[1] % 2], 9).into(),
        address: mark(name),
        opened_us,
        unconfirmed: false,
        by_tcp: false,
        offer: None,
    }
}

impl Script {
    fn event(&mut self, at_us: u64, who: &str, what: &str, for_whom: &str) {
        let key = session(who);
        let role = if who.starts_with('M') {
            Role::Master
        } else {
            Role::Viewer
        };
        let known = self.peers.iter().position(|peer| Some(peer.session) == key);
        let (what, how) = what.split_once(':').unwrap_or((what, ""));
        let kind = match (what, key) {
            ("opens" | "joins", Some(key)) => {
                self.peers.push(peer(who, at_us));
                let by = if how == "last" {
                    RoleBy::LastRequest
                } else {
                    RoleBy::ClientId
                };
                TraceKind::Joined(key, role, by)
            }
            ("leaves", _) => {
                let reason = match how {
                    "gone" => EndReason::PeerGone,
                    "unanswered" => EndReason::Unanswered,
                    "drain" => EndReason::Drain,
                    "frame" => EndReason::ProtocolError(FrameError::Unmasked),
                    _ => EndReason::PeerClosed,
                };
                TraceKind::Left(Box::new(self.peers.remove(known.unwrap())), Some(reason))
            }
            ("takes", Some(key)) => {
                TraceKind::Superseded(session(for_whom).unwrap(), key, how == "unnamed")
            }
            ("go_away", Some(key)) => TraceKind::ToldToGo(key),
            ("calls", _) => TraceKind::ApiCall {
                operation: Operation::GetIceServerConfig,
                role: (how == "endpoint").then_some(role),
                address: mark(who),
                client: (how == "ice").then(|| mark(who)),
            },
            ("is", _) => {
                let peer = &mut self.peers[known.unwrap()];
                match (how, for_whom) {
                    ("tcp", _) => peer.by_tcp = true,
                    ("doubtful", _) => peer.unconfirmed = true,
                    (_, "next") => peer.offer = Some(AwaitedMaster::Next),
                    (_, due) => {
                        peer.offer = Some(AwaitedMaster::Current(Now(due.parse().unwrap())))
                    }
                }
                return;
            }
            _ => {
                let (what, count) = what.split_once('*').unwrap_or((what, "1"));
                for _ in 0..count.parse().unwrap() {
                    self.add(at_us, message(who, what, how, for_whom));
                }
                return;
            }
        };
        if what != "opens" {
            self.add(at_us, kind);
        }
    }

    fn add(&mut self, at_us: u64, kind: TraceKind) {
        let serial = self.reading.events.len() as u64;
        self.reading.events.insert(
            0,
            TraceEvent {
                serial,
                at_us,
                kind,
            },
        );
    }
}

/// Builds a message. `how` has the form `passage/bytes#candidates`, in which each part is optional.
pub(super) fn message(who: &str, what: &str, how: &str, for_whom: &str) -> TraceKind {
    let action = match what {
        "offer" => Some(Action::SdpOffer),
        "answer" => Some(Action::SdpAnswer),
        "candidate" => Some(Action::IceCandidate),
        "junk" => None,
        odd => panic!("{odd}"),
    };
    let (how, candidates) = how.split_once('#').unwrap_or((how, ""));
    let (how, bytes) = how.split_once('/').unwrap_or((how, "100"));
    let bytes = bytes.parse().unwrap();
    let mut most = 0;
    let passage = match how {
        "" => Passage::Relayed,
        "kept" => Passage::Kept,
        "delivered" => Passage::Delivered,
        "expired" => Passage::Expired,
        "returned" => Passage::Returned,
        "unconfirmed" => Passage::Unconfirmed,
        "repeated" => Passage::Repeated,
        "answers_call" => Passage::AnsweredCall,
        "for_call" => Passage::ForCall,
        "called" => Passage::Called,
        "gathered" => Passage::Gathered,
        "ended" => Passage::CallEnded,
        "too_long" => {
            most = 32_768;
            Passage::Unaccepted(Unaccepted::TooLong)
        }
        "not_json" => Passage::Unaccepted(Unaccepted::NotJson),
        "malformed" => Passage::Unaccepted(Unaccepted::Malformed),
        odd => panic!("{odd}"),
    };
    let is_of_master = who.starts_with('M');
    let viewer = if is_of_master { for_whom } else { who };
    let came = matches!(
        passage,
        Passage::Kept
            | Passage::AnsweredCall
            | Passage::ForCall
            | Passage::Gathered
            | Passage::Unaccepted(_)
    );
    let relayed = passage == Passage::Relayed;
    let by_mark = !viewer.is_empty() && !relayed && (!came || is_of_master);
    TraceKind::Message {
        action,
        towards: if is_of_master {
            Towards::Viewer
        } else {
            Towards::Master
        },
        passage,
        bytes,
        most,
        candidates: candidates.parse().ok(),
        from: session(who).filter(|_| relayed || came),
        to: session(for_whom).filter(|_| !came),
        mark: by_mark.then(|| mark(viewer)),
        viewer: (by_mark && (came || passage == Passage::Called) && !viewer.starts_with('?'))
            .then(|| client_id(viewer).into()),
    }
}

pub(super) fn moments(story: &Story) -> Vec<Vec<u64>> {
    let of = |one: &TimelineConnection| one.events.iter().map(|event| event.at_us / 1000).collect();
    story.viewers.iter().map(of).collect()
}

pub(super) fn ids(story: &Story) -> Vec<&str> {
    let ids = story.viewers.iter().map(|one| one.client_id.as_deref());
    ids.map(Option::unwrap_or_default).collect()
}

pub(super) fn hints(story: &Story) -> Vec<String> {
    let mut all = Vec::new();
    for one in story.viewers.iter().chain(&story.masters) {
        let whose = one.client_id.as_deref().unwrap_or("M");
        let hints = if whose == "M" {
            of_master(&one.facts)
        } else {
            of_viewer(&one.facts)
        };
        all.extend(hints.iter().map(|hint| format!("{whose}: {}", hint.says)));
    }
    all
}
