//! Long turns of shards under attack, and which of them count.
//!
//! Turns are measured as CPU time of their thread. On a virtual machine, time that the hypervisor takes is part of it:
//! a program that does nothing but read its own CPU time sees steps of many milliseconds. So such a program runs on
//! each CPU, whenever nobody else wants it, and long turns of a second in which one of them saw a step are left out:
//! ```text
//!  samples     |    1 long    |    0 long    |    3 long    |    one a second, from the metrics
//!  readers          |                              | 6 ms
//!                1 counts                       3 are left out
//! ```
//! A reader sees nothing while its CPU is busy: some of the hypervisor's time is counted as the broker's all the same.

use super::{Raised, gauges};
use crate::process::Broker;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::until;

/// Of this many turns one may be long: the 99.9th percentile is below what `heliograph_turns_long_total` counts from.
const TURNS_PER_LONG: u64 = 1_000;

/// Shortest step of a reader's clock that is not its own work. Two reads are a microsecond apart.
const STEP_MIN: Duration = Duration::from_millis(4);

/// From one sample to the next, and how often the end of the attack is looked for meanwhile.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Turns of all shards during an attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    pub(crate) all: u64,
    /// The long ones that count.
    pub(crate) long: u64,
    /// Long ones beside a step of a reader.
    pub(crate) left_out: u64,
}

/// The counters of turns at one moment of an attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) turns: u64,
    pub(crate) long: u64,
}

/// CPU time that passed between two reads of its clock, of which the second was at this moment of an attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) length: Duration,
}

impl Turns {
    /// Those between the first sample and the last.
    pub(crate) fn of(samples: &[Sample], steps: &[Step]) -> Self {
        let mut sum = Self::default();
        for (from, to) in samples.iter().zip(samples.iter().skip(1)) {
            let beside =
                |step: &Step| step.at > from.at && step.at.saturating_sub(step.length) < to.at;
            let long = to.long - from.long;
            sum.all += to.turns - from.turns;
            if steps.iter().any(beside) {
                sum.left_out += long;
            } else {
                sum.long += long;
            }
        }
        sum
    }

    /// The fault of these turns, if they have one.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.all == 0 {
            return Some("no turn was counted".to_owned());
        }
        (self.long * TURNS_PER_LONG > self.all).then(|| {
            let Self {
                all,
                long,
                left_out,
            } = self;
            format!(
                "{long} of {all} turns above 8 ms, at most one of {TURNS_PER_LONG}; {left_out} more beside steps of \
                 the clock"
            )
        })
    }

    /// Which part of all is long, for the table.
    pub(crate) fn percent(&self) -> f64 {
        self.long as f64 * 100.0 / self.all.max(1) as f64
    }
}

/// Runs an attack and counts the turns meanwhile.
pub(crate) fn counted<T>(broker: &Broker, attack: impl FnOnce() -> T) -> (T, Turns) {
    let begun = Instant::now();
    let over = AtomicBool::new(false);
    let over = &over;
    thread::scope(|scope| {
        let readers: Vec<_> = cpus(broker)
            .map(|cpu| scope.spawn(move || read_clock(cpu, begun, over)))
            .collect();
        let sampler = scope.spawn(move || sample(broker, begun, over));
        let done = {
            let _over = Raised(over);
            attack()
        };
        let samples = sampler.join().expect("the broker is there");
        let steps = readers.into_iter().map(|reader| reader.join());
        let steps: Vec<Step> = steps.flat_map(|steps| steps.expect("a CPU")).collect();
        (done, Turns::of(&samples, &steps))
    })
}

/// The CPUs that a broker may use.
fn cpus(broker: &Broker) -> impl Iterator<Item = usize> {
    let id = i32::try_from(broker.id()).ok().and_then(Pid::from_raw);
    let set = sched_getaffinity(id).expect("the broker is there");
    (0..CpuSet::MAX_CPU).filter(move |cpu| set.is_set(*cpu))
}

/// Samples until the end. One that a busy shard did not answer in time is left out: its second is part of the next.
fn sample(broker: &Broker, begun: Instant, over: &AtomicBool) -> Vec<Sample> {
    let one = || Sample::of(broker, begun);
    let first = until("a scrape before the attack", one);
    let (mut samples, mut next) = (vec![first], first.at + SAMPLE_EVERY);
    while !over.load(Ordering::SeqCst) {
        thread::sleep(LOOK_EVERY);
        if begun.elapsed() >= next {
            samples.extend(one());
            next = begun.elapsed() + SAMPLE_EVERY;
        }
    }
    samples.push(until("a scrape after the attack", one));
    samples
}

impl Sample {
    fn of(broker: &Broker, begun: Instant) -> Option<Self> {
        let scrape = broker.try_scrape()?;
        Some(Self {
            at: begun.elapsed(),
            turns: scrape.count("heliograph_turns_total"),
            long: scrape.count("heliograph_turns_long_total"),
        })
    }
}

/// Reads the clock of this thread's CPU time on one CPU, again and again while nobody else wants it; returns the steps.
fn read_clock(cpu: usize, begun: Instant, over: &AtomicBool) -> Vec<Step> {
    gauges::give_way();
    let mut alone = CpuSet::new();
    alone.set(cpu);
    sched_setaffinity(None, &alone).expect("a CPU of the broker");
    let mut steps = Vec::new();
    let mut last = cpu_time();
    while !over.load(Ordering::Relaxed) {
        // Attackers have the same priority: they are not to lose half of their CPU.
        thread::yield_now();
        let now = cpu_time();
        let length = now.saturating_sub(last);
        if length >= STEP_MIN {
            let at = begun.elapsed();
            steps.push(Step { at, length });
        }
        last = now;
    }
    steps
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(time.tv_sec.unsigned_abs(), nanos)
}
