//! Policies: whether one allows a request, and what reading one costs.

use benches::harness::{Timer, group, run};
use codec::aws::policy::{Action, Decision, Policy, Request};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for case in cases() {
            decide(criterion, &case);
        }
        for (name, text) in [("browser-1", BROWSER.to_owned()), ("fleet-100", fleet(100))] {
            parse(criterion, name, &text);
        }
    });
}

/// A policy, and what it says to a viewer of [`CHANNEL`].
struct Case {
    name: &'static str,
    policy: String,
    client_id: &'static str,
    decision: Decision,
}

/// What a browser is given; a fleet's, whose last statement is the one that counts, or whose last says no, or of which
/// none says anything; and a pattern that makes the matcher go back at each character.
fn cases() -> [Case; 6] {
    let case = |name, policy, client_id, decision| Case {
        name,
        policy,
        client_id,
        decision,
    };
    let stars = format!("arn:aws:kinesisvideo:*:channel/{}z", "*a".repeat(30));
    let stars = statement("Allow", "kinesisvideo:*", &stars);
    let barred = fleet(100).replace(r#""Effect": "Allow""#, r#""Effect": "Deny""#);
    [
        case("browser-1", BROWSER.to_owned(), "web-1", Decision::Allow),
        case(
            "browser-1-another-id",
            BROWSER.to_owned(),
            "web-2",
            Decision::NoMatch,
        ),
        case("fleet-100-last", fleet(100), "web-1", Decision::Allow),
        case("fleet-100-last-denies", barred, "web-1", Decision::Deny),
        case("fleet-99-none", fleet(99), "web-1", Decision::NoMatch),
        case(
            "stars-30",
            format!("{{\"Statement\": [{stars}]}}"),
            "web-1",
            Decision::NoMatch,
        ),
    ]
}

fn decide(criterion: &mut Timer, case: &Case) {
    let policy = Policy::parse(&case.policy).expect("it is a policy");
    let channel = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{CHANNEL}");
    let channel = if case.name.starts_with("stars") {
        channel.replace(CHANNEL, &format!("{}/1700000000000", "a".repeat(200)))
    } else {
        channel
    };
    let request = Request {
        action: Action::ConnectAsViewer,
        resource: &channel,
        client_id: Some(case.client_id),
    };
    assert_eq!(policy.decide(&request), case.decision, "{}", case.name);
    let mut group = group(criterion, "policy/decide", case.name, 1, channel.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| policy.decide(black_box(&request)));
    });
    group.finish();
}

fn parse(criterion: &mut Timer, name: &str, text: &str) {
    assert!(Policy::parse(text).is_ok(), "{name}");
    let mut group = group(criterion, "policy/parse", name, 1, text.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| Policy::parse(black_box(text)).is_ok());
    });
    group.finish();
}

/// Statements for this many channels, numbered from 0; [`CHANNEL`] is number 99.
fn fleet(channels: usize) -> String {
    let statements = (0..channels).map(|number| {
        let resource =
            format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/door-{number:02}/*");
        statement("Allow", "kinesisvideo:ConnectAs*", &resource)
    });
    let statements: Vec<_> = statements.collect();
    format!("{{\"Statement\": [{}]}}", statements.join(", "))
}

fn statement(effect: &str, action: &str, resource: &str) -> String {
    format!(r#"{{"Effect": "{effect}", "Action": "{action}", "Resource": "{resource}"}}"#)
}

const CHANNEL: &str = "door-99/1700000000000";

const BROWSER: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"],
    "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/door-99/*",
    "Condition": {"StringEquals": {"kinesisvideo:ClientId": "web-1"}}}]}"#;
