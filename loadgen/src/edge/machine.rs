//! The properties and limits of this machine: descriptors, CPUs, kernel and memory.
#![expect(
    unsafe_code,
    reason = "one socket option is set through libc; no safe wrapper has it"
)]

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};
use socket2::Socket;
use std::os::fd::AsRawFd;
use std::{fs, io};

/// Properties of the machine that generates the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverMachine {
    /// Model name of the processor.
    pub cpu: Option<String>,
    /// Number of CPUs that this process may use.
    pub cpus: Option<usize>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Total memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Load average for the minute before the run.
    pub load_average: Option<f64>,
}

/// Reads the properties of this machine.
#[must_use]
pub fn machine() -> DriverMachine {
    let value = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kib = value("/proc/meminfo", "MemTotal");
    let kib = kib.and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let load = fs::read_to_string("/proc/loadavg").ok();
    DriverMachine {
        cpu: value("/proc/cpuinfo", "model name"),
        cpus: std::thread::available_parallelism().ok().map(Into::into),
        kernel: kernel.map(|text| text.trim().to_owned()),
        memory_bytes: kib.map(|kib| kib * 1024),
        load_average: load.and_then(|text| text.split(' ').next()?.parse().ok()),
    }
}

/// The limits that this machine sets for a process with many connections. A limit is `None` if it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineLimits {
    /// Maximum number of open descriptors, after raising the soft limit.
    pub descriptors: Option<u64>,
    /// Number of local ports per pair of source and target addresses.
    pub ports: Option<u64>,
    /// Memory available without swapping, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Reads the limits of this machine.
#[must_use]
pub fn limits() -> MachineLimits {
    let ports = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let ports = ports.and_then(|text| {
        let (first, last) = text.trim().split_once(char::is_whitespace)?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.trim().parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    });
    let memory = fs::read_to_string("/proc/meminfo").ok();
    let memory = memory.and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    MachineLimits {
        descriptors: raise_descriptors().ok(),
        ports,
        memory_bytes: memory.map(|kib| kib * 1024),
    }
}

/// Generates a random run id, which other runs are unlikely to use.
#[must_use]
pub fn run_id() -> u32 {
    fastrand::u32(..)
}

pub(crate) fn raise_descriptors() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Makes the kernel choose the local port on connect rather than on bind, so that connections to different peers can
/// share a port.
pub(crate) fn bind_address_no_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and `on` is a readable int of the given length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Pins the calling thread to a CPU. Returns an error if there is no such CPU or this process may not use it.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
        .map_err(|error| io::Error::other(format!("--cores {cpu}: {error}")))
}
