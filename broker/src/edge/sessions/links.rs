//! Operates links: connects them, processes the data that they receive, and performs their part of each loop iteration.

use crate::edge::connection::{Receive, has_unread};
use crate::edge::io::{Io, Shaking};
use crate::edge::limits::{LINK_HELD_BYTES, OVERDUE_PER_TURN};
use crate::edge::sessions::{Sessions, front::Doomed};
use crate::edge::streams::splice::{CloseMode, On};
use crate::edge::streams::wire::{Local, Stage};
use crate::edge::tls::Read;
use broker_core::cluster::limits::LINK_WINDOW_BYTES;
use broker_core::cluster::link::{Death, Event, Link, Role};
use broker_core::id::ShardId;
use broker_core::machine::{Machine, PassFailure};
use codec::link::{Kind, NotHello};
use ring::Received;
use std::io;

impl<M: Machine> Sessions<M> {
    /// Handles the completion of a link's connect.
    pub(crate) fn link_connected(&mut self, place: u32, result: &io::Result<()>, io: &mut Io) {
        let streams = &mut self.streams;
        let (Some(wire), Some(links)) = (streams.wires.get_mut(place), &streams.links) else {
            return;
        };
        wire.connection.receive = Receive::Idle;
        if matches!(wire.stage, Stage::Over) {
            return streams.wires.touch(place);
        }
        if result.is_ok() && wire.connected(streams.shard, links) {
            return io.handshakes.push(Shaking::Link(place));
        }
        self.fail_link(place, PassFailure::Connect, io);
    }

    /// Handles the completion of a link's receive. If `more` is set, the receive is still armed.
    pub(crate) fn link_received(&mut self, place: u32, got: Received, more: bool, io: &mut Io) {
        let Some(wire) = self.streams.wires.get_mut(place) else {
            return io.drop_received(got);
        };
        if !more {
            wire.connection.receive = Receive::Idle;
        }
        let is_over = matches!(wire.stage, Stage::Over);
        match got {
            Received::Bytes(lent) if is_over => io.ring.give_back(lent),
            Received::Bytes(lent) => {
                io.count_received(lent.len());
                if let Some(lent) = wire.connection.put_off(lent, Shaking::Link(place), io) {
                    let read = wire.connection.read(lent, io);
                    self.link_decrypted(place, read, io);
                }
                return;
            }
            Received::End if !is_over => {
                self.break_link(place, (Death::Fin, PassFailure::Closed), io);
            }
            Received::Failed(_) if !is_over => {
                self.break_link(place, (Death::Reset, PassFailure::Closed), io);
            }
            Received::NoBuffers => {
                if !io.ring.add_buffers() {
                    io.counts.no_buffers += 1;
                }
            }
            Received::End | Received::Failed(_) | Received::Cancelled => {}
        }
        self.streams.wires.touch(place); // armed again once all buffers of this turn have been returned
    }

    /// Resumes a queued handshake.
    pub(crate) fn link_step(&mut self, place: u32, io: &mut Io) {
        let Some(wire) = self.streams.wires.get_mut(place) else {
            return; // the link has ended, and its number is free
        };
        let connection = &mut wire.connection;
        if connection.receive != Receive::Queued {
            return; // the number belongs to another link now
        }
        connection.receive = Receive::Idle;
        if let Some(tls) = &mut connection.tls {
            let read = tls.read(&mut [], &mut io.plain, io.turn.at().now);
            self.link_decrypted(place, read, io);
        }
    }

    /// Handles the completion of a link's send.
    pub(crate) fn link_sent(&mut self, place: u32, flight: Vec<u8>, on_wire: usize, io: &mut Io) {
        if let Some(wire) = self.streams.wires.get_mut(place)
            && !wire.connection.landed(flight, on_wire, io).1
        {
            self.break_link(place, (Death::Reset, PassFailure::Closed), io);
        }
        self.streams.wires.touch(place);
    }

    /// Processes decrypted bytes: first the peer's hello, then frames.
    fn link_decrypted(&mut self, place: u32, read: Read, io: &mut Io) {
        let wire = self.streams.wires.get(place);
        let shakes = wire.is_some_and(|wire| wire.connection.handshaking());
        let is_sound = !shakes || self.link_shook(place, io);
        match self.streams.wires.get_mut(place).map(|it| &mut it.stage) {
            Some(Stage::Open(link)) => link.read(&io.plain, io.turn.at().now),
            Some(Stage::Hello(bytes)) => bytes.extend_from_slice(&io.plain),
            Some(Stage::Connecting | Stage::Over) | None => {}
        }
        io.plain.clear();
        self.greet_link(place, io);
        self.poll_link(place, io);
        match read {
            Read::More if is_sound => self.streams.wires.touch(place),
            Read::More | Read::Failed => {
                self.break_link(place, (Death::Reset, PassFailure::Foreign), io);
            }
            Read::End => self.break_link(place, (Death::Fin, PassFailure::Closed), io),
        }
    }

    /// Performs a handshake step and sends the TLS engine's output. Once the handshake is complete, the connecting side
    /// also sends its hello. Returns `false` if the link must be closed.
    fn link_shook(&mut self, place: u32, io: &mut Io) -> bool {
        let hello = self.streams.own_hello(place);
        let Some(wire) = self.streams.wires.get_mut(place) else {
            return false;
        };
        let Some(tls) = &mut wire.connection.tls else {
            return false;
        };
        let kind = tls.just_secured();
        let too_much = kind.is_none() && tls.held_bytes() > LINK_HELD_BYTES as u64;
        io.count_handshake(kind);
        let hello = hello.filter(|_| kind.is_some()).unwrap_or_default();
        let said = wire.send(place, &hello, io);
        if kind.is_some() && !self.streams.is_node(place, io) {
            io.counts.inner_refused.limit += 1;
            self.streams.drop_wire(place, false, io);
        }
        said && !too_much
    }

    /// Opens a link whose hello is complete, or hands it over to the shard that the hello names.
    pub(crate) fn greet_link(&mut self, place: u32, io: &mut Io) {
        let greeting = match self.streams.read_hello(place) {
            Ok(Some(greeting)) => greeting,
            Ok(None) => return,
            Err(NotHello) => return self.fail_link(place, PassFailure::Foreign, io),
        };
        let own = self.streams.shard;
        let is_for_another = greeting.shard < greeting.own_shards && greeting.shard != own.0;
        let is_owner = !greeting.answer.is_empty();
        let now = io.turn.at().now;
        if is_owner && is_for_another {
            let Some(arrived) = self.streams.take_out(place, io) else {
                return self.fail_link(place, PassFailure::Foreign, io);
            };
            if !self.mail.pass_link(ShardId(greeting.shard), arrived) {
                io.counts.mailbox_refused += 1;
                io.descriptors.closed();
            }
            return;
        }
        let Some(wire) = self.streams.wires.get_mut(place) else {
            return;
        };
        let role = if is_owner { Role::Owner } else { Role::Front };
        let window = u32::try_from(LINK_WINDOW_BYTES).unwrap_or(u32::MAX);
        let mut link = Box::new(Link::new(role, window, now));
        if let Stage::Hello(bytes) = &wire.stage {
            link.read(bytes.get(greeting.length..).unwrap_or_default(), now);
        }
        (wire.stage, wire.peer) = (Stage::Open(link), greeting.peer);
        if !wire.send(place, &greeting.answer, io) {
            return self.break_link(place, (Death::Reset, PassFailure::Closed), io);
        }
        if !is_owner {
            for client in self.streams.greeted(place, greeting.shard, greeting.shards) {
                self.open_stream(client, io);
            }
        }
        self.streams.wires.touch(place);
    }

    /// Handles the events of a link.
    fn poll_link(&mut self, place: u32, io: &mut Io) {
        let (mut dead, mut lost) = (None, Vec::new());
        while let Some(event) = self.streams.link(place).and_then(Link::poll) {
            match event {
                Event::Opened(id, client, _) => self.stream_opened(place, id, &client, io),
                Event::Away => self.streams.forget_route(place),
                Event::Dead(why) => dead = Some(why),
                Event::Inbox(id, _)
                | Event::Room(id)
                | Event::Ask(id)
                | Event::Confirmed(id, ..)
                | Event::Ended(id, _)
                | Event::Gone(id, _) => {
                    let local = self.streams.local(place, id);
                    if matches!(event, Event::Gone(..)) {
                        self.streams.leave_link(place, id);
                    }
                    match local {
                        Some(Local::Client(client)) => {
                            let lost = dead.is_some().then_some(&mut lost);
                            self.client_event(client, event, lost, io);
                        }
                        Some(Local::Session(session)) => self.session_event(session, event, io),
                        None => {}
                    }
                }
            }
        }
        if let Some(why) = dead {
            io.counts.link_deaths.count(why);
            self.streams.drop_wire(place, why != Death::Idle, io);
        }
        if !lost.is_empty() {
            self.machine.link_died(&lost, io.turn.at().now);
        }
    }

    /// Handles an event on a client's stream.
    fn client_event(&mut self, place: u32, event: Event, lost: Doomed<'_>, io: &mut Io) {
        match event {
            Event::Inbox(..) | Event::Room(_) => self.streams.clients.touch(place),
            Event::Ask(_) => {
                if let Some((client, Some((link, id)))) = self.streams.client(place) {
                    client.answer_kernel(link, id);
                }
            }
            Event::Ended(_, ending) => self.end_client(place, ending, lost, io),
            Event::Gone(..) => {
                // Bytes still buffered for the client are lost with the stream.
                if let Some(client) = self.streams.clients.get_mut(place) {
                    client.on = On::None;
                    if client.close.is_none() {
                        self.finish_client(place, CloseMode::Cut { reset: true }, io);
                    }
                }
            }
            Event::Opened(..) | Event::Confirmed(..) | Event::Away | Event::Dead(_) => {}
        }
    }

    /// Handles the end of a link.
    fn break_link(&mut self, place: u32, (death, why): (Death, PassFailure), io: &mut Io) {
        if self.streams.link(place).is_none() {
            return self.fail_link(place, why, io);
        }
        // Bytes received before the link failed are still delivered to the clients. This matters most for responses to
        // calls.
        self.serve_clients(io);
        self.poll_link(place, io);
        if let Some(link) = self.streams.link(place) {
            link.broke(death);
            self.poll_link(place, io);
        }
    }

    fn serve_clients(&mut self, io: &mut Io) {
        let now = io.turn.at().now;
        let mut touched = self.streams.clients.take_touched(now, OVERDUE_PER_TURN);
        for client in touched.drain(..) {
            self.serve_client(client, io);
        }
        self.streams.clients.keep_touched(touched);
    }

    /// Fails a link that has not been opened yet.
    fn fail_link(&mut self, place: u32, why: PassFailure, io: &mut Io) {
        let clients = self.streams.failed(place);
        self.streams.count_refusal(place, why, io);
        self.streams.drop_wire(place, false, io);
        for client in clients {
            self.lose_client(client, why, io);
        }
    }

    /// Performs the links' part of a loop iteration: transfers the clients' bytes in both directions, then ticks each
    /// touched link and writes its frames.
    pub(crate) fn serve_links(&mut self, io: &mut Io) {
        self.serve_clients(io);
        let now = io.turn.at().now;
        let mut touched = self.streams.wires.take_touched(now, usize::MAX);
        for place in touched.drain(..) {
            self.serve_link(place, io);
        }
        self.streams.wires.keep_touched(touched);
    }

    fn serve_link(&mut self, place: u32, io: &mut Io) {
        let now = io.turn.at().now;
        let Some(wire) = self.streams.wires.get_mut(place) else {
            return;
        };
        wire.connection.dirty = false;
        if wire.is_late(now) {
            io.counts.overdue += 1;
            self.fail_link(place, PassFailure::Timeout, io);
            return self.streams.settle(place, io);
        }
        self.poll_link(place, io);
        let most = io.settings.link_waiting_bytes;
        while let Some(fullest) = self.streams.fullest(place, most) {
            if let Some(link) = self.streams.link(fullest) {
                link.streams.end_slowest();
            }
            self.poll_link(fullest, io);
            self.streams.wires.touch(fullest);
        }
        let mut begins_doubt = false;
        let share = io.settings.link_request_bytes / self.streams.wires.len().max(1);
        if let Some(wire) = self.streams.wires.get_mut(place) {
            let due = wire.link().and_then(|link| link.due(now));
            let is_unread =
                due.is_some_and(|due| due <= now) && has_unread(&wire.connection.socket);
            if let Some(link) = wire.link() {
                if is_unread {
                    link.stood_still(0, now); // unread bytes show that the peer is alive
                }
                link.streams.bound_waiting(share);
                let was_doubtful = link.is_doubtful();
                link.tick(now);
                begins_doubt = link.is_doubtful() && !was_doubtful;
            }
        }
        self.poll_link(place, io);
        if begins_doubt {
            self.lose_unanswered(place, io);
        }
        if !self.streams.write(place, io) {
            self.break_link(place, (Death::Reset, PassFailure::Closed), io);
        }
        self.poll_link(place, io);
        self.streams.settle(place, io);
        let wire = self.streams.wires.get_mut(place);
        let wire = wire.filter(|wire| !wire.connection.sending);
        if wire.is_some_and(|wire| wire.link().is_some_and(|link| link.has_output())) {
            self.streams.wires.touch(place); // each turn writes one piece per stream
        }
    }

    /// Handles a link whose node has stopped responding. Clients with unanswered WebSocket upgrades return to the state
    /// machine. Calls other than Alexa calls get the shorter time limit `LINK_CONNECT_MS`.
    fn lose_unanswered(&mut self, place: u32, io: &mut Io) {
        let Some(wire) = self.streams.wires.get(place) else {
            return;
        };
        let clients = wire.locals.values().filter_map(|local| match local {
            Local::Client(client) => Some(*client),
            Local::Session(_) => None,
        });
        for place in clients.collect::<Vec<_>>() {
            let Some(client) = self.streams.clients.get_mut(place) else {
                continue;
            };
            match client.kind {
                Kind::Upgrade if !client.is_answered() => {
                    self.lose_client(place, PassFailure::Timeout, io);
                }
                Kind::Call => {
                    client.is_doubtful = true;
                    self.streams.clients.touch(place);
                }
                Kind::Upgrade | Kind::AlexaCall => {}
            }
        }
        self.poll_link(place, io);
    }

    /// Extends the links' timeouts by a period during which this shard was not running.
    pub(crate) fn links_stood_still(&mut self, span_ms: u64, io: &Io) {
        for place in self.streams.wires.all() {
            if let Some(link) = self.streams.link(place) {
                link.stood_still(span_ms, io.turn.at().now);
            }
        }
    }

    /// Closes all links and their clients because the shard is stopping.
    pub(crate) fn close_links(&mut self, io: &mut Io) {
        for client in self.streams.clients.all() {
            self.finish_client(client, CloseMode::Cut { reset: false }, io);
        }
        for place in self.streams.wires.all() {
            self.break_link(place, (Death::Reset, PassFailure::Closed), io);
        }
    }
}
