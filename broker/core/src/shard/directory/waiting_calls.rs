//! Calls waiting for the master's answer, counted by account. When capacity is exhausted, a call may be evicted to
//! admit another. If a call came from another shard, that shard must acknowledge that the call has ended:
//! ```text
//!  the caller's shard          the channel's home
//!    QueryKind ───────────────────►  taken in
//!    ◄─────────── CallTaken    the capacity per pair of shards is free again; that of this table is held
//!    CallWithdrawn ─────────►  only when the caller hangs up: the call ends, if it still waits
//!    ◄────────── CallAnswer    the master's answer, or why there is none: exactly one, wanted or not
//!    CallOver ──────────────►  the capacity of this table is free
//! ```
//! A call holds its capacity until `CallOver` has been read. The mailboxes therefore never hold more answers than the
//! total capacity of all shards, nor more `CallWithdrawn` and `CallOver` messages than the capacity of the shard that
//! reads them.

use crate::channel::alexa_calls::CallKind;
use crate::id::{Account, CallRef, ChannelKey};
use crate::limits::{
    CALL_PLACES_PER_WAITING_CALL, ENDED_CALLS_MAX, ENDED_CALLS_PER_CHANNEL_MAX,
    WAITING_CALLS_PER_PLAYER,
};
use crate::time::{Now, take_due};
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Identifies a call by its channel and by its position among the messages that the channel has accepted.
pub(crate) type Call = (ChannelKey, u64);

/// The pending calls of one shard's channels.
#[derive(Debug)]
pub(crate) struct WaitingCalls {
    alexa: CallShares,
    players: CallShares,
    /// Calls that came from other shards, and the channel and position of each. An entry is removed when the other
    /// shard acknowledges that the call has ended.
    places: HashMap<CallRef, Call, RandomState>,
    /// Calls that have ended, oldest first. They are remembered because the master may still send messages to them.
    ended: VecDeque<EndedCall>,
}

/// Calls of one kind, grouped by account.
#[derive(Debug)]
struct CallShares {
    /// The calls of each account. The account is the one that owns the channel.
    accounts: BTreeMap<Box<str>, BTreeSet<Call>>,
    waiting: usize,
    /// Maximum number of pending calls.
    most: usize,
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct EndedCall {
    pub(crate) channel: ChannelKey,
    /// The account that owns the channel.
    pub(crate) account: Account,
    /// The client id to which the master addresses its answer.
    pub(crate) sender: Box<str>,
    /// The kind of call. A message that is addressed to a player must not reach a viewer that happens to have the same
    /// id.
    pub(crate) kind: CallKind,
    /// When this entry is dropped.
    pub(crate) until: Now,
}

/// Whether another call may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallRoom {
    /// Capacity is available.
    Free,
    /// Another call may be added if this one is evicted. Its account or channel exceeds its share.
    InPlaceOf(Call),
    /// No more calls may be added, and no other account or channel has more calls than this one would have.
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

    /// Remembers a call that has ended. If too many calls of its channel are remembered, forgets the oldest of them. If
    /// too many calls are remembered in total, forgets the oldest of the account that has the most. A message for a
    /// forgotten call becomes pending, like a message for a viewer.
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

    /// Forgets a call that has ended. `sender` is the client id to which the master addressed its answer.
    pub(crate) fn forget(&mut self, channel: ChannelKey, sender: &str) {
        let is_it = |call: &EndedCall| call.channel == channel && *call.sender == *sender;
        self.ended.retain(|call| !is_it(call));
    }

    /// Returns the kind of a call that has ended. `id` is the client id to which the master addressed its answer.
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

    /// Returns the number of calls from other shards that take up capacity.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.alexa.waiting + self.players.waiting
    }

    /// Returns the number of calls pending on a channel of `account`.
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

    /// Checks whether there is capacity for another call of this kind on a channel of `account`. See
    /// [`CallShares::room`].
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

    /// Takes up capacity for a call from another shard. [`Self::free`] gives it back when that shard acknowledges that
    /// the call has ended.
    pub(crate) fn hold(&mut self, caller: CallRef, call: Call) {
        self.places.insert(caller, call);
    }

    /// Returns the call of a caller on another shard.
    pub(crate) fn of(&self, caller: CallRef) -> Option<Call> {
        self.places.get(&caller).copied()
    }

    /// Gives back the capacity that a call took up, because the caller's shard has acknowledged that the call has
    /// ended.
    pub(crate) fn free(&mut self, caller: CallRef) {
        self.places.remove(&caller);
    }

    /// Returns the channels that have pending calls.
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

    /// Checks whether there is capacity for another call on a channel of `account`. At the limit, an account can evict
    /// a call of the account that has the most calls, if that account has more calls. Within one account, a channel can
    /// evict a call of the channel that has the most calls, if that channel has more.
    ///
    /// Visits every account and every call of one account, which takes at most twice as many steps as the limit.
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

/// Returns the newest call on the channel that has the most calls, and the number of calls on that channel.
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
        assert_eq!(waits.room(KIND, "greedy", channel(1)), CallRoom::Free);
        waits.begin(KIND, "greedy", (channel(2), 9));
        waits.begin(KIND, "other", (channel(3), 1));
        // The account with five of the six calls loses the newest call on its fullest channel.
        let newest = CallRoom::InPlaceOf((channel(1), 3));
        assert_eq!(waits.room(KIND, "third", channel(4)), newest);
        assert_eq!(waits.room(KIND, "other", channel(3)), newest);
        // The same rule applies between the channels of one account.
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
