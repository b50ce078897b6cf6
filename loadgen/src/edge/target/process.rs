//! CPU time and memory of a process, as the kernel reports them in `/proc`.

use rustix::param::clock_ticks_per_second;
use std::{fs, io};

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// There is none, or it must not be looked at.
    pub fn find(pid: u32) -> io::Result<Self> {
        let process = Self { pid };
        process.cpu_ns()?;
        Ok(process)
    }

    /// This process.
    pub(crate) fn own() -> Self {
        Self {
            pid: std::process::id(),
        }
    }

    /// CPU time of all its threads, user and kernel, in nanoseconds.
    ///
    /// Source: `/proc/PID/task/TID/schedstat`, first number (proc_pid_schedstat: time spent on the CPU). The ticks of
    /// `/proc/PID/stat` are 10 ms apart, too coarse for a short run; but threads that have ended are only in them, so
    /// they count where they are more.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cpu_ns(self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let path = task?.path().join("schedstat");
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(path) else {
                continue;
            };
            let first = text.split_ascii_whitespace().next();
            sum += first
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or_default();
        }
        let tick_ns = 1_000_000_000 / clock_ticks_per_second();
        let ticks: u64 = self.ticks()?.iter().sum();
        Ok(sum.max(ticks * tick_ns))
    }

    /// User and kernel time of all its threads, also of those that have ended, in ticks of the kernel.
    ///
    /// Source: `/proc/PID/stat`, fields 14 and 15 (proc_pid_stat).
    ///
    /// # Errors
    /// The process is gone.
    pub fn ticks(self) -> io::Result<[u64; 2]> {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = fs::read_to_string(&path)?;
        ticks(&stat).ok_or_else(|| io::Error::other(format!("{path} without times: {stat}")))
    }

    /// Memory that it has in use, in bytes: resident pages, shared ones included.
    ///
    /// Source: `Rss` of `/proc/PID/smaps_rollup`, which counts pages; the numbers of `statm` lag behind. Where
    /// the process uses transparent huge pages, growth comes in steps of 2 MiB.
    ///
    /// # Errors
    /// The process is gone, or is another user's.
    pub fn rss_bytes(self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|number| number.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other("smaps_rollup without Rss"))
    }
}

/// User and kernel time in `/proc/PID/stat`, its fields 14 and 15. The second one, a name, may hold anything.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some([next()?, next()?])
}

#[cfg(test)]
mod tests {

    use super::*;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn this_process_has_used_something() {
        let own = Process::own();
        let before = own.cpu_ns().unwrap();
        let mut sum = 0_u64;
        while own.cpu_ns().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(own.rss_bytes().unwrap() > 100_000);
        assert!(Process::find(u32::MAX).is_err());
    }

    #[test]
    fn threads_that_have_ended_count() {
        let own = Process::own();
        let before = own.cpu_ns().unwrap();
        let busy = || {
            let begun = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            let spent =
                || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime) - begun;
            while Duration::try_from(spent()).unwrap() < BUSY {}
        };
        thread::spawn(busy).join().unwrap();
        let ended = Instant::now();
        // The time of a thread is moved to its process a little after its end is reported.
        while Duration::from_nanos(own.cpu_ns().unwrap().saturating_sub(before)) < BUSY / 2 {
            assert!(ended.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn a_name_does_not_shift_the_fields() {
        let stat = "7 (a) 1 (b) R 1 2 3 4 5 6 7 8 9 10 30 12 13 14";
        assert_eq!(ticks(stat), Some([30, 12]));
        assert_eq!(ticks("7 (a) R 1"), None);
    }

    const BUSY: Duration = Duration::from_millis(200);
}
