//! The state and the helpers that all connections of a node use.

use crate::names::Name;
use crate::peers::Mailbox;
use crate::tcp::notes::Notes;
use crate::tcp::places::Places;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The state that all connections of a node share.
pub(crate) struct Shared {
    pub(crate) node: Name,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
    pub(crate) mailbox: Mailbox,
    pub(crate) notes: Notes,
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
