//! The edge: the only part of a shard that performs I/O.
//!
//! Owns the descriptors, TLS, the ring, the clocks and the mailbox, and uses them to drive one [`Machine`]. The machine
//! interprets bytes; the edge moves them.
//!
//! ```text
//!           ┌──────────────── one turn of the drive loop (runtime.rs) ─────────────────┐
//!  ring ──► completions ──► letters ──► tick ──► flush: send, hand over, close  ──► rearm ──► park
//!           steps.rs        steps.rs             steps.rs
//!                │             │         │            │
//!                └─────────────┴─────────┴────────────┴── sessions.rs: Machine::handle, outputs mark connections
//! ```
//!
//! `Edge` has four parts, each with its own state: `Io` (the ring, the turn, counters and limits), passed to every
//! step; `Sessions` (the machine, with the connections of clients, the links and the mail); `Listeners`; `Pages`
//! (clients connected to the side thread). Parts do not know each other: if another part must continue a step, the step
//! returns the remaining work.
//!
//! In reading order: this module; `letters.rs` (messages between shards); `start.rs` (construction of a shard);
//! `runtime.rs` (threads, loop, parking) and `turn.rs`; `io.rs`; `steps.rs` and `accept.rs` (steps of a turn that
//! involve several parts); `sessions.rs` (data to and from the machine, and the rule of its interface);
//! `connection.rs`, `table.rs`, `connections.rs` and `eviction.rs` (state of connections, the edge's own deadlines,
//! eviction);
//! `links.rs`, `streams.rs` and `places.rs` (links between the nodes of a cluster, and clients as their streams);
//! `visiting.rs` (clients served by the side thread); `tls.rs` and `tls_engine.rs` (the engine of an encrypted
//! connection).
//!
//! Deliberately absent: per-connection glommio tasks, streams or timers; locks; session timeouts (the machine tracks
//! them and requests an abort).

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

/// A shard's thread with its ring, but no work yet: returned by [`prepare`], consumed by [`ShardThread::start`].
/// Dropping it ends the thread.
pub struct ShardThread<M: Machine> {
    handle: ShardHandle,
    work: Sender<runtime::Work<M>>,
}

impl<M: Machine + 'static> ShardThread<M> {
    /// Starts the shard and returns once all its listeners accept connections.
    ///
    /// `make_machine` runs on the shard's thread. The shard runs until [`Post::Stop`]. In a release build a panic ends
    /// the process.
    ///
    /// # Errors
    /// Fails if the ring failed, or a TLS listener has no TLS configuration.
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

    /// Ends the thread and waits for it to exit. The kernel frees the memory of its rings a few milliseconds later.
    pub fn end(self) {
        drop(self.work);
        // An unused thread cannot have failed.
        let _ = self.handle.join();
    }
}

/// A running shard.
pub struct ShardHandle {
    thread: Thread,
    /// The error that ended the shard, if any; written before [`ShardEvent::Ended`] is sent.
    failure: Arc<OnceLock<String>>,
}

/// A shard's thread, whose type depends on the ring's engine.
enum Thread {
    /// io_uring: a glommio executor.
    Executor(glommio::ExecutorJoinHandle<std::io::Result<()>>),
    /// epoll: a plain thread.
    Plain(JoinHandle<std::io::Result<()>>),
}

impl ShardHandle {
    /// Returns the error that ended the shard, if any. Unlike [`Self::join`], does not wait for the thread, which may
    /// hang while ending.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Waits for the shard to end.
    ///
    /// # Errors
    /// Returns the reason why the shard ended, unless it was stopped: its ring failed, or it panicked (if panics
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

/// Whether executors can be pinned. To pin, glommio reads the machine's CPUs from sysfs, and panics if it is missing,
/// as in some sandboxes. A shard on epoll has no executor.
pub fn can_pin() -> bool {
    glommio::CpuSet::online().is_ok()
}

/// Fills `bytes` from the system's random generator.
///
/// # Errors
/// Fails if the system provides no randomness, in which case nothing should start.
pub(crate) fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    let filled = aws_lc_rs::rand::fill(bytes);
    filled.map_err(|_| std::io::Error::other("the system's random generator failed"))
}

/// Creates a shard's thread, pinned to `cpu` if given, with everything that the kernel may refuse to create: its ring
/// and, on io_uring, its executor.
///
/// # Errors
/// Returns the kernel's error if it refuses (see [`ring::probe`]), such as `ENOMEM` if the limit on locked memory is
/// too low, or `EMFILE`.
pub fn prepare<M: Machine + 'static>(
    id: ShardId,
    cpu: Option<usize>,
    ring: &ring::RingSettings,
) -> std::io::Result<ShardThread<M>> {
    runtime::prepare(id, cpu, *ring)
}

/// The complete state of one shard, which stays on the shard's thread from start to stop.
struct Edge<M: Machine> {
    pub(crate) io: Io,
    pub(crate) sessions: Sessions<M>,
    pub(crate) listeners: Listeners,
    /// Under `--lan`: takes over connections that request admin pages.
    admin: Option<TakeAdmin>,
    /// Where to report that the work due after a clock shift is done.
    shifted: Option<Sender<(ShardId, Moment)>>,
}

impl<M: Machine> Edge<M> {
    /// Creates an edge with no operation armed. Must be called on the shard's own thread.
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
