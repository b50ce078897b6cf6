//! Connections that the shard ends by itself: all of them in a drain, those whose ends are spread over time, and those
//! that are too many for one turn.

use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::recheck::RECALL_STEP_MS;
use crate::machine::Output;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::drains::{Drain, DrainStep};
use crate::time::{Moment, Now};

impl Sockets {
    /// Begins a drain that takes this long. False when one is under way.
    pub(crate) fn begin_drain(&mut self, within_ms: u64, now: Now) -> bool {
        let begins = self.ends.drain.is_none();
        if begins {
            self.ends.drain = Some(Drain::begin(now, now.after(within_ms)));
            self.tunnels.leave_all(within_ms / 4, now);
        }
        begins
    }

    /// Whether the process is about to end.
    pub(crate) fn drains(&self) -> bool {
        self.ends.drain.is_some()
    }

    /// When the next step of a drain is due.
    pub(crate) fn next_drain_step(&self) -> Option<Now> {
        self.ends.drain.as_ref().and_then(Drain::next)
    }

    /// The next step of a drain, if it is due.
    pub(crate) fn drain_step(&mut self, now: Now) -> Option<DrainStep> {
        let places = self.places();
        self.ends.drain.as_mut()?.step(places, now)
    }

    /// Reports once that nothing is left to wait for: the drain's time is over, or nothing is left of what connections,
    /// calls, tunnels and changes wait for; `quiet`: of what is not here.
    pub(crate) fn look_at_drain(&mut self, quiet: bool, now: Now) {
        let passes_nothing = self.tunnels.is_empty() && !self.requests.onward.any();
        let empty = quiet && self.census.web_sockets == 0 && self.asks_nothing() && passes_nothing;
        let drain = self.ends.drain.as_mut();
        if drain.is_some_and(|drain| drain.end(empty, now)) {
            self.output(Output::Drained);
        }
    }

    /// Whether the turn of `at` closes one more of many connections.
    pub(crate) fn closes_more(&mut self, at: Moment) -> bool {
        self.ends.closings.has_room(at)
    }

    /// Whether a connection is to be closed: counted for the turn, unless it is no open WebSocket any more.
    pub(crate) fn closes(&mut self, session: SessionKey) -> bool {
        let is_open = self.web_socket(session).is_some();
        if is_open {
            self.ends.closings.count();
        }
        is_open
    }

    /// Open WebSockets are closed for this reason in the turns that follow.
    pub(crate) fn close_later(
        &mut self,
        sessions: impl Iterator<Item = SessionKey>,
        reason: EndReason,
    ) {
        for session in sessions {
            if let Some(web_socket) = self.web_socket(session) {
                let is_viewer = web_socket.role.client_id().is_some();
                self.ends.closings.wait(is_viewer, session, reason);
            }
        }
    }

    /// Whether connections are to be closed in the next turn.
    pub(crate) fn has_more_to_close(&self) -> bool {
        self.ends.closings.has_more()
    }

    /// A turn begins, in which a bounded number of them is closed.
    pub(crate) fn begin_closing(&mut self, at: Moment) {
        self.ends.closings.begin_turn(at);
    }

    /// The next one, if the turn has room.
    pub(crate) fn next_to_close(&mut self, at: Moment) -> Option<(SessionKey, EndReason)> {
        self.ends.closings.next(at)
    }

    /// A WebSocket ends: it is not to be closed any more.
    pub(crate) fn forget_closing(&mut self, is_viewer: bool, session: SessionKey) {
        self.ends.closings.forget(is_viewer, session);
    }

    /// When the next connection that an operator recalls is closed: [`RECALL_STEP_MS`] after the one before.
    pub(crate) fn next_recall(&mut self, now: Now) -> Now {
        self.ends.recalled = self.ends.recalled.after(RECALL_STEP_MS).max(now);
        self.ends.recalled
    }

    /// The place of the next connection that is closed without notice in the spread of their ends, as a fraction of
    /// 2³²: as far as possible from those before it (multiples of the golden ratio).
    pub(crate) fn next_in_spread(&mut self) -> u32 {
        self.ends.spread = self.ends.spread.wrapping_add(GOLDEN);
        self.ends.spread
    }

    /// A moment until then, as far as possible from those of others.
    pub(crate) fn spread_until(&mut self, by: Now, now: Now) -> Now {
        let left = u128::from(by.since(now));
        let part = (left * u128::from(self.next_in_spread())) >> u32::BITS;
        now.after(u64::try_from(part).unwrap_or_default())
    }
}

/// 2³² divided by the golden ratio, odd.
const GOLDEN: u32 = 0x9e37_79b9;
