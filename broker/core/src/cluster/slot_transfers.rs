//! Transfers slots to other nodes. A drain transfers all slots, and `rebalance` transfers the slots beyond an equal
//! share.
//!
//! ```text
//!  giver                                   target                          etcd
//!  Pause ── parcel (pending messages) ───► stored
//!        ◄─ accepted ─────────────────────
//!        ── owner := target, parcel ─────────────────────────────────────► epoch + 1
//!  Release ◄───────────────────────────────────────────────────────────── committed
//!                                          Load, Serve with the parcel ◄── watch
//! ```
//! A slot's key contains the id of the parcel, so the parcel of an abandoned transfer is never delivered. If the
//! outcome of a transaction is unknown, the giver writes the slot with a new epoch. The transfer can then no longer be
//! committed.

use crate::cluster::limits::{DRAIN_ALONE_MS, DRAIN_MAX_MS, PARCEL_WAIT_MS, TRANSFERS_MAX};
use crate::cluster::slots::{OwnSlot, OwnSlots, Stage};
use crate::cluster::types::{NodeId, Owner, ParcelId, RosterState, Slot};
use crate::cluster::{etcd_view::View, liveness::Silence, message::Target, slot_plan::named};
use crate::time::Now;

/// The slots that a drain or `rebalance` must transfer, and the back-off between attempts. Each process has one
/// instance.
#[derive(Debug)]
pub(crate) struct Transfers {
    me: Owner,
    parcels: u32,
    /// When the drain last made progress; `None` if the node does not drain.
    draining: Option<Now>,
    planned: Vec<(Slot, NodeId)>,
    /// The nodes that have refused a parcel, and until when each is avoided.
    avoided: Vec<(NodeId, Now)>,
    /// When the back-off ends after etcd has refused a transfer.
    resting: Option<Now>,
}

impl Transfers {
    #[must_use]
    pub(crate) fn new(me: Owner) -> Self {
        Self {
            me,
            parcels: 0,
            draining: None,
            planned: Vec::new(),
            avoided: Vec::new(),
            resting: None,
        }
    }

    pub(crate) fn drain(&mut self, now: Now) {
        self.planned.clear();
        self.draining.get_or_insert(now);
    }

    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Returns `true` if a drain has waited too long for a node that can take over its slots. The limit is shorter if
    /// all other registered nodes are shutting down.
    #[must_use]
    pub(crate) fn is_hopeless(&self, view: &View, silence: &Silence, now: Now) -> bool {
        let goes_on = |node: NodeId| {
            let word = silence.word(node).filter(|word| word.stopping);
            view.registration(node).is_some_and(|registration| {
                word.is_none_or(|word| word.incarnation != registration.incarnation)
            })
        };
        let mut others = view.nodes().filter(|node| *node != self.me.node);
        let most_ms = if others.any(goes_on) {
            DRAIN_MAX_MS
        } else {
            DRAIN_ALONE_MS
        };
        self.draining
            .is_some_and(|progress| now.since(progress) >= most_ms)
    }

    pub(crate) fn gave(&mut self, now: Now) {
        if let Some(progress) = &mut self.draining {
            *progress = now;
        }
    }

    pub(crate) fn plan(&mut self, moves: Vec<(Slot, NodeId)>) {
        if self.draining.is_none() {
            self.planned = moves;
        }
    }

    pub(crate) fn avoid(&mut self, node: NodeId, now: Now) {
        self.avoided
            .retain(|&(other, until)| other != node && now < until);
        self.avoided.push((node, now.after(PARCEL_WAIT_MS)));
        self.planned.retain(|&(_, target)| target != node);
    }

    pub(crate) fn rest(&mut self, now: Now) {
        self.resting = Some(now.after(PARCEL_WAIT_MS));
    }

    pub(crate) fn next_parcel(&mut self) -> ParcelId {
        self.parcels += 1;
        ParcelId {
            giver: self.me.incarnation,
            number: self.parcels,
        }
    }

    /// Returns the slots to offer next and their targets, up to the limit of concurrent transfers.
    pub(crate) fn next(
        &mut self,
        slots: &OwnSlots,
        view: &View,
        silence: &Silence,
        now: Now,
    ) -> Vec<(Slot, OwnSlot, Target)> {
        let is_resting = self.resting.is_some_and(|until| now < until);
        if is_resting || (self.draining.is_none() && self.planned.is_empty()) {
            return Vec::new();
        }
        let under_way = slots
            .iter()
            .filter(|(_, own)| own.parcel().is_some())
            .count();
        let room = TRANSFERS_MAX.saturating_sub(under_way);
        let targets = self.targets(view, silence, now);
        let mut next = Vec::new();
        if self.draining.is_some() {
            let ready = slots.iter().filter(|(_, own)| own.stage == Stage::Ready);
            for (slot, own) in ready.take(room) {
                let nodes = targets.iter().map(|target| target.owner.node);
                let node = named(slot, nodes, |node| view.key(node));
                if let Some(target) = targets
                    .iter()
                    .find(|target| Some(target.owner.node) == node)
                {
                    next.push((slot, own, *target));
                }
            }
            return next;
        }
        let room = room.min(self.planned.len());
        for (slot, node) in self.planned.drain(..room) {
            let own = slots.own(slot).filter(|own| own.stage == Stage::Ready);
            let target = targets.iter().find(|target| target.owner.node == node);
            if let (Some(own), Some(target)) = (own, target) {
                next.push((slot, own, *target));
            }
        }
        next
    }

    /// Returns the nodes that can take over slots. They must be registered and present, answer this node, be connected
    /// to etcd, and not be shutting down.
    fn targets(&self, view: &View, silence: &Silence, now: Now) -> Vec<Target> {
        let can_take = |node: &NodeId| {
            *node != self.me.node
                && view.roster(*node) == Some(RosterState::Here)
                && silence.reaches(*node, now)
                && !self
                    .avoided
                    .iter()
                    .any(|&(other, until)| other == *node && now < until)
        };
        let target = |node: NodeId| {
            let registration = view.registration(node)?;
            let word = silence.word(node)?;
            let is_able = word.has_etcd && !word.stopping;
            let incarnation = registration.incarnation;
            (is_able && word.incarnation == incarnation).then_some(Target {
                owner: Owner { node, incarnation },
                registered: registration.revision,
            })
        };
        view.nodes().filter(can_take).filter_map(target).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::limits::Spans;
    use crate::cluster::slot_plan::candidates_tests::{answers, view};
    use crate::cluster::types::{Kinship, fixtures::incarnation};

    #[test]
    fn a_node_that_did_not_take_a_parcel_is_passed_over_for_a_while() {
        let (one, other) = (NodeId(1), NodeId(2));
        let view = view(&[Kinship::Peer, Kinship::Peer]);
        let mut silence = Silence::new(1, Spans::of_lease(10_000));
        for node in 0..3 {
            answers(&mut silence, node, 0);
        }
        let (node, incarnation) = (NodeId(0), incarnation(0, 1));
        let mut transfers = Transfers::new(Owner { node, incarnation });
        let targets = |transfers: &Transfers, now| {
            let targets = transfers.targets(&view, &silence, Now(now));
            targets.iter().map(|it| it.owner.node).collect::<Vec<_>>()
        };
        assert_eq!(targets(&transfers, 0), [one, other]);
        transfers.avoid(one, Now(0));
        assert_eq!(targets(&transfers, PARCEL_WAIT_MS - 1), [other]);
        assert_eq!(targets(&transfers, PARCEL_WAIT_MS), [one, other]);
    }
}
