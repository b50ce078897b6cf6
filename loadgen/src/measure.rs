//! Counters of a worker, converted to a document at the end of a run. Documents can be merged without loss of
//! precision: [`crate::result::merge`].

use crate::result::{self, Spread};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Message counts of a worker.
pub type MessageTally = result::Messages<u64>;
/// Session counts of a worker.
pub type Sessions = result::Sessions<u64>;
/// Connection counts of a worker.
pub type ConnectionCounts = result::ConnectionFigures<u64>;

/// Failures by kind, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    kinds: BTreeMap<String, u64>,
    request_ids: BTreeMap<String, String>,
}

const ERROR_KINDS_MAX: usize = 256;

/// Maximum length of a stored request id, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

impl ErrorCounts {
    /// Counts one failure of this kind.
    pub fn count(&mut self, kind: &str) {
        self.count_many(kind, 1);
    }

    /// Failures by kind.
    #[must_use]
    pub const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// Stores the request id of the first refused request of this kind, if it is a short single word.
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

    /// Request id of the first refused request of each kind, if known.
    #[must_use]
    pub const fn request_ids(&self) -> &BTreeMap<String, String> {
        &self.request_ids
    }

    /// Total number of failures.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Counts several failures of this kind. Kinds may contain text from the service, so kinds beyond the first
    /// [`ERROR_KINDS_MAX`] are counted as `other`.
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

/// Latencies of one kind in microseconds: an HDR histogram with three significant digits, for values up to one hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// Creates an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 3);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// Creates a histogram with two significant digits, for latencies per second. Takes a tenth of the memory.
    #[must_use]
    pub fn coarse() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 2);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Records a latency in nanoseconds. Values above one hour are recorded as one hour.
    pub fn record_ns(&mut self, span_ns: u64) {
        self.0.saturating_record(span_ns / 1000);
    }

    /// Histogram in microseconds.
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

/// Latencies of each step in the lifetime of a connection, and of messages between peers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// TCP: from the connect call to the established connection.
    pub connect: Latency,
    /// TLS: from the established connection to the end of the handshake.
    pub tls: Latency,
    /// WebSocket: from the end of the previous step to the 101 response.
    pub upgrade: Latency,
    /// Session: from the 101 response to the arrival of the SDP answer.
    pub offer_answer: Latency,
    /// Message: from composition (in an open loop: from the due time) until the recipient processes the message.
    pub message: Latency,
    /// Session: from its due time to the arrival of the SDP answer, including all of the above and delays of the
    /// generator.
    pub setup: Latency,
    /// Delay of session starts or messages relative to the schedule, caused only by the load generator.
    pub lag: Latency,
}

impl Latencies {
    /// Converts the latencies to the form of a document. `recovery` contains the recovery times of cut-off channels.
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
