//! Computes how much memory the process takes when all limits are reached: the sum of everything whose size depends on
//! peers.
//!
//! Every queue, buffer and table needs a term here. With default limits, the sum stays within 1.27 GiB for any number
//! of shards. Channel records have a sum of their own ([`records`]), since the operator chooses their limit. Neither
//! sum includes the rate-limit buckets of recently called channels (at most 2 KiB each), the allocator's reserves, the
//! binary, or thread stacks.

use crate::edge::{EdgeSettings, Post};
use crate::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_UNREAD_BYTES_MAX,
    CONSOLE_SESSIONS_MAX, CONSOLE_SIGN_INS_MAX, EVENT_BYTES_MAX, FEED_BYTES_WAITING_MAX,
    FEEDS_OF_EVENTS, HISTORY_BYTES, HISTORY_CAUSES_MAX, HISTORY_JOBS_WAITING_MAX,
    HISTORY_NOTES_WAITING_MAX, HOOK_BYTES_MAX, LAN_CONNECTIONS_MAX, LOG_AUDITS_WAITING_MAX,
    LOG_BYTES_KEPT_MAX, LOG_COUNTS_WAITING_MAX, LOG_EXPLAINED_WAITING_MAX, LOG_LINES_WAITING_MAX,
    LOG_WARNINGS_BYTES_KEPT_MAX, PRESENCES_WAITING_MAX, PROBLEMS_BYTES_MAX,
    REFUSAL_GROUPS_KEPT_MAX, REFUSALS_KEPT_BYTES_MAX, STATES_BYTES_WAITING_MAX,
    STATES_TOLD_WAITING_MAX, STREAMS_MAX, TRACE_EVENTS_MAX, TROUBLED_KEPT_MAX, WAKE_CHANNELS_MAX,
    WATCHED_CHANNELS_MAX,
};
use broker_core::limits::{
    CALL_PLACES_PER_WAITING_CALL, CHANGES_PER_SHARD_MAX, KEPT_PARCEL_BYTES_MAX, LIST_MERGED_MAX,
    LISTED_BYTES, LISTS_OF_NODES_MAX, MAILBOX_CONTROL_PLACES, NOTE_BYTES, REFUSAL_GROUPS_MAX,
    SPARE_OUTBOX_BYTES_MAX, WAITING_CALLS_PER_PLAYER, calls_per_pair, lists_under_way,
    lists_waiting, mailbox_open_places, signing_keys_per_shard, spare_outboxes,
    waiting_calls_per_shard, wake_polls_per_shard,
};
use broker_core::settings::{Auth, Settings};
use broker_core::shard::Shard;
use broker_core::{auth::Credentials, journal::EXPLAINED_BYTES_MAX, registry::ENCODED_BYTES_MAX};
use codec::limits::WHEP_GATHERED_BYTES;
use std::path::Path;
use std::{fmt, fs};

/// Maximum size of an idle connection in bytes. Includes the session, the socket, the timer and, on an encrypted
/// connection, the TLS engine.
pub const CONNECTION_BYTES: usize = 16 << 10;

/// A term of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Purpose of the memory, such as "outboxes".
    pub name: &'static str,
    /// Maximum number of items, per shard or per process.
    pub count: usize,
    /// Size of each item in bytes, including overhead.
    pub bytes: usize,
    /// Number of shards that have these items, or 1 if the items belong to the process.
    pub times: usize,
}

impl Term {
    /// Returns the term's total size in bytes.
    #[must_use]
    pub fn total(&self) -> usize {
        self.count
            .saturating_mul(self.bytes)
            .saturating_mul(self.times)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            count,
            bytes,
            times,
        } = self;
        let kib = self.total().div_ceil(KIB);
        write!(to, "{name}: {count} of {bytes} B, {times} times: {kib} KiB")
    }
}

/// Returns all terms for these settings, except channel records.
#[must_use]
pub fn budget(settings: &Settings) -> Vec<Term> {
    let each = of_each_shard(settings).map(|row| (row, settings.shards));
    let rows = each.chain(of_the_process(settings).map(|row| (row, 1)));
    let used = rows.filter(|((is_used, ..), _)| *is_used);
    let term = |((_, name, count, bytes), times)| Term {
        name,
        count,
        bytes,
        times,
    };
    used.map(term).collect()
}

/// A row of the tables below: whether it applies to the settings, its name, the maximum number of items, and the size
/// of each item.
type Row = (bool, &'static str, usize, usize);

#[rustfmt::skip] // a table with a term per row
fn of_each_shard(settings: &Settings) -> impl Iterator<Item = Row> {
    let shards = settings.shards;
    let edge = EdgeSettings::for_shards(shards);
    let unconfirmed = settings.unconfirmed_bytes_of_shard();
    let (strangers, stranger_bytes) = EdgeSettings::strangers();
    let (links, link_bytes) = EdgeSettings::links();
    let signing_keys = usize::from(settings.auth == Auth::Sigv4) * signing_keys_per_shard(shards);
    let (wake_poll, cluster) = (settings.presence.wake_poll, settings.cluster.is_on());
    [
        // The buffer doubles when it grows, and the kernel reads from a copy.
        (true, "outboxes", settings.outbox_bytes_of_shard(), 3),
        (true, "messages not confirmed", unconfirmed, 2),
        // The kernel's copies of unconfirmed messages, with overhead. The kernel's copies of other bytes are counted
        // below, under "requests and answers".
        (true, "messages in the kernel", unconfirmed, 2),
        // For a small candidate, the allocation's header and the message's list entry take twice as many bytes as the
        // candidate itself.
        (true, "kept messages", settings.pending_bytes_of_shard(), 3),
        // Heads, bodies, responses and incomplete messages, in buffers that double when they grow. Also includes the
        // kernel's copies of bytes that need no confirmation, with overhead.
        (true, "requests and answers", settings.request_bytes_per_shard(), 2),
        (true, "spare outboxes", spare_outboxes(shards), SPARE_OUTBOX_BYTES_MAX),
        (true, "receive buffers", usize::from(edge.ring.buffers), edge.ring.buffer_bytes as usize),
        (true, "spare sends", edge.spare_sends, EdgeSettings::spare_send_bytes()),
        (true, "TLS records of handshakes", edge.handshake_bytes, 1),
        (true, "TLS records", edge.partial_record_bytes, 1),
        (true, "lists under way", lists_under_way(shards), LIST_MERGED_MAX * LISTED_BYTES),
        (true, "lists that wait", lists_waiting(shards), LIST_BYTES),
        (true, "waiting Alexa calls", settings.waiting_calls_of_shard(), WAITING_CALL_BYTES),
        (settings.whep.on, "calls of players", settings.waiting_calls_of_shard() / WAITING_CALLS_PER_PLAYER,
            settings.limits.payload_bytes + WHEP_GATHERED_BYTES + KIB),
        (true, "shares of refusals", REFUSAL_GROUPS_MAX, REFUSAL_GROUP_BYTES),
        (true, "notes of the recorder", settings.recorder_notes_of_shard(), NOTE_BYTES),
        (true, "signing keys", signing_keys, SIGNING_KEY_BYTES),
        (wake_poll, "waiting devices", wake_polls_per_shard(shards), WAKE_POLL_BYTES),
        (cluster, "strangers at the inner port", strangers, stranger_bytes),
        (cluster, "links", links, link_bytes),
        // Queued requests and requests on links, in buffers that double when they grow.
        (cluster, "requests for other nodes", 2 * edge.link_request_bytes, 2),
        (cluster, "bytes of links that wait", edge.link_waiting_bytes, 2),
    ]
    .into_iter()
}

/// Returns the terms of the process as a whole: the store, the log, the admin listener, and any configured features.
#[rustfmt::skip] // a table with a term per row
fn of_the_process(settings: &Settings) -> impl Iterator<Item = Row> {
    use broker_etcd::limits as node;
    let (lan, people) = (settings.lan.is_some(), settings.admin.oidc.is_some());
    let hooks = settings.hooks.len();
    let etcd = settings.cluster.is_on() && settings.cluster.etcd.is_on();
    [
        (true, "letters under way", letters(settings.shards), LETTER_BYTES),
        (true, "changes before the store",
            store::limits::QUEUE_CHANGES_MAX.min(settings.shards * settings.changes_of_shard()),
            store::limits::KEY_BYTES_MAX + ENCODED_BYTES_MAX),
        (true, "changes in a batch", store::limits::BATCH_BYTES_MAX, 1),
        (true, "the store's cache", store::limits::CACHE_BYTES, 1),
        (true, "log lines", LOG_LINES_WAITING_MAX, LOG_LINE_BYTES),
        (true, "audit lines", LOG_AUDITS_WAITING_MAX, LOG_LINE_BYTES),
        (true, "explained refusals", LOG_EXPLAINED_WAITING_MAX, EXPLAINED_BYTES_MAX + KIB),
        (true, "reports of refusals not noted", LOG_COUNTS_WAITING_MAX * REFUSAL_GROUPS_MAX, REFUSAL_GROUP_BYTES),
        (true, "refusals kept", REFUSALS_KEPT_BYTES_MAX, 1),
        (true, "groups of refusals", REFUSAL_GROUPS_KEPT_MAX, 5 * KIB),
        (true, "log lines kept", LOG_BYTES_KEPT_MAX + LOG_WARNINGS_BYTES_KEPT_MAX, 1),
        (true, "admin connections", ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTION_BYTES),
        // Memory for a stream's positions in its topics, and for a piece of an event in flight.
        (true, "event streams", STREAMS_MAX, 2 * ADMIN_HEAD_BYTES_MAX + ADMIN_TASK_BYTES),
        (true, "answers and events not read", ADMIN_UNREAD_BYTES_MAX, 1),
        // The state of each watched channel, and three states of the process.
        (true, "states for streams", WATCHED_CHANNELS_MAX + 3, EVENT_BYTES_MAX),
        (true, "events for streams", FEEDS_OF_EVENTS, FEED_BYTES_WAITING_MAX),
        (true, "presence for streams", STATES_TOLD_WAITING_MAX, PRESENCE_BYTES),
        (true, "presence in streams", STATES_BYTES_WAITING_MAX, 1),
        (true, "the history's queue", HISTORY_JOBS_WAITING_MAX + HISTORY_NOTES_WAITING_MAX, 2 * KIB),
        (true, "places of causes", HISTORY_CAUSES_MAX, CAUSE_PLACE_BYTES),
        // The rows of all resolutions, the texts of marks and causes, and the text of the response.
        (true, "an answer of the history", 1, 3 * MIB),
        (settings.data_dir_ends, "the history in memory", 1, HISTORY_BYTES),
        (true, "a trace", TRACE_EVENTS_MAX, TRACE_EVENT_BYTES),
        (true, "troubled sessions", TROUBLED_KEPT_MAX, KIB),
        (true, "problems", PROBLEMS_BYTES_MAX, 1),
        (lan, "connections for pages", LAN_CONNECTIONS_MAX, ADMIN_CONNECTION_BYTES),
        (lan, "answers to them not read", ADMIN_UNREAD_BYTES_MAX, 1),
        (hooks > 0, "states for hooks", PRESENCES_WAITING_MAX, PRESENCE_BYTES),
        (hooks > 0, "channels called for", WAKE_CHANNELS_MAX, WAKE_BYTES),
        // Each hook has two halves: one for wake calls and one for states.
        (hooks > 0, "events that wait for hooks", hooks * HOOK_BYTES_MAX, 2),
        (people, "accounts of the console", CONSOLE_SIGN_INS_MAX + CONSOLE_SESSIONS_MAX, ACCOUNT_BYTES),
        // A message may exist as a whole, in incoming parts and in outgoing parts at the same time.
        (etcd, "kept messages that move", KEPT_PARCEL_BYTES_MAX, 3),
        (etcd, "pages of all nodes", LISTS_OF_NODES_MAX, LIST_MERGED_MAX * LISTED_BYTES),
        (etcd, "messages of nodes, received", node::MAIL_BYTES_MAX + node::INCOMING_BYTES_MAX, 1),
        (etcd, "messages to nodes", node::OUTGOING_BYTES_MAX, 1),
        (etcd, "strangers at the port of messages", 2 * node::STRANGERS_MAX, node::STRANGER_BYTES),
        // Queued changes, and changes that have not been taken from the shards yet.
        (etcd, "changes for etcd", 2 * node::CHANGES_MAX, ENCODED_BYTES_MAX),
    ]
    .into_iter()
}

/// Returns the maximum number of messages between shards in all mailboxes. Their memory is allocated on demand.
/// Messages about Alexa calls are limited by the number of waiting calls.
fn letters(shards: usize) -> usize {
    let others = mailbox_open_places(shards)
        + calls_per_pair(shards) * shards
        + CHANGES_PER_SHARD_MAX
        + MAILBOX_CONTROL_PLACES;
    let about_calls = 2 * CALL_PLACES_PER_WAITING_CALL * waiting_calls_per_shard(shards);
    (others + about_calls) * shards
}

/// Returns the term for the thing registry, if `[things]` defines one. During a reload, there are two registries.
#[must_use]
pub fn things(credentials: &Credentials) -> Option<Term> {
    let max = credentials.things()?.registry.max();
    (max > 0).then_some(Term {
        name: "things of two registries",
        count: 2 * max,
        bytes: THING_BYTES,
        times: 1,
    })
}

/// Returns the term for channel records at the configured limit. Records that are already stored may exceed it. A
/// record takes about 480 bytes if its name has the usual length and it has no tags.
#[must_use]
pub fn records(settings: &Settings) -> Term {
    Term {
        name: "records of channels",
        count: settings.limits.record_bytes_total,
        bytes: 1,
        times: 1,
    }
}

/// Returns all terms for these settings and credentials. The term for channel records comes last.
pub(crate) fn terms(settings: &Settings, credentials: Option<&Credentials>) -> Vec<Term> {
    let further = credentials.and_then(things).into_iter();
    let further = further.chain([records(settings)]);
    budget(settings).into_iter().chain(further).collect()
}

fn total<'t>(terms: impl IntoIterator<Item = &'t Term>) -> usize {
    let bytes = terms.into_iter().map(Term::total);
    bytes.fold(0, usize::saturating_add)
}

/// Returns the complete sum in bytes.
#[must_use]
pub fn bytes(settings: &Settings) -> usize {
    total(&terms(settings, None))
}

/// Returns the memory available to the process in bytes: its cgroup's limit or the machine's memory, whichever is
/// lower. Returns `None` if neither is known.
#[must_use]
pub fn limit() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut lines = machine.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    let machine = kib.map(|kib| kib.saturating_mul(KIB));
    group_limit().into_iter().chain(machine).min()
}

/// Checks that new settings may replace the ones used at startup. `start` is the sum at startup. The sum for the new
/// settings may exceed `start` or the memory limit, but not both.
///
/// # Errors
/// Returns an error that states both sums and the remedy.
pub fn fits(settings: &Settings, start: usize, limit: Option<usize>) -> Result<(), String> {
    let (bytes, limit) = (bytes(settings), limit.unwrap_or(usize::MAX));
    if bytes <= start.max(limit) {
        return Ok(());
    }
    let [bytes, start, limit] = [bytes, start, limit].map(|bytes| bytes.div_ceil(MIB));
    Err(format!(
        "the process could then hold {bytes} MiB: expected {limit} MiB at most, as its cgroup or the machine has, or \
         the {start} MiB of its start: lower [limits], or give it more memory and restart it"
    ))
}

/// Formats the sum of all terms as a single line.
#[must_use]
pub fn sum(settings: &Settings, credentials: Option<&Credentials>) -> String {
    let things = credentials.and_then(things);
    format!(
        "at most {} MiB at these limits, {} MiB for records of channels, and {} KiB a connection",
        total(budget(settings).iter().chain(&things)).div_ceil(MIB),
        records(settings).total().div_ceil(MIB),
        CONNECTION_BYTES / KIB
    )
}

// Compares the sum with the memory limit of the process's cgroup.

/// Returns a warning if the memory for these terms and connections may exceed the cgroup's limit. Returns `None` if it
/// fits, or if there is no limit.
#[must_use]
pub fn shortage(limit: Option<usize>, terms: &[Term], connections: usize) -> Option<String> {
    let limit = limit?;
    let held = total(terms);
    let room = limit.saturating_sub(held) / CONNECTION_BYTES;
    (room < connections).then(|| {
        format!(
            "the control group of the process allows {} MiB of memory: room for {room} connections beside {} MiB at \
             these limits, and {connections} are allowed: lower limits.connections or other [limits], or raise the \
             group's limit (MemoryMax= of the unit, --memory of the container), or the kernel may end the process",
            limit / MIB,
            held.div_ceil(MIB)
        )
    })
}

/// Returns the memory limit of this process's cgroup in bytes, or `None` if there is no limit.
#[must_use]
pub fn group_limit() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_below(Path::new("/sys/fs/cgroup"), &groups)
}

/// Returns the lowest limit among the groups in `/proc/PID/cgroup` and their ancestors. Supports cgroup versions 1 and
/// 2.
fn limit_below(root: &Path, groups: &str) -> Option<usize> {
    let groups = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        Some((base.join(path.trim_start_matches('/')), base, file))
    });
    let limits = groups.flat_map(|(group, base, file)| {
        let around = group
            .ancestors()
            .take_while(|place| place.starts_with(&base));
        let read = |place: &Path| {
            fs::read_to_string(place.join(file))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        around.filter_map(read).collect::<Vec<usize>>()
    });
    limits.min().filter(|limit| *limit < UNLIMITED)
}

/// The smallest limit that counts as unlimited. cgroup v1 reports a number close to this one for a group without a
/// limit.
const UNLIMITED: usize = 1 << 60;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Size in bytes of a refusal group whose channel name has the maximum length. Includes its entry in the table.
const REFUSAL_GROUP_BYTES: usize = 384;

/// Size of an admin connection in bytes: a request's head and body, and output of up to the size of a head.
const ADMIN_CONNECTION_BYTES: usize =
    2 * ADMIN_HEAD_BYTES_MAX + ADMIN_BODY_BYTES_MAX + ADMIN_TASK_BYTES;

/// Size in bytes of an account session with a long subject, or of the state of a pending sign-in.
const ACCOUNT_BYTES: usize = 1024;

/// Size of a channel's state in bytes, with names of typical length and a few waiting viewers. The largest states take
/// ten times as much.
const PRESENCE_BYTES: usize = 1024;

/// Memory in bytes for a channel whose master has been woken, including its state and several callers.
const WAKE_BYTES: usize = 1024;

/// Size in bytes of a problem cause's entry in the map of file positions.
const CAUSE_PLACE_BYTES: usize = 64;

/// Size in bytes of an entry in the thing registry: a certificate, with a name of up to 50 characters.
const THING_BYTES: usize = 100;

/// Size in bytes of a mailbox entry: a message, and the queue's sequence number.
const LETTER_BYTES: usize = size_of::<Post<Shard>>() + 8;

/// Size in bytes of a waiting call. Includes its offer (at most 10,000 bytes) with framing and names, stored once, on
/// the channel's shard. Also includes a share of the memory for the names of ended calls.
const WAITING_CALL_BYTES: usize = 12 * KIB;

/// Memory in bytes that a device takes while it waits for a wake call, in addition to its connection. Includes its
/// caller and its map entries.
const WAKE_POLL_BYTES: usize = 384;

/// Size of a signing key in bytes. See [`broker_core::limits::SIGNING_KEYS_PER_SHARD_MAX`].
const SIGNING_KEY_BYTES: usize = 1536;

/// Size in bytes of an admin connection's task, socket and timers.
const ADMIN_TASK_BYTES: usize = 8 * KIB;

/// Size of a trace event in bytes. Includes a viewer's name, in case the master specified one.
const TRACE_EVENT_BYTES: usize = 160;

/// Size in bytes of a waiting list request. Includes two names with their account and region, and the request's map
/// entries.
const LIST_BYTES: usize = KIB;

/// Size of a log line in bytes. See [`LOG_LINES_WAITING_MAX`].
const LOG_LINE_BYTES: usize = 1024;

const _: () = assert!(CHANGES_PER_SHARD_MAX <= store::limits::QUEUE_CHANGES_MAX);

#[cfg(test)]
mod tests;
