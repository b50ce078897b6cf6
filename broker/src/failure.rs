//! Failures that end the process, with their exit codes.

use std::fmt::Display;
use thiserror::Error;

/// The end of the process before its time.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The operator has something to set right: what is wrong, where, and what is allowed. Exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// The machine or the program: what is wrong, and the remedy if there is one. Exit code 1.
    #[error("{0}")]
    Fatal(String),
    /// Nothing is broken, but somebody should look: how many warnings were printed. Exit code 1.
    #[error("{0}")]
    Warnings(String),
    /// A second signal: no time for anything. Exit code 1.
    #[error("ended at once by a second signal; connections were cut off")]
    Impatience,
}

impl Failure {
    /// A fatal one: what could not be done, and why.
    pub(crate) fn fatal(what: &str, error: &dyn Display) -> Self {
        Self::Fatal(format!("{what}: {error}"))
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Fatal(_) | Self::Warnings(_) | Self::Impatience => 1,
        }
    }
}
