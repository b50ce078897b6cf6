//! Temporary credentials without stored state: the token is the grant, sealed.
//!
//! # Theory of operation
//! ```text
//! token  = base64( version 1 | key 4 | mark 32 | AES-256-GCM( grant ) with tag 16 )
//! mark   = HMAC-SHA-256(session key, nonce | grant)
//! issuer = HMAC-SHA-256(session key, access key id | secret), 16 of its bytes: part of the grant
//! key of the seal 32, access key id 10, secret 30 = HKDF-SHA-256(session key, mark)
//! ```
//! The issuer binds a token to the secret with which it was asked for: when the principal's secret or access key id is
//! another one, or the principal is gone, the token is worth nothing. Tokens of version 1 have no issuer. They are
//! accepted until they end, which is within the longest duration of a grant after an upgrade from a version that made
//! them: to refuse them would cut off every browser that has one, and who must be rid of one at once removes the
//! principal or `session.key`, as before.
//!
//! Everything hangs on the mark, and the mark on nonce and grant. So each token is sealed under a key of its own, and
//! a nonce that came twice would give the same token for the same grant and unrelated ones for others: harmless. `key`
//! says which session key it was, so that a rotation does not try both.
//!
//! Source: STS API Reference, "GetFederationToken" (lengths); RFC 5869 (HKDF); NIST SP 800-38D (GCM).

use super::principal::Secret;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use codec::aws::policy::SESSION_POLICY_BYTES_MAX;
use codec::base64;
use data_encoding::BASE32;
use std::fmt;
use zeroize::Zeroizing;

/// The keys that temporary credentials are sealed under. Shared by all shards as `Arc<SessionKeys>`, and by all nodes
/// that have the file.
pub struct SessionKeys {
    current: Sealer,
    previous: Option<Sealer>,
}

struct Sealer {
    fingerprint: [u8; FINGERPRINT_BYTES],
    mark: hmac::Key,
    issuer: hmac::Key,
    derive: Prk,
}

/// What temporary credentials stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The account: 12 digits.
    pub account: &'a str,
    /// The access key id of the principal who asked.
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

/// Temporary credentials as their owner gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// `ASIA` and 16 of `A-Z2-7`.
    pub access_key_id: String,
    /// 40 characters of base64.
    pub secret_access_key: Secret,
    /// At most [`TOKEN_BYTES_MAX`] characters of base64.
    pub session_token: Secret,
}

/// A token that was opened: what [`Grant`] has, and the secret. Its signature and its end are still to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
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
    issuer: Option<Issuer>,
}

/// The fingerprint of a principal's secret, by which session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Issuer {
    key: [u8; FINGERPRINT_BYTES],
    tag: [u8; ISSUER_BYTES],
}

/// Why a grant was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// A part is longer than allowed: callers check that first.
    TooLong,
    /// The crypto library failed, which it does not.
    Library,
}

impl SessionKeys {
    /// Seals under `current`, opens what either sealed. Keys are 32 random bytes each; wipe them after.
    #[must_use]
    pub fn new(current: &[u8; 32], previous: Option<&[u8; 32]>) -> Self {
        Self {
            current: Sealer::new(current),
            previous: previous.map(Sealer::new),
        }
    }

    /// Makes temporary credentials of a grant.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        grant: &Grant<'_>,
    ) -> Result<Temporary, SealError> {
        self.current.seal(nonce, grant)
    }

    /// The grant of a token that came with an access key id; `None` when it is none of ours, or another key's. Takes a
    /// few microseconds, and next to nothing for what cannot be a token.
    #[must_use]
    pub fn open(&self, access_key_id: &str, token: &[u8]) -> Option<Opened> {
        let is_id = access_key_id.len() == ACCESS_KEY_ID_BYTES && access_key_id.starts_with(PREFIX);
        if !is_id || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let mut token = base64::decode(token)?;
        let (&mut [version], rest) = token.split_first_chunk_mut::<1>()?;
        let (&mut fingerprint, rest) = rest.split_first_chunk_mut::<FINGERPRINT_BYTES>()?;
        let (&mut mark, sealed) = rest.split_first_chunk_mut::<MARK_BYTES>()?;
        if version != VERSION && version != UNBOUND {
            return None;
        }
        let derived = self.sealer(fingerprint)?.derive(version, &mark)?;
        if derived.access_key_id() != access_key_id {
            return None;
        }
        let aad = Aad::from(header(version, fingerprint));
        let plain = derived
            .aead()?
            .open_in_place(zero_nonce(), aad, sealed)
            .ok()?;
        let tag = if version == VERSION {
            let (tag, rest) = plain.split_first_chunk()?;
            (Some(*tag), rest)
        } else {
            (None, &*plain)
        };
        let opened = read_grant(tag.1, derived.secret()?)?;
        let issuer = tag.0.map(|tag| Issuer {
            key: fingerprint,
            tag,
        });
        Some(Opened { issuer, ..opened })
    }

    /// Whether a token was asked for with this secret of its parent. Tokens of version 1 do not say, and pass.
    #[must_use]
    pub fn was_issued_with(&self, opened: &Opened, parent_secret: &Secret) -> bool {
        let Some(issuer) = opened.issuer else {
            return true;
        };
        let tag = self.sealer(issuer.key).map(|sealer| {
            let id = opened.parent_access_key_id.as_str();
            sealer.issuer(id, parent_secret.reveal())
        });
        tag.is_some_and(|tag| verify_slices_are_equal(&tag, &issuer.tag).is_ok())
    }

    /// The keys under which request ids of refusals are made (the first) and read. `None` where there is no previous
    /// key.
    #[must_use]
    pub fn refusal_keys(&self) -> [Option<Zeroizing<[u8; REFUSAL_KEY_BYTES]>>; 2] {
        [Some(&self.current), self.previous.as_ref()].map(|sealer| sealer?.refusal_key())
    }

    fn sealer(&self, fingerprint: [u8; FINGERPRINT_BYTES]) -> Option<&Sealer> {
        let sealers = [Some(&self.current), self.previous.as_ref()];
        let mut sealers = sealers.into_iter().flatten();
        sealers.find(|sealer| sealer.fingerprint == fingerprint)
    }
}

impl Sealer {
    fn new(key: &[u8; 32]) -> Self {
        let named = hmac::Key::new(HMAC_SHA256, key);
        let mark = hmac::sign(&named, b"heliograph session mark");
        let issuer = hmac::sign(&named, b"heliograph session issuer");
        let print = digest(
            &SHA256,
            hmac::sign(&named, b"heliograph session name").as_ref(),
        );
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint
            .iter_mut()
            .zip(print.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self {
            fingerprint,
            mark: hmac::Key::new(HMAC_SHA256, mark.as_ref()),
            issuer: hmac::Key::new(HMAC_SHA256, issuer.as_ref()),
            derive: Prk::new_less_safe(HKDF_SHA256, key),
        }
    }

    fn seal(&self, nonce: &[u8; NONCE_BYTES], grant: &Grant<'_>) -> Result<Temporary, SealError> {
        let issuer = self.issuer(grant.parent_access_key_id, grant.parent_secret);
        let grant = write_grant(grant).ok_or(SealError::TooLong)?;
        self.seal_bytes(VERSION, nonce, [&issuer[..], &grant].concat())
    }

    fn seal_bytes(
        &self,
        version: u8,
        nonce: &[u8; NONCE_BYTES],
        mut sealed: Vec<u8>,
    ) -> Result<Temporary, SealError> {
        let mut context = hmac::Context::with_key(&self.mark);
        context.update(nonce);
        context.update(&sealed);
        let mark = context.sign();
        let derived = self
            .derive(version, mark.as_ref())
            .ok_or(SealError::Library)?;
        let header = header(version, self.fingerprint);
        let aead = derived.aead().ok_or(SealError::Library)?;
        aead.seal_in_place_append_tag(zero_nonce(), Aad::from(header), &mut sealed)
            .map_err(|_| SealError::Library)?;
        let token = [&header, mark.as_ref(), &sealed].concat();
        let mut text = Vec::new();
        base64::encode(&mut text, &token);
        let text = String::from_utf8(text).map_err(|_| SealError::Library)?;
        Ok(Temporary {
            access_key_id: derived.access_key_id(),
            secret_access_key: derived.secret().ok_or(SealError::Library)?,
            session_token: text.into(),
        })
    }

    /// The fingerprint of a principal's secret. Ids hold no 0, so no two pairs give the same bytes.
    fn issuer(&self, access_key_id: &str, secret: &str) -> [u8; ISSUER_BYTES] {
        let mut context = hmac::Context::with_key(&self.issuer);
        context.update(access_key_id.as_bytes());
        context.update(&[0]);
        context.update(secret.as_bytes());
        let tag = context.sign();
        let first = tag.as_ref().first_chunk().copied();
        first.unwrap_or_default()
    }

    fn refusal_key(&self) -> Option<Zeroizing<[u8; REFUSAL_KEY_BYTES]>> {
        let mut key = Zeroizing::new([0; REFUSAL_KEY_BYTES]);
        let info = [b"heliograph refusal ids".as_slice()];
        let material = self.derive.expand(&info, RefusalKeyLength).ok()?;
        material.fill(&mut *key).ok()?;
        Some(key)
    }

    fn derive(&self, version: u8, mark: &[u8]) -> Option<Derived> {
        let mut bytes = Zeroizing::new([0; DERIVED_BYTES]);
        let name = if version == UNBOUND {
            b"heliograph session 1"
        } else {
            b"heliograph session 2"
        };
        let info = [name.as_slice(), mark];
        let material = self.derive.expand(&info, DerivedLength).ok()?;
        material.fill(&mut *bytes).ok()?;
        Some(Derived(bytes))
    }
}

/// What hangs on a mark: the key of the seal, the access key id, the secret.
struct Derived(Zeroizing<[u8; DERIVED_BYTES]>);

struct DerivedLength;

impl KeyType for DerivedLength {
    fn len(&self) -> usize {
        DERIVED_BYTES
    }
}

struct RefusalKeyLength;

impl KeyType for RefusalKeyLength {
    fn len(&self) -> usize {
        REFUSAL_KEY_BYTES
    }
}

impl Derived {
    fn aead(&self) -> Option<LessSafeKey> {
        let (key, _) = self.0.split_first_chunk::<32>()?;
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(LessSafeKey::new(key))
    }

    fn access_key_id(&self) -> String {
        let id = self.0.get(32..42).unwrap_or(&[0; 10]);
        format!("{PREFIX}{}", BASE32.encode(id))
    }

    fn secret(&self) -> Option<Secret> {
        let mut text = Vec::new();
        base64::encode(&mut text, self.0.get(42..)?);
        String::from_utf8(text).ok().map(Secret::from)
    }
}

fn header(version: u8, fingerprint: [u8; FINGERPRINT_BYTES]) -> [u8; 1 + FINGERPRINT_BYTES] {
    let [a, b, c, d] = fingerprint;
    [version, a, b, c, d]
}

/// Each key seals one text only.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// The grant as bytes: its end, then each text behind its length; `None` when one is too long.
fn write_grant(grant: &Grant<'_>) -> Option<Vec<u8>> {
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

fn read_grant(bytes: &[u8], secret_access_key: Secret) -> Option<Opened> {
    let (expires_s, mut rest) = bytes.split_first_chunk::<8>()?;
    let mut text = || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (text, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
        rest = behind;
        String::from_utf8(text.to_vec()).ok()
    };
    Some(Opened {
        account: text()?,
        parent_access_key_id: text()?,
        name: text()?,
        policy: text()?,
        expires_s: u64::from_be_bytes(*expires_s),
        secret_access_key,
        issuer: None,
    })
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SessionKeys")
    }
}

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;

/// Longest session token in characters: it is part of URLs, whose heads have 16 KiB.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// A key of AES-128.
const REFUSAL_KEY_BYTES: usize = 16;
const VERSION: u8 = 2;
/// Tokens without an issuer.
const UNBOUND: u8 = 1;
const ISSUER_BYTES: usize = 16;
const FINGERPRINT_BYTES: usize = 4;
const MARK_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const DERIVED_BYTES: usize = 32 + 10 + 30;
const PREFIX: &str = "ASIA";
/// Length of the access key ids of temporary credentials.
pub(super) const ACCESS_KEY_ID_BYTES: usize = PREFIX.len() + 16;
const ACCOUNT_BYTES_MAX: usize = 12;
const ID_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 32;

const GRANT_BYTES_MAX: usize =
    8 + 4 * 2 + ACCOUNT_BYTES_MAX + ID_BYTES_MAX + NAME_BYTES_MAX + SESSION_POLICY_BYTES_MAX;
const _: () = assert!(
    (1 + FINGERPRINT_BYTES + MARK_BYTES + ISSUER_BYTES + GRANT_BYTES_MAX + TAG_BYTES).div_ceil(3)
        * 4
        <= TOKEN_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant<'static> = Grant {
        account: "123456789012",
        parent_access_key_id: "AKIDEXAMPLE",
        parent_secret: "secret",
        name: "browser",
        policy: r#"{"Statement": []}"#,
        expires_s: 1_800_000_000,
    };

    fn keys() -> SessionKeys {
        SessionKeys::new(&[7; 32], None)
    }

    fn seal(keys: &SessionKeys, nonce: u8, grant: &Grant<'_>) -> Temporary {
        keys.seal(&[nonce; 32], grant).unwrap()
    }

    fn open(keys: &SessionKeys, temporary: &Temporary) -> Option<Opened> {
        keys.open(
            &temporary.access_key_id,
            temporary.session_token.reveal().as_bytes(),
        )
    }

    #[test]
    fn what_was_sealed_opens() {
        let temporary = seal(&keys(), 1, &GRANT);
        let id = temporary.access_key_id.strip_prefix("ASIA").unwrap();
        assert_eq!(id.len(), 16);
        assert!(
            id.bytes()
                .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
        );
        assert_eq!(temporary.secret_access_key.reveal().len(), 40);
        let opened = open(&keys(), &temporary).unwrap();
        assert_eq!(opened.secret_access_key, temporary.secret_access_key);
        assert_eq!(
            (
                opened.account.as_str(),
                opened.parent_access_key_id.as_str()
            ),
            (GRANT.account, GRANT.parent_access_key_id)
        );
        assert_eq!(
            (
                opened.name.as_str(),
                opened.policy.as_str(),
                opened.expires_s
            ),
            (GRANT.name, GRANT.policy, GRANT.expires_s)
        );
        assert!(
            !format!("{temporary:?} {opened:?}").contains(temporary.secret_access_key.reveal())
        );
    }

    #[test]
    fn a_nonce_that_comes_twice_does_no_harm() {
        let other = Grant {
            name: "other",
            ..GRANT
        };
        let (one, two) = (seal(&keys(), 1, &GRANT), seal(&keys(), 1, &other));
        assert_ne!(one.access_key_id, two.access_key_id);
        assert_ne!(one.secret_access_key, two.secret_access_key);
        assert_ne!(one.session_token, two.session_token);
        assert_eq!(one, seal(&keys(), 1, &GRANT));
        assert_ne!(one, seal(&keys(), 2, &GRANT));
    }

    #[test]
    fn no_changed_token_opens() {
        let temporary = seal(&keys(), 1, &GRANT);
        let token = temporary.session_token.reveal().as_bytes();
        let id = &temporary.access_key_id;
        for place in 0..token.len() {
            for other in [b'A', b'/', b'=', b' '] {
                let mut changed = token.to_vec();
                changed[place] = other;
                assert!(
                    changed == token || keys().open(id, &changed).is_none(),
                    "{place}"
                );
            }
            assert!(keys().open(id, &token[..place]).is_none(), "{place}");
        }
        assert!(keys().open(id, &[b'A'; TOKEN_BYTES_MAX + 4]).is_none());
        assert!(keys().open("ASIAAAAAAAAAAAAAAAAA", token).is_none());
        assert!(keys().open(&id.to_lowercase(), token).is_none());
    }

    #[test]
    fn a_rotation_keeps_the_previous_key() {
        let old = seal(&keys(), 1, &GRANT);
        let rotated = SessionKeys::new(&[8; 32], Some(&[7; 32]));
        assert!(open(&rotated, &old).is_some());
        let new = seal(&rotated, 1, &GRANT);
        assert!(open(&rotated, &new).is_some());
        assert!(open(&keys(), &new).is_none());
        assert!(open(&SessionKeys::new(&[9; 32], Some(&[8; 32])), &old).is_none());
    }

    #[test]
    fn a_token_counts_only_with_the_secret_it_was_asked_for_with() {
        let temporary = seal(&keys(), 1, &GRANT);
        let opened = open(&keys(), &temporary).unwrap();
        assert!(keys().was_issued_with(&opened, &"secret".into()));
        assert!(!keys().was_issued_with(&opened, &"another".into()));
        assert!(!keys().was_issued_with(&opened, &"".into()));
        // Every holder of the session key that was in force knows it, whatever is in force now.
        let rotated = SessionKeys::new(&[8; 32], Some(&[7; 32]));
        assert!(rotated.was_issued_with(&opened, &"secret".into()));
        assert!(!rotated.was_issued_with(&opened, &"another".into()));
        assert!(!SessionKeys::new(&[8; 32], None).was_issued_with(&opened, &"secret".into()));
    }

    #[test]
    fn a_token_of_version_1_opens_and_no_other_can_be_made_one() {
        // Made by version 1 of GRANT, with a nonce of ones.
        let token = "Abm62JaPqKvRSHRRcQFqoMwE/VD5vF2pnyPv+xQ5jG2LqcE/f9jq+OTa6F74vR7h/RPpNLY/\
                     EZRpSGPYBTiv8czy8Xa49BglDw1G7P2Y+gHLC\
                     g1PkOTmJ6GqUJc48Gy6XmbvJSoauJVce6G+TLDow3TVi/s=";
        let opened = keys()
            .open("ASIANH7RPNV5OJFOK677", token.as_bytes())
            .unwrap();
        assert_eq!(
            (&*opened.name, opened.expires_s),
            (GRANT.name, GRANT.expires_s)
        );
        assert!(keys().was_issued_with(&opened, &"any".into()));
        let bound = seal(&keys(), 1, &GRANT);
        let bytes = bound.session_token.reveal().as_bytes();
        let mut bytes = base64::decode(bytes).unwrap();
        assert_eq!(bytes[0], VERSION);
        bytes[0] = UNBOUND;
        let mut unbound = Vec::new();
        base64::encode(&mut unbound, &bytes);
        assert!(keys().open(&bound.access_key_id, &unbound).is_none());
    }

    #[test]
    fn the_largest_grant_fits_and_a_larger_one_does_not() {
        let (id, name) = ("A".repeat(128), "n".repeat(32));
        let (policy, longer) = (" ".repeat(2048), " ".repeat(2049));
        let largest = Grant {
            parent_access_key_id: &id,
            name: &name,
            policy: &policy,
            ..GRANT
        };
        let temporary = seal(&keys(), 1, &largest);
        assert!(temporary.session_token.reveal().len() <= TOKEN_BYTES_MAX);
        assert_eq!(open(&keys(), &temporary).unwrap().policy, policy);
        let too_long = Grant {
            policy: &longer,
            ..GRANT
        };
        assert_eq!(keys().seal(&[1; 32], &too_long), Err(SealError::TooLong));
    }
}
