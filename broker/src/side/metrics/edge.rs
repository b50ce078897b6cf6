//! The metrics of the shards' edges: connections, sockets, turns.

use crate::edge::EdgeCounts;
use crate::side::metrics::exposition::{Row, Samples, View, counter, gauge, seconds};
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
pub(crate) const METRICS: &[Row<View>] = &[
    counter(
        "heliograph_handovers_total",
        "Connections handed to their home shard",
        |it, to| to.one(it.sum(|edge| edge.handovers)),
    ),
    counter(
        "heliograph_mailbox_refused_total",
        "Letters that found a mailbox full",
        |it, to| to.one(it.sum(|edge| edge.mailbox_refused)),
    ),
    counter(
        "heliograph_tls_handshakes_total",
        "TLS handshakes by outcome",
        |it, to| {
            let counts: [Count; 4] = [
                ("full", |it| it.handshakes.full),
                ("resumed", |it| it.handshakes.resumed),
                ("failed", |it| it.handshakes.failed),
                ("timeout", |it| it.handshakes.timeout),
            ];
            it.sums(to, "outcome", counts);
        },
    ),
    counter(
        "heliograph_accept_errors_total",
        "Connections not served by reason",
        |it, to| {
            let counts: [Count; 4] = [
                ("fd_limit", |it| it.accept_errors.fd_limit),
                ("memory", |it| it.accept_errors.memory),
                ("limit", |it| it.accept_errors.limit),
                ("other", |it| it.accept_errors.other),
            ];
            it.sums(to, "reason", counts);
        },
    ),
    counter(
        "heliograph_connections_cut_total",
        "Connections cut off: to make room for others, or for an unfinished TLS record or a move to another \
               shard that took too long",
        |it, to| {
            let counts: [Count; 2] = [("evicted", |it| it.evicted), ("overdue", |it| it.overdue)];
            it.sums(to, "reason", counts);
        },
    ),
    counter(
        "heliograph_accepted_total",
        "Connections accepted",
        |it, to| to.one(it.sum(|edge| edge.accepted)),
    ),
    counter(
        "heliograph_receives_total",
        "Receives that brought bytes",
        |it, to| to.one(it.sum(|edge| edge.receives)),
    ),
    counter(
        "heliograph_received_bytes_total",
        "Bytes received from sockets",
        |it, to| to.one(it.sum(|edge| edge.received_bytes)),
    ),
    counter("heliograph_sends_total", "Calls of send", |it, to| {
        to.one(it.sum(|edge| edge.sends))
    }),
    counter(
        "heliograph_sent_bytes_total",
        "Bytes handed to sockets",
        |it, to| to.one(it.sum(|edge| edge.sent_bytes)),
    ),
    gauge(
        "heliograph_cluster_links",
        "Connections between nodes that carry clients as streams",
        |it, to| to.one(it.sum(|edge| edge.links)),
    ),
    gauge(
        "heliograph_cluster_tunnels",
        "Connections of clients that other nodes serve",
        |it, to| to.one(it.sum(|edge| edge.tunnels)),
    ),
    counter(
        "heliograph_cluster_tunnels_opened_total",
        "Tunnels to other nodes begun",
        |it, to| to.one(it.sum(|edge| edge.tunnels_opened)),
    ),
    gauge(
        "heliograph_cluster_links_ahead",
        "Connections between nodes that wait for a client: to other nodes, and of other nodes",
        |it, to| {
            let counts: [Count; 2] = [("out", |it| it.ahead), ("in", |it| it.inner_ahead)];
            it.sums(to, "way", counts);
        },
    ),
    counter(
        "heliograph_cluster_ahead_total",
        "Connections to other nodes that were opened ahead of clients, that came back, and that a client took",
        |it, to| {
            let counts: [Count; 3] = [
                ("opened", |it| it.ahead_opened),
                ("used", |it| it.ahead_used),
                ("returned", |it| it.ahead_returned),
            ];
            it.sums(to, "event", counts);
        },
    ),
    gauge(
        "heliograph_cluster_links_kept",
        "Connections between nodes that are kept and wait for a call: to other nodes, and of other nodes",
        |it, to| {
            let counts: [Count; 2] = [("out", |it| it.kept), ("in", |it| it.inner_kept)];
            it.sums(to, "way", counts);
        },
    ),
    counter(
        "heliograph_cluster_kept_used_total",
        "Calls that went to other nodes over connections that were kept",
        |it, to| to.one(it.sum(|edge| edge.kept_used)),
    ),
    counter(
        "heliograph_cluster_tunnels_failed_total",
        "Requests for other nodes that got 503 since the node did not answer, by reason",
        |it, to| {
            for (failure, reason) in TunnelFailure::VARIANTS.iter().enumerate() {
                let failed = it.sum(|edge| edge.tunnel_failures[failure]);
                to.labelled([("reason", reason)], failed);
            }
        },
    ),
    counter(
        "heliograph_cluster_tunnel_bytes_total",
        "Bytes through tunnels, to the node that owns the channel and to clients",
        |it, to| {
            let counts: [Count; 2] = [
                ("owner", |it| it.tunnel_bytes_to_owner),
                ("client", |it| it.tunnel_bytes_to_client),
            ];
            it.sums(to, "to", counts);
        },
    ),
    counter(
        "heliograph_cluster_inner_accepted_total",
        "Connections, and calls on those that are kept, that other nodes passed on",
        |it, to| to.one(it.sum(|edge| edge.inner_accepted)),
    ),
    counter(
        "heliograph_cluster_inner_refused_total",
        "Connections to the inner listener that were closed, by reason",
        |it, to| {
            let counts: [Count; 4] = [
                ("limit", |it| it.inner_refused.limit),
                ("incomplete", |it| it.inner_refused.incomplete),
                ("malformed", |it| it.inner_refused.malformed),
                ("forged", |it| it.inner_refused.forged),
            ];
            it.sums(to, "reason", counts);
        },
    ),
    gauge(
        "heliograph_turn_seconds",
        "The longest turn of any shard",
        |it, to| to.one(seconds(it.most(|edge| edge.longest_turn_us))),
    ),
    counter("heliograph_turns_total", "Turns of all shards", |it, to| {
        to.one(it.sum(|edge| edge.turns))
    }),
    counter(
        "heliograph_turns_long_total",
        "Turns of all shards that took more than 8 milliseconds",
        |it, to| to.one(it.sum(|edge| edge.long_turns)),
    ),
    gauge(
        "heliograph_turn_work",
        "The most work of one turn of any shard, in units of about ten nanoseconds of a slow core",
        |it, to| to.one(it.most(|edge| edge.most_work)),
    ),
    gauge(
        "heliograph_shard_busy_ratio",
        "Part of the time since the scrape before that a shard did not wait",
        |it, to| {
            for (shard, ratio) in it.busy_ratios.iter().enumerate() {
                to.labelled([("shard", &shard.to_string())], *ratio);
            }
        },
    ),
];
