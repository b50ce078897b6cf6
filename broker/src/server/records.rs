//! The store of channel records: either the data directory or etcd.

use crate::edge::turn::calendar;
use crate::failure::Fallible;
use crate::presence_epoch;
use crate::registry::ProcessCatalog;
use crate::server::cluster::{node::Node, slot_orders::End};
use crate::server::mailboxes::Mailboxes;
use crate::server::{cluster::ClusterMembership, disk_registry::Registry};
use crate::{data_dir::DataDir, side::StatusBoard};
use broker_core::record;
use broker_core::shard::SlotOrders;
use broker_core::time::Wall;
use broker_core::{id::ShardId, placement::Placement, registry::Store, settings::Settings};
use std::sync::Arc;

pub(crate) enum Records {
    Disk(Registry),
    /// Records are stored in etcd. They are loaded and dropped along with their slots.
    Etcd(Node),
}

impl Records {
    /// Opens the store in the data directory, or joins the cluster. Also returns the presence epoch, which is written
    /// only once the store has been verified. Fails if the store cannot be opened or the cluster cannot be joined.
    pub(crate) fn open(
        settings: &Settings,
        cluster: Option<&ClusterMembership>,
        placement: &Placement,
        (data_dir, mailboxes, status): (&DataDir, &Mailboxes, &StatusBoard),
    ) -> Fallible<(Self, u64)> {
        let etcd = cluster.and_then(|cluster| Some((cluster, cluster.etcd.as_ref()?)));
        let next_epoch = || presence_epoch::next(data_dir.path(), calendar().0);
        match etcd {
            None => {
                let most = settings.limits.record_bytes_total;
                let registry = Registry::open(data_dir, placement, mailboxes, status, most)?;
                Ok((Self::Disk(registry), next_epoch()?))
            }
            Some((ClusterMembership { map, links, .. }, part)) => {
                let part = (part, map, links);
                let epoch = next_epoch()?;
                let node = (data_dir, status.readiness(), epoch);
                let node = Node::start(settings, node, part, placement, mailboxes)?;
                Ok((Self::Etcd(node), epoch))
            }
        }
    }

    pub(crate) fn of(
        &mut self,
        shard: ShardId,
    ) -> (Box<dyn Store>, record::Records, Option<Box<dyn SlotOrders>>) {
        match self {
            Self::Disk(registry) => {
                let (store, records) = registry.of(shard);
                (Box::new(store), records, None)
            }
            Self::Etcd(node) => {
                let (store, desk) = (node.handle.store(shard), Arc::clone(&node.desk));
                let orders = Box::new(End { desk, shard });
                (Box::new(store), record::Records::default(), Some(orders))
            }
        }
    }

    /// Returns the latest creation time of the records found at startup. New channels get later times.
    pub(crate) fn newest(&self) -> Wall {
        match self {
            Self::Disk(registry) => registry.newest,
            Self::Etcd(_) => Wall::default(),
        }
    }

    pub(crate) fn catalog(&self) -> Arc<ProcessCatalog> {
        match self {
            Self::Disk(Registry { catalog, .. }) | Self::Etcd(Node { catalog, .. }) => {
                Arc::clone(catalog)
            }
        }
    }

    pub(crate) fn on_disk(&self) -> Option<&Registry> {
        match self {
            Self::Disk(registry) => Some(registry),
            Self::Etcd(_) => None,
        }
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        match self {
            Self::Disk(_) => None,
            Self::Etcd(node) => Some(node),
        }
    }

    pub(crate) fn close(self) {
        match self {
            Self::Disk(registry) => registry.writer.close(),
            Self::Etcd(node) => drop(node),
        }
    }
}
