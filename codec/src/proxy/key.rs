//! The key that headers between the nodes of one cluster are signed with.

use crate::proxy::{CHALLENGE_BYTES, Link};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use std::fmt;

/// The HMAC key of one cluster's links, derived from its secret. Shows nothing of itself.
#[derive(Clone)]
pub struct LinkKey {
    signs: hmac::Key,
    /// The key that other nodes may still, or already, sign with while the secret is replaced.
    accepted: Option<hmac::Key>,
}

impl LinkKey {
    /// The key of the cluster of this secret and name.
    ///
    /// # Panics
    /// Never: the key is as long as the hash that it is derived with.
    #[must_use]
    pub fn derive(secret: &[u8; 32], cluster: &str) -> Self {
        let derived = Salt::new(HKDF_SHA256, b"heliograph link 1").extract(secret);
        let info = [cluster.as_bytes()];
        let key = derived.expand(&info, HMAC_SHA256);
        let key = key.expect("a SHA-256 of bytes is never too much to derive");
        Self {
            signs: key.into(),
            accepted: None,
        }
    }

    /// The same key, which also accepts headers that `other` signed.
    #[must_use]
    pub fn accepting(self, other: Self) -> Self {
        Self {
            accepted: Some(other.signs),
            ..self
        }
    }

    /// The HMAC of a header: of the challenge, the node's name with its length, and the header up to the HMAC.
    pub(crate) fn sign(&self, link: &Link<'_>, header: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.signs);
        for part in parts(link, header, &length(link.node)) {
            context.update(part);
        }
        context.sign()
    }

    /// Whether `mac` is that HMAC, in a time that does not depend on where it differs.
    pub(crate) fn verifies(&self, link: &Link<'_>, header: &[u8], mac: &[u8]) -> bool {
        let message = parts(link, header, &length(link.node)).concat();
        let mut keys = [Some(&self.signs), self.accepted.as_ref()]
            .into_iter()
            .flatten();
        keys.any(|key| hmac::verify(key, &message, mac).is_ok())
    }
}

fn parts<'a>(link: &Link<'a>, header: &'a [u8], length: &'a [u8; 8]) -> [&'a [u8]; 4] {
    let challenge: &[u8; CHALLENGE_BYTES] = link.challenge;
    [challenge, length, link.node.as_bytes(), header]
}

fn length(node: &str) -> [u8; 8] {
    (node.len() as u64).to_be_bytes()
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LinkKey")
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn keys_differ_by_secret_and_by_cluster() {
        fn link(key: &LinkKey) -> Link<'_> {
            Link {
                key,
                challenge: &[9; CHALLENGE_BYTES],
                node: "n2",
            }
        }
        let key = LinkKey::derive(&[1; 32], "prod");
        let tag = key.sign(&link(&key), b"header");
        assert!(key.verifies(&link(&key), b"header", tag.as_ref()));
        for other in [
            LinkKey::derive(&[2; 32], "prod"),
            LinkKey::derive(&[1; 32], "test"),
        ] {
            assert!(!other.verifies(&link(&other), b"header", tag.as_ref()));
        }
        assert_eq!(format!("{key:?}"), "LinkKey");
    }

    #[test]
    fn a_key_that_is_accepted_signs_nothing() {
        let [one, other] = [1, 2].map(|byte| LinkKey::derive(&[byte; 32], "prod"));
        let both = one.clone().accepting(other.clone());
        fn link(key: &LinkKey) -> Link<'_> {
            Link {
                key,
                challenge: &[9; CHALLENGE_BYTES],
                node: "n2",
            }
        }
        for signer in [&one, &other, &both] {
            let tag = signer.sign(&link(signer), b"header");
            assert!(both.verifies(&link(&both), b"header", tag.as_ref()));
        }
        let tag = both.sign(&link(&both), b"header");
        assert!(one.verifies(&link(&one), b"header", tag.as_ref()));
        assert!(!other.verifies(&link(&other), b"header", tag.as_ref()));
    }
}
