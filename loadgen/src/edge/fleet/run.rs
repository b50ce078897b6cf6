//! A run from its plan to its result: routes, channels made and removed, threads.

use super::super::api::{Api, Channels};
use super::super::board::Board;
use super::super::interval::{Interval, add_log};
use super::super::server::Server;
use super::super::tls::Client;
use super::super::watch::Watch;
use super::super::{machine, signal};
use super::conduct::Conductor;
use super::lines::Route;
use super::lookup::Lookup;
use super::worker::{Harvest, Shared, Worker};
use crate::live::Audience;
use crate::measure::{Connections, Errors, Latencies, Sessions, Tally};
use crate::needs::DESCRIPTORS_BESIDE;
use crate::plan::Plan;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// Runs the plan to its end, or until Ctrl-C. `audience` follows it.
///
/// # Errors
/// This machine does not allow it, or the flags name what does not exist. Failures of the target are part of the result.
pub fn run(
    plan: &Plan,
    server: Option<Server>,
    audience: &mut dyn Audience,
) -> Result<Finished, RunError> {
    ring::probe().map_err(|error| RunError::local(error.to_string()))?;
    check_descriptors(plan)?;
    let watch = &Watch::new(audience);
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
        let mut finished = Conductor::new(shared, server, watch).conduct();
        for worker in workers {
            let harvest = worker.join().expect("workers do not panic");
            add(&mut finished, &harvest.map_err(say("a worker"))?);
        }
        if plan.mode.is_open_loop() {
            finished.messages = finished.tally.received;
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
    if let Some(sessions) = &harvest.sessions {
        finished.sessions.get_or_insert_default().add(sessions);
    }
    add_log(&mut finished.intervals, &harvest.intervals);
}

/// Pins the calling thread to a CPU, if one is named.
fn pinned(cpu: Option<usize>) -> io::Result<()> {
    match cpu {
        None => Ok(()),
        Some(cpu) => {
            machine::pin(cpu).map_err(|error| io::Error::other(format!("--cores {cpu}: {error}")))
        }
    }
}

/// Raises the limit of descriptors as far as it goes, and checks that it is enough.
fn check_descriptors(plan: &Plan) -> Result<(), RunError> {
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

/// Names what failed.
fn say(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |error| RunError::local(format!("{what}: {error}"))
}
