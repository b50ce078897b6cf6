//! The tickets with which a node resumes sessions with the others.

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tickets kept for one node. As many connections to it can begin at once without a full handshake.
pub(crate) const TICKETS_PER_NODE_MAX: usize = 64;

/// Tickets by node, of one thread.
///
/// A connection uses one up and is given one, so there are as many as connections to that node were ever begun at once.
/// The library's own store keeps eight: of a burst of connections, most would make full handshakes.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<HashMap<ServerName<'static>, Vec<Tls13ClientSessionValue>>>);

impl Tickets {
    fn by_node(
        &self,
    ) -> MutexGuard<'_, HashMap<ServerName<'static>, Vec<Tls13ClientSessionValue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, node: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut by_node = self.by_node();
        let kept = by_node.entry(node).or_default();
        if kept.len() < TICKETS_PER_NODE_MAX {
            kept.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, node: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.by_node().get_mut(node)?.pop()
    }

    // There is one group of keys to choose from, and one version.

    fn set_kx_hint(&self, _node: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _node: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _node: ServerName<'static>, _session: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _node: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _node: &ServerName<'static>) {}
}
