//! Builds the canonical request and the string to sign for a received request.
//!
//! Source: AWS, "Create a signed AWS API request", steps 1 and 2.

use crate::sigv4::query::{Encoding, QueryPairs};
use crate::sigv4::{escape::encode_path, keys::hex, refusal::Refusal};
use crate::{http::Head, limits::HEADER_LINES, sigv4::ALGORITHM};
use memchr::memchr2;
use std::ops::Range;

pub(crate) struct Source<'a> {
    pub(crate) head: &'a Head<'a>,
    /// The method that was signed. For a token, `method` and `query` differ from those in `head`.
    pub(crate) method: &'a str,
    pub(crate) query: &'a str,
    pub(crate) signed_headers: &'a [u8],
    pub(crate) payload_hash: &'a [u8],
    pub(crate) signed_in_query: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) path: Range<usize>,
    pub(crate) query: Range<usize>,
    pub(crate) host: Range<usize>,
}

impl Source<'_> {
    /// Writes the canonical request and returns the offsets of its parts. Returns an error if `host` is not signed, or
    /// if a signed header is absent or listed twice.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        query: &mut QueryPairs,
        encoding: Encoding,
    ) -> Result<Places, Refusal> {
        out.clear();
        out.extend_from_slice(self.method.as_bytes());
        out.push(b'\n');
        let start = out.len();
        // Percent signs are encoded as well, because all services except S3 use double encoding.
        encode_path(out, self.head.path().as_bytes());
        let path = start..out.len();
        out.push(b'\n');
        let start = out.len();
        query.write(out, self.query, encoding, self.signed_in_query);
        let end = out.len();
        out.push(b'\n');
        let host = self.headers(out)?;
        out.push(b'\n');
        out.extend(self.signed_headers.iter().map(u8::to_ascii_lowercase));
        out.push(b'\n');
        out.extend_from_slice(self.payload_hash);
        let query = start..end;
        Ok(Places { path, query, host })
    }

    /// Writes the signed headers in the order in which they are listed. Returns the range of the host's value.
    fn headers(&self, out: &mut Vec<u8>) -> Result<Range<usize>, Refusal> {
        let mut host = None;
        let mut written = 0u64; // one bit per header line, which prevents duplicates and bounds the work
        for name in self.signed_headers.split(|&byte| byte == b';') {
            let mut found = false;
            for (line, (other, value)) in self.head.headers().enumerate() {
                if !other.as_bytes().eq_ignore_ascii_case(name) {
                    continue;
                }
                if written >> line & 1 == 1 {
                    return Err(Refusal::Mismatch);
                }
                written |= 1 << line;
                if found {
                    out.push(b',');
                } else {
                    out.extend(name.iter().map(u8::to_ascii_lowercase));
                    out.push(b':');
                }
                found = true;
                let start = out.len();
                folded(out, value.as_bytes());
                if name.eq_ignore_ascii_case(b"host") {
                    host = Some(start..out.len());
                }
            }
            if !found {
                return Err(Refusal::Mismatch);
            }
            out.push(b'\n');
        }
        host.ok_or(Refusal::Mismatch)
    }
}

const _: () = assert!(HEADER_LINES <= 64, "one bit of a u64 per header line");

pub(crate) fn string_to_sign(out: &mut Vec<u8>, moment: &[u8; 16], scope: &str, hash: &[u8]) {
    out.clear();
    out.extend_from_slice(ALGORITHM.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(moment);
    out.push(b'\n');
    out.extend_from_slice(scope.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(&hex(hash));
}

pub(crate) fn bare_host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            host
        }
        Some(_) | None => authority,
    }
}

fn folded(out: &mut Vec<u8>, value: &[u8]) {
    if memchr2(b' ', b'\t', value).is_none() {
        out.extend_from_slice(value);
        return;
    }
    let words = value.split(|&byte| matches!(byte, b' ' | b'\t'));
    for (place, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadLimits;

    fn headers(lines: &str, signed: &str) -> Option<String> {
        let bytes = format!("GET / HTTP/1.1\r\nHost: h:1\r\n{lines}\r\n");
        let head = Head::parse(bytes.as_bytes(), &HeadLimits::default()).unwrap();
        let source = Source {
            head: &head,
            method: "",
            query: "",
            signed_headers: signed.as_bytes(),
            payload_hash: b"",
            signed_in_query: false,
        };
        let mut out = Vec::new();
        source.headers(&mut out).ok()?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn hosts_are_bare_without_their_port() {
        for (authority, bare) in [
            ("h", "h"),
            ("h:8443", "h"),
            ("h:", "h:"),
            ("h:x", "h:x"),
            ("[::1]:8443", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(bare_host(authority), bare);
        }
    }

    #[test]
    fn headers_are_written_as_listed() {
        assert_eq!(headers("", "host").unwrap(), "host:h:1\n");
        let found = headers("B:\t2 \r\nA: 1\r\n", "host;b;a").unwrap();
        assert_eq!(found, "host:h:1\nb:2\na:1\n");
        let found = headers("B: 1\r\nc: 0\r\nb: 2\r\n", "B;Host").unwrap();
        assert_eq!(found, "b:1,2\nhost:h:1\n");
        let found = headers("B: 1  2\t \t3\r\n", "b;host").unwrap();
        assert_eq!(found, "b:1 2 3\nhost:h:1\n");
        assert_eq!(headers("B:\r\n", "b;host").unwrap(), "b:\nhost:h:1\n");
    }

    #[test]
    fn lists_that_cannot_be_right_are_refused() {
        #[rustfmt::skip] // a list
        let cases = [
            "", "b", "host;c", "host;host", "host;b;b", "host;", ";host", "host,b", "hos",
        ];
        for signed in cases {
            assert_eq!(headers("B: 1\r\n", signed), None, "{signed}");
        }
    }

    #[test]
    fn paths_are_encoded_again() {
        for (from, to) in [
            ("/", "/"),
            ("/A-b_c.d~9/", "/A-b_c.d~9/"),
            ("/a b", "/a%20b"),
            ("/%2f:", "/%252f%3A"),
            ("/é", "/%C3%A9"),
        ] {
            let mut out = Vec::new();
            encode_path(&mut out, from.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), to);
        }
    }
}
