//! Limits of the edge that are not configurable, each with its rationale and what happens when it is reached.

use broker_core::limits::{OWNER_WAIT_MS, REPLY_MS_MAX, SHARDS_MAX, STALL_MS};

/// Maximum number of completions per turn. Further completions wait until the next turn, after letters and deadlines.
pub(crate) const COMPLETIONS_PER_TURN: usize = 1024;

/// Work ([`broker_core::work_units`]) that counts as one receive buffer of a peer's share of a turn
/// ([`BUFFERS_PER_PEER`]): that of 8 KiB of ordinary messages. A peer's work per turn is thus limited to 16 times this
/// value, plus one buffer.
pub(crate) const WORK_PER_BUFFER: u64 = 1536;

/// Maximum number of letters per turn, so that a flood of letters cannot starve the sockets.
pub(crate) const LETTERS_PER_TURN: usize = 256;

/// Duration above which a turn counts as long, in microseconds: twice that of a turn with the maximum work on a slow
/// core ([`broker_core::work_units::TURN`]).
pub(crate) const LONG_TURN_US: u64 = 8_000;

/// Maximum number of ticks per turn; the machine limits the work per tick.
pub(crate) const TICKS_PER_TURN: usize = 4;

/// Maximum number of receive buffers per peer and turn (128 KiB with buffers of 8 KiB), above which the peer's receive
/// is cancelled and listed to be rearmed. Cancellation takes effect one turn later, so the pool must be larger than
/// this.
pub(crate) const BUFFERS_PER_PEER: u8 = 16;

/// Number of consecutive receives that fill their buffers (128 KiB with buffers of 8 KiB) after which a peer is read
/// with single receives until it is calm again.
pub(crate) const FILLED_IN_A_ROW: u8 = 16;

/// Number of receives that leave room in their buffers after which a peer is read with a multishot receive, which saves
/// submitting each receive. Until then, single receives are used: a multishot receive takes everything that a peer has
/// sent, so a few floods would exhaust the pool and delay all other peers. A flooding peer that reconnects for each
/// burst must first complete this number of round trips.
pub(crate) const CALM_RECEIVES: u8 = 64;

/// Maximum number of listed receives rearmed per turn.
pub(crate) const REARMS_PER_TURN: usize = 32;

/// Maximum number of receives per turn passed to TLS engines during a handshake. Each step takes up to 100 µs and
/// cannot be interrupted, so the remaining receives wait: a storm of handshakes then delays other clients' messages by
/// less than half a millisecond.
pub(crate) const HANDSHAKE_STEPS_PER_TURN: u32 = 4;

/// Maximum number of bytes copied into one send through the ring when the socket's buffer is full. The next piece is
/// copied once that send completes.
pub(crate) const LAUNCH_BYTES: usize = 256 * 1024;

/// Maximum number of plaintext bytes encrypted at once, which determines the size of the scratch buffer: this size plus
/// the overhead of the records.
pub(crate) const ENCRYPT_BYTES: usize = 64 * 1024;

/// Maximum number of pieces encrypted per connection and turn, 1 MiB in total: the usual size of a full outbox.
pub(crate) const ENCRYPTS_PER_TURN: usize = 16;

/// Send buffer of a connection until it becomes a WebSocket, in bytes as counted by the kernel. The kernel accepts
/// whole segments and fills up the last one, so the buffer may hold up to 90 KiB more: at most 128 KiB. Further
/// responses wait in the outbox, and block their requests.
pub(crate) const REQUEST_SEND_BYTES: usize = 32 * 1024;

/// Send buffer of a WebSocket in bytes, limited by `wmem_max`, for kernels that do not adapt it again (before Linux
/// 5.14): the usual size of a full outbox.
pub(crate) const WEB_SOCKET_SEND_BYTES: usize = 1024 * 1024;

/// Maximum number of unacknowledged bytes with which a descriptor is closed. If there are more, the connection is
/// reset, or stays open until its deadline if everything was sent; otherwise the kernel would retain the bytes for up
/// to `TCP_USER_TIMEOUT`.
pub(crate) const ORPHAN_BYTES: u32 = 4 * 1024;

/// Maximum number of bytes read and discarded after our last byte was sent, while waiting for the peer's FIN. Above it,
/// the connection is aborted.
pub(crate) const LINGER_BYTES: u32 = 256 * 1024;

/// Maximum number of bytes of incomplete TLS records and handshake messages per connection: the longest handshake
/// message that rustls accepts (64 KiB), one record (16 KiB + 261) and one receive of each size in use. Above it, the
/// connection is aborted.
pub(crate) const HELD_BYTES: usize = 128 * 1024;

/// Maximum number of bytes of incomplete records after the handshake: one message needs one record (16 KiB + 261), and
/// one receive may contain the beginning of the next. Above it, the connection is aborted.
pub(crate) const HELD_BYTES_SECURED: usize = 48 * 1024;

/// Maximum number of bytes received on a connection that is leaving for another shard, until its receive has been
/// cancelled. Request heads are read with single receives, so there are none unless a machine hands connections over at
/// other times. Above it, the connection is aborted.
pub(crate) const LEAVING_BYTES: usize = 1024 * 1024;

/// Maximum number of connections checked per turn for the edge's own deadlines; any others are checked in the next
/// turn.
pub(crate) const OVERDUE_PER_TURN: usize = 64;

/// Divisor that determines which part of the budget for incomplete records is freed when the budget is exceeded.
/// Freeing this much makes passes over all holders rare: one for each 2 MiB received.
pub(crate) const RELIEF_PART: u64 = 8;

/// Maximum number of queued TLS bytes other than application data; a server flight with a long certificate chain takes
/// 8 KiB. More means that the peer provokes responses without reading them, so the connection is aborted.
pub(crate) const TLS_OUT_BYTES: usize = 128 * 1024;

/// Maximum number of empty buffers kept for sends through the ring: at most 4 MiB.
pub(crate) const SPARE_SENDS: usize = 16;

/// Maximum number of bytes read before a refusal is written, so that closing does not reset the connection before the
/// refusal arrives.
pub(crate) const REFUSAL_READ_BYTES: usize = 16 * 1024;

/// Time for which accepting pauses after an error, in milliseconds; limits failing calls to 20 per second.
pub(crate) const ACCEPT_REST_MS: u64 = 50;

/// Time for which accepting pauses, in milliseconds, when the connection limit is reached and a new connection was
/// refused: the backlog is accepted at once, and closed before the next one. Clients that are admitted by evicting
/// others wait no longer than this, however many are refused.
pub(crate) const CROWDED_REST_MS: u64 = 2;

/// Time after the last traffic during which a shard waits in its own ring, in milliseconds: this costs a third of a
/// wait through the executor, but delays the executor's own tasks.
pub(crate) const HOLD_MS: u64 = 1000;

/// Maximum sleep of a shard with connections, in milliseconds: a longer gap between two turns indicates that the shard
/// was not running ([`broker_core::limits::STALL_MS`]).
pub(crate) const BEAT_MS: u64 = 1_500;

/// Maximum total size of the receive buffers of all shards, in bytes: enough for 32 shards with the usual number of
/// buffers. See [`receive_buffers`].
const RECEIVE_BYTES_MAX: usize = 128 << 20;

/// Returns the number of receive buffers per shard, for `shards` shards and buffers of `bytes` bytes: `usual`, halved
/// until the buffers of all shards fit [`RECEIVE_BYTES_MAX`]. When no buffer is left, receives end and are rearmed as
/// buffers are returned, so no data is lost.
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

/// Initial and minimum number of receive buffers of a shard: four times the number that one peer may use per turn. The
/// kernel cycles through all buffers, so 512 would soon touch 4 MiB of memory, more than the core's cache. When no
/// buffer is left, the shard doubles their number.
pub(crate) const RECEIVE_BUFFERS_MIN: u16 = 64;

/// Maximum number of bytes of incomplete TLS records in handshakes per process, divided among its shards, with at most
/// 8 MiB each. Above it, connections of the address with the most bytes are aborted.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 32 << 20;

/// Maximum number of bytes of incomplete TLS records after the handshake per process, divided among its shards, with at
/// most 16 MiB each.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

/// Minimum share of a shard in `HANDSHAKE_BYTES_MAX` and in `RECORD_BYTES_MAX`, in bytes: two handshake messages of the
/// maximum length.
pub(crate) const HELD_BYTES_MIN: usize = 256 << 10;

/// Time within which a request for another node must be assigned to a link, in milliseconds; a call on a suspect link
/// must also be answered within it. After that, the client gets 503.
pub(crate) const LINK_CONNECT_MS: u64 = 3_000;

/// Time from the start of a stream to the owner's first byte, in milliseconds: a call may take
/// [`REPLY_MS_MAX`](broker_core::limits::REPLY_MS_MAX), after which the owner itself responds. If the owner does not,
/// the client gets 503.
pub(crate) const CALL_ANSWER_MS: u64 = REPLY_MS_MAX + 10_000;

/// Equivalent of [`CALL_ANSWER_MS`] for an upgrade, which only waits for an owner. The request may be retried, so an
/// unresponsive node does not delay it.
pub(crate) const UPGRADE_ANSWER_MS: u64 = OWNER_WAIT_MS + 2_000;

/// Time for a client to close its side after our FIN, in milliseconds, after which it is aborted.
pub(crate) const CLIENT_LINGER_MS: u64 = 10_000;

/// Time for the owner to end a client's stream when this node shuts down, in milliseconds, after which the client is
/// closed regardless.
pub(crate) const CLIENT_LEAVE_MS: u64 = 4_000;

/// Time for a client to receive its last bytes after its stream has ended, in milliseconds, after which it is aborted.
pub(crate) const CLIENT_STALL_MS: u64 = 20_000;

/// Maximum number of clients per shard whose requests wait for a link. At the limit, a client from the address with the
/// most waiting clients, or one that has waited for several seconds, is evicted to admit a new one; if there is none,
/// the new client gets 503.
pub(crate) const CLIENTS_WAITING_MAX: usize = 1024;

/// Maximum number of bytes per process of requests that wait for a link, or for a response on a link, divided among its
/// shards, with at most 8 MiB each. Above it, waiting requests are evicted as for `CLIENTS_WAITING_MAX`, and requests
/// on links are not retried.
pub(crate) const LINK_REQUEST_BYTES_MAX: usize = 32 << 20;

/// Maximum number of bytes per process that links buffer for clients and sessions that cannot accept them, divided
/// among its shards, with at most 16 MiB each. Above it, the account with the most bytes on the fullest link loses its
/// largest streams.
pub(crate) const LINK_WAITING_BYTES_MAX: usize = 64 << 20;

/// Minimum share of a shard in `LINK_REQUEST_BYTES_MAX` and in `LINK_WAITING_BYTES_MAX`, in bytes: more than the
/// largest request.
pub(crate) const LINK_BYTES_MIN: usize = 512 << 10;

/// Maximum number of connections to inner listeners per shard that are in their handshake. At the limit, the oldest is
/// closed to admit a new one.
pub(crate) const STRANGERS_MAX: usize = 1024;

/// Maximum number of bytes of incomplete records per inter-node connection in its handshake, in addition to one
/// receive. A node needs less than 1 KiB. Above it, the connection is closed.
pub(crate) const LINK_HELD_BYTES: usize = 4 << 10;

/// Size of a link's TLS engine in bytes, without its buffers.
pub(crate) const LINK_ENGINE_BYTES: usize = 4 << 10;

/// Size of a link in bytes, without its engine and its streams.
pub(crate) const LINK_BYTES: usize = 512;

/// Maximum number of a shard's links with other nodes, in both directions, that carry clients as streams: there is one
/// for each shard of each node that has clients or channels of this shard. Above it, a client gets 503, and a link from
/// another node is closed.
pub(crate) const LINKS_PER_SHARD_MAX: usize = 1024;

/// Maximum length of a call's response that the front of a link collects; above it, the client is reset. Lists, which
/// have the longest responses, are served by each node itself.
pub(crate) const CALL_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Time within which another node must complete its hello after its connection was accepted, in milliseconds; otherwise
/// the connection is closed.
pub(crate) const HELLO_MS: u64 = 5_000;

/// Time after which a handshake on an inner listener may be evicted to admit any other connection when the limit is
/// reached: a node needs only a round trip or two.
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
