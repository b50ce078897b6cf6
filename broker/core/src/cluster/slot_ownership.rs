//! Updates the owned slots when the view changes. Loads and serves slots that this node has gained. Releases slots that
//! it has lost, along with their pending messages and parcels.

use crate::cluster::message::{
    Ending, Gain, Held, NodeOutput, Packed, Parcel, ParcelSent, ReleaseCause, SlotOrder, Taking,
};
use crate::cluster::slots::{OwnSlot, Stage};
use crate::cluster::types::{NodeId, Revision, Slot, SlotRecord};
use crate::{cluster::Cluster, time::Now};

impl Cluster {
    pub(crate) fn loaded(&mut self, held: Held, whole: bool, now: Now) {
        if self.slots.loaded(held, whole, now) {
            let record = self.view.slot(held.slot);
            let (parcel, late) = self.slots.parcels.take(held.slot, record);
            self.order(SlotOrder::Serve(held, parcel, record.presence));
            for id in late {
                self.order(SlotOrder::Merge(held, id));
            }
        }
    }

    pub(crate) fn offered(&mut self, from: NodeId, parcel: Parcel, now: Now) {
        let id = parcel.id;
        let own = self.slots.own(parcel.slot);
        let taken = match parcel.sent {
            ParcelSent::Ahead => {
                own.is_none()
                    && self.can_act(now)
                    && !self.transfers.is_draining()
                    && self.view.slot(parcel.slot).epoch <= parcel.epoch
                    && self.keeps(parcel, now)
            }
            ParcelSent::Late => match own.filter(|own| own.epoch > parcel.epoch) {
                Some(OwnSlot {
                    epoch,
                    stage: Stage::Ready,
                }) => {
                    let held = Held {
                        slot: parcel.slot,
                        epoch,
                    };
                    self.order(SlotOrder::Merge(held, id));
                    true
                }
                Some(OwnSlot {
                    stage: Stage::Waiting { .. } | Stage::Loading { .. },
                    ..
                }) => self.keeps(parcel, now),
                Some(_) | None => false,
            },
        };
        if !taken {
            self.outputs.push_back(NodeOutput::Discard(id));
        }
        self.outputs.push_back(NodeOutput::Receipt {
            to: from,
            id,
            taken,
        });
    }

    fn keeps(&mut self, parcel: Parcel, now: Now) -> bool {
        let kept = self.slots.parcels.keep(parcel, now);
        if let Ok(Some(earlier)) = kept {
            self.outputs.push_back(NodeOutput::Discard(earlier));
        }
        kept.is_ok()
    }

    /// Serves `slot` again after a transfer that was not committed.
    pub(crate) fn resume(&mut self, slot: Slot, epoch: Revision, packed: Packed) {
        let own = self.slots.own(slot);
        if own.is_some_and(|own| own.epoch == epoch && own.parcel().is_some()) {
            self.slots.enter(slot, Stage::Ready);
            self.order(SlotOrder::Resume(Held { slot, epoch }, packed));
        }
    }

    pub(crate) fn reconcile(&mut self, now: Now) {
        let changed = self.view.take_changed();
        self.slots.changes += changed.len() as u64;
        for (slot, former) in changed {
            let record = self.view.slot(slot);
            let is_mine = record.owner == Some(self.me);
            if let Some(owner) = record.owner.filter(|_| record.parcel.is_none()) {
                self.plan.claimed(owner.node, now);
            }
            match self.slots.own(slot) {
                Some(own) if own.epoch == record.epoch => {}
                Some(own) if is_mine && own.parcel().is_some() && record.parcel.is_none() => {
                    // The slot has a new epoch, so the transfer has not been committed and never will be.
                    self.gain(slot, record, former, now);
                    self.slots.enter(slot, Stage::Ready);
                    let epoch = record.epoch;
                    self.order(SlotOrder::Resume(Held { slot, epoch }, Packed::Kept));
                }
                Some(own) => {
                    self.release(slot, own, record, now);
                    if is_mine {
                        self.gain(slot, record, former, now);
                    }
                }
                None if is_mine => self.gain(slot, record, former, now),
                None => {}
            }
            if !is_mine {
                for id in self.slots.parcels.forget(slot, record) {
                    self.outputs.push_back(NodeOutput::Discard(id));
                }
            }
        }
    }

    fn gain(&mut self, slot: Slot, record: SlotRecord, former: SlotRecord, now: Now) {
        let epoch = record.epoch;
        self.slots.gain(slot, epoch, now);
        let from = former.owner.map(|owner| owner.node);
        let gain = if record.parcel.is_some() {
            Gain::Received(from)
        } else {
            let reason = self.plan.reason(former, &self.view, &self.silence);
            Gain::Claimed(Taking { from, reason })
        };
        self.outputs
            .push_back(NodeOutput::Gained(Held { slot, epoch }, gain));
    }

    fn release(&mut self, slot: Slot, own: OwnSlot, record: SlotRecord, now: Now) {
        self.slots.lose(slot);
        let epoch = own.epoch;
        let held = Held { slot, epoch };
        let Some(owner) = record.owner else {
            self.order(SlotOrder::Release(held, ReleaseCause::NotLoaded));
            return;
        };
        if own.parcel().is_some() && own.parcel() == record.parcel {
            self.transfers.gave(now);
            self.order(SlotOrder::Release(held, ReleaseCause::Transferred));
            return;
        }
        // Pending messages follow the slot, unless they may have been delivered elsewhere.
        let may_be_elsewhere = matches!(own.stage, Stage::Leaving { .. });
        let follows = own.is_held() && !may_be_elsewhere && owner.node != self.me.node;
        let id = follows.then(|| self.transfers.next_parcel());
        self.order(SlotOrder::Release(held, ReleaseCause::Superseded(id)));
        if let Some(id) = id {
            let sent = ParcelSent::Late;
            let parcel = Parcel {
                id,
                slot,
                epoch,
                sent,
            };
            self.outputs.push_back(NodeOutput::Send(owner.node, parcel));
        }
    }

    pub(crate) fn end(&mut self, ending: Ending) {
        let own: Vec<(Slot, OwnSlot)> = self.slots.iter().collect();
        for (slot, OwnSlot { epoch, .. }) in own {
            self.slots.lose(slot);
            let held = Held { slot, epoch };
            self.order(SlotOrder::Release(held, ReleaseCause::Ends));
        }
        self.obstacles.ended = true;
        self.outputs.push_back(NodeOutput::Exit(ending));
    }
}
