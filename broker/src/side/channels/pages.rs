//! The inspector's pages: `/channels`, `/channels/{name}`, `/ice/reconnect`. Every text of the wire is escaped by the
//! JSON library.

use crate::side::inspect::nodes;
use crate::side::inspect::nodes::{NodeReplies, NodeReply};
use crate::side::pages::{Admin, error, json};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use broker_core::id::{Identity, ShardId};
use broker_core::limits::LIST_PAGE_MAX;
use broker_core::shard::Towards;
use broker_core::shard::{ChannelLine, ChannelView, PeerView, PendingView, Question, Reply};
use broker_core::time::Wall;
use codec::aws::{ChannelArn, ChannelName};
use codec::calendar::civil;
use codec::http::{decode, encode, pairs};
use serde_json::{Value, json as value};

/// What an answer lacks: a status and a text for the operator.
pub(in crate::side) type Fault = (StatusCode, &'static str);

/// `GET /channels?prefix=&limit=&token=&scope=`: channels of all shards by name; of all nodes, unless the scope is
/// `node`.
pub(in crate::side) async fn list(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    nodes::respond(page_of_all(&admin, &query).await)
}

async fn page_of_all(admin: &Admin, query: &str) -> Result<Value, Fault> {
    let limit = page_of(query)?.limit;
    let Some(nodes) = admin.scope(query)? else {
        return own_page(admin, query).await;
    };
    let (own, others) = tokio::join!(own_page(admin, query), nodes.ask("/channels", query));
    Ok(merge(own?, others?, limit))
}

/// The page of this node.
pub(in crate::side) async fn own_page(admin: &Admin, query: &str) -> Result<Value, Fault> {
    let question = page_of(query)?;
    let limit = question.limit;
    let question = Question::Page {
        prefix: question.prefix.into(),
        after: question.after,
        limit,
    };
    let answers = admin.ask_all(question).await;
    let answers = answers.ok_or((StatusCode::SERVICE_UNAVAILABLE, SILENT))?;
    Ok(page(answers, limit, admin.node()))
}

/// `GET /channels/{name}?region=&account=&scope=`: one channel in full.
pub(in crate::side) async fn one(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    match admin.identity(&name, &query) {
        Ok(identity) => nodes::respond(document_of(&admin, &identity, &query).await),
        Err((code, text)) => error(code, text),
    }
}

/// A channel's document, whichever node has it, or why there is none.
pub(in crate::side) async fn document(admin: &Admin, identity: &Identity) -> Result<Value, Fault> {
    let mut query = String::from("region=");
    encode(&mut query, identity.region());
    query.push_str("&account=");
    encode(&mut query, identity.account());
    document_of(admin, identity, &query).await
}

async fn document_of(admin: &Admin, identity: &Identity, query: &str) -> Result<Value, Fault> {
    let path = format!("/channels/{}", identity.name());
    let own = own_document(admin, identity).await;
    nodes::found(admin, (&path, query), own).await
}

/// The document of a channel of this node.
pub(in crate::side) async fn own_document(
    admin: &Admin,
    identity: &Identity,
) -> Result<Value, Fault> {
    let question = Question::Channel(identity.clone());
    match admin.ask_home(identity.clone(), question).await {
        None => Err((StatusCode::SERVICE_UNAVAILABLE, SILENT)),
        Some((shard, Reply::Channel(Some(view)))) => {
            let mut document = channel(shard, &view);
            name_node(&mut document, admin.node());
            Ok(document)
        }
        Some(_) => Err((StatusCode::NOT_FOUND, NO_SUCH_CHANNEL)),
    }
}

/// `POST /ice/reconnect[?channel=]`: has clients fetch ICE servers again, a bounded number in each step.
pub(in crate::side) async fn reconnect(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let channel = match parameter(&query, "channel") {
        Ok(None) => Ok(None),
        Ok(Some(name)) if name.starts_with("arn:") => ChannelArn::parse(&name, false)
            .map(|arn| Some(Identity::of(&arn)))
            .map_err(|_| (StatusCode::BAD_REQUEST, "channel: allowed a name or an ARN")),
        Ok(Some(name)) => admin.identity(&name, &query).map(Some),
        Err(fault) => Err(fault),
    };
    let channel = match channel {
        Ok(channel) => channel,
        Err((code, text)) => return error(code, text),
    };
    let (mut connections, mut from) = (0, Some(0));
    while let Some(first) = from.take() {
        let question = Question::ReconnectIce {
            channel: channel.clone(),
            from: first,
        };
        let answers = match &channel {
            Some(identity) => {
                let answer = admin.ask_home(identity.clone(), question).await;
                answer.map(|answer| vec![answer])
            }
            None => admin.ask_all(question).await,
        };
        let Some(answers) = answers else {
            return silent();
        };
        for (_, reply) in answers {
            if let Reply::Reconnected(told, next) = reply {
                connections += told;
                from = from.max(next);
            }
        }
    }
    json(StatusCode::OK, &value!({ "connections": connections }))
}

pub(in crate::side) fn silent() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, SILENT)
}

impl Admin {
    /// The channel of a name, in the configured region and account unless the query says otherwise.
    pub(in crate::side) fn identity(&self, name: &str, query: &str) -> Result<Identity, Fault> {
        if ChannelName::parse(name).is_err() {
            let text = "a channel's name is 1 to 256 characters of [a-zA-Z0-9_.-]";
            return Err((StatusCode::BAD_REQUEST, text));
        }
        let region = parameter(query, "region")?;
        let account = parameter(query, "account")?;
        Ok(Identity::new(
            region.as_deref().unwrap_or(&self.settings.region),
            account.as_deref().unwrap_or(&self.settings.account_id),
            name,
        ))
    }
}

/// The parameters of a request for a page.
#[derive(Debug, PartialEq, Eq)]
struct PageQuery {
    prefix: String,
    after: Option<Identity>,
    limit: usize,
}

fn page_of(query: &str) -> Result<PageQuery, Fault> {
    let limit = match parameter(query, "limit")? {
        None => LIMIT_DEFAULT,
        Some(text) => {
            let limit = text.parse().ok();
            limit
                .filter(|limit| (1..=LIST_PAGE_MAX).contains(limit))
                .ok_or((StatusCode::BAD_REQUEST, "limit: allowed 1 to 1000"))?
        }
    };
    let after = parameter(query, "token")?.map(|token| after(&token).ok_or(BAD_TOKEN));
    Ok(PageQuery {
        prefix: parameter(query, "prefix")?.unwrap_or_default(),
        after: after.transpose()?,
        limit,
    })
}

/// The first parameter of a name, decoded; an empty one is as good as none.
pub(in crate::side) fn parameter(query: &str, name: &str) -> Result<Option<String>, Fault> {
    let found = pairs(query).find(|(other, _)| *other == name);
    let text = found.map(|(_, text)| decode(text)).transpose();
    let text = text.map_err(|_| {
        let text = "the query is not percent-encoded UTF-8";
        (StatusCode::BAD_REQUEST, text)
    })?;
    Ok(text.map(String::from).filter(|text| !text.is_empty()))
}

/// The place that a token encodes: the last channel of the page before.
fn after(token: &str) -> Option<Identity> {
    let text = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).ok()?;
    let text = String::from_utf8(text).ok()?;
    let parts: Vec<&str> = text.split(':').collect();
    let named = matches!(parts[..], [_, _, name] if ChannelName::parse(name).is_ok());
    named.then(|| Identity::from_text(&text))
}

fn page(answers: Vec<(ShardId, Reply)>, limit: usize, node: Option<&str>) -> Value {
    let (mut lines, mut more) = (Vec::new(), false);
    for (shard, reply) in answers {
        if let Reply::Page(of_shard, shard_has_more) = reply {
            more |= shard_has_more;
            lines.extend(of_shard.into_iter().map(|line| (shard, line)));
        }
    }
    // Each shard's lines come in this order.
    lines.sort_by(|(_, one), (_, other)| {
        let names = one.identity.name().cmp(other.identity.name());
        names.then_with(|| one.identity.cmp(&other.identity))
    });
    more |= lines.len() > limit;
    lines.truncate(limit);
    let last = lines.last().filter(|_| more);
    let token = last.map(|(_, line)| token(&line.identity));
    let channels: Vec<Value> = lines
        .iter()
        .map(|(shard, line)| {
            let mut line = summary(*shard, line);
            name_node(&mut line, node);
            line
        })
        .collect();
    value!({ "channels": channels, "nextToken": token })
}

/// The token of a page that ends with this channel.
fn token(identity: &Identity) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(identity.as_str().as_bytes())
}

/// The page of all nodes: each sent as many channels as may be on it, in the order of names.
fn merge(own: Value, others: NodeReplies, limit: usize) -> Value {
    let NodeReplies {
        replies,
        mut missing,
    } = others;
    let mut pages = vec![own];
    for NodeReply { node, status, body } in replies {
        match status {
            200 => pages.push(body),
            _ => missing.push(node),
        }
    }
    let mut more = pages.iter().any(|page| page["nextToken"].is_string());
    let lines = pages.iter_mut().map(|page| page["channels"].take());
    let lines = lines.filter_map(|lines| {
        if let Value::Array(lines) = lines {
            Some(lines)
        } else {
            None
        }
    });
    let mut lines: Vec<Value> = lines.flatten().collect();
    let text = |line: &Value, member: &str| line[member].as_str().unwrap_or_default().to_owned();
    lines.sort_by_cached_key(|line| (text(line, "name"), text(line, "arn")));
    // Two nodes have it while its slot moves.
    lines.dedup_by(|next, line| next["arn"] == line["arn"]);
    more |= lines.len() > limit;
    lines.truncate(limit);
    let last = lines.last().filter(|_| more);
    let last = last.and_then(|line| ChannelArn::parse(line["arn"].as_str()?, false).ok());
    let token = last.map(|arn| token(&Identity::of(&arn)));
    missing.sort();
    value!({ "channels": lines, "nextToken": token, "missingNodes": missing })
}

/// Where several nodes have channels, a document says which one has this.
pub(in crate::side) fn name_node(document: &mut Value, node: Option<&str>) {
    if let Some(node) = node {
        document["node"] = node.into();
    }
}

fn summary(shard: ShardId, line: &ChannelLine) -> Value {
    value!({
        "name": line.arn.name(),
        "arn": line.arn.as_str(),
        "shard": shard.0,
        "masterConnected": line.master_connected,
        "viewers": line.viewers,
        "pending": line.pending,
    })
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

/// RFC 3339 in UTC with milliseconds. Moments after the year 9999 read as its last one.
pub(in crate::side) fn rfc3339(at: Wall) -> String {
    let ms = at.0.min(LAST_MS);
    let (days, of_day) = (ms / DAY_MS, ms % DAY_MS);
    let (year, month, day) = civil(days.cast_signed());
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

pub(in crate::side) const SILENT: &str = "a shard does not answer";
/// Of what is asked for by a name.
pub(in crate::side) const NO_SUCH_CHANNEL: &str =
    "no such channel in this account and region: see /channels";

const LIMIT_DEFAULT: usize = 100;
const BAD_TOKEN: Fault = (
    StatusCode::BAD_REQUEST,
    "token: allowed the nextToken of the page before",
);
/// The other end of a viewer's messages.
const MASTER: &str = "MASTER";
const DAY_MS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z.
const LAST_MS: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(region: &str, name: &str) -> ChannelLine {
        let arn =
            format!("arn:aws:kinesisvideo:{region}:123456789012:channel/{name}/1700000000000");
        let arn = ChannelArn::parse(&arn, false).unwrap();
        ChannelLine {
            identity: Identity::of(&arn),
            arn,
            master_connected: false,
            viewers: 0,
            pending: 0,
        }
    }

    #[test]
    fn pages_of_shards_are_merged_by_name_and_the_token_leads_on() {
        let answers = vec![
            (
                ShardId(0),
                Reply::Page(vec![line("us-west-2", "a"), line("us-west-2", "c")], false),
            ),
            (
                ShardId(1),
                Reply::Page(vec![line("eu-west-1", "a"), line("us-west-2", "b")], true),
            ),
        ];
        let page = page(answers, 3, None);
        let names: Vec<_> = page["channels"].as_array().unwrap().iter().collect();
        let names: Vec<_> = names
            .iter()
            .map(|one| {
                (
                    one["name"].as_str().unwrap(),
                    one["shard"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(names, [("a", 1), ("a", 0), ("b", 1)]);
        let token = page["nextToken"].as_str().unwrap();
        assert_eq!(after(token).unwrap().as_str(), "us-west-2:123456789012:b");
    }

    #[test]
    fn the_last_page_has_no_token() {
        let answers = vec![(ShardId(0), Reply::Page(vec![line("us-west-2", "a")], false))];
        assert_eq!(page(answers, 1, None)["nextToken"], Value::Null);
    }

    #[test]
    fn pages_of_nodes_are_merged_by_name_and_silent_ones_are_named() {
        let page_of = |node: &str, names: &[&str], more: bool| {
            let lines = names.iter().map(|name| line("us-west-2", name)).collect();
            page(vec![(ShardId(0), Reply::Page(lines, more))], 3, Some(node))
        };
        let reply = |node: &str, status, body| NodeReply {
            node: node.into(),
            status,
            body,
        };
        let others = |last| NodeReplies {
            replies: vec![
                reply("n2", 200, page_of("n2", &["b", "c"], false)),
                reply("n4", 503, value!({ "error": "a shard does not answer" })),
                last,
            ],
            missing: vec!["n3".into()],
        };
        let own = || page_of("n1", &["a", "c"], false);
        let fifth = |names, more| reply("n5", 200, page_of("n5", names, more));
        let merged = merge(own(), others(fifth(&[], false)), 3);
        let shown = |page: &Value| -> Vec<String> {
            let lines = page["channels"].as_array().unwrap().iter();
            let text = |line: &Value| format!("{} {}", line["node"], line["name"]);
            lines.map(text).map(|text| text.replace('"', "")).collect()
        };
        assert_eq!(shown(&merged), ["n1 a", "n2 b", "n1 c"]);
        assert_eq!(merged["missingNodes"], value!(["n3", "n4"]));
        assert_eq!(merged["nextToken"], Value::Null);
        let merged = merge(own(), others(fifth(&["d"], false)), 3);
        assert_eq!(shown(&merged), ["n1 a", "n2 b", "n1 c"]);
        let token = merged["nextToken"].as_str().unwrap();
        assert_eq!(after(token).unwrap().as_str(), "us-west-2:123456789012:c");
    }

    #[test]
    fn limits_and_tokens_are_checked() {
        let limit = |query| page_of(query).map(|wanted| wanted.limit);
        assert_eq!(limit(""), Ok(100));
        assert_eq!(limit("limit="), Ok(100));
        assert_eq!(limit("limit=1"), Ok(1));
        assert_eq!(limit("limit=1000"), Ok(1000));
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=99999999999999999999",
        ] {
            assert_eq!(limit(bad).unwrap_err().0, StatusCode::BAD_REQUEST, "{bad}");
        }
        let encoded = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text.as_bytes());
        for bad in ["x", "a:b", "r:a:", "r:a:n:m", "r:a:\n"] {
            assert!(
                page_of(&format!("token={}", encoded(bad))).is_err(),
                "{bad}"
            );
        }
        assert!(page_of("token=***").is_err() && page_of("token=%FF").is_err());
        let wanted = page_of(&format!("token={}&prefix=a%2Db", encoded("r:a:n"))).unwrap();
        assert_eq!(wanted.prefix, "a-b");
        assert_eq!(wanted.after, Some(Identity::new("r", "a", "n")));
    }

    #[test]
    fn moments_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(Wall(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Wall(1_795_176_001_007)), "2026-11-20T12:00:01.007Z");
        assert_eq!(rfc3339(Wall(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
