//! Temporary credentials as a web back end gives them to browsers (codec/PROTOCOL.md, STS).

use crate::http::{Answer, get};
use crate::signed::service::{
    Service, credentials, ended, on_signed_shards, principal, relay, temporary,
};
use crate::signed::signer::{Call, Signer};
use serde_json::json;
use testkit::until;

on_signed_shards!(
    a_browser_may_what_its_policy_says,
    both_sides_must_allow,
    without_a_policy_there_are_no_rights,
    everybody_may_ask_who_they_are,
    signatures_for_sts_are_checked_alike,
    lines_say_who_it_was_whatever_it_calls_itself,
);

/// One channel, one client id.
const BROWSER: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
    "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"],
    "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/room-1/*",
    "Condition": {"StringEquals": {"kinesisvideo:ClientId": "v1"}}}}"#;

const EVERYTHING: &str =
    r#"{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}}"#;

/// The text of an element of an answer.
pub(crate) fn element<'a>(body: &'a str, name: &str) -> &'a str {
    let (_, rest) = body
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {body}"));
    rest.split('<').next().unwrap_or_default()
}

/// A call of STS, signed for it.
pub(crate) fn sts(service: &Service, signer: &Signer, form: &[(&str, &str)]) -> Answer {
    let call = Call::sts(&service.broker, form);
    service.send(&signer.of_service("sts").sign(call))
}

/// Temporary credentials with this policy; the answer as well.
pub(crate) fn federate(service: &Service, signer: &Signer, policy: &str) -> (Signer, String) {
    let form = [
        ("Action", "GetFederationToken"),
        ("Name", "web-1"),
        ("Policy", policy),
        ("DurationSeconds", "900"),
    ];
    let form = &form[..];
    let form: Vec<_> = form
        .iter()
        .filter(|pair| !pair.1.is_empty())
        .copied()
        .collect();
    let answer = sts(service, signer, &form);
    (granted(service, &answer), answer.text())
}

/// The temporary credentials of an answer.
pub(crate) fn granted(service: &Service, answer: &Answer) -> Signer {
    answer.assert_common();
    let body = answer.text();
    assert_eq!(answer.status, 200, "{body}");
    assert_eq!(answer.header("content-type"), Some("text/xml"));
    let own = |name: &str| element(&body, name).to_owned();
    let granted = Signer {
        id: own("AccessKeyId"),
        secret: own("SecretAccessKey"),
        token: Some(own("SessionToken")),
        ..Signer::new("granted")
    };
    service.keep(&granted.secret);
    service.keep(granted.token.as_deref().unwrap_or_default());
    assert!(granted.id.starts_with("ASIA"), "{}", granted.id);
    granted
}

/// The answer to a viewer's presigned upgrade.
fn viewer(service: &Service, signer: &Signer, arn: &str, client_id: &str) -> Answer {
    let call = Call::viewer(&service.broker, arn, client_id);
    service.send(&signer.presign(call, 60))
}

/// Asserts an error of STS, and how it is counted; its request id.
fn refused(
    service: &Service,
    call: &Call,
    status: u16,
    code: &str,
    reason: Option<&str>,
) -> String {
    let answer = service.counts(reason, || service.send(call));
    let body = answer.text();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(element(&body, "Code"), code, "{body}");
    assert_eq!(answer.header("x-amzn-errortype"), Some(code));
    assert_eq!(
        answer.header("x-amzn-requestid"),
        Some(element(&body, "RequestId"))
    );
    assert!(!element(&body, "Message").is_empty());
    element(&body, "RequestId").to_owned()
}

fn a_browser_may_what_its_policy_says(service: &Service) {
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "room-1");
    let other = service.create(&admin, "room-2");
    let (browser, body) = federate(service, &admin, BROWSER);
    assert_eq!(
        element(&body, "Arn"),
        "arn:aws:sts::123456789012:federated-user/web-1"
    );
    assert_eq!(element(&body, "FederatedUserId"), "123456789012:web-1");
    let mut master = service.connect(&admin.presign(Call::master(&service.broker, &arn), 60));
    let url = browser.presign(Call::viewer(&service.broker, &arn, "v1"), 60);
    let mut own = service.counts(None, || service.connect(&url));
    relay(&mut master, &mut own);
    let absent = arn.replace("room-1", "room-9");
    for (arn, client_id) in [(&arn, "v2"), (&other, "v1"), (&absent, "v1")] {
        let told = service.counts(Some("policy"), || viewer(service, &browser, arn, client_id));
        let told = told.refused(403, "AccessDeniedException");
        assert_eq!(
            told,
            format!(
                "User: arn:aws:sts::123456789012:federated-user/web-1 is not authorized to perform: \
                 kinesisvideo:ConnectAsViewer on resource: {arn}"
            )
        );
    }
    let master = browser.presign(Call::master(&service.broker, &arn), 60);
    let told = service.counts(Some("policy"), || service.send(&master));
    told.refused(403, "AccessDeniedException");
    let ice = |more| {
        let mut body = json!({"ChannelARN": arn});
        if let Some(id) = more {
            body["ClientId"] = json!(id);
        }
        service.call(&browser, "/v1/get-ice-server-config", &body)
    };
    ice(Some("v1")).ok();
    for wrong in [Some("v2"), None] {
        let told = service.counts(Some("policy"), || ice(wrong));
        told.refused(401, "NotAuthorizedException");
    }
    let body = json!({"ChannelARN": arn});
    let describe = service.call(&browser, "/describeSignalingChannel", &body);
    describe.refused(401, "AccessDeniedException");
}

/// A back end that may give browsers what it has itself.
const BACK_END: &str = r#"
[policy.back-end]
document = '''{"Statement": [
    {"Effect": "Allow", "Action": "sts:GetFederationToken", "Resource": "arn:aws:sts::123456789012:federated-user/web-*"},
    {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "arn:aws:kinesisvideo:*:*:channel/room-*/*"}]}'''
"#;

fn both_sides_must_allow(service: &Service) {
    let own = principal("backend", r#"["back-end"]"#, "") + BACK_END;
    let path = service.directory.join("credentials.toml");
    std::fs::write(path, credentials() + &own).expect("written");
    service.broker.signal("HUP");
    service.broker.logged(&["credentials in force"], 1);
    let (admin, backend) = (Signer::new("admin"), Signer::new("backend"));
    service.keep(&backend.secret);
    let room = service.create(&admin, "room-1");
    let door = service.create(&admin, "door");
    let (browser, _) = federate(service, &backend, EVERYTHING);
    assert_eq!(viewer(service, &browser, &room, "v1").status, 101);
    let told = service.counts(Some("policy"), || viewer(service, &browser, &door, "v1"));
    told.refused(403, "AccessDeniedException");
    let (browser, _) = federate(service, &admin, BROWSER);
    viewer(service, &browser, &door, "v1").refused(403, "AccessDeniedException");
    // Under another name than its policy has, or with other temporary credentials, nobody is given any.
    let named = |name| {
        let form = [("Action", "GetFederationToken"), ("Name", name)];
        Call::sts(&service.broker, &form)
    };
    let denied = backend.of_service("sts").sign(named("cam-1"));
    let id = refused(service, &denied, 403, "AccessDenied", Some("policy"));
    let policy = until("the refusal", || {
        let row = get(service.broker.admin, &format!("/refusals/{id}")).json();
        row["policy"].as_str().map(str::to_owned)
    });
    assert_eq!(
        policy,
        "back-end: no statement for this action on this resource"
    );
    let (granted, _) = federate(service, &admin, "");
    let again = granted.of_service("sts").sign(named("web-2"));
    refused(service, &again, 403, "AccessDenied", Some("policy"));
}

fn without_a_policy_there_are_no_rights(service: &Service) {
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "room-1");
    let (browser, body) = federate(service, &admin, "");
    assert_eq!(element(&body, "PackedPolicySize"), "0");
    viewer(service, &browser, &arn, "v1").refused(403, "AccessDeniedException");
    let list = service.call(&browser, "/listSignalingChannels", &json!({}));
    list.refused(401, "AccessDeniedException");
}

fn everybody_may_ask_who_they_are(service: &Service) {
    let form = [("Action", "GetCallerIdentity")];
    let (granted, _) = federate(service, &Signer::new("admin"), "");
    for (signer, arn) in [
        (Signer::new("admin"), "arn:aws:iam::123456789012:user/admin"),
        (
            Signer::new("nobody"),
            "arn:aws:iam::123456789012:user/nobody",
        ),
        (temporary(), "arn:aws:iam::123456789012:user/temporary"),
        (
            Signer::new("neighbour"),
            "arn:aws:iam::999999999999:user/neighbour",
        ),
        (granted, "arn:aws:sts::123456789012:federated-user/web-1"),
    ] {
        let answer = service.counts(None, || sts(service, &signer, &form));
        let body = answer.text();
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(element(&body, "Arn"), arn);
        assert!(arn.contains(element(&body, "Account")), "{body}");
    }
}

fn signatures_for_sts_are_checked_alike(service: &Service) {
    let admin = Signer::new("admin").of_service("sts");
    let form = [("Action", "GetCallerIdentity")];
    let call = || Call::sts(&service.broker, &form);
    let stranger = Signer::new("stranger").of_service("sts");
    service.keep(&stranger.secret);
    let global = Signer {
        region: "us-east-1",
        ..admin.clone()
    };
    assert_eq!(
        service.send(&global.sign(call())).status,
        200,
        "of older SDKs"
    );
    let elsewhere = Signer {
        region: "eu-west-1",
        ..admin.clone()
    };
    let mut other_body = admin.sign(call());
    other_body.body += "&Tags.member.1.Key=x";
    let wrong = "SignatureDoesNotMatch";
    for (call, status, code, reason) in [
        (call(), 403, "MissingAuthenticationToken", "missing"),
        (other_body, 403, wrong, "mismatch"),
        (Signer::new("admin").sign(call()), 403, wrong, "scope"),
        (elsewhere.sign(call()), 403, wrong, "scope"),
        (admin.ahead(-400).sign(call()), 403, wrong, "expired"),
        (admin.ahead(400).sign(call()), 403, wrong, "early"),
        (
            stranger.sign(call()),
            403,
            "InvalidClientTokenId",
            "unknown_key",
        ),
        (
            ended().of_service("sts").sign(call()),
            403,
            "ExpiredToken",
            "token",
        ),
        (
            admin
                .sign(call())
                .with("Authorization", |_| "AWS4-HMAC-SHA256 x".to_owned()),
            400,
            "IncompleteSignature",
            "malformed",
        ),
    ] {
        refused(service, &call, status, code, Some(reason));
    }
}

/// Anybody who may federate can choose the name of another principal, also of another account.
fn lines_say_who_it_was_whatever_it_calls_itself(service: &Service) {
    let line_with = |parts: &[&str]| {
        until("its line", || {
            let log = service.broker.log();
            let mut lines = log.lines().filter(|line| line.contains(" audit "));
            let line = lines.find(|line| parts.iter().all(|part| line.contains(part)));
            line.map(str::to_owned)
        })
    };
    let own = service.create(&Signer::new("admin"), "own");
    line_with(&["caller=\"admin\"", "key_id=\"AKIDADMIN\"", &own]);
    for (name, account) in [("admin", "123456789012"), ("neighbour", "999999999999")] {
        let form = [
            ("Action", "GetFederationToken"),
            ("Name", "admin"),
            ("Policy", EVERYTHING),
        ];
        let signer = granted(service, &sts(service, &Signer::new(name), &form));
        let account = format!("account=\"{account}\"");
        let (by, given) = (
            format!("caller=\"{name}\""),
            format!("new_key_id=\"{}\"", signer.id),
        );
        line_with(&["GetFederationToken", &by, &account, &given]);
        let arn = service.create(&signer, &format!("of-{name}"));
        let key = format!(" key_id=\"{}\"", signer.id);
        line_with(&["caller=\"federated-user/admin\"", &account, &key, &arn]);
        assert_eq!(sts(service, &signer, &form).status, 403);
        line_with(&[
            "caller=\"federated-user/admin\"",
            &key,
            "outcome=\"AccessDenied\"",
        ]);
        until("its refusal", || {
            let rows = service.broker.page("/refusals?limit=1").json();
            let row = &rows["refusals"][0];
            let is_its = row["keyId"] == *signer.id && row["principal"] == "federated-user/admin";
            (is_its && account.contains(row["account"].as_str()?)).then_some(())
        });
    }
}
