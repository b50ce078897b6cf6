//! Calls of players without an SDK: what such a call gathers, and when it ends. See codec/PROTOCOL.md, WHEP.
//!
//! ```text
//!  posted         began: the master's first message                        posted + wait
//!    | offer ───────► | candidate | answer | candidate |  quiet ───► 201        |
//!                     |◄──────────────── gather_max ────────────────►|
//! ```
//! Candidates may arrive before the answer. Without an answer, the call waits for its full duration.

use crate::settings::Whep;
use crate::{id::CallerId, id::SessionKey, time::Now};
use codec::signal::Action;
use codec::whep::{Fault, Gathered};

/// A player's part of its call; exists from the offer until the answer.
#[derive(Debug)]
pub(crate) struct Player {
    /// Client id that the player signed.
    pub client_id: Box<str>,
    /// Caller of the player, if it has its own share of the channel's rate limits.
    pub caller: Option<CallerId>,
    /// Whether the player's answer lists ICE servers.
    pub has_ice: bool,
    /// When the player's request was read.
    pub posted: Now,
    /// Master whose messages are gathered. If another master takes over before the answer, gathering restarts.
    from: Option<SessionKey>,
    gathered: Gathered,
    /// When the first message was gathered.
    began: Now,
    /// When the last message was gathered.
    last: Now,
}

/// A player's answer.
#[derive(Debug)]
pub struct Played {
    /// The SDP.
    pub sdp: String,
    /// Whether the player may use ICE servers.
    pub has_ice: bool,
}

impl Player {
    /// Creates a call posted at the given time.
    pub(crate) fn new(
        client_id: Box<str>,
        caller: Option<CallerId>,
        has_ice: bool,
        posted: Now,
    ) -> Self {
        Self {
            client_id,
            caller,
            has_ice,
            posted,
            from: None,
            gathered: Gathered::default(),
            began: posted,
            last: posted,
        }
    }

    /// Whether a master has answered.
    pub(crate) const fn has_answer(&self) -> bool {
        self.gathered.has_answer()
    }

    /// Adds an answer or a candidate from a master; returns `false` if it is ignored.
    ///
    /// # Errors
    /// The reason why no player could use the answer.
    pub(crate) fn take(
        &mut self,
        from: SessionKey,
        action: Action,
        payload: &[u8],
        now: Now,
    ) -> Result<bool, Fault> {
        if self.from != Some(from) {
            if self.has_answer() {
                return Ok(false);
            }
            (self.from, self.gathered) = (Some(from), Gathered::default());
            self.began = now;
        }
        let kept = match action {
            Action::SdpAnswer if !self.has_answer() => {
                self.gathered.take_answer(payload)?;
                true
            }
            Action::IceCandidate => self.gathered.take_candidate(payload),
            Action::SdpAnswer | Action::SdpOffer => false,
        };
        if kept {
            self.last = now;
        }
        Ok(kept)
    }

    /// When the call ends if no further message arrives.
    pub(crate) fn ends(&self, rules: &Whep) -> Now {
        let most = self.longest(rules);
        if self.gathered.is_complete() {
            return self.posted;
        }
        if !self.has_answer() {
            return most;
        }
        let quiet = self.last.after(rules.quiet_ms);
        quiet.min(self.began.after(rules.gather_max_ms)).min(most)
    }

    /// Latest time at which the call ends.
    pub(crate) fn longest(&self, rules: &Whep) -> Now {
        self.posted.after(rules.wait_ms)
    }

    /// The answer, if a master gave one.
    pub(crate) fn end(self) -> Option<Played> {
        Some(Played {
            has_ice: self.has_ice,
            sdp: self.gathered.into_answer()?,
        })
    }
}
