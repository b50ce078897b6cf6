//! The request to a running broker: `POST /backup` at its admin listener.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// An answer of 200: its body follows.
pub(super) struct Answer {
    /// What is left to read: the body, up to the end of the connection.
    pub(super) body: BufReader<TcpStream>,
    /// The data directory of the broker, if it is on this machine.
    pub(super) data_dir: Option<PathBuf>,
}

/// Asks `host`, such as `127.0.0.1:9090`, for a backup.
///
/// # Errors
/// What went wrong, with what to do.
pub(super) fn ask(host: &str, token: Option<&str>) -> Result<Answer, String> {
    let refused = |error: io::Error| {
        format!(
            "the broker at http://{host} does not answer: {error}: if none runs, copy its directory with --data-dir \
             DIR; if \
             its admin listener is elsewhere, --admin URL"
        )
    };
    let stream = connect(host).map_err(refused)?;
    let is_local = stream.peer_addr().map_err(refused)?.ip().is_loopback();
    // Version 1.0: the body is what follows, up to the end of the connection.
    let mut request = format!("POST /backup HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n");
    if let Some(token) = token {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    request.push_str("\r\n");
    (&stream).write_all(request.as_bytes()).map_err(refused)?;
    let mut body = BufReader::with_capacity(64 * 1024, stream);
    let head = head(&mut body).map_err(refused)?;
    let status = head.first().and_then(|line| line.split(' ').nth(1));
    if status != Some("200") {
        let mut text = String::new();
        let _ = body.take(REFUSAL_BYTES_MAX).read_to_string(&mut text);
        let status = status.unwrap_or("no status");
        return Err(format!(
            "the broker at http://{host} refuses: {status}: {}",
            text.trim()
        ));
    }
    let data_dir = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(crate::side::DATA_DIR_HEADER)
            .then(|| value.trim().into())
    });
    Ok(Answer {
        body,
        data_dir: data_dir.filter(|_| is_local),
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
/// What is shown of a refusal.
const REFUSAL_BYTES_MAX: u64 = 4 * 1024;
