//! The service in figures: rates and quantiles between two looks at the shards, and those of the last hour.

use crate::edge::Scraped;
use crate::edge::turn::calendar;
use crate::side::shared_state::{Shared, Status};
use broker_core::event::{CONNECTION_ROLES, ConnectionRole, Counters, Histogram, sign_ins};
use broker_core::{id::ShardId, shard::Snapshot};
use serde_json::{Value, json as value};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// One look at a shard.
#[derive(Clone, Debug)]
pub struct ShardLook {
    /// The shard.
    pub shard: ShardId,
    /// Its counters, unless it does not answer.
    pub answer: Option<Scraped<Snapshot>>,
    /// The time for which it has not answered, if an answer is due.
    pub silence: Option<Duration>,
}

/// Figures of the service at one moment. Rates and quantiles are those since the look before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Connections by place; of a silent shard those of its last answer.
    pub(crate) connections: [u64; CONNECTION_ROLES],
    pub(crate) channels: u64,
    pub(crate) pending_messages: u64,
    messages_per_second: f64,
    /// Microseconds.
    pub(crate) delivery: Quantiles,
    /// Microseconds.
    pub(crate) setup: Quantiles,
    /// Refusals a second by check: those that occurred.
    pub(crate) refused: BTreeMap<&'static str, f64>,
    /// Sign-ins since the start by kind: those let in and those refused, of kinds that occurred.
    pub(crate) sign_ins: BTreeMap<&'static str, [u64; 2]>,
    pub(crate) shards: Vec<ShardPoint>,
}

/// The median and the 99th percentile, if anything was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quantiles {
    p50: Option<f64>,
    p99: Option<f64>,
}

/// Figures of one shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardPoint {
    shard: ShardId,
    busy: f64,
    connections: u64,
    outbox_bytes: u64,
    pending_bytes: u64,
    /// Since the start.
    turn_max_us: u64,
    silence: Option<Duration>,
}

/// Turns the counters of looks into figures.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    last: Vec<Option<Scraped<Snapshot>>>,
    pub(crate) looked: Instant,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last: Vec::new(),
            looked: now,
        }
    }

    /// The figures since the look before.
    pub(crate) fn point(&mut self, now: Instant, at_ms: u64, looks: &[ShardLook]) -> Point {
        let span = now.saturating_duration_since(self.looked);
        let span = span.as_secs_f64().max(1e-3);
        self.looked = now;
        self.last.resize(looks.len(), None);
        let mut point = Point {
            at_ms,
            ..Point::default()
        };
        let (mut delivery, mut setup) = (Histogram::default(), Histogram::default());
        for (look, last) in looks.iter().zip(&mut self.last) {
            let before = last.clone();
            if let Some(answer) = &look.answer {
                *last = Some(answer.clone());
            }
            let Some(seen) = last.as_ref() else {
                point.shards.push(ShardPoint::unknown(look));
                continue;
            };
            let (seen_of, nothing) = (&seen.snapshot.counters, Snapshot::default());
            let before_of = before.as_ref().map_or(&nothing, |it| &it.snapshot);
            let before_of = &before_of.counters;
            let received = seen_of.received.iter().sum::<u64>();
            let received_before = before_of.received.iter().sum();
            point.messages_per_second += rate(received, received_before, span);
            delivery.add(&seen_of.delivery.since(&before_of.delivery));
            setup.add(&seen_of.session_setup.since(&before_of.session_setup));
            for (reason, count, before) in refusals(seen_of, before_of) {
                if count > before {
                    *point.refused.entry(reason).or_default() += rate(count, before, span);
                }
            }
            for (kind, [ok, refused]) in sign_ins(&seen_of.requests) {
                if ok + refused > 0 {
                    let sums = point.sign_ins.entry(kind).or_default();
                    *sums = [sums[0] + ok, sums[1] + refused];
                }
            }
            point.channels += seen.snapshot.channels;
            point.pending_messages += seen_of.pending_messages;
            for (sum, one) in point.connections.iter_mut().zip(seen.snapshot.connections) {
                *sum += one;
            }
            let busy_before = before.as_ref().map_or(0, |it| it.edge.busy_us);
            point.shards.push(ShardPoint {
                shard: look.shard,
                busy: (rate(seen.edge.busy_us, busy_before, span) / 1e6).min(1.0),
                connections: seen.edge.connections,
                outbox_bytes: seen_of.outbox_bytes,
                pending_bytes: seen_of.pending_bytes,
                turn_max_us: seen.edge.longest_turn_us,
                silence: look.silence,
            });
        }
        point.delivery = Quantiles::of(&delivery);
        point.setup = Quantiles::of(&setup);
        point
    }
}

/// Refusals by check: its id, the count, and the count before.
fn refusals(
    counters: &Counters,
    before: &Counters,
) -> impl Iterator<Item = (&'static str, u64, u64)> {
    let both = counters.refusals.each().zip(before.refusals.each());
    both.map(|((check, count), (_, before))| (check.id(), count, before))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a difference of more than 2^53 is none"
)]
fn rate(count: u64, before: u64, span: f64) -> f64 {
    count.saturating_sub(before) as f64 / span
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Self {
        Self {
            p50: histogram.quantile(0.5),
            p99: histogram.quantile(0.99),
        }
    }

    /// In another unit, to three digits after the point.
    fn json(self, unit: f64) -> Value {
        let scaled = |us: Option<f64>| us.map(|us| rounded(us / unit));
        value!({ "p50": scaled(self.p50), "p99": scaled(self.p99) })
    }
}

impl ShardPoint {
    fn unknown(look: &ShardLook) -> Self {
        Self {
            shard: look.shard,
            busy: 0.0,
            connections: 0,
            outbox_bytes: 0,
            pending_bytes: 0,
            turn_max_us: 0,
            silence: look.silence,
        }
    }

    fn json(&self) -> Value {
        value!({
            "shard": self.shard.0,
            "busy": rounded(self.busy),
            "connections": self.connections,
            "outboxBytes": self.outbox_bytes,
            "pendingBytes": self.pending_bytes,
            "turnMaxMs": rounded(crate::side::metrics::exposition::seconds(self.turn_max_us) * 1e3),
            "silentSeconds": self.silence.map(|silence| rounded(silence.as_secs_f64())),
        })
    }
}

impl Point {
    /// As `/overview` shows it.
    pub(crate) fn json(&self, status: Status) -> Value {
        let connections = ConnectionRole::LABELS.iter().copied();
        let refused = self.refused.iter();
        let sign_ins = self
            .sign_ins
            .iter()
            .map(|(kind, [ok, refused])| (*kind, value!({ "ok": ok, "refused": refused })));
        value!({
            "t": self.at_ms,
            "connections": connections.zip(self.connections).collect::<Value>(),
            "channels": self.channels,
            "pendingMessages": self.pending_messages,
            "messagesPerSecond": rounded(self.messages_per_second),
            "deliveryUs": self.delivery.json(1.0),
            "setupMs": self.setup.json(1e3),
            "refusedPerSecond": refused.map(|(check, rate)| (*check, rounded(*rate))).collect::<Value>(),
            "signIns": sign_ins.collect::<Value>(),
            "shards": self.shards.iter().map(ShardPoint::json).collect::<Vec<_>>(),
            "status": status.as_str(),
            "draining": status == Status::Draining,
        })
    }
}

/// The last hour, from the answers that the main thread collects anyway to see whether shards live.
#[derive(Debug)]
pub struct History {
    meter: Meter,
    /// Of the shards that answered since the last point.
    looks: Vec<ShardLook>,
    points: VecDeque<Sums>,
}

/// A point, as the history keeps it: 1,800 take 130 KiB.
#[derive(Clone, Copy, Debug)]
struct Sums {
    at_ms: u64,
    columns: [Option<f32>; COLUMNS.len()],
}

type Column = (&'static str, fn(&Point) -> Option<f64>);

/// The columns of the history: a figure of each point.
const COLUMNS: [Column; 8] = [
    ("messagesPerSecond", |it| Some(it.messages_per_second)),
    ("deliveryP50Us", |it| it.delivery.p50),
    ("deliveryP99Us", |it| it.delivery.p99),
    ("setupP50Ms", |it| it.setup.p50.map(|us| us / 1e3)),
    ("setupP99Ms", |it| it.setup.p99.map(|us| us / 1e3)),
    ("refusedPerSecond", |it| Some(refused(it))),
    ("masters", |it| of_place(it, "master")),
    ("viewers", |it| of_place(it, "viewer")),
];

/// All refusals: 0, not -0 as a sum of nothing would be.
fn refused(point: &Point) -> f64 {
    point.refused.values().fold(0.0, |all, one| all + one)
}

#[expect(clippy::cast_precision_loss, reason = "a count of connections")]
fn of_place(point: &Point, label: &str) -> Option<f64> {
    let mut places = ConnectionRole::LABELS.iter();
    let place = places.position(|place| *place == label)?;
    point.connections.get(place).map(|count| *count as f64)
}

impl History {
    /// An empty one, of this number of shards.
    #[must_use]
    pub fn shared(shards: usize, now: Instant) -> Shared<Self> {
        Shared::new(Self::new(shards, now))
    }

    pub(crate) fn new(shards: usize, now: Instant) -> Self {
        let unseen = |shard| ShardLook {
            shard: ShardId(u16::try_from(shard).unwrap_or(u16::MAX)),
            answer: None,
            silence: None,
        };
        Self {
            meter: Meter::new(now),
            looks: (0..shards).map(unseen).collect(),
            points: VecDeque::new(),
        }
    }

    /// A shard's answer.
    pub fn note(&mut self, answer: Scraped<Snapshot>) {
        if let Some(look) = self.looks.get_mut(answer.shard.index()) {
            look.answer = Some(answer);
        }
    }

    /// Makes a point of what was noted, if it is time for one.
    pub fn close(&mut self, now: Instant) {
        if now.saturating_duration_since(self.meter.looked) < POINT_EVERY {
            return;
        }
        let point = self.meter.point(now, calendar().0, &self.looks);
        for look in &mut self.looks {
            look.answer = None;
        }
        if self.points.len() >= HISTORY_POINTS {
            self.points.pop_front();
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "seven digits are enough for a chart"
        )]
        let columns = COLUMNS.map(|(_, read)| read(&point).map(|number| number as f32));
        self.points.push_back(Sums {
            at_ms: point.at_ms,
            columns,
        });
    }

    /// Connections that lost their place to a newer one, as the shards counted them last.
    pub(crate) fn superseded(&self) -> u64 {
        let last = self.meter.last.iter().flatten();
        let counts = last.filter_map(|seen| {
            let place = ConnectionRole::Superseded.index();
            seen.snapshot.connections.get(place)
        });
        counts.sum()
    }

    /// The meter that later looks are compared with.
    pub(crate) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// A list for each column.
    pub(crate) fn json(&self) -> Value {
        let times: Value = self.points.iter().map(|point| point.at_ms).collect();
        let columns = COLUMNS.iter().enumerate().map(|(place, (name, _))| {
            let column = self
                .points
                .iter()
                .map(|point| point.columns.get(place).copied().flatten());
            (
                *name,
                column
                    .map(|number| number.map(|it| rounded(it.into())))
                    .collect(),
            )
        });
        [("t", times)].into_iter().chain(columns).collect()
    }
}

/// To three digits after the point.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// An hour of points.
const HISTORY_POINTS: usize = 1800;
/// Shards are asked every two seconds, by a clock that may be late.
const POINT_EVERY: Duration = Duration::from_millis(1900);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::EdgeCounts;
    use broker_core::check::Check;
    use broker_core::cluster::link::LinkTable;

    fn scraped(shard: u16, received: u64, busy_us: u64) -> Scraped<Snapshot> {
        let mut snapshot = Snapshot::default();
        snapshot.counters.received[0] = received;
        snapshot.counters.delivery.observe(100, received);
        snapshot.connections[3] = 7;
        for _ in 0..received / 50 {
            snapshot.counters.refusals.count(Check::UnknownKey);
        }
        let edge = EdgeCounts {
            busy_us,
            connections: 9,
            ..EdgeCounts::default()
        };
        Scraped {
            shard: ShardId(shard),
            snapshot,
            edge,
            links: LinkTable::new(),
        }
    }

    fn look(shard: u16, answer: Option<Scraped<Snapshot>>) -> ShardLook {
        let silence = answer.is_none().then_some(Duration::from_secs(14));
        ShardLook {
            shard: ShardId(shard),
            answer,
            silence,
        }
    }

    #[test]
    fn rates_are_those_since_the_look_before() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        meter.point(at(1), 1, &[look(0, Some(scraped(0, 100, 1_000_000)))]);
        let point = meter.point(at(3), 3, &[look(0, Some(scraped(0, 300, 1_500_000)))]);
        assert!((point.messages_per_second - 100.0).abs() < 1e-9);
        let json = point.json(Status::Draining);
        assert_eq!((&json["t"], &json["draining"]), (&3.into(), &true.into()));
        assert_eq!(json["status"], "draining");
        assert_eq!(json["shards"][0]["busy"], 0.25);
        assert_eq!(json["connections"]["viewer"], 7);
        assert_eq!(json["refusedPerSecond"], value!({ "unknown_key": 2.0 }));
        let p50 = json["deliveryUs"]["p50"].as_f64().unwrap();
        assert!((88.0..112.0).contains(&p50), "{p50}");
        assert_eq!(json["setupMs"]["p50"], Value::Null);
        let none = Meter::new(start).point(start, 1, &[]);
        assert!(refused(&none).is_sign_positive());
    }

    #[test]
    fn a_silent_shard_has_a_row_and_others_are_not_affected() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        let both = [
            look(0, Some(scraped(0, 10, 0))),
            look(1, Some(scraped(1, 10, 0))),
        ];
        meter.point(start + Duration::from_secs(1), 1, &both);
        let one = [look(0, Some(scraped(0, 20, 0))), look(1, None)];
        let json = meter
            .point(start + Duration::from_secs(2), 2, &one)
            .json(Status::Ok);
        assert_eq!(json["messagesPerSecond"], 10.0);
        assert_eq!(json["shards"][0]["silentSeconds"], Value::Null);
        assert_eq!(json["shards"][1]["silentSeconds"], 14.0);
        assert_eq!(json["connections"]["viewer"], 14, "as it was last seen");
        let never = Meter::new(start)
            .point(start, 1, &[look(0, None)])
            .json(Status::Ok);
        assert_eq!(never["shards"][0]["silentSeconds"], 14.0);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let start = Instant::now();
        let mut history = History::new(1, start);
        let mut now = start;
        for number in 1..=HISTORY_POINTS as u64 + 5 {
            now += Duration::from_secs(1);
            history.close(now);
            now += Duration::from_secs(1);
            history.note(scraped(0, number * 10, 0));
            history.close(now);
        }
        let json = history.json();
        for column in ["t", "messagesPerSecond", "deliveryP99Us", "viewers"] {
            assert_eq!(
                json[column].as_array().unwrap().len(),
                HISTORY_POINTS,
                "{column}"
            );
        }
        assert_eq!(json["messagesPerSecond"][HISTORY_POINTS - 1], 5.0);
        assert_eq!(json["setupP50Ms"][0], Value::Null);
    }
}
