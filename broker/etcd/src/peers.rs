//! Messages between nodes, and the interface of the transport that carries them.

use crate::limits::{MAIL_BYTES_MAX, MAIL_MAX};
use crate::names::Name;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// The transport for messages to other nodes. Messages that cannot be delivered are lost, which the core tolerates.
pub trait Peers: 'static {
    /// Sends a message to a node at one of the given addresses. If there are none, the message is lost. Never blocks.
    fn send(&mut self, to: &Name, at: &[SocketAddr], message: Vec<u8>);

    /// Sends a query to a node at one of these addresses, over a separate connection, so that an existing connection to
    /// another process with the same name is not disturbed. The reply, if any, arrives as a message from the node.
    /// Never blocks. Does nothing if the previous query to the node is still unanswered.
    fn ask(&mut self, of: &Name, at: &[SocketAddr], message: Vec<u8>);

    /// Stops accepting messages. The returned future completes once all accepted messages have been delivered or lost.
    fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(ready(()))
    }
}

/// A message from another node, or an event on the connection to that node.
#[derive(Debug)]
pub enum PeerMail {
    /// A message from a node that the transport has authenticated.
    Message(Name, Vec<u8>),
    /// A message whose sender waits for a reply on the same connection ([`Peers::ask`]). The reply must be sent through
    /// the last field.
    Asked(Name, Vec<u8>, oneshot::Sender<Vec<u8>>),
    /// A node's host refused the connection, because no process is listening.
    Refused(Name),
    /// A connection to a node failed for another reason, or reached a different node. The intended node may have moved.
    Unreached(Name),
}

/// The transport's end of the queue of incoming messages. Each connection has a clone.
#[derive(Clone, Debug)]
pub struct PeerMailbox {
    letters: mpsc::Sender<Letter>,
    room: Arc<Semaphore>,
}

type Letter = (PeerMail, OwnedSemaphorePermit);

impl PeerMailbox {
    /// Queues a message or an event. Returns `false` if it is lost because the node has ended, or because [`MAIL_MAX`]
    /// or [`MAIL_BYTES_MAX`] has been reached.
    pub fn put(&self, mail: PeerMail) -> bool {
        let bytes = match &mail {
            PeerMail::Message(_, message) | PeerMail::Asked(_, message, _) => {
                u32::try_from(message.len()).unwrap_or(u32::MAX)
            }
            PeerMail::Refused(_) | PeerMail::Unreached(_) => 0,
        };
        let charge = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        charge.is_ok_and(|charge| self.letters.try_send((mail, charge)).is_ok())
    }

    pub(crate) fn new() -> (Self, Inbox) {
        let (letters, receiver) = mpsc::channel(MAIL_MAX);
        let room = Arc::new(Semaphore::new(MAIL_BYTES_MAX));
        (Self { letters, room }, Inbox(receiver))
    }
}

#[derive(Debug)]
pub(crate) struct Inbox(mpsc::Receiver<Letter>);

impl Inbox {
    /// Receives the next message or event. Returns `None` once all mailboxes have been dropped.
    pub(crate) async fn recv(&mut self) -> Option<PeerMail> {
        self.0.recv().await.map(|(mail, _)| mail)
    }
}
