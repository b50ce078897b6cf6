//! What the process is doing, as `/ready` tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// One word about the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Listeners do not accept yet.
    Starting,
    /// All is well.
    Ok,
    /// The process is about to end.
    Draining,
    /// The registry's store fails.
    StoreFailed,
}

impl Status {
    const ALL: [Self; 4] = [Self::Starting, Self::Ok, Self::Draining, Self::StoreFailed];

    /// The word in the answers of `/live` and `/ready`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Draining => "draining",
            Self::StoreFailed => "store_failed",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Starting => 0,
            Self::Ok => 1,
            Self::Draining => 2,
            Self::StoreFailed => 3,
        }
    }
}

/// The process's status, shared between the main thread, which sets it, and the side thread, which tells it.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard(Arc<AtomicU8>);

impl StatusBoard {
    /// Sets the status.
    pub fn set(&self, status: Status) {
        self.0.store(status.number(), Ordering::Relaxed);
    }

    /// The status; at first [`Status::Starting`].
    #[must_use]
    pub fn status(&self) -> Status {
        let number = self.0.load(Ordering::Relaxed);
        Status::ALL
            .into_iter()
            .find(|status| status.number() == number)
            .unwrap_or(Status::Starting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_shows_what_was_set() {
        let board = StatusBoard::default();
        assert_eq!(board.status(), Status::Starting);
        for status in Status::ALL {
            board.set(status);
            assert_eq!(board.status(), status);
        }
    }
}
