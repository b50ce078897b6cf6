//! Conditions and variables of policies: values of the request, of its caller, and of the channel's tags, which are
//! known where the channel lives.

use crate::signed::service::{Service, credentials, principal};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};

const POLICIES: &str = r#"
[policy.household]
document = '''{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*",
     "Condition": {"StringEquals": {"aws:ResourceTag/household": "${aws:username}"}}},
    {"Effect": "Allow", "Action": "kinesisvideo:CreateSignalingChannel", "Resource": "*",
     "Condition": {"StringEquals": {"aws:RequestTag/household": "${aws:username}"},
                   "ForAllValues:StringEquals": {"aws:TagKeys": "household"}}},
    {"Effect": "Deny", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
     "Condition": {"StringEquals": {"kinesisvideo:ClientId": "${aws:ResourceTag/barred}"}}}]}'''
[policy.own]
document = '''{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kinesisvideo:*",
    "Resource": "arn:aws:kinesisvideo:${aws:RequestedRegion}:${aws:PrincipalAccount}:channel/${aws:username}/*"}}'''
[policy.here]
document = '''{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ListSignalingChannels", "Resource": "*",
    "Condition": {"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1"]}, "Bool": {"aws:SecureTransport": false},
    "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}, "NumericGreaterThan": {"aws:EpochTime": 1767225600},
    "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/her?"}, "StringEquals": {"aws:PrincipalType": "User"},
    "StringLike": {"aws:userid": "AIDA????????????????", "aws:UserAgent": "app/*"},
    "Null": {"aws:TokenIssueTime": true, "aws:Referer": true}}}}'''
[policy.unlocked]
document = '''{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
    {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:RequestTag/lock": "on"}}},
    {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/lock": "on"}}}]}'''
[policy.elsewhere]
document = '''{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
    "Condition": {"NotIpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1"]}}}}'''
"#;

fn service(configuration: &str) -> Service {
    let names = [
        ("17", "household"),
        ("camera17", "own"),
        ("here", "here"),
        ("guest", "unlocked"),
        ("there", "elsewhere"),
    ];
    let principals = names.map(|(name, policy)| principal(name, &format!("[\"{policy}\"]"), ""));
    Service::configured(
        configuration,
        &(credentials() + POLICIES + &principals.concat()),
        2,
    )
}

/// A new channel of a household; the status of the call.
fn create(
    service: &Service,
    signer: &Signer,
    name: &str,
    tags: &[(&str, &str)],
) -> Result<String, u16> {
    let body = json!({"ChannelName": name, "Tags": list(tags)});
    let answer = service.call(signer, "/createSignalingChannel", &body);
    if answer.status != 200 {
        return Err(answer.status);
    }
    Ok(answer.json()["ChannelARN"]
        .as_str()
        .expect("an ARN")
        .to_owned())
}

/// Tags as calls have them.
fn list(tags: &[(&str, &str)]) -> Vec<Value> {
    let tag = |(key, value): &(&str, &str)| json!({"Key": key, "Value": value});
    tags.iter().map(tag).collect()
}

fn connect(service: &Service, signer: &Signer, arn: &str, client_id: Option<&str>) -> u16 {
    let call = match client_id {
        Some(id) => Call::viewer(&service.broker, arn, id),
        None => Call::master(&service.broker, arn),
    };
    service.send(&signer.presign(call, 60)).status
}

#[test]
fn tags_open_channels_to_a_household() {
    let service = service("");
    let (admin, person) = (Signer::new("admin"), Signer::new("17"));
    let make = |name, tags: &[_]| create(&service, &admin, name, tags).expect("admins may");
    let own = make("own", &[("Household", "17"), ("barred", "v2")]);
    let other = make("other", &[("household", "18")]);
    let bare = make("bare", &[]);
    let absent = own.replace(":channel/own/", ":channel/none/");
    for (arn, status, upgrade) in [
        (&own, 200, 101),
        (&other, 401, 403),
        (&bare, 401, 403),
        (&absent, 401, 403),
    ] {
        for path in ["/describeSignalingChannel", "/v1/get-ice-server-config"] {
            let answer = service.call(&person, path, &json!({"ChannelARN": arn}));
            assert_eq!(answer.status, status, "{path} {arn}");
        }
        assert_eq!(connect(&service, &person, arn, None), upgrade, "{arn}");
        assert_eq!(
            connect(&service, &person, arn, Some("v1")),
            upgrade,
            "{arn}"
        );
    }
    assert_eq!(connect(&service, &person, &own, Some("v2")), 403);
    for (name, status) in [("own", 200), ("other", 401), ("none", 401)] {
        let body = json!({"ChannelName": name});
        let answer = service.call(&person, "/describeSignalingChannel", &body);
        assert_eq!(answer.status, status, "{name}");
    }
    assert!(create(&service, &person, "new", &[("household", "17")]).is_ok());
    for tags in [
        &[][..],
        &[("household", "18")],
        &[("household", "17"), ("more", "x")],
    ] {
        assert_eq!(
            create(&service, &person, "more", tags),
            Err(401),
            "{tags:?}"
        );
    }
    // A caller that gives the channel away has it no longer.
    let tags = json!({"ResourceARN": own, "Tags": [{"Key": "household", "Value": "18"}]});
    let untag = json!({"ResourceARN": own, "TagKeyList": ["Household"]});
    service.call(&person, "/TagResource", &tags).ok();
    assert_eq!(service.call(&person, "/UntagResource", &untag).status, 401);
    service.call(&admin, "/UntagResource", &untag).ok();
    assert_eq!(service.call(&person, "/TagResource", &tags).status, 401);
    assert_eq!(connect(&service, &person, &own, None), 403);
    service.end();
}

#[test]
fn a_tag_in_two_spellings_opens_nothing_and_denies() {
    let service = service("");
    let [admin, person, guest] = ["admin", "17", "guest"].map(Signer::new);
    for (name, tags) in [
        ("one", [("household", "17"), ("Household", "18")]),
        ("two", [("Household", "18"), ("household", "17")]),
    ] {
        create(&service, &admin, name, &tags).expect("admins may");
        let body = json!({"ChannelName": name});
        let answer = service.call(&person, "/describeSignalingChannel", &body);
        assert_eq!(answer.status, 401, "{name}");
    }
    let locks = [("LOCK", "off"), ("lock", "on")];
    assert_eq!(create(&service, &guest, "locked", &locks), Err(401));
    let arn = create(&service, &guest, "free", &[]).expect("guests may");
    let tag = |signer: &Signer, tags: &[(&str, &str)]| {
        let body = json!({"ResourceARN": arn, "Tags": list(tags)});
        service.call(signer, "/TagResource", &body).status
    };
    assert_eq!(tag(&guest, &locks), 401);
    assert_eq!(tag(&guest, &locks[..1]), 200);
    assert_eq!(connect(&service, &guest, &arn, None), 101);
    assert_eq!(tag(&admin, &locks[1..]), 200);
    assert_eq!(connect(&service, &guest, &arn, None), 403);
    let body = json!({"ChannelARN": arn});
    let answer = service.call(&guest, "/deleteSignalingChannel", &body);
    assert_eq!(answer.status, 401);
    service.end();
}

#[test]
fn variables_and_conditions_have_the_values_of_the_request() {
    let service = service("");
    let (admin, camera) = (Signer::new("admin"), Signer::new("camera17"));
    let [own, other] = ["camera17", "camera18"].map(|name| service.create(&admin, name));
    assert_eq!(connect(&service, &camera, &own, None), 101);
    assert_eq!(connect(&service, &camera, &other, None), 403);
    let list = |name: &str, agent: &str| {
        let call = Call::api(&service.broker, "/listSignalingChannels", &json!({}));
        let call = Signer::new(name).sign(call);
        service.send(&call.header("User-Agent", agent)).status
    };
    assert_eq!(list("here", "app/1"), 200);
    assert_eq!(list("here", "other/1"), 401);
    assert_eq!(list("there", "app/1"), 401);
    service.end();
}

#[test]
fn a_proxy_says_where_the_client_of_a_condition_is_and_whether_it_has_tls() {
    let service = service("[proxy]\nforwarded_from = [\"127.0.0.0/8\", \"::1\"]\n");
    let list = |name: &str, header: &str, value: &str| {
        let call = Call::api(&service.broker, "/listSignalingChannels", &json!({}));
        let call = Signer::new(name).sign(call).header("User-Agent", "app/1");
        service.send(&call.header(header, value)).status
    };
    assert_eq!(list("here", "X-Forwarded-Proto", "http"), 200);
    assert_eq!(list("here", "X-Forwarded-Proto", "https"), 401);
    assert_eq!(list("there", "X-Forwarded-For", "127.0.0.1"), 401);
    assert_eq!(list("there", "X-Forwarded-For", "192.0.2.7"), 200);
    service.end();
}
