//! A startup check that this machine can create a ring. Its errors tell the operator what to do.

use crate::memlock::{MEMLOCK_BYTES_MIN, MEMLOCK_BYTES_USUAL, memlock, memlock_remedy};
use crate::{pool::Pool, uring::builder};
use rustix::param::page_size;
use std::io;
use thiserror::Error;

/// Why no ring can be created. The message contains the remedy.
#[derive(Debug, Error)]
pub enum Unsupported {
    /// A seccomp filter rejects `io_uring_setup` with `EPERM`.
    #[error(
        "io_uring is forbidden here by a seccomp filter ({0}), as container runtimes set one: {PROFILE}. Outside of a \
         container allow io_uring_setup, io_uring_enter and io_uring_register (SystemCallFilter= in the unit)"
    )]
    Filtered(io::Error),
    /// The sysctl `kernel.io_uring_disabled` (1 or 2) disables `io_uring_setup`. The second field is the sysctl's
    /// value.
    #[error(
        "io_uring is forbidden on this host ({0}): kernel.io_uring_disabled is {1}, off {whom}; expected 0: \
         `sudo sysctl kernel.io_uring_disabled=0`, and a line of it in /etc/sysctl.d to keep it",
        whom = match *.1 {
            1 => "for all but privileged processes and the group kernel.io_uring_group",
            _ => "for all processes",
        }
    )]
    Disabled(io::Error, u8),
    /// The kernel lacks `io_uring_setup`. Contains the kernel release.
    #[error("io_uring is absent here (ENOSYS, kernel {0}){rest}", rest = why_absent(.0))]
    Absent(String),
    /// The kernel lacks `IORING_SETUP_DEFER_TASKRUN`. Contains the kernel release.
    #[error(
        "Linux {0} is too old: io_uring with deferred task work needs Linux 6.1 or newer: update the kernel"
    )]
    KernelTooOld(String),
    /// The kernel is recent enough, but io_uring setup fails with `EINVAL`. Contains the kernel release and the page
    /// size in bytes.
    #[error(
        "io_uring cannot be set up (EINVAL), though Linux {0} is 6.1 or newer: a sandbox or a filter supports only a \
         part of it, or the kernel rejects the alignment of its buffers (pages of {1} bytes; tried: 4096 and 16384): \
         run it outside of the sandbox, or report this line"
    )]
    Refused(String, usize),
    /// `RLIMIT_MEMLOCK` is below [`MEMLOCK_BYTES_MIN`]. Contains the limit in bytes.
    #[error(
        "the hard limit of locked memory is {} KiB, expected {} KiB or more: raise it: {}",
        .0 / 1024, MEMLOCK_BYTES_MIN / 1024, memlock_remedy(MEMLOCK_BYTES_USUAL)
    )]
    MemlockLow(u64),
    /// Other processes of this user have locked all the memory that `RLIMIT_MEMLOCK` allows. Contains the limit in
    /// bytes.
    #[error(
        "no locked memory is left: the limit is {} KiB, and other processes of this user hold it: end them, or raise \
         it: {}",
        .0 / 1024, memlock_remedy(.0.saturating_mul(2).max(MEMLOCK_BYTES_USUAL))
    )]
    MemlockTaken(u64),
    /// Any other kernel error.
    #[error("io_uring cannot be set up: {0}")]
    Other(io::Error),
}

fn why_absent(release: &str) -> String {
    if is_recent(release) {
        format!(
            ", though Linux 6.1 and newer support it: a seccomp filter hides it, or the kernel was built without \
             CONFIG_IO_URING. In a container: {PROFILE}"
        )
    } else {
        ": expected Linux 6.1 or newer with CONFIG_IO_URING; gVisor and WSL1 do not support it: update the kernel, \
         or use another runtime (runc or crun, WSL2)"
            .into()
    }
}

const PROFILE: &str = "run it with the profile that allows it: `heliograph seccomp-profile > seccomp.json`, then \
                       `--security-opt seccomp=seccomp.json`";

/// Sets up and drops a small ring with every feature that [`Ring`](crate::Ring) needs. Must be called before any
/// executor starts. If this returns an error, starting an executor would abort the process.
pub fn probe() -> Result<(), Unsupported> {
    let limit = memlock();
    if let Some(limit) = limit.filter(|&limit| limit < MEMLOCK_BYTES_MIN) {
        return Err(Unsupported::MemlockLow(limit));
    }
    let explain = |error| explain(error, limit, &KernelRelease::of_this_process());
    let io = builder(8).build(4).map_err(explain)?;
    let pool = Pool::register(&io, 2, 64).map_err(explain)?;
    drop(io);
    drop(pool);
    Ok(())
}

struct KernelRelease {
    release: String,
    /// The value of `kernel.io_uring_disabled`, or 0 if the kernel does not have this setting.
    disabled: u8,
}

impl KernelRelease {
    fn of_this_process() -> Self {
        let read = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
            text.map(|text| text.trim().to_owned())
        };
        let disabled = read("io_uring_disabled").ok();
        Self {
            release: read("osrelease").unwrap_or_else(|_| "(unknown)".into()),
            disabled: disabled.and_then(|text| text.parse().ok()).unwrap_or(0),
        }
    }
}

fn explain(error: io::Error, limit: Option<u64>, host: &KernelRelease) -> Unsupported {
    match (error.raw_os_error(), limit) {
        (Some(libc::EPERM | libc::EACCES), _) => match host.disabled {
            0 => Unsupported::Filtered(error),
            value => Unsupported::Disabled(error, value),
        },
        (Some(libc::ENOSYS), _) => Unsupported::Absent(host.release.clone()),
        (Some(libc::EINVAL), _) if is_recent(&host.release) => {
            Unsupported::Refused(host.release.clone(), page_size())
        }
        (Some(libc::EINVAL), _) => Unsupported::KernelTooOld(host.release.clone()),
        (Some(libc::ENOMEM), Some(limit)) => Unsupported::MemlockTaken(limit),
        (Some(_) | None, _) => Unsupported::Other(error),
    }
}

fn is_recent(release: &str) -> bool {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(errno: i32, limit: Option<u64>, release: &str, disabled: u8) -> String {
        let host = KernelRelease {
            release: release.into(),
            disabled,
        };
        explain(io::Error::from_raw_os_error(errno), limit, &host).to_string()
    }

    #[test]
    fn each_obstacle_names_its_remedy() {
        let limit = Some(MEMLOCK_BYTES_MIN);
        let say = |errno| text(errno, limit, "5.15.0", 0);
        assert!(
            say(libc::EINVAL).contains("Linux 5.15.0 is too old")
                && say(libc::EINVAL).contains("6.1")
        );
        let refused = text(libc::EINVAL, limit, "6.12.95+deb13-arm64-16k", 0);
        assert!(
            refused.contains("Linux 6.12.95+deb13-arm64-16k is 6.1 or newer")
                && refused.contains(&format!("(pages of {} bytes", page_size())),
            "{refused}"
        );
        assert!(say(libc::ENOMEM).contains("prlimit --memlock=8388608"));
        let unlimited = text(libc::ENOMEM, None, "6.1.0", 0);
        assert!(!unlimited.contains("prlimit"), "{unlimited}");
        let low = Unsupported::MemlockLow(64 * 1024).to_string();
        assert!(low.contains("is 64 KiB, expected 512 KiB or more"), "{low}");
        for part in [
            "`* soft memlock 8192` and `* hard memlock 8192` in /etc/security/limits.d/",
            "prlimit --memlock=8388608",
            "LimitMEMLOCK=8192K",
        ] {
            assert!(low.contains(part), "{low}");
        }
        assert!(say(libc::EIO).contains("cannot be set up"));
    }

    #[test]
    fn who_forbids_io_uring_is_named_and_its_absence_is_no_prohibition() {
        let filtered = text(libc::EPERM, None, "6.8.0", 0);
        let (profile, other) = (
            filtered.find("--security-opt seccomp=seccomp.json"),
            filtered.find("SystemCallFilter="),
        );
        assert!(profile.is_some() && profile < other, "{filtered}");
        assert!(filtered.contains("`heliograph seccomp-profile > seccomp.json`"));
        for (value, who) in [(1, "kernel.io_uring_group"), (2, "all processes")] {
            let disabled = text(libc::EPERM, None, "6.8.0", value);
            let is = format!("kernel.io_uring_disabled is {value}");
            assert!(
                disabled.contains(&is) && disabled.contains(who),
                "{disabled}"
            );
            assert!(!disabled.contains("seccomp"), "{disabled}");
        }
        let old = text(libc::ENOSYS, None, "4.4.0-19041-Microsoft", 0);
        for part in ["kernel 4.4.0-19041-Microsoft", "6.1", "gVisor", "WSL1"] {
            assert!(old.contains(part), "{old}");
        }
        let hidden = text(libc::ENOSYS, None, "6.10.3", 0);
        assert!(
            hidden.contains("seccomp-profile") && hidden.contains("6.10.3"),
            "{hidden}"
        );
        for absent in [old, hidden] {
            assert!(
                !absent.contains("forbidden") && !absent.contains('\n'),
                "{absent}"
            );
        }
        assert!(is_recent("6.1.0-13-amd64") && is_recent("7.0") && !is_recent("6.0.19"));
        assert!(!is_recent("5.19") && !is_recent("(unknown)"));
    }

    #[test]
    fn this_machine_has_what_the_tests_need() {
        probe().unwrap();
    }
}
