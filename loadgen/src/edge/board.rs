//! State shared between a run's threads: the current phase, set by the controlling thread, and the counters, updated by
//! the workers.

use crate::measure::ErrorCounts;
use crate::result::{ErrorKind, KINDS};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The phases of a run, in order. A run enters each phase at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RunPhase {
    /// Open the first few connections. They make the server allocate the memory that it needs regardless of load.
    OpenFirst,
    /// Open all remaining connections.
    OpenAll,
    /// Run the load without measuring it.
    WarmUp,
    /// Run the load and measure it.
    Measure,
    /// Finish the work in flight without starting any more.
    Drain,
    /// Close the connections.
    Close,
}

#[derive(Debug)]
pub(crate) struct RunBoard {
    phase: AtomicU8,
    /// When the schedule starts, in nanoseconds on the run's clock. [`u64::MAX`] until this is known.
    pub(crate) begins_ns: AtomicU64,
    /// One gauge per worker. A worker updates its gauge once per event loop iteration.
    pub(crate) gauges: Vec<Gauge>,
}

/// One worker's counters. Aligned to two cache lines, to avoid false sharing between workers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauge(Mutex<Sum>);

/// The counters of one worker, or their sum over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) open: u64,
    pub(crate) cycles: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) masters: u64,
    pub(crate) scheduled: u64,
    pub(crate) completed: u64,
    pub(crate) unwell: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) kinds: [u64; KINDS.len()],
    /// Number of workers that have no sessions left to run or to start.
    pub(crate) through: u64,
    /// Number of workers that have finished, successfully or not.
    pub(crate) over: u64,
}

impl Gauge {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sum {
    /// Updates the number of failures of each kind. Does nothing unless the total has changed, since sorting the names
    /// of failures into kinds takes time.
    pub(crate) fn tell(&mut self, errors: &ErrorCounts) {
        if errors.total() == self.kinds.iter().sum::<u64>() {
            return;
        }
        self.kinds = [0; KINDS.len()];
        for (name, count) in errors.kinds() {
            self.kinds[ErrorKind::place(name)] += count;
        }
    }
}

impl RunBoard {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            phase: AtomicU8::new(RunPhase::OpenFirst as u8),
            begins_ns: AtomicU64::new(u64::MAX),
            gauges: (0..workers).map(|_| Gauge::default()).collect(),
        }
    }

    pub(crate) fn phase(&self) -> RunPhase {
        match self.phase.load(Ordering::Relaxed) {
            0 => RunPhase::OpenFirst,
            1 => RunPhase::OpenAll,
            2 => RunPhase::WarmUp,
            3 => RunPhase::Measure,
            4 => RunPhase::Drain,
            _ => RunPhase::Close,
        }
    }

    pub(crate) fn enter(&self, phase: RunPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn begins_ns(&self) -> Option<u64> {
        let moment = self.begins_ns.load(Ordering::Relaxed);
        (moment != u64::MAX).then_some(moment)
    }

    pub(crate) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for gauge in self.gauges.iter().map(Gauge::lock) {
            sum.opened += gauge.opened;
            sum.failed += gauge.failed;
            sum.open += gauge.open;
            sum.cycles += gauge.cycles;
            sum.sent += gauge.sent;
            sum.received += gauge.received;
            sum.masters += gauge.masters;
            sum.scheduled += gauge.scheduled;
            sum.completed += gauge.completed;
            sum.unwell += gauge.unwell;
            sum.p50_us = sum.p50_us.max(gauge.p50_us);
            sum.p99_us = sum.p99_us.max(gauge.p99_us);
            for (sum, class) in sum.kinds.iter_mut().zip(&gauge.kinds) {
                *sum += class;
            }
            sum.through += gauge.through;
            sum.over += gauge.over;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_class() {
        let board = RunBoard::new(2);
        assert_eq!(board.sum(), Sum::default());
        let mut errors = ErrorCounts::default();
        errors.count("connect_refused");
        board.gauges[1].lock().tell(&errors);
        errors.count_many("refused_404_ResourceNotFoundException", 3);
        errors.count_many("refused_404_Else", 2);
        board.gauges[0].lock().tell(&errors);
        // Reporting the same failures again does not count them twice.
        board.gauges[0].lock().tell(&errors);
        let sum = board.sum().kinds;
        assert_eq!(sum[ErrorKind::place("refused")], 2);
        assert_eq!(sum[ErrorKind::place("status:404")], 5);
        assert_eq!(sum.iter().sum::<u64>(), 7);
    }
}
