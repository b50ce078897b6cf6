//! The proof in a registration that its process has the cluster's secret, so that a node which nobody can reach, since
//! it has another secret, is given nothing.
//!
//! ```text
//!   proof = HMAC-SHA-256(key of the secret's line, length and bytes of the cluster's id
//!                        | slot hash key | length and bytes of the node's name | directory | start)
//! ```
//! A registration has one for each line of its process's secret, and is valid if one of them is that of either line of
//! the reader's: during a rotation nodes with neighbouring files know each other.

use crate::cluster::limits::INNER_VERSION;
use crate::cluster::types::{Incarnation, Kinship};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use std::fmt;

/// The keys of proofs: one for each line of the secret, the used one first. Shows nothing of them.
#[derive(Clone)]
pub struct ProofKeys(Vec<Key>);

/// The contents that a proof is made for.
#[derive(Clone, Copy, Debug)]
pub struct Registrant<'a> {
    /// The id of the cluster's meta key.
    pub cluster: &'a str,
    /// The key of the hash that finds a channel's slot.
    pub slot_key: &'a [u8; 16],
    /// The node's name.
    pub node: &'a str,
    /// Its process.
    pub incarnation: Incarnation,
}

impl ProofKeys {
    /// Keys of these bytes, the used one first.
    pub(crate) fn new<B: AsRef<[u8]>>(lines: &[B]) -> Self {
        let key = |bytes: &B| Key::new(HMAC_SHA256, bytes.as_ref());
        Self(lines.iter().map(key).collect())
    }

    /// The proofs of a registration of this process's own, 32 bytes each.
    #[must_use]
    pub fn prove(&self, registrant: &Registrant<'_>) -> Vec<Vec<u8>> {
        let message = registrant.message();
        let keys = self.0.iter();
        keys.map(|key| sign(key, &message).as_ref().to_vec())
            .collect()
    }

    /// The relation of a registered process to this one's cluster, by its proofs and its inner version.
    #[must_use]
    pub fn kinship<'p>(
        &self,
        registrant: &Registrant<'_>,
        mut proofs: impl Iterator<Item = &'p [u8]>,
        inner: u32,
    ) -> Kinship {
        let message = registrant.message();
        let is_valid = |proof| {
            self.0
                .iter()
                .any(|key| verify(key, &message, proof).is_ok())
        };
        if !proofs.any(is_valid) {
            Kinship::Unproven
        } else if inner.abs_diff(INNER_VERSION) > 1 {
            Kinship::OtherVersion(inner)
        } else {
            Kinship::Peer
        }
    }
}

impl Registrant<'_> {
    fn message(&self) -> Vec<u8> {
        let Incarnation { directory, start } = self.incarnation;
        let (directory, start) = (directory.to_be_bytes(), start.to_be_bytes());
        let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
        [
            &length(self.cluster)[..],
            self.cluster.as_bytes(),
            self.slot_key,
            &length(self.node),
            self.node.as_bytes(),
            &directory,
            &start,
        ]
        .concat()
    }
}

impl fmt::Debug for ProofKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ProofKeys")
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::cluster::secret::ClusterSecret;

    const N1: Registrant<'static> = Registrant {
        cluster: "0123456789abcdef",
        slot_key: b"0123456789abcdef",
        node: "n1",
        incarnation: Incarnation {
            directory: 7,
            start: 3,
        },
    };

    /// Keys of a secret whose lines repeat these two digits.
    fn keys(lines: &[&str]) -> ProofKeys {
        let text: Vec<String> = lines.iter().map(|line| line.repeat(32)).collect();
        let secret = ClusterSecret::parse(&text.join("\n")).unwrap();
        secret.proof_keys("prod")
    }

    fn kinship(reader: &ProofKeys, writer: &ProofKeys, read: &Registrant<'_>) -> Kinship {
        let proofs = writer.prove(&N1);
        reader.kinship(read, proofs.iter().map(Vec::as_slice), INNER_VERSION)
    }

    #[test]
    fn either_line_of_either_node_counts() {
        for (reader, writer, expected) in [
            (&["0f"][..], &["0f"][..], Kinship::Peer),
            (&["0f"], &["0f", "0e"], Kinship::Peer),
            (&["0f", "0e"], &["0f"], Kinship::Peer),
            (&["0f"], &["0e", "0f"], Kinship::Peer),
            (&["0e", "0f"], &["0f"], Kinship::Peer),
            (&["0f"], &["0e"], Kinship::Unproven),
            (&["0f", "0e"], &["0d"], Kinship::Unproven),
            (&["0d"], &["0f", "0e"], Kinship::Unproven),
        ] {
            let found = kinship(&keys(reader), &keys(writer), &N1);
            assert_eq!(found, expected, "{reader:?} reads what {writer:?} wrote");
        }
    }

    #[test]
    fn a_proof_is_of_one_cluster_one_hash_key_one_name_and_one_process() {
        let keys = keys(&["0f"]);
        let incarnation = |directory, start| Incarnation { directory, start };
        let others = [
            Registrant {
                cluster: "0123456789abcdee",
                ..N1
            },
            Registrant {
                slot_key: b"0123456789abcdee",
                ..N1
            },
            Registrant { node: "n2", ..N1 },
            Registrant {
                incarnation: incarnation(6, 3),
                ..N1
            },
            Registrant {
                incarnation: incarnation(7, 4),
                ..N1
            },
        ];
        for other in others {
            let found = kinship(&keys, &keys, &other);
            assert_eq!(found, Kinship::Unproven, "{other:?}");
        }
        let none = keys.kinship(&N1, [].into_iter(), INNER_VERSION);
        assert_eq!(none, Kinship::Unproven);
        let short = keys.kinship(&N1, [&b"short"[..], b""].into_iter(), INNER_VERSION);
        assert_eq!(short, Kinship::Unproven);
    }

    #[test]
    fn an_inner_version_is_this_one_or_its_neighbour() {
        let keys = keys(&["0f"]);
        let proofs = keys.prove(&N1);
        for (inner, expected) in [
            (INNER_VERSION, Kinship::Peer),
            (INNER_VERSION + 1, Kinship::Peer),
            (INNER_VERSION + 2, Kinship::OtherVersion(INNER_VERSION + 2)),
            (u32::MAX, Kinship::OtherVersion(u32::MAX)),
        ] {
            let proofs = proofs.iter().map(Vec::as_slice);
            assert_eq!(keys.kinship(&N1, proofs, inner), expected);
        }
    }
}
