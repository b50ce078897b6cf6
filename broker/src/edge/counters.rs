//! The edge's counters. Each shard has its own plain integers, which are copied when metrics are scraped.

use crate::edge::tls::Held;
use broker_core::cluster::link::Death;
use broker_core::machine::PassFailure;
use std::io;
use strum::EnumCount;

/// Counters of a shard's edge since startup. All values except the gauges only increase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that could not be accepted or served.
    pub accept_errors: AcceptErrors,
    /// Connections handed over to another shard.
    pub handovers: u64,
    /// Connections taken over from another shard.
    pub adopted: u64,
    /// Messages rejected because the destination shard's mailbox was full.
    pub mailbox_refused: u64,
    /// TLS handshakes, by outcome.
    pub handshakes: Handshakes,
    /// PROXY protocol headers, by outcome.
    pub proxy_headers: ProxyHeaders,
    /// Receives that returned bytes.
    pub receives: u64,
    /// Bytes received from sockets.
    pub received_bytes: u64,
    /// Receives that stopped because the buffer pool was empty.
    pub no_buffers: u64,
    /// Receives cancelled because the peer had used up its share of a loop iteration.
    pub capped: u64,
    /// Calls to send(2).
    pub sends: u64,
    /// Bytes accepted by the kernel, including TLS overhead.
    pub sent_bytes: u64,
    /// Sends that went through the ring because the socket's buffer was full.
    pub queued_sends: u64,
    /// Iterations of the event loop ("turns").
    pub turns: u64,
    /// Iterations that took longer than `LONG_TURN_US`, measured like `longest_turn_us`.
    pub long_turns: u64,
    /// Waits that started within a second of the last traffic. They take place in the shard's own ring.
    pub parks_in_ring: u64,
    /// Waits that started more than a second after the last traffic. They take place in the executor, or in the ring if
    /// there is no executor.
    pub parks_deep: u64,
    /// Longest loop iteration in microseconds, which bounds how long any connection waits to be served. Measured in CPU
    /// time if [`EdgeSettings::turn_cpu`](crate::edge::EdgeSettings::turn_cpu) is set.
    pub longest_turn_us: u64,
    /// Most work done in one loop iteration, in units of [`broker_core::work_units`].
    pub most_work: u64,
    /// Time spent working rather than waiting, in microseconds.
    pub busy_us: u64,
    /// Gauge: time since the shard started, in microseconds, according to the shard's clock.
    pub clock_us: u64,
    /// Gauge: connections on this shard.
    pub connections: u64,
    /// Gauge: the process-wide limit on client connections, across all shards.
    pub connections_max: u64,
    /// Gauge: TLS handshakes in progress.
    pub handshaking: u64,
    /// Connections evicted to make room for others; see [`broker_core::address_shares`].
    pub evicted: u64,
    /// Connections that the edge aborted because receiving a TLS record, or moving to another shard, took too long.
    pub overdue: u64,
    /// Gauge: bytes held in incomplete TLS records during handshakes.
    pub handshake_bytes: u64,
    /// Gauge: bytes held in incomplete TLS records after handshakes.
    pub partial_record_bytes: u64,
    /// Gauge: inter-node links, in both directions.
    pub links: u64,
    /// Gauge: clients connected to this node but served by another node.
    pub link_clients: u64,
    /// Clients passed to another node. Each retry of a request counts.
    pub link_clients_opened: u64,
    /// Requests that another node failed to answer, by [`PassFailure`].
    pub pass_failures: [u64; PassFailure::COUNT],
    /// Client bytes forwarded to other nodes.
    pub link_bytes_to_owner: u64,
    /// Bytes forwarded from other nodes to clients.
    pub link_bytes_to_client: u64,
    /// Connections and calls that other nodes forwarded to this node on behalf of their clients.
    pub inner_accepted: u64,
    /// Connections to inner listeners that failed to become a link.
    pub inner_refused: InnerRefusals,
    /// Links that were open and then closed, by reason.
    pub link_deaths: LinkDeaths,
}

impl EdgeCounts {
    /// Updates the gauges after a change in one connection's incomplete records.
    pub(crate) fn count_held(&mut self, before: Held, after: Held) {
        self.handshake_bytes = self.handshake_bytes + after.handshake - before.handshake;
        self.partial_record_bytes = self.partial_record_bytes + after.secured - before.secured;
    }
}

/// Reasons why connections to inner listeners failed to become a link:
/// `heliograph_cluster_inner_refused_total{reason}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InnerRefusals {
    /// A limit was reached.
    pub limit: u64,
    /// The handshake or hello timed out, or the connection closed before they were complete.
    pub incomplete: u64,
    /// The peer sent malformed bytes, or uses an unsupported version.
    pub malformed: u64,
    /// The peer authenticated with the key of another cluster.
    pub forged: u64,
}

/// Closed links, by [`Death`]: `heliograph_cluster_link_deaths_total{reason}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkDeaths {
    /// Counts [`Death::Reset`].
    pub reset: u64,
    /// Counts [`Death::Fin`].
    pub fin: u64,
    /// Counts [`Death::Silent`].
    pub silent: u64,
    /// Counts [`Death::Idle`].
    pub idle: u64,
    /// Counts [`Death::Fault`].
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
    /// The process or the system ran out of file descriptors.
    pub fd_limit: u64,
    /// The kernel ran out of memory or socket buffers.
    pub memory: u64,
    /// A limit on connections, on concurrent handshakes, or within the state machine was reached.
    pub limit: u64,
    /// Any other error.
    pub other: u64,
}

impl AcceptErrors {
    /// Counts a failed accept under the reason that `error` indicates.
    pub(crate) fn count(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::ECANCELED) => {}
            Some(libc::EMFILE | libc::ENFILE) => self.fd_limit += 1,
            Some(libc::ENOMEM | libc::ENOBUFS) => self.memory += 1,
            Some(_) | None => self.other += 1,
        }
    }
}

/// Connections that must start with a PROXY protocol header, by outcome: `heliograph_proxy_headers_total{outcome}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeaders {
    /// The header was valid.
    pub read: u64,
    /// The peer is not a configured proxy.
    pub foreign: u64,
    /// The header was malformed.
    pub malformed: u64,
    /// The connection closed or timed out before the header was complete.
    pub incomplete: u64,
}

/// TLS handshakes, by outcome: `heliograph_tls_handshakes_total{outcome}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// Full handshakes, which require a signature.
    pub full: u64,
    /// Handshakes that resumed a session with a ticket.
    pub resumed: u64,
    /// Handshakes in which either side raised an error or the peer disconnected.
    pub failed: u64,
    /// Handshakes that the state machine aborted because they took too long.
    pub timeout: u64,
}
