//! The side thread: a tokio runtime for operator requests, off the message path.
//!
//! Receives the process's signals and forwards them to the main thread. All other threads block these signals. Also
//! serves the admin listener. This file starts the side thread.
//!
//! | module | contents |
//! |---|---|
//! | `shared_state` `process` `feed` | used by all other modules: state of the process, signals, events |
//! | `read_files` | the files in use, and the results of reloading them |
//! | `admin` | the admin listener: its pages, its connections, access by token or account |
//! | `inspector` `survey` | queries to the shards and to other nodes |
//! | `channels` | channels and their connections, and the operator actions on them |
//! | `trace` `refusals` `recent_refusals` `forget` | events of a channel; refusals and their reasons; erasure |
//! | `problems` | current problems by cause |
//! | `console` | the operator console: its files, figures and events |
//! | `metrics` `log` | metrics and log lines for monitoring systems |
//! | `history` | figures, marks and causes that survive a restart |
//! | `try_page` `try_sessions` | the trial page: a camera and a viewer in a browser |
//! | `lan` | pages for devices on the local network |
//! | `hooks` | status of the hooks' receivers |
//! | `backup` `cluster` `dev` | the registry as a stream; the nodes of the cluster; pages for tests |

pub(crate) mod admin;
mod backup;
mod channels;
mod cluster;
mod console;
mod dev;
mod feed;
mod forget;
mod history;
mod hooks;
mod inspector;
mod lan;
mod log;
mod metrics;
mod problems;
mod process;
mod read_files;
mod recent_refusals;
mod refusals;
mod shared_state;
mod survey;
pub(crate) mod trace;
mod try_page;
mod try_sessions;

use crate::hooks::{Courier, Hooks};
use crate::providers::{Fetcher, Knowledge, ProviderFigures};
pub use admin::accounts::{Console, ConsoleAdmission};
pub use admin::connections::{Visits, admin_descriptors, visits};
pub use admin::tokens::Tokens;
pub use backup::Backup;
use broker_core::settings::Settings;
pub use channels::import::{Commit, Creation};
pub use channels::presence::{Readers, Teller};
pub use cluster::{ClusterPage, ClusterView, LookAtCluster, NodeView};
pub use console::Look;
pub use console::history::{History, ShardLook};
use crossbeam_channel::Sender;
pub use dev::{Captures, DevTools, MoveClocks};
pub use history::HistoryStore;
pub(crate) use history::REFUSED;
pub use history::notes::{Blamed, Cause, MarkKind};
pub use inspector::{
    AskedPath, FindOwner, Inspect, InspectorPost, NodePages, NodeReplies, NodeReply, Posted,
    TakeReply, Whom,
};
pub use lan::{Lan, Pairing};
pub(crate) use log::set_log_level;
pub use log::tail::LogTail;
pub use log::{Log, log_to_stderr};
pub use metrics::{BUDGETS, ProcessState, Report, Scrape, Scraper};
pub use process::{
    Hangup, avoid_huge_pages, block_signals, end_on_panic, forbid_core_files, give_memory_back,
    monotonic, unblock_signals,
};
pub(crate) use process::{local_ahead_s, open_files_hard, raise_open_files, unmap_code};
pub use read_files::{READ_FILES, ReadFiles, Reload, Reloads, reloaded};
pub use refusals::Refusals;
pub use shared_state::{FileReport, Running, Shared, Status, StatusBoard};
use std::net::TcpListener;
use std::sync::Arc;
use std::{io, thread};
pub use survey::Survey;
use tokio::signal::unix::{Signal, SignalKind, signal};
pub use trace::failed_sessions::Troubled;
pub use try_sessions::{InForce, Lender, Tries};

/// An operator command, sent by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideCommand {
    /// SIGTERM, SIGINT, or the SIGHUP that a development server gets when its terminal closes. The server drains and
    /// exits.
    End,
    /// SIGHUP. The server reloads every file that supports reloading.
    Reload,
}

/// Starts the side thread, which runs until the process exits. The thread also runs the courier of hooks and the
/// fetcher of provider keys. Signals are sent to `commands`: termination signals as `End`, and SIGHUP as specified by
/// `hangup`.
///
/// # Errors
/// Fails if the thread or its runtime cannot be created.
pub fn start(
    admin: Option<AdminPage>,
    (courier, fetcher): (Option<Courier>, Option<Fetcher>),
    status: StatusBoard,
    commands: Sender<SideCommand>,
    hangup: Hangup,
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
                    match hangup {
                        Hangup::Ignored => None,
                        Hangup::Reloads | Hangup::EndsWithTerminal => {
                            Some(signal(SignalKind::hangup())?)
                        }
                    },
                );
                process::unblock_signals()?;
                Ok(signals)
            });
            match signals {
                Ok((terminate, interrupt, hangups)) => {
                    let _ = ready.send(Ok(()));
                    courier.map(|courier| tokio::spawn(courier.run()));
                    fetcher.map(|fetcher| tokio::spawn(fetcher.run()));
                    listen(terminate, interrupt, hangups, hangup, commands).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    };
    thread::Builder::new().name("side".into()).spawn(run)?;
    started
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the side thread ended during its startup")))
}

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
    mut terminate: Signal,
    mut interrupt: Signal,
    mut hangups: Option<Signal>,
    hangup: Hangup,
    commands: Sender<SideCommand>,
) {
    loop {
        let command = tokio::select! {
            _ = terminate.recv() => SideCommand::End,
            _ = interrupt.recv() => SideCommand::End,
            _ = next(&mut hangups) => {
                if hangup.ends() {
                    // When a terminal closes, both the shell and the kernel send a SIGHUP. The second one must not cut
                    // the drain short.
                    hangups = None;
                    SideCommand::End
                } else {
                    SideCommand::Reload
                }
            }
        };
        if commands.send(command).is_err() {
            return; // the main thread has exited, and the process exits with it
        }
    }
}

/// Waits for the next signal. If `signals` is `None`, the signal is not handled, and the future never resolves.
async fn next(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}

// Data sources of the admin listener's pages, passed in at startup.

/// The admin listener and the data sources of its pages.
pub struct AdminPage {
    /// The listening sockets, one per address. They must be bound and nonblocking.
    pub listeners: Vec<TcpListener>,
    /// Data sources of the pages, and the tokens that grant access to them.
    pub shows: Shows,
}

/// Data sources of the admin listener's pages.
pub struct Shows {
    /// Collects the metrics.
    pub scrape: Scrape,
    /// Queries the shards for the inspector.
    pub inspect: Inspect,
    /// Samples counters and gauges of the shards.
    pub look: Look,
    /// Figures recorded over time.
    pub history: Shared<History>,
    /// Recent log lines.
    pub log: Arc<LogTail>,
    /// Refusals that have been logged, and the decoder of refusal ids.
    pub refusals: Refusals,
    /// Viewers whose sessions failed or were degraded.
    pub troubled: Arc<Troubled>,
    /// Commits imported channels to the store. `None` in a cluster, where channels are stored in etcd.
    pub imports: Option<Commit>,
    /// Data sources of a backup.
    pub backup: Backup,
    /// The configuration, with the ports that the listeners are actually bound to.
    pub settings: Arc<Settings>,
    /// The channel suggested by `/try`, and the issuer of trial sessions.
    pub tries: Tries,
    /// The current credentials. `None` if requests need not be signed.
    pub in_force: Option<InForce>,
    /// The queue of channel states reported by shards. The shards report states only while an event stream is
    /// subscribed to presence.
    pub readers: Readers,
    /// Handle to the courier, if any hooks are configured.
    pub hooks: Option<Hooks>,
    /// Metrics of the OpenID providers. `None` if requests need not be signed.
    pub providers: Option<ProviderFigures>,
    /// Keys and sign-in endpoints of the OpenID providers. `None` if requests need not be signed.
    pub known: Option<Knowledge>,
    /// The accounts that may use the console, if any are configured.
    pub accounts: Option<Console>,
    /// Bearer tokens, if a token file is configured. Every request must then carry one of them.
    pub tokens: Option<Tokens>,
    /// Pages for devices on the local network. Set only with `--lan`.
    pub lan: Option<Lan>,
    /// The `/dev` tools, under `--dev`.
    pub dev: Option<DevTools>,
    /// Inspects this node for the `/cluster` page. Set only in a cluster with etcd.
    pub cluster: Option<ClusterPage>,
    /// Fetches pages from other nodes. Set only in a cluster.
    pub nodes: Option<NodePages>,
}

impl Shows {
    /// Returns the receiver of captured messages, if capturing is enabled.
    #[must_use]
    pub fn captures(&self) -> Option<Captures> {
        self.dev.as_ref().and_then(|dev| dev.captures.clone())
    }
}
