//! `GET /channels/{name}`: details of one channel. All text from clients is escaped by the JSON library.

use crate::side::admin::http::{Answer, Fault, SILENT, encoded, rfc3339};
use crate::side::channels::presence::entry;
use crate::side::inspector::{Inspector, NO_SUCH_CHANNEL, name_node};
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use broker_core::id::{Identity, ShardId};
use broker_core::shard::{ChannelView, PeerView, PendingView, Question, Reply, Towards};
use serde_json::{Value, json as value};

/// `GET /channels/{name}?region=&account=&scope=`: details of one channel.
pub(crate) async fn one(
    State(inspector): State<Inspector>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let identity = inspector.identity(&name, &query)?;
    Ok(Json(document_of(&inspector, &identity, &query).await?))
}

/// Fetches a channel's document from the node that serves the channel. The error states why there is no document.
pub(crate) async fn document(inspector: &Inspector, identity: &Identity) -> Result<Value, Fault> {
    document_of(inspector, identity, &query_of(identity)).await
}

/// Returns the query that names the region and the account of a channel.
pub(crate) fn query_of(identity: &Identity) -> String {
    let (region, account) = (encoded(identity.region()), encoded(identity.account()));
    format!("region={region}&account={account}")
}

async fn document_of(
    inspector: &Inspector,
    identity: &Identity,
    query: &str,
) -> Result<Value, Fault> {
    let path = format!("/channels/{}", identity.name());
    let own = own_document(inspector, identity).await;
    inspector.found((&path, query), own).await
}

pub(crate) async fn own_document(
    inspector: &Inspector,
    identity: &Identity,
) -> Result<Value, Fault> {
    let question = Question::Channel(identity.clone());
    match inspector.shards.ask_home(identity.clone(), question).await {
        None => Err(SILENT),
        Some((shard, Reply::Channel(Some(view)))) => {
            let mut document = channel(shard, &view);
            let node = inspector.node();
            name_node(&mut document, node);
            let presence = view.presence.as_ref();
            document["presence"] = presence.map(|presence| entry(presence, node)).into();
            Ok(document)
        }
        Some(_) => Err(NO_SUCH_CHANNEL),
    }
}

fn channel(shard: ShardId, view: &ChannelView) -> Value {
    let viewers: Vec<Value> = view.viewers.iter().map(peer).collect();
    let pending: Vec<Value> = view.pending.iter().map(kept).collect();
    value!({
        "name": view.record.arn.name(),
        "arn": view.record.arn.as_str(),
        "type": "SINGLE_MASTER",
        "messageTtlSeconds": view.record.ttl_seconds,
        "createdAt": rfc3339(view.record.created),
        "shard": shard.0,
        "master": view.master.as_ref().map(peer),
        "viewers": viewers,
        "pending": pending,
        "superseded": view.superseded,
        "waitingCalls": view.waiting_calls,
    })
}

fn peer(peer: &PeerView) -> Value {
    value!({
        "clientId": peer.client_id,
        "connectedAt": rfc3339(peer.connected_at),
        "remote": peer.remote.to_string(),
        "tls": peer.tls,
        "messagesIn": peer.messages_in,
        "messagesOut": peer.messages_out,
        "lastFrameAgeSeconds": seconds(peer.last_frame_age_ms),
        "outboxBytes": peer.outbox_bytes,
        "unconfirmedBytes": peer.unconfirmed_bytes,
    })
}

fn kept(message: &PendingView) -> Value {
    let (from, to) = match message.towards {
        Towards::Master => (&*message.viewer, MASTER),
        Towards::Viewer => (MASTER, &*message.viewer),
    };
    value!({
        "from": from,
        "to": to,
        "action": message.action.as_str(),
        "bytes": message.bytes,
        "ageSeconds": seconds(message.age_ms),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds beyond 2^53 are 285,000 years"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Identifies the master as the sender or recipient of a message.
const MASTER: &str = "MASTER";
