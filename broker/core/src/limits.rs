//! Bounds that are not configuration, each with its reason and what happens when it is full. Those of sockets and
//! of the log are in the broker, `src/edge/limits.rs` and `src/limits.rs`.

use std::ops::RangeInclusive;

/// Shards of one process at most. More is refused at start.
pub const SHARDS_MAX: usize = 256;

/// Calls that one shard may have outstanding with each other shard, shared by account: one account may have half of
/// them, and less while others ask. The next one is refused with 503.
///
/// Each is answered as soon as its home has looked, a change when it is durable. An Alexa call that waits for its
/// master holds no such place: see [`waiting_calls_per_shard`].
pub const CALLS_PER_PAIR_MAX: usize = 256;

/// The same among this many shards: beyond 8 of them fewer for each pair, so that the places kept for answers do not
/// grow with the square of the shards.
#[must_use]
pub const fn calls_per_pair(shards: usize) -> usize {
    share(2048, shards, 8, CALLS_PER_PAIR_MAX)
}

/// Those of [`calls_per_pair`] that may be changes, shared in the same way: half of them. A change is answered when it
/// is durable, so a slow disk would otherwise fill all places, and calls that change nothing find none.
#[must_use]
pub const fn changes_per_pair(shards: usize) -> usize {
    calls_per_pair(shards) / 2
}

/// Handovers and calls that a mailbox takes before it refuses more with 503: about half a second of connects of one
/// core.
pub const MAILBOX_OPEN_PLACES: usize = 4096;

/// The same of one of this many shards.
#[must_use]
pub const fn mailbox_open_places(shards: usize) -> usize {
    share(256 * 1024, shards, 1024, MAILBOX_OPEN_PLACES)
}

/// One shard's part of what a process may have, at least and at most so much.
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

/// Bounds of messages that a process may have had in force since its start: connections keep theirs. A reload with one
/// more is refused until a restart. An entry is some kilobytes, with the settings of its time.
pub const MESSAGE_BOUNDS_MAX: usize = 64;

/// Channels whose hooks a shard looks up again in one turn, after these have changed: up to 16 patterns each, a
/// millisecond in all.
pub const REWATCHED_PER_TURN: usize = 1_024;

/// Letters of the side thread (scrape, inspect, drain, stop) under way to one shard at most.
pub const MAILBOX_CONTROL_PLACES: usize = 64;

/// Changes of the registry that one shard may have under way, with those that wait behind one of their channel, shared
/// by account: one account may have half of them, and less while others ask. The next one is answered 503. A commit
/// takes some milliseconds, whatever the number of changes in it.
pub const CHANGES_PER_SHARD_MAX: usize = 1024;

/// Changes of one channel that wait for the one under way; the next one is `ClientLimitExceededException`.
pub const CHANGES_WAITING_PER_CHANNEL_MAX: usize = 16;

/// Places in a mailbox kept for letters that must not be refused: a reply for each outstanding call; for each Alexa
/// call that waits anywhere its answer, and for each that waits here a withdrawal and the word that it is over; a
/// result for each change under way; and control.
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

/// Tokens that a connect or call takes of its caller's bucket, which has the channel's numbers: so one caller has half
/// of the channel's rate, and one that takes its part leaves the others theirs. Source: codec/PROTOCOL.md, RATE-4.
pub const CALLER_TOKENS: u32 = 2;

/// Buckets of callers that a channel keeps, of 12 bytes; the one with the least debt is forgotten for the next. One
/// caller has a bucket for each operation that it may call, and at the default rates a channel admits too few within
/// the seconds that a bucket takes to refill for others to push one out.
pub const CALLER_BUCKETS_MAX: usize = 64;

/// Kept keys (direction and viewer id) per channel; the next one is refused, if none makes room. Source:
/// codec/PROTOCOL.md, KEEP-4.
pub const PENDING_KEYS_MAX: usize = 64;

/// Those of one caller that has a part of its own: a quarter, more than the viewers that a channel may have by default.
/// Beyond it the oldest of its keys whose viewer is gone makes room. Source: codec/PROTOCOL.md, KEEP-7.
pub const PENDING_KEYS_OF_CALLER_MAX: usize = PENDING_KEYS_MAX / 4;

/// Callers that can fill the kept bytes of a channel together: one has this part of them, or one message. Source:
/// codec/PROTOCOL.md, KEEP-8.
pub const PENDING_BYTES_PARTS: usize = 4;

/// Time from a viewer's close frame until its kept messages are dropped if another viewer of its caller is there, in
/// milliseconds: a page that is loaded again is connected by then. Source: codec/PROTOCOL.md, KEEP-6.
pub const CLOSED_VIEWER_MS: u64 = 5_000;

/// Kept ICE candidates per key; one more drops the oldest. Source: codec/PROTOCOL.md, KEEP-3.
pub const PENDING_CANDIDATES_MAX: usize = 32;

/// Superseded connections per slot (the master's, or one client id's): the oldest is closed with 1001
/// (codec/PROTOCOL.md, TAKE-3).
pub const SUPERSEDED_PER_SLOT_MAX: usize = 4;

/// Superseded connections per channel: as many as ten busy slots could have. The oldest is closed 1001.
pub const SUPERSEDED_PER_CHANNEL_MAX: usize = 44;

/// Channels of a shard that are noted for connections that lost their slot and stay, 8 bytes each. Further ones are
/// counted (`heliograph_connections`), and named once others are gone.
pub const DISPLACED_CHANNELS_MAX: usize = 1024;

/// Displaced connections that one answer to operators names, some 200 bytes each.
pub const DISPLACED_TOLD_MAX: usize = 50;

/// Time after which a connection that lost its slot is displaced rather than about to close, in milliseconds: clients
/// that reconnect after a change of network close the former connection at once, or never.
pub const DISPLACED_MS: u64 = 10_000;

/// Time that a slot is vacant before the last connection that was superseded in it is closed 1001, in milliseconds:
/// longer than any client takes to reconnect, so that the one that left has the first chance.
pub const VACANT_SLOT_MS: u64 = 5_000;

/// A connection that ends so soon after its admission, in milliseconds, without a frame of its client, leaves its slot
/// to the one before it, if that is there: longer than a node takes to learn that a client had left.
pub const BRIEF_MS: u64 = 1_000;

/// Time for which a connection that lost its slot may go on sending, in milliseconds: an answer under way is not lost.
/// Later messages were held back on their way, and may have been overtaken.
pub const LATE_AFTER_MS: u64 = 5_000;

/// Time after a standstill of a shard, in milliseconds, in which what it reads may have come meanwhile: the sockets of
/// ten thousand connections are read in less.
pub const HELD_READ_MS: u64 = 2_000;

/// Callers of a channel of which it is known that their last request for its endpoint was one for its master's. When
/// there is one more, the oldest is forgotten: its next request is noted again.
pub const MASTER_REQUESTS_MAX: usize = 2;

/// Upgrades of a shard under `--dev` in a second whose signature is looked at: each takes up to a tenth of a
/// millisecond. Others are not.
pub const DEV_SIGNATURES_PER_SECOND_MAX: u32 = 64;

/// Signatures that are noted under `--dev` since they would be refused elsewhere: within an hour, and in all. Others
/// are not.
pub const DEV_SIGNATURES_PER_HOUR_MAX: u64 = 16;
/// See [`DEV_SIGNATURES_PER_HOUR_MAX`].
pub const DEV_SIGNATURES_NOTED_MAX: usize = 256;

/// Callers of a channel of which it is known that their last request for its endpoint was one for a viewer's. When
/// there is one more, the oldest is forgotten: a viewer connects soon after it asked. Two bytes each.
pub const VIEWER_REQUESTS_MAX: usize = 4;

/// Alexa calls that wait on one channel; the next is ClientLimitExceededException. Each holds an offer of at most
/// 10,000 bytes.
pub const WAITING_CALLS_PER_CHANNEL_MAX: usize = 64;

/// Alexa calls that wait in one process: 4,096 offers are 40 MiB. See [`waiting_calls_per_shard`].
pub const WAITING_CALLS_MAX: usize = 4096;

/// Alexa calls that wait on the channels of one shard: its part of [`WAITING_CALLS_MAX`]. On 64 shards that is what one
/// channel may have, beyond them less.
///
/// When all are taken, the newest call of the account with most is answered `ClientLimitExceededException` in favour
/// of an account with fewer, and in the same way between the channels of one account. Nobody with fewer: the next call
/// is.
#[must_use]
pub const fn waiting_calls_per_shard(shards: usize) -> usize {
    share(WAITING_CALLS_MAX, shards, 16, WAITING_CALLS_MAX)
}

/// Calls of other shards that wait here and are not confirmed to be over, for each that may wait: one that waits, and
/// one that made room for it whose caller's shard has not said so yet. Beyond it an Alexa call is answered 503.
pub const CALL_PLACES_PER_WAITING_CALL: usize = 2;

/// Alexa calls of a shard that ended, of which their channels and senders are remembered: candidates that the master
/// sends for them are for nobody. 320 KiB with the longest names, which the places of waiting calls have room for; to
/// look through all takes microseconds. When there is one more, the oldest is forgotten.
pub const ENDED_CALLS_MAX: usize = 1024;

/// A shard's connections for each place among them that WebSockets and clients on links never take: it is kept for a
/// connection whose caller is not known yet, so that the request of any newcomer is read when all other places are
/// taken.
pub const CONNECTIONS_PER_GUEST: usize = 16;

/// Places of a shard with this many connections for WebSockets and for clients on links: all but those of
/// [`CONNECTIONS_PER_GUEST`], of which there is one at least where there are two connections.
///
/// For one more of an account that would hold fewer than the account with most, that one's newest viewer is closed with
/// 1001, or its newest master, but never its first one; in an account it is the same among its callers. Nobody with
/// more: the newcomer is answered 503.
#[must_use]
pub const fn admitted_most(connections: usize) -> usize {
    let guests = connections / CONNECTIONS_PER_GUEST;
    let least = if connections > 1 { 1 } else { 0 };
    connections - if guests > least { guests } else { least }
}

/// WebSockets of a shard that made room and whose end is awaited. For one more the first of them is cut off.
pub const LEAVING_MAX: usize = 256;

/// The same of a shard with this many connections: half of those that are kept, so that newcomers have the other half.
#[must_use]
pub const fn leaving_most(connections: usize) -> usize {
    let half = (connections - admitted_most(connections)) / 2;
    if half < LEAVING_MAX {
        half
    } else {
        LEAVING_MAX
    }
}

/// Steps of one jump of a shard's clock, for tests. What is due in the rest of a longer one is done at its end, at one
/// moment.
///
/// Each distinct deadline is a step, and the wheel keeps them by 64 ms: an hour in which something is due in every slot
/// has 56,250. A step of few sessions takes some microseconds.
pub const LEAP_STEPS_MAX: u32 = 1 << 16;

/// Channels on one shard: 16 million slots exist, a record with its tables takes about 500 bytes.
pub const CHANNELS_PER_SHARD_MAX: usize = 1 << 22;

/// Most bytes of memory that a channel's record takes: the longest name, and the most and longest tags of four bytes a
/// character.
pub const RECORD_BYTES_MAX: usize = 96 << 10;

/// Records that all shards together send for one page of ListSignalingChannels: twice the largest page, so that pages
/// are nearly always full although each shard guesses its part; one that falls short says where the next begins.
/// Merged in one turn, some 100 µs.
pub const LIST_MERGED_MAX: usize = 2 * LIST_PAGE_MAX;

/// Lists of channels that are made at a time for callers of a shard, of different accounts: each may hold
/// [`LIST_MERGED_MAX`] records. The next ones wait, and the accounts take turns.
pub const LISTS_UNDER_WAY_MAX: usize = 4;

/// The same of one of this many shards.
#[must_use]
pub const fn lists_under_way(shards: usize) -> usize {
    share(16, shards, 1, LISTS_UNDER_WAY_MAX)
}

/// Those of one account where several nodes have channels; where one node has all, an account has one at a time.
pub const LISTS_OF_AN_ACCOUNT: usize = 4;

/// Lists of channels that wait on a shard for their turn. When there are as many, the account with most has its newest
/// refused with 503.
pub const LISTS_WAITING_MAX: usize = 1024;

/// The same on one of this many shards.
#[must_use]
pub const fn lists_waiting(shards: usize) -> usize {
    share(4096, shards, 16, LISTS_WAITING_MAX)
}

/// Pages of ListSignalingChannels that a node gathers from all nodes at a time, each of [`LIST_MERGED_MAX`] records.
/// Further ones wait.
pub const LISTS_OF_NODES_MAX: usize = 16;

/// Bytes of one of those records, at most: an ARN of the longest name is 340 bytes.
pub const LISTED_BYTES: usize = 512;

/// Channel records that a shard looks at, or merges, for pages of ListSignalingChannels in one turn: about a
/// millisecond. The page that exceeds it is still made; further ones wait for the next turn, in order.
pub const RECORDS_PER_TURN: u64 = 2000;

/// Connections that one step of POST /ice/reconnect notifies: each is a send of its own, some 5 µs, in the same turn.
pub const RECONNECTS_PER_STEP: usize = 256;

/// Connections that a shard closes in one turn because their channel or slot ends or an operator asks; the others
/// are closed in the turns that follow. A close frame is a send of its own, some 5 µs, so this is about a millisecond:
/// a channel of 10,000 viewers takes 40 turns. Also the places of the table that one step of a drain looks at.
pub const CLOSES_PER_TURN: usize = 256;

/// Things that the steps of an input leave to be done, at any time: 24 KiB. A step of a drain leaves most, one for each
/// of [`CLOSES_PER_TURN`] connections. Other steps that end many connections or calls take them one after the other.
pub const STEPS_LEFT_MAX: usize = 2 * CLOSES_PER_TURN;

/// Answers for callers of a shard that wait for the end of an input: those of the Alexa calls and of the changes that
/// may be under way, and one for each thing that is left.
pub const ANSWERS_PER_INPUT_MAX: usize = WAITING_CALLS_MAX + CHANGES_PER_SHARD_MAX + STEPS_LEFT_MAX;

/// Those who wait for an absent master, of which an event names each: 16 names of up to 256 bytes. Of more the number.
pub const WAITERS_TOLD_MAX: usize = 16;

/// Last states of deleted channels that a shard keeps while there is no room to tell them. Of more the oldest is
/// dropped, and those who watch learn that some were.
pub const PARTING_MAX: usize = 1024;

/// Time after which a shard tries again to tell what found no room.
pub const PRESENCE_RETRY_MS: u64 = 20;

/// Channels of which a shard tells in one turn: the next ones in the next turn.
pub const PRESENCE_TOLD_PER_TURN: usize = 256;

/// Entries of one page of ListSignalingChannels, whatever MaxResults says (codec/PROTOCOL.md, CHAN-3).
pub const LIST_PAGE_MAX: usize = 1000;

/// WebSocket frames per message. C SDK builds on libwebsockets send a few; 64 tiny ones are an attack. More: close
/// 1008.
pub const FRAGMENTS_PER_MESSAGE_MAX: u32 = 64;

/// Frames without effect that one connection may send within a second: pings, pongs, empty messages, and messages that
/// are refused or throttled. A client that keeps to the protocol sends a few. More: close 1008. No configuration turns
/// it off: a frame of 6 bytes costs as much as one that is relayed, and nothing else limits those.
pub const IDLE_FRAMES_PER_SECOND_MAX: u8 = 200;

/// Pings of one receive that are each answered; beyond it only the latest is (RFC 6455 section 5.5.3 allows that).
pub const PONGS_PER_RECEIVE_MAX: u32 = 16;

/// Principals of a credentials file: more is refused at loading. Each takes about half a KiB.
pub const PRINCIPALS_MAX: usize = 65_536;

/// Roles of a credentials file: more is refused at loading. Each takes about half a KiB and its trust document.
pub const ROLES_MAX: usize = 4096;

/// Role aliases of a credentials file: more is refused at loading.
pub const ROLE_ALIASES_MAX: usize = 1024;

/// Derived signing keys that a shard keeps, 1.5 KiB each; beyond it the least recently used is derived again, a
/// microsecond. Keys that come with a token have a quarter of the places, whose number their owner chooses.
pub const SIGNING_KEYS_PER_SHARD_MAX: usize = 4096;

/// The same of one of this many shards: 12 MiB in all.
#[must_use]
pub const fn signing_keys_per_shard(shards: usize) -> usize {
    share(8 * 1024, shards, 32, SIGNING_KEYS_PER_SHARD_MAX)
}

/// Empty outbox buffers that a shard keeps for reuse, and the largest one kept.
pub const SPARE_OUTBOXES_MAX: usize = 512;
/// See [`SPARE_OUTBOXES_MAX`]: 512 of 16 KiB are 8 MiB.
pub const SPARE_OUTBOX_BYTES_MAX: usize = 16 * 1024;

/// Milliseconds after which it is asked whether a peer has confirmed a message, and from one question to the next: the
/// acknowledgement of a peer that is there takes a round trip and at most 0.25 s.
pub const ASK_AFTER_MS: u64 = 1000;

/// First questions are asked together, in steps of this many milliseconds.
pub const ASK_STEP_MS: u64 = 50;

/// Connections that are asked in one tick: each costs a system call of less than a microsecond.
pub const ASKS_PER_TICK: usize = 512;

/// Bytes of messages to one connection after which it is asked before its time, when something comes from it: as a
/// rule that has acknowledged them, and their buffer is used again while it is in a core's cache. Few, for that, and
/// enough that the question costs each message little.
pub const ASK_BYTES: usize = 1024;

/// The same of a connection from which nothing comes.
pub const ASK_BYTES_UNHEARD: usize = 8 * 1024;

/// Bytes that the kernel holds of a connection for its peer without being charged for them, beside as many that were
/// written since it was asked: what any connection may cost. So many answers, control frames and, where a pong is the
/// proof, messages are written from one question to the next.
pub const UNREAD_BYTES_FREE: usize = 4 * 1024;

/// The step in which those bytes are counted: a shorter frame costs the kernel as much, by its overhead.
pub const ASK_STEP_BYTES: usize = 256;

/// The most offers of a channel that are kept to be given once more: one of each viewer.
pub const UNANSWERED_PER_CHANNEL_MAX: usize = PENDING_KEYS_MAX;

/// The most candidates that are kept with such an offer, as with one that waits; one more drops the oldest.
pub const UNANSWERED_CANDIDATES_MAX: usize = PENDING_CANDIDATES_MAX;

/// The part of the bytes of kept messages that such offers and their candidates may take, beside them. Beyond it the
/// account with most forgets the candidates of its oldest, then that.
pub const UNANSWERED_BYTES_PARTS: usize = 4;

/// A master that was reported gone [`GONE_TIMES_MAX`] times within this many milliseconds, and came back, stays gone
/// until it has confirmed for [`GONE_STEADY_MS`]: a radio that sleeps between two messages is not reported at each.
pub const GONE_WINDOW_MS: u64 = 600_000;

/// See [`GONE_WINDOW_MS`].
pub const GONE_TIMES_MAX: u32 = 3;

/// See [`GONE_WINDOW_MS`].
pub const GONE_STEADY_MS: u64 = 60_000;

/// When more bytes are not confirmed than may be, this part of them is made room for at once: each time costs a look at
/// all connections.
pub const PROOF_ROOM_PARTS: usize = 8;

/// Milliseconds beyond two round trips after which an acknowledgement is missing: receivers delay it by at most so much
/// (40 on Linux, 250 on lwIP).
pub const ACKNOWLEDGE_MS: u64 = 250;

/// The longest that the messages of a connection that lost its slot keep newer ones waiting.
pub const TAKEOVER_MS_MAX: u64 = 1000;

/// Spare buffers of one of this many shards: 16 MiB in all.
#[must_use]
pub const fn spare_outboxes(shards: usize) -> usize {
    share(1024, shards, 4, SPARE_OUTBOXES_MAX)
}

/// Sessions notified or closed in one step of a drain, so that a step stays short.
pub const DRAIN_STEP_MS: u64 = 50;

/// Slots of sessions that one step of an operator's request looks at: about a millisecond of a shard's time.
pub const INSPECTED_SLOTS_PER_STEP: usize = 4096;

/// Accounts whose calls, messages and refusals are counted apart, on a shard and in `GET /usage`: 56 bytes each. Those
/// of one more count as others.
pub const USAGE_ACCOUNTS_MAX: usize = 1024;

/// Accounts of the credentials file that metrics have series of, the first by number. The rest are others.
pub const USAGE_SERIES_MAX: usize = 20;

/// A deadline that is served so late, in milliseconds, was due while the shard itself did not run (its process
/// stopped, its machine suspended): what peers sent meanwhile is not read yet.
pub const STALL_MS: u64 = 2_000;

/// Longest time from a message's first byte to its last, in milliseconds. Longer: close 1008.
pub const MESSAGE_MS_MAX: u64 = 10_000;

/// Longest wait of an API call for its answer, in milliseconds; then 503. The longest allowed wait is that of
/// SendAlexaOfferToMaster, a MessageTtlSeconds of at most 120 s; the rest is for a store that is slow.
pub const REPLY_MS_MAX: u64 = 150_000;

/// The same of a change that goes to etcd, which answers within milliseconds or, while it elects a leader, after up to
/// three seconds: a client that gets 503 sees by its next call whether the change was made.
pub const CHANGE_REPLY_MS_MAX: u64 = 2_500;

/// Longest wait of a request for a node that has its channel, where slots go from one node to another, in milliseconds;
/// then 503. The C SDK gives up after 5 s.
pub const OWNER_WAIT_MS: u64 = 3_000;

/// Seconds until a client should ask again for a channel that another node may have, as `Retry-After` says: long enough
/// to spare a side that stays without etcd, and the next attempt may come through a node that knows.
pub const ABSENCE_RETRY_S: u32 = 5;

/// From one look for that node to the next, in milliseconds.
pub const OWNER_LOOK_MS: u64 = 50;

/// From one attempt to reach a node that has a channel, and did not answer, to the next, in milliseconds: a process
/// that is started again listens within a second.
pub const OWNER_RETRY_MS: u64 = 500;

/// Requests that wait on one shard for a node that has their channel. The next one is refused with 503 at once. Each
/// costs a look of less than a microsecond every [`OWNER_LOOK_MS`]: all of them 2 % of a core.
pub const OWNER_WAITERS_MAX: usize = 1024;

/// Clients without an owner that a shard closes in one tick: each costs a send or two. What is left is due at once, in
/// the next one.
pub const LEADS_PER_TICK: usize = 64;

/// Orders about slots that a shard carries out in one turn: each brings or takes away some hundred channels, less than
/// a millisecond.
pub const SLOT_ORDERS_PER_TURN: usize = 4;

/// Bytes of kept messages that are packed of a slot that another node gets; what does not fit is withdrawn. What is too
/// long for one message between nodes goes in parts.
pub const PARCEL_BYTES_MAX: usize = 48 << 20;

/// Bytes of kept messages of slots that other nodes offer; a parcel beyond it is refused, and its slot stays there.
pub const KEPT_PARCEL_BYTES_MAX: usize = 64 << 20;

/// Longest wait of a shard for connections of a slot that another node gets to hand over what they have begun to send,
/// in milliseconds: below half of what the transfer waits for.
pub const SLOT_STILL_MS: u64 = 1_000;

/// From one look at those connections to the next, in milliseconds.
pub const SLOT_LOOK_MS: u64 = 5;

/// Over how long a node without others, or cut off from them, closes its connections, in milliseconds: its clients have
/// nowhere else to go.
pub const ALONE_CLOSE_MS: u64 = 2_000;

/// Bytes of a request that follow an unfinished call on the same connection before reading pauses.
pub const PIPELINED_BYTES_MAX: usize = 32 * 1024;

/// Bytes of answers that wait on one HTTP connection. At this many the next request is not begun, and no more is read,
/// until the peer takes some: then they are at most this and one answer.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Heads and bodies of one connection that are answered in one go. The others wait for their turn behind those of other
/// connections: a receive of 8 KiB has 300 of the shortest.
pub const REQUESTS_PER_VISIT: u32 = 16;

/// Heads and bodies that are answered as they arrive, on all connections of a shard at one moment. More wait, and so do
/// those behind much work ([`crate::work_units`]).
pub const FRESH_REQUESTS_PER_TURN: u32 = 128;

/// Heads and bodies that have waited and are answered in one tick; fewer where they are much work
/// ([`crate::work_units`]).
pub const WAITING_REQUESTS_PER_TICK: u32 = 32;

/// Bytes of unfinished or waiting requests, or of answers not taken, that an HTTP connection holds without being
/// charged for them: what any connection may cost.
pub const REQUEST_BYTES_FREE: usize = 1024;

/// Connections that one input may have pay for its bytes; after this many it pays itself.
pub const PAYERS_PER_INPUT: usize = 16;

/// Bytes of pongs and status responses that wait on one WebSocket. Beyond it pings are not answered (RFC 6455 section
/// 5.5.3 allows that), and a status response that finds no room closes the connection with 1008.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// The same while all answers and control frames of the shard hold more than its part of `limits.request_bytes`.
pub const CONTROL_BYTES_WHEN_FULL: usize = 4 * 1024;

/// Longest frame around a payload: header, JSON members, the longest sender id.
pub const ENVELOPE_BYTES_MAX: usize = 14 + 96 + 256;

/// Copies of messages that a shard hands over in a second under `--dev`; further ones are counted as missed. Half of
/// what is kept of them, so that a load test pays for few.
pub const CAPTURES_PER_SECOND_MAX: u32 = 1000;

/// Channels that a reset by a test ends in one step (`/dev/reset`): the store takes that many at once with room left.
pub const RESET_CHANNELS_PER_STEP: u64 = 256;

/// Findings of a shard about what the cloud service would have refused (`/dev/parity`), each of a rule and a channel.
/// Those of further channels are counted together.
pub const FINDINGS_MAX: usize = 1024;

/// Channels whose rates those findings follow.
pub const PARITY_BUCKETS_MAX: usize = 4096;

/// Faults that a test may have made at one time (`/dev/faults`).
pub const FAULTS_MAX: usize = 64;

/// Messages that the faults of a shard hold back. Further ones go on at once, and are counted.
pub const FAULT_HELD_MAX: usize = 1024;

/// Their bytes.
pub const FAULT_HELD_BYTES_MAX: usize = 4 << 20;

/// Messages and connections that go on in one tick after a fault held them back.
pub const FAULTS_DUE_PER_TICK: usize = 256;

/// Longest wait for the next message by one that is to be sent after it, in milliseconds.
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
/// account with fewer. No account with fewer: the next one is.
#[must_use]
pub const fn wake_polls_per_shard(shards: usize) -> usize {
    share(WAKE_POLLS_MAX, shards, 1024, WAKE_POLLS_MAX)
}

/// Seconds that a device may ask to wait. A NAT that forgets idle connections earlier is kept awake by TCP keepalives.
pub const WAKE_WAIT_S: RangeInclusive<u64> = 30..=600;

/// The same, where it does not say.
pub const WAKE_WAIT_S_DEFAULT: u64 = 240;

/// Things whose sign-ins of the hour are counted, for all shards: half a MiB. Others are not counted within that hour.
pub const SIGN_INS_COUNTED_MAX: usize = 65_536;

/// Sign-ins of one thing in an hour; the next one is listed beside refusals, though it is served. Keys last 15 minutes
/// at least, and the C SDK renews them up to 20 % early, which makes six an hour; a device whose clock is ahead asks
/// before each of its calls.
pub const SIGN_INS_PER_HOUR: u64 = 20;

/// How long a connection to the credentials provider is used, in milliseconds: keys are asked for every 15 minutes or
/// less often, and a new handshake judges certificate and chain anew.
pub const PROVIDER_AGE_MS: u64 = 5 * 60 * 1000;

/// By how much connections to it end sooner, so that those that began together do not come back together.
pub const PROVIDER_AGE_SPREAD_MS: u64 = 60 * 1000;

/// Channels of one import while the process runs: the store makes them in one commit. More need a stopped process.
pub const IMPORTED_MAX: usize = 1000;

// Lines in the log: a shard notes a number of a kind within a second, and counts the others.

/// The window within which a shard shares out its notes of refused requests, in milliseconds. The others are counted:
/// `heliograph_log_suppressed_total`.
pub const REFUSAL_WINDOW_MS: u64 = 10_000;

/// Groups of refusals (one check of one channel or key) of one network (/24 of IPv4, /48 of IPv6) that have a note
/// within a window. Those of further groups are counted as others.
pub const REFUSAL_GROUPS_PER_NETWORK: usize = 64;

/// The same of all networks, 384 bytes each at most: those of one network of many clients, and 16 more.
pub const REFUSAL_GROUPS_MAX: usize = 80;

/// Further notes of groups that have one, of one network: it sees each try of somebody who tries things out. A storm
/// from one address takes 16 of the 4,096 that are kept in ten seconds, so they reach back 40 minutes.
pub const REFUSALS_REPEATED_PER_NETWORK: u32 = 15;

/// The same of all networks.
pub const REFUSALS_REPEATED_MAX: u32 = 128;

/// Lines about changes that were refused, or that a policy refused, which one shard writes within a second; the others
/// are counted with the refusals.
pub const DENIALS_LOGGED_PER_SECOND: u32 = 50;

/// The same of one network: a flood from one does not hide a device elsewhere.
pub const DENIALS_LOGGED_PER_PREFIX: u32 = 10;

/// Ends of WebSocket connections that one shard notes in the log within a second; the others are counted with the
/// refusals.
pub const ENDS_LOGGED_PER_SECOND: u32 = 200;

/// The same of channels of one account: one that connects in a loop hides no other's.
pub const ENDS_LOGGED_PER_ACCOUNT: u32 = 50;

/// Messages that were not accepted and that one shard notes in the log within a second; the others are counted with the
/// refusals. A sample is enough to see which client sends them and why: the metrics have their number.
pub const UNACCEPTED_LOGGED_PER_SECOND: u32 = 50;

/// The same of channels of one account: one client that sends them in a loop hides no other account's.
pub const UNACCEPTED_LOGGED_PER_ACCOUNT: u32 = 10;

/// Failures of the registry's store that one shard notes in the log within a second; the others are counted with the
/// refusals. Each change that is asked for meets the same failure.
pub const STORE_TROUBLES_LOGGED_PER_SECOND: u32 = 5;

/// Lines of one shard within a second about nodes that do not answer; each counts the requests since the one before.
pub const NODE_TROUBLES_LOGGED_PER_SECOND: u32 = 1;

// Bounds of OpenID providers, and of those who sign in with their tokens.

/// OpenID providers of a credentials file: more is refused at loading.
pub const PROVIDERS_MAX: usize = 64;

/// Client ids of one provider. Source: IAM User Guide, "IAM and AWS STS quotas", *OIDC client IDs*: 100.
pub const CLIENT_IDS_MAX: usize = 100;

/// Bytes of a provider's keys as it publishes them, and of its discovery document.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// Keys of one provider.
pub const KEYS_OF_PROVIDER_MAX: usize = 100;

/// Bytes of a provider's token. Source: STS API Reference, "AssumeRoleWithWebIdentity", `WebIdentityToken`.
pub const WEB_TOKEN_BYTES_MAX: usize = 20_000;

/// Bytes of the values of claims that one session keeps: they are part of its token.
pub const WEB_CLAIMS_BYTES_MAX: usize = 1024;

/// Bytes of a form that is not signed: a provider's token and a session policy fit.
pub const UNSIGNED_FORM_BYTES_MAX: usize = 32 * 1024;

/// Unsigned sign-ins of one address a second: each costs a signature check.
pub const SIGN_INS_PER_SECOND: u32 = 20;

/// Those that it may make at once.
pub const SIGN_INS_BURST: u32 = 100;

/// Addresses whose unsigned sign-ins a shard counts one by one, 40 bytes each; all others share one rate.
pub const SIGN_IN_ADDRESSES_MAX: usize = 4096;

/// Places of callers among which an account's rate of temporary credentials is shared, by hash: 256 bytes an account.
/// Callers of one place count as one.
pub const GRANT_CALLERS: usize = 32;

/// How long after a caller found the account's rate used up each other one has half of it, in milliseconds.
pub const GRANT_WAIT_MS: u64 = 1000;

/// Calls for temporary credentials of one caller that a shard refuses in a second, as a loop makes them that may not
/// assume its role: beyond that they are refused unseen.
pub const GRANTS_REFUSED_PER_SECOND: u32 = 5;

/// Those that it may make at once.
pub const GRANTS_REFUSED_BURST: u32 = 50;

/// Callers whose refused calls a shard counts one by one, 40 bytes each; all others share one rate.
pub const REFUSED_CALLERS_MAX: usize = 4096;

/// Names of claims that policies and trusts of a file ask for of one provider.
pub const CLAIM_NAMES_MAX: usize = 32;

// Bounds of what shards do to open connections by themselves: recalling them, and asking them again after other
// credentials came.

/// Between two connections of a shard that are closed so that they fetch ICE servers again, in milliseconds: 100 a
/// second. Each comes back with up to five TLS handshakes, so a quarter of a core.
pub const RECALL_STEP_MS: u64 = 10;

/// Open connections that a shard asks again in one turn: each decides its policies once, about a microsecond, and as
/// much again for a session that is looked up. The others are asked in the turns that follow.
pub const RECHECKS_PER_TURN: usize = 1_000;

/// Time within which those that are refused are closed, in milliseconds: 5 s, less what a busy shard is late.
pub const RECHECK_CLOSE_MS: u64 = 4_500;

/// Time before that in which others may come, where more than half of all connections are refused, in milliseconds.
pub const RECHECK_WAIT_MS: u64 = 10_000;

/// Between two looks whether all shards have asked theirs, in milliseconds.
pub const RECHECK_LOOK_MS: u64 = 20;

/// Time within which a connection may come that was let in by the credentials of before, in milliseconds: one is on its
/// way between two shards for no longer than the time for its head.
pub const RECHECK_LATE_MS: u64 = 60_000;

// Bounds of the flight recorder.

/// Bytes of one note of the flight recorder.
pub const NOTE_BYTES: usize = 32;

/// Notes of one shard's flight recorder, the oldest overwritten: 2 MiB. A session of a viewer takes some 30 of them.
pub const RECORDER_NOTES: usize = 1 << 16;

/// The same of one of this many shards: 32 MiB in all; 1 MiB beyond 128 shards, where letters and buffers take more.
#[must_use]
pub const fn recorder_notes(shards: usize) -> usize {
    if shards > 128 {
        return 128;
    }
    1 << share(1 << 20, shards, RECORDER_NOTES_LEAST, RECORDER_NOTES).ilog2()
}

/// The fewest and the most notes that may be configured: 32 KiB and 128 MiB a shard.
pub const RECORDER_NOTES_LEAST: usize = 1 << 10;
/// See [`RECORDER_NOTES_LEAST`].
pub const RECORDER_NOTES_MOST: usize = 1 << 22;

/// Notes of the flight recorder that a shard looks at in one step of a trace: some 0.1 ms. The next step is a letter of
/// its own, so messages go on in between.
pub const INSPECTED_NOTES_PER_STEP: usize = 16_384;
