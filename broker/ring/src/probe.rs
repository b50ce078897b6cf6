//! Whether this machine allows a ring, checked once at start, with an error that an operator can act on.

use crate::memlock::{MEMLOCK_BYTES_MIN, memlock};
use crate::pool::Pool;
use crate::ring::builder;
use std::{fmt, io};

/// Why no ring can be had. Its text says what to change.
#[derive(Debug)]
pub enum Unsupported {
    /// `io_uring_setup` is refused: by a seccomp filter, by `kernel.io_uring_disabled`, or left out of the kernel.
    Forbidden(io::Error),
    /// The kernel is older than 6.1 and has no `IORING_SETUP_DEFER_TASKRUN`; its release, as it names itself.
    KernelTooOld(String),
    /// `RLIMIT_MEMLOCK` is below [`MEMLOCK_BYTES_MIN`]; the limit in bytes.
    MemlockLow(u64),
    /// `RLIMIT_MEMLOCK` would do, but other processes of this user hold all of it; the limit in bytes.
    MemlockTaken(u64),
    /// Something else, as the kernel says it.
    Other(io::Error),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(error) => write!(
                f,
                "io_uring is forbidden here ({error}). In a container: allow io_uring_setup, io_uring_enter and \
                 io_uring_register in its seccomp profile. On the host: `sysctl kernel.io_uring_disabled` must be 0"
            ),
            Self::KernelTooOld(release) => {
                write!(
                    f,
                    "Linux {release} is too old: io_uring with deferred task work needs Linux 6.1 or newer"
                )
            }
            Self::MemlockLow(limit) => write!(
                f,
                "the limit of locked memory is {} KiB, allowed {} KiB and more: raise it \
                 (`ulimit -l`, LimitMEMLOCK= in the unit, or --ulimit memlock= of the container)",
                limit / 1024,
                MEMLOCK_BYTES_MIN / 1024
            ),
            Self::MemlockTaken(limit) => write!(
                f,
                "no locked memory is left: the limit is {} KiB, and other processes of this user hold it: end them, or \
                 raise it (`ulimit -l`, LimitMEMLOCK= in the unit, or --ulimit memlock= of the container)",
                limit / 1024
            ),
            Self::Other(error) => write!(f, "io_uring cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for Unsupported {}

/// Sets up a small ring with everything that [`Ring`](crate::Ring) relies on, and drops it. Call it before any
/// executor starts: those end the process where this returns an error.
///
/// # Errors
/// The first obstacle found.
pub fn probe() -> Result<(), Unsupported> {
    let limit = memlock();
    if let Some(limit) = limit.filter(|&limit| limit < MEMLOCK_BYTES_MIN) {
        return Err(Unsupported::MemlockLow(limit));
    }
    let explain = |error| explain(error, limit);
    let io = builder(8).build(4).map_err(explain)?;
    let pool = Pool::register(&io, 2, 64).map_err(explain)?;
    drop(io);
    drop(pool);
    Ok(())
}

fn explain(error: io::Error, limit: Option<u64>) -> Unsupported {
    match (error.raw_os_error(), limit) {
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) => Unsupported::Forbidden(error),
        (Some(libc::EINVAL), _) => Unsupported::KernelTooOld(release()),
        (Some(libc::ENOMEM), Some(limit)) => Unsupported::MemlockTaken(limit),
        (Some(_) | None, _) => Unsupported::Other(error),
    }
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "(unknown)".into(), |text| text.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_names_its_remedy() {
        let limit = Some(MEMLOCK_BYTES_MIN);
        let say = |errno| explain(io::Error::from_raw_os_error(errno), limit).to_string();
        assert!(say(libc::EPERM).contains("seccomp") && say(libc::ENOSYS).contains("seccomp"));
        assert!(say(libc::EINVAL).contains("6.1"));
        assert!(say(libc::ENOMEM).contains("ulimit -l"));
        let unlimited = explain(io::Error::from_raw_os_error(libc::ENOMEM), None).to_string();
        assert!(!unlimited.contains("ulimit"), "{unlimited}");
        let low = Unsupported::MemlockLow(64 * 1024).to_string();
        assert!(low.contains("is 64 KiB, allowed 512 KiB and more"), "{low}");
        assert!(say(libc::EIO).contains("cannot be set up"));
    }

    #[test]
    fn this_machine_has_what_the_tests_need() {
        probe().unwrap();
    }
}
