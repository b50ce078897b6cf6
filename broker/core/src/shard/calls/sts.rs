//! Temporary credentials: the part of STS that is served. See codec/PROTOCOL.md, STS.
//!
//! Nothing is stored: the grant is sealed in the session token, and every holder of the key can check it.

mod assume;
mod federate;
pub(crate) mod rates;
mod session;
pub(crate) mod web_identity;

use crate::auth::{Caller, SealError, Temporary};
use crate::check::Check;
use crate::event::{Purpose, Requested};
use crate::id::{Account, SessionKey};
use crate::settings::Rate;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::refusals::{RATE_EXCEEDED, UNAUDITABLE};
use crate::shard::calls::respond::{self, Rejected, Response, StsFault};
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::policy::Policy;
use codec::sts::{
    self, AssumeRole, CallerIdentity, Error, ErrorKind, Keys, Request, assumed_role,
    caller_identity,
};
use web_identity::{UnsignedForm, answer_sign_in};

/// A call that makes temporary credentials: its answer's request id, and whether that is in a line of the log.
struct Granting<'a> {
    signed: &'a SignedForm<'a>,
    requested: Requested,
    /// The session that it asks for, as the log names it.
    session: Option<Box<str>>,
    id: String,
    audited: bool,
}

/// Everything that a call for temporary credentials takes.
struct Grantor<'a> {
    books: &'a mut Books,
    gate: &'a mut Gate,
    caller: &'a Caller,
    /// The request id.
    id: &'a str,
    now_s: u64,
}

/// A call of STS, whose signature is good.
pub(crate) struct SignedForm<'a> {
    /// Its connection.
    pub(crate) key: SessionKey,
    /// The one that signed it.
    pub(crate) caller: &'a Caller,
    /// The form.
    pub(crate) body: &'a [u8],
    /// The connection ends with the answer.
    pub(crate) close: bool,
    /// The rate at which the caller's account may get keys, if that is limited.
    pub(crate) rate: Option<Rate>,
}

/// Answers a call of STS.
pub(crate) fn answer_sts(
    sockets: &mut Sockets,
    books: &mut Books,
    gate: &mut Gate,
    signed: &SignedForm<'_>,
    at: Moment,
) {
    let strict = sockets.settings().strict();
    let parsed = sts::parse(signed.body, &sts::FormRules { strict });
    if let Ok(Request::AssumeRoleWithWebIdentity(_)) = &parsed {
        // It needs no signature, so the one that it has says nothing.
        let form = UnsignedForm {
            key: signed.key,
            body: signed.body,
            close: signed.close,
            rate: signed.rate,
        };
        return answer_sign_in(sockets, books, gate, &form, at);
    }
    answer_parsed(sockets, books, gate, (signed, parsed), at);
}

/// Answers a call that was read.
fn answer_parsed(
    sockets: &mut Sockets,
    books: &mut Books,
    gate: &mut Gate,
    (signed, parsed): (&SignedForm<'_>, Result<Request, Error>),
    at: Moment,
) {
    let mut granting = Granting {
        signed,
        requested: Requested::Unknown,
        session: None,
        id: books.request_id(),
        audited: false,
    };
    let result = match &parsed {
        Ok(Request::GetCallerIdentity) => {
            granting.requested = Requested::CallerIdentity;
            Ok(who(signed.caller, &granting.id))
        }
        Ok(request) => {
            granting.requested = requested(request);
            granting.session = session_of(request);
            grant(sockets, books, gate, &mut granting, request, at)
        }
        Err(error) => Err(StsFault::new(check_of(error.kind), error.clone())),
    };
    let purpose = Purpose::Sts(granting.requested);
    match result {
        Ok(body) => {
            let answer = Response {
                purpose,
                status: 200,
                refusal: None,
                content_type: sts::CONTENT_TYPE,
                body: &body,
                close: signed.close,
            };
            respond::respond_as(sockets, books, signed.key, &granting.id, &answer, at);
        }
        Err(fault) => {
            let evidence = Evidence {
                session: granting.session.as_deref(),
                role: parsed.as_ref().ok().and_then(role_of),
                caller: Some(signed.caller),
                ..Evidence::default()
            };
            let mut rejected = Rejected::new(purpose, &evidence, signed.close);
            if granting.audited {
                rejected = rejected.audited(&granting.id);
            }
            respond::refuse_sts(sockets, books, signed.key, &fault, rejected, at);
        }
    }
}

/// Refuses a sign-in of an address that has used up its rate.
pub(crate) fn refuse_rate(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    rejected: Rejected<'_>,
    at: Moment,
) {
    let error = Error::new(ErrorKind::Throttling, RATE_EXCEEDED);
    let fault = StsFault::new(Check::RateAddress, error);
    respond::refuse_sts(sockets, books, key, &fault, rejected, at);
}

const fn requested(request: &Request) -> Requested {
    match request {
        Request::GetFederationToken { .. } => Requested::FederationToken,
        Request::GetSessionToken { .. } => Requested::SessionToken,
        Request::AssumeRole(_) => Requested::AssumeRole,
        Request::AssumeRoleWithWebIdentity(_) => Requested::WebIdentity,
        Request::GetCallerIdentity => Requested::CallerIdentity,
    }
}

/// The answer to GetCallerIdentity.
fn who(caller: &Caller, id: &str) -> Vec<u8> {
    let (arn, user_id) = (caller.arn(), caller.user_id());
    let identity = CallerIdentity {
        arn: &arn,
        user_id: &user_id,
        account: caller.account(),
    };
    let mut out = Vec::new();
    caller_identity(&mut out, &identity, id);
    out
}

/// Makes temporary credentials if the account's rate allows it, and not without a line in the log. Returns the answer.
///
/// # Errors
/// The refusal; the call says whether it has a line.
fn grant(
    sockets: &Sockets,
    books: &mut Books,
    gate: &mut Gate,
    granting: &mut Granting<'_>,
    request: &Request,
    at: Moment,
) -> Result<Vec<u8>, StsFault> {
    let &SignedForm { caller, rate, .. } = granting.signed;
    let refused = |check, error| Err(StsFault::new(check, error));
    if !rate.is_none_or(|rate| gate.may_grant(caller, rate, at)) {
        let error = Error::new(ErrorKind::Throttling, RATE_EXCEEDED);
        return refused(Check::RateAccount, error);
    }
    if !books
        .diary()
        .keep_place(Account::of_digits(caller.account()))
    {
        let error = Error::new(ErrorKind::ServiceUnavailable, UNAUDITABLE);
        return refused(Check::AuditFull, error);
    }
    let mut grantor = Grantor {
        books,
        gate,
        caller,
        id: &granting.id,
        now_s: at.wall.0 / 1000,
    };
    let granted = match request {
        Request::GetFederationToken {
            name,
            policy,
            duration_s,
        } => grantor.federate(name, policy.as_deref(), *duration_s),
        Request::GetSessionToken { duration_s } => grantor.session(*duration_s),
        Request::AssumeRole(request) => grantor.assume(request, assumed_role),
        Request::AssumeRoleWithWebIdentity(request) => grantor.sign_in(request),
        Request::GetCallerIdentity => Ok(who(caller, &granting.id)),
    };
    if let Err(StsFault { check, error, .. }) = &granted {
        let purpose = Purpose::Sts(granting.requested);
        granting.id = books.refusal_id(*check, purpose, error.kind.status(), at.wall);
    }
    let error = granted.as_ref().err().map(|fault| &fault.error);
    audit_grant(sockets, books, granting, (request, error), at);
    granting.audited = true;
    granted
}

/// Notes a grant in the place that was kept for it, or its refusal like any other.
fn audit_grant(
    sockets: &Sockets,
    books: &mut Books,
    granting: &Granting<'_>,
    (request, error): (&Request, Option<&Error>),
    at: Moment,
) {
    let &SignedForm { key, caller, .. } = granting.signed;
    let mut audit = sockets.audit_of(key, &granting.id, caller, request.name());
    if let Some(audit) = &mut audit {
        audit.session.clone_from(&granting.session);
    }
    let account = Account::of_digits(caller.account());
    match (audit, error) {
        (Some(audit), None) => books.diary().changed(account, audit),
        (Some(mut audit), Some(error)) => {
            books.diary().unchanged(account);
            audit.outcome = error.kind.code();
            books.diary().denied(at.now, audit);
        }
        (None, _) => books.diary().unchanged(account),
    }
}

/// The session that a request asks for, as the log names it.
fn session_of(request: &Request) -> Option<Box<str>> {
    match request {
        Request::GetFederationToken { name, .. } => Some(name.clone()),
        Request::AssumeRole(request) => {
            Some(format!("{}/{}", request.role.name(), request.session_name).into())
        }
        Request::AssumeRoleWithWebIdentity(request) => {
            let AssumeRole {
                role, session_name, ..
            } = &request.role;
            Some(format!("{}/{session_name}", role.name()).into())
        }
        Request::GetSessionToken { .. } | Request::GetCallerIdentity => None,
    }
}

/// The ARN of the role that a request asks for.
fn role_of(request: &Request) -> Option<&str> {
    match request {
        Request::AssumeRole(request) => Some(request.role.as_str()),
        Request::AssumeRoleWithWebIdentity(request) => Some(request.role.role.as_str()),
        Request::GetFederationToken { .. }
        | Request::GetSessionToken { .. }
        | Request::GetCallerIdentity => None,
    }
}

/// The policy that a request came with.
fn session_policy(text: Option<&str>) -> Result<Option<Policy>, StsFault> {
    let text = text.unwrap_or_default();
    let read = (!text.is_empty()).then(|| Policy::parse_session(text));
    read.transpose().map_err(|malformed| {
        let error = Error::new(ErrorKind::MalformedPolicyDocument, malformed.to_string());
        StsFault::new(Check::SessionPolicyMalformed, error)
    })
}

/// Why a grant was not sealed.
fn unsealed(error: SealError, too_long: &'static str) -> StsFault {
    match error {
        SealError::TooLong => {
            let error = Error::new(ErrorKind::PackedPolicyTooLarge, too_long);
            StsFault::new(Check::SessionPolicyMalformed, error)
        }
        SealError::Library => {
            let error = Error::new(ErrorKind::InternalFailure, "Internal failure.");
            StsFault::new(Check::InternalFailure, error)
        }
    }
}

/// Temporary credentials as an answer has them.
fn keys(temporary: &Temporary, expires_s: u64) -> Keys<'_> {
    Keys {
        access_key_id: &temporary.access_key_id,
        secret_access_key: temporary.secret_access_key.reveal(),
        session_token: temporary.session_token.reveal(),
        expires_s,
    }
}

/// Why a request that cannot be understood is refused.
fn check_of(kind: ErrorKind) -> Check {
    match kind {
        ErrorKind::MissingAction | ErrorKind::InvalidAction => Check::OperationUnknown,
        ErrorKind::PackedPolicyTooLarge | ErrorKind::MalformedPolicyDocument => {
            Check::SessionPolicyMalformed
        }
        ErrorKind::InvalidQueryParameter
        | ErrorKind::ValidationError
        | ErrorKind::InvalidParameterValue
        | ErrorKind::Throttling
        | ErrorKind::IncompleteSignature
        | ErrorKind::MissingAuthenticationToken
        | ErrorKind::SignatureDoesNotMatch
        | ErrorKind::InvalidClientTokenId
        | ErrorKind::ExpiredToken
        | ErrorKind::AccessDenied
        | ErrorKind::InternalFailure
        | ErrorKind::ServiceUnavailable
        | ErrorKind::InvalidIdentityToken
        | ErrorKind::ExpiredTokenException
        | ErrorKind::IdpRejectedClaim => Check::ArgumentInvalid,
    }
}
