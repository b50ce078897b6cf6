//! In a binary without the cargo feature `cluster`: there is no node, since the configuration refuses `cluster.etcd`.

use super::cluster::EtcdPart;
use super::follower::NodeNews;
use super::{Failure, data_dir::DataDir};
use crate::edge::{Links, Post};
use crate::side::{ClusterPage, NodePages};
use broker_core::cluster::slot_map::SlotMap;
use broker_core::id::ShardId;
use broker_core::placement::Placement;
use broker_core::registry::Store;
use broker_core::settings::Settings;
use broker_core::shard::{Shard, SlotOrders};
use crossbeam_channel::Receiver;
use mailbox::Mailbox;
use std::sync::Arc;

/// No node, no descriptors.
pub(super) const DESCRIPTORS: usize = 0;

/// None.
pub(super) enum Node {}

impl Node {
    pub(super) fn start(
        _: &Settings,
        _: &DataDir,
        _: (&EtcdPart, &Arc<SlotMap>, &Arc<Links>),
        _: &Placement,
        _: &Arc<[Mailbox<Post<Shard>>]>,
    ) -> Result<Self, Failure> {
        let why = "cluster.etcd: this binary was built without the cargo feature `cluster`";
        Err(Failure::Configuration(why.into()))
    }

    pub(super) fn store(&self, _: ShardId) -> Box<dyn Store> {
        match *self {}
    }

    pub(super) fn orders(&self, _: ShardId) -> Box<dyn SlotOrders> {
        match *self {}
    }

    pub(super) fn news(&self) -> Receiver<NodeNews> {
        match *self {}
    }

    pub(super) fn drain(&self) -> bool {
        match *self {}
    }

    pub(super) fn stuck(&self, _: bool) -> bool {
        match *self {}
    }

    pub(super) fn waiting(&self, _: u64) {
        match *self {}
    }

    pub(super) fn page(&self) -> ClusterPage {
        match *self {}
    }

    pub(super) fn pages(&self) -> NodePages {
        match *self {}
    }

    pub(super) fn is_ready(&self) -> bool {
        match *self {}
    }
}
