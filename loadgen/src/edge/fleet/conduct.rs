//! Leads the workers of an open-loop run: masters, schedule, drain, close; and looks at both processes meanwhile.

use super::super::api::{Api, Channels};
use super::super::board::{Board, Phase, Sum};
use super::super::conductor::{Finished, RunError, check_descriptors, pinned, say};
use super::super::interval::add_log;
use super::super::process::Process;
use super::super::server::Server;
use super::super::signal;
use super::super::tls::Client;
use super::super::watch::{Goal, Watch};
use super::lines::Route;
use super::lookup::Lookup;
use super::worker::{Harvest, Shared, Worker};
use crate::options::Mode;
use crate::plan::Plan;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs an open-loop plan to its end, or until Ctrl-C. See [`super::super::run`].
///
/// # Errors
/// This machine does not allow it, or the flags name what does not exist.
pub(in crate::edge) fn run(
    plan: &Plan,
    server: Option<Server>,
    watch: &Watch<'_>,
) -> Result<Finished, RunError> {
    check_descriptors(plan)?;
    let ways = [
        Some(&plan.target),
        plan.detour.as_ref().map(|(target, _)| target),
    ];
    let mut routes = Vec::new();
    for target in ways.into_iter().flatten() {
        let tls = if target.tls {
            Client::new(&plan.trust, &target.host).map_err(say("TLS"))?
        } else {
            None
        };
        let target = target.clone();
        routes.push(Arc::new(Route { target, tls }));
    }
    signal::watch();
    if !plan.create_channels {
        return run_on(plan, &routes, &[], server, watch);
    }
    let secured = routes.first().and_then(|route| route.tls.as_ref());
    let mut api = Api::new(plan, secured);
    let mut channels = Channels::default();
    watch.say("making channels");
    let finished = match api.create(plan, &mut channels) {
        Ok(()) => run_on(plan, &routes, &channels.arns, server, watch),
        Err(error) => Err(RunError::target(error)),
    };
    watch.say("removing channels");
    if let Some((count, error)) = api.delete(&channels) {
        watch.say(&format!("{count} channels are left behind: {error}"));
    }
    finished
}

/// Runs the plan on channels that are there.
fn run_on(
    plan: &Plan,
    routes: &[Arc<Route>],
    arns: &[String],
    server: Option<Server>,
    watch: &Watch<'_>,
) -> Result<Finished, RunError> {
    let threads = plan.threads();
    let board = Board::new(threads.len());
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let lookup = plan.discover.then(|| Lookup::start(plan));
    let shared = Shared {
        plan,
        board: &board,
        routes,
        lookup: lookup.as_ref(),
        arns,
        zero: Instant::now(),
        zero_s: since_1970.as_secs(),
    };
    let of = u32::try_from(threads.len()).unwrap_or(u32::MAX);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..)
            .zip(&threads)
            .map(|(number, cpu)| {
                scope.spawn(move || {
                    let harvest =
                        pinned(*cpu).and_then(|()| Worker::new(shared, number, of)?.run());
                    if let Some(gauge) = shared.board.gauges.get(number as usize) {
                        gauge.over.store(true, Ordering::Relaxed);
                    }
                    harvest
                })
            })
            .collect();
        let mut finished = Conductor {
            shared,
            server,
            watch,
        }
        .conduct();
        for worker in workers {
            let harvest = worker.join().expect("workers do not panic");
            add(&mut finished, &harvest.map_err(say("a worker"))?);
        }
        finished.messages = finished.tally.received;
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
    finished
        .sessions
        .get_or_insert_default()
        .add(&harvest.sessions);
    add_log(&mut finished.intervals, &harvest.intervals);
}

struct Conductor<'a, 'w> {
    shared: Shared<'a>,
    server: Option<Server>,
    watch: &'a Watch<'w>,
}

impl Conductor<'_, '_> {
    fn conduct(&mut self) -> Finished {
        let started = SystemTime::now();
        let board = self.shared.board;
        let all_opened = self.open_masters();
        let (begun, driver_ns, server_ns) = self.sample();
        if all_opened && !signal::stopped() {
            let lead = begun.duration_since(self.shared.zero) + LEAD;
            board.begin_at(u64::try_from(lead.as_nanos()).unwrap_or(u64::MAX));
            board.enter(Phase::Measure);
            self.measure();
        }
        let server_rss_bytes = self.server.and_then(|server| server.rss_bytes().ok());
        let driver_rss_bytes = Process::own().rss_bytes().ok();
        let stopped = signal::stopped();
        board.enter(Phase::Drain);
        let workers = board.gauges.len() as u64;
        self.wait(self.shared.plan.patience + FAREWELL, |sum| {
            sum.through >= workers
        });
        let (ended, driver_end_ns, server_end_ns) = self.sample();
        self.watch.say("closing");
        self.watch.enter("closing", Goal::Unknown);
        board.enter(Phase::Close);
        let mut finished = Finished::blank(started);
        finished.duration_s = (ended - begun).as_secs_f64();
        finished.driver_cpu_ns = driver_end_ns.saturating_sub(driver_ns);
        finished.server_cpu_ns = server_end_ns
            .zip(server_ns)
            .and_then(|(end, begin)| end.checked_sub(begin));
        finished.driver_busy =
            finished.driver_cpu_ns as f64 / (1e9 * finished.duration_s * workers as f64);
        finished.driver_rss_bytes = driver_rss_bytes;
        finished.server_rss_bytes = server_rss_bytes;
        finished.all_opened = all_opened;
        finished.stopped = stopped;
        finished
    }

    /// Waits until every master is open or was given up; whether any is open. A storm has none to wait for.
    fn open_masters(&mut self) -> bool {
        let plan = self.shared.plan;
        if plan.mode == Mode::Storm {
            return true;
        }
        let wanted = plan.share.channels(plan.channels).count() as u64;
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

    /// Lets the schedule run.
    fn measure(&mut self) {
        let plan = self.shared.plan;
        let workers = self.shared.board.gauges.len() as u64;
        let begun = Instant::now();
        let span = match (plan.mode, &plan.schedule) {
            (Mode::Sessions, Some(schedule)) => Duration::from_nanos(schedule.span_ns()),
            (Mode::Sessions | Mode::Storm | Mode::Relay | Mode::Idle | Mode::Connect, _) => {
                plan.duration
            }
        };
        self.watch.say("measuring");
        self.watch.enter("measuring", Goal::Span(span));
        loop {
            let over = |sum: &Sum| sum.through >= workers || sum.over > 0 || signal::stopped();
            let left = match plan.mode {
                Mode::Storm => (plan.duration + LEAD).saturating_sub(begun.elapsed()),
                Mode::Sessions | Mode::Relay | Mode::Idle | Mode::Connect => SECOND,
            };
            let storm = plan.mode == Mode::Storm;
            let ended = self.wait(left.min(SECOND), |sum| {
                (over(sum) && !storm) || sum.over > 0
            });
            if ended || left.is_zero() || signal::stopped() {
                return;
            }
        }
    }

    /// Waits for something, at most so long. Ctrl-C and the end of a worker end it as well.
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

    /// The moment, and the CPU time of the driver and of the server.
    fn sample(&self) -> (Instant, u64, Option<u64>) {
        let driver_ns = Process::own().cpu_ns().unwrap_or_default();
        let server_ns = self.server.and_then(|server| server.cpu_ns().ok());
        (Instant::now(), driver_ns, server_ns)
    }
}

/// Between the word to begin and the first session: every worker has seen it by then.
const LEAD: Duration = Duration::from_millis(100);
/// No master has opened or failed for so long: the target does not answer.
const STALL: Duration = Duration::from_secs(25);
/// Beside its patience, what a session needs to close.
const FAREWELL: Duration = Duration::from_secs(6);
const SECOND: Duration = Duration::from_secs(1);
/// How often the board is looked at while waiting.
const LOOK: Duration = Duration::from_millis(10);
