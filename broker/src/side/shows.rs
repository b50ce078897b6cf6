//! What the admin listener shows, as the start hands it over.

use super::backup::Backup;
use super::cluster::ClusterPage;
use super::console::history::History;
use super::console::overview::Look;
use super::dev::{Captures, DevTools};
use super::inspect::nodes::NodePages;
use super::inspect::shards::Inspect;
use super::log::tail::LogTail;
use super::metrics::page::Scrape;
use super::phones::lan::Lan;
use super::refusals::Refusals;
use super::shared::Shared;
use super::trace::troubled::Troubled;
use super::try_page::session::Tries;
use broker_core::settings::Settings;
use std::net::TcpListener;
use std::sync::Arc;

/// The admin listener and what it shows.
pub struct AdminPage {
    /// Bound, listening, nonblocking: one an address.
    pub listeners: Vec<TcpListener>,
    /// What it shows, and to whom.
    pub shows: Shows,
}

/// What the admin listener shows.
pub struct Shows {
    /// Collects the metrics.
    pub scrape: Scrape,
    /// Answers the inspector.
    pub inspect: Inspect,
    /// Looks at the shards for figures.
    pub look: Look,
    /// The figures of the last hour.
    pub history: Shared<History>,
    /// The last lines of the log.
    pub log: Arc<LogTail>,
    /// What is known of refusals.
    pub refusals: Refusals,
    /// Viewers whose session did not go well.
    pub troubled: Arc<Troubled>,
    /// What a backup is made of.
    pub backup: Backup,
    /// The configuration, its listeners with their actual ports.
    pub settings: Arc<Settings>,
    /// What `/try` has beside the settings.
    pub tries: Tries,
    /// The bearer token that requests need, if one is configured.
    pub token: Option<String>,
    /// What devices of the local network get, under `--lan`.
    pub lan: Option<Lan>,
    /// What `/dev` is served by, under `--dev`.
    pub dev: Option<DevTools>,
    /// What `/cluster` asks, where the nodes agree in etcd on who owns what.
    pub cluster: Option<ClusterPage>,
    /// What the nodes ask each other, there.
    pub nodes: Option<NodePages>,
}

impl Shows {
    /// Where shards send copies of messages, if these can be requested.
    #[must_use]
    pub fn captures(&self) -> Option<Captures> {
        self.dev.as_ref().and_then(|dev| dev.captures.clone())
    }
}
