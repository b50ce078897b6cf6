//! The metrics as tables: the sums of the shards' counters here, what is of the process as a whole in `process`.
//!
//! Every series exists from the first scrape on, at 0; label values come from closed sets, never from the wire.

mod process;

use super::exposition::{self, Exposition, Format, Row, Samples, seconds};
use crate::edge::{AcceptErrors, EdgeCounts, Handshakes, Scraped};
use broker_core::event::{
    AuthFailure, ConnectionRole, Kind, LARGE_FRAMES, Outcome, Requested, STATUS, UpgradeOutcome,
    UpgradeRole,
};
use broker_core::journal::EndReason;
use broker_core::shard::Snapshot;

pub(super) use process::COMMIT;
pub use process::{BUDGETS, ProcessState};

/// The state of the whole process at one scrape.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each shard's answer, in any order.
    pub shards: Vec<Scraped<Snapshot>>,
    /// Since the scrape before, or since the start: how much of its time each shard (in its order) did not wait.
    pub busy_ratios: Vec<f64>,
    /// What is not of a shard.
    pub process: ProcessState,
}

impl Report {
    /// The metrics text.
    pub(super) fn text(self, format: Format) -> String {
        let mut sum = Snapshot::default();
        for shard in &self.shards {
            sum.add(&shard.snapshot);
        }
        let process = self.process;
        let mut text = Exposition::new(format);
        text.table(METRICS, &View { report: self, sum });
        text.table(process::METRICS, &process);
        text.finish()
    }
}

/// What rows are read off.
struct View {
    report: Report,
    /// Of all shards.
    sum: Snapshot,
}

impl View {
    /// The sum of a count of the shards' edges.
    fn edge(&self, count: impl Fn(&EdgeCounts) -> u64) -> u64 {
        let shards = self.report.shards.iter();
        shards.map(|shard| count(&shard.edge)).sum()
    }

    /// The largest figure of any shard's edge.
    fn most(&self, figure: fn(&EdgeCounts) -> u64) -> u64 {
        let shards = self.report.shards.iter();
        shards.map(|shard| figure(&shard.edge)).max().unwrap_or(0)
    }
}

/// Every metric of the shards, in the order of the text.
const METRICS: &[Row<View>] = &[
    Row {
        name: "heliograph_connections",
        help: "Connections by role",
        kind: exposition::Kind::Gauge,
        read: |it, to| labelled(to, "role", ConnectionRole::LABELS, &it.sum.connections),
    },
    Row {
        name: "heliograph_channels",
        help: "Channels by state",
        kind: exposition::Kind::Gauge,
        read: |it, to| {
            let active = it.sum.channels.saturating_sub(it.sum.deleting);
            labelled(
                to,
                "state",
                &["active", "deleting"],
                &[active, it.sum.deleting],
            );
        },
    },
    Row {
        name: "heliograph_timer_entries",
        help: "Entries of the timer wheels: never more than connections and channels",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.timers),
    },
    Row {
        name: "heliograph_messages_received_total",
        help: "Messages taken in by action",
        kind: exposition::Kind::Counter,
        read: |it, to| labelled(to, "action", &Kind::LABELS, &it.sum.counters.received),
    },
    Row {
        name: "heliograph_messages_total",
        help: "Messages by action and what became of them",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let names = [("action", &Kind::LABELS[..]), ("outcome", Outcome::LABELS)];
            crossed(to, names, &it.sum.counters.outcomes);
        },
    },
    Row {
        name: "heliograph_pending_messages",
        help: "Messages kept for recipients that are not connected",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.counters.pending_messages),
    },
    Row {
        name: "heliograph_pending_bytes",
        help: "Bytes of messages kept",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.counters.pending_bytes),
    },
    Row {
        name: "heliograph_outbox_messages",
        help: "Messages that wait for a socket",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.counters.outbox_messages),
    },
    Row {
        name: "heliograph_outbox_bytes",
        help: "Bytes of messages that wait for a socket",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.counters.outbox_bytes),
    },
    Row {
        name: "heliograph_waiting_calls",
        help: "SendAlexaOfferToMaster calls that wait for an answer",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.counters.waiting_calls),
    },
    Row {
        name: "heliograph_waiting_call_places",
        help: "SendAlexaOfferToMaster calls of other shards that wait, or whose end was not confirmed yet",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.call_places),
    },
    Row {
        name: "heliograph_records_read_total",
        help: "Channel records looked at for pages of channels",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.sum.records_read),
    },
    Row {
        name: "heliograph_log_suppressed_total",
        help: "Refusals that were not logged because there were too many within a second",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.sum.counters.log_suppressed),
    },
    Row {
        name: "heliograph_audit_refused_total",
        help: "Changes refused because the log had no place for their audit line",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.sum.counters.audit_refused),
    },
    Row {
        name: "heliograph_upgrades_total",
        help: "Requests for a WebSocket by role and what became of them",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let names = [
                ("role", UpgradeRole::LABELS),
                ("outcome", UpgradeOutcome::LABELS),
            ];
            crossed(to, names, &it.sum.counters.upgrades);
        },
    },
    Row {
        name: "heliograph_http_requests_total",
        help: "HTTP requests by operation and the status of their answer",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let statuses = STATUS.map(|status| status.to_string());
            let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
            let names = [
                ("operation", &Requested::labels()[..]),
                ("status", &statuses),
            ];
            crossed(to, names, &it.sum.counters.requests);
        },
    },
    Row {
        name: "heliograph_auth_failures_total",
        help: "Callers that were not let in by reason",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let counts = &it.sum.counters.auth_failures;
            labelled(to, "reason", &AuthFailure::labels(), counts);
        },
    },
    Row {
        name: "heliograph_refusals_total",
        help: "Requests refused, by the check that they did not pass",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            for (check, count) in it.sum.counters.refusals.each() {
                to.labelled([("check", check.id())], count);
            }
        },
    },
    Row {
        name: "heliograph_connection_ends_total",
        help: "WebSocket connections that ended, by reason",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let counts = &it.sum.counters.connection_ends;
            labelled(to, "reason", EndReason::LABELS, counts);
        },
    },
    Row {
        name: "heliograph_large_frames_total",
        help: "Frames delivered that are longer than this many bytes, which old C SDK builds cannot hold",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let bounds = LARGE_FRAMES.map(|over| over.to_string());
            let bounds: Vec<&str> = bounds.iter().map(String::as_str).collect();
            labelled(to, "over", &bounds, &it.sum.counters.large_frames);
        },
    },
    Row {
        name: "heliograph_delivery_seconds",
        help: "From the read of a message to its last byte's being handed to the kernel; messages that were kept are \
               not in it",
        kind: exposition::Kind::Histogram,
        read: |it, to| to.histogram(&it.sum.counters.delivery),
    },
    Row {
        name: "heliograph_session_setup_seconds",
        help: "From a viewer's admission to the delivery of its first SDP_ANSWER",
        kind: exposition::Kind::Histogram,
        read: |it, to| to.histogram(&it.sum.counters.session_setup),
    },
    Row {
        name: "heliograph_control_bytes",
        help: "Bytes of control frames and HTTP answers that wait for a socket",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.counters.control_bytes),
    },
    Row {
        name: "heliograph_request_bytes",
        help: "Bytes of unfinished or waiting requests and of answers not taken, as limits.request_bytes bounds them",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.request_bytes),
    },
    Row {
        name: "heliograph_request_bytes_refused_total",
        help: "HTTP connections refused or cut off since their address held most of limits.request_bytes",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.sum.requests_refused),
    },
    Row {
        name: "heliograph_handovers_total",
        help: "Connections handed to their home shard",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.edge(|edge| edge.handovers)),
    },
    Row {
        name: "heliograph_mailbox_refused_total",
        help: "Letters that found a mailbox full",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.edge(|edge| edge.mailbox_refused)),
    },
    Row {
        name: "heliograph_tls_handshakes_total",
        help: "TLS handshakes by outcome",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let one = |read: fn(&Handshakes) -> u64| it.edge(|edge| read(&edge.handshakes));
            let counts = [
                one(|it| it.full),
                one(|it| it.resumed),
                one(|it| it.failed),
                one(|it| it.timeout),
            ];
            labelled(
                to,
                "outcome",
                &["full", "resumed", "failed", "timeout"],
                &counts,
            );
        },
    },
    Row {
        name: "heliograph_accept_errors_total",
        help: "Connections not served by reason",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let one = |read: fn(&AcceptErrors) -> u64| it.edge(|edge| read(&edge.accept_errors));
            let counts = [
                one(|it| it.fd_limit),
                one(|it| it.memory),
                one(|it| it.limit),
                one(|it| it.other),
            ];
            labelled(
                to,
                "reason",
                &["fd_limit", "memory", "limit", "other"],
                &counts,
            );
        },
    },
    Row {
        name: "heliograph_connections_cut_total",
        help: "Connections cut off: to make room for others, or for an unfinished TLS record or a move to another \
               shard that took too long",
        kind: exposition::Kind::Counter,
        read: |it, to| {
            let counts = [it.edge(|edge| edge.evicted), it.edge(|edge| edge.overdue)];
            labelled(to, "reason", &["evicted", "overdue"], &counts);
        },
    },
    Row {
        name: "heliograph_accepted_total",
        help: "Connections accepted",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.edge(|edge| edge.accepted)),
    },
    Row {
        name: "heliograph_receives_total",
        help: "Receives that brought bytes",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.edge(|edge| edge.receives)),
    },
    Row {
        name: "heliograph_received_bytes_total",
        help: "Bytes received from sockets",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.edge(|edge| edge.received_bytes)),
    },
    Row {
        name: "heliograph_sends_total",
        help: "Calls of send",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.edge(|edge| edge.sends)),
    },
    Row {
        name: "heliograph_sent_bytes_total",
        help: "Bytes handed to sockets",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.edge(|edge| edge.sent_bytes)),
    },
    Row {
        name: "heliograph_turn_seconds",
        help: "The longest turn of any shard",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(seconds(it.most(|edge| edge.longest_turn_us))),
    },
    Row {
        name: "heliograph_turn_frames",
        help: "The most WebSocket frames that a shard took in by one turn",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.most(|edge| edge.most_items)),
    },
    Row {
        name: "heliograph_shard_busy_ratio",
        help: "Part of the time since the scrape before that a shard did not wait",
        kind: exposition::Kind::Gauge,
        read: |it, to| {
            for (shard, ratio) in it.report.busy_ratios.iter().enumerate() {
                to.labelled([("shard", &shard.to_string())], *ratio);
            }
        },
    },
];

/// A sample for each label.
fn labelled(to: &mut Samples<'_>, name: &str, labels: &[&str], counts: &[u64]) {
    for (label, count) in labels.iter().zip(counts) {
        to.labelled([(name, label)], *count);
    }
}

/// A sample for each pair of labels.
fn crossed<const N: usize>(
    to: &mut Samples<'_>,
    [(row_name, row_labels), (name, labels)]: [(&str, &[&str]); 2],
    counts: &[[u64; N]],
) {
    for (row_label, row) in row_labels.iter().zip(counts) {
        for (label, count) in labels.iter().zip(row) {
            to.labelled([(row_name, row_label), (name, label)], *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::Status;
    use super::*;
    use broker_core::id::ShardId;
    use codec::aws::sigv4::Reason;

    fn report() -> Report {
        let scraped = |shard| Scraped {
            shard: ShardId(shard),
            snapshot: Snapshot::default(),
            edge: EdgeCounts::default(),
        };
        Report {
            shards: vec![scraped(0), scraped(1)],
            busy_ratios: vec![0.25, 0.0],
            process: ProcessState {
                tls_not_after: 1_800_000_000,
                profile: "strict",
                started: 1_700_000_000,
                status: Status::Draining,
                budgets: [1, 2, 3],
                ..ProcessState::default()
            },
        }
    }

    #[test]
    fn every_series_exists_at_zero() {
        let text = report().text(Format::Text);
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
            "heliograph_status{status=\"draining\"} 1",
            "heliograph_status{status=\"starting\"} 0",
            "heliograph_status{status=\"ok\"} 0",
            "heliograph_status{status=\"store_failed\"} 0",
            "heliograph_budget_bytes{budget=\"outbox\"} 1",
            "heliograph_budget_bytes{budget=\"pending\"} 2",
            "heliograph_budget_bytes{budget=\"requests\"} 3",
            "heliograph_data_dir_free_bytes NaN",
            "process_start_time_seconds 1700000000",
            "heliograph_connection_ends_total{reason=\"protocol_error\"} 0",
            "heliograph_connection_ends_total{reason=\"slow_consumer\"} 0",
        ] {
            assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
        }
    }

    #[test]
    fn the_process_is_described() {
        let text = report().text(Format::Text);
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
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
        let text = report.text(Format::Text);
        for series in [
            "heliograph_connections{role=\"handshake\"} 6",
            "heliograph_messages_received_total{action=\"SDP_ANSWER\"} 10",
            "heliograph_handovers_total 14",
            "heliograph_turn_seconds 0.0015",
        ] {
            assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
        }
    }

    fn text_of(snapshot: Snapshot) -> String {
        let mut report = report();
        report.shards[0].snapshot = snapshot;
        report.text(Format::Text)
    }

    fn has(text: &str, series: &str) {
        assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
    }

    #[test]
    fn every_series_about_clients_exists_at_zero() {
        let text = text_of(Snapshot::default());
        for role in ["master", "viewer"] {
            for outcome in [
                "accepted",
                "invalid",
                "unauthenticated",
                "forbidden",
                "not_found",
                "limited",
                "unavailable",
            ] {
                let labels = format!("role=\"{role}\",outcome=\"{outcome}\"");
                has(&text, &format!("heliograph_upgrades_total{{{labels}}} 0"));
            }
        }
        for operation in ["CreateSignalingChannel", "GetCallerIdentity", "unknown"] {
            for status in [
                200, 400, 401, 403, 404, 405, 408, 411, 413, 426, 431, 500, 503,
            ] {
                let labels = format!("operation=\"{operation}\",status=\"{status}\"");
                has(
                    &text,
                    &format!("heliograph_http_requests_total{{{labels}}} 0"),
                );
            }
        }
        for reason in [
            "missing",
            "malformed",
            "expired",
            "early",
            "scope",
            "unknown_key",
            "token",
            "mismatch",
            "policy",
        ] {
            let labels = format!("reason=\"{reason}\"");
            has(
                &text,
                &format!("heliograph_auth_failures_total{{{labels}}} 0"),
            );
        }
        for series in [
            "heliograph_large_frames_total{over=\"10240\"} 0",
            "heliograph_large_frames_total{over=\"18750\"} 0",
            "heliograph_delivery_seconds_count 0",
            "heliograph_delivery_seconds_bucket{le=\"0.000016\"} 0",
            "heliograph_session_setup_seconds_bucket{le=\"+Inf\"} 0",
            "heliograph_log_suppressed_total 0",
            "heliograph_refusals_total{check=\"http_malformed\"} 0",
            "heliograph_refusals_total{check=\"internal_failure\"} 0",
        ] {
            has(&text, series);
        }
    }

    #[test]
    fn counters_have_their_labels() {
        let mut snapshot = Snapshot::default();
        let counters = &mut snapshot.counters;
        counters.upgrade(UpgradeRole::Viewer, UpgradeOutcome::NotFound);
        counters.request(Requested::Unknown, 404);
        counters.auth_failure(AuthFailure::Signature(Reason::UnknownKey));
        counters.frame(12_000);
        counters.delivery.observe(16, 1);
        counters.delivery.observe(17, 2);
        counters.session_setup.observe(80_000_000, 1);
        let text = text_of(snapshot);
        for series in [
            "heliograph_upgrades_total{role=\"viewer\",outcome=\"not_found\"} 1",
            "heliograph_http_requests_total{operation=\"unknown\",status=\"404\"} 1",
            "heliograph_auth_failures_total{reason=\"unknown_key\"} 1",
            "heliograph_large_frames_total{over=\"10240\"} 1",
            "heliograph_large_frames_total{over=\"18750\"} 0",
            "heliograph_delivery_seconds_sum 0.00005",
            "heliograph_delivery_seconds_bucket{le=\"0.000016\"} 1",
            "heliograph_delivery_seconds_bucket{le=\"0.000032\"} 3",
            "heliograph_delivery_seconds_bucket{le=\"+Inf\"} 3",
            "heliograph_session_setup_seconds_bucket{le=\"67.108864\"} 0",
            "heliograph_session_setup_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            has(&text, series);
        }
    }

    #[test]
    fn the_build_is_described() {
        let text = report().text(Format::OpenMetrics);
        let line = text
            .lines()
            .find(|line| line.starts_with("heliograph_build_info{"));
        let line = line.expect("the metric");
        let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\",commit=\"");
        assert!(line.contains(version), "{line}");
        assert!(line.ends_with("\",profile=\"strict\"} 1"), "{line}");
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::BTreeSet::new();
        let shards = METRICS.iter().map(|row| (row.name, row.help, row.kind));
        let process = process::METRICS.iter();
        let process = process.map(|row| (row.name, row.help, row.kind));
        for (name, help, kind) in shards.chain(process) {
            assert!(seen.insert(name), "{name} twice");
            let total = name.ends_with("_total");
            assert_eq!(total, kind == exposition::Kind::Counter, "{name}");
            let known = name.starts_with("heliograph_") || name.starts_with("process_");
            assert!(known && !help.ends_with('.'), "{name}");
        }
    }
}
