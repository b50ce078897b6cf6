//! The side thread: a tokio runtime for requests of operators, never on a message's way.
//!
//! It lets signals in (all other threads block them) and forwards them to the main thread, and it serves the admin
//! listener. In reading order: this page, `status`, `admin`, `access`, `assets`, `serve`, `door`, `unread`, `backup`,
//! `channels`, `nodes`, `disconnect`, `trace`, `story`, `hints`, `troubled`, `sessions`, `try_page`, `try_session`,
//! `pairing` and `pair_page` (codes for phones), `lan` (who of the local network may see pages), `survey`, `refusals`,
//! `refusal_filter`, `recent`, `scrape`, `metrics`, `exposition`, `history`, `overview`, `events`, `stream`, `feed`,
//! `dev` (pages for tests), `process`, `log`, `log_writer`, `log_line`, `log_tail`.

mod access;
mod admin;
mod assets;
mod audit_places;
mod backup;
mod channels;
mod cluster;
mod dev;
mod disconnect;
mod door;
mod events;
mod exposition;
mod feed;
mod hints;
mod history;
mod lan;
mod log;
mod log_line;
mod log_tail;
mod log_writer;
mod metrics;
mod nodes;
mod overview;
mod pair_page;
mod pairing;
mod process;
mod recent;
mod refusal_filter;
mod refusals;
mod scrape;
mod serve;
mod sessions;
mod shared;
mod status;
mod story;
mod stream;
mod survey;
mod trace;
mod troubled;
mod try_page;
mod try_session;
mod unread;

pub use admin::{Inspect, Scrape, Whom};
pub use backup::{Backup, DATA_DIR_HEADER};
pub use cluster::{ClusterPage, ClusterView, LookAtCluster, NodeView};
pub use dev::{Captures, DevTools, MoveClocks};
pub use door::{Visits, admin_descriptors, visits};
pub use history::{History, ShardLook};
pub use lan::Lan;
pub use log::{Log, log_to_stderr};
pub use log_tail::LogTail;
pub use metrics::{BUDGETS, ProcessState, Report};
pub use nodes::{AskedPath, FindOwner, NodePages, NodeReplies, NodeReply, Post, Posted, TakeReply};
pub use overview::Look;
pub use pairing::Pairing;
pub use process::{
    avoid_huge_pages, block_signals, end_on_panic, give_memory_back, monotonic, raise_descriptors,
    unblock_signals,
};
pub use refusals::Refusals;
pub use scrape::Scraper;
pub use shared::Shared;
pub use status::{Status, StatusBoard};
pub use survey::Survey;
pub use troubled::Troubled;
pub use try_session::{InForce, Lender, Tries};

use broker_core::settings::Settings;
use crossbeam_channel::Sender;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use tokio::signal::unix::{SignalKind, signal};

/// A signal from the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SIGTERM or SIGINT: drain and end.
    End,
    /// SIGHUP: read the files again that may change.
    Reload,
}

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

/// Starts the side thread. It ends with the process. Signals are sent as `commands`; a second `End` is sent like the
/// first.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub fn start(
    admin: Option<AdminPage>,
    status: StatusBoard,
    commands: Sender<Command>,
) -> io::Result<()> {
    let (ready, started) = crossbeam_channel::bounded(1);
    let run = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async move {
            let opened = open(admin, &status);
            let signals = opened.and_then(|()| {
                let signals = (
                    signal(SignalKind::terminate())?,
                    signal(SignalKind::interrupt())?,
                    signal(SignalKind::hangup())?,
                );
                process::unblock_signals()?;
                Ok(signals)
            });
            match signals {
                Ok((terminate, interrupt, hangup)) => {
                    let _ = ready.send(Ok(()));
                    listen(terminate, interrupt, hangup, commands).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    };
    thread::Builder::new().name("side".into()).spawn(run)?;
    started
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the side thread ended at its start")))
}

/// Starts to serve the admin listener, on the runtime that runs this.
fn open(admin: Option<AdminPage>, status: &StatusBoard) -> io::Result<()> {
    let Some(AdminPage { listeners, shows }) = admin else {
        return Ok(());
    };
    let listeners = listeners.into_iter();
    let listeners = listeners.map(tokio::net::TcpListener::from_std);
    let listeners = listeners.collect::<io::Result<_>>()?;
    let status = status.clone();
    tokio::spawn(async move {
        admin::serve(listeners, status, shows).await;
    });
    Ok(())
}

async fn listen(
    mut terminate: tokio::signal::unix::Signal,
    mut interrupt: tokio::signal::unix::Signal,
    mut hangup: tokio::signal::unix::Signal,
    commands: Sender<Command>,
) {
    loop {
        let command = tokio::select! {
            _ = terminate.recv() => Command::End,
            _ = interrupt.recv() => Command::End,
            _ = hangup.recv() => Command::Reload,
        };
        if commands.send(command).is_err() {
            return; // nobody is left to act on it: the process ends
        }
    }
}
