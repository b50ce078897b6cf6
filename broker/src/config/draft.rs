//! The settings read so far, with all errors in these settings and in the files that they name. Also defines how errors
//! are displayed.

use crate::terminal::plain;
use broker_core::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Settings as read from flags and a file. Created by [`crate::config::draft`] and consumed by [`Draft::finish`].
#[derive(Clone, Debug)]
pub struct Draft {
    file: Option<PathBuf>,
    /// The settings, with defaults in place of invalid values. `None` if the configuration is not valid TOML.
    settings: Option<Settings>,
    findings: Findings,
    pub(crate) sha256: Box<str>,
}

impl Draft {
    pub(crate) fn new(file: Option<&Path>, settings: Option<Settings>, findings: Findings) -> Self {
        let file = file.map(Path::to_path_buf);
        Self {
            file,
            settings,
            findings,
            sha256: Box::default(),
        }
    }

    /// Returns the settings read so far, for further checks. They may be invalid; only [`Draft::finish`] returns valid
    /// settings.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// Records that the value of `key` breaks a rule such as `expected a readable file`.
    pub fn fault(&mut self, key: &str, value: impl ToString, rule: impl Into<String>) {
        self.findings.push(key, value, rule);
    }

    /// Returns whether any key that starts with `beginning` has a fault.
    pub(crate) fn has_faults_of(&self, beginning: &str) -> bool {
        let mut faults = self.findings.faults.iter();
        faults.any(|fault| fault.key.starts_with(beginning))
    }

    /// Discards all faults except those of `table` and TOML syntax errors.
    pub(crate) fn only(&mut self, table: &str) {
        let stays = |fault: &Fault| fault.key.is_empty() || fault.is_of(table);
        self.findings.faults.retain(stays);
    }

    /// Returns the settings, or all faults if there are any. `others` contains the faults in the files that the
    /// settings name.
    ///
    /// # Errors
    /// Returns all faults.
    pub fn finish(self, others: Vec<ConfigError>) -> Result<Settings, ConfigError> {
        let faults = self.findings.faults;
        match self.settings {
            Some(settings) if faults.is_empty() && others.is_empty() => Ok(settings),
            Some(_) | None => Err(ConfigError {
                others,
                ..ConfigError::new(self.file.as_deref(), faults)
            }),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<Fault>,
    places: BTreeMap<String, ValuePlace>,
    /// Keys whose values could not be read. Their settings have default values, and no further faults are recorded for
    /// them.
    wrong: BTreeSet<String>,
}

impl Findings {
    /// Records where the value of `key` was given. A flag takes precedence over the file.
    pub(crate) fn written(&mut self, key: &str, place: ValuePlace) {
        self.places.insert(key.into(), place);
    }

    pub(crate) fn place_of(&self, key: &str) -> ValuePlace {
        self.places.get(key).cloned().unwrap_or(ValuePlace::Default)
    }

    /// Records that the value of `key` breaks a rule. Does nothing if the value could not even be read.
    pub(crate) fn fault(&mut self, key: &str, value: impl ToString, rule: impl Into<String>) {
        if !self.wrong.contains(key) {
            self.push(key, value, rule);
        }
    }

    pub(crate) fn at_most(&mut self, key: &str, count: usize, most: usize, entries: &str) {
        if count > most {
            self.fault(
                key,
                format!("{count} {entries}"),
                format!("expected at most {most}"),
            );
        }
    }

    pub(crate) fn unreadable(&mut self, key: &str) {
        self.wrong.insert(key.into());
    }

    fn push(&mut self, key: &str, value: impl ToString, rule: impl Into<String>) {
        self.faults.push(Fault {
            place: self.place_of(key),
            key: key.into(),
            value: value.to_string(),
            rule: rule.into(),
        });
    }
}

// Configuration errors. An error states the position, the cause and the expected values.

/// A fault, displayed as `FILE:LINE:COL: key = value: expected …` or `--flag value: expected …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Position of the invalid value.
    pub place: ValuePlace,
    /// Full path of the key, such as `limits.payload_bytes`. Empty if the fault concerns the whole file.
    pub key: String,
    /// The value as written, truncated if long. A secret is replaced by `<redacted>`.
    pub value: String,
    /// The rule that the value breaks, such as `expected 1 to 10`.
    pub rule: String,
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValuePlace {
    /// In the configuration file. Lines and columns count from 1, and columns are measured in characters.
    File {
        /// Line number.
        line: usize,
        /// Column number.
        column: usize,
    },
    /// In a command-line flag.
    Flag(&'static str),
    /// Nowhere, since the key has its default value.
    Default,
}

/// All faults of a configuration, of which there is at least one. Displayed with one line per fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    faults: Vec<Fault>,
    others: Vec<Self>,
}

impl Fault {
    /// Creates the fault for a text that is not valid TOML.
    pub(crate) fn of_text(place: ValuePlace, rule: String) -> Self {
        Self {
            place,
            key: String::new(),
            value: String::new(),
            rule,
        }
    }

    /// Returns whether the fault concerns `key` or, if `key` is a table, one of its keys.
    pub(crate) fn is_of(&self, key: &str) -> bool {
        let rest = self.key.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

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
            ValuePlace::Flag(flag) if value.is_empty() => format!("{flag}: {rule}"),
            ValuePlace::Flag(flag) => format!("{flag} {value}: {rule}"),
            ValuePlace::Default if key.is_empty() => rule.clone(),
            ValuePlace::Default => format!("{key} = {value} (default): {rule}"),
        }
    }
}

impl ConfigError {
    pub(crate) fn new(file: Option<&Path>, mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|one, other| one.place.cmp(&other.place));
        Self {
            file: file.map(Path::to_path_buf),
            faults,
            others: Vec::new(),
        }
    }

    /// Returns the faults of the file and the flags, in display order.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Formats the faults for a terminal. Each fault is followed by its line of the configuration file, with a marker
    /// below the column. Omits lines that may contain a secret.
    #[must_use]
    pub fn marked(&self) -> String {
        let text = self
            .file
            .as_deref()
            .and_then(|path| fs::read_to_string(path).ok());
        let text = text.unwrap_or_default();
        let mut out = Vec::new();
        for fault in &self.faults {
            out.push(fault.line(self.file.as_deref()));
            if let ValuePlace::File { line, column } = fault.place {
                let shown = text.lines().nth(line.saturating_sub(1));
                let shown = shown.filter(|shown| !SECRETS.iter().any(|word| shown.contains(word)));
                out.extend(shown.map(|shown| mark(line, column, shown)));
            }
        }
        out.extend(self.others.iter().map(ToString::to_string));
        out.join("\n")
    }
}

/// Formats a line of the file with a marker below the given column. If the line is long, shows only the part around
/// that column.
fn mark(line: usize, column: usize, whole: &str) -> String {
    let at = column.saturating_sub(1);
    let from = if whole.chars().count() > SHOWN {
        at.saturating_sub(SHOWN / 2)
    } else {
        0
    };
    let part = |from, to: usize| {
        let chars = whole.chars().skip(from).take(to.saturating_sub(from));
        plain(&chars.collect::<String>())
    };
    let indent = " ".repeat(part(from, at).chars().count());
    format!(
        "{line:>5} | {}\n      | {indent}^",
        part(from, from + SHOWN)
    )
}

/// Maximum number of a line's characters that are shown, so that the line and its number fit a terminal's width.
const SHOWN: usize = 70;

const SECRETS: [&str; 3] = ["secret", "password", "key"];

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.faults.iter();
        let own = own.map(|fault| fault.line(self.file.as_deref()));
        let others = self.others.iter().map(ToString::to_string);
        to.write_str(&own.chain(others).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod marked_tests {
    use super::*;

    #[test]
    fn a_fault_has_its_line_with_a_mark_unless_that_may_be_a_secret() {
        let path = std::env::temp_dir().join(format!("heliograph-marked-{}", std::process::id()));
        fs::write(&path, "shards = 0\nsecret = 'x'\n").unwrap();
        let fault = |line, key: &str| Fault {
            place: ValuePlace::File { line, column: 10 },
            key: key.into(),
            value: "0".into(),
            rule: "expected 1".into(),
        };
        let error = ConfigError::new(Some(&path), vec![fault(1, "shards"), fault(2, "secret")]);
        let name = path.display();
        let wanted = format!(
            "{name}:1:10: shards = 0: expected 1\n    1 | shards = 0\n      |          ^\n{name}:2:10: secret = 0: \
             expected 1"
        );
        assert_eq!(error.marked(), wanted);
        let _ = fs::remove_file(&path);
    }

    #[test]
    fn of_a_wide_line_the_part_around_the_mark_is_shown_and_escapes_move_it() {
        let wide = format!("{}shards = 0{}", "x".repeat(200), "y".repeat(200));
        let shown = mark(7, 210, &wide);
        let [line, below] = shown.lines().collect::<Vec<_>>()[..] else {
            panic!("{shown}")
        };
        assert_eq!(line.find('0'), below.find('^'));
        assert!(line.len() < 80 && line.contains("shards = 0"), "{line}");
        assert_eq!(
            mark(1, 3, "a\u{1b}0"),
            "    1 | a\\u{1b}0\n      |        ^"
        );
    }
}
