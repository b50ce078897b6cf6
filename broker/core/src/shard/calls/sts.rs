//! Temporary credentials: the part of STS that is served. See codec/PROTOCOL.md, STS.
//!
//! Nothing is stored: the grant is sealed in the session token, and every holder of the key can check it.

use crate::auth::{
    Assumption, Caller, Denial, Grant, PolicyQuestion, RoleFault, RoleGrant, RootGrant, SealError,
    SessionGrant, SessionTag, TOKEN_BYTES_MAX, Temporary, assume, assumed_role_id,
    federated_user_arn,
};
use crate::event::{Purpose, Requested};
use crate::id::{Account, SessionKey};
use crate::shard::calls::responses::{self, RATE_EXCEEDED, Response, unauditable};
use crate::shard::calls::web_identity::answer_sign_in;
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::telemetry::Telemetry;
use crate::shard::{Gate, Sockets};
use crate::{check::Check, refusal::Refusal, settings::Rate};
use codec::policy::{Action, Policy};
use codec::sts::{
    self, AssumeRole, CallerIdentity, Error, ErrorKind, Granted, Keys, Request, assumed_role,
    caller_identity, federation_token, session_token,
};

/// A call that makes temporary credentials: its answer's request id, and whether that is in a line of the log.
struct Granting<'a> {
    form: &'a Form<'a>,
    caller: &'a Caller,
    requested: Requested,
    /// The session that it asks for, as the log names it.
    session: Option<Box<str>>,
    /// The access key id of what it was granted.
    key_id: Option<Box<str>>,
    id: String,
    audited: bool,
}

/// Everything that a call for temporary credentials takes.
pub(crate) struct Grantor<'a> {
    telemetry: &'a mut Telemetry,
    gate: &'a mut Gate,
    pub(crate) caller: &'a Caller,
    /// The request id.
    id: &'a str,
    now_s: u64,
    /// The access key id of what was granted.
    key_id: Option<Box<str>>,
}

/// A call of STS.
pub(crate) struct Form<'a> {
    /// Connection of the request.
    pub(crate) key: SessionKey,
    /// The form.
    pub(crate) body: &'a [u8],
    /// The connection ends with the answer.
    pub(crate) close: bool,
    /// The rate at which an account may get keys, if that is limited.
    pub(crate) rate: Option<Rate>,
}

/// Answers a call of STS. `caller`: the one that signed it; `None` for a form that signs in.
pub(crate) fn answer_sts(
    sockets: &mut Sockets,
    cx: &mut Context,
    gate: &mut Gate,
    form: &Form<'_>,
    caller: Option<&Caller>,
) {
    let strict = sockets.settings().strict();
    let parsed = sts::parse(form.body, &sts::FormRules { strict });
    match caller {
        // A sign-in needs no signature, so the one that it has says nothing.
        Some(caller) if !matches!(parsed, Ok(Request::AssumeRoleWithWebIdentity(_))) => {
            answer_parsed(sockets, cx, gate, form, caller, parsed);
        }
        Some(_) | None => answer_sign_in(sockets, cx, gate, form, parsed),
    }
}

/// Answers a call that was read.
pub(crate) fn answer_parsed(
    sockets: &mut Sockets,
    cx: &mut Context,
    gate: &mut Gate,
    form: &Form<'_>,
    caller: &Caller,
    parsed: Result<Request, Error>,
) {
    let mut granting = Granting {
        form,
        caller,
        requested: Requested::Unknown,
        session: None,
        key_id: None,
        id: cx.telemetry.request_id(),
        audited: false,
    };
    let result = match &parsed {
        Ok(Request::GetCallerIdentity) => {
            granting.requested = Requested::CallerIdentity;
            Ok(who(caller, &granting.id))
        }
        Ok(request) => {
            granting.requested = requested(request);
            granting.session = session_of(request);
            grant(sockets, cx, gate, &mut granting, request)
        }
        Err(error) => Err(Refusal::sts(check_of(error.kind), error.clone())),
    };
    cx.telemetry
        .count_call(Account::of_digits(caller.account()));
    let purpose = Purpose::Sts(granting.requested);
    match result {
        Ok(body) => {
            let answer = Response {
                content_type: sts::CONTENT_TYPE,
                id: Some(&granting.id),
                ..Response::json(purpose, &body, form.close)
            };
            responses::respond(sockets, cx, form.key, &answer);
        }
        Err(refusal) => {
            let evidence = Evidence {
                close: form.close,
                id: granting.audited.then_some(&granting.id),
                session: granting.session.as_deref(),
                role: parsed.as_ref().ok().and_then(role_of),
                caller: Some(caller),
                ..Evidence::of(purpose)
            };
            responses::refuse(sockets, cx, form.key, &evidence, &refusal);
        }
    }
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
    cx: &mut Context,
    gate: &mut Gate,
    granting: &mut Granting<'_>,
    request: &Request,
) -> Result<Vec<u8>, Refusal> {
    let (caller, rate) = (granting.caller, granting.form.rate);
    let hash = sockets.placement().caller(caller.identity());
    if let Some(Err(why)) = rate.map(|rate| gate.may_grant(caller, hash, rate, cx.at)) {
        let refusal = Refusal::new(Check::RateAccount, ErrorKind::Throttling, RATE_EXCEEDED);
        return Err(refusal.by_policy((!why.is_empty()).then(|| why.into())));
    }
    if !cx
        .telemetry
        .journal()
        .keep_place(Account::of_digits(caller.account()))
    {
        return Err(unauditable());
    }
    let mut grantor = Grantor {
        telemetry: &mut cx.telemetry,
        gate,
        caller,
        id: &granting.id,
        now_s: cx.at.wall.0 / 1000,
        key_id: None,
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
    granting.key_id = grantor.key_id;
    match (rate, &granted) {
        (Some(rate), Ok(_)) => gate.count_grant(caller, hash, rate, cx.at),
        (Some(_), Err(_)) => gate.count_refused_grant(hash, cx.at),
        (None, _) => {}
    }
    let purpose = Purpose::Sts(granting.requested);
    let refusal = granted.as_ref().err();
    if let Some(refusal) = refusal {
        let (check, status) = (refusal.check, refusal.status(purpose));
        granting.id = cx.telemetry.refusal_id(check, purpose, status, cx.at.wall);
    }
    let error_type = refusal.map(|refusal| refusal.error_type(purpose));
    audit_grant(sockets, cx, granting, request, error_type);
    granting.audited = true;
    granted
}

/// Notes a grant in the place that was kept for it, or its refusal like any other.
fn audit_grant(
    sockets: &Sockets,
    cx: &mut Context,
    granting: &Granting<'_>,
    request: &Request,
    error_type: Option<&'static str>,
) {
    let (key, caller) = (granting.form.key, granting.caller);
    let mut audit = sockets.audit_of(key, &granting.id, caller, request.name());
    if let Some(audit) = &mut audit {
        audit.session.clone_from(&granting.session);
        audit.new_key_id.clone_from(&granting.key_id);
    }
    let account = Account::of_digits(caller.account());
    match (audit, error_type) {
        (Some(audit), None) => cx.telemetry.journal().changed(account, audit),
        (Some(mut audit), Some(error_type)) => {
            cx.telemetry.journal().unchanged(account);
            audit.outcome = error_type;
            cx.telemetry.journal().denied(cx.at.now, audit);
        }
        (None, _) => cx.telemetry.journal().unchanged(account),
    }
}

/// The session that a request asks for, as the log names it.
pub(crate) fn session_of(request: &Request) -> Option<Box<str>> {
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
pub(crate) fn role_of(request: &Request) -> Option<&str> {
    match request {
        Request::AssumeRole(request) => Some(request.role.as_str()),
        Request::AssumeRoleWithWebIdentity(request) => Some(request.role.role.as_str()),
        Request::GetFederationToken { .. }
        | Request::GetSessionToken { .. }
        | Request::GetCallerIdentity => None,
    }
}

/// The policy that a request came with.
fn session_policy(text: Option<&str>) -> Result<Option<Policy>, Refusal> {
    let text = text.unwrap_or_default();
    let read = (!text.is_empty()).then(|| Policy::parse_session(text));
    read.transpose().map_err(|malformed| {
        let (check, kind) = (
            Check::SessionPolicyMalformed,
            ErrorKind::MalformedPolicyDocument,
        );
        Refusal::new(check, kind, malformed.to_string())
    })
}

/// Why a grant was not sealed.
fn unsealed(error: SealError, too_long: &'static str) -> Refusal {
    let (check, kind, message) = match error {
        SealError::TooLong => (
            Check::SessionPolicyMalformed,
            ErrorKind::PackedPolicyTooLarge,
            too_long,
        ),
        SealError::Library => (
            Check::InternalFailure,
            ErrorKind::InternalFailure,
            "Internal failure.",
        ),
    };
    Refusal::new(check, kind, message)
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
pub(crate) fn check_of(kind: ErrorKind) -> Check {
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

// AssumeRole: the rights of a role.

impl Grantor<'_> {
    /// Makes temporary credentials with the rights of a role, as far as the policies of the request have them too.
    /// `write` appends the answer under a request id.
    pub(crate) fn assume(
        &mut self,
        request: &AssumeRole,
        write: impl FnOnce(&mut Vec<u8>, &Granted<'_>, &str),
    ) -> Result<Vec<u8>, Refusal> {
        let assumption = self.allowed(request)?;
        let policy = session_policy(request.policy.as_deref())?;
        let policies = request.policy_arns.iter();
        let policies = policies.map(|arn| self.named_policy(request, arn));
        let policies: Vec<&str> = policies.collect::<Result<_, _>>()?;
        let role = RoleGrant {
            account: request.role.account(),
            role: request.role.name(),
            via: &assumption.via,
            session_name: &request.session_name,
            source_identity: assumption.source_identity.as_deref(),
            tags: &assumption.tags,
            policies: &policies,
            policy: policy.as_ref(),
        };
        let grant = self.session_grant(assumption.duration_s, Some(role));
        let sealed = self.gate.seal_session(&grant);
        let temporary = sealed.map_err(|error| unsealed(error, TOO_LONG))?;
        self.key_id = Some(temporary.access_key_id.as_str().into());
        let account = request.role.account();
        let (name, session) = (request.role.name(), &request.session_name);
        let bytes = temporary.session_token.reveal().len();
        let answer = Granted {
            keys: keys(&temporary, grant.expires_s),
            arn: &format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
            id: &assumed_role_id(request.role.as_str(), session),
            packed_policy_percent: u8::try_from(bytes * 100 / TOKEN_BYTES_MAX).unwrap_or(100),
            source_identity: assumption.source_identity.as_deref(),
        };
        let mut out = Vec::new();
        write(&mut out, &answer, self.id);
        Ok(out)
    }

    /// The session that the caller may have. Where no signature is asked for, every role is there for everybody.
    fn allowed(&mut self, request: &AssumeRole) -> Result<Assumption, Refusal> {
        let Some(credentials) = self.gate.credentials() else {
            return Ok(unasked(request));
        };
        let mut steps = 0;
        let assumption = assume(self.caller, credentials, request, &mut steps);
        self.telemetry.count_policy_steps(steps);
        assumption.map_err(|fault| match fault {
            RoleFault::Denied(Denial {
                action,
                check,
                ground,
            }) => {
                // The same whether there is such a role or not.
                let message = self.caller.denial(action, request.role.as_str());
                Refusal::new(check, ErrorKind::AccessDenied, message).by_policy(ground)
            }
            RoleFault::Invalid(message) => {
                let kind = ErrorKind::InvalidParameterValue;
                Refusal::new(Check::ArgumentInvalid, kind, message)
            }
            RoleFault::Duration { message, ground } => {
                let kind = ErrorKind::ValidationError;
                let refusal = Refusal::new(Check::ArgumentInvalid, kind, message);
                refusal.by_policy(Some(ground.into()))
            }
            RoleFault::TooLong => unsealed(SealError::TooLong, TOO_LONG),
        })
    }

    /// The name of a policy of the role's account; refused when there is none.
    fn named_policy<'r>(&self, request: &AssumeRole, arn: &'r str) -> Result<&'r str, Refusal> {
        let (owner, name) = arn
            .strip_prefix("arn:aws:iam::")
            .and_then(|rest| rest.split_once(":policy/"))
            .unwrap_or_default();
        let is_known = owner == request.role.account()
            && self
                .gate
                .credentials()
                .is_none_or(|credentials| credentials.policy(name).is_some());
        if is_known {
            return Ok(name);
        }
        let message = "PolicyArns: each must be arn:aws:iam::ACCOUNT:policy/NAME, with the account of the role and \
                       the name of a policy of the credentials file.";
        let kind = ErrorKind::InvalidParameterValue;
        Err(Refusal::new(Check::ArgumentInvalid, kind, message))
    }
}

/// The session as it was asked for.
fn unasked(request: &AssumeRole) -> Assumption {
    let tags = request.tags.iter().map(|tag| SessionTag {
        key: tag.key.clone(),
        value: tag.value.clone(),
        transitive: false,
    });
    Assumption {
        via: Vec::new(),
        tags: tags.collect(),
        source_identity: request.source_identity.clone(),
        duration_s: request.duration_s.unwrap_or(codec::sts::DURATION_S_DEFAULT),
    }
}

const TOO_LONG: &str =
    "The policies, tags and roles of the session take more room than a session token has.";

// GetFederationToken: a part of the caller's rights under a name.

impl Grantor<'_> {
    /// Makes temporary credentials: the caller's rights, as far as the policy has them too.
    fn federate(
        &mut self,
        name: &str,
        policy: Option<&str>,
        duration_s: u32,
    ) -> Result<Vec<u8>, Refusal> {
        let caller = self.caller;
        let arn = federated_user_arn(caller.account(), name);
        let ruling = caller.decide(&PolicyQuestion::new(Action::GetFederationToken, &arn));
        self.telemetry.count_policy_steps(ruling.steps);
        if let Some(check) = ruling.denied {
            let message = caller.denial(Action::GetFederationToken, &arn);
            let refusal = Refusal::new(check, ErrorKind::AccessDenied, message);
            return Err(refusal.by_policy(caller.ground_of(&ruling)));
        }
        let read = session_policy(policy)?;
        let until = self.now_s + u64::from(duration_s);
        let expires_s = until.min(caller.expires_s().unwrap_or(u64::MAX));
        let (parent_access_key_id, parent_secret) = match caller.root_grant() {
            RootGrant::Key {
                access_key_id,
                secret,
            } => (access_key_id, secret),
            RootGrant::SignIn(_) => ("", ""), // temporary credentials were refused above
        };
        let grant = Grant {
            account: caller.account(),
            parent_access_key_id,
            parent_secret,
            name,
            policy: read.as_ref(),
            expires_s,
        };
        let too_long = "The policy must be at most 2048 bytes of UTF-8.";
        let sealed = self.gate.seal(&grant);
        let temporary = sealed.map_err(|error| unsealed(error, too_long))?;
        self.key_id = Some(temporary.access_key_id.as_str().into());
        let user_id = format!("{}:{name}", caller.account());
        let token = Granted {
            keys: keys(&temporary, expires_s),
            arn: &arn,
            id: &user_id,
            packed_policy_percent: packed_percent(policy.unwrap_or_default()),
            source_identity: None,
        };
        let mut out = Vec::new();
        federation_token(&mut out, &token, self.id);
        Ok(out)
    }
}

/// The part of the room for a policy that one takes, in per cent.
fn packed_percent(policy: &str) -> u8 {
    let percent = policy.len() * 100 / codec::sts::POLICY_CHARS_MAX;
    u8::try_from(percent.min(100)).unwrap_or(100)
}

// GetSessionToken: the caller's own rights for a while.

impl<'a> Grantor<'a> {
    /// Makes temporary credentials with the caller's rights. Policies are not asked. Source: STS API Reference,
    /// "GetSessionToken": *No permissions are required for users to perform this operation*.
    pub(crate) fn session(&mut self, duration_s: u32) -> Result<Vec<u8>, Refusal> {
        if !self.caller.is_long_term() {
            let message = "Cannot call GetSessionToken with session credentials";
            let refusal = Refusal::new(Check::PolicyNoAllow, ErrorKind::AccessDenied, message);
            return Err(refusal.by_policy(Some(WITH_OWN_KEYS.into())));
        }
        let grant = self.session_grant(duration_s, None);
        let sealed = self.gate.seal_session(&grant);
        let temporary = sealed.map_err(|error| unsealed(error, "The session is too long."))?;
        self.key_id = Some(temporary.access_key_id.as_str().into());
        let mut out = Vec::new();
        session_token(&mut out, &keys(&temporary, grant.expires_s), self.id);
        Ok(out)
    }

    /// The grant of a session that begins now, and ends with the principal that it hangs on if not before.
    fn session_grant<'g>(&self, duration_s: u32, role: Option<RoleGrant<'g>>) -> SessionGrant<'g>
    where
        'a: 'g,
    {
        let caller = self.caller;
        let until = self.now_s + u64::from(duration_s);
        SessionGrant {
            root: caller.root_grant(),
            issued_s: self.now_s,
            expires_s: until.min(caller.root_expires_s().unwrap_or(u64::MAX)),
            role,
        }
    }
}

/// The reason for which temporary keys get no others.
const WITH_OWN_KEYS: &str = "the caller's keys are temporary, and GetSessionToken takes none but a principal's: sign \
                             with those";
