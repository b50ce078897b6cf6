//! What clients' machines have of what was written to them: it is confirmed, or taken back for the next connection of
//! its slot. See codec/PROTOCOL.md, ROUTE-3.
//!
//! When the machine asks is observed where the clock is the reason. What follows from the answer is predicted.

use super::timers::LATE_MS;
use super::{Conn, ConnId, Held, Model, Queued, Stage};
use broker_core::event::Outcome;
use broker_core::limits::{ACKNOWLEDGE_MS, ASK_AFTER_MS, ASK_BYTES_UNHEARD, ASK_STEP_MS};
use broker_core::limits::{
    ASK_STEP_BYTES, CONTROL_BYTES_MAX, PROOF_ROOM_PARTS, TAKEOVER_MS_MAX, UNREAD_BYTES_FREE,
};
use std::collections::{BTreeMap, BTreeSet};

/// A message that the kernel has.
pub(crate) struct Written {
    pub(crate) queued: Queued,
    pub(crate) at: u64,
    /// Where it begins in the stream, and the end of what carries it on the wire.
    pub(crate) begin: usize,
    pub(crate) end: usize,
}

impl Model {
    /// Bytes were handed to the kernel, so many of the stream and on the wire by now, and whole messages among them,
    /// with their places: see [`Written`].
    pub(crate) fn sent(
        &mut self,
        id: ConnId,
        whole: &[(usize, usize)],
        (sent, wire): (usize, usize),
    ) {
        self.out.touched.insert(id);
        self.answers_taken(id);
        let (now, had) = (self.now, !self.conns[id].outbox.is_empty());
        (self.conns[id].sent, self.conns[id].wire) = (sent, wire);
        if let Some(ws) = &mut self.conns[id].ws {
            ws.went = now;
        }
        let mut offers = Vec::new();
        for &(begin, end) in whole {
            let conn = &mut self.conns[id];
            let mut queued = conn.outbox.pop_front().expect("the model queued it");
            conn.begun -= 1;
            let (number, shard) = (queued.number, conn.shard);
            self.measure(id, queued);
            let message = &self.messages[number];
            let (action, call, bytes) = (message.action, message.call, message.bytes());
            self.conns[id].unasked += bytes;
            if call {
                offers.push(number);
                if std::mem::take(&mut queued.counted) {
                    self.end(shard, action, Outcome::Delivered);
                }
            }
            self.conns[id].written.push_back(Written {
                queued,
                at: now,
                begin,
                end,
            });
        }
        self.forget_if_idle(id);
        for number in offers {
            self.offer_delivered(id, number);
        }
        if !whole.is_empty() {
            self.look_behind(id, ASK_BYTES_UNHEARD);
        }
        if had && self.conns[id].outbox.is_empty() && self.has_slot(id) == Some(false) {
            self.look_at(id);
        }
        self.make_proof_room(self.conns[id].shard);
    }

    /// Asks, if at least `bytes` were written since the last question.
    pub(crate) fn look_behind(&mut self, id: ConnId, bytes: usize) {
        if self.conns[id].unasked >= bytes && !self.by_pong() {
            self.conns[id].unasked = 0;
            self.look_at(id);
        }
    }

    /// It is asked what a client's machine has, if anything is not confirmed; where a pong is the proof, the last one.
    pub(crate) fn look_at(&mut self, id: ConnId) {
        if self.by_pong() {
            self.prove(id);
            self.known(id);
        } else if !self.conns[id].written.is_empty() {
            self.out.looks.push(id);
        }
    }

    /// The client sends no more: what its machine has not confirmed by now, its program does not read.
    pub(crate) fn is_over(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        conn.over.get_or_insert(conn.wire);
        if !self.by_pong() {
            self.look_at(id);
        }
    }

    /// Whether a WebSocket has its slot; `None` for other connections.
    pub(super) fn has_slot(&self, id: ConnId) -> Option<bool> {
        let conn = &self.conns[id];
        let ws = conn.ws.as_ref()?;
        Some(matches!(conn.stage, Stage::Open) && !ws.superseded)
    }

    /// The last `unacknowledged` bytes are not acknowledged; all before them are confirmed.
    pub(crate) fn confirm(&mut self, id: ConnId, unacknowledged: usize) {
        let conn = &mut self.conns[id];
        let (shard, by_now) = (conn.shard, conn.wire.saturating_sub(unacknowledged));
        conn.unasked = 0;
        conn.asked = self.now;
        if by_now > conn.confirmed {
            (conn.confirmed, conn.doubtful) = (by_now, None);
            conn.gone.confirmed = self.now;
        }
        let through = conn.confirmed;
        let mut repeated = 0;
        while conn.returned.pop_front_if(|end| *end <= through).is_some() {
            repeated += 1;
        }
        conn.repeated += repeated;
        self.shards[shard].counters.repeated += u64::from(repeated);
        if repeated > 0 {
            self.met("message confirmed after it was taken back");
        }
        let read = self.conns[id].over.map_or(through, |by| through.min(by));
        let mut waited = false;
        while let Some(one) = self.conns[id].written.pop_front_if(|one| one.end <= read) {
            waited |= self.confirms(id, one.queued);
        }
        self.forget_if_idle(id);
        self.goes_on(id, waited);
    }

    /// What a master has confirmed ended what messages waited for, or did not.
    pub(super) fn goes_on(&mut self, id: ConnId, waited: bool) {
        if let Some(ws) = self.conns[id].ws.as_ref().filter(|_| waited) {
            self.deliver_kept(ws.channel, None);
        }
    }

    /// Of a connection for which nothing waits, and to which nothing was sent that is not confirmed, nothing is known:
    /// what is sent on it from here on is looked at by itself.
    pub(crate) fn forget_if_idle(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        let returned = !conn.returned.is_empty() || conn.repeated > 0;
        let pinged = conn.proof.is_some();
        if conn.bytes == 0 && conn.written.is_empty() && !returned && !pinged && conn.over.is_none()
        {
            (conn.confirmed, conn.doubtful) = (conn.wire, None);
            conn.round_trip_ms = 0;
        }
    }

    /// A client's machine has a message. A copy has its original. See [`Self::notes_offer`].
    pub(super) fn confirms(&mut self, id: ConnId, queued: Queued) -> bool {
        if queued.counted {
            self.out.confirmed.push((id, queued.number));
        }
        self.proved(id, queued, Outcome::Delivered);
        self.notes_offer(id, queued)
    }

    fn proved(&mut self, id: ConnId, queued: Queued, outcome: Outcome) {
        if queued.counted {
            let action = self.messages[queued.number].action;
            self.end(self.conns[id].shard, action, outcome);
        }
    }

    /// The edge has said what a client's machine has.
    pub(crate) fn unacknowledged(&mut self, id: ConnId, bytes: usize, round_trip_ms: u32) {
        let conn = &mut self.conns[id];
        conn.unread = if bytes > UNREAD_BYTES_FREE { bytes } else { 0 };
        conn.uncounted = 0;
        if !self.by_pong() && self.conns[id].ws.is_some() {
            self.conns[id].round_trip_ms = round_trip_ms;
            self.confirm(id, bytes);
            self.known(id);
        }
    }

    /// The kernel took bytes of a connection: those that no message is asked for are counted.
    pub(crate) fn takes(&mut self, id: ConnId, on_wire: usize, messages: usize) {
        if messages == 0 || self.by_pong() {
            self.conns[id].uncounted += on_wire.next_multiple_of(ASK_STEP_BYTES);
        }
    }

    /// Whether a connection may be asked for what no message is asked for: at once, or by the clock.
    pub(crate) fn is_asked_for_bytes(&self, id: ConnId, clock: bool) -> bool {
        let conn = &self.conns[id];
        conn.uncounted >= UNREAD_BYTES_FREE || clock && conn.unread > 0
    }

    /// It is known what a client's machine has.
    pub(super) fn known(&mut self, id: ConnId) {
        self.out.touched.insert(id);
        if std::mem::take(&mut self.conns[id].makes_room) {
            let conn = &mut self.conns[id];
            conn.uncovers(conn.written.len());
            for one in std::mem::take(&mut self.conns[id].written) {
                self.met("message delivered without a proof");
                self.proved(id, one.queued, Outcome::DeliveredUnproved);
            }
            self.conns[id].doubtful = None;
            self.forget_if_idle(id);
        }
        if self.has_slot(id) != Some(false) {
            return self.may_doubt(id);
        }
        let conn = &self.conns[id];
        let ws = conn.ws.as_ref().expect("a WebSocket");
        let (channel, viewer) = (ws.channel, ws.viewer.clone());
        let missing_ms = (2 * u64::from(conn.round_trip_ms) + ACKNOWLEDGE_MS).min(TAKEOVER_MS_MAX);
        let waited_for =
            matches!(conn.stage, Stage::Open) || self.member(channel, &viewer).is_some();
        let by = match (conn.over.is_some() || conn.doubtful.is_some(), waited_for) {
            (true, _) => Some(self.now),
            (false, true) => Some(self.now.saturating_sub(missing_ms)),
            (false, false) => None,
        };
        let back = self.take_written(id, by);
        let kept = &self.channels[channel].pending;
        let mut all = back.iter().map(|one| &one.number).chain(kept);
        let over = |number: &usize| self.messages[*number].expires <= self.now;
        if self.out.ticks && !back.is_empty() && all.any(over) {
            self.give_up(); // whether it expires in this tick or in the next one, and overwrites before, does not show
        }
        if !back.is_empty()
            && let Some(lost) = self.conns[id].ws.as_mut().and_then(|ws| ws.lost.as_mut())
        {
            lost.by = None; // it may have had them, and might get them once more
        }
        self.give_back(id, channel, viewer.as_deref(), back);
        let conn = &self.conns[id];
        match conn.written.front() {
            Some(first) if by.is_some() => {
                let (due, ended) = (first.at + missing_ms, conn.outbox.is_empty());
                let held = &mut self.channels[channel].held;
                for held in held.iter_mut().filter(|held| held.by == id) {
                    held.ask = due;
                    held.until = if ended { u64::MAX } else { held.until };
                }
                self.met("message may be confirmed yet: newer ones wait");
            }
            None if conn.outbox.is_empty() => self.release_slot(id, channel, viewer.as_deref()),
            Some(_) | None => {}
        }
    }

    /// The viewers whose messages a master has not confirmed.
    pub(crate) fn unconfirmed_viewers(&self, id: ConnId) -> BTreeSet<String> {
        let written = self.conns[id].written.iter();
        let messages = written.map(|one| &self.messages[one.queued.number]);
        let messages = messages.filter(|message| !message.call);
        messages.map(|message| message.viewer.clone()).collect()
    }

    /// Takes messages back that were written by then and are not confirmed.
    fn take_written(&mut self, id: ConnId, by: Option<u64>) -> Vec<Queued> {
        let conn = &mut self.conns[id];
        let mut back = Vec::new();
        while let Some(one) = conn
            .written
            .pop_front_if(|one| by.is_some_and(|by| one.at <= by))
        {
            conn.returned.push_back(one.end);
            conn.uncovers(1);
            back.push(Queued {
                written: true,
                ..one.queued
            });
        }
        if !back.is_empty() {
            let conn = &self.conns[id];
            self.met(match (conn.over.is_some(), conn.doubtful, &conn.stage) {
                (true, ..) => "message taken back: its recipient has closed",
                (false, Some(_), _) => "message taken back: its recipient is doubtful",
                (false, None, Stage::Open) => "message taken back from one that lost its slot",
                (false, None, _) => "message taken back from one that ends",
            });
        }
        back
    }

    /// A connection does not hold its slot any more: what was kept meanwhile is delivered.
    pub(crate) fn release_slot(&mut self, id: ConnId, channel: usize, viewer: Option<&str>) {
        let held = &mut self.channels[channel].held;
        let before = held.len();
        held.retain(|held| held.by != id);
        if held.len() < before {
            if self.out.ticks && viewer.is_none() && self.offer_is_due(channel) {
                self.give_up(); // it is given in this tick, or in the next one
            }
            self.deliver_kept(channel, viewer);
        }
    }

    /// The connection that has a slot.
    pub(super) fn member(&self, channel: usize, viewer: &Option<String>) -> Option<ConnId> {
        let slots = Some(&self.channels[channel]).filter(|slots| slots.alive)?;
        match viewer {
            None => slots.master,
            Some(viewer) => slots.viewers.get(viewer).copied(),
        }
    }

    /// Bytes that a connection keeps: those that wait, and what was written from the first message on that is not
    /// confirmed, or what the kernel holds, if that is more.
    pub(crate) fn kept_bytes(&self, id: ConnId) -> usize {
        let conn = &self.conns[id];
        let first = conn.written.front().map(|one| one.begin);
        let first = first.or(conn.begins).unwrap_or(conn.sent);
        let kept = conn.bytes + conn.sent.saturating_sub(first);
        kept.max(conn.bytes - conn.launched + conn.unread)
    }

    /// Whether an answer that is no message finds room.
    pub(crate) fn has_control_room(&self, id: ConnId) -> bool {
        let conn = &self.conns[id];
        let all = conn.control + conn.unread;
        conn.control < CONTROL_BYTES_MAX && all < self.settings.limits.outbox_bytes
    }

    /// More bytes are not confirmed than may be: an eighth of them makes room, of the account with most, the oldest
    /// first.
    fn make_proof_room(&mut self, shard: usize) {
        let most = self.settings.unconfirmed_bytes_of_shard();
        let mut accounts: BTreeMap<Option<&str>, (usize, Vec<_>)> = BTreeMap::new();
        for (id, conn) in self.conns.iter().enumerate() {
            let (Some(first), Some(ws)) = (conn.written.front(), &conn.ws) else {
                continue;
            };
            if conn.live && conn.shard == shard {
                let channel = &self.channels[ws.channel];
                let account = channel.alive.then_some(channel.account.as_str());
                let (sum, all) = accounts.entry(account).or_default();
                *sum += self.unconfirmed(id);
                all.push((first.at, conn.key, id));
            }
        }
        let all: usize = accounts.values().map(|(sum, _)| sum).sum();
        if all <= most {
            return;
        }
        let (_, mut payers) = (accounts.into_values())
            .max_by_key(|(sum, _)| *sum)
            .expect("somebody has them");
        payers.sort_unstable();
        let mut wanted = most / PROOF_ROOM_PARTS;
        for (_, _, id) in payers {
            if wanted == 0 {
                break;
            }
            wanted = wanted.saturating_sub(self.unconfirmed(id));
            self.conns[id].makes_room = true;
            self.look_at(id);
        }
    }

    /// Bytes of messages that are written to a connection and not confirmed.
    pub(crate) fn unconfirmed(&self, id: ConnId) -> usize {
        let written = self.conns[id].written.iter();
        written
            .map(|one| self.messages[one.queued.number].bytes())
            .sum()
    }

    /// Connections of a shard of which it is doubtful that their peers are there.
    pub(crate) fn doubtful_of(&self, shard: usize) -> u64 {
        let here = |conn: &&Conn| conn.live && conn.shard == shard && conn.doubtful.is_some();
        self.conns.iter().filter(here).count() as u64
    }

    /// Messages of a shard that are written and not confirmed, and their bytes.
    pub(crate) fn written_of(&self, shard: usize) -> (u64, u64) {
        let here = |id: &usize| self.conns[*id].live && self.conns[*id].shard == shard;
        let (mut messages, mut bytes) = (0, 0);
        for id in (0..self.conns.len()).filter(here) {
            let written = self.conns[id].written.iter();
            messages += written.filter(|one| one.queued.counted).count() as u64;
            bytes += self.unconfirmed(id) as u64;
        }
        (messages, bytes)
    }

    /// Nobody was forgotten: who has messages that are not confirmed is asked each second, and newer messages do not
    /// wait for them for longer.
    pub(crate) fn all_asked(&self) {
        let now = self.now.saturating_sub(LATE_MS);
        let every = ASK_AFTER_MS + ASK_STEP_MS;
        for (id, conn) in self.conns.iter().enumerate().filter(|(_, conn)| conn.live) {
            let Some(first) = conn.written.front() else {
                continue;
            };
            let asked = now < first.at.max(conn.asked) + every || conn.proof.is_some();
            assert!(asked || self.has_slot(id) != Some(true), "nobody asks {id}");
        }
        for channel in &self.channels {
            for Held {
                slot, by, since, ..
            } in &channel.held
            {
                let slots =
                    (slot.as_ref()).map_or(channel.master, |id| channel.viewers.get(id).copied());
                let (Some(member), holder) = (slots, &self.conns[*by]) else {
                    continue;
                };
                let came = self.conns[member].ws.as_ref().map_or(0, |ws| ws.opened);
                let last = holder.written.back().map_or(0, |one| one.at);
                let since = (*since).max(came).max(last);
                let waits = !holder.outbox.is_empty() || now < since + every + TAKEOVER_MS_MAX;
                assert!(waits, "{by} keeps the messages of {member} since {since}");
            }
        }
    }
}
