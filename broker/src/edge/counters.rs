//! The edge's own counters: plain numbers of one shard, copied out by a scrape.

use crate::edge::tls::Held;
use broker_core::cluster::link::Death;
use broker_core::machine::PassFailure;
use std::io;
use strum::EnumCount;

/// Counters of one shard's edge since its start. All but the gauges only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that could not be accepted, or not served.
    pub accept_errors: AcceptErrors,
    /// Connections posted to another shard.
    pub handovers: u64,
    /// Connections taken in from another shard.
    pub adopted: u64,
    /// Letters that found the other shard's mailbox full.
    pub mailbox_refused: u64,
    /// TLS handshakes by outcome.
    pub handshakes: Handshakes,
    /// Headers of the PROXY protocol by outcome.
    pub proxy_headers: ProxyHeaders,
    /// Receives that brought bytes, and those bytes.
    pub receives: u64,
    /// Bytes received, as they came from the socket.
    pub received_bytes: u64,
    /// Receives that ended because the pool of buffers was empty.
    pub no_buffers: u64,
    /// Receives cancelled because their peer had taken its share of a turn.
    pub capped: u64,
    /// send(2) calls.
    pub sends: u64,
    /// Bytes handed to the kernel, as they went into the socket.
    pub sent_bytes: u64,
    /// Sends finished by the ring because the socket had no room.
    pub queued_sends: u64,
    /// Turns of the drive loop.
    pub turns: u64,
    /// Those that took more than `LONG_TURN_US`, measured as the longest one is.
    pub long_turns: u64,
    /// Waits in the shard's own ring, within a second of traffic.
    pub parks_in_ring: u64,
    /// Waits after that: through the executor where there is one, else in the ring too.
    pub parks_deep: u64,
    /// The longest turn, in microseconds: the longest that any connection had to wait for its turn. CPU time where
    /// [`EdgeSettings::turn_cpu`](crate::edge::EdgeSettings::turn_cpu) says so.
    pub longest_turn_us: u64,
    /// The most work of one turn, in units of [`broker_core::work_units`].
    pub most_work: u64,
    /// Time spent not waiting, in microseconds.
    pub busy_us: u64,
    /// Gauge: the shard's clock, in microseconds since the start.
    pub clock_us: u64,
    /// Gauge: connections on this shard.
    pub connections: u64,
    /// Gauge: client connections that the process takes, over all shards.
    pub connections_max: u64,
    /// Gauge: connections whose TLS handshake is under way.
    pub handshaking: u64,
    /// Connections that were cut off to make room for others: see [`broker_core::address_shares`].
    pub evicted: u64,
    /// Connections that the edge cut off because a TLS record, or a move to another shard, took too long.
    pub overdue: u64,
    /// Gauge: bytes of incomplete TLS records of handshakes under way.
    pub handshake_bytes: u64,
    /// Gauge: bytes of incomplete TLS records of connections whose handshake is over.
    pub partial_record_bytes: u64,
    /// Gauge: links that carry clients as streams, both ways.
    pub links: u64,
    /// Gauge: clients of this node that another one serves.
    pub link_clients: u64,
    /// Those since the start: a request that is asked again is one more.
    pub link_clients_opened: u64,
    /// Requests for other nodes that those did not answer, by [`PassFailure`].
    pub pass_failures: [u64; PassFailure::COUNT],
    /// Bytes of clients passed on to other nodes.
    pub link_bytes_to_owner: u64,
    /// Bytes of other nodes passed on to clients.
    pub link_bytes_to_client: u64,
    /// Clients of other nodes, connections and calls.
    pub inner_accepted: u64,
    /// Connections to inner listeners that became no link.
    pub inner_refused: InnerRefusals,
    /// Links that were open and have ended.
    pub link_deaths: LinkDeaths,
}

impl EdgeCounts {
    /// Counts what one connection holds of unfinished records.
    pub(crate) fn count_held(&mut self, before: Held, after: Held) {
        self.handshake_bytes = self.handshake_bytes + after.handshake - before.handshake;
        self.partial_record_bytes = self.partial_record_bytes + after.secured - before.secured;
    }
}

/// Why connections to inner listeners became no link, as `heliograph_cluster_inner_refused_total{reason}` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InnerRefusals {
    /// There was no room for it.
    pub limit: u64,
    /// Its handshake or hello did not come in time, or its end came first.
    pub incomplete: u64,
    /// The bytes received are not those of a node, or of one of another version.
    pub malformed: u64,
    /// Its key is not one of this cluster.
    pub forged: u64,
}

/// Why links have ended, as `heliograph_cluster_link_deaths_total{reason}` names it: by [`Death`].
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

/// Why connections were not served, as `heliograph_accept_errors_total{reason}` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptErrors {
    /// The process or the system is out of descriptors.
    pub fd_limit: u64,
    /// The kernel is out of memory or socket buffers.
    pub memory: u64,
    /// A configured limit: connections, handshakes under way, or the machine has no room.
    pub limit: u64,
    /// Anything else.
    pub other: u64,
}

impl AcceptErrors {
    /// Counts the error that an accept ended with.
    pub(crate) fn count(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::ECANCELED) => {}
            Some(libc::EMFILE | libc::ENFILE) => self.fd_limit += 1,
            Some(libc::ENOMEM | libc::ENOBUFS) => self.memory += 1,
            Some(_) | None => self.other += 1,
        }
    }
}

/// Connections that were to begin with a header of the PROXY protocol, as `heliograph_proxy_headers_total{outcome}`
/// names what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeaders {
    /// It was read.
    pub read: u64,
    /// The peer is none of the proxies.
    pub foreign: u64,
    /// Something else came.
    pub malformed: u64,
    /// The connection ended before it was whole, or its time was over.
    pub incomplete: u64,
}

/// TLS handshakes by outcome, as `heliograph_tls_handshakes_total{outcome}` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// With a signature.
    pub full: u64,
    /// Resumed by a ticket.
    pub resumed: u64,
    /// Ended by an error of either side, or by the peer's going away.
    pub failed: u64,
    /// Cut off by the machine because they took too long.
    pub timeout: u64,
}
