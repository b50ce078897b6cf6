//! The load generator's I/O: rings, sockets, TLS, threads, the clock, processes and signals. Part of it lives in the
//! `worker` module.
//!
//! ```text
//!            ┌──────────────────────── one turn of a worker ────────────────────────┐
//!  schedule ─► launch what is due ─► retries, holds, deadlines ─► flush ─► ring ─► news
//!   launch.rs                          timers.rs                 lines.rs    advance.rs
//! ```
//! [`run`](run()) starts one worker per thread, and `worker/` implements one turn of its event loop. A worker handles
//! every party of its channels. The sender and the recipient of a message are therefore on the same thread, where
//! [`crate::visit::Crew`] checks messages without doing I/O. In an open loop, the parties are masters with scheduled
//! sessions, or peers with scheduled messages (`worker/timers.rs`). In a closed loop, they are peers that stay
//! connected for the whole run. The [`Conductor`] moves the run through its phases via the [`board`], whose counters
//! are the only state that workers share. With discovery, each party first makes API calls on separate connections, and
//! a dedicated thread resolves the endpoints they return (`worker/directory.rs`). Requests that are not part of the
//! load use the blocking client in [`http`].

mod api;
pub(crate) mod board;
mod conductor;
mod http;
pub(crate) mod machine;
mod parts;
mod process;
mod signal;
mod watch;

use crate::result::{Document, merge};
use crate::worker::tls::{self, Client};
use crate::worker::{RunContext, Worker};
use crate::worker::{directory::start_resolver, lines::Route};
use crate::{live::RunFollower, needs::DESCRIPTORS_BESIDE, options::EngineChoice, plan::Plan};
use api::{Api, Channels};
use board::RunBoard;
pub use board::RunPhase;
use conductor::Conductor;
pub use machine::{DriverMachine, MachineLimits, limits, machine, run_id};
pub use parts::{run_parts, word_of_stdin};
pub use process::{Process, Server};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{io, thread};
use thiserror::Error;
use watch::Watch;

/// When to start the load, once all connections are ready.
#[derive(Debug)]
pub enum StartSignal {
    /// Starts the load as soon as all connections are ready.
    AtOnce,
    /// Starts the load at this time, so that several machines can start their parts of the run together.
    At(SystemTime),
    /// Starts at the time that the parent process sends.
    OnWord(Receiver<SystemTime>),
}

/// The reason why a run could not start.
#[derive(Debug, Error)]
#[error("{text}")]
pub struct RunError {
    text: String,
    by_target: bool,
}

impl RunError {
    fn local(text: String) -> Self {
        let by_target = false;
        Self { text, by_target }
    }

    pub(crate) fn target(text: String) -> Self {
        let by_target = true;
        Self { text, by_target }
    }

    /// Returns the exit code: 3 if the target is at fault, and 2 otherwise.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.by_target { 3 } else { 2 }
    }
}

/// Runs the plan until it completes or the user presses Ctrl-C. Returns `document` with the results filled in.
///
/// # Errors
/// Returns an error if this machine cannot perform the run, or if a flag refers to something that does not exist. A
/// failing target is not an error: its failures are part of the results.
pub fn run(
    plan: &Plan,
    document: &Document,
    server: Option<Server>,
    start: &StartSignal,
    audience: &mut dyn RunFollower,
) -> Result<Document, RunError> {
    if let StartSignal::At(moment) = start {
        check_moment(*moment).map_err(RunError::local)?;
    }
    check_descriptors(plan)?;
    let watch = &Watch::new(audience);
    let plan = &Plan {
        engine: engine(plan.engine, watch)?,
        ..plan.clone()
    };
    let mut routes = Vec::new();
    for target in plan.ways() {
        let tls = if target.tls {
            Client::new(&plan.trust, plan.resumes, &target.host).map_err(say("TLS"))?
        } else {
            None
        };
        let target = target.clone();
        routes.push(Arc::new(Route { target, tls }));
    }
    signal::watch().map_err(say("signals"))?;
    if !plan.create_channels {
        return run_on(plan, document, &routes, &[], (server, start), watch);
    }
    let tls = tls::of_calls(&plan.trust).map_err(say("TLS"))?;
    let mut api = Api::new(plan, tls)
        .ok_or_else(|| RunError::local("--create-channels needs a --target".into()))?;
    let mut channels = Channels::default();
    watch.say("creating channels");
    let finished = match api.create(plan, &mut channels) {
        Ok(()) => run_on(
            plan,
            document,
            &routes,
            &channels.arns,
            (server, start),
            watch,
        ),
        Err(error) => Err(RunError::target(error)),
    };
    watch.say("deleting channels");
    if let Some((count, error)) = api.delete(&channels) {
        watch.say(&format!("{count} channels were not deleted: {error}"));
    }
    finished
}

/// Selects the engine. If io_uring is unavailable, `Auto` prints a message and falls back to epoll, but explicitly
/// choosing io_uring is an error.
fn engine(choice: EngineChoice, watch: &Watch<'_>) -> Result<EngineChoice, RunError> {
    match (choice, ring::probe()) {
        (EngineChoice::Epoll, _) => Ok(choice),
        (EngineChoice::Auto | EngineChoice::IoUring, Ok(())) => Ok(EngineChoice::IoUring),
        (EngineChoice::IoUring, Err(why)) => Err(RunError::local(why.to_string())),
        (EngineChoice::Auto, Err(why)) => {
            watch.say(&format!(
                "loadgen uses epoll, since io_uring is not available: {why}"
            ));
            Ok(EngineChoice::Epoll)
        }
    }
}

fn check_moment(moment: SystemTime) -> Result<(), String> {
    if moment < SystemTime::now() {
        return Err("--start-at: expected a time in the future".into());
    }
    Ok(())
}

fn run_on(
    plan: &Plan,
    document: &Document,
    routes: &[Arc<Route>],
    arns: &[String],
    (server, start): (Option<Server>, &StartSignal),
    watch: &Watch<'_>,
) -> Result<Document, RunError> {
    let threads = plan.threads();
    let board = RunBoard::new(threads.len());
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let lookups = plan.discover.then(|| start_resolver(plan.clone()));
    let shared = RunContext {
        plan,
        document,
        board: &board,
        routes,
        lookups: lookups.as_ref(),
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
                    let pinned = cpu.map_or(Ok(()), machine::pin);
                    let part = pinned.and_then(|()| Worker::new(shared, number, of)?.run());
                    if let Some(gauge) = shared.board.gauges.get(number as usize) {
                        gauge.lock().over = 1;
                    }
                    part
                })
            })
            .collect();
        let conductor = Conductor {
            shared,
            server,
            start,
            watch,
        };
        let course = conductor.conduct();
        let mut parts = Vec::new();
        for worker in workers {
            let part = worker.join().expect("workers do not panic");
            parts.push(part.map_err(say("a worker"))?);
        }
        let mut document = merge(&parts).map_err(|error| RunError::local(error.to_string()))?;
        course.fill(&mut document, plan.mode, parts.len());
        Ok(document)
    })
}

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

fn say(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |error| RunError::local(format!("{what}: {error}"))
}
