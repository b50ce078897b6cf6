//! The groups of figures that make up a document.

use crate::result::{Spread, spread};
use hdrhistogram::Histogram;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A resource exhausted by the load generator. Sorted by precedence: without descriptors or ports, nothing can start at
/// all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Saturated {
    /// No more descriptors were available for sockets.
    Descriptors,
    /// No more local ports were available for connections to the target.
    Ports,
    /// The load generator's CPUs were fully used.
    Cpu,
    /// Sessions were started, or messages sent, later than scheduled.
    Lag,
}

impl Saturated {
    /// The exhausted resource in plain words, for the first line of a report.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Descriptors => "the driver ran out of descriptors",
            Self::Ports => "the driver ran out of local ports",
            Self::Cpu => "the driver's CPU was busy all the time",
            Self::Lag => "the driver fell behind its schedule",
        }
    }

    /// Advice for the operator on how to avoid the limitation.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Descriptors => {
                "raise the hard limit (ulimit -Hn, LimitNOFILE= in a unit) or use --processes"
            }
            Self::Ports => "give more local addresses with --source-addresses 127.0.1.1/24",
            Self::Cpu => {
                "give it more CPUs (--cores, --processes, --part on more machines) or ask for a lower --rate"
            }
            Self::Lag => {
                "lower --rate, or spread the load over more cores (--cores) or machines (--part)"
            }
        }
    }
}

/// Delay of session starts or sent messages relative to the schedule, in microseconds. In an open loop, this delay is
/// already included in the latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScheduleLag {
    /// 99th percentile of the delay.
    pub p99: Option<u64>,
    /// Maximum delay.
    pub max: Option<u64>,
    /// Histogram in microseconds, encoded as HDR V2 deflate in base64.
    #[serde(default)]
    pub hdr: Option<String>,
}

impl ScheduleLag {
    /// Computes the figures from a histogram in microseconds. If it is empty, all figures are unknown.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        match Spread::of(histogram) {
            None => Self::default(),
            Some(spread) => Self {
                p99: spread.quantile(0.99),
                max: Some(spread.max()),
                hdr: spread.hdr(),
            },
        }
    }

    /// Distribution of the delay, if the histogram is known.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&spread::decode(self.hdr.as_deref()?).ok()?)
    }
}

// Workers count in `u64`; in a document each count may be unknown.

/// Converts a worker's counts to the form used in documents, in which every count is marked as known.
///
/// # Panics
/// Panics if the members of `T` differ from the names of the counts.
#[must_use]
pub fn known<T: DeserializeOwned>(counts: &impl Serialize) -> T {
    let known = serde_json::to_value(counts).and_then(serde_json::from_value);
    known.expect("a group of counts has the same members in both forms")
}

/// Number of sessions by outcome. Each session simulates a real viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions<N = Option<u64>> {
    /// Number of sessions that were started, on schedule or late.
    pub scheduled: N,
    /// Number of sessions that completed all steps: connect, offer, answer, receipt of every message, hold and close.
    pub completed: N,
    /// Number of sessions that did not complete.
    pub failed: N,
}

/// Number of connections by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFigures<N = Option<u64>> {
    /// Number of connections that received a 101 response.
    pub opened: N,
    /// Number of connections that could not be opened or ended unexpectedly.
    pub failed: N,
    /// Maximum number of concurrently open connections.
    pub peak: N,
    /// Number of connections opened and closed during the measured phase.
    #[serde(default)]
    pub cycles: N,
    /// Number of TLS handshakes that resumed a session.
    #[serde(default)]
    pub resumed: N,
}

/// Number of connections to one of several targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCounts {
    /// URL of the target.
    pub url: String,
    /// Number of connections that received a 101 response.
    pub opened: u64,
    /// Number of connections that could not be opened or ended unexpectedly.
    pub failed: u64,
}

/// Channels in which the service ended a connection that the master or a viewer meant to keep open. A channel counts
/// once per occurrence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// Number of channels that were cut off.
    pub channels: Option<u64>,
    /// Number of channels that were cut off and whose parties have reconnected to each other.
    pub recovered: Option<u64>,
}

/// Number of messages by outcome. The five faults are mutually exclusive: a message that arrives corrupted or at the
/// wrong peer does not also count as lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages<N = Option<u64>> {
    /// Number of messages composed and queued for sending.
    pub sent: N,
    /// Number of messages received in any condition.
    pub received: N,
    /// Number of messages that never arrived.
    pub lost: N,
    /// Number of messages that arrived more than once.
    pub duplicated: N,
    /// Number of messages that arrived after a later message from the same sender.
    pub reordered: N,
    /// Number of messages that arrived with modified bytes or as a different message type.
    pub corrupted: N,
    /// Number of messages that arrived at the wrong peer or under the name of another sender.
    pub misrouted: N,
    /// Number of messages that the service rejected because their sender exceeded a rate limit; they do not also count
    /// as lost.
    pub throttled: N,
    /// Number of messages that the service rejected for any other reason; they do not also count as lost.
    pub refused: N,
}

impl Messages {
    /// Names and numbers of the messages that the service rejected instead of forwarding.
    #[must_use]
    pub const fn declined(&self) -> [(&'static str, Option<u64>); 2] {
        [("throttled", self.throttled), ("refused", self.refused)]
    }

    /// Names and numbers of the five faults.
    #[must_use]
    pub const fn faults(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupted", self.corrupted),
            ("misrouted", self.misrouted),
        ]
    }
}

/// Latencies by kind; null for a kind without values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// TCP: from the start of the connect until the connection is established.
    pub connect: Option<Spread>,
    /// TLS: from the establishment of the connection to the end of the handshake.
    pub tls: Option<Spread>,
    /// WebSocket: from the end of the previous step to the 101 response.
    pub upgrade: Option<Spread>,
    /// From the 101 response to the arrival of the SDP answer.
    pub offer_answer: Option<Spread>,
    /// Message: from its composition, or in an open loop from its due time, until the recipient processes it.
    pub message: Option<Spread>,
    /// Complete session setup: from the due time to the arrival of the SDP answer.
    #[serde(default)]
    pub setup: Option<Spread>,
    /// Recovery of a channel that was cut off: from its first lost connection until its master and viewers have
    /// reconnected to each other.
    #[serde(default)]
    pub recovery: Option<Spread>,
}

impl LatencyFigures {
    /// The latencies of each kind with a name to display, in the order of a session's steps. The first [`STEPS`] kinds
    /// are consecutive steps.
    #[must_use]
    pub const fn all(&self) -> [(&'static str, Option<&Spread>); 7] {
        [
            ("TCP connect", self.connect.as_ref()),
            ("TLS handshake", self.tls.as_ref()),
            ("upgrade", self.upgrade.as_ref()),
            ("offer to answer", self.offer_answer.as_ref()),
            ("message", self.message.as_ref()),
            ("session start to answer", self.setup.as_ref()),
            ("cut off until met again", self.recovery.as_ref()),
        ]
    }

    /// The latency that matters most to users: that of the answer if there are sessions, otherwise that of a message,
    /// otherwise that of the 101 response.
    #[must_use]
    pub fn headline(&self) -> Option<(&'static str, &Spread)> {
        let [connect, _, upgrade, answer, message, setup, _] = self.all();
        [setup, answer, message, upgrade, connect]
            .into_iter()
            .find_map(|(label, spread)| Some((label, spread?)))
    }
}

/// Number of latency kinds that are consecutive steps of a session.
pub const STEPS: usize = 4;

/// CPU time used by the load generator and the service during the measured phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// CPU time of the load generator, in seconds.
    pub driver_s: Option<f64>,
    /// CPU time of the service, in seconds, if a source for it was specified.
    pub server_s: Option<f64>,
    /// CPU time of the load generator per received message, in microseconds.
    pub driver_us_per_message: Option<f64>,
    /// CPU time of the service per received message, in microseconds.
    pub server_us_per_message: Option<f64>,
    /// CPU time of the load generator per connection opened and closed, in microseconds.
    #[serde(default)]
    pub driver_us_per_connection: Option<f64>,
    /// CPU time of the service per connection opened and closed, in microseconds.
    #[serde(default)]
    pub server_us_per_connection: Option<f64>,
}

impl Cpu {
    /// Computes the figures from the total CPU times, the number of messages, and the number of connections opened and
    /// closed.
    #[must_use]
    pub fn of(driver_s: Option<f64>, server_s: Option<f64>, messages: f64, cycles: f64) -> Self {
        let each =
            |seconds: Option<f64>, count: f64| Some(seconds? * 1e6 / count).filter(|_| count > 0.0);
        Self {
            driver_s,
            server_s,
            driver_us_per_message: each(driver_s, messages),
            server_us_per_message: each(server_s, messages),
            driver_us_per_connection: each(driver_s, cycles),
            server_us_per_connection: each(server_s, cycles),
        }
    }
}

/// Memory used by the load generator and the service at the end of the measured phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Resident memory of the load generator, in bytes.
    pub driver_rss_bytes: Option<u64>,
    /// Resident memory of the service, in bytes.
    pub server_rss_bytes: Option<u64>,
    /// Growth of the service's memory per connection, in bytes, from the time when the first few connections were open.
    #[serde(default)]
    pub server_bytes_per_connection: Option<f64>,
}

/// Figures for an interval of about one second in the measured phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Time at which the interval ends, in seconds since the start of the measured phase.
    pub t_s: f64,
    /// Number of sessions completed in the interval.
    pub sessions: Option<u64>,
    /// Number of messages received in the interval.
    pub messages: Option<u64>,
    /// Number of connections open at the end of the interval.
    pub open: Option<u64>,
    /// Median of the latencies in the interval (of the kind returned by [`Latencies::headline`]), in microseconds.
    pub p50_us: Option<u64>,
    /// 99th percentile of the latencies in the interval, in microseconds.
    pub p99_us: Option<u64>,
    /// Number of failures in the interval.
    pub errors: Option<u64>,
    /// Histogram of the latencies in the interval, in microseconds, encoded as HDR V2 deflate in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<String>,
}

impl Interval {
    /// Sets the latencies from a histogram in microseconds. If it is empty, they are unknown.
    #[must_use]
    pub fn with_latencies(mut self, histogram: &Histogram<u64>) -> Self {
        if let Some(spread) = Spread::of(histogram) {
            self.p50_us = spread.quantile(0.5);
            self.p99_us = spread.quantile(0.99);
            self.hdr = spread.hdr();
        }
        self
    }
}
