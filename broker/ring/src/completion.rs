//! The completions of operations, each with the caller's key and the result. Also stores the buffers of sends in
//! flight, which the ring owns until each send completes.
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

/// The caller's identifier for an operation: 56 bits that each completion returns unchanged. Operations of the same
/// kind with equal keys cannot be told apart, so a key should identify a single connection, and should not be reused
/// for a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// Creates a key from its bits.
    ///
    /// # Panics
    /// Panics if any of the highest 8 bits is set, because the ring uses them itself.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        assert!(bits & !KEY_MASK == 0, "a key has 56 bits");
        Self(bits)
    }

    /// Returns the key's bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// The result of an operation. If `more` is true, the operation remains armed and will complete again. Otherwise, this
/// is its last completion, after which it no longer uses the descriptor.
#[derive(Debug)]
pub enum Completion {
    /// A listener armed with [`Ring::accept`](crate::Ring::accept) accepted a connection or failed.
    Accepted {
        /// Key of the listener.
        key: Key,
        /// The accepted connection (close-on-exec). Errors always have `more == false`.
        socket: io::Result<OwnedFd>,
        /// Whether the listener is still armed.
        more: bool,
    },
    /// A receive armed with [`Ring::receive_once`](crate::Ring::receive_once) or
    /// [`Ring::receive_many`](crate::Ring::receive_many) returned bytes or ended.
    Received {
        /// Key of the connection.
        key: Key,
        /// The received bytes, EOF, or an error.
        received: Received,
        /// Whether the receive is still armed.
        more: bool,
    },
    /// A [`Ring::send`](crate::Ring::send) completed. Returns its buffer.
    Sent {
        /// Key of the connection.
        key: Key,
        /// The buffer that was sent, unchanged.
        bytes: Vec<u8>,
        /// Number of bytes passed to the kernel since the send started. Less than the total only if the connection
        /// broke.
        result: io::Result<usize>,
    },
    /// A [`Ring::connect`](crate::Ring::connect) completed.
    Connected {
        /// Key of the connection.
        key: Key,
        /// `Ok` if the connection was established.
        result: io::Result<()>,
    },
    /// Another thread wrote to an eventfd that the ring watches as a bell ([`Ring::bell`](crate::Ring::bell)).
    Rang {
        /// Key of the bell.
        key: Key,
        /// Whether the ring still watches the bell.
        more: bool,
    },
    /// The timeout set with [`Ring::wake_by`](crate::Ring::wake_by) expired. No timeout is armed now.
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
    /// [`Ring::cancel_receive`](crate::Ring::cancel_receive) ended the receive. Any bytes that were not reported are
    /// still in the socket.
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

    /// Reverses [`Self::tag`]. Panics if `tag` did not produce the user data, which cannot happen because the kernel
    /// returns user data unchanged.
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

/// A slab with the sends in flight. A send's user data contains its index, so a completed send finds its buffer without
/// a search.
#[derive(Default)]
pub(crate) struct Flight {
    places: Vec<Option<(Key, Vec<u8>)>>,
    free: Vec<u32>,
}

impl Flight {
    /// Stores a send's buffer. Its heap block does not move until [`Self::land`], even if the slab grows.
    pub(crate) fn launch(&mut self, key: Key, bytes: Vec<u8>) -> u32 {
        let taken = Some((key, bytes));
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
        self.places[place as usize]
            .as_ref()
            .map_or(&[], |(_, bytes)| bytes)
    }

    /// Removes a completed send's buffer. Panics if the send completes twice.
    pub(crate) fn land(&mut self, place: Key) -> (Key, Vec<u8>) {
        let place = u32::try_from(place.bits()).expect("made by launch");
        let taken = self.places[place as usize].take();
        self.free.push(place);
        taken.expect("a send completes once")
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
