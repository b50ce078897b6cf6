//! Detects whether the other node is alive: sends pings on a link and determines when the link is suspect or dead.
//!
//! ```text
//!   sent          ping          doubtful                            dead
//!    ├──── 1 s ────┤               │                                  │
//!    ├──────────── 3 s ────────────┤                                  │
//!    ├──────────────────────────── 10 s ──────────────────────────────┤     without any frame of the other side
//! ```
//! A frame from the other side restarts the 3 s and 10 s timers, and so does the end of a pause on this side. Only a
//! PONG proves that everything sent before its PING has arrived. Without such proof, another ping becomes due.

use crate::cluster::limits::{LINK_DEAD_MS, LINK_DOUBT_MS, LINK_FENCE_MS, LINK_PING_MS};
use crate::time::Now;

/// The liveness state of one end of a link.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When the last frame from the other side was received, or when the last pause ended.
    heard: Now,
    /// Send time of the oldest frame whose arrival is unconfirmed.
    sent: Option<Now>,
    /// Send time of the oldest frame that was sent after the ping in flight.
    sent_behind: Option<Now>,
    /// Number of the ping in flight, if any.
    ping: Option<u64>,
    /// When the last ping was queued.
    pinged: Now,
    /// Round-trip time of the last answered ping, in milliseconds.
    pub(crate) round_trip_ms: Option<u64>,
    /// Number of the last ping.
    number: u64,
    /// Whether the next ping is due immediately.
    is_due: bool,
    /// Number of the PONG frame after which received bytes are passed on again. Until this PONG or a later one arrives,
    /// the link holds them back, because they may have been sent before this node was paused.
    pub(crate) fence: Option<u64>,
    pub(crate) is_doubtful: bool,
}

/// The result of a liveness check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing has changed.
    Same,
    /// The link has just become suspect.
    Doubtful,
    /// The other side is considered dead.
    Dead,
}

impl Pulse {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            heard: now,
            pinged: now,
            ..Self::default()
        }
    }

    /// Records that a frame was received from the other side.
    pub(crate) fn heard(&mut self, now: Now) {
        self.heard = now;
        self.is_doubtful = false;
    }

    /// Records a PONG frame. Must be called after [`Self::heard`]. Returns `true` if it ended a fence.
    pub(crate) fn answered(&mut self, number: u64) -> bool {
        if self.ping == Some(number) {
            self.ping = None;
            self.sent = self.sent_behind.take();
            self.round_trip_ms = Some(self.heard.since(self.pinged));
        }
        self.fence.take_if(|fence| *fence <= number).is_some()
    }

    /// Records that a frame other than PING and PONG has been sent.
    pub(crate) fn sent(&mut self, now: Now) {
        let place = match self.ping {
            Some(_) => &mut self.sent_behind,
            None => &mut self.sent,
        };
        place.get_or_insert(now);
    }

    /// Records that this side was paused for `span_ms`, until `now`. Silence during the pause proves nothing. After a
    /// long pause, the bytes read next may be stale.
    pub(crate) fn stood_still(&mut self, span_ms: u64, now: Now) {
        self.heard = now;
        self.is_doubtful = false;
        if span_ms > LINK_FENCE_MS {
            self.raise_fence();
        }
    }

    fn raise_fence(&mut self) {
        self.is_due = true;
        self.fence = Some(self.number + 1);
    }

    /// Checks whether the link is alive. Must be called after all received bytes have been read.
    pub(crate) fn judge(&mut self, now: Now) -> Verdict {
        let Some(since) = self.since() else {
            return Verdict::Same;
        };
        let silent_ms = now.since(since);
        if silent_ms >= LINK_DEAD_MS {
            return Verdict::Dead;
        }
        if silent_ms < LINK_DOUBT_MS || self.is_doubtful {
            return Verdict::Same;
        }
        self.is_doubtful = true;
        self.raise_fence();
        Verdict::Doubtful
    }

    /// Returns when this side started waiting for a frame from the other side; `None` if it is not waiting.
    fn since(&self) -> Option<Now> {
        let waits = self.sent.or_else(|| self.ping.map(|_| self.heard));
        waits.map(|sent| sent.max(self.heard))
    }

    /// Returns the number of the ping to send, if one is due.
    pub(crate) fn take_ping(&mut self, now: Now) -> Option<u64> {
        let is_time = |sent: Now| now >= sent.after(LINK_PING_MS);
        let asks = self.ping.is_none() && self.sent.is_some_and(is_time);
        if !self.is_due && !asks {
            return None;
        }
        self.is_due = false;
        self.number += 1;
        (self.ping, self.pinged) = (Some(self.number), now);
        self.sent_behind = None;
        Some(self.number)
    }

    /// Returns when the next ping or liveness check is due.
    pub(crate) fn due(&self, now: Now) -> Option<Now> {
        if self.is_due {
            return Some(now);
        }
        let span = if self.is_doubtful {
            LINK_DEAD_MS
        } else {
            LINK_DOUBT_MS
        };
        let verdict = self.since().map(|since| since.after(span));
        let ping = self.sent.filter(|_| self.ping.is_none());
        let ping = ping.map(|sent| sent.after(LINK_PING_MS));
        verdict.into_iter().chain(ping).min()
    }
}
