//! State that all connections of a node share: its name, TLS, places, bytes on their way, and notes for the log.

use crate::tcp::places::Places;
use crate::{limits::NOTE_EVERY, names::Name, peers::PeerMailbox};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::warn;

/// The state that all connections of a node share.
pub(crate) struct NodeShared {
    pub(crate) node: Name,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
    pub(crate) mailbox: PeerMailbox,
    pub(crate) notes: SharedNotes,
    pub(crate) places: RefCell<Places>,
    /// Bytes of messages on their way in that are free.
    pub(crate) incoming: Arc<Semaphore>,
}

/// Waits no longer than that.
pub(crate) async fn within<T>(
    span: Duration,
    what: &'static str,
    future: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match timeout(span, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, what)),
    }
}

// Counts of messages and connections, and lines of the log that are bounded in their rate.

/// Counts of messages between nodes since the start. One per process; written by the driver's thread.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Messages that were given to the system.
    pub sent: AtomicU64,
    /// Messages that arrived and were given to this node.
    pub received: AtomicU64,
    /// Messages that were to be sent, or arrived, and are lost.
    pub lost: AtomicU64,
    /// Connections to this node that were refused: of strangers, or with something that no node sends.
    pub refused: AtomicU64,
}

/// Why a connection to this node is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// Peer with another secret, or of another cluster.
    OtherCluster,
    /// Peer that speaks something else, or ended first.
    NoNode,
    /// Peer that did not say in time who it is.
    Silent,
    /// Peer that means another node.
    OtherNode,
    /// Peer with this node's name.
    SameName,
    /// There are too many like it.
    Crowded,
    /// The bytes after its hello are none of the frames that a node sends.
    Garbage,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherCluster => {
                "it has another secret, or is of a cluster of another name: compare secret_file and name of [cluster] \
                 on both nodes"
            }
            Self::NoNode => "what it sent is of no node of this version",
            Self::Silent => "it did not say in time who it is",
            Self::OtherNode => "it means another node: the address that it knows that node by is of this one",
            Self::SameName => "it has this node's name: give each node a name of its own",
            Self::Crowded => "too many connections came that did not say who they are",
            Self::Garbage => "it sent what no node sends",
        })
    }
}

/// Counts, and the log.
pub(crate) struct SharedNotes {
    counts: Arc<PeerCounts>,
    /// When there was a line of each kind last, and how many were left out since.
    lines: RefCell<BTreeMap<Refusal, (Instant, u64)>>,
}

impl SharedNotes {
    pub(crate) fn new(counts: Arc<PeerCounts>) -> Self {
        Self {
            counts,
            lines: RefCell::default(),
        }
    }

    pub(crate) fn counts(&self) -> &PeerCounts {
        &self.counts
    }

    /// A connection from `from` is refused: at most a line every [`NOTE_EVERY`] for each reason.
    pub(crate) fn refused(&self, from: SocketAddr, why: Refusal) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let mut lines = self.lines.borrow_mut();
        let now = Instant::now();
        if let Some((last, left_out)) = lines.get_mut(&why)
            && now.duration_since(*last) < NOTE_EVERY
        {
            *left_out += 1;
            return;
        }
        let left_out = lines
            .insert(why, (now, 0))
            .map_or(0, |(_, left_out)| left_out);
        warn!(
            "a connection of {from} to this node is refused: {why}; {left_out} more since the last such line"
        );
    }

    /// Why connections were refused so far.
    #[cfg(test)]
    pub(crate) fn reasons(&self) -> Vec<Refusal> {
        self.lines.borrow().keys().copied().collect()
    }
}
