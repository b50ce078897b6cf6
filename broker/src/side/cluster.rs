//! `GET /cluster` and the metrics of a cluster with etcd, which show this node and its view of the other nodes. Also
//! checks that all nodes have the same credentials files.

use crate::side::admin::http::{Answer, Fault};
use crate::side::inspector::{NodePages, NodeReplies, NodeReply};
use crate::side::{shared_state::Shared, try_sessions::InForce};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use broker_core::cluster::link::PeerLinks;
use data_encoding::HEXLOWER;
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Asks the node for its view of the cluster, waiting up to a second. Returns `None` if the node has stopped or hangs.
pub type LookAtCluster = Arc<dyn Fn() -> Option<ClusterView> + Send + Sync>;

/// Callbacks for operator requests about the cluster.
#[derive(Clone)]
pub struct ClusterPage {
    /// Reads the node's view of the cluster.
    pub look: LookAtCluster,
    /// Moves slots to other nodes if this node has more than its equal share. Returns `false` if the node has stopped
    /// or its queue is full.
    pub rebalance: Arc<dyn Fn() -> bool + Send + Sync>,
}

pub(crate) const MESSAGES: [&str; 3] = ["sent", "received", "lost"];

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// The name of the cluster.
    pub cluster: String,
    /// The name of this node.
    pub node: String,
    /// The reason why the node serves channels, or why it does not.
    pub standing: &'static str,
    /// Whether etcd has answered recently.
    pub has_etcd: bool,
    /// Whether etcd's data has a different history than this node expects, for example after a restore.
    pub other_history: bool,
    /// Whether this node cannot reach any of the other registered nodes. If so, it does not claim any of their slots.
    pub cut_off: bool,
    /// The current problem with etcd, if there is one.
    pub trouble: Option<Box<str>>,
    /// The number of slots that this process owns.
    pub owned: u64,
    /// The number of owned slots whose channels this process has loaded.
    pub served: u64,
    /// The owner of each slot, as an index into `nodes`. `None` if the slot has no owner.
    pub slot_owners: Vec<Option<usize>>,
    /// The number of slots that have no owner.
    pub vacant: u64,
    /// The number of owner and epoch changes that the node has observed.
    pub slot_changes: u64,
    /// How long, in milliseconds, the node may continue to admit clients if etcd stops answering.
    pub valid_ms: u64,
    /// Round-trip time of the last keepalive that etcd answered, in seconds.
    pub etcd_seconds: f64,
    /// The size of etcd's database and its quota, in bytes. Both are 0 until known.
    pub etcd_fill: (u64, u64),
    /// The numbers of messages exchanged with other nodes, in the order of [`MESSAGES`].
    pub messages: [u64; MESSAGES.len()],
    /// The number of refused connections on the inter-node port.
    pub refused: u64,
    /// All nodes, starting with this one.
    pub nodes: Vec<NodeView>,
}

/// A node of the cluster, as this node sees it.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// The name of the node.
    pub name: String,
    /// The node's address in the roster.
    pub address: Option<Box<str>>,
    /// The node's ports, one per shard.
    pub ports: Vec<u16>,
    /// Whether the roster lists the node as a member that should be running. `false` after the node has been drained or
    /// removed.
    pub is_here: bool,
    /// Whether the node has a valid registration in etcd.
    pub is_registered: bool,
    /// The reason why the node's registration is invalid, or `None` if it is valid.
    pub stranger: Option<String>,
    /// The version of the node's program. If the node is not registered, this field and the next three are empty or
    /// zero.
    pub version: Box<str>,
    /// The commit from which the node's program was built.
    pub commit: Box<str>,
    /// The node's inner version, which is its version of the inter-node protocol.
    pub inner_version: u32,
    /// The time at which the node's process started, in seconds since 1970.
    pub started: u64,
    /// Whether this node receives messages from the other one.
    pub is_heard: bool,
    /// The number of slots that the node owns.
    pub slots: u64,
    /// The highest epoch of any slot that the node owns.
    pub newest_epoch: u64,
    /// The links between this node and the other one.
    pub links: PeerLinks,
}

impl ClusterView {
    /// Returns the other members of the cluster from which this node receives no messages.
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

/// `POST /cluster/rebalance`: starts rebalancing. `/cluster` shows the progress.
async fn rebalance(State(page): State<Option<ClusterPage>>) -> Answer {
    let ClusterPage { rebalance, .. } = page.ok_or(NONE)?;
    if !rebalance() {
        return Err(NODE_SILENT);
    }
    Ok(Json(value!({ "rebalancing": true })))
}

const NONE: Fault = Fault::not_found("this node follows no etcd, so it has no cluster to show");
const NODE_SILENT: Fault = Fault::unavailable("the node does not answer");

// Compares the nodes' credentials files. A node with an outdated file still admits principals that have been removed.

/// The credentials files of this node, and the nodes whose files differ from them. Clones share this state.
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

    /// Returns the SHA-256 of this node's credentials files in hexadecimal, or `None` if requests need not be signed.
    pub(crate) fn own(&self) -> Option<String> {
        let files = self.in_force.as_ref()?.borrow().files()?;
        Some(HEXLOWER.encode(&files))
    }

    /// Formats the SHA-256 of this node's credentials files and the nodes whose files differ. Returns `None` if
    /// requests need not be signed.
    pub(crate) fn json(&self) -> Option<Value> {
        let differing = self.differing.lock();
        let differ = differing.0.iter().map(|(node, it)| {
            let elapsed = it.since.elapsed();
            let (seconds, is_late) = (elapsed.as_secs(), elapsed >= LATE);
            value!({ "node": node, "sha256": it.sha256, "seconds": seconds, "late": is_late })
        });
        Some(value!({ "sha256": self.own()?, "differ": differ.collect::<Vec<_>>() }))
    }

    /// Returns the nodes whose credentials files differ from this node's, each with the number of seconds since the
    /// difference was first seen. Includes this node, with 0 seconds. Without a cluster, this node's name is empty.
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
            // Too many requests to other nodes are in progress. The next poll tries again.
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
    /// Processes the other nodes' replies. Returns the nodes whose files have now differed for [`LATE`], each of them
    /// only once. Nodes that do not reply are ignored.
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

/// How long files must differ before the difference is reported. Normally, all nodes reload their files within seconds.
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
