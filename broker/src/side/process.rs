//! Signals, descriptors and CPU time of the process.
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

/// Blocks the signals that end or reload the server, for this thread and all that it starts: only the side thread lets
/// them in, so that no shard is interrupted.
///
/// # Errors
/// The system refuses, which it has no reason to.
pub fn block_signals() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK)
}

/// Unblocks the signals on this thread.
///
/// # Errors
/// As [`block_signals`].
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

/// The effect of SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The files that may change are read again.
    Reloads,
    /// The same, unless the terminal that the process was started on is gone: then the process ends.
    EndsWithTerminal,
    /// None: it was ignored when the process started, as by `nohup`.
    Ignored,
}

impl Hangup {
    /// The effect for this process, before a handler is set. A development server that was started on a terminal ends
    /// with it: nobody is left who could stop it, and it would keep its ports.
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

    /// Whether a SIGHUP ends the process.
    pub(crate) fn ends(self) -> bool {
        self == Self::EndsWithTerminal && !terminal_opens()
    }
}

/// Whether the process has a controlling terminal that is there.
fn terminal_opens() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether a process ignores SIGHUP, by its `/proc/PID/status`: signal 1 is the lowest bit of the mask.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Makes a panic in any thread end the process with exit code 1, in every build: half a server is worse than none.
pub fn end_on_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::exit(1);
    }));
}

/// Forbids core files, for good: memory has secret keys, and those that sessions and TLS hang on. A process that is not
/// "dumpable" would be safer still, but would hide from its operator who holds a port, and how much memory it takes.
pub fn forbid_core_files() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none); // a limit may always be lowered
}

/// Makes the kernel back this process with small pages only, from here on. A kernel that refuses costs memory only.
///
/// A huge page takes 2 MiB where one byte is touched, and an idle shard touches a few bytes in many places: with huge
/// pages resident memory is a multiple of what is in use, and above what the budgets promise.
pub fn avoid_huge_pages() {
    let _ = disable_transparent_huge_pages(true);
}

/// Makes the allocator return pages to the system that were free for longer than its delay. It looks for them itself
/// only when it frees another, which a process without work does not do.
pub fn give_memory_back() {
    mi_collect(false);
}

/// Unmaps the program's code: a start or a reload has run several times as much of it as serving does. Its pages stay
/// in the kernel's cache of the file, from where those that are used come back, sixteen at a time.
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

/// Raises the limit of open files to the hard one; returns what it is then. Not being allowed to raise it is no error.
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

/// The hard limit of open files, to which a start raises its own.
pub(crate) fn open_files_hard() -> usize {
    count(getrlimit(Resource::Nofile).maximum)
}

fn count(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// The limit of open files.
pub(crate) fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The time since the machine's start, by `CLOCK_MONOTONIC`: what service managers compare with their own.
#[must_use]
pub fn monotonic() -> Duration {
    clock(ClockId::Monotonic)
}

/// By how many seconds local time is ahead of UTC at a moment, by `TZ` and `/etc/localtime`.
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

/// Memory in use, from `/proc`; 0 without it.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The processor time, user and system, that all threads have used.
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
