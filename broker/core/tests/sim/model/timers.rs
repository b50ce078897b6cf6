//! Events that come by the clock. Expiry is predicted; the effects of a session's own deadlines are observed, and must
//! then be allowed and never overdue.
//!
//! The world's clock moves in steps of the wheel's grain, so that "due" is the same for both.

use super::trail::What;
use super::{
    Caller, ConnId, DrainModel, Expect, Model, Named, Refusal, Stage, Told, UNAVAILABLE, Ws,
};
use crate::sim::wire::{Item, Response};
use broker_core::check::Check;
use broker_core::event::Purpose;
use broker_core::journal::EndReason;
use broker_core::limits::ALONE_CLOSE_MS;

/// The grain of the wheel and of the world's clock, in milliseconds.
pub(crate) const GRAIN_MS: u64 = 64;

/// The most by which a deadline may be served late: its own slot, and one more for each thing that was due before it.
pub(crate) const LATE_MS: u64 = 4 * GRAIN_MS;

/// A ping at this moment, and its rule.
fn pinged(ws: &mut Ws, now: u64) -> &'static str {
    let silent = ws.heard < ws.went;
    ws.went = now;
    match ws.pinged.replace(ws.pinged.unwrap_or(now)) {
        Some(_) => "pinged again, since nothing went",
        None if silent => "silent connection pinged",
        None => "pinged, since nothing went",
    }
}

/// It was old, recalled or drained. Returns the rule that was met.
fn gone_away(ws: &mut Ws, drain: Option<DrainModel>, now: u64) -> &'static str {
    let old = now >= ws.ends;
    let late = drain.is_some_and(|drain| now >= drain.began + (drain.ends - drain.began) / 2);
    assert!(old || late, "neither old nor drained");
    ws.or_reason = late.then_some(EndReason::Drain);
    let (reason, rule) = match (old, ws.recalled, ws.notices) {
        (false, ..) => (EndReason::Drain, "drain: closed"),
        (_, true, _) => (
            EndReason::IceReconnect,
            "recalled to fetch ICE servers again",
        ),
        (.., true) => (EndReason::Age, "old connection closed"),
        (.., false) => (EndReason::Age, "old connection closed without notice"),
    };
    ws.reason = Some(reason);
    rule
}

/// Moments of silence come on whole seconds.
pub(crate) fn whole_second(at: u64) -> u64 {
    at.div_ceil(1000) * 1000
}

/// Longest time from a message's first byte to its last.
const MESSAGE_MS: u64 = 10_000;

impl Model {
    /// The shard's deadlines are served: what expired is gone.
    pub(crate) fn tick(&mut self, shard: usize) {
        self.departures = 0;
        self.freed_bytes = 0;
        self.out.ticks = true;
        // What was due before it was kept comes with the next slot of the wheel, not with another tick of this one.
        let again = std::mem::replace(&mut self.shards[shard].ticked, self.now) == self.now;
        let ticks = &mut self.shards[shard].ticks;
        *ticks = if again { *ticks + 1 } else { 0 };
        for channel in (0..self.channels.len()).filter(|_| !again) {
            if self.channels[channel].alive && self.channels[channel].home == shard {
                self.drop_closed(channel);
                self.expire_kept(channel);
                self.repeat_offers(channel);
                self.expire_calls(channel);
                self.ask_holders(channel);
                let last = self.last_of_vacancies(channel);
                self.abort_stuck(channel);
                self.close_for_vacancies(last);
            }
        }
        self.end_calls(shard);
        self.forgive_pings(shard);
        let answered = (self.answers.iter()).map(|(caller, _)| &caller.conn);
        let answered = answered.chain(&self.answered);
        let with_more = answered.filter(|conn| !self.conns[**conn].pieces.is_empty());
        let overdue = |conn: &&ConnId| self.untaken(**conn);
        let waiting = &self.shards[shard].waiting;
        let either = with_more.clone().chain(waiting).find(overdue);
        if with_more.count() > 1 || either.is_some() {
            self.give_up(); // answered first, or aborted first
        }
        self.end_waits(shard);
        self.begin_lists(shard);
        self.step_drain(shard);
        self.answer_waiting(shard);
    }

    /// Whether it has taken nothing of its answers for too long.
    fn untaken(&self, id: ConnId) -> bool {
        let answer = self.settings.timeouts.answer_ms;
        let since = self.conns[id].untaken.filter(|_| !self.stands_still(id));
        since.is_some_and(|since| self.now >= since + answer)
    }

    fn step_drain(&mut self, shard: usize) {
        let now = self.now;
        let Some(drain) = &mut self.shards[shard].drain else {
            return;
        };
        let last_call = drain.ends - 500.min((drain.ends - drain.began) / 10);
        if !drain.over && !drain.calls_ended && now >= last_call {
            drain.calls_ended = true;
            let mut with_calls = 0;
            for channel in 0..self.channels.len() {
                if self.channels[channel].home == shard {
                    with_calls += usize::from(!self.channels[channel].calls.is_empty());
                    let refusal = Refusal::new(Check::Draining, UNAVAILABLE);
                    self.fail_calls(channel, 503, refusal);
                }
            }
            self.out.calls_ended = with_calls > 1;
        }
    }

    /// A shard that did not run when answers to pings were due gives them their whole time again.
    fn forgive_pings(&mut self, shard: usize) {
        let (now, pong) = (self.now, self.settings.timeouts.pong_ms);
        for conn in &mut self.conns {
            let mine = conn.live && conn.shard == shard && matches!(conn.stage, Stage::Open);
            let mine = mine && conn.mute.is_none();
            if let Some(ws) = conn.ws.as_mut().filter(|ws| mine && !ws.superseded)
                && let Some(pinged) = ws.pinged
                && pong > 0
                && now > whole_second(pinged + pong) + 2_000
            {
                ws.pinged = Some(now);
            }
        }
    }

    /// Calls that were not answered in time: 503.
    fn end_calls(&mut self, shard: usize) {
        let mut ended = 0;
        for id in 0..self.conns.len() {
            let conn = &self.conns[id];
            let waits = matches!(conn.stage, Stage::AwaitReply(_)) && conn.live;
            if !waits || conn.shard != shard || self.now < conn.deadline || conn.mute.is_some() {
                continue;
            }
            self.met("call took too long: 503");
            self.hang_up(id);
            let caller = Caller {
                conn: id,
                number: self.conns[id].number,
                shard,
            };
            self.note_unanswered(caller.conn);
            let refusal = Refusal::new(Check::ReplyTimeout, UNAVAILABLE);
            self.told(caller, Told::Fault(503, refusal));
            ended += 1;
        }
        if ended > 1 && self.diary_leaves_out(shard) {
            self.give_up(); // which of them are logged follows from the order of their deadlines
        }
    }

    /// Cuts off, once, a connection that lost its slot and does not take the rest of a message.
    fn abort_stuck(&mut self, channel: usize) {
        let now = self.now;
        let held = self.channels[channel].held.iter_mut();
        let mut stuck = Vec::new();
        for held in held.filter(|held| held.until <= now) {
            held.until = u64::MAX;
            stuck.push(held.by);
        }
        for conn in stuck {
            self.met("stuck connection aborted for its successor");
            self.because(conn, EndReason::SupersededStuck);
            self.abort(conn);
        }
    }

    /// Whether it is predicted that this connection ends in this step.
    pub(crate) fn ends_now(&self, id: ConnId) -> bool {
        let close = |expect: &Expect| matches!(expect, Expect::Close(..));
        let out = &self.out;
        self.conns[id].expects.iter().any(close)
            || out.aborts.contains(&id)
            || out.closes.contains(&id)
    }

    /// The end of the process is announced to a shard.
    pub(crate) fn drain(&mut self, shard: usize, within: u64) {
        let drain = DrainModel {
            began: self.now + within.saturating_sub(ALONE_CLOSE_MS),
            ends: self.now + within,
            calls_ended: false,
            over: false,
        };
        self.shards[shard].drain.get_or_insert(drain);
    }

    /// Whether the shard must say in this step that its drain is over.
    pub(crate) fn drained(&mut self, shard: usize) -> bool {
        if self.shards[shard].drain.is_none_or(|drain| drain.over) {
            return false;
        }
        let sockets = self
            .conns
            .iter()
            .filter(|conn| conn.live && conn.shard == shard && conn.ws.is_some())
            .count();
        let waiting = self.counters(shard).waiting_calls;
        let changes = self.changes(shard);
        let now = self.now;
        let this = &mut self.shards[shard];
        let empty = sockets == 0
            && waiting == 0
            && changes == 0
            && this.asks_nobody()
            && this.offers_out == 0
            && this.counters.outbox_bytes == 0
            && this.counters.control_bytes == 0;
        let Some(drain) = &mut this.drain else {
            return false;
        };
        let over = !drain.over && (empty || now >= drain.ends);
        drain.over |= over;
        over
    }

    /// A connection that must not get the message is closed, so that it fetches ICE servers again: each of a shard 10
    /// ms after the one before.
    pub(crate) fn recall(&mut self, id: ConnId) {
        let shard = &mut self.shards[self.conns[id].shard];
        shard.recalled = self.now.max(shard.recalled + 10);
        let at = shard.recalled;
        let ws = self.conns[id].ws.as_mut().expect("a WebSocket");
        if at < ws.ends {
            (ws.ends, ws.recalled) = (at, true);
        }
    }

    /// Something appeared in a stream by the clock, or on the machine's own account.
    ///
    /// # Panics
    /// When it is not allowed.
    pub(crate) fn observe(&mut self, id: ConnId, item: &Item) {
        let (now, timeouts) = (self.now, self.settings.timeouts.clone());
        let drain = self.shards[self.conns[id].shard].drain;
        if self.follows_from_another(id, item) {
            self.give_up(); // which shows in another stream
        }
        if let Item::Response(response) = item {
            return self.observe_408(id, response);
        }
        if matches!(item, Item::ProofPing(_)) {
            return self.pings(id);
        }
        let conn = &mut self.conns[id];
        let (Stage::Open, Some(ws)) = (&conn.stage, &mut conn.ws) else {
            panic!("connection {id} got {item:?} in {:?}", conn.stage);
        };
        let age = timeouts.connection_age_ms;
        let rule = match item {
            Item::Ping => {
                let is_due = now >= ws.ping_due(timeouts.ping_ms) && !ws.superseded;
                assert!(is_due, "a ping that is not due at {now}: {ws:?}");
                pinged(ws, now)
            }
            Item::GoAway => {
                let old = age > 0 && now + timeouts.go_away_grace_ms >= ws.opened + age;
                assert!(
                    ws.notices && !ws.superseded && !ws.told && (old || drain.is_some()),
                    "a GO_AWAY that is not due"
                );
                ws.told = true;
                let channel = ws.channel;
                self.happens(channel, What::ToldToGo(id));
                if old {
                    "old connection told to go"
                } else {
                    "drain: told to go"
                }
            }
            Item::Close(1001, reason) if reason == "Idle for too long" => {
                let due = whole_second(ws.heard + timeouts.idle_ms);
                assert!(now >= due, "not idle for so long");
                ws.reason = Some(EndReason::Idle);
                "idle connection closed"
            }
            Item::Close(1001, reason) if reason == "Ping not answered" => {
                let pinged = ws.pinged.expect("it was pinged");
                let due = now >= whole_second(pinged + timeouts.pong_ms);
                assert!(due && timeouts.pong_ms > 0 && !ws.superseded, "too early");
                ws.reason = Some(EndReason::Unanswered);
                "unanswered ping ends the connection"
            }
            Item::Close(1001, reason) if reason == "Going away" => gone_away(ws, drain, now),
            Item::Close(1008, reason) if reason == "message took too long" => {
                let began = ws.message_began.expect("inside a message");
                assert!(now >= began + MESSAGE_MS, "not slow enough");
                ws.reason = Some(EndReason::SlowMessage);
                "slow message cut off"
            }
            other => panic!("connection {id} got {other:?}, which nothing explains"),
        };
        self.met(rule);
        if matches!(item, Item::Close(..)) {
            self.note_haze(id);
            self.departures += 1;
            self.leave(id);
            self.conns[id].stage = Stage::AwaitEcho(now, false);
        }
    }

    /// Whether something may come since another connection ends: the one that has its slot, or held it, so that a fault
    /// meets what is released.
    fn follows_from_another(&self, id: ConnId, item: &Item) -> bool {
        let channel = self.conns[id].ws.as_ref().map(|ws| ws.channel);
        match item {
            Item::GoAway | Item::Ping => self.may_return(id),
            Item::Close(code, reason) if *code >= 4000 || reason == "Ping not answered" => {
                self.may_return(id) // codes of scripts begin there
            }
            Item::ReconnectIce => channel.is_some_and(|channel| self.member_is_due(channel)),
            // It had its slot again, and a message that recalls it.
            Item::Close(_, reason) if reason == "Going away" => {
                let ws = self.conns[id].ws.as_ref();
                ws.is_some_and(|ws| self.now < ws.ends) && self.may_return(id)
            }
            _ => false,
        }
    }

    /// A request did not come in time.
    fn observe_408(&mut self, id: ConnId, response: &Response) {
        let conn = &self.conns[id];
        let (part, purpose, check) = match conn.stage {
            Stage::AwaitHead => (conn.partial, Purpose::Unknown, Check::HeadTimeout),
            Stage::AwaitBody(operation) => (true, Purpose::Api(operation), Check::BodyTimeout),
            _ => panic!("connection {id} got {response:?} in {:?}", conn.stage),
        };
        assert!(
            self.now >= conn.deadline && part && response.status == 408 && response.close,
            "an early or unknown response: {response:?}"
        );
        let others = self.out.left_out || !self.out.notes.is_empty();
        if others && self.diary_leaves_out(self.conns[id].shard) {
            self.give_up();
        }
        let refusal = Refusal::new(check, "InvalidArgumentException");
        self.responded(id, purpose, 408, Some((refusal, Named::default())));
        self.met("head or body came too slowly: 408");
        self.finish(id);
    }

    /// The edge has to close a connection, which only the clock explains.
    pub(crate) fn observe_close(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let idle = matches!(conn.stage, Stage::AwaitHead) && !conn.partial;
        let lost = conn.lost_sync && matches!(conn.stage, Stage::AwaitEcho(..));
        assert!(
            lost || (idle && self.now >= conn.deadline),
            "connection {id} closed in {:?}",
            conn.stage
        );
        self.met("idle HTTP connection closed");
        self.is_over(id);
        self.finish(id);
        self.takes_leave(id);
    }

    /// The edge has to abort a connection.
    pub(crate) fn observe_abort(&mut self, id: ConnId) {
        let (now, conn) = (self.now, &self.conns[id]);
        let wait = self.settings.timeouts.close_ms;
        let untaken = self.untaken(id);
        let lawful = match conn.stage {
            Stage::AwaitHead | Stage::AwaitBody(_) | Stage::AwaitHandover(..) if untaken => {
                self.met("HTTP peer that takes no answer aborted");
                return self.abort(id);
            }
            Stage::AwaitTls | Stage::AwaitHandover(..) => now >= conn.deadline,
            Stage::AwaitEcho(since, _) | Stage::Ending(since) => now >= since.saturating_add(wait),
            Stage::AwaitHead
            | Stage::AwaitBody(_)
            | Stage::AwaitReply(_)
            | Stage::Open
            | Stage::Gone => false,
        };
        assert!(lawful, "connection {id} aborted in {:?}", conn.stage);
        self.met("unfinished close aborted");
        self.abort(id);
    }

    /// Whether expiry and a departure meet in this tick, so that their order does not show.
    fn note_haze(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let own = conn.outbox.iter().map(|one| one.number);
        let over = |number: usize| self.messages[number].expires <= self.now;
        let channel = conn.ws.as_ref().map(|ws| &self.channels[ws.channel]);
        let kept = channel.into_iter().flat_map(|channel| &channel.pending);
        let late = |call: &super::Waiting| call.expires <= self.now;
        let calls = channel.is_some_and(|channel| channel.calls.iter().any(late));
        let offers = conn.outbox.iter().any(|one| self.messages[one.number].call);
        self.haze_now |= own.chain(kept.copied()).any(over) || calls || offers;
        self.hazy |= self.haze_now;
    }

    /// Nothing that is due is long overdue.
    ///
    /// # Panics
    /// When something is.
    pub(crate) fn nothing_overdue(&self) {
        let timeouts = &self.settings.timeouts;
        let now = self.now.saturating_sub(LATE_MS);
        let age = timeouts.connection_age_ms;
        for (id, conn) in self.conns.iter().enumerate().filter(|(_, conn)| conn.live) {
            // One that is sent nothing may have met what it takes for its peer's end, and waits with its own.
            let unseen = conn.lost_sync && conn.mute.is_some();
            let unseen = unseen && matches!(conn.stage, Stage::AwaitEcho(..));
            if self.stands_still(id) || conn.unmuted > now || unseen {
                continue;
            }
            let untaken = |since| now < since + timeouts.answer_ms;
            let fine = match &conn.stage {
                // Nothing else is due while its requests wait: for it to take answers, or for their turn.
                Stage::AwaitHead | Stage::AwaitBody(_) if self.requests_wait(id) => {
                    conn.untaken.is_none_or(untaken) || now < conn.deadline
                }
                Stage::AwaitTls
                | Stage::AwaitHead
                | Stage::AwaitBody(_)
                | Stage::AwaitReply(_)
                | Stage::AwaitHandover(..) => now < conn.deadline,
                Stage::AwaitEcho(since, _) => now < since + timeouts.close_ms,
                Stage::Open => {
                    let ws = conn.ws.as_ref().expect("open");
                    let told = age == 0
                        || ws.told
                        || ws.superseded
                        || !ws.notices
                        || now + timeouts.go_away_grace_ms < ws.opened + age;
                    let pinged = ws.superseded || now < ws.ping_due(timeouts.ping_ms);
                    let pong = timeouts.pong_ms == 0 || ws.superseded;
                    let answered = (ws.pinged)
                        .is_none_or(|at| pong || now < whole_second(at + timeouts.pong_ms));
                    let slow = ws
                        .message_began
                        .is_some_and(|began| now >= began + MESSAGE_MS);
                    let idle = now >= whole_second(ws.heard + timeouts.idle_ms);
                    told && pinged && answered && !slow && now < ws.ends && !idle
                }
                Stage::Ending(since) => now < since.saturating_add(timeouts.close_ms),
                Stage::Gone => true,
            };
            assert!(
                fine,
                "connection {id} is overdue at {}: {:?} {} {:?}",
                self.now, conn.stage, conn.deadline, conn.ws
            );
            self.drained_in_time(id, now);
        }
        self.all_asked();
        self.masters_told_in_time();
    }

    fn drained_in_time(&self, id: ConnId, now: u64) {
        let conn = &self.conns[id];
        let Some(drain) = self.shards[conn.shard].drain.filter(|drain| !drain.over) else {
            return;
        };
        let span = drain.ends - drain.began;
        if let (Stage::Open, Some(ws)) = (&conn.stage, &conn.ws) {
            let told = ws.told || ws.superseded || !ws.notices || now < drain.began + span / 2;
            assert!(
                told && now < drain.began + span * 3 / 4,
                "connection {id} was forgotten by the drain of {} ms for {} ms, told: {}",
                span,
                self.now - drain.began,
                ws.told
            );
        }
    }
}
