//! Moves the workers through the phases of a run. At each phase boundary, samples the clock and the CPU time used by
//! the load generator and by the service.
//!
//! | mode | before | measured | after |
//! |---|---|---|---|
//! | `sessions` | masters connect | until all sessions have ended | |
//! | `storm` | | all parties connect and stay connected | |
//! | `relay` | all connect, warm-up | messages during the given time | messages in flight arrive |
//! | `idle` | all connect | no activity during the given time | |
//! | `connect` | warm-up | connections during the given time | |

use crate::edge::board::{RunPhase, Sum};
use crate::edge::process::{Process, Server};
use crate::edge::watch::{Goal, Watch};
use crate::edge::{StartSignal, signal};
use crate::result::{Cpu, Document, Ending, MemoryFigures, words};
use crate::{options::Mode, worker::RunContext};
use std::sync::atomic::Ordering;
use std::sync::mpsc::TryRecvError;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub(crate) struct Conductor<'a, 'w> {
    pub(crate) shared: RunContext<'a>,
    pub(crate) server: Option<Server>,
    pub(crate) start: &'a StartSignal,
    pub(crate) watch: &'a Watch<'w>,
}

pub(crate) struct Course {
    started: SystemTime,
    /// Whether all connections that the load needs were opened.
    all_opened: bool,
    stopped: bool,
    from: Sample,
    to: Sample,
    memory: MemoryFigures,
}

struct Sample {
    at: Instant,
    sum: Sum,
    driver_cpu_ns: u64,
    server_cpu_ns: Option<u64>,
}

impl Conductor<'_, '_> {
    pub(crate) fn conduct(&self) -> Course {
        let started = SystemTime::now();
        let (all_opened, base) = self.open();
        let mut memory = MemoryFigures::default();
        let (mut from, mut to) = (self.sample(), None);
        if all_opened {
            self.await_start();
        }
        if all_opened && !signal::stopped() {
            if matches!(self.shared.plan.mode, Mode::Relay | Mode::Connect) {
                self.shared.board.enter(RunPhase::WarmUp);
                self.watch.enter("warming up", Goal::Span(WARM_UP));
                self.wait(WARM_UP, |sum| self.is_over(sum));
            }
            memory.server_bytes_per_connection = self.growth_since(base);
            from = self.begin();
            self.measure();
            to = (!self.shared.plan.mode.is_open_loop()).then(|| self.sample());
        }
        let stopped = signal::stopped();
        memory.server_rss_bytes = self.server_rss_bytes();
        memory.driver_rss_bytes = Process::own().rss_bytes().ok();
        self.shared.board.enter(RunPhase::Drain);
        self.drain(all_opened);
        // In an open loop, keep measuring messages that arrive after the schedule ends.
        let to = to.unwrap_or_else(|| self.sample());
        self.watch.say("closing");
        self.watch.enter("closing", Goal::Unknown);
        self.shared.board.enter(RunPhase::Close);
        Course {
            started,
            all_opened,
            stopped,
            from,
            to,
            memory,
        }
    }

    /// Opens the connections that must be open before the load starts. Returns whether all of them are open. If the
    /// memory per connection is measured, also returns the service's resident memory in bytes and the number of open
    /// connections, as measured once the first few connections were open.
    fn open(&self) -> (bool, Option<(u64, u64)>) {
        match self.shared.plan.mode {
            Mode::Storm | Mode::Connect => (true, None),
            Mode::Sessions => (self.open_masters(), None),
            Mode::Relay | Mode::Idle => self.open_peers(),
        }
    }

    fn open_masters(&self) -> bool {
        let wanted = self
            .shared
            .plan
            .share
            .channels(self.shared.plan.channels)
            .count() as u64;
        self.watch.say(&format!("opening {wanted} masters"));
        self.watch.enter("opening", Goal::Masters(wanted));
        let mut last = Sum::default();
        loop {
            let before = (last.masters, last.failed);
            let moved = self.wait(STALL, |sum| (sum.masters, sum.failed) != before);
            last = self.shared.board.sum();
            if last.masters >= wanted {
                return last.open > 0;
            }
            if !moved || signal::stopped() || last.over > 0 {
                return false;
            }
        }
    }

    /// Waits until all peers have connected. Opens the first few connections separately, to measure the server's base
    /// memory.
    fn open_peers(&self) -> (bool, Option<(u64, u64)>) {
        let wanted = self.shared.plan.connections();
        let tried = |sum: &Sum| sum.opened + sum.failed;
        self.watch.say(&format!("opening {wanted} connections"));
        self.watch.enter("opening", Goal::Opened(wanted));
        // Only the workers know how many connections this phase opens, so wait until the count stops changing.
        self.wait(STALL, |sum| tried(sum) > 0);
        let mut last = self.shared.board.sum();
        while self.wait(SETTLE, |sum| tried(sum) != tried(&last)) {
            last = self.shared.board.sum();
        }
        let base = self
            .server_rss_bytes()
            .map(|rss| (rss, self.shared.board.sum().open));
        self.shared.board.enter(RunPhase::OpenAll);
        loop {
            let moved = self.wait(STALL, |sum| tried(sum) != tried(&last));
            last = self.shared.board.sum();
            if !moved || tried(&last) >= wanted || signal::stopped() || last.over > 0 {
                return (last.open == wanted, base);
            }
        }
    }

    fn await_start(&self) {
        let moment = match self.start {
            StartSignal::AtOnce => return,
            StartSignal::At(moment) => *moment,
            StartSignal::OnWord(word) => {
                self.watch.ready();
                self.watch.enter("waiting", Goal::Unknown);
                loop {
                    match word.try_recv() {
                        Ok(moment) => break moment,
                        // The parent process has exited.
                        Err(TryRecvError::Disconnected) => return,
                        Err(TryRecvError::Empty) if signal::stopped() => return,
                        Err(TryRecvError::Empty) => drop(self.wait(LOOK, |_| false)),
                    }
                }
            }
        };
        match moment.duration_since(SystemTime::now()) {
            Ok(left) => {
                self.watch.enter("waiting", Goal::Span(left));
                self.wait(left, |_| false);
            }
            Err(late) => {
                let late_s = late.duration().as_secs_f64();
                let late = words::seconds(late_s);
                self.watch.say(&format!("the start is {late} late"));
            }
        }
    }

    fn growth_since(&self, base: Option<(u64, u64)>) -> Option<f64> {
        let (rss_before, open_before) = base?;
        self.wait(SETTLE, |_| false);
        let rss = self.server_rss_bytes()?;
        let open = self.shared.board.sum().open;
        (open > open_before).then(|| (rss as f64 - rss_before as f64) / (open - open_before) as f64)
    }

    fn server_rss_bytes(&self) -> Option<u64> {
        self.server.as_ref()?.rss_bytes().ok()
    }

    fn begin(&self) -> Sample {
        self.watch.say("measuring");
        let span = match &self.shared.plan.schedule {
            Some(schedule) if self.shared.plan.mode == Mode::Sessions => {
                Duration::from_nanos(schedule.span_ns())
            }
            Some(_) | None => self.shared.plan.duration,
        };
        self.watch.enter("measuring", Goal::Span(span));
        let from = self.sample();
        let lead = if self.shared.plan.mode.is_open_loop() {
            LEAD
        } else {
            Duration::ZERO
        };
        let begins = from.at.duration_since(self.shared.zero) + lead;
        let begins_ns = u64::try_from(begins.as_nanos()).unwrap_or(u64::MAX);
        self.shared
            .board
            .begins_ns
            .store(begins_ns, Ordering::Relaxed);
        self.shared.board.enter(RunPhase::Measure);
        from
    }

    fn measure(&self) {
        match self.shared.plan.mode {
            Mode::Sessions => while !self.wait(SECOND, |sum| self.is_over(sum)) {},
            Mode::Storm => {
                self.wait(self.shared.plan.duration + LEAD, |sum| {
                    sum.over > 0 || signal::stopped()
                });
            }
            Mode::Relay | Mode::Idle | Mode::Connect => {
                self.wait(self.shared.plan.duration, |sum| self.is_over(sum));
            }
        }
    }

    fn is_over(&self, sum: &Sum) -> bool {
        let all_through = sum.through >= self.shared.board.gauges.len() as u64;
        all_through || sum.over > 0 || signal::stopped()
    }

    fn drain(&self, all_opened: bool) {
        match self.shared.plan.mode {
            Mode::Sessions | Mode::Storm => {
                let workers = self.shared.board.gauges.len() as u64;
                let patience = self.shared.plan.patience + FAREWELL;
                self.wait(patience, |sum| sum.through >= workers);
            }
            Mode::Relay if all_opened => self.drain_messages(),
            Mode::Relay | Mode::Idle | Mode::Connect => {}
        }
    }

    /// Waits until all messages have arrived, or until no more arrive. The first Ctrl-C does not interrupt this wait,
    /// because messages still in flight would then count as lost.
    fn drain_messages(&self) {
        loop {
            let last = self.shared.board.sum();
            let moved = |sum: &Sum| sum.received != last.received || sum.sent != last.sent;
            let all = |sum: &Sum| sum.received >= sum.sent;
            // A worker may not have noticed the phase change yet, so first wait for one period without progress.
            if !self.wait(SETTLE, moved) && (all(&last) || !self.wait(DRAIN_STALL, moved)) {
                return;
            }
        }
    }

    /// Waits up to `patience` for `happened` to return true, and returns whether this happened. Ctrl-C or the exit of a
    /// worker cuts the wait short.
    fn wait(&self, patience: Duration, happened: impl Fn(&Sum) -> bool) -> bool {
        let begun = Instant::now();
        let was_stopped = signal::stopped();
        loop {
            let sum = self.shared.board.sum();
            self.watch.look(&sum);
            if happened(&sum) {
                return true;
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() || sum.over > 0 || (signal::stopped() && !was_stopped) {
                return false;
            }
            thread::sleep(left.min(LOOK));
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            driver_cpu_ns: Process::own().cpu_ns().unwrap_or_default(),
            server_cpu_ns: self.server.as_ref().and_then(|server| server.cpu_ns().ok()),
            at: Instant::now(),
            sum: self.shared.board.sum(),
        }
    }
}

impl Course {
    /// Adds the whole-run figures to a document that already contains the workers' counts, and sets the verdict.
    pub(crate) fn fill(&self, document: &mut Document, mode: Mode, threads: usize) {
        let (from, to) = (&self.from, &self.to);
        let duration_s = (to.at - from.at).as_secs_f64();
        let seconds = |ns: u64| ns as f64 / 1e9;
        let driver_s = seconds(to.driver_cpu_ns.saturating_sub(from.driver_cpu_ns));
        let server_ns = to.server_cpu_ns.zip(from.server_cpu_ns);
        // If the value has decreased, the service was restarted in between.
        let server_ns = server_ns.and_then(|(to, from)| to.checked_sub(from));
        // Each session uses one connection, so report the cost per session as the cost per connection.
        let (messages, cycles) = if mode.is_open_loop() {
            let (messages, sessions) = (&document.messages, &document.sessions);
            (messages.received, sessions.completed)
        } else {
            let cycles = Some(to.sum.cycles - from.sum.cycles);
            document.connections.cycles = cycles;
            (Some(to.sum.received - from.sum.received), cycles)
        };
        document.started = words::rfc3339(self.started);
        document.duration_s = duration_s;
        document.cpu = Cpu::of(
            Some(driver_s),
            server_ns.map(seconds),
            messages.unwrap_or_default() as f64,
            cycles.unwrap_or_default() as f64,
        );
        document.memory = self.memory;
        let busy = driver_s / (duration_s * threads as f64);
        document.judge(Ending {
            all_opened: self.all_opened,
            stopped: self.stopped,
            driver_busy: if self.all_opened { busy } else { 0.0 },
        });
    }
}

const WARM_UP: Duration = Duration::from_secs(1);
/// Delay between the start signal and the first session. This gives every worker time to notice the signal.
const LEAD: Duration = Duration::from_millis(100);
/// If there is no progress for this long, the first connections are considered open. Also used while draining and
/// before measuring memory.
const SETTLE: Duration = Duration::from_millis(300);
/// If no connection opens or fails for this long, the target is considered unresponsive.
const STALL: Duration = Duration::from_secs(25);
/// Extra time, on top of `--patience`, that a session gets to close.
const FAREWELL: Duration = Duration::from_secs(6);
/// If no message arrives for this long, the missing ones count as lost.
const DRAIN_STALL: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
