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
        let derived = Salt::new(HKDF_SHA256, b"heliograph slots 1").extract(&*self.0);
        let mut key = [0; SlotKey::BYTES];
        let info = [cluster.as_bytes()];
        let filled = derived
            .expand(&info, SlotKey)
            .and_then(|okm| okm.fill(&mut key));
        filled.expect("16 bytes are less than a SHA-256");
        key
    }
}

/// What is derived is as long as a key of SipHash.
#[derive(Clone, Copy)]
struct SlotKey;

impl SlotKey {
    const BYTES: usize = 16;
}

impl KeyType for SlotKey {
    fn len(&self) -> usize {
        Self::BYTES
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
