//! Deadlines of sessions and channels in the wheel of their shard.

use crate::id::{ChannelKey, SessionKey, TimerId};
use crate::session::NEVER;
use crate::session::wait::Wait;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::timer::{Owner, Timer};
use crate::time::Now;

impl Sockets {
    /// The owner of the next entry that is due by now.
    pub(crate) fn next_due(&mut self, now: Now) -> Option<Owner> {
        self.wheel.pop(now).map(Timer::owner)
    }

    /// When the next entry is due.
    pub(crate) fn next_deadline(&self) -> Option<Now> {
        self.wheel.next()
    }

    /// The number of entries: at most one of each session and each channel.
    pub(crate) fn timers(&self) -> usize {
        self.wheel.places()
    }

    /// Arms the wheel for a session at `deadline`, unless it fires earlier anyway.
    #[inline]
    pub(crate) fn arm(&mut self, key: SessionKey, deadline: Now) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if deadline != NEVER {
            let timer = &mut session.timer;
            self.wheel.call_by(timer, deadline, Timer::session(key));
        }
    }

    /// Sets the wheel to the end of a session's state.
    #[inline]
    pub(crate) fn arm_open(&mut self, key: SessionKey, now: Now) {
        let session = self.sessions.get(key);
        if let Some(Wait::Until(next)) = session.map(|it| it.waits(&self.settings.timeouts, now)) {
            self.arm(key, next);
        }
    }

    /// Has the wheel call for a channel when its next kept message or waiting call expires, or its rates can be
    /// forgotten.
    pub(crate) fn arm_channel(&mut self, key: ChannelKey, timer: &mut TimerId, next: Option<Now>) {
        match next {
            Some(next) => self.wheel.call_by(timer, next, Timer::channel(key)),
            None => self.wheel.forget(timer),
        }
    }

    /// Whether something of a session is due at some time, and the wheel does not call for it by then.
    #[cfg(feature = "testing")]
    pub(crate) fn forgets_session(&self, key: SessionKey, now: Now) -> bool {
        let Some(session) = self.sessions.get(key) else {
            return false;
        };
        match session.waits(&self.settings.timeouts, now) {
            // Announced bytes are sent within the turn, or armed then.
            Wait::Until(next) => {
                session.sending != crate::session::Sending::Announced
                    && !session.stands_still()
                    && !self.wheel.calls_by(&session.timer, next)
            }
            Wait::OwnTurn | Wait::Aborted => false,
        }
    }

    /// The same of a channel.
    #[cfg(feature = "testing")]
    pub(crate) fn forgets_channel(&self, timer: &TimerId, next: Option<Now>) -> bool {
        let calls = |next| self.wheel.calls_by(timer, next);
        !next.is_none_or(calls)
    }
}
