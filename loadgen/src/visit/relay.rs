//! Relays messages between peers. In a closed loop, each peer initially sends a window of messages to each counterpart,
//! and then replies to each message when it first arrives. Unless messages are lost, a master and a viewer thus have
//! two windows in flight, one started by each side. In an open loop, peers do not reply; the I/O layer chooses which
//! peer sends next.

use crate::peer::{Event, LinkError, Name, PeerLink, Sequence};
use crate::visit::crew::{Peer, ReceiveOutcome};
use crate::visit::messages::{MASTER, Message, MessageDesk, PartyTerms};
use crate::{schedule::RunShare, visit::Stage};
use codec::signal::Action;

/// The messages between the peers on one thread, which handles both ends of every message.
#[derive(Debug)]
pub struct Relay {
    /// Whether peers reply to messages. Set by the I/O layer.
    pub is_speaking: bool,
    /// Whether latencies are recorded. Set by the I/O layer.
    pub is_measured: bool,
    share: RunShare,
    viewers: u32,
    /// Pairs of peers, sorted by the channel's index in the share and then by viewer. Empty unless the run relays
    /// messages.
    pairs: Vec<Pair>,
}

/// A master and one of its viewers. Uses no heap memory unless messages are missing.
#[derive(Clone, Debug, Default)]
struct Pair {
    to_master: Direction,
    to_viewer: Direction,
}

#[derive(Clone, Debug, Default)]
struct Direction {
    sent: u64,
    arrived: Sequence,
}

impl Relay {
    pub(crate) fn new(terms: PartyTerms, share: RunShare) -> Self {
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

    pub(crate) fn start(&mut self, name: Name, desk: &mut MessageDesk, out: &mut Vec<u8>) {
        let counterparts = if name.place == MASTER {
            1..=self.viewers
        } else {
            MASTER..=MASTER
        };
        for to in counterparts {
            let Some((there, _)) = self.directions(name.channel, name.place, to) else {
                continue;
            };
            for _ in 0..desk.terms.window {
                there.write(name, to, desk.now_ns, desk, out);
            }
        }
    }

    /// Sends a message that is due. A master sends to a different viewer in each round.
    pub(crate) fn say(
        &mut self,
        name: Name,
        (round, due_ns): (u64, u64),
        desk: &mut MessageDesk,
        out: &mut Vec<u8>,
    ) {
        let to = if name.place == MASTER {
            let viewer = round % u64::from(self.viewers.max(1));
            1 + u32::try_from(viewer).unwrap_or_default()
        } else {
            MASTER
        };
        if let Some((there, _)) = self.directions(name.channel, name.place, to) {
            there.write(name, to, due_ns, desk, out);
        }
    }

    /// Processes bytes that a peer has received. This affects no other connection, which keeps the loop short.
    pub(crate) fn receive(
        &mut self,
        (peer, link): (&mut Peer, &mut PeerLink),
        bytes: &mut [u8],
        desk: &mut MessageDesk,
        out: &mut Vec<u8>,
    ) -> Result<ReceiveOutcome, LinkError> {
        let mut heard = ReceiveOutcome::Nothing;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, event) = link.next(rest, &mut desk.random, out)?;
            match event {
                None => {}
                Some(Event::Message(text)) => self.hear(peer.name, text, desk, out),
                Some(Event::Opened) => {
                    peer.stage = Stage::Hold;
                    heard = ReceiveOutcome::Opened;
                }
                Some(Event::Closed) => heard = ReceiveOutcome::Closed,
                Some(Event::ClosedByService(code)) => {
                    desk.count_close(code);
                    heard = ReceiveOutcome::ClosedByService;
                }
            }
            rest = &mut rest[used..];
        }
        Ok(heard)
    }

    /// Processes a text and, if `is_speaking` is set, replies to it. Only a message's first arrival gets a reply:
    /// otherwise, a service that duplicates messages would make the load grow without bound.
    fn hear(&mut self, name: Name, text: &mut [u8], desk: &mut MessageDesk, out: &mut Vec<u8>) {
        let Some(letter) = desk.read(text, None) else {
            return;
        };
        let stamp = letter.stamp;
        let is_meant = stamp.channel == name.channel && stamp.to == name.place;
        let is_named = letter.sender == (stamp.from != MASTER).then_some(stamp.from);
        let (is_measured, is_speaking) = (self.is_measured, self.is_speaking);
        let directions = self.directions(name.channel, stamp.from, name.place);
        let Some((there, back)) = directions.filter(|_| is_meant && is_named) else {
            desk.tally.misrouted += 1;
            return;
        };
        let is_ahead = there.arrived.next() < stamp.sequence;
        if !desk.count_arrival(there.arrived.arrive(stamp.sequence)) {
            return;
        }
        if is_measured {
            let span_ns = desk.now_ns.saturating_sub(stamp.sent_ns);
            desk.latencies.message.record_ns(span_ns);
        }
        if is_speaking {
            back.write(name, stamp.from, desk.now_ns, desk, out);
        }
        if is_ahead && !desk.asks {
            desk.asks = true;
            desk.unasked = self.missing();
        }
    }

    /// Returns the number of messages that have not arrived intact at the right peer.
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

    /// Returns the messages from one peer of a channel to another, and the messages in the opposite direction. Returns
    /// `None` unless exactly one of the peers is the master.
    fn directions(
        &mut self,
        channel: u32,
        from: u32,
        to: u32,
    ) -> Option<(&mut Direction, &mut Direction)> {
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
        let Pair {
            to_master,
            to_viewer,
        } = self.pairs.get_mut(place)?;
        Some(if is_to_master {
            (to_master, to_viewer)
        } else {
            (to_viewer, to_master)
        })
    }
}

impl Direction {
    fn write(
        &mut self,
        name: Name,
        to: u32,
        since_ns: u64,
        desk: &mut MessageDesk,
        out: &mut Vec<u8>,
    ) {
        let message = Message {
            channel: name.channel,
            from: name.place,
            to,
            sequence: self.sent,
            action: Action::IceCandidate,
            since_ns,
        };
        self.sent += 1;
        desk.write(message, out);
    }
}
