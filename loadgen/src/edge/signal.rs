//! Ctrl-C: the first asks for an end with a report, the second ends the process at once.
#![expect(unsafe_code, reason = "a signal handler is set through libc")]

use std::sync::atomic::{AtomicBool, Ordering};

static STOPPED: AtomicBool = AtomicBool::new(false);

/// From here on the first SIGINT or SIGTERM only raises a flag.
pub(super) fn watch() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: a zeroed sigaction is a valid one; the handler only stores to an atomic, which is async-signal-safe;
        // RESETHAND restores the default for the second signal.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = stop as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Whether the operator wants an end.
pub(super) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Asks a process that we started for an end, as Ctrl-C would.
pub(super) fn interrupt(pid: u32) {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return;
    };
    // SAFETY: kill takes any numbers; the process is a child of ours that was not waited for, so that its id is still its own.
    // It fails when the process has ended, which is as well.
    let _ = unsafe { libc::kill(pid, libc::SIGINT) };
}

extern "C" fn stop(_: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}
