//! Limits of the log, of the admin listener and its event streams, and of hooks, each with its reason and the behaviour
//! when it is reached.

/// Maximum number of entries and lines queued for the log thread: 3 MiB at about 500 bytes each. Further ones are
/// dropped and counted in `heliograph_log_dropped_total`.
pub(crate) const LOG_LINES_WAITING_MAX: usize = 6144;

/// Maximum number of refusals queued for the log thread with the data of their signature check, about 2 KiB each. Above
/// it, the data is omitted.
pub(crate) const LOG_EXPLAINED_WAITING_MAX: usize = 1024;

/// Maximum number of reports queued for the log thread that count unrecorded refusals by subject. Above it, only the
/// total is reported.
pub(crate) const LOG_COUNTS_WAITING_MAX: usize = 16;

/// Maximum number of refusals kept in memory for `/refusals`, about 500 bytes each without the data of their signature
/// check. Above it, the oldest refusal of the network with the most refusals is evicted.
pub(crate) const REFUSALS_KEPT_MAX: usize = 4096;

/// Maximum total size of the refusals kept for `/refusals`, in bytes. Above it, refusals are evicted as for
/// `REFUSALS_KEPT_MAX`.
pub(crate) const REFUSALS_KEPT_BYTES_MAX: usize = 8 << 20;

/// Maximum number of groups of refusals (one check of one channel or key) that are counted separately, about 1 KiB each
/// and at most 5 KiB. Above it, the least active group of the check with the most groups is merged into that check's
/// other refusals.
pub(crate) const REFUSAL_GROUPS_KEPT_MAX: usize = 512;

/// Maximum number of audit entries for completed changes and of reservations for changes in progress, in addition to
/// [`LOG_LINES_WAITING_MAX`]: 0.6 MiB, shared among accounts; a single account may use half. When an account has used
/// up its share, or stderr fails, changes are refused with 503 and counted (`heliograph_audit_refused_total`), so that
/// no change goes unrecorded.
pub(crate) const LOG_AUDITS_WAITING_MAX: usize = 2048;

/// Maximum number of concurrent event streams of the admin listener, enough for the screens of a team. Further ones get
/// 503.
pub(crate) const STREAMS_MAX: usize = 32;

/// Maximum number of channels watched by all streams together. The shard of each is queried once a second. Further ones
/// get 503.
pub(crate) const WATCHED_CHANNELS_MAX: usize = 16;

/// Maximum number of topics per stream: all that exist, plus the channels of several browser tabs that share the
/// stream.
pub(crate) const TOPICS_MAX: usize = 16;

/// Maximum number of events that a feed keeps for slow streams. A stream that falls further behind loses the oldest
/// events, and then gets their number and the topic's current state. A feed of states keeps only the newest state.
pub(crate) const FEED_EVENTS_WAITING_MAX: usize = 256;

pub(crate) const FEED_BYTES_WAITING_MAX: usize = 640 * 1024;

/// Number of feeds in which newer events do not supersede older ones: the log, and refusals.
pub(crate) const FEEDS_OF_EVENTS: usize = 2;

/// Maximum number of channel states queued for streams of the topic `presence`. If the queue is full, the shard reports
/// the current state later.
pub(crate) const STATES_TOLD_WAITING_MAX: usize = 256;

/// Maximum number of channels whose newest state is queued for a stream of the topic `presence`. Above it, the oldest
/// is evicted, and the stream reads all states again.
pub(crate) const STATES_WAITING_MAX: usize = 1024;
pub(crate) const STATES_BYTES_WAITING_MAX: usize = 512 * 1024;

/// Maximum size of an event in bytes. Lists in an event are truncated to fit; a channel with several thousand viewers
/// reaches this size, and the history of an hour takes 160 KiB.
pub(crate) const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Maximum number of bytes of an event passed to a stream's connection at once.
pub(crate) const EVENT_PIECE_BYTES: usize = 16 * 1024;

/// Maximum number of refusals sent at the start of a stream. Older ones are omitted.
pub(crate) const REFUSALS_SHOWN_MAX: usize = 200;

/// Maximum number of events of a topic per second. Further ones are counted and reported in one event.
pub(crate) const FEED_EVENTS_PER_SECOND: u32 = 200;

/// Maximum size of the log lines kept for `GET /log` in bytes, including overhead: about 20,000 lines. The oldest are
/// evicted.
pub(crate) const LOG_BYTES_KEPT_MAX: usize = 4 << 20;

/// Maximum size in bytes of warnings and errors that are kept in addition, so that a flood of other lines cannot evict
/// them.
pub(crate) const LOG_WARNINGS_BYTES_KEPT_MAX: usize = 1 << 20;

/// Maximum number of log lines sent at the start of a stream. Older ones are omitted.
pub(crate) const LOG_LINES_SHOWN_MAX: usize = 2000;

pub(crate) const LOG_LINES_ANSWERED_MAX: usize = 1000;

/// Maximum number of events read for a response, equal to the default capacity of the ring. One trace is read at a
/// time.
pub(crate) const TRACE_EVENTS_MAX: usize = 65_536;

/// Maximum number of events read to make suggestions about an ended session: the newest events of the channel.
pub(crate) const SUGGESTING_EVENTS_MAX: usize = 512;

/// Maximum number of troubled sessions kept for the overview, about 1 KiB each. Above it, the oldest is evicted.
pub(crate) const TROUBLED_KEPT_MAX: usize = 512;

/// Maximum number of troubled sessions per channel, so that one channel cannot evict all others. Above it, the
/// channel's oldest is evicted.
pub(crate) const TROUBLED_PER_CHANNEL_MAX: usize = 16;

/// Maximum number of channel roles whose takeovers or short connections are counted, about 200 bytes each. Above it,
/// the least recently active is evicted.
pub(crate) const REPEATS_WATCHED_MAX: usize = 256;

/// Maximum number of troubled sessions shown on pages. Older ones are omitted.
pub(crate) const TROUBLED_SHOWN_MAX: usize = 50;

/// Maximum number of traces read per second to explain troubled sessions. Each takes a few tenths of a millisecond on
/// its shard. Further sessions wait, and their events may be overwritten in the meantime.
pub(crate) const TROUBLED_TRACED_PER_SECOND: usize = 4;

/// Maximum number of problem causes listed at a time. Above it, the newest cause of the account with the most causes is
/// evicted.
pub(crate) const PROBLEMS_KEPT_MAX: usize = 1000;

/// Maximum number of members kept per cause. Of further members, only the channels are counted.
pub(crate) const PROBLEM_MEMBERS_MAX: usize = 256;

/// Maximum total size of causes and members in bytes: with names of typical length, about 5,000 members, or 40,000
/// additional channels that are only counted. Above it, causes are evicted as for `PROBLEMS_KEPT_MAX`.
pub(crate) const PROBLEMS_BYTES_MAX: usize = 2 << 20;

/// Maximum number of members of causes that are checked for a reconnect per second. Each check sends a letter to the
/// shard of the member's channel. Further members are checked later.
pub(crate) const PROBLEM_LOOKS_PER_SECOND: usize = 32;

/// Maximum number of causes in the overview and in the response to a page.
pub(crate) const PROBLEMS_SHOWN_MAX: usize = 50;

/// Maximum number of problems passed to the history in one step. The history's queue holds more, and a flood of
/// problems is written within minutes.
pub(crate) const PROBLEMS_RECORDED_AT_ONCE: usize = 32;

pub(crate) const PROBLEM_MEMBERS_SHOWN: usize = 5;

pub(crate) const PROBLEM_WHY_CHARS_MAX: usize = 256;

/// Maximum number of concurrent connections to the admin listener, without event streams. Above it, the oldest
/// connection of the address with the most connections is closed.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 128;

/// Maximum number of admin connections if the process is limited to fewer than [`ADMIN_FILES_MIN`] descriptors, so that
/// enough remain for clients.
pub(crate) const ADMIN_CONNECTIONS_FEW: usize = 24;

/// Limit on open files below which [`ADMIN_CONNECTIONS_FEW`] applies.
pub(crate) const ADMIN_FILES_MIN: usize = 4096;

/// Maximum number of descriptors of evicted connections that are still closing. Above it, new connections to the admin
/// listener wait in the backlog, and new connections from the local network get 503.
pub(crate) const LEAVING_MAX: usize = 8;

/// Maximum number of page connections from the local network under `--lan`, per process: enough for several phones.
/// Above it, a new connection evicts one of the address with the most connections; new connections of that address
/// itself get 503.
pub(crate) const LAN_CONNECTIONS_MAX: usize = 64;

/// Maximum number of sign-ins in progress, about 700 bytes each. Above it, the oldest sign-in of the address with the
/// most is evicted.
pub(crate) const CONSOLE_SIGN_INS_MAX: usize = 1024;

/// Maximum number of account sessions, about 1 KiB each. Above it, the oldest is evicted.
pub(crate) const CONSOLE_SESSIONS_MAX: usize = 256;

/// Maximum number of sessions per account, so that one account cannot evict others. Above it, the account's oldest is
/// evicted.
pub(crate) const CONSOLE_SESSIONS_OF_ACCOUNT_MAX: usize = 16;

/// Maximum number of authorization codes being exchanged at the provider. Further sign-ins get 503.
pub(crate) const CONSOLE_EXCHANGES_MAX: usize = 4;

/// Maximum number of valid pairing codes: one per press of the button within five minutes. Above it, the oldest is
/// evicted.
pub(crate) const PAIR_CODES_MAX: usize = 16;

/// Maximum number of paired devices. Above it, the device that was paired first is evicted.
pub(crate) const PAIR_SESSIONS_MAX: usize = 64;

/// Maximum size of a request's head on the admin listener, in bytes. Longer heads get 431.
pub(crate) const ADMIN_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Maximum total size of the documents in one `POST /import`, in bytes: enough for a thousand channels with a few tags
/// each. Only one such request is held in memory at a time.
pub(crate) const IMPORT_BODY_BYTES_MAX: usize = 1 << 20;

/// Maximum size of a request's body on the admin listener, in bytes. Longer bodies get 413.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of bytes of responses and events that peers have not read, over all connections of the admin
/// listener. Above it, the connection that has waited longest for its peer is closed.
pub(crate) const ADMIN_UNREAD_BYTES_MAX: usize = 16 << 20;

/// Maximum size of a request for a `/try` session, in bytes: a channel name and a client id of 256 characters each,
/// with a margin.
pub(crate) const TRY_SESSION_BODY_BYTES_MAX: usize = 4096;

/// Maximum size of an event accepted by `/try/wake`, in bytes: 16 waiting viewers with client ids of 256 characters,
/// with a margin.
pub(crate) const TRY_WAKE_BODY_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of wake calls for `/try` cameras queued for a slow page. Above it, the oldest are dropped, and the
/// hook calls again.
pub(crate) const TRY_WAKES_KEPT: usize = 64;

/// Maximum time in seconds that a page waits for a wake call before it polls again.
pub(crate) const TRY_WAKE_WAIT_S: u64 = 25;

/// Maximum number of `/try` sessions issued per minute. A page needs two, each valid for a quarter of an hour.
pub(crate) const TRY_SESSIONS_PER_MINUTE: usize = 5;

/// Maximum number of channel states queued for the courier of hooks, about 500 bytes each and at most 5 KiB. If the
/// queue is full, the shard reports the current state later.
pub(crate) const PRESENCES_WAITING_MAX: usize = 4096;

/// Maximum number of channels with queued events in each half (wake calls, states) of a hook's capacity. Each counts as
/// at least an equal share of [`HOOK_BYTES_MAX`].
pub(crate) const HOOK_WAITING_MAX: usize = 16_384;

/// Maximum total size of the queued events in one half of a hook's capacity, in bytes. Above it, events of the account
/// with the most bytes are evicted, and a notice asks the receiver to read all states again.
pub(crate) const HOOK_BYTES_MAX: usize = 8 << 20;

/// Maximum number of concurrent requests to one hook, half of which may be wake calls. Other due requests wait.
pub(crate) const HOOK_FLIGHTS_MAX: usize = 16;

/// Minimum time between two states of a channel sent to a hook, in milliseconds. The newest state covers changes in
/// between. A client that connects in a loop therefore causes at most one request per second to a receiver.
pub(crate) const HOOK_STATES_APART_MS: u64 = 1_000;

/// Number of consecutive failures after which a hook gets one request at a time, until one succeeds.
pub(crate) const HOOK_FAILURES_MAX: u32 = 20;

/// Maximum delay that a receiver may request with `Retry-After`, in milliseconds. Without the header, the delay is at
/// most half as long.
pub(crate) const HOOK_RETRY_MS_MAX: u64 = 60_000;

/// Maximum number of bytes of a receiver's response that are read and discarded. A longer response closes its
/// connection.
pub(crate) const HOOK_ANSWER_BYTES_MAX: usize = 4096;

/// Maximum number of concurrent DNS lookups for a hook's receiver or for a provider. Each occupies a thread of the
/// system's resolver, which may hang. Further lookups wait.
pub(crate) const LOOKUPS_MAX: usize = 2;

/// Maximum number of channels that are being called or were called within the last hour, about 500 bytes each. Above
/// it, a channel of the account with the most channels is evicted, or the new channel is not called.
pub(crate) const WAKE_CHANNELS_MAX: usize = 65_536;

pub(crate) const WAKES_PER_HOUR: u32 = 30;

pub(crate) const WAKES_OF_CALLER_PER_HOUR: u32 = 10;

/// Maximum number of callers per channel that are counted separately. Further callers cannot cause a call in that hour.
pub(crate) const WAKE_CALLERS_MAX: usize = WAKES_PER_HOUR as usize;

/// Maximum length of the text in `POST /forget`, in bytes. A provider's subject may have 255 characters.
pub(crate) const FORGET_BYTES_MAX: usize = 2048;

/// Maximum number of marks that the history keeps, 1 MiB: about 130 a day for a month. Above it, the oldest is evicted.
pub(crate) const HISTORY_MARKS_MAX: usize = 4096;

/// Maximum number of resolved causes that the history keeps, 4 MiB. Above it, the oldest cause of the account with the
/// most causes is evicted.
pub(crate) const HISTORY_CAUSES_MAX: usize = 4096;

/// Maximum number of rows in a `/history` response. Above it, adjacent rows are merged.
pub(crate) const HISTORY_ROWS_SHOWN_MAX: usize = 2000;

/// Maximum number of marks, and of causes, in a response. Older ones are omitted.
pub(crate) const HISTORY_MARKS_SHOWN_MAX: usize = 500;
pub(crate) const HISTORY_CAUSES_SHOWN_MAX: usize = 250;

/// Maximum number of rows and notes queued for the history's thread, up to 2 KiB each. Further ones are lost. The queue
/// fills only if the disk hangs.
pub(crate) const HISTORY_JOBS_WAITING_MAX: usize = 64;

/// Maximum number of notes waiting for space on a full disk. Further notes are lost.
pub(crate) const HISTORY_NOTES_WAITING_MAX: usize = 64;

/// Maximum total size of the history's two files, or of its memory if it is not on disk, in bytes.
pub(crate) const HISTORY_BYTES: usize = 6 << 20;
