//! `/try` without a browser: when it is there, what it says, and the sessions that it gives where requests are signed.

use crate::http::{Answer, admin, exchange, get};
use crate::peer::Peer;
use crate::process::{Broker, directory};
use crate::signed::service::{Service, credentials, on_signed_shards, principal, relay};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use std::fs;

/// The token of the admin listener.
const TOKEN: &str = "the-admin-token-of-these-tests";

on_signed_shards!(
    a_session_connects_as_what_it_is_for,
    a_session_does_nothing_else,
    what_is_no_session_is_refused,
);

/// The same service with `/try` on.
fn with_try(service: &Service) -> Service {
    with_principals(&credentials(), service.broker.shards)
}

fn with_principals(credentials: &str, shards: u16) -> Service {
    let directory = directory();
    let (token, config) = (directory.join("token"), directory.join("broker.toml"));
    fs::write(&token, TOKEN).expect("a file under target/");
    fs::write(
        &config,
        format!("[admin]\ntry = true\ntoken_file = {token:?}\n"),
    )
    .expect("a file");
    let config = config.to_str().expect("a path in UTF-8");
    Service::with(credentials, &["--config", config], shards)
}

fn ask_with(service: &Service, headers: &str, body: &str) -> Answer {
    let request = format!(
        "POST /try/session HTTP/1.1\r\nHost: 127.0.0.1:8090\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         {headers}\r\n{body}",
        body.len()
    );
    let answer = exchange(service.broker.admin, request.as_bytes());
    if answer.status == 200 {
        let keys = &answer.json()["credentials"];
        for secret in ["secretAccessKey", "sessionToken"] {
            service.keep(keys[secret].as_str().expect("a text"));
        }
    }
    answer
}

fn ask(service: &Service, body: &Value) -> Answer {
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    ask_with(service, &bearer, &body.to_string())
}

fn session(service: &Service, body: &Value) -> Value {
    let answer = ask(service, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

/// The WebSocket of a session's URL, with this part of its query replaced.
fn connect(service: &Service, session: &Value, part: [&str; 2]) -> Result<Peer, Answer> {
    let url = session["url"].as_str().expect("a URL");
    let start = format!("ws://{}/?", service.broker.plain);
    let query = url
        .strip_prefix(&start)
        .unwrap_or_else(|| panic!("{url} is not of {start}"));
    assert!(query.contains(part[0]), "{query}");
    let (answer, connection) =
        crate::peer::upgrade(&service.broker, &query.replace(part[0], part[1]), "");
    match answer.status {
        101 => Ok(Peer::after_upgrade(connection)),
        _ => Err(answer),
    }
}

/// The keys of a session, to sign something else with.
fn keys(session: &Value) -> Signer {
    let text = |key: &str| {
        session["credentials"][key]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    Signer {
        id: text("accessKeyId"),
        secret: text("secretAccessKey"),
        token: Some(text("sessionToken")),
        ..Signer::new("admin")
    }
}

fn a_session_connects_as_what_it_is_for(plain: &Service) {
    let service = with_try(plain);
    let arn = service.create(&Signer::new("admin"), "cam-1");
    let master = session(&service, &json!({"channel": "cam-1", "role": "master"}));
    let viewer = session(
        &service,
        &json!({"channel": "cam-1", "role": "viewer", "clientId": "v1"}),
    );
    assert_eq!(master["channelArn"], arn);
    assert_eq!(master["iceServers"], json!([]));
    let endpoint = viewer["endpoint"].as_str().expect("an endpoint");
    assert_eq!(endpoint, format!("ws://{}", service.broker.plain));
    let same = ["X-Amz-Signature", "X-Amz-Signature"];
    let connected =
        |session| connect(&service, session, same).unwrap_or_else(|answer| panic!("{answer:?}"));
    let (mut camera, mut phone) = (connected(&master), connected(&viewer));
    relay(&mut camera, &mut phone);
    // A connection that was lost comes back with what it has.
    phone.close();
    let mut phone = connected(&viewer);
    relay(&mut camera, &mut phone);
    camera.close();
    phone.close();
    let id = viewer["requestId"].as_str().expect("an id");
    let line = service
        .broker
        .logged(&["audit", "TrySession", id], 1)
        .remove(0);
    for part in [&*arn, "outcome=\"ok\"", "caller=", "remote=127.0.0.1"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    service.end();
}

fn a_session_does_nothing_else(plain: &Service) {
    let service = with_try(plain);
    let admin = Signer::new("admin");
    let (arn, other) = (
        service.create(&admin, "cam-1"),
        service.create(&admin, "cam-2"),
    );
    let viewer = session(
        &service,
        &json!({"channel": "cam-1", "role": "viewer", "clientId": "v1"}),
    );
    // A signed request cannot be changed, and one that is signed otherwise is not allowed.
    let changed = connect(
        &service,
        &viewer,
        ["X-Amz-ClientId=v1", "X-Amz-ClientId=v2"],
    );
    changed
        .err()
        .expect("another signature")
        .refused(403, "InvalidSignatureException");
    let signer = keys(&viewer);
    for call in [
        Call::viewer(&service.broker, &arn, "v2"),
        Call::viewer(&service.broker, &other, "v1"),
        Call::master(&service.broker, &arn),
    ] {
        let answer = service.send(&signer.presign(call, 60));
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    for path in ["/deleteSignalingChannel", "/describeSignalingChannel"] {
        let answer = service.call(&signer, path, &json!({"ChannelARN": arn}));
        answer.refused(401, "AccessDeniedException");
    }
    let right = service.viewer(&signer, &arn, "v1");
    right.close();
    service.end();
}

fn what_is_no_session_is_refused(plain: &Service) {
    let service = with_try(plain);
    service.create(&Signer::new("admin"), "cam-1");
    let good = json!({"channel": "cam-1", "role": "master"}).to_string();
    for headers in [
        "",
        "Authorization: Bearer the-admin-token-of-these-tests.\r\n",
    ] {
        assert_eq!(ask_with(&service, headers, &good).status, 401, "{headers}");
    }
    for (body, status, text) in faults() {
        let answer = ask(&service, &body);
        let error = answer.json()["error"]
            .as_str()
            .expect("an error")
            .to_owned();
        assert!(
            answer.status == status && error.contains(text),
            "{body}: {answer:?}"
        );
    }
    // None of these counts.
    takes_five_a_minute(&service);
    service.end();
}

/// Bodies that ask for no session, with the status and a part of the answer.
#[rustfmt::skip] // a table, a case per row
fn faults() -> Vec<(Value, u16, &'static str)> {
    vec![
        (json!({"channel": "cam-9", "role": "master"}), 404, "there is no such channel"),
        (json!({"channel": "cam 1", "role": "master"}), 400, "a channel's name"),
        (json!({"role": "master"}), 400, "channel: must be"),
        (json!({"channel": "cam-1"}), 400, "role: expected \"master\" and \"viewer\""),
        (json!({"channel": "cam-1", "role": "guest"}), 400, "role: expected"),
        (json!({"channel": "cam-1", "role": "viewer"}), 400, "clientId: expected 1 to 256"),
        (json!({"channel": "cam-1", "role": "viewer", "clientId": "a b"}), 400, "clientId: expected"),
        (json!({"channel": "cam-1", "role": "master", "clientId": "a"}), 400, "for viewers only"),
        (json!({"channel": "cam-1", "role": "master", "minutes": 9}), 400, "minutes: expected channel"),
        (json!([]), 400, "must be a JSON object"),
        (json!({"channel": "x".repeat(5000), "role": "master"}), 413, "too large"),
    ]
}

fn takes_five_a_minute(service: &Service) {
    for nth in 1..=5 {
        let id = format!("v{nth}");
        session(
            service,
            &json!({"channel": "cam-1", "role": "viewer", "clientId": id}),
        );
    }
    let answer = ask(service, &json!({"channel": "cam-1", "role": "master"}));
    assert_eq!(answer.status, 429, "{}", answer.text());
    testkit::assert_has(&answer.text(), &["try_sessions_per_minute"]);
}

#[test]
fn a_session_never_allows_more_than_the_credentials_file() {
    let policy = |action: &str, resource: &str| {
        format!(
            r#"{{"Effect": "Allow", "Action": "kinesisvideo:{action}", "Resource": "{resource}"}}"#
        )
    };
    let cameras = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-*/*";
    #[rustfmt::skip] // a table, a case per row
    let file = [
        principal("maker", r#"["makers"]"#, ""),
        principal("camera", r#"["cameras"]"#, ""),
        // Not one of those that are tried: it has ended, and its keys are of elsewhere.
        principal(
            "all",
            r#"["all"]"#,
            "session_token = \"FwoGZXIvYXdzTESTTOKEN\"\n",
        ),
        principal("past", r#"["all"]"#, "expires = 2020-01-01T00:00:00Z\n"),
        principal("stranger", r#"["all"]"#, "account = \"999999999999\"\n"),
        format!("[policy.makers]\ndocument = '{{\"Statement\": [{}]}}'\n", policy("CreateSignalingChannel", "*")),
        format!("[policy.cameras]\ndocument = '{{\"Statement\": [{}]}}'\n", policy("ConnectAsMaster", cameras)),
        format!("[policy.all]\ndocument = '{{\"Statement\": [{}]}}'\n", policy("*", "*")),
    ];
    let service = with_principals(&file.concat(), 1);
    let maker = Signer::new("maker");
    service.create(&maker, "cam-1");
    service.create(&maker, "door-1");
    let given = session(&service, &json!({"channel": "cam-1", "role": "master"}));
    connect(&service, &given, ["X-Amz-Date", "X-Amz-Date"])
        .unwrap_or_else(|answer| panic!("{answer:?}"));
    for body in [
        json!({"channel": "cam-1", "role": "viewer", "clientId": "v1"}),
        json!({"channel": "door-1", "role": "master"}),
    ] {
        let answer = ask(&service, &body);
        assert_eq!(answer.status, 403, "{}", answer.text());
        testkit::assert_has(&answer.text(), &["no principal"]);
    }
}

#[test]
fn under_dev_the_page_is_there() {
    let broker = Broker::dev(1);
    let mut words = broker.ready.split(' ');
    let try_url = words.find_map(|word| word.strip_prefix("try="));
    let try_url = try_url.expect("a word");
    assert_eq!(try_url, format!("http://{}/try", broker.admin));
    let page = get(broker.admin, "/try");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").expect("a policy");
    for part in [
        format!(" http://{} ws://{}", broker.plain, broker.plain),
        "default-src 'none'".to_owned(),
        "require-trusted-types-for 'script'; trusted-types 'none'".to_owned(),
    ] {
        assert!(policy.contains(&part), "{part} in {policy}");
    }
    let permissions = page.header("permissions-policy");
    assert_eq!(
        permissions,
        Some("camera=(self), microphone=(), display-capture=(self)")
    );
    for file in page
        .text()
        .split('"')
        .filter(|text| text.starts_with("/assets/try/"))
    {
        assert_eq!(get(broker.admin, file).status, 200, "{file}");
    }
    assert_eq!(get(broker.admin, "/assets/try/none.js").status, 404);
    let settings = get(broker.admin, "/try/settings").json();
    assert_eq!(settings["ws"], format!("ws://{}", broker.plain));
    assert_eq!(settings["signed"], false);
    assert_eq!(settings["warning"], Value::Null);
    let sessions = b"POST /try/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(exchange(broker.admin, sessions).status, 409);
    assert_eq!(admin(broker.admin, "POST", "/try/wake/", "{}").status, 204);
}

#[test]
fn in_production_the_page_is_off() {
    let broker = Broker::strict_channels(1);
    assert!(!broker.ready.contains("try="), "{}", broker.ready);
    let wake = admin(broker.admin, "POST", "/try/wake/", "{}");
    let pages = ["/try", "/try/settings"].map(|path| get(broker.admin, path));
    for answer in pages.into_iter().chain([wake]) {
        assert_eq!(answer.status, 404, "{}", answer.text());
        testkit::assert_has(&answer.text(), &["--dev"]);
    }
}
