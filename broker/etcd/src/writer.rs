//! Batches of record changes, each of which is applied exactly once even if messages are lost.
//!
//! A change is fenced by its slot's epoch: a node that no longer owns the slot cannot change anything. If the answer to
//! a batch is lost, it is unknown whether the batch was applied, and a copy stuck in a frozen etcd member may still be
//! applied later. The batch is therefore sent again until its outcome is known. Late copies have no effect:
//!
//! * *Puts* use a *lane*. A lane is a key of this node that every batch in the lane compares and writes. Once a batch
//!   has been applied, its copies and the copies of earlier batches fail, and the lane's value identifies the last
//!   batch.
//! * *Removals* write nothing else, so they are possible even when etcd's quota is exhausted. They require that the
//!   record has not been written since the removal was requested. A late copy therefore cannot remove a new channel
//!   with the same name.
//!
//! The writer performs no I/O and has no clock. It returns requests as [`Request`] and takes their results as
//! [`Answer`].

use crate::limits::{
    BATCH_BYTES_MAX, CHANGES_MAX, LANES, PUTS_PER_BATCH, REMOVALS_PER_BATCH, WRITE_AGAIN_MS,
    WRITE_WAIT_MS,
};
use broker_core::cluster::message::{CallId, Held};
use broker_core::cluster::types::{Epoch, Incarnation, Revision, Slot};
use broker_core::time::Now;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change<T> {
    pub(crate) call: CallId,
    /// The slot of the record, and the epoch that permits the change.
    pub(crate) held: Held,
    pub(crate) key: Rc<str>,
    /// The new value of the record, or `None` to remove the record.
    pub(crate) value: Option<Rc<[u8]>>,
    pub(crate) ticket: T,
    pub(crate) since: Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The change was applied, at this revision or earlier.
    Made(Revision),
    /// The change was not and will not be applied: by this revision, another writer had changed the slot or the record.
    Fenced(Revision),
    /// The change was not and will not be applied, because etcd refused it.
    Refused,
}

/// A transaction. If any comparison fails, nothing is changed, and the compared keys are read instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// For puts: the revision at which the lane's key was last changed, and the value to write to it.
    pub(crate) lane: Option<(Revision, Box<str>)>,
    /// The slots to compare, with their epochs.
    pub(crate) slots: Vec<(Slot, Epoch)>,
    /// The records to put or to remove. A request never does both.
    pub(crate) records: Vec<Row>,
    /// For removals: the batch fails if a record was written after this revision.
    pub(crate) before: Revision,
}

/// The slot, key and value of a record. `None` removes the record.
type Row = (Slot, Rc<str>, Option<Rc<[u8]>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) made: bool,
    pub(crate) revision: Revision,
    /// After a failed put: the value of the lane's key, and the revision at which it was last changed.
    pub(crate) lane: (Revision, Box<str>),
    /// After a failure: the revision at which each slot's key was last changed.
    pub(crate) slots: Vec<Revision>,
    /// After a failed removal: the revision at which each record was last changed, or 0 if the record does not exist.
    pub(crate) records: Vec<Revision>,
}

#[derive(Debug)]
pub(crate) struct Writer<T> {
    process: Incarnation,
    queue: VecDeque<Change<T>>,
    /// Keys with a change in flight. Further changes to them wait, so that changes to the same key are applied in
    /// order.
    busy: HashSet<Rc<str>>,
    lanes: [Lane<T>; LANES],
    batches: u64,
    /// When etcd last answered a batch.
    progress: Now,
    /// Revision up to which this process has seen all record changes.
    newest: Revision,
}

#[derive(Debug)]
struct Lane<T> {
    revision: Revision,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Idle,
    UnderWay(WriteBatch<T>),
    /// The batch will be sent again at this time.
    Waiting(WriteBatch<T>, Now),
}

impl<T> Writer<T> {
    pub(crate) fn new(process: Incarnation) -> Self {
        let lane = || Lane {
            revision: Revision(0),
            state: State::Idle,
        };
        Self {
            process,
            queue: VecDeque::new(),
            busy: HashSet::new(),
            lanes: std::array::from_fn(|_| lane()),
            batches: 0,
            progress: Now(0),
            newest: Revision(0),
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < CHANGES_MAX
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.busy.is_empty()
    }

    pub(crate) fn take(&mut self, change: Change<T>) {
        self.queue.push_back(change);
    }

    /// Records that this process has seen all record changes up to this revision.
    pub(crate) fn knows(&mut self, revision: Revision) {
        self.newest = self.newest.max(revision);
    }

    pub(crate) fn next(&mut self, now: Now) -> Option<(usize, Request)> {
        for lane in 0..LANES {
            let waits = std::mem::replace(&mut self.lanes[lane].state, State::Idle);
            let batch = match waits {
                State::Waiting(batch, at) if now >= at => Some(batch),
                State::Idle => self.batch(),
                other @ (State::UnderWay(_) | State::Waiting(..)) => {
                    self.lanes[lane].state = other;
                    None
                }
            };
            if let Some(batch) = batch {
                let request = request(&batch, self.lanes[lane].revision);
                self.lanes[lane].state = State::UnderWay(batch);
                return Some((lane, request));
            }
        }
        None
    }

    /// Handles the answer to a request. Returns the changes whose outcome is now known.
    pub(crate) fn answered(
        &mut self,
        lane: usize,
        answer: &Answer,
        now: Now,
    ) -> Vec<(Change<T>, Settled)> {
        let Some(batch) = self.under_way(lane) else {
            return Vec::new();
        };
        self.knows(answer.revision);
        self.progress = now;
        if answer.made {
            if batch.puts() {
                self.lanes[lane].revision = answer.revision;
            }
            return self.settle(batch.changes, |_| Settled::Made(answer.revision));
        }
        if batch.puts() {
            let (revision, value) = &answer.lane;
            self.lanes[lane].revision = *revision;
            if *value == batch.tag {
                // An earlier copy of the batch was applied.
                return self.settle(batch.changes, |_| Settled::Made(*revision));
            }
        }
        let (settled, left) = judge(batch, answer);
        if settled.is_empty() {
            self.lanes[lane].state = State::Waiting(left, now);
        } else {
            self.put_back(left.changes);
        }
        for (change, _) in &settled {
            self.busy.remove(&change.key);
        }
        settled
    }

    /// Handles a request that etcd refused (`is_sent`) or that was not sent. Either way, this copy of the batch has no
    /// effect.
    pub(crate) fn refused(
        &mut self,
        lane: usize,
        is_sent: bool,
        now: Now,
    ) -> Vec<(Change<T>, Settled)> {
        match self.under_way(lane) {
            None => Vec::new(),
            Some(batch) if batch.is_unsure => {
                self.lanes[lane].state = State::Waiting(batch, now.after(WRITE_AGAIN_MS));
                Vec::new()
            }
            Some(batch) if is_sent => self.settle(batch.changes, |_| Settled::Refused),
            Some(batch) => {
                self.put_back(batch.changes);
                Vec::new()
            }
        }
    }

    /// Handles a request that was not answered. It may have been carried out, or may still be carried out later.
    pub(crate) fn unknown(&mut self, lane: usize, now: Now) {
        if let Some(mut batch) = self.under_way(lane) {
            batch.is_unsure = true;
            self.lanes[lane].state = State::Waiting(batch, now.after(WRITE_AGAIN_MS));
        }
    }

    /// Removes and returns the changes that could not be sent in time because etcd answered no batch. None of them was
    /// applied.
    pub(crate) fn expire(&mut self, now: Now) -> Vec<(Change<T>, Settled)> {
        if now.since(self.progress) < WRITE_WAIT_MS {
            return Vec::new();
        }
        let is_late = |change: &Change<T>| now.since(change.since) >= WRITE_WAIT_MS;
        let late = self
            .queue
            .iter()
            .take_while(|change| is_late(change))
            .count();
        self.queue
            .drain(..late)
            .map(|change| (change, Settled::Refused))
            .collect()
    }

    /// Removes and returns all changes that have not completed. Called at shutdown.
    pub(crate) fn end(&mut self) -> Vec<Change<T>> {
        let mut left: Vec<Change<T>> = self.queue.drain(..).collect();
        for lane in &mut self.lanes {
            match std::mem::replace(&mut lane.state, State::Idle) {
                State::Idle => {}
                State::UnderWay(batch) | State::Waiting(batch, _) => left.extend(batch.changes),
            }
        }
        self.busy.clear();
        left
    }

    fn under_way(&mut self, lane: usize) -> Option<WriteBatch<T>> {
        let state = &mut self.lanes.get_mut(lane)?.state;
        match std::mem::replace(state, State::Idle) {
            State::UnderWay(batch) => Some(batch),
            other @ (State::Idle | State::Waiting(..)) => {
                *state = other;
                None
            }
        }
    }

    /// Puts changes back at the front of the queue, in order.
    fn put_back(&mut self, changes: Vec<Change<T>>) {
        for change in changes.into_iter().rev() {
            self.busy.remove(&change.key);
            self.queue.push_front(change);
        }
    }

    fn settle(
        &mut self,
        changes: Vec<Change<T>>,
        outcome: impl Fn(&Change<T>) -> Settled,
    ) -> Vec<(Change<T>, Settled)> {
        let settled = changes.into_iter().map(|change| {
            self.busy.remove(&change.key);
            let outcome = outcome(&change);
            (change, outcome)
        });
        settled.collect()
    }

    /// Returns the next batch. It contains changes of one kind, and preserves the order of changes to the same key.
    fn batch(&mut self) -> Option<WriteBatch<T>> {
        let mut changes: Vec<Change<T>> = Vec::new();
        let mut passed: HashSet<Rc<str>> = HashSet::new();
        let mut left = VecDeque::new();
        let mut bytes = 0;
        while let Some(change) = self.queue.pop_front() {
            let puts = change.value.is_some();
            let is_kind = changes
                .first()
                .is_none_or(|first| first.value.is_some() == puts);
            let most = if puts {
                PUTS_PER_BATCH
            } else {
                REMOVALS_PER_BATCH
            };
            let size = change.key.len() + change.value.as_ref().map_or(0, |value| value.len());
            let fits = changes.len() < most && (bytes == 0 || bytes + size <= BATCH_BYTES_MAX);
            let is_free = !self.busy.contains(&change.key) && !passed.contains(&change.key);
            if is_kind && fits && is_free {
                bytes += size;
                self.busy.insert(Rc::clone(&change.key));
                changes.push(change);
            } else {
                passed.insert(Rc::clone(&change.key));
                left.push_back(change);
            }
            if changes.len() >= most {
                break;
            }
        }
        left.append(&mut self.queue);
        self.queue = left;
        if changes.is_empty() {
            return None;
        }
        self.batches += 1;
        let Incarnation { directory, start } = self.process;
        Some(WriteBatch {
            tag: format!("{directory}.{start}.{}", self.batches).into(),
            before: self.newest,
            changes,
            is_unsure: false,
        })
    }
}

// Changes that are applied together: the request for them, and the outcome of each, as determined from the answer.

/// A batch of changes, either all puts or all removals.
#[derive(Debug)]
pub(crate) struct WriteBatch<T> {
    /// The value that the batch writes to its lane's key, which identifies the batch.
    pub(crate) tag: Box<str>,
    pub(crate) before: Revision,
    pub(crate) changes: Vec<Change<T>>,
    /// Whether a copy of the batch has not been answered and may still be applied.
    is_unsure: bool,
}

impl<T> WriteBatch<T> {
    pub(crate) fn puts(&self) -> bool {
        self.changes
            .first()
            .is_some_and(|change| change.value.is_some())
    }

    fn slots(&self) -> Vec<(Slot, Epoch)> {
        let mut slots: Vec<(Slot, Epoch)> = self
            .changes
            .iter()
            .map(|change| (change.held.slot, change.held.epoch))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

pub(crate) fn request<T>(batch: &WriteBatch<T>, lane: Revision) -> Request {
    let record = |change: &Change<T>| {
        let value = change.value.as_ref().map(Rc::clone);
        (change.held.slot, Rc::clone(&change.key), value)
    };
    Request {
        lane: batch.puts().then(|| (lane, batch.tag.clone())),
        slots: batch.slots(),
        records: batch.changes.iter().map(record).collect(),
        before: batch.before,
    }
}

/// Splits a batch that was not applied. Returns the changes whose outcome is known, and a batch of the changes that
/// must be sent again.
fn judge<T>(
    mut batch: WriteBatch<T>,
    answer: &Answer,
) -> (Vec<(Change<T>, Settled)>, WriteBatch<T>) {
    let puts = batch.puts();
    let slots = batch.slots();
    let mut settled = Vec::new();
    let mut left = Vec::new();
    for (place, change) in batch.changes.drain(..).enumerate() {
        let held = (change.held.slot, change.held.epoch);
        let slot = slots.iter().position(|slot| *slot == held);
        let slot_at = slot.and_then(|slot| answer.slots.get(slot)).copied();
        let is_fenced = slot_at.is_some_and(|at| at != change.held.epoch);
        let record_at = answer.records.get(place).copied().unwrap_or_default();
        let outcome = if puts {
            is_fenced.then_some(Settled::Fenced(answer.revision))
        } else if record_at == Revision(0) {
            Some(Settled::Made(answer.revision))
        } else {
            let is_newer = record_at > batch.before;
            (is_fenced || is_newer).then_some(Settled::Fenced(answer.revision))
        };
        match outcome {
            Some(outcome) => settled.push((change, outcome)),
            None => left.push(change),
        }
    }
    batch.changes = left;
    (settled, batch)
}

#[cfg(test)]
mod tests;
