//! Incoming connections from other nodes.
//!
//! ```text
//!  accept ──► stranger: its turn, TLS, hello ──► member: frames ──► mailbox     (or only a query: outgoing.rs)
//!                  │                                │
//!                  └────────────────────────────────┴► closed: late, not a node, too many, invalid bytes, replaced
//! ```

use crate::limits::{
    ACCEPT_PAUSE, ACCEPTS_PER_PAUSE, NOTE_EVERY, PEER_HELLO, PEER_IDLE, PEER_STALL,
};
use crate::tcp::frames::{self, Hello};
use crate::tcp::shared::{NodeShared, Refusal, within};
use crate::{names::Name, peers::PeerMail, tcp::outgoing};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::server::TlsStream;
use tracing::warn;

/// Accepts connections until the future is dropped. Dropping it also closes the connections.
pub(crate) async fn accept(listener: TcpListener, shared: Rc<NodeShared>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!("messages of other nodes cannot be received: {error}"),
    };
    let mut noted: Option<Instant> = None;
    let mut connections = JoinSet::new();
    for number in 0.. {
        while connections.try_join_next().is_some() {}
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                Some(_) = connections.join_next() => {}
            }
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Accepting fails if, for example, the process has run out of file descriptors. Waits until some are
                // free.
                if noted.is_none_or(|at| at.elapsed() >= NOTE_EVERY) {
                    warn!("connections of other nodes cannot be accepted: {error}");
                    noted = Some(Instant::now());
                }
                sleep(ACCEPT_ERROR_PAUSE).await;
                continue;
            }
        };
        let place = Place {
            shared: Rc::clone(&shared),
            number,
            name: None,
        };
        let serving = serve(Rc::clone(&shared), stream, from, place);
        let task = connections.spawn_local(serving);
        let left = shared.places.borrow_mut().enter(number, from, task);
        if let Some(left) = left {
            shared.notes.refused(left, Refusal::Crowded);
        }
        if number.is_multiple_of(ACCEPTS_PER_PAUSE) {
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// A connection's entry in the table. Dropping it frees the entry.
struct Place {
    shared: Rc<NodeShared>,
    number: u64,
    name: Option<Name>,
}

impl Place {
    /// Admits an authenticated peer. Returns `false` if there are too many nodes.
    fn prove(&mut self, name: &Name) -> bool {
        let is_member = self.shared.places.borrow_mut().prove(self.number, name);
        self.name = is_member.then(|| name.clone());
        is_member
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.shared.places.borrow_mut();
        places.end(self.number, self.name.as_ref());
    }
}

async fn serve(shared: Rc<NodeShared>, stream: TcpStream, from: SocketAddr, mut place: Place) {
    let turn = shared.places.borrow().turn(from);
    let greeting = async {
        turn.wait().await;
        greet(&shared, stream).await
    };
    let greeting = within(PEER_HELLO, "late", greeting).await;
    let (mut stream, hello) = match greeting {
        Ok(greeted) => greeted,
        Err(error) => return shared.notes.refused(from, refusal(&error)),
    };
    let refused = if hello.to != shared.node {
        Some(Refusal::OtherNode)
    } else if hello.only_asks {
        let replying = outgoing::reply(&shared, &mut stream, &hello.from);
        let replied = within(PEER_HELLO, "late", replying).await;
        replied.err().map(|error| refusal(&error))
    } else if hello.from == shared.node {
        Some(Refusal::SameName)
    } else if !place.prove(&hello.from) {
        Some(Refusal::Crowded)
    } else {
        None
    };
    if let Some(why) = refused {
        return shared.notes.refused(from, why);
    }
    if hello.only_asks {
        return;
    }
    if let Err(error) = receive(&shared, &mut stream, &hello.from).await
        && error.kind() == io::ErrorKind::InvalidData
    {
        shared.notes.refused(from, Refusal::Garbage);
    }
}

/// Completes the handshake with a peer that knows the secret and has stated its name. Answers even if the peer intended
/// to reach another node.
async fn greet(
    shared: &NodeShared,
    stream: TcpStream,
) -> io::Result<(TlsStream<TcpStream>, Hello)> {
    stream.set_nodelay(true)?;
    let mut stream = shared.acceptor.accept(stream).await?;
    let hello = Hello::read(&mut stream).await?;
    let answer = Hello {
        from: shared.node.clone(),
        to: hello.from.clone(),
        only_asks: false,
    };
    answer.write(&mut stream).await?;
    Ok((stream, hello))
}

pub(crate) fn refusal(error: &io::Error) -> Refusal {
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

async fn receive(
    shared: &NodeShared,
    stream: &mut TlsStream<TcpStream>,
    from: &Name,
) -> io::Result<()> {
    let counts = &shared.notes.counts;
    loop {
        // Nodes query each other every second.
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
        let count = if shared.mailbox.put(PeerMail::Message(from.clone(), message)) {
            &counts.received
        } else {
            &counts.lost
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);
