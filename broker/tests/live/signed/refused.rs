//! Signatures that are not right: each with its status, type and text, and counted once under its reason.

use crate::http::Connection;
use crate::signed::service::{Refusal, Service, ended, on_signed_shards, temporary};
use crate::signed::signer::{Call, Signer, now_s};
use aws_lc_rs::digest::{SHA256, digest};
use codec::sigv4::{SigningKey, Stamp};
use serde_json::json;

on_signed_shards!(
    a_call_that_was_changed_after_signing_is_refused,
    clocks_may_be_off_by_their_tolerance,
    keys_and_tokens_of_nobody_are_refused,
    the_host_must_be_signed,
    a_refused_call_does_not_end_its_connection,
);

pub(crate) const MISMATCH: Refusal = Refusal {
    status: 403,
    kind: "InvalidSignatureException",
    text: "The request signature we calculated does not match the signature you provided.",
    reason: Some("mismatch"),
};

const UNKNOWN_KEY: Refusal = Refusal {
    status: 403,
    kind: "UnrecognizedClientException",
    text: "The security token included in the request is invalid.",
    reason: Some("unknown_key"),
};

const TOKEN: Refusal = Refusal {
    reason: Some("token"),
    ..UNKNOWN_KEY
};

const fn malformed(text: &'static str) -> Refusal {
    Refusal {
        status: 400,
        kind: "IncompleteSignatureException",
        text,
        reason: Some("malformed"),
    }
}

/// A request in each form: an API call signed in its headers, and a viewer's presigned upgrade.
fn both(service: &Service, signer: &Signer) -> [Call; 2] {
    [describe(service, signer), viewer(service, signer)]
}

fn describe(service: &Service, signer: &Signer) -> Call {
    let body = json!({"ChannelName": "demo"});
    signer.sign(Call::api(
        &service.broker,
        "/describeSignalingChannel",
        &body,
    ))
}

fn viewer(service: &Service, signer: &Signer) -> Call {
    let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000";
    signer.presign(Call::viewer(&service.broker, arn, "v1"), 299)
}

pub(crate) fn forge(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// Asserts that a request that was changed after signing is refused.
fn changed(service: &Service, what: &str, call: &Call, changed: &Call) {
    assert_ne!(call.bytes(), changed.bytes(), "{what}");
    service.refuses(changed, &MISMATCH, what);
}

fn at(path: &str, call: &Call) -> Call {
    Call {
        path: path.to_owned(),
        ..call.clone()
    }
}

fn at_another_host(call: &Call) -> Call {
    Call {
        host: call.host.replace("127.0.0.1", "localhost"),
        ..call.clone()
    }
}

/// A moment that is not that of signing, but as good.
fn another_moment() -> String {
    Stamp::from_epoch(now_s() + 70).to_string()
}

fn a_call_that_was_changed_after_signing_is_refused(service: &Service) {
    let signer = Signer::new("admin");
    service.create(&signer, "demo");
    let call = describe(service, &signer);
    service.send(&call).ok();
    let with_body = |body: String| Call {
        body,
        ..call.clone()
    };
    for (what, other) in [
        ("forged", call.clone().with("Authorization", forge)),
        ("another host", at_another_host(&call)),
        ("another path", at("/deleteSignalingChannel", &call)),
        ("another body", with_body(call.body.replace("demo", "dem0"))),
        ("a longer body", with_body(call.body.clone() + " ")),
        ("a query added", call.clone().pair("X-Amz-Role", "MASTER")),
        (
            "another moment",
            call.clone().with("x-amz-date", |_| another_moment()),
        ),
        (
            "another hash announced",
            call.clone().header("X-Amz-Content-Sha256", &"0".repeat(64)),
        ),
    ] {
        changed(service, what, &call, &other);
    }
    let list = Call::api(&service.broker, "/listSignalingChannels", &json!({}));
    let any = signer.sign_any_body(list);
    service.refuses(&any, &MISMATCH, "an unsigned body");
    let any = any.header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    service.refuses(&any, &MISMATCH, "an unsigned body, and said so");
}

/// The C SDK sets its clock by these phrases (codec/PROTOCOL.md, ERR-4).
fn clocks_may_be_off_by_their_tolerance(service: &Service) {
    let (admin, late) = (Signer::new("admin"), Signer::new("late"));
    service.create(&admin, "demo");
    service.send(&describe(service, &late.ahead(-3500))).ok();
    for (signer, off_s, text, reason) in [
        (&admin, -320, "Signature expired: ", "expired"),
        (&admin, 320, "Signature not yet current: ", "early"),
        (&late, -3620, "Signature expired: ", "expired"),
        (&late, 3620, "Signature not yet current: ", "early"),
    ] {
        let refusal = Refusal {
            status: 403,
            kind: "InvalidSignatureException",
            text,
            reason: Some(reason),
        };
        service.refuses(&describe(service, &signer.ahead(off_s)), &refusal, reason);
    }
}

fn keys_and_tokens_of_nobody_are_refused(service: &Service) {
    let stranger = Signer::new("stranger");
    let impostor = Signer {
        secret: stranger.secret.clone(),
        ..Signer::new("admin")
    };
    let token = |token: Option<&str>, of: &Signer| Signer {
        token: token.map(str::to_owned),
        ..of.clone()
    };
    let expired = Refusal {
        kind: "ExpiredTokenException",
        text: "The security token included in the request is expired",
        ..TOKEN
    };
    let sealed = Signer {
        id: "ASIAABCDEFGHIJKLMNOP".to_owned(),
        ..token(Some(&"A".repeat(200)), &stranger)
    };
    for (what, signer, refusal) in [
        ("nobody's key", &stranger, UNKNOWN_KEY),
        ("another's secret", &impostor, MISMATCH),
        ("a token made up", &sealed, UNKNOWN_KEY),
        ("no token", &token(None, &temporary()), TOKEN),
        ("a wrong token", &token(Some("wrong"), &temporary()), TOKEN),
        (
            "a token too many",
            &token(Some("wrong"), &Signer::new("admin")),
            TOKEN,
        ),
        ("a key that has ended", &ended(), expired),
    ] {
        service.keep(&signer.secret);
        for call in both(service, signer) {
            service.refuses(&call, &refusal, what);
        }
    }
    // In the query the token is signed, in headers it need not be.
    let [call, url] = both(service, &temporary());
    service.refuses(
        &url.with("X-Amz-Security-Token", forge),
        &MISMATCH,
        "another token",
    );
    service.refuses(
        &call.without("x-amz-security-token"),
        &MISMATCH,
        "a signed header left out",
    );
}

/// A presigned request made by hand that signs these headers, in the canonical form of its signer.
fn by_hand(service: &Service, signed: &[(&str, &str)]) -> Call {
    let signer = Signer::new("admin");
    let moment = Stamp::from_epoch(now_s()).to_string();
    let scope = format!("{}/us-west-2/kinesisvideo/aws4_request", &moment[..8]);
    let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
    let call = Call::new(&service.broker, "GET", "/")
        .pair("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
        .pair(
            "X-Amz-ChannelARN",
            "arn:aws:kinesisvideo:us-west-2:123456789012:channel/none/1",
        )
        .pair("X-Amz-Credential", &format!("{}/{scope}", signer.id))
        .pair("X-Amz-Date", &moment)
        .pair("X-Amz-Expires", "60")
        .pair("X-Amz-SignedHeaders", &names.join(";"));
    let head = call.head();
    let query = head.split(['?', ' ']).nth(2).expect("a query");
    let lines = signed
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"));
    let lines: String = lines.collect();
    let hash = |text: &str| hex(digest(&SHA256, text.as_bytes()).as_ref());
    let request = format!(
        "GET\n/\n{query}\n{lines}\n{}\n{}",
        names.join(";"),
        hash("")
    );
    let key = SigningKey::derive(&signer.secret, &moment[..8], "us-west-2", "kinesisvideo");
    let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hash(&request));
    let signature = hex(&key.sign(text.as_bytes()));
    let template = Call::master(&service.broker, "-").headers;
    let call = call.pair("X-Amz-Signature", &signature);
    template
        .iter()
        .fold(call, |call, (name, value)| call.header(name, value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn the_host_must_be_signed(service: &Service) {
    let host = service.broker.plain.to_string();
    // By hand it is right: only the channel is not there.
    let good = by_hand(service, &[("host", &host)]);
    let refused = service.counts(None, || service.send(&good));
    refused.refused(404, "ResourceNotFoundException");
    let good = by_hand(service, &[("host", &host), ("upgrade", "websocket")]);
    service
        .send(&good)
        .refused(404, "ResourceNotFoundException");
    for signed in [
        &[("upgrade", "websocket")][..],
        &[("host", &host), ("x-absent", "")],
        &[("Host", &host)],
        &[],
    ] {
        let refused = by_hand(service, signed);
        let refusal = match signed {
            [] => malformed("must include 'X-Amz-SignedHeaders'"),
            _ => MISMATCH,
        };
        service.refuses(&refused, &refusal, &format!("{signed:?}"));
    }
}

fn a_refused_call_does_not_end_its_connection(service: &Service) {
    let signer = Signer::new("admin");
    service.create(&signer, "demo");
    let good = describe(service, &signer);
    let forged = good.clone().with("Authorization", forge);
    let mut connection = Connection::open(service.broker.plain);
    for _ in 0..10 {
        connection.send(&forged.bytes());
        let refused = connection.answer().expect("an answer");
        refused.refused(403, "InvalidSignatureException");
        connection.send(&good.bytes());
        connection.answer().expect("an answer").ok();
    }
    let hashed = service.broker.scrape();
    assert!(hashed.sum("heliograph_signature_bytes_total") > 0.0);
    // An upgrade that is refused ends it.
    connection.send(&viewer(service, &Signer::new("stranger")).bytes());
    let refused = connection.answer().expect("an answer");
    refused.refused(403, "UnrecognizedClientException");
    connection.assert_closed();
}
