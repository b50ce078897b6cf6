//! The event loop and its thread. Runs one iteration ("turn") after another, and lets the shard sleep in between.
//!
//! Theory of operation. On epoll, a shard is a plain thread that always sleeps in its ring. It waits with a single
//! system call, and other shards wake it through an eventfd that the ring polls, called the bell. On io_uring, a shard
//! is a glommio executor that sleeps in one of two ways. During the second after traffic, it waits inside its own ring.
//! This also takes a single system call, which submits, runs the kernel's deferred work and waits. After a second
//! without traffic, it waits through glommio, by reading the eventfd on which its ring announces completions. The
//! executor's own rings are then served too. In both cases, the shard follows a fixed order, so that no wake-up is
//! lost:
//! ```text
//!  in the ring      1. publish IN_RING      2. letters? then do not wait   3. enter, waiting
//!  through glommio  1. eventfd on, timeout armed   2. publish IN_GLOMMIO   3. enter, not waiting: what comes
//!                                                                          later announces itself
//!                   4. completions or letters? then do not wait            5. read the eventfd
//! ```
//! The bell is polled only while the shard waits in its ring, and other shards write to the eventfd only while
//! IN_GLOMMIO is published. The two are never combined, because polling one eventfd does not reliably signal another:
//! the kernel defers nested signals and may drop them.
#![expect(unsafe_code, reason = "gives glommio a descriptor of ours to read")]

use crate::edge::limits::{BEAT_MS, COMPLETIONS_PER_TURN, HOLD_MS, TICKS_PER_TURN};
use crate::edge::start::{ShardConfig, ShardEvent};
use crate::edge::{Edge, ShardHandle, ShardThread, Thread};
use broker_core::machine::{Input, Machine};
use broker_core::work_units;
use broker_core::{id::ShardId, time::Now};
use crossbeam_channel::{Receiver, Sender};
use glommio::io::BufferedFile;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use mailbox::Sleep;
use ring::{Engine, Key, Ring};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{io, thread};

/// The work passed to a prepared thread.
pub(crate) struct Work<M: Machine> {
    config: ShardConfig<M>,
    make_machine: Box<dyn FnOnce() -> M + Send>,
    started: Sender<()>,
}

/// Creates the thread of a shard, pinned to `cpu` if given. Also creates everything that the kernel may refuse to
/// create: the shard's ring and, on io_uring, its executor.
///
/// # Errors
/// Returns the kernel's error (see [`ring::probe`]) if anything cannot be created. The error is `ENOMEM` if the limit
/// on locked memory is too low, and `EMFILE` if there are no descriptors left.
pub fn prepare<M: Machine + 'static>(
    id: ShardId,
    cpu: Option<usize>,
    ring: &ring::RingSettings,
) -> io::Result<ShardThread<M>> {
    let settings = *ring;
    let (work, orders) = crossbeam_channel::bounded::<Work<M>>(1);
    let (prepared, ready) = crossbeam_channel::bounded(1);
    let failure = Arc::new(OnceLock::new());
    let beginning = Beginning {
        id,
        settings,
        orders,
        prepared,
        failure: Arc::clone(&failure),
    };
    let name = format!("shard-{}", id.0);
    let thread = match settings.engine {
        Engine::IoUring => Thread::Executor(executor(&name, cpu, beginning)?),
        Engine::Epoll => Thread::Plain(thread::Builder::new().name(name).spawn(move || {
            cpu.map_or(Ok(()), pin)?;
            let Some(mut begun) = beginning.await_work()? else {
                return Ok(());
            };
            let ended = begun.edge.run(&begun.started);
            begun.over(ended)
        })?),
    };
    let handle = wait_for(&ready, ShardHandle { thread, failure })?;
    Ok(ShardThread { handle, work })
}

/// Spawns a shard's thread as a glommio executor.
fn executor<M: Machine + 'static>(
    name: &str,
    cpu: Option<usize>,
    beginning: Beginning<M>,
) -> io::Result<ExecutorJoinHandle<io::Result<()>>> {
    can_start_threads()?;
    // The executor performs no file I/O. Without `io_memory(0)`, it would pin 30 MiB.
    LocalExecutorBuilder::new(cpu.map_or(Placement::Unbound, Placement::Fixed))
        .name(name)
        .io_memory(0)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT)
        .spawn(move || async move {
            // Even with `io_memory(0)`, the executor registers 64 KiB in each of its three rings for file I/O, which
            // would count as locked memory. Unregistering these buffers rules out direct file I/O (`O_DIRECT`) on this
            // runtime.
            ring::unregister_buffers();
            let Some(mut begun) = beginning.await_work()? else {
                return Ok(());
            };
            let ended = begun.edge.run_in_glommio(&begun.started).await;
            begun.over(ended)
        })
        .map_err(io::Error::from)
}

/// Pins the calling thread to one CPU.
fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        let most = CpuSet::MAX_CPU - 1;
        let error = format!("CPU {cpu} cannot be pinned to: expected at most {most}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// A shard's thread that has not received its work yet.
struct Beginning<M: Machine> {
    id: ShardId,
    settings: ring::RingSettings,
    orders: Receiver<Work<M>>,
    prepared: Sender<()>,
    failure: Arc<OnceLock<String>>,
}

/// A shard's thread that has received its work.
struct Begun<M: Machine> {
    /// Boxed because it is too large to move on the stack.
    edge: Box<Edge<M>>,
    started: Sender<()>,
    ended: Ended,
}

impl<M: Machine> Beginning<M> {
    /// Creates the ring, reports that it is ready, and blocks until the work arrives. Returns `None` if the
    /// [`ShardThread`](crate::edge::ShardThread) is dropped without work.
    fn await_work(self) -> io::Result<Option<Begun<M>>> {
        let ring = Ring::new(&self.settings)?;
        let _ = self.prepared.send(());
        let Ok(work) = self.orders.recv() else {
            return Ok(None);
        };
        let ended = Ended {
            events: work.config.events.clone(),
            id: self.id,
            failure: self.failure,
        };
        let machine = (work.make_machine)();
        Ok(Some(Begun {
            edge: Box::new(Edge::new(self.id, ring, work.config, machine)),
            started: work.started,
            ended,
        }))
    }
}

impl<M: Machine> Begun<M> {
    /// Closes everything, records the error if the shard failed, and then reports that the shard has stopped.
    fn over(self, ended: io::Result<()>) -> io::Result<()> {
        drop(self.edge);
        if let Err(error) = &ended {
            let _ = self.ended.failure.set(error.to_string());
        }
        ended
    }
}

/// Checks whether an executor's threads can be spawned, since glommio panics if it cannot spawn its second thread.
fn can_start_threads() -> io::Result<()> {
    let mut begun = Vec::with_capacity(THREADS);
    for _ in 0..THREADS {
        // All of these threads exist at the same time, because each one waits until this function returns.
        let (stay, end) = crossbeam_channel::bounded::<()>(0);
        let thread = thread::Builder::new().spawn(move || {
            let _ = end.recv();
        })?;
        begun.push((stay, thread));
    }
    for (stay, thread) in begun {
        drop(stay);
        let _ = thread.join();
    }
    Ok(())
}

/// Passes work to a prepared thread, and waits until the shard's listeners accept connections.
pub(crate) fn start<M: Machine>(
    thread: ShardThread<M>,
    config: ShardConfig<M>,
    make_machine: Box<dyn FnOnce() -> M + Send>,
) -> io::Result<ShardHandle> {
    let (started, running) = crossbeam_channel::bounded(1);
    let work = Work {
        config,
        make_machine,
        started,
    };
    // If the thread has exited, its channel is closed, which `wait_for` detects.
    let _ = thread.work.send(work);
    wait_for(&running, thread.handle)
}

/// Waits until the thread reports that it is ready. Returns the thread's error if it exits instead.
fn wait_for(word: &Receiver<()>, thread: ShardHandle) -> io::Result<ShardHandle> {
    match word.recv() {
        Ok(()) => Ok(thread),
        Err(_) => Err(thread
            .join()
            .err()
            .unwrap_or_else(|| io::Error::other("the shard ended during its startup"))),
    }
}

/// A drop guard that reports that the thread is exiting.
struct Ended {
    events: Sender<ShardEvent>,
    id: ShardId,
    failure: Arc<OnceLock<String>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.events.try_send(ShardEvent::Ended(self.id));
    }
}

impl<M: Machine> Edge<M> {
    /// Runs the event loop on a plain thread until [`Post::Stop`](crate::edge::Post::Stop) has arrived and the last
    /// descriptor is closed.
    fn run(&mut self, started: &Sender<()>) -> io::Result<()> {
        let mut rest = self.begin(started)?;
        loop {
            match self.go_on(&mut rest) {
                AfterTurn::Turn => self.io.ring.enter(0, None)?,
                AfterTurn::Sleep(since) => {
                    if since < rest.awake_until {
                        self.io.counts.parks_in_ring += 1;
                    } else {
                        self.io.counts.parks_deep += 1;
                        self.io.ring.release_buffers();
                    }
                    self.sleep_in_ring(since, None)?;
                }
                AfterTurn::End => return Ok(()),
            }
        }
    }

    /// Like [`Self::run`], but on a glommio executor.
    async fn run_in_glommio(&mut self, started: &Sender<()>) -> io::Result<()> {
        let completed = self.sessions.mail.own().completed();
        self.io.ring.register_eventfd(completed)?;
        let completed = completed.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the descriptor was duplicated for this file, which is its only owner and closes it.
        let completed = unsafe { BufferedFile::from_raw_fd(completed) };
        let mut rest = self.begin(started)?;
        loop {
            match self.go_on(&mut rest) {
                AfterTurn::Turn => self.io.ring.enter(0, None)?,
                AfterTurn::Sleep(since) if since < rest.awake_until => {
                    self.io.counts.parks_in_ring += 1;
                    self.sleep_in_ring(since, Some(rest.awake_until))?;
                }
                AfterTurn::Sleep(since) => self.sleep_in_glommio(since, &completed).await?,
                AfterTurn::End => break,
            }
        }
        completed.close().await.map_err(io::Error::from)
    }

    /// Arms the initial operations, and reports that the shard accepts connections.
    fn begin(&mut self, started: &Sender<()>) -> io::Result<Rest> {
        self.watch_bell(BELL);
        self.listeners.listen(&mut self.io.ring);
        self.io.ring.enter(0, None)?;
        let _ = started.send(());
        Ok(Rest {
            awake_until: self.io.turn.now(),
            slept: true,
        })
    }

    /// Runs one loop iteration and measures its duration. Returns what to do next.
    fn go_on(&mut self, rest: &mut Rest) -> AfterTurn {
        let before = self.io.turn.read();
        if let Some(since) = self.io.turn.stood_still(before) {
            let at = self.io.turn.at();
            self.sessions.machine.stood_still(since, at);
            self.sessions
                .links_stood_still(at.now.since(since), &self.io);
        }
        if rest.slept {
            self.io.turn.cpu_lap();
        } else {
            let now = self.io.turn.now();
            self.io.turn.account(before, now, &mut self.io.counts);
        }
        if self.turn() {
            rest.awake_until = self.io.turn.now() + Duration::from_millis(HOLD_MS);
        }
        let flushed = self.io.turn.after_sends();
        if let Some((_, at)) = flushed {
            self.sessions.machine.flushed(at);
        }
        if self.io.stopping
            && self.sessions.connections.is_empty()
            && self.sessions.streams.is_empty()
            && self.listeners.closed()
        {
            return AfterTurn::End;
        }
        rest.slept = !self.busy();
        if !rest.slept {
            return AfterTurn::Turn;
        }
        let slept_at = flushed.map_or_else(Instant::now, |(now, _)| now);
        let began = self.io.turn.now();
        self.io.turn.account(began, slept_at, &mut self.io.counts);
        AfterTurn::Sleep(slept_at)
    }

    /// Runs the steps of an iteration in a fixed order. Returns whether there was traffic.
    fn turn(&mut self) -> bool {
        self.io.turn.begin(self.sessions.machine.work());
        self.io.counts.turns += 1;
        self.step_handshakes();
        let mut traffic = false;
        let received = self.io.counts.received_bytes;
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(completion) = self.io.ring.next() else {
                break;
            };
            traffic |= self.complete(completion);
            self.io.turn.add_work(work_units::COMPLETION);
            if self.work_of_turn() >= work_units::RECEIVES
                || self.io.counts.received_bytes - received >= self.io.settings.turn_bytes
            {
                break;
            }
        }
        traffic |= self.take_letters();
        for tick in 0..TICKS_PER_TURN {
            let due = self.sessions.machine.deadline();
            let has_had_its_part = tick > 0 && self.work_of_turn() >= work_units::TICKS;
            if has_had_its_part || due.is_none_or(|due| due > self.io.turn.at().now) {
                break;
            }
            self.sessions.feed(Input::Tick, &mut self.io);
        }
        self.sessions.connections.end_overdue(&mut self.io);
        self.listeners.resume(&mut self.io);
        self.flush_touched();
        self.sessions.serve_links(&mut self.io);
        let (connections, machine) = (&mut self.sessions.connections, &self.sessions.machine);
        connections.rearm_some(machine, &mut self.io.ring);
        if self.shifted.is_some() {
            self.report_shift();
        }
        self.io.counts.most_work = self.io.counts.most_work.max(self.work_of_turn());
        traffic
    }

    /// Returns the work done so far in this iteration, in work units.
    pub(crate) fn work_of_turn(&self) -> u64 {
        self.io.turn.work(self.sessions.machine.work())
    }

    /// Returns whether there is work to do without waiting.
    fn busy(&mut self) -> bool {
        self.sessions.connections.has_work()
            || self.sessions.streams.has_work()
            || !self.io.handshakes.is_empty()
            || !self.sessions.mail.own().is_empty()
            || self.io.ring.has_completions()
            || self.is_due()
    }

    /// Returns whether a deadline has passed.
    pub(crate) fn is_due(&self) -> bool {
        let now = self.io.turn.at().now;
        self.next_deadline().is_some_and(|due| due <= now)
    }

    /// Returns the earliest deadline of the state machine, of the edge's connections, or of the links.
    fn next_deadline(&self) -> Option<Now> {
        let deadlines = [
            self.sessions.machine.deadline(),
            self.sessions
                .connections
                .deadlines
                .next()
                .map(|(due, _)| due),
            self.sessions.streams.next_due(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Returns the time at which the shard must run next even without input, for example to show with a heartbeat that
    /// it is alive.
    fn next_due(&self) -> Option<Instant> {
        let deadline = self.next_deadline();
        let deadline = deadline.and_then(|due| self.io.turn.instant(due));
        let has_connections =
            !self.sessions.connections.is_empty() || !self.sessions.streams.is_empty();
        let beat = has_connections.then(|| self.io.turn.now() + Duration::from_millis(BEAT_MS));
        let others = deadline.into_iter().chain(beat);
        self.listeners.next_due().into_iter().chain(others).min()
    }

    /// Waits for completions and for messages from other shards, until the next deadline or `most`, whichever is
    /// earlier.
    fn sleep_in_ring(&mut self, now: Instant, most: Option<Instant>) -> io::Result<()> {
        let until = self.next_due().into_iter().chain(most).min();
        self.sessions.mail.own().fall_asleep(Sleep::InRing);
        let want = u32::from(self.sessions.mail.own().is_empty());
        let limit = until.map(|until| until.saturating_duration_since(now));
        let entered = self.io.ring.enter(want, limit);
        self.sessions.mail.own().wake_up();
        entered
    }

    async fn sleep_in_glommio(&mut self, now: Instant, completed: &BufferedFile) -> io::Result<()> {
        if let Some(due) = self.next_due() {
            self.io.ring.wake_by(due, now);
        }
        self.io.ring.eventfd_on();
        self.sessions.mail.own().fall_asleep(Sleep::InGlommio);
        // Runs the kernel's deferred work, without waiting, until there is a completion or no such work is left.
        self.io.ring.enter(1, Some(Duration::ZERO))?;
        let at_rest = !self.io.ring.has_completions() && !self.io.ring.has_submissions();
        if at_rest && self.sessions.mail.own().is_empty() {
            self.io.counts.parks_deep += 1;
            self.io.ring.release_buffers();
            completed
                .read_at(0, size_of::<u64>())
                .await
                .map_err(io::Error::from)?;
        }
        self.io.ring.eventfd_off();
        self.sessions.mail.own().wake_up();
        // Completions announced by the eventfd become visible only with this call.
        self.io.ring.enter(0, None)
    }

    /// Polls the eventfd with which other shards wake this one (the mailbox's bell) through the ring.
    pub(crate) fn watch_bell(&mut self, key: Key) {
        self.io.ring.bell(self.sessions.mail.own().bell(), key);
    }
}

/// The next action after a loop iteration.
enum AfterTurn {
    /// Run another iteration, since there is work to do without waiting.
    Turn,
    /// Sleep. Contains the time at which the iteration ran out of work.
    Sleep(Instant),
    /// Exit, since everything is closed.
    End,
}

/// A shard's state between loop iterations.
struct Rest {
    /// Until when the shard stays awake after the most recent traffic.
    awake_until: Instant,
    /// Whether the shard slept after the last iteration.
    slept: bool,
}

const BELL: Key = Key::new(0);

/// Number of threads per executor: its own, and one for blocking calls.
const THREADS: usize = 2;

/// Number of entries in each of the executor's rings. The event loop has one read in flight, and the executor has a few
/// timers. Rings up to this size take two pages.
const RING_DEPTH: usize = 64;

/// The executor's preemption interval. It is long because nothing else runs on the executor during the event loop.
const PREEMPT: Duration = Duration::from_millis(100);
