//! Lines of each tick about this node: its slots, its registration, and another history of etcd.

use crate::driver::log::slots::{Giving, SlotLog};
use crate::driver::log::strangers::Strangers;
use crate::names::{Name, Names};
use crate::system::now;
use broker_core::cluster::Cluster;
use broker_core::cluster::authority::Standing;
use broker_core::cluster::message::{Cause, Gain, Held, SlotOrder};
use broker_core::cluster::types::NodeId;
use tracing::{info, warn};

/// The events of the next lines, and the state that the last ones described.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    slots: SlotLog,
    strangers: Strangers,
    is_other_history: bool,
    is_registered: bool,
    awaits_name: bool,
}

impl Journal {
    /// A slot has come to this process.
    pub(crate) fn gained(&mut self, held: Held, gain: Gain) {
        self.slots.gained(held, gain);
    }

    /// The shards get an order: with some a slot is served, or is no longer this process's.
    pub(crate) fn order(&mut self, order: SlotOrder, cluster: &Cluster) {
        match order {
            SlotOrder::Serve(held, ..) => self.slots.serves(held),
            SlotOrder::Release(held, cause) => self.released(held, cause, cluster),
            SlotOrder::Merge(..) | SlotOrder::Pause(..) | SlotOrder::Resume(..) => {}
            SlotOrder::CloseAll => {}
        }
    }

    fn released(&mut self, held: Held, cause: Cause, cluster: &Cluster) {
        let record = cluster.record(held.slot);
        let giving = match cluster.is_draining() {
            true => Giving::Drain,
            false => Giving::Rebalance,
        };
        self.slots.released(held, cause, record, giving);
    }

    /// Lines for what happened to slots since the last tick, and to the registration of this node, `me`.
    pub(crate) fn write(&mut self, cluster: &Cluster, me: NodeId, names: &Names) {
        let name = |node| names.name(node).map(Name::as_str);
        self.slots.write(name);
        self.strangers.write(cluster, names, now());
        let awaits_name = cluster.awaits_name();
        if awaits_name && !self.awaits_name {
            warn!(
                "another process is registered under this node's name, or was at another address: this one waits \
                 until neither etcd nor any node has had an answer of it for a lease, and ends if one has"
            );
        }
        self.awaits_name = awaits_name;
        let is_registered = cluster.is_registered(me) && cluster.standing() != Standing::Starting;
        if is_registered != self.is_registered {
            self.is_registered = is_registered;
            if is_registered {
                info!("registered in etcd as {}", name(me).unwrap_or_default());
            } else {
                warn!("not registered in etcd any more: it is tried again");
            }
        }
        let memory = cluster.memory();
        if memory.other_history && !self.is_other_history {
            self.is_other_history = true;
            warn!(
                "etcd shows another history than was known, as after a restored backup or where its keys were \
                 removed: clients are served, no slot is taken and nothing is written. Stop all nodes, see to etcd, \
                 then start them with `heliograph serve --accept-etcd` once (deploy/CLUSTER.md, Restore etcd)"
            );
        }
    }
}
