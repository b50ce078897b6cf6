//! Whether this machine lets us have a ring, asked once at start, with an answer that an operator can act on.
#![expect(unsafe_code, reason = "asks the kernel for a limit and its release")]

use crate::pool::Pool;
use crate::ring::builder;
use std::{fmt, io};

/// The least locked memory an executor needs, in bytes: glommio's own rings ask for it, root or not.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Why no ring can be had. Its text says what to change.
#[derive(Debug)]
pub enum Unsupported {
    /// `io_uring_setup` is refused: by a seccomp filter, by `kernel.io_uring_disabled`, or left out of the kernel.
    Forbidden(io::Error),
    /// The kernel is older than 6.1 and has no `IORING_SETUP_DEFER_TASKRUN`; its release, as it names itself.
    KernelTooOld(String),
    /// `RLIMIT_MEMLOCK` is below [`MEMLOCK_BYTES_MIN`]; the limit in bytes.
    Memlock(u64),
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
            Self::Memlock(limit) => write!(
                f,
                "the limit of locked memory is {limit} bytes, and at least {MEMLOCK_BYTES_MIN} are needed: raise it \
                 (`ulimit -l`, LimitMEMLOCK= in the unit, or --ulimit memlock= of the container)"
            ),
            Self::Other(error) => write!(f, "io_uring cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for Unsupported {}

/// Sets up a small ring with everything that [`Ring`](crate::Ring) relies on, and drops it. Call it before any executor starts:
/// those end the process where this returns an error.
///
/// # Errors
/// The first obstacle found.
pub fn probe() -> Result<(), Unsupported> {
    let io = builder(8).build(4).map_err(explain)?;
    let pool = Pool::register(&io, 2, 64).map_err(explain)?;
    drop(io);
    drop(pool);
    let limit = memlock_bytes();
    if limit < MEMLOCK_BYTES_MIN {
        Err(Unsupported::Memlock(limit))
    } else {
        Ok(())
    }
}

fn explain(error: io::Error) -> Unsupported {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Unsupported::Forbidden(error),
        Some(libc::EINVAL) => Unsupported::KernelTooOld(release()),
        Some(libc::ENOMEM) => Unsupported::Memlock(memlock_bytes()),
        Some(_) | None => Unsupported::Other(error),
    }
}

fn memlock_bytes() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for one rlimit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if result == 0 {
        limit.rlim_cur
    } else {
        u64::MAX
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
        let say = |errno| explain(io::Error::from_raw_os_error(errno)).to_string();
        assert!(say(libc::EPERM).contains("seccomp") && say(libc::ENOSYS).contains("seccomp"));
        assert!(say(libc::EINVAL).contains("6.1"));
        assert!(say(libc::ENOMEM).contains("ulimit -l"));
        assert!(say(libc::EIO).contains("cannot be set up"));
    }

    #[test]
    fn this_machine_has_what_the_tests_need() {
        probe().unwrap();
    }
}
