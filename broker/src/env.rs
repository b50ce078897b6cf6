//! `broker env`: the environment for clients of a running broker, in the form of a shell, a file or a CI service.

use crate::config::{EnvFlags, EnvFormat};
use crate::server::Failure;
use serde_json::{Map, Value};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Asks the broker; returns what is to be printed.
///
/// # Errors
/// The broker does not answer, or is not one for tests.
pub fn run(flags: &EnvFlags) -> Result<String, Failure> {
    let host = flags.admin.trim_start_matches("http://");
    let token = match &flags.token_file {
        None => None,
        Some(path) => Some(crate::server::token(path).map_err(|rule| {
            Failure::Configuration(format!("--token-file {}: {rule}", path.display()))
        })?),
    };
    let unanswered = |error: io::Error| {
        Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}: is it running, and its admin listener there \
             (--admin URL)?"
        ))
    };
    let (status, body) = ask(host, token.as_deref()).map_err(unanswered)?;
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    if status != "200" {
        let text = answer["error"].as_str().unwrap_or("no reason given");
        return Err(Failure::Fatal(format!(
            "the broker at http://{host} refuses: {status}: {text}"
        )));
    }
    let Value::Object(variables) = answer else {
        return Err(Failure::Fatal(format!(
            "http://{host} is no broker's admin listener"
        )));
    };
    Ok(written(flags.format, &variables))
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

/// One request, answered up to the end of the connection: the status, and the body.
fn ask(host: &str, token: Option<&str>) -> io::Result<(String, String)> {
    let last = host.rsplit(']').next().unwrap_or_default();
    let port = if last.contains(':') { "" } else { ":80" };
    let mut addresses = format!("{host}{port}").to_socket_addrs()?;
    let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let bearer = bearer.unwrap_or_default();
    write!(
        stream,
        "GET /dev/environment HTTP/1.0\r\nHost: {host}\r\n{bearer}\r\n"
    )?;
    let mut text = String::new();
    stream.take(BYTES_MAX).read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok((status.into(), body.into()))
}

/// How long the broker may be silent.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Longest answer.
const BYTES_MAX: u64 = 64 * 1024;

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
