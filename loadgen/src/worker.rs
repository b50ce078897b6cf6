//! A worker thread: its connections, the parties that use them, and its event loop.

mod advance;
pub(crate) mod directory;
mod launch;
pub(crate) mod lines;
mod socket;
mod timers;
pub(crate) mod tls;

use crate::edge::board::{Gauge, RunBoard, RunPhase, Sum};
use crate::options::{EngineChoice, Mode};
use crate::result::{CutOff, Document, Interval, ScheduleLag, TargetCounts, known};
use crate::schedule::{RunShare, SessionSchedule};
use crate::visit::{Crew, MessageDesk};
use crate::{measure::ConnectionCounts, peer::Name, plan::Plan};
use codec::sigv4::signer::Signer;
use directory::{Directory, LookupRequest};
use lines::{Lines, Route};
use ring::Engine;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use timers::{MessagePace, Timers};

#[derive(Clone, Copy, Debug)]
pub(crate) struct RunContext<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) document: &'a Document,
    pub(crate) board: &'a RunBoard,
    /// The routes to the service: one per target, followed by one for the alternative target, if any.
    pub(crate) routes: &'a [Arc<Route>],
    pub(crate) lookups: Option<&'a Sender<LookupRequest>>,
    /// ARNs of this process's channels, in share order. Empty if the ARNs are derived from the plan.
    pub(crate) arns: &'a [String],
    pub(crate) zero: Instant,
    /// When the run's clock started, in seconds since 1970. Used for signatures.
    pub(crate) zero_s: u64,
}

pub(crate) struct Worker<'a> {
    shared: RunContext<'a>,
    gauge: &'a Gauge,
    share: RunShare,
    lines: Lines,
    directory: Directory,
    crew: Crew,
    signer: Option<Signer<'a>>,
    /// When the sessions start. `None` in closed-loop modes.
    schedule: Option<SessionSchedule>,
    timers: Timers,
    pace: Option<MessagePace>,
    next: Option<u32>,
    waiting: VecDeque<Name>,
    /// How many of the waiting peers may connect during the first phase.
    first: u64,
    opening: usize,
    masters_settled: u64,
    settled: Vec<bool>,
    master_attempts: Vec<u32>,
    connections: ConnectionCounts,
    by_target: Vec<ConnectionCounts>,
    opened: Opened,
    /// Number of sessions that are running or waiting to reconnect, plus the number of peers that have not lost their
    /// connection.
    active: u64,
    log: IntervalLog,
    phase: RunPhase,
    close_begun_ns: u64,
}

/// The figures for each second, and the counts at the end of the last interval.
#[derive(Debug, Default)]
struct IntervalLog {
    begins_ns: Option<u64>,
    intervals: Vec<Interval>,
    completed: u64,
    received: u64,
    failed: u64,
}

impl<'a> Worker<'a> {
    /// Creates a worker. Returns an error if creating the ring fails, or if the run has too many shares.
    pub(crate) fn new(shared: RunContext<'a>, number: u32, of: u32) -> io::Result<Self> {
        let plan = shared.plan;
        let gauge = shared.board.gauges.get(number as usize);
        let gauge = gauge.ok_or_else(|| io::Error::other("a worker without a gauge"))?;
        let share = plan.share.split(number, of);
        let share = share.ok_or_else(|| io::Error::other("more threads than a run can have"))?;
        let seed = u64::from(plan.terms.run) << 16 | u64::from(number);
        let waiting: VecDeque<Name> = plan.held(share).collect();
        let is_closed = !plan.mode.is_open_loop();
        // The first connections make the server allocate its base memory, which only these two modes measure.
        let first = match plan.mode {
            Mode::Relay | Mode::Idle => {
                (waiting.len() as u64 / FIRST_SHARE).clamp(1, FIRST_MAX / u64::from(of))
            }
            Mode::Connect | Mode::Sessions | Mode::Storm => u64::MAX,
        };
        let engine = match plan.engine {
            EngineChoice::Epoll => Engine::Epoll,
            EngineChoice::Auto | EngineChoice::IoUring => Engine::IoUring,
        };
        let masters = if is_closed { 0 } else { waiting.len() };
        let sessions = plan.schedule.as_ref().map(SessionSchedule::sessions);
        Ok(Self {
            shared,
            gauge,
            share,
            lines: Lines::new(shared.routes.to_vec(), engine)?,
            directory: Directory::new(shared.routes, shared.lookups.cloned()),
            crew: Crew::new(MessageDesk::new(plan.terms, seed), share),
            signer: plan.signer(),
            next: sessions.and_then(|sessions| share.session_from(0, plan.channels, sessions)),
            schedule: plan.schedule.clone(),
            timers: Timers::default(),
            pace: None,
            first,
            opening: 0,
            masters_settled: 0,
            settled: vec![false; masters],
            master_attempts: vec![0; masters],
            connections: ConnectionCounts::default(),
            by_target: match plan.targets.len() {
                1 => Vec::new(),
                several => vec![ConnectionCounts::default(); several],
            },
            opened: Opened::default(),
            active: if is_closed { waiting.len() as u64 } else { 0 },
            log: IntervalLog::default(),
            phase: RunPhase::OpenFirst,
            close_begun_ns: 0,
            waiting,
        })
    }

    /// Runs this worker's share of the load through all phases and returns the results. Returns an error if the ring
    /// fails.
    pub(crate) fn run(mut self) -> io::Result<Document> {
        self.look_at_clock();
        loop {
            self.enter(self.shared.board.phase());
            self.open_waiting();
            if self.schedule.is_some() || self.pace.is_some() {
                // Handling received bytes takes time, and delays are measured, so read the clock again.
                self.look_at_clock();
                self.launch();
                self.say_due();
            }
            self.on_time();
            if self.shared.plan.discover {
                self.hear_lookups();
            }
            self.note();
            self.publish();
            if self.phase == RunPhase::Close && self.is_over() {
                break;
            }
            let patience = self.patience();
            self.lines.turn(patience)?;
            self.look_at_clock();
            while let Some(news) = self.lines.next() {
                self.advance(news);
            }
        }
        Ok(self.document())
    }

    /// Returns when the current event loop iteration started, in nanoseconds on the run's clock.
    pub(crate) const fn now_ns(&self) -> u64 {
        self.crew.desk.now_ns
    }

    /// Returns whether all parties connect at once and reconnect on their own.
    fn is_storm(&self) -> bool {
        self.shared.plan.mode == Mode::Storm
    }

    fn look_at_clock(&mut self) {
        let elapsed = self.shared.zero.elapsed();
        self.crew.desk.now_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    }

    fn enter(&mut self, phase: RunPhase) {
        if phase == self.phase {
            return;
        }
        let relays = self.shared.plan.mode == Mode::Relay;
        let is_paced = self.shared.plan.pace.is_some();
        let is_running = phase == RunPhase::WarmUp || phase == RunPhase::Measure;
        self.crew.relay.is_measured = phase == RunPhase::Measure;
        if phase == RunPhase::Measure {
            let tally = &self.crew.desk.tally;
            // Without a warm-up, no rejection can have been seen yet.
            self.crew.desk.asks = tally.throttled + tally.refused > 0 || tally.received == 0;
        }
        if relays && is_running && self.phase < RunPhase::WarmUp {
            if is_paced {
                self.begin_pace();
            } else {
                for line in 0..self.lines.len() {
                    let crew = &mut self.crew;
                    self.lines.write(line, |out| crew.start(line, out));
                }
            }
        }
        self.crew.relay.is_speaking = relays && is_running && !is_paced;
        if phase >= RunPhase::Drain && self.phase < RunPhase::Drain {
            self.pace = None;
            self.end_log();
            self.stop_sessions();
        }
        if phase == RunPhase::Close {
            self.close_begun_ns = self.now_ns();
            self.close_all();
        }
        self.phase = phase;
    }

    fn patience(&mut self) -> Duration {
        let now_ns = self.now_ns();
        let message = self.pace.as_ref().map(MessagePace::next_due);
        let due = [self.next_due(), self.timers.next_due(), message];
        let due = due.into_iter().flatten().min();
        due.map_or(LOOK_EVERY, |due| {
            Duration::from_nanos(due.saturating_sub(now_ns))
        })
        .min(LOOK_EVERY)
    }

    /// Returns whether all connections are closed. Connections that are still open after [`CLOSE_PATIENCE`] are cut.
    /// After twice that time, any that remain are abandoned.
    fn is_over(&mut self) -> bool {
        let waited = Duration::from_nanos(self.now_ns().saturating_sub(self.close_begun_ns));
        if waited > CLOSE_PATIENCE {
            (0..self.lines.len()).for_each(|line| self.lines.cut(line));
        }
        self.lines.taken() == 0 || waited > 2 * CLOSE_PATIENCE
    }

    fn note(&mut self) {
        let Some(begins_ns) = self.log.begins_ns else {
            return self.begin_log();
        };
        let end_ns = begins_ns + (self.log.intervals.len() as u64 + 1) * INTERVAL_NS;
        if self.now_ns() >= end_ns && self.phase <= RunPhase::Measure {
            self.end_interval(begins_ns);
        }
    }

    /// Starts the log's first interval once the start time is known, leaving out earlier events.
    fn begin_log(&mut self) {
        self.log.begins_ns = self.shared.board.begins_ns();
        let desk = &self.crew.desk;
        self.log.completed = desk.sessions.completed;
        self.log.received = desk.tally.received;
        self.log.failed = self.connections.failed + desk.sessions.failed;
    }

    /// In closed-loop modes, ends the log's last interval, which is usually shorter than a second.
    fn end_log(&mut self) {
        let Some(begins_ns) = self.log.begins_ns.filter(|_| self.schedule.is_none()) else {
            return;
        };
        let ended_ns = begins_ns + self.log.intervals.len() as u64 * INTERVAL_NS;
        if self.log.intervals.is_empty() || self.now_ns() > ended_ns + SHORTEST_NS {
            self.end_interval(begins_ns);
        }
    }

    fn end_interval(&mut self, begins_ns: u64) {
        let t_ns = self.now_ns() - begins_ns;
        let (desk, log) = (&mut self.crew.desk, &mut self.log);
        let (completed, received) = (desk.sessions.completed, desk.tally.received);
        let failed = self.connections.failed + desk.sessions.failed;
        let interval = Interval {
            t_s: t_ns as f64 / 1e9,
            sessions: self.schedule.as_ref().map(|_| completed - log.completed),
            messages: Some(received - log.received),
            open: Some(self.opened.count),
            errors: Some(failed - log.failed),
            ..Interval::default()
        };
        let interval = interval.with_latencies(desk.recent.histogram());
        log.intervals.push(interval);
        (log.completed, log.received, log.failed) = (completed, received, failed);
        desk.recent.clear();
    }

    fn publish(&self) {
        let (mut sum, desk) = (self.gauge.lock(), &self.crew.desk);
        let last = self.log.intervals.last();
        let begun = self.phase >= RunPhase::Measure;
        let through =
            begun && self.active == 0 && (self.next.is_none() || self.phase > RunPhase::Measure);
        *sum = Sum {
            opened: self.connections.opened,
            failed: self.connections.failed,
            open: self.opened.count,
            cycles: self.connections.cycles,
            sent: desk.tally.sent,
            received: desk.tally.received,
            masters: self.masters_settled,
            scheduled: desk.sessions.scheduled,
            completed: desk.sessions.completed,
            unwell: desk.sessions.failed,
            p50_us: last.and_then(|last| last.p50_us).unwrap_or_default(),
            p99_us: last.and_then(|last| last.p99_us).unwrap_or_default(),
            through: u64::from(through),
            ..*sum
        };
        sum.tell(&desk.errors);
    }

    fn document(mut self) -> Document {
        self.crew.close_books();
        let desk = &self.crew.desk;
        let mut document = self.shared.document.clone();
        document.messages = known(&desk.tally);
        if self.schedule.is_some() {
            document.sessions = known(&desk.sessions);
            document.cut_off = CutOff {
                channels: Some(desk.recovery.cut_offs),
                recovered: Some(desk.recovery.recovered()),
            };
        }
        let targets = self.shared.routes.iter().zip(&self.by_target);
        document.targets = targets
            .map(|(route, counts)| TargetCounts {
                url: route.target.url(),
                opened: counts.opened,
                failed: counts.failed,
            })
            .collect();
        document.connections = known(&self.connections);
        if self.schedule.is_some() {
            document.connections.cycles = None;
        }
        document.latency_us = desk.latencies.spreads(&desk.recovery.spans);
        document.schedule_lag_us = ScheduleLag::of(desk.latencies.lag.histogram());
        document.errors.clone_from(desk.errors.kinds());
        document.request_ids.clone_from(desk.errors.request_ids());
        document.intervals = self.log.intervals;
        document
    }
}

/// Divisor of the number of connections: the first phase opens this part of them.
const FIRST_SHARE: u64 = 8;
/// Maximum number of connections opened in the first phase, for all workers together.
const FIRST_MAX: u64 = 1024;
/// Maximum time that an idle worker sleeps before it checks the phase again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Timeout for the closing handshakes at the end of a run.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL_NS: u64 = 1_000_000_000;
/// Minimum duration of the log's last interval, in nanoseconds. A shorter one is omitted.
const SHORTEST_NS: u64 = 100_000_000;

/// The set of open connections. A connection may be removed without ever being added, because an upgrade response
/// directly followed by a close is reported as a single event.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    lines: Vec<bool>,
    count: u64,
}

impl Opened {
    pub(crate) fn add(&mut self, line: u32) {
        let index = line as usize;
        if self.lines.len() <= index {
            self.lines.resize(index + 1, false);
        }
        if let Some(is_open) = self.lines.get_mut(index) {
            self.count += u64::from(!std::mem::replace(is_open, true));
        }
    }

    pub(crate) fn remove(&mut self, line: u32) {
        if let Some(is_open) = self.lines.get_mut(line as usize) {
            self.count -= u64::from(std::mem::take(is_open));
        }
    }
}

#[cfg(test)]
mod opened_tests {
    use super::*;

    #[test]
    fn each_line_counts_once() {
        let mut opened = Opened::default();
        opened.remove(3);
        (0..2).for_each(|_| opened.add(3));
        opened.add(0);
        assert_eq!(opened.count, 2);
        (0..2).for_each(|_| opened.remove(3));
        assert_eq!(opened.count, 1);
    }
}
