//! Shard metrics. Most are sums over the snapshots of the shards' state machines. The others come from the edges, which
//! do the shards' I/O.

use crate::edge::{EdgeCounts, Scraped};
use crate::side::metrics::exposition::{Example, Kind, Row, Samples, metrics, seconds};
use broker_core::cluster::link::{LinkFigures, PeerLinks};
use broker_core::event::{
    self, AuthFailure, ConnectionRole, LARGE_FRAMES, Outcome, PlayerOutcome, ROLES, Requested,
    STATUS, SessionOutcome, UpgradeOutcome, sign_ins,
};
use broker_core::journal::{EndReason, Unaccepted};
use broker_core::machine::PassFailure;
use broker_core::shard::{Snapshot, Usage};
use strum::VariantNames;

pub(crate) struct MetricsView {
    pub(crate) shards: Vec<Scraped<Snapshot>>,
    /// The fraction of time that each shard was busy. Indexed by shard.
    pub(crate) busy_ratios: Vec<f64>,
    pub(crate) sum: Snapshot,
}

impl MetricsView {
    fn edges(&self, count: impl Fn(&EdgeCounts) -> u64) -> u64 {
        self.shards.iter().map(|shard| count(&shard.edge)).sum()
    }

    fn most(&self, figure: impl Fn(&EdgeCounts) -> u64) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| figure(&shard.edge)).max().unwrap_or(0)
    }

    fn links(&self) -> PeerLinks {
        let mut sum = PeerLinks::default();
        let links = self.shards.iter().flat_map(|shard| shard.links.values());
        links.for_each(|links| sum.add(links));
        sum
    }

    /// Writes one sample for the links opened by this node, and one for the links opened by other nodes.
    fn link_bytes(&self, figure: fn(&LinkFigures) -> u64, to: &mut Samples<'_>) {
        let PeerLinks { to: own, from } = self.links();
        to.each("direction", &["to", "from"], &[figure(&own), figure(&from)]);
    }

    fn accounts(&self, figure: fn(&Usage) -> u64, to: &mut Samples<'_>) {
        for (account, usage) in self.sum.accounts.rows() {
            let account = account.map_or_else(|| "others".into(), |account| account.to_string());
            to.labelled([("account", &*account)], figure(&usage));
        }
    }

    /// Returns the exemplar for an octave of set-up durations: the latest slow set-up on any shard. Set-ups of up to
    /// one second have no exemplars.
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

pub(crate) const METRICS: &[Row<MetricsView>] = metrics! { MetricsView:
    Gauge heliograph_connections "Connections by role"
        (|it, to| to.each("role", ConnectionRole::LABELS, &it.sum.connections))
    Gauge heliograph_account_connections
        "WebSocket connections by account of the credentials file, at most 20; those of others together"
        (|it, to| it.accounts(|usage| usage.connections, to))
    Gauge heliograph_account_queued_bytes
        "Bytes of messages kept by account of the credentials file, at most 20; those of others together"
        (|it, to| it.accounts(|usage| usage.queued_bytes, to))
    Gauge heliograph_channels "Channels by state" (|it, to| {
        let active = it.sum.channels.saturating_sub(it.sum.deleting);
        to.each("state", &["active", "deleting"], &[active, it.sum.deleting]);
    })
    Gauge heliograph_timer_entries "Entries of the timer wheels: never more than connections and channels"
        [gauge timers]
    Counter heliograph_messages_received_total "Messages taken in by action"
        (|it, to| to.each("action", &event::Kind::LABELS, &it.sum.counters.received))
    Counter heliograph_messages_total "Messages by action and what became of them" (|it, to| {
        let labels = [("action", &event::Kind::LABELS[..]), ("outcome", Outcome::LABELS)];
        to.crossed(labels, &it.sum.counters.outcomes);
    })
    Counter heliograph_messages_unaccepted_total "Messages that were not accepted, by outcome and reason" (|it, to| {
        for (reason, count) in Unaccepted::ALL.iter().zip(it.sum.counters.unaccepted) {
            to.labelled([("outcome", Outcome::of(*reason).label()), ("reason", reason.label())], count);
        }
    })
    Gauge heliograph_pending_messages "Messages kept for recipients that are not connected" [counter pending_messages]
    Gauge heliograph_pending_bytes "Bytes of messages kept" [counter pending_bytes]
    Gauge heliograph_outbox_messages "Messages that wait for a socket" [counter outbox_messages]
    Gauge heliograph_outbox_bytes "Bytes of messages that wait for a socket" [counter outbox_bytes]
    Gauge heliograph_written_messages "Messages that were sent, and that their recipients have not confirmed"
        [counter written_messages]
    Gauge heliograph_unconfirmed_bytes "Bytes of messages that were sent and are not confirmed"
        [counter unconfirmed_bytes]
    Gauge heliograph_doubtful "Connections that have not confirmed a message for longer than [presence] doubt"
        [gauge doubtful]
    Counter heliograph_returned_total
        "Messages that were sent, not confirmed, and kept again for the recipient's next connection" [counter returned]
    Counter heliograph_repeated_total "Messages among these that the former connection confirmed all the same"
        [counter repeated]
    Gauge heliograph_waiting_calls "SendAlexaOfferToMaster calls that wait for an answer" [counter waiting_calls]
    Gauge heliograph_waiting_call_places
        "SendAlexaOfferToMaster calls of other shards that wait, or whose end was not confirmed yet" [gauge call_places]
    Gauge heliograph_waiting_devices "Devices that wait with GET /wake until somebody waits for them"
        [gauge waiting_devices]
    Counter heliograph_records_read_total "Channel records looked at for pages of channels" [gauge records_read]
    Counter heliograph_policy_steps_total
        "Steps of matching patterns of policies, each of up to 64 places of a text" [counter policy_steps]
    Counter heliograph_signature_bytes_total "Bytes of canonical requests and bodies hashed to check signatures"
        [counter hashed_bytes]
    Counter heliograph_log_suppressed_total
        "Log entries, mostly refusals, that were not written because of rate limits" [counter log_suppressed]
    Counter heliograph_audit_refused_total "Changes refused because the log had no place for their audit line"
        [counter audit_refused]
    Counter heliograph_upgrades_total "Requests for a WebSocket by role and what became of them" (|it, to| {
        let labels = [("role", &ROLES[..]), ("outcome", UpgradeOutcome::LABELS)];
        to.crossed(labels, &it.sum.counters.upgrades);
    })
    Counter heliograph_http_requests_total "HTTP requests by operation and the status of their answer" (|it, to| {
        let statuses = STATUS.map(|status| status.to_string());
        let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
        let labels = [("operation", &Requested::labels()[..]), ("status", &statuses)];
        to.crossed(labels, &it.sum.counters.requests);
    })
    Counter heliograph_auth_failures_total "Callers that were not let in by reason"
        (|it, to| to.each("reason", &AuthFailure::labels(), &it.sum.counters.auth_failures))
    Counter heliograph_signins_total
        "Requests for temporary credentials by the kind of sign-in and what became of them"
        (|it, to| {
            for (kind, [ok, refused]) in sign_ins(&it.sum.counters.requests) {
                to.labelled([("kind", kind), ("outcome", "ok")], ok);
                to.labelled([("kind", kind), ("outcome", "refused")], refused);
            }
        })
    Counter heliograph_refusals_total "Requests refused, by the check that they did not pass" (|it, to| {
        let counts = it.sum.counters.refusals.each();
        counts.for_each(|(check, count)| to.labelled([("check", check.id())], count));
    })
    Counter heliograph_connection_ends_total "WebSocket connections that ended, by reason"
        (|it, to| to.each("reason", EndReason::LABELS, &it.sum.counters.connection_ends))
    Counter heliograph_viewer_sessions_total
        "Connections of viewers that ended: answered or not, without an offer, or ended by the broker before an answer"
        (|it, to| to.each("outcome", SessionOutcome::LABELS, &it.sum.counters.sessions.outcomes))
    Counter heliograph_superseded_total "Connections whose place a newer one of the same role and client id took"
        (|it, to| to.each("role", &ROLES, &it.sum.counters.sessions.superseded))
    Counter heliograph_short_connections_total "WebSocket connections that ended within ten seconds of their admission"
        (|it, to| to.each("role", &ROLES, &it.sum.counters.sessions.short))
    Counter heliograph_large_frames_total
        "Frames delivered that are longer than this many bytes, which old C SDK builds cannot hold"
        (|it, to| {
            for (over, count) in LARGE_FRAMES.iter().zip(it.sum.counters.large_frames) {
                to.labelled([("over", &over.to_string())], count);
            }
        })
    Histogram heliograph_delivery_seconds
        "From the read of a message to its last byte's being handed to the kernel; messages that were kept are not in \
         it"
        (|it, to| to.histogram(&it.sum.counters.delivery))
    Histogram heliograph_session_setup_seconds "From a viewer's admission to the delivery of its first SDP_ANSWER"
        (|it, to| to.histogram_with(&it.sum.counters.session_setup, |octave| it.slow_setup(octave)))
    Counter heliograph_whep_offers_total "Offers of players at /whep/ by what became of them"
        (|it, to| to.each("outcome", PlayerOutcome::LABELS, &it.sum.counters.players))
    Histogram heliograph_whep_setup_seconds "From a player's offer to its answer"
        (|it, to| to.histogram(&it.sum.counters.player_setup))
    Gauge heliograph_recorder_reach_seconds
        "How far back the notes of each shard's flight recorder reach; 0 when nothing is recorded"
        (|it, to| {
            for shard in &it.shards {
                let since = shard.snapshot.recorded_since_us;
                let reach = since.map_or(0, |since| shard.edge.clock_us.saturating_sub(since));
                to.labelled([("shard", &*shard.shard.0.to_string())], seconds(reach));
            }
        })
    Gauge heliograph_control_bytes "Bytes of control frames and HTTP answers that wait for a socket"
        [counter control_bytes]
    Gauge heliograph_request_bytes
        "Bytes of unfinished or waiting requests and of answers not taken, as limits.request_bytes bounds them"
        [gauge request_bytes]
    Counter heliograph_request_bytes_refused_total
        "HTTP connections refused or cut off since their address held most of limits.request_bytes"
        [gauge requests_refused]
    Gauge heliograph_record_bytes
        "Bytes of memory that the records of channels take, as limits.record_bytes_total bounds them"
        [gauge record_bytes]
    Gauge heliograph_cluster_parked "Requests that wait for a node that has their channel" [gauge parked]

    Counter heliograph_handovers_total "Connections handed to their home shard" [edge handovers]
    Counter heliograph_mailbox_refused_total "Letters that found a mailbox full" [edge mailbox_refused]
    Counter heliograph_tls_handshakes_total "TLS handshakes by outcome"
        [edge handshakes by outcome: full resumed failed timeout]
    Counter heliograph_proxy_headers_total
        "Connections to listeners that await a header of the PROXY protocol, by what came of it"
        [edge proxy_headers by outcome: read foreign malformed incomplete]
    Counter heliograph_accept_errors_total "Connections not served by reason"
        [edge accept_errors by reason: fd_limit memory limit other]
    Counter heliograph_connections_cut_total
        "Connections cut off: to make room for others, or for an unfinished TLS record or a move to another shard that \
         took too long"
        (|it, to| {
            let counts = [it.edges(|edge| edge.evicted), it.edges(|edge| edge.overdue)];
            to.each("reason", &["evicted", "overdue"], &counts);
        })
    Gauge heliograph_connections_max
        "Client connections that the process takes: limits.connections, or fewer where open files are limited to fewer"
        [most connections_max]
    Counter heliograph_accepted_total "Connections accepted" [edge accepted]
    Counter heliograph_receives_total "Receives that brought bytes" [edge receives]
    Counter heliograph_received_bytes_total "Bytes received from sockets" [edge received_bytes]
    Counter heliograph_sends_total "Calls of send" [edge sends]
    Counter heliograph_sent_bytes_total "Bytes handed to sockets" [edge sent_bytes]
    Gauge heliograph_cluster_links "Links with other nodes, both ways" [edge links]
    Gauge heliograph_cluster_link_doubtful "Links whose other side gives no sign, so that nothing begins on them"
        (|it, to| to.one(it.links().both().doubtful))
    Counter heliograph_cluster_link_deaths_total
        "Links that have ended, by reason: idle ones end by themselves, and fin is an end in order of the other side"
        [edge link_deaths by reason: reset fin silent idle fault]
    Gauge heliograph_cluster_link_round_trip_seconds
        "The longest time from a ping to its answer on any link, of the last one of each; 0 before the first"
        (|it, to| to.one(it.links().both().round_trip_ms.unwrap_or(0) as f64 / 1e3))
    Gauge heliograph_cluster_link_waiting_bytes
        "Bytes on links, to and from other nodes, that are not written to the other node"
        (|it, to| it.link_bytes(|links| links.waiting_bytes, to))
    Gauge heliograph_cluster_link_held_bytes
        "Bytes on links, to and from other nodes, that came and were not taken by clients or sessions"
        (|it, to| it.link_bytes(|links| links.held_bytes, to))
    Gauge heliograph_cluster_link_unconfirmed_bytes
        "Bytes on links, to and from other nodes, that are not confirmed"
        (|it, to| it.link_bytes(|links| links.unconfirmed_bytes, to))
    Gauge heliograph_cluster_link_clients "Clients of this node that other nodes serve" [edge link_clients]
    Counter heliograph_cluster_link_clients_opened_total "Clients and calls that went to other nodes"
        [edge link_clients_opened]
    Counter heliograph_cluster_link_failures_total
        "Requests for other nodes that those did not answer, by reason"
        (|it, to| {
            for (failure, reason) in PassFailure::VARIANTS.iter().enumerate() {
                to.labelled([("reason", reason)], it.edges(|edge| edge.pass_failures[failure]));
            }
        })
    Counter heliograph_cluster_link_bytes_total
        "Bytes of clients on links, to the node that owns the channel and to clients"
        (|it, to| {
            let counts = [it.edges(|edge| edge.link_bytes_to_owner), it.edges(|edge| edge.link_bytes_to_client)];
            to.each("to", &["owner", "client"], &counts);
        })
    Counter heliograph_cluster_inner_accepted_total "Clients and calls that other nodes passed on" [edge inner_accepted]
    Counter heliograph_cluster_inner_refused_total
        "Connections to the inner listener that became no link, by reason"
        [edge inner_refused by reason: limit incomplete malformed forged]
    Gauge heliograph_turn_seconds "The longest turn of any shard"
        (|it, to| to.one(seconds(it.most(|edge| edge.longest_turn_us))))
    Counter heliograph_turns_total "Turns of all shards" [edge turns]
    Counter heliograph_turns_long_total "Turns of all shards that took more than 8 milliseconds" [edge long_turns]
    Gauge heliograph_turn_work
        "The most work of one turn of any shard, in units of about ten nanoseconds of a slow core" [most most_work]
    Gauge heliograph_shard_busy_ratio "Part of the time since the scrape before that a shard did not wait" (|it, to| {
        for (shard, ratio) in it.busy_ratios.iter().enumerate() {
            to.labelled([("shard", &shard.to_string())], *ratio);
        }
    })
};
