//! HTTP/1.1 by hand, so that every byte sent is the test's own.

use crate::peer::{tcp, tcp_from};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for an answer before the test fails.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// An answer of the broker.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Names in lower case, in the order of arrival.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, as long as `Content-Length` says.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Asserts what every answer of the service has (codec/PROTOCOL.md, HTTP-4 to HTTP-6).
    pub(crate) fn assert_common(&self) -> &Self {
        let date = self
            .header("date")
            .unwrap_or_else(|| panic!("no Date in {self:?}"));
        assert!(
            date.len() == 29 && date.ends_with(" GMT"),
            "not an IMF-fixdate: {date}"
        );
        assert_eq!(
            self.header("x-amzn-requestid").map(str::len),
            Some(36),
            "request id in {self:?}"
        );
        assert_eq!(
            self.header("access-control-allow-origin"),
            Some("*"),
            "{self:?}"
        );
        assert!(
            self.header("transfer-encoding").is_none(),
            "chunked: {self:?}"
        );
        self
    }

    /// Asserts success and returns the body.
    pub(crate) fn ok(&self) -> Value {
        self.assert_common();
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        self.json()
    }

    /// Asserts an error of this status and type, in the AWS shape with a text.
    pub(crate) fn refused(&self, status: u16, kind: &str) -> String {
        self.assert_common();
        assert_eq!(self.status, status, "{self:?} {}", self.text());
        assert_eq!(
            self.header("x-amzn-errortype"),
            Some(kind),
            "{self:?} {}",
            self.text()
        );
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        let body = self.json();
        let text = body
            .get("message")
            .or_else(|| body.get("Message"))
            .and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
            .unwrap_or_else(|| panic!("no text in {body}"))
            .to_owned()
    }
}

/// One connection, kept alive.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(to: SocketAddr) -> Self {
        Self {
            stream: BufReader::new(tcp(to)),
        }
    }

    /// Connects from this address of loopback.
    pub(crate) fn open_from(source: IpAddr, to: SocketAddr) -> Self {
        Self {
            stream: BufReader::new(tcp_from(source, to)),
        }
    }

    /// The stream, and the bytes read beyond the last answer.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        let read = self.stream.buffer().to_vec();
        (self.stream.into_inner(), read)
    }

    /// Sends bytes as they are. A broker that has already closed the connection is no failure of the sender.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Says that nothing more will come.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Write);
    }

    /// Reads one answer; `None` when the broker closed the connection without one.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let (answer, is_whole) = self.answer_or_part()?;
        assert!(is_whole, "a whole body");
        Some(answer)
    }

    /// The next answer, and whether its body came before the end of the stream.
    pub(crate) fn answer_or_part(&mut self) -> Option<(Answer, bool)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line().expect("a whole head");
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("not a header: {line:?}"));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if status >= 200 && status != 204 && status != 304 {
            let length = answer
                .header("content-length")
                .and_then(|length| length.parse().ok());
            answer.body = vec![0; length.unwrap_or_else(|| panic!("no length in {answer:?}"))];
            if let Err(error) = self.stream.read_exact(&mut answer.body) {
                let has_ended = matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                );
                assert!(has_ended, "waiting for a body: {error}");
                return Some((answer, false));
            }
        }
        Some((answer, true))
    }

    /// Asserts that the broker closes the connection without another byte.
    pub(crate) fn assert_closed(&mut self) {
        match self.line() {
            None => {}
            Some(line) => panic!("bytes after the end: {line:?}"),
        }
    }

    /// Reads whatever is still sent until the broker ends the connection.
    pub(crate) fn read_to_end(&mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new()).map_err(|error| {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        });
    }

    /// A call of an operation, as a client with keep-alive makes it.
    pub(crate) fn call(&mut self, path: &str, body: &Value) -> Answer {
        self.send(&request(path, &body.to_string()));
        self.answer().expect("an answer")
    }

    /// A line without its end; `None` at the end of the stream, which may come as a reset.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("waiting for an answer: {error}"),
        }
    }
}

/// The bytes of an operation's call.
pub(crate) fn request(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: \
             {length}\r\n\r\n{body}")
        .into_bytes()
}

/// One call on a connection of its own.
pub(crate) fn call(to: SocketAddr, path: &str, body: &Value) -> Answer {
    Connection::open(to).call(path, body)
}

/// Sends bytes on a connection of their own and reads one answer.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut connection = Connection::open(to);
    connection.send(bytes);
    connection.answer().expect("an answer before the end")
}

/// A GET, for the admin listener.
pub(crate) fn get(to: SocketAddr, path: &str) -> Answer {
    get_with(to, path, "")
}

/// The same with these lines in its head.
pub(crate) fn get_with(to: SocketAddr, path: &str, lines: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{lines}\r\n");
    exchange(to, head.as_bytes())
}

/// A request with a JSON body, or none, for the admin listener.
pub(crate) fn admin(to: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    let rest = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    exchange(to, (head + &rest).as_bytes())
}

/// Creates a channel with this time to live of its messages; returns its ARN.
pub(crate) fn create(to: SocketAddr, name: &str, ttl_seconds: u32) -> String {
    let configuration = serde_json::json!({"MessageTtlSeconds": ttl_seconds});
    let wanted =
        serde_json::json!({"ChannelName": name, "SingleMasterConfiguration": configuration});
    let created = call(to, "/createSignalingChannel", &wanted).ok();
    created["ChannelARN"].as_str().expect("an ARN").to_owned()
}
