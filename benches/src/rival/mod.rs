//! Adaptors for the libraries, including Heliograph's codec. They implement common traits, so that all of them take the
//! same input and produce the same result.

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

/// The incoming side of a server's connection, which decodes masked text frames into messages.
pub trait Decode {
    /// Name of the library in benchmark groups.
    const LIBRARY: &'static str;

    /// Creates a connection on which each read returns `read`, which must consist of whole frames.
    fn new(read: &[u8]) -> Self;

    /// Handles one read. Copies the bytes into the library's buffer, as the kernel would, and passes each message to
    /// `see`, unmasked and validated as UTF-8.
    fn decode(&mut self, see: impl FnMut(&[u8]));
}

/// Encoding of complete text frames.
pub trait Encode {
    /// Name of the library in benchmark groups.
    const LIBRARY: &'static str;

    /// Creates a sender of `text`, converted into the form that the library requires.
    fn new(text: &[u8]) -> Self;

    /// Appends the frame that a server sends.
    fn encode(&mut self, out: &mut Vec<u8>);

    /// Appends the frame that a client sends, masked with `key`.
    fn encode_masked(&mut self, out: &mut Vec<u8>, key: [u8; 4]);
}

/// Parsing of texts from masters into requests, by the rules of the default profile.
pub trait Parse {
    /// Name of the library in benchmark groups.
    const LIBRARY: &'static str;

    /// Creates a parser that has not allocated memory yet.
    fn new() -> Self;

    /// Parses one text, which must be valid UTF-8 and may be modified in place. Calls `see` with the request if it is
    /// valid.
    fn parse<T>(&mut self, text: &mut [u8], see: impl FnOnce(&Request<'_>) -> T) -> Option<T>;
}

/// The parts of a head that the benches read, so that no library can skip the work of finding them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Length of the head, in bytes.
    pub bytes: usize,
    /// Length of the request target, in bytes.
    pub target_bytes: usize,
    /// Number of header lines.
    pub lines: usize,
    /// Length of the `Host` header's value, in bytes.
    pub host_bytes: usize,
}

/// Parsing of request heads.
pub trait ReadHead {
    /// Name of the library in benchmark groups.
    const LIBRARY: &'static str;

    /// Parses the head at the start of `bytes`. Returns `None` if the library does not accept the bytes as a head.
    fn read(bytes: &[u8]) -> Option<Seen>;
}

/// The server's side of opening handshakes.
pub trait Shake {
    /// Name of the library in benchmark groups.
    const LIBRARY: &'static str;

    /// Parses a whole request head and appends the 101 response. Returns `false` if the request is refused.
    fn shake(bytes: &[u8], out: &mut Vec<u8>) -> bool;
}
