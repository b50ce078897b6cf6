//! The pages for tests, `/dev/…`: only under `--dev`.
//!
//! In reading order: this page; `body` (what a request says, or which key of it is wrong); `query` (the same of its
//! parameters); `clock`; `captures` (copies of messages), `messages` and `summary` (what they say); `connections`.

mod body;
mod captures;
mod clock;
mod connections;
mod messages;
mod query;
mod summary;

pub use captures::Captures;
pub use clock::MoveClocks;

use super::admin::{Admin, error};
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
use clock::Clocks;
use std::sync::Arc;
use tokio::sync::Mutex;

/// What the pages for tests need of the process.
pub struct DevTools {
    /// Moves the clocks of all shards.
    pub clocks: MoveClocks,
    /// Copies of messages.
    pub captures: Captures,
}

/// What the pages for tests remember.
pub(super) struct Dev {
    /// One move at a time.
    clocks: Arc<Mutex<Clocks>>,
    captures: Captures,
}

impl Dev {
    /// Call it on the side thread's runtime.
    pub(super) fn new(tools: DevTools) -> Self {
        tokio::spawn(tools.captures.clone().keep_all());
        Self {
            clocks: Arc::new(Mutex::new(Clocks::new(tools.clocks))),
            captures: tools.captures,
        }
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
        .route("/dev/messages", get(messages::list))
        .route("/dev", any(unknown))
        .route("/dev/{*page}", any(unknown))
}

async fn absent() -> Response {
    error(StatusCode::NOT_FOUND, "/dev needs --dev: it is for tests")
}

async fn unknown() -> Response {
    error(StatusCode::NOT_FOUND, NO_SUCH_PAGE)
}

const NO_SUCH_PAGE: &str = "no such page: /dev/clock, /dev/connections, /dev/messages";
