//! Requests of operators to a shard: its channels, one channel in detail, and making clients fetch ICE servers again.
//!
//! Answers are copies, made between two turns; a page and a step are bounded, so that no turn takes long.

pub(crate) mod channels;
mod question;

use crate::id::{Identity, SessionKey};
use crate::journal::EndReason;
use crate::limits::{INSPECTED_SLOTS_PER_STEP, RECONNECTS_PER_STEP};
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::shard::todo::each::Each;
use crate::time::Moment;
pub use channels::{ChannelLine, ChannelView, PeerView, PendingView};
use codec::signal::RECONNECT_ICE_SERVER;
pub use question::{Connections, Question, Reply};

impl Sockets {
    /// Notifies these connections; returns how many.
    pub(crate) fn reconnect_members(
        &mut self,
        books: &mut Books,
        members: Vec<SessionKey>,
        at: Moment,
    ) -> Reply {
        let notified = members.into_iter();
        let notified = notified.filter(|key| self.reconnect(books, *key, at));
        Reply::Reconnected(notified.count() as u64, None)
    }

    /// Notifies connections from this place of the table on, as many as a step may.
    pub(crate) fn reconnect_some(&mut self, books: &mut Books, from: usize, at: Moment) -> Reply {
        let slots = self.places();
        let end = from.saturating_add(INSPECTED_SLOTS_PER_STEP).min(slots);
        let (mut notified, mut next) = (0, from);
        while next < end && notified < RECONNECTS_PER_STEP {
            let session = self.session_at(next);
            notified += usize::from(session.is_some_and(|key| self.reconnect(books, key, at)));
            next += 1;
        }
        Reply::Reconnected(notified as u64, (next < slots).then_some(next))
    }

    /// Notifies one connection, or closes it to come back; false when it is no current one, or does not read.
    ///
    /// Each connection that comes back costs up to four calls and an upgrade, so they are closed one after the other,
    /// [`RECALL_STEP_MS`](crate::limits::recheck::RECALL_STEP_MS) apart.
    pub(crate) fn reconnect(&mut self, books: &mut Books, key: SessionKey, at: Moment) -> bool {
        let has_room = self.has_control_room(books, key);
        let Some(web_socket) = self.web_socket(key).filter(|it| !it.superseded) else {
            return false;
        };
        if web_socket.takes_notices() {
            if has_room {
                self.push_control(books, key, |out| {
                    out.extend_from_slice(RECONNECT_ICE_SERVER)
                });
            }
            return has_room;
        }
        let moment = self.next_recall(at.now);
        if let Some(web_socket) = self.web_socket(key) {
            web_socket.recall(moment);
        }
        self.arm_open(key, at.now);
        true
    }
}

impl Directory {
    /// The connections of a channel, superseded ones included; `None` when it does not live here.
    pub(crate) fn members_of(&self, identity: &Identity) -> Option<Vec<SessionKey>> {
        Some(self.members(self.key_of(identity)?))
    }
}

/// Ends some connections of a channel; returns how many.
pub(crate) fn disconnect(
    sockets: &Sockets,
    directory: &Directory,
    todo: &mut TodoList,
    identity: &Identity,
    which: &Connections,
) -> Option<u64> {
    let mut meant = directory.members_of(identity)?;
    meant.retain(|key| {
        let session = sockets.session(*key);
        let role = session
            .and_then(|session| session.open())
            .map(|it| &it.role);
        role.is_some_and(|role| match which {
            Connections::All => true,
            Connections::Masters => role.client_id().is_none(),
            Connections::Viewers => role.client_id().is_some(),
            Connections::Viewer(id) => role.client_id() == Some(&**id),
        })
    });
    let closed = meant.len() as u64;
    todo.each(Each::close(meant, EndReason::Operator));
    Some(closed)
}
