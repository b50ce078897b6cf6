//! Callers waiting on one shard: list requests for their turn, and devices for a client.

use crate::id::{Account, CallRef, ChannelKey, SessionKey};
use crate::limits::{LISTS_OF_AN_ACCOUNT, RECORDS_PER_TURN, lists_under_way, lists_waiting};
use crate::shard::PageQuestion;
use crate::shard::shares::Shares;
use crate::time::Moment;
use std::collections::{BTreeMap, VecDeque};

// Lists for which a shard's callers wait. Each account has one in progress at a time and accounts take turns, so that a
// list waits for one list of each other account, however many those request. If several nodes have channels, an account
// has a few in progress, since a list spends most of its time waiting for other nodes. A list whose caller has hung up
// is dropped in its turn, before any work; once other nodes are queried, a list is in progress until they answer.

/// The list requests of a shard's callers.
#[derive(Debug)]
pub(crate) struct Lists {
    under_way_max: usize,
    /// Maximum number of lists in progress per account.
    of_account_max: usize,
    waiting_max: usize,
    /// Lists in progress, few enough for a linear search.
    under_way: Vec<CallRef>,
    waiting: BTreeMap<Account, VecDeque<(CallRef, PageQuestion)>>,
    /// Round-robin queue of accounts that have lists waiting and fewer in progress than the limit.
    turns: VecDeque<Account>,
    shares: Shares<Account, Account>,
    waits: usize,
}

impl Lists {
    /// Creates an empty set for a process with this many shards; `of_nodes`: whether several nodes serve channels.
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

    /// Enqueues a list request. If there are too many, rejects the newest request of the account with the most, which
    /// is this one unless its account has fewer. Returns the caller to refuse.
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

    /// Whether [`Self::next`] returns a list.
    pub(crate) fn due(&self) -> bool {
        self.under_way.len() < self.under_way_max && !self.turns.is_empty()
    }

    /// Returns the next list to answer, if the limit on lists in progress permits.
    pub(crate) fn next(&mut self) -> Option<(CallRef, PageQuestion)> {
        if self.under_way.len() >= self.under_way_max {
            return None;
        }
        let account = self.turns.pop_front()?;
        let (caller, question) = self.pop(account, VecDeque::pop_front)?;
        self.under_way.push(caller);
        self.take_turn(account);
        Some((caller, question))
    }

    /// Removes an answered call from the lists in progress, if it is among them.
    pub(crate) fn end(&mut self, caller: CallRef) {
        let place = self.under_way.iter().position(|list| *list == caller);
        if let Some(place) = place {
            self.under_way.swap_remove(place);
            self.take_turn(caller.account);
        }
    }

    /// Appends an account to the round-robin queue, if the account is eligible and not already queued.
    fn take_turn(&mut self, account: Account) {
        let waits = self.waiting.contains_key(&account) && !self.turns.contains(&account);
        let all = self.under_way.iter();
        let own = all.filter(|list| list.account == account).count();
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

// The share of a turn that pages may use.

/// The page budget of a turn: [`RECORDS_PER_TURN`], plus whatever the last page needs beyond it.
#[derive(Debug, Default)]
pub(crate) struct PageTurn {
    /// The time of the turn, shared by all its inputs.
    at: Moment,
    /// Value of `records` at the start of the turn.
    before: u64,
    /// Number of records read for pages since startup.
    pub(crate) records: u64,
}

impl PageTurn {
    /// Whether the turn at `at` still has budget for more records.
    pub(crate) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            (self.at, self.before) = (at, self.records);
        }
        self.records - self.before < RECORDS_PER_TURN
    }
}

// Devices waiting on one shard, each at its channel, until a client waits for the device.
//
// Accounts share the capacity. At the limit, a device of the account with the most devices is evicted to admit one of
// an account with fewer.

/// The waiting devices of one shard's channels: at most one per channel.
#[derive(Debug)]
pub(crate) struct Polls {
    waiting: BTreeMap<ChannelKey, (SessionKey, Account)>,
    shares: Shares,
    /// Maximum number of waiting devices.
    most: usize,
    /// Channels with a waiting device that were changed by the current input; a subset of `waiting`.
    changed: BTreeMap<ChannelKey, PollChange>,
}

/// How a channel with a waiting device has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollChange {
    /// A message is pending, a master is connected, or the channel moved to another node.
    State,
    /// The channel is deleted.
    Deleted,
}

/// Whether there is capacity for one more device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollRoom {
    /// There is free capacity.
    Free,
    /// There is capacity once this channel's device has been answered.
    InPlaceOf(ChannelKey),
    /// Capacity is exhausted, and no other account has more waiting devices than this one would.
    None,
}

impl Polls {
    /// Creates an empty set with the given limit.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            shares: Shares::default(),
            most,
            changed: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the waiting connection of a channel.
    pub(crate) fn of(&self, channel: ChannelKey) -> Option<SessionKey> {
        self.waiting.get(&channel).map(|(session, _)| *session)
    }

    /// Returns all waiting connections.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionKey> {
        self.waiting.values().map(|(session, _)| *session)
    }

    /// Checks the capacity for another device of an account.
    pub(crate) fn room(&self, account: Account) -> PollRoom {
        if self.waiting.len() < self.most {
            return PollRoom::Free;
        }
        let payer = self.shares.payer(account, 0, 1);
        payer.map_or(PollRoom::None, PollRoom::InPlaceOf)
    }

    /// Adds a waiting device. The caller must have ended the wait of the channel's previous one.
    pub(crate) fn begin(&mut self, account: Account, channel: ChannelKey, session: SessionKey) {
        let before = self.waiting.insert(channel, (session, account));
        debug_assert!(before.is_none(), "two devices wait on one channel");
        debug_assert!(
            self.waiting.len() <= self.most,
            "more devices wait than may"
        );
        self.shares.change(account, channel, 0, 1);
    }

    /// Removes a waiting connection. Returns `false` if it was not waiting.
    pub(crate) fn end(&mut self, channel: ChannelKey, session: SessionKey) -> bool {
        if self.of(channel) != Some(session) {
            return false;
        }
        if let Some((_, account)) = self.waiting.remove(&channel) {
            self.shares.change(account, channel, 1, 0);
        }
        self.changed.remove(&channel);
        true
    }

    /// Notes that a channel has changed: its waiting device, if any, is checked after the input has been processed.
    #[inline]
    pub(crate) fn note(&mut self, channel: ChannelKey, change: PollChange) {
        if !self.waiting.is_empty() && self.waiting.contains_key(&channel) {
            let last = self.changed.entry(channel).or_insert(change);
            if change == PollChange::Deleted {
                *last = change;
            }
        }
    }

    /// Takes the next changed channel.
    pub(crate) fn next_changed(&mut self) -> Option<(ChannelKey, PollChange)> {
        self.changed.pop_first()
    }

    /// Whether any channel has changed.
    #[inline]
    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Checks the invariants that hold between inputs.
    ///
    /// # Panics
    /// Panics if an invariant is violated.
    pub(crate) fn invariants(&self) {
        assert!(self.changed.is_empty(), "a device is not looked at");
        assert_eq!(
            self.shares.bytes(),
            self.waiting.len(),
            "the shares of devices"
        );
    }
}

#[cfg(test)]
mod lists_tests {
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
        let (caller, _) = lists.next()?;
        Some((caller.account.0, caller.serial))
    }

    fn comes(lists: &mut Lists, (account, serial): (u64, u32)) {
        lists.end(call(account, serial));
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
        comes(&mut lists, (1, 1));
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

#[cfg(test)]
mod polls_tests {
    use super::*;

    fn channel(number: u32) -> ChannelKey {
        ChannelKey::new(number, 0)
    }

    fn session(number: u32) -> SessionKey {
        SessionKey::new(number, 0)
    }

    #[test]
    fn the_account_with_most_makes_room_for_one_with_fewer() {
        let mut polls = Polls::new(3);
        for number in 0..3 {
            assert_eq!(polls.room(Account(1)), PollRoom::Free);
            polls.begin(Account(1), channel(number), session(number));
        }
        assert_eq!(polls.room(Account(1)), PollRoom::None, "all of one account");
        let PollRoom::InPlaceOf(payer) = polls.room(Account(2)) else {
            panic!("who has none finds room");
        };
        let of = polls.of(payer).unwrap();
        assert!(polls.end(payer, of) && !polls.end(payer, of));
        polls.begin(Account(2), channel(7), session(7));
        assert_eq!(
            polls.room(Account(2)),
            PollRoom::None,
            "two and one of three"
        );
        polls.invariants();
    }

    #[test]
    fn only_channels_whose_device_waits_are_looked_at() {
        let mut polls = Polls::new(3);
        polls.note(channel(1), PollChange::State);
        assert_eq!(polls.next_changed(), None);
        polls.begin(Account(1), channel(1), session(1));
        polls.note(channel(2), PollChange::State);
        polls.note(channel(1), PollChange::Deleted);
        polls.note(channel(1), PollChange::State);
        assert_eq!(
            polls.next_changed(),
            Some((channel(1), PollChange::Deleted))
        );
        polls.note(channel(1), PollChange::State);
        assert!(!polls.end(channel(1), session(2)), "an older one is over");
        assert!(polls.end(channel(1), session(1)) && polls.is_empty());
        assert_eq!(polls.next_changed(), None);
        polls.invariants();
    }
}
