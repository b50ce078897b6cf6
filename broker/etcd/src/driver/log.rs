//! Logs changes to slots and to this node's registration. Also logs registered nodes that belong to other clusters or
//! do not respond. An entry is logged again only after something has changed.

use crate::names::{Name, Names};
use crate::system::now;
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::message::{ClaimReason, Gain, Held, ReleaseCause, SlotOrder, Taking};
use broker_core::cluster::types::{Epoch, Kinship, NodeId, SlotRecord};
use broker_core::{cluster::Cluster, time::Now};
use std::collections::BTreeMap;
use tracing::{info, warn};

/// The events to log next, and the state that was last logged.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    slots: SlotLog,
    strangers: Strangers,
    is_other_history: bool,
    is_registered: bool,
    awaits_name: bool,
}

impl Journal {
    pub(crate) fn gained(&mut self, held: Held, gain: Gain) {
        self.slots.gained(held, gain);
    }

    pub(crate) fn order(&mut self, order: SlotOrder, cluster: &Cluster) {
        match order {
            SlotOrder::Serve(held, ..) => self.slots.serves(held),
            SlotOrder::Release(held, cause) => self.released(held, cause, cluster),
            SlotOrder::Merge(..) | SlotOrder::Pause(..) | SlotOrder::Resume(..) => {}
            SlotOrder::CloseAll => {}
        }
    }

    fn released(&mut self, held: Held, cause: ReleaseCause, cluster: &Cluster) {
        let record = cluster.record(held.slot);
        let giving = match cluster.is_draining() {
            true => "drain",
            false => "rebalance",
        };
        self.slots.released(held, cause, record, giving);
    }

    /// Logs what has happened to slots since the last tick, and any change to the registration of this node, `me`.
    pub(crate) fn write(&mut self, cluster: &Cluster, me: NodeId, names: &Names) {
        let name = |node| names.name(node).map(Name::as_str);
        self.slots.write(name);
        self.strangers.write(cluster, names, now());
        let awaits_name = cluster.awaits_name();
        if awaits_name && !self.awaits_name {
            warn!(
                "another process is or was registered under this node's name: this one starts once etcd and all \
                 nodes have not heard from the other for one lease, and exits if one has"
            );
        }
        self.awaits_name = awaits_name;
        let is_registered = cluster.is_registered(me) && cluster.standing() != Standing::Starting;
        if is_registered != self.is_registered {
            self.is_registered = is_registered;
            if is_registered {
                info!("registered in etcd as {}", name(me).unwrap_or_default());
            } else {
                warn!("the registration in etcd was lost: retrying");
            }
        }
        let memory = cluster.memory();
        if memory.other_history && !self.is_other_history {
            self.is_other_history = true;
            warn!(
                "the history of etcd differs from the known one, as after a restored backup or removed keys: clients \
                 are served, no slot is claimed and nothing is written. Stop all nodes, repair etcd, then start them \
                 with `heliograph serve --accept-etcd` once (deploy/CLUSTER.md, Restore etcd)"
            );
        }
    }
}

// Log lines about slots: their former and next owners, and why they moved.
//
// Within a tick, slots share one line per transaction, former owner and reason. A transfer takes one transaction per
// slot, so all of a tick's transfers to the same node share a line. The fields are documented in
// `deploy/log-schema.json`.

/// Maximum number of log lines per tick that each describe a single transaction. Further transactions with the same
/// owner and reason share a line. Claiming all slots takes 41 transactions, but a node that has been offline for a long
/// time may learn of thousands at once.
const LINES_MAX: usize = 64;

#[derive(Debug, Default)]
struct SlotLog(BTreeMap<(SlotEvent, Option<Epoch>), SlotGroup>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SlotEvent {
    Claimed(Taking),
    Received(Option<NodeId>),
    Served,
    /// The new owner, and why this node gives it the slot: `drain` or `rebalance`.
    Transferred(Option<NodeId>, &'static str),
    /// The slot has a newer epoch, so this process no longer owns it. Contains the new owner, if there is one.
    Superseded(Option<NodeId>),
    NotLoaded,
    Ended,
}

/// The number of slots in a group, and the range of their epochs.
#[derive(Clone, Copy, Debug, Default)]
struct SlotGroup {
    slots: u64,
    first: Epoch,
    last: Epoch,
}

impl SlotLog {
    pub(crate) fn gained(&mut self, held: Held, gain: Gain) {
        match gain {
            Gain::Claimed(taking) => {
                self.add(SlotEvent::Claimed(taking), Some(held.epoch), held.epoch);
            }
            Gain::Received(from) => self.add(SlotEvent::Received(from), None, held.epoch),
        }
    }

    pub(crate) fn serves(&mut self, held: Held) {
        self.add(SlotEvent::Served, None, held.epoch);
    }

    /// Records that this process has released a slot. `record` is the new state of the slot.
    fn released(
        &mut self,
        held: Held,
        cause: ReleaseCause,
        record: SlotRecord,
        giving: &'static str,
    ) {
        let owner = record.owner.map(|owner| owner.node);
        match cause {
            ReleaseCause::Transferred => {
                self.add(SlotEvent::Transferred(owner, giving), None, record.epoch)
            }
            ReleaseCause::Superseded(_) => {
                self.add(
                    SlotEvent::Superseded(owner),
                    Some(record.epoch),
                    record.epoch,
                );
            }
            ReleaseCause::NotLoaded => self.add(SlotEvent::NotLoaded, None, record.epoch),
            ReleaseCause::Ends => self.add(SlotEvent::Ended, None, held.epoch),
        }
    }

    pub(crate) fn write<'n>(&mut self, name: impl Fn(NodeId) -> Option<&'n str>) {
        for ((what, _), group) in std::mem::take(&mut self.0) {
            write(what, group, |node| node.and_then(&name));
        }
    }

    fn add(&mut self, what: SlotEvent, transaction: Option<Epoch>, epoch: Epoch) {
        let transaction = transaction
            .filter(|_| self.0.len() < LINES_MAX || self.0.contains_key(&(what, transaction)));
        let group = self.0.entry((what, transaction)).or_insert(SlotGroup {
            slots: 0,
            first: epoch,
            last: epoch,
        });
        group.slots += 1;
        group.first = group.first.min(epoch);
        group.last = group.last.max(epoch);
    }
}

fn write<'n>(what: SlotEvent, group: SlotGroup, name: impl Fn(Option<NodeId>) -> Option<&'n str>) {
    let (slots, epoch) = (group.slots, group.first.0);
    let last_epoch = (group.last != group.first).then_some(group.last.0);
    match what {
        SlotEvent::Claimed(Taking { from, reason }) => {
            let reason = word(reason);
            let former_owner = name(from);
            info!(
                slots,
                epoch, last_epoch, former_owner, reason, "slots claimed"
            );
        }
        SlotEvent::Received(from) => {
            let former_owner = name(from);
            info!(slots, epoch, last_epoch, former_owner, "slots received");
        }
        SlotEvent::Served => info!(slots, epoch, last_epoch, "slots served from here on"),
        SlotEvent::Transferred(to, reason) => {
            let owner = name(to);
            info!(slots, epoch, last_epoch, owner, reason, "slots transferred");
        }
        SlotEvent::Superseded(by) => {
            let (owner, reason) = (name(by), "newer_epoch");
            info!(slots, epoch, last_epoch, owner, reason, "slots released");
        }
        SlotEvent::NotLoaded => {
            let reason = "not_loaded";
            info!(slots, epoch, last_epoch, reason, "slots released");
        }
        SlotEvent::Ended => info!(slots, epoch, last_epoch, reason = "end", "slots released"),
    }
}

fn word(reason: ClaimReason) -> &'static str {
    match reason {
        ClaimReason::NeverOwned => "never_owned",
        ClaimReason::Restarted => "restarted",
        ClaimReason::Silent => "silent",
        ClaimReason::Replaced => "replaced",
        ClaimReason::NotReclaimed => "not_reclaimed",
        ClaimReason::GivenUp => "given_up",
        ClaimReason::Kept => "kept",
    }
}

// Log lines about registered nodes that belong to other clusters, and about a node that receives no answers.

#[derive(Debug, Default)]
struct Strangers {
    known: Vec<(NodeId, Kinship)>,
    /// When other nodes stopped answering. `None` if a node answers, or if no other node is registered.
    cut_off: Option<Now>,
    is_cut_off: bool,
}

impl Strangers {
    pub(crate) fn write(&mut self, cluster: &Cluster, names: &Names, now: Now) {
        let name = |node| names.name(node).map_or("", Name::as_str);
        let strangers: Vec<_> = cluster.strangers().collect();
        for (node, kinship) in &strangers {
            if !self.known.contains(&(*node, *kinship)) {
                warn!(node = name(*node), "{}", line(*kinship));
            }
        }
        for (node, _) in &self.known {
            if !strangers.iter().any(|(other, _)| other == node) {
                info!(
                    node = name(*node),
                    "a node with an ignored registration left, or has a valid one"
                );
            }
        }
        self.known = strangers;
        self.cut_off(cluster.is_cut_off(now), now);
    }

    fn cut_off(&mut self, is_cut_off: bool, now: Now) {
        if !is_cut_off {
            self.cut_off = None;
            if std::mem::take(&mut self.is_cut_off) {
                info!(
                    "other nodes answer again, or none is registered: this node claims slots of lost nodes again"
                );
            }
            return;
        }
        let since = *self.cut_off.get_or_insert(now);
        if !self.is_cut_off && now.since(since) >= CUT_OFF_MS {
            self.is_cut_off = true;
            warn!(
                "no other node answers although others are registered: this node claims none of their slots until \
                 one does; check cluster.listen and cluster.peers of each, the network between them, and that all \
                 have the same cluster.secret_file"
            );
        }
    }
}

fn line(kinship: Kinship) -> String {
    match kinship {
        Kinship::Peer => String::new(),
        Kinship::Unproven => "a node is registered without a proof that is valid under this node's secret, cluster \
                              id and slot hash key: it gets no slots and loses those that it has; stop it, and give \
                              it this cluster's cluster.secret_file, or its own cluster.name"
            .into(),
        Kinship::OtherVersion(inner) => format!(
            "a node is registered with inner version {inner}, and this node has {INNER_VERSION}: only neighbouring \
             versions share a cluster, so it gets no slots; stop it, and upgrade one version at a time"
        ),
    }
}

/// How long other nodes must be silent before this node is logged as cut off, in milliseconds. Nodes need several
/// seconds to find each other.
const CUT_OFF_MS: u64 = 10_000;

#[cfg(test)]
mod slots_tests {
    use super::*;
    use broker_core::cluster::types::{Incarnation, Owner, ParcelId, Revision, Slot};
    use serde_json::{Value, json};
    use std::io;
    use std::sync::mpsc::{Sender, channel};
    use tracing::subscriber::with_default;

    struct Taken(Sender<Vec<u8>>);

    impl io::Write for Taken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the fields of each line that was written.
    fn lines(log: &mut SlotLog) -> Vec<Value> {
        let (to, from) = channel();
        let writer = move || Taken(to.clone());
        let lines = tracing_subscriber::fmt().with_writer(writer).json();
        let names = ["n1", "n2", "n3"];
        with_default(lines.finish(), || {
            log.write(|node| names.get(node.index()).copied());
        });
        let line = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
        from.try_iter()
            .map(|bytes| line(bytes)["fields"].take())
            .collect()
    }

    fn held(slot: u16, epoch: u64) -> Held {
        let epoch = Revision(epoch);
        Held {
            slot: Slot(slot),
            epoch,
        }
    }

    fn owned_by(node: u16, epoch: u64) -> SlotRecord {
        let incarnation = Incarnation {
            directory: 1,
            start: 1,
        };
        let node = NodeId(node);
        SlotRecord {
            epoch: Revision(epoch),
            owner: Some(Owner { node, incarnation }),
            ..SlotRecord::default()
        }
    }

    fn claim(log: &mut SlotLog, slot: u16, epoch: u64, from: Option<u16>, reason: ClaimReason) {
        let from = from.map(NodeId);
        log.gained(held(slot, epoch), Gain::Claimed(Taking { from, reason }));
    }

    #[test]
    fn a_claim_has_a_line_for_each_transaction_former_owner_and_reason() {
        let mut log = SlotLog::default();
        for slot in 0..100 {
            claim(&mut log, slot, 7, None, ClaimReason::NeverOwned);
        }
        claim(&mut log, 100, 8, None, ClaimReason::NeverOwned);
        claim(&mut log, 101, 8, Some(1), ClaimReason::Silent);
        claim(&mut log, 102, 8, Some(2), ClaimReason::Silent);
        claim(&mut log, 103, 8, Some(2), ClaimReason::Replaced);
        let line = |slots, epoch, from: Option<&str>, reason| {
            let mut line = json!({
                "message": "slots claimed", "slots": slots, "epoch": epoch, "reason": reason,
            });
            if let Some(from) = from {
                line["former_owner"] = from.into();
            }
            line
        };
        let wanted = [
            line(100, 7, None, "never_owned"),
            line(1, 8, None, "never_owned"),
            line(1, 8, Some("n2"), "silent"),
            line(1, 8, Some("n3"), "silent"),
            line(1, 8, Some("n3"), "replaced"),
        ];
        assert_eq!(lines(&mut log), wanted);
        assert_eq!(lines(&mut log), [json!(null); 0], "each once");
    }

    #[test]
    fn what_is_given_or_lost_names_its_owner_and_why() {
        let mut log = SlotLog::default();
        for slot in 0..8 {
            let epoch = 20 + u64::from(slot);
            let giving = "drain";
            log.released(
                held(slot, 3),
                ReleaseCause::Transferred,
                owned_by(1, epoch),
                giving,
            );
        }
        log.released(
            held(8, 3),
            ReleaseCause::Transferred,
            owned_by(1, 30),
            "rebalance",
        );
        for slot in [9, 10] {
            let giver = Incarnation {
                directory: 1,
                start: 1,
            };
            let cause = ReleaseCause::Superseded(Some(ParcelId { giver, number: 1 }));
            log.released(held(slot, 3), cause, owned_by(2, 40), "rebalance");
        }
        let none = SlotRecord {
            owner: None,
            ..owned_by(0, 41)
        };
        log.released(held(11, 3), ReleaseCause::NotLoaded, none, "rebalance");
        log.released(held(12, 3), ReleaseCause::Ends, owned_by(0, 3), "drain");
        log.gained(held(13, 50), Gain::Received(Some(NodeId(1))));
        log.serves(held(13, 50));
        assert_eq!(
            lines(&mut log),
            [
                json!({ "message": "slots received", "slots": 1, "epoch": 50, "former_owner": "n2" }),
                json!({ "message": "slots served from here on", "slots": 1, "epoch": 50 }),
                json!({ "message": "slots transferred", "slots": 8, "epoch": 20, "last_epoch": 27, "owner": "n2",
                    "reason": "drain" }),
                json!({ "message": "slots transferred", "slots": 1, "epoch": 30, "owner": "n2",
                    "reason": "rebalance" }),
                json!({ "message": "slots released", "slots": 2, "epoch": 40, "owner": "n3", "reason": "newer_epoch" }),
                json!({ "message": "slots released", "slots": 1, "epoch": 41, "reason": "not_loaded" }),
                json!({ "message": "slots released", "slots": 1, "epoch": 3, "reason": "end" }),
            ]
        );
    }

    #[test]
    fn thousands_of_transactions_make_few_lines() {
        let mut log = SlotLog::default();
        for slot in 0..4_096 {
            let from = Some(1 + slot % 2);
            claim(&mut log, slot, u64::from(slot), from, ClaimReason::Silent);
        }
        let lines = lines(&mut log);
        assert_eq!(lines.len(), LINES_MAX + 2);
        let slots = lines.iter().map(|line| line["slots"].as_u64().unwrap());
        assert_eq!(slots.sum::<u64>(), 4_096);
    }
}
