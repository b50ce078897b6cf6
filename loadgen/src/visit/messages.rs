//! State shared by the parties of a thread: buffers, counters, and the code that writes and parses messages.

use crate::measure::{ErrorCounts, Latencies, Latency, MessageTally, Sessions};
use crate::peer::{PayloadStamp, filler, place_of, write_client_id};
use crate::visit::recovery::Recovery;
use codec::signal::Action;
use codec::signal::client::{EventParser, Outgoing};
use fastrand::Rng;

/// Parameters that apply to all parties of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyTerms {
    /// Run id, which distinguishes this run's messages from those of other runs.
    pub run: u32,
    /// Payload length of a candidate, in characters.
    pub payload_bytes: usize,
    /// Payload length of an offer or answer, in characters.
    pub sdp_bytes: usize,
    /// Number of candidates sent by each side, at most [`crate::visit::CANDIDATES_MAX`].
    pub candidates: u32,
    /// Delay before each candidate, counted from the same side's answer or previous candidate, in nanoseconds; 0 sends
    /// all candidates at once.
    pub trickle_ns: u64,
    /// Number of channels in the run. Session n belongs to channel n modulo this number.
    pub channels: u32,
    /// Number of viewers per channel, if each viewer stays connected for the whole run.
    pub viewers: u32,
    /// Number of messages that each peer sends to each counterpart at the start; 0 if the run relays no messages.
    pub window: u32,
}

/// Writes and parses the messages of a thread's parties. There is one desk per thread.
#[derive(Debug)]
pub struct MessageDesk {
    /// Time of this turn, in nanoseconds of the run's clock. Set by the I/O layer.
    pub now_ns: u64,
    /// Parameters that apply to all parties of the run.
    pub terms: PartyTerms,
    /// Random number generator for masking keys, handshake keys and back-off.
    pub random: Rng,
    /// Number of messages by outcome. [`Tally::lost`] counts the messages missing at the end of each session; until
    /// [`crate::visit::Crew::close_books`] is called, it includes those that arrived corrupted or at the wrong peer.
    pub tally: MessageTally,
    /// Number of sessions by outcome.
    pub sessions: Sessions,
    /// Latencies by kind.
    pub latencies: Latencies,
    /// Setup latencies in the current interval. The caller that logs them also clears them.
    pub recent: Latency,
    /// Number of failures of each kind.
    pub errors: ErrorCounts,
    /// The channels that were cut off, and the recovery times.
    pub recovery: Recovery,
    /// Whether messages carry a correlation id, so that the service reports those it rejects. Set by the I/O layer: ids
    /// cost bytes, so they are used only when messages are not measured, or once some have been rejected.
    pub asks: bool,
    /// Number of messages that were in flight or missing when ids were introduced, and whose outcome the service
    /// therefore did not report.
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
    /// Number of the sending peer.
    pub(crate) from: u32,
    /// Number of the receiving peer.
    pub(crate) to: u32,
    pub(crate) sequence: u64,
    pub(crate) action: Action,
    /// Time from which the message's latency is measured, in nanoseconds of the run's clock.
    pub(crate) since_ns: u64,
}

/// A received message that has passed all stateless checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) stamp: PayloadStamp,
    /// Number of the viewer that the service named as the sender; `None` if it named none.
    pub(crate) sender: Option<u32>,
}

impl MessageDesk {
    /// Creates a desk for parties with the given parameters.
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

    /// Appends a message addressed to its recipient.
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

    /// Parses a received text and updates the counts; returns `None` if no further handling is needed. `sdp` is the
    /// expected type of message 0, an offer or answer; if it is `None`, all messages are candidates.
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

    /// Counts a connection that the service closed with this code.
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

/// Truncates a name chosen by the service, so that the error table stays small.
fn clipped(name: &str) -> &str {
    name.get(..48).unwrap_or(name)
}

/// Number of the master within its channel.
pub(crate) const MASTER: u32 = 0;
