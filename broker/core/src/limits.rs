//! Fixed limits, each with its reason and the effect of reaching it. The broker's `src/edge/limits.rs` and
//! `src/limits.rs` have the limits of sockets and of the log.

use std::ops::RangeInclusive;

/// Maximum number of shards per process. A configuration with more is rejected at startup.
pub const SHARDS_MAX: usize = 256;

/// Maximum number of outstanding calls from one shard to another, shared by accounts: one account may use half of them,
/// and fewer while others compete. Further calls are refused with 503.
///
/// A call is answered once its home shard has processed it, a change once it is durable. An Alexa call that waits for
/// its master does not count; see [`waiting_calls_per_shard`].
pub const CALLS_PER_PAIR_MAX: usize = 256;

/// [`CALLS_PER_PAIR_MAX`] for this number of shards: lower above 8 shards, so that the mailbox capacity reserved for
/// answers does not grow with the square of the number of shards.
#[must_use]
pub const fn calls_per_pair(shards: usize) -> usize {
    share(2048, shards, 8, CALLS_PER_PAIR_MAX)
}

/// Maximum number of changes among the calls of [`calls_per_pair`]: half of them, shared by accounts in the same way.
/// Changes wait until they are durable, so a slow disk could otherwise use up all calls and block those that change
/// nothing.
#[must_use]
pub const fn changes_per_pair(shards: usize) -> usize {
    calls_per_pair(shards) / 2
}

/// Number of handovers and calls in a mailbox above which further ones are refused with 503: about as many as a core
/// admits in half a second.
pub const MAILBOX_OPEN_PLACES: usize = 4096;

/// [`MAILBOX_OPEN_PLACES`] for this number of shards.
#[must_use]
pub const fn mailbox_open_places(shards: usize) -> usize {
    share(256 * 1024, shards, 1024, MAILBOX_OPEN_PLACES)
}

/// Share of a process-wide total for one shard; at least `least` and at most `most`.
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

/// Maximum number of versions of the message limits since the process started. Each connection keeps the version that
/// it started with; a version takes a few kilobytes. Reloads beyond the maximum are refused until a restart.
pub const MESSAGE_BOUNDS_MAX: usize = 64;

/// Maximum number of channels per turn whose hooks a shard re-evaluates after the hooks have changed. Each is matched
/// against up to 16 patterns, which takes about a millisecond for all.
pub const REWATCHED_PER_TURN: usize = 1_024;

/// Maximum number of letters from the side thread (scrape, inspect, drain, stop) in flight to one shard.
pub const MAILBOX_CONTROL_PLACES: usize = 64;

/// Maximum number of registry changes of one shard in flight, including those queued behind another change of the same
/// channel, shared by accounts: one account may use half of them, and fewer while others compete. Further changes are
/// answered with 503. A commit takes a few milliseconds, however many changes it contains.
pub const CHANGES_PER_SHARD_MAX: usize = 1024;

/// A shard has at most one change in flight, and one waiting Alexa call, per this many connections of the process.
/// Effective if `[limits] connections` is small: the usual maxima would exceed the memory of a small machine, and each
/// change or call has a connected caller. At least [`FEWEST_WAITING`] of each are always allowed.
pub const CONNECTIONS_PER_WAITING: usize = 16;
/// Number of changes, and of Alexa calls, that [`CONNECTIONS_PER_WAITING`] always leaves to a shard.
pub const FEWEST_WAITING: usize = 64;

/// Maximum number of changes of one channel that queue behind the one in flight. Further changes receive
/// `ClientLimitExceededException`.
pub const CHANGES_WAITING_PER_CHANNEL_MAX: usize = 16;

/// Mailbox capacity reserved for letters that must not be refused: a reply per outstanding call, an answer per Alexa
/// call that waits on any shard, a withdrawal and an end notice per Alexa call that waits on this shard, a result per
/// change in flight, and control letters.
#[must_use]
pub const fn mailbox_reserve(shards: usize) -> usize {
    let waiting = CALL_PLACES_PER_WAITING_CALL * waiting_calls_per_shard(shards);
    (calls_per_pair(shards) + waiting) * shards
        + 2 * waiting
        + CHANGES_PER_SHARD_MAX
        + MAILBOX_CONTROL_PLACES
}

/// Total capacity of a mailbox.
#[must_use]
pub const fn mailbox_capacity(shards: usize) -> usize {
    mailbox_open_places(shards) + mailbox_reserve(shards)
}

/// Tokens that a connect or call takes from its caller's bucket, which has the channel's parameters. One caller can
/// therefore use at most half of the channel's rate. Source: codec/PROTOCOL.md, RATE-4.
pub const CALLER_TOKENS: u32 = 2;

/// Maximum number of caller buckets per channel, 12 bytes each; a full list evicts the bucket with the least debt. A
/// caller has one bucket per operation. At the default rates, callers do not evict one another: a channel admits too
/// few of them within the seconds that a bucket takes to refill.
pub const CALLER_BUCKETS_MAX: usize = 64;

/// Maximum number of keys (direction and viewer id) in a channel's queue. A further key is refused unless another can
/// be evicted. Source: codec/PROTOCOL.md, KEEP-4.
pub const PENDING_KEYS_MAX: usize = 64;

/// Maximum number of keys in a channel's queue for one caller with its own share: a quarter, which exceeds the default
/// number of viewers per channel. Beyond it, the caller's oldest key of a departed viewer is evicted. Source:
/// codec/PROTOCOL.md, KEEP-7.
pub const PENDING_KEYS_OF_CALLER_MAX: usize = PENDING_KEYS_MAX / 4;

/// Divisor of a channel's queue size in bytes that gives the share of one caller; a single message may be
/// larger. Source: codec/PROTOCOL.md, KEEP-8.
pub const PENDING_BYTES_PARTS: usize = 4;

/// Time in milliseconds from a viewer's close frame until its queued messages are dropped if another viewer of the same
/// caller is present; a reloaded page has reconnected by then. Source: codec/PROTOCOL.md, KEEP-6.
pub const CLOSED_VIEWER_MS: u64 = 5_000;

/// Maximum number of queued ICE candidates per key; a further one drops the oldest. Source: codec/PROTOCOL.md, KEEP-3.
pub const PENDING_CANDIDATES_MAX: usize = 32;

/// Maximum number of superseded connections per slot (of the master or of a client id). Beyond it, the oldest is closed
/// with 1001 (codec/PROTOCOL.md, TAKE-3).
pub const SUPERSEDED_PER_SLOT_MAX: usize = 4;

/// Maximum number of superseded connections per channel, enough for ten busy slots. Beyond it, the oldest is closed
/// with 1001.
pub const SUPERSEDED_PER_CHANNEL_MAX: usize = 44;

/// Maximum number of channels that a shard lists because their superseded connections stay open, 8 bytes each.
/// Connections of further channels are still counted (`heliograph_connections`), and are listed once others are
/// removed.
pub const DISPLACED_CHANNELS_MAX: usize = 1024;

/// Maximum number of displaced connections listed in one response to an operator, about 200 bytes each.
pub const DISPLACED_TOLD_MAX: usize = 50;

/// Time in milliseconds after which a superseded connection that is still open counts as displaced: after a network
/// change, clients close the old connection at once or never.
pub const DISPLACED_MS: u64 = 10_000;

/// Time in milliseconds for which a slot must be vacant before its most recently superseded connection is closed with
/// 1001. Any client reconnects faster, so the client that left has the first chance.
pub const VACANT_SLOT_MS: u64 = 5_000;

/// Maximum duration in milliseconds of a connection that returns its slot to the connection that it superseded, if its
/// client has sent no frame. Longer than a node takes to detect that a client has left.
pub const BRIEF_MS: u64 = 1_000;

/// Time in milliseconds for which messages of a superseded connection are accepted, so that an answer in flight is not
/// lost. Later messages are delayed and may have been overtaken.
pub const LATE_AFTER_MS: u64 = 5_000;

/// Time in milliseconds, counted from the end of a shard's pause, within which received bytes may date from the pause.
/// Suffices to read the sockets of ten thousand connections.
pub const HELD_READ_MS: u64 = 2_000;

/// Maximum number of callers per channel recorded as having last requested the master endpoint. A full list evicts the
/// oldest, whose next request records it again.
pub const MASTER_REQUESTS_MAX: usize = 2;

/// Maximum number of upgrades per second whose signatures a shard verifies under `--dev`, up to 0.1 ms each. Signatures
/// of further upgrades are not verified.
pub const DEV_SIGNATURES_PER_SECOND_MAX: u32 = 64;

/// Maximum number of signatures recorded per hour under `--dev` that production would refuse. Further ones are not
/// recorded.
pub const DEV_SIGNATURES_PER_HOUR_MAX: u64 = 16;
/// Maximum number of recorded signatures in total; see [`DEV_SIGNATURES_PER_HOUR_MAX`].
pub const DEV_SIGNATURES_NOTED_MAX: usize = 256;

/// Maximum number of callers per channel recorded as having last requested the viewer endpoint, two bytes each. A full
/// list evicts the oldest, since a viewer connects soon after its request.
pub const VIEWER_REQUESTS_MAX: usize = 4;

/// Maximum number of Alexa calls that wait on one channel, each with an offer of at most 10,000 bytes. Further calls
/// receive `ClientLimitExceededException`.
pub const WAITING_CALLS_PER_CHANNEL_MAX: usize = 64;

/// Maximum number of Alexa calls that wait in one process; 4,096 offers take 40 MiB. See [`waiting_calls_per_shard`].
pub const WAITING_CALLS_MAX: usize = 4096;

/// Maximum number of Alexa calls that wait on one shard: its share of [`WAITING_CALLS_MAX`]. With 64 shards, it equals
/// the maximum per channel; with more, it is lower.
///
/// At the limit, an account with fewer calls can still add one: the newest call of the account with the most calls is
/// answered with `ClientLimitExceededException` instead. The same rule applies to the channels of an account. If no
/// account has more calls, the new call is refused.
#[must_use]
pub const fn waiting_calls_per_shard(shards: usize) -> usize {
    share(WAITING_CALLS_MAX, shards, 16, WAITING_CALLS_MAX)
}

/// Table entries per waiting call: one for the call, and one for an evicted call that the caller's shard has not yet
/// confirmed. If no entry is free, an Alexa call is answered with 503.
pub const CALL_PLACES_PER_WAITING_CALL: usize = 2;

/// Maximum number of ended calls that a shard remembers by channel and sender, so that the master's late messages for
/// them are dropped. With the longest names, they take 320 KiB, within the memory reserved for waiting calls; a scan
/// takes microseconds. At the limit, the account with the most loses its oldest.
pub const ENDED_CALLS_MAX: usize = 1024;

/// Maximum number of remembered ended calls per channel, equal to the maximum number of waiting calls. A full list
/// evicts the oldest.
pub const ENDED_CALLS_PER_CHANNEL_MAX: usize = WAITING_CALLS_PER_CHANNEL_MAX;

/// Time in milliseconds for which a player's ended call is remembered after its maximum wait; cameras trickle
/// candidates for several seconds.
pub const ENDED_PLAYER_MS: u64 = 30_000;

/// The limit of players' calls is that of waiting Alexa calls divided by this: 1,024 per process, from offer to answer.
/// Players have a separate limit because an offer may be as large as `payload_bytes`, and an answer 24 KiB. At the
/// limit, the newest call of the busiest channel of the account with the most calls ends with the messages gathered so
/// far, or with 503.
pub const WAITING_CALLS_PER_PLAYER: usize = 4;

/// Delay in seconds before a player that found no camera retries; long enough for a battery-powered camera to wake up.
pub const WHEP_RETRY_S: u32 = 5;

/// Divisor of a shard's connections that gives the number reserved for unknown callers. WebSockets and clients on links
/// never use reserved ones, so a newcomer's request is read even when all other capacity is taken.
pub const CONNECTIONS_PER_GUEST: usize = 16;

/// Maximum number of WebSockets and clients on links of a shard with this many connections: all but those reserved by
/// [`CONNECTIONS_PER_GUEST`], of which there is at least one if there are two or more connections.
///
/// At the limit, an account with fewer connections can still add one: the account with the most connections loses its
/// newest viewer or, if it has none, its newest master, but never its first; that one is closed with 1001. The same
/// rule applies to callers within an account. If no account has more connections, the newcomer is answered with 503.
#[must_use]
pub const fn admitted_most(connections: usize) -> usize {
    let guests = connections / CONNECTIONS_PER_GUEST;
    let least = if connections > 1 { 1 } else { 0 };
    connections - if guests > least { guests } else { least }
}

/// Maximum number of a shard's evicted WebSockets that are still closing. Beyond it, the first of them is aborted.
pub const LEAVING_MAX: usize = 256;

/// [`LEAVING_MAX`] for a shard with this many connections: at most half of the reserved capacity; the other half
/// remains for newcomers.
#[must_use]
pub const fn leaving_most(connections: usize) -> usize {
    let half = (connections - admitted_most(connections)) / 2;
    if half < LEAVING_MAX {
        half
    } else {
        LEAVING_MAX
    }
}

/// Maximum number of steps in a single jump of a shard's clock, in tests. In a longer jump, everything due after the
/// last step fires at the end of the jump.
///
/// Each distinct deadline is one step. The timer wheel has a resolution of 64 ms, so a jump of an hour takes 56,250
/// steps if every slot of the wheel has a deadline. With few sessions, a step takes a few microseconds.
pub const LEAP_STEPS_MAX: u32 = 1 << 16;

/// Maximum number of channels per shard: tables have 16 million slots, and a record takes about 500 bytes with its
/// table entries.
pub const CHANNELS_PER_SHARD_MAX: usize = 1 << 22;

/// Maximum memory of a channel's record, in bytes: the longest name and the maximum number of tags with the longest
/// text, at four bytes per character.
pub const RECORD_BYTES_MAX: usize = 96 << 10;

/// Maximum number of records in a chunk of the catalog. A page spans five to thirty chunks, and a change copies one
/// chunk if a page is reading it.
pub const CATALOG_CHUNK: usize = 256;

/// Number of records that all nodes together send for one page of ListSignalingChannels: twice the maximum page size,
/// so that pages are nearly always full although each node only estimates its part. A short page states where the next
/// one begins.
pub const LIST_MERGED_MAX: usize = 2 * LIST_PAGE_MAX;

/// Maximum number of channel lists in progress on a shard, for different accounts; each may hold [`LIST_MERGED_MAX`]
/// records. Further lists wait, and the accounts take turns.
pub const LISTS_UNDER_WAY_MAX: usize = 4;

/// [`LISTS_UNDER_WAY_MAX`] for this number of shards.
#[must_use]
pub const fn lists_under_way(shards: usize) -> usize {
    share(16, shards, 1, LISTS_UNDER_WAY_MAX)
}

/// Maximum number of lists in progress per account if several nodes own channels; otherwise, the maximum is one.
pub const LISTS_OF_AN_ACCOUNT: usize = 4;

/// Maximum number of channel lists that wait for their turn on a shard. At the limit, the newest list of the account
/// with the most waiting lists is refused with 503.
pub const LISTS_WAITING_MAX: usize = 1024;

/// [`LISTS_WAITING_MAX`] for this number of shards.
#[must_use]
pub const fn lists_waiting(shards: usize) -> usize {
    share(4096, shards, 16, LISTS_WAITING_MAX)
}

/// Maximum number of ListSignalingChannels pages that a node collects concurrently from all nodes, each with
/// [`LIST_MERGED_MAX`] records. Further pages wait.
pub const LISTS_OF_NODES_MAX: usize = 16;

/// Maximum size of a record in a channel list, in bytes: an ARN with the longest name takes 340 bytes.
pub const LISTED_BYTES: usize = 512;

/// Number of channel records that a shard examines per turn for ListSignalingChannels, which takes about a millisecond.
/// The page that exceeds the limit is completed; further pages wait for the next turn, in order.
pub const RECORDS_PER_TURN: u64 = 2000;

/// Maximum number of connections notified by one step of POST /ice/reconnect, each with a separate send of about 5 µs
/// in the same turn.
pub const RECONNECTS_PER_STEP: usize = 256;

/// Maximum number of connections that a shard closes per turn when a channel is deleted, a slot moves, or an operator
/// disconnects clients. Each close frame takes a separate send of about 5 µs, so a full turn takes about a millisecond,
/// and a channel with 10,000 viewers takes 40 turns. Also the number of table slots that one step of a drain examines.
pub const CLOSES_PER_TURN: usize = 256;

/// Maximum number of follow-up steps queued while one input is processed; takes 24 KiB. A step of a drain adds the
/// most, one per connection of [`CLOSES_PER_TURN`]. Other steps process connections or calls one at a time.
pub const STEPS_LEFT_MAX: usize = 2 * CLOSES_PER_TURN;

/// Maximum number of answers that a shard queues for its callers while it processes one input: one per Alexa call,
/// change in flight and follow-up step.
pub const ANSWERS_PER_INPUT_MAX: usize = WAITING_CALLS_MAX
    + WAITING_CALLS_MAX / WAITING_CALLS_PER_PLAYER
    + CHANGES_PER_SHARD_MAX
    + STEPS_LEFT_MAX;

/// Maximum number of viewers waiting for an absent master that an event lists: 16 names of up to 256 bytes. Beyond it,
/// the event only states how many more wait.
pub const WAITERS_TOLD_MAX: usize = 16;

/// Maximum number of final states of deleted channels that a shard keeps until it can report them. Beyond it, the
/// oldest is dropped, and watchers learn of the loss.
pub const PARTING_MAX: usize = 1024;

/// Delay in milliseconds before a shard retries a presence report that did not fit into the audience's queue.
pub const PRESENCE_RETRY_MS: u64 = 20;

/// Maximum number of channels whose presence a shard reports in one turn; the rest follow in the next turn.
pub const PRESENCE_TOLD_PER_TURN: usize = 256;

/// Maximum number of entries on a page of ListSignalingChannels, regardless of MaxResults (codec/PROTOCOL.md, CHAN-3).
pub const LIST_PAGE_MAX: usize = 1000;

/// Maximum number of WebSocket frames per message. C SDK builds on libwebsockets send a few; 64 tiny ones are an
/// attack. Beyond it, the connection is closed with 1008.
pub const FRAGMENTS_PER_MESSAGE_MAX: u32 = 64;

/// Maximum number of frames without effect per second on one connection: pings, pongs, empty messages, and refused or
/// throttled messages. A well-behaved client sends a few. Beyond it, the connection is closed with 1008. Not
/// configurable: a 6-byte frame costs as much as a relayed one, and no other limit covers these frames.
pub const IDLE_FRAMES_PER_SECOND_MAX: u8 = 200;

/// Maximum number of pings in one receive that are answered individually. Of any others, only the latest is answered,
/// as RFC 6455 section 5.5.3 allows.
pub const PONGS_PER_RECEIVE_MAX: u32 = 16;

/// Maximum number of principals in a credentials file, about 0.5 KiB each; a file with more is rejected.
pub const PRINCIPALS_MAX: usize = 65_536;

/// Maximum number of roles in a credentials file, about 0.5 KiB each plus the trust document; a file with more is
/// rejected.
pub const ROLES_MAX: usize = 4096;

/// Maximum number of role aliases in a credentials file; a file with more is rejected.
pub const ROLE_ALIASES_MAX: usize = 1024;

/// Maximum number of derived signing keys cached by a shard, 1.5 KiB each; deriving an evicted key again takes a
/// microsecond. Keys with a session token use at most a quarter of the cache, since a principal may have any number of
/// them.
pub const SIGNING_KEYS_PER_SHARD_MAX: usize = 4096;

/// [`SIGNING_KEYS_PER_SHARD_MAX`] for this number of shards: 12 MiB in total.
#[must_use]
pub const fn signing_keys_per_shard(shards: usize) -> usize {
    share(8 * 1024, shards, 32, SIGNING_KEYS_PER_SHARD_MAX)
}

/// Maximum number of empty outbox buffers that a shard keeps for reuse.
pub const SPARE_OUTBOXES_MAX: usize = 512;
/// Maximum size of a reused buffer, in bytes: [`SPARE_OUTBOXES_MAX`] of 16 KiB take 8 MiB.
pub const SPARE_OUTBOX_BYTES_MAX: usize = 16 * 1024;

/// Delay in milliseconds before the first query to the kernel about acknowledged bytes, and between queries. A live
/// peer acknowledges within a round trip plus at most 0.25 s.
pub const ASK_AFTER_MS: u64 = 1000;

/// First queries are scheduled in steps of this many milliseconds, so that they can be batched.
pub const ASK_STEP_MS: u64 = 50;

/// Maximum number of connections queried in one tick; each query is a system call of less than a microsecond.
pub const ASKS_PER_TICK: usize = 512;

/// Number of message bytes sent to a connection after which the next data from it triggers an early query. By then, the
/// peer has usually acknowledged the bytes, and their buffer is reused while still in a core's cache. Small enough for
/// the cache, large enough that a query costs little per message.
pub const ASK_BYTES: usize = 1024;

/// [`ASK_BYTES`] for a connection that sends no data.
pub const ASK_BYTES_UNHEARD: usize = 8 * 1024;

/// Maximum number of bytes that the kernel may hold for a peer without counting against limits: the basic cost of a
/// connection. As many again may be written between two queries: responses, control frames and, with pong confirmation,
/// messages.
pub const UNREAD_BYTES_FREE: usize = 4 * 1024;

/// Sent bytes are counted in steps of this many; with overhead, even a shorter frame takes this much kernel memory.
pub const ASK_STEP_BYTES: usize = 256;

/// Maximum number of a channel's offers kept for redelivery: one per viewer.
pub const UNANSWERED_PER_CHANNEL_MAX: usize = PENDING_KEYS_MAX;

/// Maximum number of candidates kept with an offer for redelivery, as for a queued offer; a further one drops the
/// oldest.
pub const UNANSWERED_CANDIDATES_MAX: usize = PENDING_CANDIDATES_MAX;

/// The queue size in bytes divided by this is the additional memory for offers kept for redelivery and their
/// candidates. Beyond it, the account that uses the most loses the candidates of its oldest offer, then the offer.
pub const UNANSWERED_BYTES_PARTS: usize = 4;

/// Window in milliseconds. A master that is reported gone and then back [`GONE_TIMES_MAX`] times in this window stays
/// gone until it has acknowledged messages for [`GONE_STEADY_MS`], so that a radio that sleeps between messages is not
/// reported each time.
pub const GONE_WINDOW_MS: u64 = 600_000;

/// Number of times that a master is reported gone and back within [`GONE_WINDOW_MS`] before it stays reported gone.
pub const GONE_TIMES_MAX: u32 = 3;

/// Time in milliseconds for which such a master must acknowledge messages before it is reported back; see
/// [`GONE_WINDOW_MS`].
pub const GONE_STEADY_MS: u64 = 60_000;

/// When unacknowledged bytes exceed their limit, the limit divided by this is freed at once, since freeing requires a
/// scan of all connections.
pub const PROOF_ROOM_PARTS: usize = 8;

/// Time in milliseconds, beyond two round trips, after which an acknowledgement is overdue: the maximum delay of
/// receivers (40 ms on Linux, 250 ms on lwIP).
pub const ACKNOWLEDGE_MS: u64 = 250;

/// Maximum time in milliseconds for which messages of a superseded connection delay newer ones.
pub const TAKEOVER_MS_MAX: u64 = 1000;

/// Number of spare buffers per shard, such that all shards together use 16 MiB.
#[must_use]
pub const fn spare_outboxes(shards: usize) -> usize {
    share(1024, shards, 4, SPARE_OUTBOXES_MAX)
}

/// Interval between the steps of a shutdown drain, in milliseconds.
pub const DRAIN_STEP_MS: u64 = 50;

/// Number of session slots that one step of an operator's request examines, in about a millisecond.
pub const INSPECTED_SLOTS_PER_STEP: usize = 4096;

/// Maximum number of accounts with individual counters of calls, messages and refusals, per shard and in `GET /usage`:
/// 56 bytes each. Further accounts are counted together.
pub const USAGE_ACCOUNTS_MAX: usize = 1024;

/// Maximum number of accounts in the credentials file with their own metrics series, lowest account numbers first. All
/// others are counted together.
pub const USAGE_SERIES_MAX: usize = 20;

/// A deadline missed by this many milliseconds shows that the shard itself did not run (process stopped, machine
/// suspended) and that data from peers is still unread.
pub const STALL_MS: u64 = 2_000;

/// Maximum time in milliseconds from a message's first byte to its last. Beyond it, the connection is closed with 1008.
pub const MESSAGE_MS_MAX: u64 = 10_000;

/// Time in milliseconds after which an unanswered API call receives 503. SendAlexaOfferToMaster waits longest, for
/// MessageTtlSeconds of at most 120 s; the rest is a margin for a slow store.
pub const REPLY_MS_MAX: u64 = 150_000;

/// [`REPLY_MS_MAX`] for a change stored in etcd, which answers within milliseconds or, during a leader election, within
/// three seconds. After a 503, the client's next call shows whether the change was made.
pub const CHANGE_REPLY_MS_MAX: u64 = 2_500;

/// Time in milliseconds for which a request waits for its channel's owner while slots move between nodes. The request
/// then receives 503. The C SDK gives up after 5 s.
pub const OWNER_WAIT_MS: u64 = 3_000;

/// `Retry-After` in seconds for a channel that another node may own: long enough not to overload nodes that have lost
/// etcd; the retry may reach a node that knows the owner.
pub const ABSENCE_RETRY_S: u32 = 5;

/// Interval between attempts to determine the node that owns a channel, in milliseconds.
pub const OWNER_LOOK_MS: u64 = 50;

/// Interval in milliseconds between attempts to reach a channel's owner that does not respond; a restarted process
/// listens within a second.
pub const OWNER_RETRY_MS: u64 = 500;

/// Maximum number of requests on one shard that wait for an owner of their channel; further ones are refused with 503
/// at once. Each is checked every [`OWNER_LOOK_MS`] in less than a microsecond; all together take 2 % of a core.
pub const OWNER_WAITERS_MAX: usize = 1024;

/// Maximum number of link clients that a shard closes per tick because their owner was lost or the node shuts down;
/// each takes one or two sends. The rest follow in later ticks.
pub const LEADS_PER_TICK: usize = 64;

/// Maximum number of slot orders that a shard executes per turn; each adds or removes several hundred channels in less
/// than a millisecond.
pub const SLOT_ORDERS_PER_TURN: usize = 4;

/// Maximum number of bytes of queued messages packed for a slot that moves to another node. Further messages are
/// dropped as withdrawn. Long parcels are sent in several messages.
pub const PARCEL_BYTES_MAX: usize = 48 << 20;

/// Maximum number of bytes of queued messages accepted for slots that other nodes offer. A parcel beyond it is refused,
/// and its slot does not move.
pub const KEPT_PARCEL_BYTES_MAX: usize = 64 << 20;

/// Maximum time in milliseconds for which a shard waits until the connections of a moving slot have finished their
/// current messages; less than half of the transfer's timeout.
pub const SLOT_STILL_MS: u64 = 1_000;

/// Interval in milliseconds at which a shard checks whether these connections have finished.
pub const SLOT_LOOK_MS: u64 = 5;

/// Time over which an isolated node closes its connections, in milliseconds.
pub const ALONE_CLOSE_MS: u64 = 2_000;

/// A connection is no longer read once this many bytes have been received after an unfinished call.
pub const PIPELINED_BYTES_MAX: usize = 32 * 1024;

/// An HTTP connection with this many queued response bytes neither reads nor answers requests until the peer reads
/// some. At most this many bytes plus one response are queued.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of request heads and bodies of one connection answered in succession. Further ones wait until other
/// connections were served: a receive of 8 KiB can contain 300 of the shortest requests.
pub const REQUESTS_PER_VISIT: u32 = 16;

/// Maximum number of request heads and bodies that a shard answers on arrival per turn. Further ones wait; a turn with
/// a lot of work answers fewer ([`crate::work_units`]).
pub const FRESH_REQUESTS_PER_TURN: u32 = 128;

/// Maximum number of waiting request heads and bodies answered per tick; fewer if they take a lot of work
/// ([`crate::work_units`]).
pub const WAITING_REQUESTS_PER_TICK: u32 = 32;

/// Number of bytes of unfinished or waiting requests, or of unread responses, that an HTTP connection may hold without
/// counting against limits: the basic cost of a connection.
pub const REQUEST_BYTES_FREE: usize = 1024;

/// Maximum number of connections evicted to free bytes for one input. Beyond it, the input's connection is closed.
pub const PAYERS_PER_INPUT: usize = 16;

/// Maximum number of bytes of pongs and status responses queued on one WebSocket. Beyond it, pings are not answered, as
/// RFC 6455 section 5.5.3 allows, and a status response closes the connection with 1008.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// [`CONTROL_BYTES_MAX`] while the shard's responses and control frames exceed its share of `limits.request_bytes`.
pub const CONTROL_BYTES_WHEN_FULL: usize = 4 * 1024;

/// Maximum number of bytes of a frame besides its payload: header, JSON members and the longest sender id.
pub const ENVELOPE_BYTES_MAX: usize = 14 + 96 + 256;

/// Maximum number of messages that a shard captures per second under `--dev`; further ones are counted as missed. Half
/// of the number kept, so that a load test copies only a few messages.
pub const CAPTURES_PER_SECOND_MAX: u32 = 1000;

/// Number of channels that one step of a test reset (`/dev/reset`) deletes; the store has capacity for more at once.
pub const RESET_CHANNELS_PER_STEP: u64 = 256;

/// Maximum number of a shard's findings (`/dev/parity`), each for one rule and channel, about requests that the cloud
/// service would have refused. Findings for further channels are counted together.
pub const FINDINGS_MAX: usize = 1024;

/// Maximum number of channels whose rates are tracked for findings (`/dev/parity`).
pub const PARITY_BUCKETS_MAX: usize = 4096;

/// Maximum number of test faults at a time (`/dev/faults`).
pub const FAULTS_MAX: usize = 64;

/// Maximum number of messages held back by a shard's faults. Further ones pass at once and are counted.
pub const FAULT_HELD_MAX: usize = 1024;

/// Maximum number of bytes of messages held back by a shard's faults.
pub const FAULT_HELD_BYTES_MAX: usize = 4 << 20;

/// Maximum number of messages and connections held back by faults that are released per tick.
pub const FAULTS_DUE_PER_TICK: usize = 256;

/// Maximum time in milliseconds for which a message selected for reordering waits for the next one.
pub const FAULT_REORDER_MS: u64 = 1000;

const _: () = assert!(PARCEL_BYTES_MAX < KEPT_PARCEL_BYTES_MAX);
const _: () = assert!(SHARDS_MAX <= u16::MAX as usize);
const _: () = assert!(mailbox_reserve(SHARDS_MAX) < 1 << 20);
const _: () = assert!(SUPERSEDED_PER_CHANNEL_MAX >= SUPERSEDED_PER_SLOT_MAX);

// Devices that wait with `GET /wake`.

/// Maximum number of devices that wait with `GET /wake` in one process, equal to the number of connections. Each takes
/// about 100 bytes besides its connection. See [`wake_polls_per_shard`].
pub const WAKE_POLLS_MAX: usize = 131_072;

/// Maximum number of devices that wait on one shard: its share of [`WAKE_POLLS_MAX`].
///
/// At the limit, an account with fewer waiting devices can still add one: a device of the account with the most is
/// answered with `ClientLimitExceededException` instead. If no account has more, the new device is refused.
#[must_use]
pub const fn wake_polls_per_shard(shards: usize) -> usize {
    share(WAKE_POLLS_MAX, shards, 1024, WAKE_POLLS_MAX)
}

/// Range of the requested wait of a device, in seconds. TCP keepalives preserve NAT mappings that would expire earlier.
pub const WAKE_WAIT_S: RangeInclusive<u64> = 30..=600;

/// Default wait of a device, in seconds.
pub const WAKE_WAIT_S_DEFAULT: u64 = 240;

/// Maximum number of things, across all shards, whose sign-ins are counted per hour: 0.5 MiB. Sign-ins of further
/// things are not counted in that hour.
pub const SIGN_INS_COUNTED_MAX: usize = 65_536;

/// Number of sign-ins of a thing per hour above which each is served but also listed with the refusals. Credentials
/// last at least 15 minutes, and the C SDK renews them up to 20 % early, which makes six sign-ins an hour; a device
/// whose clock is ahead requests credentials before each of its calls.
pub const SIGN_INS_PER_HOUR: u64 = 20;

/// Maximum age of a connection to the credentials provider, in milliseconds. Credentials are requested every 15 minutes
/// at most, and a new handshake revalidates the certificate and its chain.
pub const PROVIDER_AGE_MS: u64 = 5 * 60 * 1000;

/// Maximum random reduction of a provider connection's age in milliseconds, so that connections opened together do not
/// all reconnect together.
pub const PROVIDER_AGE_SPREAD_MS: u64 = 60 * 1000;

/// Maximum number of channels per import into a running process; the store creates them in one commit. A larger import
/// requires a stopped process.
pub const IMPORTED_MAX: usize = 1000;

// Log entries: a shard logs some of each kind per second and counts the others.

/// Window of logged refusals, in milliseconds. `heliograph_log_suppressed_total` counts suppressed ones.
pub const REFUSAL_WINDOW_MS: u64 = 10_000;

/// Maximum number of groups of refusals (one check for one channel or key) logged per window from one network (/24 of
/// IPv4, /48 of IPv6). Refusals of further groups are counted together.
pub const REFUSAL_GROUPS_PER_NETWORK: usize = 64;

/// Maximum number of groups of refusals logged per window from all networks together: the maximum of one network, plus
/// 16. Each takes at most 384 bytes.
pub const REFUSAL_GROUPS_MAX: usize = 80;

/// Number of repeated refusals of known groups logged per network, so that each manual attempt is visible. A flood from
/// one address takes only 16 of the 4,096 stored entries per ten seconds, so the entries still reach back 40 minutes.
pub const REFUSALS_REPEATED_PER_NETWORK: u32 = 15;

/// Maximum number of repeated refusals logged from all networks.
pub const REFUSALS_REPEATED_MAX: u32 = 128;

/// Maximum number of refused changes and policy denials that one shard logs per second; the rest count as refusals.
pub const DENIALS_LOGGED_PER_SECOND: u32 = 50;

/// Maximum number of refused changes and denials that one shard logs per second and network, so that a flood from one
/// network does not hide a device elsewhere.
pub const DENIALS_LOGGED_PER_PREFIX: u32 = 10;

/// Maximum number of WebSocket connection ends that one shard logs per second; the rest count as refusals.
pub const ENDS_LOGGED_PER_SECOND: u32 = 200;

/// Maximum number of connection ends that one shard logs per second and account, so that a client that connects in a
/// loop does not hide other accounts.
pub const ENDS_LOGGED_PER_ACCOUNT: u32 = 50;

/// Maximum number of refused messages that one shard logs per second; the rest count as refusals. A sample shows which
/// client sends such messages and why; metrics contain the totals.
pub const UNACCEPTED_LOGGED_PER_SECOND: u32 = 50;

/// Maximum number of refused messages that one shard logs per second and account, so that a client that sends them in a
/// loop does not hide other accounts.
pub const UNACCEPTED_LOGGED_PER_ACCOUNT: u32 = 10;

/// Maximum number of store failures that one shard logs per second; the rest count as refusals. While the store fails,
/// every change causes a failure.
pub const STORE_TROUBLES_LOGGED_PER_SECOND: u32 = 5;

/// Maximum number of entries per second in which one shard reports nodes that do not respond, each with the number of
/// unanswered requests since the previous one.
pub const NODE_TROUBLES_LOGGED_PER_SECOND: u32 = 1;

// OpenID providers, and sign-ins with their tokens.

/// Maximum number of OpenID providers in a credentials file; a file with more is rejected.
pub const PROVIDERS_MAX: usize = 64;

/// Maximum number of client ids of one provider. Source: IAM User Guide, "IAM and AWS STS quotas", *OIDC client IDs*:
/// 100.
pub const CLIENT_IDS_MAX: usize = 100;

/// Maximum size of a provider's published keys, and of its discovery document, in bytes.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of keys of one provider.
pub const KEYS_OF_PROVIDER_MAX: usize = 100;

/// Maximum size of a provider's token, in bytes. Source: STS API Reference, "AssumeRoleWithWebIdentity",
/// `WebIdentityToken`.
pub const WEB_TOKEN_BYTES_MAX: usize = 20_000;

/// Maximum size of the retained claim values of one session, in bytes; the session's token contains them.
pub const WEB_CLAIMS_BYTES_MAX: usize = 1024;

/// Maximum size of an unsigned form, in bytes; fits a provider's token and a session policy.
pub const UNSIGNED_FORM_BYTES_MAX: usize = 32 * 1024;

/// Maximum number of unsigned sign-ins per second from one address; each costs a signature check.
pub const SIGN_INS_PER_SECOND: u32 = 20;

/// Maximum burst of unsigned sign-ins from one address.
pub const SIGN_INS_BURST: u32 = 100;

/// Maximum number of addresses whose unsigned sign-ins a shard counts individually, 40 bytes each; all others share one
/// rate limit.
pub const SIGN_IN_ADDRESSES_MAX: usize = 4096;

/// Hash buckets of the callers that share an account's rate of temporary credentials: 256 bytes per account. Callers in
/// the same bucket count as one.
pub const GRANT_CALLERS: usize = 32;

/// Time in milliseconds for which other callers are limited to half of an account's rate after one caller was refused.
pub const GRANT_WAIT_MS: u64 = 1000;

/// Maximum number of refused calls for temporary credentials per caller and second, as from a client that loops without
/// permission to assume its role. Further calls are refused without evaluation.
pub const GRANTS_REFUSED_PER_SECOND: u32 = 5;

/// Maximum burst of refused calls for temporary credentials per caller.
pub const GRANTS_REFUSED_BURST: u32 = 50;

/// Maximum number of callers whose refused calls a shard counts individually, 40 bytes each; all others share one rate
/// limit.
pub const REFUSED_CALLERS_MAX: usize = 4096;

/// Maximum number of claim names per provider that the policies and trust documents of a file may test.
pub const CLAIM_NAMES_MAX: usize = 32;

// Work on open connections that shards start on their own: recalls, and rechecks after a change of credentials.

/// Interval in milliseconds at which a shard closes connections so that their clients fetch ICE servers again: 100 per
/// second. Each client reconnects with up to five TLS handshakes, in total a quarter of a core.
pub const RECALL_STEP_MS: u64 = 10;

/// Maximum number of open connections that a shard rechecks per turn. A recheck evaluates the policies once, in about a
/// microsecond, and takes as long again if it looks up a session. The rest follow in later turns.
pub const RECHECKS_PER_TURN: usize = 1_000;

/// Time in milliseconds within which forbidden connections are closed: 5 s minus the delay of a busy shard.
pub const RECHECK_CLOSE_MS: u64 = 4_500;

/// Delay in milliseconds before closing more than half of all connections, to allow for another reload.
pub const RECHECK_WAIT_MS: u64 = 10_000;

/// Interval in milliseconds between checks whether all shards have completed a recheck.
pub const RECHECK_LOOK_MS: u64 = 20;

/// Time in milliseconds during which a connection admitted with the old credentials may still arrive: a handover
/// between shards takes no longer than the head timeout.
pub const RECHECK_LATE_MS: u64 = 60_000;

// Flight recorder.

/// Size of a flight recorder note, in bytes.
pub const NOTE_BYTES: usize = 32;

/// Number of notes in a shard's flight recorder, 2 MiB; the oldest are overwritten. A viewer's session takes about 30
/// notes.
pub const RECORDER_NOTES: usize = 1 << 16;

/// [`RECORDER_NOTES`] for this number of shards: 32 MiB in total; above 128 shards, whose letters and buffers take more
/// memory, 1 MiB.
#[must_use]
pub const fn recorder_notes(shards: usize) -> usize {
    if shards > 128 {
        return 128;
    }
    1 << share(1 << 20, shards, RECORDER_NOTES_LEAST, RECORDER_NOTES).ilog2()
}

/// Minimum configurable number of notes: 32 KiB per shard.
pub const RECORDER_NOTES_LEAST: usize = 1 << 10;
/// Maximum configurable number of notes: 128 MiB per shard.
pub const RECORDER_NOTES_MOST: usize = 1 << 22;

/// Number of notes that a shard examines in one step of a trace, in about 0.1 ms. The next step is a separate letter,
/// so messages are processed in between.
pub const INSPECTED_NOTES_PER_STEP: usize = 16_384;
