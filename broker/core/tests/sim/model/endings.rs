//! Ends of connections, and the messages that go back. See codec/PROTOCOL.md, LIFE.

use super::trail::What;
use super::{ConnId, Expect, Held, Model, Queued, Stage};
use broker_core::journal::EndReason;

/// Time that nobody has a slot before somebody who lost it is closed, to come back.
const VACANT_MS: u64 = 5_000;

/// Time after its close frame for which a viewer may come back to what is kept of it.
const CLOSED_MS: u64 = 5_000;

impl Model {
    /// Our close frame, for an open WebSocket.
    pub(crate) fn close_ws(&mut self, id: ConnId, code: u16, text: &str, reason: EndReason) {
        if !matches!(self.conns[id].stage, Stage::Open) {
            return;
        }
        self.because(id, reason);
        self.leave(id);
        let bytes = crate::sim::wire::frame_bytes(2 + text.len());
        self.expect(id, Expect::Close(code, text.to_owned()), bytes);
        self.conns[id].stage = Stage::AwaitEcho(self.now, false);
    }

    /// The rest is sent, then the connection ends.
    pub(crate) fn finish(&mut self, id: ConnId) {
        self.leave(id);
        if matches!(self.conns[id].stage, Stage::Ending(_)) {
            return;
        }
        self.conns[id].pieces.clear();
        if let Some(until) = self.defers_end(id) {
            self.met("scripted: end waits for its answers");
            self.conns[id].stage = Stage::Ending(until);
            self.conns[id].deferred = true;
        } else {
            self.conns[id].stage = Stage::Ending(self.now);
            self.out.closes.push(id);
        }
    }

    /// The connection ends at once.
    pub(crate) fn abort(&mut self, id: ConnId) {
        if matches!(self.conns[id].stage, Stage::Ending(u64::MAX)) {
            return;
        }
        self.leave(id);
        self.conns[id].stage = Stage::Ending(u64::MAX);
        self.conns[id].pieces.clear();
        self.out.aborts.push(id);
    }

    /// The peer sends no more.
    pub(crate) fn peer_ended(&mut self, id: ConnId) {
        self.out.touched.insert(id);
        self.is_over(id);
        match &self.conns[id].stage {
            Stage::AwaitReply(_) => {
                self.conns[id].ended = true;
                if self.hang_up(id) {
                    self.abort(id);
                }
            }
            // All that it has sent is answered first.
            Stage::AwaitHead | Stage::AwaitBody(_) if self.has_more(id) => {
                self.met("half-closed before its requests were answered");
                self.conns[id].ended = true;
            }
            Stage::AwaitTls | Stage::AwaitHead | Stage::AwaitBody(_) | Stage::AwaitHandover(..) => {
                self.finish(id);
            }
            Stage::Open => {
                self.because(id, EndReason::PeerGone);
                self.abort(id);
            }
            Stage::AwaitEcho(..) => self.finish(id),
            Stage::Ending(_) | Stage::Gone => {}
        }
        self.takes_leave(id);
    }

    /// The descriptor is free; the kernel held so many bytes that the peer had not acknowledged.
    pub(crate) fn gone(&mut self, id: ConnId, unacknowledged: usize) {
        self.out.touched.insert(id);
        if !self.by_pong() {
            self.confirm(id, unacknowledged);
        }
        self.leave(id);
        self.hang_up(id);
        self.connection_over(id);
        let conn = &mut self.conns[id];
        (conn.live, conn.stage, conn.begun) = (false, Stage::Gone, 0);
        let written = std::mem::take(&mut conn.written).into_iter();
        let written = written.map(|one| Queued {
            written: true,
            ..one.queued
        });
        let left: Vec<Queued> = written.chain(std::mem::take(&mut conn.outbox)).collect();
        let (control, messages) = (conn.control, conn.bytes - conn.control);
        let ws = conn.ws.as_ref().map(|ws| (ws.channel, ws.viewer.clone()));
        self.shrink(id, messages);
        self.shrink_control(id, control);
        if let Some((channel, viewer)) = ws {
            match left.first() {
                Some(one) if one.written => self.met("message taken back from one that is gone"),
                Some(_) => self.met("begun message given back"),
                None => {}
            }
            let others = |held: &Held| held.by != id;
            let frees = !self.channels[channel].held.iter().all(others);
            self.channels[channel].held.retain(others);
            self.give_back(id, channel, viewer.as_deref(), left);
            if frees {
                self.deliver_kept(channel, viewer.as_deref());
            }
        }
    }

    /// It is offline from here on; what no byte of was taken goes back.
    pub(crate) fn leave(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let (Stage::Open, Some(ws)) = (&conn.stage, &conn.ws) else {
            return;
        };
        let (channel, viewer, superseded) = (ws.channel, ws.viewer.clone(), ws.superseded);
        let reason = ws.reason.expect("something ends it");
        let what = What::Left(id, reason, ws.or_reason);
        self.happens(channel, what);
        self.conns[id].stage = Stage::AwaitEcho(self.now, false);
        self.moves_up(id);
        self.gives_way_no_more(id);
        let returning = self.returning(id, channel);
        let has_ended = returning.is_none() && self.gave_way_and_ended(id);
        if self.out.ticks
            && (has_ended || returning.is_some_and(|older| self.ends_by_itself(older)))
        {
            self.give_up(); // whether it ended before or after it had its slot again
        }
        let slots = &mut self.channels[channel];
        slots.superseded.retain(|(_, other)| *other != id);
        let left = match &viewer {
            None => slots.master.take_if(|master| *master == id).is_some(),
            Some(viewer) if slots.viewers.get(viewer) == Some(&id) => {
                slots.viewers.remove(viewer).is_some()
            }
            Some(_) => false,
        };
        let returning = returning.filter(|_| left);
        if returning.is_some() && self.by_pong() && !self.conns[id].written.is_empty() {
            self.give_up(); // when it is looked at does not show
        }
        let slots = &mut self.channels[channel];
        if left && returning.is_none() {
            slots.vacant.push((viewer.clone(), self.now + VACANT_MS));
        }
        let went = left && returning.is_none() && reason == EndReason::PeerClosed;
        if let Some(viewer) = viewer.as_ref().filter(|_| went && !self.settings.strict())
            && !self.of_key(channel, true, viewer).is_empty()
        {
            let until = self.now + CLOSED_MS;
            (self.channels[channel].closed).push((viewer.clone(), until));
        }
        self.forget_vacancy(channel, &viewer);
        if let Some(older) = returning {
            self.takes_place_again(older, channel);
        }
        if viewer.is_none() {
            self.offers_stay_behind(channel, id);
            self.forget_master(channel, id);
        }
        if viewer.is_some() {
            self.viewer_closes(id, channel, reason);
        }
        if !superseded {
            if viewer.is_none() {
                self.offers_lost_their_master(channel, id, false);
            }
            self.take_back(id);
        }
        if returning.is_some() {
            self.deliver_kept(channel, viewer.as_deref());
        }
    }

    pub(crate) fn take_back(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        let ws = conn.ws.as_ref().expect("a WebSocket");
        let (channel, viewer) = (ws.channel, ws.viewer.clone());
        let taken: Vec<Queued> = conn.outbox.split_off(conn.begun).into();
        conn.covers_no_more_than(conn.written.len() + conn.begun);
        let numbers: Vec<usize> = taken.iter().map(|one| one.number).collect();
        let bytes = self.bytes_of(&numbers);
        self.shrink(id, bytes);
        self.forget_if_idle(id);
        self.out.touched.insert(id);
        if !taken.is_empty() {
            self.met("unsent messages taken back");
        }
        let conn = &self.conns[id];
        let (begun, unconfirmed) = (conn.begun > 0, !conn.written.is_empty());
        if (begun || unconfirmed) && self.channels[channel].alive {
            let held = &mut self.channels[channel].held;
            let several = held.iter().any(|held| held.slot == viewer);
            held.push(Held {
                slot: viewer.clone(),
                by: id,
                until: u64::MAX,
                ask: u64::MAX,
                since: self.now,
            });
            if begun {
                let until = self.now + self.settings.timeouts.close_ms;
                held.last_mut().expect("pushed").until = until;
                self.met("slot held for a begun message");
            }
            if several {
                self.met("slot held by several");
            }
        }
        self.give_back(id, channel, viewer.as_deref(), taken);
    }

    /// The last connections that were superseded in slots that stay vacant: they are to be closed.
    pub(crate) fn last_of_vacancies(&mut self, channel: usize) -> Vec<ConnId> {
        let now = self.now;
        let due = |(_, until): &(Option<String>, u64)| *until <= now;
        let mut all = Vec::new();
        while let Some(place) = self.channels[channel].vacant.iter().position(due) {
            let slots = &mut self.channels[channel];
            slots.vacant[place].1 = now + VACANT_MS;
            let slot = slots.vacant[place].0.clone();
            let mine = slots.superseded.iter().filter(|(other, _)| *other == slot);
            let mine: Vec<ConnId> = mine.map(|(_, conn)| *conn).collect();
            if mine.iter().any(|conn| self.ends_by_itself(*conn)) {
                self.give_up(); // which comes first does not show
            }
            all.push(*mine.last().expect("else it is forgotten"));
        }
        all
    }

    /// They are closed, unless they were just aborted: then their clients come back for that.
    pub(crate) fn close_for_vacancies(&mut self, last: Vec<ConnId>) {
        for last in last {
            self.met("closed for a vacant slot");
            self.close_ws(last, 1001, "Going away", EndReason::SupersededVacant);
        }
    }

    /// Whether the own deadlines of a connection of this channel end it in this tick, or have it sent something.
    pub(crate) fn member_is_due(&self, channel: usize) -> bool {
        let of = |conn: &super::Conn| conn.ws.as_ref().is_some_and(|ws| ws.channel == channel);
        let open = |conn: &super::Conn| conn.live && matches!(conn.stage, Stage::Open);
        let conns = self.conns.iter().enumerate();
        let mut members = conns.filter(|(_, conn)| open(conn) && of(conn));
        members.any(|(id, _)| self.ends_by_itself(id) || self.notice_is_due(id))
    }

    /// The bytes of messages for connections of a shard that end by themselves.
    pub(crate) fn outboxes_due(&self, shard: usize) -> usize {
        let open = |conn: &super::Conn| conn.live && matches!(conn.stage, Stage::Open);
        let mut bytes = 0;
        for (id, conn) in self.conns.iter().enumerate() {
            if open(conn) && conn.shard == shard && self.ends_by_itself(id) {
                let numbers = conn.outbox.iter().map(|one| one.number);
                bytes += self.bytes_of(&numbers.collect::<Vec<_>>());
            }
        }
        bytes
    }

    /// Whether a ping or GO_AWAY is due, or a ping was not answered in time.
    fn notice_is_due(&self, id: ConnId) -> bool {
        if self.stands_still(id) {
            return false;
        }
        let timeouts = &self.settings.timeouts;
        let ws = self.conns[id].ws.as_ref().expect("a WebSocket");
        let pong = ws.pinged.filter(|_| timeouts.pong_ms > 0);
        let pong = pong.map(|at| super::timers::whole_second(at + timeouts.pong_ms));
        let silent = self.now >= pong.unwrap_or(u64::MAX).min(ws.ping_due(timeouts.ping_ms));
        let age = timeouts.connection_age_ms;
        let old = age > 0 && self.now + timeouts.go_away_grace_ms >= ws.opened + age;
        silent || (old && ws.notices && !ws.told)
    }

    /// Whether a connection's own deadlines end it in this tick.
    pub(crate) fn ends_by_itself(&self, id: ConnId) -> bool {
        if self.stands_still(id) {
            return false;
        }
        let ws = self.conns[id].ws.as_ref().expect("a WebSocket");
        let idle = super::timers::whole_second(ws.heard + self.settings.timeouts.idle_ms);
        let slow = ws
            .message_began
            .is_some_and(|began| self.now >= began + 10_000);
        let drains = self.drains(self.conns[id].shard);
        slow || drains || self.now >= idle.min(ws.ends)
    }
}
