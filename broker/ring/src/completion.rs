//! Completions of operations. A completion carries the caller's key and the result. Also holds the buffers of sends in
//! flight, which belong to the ring until the send completes.
//!
//! The user data of an entry consists of one byte for the operation and seven bytes for the key:
//! ```text
//!  63      56 55                                             0
//! ┌──────────┬───────────────────────────────────────────────┐
//! │    op    │ key (of a send: its place in the flight table)│
//! └──────────┴───────────────────────────────────────────────┘
//! ```

use crate::pool::Lent;
use std::io;
use std::os::fd::OwnedFd;

/// The caller's identifier for an operation: 56 bits, returned unchanged with each completion. Operations of the same
/// kind with equal keys cannot be distinguished, so each key should identify one connection in one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// Creates a key from its bits.
    ///
    /// # Panics
    /// Panics if any of the highest 8 bits is set. The ring uses these bits itself.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        assert!(bits & !KEY_MASK == 0, "a key has 56 bits");
        Self(bits)
    }

    /// Returns the bits of the key.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// The result of an operation. If `more` is true, the operation remains armed and will complete again. Otherwise, this
/// is its last completion, and the operation no longer uses the descriptor.
#[derive(Debug)]
pub enum Completion {
    /// A listener armed with [`Ring::accept`](crate::Ring::accept) accepted a connection, or failed.
    Accepted {
        /// Key of the listener.
        key: Key,
        /// The accepted connection (close-on-exec). An error always comes with `more == false`.
        socket: io::Result<OwnedFd>,
        /// Whether the listener is still armed.
        more: bool,
    },
    /// A receive armed with [`Ring::receive_once`](crate::Ring::receive_once) or
    /// [`Ring::receive_many`](crate::Ring::receive_many) delivered bytes, or ended.
    Received {
        /// Key of the connection.
        key: Key,
        /// The received bytes, EOF, or an error.
        received: Received,
        /// Whether the receive is still armed.
        more: bool,
    },
    /// A [`Ring::send`](crate::Ring::send) completed. The buffer is returned.
    Sent {
        /// Key of the connection.
        key: Key,
        /// The buffer that was sent, unchanged.
        bytes: Vec<u8>,
        /// Number of bytes passed to the kernel since the start of the send. This is less than the total only if the
        /// connection broke.
        result: io::Result<usize>,
    },
    /// A [`Ring::connect`](crate::Ring::connect) completed.
    Connected {
        /// Key of the connection.
        key: Key,
        /// `Ok` if the connection was established.
        result: io::Result<()>,
    },
    /// Another thread wrote to an eventfd that is watched as a bell ([`Ring::bell`](crate::Ring::bell)).
    Rang {
        /// Key of the bell.
        key: Key,
        /// Whether the ring still watches the bell.
        more: bool,
    },
    /// The timeout set with [`Ring::wake_by`](crate::Ring::wake_by) has expired, and no timeout is armed any more.
    TimedOut,
}

/// Result of a receive.
#[derive(Debug)]
pub enum Received {
    /// At least one byte, in a buffer that must be returned to the pool with `give_back`.
    Bytes(Lent),
    /// The peer closed its side of the connection.
    End,
    /// The pool had no free buffer. The connection is intact: return buffers, then arm the receive again.
    NoBuffers,
    /// [`Ring::cancel_receive`](crate::Ring::cancel_receive) ended the receive. Bytes that were not reported remain in
    /// the socket.
    Cancelled,
    /// The connection broke.
    Failed(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    Accept = 1,
    Receive,
    Send,
    Connect,
    Bell,
    Timeout,
    Quiet,
}

impl Op {
    pub(crate) fn tag(self, bits: u64) -> u64 {
        debug_assert!(bits & !KEY_MASK == 0);
        u64::from(self as u8) << 56 | bits
    }

    /// Inverse of [`Self::tag`]. Panics on any other user data, which cannot occur because the kernel returns user data
    /// unchanged.
    pub(crate) fn untag(data: u64) -> (Self, Key) {
        let [op, ..] = data.to_be_bytes();
        let op = match op {
            1 => Self::Accept,
            2 => Self::Receive,
            3 => Self::Send,
            4 => Self::Connect,
            5 => Self::Bell,
            6 => Self::Timeout,
            7 => Self::Quiet,
            other => panic!("a completion of unknown kind {other}"),
        };
        (op, Key(data & KEY_MASK))
    }
}

const KEY_MASK: u64 = (1 << 56) - 1;

/// A slab of the sends in flight. The user data of a send contains its index, so the buffer of a completed send is
/// found without a search.
#[derive(Default)]
pub(crate) struct Flight {
    places: Vec<SendSlot>,
    free: Vec<u32>,
}

enum SendSlot {
    Free,
    Taken { key: Key, bytes: Vec<u8> },
}

impl Flight {
    /// Stores the buffer of a send. Its heap block does not move until [`Self::land`], even if the slab grows.
    pub(crate) fn launch(&mut self, key: Key, bytes: Vec<u8>) -> u32 {
        let taken = SendSlot::Taken { key, bytes };
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = taken;
            return place;
        }
        let place = u32::try_from(self.places.len())
            .expect("fewer sends than connections, and those have 24 bits");
        self.places.push(taken);
        place
    }

    pub(crate) fn bytes(&self, place: u32) -> &[u8] {
        match &self.places[place as usize] {
            SendSlot::Taken { bytes, .. } => bytes,
            SendSlot::Free => &[],
        }
    }

    /// Removes the buffer of a completed send. Panics if the send completes twice.
    pub(crate) fn land(&mut self, place: Key) -> (Key, Vec<u8>) {
        let place = u32::try_from(place.bits()).expect("made by launch");
        match std::mem::replace(&mut self.places[place as usize], SendSlot::Free) {
            SendSlot::Taken { key, bytes } => {
                self.free.push(place);
                (key, bytes)
            }
            SendSlot::Free => panic!("a send completed twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_carries_operation_and_key() {
        #[rustfmt::skip] // a list
        let cases = [Op::Accept, Op::Receive, Op::Send, Op::Connect, Op::Bell, Op::Timeout, Op::Quiet];
        for op in cases {
            for bits in [0, 1, KEY_MASK] {
                assert_eq!(Op::untag(op.tag(bits)), (op, Key::new(bits)));
            }
        }
    }

    #[test]
    #[should_panic(expected = "56 bits")]
    fn a_key_leaves_the_highest_byte_to_the_ring() {
        let _ = Key::new(1 << 56);
    }
}
