//! The owner's edge, and the sessions of its clients.

use super::world::{OWNER, Session, World, byte, bytes};
use broker_core::cluster::link::{Ending, Event};
use codec::link::{Client, How, Kind};
use std::collections::BTreeSet;

impl World {
    pub(crate) fn work_all(&mut self, node: usize) {
        for session in 0..self.sessions.len() {
            let it = &self.sessions[session];
            if !it.is_gone && self.conns[it.at.0].nodes[OWNER] == node {
                self.work(session);
            }
        }
    }

    /// Whether this node has the session's client.
    fn has_client(&self, place: usize) -> bool {
        let session = &self.sessions[place];
        let client = &self.clients[self.dials[session.dial].client];
        client.owner == self.conns[session.at.0].nodes[OWNER]
    }

    fn work(&mut self, place: usize) {
        let (conn, id) = self.sessions[place].at;
        let is_troubled = !self.settles && !self.plan.is_short;
        if is_troubled && self.chance(10) {
            self.sessions[place].paused = self.now + self.rng.u64(..5_000);
        }
        let there = self.conns[conn].ends[OWNER].inbox(id).len();
        self.take(place, there);
        let session = &self.sessions[place];
        if !session.closes && !session.is_answered && session.taken >= session.request {
            self.begin_answer(place, is_troubled);
        }
        let session = &self.sessions[place];
        if session.is_answered && !session.closes && !self.has_client(place) {
            self.meet("moved");
            return self.end(place, How::Cut(1001));
        }
        self.make_messages(place);
        if is_troubled && self.chance(3) && self.sessions[place].is_answered {
            self.sessions[place].closes = true;
            if self.rng.bool() {
                return self.end(place, How::Cut(1001));
            }
        }
        self.push(place);
        let session = &self.sessions[place];
        if session.closes && session.pushed == session.made && !session.end_told {
            self.end(place, How::Finish);
        }
        if self.chance(20) {
            self.conns[conn].ends[OWNER].streams.ask(id);
        }
    }

    fn begin_answer(&mut self, place: usize, is_troubled: bool) {
        let declines = !self.has_client(place) || (is_troubled && self.chance(100));
        if declines {
            self.sessions[place].closes = true;
            self.meet("not begun");
            return self.end(place, How::NotBegun);
        }
        let most = if self.plan.is_short {
            900
        } else {
            5 * self.plan.sizes[3]
        };
        let (head, answer) = (self.rng.u64(40..200), self.rng.u64(1..most));
        let session = &mut self.sessions[place];
        session.is_answered = true;
        if session.kind == Kind::Upgrade {
            session.made = head;
            session.boundaries.insert(head);
        } else {
            session.made = answer;
            session.closes = true;
            let dial = &mut self.dials[session.dial];
            let twice = std::mem::replace(&mut dial.is_carried_out, true);
            assert!(!twice, "a call is carried out twice");
        }
    }

    /// Takes messages out of the queue of the client whose newest connection it has.
    fn make_messages(&mut self, place: usize) {
        let session = &mut self.sessions[place];
        let client = &mut self.clients[self.dials[session.dial].client];
        let has_slot = client.dial == Some(session.dial) && session.is_answered && !session.closes;
        while has_slot && session.made - session.pushed < 300_000 {
            let Some(id) = client.queue.pop_front() else {
                break;
            };
            let sizes = self.plan.sizes;
            let size = if self.plan.is_short {
                30
            } else {
                sizes[self.rng.usize(..4)]
            };
            session.made += size;
            session.boundaries.insert(session.made);
            session.marks.push((session.made, id));
        }
    }

    fn push(&mut self, place: usize) {
        let session = &mut self.sessions[place];
        let waits = session.made - session.pushed;
        if waits == 0 || session.awaits_room || session.end_told {
            return;
        }
        let (conn, id) = session.at;
        let end = &mut self.conns[conn].ends[OWNER];
        let room = end.streams.room(id) as u64;
        let upto = session.pushed + waits.min(room);
        if room > 0 {
            let piece = bytes(place, session.pushed, upto);
            end.streams.push(id, &piece, upto == session.made);
            session.pushed = upto;
        }
        if waits > room {
            session.awaits_room = room == 0;
            self.meet("starved");
        }
    }

    /// The session takes bytes, unless it pauses.
    fn take(&mut self, place: usize, most: usize) {
        let session = &mut self.sessions[place];
        let (conn, id) = session.at;
        let end = &mut self.conns[conn].ends[OWNER];
        if self.now < session.paused && !self.settles {
            return;
        }
        let inbox = end.inbox(id);
        let taken = most.min(inbox.len());
        for (at, found) in inbox[..taken].iter().enumerate() {
            let expected = byte(session.dial, session.taken + at as u64);
            assert_eq!(
                *found, expected,
                "client {} at {}",
                session.dial, session.taken
            );
        }
        session.taken += taken as u64;
        let is_of_call = session.kind != Kind::Upgrade;
        assert!(!is_of_call || session.taken <= session.request);
        end.streams.took(id, taken);
    }

    fn end(&mut self, place: usize, how: How) {
        let session = &mut self.sessions[place];
        (session.closes, session.end_told) = (true, true);
        let (conn, id) = session.at;
        self.conns[conn].ends[OWNER].streams.end(id, how);
    }

    pub(crate) fn event_at_owner(&mut self, conn: usize, event: Event) {
        let of = |id: u32| {
            let it = &self.conns[conn];
            assert!(!it.gone[OWNER].contains(&id), "behind the end of {id}");
            it.session_of[&id]
        };
        match event {
            Event::Opened(id, facts, request) => self.opened((conn, id), &facts, request.into()),
            Event::Inbox(id, bytes) => {
                let place = of(id);
                self.take(place, bytes);
            }
            Event::Room(id) => {
                let place = of(id);
                self.sessions[place].awaits_room = false;
            }
            Event::Confirmed(id, unconfirmed, _) => {
                let place = of(id);
                self.confirm(place, unconfirmed);
                self.meet("confirmed");
            }
            Event::Ended(id, Ending::Left(how)) => {
                let place = of(id);
                let session = &self.sessions[place];
                let dial = &self.dials[session.dial];
                self.sessions[place].closes = true;
                if how == How::Fin {
                    assert_eq!(self.sessions[place].taken, dial.read, "behind all it sent");
                    return self.meet("left: fin");
                }
                self.end(place, How::Cut(0));
                self.meet(if how == How::Reset {
                    "left: reset"
                } else {
                    "left: other"
                });
            }
            Event::Gone(id, unconfirmed) => {
                let place = of(id);
                self.conns[conn].gone[OWNER].insert(id);
                self.confirm(place, unconfirmed);
                self.give_back(place);
            }
            Event::Dead(why) => self.died(OWNER, conn, why),
            Event::Ask(_) | Event::Away | Event::Ended(..) => panic!("not at an owner: {event:?}"),
        }
    }

    fn opened(&mut self, at: (usize, u32), facts: &Client, request: u64) {
        let dial = usize::from(facts.address.port());
        assert_eq!(self.conns[at.0].dial_of[&at.1], dial, "another client's");
        let it = &self.dials[dial];
        assert_eq!((facts.kind, request), (it.kind, it.request));
        let place = self.sessions.len();
        self.conns[at.0].session_of.insert(at.1, place);
        self.sessions.push(Session {
            dial,
            at,
            kind: facts.kind,
            request: it.request,
            taken: 0,
            made: 0,
            pushed: 0,
            boundaries: BTreeSet::new(),
            marks: Vec::new(),
            confirmed: 0,
            is_answered: false,
            awaits_room: false,
            paused: 0,
            closes: false,
            end_told: false,
            is_gone: false,
        });
    }

    /// All but the last `unconfirmed` bytes count as confirmed, so the client's machine must have them.
    fn confirm(&mut self, place: usize, unconfirmed: u64) {
        let session = &mut self.sessions[place];
        let confirmed = session.pushed - unconfirmed;
        let dial = &self.dials[session.dial];
        let has = if dial.session == Some(place) {
            dial.has()
        } else {
            0
        };
        assert!(
            confirmed <= has,
            "confirmed {confirmed}, and the machine has {has}"
        );
        let marks = session.marks.iter();
        let reached = marks.take_while(|(end, _)| *end <= confirmed).count();
        session.confirmed = session.confirmed.max(reached);
    }

    /// A session is gone: what its client has not confirmed waits for the next one, before what is newer.
    fn give_back(&mut self, place: usize) {
        let session = &mut self.sessions[place];
        (session.is_gone, session.closes) = (true, true);
        let returned = session.marks.len() - session.confirmed;
        let client = &mut self.clients[self.dials[session.dial].client];
        for (_, id) in session.marks[session.confirmed..].iter().rev() {
            client.queue.push_front(*id);
        }
        session.confirmed = session.marks.len();
        if returned > 0 {
            self.meet("returned");
        }
    }
}
