//! The initial configuration of a shard's edge: its sockets, its sizes and limits, and the channel for its reports.

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
    /// The mailboxes of all shards, by [`ShardId`].
    pub mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// The TLS configuration, with the certificate that TLS listeners present. Required if there are TLS listeners.
    /// [`Post::Tls`] replaces it later.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The devices from which TLS listeners request a certificate. [`Post::Devices`] replaces them later.
    pub devices: Option<Arc<Devices>>,
    /// The links to the other nodes of a cluster. Required if any listener is an inner listener, or if the machine
    /// emits [`Output::PassOn`](broker_core::machine::Output::PassOn).
    pub links: Option<Arc<Links>>,
    /// The callback that takes over connections that request admin pages. Required if the machine emits
    /// [`Output::Admin`](broker_core::machine::Output::Admin).
    pub admin: Option<TakeAdmin>,
    /// Sizes and limits.
    pub settings: EdgeSettings,
    /// The counter of client descriptors that are open in the process. All shards share it.
    pub descriptors: Arc<Descriptors>,
    /// The channel for the shard's reports. Must have capacity for two events per shard. Otherwise, the shard blocks.
    pub events: Sender<ShardEvent>,
}

/// A listening socket. It must be bound, listening, and used by a single shard (`SO_REUSEPORT`). Accepted connections
/// inherit its `TCP_NODELAY` and `TCP_USER_TIMEOUT`.
#[derive(Debug)]
pub struct Listener {
    /// The socket. The shard closes it after [`Post::Stop`].
    pub socket: OwnedFd,
    /// Index of the socket's listener in the configuration, for [`Peer::listener`](broker_core::machine::Peer). Several
    /// sockets with different addresses may belong to the same listener.
    pub number: u16,
    /// Whether connections to this socket use TLS.
    pub tls: bool,
    /// Networks of the proxies that may connect. Each of their connections must start with a PROXY protocol header.
    /// Empty if no proxies are used.
    pub proxies: Vec<IpNet>,
    /// Whether other nodes open links to this socket, which then uses a separate TLS configuration. Inner listeners
    /// come last in the list.
    pub inner: bool,
}

/// The sizes and limits of a shard's edge.
#[derive(Clone, Copy, Debug)]
pub struct EdgeSettings {
    /// The ring and its receive buffers.
    pub ring: ring::RingSettings,
    /// Maximum number of client connections of the process. When it is reached, the process stops accepting
    /// connections. `RLIMIT_NOFILE` should be a few per cent higher, since a multishot accept may take the whole
    /// backlog before the connections are counted.
    pub connections: usize,
    /// Maximum number of TLS handshakes in progress per shard. At the limit, a handshake from the address with the most
    /// handshakes, or a handshake whose client is silent, is evicted to admit a new connection. If there is none, the
    /// new connection is closed.
    pub handshakes: usize,
    /// Maximum number of TLS handshakes in progress from one address, per shard. At the limit, a handshake whose client
    /// is silent is evicted to admit a new connection from the same address. If there is none, the new connection is
    /// closed. 0 disables this limit.
    pub handshakes_per_address: usize,
    /// Maximum number of bytes, per shard, of incomplete TLS records during handshakes. If it is exceeded, connections
    /// from the address with the most bytes are aborted.
    pub handshake_bytes: usize,
    /// Maximum number of bytes, per shard, of incomplete TLS records after the handshake. If it is exceeded,
    /// connections are closed, starting with those that have not been admitted.
    pub partial_record_bytes: usize,
    /// Maximum time that a peer may take to send a TLS record after the handshake, in milliseconds. Slower connections
    /// are aborted. The machine limits the duration of the handshake itself.
    pub record_ms: u64,
    /// Number of empty send buffers kept for reuse.
    pub spare_sends: usize,
    /// Number of received bytes after which a turn handles no more completions. Responses wait in outboxes until the
    /// end of the turn.
    pub turn_bytes: u64,
    /// Whether turns are measured by the CPU time of their thread. On a busy machine, the wall-clock time would include
    /// other work. Measuring CPU time costs a system call per turn.
    pub turn_cpu: bool,
    /// Maximum time in milliseconds that the transfer of a connection to another shard may take. A connection cannot be
    /// transferred until its peer has accepted all earlier responses. If the time runs out, the connection is aborted.
    pub leaving_ms: u64,
    /// `TCP_USER_TIMEOUT` of connections to other nodes, in milliseconds. 0 leaves the timeout to the kernel.
    pub tcp_user_ms: u64,
    /// Maximum size in bytes, per shard, of all requests that are waiting for a link, or that have been sent on a link
    /// and may be retried.
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
            record_ms: 10_000, // // the time limit for a message
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
    /// Returns the settings for one of `shards` shards. The process's limits on incomplete TLS records, receive buffers
    /// and spare buffers (20 MiB) are divided among the shards. Each shard gets at least what one connection requires.
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

    /// Returns two limits for connections to inner listeners that are in their handshake: their number per shard, and
    /// the number of bytes that each of them may hold.
    #[must_use]
    pub fn strangers() -> (usize, usize) {
        let receive = Self::default().ring.buffer_bytes as usize;
        (STRANGERS_MAX, LINK_ENGINE_BYTES + LINK_HELD_BYTES + receive)
    }

    /// Returns the maximum number of links per shard, and the size of a link in bytes without its streams.
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

/// The number of client descriptors open in the process. Updated only on accept and close, with relaxed ordering. Small
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
    /// The shard's thread is about to end. This happens after [`Post::Stop`], once the shard has closed everything, or
    /// at any time because of a failure (see [`ShardHandle::failure`](crate::edge::ShardHandle::failure)).
    Ended(ShardId),
}
