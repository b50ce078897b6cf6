//! Open connections that other credentials, or other tags of their channel, refuse: they are closed.

use crate::peer::Peer;
use crate::process::fresh_directory;
use crate::signed::reload::write;
use crate::signed::service::{Service, principal, relay};
use crate::signed::signer::{Call, Signer};
use crate::signed::sts::{granted, sts};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};
use testkit::until;

const ALL: &str = r#"
[policy.all]
document = '{"Statement": [{"Effect": "Allow", "Action": ["kinesisvideo:*", "sts:*"], "Resource": "*"}]}'
"#;

/// The document that the console of IAM attaches to a role with *Revoke active sessions*, as it is.
const REVOKE: &str = r#"
[policy.AWSRevokeOlderSessions]
document = '''{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Deny",
            "Action": [
                "*"
            ],
            "Resource": [
                "*"
            ],
            "Condition": {
                "DateLessThan": {
                    "aws:TokenIssueTime": "2099-01-01T00:00:00.000Z"
                }
            }
        }
    ]
}'''
"#;

/// From a reload to the end of what it forbids, and a little for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(7);

/// A credentials file with these principals, who may do everything.
fn file(names: &[&str]) -> String {
    let entries = names.iter().map(|name| principal(name, r#"["all"]"#, ""));
    entries.collect::<String>() + ALL
}

fn replace(service: &Service, text: &str) {
    write(service, "credentials.toml", text);
    service.broker.signal("HUP");
}

fn viewer(service: &Service, signer: &Signer, arn: &str, client_id: &str) -> Peer {
    service.connect(&signer.presign(Call::viewer(&service.broker, arn, client_id), 60))
}

fn master(service: &Service, signer: &Signer, arn: &str) -> Peer {
    service.connect(&signer.presign(Call::master(&service.broker, arn), 60))
}

/// Asserts that the line of a connection that was closed says this.
fn refused_by(service: &Service, client_id: &str, text: &str) {
    let wanted = format!("client_id=\"{client_id}\"");
    let line = until("the line of its end", || {
        let log = service.broker.log();
        let mut lines = log.lines().filter(|line| line.contains("connection ended"));
        lines.find(|line| line.contains(&wanted)).map(str::to_owned)
    });
    assert!(line.contains("reason=forbidden"), "{line}");
    assert!(line.contains(&format!("refused_by=\"{text}")), "{line}");
}

fn ended(service: &Service) -> f64 {
    let ends = "heliograph_connection_ends_total{reason=\"forbidden\"}";
    service.broker.scrape().sum(ends)
}

#[test]
fn connections_end_with_their_principal() {
    for shards in [1, 3] {
        let service = Service::with(&file(&["staying", "leaving"]), &[], shards);
        let (staying, leaving) = (Signer::new("staying"), Signer::new("leaving"));
        service.keep(&leaving.secret);
        let arn = service.create(&staying, "cam");
        let mut kept = [
            master(&service, &staying, &arn),
            viewer(&service, &staying, &arn, "v1"),
        ];
        let mut gone = viewer(&service, &leaving, &arn, "v2");
        replace(&service, &file(&["staying"]));
        let said = gone.expect_close_within(1008, CLOSED_WITHIN);
        assert_eq!(said, "no longer allowed");
        refused_by(
            &service,
            "v2",
            "the key of leaving was removed, replaced or ended",
        );
        until("it is counted", || (ended(&service) > 0.5).then_some(()));
        let [master, viewer] = &mut kept;
        relay(master, viewer);
        // A second reload that forbids nothing ends nothing.
        replace(&service, &file(&["staying", "coming"]));
        let coming = Signer::new("coming");
        service.keep(&coming.secret);
        until("the new principal", || {
            let body = json!({"ChannelName": "cam"});
            let answer = service.call(&coming, "/describeSignalingChannel", &body);
            (answer.status == 200).then_some(())
        });
        relay(master, viewer);
        assert!((ended(&service) - 1.0).abs() < 0.5);
        drop(kept);
        service.end();
    }
}

/// `auth_recheck = false`: a connection that is open stays, and no other comes.
#[test]
fn connections_stay_where_nothing_is_asked_again() {
    let directory = fresh_directory();
    let config = directory.join("broker.toml");
    fs::write(&config, "auth_recheck = false\n").expect("a file under target/");
    let arguments = ["--config", config.to_str().expect("UTF-8")];
    let service = Service::with(&file(&["staying", "leaving"]), &arguments, 3);
    let (staying, leaving) = (Signer::new("staying"), Signer::new("leaving"));
    let arn = service.create(&staying, "cam");
    let mut master = master(&service, &staying, &arn);
    let mut stays = viewer(&service, &leaving, &arn, "v1");
    replace(&service, &file(&["staying"]));
    until("its key is gone", || {
        let again = leaving.presign(Call::viewer(&service.broker, &arn, "v2"), 60);
        (service.send(&again).status == 403).then_some(())
    });
    let began = Instant::now();
    until("the time in which it would end", || {
        (began.elapsed() > CLOSED_WITHIN).then_some(())
    });
    relay(&mut master, &mut stays);
    assert!(ended(&service) < 0.5);
    drop((master, stays));
    service.end();
    let _ = fs::remove_dir_all(&directory);
}

#[test]
fn sessions_that_are_revoked_end() {
    let role = |policies: &str, more: &str| {
        let trust = r#"trust = '''{"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": "arn:aws:iam::123456789012:user/staying"}}]}'''"#;
        file(&["staying"]) + more + &format!("[role.app]\npolicies = {policies}\n{trust}\n")
    };
    let service = Service::with(&role(r#"["all"]"#, ""), &[], 2);
    let staying = Signer::new("staying");
    let arn = service.create(&staying, "cam");
    let form = [
        ("Action", "AssumeRole"),
        ("RoleArn", "arn:aws:iam::123456789012:role/app"),
        ("RoleSessionName", "s1"),
    ];
    let app = granted(&service, &sts(&service, &staying, &form));
    let mut kept = [
        master(&service, &staying, &arn),
        viewer(&service, &staying, &arn, "v1"),
        viewer(&service, &staying, &arn, "v2"),
    ];
    let mut closed = [
        viewer(&service, &app, &arn, "a1"),
        viewer(&service, &app, &arn, "a2"),
    ];
    let revoked = role(r#"["all", "AWSRevokeOlderSessions"]"#, REVOKE);
    replace(&service, &revoked);
    for peer in &mut closed {
        peer.expect_close_within(1008, CLOSED_WITHIN);
    }
    for client_id in ["a1", "a2"] {
        let text = "AWSRevokeOlderSessions, statement 1, denies it";
        refused_by(&service, client_id, text);
    }
    let again = app.presign(Call::viewer(&service.broker, &arn, "a1"), 60);
    service.send(&again).refused(403, "AccessDeniedException");
    let [master, viewer, _] = &mut kept;
    relay(master, viewer);
    drop(kept);
    service.end();
}

#[test]
fn a_reload_that_would_end_most_waits_for_another() {
    let service = Service::with(&file(&["staying", "leaving"]), &[], 3);
    let (staying, leaving) = (Signer::new("staying"), Signer::new("leaving"));
    let arn = service.create(&staying, "cam");
    let mut master = master(&service, &leaving, &arn);
    let mut peer = viewer(&service, &staying, &arn, "v1");
    let mut other = viewer(&service, &leaving, &arn, "v2");
    let stays = |service: &Service| service.broker.page("/overview").json()["forbidden"].clone();
    assert_eq!(stays(&service), Value::Null);
    replace(&service, &file(&["staying"]));
    let said = until("the note", || {
        let said = stays(&service);
        said.is_object().then_some(said)
    });
    assert_eq!(said, json!({"connections": 3, "forbidden": 2}));
    let log = service.broker.log();
    let text = "new credentials refuse more than half of the open connections";
    assert!(log.contains(text), "{log}");
    // The other reload allows them again.
    replace(&service, &file(&["staying", "leaving"]));
    until("the end of the note", || {
        stays(&service).is_null().then_some(())
    });
    relay(&mut master, &mut peer);
    let began = Instant::now();
    replace(&service, &file(&["staying"]));
    master.expect_close_within(1008, CLOSED_WITHIN + Duration::from_secs(10));
    other.expect_close_within(1008, CLOSED_WITHIN);
    assert!(began.elapsed() > Duration::from_secs(10));
    assert!(stays(&service).is_null());
    drop((master, peer, other));
    service.end();
}

#[test]
fn connections_end_with_the_tags_that_let_them_in() {
    const TAGGED: &str = r#"
[policy.household]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kinesisvideo:*",
    "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/household": "${aws:username}"}}}]}'''
"#;
    let household = principal("h17", r#"["household"]"#, "");
    let service = Service::with(&(file(&["staying"]) + TAGGED + &household), &[], 3);
    let (staying, h17) = (Signer::new("staying"), Signer::new("h17"));
    let body = json!({"ChannelName": "cam", "Tags": [{"Key": "household", "Value": "h17"}]});
    let made = service
        .call(&staying, "/createSignalingChannel", &body)
        .ok();
    let arn = made["ChannelARN"].as_str().expect("an ARN").to_owned();
    let mut kept = master(&service, &staying, &arn);
    let mut mine = viewer(&service, &h17, &arn, "v1");
    relay(&mut kept, &mut mine);
    let tag = |value: &str| {
        let tags = json!([{"Key": "household", "Value": value}, {"Key": "room", "Value": "2"}]);
        let body = json!({"ResourceARN": arn, "Tags": tags});
        service.call(&staying, "/TagResource", &body).ok();
    };
    tag("h17");
    relay(&mut kept, &mut mine);
    tag("h18");
    mine.expect_close_within(1008, CLOSED_WITHIN);
    refused_by(&service, "v1", "household, statement 1, allows it, but");
    let mut back = viewer(&service, &staying, &arn, "v1");
    relay(&mut kept, &mut back);
    drop((kept, back));
    service.end();
}
