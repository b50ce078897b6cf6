//! What the process around the node learns of the cluster: where channels are, and until when they may be served.

use super::Node;
use super::post::hosts::is_none;
use crate::names::shown;
use crate::order::{News, Service};
use crate::peers::Peers;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::{NodeId, Slot};
use broker_core::time::Now;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use tracing::warn;

/// What the process knows so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    has_slot_key: bool,
    reached: BTreeMap<NodeId, Reached>,
    owners: Vec<Option<NodeId>>,
    /// The count of changes of slots that `owners` is of.
    changes: u64,
    valid_until: Now,
    registered: u16,
}

/// Addresses of a node's host, and its ports.
type Reached = (Box<[SocketAddr]>, Box<[u16]>);

impl<S: Service, P: Peers> Node<S, P> {
    /// Says what has changed since the last time.
    pub(super) fn publish(&mut self) {
        if let Some(key) = self.meta.slot_key().filter(|_| !self.known.has_slot_key) {
            self.known.has_slot_key = true;
            self.service.learn(News::SlotKey(key));
        }
        self.publish_addresses();
        if self.known.changes != self.cluster.slot_changes() {
            self.publish_owners();
        }
        let nodes = self.translator.names.all();
        let registered = nodes.filter(|(node, _)| self.cluster.is_registered(*node));
        let registered = u16::try_from(registered.count()).unwrap_or(u16::MAX);
        if self.known.registered != registered {
            self.known.registered = registered;
            self.service.learn(News::Registered(registered));
        }
        let valid_until = self.cluster.valid_until();
        if self.known.valid_until != valid_until {
            self.known.valid_until = valid_until;
            self.published.store(valid_until.0, Ordering::Release);
            self.service.learn(News::ValidUntil(valid_until));
        }
    }

    fn publish_addresses(&mut self) {
        let has_moved = self.translator.take_moved();
        if has_moved {
            self.hosts.know(self.translator.of_others());
        }
        if !self.hosts.take_changed() && !has_moved {
            return;
        }
        for (node, inner) in self.translator.addresses() {
            let hosts: Box<[SocketAddr]> = self.hosts.at(&inner.address).into();
            let is_known = |known: &Reached| known.0 == hosts && known.1 == inner.ports;
            if self.known.reached.get(&node).is_some_and(is_known) {
                continue;
            }
            let ports = inner.ports.clone();
            self.known
                .reached
                .insert(node, (hosts.clone(), ports.clone()));
            if let Some(name) = self.translator.names.name(node).cloned() {
                if is_none(&inner.address) {
                    let address = shown(&inner.address);
                    warn!("the roster has no address of {name}: {address}");
                }
                self.service.learn(News::Node {
                    node,
                    name,
                    hosts,
                    ports,
                });
            }
        }
    }

    fn publish_owners(&mut self) {
        self.known.changes = self.cluster.slot_changes();
        self.known.owners.resize(SLOTS.into(), None);
        for (slot, known) in (0..SLOTS).map(Slot).zip(&mut self.known.owners) {
            let owner = self.cluster.record(slot).owner;
            // What an earlier process of this node owned is not this one's.
            let is_mine = owner.is_none_or(|owner| {
                owner.node != self.settings.me.node || owner == self.settings.me
            });
            let owner = owner.filter(|_| is_mine).map(|owner| owner.node);
            if *known != owner {
                *known = owner;
                self.service.learn(News::Owner(slot, owner));
            }
        }
    }
}
