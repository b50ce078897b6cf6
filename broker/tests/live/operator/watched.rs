//! Topics of event streams that are lists: what is kept first, then each as it comes. And the bounds of those who ask.

use crate::http::{Connection, admin, exchange, get};
use crate::operator::events::Watcher;
use crate::peer::{Peer, answer, offer, to_master, to_viewer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use testkit::{until, until_true};

fn reaches(broker: &Broker, series: &str, least: f64) {
    until_true(series, || broker.scrape().sum(series) >= least);
}

/// A viewer that leaves without an answer is found on the overview, with what its trace suggests.
#[test]
fn troubled_sessions_are_listed_with_their_reason() {
    let broker = Broker::dev(2);
    let mut watcher = Watcher::open(broker.admin, "troubled");
    assert_eq!(watcher.status(), 200);
    let none = watcher.event("snapshot");
    assert_eq!(none["topic"], "troubled");
    assert_eq!(none["sessions"], json!([]));
    let of = |event: &Value, client: &str| -> Value {
        let all = event["sessions"].as_array().expect("a list").iter();
        let found = all.clone().find(|one| one["clientId"] == client);
        found.cloned().unwrap_or_default()
    };
    let arn = arn("trouble");
    // Nobody is there to answer.
    let mut viewer = Peer::viewer(&broker, &arn, "early");
    viewer.send(&offer("b2ZmZXI="));
    reaches(&broker, "heliograph_pending_messages", 1.0);
    viewer.close();
    let early = watcher.until("troubled", |event| {
        let says = of(event, "early")["says"].clone();
        says.as_str()
            .is_some_and(|says| says.contains("no master had connected"))
    });
    let early = of(&early, "early");
    assert_eq!(early["channel"], "trouble");
    assert_eq!(early["trouble"], "unanswered");
    // A master gets the offer and says nothing.
    let master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "late");
    viewer.send(&offer("b2ZmZXI="));
    let delivered = "heliograph_messages_total{action=\"SDP_OFFER\",outcome=\"delivered\"}";
    reaches(&broker, delivered, 2.0);
    viewer.close();
    let late = watcher.until("troubled", |event| {
        let hints = of(event, "late")["hints"].clone();
        hints[0]
            .as_str()
            .is_some_and(|hint| hint.contains("the offer went to the master"))
    });
    assert_eq!(of(&late, "late")["reason"], "peer_closed");
    let whole = get(broker.admin, "/overview").json();
    let clients: Vec<&Value> = whole["troubled"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["clientId"])
        .collect();
    assert_eq!(clients, ["late", "early"], "the newest first");
    let trace = get(broker.admin, "/channels/trouble/trace?client=late").json();
    assert_eq!(trace["viewers"][0]["hints"], of(&late, "late")["hints"]);
    master.close();
    reaches(
        &broker,
        "heliograph_short_connections_total{role=\"master\"}",
        1.0,
    );
}

#[test]
fn a_head_has_sixteen_kib() {
    let broker = Broker::dev(1);
    let status = |padding: usize| {
        let mut connection = Connection::open(broker.admin);
        let padding = "x".repeat(padding);
        let head = format!("GET /live HTTP/1.1\r\nHost: localhost\r\nX-Padding: {padding}\r\n\r\n");
        connection.send(head.as_bytes());
        connection.answer().map(|answer| answer.status)
    };
    assert_eq!(status(15_000), Some(200));
    assert_eq!(status(20_000), Some(431));
}

/// The metrics name the connection of a slow session set-up, whose number leads to its channel, also when it has left.
#[test]
fn a_slow_session_setup_leads_to_its_session() {
    let broker = Broker::dev(2);
    let arn = arn("slow");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "late");
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "late"));
    let moved = admin(broker.admin, "POST", "/dev/clock", r#"{"advance":"3s"}"#);
    assert_eq!(moved.status, 200);
    master.send(&answer("late", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    let scrape = |accept: &str| {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
        exchange(broker.admin, head.as_bytes()).text()
    };
    let (shard, connection) = until("the exemplar", || {
        let text = scrape("application/openmetrics-text");
        let (_, exemplar) = text.split_once(" # {shard=\"")?;
        let (shard, rest) = exemplar.split_once("\",connection=\"")?;
        let (connection, rest) = rest.split_once("\"} 3")?;
        assert_eq!(rest.split_once('\n')?.0.matches(' ').count(), 1, "{rest}");
        Some((shard.to_owned(), connection.to_owned()))
    });
    assert!(!scrape("text/plain").contains(" # {"));
    let path = format!("/sessions/{shard}/{connection}");
    let wanted = |session: &Value| {
        assert_eq!(session["channel"], "slow", "{session}");
        assert_eq!(session["clientId"], "late", "{session}");
    };
    wanted(&get(broker.admin, &path).json());
    viewer.close();
    broker.logged(&["connection ended", "late"], 1);
    wanted(&get(broker.admin, &path).json());
    let trace = get(broker.admin, "/channels/slow/trace").json();
    assert_eq!(trace["viewers"][0]["connection"].to_string(), connection);
    let nobody = format!("/sessions/{shard}/{}", 1_u64 << 40);
    assert_eq!(get(broker.admin, &nobody).status, 404);
    assert_eq!(get(broker.admin, "/sessions/2/1").status, 400);
    let reach = broker.scrape().sum("heliograph_recorder_reach_seconds");
    assert!(reach > 3.0, "{reach}");
    master.close();
}
