//! Nodes of several secrets on one etcd: what each reads of the others' registrations, and what reaches it.
//!
//! The model of etcd keeps a registration as the nodes of the first secret read it; that of any other secret is there
//! with the number of its secret in place of an inner version.

use crate::cluster::check::Check;
use crate::cluster::host::Host;
use crate::cluster::net::{ETCD, End};
use crate::cluster::script::Script;
use broker_core::cluster::message::{Call, NodeInput, Reply};
use broker_core::cluster::types::{Change, Kinship, Owner, Slot, Value};

impl Script {
    /// Whether two nodes, or a node and etcd, understand each other.
    pub(crate) fn is_understood(&self, from: End, to: End) -> bool {
        from == ETCD || to == ETCD || self.secret(from) == self.secret(to)
    }

    /// A host's call as it arrives at etcd: with proofs of the host's secret.
    pub(crate) fn proves(&self, host: usize, mut call: Call) -> Call {
        if let Call::Transaction(transaction) = &mut call {
            for (_, value) in &mut transaction.puts {
                if let Value::Registration { kinship, .. } = value {
                    *kinship = written(self.secret(host));
                }
            }
        }
        call
    }

    /// An input from etcd, as a host reads it with its secret.
    pub(crate) fn reads(&self, host: usize, mut input: NodeInput) -> NodeInput {
        let own = written(self.secret(host));
        let entries = match &mut input {
            NodeInput::Changed(_, changes) => changes,
            NodeInput::Reply(_, Reply::Snapshot(snapshot)) => &mut snapshot.entries,
            NodeInput::Reply(
                _,
                Reply::Outcome {
                    snapshot: Some(snapshot),
                    ..
                },
            ) => &mut snapshot.entries,
            _ => return input,
        };
        for Change { value, .. } in entries {
            if let Some(Value::Registration { kinship, .. }) = value {
                *kinship = if *kinship == own {
                    Kinship::Peer
                } else {
                    Kinship::Unproven
                };
            }
        }
        input
    }

    fn secret(&self, host: usize) -> u32 {
        u32::from(self.strangers.contains(&host))
    }
}

impl Check {
    /// I9: a slot has come to a node.
    pub(crate) fn comes_to(&mut self, slot: Slot, owner: Owner, script: &Script, now: u64) {
        if script.strangers.contains(&owner.node.index()) {
            self.breaks(format!(
                "I9 at {now}: {slot:?} comes to {owner:?}, which has another secret"
            ));
        }
    }

    /// I9: the processes that must end have ended.
    pub(crate) fn ended(&mut self, hosts: &[Host], script: &Script, now: u64) {
        let mut ended = script.ended.iter();
        if let Some(host) = ended.find(|host| hosts[**host].cluster.is_some()) {
            self.breaks(format!("I9 at {now}: host {host} goes on"));
        }
    }
}

/// The registrations of a secret's nodes, as the model of etcd has them.
fn written(secret: u32) -> Kinship {
    match secret {
        0 => Kinship::Peer,
        other => Kinship::OtherVersion(other),
    }
}
