//! The request of an upgrade: its parameters, its caller, and what is refused by the request alone, on the shard that
//! accepted the connection. See codec/PROTOCOL.md, CON.
//!
//! The order of refusals is that of the protocol's table; what needs the channel is decided by its home, see
//! `connect/admission.rs`.

use crate::auth::{Caller, PolicyQuestion, ResourceTags, Unsigned};
use crate::event::{Purpose, UpgradeRole};
use crate::limits::{WAKE_WAIT_S, WAKE_WAIT_S_DEFAULT};
use crate::session::http::{Admission, Asks, RoleBy};
use crate::settings::value::role_of_path;
use crate::shard::calls::responses::{self, Rejected, absent};
use crate::shard::connect::ends_with;
use crate::shard::context::Context;
use crate::shard::telemetry::Evidence;
use crate::shard::{Gate, Sockets};
use crate::{check::Check, id::SessionKey, machine::Peer, settings::Settings, shard::Fault};
use codec::http::{Head, Upgrade, decode, pairs};
use codec::identifiers::{ChannelArn, ClientId};
use codec::signal::Role;
use codec::sigv4::Parameter;
use codec::{control::ErrorKind, policy::Action};
use std::borrow::Cow;

/// Why an upgrade is refused by the shard that accepted its connection.
pub(crate) enum UpgradeRefusal {
    /// Its signature.
    Unsigned(Unsigned),
    /// Its parameters, or its channel cannot exist. With the caller, if it is known.
    Refused(Box<Fault>, Option<Caller>),
    /// The policy of this caller, who asked for that channel: the check that was not passed, and what refused it.
    Denied(Caller, Action, ChannelArn, Box<(Check, Option<Box<str>>)>),
}

/// Reads what an upgrade asks for, or a device: `asked` is `None`.
///
/// Refuses in the order of the protocol: a parameter given twice, the signature, the parameters, the policy; then what
/// cannot exist for this caller.
pub(crate) fn admission(
    settings: &Settings,
    cx: &mut Context,
    gate: &mut Gate,
    (head, peer): (&Head<'_>, Peer),
    asked: Option<&Upgrade<'_>>,
) -> Result<Admission, UpgradeRefusal> {
    let found = single(head).map_err(|fault| UpgradeRefusal::Refused(Box::new(fault), None))?;
    let signed = gate.authenticate_upgrade(head, peer, cx.at);
    let (caller, path) = signed.map_err(UpgradeRefusal::Unsigned)?;
    let value = |of: Parameter| found.get(of as usize).copied().flatten();
    let (arn, client_id) = (value(Parameter::ChannelArn), value(Parameter::ClientId));
    let of_endpoint = role_of_host(settings, head.host().unwrap_or_default());
    let of_endpoint = of_endpoint.or_else(|| role_of_path(path));
    let target = parameters(settings, of_endpoint, arn, client_id);
    let target = target.and_then(|target| Ok((asks(settings, head, asked, &target)?, target)));
    let (asks, (arn, client_id, role_by)) = match target {
        Ok(asked) => asked,
        Err((check, message)) => {
            let seen = arn.is_none().then(|| names_seen(head));
            let fault = Fault::new(check, ErrorKind::InvalidArgument, message).by_policy(seen);
            return Err(UpgradeRefusal::Refused(Box::new(fault), Some(caller)));
        }
    };
    let admission = Admission {
        arn,
        client_id,
        role_by,
        caller,
        asks,
    };
    permitted(cx, admission)
}

/// Refuses an upgrade by its caller's policies, as far as they can be asked here.
fn permitted(cx: &mut Context, mut admission: Admission) -> Result<Admission, UpgradeRefusal> {
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
    if let Some(check) = ruling.denied {
        // Whether it is a master, and whether it is a viewer that lacks its client id, the channel's home knows. That
        // asks again.
        let may_be_master = admission.role_by == RoleBy::LastRequest && may(None).denied.is_none();
        let may_be_viewer = admission.may_lack_client_id() && sees;
        if !may_be_master && !may_be_viewer {
            let rests_on = Box::new((check, admission.ground_of(&ruling)));
            let action = action_of(client_id);
            let Admission { caller, arn, .. } = admission;
            return Err(UpgradeRefusal::Denied(caller, action, arn, rests_on));
        }
        admission.role_by = RoleBy::LastRequest;
    }
    if !sees {
        let fault = Box::new(absent(Check::AccountHidden));
        return Err(UpgradeRefusal::Refused(fault, Some(admission.caller)));
    }
    Ok(admission)
}

/// The values of the protocol's parameters, undecoded, by their numbers. A second one of a name is refused, since two
/// readers might disagree about which counts.
fn single<'h>(head: &Head<'h>) -> Result<[Option<&'h str>; Parameter::COUNT], Fault> {
    let invalid = |check, message| Fault::new(check, ErrorKind::InvalidArgument, message);
    let mut found = [const { None::<(Cow<'_, str>, &str)> }; Parameter::COUNT];
    for (name, value) in pairs(head.query().unwrap_or_default()) {
        // As the signature reads them: `X-Amz%2DClientId` is that parameter too.
        let name = decode(name).map_err(|_| {
            let message = "A query parameter's name is not percent-encoded UTF-8.";
            invalid(Check::QueryMalformed, message)
        })?;
        let known = Parameter::of(name.as_bytes());
        let Some(slot) = known.and_then(|known| found.get_mut(known as usize)) else {
            continue;
        };
        if let Some((first, _)) = slot {
            let fault = invalid(Check::ParameterTwice, "A query parameter was given twice.");
            return Err(fault.by_policy(Some(format!("the query has {first} and {name}").into())));
        }
        *slot = Some((name, value));
    }
    Ok(found.map(|it| it.map(|(_, value)| value)))
}

/// The thing that an upgrade asks for, or a device.
fn asks(
    settings: &Settings,
    head: &Head<'_>,
    asked: Option<&Upgrade<'_>>,
    (_, client_id, _): &UpgradeTarget,
) -> Result<Asks, (Check, &'static str)> {
    if let Some(asked) = asked {
        return Ok(Asks::WebSocket {
            accept: codec::ws::accept_key(asked.key),
            // The program of one that does not name it is known of its caller, or by a row for all.
            program: (head.header("user-agent").filter(|agent| !agent.is_empty()))
                .map(|agent| settings.program(Some(agent)))
                .unwrap_or_default()
                .offering_wss(asked.offers_wss),
        });
    }
    if client_id.is_some() {
        return Err((Check::ArgumentInvalid, AS_VIEWER));
    }
    if head.header("authorization").is_none() && names(head, Parameter::Signature) {
        return Err((Check::ArgumentInvalid, PRESIGNED));
    }
    let waits = pairs(head.query().unwrap_or_default()).filter(|(name, _)| *name == "wait");
    let mut seconds = WAKE_WAIT_S_DEFAULT;
    for (place, (_, value)) in waits.enumerate() {
        let value = value.parse().ok().filter(|_| place == 0);
        let value = value.filter(|value| WAKE_WAIT_S.contains(value));
        seconds = value.ok_or((Check::ArgumentInvalid, WAIT))?;
    }
    Ok(Asks::Wake {
        wait_ms: seconds * 1000,
        close: ends_with(head),
    })
}

/// Whether the query has this parameter of the protocol.
pub(crate) fn names(head: &Head<'_>, parameter: Parameter) -> bool {
    let mut all = pairs(head.query().unwrap_or_default());
    all.any(|(name, _)| Parameter::of(name.as_bytes()) == Some(parameter))
}

/// The names in a query that names no channel, for operators. What is long may be a secret.
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

/// The action of a connection.
pub(crate) const fn action_of(client_id: Option<&str>) -> Action {
    match client_id {
        Some(_) => Action::ConnectAsViewer,
        None => Action::ConnectAsMaster,
    }
}

/// A channel, the client id of a viewer, and what says that it is one.
type UpgradeTarget = (ChannelArn, Option<Box<str>>, RoleBy);

/// The channel and client id that an upgrade names, or its fault. `of_endpoint`: the role of the signed host and path.
fn parameters(
    settings: &Settings,
    of_endpoint: Option<Role>,
    arn: Option<&str>,
    client_id: Option<&str>,
) -> Result<UpgradeTarget, (Check, &'static str)> {
    let malformed = |message| (Check::ArnMalformed, message);
    let arn = arn.ok_or_else(|| malformed("X-Amz-ChannelARN is required."))?;
    let undecoded = malformed("X-Amz-ChannelARN is not percent-encoded UTF-8.");
    let arn = decode(arn).map_err(|_| undecoded)?;
    if arn.contains("%3A") || arn.contains("%3a") {
        return Err((Check::QueryMalformed, ENCODED_TWICE));
    }
    let arn =
        ChannelArn::parse(&arn, settings.strict()).map_err(|error| malformed(error.message()))?;
    let client_id = match of_endpoint {
        Some(Role::Master) => None,
        Some(Role::Viewer) => Some(client_id.ok_or((Check::RoleHostMismatch, NO_CLIENT_ID))?),
        None => client_id,
    };
    let client_id = client_id.map(viewer_id).transpose();
    let client_id = client_id.map_err(|message| (Check::ClientIdMalformed, message))?;
    let role_by = match (of_endpoint, client_id.as_deref()) {
        (Some(_), _) => RoleBy::Endpoint,
        (None, Some(MASTER_ID)) => RoleBy::LastRequest,
        (None, _) => RoleBy::ClientId,
    };
    Ok((arn, client_id, role_by))
}

/// The client id by which a master may call itself, where its endpoint says that it is one.
const MASTER_ID: &str = "MASTER";

/// The role of a host name of ours: `m-` and `v-` below the advertised domain (CON-2).
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

/// Answers an upgrade that is refused, and ends the connection. `evidence`: of its head, with what its signature was
/// compared with if that is why.
pub(crate) fn refuse_upgrade(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    purpose: Purpose,
    (evidence, refusal): (&Evidence<'_>, &UpgradeRefusal),
) {
    let of = |caller| Evidence {
        caller,
        ..*evidence
    };
    match refusal {
        UpgradeRefusal::Unsigned(unsigned) => {
            let rejected = Rejected::last(purpose, evidence);
            responses::respond_unsigned(sockets, cx, key, unsigned, rejected);
        }
        UpgradeRefusal::Refused(fault, caller) => {
            let evidence = of(caller.as_ref());
            let rejected = Rejected::last(purpose, &evidence);
            responses::respond_error(sockets, cx, key, fault, rejected);
        }
        UpgradeRefusal::Denied(caller, action, arn, rests_on) => {
            let (check, policy) = &**rests_on;
            let kind = ErrorKind::AccessDenied;
            let id = cx
                .telemetry
                .refusal_id(*check, purpose, purpose.status(kind), cx.at.wall);
            if let Some(mut audit) = sockets.audit_of(key, &id, caller, action.name()) {
                audit.channel_arn = Some(arn.as_str().into());
                audit.outcome = kind.error_type();
                cx.telemetry.journal().denied(cx.at.now, audit);
            }
            let fault = Fault::new(*check, kind, caller.denial(*action, arn.as_str()));
            let fault = fault.by_policy(policy.clone());
            let evidence = of(Some(caller));
            let rejected = Rejected::last(purpose, &evidence).audited(&id);
            responses::respond_error(sockets, cx, key, &fault, rejected);
        }
    }
}

pub(crate) fn purpose_of(admission: &Admission) -> Purpose {
    match (admission.asks, &admission.client_id) {
        (Asks::Wake { .. }, _) => Purpose::Wake,
        (Asks::WebSocket { .. }, Some(_)) => Purpose::Upgrade(UpgradeRole::Viewer),
        (Asks::WebSocket { .. }, None) => Purpose::Upgrade(UpgradeRole::Master),
    }
}

fn viewer_id(text: &str) -> Result<Box<str>, &'static str> {
    let text = decode(text).map_err(|_| CLIENT_ID)?;
    let id = ClientId::parse(&text).map_err(|_| CLIENT_ID)?;
    if id.is_reserved() {
        return Err("X-Amz-ClientId must not begin with AWS_.");
    }
    Ok(id.as_str().into())
}

/// Names of parameters that are shown, and the longest of them, in bytes: a token is longer.
const NAMES_SHOWN: usize = 16;
const NAME_BYTES_SHOWN: usize = 24;

const ENCODED_TWICE: &str =
    "X-Amz-ChannelARN is percent-encoded twice: values of the query must be encoded once.";
const AS_VIEWER: &str = "X-Amz-ClientId is not allowed: the device itself asks.";
const PRESIGNED: &str = "The signature must be in the header Authorization.";
const WAIT: &str = "wait must be given once, as 30 to 600 seconds.";
pub(crate) const NO_CLIENT_ID: &str =
    "X-Amz-ClientId is required at the endpoint of viewers: 1 to 256 characters of [a-zA-Z0-9_.-].";
const CLIENT_ID: &str = "X-Amz-ClientId must be 1 to 256 characters of [a-zA-Z0-9_.-].";
