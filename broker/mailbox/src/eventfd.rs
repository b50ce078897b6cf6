//! The eventfd that a sleeping reader waits on.

use crate::wake::Door;
use rustix::event::{EventfdFlags, eventfd};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// A counting event descriptor, closed on exec.
///
/// It blocks on purpose: a read that a ring starts on a descriptor that does not block would fail at once instead of
/// waiting. A write blocks only when 2⁶⁴ − 2 rings were never read, so in practice never.
#[derive(Debug)]
pub(crate) struct EventFd(File);

impl EventFd {
    /// Makes one with a count of 0.
    ///
    /// # Errors
    /// The process or the system is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC)?.into()))
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Door for EventFd {
    fn ring(&self) {
        // Fails only when the counter is at its end, and then the reader is notified already.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }
}
