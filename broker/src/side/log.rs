//! The log on stderr. Messages between clients are not logged. `line` defines the line format, `writer` runs the log
//! thread, `tail` stores recent lines, and `page` serves them.
//!
//! ```text
//!  a shard's Journal ── Entry ──┐
//!                               ├──► one queue ──────► the log thread (`writer.rs`) ──► stderr
//!  tracing, on any thread ─ text┘
//! ```
//! Logging never blocks. If the queue is full or stderr rejects lines (as on a full disk), they are dropped and
//! counted. Some places in the queue are reserved for audit entries, which record changes. A change must take such a
//! place before it is made. The place is released once the audit line has been written. Changes are refused if no place
//! is free, and while writes to stderr fail.

pub(crate) mod line;
pub(crate) mod page;
pub(crate) mod tail;
pub(crate) mod writer;

use crate::limits::{
    LOG_AUDITS_WAITING_MAX, LOG_COUNTS_WAITING_MAX, LOG_EXPLAINED_WAITING_MAX,
    LOG_LINES_WAITING_MAX,
};
use crate::side::problems::Problems;
use crate::side::recent_refusals::Recent;
use crate::side::trace::failed_sessions::Troubled;
use crate::terminal::{Colour, Screen};
use broker_core::id::Account;
use broker_core::journal::{Entry, Journal};
use broker_core::settings::{LogFormat, LogLevel};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{panic, thread};
use tail::LogTail;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// A handle to the log. Clones share the log.
#[derive(Clone, Debug)]
pub struct Log {
    to: Sender<Item>,
    places: Arc<Places>,
    pub(crate) kept: LogMemory,
}

/// Recent lines, refusals, failed sessions and problems. The log thread adds them, and pages show them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogMemory {
    pub(crate) tail: Arc<LogTail>,
    pub(crate) recent: Arc<Recent>,
    pub(crate) troubled: Arc<Troubled>,
    pub(crate) problems: Arc<Problems>,
}

#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) lines: LinePlaces,
    audits: AuditPlaces,
    dropped: AtomicU64,
    /// Whether the last write to stderr failed. If so, changes are refused.
    failing: AtomicBool,
}

impl Places {
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// Counts the queue's places for lines that may be dropped: how many are taken, and how many there are.
#[derive(Debug)]
pub(crate) struct LinePlaces {
    taken: AtomicUsize,
    most: usize,
}

impl LinePlaces {
    fn take(&self) -> bool {
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        let order = Ordering::Relaxed;
        self.taken.fetch_update(order, order, one_more).is_ok()
    }

    fn exceeds(&self, taken: usize) -> bool {
        self.taken.load(Ordering::Relaxed) > taken
    }

    pub(crate) fn give_back(&self, places: usize) {
        let before = self.taken.fetch_sub(places, Ordering::Relaxed);
        debug_assert!(before >= places, "a place is given back once");
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    Entry(Entry),
    /// The audit entry of a change, and the account to which its place in the queue is charged.
    Change(Entry, Account),
    Line(Box<[u8]>),
    /// Writes everything queued before this item, then acknowledges.
    Flush(Sender<()>),
    /// Stores all earlier items of the queue in the log's memory, then acknowledges. Occupies one of the places for
    /// lines.
    Mark(oneshot::Sender<()>),
}

/// Starts logging to stderr. `RUST_LOG` sets the filter. If it is not set, lines at `level` and more severe levels are
/// logged.
///
/// # Errors
/// Fails if the log thread cannot be started or stderr is closed.
///
/// # Panics
/// Panics if called twice in a process.
pub fn log_to_stderr(format: LogFormat, level: &str) -> io::Result<Log> {
    // The log has its own descriptor, so that the lock of `io::stderr` stays free for panicking threads while the log
    // waits for stderr.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (log, items) = Log::new(LOG_LINES_WAITING_MAX, LOG_AUDITS_WAITING_MAX);
    let filter = filter_of_environment(level)?;
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone());
    match format {
        LogFormat::Text => install(lines.finish(), filter),
        LogFormat::Json => install(lines.json().finish(), filter),
    }
    thread::Builder::new().name(LOG_THREAD.into()).spawn({
        let (places, kept) = (Arc::clone(&log.places), log.kept.clone());
        let sink = Painted(stderr, Screen::stderr());
        move || writer::write_all(&items, &places, &kept, sink)
    })?;
    // On a panic, the thread flushes earlier lines before the previous panic hook runs.
    let (flushed, then) = (log.clone(), panic::take_hook());
    panic::set_hook(Box::new(move |what| {
        // The log thread must not flush, since it would be waiting for itself.
        if thread::current().name() != Some(LOG_THREAD) {
            flushed.flush(PANIC_FLUSH_MAX);
        }
        then(what);
    }));
    Ok(log)
}

/// Installs the log subscriber, with a filter that [`set_log_level`] can replace.
fn install<S>(lines: S, filter: Targets)
where
    S: Subscriber + Send + Sync + 'static,
{
    let (layer, handle) = reload::Layer::new(filter);
    lines.with(layer).init();
    let replace = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    let _ = FILTER.set(Box::new(replace));
}

/// Sets the minimum level of the lines to log, unless `RUST_LOG` is set. Fails if the log subscriber no longer exists.
pub(crate) fn set_log_level(level: LogLevel) -> Result<(), String> {
    let filter = filter_of_environment(level.into()).map_err(|error| error.to_string())?;
    FILTER.get().map_or(Ok(()), |replace| replace(filter))
}

static FILTER: OnceLock<Box<ReplaceFilter>> = OnceLock::new();

type ReplaceFilter = dyn Fn(Targets) -> Result<(), String> + Send + Sync;

fn filter_of_environment(level: &str) -> io::Result<Targets> {
    filter(std::env::var("RUST_LOG").ok().as_deref(), level)
}

/// Returns the filter in `RUST_LOG`, such as `warn` or `info,broker::edge=debug`. If it is missing or invalid, returns
/// a filter for `level` and more severe levels.
fn filter(variable: Option<&str>, level: &str) -> io::Result<Targets> {
    let configured = || level.parse::<Targets>().map_err(io::Error::other);
    let filter = match variable.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().or_else(|_| configured())?,
        None => configured()?,
    };
    Ok(filter.with_target(RUNTIME_RINGS, LevelFilter::ERROR))
}

/// Standard error. On a terminal, warnings and errors are colored. Lines stored in memory are never colored.
struct Painted(File, Screen);

impl Write for Painted {
    /// Accepts only whole lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let Self(stderr, screen) = self;
        if !screen.is_terminal() {
            return stderr.write(lines);
        }
        let text = String::from_utf8_lossy(lines);
        let shown: String = text
            .split_inclusive('\n')
            .map(|line| painted(line, *screen))
            .collect();
        stderr.write_all(shown.as_bytes()).map(|()| lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn painted(line: &str, screen: Screen) -> String {
    let (level, colour) = match tail::level(line) {
        "ERROR" => ("ERROR", Colour::Red),
        "WARN" => ("WARN", Colour::Yellow),
        _ => return line.to_owned(),
    };
    line.replacen(level, &screen.paint(colour, level), 1)
}

impl Log {
    pub(crate) fn new(lines: usize, audits: usize) -> (Self, Receiver<Item>) {
        let (to, from) = unbounded(); // allocates for each item; `places` limits their number
        let places = Arc::new(Places {
            lines: LinePlaces {
                taken: AtomicUsize::new(0),
                most: lines,
            },
            audits: AuditPlaces::of(audits),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let kept = LogMemory::default();
        (Self { to, places, kept }, from)
    }

    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self::new(1, 0).0
    }

    #[cfg(test)]
    pub(crate) fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places)
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> LogMemory {
        self.kept.clone()
    }

    #[cfg(test)]
    pub(crate) fn queue(&self, item: Item) {
        self.to.try_send(item).unwrap();
    }

    /// Returns a handle to the log for a shard.
    #[must_use]
    pub fn journal(&self) -> Box<dyn Journal> {
        Box::new(self.clone())
    }

    /// Returns how many lines and entries were dropped because the queue was full or stderr rejected them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.places.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines logged before this call have been written. Gives up if the queue does not shrink for twice
    /// `limit`, or after [`FLUSH_ROUNDS`] times `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = bounded(1);
        if self.to.send(Item::Flush(done)).is_err() {
            return;
        }
        // A blocked stderr must not keep the process alive, but a slow one must not cause audit lines to be lost.
        let (mut before, mut stalls) = (usize::MAX, 0);
        for _ in 0..FLUSH_ROUNDS {
            if stalls == 2 || wait.recv_timeout(limit).is_ok() {
                return;
            }
            let left = self.to.len();
            stalls = if left < before { 0 } else { stalls + 1 };
            before = left;
        }
    }

    /// Waits up to [`SETTLED_MAX`] until all entries queued before this call have reached the log's memory. Must be
    /// called before that memory is read, since a shard may answer its client before the log thread has processed the
    /// event. Streams need not wait, since they receive later entries anyway. Pages that query shards need not wait
    /// either, since a shard responds only after the event has been processed.
    pub(crate) async fn settled(&self) {
        let marked = async {
            while !self.places.lines.take() {
                sleep(SETTLED_PAUSE).await; // new lines are dropped in the meantime, but no earlier ones
            }
            let (done, read) = oneshot::channel();
            if self.to.try_send(Item::Mark(done)).is_err() {
                self.places.lines.give_back(1);
            }
            let _ = read.await;
        };
        let _ = timeout(SETTLED_MAX, marked).await;
    }

    pub(crate) fn offer(&self, item: Item) {
        if !self.places.lines.take() {
            self.places.dropped.fetch_add(1, Ordering::Relaxed);
        } else if self.to.try_send(item).is_err() {
            self.places.lines.give_back(1);
            self.places.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Journal for Log {
    fn note(&mut self, mut entry: Entry) {
        // Explanations are by far the largest part of the entries, and must not pile up while the log is blocked.
        if let Entry::Refused(refused) = &mut entry
            && self.places.lines.exceeds(LOG_EXPLAINED_WAITING_MAX)
        {
            refused.explain = None;
        }
        if let Entry::Suppressed { counts, .. } = &mut entry
            && self.places.lines.exceeds(LOG_COUNTS_WAITING_MAX)
        {
            *counts = Box::default();
        }
        self.offer(Item::Entry(entry));
    }

    fn keep_place(&mut self, account: Account) -> bool {
        !self.places.is_failing() && self.places.audits.take(account)
    }

    fn note_kept(&mut self, account: Account, entry: Entry) {
        // The queue has room for every place that can be reserved, and the log thread outlives the shards.
        if self.to.try_send(Item::Change(entry, account)).is_err() {
            self.places.audits.give_back(account);
            self.places.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn give_back(&mut self, account: Account) {
        self.places.audits.give_back(account);
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Lines<'w>;

    fn make_writer(&'w self) -> Lines<'w> {
        Lines(self)
    }
}

/// A writer for the log formatter. Each call to `write` receives one whole line.
#[derive(Debug)]
pub struct Lines<'l>(&'l Log);

impl Write for Lines<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !writer::take_formatted(line) {
            self.0.offer(Item::Line(line.into()));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LOG_THREAD: &str = "log";

/// Maximum time that a panicking thread waits for queued lines. A blocked stderr must not keep a broken process alive.
const PANIC_FLUSH_MAX: Duration = Duration::from_millis(500);

/// Number of times that [`Log::flush`] waits for its limit before it gives up.
const FLUSH_ROUNDS: u32 = 10;

/// Maximum time that a reader waits for the log thread. While the queue is full, the reader retries every
/// [`SETTLED_PAUSE`].
const SETTLED_MAX: Duration = Duration::from_secs(1);
const SETTLED_PAUSE: Duration = Duration::from_millis(10);

/// The log target of glommio's warning that it cannot register buffers for file I/O. Suppressed, since the broker does
/// no file I/O with glommio and releases registered buffers at once.
const RUNTIME_RINGS: &str = "glommio::sys::uring";

// Places for audit entries, by account. All shards take places without waiting.
//
// A place cannot be revoked once it has been taken. An account may therefore take a place only while it holds fewer
// places than are free. One account can take at most half of all places, the next one at most half of the rest, and so
// on.

#[derive(Debug)]
struct AuditPlaces {
    most: usize,
    taken: AtomicUsize,
    held: Box<[AtomicUsize; PARTS]>,
}

impl AuditPlaces {
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            taken: AtomicUsize::new(0),
            held: Box::new([const { AtomicUsize::new(0) }; PARTS]),
        }
    }

    /// Takes a place for an entry of this account. Returns `false` if the account has used up its share. Concurrent
    /// calls may not see the places that others take, so an account may exceed its share by one entry per shard.
    pub(crate) fn take(&self, account: Account) -> bool {
        let held = self.held_by(account);
        let one_more = |taken: usize| {
            let free = self.most - taken;
            (held.load(Ordering::Relaxed) < free).then_some(taken + 1)
        };
        let order = Ordering::Relaxed;
        let taken = self.taken.fetch_update(order, order, one_more).is_ok();
        if taken {
            held.fetch_add(1, order);
        }
        taken
    }

    pub(crate) fn give_back(&self, account: Account) {
        let held = self.held_by(account).fetch_sub(1, Ordering::Relaxed);
        let taken = self.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(held > 0 && taken > 0, "a place is given back once");
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn held_by(&self, account: Account) -> &AtomicUsize {
        let part = account.0 % PARTS as u64;
        &self.held[usize::try_from(part).expect("less than PARTS")]
    }
}

/// Number of counters. Accounts whose numbers are equal modulo this number share a counter. It is prime, so that
/// account numbers at regular intervals are spread over all counters.
const PARTS: usize = 1021;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::log::writer;
    use tracing::Level;

    #[test]
    fn a_terminal_has_warnings_and_errors_in_colour() {
        let of = |line| painted(line, Screen::NARROW);
        assert_eq!(
            of("T  WARN a: WARN\n"),
            "T  \u{1b}[33mWARN\u{1b}[0m a: WARN\n"
        );
        assert_eq!(of("T ERROR a: b\n"), "T \u{1b}[31mERROR\u{1b}[0m a: b\n");
        assert_eq!(of("T  INFO a: WARN\n"), "T  INFO a: WARN\n");
    }

    /// Each case has the value of `RUST_LOG`, the target and the level of a line, and whether that line is logged.
    #[test]
    fn the_variable_wins_and_one_that_cannot_be_read_does_not() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (None, "broker::edge", Level::INFO, true),
            (None, "broker::edge", Level::DEBUG, false),
            (Some(""), "broker::edge", Level::INFO, true),
            (Some("warn"), "broker::edge", Level::INFO, false),
            (Some("warn,broker::edge=debug"), "broker::edge", Level::DEBUG, true),
            (Some("warn,broker::edge=debug"), "broker::side", Level::INFO, false),
            (Some("broker=loud"), "broker::edge", Level::INFO, true),
            (Some("trace"), RUNTIME_RINGS, Level::WARN, false),
            (Some("trace"), RUNTIME_RINGS, Level::ERROR, true),
        ];
        for (variable, target, level, expected) in cases {
            let filter = filter(variable, "info").expect("a level");
            let is_logged = filter.would_enable(target, &level);
            assert_eq!(is_logged, expected, "{variable:?} {target} {level}");
        }
    }

    #[test]
    fn changes_have_places_of_their_own_and_none_is_dropped() {
        let (mut log, items) = Log::new(4, 4);
        for digit in b"012345678" {
            log.offer(Item::Line([*digit].into()));
        }
        assert_eq!(log.dropped(), 5);
        let [one, other] = [Account(1), Account(2)];
        assert!(log.keep_place(one) && log.keep_place(one) && log.keep_place(other));
        assert!(!log.keep_place(one), "two of its changes are under way");
        log.note_kept(one, Entry::EndsSuppressed { ends: 1 });
        assert!(!log.keep_place(one), "one is, one waits to be written");
        log.give_back(one);
        assert!(log.keep_place(one));
        log.note_kept(one, Entry::EndsSuppressed { ends: 2 });
        log.give_back(other);
        assert_eq!(log.dropped(), 5);
        let (places, kept) = (Arc::clone(&log.places), log.kept.clone());
        drop(log);
        let mut written = Vec::new();
        writer::write_all(&items, &places, &kept, &mut written);
        assert!(written.starts_with(b"0123"));
        let lines = places.lines.taken.load(Ordering::Relaxed);
        assert_eq!((lines, places.audits.taken()), (0, 0));
    }

    #[test]
    fn a_thread_that_panics_loses_no_line_before_it() {
        let name = "side::log::tests::a_thread_that_panics_loses_no_line_before_it";
        if std::env::var_os(CHILD).is_some() {
            crate::side::end_on_panic();
            let mut log = log_to_stderr(LogFormat::Text, "info").unwrap();
            (0..LINES).for_each(|ends| log.note(Entry::EndsSuppressed { ends }));
            panic!("as is to be expected");
        }
        let exe = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(exe);
        child.args(["--exact", "--nocapture", name]).env(CHILD, "1");
        child.env("RUST_BACKTRACE", "0"); // a backtrace takes longer than writing all lines
        let ended = child.output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{text}");
        let lines = text.lines().filter(|line| line.contains(" ends="));
        assert_eq!(lines.count() as u64, LINES);
        assert!(text.contains("as is to be expected"), "{text}");
    }

    /// Environment variable of the child process, which panics.
    const CHILD: &str = "HELIOGRAPH_TEST_PANICS";
    /// Number of lines. The log thread cannot write as many before the panic.
    const LINES: u64 = 1_000;
}

#[cfg(test)]
mod audit_places_tests {
    use super::*;

    fn greedy(places: &AuditPlaces, account: u64) -> usize {
        let takes = |_: &i32| places.take(Account(account));
        (0..100).take_while(takes).count()
    }

    #[test]
    fn one_account_leaves_places_for_the_next() {
        let places = AuditPlaces::of(16);
        assert_eq!(greedy(&places, 1), 8);
        assert_eq!(greedy(&places, 2), 4);
        assert_eq!(greedy(&places, 3), 2);
        assert_eq!(greedy(&places, 1 + PARTS as u64), 0, "counts as the first");
        (0..8).for_each(|_| places.give_back(Account(1)));
        assert_eq!((greedy(&places, 2), places.taken()), (3, 9));
    }

    #[test]
    fn whoever_takes_what_they_can_comes_to_an_equal_part() {
        let places = AuditPlaces::of(400);
        let mut held = [0; 4];
        for turn in 0..4_000_usize {
            let who = turn % 4;
            if held[who] > 0 {
                places.give_back(Account(who as u64));
                held[who] -= 1;
            }
            for who in [0, 1, 2, 3] {
                held[who] += greedy(&places, who as u64);
            }
        }
        assert_eq!(places.taken(), held.iter().sum::<usize>());
        assert!(held.iter().all(|held| held.abs_diff(80) <= 4), "{held:?}");
    }

    #[test]
    fn all_that_is_taken_on_many_threads_is_given_back() {
        let places = AuditPlaces::of(8);
        std::thread::scope(|scope| {
            for account in [1, 1, 2, 3] {
                let places = &places;
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if places.take(Account(account)) {
                            assert!(places.taken.load(Ordering::Relaxed) <= 8);
                            places.give_back(Account(account));
                        }
                    }
                });
            }
        });
        assert_eq!((places.taken(), greedy(&places, 1)), (0, 4));
    }
}
