//! What the core wants done.

use super::handle::{Inspection, NodeState};
use super::log::slots::{Giving, SlotLog};
use super::{Node, now};
use crate::names::Name;
use crate::order::{Order, Service};
use crate::peers::Peers;
use crate::wire::{self, Message};
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::message::{Call, Output, Transaction};
use broker_core::cluster::types::{Key, NodeId, Slot, Value};
use tracing::{info, warn};

impl<S: Service, P: Peers> Node<S, P> {
    pub(super) fn output(&mut self, output: Output) {
        match output {
            Output::Etcd(id, Call::Transaction(transaction)) if writes_record(&transaction) => {
                self.write(id, &transaction);
            }
            Output::Etcd(id, call) => self.call(id, call),
            Output::Ask(to, question) => self.tell(to, &Message::Question(question)),
            Output::Tell(to, answer) => self.tell(to, &Message::Answer(answer)),
            Output::Farewell(to) => {
                let me = self.settings.me.incarnation;
                self.tell(to, &Message::Goodbye(me));
            }
            Output::Receipt { to, id, taken } => self.tell(to, &Message::Receipt(id, taken)),
            Output::Send(to, parcel) => {
                if let Some(name) = self.translator.names.name(to) {
                    self.service.order(Order::Send(name.clone(), parcel));
                }
            }
            Output::Gained(held, gain) => self.changes.slots.gained(held, gain),
            Output::Load(held) => {
                self.service.order(Order::Load(held));
                self.load(held);
            }
            Output::Serve(held, parcel) => {
                self.changes.slots.serves(held);
                self.service.order(Order::Serve(held, parcel));
            }
            Output::Merge(held, id) => self.service.order(Order::Merge(held, id)),
            Output::Discard(id) => self.service.order(Order::Discard(id)),
            Output::Pause(held, id) => self.service.order(Order::Pause(held, id)),
            Output::Resume(held, packed) => self.service.order(Order::Resume(held, packed)),
            Output::Release(held, cause) => {
                let record = self.cluster.record(held.slot);
                let giving = match self.cluster.is_draining() {
                    true => Giving::Drain,
                    false => Giving::Rebalance,
                };
                self.changes.slots.released(held, cause, record, giving);
                self.service.order(Order::Release(held, cause));
            }
            Output::Alone => {
                warn!(
                    "alone: neither etcd nor another node answers, so others may take the slots; connections are \
                     closed until one of them answers: check the network of this machine"
                );
                self.service.order(Order::Alone);
            }
            Output::WriteRefused(_, number) => self.write_refused(number),
            Output::Exit(ending) => self.ending = Some(ending),
        }
    }

    /// Sends a message to a node, if it has a name.
    pub(super) fn tell(&mut self, to: NodeId, message: &Message) {
        let Some(name) = self.translator.names.name(to).cloned() else {
            return;
        };
        let bytes = wire::encode(message, &self.translator.names);
        let at = self
            .translator
            .peers(to)
            .map(|address| self.hosts.at(address));
        self.peers.send(&name, &at.unwrap_or_default(), bytes);
    }

    /// The same, to a node of this name.
    pub(super) fn tell_named(&mut self, to: &Name, message: &Message) {
        if let Ok(node) = self.translator.names.number(to) {
            self.tell(node, message);
        }
    }

    /// Lines for what happened to slots since the last tick, and to the registration.
    pub(super) fn log_slots(&mut self) {
        let names = &self.translator.names;
        self.changes
            .slots
            .write(|node| names.name(node).map(Name::as_str));
        let is_registered = self.cluster.is_registered(self.settings.me.node)
            && self.cluster.standing() != Standing::Starting;
        if is_registered != self.changes.is_registered {
            self.changes.is_registered = is_registered;
            if is_registered {
                info!("registered in etcd as {}", self.translator.me());
            } else {
                warn!("not registered in etcd any more: it is tried again");
            }
        }
        let memory = self.cluster.memory();
        if memory.other_history && !self.changes.is_other_history {
            self.changes.is_other_history = true;
            warn!(
                "etcd shows another history than was known, as after a restored backup or where its keys were \
                 removed: clients are served, no slot is taken and nothing is written. Stop all nodes, see to etcd, \
                 then start them with `heliograph serve --accept-etcd` once (deploy/CLUSTER.md, Restore etcd)"
            );
        }
    }

    fn nodes(&self) -> Vec<NodeState> {
        let known = self.translator.names.all().map(|(node, name)| NodeState {
            name: name.clone(),
            inner: self.translator.inner(node).cloned(),
            is_here: self.cluster.expects(node),
            is_registered: self.cluster.is_registered(node),
            is_heard: node == self.settings.me.node || self.cluster.hears(node, now()),
        });
        known.collect()
    }

    fn trouble(&self) -> Option<&str> {
        let records = || self.records.trouble.current();
        self.control.trouble.current().or_else(records)
    }

    pub(super) fn inspection(&self) -> Inspection {
        let slots = (0..SLOTS).map(|number| {
            let record = self.cluster.record(Slot(number));
            let name = |node: NodeId| -> Option<Name> { self.translator.names.name(node).cloned() };
            (
                record.owner.and_then(|owner| name(owner.node)),
                record.epoch,
            )
        });
        Inspection {
            standing: self.cluster.standing(),
            has_etcd: self.cluster.has_etcd(now()),
            other_history: self.cluster.memory().other_history,
            owned: self.cluster.owned(),
            served: self.cluster.served(),
            slot_changes: self.cluster.slot_changes(),
            valid_ms: self.cluster.valid_until().since(now()),
            nodes: self.nodes(),
            slots: slots.collect(),
            slot_key: self.meta.slot_key(),
            trouble: self.trouble().map(Into::into),
            etcd_took: self.control.took,
            etcd_fill: self.capacity.fill,
        }
    }
}

fn writes_record(transaction: &Transaction) -> bool {
    let is_record = |(key, _): &(Key, Value)| matches!(key, Key::Record(..));
    transaction.puts.iter().any(is_record)
}

/// What the next lines of the log are about, and the state that the last ones described.
#[derive(Debug, Default)]
pub(super) struct Changes {
    slots: SlotLog,
    is_other_history: bool,
    is_registered: bool,
}
