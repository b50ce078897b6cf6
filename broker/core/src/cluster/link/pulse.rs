//! Liveness of the other node: pings, suspicion and death of one link.
//!
//! ```text
//!   sent          ping          doubtful                            dead
//!    ├──── 1 s ────┤               │                                  │
//!    ├──────────── 3 s ────────────┤                                  │
//!    ├──────────────────────────── 10 s ──────────────────────────────┤     without any frame of the other side
//! ```
//! A frame of the other side restarts the 3 and 10 s, and so does the end of a pause of this side. Only a PONG shows
//! that everything sent before its PING has arrived; until then the next ping is due.

use crate::cluster::limits::{LINK_DEAD_MS, LINK_DOUBT_MS, LINK_FENCE_MS, LINK_PING_MS};
use crate::time::Now;

/// Pulse of one link, at one end.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Last frame of the other side, or end of the last pause.
    heard: Now,
    /// When the oldest frame was sent that no PONG has covered.
    sent: Option<Now>,
    /// When the oldest frame was sent after the ping in flight.
    sent_behind: Option<Now>,
    /// Ping in flight.
    ping: Option<u64>,
    /// When the last ping was due.
    pinged: Now,
    round_trip_ms: Option<u64>,
    /// Number of the last ping.
    number: u64,
    /// Whether the next ping is due at once.
    is_due: bool,
    /// Until the PONG with this number or a later one, received bytes may date from before a pause.
    fence: Option<u64>,
    is_doubtful: bool,
}

/// Verdict on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing has changed.
    Same,
    /// The link has become suspect.
    Doubtful,
    /// The other side is gone.
    Dead,
}

impl Pulse {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            heard: now,
            sent: None,
            sent_behind: None,
            ping: None,
            pinged: now,
            round_trip_ms: None,
            number: 0,
            is_due: false,
            fence: None,
            is_doubtful: false,
        }
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fence.is_some()
    }

    /// Round trip of the last answered ping, in milliseconds.
    pub(crate) fn round_trip_ms(&self) -> Option<u64> {
        self.round_trip_ms
    }

    /// Records a frame of the other side.
    pub(crate) fn heard(&mut self, now: Now) {
        self.heard = now;
        self.is_doubtful = false;
    }

    /// Records a PONG, after [`Self::heard`]. Returns whether a fence was lifted.
    pub(crate) fn answered(&mut self, number: u64) -> bool {
        if self.ping == Some(number) {
            self.ping = None;
            self.sent = self.sent_behind.take();
            self.round_trip_ms = Some(self.heard.since(self.pinged));
        }
        self.fence.take_if(|fence| *fence <= number).is_some()
    }

    /// Records that frames other than PING and PONG were sent.
    pub(crate) fn sent(&mut self, now: Now) {
        let place = match self.ping {
            Some(_) => &mut self.sent_behind,
            None => &mut self.sent,
        };
        place.get_or_insert(now);
    }

    /// Records that this side did not run for `span_ms`, until `now`: frames missed meanwhile are no sign, and after a
    /// long pause the next bytes read may be old.
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

    /// Judges the link, after everything received was read.
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

    /// Since when the other side owes a frame.
    fn since(&self) -> Option<Now> {
        let waits = self.sent.or_else(|| self.ping.map(|_| self.heard));
        waits.map(|sent| sent.max(self.heard))
    }

    /// Number of the ping to send, if one is due.
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

    /// When a ping or a verdict is due.
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
