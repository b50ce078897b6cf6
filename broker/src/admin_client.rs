//! A client for a running broker's admin listener, used by subcommands.

use crate::config::{self, AdminFlags};
use crate::files::{TOKEN_FILE, token};
use crate::{failure::Failure, terminal::plain};
use broker_core::settings::Admin;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

pub(crate) struct Answer {
    pub(crate) status: String,
    head: Vec<String>,
    /// The unread response body, which ends when the connection closes.
    pub(crate) body: BufReader<TcpStream>,
    pub(crate) peer: SocketAddr,
}

impl Answer {
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    }

    pub(crate) fn text(self, most: u64) -> io::Result<String> {
        let mut text = String::new();
        self.body.take(most).read_to_string(&mut text)?;
        Ok(text)
    }
}

pub(crate) struct Refusal {
    host: String,
    pub(crate) status: String,
    /// Why the broker refused the request, as text that is safe to print on a terminal.
    pub(crate) why: String,
}

impl From<Refusal> for Failure {
    fn from(it: Refusal) -> Self {
        let Refusal { host, status, why } = it;
        let advice = if status == "401" {
            ": name the file of its token by --token-file FILE, HELIOGRAPH_ADMIN_TOKEN_FILE or --config FILE"
        } else {
            ""
        };
        Self::Fatal(format!(
            "the broker at http://{host} refuses: {status}: {why}{advice}"
        ))
    }
}

pub(crate) struct AdminListener {
    pub(crate) host: String,
    token: Option<Zeroizing<String>>,
    pub(crate) token_file: Option<PathBuf>,
    /// Read timeout. Restarts whenever data arrives.
    silence: Duration,
}

impl AdminListener {
    /// Determines the admin listener and its token from the flags. The token comes from `--token-file`, the environment
    /// or the configuration, in this order of precedence. Fails with [`Failure::Configuration`] if the configuration or
    /// the token file cannot be used.
    pub(crate) fn of(flags: &AdminFlags) -> Result<Self, Failure> {
        let configured = flags.config.as_deref().map(configured).transpose()?;
        let host = match (&flags.admin, &configured) {
            (Some(url), _) => url.strip_prefix("http://").unwrap_or(url).to_owned(),
            (None, Some((file, admin))) => own_host(file, admin)?,
            (None, None) => DEFAULT_HOST.to_owned(),
        };
        let mut listener = Self {
            host,
            token: None,
            token_file: None,
            silence: SILENCE_MAX,
        };
        if let Some((name, path)) = token_file(flags, configured) {
            let refused = |rule| format!("{name} {}: {rule}", path.display());
            let token = token(&path).map_err(|rule| Failure::Configuration(refused(rule)))?;
            listener.token = Some(Zeroizing::new(token));
            listener.token_file = Some(path);
        }
        Ok(listener)
    }

    /// Shortens the read timeout, for requests that the broker answers immediately.
    pub(crate) fn at_once(self) -> Self {
        let silence = SILENCE_AT_ONCE;
        Self { silence, ..self }
    }

    /// Fetches the JSON document at `target`. The inner error is the broker's refusal. Fails with [`Failure::Fatal`] if
    /// nothing answers at the address, or if the peer is not a broker.
    pub(crate) fn get(&self, target: &str) -> Result<Result<Value, Refusal>, Failure> {
        self.answered(self.ask("GET", target))
    }

    pub(crate) fn post(&self, target: &str) -> Result<Result<Value, Refusal>, Failure> {
        self.answered(self.ask("POST", target))
    }

    pub(crate) fn post_json(
        &self,
        target: &str,
        body: &str,
    ) -> Result<Result<Value, Refusal>, Failure> {
        self.answered(self.send("POST", target, body))
    }

    /// Subscribes to the event stream of the given topics. Fails with [`Failure::Fatal`] if nothing answers, or if the
    /// broker refuses the request.
    pub(crate) fn events(&self, topics: &str) -> Result<Events, Failure> {
        let answer = self.ask("GET", &format!("/events?topics={topics}"));
        let answer = answer.map_err(|error| self.is_silent(&error))?;
        if answer.status != "200" {
            return Err(self.refusal(answer)?.into());
        }
        let host = self.host.clone();
        let body = answer.body;
        Ok(Events { host, body })
    }

    fn is_silent(&self, error: &io::Error) -> Failure {
        let host = &self.host;
        let advice = if error.kind() == io::ErrorKind::TimedOut {
            "its log may say why"
        } else {
            "is it running? If its admin listener is elsewhere, name it by --admin URL"
        };
        Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}: {advice}"
        ))
    }

    fn answered(&self, answer: io::Result<Answer>) -> Result<Result<Value, Refusal>, Failure> {
        let answer = answer.map_err(|error| self.is_silent(&error))?;
        if answer.status != "200" {
            return self.refusal(answer).map(Err);
        }
        let status = plain(&answer.status);
        let text = answer.text(DOCUMENT_BYTES_MAX).unwrap_or_default();
        let document = serde_json::from_str(&text);
        document.map(Ok).map_err(|_| self.is_no_broker(&status))
    }

    /// Reads the refusal from a response whose status is not 200. Fails with [`Failure::Fatal`] if the peer is not a
    /// broker.
    pub(crate) fn refusal(&self, answer: Answer) -> Result<Refusal, Failure> {
        let status = plain(&answer.status);
        let text = answer.text(REFUSAL_BYTES_MAX).unwrap_or_default();
        let document = serde_json::from_str::<Value>(&text).ok();
        match document.as_ref().and_then(|it| it["error"].as_str()) {
            Some(error) => Ok(Refusal {
                host: self.host.clone(),
                status,
                why: plain(error.trim()),
            }),
            None => Err(self.is_no_broker(&status)),
        }
    }

    fn is_no_broker(&self, status: &str) -> Failure {
        Failure::Fatal(format!(
            "the process at http://{} is not a broker (status {status}): does --admin name the admin listener of a \
             broker?",
            self.host
        ))
    }

    /// Sends a request for `target` and reads the response head. Fails if the connection cannot be established or no
    /// response arrives. After a timeout, the error is [`io::ErrorKind::TimedOut`].
    pub(crate) fn ask(&self, method: &str, target: &str) -> io::Result<Answer> {
        self.send(method, target, "")
    }

    fn send(&self, method: &str, target: &str, json: &str) -> io::Result<Answer> {
        let host = &self.host;
        let stream = connect(host)?;
        stream.set_read_timeout(Some(self.silence))?;
        stream.set_write_timeout(Some(self.silence))?;
        let peer = stream.peer_addr()?;
        // With HTTP/1.0, the end of the connection marks the end of the response body.
        let mut request = format!(
            "{method} {target} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n",
            json.len()
        );
        if !json.is_empty() {
            request.push_str("Content-Type: application/json\r\n");
        }
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {}\r\n", token.as_str()));
        }
        request.push_str("\r\n");
        (&stream).write_all(request.as_bytes())?;
        (&stream).write_all(json.as_bytes())?;
        let mut body = BufReader::with_capacity(64 * 1024, stream);
        let head = head(&mut body).map_err(|error| self.hangs(error))?;
        let status = head.first().and_then(|line| line.split(' ').nth(1));
        Ok(Answer {
            status: status.unwrap_or("no status").to_owned(),
            head,
            body,
            peer,
        })
    }

    /// Converts a read error, giving timeouts a readable message.
    fn hangs(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            return error;
        }
        let silence = self.silence.as_secs();
        let text = format!(
            "a process accepts connections there, but sent no byte for {silence} s: it hangs, or its machine is \
             overloaded"
        );
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

pub(crate) struct Events {
    host: String,
    body: BufReader<TcpStream>,
}

impl Events {
    /// Waits for the next event, and returns its name and data. Fails with [`Failure::Fatal`] when the stream ends.
    /// Also fails when a read times out, since even an idle broker periodically sends comments.
    pub(crate) fn next(&mut self) -> Result<(String, Value), Failure> {
        let host = &self.host;
        let mut name = String::new();
        loop {
            let mut line = String::new();
            let read = (&mut self.body)
                .take(DOCUMENT_BYTES_MAX)
                .read_line(&mut line);
            let failed = |why: &str| Failure::Fatal(format!("the broker at http://{host} {why}"));
            match read {
                Ok(0) => return Err(failed("exited, or closed the stream")),
                Ok(_) => {}
                Err(error) => return Err(failed(&format!("sends no more events: {error}"))),
            }
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim_end().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Ok((name, serde_json::from_str(data).unwrap_or_default()));
            }
        }
    }
}

fn token_file(
    flags: &AdminFlags,
    configured: Option<(PathBuf, Admin)>,
) -> Option<(String, PathBuf)> {
    if let Some(path) = &flags.token_file {
        return Some(("--token-file".into(), path.clone()));
    }
    if let Some(path) = std::env::var_os(TOKEN_FILE).filter(|value| !value.is_empty()) {
        return Some((format!("{TOKEN_FILE} ="), path.into()));
    }
    let (file, admin) = configured?;
    let name = format!("{}: admin.token_file =", file.display());
    admin.token_file.map(|path| (name, path))
}

fn configured(file: &Path) -> Result<(PathBuf, Admin), Failure> {
    let settings = config::draft_of(file, "admin", config::KeyFlags::default()).finish(Vec::new());
    let settings = settings.map_err(|error| Failure::Configuration(error.to_string()))?;
    Ok((file.to_owned(), settings.admin))
}

fn own_host(file: &Path, admin: &Admin) -> Result<String, Failure> {
    let Some(addr) = admin.listen else {
        return Err(Failure::Configuration(format!(
            "{}: admin.listen = off: must be an address and port for this command; or name another listener by \
             --admin URL",
            file.display()
        )));
    };
    Ok(reached(addr).to_string())
}

pub(crate) fn reached(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
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
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

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

pub(crate) const DEFAULT_HOST: &str = "127.0.0.1:8090";
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Default read timeout. Allows for a commit in progress or a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Read timeout for requests that the broker answers from memory.
const SILENCE_AT_ONCE: Duration = Duration::from_secs(5);
/// Maximum response head size in bytes. The broker's heads take about 200 bytes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// Maximum response document size in bytes. Enough for a trace with 5,000 events of about 200 bytes each plus the
/// channel's viewers, and for 1,000 refusals with the longest possible names.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
const REFUSAL_BYTES_MAX: u64 = 4 * 1024;
