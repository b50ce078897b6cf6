//! State shared by the threads of a run: the phase, which is set by the controlling thread, and the counters, which are
//! updated by the workers.

use crate::measure::ErrorCounts;
use crate::result::{ErrorKind, KINDS};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// The phases of a run, in order. Each phase occurs at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RunPhase {
    /// Opens the first few connections, which make the server allocate the memory that it needs regardless of the load.
    OpenFirst,
    /// Opens all remaining connections.
    OpenAll,
    /// Runs the load without measuring it.
    WarmUp,
    /// Runs and measures the load.
    Measure,
    /// Completes the work that is in flight. No new work is started.
    Drain,
    /// Closes the connections.
    Close,
}

#[derive(Debug)]
pub(crate) struct RunBoard {
    phase: AtomicU8,
    /// Start time of the schedule, in nanoseconds on the clock of the run. [`u64::MAX`] until it is known.
    begins_ns: AtomicU64,
    /// The gauges of the workers. Each worker updates its own gauge once per turn of its event loop.
    pub(crate) gauges: Vec<Gauge>,
}

/// The counters of one worker. Aligned to a pair of cache lines, to avoid false sharing between workers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauge {
    pub(crate) opened: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) cycles: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) masters: AtomicU64,
    pub(crate) scheduled: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) unwell: AtomicU64,
    pub(crate) p50_us: AtomicU64,
    pub(crate) p99_us: AtomicU64,
    kinds: [AtomicU64; KINDS.len()],
    /// Whether the worker has no running sessions and none left to start.
    pub(crate) through: AtomicBool,
    /// Whether the worker has finished, successfully or not.
    pub(crate) over: AtomicBool,
}

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
    /// Number of workers that have no running sessions and none left to start.
    pub(crate) through: u64,
    pub(crate) over: u64,
}

impl Gauge {
    /// Publishes the number of failures of each kind. Called once per turn of the event loop. Does nothing unless the
    /// total has changed, since sorting the names of failures into kinds takes time.
    pub(crate) fn tell(&self, errors: &ErrorCounts) {
        let load = |class: &AtomicU64| class.load(Ordering::Relaxed);
        if errors.kinds().is_empty() || errors.total() == self.kinds.iter().map(load).sum::<u64>() {
            return;
        }
        let mut kinds = [0; KINDS.len()];
        for (name, count) in errors.kinds() {
            kinds[ErrorKind::place(name)] += count;
        }
        for (place, count) in self.kinds.iter().zip(kinds) {
            place.store(count, Ordering::Relaxed);
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

    pub(crate) fn begin_at(&self, moment_ns: u64) {
        self.begins_ns.store(moment_ns, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for gauge in &self.gauges {
            sum.opened += gauge.opened.load(Ordering::Relaxed);
            sum.failed += gauge.failed.load(Ordering::Relaxed);
            sum.open += gauge.open.load(Ordering::Relaxed);
            sum.cycles += gauge.cycles.load(Ordering::Relaxed);
            sum.sent += gauge.sent.load(Ordering::Relaxed);
            sum.received += gauge.received.load(Ordering::Relaxed);
            sum.masters += gauge.masters.load(Ordering::Relaxed);
            sum.scheduled += gauge.scheduled.load(Ordering::Relaxed);
            sum.completed += gauge.completed.load(Ordering::Relaxed);
            sum.unwell += gauge.unwell.load(Ordering::Relaxed);
            sum.p50_us = sum.p50_us.max(gauge.p50_us.load(Ordering::Relaxed));
            sum.p99_us = sum.p99_us.max(gauge.p99_us.load(Ordering::Relaxed));
            for (sum, class) in sum.kinds.iter_mut().zip(&gauge.kinds) {
                *sum += class.load(Ordering::Relaxed);
            }
            sum.through += u64::from(gauge.through.load(Ordering::Relaxed));
            sum.over += u64::from(gauge.over.load(Ordering::Relaxed));
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
        board.gauges[1].tell(&errors);
        errors.count_many("refused_404_ResourceNotFoundException", 3);
        errors.count_many("refused_404_Else", 2);
        board.gauges[0].tell(&errors);
        // Reporting the same failures again does not count them twice.
        board.gauges[0].tell(&errors);
        let sum = board.sum().kinds;
        assert_eq!(sum[ErrorKind::place("refused")], 2);
        assert_eq!(sum[ErrorKind::place("status:404")], 5);
        assert_eq!(sum.iter().sum::<u64>(), 7);
    }
}
