//! Seeded simulation of whole shards: a simulated clock, network and mailboxes around the machines that production
//! runs, faults of every kind, and checkers of what the machines let out.
//!
//! ```text
//!  workload ──► world ──► Shard ──► check: after every step
//!  scripts  ───┘            │        requests  responses in order, each refusal with a cause records  what stores have
//!  (what tests do           │        frames    pings, statuses, closes: each with a cause    letters  one answer each
//!   under `--dev`)          │        messages  to whom, in order, once, how they end         lines    of the log
//!                           │        slots     the newest has it; presence                   gauges   sums, bounds
//!                           └ after time has passed: overdue        at the end: traces, at_rest
//! ```
//! No checker predicts what a machine does: each judges, from the bytes that went in and came out, whether what it did
//! may be so, and whether what is due has come.
//!
//! A failure prints its seed; `SEED=… cargo test --test behaviour sim::` replays it exactly. `SIM_SEEDS=n` sets how
//! many worlds run, and `SIM_FIRST=n` the seed of the first, so that a long run can be cut into parts; with
//! `--nocapture` a line shows now and then how far it has come, and a table at the end what the worlds have met.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not expected here is passed over or fails the test"
)]

mod check;
mod clients;
mod connections;
mod coverage;
mod faults;
mod frames;
mod gauges;
mod letters;
mod lines;
mod messages;
mod overdue;
mod presence;
mod reader;
mod records;
mod requests;
mod scripts;
mod slots;
mod socket;
mod store;
mod tcp;
mod time;
mod traces;
mod verdict;
pub(crate) mod wire;
mod words;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// Worlds of an ordinary run: a few seconds.
const SEEDS: u64 = 400;

/// Worlds from one line about a long run to the next.
const PROGRESS: u64 = 10_000;

#[test]
fn worlds() {
    let number = |name| setting(name).and_then(|text| text.parse().ok());
    if let Some(seed) = number("SEED") {
        run(seed, &mut World::new(seed));
        return;
    }
    let mut table = BTreeMap::new();
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(1);
    for seed in first..first + seeds {
        let mut world = World::new(seed);
        run(seed, &mut world);
        world
            .hits
            .insert("message handed over", world.ledger.delivered);
        for (what, times) in world.hits {
            let (worlds, all) = table.entry(what).or_insert((0, 0));
            *worlds += u64::from(times > 0);
            *all += times;
        }
        let done = seed - first + 1;
        if done.is_multiple_of(PROGRESS) {
            eprintln!("{done} of {seeds} worlds from seed {first} on");
        }
    }
    for (what, (worlds, times)) in &table {
        eprintln!("{what:45} in {worlds:5} worlds, {times:7} times");
    }
    if seeds >= SEEDS {
        for (what, least) in coverage::MUST_MEET {
            let (worlds, _) = table.get(what).copied().unwrap_or((0, 0));
            let least = (least * seeds / SEEDS).max(1);
            assert!(worlds >= least, "{worlds} worlds met, not {least}: {what}");
        }
    }
}

/// Runs a world to its end: none ends before.
fn run(seed: u64, world: &mut World) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        report(seed, world);
        std::panic::resume_unwind(panic);
    }
}

fn report(seed: u64, world: &World) {
    eprintln!("seed {seed}, step {}: {:?}", world.step, world.plan);
    eprintln!("replay: SEED={seed} cargo test --test behaviour sim::");
}

/// Reads a variable of the environment, which configures a run.
#[expect(
    clippy::disallowed_methods,
    reason = "the test is configured by its environment; the shards are not"
)]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
