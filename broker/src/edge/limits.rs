//! Bounds of the edge that are not configuration, each with its reason and what happens when it is full.

use broker_core::limits::{OWNER_WAIT_MS, REPLY_MS_MAX, SHARDS_MAX, STALL_MS};

/// Completions served in one turn. The rest is served by the next one, after letters and deadlines had theirs.
pub(crate) const COMPLETIONS_PER_TURN: usize = 1024;

/// Work ([`broker_core::work_units`]) that counts as one receive buffer of a peer's share of a turn
/// ([`BUFFERS_PER_PEER`]): what 8 KiB of ordinary messages are. So no peer gets more than 16 times as much in a turn,
/// and what one buffer holds.
pub(crate) const WORK_PER_BUFFER: u64 = 1536;

/// Letters taken in one turn: a flood of them cannot keep the sockets waiting.
pub(crate) const LETTERS_PER_TURN: usize = 256;

/// A turn that takes longer is counted as a long one, in microseconds: twice what a whole turn's work takes on a slow
/// core ([`broker_core::work_units::TURN`]).
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
/// submission for each. Until then it is read by single receives: a multishot one takes all that a peer has sent, so
/// that a few floods would empty the pool, and everybody else's next bytes would be served behind all of their buffers.
/// A flood that connects again for each of its bursts needs as many round trips before each.
pub(crate) const CALM_RECEIVES: u8 = 64;

/// Listed receives armed again in one turn, in turn.
pub(crate) const REARMS_PER_TURN: usize = 32;

/// Receives that go into a TLS engine under handshake in one turn. A step takes up to 100 µs in one piece: the others
/// wait with their bytes aside, so that a storm of handshakes adds less than half a millisecond to everybody else's
/// messages.
pub(crate) const HANDSHAKE_STEPS_PER_TURN: u32 = 4;

/// Bytes copied into one send of the ring, when the socket has no room. The next piece is copied when it is done.
pub(crate) const LAUNCH_BYTES: usize = 256 * 1024;

/// Plaintext encrypted in one piece: the scratch is this and its records' overhead.
pub(crate) const ENCRYPT_BYTES: usize = 64 * 1024;

/// Pieces encrypted for one connection in one turn: 1 MiB, the usual size of a whole outbox.
pub(crate) const ENCRYPTS_PER_TURN: usize = 16;

/// Bytes read and thrown away after the last of ours was sent, while the peer's end is awaited. More: cut off.
pub(crate) const LINGER_BYTES: u32 = 256 * 1024;

/// Bytes of unfinished TLS records and handshake messages of one connection: the longest handshake message that rustls
/// takes (64 KiB), one record (16 KiB + 261) and one receive of each size in use. More: cut off.
pub(crate) const HELD_BYTES: usize = 128 * 1024;

/// The same once the handshake is over: what one message needs is one record (16 KiB + 261), and one receive may hold
/// the beginning of the next. More: cut off.
pub(crate) const HELD_BYTES_SECURED: usize = 48 * 1024;

/// Bytes that arrive on a connection while it leaves for another shard: what a receive brings before it is cancelled.
/// A request head is read by single receives, so this is none, except machines that send connections on at other
/// moments. More: cut off.
pub(crate) const LEAVING_BYTES: usize = 1024 * 1024;

/// Connections looked at in one turn because the edge's own deadline is due; the others are due at once, in the next
/// turn.
pub(crate) const OVERDUE_PER_TURN: usize = 64;

/// When the holders of unfinished records are over their budget, it is brought down by this part of it, so that the
/// search for who pays is rare: one walk over all holders for each 2 MiB that arrive.
pub(crate) const RELIEF_PART: u64 = 8;

/// TLS bytes other than application data that wait to be sent: a server flight with a long certificate chain is 8 KiB.
/// More means that the peer makes us answer without reading: cut off.
pub(crate) const TLS_OUT_BYTES: usize = 128 * 1024;

/// Empty buffers of ring sends kept for reuse: at most 4 MiB.
pub(crate) const SPARE_SENDS: usize = 16;

/// Bytes read before a refusal is written, so that closing does not reset the connection under it.
pub(crate) const REFUSAL_READ_BYTES: usize = 16 * 1024;

/// Pause of accepting after an error, in milliseconds: an error costs 20 calls a second at most.
pub(crate) const ACCEPT_REST_MS: u64 = 50;

/// Pause of accepting when connections are used up and a newcomer found no room, in milliseconds: a backlog is accepted
/// in one go, and is closed before the next. Clients for which others make room wait for no longer, whatever the number
/// of those that are refused.
pub(crate) const CROWDED_REST_MS: u64 = 2;

/// Time after the last traffic for which a shard waits in its own ring, in milliseconds: that costs a third of a wait
/// through the executor, but keeps the executor's own tasks waiting.
pub(crate) const HOLD_MS: u64 = 1000;

/// Longest sleep of a shard that has connections, in milliseconds: so that a longer time between two turns shows that
/// it did not run ([`broker_core::limits::STALL_MS`]).
pub(crate) const BEAT_MS: u64 = 1_500;

/// Receive buffers of all shards together, in bytes: as many as 32 shards of the usual number of buffers have. See
/// [`receive_buffers`].
const RECEIVE_BYTES_MAX: usize = 128 << 20;

/// Receive buffers of one shard of `shards`, each of `bytes`: `usual`, or its share of [`RECEIVE_BYTES_MAX`], a power
/// of two. When none is left, receives end and are armed again as buffers come back: nothing is lost.
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

/// Receive buffers of a shard at least, and those that it begins with: four times what one peer gets in a turn. The
/// kernel uses all buffers in turn, so 512 of them would soon be 4 MiB that are touched, more than the core's cache
/// holds; when none is left, the shard adds as many as it has.
pub(crate) const RECEIVE_BUFFERS_MIN: u16 = 64;

/// Bytes of unfinished TLS records of handshakes under way in the process, shared out among its shards, 8 MiB each at
/// most. Beyond it connections of the address that holds most are cut off.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 32 << 20;

/// The same of connections whose handshake is over: 16 MiB a shard at most.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

/// The least share of a shard of both: two of the longest handshake messages that one connection may hold.
pub(crate) const HELD_BYTES_MIN: usize = 256 << 10;

/// From the beginning of a tunnel to the owner's greeting, in milliseconds; to its first byte, where it had greeted
/// before. Later: 503.
pub(crate) const TUNNEL_CONNECT_MS: u64 = 3_000;

/// From the beginning of a tunnel to the owner's first byte, in milliseconds: a call may take
/// [`REPLY_MS_MAX`](broker_core::limits::REPLY_MS_MAX), after which the owner answers by itself. Later: 503. Also how
/// long a tunnel whose client has ended goes on.
pub(crate) const TUNNEL_ANSWER_MS: u64 = REPLY_MS_MAX + 10_000;

/// The same of an upgrade, which waits for nothing but an owner: its request may be sent again, so a node that hangs
/// does not keep it.
pub(crate) const TUNNEL_UPGRADE_MS: u64 = OWNER_WAIT_MS + 2_000;

/// Time that a client may take for what its tunnel's owner sent last, in milliseconds. Longer: cut off.
pub(crate) const TUNNEL_LINGER_MS: u64 = 10_000;

/// Time between two pieces that the owner sends through a node that ends, or the last one and its end, in
/// milliseconds. Longer: the client is closed without it.
pub(crate) const TUNNEL_LEAVE_MS: u64 = 4_000;

/// Time that one side of a tunnel may take for a piece that its socket had no room for, in milliseconds; while it
/// waits, the other side is not read, and so its end is not seen. Longer: cut off.
pub(crate) const TUNNEL_STALL_MS: u64 = 20_000;

/// Tunnels of a shard that their owner has not greeted. For one more the address with most makes room, or one that has
/// waited for some seconds; else it gets 503.
pub(crate) const TUNNELS_BEGINNING_MAX: usize = 1024;

/// Bytes of the requests of those in the process, shared out among its shards, 8 MiB each at most. The same holds when
/// they are full.
pub(crate) const TUNNEL_REQUEST_BYTES_MAX: usize = 32 << 20;

/// Bytes of tunnels in the process that wait for sides whose sockets have no room, shared out among its shards, 16 MiB
/// each at most. A tunnel holds a request, or a receive buffer for each direction. Beyond it tunnels of the address
/// that holds most are reset, until an eighth is free.
pub(crate) const TUNNEL_STALLED_BYTES_MAX: usize = 64 << 20;

/// The least share of a shard of both: more than the largest request.
pub(crate) const TUNNEL_BYTES_MIN: usize = 512 << 10;

/// Connections of a shard to one node that are opened before there is a client. As many are open as upgrades were
/// answered by that node in a quarter of a second; more upgrades at once connect by themselves.
pub(crate) const AHEAD_PER_NODE_MAX: usize = 32;

/// Connections of a shard to one node that came back from a WebSocket which both sides have closed, and wait for the
/// next client. Beyond it they are closed.
pub(crate) const RETURNED_PER_NODE_MAX: usize = 64;

/// Both to all nodes. Beyond it none is opened, and one that comes back is closed.
pub(crate) const AHEAD_PER_SHARD_MAX: usize = 256;

/// Such connections begun in one turn, so that a turn's clients wait for few handshakes that are not theirs.
pub(crate) const AHEAD_PER_TURN: usize = 2;

/// Bytes of such a connection at either end, without its engine.
pub(crate) const AHEAD_BYTES: usize = 512;

/// Time that a connection of either kind waits for a client, in milliseconds. Then it is closed, before its owner
/// would.
pub(crate) const AHEAD_IDLE_MS: u64 = 25_000;

/// Connections of other nodes to a shard that were opened ahead, or came back, and wait for a client. For one more the
/// oldest is closed; and for a client, where all places for connections are taken.
pub(crate) const INNER_AHEAD_MAX: usize = 512;

/// Time that such a connection waits for the header of a client, in milliseconds. Then it is closed.
pub(crate) const INNER_AHEAD_MS: u64 = 30_000;

/// Connections of a shard to one node that are kept for calls, those under way included: one call at a time goes over
/// each. Beyond it a call has a connection of its own, which ends with its answer.
pub(crate) const KEPT_PER_NODE_MAX: usize = 64;

/// The same to all nodes.
pub(crate) const KEPT_PER_SHARD_MAX: usize = 256;

/// Time that such a connection waits for a call, in milliseconds. Then it is closed, before its owner would.
pub(crate) const KEPT_IDLE_MS: u64 = 25_000;

/// Connections of other nodes to a shard that are kept and wait for a call. For one more the oldest is closed; and for
/// a client, where all places for connections are taken.
pub(crate) const INNER_KEPT_MAX: usize = 512;

/// Time that such a connection waits for a call, in milliseconds. Then it is closed.
pub(crate) const INNER_KEPT_MS: u64 = 30_000;

/// From the beginning of a call on a connection that is kept to the owner's word that it has it, in milliseconds: as
/// for a greeting. Later: 503.
pub(crate) const KEPT_TAKEN_MS: u64 = TUNNEL_CONNECT_MS;

/// A call on such a connection that is not answered in this time, in milliseconds, is said to have been taken. Another
/// shard answers within a millisecond and a disk within a few, and then the answer says it: a frame less, with its
/// record, its send, and a turn of the node that awaits it.
pub(crate) const KEPT_SLOW_MS: u64 = 10;

/// Connections of other nodes to a shard whose header has not come. For one more the oldest is closed.
pub(crate) const INNER_WAITING_MAX: usize = 1024;

/// Bytes of unfinished records of a connection between nodes while they shake hands, beside one receive. A node needs
/// less than 1 KiB. More: closed.
pub(crate) const LINK_HELD_BYTES: usize = 4 << 10;

/// Bytes of the TLS engine of one connection between nodes, without those that it holds.
pub(crate) const LINK_ENGINE_BYTES: usize = 4 << 10;

/// Links of a shard with other nodes, both ways, that carry clients as streams: one for each shard of each node that
/// has clients or channels of this one. Beyond it a client gets 503, and a link of another node is closed.
pub(crate) const LINKS_PER_SHARD_MAX: usize = 1024;

/// Longest answer to a call that the front of a link gathers. Longer: the client is reset. Lists, the longest, each
/// node answers by itself.
pub(crate) const CALL_ANSWER_BYTES_MAX: usize = 1 << 20;

/// From an inner connection to its whole header, in milliseconds. Later: closed.
pub(crate) const INNER_HEADER_MS: u64 = 5_000;

/// A connection whose header is awaited for longer than this makes room for any other one, where all places for
/// connections are taken: a node sends its header within a round trip or two.
pub(crate) const INNER_PATIENCE_MS: u64 = 250;

const _: () = assert!(ENCRYPT_BYTES <= LAUNCH_BYTES);
const _: () = assert!(BEAT_MS < STALL_MS);
const _: () = assert!(TUNNEL_BYTES_MIN >= 2 * LAUNCH_BYTES);
const _: () = assert!(TUNNEL_CONNECT_MS < INNER_HEADER_MS && INNER_PATIENCE_MS < INNER_HEADER_MS);
const _: () = assert!(AHEAD_PER_NODE_MAX + RETURNED_PER_NODE_MAX <= AHEAD_PER_SHARD_MAX);
const _: () = assert!(KEPT_PER_NODE_MAX <= KEPT_PER_SHARD_MAX && KEPT_IDLE_MS < INNER_KEPT_MS);
const _: () = assert!(100 * KEPT_SLOW_MS <= KEPT_TAKEN_MS && KEPT_TAKEN_MS <= OWNER_WAIT_MS);
const _: () = assert!(AHEAD_IDLE_MS < INNER_AHEAD_MS && INNER_HEADER_MS < AHEAD_IDLE_MS);
const _: () = assert!(HELD_BYTES > (64 + 17 + 8) * 1024);
const _: () = assert!(2 * HELD_BYTES <= HELD_BYTES_MIN);
const _: () = assert!(HELD_BYTES_SECURED > 17 * 1024 + 16 * 1024);
const _: () = assert!(receive_buffers(32, 512, 8192) == 512);
const _: () = assert!(receive_buffers(33, 512, 8192) == 256);
const _: () = assert!(
    receive_buffers(SHARDS_MAX, 512, 8192) as usize * 8192 * SHARDS_MAX <= RECEIVE_BYTES_MAX
);
