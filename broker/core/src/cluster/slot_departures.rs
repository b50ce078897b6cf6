//! Slots that leave this node: offered to another, transferred, given up; and the node's own end.

use crate::cluster::limits::{
    DRAIN_ALONE_MS, DRAIN_MAX_MS, PARCEL_WAIT_MS, SLOTS_PER_CLAIM, TRANSFERS_MAX, UNKNOWN_MAX_MS,
};
use crate::cluster::message::{
    Call, Ending, Held, Output, Packed, Parcel, ParcelSent, SlotOrder, Target, Transaction,
};
use crate::cluster::slot_claims::{Candidates, named, rebalance};
use crate::cluster::slots::{Own, Slots, Stage};
use crate::cluster::tick::{at, owned};
use crate::cluster::types::{Epoch, Key, NodeId, Owner, ParcelId, RosterState, Slot, Value};
use crate::cluster::{etcd::Purpose, etcd_view::View, liveness::Silence};
use crate::{cluster::Cluster, time::Now};

impl Cluster {
    /// The operator ends this node. Without etcd nothing can be given away.
    pub(crate) fn drain(&mut self, now: Now) {
        let can_give = self.can_act(now);
        self.transfers.drain(now);
        if can_give {
            self.leave_roster(now);
        } else {
            self.say_goodbye(now);
        }
    }

    /// The operator spreads the slots: each node gives what is above its part, as of its view.
    pub(crate) fn rebalance(&mut self, now: Now) {
        let candidates = Candidates::of(self.me.node, &self.view, &self.silence, now);
        let mut nodes = candidates.nodes().to_vec();
        nodes.sort_unstable_by_key(|node| self.view.key(*node));
        let moves = rebalance(&self.view, &nodes);
        let mine = moves
            .into_iter()
            .filter(|&(_, giver, _)| giver == self.me.node);
        self.transfers
            .plan(mine.map(|(slot, _, taker)| (slot, taker)).collect());
    }

    /// Another node took a parcel, or refused it.
    pub(crate) fn parcel_answered(&mut self, from: NodeId, id: ParcelId, taken: bool, now: Now) {
        let offered = self.slots.iter().find_map(|(slot, own)| match own.stage {
            Stage::Offered { parcel, target, .. } if parcel == id => {
                Some((slot, own.epoch, target))
            }
            Stage::Offered { .. } | Stage::Waiting { .. } | Stage::Loading { .. } => None,
            Stage::Ready | Stage::Vacating | Stage::Leaving { .. } => None,
        });
        let Some((slot, epoch, target)) =
            offered.filter(|(_, _, target)| target.owner.node == from)
        else {
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
            self.send_transfer(Held { slot, epoch }, id, target, now);
        } else {
            self.transfers.avoid(from, now);
            self.resume(slot, epoch, Packed::Kept);
        }
    }

    /// A node that drains says so in the roster.
    pub(crate) fn leave_roster(&mut self, now: Now) {
        if !self.transfers.is_draining() || !self.is_expected() || !self.can_act(now) {
            return;
        }
        let key = Key::Roster(self.me.node);
        let transaction = Transaction {
            compares: vec![at(key, self.view.roster_at(self.me.node))],
            puts: vec![(key, Value::Roster(RosterState::Away, self.address))],
            reads: false,
        };
        self.call(Purpose::Away, Call::Transaction(transaction), now);
    }

    /// Whether the roster expects this node to run.
    fn is_expected(&self) -> bool {
        self.view.roster(self.me.node) == Some(RosterState::Here)
    }

    /// Offers the next slots that are given away.
    pub(crate) fn transfer(&mut self, now: Now) {
        for (slot, Own { epoch, .. }, target) in
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
                .push_back(Output::Send(target.owner.node, parcel));
        }
    }

    fn send_transfer(&mut self, held: Held, parcel: ParcelId, target: Target, now: Now) {
        let value = owned(target.owner, Some(parcel), self.view.slot(held.slot));
        let transaction = Transaction {
            compares: vec![
                at(Key::Slot(held.slot), held.epoch),
                at(Key::Registration(target.owner.node), target.registered),
            ],
            puts: vec![(Key::Slot(held.slot), value)],
            reads: false,
        };
        let purpose = Purpose::Transfer(held.slot, held.epoch);
        self.call(purpose, Call::Transaction(transaction), now);
    }

    /// Ends transfers that take too long. One whose outcome is unknown is settled by a new epoch of the own slot.
    pub(crate) fn check_transfers(&mut self, now: Now) {
        let own: Vec<(Slot, Own)> = self
            .slots
            .iter()
            .filter(|(_, own)| own.parcel().is_some())
            .collect();
        for (slot, Own { epoch, stage }) in own {
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
            let value = owned(self.me, None, self.view.slot(held.slot));
            let transaction = Transaction {
                compares: vec![at(Key::Slot(held.slot), held.epoch)],
                puts: vec![(Key::Slot(held.slot), value)],
                reads: false,
            };
            let purpose = Purpose::Retake(held.slot, held.epoch);
            self.call(purpose, Call::Transaction(transaction), now);
        } else if now.since(since) >= UNKNOWN_MAX_MS {
            self.resume(held.slot, held.epoch, Packed::Withdrawn);
        }
    }

    /// Gives up slots that could not be loaded: others try.
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
            let none = Value::Slot {
                owner: None,
                parcel: None,
                presence: self.view.slot(slot).presence.saturating_add(1),
            };
            let transaction = Transaction {
                compares: vec![at(Key::Slot(slot), epoch)],
                puts: vec![(Key::Slot(slot), none)],
                reads: false,
            };
            self.call(Purpose::Vacate, Call::Transaction(transaction), now);
        }
    }

    pub(crate) fn finish_drain(&mut self, now: Now) {
        // A drain may be over before the roster has it.
        let is_away = !self.is_expected() || !self.can_act(now);
        let is_over = self.slots.count() == 0 && is_away;
        let is_hopeless = || self.transfers.is_hopeless(&self.view, &self.silence, now);
        if self.transfers.is_draining() && (is_over || is_hopeless()) {
            self.say_goodbye(now);
        }
    }

    /// Ends the registration of this process, if there is one.
    pub(crate) fn revoke(&mut self, now: Now) {
        if let Some(registration) = self.registering.current(&self.view) {
            self.call(Purpose::Revoke, Call::Revoke(registration.lease), now);
        }
    }

    fn say_goodbye(&mut self, now: Now) {
        let peers = self.view.nodes().filter(|node| *node != self.me.node);
        for node in peers {
            self.outputs.push_back(Output::Farewell(node));
        }
        self.revoke(now);
        let left = u16::try_from(self.slots.count()).unwrap_or(u16::MAX);
        self.end(Ending::Drained { left });
    }
}

// Giving slots to other nodes: a drain gives all, `rebalance` what is above an equal part.
//
// ```text
//  giver                                   target                          etcd
//  Pause ── parcel (pending messages) ───► kept
//        ◄─ taken ────────────────────────
//        ── owner := target, parcel ─────────────────────────────────────► epoch + 1
//  Release ◄───────────────────────────────────────────────────────────── committed
//                                          Load, Serve with the parcel ◄── watch
// ```
// The slot's value names the parcel, so one of a transfer that was given up is never delivered. A transaction whose
// outcome is unknown is settled by writing the own slot under a new epoch: then the transfer can no longer be made.

/// Slots to give away, in a drain or by `rebalance`, and the pauses between attempts. One per process.
#[derive(Debug)]
pub struct Transfers {
    me: Owner,
    parcels: u32,
    draining: Option<Draining>,
    /// Slots that `rebalance` found to be given, and to whom.
    planned: Vec<(Slot, NodeId)>,
    /// Nodes that did not take a parcel, and until when they are not asked again.
    avoided: Vec<(NodeId, Now)>,
    /// Until when nothing is offered, since etcd refused a transfer.
    resting: Option<Now>,
}

/// A drain under way.
#[derive(Clone, Copy, Debug)]
struct Draining {
    /// When it last gave a slot away, or began.
    progress: Now,
}

impl Transfers {
    /// Nothing is given away.
    #[must_use]
    pub fn new(me: Owner) -> Self {
        Self {
            me,
            parcels: 0,
            draining: None,
            planned: Vec::new(),
            avoided: Vec::new(),
            resting: None,
        }
    }

    /// Begins to give all slots away.
    pub fn drain(&mut self, now: Now) {
        self.planned.clear();
        self.draining.get_or_insert(Draining { progress: now });
    }

    /// Whether all slots are given away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether a drain has found no node that takes its slots for too long. Where no other node is registered that
    /// goes on, there is hardly any to wait for.
    #[must_use]
    pub fn is_hopeless(&self, view: &View, silence: &Silence, now: Now) -> bool {
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
            .is_some_and(|drain| now.since(drain.progress) >= most_ms)
    }

    /// A slot was given away.
    pub fn gave(&mut self, now: Now) {
        if let Some(drain) = &mut self.draining {
            drain.progress = now;
        }
    }

    /// Plans to give these slots.
    pub fn plan(&mut self, moves: Vec<(Slot, NodeId)>) {
        if self.draining.is_none() {
            self.planned = moves;
        }
    }

    /// `node` did not take a parcel.
    pub fn avoid(&mut self, node: NodeId, now: Now) {
        self.avoided
            .retain(|&(other, until)| other != node && now < until);
        self.avoided.push((node, now.after(PARCEL_WAIT_MS)));
        self.planned.retain(|&(_, target)| target != node);
    }

    /// etcd refused a transfer: the next ones are not tried at once.
    pub fn rest(&mut self, now: Now) {
        self.resting = Some(now.after(PARCEL_WAIT_MS));
    }

    /// Numbers a parcel.
    pub fn next_parcel(&mut self) -> ParcelId {
        self.parcels += 1;
        ParcelId {
            giver: self.me.incarnation,
            number: self.parcels,
        }
    }

    /// The next slots to offer, and to whom: as many as may be transferred at a time.
    pub fn next(
        &mut self,
        slots: &Slots,
        view: &View,
        silence: &Silence,
        now: Now,
    ) -> Vec<(Slot, Own, Target)> {
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

    /// Nodes that can take slots: registered, here, with etcd, not stopping, and answering.
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
