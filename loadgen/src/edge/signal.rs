//! Ctrl-C: the first asks for an end with a report, the second ends the process at once.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From here on the first SIGINT or SIGTERM only raises a flag.
///
/// # Errors
/// The kernel's error.
pub(crate) fn watch() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first one finds the flag down.
        flag::register_conditional_default(signal, Arc::clone(&STOPPED))?;
        flag::register(signal, Arc::clone(&STOPPED))?;
    }
    Ok(())
}

/// Whether the operator wants an end.
pub(crate) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Asks a process that we started for an end, as Ctrl-C would. It must not have been waited for, so that its id is
/// still its own.
pub(crate) fn interrupt(child: &Child) {
    // It fails when the process has ended, which is as well.
    let _ = kill_process(Pid::from_child(child), Signal::INT);
}
