//! Channel pages and operator actions on channels, which cover all nodes of a cluster.
//!
//! `list` and `channel` show channels. `presence` shows which clients are connected. `connections` closes and
//! identifies connections. `import` creates channels.

pub(crate) mod channel;
mod connections;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod presence;

use crate::side::admin::http::Fault;
use crate::side::cluster::{self, Agreement};
use crate::side::forget::{self, Memories};
use crate::side::inspector::{Inspector, NodePages, Posted};
use crate::side::log;
use crate::side::trace::{self, Traces};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use codec::http::decode;
use serde_json::{Value, json as value};
use std::sync::Arc;

pub(crate) fn routes(inspector: Inspector, imports: Option<import::Commit>) -> Router {
    let shards = inspector.shards.clone();
    let of_shards = Router::new()
        .route("/sessions/{shard}/{connection}", get(connections::one))
        .route("/usage", get(connections::usage))
        .with_state(shards);
    Router::new()
        .route("/channels", get(list::list))
        .route("/channels/{name}", get(channel::one))
        .route("/channels/{name}/disconnect", post(connections::disconnect))
        .route("/ice/reconnect", post(connections::reconnect))
        .with_state(inspector.clone())
        .merge(import::routes(imports, inspector))
        .merge(of_shards)
}

// Answers requests from other nodes, which fetch pages from this node or send it POST requests.

/// Answers requests that operators made on other nodes, one at a time. Runs for the lifetime of the process.
pub(crate) async fn answer_nodes(
    inspector: Inspector,
    traces: Traces,
    agreement: Agreement,
    memories: Memories,
) {
    let Some(nodes) = inspector.nodes.clone() else {
        return;
    };
    let mut asked = nodes.asked.lock().await;
    while let Some(asked) = asked.recv().await {
        let (path, reply) = (asked.path, asked.reply);
        let answer = match asked.posted {
            None if path.split('?').next() == Some(cluster::PATH) => {
                Ok(value!({ "sha256": agreement.own() }))
            }
            None => {
                if path.contains("/trace") || path.starts_with("/refusals") {
                    memories.refusals.settled().await;
                }
                own(&traces, &memories, &path).await
            }
            Some(posted) if path == forget::PATH => memories.forget_here(&posted).await,
            Some(posted) => own_post(&inspector, &nodes, &path, &posted).await,
        };
        match answer {
            Ok(document) => reply(StatusCode::OK.as_u16(), &document),
            Err(Fault(code, text)) => reply(code.as_u16(), &value!({ "error": text })),
        }
    }
}

async fn own_post(
    inspector: &Inspector,
    nodes: &NodePages,
    path: &str,
    posted: &Posted,
) -> Result<Value, Fault> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let name = path.strip_prefix("/channels/");
    let name = name.and_then(|rest| rest.strip_suffix("/disconnect"));
    let name = name.ok_or(NO_SUCH_PAGE)?;
    let name = decode(name).map_err(|_| NO_SUCH_PAGE)?;
    let channel = inspector.identity(&name, query)?;
    connections::by_owner(inspector, nodes, &channel, posted).await
}

async fn own(traces: &Traces, memories: &Memories, path: &str) -> Result<Value, Fault> {
    let inspector = &memories.inspector;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.split('/').skip(1);
    let (place, name, what) = (parts.next(), parts.next(), parts.next());
    match (place, name) {
        (Some("presence"), None) => return presence::own_page(inspector, query).await,
        (Some("problems"), None) => return memories.problems.page(query),
        (Some("problems"), Some(id)) => return memories.problems.row(id, |_| ()),
        (Some("history"), None) => return memories.history.own(query).await,
        (Some("log"), None) => return log::page::own(Arc::clone(&memories.tail), query).await,
        (Some("refusals"), what) => return memories.refusals.page(what, query),
        _ => {}
    }
    if place != Some("channels") || parts.next().is_some() {
        return Err(NO_SUCH_PAGE);
    }
    let name = name.map(decode).transpose().map_err(|_| NO_SUCH_PAGE)?;
    match (name, what) {
        (None, _) => list::own_page(inspector, query).await,
        (Some(name), None) => {
            channel::own_document(inspector, &inspector.identity(&name, query)?).await
        }
        (Some(name), Some("trace")) => trace::own_trace(traces, &name, query).await,
        (Some(_), Some(_)) => Err(NO_SUCH_PAGE),
    }
}

const NO_SUCH_PAGE: Fault = Fault::not_found("this node has no such page for others");
