//! The groups of figures that make up a document.

use crate::result::{Spread, spread};
use hdrhistogram::Histogram;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A resource that the load generator ran out of. The variants are in order of precedence: without descriptors or
/// ports, no connection can even start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Saturated {
    /// No descriptors left for sockets.
    Descriptors,
    /// No local ports left for connections to the target.
    Ports,
    /// The load generator used its CPUs fully.
    Cpu,
    /// Sessions started or messages were sent behind schedule.
    Lag,
}

impl Saturated {
    /// Describes the resource in plain words, for the first line of a report.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Descriptors => "the driver ran out of descriptors",
            Self::Ports => "the driver ran out of local ports",
            Self::Cpu => "the driver's CPU was busy all the time",
            Self::Lag => "the driver fell behind its schedule",
        }
    }

    /// Advises the operator how to avoid the limit.
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

/// How far behind schedule sessions start or messages are sent, in microseconds. Latencies in an open loop include this
/// delay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScheduleLag {
    /// 99th percentile of the delay.
    pub p99: Option<u64>,
    /// Maximum delay.
    pub max: Option<u64>,
    /// Histogram in microseconds, as base64-encoded HDR V2 deflate.
    #[serde(default)]
    pub hdr: Option<String>,
}

impl ScheduleLag {
    /// Computes the figures from a histogram in microseconds. An empty histogram leaves them unknown.
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

    /// Returns the distribution of the delay, if there is a histogram.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&spread::decode(self.hdr.as_deref()?).ok()?)
    }
}

/// Converts a worker's counts to the optional figures of a document, all of which are then known.
///
/// # Panics
/// Panics if the members of `T` do not have the same names as the counts.
#[must_use]
pub fn known<T: DeserializeOwned>(counts: &impl Serialize) -> T {
    let known = serde_json::to_value(counts).and_then(serde_json::from_value);
    known.expect("a group of counts has the same members in both forms")
}

/// Number of sessions by outcome. Each session simulates one real viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions<N = Option<u64>> {
    /// Sessions that started, whether on schedule or late.
    pub scheduled: N,
    /// Sessions that completed every step: connect, offer, answer, receive all messages, hold and close.
    pub completed: N,
    /// Sessions that failed.
    pub failed: N,
}

/// Number of connections by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFigures<N = Option<u64>> {
    /// Connections that received a 101 response.
    pub opened: N,
    /// Connections that failed to open, or ended unexpectedly.
    pub failed: N,
    /// Maximum number of connections open at the same time.
    pub peak: N,
    /// Connections opened and closed during the measured phase.
    #[serde(default)]
    pub cycles: N,
    /// TLS handshakes that resumed a session.
    #[serde(default)]
    pub resumed: N,
}

/// Connection counts for one of several targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCounts {
    /// URL of the target.
    pub url: String,
    /// Connections that received a 101 response.
    pub opened: u64,
    /// Connections that failed to open, or ended unexpectedly.
    pub failed: u64,
}

/// Number of channels cut off because the service closed a connection that was meant to stay open. A channel counts
/// every time this happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// Channels that were cut off.
    pub channels: Option<u64>,
    /// Cut-off channels whose parties have reconnected to each other.
    pub recovered: Option<u64>,
}

/// Number of messages by outcome. A message counts toward at most one of the five faults: a corrupted message, for
/// example, is not also lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages<N = Option<u64>> {
    /// Messages composed and queued for sending.
    pub sent: N,
    /// Messages received, intact or not.
    pub received: N,
    /// Messages that never arrived.
    pub lost: N,
    /// Messages that arrived more than once.
    pub duplicated: N,
    /// Messages that arrived after a later one from the same sender.
    pub reordered: N,
    /// Messages that arrived with modified bytes or with a different message type.
    pub corrupted: N,
    /// Messages that arrived at the wrong peer or named the wrong sender.
    pub misrouted: N,
    /// Messages that the service rejected because of a rate limit. These are not also counted as lost.
    pub throttled: N,
    /// Messages that the service rejected for any other reason. These are not also counted as lost.
    pub refused: N,
}

impl Messages {
    /// Returns the names and counts of messages that the service rejected.
    #[must_use]
    pub const fn declined(&self) -> [(&'static str, Option<u64>); 2] {
        [("throttled", self.throttled), ("refused", self.refused)]
    }

    /// Returns the names and counts of the five faults.
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

/// The latencies of each kind. A kind without values is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// TCP: from calling connect until the connection is established.
    pub connect: Option<Spread>,
    /// TLS: from establishing the connection until the handshake completes.
    pub tls: Option<Spread>,
    /// WebSocket: from the end of the previous step until the 101 response arrives.
    pub upgrade: Option<Spread>,
    /// Session: from the 101 response until the SDP answer arrives.
    pub offer_answer: Option<Spread>,
    /// Message latency: from when a message is composed (in an open loop, when it is due) until its recipient has
    /// processed it.
    pub message: Option<Spread>,
    /// Complete session setup: from when the session is due until the SDP answer arrives.
    #[serde(default)]
    pub setup: Option<Spread>,
    /// Recovery of a channel that was cut off: from the first lost connection until all parties have reconnected to
    /// each other.
    #[serde(default)]
    pub recovery: Option<Spread>,
}

impl LatencyFigures {
    /// Returns each kind of latency with its name. The first [`STEPS`] kinds are consecutive steps of a session.
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

    /// Returns the latency that matters most to users: session setup if known, or else the first of these that is
    /// known: SDP answer, message, WebSocket upgrade, TCP connection.
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

/// CPU time used by the load generator and by the service during the measured phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// CPU time of the load generator, in seconds.
    pub driver_s: Option<f64>,
    /// CPU time of the service, in seconds. Known only if a flag says where to read it.
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
    /// Computes the figures from the CPU times, the message count, and the number of connections opened and closed.
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

/// Memory used by the load generator and by the service at the end of the measured phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Resident memory of the load generator, in bytes.
    pub driver_rss_bytes: Option<u64>,
    /// Resident memory of the service, in bytes.
    pub server_rss_bytes: Option<u64>,
    /// Growth of the service's memory per connection, in bytes, not counting the first few connections.
    #[serde(default)]
    pub server_bytes_per_connection: Option<f64>,
}

/// The figures for one interval of the measured phase, which lasts about a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// End of the interval, in seconds since the start of the measured phase.
    pub t_s: f64,
    /// Number of sessions completed during the interval.
    pub sessions: Option<u64>,
    /// Number of messages received during the interval.
    pub messages: Option<u64>,
    /// Number of connections open at the end of the interval.
    pub open: Option<u64>,
    /// Median setup latency of the sessions answered during the interval, in microseconds. `None` if there were none.
    pub p50_us: Option<u64>,
    /// 99th percentile setup latency of the sessions answered during the interval, in microseconds.
    pub p99_us: Option<u64>,
    /// Number of failures during the interval.
    pub errors: Option<u64>,
    /// Histogram of setup latencies in microseconds, as base64-encoded HDR V2 deflate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<String>,
}

impl Interval {
    /// Sets the latencies from a histogram in microseconds. An empty histogram leaves them unknown.
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
