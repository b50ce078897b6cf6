//! The edge's fixed limits, with the reason for each and the behavior when it is reached.

use broker_core::limits::{OWNER_WAIT_MS, REPLY_MS_MAX, SHARDS_MAX, STALL_MS};

/// Maximum number of completions handled per loop iteration ("turn"). The rest wait until the next iteration, after
/// deadlines and messages from other shards.
pub(crate) const COMPLETIONS_PER_TURN: usize = 1024;

/// Amount of work ([`broker_core::work_units`]) that counts as one receive buffer ([`BUFFERS_PER_PEER`]) when it is
/// charged to a peer. This is the work caused by 8 KiB of ordinary messages. In one loop iteration, a peer can
/// therefore cause at most 16 times this work, plus the work of one more buffer.
pub(crate) const WORK_PER_BUFFER: u64 = 1536;

/// Maximum number of messages that a shard takes from its mailbox per loop iteration, so that a flood of messages
/// cannot starve the sockets.
pub(crate) const LETTERS_PER_TURN: usize = 256;

/// Duration in microseconds above which a loop iteration counts as long. On a slow core, an iteration with the maximum
/// work ([`broker_core::work_units::TURN`]) takes half as long.
pub(crate) const LONG_TURN_US: u64 = 8_000;

/// Maximum number of state machine ticks per loop iteration. The state machine limits the work per tick.
pub(crate) const TICKS_PER_TURN: usize = 4;

/// Maximum number of receive buffers that a peer may use per loop iteration (128 KiB with 8 KiB buffers). When a peer
/// reaches the limit, its receive is cancelled, and rearmed later. The cancellation takes effect one iteration later,
/// so the pool must contain more buffers than this.
pub(crate) const BUFFERS_PER_PEER: u8 = 16;

/// Number of consecutively filled buffers (128 KiB with 8 KiB buffers) after which a peer counts as flooding. From then
/// on, it is read with single receives until it is calm again.
pub(crate) const FILLED_IN_A_ROW: u8 = 16;

/// Number of receives with unfilled buffers after which a peer counts as calm. A calm peer is read with a multishot
/// receive, which saves one submission per receive. Other peers are read with single receives: a multishot receive
/// takes everything that a peer has sent, so a few floods would exhaust the pool and delay all other peers. A flooder
/// that reconnects for each burst must first complete this many round trips.
pub(crate) const CALM_RECEIVES: u8 = 64;

/// Maximum number of queued receives rearmed per loop iteration.
pub(crate) const REARMS_PER_TURN: usize = 32;

/// Maximum number of handshake steps per loop iteration. A step passes one receive to a TLS engine. It takes up to 100
/// µs and cannot be interrupted, so further receives wait. A handshake storm thus delays other clients' messages by
/// less than half a millisecond.
pub(crate) const HANDSHAKE_STEPS_PER_TURN: u32 = 4;

/// Maximum number of bytes copied into one send through the ring when the socket's buffer is full. The next piece is
/// copied once that send has completed.
pub(crate) const LAUNCH_BYTES: usize = 256 * 1024;

/// Maximum number of plaintext bytes encrypted at once. The scratch buffer has this size plus the record overhead.
pub(crate) const ENCRYPT_BYTES: usize = 64 * 1024;

/// Maximum number of pieces encrypted per connection and loop iteration. Pieces of the maximum size add up to 1 MiB,
/// the usual size of a full outbox.
pub(crate) const ENCRYPTS_PER_TURN: usize = 16;

/// Send buffer size of a connection that is not a WebSocket yet, in bytes as the kernel counts them. The kernel accepts
/// whole segments and fills the last one, so the buffer may hold up to 90 KiB more, at most 128 KiB. Further response
/// bytes wait in the outbox, which delays the connection's next requests.
pub(crate) const REQUEST_SEND_BYTES: usize = 32 * 1024;

/// Send buffer size of a WebSocket in bytes, capped by `wmem_max`. Used on kernels before Linux 5.14, which cannot
/// resume autotuning. Equals the usual size of a full outbox.
pub(crate) const WEB_SOCKET_SEND_BYTES: usize = 1024 * 1024;

/// Maximum number of unacknowledged bytes with which a socket is closed normally. If more are unacknowledged after
/// everything has been sent, the connection stays open until its deadline to wait for acknowledgements. If more are
/// unacknowledged when it is finally closed, it is reset, so that the kernel does not retain the bytes for up to
/// `TCP_USER_TIMEOUT`.
pub(crate) const ORPHAN_BYTES: u32 = 4 * 1024;

/// Maximum number of bytes read and discarded while a connection that has sent everything waits for the peer's FIN. If
/// more arrive, the connection is aborted.
pub(crate) const LINGER_BYTES: u32 = 256 * 1024;

/// Maximum number of bytes per connection held in incomplete TLS records and handshake messages. Leaves room for the
/// longest handshake message that rustls accepts (64 KiB), one record (16 KiB and 261 bytes), and one receive of any
/// size in use. A connection that exceeds the limit is aborted.
pub(crate) const HELD_BYTES: usize = 128 * 1024;

/// Maximum number of bytes per connection held in incomplete records after the handshake. A message needs one record
/// (16 KiB and 261 bytes), and one receive may contain the start of the next. A connection that exceeds the limit is
/// aborted.
pub(crate) const HELD_BYTES_SECURED: usize = 48 * 1024;

/// Maximum number of bytes received on a connection that is leaving for another shard, before its receive has been
/// cancelled. Request heads are read with single receives, so there are such bytes only if a state machine hands over
/// connections at other times. A connection that exceeds the limit is aborted.
pub(crate) const LEAVING_BYTES: usize = 1024 * 1024;

/// Maximum number of connections checked for the edge's own deadlines per loop iteration. The next iteration checks the
/// rest.
pub(crate) const OVERDUE_PER_TURN: usize = 64;

/// When incomplete records exceed their limit, 1/`RELIEF_PART` of the limit is freed. Freeing bytes requires a scan of
/// all connections with incomplete records. Freeing an eighth makes the scan rare: once per 2 MiB received.
pub(crate) const RELIEF_PART: u64 = 8;

/// Maximum number of queued TLS bytes other than application data. A server flight with a long certificate chain takes
/// 8 KiB. A peer that exceeds the limit provokes responses without reading them, so its connection is aborted.
pub(crate) const TLS_OUT_BYTES: usize = 128 * 1024;

/// Maximum number of empty buffers kept for sends through the ring. They take at most 4 MiB.
pub(crate) const SPARE_SENDS: usize = 16;

/// Maximum number of bytes read before a refusal is written. Without this read, the close would reset the connection
/// before the refusal arrives.
pub(crate) const REFUSAL_READ_BYTES: usize = 16 * 1024;

/// How long accepting pauses after an error, in milliseconds. Limits failing calls to 20 per second.
pub(crate) const ACCEPT_REST_MS: u64 = 50;

/// How long accepting pauses after the connection limit caused a refusal, in milliseconds. After each pause, the whole
/// backlog is accepted at once. A client that can replace another one therefore never waits longer than this, no matter
/// how many clients are refused.
pub(crate) const CROWDED_REST_MS: u64 = 2;

/// How long after the last traffic a shard still waits in its own ring, in milliseconds. Such a wait costs a third of a
/// wait through the executor, but delays the executor's own tasks.
pub(crate) const HOLD_MS: u64 = 1000;

/// Maximum sleep of a shard that has connections, in milliseconds. A longer gap between two loop iterations means that
/// the shard was not running ([`broker_core::limits::STALL_MS`]).
pub(crate) const BEAT_MS: u64 = 1_500;

/// Maximum total size of all shards' receive buffers, in bytes. Enough for 32 shards with the usual number of buffers.
/// See [`receive_buffers`].
const RECEIVE_BYTES_MAX: usize = 128 << 20;

/// Returns the number of receive buffers per shard, for `shards` shards and buffers of `bytes` bytes. Halves `usual`
/// until the buffers of all shards fit into [`RECEIVE_BYTES_MAX`]. A receive that finds no free buffer stops and is
/// rearmed once buffers have been returned, so no data is lost.
#[must_use]
pub(crate) const fn receive_buffers(shards: usize, usual: u16, bytes: u32) -> u16 {
    let mut buffers = usual;
    while buffers > RECEIVE_BUFFERS_MIN
        && buffers as usize * bytes as usize * shards > RECEIVE_BYTES_MAX
    {
        buffers /= 2;
    }
    buffers
}

/// Initial and minimum number of receive buffers per shard: four times what one peer may use per loop iteration. The
/// kernel cycles through all buffers, so 512 buffers would soon touch 4 MiB of memory, more than fits into the core's
/// cache. When no buffer is free, the shard doubles their number.
pub(crate) const RECEIVE_BUFFERS_MIN: u16 = 64;

/// Maximum number of bytes per process held in incomplete TLS records during handshakes. The limit is divided among the
/// shards, each of which gets at most 8 MiB. When a shard exceeds its part, it aborts connections from the address with
/// the most bytes.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 32 << 20;

/// Maximum number of bytes per process held in incomplete TLS records after handshakes. The limit is divided among the
/// shards, each of which gets at most 16 MiB.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

/// Minimum share of `HANDSHAKE_BYTES_MAX` and of `RECORD_BYTES_MAX` that each shard gets, in bytes. Enough for two
/// handshake messages of the maximum length.
pub(crate) const HELD_BYTES_MIN: usize = 256 << 10;

/// How long a request for another node may wait for a link, in milliseconds. A call on a link whose node has stopped
/// responding must also be answered within this time. Otherwise, the client gets 503.
pub(crate) const LINK_CONNECT_MS: u64 = 3_000;

/// Maximum time from the start of a stream to the owner's first byte, in milliseconds. A call may take
/// [`REPLY_MS_MAX`](broker_core::limits::REPLY_MS_MAX), after which the owner itself responds. If the owner does not
/// respond in time, the client gets 503.
pub(crate) const CALL_ANSWER_MS: u64 = REPLY_MS_MAX + 10_000;

/// Like [`CALL_ANSWER_MS`], but for a WebSocket upgrade, which only has to wait until the channel's owner is known. If
/// a node does not respond, the request may be retried with another one.
pub(crate) const UPGRADE_ANSWER_MS: u64 = OWNER_WAIT_MS + 2_000;

/// How long a client may take to close its side after receiving this node's FIN, in milliseconds. Slower clients are
/// aborted.
pub(crate) const CLIENT_LINGER_MS: u64 = 10_000;

/// How long the owner may take to end a client's stream when this node shuts down, in milliseconds. After that, the
/// client's connection is closed regardless.
pub(crate) const CLIENT_LEAVE_MS: u64 = 4_000;

/// How long a client may take to receive its last bytes after its stream has ended, in milliseconds. Slower clients are
/// aborted.
pub(crate) const CLIENT_STALL_MS: u64 = 20_000;

/// Maximum number of clients per shard whose requests are waiting for a link. At the limit, a new client replaces a
/// waiting client from the address with the most waiting clients, or a client that has waited for several seconds. If
/// there is no such client, the new one gets 503.
pub(crate) const CLIENTS_WAITING_MAX: usize = 1024;

/// Maximum number of bytes per process in requests that are waiting for a link, or for a response on a link. The limit
/// is divided among the shards, each of which gets at most 8 MiB. When a shard exceeds its part, it evicts waiting
/// requests as for `CLIENTS_WAITING_MAX`, and does not retry requests on links.
pub(crate) const LINK_REQUEST_BYTES_MAX: usize = 32 << 20;

/// Maximum number of bytes per process that links buffer for clients and sessions that cannot accept them yet. The
/// limit is divided among the shards, each of which gets at most 16 MiB. When a shard exceeds its part, the account
/// with the most bytes on the fullest link loses its largest streams.
pub(crate) const LINK_WAITING_BYTES_MAX: usize = 64 << 20;

/// Minimum share of `LINK_REQUEST_BYTES_MAX` and of `LINK_WAITING_BYTES_MAX` that each shard gets, in bytes. Larger
/// than the largest request.
pub(crate) const LINK_BYTES_MIN: usize = 512 << 10;

/// Maximum number of handshakes in progress on inner listeners, per shard. At the limit, the oldest connection is
/// closed to make room for a new one.
pub(crate) const STRANGERS_MAX: usize = 1024;

/// Maximum number of bytes that an inter-node connection may hold in incomplete records during its handshake, not
/// counting one receive. A node needs less than 1 KiB. A connection that exceeds the limit is closed.
pub(crate) const LINK_HELD_BYTES: usize = 4 << 10;

/// Size of a link's TLS engine in bytes, excluding its buffers.
pub(crate) const LINK_ENGINE_BYTES: usize = 4 << 10;

/// Size of a link in bytes, excluding its engine and its streams.
pub(crate) const LINK_BYTES: usize = 512;

/// Maximum number of links per shard, in both directions. A shard opens one link to each remote shard that serves
/// channels of its clients, and accepts the links that other shards open to it. At the limit, a client gets 503, and a
/// link from another node is closed.
pub(crate) const LINKS_PER_SHARD_MAX: usize = 1024;

/// Maximum length of a response to a forwarded call. The client's node buffers the response, and resets the client if
/// it is longer. Lists, which have the longest responses, are served by the client's own node.
pub(crate) const CALL_ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long another node may take to send its complete hello after we have accepted its connection, in milliseconds.
/// Slower connections are closed.
pub(crate) const HELLO_MS: u64 = 5_000;

/// Age, in milliseconds, at which an unfinished handshake on an inner listener may be evicted. At the connection limit,
/// such a handshake makes room for any other connection. A node completes its handshake within one or two round trips.
pub(crate) const STRANGER_PATIENCE_MS: u64 = 250;

const _: () = assert!(ENCRYPT_BYTES <= LAUNCH_BYTES);
const _: () = assert!(BEAT_MS < STALL_MS);
const _: () = assert!(LINK_BYTES_MIN >= 2 * LAUNCH_BYTES);
const _: () = assert!(LINK_CONNECT_MS < HELLO_MS && STRANGER_PATIENCE_MS < HELLO_MS);
const _: () = assert!(HELD_BYTES > (64 + 17 + 8) * 1024);
const _: () = assert!(2 * HELD_BYTES <= HELD_BYTES_MIN);
const _: () = assert!(HELD_BYTES_SECURED > 17 * 1024 + 16 * 1024);
const _: () = assert!(receive_buffers(32, 512, 8192) == 512);
const _: () = assert!(receive_buffers(33, 512, 8192) == 256);
const _: () = assert!(
    receive_buffers(SHARDS_MAX, 512, 8192) as usize * 8192 * SHARDS_MAX <= RECEIVE_BYTES_MAX
);
