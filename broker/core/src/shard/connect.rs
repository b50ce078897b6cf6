//! Handles connections until they become WebSockets. Parses received bytes into request heads and bodies, and turns
//! those into calls and upgrades. An upgrade moves to the shard that owns its channel and is admitted there.

pub(crate) mod admission;
mod public_pages;
pub(crate) mod requests;
pub(crate) mod upgrades;

use crate::address_shares::Origin;
use crate::journal::{EndReason, LogShare, Refused, Subject};
use crate::session::http::HttpStage;
use crate::shard::calls::responses::refuse;
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::sockets::Sockets;
use crate::shard::state::State;
use crate::{check::Check, event::Purpose, id::SessionKey, limits::PAYERS_PER_INPUT};
use crate::{machine::TurnedAway, refusal::Refusal};
use codec::control::ErrorKind;
use codec::http::{Body, Head};
use std::net::SocketAddr;

// HTTP with keep-alive and pipelining: turns request heads and bodies into calls and upgrades.

/// Returns whether the connection closes after the response to this request. If so, the request body is not read.
pub(crate) fn ends_with(head: &Head<'_>) -> bool {
    let no_body = matches!(head.body(), Ok(Body::None | Body::Length(0)));
    !head.keep_alive() || !no_body
}

// Memory accounting: each connection is charged for the request bytes it holds. At the limit, the largest connection is
// refused or aborted first.

/// Charges a session for the bytes it has just received. While the total exceeds the limit, connections must free their
/// memory. The first choice is the largest connection of an address that uses more than this one. The second choice is
/// a larger connection from the same address, and the last resort is this connection.
pub(crate) fn charge_received(shard: &mut State, key: SessionKey) {
    shard.sockets.charge(key);
    for payers in 0.. {
        let held = &shard.sockets.requests.held;
        if held.bytes <= shard.sockets.rules().request_bytes {
            return;
        }
        let own = held.charges.get(&key).copied();
        let (Some(own), Some(session)) = (own, shard.sockets.session(key)) else {
            return;
        };
        let larger = held.shares.payer(Origin::of(session.origin().ip()), own, 0);
        let payer = larger.filter(|_| payers < PAYERS_PER_INPUT).unwrap_or(key);
        make_pay(shard, payer);
        if payer == key {
            return;
        }
    }
}

/// Frees the memory of the largest sessions if the limit on request bytes is exceeded, for example by unread responses.
pub(crate) fn hold(shard: &mut State) {
    for _ in 0..PAYERS_PER_INPUT {
        let held = &shard.sockets.requests.held;
        if held.bytes <= shard.sockets.rules().request_bytes {
            return;
        }
        let Some(payer) = held.shares.largest() else {
            return;
        };
        make_pay(shard, payer);
    }
}

/// Frees the memory held by a connection, either by refusing its current request or by aborting the connection.
fn make_pay(shard: &mut State, key: SessionKey) {
    let (sockets, _, cx, _) = shard.parts();
    sockets.requests.held.refused += 1;
    let Some(session) = sockets.session(key) else {
        return;
    };
    let answers = session.outbox.in_flight();
    let Some(http) = sockets.http(key) else {
        // A WebSocket uses this memory for data that its peer has not read, or for an incomplete message. Neither can
        // be partly freed.
        let reason = match sockets.unconfirmed.unproved_of(key) {
            0 => EndReason::SlowMessage,
            _ => EndReason::SlowConsumer,
        };
        sockets.because(key, reason);
        return abort_at_once(sockets, cx, key);
    };
    let purpose = match &mut http.stage {
        // The pending answer is still sent. The connection then closes, and the client has to repeat its later
        // requests.
        HttpStage::AwaitReply(asked, _) if !answers || !http.buffer.is_empty() => {
            asked.close = true;
            http.buffer = Vec::new();
            return sockets.charge(key);
        }
        HttpStage::AwaitWake(awaited) if !answers || !http.buffer.is_empty() => {
            awaited.close = true;
            http.buffer = Vec::new();
            return sockets.charge(key);
        }
        HttpStage::AwaitBody(awaited) if !answers => awaited.target.purpose(),
        HttpStage::AwaitHead if !answers => Purpose::Unknown,
        HttpStage::AwaitHead
        | HttpStage::AwaitBody(_)
        | HttpStage::AwaitReply(..)
        | HttpStage::AwaitWake(_)
        | HttpStage::AwaitTls
        | HttpStage::AwaitHandover(..)
        | HttpStage::AwaitLink(_)
        | HttpStage::AwaitAdmin(_)
        | HttpStage::AwaitOwner(_) => return abort_at_once(sockets, cx, key),
    };
    let refusal = Refusal::unavailable(Check::RequestsFull, FULL);
    refuse(shard, &Evidence::of(key, purpose), &refusal);
    shard.sockets.charge(key);
}

fn abort_at_once(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) {
    sockets.abort(cx, key);
    // The connection's memory is freed when its socket closes, in the next turn.
    sockets.discharge(key);
}

const FULL: &str = "The server has reached its limit of unfinished requests. Try again.";

// Connections that were rejected before they sent a request. They are counted and logged like other refusals.

/// Counts and logs a rejected connection. `offer` is the client's TLS offer, if it caused the rejection. Returns the
/// request id for the response, if one is to be sent.
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
    let refusal = Refusal::new(check, kind, "");
    let status = refusal.status(Purpose::Unknown);
    let id = (cx.telemetry).refusal_id(&refusal, Purpose::Unknown, cx.at.wall);
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
