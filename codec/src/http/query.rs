//! Query strings and percent-encoding (RFC 3986), as request signatures require them: names and values are decoded
//! exactly once, and a `+` is not decoded to a space.

use memchr::memchr;
use std::fmt::Write;
use std::{borrow::Cow, iter, mem};

/// An error in percent-encoding. The response has status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A percent sign is not followed by two hexadecimal digits.
    Percent,
    /// The decoded bytes are not UTF-8.
    Utf8,
}

/// Returns the name-value pairs of a query without decoding them. A name without `=` has an empty value. Skips empty
/// pairs.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = query;
    let parts = iter::from_fn(move || {
        let (part, behind) = cut(rest, b'&').unwrap_or((rest, ""));
        (!mem::replace(&mut rest, behind).is_empty()).then_some(part)
    });
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(|part| cut(part, b'=').unwrap_or((part, "")))
}

fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = memchr(at, text.as_bytes())?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// Decodes a name or value once and leaves `+` unchanged. Returns a borrowed string if nothing needs decoding.
pub fn decode(text: &str) -> Result<Cow<'_, str>, QueryError> {
    let (mut rest, mut out) = (text.as_bytes(), Vec::new());
    while let Some(place) = memchr(b'%', rest) {
        let (plain, escape) = rest.split_at_checked(place).unwrap_or_default();
        let ([_, high, low], after) = escape.split_first_chunk().ok_or(QueryError::Percent)?;
        let digits = (hex(*high), hex(*low));
        let (Some(high), Some(low)) = digits else {
            return Err(QueryError::Percent);
        };
        out.reserve(rest.len());
        out.extend_from_slice(plain);
        out.push(high << 4 | low);
        rest = after;
    }
    if out.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    out.extend_from_slice(rest);
    let decoded = String::from_utf8(out).map_err(|_| QueryError::Utf8)?;
    Ok(Cow::Owned(decoded))
}

/// Appends a name or value, percent-encoded. Every byte other than `A-Za-z0-9-_.~` is written as `%` followed by two
/// uppercase hexadecimal digits.
///
/// Source: AWS, "Create a signed AWS API request", `UriEncode`.
pub fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes what is written");
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_in_the_order_of_the_query() {
        let found: Vec<_> = pairs("a=1&b&&c==2&=&%41=%2B+").collect();
        let wanted = [
            ("a", "1"),
            ("b", ""),
            ("c", "=2"),
            ("", ""),
            ("%41", "%2B+"),
        ];
        assert_eq!(found, wanted);
        assert_eq!(pairs("").count(), 0);
    }

    #[test]
    fn texts_are_decoded_once() {
        for (text, decoded) in [
            ("a+b", Ok("a+b")),
            ("arn%3Aaws%3A", Ok("arn:aws:")),
            ("%252F", Ok("%2F")),
            ("%e2%82%AC", Ok("€")),
            ("€%41", Ok("€A")),
            ("%", Err(QueryError::Percent)),
            ("%4", Err(QueryError::Percent)),
            ("%4g", Err(QueryError::Percent)),
            ("%+1", Err(QueryError::Percent)),
            ("%ff", Err(QueryError::Utf8)),
        ] {
            assert_eq!(decode(text).as_deref(), decoded.as_ref().copied(), "{text}");
        }
        assert!(matches!(decode("plain"), Ok(Cow::Borrowed("plain"))));
    }

    #[test]
    fn decoding_undoes_encoding() {
        let every: String = (0..=255u8).map(char::from).collect();
        let mut encoded = String::new();
        encode(&mut encoded, &every);
        assert_eq!(decode(&encoded).unwrap(), every);
        let mut kept = String::new();
        encode(&mut kept, "AZaz09-_.~/:+= ");
        assert_eq!(kept, "AZaz09-_.~%2F%3A%2B%3D%20");
    }
}
