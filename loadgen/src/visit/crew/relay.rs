//! Relaying, a closed loop: each peer begins with a window of messages towards each counterpart, and answers every
//! message that arrives for the first time by one. So a master and a viewer have two windows under way between them,
//! one from each side, for as long as nothing is lost.

use crate::peer::{Arrival, Name, Sequence};
use crate::schedule::Share;
use crate::visit::desk::{Desk, MASTER, Message, Terms};
use codec::signal::Action;

/// What the peers of one thread have said to each other. Both ends of every message are on the same thread.
#[derive(Debug)]
pub struct Relay {
    /// Whether what arrives is answered. Set by the edge.
    pub is_speaking: bool,
    /// Whether spans are recorded. Set by the edge.
    pub is_measured: bool,
    share: Share,
    viewers: u32,
    /// Channel after channel of the share, viewer after viewer; empty unless the run relays.
    pairs: Vec<Pair>,
}

/// A master and one of its viewers; no heap while nothing is missing.
#[derive(Clone, Debug, Default)]
struct Pair {
    to_master: Direction,
    to_viewer: Direction,
}

/// What one of them sent to the other.
#[derive(Clone, Debug, Default)]
struct Direction {
    sent: u64,
    arrived: Sequence,
}

impl Relay {
    /// Nothing was said yet between the peers of this share.
    pub(super) fn new(terms: Terms, share: Share) -> Self {
        let pairs = if terms.window > 0 {
            share.channels(terms.channels).count() * terms.viewers as usize
        } else {
            0
        };
        Self {
            is_speaking: false,
            is_measured: false,
            share,
            viewers: terms.viewers,
            pairs: vec![Pair::default(); pairs],
        }
    }

    /// Sends a window of messages to every counterpart of a peer.
    pub(super) fn start(&mut self, name: Name, desk: &mut Desk, out: &mut Vec<u8>) {
        let counterparts = if name.place == MASTER {
            1..=self.viewers
        } else {
            MASTER..=MASTER
        };
        for to in counterparts {
            for _ in 0..desk.terms.window {
                self.write(name, to, desk, out);
            }
        }
    }

    /// Takes in a text that arrived at a peer, and answers it while the relay speaks.
    ///
    /// Only a message under way that arrives for the first time is answered. Were any other, a service that makes two
    /// messages of one would have the load grow without end.
    pub(super) fn hear(&mut self, name: Name, text: &mut [u8], desk: &mut Desk, out: &mut Vec<u8>) {
        let Some(letter) = desk.read(text, None) else {
            return;
        };
        let stamp = letter.stamp;
        let is_meant = stamp.channel == name.channel && stamp.to == name.place;
        let is_named = letter.sender == (stamp.from != MASTER).then_some(stamp.from);
        let direction = self.direction(name.channel, stamp.from, name.place);
        let Some(direction) = direction.filter(|_| is_meant && is_named) else {
            desk.tally.misrouted += 1;
            return;
        };
        match direction.arrived.arrive(stamp.sequence) {
            Arrival::InOrder => {}
            Arrival::Late => desk.tally.reordered += 1,
            Arrival::Again => {
                desk.tally.duplicated += 1;
                return;
            }
        }
        if self.is_measured {
            let span_ns = desk.now_ns.saturating_sub(stamp.sent_ns);
            desk.latencies.message.record_ns(span_ns);
        }
        if self.is_speaking {
            self.write(name, stamp.from, desk, out);
        }
    }

    /// Messages that did not arrive intact where they belong.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let directions = self
            .pairs
            .iter()
            .flat_map(|pair| [&pair.to_master, &pair.to_viewer]);
        directions
            .map(|direction| direction.arrived.missing(direction.sent))
            .sum()
    }

    fn write(&mut self, name: Name, to: u32, desk: &mut Desk, out: &mut Vec<u8>) {
        let Some(direction) = self.direction(name.channel, name.place, to) else {
            return;
        };
        let message = Message {
            channel: name.channel,
            from: name.place,
            to,
            sequence: direction.sent,
            action: Action::IceCandidate,
        };
        direction.sent += 1;
        desk.write(message, out);
    }

    /// What the peer at place `from` of a channel sends to the one at place `to`; `None` unless one of them is the
    /// master.
    fn direction(&mut self, channel: u32, from: u32, to: u32) -> Option<&mut Direction> {
        let (viewer, is_to_master) = match (from, to) {
            (MASTER, MASTER) => return None,
            (viewer, MASTER) => (viewer, true),
            (MASTER, viewer) => (viewer, false),
            (_, _) => return None,
        };
        if viewer > self.viewers {
            return None;
        }
        let place = self.share.index(channel) * self.viewers as usize + viewer as usize - 1;
        let pair = self.pairs.get_mut(place)?;
        Some(if is_to_master {
            &mut pair.to_master
        } else {
            &mut pair.to_viewer
        })
    }
}
