//! What the threads of a run show each other: the phase that the conductor sets, and each worker's numbers.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What a run is doing. Phases follow each other in this order and none comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// The first connections open, so that the server has touched the memory that it keeps anyway.
    OpenFirst,
    /// All others open.
    OpenAll,
    /// The load runs, and is not measured.
    WarmUp,
    /// The load runs and is measured.
    Measure,
    /// Nothing new begins; what is under way arrives.
    Drain,
    /// Connections close.
    Close,
}

/// The one shared object of a run.
#[derive(Debug)]
pub(super) struct Board {
    phase: AtomicU8,
    /// One for each worker, written by it alone, once a turn.
    pub(super) gauges: Vec<Gauge>,
}

/// A worker's numbers. Aligned to a cache line's pair, so that workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Gauge {
    /// Connections that reached 101.
    pub(super) opened: AtomicU64,
    /// Connections that failed.
    pub(super) failed: AtomicU64,
    /// Connections open at this moment.
    pub(super) open: AtomicU64,
    /// Connections opened and closed as intended.
    pub(super) cycles: AtomicU64,
    /// Messages composed.
    pub(super) sent: AtomicU64,
    /// Messages arrived.
    pub(super) received: AtomicU64,
    /// The worker is done, well or not.
    pub(super) over: AtomicBool,
}

/// The sums of all gauges at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) opened: u64,
    pub(super) failed: u64,
    pub(super) open: u64,
    pub(super) cycles: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Workers that are done.
    pub(super) over: u64,
}

impl Board {
    /// A board for so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            phase: AtomicU8::new(Phase::OpenFirst as u8),
            gauges: (0..workers).map(|_| Gauge::default()).collect(),
        }
    }

    /// The phase.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::OpenFirst,
            1 => Phase::OpenAll,
            2 => Phase::WarmUp,
            3 => Phase::Measure,
            4 => Phase::Drain,
            _ => Phase::Close,
        }
    }

    /// Sets the phase; workers see it within [`super::worker::LOOK_EVERY`].
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// All numbers added up.
    pub(super) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for gauge in &self.gauges {
            sum.opened += gauge.opened.load(Ordering::Relaxed);
            sum.failed += gauge.failed.load(Ordering::Relaxed);
            sum.open += gauge.open.load(Ordering::Relaxed);
            sum.cycles += gauge.cycles.load(Ordering::Relaxed);
            sum.sent += gauge.sent.load(Ordering::Relaxed);
            sum.received += gauge.received.load(Ordering::Relaxed);
            sum.over += u64::from(gauge.over.load(Ordering::Relaxed));
        }
        sum
    }
}
