//! The parties of one thread, without I/O. In the open loop the real life of a viewer: connect, offer, answer,
//! candidates both ways, hold, disconnect. In the closed loop peers that are connected for the whole run, and
//! [`Relay`] if it relays.
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
//! A session that has not begun costs nothing: its moment is a function of its number. One that runs is a [`Viewer`]
//! in the [`Crew`] of its thread; both of its directions are written into one [`MessageBook`] each, since its master
//! lives on the same thread. The checker knows who must receive what from the numbers in the messages alone and shares
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

/// A viewer's session. One per session that runs or waits to connect again; those to come cost nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Which session of the run.
    pub session: u32,
    /// Attempts to connect since it was last open.
    pub attempts: u32,
    /// The event that it awaits.
    pub stage: Stage,
    /// It had its answer, lost its connection, and has none since.
    pub returns: bool,
    /// When it was due, in nanoseconds of the run: its schedule's moment, or when its connection was lost.
    pub due_ns: u64,
    /// When the present stage began.
    pub since_ns: u64,
    /// From the viewer to the master.
    pub to_master: MessageBook,
    /// From the master to the viewer.
    pub to_viewer: MessageBook,
}

/// The event that a session awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Answers to its API calls.
    AwaitCalls,
    /// The answer 101.
    AwaitOpen,
    /// The master's SDP answer.
    AwaitAnswer,
    /// The rest of the messages, both ways.
    AwaitRest,
    /// The end of the hold, or of the run.
    Hold,
    /// The service's echo of our close.
    AwaitCloseEcho,
}

impl Stage {
    /// Whether the connection was opened, also while it closes.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::AwaitCalls | Self::AwaitOpen => false,
            Self::AwaitAnswer | Self::AwaitRest | Self::Hold | Self::AwaitCloseEcho => true,
        }
    }
}

impl Viewer {
    /// A session that is due at this moment.
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

    /// Messages of both directions that were composed and did not arrive.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.to_master.missing() + self.to_viewer.missing()
    }

    /// Whether all that is to be said, an offer or answer and this many candidates on each side, has arrived.
    #[must_use]
    pub fn is_complete(&self, candidates: u32) -> bool {
        let all = u64::from(candidates) + 1;
        self.to_master.sent() == all && self.to_viewer.sent() == all && self.missing() == 0
    }

    /// Forgets what was said, for another connection of the same session.
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

/// One direction of a session: message 0 is the offer or the answer, from 1 on the candidates. 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageBook {
    /// A bit for each number that arrived intact.
    heard: u32,
    /// The number of messages composed.
    sent: u8,
}

/// The kind of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Behind all that came before.
    InOrder,
    /// One that a later one overtook.
    Late,
    /// One that was there already.
    Again,
    /// One that was never composed.
    Unknown,
}

/// Most candidates of one side of a session: what a book has bits for.
pub const CANDIDATES_MAX: u32 = 31;

impl MessageBook {
    /// The number of the next message composed; `None` when the book is full.
    pub fn compose(&mut self) -> Option<u32> {
        let number = u32::from(self.sent);
        (number <= CANDIDATES_MAX).then(|| {
            self.sent += 1;
            number
        })
    }

    /// Records that the message of this number arrived intact.
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

    /// The number of messages composed.
    #[must_use]
    pub fn sent(self) -> u64 {
        u64::from(self.sent)
    }

    /// The number of those that have not arrived.
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
