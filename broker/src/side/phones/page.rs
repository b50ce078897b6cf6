//! `/pair/{code}`: where a phone redeems a code; `POST /try/pair`: a new code, for the page that shows it.
//!
//! A visit alone uses nothing up, since programs that preview links visit them too: the page has a button.

use crate::qr::Qr;
use crate::side::admin::answer::{Answer, Fault};
use crate::side::admin::door::Seat;
use crate::side::phones::lan::cookie;
use crate::side::phones::pairing::{PAIR_CODE_LIFE, Pairing};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use broker_core::settings::Settings;
use serde_json::json as value;
use std::sync::Arc;
use std::time::Instant;

/// The state that both pages need.
#[derive(Clone)]
struct PairPage {
    /// Under `--lan`.
    pairing: Option<Pairing>,
    /// The URL at which devices reach this machine, where there is one.
    base: Option<Arc<str>>,
}

/// The routes of both.
pub(crate) fn routes(pairing: Option<Pairing>, settings: &Settings) -> Router {
    let base = settings.lan_url().map(Arc::from);
    Router::new()
        .route("/pair/{code}", get(page).post(redeem))
        .route("/try/pair", post(code))
        .with_state(PairPage { pairing, base })
}

/// `GET /pair/{code}`.
async fn page(State(it): State<PairPage>, Path(code): Path<String>) -> Result<Response, Fault> {
    let is_open = it.pairing.ok_or(OFF)?.is_open(&code, Instant::now());
    Ok(if is_open {
        shown(StatusCode::OK, "open")
    } else {
        shown(StatusCode::GONE, "gone")
    })
}

/// `POST /pair/{code}`: a session for the browser.
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

/// `POST /try/pair`: a code as a URL and as the drawing of a QR code.
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

/// The answer to a device that is not paired, in the place of a page.
pub(crate) fn unpaired() -> Response {
    shown(StatusCode::UNAUTHORIZED, "needed")
}

fn shown(code: StatusCode, state: &str) -> Response {
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

const PAGE: &str = include_str!("../../../console/pair/pair.html");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OFF: Fault = Fault::new(
    StatusCode::NOT_FOUND,
    "devices of the local network are let in by --lan, at its address",
);
const GONE: Fault = Fault::new(
    StatusCode::GONE,
    "this code was used, or is older than five minutes: press New code on /try of the computer",
);
const ELSEWHERE: Fault = Fault::new(
    StatusCode::FORBIDDEN,
    "a new code is made on the computer that runs the broker",
);
const NO_CODE: Fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, "no code can be made");
