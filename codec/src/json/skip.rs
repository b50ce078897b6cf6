//! Skipping the values of unknown members, and the rules that all strings have in common.
//!
//! Strictly the grammar of RFC 8259, and less of it: escapes by code point, fractions, exponents, numbers of more than
//! 18 digits and deep nesting are left to simd-json.

use memchr::memchr2;

/// The depth to which unknown values are followed: what clients send, and less than what is read at all.
const DEPTH_MAX: u32 = 4;

/// Skips a value; returns the text behind it.
pub(crate) fn value(mut rest: &[u8]) -> Option<&[u8]> {
    // A bit for each container that is open, the innermost lowest: whether it is an object.
    let (mut open, mut depth) = (0_u32, 0_u32);
    loop {
        let mut after = match rest.split_first()? {
            (b'"', after) => text(after)?,
            (bracket @ (b'{' | b'['), after) => {
                let is_object = *bracket == b'{';
                let after = blank(after);
                // Two behind the opening one in ASCII, both of them.
                match after.split_first()? {
                    _ if depth == DEPTH_MAX => return None,
                    (close, after) if *close == bracket + 2 => after,
                    _ => {
                        depth += 1;
                        open = (open << 1) | u32::from(is_object);
                        rest = if is_object { name(after)? } else { after };
                        continue;
                    }
                }
            }
            _ => scalar(rest)?,
        };
        // A value ended, and with it perhaps what it is in.
        loop {
            if depth == 0 {
                return Some(after);
            }
            let is_object = open & 1 == 1;
            match blank(after).split_first()? {
                (b',', next) => {
                    rest = blank(next);
                    if is_object {
                        rest = name(rest)?;
                    }
                    break;
                }
                (b'}', next) if is_object => after = next,
                (b']', next) if !is_object => after = next,
                _ => return None,
            }
            depth -= 1;
            open >>= 1;
        }
    }
}

/// Skips a name and its colon; returns the text from the value on.
fn name(rest: &[u8]) -> Option<&[u8]> {
    let after = text(rest.strip_prefix(b"\"")?)?;
    Some(blank(blank(after).strip_prefix(b":")?))
}

/// Skips a string from behind its opening quote; returns the text behind it.
fn text(rest: &[u8]) -> Option<&[u8]> {
    let mut from = 0;
    loop {
        let place = from + memchr2(b'"', b'\\', rest.get(from..)?)?;
        match rest.get(place..)? {
            [b'"', after @ ..] => return (!has_control(rest.get(..place)?)).then_some(after),
            [
                _,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                ..,
            ] => from = place + 2,
            _ => return None,
        }
    }
}

/// Skips a word or an integer; returns the text behind it.
fn scalar(rest: &[u8]) -> Option<&[u8]> {
    for word in [&b"null"[..], b"true", b"false"] {
        if let Some(after) = rest.strip_prefix(word) {
            return Some(after);
        }
    }
    let digits = rest.strip_prefix(b"-").unwrap_or(rest);
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, after) = digits.split_at_checked(count)?;
    match number {
        [b'0'] | [b'1'..=b'9', ..] if count <= 18 => Some(after),
        _ => None,
    }
}

/// As [`plain`], quicker for the few bytes of an action or an id: eight at a time.
#[inline]
pub(crate) fn short(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (words, tail) = rest.as_chunks::<8>();
    let ends = words
        .iter()
        .map(|word| first_end(u64::from_le_bytes(*word)));
    let place = match ends.enumerate().find(|(_, end)| *end < 8) {
        Some((words, end)) => words * 8 + end,
        None => {
            let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
            words.len() * 8 + tail.iter().position(ends)?
        }
    };
    let (value, after) = rest.split_at_checked(place)?;
    Some((value, after.strip_prefix(b"\"")?))
}

/// The place of the first of eight bytes that a string does not have in it: a quote, a backslash, a control character;
/// 8 if there is none.
#[inline]
fn first_end(word: u64) -> usize {
    // The high bit of each byte that is meant, and perhaps of some above the first.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let is = |byte: u8| zeros(word ^ (ONES * u64::from(byte)));
    let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    (is(b'"') | is(b'\\') | controls).trailing_zeros() as usize / 8
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// A string without escapes and control characters behind its opening quote.
#[inline]
pub(crate) fn plain(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let found = string(rest)?;
    (!has_control(found.0)).then_some(found)
}

/// The text before a string's closing quote, and what follows it; `None` when it has an escape or no end.
#[inline]
pub(crate) fn string(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'"', b'\\', rest)?;
    let (value, after) = rest.split_at_checked(end)?;
    Some((value, after.strip_prefix(b"\"")?))
}

/// Skips the white space of RFC 8259 section 2; returns the text behind it.
#[inline]
pub(crate) fn blank(mut text: &[u8]) -> &[u8] {
    // Nearly always there is none.
    if let [first, ..] = text
        && *first > b' '
    {
        return text;
    }
    while let [b' ' | b'\t' | b'\n' | b'\r', after @ ..] = text {
        text = after;
    }
    text
}

/// Whether there is a character that a string may only hold as an escape (RFC 8259 section 7).
pub(crate) fn has_control(text: &[u8]) -> bool {
    text.iter()
        .fold(false, |found, &byte| found | (byte < 0x20))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for text in [
            "\"\"",
            "\"a\\\"b\\\\\"",
            "0",
            "-0",
            "-12",
            "123456789012345678",
            "true",
            "false",
            "null",
            "[]",
            "{ }",
            "[ 1 , [ ] , {} ]",
            "{\"a\\n\" : { \"b\" : [ null , \"]\" ] } , \"c\":1 }",
            "[[[[]]]]",
        ] {
            for after in ["", ",", " }", "]"] {
                let whole = format!("{text}{after}");
                assert_eq!(value(whole.as_bytes()), Some(after.as_bytes()), "{whole}");
            }
        }
    }

    #[test]
    fn the_rest_is_left_alone() {
        for text in [
            "",
            "\"",
            "\"\\",
            "\"\\u0041\"",
            "\"\\x\"",
            "\"a\nb\"",
            "01",
            "-",
            "+1",
            ".5",
            "nul",
            "1234567890123456789",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "[}",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "{\"a\":1 \"b\":2}",
            "[[[[[]]]]]",
            "[[[[[1]]]]]",
        ] {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_short_string_ends_where_a_plain_one_does() {
        for length in 0..20 {
            for byte in 0..=255 {
                for place in 0..length {
                    let mut text = vec![b'a'; length];
                    text[place] = byte;
                    // Above the first end, whatever a byte there may look like.
                    text.extend_from_slice(b"\"\x01\"}");
                    assert_eq!(short(&text), plain(&text), "{byte} at {place} of {length}");
                    let open = &text[..length];
                    assert_eq!(
                        short(open),
                        plain(open),
                        "{byte} at {place} of {length}, open"
                    );
                }
            }
        }
    }
}
