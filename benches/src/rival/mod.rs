//! One adaptor per compared library, ours among them, behind the same traits: the same bytes in, the same answer out.

mod heliograph;
mod httparse;
mod relay;
pub(crate) mod serde_json;
mod simd_json;
mod text;
mod tungstenite;

use codec::signal::Request;
pub use heliograph::Heliograph;
pub use httparse::Httparse;
pub use relay::Relay;
pub use serde_json::SerdeJson;
pub use simd_json::SimdJson;
pub use text::{Text, judge, judge_from};
pub use tungstenite::Tungstenite;

/// A server's intake of one connection: masked text frames of a client to messages.
pub trait Decode {
    /// The library's name in groups.
    const LIBRARY: &'static str;

    /// A connection on which each read gives `read`: whole frames.
    fn new(read: &[u8]) -> Self;

    /// Handles one read: copies its bytes to where the library wants them, as the kernel would, and shows each
    /// message, unmasked and known to be UTF-8.
    fn decode(&mut self, see: impl FnMut(&[u8]));
}

/// Text frames out, each of them whole.
pub trait Encode {
    /// The library's name in groups.
    const LIBRARY: &'static str;

    /// A sender of `text`, in the form in which the library wants it.
    fn new(text: &[u8]) -> Self;

    /// Appends a frame as a server sends it.
    fn encode(&mut self, out: &mut Vec<u8>);

    /// Appends a frame as a client sends it, masked with `key`.
    fn encode_masked(&mut self, out: &mut Vec<u8>, key: [u8; 4]);
}

/// Texts of masters to requests, by the rules of the default profile.
pub trait Parse {
    /// The library's name in groups.
    const LIBRARY: &'static str;

    /// A parser without memory of its own yet.
    fn new() -> Self;

    /// Reads one text, which is valid UTF-8 and may be changed; shows the request if it passes every check.
    fn parse<T>(&mut self, text: &mut [u8], see: impl FnOnce(&Request<'_>) -> T) -> Option<T>;
}

/// The parts of a head that are looked at: all of them are touched, so that no library gets away with less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of the head.
    pub bytes: usize,
    /// Bytes of the request target.
    pub target_bytes: usize,
    /// Number of header lines.
    pub lines: usize,
    /// Bytes of the `Host` header's value.
    pub host_bytes: usize,
}

/// Request heads.
pub trait ReadHead {
    /// The library's name in groups.
    const LIBRARY: &'static str;

    /// Finds the head at the start of `bytes` and reads it. `None`: not a head, or not one that the library takes.
    fn read(bytes: &[u8]) -> Option<Seen>;
}

/// Opening handshakes.
pub trait Shake {
    /// The library's name in groups.
    const LIBRARY: &'static str;

    /// Reads a whole request head and appends the response that makes the connection a WebSocket. False: refused.
    fn shake(bytes: &[u8], out: &mut Vec<u8>) -> bool;
}
