//! `/try`: a camera and a viewer in one browser, and sessions for them where requests are signed.

pub(crate) mod page;
mod request;
pub(crate) mod session;
mod wakes;

use crate::limits::{TRY_SESSION_BODY_BYTES_MAX, TRY_WAKE_BODY_BYTES_MAX};
use crate::side::admin::answer::Fault;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use page::TryPage;
use session::TrySessions;
use wakes::Wakes;

/// The routes of the page.
pub(crate) fn routes(page: TryPage, sessions: TrySessions) -> Router {
    let is_on = page.settings.has_try_page();
    let of_wakes = Router::new()
        .route(
            "/try/wake/{channel}",
            get(wakes::wait)
                .post(wakes::take)
                .layer(DefaultBodyLimit::max(TRY_WAKE_BODY_BYTES_MAX)),
        )
        // Of no channel: a process began, an operator tries the hook.
        .route("/try/wake/", post(wakes::take_other))
        .with_state(Wakes::new(page.settings.dev));
    let of_sessions = Router::new()
        .route(
            "/try/session",
            post(session::session).layer(DefaultBodyLimit::max(TRY_SESSION_BODY_BYTES_MAX)),
        )
        .with_state(sessions);
    Router::new()
        .route("/try", get(page::page))
        .route("/try/settings", get(page::settings))
        .with_state(page)
        .merge(of_sessions)
        .merge(of_wakes)
        .layer(from_fn_with_state(is_on, only_if_on))
}

async fn only_if_on(
    State(is_on): State<bool>,
    request: Request,
    next: Next,
) -> Result<Response, Fault> {
    if !is_on {
        return Err(OFF);
    }
    Ok(next.run(request).await)
}

const OFF: Fault = Fault::new(
    StatusCode::NOT_FOUND,
    "/try is off: it needs --dev, or [admin] try = true",
);
