//! The edge: the only part of a shard that performs I/O.
//!
//! The edge owns the descriptors, TLS, the ring, the clocks and the mailbox, and uses them to drive a [`Machine`]. The
//! machine interprets bytes. The edge moves them. One iteration of its event loop is called a turn:
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
//! is passed to every step. `Sessions` contains the state machine, the clients' connections, the links and the outgoing
//! messages to other shards. `Listeners` contains the listeners. No part can access another one's state. A step that
//! must be continued by another part returns the remaining work.
//!
//! In reading order: this module; `letters.rs` (messages between shards); `start.rs` (startup configuration);
//! `runtime.rs` (threads, loop, parking) and `turn.rs`; `io.rs`; `steps.rs` and `accept.rs` (steps that involve several
//! parts); `sessions.rs` (data to and from the machine, and the contract of the machine's interface); `connection.rs`,
//! `table.rs`, `connections.rs` and `eviction.rs` (connection state, the edge's own deadlines, eviction); `links.rs`,
//! `streams.rs` and `places.rs` (links between the nodes of a cluster, and clients as streams on them); `visiting.rs`
//! (clients served by the side thread); `tls.rs` and `tls_engine.rs` (the TLS engine of an encrypted connection).
//!
//! By design, there are no glommio tasks, streams or timers per connection, no locks, and no session timeouts. The
//! state machine tracks session timeouts, and requests an abort when one expires.

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
pub use runtime::prepare;
use sessions::Sessions;
pub use start::{Descriptors, EdgeSettings, Listener, ShardConfig, ShardEvent};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use streams::Streams;
pub use turn::Shift;
pub use visiting::{Secured, TakeAdmin, Visiting};

/// A spawned shard thread that has a ring but no work yet. [`prepare`] creates a `ShardThread`, and
/// [`ShardThread::start`] consumes it. Dropping it makes the thread exit.
pub struct ShardThread<M: Machine> {
    handle: ShardHandle,
    work: Sender<runtime::Work<M>>,
}

impl<M: Machine + 'static> ShardThread<M> {
    /// Starts the shard. Returns once all its listeners accept connections.
    ///
    /// `make_machine` runs on the shard's thread. The shard runs until it receives [`Post::Stop`]. In a release build,
    /// a panic aborts the process.
    ///
    /// # Errors
    /// Fails if the ring has failed, or if a listener uses TLS but `config` has no TLS configuration.
    pub fn start<F>(self, config: ShardConfig<M>, make_machine: F) -> std::io::Result<ShardHandle>
    where
        F: FnOnce() -> M + Send + 'static,
    {
        let refused = |why| std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
        if config.tls.is_none() && config.listeners.iter().any(|listener| listener.tls) {
            return Err(refused("a TLS listener needs a certificate"));
        }
        if config.listeners.len() > usize::from(u16::MAX) {
            return Err(refused("too many listeners: at most 65535 are supported"));
        }
        runtime::start(self, config, Box::new(make_machine))
    }

    /// Stops the thread and joins it. The kernel frees the memory of the thread's rings asynchronously, a few
    /// milliseconds later.
    pub fn end(self) {
        drop(self.work);
        // The thread never received any work, so it cannot have failed.
        let _ = self.handle.join();
    }
}

/// A running shard.
pub struct ShardHandle {
    thread: Thread,
    /// The error that stopped the shard, if any. Set before [`ShardEvent::Ended`] is sent.
    failure: Arc<OnceLock<String>>,
}

/// A shard's thread. Its type depends on the I/O engine.
enum Thread {
    /// A glommio executor, used with io_uring.
    Executor(glommio::ExecutorJoinHandle<std::io::Result<()>>),
    /// A plain thread, used with epoll.
    Plain(JoinHandle<std::io::Result<()>>),
}

impl ShardHandle {
    /// Returns the error that stopped the shard, if any. Unlike [`Self::join`], this does not wait for the thread to
    /// exit, so it cannot hang.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Waits until the shard has stopped.
    ///
    /// # Errors
    /// Returns an error if the shard stopped for any reason other than [`Post::Stop`]: its ring failed, or it panicked
    /// (if panics unwind).
    pub fn join(self) -> std::io::Result<()> {
        match self.thread {
            Thread::Executor(executor) => executor.join().map_err(std::io::Error::from)?,
            Thread::Plain(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the shard panicked"))),
        }
    }
}

/// Returns whether shard threads can be pinned to CPUs. For pinning, glommio reads the CPU topology from sysfs, and
/// panics if sysfs is missing, as in some sandboxes. Shards on epoll do not use glommio.
pub fn can_pin() -> bool {
    glommio::CpuSet::online().is_ok()
}

/// Fills `bytes` from the system's random number generator.
///
/// # Errors
/// Fails if the system provides no random numbers. The broker must not start in that case.
pub(crate) fn fill_random(bytes: &mut [u8]) -> std::io::Result<()> {
    let filled = aws_lc_rs::rand::fill(bytes);
    filled.map_err(|_| std::io::Error::other("the system's random generator failed"))
}

/// All state of a shard. It stays on the shard's thread from start to stop.
struct Edge<M: Machine> {
    pub(crate) io: Io,
    pub(crate) sessions: Sessions<M>,
    pub(crate) listeners: Listeners,
    /// Takes over connections that request admin pages. Used with `--lan`.
    admin: Option<TakeAdmin>,
    /// The channel to notify after a clock shift, once all work due at the new time is done. `None` if no shift is in
    /// progress.
    shifted: Option<Sender<(ShardId, Moment)>>,
}

impl<M: Machine> Edge<M> {
    /// Creates an edge with no operations in flight. Must be called on the shard's own thread.
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
