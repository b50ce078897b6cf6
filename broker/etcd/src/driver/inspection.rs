//! State of a node, for operators.

use crate::driver::{capacity::Capacity, control::Control, core::Core, records::Records};
use crate::{config::InnerAddress, names::Name, schema::RegistrationRecord};
use crate::{system::now, translate::Translator};
use broker_core::cluster::Cluster;
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::{Epoch, Kinship, NodeId, Slot};
use std::time::Duration;

/// State of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Why the node is or is not serving.
    pub standing: Standing,
    /// Whether etcd answered recently. Otherwise, no slots are claimed or transferred and no records are written.
    pub has_etcd: bool,
    /// Whether etcd's history contradicts what this node saw before. etcd then counts as unreachable until the operator
    /// accepts its state.
    pub other_history: bool,
    /// Number of slots owned by this process.
    pub owned: usize,
    /// Number of owned slots whose channels have been loaded.
    pub served: usize,
    /// Number of observed changes of owners and epochs.
    pub slot_changes: u64,
    /// Whether other nodes are registered but none of them answers. This node then claims none of their slots.
    pub is_cut_off: bool,
    /// Time in milliseconds for which the node may admit clients without further answers.
    pub valid_ms: u64,
    /// All known nodes, this one first.
    pub nodes: Vec<NodeState>,
    /// Known owner, if any, and epoch of each slot.
    pub slots: Vec<(Option<Name>, Epoch)>,
    /// Key of the hash that maps channels to slots; `None` until etcd answers for the first time.
    pub slot_key: Option<[u8; 16]>,
    /// Current fault of etcd, if any.
    pub trouble: Option<Box<str>>,
    /// Time that etcd took to answer the last keepalive.
    pub etcd_took: Duration,
    /// Bytes in use in etcd's database and its quota, once reported.
    pub etcd_fill: Option<(u64, u64)>,
}

/// A node as known to this one, possibly itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Name of the node.
    pub name: Name,
    /// Address of the node in the roster.
    pub inner: Option<InnerAddress>,
    /// Whether the node is expected to run according to the roster: it was neither drained nor removed.
    pub is_here: bool,
    /// Whether etcd has a valid registration of the node.
    pub is_registered: bool,
    /// Why the node's registration is not accepted; `None` if accepted or absent.
    pub stranger: Option<Kinship>,
    /// The node's registration, whether it is accepted or not.
    pub registration: Option<RegistrationRecord>,
    /// Whether the node answered recently.
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
        let trouble = control.connection().trouble();
        let trouble = trouble.or_else(|| records.trouble());
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
            slot_key: control.slot_key(),
            trouble: trouble.map(Into::into),
            etcd_took: control.took(),
            etcd_fill: capacity.fill(),
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
