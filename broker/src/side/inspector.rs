//! The inspector, which sends queries for the channel pages to the shards and to other nodes.

use crate::side::admin::http::{Fault, parameter};
use axum::http::StatusCode;
use broker_core::id::{Identity, ShardId};
use broker_core::settings::Settings;
use broker_core::shard::{Question, Reply};
use codec::identifiers::ChannelName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// Queries shards and other nodes, and resolves channel names. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Inspector {
    pub(crate) shards: Shards,
    pub(crate) nodes: Option<NodePages>,
    region: Arc<str>,
    account: Arc<str>,
    /// Idle time after which a client is pinged, in milliseconds. 0 disables pings.
    pub(crate) ping_ms: u64,
}

impl Inspector {
    pub(crate) fn new(shards: Shards, nodes: Option<NodePages>, settings: &Settings) -> Self {
        Self {
            shards,
            nodes,
            region: settings.region.as_str().into(),
            account: settings.account_id.as_str().into(),
            ping_ms: settings.timeouts.ping_ms,
        }
    }

    /// Resolves a channel's name, in the configured region and account unless `query` specifies others. The name may
    /// have the prefix `name:`, which browsers need for the names `.` and `..`, since these have a special meaning in
    /// paths.
    pub(crate) fn identity(&self, name: &str, query: &str) -> Result<Identity, Fault> {
        let name = name.strip_prefix("name:").unwrap_or(name);
        if ChannelName::parse(name).is_err() {
            return Err(Fault::bad(
                "a channel's name is 1 to 256 characters of [a-zA-Z0-9_.-]",
            ));
        }
        let region = parameter(query, "region")?;
        let account = parameter(query, "account")?;
        Ok(Identity::new(
            region.as_deref().unwrap_or(&self.region),
            account.as_deref().unwrap_or(&self.account),
            name,
        ))
    }

    pub(crate) fn own(&self, name: &str) -> Identity {
        Identity::new(&self.region, &self.account, name)
    }

    pub(crate) fn node(&self) -> Option<&str> {
        self.nodes.as_ref().map(|nodes| &*nodes.own)
    }

    /// Returns the other nodes if the query is meant for the whole cluster. Fails if the scope is unknown.
    pub(crate) fn scope(&self, query: &str) -> Result<Option<&NodePages>, Fault> {
        match parameter(query, "scope")?.as_deref() {
            None | Some("cluster") => Ok(self.nodes.as_ref()),
            Some("node") => Ok(None),
            Some(_) => Err(Fault::bad("scope: expected node, or cluster")),
        }
    }

    /// Adds the other nodes' entries to the member `list` of the document, and sorts that list from newest to oldest.
    /// Does nothing unless the query is meant for all nodes and asks for the first page.
    pub(crate) async fn newest(
        &self,
        path: &str,
        query: &str,
        document: &mut Value,
        list: &str,
        sums: &[&str],
    ) -> Result<(), Fault> {
        let nodes = self.scope(query)?;
        let Some(nodes) = nodes.filter(|_| !matches!(parameter(query, "before"), Ok(Some(_))))
        else {
            return Ok(());
        };
        nodes.join(path, query, document, &[list], sums).await?;
        if let Some(entries) = document[list].as_array_mut() {
            let at = |entry: &Value| {
                let at = entry["last"].as_str().or_else(|| entry["at"].as_str());
                at.map(str::to_owned)
            };
            entries.sort_by_cached_key(|entry| Reverse(at(entry)));
        }
        Ok(())
    }

    /// Returns this node's document about a channel or, if there is none, the document from the node that serves the
    /// channel.
    pub(crate) async fn found(
        &self,
        (path, query): (&str, &str),
        own: Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        let (Err(Fault(StatusCode::NOT_FOUND, _)), Some(nodes)) = (&own, self.scope(query)?) else {
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
            return Err(NOT_ALL);
        }
        own
    }
}

fn named(list: Value, node: &str) -> Vec<Value> {
    let mut entries: Vec<Value> = serde_json::from_value(list).unwrap_or_default();
    entries
        .iter_mut()
        .for_each(|entry| name_node(entry, Some(node)));
    entries
}

pub(crate) fn name_node(document: &mut Value, node: Option<&str>) {
    if let Some(node) = node {
        document["node"] = node.into();
    }
}

const NOT_ALL: Fault = Fault::unavailable(
    "not found on the nodes that answer, but some nodes do not answer: see /cluster",
);

pub(crate) const NO_SUCH_CHANNEL: Fault =
    Fault::not_found("no such channel in this account and region: see /channels");

// Queries to the shards of this process.

/// Runs an inspector query. Returns the responses of the addressed shards in shard order, with `None` for a shard that
/// does not respond. Blocks for a limited time.
pub type Inspect = Box<dyn FnMut(&Whom, &Question) -> Vec<(ShardId, Option<Reply>)> + Send>;

/// The shards that a query addresses.
#[derive(Clone, Debug)]
pub enum Whom {
    /// All shards.
    All,
    /// The shard that owns this channel, whether or not the channel exists.
    Home(Identity),
    /// One shard.
    One(ShardId),
}

/// Queries the shards. Queries block, so they run on a separate thread. Only one query runs at a time, even across
/// clones.
#[derive(Clone)]
pub(crate) struct Shards {
    inspect: Arc<Mutex<Inspect>>,
    count: usize,
}

impl Shards {
    pub(crate) fn new(inspect: Inspect, count: usize) -> Self {
        Self {
            inspect: Arc::new(Mutex::new(inspect)),
            count,
        }
    }

    pub(crate) fn has(&self, shard: ShardId) -> bool {
        shard.index() < self.count
    }

    /// Queries every shard. Returns the responses in shard order, or `None` if any shard does not respond.
    pub(crate) async fn ask_all(&self, question: Question) -> Option<Vec<(ShardId, Reply)>> {
        let answers = self.ask(Whom::All, question).await;
        let whole = answers.into_iter();
        let whole = whole.map(|(shard, reply)| reply.map(|reply| (shard, reply)));
        whole.collect()
    }

    /// Queries the shard that owns a channel. Returns `None` if the shard does not respond.
    pub(crate) async fn ask_home(
        &self,
        channel: Identity,
        question: Question,
    ) -> Option<(ShardId, Reply)> {
        let answers = self.ask(Whom::Home(channel), question).await;
        let first = answers.into_iter().next();
        first.and_then(|(shard, reply)| reply.map(|reply| (shard, reply)))
    }

    pub(crate) async fn ask_one(&self, shard: ShardId, question: Question) -> Option<Reply> {
        let answers = self.ask(Whom::One(shard), question).await;
        answers.into_iter().next().and_then(|(_, reply)| reply)
    }

    async fn ask(&self, whom: Whom, question: Question) -> Vec<(ShardId, Option<Reply>)> {
        let mut inspect = self.inspect.clone().lock_owned().await;
        let answers = tokio::task::spawn_blocking(move || (*inspect)(&whom, &question)).await;
        answers.unwrap_or_default()
    }
}

// Requests between the nodes of a cluster with etcd. Each node answers for its own channels, and the node that received
// the operator's request merges the answers. Nodes query each other with `scope=node`, which limits an answer to the
// node that is queried.

/// Requests from this node to other nodes, and requests from other nodes to this one.
#[derive(Clone)]
pub struct NodePages {
    /// The name of this node.
    pub own: Arc<str>,
    /// Requests a path from all other nodes. If too many requests are in flight, the returned receiver is closed
    /// without a reply.
    pub ask: Arc<dyn Fn(String) -> oneshot::Receiver<NodeReplies> + Send + Sync>,
    /// Returns the members of the cluster from which this node receives no messages. Pages list them as missing.
    /// Members that have lost their slots are not even queried, so they would otherwise be overlooked.
    pub silent: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Returns the node that serves a channel, as far as this node knows, or `None` while the channel's slot has no
    /// owner.
    pub owner: Arc<FindOwner>,
    /// Posts to a path on another node, without retries. If there is no reply, the outcome is unknown. If too many
    /// requests are in flight, the returned receiver is closed without a reply.
    pub post: Arc<InspectorPost>,
    /// The queue of requests from other nodes.
    pub asked: Arc<Mutex<mpsc::Receiver<AskedPath>>>,
}

/// Returns the name of the node that serves a channel.
pub type FindOwner = dyn Fn(&Identity) -> Option<Box<str>> + Send + Sync;

/// Posts a body to a path of the node with this name.
pub type InspectorPost =
    dyn Fn(&str, String, Posted) -> oneshot::Receiver<NodeReplies> + Send + Sync;

/// A POST request made by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The request body.
    pub body: String,
    /// The address of the operator, for the log.
    pub remote: SocketAddr,
}

/// The replies of other nodes to a request for a path.
#[derive(Debug, Default)]
pub struct NodeReplies {
    /// The replies that arrived in time.
    pub replies: Vec<NodeReply>,
    /// The names of the nodes that did not reply.
    pub missing: Vec<String>,
}

impl NodeReplies {
    /// Returns each document with the name of the node that sent it, and the names of the nodes that did not send one.
    pub(crate) fn documents(self) -> (Vec<(String, Value)>, Vec<String>) {
        let (mut documents, mut missing) = (Vec::new(), self.missing);
        for NodeReply { node, status, body } in self.replies {
            match status {
                200 => documents.push((node, body)),
                _ => missing.push(node),
            }
        }
        missing.sort();
        (documents, missing)
    }
}

/// A node's reply to a request for a path.
#[derive(Debug)]
pub struct NodeReply {
    /// The name of the node.
    pub node: String,
    /// The HTTP status of the reply.
    pub status: u16,
    /// The document of the reply.
    pub body: Value,
}

/// Receives the status and the document of a reply. Called once.
pub type TakeReply = Box<dyn FnOnce(u16, &Value) + Send>;

/// A path requested by another node.
pub struct AskedPath {
    /// The requested path, with its query.
    pub path: String,
    /// The POST request, or `None` for a GET request.
    pub posted: Option<Posted>,
    /// Receives the status and the document of the reply.
    pub reply: TakeReply,
}

impl NodePages {
    pub(crate) async fn ask(&self, path: &str, query: &str) -> Result<NodeReplies, Fault> {
        // If a parameter occurs more than once, the first one is used, so `query` cannot change the scope.
        let replies = (self.ask)(format!("{path}?scope=node&{query}")).await;
        replies.map_err(|_| BUSY)
    }

    /// Requests the other nodes' documents and merges them into this node's document. Adds the node's name to each list
    /// entry, sums the counts at the given JSON pointers, and lists the nodes that did not reply. Returns the other
    /// nodes' documents.
    pub(crate) async fn join(
        &self,
        path: &str,
        query: &str,
        document: &mut Value,
        lists: &[&str],
        sums: &[&str],
    ) -> Result<Vec<(String, Value)>, Fault> {
        let (mut others, mut missing) = self.ask(path, query).await?.documents();
        let silent = Arc::clone(&self.silent);
        let silent = tokio::task::spawn_blocking(move || silent()).await;
        missing.extend(silent.unwrap_or_default());
        missing.retain(|name| others.iter().all(|(node, _)| node != name));
        missing.sort();
        missing.dedup();
        for list in lists {
            let mut all = named(document[*list].take(), &self.own);
            for (node, of_node) in &mut others {
                all.extend(named(of_node[*list].take(), node));
            }
            document[*list] = all.into();
        }
        for sum in sums {
            let count = |of: &Value| of.pointer(sum).and_then(Value::as_u64).unwrap_or_default();
            let all = count(document) + others.iter().map(|(_, of)| count(of)).sum::<u64>();
            if let Some(sum) = document.pointer_mut(sum) {
                *sum = all.into();
            }
        }
        document["missingNodes"] = missing.into();
        Ok(others)
    }

    /// Posts to the node that serves a channel, without retries, and returns its response. Fails if the node does not
    /// respond. The outcome is then unknown.
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

const BUSY: Fault = Fault::unavailable(
    "too many queries to other nodes are pending: try again, or use scope=node for this one alone",
);
const NO_REPLY: Fault = Fault::unavailable(
    "the node that has the channel does not answer, so it is unknown whether connections were closed: see \
     /channels/NAME and /cluster, then try again",
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn entries_of_ten_nodes_have_their_node_and_missing_ones_are_named() {
        let mark = |at| json!({ "marks": [{ "at": at }], "found": { "all": at } });
        let answer = move |path: String| {
            assert_eq!(path, "/history?scope=node&from=-1h");
            let reply = |node: u64| NodeReply {
                node: format!("n{node}"),
                status: if node == 10 { 503 } else { 200 },
                body: mark(node),
            };
            let (to, replies) = oneshot::channel();
            let _ = to.send(NodeReplies {
                replies: (2..=10).map(reply).collect(),
                missing: vec!["n11".into()],
            });
            replies
        };
        let nodes = NodePages {
            own: "n1".into(),
            ask: Arc::new(answer),
            silent: Arc::new(|| ["n2", "n11", "n12"].map(str::to_owned).into()),
            owner: Arc::new(|_| None),
            post: Arc::new(|_, _, _| oneshot::channel().1),
            asked: Arc::new(Mutex::new(mpsc::channel(1).1)),
        };
        let mut document = mark(1);
        let lists = ["marks"];
        let sums = ["/found/all", "/nothing"];
        let others = nodes.join("/history", "from=-1h", &mut document, &lists, &sums);
        let others = others.await;
        assert_eq!(others.unwrap().len(), 8);
        let entry = |node: u64| json!({ "at": node, "node": format!("n{node}") });
        let entries: Value = (1..=9).map(entry).collect();
        assert_eq!(
            document,
            json!({ "marks": entries, "found": { "all": 45 }, "missingNodes": ["n10", "n11", "n12"] })
        );
    }
}
