//! Sessions of roles and of principals (codec/PROTOCOL.md, STS).

use crate::http::Answer;
use crate::signed::service::{Service, credentials, principal};
use crate::signed::signer::Signer;
use crate::signed::sts::{element, granted, sts};
use serde_json::json;
use std::fs;
use testkit::until_true;

/// Roles beside everybody, and two principals of their own.
const ROLES: &str = r#"
[policy.rooms]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kinesisvideo:*",
    "Resource": "arn:aws:kinesisvideo:*:*:channel/room-${aws:PrincipalTag/house, '0'}/*"}]}'''
[policy.assume]
document = '{"Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]}'
[policy.describe]
document = '{"Statement": [{"Effect": "Allow", "Action": "kinesisvideo:Describe*", "Resource": "*"}]}'
[policy.recent]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*",
    "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}}]}'''

[role.rooms]
policies = ["rooms", "assume", "recent"]
max_session = "2h"
trust = '''{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:user/backend"},
     "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]},
    {"Effect": "Allow", "Principal": {"AWS": "999999999999"}, "Action": "sts:AssumeRole",
     "Condition": {"StringEquals": {"sts:ExternalId": "x-1"}}},
    {"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::123456789012:user/barred"}, "Action": "sts:AssumeRole"}]}'''
[role.next]
policies = ["rooms"]
trust = '''{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:role/rooms"},
    "Action": ["sts:AssumeRole", "sts:TagSession"]}]}'''
"#;

const TRUSTED: &str = "arn:aws:iam::123456789012:role/rooms";

fn file() -> String {
    credentials() + &principal("backend", "[]", "") + ROLES
}

fn start() -> Service {
    let service = Service::with(&file(), &[], 2);
    service.keep(&Signer::new("backend").secret);
    service
}

/// The answer to AssumeRole for a session `s1` with further parameters.
fn assumed(service: &Service, signer: &Signer, role: &str, more: &[(&str, &str)]) -> Answer {
    let form = [
        ("Action", "AssumeRole"),
        ("RoleArn", role),
        ("RoleSessionName", "s1"),
    ];
    sts(service, signer, &[&form[..], more].concat())
}

fn describes(service: &Service, signer: &Signer, name: &str) -> u16 {
    let body = json!({"ChannelName": name});
    service
        .call(signer, "/describeSignalingChannel", &body)
        .status
}

#[test]
fn a_role_is_assumed_and_has_the_identities_of_aws() {
    let service = start();
    let admin = Signer::new("admin");
    for name in ["room-0", "room-1", "hall"] {
        service.create(&admin, name);
    }
    let answer = assumed(&service, &Signer::new("backend"), TRUSTED, &[]);
    answer.assert_common();
    let body = answer.text();
    let session = granted(&service, &answer);
    assert!(session.id.starts_with("ASIA"), "{}", session.id);
    let arn = "arn:aws:sts::123456789012:assumed-role/rooms/s1";
    let id = element(&body, "AssumedRoleId");
    assert_eq!(element(&body, "Arn"), arn);
    assert!(id.starts_with("AROA") && id.ends_with(":s1"), "{id}");
    let who = sts(&service, &session, &[("Action", "GetCallerIdentity")]).text();
    assert_eq!((element(&who, "Arn"), element(&who, "UserId")), (arn, id));
    assert_eq!(element(&who, "Account"), "123456789012");
    let seen =
        ["room-0", "room-1", "hall", "absent"].map(|name| describes(&service, &session, name));
    assert_eq!(seen, [200, 401, 401, 401]);
    service.end();
}

#[test]
fn tags_are_values_and_go_on_as_they_were_set() {
    let service = start();
    let (admin, web) = (Signer::new("admin"), Signer::new("backend"));
    for name in ["room-0", "room-1", "room-2"] {
        service.create(&admin, name);
    }
    let tagged = |value| {
        let more = [
            ("Tags.member.1.Key", "house"),
            ("Tags.member.1.Value", value),
            ("TransitiveTagKeys.member.1", "house"),
            ("SourceIdentity", "ops"),
        ];
        assumed(&service, &web, TRUSTED, &more)
    };
    let answer = tagged("1");
    assert_eq!(element(&answer.text(), "SourceIdentity"), "ops");
    let session = granted(&service, &answer);
    let may = |signer: &Signer| {
        ["room-0", "room-1", "room-2"].map(|name| describes(&service, signer, name))
    };
    assert_eq!(may(&session), [401, 200, 401]);
    // A value that would be a path means nothing.
    let hostile = granted(&service, &tagged("1/x"));
    assert_eq!(may(&hostile), [401, 401, 401]);
    // The next role does not allow a source identity, which this session has.
    let next = TRUSTED.replace("rooms", "next");
    let answer = assumed(&service, &session, &next, &[]).text();
    assert_eq!(element(&answer, "Code"), "AccessDenied");
    assert!(answer.contains("sts:SetSourceIdentity"), "{answer}");
    let plain = [
        ("Tags.member.1.Key", "house"),
        ("Tags.member.1.Value", "2"),
        ("TransitiveTagKeys.member.1", "house"),
    ];
    let session = granted(&service, &assumed(&service, &web, TRUSTED, &plain));
    let chained = granted(&service, &assumed(&service, &session, &next, &[]));
    assert_eq!(may(&chained), [401, 401, 200]);
    let replaced = assumed(&service, &session, &next, &plain[..2]).text();
    assert_eq!(element(&replaced, "Code"), "InvalidParameterValue");
    service.end();
}

#[test]
fn policies_of_a_session_bound_its_role() {
    let service = start();
    let web = Signer::new("backend");
    service.create(&Signer::new("admin"), "room-0");
    let session =
        |more: &[(&str, &str)]| granted(&service, &assumed(&service, &web, TRUSTED, more));
    let named = |name: &str| format!("arn:aws:iam::123456789012:policy/{name}");
    let arn = named("describe");
    let by_name = session(&[("PolicyArns.member.1.arn", &arn)]);
    let list = json!({});
    assert_eq!(describes(&service, &by_name, "room-0"), 200);
    assert_eq!(
        service
            .call(&by_name, "/listSignalingChannels", &list)
            .status,
        401
    );
    let nothing =
        r#"{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:Create*", "Resource": "*"}}"#;
    let by_text = session(&[("Policy", nothing)]);
    assert_eq!(describes(&service, &by_text, "room-0"), 401);
    // A policy of a session never adds to its role.
    let all = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
    assert_eq!(
        describes(&service, &session(&[("Policy", all)]), "hall"),
        401
    );
    let arn = named("none");
    let absent = [("PolicyArns.member.1.arn", &*arn)];
    let answer = assumed(&service, &web, TRUSTED, &absent).text();
    assert_eq!(element(&answer, "Code"), "InvalidParameterValue");
    service.end();
}

#[test]
fn a_session_of_a_principal_has_its_rights_and_asks_for_no_other_keys() {
    let service = start();
    let admin = Signer::new("admin");
    service.create(&admin, "hall");
    let form = [("Action", "GetSessionToken"), ("DurationSeconds", "900")];
    let session = granted(&service, &sts(&service, &admin, &form));
    assert_eq!(describes(&service, &session, "hall"), 200);
    let who = |signer: &Signer| {
        let body = sts(&service, signer, &[("Action", "GetCallerIdentity")]).text();
        (
            element(&body, "Arn").to_owned(),
            element(&body, "UserId").to_owned(),
        )
    };
    assert_eq!(who(&session), who(&admin));
    let web = granted(&service, &sts(&service, &Signer::new("backend"), &form));
    granted(&service, &assumed(&service, &web, TRUSTED, &[]));
    service.end();
}

#[test]
fn a_token_is_worth_nothing_with_another_key_and_ends_with_its_role() {
    let service = start();
    let web = Signer::new("backend");
    service.create(&Signer::new("admin"), "room-0");
    let one = granted(&service, &assumed(&service, &web, TRUSTED, &[]));
    let next = TRUSTED.replace("rooms", "next");
    let two = granted(&service, &assumed(&service, &one, &next, &[]));
    let mixed = Signer {
        token: one.token.clone(),
        ..Signer {
            id: two.id.clone(),
            secret: two.secret.clone(),
            ..Signer::new("mixed")
        }
    };
    assert_eq!(describes(&service, &mixed, "room-0"), 403);
    let all = [&one, &two];
    assert_eq!(
        all.map(|signer| describes(&service, signer, "room-0")),
        [200, 200]
    );
    // Without the first role neither session counts: the second one hangs on it.
    let (kept, _) = ROLES.split_once("[role.rooms]").expect("a role");
    let (_, last) = ROLES.split_once("[role.next]").expect("a role");
    let text = credentials() + &principal("backend", "[]", "") + kept + "[role.next]" + last;
    fs::write(service.directory.join("credentials.toml"), text).expect("written");
    service.broker.signal("HUP");
    for signer in all {
        until_true("the session's end", || {
            (0..8).all(|_| describes(&service, signer, "room-0") == 403)
        });
    }
    let answer = service.call(
        &two,
        "/describeSignalingChannel",
        &json!({"ChannelName": "room-0"}),
    );
    answer.refused(403, "UnrecognizedClientException");
    service.end();
}
