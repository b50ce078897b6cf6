//! Parses upgrade requests on the shard that accepted the connection: determines the parameters and the caller, and
//! makes the checks that depend only on the request. See codec/PROTOCOL.md, CON.
//!
//! The checks are in the order of the protocol's table. The shard that owns the channel makes the checks that depend on
//! the channel; see `connect/admission.rs`.

use crate::auth::{PolicyQuestion, ResourceTags, Ruling};
use crate::limits::{WAKE_WAIT_S, WAKE_WAIT_S_DEFAULT};
use crate::session::http::{Admission, Asks, RoleBy};
use crate::settings::value::role_of_path;
use crate::shard::calls::responses::{absent, refuse};
use crate::shard::connect::ends_with;
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::state::State;
use crate::{check::Check, refusal::Refusal, settings::Settings};
use codec::http::{Head, Upgrade, decode, pairs};
use codec::identifiers::{ChannelArn, ClientId};
use codec::signal::Role;
use codec::sigv4::Parameter;
use codec::{control::ErrorKind, policy::Action};
use std::borrow::Cow;

/// The parameters of an upgrade, still percent-encoded and indexed by parameter number.
type UpgradeParameters<'h> = [Option<&'h str>; Parameter::COUNT];

/// Determines the channel and role that an upgrade requests. If `asked` is `None`, the request is a device's poll.
/// `path` is the signed path.
pub(crate) fn target(
    settings: &Settings,
    head: &Head<'_>,
    path: &str,
    asked: Option<&Upgrade<'_>>,
    found: &UpgradeParameters<'_>,
) -> Result<(UpgradeTarget, Asks), Refusal> {
    let value = |of: Parameter| found.get(of as usize).copied().flatten();
    let (arn, client_id) = (value(Parameter::ChannelArn), value(Parameter::ClientId));
    let of_endpoint = role_of_host(settings, head.host().unwrap_or_default());
    let of_endpoint = of_endpoint.or_else(|| role_of_path(path));
    let target = parameters(settings, of_endpoint, arn, client_id);
    let target = target.and_then(|target| Ok((asks(settings, head, asked, &target)?, target)));
    let (asks, target) =
        target.map_err(|refusal| refusal.by_policy(arn.is_none().then(|| names_seen(head))))?;
    Ok((target, asks))
}

/// Refuses an upgrade that the caller's policies deny. If the decision depends on facts that only the shard that owns
/// the channel knows, leaves it to that shard.
pub(crate) fn permitted(cx: &mut Context, admission: &mut Admission) -> Result<(), Refusal> {
    let (caller, client_id) = (&admission.caller, admission.client_id.as_deref());
    let mut may = |client_id: Option<&str>| {
        let question = PolicyQuestion {
            client_id,
            resource_tags: ResourceTags::Elsewhere,
            ..PolicyQuestion::new(action_of(client_id), admission.arn.as_str())
        };
        let ruling = caller.decide(&question);
        cx.telemetry.count_policy_steps(ruling.steps);
        ruling
    };
    let ruling = may(client_id);
    let sees = caller.sees(&admission.arn);
    if ruling.denied.is_some() {
        // Only the shard that owns the channel knows whether the client is a master, or a viewer without its client id.
        // That shard evaluates the policies again.
        let may_be_master = admission.role_by == RoleBy::LastRequest && may(None).denied.is_none();
        let may_be_viewer = admission.may_lack_client_id() && sees;
        if !may_be_master
            && !may_be_viewer
            && let Some(denial) = denial_of(admission, &ruling)
        {
            return Err(denial);
        }
        admission.role_by = RoleBy::LastRequest;
    }
    if !sees {
        return Err(absent(Check::AccountHidden));
    }
    Ok(())
}

/// Returns the refusal of an upgrade if `ruling` denies it.
pub(crate) fn denial_of(admission: &Admission, ruling: &Ruling) -> Option<Refusal> {
    let (check, action) = (ruling.denied?, action_of(admission.client_id.as_deref()));
    let message = admission.caller.denial(action, admission.arn.as_str());
    let refusal = Refusal::new(check, ErrorKind::AccessDenied, message);
    Some(refusal.by_policy(admission.ground_of(ruling)))
}

/// Returns the values of the query parameters that the protocol defines. Refuses requests with duplicate parameters,
/// because two parsers might disagree about which value applies.
pub(crate) fn single<'h>(head: &Head<'h>) -> Result<UpgradeParameters<'h>, Refusal> {
    let mut found = [const { None::<(Cow<'_, str>, &str)> }; Parameter::COUNT];
    for (name, value) in pairs(head.query().unwrap_or_default()) {
        // Decoded in the same way as for the signature, since `X-Amz%2DClientId` is the same parameter.
        let name = decode(name).map_err(|_| {
            let message = "A query parameter's name is not percent-encoded UTF-8.";
            Refusal::invalid(Check::QueryMalformed, message)
        })?;
        let known = Parameter::of(name.as_bytes());
        let Some(slot) = known.and_then(|known| found.get_mut(known as usize)) else {
            continue;
        };
        if let Some((first, _)) = slot {
            let refusal =
                Refusal::invalid(Check::ParameterTwice, "A query parameter was given twice.");
            let seen = format!("the query has {first} and {name}");
            return Err(refusal.by_policy(Some(seen.into())));
        }
        *slot = Some((name, value));
    }
    Ok(found.map(|it| it.map(|(_, value)| value)))
}

/// Returns whether a request asks for a WebSocket or is a device's poll.
fn asks(
    settings: &Settings,
    head: &Head<'_>,
    asked: Option<&Upgrade<'_>>,
    (_, client_id, _): &UpgradeTarget,
) -> Result<Asks, Refusal> {
    if let Some(asked) = asked {
        return Ok(Asks::WebSocket {
            accept: codec::ws::accept_key(asked.key),
            // If the request names no client program, `Directory::complete` later uses the caller's program, or the
            // settings row that matches all clients.
            program: (head.header("user-agent").filter(|agent| !agent.is_empty()))
                .map(|agent| settings.program(Some(agent)))
                .unwrap_or_default()
                .offering_wss(asked.offers_wss),
        });
    }
    let invalid = |message| Refusal::invalid(Check::ArgumentInvalid, message);
    if client_id.is_some() {
        return Err(invalid(AS_VIEWER));
    }
    if head.header("authorization").is_none() && names(head, Parameter::Signature) {
        return Err(invalid(PRESIGNED));
    }
    let waits = pairs(head.query().unwrap_or_default()).filter(|(name, _)| *name == "wait");
    let mut seconds = WAKE_WAIT_S_DEFAULT;
    for (place, (_, value)) in waits.enumerate() {
        let value = value.parse().ok().filter(|_| place == 0);
        let value = value.filter(|value| WAKE_WAIT_S.contains(value));
        seconds = value.ok_or_else(|| invalid(WAIT))?;
    }
    Ok(Asks::Wake {
        wait_ms: seconds * 1000,
        close: ends_with(head),
    })
}

/// Returns whether the query contains this protocol parameter.
pub(crate) fn names(head: &Head<'_>, parameter: Parameter) -> bool {
    let mut all = pairs(head.query().unwrap_or_default());
    all.any(|(name, _)| Parameter::of(name.as_bytes()) == Some(parameter))
}

/// Lists a query's parameter names, so that operators can see why the query does not name a channel. Omits long names,
/// which may be secrets.
fn names_seen(head: &Head<'_>) -> Box<str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let all = pairs(head.query().unwrap_or_default()).map(|(name, _)| name);
    let short = all.filter(|name| name.len() <= NAME_BYTES_SHOWN && name.bytes().all(is_word));
    let names: Vec<_> = short.take(NAMES_SHOWN).collect();
    if names.is_empty() {
        return "the query has no parameter".into();
    }
    format!("the query has {}", names.join(", ")).into()
}

/// Returns the policy action that a connection requires.
pub(crate) const fn action_of(client_id: Option<&str>) -> Action {
    match client_id {
        Some(_) => Action::ConnectAsViewer,
        None => Action::ConnectAsMaster,
    }
}

/// The channel, the viewer's client id, and how the client's role was determined.
type UpgradeTarget = (ChannelArn, Option<Box<str>>, RoleBy);

/// Returns the channel and client id that an upgrade specifies, or an error. `of_endpoint` is the role implied by the
/// signed host and path.
fn parameters(
    settings: &Settings,
    of_endpoint: Option<Role>,
    arn: Option<&str>,
    client_id: Option<&str>,
) -> Result<UpgradeTarget, Refusal> {
    let malformed = |message| Refusal::invalid(Check::ArnMalformed, message);
    let arn = arn.ok_or_else(|| malformed("X-Amz-ChannelARN is required."))?;
    let undecoded = "X-Amz-ChannelARN is not percent-encoded UTF-8.";
    let arn = decode(arn).map_err(|_| malformed(undecoded))?;
    if arn.contains("%3A") || arn.contains("%3a") {
        return Err(Refusal::invalid(Check::QueryMalformed, ENCODED_TWICE));
    }
    let arn =
        ChannelArn::parse(&arn, settings.strict()).map_err(|error| malformed(error.message()))?;
    let client_id = match of_endpoint {
        Some(Role::Master) => None,
        Some(Role::Viewer) => Some(client_id.ok_or_else(no_client_id)?),
        None => client_id,
    };
    let client_id = client_id.map(viewer_id).transpose();
    let client_id =
        client_id.map_err(|message| Refusal::invalid(Check::ClientIdMalformed, message))?;
    let role_by = match (of_endpoint, client_id.as_deref()) {
        (Some(_), _) => RoleBy::Endpoint,
        (None, Some(MASTER_ID)) => RoleBy::LastRequest,
        (None, _) => RoleBy::ClientId,
    };
    Ok((arn, client_id, role_by))
}

/// A client id that both masters and viewers may send. If neither the host nor the path implies a role, the client gets
/// the role of the endpoint that the caller last requested.
const MASTER_ID: &str = "MASTER";

/// Returns the role implied by the host name: in the advertised domain, a name that starts with `m-` or `v-` (CON-2).
fn role_of_host(settings: &Settings, host: &str) -> Option<Role> {
    let domain = settings.advertise.domain.as_deref()?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let label = name.get(..name.len().checked_sub(domain.len() + 1)?)?;
    let rest = name.get(label.len() + 1..)?;
    let hex = label.get(2..)?;
    if !rest.eq_ignore_ascii_case(domain)
        || hex.len() != 8
        || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return None;
    }
    match label.get(..2)? {
        "m-" | "M-" => Some(Role::Master),
        "v-" | "V-" => Some(Role::Viewer),
        _ => None,
    }
}

/// Refuses a well-formed upgrade. If the caller's policies denied it, writes an audit entry.
pub(crate) fn refuse_upgrade(
    shard: &mut State,
    evidence: &Evidence<'_>,
    admission: &Admission,
    refusal: &Refusal,
) {
    let (sockets, _, cx, _) = shard.parts();
    if !refusal.is_denial() {
        return refuse(shard, evidence, refusal);
    }
    let purpose = evidence.purpose;
    let id = cx.telemetry.refusal_id(refusal, purpose, cx.at.wall);
    let action = action_of(admission.client_id.as_deref()).name();
    if let Some(mut audit) = sockets.audit_of(evidence.key, &id, &admission.caller, action) {
        audit.channel_arn = Some(admission.arn.as_str().into());
        audit.outcome = refusal.error_type(purpose);
        cx.telemetry.journal().denied(cx.at.now, audit);
    }
    let id = Some(&*id);
    refuse(shard, &Evidence { id, ..*evidence }, refusal);
}

/// Decodes a viewer's percent-encoded client id.
pub(crate) fn viewer_id(text: &str) -> Result<Box<str>, &'static str> {
    let text = decode(text).map_err(|_| CLIENT_ID)?;
    let id = ClientId::parse(&text).map_err(|_| CLIENT_ID)?;
    if id.is_reserved() {
        return Err("X-Amz-ClientId must not begin with AWS_.");
    }
    Ok(id.as_str().into())
}

/// Returns the error for a viewer without a client id.
pub(crate) fn no_client_id() -> Refusal {
    let message = "X-Amz-ClientId is required at the endpoint of viewers: 1 to 256 characters of [a-zA-Z0-9_.-].";
    Refusal::invalid(Check::RoleHostMismatch, message)
}

/// Maximum number of parameter names to log, and maximum length of a name in bytes. Longer names may be tokens.
const NAMES_SHOWN: usize = 16;
const NAME_BYTES_SHOWN: usize = 24;

const ENCODED_TWICE: &str =
    "X-Amz-ChannelARN is percent-encoded twice: values of the query must be encoded once.";
const AS_VIEWER: &str = "X-Amz-ClientId is not allowed: the device itself asks.";
const PRESIGNED: &str = "The signature must be in the header Authorization.";
const WAIT: &str = "wait must be given once, as 30 to 600 seconds.";
const CLIENT_ID: &str = "X-Amz-ClientId must be 1 to 256 characters of [a-zA-Z0-9_.-].";
