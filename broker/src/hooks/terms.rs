//! The terms under which this process has news of channels: of all as long as it lives, or in a cluster of those of the
//! slots that its node serves.

use broker_core::cluster::slot_maps::SlotMap;
use broker_core::id::Slot;
use broker_core::presence::Presence;
use std::sync::Arc;

/// The epochs of this process and of its slots.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Of the process.
    pub(crate) epoch: u64,
    slots: Option<Arc<SlotMap>>,
    /// The changes of slots that receivers know.
    told: u64,
    /// When they may get the next.
    not_before: u64,
}

/// Runs of slots, from one to another, that a node serves with an epoch.
pub(crate) type Serving = Arc<[(Slot, Slot, u64)]>;

impl Terms {
    pub(crate) fn new(epoch: u64, slots: Option<Arc<SlotMap>>) -> Self {
        let slots = slots.filter(|slots| !slots.is_fixed());
        Self {
            epoch,
            slots,
            told: 0,
            not_before: 0,
        }
    }

    /// This node's name, in a cluster whose slots move.
    pub(crate) fn node(&self) -> Option<&str> {
        let slots = self.slots.as_ref()?;
        Some(slots.name(slots.own()))
    }

    /// The name of an event in all its tries: no other process of the service uses it.
    pub(crate) fn message_id(&self, number: u64) -> String {
        let epoch = self.epoch;
        match self.node() {
            None => format!("msg_{epoch}_{number}"),
            Some(node) => format!("msg_{epoch}_{number}_{}", node.replace('.', "_")),
        }
    }

    /// Whether this process still has the channel that told this.
    pub(crate) fn is_current(&self, state: &Presence) -> bool {
        match (state.slot, &self.slots) {
            (Some(slot), Some(slots)) => slots.presence(slot) == state.epoch,
            (Some(_), None) | (None, _) => true,
        }
    }

    /// The slots that this node serves, if that has changed since the last call: all of them, at most every
    /// [`TOLD_EVERY_MS`].
    pub(crate) fn news(&mut self, now: u64) -> Option<Serving> {
        let slots = self.slots.as_ref()?;
        let changes = slots.presence_changes();
        if changes == self.told || now < self.not_before {
            return None;
        }
        (self.told, self.not_before) = (changes, now + TOLD_EVERY_MS);
        Some(slots.presences().into())
    }
}

/// Slots come one by one, and are one event.
const TOLD_EVERY_MS: u64 = 1_000;
