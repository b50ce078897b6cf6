//! One key of the configuration: what it may hold, the field of [`Settings`] that it sets, and its defaults.

use crate::settings::value::{self, Checked};
use crate::settings::{KEYS, Profile, Rate, Settings};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// A key of the configuration file. All of them are rows of [`KEYS`](crate::settings::KEYS).
#[derive(Debug)]
pub struct Key {
    /// With its table, such as `limits.payload_bytes`.
    pub path: &'static str,
    /// The values that it may hold, and its field.
    pub kind: Kind,
    /// As a flag would be written; entries of a list are separated by spaces. `None`: unset, or found out at start.
    pub default: Option<&'static str>,
    /// The default under the strict profile, if it differs; it also wins over that of `--dev`.
    pub strict: Option<&'static str>,
    /// The default under `--dev`, if it differs.
    pub dev: Option<&'static str>,
    /// Its explanation in `deploy/broker.toml`, after range and differing defaults.
    pub doc: &'static str,
    /// The flag that overrides it.
    pub flag: Option<Flag>,
}

/// A flag of `heliograph serve` that overrides a key.
#[derive(Debug)]
pub struct Flag {
    /// With its dashes, such as `--data-dir`.
    pub name: &'static str,
    /// The name of its value in the help.
    pub value: &'static str,
    /// The help, without the default.
    pub help: &'static str,
    /// The default in words, for a key without one.
    pub default: &'static str,
    /// The path of the key whose flag must be given as well.
    pub requires: Option<&'static str>,
}

/// The values that a key may hold, and the functions that read and write its field. Durations are in milliseconds.
#[derive(Debug)]
pub enum Kind {
    /// A count or a size in a range.
    Number(Field<usize>, RangeInclusive<u64>),
    /// A duration in a range; `off` if that begins at 0.
    Duration(Field<u64>, RangeInclusive<u64>),
    /// `true` or `false`.
    Switch(Field<bool>),
    /// A table of `rate` and `burst`, each up to [`RATE_MAX`].
    Rate(Field<Rate>),
    /// A text with a rule of its own. Every rule rejects the empty text.
    Text {
        /// The text, if set.
        get: fn(&Settings) -> Option<String>,
        /// Parses and stores it.
        set: fn(&mut Settings, &str) -> Checked<()>,
    },
    /// A list of such texts.
    List {
        /// The name of the entries.
        entries: &'static str,
        /// Whether there may be none.
        may_be_empty: bool,
        /// The entries.
        get: fn(&Settings) -> Vec<String>,
        /// Parses and stores them all, or none.
        set: fn(&mut Settings, &[&str]) -> Checked<()>,
    },
    /// The path of a file or directory.
    Path {
        /// The path, if set.
        get: fn(&Settings) -> Option<&Path>,
        /// Stores it.
        set: fn(&mut Settings, PathBuf),
    },
    /// The path of a file, or a list of them.
    Paths {
        /// The paths.
        get: fn(&Settings) -> &[PathBuf],
        /// Stores them.
        set: fn(&mut Settings, Vec<PathBuf>),
    },
    /// CPU numbers, as a list or as a text such as `0-3,6`.
    Cpus {
        /// The numbers.
        get: fn(&Settings) -> &[usize],
        /// Stores them.
        set: fn(&mut Settings, Vec<usize>),
    },
}

/// The functions that read and write a field of [`Settings`].
#[derive(Debug)]
pub struct Field<T> {
    /// Reads it.
    pub get: fn(&Settings) -> T,
    /// Writes it.
    pub set: fn(&mut Settings, T),
}

impl Key {
    pub(crate) const fn new(path: &'static str, kind: Kind) -> Self {
        Self {
            path,
            kind,
            default: None,
            strict: None,
            dev: None,
            doc: "",
            flag: None,
        }
    }

    pub(crate) const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    pub(crate) const fn strict(mut self, text: &'static str) -> Self {
        self.strict = Some(text);
        self
    }

    pub(crate) const fn dev(mut self, text: &'static str) -> Self {
        self.dev = Some(text);
        self
    }

    pub(crate) const fn doc(mut self, text: &'static str) -> Self {
        self.doc = text;
        self
    }

    pub(crate) const fn flag(mut self, flag: Flag) -> Self {
        self.flag = Some(flag);
        self
    }

    /// The key of a path, such as `limits.payload_bytes`.
    #[must_use]
    pub fn of(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// Its table, such as `limits`; empty for keys of the top.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// Its name within the table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The default under a profile, with or without `--dev`.
    #[must_use]
    pub fn default_of(&self, profile: Profile, dev: bool) -> Option<&'static str> {
        match (self.strict, self.dev) {
            (Some(strict), _) if profile == Profile::Strict => Some(strict),
            (_, Some(text)) if dev => Some(text),
            (_, _) => self.default,
        }
    }

    /// Stores a value as a flag is written: the only text, or the entries of a list.
    ///
    /// # Errors
    /// The error says what is allowed; the settings are then as before.
    pub fn put(&self, settings: &mut Settings, texts: &[&str]) -> Checked<()> {
        let text = texts.last().copied().unwrap_or_default();
        match &self.kind {
            Kind::Number(field, range) => (field.set)(settings, size(value::number(text, range)?)?),
            Kind::Duration(field, range) => {
                (field.set)(settings, value::duration(text, range.clone())?)
            }
            Kind::Switch(field) => {
                let on = text.parse().map_err(|_| "allowed true, false")?;
                (field.set)(settings, on);
            }
            Kind::Rate(field) => {
                let number = |text| -> Checked<u32> {
                    let number = value::number(text, &(0..=RATE_MAX.into()))?;
                    Ok(u32::try_from(number).unwrap_or(RATE_MAX))
                };
                let (rate, burst) = text.split_once(':').unzip();
                let mut rate = Rate::of(number(rate.unwrap_or(text))?);
                if let Some(burst) = burst {
                    rate.burst = number(burst)?;
                }
                (field.set)(settings, rate);
            }
            Kind::Text { set, .. } => set(settings, text)?,
            Kind::List { set, .. } => set(settings, texts)?,
            Kind::Path { set, .. } => set(settings, value::filled(text)?.into()),
            Kind::Paths { set, .. } => {
                let paths = texts.iter().map(|text| Ok(value::filled(text)?.into()));
                set(settings, paths.collect::<Checked<_>>()?);
            }
            Kind::Cpus { set, .. } => set(settings, value::cpus(text)?),
        }
        Ok(())
    }

    /// Whether it has another value in the one settings than in the other.
    #[must_use]
    pub fn differs(&self, one: &Settings, other: &Settings) -> bool {
        match &self.kind {
            Kind::Number(Field { get, .. }, _) => get(one) != get(other),
            Kind::Duration(Field { get, .. }, _) => get(one) != get(other),
            Kind::Switch(Field { get, .. }) => get(one) != get(other),
            Kind::Rate(Field { get, .. }) => get(one) != get(other),
            Kind::Text { get, .. } => get(one) != get(other),
            Kind::List { get, .. } => get(one) != get(other),
            Kind::Path { get, .. } => get(one) != get(other),
            Kind::Paths { get, .. } => get(one) != get(other),
            Kind::Cpus { get, .. } => get(one) != get(other),
        }
    }

    /// Gives it the value that it has in `from`. Keys that may be unset, and paths, are never applied while running.
    pub(crate) fn copy(&self, from: &Settings, to: &mut Settings) -> Checked<()> {
        match &self.kind {
            Kind::Number(field, _) => (field.set)(to, (field.get)(from)),
            Kind::Duration(field, _) => (field.set)(to, (field.get)(from)),
            Kind::Switch(field) => (field.set)(to, (field.get)(from)),
            Kind::Rate(field) => (field.set)(to, (field.get)(from)),
            Kind::Text { get, set } => set(to, &get(from).unwrap_or_default())?,
            Kind::List { .. } | Kind::Path { .. } | Kind::Paths { .. } | Kind::Cpus { .. } => {
                return Err("allowed after a restart".into());
            }
        }
        Ok(())
    }

    /// Whether `text` may be the value, or an entry of it.
    ///
    /// # Errors
    /// The error says what is allowed.
    pub fn check(&self, text: &str) -> Checked<()> {
        self.put(&mut Settings::default(), &[text])
    }
}

/// A number as a size of this machine.
fn size(number: u64) -> Checked<usize> {
    usize::try_from(number).map_err(|_| format!("allowed at most {}", usize::MAX))
}

/// The largest rate and burst.
pub const RATE_MAX: u32 = 1_000_000;
