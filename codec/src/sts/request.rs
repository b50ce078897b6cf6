//! Parses the form bodies of requests.

use crate::sts::assume::{
    AssumeRole, AssumeRoleWithWebIdentity, assume_role, assume_role_with_web_identity,
};
use crate::sts::error::{Error, ErrorKind, shown};
use crate::sts::form::{FormParameters, NAMES, checked_duration, checked_policy, checked_text};
use crate::sts::{DURATION_S_DEFAULT, SESSION_DURATION_S_DEFAULT, VERSION};

/// Rules for validating requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormRules {
    /// Whether tokens must have a lifetime of at least 900 s, as on AWS. If not, the minimum is 60 s.
    pub strict: bool,
}

/// A validated request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A request for temporary credentials with a subset of the caller's permissions.
    GetFederationToken {
        /// User name for the credentials: 2 to 32 characters of `[a-zA-Z0-9_+=,.@-]`.
        name: Box<str>,
        /// Policy that restricts the credentials to a subset of the caller's permissions: 1 to 2,048 characters of
        /// Latin-1 JSON. Not parsed here.
        policy: Option<Box<str>>,
        /// Lifetime of the credentials in seconds: from 60 (900 under the strict rules) to [`DURATION_S_MAX`].
        duration_s: u32,
    },
    /// A request for temporary credentials with all permissions of the caller.
    GetSessionToken {
        /// Lifetime of the credentials in seconds. The limits are the same as for GetFederationToken.
        duration_s: u32,
    },
    /// A request for temporary credentials with a role's permissions.
    AssumeRole(Box<AssumeRole>),
    /// A request for temporary credentials with a role's permissions, in exchange for an identity provider's token.
    AssumeRoleWithWebIdentity(Box<AssumeRoleWithWebIdentity>),
    /// A request for the caller's own identity, which every caller may make.
    GetCallerIdentity,
}

impl Request {
    /// Returns the AWS name of the request, which is also its metrics label.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GetFederationToken { .. } => GET_FEDERATION_TOKEN,
            Self::GetSessionToken { .. } => GET_SESSION_TOKEN,
            Self::AssumeRole(_) => ASSUME_ROLE,
            Self::AssumeRoleWithWebIdentity(_) => ASSUME_ROLE_WITH_WEB_IDENTITY,
            Self::GetCallerIdentity => GET_CALLER_IDENTITY,
        }
    }
}

/// Returns whether a `Content-Type` denotes a form. Parameters such as `charset` are ignored, since forms are always
/// UTF-8.
#[must_use]
pub fn is_form(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Parses a body. The caller must have checked that the body is at most 64 KiB long and that its signature is valid.
///
/// # Errors
/// Returns `InvalidQueryParameter` if the form is malformed, has too many parameters, or contains a duplicate or
/// unknown parameter. Returns `MissingAction` or `InvalidAction` if there is no valid action. Returns
/// `InvalidParameterValue` if a parameter requests a feature that is not supported, or if tags contradict each other.
/// Returns `ValidationError` if a parameter is missing or violates its constraints.
pub fn parse(body: &[u8], rules: &FormRules) -> Result<Request, Error> {
    let mut form = FormParameters::parse(body)?;
    let action = form.take("Action").filter(|action| !action.is_empty());
    let action = action.ok_or_else(|| {
        let message = "The request must contain the parameter Action.";
        Error::new(ErrorKind::MissingAction, message)
    })?;
    let version = form.take("Version");
    let version = version.as_deref().unwrap_or("NO_VERSION_SPECIFIED");
    match &*action {
        GET_FEDERATION_TOKEN if version == VERSION => get_federation_token(form, rules),
        GET_SESSION_TOKEN if version == VERSION => {
            let duration = form.take("DurationSeconds");
            no_factors(&mut form)?;
            none_left(&form)?;
            let duration_s = checked_duration(duration.as_deref(), rules)?;
            let duration_s = duration_s.unwrap_or(SESSION_DURATION_S_DEFAULT);
            Ok(Request::GetSessionToken { duration_s })
        }
        ASSUME_ROLE if version == VERSION => {
            let request = assume_role(&mut form, rules)?;
            none_left(&form)?;
            Ok(Request::AssumeRole(Box::new(request)))
        }
        ASSUME_ROLE_WITH_WEB_IDENTITY if version == VERSION => {
            let request = assume_role_with_web_identity(&mut form, rules)?;
            none_left(&form)?;
            Ok(Request::AssumeRoleWithWebIdentity(Box::new(request)))
        }
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

/// Returns whether a body is a form for AssumeRoleWithWebIdentity, which is the only call that may be unsigned.
#[must_use]
pub fn is_web_identity(body: &[u8]) -> bool {
    let form = FormParameters::parse(body);
    let action = form.ok().and_then(|mut form| form.take("Action"));
    action.is_some_and(|action| action == ASSUME_ROLE_WITH_WEB_IDENTITY)
}

fn get_federation_token(mut form: FormParameters, rules: &FormRules) -> Result<Request, Error> {
    let (name, policy) = (form.take("Name"), form.take("Policy"));
    let duration = form.take("DurationSeconds");
    nothing_ignored(&form)?;
    Ok(Request::GetFederationToken {
        // Source: model, shape `userNameType`.
        name: checked_text("name", name.as_deref(), 2..=32, &NAMES)?,
        policy: policy.as_deref().map(checked_policy).transpose()?,
        duration_s: checked_duration(duration.as_deref(), rules)?.unwrap_or(DURATION_S_DEFAULT),
    })
}

/// Rejects second-factor codes, which are not supported. Accepting them would make callers believe that they had been
/// verified.
pub(crate) fn no_factors(form: &mut FormParameters) -> Result<(), Error> {
    for name in ["SerialNumber", "TokenCode"] {
        if form.take(name).is_some() {
            let message = format!("{name} is not supported by this server. Leave it out.");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
    }
    Ok(())
}

/// Rejects unknown parameters, and unsupported parameters that would change permissions. Accepts an empty list, which
/// SDKs send as a name with an empty value.
fn nothing_ignored(form: &FormParameters) -> Result<(), Error> {
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

fn none_left(form: &FormParameters) -> Result<(), Error> {
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

const GET_FEDERATION_TOKEN: &str = "GetFederationToken";
const GET_SESSION_TOKEN: &str = "GetSessionToken";
const ASSUME_ROLE: &str = "AssumeRole";
const ASSUME_ROLE_WITH_WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";
const GET_CALLER_IDENTITY: &str = "GetCallerIdentity";
