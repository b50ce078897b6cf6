//! Bounds of the log, of the admin listener and its event streams, and of hooks, each with its reason and what happens
//! when it is full.

/// Entries and lines that wait for the log thread: at some 500 bytes each they are 3 MiB. One more is dropped and
/// counted: `heliograph_log_dropped_total`.
pub(crate) const LOG_LINES_WAITING_MAX: usize = 6144;

/// Refusals that wait for the log thread with what their signature was compared with, some 2 KiB each; while more lines
/// wait, that part is left out.
pub(crate) const LOG_EXPLAINED_WAITING_MAX: usize = 1024;

/// Reports that wait for the log thread of refusals which were not noted, by what they were about; while more lines
/// wait, only the sum is reported.
pub(crate) const LOG_COUNTS_WAITING_MAX: usize = 16;

/// Refusals that are kept in memory for `/refusals`, about 500 bytes each without what their signature was compared
/// with. One more pushes out the oldest of the network with most.
pub(crate) const REFUSALS_KEPT_MAX: usize = 4096;

/// Bytes of these refusals; more push out others in the same way.
pub(crate) const REFUSALS_KEPT_BYTES_MAX: usize = 8 << 20;

/// Groups of refusals (one check of one channel or key) that are counted apart, some 1 KiB each, and at most five. One
/// more joins the quietest of the check with most to the others of that check.
pub(crate) const REFUSAL_GROUPS_KEPT_MAX: usize = 512;

/// Audit entries of changes that were made, and places kept for changes under way, beside [`LOG_LINES_WAITING_MAX`]:
/// 0.6 MiB, shared by account; one alone may have half. When an account has its share, or stderr fails, changes are
/// refused with 503 and counted (`heliograph_audit_refused_total`), so that none is made that nobody could read of.
pub(crate) const LOG_AUDITS_WAITING_MAX: usize = 2048;

/// Event streams of the admin listener at a time: some screens of a team. One more gets 503.
pub(crate) const STREAMS_MAX: usize = 32;

/// Channels that all streams watch together: each is one question a second to its shard. One more gets 503.
pub(crate) const WATCHED_CHANNELS_MAX: usize = 16;

/// Topics of one stream: all that there are, with the channels of some tabs of a browser, which share a stream.
pub(crate) const TOPICS_MAX: usize = 16;

/// Events of a feed that are kept for streams that have not come so far. One that is further behind loses the oldest,
/// learns how many, and gets the state of its topic again. Of a state only the newest is kept.
pub(crate) const FEED_EVENTS_WAITING_MAX: usize = 256;

/// Bytes of these events.
pub(crate) const FEED_BYTES_WAITING_MAX: usize = 640 * 1024;

/// Feeds of events that each matter: of the log, and of refusals.
pub(crate) const FEEDS_OF_EVENTS: usize = 2;

/// States of channels that wait for the streams of the topic `presence`. A shard that finds no room tells its state
/// later, as it is then.
pub(crate) const STATES_TOLD_WAITING_MAX: usize = 256;

/// Channels whose state a stream of the topic `presence` may be behind with, of each the newest, and their bytes. One
/// more pushes out the oldest; a stream that has not had it reads all states again.
pub(crate) const STATES_WAITING_MAX: usize = 1024;
pub(crate) const STATES_BYTES_WAITING_MAX: usize = 512 * 1024;

/// Bytes of one event. Lists in it are cut to fit; a channel has some thousand viewers in as many bytes, and the
/// history of an hour takes 160 KiB.
pub(crate) const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Bytes of an event that a stream hands to its connection at a time.
pub(crate) const EVENT_PIECE_BYTES: usize = 16 * 1024;

/// Refusals that a stream begins with, the newest.
pub(crate) const REFUSALS_SHOWN_MAX: usize = 200;

/// Events of a topic within a second. Further ones are counted and reported as one.
pub(crate) const FEED_EVENTS_PER_SECOND: u32 = 200;

/// Bytes of the log's last lines that are kept for `GET /log`, with what it takes to keep them: some 20,000 lines. The
/// oldest make room.
pub(crate) const LOG_BYTES_KEPT_MAX: usize = 4 << 20;

/// Bytes of warnings and errors that are kept beside them: no flood of other lines pushes these out.
pub(crate) const LOG_WARNINGS_BYTES_KEPT_MAX: usize = 1 << 20;

/// Lines that a stream of the log begins with, the newest.
pub(crate) const LOG_LINES_SHOWN_MAX: usize = 2000;

/// Lines of an answer of `GET /log`.
pub(crate) const LOG_LINES_ANSWERED_MAX: usize = 1000;

/// Events that are read for one answer: those of the default ring. One trace is read at a time.
pub(crate) const TRACE_EVENTS_MAX: usize = 65_536;

/// The same for what a trace suggests of a session that has just ended: the newest of its channel.
pub(crate) const SUGGESTING_EVENTS_MAX: usize = 512;

/// Troubled sessions that are kept for the overview, some 1 KiB each. The oldest makes room.
pub(crate) const TROUBLED_KEPT_MAX: usize = 512;

/// Those of one channel: its oldest makes room, so that one channel does not push out all others.
pub(crate) const TROUBLED_PER_CHANNEL_MAX: usize = 16;

/// Places of channels whose takeovers or short connections are counted, some 200 bytes each: the one that was quiet for
/// longest makes room.
pub(crate) const REPEATS_WATCHED_MAX: usize = 256;

/// Those that pages show, the newest.
pub(crate) const TROUBLED_SHOWN_MAX: usize = 50;

/// Traces that are read within a second to explain them, each in some tenths of a millisecond of its shard. Further
/// ones wait; their notes may be overwritten meanwhile.
pub(crate) const TROUBLED_TRACED_PER_SECOND: usize = 4;

/// Causes of problems that are listed at a time. The newest of the account with most makes room.
pub(crate) const PROBLEMS_KEPT_MAX: usize = 1000;

/// Members that are kept of one cause: of more only the channels are counted.
pub(crate) const PROBLEM_MEMBERS_MAX: usize = 256;

/// Bytes of causes and members: with names of usual length room for some 5,000 members, or for 40,000 channels that are
/// counted beyond them. More make room as causes do.
pub(crate) const PROBLEMS_BYTES_MAX: usize = 2 << 20;

/// Members of causes whose channels are looked at within a second, to see whether they are connected again: a letter
/// each to the shard of the channel. Further ones have their turn later.
pub(crate) const PROBLEM_LOOKS_PER_SECOND: usize = 32;

/// Causes that the overview shows, and those that a page may ask for.
pub(crate) const PROBLEMS_SHOWN_MAX: usize = 50;

/// Problems that the history takes in a step: its queue holds more, and a flood of new ones reaches it within minutes.
pub(crate) const PROBLEMS_RECORDED_AT_ONCE: usize = 32;

/// Members of each that lists show.
pub(crate) const PROBLEM_MEMBERS_SHOWN: usize = 5;

/// Characters of an operator's reason for a mark.
pub(crate) const PROBLEM_WHY_CHARS_MAX: usize = 256;

/// Connections of the admin listener at a time, event streams aside. One more makes the oldest of the address with most
/// end.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 128;

/// The same where the process may have fewer than [`ADMIN_FILES_MIN`] descriptors, which clients need more.
pub(crate) const ADMIN_CONNECTIONS_FEW: usize = 24;

/// See [`ADMIN_CONNECTIONS_FEW`].
pub(crate) const ADMIN_FILES_MIN: usize = 4096;

/// Descriptors of connections that made room and are on their way out. Further ones of the admin listener wait in the
/// backlog, those of the local network get 503.
pub(crate) const LEAVING_MAX: usize = 8;

/// Connections of the local network for pages, under `--lan`, in the process: some phones, each with a few at a time.
/// When there are as many, the address with most makes room for others; one more of its own gets 503.
pub(crate) const LAN_CONNECTIONS_MAX: usize = 64;

/// Sign-ins with accounts under way, some 700 bytes each. The oldest of the address with most makes room.
pub(crate) const CONSOLE_SIGN_INS_MAX: usize = 1024;

/// Sessions of accounts, some 1 KiB each. The oldest makes room.
pub(crate) const CONSOLE_SESSIONS_MAX: usize = 256;

/// Those of one account: its oldest makes room, so that one account does not push out others.
pub(crate) const CONSOLE_SESSIONS_OF_ACCOUNT_MAX: usize = 16;

/// Codes that are exchanged at the provider at a time. One more gets 503.
pub(crate) const CONSOLE_EXCHANGES_MAX: usize = 4;

/// Codes that a device may be paired with: one for each press of a button in five minutes. The oldest makes room.
pub(crate) const PAIR_CODES_MAX: usize = 16;

/// Devices that are paired at a time. The one that was paired first makes room.
pub(crate) const PAIR_SESSIONS_MAX: usize = 64;

/// Bytes of a request's head on the admin listener. A longer one is answered 431.
pub(crate) const ADMIN_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the documents of one `POST /import`, of which one at a time is held: a thousand channels with some tags.
pub(crate) const IMPORT_BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of a request's body on the admin listener. A longer one is answered 413.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

/// Bytes of answers and events that connections of the admin listener have not taken. When they are more, the one that
/// has waited longest for its peer ends.
pub(crate) const ADMIN_UNREAD_BYTES_MAX: usize = 16 << 20;

/// Bytes of a request for a session of `/try`: a channel's name and a client id of 256 characters each, and room.
pub(crate) const TRY_SESSION_BODY_BYTES_MAX: usize = 4096;

/// Bytes of an event that `/try/wake` takes: 16 who wait, with client ids of 256 characters, and room.
pub(crate) const TRY_WAKE_BODY_BYTES_MAX: usize = 16 * 1024;

/// Calls for cameras of `/try` that a page which is slow to fetch them may be behind: of more the oldest are lost, and
/// the hook calls again.
pub(crate) const TRY_WAKES_KEPT: usize = 64;

/// Seconds for which a page waits for a call before it asks again.
pub(crate) const TRY_WAKE_WAIT_S: u64 = 25;

/// Sessions of `/try` that are given a minute: a page needs two, each of which serves for a quarter of an hour.
pub(crate) const TRY_SESSIONS_PER_MINUTE: usize = 5;

/// States of channels that wait for the courier of hooks, some 500 bytes each and 5 KiB at most. A shard that finds no
/// room tells its state later, as it is then.
pub(crate) const PRESENCES_WAITING_MAX: usize = 4096;

/// Channels of which something waits for one hook, in each half of its places (calls for a master, states), since each
/// counts as an equal part of [`HOOK_BYTES_MAX`] at least.
pub(crate) const HOOK_WAITING_MAX: usize = 16_384;

/// Bytes of it; more push out those of the account with most. The receiver learns that it must read all states.
pub(crate) const HOOK_BYTES_MAX: usize = 8 << 20;

/// Requests to one hook at a time, half of them calls for a master. What is due beyond waits.
pub(crate) const HOOK_FLIGHTS_MAX: usize = 16;

/// Least time between two states of one channel that a hook is sent: of what changes meanwhile the newest follows then.
/// A client that connects in a loop costs a receiver no more than one request a second.
pub(crate) const HOOK_STATES_APART_MS: u64 = 1_000;

/// Failures in a row after which a hook gets one request at a time, until it takes one.
pub(crate) const HOOK_FAILURES_MAX: u32 = 20;

/// Longest pause that a receiver may ask for by `Retry-After`; without, half of it is the longest.
pub(crate) const HOOK_RETRY_MS_MAX: u64 = 60_000;

/// Bytes of a receiver's answer that are read, and thrown away. A longer one ends its connection.
pub(crate) const HOOK_ANSWER_BYTES_MAX: usize = 4096;

/// Look-ups under way of the host of one receiver of hooks, or of one provider. They are threads of the system's
/// resolver, which may hang: one more waits.
pub(crate) const LOOKUPS_MAX: usize = 2;

/// Channels that are called for, or were within the hour, some 500 bytes each. One more takes the place of one of the
/// account with most, or is not called for.
pub(crate) const WAKE_CHANNELS_MAX: usize = 65_536;

/// Times that one channel is called for within an hour.
pub(crate) const WAKES_PER_HOUR: u32 = 30;

/// The same for one caller of it.
pub(crate) const WAKES_OF_CALLER_PER_HOUR: u32 = 10;

/// Callers of a channel that are counted apart within an hour: no more can have had their part.
pub(crate) const WAKE_CALLERS_MAX: usize = WAKES_PER_HOUR as usize;

/// Longest text of `POST /forget`, in bytes: a subject of a provider may have 255 characters.
pub(crate) const FORGET_BYTES_MAX: usize = 2048;

/// Marks that the history keeps, 1 MiB: some 130 a day for a month. The oldest makes room.
pub(crate) const HISTORY_MARKS_MAX: usize = 4096;

/// Causes that the history keeps when they have ended, 4 MiB. The oldest of the account with most makes room.
pub(crate) const HISTORY_CAUSES_MAX: usize = 4096;

/// Rows of one answer of `/history`; of more, two or more are merged into one.
pub(crate) const HISTORY_ROWS_SHOWN_MAX: usize = 2000;

/// Marks and causes of one answer, the newest.
pub(crate) const HISTORY_MARKS_SHOWN_MAX: usize = 500;
pub(crate) const HISTORY_CAUSES_SHOWN_MAX: usize = 250;

/// Rows and notes that wait for the thread of the history, up to 2 KiB each. One more is lost: the disk hangs.
pub(crate) const HISTORY_JOBS_WAITING_MAX: usize = 64;

/// Notes that wait for room on a full disk. One more is lost.
pub(crate) const HISTORY_NOTES_WAITING_MAX: usize = 64;

/// Bytes of both files of the history at most; of memory where it is not on a disk.
pub(crate) const HISTORY_BYTES: usize = 6 << 20;
