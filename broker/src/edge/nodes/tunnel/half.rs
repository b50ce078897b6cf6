//! One of the two connections of a tunnel, as the kernel holds it.

use crate::edge::tls::Tls;
use broker_core::time::Now;
use socket2::SockRef;
use std::io;
use std::os::fd::OwnedFd;

/// One of the two connections.
pub(crate) struct Half {
    pub(crate) socket: OwnedFd,
    /// The engine of an encrypted side.
    pub(crate) tls: Option<Box<Tls>>,
    /// A receive, or the connect, is armed.
    pub(crate) armed: bool,
    /// Its handshake waits for a step; it is not read meanwhile.
    pub(crate) queued: bool,
    /// The receive is being cancelled.
    pub(crate) cancelled: bool,
    /// A send of the ring is in flight, since this moment.
    pub(crate) sending: Option<Now>,
    /// Bytes that wait behind that send.
    pub(crate) waiting: Vec<u8>,
    /// The next bytes are its last: of an encrypted side the alert that says so shares their send.
    pub(crate) last: bool,
    /// It sends no more, since this moment.
    pub(crate) ended: Option<Now>,
    /// Our end is shut: it gets no more.
    pub(crate) shut: bool,
}

impl Half {
    pub(crate) fn new(socket: OwnedFd, tls: Option<Box<Tls>>) -> Self {
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
    pub(crate) fn at_rest(&self) -> bool {
        !self.armed && self.sending.is_none()
    }

    /// Whether all that it was given is with the kernel.
    pub(crate) fn taken(&self) -> bool {
        self.sending.is_none() && self.waiting.is_empty()
    }

    /// Sends `bytes` without waiting, encrypted if they are to be: what the kernel took and what is left; `None` when
    /// it is broken.
    pub(crate) fn send<'a>(
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
