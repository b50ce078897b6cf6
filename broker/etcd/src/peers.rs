//! Messages between nodes, and the transport that carries them.

use crate::limits::{MAIL_BYTES_MAX, MAIL_MAX};
use crate::names::Name;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Transport for messages to other nodes. Messages that cannot be delivered are lost, which the core tolerates.
pub trait Peers: 'static {
    /// Sends a message to a node, at one of these addresses if any are known. Never blocks.
    fn send(&mut self, to: &Name, at: &[SocketAddr], message: Vec<u8>);

    /// Queries a node at one of these addresses over a separate connection, so as not to disturb another process with
    /// the same name. The reply, if any, arrives as a message from the node. Never blocks; does nothing while the
    /// previous query to the node is unanswered.
    fn ask(&mut self, of: &Name, at: &[SocketAddr], message: Vec<u8>);

    /// Stops accepting messages. The future completes when all sent messages are delivered or lost.
    fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(ready(()))
    }
}

/// A message from another node, or an event on the connection to it.
#[derive(Debug)]
pub enum PeerMail {
    /// A message from a node that the transport has authenticated.
    Message(Name, Vec<u8>),
    /// A message from a node that waits for a reply on the same connection ([`Peers::ask`]), and the channel for the
    /// reply.
    Asked(Name, Vec<u8>, oneshot::Sender<Vec<u8>>),
    /// A node's host refused the connection: no process is listening.
    Refused(Name),
    /// A connection to a node failed for another reason or reached another node, so the node may have moved.
    Unreached(Name),
}

/// The transport's end of the message queue. Each connection has a clone.
#[derive(Clone, Debug)]
pub struct PeerMailbox {
    letters: mpsc::Sender<Letter>,
    room: Arc<Semaphore>,
}

type Letter = (PeerMail, OwnedSemaphorePermit);

impl PeerMailbox {
    /// Queues a message or event. Returns `false` if it is lost: [`MAIL_MAX`] or [`MAIL_BYTES_MAX`] is reached, or the
    /// node has ended.
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
    /// Receives the next message or event; `None` once all mailboxes are dropped.
    pub(crate) async fn recv(&mut self) -> Option<PeerMail> {
        self.0.recv().await.map(|(mail, _)| mail)
    }
}
