//! Players without an SDK: paths, tokens, offers, and answers that are joined with candidates.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use codec::base64;
use codec::http::{Head, HeadLimits};
use codec::json::write;
use codec::limits::{
    PAYLOAD_BYTES, WHEP_ANSWER_BYTES, WHEP_CANDIDATE_BYTES, WHEP_CANDIDATES, WHEP_GATHERED_BYTES,
};
use codec::whep::{self, Fault, Gathered, Target, client_id, fuzzing, offer_payload};
use proptest::prelude::*;

fn payload(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    base64::encode(&mut out, json.as_bytes());
    out
}

fn answer(sdp: &str) -> Vec<u8> {
    let mut json = br#"{"type":"answer","sdp":"#.to_vec();
    write::string(&mut json, sdp);
    payload(&(String::from_utf8(json).unwrap() + "}"))
}

/// The SDP that a player gets of this answer and these candidates.
fn merged(sdp: &str, candidates: &[&str]) -> String {
    let mut gathered = Gathered::default();
    for json in candidates {
        gathered.take_candidate(&payload(json));
    }
    gathered.take_answer(&answer(sdp)).unwrap();
    gathered.into_answer().unwrap()
}

#[test]
fn paths_of_players_are_read() {
    let id = "0123456789abcdEF";
    for (path, read) in [
        ("/whep/cam-1", Some(("cam-1", None))),
        ("/whep/0123456789abcdEF", Some((id, None))),
        ("/whep/cam/0123456789abcdEF", Some(("cam", Some(id)))),
        ("/whep/", None),
        ("/whep", None),
        ("/whepx/cam", None),
        ("/WHEP/cam", None),
        ("/whep/cam/", None),
        ("/whep/cam/0123456789abcde", None),
        ("/whep/cam/0123456789abcde-", None),
        ("/whep/cam/0123456789abcdEF/", None),
        ("/whep//0123456789abcdEF", None),
        ("/whep/c%61m", None),
        ("/whep/a b", None),
    ] {
        let target = Target::parse(path);
        let target = target.map(|target| (target.channel.as_str(), target.call));
        assert_eq!(target, read, "{path}");
    }
    assert_eq!(Target::parse(&format!("/whep/{}", "c".repeat(257))), None);
}

#[test]
fn a_bearer_wins_over_the_query() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("/whep/c", "", ""),
        ("/whep/c?a=1", "", "a=1"),
        ("/whep/c?a=1", "Authorization: Bearer b=2\r\n", "b=2"),
        ("/whep/c", "authorization: bearer  b=2\r\n", "b=2"),
        ("/whep/c?a=1", "Authorization: Bearer \r\n", "a=1"),
        ("/whep/c?a=1", "Authorization: Basic eDp5\r\n", "a=1"),
        ("/whep/c?a=1", "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n", "a=1"),
        ("/whep/c", "Authorization: Basic x\r\nAuthorization: Bearer b\r\n", "b"),
    ];
    for (target, lines, token) in cases {
        let text = format!("POST {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        assert_eq!(whep::token(&head), token, "{text}");
    }
    for (token, id) in [
        ("", None),
        ("X-Amz-Date=1", None),
        ("X-Amz-ClientId=wall%2D1", Some("wall%2D1")),
        ("a=1&x-amz-clientid=v&X-Amz-ClientId=w", Some("v")),
    ] {
        assert_eq!(client_id(token), id, "{token}");
    }
}

#[test]
fn trickle_leaves_an_offer_and_nothing_else_does() {
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        ("v=0\r\nm=audio 9\r\n", "v=0\r\nm=audio 9\r\n"),
        ("a=ice-options:trickle\r\nm=video\r\na=x\r\n", "m=video\r\na=x\r\n"),
        (
            "m=v\na=ice-options:trickle renomination\na=ice-options:ice2  trickle\n",
            "m=v\na=ice-options:renomination\na=ice-options:ice2\n",
        ),
        ("m=v\na=ice-options:a trickle b", "m=v\na=ice-options:a b"),
        ("m=v\na=ice-options: ice2 x\r\n", "m=v\na=ice-options: ice2 x\r\n"),
        ("m=v\na=ice-options:trickles\r\n", "m=v\na=ice-options:trickles\r\n"),
        ("m=v\ni=a=ice-options:trickle\n\u{e9}\"\\", "m=v\ni=a=ice-options:trickle\n\u{e9}\"\\"),
    ];
    for (sent, kept) in rows {
        let payload = offer_payload(sent.as_bytes(), PAYLOAD_BYTES).unwrap();
        let json = String::from_utf8(base64::decode(&payload).unwrap()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json, serde_json::json!({"type": "offer", "sdp": kept}));
    }
    for (sdp, fault) in [
        (&b""[..], Fault::NoMedia),
        (b"v=0\r\na=m=video\r\n M=", Fault::NoMedia),
        (b"m=\xff", Fault::Malformed),
        (&[b'm'; PAYLOAD_BYTES], Fault::NoMedia),
    ] {
        assert_eq!(offer_payload(sdp, PAYLOAD_BYTES), Err(fault));
    }
    let sdp = b"m=video";
    let bytes = offer_payload(sdp, PAYLOAD_BYTES).unwrap().len();
    assert!(offer_payload(sdp, bytes).is_ok());
    assert_eq!(offer_payload(sdp, bytes - 1), Err(Fault::TooLong));
}

#[test]
fn answers_are_read_as_far_as_lines_go() {
    let fault = |payload: &[u8]| Gathered::default().take_answer(payload).err();
    for (text, wanted) in [
        (&*payload(r#"{"sdp":"m=v","x":[{"sdp":1}]}"#), None),
        (b"eyJzZHAiOiJtPXYifQ", None), // without padding
        (b"", Some(Fault::Malformed)),
        (b"!", Some(Fault::Malformed)),
        (&payload("m=v"), Some(Fault::Malformed)),
        (&payload(r#"["m=v"]"#), Some(Fault::Malformed)),
        (&payload(r#"{"SDP":"m=v"}"#), Some(Fault::Malformed)),
        (&payload(r#"{"sdp":1}"#), Some(Fault::Malformed)),
        (&payload(r#"{"sdp":"v=0\r\n"}"#), Some(Fault::NoMedia)),
        (
            &answer(&format!("m={}", "x".repeat(WHEP_GATHERED_BYTES))),
            Some(Fault::TooLong),
        ),
    ] {
        assert_eq!(fault(text), wanted, "{}", base64::text(text));
    }
    let mut twice = Gathered::default();
    twice.take_answer(&answer("m=first")).unwrap();
    twice.take_answer(&answer("m=second")).unwrap();
    assert_eq!(twice.into_answer().unwrap(), "m=first");
}

#[test]
fn an_answer_is_complete_with_a_candidate_of_a_server_or_an_end() {
    let host = "a=candidate:1 1 UDP 9 192.0.2.1 9 typ host";
    let fake = "a=candidate:1 1 UDP 9 192.0.2.1 9 typ host generation typ srflx";
    for (line, is_complete) in [
        ("a=x", false),
        (host, false),
        (fake, false),
        ("a=candidate:1 1 UDP 9 192.0.2.1 9 typ prflx", false),
        ("a=x:candidate:1 typ relay", false),
        (
            "a=candidate:1 1 UDP 9 192.0.2.1 9 typ srflx raddr 0.0.0.0 rport 9",
            true,
        ),
        ("a=candidate:1 1 tcp 9 192.0.2.1 9 typ relay", true),
        ("a=end-of-candidates", true),
        ("a=end-of-candidatesx", false),
    ] {
        let mut gathered = Gathered::default();
        let sdp = format!("m=v\r\n{host}\r\n{line}\r\n");
        gathered.take_answer(&answer(&sdp)).unwrap();
        assert_eq!(gathered.is_complete(), is_complete, "{line}");
    }
    let mut gathered = Gathered::default();
    assert!(!gathered.take_candidate(&payload(r#"{"candidate":"","sdpMid":"0"}"#)));
    assert!(!gathered.is_complete());
    gathered.take_answer(&answer("m=v")).unwrap();
    assert!(gathered.is_complete() && gathered.into_answer().unwrap() == "m=v");
}

const SDP: &str = "v=0\r\na=mid:x\r\nm=audio 9\r\na=mid:0\r\nm=video 9\r\na=mid:x\r\na=y\r\n";

#[test]
fn a_candidate_is_a_line_of_its_section() {
    for (section, number) in [
        ("", Some(0)),
        (r#","sdpMLineIndex":0"#, Some(0)),
        (r#","sdpMLineIndex":1,"sdpMid":"0""#, Some(1)),
        (r#","sdpMLineIndex":2,"sdpMid":"0""#, None),
        (r#","sdpMLineIndex":-1"#, None),
        (r#","sdpMLineIndex":99999999999999999999"#, None),
        (r#","sdpMLineIndex":null,"sdpMid":"x""#, Some(1)),
        (r#","sdpMLineIndex":"1","sdpMid":"0""#, Some(0)),
        (r#","sdpMid":"""#, Some(0)),
        (r#","sdpMid":"2""#, None),
        (r#","sdpMid":"x\r\na=z""#, None),
    ] {
        let line = "a=candidate:1 1 udp\r\n";
        let wanted = match number {
            Some(0) => SDP.replace("m=video", &format!("{line}m=video")),
            Some(_) => format!("{SDP}{line}"),
            None => SDP.to_owned(),
        };
        let json = format!(r#"{{"candidate":"candidate:1 1 udp"{section}}}"#);
        assert_eq!(merged(SDP, &[&json]), wanted, "{section}");
    }
    let [one, two] = ["1", "2"].map(|it| format!(r#"{{"candidate":"candidate:{it}"}}"#));
    for (sdp, wanted) in [
        ("m=v\n", "m=v\na=candidate:1\na=candidate:2\n"),
        ("m=v", "m=v\r\na=candidate:1\r\na=candidate:2\r\n"),
        ("s=1\nm=v", "s=1\nm=v\na=candidate:1\na=candidate:2\n"),
        (
            "m=a\r\nm=v\r\n",
            "m=a\r\na=candidate:1\r\na=candidate:2\r\nm=v\r\n",
        ),
    ] {
        assert_eq!(merged(sdp, &[&one, &two]), wanted, "{sdp}");
    }
}

#[test]
fn other_candidates_are_left_out() {
    let long = format!(r#"{{"candidate":"candidate:{}"}}"#, "x".repeat(503));
    let padded = format!(
        r#"{{"x":"{}","candidate":"candidate:1"}}"#,
        "x".repeat(4096)
    );
    #[rustfmt::skip] // a list
    let cases = [
        "", "null", "{}", r#"{"candidate":null}"#, r#"{"candidate":1}"#, r#"{"candidate":"a=candidate:1"}"#,
        r#"{"candidate":" candidate:1"}"#, r#"{"candidate":"candidate:1\r\na=x"}"#, r#"{"candidate":"candidate:1\n"}"#,
        r#"{"candidate":"candidate:1\u0000"}"#, r#"{"candidate":"candidate:1\u007f"}"#,
        r#"{"candidate":"candidate:1\u00e9"}"#, &long, &padded,
    ];
    for json in cases {
        assert_eq!(merged(SDP, &[json]), SDP, "{json}");
    }
    let longest = long.replace("xx\"", "x\"");
    assert!(merged(SDP, &[&longest]).len() > SDP.len());
}

#[test]
fn what_is_gathered_is_bounded() {
    let candidate = format!(r#"{{"candidate":"candidate:{}"}}"#, "x".repeat(502));
    let mut gathered = Gathered::default();
    let kept = (0..40).filter(|_| gathered.take_candidate(&payload(&candidate)));
    assert_eq!(kept.count(), WHEP_CANDIDATES);
    assert_eq!(gathered.bytes(), WHEP_CANDIDATES * WHEP_CANDIDATE_BYTES);
    let sdp = format!("m={}", "x".repeat(WHEP_GATHERED_BYTES - 2 - 512));
    gathered.take_answer(&answer(&sdp)).unwrap();
    let found = (gathered.candidates(), gathered.bytes());
    assert_eq!(found, (1, WHEP_GATHERED_BYTES));
    assert!(!gathered.take_candidate(&payload(&candidate)));
    let answer = gathered.into_answer().unwrap();
    assert_eq!(answer.matches("a=candidate:").count(), 1);
    assert!(answer.len() <= WHEP_ANSWER_BYTES);
}

proptest! {
    /// Any answer with any candidates, in any order.
    #[test]
    fn sections_keep_their_order(
        lines in proptest::collection::vec("(m=[a-z]{0,3}|a=mid:[0-2]|a=[ -~]{0,9}|\r)(\r\n|\n)", 0..12),
        candidates in proptest::collection::vec(("(candidate:)?[ -~\r\n\u{e9}]{0,9}", -1..4i64, "[0-2]?"), 0..24),
    ) {
        let mut data = lines.concat().into_bytes();
        for (text, number, mid) in candidates {
            let json = serde_json::json!({"candidate": text, "sdpMLineIndex": number, "sdpMid": mid});
            data.push(0xFF);
            data.extend(json.to_string().into_bytes());
        }
        fuzzing::fuzz(&data);
    }
}
