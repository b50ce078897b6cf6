//! The flat scanner, which reads a single object whose members are strings. The only permitted escape is `\/`, in the
//! payload. Unknown members may have any value.
//!
//! ```text
//! { "action" : "SDP_OFFER" , "messagePayload" : "eyJ0…" , "x" : [ … ] }
//! ^ ^ key    ^ ^ string: to the next quote                      ^ skipped
//! ```
//! Many serializers escape the slashes in base64, and clients may send unknown members; other deviations are rare. The
//! scanner never rejects a text. It returns `None`, and simd-json then parses the text from the start. The WebSocket
//! layer has already validated the text as UTF-8, so the byte of a quote or backslash is never part of a multi-byte
//! character.

use crate::json::{Member, MemberName, Members, TextSpan};
use crate::{WIDE_BYTES_MIN, base64};
use memchr::{memchr, memchr2};

/// Parses a JSON text of the usual form into `members` and unescapes slashes in the payload. Returns `None` for any
/// other text, which it leaves unchanged.
pub(crate) fn scan(text: &mut [u8], members: &mut Members) -> Option<()> {
    if let Some(TextSpan { start, end }) = shape(text, members)? {
        let payload = text.get_mut(start..end)?;
        let length = unescape_slashes(payload);
        members.payload = Member::Text(TextSpan {
            start,
            end: start + length,
        });
        members.payload_proven = payload.get(..length).is_some_and(base64::is_well_formed);
    }
    Some(())
}

#[inline]
fn shape(text: &[u8], members: &mut Members) -> Option<Option<TextSpan>> {
    let mut escaped = None;
    let mut rest = strip(text, b"{")?;
    if let Some(after) = strip(rest, b"}") {
        return blank(after).is_empty().then_some(escaped);
    }
    loop {
        let (key, after) = name(strip(rest, b"\"")?)?;
        rest = strip(after, b":")?;
        let after = match key {
            None => value(blank(rest))?,
            Some(key) => {
                rest = strip(rest, b"\"")?;
                let start = text.len() - rest.len();
                let (value, after) = match key {
                    MemberName::Payload => match payload(rest, members) {
                        Some(found) => found,
                        None => {
                            let found = slashed(rest)?;
                            // If there are two payloads, simd-json parses the text instead.
                            if members.payload != Member::Absent {
                                return None;
                            }
                            escaped = Some(TextSpan {
                                start,
                                end: start + found.0.len(),
                            });
                            found
                        }
                    },
                    MemberName::Action | MemberName::Recipient | MemberName::Correlation => {
                        short(rest)?
                    }
                };
                let end = start + value.len();
                members.set(key, Member::Text(TextSpan { start, end }));
                after
            }
        };
        match blank(after).split_first()? {
            (b',', after) => rest = after,
            (b'}', after) => return blank(after).is_empty().then_some(escaped),
            _ => return None,
        }
    }
}

/// Reads the name of a member, starting after its opening quote. Returns the member, which is `None` if the name is
/// unknown, and the text after the name.
#[inline]
fn name(rest: &[u8]) -> Option<(Option<MemberName>, &[u8])> {
    let (first, tail) = rest.split_first()?;
    // Each arm compares with a constant of known length, which compiles to inline code instead of a function call.
    let found = match first {
        b'a' | b'A' => (MemberName::Action, tail.strip_prefix(b"ction\"")),
        b'm' | b'M' => (MemberName::Payload, tail.strip_prefix(b"essagePayload\"")),
        b'r' | b'R' => (
            MemberName::Recipient,
            tail.strip_prefix(b"ecipientClientId\""),
        ),
        b'c' | b'C' => (
            MemberName::Correlation,
            tail.strip_prefix(b"orrelationId\""),
        ),
        _ => return unknown_name(rest),
    };
    match found {
        (key, Some(after)) => Some((Some(key), after)),
        (_, None) => unknown_name(rest),
    }
}

#[cold]
fn unknown_name(rest: &[u8]) -> Option<(Option<MemberName>, &[u8])> {
    let (name, after) = plain(rest)?;
    Some((MemberName::of(name), after))
}

/// Reads the payload, starting after its opening quote. Text in the base64 alphabet cannot contain escapes or control
/// characters.
#[inline]
fn payload<'a>(rest: &'a [u8], members: &mut Members) -> Option<(&'a [u8], &'a [u8])> {
    let digits = if rest.len() < WIDE_BYTES_MIN {
        0
    } else {
        base64::leading_digits(rest)
    };
    let end = digits + memchr(b'"', rest.get(digits..)?)?;
    members.payload_proven = base64::is_well_formed(rest.get(digits..end)?);
    if !members.payload_proven {
        return plain(rest);
    }
    let (value, after) = rest.split_at_checked(end)?;
    Some((value, after.strip_prefix(b"\"")?))
}

/// Reads a string that has no control characters and only `\/` as an escape. Like [`has_control`], this is a separate
/// function so that ordinary texts do not load the vector constants of its loop.
#[inline(never)]
fn slashed(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (value, after) = rest.split_at_checked(memchr(b'"', rest)?)?;
    // Includes the closing quote, so that an escaped quote is not mistaken for the end of the string.
    let next = rest.get(1..=value.len())?;
    let is_other = value.iter().zip(next).fold(0, |found, (&byte, &next)| {
        found | u8::from(byte < 0x20) | (u8::from(byte == b'\\') & u8::from(next != b'/'))
    });
    (is_other == 0).then_some((value, after.strip_prefix(b"\"")?))
}

/// Unescapes slashes in place and returns the new length. Fills the remaining bytes with spaces, so that the slice
/// stays valid UTF-8.
fn unescape_slashes(text: &mut [u8]) -> usize {
    let Some(mut kept) = memchr(b'\\', text) else {
        return text.len();
    };
    let mut from = kept + 1;
    while let Some(rest) = text.get(from..) {
        let length = memchr(b'\\', rest).unwrap_or(rest.len());
        text.copy_within(from..from + length, kept);
        kept += length;
        from += length + 1;
    }
    text.get_mut(kept..).unwrap_or_default().fill(b' ');
    kept
}

// Skips the values of unknown members.
//
// Handles only a strict subset of RFC 8259. `\u` escapes, fractions, exponents, numbers of more than 18 digits, and
// deep nesting are left to simd-json.

/// Maximum nesting depth of skipped values. Sufficient for real clients, and less than `JSON_DEPTH`.
const DEPTH_MAX: u32 = 4;

/// Skips a value. Returns the text that follows it, or `None` if simd-json must parse the text.
pub(crate) fn value(mut rest: &[u8]) -> Option<&[u8]> {
    // One bit per open container, set for objects. The lowest bit is the innermost container.
    let (mut open, mut depth) = (0_u32, 0_u32);
    loop {
        let mut after = match rest.split_first()? {
            (b'"', after) => text(after)?,
            (bracket @ (b'{' | b'['), after) => {
                let is_object = *bracket == b'{';
                let after = blank(after);
                // For both kinds of bracket, the closing bracket's code is the opening bracket's code plus 2.
                match after.split_first()? {
                    _ if depth == DEPTH_MAX => return None,
                    (close, after) if *close == bracket + 2 => after,
                    _ => {
                        depth += 1;
                        open = (open << 1) | u32::from(is_object);
                        rest = if is_object { skip_name(after)? } else { after };
                        continue;
                    }
                }
            }
            _ => scalar(rest)?,
        };
        loop {
            if depth == 0 {
                return Some(after);
            }
            let is_object = open & 1 == 1;
            match blank(after).split_first()? {
                (b',', next) => {
                    rest = blank(next);
                    if is_object {
                        rest = skip_name(rest)?;
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

fn skip_name(rest: &[u8]) -> Option<&[u8]> {
    let after = text(rest.strip_prefix(b"\"")?)?;
    Some(blank(strip(after, b":")?))
}

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

fn scalar(rest: &[u8]) -> Option<&[u8]> {
    for word in [&b"null"[..], b"true", b"false"] {
        if let Some(after) = rest.strip_prefix(word) {
            return Some(after);
        }
    }
    let digits = rest.strip_prefix(b"-").unwrap_or(rest);
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let count = digits.iter().take_while(is_digit).count();
    let (number, after) = digits.split_at_checked(count)?;
    match number {
        [b'0'] | [b'1'..=b'9', ..] if count <= 18 => Some(after),
        _ => None,
    }
}

/// Like [`plain`], but optimized for short strings such as an action or an id. Scans eight bytes at a time, and returns
/// `None` for strings with a space or an exclamation mark.
#[inline]
pub(crate) fn short(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (words, tail) = rest.as_chunks::<8>();
    let ends = words
        .iter()
        .map(|word| first_end(u64::from_le_bytes(*word)));
    let place = match ends.enumerate().find(|(_, end)| *end < 8) {
        Some((words, end)) => words * 8 + end,
        None => {
            let ends = |byte: &u8| matches!(byte, 0..=b'"' | b'\\');
            words.len() * 8 + tail.iter().position(ends)?
        }
    };
    let (value, after) = rest.split_at_checked(place)?;
    Some((value, after.strip_prefix(b"\"")?))
}

/// Returns the index of the first of eight bytes that ends a plain string (a backslash, or a byte up to the quote: a
/// control character, a space, `!`, `"`), or 8 if none does.
#[inline]
fn first_end(word: u64) -> usize {
    // Sets the high bit of each matching byte. May also set it in bytes above the first match, which does no harm.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let is = |byte: u8| zeros(word ^ (ONES * u64::from(byte)));
    let to_quote = word.wrapping_sub(ONES * 0x23) & !word & HIGHS;
    (to_quote | is(b'\\')).trailing_zeros() as usize / 8
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

#[inline]
pub(crate) fn plain(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let found = string(rest)?;
    (!has_control(found.0)).then_some(found)
}

/// Splits `rest` at a string's closing quote. Returns the content of the string and the text after the quote, or `None`
/// if the string contains an escape or is unterminated.
#[inline]
pub(crate) fn string(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'"', b'\\', rest)?;
    let (value, after) = rest.split_at_checked(end)?;
    Some((value, after.strip_prefix(b"\"")?))
}

/// Returns the text after this character, which may be preceded by white space.
#[inline]
fn strip<'a>(text: &'a [u8], character: &[u8; 1]) -> Option<&'a [u8]> {
    let after = text.strip_prefix(character);
    after.or_else(|| blank(text).strip_prefix(character))
}

#[inline]
pub(crate) fn blank(mut text: &[u8]) -> &[u8] {
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

/// Returns whether the text contains a control character. Control characters must be escaped (RFC 8259 section 7).
#[inline(never)]
fn has_control(text: &[u8]) -> bool {
    text.iter()
        .fold(false, |found, &byte| found | (byte < 0x20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::oracle::scanned;

    fn text_of(text: &str, member: Member) -> &str {
        match member {
            Member::Text(span) => std::str::from_utf8(span.of(text.as_bytes())).unwrap(),
            Member::Absent => "(absent)",
            Member::Other => "(other)",
        }
    }

    #[test]
    fn the_usual_shape_is_read() {
        let text = " {\n\t\"Action\" \
                    : \"SDP_ANSWER\",\r\n\"x\":\"é\",\"RecipientClientId\":\"\", \"messagePayload\":\"QUJD\" } ";
        let members = scanned(&mut text.as_bytes().to_vec()).unwrap();
        assert_eq!(text_of(text, members.action), "SDP_ANSWER");
        assert_eq!(text_of(text, members.payload), "QUJD");
        assert_eq!(text_of(text, members.recipient), "");
        assert_eq!(members.correlation, Member::Absent);
        assert!(members.payload_proven && !members.twice);
        assert_eq!(scanned(&mut b"{}".to_vec()), Some(Members::default()));
    }

    #[test]
    fn slashes_of_the_payload_may_be_escaped_and_other_members_may_be_anything() {
        let text = r#"{"MessagePayload":"\/é\/\/b\/","x":[{"y":-1},"\n\\"],"action":"SDP_OFFER","z":null}"#;
        let mut bytes = text.as_bytes().to_vec();
        let members = scanned(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text_of(text, members.payload), "/é//b/");
        assert_eq!(text_of(text, members.action), "SDP_OFFER");
        assert!(!members.payload_proven && !members.twice);
        let mut bytes = br#"{"messagePayload":"QUJ\/"}"#.to_vec();
        assert!(scanned(&mut bytes).unwrap().payload_proven);
    }

    #[test]
    fn whatever_else_is_left_alone() {
        #[rustfmt::skip] // a list
        let cases = [
            "", " ", "{", "[]", "null", "{}}", "{} x", "{\"a\"}", "{\"a\":\"b\",}", "{\"a\":\"b\"",
            "{\"a\\u0062\":\"b\"}", "{\"a\":\"b\nc\"}", "{\"a\nb\":\"c\"}", "{'a':'b'}", "{\"a\":\"b\" \"c\":\"d\"}",
            "{\"a\":\"b\"}\0", "{\u{a0}}", "{\"messagePayload\":\"QU\tD\"}", "{,}", "{\"a\" \"b\"}", "{\"a\":1.5}",
            "{\"a\":[\"\\u0041\"]}", "{\"action\":null}", "{\"action\":\"\\/\"}", "{\"messagePayload\":\"a\\/b\\n\"}",
            "{\"messagePayload\":\"a\\\"b\"}", "{\"messagePayload\":\"a\\/\\\\\"}",
            "{\"messagePayload\":\"a\",\"messagePayload\":\"\\/\"}", "{\"messagePayload\":\"\\/\",\"x\":\"\\u0041\"}",
        ];
        for text in cases {
            let mut left = text.as_bytes().to_vec();
            assert_eq!(scanned(&mut left), None, "{text:?}");
            assert_eq!(left, text.as_bytes());
        }
    }
}

#[cfg(test)]
mod skip_tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        #[rustfmt::skip] // a list
        let all = [
            "\"\"", "\"a\\\"b\\\\\"", "0", "-0", "-12", "123456789012345678", "true", "false", "null", "[]", "{ }",
            "[ 1 , [ ] , {} ]", "{\"a\\n\" : { \"b\" : [ null , \"]\" ] } , \"c\":1 }", "[[[[]]]]",
        ];
        for text in all {
            for after in ["", ",", " }", "]"] {
                let whole = format!("{text}{after}");
                assert_eq!(value(whole.as_bytes()), Some(after.as_bytes()), "{whole}");
            }
        }
    }

    #[test]
    fn the_rest_is_left_alone() {
        #[rustfmt::skip] // a list
        let all = [
            "", "\"", "\"\\", "\"\\u0041\"", "\"\\x\"", "\"a\nb\"", "01", "-", "+1", ".5", "nul",
            "1234567890123456789", "[1,]", "[,1]", "[1 2]", "[1", "[}", "{]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
            "{1:2}", "{\"a\":1 \"b\":2}", "[[[[[]]]]]", "[[[[[1]]]]]",
        ];
        for text in all {
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
                    // The bytes that follow the end of the string must not affect the result.
                    text.extend_from_slice(b"\"\x01\"}");
                    let expected = |text| plain(text).filter(|_| !matches!(byte, b' ' | b'!'));
                    for text in [&text[..], &text[..length]] {
                        assert_eq!(short(text), expected(text), "{byte} at {place} of {length}");
                    }
                }
            }
        }
    }
}
