//! The executor and the drive loop: one turn after the other, and how a shard sleeps in between.
//!
//! Theory of operation. A shard sleeps in two ways. While the last second saw traffic it waits inside its own ring: one
//! system call submits, runs the kernel's deferred work and waits, and another shard wakes it by a bell polled there.
//! After a quiet second it waits through glommio, reading the eventfd on which its ring announces completions; then the
//! executor's own rings are served too. Each way has its order, and no wake is lost in it:
//! ```text
//!  in the ring      1. publish IN_RING      2. letters? then do not wait   3. enter, waiting
//!  through glommio  1. eventfd on, timeout armed   2. publish IN_GLOMMIO   3. enter, not waiting: what comes
//!                                                                          later announces itself
//!                   4. completions or letters? then do not wait            5. read the eventfd
//! ```
//! A bell is polled in the ring only, and the eventfd is written by letters only while IN_GLOMMIO is published: a poll
//! of one eventfd does not reliably announce itself on another (the kernel puts nested signals off and may drop them).
#![expect(unsafe_code, reason = "gives glommio a descriptor of ours to read")]

use crate::edge::limits::{BEAT_MS, COMPLETIONS_PER_TURN, HOLD_MS, TICKS_PER_TURN};
use crate::edge::start::{ShardConfig, ShardEvent};
use crate::edge::{Edge, ShardHandle, ShardThread};
use broker_core::machine::{Input, Machine};
use broker_core::work_units;
use broker_core::{id::ShardId, time::Now};
use crossbeam_channel::{Receiver, Sender};
use glommio::io::BufferedFile;
use glommio::{LocalExecutorBuilder, Placement};
use mailbox::Sleep;
use ring::{Key, Ring};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{io, thread};

/// The order that a prepared thread waits for.
pub(crate) struct Work<M: Machine> {
    config: ShardConfig<M>,
    make_machine: Box<dyn FnOnce() -> M + Send>,
    started: Sender<()>,
}

/// Starts the thread and waits until it has its executor and its ring.
pub(crate) fn prepare<M: Machine + 'static>(
    id: ShardId,
    cpu: Option<usize>,
    settings: ring::Settings,
) -> io::Result<ShardThread<M>> {
    can_start_threads()?;
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let name = format!("shard-{}", id.0);
    let (work, orders) = crossbeam_channel::bounded::<Work<M>>(1);
    let (prepared, ready) = crossbeam_channel::bounded(1);
    let failure = Arc::new(OnceLock::new());
    let failed = Arc::clone(&failure);
    // The executor does no file input or output: without `io_memory(0)` it would pin 30 MiB.
    let executor = LocalExecutorBuilder::new(placement)
        .name(&name)
        .io_memory(0)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT)
        .spawn(move || async move {
            // Even so it registers 64 KiB in each of its three rings, for input and output that does not happen here:
            // they would count as locked memory. Files could not be read directly (`O_DIRECT`) through this runtime.
            ring::unregister_buffers();
            let ring = Ring::new(&settings)?;
            let _ = prepared.send(());
            // Blocks the executor, on which nothing else runs.
            let Ok(work) = orders.recv() else {
                return Ok(());
            };
            let _ended = Ended {
                events: work.config.events.clone(),
                id,
            };
            let edge = Edge::new(id, ring, work.config, (work.make_machine)());
            let ended = edge.run(&work.started).await;
            if let Err(error) = &ended {
                let _ = failed.set(error.to_string());
            }
            ended
        })
        .map_err(io::Error::from)?;
    let handle = wait_for(&ready, ShardHandle { executor, failure })?;
    Ok(ShardThread { handle, work })
}

/// Whether as many threads as an executor has can be started. Where the second one cannot, glommio panics.
fn can_start_threads() -> io::Result<()> {
    let mut begun = Vec::with_capacity(THREADS);
    for _ in 0..THREADS {
        // Both are there at one time: each waits for the end of this function.
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

/// Hands a prepared thread its work and waits until its listeners accept.
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
    // A thread that is gone is seen next: nothing will ever come from it.
    let _ = thread.work.send(work);
    wait_for(&running, thread.handle)
}

/// Waits for the thread's word; its end instead is an error, with what it ended by.
fn wait_for(word: &Receiver<()>, thread: ShardHandle) -> io::Result<ShardHandle> {
    match word.recv() {
        Ok(()) => Ok(thread),
        Err(_) => Err(thread
            .join()
            .err()
            .unwrap_or_else(|| io::Error::other("the shard ended at its start"))),
    }
}

/// Reports the end of the thread, however it ends.
struct Ended {
    events: Sender<ShardEvent>,
    id: ShardId,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.events.try_send(ShardEvent::Ended(self.id));
    }
}

impl<M: Machine> Edge<M> {
    /// The drive loop, until [`Post::Stop`](crate::edge::Post::Stop) and the last descriptor.
    async fn run(mut self, started: &Sender<()>) -> io::Result<()> {
        let completed = self.sessions.mail().own().completed();
        self.io.ring.register_eventfd(completed)?;
        let completed = completed.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the descriptor was made for this and belongs to nobody else; the file closes it.
        let completed = unsafe { BufferedFile::from_raw_fd(completed) };
        self.watch_bell(BELL);
        self.listeners.listen(&mut self.io.ring);
        self.io.ring.enter(0, None)?;
        let _ = started.send(());
        let (mut awake_until, mut slept) = (self.io.turn.now(), true);
        loop {
            let before = self.io.turn.read();
            if let Some(since) = self.io.turn.stood_still(before) {
                let at = self.io.turn.at();
                self.sessions.machine_mut().stood_still(since, at);
                self.sessions
                    .links_stood_still(at.now.since(since), &self.io);
            }
            if slept {
                self.io.turn.cpu_lap();
            } else {
                let now = self.io.turn.now();
                self.io.turn.account(before, now, &mut self.io.counts);
            }
            if self.turn() {
                awake_until = self.io.turn.now() + Duration::from_millis(HOLD_MS);
            }
            let flushed_at = self.tell_flushed();
            if self.io.stopping
                && self.sessions.connections().is_empty()
                && self.sessions.streams().is_empty()
                && self.listeners.closed()
            {
                break;
            }
            slept = !self.busy();
            if !slept {
                self.io.ring.enter(0, None)?;
                continue;
            }
            let slept_at = flushed_at.unwrap_or_else(Instant::now);
            let began = self.io.turn.now();
            self.io.turn.account(began, slept_at, &mut self.io.counts);
            if slept_at < awake_until {
                self.sleep_in_ring(slept_at, awake_until)?;
            } else {
                self.sleep_in_glommio(slept_at, &completed).await?;
            }
        }
        completed.close().await.map_err(io::Error::from)
    }

    /// One turn in its fixed order; returns whether there was traffic.
    fn turn(&mut self) -> bool {
        self.io.turn.begin(self.sessions.machine().work());
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
        self.tick();
        self.sessions.connections_mut().end_overdue(&mut self.io);
        self.listeners.resume(&mut self.io);
        self.flush_touched();
        self.sessions.serve_links(&mut self.io);
        self.sessions.rearm_some(&mut self.io);
        if self.shifted.is_some() {
            self.report_shift();
        }
        self.io.counts.most_work = self.io.counts.most_work.max(self.work_of_turn());
        traffic
    }

    /// The work of this turn so far, in units.
    pub(crate) fn work_of_turn(&self) -> u64 {
        self.io.turn.work(self.sessions.machine().work())
    }

    /// Reports to the machine when this turn's sends were over, if it had any: the one clock read that measuring them
    /// costs.
    fn tell_flushed(&mut self) -> Option<Instant> {
        let (now, at) = self.io.turn.after_sends()?;
        self.sessions.machine_mut().flushed(at);
        Some(now)
    }

    fn tick(&mut self) {
        for tick in 0..TICKS_PER_TURN {
            let due = self.sessions.machine().deadline();
            let has_had_its_part = tick > 0 && self.work_of_turn() >= work_units::TICKS;
            if has_had_its_part || due.is_none_or(|due| due > self.io.turn.at().now) {
                return;
            }
            self.sessions.feed(Input::Tick, &mut self.io);
        }
    }

    /// Whether there is work that no completion will announce.
    fn busy(&mut self) -> bool {
        self.sessions.connections().has_work()
            || self.sessions.streams().has_work()
            || !self.io.handshakes.is_empty()
            || !self.sessions.mail().own().is_empty()
            || self.io.ring.has_completions()
            || self.is_due()
    }

    /// Whether a deadline has come.
    pub(crate) fn is_due(&self) -> bool {
        let now = self.io.turn.at().now;
        self.next_deadline().is_some_and(|due| due <= now)
    }

    /// The first deadline of the machine and of the edge, those of links included.
    fn next_deadline(&self) -> Option<Now> {
        let deadlines = [
            self.sessions.machine().deadline(),
            self.sessions.connections().next_overdue(),
            self.sessions.streams().next_due(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The moment at which something is due although nothing arrives, or the shard shows that it runs.
    fn next_due(&self) -> Option<Instant> {
        let deadline = self.next_deadline();
        let deadline = deadline.and_then(|due| self.io.turn.instant(due));
        let has_connections =
            !self.sessions.connections().is_empty() || !self.sessions.streams().is_empty();
        let beat = has_connections.then(|| self.io.turn.now() + Duration::from_millis(BEAT_MS));
        let others = deadline.into_iter().chain(beat);
        self.listeners.next_due().into_iter().chain(others).min()
    }

    fn sleep_in_ring(&mut self, now: Instant, awake_until: Instant) -> io::Result<()> {
        let until = self
            .next_due()
            .map_or(awake_until, |due| due.min(awake_until));
        self.io.counts.parks_in_ring += 1;
        self.sessions.mail().own().fall_asleep(Sleep::InRing);
        let want = u32::from(self.sessions.mail().own().is_empty());
        let entered = self
            .io
            .ring
            .enter(want, Some(until.saturating_duration_since(now)));
        self.sessions.mail().own().wake_up();
        entered
    }

    async fn sleep_in_glommio(&mut self, now: Instant, completed: &BufferedFile) -> io::Result<()> {
        if let Some(due) = self.next_due() {
            self.io.ring.wake_by(due, now);
        }
        self.io.ring.eventfd_on();
        self.sessions.mail().own().fall_asleep(Sleep::InGlommio);
        // Waits no time, but runs deferred work until a completion or until none is left.
        self.io.ring.enter(1, Some(Duration::ZERO))?;
        let at_rest = !self.io.ring.has_completions() && !self.io.ring.has_submissions();
        if at_rest && self.sessions.mail().own().is_empty() {
            self.io.counts.parks_in_glommio += 1;
            completed
                .read_at(0, size_of::<u64>())
                .await
                .map_err(io::Error::from)?;
        }
        self.io.ring.eventfd_off();
        self.sessions.mail().own().wake_up();
        // Letters that the eventfd announced are hidden until now.
        self.io.ring.enter(0, None)
    }

    /// Has the ring look at the mailbox's bell.
    pub(crate) fn watch_bell(&mut self, key: Key) {
        self.io.ring.bell(self.sessions.mail().own().bell(), key);
    }
}

const BELL: Key = Key::new(0);

/// Threads of an executor: its own, and one for calls that block.
const THREADS: usize = 2;

/// Entries of each of the executor's rings. The drive loop has one read under way and the executor a few timers; up to
/// this number a ring takes two pages.
const RING_DEPTH: usize = 64;

/// Nothing else runs on the executor while the loop does; its own timer need not interrupt often.
const PREEMPT: Duration = Duration::from_millis(100);
