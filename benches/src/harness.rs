//! The setup that all benches share: criterion's settings, the measurement of thread CPU time, and groups.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Criterion configured to measure [`ThreadTime`].
pub type Timer = Criterion<ThreadTime>;

/// A group of measurements, in which several libraries perform one operation on one input.
pub type Group<'a> = BenchmarkGroup<'a, ThreadTime>;

/// Runs `groups` with the settings that all benches share. The command line can override these settings.
pub fn run(groups: impl FnOnce(&mut Timer)) {
    let mut criterion = Criterion::default()
        .with_measurement(ThreadTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args();
    groups(&mut criterion);
    criterion.final_summary();
}

/// Opens the group `<module>/<operation>/<case>`. Each iteration handles `messages` messages, `bytes` bytes in total.
pub fn group<'a>(
    criterion: &'a mut Timer,
    operation: &str,
    case: &str,
    messages: usize,
    bytes: usize,
) -> Group<'a> {
    let mut group = criterion.benchmark_group(format!("{operation}/{case}"));
    group.throughput(Throughput::ElementsAndBytes {
        elements: messages as u64,
        bytes: bytes as u64,
    });
    group
}

/// Measures the user and system CPU time of the calling thread. Other load on the core does not affect it.
#[derive(Clone, Copy, Debug)]
pub struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.unsigned_abs(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
