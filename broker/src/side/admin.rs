//! The admin listener: `/live`, `/ready`, `/metrics`.

use super::metrics::{CONTENT_TYPE, Report};
use super::status::{Status, StatusBoard};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// What gives the numbers of `/metrics`: blocks for a bounded time, `None` when a shard does not answer.
pub type Scrape = Box<dyn FnMut() -> Option<Report> + Send>;

/// What the admin listener serves.
#[derive(Clone)]
struct Admin {
    status: StatusBoard,
    /// One scrape at a time; the others wait for their turn.
    scrape: Arc<Mutex<Scrape>>,
    /// Wanted of every request, off loopback.
    token: Option<Arc<str>>,
}

/// Serves `listener` for ever.
///
/// # Errors
/// The listener fails; a connection that does is closed.
pub(super) async fn serve(
    listener: TcpListener,
    status: StatusBoard,
    scrape: Scrape,
    token: Option<String>,
) -> std::io::Result<()> {
    let admin = Admin {
        status,
        scrape: Arc::new(Mutex::new(scrape)),
        token: token.map(Arc::from),
    };
    let routes = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async {
            error(
                StatusCode::NOT_FOUND,
                "no such page: /live, /ready, /metrics",
            )
        })
        .layer(middleware::from_fn_with_state(admin.clone(), authorise))
        .with_state(admin);
    axum::serve(listener, routes).await
}

async fn live(State(admin): State<Admin>) -> Response {
    told(StatusCode::OK, admin.status.status())
}

async fn ready(State(admin): State<Admin>) -> Response {
    let status = admin.status.status();
    let code = match status {
        Status::Ok => StatusCode::OK,
        Status::Starting | Status::Draining | Status::StoreFailed => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    told(code, status)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut scrape = admin.scrape.lock_owned().await;
    let report = tokio::task::spawn_blocking(move || (*scrape)()).await;
    match report.ok().flatten().map(Report::text) {
        Some(Ok(text)) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Some(Err(_)) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written",
        ),
        None => error(StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer"),
    }
}

async fn authorise(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    match &admin.token {
        Some(token) if !bears(request.headers(), token) => {
            let mut response = error(
                StatusCode::UNAUTHORIZED,
                "Authorization: Bearer <token> is missing or wrong",
            );
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
            response
        }
        Some(_) | None => next.run(request).await,
    }
}

fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .map_or(&b""[..], |value| value.as_bytes());
    let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
    verify_slices_are_equal(given, token.as_bytes()).is_ok()
}

/// `{"status":"…"}`.
fn told(code: StatusCode, status: Status) -> Response {
    json(code, format!("{{\"status\":\"{}\"}}", status.as_str()))
}

/// `{"error":"…"}`; the text holds nothing that JSON would escape.
fn error(code: StatusCode, text: &str) -> Response {
    json(code, format!("{{\"error\":\"{text}\"}}"))
}

fn json(code: StatusCode, body: String) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
