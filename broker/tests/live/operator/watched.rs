//! Topics of event streams that are lists: what is kept first, then each as it comes. And the bounds of those who ask.

use crate::attacks::{ATTACKER, HEALTHY};
use crate::http::{Connection, admin, call, exchange, get};
use crate::operator::events::Watcher;
use crate::peer::{Peer, answer, master_query, offer, tcp_from, to_master, to_viewer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use testkit::until;

/// The request id of a refusal.
fn refused(broker: &Broker, channel: &str) -> Value {
    let body = json!({ "ChannelName": channel });
    let answer = call(broker.plain, "/describeSignalingChannel", &body);
    assert_eq!(answer.status, 404);
    answer.header("x-amzn-requestid").expect("an id").into()
}

#[test]
fn refusals_come_once_each() {
    let broker = Broker::dev(2);
    let before = refused(&broker, "before");
    until("the refusal", || {
        let list = get(broker.admin, "/refusals").json();
        (list["kept"] == 1).then_some(())
    });
    let mut watcher = Watcher::open(broker.admin, "refusals");
    assert_eq!(watcher.status(), 200);
    let state = watcher.event("snapshot");
    assert_eq!(
        (&state["topic"], &state["kept"]),
        (&"refusals".into(), &1.into())
    );
    assert_eq!(state["refusals"][0]["requestId"], before);
    assert_eq!(state["refusals"][0]["check"], "channel_absent");
    for number in 0..3 {
        let name = format!("after-{number}");
        let id = refused(&broker, &name);
        let event = watcher.event("refusal");
        assert_eq!(
            (&event["requestId"], &event["channel"]),
            (&id, &name.into())
        );
        let same = get(
            broker.admin,
            &format!("/refusals/{}", id.as_str().expect("text")),
        )
        .json();
        assert_eq!((&same["says"], &same["do"]), (&event["says"], &event["do"]));
    }
}

fn reaches(broker: &Broker, series: &str, least: f64) {
    until(series, || {
        (broker.scrape().sum(series) >= least).then_some(())
    });
}

/// A viewer that leaves without an answer is found on the overview, with what its trace suggests.
#[test]
fn troubled_sessions_are_listed_with_their_reason() {
    let broker = Broker::dev(2);
    let mut watcher = Watcher::open(broker.admin, "troubled");
    assert_eq!(watcher.status(), 200);
    let none = watcher.event("snapshot");
    assert_eq!(
        (&none["topic"], &none["sessions"]),
        (&"troubled".into(), &json!([]))
    );
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
    assert_eq!(
        (&early["channel"], &early["trouble"]),
        (&"trouble".into(), &"unanswered".into())
    );
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
}

/// Two devices that are one channel's master, and one that cannot stay: each is one row that counts.
#[test]
fn twins_and_flapping_masters_are_troubled_sessions() {
    let broker = Broker::dev(1);
    let mut watcher = Watcher::open(broker.admin, "troubled");
    let row = |event: &Value, trouble: &str| {
        let all = event["sessions"].as_array().expect("a list");
        all.iter().find(|one| one["trouble"] == trouble).cloned()
    };
    let twins: Vec<Peer> = (1..=5)
        .map(|number| {
            let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number % 2 + 1));
            Peer::plain_from(from, &broker, &master_query(&arn("twins")))
        })
        .collect();
    let twin = watcher.until("troubled", |event| {
        row(event, "twin").is_some_and(|row| row["count"] == 4)
    });
    let twin = row(&twin, "twin").expect("a row");
    let says = twin["says"].as_str().unwrap_or_default();
    for part in ["127.0.1.1", "127.0.1.2", "4 times in", "two devices"] {
        assert!(says.contains(part), "{part}: {twin}");
    }
    assert_eq!(
        (&twin["channel"], &twin["clientId"]),
        (&"twins".into(), &Value::Null)
    );
    for _ in 0..3 {
        Peer::master(&broker, &arn("flaps")).close();
    }
    let flaps = watcher.until("troubled", |event| row(event, "flapping").is_some());
    let flaps = row(&flaps, "flapping").expect("a row");
    assert_eq!(
        (&flaps["channel"], &flaps["count"]),
        (&"flaps".into(), &3.into())
    );
    let trace = get(broker.admin, "/channels/twins/trace").json();
    let hint = trace["master"][0]["hints"][0].as_str().unwrap_or_default();
    assert!(
        hint.contains("another connection took its place"),
        "{trace}"
    );
    assert!(hint.contains("4 times within"), "{hint}");
    let superseded = "heliograph_superseded_total{role=\"master\"}";
    assert!(broker.scrape().sum(superseded) >= 4.0);
    assert!(
        broker
            .scrape()
            .sum("heliograph_short_connections_total{role=\"master\"}")
            >= 3.0
    );
    drop(twins);
}

/// Two masters of one channel that both stay: a row for as long as they do, though nothing is repeated.
#[test]
fn a_displaced_master_that_stays_is_a_standing_trouble() {
    let broker = Broker::dev(2);
    let mut watcher = Watcher::open(broker.admin, "troubled");
    let row = |event: &Value| {
        let all = event["sessions"].as_array().expect("a list");
        all.iter()
            .find(|one| one["trouble"] == "displaced")
            .cloned()
    };
    let from = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 1, last));
    let mut older = Peer::plain_from(from(1), &broker, &master_query(&arn("two")));
    let newer = Peer::plain_from(from(2), &broker, &master_query(&arn("two")));
    reaches(&broker, "heliograph_connections{role=\"superseded\"}", 1.0);
    let moved = admin(broker.admin, "POST", "/dev/clock", r#"{"advance":"11s"}"#);
    assert_eq!(moved.status, 200);
    let quiet = watcher.until("troubled", |event| row(event).is_some());
    let quiet = row(&quiet).expect("a row");
    assert_eq!(
        (&quiet["channel"], &quiet["standing"], &quiet["sends"]),
        (&"two".into(), &true.into(), &false.into())
    );
    older.send(&answer("nobody", "YW5zd2Vy"));
    let loud = watcher.until("troubled", |event| {
        row(event).is_some_and(|row| row["sends"] == true)
    });
    let loud = row(&loud).expect("a row");
    let says = loud["says"].as_str().unwrap_or_default();
    for part in ["127.0.1.1", "127.0.1.2", "receives nothing", "two devices"] {
        assert!(says.contains(part), "{part}: {loud}");
    }
    assert_eq!(
        get(broker.admin, "/overview").json()["troubled"][0]["trouble"],
        "displaced"
    );
    older.close();
    watcher.until("troubled", |event| row(event).is_none());
    newer.close();
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

/// Whether the other end has closed it.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    match stream.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// The 129th makes the oldest of the address with most end, and is served.
#[test]
fn a_hundred_and_twenty_eight_connections_have_a_place() {
    let broker = Broker::dev(1);
    let mut idle: Vec<TcpStream> = (0..128).map(|_| tcp_from(ATTACKER, broker.admin)).collect();
    assert!(!idle.iter_mut().any(is_closed));
    let mut operator = Connection::open_from(HEALTHY, broker.admin);
    operator.send(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = operator.answer().expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(is_closed(&mut idle[0]), "the oldest made room");
    let closed = idle
        .iter_mut()
        .filter_map(|one| is_closed(one).then_some(()));
    assert_eq!(closed.count(), 1);
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
        assert_eq!(
            (&session["channel"], &session["clientId"]),
            (&"slow".into(), &"late".into()),
            "{session}"
        );
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
