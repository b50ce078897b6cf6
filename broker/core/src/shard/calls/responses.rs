//! Writes, counts and logs responses. Also defines the errors that several modules return.

use crate::event::{Purpose, Requested};
use crate::id::{Account, SessionKey};
use crate::journal::{Claims, LogShare, Refused, Subject};
use crate::limits::{ABSENCE_RETRY_S, WHEP_RETRY_S};
use crate::shard::evidence::{Evidence, SignatureEvidence, named};
use crate::shard::state::State;
use crate::{check::Check, refusal::Refusal};
use codec::control::ErrorKind;
use codec::http::{ErrorHead, Meta, respond as write_response};
use codec::proxy::Unclear;
use std::borrow::Cow;

/// A response to an HTTP request.
pub(crate) struct Response<'a> {
    /// The connection on which the request arrived.
    pub(crate) key: SessionKey,
    pub(crate) purpose: Purpose,
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: &'a [u8],
    /// Whether the connection closes after the response.
    pub(crate) close: bool,
    /// The request id, if it already appears in the response body or in an audit entry.
    pub(crate) id: Option<&'a str>,
    /// Additional header fields, each terminated by CRLF.
    pub(crate) fields: &'a str,
}

impl<'a> Response<'a> {
    /// Creates a response with a JSON body.
    pub(crate) fn json(key: SessionKey, purpose: Purpose, body: &'a [u8], close: bool) -> Self {
        Self {
            key,
            purpose,
            status: 200,
            content_type: "application/json",
            body,
            close,
            id: None,
            fields: "",
        }
    }
}

/// Sends a response. Afterwards, the connection closes or continues with the next request.
pub(crate) fn respond(shard: &mut State, answer: &Response<'_>) {
    let id = answer.id.map(Cow::from);
    let id = id.unwrap_or_else(|| shard.cx.telemetry.request_id().into());
    let id = Some(&*id);
    let close = write(shard, &Response { id, ..*answer }, None);
    shard.sockets.next_request(answer.key, close, shard.cx.at);
}

/// Refuses a request: sends the error in the format that the client expects, and counts and logs the refusal.
/// Afterwards, the connection closes or continues with the next request.
pub(crate) fn refuse(shard: &mut State, evidence: &Evidence<'_>, refusal: &Refusal) {
    let (sockets, _, cx, _) = shard.parts();
    let (key, purpose, check) = (evidence.key, evidence.purpose, refusal.check);
    let status = refusal.status(purpose);
    if let Some(failure) = refusal.auth_failure() {
        cx.telemetry.count_auth_failure(failure);
    }
    if let Purpose::Upgrade(role) = purpose {
        cx.telemetry.count_upgrade(role, refusal.upgrade_outcome());
    }
    if purpose == Purpose::Whep {
        cx.telemetry.count_player(refusal.player_outcome(), None);
    }
    let id = evidence.id.map(Cow::from).unwrap_or_else(|| {
        let id = cx.telemetry.refusal_id(refusal, purpose, cx.at.wall);
        id.into()
    });
    // In development, error responses contain a link that can be clicked in a browser's network panel.
    let why = sockets.rules().why_url.as_deref();
    let why = why.map(|url| format!("{url}{id}"));
    let error = ErrorHead {
        error_type: refusal.error_type(purpose),
        why: why.as_deref(),
        // Without `Retry-After`, the client itself decides when to retry.
        retry_after_s: RETRIES.iter().find(|row| row.0 == check).map(|row| row.1),
    };
    let (body, content_type) = refusal.body(purpose, &id);
    let answer = Response {
        status,
        content_type,
        fields: match (purpose, status) {
            (Purpose::Whep, 405) => PLAYER_METHODS,
            (Purpose::Whep, _) => PLAYER_FIELDS,
            (_, _) => "",
        },
        id: Some(&id),
        ..Response::json(key, purpose, &body, evidence.close)
    };
    let close = write(shard, &answer, Some(error));
    let (account, _) = evidence.signer();
    let telemetry = &mut shard.cx.telemetry;
    telemetry.count_refused(account.map(Account::of_digits));
    let id = Some(&*id);
    note(shard, &Evidence { id, ..*evidence }, refusal);
    shard.sockets.next_request(key, close, shard.cx.at);
}

/// Sends a response and counts it. Returns whether the connection closes afterwards.
fn write(shard: &mut State, answer: &Response<'_>, error: Option<ErrorHead<'_>>) -> bool {
    let (sockets, _, cx, _) = shard.parts();
    let (key, status, body) = (answer.key, answer.status, answer.body);
    // The next request may be for another node. Only the node to which the client is connected can tell.
    let ends = sockets.drains() || sockets.is_inner(key);
    let flags = sockets.http(key).map(|http| (http.one_call, http.bodiless));
    let (one_call, bodiless) = flags.unwrap_or_default();
    let close = answer.close || (ends && !one_call);
    let meta = Meta {
        wall_ms: cx.at.wall.0,
        request_id: answer.id.unwrap_or_default(),
        close,
        fields: answer.fields,
    };
    sockets.push_control(cx, key, |out| {
        write_response(out, &meta, status, error, answer.content_type, body);
        if bodiless {
            out.truncate(out.len() - body.len());
        }
    });
    let requested = match answer.purpose {
        Purpose::Api(operation) => Requested::Api(operation),
        Purpose::Sts(requested) => requested,
        Purpose::Wake => Requested::Wake,
        Purpose::Whep => Requested::Whep,
        Purpose::RoleAlias => Requested::RoleAlias,
        Purpose::Unknown => Requested::Unknown,
        Purpose::Upgrade(_) => return close, // counted by its outcome
    };
    cx.telemetry.count_request(requested, status);
    close
}

/// Counts a refusal, and logs it under the response's request id. If the request was served nevertheless, the log line
/// is a notice.
pub(crate) fn note(shard: &mut State, evidence: &Evidence<'_>, refusal: &Refusal) {
    let (sockets, _, cx, gate) = shard.parts();
    let (purpose, check) = (evidence.purpose, refusal.check);
    cx.telemetry.count_refusal(check);
    let Some(session) = sockets.session(evidence.key) else {
        return;
    };
    let remote = session.remote();
    let unclear = session.forwarded().and_then(|it| it.unclear);
    let claimed = evidence.claimed();
    let (channel, key_id) = (claimed.channel.as_deref(), claimed.key_id.as_deref());
    let (account, source_identity) = evidence.signer();
    let share = LogShare {
        remote: remote.ip(),
        check,
        subject: Subject::of(claimed.channel_account, channel, key_id),
    };
    cx.telemetry.journal().refused(cx.at.now, share, || {
        let text = |text: Option<&str>| text.map(named);
        let skew = |signed: i64| signed.saturating_sub_unsigned(cx.at.wall.0 / 1000);
        let signature = gate.signature().filter(|_| evidence.by_signature);
        let signature = signature.as_ref();
        let mismatch = signature.filter(|_| check == Check::SignatureMismatch);
        let signed_as = mismatch.and_then(|it| it.signed_as(evidence.head, sockets.settings()));
        Refused {
            request_id: evidence.id.unwrap_or_default().into(),
            at: cx.at.wall,
            status: refusal.status(purpose),
            error_type: refusal.error_type(purpose),
            check,
            remote,
            proxy: unclear.map(Unclear::says),
            what: purpose.word(),
            action: purpose.action(),
            claims: Claims {
                channel: text(channel),
                channel_account: claimed.channel_account,
                client_id: text(claimed.client_id.as_deref()),
                session: text(evidence.session),
                key_id: text(key_id),
                principal: text(evidence.principal(key_id, signature)),
                account: text(account),
                source_identity: text(source_identity),
                clock_skew_s: claimed.signed.map(|signed| skew(signed.epoch())),
                user_agent: text(claimed.user_agent),
                sign_in: evidence.presented(),
            },
            fault: evidence.fault,
            policy: refusal.reason().map(Into::into).or(signed_as),
            explain: signature.and_then(SignatureEvidence::explain),
        }
    });
}

/// Checks whose refusals tell the client when to retry, with the number of seconds to wait.
const RETRIES: [(Check, u32); 2] = [
    (Check::AbsenceUnknown, ABSENCE_RETRY_S),
    (Check::WhepNoMaster, WHEP_RETRY_S),
];

/// Header fields for every response to a player.
pub(crate) const PLAYER_FIELDS: &str =
    "Access-Control-Expose-Headers: Location,Link,Retry-After\r\n";

/// Header fields for responses to players that used an unsupported method.
const PLAYER_METHODS: &str = "Access-Control-Expose-Headers: Location,Link,Retry-After\r\n\
                              Allow: OPTIONS, POST, GET, HEAD, DELETE\r\n";

/// Header fields for responses to players' requests other than offers.
pub(crate) const PLAYER_OPTIONS: &str = "Access-Control-Expose-Headers: Location,Link,Retry-After\r\n\
     Accept-Post: application/sdp\r\n";

// Errors that several steps return with the same message.

/// Returns the error for a change that is refused because there is no room in the log for its audit entry.
pub(crate) fn unauditable() -> Refusal {
    Refusal::unavailable(Check::AuditFull, UNAUDITABLE)
}

/// Error message for a change that is refused because there is no room in the log for its audit entry.
pub(crate) const UNAUDITABLE: &str = "The server's log takes no audit entries at the moment, so nothing is \
                                                changed. Try again later.";

/// Returns the error for a channel that does not exist or is not active.
pub(crate) fn absent(check: Check) -> Refusal {
    let message = "The requested channel is not found or not active.";
    Refusal::new(check, ErrorKind::ResourceNotFound, message)
}

/// Returns the error for a channel that is not on this node but may exist on another node.
pub(crate) fn absence_unknown() -> Refusal {
    let message = "This server does not have the channel, and cannot tell at the moment whether another server has it. \
                   Try again later.";
    Refusal::unavailable(Check::AbsenceUnknown, message)
}

/// Error message for callers that exceed their rate limit.
pub(crate) const RATE_EXCEEDED: &str = "Rate exceeded.";

/// Returns the error for requests received while the process is shutting down.
pub(crate) fn shutting_down() -> Refusal {
    Refusal::unavailable(Check::Draining, "The server is shutting down.")
}

/// Returns the error for an internal inconsistency.
pub(crate) fn internal_failure() -> Refusal {
    let kind = ErrorKind::InternalFailure;
    Refusal::new(Check::InternalFailure, kind, "Internal failure.")
}

/// Returns the error for a channel that no node currently serves.
pub(crate) fn nobody() -> Refusal {
    let message = "No server has this channel at the moment. Try again.";
    Refusal::unavailable(Check::OwnerNone, message)
}

/// Returns the error for a connection that is refused because the connection limit has been reached and nothing can be
/// evicted.
pub(crate) fn no_place() -> Refusal {
    let message = "The server has as many connections as it may have, and this caller has its share of them: close \
                   some, or try again later.";
    Refusal::unavailable(Check::ConnectionsFull, message)
}

/// Returns the error for a connection that is refused because the service is at capacity.
pub(crate) fn no_room() -> Refusal {
    let message = "The service has no room for another connection.";
    Refusal::unavailable(Check::ConnectionsFull, message)
}
