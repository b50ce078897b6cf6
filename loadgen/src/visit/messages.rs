//! The shared parts of one thread's parties: buffers, counters, and the writing and reading of messages.

use crate::measure::{ErrorCounts, Latencies, Latency, MessageTally, Sessions};
use crate::peer::{PayloadStamp, filler, place_of, write_client_id};
use crate::visit::recovery::Recovery;
use codec::signal::Action;
use codec::signal::client::{EventParser, Outgoing};
use fastrand::Rng;

/// The terms that are the same for every party of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyTerms {
    /// Distinguishes this run's messages from others'.
    pub run: u32,
    /// Characters of a candidate's payload.
    pub payload_bytes: usize,
    /// Characters of an offer's and an answer's payload.
    pub sdp_bytes: usize,
    /// Candidates that each side sends, at most [`crate::visit::CANDIDATES_MAX`].
    pub candidates: u32,
    /// Nanoseconds from a side's answer or candidate to its next candidate; 0: all at once.
    pub trickle_ns: u64,
    /// Channels of the run: session n is one of channel n modulo this.
    pub channels: u32,
    /// Viewers of each channel, where each of them is connected for the whole run.
    pub viewers: u32,
    /// Messages that each peer begins with towards each counterpart; 0: nothing is relayed.
    pub window: u32,
}

/// The desk at which the parties of one thread read and write. One per thread.
#[derive(Debug)]
pub struct MessageDesk {
    /// The moment of this turn, nanoseconds of the run's clock. Set by the edge.
    pub now_ns: u64,
    /// The terms that are the same for every party.
    pub terms: PartyTerms,
    /// Mask keys, handshake keys, back-off.
    pub random: Rng,
    /// Messages by what became of them; [`Tally::lost`] counts what was missing at the end of each session, and
    /// includes what came corrupted or elsewhere until [`crate::visit::Crew::close_books`].
    pub tally: MessageTally,
    /// Sessions by what became of them.
    pub sessions: Sessions,
    /// Spans.
    pub latencies: Latencies,
    /// The set-ups of the interval that runs; the caller that logs it clears it.
    pub recent: Latency,
    /// Failures by kind.
    pub errors: ErrorCounts,
    /// Channels that were cut off.
    pub recovery: Recovery,
    /// Messages have a correlation id, so that the service answers those that it does not take. Set by the edge: an id
    /// costs bytes, so only where messages are not measured, or where some were answered.
    pub asks: bool,
    /// Messages that were under way, or missing, when ids began: what became of them the service did not say.
    pub unasked: u64,
    filler: String,
    parser: EventParser,
    payload: String,
    recipient: String,
    scratch: Vec<u8>,
}

/// A message to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) channel: u32,
    /// The sender's place.
    pub(crate) from: u32,
    /// The recipient's place.
    pub(crate) to: u32,
    pub(crate) sequence: u64,
    pub(crate) action: Action,
    /// The moment from which its way counts, nanoseconds of the run's clock.
    pub(crate) since_ns: u64,
}

/// A message as it arrived, all of its own claims checked that need no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) stamp: PayloadStamp,
    /// The place of the viewer that the service names as the sender; `None`: it names none.
    pub(crate) sender: Option<u32>,
}

impl MessageDesk {
    /// A desk for parties on these terms.
    #[must_use]
    pub fn new(terms: PartyTerms, seed: u64) -> Self {
        Self {
            now_ns: 0,
            terms,
            random: Rng::with_seed(seed),
            tally: MessageTally::default(),
            sessions: Sessions::default(),
            latencies: Latencies::default(),
            recent: Latency::coarse(),
            errors: ErrorCounts::default(),
            recovery: Recovery::default(),
            asks: true,
            unasked: 0,
            filler: filler(),
            parser: EventParser::new(),
            payload: String::new(),
            recipient: String::new(),
            scratch: Vec::new(),
        }
    }

    /// Appends a message for its recipient.
    pub(crate) fn write(&mut self, message: Message, out: &mut Vec<u8>) {
        let Message {
            channel,
            from,
            to,
            sequence,
            action,
            since_ns,
        } = message;
        let stamp = PayloadStamp {
            run: self.terms.run,
            channel,
            from,
            to,
            sequence,
            sent_ns: since_ns,
        };
        let bytes = match action {
            Action::IceCandidate => self.terms.payload_bytes,
            Action::SdpOffer | Action::SdpAnswer => self.terms.sdp_bytes,
        };
        self.payload.clear();
        stamp.write(&mut self.payload, &self.filler, bytes);
        self.recipient.clear();
        if to != MASTER {
            write_client_id(&mut self.recipient, to);
        }
        let message = Outgoing {
            action,
            payload: &self.payload,
            recipient: (to != MASTER).then_some(self.recipient.as_str()),
            correlation_id: self.asks.then_some("m"),
        };
        let key = self.random.u32(..).to_ne_bytes();
        message.write(out, &mut self.scratch, key);
        self.tally.sent += 1;
    }

    /// Reads a text that arrived and counts it; `None` when it needs no further handling. `sdp` is the type of message
    /// 0, an offer or an answer; without it all are candidates.
    pub(crate) fn read(&mut self, text: &mut [u8], sdp: Option<&str>) -> Option<Letter> {
        let Some(event) = self.parser.parse(text) else {
            return self.corrupted();
        };
        let is_sdp = match event.message_type {
            Some("ICE_CANDIDATE") => false,
            Some(kind) if Some(kind) == sdp => true,
            Some(kind @ ("GO_AWAY" | "RECONNECT_ICE_SERVER")) => {
                self.errors.count(&kind.to_ascii_lowercase());
                return None;
            }
            Some("STATUS_RESPONSE") => {
                let why = event
                    .status
                    .and_then(|status| status.error_type)
                    .unwrap_or("unknown");
                if why.contains("LimitExceeded") {
                    self.tally.throttled += 1;
                } else {
                    self.tally.refused += 1;
                }
                self.errors.count(&format!("status_{}", clipped(why)));
                return None;
            }
            Some(_) | None => return self.corrupted(),
        };
        let sender = event.sender.map(|id| place_of(id).unwrap_or(u32::MAX));
        let Some(stamp) = event.payload.and_then(PayloadStamp::read) else {
            return self.corrupted();
        };
        if stamp.run != self.terms.run {
            self.errors.count("message_of_another_run");
            return None;
        }
        if sdp.is_some() && is_sdp != (stamp.sequence == 0) {
            return self.corrupted();
        }
        self.tally.received += 1;
        Some(Letter { stamp, sender })
    }

    /// Counts that the service closed a connection of its own accord.
    pub(crate) fn count_close(&mut self, code: Option<u16>) {
        let code = code.map_or_else(|| "none".into(), |code| code.to_string());
        self.errors.count(&format!("closed_by_service_{code}"));
    }

    fn corrupted(&mut self) -> Option<Letter> {
        self.tally.received += 1;
        self.tally.corrupted += 1;
        None
    }
}

/// A name chosen by the service, cut to a length that fits a table of errors.
fn clipped(name: &str) -> &str {
    name.get(..48).unwrap_or(name)
}

/// The master's place in its channel.
pub(crate) const MASTER: u32 = 0;
