//! Front end of a ring, which dispatches calls to one of two engines.

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
    /// The kernel performs the operations and reports their completion.
    #[default]
    IoUring,
    /// The kernel reports readiness, and the ring performs the operations itself.
    Epoll,
}

impl Engine {
    /// Name of the engine, as shown in the ready line and on pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Sizes of a ring. All memory is reserved when the ring is created, but touched only as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Kernel interface used by the ring.
    pub engine: Engine,
    /// Number of entries that can be queued for one [`Ring::enter`]; when the queue is full, the ring submits the
    /// entries itself. A power of two. On epoll, nothing is queued.
    pub submissions: u32,
    /// Number of completions that the kernel can hold without a slow path, 16 bytes each. A power of two, at least
    /// `submissions`. On epoll, the maximum number of completions that one [`Ring::enter`] leaves.
    pub completions: u32,
    /// Number of receive buffers, a power of two up to 32,768. Each receive in a turn takes one, so if there are fewer
    /// buffers than simultaneously active connections, receives have to be rearmed.
    pub buffers: u16,
    /// Size of one receive buffer, from 64 bytes to 1 MiB.
    pub buffer_bytes: u32,
    /// Number of buffers used at first; [`Ring::add_buffers`] adds more. The kernel cycles through all buffers in use,
    /// so the memory of each is soon touched even if a few buffers would suffice.
    pub buffers_at_start: u16,
}

impl Default for RingSettings {
    /// Defaults to 512 buffers of 8 KiB: 4 MiB per ring. Newer kernels charge 144 KiB as locked memory: 64 KiB each for
    /// submissions and completions, plus descriptors. The number of completions between two turns is bounded by their
    /// sources: the buffers, the submissions, and at worst a listener's backlog of 4096; the kernel keeps any beyond
    /// that in an overflow list.
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

/// A thread's ring: its engine, its receive buffers and the buffers of its sends. Must stay on the thread that created
/// it.
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
    /// `InvalidInput` if a size is out of range; otherwise the kernel's error, which [`probe`](crate::probe) explains
    /// for io_uring.
    pub fn new(settings: &RingSettings) -> io::Result<Self> {
        settings.check()?;
        Ok(Self(match settings.engine {
            Engine::IoUring => EngineDriver::Uring(Uring::new(settings)?),
            Engine::Epoll => EngineDriver::Epoll(Epoll::new(settings)?),
        }))
    }

    /// Returns the next completion found by the last [`Self::enter`], oldest first.
    #[expect(
        clippy::should_implement_trait,
        reason = "between two calls the caller arms operations on the same ring"
    )]
    #[inline]
    pub fn next(&mut self) -> Option<Completion> {
        ask!(self, engine => engine.next())
    }

    /// Whether there is a completion, or [`Self::enter`] would return one without waiting. Makes no system call.
    pub fn has_completions(&mut self) -> bool {
        ask!(self, engine => engine.has_completions())
    }

    /// Performs the armed operations that are ready, and waits until there are `want` completions or `limit` has
    /// passed. Does not wait if `want` is 0. Completions are produced only by this method.
    ///
    /// Each call does a bounded amount of work: if there are completions, the caller should enter again after serving
    /// them. The same applies to [submissions](Self::has_submissions), which stay queued while the kernel lacks a
    /// resource.
    ///
    /// # Errors
    /// Only errors after which the ring can no longer be used. An expired limit, a signal and a busy kernel are not
    /// errors, unless the kernel is busy for 10 s.
    pub fn enter(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        ask!(self, engine => engine.enter(want, limit))
    }

    /// Whether there are operations that the kernel has not accepted yet, in which case [`Self::enter`] must be called.
    pub fn has_submissions(&mut self) -> bool {
        match &mut self.0 {
            EngineDriver::Uring(engine) => engine.has_submissions(),
            EngineDriver::Epoll(_) => false,
        }
    }

    /// Returns the bytes of a received buffer, which can be read and modified in place.
    ///
    /// # Panics
    /// Panics if the buffer belongs to another ring.
    #[inline]
    pub fn bytes<'a>(&'a mut self, lent: &'a mut Lent) -> &'a mut [u8] {
        ask!(self, engine => engine.pool.buffers.bytes(lent))
    }

    /// Whether a receive filled its buffer, in which case the socket may contain more data.
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

    /// Doubles the number of buffers; called after a receive that found none. Returns whether there are now more than
    /// at the last [`Self::enter`], in which case receives that ended for lack of buffers may be rearmed immediately.
    pub fn add_buffers(&mut self) -> bool {
        ask!(self, engine => engine.add_buffers())
    }

    /// Releases the memory of all buffers to the system, for a thread that is about to sleep for a longer time,
    /// provided that all received bytes have been taken and their buffers returned. Returns whether any memory was in
    /// use.
    pub fn release_buffers(&mut self) -> bool {
        // The kernel fills buffers in `enter` alone (deferred task work).
        !self.has_completions() && ask!(self, engine => engine.pool.buffers.release())
    }

    /// Signals completions on `eventfd`, so that another event loop can wait for this ring. Disabled until
    /// [`Self::eventfd_on`] is called. Supported on io_uring only: on epoll, the caller waits in [`Self::enter`].
    ///
    /// # Errors
    /// The kernel's error; `EBUSY` if an eventfd is already registered, `Unsupported` on epoll.
    pub fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        match &mut self.0 {
            EngineDriver::Uring(engine) => engine.register_eventfd(eventfd),
            EngineDriver::Epoll(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Starts signalling new completions, that is, work for [`Self::enter`], on the registered eventfd.
    pub fn eventfd_on(&mut self) {
        if let EngineDriver::Uring(engine) = &mut self.0 {
            engine.eventfd_on();
        }
    }

    /// Stops signalling completions on the registered eventfd.
    pub fn eventfd_off(&mut self) {
        if let EngineDriver::Uring(engine) = &mut self.0 {
            engine.eventfd_off();
        }
    }
}

// Operations. Each one starts with the next enter.

impl Ring {
    /// Accepts all connections of a listener until the operation is cancelled or fails (for example with `EMFILE`).
    /// Completes as [`Completion::Accepted`].
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.accept(listener, key));
    }

    /// Receives once, into a buffer of the pool. Nothing stays armed after the completion, so the connection can move
    /// to another ring. Completes as [`Completion::Received`].
    pub fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_once(socket, key));
    }

    /// Receives repeatedly, each time into a buffer of the pool, until EOF, an error, an empty pool, or
    /// [`Self::cancel_receive`].
    pub fn receive_many(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_many(socket, key));
    }

    /// Cancels the receive armed on this socket under `key`. Bytes already received are reported first, then the final
    /// completion, which is [`Received::Cancelled`](crate::Received::Cancelled) unless the receive has already ended.
    pub fn cancel_receive(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_receive(socket, key));
    }

    /// Cancels the accept armed on this listener under `key`; its final completion is an error (`ECANCELED`).
    pub fn cancel_accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_accept(listener, key));
    }

    /// Sends all of `bytes[from..]`; the ring waits for space in the socket buffer. The ring owns the buffer until
    /// [`Completion::Sent`] returns it. Only one send per connection may be in flight, otherwise the order is
    /// undefined. A broken connection results in an error, never in a signal.
    ///
    /// # Panics
    /// Panics if `from` is beyond the end of `bytes`, or if more than 4 GiB are to be sent.
    pub fn send(&mut self, socket: BorrowedFd<'_>, key: Key, bytes: Vec<u8>, from: usize) {
        ask!(self, engine => engine.send(socket, key, bytes, from));
    }

    /// Connects a socket. Completes as [`Completion::Connected`].
    pub fn connect(&mut self, socket: BorrowedFd<'_>, key: Key, to: SocketAddr) {
        ask!(self, engine => engine.connect(socket, key, to));
    }

    /// Cancels the connect of this socket under `key`; its completion is an error (`ECANCELED`), unless the connect has
    /// already finished.
    pub fn cancel_connect(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_connect(socket, key));
    }

    /// Completes as [`Completion::Rang`] each time another thread writes to this eventfd. The eventfd's counter need
    /// not be read.
    pub fn bell(&mut self, eventfd: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.bell(eventfd, key));
    }

    /// Completes as [`Completion::TimedOut`] at `due` or earlier; on epoll, up to a millisecond later. A ring has one
    /// timeout: a time later than the armed one has no effect, an earlier one replaces it.
    pub fn wake_by(&mut self, due: Instant, now: Instant) {
        ask!(self, engine => engine.wake_by(due, now));
    }

    /// Releases a descriptor that has no operation armed, before the descriptor is closed or moves to another ring. Not
    /// needed if no operation was ever armed on it.
    pub fn release(&mut self, descriptor: BorrowedFd<'_>) {
        match &mut self.0 {
            EngineDriver::Uring(_) => {} // the kernel knows it by its operations alone
            EngineDriver::Epoll(engine) => engine.release(descriptor),
        }
    }
}
