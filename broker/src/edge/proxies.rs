//! Connections on proxy listeners, until a PROXY protocol header identifies their client.
//!
//! Until the header is complete, a connection counts towards no address, has no TLS engine, and times out after
//! `[timeouts] tls`, as if it were in its TLS handshake. Bytes after the header are queued with the handshake steps of
//! a turn.

use broker_core::id::SessionKey;
use codec::proxy::{Header, MalformedHeader, parse};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Bytes of each connection whose header is incomplete, and whether TLS follows the header. At most a header and one
/// receive per connection.
#[derive(Default)]
pub(crate) struct Unnamed(BTreeMap<SessionKey, (bool, Vec<u8>)>);

/// Whether TLS follows, the client's address, and the bytes after the header.
type Named = (bool, Option<SocketAddr>, Vec<u8>);

impl Unnamed {
    /// Adds a connection; `tls` states whether TLS follows the header.
    pub(crate) fn enter(&mut self, session: SessionKey, tls: bool) {
        self.0.insert(session, (tls, Vec::new()));
    }

    /// Appends received bytes, and returns whether the header is complete.
    ///
    /// # Errors
    /// Fails if the bytes are not a valid header.
    pub(crate) fn add(&mut self, key: SessionKey, more: &[u8]) -> Result<bool, MalformedHeader> {
        let Some((_, bytes)) = self.0.get_mut(&key) else {
            return Ok(false);
        };
        bytes.extend_from_slice(more);
        Ok(parse(bytes)?.is_some())
    }

    /// Removes a connection if its header is complete.
    pub(crate) fn take_whole(&mut self, session: SessionKey) -> Option<Named> {
        let (_, bytes) = self.0.get(&session)?;
        let Header { client, bytes } = parse(bytes).ok()??;
        let (tls, mut rest) = self.take(session)?;
        rest.drain(..bytes);
        Some((tls, client, rest))
    }

    /// Removes a connection and returns its bytes.
    pub(crate) fn take(&mut self, session: SessionKey) -> Option<(bool, Vec<u8>)> {
        self.0.remove(&session)
    }
}
