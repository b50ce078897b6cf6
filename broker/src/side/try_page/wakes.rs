//! The receiver of the page's sleeping camera, under `--dev`: a hook for `/try/wake/{channel}` of this listener calls
//! it, and the page waits for the call by the same path.

use crate::limits::{TRY_WAKE_WAIT_S, TRY_WAKES_KEPT};
use crate::side::admin::answer::{Answer, Fault};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio::time::timeout;

/// The calls that came, for the pages that wait.
#[derive(Clone)]
pub(crate) struct Wakes {
    is_dev: bool,
    calls: Sender<Call>,
}

/// The channel of a call, and which attempt it is.
type Call = (Arc<str>, u64);

impl Wakes {
    pub(crate) fn new(is_dev: bool) -> Self {
        let (calls, _) = channel(TRY_WAKES_KEPT);
        Self { is_dev, calls }
    }

    fn check(&self) -> Result<(), Fault> {
        self.is_dev.then_some(()).ok_or(NEEDS_DEV)
    }
}

/// `POST /try/wake/CHANNEL`: an event of a hook. Those that call nobody are taken too.
pub(crate) async fn take(
    State(wakes): State<Wakes>,
    Path(name): Path<String>,
    Json(event): Json<Value>,
) -> Result<StatusCode, Fault> {
    wakes.check()?;
    if event["type"] == "channel.wake" {
        let attempt = event["data"]["attempt"].as_u64().unwrap_or(1);
        // Nobody may wait: the hook calls again.
        let _ = wakes.calls.send((name.into(), attempt));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /try/wake/`: an event of no channel.
pub(crate) async fn take_other(State(wakes): State<Wakes>) -> Result<StatusCode, Fault> {
    wakes.check()?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /try/wake/CHANNEL`: waits for a call. `{"attempt":null}` when none came in time: the page asks again.
pub(crate) async fn wait(State(wakes): State<Wakes>, Path(name): Path<String>) -> Answer {
    wakes.check()?;
    let call = call_of(wakes.calls.subscribe(), &name);
    let within = Duration::from_secs(TRY_WAKE_WAIT_S);
    let attempt = timeout(within, call).await.unwrap_or_default();
    Ok(Json(value!({ "attempt": attempt })))
}

async fn call_of(mut calls: Receiver<Call>, channel: &str) -> Option<u64> {
    loop {
        match calls.recv().await {
            Ok((name, attempt)) if *name == *channel => return Some(attempt),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

const NEEDS_DEV: Fault = Fault::new(StatusCode::NOT_FOUND, "/try/wake needs --dev");
