//! Requests of a connection, in turn: how many are answered at once, and which wait. For whom, and for what.

use super::connections::name_of;
use super::scripted::NEVER;
use super::{ConnId, Model, Named, PredictedResponse, Refusal, Stage, UNAVAILABLE};
use crate::sim::model::Body;
use crate::sim::words::Piece;
use broker_core::check::Check;
use broker_core::event::Purpose;
use broker_core::event::UpgradeOutcome;
use broker_core::limits::{
    ANSWER_BYTES_MAX, FRESH_REQUESTS_PER_TURN, REQUESTS_PER_VISIT, WAITING_REQUESTS_PER_TICK,
};
use broker_core::settings::Auth;

/// Ticks of one moment, full of requests that waited, after which fresh ones may have to wait.
const TICKS: u32 = 15;

/// More than any answer in these worlds but those whose length the model knows.
const ANSWER_BYTES: usize = 4096;

/// The response to a caller of nothing.
const LOST: &str =
    r#"{"message":"There is no such operation: see the path, and that the method is POST."}"#;

impl Model {
    /// Answers what has come, as far as this moment allows it.
    pub(crate) fn visit(&mut self, id: ConnId) {
        if self.conns[id].queued {
            return;
        }
        // A clock that is set makes another moment of it.
        let moment = (self.now, self.wall);
        let fresh = &mut self.shards[self.conns[id].shard].fresh;
        if fresh.0 != moment {
            *fresh = (moment, 0);
        }
        let allowed = REQUESTS_PER_VISIT.min(FRESH_REQUESTS_PER_TURN - fresh.1);
        let shard = self.conns[id].shard;
        if self.shards[shard].ticks >= TICKS {
            self.give_up(); // the requests of this moment were a turn's work, and its frames, which are not counted
        }
        let left = self.pump(id, allowed);
        self.shards[shard].fresh.1 += allowed - left;
    }

    /// Goes on with those who wait.
    pub(crate) fn answer_waiting(&mut self, shard: usize) {
        let mut left = WAITING_REQUESTS_PER_TICK;
        for _ in 0..self.shards[shard].waiting.len() {
            if left == 0 {
                return;
            }
            let Some(id) = self.shards[shard].waiting.pop_front() else {
                return;
            };
            let conn = &mut self.conns[id];
            if !conn.live || !matches!(conn.stage, Stage::AwaitHead | Stage::AwaitBody(_)) {
                continue;
            }
            self.met("requests waited for their turn");
            self.out.touched.insert(id);
            self.conns[id].queued = false;
            let allowed = REQUESTS_PER_VISIT.min(left);
            let rest = self.pump(id, allowed);
            left -= (allowed - rest).max(1);
        }
    }

    /// Some of what waits for a connection was taken.
    pub(crate) fn answers_taken(&mut self, id: ConnId) {
        let (now, waits) = (self.now, self.answers_wait(id));
        let conn = &mut self.conns[id];
        conn.untaken = (conn.bytes > 0).then_some(now);
        let http = matches!(
            conn.stage,
            Stage::AwaitHead | Stage::AwaitBody(_) | Stage::AwaitReply(_)
        );
        if http && !waits && (conn.partial || !conn.pieces.is_empty()) {
            self.answered.push_back(id);
        }
    }

    /// Whether the next request waits for the peer to take answers.
    fn answers_wait(&self, id: ConnId) -> bool {
        self.conns[id].bytes >= ANSWER_BYTES_MAX || self.defers_end(id).is_some()
    }

    /// Whether nothing of a connection's requests is due, since they wait.
    pub(super) fn requests_wait(&self, id: ConnId) -> bool {
        let conn = &self.conns[id];
        conn.queued || (matches!(conn.stage, Stage::AwaitHead) && self.answers_wait(id))
    }

    /// Whether a connection has sent what is still to be answered.
    pub(crate) fn has_more(&self, id: ConnId) -> bool {
        let conn = &self.conns[id];
        let rest = conn.partial || !conn.pieces.is_empty();
        conn.queued || (rest && self.answers_wait(id))
    }

    /// The first byte of a further request has its own deadline.
    fn look_for_head(&mut self, id: ConnId) {
        let deadline = self.now + self.settings.timeouts.head_ms;
        let waits = self.answers_wait(id);
        let conn = &mut self.conns[id];
        let awaits_head = matches!(conn.stage, Stage::AwaitHead) && !conn.queued && !waits;
        if awaits_head && conn.partial && !conn.head_began {
            conn.head_began = true;
            if conn.served {
                conn.deadline = deadline;
            }
        }
        let awaits = matches!(conn.stage, Stage::AwaitHead | Stage::AwaitBody(_));
        if conn.ended && awaits && !self.has_more(id) {
            self.finish(id);
        }
    }

    /// An upgrade that waited for its turn, and whose peer sends no more.
    fn end_waiting_upgrade(&mut self, id: ConnId) {
        self.met("upgrade not answered: its peer has gone meanwhile");
        self.finish(id);
    }

    /// A request for a path that does not exist.
    fn answer_lost(&mut self, id: ConnId) {
        let refusal = Refusal::new(Check::OperationUnknown, "UnknownOperationException");
        let (body, refused) = (
            Body::Exactly(LOST.to_owned()),
            Some((refusal, Named::default())),
        );
        let response = PredictedResponse::new(404, body, refused);
        self.respond(id, Purpose::Unknown, response);
    }

    /// A request of a page that may not use a server without signatures.
    fn answer_foreign(&mut self, id: ConnId) {
        let refusal = Refusal::new(Check::OriginForeign, "InvalidArgumentException");
        self.respond(
            id,
            Purpose::Unknown,
            PredictedResponse::refusal(403, refusal, Named::default(), true),
        );
    }

    /// A connection that goes to its channel's home; one that is at home is admitted, or not.
    fn travels(&mut self, id: ConnId, arn: String, viewer: Option<String>, wss: bool) -> bool {
        let home = (self.home)(name_of(&arn));
        if home == self.conns[id].shard {
            self.admit(id, &arn, viewer, wss);
            if !matches!(self.conns[id].stage, Stage::Open) {
                self.drop_rest(id);
            }
            return false;
        }
        self.conns[id].deadline = self.now + self.settings.timeouts.head_ms;
        self.conns[id].stage = Stage::AwaitHandover(arn, viewer, wss);
        self.out.handovers.push_back((id, home));
        true
    }

    /// Goes through requests as far as they are awaited, but no more than this many heads and bodies; returns how many
    /// are left.
    fn pump(&mut self, id: ConnId, mut visit: u32) -> u32 {
        loop {
            let waits = self.answers_wait(id);
            let conn = &mut self.conns[id];
            if matches!(conn.stage, Stage::Open) {
                self.frames(id);
                self.heard(id); // also when it waited for its turn, with part of a message behind it
                return visit;
            }
            if matches!(conn.stage, Stage::AwaitHead) && conn.mute == Some(NEVER) {
                conn.pieces.clear();
                conn.partial = false;
                break;
            }
            let nothing = !conn.partial && conn.pieces.is_empty();
            match conn.stage {
                Stage::AwaitHead if nothing => break,
                Stage::AwaitHead if waits => {
                    self.met("request not begun: its peer reads no answers");
                    break;
                }
                Stage::AwaitHead | Stage::AwaitBody(_) if visit == 0 => {
                    if !std::mem::replace(&mut conn.queued, true) {
                        self.shards[conn.shard].waiting.push_back(id);
                    }
                    break;
                }
                Stage::AwaitHead | Stage::AwaitBody(_) => {}
                _ => break,
            }
            if !waits && conn.bytes + conn.unsure * ANSWER_BYTES >= ANSWER_BYTES_MAX {
                self.give_up(); // the model does not know the lengths of all answers
            }
            let Some(piece) = conn.pieces.pop_front() else {
                break;
            };
            visit -= 1;
            let shard = conn.shard;
            match piece {
                Piece::Upgrade { .. } if conn.ended => self.end_waiting_upgrade(id),
                Piece::Upgrade { arn, viewer, .. } if self.drains(shard) => {
                    let upgrade = (&*arn, viewer.as_deref());
                    self.refuse_upgrade(id, upgrade, UpgradeOutcome::Draining, Check::Draining);
                }
                Piece::Upgrade { arn, viewer, wss } => {
                    if self.travels(id, arn, viewer, wss) {
                        return visit;
                    }
                }
                // With signatures any page may try.
                Piece::Foreign if self.settings.auth == Auth::None => self.answer_foreign(id),
                Piece::Lost | Piece::Foreign => self.answer_lost(id),
                Piece::Head(operation) if self.drains(shard) => {
                    let purpose = Purpose::Api(operation);
                    let refusal = Refusal::new(Check::Draining, UNAVAILABLE);
                    self.respond(
                        id,
                        purpose,
                        PredictedResponse::refusal(503, refusal, Named::default(), true),
                    );
                }
                Piece::Head(operation) => {
                    let deadline = self.now + self.settings.timeouts.body_ms;
                    let conn = &mut self.conns[id];
                    (conn.stage, conn.deadline) = (Stage::AwaitBody(operation), deadline);
                }
                Piece::Body(call) => self.call(id, call),
                other => panic!("the workload sends no {other:?} here"),
            }
        }
        self.look_for_head(id);
        visit
    }
}
