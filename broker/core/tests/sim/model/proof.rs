//! Worlds where a pong is the proof: what acknowledges may be a proxy that ends TCP, and a client's machine has what it
//! has answered a ping behind. See codec/PROTOCOL.md, ROUTE-3.
//!
//! Pings that follow what was queued are predicted; those of the sweep are observed.

use super::timers::LATE_MS;
use super::{Conn, ConnId, Expect, Held, Model, Stage};
use crate::sim::wire::Item;
use broker_core::limits::ASK_AFTER_MS;
use broker_core::settings::Proof;

/// A ping whose pong proves what was before it.
pub(crate) struct Proving {
    /// Messages before it that are not confirmed, and when it was queued.
    covers: usize,
    since: u64,
    /// Its number, once it is seen.
    number: Option<u32>,
}

/// A ping with a number.
const PING_BYTES: usize = 6;

impl Model {
    /// Whether a pong is the proof.
    pub(crate) fn by_pong(&self) -> bool {
        self.settings.signaling.proof == Proof::Pong
    }

    /// Where a pong is the proof, a ping follows what was queued, unless one is under way.
    pub(crate) fn prove(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let messages = conn.written.len() + conn.outbox.len();
        let open = matches!(conn.stage, Stage::Open) && self.by_pong();
        if open && conn.proof.is_none() && messages > 0 {
            self.expect(id, Expect::ProofPing, PING_BYTES);
            self.pings(id);
        }
    }

    /// A ping that proves is queued.
    ///
    /// # Panics
    /// When that has no reason.
    pub(crate) fn pings(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let covers = conn.written.len() + conn.outbox.len();
        let open = matches!(conn.stage, Stage::Open) && self.by_pong();
        assert!(open && conn.proof.is_none(), "{id} was pinged");
        self.conns[id].proof = Some(Proving {
            covers,
            since: self.now,
            number: None,
        });
    }

    /// It is seen, behind this many messages that wait. Of one by the clock it does not show before what else it is.
    pub(crate) fn pinged(&mut self, id: ConnId, item: &Item, before: usize, clock: bool) {
        let Item::ProofPing(number) = item else {
            return;
        };
        let conn = &mut self.conns[id];
        let covers = conn.written.len() + before;
        let proof = conn.proof.as_mut().expect("it was pinged");
        assert!(clock || proof.covers == covers, "{id} is to prove {covers}");
        (proof.number, proof.covers) = (Some(*number), covers);
    }

    /// Whether one that is closed by the clock was given something before, and a ping behind it, does not show.
    pub(crate) fn closes_unpinged(&self, id: ConnId, item: &Item) {
        let next = self.conns[id].expects.front();
        if matches!(item, Item::Close(..)) && matches!(next, Some(Expect::ProofPing)) {
            self.give_up();
        }
    }

    /// A pong came: whether it is the proof. Then all before its ping is confirmed.
    pub(crate) fn proves(&mut self, id: ConnId, payload: &[u8]) -> bool {
        let (now, conn) = (self.now, &mut self.conns[id]);
        let same = |proof: &mut Proving| {
            let number = proof.number.map(u32::to_be_bytes);
            number.is_some_and(|number| number == payload)
        };
        let Some(proof) = conn.proof.take_if(same) else {
            return false;
        };
        conn.round_trip_ms = u32::try_from(now - proof.since).expect("soon");
        (conn.doubtful, conn.gone.confirmed) = (None, now);
        let mut waited = false;
        for _ in 0..proof.covers.min(conn.written.len()) {
            let one = self.conns[id].written.pop_front().expect("counted");
            self.met("message confirmed by a pong");
            waited |= self.confirms(id, one.queued);
        }
        self.forget_if_idle(id);
        self.prove(id);
        self.goes_on(id, waited);
        self.known(id);
        true
    }

    /// The session of a client that sends no more has left its channel: where a pong is the proof, the last one says
    /// what it had.
    pub(crate) fn takes_leave(&mut self, id: ConnId) {
        if self.by_pong() && self.conns[id].over.is_some() {
            self.known(id);
        }
    }

    /// The number of a shard's recipients that the sweep found doubtful: all that may be, or none.
    ///
    /// # Panics
    /// When that has no reason, or comes too late.
    pub(crate) fn observe_doubts(&mut self, shard: usize, found: u64) {
        let due: Vec<ConnId> = (0..self.conns.len())
            .filter(|id| self.conns[*id].live && self.conns[*id].shard == shard)
            .filter(|id| self.has_slot(*id) == Some(true) && self.is_due(*id, self.now))
            .collect();
        let new = found.saturating_sub(self.doubtful_of(shard));
        if new == due.len() as u64 {
            due.into_iter().for_each(|id| self.may_doubt(id));
        } else if new > 0 {
            self.give_up(); // which of them does not show
        }
        let late = self.now.saturating_sub(LATE_MS + ASK_AFTER_MS);
        for id in 0..self.conns.len() {
            let mine = self.conns[id].live && self.conns[id].shard == shard;
            let late = mine && self.has_slot(id) == Some(true) && self.is_due(id, late);
            assert!(!late, "nobody doubts {id}");
        }
    }

    /// The sweep took back what doubtful connections without a slot have not confirmed: this many bytes are left.
    ///
    /// # Panics
    /// When that has no reason, or comes too late.
    pub(crate) fn observe_returns(&mut self, shard: usize, left: u64) {
        let may = |id: &ConnId| {
            let conn = &self.conns[*id];
            let doubtful = conn.doubtful.is_some() && !conn.written.is_empty();
            conn.live && conn.shard == shard && doubtful && self.has_slot(*id) == Some(false)
        };
        let may: Vec<ConnId> = (0..self.conns.len()).filter(may).collect();
        let (_, had) = self.written_of(shard);
        let taken = usize::try_from(had.saturating_sub(left)).expect("little");
        let all: usize = may.iter().map(|id| self.unconfirmed(*id)).sum();
        let going = match may.iter().find(|id| self.unconfirmed(**id) == taken) {
            _ if taken == 0 => Vec::new(),
            _ if taken == all => may.clone(),
            Some(one) => vec![*one],
            None => self.give_up(), // which of them does not show
        };
        for id in going {
            self.met("message taken back by the sweep");
            self.departures += 1; // what else found room in this tick, before or after that does not show
            self.known(id);
        }
        let late = self.now.saturating_sub(LATE_MS + ASK_AFTER_MS);
        for id in may {
            let since = self.conns[id].ws.as_ref().map_or(0, |ws| ws.moved);
            let written = self.conns[id].written.front().map(|first| first.at);
            let waits = written.is_none_or(|at| since.max(at) >= late);
            assert!(waits, "{id} keeps its messages");
        }
    }

    /// Who holds a slot of a channel, and what is missing of it, is looked at in time.
    pub(crate) fn ask_holders(&mut self, channel: usize) {
        let now = self.now;
        let due = |held: &Held| held.ask <= now;
        while let Some(place) = self.channels[channel].held.iter().position(due) {
            let held = &mut self.channels[channel].held[place];
            held.ask = u64::MAX;
            let by = held.by;
            let viewer = self.conns[by].ws.as_ref().and_then(|ws| ws.viewer.clone());
            let waiting = self.member(channel, &viewer);
            let is_open = |id: &ConnId| matches!(self.conns[*id].stage, Stage::Open);
            let mut both = waiting.into_iter().chain([by]).filter(is_open);
            if both.any(|id| self.ends_by_itself(id)) {
                self.give_up(); // whether it was asked before does not show
            }
            self.departures += usize::from(self.by_pong()); // nor whether others were
            self.look_at(by);
        }
    }
}

impl Conn {
    /// The first messages are no longer there to be proved.
    pub(super) fn uncovers(&mut self, messages: usize) {
        if let Some(proof) = &mut self.proof {
            proof.covers = proof.covers.saturating_sub(messages);
        }
    }

    /// The messages that were not begun are taken back.
    pub(crate) fn covers_no_more_than(&mut self, messages: usize) {
        if let Some(proof) = &mut self.proof {
            proof.covers = proof.covers.min(messages);
        }
    }
}
