//! One of the two connections of a tunnel, as the kernel holds it.

use crate::edge::tls::Tls;
use broker_core::time::Now;
use socket2::SockRef;
use std::io;
use std::os::fd::OwnedFd;

/// One of the two connections.
pub(in crate::edge) struct Half {
    pub(super) socket: OwnedFd,
    /// The engine of an encrypted side.
    pub(super) tls: Option<Box<Tls>>,
    /// A receive, or the connect, is armed.
    pub(super) armed: bool,
    /// Its handshake waits for a step; it is not read meanwhile.
    pub(super) queued: bool,
    /// The receive is being cancelled.
    pub(super) cancelled: bool,
    /// A send of the ring is in flight, since this moment.
    pub(super) sending: Option<Now>,
    /// Bytes that wait behind that send.
    pub(super) waiting: Vec<u8>,
    /// The next bytes are its last: of an encrypted side the alert that says so shares their send.
    pub(super) last: bool,
    /// It sends no more, since this moment.
    pub(super) ended: Option<Now>,
    /// Our end is shut: it gets no more.
    pub(super) shut: bool,
}

impl Half {
    pub(super) fn new(socket: OwnedFd, tls: Option<Box<Tls>>) -> Self {
        Self {
            socket,
            tls,
            armed: false,
            queued: false,
            cancelled: false,
            sending: None,
            waiting: Vec::new(),
            last: false,
            ended: None,
            shut: false,
        }
    }

    /// Whether the kernel holds nothing of it.
    pub(super) fn at_rest(&self) -> bool {
        !self.armed && self.sending.is_none()
    }

    /// Whether all that it was given is with the kernel.
    pub(super) fn taken(&self) -> bool {
        self.sending.is_none() && self.waiting.is_empty()
    }

    /// Sends `bytes` without waiting, encrypted if they are to be: what the kernel took and what is left; `None` when
    /// it is broken.
    pub(super) fn send<'a>(
        &mut self,
        bytes: &'a [u8],
        cipher: &'a mut Vec<u8>,
    ) -> Option<(usize, &'a [u8])> {
        let bytes = match &mut self.tls {
            None => bytes,
            Some(tls) => {
                cipher.clear();
                tls.write(bytes, cipher).ok()?;
                if self.last {
                    tls.notify_close();
                    tls.write(&[], cipher).ok()?;
                }
                cipher
            }
        };
        if bytes.is_empty() {
            return Some((0, bytes));
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        match SockRef::from(&self.socket).send_with_flags(bytes, flags) {
            Ok(sent) => Some((sent, bytes.get(sent..).unwrap_or_default())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Some((0, bytes))
            }
            Err(_) => None,
        }
    }
}
