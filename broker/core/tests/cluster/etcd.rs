//! A model of etcd: one linearizable store with leases, watches that lag, compaction, a quota, and a backup.
//!
//! Slow, flat, and without any code of the nodes: only their words are shared.

use broker_core::cluster::message::{Call, Reply, Transaction, WatchId};
use broker_core::cluster::types::{
    Change, EtcdId, Key, LeaseId, NodeId, Owner, Revision, Slot, Snapshot, Value,
};
use std::collections::BTreeMap;

/// A key's value and the revision of its last change.
type Entry = (Revision, Value);

/// The whole cluster of etcd, as its clients see it.
pub(crate) struct Etcd {
    pub(crate) id: EtcdId,
    pub(crate) revision: Revision,
    pub(crate) slots: Vec<Option<Entry>>,
    others: BTreeMap<Key, Entry>,
    /// When each lease ends, by its number.
    leases: BTreeMap<u64, u64>,
    next_lease: u64,
    lease_ms: u64,
    /// All changes that watches may want, in order.
    pub(crate) history: Vec<Change>,
    compacted: Revision,
    pub(crate) is_full: bool,
    backup: Option<Box<Backup>>,
}

struct Backup {
    revision: Revision,
    slots: Vec<Option<Entry>>,
    others: BTreeMap<Key, Entry>,
    leases: BTreeMap<u64, u64>,
}

/// The effect of a call.
pub(crate) enum Effect {
    Reply(Reply),
    /// A watch from this revision.
    Watch(WatchId, Revision),
    /// The progress of a watch, which its stream answers.
    Progress(WatchId),
    None,
}

impl Etcd {
    pub(crate) fn new(slots: u16, lease_ms: u64) -> Self {
        Self {
            id: EtcdId(1),
            revision: Revision(1),
            slots: vec![None; usize::from(slots)],
            others: BTreeMap::new(),
            leases: BTreeMap::new(),
            next_lease: 1,
            lease_ms,
            history: Vec::new(),
            compacted: Revision(0),
            is_full: false,
            backup: None,
        }
    }

    /// Writes a key as if it had been written before the world began.
    pub(crate) fn seed(&mut self, key: Key, value: Value) {
        self.revision = self.revision.next();
        self.put(key, value);
    }

    pub(crate) fn call(&mut self, call: Call, now: u64) -> Effect {
        self.expire(now);
        match call {
            Call::Grant if self.is_full => Effect::Reply(Reply::Refused),
            Call::Grant => {
                let lease = self.next_lease;
                self.next_lease += 1;
                self.leases.insert(lease, now + self.lease_ms);
                Effect::Reply(Reply::Granted(LeaseId(lease), self.lease_ms))
            }
            Call::KeepAlive(lease) => Effect::Reply(match self.leases.get_mut(&lease.0) {
                Some(ends) => {
                    *ends = now + self.lease_ms;
                    Reply::KeptAlive
                }
                None => Reply::LeaseGone,
            }),
            Call::Revoke(lease) => {
                self.end_lease(lease.0);
                Effect::None
            }
            Call::Read => Effect::Reply(Reply::Snapshot(self.snapshot())),
            Call::Transaction(transaction) => Effect::Reply(self.transact(&transaction)),
            Call::Watch { watch, from } => Effect::Watch(watch, from),
            Call::Progress(watch) => Effect::Progress(watch),
        }
    }

    fn transact(&mut self, transaction: &Transaction) -> Reply {
        let held = |&(_, value): &(Key, Value)| match value {
            Value::Registration { lease, .. } => self.leases.contains_key(&lease.0),
            Value::Slot { .. } | Value::Roster(..) | Value::Record => true,
        };
        let committed = transaction
            .compares
            .iter()
            .all(|compare| self.modified(compare.key) == compare.at);
        if committed && (self.is_full || !transaction.puts.iter().all(held)) {
            return Reply::Refused;
        }
        if committed && !transaction.puts.is_empty() {
            self.revision = self.revision.next();
            for &(key, value) in &transaction.puts {
                self.put(key, value);
            }
        }
        Reply::Outcome {
            committed,
            revision: self.revision,
            etcd: self.id,
            snapshot: transaction.reads.then(|| self.snapshot()),
        }
    }

    fn modified(&self, key: Key) -> Revision {
        let entry = match key {
            Key::Slot(slot) => self.slots[slot.index()].as_ref(),
            Key::Registration(_) | Key::Roster(_) | Key::Record(..) => self.others.get(&key),
        };
        entry.map_or(Revision(0), |(revision, _)| *revision)
    }

    fn put(&mut self, key: Key, value: Value) {
        let entry = (self.revision, value);
        match key {
            Key::Slot(slot) => {
                let former = self.slots[slot.index()].replace(entry);
                let epochs = [former, Some(entry)].map(|entry| match entry {
                    Some((_, Value::Slot { presence, .. })) => presence,
                    _ => 0,
                });
                assert!(epochs[0] < epochs[1], "epochs of presence grow: {epochs:?}");
            }
            Key::Record(..) => return,
            Key::Registration(_) | Key::Roster(_) => {
                self.others.insert(key, entry);
            }
        }
        self.changed(key, Some(value));
    }

    fn changed(&mut self, key: Key, value: Option<Value>) {
        let revision = self.revision;
        self.history.push(Change {
            revision,
            key,
            value,
        });
    }

    fn snapshot(&self) -> Snapshot {
        let slots = (0u16..).zip(&self.slots).filter_map(|(number, entry)| {
            entry.map(|(revision, value)| Change {
                revision,
                key: Key::Slot(Slot(number)),
                value: Some(value),
            })
        });
        let others = self.others.iter().map(|(&key, &(revision, value))| Change {
            revision,
            key,
            value: Some(value),
        });
        Snapshot {
            revision: self.revision,
            etcd: self.id,
            entries: slots.chain(others).collect(),
        }
    }

    /// Ends all leases whose time is over.
    pub(crate) fn expire(&mut self, now: u64) {
        while let Some(lease) = self
            .leases
            .iter()
            .find(|(_, ends)| **ends <= now)
            .map(|(&lease, _)| lease)
        {
            self.end_lease(lease);
        }
    }

    fn end_lease(&mut self, lease: u64) {
        self.leases.remove(&lease);
        let under = |value: &Value| matches!(value, Value::Registration { lease: other, .. } if other.0 == lease);
        let keys: Vec<Key> = self
            .others
            .iter()
            .filter(|(_, (_, value))| under(value))
            .map(|(&key, _)| key)
            .collect();
        for key in keys {
            self.revision = self.revision.next();
            self.others.remove(&key);
            self.changed(key, None);
        }
    }

    /// All leases end, whatever their keepalives: a leader that wakes with an old clock.
    pub(crate) fn revoke_all(&mut self) {
        while let Some((&lease, _)) = self.leases.first_key_value() {
            self.end_lease(lease);
        }
    }

    /// The registration of one node ends, whatever its keepalives.
    pub(crate) fn revoke(&mut self, node: NodeId) {
        if let Some(&(_, Value::Registration { lease, .. })) =
            self.others.get(&Key::Registration(node))
        {
            self.end_lease(lease.0);
        }
    }

    /// All leases begin again, as after a change of the leader.
    pub(crate) fn extend_all(&mut self, now: u64) {
        for ends in self.leases.values_mut() {
            *ends = now + self.lease_ms;
        }
    }

    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
    }

    /// Whether changes from `from` on can no longer be watched.
    pub(crate) fn is_compacted(&self, from: Revision) -> bool {
        from <= self.compacted
    }

    pub(crate) fn back_up(&mut self) {
        self.backup = Some(Box::new(Backup {
            revision: self.revision,
            slots: self.slots.clone(),
            others: self.others.clone(),
            leases: self.leases.clone(),
        }));
    }

    /// Everything since the backup is forgotten; `id` is that of the restored cluster.
    pub(crate) fn restore(&mut self, id: EtcdId, now: u64) {
        let Some(backup) = self.backup.take() else {
            return;
        };
        self.id = id;
        self.revision = backup.revision;
        self.slots = backup.slots;
        self.others = backup.others;
        self.leases = backup.leases;
        self.extend_all(now);
        self.history
            .retain(|change| change.revision <= backup.revision);
        self.compacted = backup.revision;
    }

    /// The owner of a slot.
    pub(crate) fn owner(&self, slot: usize) -> Option<Owner> {
        match self.slots[slot] {
            Some((_, Value::Slot { owner, .. })) => owner,
            Some(_) | None => None,
        }
    }

    /// The operator removes a node from the roster.
    pub(crate) fn remove(&mut self, node: NodeId) {
        if self.others.remove(&Key::Roster(node)).is_some() {
            self.revision = self.revision.next();
            self.changed(Key::Roster(node), None);
        }
    }
}
