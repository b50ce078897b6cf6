//! Signal handling, descriptor limits, memory and CPU time of the process.
#![expect(
    unsafe_code,
    reason = "std and rustix have no safe call for signal masks, local time and mapped code, mimalloc none for its own"
)]

use mimalloc as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::mem::MaybeUninit;
use std::time::Duration;
use std::{io, panic, process};

// `mi_collect` is linked with it

/// Blocks the signals that stop or reload the server on this thread and on all threads that it spawns. Only the side
/// thread receives these signals, so no shard is interrupted.
///
/// # Errors
/// Fails if the system call fails, which is not expected.
pub fn block_signals() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK)
}

/// Unblocks the signals on this thread.
///
/// # Errors
/// See [`block_signals`].
pub fn unblock_signals() -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK)
}

fn change_mask(how: libc::c_int) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the whole set that it is given; the other calls get that set, valid signal
    // numbers, and no place for the old mask.
    let refused = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut())
    };
    if refused == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(refused))
    }
}

/// How the process reacts to SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// Files are reloaded.
    Reloads,
    /// Files are reloaded, unless the terminal from which the process was started no longer exists; in that case, the
    /// process exits.
    EndsWithTerminal,
    /// SIGHUP has no effect, because it was ignored when the process started, as under `nohup`.
    Ignored,
}

impl Hangup {
    /// Determines how this process reacts to SIGHUP; must be called before a handler is installed. A development server
    /// started from a terminal exits with the terminal; otherwise, it would keep its ports with no easy way to stop it.
    #[must_use]
    pub fn of_process(dev: bool) -> Self {
        let on_terminal =
            io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        if !dev || !on_terminal || !terminal_opens() {
            return Self::Reloads;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if ignores_hangup(&status) {
            Self::Ignored
        } else {
            Self::EndsWithTerminal
        }
    }

    /// Whether a SIGHUP received now makes the process exit.
    pub(crate) fn ends(self) -> bool {
        self == Self::EndsWithTerminal && !terminal_opens()
    }
}

/// Whether the process has a controlling terminal that still exists.
fn terminal_opens() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether a process ignores SIGHUP according to its `/proc/PID/status`, where signal 1 is the lowest bit of the mask.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Makes a panic in any thread exit the process with code 1, in every build, since a partly running server is worse
/// than none.
pub fn end_on_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::exit(1);
    }));
}

/// Permanently disables core files, since memory contains secret keys such as session and TLS keys. Making the process
/// not "dumpable" would be safer, but would prevent the operator from seeing which ports it holds and how much memory
/// it uses.
pub fn forbid_core_files() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none); // a limit may always be lowered
}

/// Disables transparent huge pages for this process. If the kernel refuses, the only effect is that the process uses
/// more memory.
///
/// A huge page uses 2 MiB even if only one byte of it is touched, and an idle shard touches a few bytes in each of many
/// pages. With huge pages, resident memory would be many times the memory in use and exceed the budgets.
pub fn avoid_huge_pages() {
    let _ = disable_transparent_huge_pages(true);
}

/// Makes the allocator return pages to the system that have been free for longer than its purge delay. The allocator
/// itself checks for such pages only when memory is freed, which does not happen in an idle process.
pub fn give_memory_back() {
    mi_collect(false);
}

/// Unmaps the program's code, since startup or a reload executes several times as much code as normal operation needs.
/// The pages stay in the kernel's page cache and are mapped again on use, sixteen at a time.
pub(crate) fn unmap_code() {
    let here = unmap_code as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // A line is `55d0c0a00000-55d0c18a8000 r-xp …`.
    let code = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (first, end) = range.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        let range = number(first)?..number(end)?;
        (rest.starts_with("r-xp ") && range.contains(&here)).then_some(range)
    });
    if let Some(code) = code {
        let first = std::ptr::with_exposed_provenance_mut(code.start);
        // SAFETY: a whole private mapping of a file that cannot be written to, so its pages are those of the file, and
        // read the same when they come back.
        unsafe { libc::madvise(first, code.len(), libc::MADV_DONTNEED) };
    }
}

// SAFETY: mimalloc's own declaration. It may be called at any time by any thread, and takes no pointer.
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}

/// Raises the open-file limit to the hard limit and returns the resulting value. Failure to raise it is not an error.
pub(crate) fn raise_open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    count(limit)
}

/// Returns the hard limit on open files, to which startup raises the soft limit.
pub(crate) fn open_files_hard() -> usize {
    count(getrlimit(Resource::Nofile).maximum)
}

fn count(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Returns the soft limit on open files.
pub(crate) fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the time since boot according to `CLOCK_MONOTONIC`, which service managers compare with their own readings
/// of that clock.
#[must_use]
pub fn monotonic() -> Duration {
    clock(ClockId::Monotonic)
}

/// Returns the offset of local time from UTC at a given time, in seconds, according to `TZ` and `/etc/localtime`.
pub(crate) fn local_ahead_s(at_s: u64) -> i64 {
    let at = libc::time_t::try_from(at_s).unwrap_or(0);
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are of live values of their types, and zeros are a valid `tm`.
    let local = unsafe {
        libc::localtime_r(&raw const at, local.as_mut_ptr());
        local.assume_init()
    };
    local.tm_gmtoff
}

/// Returns the resident memory according to `/proc`, in bytes; 0 if `/proc` is unavailable.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Returns the total user and system CPU time used by all threads.
pub(crate) fn cpu_time() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

fn clock(id: ClockId) -> Duration {
    clock_gettime(id).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hangup_is_read_off_the_mask() {
        for (mask, ignored) in [
            ("SigIgn:\t0000000000000001\n", true),
            (
                "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(mask), ignored, "{mask:?}");
        }
        assert_eq!(Hangup::of_process(false), Hangup::Reloads);
    }

    #[test]
    fn the_process_has_used_time_and_may_open_files() {
        assert!(cpu_time() > Duration::ZERO);
        assert!(monotonic() > Duration::ZERO);
        assert!(raise_open_files() > 0);
        block_signals().unwrap();
        unblock_signals().unwrap();
    }
}
