//! What temporary credentials are granted, and its bytes in a token.

use super::{FINGERPRINT_BYTES, ISSUER_BYTES};
use crate::auth::principal::Secret;
use codec::aws::policy::SESSION_POLICY_BYTES_MAX;

/// What temporary credentials grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The account: 12 digits.
    pub account: &'a str,
    /// The access key id of the principal that requested it.
    pub parent_access_key_id: &'a str,
    /// That principal's secret: only while it is the same, the grant counts.
    pub parent_secret: &'a str,
    /// The federated user's name: 2 to 32 bytes.
    pub name: &'a str,
    /// The policy's text, at most [`SESSION_POLICY_BYTES_MAX`] bytes; empty: no rights.
    pub policy: &'a str,
    /// When it ends, in seconds since 1970 UTC.
    pub expires_s: u64,
}

/// A token that was opened: what [`Grant`] has, and the secret. Its signature and its end are still to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedToken {
    /// See [`Grant::account`].
    pub account: String,
    /// See [`Grant::parent_access_key_id`].
    pub parent_access_key_id: String,
    /// See [`Grant::name`].
    pub name: String,
    /// See [`Grant::policy`].
    pub policy: String,
    /// See [`Grant::expires_s`].
    pub expires_s: u64,
    /// What requests are signed with.
    pub secret_access_key: Secret,
    /// Whose secret it was asked for with; `None` in tokens of version 1.
    pub(super) issuer: Option<Issuer>,
}

/// The fingerprint of a principal's secret, by which session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Issuer {
    pub(super) key: [u8; FINGERPRINT_BYTES],
    pub(super) tag: [u8; ISSUER_BYTES],
}

/// The grant as bytes: its end, then each text behind its length; `None` when one is too long.
pub(super) fn write_grant(grant: &Grant<'_>) -> Option<Vec<u8>> {
    let mut bytes = grant.expires_s.to_be_bytes().to_vec();
    for (text, bytes_max) in [
        (grant.account, ACCOUNT_BYTES_MAX),
        (grant.parent_access_key_id, ID_BYTES_MAX),
        (grant.name, NAME_BYTES_MAX),
        (grant.policy, SESSION_POLICY_BYTES_MAX),
    ] {
        let length = u16::try_from(text.len()).ok();
        let length = length.filter(|_| text.len() <= bytes_max)?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    Some(bytes)
}

/// The grant of a token; its secret was derived, and its issuer is added by the caller.
pub(super) fn read_grant(bytes: &[u8], secret_access_key: Secret) -> Option<OpenedToken> {
    let (expires_s, mut rest) = bytes.split_first_chunk::<8>()?;
    let mut text = || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (text, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
        rest = behind;
        String::from_utf8(text.to_vec()).ok()
    };
    Some(OpenedToken {
        account: text()?,
        parent_access_key_id: text()?,
        name: text()?,
        policy: text()?,
        expires_s: u64::from_be_bytes(*expires_s),
        secret_access_key,
        issuer: None,
    })
}

const ACCOUNT_BYTES_MAX: usize = 12;
const ID_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 32;

pub(super) const GRANT_BYTES_MAX: usize =
    8 + 4 * 2 + ACCOUNT_BYTES_MAX + ID_BYTES_MAX + NAME_BYTES_MAX + SESSION_POLICY_BYTES_MAX;
