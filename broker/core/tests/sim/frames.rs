//! Frames of WebSockets: what ours may follow from, that nothing follows a close frame, and that each close and abort
//! has a cause.

use crate::sim::clients::NO_NAME;
use crate::sim::records::{Life, Record, name_of};
use crate::sim::requests::Request;
use crate::sim::socket::{ConnId, Stage};
use crate::sim::verdict::{refusal, status};
use crate::sim::wire::Item;
use crate::sim::words::{Piece, Text};
use crate::sim::world::World;
use broker_core::event::{KINDS, Kind};
use broker_core::journal::{UNACCEPTED, Unaccepted};
use broker_core::limits::{ALONE_CLOSE_MS, PONGS_PER_RECEIVE_MAX};
use broker_core::settings::GoAway;

/// A connection that was admitted to a channel.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    pub(crate) arn: String,
    /// `None` for a master.
    pub(crate) viewer: Option<String>,
    /// Whether it may get GO_AWAY and RECONNECT_ICE_SERVER.
    pub(crate) notices: bool,
    /// Place in the order of admission.
    pub(crate) order: u64,
    pub(crate) opened: u64,
    /// When bytes came last, and when some went or a ping was queued.
    pub(crate) heard: u64,
    pub(crate) went: u64,
    /// Since when a ping is unanswered.
    pub(crate) pinged: Option<u64>,
    told: bool,
    /// Our close frame, and when it was queued.
    pub(crate) closed: Option<(u16, String, u64)>,
    /// Whether the client has sent a close frame.
    pub(crate) said_goodbye: bool,
    /// Messages that came, and that the kernel took whole.
    pub(crate) messages_in: u32,
    pub(crate) messages_out: u32,
    /// Frames that came.
    pub(crate) frames: u32,
    /// A second of the clock, and how many frames came in it.
    second: (u64, u32),
    /// Since when part of a message has come.
    pub(crate) began: Option<u64>,
    /// Another one has its slot; or had it once; or it has it again.
    pub(crate) superseded: bool,
    pub(crate) lost: bool,
    /// Whether an operator has the client reconnect, to fetch ICE servers again.
    pub(crate) recalled: bool,
}

/// Requests of the frames of this step.
#[derive(Default)]
pub(crate) struct Came {
    conn: ConnId,
    pub(crate) received: [u64; KINDS],
    pub(crate) unaccepted: [u64; UNACCEPTED],
    /// Correlation ids, each with the response that must be given.
    statuses: Vec<(String, Option<String>)>,
    pings: Vec<Vec<u8>>,
    answered: usize,
    /// The close frame that must follow.
    closes: Option<(u16, String)>,
}

impl Came {
    /// The connection whose frames they are, as long as it is open: then all of them count.
    pub(crate) fn whose(&self) -> ConnId {
        self.conn
    }
}

/// Frames within one second after which a connection may be closed for those without effect.
const FRAMES_PER_SECOND: u32 = 200;

/// Longest time from a message's first byte to its last.
pub(crate) const MESSAGE_MS: u64 = 10_000;

/// Longer than any message with what is around it.
const LONGEST: usize = 40_000;

/// Moments of silence come on whole seconds.
pub(crate) fn whole_second(at: u64) -> u64 {
    at.div_ceil(1000) * 1000
}

impl World {
    /// A connection is a WebSocket from here on.
    pub(crate) fn upgraded(&mut self, conn: ConnId, request: &Request) {
        let Piece::Upgrade { arn, viewer, wss } = &request.piece else {
            panic!("connection {conn} asked for {request:?}");
        };
        let is_it =
            |it: Option<&Record>| it.is_some_and(|it| it.arn == *arn && it.life == Life::Active);
        let there = self.records.states(name_of(arn), request.since).any(is_it);
        assert!(there, "{arn} was not there for {conn}");
        let shard = self.sockets[conn].shard;
        assert_eq!(self.home(name_of(arn)), shard, "the channel's home");
        assert!(self.drains[shard].is_none(), "it drains");
        self.gauges[shard].upgrades += 1;
        self.admitted += 1;
        let notices = match self.settings.signaling.go_away {
            GoAway::Auto => !wss,
            GoAway::Always => true,
            GoAway::Never => false,
        };
        let (arn, viewer) = (arn.clone(), viewer.clone());
        let socket = &mut self.sockets[conn];
        socket.ws = Some(WebSocket {
            arn,
            viewer,
            notices,
            order: self.admitted,
            opened: self.now,
            heard: self.now,
            went: self.now,
            ..WebSocket::default()
        });
        let rest = std::mem::take(&mut socket.requests.waiting);
        let partial = socket.requests.begun.take().is_some();
        let rest: Vec<Piece> = rest.into_iter().map(|request| request.piece).collect();
        if !rest.is_empty() || partial {
            self.frames_came(conn, rest, partial);
        }
    }

    /// Bytes came from a client that completed these frames, and perhaps begin another one.
    pub(crate) fn frames_came(&mut self, conn: ConnId, pieces: Vec<Piece>, partial: bool) {
        let now = self.now;
        let ws = self.sockets[conn].ws.as_mut().expect("a WebSocket");
        (ws.heard, ws.pinged) = (now, None);
        if ws.second.0 != now / 1000 {
            ws.second = (now / 1000, 0);
        }
        let frames = u32::try_from(pieces.len()).expect("few");
        (ws.second.1, ws.frames) = (ws.second.1 + frames, ws.frames + frames);
        let began = ws.began.filter(|_| frames == 0);
        ws.began = partial.then(|| began.unwrap_or(now));
        let goodbye = |piece: &Piece| matches!(piece, Piece::Close(_) | Piece::Bad(..));
        if ws.closed.is_some() {
            ws.said_goodbye |= pieces.iter().any(goodbye);
            return;
        }
        self.came.conn = conn;
        for piece in pieces {
            match piece {
                Piece::Message(text) => self.message_came(conn, &text),
                Piece::Ping(payload) => self.came.pings.push(payload),
                Piece::Pong(payload) => self.proved(conn, &payload),
                Piece::Empty => {}
                Piece::Close(code) => {
                    self.came.closes = Some((code, String::new()));
                    let ws = self.sockets[conn].ws.as_mut().expect("a WebSocket");
                    ws.said_goodbye = true;
                    self.is_over(conn);
                    return;
                }
                Piece::Bad(code, reason) => {
                    self.came.closes = Some((code, reason.to_owned()));
                    return;
                }
                other => panic!("the workload sends no {other:?} here"),
            }
        }
    }

    fn message_came(&mut self, conn: ConnId, text: &Text) {
        let ws = self.sockets[conn].ws.as_mut().expect("a WebSocket");
        ws.messages_in += 1;
        let correlation = text.correlation.clone().filter(|id| id != NO_NAME);
        let (kind, told) = match text.fault {
            None => {
                let action = text.action.expect("it breaks no rule");
                let moment = (self.step, self.now);
                self.ledger.came(conn, action, &text.payload, moment);
                (Kind::Known(action), None)
            }
            Some(fault) => {
                self.came.unaccepted[fault.index()] += 1;
                let (kind, told) = refusal(&self.settings, fault);
                let told = correlation.as_ref().zip(told);
                let told = told.map(|(id, told)| status(id, "InvalidArgumentException", &told));
                (kind, told)
            }
        };
        self.came.received[kind.index()] += 1;
        if let Some(correlation) = correlation {
            self.came.statuses.push((correlation, told));
        }
    }

    /// Something of ours beside messages was queued for a WebSocket.
    ///
    /// # Panics
    /// When nothing explains it.
    pub(crate) fn frame_queued(&mut self, conn: ConnId, item: &Item) {
        let (now, timeouts) = (self.now, &self.settings.timeouts);
        let (scripted, drain) = (self.is_scripted(), self.drains[self.sockets[conn].shard]);
        let by_pong = self.by_pong();
        let ws = self.sockets[conn].ws.as_mut().expect("a WebSocket");
        let closed = ws.closed.is_some();
        assert!(!closed, "connection {conn} got {item:?} behind {ws:?}");
        match item {
            Item::Ping => {
                let came = ws.pinged.map_or(ws.heard, |_| u64::MAX);
                let due = whole_second(came.min(ws.went) + timeouts.ping_ms);
                assert!(now >= due && !ws.superseded, "a ping at {now}: {ws:?}");
                (ws.went, ws.pinged) = (now, Some(ws.pinged.unwrap_or(now)));
                self.hit("silent connection pinged");
            }
            Item::ProofPing(_) => {
                assert!(by_pong, "a pong is no proof here");
                self.hit("ping that proves");
            }
            Item::GoAway => {
                let age = timeouts.connection_age_ms;
                let old = age > 0 && now + timeouts.go_away_grace_ms >= ws.opened + age;
                let drains = drain.is_some_and(|(_, ends)| now + ALONE_CLOSE_MS >= ends);
                let due = (old || drains || scripted) && !ws.superseded;
                assert!(due && ws.notices && !ws.told, "GO_AWAY at {now}: {ws:?}");
                ws.told = true;
                self.hit(match drains {
                    true => "drain: told to go",
                    false => "old connection told to go",
                });
            }
            Item::ReconnectIce => {
                let due = ws.notices && (scripted || self.recalls);
                assert!(due, "RECONNECT_ICE_SERVER at {now}: {ws:?}");
                self.hit("notified to fetch ICE servers again");
            }
            Item::Pong(payload) => {
                let came = &mut self.came;
                assert_eq!(came.conn, conn, "whose pong");
                assert_eq!(Some(payload), came.pings.get(came.answered), "which pong");
                came.answered += 1;
            }
            Item::Status(text) => self.status_queued(conn, text),
            Item::Close(code, reason) => {
                let holds = self.close_holds(conn, *code, reason);
                let ws = self.sockets[conn].ws.as_mut().expect("a WebSocket");
                assert!(holds, "closed by {code} {reason:?} at {now}: {ws:?}");
                ws.closed = Some((*code, reason.clone(), now));
                self.hit(word_of(*code, reason));
            }
            Item::Message { .. } | Item::Response(_) => unreachable!("seen elsewhere"),
        }
    }

    /// A response to a message of this step.
    fn status_queued(&mut self, conn: ConnId, text: &str) {
        assert_eq!(self.came.conn, conn, "whose status");
        let scripted = self.is_scripted();
        let statuses = std::mem::take(&mut self.came.statuses);
        let mut left = statuses.into_iter();
        let fits = |(id, wanted): &(String, Option<String>)| match wanted {
            Some(wanted) => wanted == text,
            None => {
                #[rustfmt::skip] // a table, a case per row
                let ends = [
                    (LIMIT, "Rate exceeded."),
                    (LIMIT, "Too many undelivered messages."),
                    ("InvalidArgumentException", "messagePayload must be 1 to 10000 base64 characters."),
                ];
                let scripted = scripted && text.contains("As a test has it.");
                scripted
                    || ends
                        .iter()
                        .any(|(error, why)| *text == status(id, error, why))
            }
        };
        loop {
            let next = left.next();
            let next = next.unwrap_or_else(|| panic!("connection {conn} got {text}"));
            if fits(&next) {
                break;
            }
            assert_eq!(next.1, None, "connection {conn} got {text}");
        }
        self.came.statuses = left.collect();
        self.hit("status response");
    }

    /// At the end of a step: what its frames asked for was done, unless it was closed or had no room.
    pub(crate) fn frames_answered(&self, bytes: usize) {
        let came = &self.came;
        let Some(socket) = self.sockets.get(came.conn) else {
            return;
        };
        let Some(ws) = &socket.ws else { return };
        if let Some(closes) = &came.closes {
            let closed = ws.closed.as_ref().map(|(code, reason, _)| (*code, reason));
            let cut = socket.stage == Stage::Shut;
            let fine = closed.is_some() || cut;
            assert!(fine, "{} is to get {closes:?}", came.conn);
        }
        let open = ws.closed.is_none() && socket.stage == Stage::Open;
        if open && bytes < 4096 {
            let most = came.pings.len().min(PONGS_PER_RECEIVE_MAX as usize);
            assert_eq!(came.answered, most, "pongs of {}", came.conn);
            let due = came.statuses.iter().find(|(_, wanted)| wanted.is_some());
            assert_eq!(due, None, "connection {} was not told", came.conn);
        }
    }

    fn close_holds(&self, conn: ConnId, code: u16, reason: &str) -> bool {
        let socket = &self.sockets[conn];
        let ws = socket.ws.as_ref().expect("a WebSocket");
        let (now, timeouts) = (self.now, &self.settings.timeouts);
        let own = (self.came.conn == conn).then_some(self.came.closes.as_ref());
        if let Some((own, why)) = own.flatten()
            && (*own, &**why) == (code, reason)
        {
            return true;
        }
        let age = timeouts.connection_age_ms;
        let spread = if ws.notices {
            0
        } else {
            timeouts.go_away_grace_ms
        };
        let drains = self.drains[socket.shard];
        let drains = drains.is_some_and(|(_, ends)| now + ALONE_CLOSE_MS / 2 >= ends);
        match (code, reason) {
            (1001, "Idle for too long") => now >= whole_second(ws.heard + timeouts.idle_ms),
            (1001, "Ping not answered") => {
                let due = |at| now >= whole_second(at + timeouts.pong_ms);
                timeouts.pong_ms > 0 && ws.pinged.is_some_and(due) && !ws.superseded
            }
            (1001, "Made room for another client") => self.settings.limits.connections < 1000,
            (1001, "Channel deleted") => {
                let name = name_of(&ws.arn);
                let current = self.records.current(name);
                self.is_scripted() || current.is_none_or(|it| it.arn != ws.arn)
            }
            (1001, "Going away") => {
                let old = age > 0 && now + spread >= ws.opened + age;
                old || drains || ws.recalled || ws.superseded || self.is_scripted()
            }
            (1008, "slow consumer") => {
                let held = socket.waits.0 + self.unacknowledged_bytes(conn) + LONGEST;
                let behind = self.gauges[socket.shard].behind() + LONGEST;
                let most = self.settings.outbox_bytes_of_shard();
                held >= self.settings.limits.outbox_bytes || behind >= most - most / 4
            }
            (1008, "message took too long") => {
                ws.began.is_some_and(|began| now >= began + MESSAGE_MS)
            }
            (1008, "too many frames without effect") => ws.second.1 > FRAMES_PER_SECOND,
            (4001, "as scripted") | (1001, "") => self.is_scripted(),
            _ => false,
        }
    }

    /// The edge has to end a connection: it is closed, or aborted, for a reason.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn must_end(&mut self, conn: ConnId, aborted: bool) {
        let (now, timeouts) = (self.now, &self.settings.timeouts);
        let socket = &self.sockets[conn];
        let since = |at: u64, ms: u64| now >= at + ms;
        let closing = socket
            .closing
            .is_some_and(|at| since(at, timeouts.close_ms));
        let scripted = self.is_scripted();
        let holds = match &socket.ws {
            _ if socket.ended || scripted => true,
            Some(ws) if aborted => {
                // Who ends makes room for others first.
                let room = self.settings.limits.connections < 1000;
                let echo = ws.closed.as_ref().is_some_and(|(code, _, at)| {
                    *code == 1008 || room || since(*at, timeouts.close_ms)
                });
                echo || closing || ws.superseded
            }
            Some(ws) => ws.closed.is_some(),
            None if aborted => {
                let handshake = !socket.secured && since(socket.opened, timeouts.tls_ms);
                let untaken = since(socket.requests.taken, timeouts.answer_ms);
                let leaves = matches!(socket.stage, Stage::Leaving(_));
                handshake || closing || untaken || leaves
            }
            None => {
                let idle = timeouts.keep_alive_ms.min(timeouts.head_ms);
                socket.requests.closes || since(socket.requests.answered, idle)
            }
        };
        assert!(
            holds,
            "connection {conn} ends at {now} for no reason: {aborted} {:?}",
            socket.ws
        );
        let socket = &mut self.sockets[conn];
        socket.closing.get_or_insert(now);
        socket.stage = match (socket.stage, aborted) {
            (_, true) => Stage::Shut,
            (Stage::Open | Stage::Leaving(_), false) => Stage::Closing,
            (other, false) => panic!("closed in {other:?}"),
        };
        if aborted {
            self.hit("connection aborted");
        }
    }

    /// Messages that were not accepted in this step for this reason, by their texts alone.
    pub(crate) fn faulty(&self, reason: Unaccepted) -> u64 {
        self.came.unaccepted[reason.index()]
    }
}

const LIMIT: &str = "ClientLimitExceededException";

/// For the coverage table.
fn word_of(code: u16, reason: &str) -> &'static str {
    match (code, reason) {
        (1001, "Idle for too long") => "idle connection closed",
        (1001, "Ping not answered") => "unanswered ping ends the connection",
        (1001, "Made room for another client") => "connection made room for another account's",
        (1001, "Channel deleted") => "connection closed by a deletion",
        (1001, "Going away") => "told to go away",
        (1008, "slow consumer") => "slow reader cut off",
        (1008, "message took too long") => "slow message cut off",
        (1008, "too many frames without effect") => "flood of frames without effect cut off",
        (4001, _) => "scripted: session closed",
        (1002 | 1003 | 1007 | 1009, _) => "frame violation ends the connection",
        _ => "close frame echoed",
    }
}
