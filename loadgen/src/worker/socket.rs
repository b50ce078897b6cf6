//! The socket of a connection and its pending operations.

use crate::worker::tls::TlsConnection;
use ring::Key;
use socket2::Socket;
use std::io;
use std::net::Ipv4Addr;

/// The I/O state of a connection. Takes 64 bytes, whether in use or free.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) socket: Option<Socket>,
    pub(crate) tls: Option<Box<TlsConnection>>,
    /// Bytes waiting to be written to the socket. Has no capacity while empty.
    pub(crate) out: Vec<u8>,
    /// Time at which the current connecting step began, in nanoseconds of the run's clock.
    pub(crate) since_ns: u64,
    /// Generation of the connection, which distinguishes its completions and deadlines from those of earlier
    /// connections with the same number.
    pub(crate) generation: u32,
    /// Number of the connection's route.
    pub(crate) route: u16,
    /// Offset of the current address within the route, counting from the address that was tried first.
    pub(crate) address: u8,
    /// Number of addresses that were tried without success.
    pub(crate) tried: u8,
    /// Source address; `None` lets the kernel choose.
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) state: LineState,
    /// Whether a connect operation is in flight.
    pub(crate) connecting: bool,
    /// Whether a receive operation is armed.
    pub(crate) receiving: bool,
    /// Whether a send operation is in flight.
    pub(crate) sending: bool,
    /// Whether the connection is queued for the next flush.
    pub(crate) dirty: bool,
    /// Whether the connection was cut, in which case pending bytes are not sent.
    pub(crate) cut: bool,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LineState {
    /// The entry is free.
    #[default]
    Free,
    /// The TCP connection is being established.
    Connecting,
    /// The TLS handshake is in progress.
    Securing,
    /// Data can be exchanged on the connection.
    Up,
    /// The connection is closing. Received bytes are discarded.
    Ending,
}

impl Line {
    /// The key under which operations of this connection complete; `index` is the connection's number.
    pub(crate) const fn key(&self, index: u32) -> Key {
        Key::new((self.generation as u64 & GENERATION_MASK) << 32 | index as u64)
    }

    /// Whether the kernel no longer uses the socket and no bytes are waiting to be sent.
    pub(crate) const fn is_over(&self) -> bool {
        let quiet = !self.connecting && !self.receiving && !self.sending;
        matches!(self.state, LineState::Ending) && quiet && (self.cut || self.out.is_empty())
    }

    /// Whether a send can be started, that is, there is output and no operation in flight prevents it.
    pub(crate) const fn may_send(&self) -> bool {
        !self.sending && !self.connecting && !self.cut && !self.out.is_empty()
    }

    /// Returns the name of a failure if a reply to received bytes (a pong or close) was added to the `waiting` bytes
    /// that were pending before, and too many bytes are now pending.
    pub(crate) fn has_unread_answers(&self, waiting: usize) -> Option<&'static str> {
        let bytes = self.out.len();
        (bytes > waiting && bytes > OUT_BYTES_MAX).then_some("answers_not_read")
    }

    /// Closes the socket and prepares the entry for another connection. The route is kept until that connection starts,
    /// because events may still refer to it.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            generation: self.generation.wrapping_add(1),
            route: self.route,
            dirty: self.dirty,
            ..Self::default()
        };
    }
}

/// Maximum number of bytes that may be pending on a connection when a reply is added. If it is exceeded, because the
/// service sends pings but does not read the replies, the connection is closed.
const OUT_BYTES_MAX: usize = 256 * 1024;

/// The name under which an I/O error is counted.
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

/// Converts an index to 32 bits. The permitted options limit a worker to 10⁹ parties, and its memory to far fewer.
pub(crate) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Extracts the number of the connection from a key.
pub(crate) const fn index_of(key: Key) -> u32 {
    // The lower half of the number, as `Line::key` put it there.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let index = key.bits() as u32;
    index
}

const GENERATION_MASK: u64 = (1 << 24) - 1;
const _: () = assert!(
    size_of::<Line>() <= 64,
    "a million connections pay for each byte"
);
