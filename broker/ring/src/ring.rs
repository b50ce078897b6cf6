//! The public interface of a ring, which dispatches each call to one of two engines.

use crate::completion::{Completion, Key};
use crate::epoll::Epoll;
use crate::pool::Lent;
use crate::uring::Uring;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The kernel interface that a ring uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The kernel performs the operations and reports their completion.
    #[default]
    IoUring,
    /// The kernel reports readiness, and the ring performs the operations.
    Epoll,
}

impl Engine {
    /// Returns the engine's name, as shown in the startup message and on admin pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// The sizes of a ring. All memory is reserved when the ring is created, but only touched when used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// The kernel interface that the ring uses.
    pub engine: Engine,
    /// Number of entries that can be queued for one [`Ring::enter`], a power of two. A full queue is submitted early.
    /// Ignored on epoll.
    pub submissions: u32,
    /// Number of completions that the kernel can store before it falls back to a slower path, at 16 bytes each. A power
    /// of two, and at least `submissions`. On epoll, the maximum number of completions per [`Ring::enter`].
    pub completions: u32,
    /// Number of receive buffers, a power of two up to 32,768. Each receive takes one. A receive that finds none free
    /// must be armed again.
    pub buffers: u16,
    /// Size of a receive buffer, from 64 bytes to 1 MiB.
    pub buffer_bytes: u32,
    /// Number of buffers in use initially. The kernel cycles through all of them. [`Ring::add_buffers`] adds more.
    pub buffers_at_start: u16,
}

impl Default for RingSettings {
    /// Defaults to 512 buffers of 8 KiB, which take 4 MiB per ring. Newer kernels charge 144 KiB as locked memory: 64
    /// KiB each for submissions and completions, plus the buffer descriptors. Between two iterations of the event loop,
    /// only the buffers, the submissions and, at worst, a listener's backlog of 4096 connections can cause completions.
    /// The kernel keeps any excess in an overflow list.
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            submissions: 1024,
            completions: 4 * 1024,
            buffers: 512,
            buffer_bytes: 8 * 1024,
            buffers_at_start: 512,
        }
    }
}

impl RingSettings {
    fn check(self) -> io::Result<()> {
        let well = self.submissions.is_power_of_two()
            && self.completions.is_power_of_two()
            && self.completions >= self.submissions
            && self.buffers.is_power_of_two()
            && (64..=1 << 20).contains(&self.buffer_bytes);
        let text = format!("ring settings {self:?}");
        let fault = || io::Error::new(io::ErrorKind::InvalidInput, text);
        well.then_some(()).ok_or_else(fault)
    }
}

/// A ring, with its engine and its buffers. Must stay on the thread that created it.
pub struct Ring(EngineDriver);

enum EngineDriver {
    Uring(Uring),
    Epoll(Epoll),
}

macro_rules! ask {
    ($ring:expr, $engine:ident => $call:expr) => {
        match &mut $ring.0 {
            EngineDriver::Uring($engine) => $call,
            EngineDriver::Epoll($engine) => $call,
        }
    };
}

impl Ring {
    /// Creates a ring for the calling thread.
    ///
    /// # Errors
    /// Returns `InvalidInput` if a size is out of range, or the kernel's error otherwise; see [`probe`](crate::probe).
    pub fn new(settings: &RingSettings) -> io::Result<Self> {
        settings.check()?;
        Ok(Self(match settings.engine {
            Engine::IoUring => EngineDriver::Uring(Uring::new(settings)?),
            Engine::Epoll => EngineDriver::Epoll(Epoll::new(settings)?),
        }))
    }

    /// Returns the oldest completion from the last [`Self::enter`] that has not been returned yet.
    #[expect(
        clippy::should_implement_trait,
        reason = "between two calls the caller arms operations on the same ring"
    )]
    #[inline]
    pub fn next(&mut self) -> Option<Completion> {
        ask!(self, engine => engine.next())
    }

    /// Returns whether a completion is queued or [`Self::enter`] would find one without waiting. Makes no system call.
    pub fn has_completions(&mut self) -> bool {
        ask!(self, engine => engine.has_completions())
    }

    /// Performs the operations that are ready, then waits for `want` completions or until `limit` has passed. Does not
    /// wait if `want` is 0. Only this method produces completions.
    ///
    /// Each call does a bounded amount of work. Call this method again once the completions have been served, and as
    /// long as there are [submissions](Self::has_submissions), which stay queued while the kernel lacks a resource.
    ///
    /// # Errors
    /// Returns errors that leave the ring unusable. An expired limit, a signal or a busy kernel is not an error, unless
    /// the kernel stays busy for 10 s.
    pub fn enter(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        ask!(self, engine => engine.enter(want, limit))
    }

    /// Returns whether the kernel has yet to accept some operations. If so, [`Self::enter`] must be called.
    pub fn has_submissions(&mut self) -> bool {
        match &mut self.0 {
            EngineDriver::Uring(engine) => engine.has_submissions(),
            EngineDriver::Epoll(_) => false,
        }
    }

    /// Returns the bytes of a received buffer, which may be modified in place.
    ///
    /// # Panics
    /// Panics if another ring owns the buffer.
    #[inline]
    pub fn bytes<'a>(&'a mut self, lent: &'a mut Lent) -> &'a mut [u8] {
        ask!(self, engine => engine.pool.buffers.bytes(lent))
    }

    /// Returns whether a receive filled its buffer. If so, the socket may contain more data.
    #[inline]
    pub fn fills(&mut self, lent: &Lent) -> bool {
        ask!(self, engine => engine.pool.buffers.fills(lent))
    }

    /// Returns a received buffer to the pool.
    ///
    /// # Panics
    /// Panics if another ring owns the buffer.
    #[inline]
    pub fn give_back(&mut self, lent: Lent) {
        ask!(self, engine => engine.pool.give_back(lent));
    }

    /// Doubles the number of buffers if a receive found none free. Returns whether buffers were added since the last
    /// [`Self::enter`]. If so, receives that ended for lack of a buffer may be armed again immediately.
    pub fn add_buffers(&mut self) -> bool {
        ask!(self, engine => engine.add_buffers())
    }

    /// Gives the memory of all buffers back to the system, for example before a long sleep. Does nothing while there
    /// are unserved completions or lent buffers. Returns whether memory was released.
    pub fn release_buffers(&mut self) -> bool {
        // The kernel fills buffers only in `enter` (deferred task work).
        !self.has_completions() && ask!(self, engine => engine.pool.buffers.release())
    }

    /// Signals completions on `eventfd`, so that another event loop can wait for this ring. Off until
    /// [`Self::eventfd_on`] is called.
    ///
    /// # Errors
    /// Fails with `EBUSY` if an eventfd is already registered, and with `Unsupported` on epoll.
    pub fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        match &mut self.0 {
            EngineDriver::Uring(engine) => engine.register_eventfd(eventfd),
            EngineDriver::Epoll(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Starts signaling: the registered eventfd is written to whenever completions are waiting for [`Self::enter`].
    pub fn eventfd_on(&mut self) {
        if let EngineDriver::Uring(engine) = &mut self.0 {
            engine.eventfd_on();
        }
    }

    /// Stops signaling completions on the registered eventfd.
    pub fn eventfd_off(&mut self) {
        if let EngineDriver::Uring(engine) = &mut self.0 {
            engine.eventfd_off();
        }
    }
}

// The operations. Each starts at the next [`Ring::enter`].

impl Ring {
    /// Accepts all connections on a listener until cancelled or until it fails (for example with `EMFILE`). Completes
    /// with [`Completion::Accepted`].
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.accept(listener, key));
    }

    /// Receives once into a buffer from the pool. The connection can then move to another ring. Completes with
    /// [`Completion::Received`].
    pub fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_once(socket, key));
    }

    /// Receives repeatedly into buffers from the pool, until EOF, an error, an empty pool, or [`Self::cancel_receive`].
    /// Completes with [`Completion::Received`] each time.
    pub fn receive_many(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_many(socket, key));
    }

    /// Cancels the receive armed on this socket under `key`. Bytes that were already received are reported first. The
    /// final completion is [`Received::Cancelled`](crate::Received::Cancelled), unless the receive had already ended
    /// for another reason.
    pub fn cancel_receive(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_receive(socket, key));
    }

    /// Cancels the accept armed on this listener under `key`. Its final completion is an error (`ECANCELED`).
    pub fn cancel_accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_accept(listener, key));
    }

    /// Sends all of `bytes[from..]`, waiting for space in the socket buffer. The ring owns the buffer until
    /// [`Completion::Sent`] returns it. A connection may have at most one send in flight. If it breaks, the send fails
    /// with an error and never raises a signal.
    ///
    /// # Panics
    /// Panics if `from` is beyond the end of `bytes`, or if more than 4 GiB are to be sent.
    pub fn send(&mut self, socket: BorrowedFd<'_>, key: Key, bytes: Vec<u8>, from: usize) {
        ask!(self, engine => engine.send(socket, key, bytes, from));
    }

    /// Connects a socket. Completes with [`Completion::Connected`].
    pub fn connect(&mut self, socket: BorrowedFd<'_>, key: Key, to: SocketAddr) {
        ask!(self, engine => engine.connect(socket, key, to));
    }

    /// Cancels this socket's connect under `key`, which completes with `ECANCELED` unless it had already finished.
    pub fn cancel_connect(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_connect(socket, key));
    }

    /// Completes with [`Completion::Rang`] each time another thread writes to this eventfd, which does not have to be
    /// read.
    pub fn bell(&mut self, eventfd: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.bell(eventfd, key));
    }

    /// Arms the ring's only timeout. Completes with [`Completion::TimedOut`] at `due`, or up to a millisecond later on
    /// epoll. If the timeout is already armed, an earlier `due` replaces it and a later one has no effect.
    pub fn wake_by(&mut self, due: Instant, now: Instant) {
        ask!(self, engine => engine.wake_by(due, now));
    }

    /// Releases a descriptor before it is closed or moves to another ring. No operation may be armed on it.
    pub fn release(&mut self, descriptor: BorrowedFd<'_>) {
        match &mut self.0 {
            EngineDriver::Uring(_) => {} // io_uring keeps no state for a descriptor without operations
            EngineDriver::Epoll(engine) => engine.release(descriptor),
        }
    }
}
