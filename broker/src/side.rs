//! The side thread: a tokio runtime for operator requests, off the message path.
//!
//! Receives signals, which all other threads block, forwards them to the main thread, and serves the admin listener.
//! This file starts the thread.
//!
//! | module | what it is |
//! |---|---|
//! | `shared_state` `process` `feed` | what all others use: the state of the process, signals, events |
//! | `read_files` | every file that is read, and how reloads went |
//! | `admin` | the table of all pages, who gets in with a token or an account, and how a connection is served |
//! | `inspector` `survey` | questions to the shards and to other nodes |
//! | `channels` | what and who is there, and what operators do to it |
//! | `trace` `refusals` `recent_refusals` `forget` | what happened, and why not; how that is forgotten |
//! | `problems` | what is wrong, by cause |
//! | `console` | the operator's pages: files, figures, events |
//! | `metrics` `log` | for programs that watch |
//! | `history` | figures, marks and causes that outlive the process |
//! | `try_page` `try_sessions` | a camera and a viewer in a browser |
//! | `lan` | devices of the local network |
//! | `hooks` | how receivers of events do |
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

/// Starts the side thread, which runs until the process exits and also hosts the webhook delivery task and the fetcher
/// of provider keys. Signals are sent to `commands`: SIGHUP as determined by `hangup`, and each termination signal as
/// an `End`.
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

/// Starts serving the admin listener on the current runtime.
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
                    // The shell and the kernel both send one: the other must not cut the drain short.
                    hangups = None;
                    SideCommand::End
                } else {
                    SideCommand::Reload
                }
            }
        };
        if commands.send(command).is_err() {
            return; // nobody is left to act on it: the process ends
        }
    }
}

/// Waits for the next signal from `signals`; never resolves if these signals are not handled.
async fn next(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}

// The sources of the admin listener's pages, as the start hands them over.

/// The admin listener and the data sources of its pages.
pub struct AdminPage {
    /// Bound, listening, nonblocking sockets, one per address.
    pub listeners: Vec<TcpListener>,
    /// Data sources of the listener's pages, and the tokens that grant access to them.
    pub shows: Shows,
}

/// Data sources of the admin listener's pages.
pub struct Shows {
    /// Collects the metrics.
    pub scrape: Scrape,
    /// Executes queries from the inspector.
    pub inspect: Inspect,
    /// Samples counters and gauges from the shards.
    pub look: Look,
    /// The recorded history of the service's figures.
    pub history: Shared<History>,
    /// The recent log lines.
    pub log: Arc<LogTail>,
    /// The logged refusals, and the decoder of refusal ids.
    pub refusals: Refusals,
    /// Viewers with failed or degraded sessions.
    pub troubled: Arc<Troubled>,
    /// Commits imported channels to the store; `None` if channels are not stored on this disk.
    pub imports: Option<Commit>,
    /// Data sources of a backup.
    pub backup: Backup,
    /// The configuration, with the ports to which the listeners are actually bound.
    pub settings: Arc<Settings>,
    /// The channel that `/try` suggests, and the issuer of trial sessions.
    pub tries: Tries,
    /// The credentials in force; `None` if requests need not be signed.
    pub in_force: Option<InForce>,
    /// The queue of the channel states that shards report while any event stream is subscribed to them.
    pub readers: Readers,
    /// Handles to the webhook delivery task, if any hooks are configured.
    pub hooks: Option<Hooks>,
    /// Metrics of the OpenID providers, if signatures are required.
    pub providers: Option<ProviderFigures>,
    /// The providers' keys and sign-in endpoints, if signatures are required.
    pub known: Option<Knowledge>,
    /// The accounts that may use the console, if any are configured.
    pub accounts: Option<Console>,
    /// Bearer tokens of the listener, if a token file is configured. Each request must then carry one of them.
    pub tokens: Option<Tokens>,
    /// The pages for devices on the local network, under `--lan`.
    pub lan: Option<Lan>,
    /// The `/dev` tools, under `--dev`.
    pub dev: Option<DevTools>,
    /// Handle for querying the local node for `/cluster`, if the nodes agree on slot ownership through etcd.
    pub cluster: Option<ClusterPage>,
    /// Client for requesting other nodes' pages, in a cluster.
    pub nodes: Option<NodePages>,
}

impl Shows {
    /// Receiver of the message copies that shards capture, if capturing is enabled.
    #[must_use]
    pub fn captures(&self) -> Option<Captures> {
        self.dev.as_ref().and_then(|dev| dev.captures.clone())
    }
}
