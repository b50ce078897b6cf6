//! Failures that terminate the process, with their exit codes.

use std::fmt::Display;
use thiserror::Error;

/// Why the process exits early.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// An error that the operator must correct. Says what is wrong, where, and what is expected. Exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// An error in the system or the program. States a remedy if there is one. Exit code 1.
    #[error("{0}")]
    Fatal(String),
    /// There are warnings but no errors. States the number of warnings. Exit code 1.
    #[error("{0}")]
    Warnings(String),
    /// A second signal asked the process to exit immediately. Exit code 1.
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
