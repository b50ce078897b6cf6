//! Base64 encoding, decoding and validation. No other module calls base64-simd.
//!
//! Payloads are never decoded. Only their alphabet is checked, so that they can be written to JSON without escaping.
//! Clients validate length and padding themselves.

use base64_simd::STANDARD;
use fearless_simd::{Level, Simd, dispatch};
use memchr::memmem;

/// The base64 alphabet that a text uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// The text contains only `A-Z a-z 0-9 + / =`.
    Standard,
    /// Base64url: the text contains `-` or `_` in place of `+` and `/` (RFC 4648 section 5), and otherwise only
    /// standard characters.
    UrlSafe,
    /// The text contains characters outside both alphabets.
    Outside,
}

/// Returns whether `text` is well-formed base64 (RFC 4648 section 4): standard alphabet, padded and canonical. Runs at
/// memory speed.
#[must_use]
pub fn is_well_formed(text: &[u8]) -> bool {
    STANDARD.check(text).is_ok()
}

/// Returns the length of a prefix of `text` that contains only `A-Z a-z 0-9 + /` and consists of whole blocks of
/// [`BLOCK_BYTES`]. The text is well-formed if and only if the remainder is.
#[inline(never)]
pub(crate) fn leading_digits(text: &[u8]) -> usize {
    dispatch!(Level::new(), wide => wide.vectorize(
        #[inline(always)]
        || {
            let blocks = text.as_chunks().0.iter();
            BLOCK_BYTES * blocks.take_while(|block| are_digits(block)).count()
        }
    ))
}

const BLOCK_BYTES: usize = 256;

/// Returns whether all bytes are base64 characters other than `=`. Shifts each range of characters to the end of the
/// signed numbers, so that a single comparison shows whether a byte is in the range.
#[expect(
    clippy::inline_always,
    reason = "compiled for the vectors of its caller"
)]
#[inline(always)]
fn are_digits(block: &[u8; BLOCK_BYTES]) -> bool {
    let ends_at = |byte: u8, last: u8| byte.wrapping_add(127 - last).cast_signed();
    let mut all = true;
    for &byte in block {
        let is_letter = ends_at(byte | 0x20, b'z') > 127 - 26;
        let is_number_or_slash = ends_at(byte, b'9') > 127 - 11;
        all &= is_letter | is_number_or_slash | (byte == b'+');
    }
    all
}

/// Returns the alphabet of `text`, without checking length or padding. Empty text is `Standard`.
#[must_use]
pub fn alphabet(text: &[u8]) -> Alphabet {
    let (mut url_safe, mut outside) = (false, false);
    for &byte in text {
        let standard = byte.is_ascii_alphanumeric() | matches!(byte, b'+' | b'/' | b'=');
        let dashes = (byte == b'-') | (byte == b'_');
        url_safe |= dashes;
        outside |= !(standard | dashes);
    }
    match (outside, url_safe) {
        (true, _) => Alphabet::Outside,
        (false, true) => Alphabet::UrlSafe,
        (false, false) => Alphabet::Standard,
    }
}

/// Converts URL-safe base64 to the standard alphabet in place, replacing `-` with `+` and `_` with `/`.
pub fn standardize(text: &mut [u8]) {
    for byte in text {
        *byte = match *byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
    }
}

/// Appends `bytes` as padded base64 in the standard alphabet.
pub fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    STANDARD.encode_append(bytes, out);
}

/// Decodes padded base64 in the standard alphabet. Returns `None` if `text` is not well-formed.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode_to_vec(text).ok()
}

/// Decodes base64, padded or not, as browsers do (WHATWG Infra, "forgiving-base64 decode"). Returns `None` if `text` is
/// invalid.
#[must_use]
pub fn decode_forgiving(text: &[u8]) -> Option<Vec<u8>> {
    base64_simd::forgiving_decode_to_vec(text).ok()
}

/// Returns base64 text as a `str`. Returns an empty string if the text is not UTF-8, which never happens with forwarded
/// payloads.
#[must_use]
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Counts the ICE candidates in a session description (RFC 8839 section 5.1) by searching its base64 text for
/// `a=candidate:`, without decoding it.
#[must_use]
pub fn candidates(text: &[u8]) -> usize {
    let forms = CANDIDATE_FORMS.iter();
    forms
        .map(|form| memmem::find_iter(text, form).count())
        .sum()
}

/// The base64 encodings of `a=candidate:`, one for each alignment to a three-byte group. Characters that also encode
/// bits of the neighboring bytes are left out.
const CANDIDATE_FORMS: [&[u8]; 3] = [b"YT1jYW5kaWRhdGU6", b"E9Y2FuZGlkYXRlO", b"hPWNhbmRpZGF0ZT"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_counted_wherever_they_are() {
        let line = r"a=candidate:1 1 UDP 2 192.0.2.1 9 typ host\r\n";
        for (lines, wanted) in [(0, 0), (1, 1), (4, 4)] {
            for before in 0..3 {
                let sdp = format!("{}{}", "x".repeat(before), line.repeat(lines));
                let mut text = Vec::new();
                encode(&mut text, sdp.as_bytes());
                assert_eq!(candidates(&text), wanted, "{sdp}");
            }
        }
        for other in ["a=end-of-candidates", "candidate:1 1 UDP", "a=candidates:"] {
            for before in 0..3 {
                let mut text = Vec::new();
                encode(
                    &mut text,
                    format!("{}{other}", "x".repeat(before)).as_bytes(),
                );
                assert_eq!(candidates(&text), 0, "{other}");
            }
        }
    }

    #[test]
    fn every_byte_belongs_to_one_class() {
        for byte in 0..=255u8 {
            let expected = match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => Alphabet::Standard,
                b'-' | b'_' => Alphabet::UrlSafe,
                _ => Alphabet::Outside,
            };
            assert_eq!(alphabet(&[byte]), expected, "{byte}");
            let mut long = [b'A'; 100];
            long[77] = byte;
            assert_eq!(alphabet(&long), expected, "{byte}");
        }
        assert_eq!(alphabet(b"-A!"), Alphabet::Outside);
    }

    #[test]
    fn well_formed_text_is_of_the_standard_alphabet() {
        for bytes in 0..200usize {
            let mut text = Vec::new();
            encode(&mut text, &vec![0xF7; bytes]);
            assert!(is_well_formed(&text) && alphabet(&text) == Alphabet::Standard);
            assert_eq!(decode(&text).unwrap(), vec![0xF7; bytes]);
            for place in 0..text.len() {
                for bad in [b'"', b'\\', b' ', 0, 10, 127, 128, 255, b'-', b'_', b'!'] {
                    let kept = std::mem::replace(&mut text[place], bad);
                    assert!(!is_well_formed(&text), "{bad} at {place} of {}", text.len());
                    text[place] = kept;
                }
            }
        }
    }

    #[test]
    fn blocks_with_other_characters_are_no_digits() {
        for byte in 0..=255u8 {
            for place in 0..3 * BLOCK_BYTES {
                let mut text = vec![b'A'; 3 * BLOCK_BYTES + 9];
                text[place] = byte;
                let is_digit = alphabet(&[byte]) == Alphabet::Standard && byte != b'=';
                let blocks = if is_digit { 3 } else { place / BLOCK_BYTES };
                assert_eq!(
                    leading_digits(&text),
                    blocks * BLOCK_BYTES,
                    "{byte} at {place}"
                );
            }
        }
    }

    #[test]
    fn url_safe_text_becomes_standard() {
        let mut text = *b"a-_b=+/";
        standardize(&mut text);
        assert_eq!(&text, b"a+/b=+/");
    }
}
