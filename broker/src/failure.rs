//! Failures that end the process, with their exit codes.

use std::fmt;

/// The end of the process before its time.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The operator has something to set right: what is wrong, where, and what is allowed. Exit code 2.
    Configuration(String),
    /// The machine or the program: what is wrong, and the remedy if there is one. Exit code 1.
    Fatal(String),
    /// A second signal: no time for anything. Exit code 1.
    Impatience,
}

impl Failure {
    /// A fatal one: what could not be done, and why.
    pub(crate) fn fatal(what: &str, error: &dyn fmt::Display) -> Self {
        Self::Fatal(format!("{what}: {error}"))
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Fatal(_) | Self::Impatience => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(text) | Self::Fatal(text) => to.write_str(text),
            Self::Impatience => {
                to.write_str("ended at once by a second signal; connections were cut off")
            }
        }
    }
}
