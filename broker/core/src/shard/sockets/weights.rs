//! Connections that are behind, as the backlog counts them: see [`crate::shard::sockets::backlog`].

use crate::id::{Account, SessionKey};
use crate::shard::sockets::Sockets;

impl Sockets {
    /// The socket of a WebSocket had no room for what was to be sent. `account`: that of its channel, if that is there.
    pub(crate) fn begin_behind(&mut self, key: SessionKey, account: Option<Account>) {
        let session = self.sessions.get_mut(key);
        let Some(session) = session.filter(|session| session.open().is_some()) else {
            return;
        };
        session.behind = true;
        if let (Some(channel), Some(account)) = (session.channel(), account) {
            self.backlog.admit(channel, account);
        }
        self.weigh(key);
    }

    /// Has the backlog follow the outbox of a connection that is behind; nothing for any other.
    #[inline]
    pub(crate) fn weigh(&mut self, key: SessionKey) {
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
    pub(crate) fn stops_being_behind(&mut self, key: SessionKey) {
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
    pub(crate) fn too_far_behind(&self) -> bool {
        let most = self.rules.outbox_bytes;
        self.backlog.bytes > most - most / 4
    }

    /// The connection that is furthest behind.
    pub(crate) fn slowest(&self) -> Option<SessionKey> {
        self.backlog.slowest()
    }

    /// A connection was cut off since it does not read. True when such connections together hold so much that this one
    /// is not waited for.
    pub(crate) fn note_cut(&mut self, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        if !std::mem::replace(&mut session.cut, true) {
            self.backlog.cut += session.outbox.bytes();
        }
        self.backlog.cut > self.rules.outbox_bytes / 8
    }

    /// This many bytes of a connection that was cut off are gone.
    #[inline]
    pub(crate) fn cut_shrinks(&mut self, bytes: usize) {
        self.backlog.cut = self.backlog.cut.saturating_sub(bytes);
    }
}
