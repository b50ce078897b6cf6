//! Moves slots off this node: offers them to other nodes, transfers them, or gives them up. Also handles the shutdown
//! of the node.

use crate::cluster::etcd_calls::Purpose;
use crate::cluster::limits::{PARCEL_WAIT_MS, SLOTS_PER_CLAIM, UNKNOWN_MAX_MS};
use crate::cluster::message::{
    Call, Ending, Held, NodeOutput, Packed, Parcel, ParcelSent, SlotOrder, at,
};
use crate::cluster::slot_plan::{Candidates, rebalance};
use crate::cluster::slots::{OwnSlot, Stage};
use crate::cluster::tick::owned;
use crate::cluster::types::{Epoch, Key, NodeId, ParcelId, RosterState, Slot, Value};
use crate::{cluster::Cluster, time::Now};

impl Cluster {
    /// Starts shutting down this node. Slots can be transferred only if etcd answers.
    pub(crate) fn drain(&mut self, now: Now) {
        let can_give = self.can_act(now);
        self.transfers.drain(now);
        if can_give {
            self.leave_roster(now);
        } else {
            self.say_goodbye(now);
        }
    }

    /// Starts rebalancing the slots. Each node transfers the slots that exceed its share according to its own view.
    pub(crate) fn rebalance(&mut self, now: Now) {
        let candidates = Candidates::of(self.me.node, &self.view, &self.silence, now);
        let mut nodes = candidates.nodes;
        nodes.sort_unstable_by_key(|node| self.view.key(*node));
        let moves = rebalance(&self.view, &nodes);
        let mine = moves
            .into_iter()
            .filter(|&(_, giver, _)| giver == self.me.node);
        self.transfers
            .plan(mine.map(|(slot, _, taker)| (slot, taker)).collect());
    }

    pub(crate) fn parcel_answered(&mut self, from: NodeId, id: ParcelId, taken: bool, now: Now) {
        let offered = self.slots.iter().find_map(|(slot, own)| {
            let Stage::Offered { parcel, target, .. } = own.stage else {
                return None;
            };
            (parcel == id && target.owner.node == from).then_some((slot, own.epoch, target))
        });
        let Some((slot, epoch, target)) = offered else {
            return;
        };
        if taken && self.can_act(now) {
            self.slots.enter(
                slot,
                Stage::Leaving {
                    parcel: id,
                    since: now,
                },
            );
            let value = owned(Some(target.owner), Some(id), self.view.slot(slot));
            let compares = vec![
                at(Key::Slot(slot), epoch),
                at(Key::Registration(from), target.registered),
            ];
            let put = (Key::Slot(slot), value);
            self.put(Purpose::Transfer(slot, epoch), compares, put, now);
        } else {
            self.transfers.avoid(from, now);
            self.resume(slot, epoch, Packed::Kept);
        }
    }

    pub(crate) fn leave_roster(&mut self, now: Now) {
        if !self.transfers.is_draining() || !self.is_expected() || !self.can_act(now) {
            return;
        }
        let key = Key::Roster(self.me.node);
        let compares = vec![at(key, self.view.at(key))];
        let away = Value::Roster(RosterState::Away, self.address);
        self.put(Purpose::Away, compares, (key, away), now);
    }

    fn is_expected(&self) -> bool {
        self.view.roster(self.me.node) == Some(RosterState::Here)
    }

    pub(crate) fn transfer(&mut self, now: Now) {
        for (slot, OwnSlot { epoch, .. }, target) in
            self.transfers
                .next(&self.slots, &self.view, &self.silence, now)
        {
            let parcel = self.transfers.next_parcel();
            self.slots.enter(
                slot,
                Stage::Offered {
                    parcel,
                    target,
                    since: now,
                },
            );
            let held = Held { slot, epoch };
            self.order(SlotOrder::Pause(held, parcel));
            let sent = ParcelSent::Ahead;
            let id = parcel;
            let parcel = Parcel {
                id,
                slot,
                epoch,
                sent,
            };
            self.outputs
                .push_back(NodeOutput::Send(target.owner.node, parcel));
        }
    }

    /// Ends transfers that have timed out. If the outcome of a transfer is unknown, writes the slot's key again to give
    /// it a new epoch.
    pub(crate) fn check_transfers(&mut self, now: Now) {
        let own: Vec<(Slot, OwnSlot)> = self
            .slots
            .iter()
            .filter(|(_, own)| own.parcel().is_some())
            .collect();
        for (slot, OwnSlot { epoch, stage }) in own {
            match stage {
                Stage::Offered { since, target, .. } if now.since(since) >= PARCEL_WAIT_MS => {
                    self.transfers.avoid(target.owner.node, now);
                    self.resume(slot, epoch, Packed::Kept);
                }
                Stage::Leaving { since, .. } => {
                    self.check_leaving(Held { slot, epoch }, since, now)
                }
                Stage::Offered { .. } | Stage::Waiting { .. } | Stage::Loading { .. } => {}
                Stage::Ready | Stage::Vacating => {}
            }
        }
    }

    fn check_leaving(&mut self, held: Held, since: Now, now: Now) {
        let is_under_way = self.calls.awaits(&Purpose::Transfer(held.slot, held.epoch))
            || self.calls.awaits(&Purpose::Retake(held.slot, held.epoch));
        if is_under_way {
            return;
        }
        if self.can_act(now) {
            let key = Key::Slot(held.slot);
            let value = owned(Some(self.me), None, self.view.slot(held.slot));
            let purpose = Purpose::Retake(held.slot, held.epoch);
            self.put(purpose, vec![at(key, held.epoch)], (key, value), now);
        } else if now.since(since) >= UNKNOWN_MAX_MS {
            self.resume(held.slot, held.epoch, Packed::Withdrawn);
        }
    }

    /// Gives up the slots that this node was unable to load, so that other nodes can try.
    pub(crate) fn give_up_unloaded(&mut self, now: Now) {
        let has_etcd = self.authority.has_etcd(now);
        for held in self.slots.overdue(has_etcd, now) {
            self.slots.shun(held.slot, now);
            self.slots.enter(held.slot, Stage::Vacating);
        }
        if !self.can_act(now) {
            return;
        }
        let vacating: Vec<(Slot, Epoch)> = self
            .slots
            .iter()
            .filter(|(_, own)| own.stage == Stage::Vacating)
            .map(|(slot, own)| (slot, own.epoch))
            .take(SLOTS_PER_CLAIM)
            .collect();
        if vacating.is_empty() || self.calls.awaits(&Purpose::Vacate) {
            return;
        }
        for (slot, epoch) in vacating {
            let key = Key::Slot(slot);
            let none = owned(None, None, self.view.slot(slot));
            self.put(Purpose::Vacate, vec![at(key, epoch)], (key, none), now);
        }
    }

    pub(crate) fn finish_drain(&mut self, now: Now) {
        // If the node cannot act, the drain completes without waiting for the roster to list the node as away.
        let is_away = !self.is_expected() || !self.can_act(now);
        let is_over = self.slots.count() == 0 && is_away;
        let is_hopeless = || self.transfers.is_hopeless(&self.view, &self.silence, now);
        if self.transfers.is_draining() && (is_over || is_hopeless()) {
            self.say_goodbye(now);
        }
    }

    pub(crate) fn revoke(&mut self, now: Now) {
        if let Some(registration) = self.registering.current(&self.view) {
            self.call(Purpose::Revoke, Call::Revoke(registration.lease), now);
        }
    }

    fn say_goodbye(&mut self, now: Now) {
        let peers = self.view.nodes().filter(|node| *node != self.me.node);
        for node in peers {
            self.outputs.push_back(NodeOutput::Farewell(node));
        }
        self.revoke(now);
        let left = u16::try_from(self.slots.count()).unwrap_or(u16::MAX);
        self.end(Ending::Drained { left });
    }
}
