//! State shared by the parties of a thread: buffers, counters, and the writing and parsing of messages.

use crate::measure::{ErrorCounts, Latencies, Latency, MessageTally, Sessions};
use crate::peer::{PayloadStamp, filler, place_of, write_client_id};
use crate::visit::recovery::Recovery;
use codec::signal::Action;
use codec::signal::client::{EventParser, Outgoing};
use fastrand::Rng;

/// Parameters common to all parties of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyTerms {
    /// Run id, which distinguishes this run's messages from those of other runs.
    pub run: u32,
    /// Length of a candidate's payload, in characters.
    pub payload_bytes: usize,
    /// Length of the payload of offers and answers, in characters.
    pub sdp_bytes: usize,
    /// Number of candidates sent by each side, at most [`crate::visit::CANDIDATES_MAX`].
    pub candidates: u32,
    /// Delay before a side's next candidate, counted from its answer or previous candidate, in nanoseconds; 0 sends all
    /// at once.
    pub trickle_ns: u64,
    /// Number of channels in the run: session n belongs to channel n modulo this number.
    pub channels: u32,
    /// Number of viewers per channel, if each of them is connected for the whole run.
    pub viewers: u32,
    /// Number of messages that each peer initially sends to each counterpart; 0 if no messages are relayed.
    pub window: u32,
}

/// Reads and writes messages for the parties of a thread. One per thread.
#[derive(Debug)]
pub struct MessageDesk {
    /// Time of this turn, in nanoseconds of the run's clock. Set by the I/O layer.
    pub now_ns: u64,
    /// Parameters common to all parties.
    pub terms: PartyTerms,
    /// Random numbers for mask keys, handshake keys and back-off.
    pub random: Rng,
    /// Messages by outcome; [`Tally::lost`] counts those missing at the end of each session and, until
    /// [`crate::visit::Crew::close_books`], includes those that arrived corrupted or at the wrong peer.
    pub tally: MessageTally,
    /// Sessions by outcome.
    pub sessions: Sessions,
    /// Latencies by kind.
    pub latencies: Latencies,
    /// Setup latencies of the current interval; cleared by the caller that logs it.
    pub recent: Latency,
    /// Failures by kind.
    pub errors: ErrorCounts,
    /// Cut-off channels and their recovery times.
    pub recovery: Recovery,
    /// Whether messages carry a correlation id, so that the service reports those it rejects. Set by the I/O layer: ids
    /// cost bytes and are used only if messages are not measured, or after some were rejected.
    pub asks: bool,
    /// Number of messages in flight or missing when ids were introduced; the service did not report their outcome.
    pub unasked: u64,
    filler: String,
    parser: EventParser,
    payload: String,
    recipient: String,
    scratch: Vec<u8>,
}

/// A message to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) channel: u32,
    /// Number of the sender.
    pub(crate) from: u32,
    /// Number of the recipient.
    pub(crate) to: u32,
    pub(crate) sequence: u64,
    pub(crate) action: Action,
    /// Start of the message's latency, in nanoseconds of the run's clock.
    pub(crate) since_ns: u64,
}

/// A received message that has passed all stateless checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) stamp: PayloadStamp,
    /// Number of the viewer that the service names as the sender; `None` if it names none.
    pub(crate) sender: Option<u32>,
}

impl MessageDesk {
    /// Creates a desk for parties with these parameters.
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

    /// Appends a message to its recipient.
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

    /// Parses and counts a received text; `None` if it needs no further handling. `sdp` is the type of message 0, an
    /// offer or an answer; without it, all messages are candidates.
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

    /// Counts a connection closed by the service.
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

/// Truncates a name chosen by the service to fit the error table.
fn clipped(name: &str) -> &str {
    name.get(..48).unwrap_or(name)
}

/// Number of the master in its channel.
pub(crate) const MASTER: u32 = 0;
