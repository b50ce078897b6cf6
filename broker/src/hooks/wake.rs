//! When a master is called: a clock and states go in, calls to make come out.
//!
//! ```text
//!            something is kept, no master
//!   quiet ────────────────────────────────► calling: at once, after 5, 15 and 35 s
//!     ▲                                        │ a master came: connected
//!     │  COOLDOWN after its end                │ nothing is kept any more: expired
//!     └────────────────────────────────────────┘ nobody came after the last call: gave up
//! ```
//! A channel is called for at most [`WAKES_PER_HOUR`] times an hour, and for one caller of it
//! [`WAKES_OF_CALLER_PER_HOUR`] times: a loop of one viewer does not empty a battery.

use crate::limits::{
    WAKE_CALLERS_MAX, WAKE_CHANNELS_MAX, WAKES_OF_CALLER_PER_HOUR, WAKES_PER_HOUR,
};
use broker_core::id::CallerId;
use broker_core::presence::Presence;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The channels that are called for, and those that were within the last hour.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    channels: BTreeMap<Arc<str>, Channel>,
    /// When each is to be looked at.
    due: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Debug)]
struct Channel {
    /// Its newest state.
    state: Arc<Presence>,
    phase: Phase,
    /// Messages that are kept until then, in calendar time, were called for.
    called_until: u64,
    /// The hour in which calls are counted began.
    hour: u64,
    count: u32,
    callers: Vec<(Option<CallerId>, u32)>,
    due: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody is called before.
    Quiet { until: u64 },
    /// Since then, with this number of calls made.
    Calling { since: u64, calls: u32 },
}

/// A thing that follows for receivers or for the books.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Send this call.
    Call(Arc<Presence>, u32),
    /// No call is needed any more.
    Withdraw(Arc<str>),
    /// Calling has ended, after this number of milliseconds.
    Ended(WakeResult, u64),
}

/// The end of calling.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumCount, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum WakeResult {
    /// A master came.
    Connected,
    /// The kept messages expired.
    Expired,
    /// Nobody came after the last call.
    GaveUp,
    /// It was not begun: there were too many within the hour.
    Limited,
}

impl Wakes {
    /// A channel is in this state.
    pub(super) fn saw(&mut self, channel: &Arc<str>, state: &Arc<Presence>, now: u64) -> Vec<Act> {
        let mut acts = Vec::new();
        if !self.channels.contains_key(channel) {
            if !is_called_for(state) {
                return acts;
            }
            if self.channels.len() >= WAKE_CHANNELS_MAX && !self.make_room() {
                acts.push(Act::Ended(WakeResult::Limited, 0));
                return acts;
            }
            self.channels
                .insert(Arc::clone(channel), Channel::new(state, now));
        }
        if let Some(known) = self.channels.get_mut(channel) {
            known.state = Arc::clone(state);
            known.look(now, &mut acts);
            self.arm(channel, now);
        }
        acts
    }

    /// The next call that is due, and what ends.
    pub(super) fn due(&mut self, now: u64) -> Vec<Act> {
        let mut acts = Vec::new();
        while let Some((due, channel)) = self.due.first().cloned() {
            if due > now || acts.len() >= ACTS_PER_TURN {
                break;
            }
            self.due.pop_first();
            if let Some(known) = self.channels.get_mut(&channel) {
                known.look(now, &mut acts);
                self.arm(&channel, now);
            }
        }
        acts
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    fn arm(&mut self, channel: &Arc<str>, now: u64) {
        let Some(known) = self.channels.get_mut(channel) else {
            return;
        };
        self.due.remove(&(known.due, Arc::clone(channel)));
        match known.next() {
            next if next <= now => drop(self.channels.remove(channel)),
            next => {
                known.due = next;
                self.due.insert((next, Arc::clone(channel)));
            }
        }
    }

    /// Forgets the channel that has been quiet for longest, if one is.
    fn make_room(&mut self) -> bool {
        let quiet = self.due.iter().find(|(_, channel)| {
            let known = self.channels.get(channel);
            known.is_some_and(|known| matches!(known.phase, Phase::Quiet { .. }))
        });
        let Some(quiet) = quiet.cloned() else {
            return false;
        };
        self.channels.remove(&quiet.1);
        self.due.remove(&quiet)
    }
}

impl Channel {
    fn new(state: &Arc<Presence>, now: u64) -> Self {
        Self {
            state: Arc::clone(state),
            phase: Phase::Quiet { until: now },
            called_until: 0,
            hour: now,
            count: 0,
            callers: Vec::new(),
            due: 0,
        }
    }

    /// Does what follows from its state and the time.
    fn look(&mut self, now: u64, acts: &mut Vec<Act>) {
        match self.phase {
            Phase::Quiet { until } if until <= now && self.has_news() => self.begin(now, acts),
            Phase::Quiet { .. } => {}
            Phase::Calling { since, .. } if self.state.master.is_some() => {
                self.end(WakeResult::Connected, since, now, acts);
            }
            Phase::Calling { since, .. } if self.state.waiting.is_empty() => {
                self.end(WakeResult::Expired, since, now, acts);
            }
            Phase::Calling { since, calls } => match CALLS_MS.get(calls as usize) {
                Some(after) if since + after <= now => self.call(since, calls + 1, acts),
                None if since + GIVE_UP_MS <= now => {
                    self.end(WakeResult::GaveUp, since, now, acts);
                }
                Some(_) | None => {}
            },
        }
    }

    /// Whether something is kept that was not called for before.
    fn has_news(&self) -> bool {
        is_called_for(&self.state) && kept_until(&self.state) > self.called_until + SAME_MS
    }

    fn begin(&mut self, now: u64, acts: &mut Vec<Act>) {
        if self.hour + HOUR_MS <= now {
            (self.hour, self.count) = (now, 0);
            self.callers.clear();
        }
        let newest = self.state.waiting.iter().max_by_key(|waiter| waiter.since);
        let caller = newest.and_then(|waiter| waiter.caller);
        if self.count >= WAKES_PER_HOUR || !self.counts(caller) {
            self.called_until = kept_until(&self.state);
            return acts.push(Act::Ended(WakeResult::Limited, 0));
        }
        self.count += 1;
        self.call(now, 1, acts);
    }

    /// Counts a call of this caller, if it may have one more. Viewers without a caller of their own are bound by the
    /// channel's number alone.
    fn counts(&mut self, caller: Option<CallerId>) -> bool {
        if caller.is_none() {
            return true;
        }
        let mut known = self.callers.iter_mut();
        if let Some((_, count)) = known.find(|(known, _)| *known == caller) {
            *count += 1;
            return *count <= WAKES_OF_CALLER_PER_HOUR;
        }
        let has_room = self.callers.len() < WAKE_CALLERS_MAX;
        if has_room {
            self.callers.push((caller, 1));
        }
        has_room
    }

    fn call(&mut self, since: u64, calls: u32, acts: &mut Vec<Act>) {
        self.phase = Phase::Calling { since, calls };
        acts.push(Act::Call(Arc::clone(&self.state), calls));
    }

    fn end(&mut self, result: WakeResult, since: u64, now: u64, acts: &mut Vec<Act>) {
        self.phase = Phase::Quiet {
            until: now + COOLDOWN_MS,
        };
        self.called_until = self.called_until.max(kept_until(&self.state));
        acts.push(Act::Withdraw((*self.state.arn).into()));
        acts.push(Act::Ended(result, now - since));
    }

    /// When it is to be looked at; in the past when it can be forgotten.
    fn next(&self) -> u64 {
        match self.phase {
            Phase::Calling { since, calls } => {
                let after = CALLS_MS.get(calls as usize).copied();
                since + after.unwrap_or(GIVE_UP_MS)
            }
            Phase::Quiet { until } if self.has_news() => until,
            Phase::Quiet { until } => until.max(self.hour + HOUR_MS),
        }
    }
}

/// Whether a master is missed.
fn is_called_for(state: &Presence) -> bool {
    state.master.is_none() && !state.waiting.is_empty()
}

/// Until when the last of what waits is kept.
fn kept_until(state: &Presence) -> u64 {
    let untils = state.waiting.iter().map(|waiter| waiter.until.0);
    untils.max().unwrap_or_default()
}

/// When calls are made, from the first on.
const CALLS_MS: [u64; 4] = [0, 5_000, 15_000, 35_000];

/// When nobody is expected to come any more.
const GIVE_UP_MS: u64 = 65_000;

/// From the end of calling to the next begin.
const COOLDOWN_MS: u64 = 30_000;

const HOUR_MS: u64 = 3_600_000;

/// Moments of the calendar that are as close were the same one: they are reckoned from another clock.
const SAME_MS: u64 = 1_000;

/// Things that one turn may do at most: the rest is due at once, in the next one.
const ACTS_PER_TURN: usize = 256;

#[cfg(test)]
mod tests;
