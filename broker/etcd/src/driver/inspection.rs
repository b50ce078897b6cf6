//! The state of a node, for operators who ask.

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
    /// Why it serves, or does not.
    pub standing: Standing,
    /// Whether etcd answered lately: without it nothing is taken, given or written.
    pub has_etcd: bool,
    /// etcd shows another history than was known: as if it were gone, until the operator accepts it.
    pub other_history: bool,
    /// Slots that this process owns.
    pub owned: usize,
    /// Number of those whose channels it holds.
    pub served: usize,
    /// Changes of slots that it has seen: owners and epochs.
    pub slot_changes: u64,
    /// No other node answers it, while others are registered: it takes no slots of theirs.
    pub is_cut_off: bool,
    /// For how many milliseconds more it may admit, if nobody answers any more.
    pub valid_ms: u64,
    /// Every node that it knows, this one first.
    pub nodes: Vec<NodeState>,
    /// Each slot's owner, if it has one, and epoch, as far as this node knows.
    pub slots: Vec<(Option<Name>, Epoch)>,
    /// The key of the hash that finds a channel's slot; unknown until etcd answered for the first time.
    pub slot_key: Option<[u8; 16]>,
    /// The last trouble with etcd, while there is any.
    pub trouble: Option<Box<str>>,
    /// The time that etcd took for the last keepalive that it answered.
    pub etcd_took: Duration,
    /// Bytes of its database that are in use, and its quota, once a member has reported them.
    pub etcd_fill: Option<(u64, u64)>,
}

/// A node, as this one knows it: another one, or itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Name of the node.
    pub name: Name,
    /// The address at which it is reached, by the roster.
    pub inner: Option<InnerAddress>,
    /// The roster has it here: it was not drained, nor removed.
    pub is_here: bool,
    /// Whether its registration is in etcd, and counts.
    pub is_registered: bool,
    /// Why its registration does not count, if it has one that does not.
    pub stranger: Option<Kinship>,
    /// The registration that it has, counted or not.
    pub registration: Option<RegistrationRecord>,
    /// Whether it answered lately.
    pub is_heard: bool,
}

impl Inspection {
    /// Reads the parts of a node.
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
