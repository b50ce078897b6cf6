//! Sessions without a connection: streams of links, of clients that are connected to other nodes.

use crate::edge::io::Io;
use crate::edge::sessions::Sessions;
use crate::edge::streams::{Served, wire::Local};
use broker_core::address_shares::Origin;
use broker_core::cluster::link::{Ending, Event};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Intake, Machine, Peer, TurnedAway};
use codec::link::{Client, How, Kind};

impl<M: Machine> Sessions<M> {
    /// A client of another node begins.
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
        self.machine.comes_by_link(session);
        if client.kind != Kind::Upgrade {
            self.machine.brings_one_call(session);
        }
        self.drain(io);
        if peer.tls {
            self.feed(Input::Secured { session }, io);
        }
    }

    /// Something happened to the stream of a session.
    pub(crate) fn session_event(&mut self, session: SessionKey, event: Event, io: &mut Io) {
        match event {
            Event::Inbox(_, bytes) => self.stream_came(session, bytes, io),
            Event::Room(_) => self.streams.touch_session(session),
            Event::Confirmed(_, it) => {
                self.confirmed(session, it.unconfirmed, it.round_trip_ms, io)
            }
            Event::Ended(_, Ending::Left(_) | Ending::Slow) => {
                let served = self.streams.sessions.get_mut(&session);
                let is_first = served.is_some_and(|it| !std::mem::replace(&mut it.is_ended, true));
                if is_first {
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

    /// Gives a session the next bytes of its client, unless it has no room for more.
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

    /// A session that the machine has let go takes no more.
    fn drop_inbox(&mut self, session: SessionKey) {
        if let Some((link, id)) = self.streams.link_of(session) {
            link.took(id, link.inbox(id).len());
        }
    }

    fn take_inbox(&mut self, session: SessionKey, most: usize, io: &mut Io) {
        let Some((link, id)) = self.streams.link_of(session) else {
            return;
        };
        let mut plain = std::mem::take(&mut io.plain);
        let inbox = link.inbox(id);
        plain.extend_from_slice(inbox.get(..most.min(inbox.len())).unwrap_or_default());
        let bytes = plain.len();
        if bytes > 0 {
            let received = Input::Received {
                session,
                bytes: &mut plain,
            };
            self.machine.handle(received, io.turn.at());
        }
        plain.clear();
        io.plain = plain;
        self.drain(io);
        if let Some((link, id)) = self.streams.link_of(session) {
            link.took(id, bytes);
        }
    }

    /// Gives the stream of a session what that has to say, and its end.
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
        let served = self.streams.sessions.get(&session);
        let is_closing = served.is_some_and(|it| it.is_closing);
        // A session that is closed without a word lets the front ask the next owner.
        let how = match served.is_some_and(|it| it.may_be_repeated) {
            true => How::NotBegun,
            false => How::Finish,
        };
        let is_flushed = self.machine.unsent(session).is_empty();
        if let Some((link, id)) = self.streams.link_of(session)
            && is_closing
            && is_flushed
        {
            link.end(id, how);
        }
        self.streams.touch(place);
    }

    /// The machine closes a session. False when it is no stream.
    pub(crate) fn close_stream(&mut self, session: SessionKey) -> bool {
        let Some(served) = self.streams.sessions.get_mut(&session) else {
            return false;
        };
        served.is_closing = true;
        self.streams.touch_session(session);
        true
    }

    /// The machine ends a session at once. False when it is no stream.
    pub(crate) fn abort_stream(&mut self, session: SessionKey) -> bool {
        let Some(served) = self.streams.sessions.get_mut(&session) else {
            return false;
        };
        served.is_closing = true;
        let (link, id) = (served.link, served.id);
        let how = match served.may_be_repeated {
            true => How::NotBegun,
            false => How::Cut(0),
        };
        self.end_stream(link, id, how);
        true
    }

    fn end_stream(&mut self, place: u32, id: u32, how: How) {
        if let Some(link) = self.streams.link(place) {
            link.end(id, how);
        }
        self.streams.touch(place);
    }
}
