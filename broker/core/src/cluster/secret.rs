//! The secret shared by a cluster's nodes, the keys derived from it, and the proof in a registration.

use crate::cluster::limits::INNER_VERSION;
use crate::cluster::types::{Incarnation, Kinship};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt;
use zeroize::Zeroizing;

/// A cluster's secret: 32 random bytes that are identical on all nodes. A node may accept a second secret as well,
/// either the previous or the next one. Hidden in debug output.
///
/// To rotate the secret without an outage, give every node a file that contains both secrets, with the old one on the
/// first line. Then swap the two lines on every node, and finally remove the old secret.
#[derive(Clone)]
pub struct ClusterSecret {
    used: Bytes,
    accepted: Option<Bytes>,
}

type Bytes = Zeroizing<[u8; 32]>;

impl ClusterSecret {
    /// Parses a secret file, which has one or two lines of 64 hexadecimal digits. The current secret comes first.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let used = bytes(lines.next()?)?;
        let accepted = match lines.next() {
            Some(line) => Some(bytes(line)?),
            None => None,
        };
        let nothing_else = lines.next().is_none();
        nothing_else.then_some(Self { used, accepted })
    }

    /// Returns the default key of the hash that maps channels to slots. It applies unless the cluster has agreed on
    /// another key.
    ///
    /// # Panics
    /// Never panics: 16 bytes are less than the maximum output of the key derivation.
    #[must_use]
    pub fn slot_key(&self, cluster: &str) -> [u8; 16] {
        *derived(&self.used, b"heliograph slots 1", cluster)
    }

    /// Returns the seeds of the Ed25519 keys with which nodes authenticate to each other in TLS: the current seed,
    /// followed by the other accepted one, if any.
    #[must_use]
    pub fn node_seeds(&self, cluster: &str) -> Vec<Zeroizing<[u8; 32]>> {
        self.each(b"heliograph node 1", cluster)
    }

    /// Returns the keys that seal temporary credentials: the current key, followed by the other accepted one, if any.
    #[must_use]
    pub fn session_keys(&self, cluster: &str) -> Vec<Zeroizing<[u8; 32]>> {
        self.each(b"heliograph session 1", cluster)
    }

    /// Returns the keys from which the TLS ticket keys for clients are derived: the current key, followed by the other
    /// accepted one, if any.
    #[must_use]
    pub fn ticket_keys(&self, cluster: &str) -> Vec<Zeroizing<[u8; 32]>> {
        self.each(b"heliograph tickets 1", cluster)
    }

    /// Returns the keys for the proofs in registrations, which show that a process knows this secret.
    #[must_use]
    pub fn proof_keys(&self, cluster: &str) -> ProofKeys {
        ProofKeys::new(&self.each(b"heliograph registration 1", cluster))
    }

    fn each(&self, salt: &[u8], cluster: &str) -> Vec<Zeroizing<[u8; 32]>> {
        let secrets = [Some(&self.used), self.accepted.as_ref()];
        let secrets = secrets.into_iter().flatten();
        secrets
            .map(|secret| derived(secret, salt, cluster))
            .collect()
    }
}

fn bytes(line: &str) -> Option<Bytes> {
    let mut bytes = Zeroizing::new([0; 32]);
    if line.len() != 2 * bytes.len() {
        return None;
    }
    let decoded = HEXLOWER_PERMISSIVE.decode_mut(line.as_bytes(), &mut *bytes);
    decoded.ok().map(|_| bytes)
}

fn derived<const N: usize>(secret: &Bytes, salt: &[u8], cluster: &str) -> Zeroizing<[u8; N]> {
    let key = Salt::new(HKDF_SHA256, salt).extract(&**secret);
    let mut bytes = Zeroizing::new([0; N]);
    let info = [cluster.as_bytes()];
    let filled = (key.expand(&info, Length(N))).and_then(|okm| okm.fill(&mut *bytes));
    filled.expect("at most as many bytes as a SHA-256 has");
    bytes
}

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

// A registration contains a proof that its process knows the cluster's secret. Without the proof, a node with another
// secret could be given slots, even though no client could reach it.
//
// ```text
//   proof = HMAC-SHA-256(key of the secret's line, length and bytes of the cluster's id
//                        | slot hash key | length and bytes of the node's name | directory | start)
// ```
// A registration contains one proof for each line of its process's secret file. Another node accepts the registration
// if one of the proofs matches either line of its own file. Nodes that are one rotation step apart therefore accept
// each other.

/// The keys for proofs, one for each line of the secret file, starting with the current one. Hidden in debug output.
#[derive(Clone)]
pub struct ProofKeys(Vec<Key>);

/// The data that a proof covers.
#[derive(Clone, Copy, Debug)]
pub struct Registrant<'a> {
    /// The id of the cluster, as stored in the meta key.
    pub cluster: &'a str,
    /// The key of the hash that maps channels to slots.
    pub slot_key: &'a [u8; 16],
    /// The node's name.
    pub node: &'a str,
    /// The incarnation of the node.
    pub incarnation: Incarnation,
}

impl ProofKeys {
    pub(crate) fn new<B: AsRef<[u8]>>(lines: &[B]) -> Self {
        let key = |bytes: &B| Key::new(HMAC_SHA256, bytes.as_ref());
        Self(lines.iter().map(key).collect())
    }

    /// Computes the proofs for a registration of this process. Each proof is 32 bytes long.
    #[must_use]
    pub fn prove(&self, registrant: &Registrant<'_>) -> Vec<Vec<u8>> {
        let message = registrant.message();
        let keys = self.0.iter();
        keys.map(|key| sign(key, &message).as_ref().to_vec())
            .collect()
    }

    /// Determines how a registered process relates to this cluster, based on its proofs and its inter-node protocol
    /// version.
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

    #[test]
    fn a_secret_is_64_digits_or_twice_as_many() {
        let digits = "0f".repeat(32);
        let secret = ClusterSecret::parse(&format!("{digits}\n")).unwrap();
        assert_eq!(*secret.used, [0x0f; 32]);
        assert!(secret.accepted.is_none());
        let other = "0e".repeat(32);
        let secret = ClusterSecret::parse(&format!("\n {digits} \n\n{other}")).unwrap();
        assert_eq!(*secret.used, [0x0f; 32]);
        assert_eq!(secret.accepted.as_deref(), Some(&[0x0e; 32]));
        for wrong in [
            "",
            &digits[1..],
            &format!("{digits}0f"),
            &digits.replace('f', "g"),
            &format!("{digits}\n{}", &other[1..]),
            &format!("{digits}\n{other}\n{other}"),
        ] {
            assert!(ClusterSecret::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{secret:?}"), "ClusterSecret");
    }

    #[test]
    fn keys_differ_by_secret_by_cluster_and_by_use() {
        let secret = |byte: &str| ClusterSecret::parse(&byte.repeat(32)).unwrap();
        let (one, other) = (secret("0f"), secret("0e"));
        let keys = [
            one.node_seeds("prod"),
            one.session_keys("prod"),
            one.ticket_keys("prod"),
            other.node_seeds("prod"),
            one.node_seeds("test"),
        ]
        .concat();
        assert_eq!(keys.len(), 5);
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "{place}");
            assert_ne!(key[..16], one.slot_key("prod"));
        }
    }

    #[test]
    fn of_two_secrets_the_first_is_used() {
        let [one, other] = ["0f", "0e"].map(|byte| byte.repeat(32));
        let both = ClusterSecret::parse(&format!("{one}\n{other}")).unwrap();
        let [one, other] = [one, other].map(|text| ClusterSecret::parse(&text).unwrap());
        let expected = [one.session_keys("prod"), other.session_keys("prod")].concat();
        assert_eq!(both.session_keys("prod"), expected);
        assert_eq!(both.slot_key("prod"), one.slot_key("prod"));
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

#[cfg(test)]
mod proof_tests {
    use super::{ClusterSecret, *};
    use crate::cluster::types::fixtures::incarnation;

    const N1: Registrant<'static> = Registrant {
        cluster: "0123456789abcdef",
        slot_key: b"0123456789abcdef",
        node: "n1",
        incarnation: incarnation(7, 3),
    };

    /// Returns the keys of a secret. Each line of the secret repeats two digits.
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
        #[rustfmt::skip] // a table, a case per row
        let others = [
            Registrant { cluster: "0123456789abcdee",..N1 },
            Registrant { slot_key: b"0123456789abcdee",..N1 },
            Registrant { node: "n2", ..N1 },
            Registrant { incarnation: incarnation(6, 3),..N1 },
            Registrant { incarnation: incarnation(7, 4),..N1 },
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
