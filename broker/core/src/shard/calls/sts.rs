//! Temporary credentials: the part of STS that a web back end needs. See codec/PROTOCOL.md, STS.
//!
//! Nothing is stored: the grant is sealed in the session token, and every holder of the key can check it.

use super::respond::{self, Rejected, Response, StsFault};
use crate::auth::{Caller, Grant, PolicyQuestion, SealError, Secret, federated_user_arn};
use crate::check::Check;
use crate::event::{AuthFailure, Purpose, Requested};
use crate::id::{Account, SessionKey};
use crate::settings::Rate;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::refusals::{RATE_EXCEEDED, UNAUDITABLE};
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::aws::policy::{Action, Policy};
use codec::sts::{
    self, CallerIdentity, Error, ErrorKind, FederationToken, Request, caller_identity,
    federation_token,
};

/// A call of GetFederationToken: its parameters, and its answer's request id.
struct FederationCall<'a> {
    signed: &'a SignedForm<'a>,
    name: Box<str>,
    policy: Option<Box<str>>,
    duration_s: u32,
    id: String,
    /// The request id is in a line of the log.
    audited: bool,
}

/// A call of STS, whose signature is good.
pub(in crate::shard) struct SignedForm<'a> {
    /// Its connection.
    pub(in crate::shard) key: SessionKey,
    /// The one that signed it.
    pub(in crate::shard) caller: &'a Caller,
    /// The form.
    pub(in crate::shard) body: &'a [u8],
    /// The connection ends with the answer.
    pub(in crate::shard) close: bool,
    /// The rate at which the caller's account may get keys, if that is limited.
    pub(in crate::shard) rate: Option<Rate>,
}

/// Answers a call of STS.
pub(in crate::shard) fn answer_sts(
    sockets: &mut Sockets,
    books: &mut Books,
    gate: &mut Gate,
    signed: &SignedForm<'_>,
    at: Moment,
) {
    let &SignedForm {
        key, caller, close, ..
    } = signed;
    let strict = sockets.settings().strict();
    let mut id = books.request_id();
    let mut audited = false;
    let mut out = Vec::new();
    let (requested, result) = match sts::parse(signed.body, &sts::FormRules { strict }) {
        Ok(Request::GetCallerIdentity) => {
            let (arn, user_id) = (caller.arn(), caller.user_id());
            let identity = CallerIdentity {
                arn: &arn,
                user_id: &user_id,
                account: caller.account(),
            };
            caller_identity(&mut out, &identity, &id);
            (Requested::CallerIdentity, Ok(()))
        }
        Ok(Request::GetFederationToken {
            name,
            policy,
            duration_s,
        }) => {
            let mut call = FederationCall {
                signed,
                name,
                policy,
                duration_s,
                id,
                audited,
            };
            let granted = federate(sockets, books, gate, &mut call, &mut out, at);
            (id, audited) = (call.id, call.audited);
            (Requested::FederationToken, granted)
        }
        Err(error) => {
            let check = check_of(error.kind);
            (Requested::Unknown, Err(StsFault::new(check, error)))
        }
    };
    match result {
        Ok(()) => {
            let answer = Response {
                purpose: Purpose::Sts(requested),
                status: 200,
                refusal: None,
                content_type: sts::CONTENT_TYPE,
                body: &out,
                close,
            };
            respond::respond_as(sockets, books, key, &id, &answer, at);
        }
        Err(fault) => {
            let evidence = Evidence {
                caller: Some(caller),
                policy: fault.policy.as_deref(),
                ..Evidence::default()
            };
            let mut rejected = Rejected::new(Purpose::Sts(requested), &evidence, close);
            if audited {
                rejected = rejected.audited(&id);
            }
            respond::refuse_sts(sockets, books, key, &fault, rejected, at);
        }
    }
}

/// Makes temporary credentials if the account's rate allows it, and not without a line in the log.
///
/// # Errors
/// The refusal; the call says whether it has a line.
fn federate(
    sockets: &Sockets,
    books: &mut Books,
    gate: &mut Gate,
    call: &mut FederationCall<'_>,
    out: &mut Vec<u8>,
    at: Moment,
) -> Result<(), StsFault> {
    let &SignedForm { caller, rate, .. } = call.signed;
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
    let granted = grant(books, gate, call, out, at);
    if let Err(StsFault { check, error, .. }) = &granted {
        let purpose = Purpose::Sts(Requested::FederationToken);
        call.id = books.refusal_id(*check, purpose, error.kind.status(), at.wall);
    }
    let error = granted.as_ref().err().map(|fault| &fault.error);
    audit_grant(sockets, books, call, error, at);
    call.audited = true;
    granted
}

/// Makes temporary credentials: the caller's rights, as far as the policy has them too.
fn grant(
    books: &mut Books,
    gate: &mut Gate,
    call: &FederationCall<'_>,
    out: &mut Vec<u8>,
    at: Moment,
) -> Result<(), StsFault> {
    let fault = StsFault::new;
    let caller = call.signed.caller;
    let arn = federated_user_arn(caller.account(), &call.name);
    let ruling = caller.decide(&PolicyQuestion::new(Action::GetFederationToken, &arn));
    books.count_policy_steps(ruling.steps);
    if let Some(check) = ruling.denied {
        books.count_auth_failure(AuthFailure::Policy);
        let message = caller.denial(Action::GetFederationToken, &arn);
        return Err(StsFault {
            check,
            error: Error::new(ErrorKind::AccessDenied, message),
            policy: caller.ground_of(&ruling),
        });
    }
    let policy = call.policy.as_deref().unwrap_or_default();
    let read = (!policy.is_empty()).then(|| Policy::parse_session(policy));
    let read = read.transpose().map_err(|malformed| {
        let error = Error::new(ErrorKind::MalformedPolicyDocument, malformed.to_string());
        fault(Check::SessionPolicyMalformed, error)
    })?;
    let until = at.wall.0 / 1000 + u64::from(call.duration_s);
    let expires_s = until.min(caller.expires_s().unwrap_or(u64::MAX));
    let grant = Grant {
        account: caller.account(),
        parent_access_key_id: caller.parent_access_key_id().unwrap_or_default(),
        parent_secret: caller.parent_secret().map_or("", Secret::reveal),
        name: &call.name,
        policy: read.as_ref(),
        expires_s,
    };
    let sealed = |error| match error {
        SealError::TooLong => {
            let message = "The policy must be at most 2048 bytes of UTF-8.";
            let error = Error::new(ErrorKind::PackedPolicyTooLarge, message);
            fault(Check::SessionPolicyMalformed, error)
        }
        SealError::Library => {
            let error = Error::new(ErrorKind::InternalFailure, "Internal failure.");
            fault(Check::InternalFailure, error)
        }
    };
    let temporary = gate.seal(&grant).map_err(sealed)?;
    let user_id = format!("{}:{}", caller.account(), call.name);
    let token = FederationToken {
        access_key_id: &temporary.access_key_id,
        secret_access_key: temporary.secret_access_key.reveal(),
        session_token: temporary.session_token.reveal(),
        expires_s,
        user_arn: &arn,
        user_id: &user_id,
        packed_policy_percent: packed_percent(policy),
    };
    federation_token(out, &token, &call.id);
    Ok(())
}

/// Notes a grant in the place that was kept for it, or its refusal like any other.
fn audit_grant(
    sockets: &Sockets,
    books: &mut Books,
    call: &FederationCall<'_>,
    error: Option<&Error>,
    at: Moment,
) {
    let &SignedForm { key, caller, .. } = call.signed;
    let audit = sockets.audit_of(key, &call.id, caller, "GetFederationToken");
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
        | ErrorKind::ServiceUnavailable => Check::ArgumentInvalid,
    }
}

/// The part of the room for a policy that one takes, in per cent.
fn packed_percent(policy: &str) -> u8 {
    let percent = policy.len() * 100 / codec::sts::POLICY_CHARS_MAX;
    u8::try_from(percent.min(100)).unwrap_or(100)
}
