//! Places for the audit entries of changes, by account: all shards take from them, and none waits for another.
//!
//! The rule is that of the places of a shard, which cannot be taken back either: an account takes one while it holds
//! fewer than are free, so that one account alone gets half, and the next one half of the rest at once.

use broker_core::id::Account;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places, and who holds them.
#[derive(Debug)]
pub(crate) struct AuditPlaces {
    most: usize,
    taken: AtomicUsize,
    held: Box<[AtomicUsize; PARTS]>,
}

impl AuditPlaces {
    /// This many places, all free.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            taken: AtomicUsize::new(0),
            held: Box::new([const { AtomicUsize::new(0) }; PARTS]),
        }
    }

    /// Takes a place; false when the account has its share. Shards that ask at the same moment may not see each
    /// other's, so an account may get one more for each of them.
    pub(crate) fn take(&self, account: Account) -> bool {
        let held = self.held_by(account);
        let one_more = |taken: usize| {
            let free = self.most - taken;
            (held.load(Ordering::Relaxed) < free).then_some(taken + 1)
        };
        let order = Ordering::Relaxed;
        let taken = self.taken.fetch_update(order, order, one_more).is_ok();
        if taken {
            held.fetch_add(1, order);
        }
        taken
    }

    /// Gives one back.
    pub(crate) fn give_back(&self, account: Account) {
        let held = self.held_by(account).fetch_sub(1, Ordering::Relaxed);
        let taken = self.taken.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(held > 0 && taken > 0, "a place is given back once");
    }

    /// The number of those taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn held_by(&self, account: Account) -> &AtomicUsize {
        let part = account.0 % PARTS as u64;
        &self.held[usize::try_from(part).expect("less than PARTS")]
    }
}

/// Accounts whose numbers have the same remainder count as one. A prime, so that numbers in a row are all apart.
const PARTS: usize = 1021;

#[cfg(test)]
mod tests {

    use super::*;

    fn greedy(places: &AuditPlaces, account: u64) -> usize {
        let takes = |_: &i32| places.take(Account(account));
        (0..100).take_while(takes).count()
    }

    #[test]
    fn one_account_leaves_places_for_the_next() {
        let places = AuditPlaces::of(16);
        assert_eq!(greedy(&places, 1), 8);
        assert_eq!(greedy(&places, 2), 4);
        assert_eq!(greedy(&places, 3), 2);
        assert_eq!(greedy(&places, 1 + PARTS as u64), 0, "counts as the first");
        (0..8).for_each(|_| places.give_back(Account(1)));
        assert_eq!((greedy(&places, 2), places.taken()), (3, 9));
    }

    #[test]
    fn whoever_takes_what_they_can_comes_to_an_equal_part() {
        let places = AuditPlaces::of(400);
        let mut held = [0; 4];
        for turn in 0..4_000_usize {
            let who = turn % 4;
            if held[who] > 0 {
                places.give_back(Account(who as u64));
                held[who] -= 1;
            }
            for who in [0, 1, 2, 3] {
                held[who] += greedy(&places, who as u64);
            }
        }
        assert_eq!(places.taken(), held.iter().sum::<usize>());
        assert!(held.iter().all(|held| held.abs_diff(80) <= 4), "{held:?}");
    }

    #[test]
    fn all_that_is_taken_on_many_threads_is_given_back() {
        let places = AuditPlaces::of(8);
        std::thread::scope(|scope| {
            for account in [1, 1, 2, 3] {
                let places = &places;
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if places.take(Account(account)) {
                            assert!(places.taken.load(Ordering::Relaxed) <= 8);
                            places.give_back(Account(account));
                        }
                    }
                });
            }
        });
        assert_eq!((places.taken(), greedy(&places, 1)), (0, 4));
    }
}
