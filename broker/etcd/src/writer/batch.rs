//! Changes that are made together: what is sent of them, and what an answer says of each.

use crate::writer::{Answer, Change, Request, Settled};
use broker_core::cluster::types::{Epoch, Revision, Slot};
use std::rc::Rc;

/// Changes of one kind, all puts or all removals.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    /// The value of the lane's key once it is made.
    pub(crate) tag: Box<str>,
    pub(crate) before: Revision,
    pub(crate) changes: Vec<Change<T>>,
    /// A copy without an answer may be made at any time.
    pub(crate) is_unsure: bool,
}

impl<T> Batch<T> {
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

pub(crate) fn request<T>(batch: &Batch<T>, lane: Revision) -> Request {
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

/// Divides a batch that was not made into the changes that are settled by it, with their outcomes, and the rest.
pub(crate) fn judge<T>(
    mut batch: Batch<T>,
    answer: &Answer,
) -> (Vec<(Change<T>, Settled)>, Batch<T>) {
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
