//! What all nodes remember, shown and erased through one of them.

use super::nodes::Nodes;
use crate::http::{admin, call, get};
use crate::process::Broker;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{until, until_true};

#[test]
#[ignore = "needs etcd"]
fn any_node_has_all_forget() {
    let Some(nodes) = Nodes::start(1) else { return };
    for (_, node) in nodes.all() {
        assert_eq!(refuse(node), 1);
    }
    shown_of_all(nodes.node(0), &["n1", "n2", "n3"]);
    // One that stands still is named, and is a cause itself.
    nodes.node(2).signal("STOP");
    let pages = ["/problems", "/history", "/refusals", "/log"];
    let admin = nodes.node(0).admin;
    let pages = pages.map(|path| thread::spawn(move || get(admin, path).json()));
    let pages = pages.map(|page| page.join().expect("a page"));
    until("its silence is a cause", || {
        let problems = get(nodes.node(1).admin, "/problems?scope=node").json();
        let rows = problems["problems"].as_array()?.clone();
        let is_it = |row: &Value| row["check"] == "node_silent" && row["cause"]["value"] == "n3";
        rows.iter().any(is_it).then_some(())
    });
    nodes.node(2).signal("CONT");
    for page in pages {
        assert_eq!(page["missingNodes"], json!(["n3"]), "{page}");
    }
    nodes.rebalance();
    shown_of_all(nodes.node(0), &["n1", "n2", "n3"]);
    let removed = forget(nodes.node(1));
    assert_eq!(removed["refusals"], 3, "{removed}");
    assert_eq!(removed["missing"], json!([]));
    for (_, node) in nodes.all() {
        assert_eq!(kept(node), 0);
        node.logged(&["operation=\"Forget\""], 1);
    }

    // One that stands still is named, and the others have forgotten.
    for (_, node) in nodes.all() {
        refuse(node);
    }
    nodes.node(2).signal("STOP");
    let began = Instant::now();
    let removed = forget(nodes.node(0));
    let took = began.elapsed();
    nodes.node(2).signal("CONT");
    assert_eq!(removed["refusals"], 2, "{removed}");
    assert_eq!(removed["missing"], json!(["n3"]));
    assert!(took <= Duration::from_secs(6), "{took:?}");
    assert_eq!([kept(nodes.node(0)), kept(nodes.node(1))], [0, 0]);
    until_true("it goes on", || {
        forget(nodes.node(0))["missing"] == json!([])
    });
    assert_eq!(kept(nodes.node(2)), 0);
}

/// Causes and marks of all these nodes are shown through one.
fn shown_of_all(through: &Broker, nodes: &[&str]) {
    for (path, list) in [
        ("/problems", "problems"),
        ("/history?from=-1h", "marks"),
        ("/refusals", "refusals"),
        ("/refusals/groups", "groups"),
        ("/log", "lines"),
    ] {
        until("the entries of all nodes", || {
            let document = get(through.admin, path).json();
            let entries = document[list].as_array()?;
            let has = |node: &&str| entries.iter().any(|it| it["node"] == *node);
            let is_whole = document["missingNodes"] == json!([]);
            (is_whole && nodes.iter().all(has)).then_some(())
        });
    }
    until("the figures of the others", || {
        let others = get(through.admin, "/history?from=-1h").json()["nodes"].take();
        let has = |node: &&&str| {
            others[**node]["columns"]["t"]
                .as_array()
                .is_some_and(|t| !t.is_empty())
        };
        (nodes.iter().filter(has).count() == nodes.len() - 1).then_some(())
    });
    // A refusal is shown in full by its id, whichever node keeps it.
    let all = get(through.admin, "/refusals").json()["refusals"].take();
    assert_eq!(all.as_array().map(Vec::len), Some(nodes.len()), "{all}");
    for one in all.as_array().into_iter().flatten() {
        let path = format!("/refusals/{}", one["requestId"].as_str().expect("an id"));
        assert_eq!(get(through.admin, &path).json()["source"], "kept", "{one}");
    }
}

/// Leaves a refusal on a node: how many it keeps.
fn refuse(node: &Broker) -> u64 {
    let answer = call(
        node.plain,
        "/describeSignalingChannel",
        &json!({ "ChannelName": 5 }),
    );
    assert_eq!(answer.status, 400, "{answer:?}");
    until("the refusal", || Some(kept(node)).filter(|kept| *kept > 0))
}

fn kept(node: &Broker) -> u64 {
    get(node.admin, "/refusals?scope=node").json()["kept"]
        .as_u64()
        .expect("a number")
}

/// Has everything forgotten that came from this machine.
fn forget(through: &Broker) -> Value {
    let answer = admin(through.admin, "POST", "/forget", "{\"text\":\"127.0.0.1\"}");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
