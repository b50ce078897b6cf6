//! The groups of figures in a document.

use crate::result::{Spread, spread};
use hdrhistogram::Histogram;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A resource that the load generator exhausted. The variants are in order of precedence: without descriptors or ports,
/// no connection can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Saturated {
    /// No descriptors were left for sockets.
    Descriptors,
    /// No local ports were left for connections to the target.
    Ports,
    /// The CPUs of the load generator were fully used.
    Cpu,
    /// Sessions started or messages were sent later than scheduled.
    Lag,
}

impl Saturated {
    /// Describes the exhausted resource in plain words, for the first line of a report.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Descriptors => "the driver ran out of descriptors",
            Self::Ports => "the driver ran out of local ports",
            Self::Cpu => "the driver's CPU was busy all the time",
            Self::Lag => "the driver fell behind its schedule",
        }
    }

    /// Returns advice for the operator on how to avoid the limit.
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

/// How late sessions start or messages are sent, compared with the schedule, in microseconds. In an open loop, the
/// latencies include this delay.
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
    /// Computes the figures from a histogram in microseconds. If the histogram is empty, the figures are not known.
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

    /// Returns the distribution of the delay, if the histogram is known.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&spread::decode(self.hdr.as_deref()?).ok()?)
    }
}

/// Converts a worker's counts to the optional figures of a document. All of them are set.
///
/// # Panics
/// Panics if the members of `T` do not have the names of the counts.
#[must_use]
pub fn known<T: DeserializeOwned>(counts: &impl Serialize) -> T {
    let known = serde_json::to_value(counts).and_then(serde_json::from_value);
    known.expect("a group of counts has the same members in both forms")
}

/// Number of sessions by outcome. Each session simulates a real viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions<N = Option<u64>> {
    /// Sessions that were started, whether on schedule or late.
    pub scheduled: N,
    /// Sessions that completed all steps: connect, offer, answer, receiving every message, hold and close.
    pub completed: N,
    /// Sessions that failed.
    pub failed: N,
}

/// Number of connections by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFigures<N = Option<u64>> {
    /// Connections that received a 101 response.
    pub opened: N,
    /// Connections that could not be opened or ended unexpectedly.
    pub failed: N,
    /// Maximum number of concurrent connections.
    pub peak: N,
    /// Connections that were opened and closed during the measured phase.
    #[serde(default)]
    pub cycles: N,
    /// TLS handshakes that resumed a session.
    #[serde(default)]
    pub resumed: N,
}

/// Number of connections to one of several targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCounts {
    /// URL of the target.
    pub url: String,
    /// Connections that received a 101 response.
    pub opened: u64,
    /// Connections that could not be opened or ended unexpectedly.
    pub failed: u64,
}

/// Number of channels that were cut off, because the service ended a connection that was meant to stay open. A channel
/// counts each time this happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// Channels that were cut off.
    pub channels: Option<u64>,
    /// Channels that were cut off and whose parties have reconnected to each other.
    pub recovered: Option<u64>,
}

/// Number of messages by outcome. The five faults are mutually exclusive; for example, a corrupted message does not
/// also count as lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages<N = Option<u64>> {
    /// Messages that were composed and queued for sending.
    pub sent: N,
    /// Messages that were received, intact or not.
    pub received: N,
    /// Messages that never arrived.
    pub lost: N,
    /// Messages that arrived more than once.
    pub duplicated: N,
    /// Messages that arrived after a later message from the same sender.
    pub reordered: N,
    /// Messages that arrived with modified bytes or as a different message type.
    pub corrupted: N,
    /// Messages that arrived at the wrong peer or under the name of another sender.
    pub misrouted: N,
    /// Messages that the service rejected because of a rate limit. They do not also count as lost.
    pub throttled: N,
    /// Messages that the service rejected for any other reason. They do not also count as lost.
    pub refused: N,
}

impl Messages {
    /// Returns the counts of messages that the service rejected, with their names.
    #[must_use]
    pub const fn declined(&self) -> [(&'static str, Option<u64>); 2] {
        [("throttled", self.throttled), ("refused", self.refused)]
    }

    /// Returns the counts of the five faults, with their names.
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

/// The latencies of each kind. Null for a kind that has no values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// TCP: from the call to connect until the connection is established.
    pub connect: Option<Spread>,
    /// TLS: from when the connection is established until the handshake is complete.
    pub tls: Option<Spread>,
    /// WebSocket: from when the previous step is complete until the 101 response arrives.
    pub upgrade: Option<Spread>,
    /// Session: from the 101 response until the SDP answer arrives.
    pub offer_answer: Option<Spread>,
    /// Message: from when it is composed (in an open loop: from when it is due) until the recipient processes it.
    pub message: Option<Spread>,
    /// Complete session setup: from when the session is due until the SDP answer arrives.
    #[serde(default)]
    pub setup: Option<Spread>,
    /// Recovery of a channel that was cut off: from its first lost connection until all parties have reconnected to
    /// each other.
    #[serde(default)]
    pub recovery: Option<Spread>,
}

impl LatencyFigures {
    /// Returns the latencies of each kind, with the name of the kind. The first [`STEPS`] kinds are the consecutive
    /// steps of a session.
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

    /// Returns the latency that matters most to users: session setup if it is known, and otherwise the first known
    /// latency of the answer, a message, the WebSocket upgrade and the TCP connection.
    #[must_use]
    pub fn headline(&self) -> Option<(&'static str, &Spread)> {
        let [connect, _, upgrade, answer, message, setup, _] = self.all();
        [setup, answer, message, upgrade, connect]
            .into_iter()
            .find_map(|(label, spread)| Some((label, spread?)))
    }
}

/// Number of kinds of latency that are consecutive steps of a session.
pub const STEPS: usize = 4;

/// CPU time that the load generator and the service spent during the measured phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// CPU time of the load generator, in seconds.
    pub driver_s: Option<f64>,
    /// CPU time of the service in seconds. Known only if its source was specified.
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
    /// Computes the figures from the CPU times, the number of messages, and the number of connections opened and
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

/// Memory that the load generator and the service used at the end of the measured phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Resident memory of the load generator, in bytes.
    pub driver_rss_bytes: Option<u64>,
    /// Resident memory of the service, in bytes.
    pub server_rss_bytes: Option<u64>,
    /// Growth of the service's memory per connection, in bytes. Does not include the first few connections.
    #[serde(default)]
    pub server_bytes_per_connection: Option<f64>,
}

/// The figures for an interval of about one second in the measured phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When the interval ended, in seconds since the start of the measured phase.
    pub t_s: f64,
    /// Number of sessions completed in the interval.
    pub sessions: Option<u64>,
    /// Number of messages received in the interval.
    pub messages: Option<u64>,
    /// Number of connections open at the end of the interval.
    pub open: Option<u64>,
    /// Median setup latency of the sessions answered in the interval, in microseconds. `None` if there were none.
    pub p50_us: Option<u64>,
    /// 99th percentile of the setup latency of these sessions, in microseconds.
    pub p99_us: Option<u64>,
    /// Number of failures in the interval.
    pub errors: Option<u64>,
    /// Histogram of the setup latencies in microseconds, encoded as HDR V2 deflate in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<String>,
}

impl Interval {
    /// Sets the latencies from a histogram in microseconds. If the histogram is empty, the latencies are not known.
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
