//! Interface of a ring, which dispatches calls to one of two engines.

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
    /// The kernel reports readiness, and the ring performs the operations.
    Epoll,
}

impl Engine {
    /// Name of the engine in the ready line and on pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Sizes of a ring. All memory is reserved when the ring is created, but touched only on use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Kernel interface of the ring.
    pub engine: Engine,
    /// Entries that can be queued for one [`Ring::enter`], a power of two; a full queue is submitted early. Unused on
    /// epoll.
    pub submissions: u32,
    /// Completions that the kernel can hold without a slow path, 16 bytes each: a power of two, at least `submissions`.
    /// On epoll, the maximum number per [`Ring::enter`].
    pub completions: u32,
    /// Receive buffers, a power of two up to 32,768. Each receive takes one; a receive that finds none must be rearmed.
    pub buffers: u16,
    /// Size of one receive buffer, from 64 bytes to 1 MiB.
    pub buffer_bytes: u32,
    /// Buffers in use at first; [`Ring::add_buffers`] adds more. The kernel cycles through all buffers in use.
    pub buffers_at_start: u16,
}

impl Default for RingSettings {
    /// Defaults to 512 buffers of 8 KiB: 4 MiB per ring. Newer kernels charge 144 KiB as locked memory: 64 KiB each for
    /// submissions and completions, plus descriptors. The completions between two turns are bounded by their sources:
    /// the buffers, the submissions, and at worst a listener's backlog of 4096; the kernel keeps any others in an
    /// overflow list.
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

/// A thread's ring: its engine and its buffers. Must stay on the thread that created it.
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
    /// Returns `InvalidInput` if a size is out of range; otherwise the kernel's error, see [`probe`](crate::probe).
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

    /// Whether a completion is queued, or [`Self::enter`] would find one without waiting. Makes no system call.
    pub fn has_completions(&mut self) -> bool {
        ask!(self, engine => engine.has_completions())
    }

    /// Performs the ready operations, and waits until there are `want` completions or `limit` has passed. Does not wait
    /// if `want` is 0. Only this method produces completions.
    ///
    /// Each call does a bounded amount of work: while there are completions, the caller should enter again after
    /// serving them; likewise while there are [submissions](Self::has_submissions), which stay queued while the kernel
    /// lacks a resource.
    ///
    /// # Errors
    /// Returns errors that leave the ring unusable. An expired limit, a signal and a busy kernel are not errors, unless
    /// the kernel is busy for 10 s.
    pub fn enter(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        ask!(self, engine => engine.enter(want, limit))
    }

    /// Whether there are operations that the kernel has not accepted, so that [`Self::enter`] must be called.
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

    /// Whether a receive filled its buffer, so that the socket may contain more data.
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
    /// [`Self::enter`], so that receives without buffers may be rearmed immediately.
    pub fn add_buffers(&mut self) -> bool {
        ask!(self, engine => engine.add_buffers())
    }

    /// Releases the memory of all buffers to the system; useful before a long sleep. Does nothing while received bytes
    /// or buffers are outstanding. Returns whether memory was released.
    pub fn release_buffers(&mut self) -> bool {
        // The kernel fills buffers only in `enter` (deferred task work).
        !self.has_completions() && ask!(self, engine => engine.pool.buffers.release())
    }

    /// Signals completions on `eventfd`, so that another event loop can wait for this ring. Disabled until
    /// [`Self::eventfd_on`].
    ///
    /// # Errors
    /// Fails with `EBUSY` if an eventfd is already registered, and with `Unsupported` on epoll.
    pub fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        match &mut self.0 {
            EngineDriver::Uring(engine) => engine.register_eventfd(eventfd),
            EngineDriver::Epoll(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Starts signalling on the registered eventfd that new completions await [`Self::enter`].
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

// Operations, which start with the next enter.

impl Ring {
    /// Accepts all connections of a listener until the operation is cancelled or fails (for example with `EMFILE`).
    /// Completes as [`Completion::Accepted`].
    pub fn accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.accept(listener, key));
    }

    /// Receives once into a buffer of the pool; the connection can then move to another ring. Completes as
    /// [`Completion::Received`].
    pub fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_once(socket, key));
    }

    /// Receives repeatedly into buffers of the pool, until EOF, an error, an empty pool, or [`Self::cancel_receive`].
    pub fn receive_many(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.receive_many(socket, key));
    }

    /// Cancels the receive armed on this socket under `key`. Received bytes are reported first, then the final
    /// completion, [`Received::Cancelled`](crate::Received::Cancelled) unless the receive has already ended.
    pub fn cancel_receive(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_receive(socket, key));
    }

    /// Cancels the accept armed on this listener under `key`; its final completion is an error (`ECANCELED`).
    pub fn cancel_accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_accept(listener, key));
    }

    /// Sends all of `bytes[from..]`, waiting for space in the socket buffer. The ring owns the buffer until
    /// [`Completion::Sent`] returns it. At most one send per connection may be in flight. A broken connection results
    /// in an error, never in a signal.
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

    /// Cancels the connect of this socket under `key`; its completion is `ECANCELED`, unless it has already finished.
    pub fn cancel_connect(&mut self, socket: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.cancel_connect(socket, key));
    }

    /// Completes as [`Completion::Rang`] each time another thread writes to this eventfd, which need not be read.
    pub fn bell(&mut self, eventfd: BorrowedFd<'_>, key: Key) {
        ask!(self, engine => engine.bell(eventfd, key));
    }

    /// Completes as [`Completion::TimedOut`] at `due` or earlier; on epoll, up to a millisecond later. A ring has one
    /// timeout: a later time than the armed one has no effect, an earlier one replaces it.
    pub fn wake_by(&mut self, due: Instant, now: Instant) {
        ask!(self, engine => engine.wake_by(due, now));
    }

    /// Releases a descriptor on which no operation is armed, before it is closed or moves to another ring.
    pub fn release(&mut self, descriptor: BorrowedFd<'_>) {
        match &mut self.0 {
            EngineDriver::Uring(_) => {} // io_uring keeps no state of a descriptor without operations
            EngineDriver::Epoll(engine) => engine.release(descriptor),
        }
    }
}
