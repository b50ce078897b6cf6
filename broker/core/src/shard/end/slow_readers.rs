//! Connections that do not take what waits for them: see [`crate::shard::sockets::backlog`].

use crate::id::{Account, SessionKey};
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::Moment;

impl Sockets {
    /// A socket had no room for what was to be sent.
    pub(in crate::shard) fn falls_behind(&mut self, directory: &Directory, key: SessionKey) {
        let session = self.sessions.get_mut(key);
        let Some(session) = session.filter(|session| session.open().is_some()) else {
            return;
        };
        session.behind = true;
        if let Some(key) = session.channel()
            && let Some(channel) = directory.channels.get(key)
        {
            let account = Account::of(&channel.record.arn);
            let channels = &mut self.backlog.channels;
            channels.entry(key).or_insert((account, 0));
        }
        self.weigh(key);
    }

    /// Has the backlog follow the outbox of a connection that is behind; nothing for any other.
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
