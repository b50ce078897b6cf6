//! State shared by the parties on a thread: buffers, counters, and the code that writes and parses messages.

use crate::measure::{ErrorCounts, Latencies, Latency, MessageTally, Sessions};
use crate::peer::{Arrival, PayloadStamp, filler, place_of, write_client_id};
use crate::visit::recovery::Recovery;
use codec::signal::Action;
use codec::signal::client::{EventParser, Outgoing};
use fastrand::Rng;

/// Parameters shared by all parties of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyTerms {
    /// Run id, which distinguishes the messages of different runs.
    pub run: u32,
    /// Payload length of a candidate, in characters.
    pub payload_bytes: usize,
    /// Payload length of an offer or answer, in characters.
    pub sdp_bytes: usize,
    /// Number of candidates per side, at most [`crate::visit::CANDIDATES_MAX`].
    pub candidates: u32,
    /// Delay between a candidate and the previous message from the same side, in nanoseconds. If 0, all candidates are
    /// sent at once.
    pub trickle_ns: u64,
    /// Number of channels in the run. Session n belongs to channel n modulo this number.
    pub channels: u32,
    /// Number of viewers per channel. Used only if the run relays messages.
    pub viewers: u32,
    /// Number of messages that each peer initially sends to each counterpart, or 0 if the run does not relay messages.
    pub window: u32,
}

/// Writes and parses messages, and keeps the counts. There is one per thread.
#[derive(Debug)]
pub struct MessageDesk {
    /// The current time in nanoseconds on the run's clock, set by the I/O layer.
    pub now_ns: u64,
    /// Parameters shared by all parties.
    pub terms: PartyTerms,
    /// Source of random numbers for masking keys, handshake keys and back-off.
    pub random: Rng,
    /// Message counts by outcome. [`MessageTally::lost`] counts messages that are missing when a session ends. Until
    /// [`crate::visit::Crew::close_books`] runs, this includes messages that arrived corrupted or at the wrong peer.
    pub tally: MessageTally,
    /// Number of sessions by outcome.
    pub sessions: Sessions,
    /// Latencies of each kind.
    pub latencies: Latencies,
    /// Setup latencies in the current interval, cleared when they are added to the log.
    pub recent: Latency,
    /// Number of failures of each kind.
    pub errors: ErrorCounts,
    /// Channels that were cut off, and how long they took to recover.
    pub recovery: Recovery,
    /// Whether messages contain a correlation id, which makes the service report rejections. Set by the I/O layer. Ids
    /// cost bytes, so they are used only while messages are not being measured, or after some were rejected.
    pub asks: bool,
    /// Number of messages that were in flight or missing when the parties started to send correlation ids. The service
    /// did not report what happened to them.
    pub unasked: u64,
    filler: String,
    parser: EventParser,
    payload: String,
    recipient: String,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) channel: u32,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) sequence: u64,
    pub(crate) action: Action,
    pub(crate) since_ns: u64,
}

/// A received message that has passed every check that needs no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) stamp: PayloadStamp,
    /// The viewer that the service named as the sender, if any.
    pub(crate) sender: Option<u32>,
}

impl MessageDesk {
    /// Creates a desk with empty buffers and counters.
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

    /// Parses a received text and updates the counts. Returns `None` if nothing more needs to be done with it. `sdp` is
    /// the type that message 0 must have, offer or answer. If `sdp` is `None`, all messages are candidates.
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

    pub(crate) fn count_close(&mut self, code: Option<u16>) {
        let code = code.map_or_else(|| "none".into(), |code| code.to_string());
        self.errors.count(&format!("closed_by_service_{code}"));
    }

    /// Counts an intact message that has arrived. Returns whether this is the first arrival of a message that was
    /// composed.
    pub(crate) fn count_arrival(&mut self, arrival: Arrival) -> bool {
        let counter = match arrival {
            Arrival::InOrder => return true,
            Arrival::Late => &mut self.tally.reordered,
            Arrival::Again => &mut self.tally.duplicated,
            Arrival::Unknown => &mut self.tally.corrupted,
        };
        *counter += 1;
        arrival == Arrival::Late
    }

    fn corrupted(&mut self) -> Option<Letter> {
        self.tally.received += 1;
        self.tally.corrupted += 1;
        None
    }
}

/// Truncates a name that the service chose, to keep the error table small.
fn clipped(name: &str) -> &str {
    name.get(..48).unwrap_or(name)
}

pub(crate) const MASTER: u32 = 0;
