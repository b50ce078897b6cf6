//! Callers waiting on one shard: calls waiting for the master's answer, list requests for their turn, and devices for a
//! client.
//!
//! Calls are counted by account; when capacity is exhausted, a call of one account is evicted. For calls from another
//! shard, that shard must acknowledge the end:
//! ```text
//!  the caller's shard          the channel's home
//!    QueryKind ───────────────────►  taken in
//!    ◄─────────── CallTaken    the place per pair of shards is free again; one of this table is held
//!    CallWithdrawn ─────────►  only when the caller hangs up: the call ends, if it still waits
//!    ◄────────── CallAnswer    the master's answer, or why there is none: exactly one, wanted or not
//!    CallOver ──────────────►  the place of this table is free
//! ```
//! Capacity is held until the `CallOver` is read, so the mailboxes never hold more answers than the total capacity of
//! all shards, nor more `CallWithdrawn` and `CallOver` messages than the capacity of the reading shard.

use crate::channel::alexa_calls::CallKind;
use crate::id::{Account, CallRef, ChannelKey, SessionKey};
use crate::limits::{
    CALL_PLACES_PER_WAITING_CALL, ENDED_CALLS_MAX, ENDED_CALLS_PER_CHANNEL_MAX,
    LISTS_OF_AN_ACCOUNT, RECORDS_PER_TURN, WAITING_CALLS_PER_PLAYER, lists_under_way,
    lists_waiting,
};
use crate::shard::PageQuestion;
use crate::shard::shares::Shares;
use crate::time::{Moment, Now, take_due};
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A call: its channel, and its position in the channel's order of acceptance.
pub(crate) type Call = (ChannelKey, u64);

/// The pending calls of one shard's channels.
#[derive(Debug)]
pub(crate) struct WaitingCalls {
    alexa: CallShares,
    players: CallShares,
    /// Queued calls from other shards whose end has not been acknowledged, each with its channel and position.
    places: HashMap<CallRef, Call, RandomState>,
    /// Ended calls, oldest first, kept for as long as the master may still send messages for them.
    ended: VecDeque<EndedCall>,
}

/// Calls of one kind, grouped by account.
#[derive(Debug)]
struct CallShares {
    /// Calls by the account of their channel.
    accounts: BTreeMap<Box<str>, BTreeSet<Call>>,
    waiting: usize,
    /// Maximum number of pending calls.
    most: usize,
}

/// An ended call.
#[derive(Debug)]
pub(crate) struct EndedCall {
    pub(crate) channel: ChannelKey,
    /// Account of the channel.
    pub(crate) account: Account,
    /// Id to which the master addresses its answer.
    pub(crate) sender: Box<str>,
    /// Kind of the call. Messages addressed to a player's id must not reach a viewer with the same name.
    pub(crate) kind: CallKind,
    /// Time at which the entry is dropped.
    pub(crate) until: Now,
}

/// Whether there is capacity for one more call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallRoom {
    /// There is free capacity.
    Free,
    /// There is capacity if this call is evicted, which belongs to an account or channel that exceeds its share.
    InPlaceOf(Call),
    /// Capacity is exhausted, and no other account or channel holds more than the caller's would.
    None,
}

impl WaitingCalls {
    pub(crate) fn new(most: usize, hasher: RandomState) -> Self {
        Self {
            alexa: CallShares::new(most),
            players: CallShares::new((most / WAITING_CALLS_PER_PLAYER).max(1)),
            places: HashMap::with_hasher(hasher),
            ended: VecDeque::new(),
        }
    }

    /// Remembers an ended call. If the channel has too many, its oldest is dropped; if there are too many in total, the
    /// oldest of the account with the most. Messages for a dropped call then become pending, as for a viewer.
    pub(crate) fn remember(&mut self, ended: EndedCall) {
        self.forget(ended.channel, &ended.sender);
        let on_channel = |call: &EndedCall| call.channel == ended.channel;
        let there = self.ended.iter().filter(|call| on_channel(call)).count();
        let forgotten = if there >= ENDED_CALLS_PER_CHANNEL_MAX {
            self.ended.iter().position(on_channel)
        } else if self.ended.len() >= ENDED_CALLS_MAX {
            let mut counts: BTreeMap<Account, usize> = BTreeMap::new();
            for call in &self.ended {
                *counts.entry(call.account).or_default() += 1;
            }
            let largest = counts.into_iter().max_by_key(|(_, count)| *count);
            let is_its = |call: &EndedCall| Some(call.account) == largest.map(|(most, _)| most);
            self.ended.iter().position(is_its)
        } else {
            None
        };
        if let Some(place) = forgotten {
            self.ended.remove(place);
        }
        self.ended.push_back(ended);
    }

    /// Forgets the ended call with this client id.
    pub(crate) fn forget(&mut self, channel: ChannelKey, sender: &str) {
        let is_it = |call: &EndedCall| call.channel == channel && *call.sender == *sender;
        self.ended.retain(|call| !is_it(call));
    }

    /// Returns the kind of the ended call with this client id.
    #[cold]
    pub(crate) fn ended_kind(
        &mut self,
        channel: ChannelKey,
        sender: &str,
        now: Now,
    ) -> Option<CallKind> {
        while take_due(&mut self.ended, |call| call.until <= now).is_some() {}
        let is_it = |call: &&EndedCall| {
            call.channel == channel && *call.sender == *sender && now < call.until
        };
        self.ended.iter().find(is_it).map(|call| call.kind)
    }

    /// Whether a call from another shard can be queued.
    pub(crate) fn has_place(&self) -> bool {
        self.places.len() < CALL_PLACES_PER_WAITING_CALL * self.alexa.most
    }

    /// Returns the number of calls that occupy capacity.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// Returns the number of pending calls.
    pub(crate) fn len(&self) -> usize {
        self.alexa.waiting + self.players.waiting
    }

    /// Returns the number of pending calls on a channel of `account`.
    pub(crate) fn on_channel(&self, account: &str, channel: ChannelKey) -> usize {
        let kinds = [&self.alexa, &self.players].into_iter();
        let calls = kinds.filter_map(|kind| kind.accounts.get(account));
        calls.map(|calls| of(calls, channel).count()).sum()
    }

    /// Returns the calls of one kind.
    fn kind(&mut self, kind: CallKind) -> &mut CallShares {
        match kind {
            CallKind::Alexa => &mut self.alexa,
            CallKind::Player => &mut self.players,
        }
    }

    /// Checks the capacity for another call of this kind on a channel of `account`: see [`CallShares::room`].
    pub(crate) fn room(&self, kind: CallKind, account: &str, channel: ChannelKey) -> CallRoom {
        match kind {
            CallKind::Alexa => self.alexa.room(account, channel),
            CallKind::Player => self.players.room(account, channel),
        }
    }

    /// Adds a pending call.
    pub(crate) fn begin(&mut self, kind: CallKind, account: &str, call: Call) {
        self.kind(kind).begin(account, call);
    }

    /// Removes a pending call.
    pub(crate) fn end(&mut self, kind: CallKind, account: &str, call: Call) {
        self.kind(kind).end(account, call);
    }

    /// Reserves capacity for a call from another shard until its end is acknowledged.
    pub(crate) fn hold(&mut self, caller: CallRef, call: Call) {
        self.places.insert(caller, call);
    }

    /// Returns the pending call of a caller.
    pub(crate) fn of(&self, caller: CallRef) -> Option<Call> {
        self.places.get(&caller).copied()
    }

    /// Frees a call's capacity once the caller's shard has acknowledged its end.
    pub(crate) fn free(&mut self, caller: CallRef) {
        self.places.remove(&caller);
    }

    /// Returns the channels that have pending calls, sorted by key and without duplicates.
    pub(crate) fn channels(&self) -> BTreeSet<ChannelKey> {
        let kinds = [&self.alexa, &self.players].into_iter();
        let calls = kinds.flat_map(|kind| kind.accounts.values().flatten());
        calls.map(|(channel, _)| *channel).collect()
    }
}

impl CallShares {
    /// Creates an empty set with the given limit.
    fn new(most: usize) -> Self {
        Self {
            accounts: BTreeMap::new(),
            waiting: 0,
            most,
        }
    }

    /// Checks the capacity for another call on a channel of `account`. At the limit, the largest holder gives way to a
    /// smaller one, first among accounts, then among the channels of an account.
    ///
    /// Visits each account and the calls of one account, at most twice the limit in total.
    fn room(&self, account: &str, channel: ChannelKey) -> CallRoom {
        if self.waiting < self.most {
            return CallRoom::Free;
        }
        let own = self.accounts.get(account);
        let own_calls = own.map_or(0, BTreeSet::len);
        let fullest = self.accounts.values().max_by_key(|calls| calls.len());
        let Some(fullest) = fullest.filter(|calls| calls.len() > own_calls + 1) else {
            let here = own.map_or(0, |calls| of(calls, channel).count());
            let most = own.and_then(fullest_channel);
            return match most {
                Some((calls, newest)) if calls > here + 1 => CallRoom::InPlaceOf(newest),
                Some(_) | None => CallRoom::None,
            };
        };
        fullest_channel(fullest).map_or(CallRoom::None, |(_, newest)| CallRoom::InPlaceOf(newest))
    }

    /// Adds a pending call.
    fn begin(&mut self, account: &str, call: Call) {
        let calls = match self.accounts.get_mut(account) {
            Some(calls) => calls,
            None => self.accounts.entry(account.into()).or_default(),
        };
        self.waiting += usize::from(calls.insert(call));
        debug_assert!(self.waiting <= self.most, "more calls wait than may");
    }

    /// Removes a pending call.
    fn end(&mut self, account: &str, call: Call) {
        let Some(calls) = self.accounts.get_mut(account) else {
            return;
        };
        self.waiting -= usize::from(calls.remove(&call));
        if calls.is_empty() {
            self.accounts.remove(account);
        }
    }
}

/// Returns the calls of one channel.
fn of(calls: &BTreeSet<Call>, channel: ChannelKey) -> impl Iterator<Item = &Call> {
    calls.range((channel, 0)..=(channel, u64::MAX))
}

/// Returns the number of calls on the channel that has the most, and its newest call.
fn fullest_channel(calls: &BTreeSet<Call>) -> Option<(usize, Call)> {
    let mut counts: BTreeMap<ChannelKey, (usize, Call)> = BTreeMap::new();
    for call in calls {
        let (count, newest) = counts.entry(call.0).or_insert((0, *call));
        *count += 1;
        *newest = *call;
    }
    counts.into_values().max_by_key(|(count, _)| *count)
}

// Lists that callers of a shard wait for. Each account has one under way at a time and the accounts take turns, so a
// list waits for one of each other account, however many those ask for. Where several nodes have channels an account
// has a few, since most of the time of a list is spent in waiting for other nodes. A list whose caller hung up is
// dropped when its turn comes, before any work; one that other nodes were asked for is under way until they answer.

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

    /// Returns the next list to answer, if another one may be in progress.
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

// The part of a turn that pages may take.

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

// The devices that wait on one shard, each at its channel, until somebody waits for them.
//
// Accounts share the places. When all are taken, a device of the account with most makes room for one of an account
// with fewer.

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

    /// Whether no device is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the number of waiting devices.
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
mod tests {
    use super::*;
    use crate::id::{SessionKey, ShardId};

    const KIND: CallKind = CallKind::Alexa;

    fn waits(most: usize) -> WaitingCalls {
        WaitingCalls::new(most, RandomState::with_seeds(1, 2, 3, 4))
    }

    fn channel(number: u32) -> ChannelKey {
        ChannelKey::new(number, 0)
    }

    #[test]
    fn the_account_with_most_calls_makes_room_for_one_with_fewer() {
        let mut waits = waits(6);
        for order in 0..4 {
            waits.begin(KIND, "greedy", (channel(1), order));
        }
        assert_eq!(waits.room(KIND, "greedy", channel(1)), CallRoom::Free);
        waits.begin(KIND, "greedy", (channel(2), 9));
        waits.begin(KIND, "other", (channel(3), 1));
        // The account with five of six: the newest on its fullest channel.
        let newest = CallRoom::InPlaceOf((channel(1), 3));
        assert_eq!(waits.room(KIND, "third", channel(4)), newest);
        assert_eq!(waits.room(KIND, "other", channel(3)), newest);
        // Within its own account the same rule holds between channels.
        assert_eq!(waits.room(KIND, "greedy", channel(5)), newest);
        assert_eq!(waits.room(KIND, "greedy", channel(2)), newest);
        assert_eq!(waits.room(KIND, "greedy", channel(1)), CallRoom::None);
    }

    #[test]
    fn equal_shares_are_left_alone() {
        let mut waits = waits(4);
        for (account, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
            waits.begin(KIND, account, (channel(number), 1));
        }
        assert_eq!(waits.room(KIND, "a", channel(1)), CallRoom::None);
        assert_eq!(waits.room(KIND, "b", channel(9)), CallRoom::None);
        assert_eq!(
            waits.room(KIND, "c", channel(5)),
            CallRoom::InPlaceOf((channel(4), 1)),
            "who has none is below its share"
        );
        waits.end(KIND, "b", (channel(3), 1));
        waits.end(KIND, "b", (channel(3), 1));
        assert_eq!(waits.room(KIND, "a", channel(1)), CallRoom::Free);
        assert_eq!(waits.channels().len(), 3);
    }

    fn remember(waits: &mut WaitingCalls, account: u64, number: u32, sender: usize) {
        waits.remember(EndedCall {
            channel: channel(number),
            account: Account(account),
            sender: sender.to_string().into(),
            kind: CallKind::Player,
            until: Now(30),
        });
    }

    fn is_remembered(waits: &mut WaitingCalls, number: u32, sender: usize, now: u64) -> bool {
        let kind = waits.ended_kind(channel(number), &sender.to_string(), Now(now));
        assert!(kind.is_none_or(|kind| kind == CallKind::Player));
        kind.is_some()
    }

    #[test]
    fn a_channel_remembers_its_last_ended_calls_for_their_time() {
        let mut waits = waits(1);
        let most = ENDED_CALLS_PER_CHANNEL_MAX;
        (0..=most).for_each(|sender| remember(&mut waits, 1, 1, sender));
        remember(&mut waits, 1, 2, 0);
        for (number, sender, now, wanted) in [
            (1, 0, 0, false),
            (1, 1, 0, true),
            (1, most, 29, true),
            (2, 0, 29, true),
            (2, 1, 29, false),
            (1, most, 30, false),
        ] {
            let found = is_remembered(&mut waits, number, sender, now);
            assert_eq!(found, wanted, "{sender} of {number} at {now}");
        }
        assert!(waits.ended.is_empty());
    }

    #[test]
    fn the_account_with_most_ended_calls_forgets_its_oldest() {
        let mut waits = waits(1);
        remember(&mut waits, 2, 0, 0);
        for call in 1..ENDED_CALLS_MAX {
            let number = call.div_ceil(ENDED_CALLS_PER_CHANNEL_MAX);
            remember(&mut waits, 1, u32::try_from(number).unwrap(), call);
        }
        for forgotten in 1..4 {
            assert!(is_remembered(&mut waits, 1, forgotten, 0));
            remember(&mut waits, 2, 0, forgotten);
            assert!(!is_remembered(&mut waits, 1, forgotten, 0));
            assert!(is_remembered(&mut waits, 0, 0, 0), "the oldest of all");
            assert_eq!(waits.ended.len(), ENDED_CALLS_MAX);
        }
        // One that ends again, and one whose id is a viewer's.
        remember(&mut waits, 2, 0, 3);
        assert_eq!(waits.ended.len(), ENDED_CALLS_MAX);
        waits.forget(channel(0), "3");
        assert!(!is_remembered(&mut waits, 0, 3, 0));
    }

    #[test]
    fn places_are_held_until_the_caller_confirms() {
        let mut waits = waits(2);
        let caller = |serial| CallRef {
            shard: ShardId(1),
            session: SessionKey::new(1, 1),
            serial,
            account: crate::id::Account(0),
            change: false,
        };
        for serial in 0..4 {
            assert!(waits.has_place());
            waits.hold(caller(serial), (channel(1), serial.into()));
        }
        assert!(!waits.has_place());
        assert_eq!(waits.of(caller(2)), Some((channel(1), 2)));
        waits.free(caller(2));
        assert_eq!(waits.of(caller(2)), None);
        assert!(waits.has_place() && waits.places() == 3);
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
