//! `/hooks`: the status of the receivers, and test deliveries.

use crate::config;
use crate::hooks::{HookReport, Hooks, Order, Outcome, WakeResult};
use crate::side::admin::http::{Answer, Fault};
use crate::side::shared_state::Running;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json as value};
use strum::VariantNames;
use tokio::sync::oneshot;

#[derive(Clone)]
struct Source {
    hooks: Option<Hooks>,
    running: Running,
}

pub(crate) fn routes(hooks: Option<Hooks>, running: Running) -> Router {
    Router::new()
        .route("/hooks", get(all))
        .route("/hooks/{name}/test", post(test))
        .with_state(Source { hooks, running })
}

async fn all(State(source): State<Source>) -> Json<Value> {
    let report = source.hooks.map(|hooks| hooks.report()).unwrap_or_default();
    let configured = config::json(&source.running.settings());
    let configured = configured["hook"].as_array().cloned().unwrap_or_default();
    let hooks = report.hooks.iter().zip(configured);
    let hooks: Vec<_> = hooks
        .map(|(hook, configured)| shown(hook, &configured))
        .collect();
    Json(value!({
        "hooks": hooks,
        "wakes": named(WakeResult::VARIANTS, &report.wakes),
    }))
}

fn shown(hook: &HookReport, configured: &Value) -> Value {
    let state = match hook {
        HookReport { off: true, .. } => "off",
        HookReport { error: Some(_), .. } => "failing",
        HookReport { .. } => "ok",
    };
    value!({
        "name": hook.name,
        "url": configured["url"],
        "events": configured["events"],
        "state": state,
        "waiting": hook.waiting,
        "oldestMs": hook.oldest_ms,
        "failuresInARow": hook.failures,
        "lastError": hook.error,
        "deliveries": named(Outcome::VARIANTS, &hook.outcomes),
    })
}

fn named(names: &[&str], counts: &[u64]) -> Value {
    let pairs = names.iter().zip(counts);
    pairs.map(|(name, count)| (*name, *count)).collect()
}

/// `POST /hooks/NAME/test`: sends one `hook.test` event without queueing it.
async fn test(State(source): State<Source>, Path(name): Path<String>) -> Answer {
    let no_such = || {
        let settings = source.running.settings();
        let names = settings.hooks.iter().map(|hook| &*hook.name);
        let names: Vec<_> = names.collect();
        let text = match &*names {
            [] => "no hook is configured".into(),
            names => format!("no such hook: there are {}", names.join(", ")),
        };
        Fault(StatusCode::NOT_FOUND, text.into())
    };
    let hooks = source.hooks.as_ref().ok_or_else(no_such)?;
    let (done, answered) = oneshot::channel();
    hooks.order(Order::Test(name, done));
    match answered.await.map_err(|_| no_such())? {
        None => Ok(Json(value!({ "delivered": true }))),
        Some(error) => Ok(Json(value!({ "delivered": false, "error": error }))),
    }
}
