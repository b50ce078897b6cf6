//! Responses: written, counted, and logged when they refuse something; and the refusals that several steps give.

use crate::event::{AuthFailure, Purpose, Requested, UpgradeOutcome};
use crate::id::{Account, SessionKey};
use crate::journal::{Claims, Refused, Share, Subject};
use crate::session::http::Target;
use crate::shard::context::Context;
use crate::shard::sockets::Sockets;
use crate::shard::telemetry::{Evidence, named};
use crate::time::Moment;
use crate::{auth::Unsigned, check::Check, limits::ABSENCE_RETRY_S, shard::Fault};
use codec::control::{ErrorKind, error_body};
use codec::http::{ErrorHead, HeadError, Meta, UpgradeError, respond as write_response};
use codec::{proxy::Unclear, sts};
use std::borrow::Cow;

/// A response.
pub(crate) struct Response<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) status: u16,
    /// The details of the refusal, if it is one.
    pub(crate) refusal: Option<Refusal<'a>>,
    pub(crate) content_type: &'static str,
    pub(crate) body: &'a [u8],
    /// The connection ends with it.
    pub(crate) close: bool,
}

/// The details of a response that refuses something.
#[derive(Clone, Copy)]
pub(crate) struct Refusal<'a> {
    /// The error's type.
    pub(crate) error_type: &'static str,
    /// Why.
    pub(crate) check: Check,
    /// The facts that are known of the request.
    pub(crate) evidence: &'a Evidence<'a>,
}

impl<'a> Response<'a> {
    /// A JSON body.
    pub(crate) fn json(purpose: Purpose, body: &'a [u8], close: bool) -> Self {
        Self {
            purpose,
            status: 200,
            refusal: None,
            content_type: JSON,
            body,
            close,
        }
    }
}

/// A request that is refused.
#[derive(Clone, Copy)]
pub(crate) struct Rejected<'a> {
    /// The purpose that its answer is counted for.
    purpose: Purpose,
    /// The facts that are known of it.
    evidence: &'a Evidence<'a>,
    /// The connection ends with the answer.
    close: bool,
    /// The request id of the answer, if it is in an audit line.
    id: Option<&'a str>,
}

impl<'a> Rejected<'a> {
    pub(crate) fn new(purpose: Purpose, evidence: &'a Evidence<'a>, close: bool) -> Self {
        Self {
            purpose,
            evidence,
            close,
            id: None,
        }
    }

    /// The last one of its connection.
    pub(crate) fn last(purpose: Purpose, evidence: &'a Evidence<'a>) -> Self {
        Self::new(purpose, evidence, true)
    }

    /// The same with a request id that is in an audit line.
    pub(crate) fn audited(self, id: &'a str) -> Self {
        let id = Some(id);
        Self { id, ..self }
    }

    /// Its answer: an error of this type, for this reason, as JSON.
    fn answer(
        &self,
        status: u16,
        (error_type, check): (&'static str, Check),
        body: &'a [u8],
    ) -> Response<'a> {
        Response {
            purpose: self.purpose,
            status,
            refusal: Some(Refusal {
                error_type,
                check,
                evidence: self.evidence,
            }),
            content_type: JSON,
            body,
            close: self.close,
        }
    }

    /// The request id of the answer.
    fn id(&self, cx: &mut Context, check: Check, status: u16) -> Cow<'a, str> {
        match self.id {
            Some(id) => id.into(),
            None => cx
                .telemetry
                .refusal_id(check, self.purpose, status, cx.at.wall)
                .into(),
        }
    }
}

/// An error of STS, and why it is answered.
pub(crate) struct StsFault {
    pub(crate) check: Check,
    pub(crate) error: sts::Error,
    /// The policy and the statement that refuse it, for operators alone.
    pub(crate) policy: Option<Box<str>>,
}

impl StsFault {
    /// By no policy.
    pub(crate) fn new(check: Check, error: sts::Error) -> Self {
        Self {
            check,
            error,
            policy: None,
        }
    }

    /// The text of the answer, where the check refers to it.
    fn told(&self) -> Option<&str> {
        let is_told = matches!(
            self.check,
            Check::ArgumentInvalid | Check::SessionPolicyMalformed | Check::OperationUnknown
        );
        is_told.then_some(&*self.error.message)
    }
}

/// Answers, and goes on to the next request or ends the connection.
pub(crate) fn respond(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    answer: &Response<'_>,
) {
    let id = match answer.refusal {
        Some(refusal) => {
            cx.telemetry
                .refusal_id(refusal.check, answer.purpose, answer.status, cx.at.wall)
        }
        None => cx.telemetry.request_id(),
    };
    respond_as(sockets, cx, key, &id, answer);
}

/// The same with a request id that is in the body, or in an audit line.
pub(crate) fn respond_as(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    id: &str,
    answer: &Response<'_>,
) {
    let Response {
        purpose,
        status,
        refusal,
        content_type,
        body,
        close,
    } = *answer;
    // The client's next request may be for another node: the one that it is connected to finds out.
    let ends = sockets.drains() || sockets.is_inner(key);
    let close = close || (ends && !sockets.brings_one_call(key));
    let meta = Meta {
        wall_ms: cx.at.wall.0,
        request_id: id,
        close,
    };
    // One click from a browser's network panel; in development only.
    let why_url = sockets.rules().why_url.as_deref();
    let why = refusal.and(why_url);
    let why = why.map(|url| format!("{url}{id}"));
    let error = refusal.map(|refusal| ErrorHead {
        error_type: refusal.error_type,
        why: why.as_deref(),
        retry_after_s: retry_after_s(refusal.check),
    });
    let bodiless = sockets.http(key).is_some_and(|http| http.bodiless);
    sockets.push_control(cx, key, |out| {
        write_response(out, &meta, status, error, content_type, body);
        if bodiless {
            out.truncate(out.len() - body.len());
        }
    });
    match purpose {
        Purpose::Api(operation) => cx
            .telemetry
            .count_request(Requested::Api(operation), status),
        Purpose::Sts(requested) => cx.telemetry.count_request(requested, status),
        Purpose::Wake => cx.telemetry.count_request(Requested::Wake, status),
        Purpose::RoleAlias => cx.telemetry.count_request(Requested::RoleAlias, status),
        Purpose::Unknown => cx.telemetry.count_request(Requested::Unknown, status),
        Purpose::Upgrade(_) => {} // counted by its outcome
    }
    if let Some(refusal) = refusal {
        cx.telemetry.count_refusal(refusal.check);
        let (account, _) = refusal.evidence.signer();
        cx.telemetry.count_refused(account.map(Account::of_digits));
        note_refusal(sockets, cx, key, id, answer);
    }
    sockets.next_request(key, close, cx.at);
}

/// Lists a request beside those that are refused, under the id of its answer, though it is served.
pub(crate) fn notice(
    sockets: &Sockets,
    cx: &mut Context,
    key: SessionKey,
    id: &str,
    (purpose, noticed): (Purpose, Refusal<'_>),
) {
    let served = Response {
        refusal: Some(noticed),
        ..Response::json(purpose, b"", false)
    };
    cx.telemetry.count_refusal(noticed.check);
    note_refusal(sockets, cx, key, id, &served);
}

/// Seconds until a request that was refused by this check should be tried again; `None`: the client decides.
fn retry_after_s(check: Check) -> Option<u32> {
    (check == Check::AbsenceUnknown).then_some(ABSENCE_RETRY_S)
}

fn note_refusal(
    sockets: &Sockets,
    cx: &mut Context,
    key: SessionKey,
    id: &str,
    answer: &Response<'_>,
) {
    let (Some(refusal), Some(session)) = (answer.refusal, sockets.session(key)) else {
        return;
    };
    let remote = session.remote();
    let unclear = session.forwarded().and_then(|it| it.unclear);
    let claimed = refusal.evidence.claimed();
    let (channel, key_id) = (claimed.channel.as_deref(), claimed.key_id.as_deref());
    let share = Share {
        remote: remote.ip(),
        check: refusal.check,
        subject: Subject::of(channel, key_id),
    };
    let (account, source_identity) = refusal.evidence.signer();
    cx.telemetry.journal().refused(cx.at.now, share, || {
        let text = |text: Option<&str>| text.map(named);
        let skew = |signed: i64| signed.saturating_sub_unsigned(cx.at.wall.0 / 1000);
        let signed_as = refusal.evidence.signed_as(sockets.settings());
        let signed_as = signed_as.filter(|_| refusal.check == Check::SignatureMismatch);
        Refused {
            request_id: id.into(),
            at: cx.at.wall,
            status: answer.status,
            error_type: refusal.error_type,
            check: refusal.check,
            remote,
            proxy: unclear.map(Unclear::says),
            what: answer.purpose.word(),
            action: answer.purpose.action(),
            claims: Claims {
                channel: text(channel),
                client_id: text(claimed.client_id.as_deref()),
                session: text(refusal.evidence.session),
                key_id: text(key_id),
                principal: text(refusal.evidence.principal(key_id)),
                account: text(account),
                source_identity: text(source_identity),
                clock_skew_s: claimed.signed.map(|signed| skew(signed.epoch())),
                sign_in: refusal.evidence.presented(),
            },
            fault: refusal.evidence.fault,
            policy: refusal.evidence.policy.map(Into::into).or(signed_as),
            explain: refusal.evidence.explain(),
        }
    });
}

/// Answers with an error.
pub(crate) fn respond_error(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    fault: &Fault,
    rejected: Rejected<'_>,
) {
    let purpose = rejected.purpose;
    if let Purpose::Sts(_) = purpose {
        let kind = sts::ErrorKind::ServiceUnavailable;
        let fault = StsFault::new(fault.check, sts::Error::new(kind, fault.message.clone()));
        return refuse_sts(sockets, cx, key, &fault, rejected);
    }
    let evidence = Evidence {
        policy: fault.policy.as_deref(),
        ..*rejected.evidence
    };
    let rejected = Rejected {
        evidence: &evidence,
        ..rejected
    };
    let status = status_of(purpose, fault);
    let id = rejected.id(cx, fault.check, status);
    if let Purpose::Upgrade(role) = purpose {
        cx.telemetry.count_upgrade(role, outcome_of(fault));
    }
    if matches!(
        fault.kind,
        ErrorKind::AccessDenied | ErrorKind::NotAuthorized
    ) {
        cx.telemetry.count_auth_failure(AuthFailure::Policy);
    }
    let mut body = Vec::new();
    error_body(&mut body, purpose.operation(), &fault.message);
    let answer = rejected.answer(status, (fault.kind.error_type(), fault.check), &body);
    respond_as(sockets, cx, key, &id, &answer);
}

/// Answers a call of STS with an error. Operators read its policy, or the text of the answer if that says it all.
pub(crate) fn refuse_sts(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    fault: &StsFault,
    rejected: Rejected<'_>,
) {
    let StsFault { check, error, .. } = fault;
    let evidence = Evidence {
        policy: fault
            .policy
            .as_deref()
            .or(rejected.evidence.policy)
            .or_else(|| fault.told()),
        ..*rejected.evidence
    };
    let rejected = Rejected {
        evidence: &evidence,
        ..rejected
    };
    let status = error.kind.status();
    let id = rejected.id(cx, *check, status);
    let mut body = Vec::new();
    sts::error_body(&mut body, error.kind, &error.message, &id);
    let answer = Response {
        content_type: sts::CONTENT_TYPE,
        ..rejected.answer(status, (error.kind.code(), *check), &body)
    };
    respond_as(sockets, cx, key, &id, &answer);
}

/// The status of a fault. Of calls of STS nothing but a server without room refuses one before it is read.
pub(crate) fn status_of(purpose: Purpose, fault: &Fault) -> u16 {
    match purpose {
        Purpose::Sts(_) => sts::ErrorKind::ServiceUnavailable.status(),
        Purpose::Api(_)
        | Purpose::Upgrade(_)
        | Purpose::Wake
        | Purpose::RoleAlias
        | Purpose::Unknown => purpose.status(fault.kind),
    }
}

/// Answers a signature that is not right.
pub(crate) fn respond_unsigned(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    unsigned: &Unsigned,
    rejected: Rejected<'_>,
) {
    let Unsigned { refusal, check } = *unsigned;
    let purpose = rejected.purpose;
    cx.telemetry
        .count_auth_failure(AuthFailure::Signature(refusal.reason()));
    if let Purpose::Upgrade(role) = purpose {
        cx.telemetry
            .count_upgrade(role, UpgradeOutcome::Unauthenticated);
    }
    if let Purpose::Sts(_) = purpose {
        let error = refusal.into();
        let fault = StsFault::new(check, error);
        return refuse_sts(sockets, cx, key, &fault, rejected);
    }
    let mut body = Vec::new();
    error_body(&mut body, None, &refusal.to_string());
    let answer = rejected.answer(refusal.status(), (refusal.error_type(), check), &body);
    respond(sockets, cx, key, &answer);
}

/// A request that cannot be understood: answered, then the connection ends, since what follows it is not known.
pub(crate) fn refuse_head(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    fault: &HeadFault,
    rejected: Rejected<'_>,
) {
    if let Purpose::Upgrade(role) = rejected.purpose {
        cx.telemetry.count_upgrade(role, UpgradeOutcome::Invalid);
    }
    let mut body = Vec::new();
    error_body(&mut body, None, fault.message);
    let error_type = ErrorKind::InvalidArgument.error_type();
    let answer = rejected.answer(fault.status, (error_type, fault.check), &body);
    respond(sockets, cx, key, &answer);
}

/// The purpose that the answer of a call is counted for.
pub(crate) fn purpose_of(target: Target) -> Purpose {
    match target {
        Target::Api(operation) => Purpose::Api(operation),
        Target::Sts => Purpose::Sts(Requested::Unknown),
    }
}

impl Sockets {
    /// An answer is queued: the next request, if the connection goes on. A peer that sends no more is looked for when
    /// all that it has sent is answered.
    pub(crate) fn next_request(&mut self, key: SessionKey, close: bool, at: Moment) {
        let timeouts = &self.settings().timeouts;
        let from = self.waits_from(at);
        let deadline = from.after(timeouts.keep_alive_ms);
        let answer_due = from.after(timeouts.answer_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.await_head(deadline);
        http.answer_due = http.answer_due.min(answer_due);
        if close || http.one_call {
            self.close_when_sent(key, at);
        }
    }
}

/// The outcome that an upgrade which was refused with an error is counted as.
fn outcome_of(fault: &Fault) -> UpgradeOutcome {
    if fault.check == Check::Draining {
        return UpgradeOutcome::Draining;
    }
    match fault.kind {
        ErrorKind::ResourceNotFound => UpgradeOutcome::NotFound,
        ErrorKind::AccessDenied | ErrorKind::NotAuthorized => UpgradeOutcome::Forbidden,
        ErrorKind::ClientLimitExceeded
        | ErrorKind::AccountChannelLimitExceeded
        | ErrorKind::TagsPerResourceExceededLimit => UpgradeOutcome::Limited,
        ErrorKind::InternalFailure | ErrorKind::ServiceUnavailable => UpgradeOutcome::Unavailable,
        ErrorKind::Serialization
        | ErrorKind::InvalidArgument
        | ErrorKind::ResourceInUse
        | ErrorKind::VersionMismatch
        | ErrorKind::UnknownOperation => UpgradeOutcome::Invalid,
    }
}

pub(crate) const JSON: &str = "application/json";

// Refusals that more than one step gives, in the same words.

/// The error when a mailbox or a table of calls is full.
pub(crate) fn too_busy() -> Fault {
    let message = "The server is busy. Try again.";
    Fault::new(Check::MailboxFull, ErrorKind::ServiceUnavailable, message)
}

/// The error for a change whose audit line has no place.
pub(crate) fn unauditable() -> Fault {
    Fault::new(Check::AuditFull, ErrorKind::ServiceUnavailable, UNAUDITABLE)
}

/// Why changes are refused while the log has no place for their audit lines.
pub(crate) const UNAUDITABLE: &str = "The server's log takes no audit entries at the moment, so nothing is \
                                                changed. Try again later.";

/// The refusal of a channel that is not there, in the words of the service.
pub(crate) fn absent(check: Check) -> Fault {
    Fault::new(check, ErrorKind::ResourceNotFound, NOT_FOUND)
}

/// The error for a channel that does not exist, in the words of the service.
const NOT_FOUND: &str = "The requested channel is not found or not active.";

/// The refusal of a channel that is not here, where another node may have it by now.
pub(crate) fn absence_unknown() -> Fault {
    let kind = ErrorKind::ServiceUnavailable;
    Fault::new(Check::AbsenceUnknown, kind, ABSENCE_UNKNOWN)
}

const ABSENCE_UNKNOWN: &str = "This server does not have the channel, and cannot tell at the moment whether another \
                               server has it. Try again later.";

/// The error for callers over their rate.
pub(crate) const RATE_EXCEEDED: &str = "Rate exceeded.";

/// The error while the process is about to end.
pub(crate) fn shutting_down() -> Fault {
    let message = "The server is shutting down.";
    Fault::new(Check::Draining, ErrorKind::ServiceUnavailable, message)
}

/// The error when we contradict ourselves.
pub(crate) fn internal_failure() -> Fault {
    let kind = ErrorKind::InternalFailure;
    Fault::new(Check::InternalFailure, kind, "Internal failure.")
}

/// The refusal of a request for a channel that no node serves.
pub(crate) fn nobody() -> Fault {
    Fault::new(Check::OwnerNone, ErrorKind::ServiceUnavailable, NOBODY)
}

/// The refusal of a connection for which nobody makes room.
pub(crate) const NO_PLACE: &str = "The server has as many connections as it may have, and \
    this caller has its share of them: close some, or try again later.";

/// The refusal of a connection for which there is no place.
pub(crate) const NO_ROOM: &str = "The service has no room for another connection.";

const NOBODY: &str = "No server has this channel at the moment. Try again.";

// The fault of a request that cannot be understood.

/// The fault of a head, or of a body that was not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadFault {
    pub(crate) check: Check,
    pub(crate) status: u16,
    pub(crate) message: &'static str,
}

impl HeadFault {
    pub(crate) const fn new(check: Check, status: u16, message: &'static str) -> Self {
        Self {
            check,
            status,
            message,
        }
    }
}

impl From<HeadError> for HeadFault {
    fn from(error: HeadError) -> Self {
        let check = match error {
            HeadError::TooLarge | HeadError::TooManyHeaders => Check::HeadTooLarge,
            HeadError::Malformed(_) => Check::HttpMalformed,
            HeadError::Proxied => Check::ProxyUnexpected,
            HeadError::UnsupportedVersion => Check::HttpVersion,
            HeadError::LengthRequired => Check::BodyLengthMissing,
        };
        Self::new(check, error.status(), error.message())
    }
}

impl From<UpgradeError> for HeadFault {
    fn from(error: UpgradeError) -> Self {
        let check = match error {
            UpgradeError::BadVersion => Check::WebsocketVersion,
            UpgradeError::NotGet
            | UpgradeError::NotConnection
            | UpgradeError::MissingKey
            | UpgradeError::BadKey
            | UpgradeError::Body => Check::HandshakeMalformed,
        };
        Self::new(check, error.status(), error.message())
    }
}
