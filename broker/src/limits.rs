//! Limits of the log, of the admin listener and its event streams, and of hooks, with the reason for each and the
//! behavior when it is reached.

/// Maximum number of entries and lines queued for the log thread. At about 500 bytes each, they take 3 MiB. Beyond
/// that, further ones are dropped and counted in `heliograph_log_dropped_total`.
pub(crate) const LOG_LINES_WAITING_MAX: usize = 6144;

/// Maximum number of refusals queued for the log thread with the data of their signature check, about 2 KiB each.
/// Beyond that, refusals are queued without this data.
pub(crate) const LOG_EXPLAINED_WAITING_MAX: usize = 1024;

/// Maximum number of queued reports that tell the log thread about refusals that were counted by subject but not
/// recorded. Beyond that, only the total is reported.
pub(crate) const LOG_COUNTS_WAITING_MAX: usize = 16;

/// Maximum number of refusals kept in memory for `/refusals`. Each one takes about 500 bytes, not including the data of
/// its signature check. Beyond that, the oldest refusal of the network with the most refusals is evicted.
pub(crate) const REFUSALS_KEPT_MAX: usize = 4096;

/// Maximum total size of the refusals kept for `/refusals`, in bytes. Beyond that, refusals are evicted as for
/// `REFUSALS_KEPT_MAX`.
pub(crate) const REFUSALS_KEPT_BYTES_MAX: usize = 8 << 20;

/// Maximum number of refusal groups with separate counts. A group consists of one check's refusals for one channel or
/// key, and takes about 1 KiB, at most 5 KiB. Beyond that, the least active group of the check with the most groups is
/// merged with that check's other refusals.
pub(crate) const REFUSAL_GROUPS_KEPT_MAX: usize = 512;

/// Maximum number of audit entries, in addition to [`LOG_LINES_WAITING_MAX`]. Includes entries for completed changes
/// and reservations for changes in progress, and takes 0.6 MiB. The accounts share these entries, and a single account
/// may use half of them. If an account has used up its share, or if stderr fails, changes are refused with 503 and
/// counted (`heliograph_audit_refused_total`). No change therefore goes unrecorded.
pub(crate) const LOG_AUDITS_WAITING_MAX: usize = 2048;

/// Maximum number of concurrent event streams on the admin listener. Enough for the screens of a team. Further streams
/// are refused with 503.
pub(crate) const STREAMS_MAX: usize = 32;

/// Maximum number of channels watched by all event streams together. Once a second, each channel's shard is queried.
/// Requests for further channels are refused with 503.
pub(crate) const WATCHED_CHANNELS_MAX: usize = 16;

/// Maximum number of topics per stream. Enough for all existing topics, plus the channels of several browser tabs that
/// share the stream.
pub(crate) const TOPICS_MAX: usize = 16;

/// Maximum number of events that a feed keeps for slow streams. A stream that falls further behind loses the oldest
/// events. It is then told how many events it lost, and gets the topic's current state. A feed of states keeps only the
/// newest state.
pub(crate) const FEED_EVENTS_WAITING_MAX: usize = 256;

pub(crate) const FEED_BYTES_WAITING_MAX: usize = 640 * 1024;

/// Number of feeds in which newer events do not supersede older ones: the log feed and the refusal feed.
pub(crate) const FEEDS_OF_EVENTS: usize = 2;

/// Maximum number of channel states queued for streams of the topic `presence`. If the queue is full, the shard reports
/// the current state later.
pub(crate) const STATES_TOLD_WAITING_MAX: usize = 256;

/// Maximum number of channels whose newest state is queued for a stream of the topic `presence`. Beyond that, the
/// oldest state is evicted, and the stream reads all states again.
pub(crate) const STATES_WAITING_MAX: usize = 1024;
pub(crate) const STATES_BYTES_WAITING_MAX: usize = 512 * 1024;

/// Maximum event size in bytes. Lists in an event are truncated to fit. A channel with several thousand viewers reaches
/// this size. An hour's history takes 160 KiB.
pub(crate) const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Maximum number of bytes written to a stream's connection at once. Larger events are written in pieces.
pub(crate) const EVENT_PIECE_BYTES: usize = 16 * 1024;

/// Maximum number of refusals sent at the start of a stream. Older ones are omitted.
pub(crate) const REFUSALS_SHOWN_MAX: usize = 200;

/// Maximum number of events per topic and second. Further events are counted, and their number is reported in a single
/// event.
pub(crate) const FEED_EVENTS_PER_SECOND: u32 = 200;

/// Maximum total size, in bytes, of the log lines kept for `GET /log`, including overhead. Enough for about 20,000
/// lines. Beyond that, the oldest lines are evicted.
pub(crate) const LOG_BYTES_KEPT_MAX: usize = 4 << 20;

/// Maximum total size, in bytes, of warnings and errors. They are kept separately, so that a flood of other lines
/// cannot evict them.
pub(crate) const LOG_WARNINGS_BYTES_KEPT_MAX: usize = 1 << 20;

/// Maximum number of log lines sent at the start of a stream. Older lines are omitted.
pub(crate) const LOG_LINES_SHOWN_MAX: usize = 2000;

pub(crate) const LOG_LINES_ANSWERED_MAX: usize = 1000;

/// Maximum number of events read for a response that contains a trace. Equals the default capacity of the flight
/// recorder's ring. Only one trace is read at a time.
pub(crate) const TRACE_EVENTS_MAX: usize = 65_536;

/// Maximum number of events read in order to make suggestions about a closed session. These are the newest events of
/// the session's channel.
pub(crate) const SUGGESTING_EVENTS_MAX: usize = 512;

/// Maximum number of problematic sessions kept for the overview, about 1 KiB each. Beyond that, the oldest one is
/// evicted.
pub(crate) const TROUBLED_KEPT_MAX: usize = 512;

/// Maximum number of problematic sessions per channel, so that one channel cannot evict all others. Beyond that, the
/// channel's oldest one is evicted.
pub(crate) const TROUBLED_PER_CHANNEL_MAX: usize = 16;

/// Maximum number of channel roles whose takeovers or short connections are counted, about 200 bytes each. Beyond that,
/// the least recently active role is evicted.
pub(crate) const REPEATS_WATCHED_MAX: usize = 256;

/// Maximum number of problematic sessions shown on pages. Older ones are omitted.
pub(crate) const TROUBLED_SHOWN_MAX: usize = 50;

/// Maximum number of traces read per second to explain problematic sessions. Each one takes a few tenths of a
/// millisecond on its shard. Further sessions wait, and their events may be overwritten in the meantime.
pub(crate) const TROUBLED_TRACED_PER_SECOND: usize = 4;

/// Maximum number of problem causes listed at the same time. Beyond that, the newest cause of the account with the most
/// causes is evicted.
pub(crate) const PROBLEMS_KEPT_MAX: usize = 1000;

/// Maximum number of members kept per problem cause. For further members, only their channels are counted.
pub(crate) const PROBLEM_MEMBERS_MAX: usize = 256;

/// Maximum total size of problem causes and their members in bytes. With names of typical length, this is enough for
/// about 5,000 members, or for 40,000 additional channels that are only counted. Beyond that, causes are evicted as for
/// `PROBLEMS_KEPT_MAX`.
pub(crate) const PROBLEMS_BYTES_MAX: usize = 2 << 20;

/// Maximum number of problem cause members that are checked for reconnection per second. Each check sends a message to
/// the shard of the member's channel. Further members are checked later.
pub(crate) const PROBLEM_LOOKS_PER_SECOND: usize = 32;

/// Maximum number of problem causes in the overview. `GET /problems` also returns this many by default.
pub(crate) const PROBLEMS_SHOWN_MAX: usize = 50;

/// Maximum number of problems passed to the history in one step. The history's queue has room for more, and even a
/// flood of problems is written within minutes.
pub(crate) const PROBLEMS_RECORDED_AT_ONCE: usize = 32;

pub(crate) const PROBLEM_MEMBERS_SHOWN: usize = 5;

pub(crate) const PROBLEM_WHY_CHARS_MAX: usize = 256;

/// Maximum number of concurrent connections to the admin listener, not counting event streams. Beyond that, the oldest
/// connection from the address with the most connections is closed.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 128;

/// Maximum number of admin connections if the process may have fewer than [`ADMIN_FILES_MIN`] descriptors. The other
/// descriptors are left for clients.
pub(crate) const ADMIN_CONNECTIONS_FEW: usize = 24;

/// Open-files limit below which [`ADMIN_CONNECTIONS_FEW`] applies.
pub(crate) const ADMIN_FILES_MIN: usize = 4096;

/// Maximum number of evicted connections that have not closed their descriptors yet. Beyond that, new connections to
/// the admin listener wait in the backlog, and new connections from the local network get 503.
pub(crate) const LEAVING_MAX: usize = 8;

/// Maximum number of connections per process from the local network to pages under `--lan`. Enough for several phones.
/// Beyond that, a new connection evicts one from the address with the most connections, or gets 503 if it comes from
/// that address itself.
pub(crate) const LAN_CONNECTIONS_MAX: usize = 64;

/// Maximum number of sign-ins in progress, about 700 bytes each. Beyond that, the oldest one from the address with the
/// most sign-ins is evicted.
pub(crate) const CONSOLE_SIGN_INS_MAX: usize = 1024;

/// Maximum number of account sessions, about 1 KiB each. Beyond that, the oldest session is evicted.
pub(crate) const CONSOLE_SESSIONS_MAX: usize = 256;

/// Maximum number of sessions per account, so that one account cannot evict others. Beyond that, the account's oldest
/// session is evicted.
pub(crate) const CONSOLE_SESSIONS_OF_ACCOUNT_MAX: usize = 16;

/// Maximum number of authorization codes being exchanged at the provider. Further sign-ins get 503.
pub(crate) const CONSOLE_EXCHANGES_MAX: usize = 4;

/// Maximum number of valid pairing codes. Each click on the pairing button creates a code that is valid for five
/// minutes. Beyond that, the oldest code is evicted.
pub(crate) const PAIR_CODES_MAX: usize = 16;

/// Maximum number of paired devices. Beyond that, the device that was paired first is evicted.
pub(crate) const PAIR_SESSIONS_MAX: usize = 64;

/// Maximum request head size on the admin listener, in bytes. Longer heads get 431.
pub(crate) const ADMIN_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Maximum total size of the documents in one `POST /import`, in bytes. Enough for a thousand channels with a few tags
/// each. Only one such request is held in memory at a time.
pub(crate) const IMPORT_BODY_BYTES_MAX: usize = 1 << 20;

/// Maximum request body size on the admin listener, in bytes. Longer bodies get 413.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of response and event bytes that peers have not read, over all connections to the admin listener.
/// Beyond that, the connection that has waited longest for its peer is closed.
pub(crate) const ADMIN_UNREAD_BYTES_MAX: usize = 16 << 20;

/// Maximum size of a request for a `/try` session, in bytes. Enough for a channel name and a client id of 256
/// characters each, with a margin.
pub(crate) const TRY_SESSION_BODY_BYTES_MAX: usize = 4096;

/// Maximum size of an event that `/try/wake` accepts, in bytes. Enough for 16 waiting viewers with client ids of 256
/// characters, with a margin.
pub(crate) const TRY_WAKE_BODY_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of wake calls for `/try` cameras that are queued for a slow page. Beyond that, the oldest calls are
/// dropped, and the hook repeats them later.
pub(crate) const TRY_WAKES_KEPT: usize = 64;

/// Maximum time that a page waits for a wake call before it polls again, in seconds.
pub(crate) const TRY_WAKE_WAIT_S: u64 = 25;

/// Maximum number of `/try` sessions issued per minute. A page needs two. Each one is valid for a quarter of an hour.
pub(crate) const TRY_SESSIONS_PER_MINUTE: usize = 5;

/// Maximum number of channel states queued for delivery to hooks, about 500 bytes each and at most 5 KiB. If the queue
/// is full, the shard reports the current state later.
pub(crate) const PRESENCES_WAITING_MAX: usize = 4096;

/// Maximum number of channels with queued events in each half of a hook's queue. One half is for wake calls, and the
/// other for states. Each channel counts for at least an equal share of [`HOOK_BYTES_MAX`].
pub(crate) const HOOK_WAITING_MAX: usize = 16_384;

/// Maximum total size of the events in one half of a hook's queue, in bytes. Beyond that, events of the account with
/// the most bytes are evicted, and the next event asks the receiver to read all states again.
pub(crate) const HOOK_BYTES_MAX: usize = 8 << 20;

/// Maximum number of concurrent requests to a hook. Up to half of them may be wake calls. Further requests wait.
pub(crate) const HOOK_FLIGHTS_MAX: usize = 16;

/// Minimum time in milliseconds between two states of the same channel that are sent to a hook. The newest state covers
/// any changes in between. Even a client that connects in a loop therefore causes at most one request per second.
pub(crate) const HOOK_STATES_APART_MS: u64 = 1_000;

/// Number of consecutive failures after which a hook gets only one request at a time, until a request succeeds.
pub(crate) const HOOK_FAILURES_MAX: u32 = 20;

/// Maximum delay that a receiver may request with `Retry-After`, in milliseconds. Without this header, the delay is at
/// most half as long.
pub(crate) const HOOK_RETRY_MS_MAX: u64 = 60_000;

/// Maximum number of bytes to read and discard from a receiver's response. If there are more, the connection is closed.
pub(crate) const HOOK_ANSWER_BYTES_MAX: usize = 4096;

/// Maximum number of concurrent DNS lookups for a hook's receiver or for a provider. Each lookup occupies a thread,
/// which hangs if the system's resolver hangs. Further lookups wait.
pub(crate) const LOOKUPS_MAX: usize = 2;

/// Maximum number of channels whose master is being woken or was woken within the last hour, about 500 bytes each.
/// Beyond that, a channel of the account with the most channels is evicted, or the new channel gets no wake call.
pub(crate) const WAKE_CHANNELS_MAX: usize = 65_536;

pub(crate) const WAKES_PER_HOUR: u32 = 30;

pub(crate) const WAKES_OF_CALLER_PER_HOUR: u32 = 10;

/// Maximum number of callers per channel and hour that are counted separately. Further callers cannot cause a wake call
/// in that hour.
pub(crate) const WAKE_CALLERS_MAX: usize = WAKES_PER_HOUR as usize;

/// Maximum length of the text in `POST /forget`, in bytes. An account's subject, which comes from a provider, may have
/// 255 characters.
pub(crate) const FORGET_BYTES_MAX: usize = 2048;

/// Maximum number of marks (events such as a start or a reload) in the history. They take 1 MiB, and are enough for
/// about 130 a day for a month. Beyond that, the oldest mark is evicted.
pub(crate) const HISTORY_MARKS_MAX: usize = 4096;

/// Maximum number of resolved causes in the history. They take 4 MiB. Beyond that, the oldest cause of the account with
/// the most causes is evicted.
pub(crate) const HISTORY_CAUSES_MAX: usize = 4096;

/// Maximum number of rows in a `/history` response. Beyond that, adjacent rows are merged.
pub(crate) const HISTORY_ROWS_SHOWN_MAX: usize = 2000;

/// Maximum number of marks in a `/history` response. Older marks are omitted. `HISTORY_CAUSES_SHOWN_MAX` limits causes
/// in the same way.
pub(crate) const HISTORY_MARKS_SHOWN_MAX: usize = 500;
pub(crate) const HISTORY_CAUSES_SHOWN_MAX: usize = 250;

/// Maximum number of rows and notes queued for the thread that writes the history, up to 2 KiB each. When the queue is
/// full, further ones are lost. It fills up only if the disk hangs.
pub(crate) const HISTORY_JOBS_WAITING_MAX: usize = 64;

/// Maximum number of notes (marks and causes) that wait for space on a full disk. Further notes are lost.
pub(crate) const HISTORY_NOTES_WAITING_MAX: usize = 64;

/// Maximum total size of the history's two files in bytes, or of the history in memory if it is not on disk.
pub(crate) const HISTORY_BYTES: usize = 6 << 20;
