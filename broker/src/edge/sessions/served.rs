//! Sessions without a connection of their own: streams on links, for clients connected to other nodes.

use crate::edge::io::Io;
use crate::edge::sessions::Sessions;
use crate::edge::streams::{Served, wire::Local};
use broker_core::address_shares::Origin;
use broker_core::cluster::link::{Ending, Event};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Intake, Machine, Peer, TurnedAway};
use codec::link::{Client, How, Kind};

impl<M: Machine> Sessions<M> {
    /// Opens a session for another node's client.
    pub(crate) fn stream_opened(&mut self, link: u32, id: u32, client: &Client, io: &mut Io) {
        let at = io.turn.at();
        let peer = Peer {
            remote: client.address,
            listener: client.listener,
            tls: client.tls,
            inner: true,
        };
        let origin = Origin::of(peer.remote.ip());
        let full = !self.machine.has_room();
        let room = !full || self.connections.make_room(origin, io);
        let session = if room {
            self.open(peer, full, at)
        } else {
            None
        };
        let Some(session) = session else {
            io.counts.accept_errors.limit += 1;
            self.machine
                .turned_away(peer.remote, TurnedAway::NoRoom, at);
            return self.end_stream(link, id, How::NotBegun);
        };
        io.counts.inner_accepted += 1;
        let served = Served {
            link,
            id,
            is_touched: false,
            is_closing: false,
            is_paused: false,
            may_be_repeated: client.kind == Kind::Upgrade,
            is_ended: false,
            round_trip_ms: 0,
        };
        self.streams.sessions.insert(session, served);
        if let Some(wire) = self.streams.wires.get_mut(link) {
            wire.locals.insert(id, Local::Session(session));
        }
        self.machine.comes_by_link(session, client.kind);
        self.drain(io);
        if peer.tls {
            self.feed(Input::Secured { session }, io);
        }
    }

    /// Handles an event on a session's stream.
    pub(crate) fn session_event(&mut self, session: SessionKey, event: Event, io: &mut Io) {
        match event {
            Event::Inbox(_, bytes) => self.stream_came(session, bytes, io),
            Event::Room(_) => drop(self.streams.touch_session(session)),
            Event::Confirmed(_, it) => {
                if let Some(served) = self.streams.sessions.get_mut(&session) {
                    served.round_trip_ms = it.round_trip_ms;
                }
                let told = Input::Unacknowledged {
                    session,
                    bytes: u32::try_from(it.unconfirmed).unwrap_or(u32::MAX),
                    round_trip_ms: it.round_trip_ms,
                };
                self.feed(told, io);
            }
            Event::Ended(_, Ending::Left(_) | Ending::Slow) => {
                let served = self.streams.sessions.get_mut(&session);
                let is_first = served.is_some_and(|it| !std::mem::replace(&mut it.is_ended, true));
                if is_first {
                    self.confirm_to_leaving_node(session, io);
                    self.feed(Input::Ended { session }, io);
                }
            }
            Event::Gone(_, unconfirmed) => {
                self.streams.sessions.remove(&session);
                let unacknowledged = u32::try_from(unconfirmed).unwrap_or(u32::MAX);
                let gone = Input::Gone {
                    session,
                    unacknowledged,
                };
                self.feed(gone, io);
            }
            Event::Opened(..) | Event::Ask(_) | Event::Ended(..) | Event::Away | Event::Dead(_) => {
                debug_assert!(false, "of a front, or of the link");
            }
        }
    }

    /// Confirms bytes passed to a node that is shutting down. The node's client will still read them, so they must not
    /// be sent again on its next connection.
    fn confirm_to_leaving_node(&mut self, session: SessionKey, io: &mut Io) {
        let link = self.streams.link_of(session);
        if link.is_some_and(|(link, _)| link.is_leaving()) {
            let round_trip_ms =
                (self.streams.sessions.get(&session)).map_or(0, |it| it.round_trip_ms);
            let confirmed = Input::Unacknowledged {
                session,
                bytes: 0,
                round_trip_ms,
            };
            self.feed(confirmed, io);
        }
    }

    /// Passes a client's next bytes to its session, unless the session is paused.
    fn stream_came(&mut self, session: SessionKey, bytes: usize, io: &mut Io) {
        let is_paused = self.machine.intake(session) == Intake::Paused;
        let Some(served) = self.streams.sessions.get_mut(&session) else {
            return;
        };
        served.is_paused |= is_paused;
        if !served.is_paused && !served.is_closing {
            self.take_inbox(session, bytes, io);
        } else if served.is_closing {
            self.drop_inbox(session);
        }
    }

    /// Discards input received for a session that the machine has released.
    fn drop_inbox(&mut self, session: SessionKey) {
        if let Some((link, id)) = self.streams.link_of(session) {
            link.took(id, link.inbox(id).len());
        }
    }

    fn take_inbox(&mut self, session: SessionKey, most: usize, io: &mut Io) {
        let Some((link, id)) = self.streams.link_of(session) else {
            return;
        };
        let inbox = link.inbox(id);
        let inbox = inbox.get(..most.min(inbox.len())).unwrap_or_default();
        io.plain.extend_from_slice(inbox);
        let taken = inbox.len();
        if taken > 0 {
            let bytes = &mut io.plain;
            let received = Input::Received { session, bytes };
            self.machine.handle(received, io.turn.at());
        }
        io.plain.clear();
        self.drain(io);
        if let Some((link, id)) = self.streams.link_of(session) {
            link.took(id, taken);
        }
    }

    /// Passes a session's output to its stream, followed by the end of the session.
    pub(crate) fn serve_session(&mut self, session: SessionKey, io: &mut Io) {
        let Some(served) = self.streams.sessions.get_mut(&session) else {
            return;
        };
        served.is_touched = false;
        let place = served.link;
        if served.is_closing {
            self.drop_inbox(session);
        } else if served.is_paused && self.machine.intake(session) != Intake::Paused {
            served.is_paused = false;
            self.take_inbox(session, usize::MAX, io);
        }
        while let Some((link, id)) = self.streams.link_of(session) {
            let unsent = self.machine.unsent(session);
            let bytes = unsent.len().min(link.room(id));
            let Some(piece) = unsent.get(..bytes).filter(|piece| !piece.is_empty()) else {
                break;
            };
            link.push(id, piece, bytes == unsent.len());
            if let Some(served) = self.streams.sessions.get_mut(&session) {
                served.may_be_repeated = false;
            }
            self.report_sent(session, (bytes, bytes), io);
        }
        if let Some(served) = self.streams.sessions.get(&session)
            && served.is_closing
            && self.machine.unsent(session).is_empty()
        {
            let (id, how) = (served.id, served.end(How::Finish));
            self.end_stream(place, id, how);
        }
        self.streams.wires.touch(place);
    }

    /// Closes a session's stream at the machine's request, after its unsent output. Returns `false` if the session is
    /// not on a stream.
    pub(crate) fn close_stream(&mut self, session: SessionKey) -> bool {
        if let Some(served) = self.streams.sessions.get_mut(&session) {
            served.is_closing = true;
        }
        self.streams.touch_session(session)
    }

    /// Aborts a session's stream at the machine's request. Returns `false` if the session is not on a stream.
    pub(crate) fn abort_stream(&mut self, session: SessionKey) -> bool {
        let Some(served) = self.streams.sessions.get_mut(&session) else {
            return false;
        };
        served.is_closing = true;
        let (link, id, how) = (served.link, served.id, served.end(How::Cut(0)));
        self.end_stream(link, id, how);
        true
    }

    fn end_stream(&mut self, place: u32, id: u32, how: How) {
        if let Some(link) = self.streams.link(place) {
            link.end(id, how);
        }
        self.streams.wires.touch(place);
    }
}
