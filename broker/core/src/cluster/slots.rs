//! Slots that this process owns by etcd: loaded, then served.
//!
//! Pending messages that arrived with a slot are here as well. Which slots the node takes is in
//! [`slot_claims`](crate::cluster::slot_claims), and which it gives in
//! [`slot_departures`](crate::cluster::slot_departures).

use crate::cluster::limits::{LOAD_MAX_MS, LOADS_MAX, PARCEL_KEPT_MS, PARCELS_MAX, SHUN_MS};
use crate::cluster::message::{Held, Parcel, ParcelSent, Target};
use crate::cluster::types::{Epoch, ParcelId, Slot, SlotRecord};
use crate::time::Now;
use std::sync::Arc;

/// State of the own slots. One per process.
#[derive(Debug)]
pub struct OwnSlots {
    own: Vec<Option<OwnSlot>>,
    loading: usize,
    count: usize,
    /// When a load last succeeded, or could first be tried: waiting slots are overdue by this.
    progress: Now,
    /// By slot: until when it is left to others, since its records could not be read.
    shunned: Vec<Option<Now>>,
    held: Arc<[Held]>,
    held_is_old: bool,
    /// Parcels of other nodes, for slots that they give to this one.
    pub(crate) parcels: Parcels,
    /// Changes seen so far, of all slots.
    pub(crate) changes: u64,
}

/// An owned slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSlot {
    /// Epoch since which it is owned.
    pub epoch: Epoch,
    /// Current stage.
    pub stage: Stage,
}

/// Stage of an owned slot, from its load to its transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for other loads, or for a retry of its own.
    Waiting {
        /// First attempt since etcd answers.
        since: Option<Now>,
    },
    /// Reading its records.
    Loading {
        /// First attempt since etcd answers.
        since: Now,
    },
    /// Served, while the node may serve.
    Ready,
    /// Writing its value without an owner.
    Vacating,
    /// Pending messages are offered to another node, which has not answered.
    Offered {
        /// Id of the parcel.
        parcel: ParcelId,
        /// The other node.
        target: Target,
        /// Start of the stage.
        since: Now,
    },
    /// The transaction of its transfer is in flight, or its outcome is unknown.
    Leaving {
        /// Id of the parcel.
        parcel: ParcelId,
        /// Start of the stage.
        since: Now,
    },
}

impl OwnSlot {
    /// Whether the node holds the slot's channels: it serves them, or still keeps them for a transfer.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match self.stage {
            Stage::Ready | Stage::Offered { .. } | Stage::Leaving { .. } => true,
            Stage::Waiting { .. } | Stage::Loading { .. } | Stage::Vacating => false,
        }
    }

    /// Parcel that another node may have.
    #[must_use]
    pub fn parcel(&self) -> Option<ParcelId> {
        match self.stage {
            Stage::Offered { parcel, .. } | Stage::Leaving { parcel, .. } => Some(parcel),
            Stage::Waiting { .. } | Stage::Loading { .. } | Stage::Ready | Stage::Vacating => None,
        }
    }
}

impl OwnSlots {
    /// State without owned slots.
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

    /// State of a slot, if it is owned.
    #[must_use]
    pub fn own(&self, slot: Slot) -> Option<OwnSlot> {
        self.own.get(slot.index()).copied().flatten()
    }

    /// Number of owned slots.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// All own slots in order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, OwnSlot)> {
        (0u16..)
            .zip(&self.own)
            .filter_map(|(number, own)| own.map(|own| (Slot(number), own)))
    }

    /// Slots whose channels this node holds, in order.
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

    /// Adds a slot, owned from `epoch` on.
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

    /// The next slots to load, as many as may be loaded at a time.
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

    /// Records the result of a load. True when the slot is served from here on.
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

    /// Slots that could not be loaded for too long. While etcd does not answer (`has_etcd`), the time starts again.
    ///
    /// A waiting slot is overdue only if no other one is loaded: many slots take their time.
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

    /// Leaves the slot to others for a while.
    pub fn shun(&mut self, slot: Slot, now: Now) {
        if let Some(place) = self.shunned.get_mut(slot.index()) {
            *place = Some(now.after(SHUN_MS));
        }
    }

    /// Whether the slot is left to others.
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

/// Parcels that one process keeps: at most [`PARCELS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    kept: Vec<(Parcel, Now)>,
}

impl Parcels {
    /// Stores a parcel, in place of an earlier one of the same slot and giver, whose transfer was abandoned.
    ///
    /// # Errors
    /// The parcel to drop: `parcel` itself, when there is no room or a later one came before it.
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

    /// Removes the parcels to deliver when a slot is served under `record`: first the one that the record names.
    ///
    /// The others that were sent ahead belong to abandoned transfers.
    pub(crate) fn take(
        &mut self,
        slot: Slot,
        record: SlotRecord,
    ) -> (Option<ParcelId>, Vec<ParcelId>) {
        let mut named = None;
        let mut late = Vec::new();
        for (parcel, _) in self.kept.extract_if(.., |(parcel, _)| parcel.slot == slot) {
            if record.parcel == Some(parcel.id) {
                named = Some(parcel.id);
            } else if parcel.sent == ParcelSent::Late {
                late.push(parcel.id);
            }
        }
        (named, late)
    }

    /// Removes the parcels of a slot that came to another owner.
    pub(crate) fn forget(&mut self, slot: Slot, record: SlotRecord) -> Vec<ParcelId> {
        let is_void =
            |(parcel, _): &mut (Parcel, Now)| parcel.slot == slot && parcel.epoch < record.epoch;
        let void = self.kept.extract_if(.., is_void);
        void.map(|(parcel, _)| parcel.id).collect()
    }

    /// Removes the expired parcels.
    pub(crate) fn expire(&mut self, now: Now) -> Vec<ParcelId> {
        let expired = self.kept.extract_if(.., |(_, until)| *until <= now);
        expired.map(|(parcel, _)| parcel.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::types::{Incarnation, Revision};

    fn parcel(number: u32, sent: ParcelSent) -> Parcel {
        let giver = Incarnation {
            directory: 1,
            start: 1,
        };
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
