//! I/O-free parties of one thread. In the open loop, viewers behave like real ones: connect, offer, answer, candidates
//! both ways, hold, disconnect. In the closed loop, peers stay connected for the whole run, and use [`Relay`] if they
//! relay messages.
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
//! A session that has not started uses no memory: its due time is a function of its number. A running one is a
//! [`Viewer`] in the [`Crew`] of its thread; each direction is recorded in one [`MessageBook`], since its master is on
//! the same thread. The checker determines the expected recipients from the numbers in the messages alone, and shares
//! no code with any routing.

mod crew;
pub mod discovery;
mod messages;
mod recovery;
mod relay;
mod sessions;

pub use crew::{Crew, LINE_BYTES, Party, Peer, ReceiveOutcome, Relay, Verdict};
pub use discovery::{Call, DiscoveryCalls, Reply, Role, write_call};
pub use messages::{MessageDesk, PartyTerms};
pub use recovery::Recovery;

// One session, from its first connect to its last message.

/// A viewer's session. One per session that is running or waiting to reconnect; future sessions use no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Number of the session in the run.
    pub session: u32,
    /// Number of attempts to connect since the connection was last open.
    pub attempts: u32,
    /// Current stage, named after the event it waits for.
    pub stage: Stage,
    /// Whether the session lost its connection after its answer and has not received a new answer.
    pub returns: bool,
    /// Due time, in nanoseconds of the run: the scheduled time, or the time when the connection was lost.
    pub due_ns: u64,
    /// Start of the current stage, in nanoseconds of the run's clock.
    pub since_ns: u64,
    /// Messages from the viewer to the master.
    pub to_master: MessageBook,
    /// Messages from the master to the viewer.
    pub to_viewer: MessageBook,
}

/// Stage of a session, named after the event it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for responses to API calls.
    AwaitCalls,
    /// Waiting for the 101 response.
    AwaitOpen,
    /// Waiting for the master's SDP answer.
    AwaitAnswer,
    /// Waiting for the remaining messages in both directions.
    AwaitRest,
    /// Waiting for the end of the hold or of the run.
    Hold,
    /// Waiting for the service's echo of our close.
    AwaitCloseEcho,
}

impl Stage {
    /// Whether the connection has been opened; also true while it is closing.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::AwaitCalls | Self::AwaitOpen => false,
            Self::AwaitAnswer | Self::AwaitRest | Self::Hold | Self::AwaitCloseEcho => true,
        }
    }
}

impl Viewer {
    /// Creates a session that is due at this time.
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

    /// Number of messages in both directions that were composed but did not arrive.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.to_master.missing() + self.to_viewer.missing()
    }

    /// Whether all messages have arrived: an offer or answer and this many candidates from each side.
    #[must_use]
    pub fn is_complete(&self, candidates: u32) -> bool {
        let all = u64::from(candidates) + 1;
        self.to_master.sent() == all && self.to_viewer.sent() == all && self.missing() == 0
    }

    /// Discards the message records for a new connection of the same session.
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

// The record of one direction of a session: a bit for each message, so that a million books fit in memory.

/// Messages in one direction of a session: message 0 is the offer or the answer, followed by the candidates. Takes 8
/// bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageBook {
    /// Bit set of the message numbers that arrived intact.
    heard: u32,
    /// Number of messages composed.
    sent: u8,
}

/// Classification of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The message follows all earlier ones.
    InOrder,
    /// A later message arrived first.
    Late,
    /// The message had already arrived.
    Again,
    /// The message was never composed.
    Unknown,
}

/// Maximum number of candidates per side of a session, limited by the bits of a book.
pub const CANDIDATES_MAX: u32 = 31;

impl MessageBook {
    /// Records a new message and returns its number; `None` if the book is full.
    pub fn compose(&mut self) -> Option<u32> {
        let number = u32::from(self.sent);
        (number <= CANDIDATES_MAX).then(|| {
            self.sent += 1;
            number
        })
    }

    /// Records that the message with this number arrived intact.
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

    /// Number of messages composed.
    #[must_use]
    pub fn sent(self) -> u64 {
        u64::from(self.sent)
    }

    /// Number of composed messages that have not arrived.
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
            assert_eq!(
                (&got[..], book.missing()),
                (arrivals, missing),
                "{numbers:?}"
            );
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
