//! Bounds that are not configuration, each with its reason and what happens when it is reached. Those of sockets and of
//! the log are in the broker, `src/edge/limits.rs` and `src/limits.rs`.

use std::ops::RangeInclusive;

/// Most shards of one process. More is refused at start.
pub const SHARDS_MAX: usize = 256;

/// Calls that one shard may have outstanding with each other shard, shared by account: one account may have half of
/// them, and less while others ask. The next one is refused with 503.
///
/// Each is answered once its home has processed it, a change when it is durable. An Alexa call that waits for its
/// master holds no such place: see [`waiting_calls_per_shard`].
pub const CALLS_PER_PAIR_MAX: usize = 256;

/// [`CALLS_PER_PAIR_MAX`] for this many shards: fewer per pair beyond 8 shards, so that the places reserved for answers
/// do not grow with the square of the shards.
#[must_use]
pub const fn calls_per_pair(shards: usize) -> usize {
    share(2048, shards, 8, CALLS_PER_PAIR_MAX)
}

/// Changes among [`calls_per_pair`], shared in the same way: half of them. A change is answered when it is durable, so
/// a slow disk would otherwise fill all places, and calls that change nothing would find none.
#[must_use]
pub const fn changes_per_pair(shards: usize) -> usize {
    calls_per_pair(shards) / 2
}

/// Handovers and calls in a mailbox beyond which more are refused with 503: about half a second of connects of one
/// core.
pub const MAILBOX_OPEN_PLACES: usize = 4096;

/// [`MAILBOX_OPEN_PLACES`] for this many shards.
#[must_use]
pub const fn mailbox_open_places(shards: usize) -> usize {
    share(256 * 1024, shards, 1024, MAILBOX_OPEN_PLACES)
}

/// One shard's part of a total of the process, at least `least` and at most `most`.
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

/// Most versions of message bounds in force since the process started: connections keep theirs. A reload with one more
/// is refused until a restart. An entry takes some kilobytes, with the settings of its time.
pub const MESSAGE_BOUNDS_MAX: usize = 64;

/// Channels whose hooks a shard looks up again in one turn, after the hooks have changed: up to 16 patterns each, a
/// millisecond in all.
pub const REWATCHED_PER_TURN: usize = 1_024;

/// Most letters of the side thread (scrape, inspect, drain, stop) in flight to one shard.
pub const MAILBOX_CONTROL_PLACES: usize = 64;

/// Changes of the registry that one shard may have in flight, with those that wait behind one of their channel, shared
/// by account: one account may have half of them, and less while others ask. The next one is answered 503. A commit
/// takes some milliseconds, whatever the number of changes in it.
pub const CHANGES_PER_SHARD_MAX: usize = 1024;

/// Connections of the process for each change in flight and each waiting Alexa call of a shard, where `[limits]
/// connections` is so small: each has a caller that is connected, and on a small machine the largest of both would
/// take more memory than there is. At least [`FEWEST_WAITING`].
pub const CONNECTIONS_PER_WAITING: usize = 16;
/// See [`CONNECTIONS_PER_WAITING`].
pub const FEWEST_WAITING: usize = 64;

/// Changes of one channel that wait for the one in flight; the next one is `ClientLimitExceededException`.
pub const CHANGES_WAITING_PER_CHANNEL_MAX: usize = 16;

/// Places in a mailbox reserved for letters that must not be refused: a reply for each outstanding call; for each Alexa
/// call that waits anywhere its answer, and for each that waits here a withdrawal and the notice of its end; a result
/// for each change in flight; and control.
#[must_use]
pub const fn mailbox_reserve(shards: usize) -> usize {
    let waiting = CALL_PLACES_PER_WAITING_CALL * waiting_calls_per_shard(shards);
    (calls_per_pair(shards) + waiting) * shards
        + 2 * waiting
        + CHANGES_PER_SHARD_MAX
        + MAILBOX_CONTROL_PLACES
}

/// All places of a mailbox.
#[must_use]
pub const fn mailbox_capacity(shards: usize) -> usize {
    mailbox_open_places(shards) + mailbox_reserve(shards)
}

/// Tokens that a connect or call takes of its caller's bucket, which has the channel's parameters: so one caller has
/// half of the channel's rate, and one that uses up its share leaves the others theirs. Source: codec/PROTOCOL.md,
/// RATE-4.
pub const CALLER_TOKENS: u32 = 2;

/// Most buckets of callers per channel, 12 bytes each; the one with the least debt is evicted. A caller has a bucket
/// for each operation that it may call, and at the default rates a channel admits too few within the seconds that a
/// bucket takes to refill for others to evict one.
pub const CALLER_BUCKETS_MAX: usize = 64;

/// Queued keys (direction and viewer id) per channel; the next one is refused unless one is evicted. Source:
/// codec/PROTOCOL.md, KEEP-4.
pub const PENDING_KEYS_MAX: usize = 64;

/// Queued keys of one caller with a share of its own: a quarter, more than the viewers that a channel may have by
/// default. Beyond it the oldest of its keys whose viewer is gone is evicted. Source: codec/PROTOCOL.md, KEEP-7.
pub const PENDING_KEYS_OF_CALLER_MAX: usize = PENDING_KEYS_MAX / 4;

/// Divisor of a channel's queued bytes: one caller may have this part of them, or one message. Source:
/// codec/PROTOCOL.md, KEEP-8.
pub const PENDING_BYTES_PARTS: usize = 4;

/// Time from a viewer's close frame until its queued messages are dropped if another viewer of its caller is present,
/// in milliseconds: a reloaded page is connected by then. Source: codec/PROTOCOL.md, KEEP-6.
pub const CLOSED_VIEWER_MS: u64 = 5_000;

/// Queued ICE candidates per key; one more drops the oldest. Source: codec/PROTOCOL.md, KEEP-3.
pub const PENDING_CANDIDATES_MAX: usize = 32;

/// Superseded connections per slot (the master's, or one client id's): the oldest is closed with 1001
/// (codec/PROTOCOL.md, TAKE-3).
pub const SUPERSEDED_PER_SLOT_MAX: usize = 4;

/// Superseded connections per channel: as many as ten busy slots could have. The oldest is closed with 1001.
pub const SUPERSEDED_PER_CHANNEL_MAX: usize = 44;

/// Channels of a shard listed for superseded connections that stay, 8 bytes each. Further ones are counted
/// (`heliograph_connections`), and listed once others are gone.
pub const DISPLACED_CHANNELS_MAX: usize = 1024;

/// Displaced connections listed in one answer to operators, some 200 bytes each.
pub const DISPLACED_TOLD_MAX: usize = 50;

/// Time after which a superseded connection counts as displaced rather than about to close, in milliseconds: clients
/// that reconnect after a change of network close the former connection at once, or never.
pub const DISPLACED_MS: u64 = 10_000;

/// Time for which a slot is vacant before its last superseded connection is closed with 1001, in milliseconds: longer
/// than any client takes to reconnect, so that the one that left has the first chance.
pub const VACANT_SLOT_MS: u64 = 5_000;

/// A connection that ends so soon after its admission, in milliseconds, without a frame of its client, returns its slot
/// to the connection that it superseded, if that is still open: longer than a node takes to learn that a client had
/// left.
pub const BRIEF_MS: u64 = 1_000;

/// Time for which a superseded connection may still send, in milliseconds: an answer in flight is not lost. Later
/// messages were delayed, and may have been overtaken.
pub const LATE_AFTER_MS: u64 = 5_000;

/// Time after a pause of a shard, in milliseconds, in which received bytes may date from the pause: the sockets of ten
/// thousand connections are read in less.
pub const HELD_READ_MS: u64 = 2_000;

/// Most callers of a channel known to have requested the master's endpoint last. The oldest is evicted: its next
/// request is recorded again.
pub const MASTER_REQUESTS_MAX: usize = 2;

/// Upgrades per second of a shard under `--dev` whose signature is checked: each takes up to a tenth of a millisecond.
/// Others are not checked.
pub const DEV_SIGNATURES_PER_SECOND_MAX: u32 = 64;

/// Most signatures recorded under `--dev` that other deployments would refuse, within an hour;
/// [`DEV_SIGNATURES_NOTED_MAX`] in all. Others are not recorded.
pub const DEV_SIGNATURES_PER_HOUR_MAX: u64 = 16;
/// See [`DEV_SIGNATURES_PER_HOUR_MAX`].
pub const DEV_SIGNATURES_NOTED_MAX: usize = 256;

/// Most callers of a channel known to have requested a viewer's endpoint last. The oldest is evicted: a viewer connects
/// soon after its request. Two bytes each.
pub const VIEWER_REQUESTS_MAX: usize = 4;

/// Alexa calls that wait on one channel; the next one is answered ClientLimitExceededException. Each holds an offer of
/// at most 10,000 bytes.
pub const WAITING_CALLS_PER_CHANNEL_MAX: usize = 64;

/// Alexa calls that wait in one process: 4,096 offers are 40 MiB. See [`waiting_calls_per_shard`].
pub const WAITING_CALLS_MAX: usize = 4096;

/// Alexa calls that wait on the channels of one shard: its part of [`WAITING_CALLS_MAX`]. With 64 shards that is one
/// channel's maximum, with more shards less.
///
/// When all are taken, the newest call of the account with most is answered `ClientLimitExceededException` in favour of
/// an account with fewer, and likewise between the channels of one account. If nobody has more, the next call is.
#[must_use]
pub const fn waiting_calls_per_shard(shards: usize) -> usize {
    share(WAITING_CALLS_MAX, shards, 16, WAITING_CALLS_MAX)
}

/// Places per waiting call for calls of other shards whose end is not yet confirmed: one that waits, and an evicted one
/// whose caller's shard has not confirmed it. Beyond them an Alexa call is answered 503.
pub const CALL_PLACES_PER_WAITING_CALL: usize = 2;

/// Ended calls per shard whose channels and senders are remembered: what the master sends late for them is dropped.
/// 320 KiB with the longest names, which fit into the places of waiting calls; a scan takes microseconds. The oldest of
/// the account with most is evicted.
pub const ENDED_CALLS_MAX: usize = 1024;

/// Ended calls of one channel: as many as may wait there at once. The oldest is evicted.
pub const ENDED_CALLS_PER_CHANNEL_MAX: usize = WAITING_CALLS_PER_CHANNEL_MAX;

/// Time for which a player's call that ended is remembered after its longest wait, in milliseconds: cameras trickle for
/// some seconds.
pub const ENDED_PLAYER_MS: u64 = 30_000;

/// Calls of players for each call of Alexa that may wait, as a divisor: 1,024 a process, from the offer to the answer.
/// These calls have a bound of their own, since an offer may have `payload_bytes` and an answer 24 KiB. Beyond it, the
/// newest call of the account with most, then of its channel with most, ends with what it gathered, or with 503.
pub const WAITING_CALLS_PER_PLAYER: usize = 4;

/// Seconds after which a player tries again that found no camera: the time in which a battery camera wakes.
pub const WHEP_RETRY_S: u32 = 5;

/// Connections of a shard for each place that WebSockets and clients on links never take: reserved for connections
/// whose caller is unknown, so that the request of any newcomer is read when all other places are taken.
pub const CONNECTIONS_PER_GUEST: usize = 16;

/// Places of a shard with this many connections for WebSockets and for clients on links: all but those of
/// [`CONNECTIONS_PER_GUEST`], at least one of which exists where there are two connections.
///
/// For one more of an account that would have fewer than the account with most, that one's newest viewer is closed with
/// 1001, or its newest master, but never its first one; within an account likewise between callers. If nobody has more,
/// the newcomer is answered 503.
#[must_use]
pub const fn admitted_most(connections: usize) -> usize {
    let guests = connections / CONNECTIONS_PER_GUEST;
    let least = if connections > 1 { 1 } else { 0 };
    connections - if guests > least { guests } else { least }
}

/// Evicted WebSockets of a shard that are still closing. For one more the first of them is aborted.
pub const LEAVING_MAX: usize = 256;

/// [`LEAVING_MAX`] for a shard with this many connections: half of the reserved places, so that newcomers have the
/// other half.
#[must_use]
pub const fn leaving_most(connections: usize) -> usize {
    let half = (connections - admitted_most(connections)) / 2;
    if half < LEAVING_MAX {
        half
    } else {
        LEAVING_MAX
    }
}

/// Most steps of one jump of a shard's clock, for tests. Whatever is due in the rest of a longer one happens at its
/// end, at one moment.
///
/// Each distinct deadline is a step, and the wheel keeps them by 64 ms: an hour with something due in every slot has
/// 56,250. A step of few sessions takes some microseconds.
pub const LEAP_STEPS_MAX: u32 = 1 << 16;

/// Channels on one shard: 16 million slots exist, a record with its tables takes about 500 bytes.
pub const CHANNELS_PER_SHARD_MAX: usize = 1 << 22;

/// Most memory of a channel's record, in bytes: the longest name, and the most and longest tags of four bytes a
/// character.
pub const RECORD_BYTES_MAX: usize = 96 << 10;

/// Records that all shards together send for one page of ListSignalingChannels: twice the largest page, so that pages
/// are nearly always full although each shard guesses its part; a short page says where the next begins. Merged in one
/// turn, some 100 µs.
pub const LIST_MERGED_MAX: usize = 2 * LIST_PAGE_MAX;

/// Lists of channels in progress for callers of a shard, of different accounts: each may hold [`LIST_MERGED_MAX`]
/// records. The next ones wait, and the accounts take turns.
pub const LISTS_UNDER_WAY_MAX: usize = 4;

/// [`LISTS_UNDER_WAY_MAX`] for this many shards.
#[must_use]
pub const fn lists_under_way(shards: usize) -> usize {
    share(16, shards, 1, LISTS_UNDER_WAY_MAX)
}

/// Lists in progress of one account where several nodes have channels; where one node has all, an account has one at a
/// time.
pub const LISTS_OF_AN_ACCOUNT: usize = 4;

/// Lists of channels that wait on a shard for their turn. When the queue is full, the account with most has its newest
/// refused with 503.
pub const LISTS_WAITING_MAX: usize = 1024;

/// [`LISTS_WAITING_MAX`] for this many shards.
#[must_use]
pub const fn lists_waiting(shards: usize) -> usize {
    share(4096, shards, 16, LISTS_WAITING_MAX)
}

/// Pages of ListSignalingChannels that a node collects from all nodes at a time, each of [`LIST_MERGED_MAX`] records.
/// Further ones wait.
pub const LISTS_OF_NODES_MAX: usize = 16;

/// Most bytes of one of these records: an ARN of the longest name has 340 bytes.
pub const LISTED_BYTES: usize = 512;

/// Channel records that a shard examines, or merges, for pages of ListSignalingChannels in one turn: about a
/// millisecond. The page that exceeds it is still made; further ones wait for the next turn, in order.
pub const RECORDS_PER_TURN: u64 = 2000;

/// Connections that one step of POST /ice/reconnect notifies: each is a send of its own, some 5 µs, in the same turn.
pub const RECONNECTS_PER_STEP: usize = 256;

/// Connections that a shard closes in one turn because their channel or slot ends or an operator requests it; the
/// others are closed in the following turns. A close frame is a send of its own, some 5 µs, so this is about a
/// millisecond: a channel of 10,000 viewers takes 40 turns. Also the table slots that one step of a drain examines.
pub const CLOSES_PER_TURN: usize = 256;

/// Most entries in the list of further steps of an input, at any time: 24 KiB. A step of a drain adds most, one for
/// each of [`CLOSES_PER_TURN`] connections. Other steps that end many connections or calls take them one after the
/// other.
pub const STEPS_LEFT_MAX: usize = 2 * CLOSES_PER_TURN;

/// Answers for callers of a shard that wait for the end of an input: those of the Alexa calls and of the changes in
/// flight, and one for each entry in the list of further steps.
pub const ANSWERS_PER_INPUT_MAX: usize = WAITING_CALLS_MAX
    + WAITING_CALLS_MAX / WAITING_CALLS_PER_PLAYER
    + CHANGES_PER_SHARD_MAX
    + STEPS_LEFT_MAX;

/// Viewers that wait for an absent master named in an event: 16 names of up to 256 bytes. Of more, only the number.
pub const WAITERS_TOLD_MAX: usize = 16;

/// Final states of deleted channels that a shard keeps while they cannot be reported. Beyond it the oldest is dropped,
/// and watchers learn that some were.
pub const PARTING_MAX: usize = 1024;

/// Time after which a shard retries a report of presence that found no room.
pub const PRESENCE_RETRY_MS: u64 = 20;

/// Channels whose presence a shard reports in one turn; the others follow in the next turn.
pub const PRESENCE_TOLD_PER_TURN: usize = 256;

/// Entries of one page of ListSignalingChannels, whatever MaxResults says (codec/PROTOCOL.md, CHAN-3).
pub const LIST_PAGE_MAX: usize = 1000;

/// WebSocket frames per message. C SDK builds on libwebsockets send a few; 64 tiny ones are an attack. More: close
/// 1008.
pub const FRAGMENTS_PER_MESSAGE_MAX: u32 = 64;

/// Frames without effect that one connection may send within a second: pings, pongs, empty messages, and messages that
/// are refused or throttled. A well-behaved client sends a few. More: close 1008. Not configurable: a frame of 6 bytes
/// costs as much as a relayed one, and nothing else limits those.
pub const IDLE_FRAMES_PER_SECOND_MAX: u8 = 200;

/// Pings of one receive that are each answered; beyond it only the latest (RFC 6455 section 5.5.3 allows that).
pub const PONGS_PER_RECEIVE_MAX: u32 = 16;

/// Most principals of a credentials file: more is refused at loading. Each takes about half a KiB.
pub const PRINCIPALS_MAX: usize = 65_536;

/// Most roles of a credentials file: more is refused at loading. Each takes about half a KiB and its trust document.
pub const ROLES_MAX: usize = 4096;

/// Most role aliases of a credentials file: more is refused at loading.
pub const ROLE_ALIASES_MAX: usize = 1024;

/// Derived signing keys cached by a shard, 1.5 KiB each; an evicted one is derived again, a microsecond. Keys with a
/// token, whose number their owner chooses, have a quarter of the places.
pub const SIGNING_KEYS_PER_SHARD_MAX: usize = 4096;

/// [`SIGNING_KEYS_PER_SHARD_MAX`] for this many shards: 12 MiB in all.
#[must_use]
pub const fn signing_keys_per_shard(shards: usize) -> usize {
    share(8 * 1024, shards, 32, SIGNING_KEYS_PER_SHARD_MAX)
}

/// Empty outbox buffers that a shard keeps for reuse.
pub const SPARE_OUTBOXES_MAX: usize = 512;
/// Largest buffer kept for reuse: [`SPARE_OUTBOXES_MAX`] of 16 KiB are 8 MiB.
pub const SPARE_OUTBOX_BYTES_MAX: usize = 16 * 1024;

/// Milliseconds after which the kernel is queried for a peer's acknowledgement of a message, and interval of queries:
/// the acknowledgement of a live peer takes a round trip and at most 0.25 s.
pub const ASK_AFTER_MS: u64 = 1000;

/// First queries are batched, in steps of this many milliseconds.
pub const ASK_STEP_MS: u64 = 50;

/// Connections queried in one tick: each costs a system call of less than a microsecond.
pub const ASKS_PER_TICK: usize = 512;

/// Bytes of messages to one connection after which it is queried early, when something arrives from it: usually it has
/// acknowledged them, and their buffer is reused while it is in a core's cache. Few, for that reason, and enough that
/// the query costs each message little.
pub const ASK_BYTES: usize = 1024;

/// [`ASK_BYTES`] for a connection from which nothing arrives.
pub const ASK_BYTES_UNHEARD: usize = 8 * 1024;

/// Bytes that the kernel holds for a connection's peer without being charged, beside as many written since the last
/// query: the basic cost of any connection. Answers, control frames and, under pong confirmation, messages of this size
/// are written between two queries.
pub const UNREAD_BYTES_FREE: usize = 4 * 1024;

/// Step in which those bytes are counted: a shorter frame costs the kernel as much, by its overhead.
pub const ASK_STEP_BYTES: usize = 256;

/// Most offers of a channel kept for another delivery: one per viewer.
pub const UNANSWERED_PER_CHANNEL_MAX: usize = PENDING_KEYS_MAX;

/// Most candidates kept with such an offer, as with a queued one; one more drops the oldest.
pub const UNANSWERED_CANDIDATES_MAX: usize = PENDING_CANDIDATES_MAX;

/// Divisor of the bytes of queued messages that such offers and their candidates may take, beside them. Beyond it the
/// account with most drops the candidates of its oldest offer, then that offer.
pub const UNANSWERED_BYTES_PARTS: usize = 4;

/// A master reported gone [`GONE_TIMES_MAX`] times within this many milliseconds, and back, stays reported gone until
/// it has acknowledged for [`GONE_STEADY_MS`]: a radio that sleeps between messages is not reported each time.
pub const GONE_WINDOW_MS: u64 = 600_000;

/// See [`GONE_WINDOW_MS`].
pub const GONE_TIMES_MAX: u32 = 3;

/// See [`GONE_WINDOW_MS`].
pub const GONE_STEADY_MS: u64 = 60_000;

/// Part of the bound of unacknowledged bytes that is freed at once when it is exceeded: each time costs a scan of all
/// connections.
pub const PROOF_ROOM_PARTS: usize = 8;

/// Milliseconds beyond two round trips after which an acknowledgement is missing: receivers delay it by at most this
/// much (40 on Linux, 250 on lwIP).
pub const ACKNOWLEDGE_MS: u64 = 250;

/// Longest time for which the messages of a superseded connection delay newer ones.
pub const TAKEOVER_MS_MAX: u64 = 1000;

/// Spare buffers for this many shards: 16 MiB in all.
#[must_use]
pub const fn spare_outboxes(shards: usize) -> usize {
    share(1024, shards, 4, SPARE_OUTBOXES_MAX)
}

/// Interval of steps of a drain, in milliseconds.
pub const DRAIN_STEP_MS: u64 = 50;

/// Session slots that one step of an operator's request examines: about a millisecond of a shard's time.
pub const INSPECTED_SLOTS_PER_STEP: usize = 4096;

/// Accounts with their own counts of calls, messages and refusals, on a shard and in `GET /usage`: 56 bytes each.
/// Further ones count as others.
pub const USAGE_ACCOUNTS_MAX: usize = 1024;

/// Accounts of the credentials file with metrics series, the first by number. The rest count as others.
pub const USAGE_SERIES_MAX: usize = 20;

/// Delay of a deadline, in milliseconds, that shows that the shard itself did not run (its process stopped, its machine
/// suspended): what peers sent meanwhile is still unread.
pub const STALL_MS: u64 = 2_000;

/// Longest time from a message's first byte to its last, in milliseconds. Longer: close 1008.
pub const MESSAGE_MS_MAX: u64 = 10_000;

/// Longest wait of an API call for its answer, in milliseconds; then 503. The longest allowed wait is that of
/// SendAlexaOfferToMaster, a MessageTtlSeconds of at most 120 s; the rest is for a store that is slow.
pub const REPLY_MS_MAX: u64 = 150_000;

/// [`REPLY_MS_MAX`] for a change that goes to etcd, which answers within milliseconds or, while it elects a leader,
/// after up to three seconds: a client that gets 503 sees by its next call whether the change was made.
pub const CHANGE_REPLY_MS_MAX: u64 = 2_500;

/// Longest wait of a request for a node that has its channel, while slots move between nodes, in milliseconds; then
/// 503. The C SDK gives up after 5 s.
pub const OWNER_WAIT_MS: u64 = 3_000;

/// `Retry-After` in seconds for a channel that another node may have: long enough to spare a side that stays without
/// etcd, and the retry may reach a node that knows.
pub const ABSENCE_RETRY_S: u32 = 5;

/// Interval of looking for that node, in milliseconds.
pub const OWNER_LOOK_MS: u64 = 50;

/// Interval of attempts to reach a node that has a channel and did not answer, in milliseconds: a restarted process
/// listens within a second.
pub const OWNER_RETRY_MS: u64 = 500;

/// Requests that wait on one shard for a node that has their channel. The next one is refused with 503 at once. Each
/// costs a check of less than a microsecond every [`OWNER_LOOK_MS`]: all of them 2 % of a core.
pub const OWNER_WAITERS_MAX: usize = 1024;

/// Clients without an owner that a shard closes in one tick: each costs a send or two. The rest is due in the next one.
pub const LEADS_PER_TICK: usize = 64;

/// Orders about slots that a shard carries out in one turn: each adds or removes some hundred channels, less than a
/// millisecond.
pub const SLOT_ORDERS_PER_TURN: usize = 4;

/// Bytes of queued messages packed for a slot that another node gets; the rest is withdrawn. Parcels too long for one
/// message between nodes are sent in parts.
pub const PARCEL_BYTES_MAX: usize = 48 << 20;

/// Bytes of queued messages of slots that other nodes offer; a parcel beyond it is refused, and its slot stays there.
pub const KEPT_PARCEL_BYTES_MAX: usize = 64 << 20;

/// Longest wait of a shard for connections of a slot that another node gets to finish the messages that they have begun
/// to send, in milliseconds: below half of the transfer's time-out.
pub const SLOT_STILL_MS: u64 = 1_000;

/// Interval of checks of those connections, in milliseconds.
pub const SLOT_LOOK_MS: u64 = 5;

/// Time over which a node that is alone closes its connections, in milliseconds.
pub const ALONE_CLOSE_MS: u64 = 2_000;

/// Bytes of a request that follow an unfinished call on the same connection before reading pauses.
pub const PIPELINED_BYTES_MAX: usize = 32 * 1024;

/// Bytes of answers queued on one HTTP connection. At this many the next request is not started, and reading pauses,
/// until the peer takes some: so at most this and one answer are queued.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Heads and bodies of one connection that are answered in one go. The rest waits behind other connections: a receive
/// of 8 KiB has 300 of the shortest.
pub const REQUESTS_PER_VISIT: u32 = 16;

/// Heads and bodies that are answered as they arrive, on all connections of a shard at one moment. More wait, and so do
/// those that much work precedes ([`crate::work_units`]).
pub const FRESH_REQUESTS_PER_TURN: u32 = 128;

/// Waiting heads and bodies answered in one tick; fewer if they are much work ([`crate::work_units`]).
pub const WAITING_REQUESTS_PER_TICK: u32 = 32;

/// Bytes of unfinished or waiting requests, or of untaken answers, that an HTTP connection holds without being charged:
/// the basic cost of any connection.
pub const REQUEST_BYTES_FREE: usize = 1024;

/// Connections that one input may evict for its bytes; after this many its own connection is closed.
pub const PAYERS_PER_INPUT: usize = 16;

/// Bytes of pongs and status responses queued on one WebSocket. Beyond it pings are not answered (RFC 6455 section
/// 5.5.3 allows that), and a status response closes the connection with 1008.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// [`CONTROL_BYTES_MAX`] while all answers and control frames of the shard exceed its part of `limits.request_bytes`.
pub const CONTROL_BYTES_WHEN_FULL: usize = 4 * 1024;

/// Longest frame around a payload: header, JSON members, the longest sender id.
pub const ENVELOPE_BYTES_MAX: usize = 14 + 96 + 256;

/// Copies of messages that a shard passes on in a second under `--dev`; further ones are counted as missed. Half of
/// those that are kept, so that a load test copies few.
pub const CAPTURES_PER_SECOND_MAX: u32 = 1000;

/// Channels that a reset by a test deletes in one step (`/dev/reset`): the store accepts that many at once with room
/// left.
pub const RESET_CHANNELS_PER_STEP: u64 = 256;

/// Findings of a shard about requests that the cloud service would have refused (`/dev/parity`), each of a rule and a
/// channel. Those of further channels are counted together.
pub const FINDINGS_MAX: usize = 1024;

/// Channels whose rates those findings follow.
pub const PARITY_BUCKETS_MAX: usize = 4096;

/// Most faults that tests may have at one time (`/dev/faults`).
pub const FAULTS_MAX: usize = 64;

/// Messages that the faults of a shard hold back. Further ones pass at once, and are counted.
pub const FAULT_HELD_MAX: usize = 1024;

/// Bytes of messages held back.
pub const FAULT_HELD_BYTES_MAX: usize = 4 << 20;

/// Messages and connections released in one tick after a fault held them back.
pub const FAULTS_DUE_PER_TICK: usize = 256;

/// Longest wait of a reordered message for the next one, in milliseconds.
pub const FAULT_REORDER_MS: u64 = 1000;

const _: () = assert!(PARCEL_BYTES_MAX < KEPT_PARCEL_BYTES_MAX);
const _: () = assert!(LIST_MERGED_MAX / SHARDS_MAX > 0);
const _: () = assert!(SHARDS_MAX <= u16::MAX as usize);
const _: () = assert!(mailbox_reserve(SHARDS_MAX) < 1 << 20);
const _: () = assert!(SUPERSEDED_PER_CHANNEL_MAX >= SUPERSEDED_PER_SLOT_MAX);

// Bounds of devices that wait with `GET /wake`.

/// Devices that wait with `GET /wake` in one process: as many connections. Each takes some 100 bytes beside the
/// connection's own. See [`wake_polls_per_shard`].
pub const WAKE_POLLS_MAX: usize = 131_072;

/// Devices that wait on the channels of one shard: its part of [`WAKE_POLLS_MAX`].
///
/// When all are taken, the device of the account with most is answered `ClientLimitExceededException` in favour of an
/// account with fewer. If no account has more, the next one is.
#[must_use]
pub const fn wake_polls_per_shard(shards: usize) -> usize {
    share(WAKE_POLLS_MAX, shards, 1024, WAKE_POLLS_MAX)
}

/// Range of a device's requested wait, in seconds. TCP keepalives keep NATs open that drop idle connections earlier.
pub const WAKE_WAIT_S: RangeInclusive<u64> = 30..=600;

/// Default of that wait.
pub const WAKE_WAIT_S_DEFAULT: u64 = 240;

/// Things whose sign-ins of the hour are counted, for all shards: half a MiB. Others are not counted within that hour.
pub const SIGN_INS_COUNTED_MAX: usize = 65_536;

/// Sign-ins of one thing in an hour; the next one is listed beside refusals, though it is served. Keys last at least 15
/// minutes, and the C SDK renews them up to 20 % early, which makes six an hour; a device whose clock is ahead requests
/// keys before each of its calls.
pub const SIGN_INS_PER_HOUR: u64 = 20;

/// Longest age of a connection to the credentials provider, in milliseconds: keys are requested every 15 minutes or
/// less often, and a new handshake checks certificate and chain anew.
pub const PROVIDER_AGE_MS: u64 = 5 * 60 * 1000;

/// Random reduction of that age, so that connections that began together do not return together.
pub const PROVIDER_AGE_SPREAD_MS: u64 = 60 * 1000;

/// Channels of one import while the process runs: the store creates them in one commit. More need a stopped process.
pub const IMPORTED_MAX: usize = 1000;

// Log lines: a shard logs some of a kind within a second, and counts the others.

/// Window of the budget of logged refusals, in milliseconds. Suppressed ones are counted:
/// `heliograph_log_suppressed_total`.
pub const REFUSAL_WINDOW_MS: u64 = 10_000;

/// Groups of refusals (one check of one channel or key) of one network (/24 of IPv4, /48 of IPv6) that are logged
/// within a window. Those of further groups are counted as others.
pub const REFUSAL_GROUPS_PER_NETWORK: usize = 64;

/// Groups of all networks, 384 bytes each at most: those of one network of many clients, and 16 more.
pub const REFUSAL_GROUPS_MAX: usize = 80;

/// Repeated refusals of known groups that are logged per network: each manual try is visible. A flood from one address
/// takes 16 of the 4,096 that are kept in ten seconds, so they reach back 40 minutes.
pub const REFUSALS_REPEATED_PER_NETWORK: u32 = 15;

/// Repeated refusals of all networks.
pub const REFUSALS_REPEATED_MAX: u32 = 128;

/// Lines per second of one shard about refused changes and denials by policy; the others are counted with the refusals.
pub const DENIALS_LOGGED_PER_SECOND: u32 = 50;

/// Such lines of one network: a flood from one does not hide a device elsewhere.
pub const DENIALS_LOGGED_PER_PREFIX: u32 = 10;

/// Ends of WebSocket connections that one shard logs within a second; the others are counted with the refusals.
pub const ENDS_LOGGED_PER_SECOND: u32 = 200;

/// Such ends on channels of one account: a client that connects in a loop hides no other account's.
pub const ENDS_LOGGED_PER_ACCOUNT: u32 = 50;

/// Unaccepted messages that one shard logs within a second; the others are counted with the refusals. A sample suffices
/// to see which client sends them and why: the metrics have their number.
pub const UNACCEPTED_LOGGED_PER_SECOND: u32 = 50;

/// Such messages on channels of one account: a client that sends them in a loop hides no other account's.
pub const UNACCEPTED_LOGGED_PER_ACCOUNT: u32 = 10;

/// Failures of the registry's store that one shard logs within a second; the others are counted with the refusals. Each
/// requested change meets the same failure.
pub const STORE_TROUBLES_LOGGED_PER_SECOND: u32 = 5;

/// Lines per second of one shard about nodes that do not answer; each counts the requests since the one before.
pub const NODE_TROUBLES_LOGGED_PER_SECOND: u32 = 1;

// Bounds of OpenID providers, and of sign-ins with their tokens.

/// Most OpenID providers of a credentials file: more is refused at loading.
pub const PROVIDERS_MAX: usize = 64;

/// Most client ids of one provider. Source: IAM User Guide, "IAM and AWS STS quotas", *OIDC client IDs*: 100.
pub const CLIENT_IDS_MAX: usize = 100;

/// Bytes of a provider's published keys, and of its discovery document.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// Most keys of one provider.
pub const KEYS_OF_PROVIDER_MAX: usize = 100;

/// Bytes of a provider's token. Source: STS API Reference, "AssumeRoleWithWebIdentity", `WebIdentityToken`.
pub const WEB_TOKEN_BYTES_MAX: usize = 20_000;

/// Bytes of the values of claims that one session keeps: they are part of its token.
pub const WEB_CLAIMS_BYTES_MAX: usize = 1024;

/// Bytes of an unsigned form: a provider's token and a session policy fit.
pub const UNSIGNED_FORM_BYTES_MAX: usize = 32 * 1024;

/// Unsigned sign-ins of one address per second: each costs a signature check.
pub const SIGN_INS_PER_SECOND: u32 = 20;

/// Burst of these sign-ins.
pub const SIGN_INS_BURST: u32 = 100;

/// Addresses whose unsigned sign-ins a shard counts individually, 40 bytes each; all others share one rate.
pub const SIGN_IN_ADDRESSES_MAX: usize = 4096;

/// Places of callers that share an account's rate of temporary credentials, by hash: 256 bytes an account. Callers with
/// the same place count as one.
pub const GRANT_CALLERS: usize = 32;

/// Time for which each other caller has half of an account's rate after one was refused, in milliseconds.
pub const GRANT_WAIT_MS: u64 = 1000;

/// Refused calls for temporary credentials per caller and second, as from a loop without the permission to assume its
/// role: beyond that calls are refused without evaluation.
pub const GRANTS_REFUSED_PER_SECOND: u32 = 5;

/// Burst of these calls.
pub const GRANTS_REFUSED_BURST: u32 = 50;

/// Callers whose refused calls a shard counts individually, 40 bytes each; all others share one rate.
pub const REFUSED_CALLERS_MAX: usize = 4096;

/// Names of claims of one provider that policies and trusts of a file test.
pub const CLAIM_NAMES_MAX: usize = 32;

// Bounds of work on open connections by shards themselves: recalls, and checks after the credentials were replaced.

/// Interval of closes of a shard's connections so that they fetch ICE servers again, in milliseconds: 100 a second.
/// Each reconnects with up to five TLS handshakes, so a quarter of a core.
pub const RECALL_STEP_MS: u64 = 10;

/// Open connections that a shard checks again in one turn: each evaluates its policies once, about a microsecond, and
/// as much again for a session that is looked up. The others are checked in the following turns.
pub const RECHECKS_PER_TURN: usize = 1_000;

/// Time within which refused connections are closed, in milliseconds: 5 s, less the delay of a busy shard.
pub const RECHECK_CLOSE_MS: u64 = 4_500;

/// Delay before that for further credentials, where more than half of all connections are refused, in milliseconds.
pub const RECHECK_WAIT_MS: u64 = 10_000;

/// Interval of checks whether all shards are done, in milliseconds.
pub const RECHECK_LOOK_MS: u64 = 20;

/// Time within which a connection may arrive that was admitted by the former credentials, in milliseconds: a handover
/// between two shards takes no longer than the time-out of a head.
pub const RECHECK_LATE_MS: u64 = 60_000;

// Bounds of the flight recorder.

/// Bytes of one note of the flight recorder.
pub const NOTE_BYTES: usize = 32;

/// Notes of one shard's flight recorder, the oldest overwritten: 2 MiB. A session of a viewer takes some 30 of them.
pub const RECORDER_NOTES: usize = 1 << 16;

/// [`RECORDER_NOTES`] for this many shards: 32 MiB in all; 1 MiB beyond 128 shards, where letters and buffers take
/// more.
#[must_use]
pub const fn recorder_notes(shards: usize) -> usize {
    if shards > 128 {
        return 128;
    }
    1 << share(1 << 20, shards, RECORDER_NOTES_LEAST, RECORDER_NOTES).ilog2()
}

/// Fewest configurable notes: 32 KiB a shard.
pub const RECORDER_NOTES_LEAST: usize = 1 << 10;
/// Most configurable notes: 128 MiB a shard.
pub const RECORDER_NOTES_MOST: usize = 1 << 22;

/// Notes of the flight recorder that a shard examines in one step of a trace: some 0.1 ms. The next step is a letter of
/// its own, so messages flow in between.
pub const INSPECTED_NOTES_PER_STEP: usize = 16_384;
