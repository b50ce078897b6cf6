//! Generated documents and requests, decided by us and by the oracle.

use super::oracle::{self, DATES};
use super::request::Request;
use codec::policy::{Action, Decision};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

#[rustfmt::skip] // a list
const ACTIONS: &[Action] = &[
    Action::ConnectAsMaster, Action::ConnectAsViewer, Action::DescribeSignalingChannel, Action::TagResource,
];

const ARN: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel";

/// Names and values, some of which mean something in a policy.
#[rustfmt::skip] // a list
const WORDS: &[&str] = &[
    "a", "b", "ab", "A", "*", "?", "${aws:username}", "a/b", "a:b", "$", "", "é", "É", "true",
];

#[rustfmt::skip] // a list
const KEYS: &[&str] = &[
    "aws:username", "aws:PrincipalTag/team", "aws:ResourceTag/team", "AWS:requesttag/Team", "kinesisvideo:ClientId",
    "credentials-iot:ThingName", "id.example.com:sub", "id.example.com:amr", "sts:RoleSessionName",
    "aws:SourceIdentity", "aws:TagKeys", "aws:MultiFactorAuthPresent",
];

/// The key whose values may be lost.
const LOST: &str = "id.example.com:sub";

fn word() -> impl Strategy<Value = &'static str> {
    select(WORDS)
}

fn variable() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => select(&[
            "aws:username", "aws:ResourceTag/team", "AWS:principaltag/Team", "kinesisvideo:clientid", LOST,
        ][..])
            .prop_map(|key| format!("${{{key}}}")),
        1 => Just("${aws:username, 'b'}".to_owned()),
        1 => Just("${aws:ResourceTag/team, 'a'}".to_owned()),
        1 => select(&["${*}", "${?}", "${$}"][..]).prop_map(str::to_owned),
    ]
}

/// A text of a document: words without variables of their own, wildcards, variables.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => select(&["a", "b", "ab", "A", "é"][..]).prop_map(str::to_owned),
        2 => select(&["*", "?"][..]).prop_map(str::to_owned),
        3 => variable(),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn resource() -> impl Strategy<Value = Value> {
    let one = prop_oneof![
        1 => Just("*".to_owned()),
        4 => text().prop_map(|name| format!("{ARN}/{name}/*")),
        1 => text().prop_map(|name| format!("arn:aws:kinesisvideo:*:{name}*:channel/a/1")),
    ];
    prop::collection::vec(one, 1..3).prop_map(|all| json!(all))
}

/// An operator, with values that it can have.
fn condition() -> impl Strategy<Value = (String, String, Value)> {
    let set = select(&["", "", "", "ForAllValues:", "ForAnyValue:"][..]);
    let suffix = select(&["", "", "IfExists"][..]);
    #[rustfmt::skip] // a list
    let strings = select(
        &[
            "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
            "StringNotLike",
        ][..],
    );
    let values = prop::collection::vec(text(), 1..3);
    let string = (set.clone(), strings, suffix.clone(), select(KEYS), values).prop_map(
        |(set, name, suffix, key, values)| {
            (
                format!("{set}{name}{suffix}"),
                key.to_owned(),
                json!(values),
            )
        },
    );
    let arns = select(&["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"][..]);
    let arn = prop_oneof![
        text().prop_map(|name| format!("arn:aws:iam::{name}:user/{name}*")),
        Just("*".to_owned()),
        Just("${aws:PrincipalArn}".to_owned()),
    ];
    let arn = (arns, suffix.clone(), arn).prop_map(|(name, suffix, value)| {
        (
            format!("{name}{suffix}"),
            "aws:PrincipalArn".to_owned(),
            json!(value),
        )
    });
    #[rustfmt::skip] // a list
    let order = select(
        &["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"][..],
    );
    let date =
        (order.clone(), suffix.clone(), select(DATES)).prop_map(|(name, suffix, (date, _))| {
            (
                format!("Date{name}{suffix}"),
                "aws:TokenIssueTime".to_owned(),
                json!(date),
            )
        });
    let number = (
        order,
        select(&["aws:EpochTime", "aws:username"][..]),
        0..4_i64,
    )
        .prop_map(|(name, key, number)| (format!("Numeric{name}"), key.to_owned(), json!(number)));
    #[rustfmt::skip] // a list
    let address = (
        select(&["IpAddress", "NotIpAddress"][..]),
        select(
            &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "192.168.1.128/25"][..],
        ),
    )
        .prop_map(|(name, network)| (name.to_owned(), "aws:SourceIp".to_owned(), json!([network])));
    let flag = (suffix, any::<bool>()).prop_map(|(suffix, flag)| {
        (
            format!("Bool{suffix}"),
            "aws:SecureTransport".to_owned(),
            json!(flag),
        )
    });
    let null = (select(KEYS), any::<bool>())
        .prop_map(|(key, is_null)| ("Null".to_owned(), key.to_owned(), json!(is_null)));
    prop_oneof![6 => string, 2 => arn, 2 => date, 1 => number, 2 => address, 1 => flag, 2 => null]
}

fn statement() -> impl Strategy<Value = Value> {
    #[rustfmt::skip] // a list
    let actions = select(
        &["kinesisvideo:*", "kinesisvideo:Connect*", "*", "s3:*", "kinesisvideo:?agResource"][..],
    );
    (
        any::<[bool; 3]>(),
        actions,
        resource(),
        prop::collection::vec(condition(), 0..3),
    )
        .prop_map(
            |([denies, not_action, not_resource], action, resource, conditions)| {
                let mut block = json!({});
                for (operator, key, values) in conditions {
                    if block[&operator].is_null() {
                        block[&operator] = json!({});
                    }
                    block[&operator][&key] = values;
                }
                let mut statement = json!({"Effect": if denies { "Deny" } else { "Allow" }});
                statement[if not_action { "NotAction" } else { "Action" }] = json!(action);
                statement[if not_resource {
                    "NotResource"
                } else {
                    "Resource"
                }] = resource;
                if block != json!({}) {
                    statement["Condition"] = block;
                }
                statement
            },
        )
}

fn document() -> impl Strategy<Value = String> {
    prop::collection::vec(statement(), 1..4)
        .prop_map(|all| json!({"Version": "2012-10-17", "Statement": all}).to_string())
}

fn request() -> impl Strategy<Value = Request> {
    // ARNs are of ASCII.
    let name =
        prop_oneof![3 => select(&["a", "b", "ab", "A"][..]), 1 => select(&["*", "?", "aab"][..])];
    let several = prop::collection::vec(prop::collection::vec(word(), 0..3), 2);
    let values = prop::collection::vec((select(KEYS), word()), 0..6);
    let address = select(&["10.1.2.3", "10.9.9.9", "192.168.1.200", "8.8.8.8"][..]);
    let user = select(&["a", "b", "ab"][..]);
    (
        (
            select(ACTIONS),
            name,
            prop::option::of(select(&["a", "b", "v*"][..])),
        ),
        (values, several),
        (
            prop::option::of(select(DATES)),
            0..4_u64,
            address,
            any::<bool>(),
            user,
        ),
    )
        .prop_map(
            |(
                (action, name, client_id),
                (values, several),
                (issued, epoch, address, tls, user),
            )| {
                let mut request = Request::new(action, &format!("{ARN}/{name}/17"))
                    .with("aws:EpochTime", &[&epoch.to_string()])
                    .with("aws:SourceIp", &[address])
                    .with("aws:SecureTransport", &[&tls.to_string()])
                    .with(
                        "aws:PrincipalArn",
                        &[&format!("arn:aws:iam::1:user/{user}")],
                    );
                request.client_id = client_id.map(str::to_owned);
                for (key, value) in values {
                    let is_ours = key.contains("ClientId") || key.contains("MultiFactor");
                    if !is_ours {
                        request = request.with(key, &[value]);
                    }
                }
                request = request.with("aws:TagKeys", &several[0]);
                request = request.with("id.example.com:amr", &several[1]);
                if let Some((date, _)) = issued {
                    request = request.with("aws:TokenIssueTime", &[date]);
                }
                request
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn decisions_are_those_of_the_oracle(document in document(), requests in prop::collection::vec(request(), 1..4)) {
        for request in requests {
            let wanted = oracle::decide(&document, &request);
            prop_assert_eq!(request.decide(&document), wanted, "{}\n{:?}", document, request);
        }
    }

    /// A decision without the values of a key allows nothing that any of them would not, and denies what one would.
    #[test]
    fn a_lost_value_never_helps(
        document in document(),
        request in request(),
        values in prop::collection::vec(word(), 4),
    ) {
        let mut without = request.clone();
        without.values.remove(LOST);
        let decision = Request { lost: Some(LOST), ..without.clone() }.decide(&document);
        let known = values.iter().map(|value| without.clone().with(LOST, &[value]));
        for request in known.chain([without.clone()]) {
            let wanted = oracle::decide(&document, &request);
            let helps = decision == Decision::Allow && wanted != Decision::Allow;
            let spares = decision != Decision::Deny && wanted == Decision::Deny;
            prop_assert!(!helps && !spares, "{:?}, {:?}: {}\n{:?}", decision, wanted, document, request);
        }
        if !document.contains(LOST) {
            prop_assert_eq!(decision, oracle::decide(&document, &without), "{}", document);
        }
    }

    /// A decision without the tags of the channel is the same with any of them.
    #[test]
    fn a_decision_is_open_only_as_far_as_tags_count(
        document in document(),
        request in request(),
        tags in prop::collection::vec(word(), 4),
    ) {
        let elsewhere = Request { tags_are_elsewhere: true, ..request.clone() };
        let decision = elsewhere.decide(&document);
        let mut untagged = request.clone();
        untagged.values.remove("aws:resourcetag/team");
        let mut known = vec![untagged];
        known.extend(tags.iter().map(|tag| request.clone().with("aws:ResourceTag/team", &[tag])));
        if decision != Decision::Open {
            for request in known {
                prop_assert_eq!(request.decide(&document), decision, "{}\n{:?}", document, request);
            }
        } else {
            prop_assert!(document.to_lowercase().contains("resourcetag"));
        }
    }
}

/// The generator reaches every decision: else agreement would mean little.
#[test]
fn generated_requests_reach_every_decision() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut counts = [0; 4];
    for _ in 0..2_000 {
        let document = document().new_tree(&mut runner).unwrap().current();
        let mut request = request().new_tree(&mut runner).unwrap().current();
        for elsewhere in [false, true] {
            request.tags_are_elsewhere = elsewhere;
            counts[match request.decide(&document) {
                Decision::Allow => 0,
                Decision::Deny => 1,
                Decision::NoMatch => 2,
                Decision::Open => 3,
            }] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}
