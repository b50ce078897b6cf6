//! Metric tables, and `GET /metrics`. `shards` contains the shard metrics, `process` the process metrics, and
//! `exposition` the text formats.
//!
//! Every series exists from the first scrape on and starts at 0. Label values come from fixed sets, never from clients.

pub(crate) mod exposition;
mod process;
mod shards;

use crate::edge::{Post, Scraped};
use crate::side::admin::http::{Fault, SILENT};
use crate::side::console::topics::Sources;
use crate::side::{cluster::Agreement, survey::Survey};
use crate::{hooks::Hooks, providers::ProviderFigures};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use broker_core::{id::ShardId, machine::Machine, shard::Snapshot};
use exposition::{Exposition, Format};
use mailbox::Mailbox;
use process::{AuthoritiesReport, budgets};
pub use process::{BUDGETS, ProcessState};
use shards::MetricsView;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The state of the process at the time of a scrape.
#[derive(Clone, Debug)]
pub struct Report {
    /// The response of each shard, in any order.
    pub shards: Vec<Scraped<Snapshot>>,
    /// The fraction of time that each shard was busy since the previous scrape or since startup. Indexed by shard.
    pub busy_ratios: Vec<f64>,
    /// The metrics of the whole process.
    pub process: ProcessState,
}

impl Report {
    pub(crate) fn text(self, format: Format) -> String {
        let mut sum = Snapshot::default();
        for shard in &self.shards {
            sum.add(&shard.snapshot);
        }
        let view = MetricsView {
            shards: self.shards,
            busy_ratios: self.busy_ratios,
            sum,
        };
        let mut text = Exposition::new(format);
        text.table(shards::METRICS, &view);
        text.table(process::METRICS, &self.process);
        text.finish()
    }
}

// `GET /metrics`, one scrape at a time.

/// Collects the metrics within a limited time. Returns `None` if a shard does not respond.
pub type Scrape = Box<dyn FnMut() -> Option<Report> + Send>;

#[derive(Clone)]
pub(crate) struct Metrics {
    /// Collects a report. Locked during a scrape, so only one scrape runs at a time.
    scrape: Arc<Mutex<Scrape>>,
    sources: Sources,
    hooks: Option<Hooks>,
    providers: Option<ProviderFigures>,
    agreement: Agreement,
}

impl Metrics {
    pub(crate) fn new(
        scrape: Scrape,
        sources: &Sources,
        (hooks, providers, agreement): (Option<Hooks>, Option<ProviderFigures>, Agreement),
    ) -> Self {
        Self {
            scrape: Arc::new(Mutex::new(scrape)),
            sources: sources.clone(),
            hooks,
            providers,
            agreement,
        }
    }
}

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
    let (status, refusals) = (metrics.sources.status, metrics.sources.refusals);
    report.process.streams = metrics.sources.hub.streams() as u64;
    report.process.hooks = metrics.hooks.map(|hooks| hooks.report());
    if let Some(figures) = &metrics.providers {
        report.process.providers = figures.borrow().clone();
    }
    if let Some(credentials) = metrics.agreement.credentials() {
        report.process.authorities = AuthoritiesReport::of(&credentials.borrow());
    }
    report.process.differing = metrics.agreement.seconds();
    report.process.problems = refusals.problems().open();
    report.process.status = status.status();
    report.process.reloads = status.reloads().lock().clone();
    report.process.configuration = status.configuration().lock().clone();
    report.process.budgets = budgets(&status.running().settings());
    let kind = [(header::CONTENT_TYPE, format.content_type())];
    Ok((kind, report.text(format)))
}

// Counters of all shards at a single moment, for `/metrics`.

/// Scrapes the shards, one scrape at a time. There is one scraper per process.
pub struct Scraper<M: Machine<Snapshot = Snapshot>> {
    survey: Survey<M, Scraped<Snapshot>>,
    /// Busy time of each shard in microseconds, as of the last complete report.
    busy_us: Vec<u64>,
    reported: Instant,
}

impl<M: Machine<Snapshot = Snapshot>> Scraper<M> {
    /// Creates a scraper for the shards with these mailboxes.
    #[must_use]
    pub fn new(mailboxes: Arc<[Mailbox<Post<M>>]>) -> Self {
        Self {
            busy_us: vec![0; mailboxes.len()],
            survey: Survey::new(mailboxes),
            reported: Instant::now(),
        }
    }

    /// Collects the counters of every shard, waiting up to `limit`. Returns `None` if a shard does not respond in time.
    pub fn scrape(&mut self, limit: Duration) -> Option<Report> {
        let all = self.survey.all();
        let answers = self.survey.ask(all, limit, Post::Scrape);
        let answers: Option<Vec<_>> = answers.into_iter().map(|(_, answer)| answer).collect();
        let shards = answers?;
        let span = self.reported.elapsed().as_secs_f64().max(1e-6);
        self.reported = Instant::now();
        let mut busy_ratios = Vec::with_capacity(shards.len());
        for (before, answer) in self.busy_us.iter_mut().zip(&shards) {
            let busy = Duration::from_micros(answer.edge.busy_us.saturating_sub(*before));
            *before = answer.edge.busy_us;
            busy_ratios.push((busy.as_secs_f64() / span).min(1.0));
        }
        Some(Report {
            shards,
            busy_ratios,
            process: ProcessState::default(),
        })
    }

    /// Returns the shards that did not respond.
    #[must_use]
    pub fn silent(&self) -> Vec<ShardId> {
        self.survey.silent()
    }
}

#[cfg(test)]
mod scrape_tests {
    use super::*;
    use crate::edge::EdgeCounts;
    use broker_core::cluster::link::LinkTable;
    use broker_core::shard::Shard;

    fn mailboxes() -> Arc<[Mailbox<Post<Shard>>]> {
        (0..2)
            .map(|_| Mailbox::new(8, 4).unwrap())
            .collect::<Vec<_>>()
            .into()
    }

    fn answer(mailbox: &Mailbox<Post<Shard>>, shard: u16, busy_us: u64) {
        let Some(Post::Scrape(to)) = mailbox.try_take() else {
            panic!("no scrape in the mailbox")
        };
        let edge = EdgeCounts {
            busy_us,
            ..EdgeCounts::default()
        };
        to.try_send(Scraped {
            shard: ShardId(shard),
            snapshot: Snapshot::default(),
            edge,
            links: LinkTable::new(),
        })
        .unwrap();
    }

    #[test]
    fn there_is_no_report_without_every_shard() {
        let mailboxes = mailboxes();
        let mut scraper = Scraper::new(Arc::clone(&mailboxes));
        for _ in 0..3 {
            assert!(scraper.scrape(Duration::from_millis(5)).is_none());
        }
        assert_eq!(scraper.silent(), [ShardId(0), ShardId(1)]);
        answer(&mailboxes[0], 0, 0);
        assert!(scraper.scrape(Duration::from_millis(5)).is_none());
        assert_eq!(
            scraper.silent(),
            [ShardId(0), ShardId(1)],
            "the first has answered and was asked again"
        );
        answer(&mailboxes[1], 1, 0);
        assert!(mailboxes[1].is_empty(), "asked once, not four times");
    }

    #[test]
    fn answers_become_a_report_in_the_order_of_shards() {
        let mailboxes = mailboxes();
        let mut scraper = Scraper::new(Arc::clone(&mailboxes));
        let shards = std::thread::spawn(move || {
            for (shard, busy_us) in [(1, 0), (0, u64::MAX)] {
                while mailboxes[usize::from(shard)].is_empty() {
                    std::thread::yield_now();
                }
                answer(&mailboxes[usize::from(shard)], shard, busy_us);
            }
        });
        let report = scraper.scrape(Duration::from_secs(30)).unwrap();
        shards.join().unwrap();
        assert_eq!(
            report
                .shards
                .iter()
                .map(|scraped| scraped.shard)
                .collect::<Vec<_>>(),
            [ShardId(0), ShardId(1)]
        );
        assert_eq!(report.busy_ratios, [1.0, 0.0]);
    }
}

#[cfg(test)]
mod tests;
