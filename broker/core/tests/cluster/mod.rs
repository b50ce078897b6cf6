//! Seeded simulation of whole clusters: the nodes' state machines that production will run, around a model of etcd and
//! of the network, with faults of every kind.
//!
//! ```text
//!  script ──► world ──► Cluster (does) ──► check (looks)
//!               │
//!               └──► etcd, net (models)
//! ```
//! A failure prints its seed; `SEED=… cargo test --test behaviour cluster::` replays it exactly, with
//! `SIM_TRACE=1` it prints every event. `CLUSTER_SEEDS=n` sets how many worlds run, and `SIM_FIRST=n` the seed of the
//! first; with `--nocapture` a table at the end says what they met. `SIM_GO_ON=1` counts broken worlds and goes on.
//! `SIM_SKIP="chaos,drains"` runs no world of these classes.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not expected here is passed over or fails the test"
)]

mod aimed;
mod check;
mod classes;
mod contact;
mod etcd;
mod first;
mod host;
mod identity;
mod net;
mod outputs;
mod script;
mod traffic;
mod world;

use crate::sim::setting;
use std::collections::BTreeMap;
use world::World;

/// Worlds of an ordinary run: some seconds without optimisation.
const SEEDS: u64 = 1_000;

/// Worlds from one line about a long run to the next.
const PROGRESS: u64 = 100_000;

/// Events that an ordinary run must meet.
#[rustfmt::skip] // a list
const MUST_MEET: &[&str] = &[
    "alone", "claimed after a restart", "claimed, given up", "claimed, never owned", "claimed, owner did not claim",
    "claimed, owner replaced", "claimed, owner silent", "drained", "drained, slots left", "name taken", "overlap",
    "overlap by the exception", "received", "released, not loaded", "released by a transfer",
    "released to a newer epoch", "removed", "unproven",
];

#[test]
fn worlds() {
    let number = |name| setting(name).and_then(|text| text.parse().ok());
    if let Some(seed) = number("SEED") {
        let mut world = World::new(seed);
        world.log = setting("SIM_TRACE").map(|_| String::new());
        world.run();
        eprintln!("{}", world.log.take().unwrap_or_default());
        eprintln!("{:?}", world.script);
        assert_eq!(world.check.fault, None, "seed {seed}");
        return;
    }
    let goes_on = setting("SIM_GO_ON").is_some();
    let seeds = number("CLUSTER_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(1);
    let skipped = setting("SIM_SKIP").unwrap_or_default();
    let mut table: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut broken = 0;
    for seed in first..first + seeds {
        let mut world = World::new(seed);
        if skipped.split(',').any(|class| class == world.script.class) {
            continue;
        }
        world.run();
        if let Some(fault) = &world.check.fault {
            eprintln!("seed {seed}, class {}: {fault}", world.script.class);
            eprintln!("replay: SEED={seed} cargo test --test behaviour cluster::");
            broken += 1;
            let fine = goes_on;
            assert!(fine, "seed {seed}, class {}: {fault}", world.script.class);
        }
        let class = format!("class {}", world.script.class);
        let met = world
            .check
            .met
            .iter()
            .map(|(what, times)| ((*what).to_owned(), *times));
        for (what, times) in met.chain([(class, 1), ("moves".to_owned(), world.check.moves)]) {
            let (worlds, all) = table.entry(what).or_default();
            *worlds += 1;
            *all += times;
        }
        let done = seed - first + 1;
        if done.is_multiple_of(PROGRESS) {
            eprintln!("{done} of {seeds} worlds from seed {first} on, {broken} broken");
        }
    }
    for (what, (worlds, times)) in &table {
        eprintln!("{what:35} in {worlds:8} worlds, {times:9} times");
    }
    assert_eq!(broken, 0, "broken worlds");
    if seeds >= SEEDS && skipped.is_empty() {
        for what in MUST_MEET {
            assert!(table.contains_key(*what), "no world met: {what}");
        }
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in [3, 50, 777, 4_242] {
        let [one, other] = [(), ()].map(|()| {
            let mut world = World::new(seed);
            world.log = Some(String::new());
            world.run();
            world.log.take()
        });
        let fine = one.as_ref().is_some_and(|log| log.len() > 10_000);
        assert!(fine, "seed {seed}");
        assert!(one == other, "seed {seed} differs");
    }
}
