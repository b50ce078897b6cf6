//! `/try`: a page that runs a camera and a viewer in one browser. Also receives the wake calls for the page's sleeping
//! camera. If requests must be signed, `try_sessions.rs` provides the page's sessions.

use crate::limits::{
    TRY_SESSION_BODY_BYTES_MAX, TRY_WAKE_BODY_BYTES_MAX, TRY_WAKE_WAIT_S, TRY_WAKES_KEPT,
};
use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Answer, Fault, host_name};
use crate::side::try_sessions::{self, TrySessions};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use broker_core::settings::{Auth, Listen, Scheme, Settings};
use serde_json::{Value, json as value};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Sender, channel};
use tokio::time::timeout;

pub(crate) fn routes(page: TryPage, sessions: TrySessions) -> Router {
    let is_on = page.settings.has_try_page();
    let of_wakes = Router::new()
        .route(
            "/try/wake/{channel}",
            get(wait)
                .post(take)
                .layer(DefaultBodyLimit::max(TRY_WAKE_BODY_BYTES_MAX)),
        )
        // Events that are not about a channel, such as the start of a process or an operator's test event.
        .route("/try/wake/", post(take_other))
        .with_state(TryWakes::new(page.settings.dev));
    let of_sessions = Router::new()
        .route(
            "/try/session",
            post(try_sessions::session).layer(DefaultBodyLimit::max(TRY_SESSION_BODY_BYTES_MAX)),
        )
        .with_state(sessions);
    Router::new()
        .route("/try", get(show_page))
        .route("/try/settings", get(settings))
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

const OFF: Fault = Fault::not_found("/try is off: it needs --dev, or [admin] try = true");

// The page's files, and the data that it needs. The page does its signaling on the client listeners.

#[derive(Clone)]
pub(crate) struct TryPage {
    pub(crate) settings: Arc<Settings>,
    pub(crate) wants_token: bool,
    pub(crate) has_phones: bool,
    pub(crate) channel: Arc<str>,
}

async fn show_page(
    State(it): State<TryPage>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    headers: HeaderMap,
) -> Response {
    let signed = it.settings.auth == Auth::Sigv4;
    let mut page = PAGE.to_owned();
    if signed || (it.wants_token && !seat.is_of_lan()) {
        page = page.replace("data-token=\"none\"", "data-token=\"wanted\"");
    }
    if it.has_phones {
        let phone = if seat.is_of_lan() { "paired" } else { "offer" };
        page = page.replacen("<html ", &format!("<html data-phone=\"{phone}\" "), 1);
    }
    if it.settings.admin.oidc.is_some() {
        page = page.replacen("<html ", "<html data-account=\"taken\" ", 1);
    }
    let policy = content_policy(&it.settings, host_name(&headers));
    let kinds = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &*policy),
        (
            PERMISSIONS_POLICY,
            "camera=(self), microphone=(), display-capture=(self)",
        ),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (kinds, page).into_response()
}

/// `GET /try/settings`: returns the addresses of the client listeners and how to use them.
pub(crate) async fn settings(
    State(it): State<TryPage>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    headers: HeaderMap,
) -> Answer {
    let settings = &it.settings;
    let host = host_name(&headers);
    let plain = settings
        .listen
        .iter()
        .find(|listen| listen.scheme == Scheme::Http);
    // A device on the local network has accepted this listener's certificate, so it receives only this listener's
    // endpoints.
    let of_lan = settings.lan_listener().filter(|_| seat.is_of_lan());
    let listen = of_lan.or(plain).or_else(|| settings.listen.first());
    let listen = listen.ok_or(NO_LISTENER)?;
    let authority = match of_lan {
        Some(listen) => format!("{host}:{}", listen.addr.port()),
        None => own_authority(listen, host),
    };
    let [http, ws] = urls(listen.scheme, &authority);
    Ok(Json(value!({
        "signed": settings.auth == Auth::Sigv4,
        "http": http,
        "ws": ws,
        "channel": &*it.channel,
        "sleeps": settings.dev,
        "called": settings.dev && settings.hooks.iter().any(|hook| hook.wakes && hook.url.contains("/try/wake/")),
        "warning": settings.exposure(),
        "computer": seat.is_of_lan().then(computer),
    })))
}

fn computer() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned())
}

const NO_LISTENER: Fault = Fault::unavailable("there is no client listener");

/// Returns the content security policy of the page. It permits the page's own files and connections to the client
/// listeners.
fn content_policy(settings: &Settings, host: &str) -> String {
    let mut policy = String::from(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'; connect-src 'self'",
    );
    // The policy lists each listener twice: by its address, and by the name that the visitor uses for this machine, as
    // in session URLs.
    let listeners = settings.listen.iter().flat_map(|listen| {
        let named = format!("{host}:{}", listen.addr.port());
        [own_authority(listen, host), named].map(|at| urls(listen.scheme, &at))
    });
    let listeners = listeners.flatten();
    let advertise = &settings.advertise;
    let fixed = [&advertise.https, &advertise.wss]
        .into_iter()
        .flatten()
        .cloned();
    let domain = advertise
        .domain
        .iter()
        .map(|domain| format!("wss://*.{domain}"));
    let mut all: Vec<String> = Vec::new();
    for url in listeners.chain(fixed).chain(domain) {
        // The policy grammar does not include IPv6 addresses (CSP3, section 2.3.1), so only the scheme is listed.
        let source = match url.split_once("://[") {
            Some((scheme, _)) => format!("{scheme}:"),
            None => url,
        };
        if !all.contains(&source) {
            let _ = write!(policy, " {source}");
            all.push(source);
        }
    }
    policy
}

/// Returns the host and port of a listener, for a browser that has reached the admin listener at `host`.
fn own_authority(listen: &Listen, host: &str) -> String {
    if listen.addr.ip().is_unspecified() {
        format!("{host}:{}", listen.addr.port())
    } else {
        listen.addr.to_string()
    }
}

fn urls(scheme: Scheme, at: &str) -> [String; 2] {
    match scheme {
        Scheme::Http => [format!("http://{at}"), format!("ws://{at}")],
        Scheme::Https => [format!("https://{at}"), format!("wss://{at}")],
    }
}

const PAGE: &str = include_str!("../../console/try/try.html");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

// Receives the wake calls for the page's sleeping camera, under `--dev`. A hook posts to `/try/wake/{channel}` on this
// listener, and the page waits for the call at the same path.

#[derive(Clone)]
pub(crate) struct TryWakes {
    is_dev: bool,
    calls: Sender<Call>,
}

type Call = (Arc<str>, u64);

impl TryWakes {
    pub(crate) fn new(is_dev: bool) -> Self {
        let (calls, _) = channel(TRY_WAKES_KEPT);
        Self { is_dev, calls }
    }

    fn check(&self) -> Result<(), Fault> {
        self.is_dev.then_some(()).ok_or(NEEDS_DEV)
    }
}

/// `POST /try/wake/CHANNEL`: receives a hook event. Events other than wake calls are accepted as well.
pub(crate) async fn take(
    State(wakes): State<TryWakes>,
    Path(name): Path<String>,
    Json(event): Json<Value>,
) -> Result<StatusCode, Fault> {
    wakes.check()?;
    if event["type"] == "channel.wake" {
        let attempt = event["data"]["attempt"].as_u64().unwrap_or(1);
        // The call is dropped if no page is waiting for it. The hook will call again.
        let _ = wakes.calls.send((name.into(), attempt));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /try/wake/`: receives a hook event that concerns no channel.
async fn take_other(State(wakes): State<TryWakes>) -> Result<StatusCode, Fault> {
    wakes.check()?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /try/wake/CHANNEL`: waits for a wake call. If none arrives in time, returns `{"attempt":null}`, and the page
/// polls again.
pub(crate) async fn wait(State(wakes): State<TryWakes>, Path(name): Path<String>) -> Answer {
    wakes.check()?;
    let mut calls = wakes.calls.subscribe();
    let call = async {
        loop {
            match calls.recv().await {
                Ok((of, attempt)) if *of == *name => return Some(attempt),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    };
    let within = Duration::from_secs(TRY_WAKE_WAIT_S);
    let attempt = timeout(within, call).await.unwrap_or_default();
    Ok(Json(value!({ "attempt": attempt })))
}

const NEEDS_DEV: Fault = Fault::not_found("/try/wake needs --dev");

#[cfg(test)]
mod page_tests {
    use super::*;
    use broker_core::settings::Profile;

    #[test]
    fn the_policy_names_the_client_listeners_as_the_visitor_reaches_them() {
        let mut settings = Settings::new(Profile::Default, true);
        let ends = |settings: &Settings, end: &str| {
            let policy = content_policy(settings, "bench.test");
            assert!(
                policy.ends_with(&format!("connect-src 'self' {end}")),
                "{policy}"
            );
        };
        settings.listen.truncate(1);
        let named = "http://bench.test:8080 ws://bench.test:8080";
        ends(
            &settings,
            &format!("http://127.0.0.1:8080 ws://127.0.0.1:8080 {named}"),
        );
        settings.listen[0].addr = "0.0.0.0:8080".parse().unwrap();
        ends(&settings, named);
        settings.listen[0].addr = "[::1]:8080".parse().unwrap();
        settings.advertise.wss = Some("wss://one.example".into());
        ends(&settings, &format!("http: ws: {named} wss://one.example"));
        settings.advertise.wss = None;
        settings.advertise.domain = Some("signal.example".into());
        ends(
            &settings,
            &format!("http: ws: {named} wss://*.signal.example"),
        );
    }
}
