//! The admin listener: `/live`, `/ready`, `/metrics`, `/config`, and the inspector's pages.

use super::admin::access::{Access, Refusal};
use super::admin::door::{Door, Seat};
use super::admin::{access, serve};
use super::backup::{self, Backups};
use super::channels::disconnect;
use super::channels::{pages as channels, sessions};
use super::cluster::{self, ClusterPage};
use super::console::assets;
use super::console::events;
use super::console::events::Hub;
use super::console::overview;
use super::console::overview::Overview;
use super::dev::{self, Dev};
use super::inspect::nodes;
use super::inspect::nodes::NodePages;
use super::metrics::Report;
use super::metrics::exposition::Format;
use super::phones::lan::LanAccess;
use super::phones::page as pair_page;
use super::status::{Status, StatusBoard};
use super::trace::troubled::Troubled;
use super::trace::{page as trace, troubled};
use super::try_page::page as try_page;
use super::try_page::session::Tries;
use super::{Refusals, Shows, refusals};
use crate::config;
use crate::limits::ADMIN_BODY_BYTES_MAX;
use axum::Router;
use axum::body::{HttpBody, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use broker_core::id::{Identity, ShardId};
use broker_core::settings::Settings;
use broker_core::shard::{Question, Reply};
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// Collects the numbers of `/metrics`: blocks for a bounded time, `None` when a shard does not answer.
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
    /// This one.
    One(ShardId),
}

/// What the admin listener serves.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) status: StatusBoard,
    /// One scrape at a time; the others wait for their turn.
    scrape: Arc<Mutex<Scrape>>,
    /// One question at a time.
    inspect: Arc<Mutex<Inspect>>,
    pub(super) overview: Arc<Overview>,
    pub(super) hub: Arc<Hub>,
    pub(super) backups: Arc<Backups>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) settings: Arc<Settings>,
    pub(super) access: Access,
    /// The rules for devices of the local network, under `--lan`.
    pub(super) lan: Option<LanAccess>,
    /// Under `--dev` only.
    pub(super) dev: Option<Arc<Dev>>,
    pub(super) tries: Arc<Tries>,
    /// One trace is read at a time: see [`TRACE_EVENTS_MAX`](crate::limits::TRACE_EVENTS_MAX).
    pub(super) tracing: Arc<Mutex<()>>,
    pub(super) troubled: Arc<Troubled>,
    /// Where the nodes agree in etcd on who owns what.
    pub(super) cluster: Option<ClusterPage>,
    /// What the nodes ask each other, there.
    pub(super) nodes: Option<NodePages>,
}

/// Serves `listeners` forever, within the bounds of [`Door`].
pub(super) async fn serve(listeners: Vec<TcpListener>, status: StatusBoard, shows: Shows) {
    let access = Access::new(shows.token.clone(), &shows.settings.admin);
    let (visits, lan) = match shows.lan {
        Some(lan) => {
            let token = shows.token.clone();
            let access = LanAccess::new(lan.pairing, token, &shows.settings);
            (Some(lan.visits), Some(access))
        }
        None => (None, None),
    };
    let admin = Admin {
        status,
        scrape: Arc::new(Mutex::new(shows.scrape)),
        inspect: Arc::new(Mutex::new(shows.inspect)),
        overview: Arc::new(Overview::new(shows.look, shows.history, &shows.settings)),
        hub: Arc::new(Hub::new(shows.log)),
        backups: Arc::new(Backups::new(shows.backup)),
        refusals: Arc::new(shows.refusals),
        settings: shows.settings,
        dev: shows.dev.map(Dev::new).map(Arc::new),
        access,
        lan,
        tries: Arc::new(shows.tries),
        tracing: Arc::default(),
        troubled: shows.troubled,
        cluster: shows.cluster,
        nodes: shows.nodes,
    };
    let routes = Router::new()
        .route("/", get(assets::index))
        .route("/assets/{*path}", get(assets::asset))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/channels", get(channels::list))
        .route("/channels/{name}", get(channels::one))
        .route("/channels/{name}/disconnect", post(disconnect::disconnect))
        .route("/cluster", get(cluster::cluster))
        .route("/cluster/rebalance", post(cluster::rebalance))
        .route("/overview", get(overview::overview))
        .route("/events", get(events::events))
        .route("/channels/{name}/trace", get(trace::trace))
        .route("/sessions/{shard}/{connection}", get(sessions::one))
        .route("/ice/reconnect", post(channels::reconnect))
        .route("/refusals", get(refusals::list))
        .route("/refusals/{id}", get(refusals::one))
        .route("/backup", post(backup::backup))
        .merge(dev::routes(admin.dev.is_some()))
        .merge(try_page::routes(&admin))
        .merge(pair_page::routes())
        .fallback(|| async { error(StatusCode::NOT_FOUND, NO_SUCH_PAGE) })
        .layer(middleware::from_fn_with_state(admin.clone(), authorise))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .layer(middleware::map_response(errors_as_json))
        .layer(middleware::map_response(for_browsers))
        .layer(middleware::from_fn(last_answer))
        .with_state(admin.clone());
    tokio::spawn(events::feed_refusals(admin.clone()));
    tokio::spawn(nodes::answer_nodes(admin.clone()));
    tokio::spawn(troubled::explain(admin.clone()));
    tokio::spawn(events::feed(admin));
    if let Some(visits) = visits {
        tokio::spawn(serve::serve(Door::of_lan(visits), routes.clone()));
    }
    serve::serve(Door::new(listeners), routes).await;
}

/// One request a connection: who has been answered keeps no place from others. What is not read is counted.
async fn last_answer(
    ConnectInfo(seat): ConnectInfo<Seat>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if let Some(bytes) = response.body().size_hint().exact() {
        seat.answers(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    let close = HeaderValue::from_static("close");
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

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let mut scrape = admin.scrape.lock_owned().await;
    let report = tokio::task::spawn_blocking(move || (*scrape)()).await;
    match report.ok().flatten() {
        Some(mut report) => {
            report.process.streams = admin.hub.streams() as u64;
            report.process.status = admin.status.status();
            let kind = [(header::CONTENT_TYPE, format.content_type())];
            (kind, report.text(format)).into_response()
        }
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

    /// Asks one shard; `None` when it does not answer.
    pub(super) async fn ask_shard(&self, shard: ShardId, question: Question) -> Option<Reply> {
        let answers = self.ask(Whom::One(shard), question).await;
        answers.into_iter().next().and_then(|(_, reply)| reply)
    }

    /// Asks shards, off this thread.
    async fn ask(&self, whom: Whom, question: Question) -> Vec<(ShardId, Option<Reply>)> {
        let mut inspect = self.inspect.clone().lock_owned().await;
        let answers = tokio::task::spawn_blocking(move || (*inspect)(&whom, &question)).await;
        answers.unwrap_or_default()
    }
}

/// Answers requests that the rules allow, and says why it does not answer others.
async fn authorise(
    State(admin): State<Admin>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let refusal = match &admin.lan {
        Some(lan) if seat.is_of_lan() => lan.check(method, path, request.headers(), Instant::now()),
        Some(_) | None => admin.access.check(method, path, request.headers()),
    };
    let Err(refusal) = refusal else {
        return next.run(request).await;
    };
    if refusal == Refusal::Unpaired && *method == Method::GET && access::is_page(path) {
        return pair_page::unpaired();
    }
    let (code, text) = refusal.answer();
    let mut response = error(code, text);
    if code == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// What the framework refuses by itself (a method, a path that is no UTF-8, a long body) has the form of every other
/// refusal.
async fn errors_as_json(response: Response) -> Response {
    let (status, headers) = (response.status(), response.headers());
    let kind = headers.get(header::CONTENT_TYPE);
    let is_ours = kind.is_some_and(|kind| OUR_KINDS.iter().any(|ours| kind == ours));
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return error(
            status,
            "not with this method: the header Allow names others",
        );
    }
    let text = to_bytes(response.into_body(), ADMIN_BODY_BYTES_MAX).await;
    error(status, &String::from_utf8_lossy(&text.unwrap_or_default()))
}

/// What every answer says to browsers, unless it says something else itself: nothing but our own files and requests,
/// no frames, nothing kept.
async fn for_browsers(mut response: Response) -> Response {
    for (name, value) in BROWSER_HEADERS {
        let headers = response.headers_mut();
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
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

const BROWSER_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri \
         'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// Types of bodies that no refusal of the framework has: errors, and pages that say what to do.
const OUR_KINDS: [&str; 2] = ["application/json", "text/html; charset=utf-8"];

const NO_SUCH_PAGE: &str = "no such page: /live, /ready, /metrics, /config, /overview, /events, /channels, \
                            /channels/{name}, /channels/{name}/trace, /channels/{name}/disconnect, /refusals, \
                            /refusals/{id}, /sessions/{shard}/{connection}, /ice/reconnect, /backup";

#[cfg(test)]
mod tests;
