//! Divides a shard's limited resources (bytes, queries, and table entries) fairly among accounts, channels and callers.
//! Also tracks the shard's queries to other shards, which are limited in the same way.
//!
//! Accounts share a budget, and an account's channels share the part that the account uses. As long as there is room,
//! an account may use any amount. At the limit, the largest channel of the largest account must evict something.
//! Therefore an account below its equal share of the budget can always get more, and so can a channel below its equal
//! share of what its account uses.

use crate::check::Check;
use crate::id::{Account, CallRef, ChannelKey, ShardId};
use crate::limits::{calls_per_pair, changes_per_pair};
use crate::{placement::Placement, readiness::Readiness, refusal::Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes used from a budget, per account and per channel. `A` and `C` can also be other kinds of keys. Keys that use no
/// bytes are removed.
#[derive(Debug)]
pub struct Shares<A = Account, C = ChannelKey> {
    accounts: BTreeMap<A, AccountHolders<C>>,
    order: BTreeSet<(usize, A)>,
}

/// The channels of an account, and the bytes that each of them uses.
#[derive(Debug)]
struct AccountHolders<C> {
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

impl<C> Default for AccountHolders<C> {
    fn default() -> Self {
        Self {
            bytes: 0,
            order: BTreeSet::new(),
        }
    }
}

impl<A: Copy + Ord, C: Clone + Ord> Shares<A, C> {
    /// Updates a channel's byte count from `before` to `after`.
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

    /// Returns the largest channel of the largest account, by bytes.
    #[must_use]
    pub fn largest(&self) -> Option<C> {
        let (_, account) = self.order.last()?;
        self.largest_of(*account).map(|(_, channel)| channel)
    }

    /// Selects the channel that must evict something so that a channel that uses `own` bytes can get `more`. Prefers
    /// the largest channel of an account that would still use more than `account`; otherwise selects a larger channel
    /// of the same account. Returns `None` if there is neither, since the requesting channel already has its fair
    /// share.
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

    /// Returns the number of bytes that an account uses.
    #[must_use]
    pub fn held(&self, account: A) -> usize {
        self.accounts.get(&account).map_or(0, |own| own.bytes)
    }

    /// Returns each account and the number of bytes it uses, largest first.
    pub fn accounts(&self) -> impl Iterator<Item = (A, usize)> {
        self.order
            .iter()
            .rev()
            .map(|(bytes, account)| (*account, *bytes))
    }

    /// Returns each channel of an account and the number of bytes it uses, largest first.
    pub fn of(&self, account: A) -> impl Iterator<Item = (usize, C)> {
        let holders = self.accounts.get(&account).into_iter();
        holders.flat_map(|holders| holders.order.iter().rev().cloned())
    }

    /// Returns the total number of bytes in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.accounts.values().map(|holders| holders.bytes).sum()
    }

    fn largest_of(&self, account: A) -> Option<(usize, C)> {
        self.of(account).next()
    }
}

// Unanswered queries to other shards.

/// Unanswered queries from this shard to one other shard.
pub(crate) struct ShareQuestions {
    all: Places<Account>,
    changes: Places<Account>,
}

impl ShareQuestions {
    /// Creates an empty set. `shards` is the number of shards in the process.
    pub(crate) fn among(shards: usize) -> Self {
        Self {
            all: Places::of(calls_per_pair(shards)),
            changes: Places::of(changes_per_pair(shards)),
        }
    }

    /// Reserves capacity for another query. Returns `false` if the caller's account has used up its share.
    pub(crate) fn begin(&mut self, caller: CallRef) -> bool {
        let account = caller.account;
        if caller.change && !self.changes.take(account) {
            return false;
        }
        let may = self.all.take(account);
        if !may && caller.change {
            self.changes.give_back(account);
        }
        may
    }

    /// Removes a query that was answered, or that could not be sent because the other shard's mailbox was full.
    pub(crate) fn end(&mut self, caller: CallRef) {
        self.all.give_back(caller.account);
        if caller.change {
            self.changes.give_back(caller.account);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

// Units of capacity that cannot be revoked. They become free only when their holder returns them.
//
// Because nothing can be evicted, some capacity always stays free: an account may take a unit only while it holds fewer
// units than are free. A single account can thus take half of all units, and a second one can immediately take half of
// the rest. An account that holds more units than are free cannot take any that are returned. If `n` accounts take all
// they can, each ends up with one of `n + 1` equal parts, and the last part stays free for the next account.

/// A fixed number of units, and how many of them each account (or other key) has taken. Keys without units are removed.
#[derive(Debug)]
pub(crate) struct Places<A> {
    most: usize,
    taken: usize,
    holders: BTreeMap<A, usize>,
}

impl<A: Copy + Ord> Places<A> {
    /// Creates a set of `most` units, none of which are taken.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            taken: 0,
            holders: BTreeMap::new(),
        }
    }

    /// Takes one unit for `holder`. Returns `false` if it already holds at least as many units as are free.
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

    /// Returns one unit. Does nothing if the holder has none.
    pub(crate) fn give_back(&mut self, holder: A) {
        if let Some(held) = self.holders.get_mut(&holder) {
            *held -= 1;
            self.taken -= 1;
            if *held == 0 {
                self.holders.remove(&holder);
            }
        }
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Returns whether no units are taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == 0
    }
}

/// Whether there is room for another call or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomFor<T> {
    /// Capacity is available.
    Free,
    /// There is room once this call or device is evicted. Its account or channel exceeds its share.
    InPlaceOf(T),
    /// There is no room, and no other account or channel has more than the requesting one would have.
    None,
}

/// Returns the error for a request that failed because a mailbox or the call table was full.
pub(crate) fn too_busy() -> Refusal {
    Refusal::unavailable(Check::MailboxFull, "The server is busy. Try again.")
}

/// The shard's id, the placement of channels on shards, and the queries to other shards.
pub(crate) struct ShardLinks {
    pub(crate) id: ShardId,
    pub(crate) placement: Placement,
    /// Whether the process is ready to serve clients.
    pub(crate) readiness: Readiness,
    /// Queries in flight to each shard.
    asking: Vec<ShareQuestions>,
    /// Number of this shard's connections waiting for a call that is pending on another shard.
    pub(crate) offers_out: usize,
}

impl ShardLinks {
    pub(crate) fn new(id: ShardId, placement: Placement, readiness: Readiness) -> Self {
        let shards = placement.shards();
        let none = |_| ShareQuestions::among(shards.into());
        Self {
            id,
            asking: (0..shards).map(none).collect(),
            placement,
            readiness,
            offers_out: 0,
        }
    }

    /// Reserves capacity for another query to the shard `home`. Returns `false` if the caller's account has used up its
    /// share.
    pub(crate) fn begin(&mut self, home: ShardId, caller: CallRef) -> bool {
        let asking = self.asking.get_mut(home.index());
        asking.is_some_and(|asking| asking.begin(caller))
    }

    /// Removes a query from the unanswered queries to `shard`.
    pub(crate) fn end(&mut self, shard: ShardId, caller: CallRef) {
        if let Some(asking) = self.asking.get_mut(shard.index()) {
            asking.end(caller);
        }
    }

    /// Returns whether no query is in flight and no call is pending on another shard.
    pub(crate) fn is_idle(&self) -> bool {
        self.offers_out == 0 && self.asking.iter().all(ShareQuestions::is_empty)
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
        // One account has many channels, the other a single large one.
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

#[cfg(test)]
mod places_tests {
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
                // An account gets a unit exactly if it held fewer units than were free.
                let all: usize = held.iter().sum();
                assert!(all <= most && may == (before < most - (all - usize::from(may))));
                assert_eq!(places.taken, all);
            }
            // Units are returned one by one, and each account takes all it can.
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
