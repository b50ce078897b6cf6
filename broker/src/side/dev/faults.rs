//! `/dev/faults`: creates, lists and removes faults, which are meant for tests.
//!
//! All shards share a fault's rule and counters. If a shard does not respond when a fault is created, the request fails
//! with 503, and the rule may reach that shard only after the fault has ended. The shard then ignores the rule.

use crate::side::admin::http::{Answer, Fault, SILENT, fault_id};
use crate::side::dev::clock::Elapsed;
use crate::side::dev::request::Body;
use crate::side::{dev::fault_rule, inspector::Shards};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use broker_core::limits::FAULTS_MAX;
use broker_core::shard::{FaultRule, Question, SharedRule};
use serde_json::{Value, json as value};
use std::sync::Arc;
use tokio::sync::Mutex;

#[derive(Clone)]
pub(crate) struct FaultPage {
    faults: Arc<Mutex<FaultList>>,
    elapsed: Arc<Elapsed>,
    shards: Shards,
}

#[derive(Debug, Default)]
struct FaultList {
    faults: Vec<Listed>,
    number: u64,
}

#[derive(Debug)]
struct Listed {
    id: String,
    asked: Value,
    rule: SharedRule,
    /// The time at which the fault ends, as measured by [`Elapsed::ms`], or `None` if the fault has no time limit.
    ends_ms: Option<u64>,
}

impl FaultPage {
    pub(crate) fn new(elapsed: Arc<Elapsed>, shards: Shards) -> Self {
        Self {
            faults: Arc::default(),
            elapsed,
            shards,
        }
    }

    /// Ends the faults whose channel pattern starts with `prefix`, or all faults if `prefix` is empty. Returns how many
    /// faults were ended.
    pub(crate) async fn end(&self, prefix: &str) -> usize {
        let mut list = self.faults.lock().await;
        list.remove(|fault| prefix.is_empty() || fault.is_about(prefix))
    }
}

pub(crate) fn routes(page: FaultPage) -> Router {
    Router::new()
        .route("/dev/faults", get(list).post(make).delete(remove_all))
        .route("/dev/faults/allowed", get(allowed))
        .route("/dev/faults/{id}", delete(remove))
        .with_state(page)
}

async fn list(State(page): State<FaultPage>) -> Json<Value> {
    let list = page.faults.lock().await;
    let now_ms = page.elapsed.ms();
    let shown = |fault: &Listed| fault.shown(now_ms);
    let faults: Vec<Value> = list.faults.iter().map(shown).collect();
    Json(value!({ "faults": faults }))
}

/// `GET /dev/faults/allowed`: returns the values permitted in a fault rule.
async fn allowed() -> Json<Value> {
    Json(fault_rule::document())
}

async fn make(State(page): State<FaultPage>, body: Bytes) -> Result<Response, Fault> {
    let rule = fault_rule::parse(Body::parse(&body)?)?;
    let asked = serde_json::from_slice(&body);
    let asked: Value = asked.map_err(|error| format!("the body is not JSON: {error}"))?;
    let mut list = page.faults.lock().await;
    let now_ms = page.elapsed.ms();
    if list.faults.len() >= FAULTS_MAX {
        // Faults that have ended stay listed until their places are needed for new faults.
        list.faults.retain(|fault| !fault.is_over(now_ms));
    }
    if list.faults.len() >= FAULTS_MAX {
        let ids: Vec<&str> = list.faults.iter().map(|fault| &*fault.id).collect();
        let text =
            format!("{FAULTS_MAX} faults are active, the most there may be: DELETE some first");
        let refusal = Json(value!({ "error": text, "ids": ids }));
        return Ok((StatusCode::CONFLICT, refusal).into_response());
    }
    let rule = Arc::new(FaultRule {
        number: list.number + 1,
        ..rule
    });
    let question = Question::AddFault(Arc::clone(&rule));
    if page.shards.ask_all(question).await.is_none() {
        rule.counts.end();
        return Err(SILENT);
    }
    list.number = rule.number;
    let fault = Listed {
        id: fault_id(list.number),
        asked,
        ends_ms: rule.lasts_ms.map(|ms| now_ms.saturating_add(ms)),
        rule,
    };
    let shown = fault.shown(now_ms);
    list.faults.push(fault);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn remove_all(State(page): State<FaultPage>) -> Json<Value> {
    let removed = page.faults.lock().await.remove(|_| true);
    Json(value!({ "removed": removed }))
}

async fn remove(State(page): State<FaultPage>, Path(id): Path<String>) -> Answer {
    match page.faults.lock().await.remove(|fault| fault.id == id) {
        0 => Err(NO_SUCH_FAULT),
        removed => Ok(Json(value!({ "removed": removed }))),
    }
}

impl FaultList {
    /// Ends the faults for which `which` returns `true`, and returns how many there were. Messages that these faults
    /// have delayed are still delivered when due.
    fn remove(&mut self, which: impl Fn(&Listed) -> bool) -> usize {
        let before = self.faults.len();
        self.faults.retain(|fault| {
            let goes = which(fault);
            if goes {
                fault.rule.counts.end();
            }
            !goes
        });
        before - self.faults.len()
    }
}

impl Listed {
    fn is_over(&self, now_ms: u64) -> bool {
        self.rule.is_spent() || self.ends_ms.is_some_and(|end| end <= now_ms)
    }

    fn is_about(&self, prefix: &str) -> bool {
        let channel = self.asked.pointer("/match/channel").and_then(Value::as_str);
        channel.is_some_and(|channel| channel.starts_with(prefix))
    }

    fn shown(&self, now_ms: u64) -> Value {
        let mut shown = self.asked.clone();
        shown["id"] = self.id.as_str().into();
        shown["hits"] = self.rule.counts.hits().into();
        shown["seen"] = self.rule.counts.seen().into();
        shown["overflowed"] = self.rule.counts.overflowed().into();
        shown["active"] = (!self.is_over(now_ms)).into();
        shown
    }
}

const NO_SUCH_FAULT: Fault = Fault::not_found("no such fault: see GET /dev/faults");
