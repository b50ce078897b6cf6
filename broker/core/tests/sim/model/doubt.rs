//! Doubt: recipients that do not confirm, and masters that are reported gone for that, or since they answer no ping.
//! See deploy/WAKE.md.
//!
//! Doubt follows from the kernel's answers, and is predicted. When a master is looked at again is observed: then it
//! must be gone, or there again, for a reason, and never late.

use super::late::HELD_MS;
use super::timers::LATE_MS;
use super::{ConnId, Model, Stage};
use broker_core::limits::{ASK_AFTER_MS, GONE_STEADY_MS, GONE_TIMES_MAX, GONE_WINDOW_MS};

/// How often a master was reported gone.
#[derive(Default)]
pub(crate) struct Gone {
    /// Since when it is, if it is.
    pub(crate) since: Option<u64>,
    /// How often within some time from the first one on.
    times: u32,
    first: u64,
    /// When its machine has confirmed something last.
    pub(crate) confirmed: u64,
}

impl Model {
    /// It is asked again. What a slot's own connection has not confirmed for long makes it doubtful that its peer is
    /// there.
    pub(crate) fn may_doubt(&mut self, id: ConnId) {
        if self.is_due(id, self.now) {
            self.conns[id].doubtful = Some(self.now);
            self.conns[id].doubted = self.unconfirmed_viewers(id);
            self.conns[id].doubted_calls.clear();
            self.met("recipient doubtful");
        }
    }

    /// Whether what a connection has not confirmed by `now` makes it doubtful, which it is not.
    pub(super) fn is_due(&self, id: ConnId, now: u64) -> bool {
        let conn = &self.conns[id];
        let Some(first) = conn.written.front() else {
            return false;
        };
        let doubt_ms = self.settings.presence.doubt_ms;
        let doubt = first.at + doubt_ms.max(4 * u64::from(conn.round_trip_ms));
        let (_, over) = self.standstill;
        let is_judged = over + HELD_MS <= now || over < first.at;
        is_judged && doubt <= now && conn.doubtful.is_none()
    }

    /// Takes note of who calls a master while it is doubtful.
    pub(crate) fn note_callers(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        if conn.doubtful.is_some() {
            let channel = conn.ws.as_ref().expect("a WebSocket").channel;
            let calls = self.channels[channel].calls.iter();
            conn.doubted_calls
                .extend(calls.map(|call| call.sender.clone()));
        }
    }

    /// Whether a connection is the master of a channel and reported gone.
    pub(crate) fn is_gone(&self, id: ConnId) -> bool {
        self.conns[id].gone.since.is_some()
    }

    /// Whether a master has answered no ping for as long as a doubt lasts before it is reported gone.
    fn silent_since(&self, id: ConnId) -> Option<u64> {
        let conn = &self.conns[id];
        let pinged = conn.ws.as_ref().and_then(|ws| ws.pinged)?;
        conn.written
            .is_empty()
            .then_some(pinged + self.settings.presence.gone_ms)
    }

    /// The moment from which on a doubtful master is gone.
    fn gone_from(&self, id: ConnId) -> Option<u64> {
        let conn = &self.conns[id];
        let gone_ms = self
            .settings
            .presence
            .gone_ms
            .max(8 * u64::from(conn.round_trip_ms));
        Some(conn.doubtful? + gone_ms)
    }

    /// Whether anything may make this master gone, or not any more.
    pub(crate) fn may_be_gone(&self, id: ConnId) -> bool {
        let conn = &self.conns[id];
        let pinged = conn.ws.as_ref().is_some_and(|ws| ws.pinged.is_some());
        pinged || conn.doubtful.is_some() || conn.gone.times > 0
    }

    /// A master is reported gone, or is there.
    ///
    /// # Panics
    /// When that has no reason.
    pub(crate) fn observe_master(&mut self, id: ConnId, is_gone: bool) {
        if self.is_gone(id) == is_gone {
            return;
        }
        let now = self.now;
        let due = |from: Option<u64>| from.is_some_and(|from| from <= now);
        let silent = due(self.silent_since(id));
        if is_gone {
            let doubtful = due(self.gone_from(id));
            assert!(silent || doubtful, "connection {id} is gone for no reason");
            self.met(if silent {
                "master gone: it answers no ping"
            } else {
                "master gone: it confirms nothing"
            });
            let gone = &mut self.conns[id].gone;
            if gone.times == 0 || now - gone.first > GONE_WINDOW_MS {
                (gone.times, gone.first) = (0, now);
            }
            (gone.since, gone.times) = (Some(now), gone.times + 1);
            return;
        }
        let came = self.came_back(id);
        let gone = &mut self.conns[id].gone;
        let since = gone.since.take().expect("it was gone");
        let steady = gone.times >= GONE_TIMES_MAX;
        let long = !steady || now >= since + GONE_STEADY_MS;
        assert!(
            came && !silent && long,
            "connection {id} is there for no reason"
        );
        self.met(if steady {
            "master that came and went there after a while"
        } else {
            "master there after all"
        });
    }

    /// Whether a master that is gone was heard, or has confirmed something.
    fn came_back(&self, id: ConnId) -> bool {
        let conn = &self.conns[id];
        let since = conn.gone.since.unwrap_or_default();
        let heard = conn.ws.as_ref().map_or(0, |ws| ws.heard);
        conn.gone.confirmed.max(heard) >= since
    }

    /// No master is reported gone, or there, too late.
    pub(crate) fn masters_told_in_time(&self) {
        let now = self.now.saturating_sub(LATE_MS + ASK_AFTER_MS);
        for channel in self.channels.iter().filter(|channel| channel.alive) {
            let Some(id) = channel.master else { continue };
            let conn = &self.conns[id];
            if !matches!(conn.stage, Stage::Open) {
                continue;
            }
            let over = self.standstill.1 + HELD_MS;
            let late = |from: Option<u64>| from.is_some_and(|from| from.max(over) < now);
            let gone = late(self.silent_since(id)) || late(self.gone_from(id));
            assert!(
                self.is_gone(id) || !gone,
                "master {id} is not reported gone"
            );
            let heard = conn.ws.as_ref().map_or(0, |ws| ws.heard);
            let there = conn.gone.confirmed.max(heard) < now
                && self.came_back(id)
                && conn.doubtful.is_none()
                && conn.written.is_empty()
                && conn.ws.as_ref().is_some_and(|ws| ws.pinged.is_none())
                && conn.gone.times < GONE_TIMES_MAX;
            assert!(!self.is_gone(id) || !there, "master {id} stays gone");
        }
    }
}
