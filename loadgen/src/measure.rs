//! The counts of a worker. At its end they become a document, and documents add up exactly: [`crate::result::merge`].

use crate::result::{self, Spread};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Messages as a worker counts them.
pub type MessageTally = result::Messages<u64>;
/// Sessions as a worker counts them.
pub type Sessions = result::Sessions<u64>;
/// Connections as a worker counts them.
pub type ConnectionCounts = result::ConnectionFigures<u64>;

/// Failures by kind, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    kinds: BTreeMap<String, u64>,
    request_ids: BTreeMap<String, String>,
}

/// Kinds of failures that are distinguished in one run.
const ERROR_KINDS_MAX: usize = 256;

/// The longest request id that is kept.
const REQUEST_ID_BYTES_MAX: usize = 64;

impl ErrorCounts {
    /// Counts one of this kind.
    pub fn count(&mut self, kind: &str) {
        self.count_many(kind, 1);
    }

    /// Each kind with its count.
    #[must_use]
    pub const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.kinds
    }

    /// Keeps the request id of the first refusal of this kind. One that is too long, or no word, is none.
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

    /// The request id of the first refusal of each kind that has one.
    #[must_use]
    pub const fn request_ids(&self) -> &BTreeMap<String, String> {
        &self.request_ids
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Counts this many of this kind; none leaves no trace. A kind holds words of the service, which may have many of
    /// them: over [`ERROR_KINDS_MAX`] they are counted as `other`.
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

/// Spans of one kind in microseconds: a full HDR histogram of three significant digits, up to an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// A histogram without a value.
    #[must_use]
    pub fn new() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 3);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// A histogram of two digits, for spans that are kept every second: a tenth of the memory.
    #[must_use]
    pub fn coarse() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 2);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// Forgets every span.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Records one span in nanoseconds. Longer than an hour counts as an hour.
    pub fn record_ns(&mut self, span_ns: u64) {
        self.0.saturating_record(span_ns / 1000);
    }

    /// The histogram, its values in microseconds.
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

/// The spans that every connection passes through, and that of a message from one peer to the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// TCP: from the call to the established connection.
    pub connect: Latency,
    /// TLS: from there to the end of the handshake.
    pub tls: Latency,
    /// WebSocket: from there to the answer 101.
    pub upgrade: Latency,
    /// A session: from the answer 101 to the SDP answer.
    pub offer_answer: Latency,
    /// A message: from composing it, or in the open loop from when it was due, to looking at it on the other side.
    pub message: Latency,
    /// A session: from the moment that it was due to the SDP answer, all of the above and every delay of ours in it.
    pub setup: Latency,
    /// The time by which sessions began, or messages were sent, later than they were due: the driver's fault alone.
    pub lag: Latency,
}

impl Latencies {
    /// The spans as a document has them, with those of channels that were cut off.
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

/// The longest span that a histogram distinguishes from longer ones.
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
