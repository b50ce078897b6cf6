//! Stateless temporary credentials: nothing needs to be stored, because the token contains the encrypted grant.
//!
//! # Theory of operation
//! ```text
//! token  = base64( version | key 4 | mark 32 | AES-256-GCM( grant ) with tag 16 )
//! mark   = HMAC-SHA-256(session key, nonce | grant)
//! issuer = HMAC-SHA-256(session key, access key id | secret), 16 of its bytes: part of the grant
//! sealing key 32, access key id 10, secret 30 = HKDF-SHA-256(session key, mark)
//! ```
//! The issuer field binds a token to the secret of the principal that requested it. The token becomes invalid when the
//! principal is removed or when its secret or access key id changes. The grant contains the policy in parsed form, so
//! only the shard that issues the token parses the policy.
//!
//! Version 5 is used for sessions of principals and roles. The broker does not store such sessions. Each time a token
//! is used, it looks up everything that the session refers to, so removing any of it invalidates the session. Version 4
//! is refused, because it lacks the numbers that identify a certificate in revocation lists.
//!
//! Version 3 is used for federated users. Version 2 contains the policy as text, and version 1 also lacks the issuer.
//! Tokens of these two versions are accepted until they expire, which takes at most the maximum grant duration after an
//! upgrade. Refusing them would disconnect every browser that uses such a token. An operator can revoke them at once by
//! removing the principal or `session.key`.
//!
//! All derived values depend on the mark, which is a MAC of the nonce and the grant. Each token is therefore sealed
//! with its own key, and a repeated nonce does no harm: the same grant yields the same token, and different grants
//! yield unrelated tokens. The `key` field identifies the session key, so that only one key has to be tried during a
//! rotation.
//!
//! Source: STS API Reference, "GetFederationToken" (lengths); RFC 5869 (HKDF); NIST SP 800-38D (GCM).

use crate::auth::grant::{GRANT_BYTES_MAX, Grant, GrantRoot, Issuer, OpenedToken};
use crate::auth::principal::Secret;
use crate::{check::Check, refusal::Refusal};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key, sign};
use codec::{base64, sts::ErrorKind};
use data_encoding::{BASE32, BASE64};
use std::fmt;
use zeroize::Zeroizing;

/// The keys that seal temporary credentials. Shared by all shards, and by all nodes that have the same key file.
pub struct SessionKeys {
    current: Sealer,
    previous: Option<Sealer>,
}

/// Temporary credentials that have been issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// Access key id: `ASIA` followed by 16 characters of `A-Z2-7`.
    pub access_key_id: String,
    /// Secret key of 40 base64 characters.
    pub secret_access_key: Secret,
    /// Session token of at most [`TOKEN_BYTES_MAX`] base64 characters.
    pub session_token: Secret,
    /// Expiry time, in seconds since 1970 UTC.
    pub expires_s: u64,
}

/// The reason why a grant cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// A field is too long. Callers check the lengths before they seal a grant.
    TooLong,
    /// The crypto library failed unexpectedly.
    Library,
}

impl SealError {
    pub(crate) fn refusal(self, too_long: &'static str) -> Refusal {
        let (check, kind, message) = match self {
            Self::TooLong => (
                Check::SessionPolicyMalformed,
                ErrorKind::PackedPolicyTooLarge,
                too_long,
            ),
            Self::Library => (
                Check::InternalFailure,
                ErrorKind::InternalFailure,
                "Internal failure.",
            ),
        };
        Refusal::new(check, kind, message)
    }
}

impl SessionKeys {
    /// Creates keys that seal with `current` and open tokens sealed with either key. Each key consists of 32 random
    /// bytes. The caller must wipe its own copies.
    #[must_use]
    pub fn new(current: &[u8; 32], previous: Option<&[u8; 32]>) -> Self {
        Self {
            current: Sealer::new(current),
            previous: previous.map(Sealer::new),
        }
    }

    /// Seals a grant into temporary credentials. `secret` is the secret of the root principal and is empty for a
    /// sign-in. The grant becomes invalid when the secret changes.
    ///
    /// # Errors
    /// Returns a [`SealError`] if a field is too long, if the token would be longer than [`TOKEN_BYTES_MAX`], or if the
    /// crypto library fails.
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        grant: &Grant,
        secret: &str,
    ) -> Result<Temporary, SealError> {
        let issuer = match &grant.root {
            GrantRoot::Key { access_key_id } => self.current.issuer(access_key_id, secret),
            GrantRoot::SignIn(_) => [0; ISSUER_BYTES], // the grant contains what a sign-in depends on
        };
        let (version, bytes) = grant.encode().ok_or(SealError::TooLong)?;
        let sealed = [&issuer[..], &bytes].concat();
        let temporary = self
            .current
            .seal_bytes(version, nonce, sealed, grant.expires_s)?;
        if temporary.session_token.reveal().len() > TOKEN_BYTES_MAX {
            return Err(SealError::TooLong);
        }
        Ok(temporary)
    }

    /// Opens the token of a request signed with this access key id. Returns `None` if another server issued the token,
    /// or if it belongs to another id. Takes a few microseconds, and less if the bytes cannot be a token.
    #[must_use]
    pub fn open(&self, access_key_id: &str, token: &[u8]) -> Option<OpenedToken> {
        let is_id = access_key_id.len() == ACCESS_KEY_ID_BYTES && access_key_id.starts_with(PREFIX);
        if !is_id || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let mut token = base64::decode(token)?;
        let (&mut [version], rest) = token.split_first_chunk_mut::<1>()?;
        let (&mut fingerprint, rest) = rest.split_first_chunk_mut::<FINGERPRINT_BYTES>()?;
        let (&mut mark, sealed) = rest.split_first_chunk_mut::<MARK_BYTES>()?;
        if ![SESSION, VERSION, TEXTUAL, UNBOUND].contains(&version) {
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
        let (tag, grant) = if version == UNBOUND {
            (None, &*plain)
        } else {
            let (tag, rest) = plain.split_first_chunk()?;
            (Some(*tag), rest)
        };
        let issuer = tag.map(|tag| Issuer {
            key: fingerprint,
            tag,
        });
        Some(OpenedToken {
            grant: Grant::decode(version, grant)?,
            issuer,
            secret_access_key: derived.secret()?,
        })
    }

    /// Returns `true` if the token was issued to the principal with this access key id and secret. Tokens of version 1
    /// contain no issuer and always pass.
    #[must_use]
    pub fn was_begun_with(&self, opened: &OpenedToken, id: &str, secret: &Secret) -> bool {
        opened.issuer.is_none_or(|issuer| {
            let sealer = self.sealer(issuer.key);
            let tag = sealer.map(|sealer| sealer.issuer(id, secret.reveal()));
            tag.is_some_and(|tag| verify_slices_are_equal(&tag, &issuer.tag).is_ok())
        })
    }

    /// Returns the keys for the encrypted request ids of refusals. The first key encrypts and decrypts, and the second
    /// one only decrypts. The second one is `None` if there is no previous session key.
    #[must_use]
    pub fn refusal_keys(&self) -> [Option<Zeroizing<[u8; REFUSAL_KEY_BYTES]>>; 2] {
        [Some(&self.current), self.previous.as_ref()]
            .map(|sealer| derived(&sealer?.derive, &[b"heliograph refusal ids"]))
    }

    fn sealer(&self, fingerprint: [u8; FINGERPRINT_BYTES]) -> Option<&Sealer> {
        let sealers = [Some(&self.current), self.previous.as_ref()];
        let mut sealers = sealers.into_iter().flatten();
        sealers.find(|sealer| sealer.fingerprint == fingerprint)
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SessionKeys")
    }
}

/// Length of a nonce, in bytes.
pub const NONCE_BYTES: usize = 32;

/// Maximum length of a session token in characters. Tokens are sent in URLs, and request heads are limited to 16 KiB.
pub const TOKEN_BYTES_MAX: usize = 4096;

const REFUSAL_KEY_BYTES: usize = 16;
/// Version number of tokens for sessions of principals and roles.
pub(crate) const SESSION: u8 = 5;
pub(crate) const VERSION: u8 = 3;
/// Version number of tokens that contain the policy as text.
const TEXTUAL: u8 = 2;
/// Version number of tokens that contain the policy as text and have no issuer.
const UNBOUND: u8 = 1;
pub(crate) const ISSUER_BYTES: usize = 16;
pub(crate) const FINGERPRINT_BYTES: usize = 4;
const MARK_BYTES: usize = 32;
const PREFIX: &str = "ASIA";
pub(crate) const ACCESS_KEY_ID_BYTES: usize = PREFIX.len() + 16;

const _: () = assert!(
    (1 + FINGERPRINT_BYTES + MARK_BYTES + ISSUER_BYTES + GRANT_BYTES_MAX + TAG_BYTES).div_ceil(3)
        * 4
        <= TOKEN_BYTES_MAX
);

/// The keys derived from a session key.
struct Sealer {
    pub(crate) fingerprint: [u8; FINGERPRINT_BYTES],
    mark: hmac::Key,
    issuer: hmac::Key,
    derive: Prk,
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
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

    fn seal_bytes(
        &self,
        version: u8,
        nonce: &[u8; NONCE_BYTES],
        mut sealed: Vec<u8>,
        expires_s: u64,
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

        Ok(Temporary {
            access_key_id: derived.access_key_id(),
            secret_access_key: derived.secret().ok_or(SealError::Library)?,
            session_token: BASE64.encode(&token).into(),
            expires_s,
        })
    }

    /// Returns the fingerprint of a principal's id and secret. A zero byte separates them, and ids contain no zero
    /// byte, so each pair has a unique encoding.
    pub(crate) fn issuer(&self, access_key_id: &str, secret: &str) -> [u8; ISSUER_BYTES] {
        let mut context = hmac::Context::with_key(&self.issuer);
        context.update(access_key_id.as_bytes());
        context.update(&[0]);
        context.update(secret.as_bytes());
        let tag = context.sign();
        let first = tag.as_ref().first_chunk().copied();
        first.unwrap_or_default()
    }

    pub(crate) fn derive(&self, version: u8, mark: &[u8]) -> Option<DerivedKeys> {
        let name = match version {
            UNBOUND => b"heliograph session 1",
            TEXTUAL => b"heliograph session 2",
            SESSION => b"heliograph session 5",
            _ => b"heliograph session 3",
        };
        derived(&self.derive, &[name.as_slice(), mark]).map(DerivedKeys)
    }
}

/// A token's sealing key, access key id and secret, which are derived from the token's MAC (the mark).
struct DerivedKeys(Zeroizing<[u8; DERIVED_BYTES]>);

/// Derives `N` bytes from a key. Returns `None` if that is more than 255 times the length of a SHA-256 hash.
fn derived<const N: usize>(key: &Prk, info: &[&[u8]]) -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    let material = key.expand(info, DerivedLength(N)).ok()?;
    material.fill(&mut *bytes).ok()?;
    Some(bytes)
}

struct DerivedLength(usize);

impl KeyType for DerivedLength {
    fn len(&self) -> usize {
        self.0
    }
}

impl DerivedKeys {
    fn aead(&self) -> Option<LessSafeKey> {
        let (key, _) = self.0.split_first_chunk::<32>()?;
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(LessSafeKey::new(key))
    }

    pub(crate) fn access_key_id(&self) -> String {
        let id = self.0.get(32..42).unwrap_or(&[0; 10]);
        format!("{PREFIX}{}", BASE32.encode(id))
    }

    pub(crate) fn secret(&self) -> Option<Secret> {
        Some(BASE64.encode(self.0.get(42..)?).into())
    }
}

/// Returns the header of a token, which precedes the MAC. The header is authenticated but not encrypted.
pub(crate) fn header(
    version: u8,
    fingerprint: [u8; FINGERPRINT_BYTES],
) -> [u8; 1 + FINGERPRINT_BYTES] {
    let [a, b, c, d] = fingerprint;
    [version, a, b, c, d]
}

/// Returns an all-zero nonce. This is safe because each key seals only one plaintext.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

const TAG_BYTES: usize = 16;
const DERIVED_BYTES: usize = 32 + 10 + 30;

/// Generates unpredictable nonces that never repeat. Each shard has its own generator, seeded at every start.
pub struct Nonces {
    key: Key,
    shard: u16,
    counter: u64,
}

impl Nonces {
    /// Creates a shard's nonce generator from 32 random bytes.
    #[must_use]
    pub fn new(seed: &[u8; 32], shard: u16) -> Self {
        Self {
            key: Key::new(HMAC_SHA256, seed),
            shard,
            counter: 0,
        }
    }

    /// Returns the next nonce.
    pub fn draw(&mut self) -> [u8; NONCE_BYTES] {
        let mut place = [0; 10];
        let (shard, counter) = place.split_at_mut(2);
        shard.copy_from_slice(&self.shard.to_be_bytes());
        counter.copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(sign(&self.key, &place).as_ref());
        nonce
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Nonces({}, {})", self.shard, self.counter)
    }
}

#[cfg(test)]
mod nonces_tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_nonce_comes_twice() {
        let mut all = BTreeSet::new();
        for (seed, shard) in [([1; 32], 0), ([1; 32], 1), ([2; 32], 0)] {
            let mut nonces = Nonces::new(&seed, shard);
            all.extend((0..100).map(|_| nonces.draw()));
        }
        assert_eq!(all.len(), 300);
    }
}

#[cfg(test)]
mod tests;
