//! The flat scanner: one object of strings; of escapes only `\/`, only in the payload; other members of any value.
//!
//! ```text
//! { "action" : "SDP_OFFER" , "messagePayload" : "eyJ0…" , "x" : [ … ] }
//! ^ ^ key    ^ ^ string: to the next quote                      ^ `skip`
//! ```
//! Many serializers escape the slashes of base64, and a client may send members that the service does not know; other
//! shapes are rare. The scanner never decides that a text is wrong: at anything else it returns `None` and simd-json
//! reads the text from its start. The text must be valid UTF-8, which the WebSocket layer has proven; then a quote or
//! backslash byte is never a part of a longer character.

use crate::base64;
use crate::json::members::{Member, MemberName, Members, Span};
use crate::json::skip::{blank, has_control, plain, short, string, value};
use memchr::memchr;

/// Reads a text of the usual shape; slashes of the payload are unescaped in place. `None`: not of that shape; nothing
/// was changed.
pub(crate) fn scan(text: &mut [u8]) -> Option<Members> {
    let mut members = Members::default();
    if let Some(Span { start, end }) = shape(text, &mut members)? {
        let payload = text.get_mut(start..end)?;
        let length = unescape_slashes(payload);
        members.payload = Member::Text(Span {
            start,
            end: start + length,
        });
        members.payload_proven = payload.get(..length).is_some_and(base64::is_well_formed);
    }
    Some(members)
}

/// Finds the members; gives the payload's place if slashes of it are escaped.
#[inline]
fn shape(text: &[u8], members: &mut Members) -> Option<Option<Span>> {
    let mut escaped = None;
    let mut rest = blank(blank(text).strip_prefix(b"{")?);
    if let Some(after) = rest.strip_prefix(b"}") {
        return blank(after).is_empty().then_some(escaped);
    }
    loop {
        let (key, after) = name(rest.strip_prefix(b"\"")?)?;
        rest = blank(blank(after).strip_prefix(b":")?);
        let after = match key {
            None => value(rest)?,
            Some(key) => {
                rest = rest.strip_prefix(b"\"")?;
                let start = text.len() - rest.len();
                let (value, after) = match key {
                    MemberName::Payload => match payload(rest, members) {
                        Some(found) => found,
                        None => {
                            let found = slashed(rest)?;
                            // Which of two counts is for simd-json to say.
                            if members.payload != Member::Absent {
                                return None;
                            }
                            escaped = Some(Span {
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
                members.set(key, Member::Text(Span { start, end }));
                after
            }
        };
        match blank(after).split_first()? {
            (b',', after) => rest = blank(after),
            (b'}', after) => return blank(after).is_empty().then_some(escaped),
            _ => return None,
        }
    }
}

/// A member's name behind its opening quote: which one it is, and what follows its closing quote.
#[inline]
fn name(rest: &[u8]) -> Option<(Option<MemberName>, &[u8])> {
    let (first, rest_of_name) = rest.split_first()?;
    // Each arm compares with a text of known length, which takes no call.
    let found = match first {
        b'a' | b'A' => (MemberName::Action, rest_of_name.strip_prefix(b"ction\"")),
        b'm' | b'M' => (
            MemberName::Payload,
            rest_of_name.strip_prefix(b"essagePayload\""),
        ),
        b'r' | b'R' => (
            MemberName::Recipient,
            rest_of_name.strip_prefix(b"ecipientClientId\""),
        ),
        b'c' | b'C' => (
            MemberName::Correlation,
            rest_of_name.strip_prefix(b"orrelationId\""),
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

/// A string whose only escapes are `\/`, without control characters, behind its opening quote.
fn slashed(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (value, after) = rest.split_at_checked(memchr(b'"', rest)?)?;
    // With the quote, so that a string that goes on behind `\"` does not seem to end there.
    let next = rest.get(1..=value.len())?;
    let is_other = value.iter().zip(next).fold(0, |found, (&byte, &next)| {
        found | u8::from(byte < 0x20) | (u8::from(byte == b'\\') & u8::from(next != b'/'))
    });
    (is_other == 0).then_some((value, after.strip_prefix(b"\"")?))
}

/// Drops the backslashes of a string and fills the rest with blanks, so that all of it stays UTF-8; the length of what
/// is kept.
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
        let members = scan(&mut text.as_bytes().to_vec()).unwrap();
        assert_eq!(text_of(text, members.action), "SDP_ANSWER");
        assert_eq!(text_of(text, members.payload), "QUJD");
        assert_eq!(text_of(text, members.recipient), "");
        assert_eq!(members.correlation, Member::Absent);
        assert!(members.payload_proven && !members.twice);
        assert_eq!(scan(&mut b"{}".to_vec()), Some(Members::default()));
    }

    #[test]
    fn slashes_of_the_payload_may_be_escaped_and_other_members_may_be_anything() {
        let text = r#"{"MessagePayload":"\/é\/\/b\/","x":[{"y":-1},"\n\\"],"action":"SDP_OFFER","z":null}"#;
        let mut bytes = text.as_bytes().to_vec();
        let members = scan(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text_of(text, members.payload), "/é//b/");
        assert_eq!(text_of(text, members.action), "SDP_OFFER");
        assert!(!members.payload_proven && !members.twice);
        let mut bytes = br#"{"messagePayload":"QUJ\/"}"#.to_vec();
        assert!(scan(&mut bytes).unwrap().payload_proven);
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
            "{\"a\":\"b\",}",
            "{\"a\":\"b\"",
            "{\"a\\u0062\":\"b\"}",
            "{\"a\":\"b\nc\"}",
            "{\"a\nb\":\"c\"}",
            "{'a':'b'}",
            "{\"a\":\"b\" \"c\":\"d\"}",
            "{\"a\":\"b\"}\0",
            "{\u{a0}}",
            "{\"messagePayload\":\"QU\tD\"}",
            "{,}",
            "{\"a\" \"b\"}",
            "{\"a\":1.5}",
            "{\"a\":[\"\\u0041\"]}",
            "{\"action\":null}",
            "{\"action\":\"\\/\"}",
            "{\"messagePayload\":\"a\\/b\\n\"}",
            "{\"messagePayload\":\"a\\\"b\"}",
            "{\"messagePayload\":\"a\\/\\\\\"}",
            "{\"messagePayload\":\"a\",\"messagePayload\":\"\\/\"}",
            "{\"messagePayload\":\"\\/\",\"x\":\"\\u0041\"}",
        ] {
            let mut left = text.as_bytes().to_vec();
            assert_eq!(scan(&mut left), None, "{text:?}");
            assert_eq!(left, text.as_bytes());
        }
    }
}
