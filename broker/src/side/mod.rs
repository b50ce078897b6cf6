//! The side thread: a tokio runtime for requests of operators, never on a message's way.
//!
//! It lets signals in (all other threads block them) and forwards them to the main thread, and it serves the admin
//! listener.
//!
//! | place | what it is |
//! |---|---|
//! | this page, `status`, `shared`, `process`, `feed` | its start, and what all rooms use |
//! | `admin` | who gets in, and how a connection is served |
//! | `accounts` | people who get in with an account of an OpenID provider |
//! | `pages` `rules` `shows` | the table of all pages, what holds for each, and what they show |
//! | `inspect` | questions to the shards and to other nodes |
//! | `channels` `presence` `trace` `refusals` | what and who is there, what happened, and why not |
//! | `console` | the operator's pages: files, figures, events |
//! | `metrics` `log` | for programs that watch |
//! | `try_page` `phones` | a camera and a viewer in a browser; devices of the local network |
//! | `hooks` | how receivers of events do |
//! | `backup` `cluster` `dev` | the registry as a stream; the nodes; pages for tests |

pub(crate) mod accounts;
mod admin;
mod backup;
mod channels;
mod cluster;
mod console;
mod dev;
mod feed;
mod hooks;
mod inspect;
mod log;
mod metrics;
mod pages;
mod phones;
mod presence;
mod process;
mod refusals;
mod rules;
mod shared;
mod shows;
mod status;
mod trace;
mod try_page;

use crate::hooks::Courier;
use crate::providers::Fetcher;
pub use accounts::{Admission, Console};
pub use admin::door::{Visits, admin_descriptors, visits};
pub use backup::Backup;
pub use channels::import::{Commit, Creation};
pub use cluster::{ClusterPage, ClusterView, LookAtCluster, NodeView};
pub use console::history::{History, ShardLook};
pub use console::overview::Look;
use crossbeam_channel::Sender;
pub use dev::{Captures, DevTools, MoveClocks};
pub use inspect::nodes::{
    AskedPath, FindOwner, NodePages, NodeReplies, NodeReply, Post, Posted, TakeReply,
};
pub use inspect::shards::{Inspect, Whom};
pub use inspect::survey::Survey;
pub use log::tail::LogTail;
pub use log::{Log, log_to_stderr};
pub use metrics::page::Scrape;
pub use metrics::scrape::Scraper;
pub use metrics::{BUDGETS, ProcessState, Report};
pub use phones::lan::Lan;
pub use phones::pairing::Pairing;
pub use presence::readers::{Readers, Teller};
pub use process::{
    avoid_huge_pages, block_signals, end_on_panic, give_memory_back, monotonic, raise_descriptors,
    unblock_signals,
};
pub use refusals::Refusals;
pub use shared::Shared;
pub use shows::{AdminPage, Shows};
pub use status::{Status, StatusBoard};
use std::{io, thread};
use tokio::signal::unix::{SignalKind, signal};
pub use trace::troubled::Troubled;
pub use try_page::session::{InForce, Lender, Tries};

/// A signal from the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SIGTERM or SIGINT: drain and end.
    End,
    /// SIGHUP: read the files again that may change.
    Reload,
}

/// Starts the side thread, with the courier of hooks and the fetcher of
/// providers' keys on it. It ends with the process. Signals are sent as `commands`; a
/// second `End` is sent like the first.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub fn start(
    admin: Option<AdminPage>,
    (courier, fetcher): (Option<Courier>, Option<Fetcher>),
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
                    courier.map(|courier| tokio::spawn(courier.run()));
                    fetcher.map(|fetcher| tokio::spawn(fetcher.run()));
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
        pages::serve(listeners, status, shows).await;
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
