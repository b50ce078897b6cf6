//! Initial configuration of a shard's edge: sockets, sizes and limits, and the channel for its reports.

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

/// Everything that a shard needs at startup.
pub struct ShardConfig<M: Machine> {
    /// The shard's listening sockets.
    pub listeners: Vec<Listener>,
    /// Mailboxes of all shards, by [`ShardId`].
    pub mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// TLS configuration with the certificate that TLS listeners present; required if there are any. Later replaced by
    /// [`Post::Tls`].
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Devices from which TLS listeners request a certificate. Later replaced by [`Post::Devices`].
    pub devices: Option<Arc<Devices>>,
    /// Links to the other nodes of a cluster; required if any listener is inner or the machine emits
    /// [`Output::PassOn`](broker_core::machine::Output::PassOn).
    pub links: Option<Arc<Links>>,
    /// Callback that takes over connections that request admin pages; required if the machine emits
    /// [`Output::Admin`](broker_core::machine::Output::Admin).
    pub admin: Option<TakeAdmin>,
    /// Sizes and limits.
    pub settings: EdgeSettings,
    /// Counter of client descriptors open in the process, shared by all shards.
    pub descriptors: Arc<Descriptors>,
    /// Channel for the shard's reports. Must have capacity for two events per shard, or the shard blocks.
    pub events: Sender<ShardEvent>,
}

/// A listening socket: bound, listening, and used by one shard only (`SO_REUSEPORT`). Accepted connections inherit its
/// `TCP_NODELAY` and `TCP_USER_TIMEOUT`.
#[derive(Debug)]
pub struct Listener {
    /// The socket, which the shard closes after [`Post::Stop`].
    pub socket: OwnedFd,
    /// Index of the socket's listener in the configuration, for [`Peer::listener`](broker_core::machine::Peer); several
    /// sockets with different addresses may belong to one listener.
    pub number: u16,
    /// Whether connections to this socket use TLS.
    pub tls: bool,
    /// Networks of the proxies that may connect; each connection must start with a PROXY protocol header. Empty if
    /// proxies are not used.
    pub proxies: Vec<IpNet>,
    /// Whether other nodes open links to this socket, with a separate TLS configuration. Inner listeners come last in
    /// the list.
    pub inner: bool,
}

/// Sizes and limits of one shard's edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgeSettings {
    /// The ring and its receive buffers.
    pub ring: ring::RingSettings,
    /// Maximum number of client connections of the process; at the limit, accepting pauses. Keep a few per cent of
    /// `RLIMIT_NOFILE` free above it, since a multishot accept takes the whole backlog before anything is counted.
    pub connections: usize,
    /// Maximum number of TLS handshakes in progress per shard. At the limit, a handshake from the address with the most
    /// handshakes, or a silent one, is evicted to admit a new connection; if there is none, the new connection is
    /// closed.
    pub handshakes: usize,
    /// Maximum number of TLS handshakes in progress per shard and address. At the limit, a silent one from the same
    /// address is evicted to admit a new connection; if there is none, the new connection is closed. 0 disables this
    /// limit.
    pub handshakes_per_address: usize,
    /// Maximum number of bytes of incomplete TLS records in handshakes per shard. Above it, connections of the address
    /// with the most bytes are aborted.
    pub handshake_bytes: usize,
    /// Maximum number of bytes of incomplete TLS records after the handshake per shard. Above it, connections are
    /// closed, first those that have not been admitted.
    pub partial_record_bytes: usize,
    /// Maximum time from the first to the last byte of a TLS record after the handshake (which the machine limits), in
    /// milliseconds. Slower connections are aborted.
    pub record_ms: u64,
    /// Number of empty send buffers kept for reuse.
    pub spare_sends: usize,
    /// Number of received bytes after which a turn handles no more completions, since responses wait in outboxes until
    /// the end of the turn.
    pub turn_bytes: u64,
    /// Whether turns are measured by their thread's CPU time instead of the clock, which on a busy machine includes
    /// other work. Costs a system call per turn.
    pub turn_cpu: bool,
    /// Maximum time that a connection may take to leave for another shard while its peer does not accept earlier
    /// responses, in milliseconds. Slower connections are aborted.
    pub leaving_ms: u64,
    /// `TCP_USER_TIMEOUT` of connections to other nodes, in milliseconds; 0 leaves the timeout to the kernel.
    pub tcp_user_ms: u64,
    /// Maximum number of bytes per shard of requests that wait for a link, or that are on a link and may be retried.
    pub link_request_bytes: usize,
    /// Maximum number of bytes per shard that links buffer for clients and sessions that cannot accept them.
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
            record_ms: 10_000, // the time limit of a message
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
    /// Returns the settings for one of `shards` shards, with its share of the process's limits (incomplete TLS records,
    /// receive buffers, 20 MiB of spare buffers), which at least meets the requirements of one connection.
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

    /// Returns the maximum number of connections to inner listeners per shard that are in their handshake, and the
    /// maximum number of bytes that each may hold.
    #[must_use]
    pub fn strangers() -> (usize, usize) {
        let receive = Self::default().ring.buffer_bytes as usize;
        (STRANGERS_MAX, LINK_ENGINE_BYTES + LINK_HELD_BYTES + receive)
    }

    /// Returns the maximum number of links per shard, and the size of each in bytes without its streams.
    #[must_use]
    pub const fn links() -> (usize, usize) {
        let bytes = LINK_ENGINE_BYTES + LINK_HELD_BYTES + LINK_BYTES;
        (LINKS_PER_SHARD_MAX, bytes)
    }

    /// Returns the maximum size of a spare buffer in bytes.
    #[must_use]
    pub const fn spare_send_bytes() -> usize {
        limits::LAUNCH_BYTES + limits::ENCRYPT_BYTES
    }
}

/// Number of client descriptors open in the process. Updated only on accept and close, with relaxed ordering: small
/// errors are harmless, since `EMFILE` is handled as well.
#[derive(Debug, Default)]
pub struct Descriptors {
    open: AtomicUsize,
}

impl Descriptors {
    /// Increments the count and returns it.
    pub(crate) fn opened(&self) -> usize {
        self.open.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Decrements the count.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number of client descriptors open in the process.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A shard's report to the thread that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardEvent {
    /// The machine emitted [`Output::Drained`](broker_core::machine::Output::Drained).
    Drained(ShardId),
    /// The shard's thread is about to end: after [`Post::Stop`], once it has closed everything, or at any time because
    /// of a failure (see [`ShardHandle::failure`](crate::edge::ShardHandle::failure)).
    Ended(ShardId),
}
