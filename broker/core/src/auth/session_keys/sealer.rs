//! Values that are derived from one session key: marks, issuers, the seal of a token, keys of refusal ids.

use crate::auth::principal::Secret;
use crate::auth::session_keys::grant::{Grant, write_grant};
use crate::auth::session_keys::session_grant::{RootGrant, SessionGrant, write_session};
use crate::auth::session_keys::{
    FINGERPRINT_BYTES, ISSUER_BYTES, NONCE_BYTES, PREFIX, REFUSAL_KEY_BYTES, SESSION, SealError,
    TEXTUAL, Temporary, UNBOUND, VERSION,
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use codec::base64;
use data_encoding::BASE32;
use zeroize::Zeroizing;

/// One session key, as what is derived from it.
pub(crate) struct Sealer {
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

    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        grant: &Grant<'_>,
    ) -> Result<Temporary, SealError> {
        let issuer = self.issuer(grant.parent_access_key_id, grant.parent_secret);
        self.seal_of(issuer, VERSION, nonce, write_grant(grant))
    }

    pub(crate) fn seal_session(
        &self,
        nonce: &[u8; NONCE_BYTES],
        grant: &SessionGrant<'_>,
    ) -> Result<Temporary, SealError> {
        let issuer = match grant.root {
            RootGrant::Key {
                access_key_id,
                secret,
            } => self.issuer(access_key_id, secret),
            RootGrant::SignIn(_) => [0; ISSUER_BYTES], // what it hangs on is in the grant
        };
        self.seal_of(issuer, SESSION, nonce, write_session(grant))
    }

    /// Seals what an issuer grants, if that could be written.
    fn seal_of(
        &self,
        issuer: [u8; ISSUER_BYTES],
        version: u8,
        nonce: &[u8; NONCE_BYTES],
        grant: Option<Vec<u8>>,
    ) -> Result<Temporary, SealError> {
        let grant = grant.ok_or(SealError::TooLong)?;
        self.seal_bytes(version, nonce, [&issuer[..], &grant].concat())
    }

    /// Seals the issuer and the grant as bytes.
    pub(crate) fn seal_bytes(
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
    pub(crate) fn issuer(&self, access_key_id: &str, secret: &str) -> [u8; ISSUER_BYTES] {
        let mut context = hmac::Context::with_key(&self.issuer);
        context.update(access_key_id.as_bytes());
        context.update(&[0]);
        context.update(secret.as_bytes());
        let tag = context.sign();
        let first = tag.as_ref().first_chunk().copied();
        first.unwrap_or_default()
    }

    pub(crate) fn refusal_key(&self) -> Option<Zeroizing<[u8; REFUSAL_KEY_BYTES]>> {
        let mut key = Zeroizing::new([0; REFUSAL_KEY_BYTES]);
        let info = [b"heliograph refusal ids".as_slice()];
        let material = self.derive.expand(&info, RefusalKeyLength).ok()?;
        material.fill(&mut *key).ok()?;
        Some(key)
    }

    pub(crate) fn derive(&self, version: u8, mark: &[u8]) -> Option<Derived> {
        let mut bytes = Zeroizing::new([0; DERIVED_BYTES]);
        let name = match version {
            UNBOUND => b"heliograph session 1",
            TEXTUAL => b"heliograph session 2",
            SESSION => b"heliograph session 4",
            _ => b"heliograph session 3",
        };
        let info = [name.as_slice(), mark];
        let material = self.derive.expand(&info, DerivedLength).ok()?;
        material.fill(&mut *bytes).ok()?;
        Some(Derived(bytes))
    }
}

/// Bytes derived from a mark: the key of the seal, the access key id, the secret.
pub(crate) struct Derived(Zeroizing<[u8; DERIVED_BYTES]>);

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
    pub(crate) fn aead(&self) -> Option<LessSafeKey> {
        let (key, _) = self.0.split_first_chunk::<32>()?;
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(LessSafeKey::new(key))
    }

    pub(crate) fn access_key_id(&self) -> String {
        let id = self.0.get(32..42).unwrap_or(&[0; 10]);
        format!("{PREFIX}{}", BASE32.encode(id))
    }

    pub(crate) fn secret(&self) -> Option<Secret> {
        let mut text = Vec::new();
        base64::encode(&mut text, self.0.get(42..)?);
        String::from_utf8(text).ok().map(Secret::from)
    }
}

/// The bytes of a token before its mark, which the seal authenticates.
pub(crate) fn header(
    version: u8,
    fingerprint: [u8; FINGERPRINT_BYTES],
) -> [u8; 1 + FINGERPRINT_BYTES] {
    let [a, b, c, d] = fingerprint;
    [version, a, b, c, d]
}

/// Each key seals one text only.
pub(crate) fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Length of the tag of AES-256-GCM.
pub(crate) const TAG_BYTES: usize = 16;
const DERIVED_BYTES: usize = 32 + 10 + 30;
