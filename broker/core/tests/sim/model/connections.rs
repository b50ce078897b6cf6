//! Connections: what they are fed and answered, how they move, and how they end. See codec/PROTOCOL.md, CON to LIFE.

use super::doubt::Gone;
use super::{Body, Conn, ConnId, Expect, Model, PredictedResponse, Refusal, Stage};
use crate::sim::words::Piece;
use broker_core::check::Check;
use broker_core::event::Purpose;
use broker_core::event::{ConnectionRole, UpgradeOutcome};
use broker_core::id::SessionKey;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

impl Model {
    /// A connection was accepted.
    pub(crate) fn open(&mut self, shard: usize, tls: bool, remote: SocketAddr) {
        let timeouts = &self.settings.timeouts;
        let wait = if tls {
            timeouts.tls_ms
        } else {
            timeouts.head_ms
        };
        self.conns.push(Conn {
            shard,
            remote,
            tls,
            live: true,
            place: if tls {
                ConnectionRole::Handshake
            } else {
                ConnectionRole::Http
            }
            .index(),
            stage: if tls {
                Stage::AwaitTls
            } else {
                Stage::AwaitHead
            },
            pieces: VecDeque::new(),
            partial: false,
            served: false,
            ended: false,
            head_began: false,
            deadline: self.now + wait,
            number: 0,
            ws: None,
            outbox: VecDeque::new(),
            written: VecDeque::new(),
            returned: VecDeque::new(),
            repeated: 0,
            confirmed: 0,
            doubtful: None,
            gone: Gone::default(),
            round_trip_ms: 0,
            doubted: BTreeSet::new(),
            doubted_calls: BTreeSet::new(),
            sent: 0,
            wire: 0,
            begins: None,
            asked: 0,
            unasked: 0,
            over: None,
            proof: None,
            makes_room: false,
            unread: 0,
            uncounted: 0,
            launched: 0,
            begun: 0,
            bytes: 0,
            control: 0,
            unsure: 0,
            queued: false,
            untaken: None,
            key: SessionKey::default(),
            behind: false,
            cut: false,
            expects: VecDeque::new(),
            lost_sync: false,
            mute: None,
            deferred: false,
            unmuted: 0,
        });
    }

    /// Its TLS handshake is over.
    pub(crate) fn secured(&mut self, conn: ConnId) {
        let deadline = self.now + self.settings.timeouts.head_ms;
        let conn = &mut self.conns[conn];
        conn.stage = Stage::AwaitHead;
        conn.place = ConnectionRole::Http.index();
        conn.deadline = deadline;
    }

    /// Bytes came: they completed these pieces, and end within another one or not.
    pub(crate) fn feed(&mut self, id: ConnId, pieces: Vec<Piece>, partial: bool) {
        let conn = &self.conns[id];
        if conn.lost_sync && conn.mute.is_some() && !conn.written.is_empty() {
            self.give_up(); // whether it meets what it takes for its peer's end does not show: it closes later
        }
        self.out.touched.insert(id);
        let conn = &mut self.conns[id];
        conn.partial = partial;
        match &conn.stage {
            Stage::AwaitTls
            | Stage::AwaitHead
            | Stage::AwaitBody(_)
            | Stage::AwaitReply(_)
            | Stage::AwaitHandover(..) => {
                conn.pieces.extend(pieces);
                self.visit(id);
            }
            Stage::Open => {
                conn.pieces.extend(pieces);
                self.frames(id);
            }
            Stage::AwaitEcho(_, failed) => {
                let over =
                    |piece: &Piece| matches!(piece, Piece::Close(_) | Piece::Bad(_, _, true));
                let failed = *failed;
                if failed
                    || pieces
                        .iter()
                        .any(|piece| over(piece) || !self.counts_idle_frame(id))
                {
                    self.is_over(id);
                    self.finish(id);
                    self.takes_leave(id);
                }
            }
            Stage::Ending(_) | Stage::Gone => {}
        }
        self.heard(id);
    }

    pub(crate) fn heard(&mut self, id: ConnId) {
        let now = self.now;
        let conn = &mut self.conns[id];
        if let (Stage::Open, Some(ws)) = (&conn.stage, &mut conn.ws) {
            ws.heard = now;
            ws.pinged = None;
            ws.message_began = conn.partial.then(|| ws.message_began.unwrap_or(now));
        }
    }

    /// A response, then the next request or the end.
    pub(crate) fn respond(&mut self, id: ConnId, purpose: Purpose, response: PredictedResponse) {
        let PredictedResponse {
            status,
            refused,
            body,
            close,
        } = response;
        let close = close || self.drains(self.conns[id].shard);
        let refusal = refused.as_ref().map(|(refusal, _)| *refusal);
        self.responded(id, purpose, status, refused);
        let bytes = self.response_bytes(status, refusal, &body, close);
        self.conns[id].unsure += usize::from(bytes.is_none());
        let response = Expect::Response(status, refusal, body, close);
        self.expect(id, response, bytes.unwrap_or_default());
        let deadline = self.now + self.settings.timeouts.keep_alive_ms;
        let conn = &mut self.conns[id];
        conn.stage = Stage::AwaitHead;
        conn.deadline = deadline;
        conn.head_began = false;
        conn.number += 1;
        conn.served = true;
        conn.untaken.get_or_insert(self.now);
        if close {
            self.finish(id);
        }
    }

    /// A connection from another shard, at its channel's home.
    pub(crate) fn adopt(&mut self, id: ConnId, shard: usize) {
        self.out.touched.insert(id);
        let conn = &mut self.conns[id];
        (conn.shard, conn.live, conn.place) = (shard, true, ConnectionRole::Http.index());
        conn.served = false;
        let stage = std::mem::replace(&mut conn.stage, Stage::AwaitHead);
        let Stage::AwaitHandover(arn, viewer, wss) = stage else {
            panic!("only an upgrade travels")
        };
        let began = !conn.pieces.is_empty() || conn.partial;
        self.admit(id, &arn, viewer, wss);
        if matches!(self.conns[id].stage, Stage::Open) && began {
            self.frames(id);
            self.heard(id);
        } else {
            self.drop_rest(id);
        }
    }

    /// Drops the bytes that a client sent behind an upgrade that did not open its connection, or that was closed at
    /// once.
    pub(crate) fn drop_rest(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        if matches!(conn.stage, Stage::AwaitEcho(..)) {
            conn.lost_sync = conn.partial;
        }
        conn.pieces.clear();
        conn.partial &= matches!(conn.stage, Stage::AwaitEcho(..));
    }

    /// A connection that the other shard had no room for.
    pub(crate) fn bounce(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        (conn.live, conn.place) = (true, ConnectionRole::Http.index());
        let stage = std::mem::replace(&mut conn.stage, Stage::AwaitHead);
        let Stage::AwaitHandover(arn, viewer, _) = stage else {
            panic!("only an upgrade travels")
        };
        let upgrade = (&*arn, viewer.as_deref());
        self.refuse_upgrade(id, upgrade, UpgradeOutcome::Unavailable, Check::MailboxFull);
    }
}

impl Model {
    /// The length of an answer whose body the model knows: it shows whether the next request is begun, and after an
    /// Alexa call's messages may be delivered in the same step.
    fn response_bytes(
        &self,
        status: u16,
        refusal: Option<Refusal>,
        body: &Body,
        close: bool,
    ) -> Option<usize> {
        let text = match body {
            Body::Answer(None) => r#"{"Answer":null}"#,
            Body::Answer(Some(answer)) => &format!(r#"{{"Answer":"{answer}"}}"#),
            Body::Empty => "{}",
            Body::Exactly(text) => text,
            Body::Error | Body::Holds(_) | Body::Names(..) => return None,
        };
        let meta = codec::http::Meta {
            wall_ms: 0,
            request_id: super::REQUEST_ID,
            close,
        };
        let admin = self.settings.admin_url("").filter(|_| self.settings.dev);
        let why = admin.map(|url| format!("{url}/#/why/{}", super::REQUEST_ID));
        let error = refusal.map(|refusal| codec::http::ErrorHead {
            error_type: refusal.error,
            why: why.as_deref(),
            retry_after_s: None,
        });
        let mut out = Vec::new();
        codec::http::respond(
            &mut out,
            &meta,
            status,
            error,
            "application/json",
            text.as_bytes(),
        );
        Some(out.len())
    }
}

/// The channel's name in an ARN.
pub(crate) fn name_of(arn: &str) -> &str {
    arn.rsplit('/').nth(1).unwrap_or_default()
}
