//! Handling of Ctrl-C: the first one stops the run and still prints the report, the second terminates the process
//! immediately.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Installs the signal handlers. The first SIGINT or SIGTERM then only sets a flag.
///
/// # Errors
/// Returns the error reported by the kernel.
pub(crate) fn watch() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first one finds the flag down.
        flag::register_conditional_default(signal, Arc::clone(&STOPPED))?;
        flag::register(signal, Arc::clone(&STOPPED))?;
    }
    Ok(())
}

/// Whether the operator has requested a stop.
pub(crate) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Asks a child process to stop, as Ctrl-C does. The child must not have been waited for yet, so that its process id is
/// still valid.
pub(crate) fn interrupt(child: &Child) {
    // It fails when the process has ended, which is as well.
    let _ = kill_process(Pid::from_child(child), Signal::INT);
}
