//! The log thread: formats what waits, and writes it in batches.
//!
//! A batch is what waits when the thread looks, up to [`BATCH_BYTES`] of whole lines, and is written by one call. After
//! a batch the thread sleeps for [`GATHER`]: meanwhile lines gather, and a shard that logs wakes nobody. So a line
//! after a pause is written at once, and a busy shard pays neither a system call for each of its lines nor the wake-up
//! of this thread. Lines are written in the order in which they were queued.

use crate::side::log::{Item, LogMemory, Places, line};
use crate::terminal;
use broker_core::{id::Account, journal::Entry};
use crossbeam_channel::Receiver;
use std::borrow::Cow;
use std::cell::Cell;
use std::io::Write;
use std::thread;
use std::time::Duration;

/// Writes until no sender of lines is left.
pub(crate) fn write_all(
    items: &Receiver<Item>,
    places: &Places,
    kept: &LogMemory,
    sink: impl Write,
) {
    let mut batch = Batch::new(places, sink);
    while let Ok(first) = items.recv() {
        let waiting = items.try_iter();
        std::iter::once(first)
            .chain(waiting)
            .for_each(|item| batch.take(item, kept));
        batch.write();
        thread::sleep(GATHER);
    }
}

/// Lines that are written together. Their places in the queue are taken until they are.
struct Batch<'p, W> {
    bytes: Vec<u8>,
    lines: usize,
    audits: Vec<Account>,
    /// The line that is taken in.
    line: Vec<u8>,
    places: &'p Places,
    sink: W,
}

impl<'p, W: Write> Batch<'p, W> {
    fn new(places: &'p Places, sink: W) -> Self {
        Self {
            bytes: Vec::with_capacity(BATCH_BYTES),
            lines: 0,
            audits: Vec::new(),
            line: Vec::new(),
            places,
            sink,
        }
    }

    fn take(&mut self, item: Item, kept: &LogMemory) {
        match item {
            Item::Entry(entry) => {
                self.format(entry, kept);
                self.add(kept);
                self.lines += 1;
            }
            Item::Change(entry, account) => {
                self.format(entry, kept);
                self.add(kept);
                self.audits.push(account);
            }
            Item::Line(line) => {
                self.line.clear();
                self.line.extend_from_slice(&line);
                self.add(kept);
                self.lines += 1;
            }
            Item::Flush(done) => {
                self.write();
                // A sink that is gone is reported nowhere: there is no other place for it.
                let _ = self.sink.flush();
                let _ = done.try_send(());
            }
            Item::Mark(done) => {
                let _ = done.send(()); // one that does not wait any more misses nothing
                self.lines += 1;
            }
        }
    }

    fn format(&mut self, entry: Entry, kept: &LogMemory) {
        format_into(&mut self.line, &entry);
        kept.troubled.note(&entry);
        kept.recent.note(entry);
    }

    /// Adds the line to the batch, or begins the next one with it.
    fn add(&mut self, kept: &LogMemory) {
        let other = std::str::from_utf8(&self.line).ok().and_then(one_entry);
        if let Some(other) = other {
            self.line = other.into_bytes();
        }
        kept.tail.push(&self.line);
        if self.bytes.len() + self.line.len() > BATCH_BYTES {
            self.write();
        }
        self.bytes.extend_from_slice(&self.line);
    }

    fn write(&mut self) {
        if !self.bytes.is_empty() {
            // As above.
            let _ = self.sink.write_all(&self.bytes);
            self.bytes.clear();
        }
        self.places.lines.give_back(std::mem::take(&mut self.lines));
        let audits = self.audits.drain(..);
        audits.for_each(|account| self.places.audits.give_back(account));
    }
}

/// A line without what a terminal would obey, unless it is so already. Where a message is of several lines, those
/// behind its first are indented: none of them can be taken for another entry.
fn one_entry(line: &str) -> Option<String> {
    let shown = terminal::shown(line);
    let inner = shown.strip_suffix('\n').unwrap_or(&shown);
    let is_fit = matches!(shown, Cow::Borrowed(_)) && !inner.contains('\n');
    let end = if inner.len() < shown.len() { "\n" } else { "" };
    (!is_fit).then(|| inner.replace('\n', "\n    ") + end)
}

/// Writes the line of an entry in place of what is in `line`, by the formatter of all lines; nothing when the filter
/// leaves it out.
fn format_into(line: &mut Vec<u8>, entry: &Entry) {
    line.clear();
    FORMATTED.set(Some(std::mem::take(line)));
    line::write(entry);
    *line = FORMATTED.take().unwrap_or_default();
}

/// Takes a line of the formatter, if it is that of an entry which this thread has formatted.
pub(crate) fn take_formatted(line: &[u8]) -> bool {
    let Some(mut lines) = FORMATTED.take() else {
        return false;
    };
    lines.extend_from_slice(line);
    FORMATTED.set(Some(lines));
    true
}

thread_local! {
    /// On the log thread, while an entry is formatted: where its line goes.
    static FORMATTED: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Bytes of one batch, some 16 lines: what a pipe takes in one piece (`PIPE_BUF`), so that nothing that others write
/// to it comes in the middle of a line. A line that is longer is a batch of its own.
const BATCH_BYTES: usize = 4096;

/// From one look at the queue to the next: how long a line waits at most while the disk is quick. Meanwhile the queue
/// fills up at a million lines a second.
const GATHER: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::Log;
    use crossbeam_channel::{Sender, bounded, unbounded};
    use std::io;
    use tracing::subscriber::with_default;

    /// A sink that takes what it is given only when it is allowed to, a call each time.
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
        // A place is taken until its line is written, and the sink takes none.
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
        // Nothing of it turns what a terminal shows, or looks like an entry.
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
            // The subscriber holds a way to the queue, so it does not end by itself.
            let mut batch = Batch::new(&places, &mut sink);
            items.try_iter().for_each(|item| batch.take(item, &kept));
            batch.write();
        });
        let text = String::from_utf8(sink).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("serving") && lines[2].contains("ended"));
        assert!(lines[1].contains("refusals=7"), "{text}");
    }
}
