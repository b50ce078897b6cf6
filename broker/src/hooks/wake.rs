//! Decides when to call a sleeping master. Does no I/O: the caller passes in the time and the channels' states, and
//! makes the calls that this module returns.
//!
//! ```text
//!            a message is pending, no master
//!   quiet ────────────────────────────────► calling: at once, after 5, 15 and 35 s
//!     ▲                                        │ a master connects: connected
//!     │  COOLDOWN after its end                │ the messages expire: expired
//!     └────────────────────────────────────────┘ no master after the last call: gave up
//! ```
//! A channel is called at most [`WAKES_PER_HOUR`] times an hour, and at most [`WAKES_OF_CALLER_PER_HOUR`] times on
//! behalf of the same caller. A viewer that retries in a loop therefore cannot drain the master's battery or use up the
//! calls of other viewers. When the table is full, a channel of the account with the most channels is evicted.

use crate::limits::{
    WAKE_CALLERS_MAX, WAKE_CHANNELS_MAX, WAKES_OF_CALLER_PER_HOUR, WAKES_PER_HOUR,
};
use broker_core::id::{Account, CallerId};
use broker_core::presence::{Master, Presence, PresenceCause, Waiter};
use broker_core::shard::Shares;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Wakes {
    channels: BTreeMap<Arc<str>, WakeChannel>,
    due: BTreeSet<(u64, Arc<str>)>,
    /// The channels in eviction order, grouped by account.
    ranks: BTreeSet<WakeRank>,
    shares: Shares<Account, Account>,
}

/// A channel's rank: its account, whether it is being called, when it is next checked, and its name.
type WakeRank = (Account, bool, u64, Arc<str>);

#[derive(Debug)]
struct WakeChannel {
    state: Arc<Presence>,
    phase: WakePhase,
    /// The latest wall-clock expiry time of the messages for which the master has been called.
    called_until: u64,
    /// The latest wall-clock expiry time of the messages for which the master has been called, or for which a call was
    /// refused.
    judged_until: u64,
    hour: u64,
    count: u32,
    callers: Vec<(CallerId, u32)>,
    /// The channel's key in `ranks`: whether the channel was being called when last checked, and when it is next
    /// checked.
    place: (bool, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WakePhase {
    Quiet { until: u64 },
    Calling { since: u64, calls: u32 },
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Call(Arc<Presence>, u32),
    Withdraw(Arc<str>),
    /// A series of calls has ended with this result, after this number of milliseconds.
    Ended(WakeResult, u64),
}

/// Outcome of calling a master.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumCount, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum WakeResult {
    /// A master connected.
    Connected,
    /// The pending messages expired.
    Expired,
    /// No master connected after the last call.
    GaveUp,
    /// The channel or all of its waiting callers have used up their calls for this hour, or the channel was evicted to
    /// make room.
    Limited,
}

impl Wakes {
    pub(crate) fn saw(&mut self, channel: &Arc<str>, state: &Arc<Presence>, now: u64) -> Vec<Act> {
        let mut acts = Vec::new();
        if !self.channels.contains_key(channel) {
            if !is_called_for(state) {
                return acts;
            }
            let account = state.account;
            if self.channels.len() >= WAKE_CHANNELS_MAX && !self.make_room(account, &mut acts) {
                acts.push(Act::Ended(WakeResult::Limited, 0));
                return acts;
            }
            let held = self.shares.held(account);
            self.shares.change(account, account, held, held + 1);
            let quiet = WakeChannel {
                state: Arc::clone(state),
                phase: WakePhase::Quiet { until: now },
                called_until: 0,
                judged_until: 0,
                hour: now,
                count: 0,
                callers: Vec::new(),
                place: (false, 0),
            };
            self.channels.insert(Arc::clone(channel), quiet);
        }
        if let Some(known) = self.channels.get_mut(channel) {
            // If the wall clock was set back, the recorded expiries would suppress calls for newer messages.
            if state.at.0 + SAME_MS < known.state.at.0 {
                (known.called_until, known.judged_until) = (0, 0);
            }
            known.state = Arc::clone(state);
            known.look(now, &mut acts);
            self.arm(channel, now);
        }
        if state.cause == PresenceCause::Deleted {
            self.forget(channel);
        }
        acts
    }

    /// Returns the calls and results that are due. Drops channels that have moved to another node, since that node now
    /// calls their masters.
    pub(crate) fn due(&mut self, now: u64, is_here: impl Fn(&Presence) -> bool) -> Vec<Act> {
        let mut acts = Vec::new();
        while let Some((due, channel)) = self.due.first().cloned() {
            if due > now || acts.len() >= ACTS_PER_TURN {
                break;
            }
            self.due.pop_first();
            if let Some(known) = self.channels.get_mut(&channel) {
                if !is_here(&known.state) {
                    self.forget(&channel);
                    continue;
                }
                known.look(now, &mut acts);
                self.arm(&channel, now);
            }
        }
        acts
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    fn arm(&mut self, channel: &Arc<str>, now: u64) {
        let Some(known) = self.channels.get_mut(channel) else {
            return;
        };
        let account = known.state.account;
        let rank = |(calling, due)| (account, calling, due, Arc::clone(channel));
        self.due.remove(&(known.place.1, Arc::clone(channel)));
        self.ranks.remove(&rank(known.place));
        match known.next() {
            next if next <= now => self.forget(channel),
            next => {
                let is_calling = matches!(known.phase, WakePhase::Calling { .. });
                known.place = (is_calling, next);
                self.ranks.insert(rank(known.place));
                self.due.insert((next, Arc::clone(channel)));
            }
        }
    }

    fn forget(&mut self, channel: &Arc<str>) {
        let Some(known) = self.channels.remove(channel) else {
            return;
        };
        let (account, (calling, due)) = (known.state.account, known.place);
        self.due.remove(&(due, Arc::clone(channel)));
        self.ranks
            .remove(&(account, calling, due, Arc::clone(channel)));
        let held = self.shares.held(account);
        self.shares
            .change(account, account, held, held.saturating_sub(1));
    }

    /// Evicts a channel of the account with the most channels, or of `account` if no other account has more. Idle
    /// channels are evicted first, ordered by their next check. A channel that is being called is evicted only to make
    /// room for another account. Returns whether a channel was evicted.
    fn make_room(&mut self, account: Account, acts: &mut Vec<Act>) -> bool {
        let own = self.shares.held(account);
        let payer = self.shares.payer(account, own, 1).unwrap_or(account);
        let first = self.ranks.range((payer, false, 0, "".into())..).next();
        let first =
            first.filter(|(of, calling, ..)| *of == payer && !(*calling && payer == account));
        let Some((_, calling, _, channel)) = first.cloned() else {
            return false;
        };
        if calling {
            acts.push(Act::Withdraw(Arc::clone(&channel)));
            acts.push(Act::Ended(WakeResult::Limited, 0));
        }
        self.forget(&channel);
        true
    }
}

impl WakeChannel {
    fn look(&mut self, now: u64, acts: &mut Vec<Act>) {
        match self.phase {
            WakePhase::Quiet { until } if until <= now && self.has_news() => self.begin(now, acts),
            WakePhase::Quiet { .. } => {}
            WakePhase::Calling { since, .. } if !is_missed(&self.state) => {
                self.end(WakeResult::Connected, since, now, acts);
            }
            WakePhase::Calling { since, .. } if self.state.waiting.is_empty() => {
                self.end(WakeResult::Expired, since, now, acts);
            }
            WakePhase::Calling { since, .. } if since + GIVE_UP_MS <= now => {
                self.end(WakeResult::GaveUp, since, now, acts);
            }
            WakePhase::Calling { since, calls } => {
                // If the process was suspended, several calls may be due at once. They are made as a single call.
                let due = CALLS_MS.iter().filter(|after| since + **after <= now);
                let due = u32::try_from(due.count()).unwrap_or(calls);
                if due > calls {
                    self.call(since, due, acts);
                }
            }
        }
    }

    /// Returns whether a pending message needs a call. Also returns `true` if the call will be refused but the refusal
    /// has not been recorded yet.
    fn has_news(&self) -> bool {
        let may_be_called = self.newest().is_some() && self.count < WAKES_PER_HOUR;
        let is_new = kept_until(&self.state) > self.judged_until + SAME_MS;
        is_called_for(&self.state) && (may_be_called || is_new)
    }

    /// Returns the newest waiting viewer that may cause a wake call: the master has not been called for this viewer,
    /// and the viewer's caller has calls left.
    fn newest(&self) -> Option<&Waiter> {
        let waiting = self.state.waiting.iter();
        let waiting = waiting.filter(|waiter| waiter.until.0 > self.called_until + SAME_MS);
        let waiting = waiting.filter(|waiter| self.has_left(waiter.caller));
        waiting.max_by_key(|waiter| waiter.since)
    }

    fn begin(&mut self, now: u64, acts: &mut Vec<Act>) {
        if self.hour + HOUR_MS <= now {
            (self.hour, self.count) = (now, 0);
            self.callers.clear();
        }
        self.judged_until = kept_until(&self.state);
        let newest = self.newest().map(|waiter| waiter.caller);
        let Some(caller) = newest.filter(|_| self.count < WAKES_PER_HOUR) else {
            return acts.push(Act::Ended(WakeResult::Limited, 0));
        };
        self.count += 1;
        if let Some(caller) = caller {
            match self.callers.iter_mut().find(|(known, _)| *known == caller) {
                Some((_, count)) => *count += 1,
                None => self.callers.push((caller, 1)),
            }
        }
        self.call(now, 1, acts);
    }

    /// Returns whether this caller has calls left. A viewer without an identified caller is subject only to the
    /// channel's limit.
    fn has_left(&self, caller: Option<CallerId>) -> bool {
        let Some(caller) = caller else { return true };
        let known = self.callers.iter().find(|(known, _)| *known == caller);
        known.map_or(self.callers.len() < WAKE_CALLERS_MAX, |(_, count)| {
            *count < WAKES_OF_CALLER_PER_HOUR
        })
    }

    fn call(&mut self, since: u64, calls: u32, acts: &mut Vec<Act>) {
        self.phase = WakePhase::Calling { since, calls };
        acts.push(Act::Call(Arc::clone(&self.state), calls));
    }

    fn end(&mut self, result: WakeResult, since: u64, now: u64, acts: &mut Vec<Act>) {
        self.phase = WakePhase::Quiet {
            until: now + COOLDOWN_MS,
        };
        self.called_until = self.called_until.max(kept_until(&self.state));
        self.judged_until = self.judged_until.max(self.called_until);
        acts.push(Act::Withdraw((*self.state.arn).into()));
        acts.push(Act::Ended(result, now - since));
    }

    /// Returns the time at which the channel must be checked next. If that time has passed, the entry can be dropped.
    fn next(&self) -> u64 {
        match self.phase {
            WakePhase::Calling { since, calls } => {
                let after = CALLS_MS.get(calls as usize).copied();
                since + after.unwrap_or(GIVE_UP_MS)
            }
            WakePhase::Quiet { until } if self.has_news() => until,
            WakePhase::Quiet { until } => until.max(self.hour + HOUR_MS),
        }
    }
}

fn is_called_for(state: &Presence) -> bool {
    is_missed(state) && !state.waiting.is_empty()
}

/// Returns whether the channel has no master, or a master whose connection may be lost.
fn is_missed(state: &Presence) -> bool {
    state.master.as_ref().is_none_or(Master::is_doubtful)
}

/// Returns the latest expiry of any pending message.
fn kept_until(state: &Presence) -> u64 {
    let untils = state.waiting.iter().map(|waiter| waiter.until.0);
    untils.max().unwrap_or_default()
}

/// The times of a series' calls, in milliseconds after the first call.
const CALLS_MS: [u64; 4] = [0, 5_000, 15_000, 35_000];

/// Time after the first call within which a master must connect, in milliseconds.
const GIVE_UP_MS: u64 = 65_000;

/// Minimum time between the end of a series of calls and the next series, in milliseconds.
const COOLDOWN_MS: u64 = 30_000;

const HOUR_MS: u64 = 3_600_000;

/// Maximum difference between two wall-clock times that are considered equal, in milliseconds. They may have been read
/// from different clocks.
const SAME_MS: u64 = 1_000;

/// Maximum number of actions per loop iteration. The next iteration follows immediately and performs the remaining
/// ones.
const ACTS_PER_TURN: usize = 256;

#[cfg(test)]
mod tests;
