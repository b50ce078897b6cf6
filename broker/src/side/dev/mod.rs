//! The pages for tests, `/dev/…`: only under `--dev`.
//!
//! In reading order: this page; `body` (what a request says, or which key of it is wrong); `query` (the same of its
//! parameters); `clock`; `captures` (copies of messages), `messages` and `summary` (what they say); `connections`;
//! `faults` and `fault_rule`; `parity`; `reset`.

mod body;
mod captures;
mod clock;
mod connections;
mod fault_rule;
mod faults;
mod messages;
mod parity;
mod query;
mod reset;
mod summary;

pub use captures::Captures;
pub use clock::MoveClocks;
pub(super) use faults::fault_id;

use super::pages::{Admin, error, json};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use clock::Clocks;
use faults::FaultList;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Mutex;

/// What the pages for tests need of the process.
pub struct DevTools {
    /// Moves the clocks of all shards.
    pub clocks: MoveClocks,
    /// Copies of messages, if they are kept.
    pub captures: Option<Captures>,
    /// The environment of clients.
    pub environment: Vec<(&'static str, String)>,
}

/// What the pages for tests remember.
pub(super) struct Dev {
    /// One move at a time.
    clocks: Arc<Mutex<Clocks>>,
    captures: Captures,
    environment: Vec<(&'static str, String)>,
    faults: Mutex<FaultList>,
    began: Instant,
    /// How far the clocks of the shards are ahead.
    advanced_ms: AtomicU64,
}

impl Dev {
    /// Call it on the side thread's runtime.
    pub(super) fn new(tools: DevTools) -> Self {
        let captures = tools.captures.unwrap_or_default();
        tokio::spawn(captures.clone().keep_all());
        Self {
            clocks: Arc::new(Mutex::new(Clocks::new(tools.clocks))),
            captures,
            environment: tools.environment,
            faults: Mutex::default(),
            began: Instant::now(),
            advanced_ms: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the start, as the shards count them.
    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_add(self.advanced_ms.load(Ordering::Relaxed))
    }
}

/// The pages, or why there are none.
pub(super) fn routes(dev: bool) -> Router<Admin> {
    if !dev {
        return Router::new()
            .route("/dev", any(absent))
            .route("/dev/{*page}", any(absent));
    }
    Router::new()
        .route(
            "/dev/clock",
            get(clock::show).post(clock::change).delete(clock::reset),
        )
        .route("/dev/connections", get(connections::list))
        .route(
            "/dev/faults",
            get(faults::list)
                .post(faults::make)
                .delete(faults::remove_all),
        )
        .route("/dev/faults/allowed", get(faults::allowed))
        .route("/dev/faults/{id}", delete(faults::remove))
        .route("/dev/environment", get(environment))
        .route("/dev/messages", get(messages::list))
        .route("/dev/parity", get(parity::list))
        .route("/dev/reset", post(reset::reset))
        .route("/dev", any(unknown))
        .route("/dev/{*page}", any(unknown))
}

/// `GET /dev/environment`: the variables for clients.
async fn environment(State(admin): State<Admin>) -> Response {
    let variables = admin.dev.as_ref().map(|dev| {
        let text = |(name, value): &(&str, String)| ((*name).into(), value.as_str().into());
        Value::Object(dev.environment.iter().map(text).collect())
    });
    json(StatusCode::OK, &variables.unwrap_or_default())
}

async fn absent() -> Response {
    error(StatusCode::NOT_FOUND, "/dev needs --dev: it is for tests")
}

async fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, NO_SUCH_PAGE)
}

const NO_SUCH_PAGE: &str = "no such page: /dev/clock, /dev/connections, /dev/environment, /dev/faults, \
                            /dev/faults/allowed, /dev/faults/{id}, /dev/messages, /dev/parity, /dev/reset";
