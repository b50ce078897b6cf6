//! What a shard's edge is started with: its sockets, its sizes and limits, and the channel for its reports.

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
    /// The mailboxes of all shards, indexed by [`ShardId`].
    pub mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// TLS configuration, including the certificate that TLS listeners present. Required if there are TLS listeners.
    /// [`Post::Tls`] replaces it at runtime.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Devices from which TLS listeners request a certificate. [`Post::Devices`] replaces them at runtime.
    pub devices: Option<Arc<Devices>>,
    /// Links to the cluster's other nodes. Required if any listener is an inner listener, or if the state machine emits
    /// [`Output::PassOn`](broker_core::machine::Output::PassOn).
    pub links: Option<Arc<Links>>,
    /// Callback that takes over connections that request admin pages. Required if the state machine emits
    /// [`Output::Admin`](broker_core::machine::Output::Admin).
    pub admin: Option<TakeAdmin>,
    /// Sizes and limits.
    pub settings: EdgeSettings,
    /// Counts the client descriptors open in the process. Shared by all shards.
    pub descriptors: Arc<Descriptors>,
    /// Channel for the shard's reports. Must have capacity for two events per shard, or the shard blocks.
    pub events: Sender<ShardEvent>,
}

/// A listening socket. It must be bound, listening, and used by a single shard (`SO_REUSEPORT`). Accepted connections
/// inherit its `TCP_NODELAY` and `TCP_USER_TIMEOUT`.
#[derive(Debug)]
pub struct Listener {
    /// The socket. The shard closes it after [`Post::Stop`].
    pub socket: OwnedFd,
    /// Index of the listener in the configuration, for [`Peer::listener`](broker_core::machine::Peer). A listener may
    /// have several sockets with different addresses.
    pub number: u16,
    /// Whether connections to this socket use TLS.
    pub tls: bool,
    /// Networks of the proxies that may connect. Each connection from a proxy must start with a PROXY protocol header.
    /// Empty if there are no proxies.
    pub proxies: Vec<IpNet>,
    /// Whether other nodes open links to this socket, which then uses a separate TLS configuration. Inner listeners
    /// must be last in the list.
    pub inner: bool,
}

/// Sizes and limits of a shard's edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgeSettings {
    /// The ring and its receive buffers.
    pub ring: ring::RingSettings,
    /// Maximum number of client connections per process. At the limit, the process stops accepting. `RLIMIT_NOFILE`
    /// should be a few percent higher, since a multishot accept may drain the whole backlog before the connections are
    /// counted.
    pub connections: usize,
    /// Maximum number of TLS handshakes in progress per shard. At the limit, a new connection replaces a handshake from
    /// the address with the most handshakes, or one whose client is silent. If there is none, the new connection is
    /// closed.
    pub handshakes: usize,
    /// Maximum number of TLS handshakes in progress per address and shard. At the limit, a new connection replaces a
    /// handshake from the same address whose client is silent. If there is none, the new connection is closed. 0
    /// disables this limit.
    pub handshakes_per_address: usize,
    /// Maximum number of bytes per shard held in incomplete TLS records during handshakes. Above the limit, connections
    /// from the address with the most bytes are aborted.
    pub handshake_bytes: usize,
    /// Maximum number of bytes per shard held in incomplete TLS records after the handshake. Above the limit,
    /// connections are closed, starting with those that have not been admitted.
    pub partial_record_bytes: usize,
    /// Maximum time for a peer to send one TLS record after the handshake, in milliseconds. Slower connections are
    /// aborted. The state machine limits the duration of the handshake itself.
    pub record_ms: u64,
    /// Number of empty send buffers kept for reuse.
    pub spare_sends: usize,
    /// Number of received bytes after which a loop iteration handles no more completions. Responses wait in outboxes
    /// until the end of the iteration.
    pub turn_bytes: u64,
    /// Whether loop iterations are measured in thread CPU time, which costs one system call per iteration. On a busy
    /// machine, wall-clock time would include other work.
    pub turn_cpu: bool,
    /// Maximum time to move a connection to another shard, in milliseconds. A connection cannot move until its peer has
    /// accepted all earlier responses. It is aborted if that takes too long.
    pub leaving_ms: u64,
    /// `TCP_USER_TIMEOUT` of inter-node connections in milliseconds. 0 leaves the timeout to the kernel.
    pub tcp_user_ms: u64,
    /// Maximum total size in bytes, per shard, of requests that are waiting for a link or may be retried after being
    /// sent on one.
    pub link_request_bytes: usize,
    /// Maximum number of bytes per shard that links buffer for clients and sessions that cannot accept them yet.
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
            record_ms: 10_000, // the time limit for a message
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
    /// Returns the settings for one of `shards` shards. Divides the process's limits on incomplete TLS records, receive
    /// buffers and spare buffers (20 MiB) among the shards. Each shard gets at least what one connection requires.
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

    /// Returns the two limits on handshakes with other nodes: their number per shard, and the bytes that each one may
    /// hold.
    #[must_use]
    pub fn strangers() -> (usize, usize) {
        let receive = Self::default().ring.buffer_bytes as usize;
        (STRANGERS_MAX, LINK_ENGINE_BYTES + LINK_HELD_BYTES + receive)
    }

    /// Returns the maximum number of links per shard, and a link's size in bytes excluding its streams.
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

/// Number of client descriptors open in the process. Updated only on accept and close, with relaxed ordering. Small
/// errors are harmless, because `EMFILE` is handled as well.
#[derive(Debug, Default)]
pub struct Descriptors {
    open: AtomicUsize,
}

impl Descriptors {
    /// Increments the count and returns the new value.
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
    /// The state machine emitted [`Output::Drained`](broker_core::machine::Output::Drained).
    Drained(ShardId),
    /// The shard's thread is about to exit: after [`Post::Stop`] and once the shard has closed everything, or at any
    /// time because of a failure (see [`ShardHandle::failure`](crate::edge::ShardHandle::failure)).
    Ended(ShardId),
}
