//! Answers to other nodes: what this one has at a path, and what they post to it.

use crate::side::admin::answer::Fault;
use crate::side::channels::{channel, disconnect};
use crate::side::inspect::agreement::{self, Agreement};
use crate::side::inspect::inspector::Inspector;
use crate::side::inspect::nodes::{AskedPath, NodePages, Posted};
use crate::side::trace::page;
use crate::side::trace::reader::Traces;
use axum::http::StatusCode;
use codec::http::decode;
use serde_json::{Value, json as value};

/// Answers other nodes, one after the other, for as long as the process runs.
pub(crate) async fn answer_nodes(inspector: Inspector, traces: Traces, agreement: Agreement) {
    let Some(nodes) = inspector.nodes.clone() else {
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
            None if path.split('?').next() == Some(agreement::PATH) => Ok(agreement.own_json()),
            None => own(&inspector, &traces, &path).await,
            Some(posted) => own_post(&inspector, &nodes, &path, &posted).await,
        };
        match answer {
            Ok(document) => reply(StatusCode::OK.as_u16(), &document),
            Err(Fault(code, text)) => reply(code.as_u16(), &value!({ "error": text })),
        }
    }
}

/// This node's answer to what is posted to a path of its channels.
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
    disconnect::by_owner(inspector, nodes, &channel, posted).await
}

/// This node's document at a path.
async fn own(inspector: &Inspector, traces: &Traces, path: &str) -> Result<Value, Fault> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.split('/').skip(1);
    let (place, name, what) = (parts.next(), parts.next(), parts.next());
    if (place, name) == (Some("presence"), None) {
        return crate::side::presence::list::own_page(inspector, query).await;
    }
    if place != Some("channels") || parts.next().is_some() {
        return Err(NO_SUCH_PAGE);
    }
    let name = name.map(decode).transpose().map_err(|_| NO_SUCH_PAGE)?;
    match (name, what) {
        (None, _) => crate::side::channels::list::own_page(inspector, query).await,
        (Some(name), None) => {
            channel::own_document(inspector, &inspector.identity(&name, query)?).await
        }
        (Some(name), Some("trace")) => page::own_trace(traces, &name, query).await,
        (Some(_), Some(_)) => Err(NO_SUCH_PAGE),
    }
}

const NO_SUCH_PAGE: Fault = Fault::new(
    StatusCode::NOT_FOUND,
    "this node has no such page for others",
);
