//! The flags of `heliograph serve` that override configuration keys. They are generated from the table of keys.

use crate::config::draft::{Findings, ValuePlace};
use broker_core::settings::{Flag, KEYS, Key, Kind, Profile, Settings};
use clap::builder::{ArgPredicate, PathBufValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// The flags given on the command line, keyed by configuration path. A list's flag may have several values.
#[derive(Clone, Debug, Default)]
pub struct KeyFlags(BTreeMap<&'static str, Vec<OsString>>);

impl KeyFlags {
    pub(crate) fn of(path: &'static str, value: String) -> Self {
        Self(BTreeMap::from([(path, vec![value.into()])]))
    }

    /// Returns the value of the flag for the key at `path`. If the flag was repeated, the last value applies.
    #[must_use]
    pub fn given(&self, path: &str) -> Option<&OsStr> {
        self.0.get(path)?.last().map(OsString::as_os_str)
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.given(path)?.to_str()
    }

    pub(crate) fn apply(&self, settings: &mut Settings, findings: &mut Findings) {
        for (key, flag) in flags() {
            let Some(values) = self.0.get(key.path) else {
                continue;
            };
            findings.written(key.path, ValuePlace::Flag(flag.name));
            let texts: Vec<_> = values.iter().filter_map(|value| value.to_str()).collect();
            if let (Kind::Path { set, .. }, Some(path)) = (&key.kind, values.last()) {
                set(settings, path.into());
            } else if let Kind::Paths { set, .. } = &key.kind {
                set(settings, values.iter().map(Into::into).collect());
            } else if let Err(rule) = key.put(settings, &texts) {
                findings.fault(key.path, texts.join(" "), rule);
            }
        }
    }
}

impl Args for KeyFlags {
    fn augment_args(command: Command) -> Command {
        command.args(flags().map(|(key, flag)| argument(key, flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |key: &'static Key| {
            let raw = matches.get_raw(key.path)?;
            Some((key.path, raw.map(OsStr::to_owned).collect()))
        };
        Ok(Self(flags().filter_map(|(key, _)| values(key)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flags() -> impl Iterator<Item = (&'static Key, &'static Flag)> {
    KEYS.iter()
        .filter_map(|key| Some((key, key.flag.as_ref()?)))
}

fn argument(key: &'static Key, flag: &'static Flag) -> Arg {
    let action = match matches!(key.kind, Kind::List { .. } | Kind::Paths { .. }) {
        true => ArgAction::Append,
        false => ArgAction::Set,
    };
    let required = flag.requires.map(|path| (ArgPredicate::IsPresent, path));
    let argument = Arg::new(key.path)
        .long(flag.name.trim_start_matches("--"))
        .value_name(flag.value)
        .requires_ifs(required)
        .action(action)
        .help(format!("{} [default: {}]", flag.help, default(key, flag)));
    if let Kind::Path { .. } | Kind::Paths { .. } = key.kind {
        // Paths need not be valid UTF-8.
        return argument.value_parser(PathBufValueParser::new());
    }
    argument.value_parser(|text: &str| key.check(text).map(|()| text.to_owned()))
}

/// Formats a flag's default, and its default under `--dev` if that differs.
fn default(key: &Key, flag: &Flag) -> String {
    let of = |dev| key.default_of(Profile::Default, dev).unwrap_or_default();
    let (usual, dev) = (of(false), of(true));
    if usual.is_empty() {
        return flag.default.to_owned();
    }
    match dev.strip_prefix(usual) {
        Some("") => usual.to_owned(),
        Some(more) => format!("{usual}; with --dev also{more}"),
        None => format!("{usual}; with --dev {dev}"),
    }
}
