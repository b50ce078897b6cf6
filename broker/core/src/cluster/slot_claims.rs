//! Claims slots for this node, one transaction at a time, and retries claims that have failed.

use crate::cluster::limits::{CLAIM_PAUSE_MAX_MS, CLAIM_PAUSE_MS, SLOTS_PER_CLAIM};
use crate::cluster::message::{Call, ExpectedRevision, Transaction, at};
use crate::cluster::tick::owned;
use crate::cluster::types::{Epoch, Key, NodeId, Slot};
use crate::cluster::{etcd_calls::Purpose, etcd_view::View};
use crate::{cluster::Cluster, time::Now};

#[derive(Debug, Default)]
pub(crate) struct SlotClaims {
    compared: Vec<ExpectedRevision>,
    /// When the back-off after a failed claim ends. A change in the view ends it early.
    paused: Option<Now>,
    /// The length of the last back-off in milliseconds; 0 after a successful claim.
    pause_ms: u64,
}

impl SlotClaims {
    fn sends(&mut self, compares: &[ExpectedRevision]) {
        self.compared = compares.to_vec();
        self.paused = None;
    }

    pub(crate) fn made(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failed(&mut self, now: Now) {
        self.pause_ms = (2 * self.pause_ms).clamp(CLAIM_PAUSE_MS, CLAIM_PAUSE_MAX_MS);
        self.paused = Some(now.after(self.pause_ms));
    }

    /// Returns `true` if the next claim must wait, because the view does not show yet why the last one failed.
    fn is_paused(&self, view: &View, now: Now) -> bool {
        let is_same = |compare: &ExpectedRevision| view.at(compare.key) == compare.at;
        self.paused.is_some_and(|until| now < until) && self.compared.iter().all(is_same)
    }
}

impl Cluster {
    /// Claims the slots that this node may claim, provided that the view is not being refreshed.
    pub(crate) fn claim(&mut self, now: Now) {
        let is_busy = self.calls.awaits(&Purpose::Claim) || self.calls.awaits(&Purpose::Read);
        if is_busy
            || self.calls.is_unsure()
            || self.transfers.is_draining()
            || self.claims.is_paused(&self.view, now)
        {
            return;
        }
        let (claimed, owners) = self.claimable(now);
        if claimed.is_empty() {
            return;
        }
        let mut compares: Vec<ExpectedRevision> = claimed
            .iter()
            .map(|&(slot, epoch)| at(Key::Slot(slot), epoch))
            .collect();
        for node in owners.into_iter().chain([self.me.node]) {
            let key = Key::Registration(node);
            compares.push(at(key, self.view.at(key)));
        }
        self.claims.sends(&compares);
        let puts = claimed.iter().map(|&(slot, _)| {
            (
                Key::Slot(slot),
                owned(Some(self.me), None, self.view.slot(slot)),
            )
        });
        let transaction = Transaction {
            compares,
            puts: puts.collect(),
            reads: false,
        };
        self.call(Purpose::Claim, Call::Transaction(transaction), now);
    }

    /// Returns the slots to claim next, as many as fit into one transaction, and the other nodes that own them.
    fn claimable(&mut self, now: Now) -> (Vec<(Slot, Epoch)>, Vec<NodeId>) {
        let mut owners: Vec<NodeId> = Vec::new();
        let mut claimed = Vec::new();
        for slot in self.plan.claimable(&self.view, &self.silence, now) {
            if self.slots.is_shunned(slot, now) {
                continue;
            }
            let record = self.view.slot(slot);
            let former = record.owner.map(|owner| owner.node);
            if let Some(node) = former.filter(|node| *node != self.me.node)
                && !owners.contains(&node)
            {
                owners.push(node);
            }
            claimed.push((slot, record.epoch));
            if claimed.len() + owners.len() >= SLOTS_PER_CLAIM {
                break;
            }
        }
        (claimed, owners)
    }
}

#[cfg(test)]
mod tests;
