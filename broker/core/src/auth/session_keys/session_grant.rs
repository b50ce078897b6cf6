//! The grant of sessions of principals and roles, and its form in a token: see [`crate::wire`].

use crate::auth::sign_in::SignIn;
use crate::wire::{self, at_most};
use codec::control::TAGS_MAX;
use codec::policy::{Policy, SESSION_POLICY_BYTES_MAX};
use codec::sts::POLICY_ARNS_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The grant of a session. [`ReadGrant`] has the same form.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SessionGrant<'a> {
    /// The beginning: of the caller, or of the first of a chain of roles.
    pub root: RootGrant<'a>,
    /// When it is issued, in seconds since 1970 UTC.
    pub issued_s: u64,
    /// When it ends.
    pub expires_s: u64,
    /// The role; `None`: the principal itself.
    pub role: Option<RoleGrant<'a>>,
}

/// The beginning of a session. [`OpenedRoot`] has the same form.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum RootGrant<'a> {
    /// The key of a principal.
    Key {
        /// Its id.
        access_key_id: &'a str,
        /// The principal's secret: only while it is the same, the grant counts.
        #[serde(skip)]
        secret: &'a str,
    },
    /// A token or a certificate.
    SignIn(&'a SignIn),
}

/// The session of a role.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RoleGrant<'a> {
    /// The role's account.
    pub account: &'a str,
    /// The role.
    pub role: &'a str,
    /// The roles by which it was reached, each once.
    pub via: &'a [Box<str>],
    /// The name of the session.
    pub session_name: &'a str,
    /// The person or program behind it.
    pub source_identity: Option<&'a str>,
    /// Its tags.
    pub tags: &'a [SessionTag],
    /// The names of policies that bound it.
    pub policies: &'a [&'a str],
    /// A policy that bounds it.
    #[serde(serialize_with = "write_policy")]
    pub policy: Option<&'a Policy>,
}

/// A tag of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTag {
    /// 1 to 128 characters.
    pub key: Box<str>,
    /// 0 to 256 characters.
    pub value: Box<str>,
    /// It goes on to roles that the session assumes.
    pub transitive: bool,
}

/// The grant of a token: [`SessionGrant`] without the secret.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReadGrant {
    pub(crate) root: OpenedRoot,
    pub(crate) issued_s: u64,
    pub(crate) expires_s: u64,
    pub(crate) role: Option<OpenedRole>,
}

/// The beginning of a token's session.
#[derive(Clone, Debug, Deserialize)]
pub(crate) enum OpenedRoot {
    Key { access_key_id: Box<str> },
    SignIn(SignIn),
}

/// The role of a token.
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
    /// `Err`: there is one, which cannot be read.
    #[serde(deserialize_with = "read_policy")]
    pub(crate) policy: Result<Option<Policy>, ()>,
}

/// The grant as bytes; `None` when its policy is too long.
pub(crate) fn write_session(grant: &SessionGrant<'_>) -> Option<Vec<u8>> {
    let policy = grant.role.and_then(|role| role.policy);
    let fits = |policy: &Policy| policy.bytes().len() <= SESSION_POLICY_BYTES_MAX;
    policy.is_none_or(fits).then(|| wire::write(grant))
}

/// The grant of these bytes, which are of a token that is not too long.
pub(crate) fn read_session(bytes: &[u8]) -> Option<ReadGrant> {
    wire::read(bytes, bytes.len())
}

fn write_policy<S: Serializer>(policy: &Option<&Policy>, to: S) -> Result<S::Ok, S::Error> {
    policy.map(Policy::bytes).serialize(to)
}

fn read_policy<'b, D: Deserializer<'b>>(from: D) -> Result<Result<Option<Policy>, ()>, D::Error> {
    let bytes = Option::<&[u8]>::deserialize(from)?;
    let read = bytes.map(|bytes| Policy::of_bytes(bytes).ok_or(()));
    Ok(read.transpose())
}

/// Most roles between the first key of a chain and its last role.
pub(crate) const CHAIN_MAX: usize = 8;
