//! Fixed limits, each with its reason and with what happens when it is reached. The broker's `src/edge/limits.rs` and
//! `src/limits.rs` contain the limits for sockets and for the log.

use std::ops::RangeInclusive;

/// Maximum number of shards per process. A configuration with more is rejected at startup.
pub const SHARDS_MAX: usize = 256;

/// Maximum number of outstanding calls from one shard to another. A single account may use half of them, or less if
/// other accounts compete for them. Further calls are refused with 503.
///
/// A call is answered once the shard that owns the channel has processed it, and a change once it is durable. An Alexa
/// call that is waiting for its master is not included; see [`waiting_calls_per_shard`].
pub const CALLS_PER_PAIR_MAX: usize = 256;

/// Returns [`CALLS_PER_PAIR_MAX`], adjusted for this number of shards. The limit shrinks above 8 shards, because
/// otherwise the mailbox capacity reserved for answers would grow with the square of the number of shards.
#[must_use]
pub const fn calls_per_pair(shards: usize) -> usize {
    share(2048, shards, 8, CALLS_PER_PAIR_MAX)
}

/// Returns how many of the outstanding calls in [`calls_per_pair`] may be calls that change something: half of them.
/// Accounts share this number in the same way as they share calls. A change is outstanding until it is durable. With a
/// slow disk, changes could otherwise take all places and block calls that only read.
#[must_use]
pub const fn changes_per_pair(shards: usize) -> usize {
    calls_per_pair(shards) / 2
}

/// Number of handovers and calls in a mailbox above which further ones are refused with 503. A core admits about this
/// many in half a second.
pub const MAILBOX_OPEN_PLACES: usize = 4096;

/// Returns [`MAILBOX_OPEN_PLACES`], adjusted for this number of shards.
#[must_use]
pub const fn mailbox_open_places(shards: usize) -> usize {
    share(256 * 1024, shards, 1024, MAILBOX_OPEN_PLACES)
}

/// Divides a process-wide total among the shards. Returns one shard's share, clamped to `least..=most`.
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

/// Maximum number of versions of the message limits over the lifetime of a process. A connection keeps the version that
/// it started with, and each version takes a few kilobytes. Once the maximum is reached, reloads that would add a
/// version are refused until the process restarts.
pub const MESSAGE_BOUNDS_MAX: usize = 64;

/// Maximum number of channels that a shard matches against changed hooks in one event loop iteration. With up to 16
/// patterns to match, this many channels take about a millisecond.
pub const REWATCHED_PER_TURN: usize = 1_024;

/// Maximum number of messages from the side thread (scrape, inspect, drain, stop) in flight to one shard.
pub const MAILBOX_CONTROL_PLACES: usize = 64;

/// Maximum number of registry changes in flight from one shard, including those queued behind another change of the
/// same channel. A single account may use half of them, or less if other accounts compete for them. Further changes are
/// refused with 503. A commit takes a few milliseconds, regardless of the number of changes in it.
pub const CHANGES_PER_SHARD_MAX: usize = 1024;

/// A shard may have one change in flight and one waiting Alexa call for every 16 connections of the process. Without
/// this limit, the usual maxima would not fit into the memory of a small machine, where `[limits] connections` is low.
/// Every change and every call belongs to a caller that has a connection. At least [`FEWEST_WAITING`] of each are
/// always allowed.
pub const CONNECTIONS_PER_WAITING: usize = 16;
/// The number of changes, and of waiting Alexa calls, that a shard is always allowed regardless of
/// [`CONNECTIONS_PER_WAITING`].
pub const FEWEST_WAITING: usize = 64;

/// Maximum number of changes queued behind a channel's change in flight. Further changes are answered with
/// `ClientLimitExceededException`.
pub const CHANGES_WAITING_PER_CHANNEL_MAX: usize = 16;

/// Returns the mailbox capacity reserved for messages that must not be refused. It covers a reply to each outstanding
/// call, a result of each change in flight, an answer to each Alexa call waiting on any shard, and control messages. It
/// also covers a withdrawal and an end notice for each Alexa call waiting on this shard.
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

/// Number of tokens that a connect or call takes from its caller's bucket. The bucket has the channel's parameters, so
/// a single caller can use at most half of the channel's rate. Source: codec/PROTOCOL.md, RATE-4.
pub const CALLER_TOKENS: u32 = 2;

/// Maximum number of per-caller token buckets in a channel, at 12 bytes each. A caller has one per operation. When the
/// list is full, the bucket with the least debt is evicted. At the default rates, callers do not evict each other,
/// because a bucket is full again before the channel has admitted that many of them.
pub const CALLER_BUCKETS_MAX: usize = 64;

/// Maximum number of keys (direction and viewer id) in a channel's queue. When the queue is full, a further key is
/// refused unless an existing one can be evicted. Source: codec/PROTOCOL.md, KEEP-4.
pub const PENDING_KEYS_MAX: usize = 64;

/// Maximum number of keys in a channel's queue that belong to the same caller. This is a quarter of all keys, and more
/// than the default number of viewers per channel. If a caller needs more, its oldest key whose viewer has left is
/// evicted. Keys without a caller are exempt. Source: codec/PROTOCOL.md, KEEP-7.
pub const PENDING_KEYS_OF_CALLER_MAX: usize = PENDING_KEYS_MAX / 4;

/// A single caller may fill a quarter of a channel's queue, measured in bytes. A single message may be larger. Source:
/// codec/PROTOCOL.md, KEEP-8.
pub const PENDING_BYTES_PARTS: usize = 4;

/// How long a viewer's queued messages are kept after its close frame, in milliseconds, while another viewer of the
/// same caller is present. A reloading page has reconnected by then. Source: codec/PROTOCOL.md, KEEP-6.
pub const CLOSED_VIEWER_MS: u64 = 5_000;

/// Maximum number of queued ICE candidates per key. A further candidate replaces the oldest one. Source:
/// codec/PROTOCOL.md, KEEP-3.
pub const PENDING_CANDIDATES_MAX: usize = 32;

/// Maximum number of superseded connections per slot, where a channel has one slot for the master and one per client
/// id. Beyond this limit, the oldest one is closed with 1001 (codec/PROTOCOL.md, TAKE-3).
pub const SUPERSEDED_PER_SLOT_MAX: usize = 4;

/// Maximum number of superseded connections per channel, enough for ten busy slots. Beyond this limit, the oldest one
/// is closed with 1001.
pub const SUPERSEDED_PER_CHANNEL_MAX: usize = 44;

/// Maximum number of channels with open superseded connections that a shard lists, at 8 bytes each. Superseded
/// connections of further channels are only counted (`heliograph_connections`). Such a channel is listed as soon as
/// another one leaves the list.
pub const DISPLACED_CHANNELS_MAX: usize = 1024;

/// Maximum number of displaced connections in one response to an operator, at about 200 bytes each.
pub const DISPLACED_TOLD_MAX: usize = 50;

/// How long a superseded connection must stay open, in milliseconds, before it is considered displaced. After a network
/// change, clients close their old connection either immediately or never.
pub const DISPLACED_MS: u64 = 10_000;

/// How long a slot must be vacant, in milliseconds, before its most recently superseded connection is closed with 1001.
/// Clients reconnect faster, so the client that left has the first chance to return to its slot.
pub const VACANT_SLOT_MS: u64 = 5_000;

/// Maximum duration of a brief connection in milliseconds. If the client of a brief connection never sent a frame, its
/// slot returns to the connection that it superseded. This is longer than a node takes to notice that a client has
/// left.
pub const BRIEF_MS: u64 = 1_000;

/// How long messages from a superseded connection are accepted, in milliseconds. This is long enough for an answer in
/// flight to arrive. A message that arrives later was delayed, and newer messages may have overtaken it.
pub const LATE_AFTER_MS: u64 = 5_000;

/// How long after a pause of the shard, in milliseconds, received bytes may still date from the pause. This is enough
/// time to read the sockets of ten thousand connections.
pub const HELD_READ_MS: u64 = 2_000;

/// Maximum number of callers remembered per channel whose latest request was for the master endpoint. When the list is
/// full, the oldest caller is evicted, and is added again at its next request.
pub const MASTER_REQUESTS_MAX: usize = 2;

/// Maximum number of upgrades per second whose signatures a shard verifies under `--dev`. Verifying one takes up to 0.1
/// ms. Upgrades beyond the limit are not verified.
pub const DEV_SIGNATURES_PER_SECOND_MAX: u32 = 64;

/// Maximum number of signatures per hour that are recorded under `--dev` because production would refuse them.
pub const DEV_SIGNATURES_PER_HOUR_MAX: u64 = 16;
/// Maximum number of recorded signatures overall; see [`DEV_SIGNATURES_PER_HOUR_MAX`].
pub const DEV_SIGNATURES_NOTED_MAX: usize = 256;

/// Maximum number of callers remembered per channel whose latest request was for the viewer endpoint, at two bytes
/// each. When the list is full, the oldest caller is evicted. It has usually connected by then.
pub const VIEWER_REQUESTS_MAX: usize = 4;

/// Maximum number of Alexa calls waiting on one channel, each with an offer of at most 10,000 bytes. Further calls are
/// answered with `ClientLimitExceededException`.
pub const WAITING_CALLS_PER_CHANNEL_MAX: usize = 64;

/// Maximum number of Alexa calls waiting in one process. Their 4,096 offers take 40 MiB. See
/// [`waiting_calls_per_shard`].
pub const WAITING_CALLS_MAX: usize = 4096;

/// Returns the maximum number of Alexa calls waiting on one shard, which is its share of [`WAITING_CALLS_MAX`]. With 64
/// shards, the share equals the per-channel limit; with more shards, it is smaller.
///
/// At the limit, an account can still add a call if another account has more waiting calls. The newest call of the
/// account with the most is then answered with `ClientLimitExceededException`. The same rule applies to the channels
/// within an account. If no account has more calls, the new call is refused.
#[must_use]
pub const fn waiting_calls_per_shard(shards: usize) -> usize {
    share(WAITING_CALLS_MAX, shards, 16, WAITING_CALLS_MAX)
}

/// Number of table entries per waiting call: one for the call itself, and one for an evicted call until its caller's
/// shard has confirmed the eviction. An Alexa call that finds no free entry is answered with 503.
pub const CALL_PLACES_PER_WAITING_CALL: usize = 2;

/// Maximum number of ended calls that a shard remembers, by channel and sender, to drop the master's late messages for
/// them. With the longest names, they take 320 KiB, which fits into the memory reserved for waiting calls. A scan takes
/// microseconds. At the limit, the account with the most ended calls loses its oldest one.
pub const ENDED_CALLS_MAX: usize = 1024;

/// Maximum number of ended calls remembered per channel, equal to the maximum number of waiting calls. When the list is
/// full, the oldest is evicted.
pub const ENDED_CALLS_PER_CHANNEL_MAX: usize = WAITING_CALLS_PER_CHANNEL_MAX;

/// How long a player's ended call is remembered, in milliseconds, after the latest time at which it could have ended.
/// Cameras trickle candidates for several seconds.
pub const ENDED_PLAYER_MS: u64 = 30_000;

/// The limit on player calls that wait for an answer is the limit on waiting Alexa calls divided by this: a quarter, or
/// 1,024 per process. It is separate because a player's offer may be as large as `payload_bytes` and the answer may
/// take 24 KiB. At the limit, the newest call on the busiest channel of the account with the most calls is ended. Its
/// player receives the messages gathered so far, or 503.
pub const WAITING_CALLS_PER_PLAYER: usize = 4;

/// Seconds after which a player that found no camera should retry. Enough for a battery-powered camera to wake up.
pub const WHEP_RETRY_S: u32 = 5;

/// A shard reserves one of every 16 connections for clients whose caller is not known yet. WebSockets and clients on
/// links never use the reserved connections, so a new client can send its request even when all others are in use.
pub const CONNECTIONS_PER_GUEST: usize = 16;

/// Returns the maximum number of WebSockets and clients on links on a shard with `connections` connections. This
/// excludes the connections reserved by [`CONNECTIONS_PER_GUEST`]. At least one is reserved if there are two or more.
///
/// At the limit, an account can still add a connection if another account has more connections. The account with the
/// most then loses its newest viewer or, if it has no viewer, its newest master, but never its first connection. The
/// evicted connection is closed with 1001. The same rule applies to the callers within an account. If no account has
/// more connections, the new client is answered with 503.
#[must_use]
pub const fn admitted_most(connections: usize) -> usize {
    let guests = connections / CONNECTIONS_PER_GUEST;
    let least = if connections > 1 { 1 } else { 0 };
    connections - if guests > least { guests } else { least }
}

/// Maximum number of evicted WebSockets on a shard that are still closing. Beyond this limit, the oldest one is
/// aborted.
pub const LEAVING_MAX: usize = 256;

/// Returns [`LEAVING_MAX`], adjusted for a shard with `connections` connections. Closing connections use at most half
/// of the reserved capacity, which leaves the other half for new clients.
#[must_use]
pub const fn leaving_most(connections: usize) -> usize {
    let half = (connections - admitted_most(connections)) / 2;
    if half < LEAVING_MAX {
        half
    } else {
        LEAVING_MAX
    }
}

/// Maximum number of steps in a single jump of a shard's clock, for tests. In a longer jump, everything due after the
/// last step fires when the jump ends.
///
/// Each distinct deadline is one step. The timer wheel's resolution is 64 ms, so a jump of an hour takes 56,250 steps
/// if every slot of the wheel contains a deadline. With few sessions, a step takes a few microseconds.
pub const LEAP_STEPS_MAX: u32 = 1 << 16;

/// Maximum number of channels per shard. Tables have 16 million slots, and a record takes about 500 bytes including its
/// table entries.
pub const CHANNELS_PER_SHARD_MAX: usize = 1 << 22;

/// Maximum memory in bytes for a channel's record. Enough for the longest name and for the maximum number of tags with
/// the longest text, at four bytes per character.
pub const RECORD_BYTES_MAX: usize = 96 << 10;

/// Maximum number of records in a chunk of the catalog. A page spans five to thirty chunks. A change copies a single
/// chunk, and only while a page is being read from it.
pub const CATALOG_CHUNK: usize = 256;

/// Number of records that all nodes together send for one page of ListSignalingChannels. A node can only estimate how
/// many records to contribute. At twice the maximum page size, pages are nearly always full anyway. A page that is not
/// full says where the next one begins.
pub const LIST_MERGED_MAX: usize = 2 * LIST_PAGE_MAX;

/// Maximum number of channel lists in progress on a shard, each for a different account and with up to
/// [`LIST_MERGED_MAX`] records. Further lists wait, and the accounts take turns.
pub const LISTS_UNDER_WAY_MAX: usize = 4;

/// Returns [`LISTS_UNDER_WAY_MAX`], adjusted for this number of shards.
#[must_use]
pub const fn lists_under_way(shards: usize) -> usize {
    share(16, shards, 1, LISTS_UNDER_WAY_MAX)
}

/// Maximum number of lists in progress for one account if several nodes own channels. With a single node, the maximum
/// is one.
pub const LISTS_OF_AN_ACCOUNT: usize = 4;

/// Maximum number of channel lists waiting on a shard. At the limit, the newest list of the account with the most
/// waiting lists is refused with 503.
pub const LISTS_WAITING_MAX: usize = 1024;

/// Returns [`LISTS_WAITING_MAX`], adjusted for this number of shards.
#[must_use]
pub const fn lists_waiting(shards: usize) -> usize {
    share(4096, shards, 16, LISTS_WAITING_MAX)
}

/// Maximum number of ListSignalingChannels pages that a node collects from all nodes at once, each with
/// [`LIST_MERGED_MAX`] records. Further pages wait.
pub const LISTS_OF_NODES_MAX: usize = 16;

/// Maximum size in bytes of a record in a channel list. An ARN with the longest name takes 340 bytes.
pub const LISTED_BYTES: usize = 512;

/// Number of channel records that a shard examines for ListSignalingChannels in one event loop iteration. They take
/// about a millisecond. The page that reaches this number is still completed, and further pages wait for the next
/// iteration.
pub const RECORDS_PER_TURN: u64 = 2000;

/// Maximum number of connections notified by one step of POST /ice/reconnect. Each notice is a separate send, which
/// adds about 5 µs to the same event loop iteration.
pub const RECONNECTS_PER_STEP: usize = 256;

/// Maximum number of connections that a shard closes per event loop iteration when a channel is deleted, a slot moves
/// or an operator disconnects clients. Every close frame is a separate send of about 5 µs, so this many take about a
/// millisecond. A channel with 10,000 viewers needs 40 iterations. One step of a drain examines the same number of
/// table slots.
pub const CLOSES_PER_TURN: usize = 256;

/// Maximum number of follow-up steps queued while one input is processed. They take 24 KiB. A step of a drain adds the
/// most, with one for each of up to [`CLOSES_PER_TURN`] connections.
pub const STEPS_LEFT_MAX: usize = 2 * CLOSES_PER_TURN;

/// Maximum number of answers that a shard queues for its callers while it processes one input: one for each Alexa call,
/// change in flight and follow-up step.
pub const ANSWERS_PER_INPUT_MAX: usize = WAITING_CALLS_MAX
    + WAITING_CALLS_MAX / WAITING_CALLS_PER_PLAYER
    + CHANGES_PER_SHARD_MAX
    + STEPS_LEFT_MAX;

/// Maximum number of viewers waiting for an absent master that an event about a channel lists. Each viewer is listed by
/// a name of up to 256 bytes. If more viewers are waiting, the event states only their number.
pub const WAITERS_TOLD_MAX: usize = 16;

/// Maximum number of final states of deleted channels that a shard keeps until it can report them. Beyond this limit,
/// the shard drops the oldest state and reports the loss to each watcher.
pub const PARTING_MAX: usize = 1024;

/// Delay in milliseconds before a shard retries a presence report that did not fit into the receiver's queue.
pub const PRESENCE_RETRY_MS: u64 = 20;

/// Maximum number of channels whose presence a shard reports in one event loop iteration. The rest wait for the next
/// one.
pub const PRESENCE_TOLD_PER_TURN: usize = 256;

/// Maximum number of entries on a page of ListSignalingChannels, regardless of MaxResults (codec/PROTOCOL.md, CHAN-3).
pub const LIST_PAGE_MAX: usize = 1000;

/// Maximum number of WebSocket frames per message. C SDK builds on libwebsockets send a few, whereas a message in 64
/// tiny frames is an attack. A message with more closes the connection with 1008.
pub const FRAGMENTS_PER_MESSAGE_MAX: u32 = 64;

/// Maximum number of frames without effect that a connection may send per second: pings, pongs, empty messages, and
/// messages that are refused or throttled. A well-behaved client sends a few. If a connection exceeds the limit, it is
/// closed with 1008. Not configurable, because a 6-byte frame costs as much as a relayed one and no other limit covers
/// these frames.
pub const IDLE_FRAMES_PER_SECOND_MAX: u8 = 200;

/// Maximum number of pings answered individually per receive. Of any further pings, only the last one is answered, as
/// RFC 6455 section 5.5.3 allows.
pub const PONGS_PER_RECEIVE_MAX: u32 = 16;

/// Maximum number of principals in a credentials file, at about 0.5 KiB each. A file with more is rejected.
pub const PRINCIPALS_MAX: usize = 65_536;

/// Maximum number of roles in a credentials file, at about 0.5 KiB each plus the trust document. A file with more is
/// rejected.
pub const ROLES_MAX: usize = 4096;

/// Maximum number of role aliases in a credentials file. A file with more is rejected.
pub const ROLE_ALIASES_MAX: usize = 1024;

/// Maximum number of derived signing keys that a shard caches, at 1.5 KiB each. An evicted key takes a microsecond to
/// derive again. A principal may have any number of session tokens, so their keys use at most a quarter of the cache.
pub const SIGNING_KEYS_PER_SHARD_MAX: usize = 4096;

/// Returns [`SIGNING_KEYS_PER_SHARD_MAX`], adjusted for this number of shards. All shards together use 12 MiB.
#[must_use]
pub const fn signing_keys_per_shard(shards: usize) -> usize {
    share(8 * 1024, shards, 32, SIGNING_KEYS_PER_SHARD_MAX)
}

/// Maximum number of empty outbox buffers that a shard keeps for reuse.
pub const SPARE_OUTBOXES_MAX: usize = 512;
/// Maximum size in bytes of a buffer that is kept for reuse. [`SPARE_OUTBOXES_MAX`] buffers of 16 KiB take 8 MiB.
pub const SPARE_OUTBOX_BYTES_MAX: usize = 16 * 1024;

/// Delay in milliseconds before the kernel is first asked how many bytes the peer has acknowledged, and between later
/// queries. A live peer acknowledges within a round trip plus at most 0.25 s.
pub const ASK_AFTER_MS: u64 = 1000;

/// Granularity in milliseconds to which the time of a connection's first query is rounded up, so that queries can be
/// batched.
pub const ASK_STEP_MS: u64 = 50;

/// Maximum number of connections queried per tick. Each query is a system call that takes less than a microsecond.
pub const ASKS_PER_TICK: usize = 512;

/// Number of message bytes sent on a connection after which the next data received on it triggers an early query. The
/// peer has usually acknowledged the bytes by then, so their buffer is reused while still in a core's cache. Small
/// enough for the cache, and large enough that a query costs little per message.
pub const ASK_BYTES: usize = 1024;

/// Replaces [`ASK_BYTES`] for a connection on which nothing is received.
pub const ASK_BYTES_UNHEARD: usize = 8 * 1024;

/// Number of unacknowledged bytes per connection that count towards no limit, because they are part of the basic cost
/// of a connection. They include responses, control frames and, with pong confirmation, messages. The next query is due
/// once this many bytes have been written.
pub const UNREAD_BYTES_FREE: usize = 4 * 1024;

/// Granularity in bytes at which sent bytes are counted. With its overhead, even a shorter frame takes 256 bytes of
/// kernel memory.
pub const ASK_STEP_BYTES: usize = 256;

/// Maximum number of offers that a channel keeps for redelivery, one per viewer.
pub const UNANSWERED_PER_CHANNEL_MAX: usize = PENDING_KEYS_MAX;

/// Maximum number of ICE candidates kept with an offer for redelivery, equal to the maximum for a queued offer. A
/// further candidate replaces the oldest one.
pub const UNANSWERED_CANDIDATES_MAX: usize = PENDING_CANDIDATES_MAX;

/// Offers kept for redelivery, including their candidates, have a memory limit of their own: a quarter of the limit for
/// queues. At this limit, the account that uses the most memory first loses the candidates of its oldest offer, and
/// then the offer itself.
pub const UNANSWERED_BYTES_PARTS: usize = 4;

/// Window in milliseconds for detecting an unsteady master. If the master is reported as gone and then back
/// [`GONE_TIMES_MAX`] times within it, it stays reported as gone until it has acknowledged messages for
/// [`GONE_STEADY_MS`]. This avoids constant reports about a device whose radio sleeps between messages.
pub const GONE_WINDOW_MS: u64 = 600_000;

/// Maximum number of times that a master may be reported as gone and then as back within [`GONE_WINDOW_MS`]. After
/// that, it stays reported as gone.
pub const GONE_TIMES_MAX: u32 = 3;

/// How long a master that stays reported as gone must acknowledge messages, in milliseconds, before it is reported as
/// back; see [`GONE_WINDOW_MS`].
pub const GONE_STEADY_MS: u64 = 60_000;

/// Freeing unacknowledged bytes requires a scan of all connections. When these bytes exceed their limit, an eighth of
/// the limit is therefore freed at once.
pub const PROOF_ROOM_PARTS: usize = 8;

/// An acknowledgement is overdue after two round trips plus this many milliseconds. Receivers delay acknowledgements
/// for at most this long (40 ms on Linux, 250 ms on lwIP).
pub const ACKNOWLEDGE_MS: u64 = 250;

/// How long messages on a superseded connection may delay newer messages, in milliseconds.
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

/// Maximum number of accounts whose calls, messages and refusals each shard and `GET /usage` count individually, at 56
/// bytes per account. Further accounts are counted together.
pub const USAGE_ACCOUNTS_MAX: usize = 1024;

/// Maximum number of accounts in the credentials file that have their own metrics series. Accounts with the lowest
/// numbers come first, and all others are counted together.
pub const USAGE_SERIES_MAX: usize = 20;

/// If a shard handles a deadline more than this many milliseconds late, the shard itself was not running, because the
/// process was stopped or the machine suspended. Data from peers is then still unread.
pub const STALL_MS: u64 = 2_000;

/// Maximum time in milliseconds from the first byte of a message to its last. A slower message closes the connection
/// with 1008.
pub const MESSAGE_MS_MAX: u64 = 10_000;

/// Time in milliseconds after which an unanswered API call receives 503. SendAlexaOfferToMaster waits the longest:
/// MessageTtlSeconds, at most 120 s. The remainder is a margin for a slow store.
pub const REPLY_MS_MAX: u64 = 150_000;

/// Replaces [`REPLY_MS_MAX`] for changes stored in etcd, in milliseconds. etcd answers within milliseconds or, during a
/// leader election, within three seconds. After a 503, the client's next call shows whether the change was made.
pub const CHANGE_REPLY_MS_MAX: u64 = 2_500;

/// How long a request waits for its channel to have an owner while slots move between nodes, in milliseconds. It then
/// receives 503. The C SDK gives up after 5 s.
pub const OWNER_WAIT_MS: u64 = 3_000;

/// `Retry-After` in seconds for a request whose channel may be owned by another node. Long enough not to overload nodes
/// that have lost etcd. The retry may reach a node that knows the owner.
pub const ABSENCE_RETRY_S: u32 = 5;

/// Interval in milliseconds at which a waiting request looks up its channel's owner.
pub const OWNER_LOOK_MS: u64 = 50;

/// Interval in milliseconds between attempts to reach a channel owner that does not respond. A restarted process
/// listens within a second.
pub const OWNER_RETRY_MS: u64 = 500;

/// Maximum number of requests on one shard that wait for their channel to have an owner. Further requests are refused
/// with 503 at once. Each request is checked every [`OWNER_LOOK_MS`]. A check takes less than a microsecond, so that a
/// full list takes 2 % of a core.
pub const OWNER_WAITERS_MAX: usize = 1024;

/// Maximum number of link clients that a shard closes per tick, either because they lost their owner or because the
/// node is shutting down. Closing one takes one or two sends. The rest wait for later ticks.
pub const LEADS_PER_TICK: usize = 64;

/// Maximum number of orders to gain or lose a slot that a shard executes per event loop iteration. Each adds or removes
/// several hundred channels in less than a millisecond.
pub const SLOT_ORDERS_PER_TURN: usize = 4;

/// Maximum number of queued message bytes transferred with a slot that moves to another node. Messages beyond this
/// limit are dropped and counted as withdrawn. Large transfers are split into several messages.
pub const PARCEL_BYTES_MAX: usize = 48 << 20;

/// Maximum number of queued message bytes that a node accepts for slots from other nodes. A slot whose queue would
/// exceed this limit does not move.
pub const KEPT_PARCEL_BYTES_MAX: usize = 64 << 20;

/// How long a shard waits for the connections of a moving slot to finish their current messages, in milliseconds. Less
/// than half of the transfer timeout.
pub const SLOT_STILL_MS: u64 = 1_000;

/// Interval in milliseconds between checks of whether a moving slot's connections have finished.
pub const SLOT_LOOK_MS: u64 = 5;

/// At shutdown, a process outside a cluster keeps its clients until this many milliseconds before the deadline.
pub const ALONE_CLOSE_MS: u64 = 2_000;

/// A connection with an unfinished call is no longer read once it has sent this many further bytes.
pub const PIPELINED_BYTES_MAX: usize = 32 * 1024;

/// An HTTP connection with this many bytes of queued responses neither reads nor answers requests until the peer has
/// read some of them. At most one more response is queued.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of request heads and bodies answered in succession on one connection. Further ones wait until other
/// connections have had a turn. A single receive of 8 KiB can contain 300 of the shortest requests.
pub const REQUESTS_PER_VISIT: u32 = 16;

/// Maximum number of request heads and bodies that a shard answers on arrival in one event loop iteration. Further ones
/// wait. An iteration with a lot of other work answers fewer ([`crate::work_units`]).
pub const FRESH_REQUESTS_PER_TURN: u32 = 128;

/// Maximum number of waiting request heads and bodies answered per tick. Fewer are answered if they are expensive
/// ([`crate::work_units`]).
pub const WAITING_REQUESTS_PER_TICK: u32 = 32;

/// Number of bytes per HTTP connection that count towards no limit, because they are part of the basic cost of a
/// connection. They include unfinished and waiting requests, and unread responses.
pub const REQUEST_BYTES_FREE: usize = 1024;

/// Maximum number of connections evicted to free the bytes that one input needs. If that is not enough, the connection
/// that received the input is closed.
pub const PAYERS_PER_INPUT: usize = 16;

/// Maximum number of bytes of pongs and status responses queued on a WebSocket. Beyond this limit, pings go unanswered,
/// as RFC 6455 section 5.5.3 allows, and a status response closes the connection with 1008.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Replaces [`CONTROL_BYTES_MAX`] while the shard's responses and control frames exceed its share of
/// `limits.request_bytes`.
pub const CONTROL_BYTES_WHEN_FULL: usize = 4 * 1024;

/// Maximum number of bytes in a frame besides its payload: the header, the JSON members and the longest sender id.
pub const ENVELOPE_BYTES_MAX: usize = 14 + 96 + 256;

/// Maximum number of messages that a shard captures per second under `--dev`. Further messages are counted as missed.
/// This is half of the number of messages kept, and bounds the cost of copying during a load test.
pub const CAPTURES_PER_SECOND_MAX: u32 = 1000;

/// Number of channels that one step of a test reset (`/dev/reset`) deletes. The store can take more at once.
pub const RESET_CHANNELS_PER_STEP: u64 = 256;

/// Maximum number of findings that a shard stores about requests that the cloud service would have refused
/// (`/dev/parity`). A finding is for one rule and one channel. Findings for further channels are counted together.
pub const FINDINGS_MAX: usize = 1024;

/// Maximum number of channels whose rates are tracked for findings (`/dev/parity`).
pub const PARITY_BUCKETS_MAX: usize = 4096;

/// Maximum number of concurrent test faults (`/dev/faults`).
pub const FAULTS_MAX: usize = 64;

/// Maximum number of messages that test faults hold back per shard. Further messages are forwarded at once and counted.
pub const FAULT_HELD_MAX: usize = 1024;

/// Maximum total size in bytes of the messages that test faults hold back per shard.
pub const FAULT_HELD_BYTES_MAX: usize = 4 << 20;

/// Maximum number of messages and connections that test faults release per tick.
pub const FAULTS_DUE_PER_TICK: usize = 256;

/// How long a test fault that reorders messages delays a message while it waits for the next one, in milliseconds.
pub const FAULT_REORDER_MS: u64 = 1000;

const _: () = assert!(PARCEL_BYTES_MAX < KEPT_PARCEL_BYTES_MAX);
const _: () = assert!(SHARDS_MAX <= u16::MAX as usize);
const _: () = assert!(mailbox_reserve(SHARDS_MAX) < 1 << 20);
const _: () = assert!(SUPERSEDED_PER_CHANNEL_MAX >= SUPERSEDED_PER_SLOT_MAX);

// Limits for devices that wait with `GET /wake`.

/// Maximum number of devices waiting with `GET /wake` in one process, equal to the number of connections. Each takes
/// about 100 bytes on top of its connection. See [`wake_polls_per_shard`].
pub const WAKE_POLLS_MAX: usize = 131_072;

/// Returns the maximum number of devices waiting on one shard, which is its share of [`WAKE_POLLS_MAX`].
///
/// At the limit, an account can still add a device if another account has more waiting devices. A device of the account
/// with the most is then answered with `ClientLimitExceededException`. If no account has more, the new device is
/// refused.
#[must_use]
pub const fn wake_polls_per_shard(shards: usize) -> usize {
    share(WAKE_POLLS_MAX, shards, 1024, WAKE_POLLS_MAX)
}

/// How long a device may ask to wait, in seconds. NAT mappings that would expire sooner are preserved by TCP
/// keepalives.
pub const WAKE_WAIT_S: RangeInclusive<u64> = 30..=600;

/// How long a device waits by default, in seconds.
pub const WAKE_WAIT_S_DEFAULT: u64 = 240;

/// Maximum number of things whose sign-ins are counted per hour, across all shards. The counts take 0.5 MiB. Sign-ins
/// of further things are not counted in that hour.
pub const SIGN_INS_COUNTED_MAX: usize = 65_536;

/// Number of sign-ins per hour above which a thing is listed with the refusals, at its first excess sign-in. All
/// sign-ins are served. Credentials last at least 15 minutes and the C SDK renews them up to 20 % early, which makes
/// six sign-ins an hour. A device whose clock is ahead requests credentials before each call.
pub const SIGN_INS_PER_HOUR: u64 = 20;

/// Maximum age in milliseconds of a connection to the credentials provider. Devices rarely need new credentials more
/// often than every 15 minutes, and each new handshake validates the certificate and its chain again.
pub const PROVIDER_AGE_MS: u64 = 5 * 60 * 1000;

/// Maximum amount in milliseconds by which the age limit of a provider connection is shortened, depending on the
/// certificate, so that connections opened together do not all reconnect together.
pub const PROVIDER_AGE_SPREAD_MS: u64 = 60 * 1000;

/// Maximum number of channels per import into a running process. The store creates them in a single commit. A larger
/// import requires the process to be stopped.
pub const IMPORTED_MAX: usize = 1000;

// Limits on logging. Every second, a shard logs some entries of each kind and counts the rest.

/// Length in milliseconds of the window in which the number of logged refusals is limited. The rest are counted in
/// `heliograph_log_suppressed_total`.
pub const REFUSAL_WINDOW_MS: u64 = 10_000;

/// Maximum number of refusal groups logged per window for one network (an IPv4 /24 or an IPv6 /48). A group has the
/// same check and the same channel or key. Refusals in further groups are counted together.
pub const REFUSAL_GROUPS_PER_NETWORK: usize = 64;

/// Maximum number of refusal groups logged per window for all networks: the maximum for one network plus 16. A group
/// takes at most 384 bytes.
pub const REFUSAL_GROUPS_MAX: usize = 80;

/// Number of repeated refusals logged per window and network, so that an operator sees each manual attempt. A flood
/// from one address fills only 16 of the 4,096 stored entries every ten seconds, so the entries still cover 40 minutes.
pub const REFUSALS_REPEATED_PER_NETWORK: u32 = 15;

/// Maximum number of repeated refusals logged per window for all networks.
pub const REFUSALS_REPEATED_MAX: u32 = 128;

/// Maximum number of refused changes and policy denials that a shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`.
pub const DENIALS_LOGGED_PER_SECOND: u32 = 50;

/// Maximum number of refused changes and denials that a shard logs per second and network, so that a flood from one
/// network does not hide a device elsewhere.
pub const DENIALS_LOGGED_PER_PREFIX: u32 = 10;

/// Maximum number of ended WebSocket connections that a shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`.
pub const ENDS_LOGGED_PER_SECOND: u32 = 200;

/// Maximum number of ended connections that a shard logs per second and account, so that a client that connects in a
/// loop does not hide other accounts.
pub const ENDS_LOGGED_PER_ACCOUNT: u32 = 50;

/// Maximum number of refused messages that a shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`. A sample is enough to show which client sends such messages and why, and metrics
/// contain the totals.
pub const UNACCEPTED_LOGGED_PER_SECOND: u32 = 50;

/// Maximum number of refused messages that a shard logs per second and account, so that a client that sends them in a
/// loop does not hide other accounts.
pub const UNACCEPTED_LOGGED_PER_ACCOUNT: u32 = 10;

/// Maximum number of store failures that a shard logs per second. The rest are counted in
/// `heliograph_log_suppressed_total`. A failing store fails every change.
pub const STORE_TROUBLES_LOGGED_PER_SECOND: u32 = 5;

/// Maximum number of entries per second in which a shard reports nodes that do not respond. Each states the number of
/// unanswered requests since the previous one.
pub const NODE_TROUBLES_LOGGED_PER_SECOND: u32 = 1;

// Limits for OpenID providers and for sign-ins with their tokens.

/// Maximum number of OpenID providers in a credentials file. A file with more is rejected.
pub const PROVIDERS_MAX: usize = 64;

/// Maximum number of client ids per provider. Source: IAM User Guide, "IAM and AWS STS quotas", *OIDC client IDs*: 100.
pub const CLIENT_IDS_MAX: usize = 100;

/// Maximum size in bytes of a provider's published keys, and of its discovery document.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of keys per provider.
pub const KEYS_OF_PROVIDER_MAX: usize = 100;

/// Maximum size in bytes of a provider's token. Source: STS API Reference, "AssumeRoleWithWebIdentity",
/// `WebIdentityToken`.
pub const WEB_TOKEN_BYTES_MAX: usize = 20_000;

/// Maximum total size in bytes of a session's claim values. They are stored in the session token.
pub const WEB_CLAIMS_BYTES_MAX: usize = 1024;

/// Maximum size in bytes of an unsigned form. Enough for a provider's token and a session policy.
pub const UNSIGNED_FORM_BYTES_MAX: usize = 32 * 1024;

/// Maximum number of unsigned sign-ins per second from one address. Each requires a signature check.
pub const SIGN_INS_PER_SECOND: u32 = 20;

/// Maximum burst of unsigned sign-ins from one address.
pub const SIGN_INS_BURST: u32 = 100;

/// Maximum number of addresses whose unsigned sign-ins a shard counts individually, at 40 bytes each. All other
/// addresses share one rate limit.
pub const SIGN_IN_ADDRESSES_MAX: usize = 4096;

/// Number of hash buckets for the callers that share an account's rate limit for temporary credentials. They take 256
/// bytes per account. Callers in the same bucket count as one.
pub const GRANT_CALLERS: usize = 32;

/// How long the other callers may use only half of an account's rate after a caller has been refused, in milliseconds.
pub const GRANT_WAIT_MS: u64 = 1000;

/// Maximum number of refused calls for temporary credentials per second and caller. Such calls come from clients that
/// retry in a loop without permission to assume their role. Further calls are refused without being evaluated.
pub const GRANTS_REFUSED_PER_SECOND: u32 = 5;

/// Maximum burst of refused calls for temporary credentials per caller.
pub const GRANTS_REFUSED_BURST: u32 = 50;

/// Maximum number of callers whose refused calls a shard counts individually, at 40 bytes each. All other callers share
/// one rate limit.
pub const REFUSED_CALLERS_MAX: usize = 4096;

/// Maximum number of claim names per provider that a credentials file may test in its policies and trust documents.
pub const CLAIM_NAMES_MAX: usize = 32;

// Limits on the work that shards do on open connections of their own accord: recalls, and rechecks after the
// credentials have changed.

/// Pause in milliseconds between two connections that a shard closes so that their clients fetch the ICE servers again.
/// A client reconnects with up to five TLS handshakes. For 100 clients per second, these take a quarter of a core.
pub const RECALL_STEP_MS: u64 = 10;

/// Maximum number of open connections that a shard rechecks per event loop iteration. A recheck evaluates the policies
/// once, in about a microsecond, or twice that if it looks up a session. The rest wait for later iterations.
pub const RECHECKS_PER_TURN: usize = 1_000;

/// Time in milliseconds within which forbidden connections are closed: 5 s minus the delay on a busy shard.
pub const RECHECK_CLOSE_MS: u64 = 4_500;

/// If more than half of all connections are forbidden, they are closed only after this many milliseconds.
pub const RECHECK_WAIT_MS: u64 = 10_000;

/// Interval in milliseconds between checks of whether all shards have completed a recheck.
pub const RECHECK_LOOK_MS: u64 = 20;

/// How long a connection admitted with the old credentials may still arrive after a reload, in milliseconds. A handover
/// between shards takes no longer than the timeout for request heads.
pub const RECHECK_LATE_MS: u64 = 60_000;

// Limits for the flight recorder.

/// Size in bytes of a flight recorder note.
pub const NOTE_BYTES: usize = 32;

/// Number of notes in a shard's flight recorder. They take 2 MiB. The oldest notes are overwritten. A viewer's session
/// takes about 30 notes.
pub const RECORDER_NOTES: usize = 1 << 16;

/// Returns [`RECORDER_NOTES`], adjusted for this number of shards. All shards together use at most 32 MiB. Above 128
/// shards, the mailboxes and buffers take more memory, so the recorders use only 1 MiB.
#[must_use]
pub const fn recorder_notes(shards: usize) -> usize {
    if shards > 128 {
        return 128;
    }
    1 << share(1 << 20, shards, RECORDER_NOTES_LEAST, RECORDER_NOTES).ilog2()
}

/// Minimum configurable number of notes (32 KiB per shard).
pub const RECORDER_NOTES_LEAST: usize = 1 << 10;
/// Maximum configurable number of notes (128 MiB per shard).
pub const RECORDER_NOTES_MOST: usize = 1 << 22;

/// Number of notes that a shard examines in one step of a trace. A step takes about 0.1 ms. Each further step is a
/// separate message to the shard, which can process other messages in between.
pub const INSPECTED_NOTES_PER_STEP: usize = 16_384;
