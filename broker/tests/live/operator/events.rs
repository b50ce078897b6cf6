//! Pages that watch: `GET /events` and `GET /overview` of the admin listener, and the operator's disconnect.

use crate::http::{exchange, get};
use crate::peer::{Peer, offer, to_master, viewer_query};
use crate::process::{Broker, arn, command};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

on_shards!(
    a_watcher_sees_viewers_come_and_go,
    the_operator_closes_connections
);

/// A stream of events.
pub(crate) struct Watcher(BufReader<TcpStream>);

impl Watcher {
    pub(crate) fn open(admin: SocketAddr, topics: &str) -> Self {
        let stream = TcpStream::connect(admin).expect("the admin listener");
        Self::on(stream, topics)
    }

    /// The same on this connection.
    pub(crate) fn on(mut stream: TcpStream, topics: &str) -> Self {
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit).expect("a timeout");
        let request = format!("GET /events?topics={topics} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        Self(BufReader::new(stream))
    }

    /// The rest of it.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.0.into_inner()
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line within 30 s");
        line.trim_end().to_owned()
    }

    /// The status, past the head.
    pub(crate) fn status(&mut self) -> u16 {
        let first = self.line();
        while !self.line().is_empty() {}
        first
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok())
            .expect("a status")
    }

    /// The next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            if self.line() != format!("event: {name}") {
                continue;
            }
            let data = self.line();
            let data = data.strip_prefix("data: ").expect("data follows");
            return serde_json::from_str(data).expect("JSON");
        }
    }

    /// The next event of this name that is as wanted.
    pub(crate) fn until(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let event = self.event(name);
            if wanted(&event) {
                return event;
            }
            assert!(Instant::now() < until, "not yet: {event}");
        }
    }
}

fn viewers(event: &Value) -> Option<usize> {
    event["channel"]["viewers"].as_array().map(Vec::len)
}

fn a_watcher_sees_viewers_come_and_go(broker: &Broker) {
    let mut watcher = Watcher::open(broker.admin, "overview,channel:seen,log");
    assert_eq!(watcher.status(), 200);
    let absent = watcher.until("channel", |event| event["status"] == 404);
    assert_eq!(absent["name"], "seen");
    assert_eq!(absent["channel"], Value::Null);
    let arn = arn("seen");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::secure(broker, &viewer_query(&arn, "v-1"));
    let seen = watcher.until("channel", |event| viewers(event) == Some(1));
    assert_eq!(seen["channel"]["viewers"][0]["clientId"], "v-1");
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v-1"));
    let figures = watcher.until("overview", |event| event["connections"]["viewer"] == 1);
    let shards = figures["shards"].as_array().expect("a row for each shard");
    assert_eq!(shards.len(), usize::from(broker.shards));
    assert!(shards.iter().all(|shard| shard["silentSeconds"].is_null()));
    assert_eq!(figures["draining"], false);
    assert_eq!(figures["channels"], 1);
    viewer.close();
    watcher.until("channel", |event| viewers(event) == Some(0));
    let line = |event: &Value| {
        let text = event["text"].as_str().unwrap_or_default();
        text.contains("connection ended") && text.contains("v-1")
    };
    broker.logged(&["connection ended", "v-1"], 1);
    let mut later = Watcher::open(broker.admin, "log");
    let kept = later.until("snapshot", |event| event["topic"] == "log");
    assert!(
        kept["lines"].as_array().expect("lines").iter().any(line),
        "{kept}"
    );
    let whole = get(broker.admin, "/overview").json();
    assert_eq!(whole["status"], "ok");
    assert_eq!(whole["node"]["dev"], true);
    assert!(whole["history"]["t"].is_array());
    drop((watcher, later));
    master.close();
}

fn the_operator_closes_connections(broker: &Broker) {
    let arn = arn("cut");
    let mut master = Peer::master(broker, &arn);
    let mut one = Peer::viewer(broker, &arn, "one");
    let mut two = Peer::viewer(broker, &arn, "two");
    assert_eq!(
        disconnect(broker, "cut", "{\"clientId\":\"one\"}"),
        (200, Some(1))
    );
    assert_eq!(one.expect_close(1001), "Closed by the operator");
    assert_eq!(
        disconnect(broker, "cut", "{\"role\":\"master\"}"),
        (200, Some(1))
    );
    assert_eq!(master.expect_close(1001), "Closed by the operator");
    assert_eq!(
        disconnect(broker, "cut", "{\"role\":\"all\"}"),
        (200, Some(1))
    );
    assert_eq!(two.expect_close(1001), "Closed by the operator");
    assert_eq!(
        disconnect(broker, "absent", "{\"role\":\"all\"}"),
        (404, None)
    );
    assert_eq!(
        disconnect(broker, "cut", "{\"role\":\"nobody\"}"),
        (400, None)
    );
    let audit = broker.logged(&["audit", "operation=\"Disconnect\"", "channel=\"cut\""], 3);
    assert!(audit[0].contains("client_id=\"one\"") && audit[0].contains("connections=1"));
    broker.logged(&["connection ended", "reason=operator"], 3);
    let ends = broker
        .scrape()
        .sum("heliograph_connection_ends_total{reason=\"operator\"}");
    assert!((ends - 3.0).abs() < 0.5, "{ends}");
}

/// The status, and how many were closed.
fn disconnect(broker: &Broker, channel: &str, body: &str) -> (u16, Option<u64>) {
    let length = body.len();
    let request = format!(
        "POST /channels/{channel}/disconnect HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}",
        broker.admin
    );
    let answer = exchange(broker.admin, request.as_bytes());
    let status = answer.status;
    (status, answer.json()["connections"].as_u64())
}

/// Three places name the build: `version --json`, with null where it knew no commit, and two with a text for that.
#[test]
fn the_commit_of_the_build_is_the_same_everywhere() {
    let exit = testkit::run(command().args(["version", "--json"]));
    let version: Value = serde_json::from_str(&exit.stdout).expect("one JSON document");
    let commit = version["commit"].as_str().unwrap_or("unknown");
    let broker = Broker::dev(1);
    let node = get(broker.admin, "/overview").json()["node"].take();
    assert_eq!(node["version"], version["version"]);
    assert_eq!(node["commit"], commit);
    let label = format!("commit=\"{commit}\"");
    let info = broker.scrape().sum_with("heliograph_build_info", &label);
    assert!((info - 1.0).abs() < f64::EPSILON, "{info}");
}

/// Watchers learn that the process drains, and keep their stream to the end.
#[test]
fn watchers_learn_of_a_drain() {
    let mut broker = Broker::configured("[timeouts]\ndrain = \"5s\"\n", 2);
    let mut watcher = Watcher::open(broker.admin, "overview");
    assert_eq!(watcher.status(), 200);
    let _master = Peer::master(&broker, &arn("drained"));
    broker.signal("TERM");
    watcher.event("draining");
    watcher.until("overview", |event| event["draining"] == true);
    assert!(broker.ended_within(Duration::from_secs(30)).success());
    let mut rest = Vec::new();
    let _ = watcher.0.read_to_end(&mut rest);
}
