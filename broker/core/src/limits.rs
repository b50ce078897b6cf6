//! Fixed limits. Each is documented with its reason and with what happens when it is reached. The limits of sockets and
//! of the log are in the broker's `src/edge/limits.rs` and `src/limits.rs`.

use std::ops::RangeInclusive;

/// Maximum number of shards per process. A configuration with more shards is rejected at startup.
pub const SHARDS_MAX: usize = 256;

/// Maximum number of outstanding calls from one shard to another. One account may use half of them, or less if other
/// accounts compete for them. Further calls are refused with 503.
///
/// A call is answered once the shard that owns the channel has processed it, and a change once it is durable. An Alexa
/// call that waits for its master does not count; see [`waiting_calls_per_shard`].
pub const CALLS_PER_PAIR_MAX: usize = 256;

/// Returns [`CALLS_PER_PAIR_MAX`], adjusted for this number of shards. The value is lower above 8 shards, so that the
/// mailbox capacity reserved for answers does not grow with the square of the number of shards.
#[must_use]
pub const fn calls_per_pair(shards: usize) -> usize {
    share(2048, shards, 8, CALLS_PER_PAIR_MAX)
}

/// Returns the maximum number of changes among the calls of [`calls_per_pair`]: half of them. Changes are divided among
/// accounts in the same way as calls. A change must wait until it is durable. Without this limit, changes could use up
/// all calls while the disk is slow, and block calls that change nothing.
#[must_use]
pub const fn changes_per_pair(shards: usize) -> usize {
    calls_per_pair(shards) / 2
}

/// If a mailbox holds this many handovers and calls, further ones are refused with 503. A core admits about this many
/// in half a second.
pub const MAILBOX_OPEN_PLACES: usize = 4096;

/// Returns [`MAILBOX_OPEN_PLACES`], adjusted for this number of shards.
#[must_use]
pub const fn mailbox_open_places(shards: usize) -> usize {
    share(256 * 1024, shards, 1024, MAILBOX_OPEN_PLACES)
}

/// Divides a total for the process among its shards. Returns the share of one shard, from `least` to `most`.
#[must_use]
pub const fn share(total: usize, shards: usize, least: usize, most: usize) -> usize {
    let part = total / if shards == 0 { 1 } else { shards };
    if part < least {
        least
    } else if part > most {
        most
    } else {
        part
    }
}

/// Maximum number of different versions of the message limits in the lifetime of a process. Each connection keeps the
/// version with which it started, and a version takes a few kilobytes. When the maximum is reached, reloads that would
/// add a version are refused until the process restarts.
pub const MESSAGE_BOUNDS_MAX: usize = 64;

/// Maximum number of channels that a shard matches against the hooks in one turn, after the hooks have changed.
/// Matching this many channels, each against up to 16 patterns, takes about a millisecond.
pub const REWATCHED_PER_TURN: usize = 1_024;

/// Maximum number of messages from the side thread (scrape, inspect, drain, stop) that are in flight to one shard.
pub const MAILBOX_CONTROL_PLACES: usize = 64;

/// Maximum number of registry changes in flight from one shard, including those queued behind another change of the
/// same channel. One account may use half of this number, or less if other accounts compete for it. Further changes are
/// answered with 503. A commit takes a few milliseconds, however many changes it contains.
pub const CHANGES_PER_SHARD_MAX: usize = 1024;

/// A shard may have one change in flight and one waiting Alexa call for every 16 connections that the process may have.
/// Without this limit, the usual maxima would exceed the memory of a small machine, on which `[limits] connections` is
/// small. Each caller holds a connection. At least [`FEWEST_WAITING`] of each are always allowed.
pub const CONNECTIONS_PER_WAITING: usize = 16;
/// Number of changes, and number of waiting Alexa calls, that a shard is always allowed, regardless of
/// [`CONNECTIONS_PER_WAITING`].
pub const FEWEST_WAITING: usize = 64;

/// Maximum number of changes of one channel that are queued behind the one in flight. Further changes are answered with
/// `ClientLimitExceededException`.
pub const CHANGES_WAITING_PER_CHANNEL_MAX: usize = 16;

/// Returns the mailbox capacity that is reserved for messages that must not be refused. These are a reply to each
/// outstanding call, a result of each change in flight, an answer to each Alexa call that waits on any shard, a
/// withdrawal and an end notice for each Alexa call that waits on this shard, and control messages.
#[must_use]
pub const fn mailbox_reserve(shards: usize) -> usize {
    let waiting = CALL_PLACES_PER_WAITING_CALL * waiting_calls_per_shard(shards);
    (calls_per_pair(shards) + waiting) * shards
        + 2 * waiting
        + CHANGES_PER_SHARD_MAX
        + MAILBOX_CONTROL_PLACES
}

/// Returns the total capacity of a mailbox.
#[must_use]
pub const fn mailbox_capacity(shards: usize) -> usize {
    mailbox_open_places(shards) + mailbox_reserve(shards)
}

/// Number of tokens that a connect or call takes from its caller's bucket. The bucket has the parameters of the
/// channel, so one caller can use at most half of the channel's rate. Source: codec/PROTOCOL.md, RATE-4.
pub const CALLER_TOKENS: u32 = 2;

/// Maximum number of token buckets for individual callers of a channel, at 12 bytes each. A caller has one bucket per
/// operation. When the list is full, the bucket with the least debt is evicted. At the default rates, callers do not
/// evict one another: a channel admits too few of them before a bucket is full again.
pub const CALLER_BUCKETS_MAX: usize = 64;

/// Maximum number of keys (direction and viewer id) in a channel's queue. A further key is refused unless another key
/// can be evicted. Source: codec/PROTOCOL.md, KEEP-4.
pub const PENDING_KEYS_MAX: usize = 64;

/// Maximum number of keys in a channel's queue that belong to the same caller. A quarter of all keys is more than the
/// default number of viewers per channel. If a caller needs more, its oldest key whose viewer has left is evicted. Keys
/// without a caller are exempt. Source: codec/PROTOCOL.md, KEEP-7.
pub const PENDING_KEYS_OF_CALLER_MAX: usize = PENDING_KEYS_MAX / 4;

/// One caller may fill a quarter of a channel's queue, measured in bytes. A single message may be larger than that.
/// Source: codec/PROTOCOL.md, KEEP-8.
pub const PENDING_BYTES_PARTS: usize = 4;

/// How long a viewer's queued messages are kept after its close frame, in milliseconds, if another viewer of the same
/// caller is present. A page that is being reloaded has reconnected by then. Source: codec/PROTOCOL.md, KEEP-6.
pub const CLOSED_VIEWER_MS: u64 = 5_000;

/// Maximum number of queued ICE candidates per key. A further candidate replaces the oldest. Source: codec/PROTOCOL.md,
/// KEEP-3.
pub const PENDING_CANDIDATES_MAX: usize = 32;

/// Maximum number of superseded connections per slot. A channel has one slot for the master and one for each client id.
/// If there are more, the oldest is closed with 1001 (codec/PROTOCOL.md, TAKE-3).
pub const SUPERSEDED_PER_SLOT_MAX: usize = 4;

/// Maximum number of superseded connections per channel. Sufficient for ten busy slots. If there are more, the oldest
/// is closed with 1001.
pub const SUPERSEDED_PER_CHANNEL_MAX: usize = 44;

/// Maximum number of channels with open superseded connections that a shard lists, at 8 bytes each. The superseded
/// connections of further channels are only counted (`heliograph_connections`). Such a channel is listed as soon as
/// another one has been removed from the list.
pub const DISPLACED_CHANNELS_MAX: usize = 1024;

/// Maximum number of displaced connections in one response to an operator, at about 200 bytes each.
pub const DISPLACED_TOLD_MAX: usize = 50;

/// How long a superseded connection must stay open to be considered displaced, in milliseconds. After a network change,
/// clients close their old connection either at once or never.
pub const DISPLACED_MS: u64 = 10_000;

/// How long a slot must be vacant, in milliseconds, before its most recently superseded connection is closed with 1001.
/// Clients reconnect faster than this, so the client that left can return to its slot first.
pub const VACANT_SLOT_MS: u64 = 5_000;

/// A connection that lasts at most this many milliseconds is brief. If the client of a brief connection never sent a
/// frame, the slot is given back to the connection that it superseded. Longer than a node takes to detect that a client
/// has left.
pub const BRIEF_MS: u64 = 1_000;

/// How long messages from a superseded connection are accepted, in milliseconds. This covers an answer that was in
/// flight. A later message has been delayed, and newer messages may have overtaken it.
pub const LATE_AFTER_MS: u64 = 5_000;

/// How long after a pause of the shard the bytes that it receives may have arrived during the pause, in milliseconds.
/// Long enough to read the sockets of ten thousand connections.
pub const HELD_READ_MS: u64 = 2_000;

/// Each channel remembers at most this many callers that last requested the master endpoint. When the list is full, the
/// oldest caller is evicted, and is listed again at its next request.
pub const MASTER_REQUESTS_MAX: usize = 2;

/// Under `--dev`, maximum number of upgrades per second whose signatures a shard verifies. Verifying one takes up to
/// 0.1 ms. The signatures of further upgrades are not verified.
pub const DEV_SIGNATURES_PER_SECOND_MAX: u32 = 64;

/// Under `--dev`, maximum number of signatures recorded per hour because production would refuse them.
pub const DEV_SIGNATURES_PER_HOUR_MAX: u64 = 16;
/// Maximum number of recorded signatures in total; see [`DEV_SIGNATURES_PER_HOUR_MAX`].
pub const DEV_SIGNATURES_NOTED_MAX: usize = 256;

/// Each channel remembers at most this many callers that last requested the viewer endpoint, at two bytes each. When
/// the list is full, the oldest caller is evicted. By then, it has usually connected.
pub const VIEWER_REQUESTS_MAX: usize = 4;

/// Maximum number of Alexa calls that wait on one channel, each with an offer of at most 10,000 bytes. Further calls
/// are answered with `ClientLimitExceededException`.
pub const WAITING_CALLS_PER_CHANNEL_MAX: usize = 64;

/// Maximum number of Alexa calls that wait in one process. Their 4,096 offers take 40 MiB. See
/// [`waiting_calls_per_shard`].
pub const WAITING_CALLS_MAX: usize = 4096;

/// Returns the maximum number of Alexa calls that wait on one shard: its share of [`WAITING_CALLS_MAX`]. With 64
/// shards, this equals the maximum per channel. With more shards, it is lower.
///
/// At the limit, an account that has fewer waiting calls than another can still add one. The newest call of the account
/// with the most calls is then answered with `ClientLimitExceededException`. Among the calls of one account, the same
/// rule applies to its channels. If no account has more calls, the new call is refused.
#[must_use]
pub const fn waiting_calls_per_shard(shards: usize) -> usize {
    share(WAITING_CALLS_MAX, shards, 16, WAITING_CALLS_MAX)
}

/// Number of table entries for each waiting call. One is for the call itself. The other is for an evicted call until
/// the caller's shard has confirmed the eviction. If no entry is free, an Alexa call is answered with 503.
pub const CALL_PLACES_PER_WAITING_CALL: usize = 2;

/// Maximum number of ended calls that a shard remembers by channel and sender. The master's late messages for these
/// calls are dropped. With the longest names, they take 320 KiB, which fits into the memory reserved for waiting calls.
/// A scan takes microseconds. At the limit, the account with the most ended calls loses its oldest one.
pub const ENDED_CALLS_MAX: usize = 1024;

/// Maximum number of ended calls that are remembered per channel, equal to the maximum number of waiting calls. When
/// the list is full, the oldest is evicted.
pub const ENDED_CALLS_PER_CHANNEL_MAX: usize = WAITING_CALLS_PER_CHANNEL_MAX;

/// How long an ended call of a player is remembered, in milliseconds, after the latest time at which it could have
/// ended. Cameras trickle candidates for several seconds.
pub const ENDED_PLAYER_MS: u64 = 30_000;

/// The limit of calls from players that wait for an answer, as a fraction of the limit of waiting Alexa calls: a
/// quarter, or 1,024 per process. Players have a separate limit, because their offers may be as large as
/// `payload_bytes` and their answers may take 24 KiB. At the limit, the newest call is ended on the busiest channel of
/// the account with the most calls. Its player receives the messages gathered so far, or 503.
pub const WAITING_CALLS_PER_PLAYER: usize = 4;

/// Delay in seconds before a player that found no camera retries. Long enough for a battery-powered camera to wake up.
pub const WHEP_RETRY_S: u32 = 5;

/// One of every 16 connections of a shard is reserved for callers that are still unknown. WebSockets and clients on
/// links never use the reserved connections, so a new client can send its request even if all others are in use.
pub const CONNECTIONS_PER_GUEST: usize = 16;

/// Returns the maximum number of WebSockets and clients on links for a shard with `connections` connections. These are
/// all connections except those reserved by [`CONNECTIONS_PER_GUEST`]. At least one is reserved if there are two or
/// more.
///
/// At the limit, an account that has fewer connections than another can still add one. The account with the most
/// connections then loses its newest viewer or, if it has no viewer, its newest master. It never loses its first
/// connection. The lost connection is closed with 1001. Among the connections of one account, the same rule applies to
/// its callers. If no account has more connections, the new client is answered with 503.
#[must_use]
pub const fn admitted_most(connections: usize) -> usize {
    let guests = connections / CONNECTIONS_PER_GUEST;
    let least = if connections > 1 { 1 } else { 0 };
    connections - if guests > least { guests } else { least }
}

/// Maximum number of WebSockets of a shard that have been evicted and are still closing. If there are more, the oldest
/// of them is aborted.
pub const LEAVING_MAX: usize = 256;

/// Returns [`LEAVING_MAX`], adjusted for a shard with `connections` connections. Closing connections use at most half
/// of the reserved capacity, so the other half remains for new clients.
#[must_use]
pub const fn leaving_most(connections: usize) -> usize {
    let half = (connections - admitted_most(connections)) / 2;
    if half < LEAVING_MAX {
        half
    } else {
        LEAVING_MAX
    }
}

/// Maximum number of steps in a single jump of a shard's clock, in tests. In a longer jump, everything that is due
/// after the last step fires when the jump ends.
///
/// Each distinct deadline is one step. The timer wheel has a resolution of 64 ms, so a jump of an hour takes 56,250
/// steps if every slot of the wheel contains a deadline. If there are few sessions, a step takes a few microseconds.
pub const LEAP_STEPS_MAX: u32 = 1 << 16;

/// Maximum number of channels per shard. Tables have 16 million slots, and a record takes about 500 bytes including its
/// table entries.
pub const CHANNELS_PER_SHARD_MAX: usize = 1 << 22;

/// Maximum memory taken by a channel's record, in bytes. Allows for the longest name and the maximum number of tags
/// with the longest text, at four bytes per character.
pub const RECORD_BYTES_MAX: usize = 96 << 10;

/// Maximum number of records in a chunk of the catalog. A page spans five to thirty chunks. A change copies one chunk,
/// and only if a page is being read from it.
pub const CATALOG_CHUNK: usize = 256;

/// Number of records that all nodes together send for one page of ListSignalingChannels. Each node can only estimate
/// how many records it must contribute. The number is twice the maximum size of a page, so pages are nearly always full
/// nevertheless. A page that is not full states where the next one begins.
pub const LIST_MERGED_MAX: usize = 2 * LIST_PAGE_MAX;

/// Maximum number of channel lists that are in progress on a shard, each for a different account. Each list may hold
/// [`LIST_MERGED_MAX`] records. Further lists wait, and the accounts take turns.
pub const LISTS_UNDER_WAY_MAX: usize = 4;

/// Returns [`LISTS_UNDER_WAY_MAX`], adjusted for this number of shards.
#[must_use]
pub const fn lists_under_way(shards: usize) -> usize {
    share(16, shards, 1, LISTS_UNDER_WAY_MAX)
}

/// Maximum number of lists that are in progress for one account, if several nodes own channels. Otherwise, the maximum
/// is one.
pub const LISTS_OF_AN_ACCOUNT: usize = 4;

/// Maximum number of channel lists that wait for their turn on a shard. At the limit, the newest list of the account
/// with the most waiting lists is refused with 503.
pub const LISTS_WAITING_MAX: usize = 1024;

/// Returns [`LISTS_WAITING_MAX`], adjusted for this number of shards.
#[must_use]
pub const fn lists_waiting(shards: usize) -> usize {
    share(4096, shards, 16, LISTS_WAITING_MAX)
}

/// Maximum number of ListSignalingChannels pages that a node collects from all nodes at the same time, each with
/// [`LIST_MERGED_MAX`] records. Further pages wait.
pub const LISTS_OF_NODES_MAX: usize = 16;

/// Maximum size of a record in a channel list, in bytes. An ARN with the longest name takes 340 bytes.
pub const LISTED_BYTES: usize = 512;

/// Number of channel records that a shard examines per turn for ListSignalingChannels, which takes about a millisecond.
/// The page in progress when the number is reached is still completed. Further pages wait for the next turn.
pub const RECORDS_PER_TURN: u64 = 2000;

/// Maximum number of connections that one step of POST /ice/reconnect notifies. Each notice is a separate send, which
/// takes about 5 µs of the same turn.
pub const RECONNECTS_PER_STEP: usize = 256;

/// Maximum number of connections that a shard closes per turn when a channel is deleted, when a slot moves, or when an
/// operator disconnects clients. Each close frame requires a separate send of about 5 µs, so a full turn takes about a
/// millisecond, and a channel with 10,000 viewers takes 40 turns. One step of a drain examines the same number of table
/// slots.
pub const CLOSES_PER_TURN: usize = 256;

/// Maximum number of follow-up steps that are queued while one input is processed. They take 24 KiB. The input that
/// adds the most is a step of a drain, with one for each of up to [`CLOSES_PER_TURN`] connections.
pub const STEPS_LEFT_MAX: usize = 2 * CLOSES_PER_TURN;

/// Maximum number of answers that a shard queues for its callers while it processes one input. There may be one for
/// each Alexa call, each change in flight and each follow-up step.
pub const ANSWERS_PER_INPUT_MAX: usize = WAITING_CALLS_MAX
    + WAITING_CALLS_MAX / WAITING_CALLS_PER_PLAYER
    + CHANGES_PER_SHARD_MAX
    + STEPS_LEFT_MAX;

/// An event about a channel lists at most this many viewers that wait for the absent master, each by a name of up to
/// 256 bytes. If more are waiting, the event only states their number.
pub const WAITERS_TOLD_MAX: usize = 16;

/// Maximum number of final states of deleted channels that a shard keeps until it can report them. If there are more,
/// the oldest is dropped, and each watcher gets a notice that reports were lost.
pub const PARTING_MAX: usize = 1024;

/// Delay in milliseconds before a shard retries a presence report that did not fit into the receiver's queue.
pub const PRESENCE_RETRY_MS: u64 = 20;

/// Maximum number of channels whose presence a shard reports in one turn. The rest follow in the next turn.
pub const PRESENCE_TOLD_PER_TURN: usize = 256;

/// Maximum number of entries on a page of ListSignalingChannels, regardless of MaxResults (codec/PROTOCOL.md, CHAN-3).
pub const LIST_PAGE_MAX: usize = 1000;

/// Maximum number of WebSocket frames per message. C SDK builds on libwebsockets send a few; a message in 64 tiny
/// frames is an attack. If a message has more, the connection is closed with 1008.
pub const FRAGMENTS_PER_MESSAGE_MAX: u32 = 64;

/// Maximum number of frames without effect per second on one connection. These are pings, pongs, empty messages, and
/// messages that are refused or throttled. A well-behaved client sends a few. If there are more, the connection is
/// closed with 1008. Not configurable, because a 6-byte frame costs as much as a relayed one and no other limit covers
/// these frames.
pub const IDLE_FRAMES_PER_SECOND_MAX: u8 = 200;

/// Maximum number of pings in one receive that are answered individually. If there are more, only the latest of the
/// remaining pings is answered, as RFC 6455 section 5.5.3 allows.
pub const PONGS_PER_RECEIVE_MAX: u32 = 16;

/// Maximum number of principals in a credentials file, at about 0.5 KiB each. A file with more is rejected.
pub const PRINCIPALS_MAX: usize = 65_536;

/// Maximum number of roles in a credentials file, at about 0.5 KiB each plus the trust document. A file with more is
/// rejected.
pub const ROLES_MAX: usize = 4096;

/// Maximum number of role aliases in a credentials file. A file with more is rejected.
pub const ROLE_ALIASES_MAX: usize = 1024;

/// Maximum number of derived signing keys that a shard caches, at 1.5 KiB each. Deriving an evicted key again takes a
/// microsecond. Keys that belong to session tokens use at most a quarter of the cache, because a principal may have any
/// number of tokens.
pub const SIGNING_KEYS_PER_SHARD_MAX: usize = 4096;

/// Returns [`SIGNING_KEYS_PER_SHARD_MAX`] for this number of shards. All shards together use 12 MiB.
#[must_use]
pub const fn signing_keys_per_shard(shards: usize) -> usize {
    share(8 * 1024, shards, 32, SIGNING_KEYS_PER_SHARD_MAX)
}

/// Maximum number of empty outbox buffers that a shard keeps for reuse.
pub const SPARE_OUTBOXES_MAX: usize = 512;
/// Maximum size of a buffer that is kept for reuse, in bytes. [`SPARE_OUTBOXES_MAX`] buffers of 16 KiB take 8 MiB.
pub const SPARE_OUTBOX_BYTES_MAX: usize = 16 * 1024;

/// Delay in milliseconds before the kernel is first asked how many bytes the peer has acknowledged, and between further
/// such queries. A live peer acknowledges within a round trip plus at most 0.25 s.
pub const ASK_AFTER_MS: u64 = 1000;

/// Granularity in milliseconds at which first queries are scheduled, so that they can be batched.
pub const ASK_STEP_MS: u64 = 50;

/// Maximum number of connections queried in one tick. Each query is a system call that takes less than a microsecond.
pub const ASKS_PER_TICK: usize = 512;

/// Once this many message bytes have been sent on a connection, the next data received on it triggers an early query.
/// By then, the peer has usually acknowledged the bytes, so their buffer is reused while it is still in a core's cache.
/// The value is small enough for the cache, but large enough that a query costs little per message.
pub const ASK_BYTES: usize = 1024;

/// Value used in place of [`ASK_BYTES`] for a connection on which nothing is received.
pub const ASK_BYTES_UNHEARD: usize = 8 * 1024;

/// Number of unacknowledged bytes per connection that do not count towards limits, because they are part of the basic
/// cost of a connection. The bytes are responses, control frames and, with pong confirmation, messages. The same number
/// of bytes may be written between two queries.
pub const UNREAD_BYTES_FREE: usize = 4 * 1024;

/// Granularity in bytes at which sent bytes are counted. Even a shorter frame takes 256 bytes of kernel memory,
/// including its overhead.
pub const ASK_STEP_BYTES: usize = 256;

/// Maximum number of offers that a channel keeps for redelivery, one per viewer.
pub const UNANSWERED_PER_CHANNEL_MAX: usize = PENDING_KEYS_MAX;

/// Maximum number of ICE candidates that are kept together with an offer for redelivery. Equal to the maximum for a
/// queued offer. A further candidate replaces the oldest.
pub const UNANSWERED_CANDIDATES_MAX: usize = PENDING_CANDIDATES_MAX;

/// Offers kept for redelivery, together with their candidates, may take a quarter of the memory that is allowed for
/// queues, in addition to it. At the limit, the account that uses the most memory loses the candidates of its oldest
/// offer, and then the offer itself.
pub const UNANSWERED_BYTES_PARTS: usize = 4;

/// A master that is reported as gone and then as back [`GONE_TIMES_MAX`] times within this many milliseconds stays
/// reported as gone until it has acknowledged messages for [`GONE_STEADY_MS`]. This prevents constant reports about a
/// device whose radio sleeps between messages.
pub const GONE_WINDOW_MS: u64 = 600_000;

/// How often a master may be reported as gone and back within [`GONE_WINDOW_MS`] before it stays reported as gone.
pub const GONE_TIMES_MAX: u32 = 3;

/// How long a master must acknowledge messages before it is reported as back, in milliseconds, once it stays reported
/// as gone; see [`GONE_WINDOW_MS`].
pub const GONE_STEADY_MS: u64 = 60_000;

/// Freeing unacknowledged bytes requires a scan of all connections. When the limit of such bytes is exceeded, an eighth
/// of the limit is therefore freed at once.
pub const PROOF_ROOM_PARTS: usize = 8;

/// An acknowledgement is overdue after two round trips and this many milliseconds. Receivers delay acknowledgements by
/// at most this long (40 ms on Linux, 250 ms on lwIP).
pub const ACKNOWLEDGE_MS: u64 = 250;

/// Maximum time in milliseconds for which messages on a superseded connection may delay newer messages.
pub const TAKEOVER_MS_MAX: u64 = 1000;

/// Returns the number of spare buffers per shard. All shards together use 16 MiB.
#[must_use]
pub const fn spare_outboxes(shards: usize) -> usize {
    share(1024, shards, 4, SPARE_OUTBOXES_MAX)
}

/// Interval between the steps of the drain at shutdown, in milliseconds.
pub const DRAIN_STEP_MS: u64 = 50;

/// Number of session slots that one step of an operator's request examines. A step takes about a millisecond.
pub const INSPECTED_SLOTS_PER_STEP: usize = 4096;

/// Each shard, and `GET /usage`, count the calls, messages and refusals of at most this many accounts individually, at
/// 56 bytes per account. Further accounts are counted together.
pub const USAGE_ACCOUNTS_MAX: usize = 1024;

/// Maximum number of accounts in the credentials file that have their own metrics series, starting with the lowest
/// account number. All others are counted together.
pub const USAGE_SERIES_MAX: usize = 20;

/// If the shard handles a deadline more than this many milliseconds late, the shard itself was not running: the process
/// was stopped or the machine suspended. Data from peers is then still unread.
pub const STALL_MS: u64 = 2_000;

/// Maximum time in milliseconds from the first byte of a message to its last. A connection that exceeds it is closed
/// with 1008.
pub const MESSAGE_MS_MAX: u64 = 10_000;

/// Time in milliseconds after which an unanswered API call receives 503. SendAlexaOfferToMaster waits longest: up to
/// MessageTtlSeconds, at most 120 s. The remaining time is a margin for a slow store.
pub const REPLY_MS_MAX: u64 = 150_000;

/// Time in milliseconds that replaces [`REPLY_MS_MAX`] for a change stored in etcd. etcd answers within milliseconds
/// or, during a leader election, within three seconds. After a 503, the client's next call shows whether the change was
/// made.
pub const CHANGE_REPLY_MS_MAX: u64 = 2_500;

/// How long a request waits for the owner of its channel while slots move between nodes, in milliseconds. The request
/// then receives 503. The C SDK gives up after 5 s.
pub const OWNER_WAIT_MS: u64 = 3_000;

/// The `Retry-After` in seconds of a response to a request whose channel may be owned by another node. The delay is
/// long enough not to overload nodes that have lost etcd. The retry may reach a node that knows the owner.
pub const ABSENCE_RETRY_S: u32 = 5;

/// Interval in milliseconds at which a waiting request looks up the owner of its channel.
pub const OWNER_LOOK_MS: u64 = 50;

/// Interval in milliseconds between attempts to reach the owner of a channel that does not respond. A restarted process
/// listens within a second.
pub const OWNER_RETRY_MS: u64 = 500;

/// Maximum number of requests on one shard that wait until their channel has an owner. Further requests are refused
/// with 503 at once. Each request is checked every [`OWNER_LOOK_MS`]. A check takes less than a microsecond, so all
/// requests together take 2 % of a core.
pub const OWNER_WAITERS_MAX: usize = 1024;

/// Maximum number of link clients that a shard closes per tick after it lost their owner, or while the node shuts down.
/// Closing one takes one or two sends. The rest are closed in later ticks.
pub const LEADS_PER_TICK: usize = 64;

/// Maximum number of orders to gain or lose a slot that a shard executes per turn. Each order adds or removes several
/// hundred channels in less than a millisecond.
pub const SLOT_ORDERS_PER_TURN: usize = 4;

/// Maximum number of bytes of queued messages that are transferred with a slot that moves to another node. Further
/// messages are dropped and counted as withdrawn. Large transfers are split into several messages.
pub const PARCEL_BYTES_MAX: usize = 48 << 20;

/// Maximum number of bytes of queued messages that a node accepts for slots from other nodes. A slot whose queued
/// messages would exceed this limit does not move.
pub const KEPT_PARCEL_BYTES_MAX: usize = 64 << 20;

/// How long a shard waits for the connections of a moving slot to finish their current messages, in milliseconds. Less
/// than half of the timeout of the transfer.
pub const SLOT_STILL_MS: u64 = 1_000;

/// Interval in milliseconds between checks of whether the connections of a moving slot have finished.
pub const SLOT_LOOK_MS: u64 = 5;

/// At shutdown, a process outside a cluster keeps its clients until this many milliseconds before the end.
pub const ALONE_CLOSE_MS: u64 = 2_000;

/// While a call is unfinished, a connection that has sent this many further bytes is no longer read.
pub const PIPELINED_BYTES_MAX: usize = 32 * 1024;

/// An HTTP connection with this many bytes of queued responses neither reads nor answers requests until the peer has
/// read some of the responses. At most one more response is queued.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of request heads and bodies that are answered in succession on one connection. Further ones wait
/// until other connections have been served. A single receive of 8 KiB can contain 300 of the shortest requests.
pub const REQUESTS_PER_VISIT: u32 = 16;

/// Maximum number of request heads and bodies that a shard answers per turn as soon as they arrive. Further ones wait.
/// A turn with a lot of work answers fewer ([`crate::work_units`]).
pub const FRESH_REQUESTS_PER_TURN: u32 = 128;

/// Maximum number of waiting request heads and bodies that are answered per tick. Fewer are answered if they take a lot
/// of work ([`crate::work_units`]).
pub const WAITING_REQUESTS_PER_TICK: u32 = 32;

/// Number of bytes per HTTP connection that do not count towards limits, because they are part of the basic cost of a
/// connection. The bytes are unfinished or waiting requests, or unread responses.
pub const REQUEST_BYTES_FREE: usize = 1024;

/// Maximum number of connections that are evicted to free the bytes that one input needs. If that is not enough, the
/// connection that received the input is closed.
pub const PAYERS_PER_INPUT: usize = 16;

/// Maximum number of bytes of pongs and status responses queued on one WebSocket. Beyond this limit, pings are not
/// answered, as RFC 6455 section 5.5.3 allows, and a status response closes the connection with 1008.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Value used in place of [`CONTROL_BYTES_MAX`] while the shard's responses and control frames exceed its share of
/// `limits.request_bytes`.
pub const CONTROL_BYTES_WHEN_FULL: usize = 4 * 1024;

/// Maximum number of bytes in a frame besides its payload: the header, the JSON members and the longest sender id.
pub const ENVELOPE_BYTES_MAX: usize = 14 + 96 + 256;

/// Maximum number of messages that a shard captures per second under `--dev`. Further messages are counted as missed.
/// The limit is half of the number of messages kept, and bounds the cost of copying during a load test.
pub const CAPTURES_PER_SECOND_MAX: u32 = 1000;

/// Number of channels that one step of a test reset (`/dev/reset`) deletes. The store has capacity for more at once.
pub const RESET_CHANNELS_PER_STEP: u64 = 256;

/// Maximum number of findings that a shard stores about requests that the cloud service would have refused
/// (`/dev/parity`). Each concerns one rule and one channel. Those for further channels are counted together.
pub const FINDINGS_MAX: usize = 1024;

/// Maximum number of channels whose rates are tracked for findings (`/dev/parity`).
pub const PARITY_BUCKETS_MAX: usize = 4096;

/// Maximum number of test faults at the same time (`/dev/faults`).
pub const FAULTS_MAX: usize = 64;

/// Test faults hold back at most this many messages per shard. Further messages are forwarded at once and counted.
pub const FAULT_HELD_MAX: usize = 1024;

/// Test faults hold back messages of at most this many bytes in total per shard.
pub const FAULT_HELD_BYTES_MAX: usize = 4 << 20;

/// Maximum number of messages and connections held back by test faults that are released per tick.
pub const FAULTS_DUE_PER_TICK: usize = 256;

/// A test fault that reorders messages holds one back for at most this many milliseconds until the next one.
pub const FAULT_REORDER_MS: u64 = 1000;

const _: () = assert!(PARCEL_BYTES_MAX < KEPT_PARCEL_BYTES_MAX);
const _: () = assert!(SHARDS_MAX <= u16::MAX as usize);
const _: () = assert!(mailbox_reserve(SHARDS_MAX) < 1 << 20);
const _: () = assert!(SUPERSEDED_PER_CHANNEL_MAX >= SUPERSEDED_PER_SLOT_MAX);

// The following limits are for devices that wait with `GET /wake`.

/// Maximum number of devices that wait with `GET /wake` in one process, equal to the number of connections. Each takes
/// about 100 bytes in addition to its connection. See [`wake_polls_per_shard`].
pub const WAKE_POLLS_MAX: usize = 131_072;

/// Returns the maximum number of devices that wait on one shard: its share of [`WAKE_POLLS_MAX`].
///
/// At the limit, an account that has fewer waiting devices than another can still add one. A device of the account with
/// the most is then answered with `ClientLimitExceededException`. If no account has more, the new device is refused.
#[must_use]
pub const fn wake_polls_per_shard(shards: usize) -> usize {
    share(WAKE_POLLS_MAX, shards, 1024, WAKE_POLLS_MAX)
}

/// Range of waiting times that a device may request, in seconds. TCP keepalives preserve NAT mappings that would expire
/// earlier.
pub const WAKE_WAIT_S: RangeInclusive<u64> = 30..=600;

/// Default time that a device waits, in seconds.
pub const WAKE_WAIT_S_DEFAULT: u64 = 240;

/// Sign-ins are counted for at most this many things per hour, across all shards. The counts take 0.5 MiB. Sign-ins of
/// further things are not counted in that hour.
pub const SIGN_INS_COUNTED_MAX: usize = 65_536;

/// If a thing signs in more often than this per hour, the first excess sign-in is listed with the refusals. All
/// sign-ins are served. Credentials last at least 15 minutes, and the C SDK renews them up to 20 % early, which makes
/// six sign-ins an hour. A device whose clock is ahead requests credentials before each of its calls.
pub const SIGN_INS_PER_HOUR: u64 = 20;

/// Maximum age of a connection to the credentials provider, in milliseconds. Devices normally need new credentials
/// every 15 minutes at most, and each new handshake validates the certificate and its chain again.
pub const PROVIDER_AGE_MS: u64 = 5 * 60 * 1000;

/// The maximum age of a provider connection is reduced by up to this many milliseconds, depending on the certificate.
/// Connections that were opened together thus do not all reconnect together.
pub const PROVIDER_AGE_SPREAD_MS: u64 = 60 * 1000;

/// Maximum number of channels per import into a running process. The store creates them in one commit. A larger import
/// is possible only while the process is stopped.
pub const IMPORTED_MAX: usize = 1000;

// Limits of log entries. Every second, a shard logs some entries of each kind and counts the others.

/// Length in milliseconds of the window in which the number of logged refusals is limited. The other refusals are
/// counted in `heliograph_log_suppressed_total`.
pub const REFUSAL_WINDOW_MS: u64 = 10_000;

/// Maximum number of groups of refusals that are logged per window for one network (an IPv4 /24 or an IPv6 /48). A
/// group has the same check and the same channel or key. Refusals of further groups are counted together.
pub const REFUSAL_GROUPS_PER_NETWORK: usize = 64;

/// Maximum number of groups of refusals that are logged per window for all networks together. This is the maximum of
/// one network plus 16. Each group takes at most 384 bytes.
pub const REFUSAL_GROUPS_MAX: usize = 80;

/// Number of repeated refusals that are logged per window for each network, so that each manual attempt is visible. A
/// flood from one address fills only 16 of the 4,096 stored entries every ten seconds. The entries therefore still
/// cover 40 minutes.
pub const REFUSALS_REPEATED_PER_NETWORK: u32 = 15;

/// Maximum number of repeated refusals that are logged from all networks together.
pub const REFUSALS_REPEATED_MAX: u32 = 128;

/// Maximum number of refused changes and policy denials that one shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`.
pub const DENIALS_LOGGED_PER_SECOND: u32 = 50;

/// Maximum number of refused changes and denials that one shard logs per second for each network. A flood from one
/// network thus does not hide a device elsewhere.
pub const DENIALS_LOGGED_PER_PREFIX: u32 = 10;

/// Maximum number of ended WebSocket connections that one shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`.
pub const ENDS_LOGGED_PER_SECOND: u32 = 200;

/// Maximum number of ended connections that one shard logs per second for each account. A client that connects in a
/// loop thus does not hide other accounts.
pub const ENDS_LOGGED_PER_ACCOUNT: u32 = 50;

/// Maximum number of refused messages that one shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`. A sample shows which client sends such messages and why, and metrics contain the
/// totals.
pub const UNACCEPTED_LOGGED_PER_SECOND: u32 = 50;

/// Maximum number of refused messages that one shard logs per second for each account. A client that sends them in a
/// loop thus does not hide other accounts.
pub const UNACCEPTED_LOGGED_PER_ACCOUNT: u32 = 10;

/// Maximum number of store failures that one shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`. While the store fails, every change causes a failure.
pub const STORE_TROUBLES_LOGGED_PER_SECOND: u32 = 5;

/// Maximum number of entries per second in which one shard reports nodes that do not respond. Each entry contains the
/// number of unanswered requests since the previous one.
pub const NODE_TROUBLES_LOGGED_PER_SECOND: u32 = 1;

// Limits of OpenID providers, and of sign-ins with their tokens.

/// Maximum number of OpenID providers in a credentials file. A file with more is rejected.
pub const PROVIDERS_MAX: usize = 64;

/// Maximum number of client ids of one provider. Source: IAM User Guide, "IAM and AWS STS quotas", *OIDC client IDs*:
/// 100.
pub const CLIENT_IDS_MAX: usize = 100;

/// Maximum size of the keys that a provider publishes, and of its discovery document, in bytes.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of keys of one provider.
pub const KEYS_OF_PROVIDER_MAX: usize = 100;

/// Maximum size of a provider's token, in bytes. Source: STS API Reference, "AssumeRoleWithWebIdentity",
/// `WebIdentityToken`.
pub const WEB_TOKEN_BYTES_MAX: usize = 20_000;

/// Maximum size of the claim values that are kept for one session, in bytes. The session token contains these values.
pub const WEB_CLAIMS_BYTES_MAX: usize = 1024;

/// Maximum size of an unsigned form, in bytes. Large enough for a provider's token and a session policy.
pub const UNSIGNED_FORM_BYTES_MAX: usize = 32 * 1024;

/// Maximum number of unsigned sign-ins per second from one address. Each costs a signature check.
pub const SIGN_INS_PER_SECOND: u32 = 20;

/// Maximum burst of unsigned sign-ins from one address.
pub const SIGN_INS_BURST: u32 = 100;

/// Maximum number of addresses whose unsigned sign-ins a shard counts individually, at 40 bytes each. All others share
/// one rate limit.
pub const SIGN_IN_ADDRESSES_MAX: usize = 4096;

/// Number of hash buckets for the callers that share an account's rate limit for temporary credentials. They take 256
/// bytes per account. Callers in the same bucket count as one.
pub const GRANT_CALLERS: usize = 32;

/// After a caller has been refused, other callers may use only half of the account's rate for this many milliseconds.
pub const GRANT_WAIT_MS: u64 = 1000;

/// Maximum number of refused calls for temporary credentials per second for each caller. A client that retries in a
/// loop without permission to assume its role causes such calls. Further calls are refused without being evaluated.
pub const GRANTS_REFUSED_PER_SECOND: u32 = 5;

/// Maximum burst of refused calls for temporary credentials per caller.
pub const GRANTS_REFUSED_BURST: u32 = 50;

/// Maximum number of callers whose refused calls a shard counts individually, at 40 bytes each. All others share one
/// rate limit.
pub const REFUSED_CALLERS_MAX: usize = 4096;

/// Maximum number of claim names per provider that the policies and trust documents of a credentials file may test.
pub const CLAIM_NAMES_MAX: usize = 32;

// Limits of work on open connections that shards start by themselves: recalls, and rechecks after the credentials have
// changed.

/// Interval in milliseconds at which a shard closes connections so that their clients fetch the ICE servers again. A
/// client reconnects with up to five TLS handshakes. Those of 100 clients per second take a quarter of a core.
pub const RECALL_STEP_MS: u64 = 10;

/// Maximum number of open connections that a shard rechecks per turn. A recheck evaluates the policies once. It takes
/// about a microsecond, or twice as long if it looks up a session. The rest follow in later turns.
pub const RECHECKS_PER_TURN: usize = 1_000;

/// Forbidden connections are closed within this many milliseconds. This is 5 s minus the delay of a busy shard.
pub const RECHECK_CLOSE_MS: u64 = 4_500;

/// If more than half of all connections are forbidden, they are closed only after this delay in milliseconds.
pub const RECHECK_WAIT_MS: u64 = 10_000;

/// Interval in milliseconds between checks of whether all shards have completed a recheck.
pub const RECHECK_LOOK_MS: u64 = 20;

/// How long after a reload a connection that was admitted with the old credentials may still arrive, in milliseconds. A
/// handover between shards takes no longer than the timeout of request heads.
pub const RECHECK_LATE_MS: u64 = 60_000;

// Limits of the flight recorder.

/// Size of a flight recorder note, in bytes.
pub const NOTE_BYTES: usize = 32;

/// Number of notes in a shard's flight recorder. They take 2 MiB. The oldest notes are overwritten. A viewer's session
/// takes about 30 notes.
pub const RECORDER_NOTES: usize = 1 << 16;

/// Returns [`RECORDER_NOTES`], adjusted for this number of shards. All shards together use at most 32 MiB. Above 128
/// shards, they use only 1 MiB, because the mailboxes and buffers take more memory.
#[must_use]
pub const fn recorder_notes(shards: usize) -> usize {
    if shards > 128 {
        return 128;
    }
    1 << share(1 << 20, shards, RECORDER_NOTES_LEAST, RECORDER_NOTES).ilog2()
}

/// Minimum number of notes that can be configured (32 KiB per shard).
pub const RECORDER_NOTES_LEAST: usize = 1 << 10;
/// Maximum number of notes that can be configured (128 MiB per shard).
pub const RECORDER_NOTES_MOST: usize = 1 << 22;

/// Number of notes that a shard examines in one step of a trace, which takes about 0.1 ms. Each further step is a
/// separate message to the shard, so that the shard can process other messages in between.
pub const INSPECTED_NOTES_PER_STEP: usize = 16_384;
