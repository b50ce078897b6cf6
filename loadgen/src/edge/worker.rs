//! One thread of a run: its peers, their sockets, and the loop that drives both on one ring.
//!
//! A turn: look at the phase, open what may be opened, enter the ring, serve every completion, flush every slot that has
//! something to send once. So a burst that arrives in one read is answered by one send.

use super::board::{Board, Gauge, Phase};
use super::slot::{Slot, Stage};
use super::tls::Client;
use crate::measure::{Connections, Errors, Latencies, Tally};
use crate::options::Mode;
use crate::peer::{Desk, Name, Peer, missing};
use crate::plan::Plan;
use ring::{Ring, Settings};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a worker without work sleeps at most before it looks at the phase.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is the same for all workers of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) board: &'a Board,
    pub(super) tls: Option<&'a Client>,
    /// The run's clock begins here.
    pub(super) zero: Instant,
}

/// One thread's half of the run.
pub(super) struct Worker<'a> {
    pub(super) shared: Shared<'a>,
    pub(super) gauge: &'a Gauge,
    pub(super) ring: Ring,
    /// Channel after channel, each with its master first; slots likewise.
    pub(super) peers: Vec<Peer>,
    pub(super) slots: Vec<Slot>,
    pub(super) desk: Desk,
    pub(super) latencies: Latencies,
    pub(super) connections: Connections,
    pub(super) open: u64,
    pub(super) cycles: u64,
    /// Slots to be opened, in this order.
    pub(super) queue: VecDeque<u32>,
    pub(super) opening: usize,
    /// How many may be opened in the first phase.
    pub(super) first: u64,
    pub(super) launched: u64,
    pub(super) rearm: Vec<u32>,
    pub(super) dirty: Vec<u32>,
    /// Empty buffers, to be used again.
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) plain: Vec<u8>,
    pub(super) reply: Vec<u8>,
    done: Done,
    close_begun_ns: u64,
}

/// Which steps of the phases were taken.
#[derive(Debug, Default)]
struct Done {
    start: bool,
    close: bool,
    cut: bool,
}

/// What a worker brings home.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    pub(super) tally: Tally,
    pub(super) errors: Errors,
    pub(super) latencies: Latencies,
    pub(super) connections: Connections,
}

impl<'a> Worker<'a> {
    /// Worker `number` of `of`: it has every `of`-th channel.
    ///
    /// # Errors
    /// The ring cannot be made.
    pub(super) fn new(shared: Shared<'a>, number: u32, of: u32) -> io::Result<Self> {
        let plan = shared.plan;
        let gauge = shared.board.gauges.get(number as usize);
        let gauge = gauge.ok_or_else(|| io::Error::other("a worker without a gauge"))?;
        let share = plan.share.split(number, of);
        let share = share.ok_or_else(|| io::Error::other("more threads than a run can have"))?;
        let names = share
            .channels(plan.channels)
            .flat_map(|channel| (0..=plan.viewers).map(move |place| Name { channel, place }));
        let peers: Vec<_> = names.map(|name| Peer::new(name, plan.viewers)).collect();
        let connecting = (0..).zip(&peers);
        let queue: VecDeque<_> = connecting
            .filter(|(_, peer)| plan.with_masters || peer.name().place > 0)
            .map(|(index, _)| index)
            .collect();
        let first = (queue.len() as u64 / FIRST_SHARE).clamp(1, FIRST_MAX / u64::from(of));
        Ok(Self {
            shared,
            gauge,
            ring: Ring::new(&Settings::default())?,
            slots: peers.iter().map(|_| Slot::default()).collect(),
            desk: Desk::new(
                plan.terms,
                u64::from(plan.terms.run) << 16 | u64::from(number),
            ),
            latencies: Latencies::default(),
            connections: Connections::default(),
            open: 0,
            cycles: 0,
            opening: 0,
            first,
            launched: 0,
            rearm: Vec::new(),
            dirty: Vec::new(),
            spare: Vec::new(),
            plain: Vec::new(),
            reply: Vec::new(),
            done: Done::default(),
            close_begun_ns: 0,
            queue,
            peers,
        })
    }

    /// Drives the peers through all phases.
    ///
    /// # Errors
    /// The ring failed.
    pub(super) fn run(mut self) -> io::Result<Harvest> {
        loop {
            let phase = self.shared.board.phase();
            self.look_at(phase);
            self.flush();
            self.publish();
            if phase == Phase::Close && self.is_over() {
                break;
            }
            self.ring.enter(1, Some(LOOK_EVERY))?;
            self.look_at_clock();
            while let Some(completion) = self.ring.next() {
                self.complete(completion, phase);
            }
            self.rearm();
        }
        Ok(self.harvest())
    }

    fn harvest(self) -> Harvest {
        let mut tally = self.desk.tally;
        if self.shared.plan.mode == Mode::Relay {
            let per_channel = self.shared.plan.peers_per_channel() as usize;
            let missing: u64 = self.peers.chunks(per_channel).map(missing).sum();
            tally.lost = missing.saturating_sub(tally.corrupted + tally.misrouted);
        }
        let mut latencies = self.latencies;
        latencies.message = self.desk.latency;
        Harvest {
            tally,
            errors: self.desk.errors,
            latencies,
            connections: self.connections,
        }
    }

    fn look_at_clock(&mut self) {
        let elapsed = self.shared.zero.elapsed();
        self.desk.now_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    }

    fn publish(&self) {
        let gauge = self.gauge;
        for (place, value) in [
            (&gauge.opened, self.connections.opened),
            (&gauge.failed, self.connections.failed),
            (&gauge.open, self.open),
            (&gauge.cycles, self.cycles),
            (&gauge.sent, self.desk.tally.sent),
            (&gauge.received, self.desk.tally.received),
        ] {
            place.store(value, Ordering::Relaxed);
        }
        gauge.tell(&self.desk.errors);
    }

    /// Takes the steps that the phase asks for.
    fn look_at(&mut self, phase: Phase) {
        let running = phase == Phase::WarmUp || phase == Phase::Measure;
        self.desk.speaking = running && self.shared.plan.mode == Mode::Relay;
        self.desk.measuring = phase == Phase::Measure;
        if self.desk.speaking && !self.done.start {
            self.done.start = true;
            self.look_at_clock();
            for index in 0..self.slots.len() {
                if self.slots[index].stage == Stage::Open {
                    self.write(index, |peer, desk, out| peer.start(desk, out));
                }
            }
        }
        if phase >= Phase::Drain {
            self.queue.clear();
        }
        if phase == Phase::Close && !self.done.close {
            self.done.close = true;
            self.look_at_clock();
            self.close_begun_ns = self.desk.now_ns;
            for index in 0..self.slots.len() {
                self.close(index);
            }
        }
        self.open_some(phase);
    }

    /// Whether every connection is gone; one that does not go in time is cut, and then left.
    fn is_over(&mut self) -> bool {
        self.look_at_clock();
        let waited = Duration::from_nanos(self.desk.now_ns - self.close_begun_ns);
        if waited > CLOSE_PATIENCE && !self.done.cut {
            self.done.cut = true;
            for index in 0..self.slots.len() {
                if self.slots[index].stage.is_open() {
                    self.fail(index, "close_timeout");
                } else if self.slots[index].stage == Stage::AwaitEnd {
                    self.cut(index);
                }
            }
        }
        let gone = self.slots.iter().all(|slot| slot.stage == Stage::Idle);
        gone || waited > 2 * CLOSE_PATIENCE
    }
}

/// Of this many connections, the first is opened in the first phase; and at most so many in all.
const FIRST_SHARE: u64 = 8;
const FIRST_MAX: u64 = 1024;
/// How long closing handshakes may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
