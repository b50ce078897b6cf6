//! `GET /cluster`, and the figures of the cluster among the metrics: what this node knows of itself and of the others,
//! where the nodes agree in etcd on who owns what.

use crate::side::admin::answer::{Answer, Fault};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json as value};
use std::sync::Arc;

/// Asks the node; blocks for a second at most. `None` when it has ended or hangs.
pub type LookAtCluster = Arc<dyn Fn() -> Option<ClusterView> + Send + Sync>;

/// The requests that operators may make of the node.
#[derive(Clone)]
pub struct ClusterPage {
    /// Reads the node's view of the cluster.
    pub look: LookAtCluster,
    /// To give what is above an equal part of the slots to other nodes. False when it has ended, or too much waits.
    pub rebalance: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The labels of [`ClusterView::messages`].
pub(crate) const MESSAGES: [&str; 3] = ["sent", "received", "lost"];

/// The cluster, as one node knows it.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// The cluster's name.
    pub cluster: String,
    /// This node's.
    pub node: String,
    /// Why it serves, or does not.
    pub standing: &'static str,
    /// etcd answered lately.
    pub has_etcd: bool,
    /// etcd shows another history than was known.
    pub other_history: bool,
    /// No other node answers it, while others are registered: it takes no slots of theirs.
    pub cut_off: bool,
    /// The latest trouble with etcd, while it lasts.
    pub trouble: Option<Box<str>>,
    /// Slots that this process owns, and those of them whose channels it holds.
    pub owned: u64,
    /// See [`Self::owned`].
    pub served: u64,
    /// Slots without an owner.
    pub vacant: u64,
    /// Changes of owners and epochs that it has seen.
    pub slot_changes: u64,
    /// For how much longer it may admit if nobody answers any more.
    pub valid_ms: u64,
    /// Seconds that etcd took for the last keepalive that it answered.
    pub etcd_seconds: f64,
    /// Bytes of its database that are in use, and its quota; 0 while they are not known.
    pub etcd_fill: (u64, u64),
    /// Messages to and from other nodes, in the order of [`MESSAGES`].
    pub messages: [u64; MESSAGES.len()],
    /// Connections to the port for those that were refused.
    pub refused: u64,
    /// The nodes, this one first.
    pub nodes: Vec<NodeView>,
}

/// A node of the cluster, as this one knows it.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its address, by the roster.
    pub address: Option<Box<str>>,
    /// All ports there, one for each shard.
    pub ports: Vec<u16>,
    /// The roster has it here.
    pub is_here: bool,
    /// Its registration is in etcd, and counts.
    pub is_registered: bool,
    /// Why its registration does not count, if it has one that does not.
    pub stranger: Option<String>,
    /// It answered lately.
    pub is_heard: bool,
    /// The slots that it owns.
    pub slots: u64,
    /// The newest of their epochs.
    pub newest_epoch: u64,
}

impl ClusterView {
    fn json(&self) -> Value {
        let node = |node: &NodeView| {
            value!({
                "name": node.name,
                "address": node.address,
                "ports": node.ports,
                "here": node.is_here,
                "registered": node.is_registered,
                "stranger": node.stranger,
                "answers": node.is_heard,
                "slots": node.slots,
                "newest_epoch": node.newest_epoch,
            })
        };
        value!({
            "cluster": self.cluster,
            "node": self.node,
            "standing": self.standing,
            "etcd": if self.has_etcd { "up" } else { "down" },
            "other_history": self.other_history,
            "cut_off": self.cut_off,
            "trouble": self.trouble,
            "owned": self.owned,
            "served": self.served,
            "vacant": self.vacant,
            "slot_changes": self.slot_changes,
            "valid_ms": self.valid_ms,
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }

    /// The number of nodes that belong to the cluster and are expected to run.
    pub(crate) fn members(&self) -> u64 {
        self.nodes.iter().filter(|node| node.is_here).count() as u64
    }
}

/// The pages.
pub(crate) fn routes(page: Option<ClusterPage>) -> Router {
    Router::new()
        .route("/cluster", get(cluster))
        .route("/cluster/rebalance", post(rebalance))
        .with_state(page)
}

async fn cluster(State(page): State<Option<ClusterPage>>) -> Answer {
    let ClusterPage { look, .. } = page.ok_or(NONE)?;
    let view = tokio::task::spawn_blocking(move || look()).await;
    Ok(Json(view.ok().flatten().ok_or(NODE_SILENT)?.json()))
}

/// `POST /cluster/rebalance`: begins; `/cluster` shows how far it is.
async fn rebalance(State(page): State<Option<ClusterPage>>) -> Answer {
    let ClusterPage { rebalance, .. } = page.ok_or(NONE)?;
    if !rebalance() {
        return Err(NODE_SILENT);
    }
    Ok(Json(value!({ "rebalancing": true })))
}

const NONE: Fault = Fault::new(
    StatusCode::NOT_FOUND,
    "this node follows no etcd, so it has no cluster to show",
);
const NODE_SILENT: Fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the node does not answer");
