//! Cases of AWS's documentation, a request a line. Source: IAM User Guide, "Condition operators", "Single-valued vs.
//! multivalued context keys", "Variables and tags", "Tutorial: Define permissions to access AWS resources based on
//! tags"; Kinesis Video Streams guide, "Controlling access with IoT".

use super::request::Request;
use codec::policy::{Action, Decision, Policy, SESSION_POLICY_BYTES_MAX};

const CHANNEL: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel";

fn request(name: &str) -> Request {
    Request::new(
        Action::ConnectAsMaster,
        &format!("{CHANNEL}/{name}/1700000000000"),
    )
}

/// A claim's key is named whole, as others are.
#[test]
fn the_condition_that_fails_is_named_by_its_key() {
    #[rustfmt::skip] // a list
    let cases = ["id.example.com/realms/home:email", "aws:PrincipalTag/a", "aws:username"];
    for key in cases {
        let policy = Policy::parse(&on(&format!(r#""StringEquals": {{"{key}": "x"}}"#))).unwrap();
        let asked = request("cam-1");
        let mut ground = None;
        let asked = codec::policy::Request {
            action: asked.action,
            resource: &asked.resource,
            client_id: None,
            context: &asked,
        };
        let _ = policy.decide(&asked, &mut 0, &mut ground);
        assert_eq!(policy.failed_key(ground.unwrap()).as_deref(), Some(key));
    }
}

/// A document of one statement that allows everything on a condition.
fn on(condition: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {{{condition}}}}}}}"#
    )
}

/// Asserts, for a document, the requests that it allows and those that it does not.
fn decides(document: &str, allowed: &[Request], others: &[Request]) {
    for request in allowed {
        let found = request.decide(document);
        assert_eq!(found, Decision::Allow, "{document}\n{request:?}");
    }
    for request in others {
        let found = request.decide(document);
        assert_ne!(found, Decision::Allow, "{document}\n{request:?}");
    }
}

#[test]
fn a_camera_has_its_own_channel_alone() {
    let guide = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Action": ["kinesisvideo:DescribeSignalingChannel", "kinesisvideo:ConnectAsMaster"],
        "Resource": "arn:aws:kinesisvideo:*:*:channel/${credentials-iot:ThingName}/*"}]}"#;
    let thing = |name: &str, thing: &str| request(name).with("credentials-iot:ThingName", &[thing]);
    decides(
        guide,
        &[thing("cam-1", "cam-1"), thing("a*b", "a*b")],
        &[
            thing("cam-2", "cam-1"),
            thing("cam-1", "*"),
            thing("cam-1", "cam-?"),
            thing("cam-1", "${credentials-iot:ThingName}"),
            thing("a/b", "a/b"),
            thing("a:b", "a:b"),
            request("cam-1"),
            request(""),
        ],
    );
}

#[test]
fn tags_of_a_channel_open_it_to_a_household() {
    let household = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kinesisvideo:*",
        "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/household": "${aws:PrincipalTag/household}"}}}}"#;
    let tagged = |channel: &str, caller: &str| {
        let request = request("cam-1").with("aws:ResourceTag/Household", &[channel]);
        request.with("aws:PrincipalTag/household", &[caller])
    };
    let unknown = Request {
        tags_are_elsewhere: true,
        ..tagged("17", "17")
    };
    decides(
        household,
        &[tagged("17", "17")],
        &[
            tagged("17", "18"),
            tagged("17", "*"),
            tagged("*", "17"),
            request("cam-1").with("aws:ResourceTag/household", &["17"]),
            request("cam-1").with("aws:PrincipalTag/household", &["17"]),
            request("cam-1"),
            unknown.clone(),
        ],
    );
    assert_eq!(unknown.decide(household), Decision::Open);
    let no_caller = Request {
        tags_are_elsewhere: true,
        ..request("cam-1")
    };
    assert_eq!(no_caller.decide(household), Decision::Open);
}

#[test]
fn an_absent_key_meets_what_is_negated_and_what_need_not_exist() {
    let yes = [
        r#""StringNotEquals": {"aws:PrincipalTag/a": "x"}"#,
        r#""StringNotLike": {"aws:PrincipalTag/a": "*"}"#,
        r#""NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}"#,
        r#""DateNotEquals": {"aws:TokenIssueTime": "2026-01-01"}"#,
        r#""StringEqualsIfExists": {"aws:PrincipalTag/a": "x"}"#,
        r#""ForAllValues:StringEquals": {"aws:TagKeys": "x"}"#,
        r#""ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": "x"}"#,
        r#""Null": {"aws:PrincipalTag/a": true}"#,
        r#""StringNotEquals": {"aws:MultiFactorAuthPresent": "true"}"#,
        r#""BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}"#,
    ];
    #[rustfmt::skip] // a list
    let no = [
        r#""StringEquals": {"aws:PrincipalTag/a": "x"}"#, r#""StringLike": {"aws:PrincipalTag/a": "*"}"#,
        r#""IpAddress": {"aws:SourceIp": "0.0.0.0/0"}"#, r#""DateLessThan": {"aws:TokenIssueTime": "2030-01-01"}"#,
        r#""NumericLessThan": {"aws:EpochTime": 5}"#, r#""ForAnyValue:StringEquals": {"aws:TagKeys": "x"}"#,
        r#""ForAnyValue:StringNotEquals": {"aws:TagKeys": "x"}"#, r#""Null": {"aws:PrincipalTag/a": "false"}"#,
        r#""Bool": {"aws:MultiFactorAuthPresent": "false"}"#,
    ];
    yes.iter()
        .for_each(|condition| decides(&on(condition), &[request("a")], &[]));
    no.iter()
        .for_each(|condition| decides(&on(condition), &[], &[request("a")]));
}

#[test]
fn a_variable_without_a_value_is_like_nothing() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (r#""StringEquals": {"kinesisvideo:ClientId": "${aws:PrincipalTag/a}"}"#, false),
        (r#""StringLike": {"kinesisvideo:ClientId": "*${aws:PrincipalTag/a}"}"#, false),
        (r#""StringNotEquals": {"kinesisvideo:ClientId": "${aws:PrincipalTag/a}"}"#, true),
        (r#""StringEquals": {"kinesisvideo:ClientId": ["${aws:PrincipalTag/a}", "v1"]}"#, true),
        (r#""StringEquals": {"kinesisvideo:ClientId": "${aws:PrincipalTag/a, 'v1'}"}"#, true),
    ];
    for (condition, holds) in cases {
        let viewer = Request {
            client_id: Some("v1".to_owned()),
            ..request("a")
        };
        let found = viewer.decide(&on(condition)) == Decision::Allow;
        assert_eq!(found, holds, "{condition}");
    }
    // In a resource the statement does not apply, a denial no more than an allowance.
    for member in ["Resource", "NotResource"] {
        for effect in ["Allow", "Deny"] {
            let document = format!(
                r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "{effect}", "Action": "*",
                "{member}": "{CHANNEL}/${{aws:PrincipalTag/a}}/*"}}}}"#
            );
            let found = request("a").decide(&document);
            assert_eq!(found, Decision::NoMatch, "{document}");
        }
    }
}

#[test]
fn a_lost_value_denies_and_does_not_allow() {
    let lost = |condition: &str, effect: &str| {
        let document = on(condition).replace("Allow", effect);
        let request = request("cam-1").with("aws:username", &["alice"]);
        let request = Request {
            lost: Some("id.example.com:email"),
            ..request
        };
        request.decide(&document)
    };
    for condition in [
        r#""StringEquals": {"id.example.com:email": "a@b"}"#,
        r#""StringNotEquals": {"ID.example.com:Email": "a@b"}"#,
        r#""StringEqualsIfExists": {"id.example.com:email": "a@b"}"#,
        r#""ForAllValues:StringLike": {"id.example.com:email": "*"}"#,
        r#""Null": {"id.example.com:email": true}"#,
        r#""Null": {"id.example.com:email": false}"#,
        r#""StringNotEquals": {"aws:username": "${id.example.com:email}"}"#,
        r#""StringEquals": {"aws:username": ["bob", "${id.example.com:email, 'alice'}"]}"#,
    ] {
        assert_eq!(lost(condition, "Allow"), Decision::NoMatch, "{condition}");
        assert_eq!(lost(condition, "Deny"), Decision::Deny, "{condition}");
    }
    // It does not count where the rest decides.
    let other = r#""StringEquals": {"id.example.com:email": "a@b", "aws:username": "bob"}"#;
    assert_eq!(lost(other, "Deny"), Decision::NoMatch);
    let either = r#""StringEquals": {"aws:username": ["${id.example.com:email}", "alice"]}"#;
    assert_eq!(lost(either, "Allow"), Decision::Allow);
    // If other values are known elsewhere, it is decided there.
    let both =
        r#""StringEquals": {"aws:ResourceTag/a": "x"}, "Null": {"id.example.com:email": true}"#;
    let request = Request {
        lost: Some("id.example.com:email"),
        tags_are_elsewhere: true,
        ..request("cam-1")
    };
    let denies = on(both).replace("Allow", "Deny");
    assert_eq!(request.decide(&denies), Decision::Open);
    let known = Request {
        tags_are_elsewhere: false,
        ..request
    };
    let found = known
        .clone()
        .with("aws:ResourceTag/a", &["x"])
        .decide(&denies);
    assert_eq!(found, Decision::Deny);
    assert_eq!(known.decide(&denies), Decision::NoMatch);
}

#[test]
fn times_addresses_and_arns_are_compared_as_what_they_are() {
    let at = |seconds: &str| request("a").with("aws:EpochTime", &[seconds]);
    let until = r#""DateLessThan": {"aws:EpochTime": "2026-01-01T00:00:00+01:00"}"#;
    decides(&on(until), &[at("1767221999")], &[at("1767222000")]);
    let number = r#""NumericGreaterThanEquals": {"aws:EpochTime": "1767222000.5"}"#;
    decides(&on(number), &[at("1767222001")], &[at("1767222000")]);
    let of = |address: &str| request("a").with("aws:SourceIp", &[address]);
    let network = r#""IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]}"#;
    decides(
        &on(network),
        &[of("203.0.113.9"), of("2001:db8::9")],
        &[of("203.0.114.9"), of("2001:db9::")],
    );
    let by = |arn: &str| request("a").with("aws:PrincipalArn", &[arn]);
    let user = r#""ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/team-?/*"}"#;
    decides(
        &on(user),
        &[by("arn:aws:iam::123456789012:user/team-a/b:c")],
        &[
            by("arn:aws:iam::1:2:user/team-a/b"),
            by("arn:aws:iam::1:user/team-ab/c"),
            by("user"),
        ],
    );
    let text = r#""StringLike": {"aws:SourceIp": "203.*"}, "StringEqualsIgnoreCase": {"aws:PrincipalArn": "ARN:É"}"#;
    decides(
        &on(text),
        &[of("203.0.113.9").with("aws:PrincipalArn", &["arn:é"])],
        &[of("203.0.113.9")],
    );
}

#[test]
fn older_sessions_end_by_the_document_that_revokes_them() {
    let revoke = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": ["*"], "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-11-22T05:54:46.123Z"}}}]}"#;
    let issued = |at: &str| request("a").with("aws:TokenIssueTime", &[at]);
    let found = issued("2026-11-22T05:54:46Z").decide(revoke);
    assert_eq!(found, Decision::Deny);
    let found = issued("2026-11-22T05:54:47Z").decide(revoke);
    assert_eq!(found, Decision::NoMatch);
    assert_eq!(request("a").decide(revoke), Decision::NoMatch);
}

#[test]
fn variables_are_of_one_version() {
    let of = |version: &str| {
        format!(
            r#"{{{version}"Statement": {{"Effect": "Deny", "Action": "*", "Resource": "arn:${{aws:username}}"}}}}"#
        )
    };
    assert!(Policy::parse(&of(r#""Version": "2012-10-17", "#)).is_ok());
    for version in ["", r#""Version": "2008-10-17", "#] {
        let error = Policy::parse(&of(version)).unwrap_err().to_string();
        let fine = error.contains("must have \"Version\": \"2012-10-17\"");
        assert!(fine, "{error}");
    }
    // Also where it stands behind, and where the text is escaped.
    let behind = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "arn:\u0024{aws:username}"}, "Version": "2012-10-17"}"#;
    assert!(Policy::parse(behind).is_ok());
    for (variable, rule) in [
        ("${", "must be ${KEY}"),
        ("${aws:username", "must be ${KEY}"),
        ("${aws:username, x}", "must be ${KEY}"),
        (
            "${aws:nothing}",
            "condition key \\\"aws:nothing\\\": unknown",
        ),
        ("${aws:TagKeys}", "must be a key of one value"),
    ] {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "*", "Resource": "arn:{variable}"}}}}"#
        );
        let error = Policy::parse(&text).unwrap_err().to_string();
        assert!(error.contains(&rule.replace("\\\"", "\"")), "{error}");
    }
}

#[test]
fn values_of_conditions_are_checked() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (r#""NumericEquals": {"aws:EpochTime": "x"}"#, "must be a number"),
        (r#""DateEquals": {"aws:CurrentTime": "x"}"#, "must be a date"),
        (r#""Bool": {"aws:SecureTransport": "yes"}"#, "must be true or false"),
        (r#""Null": {"aws:username": 1}"#, "must be true or false"),
        (r#""IpAddress": {"aws:SourceIp": "10.0.0.0/33"}"#, "must be an address"),
        (r#""ArnLike": {"aws:PrincipalArn": "user/x"}"#, "must be * or an ARN"),
        (r#""BinaryEquals": {"aws:username": "%"}"#, "must be base64"),
        (r#""StringEquals": {"aws:username": []}"#, "expected a list that is not empty"),
        (r#""StringEquals": {"aws:username": "a", "AWS:UserName": "b"}"#, "expected once"),
        (r#""StringEquals": {}"#, "must have a condition key"),
    ];
    for (condition, rule) in cases {
        let error = Policy::parse(&on(condition)).unwrap_err().to_string();
        assert!(error.contains(rule), "{condition}\n{error}");
    }
    let both =
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}}"#;
    let error = Policy::parse(both).unwrap_err().to_string();
    assert!(error.contains("either Action or NotAction"), "{error}");
}

/// A document that takes more work than any should denies, and a usual one is far from that.
#[test]
fn the_work_of_conditions_is_bounded() {
    let long: Vec<String> = (0..50)
        .map(|nth| format!("{}{nth}", "a".repeat(126)))
        .collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let hostile = format!("\"*{}b*\"", "a?".repeat(30));
    let hostile = vec![hostile.as_str(); 25].join(", ");
    let document = on(&format!(
        r#""ForAnyValue:StringLike": {{"aws:TagKeys": [{hostile}]}}"#
    ));
    assert!(document.len() <= SESSION_POLICY_BYTES_MAX);
    let (mut steps, policy) = (0, Policy::parse_session(&document).unwrap());
    let tagged = request("a").with("aws:TagKeys", &long);
    assert_eq!(tagged.decide_by(&policy, &mut steps), Decision::Deny);
    assert!(steps < 40_000, "{steps}");

    let usual = ["\"*-prod-*\""; 10].join(", ");
    let usual = on(&format!(
        r#""ForAllValues:StringNotLike": {{"aws:TagKeys": [{usual}]}}"#
    ));
    assert_eq!(tagged.decide(&usual), Decision::Allow);
    // Values that are as long as a text may be are compared with it, longer ones are absent.
    let variables = ["\"*${aws:ResourceTag/a}?b*\""; 32].join(", ");
    let document = on(&format!(
        r#""StringLike": {{"aws:RequestTag/a": [{variables}]}}"#
    ));
    let (mut steps, policy) = (0, Policy::parse_session(&document).unwrap());
    let tag = "a".repeat(512);
    let tagged = request("a")
        .with("aws:ResourceTag/a", &[&tag])
        .with("aws:RequestTag/a", &[&"a".repeat(1024)]);
    assert_eq!(tagged.decide_by(&policy, &mut steps), Decision::Deny);
    assert!(steps < 40_000, "{steps}");
    let more = document.replacen("\"*${", "\"*${aws:ResourceTag/a}${", 1);
    let error = Policy::parse_session(&more).unwrap_err().to_string();
    assert!(error.contains("more variables than it may"), "{error}");
}

#[test]
fn decisions_allocate_nothing() {
    let document = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:kinesisvideo:*:*:channel/${aws:username}/*",
         "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "DateLessThan": {"aws:EpochTime": "2030-01-01"}}}]}"#;
    let policy = Policy::parse(document).unwrap();
    let context = ();
    let asked = codec::policy::Request {
        action: Action::ConnectAsMaster,
        resource: "arn:aws:kinesisvideo:us-west-2:123456789012:channel/a/1",
        client_id: None,
        context: &context,
    };
    let counted = allocation_counter::measure(|| {
        assert_eq!(policy.decide(&asked, &mut 0, &mut None), Decision::NoMatch);
    });
    assert_eq!(counted.count_total, 0);
}
