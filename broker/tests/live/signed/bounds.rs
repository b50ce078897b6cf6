//! Bounds of signatures and of the requests that carry them: clocks, lives, lengths.

use crate::signed::refused::{MISMATCH, TOKEN, UNKNOWN_KEY, both, describe, malformed, viewer};
use crate::signed::service::{Refusal, Service, on_signed_shards, temporary};
use crate::signed::signer::{Call, Signer, now_s};
use serde_json::json;

on_signed_shards!(
    clocks_may_be_off_by_their_tolerance,
    a_replay_after_its_end_is_refused,
    a_url_lives_for_a_second_to_a_week,
    parts_of_a_url_have_bounds,
    heads_have_bounds,
);

const EXPIRED: Refusal = Refusal {
    status: 403,
    kind: "InvalidSignatureException",
    text: "Signature expired: ",
    reason: Some("expired"),
};

const EARLY: Refusal = Refusal {
    status: 403,
    kind: "InvalidSignatureException",
    text: "Signature not yet current: ",
    reason: Some("early"),
};

const TOO_LARGE: Refusal = Refusal {
    status: 431,
    kind: "InvalidArgumentException",
    text: "The request head is too large.",
    reason: None,
};

/// Seconds by which a test's moment may differ from the broker's.
const SLACK_S: i64 = 20;

fn clocks_may_be_off_by_their_tolerance(service: &Service) {
    let (admin, late) = (Signer::new("admin"), Signer::new("late"));
    service.create(&admin, "demo");
    for (signer, tolerance_s) in [(&admin, 300), (&late, 3600)] {
        for inside in [SLACK_S - tolerance_s, tolerance_s - SLACK_S] {
            let call = describe(service, &signer.ahead(inside));
            service.counts(None, || service.send(&call).ok());
        }
        let behind = describe(service, &signer.ahead(-tolerance_s - SLACK_S));
        service.refuses(&behind, &EXPIRED, "behind");
        for call in both(service, &signer.ahead(tolerance_s + SLACK_S)) {
            service.refuses(&call, &EARLY, "ahead");
        }
    }
    // The text names the window, by which clients set their clocks.
    let told = |call: &Call| service.send(call).text();
    let behind = told(&describe(service, &admin.ahead(-400)));
    assert!(
        behind.contains(" is now earlier than ") && behind.contains(" - 5 min.)"),
        "{behind}"
    );
    let ahead = told(&viewer(service, &admin.ahead(400)));
    assert!(
        ahead.contains(" is still later than ") && ahead.contains(" + 5 min.)"),
        "{ahead}"
    );
    let late = told(&describe(service, &late.ahead(-4000)));
    assert!(late.contains(" - 60 min.)"), "{late}");
    let url = told(&viewer(service, &admin.ahead(-400)));
    assert!(url.contains(" - 299 sec.)"), "{url}");
}

fn a_replay_after_its_end_is_refused(service: &Service) {
    let signer = temporary();
    let arn = service.create(&signer, "replay");
    let until_s = now_s() + 3;
    let url = signer.presign(Call::viewer(&service.broker, &arn, "v1"), 3);
    let pair = service.connect(&url);
    testkit::until("its end", || (now_s() > until_s + 1).then_some(()));
    service.refuses(&url, &EXPIRED, "replayed");
    // Open connections stay open.
    let mut viewer = pair;
    viewer.expect_silence();
}

fn a_url_lives_for_a_second_to_a_week(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "life");
    let week = 604_800;
    let old = signer.ahead(SLACK_S - week);
    let url = old.presign(Call::viewer(&service.broker, &arn, "v1"), 604_800);
    assert_eq!(service.send(&url).status, 101, "a week");
    let url = signer.presign(Call::viewer(&service.broker, &arn, "v1"), 60);
    for wrong in [
        "",
        "0",
        "604801",
        "-1",
        "+60",
        "1e3",
        " 60",
        "99999999999999999999",
    ] {
        let text = if wrong.is_empty() {
            "must include 'X-Amz-Expires'"
        } else {
            "X-Amz-Expires must be between 1 and 604800 seconds"
        };
        let changed = url.clone().with("X-Amz-Expires", |_| wrong.to_owned());
        service.refuses(&changed, &malformed(text), wrong);
    }
}

fn parts_of_a_url_have_bounds(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "demo");
    let url = |signer: &Signer, more: usize| {
        let call = Call::viewer(&service.broker, &arn, "v1");
        let call = (0..more).fold(call, |call, nth| call.pair(&format!("p{nth}"), "x"));
        signer.presign(call, 60)
    };
    let own = url(&signer, 0).pairs.len();
    assert_eq!(
        service.send(&url(&signer, 128 - own)).status,
        101,
        "as many as there may be"
    );
    let many = malformed("The query string has too many parameters.");
    service.refuses(&url(&signer, 129 - own), &many, "one more");
    service.refuses(&url(&signer, 200), &many, "many more");
    let long = |bytes: usize| Signer {
        token: Some("t".repeat(bytes)),
        ..signer.clone()
    };
    service.refuses(&url(&long(12_000), 0), &TOKEN, "a long token");
    service.refuses(&url(&long(16 * 1024), 0), &TOO_LARGE, "a longer token");
    let id = Signer {
        id: "A".repeat(129),
        ..signer.clone()
    };
    let five = malformed("Credential must have exactly 5 slash-delimited elements");
    service.refuses(&url(&id, 0), &five, "a long access key id");
    let id = Signer {
        id: "A".repeat(128),
        ..signer.clone()
    };
    service.refuses(&url(&id, 0), &UNKNOWN_KEY, "as long as it may be");
}

fn heads_have_bounds(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "demo");
    let url = viewer(service, &signer);
    let with_lines = |lines: usize| {
        let call = Call::api(
            &service.broker,
            "/describeSignalingChannel",
            &json!({"ChannelARN": arn}),
        );
        let call = signer.sign(call);
        let own = 2 + call.headers.len();
        (own..lines).fold(call, |call, nth| call.header(&format!("x-{nth}"), "y"))
    };
    service.send(&with_lines(64)).ok();
    let many = Refusal {
        text: "The request has too many header lines.",
        ..TOO_LARGE
    };
    service.refuses(&with_lines(65), &many, "one header line more");
    // As many signed headers as there are lines, and a list of names as long as a head.
    let mut signed = Call::new(&service.broker, "POST", "/listSignalingChannels");
    for nth in 0..50 {
        signed = signed.header(&format!("X-A{nth}"), &"v ".repeat(100));
    }
    let signed = signer.sign(signed.header("X-Empty", ""));
    let hashed = || {
        service
            .broker
            .scrape()
            .sum("heliograph_signature_bytes_total")
    };
    let before = hashed();
    service.send(&signed).refused(400, "SerializationException");
    let (hashed, length) = (hashed() - before, signed.bytes().len() as f64);
    assert!(
        (0.9 * length..1.5 * length).contains(&hashed),
        "{hashed} bytes hashed of a head of {length}, once"
    );
    let names = "x;".repeat(7_000);
    let long = url
        .clone()
        .with("X-Amz-SignedHeaders", |_| format!("host;{names}x"));
    service.refuses(&long, &TOO_LARGE, "names that are encoded");
    let long = url.clone().with("X-Amz-SignedHeaders", |_| {
        format!("host;{}", "x".repeat(10_000))
    });
    service.refuses(&long, &MISMATCH, "a long name");
}
