//! Malformed and absurd requests.

use super::rules::verify;
use super::support::{Call, Shard, Signer};
use codec::http::{Head, HeadLimits};
use codec::sigv4::{Malformed, Refusal};

#[test]
fn malformed_parts_are_named() {
    let signer = Signer::default();
    let signed = signer.sign(Call::new("GET", "/", ""));
    let authorization = signed
        .headers
        .iter()
        .find(|line| line.0 == "authorization")
        .unwrap()
        .1
        .clone();
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", Malformed::Algorithm),
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", Malformed::Algorithm),
        ("Credential=", "credential=", Malformed::HeaderParts),
        ("SignedHeaders=", "Credential=", Malformed::HeaderParts),
        (", SignedHeaders=", "", Malformed::HeaderPart("SignedHeaders")),
        ("AKIDEXAMPLE/", "/", Malformed::Credential),
        ("AKIDEXAMPLE/", "AKIDEXAMPLE/x/", Malformed::Credential),
        ("Signature=", "Signature=0", Malformed::Signature),
        ("Signature=", "Signature=, x", Malformed::HeaderParts),
    ];
    for (from, to, fault) in cases {
        assert!(authorization.contains(from));
        let call = signed
            .clone()
            .with("authorization", &authorization.replace(from, to));
        let found = verify(&signer, &call);
        assert_eq!(found, Err(Refusal::Malformed(fault)), "{from} -> {to}");
    }
    for name in ["Authorization", "X-Amz-Date"] {
        let twice = signed.clone().header(name, "x");
        let found = verify(&signer, &twice);
        assert_eq!(found, Err(Refusal::Malformed(Malformed::HeaderTwice(name))));
    }
    let bad = signed.with("x-amz-date", "2026-01-02T03:04:05Z");
    let found = verify(&signer, &bad);
    assert_eq!(found, Err(Refusal::Malformed(Malformed::Date)));
}

#[test]
fn too_many_parameters_are_refused_wherever_the_signature_is() {
    let signer = Signer::default();
    let signed = signer.presign(Call::new("GET", "/", ""), 60).head();
    let many = "a=1&".repeat(200);
    let refused = Err(Refusal::Malformed(Malformed::TooMany));
    let before = signed.replacen("/?", &format!("/?{many}"), 1);
    let behind = signed.replacen(" HTTP/1.1", &format!("&{many} HTTP/1.1"), 1);
    for head in [before, behind] {
        let mut shard = Shard::new();
        let verdict = shard.verify(&head, b"", &signer.rules(), Some(&signer.key()));
        assert_eq!(verdict, refused, "{head}");
    }
}

#[test]
fn absurd_lengths_are_refused_soon() {
    let signer = Signer::default();
    let limits = HeadLimits {
        head_bytes: 16 << 20,
        ..HeadLimits::default()
    };
    let long = 8 << 20;
    let header = |credential: &str, signed: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\nX-Amz-Date: 20260102T030405Z\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential={credential}, \
             SignedHeaders={signed}, Signature={}\r\n\r\n",
            "0".repeat(64)
        )
    };
    let scope = "AKID/20260102/us-west-2/kinesisvideo/aws4_request";
    let query = |query: &str| format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
    for head in [
        header(&format!("{}{scope}", "A".repeat(long)), "host"),
        header(&format!("{scope}{}", "/".repeat(long)), "host"),
        header(scope, &"host;".repeat(long / 5)),
        header(scope, &"x".repeat(long)),
        header(scope, &";".repeat(long)),
        query(&"a&".repeat(long / 2)),
        query(&format!("X-Amz-Signature={}", "a&".repeat(long / 2))),
        query(&format!("X-Amz-Credential={}", "%2F".repeat(long / 3))),
        query(&format!(
            "X-Amz-Expires={}&X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "9".repeat(long)
        )),
        query(&format!("X-Amz-Algorithm={}", "%41".repeat(long / 3))),
    ] {
        let parsed = Head::parse(head.as_bytes(), &limits).unwrap();
        let mut shard = Shard::new();
        let verdict = shard.verifier.read(&parsed, &signer.rules());
        let verdict = verdict.and_then(|claim| claim.verify(None, b"", &mut shard.keys).map(drop));
        assert!(verdict.is_err(), "{}", &head[..100]);
    }
}
