//! `GET /dev/connections`: lists the connections of channels, and can wait for connections.
//!
//! A waiting request polls the shards. Shards do not report when clients join, so this page costs nothing in
//! production.

use crate::side::admin::http::{Answer, Fault, SILENT, rfc3339};
use crate::side::channels::list::{Search, gather};
use crate::side::dev::request::Parameters;
use crate::side::log::line::role_word;
use crate::side::{dev::fault_rule, inspector::Inspector};
use axum::Json;
use axum::extract::{RawQuery, State};
use broker_core::id::Identity;
use broker_core::shard::{ChannelLine, ChannelView, Glob, PeerView, Question, Reply};
use codec::signal::Role;
use serde_json::{Value, json as value};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(Debug)]
struct ConnectionQuery {
    channel: Option<Glob>,
    role: Option<Role>,
    client_id: Option<Glob>,
    limit: usize,
    min: usize,
    wait: Duration,
}

/// Returns the connections that match the query. Waits for up to `wait` until at least `min` connections match.
pub(crate) async fn list(State(inspector): State<Inspector>, RawQuery(query): RawQuery) -> Answer {
    let wanted = parse(query.as_deref())?;
    let until = Instant::now() + wanted.wait;
    loop {
        let found = connections(&inspector, &wanted).await?;
        if found.len() >= wanted.min || Instant::now() >= until {
            return Ok(Json(value!({ "connections": found })));
        }
        sleep(AGAIN).await;
    }
}

async fn connections(inspector: &Inspector, wanted: &ConnectionQuery) -> Result<Vec<Value>, Fault> {
    let mut found = Vec::new();
    for identity in channels_in_use(inspector, wanted.channel.as_ref()).await? {
        let question = Question::Channel(identity.clone());
        let answer = inspector.shards.ask_home(identity, question).await;
        if let (_, Reply::Channel(Some(view))) = answer.ok_or(SILENT)? {
            let room = wanted.limit - found.len();
            found.extend(wanted.among(&view).take(room));
        }
        if found.len() == wanted.limit {
            break;
        }
    }
    Ok(found)
}

async fn channels_in_use(
    inspector: &Inspector,
    pattern: Option<&Glob>,
) -> Result<Vec<Identity>, Fault> {
    if let Some(name) = pattern.and_then(Glob::literal) {
        return Ok(vec![inspector.own(name)]);
    }
    let fits: &(dyn Fn(&ChannelLine) -> bool + Sync) = &|line| {
        let in_use = line.master_connected || line.viewers > 0;
        in_use && pattern.is_none_or(|it| it.covers(line.arn.name()))
    };
    let search = Search {
        limit: LIMIT_MAX,
        ..Search::default()
    };
    let (lines, _) = gather(inspector, search, Some(fits)).await?;
    Ok(lines.into_iter().map(|(_, line)| line.identity).collect())
}

impl ConnectionQuery {
    fn among<'a>(&'a self, view: &'a ChannelView) -> impl Iterator<Item = Value> + 'a {
        let peers = view.master.iter().chain(&view.viewers);
        let wanted = peers.filter(|peer| self.covers(peer));
        wanted.map(|peer| row(view.record.arn.name(), peer))
    }

    fn covers(&self, peer: &PeerView) -> bool {
        let role = self.role.is_none_or(|role| role == role_of(peer));
        let id = peer.client_id.as_deref();
        let covers = |glob: &Glob| id.is_some_and(|id| glob.covers(id));
        role && self.client_id.as_ref().is_none_or(covers)
    }
}

fn parse(query: Option<&str>) -> Result<ConnectionQuery, String> {
    let parameters = Parameters::parse(query, &PARAMETERS)?;
    let role = parameters.text("role").map(fault_rule::role).transpose();
    let role = role.map_err(|rule| format!("role: {rule}"))?;
    let limit = parameters.number("limit", 1..=LIMIT_MAX)?;
    let limit = limit.unwrap_or(LIMIT_MAX);
    let min = parameters.number("min", 0..=limit)?.unwrap_or(1);
    Ok(ConnectionQuery {
        channel: parameters.glob("channel"),
        role,
        client_id: parameters.glob("clientId"),
        limit,
        min,
        wait: parameters.wait()?,
    })
}

fn role_of(peer: &PeerView) -> Role {
    match peer.client_id {
        None => Role::Master,
        Some(_) => Role::Viewer,
    }
}

fn row(channel: &str, peer: &PeerView) -> Value {
    value!({
        "channel": channel,
        "role": role_word(role_of(peer)),
        "clientId": peer.client_id,
        "connectedAt": rfc3339(peer.connected_at),
        "remote": peer.remote.to_string(),
        "tls": peer.tls,
        "messagesIn": peer.messages_in,
        "messagesOut": peer.messages_out,
    })
}

const PARAMETERS: [&str; 6] = ["channel", "role", "clientId", "limit", "min", "wait"];

const LIMIT_MAX: usize = 1000;

const AGAIN: Duration = Duration::from_millis(20);
