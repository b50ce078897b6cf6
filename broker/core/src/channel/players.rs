//! Calls from players. Players do not use an SDK, so the broker gathers the answer and its candidates, and ends the
//! call. See codec/PROTOCOL.md, WHEP.
//!
//! ```text
//!  posted         began: the master's first message                        posted + wait
//!    | offer ───────► | candidate | answer | candidate |  quiet ───► 201        |
//!                     |◄──────────────── gather_max ────────────────►|
//! ```
//! Candidates may precede the answer. Without an answer, the call lasts until its maximum waiting time has passed.

use crate::settings::Whep;
use crate::{id::CallerId, id::SessionKey, time::Now};
use codec::signal::Action;
use codec::whep::{Fault, Gathered};

#[derive(Debug)]
pub(crate) struct Player {
    /// The client id in the player's signed request.
    pub client_id: Box<str>,
    /// The player's caller, if it has its own share of the channel's rate limits.
    pub caller: Option<CallerId>,
    /// Whether the response to the player lists ICE servers.
    pub has_ice: bool,
    pub posted: Now,
    /// The master whose messages are gathered. If another master takes over before the answer, gathering starts again.
    from: Option<SessionKey>,
    gathered: Gathered,
    began: Now,
    last: Now,
}

/// The answer to a player's offer.
#[derive(Debug)]
pub struct Played {
    /// SDP of the answer.
    pub sdp: String,
    /// Whether the player may use ICE servers.
    pub has_ice: bool,
}

impl Player {
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

    pub(crate) const fn has_answer(&self) -> bool {
        self.gathered.has_answer()
    }

    /// Adds an answer or a candidate from a master. Returns `false` if the message is ignored.
    ///
    /// # Errors
    /// Returns the reason why a player cannot use the answer.
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

    /// Returns the time at which the call will end if no further message arrives.
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

    pub(crate) fn longest(&self, rules: &Whep) -> Now {
        self.posted.after(rules.wait_ms)
    }

    /// Ends the call. Returns the master's answer, if there is one.
    pub(crate) fn end(self) -> Option<Played> {
        Some(Played {
            has_ice: self.has_ice,
            sdp: self.gathered.into_answer()?,
        })
    }
}
