//! Connections before they become WebSockets: parses bytes into heads and bodies, these into calls and upgrades, admits
//! upgrades to their channels, and moves them to the channels' shards.

pub(crate) mod admission;
mod public_pages;
pub(crate) mod requests;
pub(crate) mod upgrades;

use crate::journal::{EndReason, LogShare, Refused, Subject};
use crate::session::http::HttpStage;
use crate::session::{NEVER, SendState, Session};
use crate::shard::calls::responses::refuse;
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::sockets::Sockets;
use crate::{check::Check, event::Purpose, id::SessionKey, limits::PAYERS_PER_INPUT};
use crate::{machine::TurnedAway, refusal::Refusal, time::Moment};
use codec::control::ErrorKind;
use codec::http::{Body, Head, HeadError};
use std::net::SocketAddr;

// HTTP on a connection: heads and bodies, with keep-alive and pipelining, to calls and upgrades.

/// The result of one parsing step.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// More bytes or the answer to a call are needed.
    Wait,
    /// Number of bytes consumed; unprocessed input may remain.
    Used(usize),
    /// The connection became a WebSocket; its frames begin at this byte offset.
    Frames(usize),
    /// The connection is closing or has moved away: no more bytes are processed.
    Over,
}

/// Whether the connection closes after the response to this head. If so, the body, if any, is not read.
pub(crate) fn ends_with(head: &Head<'_>) -> bool {
    let no_body = matches!(head.body(), Ok(Body::None | Body::Length(0)));
    !head.keep_alive() || !no_body
}

impl Sockets {
    /// Starts waiting for the first request head after the TLS handshake.
    pub(crate) fn secured(&mut self, key: SessionKey, at: Moment) {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHead;
        http.deadline = deadline;
        self.arm(key, deadline);
        self.place(key, crate::event::ConnectionRole::Http);
    }

    /// Arms an HTTP connection's timeout for its next input.
    pub(crate) fn await_rest(&mut self, key: SessionKey, at: Moment) {
        let head_ms = self.settings().timeouts.head_ms;
        let Some(session) = self.session(key) else {
            return;
        };
        let (waits, blocked) = (session.answers_wait(), session.outbox.in_flight());
        let Some(http) = self.http(key) else {
            return;
        };
        let awaits_head = matches!(http.stage, HttpStage::AwaitHead) && !http.queued && !waits;
        if http.served && awaits_head && !http.begun && !http.buffer.is_empty() {
            (http.begun, http.deadline) = (true, at.now.after(head_ms)); // the next request has begun
        }
        let over = http.ended && !http.awaits_reply() && !http.has_more(waits);
        let answer_due = if blocked { http.answer_due } else { NEVER };
        let deadline = http.deadline.min(answer_due);
        if over {
            return self.close_when_sent(key, at);
        }
        self.arm(key, deadline);
    }

    pub(crate) fn keep_rest(&mut self, key: SessionKey, rest: &[u8]) {
        if let Some(http) = self.http(key)
            && !rest.is_empty()
        {
            http.buffer.extend_from_slice(rest);
        }
    }
}

/// The next part of the input on an HTTP connection.
pub(crate) enum Part {
    /// Nothing to process.
    None(Step),
    /// A request head of this many bytes.
    Head(usize),
    /// Bytes that are not a valid request head.
    NoHead(HeadError),
    /// A request body of this many bytes.
    Body(usize),
}

impl Sockets {
    /// Scans the input for its next part. `waits`: whether the part must be left for a later turn.
    pub(crate) fn next_part(&mut self, key: SessionKey, rest: &[u8], waits: bool) -> Part {
        let limits = self.rules().head;
        let session = self.session(key);
        let answers_wait = session.is_some_and(Session::answers_wait);
        let unheard = session.is_some_and(|it| it.sending == SendState::WithheldForGood);
        let Some(http) = self.http(key) else {
            return Part::None(Step::Over);
        };
        match &http.stage {
            HttpStage::AwaitTls
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_)
            | HttpStage::AwaitHandover(..)
            | HttpStage::AwaitLink(_)
            | HttpStage::AwaitAdmin(_)
            | HttpStage::AwaitOwner(_) => Part::None(Step::Wait),
            HttpStage::AwaitHead if rest.is_empty() || answers_wait => Part::None(Step::Wait),
            // No answer would leave: nothing more is done for it.
            HttpStage::AwaitHead if unheard => Part::None(Step::Used(rest.len())),
            HttpStage::AwaitHead | HttpStage::AwaitBody(_) if waits => {
                self.wait_for_turn(key);
                Part::None(Step::Wait)
            }
            HttpStage::AwaitHead => match http.scanner.end(rest, &limits) {
                Ok(None) => Part::None(Step::Wait),
                Ok(Some(end)) => Part::Head(end.min(rest.len())),
                Err(error) => Part::NoHead(error),
            },
            HttpStage::AwaitBody(awaited) if awaited.length > rest.len() => Part::None(Step::Wait),
            HttpStage::AwaitBody(awaited) => Part::Body(awaited.length),
        }
    }

    /// Records whether the response to this head may have a body, even if the head is malformed.
    pub(crate) fn note_method(&mut self, key: SessionKey, head: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
        //# The HEAD method is identical to GET except that the server MUST NOT send content in the response.
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        if let Some(http) = self.http(key) {
            http.bodiless = line.starts_with(b"HEAD ");
        }
    }
}

// Bytes of requests are charged to connections, and the one with most pays: see [`crate::shard::sockets`].

impl Sockets {
    /// Charges a session for the bytes just received. If the total exceeds the limit, frees memory of the sessions that
    /// hold the most.
    pub(crate) fn charge_received(&mut self, cx: &mut Context, key: SessionKey) {
        self.charge(key);
        for payers in 0.. {
            let Some(payer) = self.payer_for(key) else {
                return;
            };
            let payer = if payers < PAYERS_PER_INPUT {
                payer
            } else {
                key
            };
            self.make_pay(cx, payer);
            if payer == key {
                return;
            }
        }
    }

    /// While unsent responses exceed the limit, frees memory of the sessions that hold the most.
    pub(crate) fn hold(&mut self, cx: &mut Context) {
        for _ in 0..PAYERS_PER_INPUT {
            let Some(payer) = self.largest_payer() else {
                return;
            };
            self.make_pay(cx, payer);
        }
    }

    /// Frees the memory held by a connection.
    fn make_pay(&mut self, cx: &mut Context, key: SessionKey) {
        self.count_payer();
        let Some(session) = self.session(key) else {
            return;
        };
        let answers = session.outbox.in_flight();
        let Some(http) = self.http(key) else {
            // Of a WebSocket that is what its peer does not read, or an unfinished message: no part of either could be
            // given back.
            let reason = match self.unproved_of(key) {
                0 => EndReason::SlowMessage,
                _ => EndReason::SlowConsumer,
            };
            self.because(key, reason);
            return self.abort_at_once(cx, key);
        };
        let purpose = match &mut http.stage {
            // Its answer goes out, and is the last: what waits behind it is asked again.
            HttpStage::AwaitReply(asked, _) if !answers || !http.buffer.is_empty() => {
                asked.close = true;
                http.buffer = Vec::new();
                return self.charge(key);
            }
            HttpStage::AwaitWake(awaited) if !answers || !http.buffer.is_empty() => {
                awaited.close = true;
                http.buffer = Vec::new();
                return self.charge(key);
            }
            HttpStage::AwaitBody(awaited) => awaited.target.purpose(),
            HttpStage::AwaitHead
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_)
            | HttpStage::AwaitTls
            | HttpStage::AwaitHandover(..)
            | HttpStage::AwaitLink(_)
            | HttpStage::AwaitAdmin(_)
            | HttpStage::AwaitOwner(_) => Purpose::Unknown,
        };
        let asks = matches!(http.stage, HttpStage::AwaitHead | HttpStage::AwaitBody(_));
        if answers || !asks {
            return self.abort_at_once(cx, key);
        }
        let refusal = Refusal::unavailable(Check::RequestsFull, FULL);
        refuse(self, cx, key, &Evidence::of(purpose), &refusal);
        self.charge(key);
    }

    fn abort_at_once(&mut self, cx: &mut Context, key: SessionKey) {
        self.abort(cx, key);
        // Its memory is free with the end of its socket, in the next turn.
        self.discharge(key);
    }
}

const FULL: &str = "The server has reached its limit of unfinished requests. Try again.";

// Connections that ended before there was a request: counted and noted like every other refusal.

/// Counts and logs a rejected connection, including its TLS offer if that was the reason; returns the request id of the
/// response, if any.
pub(crate) fn turned_away(
    cx: &mut Context,
    remote: SocketAddr,
    why: TurnedAway,
    offer: Option<&str>,
) -> String {
    let (check, kind) = match why {
        TurnedAway::NoRoom => (Check::ConnectionsFull, ErrorKind::ServiceUnavailable),
        TurnedAway::NoHandshakeRoom => (Check::HandshakesFull, ErrorKind::ServiceUnavailable),
        TurnedAway::PlainHttp => (Check::TlsExpected, ErrorKind::InvalidArgument),
        TurnedAway::Distrusted => (Check::TlsDistrusted, ErrorKind::InvalidArgument),
        TurnedAway::NoCommonTls => (Check::TlsNothingCommon, ErrorKind::InvalidArgument),
        TurnedAway::BrokenTls => (Check::TlsBroken, ErrorKind::InvalidArgument),
        TurnedAway::LeftHandshake => (Check::TlsLeft, ErrorKind::InvalidArgument),
        TurnedAway::ProxyUnexpected => (Check::ProxyUnexpected, ErrorKind::InvalidArgument),
        TurnedAway::ProxyForeign => (Check::ProxyForeign, ErrorKind::InvalidArgument),
        TurnedAway::ProxyMalformed => (Check::ProxyMalformed, ErrorKind::InvalidArgument),
    };
    let status = Purpose::Unknown.status(kind);
    let id = cx
        .telemetry
        .refusal_id(check, Purpose::Unknown, status, cx.at.wall);
    cx.telemetry.count_refusal(check);
    let share = LogShare {
        remote: remote.ip(),
        check,
        subject: Subject::Other,
    };
    cx.telemetry
        .journal()
        .refused(cx.at.now, share, || Refused {
            policy: offer.map(Into::into),
            ..Refused::unread(&id, cx.at.wall, status, kind.error_type(), check, remote)
        });
    id
}
