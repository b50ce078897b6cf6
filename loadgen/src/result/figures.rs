//! The groups of figures that a document consists of.

use crate::result::{Spread, spread};
use hdrhistogram::Histogram;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The resource that the driver ran out of. In the order in which one hides the next: without a descriptor or a port
/// nothing begins at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Saturated {
    /// No descriptors were left for sockets.
    Descriptors,
    /// No local port was left for the target.
    Ports,
    /// The driver's CPUs were busy all the time.
    Cpu,
    /// Sessions began, or messages were sent, later than the schedule said.
    Lag,
}

impl Saturated {
    /// The resource in plain words, for the first line of a report.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Descriptors => "the driver ran out of descriptors",
            Self::Ports => "the driver ran out of local ports",
            Self::Cpu => "the driver's CPU was busy all the time",
            Self::Lag => "the driver fell behind its schedule",
        }
    }

    /// The advice for the operator.
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

/// The time by which sessions began or messages were sent later than their schedule, in microseconds. Open loop: each
/// figure of a latency holds this already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScheduleLag {
    /// 99 of 100 were not later than this.
    pub p99: Option<u64>,
    /// The latest.
    pub max: Option<u64>,
    /// The histogram in microseconds: HDR V2 deflate, base64.
    #[serde(default)]
    pub hdr: Option<String>,
}

impl ScheduleLag {
    /// The figures of a histogram in microseconds; all unknown if it is empty.
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

    /// The spread of the lag, if the histogram is known.
    #[must_use]
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&spread::decode(self.hdr.as_deref()?).ok()?)
    }
}

// Workers count in `u64`; in a document each count may be unknown.

/// Counts of a worker as a document has them: all of them are known.
///
/// # Panics
/// `T` has other members than the counts.
#[must_use]
pub fn known<T: DeserializeOwned>(counts: &impl Serialize) -> T {
    let known = serde_json::to_value(counts).and_then(serde_json::from_value);
    known.expect("a group of counts has the same members in both forms")
}

/// Sessions by what became of them. A session is what a real viewer does, from its start to its intended end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions<N = Option<u64>> {
    /// Begun, when they were due or later.
    pub scheduled: N,
    /// Went all the way: connected, offered, answered, every message arrived, held, closed.
    pub completed: N,
    /// Did not.
    pub failed: N,
}

/// Connections by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFigures<N = Option<u64>> {
    /// Reached the answer 101.
    pub opened: N,
    /// Did not, or ended otherwise than intended.
    pub failed: N,
    /// Most that were open at one time.
    pub peak: N,
    /// Opened and closed in the measured span.
    #[serde(default)]
    pub cycles: N,
    /// TLS handshakes that resumed a session.
    #[serde(default)]
    pub resumed: N,
}

/// The connections of one target, where there are several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCounts {
    /// The target.
    pub url: String,
    /// Reached the answer 101.
    pub opened: u64,
    /// Did not, or ended otherwise than intended.
    pub failed: u64,
}

/// Channels whose connections the service ended while master and viewers were to stay, each as often as it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// All of them.
    pub channels: Option<u64>,
    /// Those whose parties have met again.
    pub recovered: Option<u64>,
}

/// Messages by what became of them. The five faults are disjoint in sum: a message that came back corrupted, or at the
/// wrong peer, is not counted as lost too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages<N = Option<u64>> {
    /// Composed and queued for sending.
    pub sent: N,
    /// Arrived in any state.
    pub received: N,
    /// Never arrived.
    pub lost: N,
    /// Arrived once more, after having arrived.
    pub duplicated: N,
    /// Arrived behind one that the same sender had sent later.
    pub reordered: N,
    /// Arrived with other bytes than were sent, or as another kind of message.
    pub corrupted: N,
    /// Arrived at a peer that it was not for, or under another sender's name.
    pub misrouted: N,
    /// The service answered them: their sender was too fast. They are not lost as well.
    pub throttled: N,
    /// The service answered them otherwise. They are not lost as well.
    pub refused: N,
}

impl Messages {
    /// Messages that the service answered in place of passing them on, by name, as far as they are known.
    #[must_use]
    pub const fn declined(&self) -> [(&'static str, Option<u64>); 2] {
        [("throttled", self.throttled), ("refused", self.refused)]
    }

    /// The five faults by name, as far as they are known.
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

/// Spans by kind; without a value they are null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// TCP: from the start to the established connection.
    pub connect: Option<Spread>,
    /// TLS: from there to the end of the handshake.
    pub tls: Option<Spread>,
    /// WebSocket: from there to the answer 101.
    pub upgrade: Option<Spread>,
    /// From the answer 101 to the arrival of the SDP answer.
    pub offer_answer: Option<Spread>,
    /// A message, from composing it, or in the open loop from when it was due, to looking at it on the other side.
    pub message: Option<Spread>,
    /// A whole session's way: from the moment that it was due to the arrival of the SDP answer.
    #[serde(default)]
    pub setup: Option<Spread>,
    /// A channel that was cut off: from the first connection that it lost until its master and its viewers have met
    /// again.
    #[serde(default)]
    pub recovery: Option<Spread>,
}

impl LatencyFigures {
    /// The spans of each kind with its name for people, in the order in which a session passes through them; the first
    /// [`STEPS`] follow each other.
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

    /// The spans that a user waits for: the answer where there are sessions, else a message, else the way to the 101.
    #[must_use]
    pub fn headline(&self) -> Option<(&'static str, &Spread)> {
        let [connect, _, upgrade, answer, message, setup, _] = self.all();
        [setup, answer, message, upgrade, connect]
            .into_iter()
            .find_map(|(label, spread)| Some((label, spread?)))
    }
}

/// Kinds of span that follow each other in a session.
pub const STEPS: usize = 4;

/// CPU time of both sides in the measured span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The driver's, in seconds.
    pub driver_s: Option<f64>,
    /// The service's, if its process is on this machine and was named.
    pub server_s: Option<f64>,
    /// The driver's for each message that arrived, in microseconds.
    pub driver_us_per_message: Option<f64>,
    /// The service's.
    pub server_us_per_message: Option<f64>,
    /// The driver's for each connection opened and closed, in microseconds.
    #[serde(default)]
    pub driver_us_per_connection: Option<f64>,
    /// The service's.
    #[serde(default)]
    pub server_us_per_connection: Option<f64>,
}

impl Cpu {
    /// The figures of this much CPU time for this many messages, and this many connections opened and closed.
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

/// Memory of both sides at the end of the measured span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// The driver's resident bytes.
    pub driver_rss_bytes: Option<u64>,
    /// The service's.
    pub server_rss_bytes: Option<u64>,
    /// Bytes by which the service grew for each connection, after the first ones.
    #[serde(default)]
    pub server_bytes_per_connection: Option<f64>,
}

/// About one second of the measured span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its end, in seconds from the beginning of the measured span.
    pub t_s: f64,
    /// Sessions completed in it.
    pub sessions: Option<u64>,
    /// Messages that arrived in it.
    pub messages: Option<u64>,
    /// Connections open at its end.
    pub open: Option<u64>,
    /// The median of its latencies (of the kind that [`Latencies::headline`] names), in microseconds.
    pub p50_us: Option<u64>,
    /// Their 99th percentile.
    pub p99_us: Option<u64>,
    /// Failures in it.
    pub errors: Option<u64>,
    /// Their histogram in microseconds: HDR V2 deflate, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<String>,
}

impl Interval {
    /// Sets the latencies from a histogram in microseconds; unknown if it is empty.
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
