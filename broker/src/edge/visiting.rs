//! Connections that leave the edge for the side thread, which serves the admin pages under `--lan`. Such a connection
//! consists of its socket, its TLS engine, and its unprocessed bytes.

use crate::edge::tls::{Read, Tls};
use broker_core::time::Now;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Callback that takes over a connection whose client has requested an admin page. If too many such connections are
/// open, returns the connection as an error.
pub type TakeAdmin = Arc<dyn Fn(Visiting) -> Result<(), Visiting> + Send + Sync>;

/// A client's connection on its way to the side thread.
pub struct Visiting {
    /// The socket, with no operation armed or in flight.
    pub socket: OwnedFd,
    /// The client's address.
    pub remote: SocketAddr,
    /// The TLS engine, with buffered data in both directions.
    pub secured: Secured,
}

/// The TLS engine of a `Visiting` connection, with buffered plaintext and ciphertext.
pub struct Secured {
    pub(crate) tls: Box<Tls>,
    /// Decrypted bytes that have not been read yet.
    pub(crate) plain: Vec<u8>,
    /// Encrypted bytes that have not been sent yet.
    cipher: Vec<u8>,
    /// Whether the client has closed its sending side.
    pub(crate) has_ended: bool,
}

impl Secured {
    /// Wraps an engine whose handshake is complete, together with the plaintext it has already decrypted.
    pub(crate) fn new(tls: Box<Tls>, plain: Vec<u8>, has_ended: bool) -> Self {
        Self {
            tls,
            plain,
            cipher: Vec::new(),
            has_ended,
        }
    }

    /// Decrypts received bytes. An empty slice means EOF.
    ///
    /// # Errors
    /// Fails if the client has violated the protocol.
    pub(crate) fn received(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let is_end = bytes.is_empty();
        let read = self.tls.read(bytes, &mut self.plain, Now(0));
        // An alert, or the response to a key update, must precede the next bytes.
        let said = self.tls.write(&[], &mut self.cipher);
        self.has_ended |= is_end || matches!(read, Read::End);
        match read {
            Read::Failed => Err(io::ErrorKind::InvalidData.into()),
            Read::More | Read::End => said.map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Encrypts bytes and queues them for sending.
    ///
    /// # Errors
    /// Fails if the connection can no longer send.
    pub(crate) fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.tls.write(bytes, &mut self.cipher);
        written.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Queues a close_notify, unless one is already queued.
    ///
    /// # Errors
    /// See [`Self::encrypt`].
    pub(crate) fn notify_close(&mut self) -> io::Result<()> {
        self.tls.notify_close();
        self.encrypt(&[])
    }

    /// Returns the bytes that the socket has not accepted yet.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.cipher
    }

    /// Records that the socket has accepted `bytes` bytes.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.cipher.drain(..bytes);
    }
}
