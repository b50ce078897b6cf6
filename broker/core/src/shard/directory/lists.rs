//! Lists that callers of a shard wait for. Each account has one under way at a time and the accounts take turns, so a
//! list waits for one of each other account, however many those ask for. Where several nodes have channels an account
//! has a few, since most of the time of a list is spent in waiting for other nodes. A list whose caller hung up is
//! dropped when its turn comes, before any work.
//!
//! A list is under way until all parts of it have come: those of a caller who hung up are work for other shards all
//! the same.

use crate::id::{Account, CallRef};
use crate::limits::{LISTS_OF_AN_ACCOUNT, lists_under_way, lists_waiting};
use crate::shard::PageQuestion;
use crate::shard::shares::Shares;
use std::collections::{BTreeMap, VecDeque};

/// The lists of a shard's callers.
#[derive(Debug)]
pub(crate) struct Lists {
    under_way_max: usize,
    /// Of one account.
    of_account_max: usize,
    waiting_max: usize,
    /// With the number of parts that are missing: few enough to look through.
    under_way: Vec<(CallRef, usize)>,
    waiting: BTreeMap<Account, VecDeque<(CallRef, PageQuestion)>>,
    /// Accounts with lists that wait, and fewer under way than one account may have, in turn.
    turns: VecDeque<Account>,
    shares: Shares<Account, Account>,
    waits: usize,
}

impl Lists {
    /// None, in a process of this many shards; `of_nodes` where several nodes have channels.
    pub(crate) fn among(shards: usize, of_nodes: bool) -> Self {
        Self {
            under_way_max: lists_under_way(shards),
            of_account_max: if of_nodes { LISTS_OF_AN_ACCOUNT } else { 1 },
            waiting_max: lists_waiting(shards),
            under_way: Vec::new(),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            shares: Shares::default(),
            waits: 0,
        }
    }

    /// Adds a list to those that wait. When they are too many, the newest of the account with most does not fit: this
    /// one, unless its account has fewer. Returns the caller that is to be refused.
    pub(crate) fn ask(&mut self, caller: CallRef, question: PageQuestion) -> Option<CallRef> {
        let account = caller.account;
        let mut displaced = None;
        if self.waits >= self.waiting_max {
            let own = self.waiting.get(&account).map_or(0, VecDeque::len);
            let Some(largest) = self.shares.payer(account, own, 1) else {
                return Some(caller);
            };
            displaced = self.pop(largest, VecDeque::pop_back);
        }
        let waiting = self.waiting.entry(account).or_default();
        waiting.push_back((caller, question));
        let after = waiting.len();
        self.shares.change(account, account, after - 1, after);
        self.waits += 1;
        self.take_turn(account);
        displaced.map(|(caller, _)| caller)
    }

    /// Whether [`Self::next`] has one.
    pub(crate) fn due(&self) -> bool {
        self.under_way.len() < self.under_way_max && !self.turns.is_empty()
    }

    /// The next list to be made, if one more may be under way: of `parts` answers.
    pub(crate) fn next(&mut self, parts: usize) -> Option<(CallRef, PageQuestion)> {
        if self.under_way.len() >= self.under_way_max {
            return None;
        }
        let account = self.turns.pop_front()?;
        let (caller, question) = self.pop(account, VecDeque::pop_front)?;
        self.under_way.push((caller, parts));
        self.take_turn(account);
        Some((caller, question))
    }

    /// A part of a list has come, if it is of one.
    pub(crate) fn part_came(&mut self, caller: CallRef) {
        let mut all = self.under_way.iter_mut();
        let Some((_, missing)) = all.find(|(list, _)| *list == caller) else {
            return;
        };
        *missing -= 1;
        if *missing == 0 {
            self.end(caller);
        }
    }

    /// A list is under way no longer: it is whole, or nobody was asked for it.
    pub(crate) fn end(&mut self, caller: CallRef) {
        self.under_way.retain(|(list, _)| *list != caller);
        self.take_turn(caller.account);
    }

    /// Puts an account at the end of those whose turn comes, if it is not among them and may be.
    fn take_turn(&mut self, account: Account) {
        let waits = self.waiting.contains_key(&account) && !self.turns.contains(&account);
        let all = self.under_way.iter();
        let own = all.filter(|(list, _)| list.account == account).count();
        if waits && own < self.of_account_max {
            self.turns.push_back(account);
        }
    }

    fn pop<T>(
        &mut self,
        account: Account,
        pop: impl FnOnce(&mut VecDeque<(CallRef, PageQuestion)>) -> Option<T>,
    ) -> Option<T> {
        let waiting = self.waiting.get_mut(&account)?;
        let popped = pop(waiting)?;
        let after = waiting.len();
        if after == 0 {
            self.waiting.remove(&account);
            self.turns.retain(|turn| *turn != account);
        }
        self.shares.change(account, account, after + 1, after);
        self.waits -= 1;
        Some(popped)
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::id::{SessionKey, ShardId};
    use crate::limits::LISTS_WAITING_MAX;

    fn call(account: u64, serial: u32) -> CallRef {
        CallRef {
            shard: ShardId(0),
            session: SessionKey::new(serial, 0),
            serial,
            account: Account(account),
            change: false,
        }
    }

    fn ask(lists: &mut Lists, account: u64, serial: u32) -> Option<CallRef> {
        let question = PageQuestion {
            prefix: "".into(),
            after: None,
            limit: 1,
        };
        lists.ask(call(account, serial), question)
    }

    fn next(lists: &mut Lists) -> Option<(u64, u32)> {
        let (caller, _) = lists.next(2)?;
        Some((caller.account.0, caller.serial))
    }

    fn comes(lists: &mut Lists, (account, serial): (u64, u32)) {
        (0..2).for_each(|_| lists.part_came(call(account, serial)));
    }

    #[test]
    fn accounts_take_turns_with_one_list_each() {
        let mut lists = Lists::among(1, false);
        (0..3).for_each(|serial| assert_eq!(ask(&mut lists, 1, serial), None));
        assert_eq!(next(&mut lists), Some((1, 0)));
        assert!(
            next(&mut lists).is_none() && !lists.due(),
            "one of an account"
        );
        ask(&mut lists, 2, 10);
        ask(&mut lists, 2, 11);
        assert_eq!(
            next(&mut lists),
            Some((2, 10)),
            "at once, before those of 1"
        );
        comes(&mut lists, (1, 0));
        comes(&mut lists, (2, 10));
        let order: Vec<_> = std::iter::from_fn(|| next(&mut lists)).collect();
        assert_eq!(order, [(1, 1), (2, 11)]);
        lists.part_came(call(1, 1));
        assert_eq!(next(&mut lists), None, "its other part is missing");
        lists.part_came(call(1, 1));
        assert_eq!(next(&mut lists), Some((1, 2)));
    }

    #[test]
    fn who_has_most_lists_waiting_makes_room() {
        let mut lists = Lists::among(1, false);
        let most = u32::try_from(LISTS_WAITING_MAX).unwrap();
        (0..most).for_each(|serial| assert_eq!(ask(&mut lists, 1, serial), None));
        assert_eq!(ask(&mut lists, 1, most), Some(call(1, most)), "its own");
        let newest = call(1, most - 1);
        assert_eq!(
            ask(&mut lists, 2, most + 1),
            Some(newest),
            "the newest of 1"
        );
        assert_eq!(lists.waits, LISTS_WAITING_MAX);
        assert_eq!(
            [next(&mut lists), next(&mut lists)],
            [Some((1, 0)), Some((2, most + 1))]
        );
    }

    #[test]
    fn as_many_as_there_may_be_are_under_way() {
        let mut lists = Lists::among(1, false);
        let most = lists_under_way(1);
        for account in 0..=most as u64 {
            ask(&mut lists, account, u32::try_from(account).unwrap());
        }
        let begun = std::iter::from_fn(|| next(&mut lists)).count();
        assert_eq!((begun, lists.due()), (most, false));
        lists.end(call(0, 0));
        lists.end(call(0, 0));
        assert!(lists.due() && next(&mut lists).is_some() && next(&mut lists).is_none());
    }

    #[test]
    fn nothing_is_kept_of_lists_that_were_made() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut lists = Lists::among(1, false);
        for serial in 0..20_000 {
            ask(&mut lists, random.u64(..7), serial);
            while random.bool()
                && let Some((account, serial)) = next(&mut lists)
            {
                if random.bool() {
                    comes(&mut lists, (account, serial));
                } else {
                    lists.end(call(account, serial));
                }
            }
        }
        while let Some(list) = next(&mut lists) {
            comes(&mut lists, list);
        }
        assert!(lists.waiting.is_empty() && lists.turns.is_empty() && lists.under_way.is_empty());
        assert_eq!((lists.waits, lists.shares.largest()), (0, None));
    }
}
