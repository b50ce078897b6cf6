//! Service metrics. Computes rates and quantiles between two shard samples, and the rows of the history.

use crate::edge::Scraped;
use crate::edge::turn::calendar;
use crate::hooks::{Hooks, Outcome};
use crate::side::history::rows::{Row, Tick};
use crate::side::history::{HistoryStore, REFUSED, rounded};
use crate::side::process::resident_bytes;
use crate::side::shared_state::Status;
use broker_core::check::Check;
use broker_core::event::{
    self, CONNECTION_ROLES, ConnectionRole, Counters, Histogram, Kind, SessionOutcome,
    UpgradeOutcome, sign_ins,
};
use broker_core::{id::ShardId, shard::Snapshot};
use codec::signal::Action;
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A sample of a shard's counters.
#[derive(Clone, Debug)]
pub struct ShardLook {
    /// The shard that was sampled.
    pub shard: ShardId,
    /// The shard's counters, if it responded.
    pub answer: Option<Scraped<Snapshot>>,
    /// How long the response has been overdue. `None` if it is not overdue.
    pub silence: Option<Duration>,
}

/// Service metrics at a point in time. Rates and quantiles cover the time since the previous sample.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    /// Time of the sample, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Number of connections by role. For a shard that does not respond, the last response is used.
    pub(crate) connections: [u64; CONNECTION_ROLES],
    pub(crate) channels: u64,
    pub(crate) pending_messages: u64,
    messages_per_second: f64,
    durations: [Histogram; 2],
    counts: [u64; COUNTS.len()],
    refused_of: [u64; REFUSED.len()],
    /// Refusals per second by check, omitting checks without refusals.
    pub(crate) refused: BTreeMap<&'static str, f64>,
    /// Number of accepted and refused sign-ins since startup, by kind, omitting kinds without sign-ins.
    pub(crate) sign_ins: BTreeMap<&'static str, [u64; 2]>,
    pub(crate) shards: Vec<ShardPoint>,
}

#[derive(Clone, Debug)]
pub(crate) struct ShardPoint {
    shard: ShardId,
    busy: f64,
    connections: u64,
    outbox_bytes: u64,
    pending_bytes: u64,
    turn_max_us: u64,
    silence: Option<Duration>,
}

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

    pub(crate) fn point(&mut self, now: Instant, at_ms: u64, looks: &[ShardLook]) -> Point {
        let span = now.saturating_duration_since(self.looked);
        let span = span.as_secs_f64().max(1e-3);
        self.looked = now;
        self.last.resize(looks.len(), None);
        let mut point = Point {
            at_ms,
            ..Point::default()
        };
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
            let [setup, delivery] = &mut point.durations;
            delivery.add(&seen_of.delivery.since(&before_of.delivery));
            setup.add(&seen_of.session_setup.since(&before_of.session_setup));
            for ((_, count), sum) in COUNTS.iter().zip(&mut point.counts) {
                *sum += count(seen_of).saturating_sub(count(before_of));
            }
            let refusals = seen_of.refusals.each().zip(before_of.refusals.each());
            for ((check, count), (_, before)) in refusals {
                if count > before {
                    *point.refused.entry(check.id()).or_default() += rate(count, before, span);
                    point.refused_of[group_of(check)] += count - before;
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
        point
    }
}

fn group_of(check: Check) -> usize {
    let id = check.id();
    let is_of = |prefixes: &[&str]| prefixes.iter().any(|prefix| id.starts_with(prefix));
    if is_of(&[
        "signature_",
        "token_",
        "scope_",
        "unknown_key",
        "key_",
        "url_",
        "role_gone",
        "web_",
        "thing_",
    ]) {
        0
    } else if is_of(&["policy_", "trust_", "account_hidden"]) {
        1
    } else if is_of(&["rate_"]) {
        2
    } else {
        3
    }
}

type Count = (&'static str, fn(&Counters) -> u64);

const COUNTS: [Count; 7] = [
    ("connects", |it| {
        let of_role = it.upgrades.iter();
        of_role
            .filter_map(|row| row.get(UpgradeOutcome::Accepted.index()))
            .sum()
    }),
    ("offers", |it| {
        it.received[Kind::Known(Action::SdpOffer).index()]
    }),
    ("answers", |it| {
        it.received[Kind::Known(Action::SdpAnswer).index()]
    }),
    ("unanswered", |it| {
        it.sessions.outcomes[SessionOutcome::Unanswered as usize]
    }),
    ("confirmed", |it| {
        let of_kind = it.outcomes.iter();
        of_kind
            .filter_map(|row| row.get(event::Outcome::Delivered.index()))
            .sum()
    }),
    ("returned", |it| it.returned),
    ("messages", |it| it.received.iter().sum()),
];

#[expect(
    clippy::cast_precision_loss,
    reason = "a difference of more than 2^53 is none"
)]
fn rate(count: u64, before: u64, span: f64) -> f64 {
    count.saturating_sub(before) as f64 / span
}

/// Formats the median and the 99th percentile in the given unit, with three decimals. Both are null if nothing was
/// measured.
fn quantiles(of: &Histogram, unit: f64) -> Value {
    let scaled = |part| of.quantile(part).map(|us| rounded(us / unit));
    value!({ "p50": scaled(0.5), "p99": scaled(0.99) })
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
    pub(crate) fn json(&self, status: Status) -> Value {
        let connections = ConnectionRole::LABELS.iter().copied();
        let refused = self.refused.iter();
        let [setup, delivery] = &self.durations;
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
            "deliveryUs": quantiles(delivery, 1.0),
            "setupMs": quantiles(setup, 1e3),
            "refusedPerSecond": refused.map(|(check, rate)| (*check, rounded(*rate))).collect::<Value>(),
            "signIns": sign_ins.collect::<Value>(),
            "shards": self.shards.iter().map(ShardPoint::json).collect::<Vec<_>>(),
            "status": status.as_str(),
            "draining": status == Status::Draining,
        })
    }
}

/// Aggregates shard samples into rows of the history. The main thread takes these samples to monitor the shards.
pub struct History {
    pub(crate) meter: Meter,
    looks: Vec<ShardLook>,
    store: HistoryStore,
    /// The hooks whose requests the rows include.
    pub(crate) hooks: Option<Hooks>,
    hooked: [u64; 2],
}

impl History {
    /// Creates the history of a process with `shards` shards. Rows are written to `store`.
    pub(crate) fn new(shards: usize, now: Instant, store: HistoryStore) -> Self {
        let unseen = |shard| ShardLook {
            shard: ShardId(u16::try_from(shard).unwrap_or(u16::MAX)),
            answer: None,
            silence: None,
        };
        Self {
            meter: Meter::new(now),
            looks: (0..shards).map(unseen).collect(),
            store,
            hooks: None,
            hooked: [0; 2],
        }
    }

    /// Returns the history store.
    #[must_use]
    pub fn store(&self) -> HistoryStore {
        self.store.clone()
    }

    /// Records the sample of a shard.
    pub fn note(&mut self, answer: Scraped<Snapshot>) {
        if let Some(look) = self.looks.get_mut(answer.shard.index()) {
            look.answer = Some(answer);
        }
    }

    /// Ends the current interval if it is long enough, and aggregates its samples into a row.
    pub fn close(&mut self, now: Instant) {
        let span = now.saturating_duration_since(self.meter.looked);
        if span < ROW_EVERY {
            return;
        }
        let at_ms = calendar().0;
        let point = self.meter.point(now, at_ms, &self.looks);
        for look in &mut self.looks {
            look.answer = None;
        }
        let span_ms = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        let mut row = Row::new(at_ms.saturating_sub(span_ms.into()), span_ms);
        point.fill(&mut row);
        let bytes = resident_bytes();
        if bytes > 0 {
            row.set("memoryBytes", whole(bytes));
        }
        if let Some(hooks) = &self.hooks {
            let hooked = requests(hooks);
            let since = |place: usize| whole(hooked[place].saturating_sub(self.hooked[place]));
            row.set("hooks", since(0));
            row.set("hooksFailed", since(1));
            self.hooked = hooked;
        }
        let durations = point.durations;
        self.store.tick(Tick { row, durations });
    }

    /// Returns the number of connections that newer ones have superseded, as last counted by the shards.
    pub(crate) fn superseded(&self) -> u64 {
        let last = self.meter.last.iter().flatten();
        let counts = last.filter_map(|seen| {
            let place = ConnectionRole::Superseded.index();
            seen.snapshot.connections.get(place)
        });
        counts.sum()
    }

    /// Returns the number of connections whose clients do not confirm messages, as last counted by the shards.
    pub(crate) fn doubtful(&self) -> u64 {
        let last = self.meter.last.iter().flatten();
        last.map(|seen| seen.snapshot.doubtful).sum()
    }
}

impl Point {
    /// Fills in all metrics of a row except the quantiles.
    fn fill(&self, row: &mut Row) {
        let of_role = |role: ConnectionRole| self.connections.get(role.index()).copied();
        let masters = whole(of_role(ConnectionRole::Master).unwrap_or_default());
        row.set("masters", masters);
        row.set("mastersLeast", masters);
        row.set(
            "viewers",
            whole(of_role(ConnectionRole::Viewer).unwrap_or_default()),
        );
        row.set("channels", whole(self.channels));
        row.set("pending", whole(self.pending_messages));
        let counts = COUNTS.iter().map(|(column, _)| *column).zip(self.counts);
        for (column, count) in counts.chain(REFUSED.into_iter().zip(self.refused_of)) {
            row.set(column, whole(count));
        }
        let busy = self.shards.iter().map(|shard| shard.busy);
        row.set("busyMax", busy.clone().fold(0.0, f64::max));
        row.set(
            "busyMean",
            busy.sum::<f64>() / whole(self.shards.len().max(1) as u64),
        );
    }
}

fn requests(hooks: &Hooks) -> [u64; 2] {
    let mut sums = [0; 2];
    for hook in hooks.report().hooks {
        let of = |outcome: Outcome| hook.outcomes.get(outcome as usize).copied();
        let failed = [
            Outcome::Retried,
            Outcome::Superseded,
            Outcome::Refused,
            Outcome::GaveUp,
        ];
        sums[0] += of(Outcome::Delivered).unwrap_or_default();
        sums[1] += failed.into_iter().filter_map(of).sum::<u64>();
    }
    sums
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of more than 2^53 is none"
)]
fn whole(count: u64) -> f64 {
    count as f64
}

/// Minimum interval between rows. The timer that polls the shards fires every two seconds, but may be late.
const ROW_EVERY: Duration = Duration::from_millis(1900);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::EdgeCounts;
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
    fn a_row_has_the_counts_since_the_one_before() {
        let start = Instant::now();
        let store = HistoryStore::open(None).unwrap();
        let mut history = History::new(1, start, store.clone());
        for number in 1..=3 {
            let now = start + Duration::from_secs(2 * number);
            history.close(now - Duration::from_secs(1));
            history.note(scraped(0, number * 100, number * 500_000));
            history.close(now);
        }
        store.settle();
        let hour = store.hour();
        for (column, numbers) in [
            ("messagesPerSecond", value!([50.0, 50.0, 50.0])),
            ("refusedPerSecond", value!([1.0, 1.0, 1.0])),
            ("viewers", value!([7.0, 7.0, 7.0])),
            ("setupP50Ms", value!([null, null, null])),
        ] {
            assert_eq!(hour[column], numbers, "{column}");
        }
        assert_eq!(hour["t"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn every_check_is_in_a_group_of_refusals() {
        let of = |group| {
            Check::ALL
                .iter()
                .filter(move |check| group_of(**check) == group)
        };
        let ids: Vec<_> = of(0).map(|check| check.id()).collect();
        assert!(
            ids.contains(&"unknown_key") && ids.contains(&"thing_certificate"),
            "{ids:?}"
        );
        assert!(!ids.iter().any(|id| id.starts_with("tls_")), "{ids:?}");
        assert_eq!(
            of(2)
                .map(|check| check.id())
                .filter(|id| !id.starts_with("rate_"))
                .count(),
            0
        );
        assert_eq!(of(1).count(), 5);
    }
}
