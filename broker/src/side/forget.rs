//! Erasure of personal data. `POST /forget` erases data that mentions a person or a device, and `[privacy] keep` sets
//! the age at which personal data is erased.
//!
//! In memory, personal data occurs in refusals, failed sessions, problem members, recent log lines and flight recorder
//! notes. On disk, it occurs in the marks and causes of the history. `deploy/PRIVACY.md` covers data that is stored
//! elsewhere.

use crate::edge::turn::calendar;
use crate::limits::FORGET_BYTES_MAX;
use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Answer, Fault, SILENT, is_json};
use crate::side::cluster;
use crate::side::history::HistoryStore;
use crate::side::inspector::{Inspector, NodeReply, Posted};
use crate::side::log::{line, tail::LogTail};
use crate::side::problems::Problems;
use crate::side::refusals::Refusals;
use crate::side::trace::failed_sessions::Troubled;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use broker_core::id::ShardId;
use broker_core::journal::{Presented, Refused};
use broker_core::shard::{Forget, Question, Reply};
use broker_core::time::Wall;
use serde::Deserialize;
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

#[derive(Clone)]
pub(crate) struct Memories {
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) troubled: Arc<Troubled>,
    pub(crate) problems: Arc<Problems>,
    pub(crate) tail: Arc<LogTail>,
    pub(crate) history: HistoryStore,
    pub(crate) inspector: Inspector,
}

pub(crate) fn routes(memories: Memories) -> Router {
    let routes = Router::new().route(PATH, post(forget));
    routes.with_state(memories)
}

/// `POST /forget` with `{"text": "…"}`: erases data on this node and, in a cluster, on all other nodes.
async fn forget(
    State(memories): State<Memories>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    is_json(&headers)?;
    let posted = Posted {
        body: String::from_utf8_lossy(&body).into_owned(),
        remote: seat.remote(),
    };
    let mut removed = memories.forget_here(&posted).await?;
    let mut missing = Vec::new();
    if let Some(nodes) = &memories.inspector.nodes {
        let others = nodes.ask(cluster::PATH, "").await?;
        missing = others.missing;
        for NodeReply { node, .. } in others.replies {
            match nodes.post(&node, PATH.into(), posted.clone()).await {
                Ok((code, document)) if code.is_success() => add(&mut removed, &document),
                Ok(_) | Err(_) => missing.push(node),
            }
        }
    }
    removed["missing"] = missing.into();
    Ok(Json(removed))
}

impl Memories {
    pub(crate) async fn forget_here(&self, posted: &Posted) -> Result<Value, Fault> {
        let Wanted { text } = serde_json::from_str(&posted.body).map_err(|_| BAD_BODY)?;
        if !(1..=FORGET_BYTES_MAX).contains(&text.len()) {
            return Err(BAD_BODY);
        }
        self.refusals.settled().await; // so that queued entries are erased as well
        let named: Box<str> = text.as_str().into();
        let history = self
            .history_notes(move |_, note| mentions(note, &named))
            .await?;
        let notes = self.notes(&Forget::Named(text.as_str().into())).await?;
        let refusals = self.refusals.recent.forget(|it| names(it, &text));
        let sessions = self.troubled.forget(|_, row| mentions(row, &text));
        let problems = self
            .problems
            .lock()
            .forget(|_, member| mentions(member, &text));
        // Log lines come last, so that the lines logged by the other erasures are erased as well.
        let lines = self.tail.forget(|_, line| mentions(line, &text));
        let all = refusals + sessions + problems + lines + notes + history;
        line::forgotten(all, posted.remote);
        Ok(value!({
            "refusals": refusals,
            "sessions": sessions,
            "problems": problems,
            "lines": lines,
            "notes": notes,
            "history": history,
        }))
    }

    /// Periodically erases data that is older than `keep_ms`. Does nothing if `keep_ms` is 0.
    pub(crate) async fn age(self, keep_ms: u64) {
        if keep_ms == 0 {
            return;
        }
        let pause = Duration::from_millis(keep_ms / 4).clamp(PAUSE_LEAST, PAUSE_MOST);
        loop {
            sleep(pause).await;
            let before = Wall(calendar().0.saturating_sub(keep_ms));
            // If a shard does not respond, it is asked again after the next pause.
            let _ = self.notes(&Forget::Before(before)).await;
            let _ = self.history_notes(move |at, _| at < before.0).await;
            self.refusals.recent.forget(|it| it.at < before);
            self.troubled.forget(|at, _| at < before);
            self.problems.lock().forget(|at, _| at < before);
            self.tail.forget(|at, _| at < before);
        }
    }

    async fn history_notes(
        &self,
        fits: impl Fn(u64, &str) -> bool + Send + 'static,
    ) -> Result<usize, Fault> {
        let history = self.history.clone();
        let erased = tokio::task::spawn_blocking(move || history.forget(fits)).await;
        erased.ok().flatten().ok_or(DISK_SILENT)
    }

    async fn notes(&self, forget: &Forget) -> Result<usize, Fault> {
        let shards = &self.inspector.shards;
        let (mut erased, mut number, mut next) = (0, 0, None);
        while shards.has(ShardId(number)) {
            let question = Question::Forget(forget.clone(), next);
            let reply = shards.ask_one(ShardId(number), question).await;
            let Some(Reply::Forgotten(count, more)) = reply else {
                return Err(SILENT);
            };
            erased += count;
            next = more;
            number += u16::from(next.is_none());
        }
        Ok(usize::try_from(erased).unwrap_or(usize::MAX))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    text: String,
}

fn add(sum: &mut Value, more: &Value) {
    for name in [
        "refusals", "sessions", "problems", "lines", "notes", "history",
    ] {
        let count = |value: &Value| value[name].as_u64().unwrap_or_default();
        sum[name] = (count(sum) + count(more)).into();
    }
}

/// Returns whether a refusal contains this text, which names a person or a device.
fn names(refused: &Refused, text: &str) -> bool {
    let claims = &refused.claims;
    let explained = refused.explain.as_deref().map(|it| &*it.canonical_request);
    let shown = claims.sign_in.as_deref().map(Presented::named);
    let shown = shown.into_iter().flatten().filter_map(|(_, text)| text);
    let own = [
        &claims.client_id,
        &claims.session,
        &claims.key_id,
        &claims.principal,
        &claims.source_identity,
        &refused.policy,
    ];
    let own = own.into_iter().filter_map(|it| it.as_deref());
    let mut all = own.chain(explained).chain(shown);
    let remote = refused.remote.ip().to_canonical().to_string();
    remote == text || all.any(|it| mentions(it, text))
}

/// Returns whether a line contains `text` as a whole word, so `10.0.0.1` does not match `10.0.0.12`. Also finds `text`
/// in the escaped forms used by log lines and JSON.
fn mentions(line: &str, text: &str) -> bool {
    let escaped = text.escape_debug().to_string();
    [text, &escaped].into_iter().any(|text| {
        line.match_indices(text).any(|(at, _)| {
            let (before, after) = (line.get(..at), line.get(at + text.len()..));
            let before = before.and_then(|it| it.chars().next_back());
            let after = after.and_then(|it| it.chars().next());
            !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
        })
    })
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

pub(crate) const PATH: &str = "/forget";

const BAD_BODY: Fault = Fault::bad(
    "the body must be {\"text\":\"…\"}, with a client id, an address, a subject or a thing of 1 to 2048 bytes",
);

const DISK_SILENT: Fault = Fault::unavailable(
    "the disk of the history does not answer: nothing in memory was erased; ask again",
);

const PAUSE_LEAST: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_meant_where_it_is_a_whole_word() {
        for (line, text, is) in [
            ("remote=10.0.0.1:9", "10.0.0.1", true),
            ("remote=10.0.0.12:9", "10.0.0.1", false),
            ("remote=[::1]:9", "::1", true),
            ("client_id=\"v1\"", "v1", true),
            ("client_id=\"v1-a\" by=v1.b", "v1", false),
            ("client_id=\"v1-a\" by=v1", "v1", true),
            (r#"client_id="a\"b""#, "a\"b", true),
            ("", "v1", false),
        ] {
            assert_eq!(mentions(line, text), is, "{text} in {line}");
        }
    }
}
