//! The number of connections of each kind.

use crate::event::CONNECTION_ROLES;

/// The number of connections of each kind.
#[derive(Debug, Default)]
pub(in crate::shard) struct Census {
    /// All sessions, by [`ConnectionRole`](crate::event::ConnectionRole).
    pub(in crate::shard) places: [u64; CONNECTION_ROLES],
    /// Connections that were admitted as WebSockets and are not gone.
    pub(in crate::shard) web_sockets: usize,
}
