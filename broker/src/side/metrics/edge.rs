//! The metrics of the shards' edges: connections, sockets, turns.

use super::exposition::{Kind, Row, Samples, seconds};
use super::view::View;
use crate::edge::EdgeCounts;
use broker_core::machine::TunnelFailure;
use strum::VariantNames;

/// A label, and the count that it is for.
type Count = (&'static str, fn(&EdgeCounts) -> u64);

impl View {
    /// The sum of a count of the shards' edges.
    fn sum(&self, count: impl Fn(&EdgeCounts) -> u64) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| count(&shard.edge)).sum()
    }

    /// A sample for each label: the sum of its count.
    fn sums<const N: usize>(&self, to: &mut Samples<'_>, name: &str, counts: [Count; N]) {
        for (label, count) in counts {
            to.labelled([(name, label)], self.sum(count));
        }
    }

    /// The largest figure of any shard's edge.
    fn most(&self, figure: fn(&EdgeCounts) -> u64) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| figure(&shard.edge)).max().unwrap_or(0)
    }
}

/// Every metric of the edges, in the order of the text.
pub(super) const METRICS: &[Row<View>] = &[
    Row {
        name: "heliograph_handovers_total",
        help: "Connections handed to their home shard",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.handovers)),
    },
    Row {
        name: "heliograph_mailbox_refused_total",
        help: "Letters that found a mailbox full",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.mailbox_refused)),
    },
    Row {
        name: "heliograph_tls_handshakes_total",
        help: "TLS handshakes by outcome",
        kind: Kind::Counter,
        read: |it, to| {
            let counts: [Count; 4] = [
                ("full", |it| it.handshakes.full),
                ("resumed", |it| it.handshakes.resumed),
                ("failed", |it| it.handshakes.failed),
                ("timeout", |it| it.handshakes.timeout),
            ];
            it.sums(to, "outcome", counts);
        },
    },
    Row {
        name: "heliograph_accept_errors_total",
        help: "Connections not served by reason",
        kind: Kind::Counter,
        read: |it, to| {
            let counts: [Count; 4] = [
                ("fd_limit", |it| it.accept_errors.fd_limit),
                ("memory", |it| it.accept_errors.memory),
                ("limit", |it| it.accept_errors.limit),
                ("other", |it| it.accept_errors.other),
            ];
            it.sums(to, "reason", counts);
        },
    },
    Row {
        name: "heliograph_connections_cut_total",
        help: "Connections cut off: to make room for others, or for an unfinished TLS record or a move to another \
               shard that took too long",
        kind: Kind::Counter,
        read: |it, to| {
            let counts: [Count; 2] = [("evicted", |it| it.evicted), ("overdue", |it| it.overdue)];
            it.sums(to, "reason", counts);
        },
    },
    Row {
        name: "heliograph_accepted_total",
        help: "Connections accepted",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.accepted)),
    },
    Row {
        name: "heliograph_receives_total",
        help: "Receives that brought bytes",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.receives)),
    },
    Row {
        name: "heliograph_received_bytes_total",
        help: "Bytes received from sockets",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.received_bytes)),
    },
    Row {
        name: "heliograph_sends_total",
        help: "Calls of send",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.sends)),
    },
    Row {
        name: "heliograph_sent_bytes_total",
        help: "Bytes handed to sockets",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.sent_bytes)),
    },
    Row {
        name: "heliograph_cluster_tunnels",
        help: "Connections of clients that other nodes serve",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.sum(|edge| edge.tunnels)),
    },
    Row {
        name: "heliograph_cluster_tunnels_opened_total",
        help: "Tunnels to other nodes begun",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.tunnels_opened)),
    },
    Row {
        name: "heliograph_cluster_tunnels_failed_total",
        help: "Requests for other nodes that got 503 since the node did not answer, by reason",
        kind: Kind::Counter,
        read: |it, to| {
            for (failure, reason) in TunnelFailure::VARIANTS.iter().enumerate() {
                let failed = it.sum(|edge| edge.tunnel_failures[failure]);
                to.labelled([("reason", reason)], failed);
            }
        },
    },
    Row {
        name: "heliograph_cluster_tunnel_bytes_total",
        help: "Bytes through tunnels, to the node that owns the channel and to clients",
        kind: Kind::Counter,
        read: |it, to| {
            let counts: [Count; 2] = [
                ("owner", |it| it.tunnel_bytes_to_owner),
                ("client", |it| it.tunnel_bytes_to_client),
            ];
            it.sums(to, "to", counts);
        },
    },
    Row {
        name: "heliograph_cluster_inner_accepted_total",
        help: "Connections that other nodes passed on",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.inner_accepted)),
    },
    Row {
        name: "heliograph_cluster_inner_refused_total",
        help: "Connections to the inner listener that were closed, by reason",
        kind: Kind::Counter,
        read: |it, to| {
            let counts: [Count; 4] = [
                ("limit", |it| it.inner_refused.limit),
                ("incomplete", |it| it.inner_refused.incomplete),
                ("malformed", |it| it.inner_refused.malformed),
                ("forged", |it| it.inner_refused.forged),
            ];
            it.sums(to, "reason", counts);
        },
    },
    Row {
        name: "heliograph_turn_seconds",
        help: "The longest turn of any shard",
        kind: Kind::Gauge,
        read: |it, to| to.one(seconds(it.most(|edge| edge.longest_turn_us))),
    },
    Row {
        name: "heliograph_turns_total",
        help: "Turns of all shards",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.turns)),
    },
    Row {
        name: "heliograph_turns_long_total",
        help: "Turns of all shards that took more than 8 milliseconds",
        kind: Kind::Counter,
        read: |it, to| to.one(it.sum(|edge| edge.long_turns)),
    },
    Row {
        name: "heliograph_turn_work",
        help: "The most work of one turn of any shard, in units of about ten nanoseconds of a slow core",
        kind: Kind::Gauge,
        read: |it, to| to.one(it.most(|edge| edge.most_work)),
    },
    Row {
        name: "heliograph_shard_busy_ratio",
        help: "Part of the time since the scrape before that a shard did not wait",
        kind: Kind::Gauge,
        read: |it, to| {
            for (shard, ratio) in it.busy_ratios.iter().enumerate() {
                to.labelled([("shard", &shard.to_string())], *ratio);
            }
        },
    },
];
