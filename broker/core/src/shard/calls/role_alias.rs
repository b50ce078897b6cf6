//! Issues temporary credentials to devices that authenticate with a certificate: `GET /role-aliases/ALIAS/credentials`.
//! See THING-1 and the rules after it in codec/PROTOCOL.md.
//!
//! The broker serves these requests, and nothing else, on connections to the credentials provider's host names. It does
//! not serve them on any other connection. The order of the checks is part of the protocol: certificate, thing, IoT
//! policy, alias, role, duration. The response identifies the failed check, and the log also gives the reason.
//!
//! Source: AWS IoT Core Developer Guide, "Authorizing direct calls to AWS services using AWS IoT Core credential
//! provider". The error messages are identical to AWS's.

use crate::auth::{
    Assumption, Caller, GrantHolder, Origin, RoleGrant, SignIn, Temporary, ThingIdentity,
    ThingRefusal, Vouched, alias_arn, assume, certificate_id,
};
use crate::event::{AuthFailure, Purpose};
use crate::id::{Account, SessionKey};
use crate::machine::{Shown, ShownCertificate};
use crate::refusal::{ErrorCode, Refusal};
use crate::shard::calls::responses::{self, Response, UNAUDITABLE};
use crate::shard::evidence::{self, Evidence, named};
use crate::shard::state::State;
use crate::shard::{Gate, Sockets};
use crate::{check::Check, limits::SIGN_INS_PER_HOUR};
use codec::sts::{AssumeRole, DURATION_S_DEFAULT, ErrorKind, RoleArn};
use codec::{calendar::rfc3339, http::Head, policy::Decision};
use std::fmt::Write;

/// A device's request for temporary credentials, parsed from the request head.
struct AliasRequest<'a> {
    alias: &'a str,
    /// The thing name from the request, if any.
    thing: Option<&'a str>,
    region: &'a str,
    /// The account to use if the alias does not exist, or if signatures are not checked.
    account: &'a str,
    origin: Origin,
    certificate: &'a ShownCertificate,
}

/// The credentials issued to a device, or the refusal.
type Given = Result<DeviceKeys, Refusal>;

/// The temporary credentials issued to a device.
struct DeviceKeys {
    temporary: Temporary,
    /// The authenticated caller.
    caller: Caller,
    /// The role and the session in the form used in the log.
    session: Box<str>,
    /// Whether the device requests credentials so often that its clock is probably wrong.
    exceeds: bool,
}

/// A request on a connection to the credentials provider.
pub(crate) struct DeviceRequest<'a> {
    /// The connection on which the request arrived.
    pub(crate) key: SessionKey,
    /// The server name and certificate from the TLS handshake.
    pub(crate) shown: &'a Shown,
    pub(crate) head: &'a Head<'a>,
    /// Whether the connection closes after the response.
    pub(crate) close: bool,
}

/// Answers a request on a connection to the credentials provider.
pub(crate) fn answer(shard: &mut State, device: &DeviceRequest<'_>) {
    let sockets = &shard.sockets;
    let (key, shown, head) = (device.key, device.shown, device.head);
    let settings = sockets.settings();
    let (region, account) = (settings.region.clone(), settings.account_id.clone());
    let peer = sockets.session(key).map(|session| session.peer());
    let Some(peer) = peer else { return };
    let mut caller = None;
    let given = request(head, shown).and_then(|alias| {
        let certificate = shown.certificate.as_ref();
        let none = "the client showed no certificate, or none that can be read";
        let asked = AliasRequest {
            alias,
            thing: head.header("x-amzn-iot-thingname"),
            region: &region,
            account: &account,
            origin: Origin::of(peer, shard.cx.at.wall.0 / 1000),
            certificate: certificate.ok_or_else(|| foreign(none))?,
        };
        give(shard, &asked, &mut caller)
    });
    match given {
        Ok(given) => grant(shard, key, &given, device.close),
        Err(refusal) => {
            let role = role_of(&shard.gate, head);
            refuse(shard, device, role.as_ref(), caller.as_ref(), &refusal);
        }
    }
}

/// Returns the requested alias's role, which is logged with a refusal.
fn role_of(gate: &Gate, head: &Head<'_>) -> Option<RoleArn> {
    let alias = gate.credentials()?.alias(alias_of(head)?)?;
    RoleArn::parse(&format!(
        "arn:aws:iam::{}:role/{}",
        alias.account, alias.role
    ))
}

/// Returns whether the server requests client certificates on some connections. It does so if `[things]` is configured.
/// In development without signature checks, it also does so, and runs its own CA.
pub(crate) fn is_open(sockets: &Sockets, gate: &Gate) -> bool {
    match gate.credentials() {
        Some(credentials) => credentials.things().is_some(),
        None => sockets.settings().dev,
    }
}

/// Refuses a request for credentials, because the server did not request a certificate on this connection. Responds
/// with the error for a missing certificate: a 404 would suggest that the alias does not exist.
pub(crate) fn refuse_stranger(shard: &mut State, key: SessionKey, head: &Head<'_>, close: bool) {
    let why = "the connection was made without server name (SNI), or with one that is not of [things] hosts, so it was \
               not asked for a certificate";
    let shown = &Shown {
        server_name: "".into(),
        certificate: None,
    };
    let device = DeviceRequest {
        key,
        shown,
        head,
        close,
    };
    let refusal = refused(CERTIFICATE, Check::ThingCertificate, why);
    refuse(shard, &device, None, None, &refusal);
}

/// Extracts the role alias from the path of a credentials request.
pub(crate) fn alias_of<'a>(head: &Head<'a>) -> Option<&'a str> {
    let path = head.path().strip_prefix("/role-aliases/");
    let alias = path.and_then(|rest| rest.strip_suffix("/credentials"));
    let alias = alias.filter(|_| head.method() == "GET");
    alias.filter(|alias| !alias.contains('/'))
}

/// Returns the role alias in a request, or a refusal if the host or path is wrong.
fn request<'a>(head: &'a Head<'_>, shown: &Shown) -> Result<&'a str, Refusal> {
    let host = head.host().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !name.eq_ignore_ascii_case(&shown.server_name) {
        let why = format!(
            "the server name (SNI) is {}, but the header Host names {}: a device must ask one name for both",
            shown.server_name,
            named(name)
        );
        return Err(refused(MISDIRECTED, Check::ThingHost, why));
    }
    alias_of(head).ok_or_else(|| {
        let why = "names of the credentials provider have GET /role-aliases/ALIAS/credentials and nothing else";
        refused(NO_SUCH_PATH, Check::OperationUnknown, why)
    })
}

/// Issues credentials to a device. Sets `caller` as soon as the device has been identified, even if a later check
/// fails.
fn give(shard: &mut State, asked: &AliasRequest<'_>, caller: &mut Option<Caller>) -> Given {
    let (_, _, cx, gate) = shard.parts();
    let Some(credentials) = gate.credentials() else {
        return give_to_anybody(gate, asked);
    };
    let things = credentials
        .things()
        .ok_or_else(|| foreign("there is no [things] any more"))?;
    let thing = things.identify(asked.certificate, asked.thing, asked.origin.asked_s);
    let thing = thing.map_err(|refusal| of_identity(refusal))?;
    let alias = credentials.alias(asked.alias);
    let account = alias.map_or(asked.account, |alias| &alias.account);
    let identity = ThingIdentity {
        grounds: credentials.alias_grounds(asked.alias),
        thing_type: thing.thing_type.map(Into::into),
        authority: thing.vouched.map(|vouched| Vouched {
            authority: vouched.authority,
            unnamed: thing.name.is_none().then(|| vouched.name.clone()),
        }),
        ..asked.identity()
    };
    let known = Caller::signing_in(SignIn::Thing(identity), account, Some(asked.region.into()));
    let caller = &*caller.insert(known.from_origin(asked.origin.clone()));
    let arn = alias_arn(asked.region, account, asked.alias);
    let mut steps = 0;
    let (decision, ground) = thing.may_use(
        &arn,
        (asked.origin.address, asked.origin.asked_s),
        &mut steps,
    );
    cx.telemetry.count_policy_steps(steps);
    if decision != Decision::Allow {
        cx.telemetry.count_auth_failure(AuthFailure::Policy);
        let check = match decision {
            Decision::Deny => Check::PolicyExplicitDeny,
            Decision::Allow | Decision::Open | Decision::NoMatch => Check::PolicyNoAllow,
        };
        let ground = match alias {
            Some(_) => ground,
            None => format!("{ground}; and there is no [role_alias.{}]", asked.alias),
        };
        return Err(refused(DENIED, check, ground));
    }
    let Some(alias) = alias else {
        let why = format!("there is no [role_alias.{}]", asked.alias);
        return Err(refused(NO_ALIAS, Check::AliasAbsent, why));
    };
    let request = asked.role(account, &alias.role, Some(alias.duration_s));
    let request = request.ok_or_else(|| foreign("the role has no ARN"))?;
    let mut steps = 0;
    let assumption = assume(caller, credentials, &request, &mut steps);
    cx.telemetry.count_policy_steps(steps);
    let assumption = assumption.map_err(of_role)?;
    let now_s = asked.origin.asked_s;
    let sign_ins = &things.sign_ins;
    let exceeds = sign_ins.exceeds(&asked.certificate.fingerprint, asked.thing, now_s);
    let given = issue(gate, caller.clone(), assumption, asked)?;
    Ok(DeviceKeys { exceeds, ..given })
}

/// Issues credentials on a server that does not check signatures. Any device with a certificate from a trusted CA may
/// assume any role.
fn give_to_anybody(gate: &mut Gate, asked: &AliasRequest<'_>) -> Given {
    let certificate = asked.certificate;
    let vouched = certificate.vouched.as_ref().map_err(|why| foreign(why))?;
    if !(certificate.not_before_s..=certificate.not_after_s).contains(&asked.origin.asked_s) {
        return Err(foreign("the certificate is not valid now"));
    }
    if asked.thing.is_some_and(|name| *name != *vouched.name) {
        return Err(of_identity(ThingRefusal::Name(Some(&vouched.name))));
    }
    let identity = SignIn::Thing(asked.identity());
    let caller = Caller::signing_in(identity, asked.account, None);
    let request = asked.role(asked.account, asked.alias, None);
    let request = request.ok_or_else(|| {
        let why = "the name cannot be that of a role";
        refused(NO_ALIAS, Check::AliasAbsent, why)
    })?;
    let assumption = Assumption {
        role: RoleGrant::of(&request),
        duration_s: DURATION_S_DEFAULT,
    };
    issue(gate, caller, assumption, asked)
}

impl AliasRequest<'_> {
    /// Creates a device identity with no attributes other than the certificate and the requested thing name.
    fn identity(&self) -> ThingIdentity {
        ThingIdentity {
            certificate: self.certificate.fingerprint,
            numbers: self.certificate.numbers.to_vec(),
            name: self.thing.map(Into::into),
            thing_type: None,
            alias: self.alias.into(),
            grounds: 0,
            authority: None,
        }
    }

    /// Creates the request to assume the role. The role session is named after the certificate id.
    fn role(&self, account: &str, role: &str, duration_s: Option<u32>) -> Option<AssumeRole> {
        let role = RoleArn::parse(&format!("arn:aws:iam::{account}:role/{role}"))?;
        let name = certificate_id(&self.certificate.fingerprint);
        Some(AssumeRole {
            duration_s,
            ..AssumeRole::new(role, &name)
        })
    }
}

/// Returns the error for a certificate that is not accepted.
fn foreign(why: &str) -> Refusal {
    refused(CERTIFICATE, Check::ThingCertificate, why)
}

/// Returns the error for a certificate or thing name that is not accepted.
fn of_identity(refusal: ThingRefusal<'_>) -> Refusal {
    let why = refusal.to_string();
    if let ThingRefusal::Name(_) = refusal {
        return refused(THING_NAME, Check::ThingName, why);
    }
    refused(CERTIFICATE, Check::ThingCertificate, why)
}

/// Converts a failure to assume the role into the credentials provider's error.
fn of_role(refusal: Refusal) -> Refusal {
    let why = refusal.reason().unwrap_or_default();
    if refusal.error == ErrorKind::ValidationError.into() {
        let why = format!("{why}; lower the alias's `duration`, or raise the role's `max_session`");
        return refused(DURATION, refusal.check, why);
    }
    refused(ROLE, refusal.check, why)
}

/// Issues credentials that expire no later than the certificate.
fn issue(gate: &mut Gate, caller: Caller, granted: Assumption, asked: &AliasRequest<'_>) -> Given {
    let Assumption { role, duration_s } = granted;
    let now_s = asked.origin.asked_s;
    let session = format!("{}/{}", role.role, role.session_name);
    let until_s = (now_s + u64::from(duration_s)).min(asked.certificate.not_after_s);
    let issued = gate.issue(&caller, GrantHolder::Role(role), now_s, until_s);
    let temporary = issued.map_err(|_| {
        let why = "the session cannot be sealed";
        refused(INTERNAL, Check::InternalFailure, why)
    })?;
    Ok(DeviceKeys {
        temporary,
        caller,
        session: session.into(),
        exceeds: false,
    })
}

/// Sends the credentials, and writes an audit entry.
fn grant(shard: &mut State, key: SessionKey, given: &DeviceKeys, close: bool) {
    let (sockets, _, cx, _) = shard.parts();
    let account = Account::of_digits(given.caller.account());
    if !cx.telemetry.journal().keep_place(account) {
        let kind = (503, "ServiceUnavailableException", UNAUDITABLE);
        let refusal = refused(kind, Check::AuditFull, UNAUDITABLE);
        let evidence = Evidence {
            close,
            ..Evidence::of(key, Purpose::RoleAlias)
        };
        return responses::refuse(shard, &evidence, &refusal);
    }
    let id = cx.telemetry.request_id();
    let action = Purpose::RoleAlias.action().unwrap_or_default();
    match sockets.audit_of(key, &id, &given.caller, action) {
        None => cx.telemetry.journal().unchanged(account),
        Some(mut audit) => {
            audit.session = Some(given.session.clone());
            audit.new_key_id = Some(given.temporary.access_key_id.as_str().into());
            cx.telemetry.journal().changed(account, audit);
        }
    }
    if given.exceeds {
        notice_clock(shard, key, &id, given);
    }
    let body = body(given);
    let answer = Response {
        id: Some(&id),
        ..Response::json(key, Purpose::RoleAlias, body.as_bytes(), close)
    };
    responses::respond(shard, &answer);
}

/// Logs a notice if a device requests new credentials long before its previous ones expire.
fn notice_clock(shard: &mut State, key: SessionKey, id: &str, given: &DeviceKeys) {
    let cx = &mut shard.cx;
    let left_s = given
        .temporary
        .expires_s
        .saturating_sub(cx.at.wall.0 / 1000);
    let who = given.caller.sign_in().map(SignIn::label);
    let why = format!(
        "clock? {} has signed in {SIGN_INS_PER_HOUR} times within the hour and asks again, though keys last {left_s} s",
        who.unwrap_or_default()
    );
    let evidence = Evidence {
        id: Some(id),
        session: Some(&given.session),
        caller: Some(&given.caller),
        ..Evidence::of(key, Purpose::RoleAlias)
    };
    let noticed = Refusal::noticed(Check::ThingClock, Some(why.into()));
    responses::note(shard, &evidence, &noticed);
}

/// Writes the response body. All values are base64 or digits, so nothing needs escaping.
fn body(given: &DeviceKeys) -> String {
    let Temporary {
        access_key_id,
        secret_access_key,
        session_token,
        expires_s,
    } = &given.temporary;
    let expiration = rfc3339(expires_s * 1000);
    let seconds = expiration.split('.').next().unwrap_or_default();
    let mut body = String::with_capacity(BODY_BYTES);
    let _ = write!(
        body,
        "{{\"credentials\":{{\"accessKeyId\":\"{access_key_id}\",\"secretAccessKey\":\"{}\",\"sessionToken\":\"{}\",\
         \"expiration\":\"{seconds}Z\"}}}}",
        secret_access_key.reveal(),
        session_token.reveal()
    ); // writing to a String never fails
    body
}

/// Typical length of a response in bytes.
const BODY_BYTES: usize = 1536;

// Refusals by the credentials provider: error messages for clients, and reasons for operators.

/// An error returned by the credentials provider: HTTP status, error type and message.
type DeviceError = (u16, &'static str, &'static str);

/// Creates a refusal with a reason for operators.
fn refused(
    (status, error_type, message): DeviceError,
    check: Check,
    why: impl Into<Box<str>>,
) -> Refusal {
    let error = ErrorCode::Fixed(status, error_type);
    Refusal::new(check, error, message).by_policy(Some(why.into()))
}

/// Refuses a request, and logs what is known about the device. `role` is the alias's role, if the alias exists.
fn refuse(
    shard: &mut State,
    device: &DeviceRequest<'_>,
    role: Option<&RoleArn>,
    caller: Option<&Caller>,
    refusal: &Refusal,
) {
    let (shown, head) = (device.shown, device.head);
    let certificate = shown.certificate.as_ref().map(|it| &it.fingerprint);
    let alias = head.path().strip_prefix("/role-aliases/");
    let alias = alias.and_then(|rest| rest.split('/').next());
    let thing = head.header("x-amzn-iot-thingname");
    let why = format!(
        "role alias {}, thing {}: {}",
        named(alias.unwrap_or("-")),
        named(thing.unwrap_or("-")),
        refusal.reason().unwrap_or_default()
    );
    let session = role.zip(certificate);
    let session = session.map(|(role, it)| format!("{}/{}", role.name(), certificate_id(it)));
    let evidence = Evidence {
        close: device.close,
        session: session.as_deref(),
        role: role.map(RoleArn::as_str),
        shown: evidence::Shown {
            certificate,
            thing,
            ..evidence::Shown::default()
        },
        caller,
        ..Evidence::of(device.key, Purpose::RoleAlias)
    };
    let refusal = refusal.clone().by_policy(Some(why.into()));
    responses::refuse(shard, &evidence, &refusal);
}

/// The certificate is invalid.
const CERTIFICATE: DeviceError = (403, FORBIDDEN, "Certificate is invalid on this endpoint");

/// The certificate does not belong to the named thing.
const THING_NAME: DeviceError = (403, FORBIDDEN, "Invalid thing name passed");

/// No IoT policy allows the device to use the alias.
const DENIED: DeviceError = (403, FORBIDDEN, "Access Denied");

/// The alias does not exist.
const NO_ALIAS: DeviceError = (404, NOT_FOUND, "Role alias does not exist");

/// The role does not exist, or its trust policy denied the request.
const ROLE: DeviceError = (
    400,
    INVALID,
    "Unable to assume the role, or the role to assume does not exist",
);

/// The alias's duration exceeds the role's maximum session duration.
const DURATION: DeviceError = (
    400,
    INVALID,
    "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
);

/// The request's host differs from the server name of the TLS connection.
const MISDIRECTED: DeviceError = (
    421,
    INVALID,
    "The Host header does not match the server name",
);

/// The request is not a credentials request.
const NO_SUCH_PATH: DeviceError = (
    404,
    NOT_FOUND,
    "There is no such operation on this endpoint",
);

const INTERNAL: DeviceError = (500, "InternalFailureException", "Internal failure");

const FORBIDDEN: &str = "AccessDeniedException";
const NOT_FOUND: &str = "ResourceNotFoundException";
const INVALID: &str = "InvalidRequestException";
