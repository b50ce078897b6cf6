//! Rules that must hold in every world.
//!
//! | rule | what |
//! |---|---|
//! | I1 | one process serves a slot under one epoch |
//! | I2 | two nodes admit to a slot only while no node that knows better answers the older owner, and 2 s more |
//! |    | a node admits only within the reach of a question that was answered; both except by the exception |
//! |    | nobody has a slot of a node that only etcd answers (`contact`) |
//! |    | a node whose right had ended comes back to no slot that is taken from it (`contact`) |
//! | I3 | all slots are served within a span of the end of all faults |
//! | I4 | no claim while the owner says to the claimer that it serves |
//! | I5 | at most one move per slot and drain, none where nothing should move |
//! | I6 | a node that joins takes nothing until asked (none where nothing should move) |
//! | I7 | no pending message is with two owners; a drain loses none |
//! | I8 | a record is written only by the process that owns its slot |
//! | I9 | a node of another secret owns nothing, and ends where it starts beside others (`identity`) |
//! | I10 | a node denies a channel only if etcd showed it the slots within a lease, or no peer may take (`contact`) |
//! | I11 | of the processes of a name none registers again after another one did (`identity`) |
//! | I12 | after etcd refused a transfer no slot is offered for a while (`outputs`) |

use crate::cluster::host::Host;
use crate::cluster::net::{ETCD, Net};
use crate::cluster::script::Script;
use broker_core::cluster::Cluster;
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::Spans;
use broker_core::cluster::limits::{CALL_MS, TICK_MS};
use broker_core::cluster::message::{Answer, Call, ClaimReason, Ending, Gain, Held, Taking};
use broker_core::cluster::types::{Epoch, Incarnation, Key, NodeId, Owner, ParcelId, Slot, Value};
use broker_core::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// Time that a node has to release a slot once it gets answers from a node that knows better.
const RELEASE_MS: u64 = 2_000;

pub(crate) struct Check {
    /// The rule that broke, if one did.
    pub(crate) fault: Option<String>,
    /// Of the lease that etcd grants.
    pub(crate) spans: Spans,
    pub(crate) met: BTreeMap<&'static str, u64>,
    /// By slot: who owned it last by etcd, and who served it under which epoch.
    slots: Vec<SlotCheck>,
    doubled: usize,
    overlaps: Vec<Overlap>,
    /// By claimer: what owners said of slots.
    words: BTreeMap<(usize, Slot), (Epoch, u64)>,
    /// By message: with how many owners it is.
    active: Vec<u8>,
    /// Parcels whose messages are with their giver again.
    void: BTreeSet<ParcelId>,
    /// By host and peer: when the question was sent that the peer answered last, and whether it said that it had etcd
    /// and has not left since.
    pub(crate) had_etcd: BTreeMap<(usize, usize), (Now, bool)>,
    /// By host: when it sent the newest question to which etcd showed it the slots, by its own clock.
    pub(crate) etcd: Vec<Now>,
    /// By host: until when it had a right to admit, by its own clock, and since when it has one again that must not
    /// overlap with another's.
    pub(crate) rights: Vec<(Now, Option<u64>)>,
    /// By host: when it sent the newest question that was answered, by its own clock.
    pub(crate) contacts: Vec<Now>,
    /// When etcd last did what no owner can foresee: ended a lease that was kept, or took claims again after it was
    /// full.
    pub(crate) unforeseen: Option<u64>,
    /// By node: the processes that registered, in order.
    pub(crate) registered: BTreeMap<NodeId, Vec<Incarnation>>,
    pub(crate) lost: u64,
    pub(crate) moves: u64,
}

#[derive(Clone, Default)]
struct SlotCheck {
    owner: Option<Owner>,
    served: Vec<(Epoch, Owner)>,
    /// Hosts that serve it, while they may.
    ready: u8,
    /// Moves since the last operation that may move it.
    moves: u32,
    unserved_since: Option<u64>,
}

/// A host that admits to a slot although another one does under a newer epoch.
struct Overlap {
    slot: usize,
    older: usize,
    /// Since when an answer of a node that knows better can come through.
    peers: Option<u64>,
    /// Since when etcd can answer.
    etcd: Option<u64>,
    seen: bool,
}

impl Check {
    pub(crate) fn new(slots: usize, hosts: usize, spans: Spans) -> Self {
        Self {
            fault: None,
            spans,
            met: BTreeMap::new(),
            slots: vec![SlotCheck::default(); slots],
            doubled: 0,
            overlaps: Vec::new(),
            words: BTreeMap::new(),
            active: Vec::new(),
            void: BTreeSet::new(),
            had_etcd: BTreeMap::new(),
            etcd: vec![Now(0); hosts],
            rights: vec![(Now(0), None); hosts],
            contacts: vec![Now(0); hosts],
            unforeseen: None,
            registered: BTreeMap::new(),
            lost: 0,
            moves: 0,
        }
    }

    pub(crate) fn met(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    pub(crate) fn breaks(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    /// etcd has a new owner of a slot.
    pub(crate) fn commits(&mut self, slot: Slot, owner: Option<Owner>) {
        let known = &mut self.slots[slot.index()];
        let Some(owner) = owner else { return };
        if known.owner.is_some_and(|before| before.node != owner.node) {
            self.moves += 1;
            known.moves += 1;
            if known.moves > 1 {
                *self.met.entry("slot moved more than once").or_default() += 1;
            }
        }
        known.owner = Some(owner);
    }

    /// All nodes have ended, and begin again on a restored etcd, whose revisions repeat.
    pub(crate) fn forgets_history(&mut self) {
        for slot in &mut self.slots {
            slot.served.clear();
        }
        self.registered.clear();
    }

    /// Moves are counted from here on.
    pub(crate) fn begins_operation(&mut self) {
        for slot in &mut self.slots {
            slot.moves = 0;
        }
    }

    /// I1.
    pub(crate) fn serves(&mut self, held: Held, owner: Owner, now: u64) {
        let served = &mut self.slots[held.slot.index()].served;
        match served.iter().find(|(epoch, _)| *epoch == held.epoch) {
            Some(&(_, other)) if other != owner => {
                self.breaks(format!(
                    "I1 at {now}: {held:?} is served by {owner:?} and {other:?}"
                ));
            }
            Some(_) => {}
            None => served.push((held.epoch, owner)),
        }
    }

    pub(crate) fn counts(&mut self, slot: Slot, before: bool, after: bool) {
        let ready = &mut self.slots[slot.index()].ready;
        let doubled_before = *ready >= 2;
        *ready = *ready + u8::from(after) - u8::from(before);
        let doubled_after = *ready >= 2;
        self.doubled = self.doubled + usize::from(doubled_after) - usize::from(doubled_before);
    }

    /// Whether any slot may be admitted to by two hosts.
    pub(crate) fn is_doubled(&self) -> bool {
        self.doubled > 0 || !self.overlaps.is_empty()
    }

    /// I2.
    pub(crate) fn overlaps(
        &mut self,
        now: u64,
        hosts: &[Host],
        net: &Net,
        etcd_is_up: bool,
        slow: u64,
    ) {
        for overlap in &mut self.overlaps {
            overlap.seen = false;
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].ready < 2 {
                continue;
            }
            let newest = hosts
                .iter()
                .filter_map(|host| host.admits(slot, now))
                .map(|held| held.epoch)
                .max();
            for older in 0..hosts.len() {
                let Some(held) = hosts[older].admits(slot, now) else {
                    continue;
                };
                if Some(held.epoch) != newest {
                    let claim = (slot, older, held.epoch);
                    let reaches = |node| net.passes(older, node);
                    self.overlap(claim, hosts, reaches, etcd_is_up, now);
                }
            }
        }
        self.overlaps.retain(|overlap| overlap.seen);
        let peers_ms = RELEASE_MS + 2 * slow;
        let etcd_ms = RELEASE_MS + CALL_MS + 2 * TICK_MS + 4 * slow;
        let is_late = |overlap: &&Overlap| {
            overlap.peers.is_some_and(|since| now - since > peers_ms)
                || overlap.etcd.is_some_and(|since| now - since > etcd_ms)
        };
        if let Some(late) = self.overlaps.iter().find(is_late) {
            let (slot, older) = (late.slot, late.older);
            self.breaks(format!(
                "I2 at {now}: host {older} admits to slot {slot}, newer elsewhere; answers {:?}, etcd {:?}",
                late.peers, late.etcd
            ));
        }
    }

    fn overlap(
        &mut self,
        (slot, older, epoch): (usize, usize, Epoch),
        hosts: &[Host],
        reaches: impl Fn(usize) -> bool,
        etcd: bool,
        now: u64,
    ) {
        let host = &hosts[older];
        let Some(cluster) = &host.cluster else { return };
        if cluster.standing() == Standing::Exception {
            *self.met.entry("overlap by the exception").or_default() += 1;
            return;
        }
        if self.has_come_back(older, host, now) {
            self.breaks(format!(
                "I2 at {now}: host {older} came back to slot {slot}, which is taken from it"
            ));
        }
        let number = Slot(u16::try_from(slot).expect("few slots"));
        let knows = |other: &Host| {
            let better = other
                .cluster
                .as_ref()
                .map(|cluster| cluster.record(number).epoch);
            let memory = other.cluster.as_ref().map(Cluster::memory);
            // Knowledge of a forgotten history is no better.
            let is_of_etcd = memory.is_some_and(|memory| !memory.other_history);
            is_of_etcd
                && other.runs()
                && !other.is_stuck
                && better.is_some_and(|better| better > epoch)
        };
        let mut numbered = hosts.iter().enumerate();
        let answers = numbered
            .any(|(number, other)| knows(other) && reaches(number) && cluster.asks(other.node));
        let reads = etcd && reaches(ETCD) && !host.is_blind && !cluster.memory().other_history;
        let is_alone = !answers && !reads && self.is_alone(older, host, now);
        let known = self
            .overlaps
            .iter_mut()
            .find(|known| known.slot == slot && known.older == older);
        let place = if let Some(known) = known {
            known
        } else {
            *self.met.entry("overlap").or_default() += 1;
            self.overlaps.push(Overlap {
                slot,
                older,
                peers: None,
                etcd: None,
                seen: true,
            });
            self.overlaps.last_mut().expect("one was pushed")
        };
        place.seen = true;
        place.peers = answers.then(|| place.peers.unwrap_or(now));
        place.etcd = reads.then(|| place.etcd.unwrap_or(now));
        if is_alone {
            self.breaks(format!(
                "I2 at {now}: host {older}, which nobody reaches, admits to slot {slot}, newer elsewhere"
            ));
        }
    }

    /// An owner says to a node what it serves.
    pub(crate) fn answered(&mut self, to: usize, answer: &Answer, now: u64) {
        for held in answer.serves.iter() {
            self.words.insert((to, held.slot), (held.epoch, now));
        }
    }

    /// I4.
    pub(crate) fn calls(&mut self, host: usize, me: NodeId, call: &Call, now: u64) {
        let Call::Transaction(transaction) = call else {
            return;
        };
        for &(key, value) in &transaction.puts {
            let (
                Key::Slot(slot),
                Value::Slot {
                    owner: Some(owner), ..
                },
            ) = (key, value)
            else {
                continue;
            };
            let before = self.slots[slot.index()].owner;
            if owner.node != me || before.is_some_and(|before| before.node == me) {
                continue;
            }
            let compared = transaction
                .compares
                .iter()
                .find(|compare| compare.key == key);
            let word = self.words.get(&(host, slot));
            if let (Some(compare), Some(&(epoch, at))) = (compared, word)
                && compare.at == epoch
                && now - at < self.spans.lease_ms()
            {
                self.breaks(format!(
                    "I4 at {now}: host {host} claims {slot:?} at {epoch:?}, served at {at}"
                ));
            }
        }
    }

    /// I8: a record was written by a process to a slot that has this owner.
    pub(crate) fn writes(&mut self, slot: Slot, writer: Owner, owner: Option<Owner>, now: u64) {
        if owner != Some(writer) {
            self.breaks(format!(
                "I8 at {now}: {writer:?} writes to {slot:?} of {owner:?}"
            ));
        }
        self.met("record written");
    }

    /// I3: looks at all slots.
    pub(crate) fn looks(&mut self, now: u64, hosts: &[Host], script: &Script) {
        self.contacts(now, hosts);
        self.exceptions(now, hosts);
        self.denials(now, hosts);
        if now < script.begins {
            return;
        }
        for slot in 0..self.slots.len() {
            let served = hosts.iter().any(|host| host.admits(slot, now).is_some());
            let known = &mut self.slots[slot];
            if served {
                known.unserved_since = None;
                continue;
            }
            let since = *known.unserved_since.get_or_insert(now);
            let too_long = script.unserved_max.is_some_and(|most| now - since > most);
            let owner = known.owner.map(|owner| owner.node.index());
            let is_steady =
                known.moves == 0 && owner.is_some_and(|owner| script.steady.contains(&owner));
            if too_long || is_steady || now >= script.settled {
                self.breaks(format!(
                    "I3 at {now}: slot {slot} of {owner:?} is unserved since {since}"
                ));
                return;
            }
        }
    }

    /// The world is over: what is counted must fit the script.
    pub(crate) fn ends(&mut self, now: u64, script: &Script) {
        if script.moves_max.is_some_and(|most| self.moves > most) {
            self.breaks(format!(
                "I5 at {now}: {} moves, at most {:?}",
                self.moves, script.moves_max
            ));
        }
        if script.moves_once && self.met.contains_key("slot moved more than once") {
            self.breaks(format!("I5 at {now}: a slot moved twice in one operation"));
        }
        if script.none_lost && self.lost > 0 {
            self.breaks(format!("I7 at {now}: {} messages lost", self.lost));
        }
        if script.none_lost && self.active.contains(&0) {
            self.breaks(format!("I7 at {now}: messages are with nobody"));
        }
    }

    /// A process says how a slot came to it.
    pub(crate) fn gains(&mut self, gain: Gain) {
        self.met(match gain {
            Gain::Received(_) => "received",
            Gain::Claimed(Taking { reason, .. }) => match reason {
                ClaimReason::NeverOwned => "claimed, never owned",
                ClaimReason::Restarted => "claimed after a restart",
                ClaimReason::Silent => "claimed, owner silent",
                ClaimReason::Replaced => "claimed, owner replaced",
                ClaimReason::NotReclaimed => "claimed, owner did not claim",
                ClaimReason::GivenUp => "claimed, given up",
                ClaimReason::Kept => "kept",
            },
        });
    }

    pub(crate) fn exits(&mut self, ending: Ending) {
        self.met(match ending {
            Ending::Drained { left: 0 } => "drained",
            Ending::Drained { .. } => "drained, slots left",
            Ending::Removed => "removed",
            Ending::NameTaken => "name taken",
            Ending::Outdated { .. } => "outdated",
            Ending::Unproven => "unproven",
            Ending::OtherVersion { .. } => "other version",
        });
    }

    /// A process begins: what was said to the one before is forgotten.
    pub(crate) fn started(&mut self, host: usize) {
        self.contacts[host] = Now(0);
        self.etcd[host] = Now(0);
        self.rights[host] = (Now(0), None);
        self.had_etcd.retain(|(of, _), _| *of != host);
        self.words.retain(|(to, _), _| *to != host);
    }

    /// A client's message is accepted.
    pub(crate) fn accepts(&mut self) -> u32 {
        self.active.push(1);
        u32::try_from(self.active.len() - 1).expect("few messages")
    }

    /// I7: messages are with an owner.
    pub(crate) fn active(&mut self, messages: &[u32], now: u64) {
        for &message in messages {
            let count = &mut self.active[message as usize];
            *count += 1;
            if *count > 1 {
                self.breaks(format!("I7 at {now}: message {message} is with two owners"));
            }
        }
    }

    /// I7: a giver has the messages of a parcel again.
    pub(crate) fn voids(&mut self, parcel: ParcelId) {
        self.void.insert(parcel);
    }

    /// I7: a parcel's messages are delivered.
    pub(crate) fn delivers(&mut self, parcel: ParcelId, now: u64) {
        if self.void.contains(&parcel) {
            self.breaks(format!(
                "I7 at {now}: {parcel:?} is delivered, and was taken back"
            ));
        }
    }

    /// Messages are packed, or their owner is no more.
    pub(crate) fn idle(&mut self, messages: &[u32]) {
        for &message in messages {
            self.active[message as usize] -= 1;
        }
    }

    pub(crate) fn lost(&mut self, messages: &[u32]) {
        self.lost += messages.len() as u64;
    }
}
