//! Callers that wait on a shard: callers with queued list requests, and devices waiting for a client.

use crate::id::{Account, CallRef, ChannelKey, SessionKey};
use crate::limits::{LISTS_OF_AN_ACCOUNT, RECORDS_PER_TURN, lists_under_way, lists_waiting};
use crate::shard::PageQuestion;
use crate::shard::shares::{RoomFor, Shares};
use crate::time::Moment;
use std::collections::{BTreeMap, VecDeque};

// List requests of a shard's callers. Each account has one list in progress at a time and accounts take turns, so a
// list waits for at most one list of each other account, however many lists those accounts request. If several nodes
// serve channels, an account may have a few lists in progress, because a list spends most of its time waiting for other
// nodes. If a caller has hung up by the time its list could start, the list is dropped without doing any work. Once
// other nodes have been queried, a list stays in progress until they answer.

/// The queued and the running list requests of a shard's callers.
#[derive(Debug)]
pub(crate) struct Lists {
    under_way_max: usize,
    /// Maximum number of list requests per account that may be in progress.
    of_account_max: usize,
    waiting_max: usize,
    /// List requests in progress. There are few enough of them for a linear search.
    under_way: Vec<CallRef>,
    waiting: BTreeMap<Account, VecDeque<(CallRef, PageQuestion)>>,
    /// Accounts that have queued list requests and may start another, in round-robin order.
    turns: VecDeque<Account>,
    shares: Shares<Account, Account>,
    waits: usize,
}

impl Lists {
    /// Creates an empty set for a process with this many shards. `of_nodes` is set if several nodes serve channels.
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

    /// Queues a list request. If too many are queued, rejects the newest request of the account with the most. Returns
    /// the caller of the rejected request, which may be `caller` itself.
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

    /// Returns whether [`Self::next`] would return a list.
    pub(crate) fn due(&self) -> bool {
        self.under_way.len() < self.under_way_max && !self.turns.is_empty()
    }

    /// Starts and returns the next queued list request, if the limit on requests in progress permits.
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

    /// Removes an answered list request from the requests in progress. Has no effect on other calls.
    pub(crate) fn end(&mut self, caller: CallRef) {
        let place = self.under_way.iter().position(|list| *list == caller);
        if let Some(place) = place {
            self.under_way.swap_remove(place);
            self.take_turn(caller.account);
        }
    }

    /// Appends an account to the round-robin queue if it is not queued yet and may start another list request.
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

// How much of an event loop turn may be spent on pages.

/// Limits the number of records read for pages in one turn to [`RECORDS_PER_TURN`]. A turn's last page may exceed this
/// limit.
#[derive(Debug, Default)]
pub(crate) struct PageTurn {
    /// Time of the event loop's current turn, which is the same for all inputs of that turn.
    at: Moment,
    /// The value of `records` when the turn started.
    before: u64,
    /// Number of records read for pages since startup.
    pub(crate) records: u64,
}

impl PageTurn {
    /// Returns whether more records may be read in the turn at `at`.
    pub(crate) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            (self.at, self.before) = (at, self.records);
        }
        self.records - self.before < RECORDS_PER_TURN
    }
}

// Devices waiting on one shard, each on its own channel until a client wants to connect to it.
//
// Accounts share the capacity. When it is exhausted, a device of the account with the most devices is evicted to admit
// one of an account with fewer.

/// The devices waiting on one shard's channels. At most one device waits on each channel.
#[derive(Debug)]
pub(crate) struct Polls {
    waiting: BTreeMap<ChannelKey, (SessionKey, Account)>,
    shares: Shares,
    /// Maximum number of waiting devices.
    most: usize,
    /// Channels with a waiting device that the current input has changed. A subset of `waiting`.
    changed: BTreeMap<ChannelKey, PollChange>,
}

/// The kind of change to a channel with a waiting device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollChange {
    /// A message may have become pending, a master may have connected, or the channel may have moved to another node.
    State,
    /// The channel is being deleted.
    Deleted,
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

    /// Returns the connection of the device waiting on a channel.
    pub(crate) fn of(&self, channel: ChannelKey) -> Option<SessionKey> {
        self.waiting.get(&channel).map(|(session, _)| *session)
    }

    /// Returns the connections of all waiting devices.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionKey> {
        self.waiting.values().map(|(session, _)| *session)
    }

    /// Checks whether an account may add a waiting device, and whether another account's device must be evicted for it.
    /// Returns the channel of the device to evict.
    pub(crate) fn room(&self, account: Account) -> RoomFor<ChannelKey> {
        if self.waiting.len() < self.most {
            return RoomFor::Free;
        }
        let payer = self.shares.payer(account, 0, 1);
        payer.map_or(RoomFor::None, RoomFor::InPlaceOf)
    }

    /// Adds a waiting device. The channel must have no waiting device; the caller must first end the previous one's
    /// wait.
    pub(crate) fn begin(&mut self, account: Account, channel: ChannelKey, session: SessionKey) {
        let before = self.waiting.insert(channel, (session, account));
        debug_assert!(before.is_none(), "two devices wait on one channel");
        debug_assert!(
            self.waiting.len() <= self.most,
            "more devices wait than may"
        );
        self.shares.change(account, channel, 0, 1);
    }

    /// Removes the device waiting on a channel if it uses this connection. Returns `false` otherwise.
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

    /// Records that a channel has changed. If a device is waiting on the channel, the channel is checked after the
    /// current input.
    #[inline]
    pub(crate) fn note(&mut self, channel: ChannelKey, change: PollChange) {
        if !self.waiting.is_empty() && self.waiting.contains_key(&channel) {
            let last = self.changed.entry(channel).or_insert(change);
            if change == PollChange::Deleted {
                *last = change;
            }
        }
    }

    /// Takes the next channel that has changed.
    pub(crate) fn next_changed(&mut self) -> Option<(ChannelKey, PollChange)> {
        self.changed.pop_first()
    }

    /// Returns whether any channel has changed.
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
            assert_eq!(polls.room(Account(1)), RoomFor::Free);
            polls.begin(Account(1), channel(number), session(number));
        }
        assert_eq!(polls.room(Account(1)), RoomFor::None, "all of one account");
        let RoomFor::InPlaceOf(payer) = polls.room(Account(2)) else {
            panic!("who has none finds room");
        };
        let of = polls.of(payer).unwrap();
        assert!(polls.end(payer, of) && !polls.end(payer, of));
        polls.begin(Account(2), channel(7), session(7));
        assert_eq!(
            polls.room(Account(2)),
            RoomFor::None,
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
