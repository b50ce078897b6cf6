//! The front's edge, and the clients at it.

use super::world::{Conn, Dial, FRONT, OWNER, World, byte, bytes};
use broker_core::cluster::link::{Ending, Event};
use broker_core::time::Now;
use codec::link::{Client, How, Kind};
use std::collections::VecDeque;

/// A front waits so long for an owner that takes a client.
const SEEKS_MS: u64 = 8_000;

impl World {
    /// Clients connect, send, end, and vanish.
    pub(crate) fn use_clients(&mut self) {
        for client in 0..self.clients.len() {
            let is_quick = self.settles || self.plan.is_short;
            if self.dial_is_over(client)
                && !self.ends
                && self.chance(if is_quick { 500 } else { 40 })
            {
                self.dial(client);
            }
            let wants = !self.settles && self.chance(if self.plan.is_short { 300 } else { 20 });
            let it = &mut self.clients[client];
            if wants {
                let burst = [1, 2, 9][self.rng.usize(..3)];
                it.queue.extend(it.messages..it.messages + burst);
                it.messages += burst;
            }
            let Some(dial) = it.dial.filter(|_| !self.settles) else {
                continue;
            };
            let (fin, vanish) = (self.chance(4), self.chance(4));
            let dial = &mut self.dials[dial];
            if !dial.has_fin && dial.kind == Kind::Upgrade && self.rng.u8(..) < 30 {
                dial.sent += [1, 300, 30_000][self.rng.usize(..3)];
            }
            dial.has_fin |= fin && !self.plan.is_short;
            dial.is_vanished |= vanish && !self.plan.is_short;
        }
    }

    fn dial_is_over(&self, client: usize) -> bool {
        let dial = self.clients[client].dial;
        dial.is_none_or(|dial| {
            let dial = &self.dials[dial];
            // Who vanished comes back by another connection.
            dial.is_over || (dial.all_sent && dial.fin_told) || dial.is_vanished
        })
    }

    fn dial(&mut self, client: usize) {
        let is_call = !self.settles && self.rng.u8(..4) == 0;
        let request = [20, 400, 40_000][self.rng.usize(..3)];
        let request = if self.plan.is_short { 30 } else { request };
        self.clients[client].dial = Some(self.dials.len());
        self.dials.push(Dial {
            client,
            front: if self.plan.is_short {
                0
            } else {
                self.rng.usize(..2)
            },
            seeks: self.now + SEEKS_MS,
            is_carried_out: false,
            kind: if is_call { Kind::Call } else { Kind::Upgrade },
            at: None,
            request,
            sent: request,
            read: request,
            has_fin: false,
            fin_told: false,
            all_sent: false,
            is_over: false,
            is_vanished: false,
            session: None,
            passed: 0,
            in_flight: VecDeque::new(),
            sends: Vec::new(),
            acked: 0,
            overhead: [0, 22][self.rng.usize(..2)],
        });
    }

    /// Machines of clients acknowledge, as far as they read.
    pub(crate) fn let_machines_read(&mut self) {
        for dial in self.dials.iter_mut().filter(|dial| !dial.is_vanished) {
            let waits = dial.unacknowledged();
            if waits > 0 && (self.settles || self.rng.u8(..3) > 0) {
                let most = if self.rng.bool() { waits } else { 700 };
                dial.acked += self.rng.u64(..=most.min(waits));
            }
            if dial.all_sent && waits == 0 {
                dial.has_fin = true; // it has read the end, too
            }
        }
    }

    pub(crate) fn serve_all(&mut self, node: usize) {
        for dial in 0..self.dials.len() {
            if self.dials[dial].front == node && !self.dials[dial].is_over {
                self.serve(dial);
            }
        }
    }

    fn serve(&mut self, place: usize) {
        let Some((conn, id)) = self.dials[place].at else {
            return self.begin(place);
        };
        if self.settles && self.dials[place].is_vanished {
            return self.cut_off(place, How::Timeout); // as a keepalive would
        }
        if self.chance(2) && !self.settles && !self.plan.is_short {
            return self.cut_off(place, How::Reset);
        }
        let dial = &self.dials[place];
        if self.owner_seen(dial.front, dial.client) != self.conns[conn].nodes[OWNER] {
            self.answer(place);
            self.conns[conn].ends[FRONT].streams.lose(id);
            return self.meet("lost its owner");
        }
        self.report_sends(place, conn, id);
        self.read_client(place, conn, id);
        self.pass_on(place, conn, id);
    }

    fn begin(&mut self, place: usize) {
        let dial = &mut self.dials[place];
        if self.now > dial.seeks {
            dial.is_over = true; // 503
            return self.meet("given up");
        }
        let (front, client) = (dial.front, dial.client);
        let owner = self.owner_seen(front, client);
        let Some(conn) = self.usable_conn([front, owner]) else {
            return;
        };
        let dial = &mut self.dials[place];
        let port = u16::try_from(place).unwrap_or(0);
        let client = Client {
            kind: dial.kind,
            address: ([192, 0, 2, 1], port).into(),
            listener: 1,
            tls: dial.overhead > 0,
            server_name: "a.example".into(),
            certificate: None,
        };
        let request = bytes(place, 0, dial.request);
        let it = &mut self.conns[conn];
        if let Ok(id) = it.ends[FRONT].open(&client, request, dial.client as u64) {
            dial.at = Some((conn, id));
            (dial.read, dial.fin_told) = (dial.request, false);
            it.dial_of.insert(id, place);
        }
    }

    /// The kernel's answer about a client.
    fn answer(&mut self, place: usize) {
        let dial = &self.dials[place];
        if let Some((conn, id)) = dial.at {
            self.conns[conn].ends[FRONT]
                .streams
                .unacknowledged(id, dial.unacknowledged(), 20);
        }
    }

    /// Sends of the ring that the kernel took.
    fn report_sends(&mut self, place: usize, conn: usize, id: u32) {
        while let Some(bytes) = self.dials[place].in_flight.front().copied() {
            if self.chance(500) {
                break;
            }
            let dial = &mut self.dials[place];
            dial.in_flight.pop_front();
            let (plain, wire) = dial.sends.last().copied().unwrap_or_default();
            let on_wire = bytes as u64 + dial.overhead;
            dial.sends.push((plain + bytes as u64, wire + on_wire));
            let on_wire = usize::try_from(on_wire).unwrap_or(0);
            self.conns[conn].ends[FRONT]
                .streams
                .sent(id, bytes, on_wire, Now(self.now));
        }
    }

    fn read_client(&mut self, place: usize, conn: usize, id: u32) {
        let dial = &self.dials[place];
        let there = dial.sent - dial.read;
        let end = &mut self.conns[conn].ends[FRONT];
        if there > 0 {
            if end.streams.is_unconfirmed(id) {
                end.streams.unacknowledged(id, dial.unacknowledged(), 20);
            }
            let room = end.streams.room(id) as u64;
            let upto = dial.read + there.min(room).min(9_000);
            if dial.session.is_none() && upto > dial.read {
                *self.met.entry("pushed behind a request").or_default() += 1;
            }
            end.streams.push(id, &bytes(place, dial.read, upto), false);
            self.dials[place].read = upto;
        }
        let dial = &self.dials[place];
        if dial.has_fin && dial.read == dial.sent && !dial.fin_told {
            self.answer(place);
            self.dials[place].fin_told = true;
            self.conns[conn].ends[FRONT].streams.end(id, How::Fin);
        }
    }

    /// Passes on what the client's kernel takes.
    fn pass_on(&mut self, place: usize, conn: usize, id: u32) {
        let it = &mut self.conns[conn];
        let dial = &mut self.dials[place];
        let inbox = it.ends[FRONT].inbox(id);
        if inbox.is_empty() {
            return;
        }
        let begun: usize = dial.in_flight.iter().sum();
        let queued = dial.unacknowledged() + begun as u64;
        let room = usize::try_from(self.plan.kernel.saturating_sub(queued)).unwrap_or(0);
        let taken = room.min(inbox.len());
        if taken == 0 {
            return;
        }
        let given_up = it.dead[OWNER].zip(it.fence);
        assert!(
            given_up.is_none_or(|(dead, fence)| dead > fence),
            "passed on what the owner had returned when the front woke or doubted"
        );
        let session = it.session_of[&id];
        assert!(dial.session.is_none_or(|it| it == session), "two answers");
        dial.session = Some(session);
        for (at, found) in inbox[..taken].iter().enumerate() {
            let expected = byte(session, dial.passed + at as u64);
            assert_eq!(*found, expected, "session {session} at {}", dial.passed);
        }
        dial.passed += taken as u64;
        dial.in_flight.push_back(taken);
        it.ends[FRONT].streams.took(id, taken);
    }

    fn cut_off(&mut self, place: usize, how: How) {
        self.answer(place);
        let dial = &mut self.dials[place];
        dial.is_over = true;
        if let Some((conn, id)) = dial.at {
            self.conns[conn].ends[FRONT].streams.end(id, how);
        }
    }

    pub(crate) fn event_at_front(&mut self, conn: usize, event: Event) {
        let it = &mut self.conns[conn];
        let place_of = |it: &Conn, id: u32| {
            assert!(!it.gone[FRONT].contains(&id), "behind the end of {id}");
            it.dial_of[&id]
        };
        match event {
            Event::Ask(id) => {
                let place = place_of(it, id);
                self.answer(place);
            }
            Event::Room(id) => {
                place_of(it, id);
                self.meet("room at the front");
            }
            Event::Inbox(id, bytes) => {
                place_of(it, id);
                assert!(bytes > 0);
            }
            Event::Ended(id, ending) => {
                let place = place_of(it, id);
                self.ended(place, (conn, id), ending);
            }
            Event::Gone(id, _) => {
                let place = place_of(it, id);
                it.gone[FRONT].insert(id);
                let dial = &mut self.dials[place];
                dial.is_over |= dial.at == Some((conn, id));
            }
            Event::Dead(why) => self.died(FRONT, conn, why),
            Event::Opened(..) | Event::Confirmed(..) | Event::Away => {
                panic!("not at a front: {event:?}")
            }
        }
    }

    fn ended(&mut self, place: usize, at: (usize, u32), ending: Ending) {
        let session = self.conns[at.0].session_of.get(&at.1);
        let session = session.map(|session| &self.sessions[*session]);
        let dial = &self.dials[place];
        assert_eq!(dial.at, Some(at), "of the former stream");
        let is_boundary = session.is_some_and(|it| it.boundaries.contains(&dial.passed));
        match ending {
            Ending::AllSent => {
                let session = session.expect("one that ended");
                assert_eq!(dial.passed, session.pushed);
                assert_eq!(session.made, session.pushed);
                assert!(session.end_told && !dial.all_sent);
                self.dials[place].all_sent = true;
                return self.meet("all sent");
            }
            Ending::Close(code) => {
                assert!(code == 1001 && is_boundary && dial.kind == Kind::Upgrade);
                self.meet("close at a boundary");
            }
            Ending::Reset if is_boundary => self.meet("reset at a boundary"),
            Ending::Reset => self.meet("reset within a frame"),
            Ending::Unavailable => {
                assert!(dial.kind == Kind::Call && dial.passed == 0);
                self.meet("call unavailable");
            }
            Ending::Slow => self.meet("slow"),
            Ending::Repeat(request) => {
                assert_eq!(request, bytes(place, 0, dial.read), "what comes back");
                assert_eq!(dial.passed, 0, "it had an answer");
                let taken = session.map_or(0, |session| session.taken);
                assert!(taken <= dial.request, "sent twice: {taken}");
                self.meet("repeated");
                self.conns[at.0].ends[FRONT].streams.end(at.1, How::Reset);
                let dial = &mut self.dials[place];
                (dial.at, dial.is_over) = (None, dial.is_vanished);
                return;
            }
            Ending::Left(_) => panic!("not at a front"),
        }
        self.cut_off(place, How::Reset);
    }
}
