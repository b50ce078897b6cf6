//! Front end of a ring: one of two engines, and the calls to it.

use crate::completion::{Completion, Key};
use crate::epoll::Epoll;
use crate::pool::Lent;
use crate::uring::Uring;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Kernel interface used by a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The kernel performs operations and reports their completion.
    #[default]
    IoUring,
    /// The kernel reports readiness, and the ring performs the operations.
    Epoll,
}

impl Engine {
    /// Name of the engine, as in the ready line and on pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Sizes of a ring. All memory is reserved when the ring is created, and touched as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// The engine.
    pub engine: Engine,
    /// Number of entries queued for one [`Ring::enter`]; when full, the ring submits them itself. A power of two. On
    /// epoll nothing is queued.
    pub submissions: u32,
    /// Number of completions that the kernel holds without a slow path, 16 bytes each. A power of two, at least
    /// `submissions`. On epoll, the maximum number left by one [`Ring::enter`].
    pub completions: u32,
    /// Number of receive buffers, a power of two up to 32,768. Each receive of a turn takes one, so fewer buffers than
    /// simultaneously active connections cause rearming.
    pub buffers: u16,
    /// Size of one receive buffer, from 64 bytes to 1 MiB.
    pub buffer_bytes: u32,
    /// Number of buffers used at first; [`Ring::add_buffers`] adds more. The kernel cycles through all buffers in use,
    /// so each is soon touched, even where a few would suffice.
    pub buffers_at_start: u16,
}

impl Default for RingSettings {
    /// 512 buffers of 8 KiB: 4 MiB per ring. Newer kernels charge 144 KiB as locked memory: 64 KiB each for submissions
    /// and completions, and descriptors. Completions are bounded by their sources between two turns: the buffers, the
    /// submissions, and a listener's backlog of 4096 at worst, beyond which the kernel keeps them in an overflow list.
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
        well.then_some(()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("ring settings {self:?}"),
            )
        })
    }
}

/// A thread's engine with its receive buffers and the buffers of its sends. Stays on the thread that created it.
pub struct Ring(EngineDriver);

enum EngineDriver {
    Uring(Uring),
    Epoll(Epoll),
}

/// Dispatches a call to the engine of this ring.
macro_rules! ask {
    ($ring:expr, $engine:ident => $call:expr) => {
        match &mut $ring.0 {
            EngineDriver::Uring($engine) => $call,
            EngineDriver::Epoll($engine) => $call,
        }
    };
}

// The turn.

impl Ring {
    /// Creates a ring for the calling thread.
    ///
    /// # Errors
    /// `InvalidInput` for sizes out of range; otherwise the kernel's error. [`probe`](crate::probe) explains it for
    /// io_uring.
    pub fn new(settings: &RingSettings) -> io::Result<Self> {
        settings.check()?;
        Ok(Self(match settings.engine {
            Engine::IoUring => EngineDriver::Uring(Uring::new(settings)?),
            Engine::Epoll => EngineDriver::Epoll(Epoll::new(settings)?),
        }))
    }

    /// The next completion of the last [`Self::enter`], oldest first.
    #[expect(
        clippy::should_implement_trait,
        reason = "between two calls the caller arms operations on the same ring"
    )]
    #[inline]
    pub fn next(&mut self) -> Option<Completion> {
        ask!(self, engine => engine.next())
    }

    /// Whether there is a completion, or an [`Self::enter`] would return one without waiting; determined without a
    /// system call.
    pub fn has_completions(&mut self) -> bool {
        ask!(self, engine => engine.has_completions())
    }

    /// Performs armed operations that are ready, and waits until there are `want` completions or `limit` has passed.
    /// `want == 0` does not wait. Completions appear only here.
    ///
    /// Each call does a bounded amount of work: if there are completions, another turn is due. Likewise for
    /// [submissions](Self::has_submissions), which stay queued while the kernel lacks a resource.
    ///
    /// # Errors
    /// Only errors that permanently end a ring; an expired limit, a signal and a busy kernel are not errors, unless it
    /// is busy for 10 s.
    pub fn enter(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        ask!(self, engine => engine.enter(want, limit))
    }

    /// Whether there are operations that the kernel has not accepted, so that an [`Self::enter`] is due.
    pub fn has_submissions(&mut self) -> bool {
        match &mut self.0 {
            EngineDriver::Uring(engine) => engine.has_submissions(),
            EngineDriver::Epoll(_) => false,
        }
    }

    /// Bytes of a received buffer, which can be read and modified in place.
    ///
    /// # Panics
    /// Panics if the buffer belongs to another ring.
    #[inline]
    pub fn bytes<'a>(&'a mut self, lent: &'a mut Lent) -> &'a mut [u8] {
        ask!(self, engine => engine.pool.buffers.bytes(lent))
    }

    /// Whether a receive filled its buffer, in which case the socket may hold more.
    #[inline]
    pub fn fills(&mut self, lent: &Lent) -> bool {
        ask!(self, engine => engine.pool.buffers.fills(lent))
    }

    /// Returns a received buffer to the pool.
    ///
    /// # Panics
    /// Panics if the buffer belongs to another ring.
    #[inline]
    pub fn give_back(&mut self, lent: Lent) {
        ask!(self, engine => engine.pool.give_back(lent));
    }

    /// Doubles the number of buffers, after a receive that found none. Returns whether there are more than at the last
    /// [`Self::enter`]: receives that ended for lack of buffers may then be rearmed without waiting.
    pub fn add_buffers(&mut self) -> bool {
        ask!(self, engine => engine.add_buffers())
    }

    /// Releases the memory of all buffers to the system, for a thread about to sleep for longer, if all bytes received
    /// have been taken and given back. Returns whether any was in use.
    pub fn release_buffers(&mut self) -> bool {
        // The kernel fills buffers in `enter` alone (deferred task work).
        !self.has_completions() && ask!(self, engine => engine.pool.buffers.release())
    }

    /// Announces completions on `eventfd`, so that another event loop can wait for this ring. Disabled until
    /// [`Self::eventfd_on`]. On io_uring only: on epoll the caller waits in [`Self::enter`].
    ///
    /// # Errors
    /// The kernel's error; `EBUSY` if one is already registered. `Unsupported` on epoll.
    pub fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        match &mut self.0 {
            EngineDriver::Uring(engine) => engine.register_eventfd(eventfd),
            EngineDriver::Epoll(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Begins to announce new completions (that is, work for an [`Self::enter`]) on the registered eventfd.
    pub fn eventfd_on(&mut self) {
        if let EngineDriver::Uring(engine) = &mut self.0 {
            engine.eventfd_on();
        }
    }

    /// Stops announcing completions.
    pub fn eventfd_off(&mut self) {
        if let EngineDriver::Uring(engine) = &mut self.0 {
            engine.eventfd_off();
        }
    }
}

// Operations. Each one starts with the next enter.

impl Ring {
    /// Accepts all connections of a listener until cancelled or until an error ends it (such as `EMFILE`). Completes as
    /// [`Completion::Accepted`].
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.accept(listener, key));
    }

    /// Receives once, into a buffer of the pool. Nothing stays armed after completion, so the connection can move to
    /// another ring. Completes as [`Completion::Received`].
    pub fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_once(socket, key));
    }

    /// Receives repeatedly, each time into a buffer of the pool, until EOF, an error, an empty pool or
    /// [`Self::cancel_receive`].
    pub fn receive_many(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_many(socket, key));
    }

    /// Ends the receive armed on this socket under `key`. Received bytes are reported first, then the final completion,
    /// which is [`Received::Cancelled`](crate::Received::Cancelled) unless the receive has already ended.
    pub fn cancel_receive(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_receive(socket, key));
    }

    /// Ends the accept armed on this listener under `key`; its final completion is an error (`ECANCELED`).
    pub fn cancel_accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_accept(listener, key));
    }

    /// Sends all of `bytes[from..]`: the ring waits for room in the socket. The ring owns the buffer until
    /// [`Completion::Sent`] returns it. Only one send per connection may be in flight, or the order is lost. A broken
    /// connection is an error, never a signal.
    ///
    /// # Panics
    /// Panics if `from` is beyond the end of `bytes`, or more than 4 GiB are sent.
    pub fn send(&mut self, socket: BorrowedFd<'_>, key: Key, bytes: Vec<u8>, from: usize) {
        ask!(self, engine => engine.send(socket, key, bytes, from));
    }

    /// Connects a socket. Completes as [`Completion::Connected`].
    pub fn connect(&mut self, socket: BorrowedFd<'_>, key: Key, to: SocketAddr) {
        ask!(self, engine => engine.connect(socket, key, to));
    }

    /// Cancels the connect of this socket under `key`; its completion is an error (`ECANCELED`), unless it has already
    /// finished.
    pub fn cancel_connect(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_connect(socket, key));
    }

    /// Completes as [`Completion::Rang`] each time another thread writes to this eventfd. Its counter need not be
    /// read.
    pub fn bell(&mut self, eventfd: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.bell(eventfd, key));
    }

    /// Completes as [`Completion::TimedOut`] at `due` or before; on epoll up to a millisecond later. A ring has one
    /// timeout: a later time than the armed one changes nothing, an earlier one replaces it.
    pub fn wake_by(&mut self, due: Instant, now: Instant) {
        ask!(self, engine => engine.wake_by(due, now));
    }

    /// Releases a descriptor with no operation armed, before it is closed or moves to another ring. Not needed if none
    /// was ever armed on it.
    pub fn release(&mut self, descriptor: BorrowedFd<'_>) {
        match &mut self.0 {
            EngineDriver::Uring(_) => {} // the kernel knows it by its operations alone
            EngineDriver::Epoll(engine) => engine.release(descriptor),
        }
    }
}
