//! Configuration of a shard's edge at its start: sockets, sizes and bounds, and the receiver of its reports.

use crate::devices::Devices;
use crate::edge::limits::{
    self, HANDSHAKE_BYTES_MAX, HELD_BYTES_MIN, LINK_BYTES, LINK_BYTES_MIN, LINK_ENGINE_BYTES,
    LINK_HELD_BYTES, LINK_REQUEST_BYTES_MAX, LINK_WAITING_BYTES_MAX, LINKS_PER_SHARD_MAX,
    RECORD_BYTES_MAX, STRANGERS_MAX, receive_buffers,
};
use crate::edge::{letters::Post, links::Links, visiting::TakeAdmin};
use broker_core::{id::ShardId, limits::share, machine::Machine};
use crossbeam_channel::Sender;
use ipnet::IpNet;
use mailbox::Mailbox;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Everything that one shard gets at its start.
pub struct ShardConfig<M: Machine> {
    /// Listening sockets of the shard.
    pub listeners: Vec<Listener>,
    /// Mailboxes of all shards, by [`ShardId`].
    pub mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// The certificate that TLS listeners present; must be there when a listener is TLS. Replaced later by
    /// [`Post::Tls`].
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Devices that are asked for a certificate on TLS listeners. Replaced later by [`Post::Devices`].
    pub devices: Option<Arc<Devices>>,
    /// The other nodes of a cluster; must be there when a listener is inner or the machine says
    /// [`Output::PassOn`](broker_core::machine::Output::PassOn).
    pub links: Option<Arc<Links>>,
    /// Takes connections for pages of the admin listener; must be there when the machine says
    /// [`Output::Admin`](broker_core::machine::Output::Admin).
    pub admin: Option<TakeAdmin>,
    /// Sizes and bounds.
    pub settings: EdgeSettings,
    /// Client descriptors open in the whole process: one for all shards.
    pub descriptors: Arc<Descriptors>,
    /// Receiver of the shard's reports. Must have room for two events per shard, or an event waits for it.
    pub events: Sender<ShardEvent>,
}

/// A listening socket: bound, listening, and a shard's own (`SO_REUSEPORT`). Accepted connections inherit its
/// `TCP_NODELAY` and `TCP_USER_TIMEOUT`.
#[derive(Debug)]
pub struct Listener {
    /// The socket. The shard closes it after [`Post::Stop`].
    pub socket: OwnedFd,
    /// Index of its listener in the configuration, for [`Peer::listener`](broker_core::machine::Peer): sockets of
    /// several addresses may be one listener.
    pub number: u16,
    /// Whether its connections use TLS.
    pub tls: bool,
    /// Networks of the proxies that alone may connect, and must begin with a PROXY protocol header; empty: no proxies.
    pub proxies: Vec<IpNet>,
    /// Whether other nodes open links to it, with TLS of their own. Last in the list.
    pub inner: bool,
}

/// Sizes and bounds of one shard's edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgeSettings {
    /// The ring and its receive buffers.
    pub ring: ring::RingSettings,
    /// Limit of client connections of the process, over which accepting pauses. Keep a few per cent of `RLIMIT_NOFILE`
    /// free above it: a multishot accept takes a whole backlog before anything is counted.
    pub connections: usize,
    /// TLS handshakes in progress per shard. For one more the address with most loses one, or a silent one is evicted;
    /// else it is closed.
    pub handshakes: usize,
    /// TLS handshakes in progress per shard and address. For one more a silent one of the address is evicted, else it
    /// is closed. 0 for no limit but the one above.
    pub handshakes_per_address: usize,
    /// Bytes of incomplete TLS records of handshakes per shard: beyond it connections of the address that holds most
    /// are aborted.
    pub handshake_bytes: usize,
    /// Bytes of incomplete TLS records after the handshake per shard; connections that are not admitted are closed
    /// first.
    pub partial_record_bytes: usize,
    /// Time from the first byte of a TLS record to its last, in milliseconds, after the handshake; the machine limits
    /// the handshake. Longer: aborted.
    pub record_ms: u64,
    /// Empty buffers of sends kept for reuse.
    pub spare_sends: usize,
    /// Received bytes after which a turn serves no more completions: their results wait in outboxes until its end.
    pub turn_bytes: u64,
    /// Measure turns by the CPU time of their thread, not by the clock: on a machine with other work the clock shows
    /// that work too. Costs a system call a turn.
    pub turn_cpu: bool,
    /// Time that a connection may wait until it can leave for another shard, in milliseconds, while its peer does not
    /// take earlier answers. Longer: aborted.
    pub leaving_ms: u64,
    /// `TCP_USER_TIMEOUT` of connections to other nodes, in milliseconds; 0 leaves it to the kernel.
    pub tcp_user_ms: u64,
    /// Bytes of requests that wait for a link, and of retryable ones on links, per shard.
    pub link_request_bytes: usize,
    /// Bytes that links buffer for clients and sessions without room, per shard.
    pub link_waiting_bytes: usize,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            ring: ring::RingSettings {
                buffers_at_start: limits::RECEIVE_BUFFERS_MIN,
                ..ring::RingSettings::default()
            },
            connections: 60_000,
            handshakes: 1024,
            handshakes_per_address: 0,
            handshake_bytes: 8 << 20,
            partial_record_bytes: 16 << 20,
            record_ms: 10_000, // as long as a message may take
            leaving_ms: 10_000,
            tcp_user_ms: 30_000,
            link_request_bytes: 8 << 20,
            link_waiting_bytes: 16 << 20,
            spare_sends: limits::SPARE_SENDS,
            turn_bytes: 8 << 20,
            turn_cpu: false,
        }
    }
}

impl EdgeSettings {
    /// Settings for one of this many shards, with its part of the process: incomplete TLS records, receive buffers, 20
    /// MiB of spare buffers; and at least what one connection needs.
    #[must_use]
    pub fn for_shards(shards: usize) -> Self {
        let usual = Self::default();
        let part = |total, least, most| share(total, shards, least, most);
        Self {
            ring: ring::RingSettings {
                buffers: receive_buffers(shards, usual.ring.buffers, usual.ring.buffer_bytes),
                ..usual.ring
            },
            handshake_bytes: part(HANDSHAKE_BYTES_MAX, HELD_BYTES_MIN, usual.handshake_bytes),
            partial_record_bytes: part(
                RECORD_BYTES_MAX,
                HELD_BYTES_MIN,
                usual.partial_record_bytes,
            ),
            spare_sends: part(64, 0, usual.spare_sends),
            link_request_bytes: part(
                LINK_REQUEST_BYTES_MAX,
                LINK_BYTES_MIN,
                usual.link_request_bytes,
            ),
            link_waiting_bytes: part(
                LINK_WAITING_BYTES_MAX,
                LINK_BYTES_MIN,
                usual.link_waiting_bytes,
            ),
            ..usual
        }
    }

    /// Connections to inner listeners of one shard in their handshake, and the bytes that each may hold.
    #[must_use]
    pub fn strangers() -> (usize, usize) {
        let receive = Self::default().ring.buffer_bytes as usize;
        (STRANGERS_MAX, LINK_ENGINE_BYTES + LINK_HELD_BYTES + receive)
    }

    /// Links of one shard, and the bytes of each without those of its streams.
    #[must_use]
    pub const fn links() -> (usize, usize) {
        let bytes = LINK_ENGINE_BYTES + LINK_HELD_BYTES + LINK_BYTES;
        (LINKS_PER_SHARD_MAX, bytes)
    }

    /// Most bytes of one spare buffer.
    #[must_use]
    pub const fn spare_send_bytes() -> usize {
        limits::LAUNCH_BYTES + limits::ENCRYPT_BYTES
    }
}

/// Number of client descriptors of the process. Counted on accept and close only, and relaxed: a few more or less are
/// harmless, since `EMFILE` is handled as well.
#[derive(Debug, Default)]
pub struct Descriptors {
    open: AtomicUsize,
}

impl Descriptors {
    /// Counts one more and returns the number with it.
    pub(crate) fn opened(&self) -> usize {
        self.open.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts one less.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Client descriptors open in the process.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// Report of a shard to the thread that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardEvent {
    /// The machine emitted [`Output::Drained`](broker_core::machine::Output::Drained).
    Drained(ShardId),
    /// The shard's thread is about to end: after [`Post::Stop`] when it has closed everything, or at any other time
    /// because it failed (see [`ShardHandle::failure`](crate::edge::ShardHandle::failure)).
    Ended(ShardId),
}
