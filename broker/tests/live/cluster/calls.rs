//! Calls through another node: their clients, and nodes that end.

use super::nodes::{NONE, Nodes};
use crate::http::{Answer, Connection, request};
use serde_json::json;
use std::time::Duration;
use testkit::until;

const DESCRIBE: &str = "/describeSignalingChannel";

fn describe(arn: &str) -> Vec<u8> {
    request(DESCRIBE, &json!({ "ChannelARN": arn }).to_string())
}

/// Each call is answered while its owner ends: by it, or with 503; and its client is not reset.
#[test]
fn an_owner_that_ends_and_comes_again_leaves_no_call_without_an_answer() {
    let no_rates = "[quotas]\noff = true"; // the channel is described as often as its owner takes to end
    let mut nodes = Nodes::configured(1, [no_rates; 2]);
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
    nodes.n2 = nodes.files.start("n2", 1, no_rates, NONE);
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
