//! `GET /cluster`, and the figures of the cluster among the metrics: what this node knows of itself and of the others,
//! where the nodes agree in etcd on who owns what; and whether all have the same credentials files.

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
    /// The owner of each slot, as an index of `nodes`.
    pub slot_owners: Vec<Option<usize>>,
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
    /// Version of its program; empty unless it is registered, as are the following then.
    pub version: Box<str>,
    /// Commit of its program.
    pub commit: Box<str>,
    /// Version of what its program exchanges with other nodes.
    pub inner_version: u32,
    /// Start of its process, in seconds since 1970.
    pub started: u64,
    /// It answered lately.
    pub is_heard: bool,
    /// The slots that it owns.
    pub slots: u64,
    /// The newest of their epochs.
    pub newest_epoch: u64,
    /// This node's links with it.
    pub links: PeerLinks,
}

impl ClusterView {
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

// Whether the nodes of a cluster have the same credentials files. A node that was forgotten when they changed still
// lets in anyone who was removed, by way of itself.

/// This node's credentials files, and the other nodes whose files differ. A clone is another way to the same.
#[derive(Clone)]
pub(crate) struct Agreement {
    in_force: Option<InForce>,
    nodes: Option<NodePages>,
    differing: Shared<Differing>,
}

/// The other nodes whose files differ, by name.
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

    /// The credentials in force; `None` where no signature is asked for.
    pub(crate) fn credentials(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// The SHA-256 of this node's files as hexadecimal digits; `None` where no signature is asked for.
    fn own(&self) -> Option<String> {
        let files = self.in_force.as_ref()?.borrow().files()?;
        Some(HEXLOWER.encode(&files))
    }

    /// This node's part, for other nodes.
    pub(crate) fn own_json(&self) -> Value {
        value!({ "sha256": self.own() })
    }

    /// This node's files, and the nodes with other ones; `None` where no signature is asked for.
    pub(crate) fn json(&self) -> Option<Value> {
        let differing = self.differing.lock();
        let differ = differing.0.iter().map(|(node, it)| {
            let elapsed = it.since.elapsed();
            let (seconds, is_late) = (elapsed.as_secs(), elapsed >= LATE);
            value!({ "node": node, "sha256": it.sha256, "seconds": seconds, "late": is_late })
        });
        Some(value!({ "sha256": self.own()?, "differ": differ.collect::<Vec<_>>() }))
    }

    /// For how many seconds the files of each node have differed: 0 of this one, whose name is empty outside of a
    /// cluster, and nothing of others that have the same.
    pub(crate) fn seconds(&self) -> Vec<(String, u64)> {
        let own = self.nodes.as_ref().map_or("", |nodes| &nodes.own);
        let differing = self.differing.lock();
        let others = differing.0.iter();
        let others = others.map(|(node, it)| (node.clone(), it.since.elapsed().as_secs()));
        std::iter::once((own.into(), 0)).chain(others).collect()
    }

    /// Asks the other nodes again and again, for as long as the process runs.
    pub(crate) async fn follow(self) {
        let Some(nodes) = self.nodes.clone().filter(|_| self.in_force.is_some()) else {
            return;
        };
        loop {
            sleep(LOOK_EVERY).await;
            // Too much is asked of the other nodes: the next look finds room.
            let Ok(replies) = nodes.ask(PATH, "").await else {
                continue;
            };
            let Some(own) = self.own() else { continue };
            let late = self.differing.lock().take(&own, replies, Instant::now());
            if !late.is_empty() {
                tracing::warn!(
                    nodes = late.join(" "),
                    "credentials files of other nodes differ from this one's for more than a minute: anyone who was \
                     removed from one still gets in by way of the others; copy the files of one node to all"
                );
            }
        }
    }
}

impl Differing {
    /// Takes the replies of the other nodes. Gives those whose files have differed for [`LATE`], each once. A node that
    /// does not answer is not judged.
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

/// The path that other nodes are asked for.
pub(crate) const PATH: &str = "/credentials";

/// Time between two looks at the other nodes.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Files that differ for as long as this were forgotten: nodes read theirs within seconds of one another.
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
