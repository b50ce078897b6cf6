//! Counters of the edge: plain numbers of one shard, copied by a scrape.

use crate::edge::tls::Held;
use broker_core::cluster::link::Death;
use broker_core::machine::PassFailure;
use std::io;
use strum::EnumCount;

/// Counters of one shard's edge since its start. All but the gauges only increase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that could not be accepted, or not served.
    pub accept_errors: AcceptErrors,
    /// Connections posted to another shard.
    pub handovers: u64,
    /// Connections taken from another shard.
    pub adopted: u64,
    /// Letters that found the other shard's mailbox full.
    pub mailbox_refused: u64,
    /// TLS handshakes by outcome.
    pub handshakes: Handshakes,
    /// Headers of the PROXY protocol by outcome.
    pub proxy_headers: ProxyHeaders,
    /// Receives that returned bytes.
    pub receives: u64,
    /// Bytes received, as they came from the socket.
    pub received_bytes: u64,
    /// Receives that ended because the pool of buffers was empty.
    pub no_buffers: u64,
    /// Receives cancelled because their peer had had its share of a turn.
    pub capped: u64,
    /// send(2) calls.
    pub sends: u64,
    /// Bytes passed to the kernel, as written to the socket.
    pub sent_bytes: u64,
    /// Sends finished by the ring because the socket was full.
    pub queued_sends: u64,
    /// Turns of the drive loop.
    pub turns: u64,
    /// Turns that took longer than `LONG_TURN_US`, measured as the longest one is.
    pub long_turns: u64,
    /// Waits in the shard's own ring, within a second of traffic.
    pub parks_in_ring: u64,
    /// Later waits: through the executor if there is one, else in the ring too.
    pub parks_deep: u64,
    /// Longest turn, in microseconds: the longest wait of any connection for its turn. CPU time if
    /// [`EdgeSettings::turn_cpu`](crate::edge::EdgeSettings::turn_cpu) is set.
    pub longest_turn_us: u64,
    /// The most work of one turn, in units of [`broker_core::work_units`].
    pub most_work: u64,
    /// Time spent not waiting, in microseconds.
    pub busy_us: u64,
    /// Gauge: the shard's clock, in microseconds since the start.
    pub clock_us: u64,
    /// Gauge: connections on this shard.
    pub connections: u64,
    /// Gauge: limit of client connections of the process, over all shards.
    pub connections_max: u64,
    /// Gauge: connections in their TLS handshake.
    pub handshaking: u64,
    /// Connections evicted for others: see [`broker_core::address_shares`].
    pub evicted: u64,
    /// Connections that the edge aborted because a TLS record, or a move to another shard, took too long.
    pub overdue: u64,
    /// Gauge: bytes of incomplete TLS records during handshakes.
    pub handshake_bytes: u64,
    /// Gauge: bytes of incomplete TLS records after handshakes.
    pub partial_record_bytes: u64,
    /// Gauge: links that carry clients as streams, both ways.
    pub links: u64,
    /// Gauge: clients of this node that another one serves.
    pub link_clients: u64,
    /// Clients served by other nodes since the start: each retry of a request counts.
    pub link_clients_opened: u64,
    /// Requests that other nodes did not answer, by [`PassFailure`].
    pub pass_failures: [u64; PassFailure::COUNT],
    /// Bytes of clients forwarded to other nodes.
    pub link_bytes_to_owner: u64,
    /// Bytes of other nodes forwarded to clients.
    pub link_bytes_to_client: u64,
    /// Clients of other nodes, connections and calls.
    pub inner_accepted: u64,
    /// Connections to inner listeners that did not become a link.
    pub inner_refused: InnerRefusals,
    /// Open links that have ended.
    pub link_deaths: LinkDeaths,
}

impl EdgeCounts {
    /// Updates the gauges by the change of one connection's incomplete records.
    pub(crate) fn count_held(&mut self, before: Held, after: Held) {
        self.handshake_bytes = self.handshake_bytes + after.handshake - before.handshake;
        self.partial_record_bytes = self.partial_record_bytes + after.secured - before.secured;
    }
}

/// Reasons why connections to inner listeners did not become a link: `heliograph_cluster_inner_refused_total{reason}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InnerRefusals {
    /// No room.
    pub limit: u64,
    /// Handshake or hello timed out, or the connection ended before.
    pub incomplete: u64,
    /// Bytes that are not a node's, or of another version.
    pub malformed: u64,
    /// A key of another cluster.
    pub forged: u64,
}

/// Reasons of the end of links, by [`Death`]: `heliograph_cluster_link_deaths_total{reason}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkDeaths {
    /// [`Death::Reset`].
    pub reset: u64,
    /// [`Death::Fin`].
    pub fin: u64,
    /// [`Death::Silent`].
    pub silent: u64,
    /// [`Death::Idle`].
    pub idle: u64,
    /// [`Death::Fault`].
    pub fault: u64,
}

impl LinkDeaths {
    pub(crate) fn count(&mut self, why: Death) {
        let deaths = match why {
            Death::Reset => &mut self.reset,
            Death::Fin => &mut self.fin,
            Death::Silent => &mut self.silent,
            Death::Idle => &mut self.idle,
            Death::Fault(_) => &mut self.fault,
        };
        *deaths += 1;
    }
}

/// Reasons why connections were not served: `heliograph_accept_errors_total{reason}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptErrors {
    /// The process or the system is out of descriptors.
    pub fd_limit: u64,
    /// The kernel is out of memory or socket buffers.
    pub memory: u64,
    /// A configured limit: connections, handshakes in progress, or a full machine.
    pub limit: u64,
    /// Anything else.
    pub other: u64,
}

impl AcceptErrors {
    /// Counts the error of an accept.
    pub(crate) fn count(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::ECANCELED) => {}
            Some(libc::EMFILE | libc::ENFILE) => self.fd_limit += 1,
            Some(libc::ENOMEM | libc::ENOBUFS) => self.memory += 1,
            Some(_) | None => self.other += 1,
        }
    }
}

/// Connections that must begin with a PROXY protocol header, by outcome: `heliograph_proxy_headers_total{outcome}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeaders {
    /// Valid header.
    pub read: u64,
    /// The peer is not one of the proxies.
    pub foreign: u64,
    /// Other bytes.
    pub malformed: u64,
    /// Ended or timed out before the header was complete.
    pub incomplete: u64,
}

/// TLS handshakes by outcome: `heliograph_tls_handshakes_total{outcome}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// With a signature.
    pub full: u64,
    /// Resumed by a ticket.
    pub resumed: u64,
    /// Failed by an error of either side, or because the peer left.
    pub failed: u64,
    /// Aborted by the machine because they took too long.
    pub timeout: u64,
}
