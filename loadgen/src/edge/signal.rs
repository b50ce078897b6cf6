//! Handles Ctrl-C. The first one stops the run, but the report is still printed. The second one terminates the process.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Installs the signal handlers. After this, the first SIGINT or SIGTERM only sets a flag.
pub(crate) fn watch() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal must find the flag unset.
        flag::register_conditional_default(signal, Arc::clone(&STOPPED))?;
        flag::register(signal, Arc::clone(&STOPPED))?;
    }
    Ok(())
}

pub(crate) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Asks a child process to stop, just like Ctrl-C. The child must not have been waited for yet.
pub(crate) fn interrupt(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::INT);
}
