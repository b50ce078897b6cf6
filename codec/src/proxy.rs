//! Client information passed on by a proxy, either in a PROXY protocol header before the client's bytes or in request
//! headers.
//!
//! Source: HAProxy, *The PROXY protocol, versions 1 & 2*, sections 2.1 and 2.2. Existing crates are not used, because
//! they either accept what the specification forbids (signed ports, lines longer than 107 bytes, any separator) or
//! reject what it permits.

use crate::http::Head;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Maximum length of a version 1 header in bytes, including the line terminator. Source: section 2.1.
pub const V1_BYTES_MAX: usize = 107;

/// Maximum accepted length of a version 2 header, in bytes: the size of the smallest TCP segment. Source: section 2.2.
pub const V2_BYTES_MAX: usize = 536;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the fixed part of a version 2 header, in bytes: the signature and the version, family and length fields.
const V2_HEAD: usize = 16;

/// A PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Address of the client. `None` if the proxy itself opened the connection, or if the address is unknown.
    pub client: Option<SocketAddr>,
    /// Length of the header, in bytes.
    pub bytes: usize,
}

/// The bytes are not a valid PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedHeader;

/// Returns whether the bytes start like a PROXY protocol header.
#[must_use]
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(V1) || bytes.starts_with(V2)
}

/// Parses the header at the start of `bytes`. Returns `None` if it is incomplete.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, MalformedHeader> {
    let agrees = |with: &[u8]| bytes.iter().zip(with).all(|(one, other)| one == other);
    if agrees(V2) {
        return binary(bytes);
    }
    if agrees(V1) {
        line(bytes)
    } else {
        Err(MalformedHeader)
    }
}

fn line(bytes: &[u8]) -> Result<Option<Header>, MalformedHeader> {
    let most = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = most.windows(2).position(|it| it == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX {
            Ok(None)
        } else {
            Err(MalformedHeader)
        };
    };
    let text = most.get(V1.len()..end).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| MalformedHeader)?;
    let mut words = text.split(' ');
    let client = match words.next() {
        Some("UNKNOWN") => None, // the rest is ignored
        Some(family @ ("TCP4" | "TCP6")) => Some(client(family == "TCP4", words)?),
        Some(_) | None => return Err(MalformedHeader),
    };
    Ok(Some(Header {
        client,
        bytes: end + 2,
    }))
}

fn client<'t>(
    four: bool,
    mut words: impl Iterator<Item = &'t str>,
) -> Result<SocketAddr, MalformedHeader> {
    let mut next = || words.next().ok_or(MalformedHeader);
    let (from, to, port, to_port) = (next()?, next()?, next()?, next()?);
    let address = |text: &str| {
        let address = text.parse::<IpAddr>().ok();
        address
            .filter(|it| it.is_ipv4() == four)
            .ok_or(MalformedHeader)
    };
    let number = |text: &str| {
        let is_plain =
            text.bytes().all(|it| it.is_ascii_digit()) && (!text.starts_with('0') || text == "0");
        text.parse::<u16>()
            .ok()
            .filter(|_| is_plain)
            .ok_or(MalformedHeader)
    };
    let (from, port) = (address(from)?, number(port)?);
    let _ = (address(to)?, number(to_port)?);
    if words.next().is_some() {
        return Err(MalformedHeader);
    }
    Ok(SocketAddr::new(from, port))
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, MalformedHeader> {
    let Some(&[command, family, high, low]) = bytes.get(V2.len()..V2_HEAD) else {
        return Ok(None);
    };
    let end = V2_HEAD + usize::from(u16::from_be_bytes([high, low]));
    if end > V2_BYTES_MAX || !matches!(command, 0x20 | 0x21) {
        return Err(MalformedHeader);
    }
    let Some(body) = bytes.get(V2_HEAD..end) else {
        return Ok(None);
    };
    let client = match (command, family) {
        (0x20, _) | (_, 0x00) => None, // LOCAL, UNSPEC
        (_, 0x11) => {
            let &[a, b, c, d, _, _, _, _, high, low, ..] =
                body.first_chunk::<12>().ok_or(MalformedHeader)?;
            let port = u16::from_be_bytes([high, low]);
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port))
        }
        (_, 0x21) => {
            let (from, rest) = body.split_first_chunk::<16>().ok_or(MalformedHeader)?;
            let &[.., high, low, _, _] = rest.first_chunk::<20>().ok_or(MalformedHeader)?;
            let port = u16::from_be_bytes([high, low]);
            Some(SocketAddr::new(Ipv6Addr::from(*from).into(), port))
        }
        _ => return Err(MalformedHeader), // not TCP
    };
    Ok(Some(Header { client, bytes: end }))
}

// Request headers to which every proxy along the way appends an entry. Clients can forge earlier entries, so the
// headers are read from the end back to the client's own entry.

/// The reason why the headers of a request do not identify its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The request contains both `X-Forwarded-For` and `Forwarded`.
    Both,
    /// A proxy appended an address that is invalid.
    Malformed,
}

impl Unclear {
    /// Returns a human-readable description of the reason.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Both => {
                "X-Forwarded-For and Forwarded are both present, and ignored: let the proxy remove one of them"
            }
            Self::Malformed => {
                "the last entry of X-Forwarded-For or Forwarded is not an address: it is ignored"
            }
        }
    }
}

/// Returns the client's address according to `X-Forwarded-For` or `Forwarded` (RFC 7239): the last address in the
/// header that does not belong to a proxy. Returns `None` if the request has neither header, or if all addresses belong
/// to proxies.
///
/// # Errors
/// Returns an error if the headers do not identify the client.
pub fn forwarded_for(
    head: &Head<'_>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, Unclear> {
    let parts = |name| head.values(name).flat_map(|line| line.split(','));
    let plain: Vec<&str> = parts("x-forwarded-for").collect();
    let named: Vec<&str> = parts("forwarded").collect();
    if !plain.is_empty() && !named.is_empty() {
        return Err(Unclear::Both);
    }
    let plain = plain.into_iter().rev().map(|text| node(text.trim()));
    let named = named.into_iter().rev().map(|text| node(for_of(text)?));
    for address in plain.chain(named) {
        let address = address.ok_or(Unclear::Malformed)?;
        if !is_proxy(address) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// Returns whether the client used TLS, according to `X-Forwarded-Proto`. Returns `None` unless the header occurs once
/// and names a known scheme.
#[must_use]
pub fn forwarded_tls(head: &Head<'_>) -> Option<bool> {
    let mut values = head.values("x-forwarded-proto");
    let value = values.next().filter(|_| values.next().is_none())?;
    let is = |schemes: [&str; 2]| schemes.iter().any(|it| value.eq_ignore_ascii_case(it));
    (is(["https", "wss"]) || is(["http", "ws"])).then(|| is(["https", "wss"]))
}

/// Returns the `for` parameter of an element of `Forwarded`. Elements are split at every comma, so a quoted comma is
/// rejected.
fn for_of(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        let quoted = value.trim().strip_prefix('"');
        let value = match quoted {
            Some(rest) => rest.strip_suffix('"')?,
            None => value.trim(),
        };
        if value.contains('"') {
            return None;
        }
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    let address = bare.unwrap_or(text).parse().ok().or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats the result of parsing as the client, or `own` if there is none, followed by the length of the header.
    /// Bytes that are not a header give `no`, and an incomplete header gives `more`.
    fn says(bytes: &[u8]) -> String {
        match parse(bytes) {
            Ok(None) => "more".into(),
            Ok(Some(Header { client, bytes })) => {
                client.map_or_else(|| format!("own {bytes}"), |it| format!("{it} {bytes}"))
            }
            Err(MalformedHeader) => "no".into(),
        }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, body].concat()
    }

    #[test]
    fn a_line_says_where_the_client_is() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\nGET", "192.0.2.7:51234 41"),
            ("PROXY TCP6 2001:db8::7 ::1 65535 0\r\n", "[2001:db8::7]:65535 36"),
            ("PROXY UNKNOWN\r\n", "own 15"),
            ("PROXY UNKNOWN 1 2 3\r\n", "own 21"),
            (&long, "own 107"),
            (&long.replacen('x', "xx", 1), "no"),
            ("", "more"),
            ("PROXY", "more"),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r", "more"),
            ("PROXYS", "no"),
            ("GET / HTTP/1.1\r\n", "no"),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\n\r\n", "no"),
            ("PROXY TCP4 2001:db8::7 ::1 1 2\r\n", "no"),
            ("PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n", "no"),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n", "no"),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n", "no"),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n", "no"),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n", "no"),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n", "no"),
            ("PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n", "no"),
            ("PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n", "no"),
            ("PROXY \r\n", "no"),
        ];
        for (line, wanted) in cases {
            assert_eq!(says(line.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn a_binary_header_says_the_same_and_its_extensions_are_skipped() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x22, 1, 0xbb];
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[33]) = (0x20, 0x01, 7, 9);
        let with_more = [&four[..], &[4, 0, 1, 0]].concat();
        for (header, wanted) in [
            (v2(0x21, 0x11, &four), "192.0.2.7:51234 28"),
            (v2(0x21, 0x11, &with_more), "192.0.2.7:51234 32"),
            (v2(0x21, 0x21, &six), "[2001::7]:9 52"),
            (v2(0x20, 0x00, &[]), "own 16"),
            (v2(0x20, 0x11, &four), "own 28"),
            (v2(0x21, 0x00, &[1, 2, 3]), "own 19"),
            (v2(0x21, 0x11, &four[..11]), "no"),
            (v2(0x21, 0x21, &six[..35]), "no"),
            (v2(0x21, 0x12, &four), "no"),
            (v2(0x21, 0x31, &[0; 216]), "no"),
            (v2(0x22, 0x11, &four), "no"),
            (v2(0x11, 0x11, &four), "no"),
            (v2(0x20, 0x00, &[0; 520]), "own 536"),
            (v2(0x20, 0x00, &[0; 521]), "no"),
        ] {
            assert_eq!(says(&header), wanted, "{header:?}");
        }
    }

    #[test]
    fn any_part_of_a_header_awaits_the_rest_and_nothing_else_is_one() {
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n".to_vec();
        let binary = v2(0x21, 0x11, &[1; 12]);
        for header in [line, binary] {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(None), "{end}");
                if end >= 12 {
                    assert!(begins(&header[..end]));
                }
                let mut other = header[..=end].to_vec();
                other[end] ^= 0x80;
                let first = end < 6 || header[0] == b'\r' && end < V2.len();
                assert!(!first || parse(&other) == Err(MalformedHeader), "{end}");
            }
        }
        assert!(!begins(b"GET / HTTP/1.1\r\n\r\n") && !begins(b"\x16\x03\x01"));
    }

    /// Applies `read` to the head of a request with these header lines.
    fn of_head<T>(lines: &str, read: impl FnOnce(&Head<'_>) -> T) -> T {
        let limits = crate::http::HeadLimits {
            head_bytes: 4096,
            header_lines: 64,
        };
        let end = if lines.is_empty() { "" } else { "\r\n" };
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}{end}\r\n");
        read(&Head::parse(text.as_bytes(), &limits).unwrap())
    }

    #[test]
    fn the_last_address_that_is_no_proxy_s_is_the_client_s() {
        #[rustfmt::skip] // a table, a case per row
        let rows = [
            ("", "own"),
            ("X-Forwarded-For: 192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: 192.0.2.9, 192.0.2.7,10.0.0.2", "192.0.2.7"),
            ("X-Forwarded-For: 192.0.2.9\r\nx-forwarded-for: 192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: what I like, 192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: 10.0.0.3, 10.0.0.2", "own"),
            ("X-Forwarded-For: 192.0.2.7:51234", "192.0.2.7"),
            ("X-Forwarded-For: ::ffff:192.0.2.7", "192.0.2.7"),
            ("X-Forwarded-For: 2001:db8::7", "2001:db8::7"),
            ("X-Forwarded-For: [2001:db8::7]:443, [::ffff:10.0.0.1]", "2001:db8::7"),
            ("X-Forwarded-For: 192.0.2.7, unknown", "Malformed"),
            ("X-Forwarded-For: 192.0.2.7,", "Malformed"),
            ("X-Forwarded-For: 192.0.2.7 10.0.0.2", "Malformed"),
            ("X-Forwarded-For: \"192.0.2.7\"", "Malformed"),
            ("Forwarded: for=192.0.2.7;proto=https;by=10.0.0.1", "192.0.2.7"),
            ("Forwarded: For=\"[2001:db8::7]:4711\", for=10.0.0.2", "2001:db8::7"),
            ("Forwarded: for=192.0.2.9, for=_hidden", "Malformed"),
            ("Forwarded: proto=https", "Malformed"),
            ("Forwarded: for=192.0.2.7;host=\"x, for=192.0.2.9\"", "Malformed"),
            ("Forwarded: for=192.0.2.7;host=\"x,for=192.0.2.9;a=b\"", "Malformed"),
            ("Forwarded: for=\"192.0.2.9, for=192.0.2.7", "192.0.2.7"),
            ("Forwarded: for=192.0.2.9;for=192.0.2.7", "Malformed"),
            ("Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 192.0.2.7", "Both"),
        ];
        for (lines, wanted) in rows {
            let is_proxy = |it: IpAddr| it.to_string().starts_with("10.");
            let says = match of_head(lines, |head| forwarded_for(head, is_proxy)) {
                Ok(client) => client.map_or_else(|| "own".into(), |it| it.to_string()),
                Err(unclear) => format!("{unclear:?}"),
            };
            assert_eq!(says, wanted, "{lines}");
        }
    }

    #[test]
    fn one_scheme_of_a_proxy_is_the_client_s() {
        for (lines, wanted) in [
            ("X-Forwarded-Proto: https", Some(true)),
            ("x-forwarded-proto: WSS", Some(true)),
            ("X-Forwarded-Proto: http", Some(false)),
            ("X-Forwarded-Proto: https, http", None),
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https", None),
            ("A: b", None),
        ] {
            assert_eq!(of_head(lines, forwarded_tls), wanted, "{lines}");
        }
    }
}
