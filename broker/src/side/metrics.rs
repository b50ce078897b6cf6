//! The text of `/metrics`: the sums of the shards' counters, and the system's figures of the process.
//!
//! Every series exists from the first scrape on, at 0; label values come from closed sets, never from the wire.

use super::process::cpu_time;
use crate::edge::{EdgeCounts, Scraped};
use broker_core::event::{Kind, Outcome, Place};
use broker_core::shard::Snapshot;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// The type of the text: what prometheus-client writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The state of the whole process at one scrape.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each shard's answer, in any order.
    pub shards: Vec<Scraped<Snapshot>>,
    /// Since the scrape before, or since the start: how much of its time each shard (in its order) did not wait.
    pub busy_ratios: Vec<f64>,
    /// When the first certificate that is presented ends, in seconds since 1970; 0 without TLS.
    pub tls_not_after: u64,
    /// Lines and entries that found the log's queue full.
    pub log_dropped: u64,
}

impl Report {
    /// The metrics text.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut to = String::new();
        text::encode(&mut to, &registry)?;
        Ok(to)
    }
}

impl Collector for Report {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sum = Snapshot::default();
        self.shards
            .iter()
            .for_each(|shard| sum.add(&shard.snapshot));
        let mut page = Page(encoder);
        page.connections(&sum)?;
        page.messages(&sum)?;
        page.access(&sum.counters)?;
        page.durations(&sum.counters)?;
        page.requests_held(&sum)?;
        page.edge(&self.shards)?;
        page.sockets(&self.shards)?;
        page.busy(&self.busy_ratios)?;
        page.gauge(
            "heliograph_tls_not_after_seconds",
            "When the first certificate that is presented ends, in seconds since 1970; 0 without TLS",
            self.tls_not_after,
        )?;
        page.counter(
            "heliograph_log_dropped",
            "Lines that were not logged because stderr was too slow",
            self.log_dropped,
        )?;
        page.process()
    }
}

/// The text under way.
pub(super) struct Page<'e>(pub(super) DescriptorEncoder<'e>);

type Label<'l> = [(&'l str, &'l str); 1];

impl Page<'_> {
    fn connections(&mut self, sum: &Snapshot) -> fmt::Result {
        let roles = Place::LABELS
            .iter()
            .zip(sum.connections)
            .map(|(role, count)| ([("role", *role)], count));
        self.gauges("heliograph_connections", "Connections by role", roles)?;
        let states = [
            (
                [("state", "active")],
                sum.channels.saturating_sub(sum.deleting),
            ),
            ([("state", "deleting")], sum.deleting),
        ];
        self.gauges(
            "heliograph_channels",
            "Channels by state",
            states.into_iter(),
        )?;
        self.gauge(
            "heliograph_timer_entries",
            "Entries of the timer wheels: never more than connections and channels",
            sum.timers,
        )
    }

    fn messages(&mut self, sum: &Snapshot) -> fmt::Result {
        let counters = &sum.counters;
        let received = Kind::LABELS
            .iter()
            .zip(counters.received)
            .map(|(action, count)| ([("action", *action)], count));
        self.counters(
            "heliograph_messages_received",
            "Messages taken in by action",
            received,
        )?;
        let rows = Kind::LABELS.iter().zip(&counters.outcomes);
        let cells = rows.flat_map(|(action, row)| {
            Outcome::LABELS
                .iter()
                .zip(row)
                .map(|(outcome, count)| ([("action", *action), ("outcome", *outcome)], *count))
        });
        self.counters(
            "heliograph_messages",
            "Messages by action and what became of them",
            cells,
        )?;
        self.gauge(
            "heliograph_pending_messages",
            "Messages kept for recipients that are not connected",
            counters.pending_messages,
        )?;
        self.gauge(
            "heliograph_pending_bytes",
            "Bytes of messages kept",
            counters.pending_bytes,
        )?;
        self.gauge(
            "heliograph_outbox_messages",
            "Messages that wait for a socket",
            counters.outbox_messages,
        )?;
        self.gauge(
            "heliograph_outbox_bytes",
            "Bytes of messages that wait for a socket",
            counters.outbox_bytes,
        )?;
        self.gauge(
            "heliograph_waiting_calls",
            "SendAlexaOfferToMaster calls that wait for an answer",
            counters.waiting_calls,
        )?;
        self.gauge(
            "heliograph_waiting_call_places",
            "SendAlexaOfferToMaster calls of other shards that wait, or whose end was not confirmed yet",
            sum.call_places,
        )?;
        self.counter(
            "heliograph_records_read",
            "Channel records looked at for pages of channels",
            sum.records_read,
        )?;
        self.counter(
            "heliograph_log_suppressed",
            "Refusals that were not logged because there were too many within a second",
            counters.log_suppressed,
        )?;
        self.counter(
            "heliograph_audit_refused",
            "Changes refused because the log had no place for their audit line",
            counters.audit_refused,
        )
    }

    fn requests_held(&mut self, sum: &Snapshot) -> fmt::Result {
        self.gauge(
            "heliograph_control_bytes",
            "Bytes of control frames and HTTP answers that wait for a socket",
            sum.counters.control_bytes,
        )?;
        self.gauge(
            "heliograph_request_bytes",
            "Bytes of unfinished or waiting requests and of answers not taken, as limits.request_bytes bounds them",
            sum.request_bytes,
        )?;
        self.counter(
            "heliograph_request_bytes_refused",
            "HTTP connections refused or cut off since their address held most of limits.request_bytes",
            sum.requests_refused,
        )
    }

    fn edge(&mut self, shards: &[Scraped<Snapshot>]) -> fmt::Result {
        let sum = |count: fn(&EdgeCounts) -> u64| {
            shards.iter().map(|shard| count(&shard.edge)).sum::<u64>()
        };
        self.counter(
            "heliograph_handovers",
            "Connections handed to their home shard",
            sum(|edge| edge.handovers),
        )?;
        let refused = sum(|edge| edge.mailbox_refused);
        self.counter(
            "heliograph_mailbox_refused",
            "Letters that found a mailbox full",
            refused,
        )?;
        let handshakes = [
            ([("outcome", "full")], sum(|edge| edge.handshakes.full)),
            (
                [("outcome", "resumed")],
                sum(|edge| edge.handshakes.resumed),
            ),
            ([("outcome", "failed")], sum(|edge| edge.handshakes.failed)),
            (
                [("outcome", "timeout")],
                sum(|edge| edge.handshakes.timeout),
            ),
        ];
        self.counters(
            "heliograph_tls_handshakes",
            "TLS handshakes by outcome",
            handshakes.into_iter(),
        )?;
        let errors = [
            (
                [("reason", "fd_limit")],
                sum(|edge| edge.accept_errors.fd_limit),
            ),
            (
                [("reason", "memory")],
                sum(|edge| edge.accept_errors.memory),
            ),
            ([("reason", "limit")], sum(|edge| edge.accept_errors.limit)),
            ([("reason", "other")], sum(|edge| edge.accept_errors.other)),
        ];
        self.counters(
            "heliograph_accept_errors",
            "Connections not served by reason",
            errors.into_iter(),
        )?;
        let ended = [
            ([("reason", "evicted")], sum(|edge| edge.evicted)),
            ([("reason", "overdue")], sum(|edge| edge.overdue)),
        ];
        self.counters(
            "heliograph_connections_cut",
            "Connections cut off: to make room for others, or for an unfinished TLS record or a move to another shard \
             that took too long",
            ended.into_iter(),
        )
    }

    fn sockets(&mut self, shards: &[Scraped<Snapshot>]) -> fmt::Result {
        let sum = |count: fn(&EdgeCounts) -> u64| {
            shards.iter().map(|shard| count(&shard.edge)).sum::<u64>()
        };
        let totals = [
            (
                "heliograph_accepted",
                "Connections accepted",
                sum(|edge| edge.accepted),
            ),
            (
                "heliograph_receives",
                "Receives that brought bytes",
                sum(|edge| edge.receives),
            ),
            (
                "heliograph_received_bytes",
                "Bytes received from sockets",
                sum(|edge| edge.received_bytes),
            ),
            ("heliograph_sends", "Calls of send", sum(|edge| edge.sends)),
            (
                "heliograph_sent_bytes",
                "Bytes handed to sockets",
                sum(|edge| edge.sent_bytes),
            ),
        ];
        for (name, help, count) in totals {
            self.counter(name, help, count)?;
        }
        let longest = shards
            .iter()
            .map(|shard| shard.edge.longest_turn_us)
            .max()
            .unwrap_or(0);
        self.gauge_f64(
            "heliograph_turn_seconds",
            "The longest turn of any shard",
            seconds(longest),
        )?;
        let items = shards.iter().map(|shard| shard.edge.most_items);
        self.gauge(
            "heliograph_turn_frames",
            "The most WebSocket frames that a shard took in by one turn",
            items.max().unwrap_or(0),
        )
    }

    fn busy(&mut self, ratios: &[f64]) -> fmt::Result {
        let kind = ConstGauge::new(0.0_f64).metric_type();
        let help = "Part of the time since the scrape before that a shard did not wait";
        let mut encoder =
            self.0
                .encode_descriptor("heliograph_shard_busy_ratio", help, None, kind)?;
        for (shard, ratio) in ratios.iter().enumerate() {
            let label = shard.to_string();
            let labels: Label<'_> = [("shard", &label)];
            ConstGauge::new(*ratio).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn process(&mut self) -> fmt::Result {
        let cpu = ConstCounter::new(cpu_time().as_secs_f64());
        let help = "Processor time used, user and system";
        cpu.encode(self.0.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            cpu.metric_type(),
        )?)?;
        self.gauge(
            "process_resident_memory_bytes",
            "Memory in use",
            resident_bytes(),
        )?;
        self.gauge("process_open_fds", "Open descriptors", open_descriptors())
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let counter = ConstCounter::new(count);
        counter.encode(
            self.0
                .encode_descriptor(name, help, None, counter.metric_type())?,
        )
    }

    pub(super) fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, count) in series {
            ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(
            self.0
                .encode_descriptor(name, help, None, gauge.metric_type())?,
        )
    }

    fn gauge_f64(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(
            self.0
                .encode_descriptor(name, help, None, gauge.metric_type())?,
        )
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0_u64).metric_type();
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, count) in series {
            ConstGauge::new(count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds beyond 2^53 are centuries"
)]
pub(super) fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

/// From `/proc`, 0 without it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// From `/proc`, 0 without it; not counting the one that reads the list.
fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |list| (list.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::id::ShardId;

    fn report() -> Report {
        let scraped = |shard| Scraped {
            shard: ShardId(shard),
            snapshot: Snapshot::default(),
            edge: EdgeCounts::default(),
        };
        Report {
            shards: vec![scraped(0), scraped(1)],
            busy_ratios: vec![0.25, 0.0],
            tls_not_after: 1_800_000_000,
            log_dropped: 0,
        }
    }

    #[test]
    fn every_series_exists_at_zero() {
        let text = report().text().unwrap();
        for role in ["master", "viewer", "superseded", "http", "handshake"] {
            assert!(
                text.contains(&format!("\nheliograph_connections{{role=\"{role}\"}} 0\n")),
                "{role}: {text}"
            );
        }
        for action in ["SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE", "unknown"] {
            assert!(
                text.contains(&format!(
                    "\nheliograph_messages_received_total{{action=\"{action}\"}} 0\n"
                )),
                "{action}"
            );
            for outcome in [
                "delivered",
                "expired",
                "overwritten",
                "withdrawn",
                "refused",
                "throttled",
                "overflow",
                "evicted",
            ] {
                let series = format!(
                    "\nheliograph_messages_total{{action=\"{action}\",outcome=\"{outcome}\"}} 0\n"
                );
                assert!(text.contains(&series), "{series}: {text}");
            }
        }
        for series in [
            "heliograph_pending_messages 0",
            "heliograph_outbox_messages 0",
            "heliograph_outbox_bytes 0",
            "heliograph_control_bytes 0",
            "heliograph_channels{state=\"active\"} 0",
            "heliograph_channels{state=\"deleting\"} 0",
            "heliograph_timer_entries 0",
            "heliograph_handovers_total 0",
            "heliograph_log_dropped_total 0",
            "heliograph_mailbox_refused_total 0",
            "heliograph_tls_handshakes_total{outcome=\"resumed\"} 0",
            "heliograph_accept_errors_total{reason=\"fd_limit\"} 0",
            "heliograph_connections_cut_total{reason=\"evicted\"} 0",
            "heliograph_shard_busy_ratio{shard=\"0\"} 0.25",
            "heliograph_tls_not_after_seconds 1800000000",
        ] {
            assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
        }
    }

    #[test]
    fn the_process_is_described() {
        let text = report().text().unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
        ] {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")))
                .expect(name);
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0, "{line}");
        }
    }

    #[test]
    fn shards_are_added_up() {
        let mut report = report();
        for shard in &mut report.shards {
            shard.snapshot.connections[0] = 3;
            shard.snapshot.counters.received[1] = 5;
            shard.edge.handovers = 7;
        }
        report.shards[1].edge.longest_turn_us = 1_500;
        let text = report.text().unwrap();
        for series in [
            "heliograph_connections{role=\"handshake\"} 6",
            "heliograph_messages_received_total{action=\"SDP_ANSWER\"} 10",
            "heliograph_handovers_total 14",
            "heliograph_turn_seconds 0.0015",
        ] {
            assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
        }
    }
}
