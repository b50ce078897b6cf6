//! One line of what was found.

use crate::failure::Failure;
use crate::finding::{Finding, Level};
use crate::terminal::plain;

/// A finding about one thing.
pub(crate) struct Line {
    /// The thing, such as `ports`.
    pub(crate) check: &'static str,
    pub(crate) finding: Finding,
}

impl Line {
    pub(crate) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        let finding = crate::finding::ok(text);
        Self { check, finding }
    }

    pub(crate) fn warning(check: &'static str, text: impl Into<String>) -> Self {
        let finding = crate::finding::warning(text);
        Self { check, finding }
    }

    pub(crate) fn error(check: &'static str, text: impl Into<String>) -> Self {
        let finding = crate::finding::error(text);
        Self { check, finding }
    }

    /// Well, or a failure of what a start does.
    pub(crate) fn of(check: &'static str, done: Result<String, Failure>) -> Self {
        match done {
            Ok(text) => Self::ok(check, text),
            Err(failure) => Self::error(check, failure.to_string()),
        }
    }

    /// As the operator reads it.
    pub(crate) fn text(&self) -> String {
        let level = word(self.finding.level);
        let text = plain(&self.finding.text);
        format!("{level:<4}  {:<13}  {text}\n", self.check)
    }
}

/// The word for a level.
pub(crate) const fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warn",
        Level::Error => "fail",
    }
}
