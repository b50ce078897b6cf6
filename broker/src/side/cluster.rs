//! `GET /cluster` and the metrics of a cluster with etcd: this node's view of itself and the other nodes. Also compares
//! the credentials files of all nodes.

use crate::side::admin::http::{Answer, Fault};
use crate::side::inspector::{NodePages, NodeReplies, NodeReply};
use crate::side::{shared_state::Shared, try_sessions::InForce};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use broker_core::cluster::link::PeerLinks;
use data_encoding::HEXLOWER;
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Queries the node for its view of the cluster, for at most a second. Returns `None` if the node has ended or hangs.
pub type LookAtCluster = Arc<dyn Fn() -> Option<ClusterView> + Send + Sync>;

/// Callbacks for operators' requests about the cluster.
#[derive(Clone)]
pub struct ClusterPage {
    /// Reads the node's view of the cluster.
    pub look: LookAtCluster,
    /// Moves slots in excess of this node's equal share to other nodes. Returns `false` if the node has ended or its
    /// queue is full.
    pub rebalance: Arc<dyn Fn() -> bool + Send + Sync>,
}

pub(crate) const MESSAGES: [&str; 3] = ["sent", "received", "lost"];

/// Cluster as one node sees it.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of this node.
    pub node: String,
    /// Reason why the node does or does not serve channels.
    pub standing: &'static str,
    /// Whether etcd has answered recently.
    pub has_etcd: bool,
    /// Whether the data in etcd belongs to another history than the known one.
    pub other_history: bool,
    /// Whether other nodes are registered and none of them answers. This node then claims none of their slots.
    pub cut_off: bool,
    /// Current problem with etcd, if any.
    pub trouble: Option<Box<str>>,
    /// Number of slots that this process owns.
    pub owned: u64,
    /// Number of owned slots whose channels this process has loaded.
    pub served: u64,
    /// Owner of each slot, as an index into `nodes`; `None` if the slot has no owner.
    pub slot_owners: Vec<Option<usize>>,
    /// Number of slots without an owner.
    pub vacant: u64,
    /// Number of owner and epoch changes that the node has observed.
    pub slot_changes: u64,
    /// Time in milliseconds for which the node may admit clients without a further answer of etcd.
    pub valid_ms: u64,
    /// Round-trip time of the last keepalive that etcd answered, in seconds.
    pub etcd_seconds: f64,
    /// Used size of etcd's database and its quota, in bytes; 0 until known.
    pub etcd_fill: (u64, u64),
    /// Messages to and from other nodes, in the order of [`MESSAGES`].
    pub messages: [u64; MESSAGES.len()],
    /// Number of refused connections on the inter-node port.
    pub refused: u64,
    /// All nodes, this one first.
    pub nodes: Vec<NodeView>,
}

/// Node of the cluster, as this node sees it.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Name of the node.
    pub name: String,
    /// Address of the node in the roster.
    pub address: Option<Box<str>>,
    /// Ports of the node, one per shard.
    pub ports: Vec<u16>,
    /// Whether the roster expects the node to run: the node was neither drained nor removed.
    pub is_here: bool,
    /// Whether the node has a valid registration in etcd.
    pub is_registered: bool,
    /// Reason why the node's registration is invalid, if it is.
    pub stranger: Option<String>,
    /// Program version of the node. Like the following fields, empty unless the node is registered.
    pub version: Box<str>,
    /// Commit from which the node's program was built.
    pub commit: Box<str>,
    /// Inner version of the node.
    pub inner_version: u32,
    /// Start time of the node's process, in seconds since 1970.
    pub started: u64,
    /// Whether this node hears from the node.
    pub is_heard: bool,
    /// Number of slots that the node owns.
    pub slots: u64,
    /// Newest epoch of the node's slots.
    pub newest_epoch: u64,
    /// Links from this node to the node.
    pub links: PeerLinks,
}

impl ClusterView {
    /// Returns the other members that this node does not hear from.
    pub(crate) fn silent(&self) -> impl Iterator<Item = &NodeView> {
        let others = self.nodes.iter().filter(|it| it.name != self.node);
        others.filter(|it| it.is_here && !it.is_heard)
    }

    fn json(&self) -> Value {
        let node = |node: &NodeView| {
            let is_known = !node.version.is_empty();
            value!({
                "name": node.name,
                "address": node.address,
                "ports": node.ports,
                "here": node.is_here,
                "registered": node.is_registered,
                "stranger": node.stranger,
                "answers": node.is_heard,
                "version": is_known.then_some(&node.version),
                "commit": is_known.then_some(&node.commit),
                "inner_version": is_known.then_some(node.inner_version),
                "started": is_known.then_some(node.started),
                "slots": node.slots,
                "newest_epoch": node.newest_epoch,
                "links": { "to": node.links.to, "from": node.links.from },
            })
        };
        let [sent, received, lost] = self.messages;
        let (used, quota) = self.etcd_fill;
        value!({
            "cluster": self.cluster,
            "node": self.node,
            "standing": self.standing,
            "etcd": if self.has_etcd { "up" } else { "down" },
            "etcd_seconds": self.etcd_seconds,
            "etcd_bytes": { "used": used, "quota": quota },
            "other_history": self.other_history,
            "cut_off": self.cut_off,
            "trouble": self.trouble,
            "owned": self.owned,
            "served": self.served,
            "vacant": self.vacant,
            "slot_owners": self.slot_owners,
            "slot_changes": self.slot_changes,
            "valid_ms": self.valid_ms,
            "messages": { "sent": sent, "received": received, "lost": lost },
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn members(&self) -> u64 {
        self.nodes.iter().filter(|node| node.is_here).count() as u64
    }
}

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

/// `POST /cluster/rebalance`: starts to rebalance; `/cluster` shows the progress.
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

// Comparison of the nodes' credentials files. A node with an outdated file still admits removed principals.

/// Credentials files of this node, and the nodes whose files differ. Clones share them.
#[derive(Clone)]
pub(crate) struct Agreement {
    in_force: Option<InForce>,
    nodes: Option<NodePages>,
    differing: Shared<Differing>,
}

#[derive(Debug, Default)]
struct Differing(BTreeMap<String, Differs>);

#[derive(Debug)]
struct Differs {
    sha256: String,
    since: Instant,
    is_told: bool,
}

impl Agreement {
    pub(crate) fn new(in_force: Option<InForce>, nodes: Option<NodePages>) -> Self {
        Self {
            in_force,
            nodes,
            differing: Shared::default(),
        }
    }

    pub(crate) fn credentials(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// Returns the SHA-256 of this node's credentials files in hexadecimal; `None` if signatures are not required.
    fn own(&self) -> Option<String> {
        let files = self.in_force.as_ref()?.borrow().files()?;
        Some(HEXLOWER.encode(&files))
    }

    /// Returns the document for other nodes: the SHA-256 of this node's credentials files.
    pub(crate) fn own_json(&self) -> Value {
        value!({ "sha256": self.own() })
    }

    /// Formats the SHA-256 of this node's credentials files, and the nodes whose files differ; `None` if signatures are
    /// not required.
    pub(crate) fn json(&self) -> Option<Value> {
        let differing = self.differing.lock();
        let differ = differing.0.iter().map(|(node, it)| {
            let elapsed = it.since.elapsed();
            let (seconds, is_late) = (elapsed.as_secs(), elapsed >= LATE);
            value!({ "node": node, "sha256": it.sha256, "seconds": seconds, "late": is_late })
        });
        Some(value!({ "sha256": self.own()?, "differ": differ.collect::<Vec<_>>() }))
    }

    /// Returns the seconds for which each node's files have differed. This node, with an empty name outside a cluster,
    /// is included with 0. Nodes with identical files are omitted.
    pub(crate) fn seconds(&self) -> Vec<(String, u64)> {
        let own = self.nodes.as_ref().map_or("", |nodes| &nodes.own);
        let differing = self.differing.lock();
        let others = differing.0.iter();
        let others = others.map(|(node, it)| (node.clone(), it.since.elapsed().as_secs()));
        std::iter::once((own.into(), 0)).chain(others).collect()
    }

    /// Polls the other nodes for the lifetime of the process.
    pub(crate) async fn follow(self) {
        let Some(nodes) = self.nodes.clone().filter(|_| self.in_force.is_some()) else {
            return;
        };
        loop {
            sleep(LOOK_EVERY).await;
            // The limit of inquiries is reached; the next poll tries again.
            let Ok(replies) = nodes.ask(PATH, "").await else {
                continue;
            };
            let Some(own) = self.own() else { continue };
            let late = self.differing.lock().take(&own, replies, Instant::now());
            if !late.is_empty() {
                tracing::warn!(
                    nodes = late.join(" "),
                    "credentials files of other nodes differ from this one's for more than a minute: callers that \
                     were removed from one are still accepted by the others; copy the files of one node to all"
                );
            }
        }
    }
}

impl Differing {
    /// Processes the replies of other nodes. Returns the nodes whose files have differed for [`LATE`], each of them
    /// once. Nodes that do not answer are ignored.
    fn take(&mut self, own: &str, replies: NodeReplies, now: Instant) -> Vec<String> {
        let mut known = std::mem::take(&mut self.0);
        for NodeReply { node, status, body } in replies.replies {
            let sha256 = body["sha256"].as_str().filter(|it| it.len() == own.len());
            let Some(sha256) = sha256.filter(|it| status == 200 && *it != own) else {
                continue;
            };
            let former = known.remove(&node);
            let differs = Differs {
                sha256: sha256.into(),
                since: former.as_ref().map_or(now, |it| it.since),
                is_told: former.is_some_and(|it| it.is_told),
            };
            self.0.insert(node, differs);
        }
        let mut late = Vec::new();
        for (node, it) in &mut self.0 {
            if !it.is_told && now.duration_since(it.since) >= LATE {
                it.is_told = true;
                late.push(node.clone());
            }
        }
        late
    }
}

pub(crate) const PATH: &str = "/credentials";

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Time after which differing files are reported. Nodes normally reload their files within seconds of each other.
const LATE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod agreement_tests {
    use super::*;

    fn replies(of: &[(&str, u16, &str)]) -> NodeReplies {
        let reply = |(node, status, sha256): &(&str, u16, &str)| NodeReply {
            node: (*node).into(),
            status: *status,
            body: value!({ "sha256": sha256 }),
        };
        NodeReplies {
            replies: of.iter().map(reply).collect(),
            missing: Vec::new(),
        }
    }

    #[test]
    fn a_node_that_differs_for_a_minute_is_told_of_once() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut differing = Differing::default();
        let mut look = |of: &[(&str, u16, &str)], at| differing.take("aa", replies(of), after(at));
        assert!(look(&[("n2", 200, "bb"), ("n3", 200, "aa")], 0).is_empty());
        assert!(look(&[("n2", 200, "cc"), ("n3", 404, "bb")], 59).is_empty());
        assert_eq!(look(&[("n2", 200, "cc"), ("n3", 200, "bb")], 60), ["n2"]);
        assert!(look(&[("n2", 200, "cc")], 70).is_empty(), "once");
        assert!(look(&[("n2", 200, "aa")], 80).is_empty());
        assert!(look(&[("n2", 200, "bb")], 90).is_empty(), "another time");
        assert_eq!(look(&[("n2", 200, "bb")], 150), ["n2"]);
    }

    #[test]
    fn nodes_without_an_answer_are_not_judged() {
        let mut differing = Differing::default();
        let now = Instant::now();
        differing.take("aa", replies(&[("n2", 200, "bb")]), now);
        assert_eq!(differing.0.len(), 1);
        let others = [("n2", 404, "bb"), ("n3", 200, "long"), ("n4", 503, "bb")];
        differing.take("aa", replies(&others), now);
        assert!(differing.0.is_empty());
    }
}
