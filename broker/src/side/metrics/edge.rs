//! The metrics of the shards' edges: connections, sockets, turns.

use crate::edge::EdgeCounts;
use crate::side::metrics::exposition::{Row, Samples, View, counter, gauge, seconds};
use broker_core::cluster::link::{LinkFigures, PeerLinks};
use broker_core::machine::PassFailure;
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

    /// The figures of all links that are open.
    fn links(&self) -> PeerLinks {
        let mut sum = PeerLinks::default();
        let shards = self.shards.iter();
        shards.for_each(|shard| shard.links.values().for_each(|links| sum.add(links)));
        sum
    }

    /// A sample for each direction of links: those that this node opened, and those that others did.
    fn link_bytes(&self, figure: fn(&LinkFigures) -> u64, to: &mut Samples<'_>) {
        let PeerLinks { to: own, from } = self.links();
        for (direction, figures) in [("to", own), ("from", from)] {
            to.labelled([("direction", direction)], figure(&figures));
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
        "heliograph_proxy_headers_total",
        "Connections to listeners that await a header of the PROXY protocol, by what came of it",
        |it, to| {
            let counts: [Count; 4] = [
                ("read", |it| it.proxy_headers.read),
                ("foreign", |it| it.proxy_headers.foreign),
                ("malformed", |it| it.proxy_headers.malformed),
                ("incomplete", |it| it.proxy_headers.incomplete),
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
    gauge(
        "heliograph_connections_max",
        "Client connections that the process takes: limits.connections, or fewer where open files are limited to fewer",
        |it, to| to.one(it.most(|edge| edge.connections_max)),
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
        "Links with other nodes, both ways",
        |it, to| to.one(it.sum(|edge| edge.links)),
    ),
    gauge(
        "heliograph_cluster_link_doubtful",
        "Links whose other side gives no sign, so that nothing begins on them",
        |it, to| to.one(it.links().both().doubtful),
    ),
    counter(
        "heliograph_cluster_link_deaths_total",
        "Links that have ended, by reason: idle ones end by themselves, and fin is an end in order of the other side",
        |it, to| {
            let counts: [Count; 5] = [
                ("reset", |it| it.link_deaths.reset),
                ("fin", |it| it.link_deaths.fin),
                ("silent", |it| it.link_deaths.silent),
                ("idle", |it| it.link_deaths.idle),
                ("fault", |it| it.link_deaths.fault),
            ];
            it.sums(to, "reason", counts);
        },
    ),
    gauge(
        "heliograph_cluster_link_round_trip_seconds",
        "The longest time from a ping to its answer on any link, of the last one of each; 0 before the first",
        |it, to| {
            let round_trip_ms = it.links().both().round_trip_ms;
            to.one(round_trip_ms.unwrap_or(0) as f64 / 1e3);
        },
    ),
    gauge(
        "heliograph_cluster_link_waiting_bytes",
        "Bytes on links, to and from other nodes, that are not written to the other node",
        |it, to| it.link_bytes(|links| links.waiting_bytes, to),
    ),
    gauge(
        "heliograph_cluster_link_held_bytes",
        "Bytes on links, to and from other nodes, that came and were not taken by clients or sessions",
        |it, to| it.link_bytes(|links| links.held_bytes, to),
    ),
    gauge(
        "heliograph_cluster_link_unconfirmed_bytes",
        "Bytes on links, to and from other nodes, that are not confirmed",
        |it, to| it.link_bytes(|links| links.unconfirmed_bytes, to),
    ),
    gauge(
        "heliograph_cluster_link_clients",
        "Clients of this node that other nodes serve",
        |it, to| to.one(it.sum(|edge| edge.link_clients)),
    ),
    counter(
        "heliograph_cluster_link_clients_opened_total",
        "Clients and calls that went to other nodes",
        |it, to| to.one(it.sum(|edge| edge.link_clients_opened)),
    ),
    counter(
        "heliograph_cluster_link_failures_total",
        "Requests for other nodes that those did not answer, by reason",
        |it, to| {
            for (failure, reason) in PassFailure::VARIANTS.iter().enumerate() {
                let failed = it.sum(|edge| edge.pass_failures[failure]);
                to.labelled([("reason", reason)], failed);
            }
        },
    ),
    counter(
        "heliograph_cluster_link_bytes_total",
        "Bytes of clients on links, to the node that owns the channel and to clients",
        |it, to| {
            let counts: [Count; 2] = [
                ("owner", |it| it.link_bytes_to_owner),
                ("client", |it| it.link_bytes_to_client),
            ];
            it.sums(to, "to", counts);
        },
    ),
    counter(
        "heliograph_cluster_inner_accepted_total",
        "Clients and calls that other nodes passed on",
        |it, to| to.one(it.sum(|edge| edge.inner_accepted)),
    ),
    counter(
        "heliograph_cluster_inner_refused_total",
        "Connections to the inner listener that became no link, by reason",
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
