//! Connections between nodes: PROXY protocol version 2 in front of a client's own bytes, authenticated.
//!
//! A node that does not own a channel passes the client's connection on to the node that does, over one TCP connection
//! each. The owner speaks first, so that no header can be used twice, whatever the clocks of both say:
//! ```text
//!  owner → sender   greeting: 8 bytes that name the protocol, 32 random bytes, the challenge
//!  sender → owner   PROXY header, signed for this challenge and this node; then the client's bytes as they came
//!  owner → sender   the answer to the client, as if the client had connected to the owner itself
//! ```
//! The header names the client's address, so that the owner's bounds per address hold for clients, not for nodes:
//! ```text
//!   0            12   13   14     16            28 or 52
//!  ┌────────────┬────┬────┬──────┬─────────────┬──────────────────────┬──────────────────────────┐
//!  │ signature  │0x21│fam.│length│  addresses  │0xE0: listener, TLS   │0xE1: HMAC-SHA256, last   │
//!  └────────────┴────┴────┴──────┴─────────────┴──────────────────────┴──────────────────────────┘
//! ```
//! A node may connect before it has a client to pass on. Then a frame comes first that is signed in the same way and
//! names nobody, so that the owner knows that a node waits there; the header of a client follows later, or the end:
//! ```text
//!   0            12   13   14     16
//!  ┌────────────┬────┬────┬──────┬──────────────────────────┐
//!  │ signature  │0x20│  0 │  35  │0xE1: HMAC-SHA256         │
//!  └────────────┴────┴────┴──────┴──────────────────────────┘
//! ```
//! The header of a call or an upgrade may say that the connection is kept behind it; see `frame`.
//!
//! Source: HAProxy, "The PROXY protocol, versions 1 & 2", section 2.2; 0xE0 to 0xEF are left to applications
//! (`PP2_TYPE_MIN_CUSTOM`).

mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod header;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
pub use frame::{
    CALL_BYTES_MAX, CallEntry, Entry, FRAME_BYTES, NotFrame, OwnerFrame, read_frame, write_frame,
};
pub use header::{
    Introduction, ProxyError, introduced, is_ahead, parse_ahead, write, write_ahead, write_call,
    write_upgrade,
};
use std::fmt;
use std::net::SocketAddr;

/// The client's connection that a node passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client's address.
    pub source: SocketAddr,
    /// The address that the client connected to; that of a call on a connection that is kept is not said.
    pub destination: SocketAddr,
    /// The place of the client's listener in the sender's configured list.
    pub listener: u16,
    /// Whether the client speaks TLS with the sender.
    pub tls: bool,
}

/// The connection that a header is signed for: one connection to one node.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The key of the cluster.
    pub key: &'a LinkKey,
    /// The challenge in the owner's greeting.
    pub challenge: &'a [u8; CHALLENGE_BYTES],
    /// The owner's name.
    pub node: &'a str,
}

/// Longest header that is taken, in bytes: one of ours has at most 108, the rest is room for entries of later versions.
pub const HEADER_BYTES_MAX: usize = 256;

/// The first bytes of every header of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;

/// Version 2, command LOCAL: a connection that the sender opened on its own account.
const VERSION_AND_LOCAL: u8 = 0x20;

/// Bytes of the frame of a connection that is opened ahead.
pub const AHEAD_BYTES: usize = FIXED_BYTES + ENTRY_BYTES + MAC_BYTES;

/// TCP over IPv4, and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Bytes before the addresses.
const FIXED_BYTES: usize = 16;

/// The entry of [`ProxyHeader::listener`] (two bytes) and [`ProxyHeader::tls`] (one, 0 or 1).
const TYPE_LISTENER: u8 = 0xe0;

/// The entry of the HMAC.
const TYPE_MAC: u8 = 0xe1;

/// Type and length of an entry.
const ENTRY_BYTES: usize = 3;

/// A SHA-256.
const MAC_BYTES: usize = 32;

/// The low byte of the length of the HMAC's entry.
const MAC_LENGTH: u8 = 32;

/// The frame of a connection that is opened ahead, up to its HMAC: no addresses, and that entry alone.
const fn ahead() -> [u8; AHEAD_BYTES - MAC_BYTES] {
    let mut frame = [0; AHEAD_BYTES - MAC_BYTES];
    let (signature, rest) = frame.split_at_mut(SIGNATURE.len());
    signature.copy_from_slice(&SIGNATURE);
    rest.copy_from_slice(&[VERSION_AND_LOCAL, 0, 0, 35, TYPE_MAC, 0, MAC_LENGTH]);
    frame
}

const _: () = assert!(MAC_LENGTH as usize == MAC_BYTES && ENTRY_BYTES + MAC_BYTES == 35);

// The greeting: the first bytes from the node that is connected to.

/// Bytes of a challenge.
pub const CHALLENGE_BYTES: usize = 32;

/// Bytes of a greeting.
pub const GREETING_BYTES: usize = MAGIC.len() + CHALLENGE_BYTES;

/// The peer is not an inner listener of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotGreeting;

/// The greeting with this challenge, which must be random and used once.
#[must_use]
pub fn greeting(challenge: &[u8; CHALLENGE_BYTES]) -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    let bytes = MAGIC.iter().chain(challenge);
    greeting
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    greeting
}

/// The challenge of the greeting received so far; `None` while it is incomplete.
///
/// # Errors
/// The bytes are no greeting, or others follow it: the owner sends nothing more before it has the header.
pub fn read_greeting(bytes: &[u8]) -> Result<Option<[u8; CHALLENGE_BYTES]>, NotGreeting> {
    let begun = bytes.len().min(MAGIC.len());
    if bytes.get(..begun) != MAGIC.get(..begun) || bytes.len() > GREETING_BYTES {
        return Err(NotGreeting);
    }
    let challenge = bytes.get(MAGIC.len()..).unwrap_or_default();
    Ok(challenge.try_into().ok())
}

/// The protocol between nodes, version 1.
const MAGIC: [u8; 8] = *b"HELIO/1\n";

// The key that headers between the nodes of one cluster are signed with.

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
    fn verifies(&self, link: &Link<'_>, header: &[u8], mac: &[u8]) -> bool {
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
mod greeting_tests {
    use super::*;

    #[test]
    fn a_greeting_is_read_at_every_cut() {
        let challenge = [7; CHALLENGE_BYTES];
        let whole = greeting(&challenge);
        for cut in 0..whole.len() {
            assert_eq!(read_greeting(&whole[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(read_greeting(&whole), Ok(Some(challenge)));
    }

    #[test]
    fn what_is_no_greeting_is_known_by_its_first_wrong_byte() {
        assert_eq!(read_greeting(b"HTTP/1.1 400"), Err(NotGreeting));
        assert_eq!(read_greeting(b"HELIO/2"), Err(NotGreeting));
        let more = [&greeting(&[7; CHALLENGE_BYTES])[..], b"x"].concat();
        assert_eq!(read_greeting(&more), Err(NotGreeting));
    }
}

#[cfg(test)]
mod key_tests {
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
