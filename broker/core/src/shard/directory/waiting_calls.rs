//! Calls waiting for the master's answer, counted by account. When capacity is exhausted, a call may be evicted to
//! admit another. If a call arrived from another shard, that shard must acknowledge the end of the call:
//! ```text
//!  the caller's shard          the channel's shard
//!    QueryKind ───────────────────►  accepted
//!    ◄─────────── CallTaken    frees capacity between the two shards; this table's stays in use
//!    CallWithdrawn ─────────►  only if the caller hangs up: ends the call, if it is still waiting
//!    ◄────────── CallAnswer    the master's answer, or why there is none: exactly one, even if unwanted
//!    CallOver ──────────────►  frees the capacity of this table
//! ```
//! A call uses capacity until `CallOver` has been read. Therefore mailboxes never contain more answers than the total
//! capacity of all shards, nor more `CallWithdrawn` and `CallOver` messages than the capacity of the shard that reads
//! them.

use crate::channel::alexa_calls::CallKind;
use crate::id::{Account, CallRef, ChannelKey};
use crate::limits::{
    CALL_PLACES_PER_WAITING_CALL, ENDED_CALLS_MAX, ENDED_CALLS_PER_CHANNEL_MAX,
    WAITING_CALLS_PER_PLAYER,
};
use crate::shard::shares::RoomFor;
use crate::time::{Now, take_due};
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Identifies a call by its channel and its position in the channel's order of acceptance.
pub(crate) type Call = (ChannelKey, u64);

/// The pending calls on one shard's channels.
#[derive(Debug)]
pub(crate) struct WaitingCalls {
    alexa: CallShares,
    players: CallShares,
    /// Calls from other shards, each with its channel and position. An entry is removed when the other shard
    /// acknowledges that the call has ended.
    places: HashMap<CallRef, Call, RandomState>,
    /// Ended calls, oldest first. They are remembered because the master may still send messages to them.
    ended: VecDeque<EndedCall>,
}

/// Calls of one kind, grouped by account.
#[derive(Debug)]
struct CallShares {
    /// Calls by account. A call belongs to the account that owns its channel.
    accounts: BTreeMap<Box<str>, BTreeSet<Call>>,
    waiting: usize,
    /// Maximum number of pending calls.
    most: usize,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct EndedCall {
    pub(crate) channel: ChannelKey,
    /// The channel owner's account.
    pub(crate) account: Account,
    /// The client id to which the master addresses its answer.
    pub(crate) sender: Box<str>,
    /// The kind of call. A message addressed to a player must not reach a viewer that happens to have the same id.
    pub(crate) kind: CallKind,
    /// When this entry is dropped.
    pub(crate) until: Now,
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

    /// Remembers an ended call. If too many calls are remembered for its channel, forgets the oldest of them. If too
    /// many are remembered in total, forgets the oldest call of the account with the most. A message for a forgotten
    /// call becomes pending, like a message for a viewer.
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

    /// Forgets an ended call. `sender` is the client id to which the master addressed its answer.
    pub(crate) fn forget(&mut self, channel: ChannelKey, sender: &str) {
        let is_it = |call: &EndedCall| call.channel == channel && *call.sender == *sender;
        self.ended.retain(|call| !is_it(call));
    }

    /// Returns the kind of an ended call. `id` is the client id to which the master addressed its answer.
    #[cold]
    pub(crate) fn ended_kind(&mut self, key: ChannelKey, id: &str, now: Now) -> Option<CallKind> {
        while take_due(&mut self.ended, |call| call.until <= now).is_some() {}
        let is_it =
            |call: &&EndedCall| call.channel == key && *call.sender == *id && now < call.until;
        self.ended.iter().find(is_it).map(|call| call.kind)
    }

    /// Returns whether there is capacity for another call from another shard.
    pub(crate) fn has_place(&self) -> bool {
        self.places.len() < CALL_PLACES_PER_WAITING_CALL * self.alexa.most
    }

    /// Returns the number of calls from other shards that are using capacity.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.alexa.waiting + self.players.waiting
    }

    /// Returns the number of pending calls on one of `account`'s channels.
    pub(crate) fn on_channel(&self, account: &str, channel: ChannelKey) -> usize {
        let kinds = [&self.alexa, &self.players].into_iter();
        let calls = kinds.filter_map(|kind| kind.accounts.get(account));
        calls.map(|calls| of(calls, channel).count()).sum()
    }

    /// Returns the pending calls of this kind.
    fn kind(&mut self, kind: CallKind) -> &mut CallShares {
        match kind {
            CallKind::Alexa => &mut self.alexa,
            CallKind::Player => &mut self.players,
        }
    }

    /// Checks whether there is capacity for another call of this kind on one of `account`'s channels. See
    /// [`CallShares::room`].
    pub(crate) fn room(&self, kind: CallKind, account: &str, channel: ChannelKey) -> RoomFor<Call> {
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

    /// Reserves capacity for a call from another shard. [`Self::free`] releases it once that shard has acknowledged the
    /// end of the call.
    pub(crate) fn hold(&mut self, caller: CallRef, call: Call) {
        self.places.insert(caller, call);
    }

    /// Returns the call made by a caller on another shard.
    pub(crate) fn of(&self, caller: CallRef) -> Option<Call> {
        self.places.get(&caller).copied()
    }

    /// Releases a call's capacity, because the caller's shard has acknowledged the end of the call.
    pub(crate) fn free(&mut self, caller: CallRef) {
        self.places.remove(&caller);
    }

    /// Returns the channels with pending calls.
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

    /// Checks whether there is capacity for another call on one of `account`'s channels. At the limit, a call of the
    /// account with the most calls can be evicted if `account` has fewer calls. Within one account, the same applies to
    /// channels.
    ///
    /// Visits every account and every call of one account. The number of steps is at most twice the limit.
    fn room(&self, account: &str, channel: ChannelKey) -> RoomFor<Call> {
        if self.waiting < self.most {
            return RoomFor::Free;
        }
        let own = self.accounts.get(account);
        let own_calls = own.map_or(0, BTreeSet::len);
        let fullest = self.accounts.values().max_by_key(|calls| calls.len());
        let Some(fullest) = fullest.filter(|calls| calls.len() > own_calls + 1) else {
            let here = own.map_or(0, |calls| of(calls, channel).count());
            let most = own.and_then(fullest_channel);
            return match most {
                Some((calls, newest)) if calls > here + 1 => RoomFor::InPlaceOf(newest),
                Some(_) | None => RoomFor::None,
            };
        };
        fullest_channel(fullest).map_or(RoomFor::None, |(_, newest)| RoomFor::InPlaceOf(newest))
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

/// Returns the newest call on the channel with the most calls, and the number of calls on that channel.
fn fullest_channel(calls: &BTreeSet<Call>) -> Option<(usize, Call)> {
    let mut counts: BTreeMap<ChannelKey, (usize, Call)> = BTreeMap::new();
    for call in calls {
        let (count, newest) = counts.entry(call.0).or_insert((0, *call));
        *count += 1;
        *newest = *call;
    }
    counts.into_values().max_by_key(|(count, _)| *count)
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
        assert_eq!(waits.room(KIND, "greedy", channel(1)), RoomFor::Free);
        waits.begin(KIND, "greedy", (channel(2), 9));
        waits.begin(KIND, "other", (channel(3), 1));
        // The account with five of the six calls loses the newest call on its fullest channel.
        let newest = RoomFor::InPlaceOf((channel(1), 3));
        assert_eq!(waits.room(KIND, "third", channel(4)), newest);
        assert_eq!(waits.room(KIND, "other", channel(3)), newest);
        // The same rule applies between the channels of one account.
        assert_eq!(waits.room(KIND, "greedy", channel(5)), newest);
        assert_eq!(waits.room(KIND, "greedy", channel(2)), newest);
        assert_eq!(waits.room(KIND, "greedy", channel(1)), RoomFor::None);
    }

    #[test]
    fn equal_shares_are_left_alone() {
        let mut waits = waits(4);
        for (account, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
            waits.begin(KIND, account, (channel(number), 1));
        }
        assert_eq!(waits.room(KIND, "a", channel(1)), RoomFor::None);
        assert_eq!(waits.room(KIND, "b", channel(9)), RoomFor::None);
        assert_eq!(
            waits.room(KIND, "c", channel(5)),
            RoomFor::InPlaceOf((channel(4), 1)),
            "who has none is below its share"
        );
        waits.end(KIND, "b", (channel(3), 1));
        waits.end(KIND, "b", (channel(3), 1));
        assert_eq!(waits.room(KIND, "a", channel(1)), RoomFor::Free);
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
        // A call that ends a second time, and a call whose id belongs to a viewer.
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
