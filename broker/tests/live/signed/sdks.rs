//! What SDKs of phones, of Go and of proxies make of a signed request: models of them, each as it signs.

use crate::peer::percent_encoded;
use crate::signed::service::{MISMATCH, Refusal, Service, forge, on_signed_shards, relay};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use testkit::until;

on_signed_shards!(
    phones_sign_a_host_without_its_port,
    names_of_channel_and_client_id_are_taken_in_any_case,
    a_url_that_is_encoded_twice_is_named,
);

/// The SDKs for Android and iOS sign the name alone: for calls in the header, for WebSockets in the query.
fn phones_sign_a_host_without_its_port(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "phones");
    let host = service.broker.plain.ip().to_string();
    let bare = |call: Call| Call {
        host: host.clone(),
        ..call
    };
    let sent = |call: Call| Call {
        host: service.broker.plain.to_string(),
        ..call
    };
    let describe = json!({"ChannelARN": arn});
    let call = Call::api(&service.broker, "/describeSignalingChannel", &describe);
    service.send(&sent(signer.sign(bare(call)))).ok();
    let url = |call: Call| sent(signer.presign(bare(call), 299));
    let mut master = service.connect(&url(Call::master(&service.broker, &arn)));
    let viewer = url(Call::viewer(&service.broker, &arn, "v1"));
    let mut phone = service.connect(&viewer);
    relay(&mut master, &mut phone);
    let forged = viewer.clone().with("X-Amz-Signature", forge);
    service.refuses(&forged, &MISMATCH, "forged");
    let elsewhere = Call {
        host: format!("localhost:{}", service.broker.plain.port()),
        ..viewer
    };
    service.refuses(&elsewhere, &MISMATCH, "another name");
    let shown = refused(service, &service.send(&forged));
    let canonical = shown["explain"]["canonicalRequest"].as_str();
    let wanted = format!("host:{}\n", service.broker.plain);
    assert!(
        canonical.is_some_and(|text| text.contains(&wanted)),
        "{shown}"
    );
}

/// A Go SDK signs `X-Amz-channelARN` and `X-Amz-ClientID`.
fn names_of_channel_and_client_id_are_taken_in_any_case(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "go");
    let base = |arn_name: &str, client_name: Option<&str>| {
        let mut call = Call::viewer(&service.broker, &arn, "v1");
        call.pairs[0].0 = arn_name.to_owned();
        match client_name {
            Some(name) => call.pairs[1].0 = name.to_owned(),
            None => call.pairs.truncate(1),
        }
        call
    };
    let url = |call: Call| signer.presign(call, 299);
    let mut master = service.connect(&url(base("X-Amz-channelARN", None)));
    let viewer = url(base("X-Amz-channelARN", Some("X-Amz-ClientID")));
    relay(&mut master, &mut service.connect(&viewer));
    let lower = url(base("x-amz-channelarn", Some("x-amz-clientid")));
    relay(&mut master, &mut service.connect(&lower));
    let twice = Refusal {
        status: 400,
        kind: "InvalidArgumentException",
        text: "A query parameter was given twice.",
        reason: None,
    };
    for (name, value) in [("X-Amz-ClientId", "v2"), ("X-Amz-ChannelARN", &arn)] {
        let both = base("X-Amz-channelARN", Some("X-Amz-ClientID")).pair(name, value);
        let both = url(both);
        service.refuses(&both, &twice, name);
        let shown = refused(service, &service.send(&both));
        let other = if name == "X-Amz-ClientId" {
            "X-Amz-ClientID"
        } else {
            "X-Amz-channelARN"
        };
        assert_eq!(
            shown["policy"],
            json!(format!("the query has {other} and {name}"))
        );
    }
    let absent = Call::master(&service.broker, &arn);
    let mut absent = absent.pair("X-Amz-ClientID", "v1");
    absent.pairs[0].0 = "X-Amz-Channel".to_owned();
    let shown = refused(service, &service.send(&url(absent)));
    assert_eq!(shown["check"], "arn_malformed");
    let seen = shown["policy"].as_str().unwrap_or_default();
    assert!(seen.contains("X-Amz-Channel, X-Amz-ClientID"), "{shown}");
}

/// What a proxy or a page makes of a URL that it encodes once more.
fn a_url_that_is_encoded_twice_is_named(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "twice");
    let mut call = signer.presign(Call::viewer(&service.broker, &arn, "v1"), 299);
    for (_, value) in &mut call.pairs {
        *value = percent_encoded(value);
    }
    let twice = Refusal {
        status: 400,
        kind: "IncompleteSignatureException",
        text: "The query string is percent-encoded twice",
        reason: Some("malformed"),
    };
    service.refuses(&call, &twice, "a URL");
    let shown = refused(service, &service.send(&call));
    assert_eq!(shown["check"], "query_malformed");
    assert!(
        shown["says"]
            .as_str()
            .is_some_and(|says| says.contains("encoded twice")),
        "{shown}"
    );
}

/// A refusal as operators see it.
fn refused(service: &Service, answer: &crate::http::Answer) -> Value {
    let id = answer.header("x-amzn-requestid").expect("an id").to_owned();
    until("the refusal", || {
        let row = service.broker.page(&format!("/refusals/{id}")).json();
        (row["source"] == "kept").then_some(row)
    })
}
