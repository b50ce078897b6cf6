//! The event queue of one receiver. The queue does no I/O: the caller passes in the time and sends the requests that
//! the queue returns.
//!
//! ```text
//!  put ──► waiting ── next ──► in flight ── done: 2xx ───────────────────► gone
//!            ▲ a newer one                     │ fails, retries are left
//!            │ takes its place                 ▼ full jitter, Retry-After
//!            └──────────────────────────── waiting, unless a newer one waits
//! ```
//! Each channel has at most one request in flight and one queued event, which holds the newest state. Receivers
//! therefore receive states in order, and the number of channels bounds the queue. Two states of a channel are sent at
//! least [`HOOK_STATES_APART_MS`] apart.
//!
//! Wake calls and states each get half of the capacity. Within each half, accounts share the space fairly and are
//! served in rotation. An event that replaces an older event of its channel takes that event's position in the queue.
//!
//! Events are dropped when the queue is full or the last retry has failed. The receiver is then sent `node.resync` as
//! soon as it accepts events again.

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

#[derive(Debug)]
pub(crate) struct Queue {
    retry_ms: u64,
    entries: BTreeMap<Key, Entry>,
    halves: [Places; Half::ALL.len()],
    /// Channels without a queued event whose last state was sent recently, each with the time from which its next state
    /// may be sent.
    rests: BTreeMap<Key, u64>,
    rests_end: u64,
    failures: u32,
    /// Whether the receiver has responded with 410. If so, nothing more is sent to it until a reload.
    off: bool,
    /// Whether channel states have been dropped since the receiver was last notified of dropped states.
    lost: bool,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Entry {
    waiting: Option<HookDelivery>,
    in_flight: Option<HookDelivery>,
    /// Time at which `waiting` or `in_flight` was queued, whichever is earlier.
    since: u64,
    tries: u32,
    /// No event of this channel is sent before this time.
    not_before: u64,
    sent: u64,
}

/// One half of a queue, containing the jobs for either wake calls or states.
#[derive(Debug, Default)]
struct Places {
    /// Queued jobs that are not yet due, in order of due time.
    due: BTreeMap<Turn, Account>,
    /// Due jobs by account. `turns` lists the accounts in the order in which they are served. An account without due
    /// jobs is removed from `turns` when its turn comes.
    ready: BTreeMap<Account, BTreeSet<Turn>>,
    turns: VecDeque<Account>,
    flights: usize,
    bytes: usize,
    shares: Shares<Account, Key>,
}

type Turn = (u64, Key);

impl Places {
    fn enter(&mut self, due: u64, key: &Key, account: Account) {
        self.due.insert((due, key.clone()), account);
    }

    /// Takes the oldest due job of the account whose turn it is.
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

    /// Returns the time when the next job is due, which may be in the past.
    fn next_due(&self) -> Option<u64> {
        let ready = self.ready.values().filter_map(BTreeSet::first);
        let due = self.due.keys().next();
        ready.chain(due).map(|(due, _)| *due).min()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken,
    /// The request failed and will be retried. Holds the delay in milliseconds if the receiver specified one.
    Later(Option<u64>),
    Refused,
    Gone,
}

/// Outcome of a job, or of one of the requests made for it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumCount, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The receiver accepted the event.
    Delivered,
    /// The request failed, and a retry is scheduled.
    Retried,
    /// The request failed, and a newer job replaces it.
    Superseded,
    /// The receiver rejected the event.
    Refused,
    /// The retry period ended before the receiver accepted the event.
    GaveUp,
    /// The event expired before it was delivered, since no client was waiting any longer.
    Expired,
    /// The event was dropped because the queue was full.
    Dropped,
}

impl Queue {
    /// Creates an empty queue. The random retry delays are derived from `seed`.
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

    /// Queues a job. If the channel already has a queued job, the new job replaces it and takes its position. Returns
    /// the number of jobs dropped for lack of space, which may include `job` itself.
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

    /// Drops the queued job of a channel. A job that is already in flight will not be retried.
    pub(crate) fn withdraw(&mut self, key: &Key) {
        self.drop_waiting(key);
        let entry = self.entries.get_mut(key);
        if let Some(job) = entry.and_then(|entry| entry.in_flight.as_mut()) {
            job.expires = Some(0);
        }
    }

    /// Drops the queued job of a channel. Returns whether the job was a state, or `None` if no job was queued.
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
        if half.due.remove(&turn).is_none()
            && let Some(own) = half.ready.get_mut(&job.account)
        {
            own.remove(&turn);
        }
        Some(job)
    }

    /// Returns the next request to send, and counts it as in flight until [`Self::done`] is called. Expired jobs are
    /// discarded and counted in `expired`.
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

    /// Returns whether channel states have been dropped since the receiver was last notified of dropped states, and
    /// clears the flag. Must be called after the receiver has accepted a request.
    pub(crate) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Returns the due time of the next job that may be sent.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let flying = Half::ALL.into_iter().filter(|half| self.may_fly(*half));
        let due = flying.filter_map(|half| self.halves[half as usize].next_due());
        due.min()
    }

    /// Returns the number of channels that have an event queued or in flight.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the time at which the oldest event that is still queued or in flight was queued.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.since).min()
    }

    /// Returns the number of consecutive failures, and whether the receiver has responded with 410.
    pub(crate) fn health(&self) -> (u32, bool) {
        (self.failures, self.off)
    }

    pub(crate) fn switch_on(&mut self, retry_ms: u64) {
        self.retry_ms = retry_ms;
        self.lost |= self.off;
        (self.off, self.failures) = (false, 0);
    }

    /// Returns whether another request may be sent. After repeated failures, only one request at a time may be in
    /// flight.
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

    fn waiting_bytes(&self, key: &Key) -> usize {
        let entry = self.entries.get(key);
        let job = entry.and_then(|entry| entry.waiting.as_ref());
        job.map_or(0, HookDelivery::bytes)
    }

    /// Evicts a job to make room for `job`, and returns whether a job was evicted. If another account has more queued
    /// bytes than the account of `job` would have, the largest job of the account with the most bytes is evicted.
    /// Otherwise, the largest job of the same account is evicted, if it is larger than `job`.
    fn make_room(&mut self, job: &HookDelivery) -> bool {
        let own = self.waiting_bytes(&job.key);
        let more = job.bytes().saturating_sub(own);
        let half = &self.halves[job.key.half as usize];
        let payer = half.shares.payer(job.account, own, more);
        let dropped = payer.and_then(|payer| self.drop_waiting(&payer));
        self.lost |= dropped == Some(true);
        dropped.is_some()
    }

    /// Returns the delay before the next retry. The delay is random, and its upper limit doubles with each failure. A
    /// longer delay requested by the receiver takes precedence.
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

// Events for a receiver.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Half {
    Wakes,
    States,
}

impl Half {
    /// Both halves, in the order in which they are served.
    pub(crate) const ALL: [Self; 2] = [Self::Wakes, Self::States];
}

/// The channel of a job. The name is empty for events about the process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) half: Half,
    pub(crate) channel: Arc<str>,
}

#[derive(Clone, Debug)]
pub(crate) struct HookDelivery {
    pub(crate) key: Key,
    pub(crate) account: Account,
    /// Number of the event within the process, the same for all delivery attempts.
    pub(crate) number: u64,
    pub(crate) what: What,
    /// Time before which the event must not be sent.
    pub(crate) ready: u64,
    /// Whether this event replaced an unsent event that announced a new master.
    pub(crate) came: bool,
    pub(crate) expires: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Presence(Arc<Presence>),
    /// A wake call, with its attempt number.
    Wake(Arc<Presence>, u32),
    Slots(Serving),
    Node(&'static str),
    /// The cause of a problem that has started or has been resolved.
    Problem(Arc<Value>),
}

impl What {
    pub(crate) fn state(&self) -> Option<&Arc<Presence>> {
        match self {
            Self::Presence(state) | Self::Wake(state, _) => Some(state),
            Self::Slots(_) | Self::Node(_) | Self::Problem(_) => None,
        }
    }
}

impl HookDelivery {
    pub(crate) fn new(half: Half, channel: Arc<str>, what: What, ready: u64) -> Self {
        Self {
            key: Key { half, channel },
            account: what.state().map_or(Account(0), |state| state.account),
            number: 0,
            what,
            ready,
            came: false,
            expires: None,
        }
    }

    /// Makes this event replace an older, unsent event of the same channel. This event takes the older event's position
    /// unless it is delayed, and reports the more significant of the two causes.
    ///
    /// When a master disconnects, the event is delayed, and no event that would reveal the departure is sent in the
    /// meantime. If a master connects during the delay, it is reported as a replacement.
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

    /// Returns the minimum interval in milliseconds between this event and the next event of its channel.
    fn apart_ms(&self) -> u64 {
        match self.what {
            What::Presence(_) => HOOK_STATES_APART_MS,
            What::Wake(..) | What::Slots(_) | What::Node(_) | What::Problem(_) => 0,
        }
    }

    /// Returns whether the receiver loses information if this event is dropped.
    fn is_state(&self) -> bool {
        match self.what {
            What::Presence(_) | What::Slots(_) | What::Node(_) | What::Problem(_) => true,
            What::Wake(..) => false,
        }
    }

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

/// Size of a job in bytes, including its table entries but not its strings. Every job counts for at least this much, so
/// the byte limit also limits the number of jobs.
const JOB_BYTES: usize = HOOK_BYTES_MAX / HOOK_WAITING_MAX;

#[cfg(test)]
mod tests;
