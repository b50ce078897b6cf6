//! Shares of accounts and channels in a budget of a shard.
//!
//! Accounts share the budget, the channels of an account its part. No account has a fixed part while there is room.
//! When there is none, the account that holds most makes room, and within it the channel that holds most: so an
//! account that holds less than an equal part of the budget, and a channel that holds less than an equal part of its
//! account's, always finds room.

pub(crate) mod admitted;
pub(crate) mod asking;
pub(crate) mod places;

use crate::id::{Account, ChannelKey};
use std::collections::{BTreeMap, BTreeSet};

/// The bytes of one budget by account and channel, or by whatever else stands for them (`A`, `C`). Empty holders are
/// not kept.
#[derive(Debug)]
pub struct Shares<A = Account, C = ChannelKey> {
    accounts: BTreeMap<A, Holders<C>>,
    order: BTreeSet<(usize, A)>,
}

/// The channels of one account that hold something.
#[derive(Debug)]
struct Holders<C> {
    bytes: usize,
    order: BTreeSet<(usize, C)>,
}

impl<A, C> Default for Shares<A, C> {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<C> Default for Holders<C> {
    fn default() -> Self {
        Self {
            bytes: 0,
            order: BTreeSet::new(),
        }
    }
}

impl<A: Copy + Ord, C: Clone + Ord> Shares<A, C> {
    /// A channel that held `before` bytes holds `after`.
    pub fn change(&mut self, account: A, channel: C, before: usize, after: usize) {
        if before == after {
            return;
        }
        let holders = self.accounts.entry(account).or_default();
        let old = holders.bytes;
        holders.order.remove(&(before, channel.clone()));
        if after > 0 {
            holders.order.insert((after, channel));
        }
        let new = (old + after).saturating_sub(before);
        holders.bytes = new;
        self.order.remove(&(old, account));
        if new > 0 {
            self.order.insert((new, account));
        } else {
            self.accounts.remove(&account);
        }
    }

    /// The channel that holds most of the account that holds most.
    #[must_use]
    pub fn largest(&self) -> Option<C> {
        let (_, account) = self.order.last()?;
        self.largest_of(*account).map(|(_, channel)| channel)
    }

    /// The channel that is to make room for `more` bytes of one that holds `own`: of an account that would still hold
    /// more than this one, else one of the same account that would. `None` when nobody would: then this one has
    /// its share.
    #[must_use]
    pub fn payer(&self, account: A, own: usize, more: usize) -> Option<C> {
        let held = self.held(account);
        let (most, other) = *self.order.last()?;
        if other != account && most > held + more {
            return self.largest_of(other).map(|(_, channel)| channel);
        }
        let (most, channel) = self.largest_of(account)?;
        (most > own + more).then_some(channel)
    }

    /// The bytes of an account.
    #[must_use]
    pub fn held(&self, account: A) -> usize {
        self.accounts.get(&account).map_or(0, |own| own.bytes)
    }

    /// The bytes of the channels of an account, the largest first.
    pub fn of(&self, account: A) -> impl Iterator<Item = (usize, C)> {
        let holders = self.accounts.get(&account).into_iter();
        holders.flat_map(|holders| holders.order.iter().rev().cloned())
    }

    /// The bytes of all channels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.accounts.values().map(|holders| holders.bytes).sum()
    }

    fn largest_of(&self, account: A) -> Option<(usize, C)> {
        self.of(account).next()
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn key(slot: u32) -> ChannelKey {
        ChannelKey::new(slot, 0)
    }

    #[test]
    fn who_holds_most_makes_room_account_first() {
        let mut shares = Shares::<Account, ChannelKey>::default();
        // One account with many channels, one with a single large one.
        for slot in 0..10 {
            shares.change(Account(1), key(slot), 0, 100);
        }
        shares.change(Account(2), key(20), 0, 500);
        assert_eq!(shares.largest(), Some(key(9)), "1000 bytes in all");
        assert_eq!(
            shares.payer(Account(2), 500, 10),
            Some(key(9)),
            "below its share although its channel is the largest"
        );
        assert_eq!(shares.payer(Account(2), 500, 500), None);
        assert_eq!(shares.payer(Account(3), 0, 400), Some(key(9)), "a third");
        assert_eq!(
            shares.payer(Account(1), 100, 1),
            None,
            "all its channels hold the same"
        );
        assert_eq!(
            shares.payer(Account(1), 0, 90),
            Some(key(9)),
            "a new channel of the largest account"
        );
    }

    #[test]
    fn what_is_given_back_is_forgotten() {
        let mut shares = Shares::<Account, ChannelKey>::default();
        shares.change(Account(1), key(1), 0, 30);
        shares.change(Account(1), key(2), 0, 20);
        shares.change(Account(1), key(1), 30, 10);
        assert_eq!(shares.largest(), Some(key(2)));
        shares.change(Account(1), key(2), 20, 0);
        shares.change(Account(1), key(1), 10, 0);
        assert_eq!((shares.largest(), shares.accounts.len()), (None, 0));
    }

    #[test]
    fn below_an_equal_part_there_is_always_room() {
        let mut random = fastrand::Rng::with_seed(5);
        const BUDGET: usize = 10_000;
        let (mut shares, mut held) = (Shares::<Account, ChannelKey>::default(), BTreeMap::new());
        for _ in 0..20_000 {
            let channel = random.u32(0..40);
            let account = Account(u64::from(channel % 7 % 3));
            let more = random.usize(1..300);
            while held.values().sum::<usize>() + more > BUDGET {
                let own: usize = held.get(&channel).copied().unwrap_or(0);
                let Some(payer) = shares.payer(account, own, more) else {
                    break;
                };
                let slot = u32::try_from(payer.slot()).unwrap();
                assert_ne!(slot, channel, "nobody pays for their own bytes");
                let theirs = held.get_mut(&slot).unwrap();
                let less = *theirs - (*theirs).min(50);
                let of = Account(u64::from(slot % 7 % 3));
                shares.change(of, payer, *theirs, less);
                *theirs = less;
            }
            let all: usize = held.values().sum();
            let own = held.entry(channel).or_default();
            if all + more <= BUDGET {
                shares.change(account, key(channel), *own, *own + more);
                *own += more;
                continue;
            }
            let of = |slot: &u32| Account(u64::from(slot % 7 % 3)) == account;
            let mine: Vec<usize> = (held.iter())
                .filter(|(slot, bytes)| of(slot) && (**bytes > 0 || **slot == channel))
                .map(|(_, bytes)| *bytes)
                .collect();
            let sum: usize = mine.iter().sum();
            let own = held[&channel];
            assert!(
                sum + more > BUDGET / 3 && own + more > sum / mine.len(),
                "refused with {own} of {sum} among {}",
                mine.len()
            );
        }
    }
}
