//! The grant of sessions of principals and roles, and its bytes in a token.
//!
//! ```text
//! kind 1 | issued 8 | ends 8 | root's access key id
//! of a role: account | role | roles between | session name | source identity
//!            | tags: how each goes on 1, key, value | names of policies | 1 and the session's policy, or 0
//! ```
//! Each text stands behind its length in two bytes, each list behind its number of entries in one.

use crate::auth::principal::Secret;
use codec::aws::policy::{Policy, SESSION_POLICY_BYTES_MAX};

/// The grant of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionGrant<'a> {
    /// The access key id of the principal whose key began it: the caller, or the first of a chain of roles.
    pub root_access_key_id: &'a str,
    /// That principal's secret: only while it is the same, the grant counts.
    pub root_secret: &'a str,
    /// When it is issued, in seconds since 1970 UTC.
    pub issued_s: u64,
    /// When it ends.
    pub expires_s: u64,
    /// The role; `None`: the principal itself.
    pub role: Option<RoleGrant<'a>>,
}

/// The session of a role.
#[derive(Clone, Copy, Debug)]
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
    pub policy: Option<&'a Policy>,
}

/// A tag of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTag {
    /// 1 to 128 characters.
    pub key: Box<str>,
    /// 0 to 256 characters.
    pub value: Box<str>,
    /// It goes on to roles that the session assumes.
    pub transitive: bool,
}

/// A token of a session that was opened: what [`SessionGrant`] has, and the secret.
#[derive(Clone, Debug)]
pub(crate) struct OpenedSession {
    pub(crate) root_access_key_id: Box<str>,
    pub(crate) issued_s: u64,
    pub(crate) expires_s: u64,
    pub(crate) role: Option<OpenedRole>,
    /// The secret access key that signs requests.
    pub(crate) secret_access_key: Secret,
}

/// The role of a token.
#[derive(Clone, Debug)]
pub(crate) struct OpenedRole {
    pub(crate) account: Box<str>,
    pub(crate) role: Box<str>,
    pub(crate) via: Vec<Box<str>>,
    pub(crate) session_name: Box<str>,
    pub(crate) source_identity: Option<Box<str>>,
    pub(crate) tags: Vec<SessionTag>,
    pub(crate) policies: Vec<Box<str>>,
    /// `Err`: there is one, which cannot be read.
    pub(crate) policy: Result<Option<Policy>, ()>,
}

/// The grant as bytes; `None` when a part is too long.
pub(super) fn write_session(grant: &SessionGrant<'_>) -> Option<Vec<u8>> {
    let mut out = vec![if grant.role.is_some() { ROLE } else { USER }];
    out.extend(grant.issued_s.to_be_bytes());
    out.extend(grant.expires_s.to_be_bytes());
    write_text(&mut out, grant.root_access_key_id.as_bytes())?;
    let Some(role) = &grant.role else {
        return Some(out);
    };
    write_text(&mut out, role.account.as_bytes())?;
    write_text(&mut out, role.role.as_bytes())?;
    out.push(u8::try_from(role.via.len()).ok()?);
    for via in role.via {
        write_text(&mut out, via.as_bytes())?;
    }
    write_text(&mut out, role.session_name.as_bytes())?;
    write_text(
        &mut out,
        role.source_identity.unwrap_or_default().as_bytes(),
    )?;
    out.push(u8::try_from(role.tags.len()).ok()?);
    for tag in role.tags {
        out.push(tag.transitive.into());
        write_text(&mut out, tag.key.as_bytes())?;
        write_text(&mut out, tag.value.as_bytes())?;
    }
    out.push(u8::try_from(role.policies.len()).ok()?);
    for name in role.policies {
        write_text(&mut out, name.as_bytes())?;
    }
    out.push(role.policy.is_some().into());
    if let Some(policy) = role.policy {
        let bytes = policy.bytes();
        if bytes.len() > SESSION_POLICY_BYTES_MAX {
            return None;
        }
        write_text(&mut out, bytes)?;
    }
    Some(out)
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    out.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    out.extend(text);
    Some(())
}

/// The grant of these bytes; its secret was derived.
pub(super) fn read_session(bytes: &[u8], secret_access_key: Secret) -> Option<OpenedSession> {
    let mut rest = Rest(bytes);
    let kind = rest.byte()?;
    let (issued_s, expires_s) = (rest.moment()?, rest.moment()?);
    let root_access_key_id = rest.text()?;
    let role = match kind {
        USER => None,
        ROLE => Some(read_role(&mut rest)?),
        _ => return None,
    };
    let opened = OpenedSession {
        root_access_key_id,
        issued_s,
        expires_s,
        role,
        secret_access_key,
    };
    rest.0.is_empty().then_some(opened)
}

fn read_role(rest: &mut Rest<'_>) -> Option<OpenedRole> {
    let (account, role) = (rest.text()?, rest.text()?);
    let via = rest.list(Rest::text)?;
    let session_name = rest.text()?;
    let source_identity = rest.text().map(|text| (!text.is_empty()).then_some(text))?;
    let tags = rest.list(|rest| {
        let transitive = rest.byte()? != 0;
        let (key, value) = (rest.text()?, rest.text()?);
        Some(SessionTag {
            key,
            value,
            transitive,
        })
    })?;
    let policies = rest.list(Rest::text)?;
    let policy = match rest.byte()? {
        0 => Ok(None),
        _ => Policy::of_bytes(rest.bytes()?).map(Some).ok_or(()),
    };
    Some(OpenedRole {
        account,
        role,
        via,
        session_name,
        source_identity,
        tags,
        policies,
        policy,
    })
}

/// The bytes that are left.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn moment(&mut self) -> Option<u64> {
        let (moment, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*moment))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (bytes, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Into::into)
    }

    fn list<T>(&mut self, entry: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.byte()?).map(|_| entry(self)).collect()
    }
}

/// The principal itself.
const USER: u8 = 0;

/// A role.
const ROLE: u8 = 1;
