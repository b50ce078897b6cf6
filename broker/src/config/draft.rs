//! A configuration as it was read, with all errors so far, those of the files that it names included.

use super::error::{ConfigError, Fault, ValuePlace};
use broker_core::settings::Settings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What flags and file amount to. Made by [`super::draft`], ended by [`Draft::finish`].
#[derive(Clone, Debug)]
pub struct Draft {
    file: Option<PathBuf>,
    /// `None` when the text is no TOML: what a broken text means cannot be known. Wrong values are replaced by
    /// defaults.
    settings: Option<Settings>,
    faults: Vec<Fault>,
    /// Where each key was written.
    places: BTreeMap<String, ValuePlace>,
}

impl Draft {
    pub(super) fn new(
        file: Option<&Path>,
        settings: Option<Settings>,
        faults: Vec<Fault>,
        places: BTreeMap<String, ValuePlace>,
    ) -> Self {
        Self {
            file: file.map(Path::to_path_buf),
            settings,
            faults,
            places,
        }
    }

    /// The settings as far as they are known, for more checks. They may be wrong: only [`Draft::finish`] gives those
    /// to run with.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// Notes that the value of `key` breaks a rule, such as `allowed a file that can be read`.
    pub fn fault(&mut self, key: &str, value: impl ToString, rule: impl Into<String>) {
        self.faults.push(Fault {
            place: self.places.get(key).cloned().unwrap_or(ValuePlace::Default),
            key: key.into(),
            value: value.to_string(),
            rule: rule.into(),
        });
    }

    /// Forgets what is wrong with other keys than those of one table. A text that is no TOML stays wrong.
    pub(crate) fn only(&mut self, table: &str) {
        self.faults.retain(|fault| {
            let rest = fault.key.strip_prefix(table);
            fault.key.is_empty()
                || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
    }

    /// The settings, when nothing is wrong with them nor with what they name: `others` are the faults of other files.
    ///
    /// # Errors
    /// Every fault.
    pub fn finish(self, others: Vec<ConfigError>) -> Result<Settings, ConfigError> {
        match self.settings {
            Some(settings) if self.faults.is_empty() && others.is_empty() => Ok(settings),
            Some(_) | None => Err(ConfigError::new(self.file.as_deref(), self.faults).with(others)),
        }
    }
}
