//! Parses and validates fault rules, and lists the permitted values. Errors state the key and its permitted values.

use crate::side::dev::request::{Body, one_of};
use crate::terminal::nearest;
use broker_core::shard::{
    Chance, Corruption, DeliveryAct, FaultAct, FaultCounts, FaultError, FaultMatch, FaultRule,
    Glob, MessageAct, RequestAct, SessionAct,
};
use codec::signal::{Action, Role};
use codec::{control::Operation, identifiers::ClientId};
use serde_json::{Value, json};
use strum::{EnumString, VariantNames};

/// Parses a fault rule from a request body. If the rule is invalid, returns an error message for the client.
pub(crate) fn parse(mut body: Body) -> Result<FaultRule, String> {
    let on = body
        .text("on", on)?
        .ok_or_else(|| format!("on: missing; {}", one_of("", On::VARIANTS.iter().copied())))?;
    let matches = matches(on, body.object("match")?)?;
    let act = act(on, &mut body)?;
    let rule = FaultRule {
        number: 0, // assigned when the fault is added to the list
        matches,
        act,
        skip: body.number("skip", 0..=TIMES_MAX)?.unwrap_or_default(),
        times: times(&mut body)?,
        chance: chance(&mut body)?,
        lasts_ms: body.span("for", 1..=LASTS_MS_MAX)?,
        counts: FaultCounts::default(),
    };
    body.end("on, match, do, skip, times, for, probability, seed")?;
    Ok(rule)
}

fn on(text: &str) -> Result<On, String> {
    text.parse()
        .map_err(|_| one_of(text, On::VARIANTS.iter().copied()))
}

/// Returns the value with this name. If there is none, returns an error message that lists the names.
fn named<T>(text: &str, values: impl IntoIterator<Item = (&'static str, T)>) -> Result<T, String> {
    let mut values: Vec<_> = values.into_iter().collect();
    match values.iter().position(|(name, _)| *name == text) {
        Some(place) => Ok(values.swap_remove(place).1),
        None => Err(one_of(text, values.iter().map(|(name, _)| *name))),
    }
}

fn matches(on: On, mut body: Body) -> Result<FaultMatch, String> {
    let found = FaultMatch {
        channel: body.text("channel", glob)?,
        role: body.text("role", role)?,
        client_id: body.text("clientId", glob)?,
        operation: body.text("operation", |text| {
            named(text, Operation::ALL.iter().map(|it| (it.name(), *it)))
        })?,
        action: body.text("action", action)?,
    };
    let named = [
        ("role", found.role.is_some()),
        ("clientId", found.client_id.is_some()),
        ("operation", found.operation.is_some()),
        ("action", found.action.is_some()),
    ];
    let keys = on.keys();
    let unused = |(key, is_named): &&(&str, bool)| *is_named && !keys.contains(key);
    if let Some((key, _)) = named.iter().find(unused) {
        let allowed = one_of("", keys.iter().copied());
        return Err(format!("match.{key}: not with this \"on\"; {allowed}"));
    }
    body.end("channel, role, clientId, operation, action")?;
    Ok(found)
}

fn glob(text: &str) -> Result<Glob, String> {
    let rule = "expected 1 to 256 characters; * is any text, ? any one character";
    checked(text, (1..=256).contains(&text.len()), rule).map(|text| Glob::new(&text))
}

/// Parses a role. If the role is unknown, returns an error message that lists the valid roles.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    named(text, ROLES)
}

/// Parses a message action. If the action is unknown, returns an error message that lists the valid actions.
pub(crate) fn action(text: &str) -> Result<Action, String> {
    named(text, Action::ALL.map(|it| (it.as_str(), it)))
}

/// Parses a fault's `do`. Its value is either the name of an action, or an object with a single key that maps the
/// action's name to its parameters.
fn act(on: On, body: &mut Body) -> Result<FaultAct, String> {
    let names = on.acts();
    let acts = names.join(", ");
    let (name, mut how) = body.choice("do", &acts)?;
    let act = match on {
        On::Connect => request_act(&name, &mut how)?.map(FaultAct::Connect),
        On::Api => request_act(&name, &mut how)?.map(FaultAct::Api),
        On::Message => message_act(&name, &mut how)?.map(FaultAct::Message),
        On::Delivery => delivery_act(&name, &mut how)?.map(FaultAct::Delivery),
        On::Session => session_act(&name, &mut how)?.map(FaultAct::Session),
    };
    let Some(act) = act else {
        let nearest = nearest(&name, &on.acts());
        let text = format!("do.{name}: not with this \"on\"; expected {acts}{nearest}");
        return Err(text);
    };
    how.end(entry(&name).map_or("no keys", |(_, keys, _)| keys))?;
    Ok(act)
}

fn request_act(name: &str, how: &mut Body) -> Result<Option<RequestAct>, String> {
    Ok(Some(match name {
        "refuse" => refusal(how)?,
        "throttle" => {
            let message = how.text("message", line)?;
            RequestAct::Refuse {
                error: error("ClientLimitExceededException")?,
                status: None,
                message: message.unwrap_or_else(|| "Rate exceeded.".into()),
            }
        }
        "delay" => RequestAct::Delay(delay(how)?),
        "hang" => RequestAct::Hang,
        "reset" => RequestAct::Reset,
        _ => return Ok(None),
    }))
}

fn refusal(how: &mut Body) -> Result<RequestAct, String> {
    let given = how.text("error", error)?;
    let status = how.number("status", 400..=599)?;
    let status = status.and_then(|status| u16::try_from(status).ok());
    let error = match (given, status) {
        (Some(given), _) => given,
        (None, Some(500..)) => error("InternalFailure")?,
        (None, Some(403)) => error("AccessDeniedException")?,
        (None, Some(404)) => error("ResourceNotFoundException")?,
        (None, Some(_)) => error("InvalidArgumentException")?,
        (None, None) => return Err("do.refuse: expected error, status, or both".into()),
    };
    let message = how.text("message", line)?;
    Ok(RequestAct::Refuse {
        error,
        status,
        message: message.unwrap_or_else(|| "A test had this request refused.".into()),
    })
}

fn error(name: &str) -> Result<&'static FaultError, String> {
    FaultError::named(name).ok_or_else(|| one_of(name, FaultError::names()))
}

fn message_act(name: &str, how: &mut Body) -> Result<Option<MessageAct>, String> {
    Ok(Some(match name {
        "drop" => MessageAct::Drop,
        "delay" => MessageAct::Delay(delay(how)?),
        "expire" => MessageAct::Expire,
        "status" => {
            let code = how.number("statusCode", 100..=599)?.unwrap_or(400);
            let description = how.text("description", line)?;
            MessageAct::Status {
                error_type: how
                    .text("errorType", word)?
                    .unwrap_or_else(|| "InternalFailure".into()),
                status_code: u16::try_from(code).unwrap_or(400),
                description: description
                    .unwrap_or_else(|| "A test had this message refused.".into()),
            }
        }
        "misdirect" => {
            let viewer = how.text("", viewer)?;
            MessageAct::Misdirect(viewer.ok_or("do.misdirect: missing; expected a client id")?)
        }
        _ => return Ok(session_act(name, how)?.map(MessageAct::Session)),
    }))
}

fn delivery_act(name: &str, how: &mut Body) -> Result<Option<DeliveryAct>, String> {
    Ok(Some(match name {
        "drop" => DeliveryAct::Drop,
        "delay" => DeliveryAct::Delay(delay(how)?),
        "duplicate" => DeliveryAct::Duplicate,
        "reorder" => DeliveryAct::Reorder,
        "corrupt" => {
            let part = how.text("", |text| named(text, CORRUPTIONS))?;
            DeliveryAct::Corrupt(part.unwrap_or(Corruption::Payload))
        }
        _ => return Ok(session_act(name, how)?.map(DeliveryAct::Session)),
    }))
}

fn session_act(name: &str, how: &mut Body) -> Result<Option<SessionAct>, String> {
    Ok(Some(match name {
        "goAway" => SessionAct::GoAway {
            grace_ms: how.span("grace", 0..=DELAY_MS_MAX)?.unwrap_or(GRACE_MS),
        },
        "close" => SessionAct::Close {
            code: close_code(how)?,
            reason: how.text("reason", reason)?.unwrap_or_default(),
            after_ms: how.span("after", 0..=DELAY_MS_MAX)?.unwrap_or_default(),
        },
        "stall" => SessionAct::Stall(how.span("for", 1..=DELAY_MS_MAX)?),
        "halfOpen" => SessionAct::HalfOpen(how.span("for", 1..=DELAY_MS_MAX)?),
        "reconnectIce" => SessionAct::ReconnectIce,
        "send" => how
            .text("", |text| named(text, [("empty", SessionAct::SendEmpty)]))?
            .ok_or("do.send: missing; expected \"empty\"")?,
        "reset" => SessionAct::Reset,
        _ => return Ok(None),
    }))
}

fn delay(how: &mut Body) -> Result<u64, String> {
    let ms = how.span("", 1..=DELAY_MS_MAX)?;
    ms.ok_or_else(|| "do.delay: expected a duration from \"1ms\" to \"10m\"".into())
}

fn close_code(how: &mut Body) -> Result<u16, String> {
    let code = how.number("code", 1000..=4999)?.unwrap_or(1001);
    // Close frames must not carry the excluded codes (RFC 6455, section 7.4).
    let sendable = |code: &u16| !matches!(code, 1004..=1006 | 1015..=2999);
    let code = u16::try_from(code).ok().filter(sendable);
    code.ok_or_else(|| CODES.into())
}

const CODES: &str = "do.close.code: expected 1000 to 1003, 1007 to 1014, 3000 to 4999; clients report 1006 for an end \
                     without a close frame, which is \"reset\"";

fn viewer(text: &str) -> Result<Box<str>, String> {
    let id = ClientId::parse(text).map(|id| id.as_str().into());
    id.map_err(|_| "must be a client id: 1 to 256 letters, digits, \"_\", \".\" or \"-\"".into())
}

/// Returns the text if it fits, and otherwise the rule that it breaks.
fn checked(text: &str, fits: bool, rule: &str) -> Result<Box<str>, String> {
    fits.then(|| text.into()).ok_or_else(|| rule.into())
}

/// Parses the reason of a close frame, which is at most 123 bytes long.
fn reason(text: &str) -> Result<Box<str>, String> {
    checked(text, text.len() <= 123, "expected 0 to 123 bytes")
}

/// Parses a string of 1 to 1,024 characters, none of which needs escaping in JSON.
fn line(text: &str) -> Result<Box<str>, String> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    let fits = (1..=1024).contains(&text.len()) && text.bytes().all(plain);
    let rule = "expected 1 to 1024 characters of ASCII without quotes and backslashes";
    checked(text, fits, rule)
}

fn word(text: &str) -> Result<Box<str>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let fits = (1..=256).contains(&text.len()) && text.bytes().all(plain);
    checked(text, fits, "expected 1 to 256 letters and digits")
}

/// Parses the number of matches on which a fault acts. The default is one.
fn times(body: &mut Body) -> Result<Option<u64>, String> {
    let rule = "expected 1 to 1000000, or \"always\"";
    match body.take("times") {
        None => Ok(Some(1)),
        Some(Value::String(text)) if text == "always" => Ok(None),
        Some(value) => {
            let times = value.as_u64().filter(|it| (1..=TIMES_MAX).contains(it));
            let times = times.ok_or_else(|| body.fault("times", &value, rule))?;
            Ok(Some(times))
        }
    }
}

fn chance(body: &mut Body) -> Result<Option<Chance>, String> {
    let seed = body.number("seed", 0..=u64::MAX)?;
    match (body.take("probability"), seed) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err("seed: needs probability".into()),
        (Some(_), None) => Err("probability: needs seed, so that runs are alike".into()),
        (Some(value), Some(seed)) => {
            let part = value.as_f64().filter(|part| *part > 0.0 && *part <= 1.0);
            let rule = "must be a number above 0 and up to 1";
            let part = part.ok_or_else(|| body.fault("probability", &value, rule))?;
            Ok(Some(Chance::new(seed, part)))
        }
    }
}

/// Maximum number of matches that a fault may act on or skip.
const TIMES_MAX: u64 = 1_000_000;

/// Maximum delay caused by a fault, in milliseconds (10 minutes).
const DELAY_MS_MAX: u64 = 600_000;

/// Maximum duration of a fault that has a time limit, in milliseconds (one day).
const LASTS_MS_MAX: u64 = 86_400_000;

/// Default time that a client has to disconnect after GO_AWAY, in milliseconds.
const GRACE_MS: u64 = 5000;

// The values permitted in a fault rule. Used by the parser, in its error messages, and by `GET /dev/faults/allowed`.

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
enum On {
    Connect,
    Api,
    Message,
    Delivery,
    Session,
}

impl On {
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Api => &["channel", "operation"],
            Self::Connect | Self::Session => &["channel", "role", "clientId"],
            Self::Message | Self::Delivery => &["channel", "role", "clientId", "action"],
        }
    }

    /// Returns the actions permitted in a fault's `do`. For messages and deliveries, these include the actions on the
    /// sender's or recipient's session.
    pub(crate) fn acts(self) -> Vec<&'static str> {
        let (own, session) = match self {
            Self::Connect | Self::Api => (
                &["refuse", "throttle", "delay", "hang", "reset"][..],
                &[][..],
            ),
            Self::Message => (
                &["drop", "delay", "status", "expire", "misdirect"][..],
                SESSION,
            ),
            Self::Delivery => (
                &["drop", "delay", "duplicate", "reorder", "corrupt"][..],
                SESSION,
            ),
            Self::Session => (&[][..], SESSION),
        };
        [own, session].concat()
    }
}

const SESSION: &[&str] = &[
    "goAway",
    "close",
    "reset",
    "stall",
    "halfOpen",
    "reconnectIce",
    "send",
];

/// The fault actions that take parameters. Each entry contains the name of the action, its permitted keys (or its
/// permitted value, if that is not an object), and an example in JSON.
const ACTS: &[(&str, &str, &str)] = &[
    (
        "refuse",
        "error, status, message",
        r#"{ "error": "AccessDeniedException" }"#,
    ),
    ("throttle", "message", "{}"),
    ("delay", "a duration in place of an object", r#""3s""#),
    ("corrupt", "a part in place of an object", r#""payload""#),
    (
        "misdirect",
        "a client id in place of an object",
        r#""phone-2""#,
    ),
    ("send", "what is sent in place of an object", r#""empty""#),
    (
        "status",
        "errorType, statusCode, description",
        r#"{ "errorType": "InternalFailure", "statusCode": 500 }"#,
    ),
    ("goAway", "grace", r#"{ "grace": "5s" }"#),
    (
        "close",
        "code, reason, after",
        r#"{ "code": 1001, "after": "2s" }"#,
    ),
    ("stall", "for", r#"{ "for": "30s" }"#),
    ("halfOpen", "for", r#"{ "for": "30s" }"#),
];

fn entry(act: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    ACTS.iter().find(|(name, ..)| *name == act)
}

/// Returns the response to `GET /dev/faults/allowed`. Each value of `do` in the response can be copied verbatim into a
/// fault rule.
pub(crate) fn document() -> Value {
    let on = On::VARIANTS.iter().filter_map(|name| {
        let on: On = name.parse().ok()?;
        let acts: Vec<Value> = on.acts().iter().map(|act| example(act)).collect();
        Some(json!({ "name": name, "match": on.keys(), "do": acts }))
    });
    let on: Vec<Value> = on.collect();
    json!({
        "on": on,
        "role": ROLES.map(|(name, _)| name),
        "operation": Operation::ALL.iter().map(|it| it.name()).collect::<Vec<_>>(),
        "action": Action::ALL.map(Action::as_str),
        "corrupt": CORRUPTIONS.map(|(name, _)| name),
        "error": FaultError::names().collect::<Vec<_>>(),
    })
}

/// Returns a fault action with example parameters, or only its name if it has no parameters.
fn example(act: &str) -> Value {
    let how = entry(act).and_then(|(.., how)| serde_json::from_str(how).ok());
    how.map_or_else(|| act.into(), |how: Value| json!({ act: how }))
}

const CORRUPTIONS: [(&str, Corruption); 3] = [
    ("payload", Corruption::Payload),
    ("base64", Corruption::Base64),
    ("message", Corruption::Message),
];

pub(crate) const ROLES: [(&str, Role); 2] = [("master", Role::Master), ("viewer", Role::Viewer)];

#[cfg(test)]
mod tests;
