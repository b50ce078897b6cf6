//! Messages between nodes: what carries them, and a carrier within one process.

use crate::limits::MAIL_MAX;
use crate::names::Name;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Carries messages to other nodes. Whatever it cannot deliver is lost: the rules expect that.
pub trait Peers: 'static {
    /// Sends a message to a node, which is reached at `address` if the roster says so. Never blocks.
    fn send(&mut self, to: &Name, address: Option<&str>, message: Vec<u8>);
}

/// What arrives from other nodes.
#[derive(Debug)]
pub enum Mail {
    /// A message. Who sent it is what the carrier has authenticated.
    Message(Name, Vec<u8>),
    /// The host of a node refused the connection: no process listens there.
    Refused(Name),
}

/// Where a carrier puts what arrives. A clone for each connection.
#[derive(Clone, Debug)]
pub struct Mailbox(pub(crate) mpsc::Sender<Mail>);

impl Mailbox {
    /// Puts something in; false if it is lost, since [`MAIL_MAX`] wait or the node has ended.
    pub fn put(&self, mail: Mail) -> bool {
        self.0.try_send(mail).is_ok()
    }

    pub(crate) fn new() -> (Self, mpsc::Receiver<Mail>) {
        let (sender, receiver) = mpsc::channel(MAIL_MAX);
        (Self(sender), receiver)
    }
}

/// Nodes of one process that reach each other without a network: for tests. Links can be cut, in one direction too.
#[derive(Clone, Debug, Default)]
pub struct Network(Arc<Mutex<Links>>);

#[derive(Debug, Default)]
struct Links {
    nodes: HashMap<Name, Mailbox>,
    cut: HashSet<(Name, Name)>,
}

impl Network {
    /// The way of one node into the network.
    #[must_use]
    pub fn of(&self, node: Name) -> InProcess {
        InProcess {
            node,
            network: self.clone(),
        }
    }

    /// A node's mail arrives here from now on.
    pub fn open(&self, node: Name, mailbox: Mailbox) {
        self.with(|links| links.nodes.insert(node, mailbox));
    }

    /// Nothing arrives from `from` at `to`, until [`Self::mend`].
    pub fn cut(&self, from: Name, to: Name) {
        self.with(|links| links.cut.insert((from, to)));
    }

    /// Everything arrives.
    pub fn mend(&self) {
        self.with(|links| links.cut.clear());
    }

    fn with<R>(&self, act: impl FnOnce(&mut Links) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One node's way into a [`Network`].
#[derive(Clone, Debug)]
pub struct InProcess {
    node: Name,
    network: Network,
}

impl Peers for InProcess {
    fn send(&mut self, to: &Name, _address: Option<&str>, message: Vec<u8>) {
        let link = (self.node.clone(), to.clone());
        self.network.with(|links| {
            if let Some(mailbox) = links.nodes.get(to).filter(|_| !links.cut.contains(&link)) {
                mailbox.put(Mail::Message(self.node.clone(), message));
            }
        });
    }
}
