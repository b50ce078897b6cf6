//! Scenario files, which list the flags of a run as TOML and may contain comments.
//!
//! A key is the name of a flag, with `_` or `-` between words. A value is the flag's value, or `true` for a flag that
//! takes none. Flags from the file are inserted before those on the command line, so the command line overrides them.

use clap::{ArgAction, Command, CommandFactory};
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// An error in a scenario file and its position. The program exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{line}:{column}: {text}")]
pub struct ScenarioError {
    line: usize,
    column: usize,
    text: String,
}

/// Converts a scenario to flags, in file order. The plan validates the values later.
///
/// # Errors
/// Returns the first error: invalid TOML, an unknown key, or a value of a type that no flag accepts.
pub fn flags(text: &str) -> Result<Vec<String>, ScenarioError> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        fault(text, at, error.message().to_owned())
    })?;
    let command = crate::options::CommandLine::command();
    let run = command.find_subcommand("run");
    let mut entries: Vec<(&Spanned<_>, &Spanned<DeValue<'_>>)> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut flags = Vec::new();
    for (key, value) in entries {
        let name = key.get_ref().to_string();
        let at = |span: std::ops::Range<usize>, what: String| fault(text, span.start, what);
        let flag = name.replace('_', "-");
        let Some(takes_value) = run.and_then(|run| takes_value(run, &flag)) else {
            let known = run.map(names).unwrap_or_default();
            return Err(at(
                key.span(),
                format!("{name}: unknown key; expected one of {known}"),
            ));
        };
        let wrong = |allowed: &str| at(value.span(), format!("{name}: expected {allowed}"));
        match (takes_value, value.get_ref()) {
            (false, DeValue::Boolean(true)) => flags.push(format!("--{flag}")),
            (false, DeValue::Boolean(false)) => {}
            (false, _) => return Err(wrong("true or false")),
            (true, DeValue::String(value)) => flags.push(format!("--{flag}={value}")),
            (true, DeValue::Integer(value)) => {
                flags.push(format!("--{flag}={}", value.to_string().replace('_', "")))
            }
            (true, DeValue::Float(value)) => {
                flags.push(format!("--{flag}={}", value.to_string().replace('_', "")))
            }
            (
                true,
                DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_),
            ) => {
                return Err(wrong("a number or a string, as the flag takes it"));
            }
        }
    }
    Ok(flags)
}

/// Returns the index of the scenario file in a command line: the first word that ends in `.toml` and is neither a flag
/// nor a flag's value.
pub(crate) fn place(words: &[String]) -> Option<usize> {
    let command = crate::options::CommandLine::command();
    let run = command.find_subcommand("run")?;
    let is_value = |place: usize| {
        let before = words
            .get(place - 1)
            .and_then(|word| word.strip_prefix("--"));
        before
            .and_then(|flag| takes_value(run, flag))
            .unwrap_or_default()
    };
    (2..words.len()).find(|&place| {
        let word = words.get(place).map_or("", String::as_str);
        word.ends_with(".toml") && !word.starts_with('-') && !is_value(place)
    })
}

fn takes_value(command: &Command, flag: &str) -> Option<bool> {
    let flag = command
        .get_arguments()
        .find(|known| known.get_long() == Some(flag))?;
    Some(matches!(
        flag.get_action(),
        ArgAction::Set | ArgAction::Append
    ))
}

fn names(command: &Command) -> String {
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let names = shown.filter_map(|flag| flag.get_long());
    names
        .map(|name| name.replace('-', "_"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn fault(text: &str, at: usize, what: String) -> ScenarioError {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    ScenarioError {
        line,
        column,
        text: what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{CommandLine, Mode};

    #[test]
    fn keys_are_flags() {
        let text = "# why\nmode = \"storm\"\nviewers_per_channel = 9\nduration = 2.5\ninsecure = true\npresign = \
                    false\nchannels = 1_000\np99_below = 0.5\n";
        let flags = flags(text).unwrap();
        #[rustfmt::skip] // a list
        let wanted = [
            "--mode=storm", "--viewers-per-channel=9", "--duration=2.5", "--insecure", "--channels=1000",
            "--p99-below=0.5",
        ];
        assert_eq!(flags, wanted);
    }

    #[test]
    fn faults_name_their_place() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("mode = \"storm\"\n\n rat = 5", "3:2", "unknown key; expected one of"),
            ("rate = [5]", "1:8", "a number or a string"),
            ("\ninsecure = 1", "2:12", "true or false"),
            ("rate = ", "1:8", ""),
            ("rate = 1\nrate = 2", "2:1", "duplicate"),
            ("[rate]", "1:1", "a number or a string"),
        ];
        for (text, place, word) in cases {
            let error = flags(text).unwrap_err().to_string();
            let fine = error.starts_with(place) && error.contains(word);
            assert!(fine, "{text:?}: {error}");
        }
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let words = ["loadgen", "run", "s.toml", "--channels", "7"].map(str::to_owned);
        let read = |_: &std::path::Path| {
            Ok("channels = 5\ntarget = \"http://127.0.0.1:1\"\nmode = \"idle\"\n".to_owned())
        };
        let crate::options::LoadCommand::Run(options) =
            CommandLine::read(words.into(), read).unwrap().command
        else {
            panic!("it is a run");
        };
        let found = (options.channels, options.mode, options.targets.join(","));
        assert_eq!(found, (7, Mode::Idle, "http://127.0.0.1:1".to_owned()));
    }

    /// Checks that every scenario in the folder parses, and that each gives a valid plan when a target is added.
    #[test]
    fn scenarios_that_are_shipped_make_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let words = [
                "loadgen".into(),
                "plan".into(),
                path.display().to_string(),
                "--target=https://127.0.0.1:1".into(),
                "--insecure".into(),
            ];
            let read = |path: &std::path::Path| std::fs::read_to_string(path);
            let mut words = words.to_vec();
            if std::fs::read_to_string(&path)
                .unwrap()
                .contains("tls_percent")
            {
                words.push("--tls-target=https://127.0.0.1:2".into());
            }
            let crate::options::LoadCommand::Plan(options) =
                CommandLine::read(words, read).unwrap().command
            else {
                panic!("it is a plan");
            };
            options
                .plan(1, |_| Some("key".into()))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            count += 1;
        }
        assert!(count >= 4);
    }
}
