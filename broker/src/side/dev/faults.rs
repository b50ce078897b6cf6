//! `/dev/faults`: faults that a test makes, lists and removes.
//!
//! A rule is one value for all shards, with its counts; a shard that was silent when it was made (503) may learn of it
//! later, when it has ended already, and does nothing.

use super::body::Body;
use super::fault_rule;
use crate::side::channels::pages::silent;
use crate::side::pages::{Admin, error, json};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use broker_core::limits::FAULTS_MAX;
use broker_core::shard::{FaultRule, Question, SharedRule};
use serde_json::{Value, json as value};
use std::sync::Arc;

/// The faults there are.
#[derive(Debug, Default)]
pub(super) struct FaultList {
    faults: Vec<Listed>,
    /// Of the last one.
    number: u64,
}

/// A fault, as it is shown.
#[derive(Debug)]
pub(super) struct Listed {
    id: String,
    /// As it was asked for.
    asked: Value,
    rule: SharedRule,
    /// When its time is over, by [`Dev::now_ms`](super::Dev::now_ms).
    ends_ms: Option<u64>,
}

/// `GET /dev/faults`.
pub(super) async fn list(State(admin): State<Admin>) -> Response {
    let Some(dev) = &admin.dev else {
        return super::absent().await;
    };
    let list = dev.faults.lock().await;
    let now_ms = dev.now_ms();
    let shown = |fault: &Listed| fault.shown(now_ms);
    let faults: Vec<Value> = list.faults.iter().map(shown).collect();
    json(StatusCode::OK, &value!({ "faults": faults }))
}

/// `GET /dev/faults/allowed`: what a fault may say.
pub(super) async fn allowed() -> Response {
    json(StatusCode::OK, &fault_rule::document())
}

/// `POST /dev/faults`.
pub(super) async fn make(State(admin): State<Admin>, body: Bytes) -> Response {
    let Some(dev) = &admin.dev else {
        return super::absent().await;
    };
    let parsed = Body::parse(&body).and_then(fault_rule::parse);
    let parsed = parsed.and_then(|rule| Ok((rule, asked(&body)?)));
    let (rule, asked) = match parsed {
        Ok(parsed) => parsed,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &fault),
    };
    let mut list = dev.faults.lock().await;
    let now_ms = dev.now_ms();
    if list.faults.len() >= FAULTS_MAX {
        // Those that are over are shown until there is need of their places.
        list.faults.retain(|fault| !fault.is_over(now_ms));
    }
    if list.faults.len() >= FAULTS_MAX {
        let ids: Vec<&str> = list.faults.iter().map(|fault| &*fault.id).collect();
        let text = format!("{FAULTS_MAX} faults are active, allowed no more: DELETE some first");
        return json(StatusCode::CONFLICT, &value!({ "error": text, "ids": ids }));
    }
    let rule = Arc::new(FaultRule {
        number: list.number + 1,
        ..rule
    });
    let question = Question::AddFault(Arc::clone(&rule));
    if admin.ask_all(question).await.is_none() {
        rule.counts.end();
        return silent();
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
    json(StatusCode::CREATED, &shown)
}

/// The id of the fault of this number.
pub(in crate::side) fn fault_id(number: u64) -> String {
    format!("f{number}")
}

/// `DELETE /dev/faults`.
pub(super) async fn remove_all(State(admin): State<Admin>) -> Response {
    let Some(dev) = &admin.dev else {
        return super::absent().await;
    };
    let removed = dev.faults.lock().await.remove(|_| true);
    json(StatusCode::OK, &value!({ "removed": removed }))
}

/// `DELETE /dev/faults/{id}`.
pub(super) async fn remove(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Some(dev) = &admin.dev else {
        return super::absent().await;
    };
    match dev.faults.lock().await.remove(|fault| fault.id == id) {
        0 => error(StatusCode::NOT_FOUND, "no such fault: see GET /dev/faults"),
        removed => json(StatusCode::OK, &value!({ "removed": removed })),
    }
}

impl FaultList {
    /// Ends faults; returns how many. What they hold back is delivered when it is due.
    pub(super) fn remove(&mut self, which: impl Fn(&Listed) -> bool) -> usize {
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
    /// Whether it does nothing any more.
    fn is_over(&self, now_ms: u64) -> bool {
        self.rule.is_spent() || self.ends_ms.is_some_and(|end| end <= now_ms)
    }

    /// Whether its pattern of channels begins with this.
    pub(super) fn is_about(&self, prefix: &str) -> bool {
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

/// The request as it is shown again.
fn asked(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("the body is not JSON: {error}"))
}
