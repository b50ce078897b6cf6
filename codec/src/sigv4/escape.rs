//! Percent-encoding for signatures. Decodes each string exactly once, and detects whether it is encoded as AWS
//! prescribes.
//!
//! Source: AWS, "Create a signed AWS API request", `UriEncode`.

use crate::sigv4::refusal::Malformed;
use memchr::memchr;

/// Decodes `text` once and appends the result. Leaves `+` unchanged. Returns whether `text` was strictly encoded, that
/// is, whether encoding the result would reproduce it.
pub(crate) fn decode(out: &mut Vec<u8>, text: &[u8]) -> Result<bool, Malformed> {
    let mut strict = is_plain(text);
    let mut rest = text;
    while let Some(place) = memchr(b'%', rest) {
        let (plain, after) = rest.split_at_checked(place).unwrap_or((rest, &[]));
        let ([_, high, low], after) = after.split_first_chunk().ok_or(Malformed::Percent)?;
        let (high, low) = (hex_class(*high), hex_class(*low));
        if (high | low) & NO_DIGIT != 0 {
            return Err(Malformed::Percent);
        }
        let byte = (high & 15) << 4 | low & 15;
        strict &= ((high | low) & LOWER_CASE == 0) & !is_unreserved(byte);
        out.extend_from_slice(plain);
        out.push(byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    Ok(strict)
}

fn is_plain(text: &[u8]) -> bool {
    // Arithmetic checks sixteen bytes at a time. A table checks the rest, since it is faster for single bytes.
    let (front, back) = text
        .split_at_checked(text.len() & !15)
        .unwrap_or((text, &[]));
    let front = front.iter().fold(true, |plain, &byte| {
        plain & (is_unreserved(byte) | (byte == b'%'))
    });
    let back = back
        .iter()
        .all(|&byte| PLAIN.get(usize::from(byte)).is_some_and(|&plain| plain));
    front & back
}

const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &mut [bool] = &mut table;
    let mut byte = 0u8;
    while let Some((entry, after)) = rest.split_first_mut() {
        *entry = is_unreserved(byte) || byte == b'%';
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
};

pub(crate) fn encode(out: &mut Vec<u8>, text: &[u8]) {
    write_encoded(out, text, &ENCODED);
}

pub(crate) fn encode_path(out: &mut Vec<u8>, path: &[u8]) {
    write_encoded(out, path, &ENCODED_IN_PATH);
}

/// Writes three bytes for each input byte but advances only by the length of its encoding, so that no branch depends on
/// the text.
fn write_encoded(out: &mut Vec<u8>, text: &[u8], table: &[Encoded; 256]) {
    let mut end = out.len();
    out.resize(end + 3 * text.len(), 0);
    for &byte in text {
        let encoded = table.get(usize::from(byte));
        let place = out.get_mut(end..end + 3);
        let ((bytes, length), place) = encoded.zip(place).expect("three bytes for each one");
        place.copy_from_slice(bytes);
        end += usize::from(*length);
    }
    out.truncate(end);
}

type Encoded = ([u8; 3], u8);

const ENCODED: [Encoded; 256] = encoded(false);
const ENCODED_IN_PATH: [Encoded; 256] = encoded(true);

const fn encoded(in_path: bool) -> [Encoded; 256] {
    const fn digit(number: u8) -> u8 {
        if number < 10 {
            b'0' + number
        } else {
            b'A' + number - 10
        }
    }
    let mut table = [([0; 3], 1); 256];
    let mut rest: &mut [Encoded] = &mut table;
    let mut byte = 0u8;
    while let Some((entry, after)) = rest.split_first_mut() {
        *entry = if is_unreserved(byte) || (in_path && byte == b'/') {
            ([byte, 0, 0], 1)
        } else {
            ([b'%', digit(byte >> 4), digit(byte & 15)], 3)
        };
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
}

/// Returns whether a byte is one of `A-Za-z0-9-_.~`, which need no encoding. Does not use a table, so that the loop can
/// be vectorized.
const fn is_unreserved(byte: u8) -> bool {
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let is_digit = byte.wrapping_sub(b'0') < 10;
    is_letter | is_digit | (byte == b'-') | (byte == b'_') | (byte == b'.') | (byte == b'~')
}

/// Returns the value of a hexadecimal digit, with [`LOWER_CASE`] set if the digit is lowercase, or [`NO_DIGIT`] for any
/// other byte. Uses a table, because the digits in escapes are effectively random and a branch would be mispredicted
/// half the time.
fn hex_class(byte: u8) -> u8 {
    HEX_CLASS
        .get(usize::from(byte))
        .copied()
        .unwrap_or(NO_DIGIT)
}

const LOWER_CASE: u8 = 0x10;
const NO_DIGIT: u8 = 0x80;

const HEX_CLASS: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut byte = 0u8;
    while let Some((entry, after)) = rest.split_first_mut() {
        *entry = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'F' => byte - b'A' + 10,
            b'a'..=b'f' => (byte - b'a' + 10) | LOWER_CASE,
            _ => NO_DIGIT,
        };
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_bytes_are_those_of_the_rfc() {
        //= https://www.rfc-editor.org/rfc/rfc3986#section-2.3
        //# unreserved  = ALPHA / DIGIT / "-" / "." / "_" / "~"
        for byte in 0..=255u8 {
            let expected = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            assert_eq!(is_unreserved(byte), expected, "{byte}");
        }
    }

    #[test]
    fn decoding_knows_what_encoding_gives_back() {
        for (text, decoded, strict) in [
            ("", "", true),
            ("a-b_c.d~9", "a-b_c.d~9", true),
            ("%2Fa%3A", "/a:", true),
            ("%2fa", "/a", false),
            ("%41", "A", false),
            ("a+b", "a+b", false),
            ("a b", "a b", false),
            ("%252F", "%2F", true),
            ("%C3%A9", "\u{e9}", true),
            ("\u{e9}", "\u{e9}", false),
        ] {
            let mut out = b"before".to_vec();
            assert_eq!(decode(&mut out, text.as_bytes()), Ok(strict), "{text}");
            assert_eq!(out, format!("before{decoded}").as_bytes());
            let mut again = Vec::new();
            encode(&mut again, decoded.as_bytes());
            assert_eq!(again == text.as_bytes(), strict, "{text}");
        }
        #[rustfmt::skip] // a list
        let cases = [
            "%", "%4", "a%", "%%41", "%4g", "%g4", "%+1", "%2", "aaaaaaaaaaaaaaaaaaaaaaaaa%1",
        ];
        for bad in cases {
            let found = decode(&mut Vec::new(), bad.as_bytes());
            assert_eq!(found, Err(Malformed::Percent), "{bad}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let every: Vec<u8> = (0..=255).collect();
        let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
        encode(&mut encoded, &every);
        assert_eq!(decode(&mut decoded, &encoded), Ok(true));
        assert_eq!(decoded, every);
    }
}
