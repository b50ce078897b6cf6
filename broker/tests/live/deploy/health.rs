//! Whether the broker is ready, as container runtimes and load balancers ask: the health check of
//! `deploy/compose.yaml`, inside the container, and `/ping` of the client listeners.

use crate::http::{Connection, exchange};
use crate::process::{Broker, fresh_directory};
use crate::signed::service::{Service, credentials};
use std::fs;
use std::path::Path;
use std::process::Command;
use testkit::until_true;
use yaml_rust2::YamlLoader;

const COMPOSE: &str = include_str!("../../../../deploy/compose.yaml");

#[test]
fn the_health_check_passes_while_the_broker_is_ready_and_not_otherwise() {
    let mut broker = Broker::dev(1);
    let config = fresh_directory().join("broker.toml");
    let text = format!("[admin]\nlisten = '{}'\n", broker.admin);
    fs::write(&config, text).expect("a file under target/");
    assert!(healthy(&config), "ready: {}", broker.ready);
    broker.signal("TERM");
    until_true("the end of the drain", || !healthy(&config));
    assert!(
        broker
            .ended_within(std::time::Duration::from_secs(10))
            .success()
    );
    assert!(!healthy(&config), "nobody listens");
}

const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n";

#[test]
fn a_probe_of_a_client_listener_needs_no_signature_and_shows_only_a_status() {
    let service = Service::with(&credentials(), &[], 2);
    let broker = &service.broker;
    let mut connection = Connection::open(broker.plain);
    for _ in 0..3 {
        connection.send(PING);
        let answer = connection.answer().expect("an answer");
        assert_eq!(answer.assert_common().status, 200);
        assert_eq!(answer.text().as_str(), "");
        assert_eq!(answer.header("content-type"), None);
    }
    let head = b"HEAD /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(broker.plain, head).status, 200);
    let query = b"GET /ping?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(broker.plain, query).status, 200);
    // The check of some balancers, which names neither a host nor the path.
    for options in [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let answer = exchange(broker.plain, options.as_bytes());
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        assert_eq!(answer.header("access-control-allow-methods"), None);
    }
    for other in ["POST /ping", "GET /ping/", "GET /pings", "PUT /ping"] {
        let text = format!("{other} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        exchange(broker.plain, text.as_bytes()).refused(404, "UnknownOperationException");
    }
    let counted = "heliograph_http_requests_total{operation=\"ping\",status=\"200\"}";
    assert_eq!(broker.scrape().sum(counted), 7.0);
    assert!(!broker.log().contains("ping"), "{}", broker.log());
}

#[test]
fn a_probe_is_refused_while_the_broker_drains() {
    // A peer keeps the drain from being over at once.
    let broker = Broker::configured("[timeouts]\ndrain = \"12s\"\n", 2);
    let mut master = crate::peer::Peer::master(&broker, &crate::process::arn("demo"));
    let mut connection = Connection::open(broker.plain);
    connection.send(PING);
    assert_eq!(connection.answer().expect("an answer").status, 200);
    broker.signal("TERM");
    until_true("the drain", || {
        crate::http::get(broker.admin, "/ready").status == 503
    });
    let mut other = Connection::open(broker.plain);
    connection.send(PING);
    let answer = connection.answer().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (503, ""));
    other.send(b"OPTIONS / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n");
    assert_eq!(other.answer().expect("an answer").status, 503);
    master.drain();
}

/// Runs the check with this configuration for that of the container.
fn healthy(config: &Path) -> bool {
    let documents = YamlLoader::load_from_str(COMPOSE).expect("YAML");
    let test = documents[0]["services"]["broker"]["healthcheck"]["test"].clone();
    let words: Vec<String> = test
        .into_vec()
        .expect("a list")
        .into_iter()
        .map(|word| word.into_string().expect("a text"))
        .collect();
    let [run, program, arguments @ .., last] = &words[..] else {
        panic!("{words:?}");
    };
    assert_eq!((run.as_str(), program.as_str()), ("CMD", "heliograph"));
    assert_eq!(last, "/etc/heliograph/broker.toml");
    Command::new(env!("CARGO_BIN_EXE_heliograph"))
        .args(arguments)
        .arg(config)
        .output()
        .expect("a program")
        .status
        .success()
}
