//! Lines of the log about nodes that are registered in etcd and are not of this node's cluster, and about a node that
//! no other one answers.

use crate::names::{Name, Names};
use broker_core::cluster::Cluster;
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::types::{Kinship, NodeId};
use broker_core::time::Now;
use tracing::{info, warn};

/// The state that the last lines described.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    known: Vec<(NodeId, Kinship)>,
    /// Since when no other node answers while others are registered.
    cut_off: Option<Now>,
    is_cut_off: bool,
}

impl Strangers {
    /// Lines for what has changed.
    pub(crate) fn write(&mut self, cluster: &Cluster, names: &Names, now: Now) {
        let name = |node| names.name(node).map_or("", Name::as_str);
        let strangers: Vec<_> = cluster.strangers().collect();
        for (node, kinship) in &strangers {
            if !self.known.contains(&(*node, *kinship)) {
                warn!(node = name(*node), "{}", line(*kinship));
            }
        }
        for (node, _) in &self.known {
            if !strangers.iter().any(|(other, _)| other == node) {
                info!(
                    node = name(*node),
                    "a node whose registration did not count is gone, or has one that counts"
                );
            }
        }
        self.known = strangers;
        self.cut_off(cluster.is_cut_off(now), now);
    }

    fn cut_off(&mut self, is_cut_off: bool, now: Now) {
        if !is_cut_off {
            self.cut_off = None;
            if std::mem::take(&mut self.is_cut_off) {
                info!(
                    "other nodes answer again, or none is registered: slots of others are taken as usual"
                );
            }
            return;
        }
        let since = *self.cut_off.get_or_insert(now);
        if !self.is_cut_off && now.since(since) >= CUT_OFF_MS {
            self.is_cut_off = true;
            warn!(
                "no other node answers although others are registered: this node takes no slots of theirs until one \
                 does; check cluster.listen and cluster.peers of each, the network between them, and that all have \
                 the same cluster.secret_file"
            );
        }
    }
}

fn line(kinship: Kinship) -> String {
    match kinship {
        Kinship::Peer => String::new(),
        Kinship::Unproven => "a node is registered without a proof that is valid under this node's secret, cluster id \
                              and slot hash key: it gets no slots, and those that it has are taken; stop it, and give \
                              it this cluster's cluster.secret_file, or a cluster.name of its own"
            .into(),
        Kinship::OtherVersion(inner) => format!(
            "a node is registered with inner version {inner}, and this node has {INNER_VERSION}: only neighbouring \
             versions share a cluster, so it gets no slots; stop it, and upgrade one version at a time"
        ),
    }
}

/// Time without an answer of any other node before there is a line about it: nodes need some seconds to find each
/// other.
const CUT_OFF_MS: u64 = 10_000;
