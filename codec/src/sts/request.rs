//! Parsing a form into a typed request.

use super::error::{Error, ErrorKind, shown};
use super::form::Form;
use super::{DURATION_S_DEFAULT, DURATION_S_MAX, POLICY_CHARS_MAX, VERSION};

/// The rules by which requests are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormRules {
    /// Whether tokens live for at least 900 s, as those of AWS do. Off, 60 s are enough.
    pub strict: bool,
}

/// One request, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Makes temporary credentials with a part of the caller's rights.
    GetFederationToken {
        /// The name of the user of the credentials: 2 to 32 characters of `[a-zA-Z0-9_+=,.@-]`.
        name: Box<str>,
        /// The rights of the credentials, as far as the caller has them too: 1 to 2,048 characters of Latin-1, of a
        /// JSON text that is not parsed here. Absent, they have none.
        policy: Option<Box<str>>,
        /// The life of the credentials, in seconds: 60 (under strict rules 900) to [`DURATION_S_MAX`].
        duration_s: u32,
    },
    /// Returns who the caller is. Allowed to everyone.
    GetCallerIdentity,
}

impl Request {
    /// The request's AWS name: its metrics label.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GetFederationToken { .. } => GET_FEDERATION_TOKEN,
            Self::GetCallerIdentity => GET_CALLER_IDENTITY,
        }
    }

    /// The request's action in policies.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::GetFederationToken { .. } => "sts:GetFederationToken",
            Self::GetCallerIdentity => "sts:GetCallerIdentity",
        }
    }
}

/// Whether a `Content-Type` is that of a form. What follows the media type (a `charset`) is of no interest: forms are
/// UTF-8.
#[must_use]
pub fn is_form(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Makes a typed request of a body. The caller bounds the body (64 KiB) and has checked its signature.
///
/// # Errors
/// [`ErrorKind::InvalidQueryParameter`] when the form cannot be read or has a parameter twice, too many or one that
/// the action does not know; [`ErrorKind::MissingAction`] and [`ErrorKind::InvalidAction`];
/// [`ErrorKind::InvalidParameterValue`] when managed policies or session tags are asked for;
/// [`ErrorKind::ValidationError`] when a parameter is missing or breaks its constraints.
pub fn parse(body: &[u8], rules: &FormRules) -> Result<Request, Error> {
    let mut form = Form::parse(body)?;
    let action = form.take("Action").filter(|action| !action.is_empty());
    let action = action.ok_or_else(|| {
        let message = "The request must contain the parameter Action.";
        Error::new(ErrorKind::MissingAction, message)
    })?;
    let version = form.take("Version");
    let version = version.as_deref().unwrap_or("NO_VERSION_SPECIFIED");
    match &*action {
        GET_FEDERATION_TOKEN if version == VERSION => get_federation_token(form, rules),
        GET_CALLER_IDENTITY if version == VERSION => {
            none_left(&form)?;
            Ok(Request::GetCallerIdentity)
        }
        _ => Err(Error::new(
            ErrorKind::InvalidAction,
            format!(
                "Could not find operation {} for version {}",
                shown(&action),
                shown(version)
            ),
        )),
    }
}

fn get_federation_token(mut form: Form, rules: &FormRules) -> Result<Request, Error> {
    let (name, policy) = (form.take("Name"), form.take("Policy"));
    let duration = form.take("DurationSeconds");
    nothing_ignored(&form)?;
    Ok(Request::GetFederationToken {
        name: checked_name(name.as_deref())?,
        policy: policy.as_deref().map(checked_policy).transpose()?,
        duration_s: checked_duration(duration.as_deref(), rules)?,
    })
}

/// Refuses parameters that would change the rights of the credentials, and any that is not known. SDKs write an empty
/// list as a name with an empty value, which asks for nothing.
fn nothing_ignored(form: &Form) -> Result<(), Error> {
    for (name, value) in form.left() {
        let list = name.split('.').next().unwrap_or_default();
        let message = match list {
            "PolicyArns" | "Tags" if name == list && value.is_empty() => continue,
            "PolicyArns" => {
                "PolicyArns is not supported by this server. Give the policy itself, in Policy."
            }
            "Tags" => "Tags is not supported by this server. Leave it out.",
            _ => return Err(unknown(name)),
        };
        return Err(Error::new(ErrorKind::InvalidParameterValue, message));
    }
    Ok(())
}

fn none_left(form: &Form) -> Result<(), Error> {
    match form.left().next() {
        Some((name, _)) => Err(unknown(name)),
        None => Ok(()),
    }
}

fn unknown(name: &str) -> Error {
    let name = shown(name);
    let message = format!("Parameter {name} is not known to this action.");
    Error::new(ErrorKind::InvalidQueryParameter, message)
}

/// `Name`: 2 to 32 characters of `[\w+=,.@-]`. Source: model, shape `userNameType`.
fn checked_name(name: Option<&str>) -> Result<Box<str>, Error> {
    let Some(name) = name else {
        return Err(invalid("Value null at 'name'", "not be null"));
    };
    let length = name.chars().count();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    let broken = if length < 2 {
        "have length greater than or equal to 2"
    } else if length > 32 {
        "have length less than or equal to 32"
    } else if !name.bytes().all(legal) {
        "satisfy regular expression pattern: [\\w+=,.@-]*"
    } else {
        return Ok(name.into());
    };
    Err(invalid("Value at 'name'", broken))
}

/// `Policy`: 1 to 2,048 characters, tab, line ends and U+0020 to U+00FF. Source: model, shape
/// `sessionPolicyDocumentType`.
fn checked_policy(policy: &str) -> Result<Box<str>, Error> {
    let length = policy.chars().count();
    let legal = |char: char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    let broken = if length == 0 {
        "have length greater than or equal to 1"
    } else if length > POLICY_CHARS_MAX {
        "have length less than or equal to 2048"
    } else if !policy.chars().all(legal) {
        "satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+"
    } else {
        return Ok(policy.into());
    };
    Err(invalid("Value at 'policy'", broken))
}

/// `DurationSeconds`: decimal digits.
fn checked_duration(duration: Option<&str>, rules: &FormRules) -> Result<u32, Error> {
    let Some(text) = duration else {
        return Ok(DURATION_S_DEFAULT);
    };
    let least = if rules.strict {
        DURATION_S_MIN_STRICT
    } else {
        DURATION_S_MIN
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("Value at 'durationSeconds'", "be a whole number"));
    }
    // Digits that do not fit are too many of them.
    let seconds: u32 = text.parse().unwrap_or(u32::MAX);
    let value = format!("Value '{}' at 'durationSeconds'", shown(text));
    if seconds < least {
        let broken = format!("have value greater than or equal to {least}");
        return Err(invalid(&value, &broken));
    }
    if seconds > DURATION_S_MAX {
        let broken = format!("have value less than or equal to {DURATION_S_MAX}");
        return Err(invalid(&value, &broken));
    }
    Ok(seconds)
}

/// An error in the words of AWS's validation, which tools search for the bound. The first broken constraint is
/// reported.
fn invalid(value: &str, must: &str) -> Error {
    let message = format!(
        "1 validation error detected: {value} failed to satisfy constraint: Member must {must}"
    );
    Error::new(ErrorKind::ValidationError, message)
}

const GET_FEDERATION_TOKEN: &str = "GetFederationToken";
const GET_CALLER_IDENTITY: &str = "GetCallerIdentity";

/// The shortest life of a token, in seconds: long enough to set one up by hand.
const DURATION_S_MIN: u32 = 60;

/// The shortest life of a token under strict rules, in seconds. Source: model, shape `durationSecondsType`.
const DURATION_S_MIN_STRICT: u32 = 900;

const _: () = assert!(DURATION_S_MIN < DURATION_S_MIN_STRICT);
const _: () =
    assert!(DURATION_S_MIN_STRICT < DURATION_S_DEFAULT && DURATION_S_DEFAULT < DURATION_S_MAX);
