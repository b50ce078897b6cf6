//! The state shared by all connections of a node: its name, TLS configuration, connection table, byte budgets and
//! rate-limited log lines.

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

pub(crate) struct NodeShared {
    pub(crate) node: Name,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
    pub(crate) mailbox: PeerMailbox,
    pub(crate) notes: SharedNotes,
    pub(crate) places: RefCell<Places>,
    pub(crate) incoming: Arc<Semaphore>,
}

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

// Counts of messages and connections, and rate-limited log lines.

/// Counters of messages between nodes since startup. There is one set per process, updated on the driver's thread.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Number of messages passed to the kernel.
    pub sent: AtomicU64,
    /// Number of messages received for this node.
    pub received: AtomicU64,
    /// Number of messages lost, either before they were sent or after they arrived.
    pub lost: AtomicU64,
    /// Number of connections to this node that were refused, because they were not authenticated or sent bytes that no
    /// node would send.
    pub refused: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// The peer has another secret, or belongs to another cluster.
    OtherCluster,
    /// The peer speaks another protocol, or disconnected during the handshake.
    NoNode,
    Silent,
    OtherNode,
    /// The peer claims the name of this node.
    SameName,
    /// The limit on unauthenticated connections or on nodes has been reached.
    Crowded,
    /// The bytes after the hello are not valid frames.
    Garbage,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherCluster => {
                "it has another secret or cluster name: compare secret_file and name of [cluster] on both nodes"
            }
            Self::NoNode => "it sent no valid hello of this version",
            Self::Silent => "it did not identify itself in time",
            Self::OtherNode => "it is for another node: the address that the peer has of that node is this one's",
            Self::SameName => "it has this node's name: give each node a unique name",
            Self::Crowded => "there are too many unauthenticated connections",
            Self::Garbage => "it sent bytes that no node sends",
        })
    }
}

pub(crate) struct SharedNotes {
    counts: Arc<PeerCounts>,
    /// When each kind of refusal was last logged, and how many have been suppressed since.
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

    /// Records that a connection from `from` was refused. For each reason, logs at most one line every [`NOTE_EVERY`].
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
        warn!("a connection from {from} is refused: {why}; {left_out} more since the last line");
    }

    /// Returns the reasons for which connections have been refused so far.
    #[cfg(test)]
    pub(crate) fn reasons(&self) -> Vec<Refusal> {
        self.lines.borrow().keys().copied().collect()
    }
}
