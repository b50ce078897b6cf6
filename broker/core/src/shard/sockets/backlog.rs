//! Counts the bytes queued for slow readers, and selects the connection to close when there are too many.
//!
//! Connections whose sockets accept all bytes immediately never appear here, because their outboxes are empty after
//! each turn. A connection has fallen *behind* as soon as the edge has to copy bytes that the socket did not accept
//! ([`crate::machine::Machine::launched`]), and stays behind until its outbox is empty again. Together, these
//! connections may use three quarters of the shard's outbox bytes. Beyond that, the slowest one is closed: the
//! connection with the most bytes, on the channel with the most bytes, of the account with the most bytes. The last
//! quarter therefore remains available to peers that read.

use crate::id::{Account, ChannelKey, SessionKey};
use crate::shard::shares::Shares;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// A connection that has fallen behind: its channel, the number of bytes queued for it, and its key.
type SlowConnection = (ChannelKey, u32, SessionKey);

/// Bytes queued for connections that have fallen behind, including connections that are being closed because of it.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) bytes: usize,
    /// Channels with connections that have fallen behind. Contains each channel's account, and the number of bytes
    /// queued for those connections.
    channels: BTreeMap<ChannelKey, (Account, usize)>,
    /// Connections that have fallen behind, sorted by channel and then by queued bytes.
    sessions: BTreeSet<SlowConnection>,
    shares: Shares,
    /// Bytes queued for connections that are being closed because their peers do not read.
    pub(crate) cut: usize,
}

impl Backlog {
    /// Starts to track a channel because one of its connections has fallen behind. [`Self::change`] adds the
    /// connection's bytes.
    pub(crate) fn admit(&mut self, channel: ChannelKey, account: Account) {
        self.channels.entry(channel).or_insert((account, 0));
    }

    /// Updates a connection's queued bytes from `before` to `after`.
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

    /// Returns the connection with the most queued bytes, on the channel with the most bytes, of the account with the
    /// most bytes.
    pub(crate) fn slowest(&self) -> Option<SessionKey> {
        let channel = self.shares.largest()?;
        let (_, _, session) = self.sessions.range(all_of(channel)).next_back()?;
        Some(*session)
    }

    /// Removes a channel that no longer exists, even if connections to it are still open.
    pub(crate) fn withdraw(&mut self, channel: ChannelKey) {
        if let Some((account, waiting)) = self.channels.remove(&channel) {
            self.shares.change(account, channel, waiting, 0);
            while let Some(slow) = self.sessions.range(all_of(channel)).next().copied() {
                self.sessions.remove(&slow);
            }
        }
    }

    /// Returns whether any connection to `channel` has fallen behind.
    pub(crate) fn has(&self, channel: ChannelKey) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Returns whether `session` is listed as having fallen behind on `channel`, with `bytes` bytes queued.
    pub(crate) fn lists(&self, channel: ChannelKey, bytes: u32, session: SessionKey) -> bool {
        self.sessions.contains(&(channel, bytes, session))
    }

    /// Checks that each channel's bytes are the sum over its connections, and that the shares are the sums over the
    /// channels. Returns the total number of bytes and the number of connections.
    ///
    /// # Panics
    /// Panics if a sum does not match.
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

/// Returns the range that contains all entries of one channel in the set of connections that have fallen behind.
fn all_of(channel: ChannelKey) -> RangeInclusive<SlowConnection> {
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
