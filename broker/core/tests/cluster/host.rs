//! A host: the process of a node, its data directory, its clock.

use broker_core::cluster::limits::Spans;
use broker_core::cluster::message::{Call, CallId, Held};
use broker_core::cluster::types::{Address, Incarnation, NodeId, Owner, ParcelId, Slot, Value};
use broker_core::cluster::{Cluster, Config, Memory};
use broker_core::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// A host that runs a node's process, or does not.
pub(crate) struct Host {
    pub(crate) node: NodeId,
    /// Counts the processes of this host: what is meant for an earlier one is lost.
    pub(crate) process: u32,
    pub(crate) cluster: Option<Cluster>,
    /// False: not even the host answers.
    pub(crate) is_up: bool,
    /// Whether the operator wants it to run.
    pub(crate) is_wanted: bool,
    pub(crate) pause: Pause,
    /// A shard hangs.
    pub(crate) is_stuck: bool,
    /// Records cannot be loaded.
    pub(crate) cannot_load: bool,
    /// The watch shows nothing of what happened since, though its progress goes on for a moment.
    pub(crate) is_blind: bool,
    /// Its member of etcd is cut off from the others: it reports progress, and answers nothing else.
    pub(crate) member_is_alone: bool,
    /// Progress is reported to its watch before the changes that it stands for.
    pub(crate) is_overtaken: bool,
    /// The address at which the process listens.
    pub(crate) address: Address,
    directory: u32,
    starts: u64,
    memory: Memory,
    /// By how much the node's clock is behind the world's.
    behind: u64,
    pub(crate) started: u64,
    /// When it last went on after its clock stood still: it knows nothing of the time between.
    pub(crate) thawed: Option<u64>,
    /// When each call of this process was sent, by its clock.
    pub(crate) calls: Vec<Now>,
    /// Those that give a slot to another node, and when etcd refused one of them last, by its clock.
    pub(crate) transfers: BTreeSet<CallId>,
    pub(crate) refused: Option<Now>,
    /// Pending messages by slot.
    pub(crate) pending: BTreeMap<Slot, Vec<u32>>,
    /// Own messages that are packed.
    pub(crate) packed: BTreeMap<ParcelId, (Slot, Vec<u32>)>,
    /// Parcels of others.
    pub(crate) kept: BTreeMap<ParcelId, Vec<u32>>,
    /// Slots that are admitted to while the node may.
    pub(crate) serving: Vec<Option<Held>>,
}

/// Whether the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    None,
    /// Stopped (SIGSTOP): its clock goes on.
    Stopped,
    /// The virtual machine is frozen, its clock with it.
    Frozen {
        since: u64,
    },
}

impl Host {
    pub(crate) fn new(number: usize, slots: u16, directory: u32) -> Self {
        Self {
            node: NodeId(u16::try_from(number).expect("few nodes")),
            process: 0,
            cluster: None,
            is_up: true,
            is_wanted: true,
            pause: Pause::None,
            is_stuck: false,
            cannot_load: false,
            is_blind: false,
            member_is_alone: false,
            is_overtaken: false,
            address: Address(number as u64),
            directory,
            starts: 1,
            memory: Memory::default(),
            behind: 0,
            started: 0,
            thawed: None,
            calls: Vec::new(),
            transfers: BTreeSet::new(),
            refused: None,
            pending: BTreeMap::new(),
            packed: BTreeMap::new(),
            kept: BTreeMap::new(),
            serving: vec![None; usize::from(slots)],
        }
    }

    /// The identity of the process, or of the last one.
    pub(crate) fn owner(&self) -> Owner {
        Owner {
            node: self.node,
            incarnation: Incarnation {
                directory: self.directory,
                start: self.starts,
            },
        }
    }

    pub(crate) fn clock(&self, now: u64) -> Now {
        Now(now - self.behind)
    }

    pub(crate) fn runs(&self) -> bool {
        self.cluster.is_some() && self.pause == Pause::None
    }

    pub(crate) fn start(&mut self, spans: Spans, seed: u64, now: u64) {
        assert!(self.cluster.is_none(), "one process a host");
        self.process += 1;
        self.starts += 1;
        self.started = now;
        self.pause = Pause::None;
        self.is_stuck = false;
        let config = Config {
            me: self.owner(),
            address: self.address,
            slots: u16::try_from(self.serving.len()).expect("few slots"),
            spans,
            memory: self.memory,
            seed,
        };
        self.cluster = Some(Cluster::new(&config, self.clock(now)));
    }

    /// Whether a call gives a slot to another node.
    pub(crate) fn gives(&self, call: &Call) -> bool {
        let Call::Transaction(transaction) = call else {
            return false;
        };
        let mut owners = transaction
            .puts
            .iter()
            .filter_map(|(_, value)| match value {
                Value::Slot { owner, .. } => *owner,
                Value::Registration { .. } | Value::Roster(..) | Value::Record => None,
            });
        owners.any(|owner| owner.node != self.node)
    }

    /// The process is no more. What it had in memory is lost: the numbers of those messages.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        if let Some(cluster) = self.cluster.take() {
            self.memory = cluster.memory();
        }
        self.process += 1;
        self.pause = Pause::None;
        self.serving.fill(None);
        self.calls.clear();
        self.transfers.clear();
        self.refused = None;
        self.packed.clear();
        self.kept.clear();
        let pending = std::mem::take(&mut self.pending);
        pending.into_values().flatten().collect()
    }

    /// Another machine takes the name: an empty data directory.
    pub(crate) fn replace(&mut self, directory: u32) {
        self.directory = directory;
        self.starts = 0;
        self.memory = Memory::default();
        self.is_up = true;
    }

    /// Another machine has this host's name, and a copy of its data directory unless it has one of its own.
    pub(crate) fn takes_name(&mut self, of: &Self, directory: Option<u32>) {
        self.node = of.node;
        match directory {
            Some(directory) => self.directory = directory,
            None => {
                (self.directory, self.memory) = (of.directory, of.memory);
                // Starts rise by steps of chance.
                self.starts = of.starts + 1_000;
            }
        }
    }

    /// The operator accepts etcd as it is.
    pub(crate) fn accept(&mut self) {
        self.memory = Memory::default();
    }

    /// The watch shows everything again, in its order.
    pub(crate) fn sees(&mut self) {
        self.is_blind = false;
        self.member_is_alone = false;
        self.is_overtaken = false;
    }

    pub(crate) fn thaw(&mut self, now: u64) {
        if let Pause::Frozen { since } = self.pause {
            self.behind += now - since;
            self.thawed = Some(now);
        }
        self.pause = Pause::None;
    }

    /// The epoch under which clients of a slot are admitted here, if they are.
    pub(crate) fn admits(&self, slot: usize, now: u64) -> Option<Held> {
        if !self.runs() || self.is_stuck {
            return None;
        }
        let held = self.serving[slot]?;
        let cluster = self.cluster.as_ref()?;
        (self.clock(now) < cluster.valid_until()).then_some(held)
    }
}
