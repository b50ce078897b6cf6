//! Leads the workers through the phases of a run. At the boundaries of phases, samples the clock and the CPU times of
//! the load generator and the service.
//!
//! | mode | before | measured | after |
//! |---|---|---|---|
//! | `sessions` | masters connect | until all sessions have ended | |
//! | `storm` | | all parties connect and stay connected | |
//! | `relay` | all connect, warm-up | messages during the given time | messages in flight arrive |
//! | `idle` | all connect | no activity during the given time | |
//! | `connect` | warm-up | connections during the given time | |

use crate::edge::board::{RunBoard, RunPhase, Sum};
use crate::edge::process::{Process, Server};
use crate::edge::watch::{Goal, Watch};
use crate::edge::{StartSignal, signal};
use crate::result::{Cpu, Document, Ending, MemoryFigures, words};
use crate::{options::Mode, plan::Plan, worker::RunContext};
use std::sync::mpsc::TryRecvError;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub(crate) struct Conductor<'a, 'w> {
    shared: RunContext<'a>,
    plan: &'a Plan,
    board: &'a RunBoard,
    server: Option<Server>,
    start: &'a StartSignal,
    watch: &'a Watch<'w>,
}

pub(crate) struct Course {
    started: SystemTime,
    /// Whether all connections that the load requires were opened.
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

struct OpeningResult {
    all: bool,
    /// Resident memory of the service in bytes and the number of open connections, both after the first connections
    /// were opened.
    base: Option<(u64, u64)>,
}

impl<'a, 'w> Conductor<'a, 'w> {
    pub(crate) const fn new(
        shared: RunContext<'a>,
        server: Option<Server>,
        start: &'a StartSignal,
        watch: &'a Watch<'w>,
    ) -> Self {
        Self {
            shared,
            plan: shared.plan,
            board: shared.board,
            server,
            start,
            watch,
        }
    }

    pub(crate) fn conduct(&self) -> Course {
        let started = SystemTime::now();
        let opened = self.open();
        let mut memory = MemoryFigures::default();
        let (mut from, mut to) = (self.sample(), None);
        if opened.all {
            self.await_start();
        }
        if opened.all && !signal::stopped() {
            if matches!(self.plan.mode, Mode::Relay | Mode::Connect) {
                self.board.enter(RunPhase::WarmUp);
                self.watch.enter("warming up", Goal::Span(WARM_UP));
                self.wait(WARM_UP, |sum| self.is_over(sum));
            }
            memory.server_bytes_per_connection = self.growth_since(opened.base);
            from = self.begin();
            self.measure();
            to = (!self.plan.mode.is_open_loop()).then(|| self.sample());
        }
        let stopped = signal::stopped();
        memory.server_rss_bytes = self
            .server
            .as_ref()
            .and_then(|server| server.rss_bytes().ok());
        memory.driver_rss_bytes = Process::own().rss_bytes().ok();
        self.board.enter(RunPhase::Drain);
        self.drain(opened.all);
        // In an open loop, messages that arrive after the end of the schedule are also measured.
        let to = to.unwrap_or_else(|| self.sample());
        self.watch.say("closing");
        self.watch.enter("closing", Goal::Unknown);
        self.board.enter(RunPhase::Close);
        Course {
            started,
            all_opened: opened.all,
            stopped,
            from,
            to,
            memory,
        }
    }

    fn open(&self) -> OpeningResult {
        match self.plan.mode {
            Mode::Storm | Mode::Connect => OpeningResult {
                all: true,
                base: None,
            },
            Mode::Sessions => OpeningResult {
                all: self.open_masters(),
                base: None,
            },
            Mode::Relay | Mode::Idle => self.open_peers(),
        }
    }

    fn open_masters(&self) -> bool {
        let wanted = self.plan.share.channels(self.plan.channels).count() as u64;
        self.watch.say(&format!("opening {wanted} masters"));
        self.watch.enter("opening", Goal::Masters(wanted));
        let mut last = Sum::default();
        loop {
            let before = (last.masters, last.failed);
            let moved = self.wait(STALL, |sum| (sum.masters, sum.failed) != before);
            last = self.board.sum();
            if last.masters >= wanted {
                return last.open > 0;
            }
            if !moved || signal::stopped() || last.over > 0 {
                return false;
            }
        }
    }

    /// Waits until all peers are open. The first few connections are opened separately, to measure the server's base
    /// memory.
    fn open_peers(&self) -> OpeningResult {
        let wanted = self.plan.connections();
        let tried = |sum: &Sum| sum.opened + sum.failed;
        self.watch.say(&format!("opening {wanted} connections"));
        self.watch.enter("opening", Goal::Opened(wanted));
        // Only the workers know how many connections belong to this phase, so it ends when the count stops changing.
        self.wait(STALL, |sum| tried(sum) > 0);
        let mut last = self.board.sum();
        while self.wait(SETTLE, |sum| tried(sum) != tried(&last)) {
            last = self.board.sum();
        }
        let rss = self
            .server
            .as_ref()
            .and_then(|server| server.rss_bytes().ok());
        let base = rss.map(|rss| (rss, self.board.sum().open));
        self.board.enter(RunPhase::OpenAll);
        loop {
            let moved = self.wait(STALL, |sum| tried(sum) != tried(&last));
            last = self.board.sum();
            if !moved || tried(&last) >= wanted || signal::stopped() || last.over > 0 {
                let all = last.open == wanted;
                return OpeningResult { all, base };
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
        let rss = self.server.as_ref()?.rss_bytes().ok()?;
        let open = self.board.sum().open;
        (open > open_before).then(|| (rss as f64 - rss_before as f64) / (open - open_before) as f64)
    }

    fn begin(&self) -> Sample {
        self.watch.say("measuring");
        let span = match &self.plan.schedule {
            Some(schedule) if self.plan.mode == Mode::Sessions => {
                Duration::from_nanos(schedule.span_ns())
            }
            Some(_) | None => self.plan.duration,
        };
        self.watch.enter("measuring", Goal::Span(span));
        let from = self.sample();
        let lead = if self.plan.mode.is_open_loop() {
            LEAD
        } else {
            Duration::ZERO
        };
        let begins = from.at.duration_since(self.shared.zero) + lead;
        let begins_ns = u64::try_from(begins.as_nanos()).unwrap_or(u64::MAX);
        self.board.begin_at(begins_ns);
        self.board.enter(RunPhase::Measure);
        from
    }

    fn measure(&self) {
        match self.plan.mode {
            Mode::Sessions => while !self.wait(SECOND, |sum| self.is_over(sum)) {},
            Mode::Storm => {
                self.wait(self.plan.duration + LEAD, |sum| {
                    sum.over > 0 || signal::stopped()
                });
            }
            Mode::Relay | Mode::Idle | Mode::Connect => {
                self.wait(self.plan.duration, |sum| self.is_over(sum));
            }
        }
    }

    fn is_over(&self, sum: &Sum) -> bool {
        let all_through = sum.through >= self.board.gauges.len() as u64;
        all_through || sum.over > 0 || signal::stopped()
    }

    fn drain(&self, all_opened: bool) {
        match self.plan.mode {
            Mode::Sessions | Mode::Storm => {
                let workers = self.board.gauges.len() as u64;
                let patience = self.plan.patience + FAREWELL;
                self.wait(patience, |sum| sum.through >= workers);
            }
            Mode::Relay if all_opened => self.drain_messages(),
            Mode::Relay | Mode::Idle | Mode::Connect => {}
        }
    }

    /// Waits until all messages have arrived, or until no more arrive. The first Ctrl-C does not end the wait, since
    /// the messages in flight would otherwise count as lost.
    fn drain_messages(&self) {
        loop {
            let last = self.board.sum();
            let moved = |sum: &Sum| sum.received != last.received || sum.sent != last.sent;
            let all = |sum: &Sum| sum.received >= sum.sent;
            // First waits for one period without progress, because a worker may not have noticed the change of phase
            // yet.
            if !self.wait(SETTLE, moved) && (all(&last) || !self.wait(DRAIN_STALL, moved)) {
                return;
            }
        }
    }

    /// Waits up to `patience` for `happened` to return true, and returns whether it did. The wait ends early when
    /// Ctrl-C is pressed or a worker finishes.
    fn wait(&self, patience: Duration, happened: impl Fn(&Sum) -> bool) -> bool {
        let begun = Instant::now();
        let was_stopped = signal::stopped();
        loop {
            let sum = self.board.sum();
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
            sum: self.board.sum(),
        }
    }
}

impl Course {
    /// Adds the figures for the whole run to the document, which must already contain the workers' counts, and sets the
    /// verdict.
    pub(crate) fn fill(&self, document: &mut Document, mode: Mode, threads: usize) {
        let (from, to) = (&self.from, &self.to);
        let duration_s = (to.at - from.at).as_secs_f64();
        let seconds = |ns: u64| ns as f64 / 1e9;
        let driver_s = seconds(to.driver_cpu_ns.saturating_sub(from.driver_cpu_ns));
        let server_ns = to.server_cpu_ns.zip(from.server_cpu_ns);
        // If the value is lower than before, the service has been restarted in between.
        let server_ns = server_ns.and_then(|(to, from)| to.checked_sub(from));
        // Each session uses one connection, so the cost per session is reported as the cost per connection.
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
/// Delay between the start signal and the first session. Long enough for every worker to notice the signal.
const LEAD: Duration = Duration::from_millis(100);
/// Time without progress after which the first connections are considered open. Also used for draining and before
/// measuring memory.
const SETTLE: Duration = Duration::from_millis(300);
/// If no connection is opened or fails for this long, the target is considered unresponsive.
const STALL: Duration = Duration::from_secs(25);
/// Time allowed for closing a session, in addition to `--patience`.
const FAREWELL: Duration = Duration::from_secs(6);
/// If no message arrives for this long, the missing messages count as lost.
const DRAIN_STALL: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
