//! Parsers of text under committed, recorded and written inputs and seeded mutations of them: nothing panics, pieces
//! mean the same as the whole, the scanner and simd-json agree, nobody is let in without a key, bounds hold, and
//! written texts can be read.

use super::seeded::{corpus, holds};

#[test]
fn heads_hold() {
    let fuzz = codec::http::fuzzing::fuzz;
    holds(&corpus("http"), 0x5EED, HEADS, fuzz);
}

#[test]
fn messages_hold() {
    let fuzz = codec::signal::fuzzing::fuzz;
    holds(&corpus("signal"), 0x5EED, MESSAGES, fuzz);
}

#[test]
fn signed_requests_hold() {
    let (inputs, fuzz) = (signed_requests(), codec::sigv4::fuzzing::fuzz);
    assert_eq!(inputs.len(), 100);
    holds(&inputs, 0x5EED, SIGNATURES, fuzz);
}

#[test]
fn policies_hold() {
    let fuzz = codec::policy::fuzzing::fuzz;
    holds(&[POLICY.to_vec()], 0x90_11C7, POLICIES, fuzz);
}

#[test]
fn forms_hold() {
    let fuzz = codec::sts::fuzzing::fuzz;
    holds(&forms(), 0x0057_5AFE, FORMS, fuzz);
    let mut body = b"0Action=GetCallerIdentity&Version=2011-06-15".to_vec();
    for name in 0..8_000 {
        body.extend_from_slice(format!("&{name}").as_bytes());
    }
    fuzz(&body);
    fuzz(&b"0%25%2541+".repeat(6_000));
}

/// The requests of the vectors, as they go over the wire.
fn signed_requests() -> Vec<Vec<u8>> {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../data/sigv4.json")).unwrap();
    let requests = document["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| &vector["request"]);
    requests
        .map(|request| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let mut wire = format!(
                "{} {} HTTP/1.1\r\n",
                text(&request["method"]),
                text(&request["target"])
            );
            for line in request["headers"].as_array().unwrap() {
                wire.push_str(&format!("{}: {}\r\n", text(&line[0]), text(&line[1])));
            }
            wire.push_str("\r\n");
            wire.push_str(&text(&request["body"]));
            wire.into_bytes()
        })
        .collect()
}

/// The bodies of the transcript, each behind the byte of either rules.
fn forms() -> Vec<Vec<u8>> {
    let fed = "Action=GetFederationToken&Version=2011-06-15";
    let lines = include_str!("../data/sts_verdicts.txt").lines();
    let bodies = lines.filter_map(|line| line.split_once(" => "));
    let forms = bodies.flat_map(|(body, _)| {
        let body = body.replace("@FED", fed);
        ["0", "1"].map(|rules| [rules, &body].concat().into_bytes())
    });
    forms.collect()
}

const POLICY: &[u8] = br#"{"Version": "2012-10-17", "Statement": [
    {"Sid": "a", "Effect": "Allow", "Action": ["kinesisvideo:Connect*", "sts:*"], "Resource": "arn:aws:kinesisvideo:*:*:channel/demo/*"},
    {"Effect": "Deny", "Action": "*", "Resource": ["*"], "Condition": {"StringLike": {"kinesisvideo:ClientId": ["v*", "?"]}}}]}"#;

#[rustfmt::skip] // a list
const HEADS: &[&[u8]] = &[
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\0", b"Host: b\r\n", b"Content-Length: 5\r\n",
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n",
    b"HTTP/1.0", b"POST ", b"?", b"&", b"%41", b"%", b"http://", b"*", b"\xC3\xA9", b"99999999999999999999", b"-1",
];

#[rustfmt::skip] // a list
const MESSAGES: &[&[u8]] = &[
    b"\"", b"\\", b"\\\"", b"\\\\", b"\\/", b"\\u0041", b"\\ud83d", b"\\ude00", b"{", b"}", b"[", b"]", b":", b",",
    b" ", b"\n", b"\0", b"\x1F", b"null", b"true", b"-0.5e+3", b"\"action\":\"SDP_OFFER\",",
    b"\"MessagePayload\":\"QUJD\",", b"\"recipientClientId\":\"v\",", b"\"correlationId\":\"c\",",
    b"\"x\":{\"y\":[1]},", b"SDP_ANSWER", b"+/=", b"-_", b"\xC3\xA9", b"\xFF",
];

#[rustfmt::skip] // a list
const SIGNATURES: &[&[u8]] = &[
    b"\r\n", b" ", b"\t", b",", b"=", b"/", b";", b"&", b"&&", b"?", b"%", b"%4", b"%41", b"%2F", b"%2f", b"%FF", b"+",
    b"\xC3\xA9", b"Credential=", b"SignedHeaders=", b"Signature=", b"AWS4-HMAC-SHA256 ", b"aws4_request",
    b"X-Amz-Date", b"X-Amz-Date: 20260102T030405Z\r\n", b"Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n",
    b"Authorization: AWS4-HMAC-SHA256 ", b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n", b"X-Amz-Security-Token=",
    b"X-Amz-Client%49d=", b"&X-Amz-Signature=", b"99999999999999999999", b"-1", b"host;",
];

#[rustfmt::skip] // a list
const POLICIES: &[&[u8]] = &[
    b"*", b"?", b"${", b":", b"\"", b"[", b"]", b"{", b"}", b",", b"\\u0000", b"\xC3", b"\"StringEquals\"",
    b"\"NotAction\"",
];

#[rustfmt::skip] // a list
const FORMS: &[&[u8]] = &[
    b"&", b"&&", b"=", b"+", b"%", b"%4", b"%41", b"%2B", b"%C3%A9", b"%ff", b"%00", b"\xC3\xA9", b"\xff", b"<",
    b"&amp;", b"\r\n\t", b"\x1b", b"\xEF\xBF\xBE", b"&Name=bob", b"&Policy=%7B%7D", b"&DurationSeconds=900",
    b"99999999999999999999", b"-1", b"&Tags=", b"&Tags.member.1.Key=k", b"&PolicyArns=", b"Action=",
    b"GetFederationToken", b"&Version=2011-06-15",
];
