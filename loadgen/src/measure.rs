//! A worker's counters. At the end of a run, they are converted to a document. Documents can be merged without losing
//! precision: see [`crate::result::merge`].

use crate::result::{self, Spread};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// One worker's message counts.
pub type MessageTally = result::Messages<u64>;
/// One worker's session counts.
pub type Sessions = result::Sessions<u64>;
/// One worker's connection counts.
pub type ConnectionCounts = result::ConnectionFigures<u64>;

/// The number of failures of each kind, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    kinds: BTreeMap<String, u64>,
    request_ids: BTreeMap<String, String>,
}

const ERROR_KINDS_MAX: usize = 256;

/// Maximum length in bytes of a stored request id.
const REQUEST_ID_BYTES_MAX: usize = 64;

impl ErrorCounts {
    /// Counts a failure of this kind.
    pub fn count(&mut self, kind: &str) {
        self.count_many(kind, 1);
    }

    /// Returns the number of failures of each kind.
    #[must_use]
    pub const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// Remembers the request id of the first refused request of this kind, unless the id is too long or not a single
    /// word.
    pub fn keep_request_id(&mut self, kind: &str, id: &str) {
        let is_word = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_known = self.request_ids.contains_key(kind);
        let has_room = self.request_ids.len() < ERROR_KINDS_MAX;
        if !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && is_word && has_room && !is_known {
            self.request_ids.insert(kind.to_owned(), id.to_owned());
        }
    }

    /// Returns the request id of the first refused request of each kind, where it is known.
    #[must_use]
    pub const fn request_ids(&self) -> &BTreeMap<String, String> {
        &self.request_ids
    }

    /// Returns the total number of failures.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Counts several failures of this kind. A name may contain arbitrary text from the service, so once
    /// [`ERROR_KINDS_MAX`] kinds exist, any further kind is counted as `other`.
    pub fn count_many(&mut self, kind: &str, count: u64) {
        if count == 0 {
            return;
        }
        let is_full = self.kinds.len() >= ERROR_KINDS_MAX && !self.kinds.contains_key(kind);
        let kind = if is_full { "other" } else { kind };
        match self.kinds.get_mut(kind) {
            Some(counted) => *counted += count,
            None => drop(self.kinds.insert(kind.to_owned(), count)),
        }
    }
}

/// A latency distribution in microseconds: an HDR histogram with three significant digits and values up to one hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// Creates an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 3);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// Creates a histogram with two significant digits, for the per-second latencies. It takes a tenth of the memory of
    /// a three-digit histogram.
    #[must_use]
    pub fn coarse() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 2);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Records a latency in nanoseconds. Anything above one hour is recorded as one hour.
    pub fn record_ns(&mut self, span_ns: u64) {
        self.0.saturating_record(span_ns / 1000);
    }

    /// Returns the histogram, which is in microseconds.
    #[must_use]
    pub const fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// The latencies of each step of a connection, and of messages between peers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// TCP: from calling connect until the connection is established.
    pub connect: Latency,
    /// TLS: from establishing the connection until the handshake completes.
    pub tls: Latency,
    /// WebSocket: from the end of the previous step until the 101 response arrives.
    pub upgrade: Latency,
    /// Session: from the 101 response until the SDP answer arrives.
    pub offer_answer: Latency,
    /// Message: from composing it (in an open loop: from when it is due) until the recipient processes it.
    pub message: Latency,
    /// Session: from when it is due until the SDP answer arrives. Includes the steps from `connect` to `offer_answer`,
    /// and the generator's own delays.
    pub setup: Latency,
    /// How far behind schedule sessions start or messages are sent. Only the load generator causes this delay.
    pub lag: Latency,
}

impl Latencies {
    /// Converts the latencies to their form in a document. `recovery` contains the recovery times of channels that were
    /// cut off.
    #[must_use]
    pub fn spreads(&self, recovery: &Latency) -> result::LatencyFigures {
        result::LatencyFigures {
            connect: Spread::of(self.connect.histogram()),
            tls: Spread::of(self.tls.histogram()),
            upgrade: Spread::of(self.upgrade.histogram()),
            offer_answer: Spread::of(self.offer_answer.histogram()),
            message: Spread::of(self.message.histogram()),
            setup: Spread::of(self.setup.histogram()),
            recovery: Spread::of(recovery.histogram()),
        }
    }
}

const LONGEST_US: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_is_too_long() {
        let mut latency = Latency::new();
        latency.record_ns(u64::MAX);
        assert!(latency.histogram().max() >= LONGEST_US);
    }

    #[test]
    fn a_service_with_a_new_word_for_each_refusal_fills_no_memory() {
        let mut errors = ErrorCounts::default();
        for word in 0..1000 {
            errors.count(&format!("refused_400_{word}"));
            errors.keep_request_id(&format!("refused_400_{word}"), "0a-1");
        }
        assert_eq!(errors.request_ids().len(), ERROR_KINDS_MAX);
        assert_eq!(errors.total(), 1000);
        assert_eq!(errors.kinds().len(), ERROR_KINDS_MAX + 1);
        assert_eq!(errors.kinds()["other"], 1000 - ERROR_KINDS_MAX as u64);
    }

    #[test]
    fn the_first_request_id_of_a_kind_is_kept_if_it_is_a_word() {
        let mut errors = ErrorCounts::default();
        for id in ["", "a b", "\u{1b}[2J", &"a".repeat(65), "0a-1", "0a-2"] {
            errors.keep_request_id("refused_403", id);
        }
        assert_eq!(errors.request_ids()["refused_403"], "0a-1");
    }
}
