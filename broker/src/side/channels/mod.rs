//! The pages of channels, and what operators do to them: here and, where several nodes agree in etcd, on all of them.

pub(super) mod asked;
pub(super) mod channel;
mod disconnect;
pub(super) mod import;
pub(super) mod list;
pub(super) mod paging;
mod reconnect;
mod sessions;

use super::inspect::inspector::Inspector;
use axum::Router;
use axum::routing::{get, post};

/// The pages.
pub(super) fn routes(inspector: Inspector, imports: Option<import::Commit>) -> Router {
    let shards = inspector.shards.clone();
    let of_shards = Router::new()
        .route("/sessions/{shard}/{connection}", get(sessions::one))
        .with_state(shards);
    Router::new()
        .route("/channels", get(list::list))
        .route("/channels/{name}", get(channel::one))
        .route("/channels/{name}/disconnect", post(disconnect::disconnect))
        .route("/ice/reconnect", post(reconnect::reconnect))
        .with_state(inspector.clone())
        .merge(import::routes(imports, inspector))
        .merge(of_shards)
}
