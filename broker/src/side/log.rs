//! Log lines, on stderr; none per message.
//!
//! ```text
//!  a shard's Journal ── Entry ──┐
//!                               ├──► one bounded queue ──► the log thread: formats entries, writes all ──► stderr
//!  tracing, on any thread ─ text┘
//! ```
//! Logging never waits: when stderr is slow and the queue is full, what comes is dropped and counted. Audit entries of
//! changes have places of their own in it, kept before the change is made; without one it is not made. An entry is
//! formatted on the log thread, by the same formatter as every other line.

use super::limits::{LOG_AUDITS_WAITING_MAX, LOG_EXPLAINED_WAITING_MAX, LOG_LINES_WAITING_MAX};
use super::log_line;
use super::log_tail::LogTail;
use super::recent::Recent;
use super::troubled::Troubled;
use broker_core::journal::{Entry, Journal};
use broker_core::settings::LogFormat;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The way to the log; a clone is another way to the same.
#[derive(Clone, Debug)]
pub struct Log {
    to: Sender<Item>,
    places: Arc<Places>,
    kept: LogMemory,
}

/// What the log thread keeps in memory of what it wrote.
#[derive(Clone, Debug, Default)]
struct LogMemory {
    tail: Arc<LogTail>,
    recent: Arc<Recent>,
    troubled: Arc<Troubled>,
}

/// Who may use which of the queue's places.
#[derive(Debug)]
struct Places {
    lines: Account,
    audits: Account,
    dropped: AtomicU64,
}

/// Places of one kind: those taken, and how many there are.
#[derive(Debug)]
struct Account {
    taken: AtomicUsize,
    most: usize,
}

impl Account {
    const fn new(most: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            most,
        }
    }

    fn take(&self) -> bool {
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        let order = Ordering::Relaxed;
        self.taken.fetch_update(order, order, one_more).is_ok()
    }

    /// Whether more than this many are taken.
    fn exceeds(&self, taken: usize) -> bool {
        self.taken.load(Ordering::Relaxed) > taken
    }

    fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a place is given back once");
    }
}

/// What waits for the log thread.
#[derive(Debug)]
enum Item {
    Entry(Entry),
    /// The entry of a change, in a place that was kept for it.
    Change(Entry),
    /// A line as the formatter made it.
    Line(Box<[u8]>),
    /// Everything before this is to be written; then it is answered.
    Flush(Sender<()>),
}

/// Sends log lines to stderr from here on. `RUST_LOG` sets what is logged; without it, `info` and above.
///
/// # Errors
/// The log thread cannot be started, or stderr is closed.
///
/// # Panics
/// When it is called twice in a process.
pub fn log_to_stderr(format: LogFormat) -> io::Result<Log> {
    // A descriptor of its own: a thread that panics while the log waits for stderr must not wait for its lock.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (log, items) = Log::new(LOG_LINES_WAITING_MAX, LOG_AUDITS_WAITING_MAX);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.add_directive(RUNTIME_RINGS.parse().map_err(io::Error::other)?);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(log.clone());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    thread::Builder::new().name("log".into()).spawn({
        let (places, kept) = (Arc::clone(&log.places), log.kept.clone());
        move || write_all(&items, &places, &kept, stderr)
    })?;
    Ok(log)
}

impl Log {
    fn new(lines: usize, audits: usize) -> (Self, Receiver<Item>) {
        let (to, from) = bounded(lines + audits + FLUSHES_MAX);
        let places = Arc::new(Places {
            lines: Account::new(lines),
            audits: Account::new(audits),
            dropped: AtomicU64::new(0),
        });
        let kept = LogMemory::default();
        (Self { to, places, kept }, from)
    }

    /// A log that nobody reads: for tests.
    #[cfg(test)]
    pub(super) fn silent() -> Self {
        Self::new(0, 0).0
    }

    /// A shard's way to the log.
    #[must_use]
    pub fn journal(&self) -> Box<dyn Journal> {
        Box::new(self.clone())
    }

    /// The last refusals that were noted.
    pub(super) fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.kept.recent)
    }

    /// The last sessions that did not go well.
    #[must_use]
    pub fn troubled(&self) -> Arc<Troubled> {
        Arc::clone(&self.kept.troubled)
    }

    /// How many lines and entries found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.places.dropped.load(Ordering::Relaxed)
    }

    /// The last lines, for pages that show them.
    #[must_use]
    pub fn tail(&self) -> Arc<LogTail> {
        Arc::clone(&self.kept.tail)
    }

    /// Waits until everything logged so far is written, `limit` at most twice.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = bounded(1);
        if self.to.send_timeout(Item::Flush(done), limit).is_ok() {
            // A stderr that takes nothing any more must not keep the process.
            let _ = wait.recv_timeout(limit);
        }
    }

    fn offer(&self, item: Item) {
        if !self.places.lines.take() {
            self.places.dropped.fetch_add(1, Ordering::Relaxed);
        } else if self.to.try_send(item).is_err() {
            self.places.lines.give_back();
            self.places.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Journal for Log {
    fn note(&mut self, mut entry: Entry) {
        // The largest part of an entry by far, which a log that is stuck must not gather.
        if let Entry::Refused(refused) = &mut entry
            && self.places.lines.exceeds(LOG_EXPLAINED_WAITING_MAX)
        {
            refused.explain = None;
        }
        self.offer(Item::Entry(entry));
    }

    fn keep_place(&mut self) -> bool {
        self.places.audits.take()
    }

    fn note_kept(&mut self, entry: Entry) {
        // The queue has a place for each that is kept; the log thread outlives the shards.
        if self.to.try_send(Item::Change(entry)).is_err() {
            self.places.audits.give_back();
            self.places.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn give_back(&mut self) {
        self.places.audits.give_back();
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Lines<'w>;

    fn make_writer(&'w self) -> Lines<'w> {
        Lines(self)
    }
}

/// Takes the formatter's lines, each in one piece.
#[derive(Debug)]
pub struct Lines<'l>(&'l Log);

impl Write for Lines<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match FORMATTED.take() {
            Some(mut lines) => {
                lines.extend_from_slice(line);
                FORMATTED.set(Some(lines));
            }
            None => self.0.offer(Item::Line(line.into())),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log thread: writes until nobody is left who could log.
fn write_all(items: &Receiver<Item>, places: &Places, kept: &LogMemory, mut sink: impl Write) {
    for item in items {
        match &item {
            Item::Entry(_) | Item::Line(_) => places.lines.give_back(),
            Item::Change(_) => places.audits.give_back(),
            Item::Flush(_) => {}
        }
        // A sink that is gone is reported nowhere: there is no other place for it.
        let mut write = |line: &[u8]| {
            kept.tail.push(line);
            sink.write_all(line)
        };
        let _ = match item {
            Item::Entry(entry) | Item::Change(entry) => {
                let line = formatted(&entry);
                kept.troubled.note(&entry);
                kept.recent.note(entry);
                write(&line)
            }
            Item::Line(line) => write(&line),
            Item::Flush(done) => {
                let flushed = sink.flush();
                let _ = done.try_send(());
                flushed
            }
        };
    }
}

/// Threads that wait for a flush at a time: the main thread at the end, and one that panics.
const FLUSHES_MAX: usize = 4;

/// The line of an entry, by the formatter of all lines; nothing when the filter leaves it out.
fn formatted(entry: &Entry) -> Vec<u8> {
    FORMATTED.set(Some(Vec::new()));
    log_line::write(entry);
    FORMATTED.take().unwrap_or_default()
}

thread_local! {
    /// On the log thread, while an entry is formatted: where its line goes.
    static FORMATTED: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// The runtime warns when it cannot register buffers for input and output of files. The broker does none, and makes it
/// release them at once when it could.
const RUNTIME_RINGS: &str = "glommio::sys::uring=error";

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;
    use tracing::subscriber::with_default;

    /// A sink that takes a line only when it is allowed to.
    struct Gate {
        allowed: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            let _ = self
                .written
                .send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_takes_nothing_costs_lines_and_no_time() {
        let (log, items) = Log::new(4, 2);
        let (allow, allowed) = unbounded();
        let (written, lines) = unbounded();
        let (places, kept) = (Arc::clone(&log.places), log.kept.clone());
        let gate = Gate { allowed, written };
        let thread = thread::spawn(move || write_all(&items, &places, &kept, gate));
        for number in 0..100_u8 {
            log.offer(Item::Line([number].into()));
        }
        // The thread has taken at most one out of the queue of four.
        assert!((95..=96).contains(&log.dropped()), "{}", log.dropped());
        let kept = 100 - log.dropped();
        for _ in 0..kept {
            allow.send(()).unwrap();
        }
        log.flush(Duration::from_secs(30));
        assert_eq!(lines.try_iter().count() as u64, kept);
        drop((log, allow));
        thread.join().unwrap();
    }

    #[test]
    fn changes_have_places_of_their_own_and_none_is_dropped() {
        let (mut log, items) = Log::new(4, 2);
        for number in 0..9_u8 {
            log.offer(Item::Line([number].into()));
        }
        assert_eq!(log.dropped(), 5);
        assert!(log.keep_place() && log.keep_place());
        assert!(!log.keep_place(), "two changes are under way");
        log.note_kept(Entry::Suppressed { refusals: 1 });
        assert!(!log.keep_place(), "one is, one waits to be written");
        log.give_back();
        assert!(log.keep_place());
        log.note_kept(Entry::Suppressed { refusals: 2 });
        assert_eq!(log.dropped(), 5);
        let (places, kept) = (Arc::clone(&log.places), log.kept.clone());
        drop(log);
        let mut written = Vec::new();
        write_all(&items, &places, &kept, &mut written);
        assert!(written.starts_with(&[0, 1, 2, 3]));
        let taken = |account: &Account| account.taken.load(Ordering::Relaxed);
        assert_eq!((taken(&places.lines), taken(&places.audits)), (0, 0));
    }

    #[test]
    fn lines_and_entries_are_written_in_order_by_one_formatter() {
        let (log, items) = Log::new(16, 1);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        let mut sink = Vec::new();
        with_default(subscriber, || {
            tracing::info!(shards = 2, "serving");
            log.journal().note(Entry::Suppressed { refusals: 7 });
            tracing::warn!("ended");
        });
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        drop(log);
        with_default(subscriber, || {
            // The subscriber holds a way to the queue, so it does not end by itself.
            for item in items.try_iter() {
                match item {
                    Item::Entry(entry) | Item::Change(entry) => sink.extend(formatted(&entry)),
                    Item::Line(line) => sink.extend(line),
                    Item::Flush(_) => {}
                }
            }
        });
        let text = String::from_utf8(sink).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("serving") && lines[2].contains("ended"));
        assert!(lines[1].contains("refusals=7"), "{text}");
    }
}
