//! Requests of subcommands to the admin listener of a running broker.

use crate::config::AdminFlags;
use crate::server::{Failure, token};
use crate::terminal::plain;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// An answer: its head was read, its body follows.
pub(crate) struct Answer {
    /// The status, such as `200`.
    pub(crate) status: String,
    /// The head's lines, the first one included.
    head: Vec<String>,
    /// What is left to read: the body, up to the end of the connection.
    pub(crate) body: BufReader<TcpStream>,
    /// Who answered.
    pub(crate) peer: SocketAddr,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }

    /// The body as text, as far as `most` bytes.
    pub(crate) fn text(self, most: u64) -> io::Result<String> {
        let mut text = String::new();
        self.body.take(most).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// The token of `--token-file`.
///
/// # Errors
/// [`Failure::Configuration`] when the file cannot be read or holds none.
pub(crate) fn token_of(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    let read = |path: &Path| {
        token(path).map_err(|rule| {
            Failure::Configuration(format!("--token-file {}: {rule}", path.display()))
        })
    };
    Ok(file.map(read).transpose()?.map(Zeroizing::new))
}

/// An answer that is not what was asked for.
pub(crate) struct Refusal {
    host: String,
    /// The status, such as `404`.
    pub(crate) status: String,
    /// What the broker says of it, fit for a terminal.
    pub(crate) why: String,
}

impl From<Refusal> for Failure {
    fn from(it: Refusal) -> Self {
        let Refusal { host, status, why } = it;
        Self::Fatal(format!(
            "the broker at http://{host} refuses: {status}: {why}"
        ))
    }
}

/// The JSON document at `target`, or why there is none.
///
/// # Errors
/// [`Failure::Configuration`] for a token file that cannot be used, [`Failure::Fatal`] when nobody answers, or no
/// broker.
pub(crate) fn get(flags: &AdminFlags, target: &str) -> Result<Result<Value, Refusal>, Failure> {
    let host = host(&flags.admin);
    let token = token_of(flags.token_file.as_deref())?;
    let token = token.as_ref().map(|token| token.as_str());
    let answer = ask(host, "GET", target, token).map_err(|error| {
        Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}: is it running? If its admin listener is elsewhere, \
             --admin URL"
        ))
    })?;
    let found = answer.status == "200";
    let status = plain(&answer.status);
    let text = answer.text(if found {
        DOCUMENT_BYTES_MAX
    } else {
        REFUSAL_BYTES_MAX
    });
    let text = text.unwrap_or_default();
    let document = serde_json::from_str::<Value>(&text).ok();
    match document {
        Some(document) if found => Ok(Ok(document)),
        document => match document.as_ref().and_then(|it| it["error"].as_str()) {
            Some(error) => {
                let (host, why) = (host.to_owned(), plain(error.trim()));
                Ok(Err(Refusal { host, status, why }))
            }
            None => Err(Failure::Fatal(format!(
                "who listens at http://{host} does not answer as a broker does (status {status}): is --admin its admin \
                 listener?"
            ))),
        },
    }
}

/// The `HOST:PORT` of `--admin`.
pub(crate) fn host(admin: &str) -> &str {
    admin.strip_prefix("http://").unwrap_or(admin)
}

/// Asks `host`, such as `127.0.0.1:8090`, for `target`.
///
/// # Errors
/// There is no connection, or no answer.
pub(crate) fn ask(
    host: &str,
    method: &str,
    target: &str,
    token: Option<&str>,
) -> io::Result<Answer> {
    let stream = connect(host)?;
    let peer = stream.peer_addr()?;
    // Version 1.0: the body is what follows, up to the end of the connection.
    let mut request =
        format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n");
    if let Some(token) = token {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    request.push_str("\r\n");
    (&stream).write_all(request.as_bytes())?;
    let mut body = BufReader::with_capacity(64 * 1024, stream);
    let head = head(&mut body)?;
    let status = head.first().and_then(|line| line.split(' ').nth(1));
    Ok(Answer {
        status: status.unwrap_or("no status").to_owned(),
        head,
        body,
        peer,
    })
}

fn connect(host: &str) -> io::Result<TcpStream> {
    let with_port = if host
        .rsplit(']')
        .next()
        .is_some_and(|rest| rest.contains(':'))
    {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut last = io::ErrorKind::NotFound.into();
    for addr in with_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, CONNECT_MAX) {
            Ok(stream) => {
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.set_write_timeout(Some(SILENCE_MAX))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The lines of a head, without its empty one.
fn head(from: &mut BufReader<TcpStream>) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut bounded = from.take(HEAD_BYTES_MAX);
    loop {
        let mut line = String::new();
        bounded.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => return Ok(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long nothing may come: a commit under way, a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest head of an answer, in bytes: the broker's has some 200.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// Longest document: 5,000 events at some 200 bytes and their viewers, or 1,000 refusals with the longest names.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// What is shown of a refusal.
pub(crate) const REFUSAL_BYTES_MAX: u64 = 4 * 1024;
