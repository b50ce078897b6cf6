//! Grants of temporary credentials, and their encoding in a token.

use crate::auth::session_keys::{FINGERPRINT_BYTES, ISSUER_BYTES, SESSION, VERSION};
use crate::auth::{principal::Secret, sign_in::SignIn};
use crate::wire::{self, at_most};
use codec::policy::{Policy, SESSION_POLICY_BYTES_MAX};
use codec::{control::TAGS_MAX, sts::POLICY_ARNS_MAX};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Grant of a federated user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The account: 12 digits.
    pub account: &'a str,
    /// Access key id of the principal that requested it.
    pub parent_access_key_id: &'a str,
    /// Secret of that principal: the grant ends when it changes.
    pub parent_secret: &'a str,
    /// The federated user's name: 2 to 32 bytes.
    pub name: &'a str,
    /// The policy, at most [`SESSION_POLICY_BYTES_MAX`] bytes; `None`: no rights.
    pub policy: Option<&'a Policy>,
    /// Expiry, in seconds since 1970 UTC.
    pub expires_s: u64,
}

/// A token that was opened. Its signature and its end are still to be checked.
#[derive(Clone, Debug)]
pub struct OpenedToken {
    pub(crate) root: OpenedRoot,
    pub(crate) holder: Holder,
    /// When it was issued, in seconds since 1970 UTC; `None` in tokens of federated users.
    pub(crate) issued_s: Option<u64>,
    /// When it ends.
    pub(crate) expires_s: u64,
    /// The fingerprint of the secret of the principal that began it, if one did; `None` in tokens of version 1.
    pub(crate) issuer: Option<Issuer>,
    /// The secret access key that signs requests.
    pub(crate) secret_access_key: Secret,
}

impl OpenedToken {
    /// The policy of a federated user; `None`: no rights.
    #[must_use]
    pub const fn policy(&self) -> Option<&Policy> {
        match &self.holder {
            Holder::Federated { policy, .. } => policy.as_ref(),
            Holder::User | Holder::Role(_) => None,
        }
    }
}

/// The holder of a token.
#[derive(Clone, Debug)]
pub(crate) enum Holder {
    /// The principal that began it.
    User,
    /// A federated user of that principal: see [`Grant`].
    Federated {
        account: Box<str>,
        name: Box<str>,
        policy: Option<Policy>,
    },
    /// A session of a role.
    Role(OpenedRole),
}

/// Fingerprint of a principal's secret, and the session key that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issuer {
    pub(crate) key: [u8; FINGERPRINT_BYTES],
    pub(crate) tag: [u8; ISSUER_BYTES],
}

/// Encodes a grant: expiry, then each part with its length; `None` when a part is too long.
pub(crate) fn write_grant(grant: &Grant<'_>) -> Option<Vec<u8>> {
    let mut bytes = grant.expires_s.to_be_bytes().to_vec();
    for (part, bytes_max) in [
        (grant.account.as_bytes(), ACCOUNT_BYTES_MAX),
        (grant.parent_access_key_id.as_bytes(), ID_BYTES_MAX),
        (grant.name.as_bytes(), NAME_BYTES_MAX),
        (
            grant.policy.map_or(&[][..], Policy::bytes),
            SESSION_POLICY_BYTES_MAX,
        ),
    ] {
        let length = u16::try_from(part.len()).ok();
        let length = length.filter(|_| part.len() <= bytes_max)?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(part);
    }
    Some(bytes)
}

/// Decodes the grant of a token of this version; its secret is derived, and the caller adds its issuer.
pub(crate) fn read_grant(
    version: u8,
    bytes: &[u8],
    issuer: Option<Issuer>,
    secret_access_key: Secret,
) -> Option<OpenedToken> {
    if version == SESSION {
        let grant: ReadGrant = wire::read(bytes, bytes.len())?; // of a token that is not too long
        return Some(OpenedToken {
            root: grant.root,
            holder: grant.role.map_or(Holder::User, Holder::Role),
            issued_s: Some(grant.issued_s),
            expires_s: grant.expires_s,
            issuer,
            secret_access_key,
        });
    }
    let (expires_s, mut rest) = bytes.split_first_chunk::<8>()?;
    let mut part = || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (part, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
        rest = behind;
        Some(part)
    };
    let text = |part: &[u8]| std::str::from_utf8(part).ok().map(Box::from);
    let (account, access_key_id, name) = (text(part()?)?, text(part()?)?, text(part()?)?);
    let policy = read_grant_policy(version, part()?);
    Some(OpenedToken {
        root: OpenedRoot::Key { access_key_id },
        holder: Holder::Federated {
            account,
            name,
            policy,
        },
        issued_s: None,
        expires_s: u64::from_be_bytes(*expires_s),
        issuer,
        secret_access_key,
    })
}

/// Policy of a token: encoded, before version 3 as text. `None`: no rights.
fn read_grant_policy(version: u8, bytes: &[u8]) -> Option<Policy> {
    if bytes.is_empty() {
        return None;
    }
    if version == VERSION {
        return Policy::of_bytes(bytes);
    }
    Policy::parse_session(std::str::from_utf8(bytes).ok()?).ok()
}

const ACCOUNT_BYTES_MAX: usize = 12;
const ID_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 32;

pub(crate) const GRANT_BYTES_MAX: usize =
    8 + 4 * 2 + ACCOUNT_BYTES_MAX + ID_BYTES_MAX + NAME_BYTES_MAX + SESSION_POLICY_BYTES_MAX;

// Grants of sessions of principals and roles. Their encoding: [`crate::wire`].

/// Grant of a session. [`ReadGrant`] has the same encoding.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SessionGrant<'a> {
    /// Root: of the caller, or of the first of a chain of roles.
    pub root: RootGrant<'a>,
    /// Issue time, in seconds since 1970 UTC.
    pub issued_s: u64,
    /// Expiry.
    pub expires_s: u64,
    /// Role; `None`: the principal itself.
    pub role: Option<RoleGrant<'a>>,
}

/// Root of a session. [`OpenedRoot`] has the same encoding.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum RootGrant<'a> {
    /// Key of a principal.
    Key {
        /// Access key id.
        access_key_id: &'a str,
        /// Secret of the principal: the grant ends when it changes.
        #[serde(skip)]
        secret: &'a str,
    },
    /// Sign-in by a token or a certificate.
    SignIn(&'a SignIn),
}

/// Session of a role.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RoleGrant<'a> {
    /// The role's account.
    pub account: &'a str,
    /// The role.
    pub role: &'a str,
    /// Roles by which it was reached, each once.
    pub via: &'a [Box<str>],
    /// Name of the session.
    pub session_name: &'a str,
    /// Source identity: the person or program behind the session.
    pub source_identity: Option<&'a str>,
    /// Tags of the session.
    pub tags: &'a [SessionTag],
    /// Names of session policies.
    pub policies: &'a [&'a str],
    /// Inline session policy.
    #[serde(serialize_with = "write_policy")]
    pub policy: Option<&'a Policy>,
}

/// Tag of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTag {
    /// 1 to 128 characters.
    pub key: Box<str>,
    /// 0 to 256 characters.
    pub value: Box<str>,
    /// Whether the tag passes on to roles that the session assumes.
    pub transitive: bool,
}

/// The grant of a token: [`SessionGrant`] without the secret.
#[derive(Deserialize)]
struct ReadGrant {
    root: OpenedRoot,
    issued_s: u64,
    expires_s: u64,
    role: Option<OpenedRole>,
}

/// Root of a token's session.
#[derive(Clone, Debug, Deserialize)]
pub(crate) enum OpenedRoot {
    Key { access_key_id: Box<str> },
    SignIn(SignIn),
}

/// Role of a token.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OpenedRole {
    pub(crate) account: Box<str>,
    pub(crate) role: Box<str>,
    #[serde(deserialize_with = "at_most::<_, _, _, CHAIN_MAX>")]
    pub(crate) via: Vec<Box<str>>,
    pub(crate) session_name: Box<str>,
    pub(crate) source_identity: Option<Box<str>>,
    #[serde(deserialize_with = "at_most::<_, _, _, TAGS_MAX>")]
    pub(crate) tags: Vec<SessionTag>,
    #[serde(deserialize_with = "at_most::<_, _, _, POLICY_ARNS_MAX>")]
    pub(crate) policies: Vec<Box<str>>,
    /// `Err`: the policy is invalid.
    #[serde(deserialize_with = "read_policy")]
    pub(crate) policy: Result<Option<Policy>, ()>,
}

/// Encodes a grant; `None` when its policy is too long.
pub(crate) fn write_session(grant: &SessionGrant<'_>) -> Option<Vec<u8>> {
    let policy = grant.role.and_then(|role| role.policy);
    let fits = |policy: &Policy| policy.bytes().len() <= SESSION_POLICY_BYTES_MAX;
    policy.is_none_or(fits).then(|| wire::write(grant))
}

fn write_policy<S: Serializer>(policy: &Option<&Policy>, to: S) -> Result<S::Ok, S::Error> {
    policy.map(Policy::bytes).serialize(to)
}

fn read_policy<'b, D: Deserializer<'b>>(from: D) -> Result<Result<Option<Policy>, ()>, D::Error> {
    let bytes = Option::<&[u8]>::deserialize(from)?;
    let read = bytes.map(|bytes| Policy::of_bytes(bytes).ok_or(()));
    Ok(read.transpose())
}

/// Most roles between the root and the last role of a chain.
pub(crate) const CHAIN_MAX: usize = 8;
