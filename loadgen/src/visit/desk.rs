//! What the sessions of one thread share: buffers, counters, and the writing and reading of messages.

use crate::measure::{Errors, Latencies, Latency, Sessions, Tally};
use crate::peer::{Stamp, filler};
use codec::signal::Action;
use codec::signal::client::{EventParser, Outgoing};
use fastrand::Rng;
use std::fmt::Write;

/// What is the same for every session of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Tells this run's messages from others'.
    pub run: u32,
    /// Characters of a candidate's payload.
    pub payload_bytes: usize,
    /// Characters of an offer's and an answer's payload.
    pub sdp_bytes: usize,
    /// Candidates that each side sends, at most [`super::CANDIDATES_MAX`].
    pub candidates: u32,
    /// Nanoseconds from a side's answer or candidate to its next candidate; 0: all at once.
    pub trickle_ns: u64,
    /// Channels of the run: session n is one of channel n modulo this.
    pub channels: u32,
}

/// The desk at which the sessions of one thread read and write. One per thread.
#[derive(Debug)]
pub struct Desk {
    /// The moment of this turn, nanoseconds of the run's clock. Set by the edge.
    pub now_ns: u64,
    /// What is the same for every session.
    pub terms: Terms,
    /// Mask keys, handshake keys, back-off.
    pub random: Rng,
    /// Messages by what became of them; [`Tally::lost`] counts what was missing at the end of each session, and includes what
    /// came corrupted or elsewhere until [`Desk::close_books`].
    pub tally: Tally,
    /// Sessions by what became of them.
    pub sessions: Sessions,
    /// Spans.
    pub latencies: Latencies,
    /// The set-ups of the interval that runs; whoever logs it clears it.
    pub recent: Latency,
    /// Failures by kind.
    pub errors: Errors,
    filler: String,
    parser: EventParser,
    payload: String,
    recipient: String,
    scratch: Vec<u8>,
}

/// A message as it arrived, all of its own claims checked that need no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) stamp: Stamp,
    /// The session that the service names as the sender; `None`: it names none.
    pub(super) sender: Option<u32>,
}

impl Desk {
    /// A desk for sessions on these terms.
    #[must_use]
    pub fn new(terms: Terms, seed: u64) -> Self {
        Self {
            now_ns: 0,
            terms,
            random: Rng::with_seed(seed),
            tally: Tally::default(),
            sessions: Sessions::default(),
            latencies: Latencies::default(),
            recent: Latency::coarse(),
            errors: Errors::default(),
            filler: filler(),
            parser: EventParser::new(),
            payload: String::new(),
            recipient: String::new(),
            scratch: Vec::new(),
        }
    }

    /// Ends the accounts: what was missing because it came corrupted or at the wrong place is not lost as well.
    pub fn close_books(&mut self) {
        let elsewhere = self.tally.corrupted + self.tally.misrouted;
        self.tally.lost = self.tally.lost.saturating_sub(elsewhere);
    }

    /// Appends message `number` of a session from its viewer to its master.
    pub(super) fn write_to_master(&mut self, session: u32, number: u32, out: &mut Vec<u8>) {
        let action = if number == 0 {
            Action::SdpOffer
        } else {
            Action::IceCandidate
        };
        self.write(session, (session + 1, MASTER), number, action, out);
    }

    /// Appends message `number` of a session from its master to its viewer.
    pub(super) fn write_to_viewer(&mut self, session: u32, number: u32, out: &mut Vec<u8>) {
        let action = if number == 0 {
            Action::SdpAnswer
        } else {
            Action::IceCandidate
        };
        self.write(session, (MASTER, session + 1), number, action, out);
    }

    fn write(
        &mut self,
        session: u32,
        (from, to): (u32, u32),
        number: u32,
        action: Action,
        out: &mut Vec<u8>,
    ) {
        let stamp = Stamp {
            run: self.terms.run,
            channel: session % self.terms.channels,
            from,
            to,
            sequence: u64::from(number),
            sent_ns: self.now_ns,
        };
        let bytes = if number == 0 {
            self.terms.sdp_bytes
        } else {
            self.terms.payload_bytes
        };
        self.payload.clear();
        stamp.write(&mut self.payload, &self.filler, bytes);
        self.recipient.clear();
        if to != MASTER {
            write_client_id(&mut self.recipient, session);
        }
        let message = Outgoing {
            action,
            payload: &self.payload,
            recipient: (to != MASTER).then_some(self.recipient.as_str()),
            correlation_id: None,
        };
        let key = self.random.u32(..).to_ne_bytes();
        message.write(out, &mut self.scratch, key);
        self.tally.sent += 1;
    }

    /// Reads a text that arrived and counts it; `None` when there is nothing more to it. `sdp` is how an offer or an answer is
    /// called here.
    pub(super) fn read(&mut self, text: &mut [u8], sdp: &str) -> Option<Letter> {
        let Some(event) = self.parser.parse(text) else {
            return self.corrupted();
        };
        let is_sdp = match event.message_type {
            Some("ICE_CANDIDATE") => false,
            Some(kind) if kind == sdp => true,
            Some(kind @ ("GO_AWAY" | "RECONNECT_ICE_SERVER")) => {
                self.errors.count(&kind.to_ascii_lowercase());
                return None;
            }
            Some("STATUS_RESPONSE") => {
                let why = event
                    .status
                    .and_then(|status| status.error_type)
                    .unwrap_or("unknown");
                self.errors.count(&format!("status_{}", clipped(why)));
                return None;
            }
            Some(_) | None => return self.corrupted(),
        };
        let sender = event.sender.map(|id| session_of(id).unwrap_or(u32::MAX));
        let Some(stamp) = event.payload.and_then(Stamp::read) else {
            return self.corrupted();
        };
        if stamp.run != self.terms.run {
            self.errors.count("message_of_another_run");
            return None;
        }
        if is_sdp != (stamp.sequence == 0) {
            return self.corrupted();
        }
        self.tally.received += 1;
        Some(Letter { stamp, sender })
    }

    fn corrupted(&mut self) -> Option<Letter> {
        self.tally.received += 1;
        self.tally.corrupted += 1;
        None
    }
}

/// The client id of a session's viewer.
#[must_use]
pub fn client_id(session: u32) -> String {
    let mut id = String::new();
    write_client_id(&mut id, session);
    id
}

/// Appends the client id of a session's viewer: its place in stamps.
fn write_client_id(out: &mut String, session: u32) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{VIEWER}{}", u64::from(session) + 1);
}

/// The session of a client id.
fn session_of(client_id: &str) -> Option<u32> {
    let place: u32 = client_id.strip_prefix(VIEWER)?.parse().ok()?;
    place.checked_sub(1)
}

/// A name of the service's choice, cut to a length that a table of errors can bear.
fn clipped(name: &str) -> &str {
    name.get(..48).unwrap_or(name)
}

/// The master's place in a stamp; a viewer's is its session's number and one.
pub(super) const MASTER: u32 = 0;
const VIEWER: &str = "viewer-";
