//! The state of the node, for operators.

use crate::side::{ClusterView, NodeView};
use broker_core::cluster::authority::Standing;
use broker_core::cluster::types::Kinship;
use broker_etcd::{Inspection, NodeState, PeerCounts};
use std::sync::atomic::{AtomicU64, Ordering};

/// Converts an inspection to the view that the admin listener shows.
pub(crate) fn view(
    (cluster, node): (&str, &str),
    inspection: Inspection,
    counts: &PeerCounts,
) -> ClusterView {
    let mut nodes: Vec<NodeView> = inspection.nodes.iter().map(of_node).collect();
    let mut vacant = 0;
    for (owner, epoch) in &inspection.slots {
        let found = owner.as_ref().and_then(|owner| {
            let mut nodes = nodes.iter_mut();
            nodes.find(|node| node.name == owner.as_str())
        });
        match found {
            Some(node) => {
                node.slots += 1;
                node.newest_epoch = node.newest_epoch.max(epoch.0);
            }
            None => vacant += 1,
        }
    }
    ClusterView {
        cluster: cluster.into(),
        node: node.into(),
        standing: word(inspection.standing),
        has_etcd: inspection.has_etcd,
        other_history: inspection.other_history,
        cut_off: inspection.is_cut_off,
        trouble: inspection.trouble,
        owned: inspection.owned as u64,
        served: inspection.served as u64,
        vacant,
        slot_changes: inspection.slot_changes,
        valid_ms: inspection.valid_ms,
        etcd_seconds: inspection.etcd_took.as_secs_f64(),
        etcd_fill: inspection.etcd_fill.unwrap_or_default(),
        messages: [&counts.sent, &counts.received, &counts.lost].map(read),
        refused: read(&counts.refused),
        nodes,
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn of_node(node: &NodeState) -> NodeView {
    NodeView {
        name: node.name.as_str().into(),
        address: node.inner.as_ref().map(|inner| inner.address.clone()),
        ports: node
            .inner
            .as_ref()
            .map_or_else(Vec::new, |inner| inner.ports.to_vec()),
        is_here: node.is_here,
        is_registered: node.is_registered,
        stranger: node.stranger.map(stranger),
        is_heard: node.is_heard,
        slots: 0,
        newest_epoch: 0,
    }
}

/// Why a registration does not count.
fn stranger(kinship: Kinship) -> String {
    match kinship {
        Kinship::Peer => String::new(),
        Kinship::Unproven => "no valid proof".into(),
        Kinship::OtherVersion(inner) => format!("inner version {inner}"),
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Starting => "starting",
        Standing::Answered => "serving",
        Standing::Exception => "alone, by exception",
        Standing::Asking => "asking",
        Standing::Alone => "alone",
        Standing::Held => "held back",
    }
}
