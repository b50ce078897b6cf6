//! Errors of a policy document, with their place.

use std::fmt;

/// The first fault of a document. Displays as `line 3, column 14: …`; quotes of the document at most a short excerpt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    line: usize,
    column: usize,
    rule: String,
}

impl PolicyError {
    /// A fault of the document as a whole.
    pub(crate) const fn whole(rule: String) -> Self {
        Self {
            line: 0,
            column: 0,
            rule,
        }
    }

    /// The line, counted from 1; 0 for the document as a whole.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column of the last byte that was read, in bytes counted from 1; 0 for the document as a whole. It is at the
    /// end of what is wrong, or just behind.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    /// The fault, and what is allowed instead.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl From<serde_json::Error> for PolicyError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let mut rule = error.to_string();
        if let Some(cut) = rule.strip_suffix(&format!(" at line {line} column {column}")) {
            rule.truncate(cut.len());
        }
        Self { line, column, rule }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(out, "line {}, column {}: ", self.line, self.column)?;
        }
        out.write_str(&self.rule)
    }
}

impl std::error::Error for PolicyError {}
