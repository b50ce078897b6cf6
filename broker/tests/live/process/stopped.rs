//! A process that is stopped, and goes on.

use super::Broker;
use std::fs;
use testkit::until_true;

impl Broker {
    /// Stops every thread: the signal reaches one after the other.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        until_true("the stop of every thread", || {
            let threads = fs::read_dir(format!("/proc/{}/task", self.id())).expect("a process");
            threads.flatten().all(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                let state = stat.rsplit(") ").next().unwrap_or_default();
                state.starts_with('T')
            })
        });
    }

    /// Has it go on.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }
}
