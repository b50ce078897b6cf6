//! The part of HTTP/1.1 that a signaling service needs: request heads, upgrades, query strings, and complete responses.
//!
//! [`HeadScanner`] finds the end of a head as its bytes arrive, and [`Head`] parses the complete head. [`upgrade`]
//! distinguishes WebSocket upgrades from API calls. [`respond`] and related functions write a whole response at once.

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod query;
mod response;
mod scanner;

use crate::limits::HEADER_LINES;
pub use query::{QueryError, decode, encode, pairs};
pub use response::{
    CONTINUE, DATE_BYTES, ErrorHead, Meta, ends_connection, imf_fixdate, preflight, respond,
    switching_protocols,
};
pub use scanner::{HeadError, HeadLimits, HeadScanner};
use std::mem::MaybeUninit;

// Request heads. httparse implements the grammar; this module implements the remaining rules.
//
// These rules are stricter than httparse wherever two parties could interpret the same request differently (request
// smuggling): every line must end in CR LF, lines must not be folded, no whitespace may precede a colon, and `Host` and
// `Content-Length` must be unambiguous.

/// A request head, borrowed from the received bytes.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    method: &'a str,
    target: &'a str,
    /// Offset in `target` at which the path and query start. This is 0 unless the target is in absolute form, which
    /// starts with a scheme and an authority.
    origin: usize,
    minor: u8,
    lines: [(&'a str, &'a str); HEADER_LINES],
    line_count: usize,
}

/// Length of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The request has no body.
    None,
    /// Number of bytes in the body. A length that does not fit into 64 bits saturates at `u64::MAX`, which exceeds
    /// every limit.
    Length(u64),
}

impl<'a> Head<'a> {
    /// Parses a complete head, as delimited by [`HeadScanner`]: up to and including the empty line.
    ///
    /// Header values must be UTF-8 without control characters. HTTP/1.1 requests must contain exactly one `Host`
    /// header.
    pub fn parse(bytes: &'a [u8], limits: &HeadLimits) -> Result<Self, HeadError> {
        if HeadScanner::new().end(bytes, limits)? != Some(bytes.len()) {
            return Err(HeadError::Malformed("The request head is not complete."));
        }
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let mut slots = [const { MaybeUninit::uninit() }; HEADER_LINES];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut slots) {
            Ok(httparse::Status::Complete(used)) if used == bytes.len() => {}
            Ok(_) => return Err(HeadError::Malformed("The request head is not complete.")),
            Err(error) => return Err(blame(error, bytes)),
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(HeadError::Malformed("The request line is incomplete."));
        };
        let mut head = Self {
            method,
            target,
            origin: origin(method, target)?,
            minor,
            lines: [("", ""); HEADER_LINES],
            line_count: request.headers.len(),
        };
        for (line, header) in head.lines.iter_mut().zip(request.headers.iter()) {
            let value = std::str::from_utf8(header.value);
            *line = (
                header.name,
                value.map_err(|_| HeadError::Malformed("A header value is not UTF-8."))?,
            );
        }
        head.check_host()?;
        Ok(head)
    }

    /// Returns the method, which is case-sensitive.
    #[must_use]
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// Returns the request target as sent by the client.
    #[must_use]
    pub const fn target(&self) -> &'a str {
        self.target
    }

    /// Returns the target's path, without the query. Returns `*` for `OPTIONS *`, and `/` if the target has no path.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let rest = self.target.get(self.origin..).unwrap_or_default();
        let path = rest.split_once('?').map_or(rest, |(path, _)| path);
        if path.is_empty() { "/" } else { path }
    }

    /// Returns the query: the part of the target after the first question mark. Returns `None` if the target contains
    /// no question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        let rest = self.target.get(self.origin..).unwrap_or_default();
        rest.split_once('?').map(|(_, query)| query)
    }

    /// Returns the trimmed value of the first header with this name, matched case-insensitively.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// Returns all headers in the order in which they were sent, with names unchanged and values trimmed.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.lines.iter().take(self.line_count).copied()
    }

    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns the non-empty elements of a comma-separated header, combined from all headers with this name.
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let members = self.values(name).flat_map(|value| value.split(','));
        members
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    }

    /// Returns whether the list in a header contains a word, ignoring case.
    fn lists(&self, name: &str, word: &str) -> bool {
        self.list(name)
            .any(|member| member.eq_ignore_ascii_case(word))
    }

    /// Returns the requested host and port, as sent. Returns `None` only for HTTP/1.0 requests.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        self.header("host")
    }

    const fn is_http11(&self) -> bool {
        self.minor == 1
    }

    /// Returns whether the connection stays open for another request (RFC 9112 section 9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        let says = |option: &str| self.lists("connection", option);
        !says("close") && (self.is_http11() || says("keep-alive"))
    }

    /// Returns whether the client waits for `100 Continue` before it sends the body (RFC 9110 section 10.1.1).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.is_http11() && self.lists("expect", "100-continue")
    }

    /// Returns the length of the request's body.
    ///
    /// # Errors
    /// Returns [`HeadError::LengthRequired`] if there is a transfer coding, since chunked bodies are not supported, or
    /// if a POST has no length. Returns [`HeadError::Malformed`] if there are both a transfer coding and a length, or
    /// if the length is repeated or not a valid number.
    pub fn body(&self) -> Result<Body, HeadError> {
        let mut length = None;
        for value in self.values("content-length") {
            let bytes =
                decimal(value).ok_or(HeadError::Malformed("Content-Length is not a number."))?;
            // RFC 9112 section 6.3 permits rejecting repeated lengths, even if they are equal.
            if length.is_some() {
                return Err(HeadError::Malformed("Content-Length is given twice."));
            }
            length = Some(bytes);
        }
        //= https://www.rfc-editor.org/rfc/rfc9112#section-6.1
        //# A server MAY reject a request that contains both Content-Length and Transfer-Encoding
        match (length, self.header("transfer-encoding").is_some()) {
            (Some(_), true) => Err(HeadError::Malformed(
                "Transfer-Encoding and Content-Length exclude each other.",
            )),
            (None, true) => Err(HeadError::LengthRequired),
            (Some(0), false) => Ok(Body::None),
            (Some(bytes), false) => Ok(Body::Length(bytes)),
            (None, false) if self.method == "POST" => Err(HeadError::LengthRequired),
            (None, false) => Ok(Body::None),
        }
    }

    fn check_host(&self) -> Result<(), HeadError> {
        //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
        //# A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host
        //# header field and to any request message that contains more than one Host header field line or a Host header
        //# field with an invalid field value.
        let mut hosts = self.values("host");
        let Some(host) = hosts.next() else {
            return if self.is_http11() {
                Err(HeadError::Malformed("The Host header is missing."))
            } else {
                Ok(())
            };
        };
        if hosts.next().is_some() {
            return Err(HeadError::Malformed("The Host header is given twice."));
        }
        if host.is_empty() || host.contains(['/', '?', '#', '@', '\\']) {
            return Err(HeadError::Malformed("The Host header is not a host."));
        }
        // The target and `Host` must name the same host, because the signature covers only one of them and a proxy may
        // have used the other.
        if self.origin > 0
            && let Some(authority) = self.target.get(..self.origin).and_then(authority)
            && !authority.eq_ignore_ascii_case(host)
        {
            return Err(HeadError::Malformed(
                "The request target and the Host header differ.",
            ));
        }
        Ok(())
    }
}

/// Returns the offset in a target at which the path and query start. The target must be in origin form, absolute form
/// or `*` (RFC 9112 section 3.2).
fn origin(method: &str, target: &str) -> Result<usize, HeadError> {
    if target.contains('#') {
        return Err(HeadError::Malformed("The request target has a fragment."));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(0);
    }
    let Some(authority) = authority(target) else {
        return Err(HeadError::Malformed(
            "The request target is neither a path nor a URL.",
        ));
    };
    let scheme = target.find("://").map_or(0, |colon| colon + 3);
    Ok(scheme + authority.len())
}

fn authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = ["http", "https", "ws", "wss"]
        .iter()
        .any(|name| scheme.eq_ignore_ascii_case(name));
    let authority = rest
        .split(['/', '?'])
        .next()
        .filter(|authority| !authority.is_empty())?;
    known.then_some(authority)
}

fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

fn blame(error: httparse::Error, bytes: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version if has_version(bytes) => HeadError::UnsupportedVersion,
        httparse::Error::Version => {
            HeadError::Malformed("The request line does not end with a version.")
        }
        httparse::Error::HeaderName => HeadError::Malformed("A header name is malformed."),
        httparse::Error::HeaderValue => HeadError::Malformed("A header value is malformed."),
        httparse::Error::NewLine => HeadError::Malformed("A line end is malformed."),
        httparse::Error::Status | httparse::Error::Token => {
            HeadError::Malformed("The request line is malformed.")
        }
    }
}

/// Returns whether the request line has three words, the last of which has the form `HTTP/<digit>.<digit>`.
fn has_version(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    let mut words = line
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    let blanks = line.iter().filter(|&&byte| byte == b' ').count();
    let version = words.nth(2).unwrap_or_default();
    let digits = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit());
    digits && blanks == 2
}

/// A WebSocket upgrade request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// Value of `Sec-WebSocket-Key`, already validated.
    pub key: &'a str,
    /// Whether the client offers the subprotocol `wss`, as the C SDK does. The response must then echo it, because
    /// otherwise old releases of the SDK's WebSocket library drop the connection.
    pub offers_wss: bool,
}

/// The reason why a WebSocket upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The method is not GET, or the version is not HTTP/1.1.
    NotGet,
    /// The `Connection` header does not contain `Upgrade`.
    NotConnection,
    /// `Sec-WebSocket-Version` is not 13 (RFC 6455 section 4.4). The response includes `Sec-WebSocket-Version: 13`.
    BadVersion,
    /// `Sec-WebSocket-Key` is missing.
    MissingKey,
    /// `Sec-WebSocket-Key` is duplicated or invalid.
    BadKey,
    /// The request has a body, which could be mistaken for WebSocket frames.
    Body,
}

impl UpgradeError {
    /// Returns the status code of the response.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadVersion => 426,
            Self::NotGet | Self::NotConnection | Self::MissingKey | Self::BadKey | Self::Body => {
                400
            }
        }
    }

    /// Returns the error message of the response. The message is ASCII and contains no quotes.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotGet => "A WebSocket begins with a GET request of HTTP/1.1.",
            Self::NotConnection => {
                "The Connection header of a WebSocket request must contain Upgrade."
            }
            Self::BadVersion => "The WebSocket version must be 13.",
            Self::MissingKey => "The Sec-WebSocket-Key header is missing.",
            Self::BadKey => "The Sec-WebSocket-Key header must be base64 of 16 bytes, once.",
            Self::Body => "A WebSocket request has no body.",
        }
    }
}

/// Parses a WebSocket opening handshake. Returns `None` if the request is not an upgrade. Extensions that the client
/// offers are declined by omitting them from the response (RFC 7692 section 5). `takes_key` checks the client's key:
/// see [`valid_key`](crate::ws::valid_key) and [`usable_key`](crate::ws::usable_key).
pub fn upgrade<'a>(
    head: &Head<'a>,
    takes_key: fn(&str) -> bool,
) -> Result<Option<Upgrade<'a>>, UpgradeError> {
    if !head.lists("upgrade", "websocket") {
        return Ok(None);
    }
    if head.method() != "GET" || !head.is_http11() {
        return Err(UpgradeError::NotGet);
    }
    if !head.lists("connection", "upgrade") {
        return Err(UpgradeError::NotConnection);
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# If this version does not match a version understood by the server, the server MUST abort the WebSocket handshake
    let mut versions = head.values("sec-websocket-version");
    if versions.next() != Some("13") || versions.next().is_some() {
        return Err(UpgradeError::BadVersion);
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.1
    //# The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request.
    let mut keys = head.values("sec-websocket-key");
    let key = keys.next().ok_or(UpgradeError::MissingKey)?;
    if keys.next().is_some() || !takes_key(key) {
        return Err(UpgradeError::BadKey);
    }
    if head.body() != Ok(Body::None) {
        return Err(UpgradeError::Body);
    }
    let offers_wss = head
        .list("sec-websocket-protocol")
        .any(|protocol| protocol == "wss");
    Ok(Some(Upgrade { key, offers_wss }))
}
