//! The side thread: a tokio runtime for requests of operators, never on a message's way.
//!
//! It lets signals in (all other threads block them) and forwards them to the main thread, and it serves the admin
//! listener. Its start is on this page.
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

/// An order of the operator, by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideCommand {
    /// SIGTERM or SIGINT, or the terminal of a development server is gone: drain and end.
    End,
    /// SIGHUP: read the files again that may change.
    Reload,
}

/// Starts the side thread, with the courier of hooks and the fetcher of
/// providers' keys on it. It ends with the process. Signals are sent as `commands`, SIGHUP by
/// its effect; a second `End` is sent like the first.
///
/// # Errors
/// The thread or its runtime cannot be made.
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

/// The next of these signals, if they are listened to.
async fn next(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}

// The sources of the admin listener's pages, as the start hands them over.

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
    /// The rows of the history.
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
    pub providers: Option<ProviderFigures>,
    /// Their keys, and the places at which people sign in, there.
    pub known: Option<Knowledge>,
    /// The accounts that may use the console, if any are configured.
    pub accounts: Option<Console>,
    /// The bearer tokens of which requests need one, if a file of them is configured.
    pub tokens: Option<Tokens>,
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
