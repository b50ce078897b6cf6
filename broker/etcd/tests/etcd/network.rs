//! Messages between the nodes of a test, without sockets.

use broker_etcd::{Name, PeerMail, PeerMailbox, Peers};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Connects the nodes of one process without a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<Mutex<HashMap<Name, PeerMailbox>>>);

impl Network {
    /// Connects a node, and returns its transport. From now on, messages to the node are put into `mailbox`.
    pub(crate) fn join(&self, node: Name, mailbox: PeerMailbox) -> InProcess {
        let mut nodes = self.0.lock().unwrap();
        nodes.insert(node.clone(), mailbox);
        InProcess {
            node,
            network: self.clone(),
        }
    }
}

/// The transport of one node in a [`Network`].
#[derive(Debug)]
pub(crate) struct InProcess {
    node: Name,
    network: Network,
}

impl Peers for InProcess {
    fn send(&mut self, to: &Name, _at: &[SocketAddr], message: Vec<u8>) {
        if let Some(mailbox) = self.network.0.lock().unwrap().get(to) {
            mailbox.put(PeerMail::Message(self.node.clone(), message));
        }
    }

    /// Does nothing. In this network, a name always belongs to a single process, so queries are not needed.
    fn ask(&mut self, _: &Name, _: &[SocketAddr], _: Vec<u8>) {}
}
