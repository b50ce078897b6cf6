//! The state and the helpers that all connections of a node use.

use super::notes::Notes;
use super::places::Places;
use crate::names::Name;
use crate::peers::Mailbox;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The state that all connections of a node share.
pub(super) struct Shared {
    pub(super) node: Name,
    pub(super) acceptor: TlsAcceptor,
    pub(super) connector: TlsConnector,
    pub(super) mailbox: Mailbox,
    pub(super) notes: Notes,
    pub(super) places: RefCell<Places>,
    /// Bytes of messages on their way in that are free.
    pub(super) incoming: Arc<Semaphore>,
}

/// Waits no longer than that.
pub(super) async fn within<T>(
    span: Duration,
    what: &'static str,
    future: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match timeout(span, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, what)),
    }
}
