//! `/account…`: who is signed in, the way to the provider and back, and the end.

use crate::edge::clock::calendar;
use crate::providers::Endpoints;
use crate::providers::exchange::{Code, exchange};
use crate::side::accounts::cookie::{self, Cookie};
use crate::side::accounts::notice::{Notice, cut};
use crate::side::accounts::origin::Place;
use crate::side::accounts::sessions::{Account, SESSION_LIFE};
use crate::side::accounts::sign_ins::{SIGN_IN_LIFE, SignIn};
use crate::side::accounts::{Accounts, Terms, secret};
use crate::side::admin::access::CALLBACK;
use crate::side::admin::answer::Fault;
use crate::side::admin::door::Seat;
use crate::side::log::line;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use broker_core::address_shares::Origin;
use broker_core::auth::provider::{AccountFault, KeySource, Unverified, Wanted};
use codec::http::{decode, encode, pairs};
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::time::Instant;

/// The pages; none where no accounts are configured.
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

/// `GET /account`: the provider, and the account whose session the request has.
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

/// `GET /account/sign-in`: sends the browser to the provider.
async fn sign_in(
    State(accounts): State<Accounts>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    headers: HeaderMap,
) -> Result<Response, Notice> {
    let place = Place::of(&headers, &accounts.0.origins).ok_or_else(elsewhere)?;
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
    let cookie = state_cookie(&place, &state, SIGN_IN_LIFE.as_secs());
    let (to, cookie) = to.zip(cookie).ok_or_else(no_randomness)?;
    Ok(redirect(to, [Some(cookie), None]))
}

/// The provider's page with the request, up to its state.
fn address(endpoints: &Endpoints, place: &Place, terms: &Terms, sign_in: &SignIn) -> String {
    let mut to = endpoints.authorization.to_string();
    to.push(if to.contains('?') { '&' } else { '?' });
    to.push_str("response_type=code&code_challenge_method=S256");
    for (name, text) in [
        ("client_id", &*terms.basis.client_id),
        ("redirect_uri", &*place.callback()),
        ("scope", &*terms.admission.oidc.scope()),
        ("nonce", &*sign_in.nonce),
        ("code_challenge", &*secret::challenge(&sign_in.verifier)),
    ] {
        to.push('&');
        to.push_str(name);
        to.push('=');
        encode(&mut to, text);
    }
    to
}

/// `GET /account/callback`: the browser is back. Whatever comes of it, its sign-in is over.
async fn callback(
    State(accounts): State<Accounts>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(place) = Place::of(&headers, &accounts.0.origins) else {
        return elsewhere().into_response();
    };
    let over = state_cookie(&place, "", 0);
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

/// The cookie of a session, if all is right.
async fn finish(
    accounts: &Accounts,
    place: &Place,
    query: &str,
    headers: &HeaderMap,
    seat: &Seat,
) -> Result<HeaderValue, Notice> {
    let state = only(query, "state").unwrap_or_default();
    let known = cookie::find(headers, &place.state_cookie()).unwrap_or_default();
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
        let (issuer, reason, remote) = (&terms.basis.issuer, notice.text(), seat.remote());
        tracing::warn!(%issuer, %remote, "nobody was signed in to the console: {}", cut(reason));
    })?;
    if accounts.terms().is_none_or(|now| now.basis != terms.basis) {
        return Err(Notice::new(StatusCode::CONFLICT, CHANGED));
    }
    let mut sessions = accounts.0.sessions.lock();
    let opened = sessions.open(&subject, &terms.basis, &place.origin, Instant::now());
    drop(sessions);
    let (text, account) = opened.ok_or_else(no_randomness)?;
    line::by_account(account.names(), "SignIn", "ok", seat.remote());
    session_cookie(place, &text, SESSION_LIFE.as_secs()).ok_or_else(no_randomness)
}

/// The subject that the provider vouches for.
async fn subject(
    accounts: &Accounts,
    place: &Place,
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
    /// The places of the provider, once it has answered.
    fn endpoints(&self, terms: &Terms) -> Result<Endpoints, Notice> {
        let known = self.0.known.borrow();
        let found = known.endpoints.get(&terms.basis.issuer).cloned();
        let code = StatusCode::SERVICE_UNAVAILABLE;
        match found {
            Some(Ok(endpoints)) => Ok(endpoints),
            Some(Err(rule)) => {
                let text = format!("nobody can sign in at the provider: {rule}");
                Err(Notice::new(code, text).with("provider", &terms.basis.issuer))
            }
            None => Err(Notice::new(code, SILENT).with("provider", &terms.basis.issuer)),
        }
    }

    /// The subject of an id token that is right.
    fn verified(&self, terms: &Terms, token: &str, nonce: &str) -> Result<Box<str>, Notice> {
        let (basis, provider) = (&terms.basis, &terms.provider);
        let keyring = Arc::clone(&self.0.known.borrow().keyring);
        let wanted = Wanted {
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
                let text = "the provider has not checked this account's address (email_verified)";
                stranger(terms, subject, text)
            }
        })
    }
}

/// The refusal of an account, with what is wanted of it.
fn stranger(terms: &Terms, subject: &str, text: &str) -> Notice {
    let basis = &terms.basis;
    tracing::warn!(issuer = %basis.issuer, subject = cut(subject), "an account was not let in to the console");
    Notice::new(StatusCode::FORBIDDEN, text)
        .with("issuer", &basis.issuer)
        .with("subject", subject)
        .with("wanted", &format!("{} = {}", basis.claim, basis.value))
}

/// `POST /account/sign-out`: ends the session of the request, and its streams.
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
    let place = Place::of(&headers, &accounts.0.origins);
    if let Some(cookie) = place.and_then(|place| session_cookie(&place, "", 0)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

fn session_cookie(place: &Place, value: &str, life_s: u64) -> Option<HeaderValue> {
    let cookie = Cookie {
        name: &place.session_cookie(),
        value,
        path: "/",
        life_s,
        same_site: "Strict",
        secure: place.secure,
    };
    cookie.header()
}

/// `Lax`: it comes with the navigation from the provider's page, which is of another site.
fn state_cookie(place: &Place, value: &str, life_s: u64) -> Option<HeaderValue> {
    let cookie = Cookie {
        name: &place.state_cookie(),
        value,
        path: CALLBACK,
        life_s,
        same_site: "Lax",
        secure: place.secure,
    };
    cookie.header()
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

/// A parameter that is there once, decoded.
fn only(query: &str, name: &str) -> Option<String> {
    let mut found = pairs(query).filter(|(other, _)| *other == name);
    let (_, text) = found.next().filter(|_| found.next().is_none())?;
    decode(text).ok().map(String::from)
}

fn has(query: &str, name: &str) -> bool {
    pairs(query).any(|(other, _)| other == name)
}

/// Whether a word of a query may be shown. Source: RFC 6749, section 4.1.2.1; the characters are those of its words.
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
        "no accounts are let in at the moment: use the token, or see the broker's log",
    )
}

fn no_randomness() -> Notice {
    Notice::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the sign-in cannot be made",
    )
}

const NOT_BEGUN: &str = "this sign-in was not begun in this browser, or not within ten minutes, or another one was \
                         begun since: begin again";
const OVER: &str = "this sign-in was used already, or is over: begin again";
const CHANGED: &str = "the configuration changed meanwhile: begin again";
const BUSY: &str = "others are signing in at this moment: begin again in some seconds";
const SILENT: &str = "the provider has not answered yet: try again in a minute, or use the token";
const NO_SESSION: Fault = Fault::new(StatusCode::CONFLICT, "nobody is signed in with an account");

/// Longest code.
const CODE_BYTES_MAX: usize = 4096;

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
