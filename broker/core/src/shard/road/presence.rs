//! PRESENCE: a channel's viewers that ask for it learn whether its master is there. See codec/PROTOCOL.md, PRES. Beside
//! the road: no message waits for one, and one that finds no room is left out.

use crate::id::{ChannelKey, SessionKey};
use crate::presence::{MasterState, VIEWERS_TOLD_PER_TURN};
use crate::session::Session;
use crate::session::web_socket::WebSocket;
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Wall};
use codec::signal::Presence;

/// The present state for a viewer that has its place, or has it again, if it asks for it.
pub(crate) fn greeting(
    sockets: &Sockets,
    directory: &mut Directory,
    (channel, viewer): (ChannelKey, SessionKey),
    at: Moment,
) -> Option<Presence> {
    let asks = |session: &Session| session.open().is_some_and(WebSocket::gets_presence);
    if !directory.tells_viewers(channel) || !sockets.session(viewer).is_some_and(asks) {
        return None;
    }
    let master = directory.channel(channel).and_then(|it| it.live());
    let master = master.and_then(|live| live.members.master());
    let master = master.map(|master| {
        let opened = sockets.session(master).and_then(Session::open);
        let for_ms = opened.map_or(0, |open| at.now.since(open.opened()));
        Wall(at.wall.0.saturating_sub(for_ms))
    });
    let state = directory.state_for_viewer(channel, master, at);
    let epoch = directory.epoch_for_viewers(channel)?;
    Some(message(state, epoch))
}

impl Directory {
    /// The states that viewers are to be sent now, with as many of them as a turn has room for.
    pub(crate) fn states_for_viewers(&mut self, at: Moment) -> Vec<(Presence, Vec<SessionKey>)> {
        let (mut states, mut room) = (Vec::new(), VIEWERS_TOLD_PER_TURN);
        while room > 0
            && let Some(round) = self.take_round(at, room)
        {
            room -= round.viewers.len().max(1);
            if let Some(epoch) = self.epoch_for_viewers(round.channel) {
                states.push((message(round.state, epoch), round.viewers));
            }
        }
        states
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
    pub(crate) fn tell_viewer(&mut self, books: &mut Books, viewer: SessionKey, message: Presence) {
        let takes = |session: &Session| {
            !session.behind && session.open().is_some_and(WebSocket::gets_presence)
        };
        if self.session(viewer).is_some_and(takes) && self.has_control_room(books, viewer) {
            self.push_control(books, viewer, |out| message.write(out));
        }
    }
}
