//! The counters of the edge. They are plain numbers of one shard, and are copied when metrics are scraped.

use crate::edge::tls::Held;
use broker_core::cluster::link::Death;
use broker_core::machine::PassFailure;
use std::io;
use strum::EnumCount;

/// The counters of a shard's edge since it started. All values except the gauges only increase.
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
    /// Messages to other shards that were rejected because the mailbox of the destination shard was full.
    pub mailbox_refused: u64,
    /// TLS handshakes by outcome.
    pub handshakes: Handshakes,
    /// PROXY protocol headers by outcome.
    pub proxy_headers: ProxyHeaders,
    /// Receives that returned bytes.
    pub receives: u64,
    /// Bytes received from sockets.
    pub received_bytes: u64,
    /// Receives that ended because the buffer pool was empty.
    pub no_buffers: u64,
    /// Receives cancelled because the peer had exhausted its share of a turn.
    pub capped: u64,
    /// Number of send(2) calls.
    pub sends: u64,
    /// Bytes accepted by the kernel, including the overhead of TLS.
    pub sent_bytes: u64,
    /// Sends completed through the ring because the socket's buffer was full.
    pub queued_sends: u64,
    /// Turns of the drive loop.
    pub turns: u64,
    /// Turns that took longer than `LONG_TURN_US`, measured like `longest_turn_us`.
    pub long_turns: u64,
    /// Waits that began within a second of the last traffic. They take place in the shard's own ring.
    pub parks_in_ring: u64,
    /// Waits that began more than a second after the last traffic. They take place in the executor if there is one, and
    /// otherwise in the ring.
    pub parks_deep: u64,
    /// Duration of the longest turn in microseconds. No connection waits longer than this for its turn. Measured in CPU
    /// time if [`EdgeSettings::turn_cpu`](crate::edge::EdgeSettings::turn_cpu) is set.
    pub longest_turn_us: u64,
    /// Maximum work performed in one turn, in units of [`broker_core::work_units`].
    pub most_work: u64,
    /// Time during which the shard was not waiting, in microseconds.
    pub busy_us: u64,
    /// Gauge: time since the shard started, in microseconds, according to its own clock.
    pub clock_us: u64,
    /// Gauge: connections on this shard.
    pub connections: u64,
    /// Gauge: limit on the number of client connections in the process, across all shards.
    pub connections_max: u64,
    /// Gauge: connections in their TLS handshake.
    pub handshaking: u64,
    /// Connections evicted to admit others; see [`broker_core::address_shares`].
    pub evicted: u64,
    /// Connections aborted by the edge because a TLS record, or the move to another shard, took too long.
    pub overdue: u64,
    /// Gauge: bytes of incomplete TLS records during handshakes.
    pub handshake_bytes: u64,
    /// Gauge: bytes of incomplete TLS records after handshakes.
    pub partial_record_bytes: u64,
    /// Gauge: links, in both directions, that carry clients as streams.
    pub links: u64,
    /// Gauge: clients that are connected to this node and served by another node.
    pub link_clients: u64,
    /// Clients that were passed to another node. If a request is retried, each attempt is counted.
    pub link_clients_opened: u64,
    /// Requests to which other nodes did not respond, by [`PassFailure`].
    pub pass_failures: [u64; PassFailure::COUNT],
    /// Client bytes forwarded to other nodes.
    pub link_bytes_to_owner: u64,
    /// Bytes forwarded from other nodes to clients.
    pub link_bytes_to_client: u64,
    /// Connections and calls that other nodes forwarded to this node for their clients.
    pub inner_accepted: u64,
    /// Connections to inner listeners that did not become a link.
    pub inner_refused: InnerRefusals,
    /// Links that ended after they had been open, by reason.
    pub link_deaths: LinkDeaths,
}

impl EdgeCounts {
    /// Updates the gauges after the incomplete records of one connection have changed.
    pub(crate) fn count_held(&mut self, before: Held, after: Held) {
        self.handshake_bytes = self.handshake_bytes + after.handshake - before.handshake;
        self.partial_record_bytes = self.partial_record_bytes + after.secured - before.secured;
    }
}

/// Reasons why connections to inner listeners did not become a link: `heliograph_cluster_inner_refused_total{reason}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InnerRefusals {
    /// A limit was reached.
    pub limit: u64,
    /// The handshake or hello timed out, or the connection ended before they were complete.
    pub incomplete: u64,
    /// The peer sent malformed bytes, or uses an unsupported version.
    pub malformed: u64,
    /// The peer authenticated with the key of another cluster.
    pub forged: u64,
}

/// Links that ended, by [`Death`]: `heliograph_cluster_link_deaths_total{reason}`.
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
    /// The process or the system has run out of descriptors.
    pub fd_limit: u64,
    /// The kernel has run out of memory or socket buffers.
    pub memory: u64,
    /// A limit on connections, on handshakes in progress, or within the state machine was reached.
    pub limit: u64,
    /// Any other error.
    pub other: u64,
}

impl AcceptErrors {
    /// Counts an accept that failed with this error.
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
    /// The peer is not one of the proxies.
    pub foreign: u64,
    /// The header was malformed.
    pub malformed: u64,
    /// The connection ended or timed out before the header was complete.
    pub incomplete: u64,
}

/// TLS handshakes by outcome: `heliograph_tls_handshakes_total{outcome}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// Full handshakes, each with a signature.
    pub full: u64,
    /// Handshakes that resumed a session with a ticket.
    pub resumed: u64,
    /// Handshakes that failed with an error on either side, or because the peer disconnected.
    pub failed: u64,
    /// Handshakes that the machine aborted because they took too long.
    pub timeout: u64,
}
