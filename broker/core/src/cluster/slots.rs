//! The slots that this process owns according to etcd, their progress from loading to serving, and the pending messages
//! that have arrived with them.
//!
//! [`slot_claims`](crate::cluster::slot_claims) selects the slots to claim, and
//! [`slot_departures`](crate::cluster::slot_departures) selects the slots to transfer.

use crate::cluster::limits::{LOAD_MAX_MS, LOADS_MAX, PARCEL_KEPT_MS, PARCELS_MAX, SHUN_MS};
use crate::cluster::message::{Held, Parcel, ParcelSent, Target};
use crate::cluster::types::{Epoch, ParcelId, Slot, SlotRecord};
use crate::time::Now;
use std::sync::Arc;

/// The state of the slots that this node owns. Each process has one instance.
#[derive(Debug)]
pub struct OwnSlots {
    own: Vec<Option<OwnSlot>>,
    loading: usize,
    count: usize,
    /// When a slot was last loaded, or when loading first became possible. The timeout of waiting slots runs from this
    /// time.
    progress: Now,
    /// For each slot whose records could not be read, the time until which this node does not claim it.
    shunned: Vec<Option<Now>>,
    held: Arc<[Held]>,
    held_is_old: bool,
    /// Parcels for slots that other nodes are transferring to this one.
    pub(crate) parcels: Parcels,
    pub(crate) changes: u64,
}

/// A slot owned by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSlot {
    /// The epoch under which this node owns the slot.
    pub epoch: Epoch,
    /// The slot's stage, from loading to transfer.
    pub stage: Stage,
}

/// The stages of an owned slot, from loading to transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The slot waits for other slots to be loaded, or for its own load to be retried.
    Waiting {
        /// When loading was first attempted while etcd answered; `None` before the first attempt.
        since: Option<Now>,
    },
    /// The slot's records are being read.
    Loading {
        /// When loading was first attempted while etcd answered.
        since: Now,
    },
    /// The slot is loaded. It is served whenever the node may serve its slots.
    Ready,
    /// A record without an owner is being written to the slot's key.
    Vacating,
    /// The pending messages have been offered to another node, which has not responded yet.
    Offered {
        /// Id of the parcel.
        parcel: ParcelId,
        /// The node to which the messages have been offered.
        target: Target,
        /// When this stage began.
        since: Now,
    },
    /// The transaction that transfers the slot is in flight, or its outcome is unknown.
    Leaving {
        /// Id of the parcel.
        parcel: ParcelId,
        /// When this stage began.
        since: Now,
    },
}

impl OwnSlot {
    /// Returns `true` if the node holds the slot's channels, in order to serve or to transfer them.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match self.stage {
            Stage::Ready | Stage::Offered { .. } | Stage::Leaving { .. } => true,
            Stage::Waiting { .. } | Stage::Loading { .. } | Stage::Vacating => false,
        }
    }

    /// Returns the id of the parcel in which the slot's pending messages have been offered to another node, if any.
    #[must_use]
    pub fn parcel(&self) -> Option<ParcelId> {
        match self.stage {
            Stage::Offered { parcel, .. } | Stage::Leaving { parcel, .. } => Some(parcel),
            Stage::Waiting { .. } | Stage::Loading { .. } | Stage::Ready | Stage::Vacating => None,
        }
    }
}

impl OwnSlots {
    /// Creates the initial state, in which this node owns no slots.
    #[must_use]
    pub fn new(slots: u16) -> Self {
        Self {
            own: vec![None; usize::from(slots)],
            loading: 0,
            count: 0,
            progress: Now(0),
            shunned: vec![None; usize::from(slots)],
            held: Arc::from([]),
            held_is_old: false,
            parcels: Parcels::default(),
            changes: 0,
        }
    }

    /// Returns the state of a slot, if this node owns it.
    #[must_use]
    pub fn own(&self, slot: Slot) -> Option<OwnSlot> {
        self.own.get(slot.index()).copied().flatten()
    }

    /// Returns the number of owned slots.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Iterates over all owned slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, OwnSlot)> {
        (0u16..)
            .zip(&self.own)
            .filter_map(|(number, own)| own.map(|own| (Slot(number), own)))
    }

    /// Returns the slots whose channels this node holds, in ascending order.
    pub fn held(&mut self) -> Arc<[Held]> {
        if self.held_is_old {
            let held = self.iter().filter(|(_, own)| own.is_held());
            self.held = held
                .map(|(slot, OwnSlot { epoch, .. })| Held { slot, epoch })
                .collect();
            self.held_is_old = false;
        }
        self.held.clone()
    }

    /// Adds a slot that this node has owned since `epoch`.
    pub fn gain(&mut self, slot: Slot, epoch: Epoch, now: Now) {
        if self.loading == 0 {
            self.progress = now;
        }
        let stage = Stage::Waiting { since: None };
        self.set(slot, Some(OwnSlot { epoch, stage }));
    }

    /// Removes a slot.
    pub fn lose(&mut self, slot: Slot) {
        self.set(slot, None);
    }

    /// Sets the stage of an owned slot.
    pub fn enter(&mut self, slot: Slot, stage: Stage) {
        if let Some(own) = self.own(slot) {
            self.set(slot, Some(OwnSlot { stage, ..own }));
        }
    }

    /// Returns the slots to load next, up to the limit of concurrent loads.
    pub fn start_loads(&mut self, now: Now) -> Vec<Held> {
        if self.loading >= LOADS_MAX || self.count == 0 {
            return Vec::new();
        }
        let waiting = self.iter().filter_map(|(slot, own)| match own.stage {
            Stage::Waiting { since } => Some((slot, own.epoch, since)),
            Stage::Loading { .. } | Stage::Ready | Stage::Vacating => None,
            Stage::Offered { .. } | Stage::Leaving { .. } => None,
        });
        let next: Vec<_> = waiting.take(LOADS_MAX - self.loading).collect();
        for &(slot, _, since) in &next {
            let since = since.unwrap_or(now);
            self.enter(slot, Stage::Loading { since });
        }
        next.into_iter()
            .map(|(slot, epoch, _)| Held { slot, epoch })
            .collect()
    }

    /// Records the result of a load; `whole` states whether it succeeded. Returns `true` if the slot can be served.
    pub fn loaded(&mut self, held: Held, whole: bool, now: Now) -> bool {
        let Some(own) = self.own(held.slot).filter(|own| own.epoch == held.epoch) else {
            return false;
        };
        let Stage::Loading { since } = own.stage else {
            return false;
        };
        if whole {
            self.progress = now;
            self.enter(held.slot, Stage::Ready);
        } else {
            let since = Some(since);
            self.enter(held.slot, Stage::Waiting { since });
        }
        whole
    }

    /// Returns the slots whose loading has timed out. The timeouts restart while etcd does not answer (`has_etcd` is
    /// `false`).
    ///
    /// A slot queued behind others is overdue only if none of them makes progress, because loading many slots takes
    /// time.
    pub fn overdue(&mut self, has_etcd: bool, now: Now) -> Vec<Held> {
        if !has_etcd {
            self.progress = now;
        }
        let progress = self.progress;
        let mut overdue = Vec::new();
        for (number, place) in (0u16..).zip(&mut self.own) {
            let Some(own) = place else { continue };
            let tried = match &mut own.stage {
                Stage::Waiting { since } => since.as_mut(),
                Stage::Loading { since } => Some(since),
                Stage::Ready | Stage::Vacating => continue,
                Stage::Offered { .. } | Stage::Leaving { .. } => continue,
            };
            let since = match tried {
                Some(since) if has_etcd => *since,
                Some(since) => {
                    *since = now;
                    now
                }
                None => progress,
            };
            if now.since(since) >= LOAD_MAX_MS {
                let (slot, epoch) = (Slot(number), own.epoch);
                overdue.push(Held { slot, epoch });
            }
        }
        overdue
    }

    /// Prevents this node from claiming the slot for a limited time, so that other nodes can.
    pub fn shun(&mut self, slot: Slot, now: Now) {
        if let Some(place) = self.shunned.get_mut(slot.index()) {
            *place = Some(now.after(SHUN_MS));
        }
    }

    /// Returns `true` if this node must not claim the slot yet, so that other nodes can.
    #[must_use]
    pub fn is_shunned(&self, slot: Slot, now: Now) -> bool {
        let until = self.shunned.get(slot.index()).copied().flatten();
        until.is_some_and(|until| now < until)
    }

    fn set(&mut self, slot: Slot, next: Option<OwnSlot>) {
        let Some(place) = self.own.get_mut(slot.index()) else {
            return;
        };
        let is_loading = |own: &Option<OwnSlot>| {
            own.is_some_and(|own| matches!(own.stage, Stage::Loading { .. }))
        };
        self.loading -= usize::from(is_loading(place));
        self.loading += usize::from(is_loading(&next));
        self.count -= usize::from(place.is_some());
        self.count += usize::from(next.is_some());
        *place = next;
        self.held_is_old = true;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Parcels {
    kept: Vec<(Parcel, Now)>,
}

impl Parcels {
    /// Stores a parcel. If the same node has sent an earlier parcel for the slot, that parcel is replaced and its id is
    /// returned, because its transfer has been abandoned.
    ///
    /// # Errors
    /// Returns the id of `parcel` if it must be dropped, because the store is full or already contains a later parcel
    /// for the slot.
    pub(crate) fn keep(&mut self, parcel: Parcel, now: Now) -> Result<Option<ParcelId>, ParcelId> {
        let is_same = |kept: &Parcel| {
            kept.slot == parcel.slot && kept.id.giver == parcel.id.giver && kept.sent == parcel.sent
        };
        let until = now.after(PARCEL_KEPT_MS);
        if let Some((kept, kept_until)) = self.kept.iter_mut().find(|(kept, _)| is_same(kept)) {
            if kept.id > parcel.id {
                return Err(parcel.id);
            }
            let earlier = (kept.id != parcel.id).then_some(kept.id);
            (*kept, *kept_until) = (parcel, until);
            return Ok(earlier);
        }
        if self.kept.len() >= PARCELS_MAX {
            return Err(parcel.id);
        }
        self.kept.push((parcel, until));
        Ok(None)
    }

    /// Removes and returns the parcels that must be delivered when a slot is served under the record `to`. The parcel
    /// that the record names comes first.
    ///
    /// Other parcels that were sent before a transfer belong to abandoned transfers, and are not delivered.
    pub(crate) fn take(&mut self, slot: Slot, to: SlotRecord) -> (Option<ParcelId>, Vec<ParcelId>) {
        let mut named = None;
        let mut late = Vec::new();
        for (parcel, _) in self.kept.extract_if(.., |(parcel, _)| parcel.slot == slot) {
            if to.parcel == Some(parcel.id) {
                named = Some(parcel.id);
            } else if parcel.sent == ParcelSent::Late {
                late.push(parcel.id);
            }
        }
        (named, late)
    }

    pub(crate) fn forget(&mut self, slot: Slot, record: SlotRecord) -> Vec<ParcelId> {
        let is_void =
            |(parcel, _): &mut (Parcel, Now)| parcel.slot == slot && parcel.epoch < record.epoch;
        let void = self.kept.extract_if(.., is_void);
        void.map(|(parcel, _)| parcel.id).collect()
    }

    pub(crate) fn expire(&mut self, now: Now) -> Vec<ParcelId> {
        let expired = self.kept.extract_if(.., |(_, until)| *until <= now);
        expired.map(|(parcel, _)| parcel.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::types::{Revision, fixtures::incarnation};

    fn parcel(number: u32, sent: ParcelSent) -> Parcel {
        let giver = incarnation(1, 1);
        Parcel {
            id: ParcelId { giver, number },
            slot: Slot(1),
            epoch: Revision(5),
            sent,
        }
    }

    fn record(epoch: u64, parcel: Option<ParcelId>) -> SlotRecord {
        SlotRecord {
            epoch: Revision(epoch),
            parcel,
            ..SlotRecord::default()
        }
    }

    #[test]
    fn only_the_parcel_that_the_slot_names_is_delivered() {
        let (ahead, late) = (parcel(1, ParcelSent::Ahead), parcel(2, ParcelSent::Late));
        for (named, delivered) in [(None, None), (Some(ahead.id), Some(ahead.id))] {
            let mut parcels = Parcels::default();
            assert_eq!(parcels.keep(ahead, Now(0)), Ok(None));
            assert_eq!(parcels.keep(late, Now(0)), Ok(None));
            let taken = parcels.take(Slot(1), record(6, named));
            assert_eq!(taken, (delivered, vec![late.id]));
            assert_eq!(parcels.take(Slot(1), record(6, named)), (None, Vec::new()));
        }
    }

    #[test]
    fn a_giver_has_one_parcel_of_a_slot() {
        let mut parcels = Parcels::default();
        let [first, second] = [1, 2].map(|number| parcel(number, ParcelSent::Ahead));
        assert_eq!(parcels.keep(first, Now(0)), Ok(None));
        assert_eq!(parcels.keep(second, Now(0)), Ok(Some(first.id)));
        assert_eq!(parcels.keep(second, Now(0)), Ok(None));
        assert_eq!(parcels.keep(first, Now(0)), Err(first.id));
        assert_eq!(parcels.forget(Slot(1), record(5, None)), []);
        assert_eq!(parcels.forget(Slot(1), record(6, None)), [second.id]);
    }

    #[test]
    fn parcels_have_a_bound_in_number_and_time() {
        let mut parcels = Parcels::default();
        for number in 0..=PARCELS_MAX {
            let slot = Slot(u16::try_from(number).unwrap());
            let parcel = Parcel {
                slot,
                ..parcel(1, ParcelSent::Ahead)
            };
            assert_eq!(parcels.keep(parcel, Now(0)).is_ok(), number < PARCELS_MAX);
        }
        assert_eq!(parcels.expire(Now(PARCEL_KEPT_MS - 1)), []);
        assert_eq!(parcels.expire(Now(PARCEL_KEPT_MS)).len(), PARCELS_MAX);
    }
}
