//! One session, from its first connect to its last message.

use crate::visit::book::Book;

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
    pub to_master: Book,
    /// From the master to the viewer.
    pub to_viewer: Book,
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
            to_master: Book::default(),
            to_viewer: Book::default(),
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
