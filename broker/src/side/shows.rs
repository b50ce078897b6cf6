//! The sources of the admin listener's pages, as the start hands them over.

use crate::hooks::Hooks;
use crate::providers::{Figures, Knowledge};
use crate::side::accounts::Console;
use crate::side::backup::Backup;
use crate::side::channels::import::Commit;
use crate::side::cluster::ClusterPage;
use crate::side::console::history::History;
use crate::side::console::overview::Look;
use crate::side::dev::{Captures, DevTools};
use crate::side::inspect::nodes::NodePages;
use crate::side::inspect::shards::Inspect;
use crate::side::log::tail::LogTail;
use crate::side::metrics::page::Scrape;
use crate::side::phones::lan::Lan;
use crate::side::presence::readers::Readers;
use crate::side::refusals::Refusals;
use crate::side::shared::Shared;
use crate::side::trace::troubled::Troubled;
use crate::side::try_page::session::{InForce, Tries};
use broker_core::settings::Settings;
use std::net::TcpListener;
use std::sync::Arc;

/// The admin listener and what it shows.
pub struct AdminPage {
    /// Bound, listening, nonblocking: one an address.
    pub listeners: Vec<TcpListener>,
    /// The sources of its pages, and the tokens that open them.
    pub shows: Shows,
}

/// The sources of the admin listener's pages.
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
    /// The kept refusals, and the reader of refusals' ids.
    pub refusals: Refusals,
    /// Viewers whose session did not go well.
    pub troubled: Arc<Troubled>,
    /// The way to the store for channels that move in, if they are on this disk.
    pub imports: Option<Commit>,
    /// The sources of a backup.
    pub backup: Backup,
    /// The configuration, its listeners with their actual ports.
    pub settings: Arc<Settings>,
    /// The channel that `/try` proposes, and the issuer of its sessions.
    pub tries: Tries,
    /// The credentials in force, where requests are signed.
    pub in_force: Option<InForce>,
    /// The states of channels that shards tell while somebody reads them.
    pub readers: Readers,
    /// The ways to the courier of hooks, if any are configured.
    pub hooks: Option<Hooks>,
    /// The figures of OpenID providers, where signatures are asked for.
    pub providers: Option<Figures>,
    /// Their keys, and the places at which people sign in, there.
    pub known: Option<Knowledge>,
    /// The accounts that may use the console, if any are configured.
    pub accounts: Option<Console>,
    /// The bearer token that requests need, if one is configured.
    pub token: Option<String>,
    /// The pages for devices of the local network, under `--lan`.
    pub lan: Option<Lan>,
    /// The tools of `/dev`, under `--dev`.
    pub dev: Option<DevTools>,
    /// The requests behind `/cluster`, where the nodes agree in etcd on who owns what.
    pub cluster: Option<ClusterPage>,
    /// The requests between the nodes, there.
    pub nodes: Option<NodePages>,
}

impl Shows {
    /// The receiver of the shards' copies of messages, if these can be requested.
    #[must_use]
    pub fn captures(&self) -> Option<Captures> {
        self.dev.as_ref().and_then(|dev| dev.captures.clone())
    }
}
