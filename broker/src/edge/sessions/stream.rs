//! Sessions on link streams, for clients that are connected to other nodes.

use crate::edge::io::Io;
use crate::edge::sessions::Sessions;
use crate::edge::streams::wire::Local;
use crate::edge::table::{LinkStream, Transport};
use broker_core::address_shares::Origin;
use broker_core::cluster::link::{Ending, Event};
use broker_core::id::SessionKey;
use broker_core::machine::{Input, Intake, Machine, Peer, TurnedAway};
use codec::link::{Client, How, Kind};

impl<M: Machine> Sessions<M> {
    /// Opens a session for a client that is connected to another node.
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
        let is_upgrade = client.kind == Kind::Upgrade;
        let stream = Transport::Stream(LinkStream::new(session, link, id, is_upgrade));
        self.connections.table.insert(session, stream);
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
        let Some(stream) = self.connections.table.stream(session) else {
            return;
        };
        match event {
            Event::Inbox(_, bytes) => self.read_stream(session, bytes, io),
            Event::Room(_) => self.connections.touch(session),
            Event::Confirmed(_, unconfirmed, round_trip_ms) => {
                stream.round_trip_ms = round_trip_ms;
                let bytes = u32::try_from(unconfirmed).unwrap_or(u32::MAX);
                self.tell_unacknowledged(session, bytes, round_trip_ms, io);
                self.drain(io);
            }
            Event::Ended(_, Ending::Left(_) | Ending::Slow) => {
                if std::mem::replace(&mut stream.ended, true) {
                    return;
                }
                let (link, round_trip_ms) = (stream.link, stream.round_trip_ms);
                // If the node at the other end is shutting down, it still delivers the bytes passed to it to the
                // client. These bytes must not be sent again on the client's next connection.
                if self
                    .streams
                    .link(link)
                    .is_some_and(|link| link.is_leaving())
                {
                    self.tell_unacknowledged(session, 0, round_trip_ms, io);
                }
                self.feed(Input::Ended { session }, io);
            }
            Event::Gone(_, unconfirmed) => {
                drop(self.connections.table.remove(session));
                let gone = Input::Gone {
                    session,
                    unacknowledged: u32::try_from(unconfirmed).unwrap_or(u32::MAX),
                };
                self.feed(gone, io);
            }
            Event::Opened(..) | Event::Ask(_) | Event::Ended(..) | Event::Away | Event::Dead(_) => {
                debug_assert!(false, "of a front, or of the link");
            }
        }
    }

    /// Passes up to `most` bytes from a client to its session, unless the state machine has paused the session. If it
    /// has released the session, discards the bytes.
    fn read_stream(&mut self, session: SessionKey, most: usize, io: &mut Io) {
        let is_paused = self.machine.intake(session) == Intake::Paused;
        let Some(stream) = self.connections.table.stream(session) else {
            return;
        };
        stream.is_paused |= is_paused && !stream.is_closing;
        let (place, id, is_closing) = (stream.link, stream.id, stream.is_closing);
        let Some(link) = self.streams.link(place).filter(|_| !stream.is_paused) else {
            return;
        };
        let inbox = link.inbox(id);
        let bytes = inbox.get(..most.min(inbox.len())).unwrap_or_default();
        let taken = bytes.len();
        if taken > 0 && !is_closing {
            io.plain.extend_from_slice(bytes);
            let bytes = &mut io.plain;
            let received = Input::Received { session, bytes };
            self.machine.handle(received, io.turn.at());
            io.plain.clear();
            self.drain(io);
        }
        if let Some(link) = self.streams.link(place) {
            link.streams.took(id, taken);
        }
    }

    /// Passes a session's output to its stream, and then ends the stream if the session is ending.
    pub(crate) fn flush_stream(&mut self, session: SessionKey, io: &mut Io) {
        let Some(stream) = self.connections.table.stream(session) else {
            return;
        };
        stream.dirty = false;
        let (place, id) = (stream.link, stream.id);
        if std::mem::take(&mut stream.is_paused) || stream.is_closing {
            self.read_stream(session, usize::MAX, io);
        }
        while let Some(link) = self.streams.link(place) {
            let unsent = self.machine.unsent(session);
            let bytes = unsent.len().min(link.streams.room(id));
            let Some(piece) = unsent.get(..bytes).filter(|piece| !piece.is_empty()) else {
                break;
            };
            link.streams.push(id, piece, bytes == unsent.len());
            if let Some(stream) = self.connections.table.stream(session) {
                stream.may_be_repeated = false;
            }
            self.report_sent(session, (bytes, bytes), io);
        }
        if let Some(stream) = self.connections.table.stream(session)
            && stream.is_closing
            && self.machine.unsent(session).is_empty()
        {
            let how = stream.end(How::Finish);
            self.end_stream(place, id, how);
        }
        self.streams.wires.touch(place);
    }

    /// Aborts a session's stream at the state machine's request.
    pub(crate) fn abort_stream(&mut self, session: SessionKey) {
        if let Some(stream) = self.connections.table.stream(session) {
            stream.is_closing = true;
            let (link, id, how) = (stream.link, stream.id, stream.end(How::Cut(0)));
            self.end_stream(link, id, how);
        }
    }

    fn end_stream(&mut self, place: u32, id: u32, how: How) {
        if let Some(link) = self.streams.link(place) {
            link.streams.end(id, how);
        }
        self.streams.wires.touch(place);
    }
}
