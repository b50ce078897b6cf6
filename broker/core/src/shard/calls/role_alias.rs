//! Devices that ask for keys with their certificate: `GET /role-aliases/ALIAS/credentials`. See codec/PROTOCOL.md,
//! THINGS.
//!
//! It is there on connections to the names of the credentials provider alone, and those have nothing else. The order
//! of refusals is part of the contract: certificate, thing, IoT policy, alias, role, duration. A client learns which of
//! these it was, an operator why.
//!
//! Source: AWS IoT Core Developer Guide, "Authorizing direct calls to AWS services using AWS IoT Core credential
//! provider"; the texts are those of the service.

use crate::auth::{
    Caller, Credentials, Denial, Identified, Origin, RoleFault, RoleGrant, RootGrant, SessionGrant,
    SignIn, Temporary, ThingIdentity, ThingRefusal, Vouched, alias_arn, assume, certificate_id,
};
use crate::event::{AuthFailure, Purpose};
use crate::id::{Account, SessionKey};
use crate::machine::{Shown, ShownCertificate};
use crate::refusal::{ErrorCode, Refusal};
use crate::shard::calls::responses::{self, Response, UNAUDITABLE};
use crate::shard::context::Context;
use crate::shard::evidence::{self, Evidence, named};
use crate::shard::{Gate, Sockets};
use crate::{check::Check, limits::SIGN_INS_PER_HOUR};
use codec::sts::{AssumeRole, RoleArn};
use codec::{calendar::rfc3339, http::Head, policy::Decision};
use std::fmt::Write;

/// A request for keys.
struct Asked<'a> {
    /// The role alias.
    alias: &'a str,
    /// The thing that it names.
    thing: Option<&'a str>,
    region: &'a str,
    account: &'a str,
    origin: Origin,
}

/// Keys that a device gets.
struct Given {
    temporary: Temporary,
    expires_s: u64,
    /// The one that signed in.
    caller: Caller,
    /// Role and session, as the log names them.
    session: Box<str>,
    /// Whether it signs in more often than a device whose clock is right.
    exceeds: bool,
}

/// A request on a connection to the credentials provider.
pub(crate) struct DeviceRequest<'a> {
    /// Connection of the request.
    pub(crate) key: SessionKey,
    /// Certificate that the connection began with.
    pub(crate) shown: &'a Shown,
    pub(crate) head: &'a Head<'a>,
    /// The connection ends with the answer.
    pub(crate) close: bool,
}

/// Answers a request on a connection to the credentials provider.
pub(crate) fn answer(
    sockets: &mut Sockets,
    cx: &mut Context,
    gate: &mut Gate,
    device: &DeviceRequest<'_>,
) {
    let &DeviceRequest {
        key,
        shown,
        head,
        close,
    } = device;
    let settings = sockets.settings();
    let (region, account) = (settings.region.clone(), settings.account_id.clone());
    let peer = sockets.session(key).map(|session| session.peer());
    let Some(peer) = peer else { return };
    let mut caller = None;
    let given = request(head, shown).and_then(|alias| {
        let asked = Asked {
            alias,
            thing: head.header("x-amzn-iot-thingname"),
            region: &region,
            account: &account,
            origin: Origin {
                address: peer.remote.ip().to_canonical(),
                tls: peer.tls,
                asked_s: cx.at.wall.0 / 1000,
                headers: None,
            },
        };
        give(cx, gate, &asked, shown, &mut caller)
    });
    match given {
        Ok(given) => grant(sockets, cx, key, &given, close),
        Err(refusal) => {
            let role = role_of(gate, head);
            refuse(
                sockets,
                cx,
                device,
                role.as_ref(),
                caller.as_ref(),
                &refusal,
            );
        }
    }
}

/// The role of the alias that a request names, whether it gets it or not.
fn role_of(gate: &Gate, head: &Head<'_>) -> Option<RoleArn> {
    let alias = gate.credentials()?.alias(alias_of(head)?)?;
    RoleArn::parse(&format!(
        "arn:aws:iam::{}:role/{}",
        alias.account, alias.role
    ))
}

/// Whether a request is one for keys, by its method and path.
pub(crate) fn is_asked(head: &Head<'_>) -> bool {
    alias_of(head).is_some()
}

/// Whether there are connections that are asked for a certificate: by the credentials file, or of a server that asks
/// for no signature, which has an authority of its own for development.
pub(crate) fn is_open(sockets: &Sockets, gate: &Gate) -> bool {
    match gate.credentials() {
        Some(credentials) => credentials.things().is_some(),
        None => sockets.settings().dev,
    }
}

/// Refuses a connection that was not asked for a certificate as one that showed none: one that reads 404 would look
/// for its alias.
pub(crate) fn refuse_stranger(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    head: &Head<'_>,
    close: bool,
) {
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
    refuse(sockets, cx, &device, None, None, &refusal);
}

/// The role alias of a request for keys.
fn alias_of<'a>(head: &Head<'a>) -> Option<&'a str> {
    let path = head.path().strip_prefix("/role-aliases/");
    let alias = path.and_then(|rest| rest.strip_suffix("/credentials"));
    let alias = alias.filter(|_| head.method() == "GET");
    alias.filter(|alias| !alias.contains('/'))
}

/// The role alias that a request names.
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

/// Makes keys for a device, or says why not. Notes its caller as soon as it is known.
fn give(
    cx: &mut Context,
    gate: &mut Gate,
    asked: &Asked<'_>,
    shown: &Shown,
    caller: &mut Option<Caller>,
) -> Result<Given, Refusal> {
    let foreign = |why: &str| refused(CERTIFICATE, Check::ThingCertificate, why);
    let certificate = shown.certificate.as_ref();
    let certificate = certificate
        .ok_or_else(|| foreign("the client showed no certificate, or none that can be read"))?;
    let Some(credentials) = gate.credentials() else {
        return give_to_anybody(gate, asked, certificate);
    };
    let things = credentials
        .things()
        .ok_or_else(|| foreign("there is no [things] any more"))?;
    let thing = things.identify(certificate, asked.thing, asked.origin.asked_s);
    let thing = thing.map_err(|refusal| of_identity(refusal))?;
    let alias = credentials.alias(asked.alias);
    let account = alias.map_or(asked.account, |alias| &alias.account);
    let grounds = credentials.alias_grounds(asked.alias);
    let identity = identity(&thing, certificate, asked, grounds);
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
    let request = role_request(account, &alias.role, certificate, Some(alias.duration_s));
    let request = request.ok_or_else(|| foreign("the role has no ARN"))?;
    let duration_s = allowed(cx, credentials, caller, &request)?;
    let (fingerprint, now_s) = (&certificate.fingerprint, asked.origin.asked_s);
    let exceeds = things.sign_ins.exceeds(fingerprint, asked.thing, now_s);
    let expires_s = ends(certificate, duration_s, now_s);
    let given = seal(gate, caller.clone(), &request, expires_s, asked)?;
    Ok(Given { exceeds, ..given })
}

/// Makes keys where no signature is asked for: every role is there for each device that an authority vouches for.
fn give_to_anybody(
    gate: &mut Gate,
    asked: &Asked<'_>,
    certificate: &ShownCertificate,
) -> Result<Given, Refusal> {
    let foreign = |why: &str| refused(CERTIFICATE, Check::ThingCertificate, why);
    let vouched = certificate.vouched.as_ref().map_err(|why| foreign(why))?;
    if !(certificate.not_before_s..=certificate.not_after_s).contains(&asked.origin.asked_s) {
        return Err(foreign("the certificate is not valid now"));
    }
    if asked.thing.is_some_and(|name| *name != *vouched.name) {
        return Err(of_identity(ThingRefusal::Name(Some(&vouched.name))));
    }
    let identity = ThingIdentity {
        certificate: certificate.fingerprint,
        numbers: certificate.numbers.to_vec(),
        name: asked.thing.map(Into::into),
        thing_type: None,
        alias: asked.alias.into(),
        grounds: 0,
        authority: None,
    };
    let caller = Caller::signing_in(SignIn::Thing(identity), asked.account, None);
    let request = role_request(asked.account, asked.alias, certificate, None);
    let request = request.ok_or_else(|| {
        refused(
            NO_ALIAS,
            Check::AliasAbsent,
            "the name cannot be that of a role",
        )
    })?;
    let expires_s = ends(certificate, ANYBODY_S, asked.origin.asked_s);
    seal(gate, caller, &request, expires_s, asked)
}

/// The end of keys of this life: that of the certificate, if it is sooner.
fn ends(certificate: &ShownCertificate, duration_s: u32, now_s: u64) -> u64 {
    (now_s + u64::from(duration_s)).min(certificate.not_after_s)
}

/// The refusal of a certificate or of a thing's name.
fn of_identity(refusal: ThingRefusal<'_>) -> Refusal {
    let why = refusal.to_string();
    if refusal.is_about_name() {
        return refused(THING_NAME, Check::ThingName, why);
    }
    refused(CERTIFICATE, Check::ThingCertificate, why)
}

fn identity(
    thing: &Identified<'_>,
    certificate: &ShownCertificate,
    asked: &Asked<'_>,
    grounds: u64,
) -> ThingIdentity {
    ThingIdentity {
        certificate: certificate.fingerprint,
        numbers: certificate.numbers.to_vec(),
        name: thing.name.map(Into::into),
        thing_type: thing.thing_type.map(Into::into),
        alias: asked.alias.into(),
        grounds,
        authority: thing.vouched.map(|vouched| Vouched {
            authority: vouched.authority,
            unnamed: thing.name.is_none().then(|| vouched.name.clone()),
        }),
    }
}

/// The session that a device is to get: its name is the id of the certificate.
fn role_request(
    account: &str,
    role: &str,
    certificate: &ShownCertificate,
    duration_s: Option<u32>,
) -> Option<AssumeRole> {
    let role = RoleArn::parse(&format!("arn:aws:iam::{account}:role/{role}"))?;
    let name = certificate_id(&certificate.fingerprint);
    Some(AssumeRole {
        duration_s,
        ..AssumeRole::new(role, &name)
    })
}

/// The life of the session, if the role's trust lets the device have it.
fn allowed(
    cx: &mut Context,
    credentials: &Credentials,
    caller: &Caller,
    request: &AssumeRole,
) -> Result<u32, Refusal> {
    let mut steps = 0;
    let assumption = assume(caller, credentials, request, &mut steps);
    cx.telemetry.count_policy_steps(steps);
    let assumption = assumption.map_err(|fault| match fault {
        RoleFault::Denied(Denial { check, ground, .. }) => {
            refused(ROLE, check, ground.unwrap_or_default())
        }
        RoleFault::Duration { ground, .. } => {
            let why = format!(
                "{ground}; lower the alias's `duration`, or raise the role's `max_session`"
            );
            refused(DURATION, Check::ArgumentInvalid, why)
        }
        RoleFault::Invalid(why) => refused(ROLE, Check::ArgumentInvalid, why),
        RoleFault::TooLong => refused(
            ROLE,
            Check::ArgumentInvalid,
            "the session token would be too long",
        ),
    })?;
    Ok(assumption.duration_s)
}

fn seal(
    gate: &mut Gate,
    caller: Caller,
    request: &AssumeRole,
    expires_s: u64,
    asked: &Asked<'_>,
) -> Result<Given, Refusal> {
    let root = match caller.sign_in() {
        Some(sign_in) => RootGrant::SignIn(sign_in),
        None => caller.root_grant(),
    };
    let grant = SessionGrant {
        root,
        issued_s: asked.origin.asked_s,
        expires_s,
        role: Some(RoleGrant {
            account: request.role.account(),
            role: request.role.name(),
            via: &[],
            session_name: &request.session_name,
            source_identity: None,
            tags: &[],
            policies: &[],
            policy: None,
        }),
    };
    let sealed = gate.seal_session(&grant);
    let temporary = sealed.map_err(|_| {
        let why = "the session cannot be sealed";
        refused(INTERNAL, Check::InternalFailure, why)
    })?;
    let session = format!("{}/{}", request.role.name(), request.session_name);
    Ok(Given {
        temporary,
        expires_s,
        caller,
        session: session.into(),
        exceeds: false,
    })
}

/// Answers with keys, and not without a line in the log.
fn grant(sockets: &mut Sockets, cx: &mut Context, key: SessionKey, given: &Given, close: bool) {
    let account = Account::of_digits(given.caller.account());
    if !cx.telemetry.journal().keep_place(account) {
        let kind = (503, "ServiceUnavailableException", UNAUDITABLE);
        let refusal = refused(kind, Check::AuditFull, UNAUDITABLE);
        let evidence = Evidence {
            close,
            ..Evidence::of(Purpose::RoleAlias)
        };
        return responses::refuse(sockets, cx, key, &evidence, &refusal);
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
        notice_clock(sockets, cx, key, &id, given);
    }
    let body = body(given);
    let answer = Response {
        id: Some(&id),
        ..Response::json(Purpose::RoleAlias, body.as_bytes(), close)
    };
    responses::respond(sockets, cx, key, &answer);
}

/// Lists a device that asks again long before its keys end.
fn notice_clock(sockets: &Sockets, cx: &mut Context, key: SessionKey, id: &str, given: &Given) {
    let left_s = given.expires_s.saturating_sub(cx.at.wall.0 / 1000);
    let who = given.caller.sign_in().map(SignIn::label);
    let why = format!(
        "clock? {} has signed in {SIGN_INS_PER_HOUR} times within the hour and asks again, though keys last {left_s} s",
        who.unwrap_or_default()
    );
    let evidence = Evidence {
        id: Some(id),
        session: Some(&given.session),
        caller: Some(&given.caller),
        ..Evidence::of(Purpose::RoleAlias)
    };
    let noticed = Refusal::noticed(Check::ThingClock, Some(why.into()));
    responses::note(sockets, cx, key, &evidence, &noticed);
}

/// The answer. Every text in it is of base64 or digits.
fn body(given: &Given) -> String {
    let Temporary {
        access_key_id,
        secret_access_key,
        session_token,
    } = &given.temporary;
    let expiration = rfc3339(given.expires_s * 1000);
    let seconds = expiration.split('.').next().unwrap_or_default();
    let mut body = String::with_capacity(BODY_BYTES);
    let _ = write!(
        body,
        "{{\"credentials\":{{\"accessKeyId\":\"{access_key_id}\",\"secretAccessKey\":\"{}\",\"sessionToken\":\"{}\",\
         \"expiration\":\"{seconds}Z\"}}}}",
        secret_access_key.reveal(),
        session_token.reveal()
    ); // a String takes all
    body
}

/// The life of keys where no signature is asked for, in seconds.
const ANYBODY_S: u32 = 3600;

/// The usual length of an answer.
const BODY_BYTES: usize = 1536;

// Refusals of the credentials provider: texts for clients, reasons for operators.

/// A status, a type and a text.
type Kind = (u16, &'static str, &'static str);

/// A refusal with this reason, for operators alone.
fn refused((status, error_type, message): Kind, check: Check, why: impl Into<Box<str>>) -> Refusal {
    let error = ErrorCode::Fixed(status, error_type);
    Refusal::new(check, error, message).by_policy(Some(why.into()))
}

/// Refuses, and notes who it was, as far as that is known. `role`: of the alias, if there is one.
fn refuse(
    sockets: &mut Sockets,
    cx: &mut Context,
    device: &DeviceRequest<'_>,
    role: Option<&RoleArn>,
    caller: Option<&Caller>,
    refusal: &Refusal,
) {
    let &DeviceRequest {
        key,
        shown,
        head,
        close,
    } = device;
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
        close,
        session: session.as_deref(),
        role: role.map(RoleArn::as_str),
        shown: evidence::Shown {
            certificate,
            thing,
            ..evidence::Shown::default()
        },
        caller,
        ..Evidence::of(Purpose::RoleAlias)
    };
    let refusal = refusal.clone().by_policy(Some(why.into()));
    responses::refuse(sockets, cx, key, &evidence, &refusal);
}

/// The certificate is not let in.
const CERTIFICATE: Kind = (
    403,
    "AccessDeniedException",
    "Certificate is invalid on this endpoint",
);

/// The thing is not one of the certificate's.
const THING_NAME: Kind = (403, "AccessDeniedException", "Invalid thing name passed");

/// No IoT policy allows it.
const DENIED: Kind = (403, "AccessDeniedException", "Access Denied");

/// There is no such alias.
const NO_ALIAS: Kind = (
    404,
    "ResourceNotFoundException",
    "Role alias does not exist",
);

/// The role is not there, or its trust says no.
const ROLE: Kind = (
    400,
    "InvalidRequestException",
    "Unable to assume the role, or the role to assume does not exist",
);

/// The alias has a longer duration than the role.
const DURATION: Kind = (
    400,
    "InvalidRequestException",
    "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
);

/// The request is for another name than the connection.
const MISDIRECTED: Kind = (
    421,
    "InvalidRequestException",
    "The Host header does not match the server name",
);

/// There is nothing else here.
const NO_SUCH_PATH: Kind = (
    404,
    "ResourceNotFoundException",
    "There is no such operation on this endpoint",
);

const INTERNAL: Kind = (500, "InternalFailureException", "Internal failure");
