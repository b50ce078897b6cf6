//! `GET /sessions/{shard}/{connection}`: whose connection a number was, as exemplars of `/metrics` and traces name it.

use crate::side::admin::answer::{Answer, Fault, SILENT};
use crate::side::inspect::shards::Shards;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use broker_core::id::{SessionKey, ShardId};
use broker_core::shard::{Question, Reply};
use serde_json::json as value;

pub(crate) async fn one(
    State(shards): State<Shards>,
    Path((shard, connection)): Path<(String, String)>,
) -> Answer {
    let numbers = shard.parse().ok().zip(connection.parse::<u64>().ok());
    let known = |(shard, _): &(u16, u64)| shards.has(ShardId(*shard));
    let (shard, connection) = numbers.filter(known).ok_or(BAD_NUMBERS)?;
    let session = SessionKey::unpack(connection);
    let mut before = None;
    loop {
        let question = Question::Session(session, before);
        let step = match shards.ask_one(ShardId(shard), question).await {
            Some(Reply::Session(step)) => *step,
            Some(_) | None => return Err(SILENT),
        };
        if let Some((identity, client_id)) = step.found {
            return Ok(Json(value!({
                "shard": shard,
                "connection": connection,
                "channel": identity.name(),
                "region": identity.region(),
                "account": identity.account(),
                "clientId": client_id,
            })));
        }
        before = step.next;
        if before.is_none() {
            return Err(UNKNOWN);
        }
    }
}

const BAD_NUMBERS: Fault = Fault::bad(
    "the path must be /sessions/SHARD/CONNECTION, with two numbers as an exemplar has them",
);
const UNKNOWN: Fault = Fault::new(
    StatusCode::NOT_FOUND,
    "no such connection: it left longer ago than the recorder's notes reach, or its channel is gone",
);
