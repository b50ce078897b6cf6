//! A timer wheel: what is due when, without a scan and without a tick while nothing is.
//!
//! Two rings of 256 slots: near ones of 64 ms (16 s in all) and far ones of 16 s (70 min in all). An entry beyond that waits
//! in the last far slot and is looked at again. Entries are never taken out early: whoever is called looks whether its own
//! deadline has moved (lazy deletion), so a session costs one entry however often it is heard of.
//! An entry comes at most one near slot late and never early.

use crate::time::Now;

/// Deadlines of things of type `T`.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    near: Ring<T>,
    far: Ring<T>,
    /// The last near slot that was emptied, counted from time 0.
    tick: u64,
    due: Vec<T>,
}

#[derive(Debug)]
struct Ring<T> {
    slots: Vec<Vec<(u64, T)>>,
    taken: [u64; WORDS],
}

impl<T: Copy> Default for Wheel<T> {
    fn default() -> Self {
        Self {
            near: Ring::new(),
            far: Ring::new(),
            tick: 0,
            due: Vec::new(),
        }
    }
}

impl<T: Copy> Wheel<T> {
    /// Calls for `what` at `at`, or just after.
    pub(super) fn insert(&mut self, at: Now, what: T) {
        let tick = at.0.div_ceil(NEAR_MS).max(self.tick + 1);
        self.place(tick, what);
    }

    /// The next thing that is due at `now`.
    pub(super) fn pop(&mut self, now: Now) -> Option<T> {
        if let Some(due) = self.due.pop() {
            return Some(due);
        }
        let last = now.0 / NEAR_MS;
        while self.tick < last {
            if self.near.is_empty() && self.far.is_empty() {
                self.tick = last;
                break;
            }
            self.tick += 1;
            if self.tick.is_multiple_of(SLOTS) {
                for (tick, what) in self.far.take(self.tick / SLOTS) {
                    self.place(tick.max(self.tick), what);
                }
            }
            let due = self.near.take(self.tick);
            if !due.is_empty() {
                self.due.extend(due.into_iter().rev().map(|(_, what)| what));
                return self.due.pop();
            }
        }
        None
    }

    /// When [`Wheel::pop`] may have something, at the latest.
    #[must_use]
    pub(super) fn next(&self) -> Option<Now> {
        if !self.due.is_empty() {
            return Some(Now(0));
        }
        let near = self.near.first_after(self.tick).map(|tick| tick * NEAR_MS);
        let far = self
            .far
            .first_after(self.tick / SLOTS)
            .map(|slot| slot * SLOTS * NEAR_MS);
        near.into_iter().chain(far).min().map(Now)
    }

    fn place(&mut self, tick: u64, what: T) {
        let ahead = tick / SLOTS - self.tick / SLOTS;
        if tick - self.tick < SLOTS {
            self.near.put(tick, tick, what);
        } else {
            self.far
                .put(self.tick / SLOTS + ahead.min(SLOTS - 1), tick, what);
        }
    }
}

impl<T> Ring<T> {
    fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            taken: [0; WORDS],
        }
    }

    fn put(&mut self, slot: u64, tick: u64, what: T) {
        let place = Self::index(slot);
        if let (Some(slot), Some(word)) =
            (self.slots.get_mut(place), self.taken.get_mut(place / 64))
        {
            slot.push((tick, what));
            *word |= 1 << (place % 64);
        }
    }

    fn take(&mut self, slot: u64) -> Vec<(u64, T)> {
        let place = Self::index(slot);
        if let Some(word) = self.taken.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
        self.slots
            .get_mut(place)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.taken == [0; WORDS]
    }

    /// The first taken slot after `slot`, going once around: a word of slots at a time, since every turn asks.
    fn first_after(&self, slot: u64) -> Option<u64> {
        let first = Self::index(slot + 1);
        let (word, bit) = (first / WORD, first % WORD);
        for step in 0..=WORDS {
            let place = (word + step) % WORDS;
            let part = match step {
                0 => u64::MAX << bit,
                WORDS => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let taken = self.taken.get(place).copied().unwrap_or_default() & part;
            if taken != 0 {
                let found = place * WORD + taken.trailing_zeros() as usize;
                let ahead = (found + WORDS * WORD - first) % (WORDS * WORD);
                return Some(slot + 1 + ahead as u64);
            }
        }
        None
    }

    fn index(slot: u64) -> usize {
        usize::try_from(slot % SLOTS).unwrap_or_default()
    }
}

const SLOTS: u64 = (WORDS * WORD) as u64;
const WORD: usize = 64;
const WORDS: usize = 4;
const NEAR_MS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps from deadline to deadline, as the drive loop does, and notes when each entry came.
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
        let mut wheel = Wheel::default();
        let mut random = fastrand::Rng::with_seed(3);
        let mut wanted: Vec<u64> = (0..2000).map(|_| random.u64(1..4_000_000)).collect();
        for &at in &wanted {
            wheel.insert(Now(at), at);
        }
        let seen = run(&mut wheel, u64::MAX);
        assert!(
            seen.iter()
                .all(|&(wanted, came)| (wanted..wanted + NEAR_MS).contains(&came)),
            "early or late"
        );
        let mut came: Vec<u64> = seen.into_iter().map(|(wanted, _)| wanted).collect();
        came.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(came, wanted);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn entries_made_while_it_turns_are_not_lost() {
        let mut wheel = Wheel::default();
        let mut random = fastrand::Rng::with_seed(4);
        let (mut now, mut open) = (0u64, 0i64);
        for _ in 0..20_000 {
            now += random.u64(0..2_000);
            wheel.insert(Now(now + random.u64(0..600_000)), now);
            open += 1;
            while wheel.pop(Now(now)).is_some() {
                open -= 1;
            }
        }
        open -= i64::try_from(run(&mut wheel, u64::MAX).len()).unwrap();
        assert_eq!(open, 0);
    }

    #[test]
    fn what_is_further_than_the_wheel_reaches_is_looked_at_in_between() {
        let mut wheel = Wheel::default();
        wheel.insert(Now(10_000_000), 1);
        let first = wheel.next().unwrap();
        assert!(first.0 < 10_000_000);
        assert_eq!(
            run(&mut wheel, u64::MAX),
            [(1, 10_000_000u64.div_ceil(NEAR_MS) * NEAR_MS)]
        );
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
            let mut ring: Ring<u64> = Ring::new();
            assert_eq!(ring.first_after(from), None);
            ring.put(to, 0, 0);
            assert_eq!(ring.first_after(from), Some(to), "from {from} to {to}");
        }
    }

    #[test]
    fn a_long_silence_is_one_step() {
        let mut wheel: Wheel<u64> = Wheel::default();
        assert_eq!(wheel.pop(Now(u64::MAX / 2)), None);
        wheel.insert(Now(0), 7);
        assert!(wheel.next().is_some());
    }
}
