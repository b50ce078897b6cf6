//! `/account…`: the current account, sign-in at the provider, and sign-out. Also determines a browser's origin, and
//! contains the sign-in cookies and the page that explains why a sign-in failed.

use crate::edge::turn::calendar;
use crate::providers::SignInEndpoints;
use crate::providers::exchange::{Code, exchange};
use crate::side::admin::access::{CALLBACK, sole};
use crate::side::admin::account_sessions::{self, Account, SESSION_LIFE, SIGN_IN_LIFE, SignIn};
use crate::side::admin::accounts::{Accounts, Terms};
use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Fault, encoded};
use crate::side::log::line;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use broker_core::address_shares::Origin;
use broker_core::auth::provider::{AccountFault, KeySource, Unverified, WantedClaims};
use codec::http::{decode, pairs};
use serde_json::{Value, json as value};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

pub(crate) fn routes(accounts: Option<Accounts>) -> Router {
    let Some(accounts) = accounts else {
        return Router::new();
    };
    Router::new()
        .route("/account", get(account))
        .route("/account/sign-in", get(sign_in))
        .route(CALLBACK, get(callback))
        .route("/account/sign-out", post(sign_out))
        .with_state(accounts)
}

/// `GET /account`: returns the provider, and the account of the session that made the request.
async fn account(State(accounts): State<Accounts>, headers: HeaderMap) -> Json<Value> {
    let now = Instant::now();
    let account = accounts.admit(&Method::GET, &headers, now).ok();
    let account = account.map(|account| {
        let left = account.until.saturating_duration_since(now).as_secs();
        value!({ "issuer": account.issuer, "subject": account.subject, "secondsLeft": left })
    });
    let provider = accounts.terms().map(|terms| terms.basis.issuer.clone());
    Json(value!({ "provider": provider, "account": account }))
}

async fn sign_in(
    State(accounts): State<Accounts>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    headers: HeaderMap,
) -> Result<Response, Notice> {
    let place = BrowserPlace::of(&headers, &accounts.0.origins).ok_or_else(elsewhere)?;
    let terms = accounts.terms().ok_or_else(off)?;
    let endpoints = accounts.endpoints(&terms)?;
    let sign_in = SignIn::new(&place.origin, &terms.basis).ok_or_else(no_randomness)?;
    let to = address(&endpoints, &place, &terms, &sign_in);
    let mut sign_ins = accounts.0.sign_ins.lock();
    let from = Origin::of(seat.remote().ip());
    let state = sign_ins.begin(sign_in, from, Instant::now());
    drop(sign_ins);
    let state = state.ok_or_else(no_randomness)?;
    let to = HeaderValue::try_from(format!("{to}&state={}", &*state)).ok();
    let cookie = place.set(CookieOf::State, &state, SIGN_IN_LIFE.as_secs());
    let (to, cookie) = to.zip(cookie).ok_or_else(no_randomness)?;
    Ok(redirect(to, [Some(cookie), None]))
}

/// Builds the authorization URL of the provider, including all parameters except `state`.
fn address(
    endpoints: &SignInEndpoints,
    place: &BrowserPlace,
    terms: &Terms,
    sign_in: &SignIn,
) -> String {
    let mut to = endpoints.authorization.to_string();
    to.push(if to.contains('?') { '&' } else { '?' });
    to.push_str("response_type=code&code_challenge_method=S256");
    for (name, text) in [
        ("client_id", &*terms.basis.client_id),
        ("redirect_uri", &*place.callback()),
        ("scope", &*terms.admission.oidc.scope()),
        ("nonce", &*sign_in.nonce),
        (
            "code_challenge",
            &*account_sessions::challenge(&sign_in.verifier),
        ),
    ] {
        to.push_str(&format!("&{name}={}", encoded(text)));
    }
    to
}

/// `GET /account/callback`: handles the browser's return from the provider. The pending sign-in is removed in any case.
async fn callback(
    State(accounts): State<Accounts>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(place) = BrowserPlace::of(&headers, &accounts.0.origins) else {
        return elsewhere().into_response();
    };
    let over = place.set(CookieOf::State, "", 0);
    let query = query.unwrap_or_default();
    match finish(&accounts, &place, &query, &headers, &seat).await {
        Ok(session) => redirect(HeaderValue::from_static("/"), [over, Some(session)]),
        Err(notice) => {
            let mut response = notice.into_response();
            let headers = response.headers_mut();
            over.map(|cookie| headers.append(header::SET_COOKIE, cookie));
            response
        }
    }
}

async fn finish(
    accounts: &Accounts,
    place: &BrowserPlace,
    query: &str,
    headers: &HeaderMap,
    seat: &Seat,
) -> Result<HeaderValue, Notice> {
    let state = only(query, "state").unwrap_or_default();
    let known = find(headers, &place.cookie(CookieOf::State)).unwrap_or_default();
    if state.is_empty() || verify_slices_are_equal(state.as_bytes(), known.as_bytes()).is_err() {
        return Err(Notice::new(StatusCode::BAD_REQUEST, NOT_BEGUN));
    }
    let taken = accounts.0.sign_ins.lock().take(&state, Instant::now());
    let sign_in = taken.filter(|sign_in| sign_in.origin == place.origin);
    let sign_in = sign_in.ok_or_else(|| Notice::new(StatusCode::BAD_REQUEST, OVER))?;
    let terms = accounts.terms().ok_or_else(off)?;
    if terms.basis != sign_in.basis {
        return Err(Notice::new(StatusCode::CONFLICT, CHANGED));
    }
    let result = subject(accounts, place, query, &terms, &sign_in).await;
    let subject = result.inspect_err(|notice| {
        let (issuer, reason, remote) = (&terms.basis.issuer, &notice.text, seat.remote());
        tracing::warn!(%issuer, %remote, "a sign-in to the console failed: {}", cut(reason));
    })?;
    if accounts.terms().is_none_or(|now| now.basis != terms.basis) {
        return Err(Notice::new(StatusCode::CONFLICT, CHANGED));
    }
    let mut sessions = accounts.0.sessions.lock();
    let opened = sessions.open(&subject, &terms.basis, &place.origin, Instant::now());
    drop(sessions);
    let (text, account) = opened.ok_or_else(no_randomness)?;
    line::by_account(account.names(), "SignIn", "ok", seat.remote());
    let cookie = place.set(CookieOf::Session, &text, SESSION_LIFE.as_secs());
    cookie.ok_or_else(no_randomness)
}

/// Exchanges the code for an id token, verifies the token, and returns its subject.
async fn subject(
    accounts: &Accounts,
    place: &BrowserPlace,
    query: &str,
    terms: &Terms,
    sign_in: &SignIn,
) -> Result<Box<str>, Notice> {
    let endpoints = accounts.endpoints(terms)?;
    let refused = |text: String| Notice::new(StatusCode::BAD_GATEWAY, text);
    match only(query, "iss") {
        Some(iss) if iss != terms.provider.url() => {
            return Err(refused("the answer is of another provider (iss)".into()));
        }
        None if endpoints.names_issuer || has(query, "iss") => {
            return Err(refused(
                "the answer does not name its provider (iss)".into(),
            ));
        }
        Some(_) | None => {}
    }
    if has(query, "error") {
        let word = only(query, "error").filter(|word| is_word(word));
        let word = word.unwrap_or_else(|| "without a reason".into());
        return Err(Notice::new(
            StatusCode::FORBIDDEN,
            format!("the provider refused the sign-in: {word}"),
        ));
    }
    let code = only(query, "code").filter(|code| (1..=CODE_BYTES_MAX).contains(&code.len()));
    let code = code.ok_or_else(|| refused("the answer of the provider has no code".into()))?;
    let turn = accounts.0.exchanges.try_acquire();
    let _turn = turn.map_err(|_| Notice::new(StatusCode::SERVICE_UNAVAILABLE, BUSY))?;
    let KeySource::Discovery(discovery) = &terms.provider.keys else {
        return Err(off());
    };
    let redirect_uri = place.callback();
    let code = Code {
        code: &code,
        verifier: &sign_in.verifier,
        redirect_uri: &redirect_uri,
        client_id: &terms.basis.client_id,
        secret: terms.admission.secret.as_ref().map(|text| text.as_str()),
    };
    let dev = accounts.0.console.dev;
    let token = exchange(&endpoints, discovery.clone(), dev, code).await;
    let token = token
        .map_err(|error| refused(format!("the provider gave no token for the code: {error}")))?;
    accounts.verified(terms, &token, &sign_in.nonce)
}

impl Accounts {
    fn endpoints(&self, terms: &Terms) -> Result<SignInEndpoints, Notice> {
        let known = self.0.known.borrow();
        let found = known.endpoints.get(&terms.basis.issuer).cloned();
        let code = StatusCode::SERVICE_UNAVAILABLE;
        match found {
            Some(Ok(endpoints)) => Ok(endpoints),
            Some(Err(rule)) => {
                let text = format!("sign-in at the provider is not possible: {rule}");
                Err(Notice::new(code, text).with("provider", &terms.basis.issuer))
            }
            None => Err(Notice::new(code, SILENT).with("provider", &terms.basis.issuer)),
        }
    }

    fn verified(&self, terms: &Terms, token: &str, nonce: &str) -> Result<Box<str>, Notice> {
        let (basis, provider) = (&terms.basis, &terms.provider);
        let keyring = Arc::clone(&self.0.known.borrow().keyring);
        let wanted = WantedClaims {
            client_id: &basis.client_id,
            nonce,
            claim: &basis.claim,
            value: &basis.value,
        };
        let read = Unverified::read(token).map_err(AccountFault::Token);
        let verified = read.and_then(|token| {
            let keys = keyring.keys_of(provider);
            provider.verify_account(&token, keys, &wanted, calendar().0 / 1000)
        });
        verified.map_err(|fault| match &fault {
            AccountFault::Token(token) if token.asks_for_keys() => {
                keyring.wish(provider);
                let text = format!("{fault}: try again in a minute");
                Notice::new(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            AccountFault::Token(_) | AccountFault::Nonce => {
                let text = format!("the provider's token is not valid: {fault}");
                Notice::new(StatusCode::BAD_GATEWAY, text)
            }
            AccountFault::Stranger(subject) => {
                stranger(terms, subject, "this account may not use the console")
            }
            AccountFault::Unchecked(subject) => {
                let text = "the provider has not verified this account's address (email_verified)";
                stranger(terms, subject, text)
            }
        })
    }
}

/// Logs that an account was not admitted. Returns a notice that states what the admission rule requires.
fn stranger(terms: &Terms, subject: &str, text: &str) -> Notice {
    let basis = &terms.basis;
    tracing::warn!(issuer = %basis.issuer, subject = cut(subject), "an account was not admitted to the console");
    Notice::new(StatusCode::FORBIDDEN, text)
        .with("issuer", &basis.issuer)
        .with("subject", subject)
        .with("wanted", &format!("{} = {}", basis.claim, basis.value))
}

/// `POST /account/sign-out`: ends the session that made the request, and closes the session's streams.
async fn sign_out(
    State(accounts): State<Accounts>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    account: Option<Extension<Account>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let Some(Extension(account)) = account else {
        return Err(NO_SESSION);
    };
    accounts.0.sessions.lock().end(&account);
    line::by_account(account.names(), "SignOut", "ok", seat.remote());
    let mut response = StatusCode::NO_CONTENT.into_response();
    let place = BrowserPlace::of(&headers, &accounts.0.origins);
    if let Some(cookie) = place.and_then(|place| place.set(CookieOf::Session, "", 0)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

fn redirect(to: HeaderValue, cookies: [Option<HeaderValue>; 2]) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, to);
    for cookie in cookies.into_iter().flatten() {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

/// Returns the decoded value of a parameter, which must occur exactly once.
fn only(query: &str, name: &str) -> Option<String> {
    let mut found = pairs(query).filter(|(other, _)| *other == name);
    let (_, text) = found.next().filter(|_| found.next().is_none())?;
    decode(text).ok().map(String::from)
}

fn has(query: &str, name: &str) -> bool {
    pairs(query).any(|(other, _)| other == name)
}

/// Returns whether a query value is safe to display. Source for the permitted characters: RFC 6749, section 4.1.2.1.
fn is_word(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=64).contains(&word.len()) && word.bytes().all(plain)
}

fn elsewhere() -> Notice {
    let text = "people sign in at one of the https origins of the configuration, or at localhost on the machine itself";
    Notice::new(StatusCode::FORBIDDEN, text)
}

fn off() -> Notice {
    Notice::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "sign-in is not available at the moment: use the token, or see the broker's log",
    )
}

fn no_randomness() -> Notice {
    Notice::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the sign-in cannot be started",
    )
}

const NOT_BEGUN: &str = "this sign-in was not begun in this browser, or not within ten minutes, or another one was \
                         begun since: begin again";
const OVER: &str = "this sign-in was used already, or has expired: begin again";
const CHANGED: &str = "the configuration changed meanwhile: begin again";
const BUSY: &str = "others are signing in at this moment: begin again in some seconds";
const SILENT: &str = "the provider has not answered yet: try again in a minute, or use the token";
const NO_SESSION: Fault = Fault::conflict("nobody is signed in with an account");

const CODE_BYTES_MAX: usize = 4096;

// The page that states why a sign-in failed.

/// The reason for a failed sign-in, in one or two sentences for the user.
#[derive(Debug)]
struct Notice {
    code: StatusCode,
    text: String,
    facts: Vec<(&'static str, String)>,
}

impl Notice {
    fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            facts: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.facts.push((name, value.into()));
        self
    }
}

impl IntoResponse for Notice {
    fn into_response(self) -> Response {
        let facts = self.facts.iter();
        let facts =
            facts.map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
        let page = PAGE
            .replace("{facts}", &facts.collect::<String>())
            .replace("{text}", &escaped(&self.text));
        let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        (self.code, kind, page).into_response()
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Escaped so that the text cannot contain any of the page's placeholders.
            '{' => out.push_str("&#123;"),
            // Replaces line breaks and characters that change the direction of text.
            letter if letter.is_control() || is_of_direction(letter) => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

const fn is_of_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(crate) fn cut(text: &str) -> &str {
    line::cut(text, TEXT_CHARS_MAX)
}

const TEXT_CHARS_MAX: usize = 128;

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Not signed in · Heliograph</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="/assets/icon.svg">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<header><a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="24" height="24">Heliograph</a></header>
<main>
<section class="card login">
<h1>Not signed in</h1>
<p role="alert">{text}</p>
<dl>{facts}</dl>
<p><a href="/">Back to the console</a></p>
</section>
</main>
</body>
</html>
"#;

// The origin under which a browser reaches the console: a configured https origin, or loopback.

/// The origin of a request, which determines the cookie names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrowserPlace {
    pub(crate) origin: String,
    pub(crate) secure: bool,
    /// The port of a loopback host. Cookie names include it, since all ports of a host share cookies.
    port: u16,
}

impl BrowserPlace {
    /// Determines the origin of a request from its `Host`. Returns `None` if sign-ins are not possible from this
    /// origin.
    pub(crate) fn of(headers: &HeaderMap, origins: &[String]) -> Option<Self> {
        let host = sole(headers, header::HOST)?.to_str().ok()?;
        let is_named = |origin: &&String| origin.strip_prefix("https://") == Some(host);
        if let Some(origin) = origins.iter().find(is_named) {
            return Some(Self {
                origin: origin.clone(),
                secure: true,
                port: 0,
            });
        }
        let authority: Authority = host.parse().ok()?;
        if host.contains('@') || !is_loopback(authority.host()) {
            return None;
        }
        Some(Self {
            origin: format!("http://{}", host.to_ascii_lowercase()),
            secure: false,
            port: authority.port_u16().unwrap_or(80),
        })
    }

    fn callback(&self) -> String {
        format!("{}{CALLBACK}", self.origin)
    }

    /// Returns a cookie's name. Browsers accept a `__Host-` cookie only from exactly this host and only over TLS. A
    /// cookie that is limited to one path cannot have this prefix, and has the prefix `__Secure-` instead.
    pub(crate) fn cookie(&self, of: CookieOf) -> String {
        let (prefix, name) = match of {
            CookieOf::Session => ("__Host-", "heliograph-session"),
            CookieOf::State => ("__Secure-", "heliograph-state"),
        };
        match self.secure {
            true => format!("{prefix}{name}"),
            false => format!("{name}-{}", self.port),
        }
    }

    /// Returns the header that sets a cookie. To remove the cookie, pass an empty value and a lifetime of 0.
    fn set(&self, of: CookieOf, value: &str, life_s: u64) -> Option<HeaderValue> {
        let (name, secure) = (self.cookie(of), if self.secure { "; Secure" } else { "" });
        let (path, same_site) = match of {
            CookieOf::Session => ("/", "Strict"),
            // The browser must send this cookie when it returns from the provider's page, which is another site.
            CookieOf::State => (CALLBACK, "Lax"),
        };
        let text = format!(
            "{name}={value}; Path={path}; Max-Age={life_s}; HttpOnly; SameSite={same_site}{secure}"
        );
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum CookieOf {
    Session,
    State,
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

// Cookies in requests. Source: RFC 6265bis, sections 4.1 and 4.2.

/// Returns the value of the cookie with this name, or `None` if there are two such cookies, since another host may have
/// set one of them.
pub(crate) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';'));
    let mut found = pairs.filter_map(|pair| {
        let (other, value) = pair.trim().split_once('=')?;
        (other == name).then_some(value)
    });
    let sole = found.next().filter(|_| found.next().is_none());
    sole.filter(|value| (1..=VALUE_BYTES_MAX).contains(&value.len()))
}

const VALUE_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_count_once() {
        assert_eq!(only("a=1&b=%2f", "b").as_deref(), Some("/"));
        assert_eq!(only("a=1&a=2", "a"), None);
        assert_eq!(only("a=%ff", "a"), None);
        assert_eq!(only("b=1", "a"), None);
        assert!(has("a=1&a=2", "a") && !has("b", "a"));
    }

    #[test]
    fn only_words_of_an_error_are_shown() {
        assert!(is_word("access_denied"));
        for odd in ["", "Access denied", "<b>", "a b"] {
            assert!(!is_word(odd), "{odd}");
        }
    }
}

#[cfg(test)]
mod notice_tests {
    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn texts_of_a_provider_stay_texts() {
        let notice = Notice::new(StatusCode::FORBIDDEN, "<b>no</b>")
            .with("subject", "\"><script>{text}\u{202e}\n&'");
        let response = notice.into_response();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let page = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("&lt;b&gt;no&lt;/b&gt;"), "{page}");
        let shown = "<dd>&quot;&gt;&lt;script&gt;&#123;text}\u{fffd}\u{fffd}&amp;&#39;</dd>";
        assert!(page.contains(shown), "{page}");
        assert!(!page.contains("{text}") && !page.contains("<script"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("é"), "é");
        assert_eq!(cut(&"é".repeat(200)).chars().count(), TEXT_CHARS_MAX);
    }
}

#[cfg(test)]
mod origin_tests {
    use super::*;
    use axum::http::HeaderValue;

    fn place(hosts: &[&'static str]) -> Option<BrowserPlace> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append("host", HeaderValue::from_static(host));
        }
        let origins = ["https://ops.example.com", "http://plain.example.com"];
        BrowserPlace::of(&headers, &origins.map(str::to_owned))
    }

    #[test]
    fn people_sign_in_at_https_origins_and_on_loopback() {
        for (host, origin, secure) in [
            ("ops.example.com", "https://ops.example.com", true),
            ("localhost:8090", "http://localhost:8090", false),
            ("LocalHost", "http://localhost", false),
            ("127.0.0.1:8090", "http://127.0.0.1:8090", false),
            ("[::1]:8090", "http://[::1]:8090", false),
        ] {
            let place = place(&[host]).unwrap();
            assert_eq!((&*place.origin, place.secure), (origin, secure), "{host}");
            assert_eq!(place.callback(), format!("{origin}/account/callback"));
        }
        #[rustfmt::skip] // a list
        let cases = [
            "plain.example.com", "ops.example.com:444", "ops.example.com.evil.example", "evil.example",
            "localhost.evil.example", "user@127.0.0.1", "192.0.2.7:8090", "",
        ];
        for host in cases {
            assert_eq!(place(&[host]), None, "{host}");
        }
        assert_eq!(place(&["localhost", "ops.example.com"]), None);
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn cookies_of_other_ports_of_loopback_are_others() {
        let names = |host| {
            let place = place(&[host]).unwrap();
            [CookieOf::Session, CookieOf::State].map(|of| place.cookie(of))
        };
        assert_eq!(
            names("localhost:8090"),
            ["heliograph-session-8090", "heliograph-state-8090"]
        );
        assert_eq!(
            names("ops.example.com"),
            ["__Host-heliograph-session", "__Secure-heliograph-state"]
        );
    }
}

#[cfg(test)]
mod cookie_tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_only_once() {
        for (lines, value) in [
            (&["a=1"][..], Some("1")),
            (&["b=2; a=1;c=3"], Some("1")),
            (&["b=2", "a=x=y"], Some("x=y")),
            (&["aa=1; A=2; a"], None),
            (&["a="], None),
            (&["a=1; a=1"], None),
            (&["a=1", "a=2"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_static(line));
            }
            assert_eq!(find(&headers, "a"), value, "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        let long = format!("a={}", "x".repeat(VALUE_BYTES_MAX + 1));
        headers.append(header::COOKIE, HeaderValue::try_from(long).unwrap());
        assert_eq!(find(&headers, "a"), None);
    }

    #[test]
    fn cookies_are_kept_from_pages_and_from_the_clear() {
        let set = |secure, of, value, life_s| {
            let place = BrowserPlace {
                origin: String::new(),
                secure,
                port: 8090,
            };
            let header = place.set(of, value, life_s).unwrap();
            assert!(header.is_sensitive());
            header.to_str().unwrap().to_owned()
        };
        assert_eq!(
            set(true, CookieOf::Session, "v", 60),
            "__Host-heliograph-session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            set(false, CookieOf::State, "", 0),
            "heliograph-state-8090=; Path=/account/callback; Max-Age=0; HttpOnly; SameSite=Lax"
        );
    }
}
