//! For every state of a connection, the event that ends it when its peer is silent.

use crate::session::http::HttpStage;
use crate::session::web_socket::Due;
use crate::session::{NEVER, Session, SessionState};
use crate::settings::Timeouts;
use crate::time::Now;

/// The event that ends a state in which nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The shard, at this moment at the latest: its timer wheel calls for the session by then.
    Until(Now),
    /// The shard's next turn: requests of it wait to be answered.
    OwnTurn,
    /// The edge. It has to abort the connection, reads and writes nothing more, and reports the end with the kernel's
    /// last completions, for which no peer is needed.
    Aborted,
}

impl Session {
    /// Returns the event that ends its state if nothing happens.
    ///
    /// A state that is added does not compile without an answer here; the simulation checks after every step that each
    /// answer is armed.
    #[must_use]
    pub(crate) fn waits(&self, timeouts: &Timeouts, now: Now) -> Wait {
        match &self.state {
            SessionState::Http(http) => match &http.stage {
                // `answer`, if answers wait, and else: `tls`; `head`, or `keep_alive` between two requests; `body`;
                // the longest wait of a call; as long as the device asked for; `head` again, twice; the next look
                // for an owner.
                HttpStage::AwaitTls
                | HttpStage::AwaitHead
                | HttpStage::AwaitBody(_)
                | HttpStage::AwaitReply(..)
                | HttpStage::AwaitWake(_)
                | HttpStage::AwaitHandover(..)
                | HttpStage::AwaitTunnel(_)
                | HttpStage::AwaitAdmin(_)
                | HttpStage::AwaitOwner(_) => match self.http_due(http) {
                    NEVER if http.queued => Wait::OwnTurn,
                    due => Wait::Until(due),
                },
            },
            // `idle` at the latest.
            SessionState::Open(web_socket) => match web_socket.due(timeouts, now) {
                Due::At(next) => Wait::Until(next),
                Due::Ping
                | Due::GoAway
                | Due::Idle
                | Due::Unanswered
                | Due::Old
                | Due::SlowMessage => Wait::Until(now),
            },
            // `close`, twice: for the peer's close frame, then for the rest of what is to be sent and its end.
            SessionState::AwaitCloseEcho(_, deadline) => Wait::Until(*deadline),
            SessionState::AwaitGone(ending) if ending.deadline == NEVER => Wait::Aborted,
            SessionState::AwaitGone(ending) => Wait::Until(ending.deadline),
        }
    }
}
