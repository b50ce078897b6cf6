//! Decides which node of a cluster owns each channel. Sans-I/O: the caller provides the time and a random seed.
//!
//! Every channel belongs to one of [`limits::SLOTS`](crate::cluster::limits::SLOTS) slots. Each slot has a single
//! owner, recorded in an etcd key. The slot's *epoch* is the revision at which that key was last written. Slot keys are
//! not attached to a lease, so a node that loses its lease keeps its slots.
//!
//! * **Claiming** a slot requires etcd. A node may claim a slot only if the owner's registration is absent *and* the
//!   owner has not told the node that it serves the slot ([`slot_claims`], [`liveness`]). The transaction that claims
//!   the slot compares the epoch and the registration.
//! * **Serving** a slot does not require etcd. An owner keeps serving until it learns of a newer epoch, or until it is
//!   alone: cut off from etcd and all peers ([`authority`]).
//! * **Transferring** a slot takes two steps: the owner first sends the pending messages to the next owner, and then
//!   changes the slot's key ([`slot_departures`]).
//!
//! [`Cluster`] is the state machine of one node. Like a shard, it handles one input at a time, and the caller polls all
//! outputs before passing the next input. Times are those of the node's monotonic clock, which keeps running while the
//! machine is suspended. Decisions: broker/decisions/0023-slots-and-epochs.md, 0024-authority.md, 0025-transfers.md,
//! 0026-another-history.md, 0037-who-counts.md, 0039-one-process-a-name.md and 0040-word-of-etcd.md.
//!
//! | module | contents |
//! |---|---|
//! | [`types`] [`message`] [`limits`] | vocabulary, inputs and outputs, bounds and fractions of a lease |
//! | [`etcd`] [`etcd_view`] | calls to etcd; what is known about its keys |
//! | `registration` | registration under a lease, and the right to the node's name |
//! | [`liveness`] [`authority`] | answers from peers; how long this node may admit clients |
//! | `tick` | actions driven by time, and decisions after each input |
//! | [`slots`] [`slot_claims`] [`slot_departures`] | this node's slots: loaded and served; claimed; transferred |
//! | [`slot_maps`] [`leads`] | from a channel to its slot and node; clients forwarded to slot owners |
//! | [`link`] | many clients on one connection between two nodes |
//! | [`secret`] | keys that all nodes derive from one secret, and the proof in a registration |

pub mod authority;
pub mod etcd;
mod etcd_calls;
pub mod etcd_view;
pub mod leads;
pub mod limits;
pub mod link;
pub mod liveness;
pub mod message;
mod registration;
pub mod secret;
pub mod slot_claims;
pub mod slot_departures;
pub mod slot_maps;
mod slot_ownership;
pub mod slot_plan;
mod slot_transfers;
pub mod slots;
mod tick;
pub mod types;

use crate::time::Now;
use authority::{Authority, Standing};
use etcd_calls::{EtcdCalls, Purpose};
use etcd_view::View;
use limits::{GAP_MS, NODES_MAX, Spans};
use liveness::Silence;
use message::{
    Answer, Call, ExpectedRevision, Heard, Held, NodeInput, NodeOutput, Question, SlotOrder,
    Transaction, at,
};
use registration::Registering;
use slot_claims::SlotClaims;
use slot_plan::{Candidates, Plan};
use slot_transfers::Transfers;
use slots::{OwnSlots, Stage};
use std::collections::VecDeque;
use std::sync::Arc;
use types::{
    Address, EtcdId, Key, Kinship, LeaseId, NodeId, NodeKey, Owner, Revision, RosterState, Slot,
    SlotRecord, Value,
};

// Input handling. The `etcd` module handles replies from etcd; `slots` and `slot_departures` handle slots.

/// The configuration with which a node starts.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The node itself, and the incarnation of this process.
    pub me: Owner,
    /// Address on which this process listens.
    pub address: Address,
    /// Number of slots in the cluster: [`crate::cluster::limits::SLOTS`], or fewer in tests.
    pub slots: u16,
    /// Time spans derived from the lease that this node requests from etcd.
    pub spans: Spans,
    /// State read from the data directory. If the operator has accepted etcd's current state, this is the default
    /// value.
    pub memory: Memory,
    /// Seed for random choices.
    pub seed: u64,
}

/// Facts about etcd that are stored in the data directory and survive restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The highest etcd revision seen.
    pub newest: Revision,
    /// Id of the etcd cluster.
    pub etcd: Option<EtcdId>,
    /// Whether etcd's history differs from the one that this node saw before (for example, after a restore from a
    /// backup), and no operator has accepted this yet.
    pub other_history: bool,
}

/// The state machine of one node. Each process has a single instance, which runs outside the shards.
#[derive(Debug)]
pub struct Cluster {
    me: Owner,
    pub(crate) address: Address,
    spans: Spans,
    last_tick: Now,
    next_round: Now,
    obstacles: Obstacles,
    pub(crate) view: View,
    silence: Silence,
    pub(crate) authority: Authority,
    plan: Plan,
    pub(crate) claims: SlotClaims,
    pub(crate) slots: OwnSlots,
    transfers: Transfers,
    pub(crate) calls: EtcdCalls,
    registering: Registering,
    pub(crate) outputs: VecDeque<NodeOutput>,
}

/// Conditions that keep the node from acting.
#[derive(Debug)]
struct Obstacles {
    other_history: bool,
    /// Whether a shard is hung. While one is, the node neither registers nor answers peers.
    pub(crate) stuck: bool,
    /// Whether the node waits because another process may be using its name.
    awaits_name: bool,
    pub(crate) ended: bool,
}

impl Cluster {
    /// Creates the state machine of a process that starts at `now`. Restores the state in [`Config::memory`].
    #[must_use]
    pub fn new(config: &Config, now: Now) -> Self {
        let (memory, spans) = (config.memory, config.spans);
        Self {
            me: config.me,
            address: config.address,
            spans,
            last_tick: now,
            next_round: now,
            obstacles: Obstacles {
                other_history: memory.other_history,
                stuck: false,
                awaits_name: false,
                ended: false,
            },
            view: View::new(config.slots, memory.newest, memory.etcd),
            silence: Silence::new(config.slots, spans),
            authority: Authority::new(spans),
            plan: Plan::new(config.me, spans, now, config.seed),
            claims: SlotClaims::default(),
            slots: OwnSlots::new(config.slots),
            transfers: Transfers::new(config.me),
            calls: EtcdCalls::default(),
            registering: Registering::new(config.me, config.address, now),
            outputs: VecDeque::new(),
        }
    }

    /// Handles one input. Afterwards, the caller must call [`Self::poll_output`] until it returns `None`.
    pub fn handle(&mut self, input: NodeInput, now: Now) {
        if self.obstacles.ended {
            return;
        }
        if now.since(self.last_tick) > GAP_MS {
            self.gap(now);
        }
        match input {
            NodeInput::Tick { stuck } => self.tick(stuck, now),
            NodeInput::Reply(id, reply) => self.replied(id, reply, now),
            NodeInput::Changed(watch, changes) => self.changed(watch, &changes, now),
            NodeInput::WatchEnded(watch) => self.watch_ended(watch, now),
            NodeInput::Question(from, question) => self.answer(from, question, now),
            NodeInput::Answer(from, answer) => self.answered(from, &answer, now),
            NodeInput::Found { from, asked, heard } => {
                let is_peer = from != self.me.node;
                self.registering.namesake.found(is_peer, asked, heard, now);
            }
            NodeInput::Refused(node) => self.silence.parts(node),
            NodeInput::Goodbye(node, incarnation) => {
                if self
                    .silence
                    .word(node)
                    .is_none_or(|word| word.incarnation == incarnation)
                {
                    self.silence.parts(node);
                }
            }
            NodeInput::Loaded { held, whole } => self.loaded(held, whole, now),
            NodeInput::Parcel(from, parcel) => self.offered(from, parcel, now),
            NodeInput::ParcelAnswer { from, id, taken } => {
                self.parcel_answered(from, id, taken, now)
            }
            NodeInput::Write(slot, number) => self.write(slot, number, now),
            NodeInput::Drain => self.drain(now),
            NodeInput::Rebalance => self.rebalance(now),
        }
        self.settle(now);
    }

    /// Sets a node's key. The caller must set keys in ascending order of node number, before it passes any input that
    /// refers to the node. Not needed if all nodes use the same numbers.
    pub fn set_key(&mut self, node: NodeId, key: NodeKey) {
        self.view.set_key(node, key);
    }

    /// Adopts the time spans of the lease that etcd has granted.
    fn set_spans(&mut self, spans: Spans) {
        self.spans = spans;
        self.silence.set_spans(spans);
        self.authority.set_spans(spans);
        self.plan.set_spans(spans);
    }

    /// Removes and returns the next output.
    pub fn poll_output(&mut self) -> Option<NodeOutput> {
        self.outputs.pop_front()
    }

    /// Returns the slot and its epoch if this node admits clients to `slot` at `now`.
    #[must_use]
    pub fn admits(&self, slot: Slot, now: Now) -> Option<Held> {
        let own = self.slots.own(slot)?;
        let epoch = own.epoch;
        let serves = own.stage == Stage::Ready && now < self.authority.valid_until();
        (serves && !self.obstacles.stuck && !self.obstacles.ended).then_some(Held { slot, epoch })
    }

    /// Returns the time until which this node may admit clients to the slots that it serves.
    #[must_use]
    pub fn valid_until(&self) -> Now {
        self.authority.valid_until()
    }

    /// Returns why this node serves or does not serve its slots.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.authority.standing()
    }

    /// Returns `true` if etcd has answered recently. Otherwise, the node writes nothing, and neither claims nor
    /// transfers slots.
    #[must_use]
    pub fn has_etcd(&self, now: Now) -> bool {
        self.authority.has_etcd(now)
    }

    /// Returns `true` if this node may report that a channel outside its slots does not exist. Either etcd must have
    /// returned the slots within the last lease, or no peer can have claimed a slot since etcd last returned them.
    #[must_use]
    pub fn knows_absence(&self, now: Now) -> bool {
        !self.authority.is_outdated(now) || !self.may_be_taken()
    }

    /// Returns the number of owned slots, whether or not they are served.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.slots.count()
    }

    /// Returns the number of owned slots whose channels are loaded.
    #[must_use]
    pub fn served(&self) -> usize {
        self.slots.iter().filter(|(_, own)| own.is_held()).count()
    }

    /// Returns `true` if the node is draining, that is, transferring all of its slots.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.transfers.is_draining()
    }

    /// Returns the number of slot owner and epoch changes that this node has seen.
    #[must_use]
    pub fn slot_changes(&self) -> u64 {
        self.slots.changes
    }

    /// Returns `true` if `node` is registered as a peer.
    #[must_use]
    pub fn is_registered(&self, node: NodeId) -> bool {
        self.view.registration(node).is_some()
    }

    /// Returns the registered nodes that belong to other clusters, and why each registration is ignored.
    pub fn strangers(&self) -> impl Iterator<Item = (NodeId, Kinship)> {
        let strangers = self.view.strangers();
        strangers.map(|(node, registration)| (node, registration.kinship))
    }

    /// Returns `true` if other nodes are registered but none of them answers. In that case, this node claims none of
    /// their slots.
    #[must_use]
    pub fn is_cut_off(&self, now: Now) -> bool {
        Candidates::of(self.me.node, &self.view, &self.silence, now).is_cut_off
    }

    /// Returns `true` if this process is waiting because another process may be using its node's name.
    #[must_use]
    pub fn awaits_name(&self) -> bool {
        self.obstacles.awaits_name
    }

    /// Returns the lease of the current registration.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseId> {
        let registration = self.registering.current(&self.view)?;
        Some(registration.lease)
    }

    /// Returns `true` if `node` has answered recently.
    #[must_use]
    pub fn hears(&self, node: NodeId, now: Now) -> bool {
        self.silence.reaches(node, now)
    }

    /// Returns the process that last answered under a node's name. Used to detect duplicate names. For this node's own
    /// name, returns this process.
    #[must_use]
    pub fn heard(&self, node: NodeId, now: Now) -> Option<Heard> {
        let own = (self.me.incarnation, now);
        let last = match node == self.me.node {
            true => Some(own),
            false => self.silence.last(node),
        };
        last.map(|(incarnation, asked)| Heard {
            incarnation,
            ago_ms: now.since(asked),
        })
    }

    /// Returns the slot's record as known to this node. It determines where the slot's channels are located.
    #[must_use]
    pub fn record(&self, slot: Slot) -> SlotRecord {
        self.view.slot(slot)
    }

    /// Returns `true` if the roster, as this node knows it, lists `node` as present.
    #[must_use]
    pub fn expects(&self, node: NodeId) -> bool {
        self.view.roster(node) == Some(RosterState::Here)
    }

    /// Returns `true` if this node sends queries to `node`. It does so if the roster lists `node` as present, or if
    /// `node` is registered or owns a slot.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn asks(&self, node: NodeId) -> bool {
        let owns = |record: &SlotRecord| record.owner.is_some_and(|owner| owner.node == node);
        self.expects(node)
            || self.view.registration(node).is_some()
            || self.view.slots().iter().any(owns)
    }

    /// Returns the facts about etcd that must be stored in the data directory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory {
            newest: self.view.newest(),
            etcd: self.view.etcd(),
            other_history: self.obstacles.other_history,
        }
    }

    fn answer(&mut self, from: NodeId, question: Question, now: Now) {
        if self.obstacles.stuck {
            return;
        }
        let serves = if self.authority.says_that_it_serves(now) {
            self.slots.held()
        } else {
            Arc::from([])
        };
        let answer = Answer {
            asked: question.asked,
            asker: question.asker,
            incarnation: self.me.incarnation,
            has_etcd: self.authority.has_etcd(now),
            stopping: self.transfers.is_draining(),
            serves,
            changes: self.view.changes_after(question.complete),
            newest: self.view.newest(),
        };
        self.outputs.push_back(NodeOutput::Tell(from, answer));
    }

    /// Processes a peer's answer and the slot changes in it. If the answer is addressed to another process with this
    /// node's name, it still shows which slots are served. It does not show that the peer is reachable, because its
    /// times may come from a different clock.
    fn answered(&mut self, from: NodeId, answer: &Answer, now: Now) {
        if from.index() >= NODES_MAX || from == self.me.node {
            return;
        }
        for &(slot, record) in &answer.changes {
            self.view.learn(slot, record);
        }
        self.view.raise(answer.newest);
        if answer.asker == self.me.incarnation {
            self.silence.answers(from, answer, now);
        } else {
            self.silence.serves(&answer.serves, now);
        }
    }

    fn write(&mut self, slot: Slot, number: u32, now: Now) {
        match self.admits(slot, now) {
            Some(held) if self.can_act(now) => {
                let compares = vec![at(Key::Slot(slot), held.epoch)];
                let record = (Key::Record(slot, number), Value::Record);
                self.put(Purpose::Write(slot, number), compares, record, now);
            }
            Some(_) | None => self
                .outputs
                .push_back(NodeOutput::WriteRefused(slot, number)),
        }
    }

    pub(crate) fn order(&mut self, order: SlotOrder) {
        self.outputs.push_back(NodeOutput::Order(order));
    }

    /// Writes one key if all comparisons hold.
    pub(crate) fn put(
        &mut self,
        purpose: Purpose,
        compares: Vec<ExpectedRevision>,
        put: (Key, Value),
        now: Now,
    ) {
        let transaction = Transaction {
            compares,
            puts: vec![put],
            reads: false,
        };
        self.call(purpose, Call::Transaction(transaction), now);
    }

    pub(crate) fn call(&mut self, purpose: Purpose, call: Call, now: Now) {
        let id = self.calls.send(purpose, &call, self.view.newest(), now);
        self.outputs.push_back(NodeOutput::Etcd(id, call));
    }
}
