//! Socket of a connection, and its operations in flight.

use crate::worker::tls::TlsConnection;
use ring::Key;
use socket2::Socket;
use std::io;
use std::net::Ipv4Addr;

/// I/O state of a connection. 64 bytes, in use or free.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) socket: Option<Socket>,
    pub(crate) tls: Option<Box<TlsConnection>>,
    /// Bytes waiting to be written to the socket; no capacity while empty.
    pub(crate) out: Vec<u8>,
    /// Start of the current connecting step, in nanoseconds of the run's clock.
    pub(crate) since_ns: u64,
    /// Generation, which distinguishes completions and deadlines of this connection from those of an earlier one.
    pub(crate) generation: u32,
    /// Number of the route.
    pub(crate) route: u16,
    /// Offset of the current address within the route, counted from the first one tried.
    pub(crate) address: u8,
    /// Number of addresses tried without success.
    pub(crate) tried: u8,
    /// Source address; `None` leaves the choice to the kernel.
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) state: LineState,
    /// Whether a connect is in flight.
    pub(crate) connecting: bool,
    /// Whether a receive is armed.
    pub(crate) receiving: bool,
    /// Whether a send is in flight.
    pub(crate) sending: bool,
    /// Whether the connection is queued for the next flush.
    pub(crate) dirty: bool,
    /// Whether the connection was cut, so that pending bytes are not sent.
    pub(crate) cut: bool,
}

/// State of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LineState {
    /// No connection.
    #[default]
    Free,
    /// The TCP connection is being established.
    Connecting,
    /// The TLS handshake is in progress.
    Securing,
    /// The connection is ready for data.
    Up,
    /// The connection is closing. Received bytes are discarded.
    Ending,
}

impl Line {
    /// Key with which operations of this connection complete; `index` is the number of the connection.
    pub(crate) const fn key(&self, index: u32) -> Key {
        Key::new((self.generation as u64 & GENERATION_MASK) << 32 | index as u64)
    }

    /// Whether the kernel no longer uses the socket and nothing is waiting to be sent.
    pub(crate) const fn is_over(&self) -> bool {
        let quiet = !self.connecting && !self.receiving && !self.sending;
        matches!(self.state, LineState::Ending) && quiet && (self.cut || self.out.is_empty())
    }

    /// Whether a send can be started: there is output, and no operation in flight prevents it.
    pub(crate) const fn may_send(&self) -> bool {
        !self.sending && !self.connecting && !self.cut && !self.out.is_empty()
    }

    /// Returns the name of a failure if a reply to received bytes (a pong or a close) was added to the `waiting` bytes,
    /// and too many are now pending.
    pub(crate) fn has_unread_answers(&self, waiting: usize) -> Option<&'static str> {
        let bytes = self.out.len();
        (bytes > waiting && bytes > OUT_BYTES_MAX).then_some("answers_not_read")
    }

    /// Closes the socket and prepares for another connection. The route is kept until then because events may still
    /// refer to it.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            generation: self.generation.wrapping_add(1),
            route: self.route,
            dirty: self.dirty,
            ..Self::default()
        };
    }
}

/// Maximum number of bytes pending on a connection when a reply is added. The connection of a service that sends pings
/// but does not read the replies is closed.
const OUT_BYTES_MAX: usize = 256 * 1024;

/// Name under which an I/O error is counted.
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

/// Converts an index to 32 bits: option limits allow a worker at most 10⁹ parties, and memory far fewer.
pub(crate) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Extracts the connection number from a key.
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
