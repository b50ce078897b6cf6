//! Temporary credentials as a web back end gives them to browsers (codec/PROTOCOL.md, STS).

use crate::http::Answer;
use crate::signed::service::{Service, on_signed_shards, relay};
use crate::signed::signer::{Call, Signer};
use serde_json::json;
use testkit::until;

on_signed_shards!(
    a_browser_may_what_its_policy_says,
    lines_say_who_it_was_whatever_it_calls_itself,
);

/// One channel, one client id.
const BROWSER: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
    "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"],
    "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/room-1/*",
    "Condition": {"StringEquals": {"kinesisvideo:ClientId": "v1"}}}}"#;

/// A policy of a session that bounds nothing.
pub(crate) const EVERYTHING: &str =
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
    let mut master = service.master(&admin, &arn);
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
        #[rustfmt::skip] // a list
        line_with(&["caller=\"federated-user/admin\"", &key, "outcome=\"AccessDenied\""]);
        until("its refusal", || {
            let rows = service.broker.page("/refusals?limit=1").json();
            let row = &rows["refusals"][0];
            let is_its = row["keyId"] == *signer.id && row["principal"] == "federated-user/admin";
            (is_its && account.contains(row["account"].as_str()?)).then_some(())
        });
    }
}
