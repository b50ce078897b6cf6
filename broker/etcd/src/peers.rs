//! Messages between nodes, and what carries them.

use crate::limits::{MAIL_BYTES_MAX, MAIL_MAX};
use crate::names::Name;
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Carries messages to other nodes. Whatever it cannot deliver is lost: the rules expect that.
pub trait Peers: 'static {
    /// Sends a message to a node, which is reached at one of these addresses if any is known. Never blocks.
    fn send(&mut self, to: &Name, at: &[SocketAddr], message: Vec<u8>);

    /// Asks a node that is reached at one of these addresses, over a connection of its own, so that a process disturbs
    /// nobody whose name another one may have. The reply is a message of the node, if it comes. Never blocks; nothing
    /// is asked while the last question to the node waits for its reply.
    fn ask(&mut self, of: &Name, at: &[SocketAddr], message: Vec<u8>);

    /// Sends nothing from now on; ends when what was sent has left, or is lost.
    fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(ready(()))
    }
}

/// A message of another node, or news of the connection to it.
#[derive(Debug)]
pub enum PeerMail {
    /// A message. Who sent it is what the carrier has authenticated.
    Message(Name, Vec<u8>),
    /// A message of a node that waits for a reply over the same connection, by [`Peers::ask`], and the way back.
    Asked(Name, Vec<u8>, oneshot::Sender<Vec<u8>>),
    /// The host of a node refused the connection: no process listens there.
    Refused(Name),
    /// A connection to a node did not come about otherwise, or has another node at its end: it may be elsewhere.
    Unreached(Name),
}

/// The carrier's end of the queue of mail. A clone for each connection.
#[derive(Clone, Debug)]
pub struct PeerMailbox {
    letters: mpsc::Sender<Letter>,
    /// Bytes that are free.
    room: Arc<Semaphore>,
}

/// Mail, and the bytes that it takes.
type Letter = (PeerMail, OwnedSemaphorePermit);

impl PeerMailbox {
    /// Puts something in; false if it is lost, since [`MAIL_MAX`] or [`MAIL_BYTES_MAX`] wait or the node has ended.
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

/// The driver's end of the queue of mail.
#[derive(Debug)]
pub(crate) struct Inbox(mpsc::Receiver<Letter>);

impl Inbox {
    /// The next; nothing when all mailboxes are gone.
    pub(crate) async fn recv(&mut self) -> Option<PeerMail> {
        self.0.recv().await.map(|(mail, _)| mail)
    }
}
