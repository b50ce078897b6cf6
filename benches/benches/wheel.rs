//! The timer wheel of a shard: deadlines that move on while their owners are active, and those that pass. Beside it a
//! sorted set, which moves every entry at once, where the wheel leaves it until its owner is called and looks.

use benches::harness::{Timer, group, run};
use broker_core::id::TimerId;
use broker_core::time::Now;
use broker_core::wheel::Wheel;
use std::collections::BTreeSet;
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for owners in [100, 10_000] {
            put_off(criterion, owners);
            pass(criterion, owners);
        }
    });
}

/// Every owner is active: its deadline is a minute from now, again and again.
fn put_off(criterion: &mut Timer, owners: usize) {
    let case = format!("owners-{owners}");
    let mut group = group(criterion, "wheel/put-off", &case, owners, 0);
    let mut ours = Deadlines::new(owners, |_| MINUTE_MS);
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            ours.now += 1;
            for owner in 0..owners {
                ours.call_by(owner, ours.now + MINUTE_MS);
            }
            ours.wheel.places()
        });
    });
    assert_eq!(ours.wheel.places(), owners);
    let mut sorted = Sorted::new(owners, |_| MINUTE_MS);
    group.bench_function("std-btree-set", |bencher| {
        bencher.iter(|| {
            sorted.now += 1;
            for owner in 0..owners {
                sorted.call_by(owner, sorted.now + MINUTE_MS);
            }
            sorted.set.len()
        });
    });
    assert_eq!(sorted.set.len(), owners);
}

/// A second passes, in which a fifteenth of the owners are called; each has its next deadline 15 seconds later.
fn pass(criterion: &mut Timer, owners: usize) {
    let case = format!("owners-{owners}");
    let mut group = group(criterion, "wheel/pass", &case, owners, 0);
    let spread = |owner: usize| 1 + (owner as u64 * 7919) % PERIOD_MS;
    let mut ours = Deadlines::new(owners, spread);
    let mut sorted = Sorted::new(owners, spread);
    // As many are called by the one as by the other, none early: a slot is all that the wheel is late by.
    let (mut early, mut exact) = (0, 0);
    for _ in 0..PERIOD_MS / STEP_MS {
        early += ours.step();
        exact += sorted.step();
    }
    assert!(
        early <= exact && early + owners / 10 >= exact,
        "{early} {exact}"
    );
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| (0..1000 / STEP_MS).map(|_| ours.step()).sum::<usize>());
    });
    group.bench_function("std-btree-set", |bencher| {
        bencher.iter(|| (0..1000 / STEP_MS).map(|_| sorted.step()).sum::<usize>());
    });
}

/// The wheel, and the places of its owners.
struct Deadlines {
    wheel: Wheel<u64>,
    owners: Vec<TimerId>,
    now: u64,
}

impl Deadlines {
    fn new(owners: usize, at: impl Fn(usize) -> u64) -> Self {
        let mut deadlines = Self {
            wheel: Wheel::default(),
            owners: (0..owners).map(|_| TimerId::default()).collect(),
            now: 0,
        };
        for owner in 0..owners {
            deadlines.call_by(owner, at(owner));
        }
        deadlines
    }

    fn call_by(&mut self, owner: usize, at: u64) {
        self.wheel
            .call_by(&mut self.owners[owner], black_box(Now(at)), owner as u64);
    }

    /// Time passes: how many were called.
    fn step(&mut self) -> usize {
        self.now += STEP_MS;
        let mut called = 0;
        while let Some(owner) = self.wheel.pop(Now(self.now)) {
            let owner = usize::try_from(owner).unwrap_or_default();
            self.call_by(owner, self.now + PERIOD_MS);
            called += 1;
        }
        called
    }
}

/// The same by a sorted set, with each owner's deadline beside it.
struct Sorted {
    set: BTreeSet<(u64, usize)>,
    due: Vec<u64>,
    now: u64,
}

impl Sorted {
    fn new(owners: usize, at: impl Fn(usize) -> u64) -> Self {
        let due: Vec<u64> = (0..owners).map(at).collect();
        Self {
            set: due.iter().copied().zip(0..).collect(),
            due,
            now: 0,
        }
    }

    fn call_by(&mut self, owner: usize, at: u64) {
        let before = std::mem::replace(&mut self.due[owner], black_box(at));
        self.set.remove(&(before, owner));
        self.set.insert((at, owner));
    }

    fn step(&mut self) -> usize {
        self.now += STEP_MS;
        let mut called = 0;
        while let Some((_, owner)) = self
            .set
            .first()
            .copied()
            .filter(|(due, _)| *due <= self.now)
        {
            self.call_by(owner, self.now + PERIOD_MS);
            called += 1;
        }
        called
    }
}

const MINUTE_MS: u64 = 60_000;
/// From one deadline of an owner to its next one, where they pass.
const PERIOD_MS: u64 = 15_000;
/// From turn to turn.
const STEP_MS: u64 = 10;
