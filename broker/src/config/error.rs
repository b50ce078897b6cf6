//! Errors of a configuration: place, cause, and what is allowed instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault: `FILE:LINE:COL: key = value: allowed …`, or `--flag value: allowed …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The place of the value.
    pub place: ValuePlace,
    /// The key with its tables, such as `limits.payload_bytes`; empty when the file as a whole is at fault.
    pub key: String,
    /// The value as written, cut off when long; `<redacted>` for a secret.
    pub value: String,
    /// The rest of the line, such as `allowed 1 to 10`.
    pub rule: String,
}

/// The place at which a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValuePlace {
    /// In the file, counted from 1; columns in characters.
    File {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// On the command line, by this flag.
    Flag(&'static str),
    /// Nowhere: the default.
    Default,
}

/// All faults of a configuration; at least one. Its display has one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    faults: Vec<Fault>,
    /// Those of files that this one names.
    others: Vec<Self>,
}

impl Fault {
    /// A fault of a text as a whole, at `place`.
    pub(crate) fn of_text(place: ValuePlace, rule: String) -> Self {
        let (key, value) = (String::new(), String::new());
        Self {
            place,
            key,
            value,
            rule,
        }
    }

    /// Whether this is about `key`, or a key of that table.
    pub(crate) fn is_of(&self, key: &str) -> bool {
        let rest = self.key.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The line that an operator reads.
    fn line(&self, file: Option<&Path>) -> String {
        let Self {
            place,
            key,
            value,
            rule,
        } = self;
        match place {
            ValuePlace::File { line, column } => {
                let file = file.unwrap_or_else(|| Path::new("configuration")).display();
                match key.as_str() {
                    "" => format!("{file}:{line}:{column}: {rule}"),
                    key => format!("{file}:{line}:{column}: {key} = {value}: {rule}"),
                }
            }
            ValuePlace::Flag(flag) => format!("{flag} {value}: {rule}"),
            ValuePlace::Default if key.is_empty() => rule.clone(),
            ValuePlace::Default => format!("{key} = {value} (default): {rule}"),
        }
    }
}

impl ConfigError {
    /// The faults of `file` and the flags, in the order of their places: file, flags, defaults.
    pub(crate) fn new(file: Option<&Path>, mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|one, other| one.place.cmp(&other.place));
        Self {
            file: file.map(Path::to_path_buf),
            faults,
            others: Vec::new(),
        }
    }

    /// The same, with the faults of other files behind.
    pub(crate) fn with(self, others: Vec<Self>) -> Self {
        Self { others, ..self }
    }

    /// The faults of the file and the flags, in the order in which they are shown.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self
            .faults
            .iter()
            .map(|fault| fault.line(self.file.as_deref()));
        let others = self.others.iter().map(ToString::to_string);
        to.write_str(&own.chain(others).collect::<Vec<_>>().join("\n"))
    }
}
