//! Requests between nodes that follow etcd: each node answers for its own channels, and the one that is asked puts the
//! answers together. `scope=node` asks one node alone, and so do nodes each other.

use crate::side::admin::answer::Fault;
use axum::http::StatusCode;
use broker_core::id::Identity;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// The requests of this node to the others, and of the others to it.
#[derive(Clone)]
pub struct NodePages {
    /// This node's name.
    pub own: Arc<str>,
    /// Asks the other nodes that have channels what they have at a path. Nothing comes when too much is asked.
    pub ask: Arc<dyn Fn(String) -> oneshot::Receiver<NodeReplies> + Send + Sync>,
    /// The node that serves a channel, as far as this one knows; none while its slot has no owner.
    pub owner: Arc<FindOwner>,
    /// Posts to a path of one other node, once: whether that was carried out is unknown if it does not reply. Nothing
    /// comes when too much is asked.
    pub post: Arc<Post>,
    /// Paths that other nodes ask for.
    pub asked: Arc<Mutex<mpsc::Receiver<AskedPath>>>,
}

/// The name of the node that serves a channel.
pub type FindOwner = dyn Fn(&Identity) -> Option<Box<str>> + Send + Sync;

/// Takes the name of a node, a path, and what is posted to it.
pub type Post = dyn Fn(&str, String, Posted) -> oneshot::Receiver<NodeReplies> + Send + Sync;

/// A request by which an operator posts to a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The body.
    pub body: String,
    /// The operator's address, for the log.
    pub remote: SocketAddr,
}

/// The other nodes' replies to a request for a path.
#[derive(Debug, Default)]
pub struct NodeReplies {
    /// Of those that replied in time.
    pub replies: Vec<NodeReply>,
    /// The others.
    pub missing: Vec<String>,
}

/// A node's reply to a request for a path.
#[derive(Debug)]
pub struct NodeReply {
    /// Its name.
    pub node: String,
    /// The status of its answer.
    pub status: u16,
    /// The document.
    pub body: Value,
}

/// Takes status and document of an answer, once.
pub type TakeReply = Box<dyn FnOnce(u16, &Value) + Send>;

/// A path that another node asks for.
pub struct AskedPath {
    /// The path with its query.
    pub path: String,
    /// The request that is posted to it; `None` when it is read.
    pub posted: Option<Posted>,
    /// Takes status and document.
    pub reply: TakeReply,
}

impl NodePages {
    /// Asks the other nodes for a path.
    pub(crate) async fn ask(&self, path: &str, query: &str) -> Result<NodeReplies, Fault> {
        // The first of a name counts.
        let replies = (self.ask)(format!("{path}?scope=node&{query}")).await;
        replies.map_err(|_| BUSY)
    }

    /// Posts to the node that serves a channel, once: its answer.
    ///
    /// # Errors
    /// It does not answer, so nobody knows whether it was carried out.
    pub(crate) async fn post(
        &self,
        owner: &str,
        path: String,
        posted: Posted,
    ) -> Result<(StatusCode, Value), Fault> {
        let replies = (self.post)(owner, path, posted).await;
        let reply = replies.map_err(|_| BUSY)?.replies.into_iter().next();
        let NodeReply { status, body, .. } = reply.ok_or(NO_REPLY)?;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        Ok((status, body))
    }
}

const BUSY: Fault = Fault::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "too much is asked of the other nodes: scope=node asks this one alone",
);
const NO_REPLY: Fault = Fault::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "the node that has the channel does not answer, so nobody knows whether it has closed connections: see \
     /channels/NAME and /cluster, then try again",
);
