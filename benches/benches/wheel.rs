//! The timer wheel of a shard: deadlines that move on while their owners are active, and those that pass. Beside it a
//! sorted set, which moves every entry at once, where the wheel leaves it until its owner is called and looks.

use benches::harness::{Group, Timer, group, run};
use broker_core::id::TimerId;
use broker_core::time::Now;
use broker_core::timer_wheel::Wheel;
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
    fn measure<D: Deadlines>(group: &mut Group<'_>, name: &str, owners: usize) {
        let mut course = Course::<D>::new(owners, |_| MINUTE_MS);
        group.bench_function(name, |bencher| bencher.iter(|| course.put_off()));
        assert_eq!(course.deadlines.owners(), owners);
    }
    let case = format!("owners-{owners}");
    let mut group = group(criterion, "wheel/put-off", &case, owners, 0);
    measure::<Wheeled>(&mut group, "heliograph", owners);
    measure::<Sorted>(&mut group, "std-btree-set", owners);
}

/// A second passes, in which a fifteenth of the owners are called; each has its next deadline 15 seconds later.
fn pass(criterion: &mut Timer, owners: usize) {
    let case = format!("owners-{owners}");
    let mut group = group(criterion, "wheel/pass", &case, owners, 0);
    let spread = |owner: usize| 1 + (owner as u64 * 7919) % PERIOD_MS;
    let mut ours = Course::<Wheeled>::new(owners, spread);
    let mut sorted = Course::<Sorted>::new(owners, spread);
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
    group.bench_function("heliograph", |bencher| bencher.iter(|| ours.second()));
    group.bench_function("std-btree-set", |bencher| bencher.iter(|| sorted.second()));
}

/// A deadline of each owner, by its number.
trait Deadlines {
    fn new(owners: usize) -> Self;
    fn call_by(&mut self, owner: usize, at: u64);
    /// An owner that is due.
    fn pop(&mut self, now: u64) -> Option<usize>;
    /// The number of owners that have a deadline.
    fn owners(&self) -> usize;
}

/// Deadlines while time passes.
struct Course<D> {
    deadlines: D,
    now: u64,
}

impl<D: Deadlines> Course<D> {
    fn new(owners: usize, at: impl Fn(usize) -> u64) -> Self {
        let mut deadlines = D::new(owners);
        for owner in 0..owners {
            deadlines.call_by(owner, at(owner));
        }
        Self { deadlines, now: 0 }
    }

    fn put_off(&mut self) {
        self.now += 1;
        for owner in 0..self.deadlines.owners() {
            self.deadlines
                .call_by(owner, black_box(self.now + MINUTE_MS));
        }
    }

    /// A turn: returns how many owners were called.
    fn step(&mut self) -> usize {
        self.now += STEP_MS;
        let mut called = 0;
        while let Some(owner) = self.deadlines.pop(self.now) {
            self.deadlines
                .call_by(owner, black_box(self.now + PERIOD_MS));
            called += 1;
        }
        called
    }

    fn second(&mut self) -> usize {
        (0..1000 / STEP_MS).map(|_| self.step()).sum()
    }
}

/// The wheel, and the places of its owners.
struct Wheeled(Wheel<u64>, Vec<TimerId>);

impl Deadlines for Wheeled {
    fn new(owners: usize) -> Self {
        let places = (0..owners).map(|_| TimerId::default()).collect();
        Self(Wheel::default(), places)
    }

    fn call_by(&mut self, owner: usize, at: u64) {
        self.0.call_by(&mut self.1[owner], Now(at), owner as u64);
    }

    fn pop(&mut self, now: u64) -> Option<usize> {
        usize::try_from(self.0.pop(Now(now))?).ok()
    }

    fn owners(&self) -> usize {
        self.0.places()
    }
}

/// A sorted set, and each owner's deadline beside it; 0 is none.
struct Sorted(BTreeSet<(u64, usize)>, Vec<u64>);

impl Deadlines for Sorted {
    fn new(owners: usize) -> Self {
        Self(BTreeSet::new(), vec![0; owners])
    }

    fn call_by(&mut self, owner: usize, at: u64) {
        let before = std::mem::replace(&mut self.1[owner], at);
        self.0.remove(&(before, owner));
        self.0.insert((at, owner));
    }

    fn pop(&mut self, now: u64) -> Option<usize> {
        let (_, owner) = self.0.first().copied().filter(|(due, _)| *due <= now)?;
        Some(owner)
    }

    fn owners(&self) -> usize {
        self.0.len()
    }
}

const MINUTE_MS: u64 = 60_000;
/// The time from one deadline of an owner to its next one, where they pass.
const PERIOD_MS: u64 = 15_000;
/// The time from turn to turn.
const STEP_MS: u64 = 10;
