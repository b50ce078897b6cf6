//! The Alexa calls that wait on one shard: their accounts, which makes room when there is none, and which of them
//! another shard still has to confirm the end of.
//!
//! ```text
//!  the caller's shard          the channel's home
//!    QueryKind ───────────────────►  taken in
//!    ◄─────────── CallTaken    the place per pair of shards is free again; one of this table is held
//!    CallWithdrawn ─────────►  only when the caller hangs up: the call ends, if it still waits
//!    ◄────────── CallAnswer    the master's answer, or why there is none: exactly one, wanted or not
//!    CallOver ──────────────►  the place of this table is free
//! ```
//! A place is held until its `CallOver` is read, so the mailboxes never hold more answers than there are places on all
//! shards, nor more of `CallWithdrawn` and of `CallOver` than there are on the reader's.

use crate::id::{CallRef, ChannelKey};
use crate::limits::CALL_PLACES_PER_WAITING_CALL;
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One call at its channel: its channel, and its place in the channel's order of acceptance.
pub(crate) type Call = (ChannelKey, u64);

/// The waiting calls of one shard's channels.
#[derive(Debug)]
pub(crate) struct Waits {
    /// Calls without an answer, by the account of their channel.
    accounts: BTreeMap<Box<str>, BTreeSet<Call>>,
    waiting: usize,
    /// At most this many wait.
    most: usize,
    /// Calls of other shards that were taken in and not confirmed to be over, and where they are or were.
    places: HashMap<CallRef, Call, RandomState>,
}

/// The room for one more call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is room.
    Free,
    /// There is, once this call of an account or channel with more than its share has ended.
    InPlaceOf(Call),
    /// There is none, and no other holder has more than the caller would have.
    None,
}

impl Waits {
    pub(crate) fn new(most: usize, hasher: RandomState) -> Self {
        Self {
            accounts: BTreeMap::new(),
            waiting: 0,
            most,
            places: HashMap::with_hasher(hasher),
        }
    }

    /// Whether one more call of another shard may wait.
    pub(crate) fn has_place(&self) -> bool {
        self.places.len() < CALL_PLACES_PER_WAITING_CALL * self.most
    }

    /// The number of places that are held.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// The number of calls that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// The number of those on a channel of `account`.
    pub(crate) fn on_channel(&self, account: &str, channel: ChannelKey) -> usize {
        let calls = self.accounts.get(account);
        calls.map_or(0, |calls| of(calls, channel).count())
    }

    /// Whether one more call fits on a channel of `account`. When all is full, the holder of most makes room for one
    /// that has less: first between accounts, then between the channels of one.
    ///
    /// Looks at each account and at the calls of one: at most twice as many as may wait.
    pub(crate) fn room(&self, account: &str, channel: ChannelKey) -> Room {
        if self.waiting < self.most {
            return Room::Free;
        }
        let own = self.accounts.get(account);
        let own_calls = own.map_or(0, BTreeSet::len);
        let fullest = self.accounts.values().max_by_key(|calls| calls.len());
        let Some(fullest) = fullest.filter(|calls| calls.len() > own_calls + 1) else {
            let here = own.map_or(0, |calls| of(calls, channel).count());
            let most = own.and_then(fullest_channel);
            return match most {
                Some((calls, newest)) if calls > here + 1 => Room::InPlaceOf(newest),
                Some(_) | None => Room::None,
            };
        };
        fullest_channel(fullest).map_or(Room::None, |(_, newest)| Room::InPlaceOf(newest))
    }

    /// A call waits from here on.
    pub(crate) fn begin(&mut self, account: &str, call: Call) {
        let calls = match self.accounts.get_mut(account) {
            Some(calls) => calls,
            None => self.accounts.entry(account.into()).or_default(),
        };
        self.waiting += usize::from(calls.insert(call));
        debug_assert!(self.waiting <= self.most, "more calls wait than may");
    }

    /// A call waits no more.
    pub(crate) fn end(&mut self, account: &str, call: Call) {
        let Some(calls) = self.accounts.get_mut(account) else {
            return;
        };
        self.waiting -= usize::from(calls.remove(&call));
        if calls.is_empty() {
            self.accounts.remove(account);
        }
    }

    /// A caller knows that its call waits: it will report once that the call is over.
    pub(crate) fn hold(&mut self, caller: CallRef, call: Call) {
        self.places.insert(caller, call);
    }

    /// The call of a caller that waits.
    pub(crate) fn of(&self, caller: CallRef) -> Option<Call> {
        self.places.get(&caller).copied()
    }

    /// The caller's shard has said that the call is over.
    pub(crate) fn free(&mut self, caller: CallRef) {
        self.places.remove(&caller);
    }

    /// The channels that have waiting calls, each once, in the order of their keys.
    pub(crate) fn channels(&self) -> BTreeSet<ChannelKey> {
        let calls = self.accounts.values().flatten();
        calls.map(|(channel, _)| *channel).collect()
    }
}

/// The calls of one channel.
fn of(calls: &BTreeSet<Call>, channel: ChannelKey) -> impl Iterator<Item = &Call> {
    calls.range((channel, 0)..=(channel, u64::MAX))
}

/// The number of calls on the channel that has most of these, and the newest of them.
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

    fn waits(most: usize) -> Waits {
        Waits::new(most, RandomState::with_seeds(1, 2, 3, 4))
    }

    fn channel(number: u32) -> ChannelKey {
        ChannelKey::new(number, 0)
    }

    #[test]
    fn the_account_with_most_calls_makes_room_for_one_with_fewer() {
        let mut waits = waits(6);
        for order in 0..4 {
            waits.begin("greedy", (channel(1), order));
        }
        assert_eq!(waits.room("greedy", channel(1)), Room::Free);
        waits.begin("greedy", (channel(2), 9));
        waits.begin("other", (channel(3), 1));
        // The account with five of six: the newest on its fullest channel.
        let newest = Room::InPlaceOf((channel(1), 3));
        assert_eq!(waits.room("third", channel(4)), newest);
        assert_eq!(waits.room("other", channel(3)), newest);
        // Within its own account the same rule holds between channels.
        assert_eq!(waits.room("greedy", channel(5)), newest);
        assert_eq!(waits.room("greedy", channel(2)), newest);
        assert_eq!(waits.room("greedy", channel(1)), Room::None);
    }

    #[test]
    fn equal_shares_are_left_alone() {
        let mut waits = waits(4);
        for (account, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
            waits.begin(account, (channel(number), 1));
        }
        assert_eq!(waits.room("a", channel(1)), Room::None);
        assert_eq!(waits.room("b", channel(9)), Room::None);
        assert_eq!(
            waits.room("c", channel(5)),
            Room::InPlaceOf((channel(4), 1)),
            "who has none is below its share"
        );
        waits.end("b", (channel(3), 1));
        waits.end("b", (channel(3), 1));
        assert_eq!(waits.room("a", channel(1)), Room::Free);
        assert_eq!(waits.channels().len(), 3);
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
