//! `/dev/parity`: what the cloud service would have refused.

use crate::http::{Connection, admin, call, create, get};
use crate::peer::{Peer, answer, candidate, offer, to_viewer};
use crate::process::Broker;
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};

on_shards!(
    what_the_cloud_would_refuse_is_served_and_found,
    a_session_within_the_limits_has_no_finding,
);

fn what_the_cloud_would_refuse_is_served_and_found(broker: &Broker) {
    let arn = create(broker.plain, "lavish", 60);
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v0");
    viewer.send(&offer(&"A".repeat(13_016)));
    viewer.expect_silence();
    master.send(&answer("v0", "AAAA"));
    viewer.expect(&to_viewer("SDP_ANSWER", "AAAA"));
    for _ in 0..101 {
        viewer.send(&candidate("AAAA"));
    }
    viewer.expect_silence();
    for _ in 0..20 {
        Peer::viewer(broker, &arn, "v1").close();
    }
    for _ in 0..30 {
        call(
            broker.plain,
            "/describeSignalingChannel",
            &json!({ "ChannelARN": arn }),
        )
        .ok();
    }
    let found = findings(broker, "?channel=lav*");
    let says = |rule: &str| {
        let finding = found.iter().find(|it| it["rule"] == rule);
        finding.map(|it| it["says"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(
        says("payload_over_10240").as_deref(),
        Some("SDP_OFFER of 13,016 characters; the cloud service takes 10,240")
    );
    for rule in ["rate_candidate", "rate_connect_viewer", "rate_call"] {
        assert!(says(rule).is_some(), "{rule}: {found:?}");
    }
    assert_eq!(findings(broker, "?channel=other").len(), 0);
    admin(
        broker.admin,
        "POST",
        "/dev/reset",
        r#"{"channelPrefix":"lavish"}"#,
    );
    assert_eq!(findings(broker, "").len(), 0);
    drop((master, viewer));
}

#[test]
fn more_viewers_than_the_cloud_takes_are_found() {
    let broker = &Broker::configured("[limits]\nviewers_per_channel = 20\n", 1);
    let arn = create(broker.plain, "crowded", 60);
    let viewer = |number| Peer::viewer(broker, &arn, &format!("v{number}"));
    let mut viewers: Vec<Peer> = (1..=10).map(viewer).collect();
    assert_eq!(findings(broker, ""), Vec::<Value>::new());
    viewers.push(viewer(11));
    let found = findings(broker, "");
    assert_eq!((&found[0]["rule"], found.len()), (&json!("viewers"), 1));
    drop(viewers);
}

/// A page signs its URL without a client id: it is the master, where one endpoint serves both roles.
#[test]
fn a_viewer_without_a_client_id_that_takes_the_masters_place_is_found() {
    let broker = &Broker::dev(2);
    let arn = create(broker.plain, "unnamed", 60);
    let camera = Peer::master(broker, &arn);
    assert_eq!(findings(broker, ""), Vec::<Value>::new());
    let page = Peer::master(broker, &arn);
    let found = findings(broker, "?channel=unnamed");
    let first = (&found[0]["rule"], &found[0]["count"], found.len());
    assert_eq!(first, (&json!("master_without_client_id"), &json!(1), 1));
    let wanted = "connected as master: no X-Amz-ClientId";
    let says = found[0]["says"].as_str().expect("a text");
    assert!(says.starts_with(wanted), "{says}");
    broker.logged(&["WARN", wanted, "unnamed"], 1);
    let trace = get(broker.admin, "/channels/unnamed/trace").json();
    let masters = trace["master"].as_array().expect("a list");
    let hints: Vec<_> = masters.iter().map(|it| it["hints"].to_string()).collect();
    let told = hints.iter().filter(|hints| hints.contains(wanted));
    assert_eq!((told.count(), hints.len()), (1, 2), "{trace}");
    drop((camera, page));
    // A camera that comes back when its place is free takes nobody's.
    let other = create(broker.plain, "camera", 60);
    Peer::master(broker, &other).close();
    drop(Peer::master(broker, &other));
    assert_eq!(findings(broker, "?channel=camera"), Vec::<Value>::new());
}

/// Signatures are not checked, so a test passes where production refuses: log and trace say which.
#[test]
fn a_signature_that_is_refused_elsewhere_is_noticed_once() {
    let broker = &Broker::dev(2);
    let arn = create(broker.plain, "signed", 60);
    let signer = |id: &str, secret: &str| Signer {
        id: id.to_owned(),
        secret: secret.to_owned(),
        ..Signer::new("test")
    };
    let open = |signer: &Signer, path: &str| {
        let signed = signer.presign(Call::viewer(broker, &arn, &signer.id), 299);
        let path = path.to_owned();
        let mut connection = Connection::open(broker.plain);
        connection.send(&Call { path, ..signed }.bytes());
        let answer = connection.answer().expect("an answer");
        assert_eq!(answer.status, 101, "{answer:?}");
        connection
    };
    let test = signer("AKIDTEST", "test");
    #[rustfmt::skip] // a list
    let told = ["noticed", "signature_mismatch", "AKIDTEST", "refused without --dev: the path / was signed"];
    let first = open(&test, "/signal");
    broker.logged(&told, 1);
    let others = [
        open(&test, "/signal"),
        open(&test, "/viewer/"),
        open(&signer("AKIDOTHER", "unknown"), "/signal"),
    ];
    let late = Call {
        path: "/".to_owned(),
        ..test
            .ahead(-400)
            .presign(Call::viewer(broker, &arn, "late"), 299)
    };
    let mut connection = Connection::open(broker.plain);
    connection.send(&late.bytes());
    assert_eq!(connection.answer().expect("an answer").status, 101);
    broker.logged(&["noticed", "url_expired", "AKIDTEST"], 1);
    let list = Call::api(broker, "/listSignalingChannels", &json!({}));
    let list = signer("AKIDCALL", "unknown").ahead(-400).sign(list);
    let mut connection = Connection::open(broker.plain);
    connection.send(&list.bytes());
    assert_eq!(connection.answer().expect("an answer").status, 200);
    broker.logged(&["noticed", "signature_expired", "AKIDCALL"], 1);
    broker.logged(&["noticed"], 3);
    let trace = get(broker.admin, "/channels/signed/trace").json();
    let viewers = trace["viewers"].as_array().expect("a list").iter();
    let told = viewers.filter(|one| {
        one["hints"]
            .to_string()
            .contains("its signature is refused without --dev")
    });
    assert_eq!(told.count(), 2, "{trace}");
    drop((first, others, connection));
}

#[test]
fn connections_that_the_cloud_would_have_ended_are_found() {
    let config = "[timeouts]\nidle = \"1h\"\nconnection_age = \"3h\"\nping = \"off\"\n";
    let broker = &Broker::configured(config, 1);
    let arn = create(broker.plain, "old", 60);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let clock = |advance: &str| {
        let body = json!({ "advance": advance }).to_string();
        assert_eq!(admin(broker.admin, "POST", "/dev/clock", &body).status, 200);
    };
    let rules = || -> Vec<Value> {
        let found = findings(broker, "?channel=old");
        found
            .iter()
            .map(|finding| finding["rule"].clone())
            .collect()
    };
    clock("9m");
    viewer.send(&candidate("AAAA"));
    viewer.expect_silence();
    assert_eq!(rules(), Vec::<Value>::new());
    clock("11m");
    viewer.send(&candidate("AAAA"));
    viewer.expect_silence();
    assert_eq!(rules(), ["idle"]);
    clock("45m");
    viewer.close();
    let found = testkit::until("the end of the connection", || {
        Some(rules()).filter(|rules| rules.len() > 1)
    });
    assert_eq!(found, ["idle", "connection_age"]);
}

fn a_session_within_the_limits_has_no_finding(broker: &Broker) {
    let arn = create(broker.plain, "modest", 60);
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer(&"A".repeat(10_240)));
    viewer.expect_silence();
    master.send(&answer("v1", "AAAA"));
    viewer.expect(&to_viewer("SDP_ANSWER", "AAAA"));
    assert_eq!(findings(broker, ""), Vec::<Value>::new());
    drop((master, viewer));
}

fn findings(broker: &Broker, query: &str) -> Vec<Value> {
    let answer = get(broker.admin, &format!("/dev/parity{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["findings"]
        .as_array()
        .expect("a list")
        .clone()
}
