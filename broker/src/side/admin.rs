//! The admin listener: `/live`, `/ready`, `/metrics`, `/config`, and the inspector's pages.

use super::backup::{self, Backups};
use super::door::Door;
use super::metrics::{CONTENT_TYPE, Report};
use super::status::{Status, StatusBoard};
use super::{Shows, channels};
use crate::config;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use broker_core::id::{Identity, ShardId};
use broker_core::settings::Settings;
use broker_core::shard::{Question, Reply};
use serde_json::{Value, json as value};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// What gives the numbers of `/metrics`: blocks for a bounded time, `None` when a shard does not answer.
pub type Scrape = Box<dyn FnMut() -> Option<Report> + Send>;

/// What answers the inspector: the answer of each shard that was meant, in the order of shards, `None` for one that
/// does not answer; blocks for a bounded time.
pub type Inspect = Box<dyn FnMut(&Whom, &Question) -> Vec<(ShardId, Option<Reply>)> + Send>;

/// Which shards a question is for.
#[derive(Clone, Debug)]
pub enum Whom {
    /// Every shard.
    All,
    /// The one where this channel lives, if it exists.
    Home(Identity),
}

/// What the admin listener serves.
#[derive(Clone)]
pub(super) struct Admin {
    status: StatusBoard,
    /// One scrape at a time; the others wait for their turn.
    scrape: Arc<Mutex<Scrape>>,
    /// One question at a time.
    inspect: Arc<Mutex<Inspect>>,
    pub(super) backups: Arc<Backups>,
    pub(super) settings: Arc<Settings>,
    /// Wanted of every request, off loopback.
    token: Option<Arc<str>>,
}

/// Serves `listener` forever, within the bounds of [`Door`].
///
/// # Errors
/// The listener fails; a connection that does is closed.
pub(super) async fn serve(
    listener: TcpListener,
    status: StatusBoard,
    shows: Shows,
) -> std::io::Result<()> {
    let admin = Admin {
        status,
        scrape: Arc::new(Mutex::new(shows.scrape)),
        inspect: Arc::new(Mutex::new(shows.inspect)),
        backups: Arc::new(Backups::new(shows.backup)),
        settings: shows.settings,
        token: shows.token.map(Arc::from),
    };
    let routes = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/channels", get(channels::list))
        .route("/channels/{name}", get(channels::one))
        .route("/ice/reconnect", post(channels::reconnect))
        .route("/backup", post(backup::backup))
        .fallback(|| async { error(StatusCode::NOT_FOUND, NO_SUCH_PAGE) })
        .layer(middleware::from_fn_with_state(admin.clone(), authorise))
        .layer(middleware::map_response(last_answer))
        .with_state(admin);
    axum::serve(Door::new(listener), routes).await
}

/// One request a connection: who has been answered keeps no place from others.
async fn last_answer(mut response: Response) -> Response {
    let close = header::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
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

async fn config(State(admin): State<Admin>) -> Response {
    json(StatusCode::OK, &config::json(&admin.settings))
}

impl Admin {
    /// Asks every shard: their answers in the order of shards, or `None` when one does not answer.
    pub(super) async fn ask_all(&self, question: Question) -> Option<Vec<(ShardId, Reply)>> {
        let answers = self.ask(Whom::All, question).await;
        let whole = answers.into_iter();
        let whole = whole.map(|(shard, reply)| reply.map(|reply| (shard, reply)));
        whole.collect()
    }

    /// Asks the shard where a channel lives; `None` when it does not answer.
    pub(super) async fn ask_home(
        &self,
        channel: Identity,
        question: Question,
    ) -> Option<(ShardId, Reply)> {
        let answers = self.ask(Whom::Home(channel), question).await;
        let first = answers.into_iter().next();
        first.and_then(|(shard, reply)| reply.map(|reply| (shard, reply)))
    }

    /// Asks shards, off this thread.
    async fn ask(&self, whom: Whom, question: Question) -> Vec<(ShardId, Option<Reply>)> {
        let mut inspect = self.inspect.clone().lock_owned().await;
        let answers = tokio::task::spawn_blocking(move || (*inspect)(&whom, &question)).await;
        answers.unwrap_or_default()
    }
}

/// Lets in who has the token, if one is wanted; no page of another origin, so that none in an operator's browser can
/// use the listener (CWE-1385).
async fn authorise(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if foreign(request.headers()) {
        return error(
            StatusCode::FORBIDDEN,
            "a page of another origin may not ask here",
        );
    }
    if admin.token.is_none() && !is_address(request.headers()) {
        return error(
            StatusCode::FORBIDDEN,
            "Host must be localhost or an IP address: a page may have given our address a name of its own",
        );
    }
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

/// Whether a browser says that the request comes from a page which is not of this listener.
fn foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .map_or(&b""[..], |host| host.as_bytes());
    origin.as_bytes().strip_prefix(b"http://") != Some(host)
}

/// Whether the request names the listener by an address. A name that a foreign server gives to our address would make
/// its page one of our origin (DNS rebinding); who has the token is no such page.
fn is_address(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

pub(super) fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .map_or(&b""[..], |value| value.as_bytes());
    let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
    verify_slices_are_equal(given, token.as_bytes()).is_ok()
}

/// `{"status":"…"}`.
fn told(code: StatusCode, status: Status) -> Response {
    json(code, &value!({ "status": status.as_str() }))
}

/// `{"error":"…"}`.
pub(super) fn error(code: StatusCode, text: &str) -> Response {
    json(code, &value!({ "error": text }))
}

/// An answer of JSON.
pub(super) fn json(code: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (code, kind, body.to_string()).into_response()
}

const NO_SUCH_PAGE: &str = "no such page: /live, /ready, /metrics, /config, /channels, /channels/{name}, \
                            /ice/reconnect, /backup";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::Backup;
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
                log_dropped: 0,
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut inspector_answers = scraped;
        let shows = Shows {
            scrape: Box::new(report),
            inspect: Box::new(move |whom, _| {
                if !std::mem::take(&mut inspector_answers) {
                    return vec![(ShardId(0), None)];
                }
                match whom {
                    Whom::All => Vec::new(),
                    Whom::Home(_) => vec![(ShardId(0), Some(Reply::Channel(None)))],
                }
            }),
            backup: Backup::none(),
            settings: Arc::default(),
            token: token.map(str::to_owned),
        };
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            tokio::spawn(serve(listener, board, shows));
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
        let host = if request.contains("Host:") {
            ""
        } else {
            "Host: localhost\r\n"
        };
        write!(stream, "{request}\r\n{host}Connection: close\r\n\r\n").unwrap();
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
    fn the_inspector_is_503_when_a_shard_does_not_answer() {
        for request in [
            "GET /channels HTTP/1.1",
            "GET /channels/one HTTP/1.1",
            "POST /ice/reconnect HTTP/1.1",
        ] {
            let (code, text) = ask(Status::Ok, None, false, request);
            let wanted = "{\"error\":\"a shard does not answer\"}";
            assert_eq!((code, text.as_str()), (503, wanted), "{request}");
        }
        let (code, text) = ask(Status::Ok, None, true, "GET /channels HTTP/1.1");
        let wanted = "{\"channels\":[],\"nextToken\":null}";
        assert_eq!((code, text.as_str()), (200, wanted));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (request, code) in [
            ("GET /channels?limit=0 HTTP/1.1", 400),
            ("GET /channels?limit=1001 HTTP/1.1", 400),
            ("GET /channels?token=x HTTP/1.1", 400),
            ("GET /channels?prefix=%FF HTTP/1.1", 400),
            ("GET /channels/a%0Ab HTTP/1.1", 400),
            ("GET /channels/one HTTP/1.1", 404),
            ("POST /ice/reconnect?channel=arn:aws:nothing HTTP/1.1", 400),
        ] {
            let (got, text) = ask(Status::Ok, None, true, request);
            assert!(
                got == code && text.starts_with("{\"error\":"),
                "{request}: {got} {text}"
            );
        }
        assert_eq!(
            ask(Status::Ok, None, true, "GET /ice/reconnect HTTP/1.1").0,
            405
        );
    }

    #[test]
    fn the_settings_are_shown() {
        let (code, text) = ask(Status::Ok, None, true, "GET /config HTTP/1.1");
        assert_eq!(code, 200);
        assert!(text.contains("\"region\":\"us-west-2\""), "{text}");
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let with = |request| ask(Status::Ok, None, true, request).0;
        assert_eq!(
            with("GET /config HTTP/1.1\r\nOrigin: http://localhost"),
            200
        );
        assert_eq!(
            with("GET /config HTTP/1.1\r\nOrigin: https://localhost"),
            403
        );
        assert_eq!(
            with("GET /config HTTP/1.1\r\nOrigin: http://evil.example"),
            403
        );
        assert_eq!(with("POST /ice/reconnect HTTP/1.1\r\nOrigin: null"), 403);
    }

    #[test]
    fn without_a_token_the_listener_goes_by_its_address_alone() {
        let status = |request| ask(Status::Ok, None, true, request).0;
        assert_eq!(status("GET /config HTTP/1.1\r\nHost: evil.example"), 403);
        assert_eq!(status("GET /config HTTP/1.1\r\nHost: 127.0.0.1:9090"), 200);
        assert_eq!(status("GET /config HTTP/1.1\r\nHost: [::1]:9090"), 200);
        assert_eq!(status("GET /config HTTP/1.1\r\nHost: LocalHost:9"), 200);
        let token = "GET /config HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer t";
        assert_eq!(ask(Status::Ok, Some("t"), true, token).0, 200);
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
