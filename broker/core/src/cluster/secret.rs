//! The secret that the nodes of a cluster share, and the keys that each derives from it.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use codec::proxy::LinkKey;
use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt;
use zeroize::Zeroizing;

/// 32 random bytes, the same on every node. Shows nothing of itself.
#[derive(Clone)]
pub struct ClusterSecret(Zeroizing<[u8; 32]>);

impl ClusterSecret {
    /// The secret of a file's text: one line of 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        let mut secret = Zeroizing::new([0; 32]);
        if digits.len() != 2 * secret.len() {
            return None;
        }
        let decoded = HEXLOWER_PERMISSIVE.decode_mut(digits, &mut *secret);
        decoded.ok().map(|_| Self(secret))
    }

    /// The key that headers between the nodes of this cluster are signed with.
    #[must_use]
    pub fn link_key(&self, cluster: &str) -> LinkKey {
        LinkKey::derive(&self.0, cluster)
    }

    /// The key of the hash that gives channels their slots, where no other was agreed on.
    ///
    /// # Panics
    /// Never: 16 bytes are less than the hash that they are derived with.
    #[must_use]
    pub fn slot_key(&self, cluster: &str) -> [u8; 16] {
        *self.derived(b"heliograph slots 1", cluster)
    }

    /// The seed of the key pair (Ed25519) by which the nodes of this cluster know each other in TLS.
    ///
    /// # Panics
    /// Never: 32 bytes are not more than the hash that they are derived with.
    #[must_use]
    pub fn node_seed(&self, cluster: &str) -> Zeroizing<[u8; 32]> {
        self.derived(b"heliograph node 1", cluster)
    }

    /// Bytes for one use in one cluster.
    fn derived<const N: usize>(&self, salt: &[u8], cluster: &str) -> Zeroizing<[u8; N]> {
        let derived = Salt::new(HKDF_SHA256, salt).extract(&*self.0);
        let mut bytes = Zeroizing::new([0; N]);
        let info = [cluster.as_bytes()];
        let filled = derived
            .expand(&info, Length(N))
            .and_then(|okm| okm.fill(&mut *bytes));
        filled.expect("at most as many bytes as a SHA-256 has");
        bytes
    }
}

/// How many bytes are derived.
#[derive(Clone, Copy)]
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClusterSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_64_digits() {
        let digits = "0f".repeat(32);
        let secret = ClusterSecret::parse(&format!("{digits}\n")).unwrap();
        assert_eq!(*secret.0, [0x0f; 32]);
        for wrong in [
            "",
            &digits[1..],
            &format!("{digits}0f"),
            &digits.replace('f', "g"),
        ] {
            assert!(ClusterSecret::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{secret:?}"), "ClusterSecret");
    }

    #[test]
    fn seeds_differ_by_secret_by_cluster_and_from_other_keys() {
        let secret = |byte: &str| ClusterSecret::parse(&byte.repeat(32)).unwrap();
        let seeds = [
            secret("0f").node_seed("prod"),
            secret("0e").node_seed("prod"),
            secret("0f").node_seed("test"),
        ];
        assert!(seeds[0] != seeds[1] && seeds[0] != seeds[2] && seeds[1] != seeds[2]);
        assert_ne!(seeds[0][..16], secret("0f").slot_key("prod"));
    }

    #[test]
    fn slot_keys_differ_by_secret_and_by_cluster() {
        let secret = |byte: &str| ClusterSecret::parse(&byte.repeat(32)).unwrap();
        let keys = [
            secret("0f").slot_key("prod"),
            secret("0e").slot_key("prod"),
            secret("0f").slot_key("test"),
        ];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert_eq!(keys[0], secret("0F").slot_key("prod"));
    }
}
