//! The state of a node, as shown to operators.

use crate::driver::{capacity::Capacity, control::Control, core::Core, records::Records};
use crate::{config::InnerAddress, names::Name, schema::RegistrationRecord};
use crate::{system::now, translate::Translator};
use broker_core::cluster::Cluster;
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::{Epoch, Kinship, NodeId, Slot};
use std::time::Duration;

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Why the node is serving, or why it is not.
    pub standing: Standing,
    /// Whether etcd has answered recently. If not, no slots are claimed or transferred and no records are written.
    pub has_etcd: bool,
    /// Whether etcd's data contradicts what this node saw before. If so, the node treats etcd as unreachable until the
    /// operator confirms that the data is correct.
    pub other_history: bool,
    /// Number of slots owned by this process.
    pub owned: usize,
    /// Number of owned slots whose channels have been loaded.
    pub served: usize,
    /// How often the owner or the epoch of a slot has changed, as observed by this node.
    pub slot_changes: u64,
    /// Whether other nodes are registered but none of them answers. If so, this node claims none of their slots.
    pub is_cut_off: bool,
    /// How much longer the node may admit clients if neither etcd nor another node answers, in milliseconds.
    pub valid_ms: u64,
    /// All known nodes, starting with this one.
    pub nodes: Vec<NodeState>,
    /// The owner and epoch of each slot, as known to this node. The owner is `None` if nobody owns the slot.
    pub slots: Vec<(Option<Name>, Epoch)>,
    /// Key of the hash that maps channels to slots, or `None` until etcd has answered for the first time.
    pub slot_key: Option<[u8; 16]>,
    /// A description of the current problem with etcd, if there is one.
    pub trouble: Option<Box<str>>,
    /// How long etcd took to answer the last keepalive.
    pub etcd_took: Duration,
    /// Bytes in use in etcd's database, and its quota. `None` until reported.
    pub etcd_fill: Option<(u64, u64)>,
}

/// A node as known to this node. May be this node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Name of the node.
    pub name: Name,
    /// Address of the node, according to the roster.
    pub inner: Option<InnerAddress>,
    /// Whether the roster expects the node to run. `false` once the node has been drained or removed.
    pub is_here: bool,
    /// Whether etcd has a valid registration of the node.
    pub is_registered: bool,
    /// Why the node's registration is not accepted. `None` if it is accepted or absent.
    pub stranger: Option<Kinship>,
    /// The node's registration, whether or not it is accepted.
    pub registration: Option<RegistrationRecord>,
    /// Whether the node has answered recently.
    pub is_heard: bool,
}

impl Inspection {
    pub(crate) fn of(
        core: &Core,
        translator: &Translator,
        control: &Control,
        records: &Records,
        capacity: &Capacity,
    ) -> Self {
        let cluster = core.cluster();
        let slots = (0..SLOTS).map(|number| {
            let record = cluster.record(Slot(number));
            let name = |node: NodeId| -> Option<Name> { translator.names.name(node).cloned() };
            (
                record.owner.and_then(|owner| name(owner.node)),
                record.epoch,
            )
        });
        let trouble = control.connection.trouble.current();
        let trouble = trouble.or_else(|| records.connection.trouble.current());
        Self {
            standing: cluster.standing(),
            has_etcd: cluster.has_etcd(now()),
            other_history: cluster.memory().other_history,
            owned: cluster.owned(),
            served: cluster.served(),
            slot_changes: cluster.slot_changes(),
            is_cut_off: cluster.is_cut_off(now()),
            valid_ms: cluster.valid_until().since(now()),
            nodes: nodes(cluster, core.me().node, translator),
            slots: slots.collect(),
            slot_key: control.meta.slot_key(),
            trouble: trouble.map(Into::into),
            etcd_took: control.took,
            etcd_fill: capacity.fill,
        }
    }
}

fn nodes(cluster: &Cluster, me: NodeId, translator: &Translator) -> Vec<NodeState> {
    let stranger = |node| {
        let mut strangers = cluster.strangers();
        strangers
            .find(|(other, _)| *other == node)
            .map(|(_, why)| why)
    };
    let known = translator.names.all().map(|(node, name)| {
        let (is_registered, stranger) = (cluster.is_registered(node), stranger(node));
        let has_one = is_registered || stranger.is_some();
        NodeState {
            name: name.clone(),
            inner: translator.inner(node).cloned(),
            is_here: cluster.expects(node),
            is_registered,
            stranger,
            registration: translator.registration(node).filter(|_| has_one).cloned(),
            is_heard: node == me || cluster.hears(node, now()),
        }
    });
    known.collect()
}
