//! Leads the workers through a run, and looks at the clock and at both processes at the right moments.

use super::board::{Board, Phase, Sum};
use super::interval::Interval;
use super::process::Process;
use super::server::Server;
use super::tls::Client;
use super::watch::{Goal, Watch};
use super::worker::{Harvest, Shared, Worker};
use super::{fleet, machine, signal};
use crate::live::Audience;
use crate::measure::{Connections, Errors, Latencies, Sessions, Tally};
use crate::needs::DESCRIPTORS_BESIDE;
use crate::options::Mode;
use crate::plan::Plan;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// When it began.
    pub started: SystemTime,
    /// How long was measured, in seconds.
    pub duration_s: f64,
    /// Messages, over the whole run.
    pub tally: Tally,
    /// Messages that arrived in the measured span.
    pub messages: u64,
    /// Connections opened and closed in the measured span.
    pub cycles: u64,
    /// Sessions, over the whole run; `None` in the closed modes.
    pub sessions: Option<Sessions>,
    /// Failures, over the whole run.
    pub errors: Errors,
    /// Spans; of messages only in the measured span.
    pub latencies: Latencies,
    /// Connections, over the whole run.
    pub connections: Connections,
    /// CPU time in the measured span, in nanoseconds.
    pub driver_cpu_ns: u64,
    /// The same of the server, if it is known.
    pub server_cpu_ns: Option<u64>,
    /// The share of its CPUs that the driver used.
    pub driver_busy: f64,
    /// Memory of the driver at the end of the measured span, in bytes.
    pub driver_rss_bytes: Option<u64>,
    /// The same of the server.
    pub server_rss_bytes: Option<u64>,
    /// By how much the server grew for each connection, after the first ones.
    pub server_bytes_per_connection: Option<f64>,
    /// Second by second.
    pub intervals: Vec<Interval>,
    /// Whether every connection that was to be opened was.
    pub all_opened: bool,
    /// Whether the operator ended it.
    pub stopped: bool,
}

impl Finished {
    /// A run that began at this moment and did nothing.
    #[must_use]
    pub fn blank(started: SystemTime) -> Self {
        Self {
            started,
            duration_s: 0.0,
            tally: Tally::default(),
            messages: 0,
            cycles: 0,
            sessions: None,
            errors: Errors::default(),
            latencies: Latencies::default(),
            connections: Connections::default(),
            driver_cpu_ns: 0,
            server_cpu_ns: None,
            driver_busy: 0.0,
            driver_rss_bytes: None,
            server_rss_bytes: None,
            server_bytes_per_connection: None,
            intervals: Vec::new(),
            all_opened: false,
            stopped: false,
        }
    }
}

/// Why there was no run. Told to the operator.
#[derive(Debug)]
pub struct RunError {
    text: String,
    by_target: bool,
}

impl RunError {
    /// This machine, or the flags.
    fn local(text: String) -> Self {
        let by_target = false;
        Self { text, by_target }
    }

    /// The target failed before the run.
    pub(super) fn target(text: String) -> Self {
        let by_target = true;
        Self { text, by_target }
    }

    /// The program's exit code: 3 if the target failed, else 2.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.by_target { 3 } else { 2 }
    }
}

impl std::fmt::Display for RunError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for RunError {}

/// Runs the plan to its end, or until Ctrl-C. `audience` is told of each step and shown where the run is.
///
/// # Errors
/// This machine does not allow it, or the flags name what does not exist. Failures of the target are part of the result.
pub fn run(
    plan: &Plan,
    server: Option<Server>,
    audience: &mut dyn Audience,
) -> Result<Finished, RunError> {
    ring::probe().map_err(|error| RunError::local(error.to_string()))?;
    if plan.mode.is_open_loop() {
        return fleet::run(plan, server, &Watch::new(audience));
    }
    check_descriptors(plan)?;
    let tls = Client::new(&plan.trust, &plan.target.host).map_err(say("TLS"))?;
    signal::watch();
    let threads = plan.threads();
    let board = Board::new(threads.len());
    let shared = Shared {
        plan,
        board: &board,
        tls: tls.as_ref(),
        zero: Instant::now(),
    };
    let of = u32::try_from(threads.len()).unwrap_or(u32::MAX);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .zip(&threads)
            .map(|(number, cpu)| scope.spawn(move || work(shared, number, of, *cpu)))
            .collect();
        let mut finished = Conductor {
            plan,
            board: &board,
            server,
            watch: Watch::new(audience),
        }
        .conduct();
        for worker in workers {
            let harvest = worker.join().expect("workers do not panic");
            add(&mut finished, &harvest.map_err(say("a worker"))?);
        }
        Ok(finished)
    })
}

fn add(finished: &mut Finished, harvest: &Harvest) {
    finished.tally.add(&harvest.tally);
    finished.errors.add(&harvest.errors);
    finished.latencies.add(&harvest.latencies);
    finished.connections.opened += harvest.connections.opened;
    finished.connections.failed += harvest.connections.failed;
    finished.connections.peak += harvest.connections.peak;
}

/// One thread's life.
fn work(shared: Shared<'_>, number: u32, of: u32, cpu: Option<usize>) -> io::Result<Harvest> {
    let result = (|| {
        pinned(cpu)?;
        Worker::new(shared, number, of)?.run()
    })();
    if let Some(gauge) = shared.board.gauges.get(number as usize) {
        gauge.over.store(true, Ordering::Relaxed);
    }
    result
}

/// Pins the calling thread to a CPU, if one is named.
pub(super) fn pinned(cpu: Option<usize>) -> io::Result<()> {
    match cpu {
        None => Ok(()),
        Some(cpu) => {
            machine::pin(cpu).map_err(|error| io::Error::other(format!("--cores {cpu}: {error}")))
        }
    }
}

/// Raises the limit of descriptors as far as it goes, and checks that it is enough.
pub(super) fn check_descriptors(plan: &Plan) -> Result<(), RunError> {
    let limit = machine::raise_descriptors().map_err(say("the limit of descriptors"))?;
    let needed = plan.connections() + DESCRIPTORS_BESIDE;
    if needed > limit {
        return Err(RunError::local(format!(
            "{needed} descriptors are needed for {} connections and {limit} are allowed: raise the hard limit \
             (`ulimit -Hn`, LimitNOFILE= in a unit) or open fewer",
            plan.connections()
        )));
    }
    Ok(())
}

/// Both processes and the counters at one moment.
struct Sample {
    at: Instant,
    sum: Sum,
    driver_cpu_ns: u64,
    server_cpu_ns: Option<u64>,
}

struct Conductor<'a> {
    plan: &'a Plan,
    board: &'a Board,
    server: Option<Server>,
    watch: Watch<'a>,
}

impl Conductor<'_> {
    fn conduct(&mut self) -> Finished {
        let started = SystemTime::now();
        let (base, all_opened) = self.open();
        let mut intervals = Vec::new();
        let (mut from, mut to) = (self.sample(), self.sample());
        let mut grown = None;
        if all_opened {
            if self.plan.mode != Mode::Idle {
                self.board.enter(Phase::WarmUp);
                self.watch.enter("warming up", Goal::Span(WARM_UP));
                self.wait(WARM_UP, |_| false);
            }
            self.watch.say("measuring");
            let goal = Goal::Span(self.plan.duration);
            grown = self.growth_since(base);
            self.board.enter(Phase::Measure);
            self.watch.enter("measuring", goal);
            from = self.sample();
            intervals = self.hold(&from);
            to = self.sample();
        }
        let server_rss_bytes = self.server.and_then(|server| server.rss_bytes().ok());
        let driver_rss_bytes = Process::own().rss_bytes().ok();
        self.board.enter(Phase::Drain);
        if all_opened && self.plan.mode == Mode::Relay {
            self.drain();
        }
        self.watch.say("closing");
        self.watch.enter("closing", Goal::Unknown);
        self.board.enter(Phase::Close);
        let span = to.at - from.at;
        let driver_cpu_ns = to.driver_cpu_ns - from.driver_cpu_ns;
        let threads = self.board.gauges.len();
        Finished {
            duration_s: span.as_secs_f64(),
            messages: to.sum.received - from.sum.received,
            cycles: to.sum.cycles - from.sum.cycles,
            driver_cpu_ns,
            server_cpu_ns: to
                .server_cpu_ns
                .zip(from.server_cpu_ns)
                .and_then(|(to, from)| to.checked_sub(from)), // less: it ended meanwhile
            driver_busy: if all_opened {
                driver_cpu_ns as f64 / (1e9 * span.as_secs_f64() * threads as f64)
            } else {
                0.0
            },
            driver_rss_bytes,
            server_rss_bytes,
            server_bytes_per_connection: grown,
            intervals,
            all_opened,
            stopped: signal::stopped(),
            ..Finished::blank(started)
        }
    }

    /// Opens the connections that are held. Gives the server's memory and the number of connections after the first ones, and
    /// whether all came about.
    fn open(&mut self) -> (Option<(u64, u64)>, bool) {
        if self.plan.mode == Mode::Connect {
            return (None, true);
        }
        let wanted = self.plan.connections();
        self.watch.say(&format!("opening {wanted} connections"));
        self.watch.enter("opening", Goal::Opened(wanted));
        // The first ones are open when nothing has moved for a while: how many they are is the workers' business.
        self.wait(STALL, |sum| sum.opened + sum.failed > 0);
        let mut last = self.board.sum();
        while self.wait(SETTLE, |sum| {
            sum.opened + sum.failed != last.opened + last.failed
        }) {
            last = self.board.sum();
        }
        let rss = self.server.and_then(|server| server.rss_bytes().ok());
        let base = rss.map(|rss| (rss, self.board.sum().open));
        self.board.enter(Phase::OpenAll);
        loop {
            let moved = self.wait(STALL, |sum| {
                sum.opened + sum.failed != last.opened + last.failed
            });
            last = self.board.sum();
            if !moved || last.opened + last.failed >= wanted || self.is_ending(&last) {
                break;
            }
        }
        (base, last.open == wanted)
    }

    /// By how many bytes the server grew for each connection since `base`.
    fn growth_since(&self, base: Option<(u64, u64)>) -> Option<f64> {
        let (rss_before, open_before) = base?;
        self.wait(SETTLE, |_| false);
        let rss = self.server?.rss_bytes().ok()?;
        let open = self.board.sum().open;
        (open > open_before).then(|| (rss as f64 - rss_before as f64) / (open - open_before) as f64)
    }

    /// Lets the measured span pass, and looks once a second.
    fn hold(&self, from: &Sample) -> Vec<Interval> {
        let mut intervals = Vec::new();
        let mut before = from.sum;
        loop {
            let passed = from.at.elapsed();
            let left = self.plan.duration.saturating_sub(passed);
            if left.is_zero() || self.is_ending(&before) {
                return intervals;
            }
            self.wait(left.min(INTERVAL), |_| false);
            let sum = self.board.sum();
            intervals.push(Interval {
                t_s: from.at.elapsed().as_secs_f64(),
                sessions: None,
                messages: sum.received - before.received,
                open: sum.open,
                errors: sum.failed - before.failed,
                spans: None,
            });
            before = sum;
        }
    }

    /// Lets what is under way arrive; Ctrl-C does not cut this short, or it would be called lost.
    fn drain(&self) {
        loop {
            let last = self.board.sum();
            let moved = |sum: &Sum| sum.received != last.received || sum.sent != last.sent;
            let all = |sum: &Sum| sum.received >= sum.sent;
            let hopeless = |sum: &Sum| self.is_lost(sum);
            // Once round without news first: a worker may not have seen yet that it is to be silent.
            if !self.wait_unless(SETTLE, moved, hopeless)
                && (all(&last) || !self.wait_unless(DRAIN_STALL, moved, hopeless))
            {
                return;
            }
        }
    }

    /// Waits for something, at most so long, or until the run is to end. Gives whether it happened.
    fn wait(&self, patience: Duration, happened: impl Fn(&Sum) -> bool) -> bool {
        self.wait_unless(patience, happened, |sum| self.is_ending(sum))
    }

    fn wait_unless(
        &self,
        patience: Duration,
        happened: impl Fn(&Sum) -> bool,
        hopeless: impl Fn(&Sum) -> bool,
    ) -> bool {
        let begun = Instant::now();
        loop {
            let sum = self.board.sum();
            self.watch.look(&sum);
            if happened(&sum) {
                return true;
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() || hopeless(&sum) {
                return false;
            }
            thread::sleep(left.min(LOOK));
        }
    }

    /// Whether nothing more is to begin.
    fn is_ending(&self, sum: &Sum) -> bool {
        signal::stopped() || self.is_lost(sum)
    }

    /// Whether nothing more can come.
    fn is_lost(&self, sum: &Sum) -> bool {
        sum.over > 0 || sum.failed >= self.plan.connections()
    }

    fn sample(&self) -> Sample {
        Sample {
            at: Instant::now(),
            sum: self.board.sum(),
            driver_cpu_ns: Process::own().cpu_ns().unwrap_or_default(),
            server_cpu_ns: self.server.and_then(|server| server.cpu_ns().ok()),
        }
    }
}

/// Names what failed.
pub(super) fn say(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |error| RunError::local(format!("{what}: {error}"))
}

/// The load before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Nothing has changed for so long: what was asked for is there.
const SETTLE: Duration = Duration::from_millis(300);
/// Nothing has opened for so long: the target does not answer.
const STALL: Duration = Duration::from_secs(15);
/// Nothing has arrived for so long: it is lost.
const DRAIN_STALL: Duration = Duration::from_secs(2);
/// How often the board is looked at while waiting.
const LOOK: Duration = Duration::from_millis(10);
/// One interval of the log.
const INTERVAL: Duration = Duration::from_secs(1);
