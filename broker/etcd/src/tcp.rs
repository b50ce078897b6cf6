//! Messages between nodes over TCP and TLS.
//!
//! ```text
//!   send ──► queue of a node ──► one connection to it ─ ─ ─► a connection of each node ──► mailbox
//!            (outgoing.rs)        TLS, hello, frames          (incoming.rs)
//! ```
//! Each node connects to all other nodes. It sends only on the connections that it has opened, and receives on the
//! connections opened by others. An answer therefore uses a different connection from the query, and a link that works
//! in only one direction counts as broken.
//!
//! TLS proves that the peer knows the cluster's secret ([`link`]). In the hello that follows, each side states its name
//! and the node that it intends to reach. All nodes with the secret are trusted to state their own names, since each of
//! them could derive the keys of the others. TLS was chosen over a per-frame HMAC because parcels contain client data,
//! which must remain confidential regardless of `[cluster] link`. TLS also rejects frames recorded on other
//! connections.
//!
//! If a process suspects that another process uses the same name, it sends its queries over a separate connection,
//! which carries one message in each direction. This does not disturb existing connections under that name.
//!
//! A message is lost if its node has no address, if the queue is full, or if the connection breaks or cannot be
//! established. After a failure and a delay, the next message triggers another connection attempt.

mod frames;
mod incoming;
mod outgoing;
mod places;
pub(crate) mod shared;

use crate::limits::{INCOMING_BYTES_MAX, MESSAGE_BYTES_MAX, OUTGOING_BYTES_MAX};
use crate::names::Name;
use crate::peers::{PeerMailbox, Peers};
use broker_core::cluster::secret::ClusterSecret;
use link::Purpose;
use outgoing::Outgoing;
use shared::{NodeShared, PeerCounts, SharedNotes};
use socket2::{Domain, Socket, Type};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A bound listener for other nodes. Its address is known, but it does not accept connections yet.
pub struct PeerListener {
    listener: TcpListener,
    address: SocketAddr,
    node: Name,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    counts: Arc<PeerCounts>,
}

impl PeerListener {
    /// Returns the address of the listener. If the configured port was 0, the system chose the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the message counters, which remain in use after [`Self::start`].
    #[must_use]
    pub fn counts(&self) -> Arc<PeerCounts> {
        Arc::clone(&self.counts)
    }

    /// Starts accepting connections, on the driver's thread and runtime.
    #[must_use]
    pub fn start(self, mailbox: PeerMailbox) -> TcpPeers {
        let shared = Rc::new(NodeShared {
            node: self.node,
            acceptor: self.acceptor,
            connector: self.connector,
            mailbox,
            notes: SharedNotes::new(self.counts),
            places: RefCell::default(),
            incoming: Arc::new(Semaphore::new(INCOMING_BYTES_MAX)),
        });
        let accepting = incoming::accept(self.listener, Rc::clone(&shared));
        TcpPeers {
            accepting: tokio::task::spawn_local(accepting),
            nodes: HashMap::new(),
            asking: HashMap::new(),
            outgoing: Arc::new(Semaphore::new(OUTGOING_BYTES_MAX)),
            shared,
        }
    }
}

/// A node's connections to the other nodes. There is one set per process. Dropping it closes them.
pub struct TcpPeers {
    shared: Rc<NodeShared>,
    accepting: JoinHandle<()>,
    nodes: HashMap<Name, Outgoing>,
    /// For each node, the task of the last query that was sent over a separate connection.
    asking: HashMap<Name, JoinHandle<()>>,
    outgoing: Arc<Semaphore>,
}

impl TcpPeers {
    /// Binds a listener for the other nodes of the cluster that has this secret.
    ///
    /// # Errors
    /// Returns an error if the address cannot be used, or if the system does not provide random bytes.
    pub fn bind(
        address: SocketAddr,
        node: &Name,
        secret: &ClusterSecret,
        cluster: &str,
    ) -> io::Result<PeerListener> {
        let listener = listener(address)?;
        let keys = link::Keys::derive(secret, cluster).map_err(io::Error::other)?;
        let server = keys.server(Purpose::Messages).map_err(io::Error::other)?;
        let client = keys.client(Purpose::Messages).map_err(io::Error::other)?;
        Ok(PeerListener {
            address: listener.local_addr()?,
            listener,
            node: node.clone(),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            counts: Arc::default(),
        })
    }
}

/// Creates a listening socket. Its backlog exceeds the kernel's default of 128, because this process may be busy.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Peers for TcpPeers {
    fn send(&mut self, to: &Name, at: &[SocketAddr], message: Vec<u8>) {
        let counts = &self.shared.notes.counts;
        if at.is_empty() || message.len() > MESSAGE_BYTES_MAX {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_known = |node: &Outgoing| *node.addresses() == *at;
        if !self.nodes.get(to).is_some_and(is_known) {
            self.shared.places.borrow_mut().expect(to, at);
            let stays = |node: &Outgoing| node.may_be_at(at);
            if !self.nodes.get(to).is_some_and(stays) {
                let node = Outgoing::start(Rc::clone(&self.shared), to.clone(), at);
                self.nodes.insert(to.clone(), node);
            }
        }
        let queued = self.nodes.get(to);
        if !queued.is_some_and(|node| node.put(message, &self.outgoing)) {
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ask(&mut self, of: &Name, at: &[SocketAddr], message: Vec<u8>) {
        let waits = |task: &JoinHandle<()>| !task.is_finished();
        if self.asking.get(of).is_some_and(waits) {
            return;
        }
        let asking = outgoing::ask(Rc::clone(&self.shared), of.clone(), at.to_vec(), message);
        let task = tokio::task::spawn_local(asking);
        self.asking.insert(of.clone(), task);
    }

    fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()>>> {
        let nodes: Vec<Outgoing> = self.nodes.drain().map(|(_, node)| node).collect();
        Box::pin(async move {
            let endings: Vec<_> = nodes.into_iter().map(Outgoing::finish).collect();
            for ending in endings {
                ending.await;
            }
        })
    }
}

impl Drop for TcpPeers {
    fn drop(&mut self) {
        self.accepting.abort();
        for task in self.asking.values() {
            task.abort();
        }
    }
}

/// Maximum number of established connections waiting to be accepted. Enough for a quarter of a second at the maximum
/// rate.
const BACKLOG: i32 = 1_024;

#[cfg(test)]
mod tests;
