//! The state that all connections of a node share: its name, TLS configuration, connection table, byte budgets and
//! rate-limited log lines.

use crate::tcp::places::Places;
use crate::{limits::NOTE_EVERY, names::Name, peers::PeerMailbox};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
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

/// Counts the messages between nodes since startup. There is one set of counters per process, updated on the driver's
/// thread.
#[derive(Debug, Default)]
pub struct PeerCounts {
    /// Number of messages passed to the kernel.
    pub sent: AtomicU64,
    /// Number of messages received for this node.
    pub received: AtomicU64,
    /// Number of messages lost, either before they were sent or after they arrived.
    pub lost: AtomicU64,
    /// Number of connections to this node that were refused because they were not authenticated or sent bytes that no
    /// node would send.
    pub refused: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub(crate) enum Refusal {
    #[error(
        "it has another secret or cluster name: compare secret_file and name of [cluster] on both nodes"
    )]
    OtherCluster,
    /// The peer speaks another protocol, or disconnected during the handshake.
    #[error("it sent no valid hello of this version")]
    NoNode,
    #[error("it did not identify itself in time")]
    Silent,
    #[error("it is for another node: the address that the peer has of that node is this one's")]
    OtherNode,
    #[error("it has this node's name: give each node a unique name")]
    SameName,
    /// The limit on unauthenticated connections or on nodes has been reached.
    #[error("there are too many unauthenticated connections")]
    Crowded,
    /// The bytes after the hello are not valid frames.
    #[error("it sent bytes that no node sends")]
    Garbage,
}

pub(crate) struct SharedNotes {
    pub(crate) counts: Arc<PeerCounts>,
    /// When each kind of refusal was last logged, and how many refusals have been suppressed since.
    lines: RefCell<BTreeMap<Refusal, (Instant, u64)>>,
}

impl SharedNotes {
    pub(crate) fn new(counts: Arc<PeerCounts>) -> Self {
        Self {
            counts,
            lines: RefCell::default(),
        }
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

    /// Returns the reasons why connections have been refused so far.
    #[cfg(test)]
    pub(crate) fn reasons(&self) -> Vec<Refusal> {
        self.lines.borrow().keys().copied().collect()
    }
}
