//! Clients whose channels are on other nodes. Each one is moved to a stream on a link. When the stream ends, the client
//! is returned to the state machine or closed.

use crate::edge::connection::{Receive, Stage, has_left, widen};
use crate::edge::io::Io;
use crate::edge::limits::CLIENTS_WAITING_MAX;
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::sessions::Sessions;
use crate::edge::streams::splice::{CloseMode, On, Splice};
use crate::edge::streams::{Route, wire::Local};
use crate::edge::tls::Read;
use broker_core::address_shares::Origin;
use broker_core::cluster::link::Ending;
use broker_core::id::{NodeId, SessionKey};
use broker_core::machine::{FailedPass, Input, Machine, PassFailure};
use codec::link::{Client, How};
use ring::Received;
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::AsFd;

/// Collects the clients of a failed link, so that they are closed one after another. `None` if the link has not failed.
pub(crate) type Doomed<'a> = Option<&'a mut Vec<u32>>;

impl<M: Machine> Sessions<M> {
    /// Passes a session to another node. The client waits for a link to that node, and then gets a stream on it.
    pub(crate) fn pass_on(&mut self, session: SessionKey, node: NodeId, io: &mut Io) {
        let Some((connection, parcel, sent)) = self.depart(session, io) else {
            return;
        };
        let (bytes, origin) = (sent.bytes.len(), Origin::of(sent.peer.remote.ip()));
        let home = sent.home.filter(|_| self.waiting_room(origin, bytes, io));
        let streams = &mut self.streams;
        let place = home.and_then(|home| Some((home, streams.clients.claim()?)));
        let Some((home, place)) = place else {
            let failed = FailedPass {
                node,
                why: PassFailure::NoRoom,
                unsent: sent.bytes,
            };
            return self.return_client(connection, parcel, failed, io);
        };
        io.counts.link_clients_opened += 1;
        io.counts.link_clients = streams.clients.len() as u64;
        let now = io.turn.at().now;
        streams.waiting_bytes += bytes;
        streams.waiting.enter(place, origin, now);
        let client = Splice::new(connection, parcel, sent, node, home, now);
        streams.clients.put(place, client);
        self.open_stream(place, io);
    }

    /// Returns whether another request may wait for a link. Evicts a waiting request if necessary.
    fn waiting_room(&mut self, origin: Origin, bytes: usize, io: &mut Io) -> bool {
        loop {
            let streams = &mut self.streams;
            if streams.waiting.len() < CLIENTS_WAITING_MAX
                && streams.waiting_bytes + bytes <= io.settings.link_request_bytes
            {
                return true;
            }
            let victim = streams.waiting.victim(origin, io.turn.at().now);
            let Some(victim) = victim else {
                return false;
            };
            self.lose_client(victim, PassFailure::NoRoom, io);
        }
    }

    /// Opens a stream for a waiting client, if the link is available.
    pub(crate) fn open_stream(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.streams.clients.get(place) else {
            return;
        };
        if !matches!(client.on, On::Waiting(_)) {
            return;
        }
        // A client that has already left must not displace one that is still connected. Calls are exempt, since their
        // callers may send EOF after the request.
        if !client.is_call() && has_left(&client.connection.socket) {
            return self.finish_client(place, CloseMode::Cut { reset: false }, io);
        }
        let (node, slot) = (client.node, client.home.slot);
        let link = match self.streams.route(node, slot, io) {
            Route::Ready(link) => link,
            Route::Awaited => return self.streams.watch_client(place, io),
            Route::None(why) => return self.lose_client(place, why, io),
        };
        let parcel = self.streams.clients.get(place);
        let parcel = parcel.and_then(|client| client.parcel.as_ref());
        let at = io.turn.at();
        let enters = parcel.is_some_and(|it| self.machine.joins_link(it, (place, node), at));
        self.drain(io);
        if !enters {
            return self.lose_client(place, PassFailure::NoRoom, io);
        }
        let request = self.streams.take_request(place);
        io.counts.link_bytes_to_owner += request.len() as u64;
        let streams = &mut self.streams;
        let Some(client) = streams.clients.get_mut(place) else {
            return;
        };
        let (peer, account) = (&client.peer, client.home.account);
        let described = Client {
            kind: client.kind,
            address: peer.remote,
            listener: peer.listener,
            tls: peer.tls,
            server_name: "".into(),
            certificate: None,
        };
        let wire = streams.wires.get_mut(link);
        let open = wire.and_then(|wire| {
            let id = wire.link()?.open(&described, request, account).ok()?;
            wire.locals.insert(id, Local::Client(place));
            Some(id)
        });
        let Some(id) = open else {
            return self.finish_client(place, CloseMode::Back(PassFailure::Closed, Vec::new()), io);
        };
        (client.on, client.since) = (On::Link(link, id), at.now);
        if !client.is_call() {
            widen(&client.connection.socket);
        }
        streams.wires.touch(link);
        streams.watch_client(place, io);
    }

    /// Handles the completion of a client's receive.
    pub(crate) fn client_received(&mut self, place: u32, received: Received, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return io.drop_received(received);
        };
        let connection = &mut client.connection;
        connection.receive = Receive::Idle;
        match received {
            Received::Bytes(lent) => {
                io.count_received(lent.len());
                let read = connection.read(lent, io);
                let is_sound = connection.charge(io);
                io.counts.link_bytes_to_owner += io.plain.len() as u64;
                match (&mut client.close, link) {
                    // The client sent these bytes after the request that is being retried.
                    (Some(CloseMode::Back(_, unsent)), _) if !unsent.is_empty() => {
                        unsent.extend_from_slice(&io.plain);
                    }
                    (None, Some((link, id))) if !client.is_leaving => {
                        client.unread.extend_from_slice(&io.plain);
                        client.give_unread(link, id);
                    }
                    (_, _) => {}
                }
                io.plain.clear();
                match read {
                    Read::More if is_sound => {}
                    Read::End if is_sound => self.client_ended(place, io),
                    Read::More | Read::End | Read::Failed => {
                        self.finish_client(place, CloseMode::Cut { reset: true }, io);
                    }
                }
            }
            Received::End => self.client_ended(place, io),
            Received::Failed(_) => self.finish_client(place, CloseMode::Cut { reset: true }, io),
            Received::NoBuffers => io.counts.no_buffers += 1,
            Received::Cancelled => {}
        }
        self.streams.clients.touch(place);
    }

    /// Handles EOF from a client.
    fn client_ended(&mut self, place: u32, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        client.connection.ended = true;
        if let Some((link, id)) = link {
            // This report must precede any further sends: once the client has reset the connection, the kernel reports
            // that nothing is unacknowledged.
            client.answer_kernel(link, id);
            client.give_unread(link, id);
        }
        if matches!(client.close, Some(CloseMode::Lost(_))) {
            self.finish_client(place, CloseMode::Cut { reset: false }, io);
        }
    }

    /// Handles the completion of a client's send.
    pub(crate) fn client_sent(&mut self, place: u32, flight: Vec<u8>, on_wire: usize, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return debug_assert!(false, "a client outlives its send");
        };
        let (plain, is_whole) = client.connection.landed(flight, on_wire, io);
        if let Some((link, id)) = link {
            link.streams.sent(id, plain, on_wire, io.turn.at().now);
        }
        if !is_whole {
            return self.finish_client(place, CloseMode::Cut { reset: true }, io);
        }
        self.streams.clients.touch(place);
    }

    /// Exchanges bytes between a client and its stream. Also handles the client's deadline, and the end of its
    /// connection.
    pub(crate) fn serve_client(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.streams.clients.get_mut(place) else {
            return;
        };
        client.connection.dirty = false;
        if matches!(client.close, Some(CloseMode::Cut { .. })) {
            return self.close_client(place, io);
        }
        if client.due(io) <= io.turn.at().now {
            io.counts.overdue += 1;
            let has_late_record = client.connection.record_due(io) <= io.turn.at().now;
            if client.close.is_none() && !has_late_record {
                return self.lose_client(place, PassFailure::Timeout, io);
            }
            let is_shut = matches!(client.close, Some(CloseMode::Linger));
            let reset = !is_shut && !has_late_record;
            return self.finish_client(place, CloseMode::Cut { reset }, io);
        }
        if !self.streams.flush_client(place, io) {
            return self.finish_client(place, CloseMode::Cut { reset: true }, io);
        }
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        match client.close {
            None => {
                if let Some((link, id)) = link {
                    client.give_unread(link, id);
                }
            }
            Some(CloseMode::Back(..)) => return self.bring_back(place, io),
            Some(CloseMode::Finish) if client.is_call() => return self.bring_back(place, io),
            Some(CloseMode::Close(_) | CloseMode::Finish) if client.connection.sending => {}
            Some(CloseMode::Close(_) | CloseMode::Finish) => {
                if client.say_end(place, io) {
                    (client.close, client.since) = (Some(CloseMode::Linger), io.turn.at().now);
                    let _ = SockRef::from(&client.connection.socket).shutdown(Shutdown::Write);
                }
                self.streams.clients.touch(place);
            }
            Some(CloseMode::Linger) if client.connection.ended => {
                return self.close_client(place, io);
            }
            Some(CloseMode::Lost(_) | CloseMode::Linger | CloseMode::Cut { .. }) => {}
        }
        self.streams.watch_client(place, io);
    }

    /// Handles the end of a client's stream, once all of the stream's bytes have been delivered. If the link has failed
    /// after the owner had responded to the client, adds the client to `lost`.
    pub(crate) fn end_client(&mut self, place: u32, ending: Ending, lost: Doomed<'_>, io: &mut Io) {
        let Some(client) = self.streams.clients.get(place) else {
            return;
        };
        let waits = client.is_answered() && client.close.is_none() && !io.stopping;
        let lost = lost.filter(|_| waits);
        let why = client.why.unwrap_or(PassFailure::Closed);
        let close = match ending {
            Ending::Close(code) if lost.is_some() => CloseMode::Lost(Some(code)),
            Ending::Reset if lost.is_some() => CloseMode::Lost(None),
            Ending::Repeat(request) => CloseMode::Back(why, request),
            Ending::Unavailable => CloseMode::Back(why, Vec::new()),
            Ending::Close(code) => CloseMode::Close(code),
            Ending::AllSent => CloseMode::Finish,
            Ending::Slow => {
                io.counts.evicted += 1;
                CloseMode::Cut { reset: true }
            }
            Ending::Reset | Ending::Left(_) => CloseMode::Cut { reset: true },
        };
        let is_lost = matches!(close, CloseMode::Lost(_));
        self.finish_client(place, close, io);
        if let Some(lost) = lost.filter(|_| is_lost) {
            lost.push(place);
        }
    }

    /// Closes a client as specified by `close`, unless its connection is already being aborted.
    pub(crate) fn finish_client(&mut self, place: u32, mut close: CloseMode, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        if matches!(client.close, Some(CloseMode::Cut { .. })) {
            return self.streams.clients.touch(place);
        }
        if let CloseMode::Back(_, request) = &mut close
            && !request.is_empty()
        {
            request.append(&mut client.unread);
        }
        if io.stopping || (client.connection.sending && matches!(close, CloseMode::Back(..))) {
            close = CloseMode::Cut { reset: false };
        }
        let is_answer = client.is_call() && matches!(close, CloseMode::Finish);
        if is_answer && client.answer.is_empty() {
            close = CloseMode::Back(PassFailure::Closed, Vec::new());
        }
        if let Some((link, id)) = link {
            match close {
                CloseMode::Finish if is_answer => link.streams.end(id, How::Fin),
                CloseMode::Close(_)
                | CloseMode::Finish
                | CloseMode::Lost(_)
                | CloseMode::Linger => {}
                CloseMode::Cut { .. } | CloseMode::Back(..) => client.reset_stream(link, id),
            }
        }
        let connection = &mut client.connection;
        if let CloseMode::Cut { reset } = close {
            connection.shut(reset);
            if reset {
                connection.stage = Stage::Shut;
            }
        } else if (is_answer || matches!(close, CloseMode::Back(..))) && connection.receive.armed()
        {
            let key = link_key(LinkEnd::Client(place));
            io.ring.cancel_receive(connection.socket.as_fd(), key);
        }
        (client.close, client.since) = (Some(close), io.turn.at().now);
        self.streams.clients.touch(place);
    }

    /// Returns a client to the state machine once no operation is armed on its connection. If the client made a call,
    /// passes on the response received so far.
    fn bring_back(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.remove_client(place, io) else {
            return;
        };
        let connection = client.connection;
        match (client.parcel, client.close) {
            (Some(parcel), Some(CloseMode::Back(why, unsent))) => {
                let node = client.node;
                let failed = FailedPass { node, why, unsent };
                self.return_client(connection, parcel, failed, io);
            }
            (Some(parcel), Some(CloseMode::Finish)) => {
                let (answer, rest) = (&client.answer, client.unread);
                let session = self.machine.answered(parcel, answer, rest, io.turn.at());
                let has_ended = connection.ended;
                self.take_back(session, connection, io);
                if has_ended {
                    self.feed(Input::Ended { session }, io);
                }
            }
            (_, _) => connection.close(io),
        }
    }

    /// Closes a client's connection once the kernel has no pending operations on it.
    fn close_client(&mut self, place: u32, io: &mut Io) {
        if let Some((client, Some((link, id)))) = self.streams.client(place)
            && client.connection.at_rest()
        {
            client.reset_stream(link, id);
        }
        if let Some(client) = self.remove_client(place, io) {
            client.connection.close(io);
        }
    }

    /// Removes a client once the kernel has no pending operations on its connection.
    fn remove_client(&mut self, place: u32, io: &mut Io) -> Option<Splice<M>> {
        let streams = &mut self.streams;
        let client = streams.clients.get(place);
        client.filter(|client| client.connection.at_rest())?;
        streams.take_request(place);
        let client = streams.clients.remove(place)?;
        if let On::Link(link, id) = client.on {
            streams.leave_link(link, id);
            streams.wires.touch(link);
        }
        io.counts.link_clients = streams.clients.len() as u64;
        self.machine.left_link(place);
        Some(client)
    }

    /// Detaches a client from an owner that can no longer serve it. If the owner has not responded yet, the client
    /// returns to the state machine. Otherwise, its WebSocket is closed, with a close frame if possible.
    pub(crate) fn lose_client(&mut self, place: u32, why: PassFailure, io: &mut Io) {
        if let Some((client, Some((link, id)))) = self.streams.client(place) {
            client.why.get_or_insert(why);
            return link.streams.lose(id);
        }
        let Some(client) = self.streams.clients.get_mut(place) else {
            return;
        };
        let close = if matches!(client.on, On::Waiting(_)) {
            CloseMode::Back(why, self.streams.take_request(place))
        } else if let Some(CloseMode::Lost(code)) = client.close {
            code.map_or(CloseMode::Cut { reset: true }, CloseMode::Close)
        } else {
            return;
        };
        self.finish_client(place, close, io);
    }

    /// Evicts a client to make room for another connection.
    pub(crate) fn displace_client(&mut self, place: u32, io: &mut Io) {
        io.counts.evicted += 1;
        let client = self.streams.clients.get(place);
        if client.is_some_and(Splice::is_answered) {
            self.finish_client(place, CloseMode::Cut { reset: false }, io);
        } else {
            self.lose_client(place, PassFailure::NoRoom, io);
        }
    }

    /// Detaches a client because this node is shutting down. Does nothing for a call, whose response is still awaited.
    /// If the owner has not responded to an upgrade, the client returns to the state machine. Otherwise, the client
    /// still receives the owner's remaining bytes.
    pub(crate) fn leave_with_client(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.streams.clients.get_mut(place) else {
            return;
        };
        if client.is_call() {
            return; // the response is still awaited
        }
        if !client.is_answered() {
            return self.lose_client(place, PassFailure::Drain, io);
        }
        if let Some((client, Some((link, id)))) = self.streams.client(place)
            && client.close.is_none()
            && !client.is_leaving
        {
            (client.is_leaving, client.since) = (true, io.turn.at().now);
            client.answer_kernel(link, id);
            link.leave(); // informs the owner that the client still reads
            link.streams.end(id, How::Fin);
        }
        self.streams.clients.touch(place);
    }
}
