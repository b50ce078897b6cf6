//! One connection's socket, and what is under way on it.

use crate::worker::tls::TlsConnection;
use ring::Key;
use socket2::Socket;
use std::io;
use std::net::Ipv4Addr;

/// The edge's half of a connection. 64 bytes, free or not.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) socket: Option<Socket>,
    pub(crate) tls: Option<Box<TlsConnection>>,
    /// Bytes that wait to be sent, as they go to the socket. Without capacity while there are none.
    pub(crate) out: Vec<u8>,
    /// When the present step of connecting began, nanoseconds of the run's clock.
    pub(crate) since_ns: u64,
    /// Distinguishes the completions and deadlines of this connection from an earlier one's.
    pub(crate) generation: u32,
    /// Which of the routes it takes.
    pub(crate) route: u16,
    /// The address of the route that it connects to, counted on from where it began.
    pub(crate) address: u8,
    /// Addresses that it has tried without success.
    pub(crate) tried: u8,
    /// The address that it connects from; `None` leaves it to the kernel.
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) state: LineState,
    /// A connect is in the kernel.
    pub(crate) connecting: bool,
    /// A receive is armed.
    pub(crate) receiving: bool,
    /// A send is in the kernel.
    pub(crate) sending: bool,
    /// It is in the list of those to be flushed.
    pub(crate) dirty: bool,
    /// It was cut: what waits is not sent.
    pub(crate) cut: bool,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LineState {
    /// There is none.
    #[default]
    Free,
    /// TCP.
    Connecting,
    /// TLS.
    Securing,
    /// Bytes travel.
    Up,
    /// Nothing more is expected but its end. What comes is thrown away.
    Ending,
}

impl Line {
    /// The key under which the operations of this connection complete; `index` is the line's place.
    pub(crate) const fn key(&self, index: u32) -> Key {
        Key::new((self.generation as u64 & GENERATION_MASK) << 32 | index as u64)
    }

    /// Whether nothing in the kernel refers to the socket any more and nothing waits to be sent.
    pub(crate) const fn is_over(&self) -> bool {
        let quiet = !self.connecting && !self.receiving && !self.sending;
        matches!(self.state, LineState::Ending) && quiet && (self.cut || self.out.is_empty())
    }

    /// Whether it is sensible to send: nothing is under way that forbids it.
    pub(crate) const fn may_send(&self) -> bool {
        !self.sending && !self.connecting && !self.cut && !self.out.is_empty()
    }

    /// The name of a failure, if an answer to received bytes (a pong or a close) was added to the `waiting` bytes
    /// before it, and too many wait.
    pub(crate) fn has_unread_answers(&self, waiting: usize) -> Option<&'static str> {
        let bytes = self.out.len();
        (bytes > waiting && bytes > OUT_BYTES_MAX).then_some("answers_not_read")
    }

    /// Closes the socket and makes the line ready for another connection. Which route it took is known until then: news
    /// of it may wait.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            generation: self.generation.wrapping_add(1),
            route: self.route,
            dirty: self.dirty,
            ..Self::default()
        };
    }
}

/// Bytes that may wait on a line when something received is answered. A service that sends pings and reads no answer
/// has its connection ended.
const OUT_BYTES_MAX: usize = 256 * 1024;

/// The name under which a failure of the world is counted.
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

/// Lines are numbered by 32 bits: a worker has at most 10⁹ parties by the bounds of the options, and memory for far
/// fewer.
pub(crate) fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// The line of a key.
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
