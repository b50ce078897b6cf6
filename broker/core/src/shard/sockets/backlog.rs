//! Slow readers: the bytes that wait for them, and which of them makes room.
//!
//! A socket that takes everything at once never comes here: its outbox is empty after each turn. Only when the edge
//! had to copy bytes aside ([`crate::machine::Machine::launched`]) a connection is *behind*, until its outbox is empty
//! again. Connections that are behind may hold three quarters of a shard's bytes of outboxes; beyond it the slowest is
//! closed: of the account with most, and of the channel with most in it, the one with most. So the last quarter is
//! always there for peers that read.

use crate::id::{Account, ChannelKey, SessionKey};
use crate::shard::shares::Shares;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// A connection that is behind: its channel, and the bytes that wait for it.
type Slow = (ChannelKey, u32, SessionKey);

/// The bytes that wait for connections that are behind, and for those that were closed for it.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) bytes: usize,
    /// The channels of connections that are behind, and the bytes that wait in each.
    channels: BTreeMap<ChannelKey, (Account, usize)>,
    /// The connections of these channels that are behind, by the bytes that wait for them.
    sessions: BTreeSet<Slow>,
    shares: Shares,
    /// Bytes of connections that were cut off and are not gone.
    pub(crate) cut: usize,
}

impl Backlog {
    /// A connection of a channel is behind: its bytes are counted with those of the channel and its account.
    pub(crate) fn admit(&mut self, channel: ChannelKey, account: Account) {
        self.channels.entry(channel).or_insert((account, 0));
    }

    /// A connection of a channel that had `before` bytes waiting has `after`.
    pub(crate) fn change(
        &mut self,
        channel: Option<ChannelKey>,
        session: SessionKey,
        (before, after): (u32, u32),
    ) {
        let bytes = |bytes: u32| bytes as usize;
        self.bytes = (self.bytes + bytes(after)).saturating_sub(bytes(before));
        let Some(channel) = channel else { return };
        let Some((account, waiting)) = self.channels.get_mut(&channel) else {
            return;
        };
        self.sessions.remove(&(channel, before, session));
        if after > 0 {
            self.sessions.insert((channel, after, session));
        }
        let held = *waiting;
        *waiting = (held + bytes(after)).saturating_sub(bytes(before));
        self.shares.change(*account, channel, held, *waiting);
        if *waiting == 0 {
            self.channels.remove(&channel);
        }
    }

    /// The connection with most, of the channel with most in the account with most.
    pub(crate) fn slowest(&self) -> Option<SessionKey> {
        let channel = self.shares.largest()?;
        let (_, _, session) = self.sessions.range(all_of(channel)).next_back()?;
        Some(*session)
    }

    /// A channel ends; its connections do not yet.
    pub(crate) fn withdraw(&mut self, channel: ChannelKey) {
        if let Some((account, waiting)) = self.channels.remove(&channel) {
            self.shares.change(account, channel, waiting, 0);
            while let Some(slow) = self.sessions.range(all_of(channel)).next().copied() {
                self.sessions.remove(&slow);
            }
        }
    }

    /// Whether bytes are counted for a channel.
    pub(crate) fn has(&self, channel: ChannelKey) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Whether a connection of a channel is behind with this number of bytes.
    pub(crate) fn lists(&self, channel: ChannelKey, bytes: u32, session: SessionKey) -> bool {
        self.sessions.contains(&(channel, bytes, session))
    }

    /// Checks that each channel has the bytes of its connections, and each account those of its channels. Returns all
    /// bytes that are behind and the number of connections in channels.
    ///
    /// # Panics
    /// When they have not.
    pub(crate) fn invariants(&self) -> (usize, usize) {
        let mut sum = 0;
        for (channel, (_, bytes)) in &self.channels {
            let slow = self.sessions.range(all_of(*channel));
            let theirs: usize = slow.map(|(_, bytes, _)| *bytes as usize).sum();
            assert_eq!(theirs, *bytes, "the bytes of {channel:?} that are behind");
            sum += bytes;
        }
        assert_eq!(sum, self.shares.bytes(), "the shares of those behind");
        assert!(sum <= self.bytes, "channels are behind with more than all");
        (self.bytes, self.sessions.len())
    }
}

/// The entries of one channel among all connections that are behind.
fn all_of(channel: ChannelKey) -> RangeInclusive<Slow> {
    let (first, last) = (SessionKey::unpack(0), SessionKey::unpack(u64::MAX));
    (channel, 0, first)..=(channel, u32::MAX, last)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_channel_that_ends_takes_its_own_slow_connections_along() {
        let mut backlog = Backlog::default();
        let channel = |number| ChannelKey::new(number, 0);
        for number in 1..=3 {
            backlog.admit(channel(number), Account(7));
            for (slot, bytes) in [(10 * number, 100 * number), (10 * number + 1, 5)] {
                let session = SessionKey::new(slot, 0xff_ffff);
                backlog.change(Some(channel(number)), session, (0, bytes));
            }
        }
        backlog.withdraw(channel(2));
        let left = backlog.sessions.iter().map(|(_, bytes, _)| *bytes);
        assert_eq!(left.collect::<Vec<_>>(), [5, 100, 5, 300]);
        assert_eq!(backlog.slowest(), Some(SessionKey::new(30, 0xff_ffff)));
        backlog.withdraw(channel(3));
        assert_eq!(backlog.slowest(), Some(SessionKey::new(10, 0xff_ffff)));
        assert_eq!(backlog.invariants().1, 2, "the entries of one channel");
    }

    #[test]
    #[should_panic(expected = "that are behind")]
    fn a_channel_with_more_than_its_connections_is_noticed() {
        let mut backlog = Backlog::default();
        backlog
            .channels
            .insert(ChannelKey::new(1, 0), (Account(7), 5));
        backlog.invariants();
    }

    #[test]
    #[should_panic(expected = "the shares of those behind")]
    fn an_account_with_more_than_its_channels_is_noticed() {
        let mut backlog = Backlog::default();
        (backlog.shares).change(Account(7), ChannelKey::new(1, 0), 0, 5);
        backlog.invariants();
    }
}
