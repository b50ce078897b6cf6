//! Failures that end the process, with their exit codes.

use std::fmt::Display;
use thiserror::Error;

/// Reason for an early end of the process.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// Error for the operator to correct. Says what is wrong, where, and what is expected. Exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// Error of the machine or the program, with a remedy if there is one. Exit code 1.
    #[error("{0}")]
    Fatal(String),
    /// Number of warnings, if there are no errors. Exit code 1.
    #[error("{0}")]
    Warnings(String),
    /// Second signal, which requests an immediate exit. Exit code 1.
    #[error("ended at once by a second signal; connections were cut off")]
    Impatience,
}

pub(crate) type Fallible<T> = Result<T, Failure>;

impl Failure {
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
