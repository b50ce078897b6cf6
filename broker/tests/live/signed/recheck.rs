//! Open connections that other credentials, or other tags of their channel, refuse: they are closed.

use crate::signed::reload::write;
use crate::signed::service::{Service, of_all, principal, relay};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::{until, until_true};

/// From a reload to the end of what it forbids, and a little for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(7);

fn replace(service: &Service, text: &str) {
    write(service, "credentials.toml", text);
    service.broker.signal("HUP");
}

/// Asserts that the line of a connection that was closed says this.
fn refused_by(service: &Service, client_id: &str, text: &str) {
    let wanted = format!("client_id=\"{client_id}\"");
    let line = until("the line of its end", || {
        let log = service.broker.log();
        let mut lines = log.lines().filter(|line| line.contains("connection ended"));
        lines.find(|line| line.contains(&wanted)).map(str::to_owned)
    });
    testkit::assert_has(
        &line,
        &["reason=forbidden", &format!("refused_by=\"{text}")],
    );
}

fn ended(service: &Service) -> f64 {
    let ends = "heliograph_connection_ends_total{reason=\"forbidden\"}";
    service.broker.scrape().sum(ends)
}

#[test]
fn connections_end_with_their_principal() {
    let service = Service::with(&of_all(&["staying", "leaving"]), &[], 2);
    let (staying, leaving) = (Signer::new("staying"), Signer::new("leaving"));
    service.keep(&leaving.secret);
    let arn = service.create(&staying, "cam");
    let mut kept = [
        service.master(&staying, &arn),
        service.viewer(&staying, &arn, "v1"),
    ];
    let mut gone = service.viewer(&leaving, &arn, "v2");
    replace(&service, &of_all(&["staying"]));
    let said = gone.expect_close_within(1008, CLOSED_WITHIN);
    assert_eq!(said, "no longer allowed");
    refused_by(
        &service,
        "v2",
        "the key of leaving was removed, replaced or ended",
    );
    until_true("it is counted", || ended(&service) > 0.5);
    let [master, viewer] = &mut kept;
    relay(master, viewer);
    // A second reload that forbids nothing ends nothing.
    replace(&service, &of_all(&["staying", "coming"]));
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

/// `auth_recheck = false`: a connection that is open stays, and no other comes.
#[test]
fn connections_stay_where_nothing_is_asked_again() {
    let file = of_all(&["staying", "leaving"]);
    let service = Service::configured("auth_recheck = false\n", &file, 3);
    let (staying, leaving) = (Signer::new("staying"), Signer::new("leaving"));
    let arn = service.create(&staying, "cam");
    let mut master = service.master(&staying, &arn);
    let mut stays = service.viewer(&leaving, &arn, "v1");
    replace(&service, &of_all(&["staying"]));
    until("its key is gone", || {
        let again = leaving.presign(Call::viewer(&service.broker, &arn, "v2"), 60);
        (service.send(&again).status == 403).then_some(())
    });
    let began = Instant::now();
    until_true("the time in which it would end", || {
        began.elapsed() > CLOSED_WITHIN
    });
    relay(&mut master, &mut stays);
    assert!(ended(&service) < 0.5);
    drop((master, stays));
    service.end();
}

#[test]
fn a_reload_that_would_end_most_waits_for_another() {
    let service = Service::with(&of_all(&["staying", "leaving"]), &[], 3);
    let (staying, leaving) = (Signer::new("staying"), Signer::new("leaving"));
    let arn = service.create(&staying, "cam");
    let mut master = service.master(&leaving, &arn);
    let mut peer = service.viewer(&staying, &arn, "v1");
    let mut other = service.viewer(&leaving, &arn, "v2");
    let stays = |service: &Service| service.broker.page("/overview").json()["forbidden"].clone();
    assert_eq!(stays(&service), Value::Null);
    replace(&service, &of_all(&["staying"]));
    let said = until("the note", || {
        let said = stays(&service);
        said.is_object().then_some(said)
    });
    assert_eq!(said, json!({"connections": 3, "forbidden": 2}));
    let log = service.broker.log();
    let text = "new credentials refuse more than half of the open connections";
    assert!(log.contains(text), "{log}");
    // The other reload allows them again.
    replace(&service, &of_all(&["staying", "leaving"]));
    until_true("the end of the note", || stays(&service).is_null());
    relay(&mut master, &mut peer);
    let began = Instant::now();
    replace(&service, &of_all(&["staying"]));
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
    let service = Service::with(&(of_all(&["staying"]) + TAGGED + &household), &[], 3);
    let (staying, h17) = (Signer::new("staying"), Signer::new("h17"));
    let body = json!({"ChannelName": "cam", "Tags": [{"Key": "household", "Value": "h17"}]});
    let made = service
        .call(&staying, "/createSignalingChannel", &body)
        .ok();
    let arn = made["ChannelARN"].as_str().expect("an ARN").to_owned();
    let mut kept = service.master(&staying, &arn);
    let mut mine = service.viewer(&h17, &arn, "v1");
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
    let mut back = service.viewer(&staying, &arn, "v1");
    relay(&mut kept, &mut back);
    drop((kept, back));
    service.end();
}
