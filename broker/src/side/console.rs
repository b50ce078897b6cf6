//! The console: its files, the figures on its start page, and the events that keep its pages current.
//!
//! This file serves `GET /overview`: settings and status, current figures, and the figures of the last hour (from
//! `history`). `assets` contains the console's files; `events` is the page that opens streams, `stream` a single
//! stream, and `topics` the topics to which streams can subscribe, each with its feed and initial state.

pub(crate) mod assets;
pub(crate) mod events;
pub(crate) mod history;
mod stream;
pub(crate) mod topics;

use crate::edge::turn::calendar;
use crate::hooks::Hooks;
use crate::side::cluster::Agreement;
use crate::side::history::HistoryStore;
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

/// Queries every shard; blocks for a limited time.
pub type Look = Box<dyn FnMut() -> Vec<ShardLook> + Send>;

/// The figures of the process, shared by all requests. Shards are queried at most about once a second.
pub(crate) struct Overview {
    live: Arc<tokio::sync::Mutex<Live>>,
    history: Shared<History>,
    agreement: Agreement,
    problems: Arc<Problems>,
    status: StatusBoard,
    node: Value,
}

struct Live {
    look: Look,
    meter: Meter,
    /// Result of the last query, with its time.
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

    /// Returns the current figures.
    pub(crate) async fn now(&self) -> Value {
        let status = self.status.status();
        let mut live = Arc::clone(&self.live).lock_owned().await;
        if let Some((at, figures)) = &live.latest
            && at.elapsed() < FRESH
        {
            return figures.clone();
        }
        if live.meter.looked.elapsed() > STALE {
            // Nobody has asked for a while: the rates are those since the last point of the history.
            live.meter = self.history.lock().meter();
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

    /// Returns this node's history.
    pub(crate) fn store(&self) -> HistoryStore {
        self.history.lock().store()
    }

    /// Returns the handles to the webhook delivery task, if any hooks are configured.
    pub(crate) fn hooks(&self) -> Option<Hooks> {
        self.history.lock().hooks.clone()
    }

    /// Number of open connections superseded by a newer one, at the last count.
    pub(crate) fn superseded(&self) -> u64 {
        self.history.lock().superseded()
    }

    /// Number of connections whose client does not acknowledge messages, at the last count.
    pub(crate) fn doubtful(&self) -> u64 {
        self.history.lock().doubtful()
    }

    /// Returns the current figures and problems, for event streams.
    pub(crate) async fn event(&self) -> Value {
        let mut figures = self.now().await;
        self.problems.show(&mut figures);
        figures
    }

    /// Returns the complete `/overview` document.
    pub(crate) async fn document(&self) -> Value {
        let status = self.status.status();
        let now = self.now().await;
        let store = self.store();
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

    /// Number of connections that the reloaded credentials no longer permit but that stay open for now because they
    /// make up more than half of all connections.
    fn forbidden(&self) -> Option<RecheckSum> {
        let credentials = self.agreement.credentials()?;
        credentials.borrow().recheck().waiting()
    }
}

/// Formats the list of files whose reload was rejected.
fn refused(reloads: &Reloads) -> Value {
    let reloads = reloads.lock();
    let refused = reloads.iter().filter_map(|(what, reload)| {
        let (since, error) = reload.failed.as_ref()?;
        Some(value!({ "what": what, "since": since, "error": error }))
    });
    refused.collect()
}

/// Compares the configuration file with the running settings, if there is a file.
fn of_file(report: &FileReport) -> Option<Value> {
    let FileReport {
        running,
        file,
        waiting,
    } = report;
    (!running.is_empty()).then(|| {
        value!({
            "running": running,
            "file": file,
            "needsSighup": waiting.applied,
            "needsRestart": waiting.restart,
        })
    })
}

/// State of the overview page.
#[derive(Clone)]
struct OverviewPage {
    overview: Arc<Overview>,
    troubled: Arc<Troubled>,
}

/// Returns the route of the overview.
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

/// Formats the node properties that stay constant while the process runs.
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

/// Maximum age of cached figures: less than a second, so that a page that polls once a second gets new figures each
/// time.
const FRESH: Duration = Duration::from_millis(900);
/// Maximum age of the previous sample at which rates still count as current.
const STALE: Duration = Duration::from_secs(5);
