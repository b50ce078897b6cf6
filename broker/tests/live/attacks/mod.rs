//! Attacks on the real binary, each beside healthy clients: nobody healthy is cut or refused, and when the attackers
//! have left, the process is as large as before.
//!
//! An attack is a function that gets an [`Attack`] and floods, hoards or crawls until [`Attack::over`]:
//! ```ignore
//! let broker = attacks::broker("", 1);                      // its configuration file, and how many shards
//! let outcome = Trial::new("get flood", &broker).run(|attack| {
//!     while !attack.over() { …; attack.did(1); }
//! });
//! ```
//! [`Trial::run`] asserts what holds for every attack; what holds for one is asserted by its own test, from the scrapes
//! and the [`Outcome`]. Healthy clients come from [`HEALTHY`], attackers from any other address of loopback.
//! [`admin_token`] and [`data_directory`] flood nobody: they ask for what only the operator may have.
//!
//! Two ways to run: `cargo test` (seconds, asserts counts and bytes) and `ATTACKS=full` (longer, of a release binary,
//! with the shard on a CPU of its own; prints one table line per attack, and which times are above their bounds: other
//! work on the machine adds to times, so `deploy/ci/attacks.sh` repeats those attacks before it judges).

mod admin;
mod admin_token;
mod all_budgets;
mod audits;
mod collisions;
mod data_directory;
mod deadlines;
mod declared;
mod empty_frames;
mod gauges;
mod greedy_viewers;
mod handshakes;
mod healthy;
mod latencies;
mod list_hoard;
mod lists;
mod log_lines;
mod masters;
mod million;
mod pings;
mod pipelined;
mod policies;
mod records;
mod selftest;
mod slow_readers;
mod slow_requests;
pub(crate) mod tenants;
mod turns;
mod unfinished;
mod unfinished_messages;
mod waiting_calls;

use crate::process::Broker;
use gauges::{Footprint, Watched};
pub(crate) use gauges::{most_unread, resident_bytes};
use healthy::Healthy;
use latencies::{Latencies, Wait};
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use turns::Turns;

/// The address of healthy clients.
pub(crate) const HEALTHY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The address of an attacker that needs no other one.
pub(crate) const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// The time within which the process is as small as before, after the last attacker left.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);

/// The most work of a shard's turn under any attack, in units: 4 ms of a slow core.
const TURN_WORK_MAX: f64 = 400_000.0;

/// Whether times are judged and attacks last longer.
pub(crate) fn full() -> bool {
    std::env::var("ATTACKS").is_ok_and(|value| value == "full")
}

/// `heliograph serve --dev` with this configuration. Its shards have CPUs from 0 on, which a full run keeps free of all
/// else.
pub(crate) fn broker(configuration: &str, shards: u16) -> Broker {
    // Copies of messages for tests have bounds of their own, and would be counted as the attack's.
    Broker::configured(&format!("dev_capture = false\n{configuration}"), shards)
}

/// One attack to be run beside healthy clients.
pub(crate) struct Trial<'b> {
    name: &'static str,
    broker: &'b Broker,
    tls: bool,
    /// Waits of the healthy that are judged: those of newcomers where these come.
    judged: &'static [Wait],
    newcomers: bool,
    lasts: Duration,
}

/// The attack's view of its trial.
pub(crate) struct Attack {
    begun: Instant,
    lasts: Duration,
    did: AtomicU64,
}

/// The observations of a trial.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The attack's own count.
    pub(crate) did: u64,
    /// The duration of the attack.
    pub(crate) took: Duration,
    /// Before the attack, healthy clients connected.
    pub(crate) before: Footprint,
    /// The most of each during the attack.
    pub(crate) peak: Footprint,
    /// When it was over, and the process had shrunk.
    pub(crate) after: Footprint,
    /// Messages of healthy clients that arrived during the attack.
    pub(crate) healthy_messages: usize,
    /// Lists that newcomers got, of `healthy::LISTED` channels.
    pub(crate) healthy_lists: u64,
}

/// The load of an attack on the shards.
struct Load {
    /// The part of its time that the busiest one ran.
    busy: f64,
    /// Of all (full runs).
    turns: Turns,
}

impl<'b> Trial<'b> {
    /// An attack of this name, for the table.
    pub(crate) fn new(name: &'static str, broker: &'b Broker) -> Self {
        Self {
            name,
            broker,
            tls: false,
            judged: &Wait::ALL,
            newcomers: true,
            lasts: Duration::from_secs(if full() { 10 } else { 2 }),
        }
    }

    /// Healthy clients come over TLS.
    pub(crate) fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Nobody healthy connects or calls while the attack is under way: only those who were there before.
    pub(crate) fn without_newcomers(self) -> Self {
        Self {
            judged: &[Wait::Relay],
            newcomers: false,
            ..self
        }
    }

    /// The attack is lists of the newcomers' own account, which has one under way by design: the newcomers' lists wait
    /// for those of the attackers, so how long is printed, not judged. `list_hoard.rs` judges those of another account.
    pub(crate) fn of_lists(self) -> Self {
        Self {
            judged: &[Wait::Relay, Wait::Connect, Wait::Describe],
            ..self
        }
    }

    /// The attack lasts this long, in a full run five times as long.
    pub(crate) fn lasting(self, lasts: Duration) -> Self {
        let lasts = if full() { lasts * 5 } else { lasts };
        Self { lasts, ..self }
    }

    /// Runs the attack. Attackers must be gone when `attack` returns; healthy clients go on.
    pub(crate) fn run(self, attack: impl FnOnce(&Attack) + Send) -> Outcome {
        let healthy = Healthy::connect(self.broker, self.tls);
        let outcome = thread::scope(|scope| {
            let running = healthy.start(scope);
            // Also when the attack panics: the healthy would exchange messages forever.
            let seen = panic::catch_unwind(AssertUnwindSafe(|| self.phases(&running, attack)));
            let latencies = running.stop();
            seen.map(|(outcome, load)| self.judge(outcome, &latencies, &load))
                .unwrap_or_else(|cause| panic::resume_unwind(cause))
        });
        eprintln!("{}: {outcome:?}", self.name);
        outcome
    }

    fn phases(
        &self,
        running: &healthy::Running<'_>,
        attack: impl FnOnce(&Attack) + Send,
    ) -> (Outcome, Load) {
        running.quiet(self.broker, self.newcomers);
        let watched = Watched::new(self.broker);
        let before = watched.footprint();
        let times = watched.thread_times();
        let attacked = || {
            running.attacked(self.newcomers);
            let under_way = Attack::lasting(self.lasts);
            let peak = watched.peak_while(|| {
                if full() {
                    gauges::give_way();
                }
                attack(&under_way);
            });
            let took = under_way.begun.elapsed();
            let busy = watched.busiest_since(&times, took);
            (under_way.did.into_inner(), took, peak, busy)
        };
        let ((did, took, peak, busy), turns) = if full() {
            turns::counted(self.broker, attacked)
        } else {
            (attacked(), Turns::default())
        };
        running.recovering();
        let after = self.recovered(&watched, &before);
        let outcome = Outcome {
            did,
            took,
            before,
            peak,
            after,
            healthy_messages: 0,
            healthy_lists: running.lists(),
        };
        (outcome, Load { busy, turns })
    }

    /// Waits until memory is within 10 % and 16 MiB of before, and descriptors are as before.
    fn recovered(&self, watched: &Watched<'_>, before: &Footprint) -> Footprint {
        let memory_max = before.resident_bytes / 10 * 11 + (16 << 20);
        let until = Instant::now() + RECOVERS_WITHIN;
        loop {
            let now = watched.footprint();
            if now.resident_bytes <= memory_max && now.descriptors <= before.descriptors {
                return now;
            }
            assert!(
                Instant::now() < until,
                "{}: 30 s after the attack {now:?}, before it {before:?}",
                self.name
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn judge(&self, mut outcome: Outcome, latencies: &Latencies, load: &Load) -> Outcome {
        outcome.healthy_messages = latencies.attacked.count(Wait::Relay);
        assert!(
            outcome.healthy_messages > 0,
            "{}: nobody healthy was served",
            self.name
        );
        let work = self.broker.scrape().sum("heliograph_turn_work");
        assert!(
            work <= TURN_WORK_MAX,
            "{}: a turn of {work} units, at most {TURN_WORK_MAX}",
            self.name
        );
        if full() {
            self.judge_times(&outcome, latencies, load);
        }
        outcome
    }

    /// Prints what the script reads: one row of a Markdown table, and what is above its bound.
    fn judge_times(&self, outcome: &Outcome, latencies: &Latencies, load: &Load) {
        let (quiet, attacked) = (latencies.quiet.column(), latencies.attacked.column());
        let longest = self.broker.scrape().sum("heliograph_turn_seconds") * 1000.0;
        let mib = |footprint: &Footprint| footprint.resident_bytes >> 20;
        eprintln!(
            "row {} | {} | {:.0}/s | {quiet} | {attacked} | {longest:.1} ms | {:.3} % | {:.0} % \
             | {} / {} / {} MiB |",
            test(),
            self.name,
            outcome.did as f64 / outcome.took.as_secs_f64(),
            load.turns.percent(),
            load.busy * 100.0,
            mib(&outcome.before),
            mib(&outcome.peak),
            mib(&outcome.after),
        );
        eprintln!("{}: {:?}", self.name, load.turns);
        let faults = latencies.faults(self.judged);
        print_late(self.name, faults.into_iter().chain(load.turns.fault()));
    }
}

/// Prints for the script which times of an attack are above their bounds.
fn print_late(name: &str, faults: impl IntoIterator<Item = String>) {
    for fault in faults {
        eprintln!("late {} | {name}: {fault}", test());
    }
}

/// The name of the test that runs in this thread.
fn test() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

impl Attack {
    /// One that begins now.
    fn lasting(lasts: Duration) -> Self {
        Self {
            begun: Instant::now(),
            lasts,
            did: AtomicU64::new(0),
        }
    }

    /// Whether the attack has lasted long enough.
    pub(crate) fn over(&self) -> bool {
        self.begun.elapsed() >= self.lasts
    }

    /// The attack's own count so far.
    pub(crate) fn count(&self) -> u64 {
        self.did.load(Ordering::Relaxed)
    }

    /// Counts what the attack did: requests, frames, connections.
    pub(crate) fn did(&self, more: u64) {
        self.did.fetch_add(more, Ordering::Relaxed);
    }
}

/// Raises a flag when dropped, also by a panic: threads that wait for it would go on forever.
struct Raised<'f>(&'f AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
