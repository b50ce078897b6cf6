//! The shared state of a run's threads: the phase that the conductor sets, and each worker's numbers.

use crate::measure::ErrorCounts;
use crate::result::{ErrorKind, KINDS};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// The phases of a run. They follow each other in this order and none comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RunPhase {
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
pub(crate) struct RunBoard {
    phase: AtomicU8,
    /// The beginning of the schedule, in nanoseconds of the run's clock; [`u64::MAX`] until it is known.
    begins_ns: AtomicU64,
    /// One for each worker, written by it alone, once a turn.
    pub(crate) gauges: Vec<Gauge>,
}

/// A worker's numbers. Aligned to a cache line's pair, so that workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauge {
    /// Connections that reached 101.
    pub(crate) opened: AtomicU64,
    /// Connections that failed.
    pub(crate) failed: AtomicU64,
    /// Connections open at this moment.
    pub(crate) open: AtomicU64,
    /// Connections opened and closed as intended.
    pub(crate) cycles: AtomicU64,
    /// Messages composed.
    pub(crate) sent: AtomicU64,
    /// Messages arrived.
    pub(crate) received: AtomicU64,
    /// Masters that are open, or that were given up (sessions).
    pub(crate) masters: AtomicU64,
    /// Sessions begun.
    pub(crate) scheduled: AtomicU64,
    /// Sessions that went all the way.
    pub(crate) completed: AtomicU64,
    /// Sessions that did not.
    pub(crate) unwell: AtomicU64,
    /// Median of the last whole interval, in microseconds.
    pub(crate) p50_us: AtomicU64,
    /// 99th percentile of the last whole interval, in microseconds.
    pub(crate) p99_us: AtomicU64,
    /// Failures by [`ErrorKind::place`]: names have no bound and stay with the worker.
    kinds: [AtomicU64; KINDS.len()],
    /// No session is to begin and none runs.
    pub(crate) through: AtomicBool,
    /// The worker is done, well or not.
    pub(crate) over: AtomicBool,
}

/// The sums of all gauges at one moment.
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
    /// The highest of any worker: good enough to look at.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Failures by [`ErrorKind::place`].
    pub(crate) kinds: [u64; KINDS.len()],
    /// Workers whose sessions are through.
    pub(crate) through: u64,
    /// Workers that are done.
    pub(crate) over: u64,
}

impl Gauge {
    /// Reports all failures of its worker until here. Called once a turn: their names are looked at only when there are
    /// more than were reported.
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
    /// A board for this many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            phase: AtomicU8::new(RunPhase::OpenFirst as u8),
            begins_ns: AtomicU64::new(u64::MAX),
            gauges: (0..workers).map(|_| Gauge::default()).collect(),
        }
    }

    /// The phase.
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

    /// Sets the phase; workers see it within their longest sleep.
    pub(crate) fn enter(&self, phase: RunPhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The beginning of the schedule, if it is known.
    pub(crate) fn begins_ns(&self) -> Option<u64> {
        let moment = self.begins_ns.load(Ordering::Relaxed);
        (moment != u64::MAX).then_some(moment)
    }

    /// Announces the beginning of the schedule to every worker.
    pub(crate) fn begin_at(&self, moment_ns: u64) {
        self.begins_ns.store(moment_ns, Ordering::Relaxed);
    }

    /// All numbers added up.
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
        // Reported once more, they do not count twice.
        board.gauges[0].tell(&errors);
        let sum = board.sum().kinds;
        assert_eq!(sum[ErrorKind::place("refused")], 2);
        assert_eq!(sum[ErrorKind::place("status:404")], 5);
        assert_eq!(sum.iter().sum::<u64>(), 7);
    }
}
