//! The configuration keys: for each one, the permitted values, the default, and the field of [`Settings`] that stores
//! it.

use crate::settings::value::{self, Checked, ConfigSpan};
use crate::settings::{KEYS, Profile, Rate, Settings};
use serde::Serialize;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// A configuration key: a row of [`KEYS`](crate::settings::KEYS).
#[derive(Debug)]
pub struct Key {
    /// The path of the key including its table, for example `limits.payload_bytes`.
    pub path: &'static str,
    /// The permitted values, and the field that stores them.
    pub kind: Kind,
    /// The default, in the form of a flag's value: list entries are separated by spaces. `None` if there is no default
    /// or it is determined at startup.
    pub default: Option<&'static str>,
    /// The default under the strict profile, if it differs from [`Self::default`]. Takes precedence over the default
    /// under `--dev`.
    pub strict: Option<&'static str>,
    /// The default under `--dev`, if it differs from [`Self::default`].
    pub dev: Option<&'static str>,
    /// The explanation in `deploy/broker.toml`, where it follows the range and any other defaults.
    pub doc: &'static str,
    /// The flag that overrides the key.
    pub flag: Option<Flag>,
}

/// A flag of `heliograph serve` that overrides a key.
#[derive(Debug)]
pub struct Flag {
    /// The name of the flag including the dashes, for example `--data-dir`.
    pub name: &'static str,
    /// The value's name in the help text.
    pub value: &'static str,
    /// The help text, excluding the default.
    pub help: &'static str,
    /// Describes the default if it is not a fixed value.
    pub default: &'static str,
    /// The path of another key whose flag must be given too.
    pub requires: Option<&'static str>,
}

/// The type and permitted values of a key, with functions that read and write its field. Durations are in milliseconds.
#[derive(Debug)]
pub enum Kind {
    /// A count or a size within a range.
    Number(Field<usize>, RangeInclusive<u64>),
    /// A duration within a range. May be `off` if the range starts at 0.
    Duration(Field<u64>, RangeInclusive<u64>),
    /// `true` or `false`.
    Switch(Field<bool>),
    /// A table with `rate` and `burst`, each up to [`RATE_MAX`].
    Rate(Field<Rate>),
    /// A string with its own rule. No rule accepts the empty string.
    Text {
        /// Returns the string, if it is set.
        get: fn(&Settings) -> Option<String>,
        /// Parses and stores the string.
        set: fn(&mut Settings, &str) -> Checked<()>,
    },
    /// A list of strings that must all follow the same rule.
    List {
        /// The noun for the entries in error messages, for example "channels".
        entries: &'static str,
        /// Whether the list may be empty.
        may_be_empty: bool,
        /// Returns the entries.
        get: fn(&Settings) -> Vec<String>,
        /// Parses and stores all entries. Stores none if any of them is invalid.
        set: fn(&mut Settings, &[&str]) -> Checked<()>,
    },
    /// The path of a file or directory.
    Path {
        /// Returns the path, if it is set.
        get: fn(&Settings) -> Option<&Path>,
        /// Stores the path.
        set: fn(&mut Settings, PathBuf),
    },
    /// The paths of one or more files.
    Paths {
        /// Returns the paths.
        get: fn(&Settings) -> &[PathBuf],
        /// Stores the paths.
        set: fn(&mut Settings, Vec<PathBuf>),
    },
    /// CPU numbers, given as a list or as a string such as `0-3,6`.
    Cpus {
        /// Returns the numbers.
        get: fn(&Settings) -> &[usize],
        /// Stores the numbers.
        set: fn(&mut Settings, Vec<usize>),
    },
}

/// A key's value. `/config` formats it as JSON, and everything else uses the form of a flag's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Neither a value nor a default.
    Unset,
    /// A count or a size.
    Number(usize),
    /// `true` or `false`.
    Switch(bool),
    /// A rate and its burst.
    Rate(Rate),
    /// A string, a path or a duration.
    Text(String),
    /// The entries of a list.
    List(Vec<Self>),
}

impl fmt::Display for Value {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Number(number) => number.fmt(to),
            Self::Switch(on) => on.fmt(to),
            Self::Rate(rate) if *rate == Rate::of(rate.rate) => rate.rate.fmt(to),
            Self::Rate(Rate { rate, burst }) => write!(to, "{rate}:{burst}"),
            Self::Text(text) => text.fmt(to),
            Self::List(entries) => {
                let texts: Vec<_> = entries.iter().map(ToString::to_string).collect();
                to.write_str(&texts.join(" "))
            }
        }
    }
}

/// Functions that read and write a field of [`Settings`].
#[derive(Debug)]
pub struct Field<T> {
    /// Reads the field.
    pub get: fn(&Settings) -> T,
    /// Writes the field.
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

    /// Returns the key with this path, such as `limits.payload_bytes`.
    #[must_use]
    pub fn of(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// Returns the key's table, for example `limits`; empty at the top level.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// Returns the key's name within its table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// Returns the default for a profile, with or without `--dev`.
    #[must_use]
    pub fn default_of(&self, profile: Profile, dev: bool) -> Option<&'static str> {
        match (self.strict, self.dev) {
            (Some(strict), _) if profile == Profile::Strict => Some(strict),
            (_, Some(text)) if dev => Some(text),
            (_, _) => self.default,
        }
    }

    /// Stores a value that is written like the value of a flag: as a single text, or as the entries of a list.
    ///
    /// # Errors
    /// Returns a description of the permitted values, and leaves the settings unchanged.
    pub fn put(&self, settings: &mut Settings, texts: &[&str]) -> Checked<()> {
        let text = texts.last().copied().unwrap_or_default();
        match &self.kind {
            Kind::Number(field, range) => (field.set)(settings, size(value::number(text, range)?)?),
            Kind::Duration(field, range) => {
                (field.set)(settings, value::duration(text, range.clone())?)
            }
            Kind::Switch(field) => {
                let on = text.parse().map_err(|_| "expected true, false")?;
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

    /// Returns the key's value in these settings.
    #[must_use]
    pub fn value(&self, settings: &Settings) -> Value {
        let path = |path: &Path| Value::Text(path.display().to_string());
        let list = |values: Vec<Value>| match values.is_empty() && self.default.is_none() {
            true => Value::Unset,
            false => Value::List(values),
        };
        match &self.kind {
            Kind::Number(field, _) => Value::Number((field.get)(settings)),
            Kind::Duration(field, _) => Value::Text(ConfigSpan((field.get)(settings)).to_string()),
            Kind::Switch(field) => Value::Switch((field.get)(settings)),
            Kind::Rate(field) => Value::Rate((field.get)(settings)),
            Kind::Text { get, .. } => get(settings).map_or(Value::Unset, Value::Text),
            Kind::List { get, .. } => list(get(settings).into_iter().map(Value::Text).collect()),
            Kind::Path { get, .. } => get(settings).map_or(Value::Unset, path),
            Kind::Paths { get, .. } => match get(settings) {
                [one] => path(one),
                paths => list(paths.iter().map(|one| path(one)).collect()),
            },
            Kind::Cpus { get, .. } => {
                list(get(settings).iter().copied().map(Value::Number).collect())
            }
        }
    }

    /// Returns `true` if the two settings have different values for the key.
    #[must_use]
    pub fn differs(&self, one: &Settings, other: &Settings) -> bool {
        self.value(one) != self.value(other)
    }

    /// Copies the key's value from `from` to `to`. Lists and optional keys cannot change in a running process.
    pub(crate) fn copy(&self, from: &Settings, to: &mut Settings) -> Checked<()> {
        self.put(to, &[&self.value(from).to_string()])
    }

    /// Checks that `text` is a valid value for the key or, for a list, a valid entry.
    ///
    /// # Errors
    /// Returns a description of the permitted values.
    pub fn check(&self, text: &str) -> Checked<()> {
        self.put(&mut Settings::default(), &[text])
    }
}

fn size(number: u64) -> Checked<usize> {
    usize::try_from(number).map_err(|_| format!("expected at most {}", usize::MAX))
}

/// Maximum value of a rate and of its burst.
pub const RATE_MAX: u32 = 1_000_000;
