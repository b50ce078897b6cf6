//! What the process around the node learns of the cluster: where channels are, and until when they may be served.

use super::Node;
use crate::config::InnerAddress;
use crate::order::{News, Service};
use crate::peers::Peers;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::{NodeId, Slot};
use broker_core::time::Now;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// What the process knows so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    has_slot_key: bool,
    addresses: BTreeMap<NodeId, InnerAddress>,
    owners: Vec<Option<NodeId>>,
    /// The count of changes of slots that `owners` is of.
    changes: u64,
    valid_until: Now,
    registered: u16,
}

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
        if !self.translator.take_moved() {
            return;
        }
        for (node, inner) in self.translator.addresses() {
            if self.known.addresses.get(&node) == Some(inner) {
                continue;
            }
            self.known.addresses.insert(node, inner.clone());
            if let Some(name) = self.translator.names.name(node) {
                let news = News::Node(node, name.clone(), inner.clone());
                self.service.learn(news);
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
