//! The inspector: what pages about channels ask, of the shards here and of the other nodes.

use crate::side::admin::answer::Fault;
use crate::side::admin::request::parameter;
use crate::side::inspect::nodes::{NodePages, NodeReplies, NodeReply};
use crate::side::inspect::shards::Shards;
use axum::http::StatusCode;
use broker_core::id::Identity;
use broker_core::settings::Settings;
use codec::identifiers::ChannelName;
use serde_json::Value;
use std::sync::Arc;

/// Shards and nodes, and which channel is meant by a name. A clone is another way to the same.
#[derive(Clone)]
pub(crate) struct Inspector {
    pub(crate) shards: Shards,
    /// The requests between the nodes, where they agree in etcd on who owns what.
    pub(crate) nodes: Option<NodePages>,
    region: Arc<str>,
    account: Arc<str>,
}

impl Inspector {
    pub(crate) fn new(shards: Shards, nodes: Option<NodePages>, settings: &Settings) -> Self {
        Self {
            shards,
            nodes,
            region: settings.region.as_str().into(),
            account: settings.account_id.as_str().into(),
        }
    }

    /// The channel of a name, in the configured region and account unless the query says otherwise. The name may stand
    /// behind `name:`, as browsers need it in paths for names that are one or two dots.
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

    /// The channel of a name in the configured region and account.
    pub(crate) fn own(&self, name: &str) -> Identity {
        Identity::new(&self.region, &self.account, name)
    }

    /// This node's name, where several nodes have channels.
    pub(crate) fn node(&self) -> Option<&str> {
        self.nodes.as_ref().map(|nodes| &*nodes.own)
    }

    /// The nodes, if all are to answer.
    ///
    /// # Errors
    /// The query has another scope than there is.
    pub(crate) fn scope(&self, query: &str) -> Result<Option<&NodePages>, Fault> {
        match parameter(query, "scope")?.as_deref() {
            None | Some("cluster") => Ok(self.nodes.as_ref()),
            Some("node") => Ok(None),
            Some(_) => Err(Fault::bad("scope: allowed node, or cluster")),
        }
    }

    /// The document of a channel: this node's, or that of the node that has it.
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

/// Names in a document the node that has its channel, where several nodes have channels.
pub(crate) fn name_node(document: &mut Value, node: Option<&str>) {
    if let Some(node) = node {
        document["node"] = node.into();
    }
}

const NOT_ALL: Fault = Fault::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "not on the nodes that answer, and not all do: see /cluster",
);

/// There is no such channel.
pub(crate) const NO_SUCH_CHANNEL: Fault = Fault::new(
    StatusCode::NOT_FOUND,
    "no such channel in this account and region: see /channels",
);
