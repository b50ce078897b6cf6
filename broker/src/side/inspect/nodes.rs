//! Pages over all nodes that follow etcd: each node answers for its own channels, and the one that is asked puts the
//! answers together. `scope=node` asks one node alone, and so do nodes each other.

use crate::side::channels::disconnect;
use crate::side::channels::pages as channels;
use crate::side::channels::pages::{Fault, parameter};
use crate::side::pages::{Admin, error, json};
use crate::side::trace::page as trace;
use axum::http::StatusCode;
use axum::response::Response;
use broker_core::id::Identity;
use codec::http::decode;
use serde_json::{Value, json as value};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// What this node asks the others, and what it is asked.
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

/// What an operator posts to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The body.
    pub body: String,
    /// Where the operator is, for the log.
    pub remote: SocketAddr,
}

/// What the other nodes have at a path.
#[derive(Debug, Default)]
pub struct NodeReplies {
    /// Of those that replied in time.
    pub replies: Vec<NodeReply>,
    /// The others.
    pub missing: Vec<String>,
}

/// What a node has at a path.
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
    /// What is posted to it, unless it is read.
    pub posted: Option<Posted>,
    /// Takes status and document.
    pub reply: TakeReply,
}

impl Admin {
    /// This node's name, where several nodes have channels.
    pub(in crate::side) fn node(&self) -> Option<&str> {
        self.nodes.as_ref().map(|nodes| &*nodes.own)
    }

    /// The nodes, if all are to answer.
    ///
    /// # Errors
    /// The query has another scope than there is.
    pub(in crate::side) fn scope(&self, query: &str) -> Result<Option<&NodePages>, Fault> {
        match parameter(query, "scope")?.as_deref() {
            None | Some("cluster") => Ok(self.nodes.as_ref()),
            Some("node") => Ok(None),
            Some(_) => Err((StatusCode::BAD_REQUEST, "scope: allowed node, or cluster")),
        }
    }
}

impl NodePages {
    /// What the other nodes have at a path.
    pub(in crate::side) async fn ask(&self, path: &str, query: &str) -> Result<NodeReplies, Fault> {
        // The first of a name counts.
        let replies = (self.ask)(format!("{path}?scope=node&{query}")).await;
        replies.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, BUSY))
    }

    /// Posts to the node that serves a channel, once: its answer.
    ///
    /// # Errors
    /// It does not answer, so nobody knows whether it was carried out.
    pub(in crate::side) async fn post(
        &self,
        owner: &str,
        path: String,
        posted: Posted,
    ) -> Result<(StatusCode, Value), Fault> {
        let replies = (self.post)(owner, path, posted).await;
        let replies = replies.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, BUSY))?;
        let reply = replies.replies.into_iter().next();
        let NodeReply { status, body, .. } =
            reply.ok_or((StatusCode::SERVICE_UNAVAILABLE, NO_REPLY))?;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        Ok((status, body))
    }
}

/// The document of a channel: this node's, or that of the node that has it.
pub(in crate::side) async fn found(
    admin: &Admin,
    (path, query): (&str, &str),
    own: Result<Value, Fault>,
) -> Result<Value, Fault> {
    let (Err((StatusCode::NOT_FOUND, _)), Some(nodes)) = (&own, admin.scope(query)?) else {
        return own;
    };
    let NodeReplies { replies, missing } = nodes.ask(path, query).await?;
    let mut failed = !missing.is_empty();
    for NodeReply { status, body, .. } in replies {
        match status {
            200 => return Ok(body),
            404 => {}
            _ => failed = true,
        }
    }
    if failed {
        return Err((StatusCode::SERVICE_UNAVAILABLE, NOT_ALL));
    }
    own
}

pub(in crate::side) fn respond(document: Result<Value, Fault>) -> Response {
    match document {
        Ok(document) => json(StatusCode::OK, &document),
        Err((code, text)) => error(code, text),
    }
}

/// Answers other nodes, one after the other, for as long as the process runs.
pub(in crate::side) async fn answer_nodes(admin: Admin) {
    let Some(nodes) = admin.nodes.clone() else {
        return;
    };
    let mut asked = nodes.asked.lock().await;
    while let Some(asked) = asked.recv().await {
        let AskedPath {
            path,
            posted,
            reply,
        } = asked;
        let answer = match posted {
            None => own(&admin, &path).await,
            Some(posted) => own_post(&admin, &nodes, &path, &posted).await,
        };
        match answer {
            Ok(document) => reply(StatusCode::OK.as_u16(), &document),
            Err((code, text)) => reply(code.as_u16(), &value!({ "error": text })),
        }
    }
}

/// What this node answers to what is posted to a path of its channels.
async fn own_post(
    admin: &Admin,
    nodes: &NodePages,
    path: &str,
    posted: &Posted,
) -> Result<Value, Fault> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let name = path.strip_prefix("/channels/");
    let name = name.and_then(|rest| rest.strip_suffix("/disconnect"));
    let name = name.ok_or(NO_SUCH_PAGE)?;
    let name = decode(name).map_err(|_| NO_SUCH_PAGE)?;
    let channel = admin.identity(&name, query)?;
    disconnect::by_owner(admin, nodes, &channel, posted).await
}

/// What this node has at a path.
async fn own(admin: &Admin, path: &str) -> Result<Value, Fault> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.split('/').skip(1);
    let (place, name, page) = (parts.next(), parts.next(), parts.next());
    if place != Some("channels") || parts.next().is_some() {
        return Err(NO_SUCH_PAGE);
    }
    let name = name.map(decode).transpose().map_err(|_| NO_SUCH_PAGE)?;
    match (name, page) {
        (None, _) => channels::own_page(admin, query).await,
        (Some(name), None) => channels::own_document(admin, &admin.identity(&name, query)?).await,
        (Some(name), Some("trace")) => trace::own_trace(admin, &name, query).await,
        (Some(_), Some(_)) => Err(NO_SUCH_PAGE),
    }
}

const BUSY: &str = "too much is asked of the other nodes: scope=node asks this one alone";
const NO_REPLY: &str = "the node that has the channel does not answer, so nobody knows whether it has closed \
                        connections: see /channels/NAME and /cluster, then try again";
const NOT_ALL: &str = "not on the nodes that answer, and not all do: see /cluster";
const NO_SUCH_PAGE: Fault = (
    StatusCode::NOT_FOUND,
    "this node has no such page for others",
);
