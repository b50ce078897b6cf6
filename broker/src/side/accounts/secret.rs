//! Random texts that nobody can guess, and what is kept of them.

use aws_lc_rs::{digest, rand};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

/// The hash of a secret: what is kept of one.
pub(crate) type Hash = [u8; 32];

/// A text of 256 random bits in base64url; `None` when the system has none.
pub(crate) fn random() -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes).ok()?;
    Some(Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes)))
}

/// SHA-256 of a text.
pub(crate) fn hash(text: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

/// The challenge of a verifier. Source: RFC 7636, section 4.2, `S256`.
pub(crate) fn challenge(verifier: &str) -> String {
    BASE64URL_NOPAD.encode(&hash(verifier))
}

#[cfg(test)]
mod tests {

    use super::*;

    /// Source: RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_standard() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn texts_are_of_256_bits_and_all_different() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_ne!(*one, *other);
        for text in [one, other] {
            // Source: RFC 7636, section 4.1: a verifier has 43 to 128 characters.
            assert_eq!(text.len(), 43);
            assert_eq!(BASE64URL_NOPAD.decode(text.as_bytes()).unwrap().len(), 32);
        }
    }
}
