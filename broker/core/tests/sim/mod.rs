//! Seeded simulation of whole shards: a simulated clock, network and mailboxes around the machines that production
//! runs, faults of every kind, and a reference model that predicts every byte.
//!
//! ```text
//!  workload ──► world ──► model (predicts) ──► Shard (does) ──► check (compares)
//!  scripts  ───┘          what tests of clients do under `--dev`: faults, clocks, resets
//! ```
//! A failure prints its seed; `SEED=… cargo test --test behaviour sim::` replays it exactly. `SIM_SEEDS=n` sets how
//! many worlds run, and `SIM_FIRST=n` the seed of the first, so that a long run can be cut into parts; with
//! `--nocapture` a line shows now and then how far it has come, and a table at the end which faults and rules it met.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not expected here is passed over or fails the test"
)]

mod audit;
mod bounds;
mod check;
mod clients;
mod connections;
mod coverage;
mod faults;
mod inspector;
mod ledger;
mod letters;
mod model;
mod notes;
mod presence;
mod reader;
mod recorder;
mod scripts;
mod socket;
mod store;
mod tcp;
mod time;
pub(crate) mod wire;
mod words;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// Worlds of an ordinary run: a few seconds.
const SEEDS: u64 = 400;

/// The end of a world that the model gives up.
const GIVEN_UP: &str = "world ended: an order that does not show";

/// Worlds from one line about a long run to the next.
const PROGRESS: u64 = 10_000;

#[test]
fn worlds() {
    let number = |name| setting(name).and_then(|text| text.parse().ok());
    if let Some(seed) = number("SEED") {
        let mut world = World::new(seed);
        if !run(seed, &mut world) {
            say_given_up(seed, world.step);
        }
        return;
    }
    let mut table = BTreeMap::new();
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(1);
    for seed in first..first + seeds {
        let mut world = World::new(seed);
        if !run(seed, &mut world) {
            world.hit(GIVEN_UP);
        }
        for (what, times) in world.hits {
            let (worlds, all) = table.entry(what).or_insert((0, 0));
            *worlds += 1;
            *all += times;
        }
        for rule in world.model.met {
            let (worlds, _) = table.entry(rule).or_insert((0, 0));
            *worlds += 1;
        }
        let (worlds, all) = table.entry("messages delivered").or_insert((0, 0));
        *worlds += 1;
        *all += world.ledger.delivered;
        let done = seed - first + 1;
        if done.is_multiple_of(PROGRESS) {
            eprintln!("{done} of {seeds} worlds from seed {first} on");
        }
    }
    for (what, (worlds, times)) in &table {
        eprintln!("{what:45} in {worlds:5} worlds, {times:7} times");
    }
    if seeds >= SEEDS {
        for what in coverage::MUST_HIT {
            assert!(table.contains_key(what), "no world met: {what}");
        }
    }
}

/// Runs a world. False when the model gave it up, which is no failure.
fn run(seed: u64, world: &mut World) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) else {
        return true;
    };
    if !panic.is::<model::OrderDoesNotShow>() {
        report(seed, world);
        std::panic::resume_unwind(panic);
    }
    false
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test passes, and what it prints in the usual way is not shown"
)]
fn say_given_up(seed: u64, step: u64) {
    let said = writeln!(std::io::stderr(), "seed {seed}, step {step}: {GIVEN_UP}");
    said.expect("standard error takes a line");
}

fn report(seed: u64, world: &World) {
    eprintln!("seed {seed}, step {}: {:?}", world.step, world.plan);
    eprintln!("replay: SEED={seed} cargo test --test behaviour sim::");
}

/// Reads a variable of the environment, which configures a run: `SEED`, `SIM_SEEDS`, `SIM_TRACE`.
#[expect(
    clippy::disallowed_methods,
    reason = "the test is configured by its environment; the shards are not"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
