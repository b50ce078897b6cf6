//! Policies: deciding on a request, and parsing a document.

use benches::harness::{Timer, group, run};
use codec::policy::{
    Action, Context, Decision, Key, KeyName, Policy, Request, SESSION_POLICY_BYTES_MAX, Value,
};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for case in cases() {
            decide(criterion, &case);
        }
        for (name, text) in [("browser-1", BROWSER.to_owned()), ("fleet-100", fleet(100))] {
            assert!(Policy::parse(&text).is_ok(), "{name}");
            parse(criterion, name, &text);
        }
        for (name, text) in hostile() {
            parse(criterion, name, &text);
        }
    });
}

/// A policy and its decision on a viewer of [`CHANNEL`].
struct Case {
    name: &'static str,
    policy: String,
    client_id: &'static str,
    decision: Decision,
}

/// Test cases: the policy of a browser; the policy of a fleet, whose last statement allows or denies the request, or in
/// which no statement applies; a pattern that makes the matcher backtrack at each character; and session policies of
/// maximum length whose patterns match nearly everywhere in the longest ARN.
fn cases() -> [Case; 12] {
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
        case(
            "session-questions",
            session(&format!("arn:*{}b", "?".repeat(100))),
            "web-1",
            Decision::NoMatch,
        ),
        case(
            "session-letters",
            session(&format!("arn:*{}b*", "a".repeat(60))),
            "web-1",
            Decision::NoMatch,
        ),
        case(
            "session-short",
            session("arn:*aaa?b*"),
            "web-1",
            Decision::NoMatch,
        ),
        case("own-channel", of_own_channel(1), "web-1", Decision::Allow),
        case(
            "own-channel-10",
            of_own_channel(10),
            "web-1",
            Decision::Allow,
        ),
        case("conditions-10", conditions(), "web-1", Decision::Allow),
    ]
}

/// Builds statements on the channel with the caller's name, of which only the last allows the request.
fn of_own_channel(statements: usize) -> String {
    let others = (1..statements).map(|number| {
        let resource = format!("arn:aws:kinesisvideo:*:*:channel/${{aws:username}}-{number}/*");
        statement("Allow", "kinesisvideo:ConnectAs*", &resource)
    });
    let own = "arn:aws:kinesisvideo:*:*:channel/${aws:username}/*";
    let own = statement("Allow", "kinesisvideo:ConnectAs*", own);
    let statements: Vec<_> = others.chain([own]).collect();
    let statements = statements.join(", ");
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

/// Builds ten statements with one condition of each kind, of which only the last allows the request.
fn conditions() -> String {
    let other = r#"{"Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.168.0.0/16"]},
        "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
        "StringNotEquals": {"aws:ResourceTag/household": "${aws:username}"}}}"#;
    let last = r#"{"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:ResourceTag/household": "${aws:username}"},
        "Bool": {"aws:SecureTransport": "true"}}}"#;
    let statements = [vec![other; 9], vec![last]].concat().join(", ");
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

struct Usual;

impl Context for Usual {
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        match (key.name, nth) {
            (KeyName::SourceIp, 0) => Value::Address([10, 1, 2, 3].into()),
            (KeyName::CurrentTime, 0) => Value::Date(1_795_326_886),
            (KeyName::SecureTransport, 0) => Value::Flag(true),
            (KeyName::UserName | KeyName::ResourceTag, 0) => Value::Text("door-99"),
            _ => Value::Absent,
        }
    }
}

/// Builds a session policy of maximum length that repeats one resource.
fn session(resource: &str) -> String {
    let (head, tail) = (
        r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":["#,
        "]}}",
    );
    let entry = format!("\"{resource}\"");
    let room = SESSION_POLICY_BYTES_MAX - head.len() - tail.len();
    let entries = vec![entry.as_str(); room / (entry.len() + 1)].join(",");
    format!("{head}{entries}{tail}")
}

/// Session policies that are expensive to parse: action patterns, a misspelt action, many resources, many statements.
fn hostile() -> [(&'static str, String); 6] {
    let actions = |entry: &str| {
        let (head, tail) = (
            r#"{"Statement":{"Effect":"Allow","Resource":"*","Action":["#,
            "]}}",
        );
        let room = SESSION_POLICY_BYTES_MAX - head.len() - tail.len();
        let entries = vec![entry; room / (entry.len() + 1)].join(",");
        format!("{head}{entries}{tail}")
    };
    let statement = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    let statements = vec![statement; 40].join(",");
    let misspelt = format!("\"kinesisvideo:{}\"", "e".repeat(128));
    [
        ("session-actions", actions(r#""kinesisvideo:*e*s*""#)),
        ("session-actions-sts", actions(r#""sts:*e*""#)),
        ("session-misspelt", actions(&misspelt)),
        (
            "session-misspelt-near",
            actions(r#""kinesisvideo:GetSignalingChannelEnpdoint""#),
        ),
        ("session-resources", session("*")),
        (
            "session-statements",
            format!("{{\"Statement\":[{statements}]}}"),
        ),
    ]
}

fn decide(criterion: &mut Timer, case: &Case) {
    let policy = Policy::parse(&case.policy).expect("it is a policy");
    let channel = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{CHANNEL}");
    let channel = if case.name.starts_with("stars") {
        channel.replace(CHANNEL, &format!("{}/1700000000000", "a".repeat(200)))
    } else if case.name.starts_with("session") {
        let longest = "a".repeat(1024 - channel.len());
        channel.replace("us-west-2", &format!("us-west-2{longest}"))
    } else {
        channel
    };
    let request = Request {
        action: Action::ConnectAsViewer,
        resource: &channel,
        client_id: Some(case.client_id),
        context: &Usual,
    };
    assert_eq!(
        policy.decide(&request, &mut 0, &mut None),
        case.decision,
        "{}",
        case.name
    );
    let mut group = group(criterion, "policy/decide", case.name, 1, channel.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| policy.decide(black_box(&request), &mut 0, &mut None));
    });
    group.finish();
}

fn parse(criterion: &mut Timer, name: &str, text: &str) {
    let mut group = group(criterion, "policy/parse", name, 1, text.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| Policy::parse(black_box(text)).is_ok());
    });
    group.finish();
}

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
