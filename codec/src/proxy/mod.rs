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
//! The header of a call or an upgrade may say that the connection is kept behind it; see the page `kept`.
//!
//! Source: HAProxy, "The PROXY protocol, versions 1 & 2", section 2.2; 0xE0 to 0xEF are left to applications
//! (`PP2_TYPE_MIN_CUSTOM`).

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod greeting;
mod kept;
mod key;
mod parse;
mod write;

pub use greeting::{CHALLENGE_BYTES, GREETING_BYTES, NotGreeting, greeting, read_greeting};
pub use kept::{
    CALL_BYTES_MAX, CallEntry, Entry, FRAME_BYTES, NotFrame, OwnerFrame, read_frame, write_frame,
};
pub use key::LinkKey;
pub use parse::{Introduction, ProxyError, introduced, is_ahead, parse_ahead};
use std::net::SocketAddr;
pub use write::{write, write_ahead, write_call, write_upgrade};

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
