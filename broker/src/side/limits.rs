//! Bounds of the log and of event streams, each with its reason and what happens when it is full.

/// Entries and lines that wait for the log thread: at some 500 bytes each they are 3 MiB. One more is dropped and
/// counted: `heliograph_log_dropped_total`.
pub(crate) const LOG_LINES_WAITING_MAX: usize = 6144;

/// Refusals that wait for the log thread with what their signature was compared with, some 2 KiB each; while more lines
/// wait, that part is left out.
pub(crate) const LOG_EXPLAINED_WAITING_MAX: usize = 1024;

/// Refusals that are kept in memory for `/refusals`, about 500 bytes each without what their signature was compared
/// with. One more pushes out the oldest of the network with most.
pub(crate) const REFUSALS_KEPT_MAX: usize = 4096;

/// Bytes of these refusals; more push out others in the same way.
pub(crate) const REFUSALS_KEPT_BYTES_MAX: usize = 8 << 20;

/// Audit entries of changes that were made, and places kept for changes under way, beside [`LOG_LINES_WAITING_MAX`]:
/// 0.6 MiB. When all are taken, changes are refused with 503 and counted (`heliograph_audit_refused_total`), so that
/// none is made that nobody could read of.
pub(crate) const LOG_AUDITS_WAITING_MAX: usize = 2048;

/// Event streams of the admin listener at a time: some screens of a team. One more gets 503.
pub(crate) const STREAMS_MAX: usize = 32;

/// Channels that all streams watch together: each is one question a second to its shard. One more gets 503.
pub(super) const WATCHED_CHANNELS_MAX: usize = 16;

/// Topics of one stream.
pub(super) const TOPICS_MAX: usize = 8;

/// Log lines that wait for a watcher. A watcher that is further behind loses the oldest, learns how many, and gets the
/// state of its topic again.
pub(super) const FEED_EVENTS_WAITING_MAX: usize = 256;

/// States that wait for a watcher, of the service or of a channel: a channel with 10,000 viewers is 2.5 MB of text.
pub(super) const FEED_STATES_WAITING_MAX: usize = 4;

/// Events of a topic within a second. Further ones are counted and reported as one.
pub(super) const FEED_EVENTS_PER_SECOND: u32 = 200;

/// Lines of the log that are kept for those that begin to watch it, and their bytes. The oldest make room.
pub(super) const LOG_LINES_KEPT_MAX: usize = 2000;
pub(crate) const LOG_BYTES_KEPT_MAX: usize = 512 * 1024;

/// Bytes of a request for a session of `/try`: a channel's name and a client id of 256 characters each, and room.
pub(crate) const TRY_SESSION_BODY_BYTES_MAX: usize = 4096;

/// Sessions of `/try` that are given a minute: a page needs two, each of which serves for a quarter of an hour.
pub(crate) const TRY_SESSIONS_PER_MINUTE: usize = 5;
