//! Links in a simulated world: two fronts and two owners, pipes with delay and cuts between them, turns in any order,
//! nodes that stop, wake and start again, clients that read slowly, vanish, or get another owner, sessions that pause,
//! and links that die.
//!
//! ```text
//!  client ◄─► front: Link ◄── pipes ──► owner: Link ◄─► session ◄─► queue of the client's messages
//! ```
//! The world knows what every machine has, so that it can say after each step: no message is lost that was not
//! returned, or in the memory of a process that ended, none is confirmed that its client's machine does not have, no
//! call is carried out twice, every byte is of its stream and in its place, a woken front passes nothing on that the
//! owner had returned, each stream ends once at each end, and nothing is left.
//!
//! A failure prints its seed; `SEED=… cargo test --test behaviour link::` replays it. `LINK_SEEDS=n` sets how many
//! worlds run, and `SIM_FIRST=n` the seed of the first; with `--nocapture` a table shows what they met.

mod cases;
mod front;
mod nodes;
mod owner;
mod pipe;
mod world;

use broker_core::cluster::link::{Mismatch, check_hello};
use codec::link::{Hello, NodeName};
use std::collections::BTreeMap;
use world::{Plan, World};

/// Worlds of an ordinary run: two seconds.
const SEEDS: u64 = 120;

/// What an ordinary run must meet.
#[rustfmt::skip] // a list
const MUST_MEET: &[&str] = &[
    "all sent", "another process", "call unavailable", "close at a boundary", "confirmed", "front restarted",
    "front silent", "given up", "left: fin", "left: reset", "lost its owner", "moved", "not begun", "owner restarted",
    "owner silent", "pushed behind a request", "repeated", "reset within a frame", "returned", "starved", "woken",
];

#[test]
fn worlds() {
    let number = |name| setting(name).and_then(|text| text.parse().ok());
    if let Some(seed) = number("SEED") {
        let mut world = World::new(Plan::of(seed));
        world.run();
        eprintln!("{:?} {:?}", world.plan, world.met);
        return;
    }
    let seeds = number("LINK_SEEDS").unwrap_or(SEEDS);
    let first = number("SIM_FIRST").unwrap_or(1);
    let mut table: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + seeds {
        for (what, times) in run(&format!("SEED={seed}"), Plan::of(seed)) {
            *table.entry(what).or_default() += times;
        }
    }
    for (what, times) in &table {
        eprintln!("{what:30} {times:9} times");
    }
    if seeds >= SEEDS {
        for what in MUST_MEET {
            assert!(table.contains_key(what), "no world met: {what}");
        }
    }
}

/// A short exchange of two upgrades and a call, whose connection is cut off behind each of its bytes in turn.
#[test]
fn a_link_may_die_at_each_byte() {
    for way in [0, 1] {
        for byte in 0.. {
            let mut plan = Plan::of(7);
            plan.is_short = true;
            plan.dies_at = Some((way, byte));
            let what = format!("way {way}, byte {byte}");
            if !run(&what, plan).contains_key("died at a byte") {
                assert!(byte > 500, "{what}: the exchange was too short");
                break;
            }
        }
    }
}

#[test]
fn a_hello_is_for_this_process_of_this_cluster() {
    let hello = |version, cluster, name, start| {
        let directory = u32::from(start > 0);
        let to = NodeName {
            name,
            directory,
            start,
        };
        let from = NodeName {
            name: "n2",
            directory: 1,
            start: 9,
        };
        Hello {
            version,
            cluster,
            from,
            to,
            shard: 0,
            shards: 1,
        }
    };
    let (from, to) = (hello(6, "c", "n1", 5).to, hello(6, "c", "n1", 5).from);
    let own = Hello {
        from,
        to,
        ..hello(6, "c", "n1", 5)
    };
    for (theirs, verdict) in [
        (hello(6, "c", "n1", 5), Ok(())),
        (hello(6, "c", "n1", 0), Ok(())), // it knows the name alone
        (hello(7, "c", "n1", 5), Ok(())),
        (hello(5, "c", "n1", 5), Ok(())),
        (hello(4, "c", "n1", 5), Err(Mismatch::Version)),
        (hello(6, "d", "n1", 5), Err(Mismatch::Cluster)),
        (hello(6, "c", "n2", 5), Err(Mismatch::Node)),
        (hello(6, "c", "n1", 4), Err(Mismatch::Process)),
    ] {
        assert_eq!(check_hello(&own, &theirs), verdict, "{theirs:?}");
    }
}

fn run(what: &str, plan: Plan) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(plan);
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ran {
        eprintln!("{what} at {} ms: {:?}", world.now, world.plan);
        std::panic::resume_unwind(panic);
    }
    world.met
}

/// Reads a variable of the environment, which configures a run.
#[expect(
    clippy::disallowed_methods,
    reason = "the test is configured by its environment; the links are not"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
