//! The devices that wait on one shard, each at its channel, until somebody waits for them.
//!
//! Accounts share the places. When all are taken, a device of the account with most makes room for one of an account
//! with fewer.

use crate::id::{Account, ChannelKey, SessionKey};
use crate::shard::shares::Shares;
use std::collections::BTreeMap;

/// The waiting devices of one shard's channels: at most one a channel.
#[derive(Debug)]
pub(crate) struct Polls {
    waiting: BTreeMap<ChannelKey, (SessionKey, Account)>,
    shares: Shares,
    /// At most this many wait.
    most: usize,
    /// The channels of those of which something has changed in this input. Each is one of `waiting`.
    changed: BTreeMap<ChannelKey, Change>,
}

/// A change of a channel whose device waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Something is kept, or a master is there, or the channel is another node's.
    State,
    /// It is deleted.
    Deleted,
}

/// The room for one more device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is room.
    Free,
    /// There is, once the device of this channel has its answer.
    InPlaceOf(ChannelKey),
    /// There is none, and no other account has more than the asker's would have.
    None,
}

impl Polls {
    /// Nobody waits; at most this many may.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            shares: Shares::default(),
            most,
            changed: BTreeMap::new(),
        }
    }

    /// Whether no device waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The number of devices that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The connection that waits on a channel.
    pub(crate) fn of(&self, channel: ChannelKey) -> Option<SessionKey> {
        self.waiting.get(&channel).map(|(session, _)| *session)
    }

    /// All connections that wait.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionKey> {
        self.waiting.values().map(|(session, _)| *session)
    }

    /// Whether one more device of an account may wait.
    pub(crate) fn room(&self, account: Account) -> Room {
        if self.waiting.len() < self.most {
            return Room::Free;
        }
        let payer = self.shares.payer(account, 0, 1);
        payer.map_or(Room::None, Room::InPlaceOf)
    }

    /// A device waits from here on. The caller has ended the one that waited on the channel before.
    pub(crate) fn begin(&mut self, account: Account, channel: ChannelKey, session: SessionKey) {
        let before = self.waiting.insert(channel, (session, account));
        debug_assert!(before.is_none(), "two devices wait on one channel");
        debug_assert!(
            self.waiting.len() <= self.most,
            "more devices wait than may"
        );
        self.shares.change(account, channel, 0, 1);
    }

    /// A connection waits no more; false when it did not.
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

    /// Something has changed of a channel: its device is looked at when the input is over, if one waits.
    #[inline]
    pub(crate) fn note(&mut self, channel: ChannelKey, change: Change) {
        if !self.waiting.is_empty() && self.waiting.contains_key(&channel) {
            let last = self.changed.entry(channel).or_insert(change);
            if change == Change::Deleted {
                *last = change;
            }
        }
    }

    /// The next channel of which something has changed.
    pub(crate) fn next_changed(&mut self) -> Option<(ChannelKey, Change)> {
        self.changed.pop_first()
    }

    /// Whether there is such a channel.
    #[inline]
    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Checks what holds between two inputs.
    ///
    /// # Panics
    /// When it does not.
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
            assert_eq!(polls.room(Account(1)), Room::Free);
            polls.begin(Account(1), channel(number), session(number));
        }
        assert_eq!(polls.room(Account(1)), Room::None, "all of one account");
        let Room::InPlaceOf(payer) = polls.room(Account(2)) else {
            panic!("who has none finds room");
        };
        let of = polls.of(payer).unwrap();
        assert!(polls.end(payer, of) && !polls.end(payer, of));
        polls.begin(Account(2), channel(7), session(7));
        assert_eq!(polls.room(Account(2)), Room::None, "two and one of three");
        polls.invariants();
    }

    #[test]
    fn only_channels_whose_device_waits_are_looked_at() {
        let mut polls = Polls::new(3);
        polls.note(channel(1), Change::State);
        assert_eq!(polls.next_changed(), None);
        polls.begin(Account(1), channel(1), session(1));
        polls.note(channel(2), Change::State);
        polls.note(channel(1), Change::Deleted);
        polls.note(channel(1), Change::State);
        assert_eq!(polls.next_changed(), Some((channel(1), Change::Deleted)));
        polls.note(channel(1), Change::State);
        assert!(!polls.end(channel(1), session(2)), "an older one is over");
        assert!(polls.end(channel(1), session(1)) && polls.is_empty());
        assert_eq!(polls.next_changed(), None);
        polls.invariants();
    }
}
