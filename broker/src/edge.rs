//! The edge: the only part of a shard that performs I/O.
//!
//! The edge owns the descriptors, TLS, the ring, the clocks and the mailbox, and uses them to drive a [`Machine`]. The
//! machine interprets bytes. The edge moves them.
//!
//! ```text
//!           ┌──────────────── one turn of the drive loop (runtime.rs) ─────────────────┐
//!  ring ──► completions ──► letters ──► tick ──► flush: send, hand over, close  ──► rearm ──► park
//!           steps.rs        steps.rs             steps.rs
//!                │             │         │            │
//!                └─────────────┴─────────┴────────────┴── sessions.rs: Machine::handle, outputs mark connections
//! ```
//!
//! `Edge` has three parts, each with its own state. `Io` contains the ring, the turn, the counters and the limits, and
//! is passed to every step. `Sessions` contains the state machine, the clients' connections, the links and the mail.
//! `Listeners` contains the listeners. The parts have no access to each other. If a step has to be continued by another
//! part, it returns the remaining work.
//!
//! In reading order: this module; `letters.rs` (messages between shards); `start.rs` (what a shard is started with);
//! `runtime.rs` (threads, loop, parking) and `turn.rs`; `io.rs`; `steps.rs` and `accept.rs` (steps of a turn that
//! involve several parts); `sessions.rs` (data to and from the machine, and the rule of the machine's interface);
//! `connection.rs`, `table.rs`, `connections.rs` and `eviction.rs` (the state of connections, the edge's own deadlines,
//! eviction); `links.rs`, `streams.rs` and `places.rs` (links between the nodes of a cluster, and clients as streams on
//! them); `visiting.rs` (clients served by the side thread); `tls.rs` and `tls_engine.rs` (the TLS engine of an
//! encrypted connection).
//!
//! The edge deliberately has no glommio tasks, streams or timers for individual connections, no locks, and no session
//! timeouts. Session timeouts are kept by the state machine, which requests an abort when one expires.

mod accept;
mod connection;
mod connections;
mod counters;
mod eviction;
mod io;
mod letters;
mod limits;
mod links;
mod listeners;
mod places;
mod runtime;
mod sessions;
mod start;
mod steps;
mod streams;
mod table;
mod tls;
mod tls_engine;
mod tls_offer;
pub(crate) mod turn;
mod visiting;

use broker_core::{id::ShardId, machine::Machine, time::Moment};
pub use counters::{AcceptErrors, EdgeCounts, Handshakes, InnerRefusals, LinkDeaths};
use crossbeam_channel::Sender;
use io::Io;
use letters::Mail;
pub use letters::{Handover, Post, Scraped, Travelling};
pub(crate) use limits::REQUEST_SEND_BYTES;
pub use links::{Links, OwnNode};
use listeners::Listeners;
use ring::Ring;
use sessions::Sessions;
pub use start::{Descriptors, EdgeSettings, Listener, ShardConfig, ShardEvent};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use streams::Streams;
pub use turn::Shift;
pub use visiting::{Secured, TakeAdmin, Visiting};

/// The thread of a shard that has a ring but has not been started. [`prepare`] creates a `ShardThread`, and
/// [`ShardThread::start`] consumes it. Dropping it ends the thread.
pub struct ShardThread<M: Machine> {
    handle: ShardHandle,
    work: Sender<runtime::Work<M>>,
}

impl<M: Machine + 'static> ShardThread<M> {
    /// Starts the shard. Returns once all its listeners accept connections.
    ///
    /// `make_machine` runs on the shard's thread. The shard runs until it receives [`Post::Stop`]. In a release build,
    /// a panic ends the process.
    ///
    /// # Errors
    /// Fails if the ring has failed, or if there is a TLS listener but no TLS configuration.
    pub fn start<F>(self, config: ShardConfig<M>, make_machine: F) -> std::io::Result<ShardHandle>
    where
        F: FnOnce() -> M + Send + 'static,
    {
        if config.tls.is_none() && config.listeners.iter().any(|listener| listener.tls) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "a TLS listener needs a certificate",
            ));
        }
        if config.listeners.len() > usize::from(u16::MAX) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "too many listeners: at most 65535 are supported",
            ));
        }
        runtime::start(self, config, Box::new(make_machine))
    }

    /// Ends the thread and waits for it to exit. The kernel frees the memory of the thread's rings a few milliseconds
    /// later.
    pub fn end(self) {
        drop(self.work);
        // A thread that had no work cannot have failed.
        let _ = self.handle.join();
    }
}

/// A running shard.
pub struct ShardHandle {
    thread: Thread,
    /// The error that ended the shard, if any. Set before [`ShardEvent::Ended`] is sent.
    failure: Arc<OnceLock<String>>,
}

/// The thread of a shard. Its type depends on the ring's engine.
enum Thread {
    /// io_uring: a glommio executor.
    Executor(glommio::ExecutorJoinHandle<std::io::Result<()>>),
    /// epoll: a plain thread.
    Plain(JoinHandle<std::io::Result<()>>),
}

impl ShardHandle {
    /// Returns the error that ended the shard, if any. Unlike [`Self::join`], does not wait for the thread, which may
    /// hang while it is ending.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Waits for the shard to end.
    ///
    /// # Errors
    /// Returns the reason why the shard ended, unless it was stopped. Either its ring failed, or it panicked (if panics
    /// unwind).
    pub fn join(self) -> std::io::Result<()> {
        match self.thread {
            Thread::Executor(executor) => executor.join().map_err(std::io::Error::from)?,
            Thread::Plain(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the shard panicked"))),
        }
    }
}

/// Returns whether shard threads can be pinned to CPUs. For pinning, glommio reads the machine's CPUs from sysfs, and
/// panics if sysfs is missing, as in some sandboxes. Shards on epoll do not use glommio.
pub fn can_pin() -> bool {
    glommio::CpuSet::online().is_ok()
}

/// Fills `bytes` from the system's random generator.
///
/// # Errors
/// Fails if the system provides no randomness. In this case, nothing should start.
pub(crate) fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    let filled = aws_lc_rs::rand::fill(bytes);
    filled.map_err(|_| std::io::Error::other("the system's random generator failed"))
}

/// Creates the thread of a shard, pinned to `cpu` if given. Also creates everything that the kernel may refuse to
/// create: the shard's ring and, on io_uring, its executor.
///
/// # Errors
/// Returns the kernel's error if it refuses (see [`ring::probe`]). For example, it refuses with `ENOMEM` if the limit
/// on locked memory is too low, or with `EMFILE`.
pub fn prepare<M: Machine + 'static>(
    id: ShardId,
    cpu: Option<usize>,
    ring: &ring::RingSettings,
) -> std::io::Result<ShardThread<M>> {
    runtime::prepare(id, cpu, *ring)
}

/// The complete state of a shard. It stays on the shard's thread from start to stop.
struct Edge<M: Machine> {
    pub(crate) io: Io,
    pub(crate) sessions: Sessions<M>,
    pub(crate) listeners: Listeners,
    /// Takes over connections that request admin pages, under `--lan`.
    admin: Option<TakeAdmin>,
    /// If the clock is being shifted, the channel on which to report that all work due at the new time has been done.
    shifted: Option<Sender<(ShardId, Moment)>>,
}

impl<M: Machine> Edge<M> {
    /// Creates an edge on which no operation is armed. Must be called on the shard's own thread.
    pub(crate) fn new(id: ShardId, ring: Ring, config: ShardConfig<M>, machine: M) -> Self {
        let mail = Mail::new(id, config.mailboxes, config.events);
        let streams = Streams::new(id, config.links);
        Self {
            io: Io::new(ring, config.settings, config.descriptors),
            sessions: Sessions::new(machine, mail, streams),
            admin: config.admin,
            listeners: Listeners::new(config.listeners, config.tls, config.devices),
            shifted: None,
        }
    }
}
