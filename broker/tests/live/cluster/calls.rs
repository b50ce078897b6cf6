//! Calls through another node: their clients, and nodes that end.

use super::meeting::assert_quiet;
use super::nodes::{NONE, Nodes};
use crate::http::{Answer, Connection, request};
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::until;

const DESCRIBE: &str = "/describeSignalingChannel";

fn describe(arn: &str) -> Vec<u8> {
    request(DESCRIBE, &json!({ "ChannelARN": arn }).to_string())
}

#[test]
fn a_client_that_asks_for_the_end_gets_it() {
    let nodes = Nodes::start(1);
    let [_, others] = nodes.channels();
    let body = json!({ "ChannelARN": others }).to_string();
    let length = body.len();
    for (version, fields) in [("1.1", "Connection: close\r\n"), ("1.0", "")] {
        let mut client = Connection::open(nodes.n1.plain);
        let head = format!(
            "POST {DESCRIBE} HTTP/{version}\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n"
        );
        client.send(&[head.as_bytes(), body.as_bytes()].concat());
        let answer = client.answer().expect("an answer");
        assert_eq!(
            (answer.status, answer.header("connection")),
            (200, Some("close"))
        );
        client.assert_closed();
    }
    // One that has ended its side gets its answer as well.
    let mut client = Connection::open(nodes.n1.plain);
    client.send(&describe(&others));
    client.finish();
    assert_eq!(client.answer().expect("an answer").status, 200);
    client.assert_closed();
    assert_quiet(&nodes);
}

#[test]
fn a_large_call_and_one_that_waits_for_100_continue_are_answered() {
    for nodes in [Nodes::start(1), Nodes::start(2)] {
        let [_, others] = nodes.channels();
        let spaces = " ".repeat(60_000);
        let body = format!("{{\"ChannelARN\":{spaces}\"{others}\"}}");
        let mut client = Connection::open(nodes.n1.plain);
        for _ in 0..3 {
            client.send(&request(DESCRIBE, &body));
            let answer = client.answer().expect("an answer").ok();
            assert_eq!(answer["ChannelInfo"]["ChannelARN"], others.as_str());
        }
        let body = json!({ "ChannelARN": others }).to_string();
        let head = format!(
            "POST {DESCRIBE} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head.as_bytes());
        assert_eq!(client.answer().expect("word to go on").status, 100);
        client.send(body.as_bytes());
        assert_eq!(client.answer().expect("an answer").status, 200);
        drop(client);
        assert_quiet(&nodes);
    }
}

/// Half a body is its client's alone: nothing of it reaches the other node.
#[test]
fn half_a_call_goes_nowhere() {
    let nodes = Nodes::start(1);
    let [_, others] = nodes.channels();
    let whole = describe(&others);
    let before = nodes
        .n1
        .scrape()
        .sum("heliograph_cluster_link_clients_opened_total");
    let mut half = Connection::open(nodes.n1.plain);
    half.send(&whole[..whole.len() - 1]);
    let mut other = Connection::open(nodes.n1.plain);
    other.send(&whole);
    assert_eq!(other.answer().expect("an answer").status, 200);
    half.finish();
    half.read_to_end();
    let opened = nodes
        .n1
        .scrape()
        .sum("heliograph_cluster_link_clients_opened_total");
    assert_eq!(opened - before, 1.0);
}

/// Each call is answered while its owner ends: by it, or with 503; and its client is not reset.
#[test]
fn an_owner_that_ends_and_comes_again_leaves_no_call_without_an_answer() {
    let mut nodes = Nodes::start(1);
    let [_, others] = nodes.channels();
    let mut clients: Vec<_> = (0..8).map(|_| Connection::open(nodes.n1.plain)).collect();
    let ask_all = |clients: &mut Vec<Connection>, plain| {
        for client in &mut *clients {
            client.send(&describe(&others));
        }
        let asked = std::mem::take(clients);
        let mut statuses = Vec::new();
        for mut client in asked {
            let answer: Answer = client.answer().expect("an answer");
            statuses.push(answer.status);
            let ends = answer.header("connection") == Some("close");
            clients.push(if ends {
                Connection::open(plain)
            } else {
                client
            });
        }
        statuses
    };
    let plain = nodes.n1.plain;
    assert_eq!(ask_all(&mut clients, plain), [200; 8]);
    nodes.n2.signal("TERM");
    until("its end", || {
        let statuses = ask_all(&mut clients, plain);
        assert!(
            statuses.iter().all(|it| [200, 503].contains(it)),
            "{statuses:?}"
        );
        (statuses == [503; 8]).then_some(())
    });
    assert!(nodes.n2.ended_within(Duration::from_secs(10)).success());
    nodes.n2 = nodes.files.start("n2", 1, "", NONE);
    until("answers", || {
        let statuses = ask_all(&mut clients, plain);
        statuses
            .iter()
            .all(|it| [200, 400, 404].contains(it))
            .then_some(())
    });
    nodes.n2.signal("KILL");
    nodes.n2.ended_within(Duration::from_secs(5));
    assert_eq!(ask_all(&mut clients, plain), [503; 8]);
}

/// A node that ends answers the calls that are under way through it.
#[test]
fn a_front_that_ends_answers_what_it_has_passed_on() {
    let mut nodes = Nodes::start(1);
    let [_, others] = nodes.channels();
    let mut clients: Vec<_> = (0..8).map(|_| Connection::open(nodes.n1.plain)).collect();
    for client in &mut clients {
        client.send(&describe(&others));
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    nodes.n2.stop();
    for client in &mut clients {
        client.send(&describe(&others));
    }
    until("calls under way", || {
        let under_way = nodes.n1.scrape().sum("heliograph_cluster_link_clients");
        (under_way == 8.0).then_some(())
    });
    nodes.n1.signal("TERM");
    nodes.n2.go_on();
    for client in &mut clients {
        let status = client.answer().expect("an answer").status;
        assert!([200, 503].contains(&status), "{status}");
    }
    assert!(nodes.n1.ended_within(Duration::from_secs(15)).success());
}

/// A node that is stopped is doubted; awake it answers again.
#[test]
fn an_owner_that_stands_still_is_503_within_three_seconds() {
    let nodes = Nodes::start(1);
    let [_, others] = nodes.channels();
    let mut client = Connection::open(nodes.n1.plain);
    client.send(&describe(&others));
    assert_eq!(client.answer().expect("an answer").status, 200);
    nodes.n2.stop();
    let begun = Instant::now();
    client.send(&describe(&others));
    let answer = client.answer().expect("an answer");
    answer.refused(503, "ServiceUnavailable");
    let took = begun.elapsed();
    let bounds = Duration::from_millis(2_900)..Duration::from_millis(3_500);
    assert!(bounds.contains(&took), "{took:?}");
    nodes.n2.go_on();
    until("an answer", || {
        let mut client = Connection::open(nodes.n1.plain);
        client.send(&describe(&others));
        (client.answer().expect("an answer").status == 200).then_some(())
    });
}
