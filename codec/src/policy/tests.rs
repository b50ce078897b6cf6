use super::*;

const ARN: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000";

fn ask(policy: &str, action: Action, resource: &str, client_id: Option<&str>) -> Decision {
    let request = Request {
        action,
        resource,
        client_id,
        context: &(),
    };
    Policy::parse(policy)
        .unwrap()
        .decide(&request, &mut 0, &mut None)
}

/// Returns a document that consists of one statement with these members.
fn one(members: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": {{{members}}}}}"#)
}

#[test]
fn a_refusal_names_its_statement_and_the_condition_that_failed() {
    let text = r#"{"Statement": [
        {"Effect": "Allow", "Action": "kinesisvideo:Describe*", "Resource": "*"},
        {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
         "Condition": {"StringEquals": {"kinesisvideo:ClientId": "v1"}, "Bool": {"aws:SecureTransport": "true"}}},
        {"Effect": "Deny", "Action": "kinesisvideo:Delete*", "Resource": "*"}]}"#;
    let policy = Policy::parse(text).unwrap().named("viewers");
    let ground = |action, client_id| {
        let request = Request {
            action,
            resource: ARN,
            client_id,
            context: &(),
        };
        let mut ground = None;
        let decision = policy.decide(&request, &mut 0, &mut ground);
        assert_eq!(decision, policy.decide(&request, &mut 0, &mut None));
        let named = |ground: Ground| (ground.statement, policy.failed_key(ground));
        (decision, ground.map(named))
    };
    let key = |key: &str| Some(key.to_owned());
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (Action::DescribeSignalingChannel, None, Decision::Allow, None),
        (Action::ConnectAsViewer, Some("v2"), Decision::NoMatch, Some((2, key("kinesisvideo:ClientId")))),
        (Action::ConnectAsViewer, Some("v1"), Decision::NoMatch, Some((2, key("aws:SecureTransport")))),
        (Action::DeleteSignalingChannel, None, Decision::Deny, Some((3, None))),
        (Action::ConnectAsMaster, None, Decision::NoMatch, None),
    ];
    for (action, client_id, decision, wanted) in cases {
        assert_eq!(ground(action, client_id), (decision, wanted), "{action:?}");
    }
    assert_eq!(policy.name(), "viewers");
}

#[test]
fn resources_keep_their_case_and_create_has_no_time() {
    let policy = one(
        r#""Effect": "Allow", "Action": "KINESISVIDEO:createsignalingCHANNEL", "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/Cam-?/*""#,
    );
    for (resource, decision) in [
        ("channel/Cam-1/*", Decision::Allow),
        ("channel/Cam-1/17", Decision::Allow),
        ("channel/cam-1/*", Decision::NoMatch),
        ("channel/Cam-12/*", Decision::NoMatch),
        ("channel/Cam-1", Decision::NoMatch),
    ] {
        let arn = format!("arn:aws:kinesisvideo:us-west-2:123456789012:{resource}");
        let found = ask(&policy, Action::CreateSignalingChannel, &arn, None);
        assert_eq!(found, decision, "{resource}");
    }
}

/// Asserts that each document is rejected with the given error.
fn refused(table: &[(&str, &str)]) {
    for (text, wanted) in table {
        let error = Policy::parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}\n  {error}\n  {wanted}");
    }
}

#[test]
fn all_faults_of_a_document_are_listed_in_order() {
    let text = "{\"Version\": \"2020\", \"Statment\": 1, \"Statement\": [\n\
        {\"Effect\": \"allow\", \"Action\": [\"kinesisvideo:Nothing\", 5], \"Resource\": \"cam\"},\n\
        {\"Action\": \"*\", \"NotPrincipal\": [\"*\"], \"Condition\": {\"Boolean\": {\"a\": []}, \"StringLike\": \
        {\"b\": \"c\"}}},\n\
        {\"Effect\": \"Allow\", \"Action\": [], \"Resource\": \"*\"}]}";
    let faults = Policy::parse_with_faults(text).unwrap_err();
    let wanted = [
        (1, "Version \"2020\""),
        (1, "\"Statment\": unknown member"),
        (2, "Effect \"allow\""),
        (2, "kinesisvideo:Nothing"),
        (2, "invalid type: integer `5`, expected Action: a string"),
        (2, "resource \"cam\""),
        (3, "\"NotPrincipal\": not evaluated here"),
        (3, "condition operator \"Boolean\""),
        (3, "condition key \"b\""),
        (3, "the statement lacks Effect, Resource"),
        (4, "Action: expected a list that is not empty"),
    ];
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
    for (fault, (line, rule)) in faults.iter().zip(wanted) {
        let fine = fault.line == line && fault.rule.contains(rule);
        assert!(fine, "{fault} / {rule}");
    }
    assert_eq!(Policy::parse(text).unwrap_err(), faults[0]);
    // Parsing stops at text that is not JSON, and at the maximum number of errors.
    let cut = Policy::parse_with_faults(&text[..text.len() - 2]).unwrap_err();
    assert_eq!(cut.len(), wanted.len() + 1);
    let many = one(&format!(
        r#""Effect": "Allow", "Resource": "*", "Action": [{}"x"]"#,
        "\"x\", ".repeat(50)
    ));
    let found = Policy::parse_with_faults(&many).unwrap_err().len();
    assert_eq!(found, FAULTS_MAX);
    let fine = Policy::parse_with_faults(
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
    )
    .is_ok();
    assert!(fine);
}

#[test]
fn faults_of_documents_are_named_with_their_place() {
    #[rustfmt::skip] // a table, a case per row
    refused(&[
        ("", "line 1, column 0: EOF while parsing a value"),
        ("[]", "line 1, column 0: invalid type: sequence, expected a policy document: an object with Statement"),
        ("{}", "line 1, column 2: the document needs Statement, with at least one statement"),
        (r#"{"Statement":[]}"#, "line 1, column 16: the document needs Statement, with at least one statement"),
        ("{\n \"Statement\":[{}]}", "line 2, column 16: the statement lacks Effect, Action, Resource"),
        (
            r#"{"Version":"2020-01-01"}"#,
            "line 1, column 23: Version \"2020-01-01\": expected \"2012-10-17\", \"2008-10-17\"",
        ),
        (r#"{"statement":[]}"#, "line 1, column 12: \"statement\": unknown member, expected Version, Id, Statement"),
        (
            r#"{"Statement":{"NotPrincipal":"x"}}"#,
            "\"NotPrincipal\": not evaluated here, expected Sid, Effect, Action, NotAction, Resource, NotResource, \
             Condition",
        ),
        (r#"{"Statement":{"Principal":"*"}}"#, "\"Principal\": not evaluated here"),
        (r#"{"Statement":{"Effect":"allow"}}"#, "line 1, column 30: Effect \"allow\": expected \"Allow\", \"Deny\""),
        (r#"{"Statement":{"Effect":"Allow","Effect":"Allow"}}"#, "Effect: expected once"),
    ]);
}

#[test]
fn faults_of_lists_are_named_with_their_place() {
    #[rustfmt::skip] // a table, a case per row
    refused(&[
        (r#"{"Statement":{"Action":5}}"#, "invalid type: integer `5`, expected Action: a string or a list of strings"),
        (r#"{"Statement":{"Action":[]}}"#, "Action: expected a list that is not empty"),
        (r#"{"Statement":{"Action":[["s3:*"]]}}"#, "invalid type: sequence, expected Action: a string"),
        (
            "{\"Statement\":{\"Action\":[\"s3:*\",\n\"kinesisvideo:ConectAsMaster\"]}}",
            "line 2, column 29: action \"kinesisvideo:ConectAsMaster\": there is no such action; the nearest \
             is \"kinesisvideo:ConnectAsMaster\"",
        ),
        (r#"{"Statement":{"Resource":"channel/x"}}"#, "resource \"channel/x\": expected \"*\" or an ARN such as"),
        (
            r#"{"Statement":{"Resource":"arn:aws:${x}"}}"#,
            "variable in \"arn:aws:${x}\": the document must have \"Version\": \"2012-10-17\"",
        ),
        (r#"{"Statement":{"Resource":""}}"#, "\"\": expected 1 to 2048 bytes"),
    ]);
}

#[test]
fn faults_of_conditions_are_named() {
    #[rustfmt::skip] // a table, a case per row
    refused(&[
        (
            r#"{"Statement":{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*","Condition":{}}}"#,
            "Condition: must have an operator such as StringEquals",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*","Condition":{"Boolean":{}}}}"#,
            "condition operator \"Boolean\": unknown, must be one of StringEquals, StringNotEquals, ",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*","Condition":{"StringLike":{"aws:TagKey":"x"}}}}"#,
            "condition key \"aws:TagKey\": unknown, must be one of kinesisvideo:ClientId, aws:CurrentTime, ",
        ),
        (
            r#"{"Statement":{"Condition":{"StringLike":{"kinesisvideo:ClientId":"a"},"stringLike":{}}}}"#,
            "Condition: expected each operator once",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*","Condition":{"StringLike":{}}}}"#,
            "condition operator \"StringLike\": must have a condition key",
        ),
        (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}} x"#, "trailing characters"),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"kinesisvideo:*","Resource":"*","Resource":"*"}}"#,
            "Resource: expected once",
        ),
    ]);
}

#[test]
fn bounds_hold_on_both_sides() {
    let statement = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let statements = |count| format!(r#"{{"Statement":[{}]}}"#, vec![statement; count].join(","));
    assert!(Policy::parse(&statements(STATEMENTS_MAX)).is_ok());
    let error = Policy::parse(&statements(STATEMENTS_MAX + 1)).unwrap_err();
    assert_eq!(error.rule, "expected at most 256 statements");

    let actions = |count| {
        let list = vec![r#""s3:X""#; count].join(",");
        one(&format!(
            r#""Effect":"Deny","Resource":"*","Action":[{list}]"#
        ))
    };
    assert!(Policy::parse(&actions(ENTRIES_MAX)).is_ok());
    assert!(Policy::parse(&actions(ENTRIES_MAX + 1)).is_err());

    let padded = |bytes: usize| {
        format!(
            "{}{}",
            statements(1),
            " ".repeat(bytes - statements(1).len())
        )
    };
    assert!(Policy::parse(&padded(POLICY_BYTES_MAX)).is_ok());
    let error = Policy::parse(&padded(POLICY_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the document has 65537 bytes, expected at most 65536"
    );
    assert!(Policy::parse_session(&padded(SESSION_POLICY_BYTES_MAX)).is_ok());
    assert!(Policy::parse_session(&padded(SESSION_POLICY_BYTES_MAX + 1)).is_err());
    assert!(Policy::parse(&"[".repeat(60_000)).is_err());
}

#[test]
fn allowed_actions_are_listed() {
    let policy = Policy::parse(&one(
        r#""Effect": "Allow", "Action": "kinesisvideo:ConnectAs*", "Resource": "*""#,
    ));
    let policy = policy.unwrap();
    let allowed: Vec<_> = policy.allowed_somewhere().collect();
    assert_eq!(allowed, [Action::ConnectAsMaster, Action::ConnectAsViewer]);
    assert!(!policy.denies());
}

#[test]
fn a_sole_client_id_is_that_of_every_statement_that_allows() {
    let sole = |statements: &[&str]| {
        let statements: Vec<_> = (statements.iter())
            .map(|members| format!(r#"{{{members}, "Resource": "*"}}"#))
            .collect();
        let text = format!(r#"{{"Statement": [{}]}}"#, statements.join(","));
        let policy = Policy::parse(&text).unwrap();
        let id = policy.sole_client_id(Action::ConnectAsViewer);
        id.map(|id| String::from_utf8(id.to_vec()).unwrap())
    };
    let allow = |condition: &str| {
        let action = r#""Effect": "Allow", "Action": "kinesisvideo:Connect*""#;
        format!(r#"{action}, "Condition": {{{condition}}}"#)
    };
    let one = allow(r#""StringEquals": {"kinesisvideo:ClientId": "v1"}"#);
    let two = allow(r#""StringEquals": {"kinesisvideo:ClientId": ["v1", "v2"]}"#);
    let like = allow(r#""StringLike": {"kinesisvideo:ClientId": "v1"}"#);
    let other = one.replace("v1", "v2");
    let any = r#""Effect": "Allow", "Action": "kinesisvideo:*""#;
    let elsewhere = r#""Effect": "Allow", "Action": "kinesisvideo:Describe*""#;
    let deny = r#""Effect": "Deny", "Action": "*""#;
    for told in [vec![&*one], vec![&one, elsewhere, deny], vec![&one, &one]] {
        assert_eq!(sole(&told).as_deref(), Some("v1"), "{told:?}");
    }
    for open in [vec![&*two], vec![&like], vec![any], vec![elsewhere]] {
        assert_eq!(sole(&open), None, "{open:?}");
    }
    for open in [[&*one, &other], [&one, any], [any, &one], [&two, &one]] {
        assert_eq!(sole(&open), None, "{open:?}");
    }
}

#[test]
fn an_operation_has_its_action() {
    for operation in crate::control::Operation::ALL.iter().copied() {
        assert_eq!(operation.policy_action().name(), operation.name());
    }
}

/// The serialised form is shorter than the text, so that it fits into a token. Bytes in another form are not a policy.
#[test]
fn a_policy_is_its_bytes() {
    let text = r#"{"Statement": [{"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": ["arn:*", "*"],
        "Condition": {"StringEquals": {"kinesisvideo:ClientId": ["v1", "v2"]}, "StringLike": {"kinesisvideo:ClientId": "v*"}}},
        {"Effect":"Deny","Action":"*","Resource":"*"}]}"#;
    let policy = Policy::parse(text).unwrap();
    let bytes = policy.bytes();
    assert!(bytes.len() < text.len());
    assert_eq!(Policy::of_bytes(bytes).as_ref(), Some(&policy));
    let whole = [
        0,
        Policy::parse(&one(
            r#""Effect":"Allow","Action":"kinesisvideo:*","Resource":["arn:*","*"],"Condition":{"StringEquals":{"kinesisvideo:ClientId":["v1","v2"]},"StringLike":{"kinesisvideo:ClientId":"v*"}}"#,
        ))
        .unwrap()
        .bytes()
        .len(),
        bytes.len(),
    ];
    for end in 0..=bytes.len() {
        let cut = Policy::of_bytes(&bytes[..end]);
        assert_eq!(cut.is_some(), whole.contains(&end), "{end}");
    }
    assert_eq!(Policy::of_bytes(&[2; 16]), None);
    let shortest = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    let many = format!(r#"{{"Statement":[{}]}}"#, vec![shortest; 44].join(","));
    assert!(many.len() <= SESSION_POLICY_BYTES_MAX);
    assert!(Policy::parse_session(&many).unwrap().bytes().len() < many.len());
}
