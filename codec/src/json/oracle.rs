//! Tests the scanner against simd-json, and both of them against serde_json, with generated and mutated texts.

use super::{Member, MemberName, Members};
use crate::base64;
use crate::json::{TapeReader, scan::scan};
use crate::limits::JSON_DEPTH;
use proptest::prelude::*;
use serde_json::Value;

#[derive(Debug, PartialEq, Eq)]
struct MemberTexts {
    values: [Option<String>; 4],
    twice: bool,
    correlation_twice: bool,
}

fn found(members: &Members, text: &[u8]) -> MemberTexts {
    let value = |member| match member {
        Member::Absent => None,
        Member::Other => Some("(other)".to_owned()),
        Member::Text(span) => Some(format!("={}", std::str::from_utf8(span.of(text)).unwrap())),
    };
    let values = [
        members.action,
        members.payload,
        members.recipient,
        members.correlation,
    ]
    .map(value);
    MemberTexts {
        values,
        twice: members.twice,
        correlation_twice: members.correlation_twice,
    }
}

/// Returns what the flat scanner alone reads from a text.
pub(crate) fn scanned(text: &mut [u8]) -> Option<Members> {
    let mut members = Members::default();
    scan(text, &mut members).map(|()| members)
}

fn compare(text: &str) -> bool {
    let mut theirs = text.as_bytes().to_vec();
    let tape = TapeReader::default().members(&mut theirs);
    let tape = tape.map(|members| found(&members, &theirs));
    let mut ours = text.as_bytes().to_vec();
    match scanned(&mut ours) {
        Some(members) => {
            let ours = std::str::from_utf8(&ours).expect("what is left stays UTF-8");
            let found = found(&members, ours.as_bytes());
            assert_eq!(Some(found), tape, "scanner and simd-json on {text:?}");
        }
        None => assert_eq!(ours, text.as_bytes(), "given up after a change of {text:?}"),
    }
    let serde = serde_json::from_str::<Value>(text)
        .ok()
        .filter(Value::is_object);
    match (&tape, &serde) {
        (Some(tape), Some(Value::Object(members))) if !tape.twice => {
            let wanted = wanted(members);
            assert_eq!(tape.values, wanted, "simd-json and serde_json, {text:?}");
        }
        (Some(_), Some(_)) | (None, None) => {}
        (Some(_), None) => panic!("simd-json is laxer than serde_json on {text:?}"),
        (None, Some(_)) => assert!(
            is_beyond(text),
            "simd-json is stricter than serde_json on {text:?}"
        ),
    }
    tape.is_some()
}

fn wanted(members: &serde_json::Map<String, Value>) -> [Option<String>; 4] {
    [
        MemberName::Action,
        MemberName::Payload,
        MemberName::Recipient,
        MemberName::Correlation,
    ]
    .map(|key| {
        let (_, value) = members
            .iter()
            .find(|(name, _)| MemberName::of(name.as_bytes()) == Some(key))?;
        match value {
            Value::Null => None,
            Value::String(text) => Some(format!("={text}")),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Some("(other)".to_owned())
            }
        }
    })
}

/// Returns whether simd-json may reject a valid JSON text because a number exceeds 64 bits or because the nesting is
/// deep.
fn is_beyond(text: &str) -> bool {
    let mut runs = text.split(|byte: char| !byte.is_ascii_digit());
    let digits = runs.any(|run| run.len() >= 19);
    let opens = text.matches(['{', '[']).count();
    digits || opens > JSON_DEPTH || text.contains(['e', 'E'])
}

fn blank() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{0,3}"]
}

fn string() -> impl Strategy<Value = String> {
    let escaped = r#"([a-zA-Z0-9+/=_.é€-]|\\["\\/bfnrt]|\\u00[0-7][0-9a-f]|\\ud83d\\ude00){0,12}"#;
    prop_oneof![
        Just("SDP_OFFER".to_owned()),
        Just("ICE_CANDIDATE".to_owned()),
        "[A-Za-z0-9+/]{0,80}={0,2}",
        "([A-Za-z0-9+/é]|\\\\/){0,80}={0,2}",
        "[a-zA-Z0-9_.-]{1,40}",
        escaped,
        "\\PC{0,20}".prop_map(|text| text.replace(['"', '\\'], "")),
    ]
    .prop_map(|text| format!("\"{text}\""))
}

fn name() -> impl Strategy<Value = String> {
    #[rustfmt::skip] // a list
    let known = [
        "action", "Action", "messagePayload", "MessagePayload", "recipientClientId", "RecipientClientId",
    ];
    #[rustfmt::skip] // a list
    let others = [
        "correlationId", "CorrelationId", "senderClientId", "IceServerList", "ACTION", "act\\u0069on", "x", "",
    ];
    let names: Vec<_> = known
        .iter()
        .chain(&others)
        .map(|name| format!("\"{name}\""))
        .collect();
    proptest::sample::select(names)
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        8 => string(),
        1 => proptest::sample::select(WORDS).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec((name(), inner), 0..3).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("{name}:{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

const WORDS: &[&str] = &["null", "true", "false", "0", "-1", "3.25", "1e3", "-0.0"];

fn object() -> impl Strategy<Value = String> {
    let member = (
        blank(),
        name(),
        blank(),
        prop_oneof![3 => string(), 1 => value()],
        blank(),
    );
    let member = member.prop_map(|(a, name, b, value, c)| format!("{a}{name}{b}:{c}{value}{b}"));
    (proptest::collection::vec(member, 0..7), blank())
        .prop_map(|(members, end)| format!("{end}{{{}}}{end}", members.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_agree_on_objects(text in object()) {
        prop_assert!(compare(&text), "{}", text);
    }

    #[test]
    fn readers_agree_on_damaged_objects(
        text in object(),
        edits in proptest::collection::vec((any::<u16>(), 0..12usize), 1..4),
    ) {
        let mut text = text;
        for (place, edit) in edits {
            let mut at = place as usize % (text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match edit {
                0 => text.truncate(at),
                1 if at < text.len() => { text.remove(at); }
                1 => {}
                other => text.insert_str(at, [",", ":", "\"", "\\", "{", "}", "[", "]", "\0", "1"][other - 2]),
            }
        }
        compare(&text);
    }
}

#[test]
fn the_corners_of_the_grammar() {
    let objects: Vec<_> = CORNERS.iter().filter(|text| compare(text)).collect();
    assert_eq!(objects.len(), 12, "{objects:?}");
}

/// Edge cases of the grammar in RFC 8259. Twelve of them are objects.
#[rustfmt::skip] // a list
const CORNERS: &[&str] = &[
    r#"{"a":01}"#, r#"{"a":1.}"#, r#"{"a":.5}"#, r#"{"a":+1}"#, r#"{"a":-}"#, r#"{"a":-0}"#, r#"{"a":1e}"#,
    r#"{"a":0x1}"#, r#"{"a":NaN}"#, r#"{"a":nul}"#, r#"{"a":nulll}"#, r#"{"a":true1}"#, r#"{"a":tru"#,
    r#"{"a":"\u12"}"#, r#"{"a":"\x"}"#, r#"{"a":"\ud800"}"#, r#"{"a":"\udc00"}"#, r#"{"a":"\ud800\u0041"}"#,
    r#"{"a":"\ud83d\ude00"}"#, "{\"a\":\"\u{7f}\"}", "{\"a\":\"\t\"}", "{\"a\":\"\0\"}", "{\"a\":1}\0",
    "{\"a\":1} \u{a0}", "\u{feff}{}", "{\"a\":1,}", "{,\"a\":1}", "{\"a\":[1,]}", "{\"a\" 1}", "{\"a\":1 \"b\":2}",
    "{\"a\":1}{}", "{\"a\"::1}", "{a:1}", "{1:1}", "{null:1}", "{\"a\":\"b\"\"c\"}", "{} {}", "{", "}", "{]", "[}",
    "{\"a\":[}", "{\"a\":{]}", "\"", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":\"", "{\"a\":\"b", "// {}", "{}//",
    "{\"a\":\"b\\\"}", "{\"a\":\"b\\\\\"}", "{\"a\":\"\\\\\\\"\"}", "{\u{b}}", "{\u{c}}", "{}\u{c}",
    "{\"a\":1,\"a\":2}", "{}", " {} ", "{\"\":\"\"}", "{\"a\":\"\u{2028}\"}", "{\"\u{fffd}\":\"\u{10ffff}\"}",
    "{\"\\u0000\":\"\\u0000\"}",
];

#[test]
fn names_that_are_nearly_known() {
    for name in [
        "action",
        "messagePayload",
        "recipientClientId",
        "correlationId",
    ] {
        let capital = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        for name in [name, &capital] {
            for end in 0..name.len() {
                assert!(compare(&format!(r#"{{"{}":"v","x":"y"}}"#, &name[..end])));
            }
            let long = format!("{name}x");
            for name in [name, &long, &name.to_uppercase(), &name[1..]] {
                assert!(compare(&format!(r#"{{"{name}":"v","x":"y"}}"#)), "{name}");
            }
        }
    }
}

#[test]
fn every_depth_up_to_more_than_is_read() {
    for depth in 0..JSON_DEPTH + 3 {
        for (open, close) in [("[", "]"), ("{\"y\":", "}")] {
            for inner in ["1", "[]", "{}"] {
                let (open, close) = (open.repeat(depth), close.repeat(depth));
                let below = depth + usize::from(inner != "1");
                let text = format!(r#"{{"x":{open}{inner}{close},"action":"a"}}"#);
                assert_eq!(compare(&text), below < JSON_DEPTH, "{text}");
            }
        }
    }
}

#[test]
fn every_length_up_to_some_blocks_of_simd() {
    for length in 0..300 {
        let filler = "A".repeat(length);
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            format!(r#"{{"action":"{filler}"}}"#),
            format!(r#"{{"messagePayload":"{filler}","action":"SDP_OFFER"}}"#),
            format!(r#"{{"{filler}":"x","action":"\u0041"}}"#),
            format!(r#"{}{{"action":"x"}}{}"#, " ".repeat(length), "\n".repeat(length)),
        ];
        for text in cases {
            assert!(compare(&text));
            assert!(!compare(text.trim_end().trim_end_matches('}')));
        }
        assert!(!compare(&format!(
            "{{\"messagePayload\":\"{filler}\u{1}{filler}\"}}"
        )));
        assert!(!compare(&format!("{{\"{filler}\u{1f}{filler}\":\"\"}}")));
    }
}

#[test]
fn large_payloads_are_read_like_small_ones() {
    for place in 0..1100 {
        for other in ["\"", "\\", "\\/", "-", "=", " ", "é", "\u{1}", "\u{7f}"] {
            let mut payload = "QUJD".repeat(275);
            payload.replace_range(place..=place, other);
            let text = format!(r#"{{"messagePayload":"{payload}","action":"SDP_OFFER"}}"#);
            compare(&text);
            let mut bytes = text.into_bytes();
            if let Some(members) = scanned(&mut bytes)
                && let Member::Text(span) = members.payload
            {
                let is_well_formed = base64::is_well_formed(span.of(&bytes));
                assert_eq!(
                    members.payload_proven, is_well_formed,
                    "{other:?} at {place}"
                );
            }
        }
    }
}
