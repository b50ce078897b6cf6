//! Faults that tests script: under `--dev` only. A production shard has none of this.
//!
//! They act at four places: where a connection or call is admitted ([`on_connect`], [`on_call`]), where a message has
//! its route ([`on_message`]) or was kept and is delivered ([`on_kept`]), and where a WebSocket opens or a fault is
//! made ([`on_session`]). The first rule that matches and is not spent acts. The books hold: what a fault drops is
//! withdrawn, what it holds back is in the gauge of pending messages, and the copy of a duplicate is not counted.
//!
//! In reading order: `rule` (what a fault is), `error` (what requests are refused with), `held` (what faults hold
//! back), this page, `requests`, `messages`, `corrupt` (messages that are sent spoiled), `kept`, `sessions`.

mod corrupt;
mod error;
pub(crate) mod held;
pub(crate) mod kept;
pub(crate) mod messages;
pub(crate) mod requests;
mod rule;
pub(crate) mod sessions;

use crate::limits::FAULTS_MAX;
use crate::session::NEVER;
use crate::time::Now;
pub use error::FaultError;
use held::Held;
use rule::Subject;
pub use rule::{
    Chance, Corruption, DeliveryAct, FaultAct, FaultCounts, FaultMatch, FaultRule, MessageAct,
    RequestAct, SessionAct, SharedRule,
};

/// The faults of a shard, and what they hold back.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// In the order in which they were made, each with its end.
    rules: Vec<(Now, SharedRule)>,
    held: Held,
}

impl Faults {
    /// Takes a rule in. The side thread makes at most [`FAULTS_MAX`], so there is room.
    fn add(&mut self, rule: SharedRule, now: Now) {
        self.rules
            .retain(|(end, rule)| *end > now && !rule.is_spent());
        if self.rules.len() < FAULTS_MAX {
            let end = rule.lasts_ms.map_or(NEVER, |ms| now.after(ms));
            self.rules.push((end, rule));
        }
    }

    /// Whether no rule was made, and nothing is held back: no message needs to be looked at.
    fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.held.is_empty()
    }

    /// The first rule of a kind that is to act on this.
    fn pick(
        &self,
        kind: impl Fn(&FaultAct) -> bool,
        subject: &Subject<'_>,
        now: Now,
    ) -> Option<SharedRule> {
        let acts = |(end, rule): &&(Now, SharedRule)| {
            *end > now
                && kind(&rule.act)
                && !rule.is_spent()
                && rule.matches.covers(subject)
                && rule.hit()
        };
        self.rules.iter().find(acts).map(|(_, rule)| rule.clone())
    }
}
