//! Limits of the log, the admin listener and its event streams, and hooks, each with its reason and the effect of
//! reaching it.

/// Maximum number of entries and lines queued for the log thread: 3 MiB at about 500 bytes each. Further ones are
/// dropped and counted: `heliograph_log_dropped_total`.
pub(crate) const LOG_LINES_WAITING_MAX: usize = 6144;

/// Maximum number of refusals queued for the log thread with the data their signature was compared with, about 2 KiB
/// each; beyond it, that part is omitted.
pub(crate) const LOG_EXPLAINED_WAITING_MAX: usize = 1024;

/// Maximum number of queued reports to the log thread about unrecorded refusals, by subject; beyond it, only the total
/// is reported.
pub(crate) const LOG_COUNTS_WAITING_MAX: usize = 16;

/// Maximum number of refusals kept in memory for `/refusals`, about 500 bytes each without the data their signature was
/// compared with. Beyond it, the oldest refusal of the network with the most refusals is evicted.
pub(crate) const REFUSALS_KEPT_MAX: usize = 4096;

/// Maximum size of the refusals kept for `/refusals`, in bytes. Beyond it, refusals are evicted as for
/// `REFUSALS_KEPT_MAX`.
pub(crate) const REFUSALS_KEPT_BYTES_MAX: usize = 8 << 20;

/// Maximum number of groups of refusals (one check of one channel or key) that are counted separately, about 1 KiB each
/// and at most 5 KiB. Beyond it, the least active group of the check with the most groups is merged into that check's
/// other refusals.
pub(crate) const REFUSAL_GROUPS_KEPT_MAX: usize = 512;

/// Maximum number of audit entries of completed changes, and reservations for changes in progress, in addition to
/// [`LOG_LINES_WAITING_MAX`]: 0.6 MiB, shared by account; a single account may use half. When an account has used up
/// its share, or stderr fails, changes are refused with 503 and counted (`heliograph_audit_refused_total`), so that no
/// change goes unrecorded.
pub(crate) const LOG_AUDITS_WAITING_MAX: usize = 2048;

/// Maximum number of concurrent event streams of the admin listener; enough for the screens of a team. Further ones get
/// 503.
pub(crate) const STREAMS_MAX: usize = 32;

/// Maximum number of channels watched by all streams together: each is queried once a second on its shard. Further ones
/// get 503.
pub(crate) const WATCHED_CHANNELS_MAX: usize = 16;

/// Maximum number of topics per stream: all existing ones, with the channels of some browser tabs sharing a stream.
pub(crate) const TOPICS_MAX: usize = 16;

/// Maximum number of events of a feed kept for slow streams. A stream that falls further behind loses the oldest
/// events, is informed of their number, and receives the state of its topic again. A feed of states keeps only the
/// newest one.
pub(crate) const FEED_EVENTS_WAITING_MAX: usize = 256;

/// Maximum size of the events of a feed kept for slow streams, in bytes.
pub(crate) const FEED_BYTES_WAITING_MAX: usize = 640 * 1024;

/// Number of feeds without superseded events: the log, and refusals.
pub(crate) const FEEDS_OF_EVENTS: usize = 2;

/// Maximum number of channel states queued for streams of the topic `presence`. If the queue is full, a shard reports
/// the then current state later.
pub(crate) const STATES_TOLD_WAITING_MAX: usize = 256;

/// Maximum number of channels whose newest state is queued for a stream of the topic `presence`, with their bytes.
/// Beyond it, the oldest is evicted, and a stream that missed it rereads all states.
pub(crate) const STATES_WAITING_MAX: usize = 1024;
pub(crate) const STATES_BYTES_WAITING_MAX: usize = 512 * 1024;

/// Maximum size of an event in bytes. Lists in it are truncated to fit; a channel with some thousand viewers takes as
/// much, and the history of an hour 160 KiB.
pub(crate) const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Maximum number of bytes of an event passed to a stream's connection at once.
pub(crate) const EVENT_PIECE_BYTES: usize = 16 * 1024;

/// Maximum number of refusals, the newest ones, sent at the start of a stream.
pub(crate) const REFUSALS_SHOWN_MAX: usize = 200;

/// Maximum number of events of a topic per second. Further ones are counted and reported as one.
pub(crate) const FEED_EVENTS_PER_SECOND: u32 = 200;

/// Maximum size of the last log lines kept for `GET /log`, including overhead: about 20,000 lines. The oldest are
/// evicted.
pub(crate) const LOG_BYTES_KEPT_MAX: usize = 4 << 20;

/// Maximum size of warnings and errors kept in addition, so that a flood of other lines cannot evict them.
pub(crate) const LOG_WARNINGS_BYTES_KEPT_MAX: usize = 1 << 20;

/// Maximum number of log lines, the newest ones, sent at the start of a stream.
pub(crate) const LOG_LINES_SHOWN_MAX: usize = 2000;

/// Maximum number of lines in a response to `GET /log`.
pub(crate) const LOG_LINES_ANSWERED_MAX: usize = 1000;

/// Maximum number of events read for a response: the capacity of the default ring. Only one trace is read at a time.
pub(crate) const TRACE_EVENTS_MAX: usize = 65_536;

/// Maximum number of events, the newest of the channel, read for the suggestions about a session that has just ended.
pub(crate) const SUGGESTING_EVENTS_MAX: usize = 512;

/// Maximum number of troubled sessions kept for the overview, about 1 KiB each. The oldest is evicted.
pub(crate) const TROUBLED_KEPT_MAX: usize = 512;

/// Maximum number of troubled sessions per channel, so that one channel cannot evict all others; its oldest is evicted.
pub(crate) const TROUBLED_PER_CHANNEL_MAX: usize = 16;

/// Maximum number of roles of channels whose takeovers or short connections are counted, about 200 bytes each: the one
/// inactive for longest is evicted.
pub(crate) const REPEATS_WATCHED_MAX: usize = 256;

/// Maximum number of troubled sessions, the newest ones, shown on pages.
pub(crate) const TROUBLED_SHOWN_MAX: usize = 50;

/// Maximum number of traces read per second to explain troubled sessions, each taking some tenths of a millisecond of
/// its shard. Further ones wait; their notes may be overwritten in the meantime.
pub(crate) const TROUBLED_TRACED_PER_SECOND: usize = 4;

/// Maximum number of problem causes listed at a time. Beyond it, the newest cause of the account with the most causes
/// is evicted.
pub(crate) const PROBLEMS_KEPT_MAX: usize = 1000;

/// Maximum number of members kept per cause; of further ones only the channels are counted.
pub(crate) const PROBLEM_MEMBERS_MAX: usize = 256;

/// Maximum size of causes and members in bytes: with names of usual length about 5,000 members, or 40,000 additional
/// channels that are only counted. Beyond it, causes are evicted as for `PROBLEMS_KEPT_MAX`.
pub(crate) const PROBLEMS_BYTES_MAX: usize = 2 << 20;

/// Maximum number of members of causes per second whose channels are checked for having reconnected: a letter each to
/// the shard of the channel. Further ones are checked later.
pub(crate) const PROBLEM_LOOKS_PER_SECOND: usize = 32;

/// Maximum number of causes shown by the overview, and of causes a page may request.
pub(crate) const PROBLEMS_SHOWN_MAX: usize = 50;

/// Maximum number of problems passed to the history in a step: its queue holds more, and a flood of new ones is written
/// within minutes.
pub(crate) const PROBLEMS_RECORDED_AT_ONCE: usize = 32;

/// Maximum number of members of a cause shown in lists.
pub(crate) const PROBLEM_MEMBERS_SHOWN: usize = 5;

/// Maximum length of an operator's reason for a mark, in characters.
pub(crate) const PROBLEM_WHY_CHARS_MAX: usize = 256;

/// Maximum number of concurrent connections of the admin listener, except event streams. Beyond it, the oldest
/// connection of the address with the most connections is closed.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 128;

/// Maximum number of admin connections for a process limited to fewer than [`ADMIN_FILES_MIN`] descriptors, so that
/// enough remain for clients.
pub(crate) const ADMIN_CONNECTIONS_FEW: usize = 24;

/// Limit of open files below which [`ADMIN_CONNECTIONS_FEW`] applies.
pub(crate) const ADMIN_FILES_MIN: usize = 4096;

/// Maximum number of descriptors of evicted connections that are still closing. Further connections of the admin
/// listener wait in the backlog, those of the local network get 503.
pub(crate) const LEAVING_MAX: usize = 8;

/// Maximum number of connections from the local network for pages, under `--lan`, per process: some phones with a few
/// connections each. Beyond it, a connection of the address with the most connections is evicted to admit one from
/// another address; a newcomer from that address gets 503.
pub(crate) const LAN_CONNECTIONS_MAX: usize = 64;

/// Maximum number of account sign-ins in progress, about 700 bytes each. Beyond it, the oldest one of the address with
/// the most sign-ins is evicted.
pub(crate) const CONSOLE_SIGN_INS_MAX: usize = 1024;

/// Maximum number of sessions of accounts, about 1 KiB each. The oldest is evicted.
pub(crate) const CONSOLE_SESSIONS_MAX: usize = 256;

/// Maximum number of sessions per account, whose oldest is evicted, so that one account cannot evict others.
pub(crate) const CONSOLE_SESSIONS_OF_ACCOUNT_MAX: usize = 16;

/// Maximum number of codes being exchanged at the provider. Further ones get 503.
pub(crate) const CONSOLE_EXCHANGES_MAX: usize = 4;

/// Maximum number of valid pairing codes: one for each press of a button in five minutes. The oldest is evicted.
pub(crate) const PAIR_CODES_MAX: usize = 16;

/// Maximum number of paired devices. The one paired first is evicted.
pub(crate) const PAIR_SESSIONS_MAX: usize = 64;

/// Maximum size of a request's head on the admin listener, in bytes. Longer ones get 431.
pub(crate) const ADMIN_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Maximum size of the documents of one `POST /import`, in bytes: a thousand channels with some tags. Only one such
/// request is held at a time.
pub(crate) const IMPORT_BODY_BYTES_MAX: usize = 1 << 20;

/// Maximum size of a request's body on the admin listener, in bytes. Longer ones get 413.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of unread response and event bytes on all connections of the admin listener. Beyond it, the
/// connection that has waited longest for its peer is closed.
pub(crate) const ADMIN_UNREAD_BYTES_MAX: usize = 16 << 20;

/// Maximum size of a request for a session of `/try`, in bytes: a channel's name and a client id of 256 characters
/// each, and some slack.
pub(crate) const TRY_SESSION_BODY_BYTES_MAX: usize = 4096;

/// Maximum size of an event accepted by `/try/wake`, in bytes: 16 waiting viewers with client ids of 256 characters,
/// and some slack.
pub(crate) const TRY_WAKE_BODY_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of wake calls for cameras of `/try` queued for a slow page: beyond it, the oldest are dropped, and
/// the hook calls again.
pub(crate) const TRY_WAKES_KEPT: usize = 64;

/// Maximum time a page waits for a wake call before it polls again, in seconds.
pub(crate) const TRY_WAKE_WAIT_S: u64 = 25;

/// Maximum number of sessions of `/try` issued per minute: a page needs two, each valid for a quarter of an hour.
pub(crate) const TRY_SESSIONS_PER_MINUTE: usize = 5;

/// Maximum number of channel states queued for the courier of hooks, about 500 bytes each and at most 5 KiB. If the
/// queue is full, a shard reports the then current state later.
pub(crate) const PRESENCES_WAITING_MAX: usize = 4096;

/// Maximum number of channels with queued events of one hook, per half of its capacity (wake calls, states), since each
/// counts as at least an equal part of [`HOOK_BYTES_MAX`].
pub(crate) const HOOK_WAITING_MAX: usize = 16_384;

/// Maximum size of the queued events of one half of a hook's capacity, in bytes. Beyond it, events of the account with
/// the most bytes are evicted, and the receiver is informed that it must read all states.
pub(crate) const HOOK_BYTES_MAX: usize = 8 << 20;

/// Maximum number of concurrent requests to one hook, half of them wake calls. Further due requests wait.
pub(crate) const HOOK_FLIGHTS_MAX: usize = 16;

/// Minimum time between two states of one channel sent to a hook, in milliseconds; changes in between are covered by
/// the newest state. A client that connects in a loop costs a receiver at most one request per second.
pub(crate) const HOOK_STATES_APART_MS: u64 = 1_000;

/// Number of consecutive failures after which a hook gets one request at a time, until one succeeds.
pub(crate) const HOOK_FAILURES_MAX: u32 = 20;

/// Maximum delay that a receiver may request with `Retry-After`, in milliseconds; without that header, the maximum
/// delay is half of it.
pub(crate) const HOOK_RETRY_MS_MAX: u64 = 60_000;

/// Maximum number of bytes of a receiver's response that are read and discarded. A longer one ends its connection.
pub(crate) const HOOK_ANSWER_BYTES_MAX: usize = 4096;

/// Maximum number of concurrent DNS lookups for a receiver of hooks, or for a provider. Each takes a thread of the
/// system's resolver, which may hang; further ones wait.
pub(crate) const LOOKUPS_MAX: usize = 2;

/// Maximum number of channels being called or called within the last hour, about 500 bytes each. Beyond it, a channel
/// of the account with the most channels is evicted, or the new one is not called.
pub(crate) const WAKE_CHANNELS_MAX: usize = 65_536;

/// Maximum number of calls per channel and hour.
pub(crate) const WAKES_PER_HOUR: u32 = 30;

/// Maximum number of calls per channel, caller and hour.
pub(crate) const WAKES_OF_CALLER_PER_HOUR: u32 = 10;

/// Maximum number of callers per channel counted separately within an hour; no more can have caused a call.
pub(crate) const WAKE_CALLERS_MAX: usize = WAKES_PER_HOUR as usize;

/// Maximum length of the text of `POST /forget`, in bytes: a provider's subject may have 255 characters.
pub(crate) const FORGET_BYTES_MAX: usize = 2048;

/// Maximum number of marks kept by the history, 1 MiB: about 130 a day for a month. The oldest is evicted.
pub(crate) const HISTORY_MARKS_MAX: usize = 4096;

/// Maximum number of ended causes kept by the history, 4 MiB. Beyond it, the oldest cause of the account with the most
/// causes is evicted.
pub(crate) const HISTORY_CAUSES_MAX: usize = 4096;

/// Maximum number of rows in a response of `/history`; beyond it, two or more rows are merged into one.
pub(crate) const HISTORY_ROWS_SHOWN_MAX: usize = 2000;

/// Maximum number of marks, and of causes, in a response: the newest ones.
pub(crate) const HISTORY_MARKS_SHOWN_MAX: usize = 500;
pub(crate) const HISTORY_CAUSES_SHOWN_MAX: usize = 250;

/// Maximum number of rows and notes queued for the history's thread, up to 2 KiB each. Further ones are lost, since the
/// disk hangs.
pub(crate) const HISTORY_JOBS_WAITING_MAX: usize = 64;

/// Maximum number of notes waiting for space on a full disk. Further ones are lost.
pub(crate) const HISTORY_NOTES_WAITING_MAX: usize = 64;

/// Maximum size of both files of the history together, or of its memory if not on disk, in bytes.
pub(crate) const HISTORY_BYTES: usize = 6 << 20;
