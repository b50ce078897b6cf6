//! Failures that end the process, with their exit codes.

use std::fmt::Display;
use thiserror::Error;

/// Reason why the process ends prematurely.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// An error that the operator must correct; states what is wrong, where, and what is expected. Exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// An error of the machine or the program, with a remedy if there is one. Exit code 1.
    #[error("{0}")]
    Fatal(String),
    /// Warnings only; contains their number. Exit code 1.
    #[error("{0}")]
    Warnings(String),
    /// A second signal requested an immediate exit. Exit code 1.
    #[error("ended at once by a second signal; connections were cut off")]
    Impatience,
}

/// Result of a step that may end the process.
pub(crate) type Fallible<T> = Result<T, Failure>;

impl Failure {
    /// Creates a fatal failure from what failed and the error.
    pub(crate) fn fatal(what: &str, error: &dyn Display) -> Self {
        Self::Fatal(format!("{what}: {error}"))
    }

    /// Returns the exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Fatal(_) | Self::Warnings(_) | Self::Impatience => 1,
        }
    }
}
