//! The log thread, which formats queued items and writes them in batches.
//!
//! A batch contains up to [`BATCH_BYTES`] of queued lines and is written with a single call. After writing, the thread
//! sleeps for [`GATHER`] while new lines accumulate in the queue, so shards need not wake it. A line that follows a
//! quiet period is written at once, while a busy shard needs neither a system call nor a wake-up per line. Lines are
//! written in the order in which they were queued.

use crate::side::log::line::TARGET;
use crate::side::log::{Item, LogMemory, Places, line};
use crate::terminal;
use broker_core::{id::Account, journal::Entry};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use tracing::error;

pub(crate) fn write_all(
    items: &Receiver<Item>,
    places: &Places,
    kept: &LogMemory,
    sink: impl Write,
) {
    let mut batch = Batch::new(places, kept, sink);
    loop {
        let patience = if places.is_failing() {
            RETRY
        } else {
            Duration::MAX
        };
        match items.recv_timeout(patience) {
            Ok(first) => {
                let waiting = std::iter::once(first).chain(items.try_iter());
                waiting.for_each(|item| batch.take(item));
            }
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        batch.write();
        thread::sleep(GATHER);
    }
}

/// The lines of one write. Their places in the queue are released once they have been written.
///
/// If the sink accepts only part of a batch (as on a full disk), the audit lines of changes are kept and written again
/// later. All other lines are dropped and counted. Changes are refused until a retry succeeds. Each retry starts with a
/// line that states how many lines were dropped.
struct Batch<'p, W> {
    bytes: Vec<u8>,
    /// The offset in `bytes` at which each line ends and, for the audit line of a change, the account of the change.
    ends: Vec<(usize, Option<Account>)>,
    /// Number of bytes at the start of the batch that are left over from a failed write.
    held: usize,
    /// Number of queue places to release after the write, not counting the places of audit lines.
    lines: usize,
    line: Vec<u8>,
    /// Whether the last write ended in the middle of a line.
    torn: bool,
    lost: u64,
    places: &'p Places,
    kept: &'p LogMemory,
    sink: W,
}

impl<'p, W: Write> Batch<'p, W> {
    fn new(places: &'p Places, kept: &'p LogMemory, sink: W) -> Self {
        Self {
            bytes: Vec::with_capacity(BATCH_BYTES),
            ends: Vec::new(),
            held: 0,
            lines: 0,
            line: Vec::new(),
            torn: false,
            lost: 0,
            places,
            kept,
            sink,
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Entry(entry) => {
                self.format(entry);
                self.add(None);
                self.lines += 1;
            }
            Item::Change(entry, account) => {
                self.format(entry);
                self.add(Some(account));
            }
            Item::Line(line) => {
                self.line.clear();
                self.line.extend_from_slice(&line);
                self.add(None);
                self.lines += 1;
            }
            Item::Flush(done) => {
                self.write();
                let _ = self.sink.flush();
                let _ = done.try_send(());
            }
            Item::Mark(done) => {
                let _ = done.send(()); // the caller may have timed out
                self.lines += 1;
            }
        }
    }

    fn format(&mut self, entry: Entry) {
        format_into(&mut self.line, || line::write(&entry));
        if let Some(trouble) = self.kept.troubled.note(&entry) {
            trouble.tell(&self.kept.problems);
        }
        self.kept.problems.note(&entry);
        self.kept.recent.note(entry);
    }

    fn add(&mut self, change: Option<Account>) {
        let other = std::str::from_utf8(&self.line).ok().and_then(one_entry);
        if let Some(other) = other {
            self.line = other.into_bytes();
        }
        self.kept.tail.push(&self.line);
        if self.bytes.len() + self.line.len() > self.held + BATCH_BYTES {
            self.write();
        }
        self.bytes.extend_from_slice(&self.line);
        self.ends.push((self.bytes.len(), change));
    }

    fn write(&mut self) {
        let fits = !self.places.is_failing() || self.resumes();
        let taken = if fits { self.put(None) } else { 0 };
        self.settle(taken);
        self.places.lines.give_back(std::mem::take(&mut self.lines));
    }

    /// Tries to write a line that states how many lines were dropped. Returns whether the sink accepts lines again.
    fn resumes(&mut self) -> bool {
        let lost = self.lost;
        format_into(
            &mut self.line,
            || error!(target: TARGET, lost, "the log can be written again"),
        );
        if self.torn || self.line.is_empty() {
            self.line.insert(0, b'\n'); // even if the filter suppresses the line, so that something is written
        }
        let notice = std::mem::take(&mut self.line);
        if self.put(Some(&notice)) < notice.len() {
            return false;
        }
        self.kept.tail.push(&notice);
        self.lost = 0;
        self.places.failing.store(false, Ordering::Relaxed);
        true
    }

    /// Writes `notice` if there is one, and the batch otherwise. Returns how many bytes were accepted.
    fn put(&mut self, notice: Option<&[u8]>) -> usize {
        let bytes = notice.unwrap_or(&self.bytes);
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.sink.write(rest) {
                Ok(0) => return self.fails(taken, &io::ErrorKind::WriteZero.into()),
                Ok(more) => {
                    taken += more;
                    self.torn = bytes.get(taken - 1) != Some(&b'\n');
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return self.fails(taken, &error),
            }
        }
        taken
    }

    /// Starts refusing changes after a failed write. The reason is recorded only in the log's memory, since the sink
    /// cannot be written to.
    fn fails(&mut self, taken: usize, error: &io::Error) -> usize {
        if !self.places.failing.swap(true, Ordering::Relaxed) {
            format_into(
                &mut self.line,
                || error!(target: TARGET, %error, "the log cannot be written: changes are refused"),
            );
            self.kept.tail.push(&self.line);
        }
        taken
    }

    /// Removes the lines within the first `taken` bytes, which have been written. Of the remaining lines, keeps only
    /// the audit lines of changes.
    fn settle(&mut self, taken: usize) {
        let (mut from, mut held) = (0, 0);
        let bytes = &mut self.bytes;
        self.ends.retain_mut(|(end, change)| {
            let line = std::mem::replace(&mut from, *end)..*end;
            match change {
                Some(_) if *end > taken => {
                    bytes.copy_within(line.clone(), held);
                    held += line.len();
                    *end = held;
                    return true;
                }
                Some(account) => self.places.audits.give_back(*account),
                None if *end > taken && !line.is_empty() => {
                    self.lost += 1;
                    self.places.dropped.fetch_add(1, Ordering::Relaxed);
                }
                None => (),
            }
            false
        });
        bytes.truncate(held);
        self.held = held;
    }
}

/// Escapes the characters that a terminal would interpret, unless the formatter has already escaped them. Indents the
/// continuation lines of a message, so that they cannot be mistaken for entries. Returns `None` if the line needs no
/// change.
fn one_entry(line: &str) -> Option<String> {
    let shown = terminal::shown(line);
    let inner = shown.strip_suffix('\n').unwrap_or(&shown);
    let is_fit = matches!(shown, Cow::Borrowed(_)) && !inner.contains('\n');
    let end = if inner.len() < shown.len() { "\n" } else { "" };
    (!is_fit).then(|| inner.replace('\n', "\n    ") + end)
}

/// Replaces `line` with the formatted output of `write`, which is empty if the filter suppresses it.
fn format_into(line: &mut Vec<u8>, write: impl FnOnce()) {
    line.clear();
    FORMATTED.set(Some(std::mem::take(line)));
    write();
    *line = FORMATTED.take().unwrap_or_default();
}

pub(crate) fn take_formatted(line: &[u8]) -> bool {
    let Some(mut lines) = FORMATTED.take() else {
        return false;
    };
    lines.extend_from_slice(line);
    FORMATTED.set(Some(lines));
    true
}

thread_local! {
    static FORMATTED: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Maximum size of a batch in bytes, which is about 16 lines. A pipe accepts this many bytes atomically (`PIPE_BUF`),
/// so the output of other writers cannot end up in the middle of a line. A longer line forms a batch of its own.
const BATCH_BYTES: usize = 4096;

/// Interval between reads of the queue. Unless writes are slow, it is also the maximum delay of a line. At a million
/// lines a second, the queue overflows within this time.
const GATHER: Duration = Duration::from_millis(5);

const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::Log;
    use broker_core::journal::Journal;
    use crossbeam_channel::{Sender, bounded, unbounded};
    use std::cell::RefCell;
    use tracing::subscriber::with_default;

    /// A sink that waits for permission before it accepts a write.
    struct Gate {
        allowed: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            let _ = self
                .written
                .send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Gate, Sender<()>, Receiver<String>) {
        let (allow, allowed) = unbounded();
        let (written, writes) = unbounded();
        (Gate { allowed, written }, allow, writes)
    }

    #[test]
    fn a_sink_that_takes_nothing_costs_lines_and_no_time() {
        let (log, items) = Log::new(4, 2);
        let (gate, allow, writes) = gate();
        let (places, kept) = (log.places(), log.memory());
        let thread = thread::spawn(move || write_all(&items, &places, &kept, gate));
        for number in 0..100_u8 {
            log.offer(Item::Line([b'0' + number].into()));
        }
        // A line keeps its place until it has been written, and the sink has not accepted any line yet.
        assert_eq!(log.dropped(), 96);
        (0..4).for_each(|_| allow.send(()).unwrap());
        log.flush(Duration::from_secs(30));
        let written: String = writes.try_iter().collect();
        assert_eq!(written, "0123");
        drop((log, allow));
        thread.join().unwrap();
    }

    #[test]
    fn what_waits_is_written_by_one_call_and_a_flush_waits_for_what_was_before_it() {
        let (log, items) = Log::new(64, 1);
        let (places, kept) = (log.places(), log.memory());
        // Nothing in this text may change how a terminal displays it or look like an entry.
        let wild = "d\u{202e}\u{9b}1m\n2026-11-28T00:00:00Z  INFO no entry\n";
        (b'a'..b'd').for_each(|letter| log.offer(Item::Line([letter].into())));
        let (done, flushed) = bounded(1);
        log.queue(Item::Flush(done));
        log.offer(Item::Line(wild.as_bytes().into()));
        drop(log);
        let (gate, allow, writes) = gate();
        (0..2).for_each(|_| allow.send(()).unwrap());
        write_all(&items, &places, &kept, gate);
        let writes: Vec<String> = writes.try_iter().collect();
        let indented = "d\\u202e\\u009b1m\n    2026-11-28T00:00:00Z  INFO no entry\n";
        assert_eq!(writes, ["abc", indented]);
        assert!(flushed.try_recv().is_ok());
    }

    #[test]
    fn a_batch_is_of_whole_lines_that_a_pipe_takes_in_one_piece() {
        let (log, items) = Log::new(64, 1);
        let (places, kept) = (log.places(), log.memory());
        let line = |letter: u8, bytes: usize| [vec![letter; bytes - 1], b"\n".to_vec()].concat();
        for (letter, bytes) in [
            (b'a', 4_000),
            (b'b', 96),
            (b'c', 5_000),
            (b'd', 1),
            (b'e', 4_096),
        ] {
            log.offer(Item::Line(line(letter, bytes).into()));
        }
        drop(log);
        let (gate, allow, writes) = gate();
        (0..9).for_each(|_| allow.send(()).unwrap());
        write_all(&items, &places, &kept, gate);
        let writes: Vec<usize> = writes.try_iter().map(|write| write.len()).collect();
        assert_eq!(writes, [4_096, 5_000, 1, 4_096]);
    }

    #[test]
    fn lines_and_entries_are_written_in_order_by_one_formatter() {
        let (log, items) = Log::new(16, 1);
        let subscriber = || {
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(log.clone())
                .finish()
        };
        with_default(subscriber(), || {
            tracing::info!(shards = 2, "serving");
            let counts = Box::default();
            let refusals = 7;
            (log.journal()).note(Entry::Suppressed { refusals, counts });
            tracing::warn!("ended");
        });
        let (places, kept) = (log.places(), log.memory());
        let mut sink = Vec::new();
        with_default(subscriber(), || {
            // The subscriber holds a sender of the queue, which is therefore never closed.
            let mut batch = Batch::new(&places, &kept, &mut sink);
            items.try_iter().for_each(|item| batch.take(item));
            batch.write();
        });
        let text = String::from_utf8(sink).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("serving") && lines[2].contains("ended"));
        assert!(lines[1].contains("refusals=7"), "{text}");
    }

    /// A disk with limited space. A write fails if there is no space for it.
    struct Disk<'d> {
        room: &'d Cell<usize>,
        text: &'d RefCell<String>,
    }

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room.get());
            self.room.set(self.room.get() - taken);
            let text = std::str::from_utf8(&bytes[..taken]).unwrap();
            self.text.borrow_mut().push_str(text);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Writes a line, a change and another line to a disk that has too little space, and then frees space.
    #[test]
    fn a_full_disk_loses_no_change_and_counts_all_else() {
        const CHANGE: &str = " WARN broker::journal: too many ends of connections to log ends=7\n";
        let resumed =
            |lost| format!("ERROR broker::journal: the log can be written again lost={lost}\n");
        for (room, before, lost, after) in [
            (0, String::new(), 2, CHANGE),
            (3, "fir\n".into(), 2, CHANGE),
            (6, "first\n".into(), 1, CHANGE),
            (10, "first\n WAR\n".into(), 1, CHANGE),
            (6 + CHANGE.len(), format!("first\n{CHANGE}"), 1, ""),
            (8 + CHANGE.len(), format!("first\n{CHANGE}la\n"), 1, ""),
        ] {
            let (mut log, items) = Log::new(16, 4);
            let (places, kept) = (log.places(), log.memory());
            let (room, text) = (Cell::new(room), RefCell::default());
            let (space, out) = (&room, &text);
            let mut batch = Batch::new(
                &places,
                &kept,
                Disk {
                    room: space,
                    text: out,
                },
            );
            let lines = tracing_subscriber::fmt()
                .without_time()
                .with_ansi(false)
                .with_writer(log.clone());
            log.offer(Item::Line(b"first\n".as_slice().into()));
            assert!(log.keep_place(Account(1)));
            log.note_kept(Account(1), Entry::EndsSuppressed { ends: 7 });
            log.offer(Item::Line(b"last\n".as_slice().into()));
            with_default(lines.finish(), || {
                items.try_iter().for_each(|item| batch.take(item));
                batch.write();
                assert_eq!(log.dropped(), lost, "{before:?}");
                assert!(!log.keep_place(Account(2)), "no change begins");
                batch.write();
                assert!(!log.keep_place(Account(2)), "it is still full");
                room.set(usize::MAX);
                batch.write();
            });
            assert!(log.keep_place(Account(2)), "changes go on");
            assert_eq!(log.dropped(), lost);
            assert_eq!(*text.borrow(), before + &resumed(lost) + after);
        }
    }

    #[test]
    fn a_device_that_is_full_has_no_changes() {
        let (mut log, items) = Log::new(4, 4);
        let (places, kept) = (log.places(), log.memory());
        let full = std::fs::File::options().write(true).open("/dev/full");
        let full = full.unwrap();
        let thread = thread::spawn(move || write_all(&items, &places, &kept, full));
        assert!(log.keep_place(Account(1)));
        log.offer(Item::Line(b"line\n".as_slice().into()));
        log.flush(Duration::from_secs(30));
        assert_eq!((log.dropped(), log.keep_place(Account(1))), (1, false));
        log.give_back(Account(1));
        drop(log);
        thread.join().unwrap();
    }
}
