//! The metrics of the shards' machines: the sums of their snapshots.

use super::exposition;
use super::exposition::{Example, Row, seconds};
use super::view::{View, crossed, labelled};
use broker_core::event::{
    AuthFailure, ConnectionRole, Kind, LARGE_FRAMES, Outcome, Requested, STATUS, UpgradeOutcome,
    UpgradeRole,
};
use broker_core::journal::EndReason;

impl View {
    /// The last session set-up of any shard in an octave above a second.
    fn slow_setup(&self, octave: usize) -> Option<Example> {
        let shards = self.shards.iter();
        let exemplars = shards.filter_map(|shard| {
            let exemplar = shard.snapshot.slow_setups.of_octave(octave)?;
            Some((exemplar, shard.shard))
        });
        let (exemplar, shard) = exemplars.max_by_key(|(exemplar, _)| exemplar.at_ms)?;
        Some(Example {
            labels: [
                ("shard", shard.0.to_string()),
                ("connection", exemplar.connection.to_string()),
            ],
            seconds: seconds(exemplar.ms.saturating_mul(1000)),
            at: seconds(exemplar.at_ms.saturating_mul(1000)),
        })
    }
}

/// Every metric of the machines, in the order of the text.
pub(super) const METRICS: &[Row<View>] = &[
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
        name: "heliograph_policy_steps_total",
        help: "Steps of matching patterns of policies, each of up to 64 places of a text",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.sum.counters.policy_steps),
    },
    Row {
        name: "heliograph_signature_bytes_total",
        help: "Bytes of canonical requests and bodies hashed to check signatures",
        kind: exposition::Kind::Counter,
        read: |it, to| to.one(it.sum.counters.hashed_bytes),
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
        read: |it, to| {
            let setup = &it.sum.counters.session_setup;
            to.histogram_with(setup, |octave| it.slow_setup(octave));
        },
    },
    Row {
        name: "heliograph_recorder_reach_seconds",
        help: "How far back the notes of each shard's flight recorder reach; 0 when nothing is recorded",
        kind: exposition::Kind::Gauge,
        read: |it, to| {
            for shard in &it.shards {
                let since = shard.snapshot.recorded_since_us;
                let reach = since.map_or(0, |since| shard.edge.clock_us.saturating_sub(since));
                let name = shard.shard.0.to_string();
                to.labelled([("shard", &*name)], seconds(reach));
            }
        },
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
        name: "heliograph_record_bytes",
        help: "Bytes of memory that the records of channels take, as limits.record_bytes_total bounds them",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.record_bytes),
    },
    Row {
        name: "heliograph_cluster_parked",
        help: "Requests that wait for a node that has their channel",
        kind: exposition::Kind::Gauge,
        read: |it, to| to.one(it.sum.parked),
    },
];
