//! Slow readers: the bytes that wait for them, and which of them makes room.
//!
//! A socket that takes everything at once never comes here: its outbox is empty after each turn. Only when the edge
//! had to copy bytes aside ([`crate::machine::Machine::launched`]) a connection is *behind*, until its outbox is empty
//! again. Connections that are behind may hold three quarters of a shard's bytes of outboxes; beyond it the slowest is
//! closed: of the account with most, and of the channel with most in it, the one with most. So the last quarter is
//! always there for peers that read.

use crate::id::{Account, ChannelKey, SessionKey};
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::shares::Shares;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::Moment;
use std::collections::{BTreeMap, BTreeSet};

/// What waits for connections that are behind, and for those that were closed for it.
#[derive(Debug, Default)]
pub(in crate::shard) struct Backlog {
    bytes: usize,
    /// The channels of connections that are behind, and the bytes that wait in each.
    channels: BTreeMap<ChannelKey, (Account, usize)>,
    /// The connections of these channels that are behind, by the bytes that wait for them.
    sessions: BTreeSet<(ChannelKey, u32, SessionKey)>,
    shares: Shares,
    /// Bytes of connections that were cut off and are not gone.
    cut: usize,
}

impl Backlog {
    /// A connection of a channel that had `before` bytes waiting has `after`.
    fn change(
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
    fn slowest(&self) -> Option<SessionKey> {
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

/// A socket had no room for what was to be sent.
pub(in crate::shard) fn falls_behind(
    sockets: &mut Sockets,
    directory: &Directory,
    key: SessionKey,
) {
    let session = sockets.sessions.get_mut(key);
    let Some(session) = session.filter(|session| session.open().is_some()) else {
        return;
    };
    session.behind = true;
    if let Some(key) = session.channel()
        && let Some(channel) = directory.channels.get(key)
    {
        let account = Account::of(&channel.record.arn);
        let channels = &mut sockets.backlog.channels;
        channels.entry(key).or_insert((account, 0));
    }
    sockets.weigh(key);
}

impl Sockets {
    /// What is known of a connection that is behind follows its outbox; nothing for any other.
    #[inline]
    pub(in crate::shard) fn weigh(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.behind {
            let bytes = session.outbox.bytes();
            let behind = bytes > 0 && session.open().is_some();
            session.behind = behind;
            self.set_weight(key, if behind { bytes } else { 0 });
        }
    }

    /// A connection is no longer one that messages go to.
    pub(in crate::shard) fn stops_being_behind(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key);
        if session.is_some_and(|session| std::mem::take(&mut session.behind)) {
            self.set_weight(key, 0);
        }
    }

    fn set_weight(&mut self, key: SessionKey, bytes: usize) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let after = u32::try_from(bytes).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut session.weight, after);
        let channel = session.channel();
        self.backlog.change(channel, key, (before, after));
    }

    /// Whether connections that are behind hold more than their part of a shard's bytes.
    #[inline]
    pub(in crate::shard) fn too_far_behind(&self) -> bool {
        let most = self.rules.outbox_bytes;
        self.backlog.bytes > most - most / 4
    }
}

impl Sockets {
    /// Closes the slowest connections until that is no longer so. False when there is none.
    pub(in crate::shard) fn shed(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        at: Moment,
    ) -> bool {
        let mut sheds = false;
        while self.too_far_behind()
            && let Some(slowest) = self.backlog.slowest()
        {
            sheds = true;
            self.cut_slow(books, todo, slowest, at);
        }
        sheds
    }

    /// A connection was cut off since it does not read: its close frame and what it had begun to take wait behind what
    /// its peer does not read. When that is much on all such connections together, they are not waited for.
    pub(in crate::shard) fn cut_off(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        let most = self.rules.outbox_bytes;
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut session.cut, true) {
            self.backlog.cut += session.outbox.bytes();
        }
        if self.backlog.cut > most / 8 {
            self.abort(books, todo, key, at);
        }
    }

    /// This many bytes of a connection that was cut off are gone.
    #[inline]
    pub(in crate::shard) fn cut_shrinks(&mut self, bytes: usize) {
        self.backlog.cut = self.backlog.cut.saturating_sub(bytes);
    }
}
