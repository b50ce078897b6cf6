//! The verifier's decisions beside the signature itself: which form counts, clocks, tokens, unknown keys, and the
//! order of refusals. Everything is signed by aws-sigv4.

use super::support::{Call, EMPTY, NOON, SECRET, Shard, Signer, signature};
use codec::http::{Head, HeadLimits};
use codec::sigv4::{AccessKey, Form, Malformed, Refusal, RequestRules, Scope, Service, Window};

#[test]
fn the_header_counts_when_both_forms_are_there() {
    let signer = Signer::default();
    let presigned = signer.presign(
        Call::new("GET", "/", "").pair("X-Amz-ChannelARN", "arn"),
        60,
    );
    let both = signer.sign(presigned.clone());
    assert_eq!(verify(&signer, &presigned), Ok(Form::Strict));
    assert_eq!(verify(&signer, &both), Ok(Form::Header));
    // The query is an ordinary part of what the header signs: its signature is not left out, its expiry not looked at.
    let late = signer.rules_at(NOON + 200);
    let found = Shard::new().verify(&both.head(), b"", &late, Some(&signer.key()));
    assert_eq!(found, Ok(Form::Header));
    let mut forged = both.clone();
    forged.pairs.retain(|pair| pair.0 != "X-Amz-Signature");
    assert_eq!(verify(&signer, &forged), Err(Refusal::Mismatch));
    let mut broken = presigned.header("Authorization", "Bearer x");
    let found = verify(&signer, &broken);
    assert_eq!(found, Err(Refusal::Malformed(Malformed::Algorithm)));
    broken.headers.clear();
    assert_eq!(verify(&signer, &broken), Ok(Form::Strict));
}

#[test]
fn what_is_sloppily_escaped_is_tried_raw() {
    let signer = Signer::default();
    let call = signer.sign(Call::new("GET", "/", "").pair("a", "b:c/d"));
    let wire = call.head();
    let sloppy = wire.replace("b%3Ac%2Fd", "b:c%2fd");
    assert_ne!(wire, sloppy);
    let mut shard = Shard::new();
    let found = shard.verify(&sloppy, b"", &signer.rules(), Some(&signer.key()));
    assert_eq!(found, Ok(Form::Header));
    let other = wire.replace("b%3Ac%2Fd", "b:c%2fe");
    let found = shard.verify(&other, b"", &signer.rules(), Some(&signer.key()));
    assert_eq!(found, Err(Refusal::Mismatch));
}

/// The SDKs for Android and iOS sign the name of a host alone, and connect to its port.
#[test]
fn a_host_may_be_signed_without_its_port() {
    let signer = Signer::default();
    let call = |host: &str| Call {
        host: host.to_owned(),
        ..Call::new("GET", "/", "").pair("a", "b:c/d")
    };
    let name = "m-0a1b2c3d.example.test";
    let header = signer.sign(call(name)).head();
    let url = signer.presign(call(name), 60).head();
    let mut shard = Shard::new();
    let mut verify = |wire: &str| shard.verify(wire, b"", &signer.rules(), Some(&signer.key()));
    let at = |wire: &str, host: &str| wire.replace(&format!("{name}\r"), &format!("{host}\r"));
    for port in [8443, 443, 1] {
        let host = format!("{name}:{port}");
        assert_eq!(verify(&at(&header, &host)), Ok(Form::Header));
        assert_eq!(verify(&at(&url, &host)), Ok(Form::Raw));
    }
    for host in ["x.example.test:8443", "NAME.", "NAME:x"] {
        let host = &host.replace("NAME", name);
        assert_eq!(verify(&at(&url, host)), Err(Refusal::Mismatch), "{host}");
        assert_eq!(verify(&at(&header, host)), Err(Refusal::Mismatch), "{host}");
    }
    // A port that was signed is the one.
    let signed = signer.presign(call(&format!("{name}:8443")), 60).head();
    for host in [name.to_owned(), format!("{name}:8444")] {
        let other = signed.replace(&format!("{name}:8443"), &host);
        assert_eq!(verify(&other), Err(Refusal::Mismatch), "{host}");
    }
    let shown = std::str::from_utf8(shard.verifier.canonical_request()).unwrap();
    assert!(shown.contains(&format!("host:{name}:8444\n")), "{shown}");
}

/// Their URLs are escaped in their own way as well: the form without the port is that of the pairs as they arrived.
#[test]
fn what_is_signed_without_a_port_may_be_sloppily_escaped() {
    let signer = Signer::default();
    let template = signer.presign(Call::new("GET", "/", ""), 60).head();
    let (_, rest) = template.split_once('?').unwrap();
    let (query, _) = rest.split_once(' ').unwrap();
    let pairs = query.split('&').chain(["X-Amz-ClientId=a+b*"]);
    let mut pairs: Vec<_> = pairs
        .filter(|pair| !pair.starts_with("X-Amz-Signature="))
        .collect();
    pairs.sort_unstable();
    let query = pairs.join("&");
    let host = "192.0.2.7";
    let canonical = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{EMPTY}");
    let signature = signature(&canonical);
    let head =
        format!("GET /?{query}&X-Amz-Signature={signature} HTTP/1.1\r\nHost: {host}:8443\r\n\r\n");
    let verdict = Shard::new().verify(&head, b"", &signer.rules(), Some(&signer.key()));
    assert_eq!(verdict, Ok(Form::Raw), "{head}");
}

/// A request longer than the URLs of any SDK is tried in no other form.
#[test]
fn long_requests_are_hashed_once() {
    let signer = Signer::default();
    let call = signer.presign(Call::new("GET", "/", "").pair("a", "b:c"), 60);
    let wire = call.head().replace("b%3Ac", "b:c");
    let mut shard = Shard::new();
    let (key, rules) = (signer.key(), signer.rules());
    let longer = |path: usize, query: usize| {
        let start = format!("GET /{}?x={}&", ":".repeat(path), ":".repeat(query));
        wire.replacen("GET /?", &start, 1)
    };
    let bare = |head: String| head.replace(":8443\r", "\r");
    for (head, forms) in [
        (longer(0, 0), 3),
        (bare(longer(0, 0)), 2),
        (longer(2_000, 0), 3),
        (longer(15_000, 0), 1),
        (longer(0, 15_000), 1),
        (bare(longer(0, 15_000)), 1),
    ] {
        for key in [Some(&key), None] {
            let before = shard.verifier.hashed_bytes();
            assert!(shard.verify(&head, b"", &rules, key).is_err());
            let hashed = shard.verifier.hashed_bytes() - before;
            let last = shard.verifier.canonical_request().len() as u64;
            assert!(hashed + 10 >= forms * last && (forms > 1 || hashed == last));
            assert!(hashed < (forms + 1) * last, "{forms}: {hashed} of {last}");
        }
    }
    let found = shard.verify(&wire, b"", &rules, Some(&key));
    assert_eq!(found, Ok(Form::Strict));
}

#[test]
fn parameters_of_the_protocol_have_one_spelling_and_occur_once() {
    let signer = Signer::default();
    let call = signer.presign(Call::new("GET", "/", "").pair("X-Amz-ClientId", "v"), 60);
    let wire = call.head();
    let hidden = wire.replace("X-Amz-ClientId", "X-Amz-Client%49d");
    let mut shard = Shard::new();
    let mut verify = |wire: &str| shard.verify(wire, b"", &signer.rules(), Some(&signer.key()));
    assert_eq!(verify(&wire), Ok(Form::Strict));
    let found = verify(&hidden);
    assert_eq!(found, Err(Refusal::Malformed(Malformed::Disguised)));
    #[rustfmt::skip] // a list
    let cases = ["X-Amz-ClientId", "X-Amz-Date", "X-Amz-Signature", "X-Amz-Credential"];
    for name in cases {
        let twice = wire.replace(" HTTP/1.1", &format!("&{name}=x HTTP/1.1"));
        assert_eq!(verify(&twice), Err(Refusal::Duplicate(name)));
    }
}

#[test]
fn a_clock_may_be_off_by_the_tolerance_of_its_key() {
    let signer = Signer::default();
    let (header, query) = (
        signer.sign(Call::new("POST", "/", "{}")),
        signer.presign(Call::new("GET", "/", ""), 60),
    );
    let day = AccessKey {
        clock_tolerance_s: Some(24 * 60 * 60),
        ..signer.key()
    };
    let minute = AccessKey {
        clock_tolerance_s: Some(90),
        ..signer.key()
    };
    let vast = AccessKey {
        clock_tolerance_s: Some(u64::MAX),
        ..signer.key()
    };
    let usual = signer.key();
    for (call, key, now, ok) in [
        (&header, &usual, NOON + 300, true),
        (&header, &usual, NOON + 301, false),
        (&header, &usual, NOON - 301, false),
        (&header, &day, NOON + 86_400, true),
        (&header, &day, NOON + 86_401, false),
        (&header, &day, NOON - 86_400, true),
        (&header, &vast, NOON - 86_401, false),
        (&header, &minute, NOON + 90, true),
        (&header, &minute, NOON + 91, false),
        (&query, &day, NOON - 86_400, true),
        (&query, &day, NOON + 60, true),
        (&query, &day, NOON + 61, false),
        (&query, &minute, NOON - 91, false),
        (&query, &usual, NOON - 300, true),
    ] {
        let rules = signer.rules_at(now);
        let verdict = Shard::new().verify(&call.head(), &call.body, &rules, Some(key));
        assert_eq!(verdict.is_ok(), ok, "{now} {verdict:?}");
    }
    let rules = signer.rules_at(NOON + 91);
    let refusal = Shard::new()
        .verify(&header.head(), b"{}", &rules, Some(&minute))
        .unwrap_err();
    assert!(matches!(
        refusal,
        Refusal::Expired {
            window: Window::Tolerance(90),
            ..
        }
    ));
    let fine = refusal
        .to_string()
        .ends_with("20260102T030406Z (20260102T030536Z - 90 sec.)");
    assert!(fine, "{refusal}");
    // A server may allow more, or less, to those whose key says nothing.
    let wide = RequestRules {
        now_s: NOON + 600,
        clock_tolerance_s: 600,
        ..signer.rules()
    };
    let found = Shard::new().verify(&header.head(), b"{}", &wide, Some(&usual));
    assert_eq!(found, Ok(Form::Header));
}

#[test]
fn tokens_belong_to_their_key() {
    let lasting = Signer::default();
    let brief = Signer {
        token: Some("token+/=".to_owned()),
        ..Signer::default()
    };
    let empty = Signer {
        token: Some(String::new()),
        ..Signer::default()
    };
    let other = Signer {
        token: Some("token+/-".to_owned()),
        ..Signer::default()
    };
    for presigned in [false, true] {
        let sign = |signer: &Signer| {
            let call = Call::new("GET", "/", "");
            if presigned {
                signer.presign(call, 60)
            } else {
                signer.sign(call)
            }
        };
        for (signer, key, verdict) in [
            (&lasting, &lasting, Ok(())),
            (&brief, &brief, Ok(())),
            (&lasting, &brief, Err(Refusal::Token)),
            (&brief, &lasting, Err(Refusal::Token)),
            (&other, &brief, Err(Refusal::Token)),
        ] {
            let found =
                Shard::new().verify(&sign(signer).head(), b"", &signer.rules(), Some(&key.key()));
            assert_eq!(found.map(drop), verdict);
        }
        // The signature comes first: a stranger learns nothing of tokens.
        let wrong = AccessKey {
            secret_access_key: "wrong",
            ..brief.key()
        };
        let found = Shard::new().verify(&sign(&lasting).head(), b"", &brief.rules(), Some(&wrong));
        assert_eq!(found, Err(Refusal::Mismatch));
        // Then the key's own end.
        for (expires, verdict) in [
            (NOON + 1, Ok(())),
            (NOON, Err(Refusal::TokenExpired)),
            (0, Err(Refusal::TokenExpired)),
        ] {
            let key = AccessKey {
                expires_s: Some(expires),
                ..brief.key()
            };
            let found = Shard::new().verify(&sign(&brief).head(), b"", &brief.rules(), Some(&key));
            assert_eq!(found.map(drop), verdict);
        }
        // An empty one is none, unless that is not taken.
        let head = sign(&empty).head();
        assert!(head.to_lowercase().contains("x-amz-security-token"));
        for (empty_token_is_none, verdict) in [(true, Ok(())), (false, Err(Refusal::Token))] {
            let rules = RequestRules {
                empty_token_is_none,
                ..lasting.rules()
            };
            let found = Shard::new().verify(&head, b"", &rules, Some(&lasting.key()));
            assert_eq!(found.map(drop), verdict);
        }
    }
    // Beside a presigned URL, a token in a header is not looked at.
    let smuggled = lasting
        .presign(Call::new("GET", "/", ""), 60)
        .header("X-Amz-Security-Token", "token+/=");
    let got = Shard::new().verify(&smuggled.head(), b"", &brief.rules(), Some(&brief.key()));
    assert_eq!(got, Err(Refusal::Token));
    assert_eq!(Refusal::TokenExpired.error_type(), "ExpiredTokenException");
}

#[test]
fn unknown_keys_are_refused_whatever_they_signed_and_fill_no_table() {
    let signer = Signer::default();
    let mut shard = Shard::new();
    for id in 0..100 {
        let head = signer
            .sign(Call::new("GET", "/", ""))
            .head()
            .replace("AKIDEXAMPLE", &format!("AKID{id}"));
        let found = shard.verify(&head, b"", &signer.rules(), None);
        assert_eq!(found, Err(Refusal::UnknownKey));
        assert!(shard.keys.len() <= 1);
    }
    let late = signer.rules_at(NOON + 301);
    let head = signer.sign(Call::new("GET", "/", "")).head();
    assert!(matches!(
        shard.verify(&head, b"", &late, None),
        Err(Refusal::Expired { .. })
    ));
}

#[test]
fn an_announced_body_hash_must_be_the_body_s() {
    let signer = Signer {
        announces_hash: true,
        ..Signer::default()
    };
    let call = Call::new("POST", "/describeSignalingChannel", "{}");
    let signed = signer.sign(call.clone());
    let fine = signed
        .head()
        .contains("x-amz-content-sha256: 44136fa355b3678a");
    assert!(fine);
    assert_eq!(verify(&signer, &signed), Ok(Form::Header));
    #[rustfmt::skip] // a list
    let cases = ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", "44136FA355B3678A"];
    for other in cases {
        let found = verify(&signer, &signed.clone().with("x-amz-content-sha256", other));
        assert_eq!(found, Err(Refusal::Mismatch));
    }
    let unsigned = signer.sign_unsigned_payload(call.clone());
    assert!(unsigned.head().contains("UNSIGNED-PAYLOAD"));
    assert_eq!(verify(&signer, &unsigned), Err(Refusal::Mismatch));
    // An unsigned announcement is held to the body as well, and a presigned call is signed over its body.
    let plain = Signer::default();
    let found = verify(
        &plain,
        &plain.sign(call.clone()).header("X-Amz-Content-Sha256", "0"),
    );
    assert_eq!(found, Err(Refusal::Mismatch));
    let mut presigned = plain.presign(call, 60);
    presigned.body = b"{ }".to_vec();
    assert_eq!(verify(&plain, &presigned), Err(Refusal::Mismatch));
}

#[test]
fn scope_is_this_service_and_region() {
    let (video, sts) = (
        Signer::default(),
        Signer {
            service: Service::Sts,
            ..Signer::default()
        },
    );
    let call = sts.sign(Call::new(
        "POST",
        "/",
        "Action=GetCallerIdentity&Version=2011-06-15",
    ));
    assert_eq!(verify(&sts, &call), Ok(Form::Header));
    let mut shard = Shard::new();
    let refusal = shard.verify(&call.head(), &call.body, &video.rules(), Some(&video.key()));
    let wanted = Err(Refusal::Scope(Scope::Service(Service::KinesisVideo)));
    assert_eq!(refusal, wanted);
    let away = RequestRules {
        region: Some("eu-west-1"),
        ..sts.rules()
    };
    let found = shard.verify(&call.head(), &call.body, &away, Some(&sts.key()));
    assert_eq!(found, Err(Refusal::Scope(Scope::Region)));
    let any = RequestRules {
        region: None,
        ..sts.rules()
    };
    let found = shard.verify(&call.head(), &call.body, &any, Some(&sts.key()));
    assert_eq!(found, Ok(Form::Header));
}

#[test]
fn a_claim_has_the_access_key_id_of_the_request() {
    let signer = Signer {
        token: Some("a+b".to_owned()),
        ..Signer::default()
    };
    for call in [
        signer.sign(Call::new("GET", "/", "")),
        signer.presign(Call::new("GET", "/", ""), 60),
    ] {
        let (text, mut shard) = (call.head(), Shard::new());
        let head = Head::parse(text.as_bytes(), &HeadLimits::default()).unwrap();
        let claim = shard.verifier.read(&head, &signer.rules()).unwrap();
        let found = (claim.access_key_id(), claim.region());
        assert_eq!(found, ("AKIDEXAMPLE", "us-west-2"));
        assert_eq!(claim.session_token(), Some(&b"a+b"[..]));
        assert!(!format!("{claim:?} {:?}", signer.key()).contains("a+b"));
        let verified = claim
            .verify(Some(&signer.key()), b"", &mut shard.keys)
            .unwrap();
        let found = (verified.access_key_id, verified.region);
        assert_eq!(found, ("AKIDEXAMPLE", "us-west-2"));
        assert_eq!(verified.signed.epoch(), i64::try_from(NOON).unwrap());
    }
}

/// Verifies a call by a fresh shard, at the moment of signing, with the signer's own key.
pub(crate) fn verify(signer: &Signer, call: &Call) -> Result<Form, Refusal> {
    assert_eq!(signer.key().secret_access_key, SECRET);
    Shard::new().verify(
        &call.head(),
        &call.body,
        &signer.rules(),
        Some(&signer.key()),
    )
}
