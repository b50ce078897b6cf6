//! For tests: what becomes of slots on this node, a line each, in a file that the environment names. The lines of all
//! nodes of a machine together show whether two of them admitted to one slot.
//!
//! ```text
//! 81234567 n1/4711 owns 17 230       it has the slot under this epoch, and loads it
//! 81234590 n1/4711 serves 17 230     every shard admits to it
//! 81234601 n1/4711 admits 17 230     a connection to one of its channels
//! 81240003 n1/4711 stops 17          nobody is admitted from here on
//! 81234599 n1/4711 valid 81242599    nobody is admitted at this moment and later, unless a later line says otherwise
//! ```
//! Moments are milliseconds of the clock that goes on while the machine sleeps, the same for all nodes of a machine.
//! Each line is one write to a file that is only appended to: lines of several threads stay whole, and none is lost
//! with the process.

use crate::failure::Failure;
use broker_core::cluster::message::Held;
use broker_core::id::Slot;
use broker_core::time::Now;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, OpenOptions};
use std::io::Write;

/// One per process. Without the variable it does nothing.
pub(crate) struct Journal(Option<(File, String)>);

impl Journal {
    /// Opens the file, if there is one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(node: &str) -> Result<Self, Failure> {
        let Some(path) = std::env::var_os(SLOT_JOURNAL) else {
            return Ok(Self(None));
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| Failure::Fatal(format!("{SLOT_JOURNAL}: {error}")))?;
        let process = format!("{node}/{}", std::process::id());
        Ok(Self(Some((file, process))))
    }

    pub(crate) fn owns(&self, held: Held) {
        self.line("owns", format_args!("{} {}", held.slot.0, held.epoch.0));
    }

    pub(crate) fn serves(&self, held: Held) {
        self.line("serves", format_args!("{} {}", held.slot.0, held.epoch.0));
    }

    pub(crate) fn admits(&self, held: Held) {
        self.line("admits", format_args!("{} {}", held.slot.0, held.epoch.0));
    }

    pub(crate) fn stops(&self, slot: Slot) {
        self.line("stops", format_args!("{}", slot.0));
    }

    pub(crate) fn valid(&self, until: Now) {
        self.line("valid", format_args!("{}", until.0));
    }

    fn line(&self, what: &str, rest: std::fmt::Arguments<'_>) {
        let Some((file, process)) = &self.0 else {
            return;
        };
        let line = format!("{} {process} {what} {rest}\n", boottime().0);
        let mut file = file;
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::error!("{SLOT_JOURNAL}: {error}");
        }
    }
}

/// The clock that goes on while the machine sleeps.
pub(crate) fn boottime() -> Now {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let milliseconds = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    Now(seconds * 1_000 + milliseconds)
}

/// In the environment: the file of the lines.
const SLOT_JOURNAL: &str = "HELIOGRAPH_SLOT_JOURNAL";
