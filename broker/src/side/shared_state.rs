//! Values shared by threads that are no shards (the main thread, the log thread, the side thread), such as the state of
//! the process.

use crate::side::read_files::Reloads;
use broker_core::readiness::Readiness;
use broker_core::settings::SettingChanges;
use broker_core::settings::Settings;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use strum::{FromRepr, IntoStaticStr, VariantArray};

#[expect(
    clippy::disallowed_types,
    reason = "held for moments, by threads that nobody's messages wait for, and by shards for a page under --lan"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// A value that several of these threads use; a clone is another way to the same.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// The value, for a moment. It is consistent after each use, so a thread that panicked spoils nothing.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// The state of the process, as `/ready` reports it.

/// One word about the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRepr, IntoStaticStr, VariantArray)]
#[repr(u8)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// Listeners do not accept yet.
    #[default]
    Starting,
    /// All is well.
    Ok,
    /// The process is about to end.
    Draining,
    /// The registry's store fails.
    StoreFailed,
}

impl Status {
    /// The word in the answers of `/live` and `/ready`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The process's status, shared between the main thread, which sets it, the side thread, which shows it, and the
/// shards, which answer probes by it.
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

/// The settings in force, which a reload replaces.
pub type Running = Shared<Arc<Settings>>;

impl Running {
    /// The settings of this moment.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock())
    }
}

/// The configuration file beside what runs; empty without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// SHA-256 of the file that is in force as a whole, in hexadecimal digits.
    pub running: Box<str>,
    /// SHA-256 of the file as it was read last.
    pub file: Box<str>,
    /// The keys in which it differs from what runs: those that a SIGHUP applies, and those that need a restart.
    pub waiting: SettingChanges,
}

impl StatusBoard {
    /// One of a process that starts with these settings.
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

    /// Sets whether the registry's store fails, which [`StatusBoard::status`] shows while all else is well. True when
    /// it was otherwise before.
    pub fn set_store_failed(&self, failed: bool) -> bool {
        self.0.readiness.set_store_failed(failed)
    }

    /// How reloads went: the main thread notes it.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.0.reloads
    }

    /// The settings in force: the main thread replaces them.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.0.running
    }

    /// The configuration file beside what runs: the main thread notes it.
    #[must_use]
    pub fn configuration(&self) -> &Shared<FileReport> {
        &self.0.configuration
    }

    /// Whether it is [`Status::Ok`], for shards.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.0.readiness.clone()
    }

    /// The status; at first [`Status::Starting`].
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
        for status in [
            Status::Starting,
            Status::Ok,
            Status::Draining,
            Status::StoreFailed,
        ] {
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
