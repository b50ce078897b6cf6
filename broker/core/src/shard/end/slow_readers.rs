//! Connections that do not take what waits for them: see [`crate::shard::sockets::backlog`].

use crate::id::{Account, SessionKey};
use crate::session::Session;
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::Moment;

impl Sockets {
    /// A socket had no room for what was to be sent.
    pub(crate) fn falls_behind(&mut self, directory: &Directory, key: SessionKey) {
        let session = self.session(key);
        let channel = session.and_then(Session::channel);
        let channel = channel.and_then(|channel| directory.channel(channel));
        let account = channel.map(|channel| Account::of(&channel.record.arn));
        self.begin_behind(key, account);
    }

    /// Connections that are behind hold too much: the slowest is closed. False when there is none, or when they do not.
    pub(crate) fn shed(&mut self, books: &mut Books, todo: &mut TodoList, at: Moment) -> bool {
        let slowest = self.slowest().filter(|_| self.too_far_behind());
        if let Some(slowest) = slowest {
            self.cut_slow(books, todo, slowest, at);
        }
        slowest.is_some()
    }

    /// A connection was cut off since it does not read: its close frame and what it had begun to take wait behind what
    /// its peer does not read. When that is much on all such connections together, they are not waited for.
    pub(crate) fn cut_off(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        if self.note_cut(key) {
            self.abort(books, todo, key, at);
        }
    }
}
