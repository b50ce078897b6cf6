//! The most memory that the process may hold at its limits: one term for everything that a peer can make grow.
//!
//! A new queue, buffer or table adds its term here; the sum at default limits stays within 1.25 GiB on any number of
//! shards. The records of channels are a sum of their own ([`records`]): they are what the service is there to keep,
//! and an operator sets their bound by what is to be kept. Not in either: the buckets of rates of channels
//! that were called within the last seconds (2 KiB each at most), what the allocator keeps aside, the binary and the
//! stacks of threads.

use crate::edge::{EdgeSettings, Post};
use crate::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_UNREAD_BYTES_MAX,
    CONSOLE_SESSIONS_MAX, CONSOLE_SIGN_INS_MAX, EVENT_BYTES_MAX, FEED_BYTES_WAITING_MAX,
    FEEDS_OF_EVENTS, HOOK_BYTES_MAX, LAN_CONNECTIONS_MAX, LOG_AUDITS_WAITING_MAX,
    LOG_BYTES_KEPT_MAX, LOG_COUNTS_WAITING_MAX, LOG_EXPLAINED_WAITING_MAX, LOG_LINES_WAITING_MAX,
    PRESENCES_WAITING_MAX, REFUSAL_GROUPS_KEPT_MAX, REFUSALS_KEPT_BYTES_MAX,
    STATES_BYTES_WAITING_MAX, STATES_TOLD_WAITING_MAX, STREAMS_MAX, TRACE_EVENTS_MAX,
    TROUBLED_KEPT_MAX, WAKE_CHANNELS_MAX, WATCHED_CHANNELS_MAX,
};
use broker_core::limits::{
    CALL_PLACES_PER_WAITING_CALL, CHANGES_PER_SHARD_MAX, KEPT_PARCEL_BYTES_MAX, LIST_MERGED_MAX,
    LISTED_BYTES, LISTS_OF_NODES_MAX, MAILBOX_CONTROL_PLACES, NOTE_BYTES, REFUSAL_GROUPS_MAX,
    SPARE_OUTBOX_BYTES_MAX, calls_per_pair, lists_under_way, lists_waiting, mailbox_open_places,
    signing_keys_per_shard, spare_outboxes, waiting_calls_per_shard, wake_polls_per_shard,
};
use broker_core::settings::{Auth, Settings};
use broker_core::shard::Shard;
use broker_core::{auth::Credentials, journal::EXPLAINED_BYTES_MAX, registry::ENCODED_BYTES_MAX};
use std::path::Path;
use std::{fmt, fs};

/// The most bytes of one idle connection: session, socket, timer, and the engine of an encrypted one.
pub const CONNECTION_BYTES: usize = 16 << 10;

/// One term of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The holder of the bytes, such as "outboxes".
    pub name: &'static str,
    /// The number of items in one shard, or in the process, at most.
    pub count: usize,
    /// Bytes of each, with what it takes to keep them.
    pub bytes: usize,
    /// The number of shards that have it; 1 for what the process has once.
    pub times: usize,
}

impl Term {
    /// A term of the process, not of each shard.
    fn once(name: &'static str, count: usize, bytes: usize) -> Self {
        Self {
            name,
            count,
            bytes,
            times: 1,
        }
    }

    /// All bytes of it.
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

/// Every term at these limits.
#[must_use]
pub fn budget(settings: &Settings) -> Vec<Term> {
    let shards = settings.shards;
    let edge = EdgeSettings::for_shards(shards);
    let per_shard = |name, count, bytes| Term {
        name,
        count,
        bytes,
        times: shards,
    };
    let signing_keys = usize::from(settings.auth == Auth::Sigv4) * signing_keys_per_shard(shards);
    let unconfirmed = settings.unconfirmed_bytes_of_shard();
    let mut terms = vec![
        // A buffer that doubled when it grew, and the copy that the kernel reads from.
        per_shard("outboxes", settings.outbox_bytes_of_shard(), 3),
        per_shard("messages not confirmed", unconfirmed, 2),
        // The kernel's copies of them, with its overhead; those of all else are charged as answers.
        per_shard("messages in the kernel", unconfirmed, 2),
        // Each message is an allocation with a header and a place in a list: twice the bytes of a small candidate.
        per_shard("kept messages", settings.pending_bytes_of_shard(), 3),
        // Heads, bodies, answers and unfinished messages, in buffers that doubled when they grew, and what the kernel
        // holds for peers that is no message to be confirmed, with its overhead.
        per_shard(
            "requests and answers",
            settings.request_bytes_per_shard(),
            2,
        ),
        per_shard(
            "spare outboxes",
            spare_outboxes(shards),
            SPARE_OUTBOX_BYTES_MAX,
        ),
        per_shard(
            "receive buffers",
            usize::from(edge.ring.buffers),
            edge.ring.buffer_bytes as usize,
        ),
        per_shard(
            "spare sends",
            edge.spare_sends,
            EdgeSettings::spare_send_bytes(),
        ),
        per_shard("TLS records of handshakes", edge.handshake_bytes, 1),
        per_shard("TLS records", edge.partial_record_bytes, 1),
        Term::once("letters under way", letters(shards), LETTER_BYTES),
        per_shard(
            "lists under way",
            lists_under_way(shards),
            LIST_MERGED_MAX * LISTED_BYTES,
        ),
        per_shard("lists that wait", lists_waiting(shards), LIST_BYTES),
        per_shard(
            "waiting Alexa calls",
            waiting_calls_per_shard(shards),
            WAITING_CALL_BYTES,
        ),
        per_shard(
            "shares of refusals",
            REFUSAL_GROUPS_MAX,
            REFUSAL_GROUP_BYTES,
        ),
        per_shard(
            "notes of the recorder",
            settings.recorder_notes_of_shard(),
            NOTE_BYTES,
        ),
        per_shard("signing keys", signing_keys, SIGNING_KEY_BYTES),
    ];
    terms.extend(of_the_store());
    terms.extend(of_the_log().into_iter().chain(of_the_admin_listener()));
    if settings.lan.is_some() {
        terms.extend(of_the_local_network());
    }
    terms.extend(of_the_cluster(settings, &edge));
    terms.extend(of_the_hooks(settings.hooks.len()));
    terms.extend(of_devices_and_people(settings));
    terms
}

/// The memory of the courier of hooks, and of each hook.
fn of_the_hooks(hooks: usize) -> Vec<Term> {
    if hooks == 0 {
        return Vec::new();
    }
    vec![
        Term::once("states for hooks", PRESENCES_WAITING_MAX, PRESENCE_BYTES),
        Term::once("channels called for", WAKE_CHANNELS_MAX, WAKE_BYTES),
        // In two halves.
        Term::once("events that wait for hooks", hooks * HOOK_BYTES_MAX, 2),
    ]
}

/// The memory of those who wait or sign in, where that is configured.
fn of_devices_and_people(settings: &Settings) -> impl Iterator<Item = Term> {
    let people = of_the_accounts(settings);
    of_the_devices(settings).into_iter().chain(people)
}

/// The memory of people who sign in to the console, and of those who are signed in.
fn of_the_accounts(settings: &Settings) -> Option<Term> {
    let most = CONSOLE_SIGN_INS_MAX + CONSOLE_SESSIONS_MAX;
    let oidc = settings.admin.oidc.as_ref();
    oidc.map(|_| Term::once("accounts of the console", most, ACCOUNT_BYTES))
}

/// An account with a long subject, or what a sign-in remembers.
const ACCOUNT_BYTES: usize = 1024;

/// The memory of devices that wait, beside their connections.
fn of_the_devices(settings: &Settings) -> Option<Term> {
    settings.presence.wake_poll.then(|| Term {
        name: "waiting devices",
        count: wake_polls_per_shard(settings.shards),
        bytes: WAKE_POLL_BYTES,
        times: settings.shards,
    })
}

/// A state with names of usual length and a few who wait; the longest are ten times as long.
const PRESENCE_BYTES: usize = 1024;
/// A channel that is called for, with its state and some callers.
const WAKE_BYTES: usize = 1024;

/// The registry of things, where `[things]` has one: a reload holds two of them for a moment.
#[must_use]
pub fn things(credentials: &Credentials) -> Option<Term> {
    let max = credentials.things()?.registry.max();
    (max > 0).then(|| Term::once("things of two registries", 2 * max, THING_BYTES))
}

/// A certificate with a name of up to 50 letters.
const THING_BYTES: usize = 100;

/// The records of channels (some 480 bytes each with a name of usual length and without tags), where no more were
/// stored already.
#[must_use]
pub fn records(settings: &Settings) -> Term {
    Term {
        name: "records of channels",
        count: settings.record_bytes_of_shard(),
        bytes: 1,
        times: settings.shards,
    }
}

/// The memory of the registry's store, once in the process.
fn of_the_store() -> [Term; 3] {
    let change = store::limits::KEY_BYTES_MAX + ENCODED_BYTES_MAX;
    [
        Term::once(
            "changes before the store",
            store::limits::QUEUE_CHANGES_MAX,
            change,
        ),
        Term::once("changes in a batch", store::limits::BATCH_BYTES_MAX, 1),
        Term::once("the store's cache", store::limits::CACHE_BYTES, 1),
    ]
}

/// The memory of a node for the others: of each shard, and of the process where the nodes agree in etcd.
fn of_the_cluster(settings: &Settings, edge: &EdgeSettings) -> Vec<Term> {
    if !settings.cluster.is_on() {
        return Vec::new();
    }
    let (strangers, stranger_bytes) = EdgeSettings::strangers();
    let (links, link_bytes) = EdgeSettings::links();
    let terms = [
        ("strangers at the inner port", strangers, stranger_bytes),
        ("links", links, link_bytes),
        // In buffers that doubled when they grew: those that wait, and those on links.
        ("requests for other nodes", 2 * edge.link_request_bytes, 2),
        ("bytes of links that wait", edge.link_waiting_bytes, 2),
    ];
    let term = |(name, count, bytes)| Term {
        name,
        count,
        bytes,
        times: settings.shards,
    };
    let mut terms: Vec<Term> = terms.map(term).into();
    if settings.cluster.etcd.is_on() {
        // Whole, in parts that come, and in parts that go.
        let parcels = Term::once("kept messages that move", KEPT_PARCEL_BYTES_MAX, 3);
        let records = LIST_MERGED_MAX * LISTED_BYTES;
        let pages = Term::once("pages of all nodes", LISTS_OF_NODES_MAX, records);
        terms.extend([parcels, pages]);
        terms.extend(of_the_node());
    }
    terms
}

/// The memory of the thread that follows the cluster in etcd.
fn of_the_node() -> [Term; 4] {
    use broker_etcd::limits::{
        CHANGES_MAX, INCOMING_BYTES_MAX, MAIL_BYTES_MAX, OUTGOING_BYTES_MAX, STRANGER_BYTES,
        STRANGERS_MAX,
    };
    [
        Term::once(
            "messages of nodes, received",
            MAIL_BYTES_MAX + INCOMING_BYTES_MAX,
            1,
        ),
        Term::once("messages to nodes", OUTGOING_BYTES_MAX, 1),
        Term::once(
            "strangers at the port of messages",
            2 * STRANGERS_MAX,
            STRANGER_BYTES,
        ),
        // Those that wait, and those that are not taken from the shards.
        Term::once("changes for etcd", 2 * CHANGES_MAX, ENCODED_BYTES_MAX),
    ]
}

/// The memory of the admin listener and its event streams, once in the process.
fn of_the_admin_listener() -> [Term; 9] {
    [
        Term::once(
            "admin connections",
            ADMIN_CONNECTIONS_MAX,
            ADMIN_CONNECTION_BYTES,
        ),
        // A stream has its positions, and a piece of an event on its way.
        Term::once(
            "event streams",
            STREAMS_MAX,
            2 * ADMIN_HEAD_BYTES_MAX + ADMIN_TASK_BYTES,
        ),
        Term::once("answers and events not read", ADMIN_UNREAD_BYTES_MAX, 1),
        // The state of each channel, and three of the process.
        Term::once(
            "states for streams",
            WATCHED_CHANNELS_MAX + 3,
            EVENT_BYTES_MAX,
        ),
        Term::once(
            "events for streams",
            FEEDS_OF_EVENTS,
            FEED_BYTES_WAITING_MAX,
        ),
        Term::once(
            "presence for streams",
            STATES_TOLD_WAITING_MAX,
            PRESENCE_BYTES,
        ),
        Term::once("presence in streams", STATES_BYTES_WAITING_MAX, 1),
        Term::once("a trace", TRACE_EVENTS_MAX, TRACE_EVENT_BYTES),
        Term::once("troubled sessions", TROUBLED_KEPT_MAX, KIB),
    ]
}

/// The memory of connections for pages under `--lan`, once in the process.
fn of_the_local_network() -> [Term; 2] {
    [
        Term::once(
            "connections for pages",
            LAN_CONNECTIONS_MAX,
            ADMIN_CONNECTION_BYTES,
        ),
        Term::once("answers to them not read", ADMIN_UNREAD_BYTES_MAX, 1),
    ]
}

/// The longest name of a channel, and its place.
const REFUSAL_GROUP_BYTES: usize = 384;

/// A head, a body, and as much as a head of what goes out.
const ADMIN_CONNECTION_BYTES: usize =
    2 * ADMIN_HEAD_BYTES_MAX + ADMIN_BODY_BYTES_MAX + ADMIN_TASK_BYTES;

/// The memory of the log and its thread, once in the process.
fn of_the_log() -> [Term; 7] {
    [
        Term::once("log lines", LOG_LINES_WAITING_MAX, LOG_LINE_BYTES),
        Term::once("audit lines", LOG_AUDITS_WAITING_MAX, LOG_LINE_BYTES),
        Term::once(
            "explained refusals",
            LOG_EXPLAINED_WAITING_MAX,
            EXPLAINED_BYTES_MAX + KIB,
        ),
        Term::once(
            "reports of refusals not noted",
            LOG_COUNTS_WAITING_MAX * REFUSAL_GROUPS_MAX,
            REFUSAL_GROUP_BYTES,
        ),
        Term::once("refusals kept", REFUSALS_KEPT_BYTES_MAX, 1),
        Term::once("groups of refusals", REFUSAL_GROUPS_KEPT_MAX, 5 * KIB),
        // With what it takes to keep lines of usual length.
        Term::once("log lines kept", LOG_BYTES_KEPT_MAX, 2),
    ]
}

/// Letters in all mailboxes together: their memory is taken as they come. Those about Alexa calls are as many as such
/// calls, on whichever shards.
fn letters(shards: usize) -> usize {
    let others = mailbox_open_places(shards)
        + calls_per_pair(shards) * shards
        + CHANGES_PER_SHARD_MAX
        + MAILBOX_CONTROL_PLACES;
    let about_calls = 2 * CALL_PLACES_PER_WAITING_CALL * waiting_calls_per_shard(shards);
    (others + about_calls) * shards
}

/// All bytes of the sum.
#[must_use]
pub fn bytes(settings: &Settings) -> usize {
    let terms = budget(settings);
    let bytes: usize = terms.iter().map(Term::total).sum();
    bytes.saturating_add(records(settings).total())
}

/// The memory that the process may have: the limit of its control group, or what the machine has if that is less.
/// `None` where neither is known.
#[must_use]
pub fn limit() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut lines = machine.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    let machine = kib.map(|kib| kib.saturating_mul(KIB));
    group_limit().into_iter().chain(machine).min()
}

/// Whether settings may take the place of those of the start, whose sum this is: not when theirs is larger, and above
/// the limit.
///
/// # Errors
/// Both sums, and what to do.
pub fn fits(settings: &Settings, start: usize, limit: Option<usize>) -> Result<(), String> {
    let (bytes, limit) = (bytes(settings), limit.unwrap_or(usize::MAX));
    if bytes <= start.max(limit) {
        return Ok(());
    }
    let [bytes, start, limit] = [bytes, start, limit].map(|bytes| bytes.div_ceil(MIB));
    Err(format!(
        "the process could then hold {bytes} MiB: allowed {limit} MiB, which is what its cgroup or the machine has, or \
         the {start} MiB of its start: lower [limits], or give it more memory and restart it"
    ))
}

/// One line for people.
#[must_use]
pub fn sum(terms: &[Term], records: &Term) -> String {
    let bytes: usize = terms.iter().map(Term::total).sum();
    format!(
        "at most {} MiB at these limits, {} MiB for records of channels, and {} KiB a connection",
        bytes.div_ceil(MIB),
        records.total().div_ceil(MIB),
        CONNECTION_BYTES / KIB
    )
}

// The sum against what the control group of the process may use.

/// The warning that the control group allows less than these terms and connections may take together; `None` where all
/// fits, or nothing is limited.
#[must_use]
pub fn shortage(limit: Option<usize>, terms: &[Term], connections: usize) -> Option<String> {
    let limit = limit?;
    let held: usize = terms.iter().map(Term::total).sum();
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

/// The bytes that the control group of this process may use; `None` where that is not limited.
#[must_use]
pub fn group_limit() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_below(Path::new("/sys/fs/cgroup"), &groups)
}

/// The least limit of the groups in `/proc/PID/cgroup` and of those around them, of either version of control groups.
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

/// Version 1 has a number near this in place of no limit.
const UNLIMITED: usize = 1 << 60;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A place in a mailbox: a letter and the queue's own mark.
const LETTER_BYTES: usize = size_of::<Post<Shard>>() + 8;

/// An offer of at most 10,000 bytes with its frame and its names, once at its channel; and a part of the names of calls
/// that ended.
const WAITING_CALL_BYTES: usize = 12 * KIB;

/// A device that waits, beside its connection: its caller, and its places in maps.
const WAKE_POLL_BYTES: usize = 384;

/// See [`broker_core::limits::SIGNING_KEYS_PER_SHARD_MAX`].
const SIGNING_KEY_BYTES: usize = 1536;

/// Of a connection of the admin listener: its task, socket and timers.
const ADMIN_TASK_BYTES: usize = 8 * KIB;

/// An event of a trace, with the name of a viewer where a master wrote it.
const TRACE_EVENT_BYTES: usize = 160;

/// A list that waits: two names with their account and region, and its places in maps.
const LIST_BYTES: usize = KIB;

/// See [`LOG_LINES_WAITING_MAX`].
const LOG_LINE_BYTES: usize = 1024;

const _: () = assert!(CHANGES_PER_SHARD_MAX <= store::limits::QUEUE_CHANGES_MAX);

#[cfg(test)]
mod tests;
