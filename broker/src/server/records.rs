//! The store of the records of channels: the data directory, or etcd.

use crate::edge::turn::calendar;
use crate::presence_epoch;
use crate::server::cluster::node::Node;
use crate::server::{cluster::Cluster, disk_registry::Registry};
use crate::{data_dir::DataDir, edge::Post, failure::Failure, side::StatusBoard};
use broker_core::record;
use broker_core::shard::{Shard, SlotOrders};
use broker_core::time::Wall;
use broker_core::{id::ShardId, placement::Placement, registry::Store, settings::Settings};
use mailbox::Mailbox;
use std::sync::Arc;

/// Those of all shards.
type Mailboxes = Arc<[Mailbox<Post<Shard>>]>;

/// The registry of this process.
pub(crate) enum Records {
    /// On the disk: all of them are read at the start.
    Disk(Registry),
    /// In etcd: they come and go with slots.
    Etcd(Node),
}

impl Records {
    /// Opens the store of the data directory, or joins the cluster. Gives the epoch of presence of this process as
    /// well: nothing in the directory changes before its store is known to be sound.
    ///
    /// # Errors
    /// [`Failure`] when neither can be done.
    pub(crate) fn open(
        settings: &Settings,
        cluster: Option<&Cluster>,
        placement: &Placement,
        (data_dir, mailboxes, status): (&DataDir, &Mailboxes, &StatusBoard),
    ) -> Result<(Self, u64), Failure> {
        let etcd = cluster.and_then(|cluster| Some((cluster, cluster.etcd.as_ref()?)));
        let next_epoch = || presence_epoch::next(data_dir.path(), calendar().0);
        match etcd {
            None => {
                let most = settings.limits.record_bytes_total;
                let registry = Registry::open(data_dir, placement, mailboxes, status, most)?;
                Ok((Self::Disk(registry), next_epoch()?))
            }
            Some((Cluster { map, links, .. }, part)) => {
                let part = (part, map, links);
                let epoch = next_epoch()?;
                let node = (data_dir, status.readiness(), epoch);
                let node = Node::start(settings, node, part, placement, mailboxes)?;
                Ok((Self::Etcd(node), epoch))
            }
        }
    }

    /// One shard's end of the store, the records that it begins with, and where orders about slots come from.
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
                let orders = node.orders(shard);
                (node.store(shard), record::Records::default(), Some(orders))
            }
        }
    }

    /// The latest creation time of a record, as far as it is known at the start: every channel that is created from
    /// here on is younger.
    pub(crate) fn newest(&self) -> Wall {
        match self {
            Self::Disk(registry) => registry.newest(),
            Self::Etcd(_) => Wall::default(),
        }
    }

    /// The registry on the disk, if that is used.
    pub(crate) fn on_disk(&self) -> Option<&Registry> {
        match self {
            Self::Disk(registry) => Some(registry),
            Self::Etcd(_) => None,
        }
    }

    /// The node, where records are in etcd.
    pub(crate) fn node(&self) -> Option<&Node> {
        match self {
            Self::Disk(_) => None,
            Self::Etcd(node) => Some(node),
        }
    }

    /// Commits what waits and gives the file free.
    pub(crate) fn close(self) {
        match self {
            Self::Disk(registry) => registry.close(),
            Self::Etcd(node) => drop(node),
        }
    }
}
