//! Connections on listeners for proxies, until the header of the PROXY protocol says whose they are.
//!
//! Until then a connection counts for no address, has no TLS engine, and ends with `[timeouts] tls`, as a handshake
//! does: the machine awaits one of either kind. What came behind the header waits for its place among the handshake
//! steps of a turn.

use broker_core::id::SessionKey;
use codec::proxy::{Header, Malformed, parse};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What came on connections without a whole header, and whether they then speak TLS. A header and one receive at most.
#[derive(Default)]
pub(crate) struct Unnamed(BTreeMap<SessionKey, (bool, Vec<u8>)>);

/// Whether it then speaks TLS, its client, and what came behind the header.
type Named = (bool, Option<SocketAddr>, Vec<u8>);

impl Unnamed {
    /// Takes one in; `tls`: whether it then speaks TLS.
    pub(crate) fn enter(&mut self, session: SessionKey, tls: bool) {
        self.0.insert(session, (tls, Vec::new()));
    }

    /// Adds what came: whether the header is whole.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn add(&mut self, session: SessionKey, more: &[u8]) -> Result<bool, Malformed> {
        let Some((_, bytes)) = self.0.get_mut(&session) else {
            return Ok(false);
        };
        bytes.extend_from_slice(more);
        Ok(parse(bytes)?.is_some())
    }

    /// Takes out a connection whose header is whole.
    pub(crate) fn take_whole(&mut self, session: SessionKey) -> Option<Named> {
        let (_, bytes) = self.0.get(&session)?;
        let Header { client, bytes } = parse(bytes).ok()??;
        let (tls, mut rest) = self.take(session)?;
        rest.drain(..bytes);
        Some((tls, client, rest))
    }

    /// Takes one out whatever came.
    pub(crate) fn take(&mut self, session: SessionKey) -> Option<(bool, Vec<u8>)> {
        self.0.remove(&session)
    }
}
