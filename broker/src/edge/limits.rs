//! Bounds of the edge that are not configuration, each with its reason and what happens when it is reached.

use broker_core::limits::{OWNER_WAIT_MS, REPLY_MS_MAX, SHARDS_MAX, STALL_MS};

/// Completions served in one turn. The rest waits for the next one, after letters and deadlines.
pub(crate) const COMPLETIONS_PER_TURN: usize = 1024;

/// Work ([`broker_core::work_units`]) that counts as one receive buffer of a peer's share of a turn
/// ([`BUFFERS_PER_PEER`]): that of 8 KiB of ordinary messages. So no peer gets more than 16 times as much in a turn,
/// plus one buffer.
pub(crate) const WORK_PER_BUFFER: u64 = 1536;

/// Letters taken in one turn: a flood of them cannot keep the sockets waiting.
pub(crate) const LETTERS_PER_TURN: usize = 256;

/// Duration beyond which a turn counts as long, in microseconds: twice that of a whole turn's work on a slow core
/// ([`broker_core::work_units::TURN`]).
pub(crate) const LONG_TURN_US: u64 = 8_000;

/// Ticks in one turn; the machine bounds the work of each.
pub(crate) const TICKS_PER_TURN: usize = 4;

/// Receive buffers that one peer gets in one turn (128 KiB of 8 KiB buffers); then its receive is cancelled and
/// listed. The cancellation acts one turn later, so the pool is larger than this.
pub(crate) const BUFFERS_PER_PEER: u8 = 16;

/// Receives in a row that fill their buffers (128 KiB of 8 KiB buffers), after which a peer is read by single receives
/// until it is calm again.
pub(crate) const FILLED_IN_A_ROW: u8 = 16;

/// Receives that leave room in their buffers, after which a peer is read by a multishot receive, which saves a
/// submission for each. Until then single receives are used: a multishot one takes everything that a peer has sent, so
/// a few floods would empty the pool, and everybody else's next bytes would be served after all of their buffers. A
/// flooding peer that reconnects for each burst needs as many round trips before each.
pub(crate) const CALM_RECEIVES: u8 = 64;

/// Listed receives armed again in one turn.
pub(crate) const REARMS_PER_TURN: usize = 32;

/// Receives passed to TLS engines in a handshake in one turn. A step takes up to 100 µs in one piece: the other
/// receives wait, so that a storm of handshakes adds less than half a millisecond to everybody else's messages.
pub(crate) const HANDSHAKE_STEPS_PER_TURN: u32 = 4;

/// Bytes copied into one send of the ring, when the socket is full. The next piece is copied when it is done.
pub(crate) const LAUNCH_BYTES: usize = 256 * 1024;

/// Plaintext encrypted in one piece: the scratch buffer has this size plus the records' overhead.
pub(crate) const ENCRYPT_BYTES: usize = 64 * 1024;

/// Pieces encrypted for one connection in one turn: 1 MiB, the usual size of a whole outbox.
pub(crate) const ENCRYPTS_PER_TURN: usize = 16;

/// Send buffer of a connection until it is a WebSocket, as the kernel counts it. The kernel accepts whole segments, and
/// fills a started one, so it holds up to 90 KiB more: at most 128 KiB. Further answers wait in the outbox, and
/// requests with them.
pub(crate) const REQUEST_SEND_BYTES: usize = 32 * 1024;

/// Send buffer of a WebSocket where the kernel does not adapt it again (before Linux 5.14), as far as `wmem_max` allows
/// it: the usual size of a whole outbox.
pub(crate) const WEB_SOCKET_SEND_BYTES: usize = 1024 * 1024;

/// Most bytes that a peer may not have acknowledged when its descriptor is closed. With more the connection is reset,
/// or stays until its deadline if everything was sent: the kernel would keep them for as long as `TCP_USER_TIMEOUT`
/// lasts.
pub(crate) const ORPHAN_BYTES: u32 = 4 * 1024;

/// Bytes read and discarded after the last own byte was sent, while the peer's end is awaited. More: aborted.
pub(crate) const LINGER_BYTES: u32 = 256 * 1024;

/// Bytes of incomplete TLS records and handshake messages of one connection: the longest handshake message that rustls
/// accepts (64 KiB), one record (16 KiB + 261) and one receive of each size in use. More: aborted.
pub(crate) const HELD_BYTES: usize = 128 * 1024;

/// Bytes of incomplete records after the handshake: one message needs one record (16 KiB + 261), and one receive may
/// hold the beginning of the next. More: aborted.
pub(crate) const HELD_BYTES_SECURED: usize = 48 * 1024;

/// Bytes that arrive on a connection while it leaves for another shard, until its receive is cancelled. A request head
/// is read by single receives, so there are none, except with machines that hand connections over at other moments.
/// More: aborted.
pub(crate) const LEAVING_BYTES: usize = 1024 * 1024;

/// Connections checked in one turn for the edge's own deadlines; the others are due in the next turn.
pub(crate) const OVERDUE_PER_TURN: usize = 64;

/// Part of the budget of incomplete records that is freed when it is exceeded, so that the search for holders is rare:
/// one walk over all holders for each 2 MiB that arrive.
pub(crate) const RELIEF_PART: u64 = 8;

/// TLS bytes other than application data that wait to be sent: a server flight with a long certificate chain is 8 KiB.
/// More means that the peer causes answers without reading them: aborted.
pub(crate) const TLS_OUT_BYTES: usize = 128 * 1024;

/// Empty buffers of ring sends kept for reuse: at most 4 MiB.
pub(crate) const SPARE_SENDS: usize = 16;

/// Bytes read before a refusal is written, so that closing does not reset the connection before it arrives.
pub(crate) const REFUSAL_READ_BYTES: usize = 16 * 1024;

/// Pause of accepting after an error, in milliseconds: an error costs 20 calls a second at most.
pub(crate) const ACCEPT_REST_MS: u64 = 50;

/// Pause of accepting when connections are used up and a newcomer found no room, in milliseconds: a backlog is accepted
/// in one go, and is closed before the next. Clients for which others are evicted wait no longer, whatever the number
/// of refused ones.
pub(crate) const CROWDED_REST_MS: u64 = 2;

/// Time after the last traffic for which a shard waits in its own ring, in milliseconds: that costs a third of a wait
/// through the executor, but delays the executor's own tasks.
pub(crate) const HOLD_MS: u64 = 1000;

/// Longest sleep of a shard with connections, in milliseconds: a longer time between two turns shows that it did not
/// run ([`broker_core::limits::STALL_MS`]).
pub(crate) const BEAT_MS: u64 = 1_500;

/// Receive buffers of all shards together, in bytes: those of 32 shards with the usual number. See [`receive_buffers`].
const RECEIVE_BYTES_MAX: usize = 128 << 20;

/// Receive buffers of one shard of `shards`, each of `bytes`: `usual`, or its share of [`RECEIVE_BYTES_MAX`], a power
/// of two. When none is left, receives end and are armed again as buffers are given back: nothing is lost.
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

/// Fewest receive buffers of a shard, used at first: four times the share of one peer in a turn. The kernel uses all
/// buffers in turn, so 512 of them would soon be 4 MiB of touched memory, more than the core's cache; when none is
/// left, the shard doubles them.
pub(crate) const RECEIVE_BUFFERS_MIN: u16 = 64;

/// Bytes of incomplete TLS records of handshakes in the process, divided among its shards, 8 MiB each at most. Beyond
/// it connections of the address that holds most are aborted.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 32 << 20;

/// Bytes of incomplete TLS records after the handshake, divided likewise: 16 MiB a shard at most.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

/// Least share of a shard in both: two of the longest handshake messages that one connection may hold.
pub(crate) const HELD_BYTES_MIN: usize = 256 << 10;

/// Time from a request for another node to its place on a link, in milliseconds; for a call on a suspect link also to
/// its answer. Later: 503.
pub(crate) const LINK_CONNECT_MS: u64 = 3_000;

/// Time from the start of a stream to the owner's first byte, in milliseconds: a call may take
/// [`REPLY_MS_MAX`](broker_core::limits::REPLY_MS_MAX), after which the owner answers by itself. Later: 503.
pub(crate) const CALL_ANSWER_MS: u64 = REPLY_MS_MAX + 10_000;

/// [`CALL_ANSWER_MS`] for an upgrade, which waits for nothing but an owner: its request may be retried, so a node that
/// hangs does not keep it.
pub(crate) const UPGRADE_ANSWER_MS: u64 = OWNER_WAIT_MS + 2_000;

/// Time that a client has to close after the own FIN, in milliseconds. Longer: aborted.
pub(crate) const CLIENT_LINGER_MS: u64 = 10_000;

/// Time that the owner has to end a client's stream when this node shuts down, in milliseconds. Longer: the client is
/// closed without that.
pub(crate) const CLIENT_LEAVE_MS: u64 = 4_000;

/// Time that a client has to take its last bytes after its stream has ended, in milliseconds. Longer: aborted.
pub(crate) const CLIENT_STALL_MS: u64 = 20_000;

/// Clients of a shard whose request waits for a link. For one more the address with most loses one, or one that has
/// waited for some seconds is evicted; else it gets 503.
pub(crate) const CLIENTS_WAITING_MAX: usize = 1024;

/// Bytes of requests in the process that wait for a link or, on one, for an answer, divided among its shards, 8 MiB
/// each at most. Beyond it waiting ones are evicted as above, and those on links are not retried.
pub(crate) const LINK_REQUEST_BYTES_MAX: usize = 32 << 20;

/// Bytes that links buffer in the process for clients and sessions without room, divided among its shards, 16 MiB each
/// at most. Beyond it the account with most on the fullest link loses its largest streams.
pub(crate) const LINK_WAITING_BYTES_MAX: usize = 64 << 20;

/// Least share of a shard in both: more than the largest request.
pub(crate) const LINK_BYTES_MIN: usize = 512 << 10;

/// Connections to inner listeners of a shard in their handshake. For one more the oldest is closed.
pub(crate) const STRANGERS_MAX: usize = 1024;

/// Bytes of incomplete records of a connection between nodes in its handshake, beside one receive. A node needs less
/// than 1 KiB. More: closed.
pub(crate) const LINK_HELD_BYTES: usize = 4 << 10;

/// Bytes of the TLS engine of a link, without its buffers.
pub(crate) const LINK_ENGINE_BYTES: usize = 4 << 10;

/// Bytes of a link beside its engine and its streams.
pub(crate) const LINK_BYTES: usize = 512;

/// Links of a shard with other nodes, both ways, that carry clients as streams: one for each shard of each node that
/// has clients or channels of this one. Beyond it a client gets 503, and a link of another node is closed.
pub(crate) const LINKS_PER_SHARD_MAX: usize = 1024;

/// Longest answer to a call that the front of a link collects. Longer: the client is reset. Lists, the longest answers,
/// are answered by each node itself.
pub(crate) const CALL_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Time from a connection of another node to its whole hello, in milliseconds. Later: closed.
pub(crate) const HELLO_MS: u64 = 5_000;

/// Time after which a handshake on an inner listener may be evicted for any other connection when all places are taken:
/// a node needs a round trip or two.
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
