//! The CPUs that this process may use.

use broker_core::limits::SHARDS_MAX;
use broker_core::settings::value;
use std::thread;

/// The CPUs of the affinity mask, and how many of them the process may keep busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The affinity mask, in rising order; at least one.
    pub allowed: Vec<usize>,
    /// The mask's size or the cgroup's CPU quota (version 1 or 2), whichever is less; at least 1.
    pub count: usize,
}

impl Cpus {
    /// Reads the mask from `/proc/self/status`; std knows the quota. Without `/proc` the CPUs are taken to begin at 0.
    #[must_use]
    pub fn of_this_process() -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = allowed(&status).unwrap_or_else(|| (0..count).collect());
        Self { allowed, count }
    }

    /// `shards` and `cpus` with the defaults of this machine where they are not written (0 shards, no CPUs).
    pub(crate) fn resolve(&self, shards: usize, cpus: Vec<usize>) -> (usize, Vec<usize>) {
        let cpus = match cpus.is_empty() {
            true => self.allowed.clone(),
            false => cpus,
        };
        let shards = match shards {
            0 => self.count.min(cpus.len()).clamp(1, SHARDS_MAX),
            written => written,
        };
        (shards, cpus)
    }
}

fn allowed(status: &str) -> Option<Vec<usize>> {
    let mut lists = status.lines();
    let list = lists.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    value::cpus(list?.trim()).ok()
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_mask_is_read() {
        let status =
            "Name:\tbroker\nCpus_allowed:\tf\nCpus_allowed_list:\t0-1,4\nMems_allowed:\t1\n";
        assert_eq!(allowed(status), Some(vec![0, 1, 4]));
        assert_eq!(allowed("Name:\tbroker\n"), None);
    }

    #[test]
    fn this_process_may_use_some() {
        let cpus = Cpus::of_this_process();
        assert!(!cpus.allowed.is_empty() && cpus.count >= 1);
    }

    #[test]
    fn shards_follow_the_quota_the_list_or_the_operator() {
        let machine = Cpus {
            allowed: vec![2, 3, 6, 7],
            count: 3,
        };
        assert_eq!(machine.resolve(0, vec![]), (3, vec![2, 3, 6, 7]));
        assert_eq!(machine.resolve(0, vec![6, 7]), (2, vec![6, 7]));
        assert_eq!(machine.resolve(8, vec![6, 7]), (8, vec![6, 7]));
    }
}
