//! `broker env`: the environment for clients of a running broker, in the form of a shell, a file or a CI service.

use crate::admin_client;
use crate::config::{EnvFlags, EnvFormat};
use crate::server::Failure;
use serde_json::{Map, Value};

/// Asks the broker; returns what is to be printed.
///
/// # Errors
/// The broker does not answer, or is not one for tests.
pub fn run(flags: &EnvFlags) -> Result<String, Failure> {
    match admin_client::get(&flags.asked, "/dev/environment")?? {
        Value::Object(variables) => Ok(written(flags.format, &variables)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Failure::Fatal(format!(
                "{} is no broker's admin listener",
                flags.asked.admin
            )))
        }
    }
}

fn written(format: EnvFormat, variables: &Map<String, Value>) -> String {
    if format == EnvFormat::Json {
        return format!("{:#}\n", Value::Object(variables.clone()));
    }
    let line = |(name, value): (&String, &Value)| {
        let value = value.as_str().unwrap_or_default();
        match format {
            EnvFormat::Sh => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
            EnvFormat::Dotenv => format!("{name}=\"{}\"\n", value.replace('"', "\\\"")),
            EnvFormat::Github | EnvFormat::Json => format!("{name}={value}\n"),
        }
    };
    variables.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
