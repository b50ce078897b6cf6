//! Keys: the secret's derived key of one day, region and service, and the HMAC under it.

use crate::aws::sigv4::TERMINATOR;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use std::fmt;

/// The key of one secret, day, region and service, its HMAC begun: 1.2 KiB. Shows nothing of itself.
///
/// Source: AWS, "Create a signed AWS API request", step 3.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Derives the key: four HMACs, about a microsecond. `date` is `YYYYMMDD`.
    #[must_use]
    pub fn derive(secret_access_key: &str, date: &str, region: &str, service: &str) -> Self {
        let secret = ["AWS4", secret_access_key].concat();
        let mut key = hmac::Key::new(HMAC_SHA256, secret.as_bytes());
        for part in [date, region, service, TERMINATOR] {
            key = hmac::Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        Self(key)
    }

    /// The signature of a string to sign.
    #[must_use]
    pub fn sign(&self, string_to_sign: &[u8]) -> [u8; 32] {
        let mut signature = [0; 32];
        let tag = hmac::sign(&self.0, string_to_sign);
        for (to, from) in signature.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        signature
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey")
    }
}

/// 32 bytes as lower-case hexadecimal digits.
///
/// # Panics
/// With another number of bytes: a SHA-256 and its HMAC have as many.
pub(crate) fn hex(bytes: &[u8]) -> [u8; 64] {
    let mut text = [b'0'; 64];
    HEXLOWER.encode_mut(bytes, &mut text);
    text
}

/// 64 hexadecimal digits, in either case, as the 32 bytes they stand for.
pub(crate) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_long_enough = text.len() == 2 * bytes.len();
    let decoded = is_long_enough.then(|| HEXLOWER_PERMISSIVE.decode_mut(text, &mut bytes));
    decoded?.ok().map(|_| bytes)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn signatures_are_64_digits() {
        let bytes: Vec<u8> = (0..32).map(|byte| byte * 8 + 7).collect();
        let mut text = hex(&bytes);
        assert_eq!(unhex(&text).unwrap(), *bytes);
        assert_eq!(unhex(&text.to_ascii_uppercase()).unwrap(), *bytes);
        assert_eq!(unhex(&text[1..]), None);
        assert_eq!(unhex(&text[2..]), None);
        text[5] = b'g';
        assert_eq!(unhex(&text), None);
        assert_eq!(unhex(&[b'0'; 66]), None);
    }

    #[test]
    fn keys_keep_their_secret() {
        let key = SigningKey::derive("secret", "20260102", "us-east-1", "kinesisvideo");
        assert_eq!(format!("{key:?}"), "SigningKey");
    }
}
