//! The flat scanner: one object, strings without escapes, nothing else.
//!
//! ```text
//! { "action" : "SDP_OFFER" , "messagePayload" : "eyJ0…" , "x" : "…" }
//! ^ ^ key    ^ ^ string: to the next quote; a backslash on the way ends the scan
//! ```
//! It never decides that a text is wrong: at anything unusual it returns `None` and simd-json reads the text from its
//! start. The text must be valid UTF-8, which the WebSocket layer has proven; then a quote or backslash byte is never
//! a part of a longer character.

use super::members::{Member, MemberName, Members, Span};
use crate::aws::is_word_byte;
use crate::base64;
use memchr::memchr2;

/// Reads a text of the usual shape. `None`: not of that shape; nothing was changed.
pub(crate) fn scan(text: &[u8]) -> Option<Members> {
    let mut members = Members::default();
    let mut rest = blank(blank(text).strip_prefix(b"{")?);
    if let Some(after) = rest.strip_prefix(b"}") {
        return blank(after).is_empty().then_some(members);
    }
    loop {
        let (key, after) = name(rest.strip_prefix(b"\"")?)?;
        rest = blank(blank(after).strip_prefix(b":")?).strip_prefix(b"\"")?;
        let start = text.len() - rest.len();
        let (value, after) = match key {
            Some(MemberName::Payload) => payload(rest, &mut members)?,
            Some(MemberName::Action | MemberName::Recipient | MemberName::Correlation) => {
                word(rest).or_else(|| plain(rest))?
            }
            None => plain(rest)?,
        };
        if let Some(key) = key {
            members.set(
                key,
                Member::Text(Span {
                    start,
                    end: start + value.len(),
                }),
            );
        }
        match blank(after).split_first()? {
            (b',', after) => rest = blank(after),
            (b'}', after) => return blank(after).is_empty().then_some(members),
            _ => return None,
        }
    }
}

/// A member's name behind its opening quote: which one it is, and what follows its closing quote.
#[inline]
fn name(rest: &[u8]) -> Option<(Option<MemberName>, &[u8])> {
    let (key, tail): (MemberName, &[u8]) = match rest.split_first()? {
        (b'a' | b'A', _) => (MemberName::Action, b"ction\""),
        (b'm' | b'M', _) => (MemberName::Payload, b"essagePayload\""),
        (b'r' | b'R', _) => (MemberName::Recipient, b"ecipientClientId\""),
        (b'c' | b'C', _) => (MemberName::Correlation, b"orrelationId\""),
        _ => return unknown_name(rest),
    };
    match rest.get(1..).and_then(|rest| rest.strip_prefix(tail)) {
        Some(after) => Some((Some(key), after)),
        None => unknown_name(rest),
    }
}

fn unknown_name(rest: &[u8]) -> Option<(Option<MemberName>, &[u8])> {
    let (name, after) = plain(rest)?;
    Some((MemberName::of(name), after))
}

/// The payload behind its opening quote. Base64 has no control characters, so one check covers both.
#[inline]
fn payload<'a>(rest: &'a [u8], members: &mut Members) -> Option<(&'a [u8], &'a [u8])> {
    let (value, after) = string(rest)?;
    let proven = base64::is_well_formed(value);
    if !proven && has_control(value) {
        return None;
    }
    members.payload_proven = proven;
    Some((value, after))
}

/// A string of `[a-zA-Z0-9_.-]` behind its opening quote: what actions and ids are, nearly always, and short.
#[inline]
fn word(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest.iter().position(|&byte| !is_word_byte(byte))?;
    let (value, after) = rest.split_at_checked(end)?;
    Some((value, after.strip_prefix(b"\"")?))
}

/// A string without escapes and control characters behind its opening quote.
#[inline]
fn plain(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let found = string(rest)?;
    (!has_control(found.0)).then_some(found)
}

/// The text before a string's closing quote, and what follows it; `None` when it has an escape or no end.
#[inline]
fn string(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'"', b'\\', rest)?;
    let (value, after) = rest.split_at_checked(end)?;
    Some((value, after.strip_prefix(b"\"")?))
}

/// What follows the white space of RFC 8259 section 2.
#[inline]
fn blank(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', after @ ..] = text {
        text = after;
    }
    text
}

/// Whether there is a character that a string may only hold as an escape (RFC 8259 section 7).
fn has_control(text: &[u8]) -> bool {
    text.iter()
        .fold(false, |found, &byte| found | (byte < 0x20))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let members = scan(text.as_bytes()).unwrap();
        assert_eq!(text_of(text, members.action), "SDP_ANSWER");
        assert_eq!(text_of(text, members.payload), "QUJD");
        assert_eq!(text_of(text, members.recipient), "");
        assert_eq!(members.correlation, Member::Absent);
        assert!(members.payload_proven && !members.twice);
        assert_eq!(scan(b"{}"), Some(Members::default()));
    }

    #[test]
    fn whatever_else_is_left_alone() {
        for text in [
            "",
            " ",
            "{",
            "[]",
            "null",
            "{}}",
            "{} x",
            "{\"a\"}",
            "{\"a\":1}",
            "{\"a\":null}",
            "{\"a\":\"b\",}",
            "{\"a\":\"b\"",
            "{\"a\":\"\\/\"}",
            "{\"a\\u0062\":\"b\"}",
            "{\"a\":{}}",
            "{\"a\":\"b\nc\"}",
            "{\"a\nb\":\"c\"}",
            "{'a':'b'}",
            "{\"a\":\"b\" \"c\":\"d\"}",
            "{\"a\":\"b\"}\0",
            "{\u{a0}}",
            "{\"messagePayload\":\"QU\tD\"}",
            "{,}",
            "{\"a\" \"b\"}",
        ] {
            assert_eq!(scan(text.as_bytes()), None, "{text:?}");
        }
    }
}
