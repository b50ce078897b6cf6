//! The metrics of the shards' machines: the sums of their snapshots.

use crate::side::metrics::exposition::{
    Example, Row, Samples, View, counter, crossed, gauge, histogram, labelled, seconds,
};
use broker_core::event::{
    AuthFailure, ConnectionRole, Kind, LARGE_FRAMES, Outcome, ROLES, Requested, STATUS,
    SessionOutcome, UpgradeOutcome, UpgradeRole, sign_ins,
};
use broker_core::journal::{EndReason, Unaccepted};
use broker_core::shard::Usage;

impl View {
    fn of_accounts(&self, figure: fn(&Usage) -> u64, to: &mut Samples<'_>) {
        for (account, usage) in self.sum.accounts.rows() {
            let account = account.map_or_else(|| "others".into(), |account| account.to_string());
            to.labelled([("account", &*account)], figure(&usage));
        }
    }

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
pub(crate) const METRICS: &[Row<View>] = &[
    gauge("heliograph_connections", "Connections by role", |it, to| {
        labelled(to, "role", ConnectionRole::LABELS, &it.sum.connections)
    }),
    gauge(
        "heliograph_account_connections",
        "WebSocket connections by account of the credentials file, at most 20; those of others together",
        |it, to| it.of_accounts(|usage| usage.connections, to),
    ),
    gauge(
        "heliograph_account_queued_bytes",
        "Bytes of messages kept by account of the credentials file, at most 20; those of others together",
        |it, to| it.of_accounts(|usage| usage.queued_bytes, to),
    ),
    gauge("heliograph_channels", "Channels by state", |it, to| {
        let active = it.sum.channels.saturating_sub(it.sum.deleting);
        labelled(
            to,
            "state",
            &["active", "deleting"],
            &[active, it.sum.deleting],
        );
    }),
    gauge(
        "heliograph_timer_entries",
        "Entries of the timer wheels: never more than connections and channels",
        |it, to| to.one(it.sum.timers),
    ),
    counter(
        "heliograph_messages_received_total",
        "Messages taken in by action",
        |it, to| labelled(to, "action", &Kind::LABELS, &it.sum.counters.received),
    ),
    counter(
        "heliograph_messages_total",
        "Messages by action and what became of them",
        |it, to| {
            let names = [("action", &Kind::LABELS[..]), ("outcome", Outcome::LABELS)];
            crossed(to, names, &it.sum.counters.outcomes);
        },
    ),
    counter(
        "heliograph_messages_unaccepted_total",
        "Messages that were not accepted, by outcome and reason",
        |it, to| {
            let counts = Unaccepted::ALL.iter().zip(it.sum.counters.unaccepted);
            for (reason, count) in counts {
                let labels = [
                    ("outcome", Outcome::of(*reason).label()),
                    ("reason", reason.label()),
                ];
                to.labelled(labels, count);
            }
        },
    ),
    gauge(
        "heliograph_pending_messages",
        "Messages kept for recipients that are not connected",
        |it, to| to.one(it.sum.counters.pending_messages),
    ),
    gauge(
        "heliograph_pending_bytes",
        "Bytes of messages kept",
        |it, to| to.one(it.sum.counters.pending_bytes),
    ),
    gauge(
        "heliograph_outbox_messages",
        "Messages that wait for a socket",
        |it, to| to.one(it.sum.counters.outbox_messages),
    ),
    gauge(
        "heliograph_outbox_bytes",
        "Bytes of messages that wait for a socket",
        |it, to| to.one(it.sum.counters.outbox_bytes),
    ),
    gauge(
        "heliograph_written_messages",
        "Messages that were sent, and that their recipients have not confirmed",
        |it, to| to.one(it.sum.counters.written_messages),
    ),
    gauge(
        "heliograph_unconfirmed_bytes",
        "Bytes of messages that were sent and are not confirmed",
        |it, to| to.one(it.sum.counters.unconfirmed_bytes),
    ),
    gauge(
        "heliograph_doubtful",
        "Connections that have not confirmed a message for longer than [presence] doubt",
        |it, to| to.one(it.sum.doubtful),
    ),
    counter(
        "heliograph_returned_total",
        "Messages that were sent, not confirmed, and kept again for the recipient's next connection",
        |it, to| to.one(it.sum.counters.returned),
    ),
    counter(
        "heliograph_repeated_total",
        "Messages among these that the former connection confirmed all the same",
        |it, to| to.one(it.sum.counters.repeated),
    ),
    gauge(
        "heliograph_waiting_calls",
        "SendAlexaOfferToMaster calls that wait for an answer",
        |it, to| to.one(it.sum.counters.waiting_calls),
    ),
    gauge(
        "heliograph_waiting_call_places",
        "SendAlexaOfferToMaster calls of other shards that wait, or whose end was not confirmed yet",
        |it, to| to.one(it.sum.call_places),
    ),
    gauge(
        "heliograph_waiting_devices",
        "Devices that wait with GET /wake until somebody waits for them",
        |it, to| to.one(it.sum.waiting_devices),
    ),
    counter(
        "heliograph_records_read_total",
        "Channel records looked at for pages of channels",
        |it, to| to.one(it.sum.records_read),
    ),
    counter(
        "heliograph_policy_steps_total",
        "Steps of matching patterns of policies, each of up to 64 places of a text",
        |it, to| to.one(it.sum.counters.policy_steps),
    ),
    counter(
        "heliograph_signature_bytes_total",
        "Bytes of canonical requests and bodies hashed to check signatures",
        |it, to| to.one(it.sum.counters.hashed_bytes),
    ),
    counter(
        "heliograph_log_suppressed_total",
        "Refusals that were not logged because there were too many within a second",
        |it, to| to.one(it.sum.counters.log_suppressed),
    ),
    counter(
        "heliograph_audit_refused_total",
        "Changes refused because the log had no place for their audit line",
        |it, to| to.one(it.sum.counters.audit_refused),
    ),
    counter(
        "heliograph_upgrades_total",
        "Requests for a WebSocket by role and what became of them",
        |it, to| {
            let names = [
                ("role", UpgradeRole::LABELS),
                ("outcome", UpgradeOutcome::LABELS),
            ];
            crossed(to, names, &it.sum.counters.upgrades);
        },
    ),
    counter(
        "heliograph_http_requests_total",
        "HTTP requests by operation and the status of their answer",
        |it, to| {
            let statuses = STATUS.map(|status| status.to_string());
            let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
            let names = [
                ("operation", &Requested::labels()[..]),
                ("status", &statuses),
            ];
            crossed(to, names, &it.sum.counters.requests);
        },
    ),
    counter(
        "heliograph_auth_failures_total",
        "Callers that were not let in by reason",
        |it, to| {
            let counts = &it.sum.counters.auth_failures;
            labelled(to, "reason", &AuthFailure::labels(), counts);
        },
    ),
    counter(
        "heliograph_signins_total",
        "Requests for temporary credentials by the kind of sign-in and what became of them",
        |it, to| {
            for (kind, [ok, refused]) in sign_ins(&it.sum.counters.requests) {
                to.labelled([("kind", kind), ("outcome", "ok")], ok);
                to.labelled([("kind", kind), ("outcome", "refused")], refused);
            }
        },
    ),
    counter(
        "heliograph_refusals_total",
        "Requests refused, by the check that they did not pass",
        |it, to| {
            for (check, count) in it.sum.counters.refusals.each() {
                to.labelled([("check", check.id())], count);
            }
        },
    ),
    counter(
        "heliograph_connection_ends_total",
        "WebSocket connections that ended, by reason",
        |it, to| {
            let counts = &it.sum.counters.connection_ends;
            labelled(to, "reason", EndReason::LABELS, counts);
        },
    ),
    counter(
        "heliograph_viewer_sessions_total",
        "Connections of viewers that ended: answered or not, without an offer, or ended by the broker before an answer",
        |it, to| {
            let counts = &it.sum.counters.sessions.outcomes;
            labelled(to, "outcome", SessionOutcome::LABELS, counts);
        },
    ),
    counter(
        "heliograph_superseded_total",
        "Connections whose place a newer one of the same role and client id took",
        |it, to| labelled(to, "role", &ROLES, &it.sum.counters.sessions.superseded),
    ),
    counter(
        "heliograph_short_connections_total",
        "WebSocket connections that ended within ten seconds of their admission",
        |it, to| labelled(to, "role", &ROLES, &it.sum.counters.sessions.short),
    ),
    counter(
        "heliograph_large_frames_total",
        "Frames delivered that are longer than this many bytes, which old C SDK builds cannot hold",
        |it, to| {
            let bounds = LARGE_FRAMES.map(|over| over.to_string());
            let bounds: Vec<&str> = bounds.iter().map(String::as_str).collect();
            labelled(to, "over", &bounds, &it.sum.counters.large_frames);
        },
    ),
    histogram(
        "heliograph_delivery_seconds",
        "From the read of a message to its last byte's being handed to the kernel; messages that were kept are \
               not in it",
        |it, to| to.histogram(&it.sum.counters.delivery),
    ),
    histogram(
        "heliograph_session_setup_seconds",
        "From a viewer's admission to the delivery of its first SDP_ANSWER",
        |it, to| {
            let setup = &it.sum.counters.session_setup;
            to.histogram_with(setup, |octave| it.slow_setup(octave));
        },
    ),
    gauge(
        "heliograph_recorder_reach_seconds",
        "How far back the notes of each shard's flight recorder reach; 0 when nothing is recorded",
        |it, to| {
            for shard in &it.shards {
                let since = shard.snapshot.recorded_since_us;
                let reach = since.map_or(0, |since| shard.edge.clock_us.saturating_sub(since));
                let name = shard.shard.0.to_string();
                to.labelled([("shard", &*name)], seconds(reach));
            }
        },
    ),
    gauge(
        "heliograph_control_bytes",
        "Bytes of control frames and HTTP answers that wait for a socket",
        |it, to| to.one(it.sum.counters.control_bytes),
    ),
    gauge(
        "heliograph_request_bytes",
        "Bytes of unfinished or waiting requests and of answers not taken, as limits.request_bytes bounds them",
        |it, to| to.one(it.sum.request_bytes),
    ),
    counter(
        "heliograph_request_bytes_refused_total",
        "HTTP connections refused or cut off since their address held most of limits.request_bytes",
        |it, to| to.one(it.sum.requests_refused),
    ),
    gauge(
        "heliograph_record_bytes",
        "Bytes of memory that the records of channels take, as limits.record_bytes_total bounds them",
        |it, to| to.one(it.sum.record_bytes),
    ),
    gauge(
        "heliograph_cluster_parked",
        "Requests that wait for a node that has their channel",
        |it, to| to.one(it.sum.parked),
    ),
];
