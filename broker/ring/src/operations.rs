//! The operations of the io_uring engine, each of which queues an entry for the next enter to submit. Also contains
//! functions that query unacknowledged bytes and control socket buffer sizes.
#![expect(
    unsafe_code,
    reason = "entries carry addresses; each one pushed points at memory that the ring owns until it completes"
)]

use crate::completion::{Key, Op};
use crate::{pool::GROUP, uring::Uring};
use io_uring::{opcode, squeue, types};
use socket2::SockRef;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Instant;

impl Uring {
    pub(crate) fn accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        wait_in(listener);
        let fd = types::Fd(listener.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd)
            .flags(libc::SOCK_CLOEXEC)
            .build();
        // SAFETY: the entry has no pointers.
        unsafe { self.push(entry.user_data(Op::Accept.tag(key.bits()))) };
    }

    pub(crate) fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
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

    pub(crate) fn receive_many(&mut self, socket: BorrowedFd<'_>, key: Key) {
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::RecvMulti::new(fd, GROUP).build();
        // SAFETY: the entry has no pointers; the kernel writes into pool buffers.
        unsafe { self.push(entry.user_data(Op::Receive.tag(key.bits()))) };
    }

    pub(crate) fn cancel_receive(&mut self, _socket: BorrowedFd<'_>, key: Key) {
        self.cancel(Op::Receive.tag(key.bits()));
    }

    pub(crate) fn cancel_accept(&mut self, _listener: BorrowedFd<'_>, key: Key) {
        self.cancel(Op::Accept.tag(key.bits()));
    }

    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, key: Key, bytes: Vec<u8>, from: usize) {
        let place = self.flight.launch(key, bytes);
        let rest = &self.flight.bytes(place)[from..];
        let len = u32::try_from(rest.len()).expect("a send is below 4 GiB");
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), rest.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        // SAFETY: the entry points to the heap block of a vector that `flight` owns, unmodified, until the completion.
        unsafe { self.push(entry.user_data(Op::Send.tag(u64::from(place)))) };
    }

    pub(crate) fn connect(&mut self, socket: BorrowedFd<'_>, key: Key, to: SocketAddr) {
        wait_in(socket);
        let address = Box::new(socket2::SockAddr::from(to));
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build();
        self.addresses.push(address);
        // SAFETY: the kernel copies the address when the entry is submitted; `addresses` keeps the box in place until
        // an enter has left the submission queue empty.
        unsafe { self.push(entry.user_data(Op::Connect.tag(key.bits()))) };
    }

    pub(crate) fn cancel_connect(&mut self, _socket: BorrowedFd<'_>, key: Key) {
        self.cancel(Op::Connect.tag(key.bits()));
    }

    pub(crate) fn bell(&mut self, eventfd: BorrowedFd<'_>, key: Key) {
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        let entry = opcode::PollAdd::new(types::Fd(eventfd.as_raw_fd()), readable)
            .multi(true)
            .build();
        // SAFETY: the entry has no pointers.
        unsafe { self.push(entry.user_data(Op::Bell.tag(key.bits()))) };
    }

    pub(crate) fn wake_by(&mut self, due: Instant, now: Instant) {
        if self.due.is_some_and(|armed| armed <= due) {
            return;
        }
        **self.span = types::Timespec::from(due.saturating_duration_since(now));
        let (span, id) = (std::ptr::from_ref(&**self.span), Op::Timeout.tag(0));
        let entry = match self.due {
            None => opcode::Timeout::new(span).build().user_data(id),
            // If the old timeout fires first, the update fails silently, and the old timeout's completion prompts
            // another check.
            Some(_) => opcode::TimeoutUpdate::new(id, span)
                .build()
                .user_data(Op::Quiet.tag(0)),
        };
        self.due = Some(due);
        // SAFETY: the entry points to a box that the ring owns; the kernel copies it when the entry is submitted.
        unsafe { self.push(entry) };
    }

    fn cancel(&mut self, target: u64) {
        let entry = opcode::AsyncCancel::new(target).build();
        // SAFETY: the entry has no pointers.
        unsafe { self.push(entry.user_data(Op::Quiet.tag(0))) };
    }
}

/// Makes a descriptor blocking, so that the kernel waits on it. On a non-blocking one, operations would return
/// `EAGAIN`.
fn wait_in(socket: BorrowedFd<'_>) {
    // Fails only if the descriptor is not a socket, in which case the operation itself reports the error.
    let _ = SockRef::from(&socket).set_nonblocking(false);
}

// Queries about what a peer's host has acknowledged. Each makes a system call, since io_uring has no cheaper operation
// for this.

/// Returns how many bytes on a TCP connection the kernel has accepted and the peer's host has not acknowledged
/// (`SIOCOUTQ`). Includes the bytes of a send in flight, and counts the connection's own FIN as one. Returns `None` if
/// the socket is not connected.
#[must_use]
pub fn unacknowledged(socket: BorrowedFd<'_>) -> Option<u32> {
    let (fd, mut bytes) = (socket.as_raw_fd(), 0);
    // SAFETY: `TIOCOUTQ`, an alias of `SIOCOUTQ`, writes one int.
    let result =
        unsafe { libc::ioctl(fd, libc::TIOCOUTQ, ptr::from_mut::<libc::c_int>(&mut bytes)) };
    (result == 0).then(|| u32::try_from(bytes).unwrap_or(0))
}

/// Returns a TCP connection's smoothed round-trip time in microseconds (`TCP_INFO`), or `None` if the socket is not
/// connected.
#[must_use]
pub fn round_trip_us(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes into memory of that size, in which zeros are valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // SAFETY: the memory was zeroed, and the kernel wrote integers.
    (result == 0).then(|| unsafe { info.assume_init() }.tcpi_rtt)
}

/// Lets the kernel tune a socket's buffer sizes automatically again after `SO_SNDBUF` has fixed them. Returns `false`
/// if the kernel does not support `SO_BUF_LOCK`, which was added in Linux 5.14.
#[must_use]
pub fn adapts_buffers(socket: BorrowedFd<'_>) -> bool {
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BUF_LOCK,
            ptr::from_ref(&unlocked).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0),
        )
    };
    result == 0
}
