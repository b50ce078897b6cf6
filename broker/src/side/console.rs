//! The console: its files, the metrics on its start page, and the events that update its pages.
//!
//! This file serves `GET /overview`, which returns settings and status, current metrics, and the metrics of the last
//! hour (from `history`). `assets` contains the console's files. `events` contains the page that opens event streams,
//! `stream` a single stream, and `topics` the streams' topics with their feeds and initial states.

pub(crate) mod assets;
pub(crate) mod events;
pub(crate) mod history;
mod stream;
pub(crate) mod topics;

use crate::edge::turn::calendar;
use crate::side::cluster::Agreement;
use crate::side::problems::Problems;
use crate::side::read_files::Reloads;
use crate::side::shared_state::{FileReport, Shared, StatusBoard};
use crate::side::trace::failed_sessions::Troubled;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use broker_core::{auth::RecheckSum, settings::Settings};
use history::{History, Meter, ShardLook};
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Samples the counters of every shard within a limited time.
pub type Look = Box<dyn FnMut() -> Vec<ShardLook> + Send>;

/// The data of `GET /overview`, shared by all requests. The metrics are cached, so shards are queried at most about
/// once a second.
pub(crate) struct Overview {
    live: Arc<tokio::sync::Mutex<Live>>,
    pub(crate) history: Shared<History>,
    agreement: Agreement,
    problems: Arc<Problems>,
    status: StatusBoard,
    node: Value,
}

struct Live {
    look: Look,
    meter: Meter,
    /// The latest metrics, and when they were queried.
    latest: Option<(Instant, Value)>,
}

impl Overview {
    pub(crate) fn new(
        (look, history, agreement): (Look, Shared<History>, Agreement),
        problems: Arc<Problems>,
        status: StatusBoard,
        settings: &Settings,
    ) -> Self {
        let live = Live {
            look,
            meter: Meter::new(Instant::now()),
            latest: None,
        };
        Self {
            live: Arc::new(tokio::sync::Mutex::new(live)),
            history,
            agreement,
            problems,
            status,
            node: node(settings),
        }
    }

    pub(crate) async fn now(&self) -> Value {
        let status = self.status.status();
        let mut live = Arc::clone(&self.live).lock_owned().await;
        if let Some((at, figures)) = &live.latest
            && at.elapsed() < FRESH
        {
            return figures.clone();
        }
        if live.meter.looked.elapsed() > STALE {
            // Without a recent request, rates are computed from the last point of the history.
            live.meter = self.history.lock().meter.clone();
        }
        let credentials = self.agreement.json();
        let refused = refused(self.status.reloads());
        let configuration = of_file(&self.status.configuration().lock());
        let look = move || {
            let looks = (live.look)();
            let point = live.meter.point(Instant::now(), calendar().0, &looks);
            let mut figures = point.json(status);
            if let Some(credentials) = credentials {
                figures["credentials"] = credentials;
            }
            figures["reloads"] = refused;
            if let Some(configuration) = configuration {
                figures["configuration"] = configuration;
            }
            live.latest = Some((Instant::now(), figures.clone()));
            figures
        };
        let figures = tokio::task::spawn_blocking(look).await;
        figures.unwrap_or_default()
    }

    pub(crate) async fn event(&self) -> Value {
        let mut figures = self.now().await;
        self.problems.show(&mut figures);
        figures
    }

    pub(crate) async fn document(&self) -> Value {
        let status = self.status.status();
        let now = self.now().await;
        let store = self.history.lock().store();
        let history = tokio::task::spawn_blocking(move || store.hour()).await;
        let history = history.unwrap_or_default();
        let mut document = value!({ "status": status.as_str(), "node": self.node, "now": now, "history": history });
        self.problems.show(&mut document);
        if let Some(sum) = self.forbidden() {
            document["forbidden"] =
                value!({ "connections": sum.connections, "forbidden": sum.forbidden });
        }
        document
    }

    /// Returns how many connections are open, and how many of them the reloaded credentials forbid. Returns `None`
    /// unless the forbidden connections are being kept open because they make up more than half of all connections.
    fn forbidden(&self) -> Option<RecheckSum> {
        let credentials = self.agreement.credentials()?;
        credentials.borrow().recheck().waiting()
    }
}

fn refused(reloads: &Reloads) -> Value {
    let reloads = reloads.lock();
    let refused = reloads.iter().filter_map(|(what, reload)| {
        let (since, error) = reload.failed.as_ref()?;
        Some(value!({ "what": what, "since": since, "error": error }))
    });
    refused.collect()
}

fn of_file(report: &FileReport) -> Option<Value> {
    (!report.running.is_empty()).then(|| {
        value!({
            "running": report.running,
            "file": report.file,
            "needsSighup": report.waiting.applied,
            "needsRestart": report.waiting.restart,
        })
    })
}

#[derive(Clone)]
struct OverviewPage {
    overview: Arc<Overview>,
    troubled: Arc<Troubled>,
}

pub(crate) fn routes(overview: Arc<Overview>, troubled: Arc<Troubled>) -> Router {
    Router::new()
        .route("/overview", get(page))
        .with_state(OverviewPage { overview, troubled })
}

async fn page(State(page): State<OverviewPage>) -> Json<Value> {
    let mut document = page.overview.document().await;
    document["troubled"] = page.troubled.json();
    Json(document)
}

fn node(settings: &Settings) -> Value {
    let (profile, engine): (&str, &str) = (settings.profile.into(), settings.engine.into());
    value!({
        "name": settings.cluster.node,
        "version": env!("CARGO_PKG_VERSION"),
        "commit": crate::version::COMMIT_LABEL,
        "profile": profile,
        "dev": settings.dev,
        "try": settings.has_try_page(),
        "accounts": settings.admin.oidc.is_some(),
        "region": settings.region,
        "accountId": settings.account_id,
        "shards": settings.shards,
        "engine": engine,
        "startedAt": calendar().0,
    })
}

/// Maximum age of cached metrics. Since it is less than a second, a page that polls every second always receives new
/// ones.
const FRESH: Duration = Duration::from_millis(900);
/// Maximum age of the previous sample. Rates computed from an older sample would not be current.
const STALE: Duration = Duration::from_secs(5);
