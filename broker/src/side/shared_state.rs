//! Values that the main, log and side threads share, such as the status of the process. Shards do not use them.

use crate::side::read_files::Reloads;
use broker_core::readiness::Readiness;
use broker_core::settings::{SettingChanges, Settings};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use strum::{FromRepr, IntoStaticStr, VariantArray};

#[expect(
    clippy::disallowed_types,
    reason = "held for moments, by threads that nobody's messages wait for, and by shards for a page under --lan"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// A value shared between threads. Clones share the value.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Locks the value. A poisoned lock is not an error, since the value is always consistent.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// The state of the process, as reported by `/ready`.

/// The status of the process, as a single word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRepr, IntoStaticStr, VariantArray)]
#[repr(u8)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// The listeners do not accept connections yet.
    #[default]
    Starting,
    /// Clients are served.
    Ok,
    /// The process is shutting down.
    Draining,
    /// The registry's store is failing.
    StoreFailed,
}

impl Status {
    /// Returns the word used in the responses of `/live` and `/ready`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The process status, which the main thread sets and the side thread shows. Shards use it to answer probes.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    status: AtomicU8,
    readiness: Readiness,
    reloads: Reloads,
    running: Running,
    configuration: Shared<FileReport>,
}

/// The current settings. Replaced on reload.
pub type Running = Shared<Arc<Settings>>;

impl Running {
    /// Returns the current settings.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock())
    }
}

/// A comparison of the configuration file with the running settings. Empty if there is no file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// The SHA-256, in hexadecimal, of the last file version whose settings were all in effect.
    pub running: Box<str>,
    /// The SHA-256, in hexadecimal, of the file as it was last read.
    pub file: Box<str>,
    /// The keys that differ from the running settings. Some are applied by a SIGHUP; others need a restart.
    pub waiting: SettingChanges,
}

impl StatusBoard {
    /// Creates the status board of a process that starts with these settings.
    #[must_use]
    pub fn of(settings: &Arc<Settings>) -> Self {
        let board = Self::default();
        *board.running().lock() = Arc::clone(settings);
        board
    }

    /// Sets the status.
    pub fn set(&self, status: Status) {
        self.0.status.store(status as u8, Ordering::Relaxed);
        self.0.readiness.set_serves(status == Status::Ok);
    }

    /// Sets whether the registry's store is failing. If so, [`StatusBoard::status`] returns [`Status::StoreFailed`]
    /// instead of [`Status::Ok`]. Returns whether the value has changed.
    pub fn set_store_failed(&self, failed: bool) -> bool {
        self.0.readiness.set_store_failed(failed)
    }

    /// Returns the results of reloads, which the main thread records.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.0.reloads
    }

    /// Returns the current settings, which the main thread replaces on a reload.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.0.running
    }

    /// Returns how the configuration file compares with the running settings. The main thread updates it.
    #[must_use]
    pub fn configuration(&self) -> &Shared<FileReport> {
        &self.0.configuration
    }

    /// Returns the handle with which shards find out whether the status is [`Status::Ok`].
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.0.readiness.clone()
    }

    /// Returns the status, which initially is [`Status::Starting`].
    #[must_use]
    pub fn status(&self) -> Status {
        let number = self.0.status.load(Ordering::Relaxed);
        let status = Status::from_repr(number).unwrap_or(Status::Starting);
        match status {
            Status::Ok if self.0.readiness.store_failed() => Status::StoreFailed,
            Status::Ok | Status::Starting | Status::Draining | Status::StoreFailed => status,
        }
    }
}

#[cfg(test)]
mod status_tests {
    use super::*;

    #[test]
    fn the_board_shows_what_was_set() {
        let board = StatusBoard::default();
        assert_eq!(board.status(), Status::Starting);
        #[rustfmt::skip] // a list
        let cases = [Status::Starting, Status::Ok, Status::Draining, Status::StoreFailed];
        for status in cases {
            board.set(status);
            assert_eq!(board.status(), status);
        }
    }

    #[test]
    fn a_store_that_fails_shows_while_all_else_is_well() {
        let board = StatusBoard::default();
        assert!(board.set_store_failed(true) && !board.set_store_failed(true));
        assert_eq!(board.status(), Status::Starting);
        board.set(Status::Ok);
        assert_eq!(board.status(), Status::StoreFailed);
        assert!(board.readiness().is_ready(), "messages are relayed");
        board.set(Status::Draining);
        assert_eq!(board.status(), Status::Draining);
        assert!(!board.readiness().is_ready());
        board.set(Status::Ok);
        assert!(board.set_store_failed(false));
        assert_eq!(board.status(), Status::Ok);
    }
}
