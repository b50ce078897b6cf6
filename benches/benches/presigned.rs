//! Signatures: verifying a request, and the cost of hashing alone in two libraries.

use benches::harness::{Group, Timer, group, run};
use codec::http::{Head, HeadLimits};
use codec::sigv4::{
    AccessKey, Form, Refusal, RequestRules, Service, SigningKey, SigningKeys, Verifier,
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for case in cases() {
            read(criterion, &case);
            verify(criterion, &case);
        }
        digest(criterion);
        derive(criterion);
    });
}

struct Case {
    name: &'static str,
    head: String,
    body: String,
    token: Option<String>,
    known: bool,
    canonical_bytes: usize,
    verdict: Result<Form, Refusal>,
}

/// Test cases: an API call of botocore, also with a modified body; the recorded upgrade of a viewer with the JavaScript
/// SDK; and the same upgrade with a token of typical length (1,150 canonical bytes), also with unescaped colons (only
/// the raw form matches), with a wrong signature, and with an unknown key.
fn cases() -> Vec<Case> {
    let document: Value = serde_json::from_str(include_str!("../../codec/tests/data/sigv4.json"))
        .expect("vectors are JSON");
    let vectors = document["vectors"].as_array().expect("vectors are a list");
    let recorded = |name, id: &str, verdict| {
        let vector = vectors.iter().find(|vector| vector["id"] == id);
        let request = &vector.expect("the vector is there")["request"];
        let lines = request["headers"].as_array().expect("headers are a list");
        let mut head = format!(
            "{} {} HTTP/1.1\r\n",
            text(&request["method"]),
            text(&request["target"])
        );
        for line in lines {
            let _ = write!(head, "{}: {}\r\n", text(&line[0]), text(&line[1]));
        }
        head.push_str("\r\n");
        let body = text(&request["body"]).to_owned();
        Case::new(name, head, body, head_token(id), verdict)
    };
    let upgrade = recorded("upgrade-521B", "js-viewer-token", Ok(Form::Strict));
    let long = upgrade.with_token(&token());
    assert!(
        (1_140..=1_160).contains(&long.canonical_bytes),
        "{}",
        long.canonical_bytes
    );
    let raw = long.resigned(
        "upgrade-1150B-raw",
        |head| head.replace("%3A", ":"),
        Ok(Form::Raw),
    );
    let forged = Case::new(
        "upgrade-1150B-forged",
        long.head
            .replace("X-Amz-Date=20260102T030405Z", "X-Amz-Date=20260102T030406Z"),
        String::new(),
        long.token.clone(),
        Err(Refusal::Mismatch),
    );
    let mut stranger = Case::new(
        "upgrade-1150B-stranger",
        long.head.clone(),
        String::new(),
        long.token.clone(),
        Ok(Form::Strict),
    );
    (stranger.known, stranger.verdict) = (false, Err(Refusal::UnknownKey));
    let call = recorded("call-226B", "hdr-botocore", Ok(Form::Header));
    let mut other_body = Case::new(
        "call-226B-forged",
        call.head.clone(),
        call.body.clone() + " ",
        None,
        Err(Refusal::Mismatch),
    );
    other_body.canonical_bytes = call.canonical_bytes;
    let mut huge = [call_of_path(&long, 15), call_of_query(&long, 15)];
    for huge in &mut huge {
        (huge.known, huge.verdict) = (false, Err(Refusal::UnknownKey));
    }
    let [path, query] = huge;
    vec![
        call, other_body, upgrade, long, raw, forged, stranger, path, query,
    ]
}

/// Builds an upgrade with an unknown key, a path of `kib` KiB to encode, and a parameter that is not strictly encoded.
fn call_of_path(upgrade: &Case, kib: usize) -> Case {
    let path = format!("GET /{}?a=:&", ":".repeat((kib - 2) * 1024));
    let head = upgrade.head.replacen("GET /?", &path, 1);
    assert_ne!(head, upgrade.head);
    let token = upgrade.token.clone();
    let verdict = upgrade.verdict;
    Case::new("path-15KiB-stranger", head, String::new(), token, verdict)
}

/// Like [`call_of_path`], but the parameter takes the `kib` KiB.
fn call_of_query(upgrade: &Case, kib: usize) -> Case {
    let query = format!("GET /?a={}&", ":".repeat((kib - 2) * 1024));
    let head = upgrade.head.replacen("GET /?", &query, 1);
    assert_ne!(head, upgrade.head);
    let token = upgrade.token.clone();
    let verdict = upgrade.verdict;
    Case::new("query-15KiB-stranger", head, String::new(), token, verdict)
}

impl Case {
    fn new(
        name: &'static str,
        head: String,
        body: String,
        token: Option<String>,
        verdict: Result<Form, Refusal>,
    ) -> Self {
        let mut case = Self {
            name,
            head,
            body,
            token,
            known: true,
            canonical_bytes: 0,
            verdict,
        };
        let mut verifier = Verifier::new();
        let _ = case.run(&mut verifier, &mut SigningKeys::new(8));
        case.canonical_bytes = verifier.canonical_request().len();
        case
    }

    fn with_token(&self, token: &str) -> Self {
        let mut encoded = String::new();
        codec::http::encode(&mut encoded, token);
        let old = self.token.as_deref().expect("the recording has a token");
        let mut old_encoded = String::new();
        codec::http::encode(&mut old_encoded, old);
        let mut case = self.resigned(
            "upgrade-1150B",
            |head| head.replace(&old_encoded, &encoded),
            self.verdict,
        );
        case.token = Some(token.to_owned());
        case
    }

    /// Applies `change` to the head, and signs the result in the form that is verified last.
    fn resigned(
        &self,
        name: &'static str,
        change: impl Fn(&str) -> String,
        verdict: Result<Form, Refusal>,
    ) -> Self {
        let head = change(&self.head);
        let (before, rest) = head
            .split_once("X-Amz-Signature=")
            .expect("an upgrade is signed");
        let signed = |digits: &str| format!("{before}X-Amz-Signature={digits}{}", &rest[64..]);
        let mut verifier = Verifier::new();
        let unsigned = Self {
            head: signed(&"0".repeat(64)),
            name,
            body: self.body.clone(),
            token: self.token.clone(),
            ..*self
        };
        let found = unsigned.run(&mut verifier, &mut SigningKeys::new(8));
        assert_eq!(found, Err(Refusal::Mismatch));
        let signature = signing_key().sign(verifier.string_to_sign());
        let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        let (body, token) = (self.body.clone(), self.token.clone());
        Self::new(name, signed(&digits), body, token, verdict)
    }

    fn run(&self, verifier: &mut Verifier, keys: &mut SigningKeys) -> Result<Form, Refusal> {
        let head = Head::parse(self.head.as_bytes(), &HeadLimits::default()).expect("it is a head");
        self.verify(&head, verifier, keys)
    }

    fn verify(
        &self,
        head: &Head<'_>,
        verifier: &mut Verifier,
        keys: &mut SigningKeys,
    ) -> Result<Form, Refusal> {
        let key = AccessKey {
            secret_access_key: SECRET,
            session_token: self.token.as_deref(),
            expires_s: None,
            clock_tolerance_s: None,
        };
        let claim = verifier.read(head, &RULES)?;
        let verified = claim.verify(self.known.then_some(&key), self.body.as_bytes(), keys)?;
        Ok(verified.form)
    }
}

/// Times the checks of parts, scope and clock, that is, the cost of an early refusal.
fn read(criterion: &mut Timer, case: &Case) {
    let head = Head::parse(case.head.as_bytes(), &HeadLimits::default()).expect("it is a head");
    let mut verifier = Verifier::new();
    let mut group = group(
        criterion,
        "presigned/read",
        case.name,
        1,
        case.canonical_bytes,
    );
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| verifier.read(black_box(&head), &RULES).is_ok());
    });
    group.finish();
}

fn verify(criterion: &mut Timer, case: &Case) {
    let head = Head::parse(case.head.as_bytes(), &HeadLimits::default()).expect("it is a head");
    let (mut verifier, mut keys) = (Verifier::new(), SigningKeys::new(1024));
    for _ in 0..2 {
        assert_eq!(
            case.verify(&head, &mut verifier, &mut keys),
            case.verdict,
            "{}",
            case.name
        );
    }
    let mut group = group(
        criterion,
        "presigned/verify",
        case.name,
        1,
        case.canonical_bytes,
    );
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            case.verify(black_box(&head), &mut verifier, &mut keys)
                .is_ok()
        });
    });
    group.finish();
}

/// Times the minimum work of any verifier: one SHA-256 of the canonical request, and one HMAC with a prepared key.
fn digest(criterion: &mut Timer) {
    let (request, to_sign) = (vec![b'a'; 1_150], vec![b'b'; 138]);
    let key = [7; 32];
    let ours = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    let theirs = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
    let by_aws_lc = || {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, black_box(&request));
        (hash, aws_lc_rs::hmac::sign(&ours, black_box(&to_sign)))
    };
    let by_rust_crypto = || {
        let hash = Sha256::digest(black_box(&request));
        let mut mac = theirs.clone();
        mac.update(black_box(&to_sign));
        (hash, mac.finalize().into_bytes())
    };
    assert_eq!(by_aws_lc().0.as_ref(), by_rust_crypto().0.as_slice());
    assert_eq!(by_aws_lc().1.as_ref(), by_rust_crypto().1.as_slice());
    let mut group = group(criterion, "presigned/digest", "1150B", 1, request.len());
    group.bench_function("aws-lc-rs", |bencher| bencher.iter(by_aws_lc));
    group.bench_function("sha2", |bencher| bencher.iter(by_rust_crypto));
    group.finish();
}

fn derive(criterion: &mut Timer) {
    let parts = ["20260102", "us-east-1", "kinesisvideo", "aws4_request"];
    let by_rust_crypto = || {
        let mut key = ["AWS4", SECRET].concat().into_bytes();
        for part in parts {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
            mac.update(part.as_bytes());
            key = mac.finalize().into_bytes().to_vec();
        }
        Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length")
    };
    let mut mac = by_rust_crypto();
    mac.update(b"text");
    assert_eq!(
        mac.finalize().into_bytes().as_slice(),
        signing_key().sign(b"text")
    );
    let mut group: Group<'_> = group(criterion, "presigned/derive", "key", 1, SECRET.len());
    group.bench_function("heliograph", |bencher| bencher.iter(signing_key));
    group.bench_function("sha2", |bencher| bencher.iter(by_rust_crypto));
    group.finish();
}

fn signing_key() -> SigningKey {
    SigningKey::derive(black_box(SECRET), "20260102", "us-east-1", "kinesisvideo")
}

/// Builds a session token of typical length: base64 of random-looking bytes.
fn token() -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 1u32;
    let mut digit = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(digits[state as usize >> 26])
    };
    (0..620).map(|_| digit()).collect()
}

fn head_token(id: &str) -> Option<String> {
    id.contains("token")
        .then(|| "FwoGZXIvYXdzEXAMPLE//token+with/odd==chars".to_owned())
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a recording's text")
}

const RULES: RequestRules<'_> = RequestRules {
    service: Service::KinesisVideo,
    region: Some("us-east-1"),
    now_s: 1_767_323_055,
    clock_tolerance_s: 300,
    empty_token_is_none: true,
};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
