//! The hundred recorded and derived requests of `data/sigv4.json` reach their verdicts, with every intermediate string;
//! captured calls verify at their own time; and nothing that was signed can be changed.

use codec::http::{Head, HeadLimits};
use codec::sigv4::{
    AccessKey, Reason, Refusal, RequestRules, Service, SigningKey, SigningKeys, Stamp, Verifier,
};
use serde_json::Value;

#[test]
fn every_vector_reaches_its_verdict() {
    let document = document();
    let mut bench = Bench::new(&document);
    for vector in vectors(&document) {
        let id = text(&vector["id"]);
        let verdict = bench.verdict(vector, &request(vector), now(vector));
        let expect = &vector["expect"];
        if expect["ok"] == true {
            let form = verdict
                .unwrap_or_else(|refusal| panic!("{id}: {refusal}\n{}", bench.canonical_request()));
            assert_eq!(form, text(&expect["matched_form"]), "{id}");
        } else {
            let refusal = verdict.expect_err(id);
            assert_eq!(Value::from(refusal.status()), expect["status"], "{id}");
            assert_eq!(refusal.error_type(), text(&expect["error_type"]), "{id}");
            let found = refusal.to_string();
            assert_eq!(found, text(&expect["message_suggestion"]), "{id}");
        }
    }
    assert_eq!(vectors(&document).len(), 100);
}

#[test]
fn intermediate_strings_are_the_recorded_ones() {
    let document = document();
    let mut bench = Bench::new(&document);
    let mut compared = 0;
    for vector in vectors(&document)
        .iter()
        .filter(|vector| vector["signature"].is_string())
    {
        let id = text(&vector["id"]);
        bench
            .verdict(vector, &request(vector), now(vector))
            .unwrap();
        let found = bench.canonical_request();
        assert_eq!(found, text(&vector["canonical_request"]), "{id}");
        let to_sign = text(&vector["string_to_sign"]);
        let found = std::str::from_utf8(bench.verifier.string_to_sign()).unwrap();
        assert_eq!(found, to_sign, "{id}");
        let mut scope = to_sign.lines().nth(2).unwrap().split('/');
        let mut next = || scope.next().unwrap();
        let key = SigningKey::derive(SECRET, next(), next(), next());
        let found = hex(&key.sign(to_sign.as_bytes()));
        assert_eq!(found, text(&vector["signature"]), "{id}");
        compared += 1;
    }
    assert!(compared >= 50, "{compared}");
}

#[test]
fn the_derived_key_is_the_documented_one() {
    use aws_lc_rs::hmac;
    let document = document();
    let example = &document["signing_key_example"];
    let part = |name: &str| text(&example[name]);
    let key = SigningKey::derive(
        part("secret_access_key"),
        part("date"),
        part("region"),
        part("service"),
    );
    let bytes: Vec<u8> = (0..32)
        .map(|place| u8::from_str_radix(&part("k_signing")[place * 2..][..2], 16).unwrap())
        .collect();
    let documented = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    assert_eq!(key.sign(b"text"), hmac::sign(&documented, b"text").as_ref());
}

#[test]
fn captured_calls_verify_at_their_own_time() {
    let document = document();
    let mut bench = Bench::new(&document);
    let captured: Value =
        serde_json::from_str(include_str!("../data/sigv4_captured.json")).unwrap();
    let captured = captured.as_array().unwrap();
    for call in captured {
        let (head, body) = parts(call);
        let parsed = Head::parse(head.as_bytes(), &limits()).unwrap();
        let date = parsed
            .header("x-amz-date")
            .or_else(|| parameter(&parsed, "X-Amz-Date"))
            .unwrap();
        let token = parsed
            .header("x-amz-security-token")
            .map(str::to_owned)
            .or_else(|| {
                parameter(&parsed, "X-Amz-Security-Token")
                    .map(|token| codec::http::decode(token).unwrap().into_owned())
            });
        let now = u64::try_from(Stamp::parse(date.as_bytes()).unwrap().epoch()).unwrap();
        let key = AccessKey {
            session_token: token.as_deref(),
            ..key()
        };
        let verified = bench.verify(&parsed, body.as_bytes(), "us-east-1", now, Some(&key));
        assert!(verified.is_ok(), "{call}: {verified:?}");
    }
    assert_eq!(captured.len(), 31);
}

#[test]
fn digits_of_a_signature_have_no_case() {
    let document = document();
    let mut bench = Bench::new(&document);
    for vector in accepted(&document) {
        let ((head, body), signature) = (request(vector), text(&vector["signature"]));
        let upper = (head.replace(signature, &signature.to_uppercase()), body);
        let verdict = bench.verdict(vector, &upper, now(vector));
        assert!(verdict.is_ok(), "{}: {verdict:?}", vector["id"]);
    }
}

#[test]
fn no_signed_header_can_be_dropped() {
    let document = document();
    let mut bench = Bench::new(&document);
    for vector in accepted(&document) {
        let (head, body) = request(vector);
        let canonical = text(&vector["canonical_request"]);
        let signed = canonical.lines().rev().nth(1).unwrap();
        for name in signed.split(';') {
            let lines: Vec<_> = head
                .split_inclusive("\r\n")
                .filter(|line| !line.to_lowercase().starts_with(&format!("{name}:")))
                .collect();
            assert!(lines.concat().len() < head.len());
            if Head::parse(lines.concat().as_bytes(), &limits()).is_err() {
                continue; // HTTP itself wants a Host
            }
            let verdict = bench.verdict(vector, &(lines.concat(), body.clone()), now(vector));
            assert!(verdict.is_err(), "{} without {name}", vector["id"]);
        }
    }
}

#[test]
fn no_request_outlives_its_window() {
    let document = document();
    let mut bench = Bench::new(&document);
    for vector in accepted(&document) {
        let (request, id) = (request(vector), text(&vector["id"]));
        let signed = text(&vector["string_to_sign"]).lines().nth(1).unwrap();
        let signed = u64::try_from(Stamp::parse(signed.as_bytes()).unwrap().epoch()).unwrap();
        let life = match request.0.split_once("X-Amz-Expires=") {
            Some((_, rest)) => rest.split(['&', ' ']).next().unwrap().parse().unwrap(),
            None => 300,
        };
        for (moment, ok) in [(signed + life, true), (signed - 300, true)] {
            assert_eq!(bench.verdict(vector, &request, moment).is_ok(), ok, "{id}");
        }
        let late = bench
            .verdict(vector, &request, signed + life + 1)
            .unwrap_err();
        assert_eq!(late.reason(), Reason::Expired, "{id}");
        let fine = late.to_string().starts_with("Signature expired: ");
        assert!(fine, "{late}");
        let early = bench.verdict(vector, &request, signed - 301).unwrap_err();
        assert_eq!(early.reason(), Reason::Early, "{id}");
        let fine = early.to_string().starts_with("Signature not yet current: ");
        assert!(fine, "{early}");
        for far in [0, u64::MAX] {
            assert!(bench.verdict(vector, &request, far).is_err(), "{id}");
        }
    }
}

/// One byte anywhere: either it is refused, or the canonical request is what it was.
#[test]
fn no_signed_byte_can_be_changed() {
    let document = document();
    let mut bench = Bench::new(&document);
    for (number, vector) in accepted(&document).enumerate() {
        let (head, body) = request(vector);
        for place in 0..head.len() + body.len() {
            for byte in [
                b'x',
                b'%',
                b'&',
                b' ',
                b'0' + u8::try_from((place + number) % 10).unwrap(),
            ] {
                let mut bytes = [head.as_bytes(), body.as_bytes()].concat();
                bytes[place] = byte;
                let Ok(mutant) = String::from_utf8(bytes) else {
                    continue;
                };
                let Some(end) = mutant.find("\r\n\r\n") else {
                    continue;
                };
                let (head, body) = mutant.split_at(end + 4);
                let Ok(head) = Head::parse(head.as_bytes(), &limits()) else {
                    continue;
                };
                let verdict = bench.verify(
                    &head,
                    body.as_bytes(),
                    text(&vector["server_region"]),
                    now(vector),
                    Some(&key_of(vector)),
                );
                if verdict.is_ok() {
                    let found = bench.canonical_request();
                    assert_eq!(found, text(&vector["canonical_request"]), "{mutant}");
                }
            }
        }
    }
}

/// The requests of the document, verified by one verifier with one table of keys, as a shard does it.
struct Bench<'a> {
    document: &'a Value,
    verifier: Verifier,
    keys: SigningKeys,
}

impl<'a> Bench<'a> {
    fn new(document: &'a Value) -> Self {
        Self {
            document,
            verifier: Verifier::new(),
            keys: SigningKeys::new(64),
        }
    }

    /// The form in which a vector's request matches, the key looked up as a broker would.
    fn verdict(
        &mut self,
        vector: &Value,
        (head, body): &(String, String),
        now: u64,
    ) -> Result<&'static str, Refusal> {
        let Ok(head) = Head::parse(head.as_bytes(), &limits()) else {
            panic!("{} is no request head", vector["id"]);
        };
        let known = self.document["fake_credentials"].as_array().unwrap();
        let rules = rules(text(&vector["server_region"]), now);
        let claim = self.verifier.read(&head, &rules)?;
        let known = known
            .iter()
            .find(|entry| entry["access_key_id"] == claim.access_key_id());
        let token = vector.get("session_token_of_key");
        let key = known.map(|entry| AccessKey {
            secret_access_key: text(&entry["secret_access_key"]),
            session_token: token.map_or_else(|| entry["session_token"].as_str(), Value::as_str),
            ..key()
        });
        let verified = claim.verify(key.as_ref(), body.as_bytes(), &mut self.keys)?;
        Ok(match verified.form {
            codec::sigv4::Form::Header => "header",
            codec::sigv4::Form::Strict => "strict",
            codec::sigv4::Form::Raw => "raw",
        })
    }

    fn verify(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        region: &str,
        now: u64,
        key: Option<&AccessKey<'_>>,
    ) -> Result<(), Refusal> {
        let claim = self.verifier.read(head, &rules(region, now))?;
        claim.verify(key, body, &mut self.keys).map(drop)
    }

    fn canonical_request(&self) -> &str {
        std::str::from_utf8(self.verifier.canonical_request()).unwrap()
    }
}

fn rules(region: &str, now_s: u64) -> RequestRules<'_> {
    RequestRules {
        service: Service::KinesisVideo,
        region: Some(region),
        now_s,
        clock_tolerance_s: 300,
        empty_token_is_none: true,
    }
}

fn key() -> AccessKey<'static> {
    AccessKey {
        secret_access_key: SECRET,
        session_token: None,
        expires_s: None,
        clock_tolerance_s: None,
    }
}

/// The key that signed an accepted vector.
pub(crate) fn key_of(vector: &Value) -> AccessKey<'_> {
    let temporary = vector.to_string().contains("ASIAEXAMPLE").then_some(TOKEN);
    let own = vector.get("session_token_of_key").and_then(Value::as_str);
    AccessKey {
        session_token: own.or(temporary),
        ..key()
    }
}

pub(crate) fn document() -> Value {
    serde_json::from_str(include_str!("../data/sigv4.json")).unwrap()
}

fn vectors(document: &Value) -> &[Value] {
    document["vectors"].as_array().unwrap()
}

pub(crate) fn accepted(document: &Value) -> impl Iterator<Item = &Value> {
    vectors(document)
        .iter()
        .filter(|vector| vector["expect"]["ok"] == true)
}

pub(crate) fn request(vector: &Value) -> (String, String) {
    parts(&vector["request"])
}

/// Head and body of a recorded request.
fn parts(request: &Value) -> (String, String) {
    let lines = request["headers"].as_array().unwrap().iter();
    let lines = lines.map(|line| format!("{}: {}\r\n", text(&line[0]), text(&line[1])));
    let lines: String = lines.collect();
    let (method, target) = (text(&request["method"]), text(&request["target"]));
    (
        format!("{method} {target} HTTP/1.1\r\n{lines}\r\n"),
        text(&request["body"]).to_owned(),
    )
}

pub(crate) fn parameter<'a>(head: &Head<'a>, name: &str) -> Option<&'a str> {
    codec::http::pairs(head.query()?)
        .find(|pair| pair.0 == name)
        .map(|pair| pair.1)
}

fn now(vector: &Value) -> u64 {
    vector["now_epoch"].as_u64().unwrap()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn limits() -> HeadLimits {
    HeadLimits::default()
}

/// The secret of every key of the document.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEXAMPLE//token+with/odd==chars";
