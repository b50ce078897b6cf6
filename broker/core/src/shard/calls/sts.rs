//! Issues temporary credentials, like the AWS Security Token Service. See codec/PROTOCOL.md, STS.
//!
//! The broker stores no state: the grant is sealed in the session token, which any shard with the same keys can open.

use crate::auth::{
    Assumption, Caller, GrantHolder, PolicyQuestion, RoleGrant, SESSION_TOO_LONG, SealError,
    TOKEN_BYTES_MAX, Temporary, assume, assumed_role_id, federated_user_arn,
};
use crate::event::{Purpose, Requested};
use crate::id::{Account, SessionKey};
use crate::shard::calls::responses::{self, RATE_EXCEEDED, Response, unauditable};
use crate::shard::calls::web_identity::answer_sign_in;
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::state::State;
use crate::shard::telemetry::Telemetry;
use crate::shard::{Gate, Sockets};
use crate::{check::Check, refusal::Refusal, settings::Rate};
use codec::policy::{Action, Policy};
use codec::sts::{
    self, AssumeRole, CallerIdentity, DURATION_S_DEFAULT, Error, ErrorKind, Granted, Keys, Request,
    assumed_role, caller_identity, federation_token, session_token,
};

/// The state of an STS call in progress.
struct Granting<'a> {
    form: &'a StsForm,
    caller: &'a Caller,
    requested: Requested,
    /// The requested session in the form used in the log.
    session: Option<Box<str>>,
    /// The access key id of the issued credentials, or `None` before they are issued.
    key_id: Option<Box<str>>,
    id: String,
    audited: bool,
}

/// The body of a response that contains credentials, or a refusal.
pub(crate) type GrantResponse = Result<Vec<u8>, Refusal>;

/// Issues temporary credentials for a single call.
pub(crate) struct Grantor<'a> {
    telemetry: &'a mut Telemetry,
    gate: &'a mut Gate,
    pub(crate) caller: &'a Caller,
    id: &'a str,
    now_s: u64,
    /// The access key id of the issued credentials, or `None` before they are issued.
    key_id: Option<Box<str>>,
}

/// An STS call parsed from a form.
pub(crate) struct StsForm {
    /// The connection on which the request arrived.
    pub(crate) key: SessionKey,
    pub(crate) parsed: Result<Request, Error>,
    /// Whether the connection closes after the response.
    pub(crate) close: bool,
    /// The rate limit on an account's requests for temporary credentials, or `None` if there is no limit.
    pub(crate) rate: Option<Rate>,
}

/// Answers an STS call that was sent as a form. `caller` is the caller that signed the form, or `None` if it is
/// unsigned. `close` states whether the connection closes after the response.
pub(crate) fn answer_sts(
    shard: &mut State,
    key: SessionKey,
    body: &[u8],
    close: bool,
    caller: Option<&Caller>,
) {
    let strict = shard.directory.settings().strict();
    let form = &StsForm {
        key,
        parsed: sts::parse(body, &sts::FormRules { strict }),
        close,
        rate: shard.directory.federation_rate(),
    };
    match caller {
        // A sign-in requires no signature, so ignore any signature on it.
        Some(caller) if !matches!(form.parsed, Ok(Request::AssumeRoleWithWebIdentity(_))) => {
            answer_from(shard, form, caller);
        }
        Some(_) | None => answer_sign_in(shard, form),
    }
}

/// Answers an STS call from an authenticated caller.
pub(crate) fn answer_from(shard: &mut State, form: &StsForm, caller: &Caller) {
    let cx = &mut shard.cx;
    let mut granting = Granting {
        form,
        caller,
        requested: Requested::Unknown,
        session: None,
        key_id: None,
        id: cx.telemetry.request_id(),
        audited: false,
    };
    let result = match &form.parsed {
        Ok(Request::GetCallerIdentity) => {
            granting.requested = Requested::CallerIdentity;
            Ok(who(caller, &granting.id))
        }
        Ok(request) => {
            granting.requested = requested(request);
            granting.session = session_of(request);
            grant(shard, &mut granting, request)
        }
        Err(error) => Err(not_understood(error)),
    };
    let telemetry = &mut shard.cx.telemetry;
    telemetry.count_call(Account::of_digits(caller.account()));
    let purpose = Purpose::Sts(granting.requested);
    match result {
        Ok(body) => {
            let answer = Response {
                content_type: sts::CONTENT_TYPE,
                id: Some(&granting.id),
                ..Response::json(form.key, purpose, &body, form.close)
            };
            responses::respond(shard, &answer);
        }
        Err(refusal) => {
            let evidence = Evidence {
                close: form.close,
                id: granting.audited.then_some(&granting.id),
                session: granting.session.as_deref(),
                role: form.parsed.as_ref().ok().and_then(role_of),
                caller: Some(caller),
                ..Evidence::of(form.key, purpose)
            };
            responses::refuse(shard, &evidence, &refusal);
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

/// Creates the response to GetCallerIdentity.
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

/// Issues temporary credentials, subject to the account's rate limit, and writes an audit entry. Returns the response
/// body.
///
/// # Errors
/// Returns the refusal; `granting.audited` indicates whether an audit entry was written.
fn grant(shard: &mut State, granting: &mut Granting<'_>, request: &Request) -> GrantResponse {
    let (sockets, _, cx, gate) = shard.parts();
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
        (Some(rate), Ok(_)) => gate.count_grant(caller, hash, rate, cx.at.now),
        (Some(_), Err(_)) => gate.count_refused_grant(hash, cx.at.now),
        (None, _) => {}
    }
    let purpose = Purpose::Sts(granting.requested);
    let refusal = granted.as_ref().err();
    if let Some(refusal) = refusal {
        granting.id = cx.telemetry.refusal_id(refusal, purpose, cx.at.wall);
    }
    let error_type = refusal.map(|refusal| refusal.error_type(purpose));
    audit_grant(sockets, cx, granting, request, error_type);
    granting.audited = true;
    granted
}

/// Writes the audit entry for issued or refused credentials, for which space has been reserved.
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

/// Returns the requested session in the form used in the log.
pub(crate) fn session_of(request: &Request) -> Option<Box<str>> {
    if let Request::GetFederationToken { name, .. } = request {
        return Some(name.clone());
    }
    let AssumeRole {
        role, session_name, ..
    } = role_request(request)?;
    Some(format!("{}/{session_name}", role.name()).into())
}

/// Returns the ARN of the requested role.
pub(crate) fn role_of(request: &Request) -> Option<&str> {
    role_request(request).map(|request| request.role.as_str())
}

fn role_request(request: &Request) -> Option<&AssumeRole> {
    match request {
        Request::AssumeRole(request) => Some(request),
        Request::AssumeRoleWithWebIdentity(request) => Some(&request.role),
        Request::GetFederationToken { .. }
        | Request::GetSessionToken { .. }
        | Request::GetCallerIdentity => None,
    }
}

/// Parses the session policy of a request, if any.
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

/// Converts temporary credentials to the form used in responses.
fn keys(temporary: &Temporary) -> Keys<'_> {
    Keys {
        access_key_id: &temporary.access_key_id,
        secret_access_key: temporary.secret_access_key.reveal(),
        session_token: temporary.session_token.reveal(),
        expires_s: temporary.expires_s,
    }
}

/// Returns the refusal for a request that cannot be parsed.
pub(crate) fn not_understood(error: &Error) -> Refusal {
    use ErrorKind::{InvalidAction, MalformedPolicyDocument, MissingAction, PackedPolicyTooLarge};
    let check = if matches!(error.kind, MissingAction | InvalidAction) {
        Check::OperationUnknown
    } else if matches!(error.kind, PackedPolicyTooLarge | MalformedPolicyDocument) {
        Check::SessionPolicyMalformed
    } else {
        Check::ArgumentInvalid
    };
    Refusal::new(check, error.kind, error.message.clone())
}

// AssumeRole: the rights of a role.

impl Grantor<'_> {
    /// Issues credentials for a role. They grant only rights that the role's policies and the session policy both
    /// allow. `write` appends the response to a buffer, given the grant and the request id.
    pub(crate) fn assume(
        &mut self,
        request: &AssumeRole,
        write: impl FnOnce(&mut Vec<u8>, &Granted<'_>, &str),
    ) -> GrantResponse {
        let Assumption {
            mut role,
            duration_s,
        } = self.allowed(request)?;
        role.policy = Ok(session_policy(request.policy.as_deref())?);
        let policies = request.policy_arns.iter();
        let policies = policies.map(|arn| self.named_policy(request, arn));
        role.policies = policies.collect::<Result<_, _>>()?;
        let source_identity = role.source_identity.clone();
        let holder = GrantHolder::Role(role);
        let issued = self.issue(holder, duration_s);
        let temporary = issued.map_err(|error| error.refusal(SESSION_TOO_LONG))?;
        let (account, name) = (request.role.account(), request.role.name());
        let session = &request.session_name;
        let bytes = temporary.session_token.reveal().len();
        let answer = Granted {
            keys: keys(&temporary),
            arn: &format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
            id: &assumed_role_id(request.role.as_str(), session),
            packed_policy_percent: u8::try_from(bytes * 100 / TOKEN_BYTES_MAX).unwrap_or(100),
            source_identity: source_identity.as_deref(),
        };
        let mut out = Vec::new();
        write(&mut out, &answer, self.id);
        Ok(out)
    }

    /// Returns the role session to grant to the caller. Without signature checks, any role may be assumed.
    fn allowed(&mut self, request: &AssumeRole) -> Result<Assumption, Refusal> {
        let Some(credentials) = self.gate.credentials() else {
            return Ok(Assumption {
                role: RoleGrant::of(request),
                duration_s: request.duration_s.unwrap_or(DURATION_S_DEFAULT),
            });
        };
        let mut steps = 0;
        let assumption = assume(self.caller, credentials, request, &mut steps);
        self.telemetry.count_policy_steps(steps);
        assumption
    }

    /// Issues credentials that are valid from now on, and records their access key id.
    fn issue(&mut self, holder: GrantHolder, duration_s: u32) -> Result<Temporary, SealError> {
        let until_s = self.now_s + u64::from(duration_s);
        let gate = &mut *self.gate;
        let temporary = gate.issue(self.caller, holder, self.now_s, until_s)?;
        self.key_id = Some(temporary.access_key_id.as_str().into());
        Ok(temporary)
    }

    /// Returns the name of the policy with this ARN, or a refusal if the role's account has no such policy.
    fn named_policy(&self, request: &AssumeRole, arn: &str) -> Result<Box<str>, Refusal> {
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
            return Ok(name.into());
        }
        let message = "PolicyArns: each must be arn:aws:iam::ACCOUNT:policy/NAME, with the account of the role and \
                       the name of a policy of the credentials file.";
        let kind = ErrorKind::InvalidParameterValue;
        Err(Refusal::new(Check::ArgumentInvalid, kind, message))
    }
}

// GetFederationToken: a subset of the caller's rights, for a named user.

impl Grantor<'_> {
    /// Issues credentials for a federated user. They grant only rights that the caller's policies and the session
    /// policy both allow.
    fn federate(&mut self, name: &str, policy: Option<&str>, duration_s: u32) -> GrantResponse {
        let caller = self.caller;
        let arn = federated_user_arn(caller.account(), name);
        let ruling = caller.decide(&PolicyQuestion::new(Action::GetFederationToken, &arn));
        self.telemetry.count_policy_steps(ruling.steps);
        if let Some(check) = ruling.denied {
            let message = caller.denial(Action::GetFederationToken, &arn);
            let refusal = Refusal::new(check, ErrorKind::AccessDenied, message);
            return Err(refusal.by_policy(caller.ground_of(&ruling)));
        }
        let holder = GrantHolder::Federated {
            account: caller.account().into(),
            name: name.into(),
            policy: session_policy(policy)?,
        };
        let too_long = "The policy must be at most 2048 bytes of UTF-8.";
        let issued = self.issue(holder, duration_s);
        let temporary = issued.map_err(|error| error.refusal(too_long))?;
        let user_id = format!("{}:{name}", caller.account());
        let token = Granted {
            keys: keys(&temporary),
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

/// Returns the policy's size as a percentage of the maximum.
fn packed_percent(policy: &str) -> u8 {
    let percent = policy.len() * 100 / codec::sts::POLICY_CHARS_MAX;
    u8::try_from(percent.min(100)).unwrap_or(100)
}

// GetSessionToken: the caller's own rights for a limited time.

impl Grantor<'_> {
    /// Issues credentials with the caller's rights, without evaluating policies. Source: STS API Reference,
    /// "GetSessionToken": *No permissions are required for users to perform this operation*.
    pub(crate) fn session(&mut self, duration_s: u32) -> GrantResponse {
        if !self.caller.is_long_term() {
            let message = "Cannot call GetSessionToken with session credentials";
            let refusal = Refusal::new(Check::PolicyNoAllow, ErrorKind::AccessDenied, message);
            return Err(refusal.by_policy(Some(WITH_OWN_KEYS.into())));
        }
        let issued = self.issue(GrantHolder::User, duration_s);
        let temporary = issued.map_err(|error| error.refusal("The session is too long."))?;
        let mut out = Vec::new();
        session_token(&mut out, &keys(&temporary), self.id);
        Ok(out)
    }
}

/// Tells operators why GetSessionToken is refused: the caller's own credentials are temporary.
const WITH_OWN_KEYS: &str = "the caller's keys are temporary, and GetSessionToken takes none but a principal's: sign \
                             with those";
