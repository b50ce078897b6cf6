//! Access to pages from the local network under `--lan`, for browsers that have redeemed a pairing code and for holders
//! of the admin token. Also contains the pairing codes and their pages.
//!
//! ```text
//!  Host          the address of `--lan`, or a name of --dev-host
//!  Origin        the listener's own; a request that changes nothing may omit it
//!  Sec-Fetch-*   no request caused by a page of another site, except a visit to a page of ours
//!  public        the files of the pages, and the page that redeems a code
//!  else          a session's cookie, or the token
//! ```
//! Requests from the local network arrive through a TLS listener. The admin listener's own rules, which permit
//! everything if no token is configured, never apply to them.

use crate::limits::{PAIR_CODES_MAX, PAIR_SESSIONS_MAX};
use crate::side::admin::access::{AccessRefusal, is_of_another_site, is_page, sole};
use crate::side::admin::account_sessions::hash;
use crate::side::admin::connections::{Seat, Visits};
use crate::side::admin::http::{Answer, Fault};
use crate::side::admin::sign_in::find;
use crate::side::admin::tokens::Tokens;
use crate::side::shared_state::Shared;
use crate::{edge::fill_random, qr::Qr};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use broker_core::settings::{Settings, host_text};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde_json::json as value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pages for devices on the local network.
pub struct Lan {
    /// The connections from devices on the local network, which shards accept and hand over.
    pub visits: Visits,
    /// The pairing codes and the paired sessions.
    pub pairing: Pairing,
}

#[derive(Clone)]
pub(crate) struct LanAccess {
    pub(crate) pairing: Pairing,
    tokens: Option<Tokens>,
    hosts: Arc<[String]>,
}

impl LanAccess {
    pub(crate) fn new(pairing: Pairing, tokens: Option<Tokens>, settings: &Settings) -> Self {
        let hosts = settings.dev_hosts.iter().map(|host| host_text(host));
        Self {
            pairing,
            tokens,
            hosts: hosts.collect(),
        }
    }

    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(), AccessRefusal> {
        let Some(host) = sole(headers, header::HOST).and_then(|host| host.to_str().ok()) else {
            return Err(AccessRefusal::Host);
        };
        if !self.is_our_name(host) {
            return Err(AccessRefusal::Host);
        }
        let reads = *method == Method::GET || *method == Method::HEAD;
        let visit = reads && (is_page(path) || is_of_pairing(path));
        let mut origins = headers.get_all(header::ORIGIN).iter();
        // If there is an `Origin` header, whether it names this listener.
        let origin = origins.next().map(|origin| {
            let ours = origin.as_bytes().strip_prefix(b"https://");
            ours == Some(host.as_bytes()) && origins.next().is_none()
        });
        if origin == Some(false) || is_of_another_site(headers, visit) {
            return Err(AccessRefusal::Origin);
        }
        let bears_token = || {
            let tokens = self.tokens.as_ref();
            tokens.is_some_and(|tokens| tokens.borne(headers).is_some())
        };
        // The public pages are static, or reveal nothing about the service.
        let is_public = path.starts_with("/assets/") || is_of_pairing(path);
        if (reads && is_public) || bears_token() {
            return Ok(());
        }
        // A request that changes something needs an `Origin` header, which shows that a page of this listener sent the
        // request.
        if !reads && origin.is_none() {
            return Err(AccessRefusal::Origin);
        }
        if is_of_pairing(path)
            || find(headers, COOKIE).is_some_and(|it| self.pairing.admits(it, now))
        {
            return Ok(());
        }
        Err(AccessRefusal::Unpaired)
    }

    fn is_our_name(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Returns the `Set-Cookie` value for a session. Because of its name prefix, browsers accept the cookie only over TLS,
/// and only from exactly this host (RFC 6265bis).
pub(crate) fn cookie(session: &str) -> Option<HeaderValue> {
    let seconds = PAIR_SESSION_LIFE.as_secs();
    let text =
        format!("{COOKIE}={session}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    HeaderValue::try_from(text).ok()
}

fn is_of_pairing(path: &str) -> bool {
    path.starts_with("/pair/")
}

const COOKIE: &str = "__Host-heliograph";

// Pairing codes, which let phones use the pages of a development server. A code opens one session, for the browser that
// redeems it.
//
// Codes and sessions are random. Only their hashes are stored, so the time taken by a lookup reveals nothing about a
// secret. If there are too many codes or sessions, the oldest one is evicted.

/// The pairing codes and paired sessions of the process. Clones share them.
#[derive(Clone, Default)]
pub struct Pairing(Shared<Secrets>);

#[derive(Default)]
struct Secrets {
    codes: Kept,
    sessions: Kept,
}

#[derive(Default)]
struct Kept(VecDeque<([u8; 32], Instant)>);

impl Pairing {
    /// Creates a code of 26 capital letters and digits, to be used in a URL path. Returns `None` if the system provides
    /// no random numbers.
    pub fn code(&self, now: Instant) -> Option<String> {
        let mut bytes = [0; 16];
        fill_random(&mut bytes).ok()?;
        let code = BASE32_NOPAD.encode(&bytes);
        let mut secrets = self.0.lock();
        secrets
            .codes
            .keep(&code, now + PAIR_CODE_LIFE, PAIR_CODES_MAX, now);
        Some(code)
    }

    pub(crate) fn is_open(&self, code: &str, now: Instant) -> bool {
        self.0.lock().codes.has(code, now)
    }

    /// Redeems a code for a new session. Returns `None` if the code has been used, has expired or is unknown.
    fn redeem(&self, code: &str, now: Instant) -> Option<String> {
        let mut bytes = [0; 32];
        fill_random(&mut bytes).ok()?;
        let mut secrets = self.0.lock();
        if !secrets.codes.take(code, now) {
            return None;
        }
        let session = HEXLOWER.encode(&bytes);
        secrets
            .sessions
            .keep(&session, now + PAIR_SESSION_LIFE, PAIR_SESSIONS_MAX, now);
        Some(session)
    }

    pub(crate) fn admits(&self, session: &str, now: Instant) -> bool {
        self.0.lock().sessions.has(session, now)
    }
}

impl Kept {
    fn keep(&mut self, secret: &str, until: Instant, most: usize, now: Instant) {
        self.0.retain(|(_, end)| *end > now);
        while self.0.len() >= most {
            self.0.pop_front();
        }
        self.0.push_back((hash(secret), until));
    }

    fn has(&self, secret: &str, now: Instant) -> bool {
        self.place(secret, now).is_some()
    }

    fn take(&mut self, secret: &str, now: Instant) -> bool {
        let place = self.place(secret, now);
        place.is_some_and(|place| self.0.remove(place).is_some())
    }

    fn place(&self, secret: &str, now: Instant) -> Option<usize> {
        let hash = hash(secret);
        self.0
            .iter()
            .position(|(kept, end)| *kept == hash && *end > now)
    }
}

/// Lifetime of a code, long enough to fetch a phone and read the certificate warning on it.
const PAIR_CODE_LIFE: Duration = Duration::from_secs(5 * 60);
/// Lifetime of a session: one working day.
const PAIR_SESSION_LIFE: Duration = Duration::from_secs(8 * 60 * 60);

// Pairing pages. A phone redeems a code at `/pair/{code}`. `POST /try/pair` creates a code.
//
// Merely opening the page does not redeem the code, since programs that preview links open it, too. The page has a
// button to redeem it.

#[derive(Clone)]
struct PairPage {
    pairing: Option<Pairing>,
    base: Option<Arc<str>>,
}

pub(crate) fn routes(pairing: Option<Pairing>, settings: &Settings) -> Router {
    let base = settings.lan_url().map(Arc::from);
    Router::new()
        .route("/pair/{code}", get(page).post(redeem))
        .route("/try/pair", post(code))
        .with_state(PairPage { pairing, base })
}

async fn page(State(it): State<PairPage>, Path(code): Path<String>) -> Result<Response, Fault> {
    let is_open = it.pairing.ok_or(OFF)?.is_open(&code, Instant::now());
    Ok(if is_open {
        shown(StatusCode::OK, "open")
    } else {
        shown(StatusCode::GONE, "gone")
    })
}

/// `POST /pair/{code}`: redeems the code for a session of this browser.
async fn redeem(
    State(it): State<PairPage>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    Path(code): Path<String>,
) -> Result<impl IntoResponse, Fault> {
    let pairing = it.pairing.filter(|_| seat.is_of_lan()).ok_or(OFF)?;
    let session = pairing.redeem(&code, Instant::now());
    let cookie = session.and_then(|session| cookie(&session)).ok_or(GONE)?;
    tracing::info!(remote = %seat.remote().ip(), "a device was paired");
    Ok((
        [(header::SET_COOKIE, cookie)],
        Json(value!({ "paired": true })),
    ))
}

/// `POST /try/pair`: creates a code, and returns it as a URL and as a QR code.
async fn code(State(it): State<PairPage>, ConnectInfo(seat): ConnectInfo<Seat>) -> Answer {
    let (pairing, base) = it.pairing.zip(it.base).ok_or(OFF)?;
    if seat.is_of_lan() {
        return Err(ELSEWHERE);
    }
    let code = pairing.code(Instant::now());
    let url = code.map(|code| format!("{base}/pair/{code}"));
    let drawn = url.and_then(|url| Some((Qr::new(&url)?, url)));
    let (qr, url) = drawn.ok_or(NO_CODE)?;
    Ok(Json(value!({
        "url": url,
        "seconds": PAIR_CODE_LIFE.as_secs(),
        "size": qr.size(),
        "path": qr.path(),
    })))
}

/// Returns the pairing page. `state` is the state of the browser's code, or `needed` if the browser has no code.
pub(crate) fn shown(code: StatusCode, state: &str) -> Response {
    let page = PAGE.replace("data-state=\"\"", &format!("data-state=\"{state}\""));
    let kinds = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            PERMISSIONS_POLICY,
            "camera=(), microphone=(), display-capture=()",
        ),
    ];
    (code, kinds, page).into_response()
}

const PAGE: &str = include_str!("../../console/pair/pair.html");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OFF: Fault =
    Fault::not_found("devices of the local network are let in by --lan, at its address");
const GONE: Fault = Fault::new(
    StatusCode::GONE,
    "this code was used or has expired after five minutes: press New code on /try of the computer",
);
const ELSEWHERE: Fault = Fault::new(
    StatusCode::FORBIDDEN,
    "a new code is made on the computer that runs the broker",
);
const NO_CODE: Fault = Fault::unavailable("no code can be made");

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::settings::Profile;

    const HOST: &str = "192.168.77.2:8443";
    const OURS: (&str, &str) = ("origin", "https://192.168.77.2:8443");

    fn access(token: Option<&str>) -> LanAccess {
        let mut settings = Settings::new(Profile::Default, true);
        settings.dev_hosts = vec!["192.168.77.2".into(), "bench.test".into()];
        LanAccess::new(
            Pairing::default(),
            token.map(|token| Tokens::fixed(&[token])),
            &settings,
        )
    }

    fn check(
        access: &LanAccess,
        line: &str,
        headers: &[(&'static str, &str)],
    ) -> Option<AccessRefusal> {
        let (method, path) = line.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        if headers.iter().all(|(name, _)| *name != "host") {
            map.insert("host", HeaderValue::from_static(HOST));
        }
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let method = method.parse().unwrap();
        access.check(&method, path, &map, Instant::now()).err()
    }

    fn paired(access: &LanAccess) -> String {
        let code = access.pairing.code(Instant::now()).unwrap();
        let session = access.pairing.redeem(&code, Instant::now()).unwrap();
        let cookie = cookie(&session).unwrap();
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
        cookie.to_owned()
    }

    #[test]
    fn nothing_but_files_and_pairing_is_open() {
        let access = access(None);
        #[rustfmt::skip] // a list
        let cases = ["GET /assets/try/try.css", "GET /pair/CODE", "HEAD /pair/CODE"];
        for line in cases {
            assert_eq!(check(&access, line, &[]), None, "{line}");
        }
        assert_eq!(check(&access, "POST /pair/CODE", &[OURS]), None);
        #[rustfmt::skip] // a list
        let cases = [
            "GET /", "GET /try", "GET /try/settings", "GET /overview", "GET /events", "GET /live", "GET /config",
            "GET /pair", "GET /assets",
        ];
        for line in cases {
            let bearer = ("authorization", "Bearer ");
            assert_eq!(
                check(&access, line, &[]),
                Some(AccessRefusal::Unpaired),
                "{line}"
            );
            assert_eq!(
                check(&access, line, &[bearer]),
                Some(AccessRefusal::Unpaired)
            );
        }
        for line in ["POST /try/pair", "DELETE /dev/faults/1", "POST /assets/a"] {
            assert_eq!(check(&access, line, &[OURS]), Some(AccessRefusal::Unpaired));
        }
    }

    #[test]
    fn a_session_reads_and_changes_from_our_pages_alone() {
        let access = access(None);
        let cookie = paired(&access);
        let with = |line, more: &[(&'static str, &str)]| {
            let headers = [&[("cookie", &*cookie)][..], more].concat();
            check(&access, line, &headers)
        };
        assert_eq!(with("GET /try", &[]), None);
        assert_eq!(with("GET /overview", &[OURS]), None);
        assert_eq!(with("POST /channels/a/disconnect", &[OURS]), None);
        assert_eq!(with("POST /dev/clock", &[]), Some(AccessRefusal::Origin));
        #[rustfmt::skip] // a list
        let cases = ["https://evil.example", "http://192.168.77.2:8443", "https://192.168.77.2", "null"];
        for origin in cases {
            for line in ["GET /overview", "POST /dev/clock", "POST /pair/CODE"] {
                assert_eq!(
                    with(line, &[("origin", origin)]),
                    Some(AccessRefusal::Origin),
                    "{line} {origin}"
                );
            }
        }
        let other = [("sec-fetch-site", "cross-site")];
        assert_eq!(with("GET /overview", &other), Some(AccessRefusal::Origin));
        assert_eq!(
            with("GET /overview", &[OURS, OURS]),
            Some(AccessRefusal::Origin)
        );
    }

    #[test]
    fn another_cookie_is_no_session() {
        let access = access(None);
        let good = paired(&access);
        for cookie in [
            good.to_uppercase(),
            good[..good.len() - 1].to_owned(),
            good.replace("__Host-", ""),
            format!("{good}; {good}"),
            format!("a{good}"),
        ] {
            let refused = check(&access, "GET /try", &[("cookie", &cookie)]);
            assert_eq!(refused, Some(AccessRefusal::Unpaired), "{cookie}");
        }
        let among = format!("theme=dark; {good}");
        assert_eq!(check(&access, "GET /try", &[("cookie", &among)]), None);
    }

    #[test]
    fn a_host_is_one_of_ours() {
        let access = access(Some("the-token"));
        let bearer = ("authorization", "Bearer the-token");
        let with = |host| check(&access, "POST /dev/clock", &[bearer, ("host", host)]);
        assert_eq!(with("192.168.77.2:8443"), None);
        assert_eq!(with("Bench.test:8443"), None);
        for host in ["evil.example", "192.168.77.3:8443", "localhost:8443", ""] {
            assert_eq!(with(host), Some(AccessRefusal::Host), "{host}");
        }
    }
}

#[cfg(test)]
mod pairing_tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_code_is_redeemed_once_and_in_time() {
        let (pairing, now) = (Pairing::default(), Instant::now());
        let code = pairing.code(now).unwrap();
        assert!(code.len() == 26 && pairing.is_open(&code, now), "{code}");
        for other in ["", "A", &code.to_lowercase(), &code[1..]] {
            assert_eq!(pairing.redeem(other, now), None, "{other}");
        }
        let session = pairing.redeem(&code, now).unwrap();
        assert_eq!(pairing.redeem(&code, now), None);
        assert!(!pairing.is_open(&code, now));
        let late = pairing.code(now).unwrap();
        assert!(pairing.is_open(&late, now + PAIR_CODE_LIFE - SECOND));
        assert_eq!(pairing.redeem(&late, now + PAIR_CODE_LIFE), None);
        assert!(pairing.admits(&session, now + PAIR_SESSION_LIFE - SECOND));
        assert!(!pairing.admits(&session, now + PAIR_SESSION_LIFE));
        for other in ["", &code, &session[1..]] {
            assert!(!pairing.admits(other, now), "{other}");
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let (pairing, now) = (Pairing::default(), Instant::now());
        let codes: Vec<_> = (0..=PAIR_CODES_MAX)
            .map(|_| pairing.code(now).unwrap())
            .collect();
        assert_eq!(pairing.redeem(&codes[0], now), None);
        let pair = |_| {
            let code = pairing.code(now).unwrap();
            pairing.redeem(&code, now).unwrap()
        };
        let sessions: Vec<_> = (0..=PAIR_SESSIONS_MAX).map(pair).collect();
        assert!(!pairing.admits(&sessions[0], now));
        assert!(pairing.admits(&sessions[1], now));
        // Expired codes no longer count towards the limit.
        let later = now + PAIR_CODE_LIFE;
        let code = pairing.code(later).unwrap();
        assert_eq!(pairing.0.lock().codes.0.len(), 1);
        assert!(pairing.redeem(&code, later).is_some());
    }
}
