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

/// The bytes that wait for connections that are behind, and for those that were closed for it.
#[derive(Debug, Default)]
pub(in crate::shard) struct Backlog {
    pub(in crate::shard) bytes: usize,
    /// The channels of connections that are behind, and the bytes that wait in each.
    pub(in crate::shard) channels: BTreeMap<ChannelKey, (Account, usize)>,
    /// The connections of these channels that are behind, by the bytes that wait for them.
    sessions: BTreeSet<(ChannelKey, u32, SessionKey)>,
    pub(in crate::shard) shares: Shares,
    /// Bytes of connections that were cut off and are not gone.
    pub(in crate::shard) cut: usize,
}

impl Backlog {
    /// A connection of a channel that had `before` bytes waiting has `after`.
    pub(in crate::shard) fn change(
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
    pub(in crate::shard) fn slowest(&self) -> Option<SessionKey> {
        let channel = self.shares.largest()?;
        let (first, last) = (SessionKey::unpack(0), SessionKey::unpack(u64::MAX));
        let of_channel = (channel, 0, first)..=(channel, u32::MAX, last);
        let (_, _, session) = self.sessions.range(of_channel).next_back()?;
        Some(*session)
    }

    /// A channel ends; its connections do not yet.
    pub(in crate::shard) fn withdraw(&mut self, channel: ChannelKey) {
        if let Some((account, waiting)) = self.channels.remove(&channel) {
            self.shares.change(account, channel, waiting, 0);
            self.sessions.retain(|(other, ..)| *other != channel);
        }
    }
}
