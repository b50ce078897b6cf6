//! The history of this node: rows of metrics, marks for process events, and causes of problems, stored in two files of
//! fixed size. Also implements `GET /history`.
//!
//! ```text
//!  main thread ── a row every 2 s, marks ──┐  bounded queue                     ┌── history.ring   rows
//!                                          ├──────────────► thread "history" ──┤
//!  side thread ── causes, forget ──────────┘                                    └── history.notes  marks, causes
//! ```
//! `slots` defines the format of both files; `rows` and `notes` define their content. A separate thread writes the
//! files, so a disk that hangs blocks no other thread. If the queue to this thread is full, entries are dropped. Writes
//! are not synced, so a power loss may lose the last few seconds, but killing the process loses nothing that was
//! written. Nothing is cached in memory. A blocking thread of the runtime serves requests one at a time by reading the
//! files.

pub(crate) mod notes;
pub(crate) mod rows;
mod slots;

use crate::edge::turn::calendar;
use crate::limits::{
    HISTORY_BYTES, HISTORY_JOBS_WAITING_MAX, HISTORY_NOTES_WAITING_MAX, HISTORY_ROWS_SHOWN_MAX,
};
use crate::side::admin::http::{Fault, parameter, time, unusable};
use crate::side::inspector::Inspector;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use codec::calendar::rfc3339;
use crossbeam_channel::{Receiver, Sender, bounded};
use notes::{Cause, Mark, MarkKind, NOTES_BYTES, Notes};
use rows::{COLUMNS, Open, RING_BYTES, Row, STEPS, Tick};
use serde_json::{Value, json as value};
use slots::Slots;
use std::collections::VecDeque;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};
use tokio::sync::Mutex;

/// The history of this node. Clones share it. The history created by [`Default`] stores nothing.
#[derive(Clone, Debug)]
pub struct HistoryStore {
    rows: Arc<Slots>,
    notes: Arc<Slots>,
    jobs: Option<Sender<Job>>,
    turn: Arc<Mutex<()>>,
}

/// A predicate that decides whether to erase a note, given its time in milliseconds and its text.
type Fits = Box<dyn Fn(u64, &str) -> bool + Send>;

enum Job {
    Tick(Box<Tick>),
    Note(Note),
    Forget(Fits, Sender<usize>),
    /// Acknowledges once all earlier jobs have been written.
    Settle(Sender<()>),
}

#[derive(Debug)]
enum Note {
    Mark(Mark),
    Cause(Box<Cause>),
}

impl Default for HistoryStore {
    fn default() -> Self {
        Self {
            rows: Arc::new(Slots::in_memory(0)),
            notes: Arc::new(Slots::in_memory(0)),
            jobs: None,
            turn: Arc::default(),
        }
    }
}

impl HistoryStore {
    /// Opens the history in a data directory, or in memory if there is none. If the files cannot be created, logs a
    /// warning and uses memory.
    ///
    /// # Errors
    /// Fails if the writer thread cannot be started.
    pub fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let slots = |name: &str, bytes, reserved| {
            let opened = data_dir.map(|dir| Slots::open(&dir.join(name), reserved));
            let opened = opened.transpose().unwrap_or_else(|error| {
                tracing::warn!("{name}: {error}: the history is kept in memory only");
                None
            });
            Arc::new(opened.unwrap_or_else(|| Slots::in_memory(bytes)))
        };
        let rows = slots(RING, RING_BYTES, Some(RING_BYTES));
        let notes = slots(NOTES, NOTES_BYTES, None);
        let (jobs, orders) = bounded(HISTORY_JOBS_WAITING_MAX);
        let (of_rows, of_notes) = (Arc::clone(&rows), Arc::clone(&notes));
        let run = move || Writer::new(of_rows, of_notes).run(&orders);
        let thread = thread::Builder::new().name("history".into());
        thread.stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self {
            rows,
            notes,
            jobs: Some(jobs),
            turn: Arc::default(),
        })
    }

    pub(crate) fn tick(&self, tick: Tick) {
        self.order(Job::Tick(Box::new(tick)));
    }

    /// Adds a mark with the current time to the history.
    pub fn mark(&self, kind: MarkKind, says: impl Into<String>) {
        self.order(Job::Note(Note::Mark(Mark {
            at: calendar().0,
            kind,
            says: says.into(),
        })));
    }

    /// Records a cause in the history, replacing any earlier cause with the same id.
    pub fn record(&self, cause: Cause) {
        self.order(Job::Note(Note::Cause(Box::new(cause))));
    }

    /// Erases the marks and causes for which `fits` returns `true`, given their time in milliseconds and their text.
    /// Returns how many were erased, or `None` if the disk takes too long. Blocks for a limited time.
    pub(crate) fn forget(
        &self,
        fits: impl Fn(u64, &str) -> bool + Send + 'static,
    ) -> Option<usize> {
        let Some(jobs) = &self.jobs else {
            return Some(0);
        };
        let (to, forgotten) = bounded(1);
        let job = Job::Forget(Box::new(fits), to);
        jobs.send_timeout(job, SETTLE_MAX).ok()?;
        forgotten.recv_timeout(SETTLE_MAX).ok()
    }

    /// Waits until all earlier jobs have been written, but only for a limited time.
    pub fn settle(&self) {
        let (to, settled) = bounded(1);
        self.order(Job::Settle(to));
        let _ = settled.recv_timeout(SETTLE_MAX);
    }

    fn order(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.try_send(job); // rows are lost if the disk hangs for minutes
        }
    }

    pub(crate) fn hour(&self) -> Value {
        let now = calendar().0;
        let span = now.saturating_sub(HOUR_MS)..=now;
        let mut rows = rows::read(&self.rows, &STEPS[0]);
        rows.retain(|row| span.contains(&row.at_ms));
        let per_second = |row: &Row, columns: &[&str]| {
            let counts = columns.iter().filter_map(|column| row.get(column));
            let seconds = f64::from(row.span_ms.max(1)) / 1e3;
            rounded(counts.sum::<f64>().max(0.0) / seconds)
        };
        let rates = |columns| rows.iter().map(|row| per_second(row, columns)).collect();
        let ends = rows.iter().map(|row| row.at_ms + u64::from(row.span_ms));
        [
            ("t", ends.collect()),
            ("messagesPerSecond", rates(&["messages"])),
            ("refusedPerSecond", rates(&REFUSED)),
        ]
        .into_iter()
        .chain(HOUR.map(|name| (name, column(&rows, name))))
        .collect()
    }
}

pub(crate) const REFUSED: [&str; 4] = [
    "refused_signature",
    "refused_policy",
    "refused_rate",
    "refused_other",
];
const HOUR: [&str; 6] = [
    "deliveryP50Us",
    "deliveryP99Us",
    "setupP50Ms",
    "setupP99Ms",
    "masters",
    "viewers",
];

pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

// The thread that writes the files.

struct Writer {
    rows: Arc<Slots>,
    notes: Arc<Slots>,
    open: [Open; STEPS.len()],
    kept: Notes,
    waiting: VecDeque<Note>,
    /// The time when writes started to fail, and the error.
    failing: Option<(u64, String)>,
    ended_ms: Option<u64>,
}

impl Writer {
    /// Creates the writer, which appends to the entries of earlier processes. If the previous process did not record
    /// that it stopped, adds a mark to the history that says so.
    fn new(rows: Arc<Slots>, notes: Arc<Slots>) -> Self {
        let open = STEPS.each_ref().map(|step| Open::of(&rows, step));
        let kept = Notes::of(&notes);
        let last = open.iter().filter_map(|open| open.before);
        let last = last.map(|row| row.at_ms + u64::from(row.span_ms)).max();
        let killed = kept.unended().map(|noted| Mark {
            at: last.unwrap_or(noted).max(noted),
            kind: MarkKind::Killed,
            says: "the process ended without a mark: killed, out of memory, a crash, or a loss of power".into(),
        });
        Self {
            rows,
            notes,
            open,
            kept,
            waiting: killed.map(Note::Mark).into_iter().collect(),
            failing: None,
            ended_ms: None,
        }
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        self.write_notes();
        for job in jobs {
            match job {
                Job::Tick(tick) => self.tick(&tick),
                Job::Note(note) => self.note(note),
                Job::Forget(fits, to) => {
                    self.waiting.retain(|note| !note.fits(&fits));
                    let _ = to.send(self.kept.forget(&self.notes, &fits));
                }
                Job::Settle(to) => drop(to.send(())),
            }
        }
    }

    fn tick(&mut self, tick: &Tick) {
        let row = &tick.row;
        if let Some(jump) = self.ended_ms.and_then(|ended| jump(ended, row.at_ms)) {
            self.note(Note::Mark(Mark {
                at: row.at_ms,
                kind: MarkKind::Alert,
                says: jump,
            }));
        }
        self.ended_ms = Some(row.at_ms + u64::from(row.span_ms));
        let rows = &self.rows;
        let written = self.open.iter_mut().map(|open| open.add(rows, tick));
        let written: Vec<_> = written.collect();
        self.has_written(written.into_iter().collect());
        self.write_notes();
    }

    fn note(&mut self, note: Note) {
        if self.waiting.len() < HISTORY_NOTES_WAITING_MAX {
            self.waiting.push_back(note);
        }
        self.write_notes();
    }

    /// Writes the waiting notes until none are left or a write fails.
    fn write_notes(&mut self) {
        while let Some(note) = self.waiting.front() {
            let written = match note {
                Note::Mark(mark) => self.kept.mark(&self.notes, mark),
                Note::Cause(cause) => self.kept.cause(&self.notes, cause),
            };
            let is_written = written.is_ok();
            if is_written {
                self.waiting.pop_front();
            }
            self.has_written(written);
            if !is_written {
                return;
            }
        }
    }

    /// Logs when writes start to fail, and when they succeed again.
    fn has_written(&mut self, written: io::Result<()>) {
        match (written, self.failing.take()) {
            (Ok(()), None) => {}
            (Ok(()), Some((since, error))) => {
                tracing::info!("the history can be written again");
                self.waiting.push_back(Note::Mark(Mark {
                    at: calendar().0,
                    kind: MarkKind::Alert,
                    says: format!(
                        "the history could not be written since {}: {error}",
                        rfc3339(since)
                    ),
                }));
            }
            (Err(error), None) => {
                tracing::warn!(
                    "the history cannot be written: {error}: its rows are dropped until it can"
                );
                self.failing = Some((calendar().0, error.to_string()));
            }
            (Err(_), failing) => self.failing = failing,
        }
    }
}

impl Note {
    fn fits(&self, fits: &Fits) -> bool {
        let (at, text) = match self {
            Self::Mark(mark) => (mark.at, serde_json::to_string(mark)),
            Self::Cause(cause) => (cause.last, serde_json::to_string(cause)),
        };
        fits(at, &text.unwrap_or_default())
    }
}

/// Returns the text of a history mark if the wall clock has jumped relative to the monotonic clock.
fn jump(ended_ms: u64, at_ms: u64) -> Option<String> {
    let seconds = at_ms.abs_diff(ended_ms) / 1000;
    if seconds < JUMP_S {
        return None;
    }
    Some(if at_ms > ended_ms {
        format!("the clock went {seconds} s forward: it was set, or the machine slept")
    } else {
        format!("the clock was set back by {seconds} s: rows of both passes have the same moments")
    })
}

/// Smallest jump that is reported, in seconds. Time daemons make smaller corrections.
const JUMP_S: u64 = 5;

// `GET /history`.

pub(crate) fn routes(store: HistoryStore, inspector: Inspector) -> Router {
    let router = Router::new().route("/history", get(page));
    router.with_state((store, inspector))
}

/// `GET /history?from=&to=&step=&format=&scope=`: returns rows, marks and causes of all nodes or, if the scope is
/// `node`, of this node.
async fn page(
    State((store, inspector)): State<(HistoryStore, Inspector)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let query = query.unwrap_or_default();
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    if is_csv(&query, accept.unwrap_or_default())? {
        let text = store.read(&query, HistoryStore::csv).await?;
        return Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response());
    }
    let mut document = store.own(&query).await?;
    if let Some(nodes) = inspector.scope(&query)? {
        let lists = ["problems", "marks"];
        let others = nodes.join("/history", &query, &mut document, &lists, &[]);
        let figures = others.await?.into_iter().map(|(node, mut of)| {
            let figures = ["step", "begins", "columns"].map(|name| (name, of[name].take()));
            (node, Value::from_iter(figures))
        });
        document["nodes"] = figures.collect();
    }
    Ok(Json(document).into_response())
}

fn is_csv(query: &str, accept: &str) -> Result<bool, Fault> {
    match parameter(query, "format")?.as_deref() {
        None => Ok(accept.contains("text/csv")),
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(other) => Err(unusable("format", "json or csv", other)),
    }
}

const ENDS: Fault = Fault::unavailable("the process is shutting down");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    from: u64,
    to: u64,
    /// The resolution, as an index into [`STEPS`]. `None` selects the finest one whose rows fit into the response.
    step: Option<usize>,
}

impl Wanted {
    fn parse(query: &str, now: u64) -> Result<Self, Fault> {
        let to = time(query, "to", now)?.map_or(now, |at| at.0);
        let from = time(query, "from", now)?;
        let from = from.map_or_else(|| to.saturating_sub(HOUR_MS), |at| at.0);
        if from >= to {
            return Err(Fault::bad("from: must be before to"));
        }
        let step = parameter(query, "step")?.map(|text| {
            let place = STEP_NAMES.iter().position(|name| *name == text);
            place.ok_or_else(|| unusable("step", "2s, 1m or 15m", &text))
        });
        let step = step.transpose()?;
        Ok(Self { from, to, step })
    }
}

const STEP_NAMES: [&str; STEPS.len()] = ["2s", "1m", "15m"];

impl HistoryStore {
    /// Runs a function that reads the files, on a blocking thread of the runtime.
    async fn read<T: Send + 'static>(
        &self,
        query: &str,
        make: fn(&Self, &Wanted) -> T,
    ) -> Result<T, Fault> {
        let wanted = Wanted::parse(query, calendar().0)?;
        let (store, turn) = (self.clone(), Arc::clone(&self.turn).lock_owned().await);
        let made = tokio::task::spawn_blocking(move || {
            let made = make(&store, &wanted);
            drop(turn);
            made
        });
        made.await.map_err(|_| ENDS)
    }

    pub(crate) async fn own(&self, query: &str) -> Result<Value, Fault> {
        self.read(query, Self::document).await
    }

    fn notes(&self, wanted: &Wanted) -> Value {
        let Wanted { from, to, .. } = *wanted;
        let marks = notes::marks(&self.notes, from, to);
        let causes = notes::causes(&self.notes, from, to);
        value!({
            "from": rfc3339(from),
            "to": rfc3339(to),
            "problems": causes.iter().map(Cause::json).collect::<Value>(),
            "marks": marks,
        })
    }

    fn document(&self, wanted: &Wanted) -> Value {
        let (rows, step_s, begins) = self.rows(wanted);
        let times = ("t", rows.iter().map(|row| row.at_ms).collect());
        let columns = COLUMNS.iter().map(|(name, _)| (*name, column(&rows, name)));
        let mut document = self.notes(wanted);
        document["step"] = step_s.into();
        document["begins"] = begins.map(rfc3339).into();
        document["columns"] = columns.chain([times]).collect();
        document
    }

    fn csv(&self, wanted: &Wanted) -> String {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let mut text = format!("t,{}\r\n", names.join(","));
        for row in self.rows(wanted).0 {
            let _ = write!(text, "{}", row.at_ms);
            for name in &names {
                let number = row.get(name).map(|it| rounded(it).to_string());
                let _ = write!(text, ",{}", number.unwrap_or_default());
            }
            text.push_str("\r\n");
        }
        text
    }

    /// Returns the rows, the duration of each row in seconds, and the time of the oldest row stored.
    fn rows(&self, wanted: &Wanted) -> (Vec<Row>, u64, Option<u64>) {
        let Wanted { from, to, step } = *wanted;
        let mut all = STEPS.each_ref().map(|step| rows::read(&self.rows, step));
        let first = |rows: &Vec<Row>| rows.first().map(|row| row.at_ms);
        let begins = all.iter().filter_map(first).min();
        let since = from.max(begins.unwrap_or_default());
        for (rows, step) in all.iter_mut().zip(&STEPS) {
            // A resolution whose rows do not reach back far enough is skipped, unless the request specifies it.
            let reaches = first(rows).is_some_and(|first| first <= since + 2 * step.ms);
            if wanted.step.is_none() && !reaches {
                rows.clear();
            }
            rows.retain(|row| (from..=to).contains(&row.at_ms));
        }
        let chosen = step.or_else(|| all.iter().position(|rows| !rows.is_empty()));
        let chosen = chosen.unwrap_or(STEPS.len() - 1);
        let ms = STEPS.get(chosen).map_or(0, |step| step.ms);
        let (rows, times) = fewer(all.into_iter().nth(chosen).unwrap_or_default(), ms);
        (rows, ms * times / 1000, begins)
    }
}

fn column(rows: &[Row], name: &str) -> Value {
    let numbers = rows.iter().map(|row| row.get(name).map(rounded));
    numbers.collect()
}

/// Merges consecutive rows into longer ones until they fit into the response. Also returns the length of the merged
/// rows as a multiple of `ms`.
fn fewer(rows: Vec<Row>, ms: u64) -> (Vec<Row>, u64) {
    let mut times = 1;
    let mut fewer = rows.clone();
    while fewer.len() > HISTORY_ROWS_SHOWN_MAX {
        times += 1;
        fewer.clear();
        for row in &rows {
            let of = row.at_ms / (ms * times);
            match fewer.last_mut() {
                Some(last) if last.at_ms / (ms * times) == of => last.merge(row),
                Some(_) | None => fewer.push(*row),
            }
        }
    }
    (fewer, times)
}

const _: () = assert!(RING_BYTES + NOTES_BYTES <= HISTORY_BYTES);

const RING: &str = "history.ring";
const NOTES: &str = "history.notes";

const HOUR_MS: u64 = 3_600_000;
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Stack size of the writer thread, enough for a row and a slot.
const STACK_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
