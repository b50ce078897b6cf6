//! One peer's socket, and what is under way on it.

use super::tls::Tls;
use ring::Key;
use socket2::Socket;

/// The edge's half of a peer; its place in the worker's table is the peer's. 64 bytes.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) socket: Option<Socket>,
    pub(super) tls: Option<Box<Tls>>,
    /// What waits to be sent, as it goes to the socket. Without capacity while there is nothing.
    pub(super) out: Vec<u8>,
    /// When the present stage began, nanoseconds of the run's clock.
    pub(super) since_ns: u64,
    /// Tells the completions of this connection from an earlier one's.
    generation: u32,
    pub(super) stage: Stage,
    /// A connect is in the kernel.
    pub(super) connecting: bool,
    /// A receive is armed.
    pub(super) receiving: bool,
    /// A send is in the kernel.
    pub(super) sending: bool,
    /// It stands in the list of those to be flushed.
    pub(super) dirty: bool,
    /// The connection ended otherwise than we wanted; what waits is not sent.
    pub(super) broken: bool,
}

/// What a connection awaits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// TCP.
    AwaitConnect,
    /// The end of the TLS handshake.
    AwaitHandshake,
    /// The answer 101.
    AwaitAnswer,
    /// Messages.
    Open,
    /// The service's echo of our close.
    AwaitCloseEcho,
    /// The end of the stream, and of what is in the kernel.
    AwaitEnd,
}

impl Stage {
    /// Whether the connection is on its way to being open.
    pub(super) const fn is_opening(self) -> bool {
        match self {
            Self::AwaitConnect | Self::AwaitHandshake | Self::AwaitAnswer => true,
            Self::Idle | Self::Open | Self::AwaitCloseEcho | Self::AwaitEnd => false,
        }
    }

    /// Whether the connection counts as open: it was accepted, and neither side is through with it.
    pub(super) const fn is_open(self) -> bool {
        match self {
            Self::Open | Self::AwaitCloseEcho => true,
            Self::Idle
            | Self::AwaitConnect
            | Self::AwaitHandshake
            | Self::AwaitAnswer
            | Self::AwaitEnd => false,
        }
    }
}

impl Slot {
    /// The key under which the operations of this connection complete; `index` is the slot's place.
    pub(super) const fn key(&self, index: u32) -> Key {
        Key::new((self.generation as u64 & GENERATION_MASK) << 32 | index as u64)
    }

    /// Whether nothing refers to the socket any more and nothing waits to be sent.
    pub(super) const fn is_over(&self) -> bool {
        let quiet = !self.connecting && !self.receiving && !self.sending;
        matches!(self.stage, Stage::AwaitEnd) && quiet && (self.broken || self.out.is_empty())
    }

    /// Closes the socket and makes the slot ready for another connection.
    pub(super) fn clear(&mut self) {
        *self = Self {
            generation: self.generation.wrapping_add(1),
            dirty: self.dirty,
            ..Self::default()
        };
    }
}

/// The slot of a key.
pub(super) const fn index_of(key: Key) -> usize {
    (key.bits() & 0xFFFF_FFFF) as usize
}

const GENERATION_MASK: u64 = (1 << 24) - 1;
const _: () = assert!(
    size_of::<Slot>() <= 72,
    "a million connections pay for each byte"
);
