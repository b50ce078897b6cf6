//! State shared by the parties of a thread: buffers, counters, and the writer and parser of messages.

use crate::measure::{ErrorCounts, Latencies, Latency, MessageTally, Sessions};
use crate::peer::{PayloadStamp, filler, place_of, write_client_id};
use crate::visit::recovery::Recovery;
use codec::signal::Action;
use codec::signal::client::{EventParser, Outgoing};
use fastrand::Rng;

/// Parameters of all parties of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartyTerms {
    /// Run id, which distinguishes the messages of different runs.
    pub run: u32,
    /// Payload length of a candidate, in characters.
    pub payload_bytes: usize,
    /// Payload length of an offer or answer, in characters.
    pub sdp_bytes: usize,
    /// Candidates per side, at most [`crate::visit::CANDIDATES_MAX`].
    pub candidates: u32,
    /// Delay of each candidate after the previous message of its side, in nanoseconds; 0 sends all candidates at once.
    pub trickle_ns: u64,
    /// Number of channels in the run. Session n belongs to channel n modulo this number.
    pub channels: u32,
    /// Viewers per channel, if viewers stay connected for the whole run.
    pub viewers: u32,
    /// Messages that each peer initially sends to each counterpart; 0 if the run relays no messages.
    pub window: u32,
}

/// Writer and parser of messages, one per thread.
#[derive(Debug)]
pub struct MessageDesk {
    /// Time of this turn, in nanoseconds of the run's clock. Set by the I/O layer.
    pub now_ns: u64,
    /// Parameters of all parties.
    pub terms: PartyTerms,
    /// Random numbers for masking keys, handshake keys and back-off.
    pub random: Rng,
    /// Messages by outcome. [`MessageTally::lost`] counts the messages missing at the end of each session; until
    /// [`crate::visit::Crew::close_books`], also those that arrived corrupted or at the wrong peer.
    pub tally: MessageTally,
    /// Sessions by outcome.
    pub sessions: Sessions,
    /// Latencies by kind.
    pub latencies: Latencies,
    /// Setup latencies of the current interval, cleared by the caller that logs them.
    pub recent: Latency,
    /// Failures by kind.
    pub errors: ErrorCounts,
    /// Cut-off channels with their recovery times.
    pub recovery: Recovery,
    /// Whether messages carry a correlation id, so that the service reports rejections. Set by the I/O layer: ids cost
    /// bytes, so they are used only while messages are not measured, or once some have been rejected.
    pub asks: bool,
    /// Messages that were in flight or missing when ids were introduced, whose outcome the service did not report.
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

/// A received message that has passed all stateless checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) stamp: PayloadStamp,
    /// Viewer that the service named as the sender, if any.
    pub(crate) sender: Option<u32>,
}

impl MessageDesk {
    /// Creates a desk.
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

    /// Parses a received text and updates the counts; `None` if no further handling is needed. `sdp` is the expected
    /// type of message 0, an offer or answer; `None` if all messages are candidates.
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

pub(crate) const MASTER: u32 = 0;
