//! Operations of a ring. Each operation is queued and submitted by the next [`Ring::enter`].
#![expect(
    unsafe_code,
    reason = "entries carry addresses; each one pushed points at memory that the ring owns until it completes"
)]

use crate::completion::{Key, Op};
use crate::{pool::GROUP, ring::Ring};
use io_uring::{opcode, squeue, types};
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Instant;

impl Ring {
    /// Accepts every connection of a listener until cancelled or until an error ends it (`EMFILE` does). Completes as
    /// [`Completion::Accepted`](crate::Completion::Accepted). The listener must be a blocking descriptor.
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        let fd = types::Fd(listener.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd)
            .flags(libc::SOCK_CLOEXEC)
            .build();
        // SAFETY: the entry points at nothing.
        unsafe { self.push(entry.user_data(Op::Accept.tag(key.bits()))) };
    }

    /// Receives once, into a buffer of the pool. Nothing stays armed after its completion, so the connection can move
    /// to another ring. Completes as [`Completion::Received`](crate::Completion::Received).
    pub fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .build();
        let entry = entry
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(Op::Receive.tag(key.bits()));
        // SAFETY: with BUFFER_SELECT the kernel writes into a pool buffer, never to the null pointer.
        unsafe { self.push(entry) };
    }

    /// Receives again and again, each time into a buffer of the pool, until the end, an error, an empty pool or
    /// [`Self::cancel_receive`].
    pub fn receive_many(&mut self, socket: BorrowedFd<'_>, key: Key) {
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::RecvMulti::new(fd, GROUP).build();
        // SAFETY: the entry points at nothing; the kernel writes into pool buffers.
        unsafe { self.push(entry.user_data(Op::Receive.tag(key.bits()))) };
    }

    /// Ends the receive armed under `key`. What it had received is reported first, then its final completion comes,
    /// which is [`Received::Cancelled`](crate::Received::Cancelled) unless it ended by itself meanwhile.
    pub fn cancel_receive(&mut self, key: Key) {
        self.cancel(Op::Receive.tag(key.bits()));
    }

    /// Ends the accept armed under `key`; its final completion is an error (`ECANCELED`).
    pub fn cancel_accept(&mut self, key: Key) {
        self.cancel(Op::Accept.tag(key.bits()));
    }

    /// Sends `bytes[from..]`, all of it: the kernel waits for room in the socket. The buffer is the ring's until
    /// [`Completion::Sent`](crate::Completion::Sent) hands it back. One send a connection at a time, or the order is
    /// lost. A broken connection is an error, never a signal.
    ///
    /// # Panics
    /// When `from` is beyond the end, or more than 4 GiB are sent.
    pub fn send(&mut self, socket: BorrowedFd<'_>, key: Key, bytes: Vec<u8>, from: usize) {
        let place = self.flight.launch(key, bytes);
        let rest = &self.flight.bytes(place)[from..];
        let len = u32::try_from(rest.len()).expect("a send is below 4 GiB");
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), rest.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        // SAFETY: the entry points into the heap block of a vector that `flight` owns, untouched, until the completion
        // lands it.
        unsafe { self.push(entry.user_data(Op::Send.tag(u64::from(place)))) };
    }

    /// Connects a socket. Completes as [`Completion::Connected`](crate::Completion::Connected). The socket must be
    /// blocking.
    pub fn connect(&mut self, socket: BorrowedFd<'_>, key: Key, to: SocketAddr) {
        let address = Box::new(socket2::SockAddr::from(to));
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build();
        self.addresses.push(address);
        // SAFETY: the kernel copies the address when the entry is submitted; `addresses` keeps the box in place until
        // an enter has left the submission queue empty.
        unsafe { self.push(entry.user_data(Op::Connect.tag(key.bits()))) };
    }

    /// Cancels a connect; its completion is an error (`ECANCELED`), unless it was over before.
    pub fn cancel_connect(&mut self, key: Key) {
        self.cancel(Op::Connect.tag(key.bits()));
    }

    /// Completes as [`Completion::Rang`](crate::Completion::Rang) each time another thread writes to this eventfd. Its
    /// counter need not be read.
    pub fn bell(&mut self, eventfd: BorrowedFd<'_>, key: Key) {
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        let entry = opcode::PollAdd::new(types::Fd(eventfd.as_raw_fd()), readable)
            .multi(true)
            .build();
        // SAFETY: the entry points at nothing.
        unsafe { self.push(entry.user_data(Op::Bell.tag(key.bits()))) };
    }

    /// Completes as [`Completion::TimedOut`](crate::Completion::TimedOut) at `due` or before. There is one timeout a
    /// ring: a call for a later moment than the armed one changes nothing, an earlier one replaces it.
    pub fn wake_by(&mut self, due: Instant, now: Instant) {
        if self.due.is_some_and(|armed| armed <= due) {
            return;
        }
        **self.span = types::Timespec::from(due.saturating_duration_since(now));
        let (span, id) = (std::ptr::from_ref(&**self.span), Op::Timeout.tag(0));
        let entry = match self.due {
            None => opcode::Timeout::new(span).build().user_data(id),
            // When the old one fires meanwhile, the update fails quietly and the old one's completion calls for a new
            // look.
            Some(_) => opcode::TimeoutUpdate::new(id, span)
                .build()
                .user_data(Op::Quiet.tag(0)),
        };
        self.due = Some(due);
        // SAFETY: the entry points at a box that the ring owns; the kernel copies it when the entry is submitted.
        unsafe { self.push(entry) };
    }

    fn cancel(&mut self, target: u64) {
        // SAFETY: the entry points at nothing.
        unsafe {
            self.push(
                opcode::AsyncCancel::new(target)
                    .build()
                    .user_data(Op::Quiet.tag(0)),
            )
        };
    }
}

// What a peer's machine has of the bytes that the kernel took for it. Two system calls: the ring's own operations for
// them save nothing.

/// The bytes of a TCP connection that the kernel took and the peer's machine has not acknowledged (`SIOCOUTQ`). Our own
/// end counts as one, and so do bytes of a send that is under way. `None` where there is no connection.
#[must_use]
pub fn unacknowledged(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `TIOCOUTQ`, which is `SIOCOUTQ`, writes one int.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::TIOCOUTQ,
            ptr::from_mut(&mut bytes),
        )
    };
    (result == 0).then(|| u32::try_from(bytes).unwrap_or(0))
}

/// The smoothed time of a round trip of a TCP connection, in microseconds (`TCP_INFO`). `None` where there is none.
#[must_use]
pub fn round_trip_us(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: at most `length` bytes are written into memory of that size, in which zeros are a value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // SAFETY: it was zeroed, and what the kernel wrote are integers.
    (result == 0).then(|| unsafe { info.assume_init() }.tcpi_rtt)
}
