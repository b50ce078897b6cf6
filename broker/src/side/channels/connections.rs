//! Operator actions on the connections of a channel, carried out by the node that serves the channel: closing
//! connections, making clients fetch ICE servers again, and looking up the client with a given connection number.

use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Answer, Fault, SILENT, is_json, parameter};
use crate::side::channels::channel::query_of;
use crate::side::inspector::{Inspector, NO_SUCH_CHANNEL, NodePages, Posted, Shards};
use crate::side::log::line;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use broker_core::id::{Identity, SessionKey, ShardId};
use broker_core::shard::{Connections, Question, Reply, Usage, UsageTable};
use codec::identifiers::ChannelArn;
use serde::Deserialize;
use serde_json::{Map, Value, json as value};

/// Closes connections of a channel on this node, or forwards the request to the node that serves the channel. A request
/// is forwarded only once.
pub(crate) async fn disconnect(
    State(inspector): State<Inspector>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Fault> {
    is_json(&headers)?;
    connections(&body)?;
    let posted = Posted {
        body: String::from_utf8_lossy(&body).into_owned(),
        remote: seat.remote(),
    };
    let query = query.unwrap_or_default();
    let channel = inspector.identity(&name, &query)?;
    let Some(nodes) = inspector.scope(&query)? else {
        let document = here(&inspector, &channel, &posted).await?;
        return Ok((StatusCode::OK, Json(document)));
    };
    let owner = (nodes.owner)(&channel).ok_or(MOVES)?;
    if *owner != *nodes.own {
        let path = format!(
            "/channels/{}/disconnect?{}",
            channel.name(),
            query_of(&channel)
        );
        let (code, document) = nodes.post(&owner, path, posted).await?;
        return Ok((code, Json(document)));
    }
    let document = by_owner(&inspector, nodes, &channel, &posted).await?;
    Ok((StatusCode::OK, Json(document)))
}

/// Closes connections of a channel on behalf of another node. Fails if the channel has moved on to a third node in the
/// meantime.
pub(crate) async fn by_owner(
    inspector: &Inspector,
    nodes: &NodePages,
    channel: &Identity,
    posted: &Posted,
) -> Result<Value, Fault> {
    let document = here(inspector, channel, posted).await;
    let owner = (nodes.owner)(channel);
    match document {
        Err(Fault(StatusCode::NOT_FOUND, _)) if owner.is_none_or(|owner| *owner != *nodes.own) => {
            Err(MOVES)
        }
        document => document,
    }
}

async fn here(inspector: &Inspector, channel: &Identity, posted: &Posted) -> Result<Value, Fault> {
    let which = connections(posted.body.as_bytes())?;
    let question = Question::Disconnect {
        channel: channel.clone(),
        which: which.clone(),
    };
    match inspector.shards.ask_home(channel.clone(), question).await {
        None => Err(SILENT),
        Some((_, Reply::Disconnected(Some(closed)))) => {
            line::disconnected(channel, &which, closed, posted.remote);
            Ok(value!({ "connections": closed }))
        }
        Some(_) => Err(NO_SUCH_CHANNEL),
    }
}

/// Parses `{"clientId":"…"|null,"role":"master|viewer|all"}`. A client id implies the role viewer.
fn connections(body: &[u8]) -> Result<Connections, Fault> {
    // Parsed as a map first, since serde would also accept a list for a struct.
    let body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| BAD_BODY)?;
    let wanted = serde_json::from_value(Value::Object(body)).map_err(|_| BAD_BODY)?;
    let Wanted { client_id, role } = wanted;
    match (client_id, role) {
        (Some(id), None | Some(Role::Viewer)) => Ok(Connections::Viewer(id)),
        (None, Some(Role::Viewer)) => Ok(Connections::Viewers),
        (None, Some(Role::Master)) => Ok(Connections::Masters),
        (None, Some(Role::All)) => Ok(Connections::All),
        (Some(_), Some(Role::Master | Role::All)) | (None, None) => Err(BAD_BODY),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    client_id: Option<Box<str>>,
    role: Option<Role>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Master,
    Viewer,
    All,
}

const MOVES: Fault = Fault::unavailable(
    "no node serves the channel's slot at the moment, and nothing was closed: try again, or see /cluster",
);

const BAD_BODY: Fault = Fault::bad(
    "the body must be {\"role\":\"master\"|\"viewer\"|\"all\"} or {\"clientId\":\"…\",\"role\":\"viewer\"}",
);

// `POST /ice/reconnect`: makes the clients of one channel, or of all channels, fetch ICE servers again.

/// `POST /ice/reconnect[?channel=]`: makes clients fetch ICE servers again, a limited number of clients at a time.
pub(crate) async fn reconnect(
    State(inspector): State<Inspector>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let channel = match parameter(&query, "channel")? {
        None => None,
        Some(name) if name.starts_with("arn:") => {
            let arn = ChannelArn::parse(&name, false);
            let arn = arn.map_err(|_| Fault::bad("channel: must be a name or an ARN"))?;
            Some(Identity::of(&arn))
        }
        Some(name) => Some(inspector.identity(&name, &query)?),
    };
    let (mut connections, mut from) = (0, Some(0));
    while let Some(first) = from.take() {
        let question = Question::ReconnectIce {
            channel: channel.clone(),
            from: first,
        };
        let answers = match &channel {
            Some(identity) => {
                let answer = inspector.shards.ask_home(identity.clone(), question).await;
                answer.map(|answer| vec![answer])
            }
            None => inspector.shards.ask_all(question).await,
        };
        for (_, reply) in answers.ok_or(SILENT)? {
            if let Reply::Reconnected(told, next) = reply {
                connections += told;
                from = from.max(next);
            }
        }
    }
    Ok(Json(value!({ "connections": connections })))
}

// `GET /usage`: how much each account uses on this node.

/// Returns each account's connections, calls, messages, refusals and queued bytes, sorted by account. Accounts beyond
/// the limit are combined.
pub(crate) async fn usage(State(shards): State<Shards>) -> Answer {
    let (mut sum, mut from) = (UsageTable::default(), Some(0));
    while let Some(first) = from.take() {
        let answers = shards.ask_all(Question::Usage(first)).await;
        for (_, reply) in answers.ok_or(SILENT)? {
            if let Reply::Usage(table, next) = reply {
                sum.add(&table);
                from = from.max(next);
            }
        }
    }
    let (mut accounts, mut others) = (Vec::new(), usage_json(&Usage::default()));
    for (account, usage) in sum.rows() {
        let mut document = usage_json(&usage);
        match account {
            Some(account) => {
                document["account"] = account.to_string().into();
                accounts.push(document);
            }
            None => others = document,
        }
    }
    Ok(Json(value!({ "accounts": accounts, "others": others })))
}

fn usage_json(usage: &Usage) -> Value {
    value!({
        "connections": usage.connections,
        "calls": usage.calls,
        "messages": usage.messages,
        "refusals": usage.refusals,
        "queuedBytes": usage.queued_bytes,
    })
}

// `GET /sessions/{shard}/{connection}`: returns the client that has this connection number. Connection numbers occur in
// traces and in the exemplars of `/metrics`.

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
const UNKNOWN: Fault = Fault::not_found(
    "no such connection: it left longer ago than the recorder's notes reach, or its channel is gone",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_which_connections() {
        let read = |body: &str| connections(body.as_bytes()).ok();
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("{\"role\":\"all\"}", Some(Connections::All)),
            ("{\"role\":\"master\",\"clientId\":null}", Some(Connections::Masters)),
            ("{\"role\":\"viewer\"}", Some(Connections::Viewers)),
            ("{\"clientId\":\"v\"}", Some(Connections::Viewer("v".into()))),
            ("{\"clientId\":\"v\",\"role\":\"viewer\"}", Some(Connections::Viewer("v".into()))),
            ("{\"clientId\":\"v\",\"role\":\"all\"}", None),
            ("{\"clientId\":7}", None),
            ("{\"role\":\"nobody\"}", None),
            ("{\"role\":\"all\",\"more\":1}", None),
            ("{}", None),
            ("[]", None),
            ("[null,\"all\"]", None),
            ("", None),
            ("{\"role\":\"all\"", None),
        ];
        for (body, which) in cases {
            assert_eq!(read(body), which, "{body}");
        }
    }
}
