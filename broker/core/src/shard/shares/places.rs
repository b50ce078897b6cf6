//! Places of a budget that their holders give back when they are done, and that cannot be taken from them before.
//!
//! Nobody can make room here, so room is kept: an account may take a place while it holds fewer than are free. One
//! account alone gets half of them, and the next one half of the rest at once. As places come back, who holds more
//! than are free takes none of them: where `n` accounts take what they can, each comes to an equal part of `n + 1`, and
//! the last part stays free for the next account.

use std::collections::BTreeMap;

/// The places, by account or by whatever else stands for it. Who holds none is not kept.
#[derive(Debug)]
pub(crate) struct Places<A> {
    most: usize,
    taken: usize,
    holders: BTreeMap<A, usize>,
}

impl<A: Copy + Ord> Places<A> {
    /// This many places, all free.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            taken: 0,
            holders: BTreeMap::new(),
        }
    }

    /// Takes a place. False when the holder has as many as are free.
    pub(crate) fn take(&mut self, holder: A) -> bool {
        let held = self.holders.entry(holder).or_default();
        let may = *held < self.most - self.taken;
        if may {
            *held += 1;
            self.taken += 1;
        } else if *held == 0 {
            self.holders.remove(&holder);
        }
        may
    }

    /// Gives one back. Harmless when the holder has none.
    pub(crate) fn give_back(&mut self, holder: A) {
        if let Some(held) = self.holders.get_mut(&holder) {
            *held -= 1;
            self.taken -= 1;
            if *held == 0 {
                self.holders.remove(&holder);
            }
        }
    }

    /// The number of places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether nobody holds any.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == 0
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn an_account_alone_gets_half_and_the_next_one_its_part() {
        let mut places = Places::of(12);
        let greedy = |places: &mut Places<u8>, who| (0..50).filter(|_| places.take(who)).count();
        assert_eq!(greedy(&mut places, 1), 6);
        assert_eq!(greedy(&mut places, 2), 3, "as many as are free then");
        places.give_back(1);
        places.give_back(1);
        assert_eq!(greedy(&mut places, 1), 1, "it had four, and five were free");
        assert_eq!(greedy(&mut places, 2), 1, "it had three, four were free");
        assert_eq!(greedy(&mut places, 3), 2, "and there is room for a third");
    }

    #[test]
    fn what_is_given_back_is_free_and_only_once() {
        let mut places = Places::of(2);
        assert!(places.take(1) && !places.take(1));
        places.give_back(1);
        places.give_back(1);
        places.give_back(7);
        assert!(places.is_empty() && places.holders.is_empty());
        assert!(places.take(2) && !Places::of(0).take(1));
    }

    #[test]
    fn whoever_takes_what_they_can_comes_to_an_equal_part() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let most = random.usize(1..200);
            let accounts = random.u8(1..9);
            let (mut places, mut held) = (Places::of(most), [0_usize; 9]);
            for _ in 0..2_000 {
                let who = random.u8(..accounts);
                let own = &mut held[usize::from(who)];
                if random.u8(..3) == 0 {
                    if *own > 0 {
                        *own -= 1;
                        places.give_back(who);
                    }
                    continue;
                }
                let before = *own;
                let may = places.take(who);
                *own += usize::from(may);
                // The others took theirs while as much was free.
                let all: usize = held.iter().sum();
                assert!(all <= most && may == (before < most - (all - usize::from(may))));
                assert_eq!(places.taken, all);
            }
            // Places come and go, and everybody takes what they can.
            for _ in 0..40 * most {
                let who = random.u8(..accounts);
                if held[usize::from(who)] > 0 {
                    places.give_back(who);
                    held[usize::from(who)] -= 1;
                }
                for who in (0..accounts).chain(0..accounts) {
                    held[usize::from(who)] += usize::from(places.take(who));
                }
            }
            let part = most / (usize::from(accounts) + 1);
            let own = &held[..usize::from(accounts)];
            let is_equal = |&own: &usize| own.abs_diff(part) <= usize::from(accounts);
            assert!(own.iter().all(is_equal), "{own:?} of {most}, {part} each");
        }
    }
}
