//! `POST /channels/{name}/disconnect`: the operator closes connections of a channel, on the node that serves it.

use crate::side::admin::answer::{SILENT, error, json};
use crate::side::admin::door::Seat;
use crate::side::admin::request::{Fault, is_json};
use crate::side::inspect::inspector::{Inspector, NO_SUCH_CHANNEL};
use crate::side::inspect::nodes::{NodePages, Posted};
use crate::side::log::line;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use broker_core::id::Identity;
use broker_core::shard::{Connections, Question, Reply};
use codec::http::encode;
use serde_json::{Value, json as value};

pub(in crate::side) async fn disconnect(
    State(inspector): State<Inspector>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let wanted = is_json(&headers).and_then(|()| connections(&body));
    let posted = Posted {
        body: String::from_utf8_lossy(&body).into_owned(),
        remote: seat.remote(),
    };
    let answer = match wanted {
        Ok(_) => answer(&inspector, (&name, &query.unwrap_or_default()), posted).await,
        Err(fault) => Err(fault),
    };
    match answer {
        Ok((code, document)) => json(code, &document),
        Err((code, text)) => error(code, text),
    }
}

/// The answer of this node, or of the one that has the channel: it is asked once, whatever comes of it.
async fn answer(
    inspector: &Inspector,
    (name, query): (&str, &str),
    posted: Posted,
) -> Result<(StatusCode, Value), Fault> {
    let channel = inspector.identity(name, query)?;
    let Some(nodes) = inspector.scope(query)? else {
        return Ok((StatusCode::OK, here(inspector, &channel, &posted).await?));
    };
    let owner = (nodes.owner)(&channel).ok_or(MOVES)?;
    if *owner != *nodes.own {
        return nodes.post(&owner, path(&channel), posted).await;
    }
    let document = by_owner(inspector, nodes, &channel, &posted).await?;
    Ok((StatusCode::OK, document))
}

/// The path of a channel's page on another node.
fn path(channel: &Identity) -> String {
    let mut path = format!("/channels/{}/disconnect?region=", channel.name());
    encode(&mut path, channel.region());
    path.push_str("&account=");
    encode(&mut path, channel.account());
    path
}

/// Closes connections of a channel that this node has. It may have gone to another one meanwhile.
pub(in crate::side) async fn by_owner(
    inspector: &Inspector,
    nodes: &NodePages,
    channel: &Identity,
    posted: &Posted,
) -> Result<Value, Fault> {
    let document = here(inspector, channel, posted).await;
    let owner = (nodes.owner)(channel);
    match document {
        Err((StatusCode::NOT_FOUND, _)) if owner.is_none_or(|owner| *owner != *nodes.own) => {
            Err(MOVES)
        }
        document => document,
    }
}

/// Closes connections of a channel of this node.
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

/// `{"clientId":"…"|null,"role":"master|viewer|all"}`; a client id means viewers.
fn connections(body: &[u8]) -> Result<Connections, Fault> {
    let body: Value = serde_json::from_slice(body).map_err(|_| BAD_BODY)?;
    let body = body.as_object().ok_or(BAD_BODY)?;
    if body.keys().any(|key| key != "clientId" && key != "role") {
        return Err(BAD_BODY);
    }
    let text = |key: &str| match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(BAD_BODY),
    };
    match (text("clientId")?, text("role")?) {
        (Some(id), None | Some("viewer")) => Ok(Connections::Viewer(id.into())),
        (None, Some("viewer")) => Ok(Connections::Viewers),
        (None, Some("master")) => Ok(Connections::Masters),
        (None, Some("all")) => Ok(Connections::All),
        (Some(_), Some(_)) | (None, None | Some(_)) => Err(BAD_BODY),
    }
}

const MOVES: Fault = (
    StatusCode::SERVICE_UNAVAILABLE,
    "no node serves the channel's slot for the moment, and nothing was closed: try again, or see /cluster",
);

const BAD_BODY: Fault = (
    StatusCode::BAD_REQUEST,
    "the body must be {\"role\":\"master\"|\"viewer\"|\"all\"} or {\"clientId\":\"…\",\"role\":\"viewer\"}",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_which_connections() {
        let read = |body: &str| connections(body.as_bytes()).ok();
        for (body, which) in [
            ("{\"role\":\"all\"}", Some(Connections::All)),
            (
                "{\"role\":\"master\",\"clientId\":null}",
                Some(Connections::Masters),
            ),
            ("{\"role\":\"viewer\"}", Some(Connections::Viewers)),
            (
                "{\"clientId\":\"v\"}",
                Some(Connections::Viewer("v".into())),
            ),
            (
                "{\"clientId\":\"v\",\"role\":\"viewer\"}",
                Some(Connections::Viewer("v".into())),
            ),
            ("{\"clientId\":\"v\",\"role\":\"all\"}", None),
            ("{\"clientId\":7}", None),
            ("{\"role\":\"nobody\"}", None),
            ("{\"role\":\"all\",\"more\":1}", None),
            ("{}", None),
            ("[]", None),
            ("", None),
            ("{\"role\":\"all\"", None),
        ] {
            assert_eq!(read(body), which, "{body}");
        }
    }
}
