//! `POST /dev/reset`: what a test has made ends, all of it or that of a prefix, so that tests that run at the same time
//! can share one broker.

use crate::side::admin::answer::{Answer, SILENT};
use crate::side::dev::body::Body;
use crate::side::dev::captures::{Captures, NewestCopies};
use crate::side::dev::clock::{Change, ClockPage};
use crate::side::dev::faults::FaultPage;
use crate::side::inspect::shards::Shards;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use broker_core::shard::{Question, Reply, Reset, ResetStep};
use serde_json::json as value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The parts of the process that a reset clears.
#[derive(Clone)]
pub(crate) struct ResetPage {
    pub(crate) shards: Shards,
    pub(crate) faults: FaultPage,
    pub(crate) captures: Captures,
    pub(crate) clock: ClockPage,
}

/// Ends connections, channels, faults and copies of messages; without a prefix the skew of the calendar too. Answers
/// when all of it is done.
pub(crate) async fn reset(State(page): State<ResetPage>, body: Bytes) -> Answer {
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

/// Ends the channels of a prefix with their connections: how many there were of both; `None` when a shard does not
/// answer, or the store takes too long.
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
                let ResetStep {
                    connections: closed,
                    channels: ended,
                    left: of_shard,
                    deleting: of_store,
                } = step;
                connections += closed;
                channels += ended;
                left.extend(of_shard);
                deleting += of_store;
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
            Err("allowed 1 to 256 characters, or null for all channels".into())
        }
    })?;
    body.end("channelPrefix")?;
    Ok(prefix.unwrap_or_default())
}

/// The longest wait for deletions to become durable.
const DONE_WITHIN: Duration = Duration::from_secs(10);

/// The interval at which shards are asked whether they are.
const AGAIN: Duration = Duration::from_millis(2);
