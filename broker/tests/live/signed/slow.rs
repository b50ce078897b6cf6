//! Signed requests that come in pieces, several at once, or too late to be worth waiting for.

use crate::http::Connection;
use crate::signed::service::{Service, on_signed_shards};
use crate::signed::signer::{Call, Signer};
use serde_json::json;

on_signed_shards!(
    requests_may_follow_at_once,
    a_body_is_asked_for_once_its_head_could_be_right,
    a_body_that_nothing_could_make_right_is_not_waited_for,
);

fn describe(service: &Service, signer: &Signer) -> Call {
    let body = json!({"ChannelName": "demo"});
    Call::api(&service.broker, "/describeSignalingChannel", &body).header("X-Signer", &signer.id)
}

fn forged(call: Call) -> Call {
    call.with("Authorization", |text| {
        let (rest, _) = text.split_at(text.len() - 4);
        format!("{rest}0000")
    })
}

fn requests_may_follow_at_once(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "demo");
    let good = signer.sign(describe(service, &signer));
    let bad = forged(good.clone());
    let url = signer.presign(Call::viewer(&service.broker, &arn, "v1"), 60);
    let all = [&good, &bad, &good, &bad, &bad, &good, &url];
    let bytes: Vec<u8> = all.iter().flat_map(|call| call.bytes()).collect();
    let mut connection = Connection::open(service.broker.plain);
    connection.send(&bytes);
    for status in [200, 403, 200, 403, 403, 200, 101] {
        let answer = connection.answer().expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

fn a_body_is_asked_for_once_its_head_could_be_right(service: &Service) {
    let signer = Signer::new("admin");
    service.create(&signer, "demo");
    let good = signer.sign(describe(service, &signer).header("Expect", "100-continue"));
    let mut connection = Connection::open(service.broker.plain);
    for (call, status) in [(&good, 200), (&forged(good.clone()), 403), (&good, 200)] {
        connection.send(call.head().as_bytes());
        assert_eq!(connection.answer().expect("an interim answer").status, 100);
        connection.send(call.body.as_bytes());
        assert_eq!(connection.answer().expect("an answer").status, status);
    }
}

fn a_body_that_nothing_could_make_right_is_not_waited_for(service: &Service) {
    let admin = Signer::new("admin");
    let elsewhere = Signer {
        region: "us-east-1",
        ..admin.clone()
    };
    let long = "x".repeat(60_000);
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("of the day before yesterday", Some(admin.ahead(-200_000)), "InvalidSignatureException", "expired"),
        ("of another region", Some(elsewhere), "InvalidSignatureException", "scope"),
        ("unsigned", None, "MissingAuthenticationTokenException", "missing"),
    ];
    for (what, signer, kind, reason) in cases {
        for expects in [false, true] {
            let mut call = describe(service, &admin);
            call.body.clone_from(&long);
            if expects {
                call = call.header("Expect", "100-continue");
            }
            let call = match &signer {
                Some(signer) => signer.sign(call),
                None => call,
            };
            let mut connection = Connection::open(service.broker.plain);
            let answer = service.counts(Some(reason), || {
                connection.send(call.head().as_bytes());
                if !expects {
                    connection.send(&long.as_bytes()[..1000]);
                }
                // The refusal comes first, whole, though nobody has sent the body.
                connection.answer().expect("an answer")
            });
            answer.refused(403, kind);
            assert_eq!(answer.header("connection"), Some("close"), "{what}");
            // A client that is still sending is not cut off before the answer is read.
            connection.send(long.as_bytes());
            connection.read_to_end();
        }
    }
}
