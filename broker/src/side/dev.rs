//! The `/dev/…` pages, which are meant for tests. They exist only under `--dev`.
//!
//! The modules, in reading order: this one, with `/dev/parity` and `/dev/reset`; `request` (bodies and parameters);
//! `clock`; `captures` (copies of messages) and `messages` (their decoded content); `connections`; `faults` and
//! `fault_rule`.

mod captures;
mod clock;
mod connections;
mod fault_rule;
mod faults;
mod messages;
mod request;

use crate::side::admin::http::{Answer, Fault, SILENT, rfc3339};
use crate::side::inspector::{Inspector, Shards};
use crate::side::refusals::Refusals;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Json, Router};
use broker_core::shard::{Question, Reply, Reset, StrictFinding};
pub use captures::Captures;
use captures::NewestCopies;
pub use clock::MoveClocks;
use clock::{Change, ClockPage};
use faults::FaultPage;
use messages::MessagePage;
use request::{Body, Parameters};
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The parts of the process that the test pages use.
pub struct DevTools {
    /// Shifts the clocks of all shards.
    pub clocks: MoveClocks,
    /// The captured messages, if capturing is enabled.
    pub captures: Option<Captures>,
    /// The environment variables for client programs.
    pub environment: Vec<(&'static str, String)>,
}

/// Returns the routes of the pages. Must be called within the runtime of the side thread.
pub(crate) fn routes(
    tools: Option<DevTools>,
    inspector: Inspector,
    refusals: Arc<Refusals>,
) -> Router {
    let Some(tools) = tools else {
        return Router::new()
            .route("/dev", any(absent))
            .route("/dev/{*page}", any(absent));
    };
    let are_kept = tools.captures.is_some();
    let captures = tools.captures.unwrap_or_default();
    tokio::spawn(captures.clone().keep_all());
    let shards = inspector.shards.clone();
    let clock = ClockPage::new(tools.clocks, refusals);
    let faults = FaultPage::new(clock.elapsed(), shards.clone());
    let messages = MessagePage {
        captures: captures.clone(),
        are_kept,
    };
    let reset = ResetPage {
        shards: shards.clone(),
        faults: faults.clone(),
        captures,
        clock: clock.clone(),
    };
    Router::new()
        .merge(clock::routes(clock))
        .merge(faults::routes(faults))
        .merge(one("/dev/connections", get(connections::list), inspector))
        .merge(one(
            "/dev/environment",
            get(environment),
            tools.environment.into(),
        ))
        .merge(one("/dev/messages", get(messages::list), messages))
        .merge(one("/dev/parity", get(list), shards))
        .merge(one("/dev/reset", post(reset_state), reset))
        .route("/dev", any(unknown))
        .route("/dev/{*page}", any(unknown))
}

fn one<S: Clone + Send + Sync + 'static>(path: &str, page: MethodRouter<S>, needs: S) -> Router {
    Router::new().route(path, page).with_state(needs)
}

type Environment = Arc<[(&'static str, String)]>;

async fn environment(State(variables): State<Environment>) -> Json<Value> {
    let text = |(name, value): &(&str, String)| ((*name).into(), value.as_str().into());
    Json(Value::Object(variables.iter().map(text).collect()))
}

async fn absent() -> Fault {
    Fault::not_found("/dev needs --dev: it is for tests")
}

async fn unknown() -> Fault {
    Fault::not_found(
        "no such page: /dev/clock, /dev/connections, /dev/environment, /dev/faults, /dev/faults/allowed, \
         /dev/faults/{id}, /dev/messages, /dev/parity, /dev/reset",
    )
}

// `GET /dev/parity`: lists requests that this broker has accepted although the cloud service would have refused them.

/// Returns the findings of all shards, sorted by first occurrence.
pub(crate) async fn list(State(shards): State<Shards>, RawQuery(query): RawQuery) -> Answer {
    let channel = Parameters::parse(query.as_deref(), &["channel"])?.glob("channel");
    let answers = shards.ask_all(Question::Parity).await.ok_or(SILENT)?;
    let mut found: Vec<StrictFinding> = Vec::new();
    for (_, reply) in answers {
        if let Reply::Findings(of_shard) = reply {
            for finding in of_shard {
                add(&mut found, finding);
            }
        }
    }
    found.retain(|finding| {
        channel
            .as_ref()
            .is_none_or(|glob| glob.covers(&finding.channel))
    });
    found.sort_by(|one, other| {
        let first = one.first.cmp(&other.first);
        first.then_with(|| (one.rule, &one.channel).cmp(&(other.rule, &other.channel)))
    });
    let row = |finding: &StrictFinding| {
        value!({
            "rule": finding.rule,
            "channel": finding.channel,
            "count": finding.count,
            "firstAt": rfc3339(finding.first),
            "says": finding.says,
        })
    };
    Ok(Json(
        value!({ "findings": found.iter().map(row).collect::<Value>() }),
    ))
}

/// Adds a finding to `found`. If `found` already contains a finding about the same rule and channel, merges the two.
/// Several shards may report the same finding about an account.
fn add(found: &mut Vec<StrictFinding>, finding: StrictFinding) {
    let same = |other: &&mut StrictFinding| {
        (other.rule, &other.channel) == (finding.rule, &finding.channel)
    };
    match found.iter_mut().find(same) {
        Some(other) => {
            other.count += finding.count;
            if finding.first < other.first {
                (other.first, other.says) = (finding.first, finding.says);
            }
        }
        None => found.push(finding),
    }
}

// `POST /dev/reset`: removes what tests have created, either everything or only what belongs to channels whose names
// have a given prefix. Tests with different prefixes can share a broker and run at the same time.

#[derive(Clone)]
struct ResetPage {
    pub(crate) shards: Shards,
    pub(crate) faults: FaultPage,
    pub(crate) captures: Captures,
    pub(crate) clock: ClockPage,
}

/// Removes connections, channels, faults and copies of messages. Without a prefix, also removes the wall-clock skew.
/// Responds once all of this is done.
async fn reset_state(State(page): State<ResetPage>, body: Bytes) -> Answer {
    let prefix = parse(&body)?;
    let faults = page.faults.end(&prefix).await;
    let ended = end_channels(&page.shards, &prefix).await;
    let (connections, channels) = ended.ok_or(SILENT)?;
    let forgotten =
        |kept: &mut NewestCopies| kept.forget(|copy| copy.channel.starts_with(&*prefix));
    let messages = page.captures.with(forgotten).await;
    if prefix.is_empty() && !matches!(page.clock.shift(Change::NO_SKEW).await, Ok((_, Some(_)))) {
        return Err(SILENT);
    }
    Ok(Json(value!({
        "connections": connections,
        "channels": channels,
        "faults": faults,
        "messages": messages,
    })))
}

/// Deletes the channels whose names start with `prefix`, and closes their connections. Returns how many connections
/// were closed and how many channels were deleted, or `None` if a shard does not respond or the store takes too long.
async fn end_channels(shards: &Shards, prefix: &str) -> Option<(u64, u64)> {
    let until = Instant::now() + DONE_WITHIN;
    let (mut connections, mut channels) = (0, 0);
    let mut only = None;
    loop {
        let reset = Reset {
            prefix: prefix.into(),
            only: only.take(),
        };
        let (mut left, mut deleting) = (Vec::new(), 0);
        for (_, reply) in shards.ask_all(Question::Reset(reset)).await? {
            if let Reply::Reset(step) = reply {
                connections += step.connections;
                channels += step.channels;
                left.extend(step.left);
                deleting += step.deleting;
            }
        }
        if left.is_empty() && deleting == 0 {
            return Some((connections, channels));
        }
        if Instant::now() > until {
            return None;
        }
        only = Some(left);
        sleep(AGAIN).await;
    }
}

fn parse(bytes: &[u8]) -> Result<String, String> {
    let mut body = Body::parse(bytes)?;
    let prefix = body.text("channelPrefix", |text| {
        if (1..=256).contains(&text.len()) {
            Ok(text.to_owned())
        } else {
            Err("expected 1 to 256 characters, or null for all channels".into())
        }
    })?;
    body.end("channelPrefix")?;
    Ok(prefix.unwrap_or_default())
}

const DONE_WITHIN: Duration = Duration::from_secs(10);

const AGAIN: Duration = Duration::from_millis(2);
