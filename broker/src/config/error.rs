//! Errors of a configuration: place, cause, and what is allowed instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault: `FILE:LINE:COL: key = value: allowed …`, or `--flag value: allowed …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the value was written.
    pub place: ValuePlace,
    /// The key with its tables, such as `limits.payload_bytes`; empty when the file as a whole is at fault.
    pub key: String,
    /// The value as written, cut off when long; `<redacted>` for a secret.
    pub value: String,
    /// The rest of the line, such as `allowed 1 to 10`.
    pub rule: String,
}

/// Where a value was written.
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
        let mut first = true;
        let mut line = |to: &mut fmt::Formatter<'_>| {
            let is_first = std::mem::take(&mut first);
            to.write_str(if is_first { "" } else { "\n" })
        };
        for fault in &self.faults {
            line(to)?;
            let Fault {
                place,
                key,
                value,
                rule,
            } = fault;
            match place {
                ValuePlace::File { line, column } => {
                    let file = self
                        .file
                        .as_deref()
                        .unwrap_or_else(|| Path::new("configuration"));
                    write!(to, "{}:{line}:{column}: ", file.display())?;
                    if !key.is_empty() {
                        write!(to, "{key} = {value}: ")?;
                    }
                    to.write_str(rule)?;
                }
                ValuePlace::Flag(flag) => write!(to, "{flag} {value}: {rule}")?,
                ValuePlace::Default if key.is_empty() => to.write_str(rule)?,
                ValuePlace::Default => write!(to, "{key} = {value} (default): {rule}")?,
            }
        }
        for other in &self.others {
            line(to)?;
            other.fmt(to)?;
        }
        Ok(())
    }
}
