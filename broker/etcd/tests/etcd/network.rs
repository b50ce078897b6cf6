//! Messages between the nodes of a test that need no sockets.

use broker_etcd::{Name, PeerMail, PeerMailbox, Peers};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Nodes of one process that reach each other without a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<Mutex<HashMap<Name, PeerMailbox>>>);

impl Network {
    /// A node's way into the network, in which its mail arrives here from now on.
    pub(crate) fn join(&self, node: Name, mailbox: PeerMailbox) -> InProcess {
        let mut nodes = self.0.lock().unwrap();
        nodes.insert(node.clone(), mailbox);
        InProcess {
            node,
            network: self.clone(),
        }
    }
}

/// One node's way into a [`Network`].
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

    /// One process has a name here, so nobody has to ask.
    fn ask(&mut self, _: &Name, _: &[SocketAddr], _: Vec<u8>) {}
}
