//! A node's view of the keys in etcd. For each key, the highest revision wins, whether it was read, delivered by the
//! watch or reported by a peer.

use crate::cluster::limits::{NODES_MAX, PROGRESS_GAP_MS};
use crate::cluster::types::{
    Address, Change, Epoch, EtcdId, Key, Kinship, NodeId, NodeKey, Owner, Registration, Revision,
    RosterState, Slot, SlotRecord, Snapshot, Value, grown,
};
use crate::time::Now;
use std::collections::BTreeSet;

/// The slots, registrations and members that one node knows. Each process has one instance.
///
/// `complete ≤ newest`: every change up to `complete` has been applied. Individual slots may be known at later
/// revisions.
#[derive(Debug)]
pub struct View {
    slots: Vec<SlotRecord>,
    nodes: Vec<NodeView>,
    /// The node keys that have been set, indexed by node number.
    keys: Vec<NodeKey>,
    complete: Revision,
    newest: Revision,
    etcd: Option<EtcdId>,
    /// Slots that have changed since the last [`Self::take_changed`], with their previous records.
    changed: Vec<(Slot, SlotRecord)>,
    /// The times between which the watch has delivered all changes.
    current_since: Now,
    current_until: Option<Now>,
    first_registration: Option<Now>,
}

#[derive(Clone, Copy, Debug, Default)]
struct NodeView {
    roster: Option<(RosterState, Address)>,
    roster_as_of: Revision,
    registration: Option<Registration>,
    registration_as_of: Revision,
    /// When the node's registration disappeared, or was replaced by one from another cluster.
    absent_since: Option<Now>,
}

impl View {
    /// Creates an empty view of `slots` slots. `newest` is the highest revision seen before the restart.
    #[must_use]
    pub fn new(slots: u16, newest: Revision, etcd: Option<EtcdId>) -> Self {
        Self {
            slots: vec![SlotRecord::default(); usize::from(slots)],
            nodes: Vec::new(),
            keys: Vec::new(),
            complete: Revision(0),
            newest,
            etcd,
            changed: Vec::new(),
            current_since: Now(0),
            current_until: None,
            first_registration: None,
        }
    }

    /// Returns the records of all slots, in order.
    #[must_use]
    pub fn slots(&self) -> &[SlotRecord] {
        &self.slots
    }

    /// Returns the record of a slot. An unknown slot has no owner.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> SlotRecord {
        self.slots.get(slot.index()).copied().unwrap_or_default()
    }

    /// Returns the revision up to which every change is known.
    #[must_use]
    pub fn complete(&self) -> Revision {
        self.complete
    }

    /// Returns the highest revision seen.
    #[must_use]
    pub fn newest(&self) -> Revision {
        self.newest
    }

    /// Returns the id of the etcd cluster.
    #[must_use]
    pub fn etcd(&self) -> Option<EtcdId> {
        self.etcd
    }

    /// Raises the highest revision seen.
    pub fn raise(&mut self, revision: Revision) {
        self.newest = self.newest.max(revision);
    }

    /// Returns a node's state in the roster.
    #[must_use]
    pub fn roster(&self, node: NodeId) -> Option<RosterState> {
        self.node(node).roster.map(|(state, _)| state)
    }

    /// Returns the address in a node's roster entry.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<Address> {
        self.node(node).roster.map(|(_, address)| address)
    }

    /// Returns a node's registration if it belongs to this cluster.
    #[must_use]
    pub fn registration(&self, node: NodeId) -> Option<Registration> {
        self.written(node)
            .filter(|registration| registration.kinship == Kinship::Peer)
    }

    /// Returns the registration that is stored under a node's name, whether or not it belongs to this cluster.
    #[must_use]
    pub fn written(&self, node: NodeId) -> Option<Registration> {
        self.node(node).registration
    }

    /// Returns the registrations of processes from other clusters. Such registrations are ignored.
    pub fn strangers(&self) -> impl Iterator<Item = (NodeId, Registration)> {
        self.nodes().filter_map(|node| {
            let written = self.written(node)?;
            (written.kinship != Kinship::Peer).then_some((node, written))
        })
    }

    /// Returns the registration of a node, provided that it was made by this incarnation.
    #[must_use]
    pub fn registered(&self, owner: Owner) -> Option<Registration> {
        self.registration(owner.node)
            .filter(|registration| registration.incarnation == owner.incarnation)
    }

    /// Returns the revision that a transaction expects for a watched key; 0 if the key is absent.
    #[must_use]
    pub fn at(&self, key: Key) -> Revision {
        match key {
            Key::Slot(slot) => self.slot(slot).epoch,
            Key::Registration(node) => self.written(node).map_or(Revision(0), |it| it.revision),
            Key::Roster(node) => {
                let known = self.node(node);
                known.roster.map_or(Revision(0), |_| known.roster_as_of)
            }
            Key::Record(..) => Revision(0),
        }
    }

    /// Returns all nodes that appear in at least one key.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(|index| NodeId(u16::try_from(index).unwrap_or(u16::MAX)))
    }

    /// Sets a node's key. The keys of all lower-numbered nodes must already be set.
    pub fn set_key(&mut self, node: NodeId, key: NodeKey) {
        if node.index() == self.keys.len() && node.index() < NODES_MAX {
            self.keys.push(key);
        }
    }

    /// Returns a node's key, which is the same on all nodes. Defaults to the node's number.
    #[must_use]
    pub fn key(&self, node: NodeId) -> NodeKey {
        let key = self.keys.get(node.index()).copied();
        key.unwrap_or_else(|| NodeKey(node.0.into()))
    }

    /// Returns when this process first saw a registration, which may be its own.
    #[must_use]
    pub fn first_registration(&self) -> Option<Now> {
        self.first_registration
    }

    /// Returns how long a node's registration has been absent from a complete view, in milliseconds.
    #[must_use]
    pub fn absent_ms(&self, node: NodeId) -> u64 {
        let (Some(absent), Some(until)) = (self.node(node).absent_since, self.current_until) else {
            return 0;
        };
        until.since(absent.max(self.current_since))
    }

    /// Records that the watch has delivered all changes up to `asked`, the time at which its progress was requested.
    pub fn current_at(&mut self, asked: Now) {
        match self.current_until {
            Some(until) if asked.since(until) <= PROGRESS_GAP_MS => {
                self.current_until = Some(until.max(asked));
            }
            Some(_) | None => self.renew_currency(asked),
        }
    }

    /// Records that changes before `now` may have been missed. Absences are therefore measured from `now`.
    pub fn renew_currency(&mut self, now: Now) {
        (self.current_since, self.current_until) = (now, Some(now));
    }

    /// Marks the view as incomplete after a pause of this process.
    pub fn lose_currency(&mut self) {
        self.current_until = None;
    }

    /// Applies a snapshot of all keys at one revision. Keys that it does not contain are absent.
    pub fn apply_snapshot(&mut self, snapshot: &Snapshot, now: Now) {
        self.etcd = Some(snapshot.etcd);
        self.raise(snapshot.revision);
        let is_slot = |key: &Key| matches!(key, Key::Slot(_));
        let keys = snapshot.entries.iter().map(|entry| entry.key);
        let present: BTreeSet<Key> = keys.filter(|key| !is_slot(key)).collect();
        for entry in &snapshot.entries {
            self.apply(entry, now);
        }
        for node in self.nodes() {
            for key in [Key::Registration(node), Key::Roster(node)] {
                if !present.contains(&key) {
                    let gone = Change {
                        revision: snapshot.revision,
                        key,
                        value: None,
                    };
                    self.apply(&gone, now);
                }
            }
        }
        self.complete = self.complete.max(snapshot.revision);
    }

    /// Applies changes delivered by the watch. They are later than [`Self::complete`].
    pub fn apply_changes(&mut self, changes: &[Change], now: Now) {
        for change in changes {
            self.apply(change, now);
            self.raise(change.revision);
            self.complete = self.complete.max(change.revision);
        }
    }

    /// Records that the watch has delivered all changes up to `revision`.
    pub fn complete_to(&mut self, revision: Revision) {
        self.raise(revision);
        self.complete = self.complete.max(revision);
    }

    /// Applies the record of a slot, from any source. The higher epoch wins.
    pub fn learn(&mut self, slot: Slot, record: SlotRecord) {
        let Some(known) = self.slots.get_mut(slot.index()) else {
            return;
        };
        if record.epoch > known.epoch {
            let former = std::mem::replace(known, record);
            self.changed.push((slot, former));
            self.raise(record.epoch);
            if let Some(owner) = record.owner {
                grown(&mut self.nodes, owner.node);
            }
        }
    }

    /// Returns the slots that have changed since the last call, with their previous records. A slot may occur twice.
    pub fn take_changed(&mut self) -> Vec<(Slot, SlotRecord)> {
        std::mem::take(&mut self.changed)
    }

    /// Returns the slots that have changed after revision `complete`, for a peer that knows all earlier changes.
    #[must_use]
    pub fn changes_after(&self, complete: Revision) -> Vec<(Slot, SlotRecord)> {
        if self.newest <= complete {
            return Vec::new();
        }
        let numbered = (0u16..).zip(&self.slots);
        numbered
            .filter(|(_, record)| record.epoch > complete)
            .map(|(number, record)| (Slot(number), *record))
            .collect()
    }

    /// Returns `true` if a slot whose epoch was known at revision `known` is missing from the snapshot or has a lower
    /// epoch there. Slot keys are never deleted, so etcd's history must have changed.
    #[must_use]
    pub fn contradicts(&self, snapshot: &Snapshot, known: Revision) -> bool {
        let mut shown = vec![Epoch::default(); self.slots.len()];
        for entry in &snapshot.entries {
            if let Key::Slot(slot) = entry.key
                && let Some(place) = shown.get_mut(slot.index())
            {
                *place = entry.revision;
            }
        }
        let mut slots = self.slots.iter().zip(shown);
        slots.any(|(record, shown)| shown < record.epoch && record.epoch <= known)
    }

    pub(crate) fn apply(&mut self, change: &Change, now: Now) {
        match (change.key, change.value) {
            (
                Key::Slot(slot),
                Some(Value::Slot {
                    owner,
                    parcel,
                    presence,
                }),
            ) => {
                let epoch = change.revision;
                self.learn(
                    slot,
                    SlotRecord {
                        epoch,
                        owner,
                        parcel,
                        presence,
                    },
                );
            }
            (Key::Registration(node), value) => self.registers(node, change.revision, value, now),
            (Key::Roster(node), value) => {
                let Some(known) = grown(&mut self.nodes, node) else {
                    return;
                };
                if change.revision >= known.roster_as_of {
                    known.roster_as_of = change.revision;
                    known.roster = match value {
                        Some(Value::Roster(state, address)) => Some((state, address)),
                        Some(_) | None => None,
                    };
                }
            }
            // Slot keys are never deleted, and records are not watched.
            (Key::Slot(_) | Key::Record(..), _) => {}
        }
    }

    fn registers(&mut self, node: NodeId, revision: Revision, value: Option<Value>, now: Now) {
        let Some(known) = grown(&mut self.nodes, node) else {
            return;
        };
        if revision < known.registration_as_of {
            return;
        }
        known.registration_as_of = revision;
        known.registration = match value {
            Some(Value::Registration {
                incarnation,
                lease,
                kinship,
            }) => Some(Registration {
                incarnation,
                lease,
                revision,
                kinship,
            }),
            Some(_) | None => None,
        };
        if known
            .registration
            .is_some_and(|registration| registration.kinship == Kinship::Peer)
        {
            known.absent_since = None;
            self.first_registration.get_or_insert(now);
        } else {
            known.absent_since.get_or_insert(now);
        }
    }

    fn node(&self, node: NodeId) -> NodeView {
        self.nodes.get(node.index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
