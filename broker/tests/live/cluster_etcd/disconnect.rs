//! The operator closes connections of a channel through a node that does not have it.

use super::nodes::{Nodes, name_of};
use crate::http::{Answer, admin, get};
use crate::peer::Peer;
use crate::process::Broker;
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::until_true;

const ALL: &str = "{\"role\":\"all\"}";

/// The text that marks log lines about what operators closed.
const LINE: &str = "operation=\"Disconnect\"";

#[test]
#[ignore = "needs etcd"]
fn any_node_closes_connections_of_a_channel() {
    let Some(nodes) = Nodes::start(2) else { return };
    let owner = nodes.largest();
    let [one, other] = nodes.others(owner);
    let arn = nodes.channels_of(owner, 1).remove(0);
    let name = name_of(&arn);

    // The peers are on three nodes, and each of the nodes is asked.
    let mut master = Peer::master(nodes.node(one), &arn);
    let mut first = Peer::viewer(nodes.node(other), &arn, "first");
    let mut second = Peer::viewer(nodes.node(owner), &arn, "second");
    let closed = |to: usize, path: &str, body: &str| {
        let answer = post(nodes.node(to), path, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let path = format!("/channels/{name}/disconnect");
    let by_id = closed(one, &path, "{\"clientId\":\"first\",\"role\":\"viewer\"}");
    assert_eq!(by_id, json!({ "connections": 1 }));
    first.drain();
    assert_eq!(
        closed(other, &path, "{\"role\":\"master\"}"),
        json!({ "connections": 1 })
    );
    master.drain();
    second.expect_silence();
    assert_eq!(closed(owner, &path, ALL), json!({ "connections": 1 }));
    second.drain();
    // The line is in the owner's log, with where the operator is.
    let lines = nodes.node(owner).logged(&[LINE], 3);
    assert!(lines[0].contains("client_id=\"first\"") && lines[0].contains("remote=127."));
    for node in [one, other] {
        assert_eq!(logged(nodes.node(node)), [""; 0]);
    }

    // One node alone has no such channel, and a channel that nobody has is nowhere.
    let refused = |to: usize, path: &str, body: &str| post(nodes.node(to), path, body).status;
    assert_eq!(refused(one, &format!("{path}?scope=node"), ALL), 404);
    assert_eq!(
        closed(owner, &format!("{path}?scope=node"), ALL)["connections"],
        0
    );
    for (node, _) in nodes.all() {
        assert_eq!(refused(node, "/channels/nowhere/disconnect", ALL), 404);
        assert_eq!(refused(node, &path, "{\"role\":\"nobody\"}"), 400);
        assert_eq!(refused(node, &format!("{path}?account=1"), ALL), 404);
    }
    for (_, node) in nodes.all() {
        node.assert_balanced();
    }
}

/// Whether the owner will have done it nobody knows; it is not asked again.
#[test]
#[ignore = "needs etcd"]
fn an_owner_that_does_not_answer_is_asked_once() {
    let Some(nodes) = Nodes::start(1) else { return };
    let owner = nodes.largest();
    let [asked, _] = nodes.others(owner);
    let arn = nodes.channels_of(owner, 1).remove(0);
    let path = format!("/channels/{}/disconnect", name_of(&arn));
    let sleeper = nodes.node(owner);
    sleeper.signal("STOP");
    let began = Instant::now();
    let answer = post(nodes.node(asked), &path, ALL);
    let took = began.elapsed();
    sleeper.signal("CONT");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text().contains("does not answer"), "{answer:?}");
    assert!(took <= Duration::from_secs(4), "{took:?}");
    // The request waits in its sockets: it is carried out once. A later one comes after it.
    until_true("an answer", || {
        post(nodes.node(asked), &path, "{\"role\":\"viewer\"}").status == 200
    });
    sleeper.logged(&[LINE, "role=\"viewer\""], 1);
    let lines = logged(sleeper);
    let all = lines.iter().filter(|line| line.contains("role=\"all\""));
    assert_eq!(all.count(), 1, "{lines:?}");
    let page = get(
        nodes.node(asked).admin,
        &format!("/channels/{}", name_of(&arn)),
    );
    assert_eq!(page.status, 200);
}

fn post(to: &Broker, path: &str, body: &str) -> Answer {
    admin(to.admin, "POST", path, body)
}

/// The lines about what operators closed.
fn logged(node: &Broker) -> Vec<String> {
    let log = node.log();
    let lines = log.lines().filter(|line| line.contains(LINE));
    lines.map(str::to_owned).collect()
}
