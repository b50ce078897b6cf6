//! Clients whose channels are on other nodes: into a stream of a link, and back or to their end.

use crate::edge::connection::{NEVER, has_left, widen};
use crate::edge::departed::Departed;
use crate::edge::limits::CLIENTS_WAITING_MAX;
use crate::edge::links::{LinkEnd, link_key};
use crate::edge::streams::clients::{Client, Finale, On};
use crate::edge::streams::{Route, wire::Local};
use crate::edge::{io::Io, limits::OVERDUE_PER_TURN, sessions::Sessions, tls::Read};
use broker_core::address_shares::Origin;
use broker_core::cluster::link::Ending;
use broker_core::id::NodeId;
use broker_core::machine::{Input, Machine, PassFailure};
use codec::link::{Client as Described, How};
use ring::Received;
use rustix::net::connect_unspec;
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;

impl<M: Machine> Sessions<M> {
    /// Begins a stream for a client.
    pub(crate) fn begin_stream(&mut self, node: NodeId, departed: Departed<M>, io: &mut Io) {
        let (bytes, origin) = (
            departed.sent.bytes.len(),
            Origin::of(departed.remote().ip()),
        );
        let has_room = self.waiting_room(origin, bytes, io);
        let home = self.machine.stream_home(&departed.parcel);
        let streams = &mut self.streams;
        let place = home.filter(|_| has_room);
        let place = place.and_then(|home| Some((home, streams.clients.claim()?)));
        let Some((home, place)) = place else {
            let failed = Some((node, PassFailure::NoRoom));
            let Departed {
                client,
                parcel,
                sent,
            } = departed;
            return self.return_client(client, parcel, failed, sent.bytes, io);
        };
        io.counts.link_clients_opened += 1;
        io.counts.link_clients = streams.clients.len() as u64;
        let now = io.turn.at().now;
        streams.waiting_bytes += bytes;
        streams.waiting.insert((node, place));
        streams.waiting_by_address.enter(place, origin, now);
        let client = Client::new(departed, node, home, now);
        streams.clients.put_back(place, Box::new(client));
        self.open_stream(place, io);
    }

    /// Whether one more request may await a link, perhaps at the cost of another one.
    fn waiting_room(&mut self, origin: Origin, bytes: usize, io: &mut Io) -> bool {
        loop {
            let streams = &mut self.streams;
            if streams.waiting.len() < CLIENTS_WAITING_MAX
                && streams.waiting_bytes + bytes <= io.settings.link_request_bytes
            {
                return true;
            }
            let victim = streams.waiting_by_address.victim(origin, io.turn.at().now);
            let Some(victim) = victim else {
                return false;
            };
            self.lose_client(victim, PassFailure::NoRoom, io);
        }
    }

    /// Begins the stream of a client that awaits a link, if there is one.
    pub(crate) fn open_stream(&mut self, place: u32, io: &mut Io) {
        let Some(client) = self.streams.clients.get(place) else {
            return;
        };
        if !matches!(client.on, On::Waiting(_)) {
            return;
        }
        // It would take the place of a connection that is there. Who sends a call may end behind it.
        if !client.is_call() && has_left(&client.half.socket) {
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
        let Some((client, _)) = self.streams.client(place) else {
            return;
        };
        let (described, account) = (describe(client), client.home.account);
        io.counts.link_bytes_to_owner += request.len() as u64;
        let id = self
            .streams
            .link(link)
            .map(|it| it.open(&described, request, account));
        let Some(Ok(id)) = id else {
            return self.finish_client(place, Finale::Back(PassFailure::Closed, Vec::new()), io);
        };
        if let Some((client, _)) = self.streams.client(place) {
            (client.on, client.since) = (On::Link(link, id), at.now);
            if !client.is_call() {
                widen(&client.half.socket);
            }
        }
        if let Some(wire) = self.streams.wires.get_mut(link) {
            wire.locals.insert(id, Local::Client(place));
        }
        self.streams.touch(link);
        self.streams.watch_client(place, io);
    }

    /// A receive of a client is over.
    pub(crate) fn client_received(&mut self, place: u32, received: Received, io: &mut Io) {
        let Some((client, _)) = self.streams.client(place) else {
            debug_assert!(false, "a client outlives what is armed on it");
            if let Received::Bytes(lent) = received {
                io.ring.give_back(lent);
            }
            return;
        };
        client.half.armed = false;
        match received {
            Received::Bytes(lent) => {
                let mut plain = std::mem::take(&mut io.plain);
                let read = client.half.read(lent, &mut plain, io);
                io.counts.link_bytes_to_owner += plain.len() as u64;
                self.streams.push_up(place, &plain);
                plain.clear();
                io.plain = plain;
                match read {
                    Read::More => {}
                    Read::End => self.client_ended(place),
                    Read::Failed => {
                        return self.finish_client(place, Finale::Cut { reset: true }, io);
                    }
                }
            }
            Received::End => self.client_ended(place),
            Received::Failed(_) => {
                return self.finish_client(place, Finale::Cut { reset: true }, io);
            }
            Received::NoBuffers => io.counts.no_buffers += 1,
            Received::Cancelled => {}
        }
        self.streams.touch_client(place);
    }

    /// A client sends no more.
    fn client_ended(&mut self, place: u32) {
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        client.half.ended = true;
        if client.lost.take().is_some() {
            client.finale = Some(Finale::Cut { reset: false });
        }
        if let Some((link, id)) = link {
            client.answer_kernel(link, id);
            if client.backlog.is_empty() {
                link.end(id, How::Fin);
            }
        }
    }

    /// A send of a client is over.
    pub(crate) fn client_sent(
        &mut self,
        place: u32,
        flight: Vec<u8>,
        result: &io::Result<usize>,
        io: &mut Io,
    ) {
        let sent = result.as_ref().copied().unwrap_or(0);
        let is_whole = sent == flight.len();
        io.counts.sent_bytes += sent as u64;
        io.spares.recycle(flight);
        let now = io.turn.at().now;
        let Some((client, link)) = self.streams.client(place) else {
            return debug_assert!(false, "a client outlives its send");
        };
        client.half.sending = false;
        let launched = std::mem::take(&mut client.launched);
        let taken = match (is_whole, &client.half.tls) {
            (true, _) => launched,
            (false, None) => sent.min(launched),
            (false, Some(_)) => 0,
        };
        if let Some((link, id)) = link {
            link.sent(id, taken, sent, now);
        }
        if !is_whole {
            return self.finish_client(place, Finale::Cut { reset: true }, io);
        }
        self.streams.touch_client(place);
    }

    /// Gives a client what came for it, and does what its end asks for.
    pub(crate) fn serve_client(&mut self, place: u32, io: &mut Io) {
        let client = self.streams.clients.get_mut(place);
        if client.is_some_and(|it| it.untouch() && matches!(it.finale, Some(Finale::Cut { .. }))) {
            return self.close_client(place, io);
        }
        if !self.streams.flush_client(place, io) {
            return self.finish_client(place, Finale::Cut { reset: true }, io);
        }
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        let has_all =
            !client.half.sending && link.is_none_or(|(link, id)| link.inbox(id).is_empty());
        match client.finale {
            None => {
                self.streams.give_backlog(place);
                self.pass_end_on(place);
            }
            Some(Finale::Back(..)) => return self.bring_back(place, io),
            Some(Finale::Cut { .. }) => {} // seen before
            Some(Finale::Close(_) | Finale::Finish) if !has_all => {}
            Some(Finale::Finish) if client.is_call() => return self.bring_back(place, io),
            Some(Finale::Close(_) | Finale::Finish) => {
                if !client.is_shut && client.say_end(place, io) {
                    (client.is_shut, client.since) = (true, io.turn.at().now);
                    let _ = SockRef::from(&client.half.socket).shutdown(Shutdown::Write);
                }
                let is_broken = matches!(client.finale, Some(Finale::Cut { .. }));
                if is_broken || (client.is_shut && client.half.ended) {
                    return self.close_client(place, io);
                }
            }
        }
        self.streams.watch_client(place, io);
    }

    /// The end of a client goes behind what waited for room.
    fn pass_end_on(&mut self, place: u32) {
        if let Some((client, Some((link, id)))) = self.streams.client(place)
            && client.half.ended
            && client.backlog.is_empty()
        {
            link.end(id, How::Fin);
        }
    }

    /// The stream of a client has ended, behind all that came for it.
    pub(crate) fn client_stream_ended(&mut self, place: u32, ending: Ending, io: &mut Io) {
        let why = self
            .streams
            .clients
            .get(place)
            .and_then(|client| client.why);
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

    /// The link of a client has died: one with an answer ends when it is its turn, which this returns.
    pub(crate) fn client_link_died(
        &mut self,
        place: u32,
        ending: Ending,
        io: &mut Io,
    ) -> Option<u32> {
        let client = self.streams.clients.get_mut(place)?;
        let finale = match ending {
            Ending::Close(code) => Some(Finale::Close(code)),
            Ending::Reset => Some(Finale::Cut { reset: true }),
            Ending::AllSent | Ending::Left(_) | Ending::Repeat(_) => None,
            Ending::Unavailable | Ending::Slow => None,
        };
        let waits = client.is_answered() && client.finale.is_none() && !io.stopping;
        client.lost = finale.filter(|_| waits);
        if client.lost.is_none() {
            self.client_stream_ended(place, ending, io);
            return None;
        }
        Some(place)
    }

    /// The stream of a client is gone, as is whatever it had for the client.
    pub(crate) fn client_stream_gone(&mut self, place: u32, io: &mut Io) {
        if let Some(client) = self.streams.clients.get_mut(place) {
            client.on = On::None;
            if client.finale.is_none() && client.lost.is_none() {
                self.finish_client(place, Finale::Cut { reset: true }, io);
            }
        }
    }

    /// A client ends in this way, unless it is being reset.
    pub(crate) fn finish_client(&mut self, place: u32, mut finale: Finale, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        if matches!(client.finale, Some(Finale::Cut { .. })) {
            return self.streams.touch_client(place);
        }
        if let Finale::Back(_, request) = &mut finale
            && !request.is_empty()
        {
            request.append(&mut client.rest);
            request.append(&mut client.backlog);
        }
        if io.stopping || (client.half.sending && matches!(finale, Finale::Back(..))) {
            finale = Finale::Cut { reset: false };
        }
        let is_answer = client.is_call() && matches!(finale, Finale::Finish);
        if is_answer && client.answer.is_empty() {
            finale = Finale::Back(PassFailure::Closed, Vec::new());
        }
        if let Some((link, id)) = link {
            match finale {
                Finale::Finish if is_answer => link.end(id, How::Fin),
                Finale::Close(_) | Finale::Finish => {}
                Finale::Cut { .. } | Finale::Back(..) => {
                    client.answer_kernel(link, id);
                    link.end(id, How::Reset);
                }
            }
        }
        let half = &client.half;
        if let Finale::Cut { reset } = finale {
            if reset {
                let _ = connect_unspec(&half.socket);
            }
            if !half.at_rest() {
                let _ = SockRef::from(&half.socket).shutdown(Shutdown::Both);
            }
        } else if (is_answer || matches!(finale, Finale::Back(..))) && half.armed {
            let key = link_key(LinkEnd::Client(place));
            io.ring.cancel_receive(half.socket.as_fd(), key);
        }
        (client.finale, client.since) = (Some(finale), io.turn.at().now);
        self.streams.touch_client(place);
    }

    /// A client comes back to the machine, with the answer to its call if it has one, as soon as nothing is armed on
    /// it.
    fn bring_back(&mut self, place: u32, io: &mut Io) {
        if !self.streams.is_at_rest(place) {
            return;
        }
        let Some(client) = self.remove_client(place, io) else {
            return;
        };
        let Client {
            half,
            node,
            peer,
            parcel,
            finale,
            answer,
            rest,
            ..
        } = *client;
        match (parcel, finale) {
            (Some(parcel), Some(Finale::Back(why, unsent))) => {
                self.return_client(half, parcel, Some((node, why)), unsent, io);
            }
            (Some(parcel), Some(Finale::Finish)) => {
                let session = self.machine.answered(parcel, &answer, rest, io.turn.at());
                let has_ended = half.ended;
                self.take_back(session, half, Some(peer.remote), io);
                if has_ended {
                    self.feed(Input::Ended { session }, io);
                }
            }
            (_, _) => half.close(io),
        }
    }

    /// Closes a client's connection as soon as the kernel holds nothing of it.
    fn close_client(&mut self, place: u32, io: &mut Io) {
        if !self.streams.is_at_rest(place) {
            return;
        }
        if let Some((client, Some((link, id)))) = self.streams.client(place) {
            client.answer_kernel(link, id);
            link.end(id, How::Reset);
        }
        if let Some(client) = self.remove_client(place, io) {
            client.half.close(io);
        }
    }

    fn remove_client(&mut self, place: u32, io: &mut Io) -> Option<Box<Client<M>>> {
        self.streams.take_request(place);
        let client = self.streams.clients.borrow(place)?;
        self.streams.clients.release(place);
        self.streams.clients_due.remove(&(client.due, place));
        if let On::Link(link, id) = client.on {
            if let Some(wire) = self.streams.wires.get_mut(link) {
                wire.locals.remove(&id);
            }
            self.streams.touch(link);
        }
        self.machine.left_link(place);
        io.counts.link_clients = self.streams.clients.len() as u64;
        Some(client)
    }

    /// The owner of a client is of no use to it any more. One that it has not answered comes back, and a WebSocket
    /// ends, behind the last frame if it can.
    pub(crate) fn lose_client(&mut self, place: u32, why: PassFailure, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        client.why.get_or_insert(why);
        match (&client.on, link) {
            (On::Link(on, _), Some((link, id))) => {
                link.lose(id);
                let on = *on;
                self.streams.touch(on);
            }
            (On::Waiting(_), _) => {
                let request = self.streams.take_request(place);
                self.finish_client(place, Finale::Back(why, request), io);
            }
            (On::Link(..) | On::None, _) => {
                if let Some(finale) = client.lost.take() {
                    self.finish_client(place, finale, io);
                }
            }
        }
    }

    /// A client makes room for another connection.
    pub(crate) fn displace_client(&mut self, place: u32, io: &mut Io) {
        io.counts.evicted += 1;
        let is_answered = self
            .streams
            .clients
            .get(place)
            .is_some_and(|it| it.is_answered());
        if is_answered {
            self.finish_client(place, Finale::Cut { reset: false }, io);
        } else {
            self.lose_client(place, PassFailure::NoRoom, io);
        }
    }

    /// Ends a client since this node ends. One without an answer comes back; others get what their owner has for them.
    pub(crate) fn leave_with_client(&mut self, place: u32, io: &mut Io) {
        let Some((client, link)) = self.streams.client(place) else {
            return;
        };
        if client.is_call() {
            return; // its answer is awaited
        }
        if !client.is_answered() {
            return self.lose_client(place, PassFailure::Drain, io);
        }
        if let (Some((link, id)), None, false) = (link, &client.finale, client.is_leaving) {
            (client.is_leaving, client.since) = (true, io.turn.at().now);
            client.answer_kernel(link, id);
            link.end(id, How::Fin);
            let On::Link(on, _) = client.on else { return };
            self.streams.touch(on);
        }
        self.streams.touch_client(place);
    }

    /// Ends clients whose time is over.
    pub(crate) fn end_late_clients(&mut self, io: &mut Io) {
        let now = io.turn.at().now;
        for _ in 0..OVERDUE_PER_TURN {
            let Some(&(due, place)) = self
                .streams
                .clients_due
                .first()
                .filter(|(due, _)| *due <= now)
            else {
                return;
            };
            self.streams.clients_due.remove(&(due, place));
            io.counts.overdue += 1;
            let Some(client) = self.streams.clients.get_mut(place) else {
                continue;
            };
            client.due = NEVER;
            let has_late_record = client.has_late_record(io.settings.record_ms, now);
            if client.finale.is_some() || has_late_record {
                let reset = !client.is_shut && !has_late_record;
                self.finish_client(place, Finale::Cut { reset }, io);
            } else {
                self.lose_client(place, PassFailure::Timeout, io);
            }
        }
    }
}

/// A client's part of OPEN: its kind, its address and its listener.
fn describe<M: Machine>(client: &Client<M>) -> Described {
    Described {
        kind: client.kind,
        address: client.peer.remote,
        listener: client.peer.listener,
        tls: client.peer.tls,
        server_name: "".into(),
        certificate: None,
    }
}
