//! Clients whose channels are on other nodes: each is moved to a stream of a link, and returned or closed when the
//! stream ends.

use crate::edge::connection::{Receive, Stage, has_left, widen};
use crate::edge::io::Io;
use crate::edge::limits::CLIENTS_WAITING_MAX;
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::sessions::{Sessions, departed::Departed};
use crate::edge::streams::clients::{Client, Finale, On};
use crate::edge::streams::{Route, wire::Local};
use crate::edge::tls::Read;
use broker_core::address_shares::Origin;
use broker_core::cluster::link::Ending;
use broker_core::id::NodeId;
use broker_core::machine::{FailedPass, Input, Machine, PassFailure};
use codec::link::How;
use ring::Received;
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::AsFd;

impl<M: Machine> Sessions<M> {
    /// Starts a stream for a client.
    pub(crate) fn begin_stream(&mut self, node: NodeId, departed: Departed<M>, io: &mut Io) {
        let Departed {
            connection,
            parcel,
            sent,
        } = departed;
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
        let client = Client::new(connection, parcel, sent, node, home, now);
        streams.clients.put(place, client);
        self.open_stream(place, io);
    }

    /// Whether another request may wait for a link, possibly after evicting one that is already waiting.
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

    /// Opens a stream for a client that is waiting for a link, if the link is available.
    pub(crate) fn open_stream(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.streams.clients.get(place) else {
            return;
        };
        if !matches!(client.on, On::Waiting(_)) {
            return;
        }
        // It would take the place of a connection that is there. Who sends a call may end behind it.
        if !client.is_call() && has_left(&client.connection.socket) {
            return self.finish_client(place, Finale::Cut { reset: false }, io);
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
        let (described, account) = (client.described(), client.home.account);
        let wire = streams.wires.get_mut(link);
        let open = wire.and_then(|wire| {
            let id = wire.link()?.open(&described, request, account).ok()?;
            wire.locals.insert(id, Local::Client(place));
            Some(id)
        });
        let Some(id) = open else {
            return self.finish_client(place, Finale::Back(PassFailure::Closed, Vec::new()), io);
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
        let Some(client) = self.streams.clients.get_mut(place) else {
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
                self.streams.push_up(place, &io.plain);
                io.plain.clear();
                match read {
                    Read::More if is_sound => {}
                    Read::End if is_sound => self.client_ended(place, io),
                    Read::More | Read::End | Read::Failed => {
                        self.finish_client(place, Finale::Cut { reset: true }, io);
                    }
                }
            }
            Received::End => self.client_ended(place, io),
            Received::Failed(_) => self.finish_client(place, Finale::Cut { reset: true }, io),
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
            // Before another byte is sent to it: a kernel that was answered by a reset owes nothing any more.
            client.answer_kernel(link, id);
            client.give_unread(link, id);
        }
        if matches!(client.finale, Some(Finale::Lost(_))) {
            self.finish_client(place, Finale::Cut { reset: false }, io);
        }
    }

    /// Handles the completion of a client's send.
    pub(crate) fn client_sent(&mut self, place: u32, flight: Vec<u8>, on_wire: usize, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return debug_assert!(false, "a client outlives its send");
        };
        let (plain, is_whole) = client.connection.landed(flight, on_wire, io);
        if let Some((link, id)) = link {
            link.sent(id, plain, on_wire, io.turn.at().now);
        }
        if !is_whole {
            return self.finish_client(place, Finale::Cut { reset: true }, io);
        }
        self.streams.clients.touch(place);
    }

    /// Forwards bytes received for a client to it, and handles its end or its deadline.
    pub(crate) fn serve_client(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.streams.clients.get_mut(place) else {
            return;
        };
        client.connection.dirty = false;
        if matches!(client.finale, Some(Finale::Cut { .. })) {
            return self.close_client(place, io);
        }
        if client.due(io) <= io.turn.at().now {
            io.counts.overdue += 1;
            let has_late_record = client.has_late_record(io);
            if client.finale.is_none() && !has_late_record {
                return self.lose_client(place, PassFailure::Timeout, io);
            }
            let is_shut = matches!(client.finale, Some(Finale::Linger));
            let reset = !is_shut && !has_late_record;
            return self.finish_client(place, Finale::Cut { reset }, io);
        }
        if !self.streams.flush_client(place, io) {
            return self.finish_client(place, Finale::Cut { reset: true }, io);
        }
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        match client.finale {
            None => {
                if let Some((link, id)) = link {
                    client.give_unread(link, id);
                }
            }
            Some(Finale::Back(..)) => return self.bring_back(place, io),
            Some(Finale::Finish) if client.is_call() => return self.bring_back(place, io),
            Some(Finale::Close(_) | Finale::Finish) if client.connection.sending => {}
            Some(Finale::Close(_) | Finale::Finish) => {
                if client.say_end(place, io) {
                    (client.finale, client.since) = (Some(Finale::Linger), io.turn.at().now);
                    let _ = SockRef::from(&client.connection.socket).shutdown(Shutdown::Write);
                }
                self.streams.clients.touch(place);
            }
            Some(Finale::Linger) if client.connection.ended => {
                return self.close_client(place, io);
            }
            Some(Finale::Lost(_) | Finale::Linger | Finale::Cut { .. }) => {}
        }
        self.streams.watch_client(place, io);
    }

    /// Handles the end of a client's stream, after all its bytes have been delivered.
    pub(crate) fn client_stream_ended(&mut self, place: u32, ending: Ending, io: &mut Io) {
        let client = self.streams.clients.get(place);
        let why = client.and_then(|client| client.why);
        let why = why.unwrap_or(PassFailure::Closed);
        let finale = match ending {
            Ending::Repeat(request) => Finale::Back(why, request),
            Ending::Unavailable => Finale::Back(why, Vec::new()),
            Ending::Close(code) => Finale::Close(code),
            Ending::AllSent => Finale::Finish,
            Ending::Slow => {
                io.counts.evicted += 1;
                Finale::Cut { reset: true }
            }
            Ending::Reset | Ending::Left(_) => Finale::Cut { reset: true },
        };
        self.finish_client(place, finale, io);
    }

    /// Handles the failure of a client's link. A client whose owner has responded is returned, to be closed later when
    /// its turn comes.
    pub(crate) fn client_link_died(&mut self, place: u32, end: Ending, io: &mut Io) -> Option<u32> {
        let client = self.streams.clients.get_mut(place)?;
        let waits = client.is_answered() && client.finale.is_none() && !io.stopping;
        client.finale = match end {
            Ending::Close(code) if waits => Some(Finale::Lost(Some(code))),
            Ending::Reset if waits => Some(Finale::Lost(None)),
            Ending::Close(_)
            | Ending::Reset
            | Ending::AllSent
            | Ending::Left(_)
            | Ending::Repeat(_)
            | Ending::Unavailable
            | Ending::Slow => {
                self.client_stream_ended(place, end, io);
                return None;
            }
        };
        Some(place)
    }

    /// Handles the removal of a client's stream, which discards any bytes still buffered for the client.
    pub(crate) fn client_stream_gone(&mut self, place: u32, io: &mut Io) {
        if let Some(client) = self.streams.clients.get_mut(place) {
            client.on = On::None;
            if client.finale.is_none() {
                self.finish_client(place, Finale::Cut { reset: true }, io);
            }
        }
    }

    /// Ends a client as `finale` specifies, unless it is already being reset.
    pub(crate) fn finish_client(&mut self, place: u32, mut finale: Finale, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        if matches!(client.finale, Some(Finale::Cut { .. })) {
            return self.streams.clients.touch(place);
        }
        if let Finale::Back(_, request) = &mut finale
            && !request.is_empty()
        {
            request.append(&mut client.unread);
        }
        if io.stopping || (client.connection.sending && matches!(finale, Finale::Back(..))) {
            finale = Finale::Cut { reset: false };
        }
        let is_answer = client.is_call() && matches!(finale, Finale::Finish);
        if is_answer && client.answer.is_empty() {
            finale = Finale::Back(PassFailure::Closed, Vec::new());
        }
        if let Some((link, id)) = link {
            match finale {
                Finale::Finish if is_answer => link.end(id, How::Fin),
                Finale::Close(_) | Finale::Finish | Finale::Lost(_) | Finale::Linger => {}
                Finale::Cut { .. } | Finale::Back(..) => client.reset_stream(link, id),
            }
        }
        let connection = &mut client.connection;
        if let Finale::Cut { reset } = finale {
            connection.shut(reset);
            if reset {
                connection.stage = Stage::Shut;
            }
        } else if (is_answer || matches!(finale, Finale::Back(..))) && connection.receive.armed() {
            let key = link_key(LinkEnd::Client(place));
            io.ring.cancel_receive(connection.socket.as_fd(), key);
        }
        (client.finale, client.since) = (Some(finale), io.turn.at().now);
        self.streams.clients.touch(place);
    }

    /// Returns a client to the machine, with any response to its call, once no operation is armed on its connection.
    fn bring_back(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.remove_client(place, io) else {
            return;
        };
        let connection = client.connection;
        match (client.parcel, client.finale) {
            (Some(parcel), Some(Finale::Back(why, unsent))) => {
                let node = client.node;
                let failed = FailedPass { node, why, unsent };
                self.return_client(connection, parcel, failed, io);
            }
            (Some(parcel), Some(Finale::Finish)) => {
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

    /// Closes a client's connection once no operation on it is pending in the kernel.
    fn close_client(&mut self, place: u32, io: &mut Io) {
        if let Some((client, link, id)) = self.streams.spliced(place)
            && client.connection.at_rest()
        {
            client.reset_stream(link, id);
        }
        if let Some(client) = self.remove_client(place, io) {
            client.connection.close(io);
        }
    }

    /// Removes a client once no operation on its connection is pending in the kernel.
    fn remove_client(&mut self, place: u32, io: &mut Io) -> Option<Client<M>> {
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

    /// Detaches a client from its owner, which can no longer serve it. A client whose owner has not responded returns
    /// to the machine; a WebSocket is closed, after its last frame if possible.
    pub(crate) fn lose_client(&mut self, place: u32, why: PassFailure, io: &mut Io) {
        if let Some((client, link, id)) = self.streams.spliced(place) {
            client.why.get_or_insert(why);
            return link.lose(id);
        }
        let Some(client) = self.streams.clients.get_mut(place) else {
            return;
        };
        let finale = if matches!(client.on, On::Waiting(_)) {
            Finale::Back(why, self.streams.take_request(place))
        } else if let Some(Finale::Lost(code)) = client.finale {
            code.map_or(Finale::Cut { reset: true }, Finale::Close)
        } else {
            return;
        };
        self.finish_client(place, finale, io);
    }

    /// Evicts a client to admit another connection.
    pub(crate) fn displace_client(&mut self, place: u32, io: &mut Io) {
        io.counts.evicted += 1;
        let client = self.streams.clients.get(place);
        if client.is_some_and(Client::is_answered) {
            self.finish_client(place, Finale::Cut { reset: false }, io);
        } else {
            self.lose_client(place, PassFailure::NoRoom, io);
        }
    }

    /// Ends a client because this node is shutting down. A client whose owner has not responded returns to the machine;
    /// others receive the owner's remaining bytes.
    pub(crate) fn leave_with_client(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.streams.clients.get_mut(place) else {
            return;
        };
        if client.is_call() {
            return; // its answer is awaited
        }
        if !client.is_answered() {
            return self.lose_client(place, PassFailure::Drain, io);
        }
        if let Some((client, link, id)) = self.streams.spliced(place)
            && client.finale.is_none()
            && !client.is_leaving
        {
            (client.is_leaving, client.since) = (true, io.turn.at().now);
            client.answer_kernel(link, id);
            link.leave(); // the owner knows by it that the client still reads
            link.end(id, How::Fin);
        }
        self.streams.clients.touch(place);
    }
}
