//! Signals, descriptors and CPU time of the process.
#![expect(
    unsafe_code,
    reason = "std has no calls for signal masks, resource limits and the size of pages"
)]

use std::mem::MaybeUninit;
use std::time::Duration;
use std::{io, panic, process};

/// Blocks the signals that end or reload the server, for this thread and all that it starts: only the side thread lets
/// them in, so that no shard is interrupted.
///
/// # Errors
/// The system refuses, which it has no reason to.
pub fn block_signals() -> io::Result<()> {
    change_mask(libc::SIG_BLOCK)
}

/// Lets the signals in on this thread.
///
/// # Errors
/// As [`block_signals`].
pub(super) fn unblock_signals() -> io::Result<()> {
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

/// Lets a thread that panics end the process with exit code 1, in every build: half a server is worse than none.
pub fn end_on_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        tell(what);
        process::exit(1);
    }));
}

/// Has the kernel back this process with small pages only, from here on. A kernel that refuses costs memory only.
///
/// A huge page takes 2 MiB where one byte is touched, and an idle shard touches a few bytes in many places: with huge
/// pages resident memory is a multiple of what is in use, and above what the budgets promise.
pub fn avoid_huge_pages() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: the operation takes numbers only, and changes nothing but how memory is backed.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}

/// Raises the limit of open files to the hard one; returns what it is then.
///
/// # Errors
/// The limit cannot be read. Not being allowed to raise it is no error.
pub fn raise_descriptors() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a whole `rlimit` that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a whole `rlimit` that outlives the call.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0;
    Ok(if raised { limit.rlim_max } else { soft })
}

/// The time since the machine's start, as `CLOCK_MONOTONIC` tells it: what service managers compare with their own.
#[must_use]
pub fn monotonic() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a whole `timespec` that outlives the call. The clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The processor time, user and system, that all threads have used.
pub(super) fn cpu_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is as large as an `rusage`, which is plain numbers: zeroes are valid if the call leaves them.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let part = |time: libc::timeval| {
        let microseconds = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_usec);
        Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
    };
    part(usage.ru_utime) + part(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_used_time_and_may_open_files() {
        assert!(cpu_time() > Duration::ZERO);
        assert!(monotonic() > Duration::ZERO);
        assert!(raise_descriptors().unwrap() > 0);
        block_signals().unwrap();
        unblock_signals().unwrap();
    }
}
