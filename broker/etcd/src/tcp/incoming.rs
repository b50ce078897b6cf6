//! Connections of other nodes.
//!
//! ```text
//!  accept ──► stranger: TLS, hello ──► member: frames ──► mailbox
//!                  │                       │
//!                  └───────────────────────┴► closed: late, no node, too many; what no node sends; replaced
//! ```
//! A stranger costs a deadline and one of a bounded number of places, which the oldest leaves to a new one. A member
//! costs one connection for each name: a newer one of the same node replaces it, since the older one may be dead.

use super::frames::{self, Hello};
use super::notes::Refusal;
use super::{Shared, within};
use crate::limits::{ACCEPT_PAUSE, PEER_HELLO, PEER_IDLE, PEER_STALL, STRANGERS_MAX};
use crate::names::Name;
use crate::peers::Mail;
use broker_core::cluster::limits::NODES_MAX;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tracing::warn;

/// Accepts connections until it is dropped, which ends them.
pub(super) async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!("messages of other nodes cannot be received: {error}"),
    };
    let known = Rc::new(RefCell::new(Known::default()));
    let mut connections = JoinSet::new();
    for number in 0.. {
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                Some(_) = connections.join_next() => {}
            }
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of descriptors, say: there is nothing to do but to wait for some.
                warn!("connections of other nodes cannot be accepted: {error}");
                sleep(ACCEPT_ERROR_PAUSE).await;
                continue;
            }
        };
        if let Some(from) = known.borrow_mut().make_room() {
            shared.notes.refused(from, Refusal::Crowded);
        }
        let place = Place {
            known: Rc::clone(&known),
            number,
            name: None,
        };
        let serving = serve(Rc::clone(&shared), stream, from, place);
        let task = connections.spawn_local(serving);
        known.borrow_mut().strangers.insert(number, (from, task));
        sleep(ACCEPT_PAUSE).await;
    }
}

/// The connections that there are.
#[derive(Default)]
struct Known {
    /// Those that did not say who they are, the oldest first.
    strangers: BTreeMap<u64, (SocketAddr, AbortHandle)>,
    /// One for each other node.
    members: HashMap<Name, (u64, AbortHandle)>,
}

impl Known {
    /// Ends the oldest stranger if there are too many.
    fn make_room(&mut self) -> Option<SocketAddr> {
        if self.strangers.len() < STRANGERS_MAX {
            return None;
        }
        let (_, (from, oldest)) = self.strangers.pop_first()?;
        oldest.abort();
        Some(from)
    }
}

/// A connection's place among those. Free again when it is dropped.
struct Place {
    known: Rc<RefCell<Known>>,
    number: u64,
    name: Option<Name>,
}

impl Place {
    /// It has said who it is. False if there are too many nodes.
    fn enter(&mut self, name: &Name) -> bool {
        let mut known = self.known.borrow_mut();
        let Some((_, task)) = known.strangers.remove(&self.number) else {
            return false; // it is being ended
        };
        if known.members.len() >= NODES_MAX && !known.members.contains_key(name) {
            return false;
        }
        self.name = Some(name.clone());
        if let Some((_, older)) = known.members.insert(name.clone(), (self.number, task)) {
            older.abort();
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.known.borrow_mut();
        known.strangers.remove(&self.number);
        let Some(name) = &self.name else {
            return;
        };
        if known
            .members
            .get(name)
            .is_some_and(|(number, _)| *number == self.number)
        {
            known.members.remove(name);
        }
    }
}

async fn serve(shared: Rc<Shared>, stream: TcpStream, from: SocketAddr, mut place: Place) {
    let greeting = within(PEER_HELLO, "late", greet(&shared, stream)).await;
    let (mut stream, hello) = match greeting {
        Ok(greeted) => greeted,
        Err(error) => return shared.notes.refused(from, refusal(&error)),
    };
    let refused = if hello.to != shared.node {
        Some(Refusal::OtherNode)
    } else if hello.from == shared.node {
        Some(Refusal::SameName)
    } else if !place.enter(&hello.from) {
        Some(Refusal::Crowded)
    } else {
        None
    };
    if let Some(why) = refused {
        return shared.notes.refused(from, why);
    }
    if let Err(error) = receive(&shared, &mut stream, &hello.from).await
        && error.kind() == io::ErrorKind::InvalidData
    {
        shared.notes.refused(from, Refusal::Garbage);
    }
}

/// The other side has the secret, and says who it is; this node answers, also if another one was meant.
async fn greet(shared: &Shared, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Hello)> {
    stream.set_nodelay(true)?;
    let mut stream = shared.acceptor.accept(stream).await?;
    let hello = Hello::read(&mut stream).await?;
    let answer = Hello {
        from: shared.node.clone(),
        to: hello.from.clone(),
    };
    answer.write(&mut stream).await?;
    Ok((stream, hello))
}

pub(super) fn refusal(error: &io::Error) -> Refusal {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if tls.is_some_and(link::is_of_another_cluster) {
        Refusal::OtherCluster
    } else if error.kind() == io::ErrorKind::TimedOut {
        Refusal::Silent
    } else {
        Refusal::NoNode
    }
}

/// Puts frames into the mailbox until the connection ends.
async fn receive(
    shared: &Shared,
    stream: &mut TlsStream<TcpStream>,
    from: &Name,
) -> io::Result<()> {
    let counts = shared.notes.counts();
    loop {
        // Nodes question each other every second.
        let next = within(PEER_IDLE, "silent", frames::read_length(stream)).await?;
        let Some(length) = next else {
            return Ok(());
        };
        let bytes = u32::try_from(length).unwrap_or(u32::MAX);
        let room = Arc::clone(&shared.incoming).acquire_many_owned(bytes);
        let room = async { room.await.map_err(io::Error::other) };
        let room = within(PEER_STALL, "no room", room).await?;
        let message = frames::read_message(stream, length).await?;
        drop(room);
        let count = if shared.mailbox.put(Mail::Message(from.clone(), message)) {
            &counts.received
        } else {
            &counts.lost
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);
