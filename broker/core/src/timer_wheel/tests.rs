use super::*;

/// The timer ids of owners, indexed by the owner's number.
#[derive(Default)]
struct Owners(Vec<TimerId>);

impl Owners {
    fn add(&mut self, wheel: &mut Wheel<u64>, at: u64) {
        let mut owner = TimerId::default();
        wheel.call_by(&mut owner, Now(at), self.0.len() as u64);
        self.0.push(owner);
    }

    fn call(&mut self, wheel: &mut Wheel<u64>, number: usize, at: u64) {
        wheel.call_by(&mut self.0[number], Now(at), number as u64);
    }
}

/// Steps from deadline to deadline like the drive loop, and records when each entry fires.
fn run(wheel: &mut Wheel<u64>, until: u64) -> Vec<(u64, u64)> {
    let mut seen = Vec::new();
    while let Some(next) = wheel.next().filter(|next| next.0 <= until) {
        while let Some(what) = wheel.pop(next) {
            seen.push((what, next.0));
        }
    }
    seen
}

#[test]
fn each_comes_at_its_time_or_one_slot_late() {
    let (mut wheel, mut owners) = (Wheel::default(), Owners::default());
    let mut random = fastrand::Rng::with_seed(3);
    let wanted: Vec<u64> = (0..2000).map(|_| random.u64(1..4_000_000)).collect();
    for &at in &wanted {
        owners.add(&mut wheel, at);
    }
    let seen = run(&mut wheel, u64::MAX);
    for &(number, came) in &seen {
        let wanted = wanted[usize::try_from(number).unwrap()];
        assert!((wanted..wanted + NEAR_MS).contains(&came), "early or late");
    }
    let mut came: Vec<u64> = seen.into_iter().map(|(number, _)| number).collect();
    came.sort_unstable();
    assert_eq!(came, (0..2000).collect::<Vec<u64>>());
    assert_eq!(wheel.next(), None);
}

#[test]
fn an_owner_has_one_entry_whatever_its_deadlines() {
    let (mut wheel, mut owners) = (Wheel::default(), Owners::default());
    let mut random = fastrand::Rng::with_seed(5);
    let mut wanted: Vec<u64> = (0..50).map(|_| random.u64(1..600_000)).collect();
    for &at in &wanted {
        owners.add(&mut wheel, at);
    }
    let mut now = 0;
    for _ in 0..20_000 {
        let number = random.usize(0..50);
        match random.u32(0..10) {
            0 => {
                wheel.forget(&mut owners.0[number]);
                wanted[number] = u64::MAX;
            }
            1 => now += random.u64(0..30_000),
            _ => {
                let at = now + random.u64(0..600_000);
                owners.call(&mut wheel, number, at);
                wanted[number] = wanted[number].min(at);
            }
        }
        while let Some(number) = wheel.pop(Now(now)) {
            let number = usize::try_from(number).unwrap();
            assert!(wanted[number] <= now, "early");
            wanted[number] = u64::MAX;
        }
        let late = wanted.iter().any(|at| at.saturating_add(NEAR_MS) <= now);
        assert!(!late && wheel.places() <= 50, "late, or {}", wheel.places());
    }
    for owner in &mut owners.0 {
        wheel.forget(owner);
    }
    assert_eq!((wheel.places(), wheel.next()), (0, None));
}

#[test]
fn what_comes_at_the_same_time_comes_in_order() {
    let (mut wheel, mut owners) = (Wheel::default(), Owners::default());
    for _ in 0..5 {
        owners.add(&mut wheel, 100_000);
    }
    wheel.forget(&mut owners.0[1]);
    owners.call(&mut wheel, 3, 99_000);
    let order: Vec<u64> = run(&mut wheel, u64::MAX)
        .iter()
        .map(|seen| seen.0)
        .collect();
    assert_eq!(order, [3, 0, 2, 4]);
}

#[test]
fn what_is_forgotten_while_it_is_due_does_not_come() {
    let (mut wheel, mut owners) = (Wheel::default(), Owners::default());
    for _ in 0..3 {
        owners.add(&mut wheel, 64);
    }
    assert_eq!(wheel.pop(Now(64)), Some(0));
    assert_eq!(wheel.next(), Some(Now(0)));
    wheel.forget(&mut owners.0[1]);
    assert_eq!((wheel.pop(Now(64)), wheel.pop(Now(64))), (Some(2), None));
    assert_eq!((wheel.places(), wheel.next()), (2, None));
}

#[test]
fn what_is_further_than_the_wheel_reaches_is_looked_at_in_between() {
    let (mut wheel, mut owners) = (Wheel::default(), Owners::default());
    owners.add(&mut wheel, 10_000_000);
    let first = wheel.next().unwrap();
    assert!(first.0 < 10_000_000);
    let found = run(&mut wheel, u64::MAX);
    assert_eq!(found, [(0, 10_000_000u64.div_ceil(NEAR_MS) * NEAR_MS)]);
}

#[test]
fn the_next_slot_is_found_wherever_it_lies() {
    for (from, to) in [
        (0, 1),
        (0, 256),
        (63, 64),
        (70, 69 + 256),
        (255, 256),
        (200, 330),
        (64, 127),
    ] {
        let mut ring = TakenTimers::default();
        assert_eq!(ring.first_after(from), None);
        ring.set(to);
        assert_eq!(ring.first_after(from), Some(to), "from {from} to {to}");
        ring.clear(to);
        assert!(ring.is_empty());
    }
}

#[test]
fn a_long_silence_is_one_step() {
    let (mut wheel, mut owners) = (Wheel::default(), Owners::default());
    assert_eq!(wheel.pop(Now(u64::MAX / 2)), None);
    owners.add(&mut wheel, 0);
    assert!(wheel.next().is_some());
}
