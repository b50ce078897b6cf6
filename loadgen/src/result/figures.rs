//! The groups of figures that a document consists of.

use crate::measure;
use crate::result::{Spread, spread};
use hdrhistogram::Histogram;
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

/// Sessions by what became of them. A session is what a real viewer does, from its start to its intended end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Were due by the schedule.
    pub scheduled: Option<u64>,
    /// Did all of their steps.
    pub completed: Option<u64>,
    /// Did not.
    pub failed: Option<u64>,
}

impl From<measure::Sessions> for Sessions {
    fn from(counts: measure::Sessions) -> Self {
        Self {
            scheduled: Some(counts.scheduled),
            completed: Some(counts.completed),
            failed: Some(counts.failed),
        }
    }
}

/// Connections by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Reached the answer 101.
    pub opened: Option<u64>,
    /// Did not, or ended otherwise than intended.
    pub failed: Option<u64>,
    /// Most that were open at one time.
    pub peak: Option<u64>,
    /// Opened and closed in the measured span.
    #[serde(default)]
    pub cycles: Option<u64>,
    /// TLS handshakes that resumed a session.
    #[serde(default)]
    pub resumed: Option<u64>,
}

impl From<measure::Connections> for Connections {
    fn from(counts: measure::Connections) -> Self {
        Self {
            opened: Some(counts.opened),
            failed: Some(counts.failed),
            peak: Some(counts.peak),
            cycles: None,
            resumed: Some(counts.resumed),
        }
    }
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

impl From<measure::Tally> for Messages {
    fn from(counts: measure::Tally) -> Self {
        Self {
            sent: Some(counts.sent),
            received: Some(counts.received),
            lost: Some(counts.lost),
            duplicated: Some(counts.duplicated),
            reordered: Some(counts.reordered),
            corrupted: Some(counts.corrupted),
            misrouted: Some(counts.misrouted),
            throttled: Some(counts.throttled),
            refused: Some(counts.refused),
        }
    }
}

/// Messages by what became of them; the five faults are disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// Queued for sending.
    pub sent: Option<u64>,
    /// Arrived in any state.
    pub received: Option<u64>,
    /// Never arrived.
    pub lost: Option<u64>,
    /// Arrived once more.
    pub duplicated: Option<u64>,
    /// Arrived behind a later one.
    pub reordered: Option<u64>,
    /// Arrived with other bytes.
    pub corrupted: Option<u64>,
    /// Arrived where they do not belong.
    pub misrouted: Option<u64>,
    /// Answered by the service, as too fast.
    pub throttled: Option<u64>,
    /// Answered by the service, for another reason.
    pub refused: Option<u64>,
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
pub struct Latencies {
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

impl From<&measure::Latencies> for Latencies {
    fn from(spans: &measure::Latencies) -> Self {
        Self {
            connect: Spread::of(spans.connect.histogram()),
            tls: Spread::of(spans.tls.histogram()),
            upgrade: Spread::of(spans.upgrade.histogram()),
            offer_answer: Spread::of(spans.offer_answer.histogram()),
            message: Spread::of(spans.message.histogram()),
            setup: Spread::of(spans.setup.histogram()),
            recovery: None,
        }
    }
}

/// The kinds of span, in the order in which a session passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// TCP.
    Connect,
    /// TLS.
    Tls,
    /// WebSocket.
    Upgrade,
    /// Offer to answer.
    OfferAnswer,
    /// One message.
    Message,
    /// From the moment that a session was due to its SDP answer.
    Setup,
    /// From a channel's first lost connection until its parties have met again.
    Recovery,
}

impl Span {
    /// All, in order.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Tls,
        Self::Upgrade,
        Self::OfferAnswer,
        Self::Message,
        Self::Setup,
        Self::Recovery,
    ];

    /// Those that follow each other in a session.
    pub const STEPS: [Self; 4] = [Self::Connect, Self::Tls, Self::Upgrade, Self::OfferAnswer];

    /// The name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "TCP connect",
            Self::Tls => "TLS handshake",
            Self::Upgrade => "upgrade",
            Self::OfferAnswer => "offer to answer",
            Self::Message => "message",
            Self::Setup => "session start to answer",
            Self::Recovery => "cut off until met again",
        }
    }
}

impl Latencies {
    /// The spans of a kind.
    #[must_use]
    pub const fn of(&self, span: Span) -> Option<&Spread> {
        match span {
            Span::Connect => self.connect.as_ref(),
            Span::Tls => self.tls.as_ref(),
            Span::Upgrade => self.upgrade.as_ref(),
            Span::OfferAnswer => self.offer_answer.as_ref(),
            Span::Message => self.message.as_ref(),
            Span::Setup => self.setup.as_ref(),
            Span::Recovery => self.recovery.as_ref(),
        }
    }

    /// The spans that a user waits for: the answer where there are sessions, else a message, else the way to the 101.
    #[must_use]
    pub fn headline(&self) -> Option<(Span, &Spread)> {
        let order = [
            Span::Setup,
            Span::OfferAnswer,
            Span::Message,
            Span::Upgrade,
            Span::Connect,
        ];
        order
            .into_iter()
            .find_map(|span| Some((span, self.of(span)?)))
    }
}

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
    pub fn of(driver_s: f64, server_s: Option<f64>, messages: u64, cycles: u64) -> Self {
        let each = |seconds: f64, count: u64| (count > 0).then(|| seconds * 1e6 / count as f64);
        Self {
            driver_s: Some(driver_s),
            server_s,
            driver_us_per_message: each(driver_s, messages),
            server_us_per_message: server_s.and_then(|seconds| each(seconds, messages)),
            driver_us_per_connection: each(driver_s, cycles),
            server_us_per_connection: server_s.and_then(|seconds| each(seconds, cycles)),
        }
    }
}

/// Memory of both sides at the end of the measured span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
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
