//! The side thread: a tokio runtime for operator requests, off the message path.
//!
//! Receives signals, which all other threads block, forwards them to the main thread, and serves the admin listener.
//! This file starts the thread.
//!
//! | module | contents |
//! |---|---|
//! | `shared_state` `process` `feed` | used by all others: state of the process, signals, events |
//! | `read_files` | files in use, and the results of reloads |
//! | `admin` | all pages, access by token or account, connections |
//! | `inspector` `survey` | queries to the shards and to other nodes |
//! | `channels` | channels and their connections, with the actions of operators |
//! | `trace` `refusals` `recent_refusals` `forget` | events of channels; refusals with their reasons; erasure |
//! | `problems` | current problems by cause |
//! | `console` | the operator's pages: files, figures, events |
//! | `metrics` `log` | metrics and log lines for monitoring |
//! | `history` | figures, marks and causes that outlive the process |
//! | `try_page` `try_sessions` | a camera and a viewer in a browser |
//! | `lan` | devices of the local network |
//! | `hooks` | state of the receivers of events |
//! | `backup` `cluster` `dev` | the registry as a stream; the nodes; pages for tests |

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
    /// SIGTERM or SIGINT, or the closing of a development server's terminal: drain and exit.
    End,
    /// SIGHUP: reload all files that support reloading.
    Reload,
}

/// Starts the side thread, which runs until the process exits. It also runs the courier of hooks and the fetcher of
/// provider keys. Signals go to `commands`: SIGHUP as `hangup` determines, and each termination signal as `End`.
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
                    // The shell and the kernel both send a SIGHUP; the second must not cut the drain short.
                    hangups = None;
                    SideCommand::End
                } else {
                    SideCommand::Reload
                }
            }
        };
        if commands.send(command).is_err() {
            return; // the main thread has ended, and so does the process
        }
    }
}

/// Waits for the next of `signals`; never resolves if these signals are not handled.
async fn next(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}

// Data sources of the admin listener's pages, as handed over at startup.

/// Admin listener and the data sources of its pages.
pub struct AdminPage {
    /// Bound, listening, nonblocking sockets, one per address.
    pub listeners: Vec<TcpListener>,
    /// Data sources of the pages, and the tokens that grant access.
    pub shows: Shows,
}

/// Data sources of the admin listener's pages.
pub struct Shows {
    /// Collects the metrics.
    pub scrape: Scrape,
    /// Queries shards for the inspector.
    pub inspect: Inspect,
    /// Samples counters and gauges from the shards.
    pub look: Look,
    /// Recorded history of figures.
    pub history: Shared<History>,
    /// Recent log lines.
    pub log: Arc<LogTail>,
    /// Logged refusals, and the decoder of refusal ids.
    pub refusals: Refusals,
    /// Viewers with failed or degraded sessions.
    pub troubled: Arc<Troubled>,
    /// Commits imported channels to the store; `None` in a cluster, whose channels are in etcd.
    pub imports: Option<Commit>,
    /// Data sources of a backup.
    pub backup: Backup,
    /// Configuration with the actual ports of the listeners.
    pub settings: Arc<Settings>,
    /// Channel that `/try` suggests, and the issuer of trial sessions.
    pub tries: Tries,
    /// Credentials in force; `None` if requests need no signature.
    pub in_force: Option<InForce>,
    /// Queue of the channel states that shards report while an event stream subscribes to them.
    pub readers: Readers,
    /// Handle to the courier of hooks, if any are configured.
    pub hooks: Option<Hooks>,
    /// Metrics of the OpenID providers, if signatures are required.
    pub providers: Option<ProviderFigures>,
    /// Keys and sign-in endpoints of the providers, if signatures are required.
    pub known: Option<Knowledge>,
    /// Accounts that may use the console, if configured.
    pub accounts: Option<Console>,
    /// Bearer tokens of the listener, if a token file is configured. Each request must carry one of them.
    pub tokens: Option<Tokens>,
    /// Pages for devices on the local network, under `--lan`.
    pub lan: Option<Lan>,
    /// The `/dev` tools, under `--dev`.
    pub dev: Option<DevTools>,
    /// Inspects the local node for `/cluster`, in a cluster with etcd.
    pub cluster: Option<ClusterPage>,
    /// Requests pages of other nodes, in a cluster.
    pub nodes: Option<NodePages>,
}

impl Shows {
    /// Returns the receiver of captured messages, if capturing is enabled.
    #[must_use]
    pub fn captures(&self) -> Option<Captures> {
        self.dev.as_ref().and_then(|dev| dev.captures.clone())
    }
}
