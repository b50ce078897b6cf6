//! What the peers of one thread share: buffers, counters, and the judgement of what arrives.

use super::link::key;
use super::name::{Name, place_of, write_client_id};
use super::sequence::{Arrival, Sequence};
use super::stamp::{Stamp, filler};
use crate::measure::{Errors, Latency, Tally};
use codec::signal::Action;
use codec::signal::client::{EventParser, Outgoing};
use fastrand::Rng;

/// What is the same for every message of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tells this run's messages from others'.
    pub run: u32,
    /// Characters of a payload.
    pub payload_bytes: usize,
    /// Messages that each peer begins with towards each counterpart.
    pub window: u32,
}

/// The desk at which the peers of one thread read and write. One per thread.
#[derive(Debug)]
pub struct Desk {
    /// The moment of this turn, nanoseconds of the run's clock. Set by the edge.
    pub now_ns: u64,
    /// Whether what arrives is answered. Set by the edge.
    pub speaking: bool,
    /// Whether spans are taken down. Set by the edge.
    pub measuring: bool,
    /// Mask keys, handshake keys.
    pub random: Rng,
    /// Messages by what became of them; [`Tally::lost`] only at the end.
    pub tally: Tally,
    /// Spans of messages.
    pub latency: Latency,
    /// Failures by kind.
    pub errors: Errors,
    terms: Terms,
    filler: String,
    parser: EventParser,
    payload: String,
    recipient: String,
    scratch: Vec<u8>,
}

/// What an arrival is worth to the closed loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// One of the messages under way, for the first time: to be answered, to the peer at this place.
    Turn(u32),
    /// Anything else. Were it answered, a relay that makes two messages of one would have the load grow without end.
    Nothing,
}

impl Desk {
    /// A desk for messages on these terms.
    #[must_use]
    pub fn new(terms: Terms, seed: u64) -> Self {
        Self {
            now_ns: 0,
            speaking: false,
            measuring: false,
            random: Rng::with_seed(seed),
            tally: Tally::default(),
            latency: Latency::new(),
            errors: Errors::default(),
            terms,
            filler: filler(),
            parser: EventParser::new(),
            payload: String::new(),
            recipient: String::new(),
            scratch: Vec::new(),
        }
    }

    /// How many messages each peer begins with towards each counterpart.
    pub(super) const fn window(&self) -> u32 {
        self.terms.window
    }

    /// Appends the next message from `name` to the peer at place `to` of its channel; `sent` counts them.
    pub(super) fn write(&mut self, name: Name, to: u32, sent: &mut u64, out: &mut Vec<u8>) {
        let stamp = Stamp {
            run: self.terms.run,
            channel: name.channel,
            from: name.place,
            to,
            sequence: *sent,
            sent_ns: self.now_ns,
        };
        self.payload.clear();
        stamp.write(&mut self.payload, &self.filler, self.terms.payload_bytes);
        self.recipient.clear();
        if to > 0 {
            write_client_id(&mut self.recipient, to);
        }
        let message = Outgoing {
            action: Action::IceCandidate,
            payload: &self.payload,
            recipient: (to > 0).then_some(self.recipient.as_str()),
            correlation_id: None,
        };
        message.write(out, &mut self.scratch, key(&mut self.random));
        *sent += 1;
        self.tally.sent += 1;
    }

    /// Judges a text that arrived at `name` and counts it. `heard` finds the record of the sender at a place, if `name`
    /// listens to it.
    pub(super) fn judge<'s>(
        &mut self,
        name: Name,
        text: &mut [u8],
        heard: impl FnOnce(u32) -> Option<&'s mut Sequence>,
    ) -> Heard {
        let Some(event) = self.parser.parse(text) else {
            return self.corrupted();
        };
        match event.message_type {
            Some("ICE_CANDIDATE") => {}
            Some(kind @ ("GO_AWAY" | "RECONNECT_ICE_SERVER" | "STATUS_RESPONSE")) => {
                self.errors.count(&kind.to_ascii_lowercase());
                return Heard::Nothing;
            }
            Some(_) | None => return self.corrupted(),
        }
        let Some(stamp) = event.payload.and_then(Stamp::read) else {
            return self.corrupted();
        };
        if stamp.run != self.terms.run {
            self.errors.count("message_of_another_run");
            return Heard::Nothing;
        }
        self.tally.received += 1;
        let sender = if name.place == 0 {
            event.sender.and_then(place_of)
        } else {
            event.sender.is_none().then_some(0)
        };
        let meant = stamp.channel == name.channel && stamp.to == name.place;
        let from = stamp.from;
        let record = (meant && sender == Some(from))
            .then(|| heard(from))
            .flatten();
        let Some(record) = record else {
            self.tally.misrouted += 1;
            return Heard::Nothing;
        };
        match record.arrive(stamp.sequence) {
            Arrival::InOrder => {}
            Arrival::Late => self.tally.reordered += 1,
            Arrival::Again => {
                self.tally.duplicated += 1;
                return Heard::Nothing;
            }
        }
        if self.measuring {
            let span = self.now_ns.saturating_sub(stamp.sent_ns);
            self.latency.record_ns(span);
        }
        Heard::Turn(from)
    }

    const fn corrupted(&mut self) -> Heard {
        self.tally.received += 1;
        self.tally.corrupted += 1;
        Heard::Nothing
    }
}
