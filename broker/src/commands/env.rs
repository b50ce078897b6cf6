//! `heliograph env`: prints the environment variables that clients of a running broker need, formatted for a shell, a
//! file or a CI service.

use crate::config::{EnvFlags, EnvFormat};
use crate::server::ready::NAMES;
use crate::{
    admin_client::AdminListener, failure::Failure, files::TOKEN_FILE, terminal::is_obeyed,
};
use serde_json::{Map, Value};

/// Queries the broker and returns the text to print.
///
/// # Errors
/// Fails if the broker does not answer or was not started with `--dev`.
pub fn run(flags: &EnvFlags) -> Result<String, Failure> {
    let listener = AdminListener::of(&flags.asked)?;
    let Value::Object(mut variables) = listener.get("/dev/environment")?? else {
        return Err(Failure::Fatal(format!(
            "http://{} is not the admin listener of a broker",
            listener.host
        )));
    };
    variables.retain(|name, value| is_ours(name, value));
    if let Some(path) = listener.token_file.as_deref() {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.into());
        let whole = whole.display().to_string();
        if !whole.contains(is_obeyed) {
            variables.insert(TOKEN_FILE.into(), whole.into());
        }
    }
    Ok(written(flags.format, &variables))
}

/// Returns whether a variable may be printed: its name must be known, and its value must not contain control
/// characters. This check is needed because a shell evaluates the output, and any local process could have answered on
/// the port.
fn is_ours(name: &str, value: &Value) -> bool {
    let text = value.as_str();
    NAMES.contains(&name) && text.is_some_and(|text| !text.contains(is_obeyed))
}

fn written(format: EnvFormat, variables: &Map<String, Value>) -> String {
    if format == EnvFormat::Json {
        return format!("{:#}\n", Value::Object(variables.clone()));
    }
    let line = |(name, value): (&String, &Value)| {
        let value = value.as_str().unwrap_or_default();
        match format {
            EnvFormat::Sh => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
            EnvFormat::Dotenv => format!("{name}={}\n", dotenv(value)),
            EnvFormat::Github | EnvFormat::Json => format!("{name}={value}\n"),
        }
    };
    variables.iter().map(line).collect()
}

/// Quotes a value. Uses single quotes if the value contains characters that are special in double quotes, but no single
/// quote. Otherwise, uses double quotes and escapes such characters.
fn dotenv(value: &str) -> String {
    let replaced = |c| matches!(c, '"' | '\\' | '$' | '`');
    if value.contains(replaced) && !value.contains('\'') {
        return format!("'{value}'");
    }
    let mut quoted = String::from('"');
    for c in value.chars() {
        if replaced(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_variables_that_a_broker_gives_enter_an_environment() {
        for (name, value, ours) in [
            ("AWS_REGION", Value::from("us-west-2"), true),
            ("HELIOGRAPH_ADMIN", Value::from("http://127.0.0.1:1"), true),
            ("LD_PRELOAD", Value::from("/tmp/x.so"), false),
            (TOKEN_FILE, Value::from("/etc/other.secret"), false),
            ("AWS_CONFIG_FILE", Value::from("/tmp/x"), false),
            ("A;reboot;B", Value::from("x"), false),
            ("AWS_REGION", Value::from("a\nLD_PRELOAD=x"), false),
            ("AWS_REGION", Value::from("a\u{1b}[2J"), false),
            ("AWS_REGION", Value::from("a\u{9b}2J"), false),
            ("AWS_REGION", Value::from("a\u{202e}b"), false),
            ("AWS_REGION", Value::from(7), false),
        ] {
            assert_eq!(is_ours(name, &value), ours, "{name} {value}");
        }
    }

    #[test]
    fn each_format_quotes_as_its_reader_does() {
        let variables = Map::from_iter([("A".to_owned(), Value::from("it's"))]);
        for (format, text) in [
            (EnvFormat::Sh, "export A='it'\\''s'\n"),
            (EnvFormat::Dotenv, "A=\"it's\"\n"),
            (EnvFormat::Github, "A=it's\n"),
            (EnvFormat::Json, "{\n  \"A\": \"it's\"\n}\n"),
        ] {
            assert_eq!(written(format, &variables), text);
        }
    }

    /// Shells may read a dotenv file, too (`set -a; . ./.env`), and must not execute any part of a value.
    #[test]
    fn a_file_of_variables_runs_nothing_in_a_shell() {
        for value in ["$(id)`id`\"x\\", "it's $(id) `id` \"x\" \\"] {
            let variables = Map::from_iter([("A".to_owned(), Value::from(value))]);
            let script = written(EnvFormat::Dotenv, &variables) + "printf %s \"$A\"";
            let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), value);
        }
    }
}
