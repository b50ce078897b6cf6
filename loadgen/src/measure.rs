//! What a run counts: each of these adds up exactly over threads, and later over processes and machines.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Messages by what became of them. One per worker, added up at the end.
///
/// The kinds of fault are disjoint in sum: a message that came back corrupted, or at the wrong peer, is not counted as lost too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Composed and queued for sending.
    pub sent: u64,
    /// Arrived in any state.
    pub received: u64,
    /// Never arrived.
    pub lost: u64,
    /// Arrived once more, after having arrived.
    pub duplicated: u64,
    /// Arrived behind one that the same sender had sent later.
    pub reordered: u64,
    /// Arrived with other bytes than were sent, or as another kind of message.
    pub corrupted: u64,
    /// Arrived at a peer that it was not for, or under another sender's name.
    pub misrouted: u64,
}

impl Tally {
    /// Adds another worker's counts.
    pub const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.misrouted += other.misrouted;
    }

    /// Whether every message that was sent arrived once, in order, unchanged and where it belongs.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.corrupted + self.misrouted == 0
    }
}

/// Failures by kind, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(BTreeMap<String, u64>);

/// Kinds of failures told apart in one run.
const ERROR_KINDS_MAX: usize = 256;

impl Errors {
    /// Counts one of this kind.
    pub fn count(&mut self, kind: &str) {
        self.count_many(kind, 1);
    }

    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        for (kind, &count) in &other.0 {
            self.count_many(kind, count);
        }
    }

    /// Each kind with its count.
    #[must_use]
    pub const fn kinds(&self) -> &BTreeMap<String, u64> {
        &self.0
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Counts so many of this kind; none leaves no trace. A kind holds words of the service, which may have many of them: over
    /// [`ERROR_KINDS_MAX`] they are counted as `other`.
    pub fn count_many(&mut self, kind: &str, count: u64) {
        if count == 0 {
            return;
        }
        let is_full = self.0.len() >= ERROR_KINDS_MAX && !self.0.contains_key(kind);
        let kind = if is_full { "other" } else { kind };
        match self.0.get_mut(kind) {
            Some(counted) => *counted += count,
            None => drop(self.0.insert(kind.to_owned(), count)),
        }
    }
}

/// Spans of one kind in microseconds: a full HDR histogram of three significant digits, up to an hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// One without a value.
    #[must_use]
    pub fn new() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 3);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// One of two digits, for what is kept every second: a tenth of the memory.
    #[must_use]
    pub fn coarse() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 2);
        Self(bounds.expect("the bounds are constants that it takes"))
    }

    /// The histogram as HDR V2 deflate in base64; `None` only if memory fails.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut bytes = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        serializer.serialize(&self.0, &mut bytes).ok()?;
        let mut text = Vec::new();
        codec::base64::encode(&mut text, &bytes);
        String::from_utf8(text).ok()
    }

    /// Reads what [`Self::text`] wrote; `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes = codec::base64::decode(text.as_bytes())?;
        Deserializer::new()
            .deserialize(&mut &bytes[..])
            .ok()
            .map(Self)
    }

    /// Forgets every span.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Takes down one span in nanoseconds. Longer than an hour counts as an hour.
    pub fn record_ns(&mut self, span_ns: u64) {
        self.0.saturating_record(span_ns / 1000);
    }

    /// Adds another worker's spans.
    pub fn add(&mut self, other: &Self) {
        // Fails only for spans beyond these bounds, and every histogram of ours saturates at them.
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok(), "all histograms have the same bounds");
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
    /// A message: from composing it to looking at it on the other side.
    pub message: Latency,
    /// A session: from the moment that it was due to the SDP answer, all of the above and every delay of ours in it.
    pub setup: Latency,
    /// By how much sessions began later than they were due: the driver's fault alone.
    pub lag: Latency,
}

impl Latencies {
    /// Adds another worker's spans.
    pub fn add(&mut self, other: &Self) {
        self.connect.add(&other.connect);
        self.tls.add(&other.tls);
        self.upgrade.add(&other.upgrade);
        self.offer_answer.add(&other.offer_answer);
        self.message.add(&other.message);
        self.setup.add(&other.setup);
        self.lag.add(&other.lag);
    }
}

/// Sessions by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Begun, when they were due or later.
    pub scheduled: u64,
    /// Went all the way: connected, offered, answered, every message arrived, held, closed.
    pub completed: u64,
    /// Did not.
    pub failed: u64,
}

impl Sessions {
    /// Adds another worker's counts.
    pub const fn add(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.completed += other.completed;
        self.failed += other.failed;
    }
}

/// Connections by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Reached the answer 101.
    pub opened: u64,
    /// Did not, or ended otherwise than we wanted.
    pub failed: u64,
    /// Most that were open at one time.
    pub peak: u64,
}

/// The longest span that a histogram tells from longer ones.
const LONGEST_US: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact() {
        let mut one = Latency::new();
        let mut both = Latency::new();
        let mut other = Latency::new();
        for span in 1..=1_000_u64 {
            let half = if span % 2 == 0 { &mut one } else { &mut other };
            half.record_ns(span * 1_000_000);
            both.record_ns(span * 1_000_000);
        }
        one.add(&other);
        assert_eq!(one, both);
        assert_eq!(one.histogram().len(), 1_000);
        one.record_ns(u64::MAX);
        assert!(one.histogram().max() >= LONGEST_US);
    }

    #[test]
    fn one_fault_of_any_kind_is_a_fault() {
        let clean = Tally {
            sent: 2,
            received: 2,
            ..Tally::default()
        };
        assert!(clean.is_clean());
        let spoil: [fn(&mut Tally); 5] = [
            |tally| tally.lost = 1,
            |tally| tally.duplicated = 1,
            |tally| tally.reordered = 1,
            |tally| tally.corrupted = 1,
            |tally| tally.misrouted = 1,
        ];
        for spoil in spoil {
            let mut tally = clean;
            spoil(&mut tally);
            assert!(!tally.is_clean(), "{tally:?}");
        }
    }

    #[test]
    fn a_service_with_a_new_word_for_each_refusal_fills_no_memory() {
        let mut errors = Errors::default();
        for word in 0..1000 {
            errors.count(&format!("refused_400_{word}"));
        }
        assert_eq!(errors.total(), 1000);
        assert_eq!(errors.kinds().len(), ERROR_KINDS_MAX + 1);
        assert_eq!(errors.kinds()["other"], 1000 - ERROR_KINDS_MAX as u64);
    }

    #[test]
    fn errors_add_up_by_kind() {
        let (mut one, mut other) = (Errors::default(), Errors::default());
        one.count("a");
        other.count("a");
        other.count("b");
        one.add(&other);
        let kinds: Vec<_> = one.kinds().iter().map(|(k, &n)| (k.as_str(), n)).collect();
        assert_eq!(kinds, [("a", 2), ("b", 1)]);
    }
}
