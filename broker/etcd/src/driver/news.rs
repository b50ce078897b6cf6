//! Cluster updates for the process that contains the node: who owns the slots, and how long this node may serve its
//! own.

use crate::driver::messages::{PeerPost, is_none};
use crate::names::{Names, shown};
use crate::service::{HostService, News};
use crate::{peers::Peers, system::now, translate::Translator};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::{NodeId, Owner, Slot, SlotRecord};
use broker_core::{cluster::Cluster, time::Now};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tracing::warn;

/// What has been published so far. Each method publishes only what has changed since it was last called.
#[derive(Debug, Default)]
pub(crate) struct NewsSoFar {
    has_slot_key: bool,
    reached: BTreeMap<NodeId, ReachedAt>,
    owners: Vec<Option<NodeId>>,
    /// Number of slot changes that had been observed when `owners` was last computed.
    changes: u64,
    valid_until: Now,
    knows_absence: bool,
    registered: u16,
}

type ReachedAt = (Box<[SocketAddr]>, Box<[u16]>);

impl NewsSoFar {
    pub(crate) fn slot_key(&mut self, key: Option<[u8; 16]>, service: &mut impl HostService) {
        if let Some(key) = key.filter(|_| !self.has_slot_key) {
            self.has_slot_key = true;
            service.learn(News::SlotKey(key));
        }
    }

    /// Publishes the addresses of nodes, as stated in the roster or resolved from the names in it.
    pub(crate) fn addresses<P: Peers>(
        &mut self,
        translator: &mut Translator,
        post: &mut PeerPost<P>,
        service: &mut impl HostService,
    ) {
        if !post.follow(translator) {
            return;
        }
        for (node, inner) in translator.addresses() {
            let hosts: Box<[SocketAddr]> = post.hosts.at(&inner.address).into();
            let is_known = |known: &ReachedAt| known.0 == hosts && known.1 == inner.ports;
            if self.reached.get(&node).is_some_and(is_known) {
                continue;
            }
            let ports = inner.ports.clone();
            self.reached.insert(node, (hosts.clone(), ports.clone()));
            if let Some(name) = translator.names.name(node).cloned() {
                if is_none(&inner.address) {
                    let address = shown(&inner.address);
                    warn!("the roster has an invalid address of {name}: {address}");
                }
                service.learn(News::Node {
                    node,
                    name,
                    hosts,
                    ports,
                });
            }
        }
    }

    /// Publishes the owner of each slot as seen by this node, `me`, and the number of registered nodes. Also publishes
    /// whether this node can tell that a channel does not exist, and until when it may serve slots.
    pub(crate) fn cluster(
        &mut self,
        cluster: &Cluster,
        me: Owner,
        names: &Names,
        service: &mut impl HostService,
    ) {
        if self.changes != cluster.slot_changes() {
            self.owners(cluster, me, service);
        }
        let registered = names.all().filter(|(node, _)| cluster.is_registered(*node));
        let registered = u16::try_from(registered.count()).unwrap_or(u16::MAX);
        if std::mem::replace(&mut self.registered, registered) != registered {
            service.learn(News::Registered(registered));
        }
        let knows_absence = cluster.knows_absence(now());
        if std::mem::replace(&mut self.knows_absence, knows_absence) != knows_absence {
            service.learn(News::KnowsAbsence(knows_absence));
        }
        let valid_until = cluster.valid_until();
        if std::mem::replace(&mut self.valid_until, valid_until) != valid_until {
            service.learn(News::ValidUntil(valid_until));
        }
    }

    fn owners(&mut self, cluster: &Cluster, me: Owner, service: &mut impl HostService) {
        self.changes = cluster.slot_changes();
        self.owners.resize(SLOTS.into(), None);
        for (slot, known) in (0..SLOTS).map(Slot).zip(&mut self.owners) {
            let SlotRecord { owner, parcel, .. } = cluster.record(slot);
            // Slots that belong to an earlier process of this node do not belong to this one.
            let is_mine = owner.is_none_or(|owner| owner.node != me.node || owner == me);
            let owner = owner.filter(|_| is_mine).map(|owner| owner.node);
            if *known != owner {
                *known = owner;
                let is_given = parcel.is_some();
                service.learn(News::Owner {
                    slot,
                    owner,
                    is_given,
                });
            }
        }
    }
}
