//! The pages of channels, and what operators do to them: here and, where several nodes agree in etcd, on all of them.

pub(crate) mod asked;
pub(crate) mod channel;
mod disconnect;
pub(crate) mod import;
mod list;
pub(crate) mod paging;
mod reconnect;
mod sessions;

use crate::side::inspect::inspector::Inspector;
use axum::Router;
use axum::routing::{get, post};

/// The pages.
pub(crate) fn routes(inspector: Inspector, imports: Option<import::Commit>) -> Router {
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
