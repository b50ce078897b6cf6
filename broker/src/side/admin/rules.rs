//! Rules that apply to all pages of the admin listener: access checks and response headers.

use crate::limits::ADMIN_BODY_BYTES_MAX;
use crate::side::admin::access::{self, Access, AccessRefusal};
use crate::side::admin::account_sessions::Account;
use crate::side::admin::accounts::Accounts;
use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Fault, JSON};
use crate::side::lan::{self, LanAccess};
use crate::side::log::line;
use axum::Router;
use axum::body::{HttpBody, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::time::Instant;

#[derive(Clone)]
struct Rules {
    access: Access,
    accounts: Option<Accounts>,
    lan: Option<LanAccess>,
}

/// Applies the rules to `pages`.
pub(crate) fn applied(
    access: Access,
    accounts: Option<Accounts>,
    lan: Option<LanAccess>,
    pages: Router,
) -> Router {
    let rules = Rules {
        access,
        accounts,
        lan,
    };
    pages
        .layer(middleware::from_fn_with_state(rules, authorise))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .layer(middleware::map_response(errors_as_json))
        .layer(middleware::map_response(for_browsers))
        .layer(middleware::from_fn(last_answer))
}

async fn authorise(
    State(rules): State<Rules>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let refusal = match &rules.lan {
        Some(lan) if seat.is_of_lan() => lan.check(method, path, request.headers(), Instant::now()),
        Some(_) | None => rules.access.check(method, path, request.headers()),
    };
    let Err(mut refusal) = refusal else {
        let borne = rules.access.borne(request.headers());
        let response = next.run(request).await;
        if let Some(((tokens, token), stream)) = borne.zip(seat.stream()) {
            tokens.hold(token, stream);
        }
        return response;
    };
    if let Some(accounts) = rules.accounts.as_ref().filter(|_| !seat.is_of_lan())
        && refusal == AccessRefusal::Token
    {
        match accounts.admit(method, request.headers(), Instant::now()) {
            Ok(account) => return for_account(accounts, account, &seat, request, next).await,
            Err(other) => refusal = other,
        }
    }
    if refusal == AccessRefusal::Unpaired && *method == Method::GET && access::is_page(path) {
        return lan::shown(StatusCode::UNAUTHORIZED, "needed");
    }
    let fault = refusal.answer();
    let is_token = fault.0 == StatusCode::UNAUTHORIZED;
    let scheme = is_token.then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
    (scheme, fault).into_response()
}

/// Serves a request made by an account. Requests that may change something are logged with the account. Event streams
/// are closed when the account's session ends.
async fn for_account(
    accounts: &Accounts,
    account: Account,
    seat: &Seat,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let reads = *method == Method::GET || *method == Method::HEAD;
    let mut change = (!reads && path != SIGN_OUT).then(|| AccountChange {
        account: account.clone(),
        operation: format!("{method} {path}"),
        remote: seat.remote(),
        status: None,
    });
    request.extensions_mut().insert(account.clone());
    let response = next.run(request).await;
    if let Some(change) = &mut change {
        change.status = Some(response.status());
    }
    drop(change);
    if let Some(stream) = seat.stream() {
        accounts.0.sessions.lock().hold(&account, stream);
    }
    response
}

/// A request by an account that may change something. Logged when the request finishes, even if the caller has
/// disconnected.
struct AccountChange {
    account: Account,
    operation: String,
    remote: SocketAddr,
    status: Option<StatusCode>,
}

impl Drop for AccountChange {
    fn drop(&mut self) {
        let outcome = match &self.status {
            None => "unanswered",
            Some(status) if status.is_success() => "ok",
            Some(status) => status.as_str(),
        };
        line::by_account(self.account.names(), &self.operation, outcome, self.remote);
    }
}

/// Closes the connection after its first response, which frees its slot. Until then, the bytes of the response count as
/// unread.
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

/// Converts refusals by the framework (wrong method, path that is not UTF-8, body too long) to the format used for all
/// other refusals.
async fn errors_as_json(response: Response) -> Response {
    let (status, headers) = (response.status(), response.headers());
    let kind = headers.get(header::CONTENT_TYPE);
    let is_ours = kind.is_some_and(|kind| OUR_KINDS.iter().any(|ours| kind == ours));
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let text = "not with this method: the header Allow names others";
        return Fault::new(status, text).into_response();
    }
    let text = to_bytes(response.into_body(), ADMIN_BODY_BYTES_MAX).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    Fault(status, text.into()).into_response()
}

/// Adds the security headers that the response does not set itself. They permit only files and requests of our own
/// origin, and forbid framing and caching.
async fn for_browsers(mut response: Response) -> Response {
    for (name, value) in BROWSER_HEADERS {
        let headers = response.headers_mut();
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

pub(crate) const BROWSER_HEADERS: [(HeaderName, &str); 5] = [
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

/// The sign-out path. Requests to it are logged by the code that ends the session.
const SIGN_OUT: &str = "/account/sign-out";

/// The content types of our errors and instruction pages. Refusals by the framework have other content types.
const OUR_KINDS: [&str; 2] = [JSON, "text/html; charset=utf-8"];
