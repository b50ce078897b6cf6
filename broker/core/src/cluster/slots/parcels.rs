//! Parcels of other nodes, kept until etcd shows whether their slot came here with them.

use crate::cluster::limits::{PARCEL_KEPT_MS, PARCELS_MAX};
use crate::cluster::message::{Parcel, ParcelSent};
use crate::cluster::types::{ParcelId, Slot, SlotRecord};
use crate::time::Now;

/// The parcels that one process keeps: at most [`PARCELS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    kept: Vec<(Parcel, Now)>,
}

impl Parcels {
    /// Keeps a parcel, in place of an earlier one of the same slot and giver, whose transfer was given up.
    ///
    /// # Errors
    /// The parcel that is to be dropped: `parcel` itself, when there is no room or a later one came before it.
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

    /// Takes the parcels that are delivered when a slot is served under `record`: first the one that the record names.
    ///
    /// The others that were sent ahead belong to transfers that were given up.
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

    /// Takes the parcels of a slot that came to another owner.
    pub(crate) fn forget(&mut self, slot: Slot, record: SlotRecord) -> Vec<ParcelId> {
        let is_void =
            |(parcel, _): &mut (Parcel, Now)| parcel.slot == slot && parcel.epoch < record.epoch;
        let void = self.kept.extract_if(.., is_void);
        void.map(|(parcel, _)| parcel.id).collect()
    }

    /// Takes the parcels whose time is over.
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
