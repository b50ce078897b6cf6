//! The event queue of one receiver: takes the time as an input, and returns the requests to send.
//!
//! ```text
//!  put ──► waiting ── next ──► in flight ── done: 2xx ───────────────────► gone
//!            ▲ a newer one                     │ fails, retries are left
//!            │ takes its place                 ▼ full jitter, Retry-After
//!            └──────────────────────────── waiting, unless a newer one waits
//! ```
//! Per channel, at most one request is in flight and one event is queued: the newest state. A receiver therefore gets
//! states in order, and the queue is bounded by the number of channels. States of a channel are sent at least
//! [`HOOK_STATES_APART_MS`] apart. Wake calls and states each get half of the capacity. Within a half, accounts share
//! the capacity and are served in rotation: a newer event of a channel takes the turn of the event it replaces. If
//! events were dropped because the queue was full or the last retry failed, the receiver is informed with `node.resync`
//! once it accepts events again.

use crate::hooks::event::Serving;
use crate::limits::{
    HOOK_BYTES_MAX, HOOK_FAILURES_MAX, HOOK_FLIGHTS_MAX, HOOK_RETRY_MS_MAX, HOOK_STATES_APART_MS,
    HOOK_WAITING_MAX,
};
use broker_core::presence::{Presence, PresenceCause};
use broker_core::{id::Account, shard::Shares};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The queued and in-flight events of a receiver.
#[derive(Debug)]
pub(crate) struct Queue {
    retry_ms: u64,
    entries: BTreeMap<Key, Entry>,
    halves: [Places; Half::ALL.len()],
    /// Channels without queued events to which a state was sent recently, each with the earliest time for the next one.
    rests: BTreeMap<Key, u64>,
    /// Time at which expired entries are next removed from `rests`.
    rests_end: u64,
    /// Number of consecutive failures.
    failures: u32,
    /// Whether the receiver has responded that it is gone, after which nothing is sent until a reload.
    off: bool,
    /// Whether states have been dropped without informing the receiver yet.
    lost: bool,
    random: fastrand::Rng,
}

/// The events of one channel.
#[derive(Debug)]
struct Entry {
    waiting: Option<HookDelivery>,
    in_flight: Option<HookDelivery>,
    /// Time at which the oldest of the channel's events was queued.
    since: u64,
    /// Number of failed requests for the channel's current events.
    tries: u32,
    /// Time before which no event of the channel may be sent.
    not_before: u64,
    /// Time of the most recent request.
    sent: u64,
}

/// The jobs in one half of the receiver's capacity.
#[derive(Debug, Default)]
struct Places {
    /// Queued jobs that are not in flight, sorted by due time.
    due: BTreeMap<Turn, Account>,
    /// Due jobs by account. `turns` contains the accounts in order; an account without due jobs is removed when its
    /// turn comes.
    ready: BTreeMap<Account, BTreeSet<Turn>>,
    turns: VecDeque<Account>,
    flights: usize,
    /// Total size of queued and in-flight events, in bytes.
    bytes: usize,
    /// Size of the queued events of each account, in bytes.
    shares: Shares<Account, Key>,
}

/// Due time of a job, and its key.
type Turn = (u64, Key);

impl Places {
    /// Inserts a job into the jobs sorted by due time.
    fn enter(&mut self, due: u64, key: &Key, account: Account) {
        self.due.insert((due, key.clone()), account);
    }

    /// Removes a job from the jobs sorted by due time.
    fn leave(&mut self, turn: &Turn, account: Account) {
        if self.due.remove(turn).is_none()
            && let Some(own) = self.ready.get_mut(&account)
        {
            own.remove(turn);
        }
    }

    /// Takes the next due job: the oldest job of the account whose turn it is.
    fn take(&mut self, now: u64) -> Option<Key> {
        while self.due.keys().next().is_some_and(|(due, _)| *due <= now) {
            let (turn, account) = self.due.pop_first()?;
            let own = self.ready.entry(account).or_insert_with(|| {
                self.turns.push_back(account);
                BTreeSet::new()
            });
            own.insert(turn);
        }
        while let Some(account) = self.turns.pop_front() {
            let own = self.ready.get_mut(&account)?;
            let first = own.pop_first();
            if own.is_empty() {
                self.ready.remove(&account);
            } else {
                self.turns.push_back(account);
            }
            if let Some((_, key)) = first {
                return Some(key);
            }
        }
        None
    }

    /// Returns when the next job is due; a time in the past if one is due already.
    fn next_due(&self) -> Option<u64> {
        let ready = self.ready.values().filter_map(BTreeSet::first);
        let due = self.due.keys().next();
        ready.chain(due).map(|(due, _)| *due).min()
    }
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Accepted.
    Taken,
    /// Failed but may be retried, after this many milliseconds if the receiver specified a delay.
    Later(Option<u64>),
    /// Rejected permanently.
    Refused,
    /// The receiver accepts no more events.
    Gone,
}

/// The outcome of a job, or of a single request for it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumCount, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// Accepted by the receiver.
    Delivered,
    /// Failed and scheduled for a retry.
    Retried,
    /// Failed, and superseded by a newer job.
    Superseded,
    /// Rejected by the receiver.
    Refused,
    /// Still not accepted when the time limit for retries expired.
    GaveUp,
    /// Expired, since no client is waiting for it any more.
    Expired,
    /// Dropped, since the queue was full.
    Dropped,
}

impl Queue {
    /// Creates an empty queue; `seed` determines the random retry delays.
    pub(crate) fn new(retry_ms: u64, seed: u64) -> Self {
        Self {
            retry_ms,
            entries: BTreeMap::new(),
            halves: Default::default(),
            rests: BTreeMap::new(),
            rests_end: 0,
            failures: 0,
            off: false,
            lost: false,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Queues a job, replacing any queued job of the same channel and taking its turn. Returns the number of jobs
    /// dropped for lack of capacity.
    pub(crate) fn put(&mut self, mut job: HookDelivery, now: u64) -> usize {
        if self.off {
            return 0;
        }
        let mut dropped = 0;
        while !self.has_room(&job) {
            dropped += 1;
            if !self.make_room(&job) {
                self.lost |= job.is_state();
                return dropped;
            }
        }
        let key = job.key.clone();
        if let Some(older) = self.take_waiting(&key) {
            job.follows(&older, now);
        }
        let half = &mut self.halves[key.half as usize];
        half.bytes += job.bytes();
        half.shares.change(job.account, key.clone(), 0, job.bytes());
        let rests = &mut self.rests;
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            waiting: None,
            in_flight: None,
            since: now,
            tries: 0,
            not_before: rests.remove(&key).unwrap_or(0),
            sent: 0,
        });
        if entry.in_flight.is_none() {
            half.enter(job.ready.max(entry.not_before), &key, job.account);
        }
        entry.waiting = Some(job);
        dropped
    }

    /// Drops the job of a channel because it is no longer needed. If the job is in flight, it is not retried.
    pub(crate) fn withdraw(&mut self, key: &Key) {
        self.drop_waiting(key);
        let entry = self.entries.get_mut(key);
        if let Some(job) = entry.and_then(|entry| entry.in_flight.as_mut()) {
            job.expires = Some(0);
        }
    }

    /// Drops the queued job of a channel, and returns whether it was a state.
    fn drop_waiting(&mut self, key: &Key) -> Option<bool> {
        let job = self.take_waiting(key)?;
        let entry = self.entries.get(key);
        if entry.is_some_and(|entry| entry.in_flight.is_none()) {
            self.entries.remove(key);
        }
        Some(job.is_state())
    }

    fn take_waiting(&mut self, key: &Key) -> Option<HookDelivery> {
        let entry = self.entries.get_mut(key)?;
        let job = entry.waiting.take()?;
        let half = &mut self.halves[key.half as usize];
        half.bytes -= job.bytes();
        half.shares.change(job.account, key.clone(), job.bytes(), 0);
        let turn = (job.ready.max(entry.not_before), key.clone());
        half.leave(&turn, job.account);
        Some(job)
    }

    /// Returns the next request to send, which counts as in flight until [`Self::done`]. Adds the number of expired
    /// jobs to `expired`.
    pub(crate) fn next(&mut self, now: u64, expired: &mut usize) -> Option<HookDelivery> {
        if self.rests_end <= now {
            self.rests.retain(|_, until| *until > now);
            self.rests_end = now + HOOK_STATES_APART_MS;
        }
        for half in Half::ALL {
            while self.may_fly(half) {
                let places = &mut self.halves[half as usize];
                let Some(key) = places.take(now) else {
                    break;
                };
                let entry = self.entries.get_mut(&key)?;
                let job = entry.waiting.take()?;
                places
                    .shares
                    .change(job.account, key.clone(), job.bytes(), 0);
                let is_over = job.expires.is_some_and(|expires| expires <= now);
                if is_over {
                    *expired += 1;
                    places.bytes -= job.bytes();
                    self.entries.remove(&key);
                    continue;
                }
                places.flights += 1;
                entry.in_flight = Some(job.clone());
                entry.sent = now;
                return Some(job);
            }
        }
        None
    }

    /// Records the result of a request.
    pub(crate) fn done(&mut self, key: &Key, answer: Answer, now: u64) -> Outcome {
        let half = &mut self.halves[key.half as usize];
        half.flights = half.flights.saturating_sub(1);
        let job = self
            .entries
            .get_mut(key)
            .and_then(|entry| entry.in_flight.take());
        let Some(job) = job else {
            return Outcome::Dropped;
        };
        half.bytes -= job.bytes();
        match answer {
            Answer::Taken => self.failures = 0,
            Answer::Later(_) => self.failures = self.failures.saturating_add(1),
            Answer::Refused => {}
            Answer::Gone => {
                self.clear();
                self.off = true;
                return Outcome::Refused;
            }
        }
        let pause = match answer {
            Answer::Later(after) => Some(self.pause(key, after)),
            Answer::Taken | Answer::Refused | Answer::Gone => None,
        };
        let Some(entry) = self.entries.get_mut(key) else {
            return Outcome::Dropped;
        };
        let half = &mut self.halves[key.half as usize];
        let newer = entry.waiting.as_ref().map(|newer| newer.ready);
        let Some(pause) = pause else {
            let next = entry.sent + job.apart_ms();
            match newer {
                Some(ready) => {
                    (entry.since, entry.tries, entry.not_before) = (now, 0, next);
                    half.enter(ready.max(next), key, job.account);
                }
                None => {
                    self.entries.remove(key);
                    if next > now {
                        self.rests.insert(key.clone(), next);
                    }
                }
            }
            if answer == Answer::Taken {
                return Outcome::Delivered;
            }
            self.lost |= job.is_state() && newer.is_none();
            return Outcome::Refused;
        };
        entry.tries += 1;
        entry.not_before = now + pause;
        if let Some(ready) = newer {
            entry.since = now;
            half.enter(ready.max(entry.not_before), key, job.account);
            return Outcome::Superseded;
        }
        if job.expires.is_some_and(|expires| expires <= now + pause) {
            self.entries.remove(key);
            return Outcome::Expired;
        }
        if now + pause > entry.since + self.retry_ms {
            self.entries.remove(key);
            self.lost |= job.is_state();
            return Outcome::GaveUp;
        }
        half.bytes += job.bytes();
        half.shares.change(job.account, key.clone(), 0, job.bytes());
        half.enter(job.ready.max(entry.not_before), key, job.account);
        entry.waiting = Some(job);
        Outcome::Retried
    }

    /// Whether states have been dropped without informing the receiver; called after the receiver has accepted a
    /// request.
    pub(crate) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Returns when the next job is due, if any may be sent.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let flying = Half::ALL.into_iter().filter(|half| self.may_fly(*half));
        let due = flying.filter_map(|half| self.halves[half as usize].next_due());
        due.min()
    }

    /// Returns the number of channels with a queued or in-flight event.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the time at which the oldest queued or in-flight event was queued.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.since).min()
    }

    /// Whether the receiver has responded that it is gone.
    pub(crate) fn is_off(&self) -> bool {
        self.off
    }

    /// Returns the number of consecutive failures.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Sets how long failed deliveries are retried.
    pub(crate) fn retry_for(&mut self, retry_ms: u64) {
        self.retry_ms = retry_ms;
    }

    /// Resumes sending to a receiver that had responded that it is gone.
    pub(crate) fn switch_on(&mut self) {
        self.lost |= self.off;
        (self.off, self.failures) = (false, 0);
    }

    /// Whether another request may be sent now; after repeated failures, only one may be in flight.
    fn may_fly(&self, half: Half) -> bool {
        let all: usize = self.halves.iter().map(|half| half.flights).sum();
        if self.failures >= HOOK_FAILURES_MAX {
            return all == 0;
        }
        self.halves[half as usize].flights < HOOK_FLIGHTS_MAX / Half::ALL.len()
    }

    fn has_room(&self, job: &HookDelivery) -> bool {
        let half = &self.halves[job.key.half as usize];
        half.bytes + job.bytes() <= HOOK_BYTES_MAX + self.waiting_bytes(&job.key)
    }

    /// Returns the size of a channel's queued job in bytes.
    fn waiting_bytes(&self, key: &Key) -> usize {
        let entry = self.entries.get(key);
        let job = entry.and_then(|entry| entry.waiting.as_ref());
        job.map_or(0, HookDelivery::bytes)
    }

    /// Evicts a job to make room for `job`: one of the account with the most queued bytes, if `job`'s account would
    /// still have less, otherwise a larger job of the same account.
    fn make_room(&mut self, job: &HookDelivery) -> bool {
        let own = self.waiting_bytes(&job.key);
        let more = job.bytes().saturating_sub(own);
        let half = &self.halves[job.key.half as usize];
        let payer = half.shares.payer(job.account, own, more);
        let dropped = payer.and_then(|payer| self.drop_waiting(&payer));
        self.lost |= dropped == Some(true);
        dropped.is_some()
    }

    /// Returns the delay before the next retry: random up to a limit that doubles each time, or as requested by the
    /// receiver.
    fn pause(&mut self, key: &Key, after: Option<u64>) -> u64 {
        let tries = self.entries.get(key).map_or(0, |entry| entry.tries);
        let most = (1_000 << tries.min(5)).min(HOOK_RETRY_MS_MAX / 2);
        let drawn = self.random.u64(0..=most);
        after.map_or(drawn, |after| after.min(HOOK_RETRY_MS_MAX).max(drawn))
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.rests.clear();
        let flights = self.halves.each_ref().map(|half| half.flights);
        self.halves = Default::default();
        for (half, flights) in self.halves.iter_mut().zip(flights) {
            half.flights = flights;
        }
    }
}

// Events that are to be sent to a receiver.

/// The half of a receiver's capacity to which a job belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Half {
    /// Wake calls for a master for which clients are waiting.
    Wakes,
    /// Channel states.
    States,
}

impl Half {
    /// Both halves, in the order in which they are served.
    pub(crate) const ALL: [Self; 2] = [Self::Wakes, Self::States];
}

/// The channel of a job; empty for events about the process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) half: Half,
    /// The channel's ARN.
    pub(crate) channel: Arc<str>,
}

/// An event for one receiver.
#[derive(Clone, Debug)]
pub(crate) struct HookDelivery {
    pub(crate) key: Key,
    /// The channel's account; 0 for events about the process.
    pub(crate) account: Account,
    /// Number of the event within the process, the same for all delivery attempts.
    pub(crate) number: u64,
    pub(crate) what: What,
    /// Time before which the event is not sent.
    pub(crate) ready: u64,
    /// Whether the event replaced one about a master's arrival, which the receiver may not have received.
    pub(crate) came: bool,
    /// Time at which the event expires.
    pub(crate) expires: Option<u64>,
}

/// The kinds of events.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The state of a channel.
    Presence(Arc<Presence>),
    /// A wake call for a master, with the number of the attempt.
    Wake(Arc<Presence>, u32),
    /// The slots that the node serves.
    Slots(Serving),
    /// An event about the process.
    Node(&'static str),
    /// The cause of a problem that begins or has been resolved.
    Problem(Arc<Value>),
}

impl What {
    /// Returns the channel state that the event reports, if any.
    pub(crate) fn state(&self) -> Option<&Arc<Presence>> {
        match self {
            Self::Presence(state) | Self::Wake(state, _) => Some(state),
            Self::Slots(_) | Self::Node(_) | Self::Problem(_) => None,
        }
    }
}

impl HookDelivery {
    /// Replaces an older, unsent event of the same channel: takes its turn, unless this event is delayed, and the more
    /// significant cause of the two. While the event about a master's departure is delayed, nothing is sent that would
    /// reveal the departure; a master that connects in the meantime counts as a replacement.
    fn follows(&mut self, older: &Self, now: u64) {
        let is_held = older.ready > now;
        if self.ready <= now {
            self.ready = self.ready.min(older.ready);
        }
        let (What::Presence(state), What::Presence(before)) = (&mut self.what, &older.what) else {
            return;
        };
        if state.cause.max(before.cause) >= PresenceCause::Unwatched {
            return;
        }
        self.came = older.came || before.cause == PresenceCause::MasterJoined;
        let (cause, reason) = match (before.cause, state.master) {
            (PresenceCause::MasterLeft, Some(_)) if is_held && !older.came => {
                (PresenceCause::MasterReplaced, None)
            }
            (PresenceCause::MasterLeft, Some(_)) => return,
            (cause, _) if cause > state.cause => (cause, before.reason),
            _ => return,
        };
        if is_held && cause == PresenceCause::MasterLeft {
            self.ready = older.ready;
        }
        let state = Arc::make_mut(state);
        (state.cause, state.reason) = (cause, reason);
    }

    /// Returns the minimum time from this event to the next one of its channel, in milliseconds.
    fn apart_ms(&self) -> u64 {
        match self.what {
            What::Presence(_) => HOOK_STATES_APART_MS,
            What::Wake(..) | What::Slots(_) | What::Node(_) | What::Problem(_) => 0,
        }
    }

    /// Whether the receiver loses information if this event is dropped.
    fn is_state(&self) -> bool {
        match self.what {
            What::Presence(_) | What::Slots(_) | What::Node(_) | What::Problem(_) => true,
            What::Wake(..) => false,
        }
    }

    /// Returns the approximate size of the event in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let of = |presence: &Presence| {
            let waiting = presence.waiting.iter();
            let waiting = waiting.map(|waiter| waiter.client_id.len() + 64);
            waiting.sum::<usize>() + presence.name.len() + presence.arn.len()
        };
        JOB_BYTES
            + match &self.what {
                What::Presence(presence) | What::Wake(presence, _) => of(presence),
                What::Slots(serving) => size_of_val(&**serving),
                What::Node(_) => 0,
                What::Problem(_) => 1024, // as in the history
            }
    }
}

/// Size of a job in bytes without its texts but including its table entries, so that the limit on bytes also limits the
/// number of jobs.
const JOB_BYTES: usize = HOOK_BYTES_MAX / HOOK_WAITING_MAX;

#[cfg(test)]
mod tests;
