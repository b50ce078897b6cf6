//! This machine and its limits: descriptors, CPUs, kernel.
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

/// The machine that a run was driven from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverMachine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// CPUs that this process may use.
    pub cpus: Option<usize>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes that ran or wanted to, on average over the minute before the run.
    pub load_average: Option<f64>,
}

/// Looks at this machine.
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

/// The limits of this machine for a process that opens many connections. Those that cannot be found out are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineLimits {
    /// Open descriptors, if the limit is raised as far as it goes.
    pub descriptors: Option<u64>,
    /// Local ports of each address towards one target.
    pub ports: Option<u64>,
    /// Memory that can be had without swapping, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Looks at what this machine allows.
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

/// A number that no other run is likely to have.
#[must_use]
pub fn run_id() -> u32 {
    fastrand::u32(..)
}

/// Raises this process's limit of open descriptors as far as it may; returns the limit.
///
/// # Errors
/// The kernel's error.
pub(crate) fn raise_descriptors() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Makes a later bind to an address leave the choice of the port to connect, when the other end is known: one port then
/// serves as many connections as there are pairs of addresses.
///
/// # Errors
/// The kernel's error.
pub(crate) fn bind_address_no_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and `on` is a readable int of the length given.
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

/// Pins the calling thread to one CPU.
///
/// # Errors
/// The CPU does not exist or is not this process's to use.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}
