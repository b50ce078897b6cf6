//! Log lines of nodes about slots: from whom these came, to whom they went, and why. The broker of each test that logs
//! JSON has its lines checked against `deploy/log-schema.json` when it is dropped.

use super::nodes::{Nodes, create, served};
use crate::peer::HealthyPair;
use crate::process::Broker;
use serde_json::Value;
use std::time::Duration;
use testkit::{until, until_within};

/// Longer than a host's loss until others serve its slots.
const TAKEN_WITHIN: Duration = Duration::from_secs(40);

#[test]
#[ignore = "needs etcd"]
fn slots_that_come_and_go_are_logged_with_owner_and_reason() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    // The first claims, as text: a line for each transaction of up to 100 slots.
    for (_, node) in nodes.all() {
        let lines = node.logged(
            &["slots claimed slots=", "epoch=", "reason=\"never_owned\""],
            1,
        );
        assert!(!lines[0].contains("former_owner"), "{lines:?}");
    }
    let arn = create(nodes.node(0), "cam");
    HealthyPair::once(nodes.node(0), &arn);
    let owner = nodes.largest();
    let [one, other] = nodes.others(owner);

    // Killed and started: its own slots.
    let slots = served(nodes.node(owner));
    nodes.node(owner).signal("KILL");
    nodes.take(owner).ended_within(Duration::from_secs(5));
    nodes
        .arguments
        .extend(["--log-format", "json"].map(str::to_owned));
    nodes.start_one(owner, 1);
    nodes.until_served();
    let me = format!("n{}", owner + 1);
    let restarted = |line: &Value| line["reason"] == "restarted" && line["former_owner"] == *me;
    assert_eq!(sum(nodes.node(owner), "slots claimed", restarted), slots);

    // Stopped for so long that others take its slots, with the reason; then it goes on.
    for node in [one, other] {
        nodes.node(node).signal("KILL");
        nodes.take(node).ended_within(Duration::from_secs(5));
        nodes.start_one(node, 1);
    }
    nodes.until_served();
    nodes.node(owner).signal("STOP");
    let taken = || {
        let silent = |line: &Value| line["reason"] == "silent" && line["former_owner"] == *me;
        let of = |node: usize| sum(nodes.node(node), "slots claimed", silent);
        of(one) + of(other)
    };
    until_within(TAKEN_WITHIN, "its slots elsewhere", || {
        (taken() >= slots).then_some(())
    });
    nodes.node(owner).signal("CONT");
    let released = || {
        let newer = |line: &Value| line["reason"] == "newer_epoch" && line["owner"].is_string();
        sum(nodes.node(owner), "slots released", newer)
    };
    until_within(TAKEN_WITHIN, "it knows", || {
        (released() == slots).then_some(())
    });
    assert_eq!(taken(), slots);
    // Nothing waited on them: there is nothing to send after them.
    assert!(!nodes.node(owner).log().contains("could not be sent"));

    given(&mut nodes, owner);
    nodes.until_served();
    HealthyPair::once(nodes.node(one), &arn);
    nodes.journal().assert_sound();
}

/// A node without slots is given its part, and then gives it away.
fn given(nodes: &mut Nodes, owner: usize) {
    let [one, other] = nodes.others(owner);
    let me = format!("n{}", owner + 1);
    // As soon as it takes orders again.
    until("its thread has time", || {
        let admin = nodes.node(owner).admin;
        let answer = crate::http::admin(admin, "POST", "/cluster/rebalance", "");
        (answer.status == 200).then_some(())
    });
    nodes.rebalance();
    let given = |line: &Value| line["reason"] == "rebalance" && line["owner"] == *me;
    let by = |node: usize| sum(nodes.node(node), "slots transferred", given);
    let from = |line: &Value| line["former_owner"].is_string();
    until_within(TAKEN_WITHIN, "lines of both sides", || {
        let received = sum(nodes.node(owner), "slots received", from);
        (received >= 1300.0 && by(one) + by(other) == received).then_some(())
    });
    nodes.node(owner).signal("TERM");
    let mut drained = nodes.take(owner);
    drained.ended_within(Duration::from_secs(40));
    let drain = |line: &Value| line["reason"] == "drain" && line["owner"] != *me;
    // All that it had, also what has come since.
    let received = sum(&drained, "slots received", from);
    assert_eq!(sum(&drained, "slots transferred", drain), received);
}

/// The slots of all lines of this message that fit.
fn sum(node: &Broker, message: &str, fits: impl Fn(&Value) -> bool) -> f64 {
    let log = node.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fields = lines.map(|mut line| line["fields"].take());
    fields
        .filter(|line| line["message"] == message && fits(line))
        .map(|line| line["slots"].as_f64().expect("a number"))
        .sum()
}
