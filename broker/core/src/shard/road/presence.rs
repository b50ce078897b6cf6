//! PRESENCE: a channel's viewers that ask for it learn whether its master is there. See codec/PROTOCOL.md, PRES. Beside
//! the road: no message waits for one, and one that finds no room is left out.

use crate::id::{ChannelKey, SessionKey};
use crate::presence::{MasterState, VIEWERS_TOLD_PER_TURN};
use crate::session::{Session, WebSocket};
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Wall};
use codec::signal::Presence;

/// A viewer has its place, or has it again: if it asks for it, it gets the present state.
pub(in crate::shard) fn greet(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    (channel, viewer): (ChannelKey, SessionKey),
    at: Moment,
) {
    let asks = |session: &Session| session.open().is_some_and(WebSocket::gets_presence);
    if !directory.tells_viewers(channel) || !sockets.session(viewer).is_some_and(asks) {
        return;
    }
    let master = directory.channel(channel).and_then(|it| it.live());
    let master = master.and_then(|live| live.members.master());
    let master = master.map(|master| {
        let opened = sockets.session(master).and_then(Session::open);
        let for_ms = opened.map_or(0, |open| at.now.since(open.opened()));
        Wall(at.wall.0.saturating_sub(for_ms))
    });
    let state = directory.state_for_viewer(channel, master, at);
    if let Some(epoch) = directory.epoch_for_viewers(channel) {
        sockets.tell_viewer(books, viewer, message(state, epoch));
    }
}

/// Tells viewers what has changed, as many as a turn has room for.
pub(in crate::shard) fn tell_viewers(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    at: Moment,
) {
    let mut room = VIEWERS_TOLD_PER_TURN;
    while room > 0 {
        let Some(round) = directory.take_round(at, room) else {
            return;
        };
        room -= round.viewers.len().max(1);
        let Some(epoch) = directory.epoch_for_viewers(round.channel) else {
            continue;
        };
        let message = message(round.state, epoch);
        for viewer in round.viewers {
            sockets.tell_viewer(books, viewer, message);
        }
    }
}

fn message(state: MasterState, epoch: u64) -> Presence {
    Presence {
        master: state.there,
        since_ms: state.since.map(|since| since.0),
        epoch,
        sequence: state.sequence,
    }
}

impl Sockets {
    /// Tells a viewer, if it asks for it and takes what it is sent.
    fn tell_viewer(&mut self, books: &mut Books, viewer: SessionKey, message: Presence) {
        let takes = |session: &Session| {
            !session.behind && session.open().is_some_and(WebSocket::gets_presence)
        };
        if self.session(viewer).is_some_and(takes) && self.has_control_room(books, viewer) {
            self.push_control(books, viewer, |out| message.write(out));
        }
    }
}
