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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    /// Serves on a free port, makes one request with the given lines, and returns status and body.
    fn ask(
        status: Status,
        token: Option<&str>,
        scraped: bool,
        request: &'static str,
    ) -> (u16, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let board = StatusBoard::default();
        board.set(status);
        let report = move || {
            scraped.then(|| Report {
                shards: Vec::new(),
                busy_ratios: Vec::new(),
                tls_not_after: 0,
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let token = token.map(str::to_owned);
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            tokio::spawn(serve(listener, board, Box::new(report), token));
            tokio::task::spawn_blocking(move || exchange(addr, request))
                .await
                .unwrap()
        })
    }

    fn exchange(addr: SocketAddr, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(30)))
            .unwrap();
        write!(stream, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    #[test]
    fn readiness_follows_the_status_and_liveness_does_not() {
        let cases = [
            (Status::Starting, 503, "{\"status\":\"starting\"}"),
            (Status::Ok, 200, "{\"status\":\"ok\"}"),
            (Status::Draining, 503, "{\"status\":\"draining\"}"),
            (Status::StoreFailed, 503, "{\"status\":\"store_failed\"}"),
        ];
        for (status, code, body) in cases {
            assert_eq!(
                ask(status, None, true, "GET /ready HTTP/1.1"),
                (code, body.to_owned())
            );
            assert_eq!(
                ask(status, None, true, "GET /live HTTP/1.1"),
                (200, body.to_owned())
            );
        }
    }

    #[test]
    fn metrics_are_503_when_a_shard_does_not_answer() {
        assert_eq!(ask(Status::Ok, None, false, "GET /metrics HTTP/1.1").0, 503);
        let (code, text) = ask(Status::Ok, None, true, "GET /metrics HTTP/1.1");
        assert_eq!(code, 200);
        assert!(text.contains("heliograph_messages_total"), "{text}");
    }

    #[test]
    fn other_pages_and_methods_are_refused() {
        assert_eq!(ask(Status::Ok, None, true, "GET / HTTP/1.1").0, 404);
        assert_eq!(ask(Status::Ok, None, true, "POST /ready HTTP/1.1").0, 405);
    }

    #[test]
    fn every_page_needs_the_token_if_there_is_one() {
        let with = |request| ask(Status::Ok, Some("the-token"), true, request).0;
        assert_eq!(with("GET /live HTTP/1.1"), 401);
        assert_eq!(with("GET /nothing HTTP/1.1"), 401);
        assert_eq!(
            with("GET /live HTTP/1.1\r\nAuthorization: Bearer the-tokem"),
            401
        );
        assert_eq!(
            with("GET /live HTTP/1.1\r\nAuthorization: Bearer the-token-and-more"),
            401
        );
        assert_eq!(with("GET /live HTTP/1.1\r\nAuthorization: the-token"), 401);
        assert_eq!(
            with("GET /live HTTP/1.1\r\nAuthorization: Bearer the-token"),
            200
        );
    }
}
