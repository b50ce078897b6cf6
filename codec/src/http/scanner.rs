//! Finds the end of a request head as its bytes arrive, in linear time.

use crate::{limits, proxy};
use memchr::memchr;

/// Limits on a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Maximum size in bytes, including the request line and the empty line at the end.
    pub head_bytes: usize,
    /// Maximum number of header lines, at most [`limits::HEADER_LINES`](crate::limits::HEADER_LINES).
    pub header_lines: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes: limits::HEAD_BYTES,
            header_lines: limits::HEADER_LINES,
        }
    }
}

/// An error in a request head. The connection is closed after the error response, since the end of the head is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// The head exceeds its size limit (status 431).
    TooLarge,
    /// The head has too many header lines (status 431).
    TooManyHeaders,
    /// The head violates RFC 9112 (status 400). The string describes the violation.
    Malformed(&'static str),
    /// A PROXY protocol header arrived on a listener that does not expect one (status 400).
    Proxied,
    /// The HTTP version is neither 1.0 nor 1.1 (RFC 9110 section 15.6.6; status 505).
    UnsupportedVersion,
    /// `Content-Length` is missing or does not determine the length of the body (RFC 9110 section 15.5.12; status 411).
    LengthRequired,
}

impl HeadError {
    /// Returns the status code of the response.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyHeaders => 431,
            Self::Malformed(_) | Self::Proxied => 400,
            Self::UnsupportedVersion => 505,
            Self::LengthRequired => 411,
        }
    }

    /// Returns the error message of the response. The message is ASCII and contains no quotes.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooLarge => "The request head is too large.",
            Self::TooManyHeaders => "The request has too many header lines.",
            Self::Malformed(what) => what,
            Self::Proxied => "This listener expects no header of the PROXY protocol.",
            Self::UnsupportedVersion => "Only HTTP/1.1 and HTTP/1.0 are supported.",
            Self::LengthRequired => "The request body needs a Content-Length.",
        }
    }
}

/// Finds the end of a request head that arrives in pieces of any size. Each connection that is waiting for a head has
/// one.
///
/// Each byte is examined once. Some errors are detected before the head is complete: a first byte that cannot start a
/// request, a line feed without a carriage return, too many lines, and too many bytes.
///
/// Invariant: the first `seen` bytes of the head have been examined and contain `lines` line terminators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScanner {
    seen: u32,
    lines: u32,
}

impl HeadScanner {
    /// Creates a scanner that is positioned at the start of a head.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: 0, lines: 0 }
    }

    /// Examines the new bytes of `so_far`, which must start with the first byte of the head. Returns the length of the
    /// head, or `None` if more bytes are needed. An empty line before the request line is part of the head. After an
    /// error, the scanner must not be used again.
    pub fn end(&mut self, so_far: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let head_bytes = limits.head_bytes.min(u32::MAX as usize);
        let within = so_far.get(..head_bytes).unwrap_or(so_far);
        if self.seen < 3 {
            check_first(within)?;
        }
        let mut at = self.seen as usize;
        while let Some(distance) = within.get(at..).and_then(|rest| memchr(b'\n', rest)) {
            let (line_end, next) = (at + distance, at + distance + 1);
            at = next;
            if !ends_with(within, line_end, b"\r") {
                return Err(HeadError::Malformed(
                    "A line ends without a carriage return.",
                ));
            }
            if line_end == 1 {
                continue; // empty line before the request line
            }
            if ends_with(within, line_end, b"\r\n\r") {
                return Ok(Some(next));
            }
            self.lines += 1;
            if self.lines as usize > limits.header_lines.min(limits::HEADER_LINES) + 1 {
                return Err(HeadError::TooManyHeaders);
            }
        }
        if so_far.len() >= head_bytes {
            return Err(HeadError::TooLarge);
        }
        self.seen = u32::try_from(within.len()).unwrap_or(u32::MAX);
        Ok(None)
    }
}

fn ends_with(bytes: &[u8], end: usize, tail: &[u8]) -> bool {
    bytes.get(..end).is_some_and(|line| line.ends_with(tail))
}

/// Rejects bytes that cannot start a request, so that a peer speaking another protocol receives an error immediately.
fn check_first(bytes: &[u8]) -> Result<(), HeadError> {
    //= https://www.rfc-editor.org/rfc/rfc9112#section-2.2
    //# In the interest of robustness, a server that is expecting to receive and parse a request-line SHOULD ignore at
    //# least one empty line (CRLF) received prior to the request-line.
    if proxy::begins(bytes) {
        return Err(HeadError::Proxied);
    }
    let request_line = match bytes {
        [b'\r', b'\n', rest @ ..] => rest,
        [b'\r'] => return Ok(()),
        other => other,
    };
    match request_line.first() {
        None => Ok(()),
        Some(0x16) => Err(HeadError::Malformed(
            "This port speaks plain HTTP, not TLS.",
        )),
        Some(byte) if is_token_byte(*byte) => Ok(()),
        Some(_) => Err(HeadError::Malformed(
            "The request does not begin with a method.",
        )),
    }
}

/// Returns whether a byte may occur in a token, such as a method, header name or connection option (RFC 9110 section
/// 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

const _: () = assert!(size_of::<HeadScanner>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 16_384,
        header_lines: 64,
    };

    /// If bytes were examined repeatedly, a head that arrives byte by byte would take time quadratic in its length.
    #[test]
    fn each_byte_is_looked_at_once() {
        for seen in 3..HEAD.len() {
            let mut scanner = HeadScanner::new();
            assert_eq!(scanner.end(&HEAD[..seen], &LIMITS), Ok(None));
            // Replaces the bytes already examined with line feeds, which the scanner would reject if it examined them
            // again.
            let mut altered = vec![b'\n'; seen];
            altered.extend_from_slice(&HEAD[seen..]);
            // Keeps the last three of these bytes, since the sequence that ends the head is four bytes long.
            let kept = seen.saturating_sub(3);
            altered[kept..seen].copy_from_slice(&HEAD[kept..seen]);
            let found = scanner.end(&altered, &LIMITS);
            assert_eq!(found, Ok(Some(HEAD.len())), "{seen}");
        }
    }

    #[test]
    fn one_empty_line_may_come_first() {
        for (text, expected) in [
            (&b"\r\nGET / HTTP/1.1\r\n\r\n"[..], Ok(Some(20))),
            (b"\r", Ok(None)),
            (b"\r\n", Ok(None)),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(FIRST)),
            (b"\nGET / HTTP/1.1\r\n\r\n", Err(FIRST)),
        ] {
            assert_eq!(HeadScanner::new().end(text, &LIMITS), expected, "{text:?}");
            let mut scanner = HeadScanner::new();
            let slow = (1..=text.len())
                .map(|upto| scanner.end(&text[..upto], &LIMITS))
                .find(|end| *end != Ok(None));
            let found = slow.unwrap_or(Ok(None)).is_ok();
            assert_eq!(found, expected.is_ok(), "{text:?}");
        }
    }

    #[test]
    fn bounds_are_exact() {
        let limits = |head_bytes, header_lines| HeadLimits {
            head_bytes,
            header_lines,
        };
        let exact = limits(HEAD.len(), 2);
        assert_eq!(HeadScanner::new().end(HEAD, &exact), Ok(Some(HEAD.len())));
        let short = limits(HEAD.len() - 1, 2);
        let found = HeadScanner::new().end(HEAD, &short);
        assert_eq!(found, Err(HeadError::TooLarge));
        let preceded = [b"\r\n", HEAD].concat();
        let room = limits(preceded.len(), 2);
        let found = HeadScanner::new().end(&preceded, &room);
        assert_eq!(found, Ok(Some(preceded.len())));
        let few = limits(HEAD.len(), 1);
        let found = HeadScanner::new().end(HEAD, &few);
        assert_eq!(found, Err(HeadError::TooManyHeaders));
        let endless = vec![b'A'; LIMITS.head_bytes];
        assert_eq!(HeadScanner::new().end(&endless[1..], &LIMITS), Ok(None));
        let found = HeadScanner::new().end(&endless, &LIMITS);
        assert_eq!(found, Err(HeadError::TooLarge));
    }

    #[test]
    fn garbage_is_refused_at_once() {
        let found = HeadScanner::new()
            .end(b"GET / HTTP/1.1\n", &LIMITS)
            .unwrap_err()
            .status();
        assert_eq!(found, 400);
        for first in [0u8, 0x16, b' ', b'\n', b'{', b'"', 0x80, 0xFF] {
            let found = HeadScanner::new()
                .end(&[first], &LIMITS)
                .unwrap_err()
                .status();
            assert_eq!(found, 400, "{first}");
        }
    }

    const FIRST: HeadError = HeadError::Malformed("The request does not begin with a method.");
}
