//! Signatures with parts that are missing, broken, doubled, or of another scope: refused, and the part named.

use crate::signed::refused::{both, describe, malformed, viewer};
use crate::signed::service::{Refusal, Service, on_signed_shards, temporary};
use crate::signed::signer::{Call, Signer};
use serde_json::json;

on_signed_shards!(
    parts_that_are_missing_are_named,
    broken_parts_of_a_query_are_named,
    broken_parts_of_a_header_are_named,
    scopes_of_others_are_refused,
    parameters_given_twice_or_in_disguise_are_refused,
);

const MISSING: Refusal = Refusal {
    status: 403,
    kind: "MissingAuthenticationTokenException",
    text: "Missing Authentication Token",
    reason: Some("missing"),
};

const ALGORITHM: &str = "Unsupported AWS algorithm";

const DIGITS: &str = "Signature must be 64 hexadecimal digits.";

const fn scope(text: &'static str) -> Refusal {
    Refusal {
        status: 403,
        kind: "InvalidSignatureException",
        text,
        reason: Some("scope"),
    }
}

fn parts_that_are_missing_are_named(service: &Service) {
    let signer = temporary();
    let url = viewer(service, &signer);
    let [bare, bare_url] = both(service, &signer).map(|call| {
        let bare = call.without("Authorization").without("X-Amz-Algorithm");
        bare.without("X-Amz-Credential").without("X-Amz-Signature")
    });
    service.refuses(&bare, &MISSING, "no header");
    service.refuses(&bare_url, &MISSING, "no query");
    for (name, text) in [
        ("X-Amz-Algorithm", "must include 'X-Amz-Algorithm'"),
        ("X-Amz-Credential", "must include 'X-Amz-Credential'"),
        ("X-Amz-Date", "must include 'X-Amz-Date'"),
        ("X-Amz-Expires", "must include 'X-Amz-Expires'"),
        ("X-Amz-SignedHeaders", "must include 'X-Amz-SignedHeaders'"),
        ("X-Amz-Signature", "must include 'X-Amz-Signature'"),
    ] {
        service.refuses(&url.clone().without(name), &malformed(text), name);
        // Names of the query are case-sensitive: in another case it is another parameter.
        let mut lower = url.clone();
        for (found, _) in lower.pairs.iter_mut().filter(|pair| pair.0 == name) {
            found.make_ascii_lowercase();
        }
        service.refuses(&lower, &malformed(text), &lower.head());
    }
}

fn broken_parts_of_a_query_are_named(service: &Service) {
    let url = viewer(service, &temporary());
    let half = |text: &str| text[..63].to_owned();
    let five = "Credential must have exactly 5 slash-delimited elements";
    for (refusal, changed) in [
        (malformed(DIGITS), url.clone().with("X-Amz-Signature", half)),
        (
            malformed(DIGITS),
            url.clone().with("X-Amz-Signature", |text| {
                text.replacen(|_: char| true, "g", 1)
            }),
        ),
        (
            malformed(ALGORITHM),
            url.clone().with("X-Amz-Algorithm", other_algorithm),
        ),
        (
            malformed("Date must be in ISO-8601 'basic format'."),
            url.clone()
                .with("X-Amz-Date", |text| text.replace('T', " ")),
        ),
        (
            malformed(five),
            url.clone()
                .with("X-Amz-Credential", |text| text.replace('/', "")),
        ),
        (
            malformed(five),
            url.clone()
                .with("X-Amz-Credential", |text| text[..20].to_owned()),
        ),
    ] {
        service.refuses(&changed, &refusal, &changed.head());
    }
}

fn broken_parts_of_a_header_are_named(service: &Service) {
    let call = describe(service, &temporary());
    let part = |name: &'static str| move |text: &str| text.replace(name, "Else=");
    let takes =
        "Authorization header takes 'Credential', 'SignedHeaders' and 'Signature', each once.";
    for (refusal, changed) in [
        (
            malformed(ALGORITHM),
            call.clone().with("Authorization", other_algorithm),
        ),
        (
            malformed(ALGORITHM),
            call.clone()
                .with("Authorization", |_| "Bearer x".to_owned()),
        ),
        (
            malformed(takes),
            call.clone().with("Authorization", part("Credential=")),
        ),
        (
            malformed("Authorization header requires 'Signature' parameter."),
            call.clone().with("Authorization", |text| {
                text.split(", Signature")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            }),
        ),
        (
            malformed(DIGITS),
            call.clone()
                .with("Authorization", |text| text[..text.len() - 1].to_owned()),
        ),
        (
            malformed("Header given twice: Authorization"),
            call.clone().header("authorization", "x"),
        ),
        (
            malformed("requires existence of either a 'X-Amz-Date' or a 'Date' header."),
            call.clone().without("x-amz-date"),
        ),
    ] {
        service.refuses(&changed, &refusal, &changed.head());
    }
}

fn scopes_of_others_are_refused(service: &Service) {
    let (region, kind, named) = (
        scope("Credential should be scoped to a valid region."),
        scope("Credential should be scoped to correct service: 'kinesisvideo'."),
        scope("Date in Credential scope does not match YYYYMMDD"),
    );
    let signer = Signer::new("admin");
    let elsewhere = Signer {
        region: "us-east-1",
        ..signer.clone()
    };
    for call in both(service, &elsewhere) {
        service.refuses(&call, &region, "another region");
    }
    for other in ["sts", "s3", "kinesisvideo-x"] {
        for call in both(service, &signer.of_service(other)) {
            service.refuses(&call, &kind, other);
        }
    }
    let another_day = |text: &str| {
        let day = text.split('/').nth(1).unwrap_or_default().to_owned();
        text.replace(&day, "20200102")
    };
    let ended = |text: &str| text.replace("aws4_request", "aws5_request");
    for call in both(service, &signer) {
        let day = call
            .clone()
            .with("X-Amz-Credential", another_day)
            .with("Authorization", another_day);
        service.refuses(&day, &named, "another day");
        let terminator = call
            .with("X-Amz-Credential", ended)
            .with("Authorization", ended);
        service.refuses(
            &terminator,
            &scope("valid terminator: 'aws4_request'"),
            "another end",
        );
    }
}

fn parameters_given_twice_or_in_disguise_are_refused(service: &Service) {
    let signer = temporary();
    let twice = Refusal {
        status: 400,
        kind: "InvalidArgumentException",
        text: "A query parameter was given twice.",
        reason: None,
    };
    let url = viewer(service, &signer);
    let list = Call::api(&service.broker, "/listSignalingChannels", &json!({}));
    let call = signer.presign(list, 60);
    service.send(&call).ok();
    for (name, value) in &url.pairs {
        for (first, second) in [(value, value), (value, &"x".to_owned())] {
            let doubled = url.clone().with(name, |_| first.clone()).pair(name, second);
            service.refuses(&doubled, &twice, name);
        }
        // Percent signs that hide a name.
        let hidden = name.replacen('-', "%2D", 1);
        let mut query = url.head();
        query = query.replace(&format!("{name}="), &format!("{hidden}="));
        let refused = service.counts(Some("malformed"), || {
            crate::http::exchange(service.broker.plain, query.as_bytes())
        });
        let told = refused.refused(400, "IncompleteSignatureException");
        assert_eq!(told, "The name of a signed parameter is percent-encoded.");
    }
    let twice = Refusal {
        text: "Duplicate query parameter: X-Amz-Date",
        reason: Some("malformed"),
        ..twice
    };
    let doubled = call.clone().pair("X-Amz-Date", "20260102T030405Z");
    service.refuses(&doubled, &twice, "a presigned call");
}

fn other_algorithm(text: &str) -> String {
    text.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")
}
