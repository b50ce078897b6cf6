//! A connection's socket and its pending operations.

use crate::worker::tls::TlsConnection;
use ring::Key;
use socket2::Socket;
use std::io;
use std::net::Ipv4Addr;

/// A connection's I/O state. Takes 64 bytes, whether in use or free.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) socket: Option<Socket>,
    pub(crate) tls: Option<Box<TlsConnection>>,
    /// Bytes not yet written to the socket. Has no capacity while empty.
    pub(crate) out: Vec<u8>,
    pub(crate) since_ns: u64,
    /// Distinguishes this connection's completions and deadlines from any that belong to earlier users of its number.
    pub(crate) generation: u32,
    pub(crate) route: u16,
    /// Offset of the current address within the route, relative to the first address tried.
    pub(crate) address: u8,
    pub(crate) tried: u8,
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) state: LineState,
    pub(crate) connecting: bool,
    pub(crate) receiving: bool,
    pub(crate) sending: bool,
    pub(crate) dirty: bool,
    /// Whether the connection was cut, which drops its pending bytes.
    pub(crate) cut: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LineState {
    #[default]
    Free,
    Connecting,
    Securing,
    Up,
    /// The connection is closing. Received bytes are discarded.
    Ending,
}

impl Line {
    pub(crate) const fn key(&self, index: u32) -> Key {
        Key::new((self.generation as u64 & GENERATION_MASK) << 32 | index as u64)
    }

    /// Returns whether the kernel has released the socket and no bytes are pending.
    pub(crate) const fn is_over(&self) -> bool {
        let quiet = !self.connecting && !self.receiving && !self.sending;
        matches!(self.state, LineState::Ending) && quiet && (self.cut || self.out.is_empty())
    }

    /// Closes the socket and prepares the entry for reuse. Keeps the route, because events may still refer to it.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            generation: self.generation.wrapping_add(1),
            route: self.route,
            dirty: self.dirty,
            ..Self::default()
        };
    }
}

pub(crate) fn kind_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connect_refused".into(),
        Some(libc::ECONNRESET | libc::EPIPE) => "reset".into(),
        Some(libc::ETIMEDOUT) => "timeout".into(),
        Some(libc::EADDRNOTAVAIL) => "ports_exhausted".into(),
        Some(libc::EMFILE | libc::ENFILE) => "descriptors_exhausted".into(),
        Some(_) => format!("io: {error}"),
        None => format!("tls: {error}"),
    }
}

pub(crate) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

pub(crate) const fn index_of(key: Key) -> u32 {
    // The lower half contains the number; see `Line::key`.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let index = key.bits() as u32;
    index
}

const GENERATION_MASK: u64 = (1 << 24) - 1;
const _: () = assert!(
    size_of::<Line>() <= 64,
    "a million connections pay for each byte"
);
