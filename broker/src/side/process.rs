//! The process's signals, memory, CPU time and descriptor limit.
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

/// Blocks the signals that stop or reload the server, on this thread and on all threads that it spawns. Only the side
/// thread receives these signals, so shards are never interrupted.
///
/// # Errors
/// Fails if the system call fails.
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
    // SAFETY: `sigemptyset` initializes the whole set. The other calls receive that set, valid signal numbers, and a
    // null pointer for the old mask.
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
    /// Reloads files.
    Reloads,
    /// Exits if the terminal that started the process is gone, and reloads files otherwise.
    EndsWithTerminal,
    /// Does nothing, since SIGHUP was ignored when the process started, as under `nohup`.
    Ignored,
}

impl Hangup {
    /// Determines how this process reacts to SIGHUP. Must be called before a handler is installed. A development server
    /// that was started from a terminal exits when the terminal is closed. Otherwise, it would keep its ports, and
    /// there would be no easy way to stop it.
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

    pub(crate) fn ends(self) -> bool {
        self == Self::EndsWithTerminal && !terminal_opens()
    }
}

fn terminal_opens() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Returns whether a process ignores SIGHUP, given its `/proc/PID/status`. Signal 1 (SIGHUP) is the lowest bit of the
/// mask.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Makes the process exit with code 1 if any thread panics, in every build. It is better to have no server than half a
/// server.
pub fn end_on_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::exit(1);
    }));
}

/// Disables core files permanently, since memory contains session and TLS keys. Making the process non-dumpable would
/// be safer, but would hide its ports and memory from the operator.
pub fn forbid_core_files() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none); // a limit may always be lowered
}

/// Disables transparent huge pages for this process. If the kernel refuses, the process merely uses more memory.
///
/// A huge page takes 2 MiB even if only one byte of it is touched, and an idle shard touches a few bytes in each of
/// many pages. With huge pages, resident memory would be several times the memory in use, and would exceed the budgets.
pub fn avoid_huge_pages() {
    let _ = disable_transparent_huge_pages(true);
}

/// Makes the allocator return pages that have been free for longer than its purge delay. The allocator only looks for
/// such pages when memory is freed, and an idle process does not free any.
pub fn give_memory_back() {
    mi_collect(false);
}

/// Unmaps the program's code, since startup and reloads execute several times as much code as normal operation does.
/// The pages remain in the kernel's page cache, and are mapped again, sixteen at a time, when they are used.
pub(crate) fn unmap_code() {
    let here = unmap_code as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // Format of a line: `55d0c0a00000-55d0c18a8000 r-xp …`.
    let code = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (first, end) = range.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        let range = number(first)?..number(end)?;
        (rest.starts_with("r-xp ") && range.contains(&here)).then_some(range)
    });
    if let Some(code) = code {
        let first = std::ptr::with_exposed_provenance_mut(code.start);
        // SAFETY: the range is a whole private mapping of a read-only file, so its pages are identical to the file and
        // read the same when mapped again.
        unsafe { libc::madvise(first, code.len(), libc::MADV_DONTNEED) };
    }
}

// SAFETY: this is mimalloc's own declaration of the function. Any thread may call it at any time, and it takes no
// pointer.
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}

/// Raises the limit on open files to the hard limit, if the system permits it. Returns the resulting limit.
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

pub(crate) fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the time since boot according to `CLOCK_MONOTONIC`, the clock that service managers use as well.
#[must_use]
pub fn monotonic() -> Duration {
    clock(ClockId::Monotonic)
}

/// Returns the offset of local time from UTC at the time `at_s`, in seconds, according to `TZ` and `/etc/localtime`.
/// Positive east of UTC.
pub(crate) fn local_ahead_s(at_s: u64) -> i64 {
    let at = libc::time_t::try_from(at_s).unwrap_or(0);
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers point to live values of their types, and all zeros are a valid `tm`.
    let local = unsafe {
        libc::localtime_r(&raw const at, local.as_mut_ptr());
        local.assume_init()
    };
    local.tm_gmtoff
}

/// Returns the resident memory in bytes, or 0 if there is no `/proc`.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

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
