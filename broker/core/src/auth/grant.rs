//! Grants for temporary credentials, and their encoding in tokens.

use crate::auth::session_keys::{FINGERPRINT_BYTES, ISSUER_BYTES, SESSION, VERSION};
use crate::auth::{principal::Secret, sign_in::SignIn};
use crate::wire::{self, at_most};
use codec::policy::{Policy, SESSION_POLICY_BYTES_MAX};
use codec::{control::TAGS_MAX, sts, sts::POLICY_ARNS_MAX};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The rights that temporary credentials confer, as encoded in their token.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The key or sign-in from which the grant is derived. All sessions in a role chain have the same root.
    pub root: GrantRoot,
    /// The holder of the rights.
    pub holder: GrantHolder,
    /// Time of issue, in seconds since 1970 UTC; `None` in tokens of federated users.
    pub issued_s: Option<u64>,
    /// Time of expiry, in seconds since 1970 UTC.
    pub expires_s: u64,
}

/// The key or sign-in from which a grant is derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantRoot {
    /// The long-term key of a principal.
    Key {
        /// Access key id.
        access_key_id: Box<str>,
    },
    /// A sign-in with a token or a certificate.
    SignIn(SignIn),
}

/// The holder of a grant.
#[derive(Clone, Debug)]
pub enum GrantHolder {
    /// The requesting principal itself.
    User,
    /// A federated user, created by the requesting principal.
    Federated {
        /// The account: 12 digits.
        account: Box<str>,
        /// The user's name, 2 to 32 bytes long.
        name: Box<str>,
        /// Session policy of at most [`SESSION_POLICY_BYTES_MAX`] bytes; `None` confers no rights.
        policy: Option<Policy>,
    },
    /// A session of a role.
    Role(RoleGrant),
}

/// The rights of a role session, as encoded in a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoleGrant {
    /// The role's account.
    pub account: Box<str>,
    /// Name of the role.
    pub role: Box<str>,
    /// Names of the roles between the root and this role, without duplicates.
    #[serde(deserialize_with = "at_most::<_, _, _, CHAIN_MAX>")]
    pub via: Vec<Box<str>>,
    /// Name of the session.
    pub session_name: Box<str>,
    /// The source identity: the person or program that uses the session.
    pub source_identity: Option<Box<str>>,
    /// Tags of the session.
    #[serde(deserialize_with = "at_most::<_, _, _, TAGS_MAX>")]
    pub tags: Vec<SessionTag>,
    /// Names of the session policies.
    #[serde(deserialize_with = "at_most::<_, _, _, POLICY_ARNS_MAX>")]
    pub policies: Vec<Box<str>>,
    /// Inline session policy; `Err` if the policy in the token is invalid.
    #[serde(serialize_with = "write_policy", deserialize_with = "read_policy")]
    pub policy: InlinePolicy,
}

pub(crate) type InlinePolicy = Result<Option<Policy>, ()>;

/// A session tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTag {
    /// Key of 1 to 128 characters.
    pub key: Box<str>,
    /// Value of 0 to 256 characters.
    pub value: Box<str>,
    /// Whether the tag is passed on to the sessions of roles that this session assumes.
    pub transitive: bool,
}

/// A decrypted token whose signature and expiry have not been checked yet.
#[derive(Clone, Debug)]
pub struct OpenedToken {
    /// The grant that the token contains.
    pub grant: Grant,
    /// Fingerprint of the issuing principal's secret. `None` in tokens of version 1, and if no principal issued the
    /// token.
    pub(crate) issuer: Option<Issuer>,
    pub(crate) secret_access_key: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issuer {
    pub(crate) key: [u8; FINGERPRINT_BYTES],
    pub(crate) tag: [u8; ISSUER_BYTES],
}

impl RoleGrant {
    /// Creates the grant for an AssumeRole request, without session policies.
    pub(crate) fn of(request: &sts::AssumeRole) -> Self {
        let tags = request.tags.iter().map(|tag| SessionTag {
            key: tag.key.clone(),
            value: tag.value.clone(),
            transitive: false,
        });
        Self {
            account: request.role.account().into(),
            role: request.role.name().into(),
            via: Vec::new(),
            session_name: request.session_name.clone(),
            source_identity: request.source_identity.clone(),
            tags: tags.collect(),
            policies: Vec::new(),
            policy: Ok(None),
        }
    }
}

impl Grant {
    /// Creates the grant for a federated user, whose rights come from the principal with the access key id `parent`.
    #[must_use]
    pub fn federated(
        parent: &str,
        account: &str,
        name: &str,
        policy: Option<Policy>,
        expires_s: u64,
    ) -> Self {
        Self {
            root: GrantRoot::Key {
                access_key_id: parent.into(),
            },
            holder: GrantHolder::Federated {
                account: account.into(),
                name: name.into(),
                policy,
            },
            issued_s: None,
            expires_s,
        }
    }

    /// Returns the token format version and the encoded grant; `None` if a field is too long.
    pub(crate) fn encode(&self) -> Option<(u8, Vec<u8>)> {
        let (role, policy) = match &self.holder {
            GrantHolder::User => (None, None),
            GrantHolder::Role(role) => (Some(role), role.policy.as_ref().ok()?.as_ref()),
            GrantHolder::Federated {
                account,
                name,
                policy,
            } => {
                let bytes = self.encode_user(account, name, policy.as_ref())?;
                return Some((VERSION, bytes));
            }
        };
        if policy.is_some_and(|policy| policy.bytes().len() > SESSION_POLICY_BYTES_MAX) {
            return None;
        }
        let issued_s = self.issued_s.unwrap_or_default();
        let fields = (&self.root, issued_s, self.expires_s, role);
        Some((SESSION, wire::write(&fields)))
    }

    /// Encodes the expiry, followed by each field with its length as a prefix.
    fn encode_user(&self, account: &str, name: &str, policy: Option<&Policy>) -> Option<Vec<u8>> {
        let GrantRoot::Key { access_key_id } = &self.root else {
            return None;
        };
        let mut bytes = self.expires_s.to_be_bytes().to_vec();
        for (part, bytes_max) in [
            (account.as_bytes(), ACCOUNT_BYTES_MAX),
            (access_key_id.as_bytes(), ID_BYTES_MAX),
            (name.as_bytes(), NAME_BYTES_MAX),
            (
                policy.map_or(&[][..], Policy::bytes),
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

    pub(crate) fn decode(version: u8, bytes: &[u8]) -> Option<Self> {
        if version == SESSION {
            type Fields = (GrantRoot, u64, u64, Option<RoleGrant>);
            let fields: Fields = wire::read(bytes, bytes.len())?; // the token that contains the fields is not too long
            let (root, issued_s, expires_s, role) = fields;
            return Some(Self {
                root,
                holder: role.map_or(GrantHolder::User, GrantHolder::Role),
                issued_s: Some(issued_s),
                expires_s,
            });
        }
        let (expires_s, mut rest) = bytes.split_first_chunk::<8>()?;
        let mut part = || {
            let (length, behind) = rest.split_first_chunk::<2>()?;
            let (part, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = behind;
            Some(part)
        };
        let mut text = || std::str::from_utf8(part()?).ok();
        let (account, access_key_id, name) = (text()?, text()?, text()?);
        let policy = read_grant_policy(version, part()?);
        let expires_s = u64::from_be_bytes(*expires_s);
        Some(Self::federated(
            access_key_id,
            account,
            name,
            policy,
            expires_s,
        ))
    }
}

/// Reads the policy in a federated user's token. Before version 3, the policy is stored as text. `None` confers no
/// rights.
fn read_grant_policy(version: u8, bytes: &[u8]) -> Option<Policy> {
    if bytes.is_empty() {
        return None;
    }
    if version == VERSION {
        return Policy::of_bytes(bytes);
    }
    Policy::parse_session(std::str::from_utf8(bytes).ok()?).ok()
}

fn write_policy<S: Serializer>(policy: &InlinePolicy, to: S) -> Result<S::Ok, S::Error> {
    let policy = policy.as_ref().ok().and_then(Option::as_ref);
    policy.map(Policy::bytes).serialize(to)
}

fn read_policy<'b, D: Deserializer<'b>>(from: D) -> Result<InlinePolicy, D::Error> {
    let bytes = Option::<&[u8]>::deserialize(from)?;
    let read = bytes.map(|bytes| Policy::of_bytes(bytes).ok_or(()));
    Ok(read.transpose())
}

const ACCOUNT_BYTES_MAX: usize = 12;
const ID_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 32;

pub(crate) const GRANT_BYTES_MAX: usize =
    8 + 4 * 2 + ACCOUNT_BYTES_MAX + ID_BYTES_MAX + NAME_BYTES_MAX + SESSION_POLICY_BYTES_MAX;

/// Maximum number of roles between the root of a chain and its last role.
pub(crate) const CHAIN_MAX: usize = 8;
