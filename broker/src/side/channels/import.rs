//! `POST /import[?dry_run=true]`: imports channels into the running process. All channels are created in one atomic
//! commit.
//!
//! ```text
//!  documents ─► checked whole ─► every shard: reserve the free names ─► compared with existing channels
//!       one fault: the names are released ◄──────────────────────────┤
//!                      shards make the channels ◄─ reported ◄─ one commit
//! ```

use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Answer, Fault, SILENT, is_json, parameter};
use crate::side::inspector::Inspector;
use crate::{channels::Plan, limits::IMPORT_BODY_BYTES_MAX};
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use broker_core::id::{ChannelKey, ShardId};
use broker_core::shard::{Question, Reply};
use broker_core::{limits::IMPORTED_MAX, record::Record};
use serde_json::json as value;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Commits all channels of an import in a single transaction, and waits for the commit.
pub type Commit = Arc<dyn Fn(Vec<Creation>) -> Result<(), String> + Send + Sync>;

/// A channel to create, with its shard, its key on that shard, and its record.
pub type Creation = (ShardId, ChannelKey, Record);

#[derive(Clone)]
struct Imports {
    commit: Option<Commit>,
    inspector: Inspector,
    turn: Arc<Semaphore>,
}

/// Returns the route for imports. If `commit` is `None`, the route responds that channels are stored in etcd.
pub(crate) fn routes(commit: Option<Commit>, inspector: Inspector) -> Router {
    let turn = Arc::new(Semaphore::new(1));
    Router::new()
        .route("/import", post(import))
        .with_state(Imports {
            commit,
            inspector,
            turn,
        })
}

async fn import(
    State(imports): State<Imports>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    request: Request,
) -> Answer {
    let Some(commit) = &imports.commit else {
        return Err(IN_ETCD);
    };
    is_json(request.headers())?;
    let query = request.uri().query().unwrap_or_default();
    let dry_run = parameter(query, "dry_run")?.is_some_and(|text| text == "true");
    // Only one import runs at a time, since an import keeps in memory its documents, the records read from them, and
    // copies for the shards and the store.
    let _turn = imports.turn.try_acquire().map_err(|_| BUSY)?;
    let _held = seat.holds(4 * IMPORT_BODY_BYTES_MAX);
    let body = to_bytes(request.into_body(), IMPORT_BODY_BYTES_MAX).await;
    let body = body.map_err(|_| TOO_LONG)?;
    let text = std::str::from_utf8(&body).map_err(|_| Fault::bad("expected UTF-8"))?;
    let plan = Plan::of_text(Path::new("the request"), text);
    let mut plan = plan.map_err(|failure| Fault::from(failure.to_string()))?;
    let records: Arc<[Record]> = plan.records().cloned().collect();
    if records.len() > IMPORTED_MAX {
        return Err(TOO_MANY);
    }
    let kept = match keep(&imports.inspector, &records, &mut plan).await {
        Ok(kept) if !dry_run => kept,
        kept => {
            withdraw(&imports.inspector, &records).await;
            let made = kept?.len();
            let there = records.len() - made;
            return Ok(Json(value!({ "made": made, "there": there })));
        }
    };
    let (made, there) = (kept.len(), records.len() - kept.len());
    let commit = Arc::clone(commit);
    let committed = tokio::task::spawn_blocking(move || commit(kept)).await;
    if let Err(error) = committed.unwrap_or_else(|error| Err(error.to_string())) {
        withdraw(&imports.inspector, &records).await;
        return Err(Fault(StatusCode::SERVICE_UNAVAILABLE, error.into()));
    }
    tracing::info!(made, there, remote = %seat.remote(), "channels imported");
    Ok(Json(value!({ "made": made, "there": there })))
}

/// Makes each shard reserve the names of its new channels, and compares existing channels with the requested ones.
/// Returns the channels to create.
async fn keep(
    inspector: &Inspector,
    records: &Arc<[Record]>,
    plan: &mut Plan<'_>,
) -> Result<Vec<Creation>, Fault> {
    let question = Question::Import(Arc::clone(records));
    let replies = inspector.shards.ask_all(question).await.ok_or(SILENT)?;
    let (mut kept, mut there) = (Vec::new(), 0);
    for (shard, reply) in replies {
        let Reply::Import(part) = reply else { continue };
        if let Some((place, fault)) = part.faults.first() {
            let name = records.get(*place).map_or("", |record| record.arn.name());
            let text = format!("channel {name}: {fault}");
            return Err(Fault(StatusCode::SERVICE_UNAVAILABLE, text.into()));
        }
        there += part.there.len();
        part.there.iter().for_each(|found| plan.compare(found));
        let own = part.kept.iter();
        kept.extend(own.filter_map(|(place, key)| {
            let record = records.get(*place)?;
            Some((shard, *key, record.clone()))
        }));
    }
    plan.check()
        .map_err(|failure| Fault::from(failure.to_string()))?;
    if kept.len() + there < records.len() {
        return Err(ELSEWHERE);
    }
    Ok(kept)
}

async fn withdraw(inspector: &Inspector, records: &Arc<[Record]>) {
    let question = Question::ImportWithdrawn(Arc::clone(records));
    // If a shard hangs, this query waits in that shard's mailbox behind the reservation.
    let _ = inspector.shards.ask_all(question).await;
}

const IN_ETCD: Fault = Fault::conflict(
    "the channels of this cluster are in etcd: stop its nodes, then heliograph cluster import FILE…",
);
const ELSEWHERE: Fault = Fault::conflict(
    "some of the channels belong to other nodes by the map: stop each node and import into its data directory",
);
const BUSY: Fault = Fault::unavailable("another import is under way: try again");
const TOO_LONG: Fault = Fault::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "expected 1 MiB of documents: import them in parts, or stop the broker and name its --data-dir",
);
const TOO_MANY: Fault = Fault::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "expected 1,000 channels: import them in parts, or stop the broker and name its --data-dir",
);
