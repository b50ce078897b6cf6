//! The parties on one thread, without I/O. In an open loop, viewers behave like real ones: they connect, send an offer,
//! receive the answer, exchange candidates, hold the connection, and disconnect. In a closed loop, peers stay connected
//! for the whole run. Those that relay messages use [`Relay`].
//!
//! ```text
//!   viewer                                        master (lives for the whole run)
//!     │ upgrade, 101                                │
//!     ├── SDP_OFFER, number 0 ────────────────────► │
//!     │ ◄──────────────────── SDP_ANSWER, number 0 ─┤
//!     │ ◄──────────────── ICE_CANDIDATE, 1 to n ────┤
//!     ├── ICE_CANDIDATE, 1 to n ──────────────────► │
//!     │ hold                                        │
//!     └── close
//! ```
//! A session that has not started uses no memory, because its start time is a function of its number. A running session
//! is a [`Viewer`] in its thread's [`Crew`]. A [`MessageBook`] records each direction of a session. This takes no
//! communication, because the master runs on the same thread. The checks derive the expected recipient from the numbers
//! in a message, and share no code with any routing.

mod crew;
pub mod discovery;
mod messages;
mod recovery;
mod relay;
mod sessions;

use crate::peer::Arrival;
pub use crew::{Crew, LINE_BYTES, Party, Peer, ReceiveOutcome, Relay, Verdict};
pub use discovery::{Call, DiscoveryCalls, Reply, Role, write_call};
pub use messages::{MessageDesk, PartyTerms};
pub use recovery::Recovery;

/// A viewer's session, which is running or waiting to reconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Number of the session within the run.
    pub session: u32,
    /// Number of connection attempts since the viewer was last connected.
    pub attempts: u32,
    /// The current stage of the session.
    pub stage: Stage,
    /// Whether the session lost its connection after being answered, and is now waiting for another answer.
    pub returns: bool,
    /// When the session is due, in nanoseconds on the run's clock: its scheduled time, or the time when it lost its
    /// connection.
    pub due_ns: u64,
    /// When the connection was opened, in nanoseconds on the run's clock. Until then, this equals `due_ns`.
    pub since_ns: u64,
    /// Messages from the viewer to the master.
    pub to_master: MessageBook,
    /// Messages from the master to the viewer.
    pub to_viewer: MessageBook,
}

/// The stage of a session, named after the event it is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the responses to API calls.
    AwaitCalls,
    /// Waiting for the 101 response.
    AwaitOpen,
    /// Waiting for the master's SDP answer.
    AwaitAnswer,
    /// Waiting for the remaining messages in both directions.
    AwaitRest,
    /// Waiting for the hold time to expire or the run to end.
    Hold,
    /// Waiting for the service to echo the close frame.
    AwaitCloseEcho,
}

impl Stage {
    /// Returns whether the connection is open or closing.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::AwaitCalls | Self::AwaitOpen => false,
            Self::AwaitAnswer | Self::AwaitRest | Self::Hold | Self::AwaitCloseEcho => true,
        }
    }
}

impl Viewer {
    /// Creates a session that is due at `due_ns`.
    #[must_use]
    pub fn new(session: u32, due_ns: u64) -> Self {
        Self {
            session,
            attempts: 0,
            stage: Stage::AwaitOpen,
            returns: false,
            due_ns,
            since_ns: due_ns,
            to_master: MessageBook::default(),
            to_viewer: MessageBook::default(),
        }
    }

    /// Returns the number of messages, in both directions, that were composed but have not arrived.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.to_master.missing() + self.to_viewer.missing()
    }

    /// Returns whether all messages have arrived: from each side, its offer or answer and `candidates` candidates.
    #[must_use]
    pub fn is_complete(&self, candidates: u32) -> bool {
        let all = u64::from(candidates) + 1;
        self.to_master.sent() == all && self.to_viewer.sent() == all && self.missing() == 0
    }

    /// Discards the message records, because the session starts over on a new connection.
    pub fn restart(&mut self, due_ns: u64) {
        let (attempts, returns) = (self.attempts, self.returns);
        *self = Self {
            attempts,
            returns,
            ..Self::new(self.session, due_ns)
        };
    }
}

const _: () = assert!(
    size_of::<Viewer>() <= 56,
    "a million viewers that wait to connect again pay for each byte"
);

// The record of one direction of a session. A message takes one bit, so that the records of a million sessions fit in
// memory.

/// The messages sent in one direction of a session. The offer or answer is number 0, followed by the candidates. Takes
/// 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageBook {
    heard: u32,
    sent: u8,
}

/// Maximum number of candidates per side of a session. A [`MessageBook`] has one bit per message, and uses one of them
/// for the offer or answer.
pub const CANDIDATES_MAX: u32 = 31;

impl MessageBook {
    /// Records a composed message and returns its number. Returns `None` if the book is full.
    pub fn compose(&mut self) -> Option<u32> {
        let number = u32::from(self.sent);
        (number <= CANDIDATES_MAX).then(|| {
            self.sent += 1;
            number
        })
    }

    /// Records that an intact message has arrived.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        let Ok(number @ 0..=CANDIDATES_MAX) = u32::try_from(number) else {
            return Arrival::Unknown;
        };
        if number >= u32::from(self.sent) {
            return Arrival::Unknown;
        }
        let bit = 1 << number;
        if self.heard & bit != 0 {
            return Arrival::Again;
        }
        let late = self.heard > bit;
        self.heard |= bit;
        if late {
            Arrival::Late
        } else {
            Arrival::InOrder
        }
    }

    /// Returns the number of messages composed.
    #[must_use]
    pub fn sent(self) -> u64 {
        u64::from(self.sent)
    }

    /// Returns how many messages were composed but have not arrived.
    #[must_use]
    pub fn missing(self) -> u64 {
        self.sent() - u64::from(self.heard.count_ones())
    }
}

const _: () = assert!(
    size_of::<MessageBook>() <= 8,
    "a million sessions pay for each byte"
);

#[cfg(test)]
mod book_tests {
    use super::*;

    #[test]
    fn arrivals_are_classified() {
        use Arrival::{Again, InOrder, Late, Unknown};
        for (numbers, arrivals, missing) in [
            (&[0, 1, 2, 3][..], &[InOrder; 4][..], 0),
            (&[0, 2, 1], &[InOrder, InOrder, Late], 1),
            (&[3, 0, 3], &[InOrder, Late, Again], 2),
            (&[0, 0], &[InOrder, Again], 3),
            (&[4, 32, u64::MAX], &[Unknown; 3], 4),
            (&[], &[], 4),
        ] {
            let mut book = MessageBook::default();
            (0..4).for_each(|number| assert_eq!(book.compose(), Some(number)));
            let got: Vec<_> = numbers.iter().map(|&number| book.arrive(number)).collect();
            let found = (&got[..], book.missing());
            assert_eq!(found, (arrivals, missing), "{numbers:?}");
        }
    }

    #[test]
    fn a_book_is_full_at_its_last_bit() {
        let mut book = MessageBook::default();
        (0..=CANDIDATES_MAX).for_each(|number| assert_eq!(book.compose(), Some(number)));
        assert_eq!(book.compose(), None);
        assert_eq!(book.arrive(31), Arrival::InOrder);
        assert_eq!((book.sent(), book.missing()), (32, 31));
    }
}
