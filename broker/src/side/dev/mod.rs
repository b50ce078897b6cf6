//! The pages for tests, `/dev/…`: only under `--dev`.
//!
//! In reading order: this page; `body` (what a request says, or which key of it is wrong); `nearest`; `query` (the
//! same of its parameters); `clock`; `captures` (copies of messages), `messages` and `summary` (what they say);
//! `connections`; `faults` and `fault_rule`; `parity`; `reset`.

mod body;
mod captures;
mod clock;
mod connections;
mod fault_rule;
mod faults;
mod messages;
mod nearest;
mod parity;
mod query;
mod reset;
mod summary;

use crate::side::admin::answer::Fault;
use crate::side::inspect::inspector::Inspector;
use crate::side::refusals::Refusals;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, any, get, post};
use axum::{Json, Router};
pub use captures::Captures;
use clock::ClockPage;
pub use clock::MoveClocks;
use faults::FaultPage;
use messages::MessagePage;
use reset::ResetPage;
use serde_json::Value;
use std::sync::Arc;

/// The parts of the process that the pages for tests need.
pub struct DevTools {
    /// Moves the clocks of all shards.
    pub clocks: MoveClocks,
    /// Copies of messages, if they are kept.
    pub captures: Option<Captures>,
    /// The environment of clients.
    pub environment: Vec<(&'static str, String)>,
}

/// The pages, or why there are none. Call it on the side thread's runtime.
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
        .merge(one("/dev/parity", get(parity::list), shards))
        .merge(one("/dev/reset", post(reset::reset), reset))
        .route("/dev", any(unknown))
        .route("/dev/{*page}", any(unknown))
}

/// A page and what it needs.
fn one<S: Clone + Send + Sync + 'static>(path: &str, page: MethodRouter<S>, needs: S) -> Router {
    Router::new().route(path, page).with_state(needs)
}

/// The variables for clients, by name.
type Environment = Arc<[(&'static str, String)]>;

/// `GET /dev/environment`: the variables for clients.
async fn environment(State(variables): State<Environment>) -> Json<Value> {
    let text = |(name, value): &(&str, String)| ((*name).into(), value.as_str().into());
    Json(Value::Object(variables.iter().map(text).collect()))
}

async fn absent() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "/dev needs --dev: it is for tests")
}

async fn unknown() -> Fault {
    Fault::new(
        StatusCode::NOT_FOUND,
        "no such page: /dev/clock, /dev/connections, /dev/environment, /dev/faults, /dev/faults/allowed, \
         /dev/faults/{id}, /dev/messages, /dev/parity, /dev/reset",
    )
}
