//! `GET /metrics`: one scrape at a time.

use crate::hooks::Hooks;
use crate::providers::Figures;
use crate::side::admin::answer::{Fault, SILENT};
use crate::side::console::hub::Hub;
use crate::side::inspect::agreement::Agreement;
use crate::side::metrics::Report;
use crate::side::metrics::exposition::Format;
use crate::side::metrics::things::AuthoritiesReport;
use crate::side::status::StatusBoard;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Collects the numbers of `/metrics`: blocks for a bounded time, `None` when a shard does not answer.
pub type Scrape = Box<dyn FnMut() -> Option<Report> + Send>;

/// The sources of the metrics: the scrape, and what the side thread adds.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// One scrape at a time; the others wait for their turn.
    scrape: Arc<Mutex<Scrape>>,
    hub: Arc<Hub>,
    status: StatusBoard,
    hooks: Option<Hooks>,
    providers: Option<Figures>,
    agreement: Agreement,
}

impl Metrics {
    pub(crate) fn new(
        scrape: Scrape,
        hub: Arc<Hub>,
        status: StatusBoard,
        (hooks, providers, agreement): (Option<Hooks>, Option<Figures>, Agreement),
    ) -> Self {
        Self {
            scrape: Arc::new(Mutex::new(scrape)),
            hub,
            status,
            hooks,
            providers,
            agreement,
        }
    }
}

/// The page.
pub(crate) fn routes(metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(page))
        .with_state(metrics)
}

async fn page(
    State(metrics): State<Metrics>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Fault> {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let mut scrape = metrics.scrape.lock_owned().await;
    let report = tokio::task::spawn_blocking(move || (*scrape)()).await;
    let mut report = report.ok().flatten().ok_or(SILENT)?;
    report.process.streams = metrics.hub.streams() as u64;
    report.process.hooks = metrics.hooks.map(|hooks| hooks.report());
    if let Some(figures) = &metrics.providers {
        report.process.providers = figures.borrow().clone();
    }
    if let Some(credentials) = metrics.agreement.credentials() {
        report.process.authorities = AuthoritiesReport::of(&credentials.borrow());
    }
    report.process.differing = metrics.agreement.seconds();
    report.process.status = metrics.status.status();
    let kind = [(header::CONTENT_TYPE, format.content_type())];
    Ok((kind, report.text(format)))
}
