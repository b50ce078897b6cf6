//! The resources that a process holds, as the kernel counts them.

use crate::process::Broker;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The interval at which peaks are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The resources that a process holds at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Footprint {
    /// Resident memory.
    pub(crate) resident_bytes: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
}

/// Resident memory of a broker.
pub(crate) fn resident_bytes(broker: &Broker) -> u64 {
    let id = broker.id();
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the broker is there");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    resident.expect("resident memory, unless the broker has ended") << 10
}

/// Bytes that the kernel holds for each peer of a listener that has not acknowledged them, those of closed sockets too.
/// A client on another loopback address may have the listener's port.
fn unread_bytes(listener: SocketAddr) -> BTreeMap<String, usize> {
    let SocketAddr::V4(listener) = listener else {
        panic!("the table of IPv4: {listener}");
    };
    let ip = u32::from_ne_bytes(listener.ip().octets());
    let listener = format!("{ip:08X}:{:04X}", listener.port());
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("the kernel's table");
    let of_port = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, _, queues, ..] = words.as_slice() else {
            return None;
        };
        let bytes = usize::from_str_radix(queues.split_once(':')?.0, 16).ok()?;
        (*local == listener).then(|| ((*remote).to_owned(), bytes))
    };
    table.lines().filter_map(of_port).collect()
}

/// The most of those bytes that it holds for one peer.
pub(crate) fn most_unread(broker: &Broker) -> usize {
    let unread = unread_bytes(broker.plain);
    unread.into_values().max().unwrap_or_default()
}

/// A broker process under observation.
pub(crate) struct Watched<'b>(&'b Broker);

impl<'b> Watched<'b> {
    pub(crate) fn new(broker: &'b Broker) -> Self {
        Self(broker)
    }

    /// The resources that it holds at this moment.
    pub(crate) fn footprint(&self) -> Footprint {
        let id = self.0.id();
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).expect("the broker is there");
        Footprint {
            resident_bytes: resident_bytes(self.0),
            descriptors: descriptors.count(),
        }
    }

    /// The most of each while `work` runs.
    pub(crate) fn peak_while(&self, work: impl FnOnce() + Send) -> Footprint {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut peak = Footprint::default();
                while !over.load(Ordering::Relaxed) {
                    let now = self.footprint();
                    peak.resident_bytes = peak.resident_bytes.max(now.resident_bytes);
                    peak.descriptors = peak.descriptors.max(now.descriptors);
                    thread::sleep(LOOK_EVERY);
                }
                peak
            });
            // In a thread of its own: its lowered priority ends with it.
            let done = scope.spawn(work).join();
            over.store(true, Ordering::Relaxed);
            let peak = watcher.join().expect("the broker is there");
            done.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            peak
        })
    }

    /// The processor time that each shard's thread has used.
    pub(crate) fn thread_times(&self) -> BTreeMap<u32, Duration> {
        let tasks = format!("/proc/{}/task", self.0.id());
        let mut times = BTreeMap::new();
        for task in fs::read_dir(&tasks).expect("the broker is there").flatten() {
            let path = task.path();
            let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
            let nanos = read("schedstat")
                .split(' ')
                .next()
                .and_then(|nanos| nanos.parse().ok());
            if let (Ok(id), Some(nanos), true) = (
                task.file_name().to_string_lossy().parse(),
                nanos,
                read("comm").starts_with("shard-"),
            ) {
                times.insert(id, Duration::from_nanos(nanos));
            }
        }
        times
    }

    /// Which part of `span` the busiest shard's thread has run since `before`.
    pub(crate) fn busiest_since(&self, before: &BTreeMap<u32, Duration>, span: Duration) -> f64 {
        let used = self
            .thread_times()
            .into_iter()
            .filter_map(|(id, time)| Some(time.saturating_sub(*before.get(&id)?)));
        used.max().unwrap_or_default().as_secs_f64() / span.as_secs_f64().max(0.001)
    }
}

/// Lets this thread, and those that it starts, run only while nobody else wants the CPU: on two CPUs attackers share
/// theirs with the healthy, whose latency is to show the broker's work, not that of the attackers.
pub(crate) fn give_way() {
    let idle = schedule(&["--idle", "--pid", "0"]);
    assert!(idle, "chrt failed: full runs need it (Debian's util-linux)");
}

/// Lets this thread, which sleeps most of the time, run as soon as it can: for the same reason. The kernel allows it to
/// root; others measure their own wait for a CPU as well.
pub(crate) fn go_first() {
    if !schedule(&["--rr", "--pid", "1"]) {
        eprintln!("latencies include the wait for a CPU: chrt --rr was refused");
    }
}

fn schedule(policy: &[&str]) -> bool {
    let link = fs::read_link("/proc/thread-self").expect("/proc");
    let thread = link.file_name().expect("a thread id").to_owned();
    let set = Command::new("chrt").args(policy).arg(thread).output();
    set.is_ok_and(|output| output.status.success())
}
