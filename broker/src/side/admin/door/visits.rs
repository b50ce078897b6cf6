//! Connections that shards pass on: clients of a TLS listener that ask for pages, under `--lan`.
//!
//! A shard decrypts and copies the bytes; here is the other end of its pair of sockets. A place is kept for as long as
//! the connection is served. When none is left, the address with most makes room for others; to that one the shard
//! answers 503.

use crate::edge::TakeAdmin;
use crate::limits::{LAN_CONNECTIONS_MAX, LEAVING_MAX};
use crate::side::admin::door::inside::{Inside, Place};
use broker_core::address_shares::Origin;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that shards have passed on and nobody serves yet.
pub struct Visits(Receiver<Passed>);

/// Such a connection.
struct Passed {
    socket: OwnedFd,
    remote: SocketAddr,
    held: Held,
}

/// A place, and a descriptor of those that may be in use.
type Held = (Place, OwnedSemaphorePermit);

/// A connection of a client at this address, and what it has.
pub(crate) struct Visit {
    pub(crate) socket: TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) held: Held,
}

/// Both ends: what shards call, and what is served.
#[must_use]
pub fn visits() -> (TakeAdmin, Visits) {
    let (passed, visits) = channel(LAN_CONNECTIONS_MAX);
    let descriptors = Arc::new(Semaphore::new(LAN_CONNECTIONS_MAX + LEAVING_MAX));
    let inside = Inside::new(LAN_CONNECTIONS_MAX);
    let take = move |socket, remote: SocketAddr| {
        let Ok(descriptor) = Arc::clone(&descriptors).try_acquire_owned() else {
            return false;
        };
        let Some(place) = inside.enter_if_fair(Origin::of(remote.ip())) else {
            return false;
        };
        let held = (place, descriptor);
        let visit = Passed {
            socket,
            remote,
            held,
        };
        passed.try_send(visit).is_ok()
    };
    (Arc::new(take), Visits(visits))
}

impl Visits {
    /// The next one; `None` when no shard is left.
    pub(crate) async fn next(&mut self) -> Option<Visit> {
        loop {
            let Passed {
                socket,
                remote,
                held,
            } = self.0.recv().await?;
            // A stream of another family than its type says: nobody asks it for addresses.
            let socket = std::net::TcpStream::from(socket);
            let opened = socket.set_nonblocking(true);
            if let Ok(socket) = opened.and_then(|()| TcpStream::from_std(socket)) {
                return Some(Visit {
                    socket,
                    remote,
                    held,
                });
            }
        }
    }
}
