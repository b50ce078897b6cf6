//! Channels of all nodes, listed by any of them.

use super::nodes::{Nodes, create};
use crate::http::{Answer, Connection, get};
use crate::operator::events::Watcher;
use crate::peer::Peer;
use crate::process::Broker;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};
use testkit::until;

fn list(node: &Broker, asked: &Value) -> Answer {
    Connection::open(node.plain).call("/listSignalingChannels", asked)
}

fn names(page: &Value) -> Vec<String> {
    let listed = page["ChannelInfoList"].as_array().expect("a list");
    let name = |info: &Value| info["ChannelName"].as_str().expect("a name").to_owned();
    listed.iter().map(name).collect()
}

/// All names that begin with a prefix: each page is asked for at another node.
fn all(nodes: &Nodes, first: usize, prefix: &str, page: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut token = Value::Null;
    for number in first.. {
        let mut asked = json!({ "MaxResults": page });
        if !prefix.is_empty() {
            asked["ChannelNameCondition"] =
                json!({ "ComparisonOperator": "BEGINS_WITH", "ComparisonValue": prefix });
        }
        if !token.is_null() {
            asked["NextToken"] = token;
        }
        let answer = list(nodes.node(number % 3), &asked).ok();
        let names = names(&answer);
        assert!(names.len() <= page, "{names:?}");
        found.extend(names);
        token = answer["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    found
}

#[test]
#[ignore = "needs etcd"]
fn any_node_lists_the_channels_of_all() {
    let Some(nodes) = Nodes::start(2) else { return };
    let wanted: Vec<String> = (10..40).map(|number| format!("cam{number}")).collect();
    for (number, name) in wanted.iter().enumerate() {
        create(nodes.node(number % 3), name);
    }
    create(nodes.node(0), "door");
    let has_some = |node: &Broker| node.scrape().sum("heliograph_channels") > 0.0;
    // On a busy machine the first claims of slots are far from equal.
    assert!(nodes.all().filter(|(_, node)| has_some(node)).count() > 1);
    for page in [1, 4, 1000] {
        for first in 0..3 {
            assert_eq!(all(&nodes, first, "cam", page), wanted);
        }
    }
    assert_eq!(all(&nodes, 1, "cam2", 3), wanted[10..20]);
    assert_eq!(all(&nodes, 1, "", 1000).len(), 31);
    operators(&nodes, &wanted);
    // A node that stands still has channels that nobody else knows.
    let sleeper = nodes.largest();
    let [asked, _] = nodes.others(sleeper);
    let name = format!("n{}", sleeper + 1);
    nodes.node(sleeper).signal("STOP");
    let began = Instant::now();
    let refused = list(nodes.node(asked), &json!({}));
    let took = began.elapsed();
    assert!(refused.refused(503, "ServiceUnavailable").contains(&name));
    assert!(took <= Duration::from_secs(4), "{took:?}");
    let page = get(nodes.node(asked).admin, "/channels?limit=1000").json();
    assert_eq!(page["missingNodes"], json!([name]));
    let id = refused.header("x-amzn-requestid").expect("an id");
    let why = get(nodes.node(asked).admin, &format!("/refusals/{id}")).json();
    assert_eq!(why["check"], "list_incomplete");
    nodes.node(sleeper).signal("CONT");
    until("a whole list", || {
        let answer = list(nodes.node(asked), &json!({}));
        (answer.status == 200).then(|| assert_eq!(names(&answer.ok()).len(), 31))
    });
    for (_, node) in nodes.all() {
        node.assert_balanced();
    }
}

/// Name and node of each channel of a page.
fn shown(page: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let lines = page["channels"].as_array().expect("a list").iter();
    lines
        .map(|line| (text(&line["name"]), text(&line["node"])))
        .collect()
}

/// Checks the lists of each node's admin listener: of its own channels, and of all.
fn operators(nodes: &Nodes, wanted: &[String]) {
    let mut own = Vec::new();
    for (number, node) in nodes.all() {
        let page = get(node.admin, "/channels?prefix=cam&limit=1000&scope=node").json();
        let lines = shown(&page);
        let name = format!("n{}", number + 1);
        assert!(lines.iter().all(|(_, node)| *node == name));
        assert_eq!(page["missingNodes"], Value::Null);
        own.extend(lines);
    }
    own.sort();
    let names: Vec<&String> = own.iter().map(|(name, _)| name).collect();
    assert_eq!(names, wanted.iter().collect::<Vec<_>>());
    for (_, node) in nodes.all() {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let path = format!("/channels?prefix=cam&limit=7&token={token}");
            let page = get(node.admin, &path).json();
            assert_eq!(page["missingNodes"], json!([]));
            all.extend(shown(&page));
            match page["nextToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(all, own);
        for (name, owner) in &own[..6] {
            let found = get(node.admin, &format!("/channels/{name}")).json();
            assert_eq!(found["name"], json!(name));
            assert_eq!(found["node"], json!(owner));
            let trace = get(node.admin, &format!("/channels/{name}/trace")).json();
            assert_eq!(trace["node"], json!(owner));
        }
        assert_eq!(get(node.admin, "/channels/absent").status, 404);
        assert_eq!(get(node.admin, "/channels?scope=world").status, 400);
    }
}

/// The pages of any node have all who are connected, and a stream of any node follows a channel by its name.
#[test]
#[ignore = "needs etcd"]
fn any_node_shows_who_is_there() {
    let Some(nodes) = Nodes::start(2) else { return };
    let names: Vec<String> = (10..22).map(|number| format!("cam{number}")).collect();
    let mut masters = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let arn = create(nodes.node(number % 3), name);
        masters.push(Peer::master(nodes.node(number % 3), &arn));
    }
    create(nodes.node(0), "idle");
    let pages = |node: &Broker| {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = get(node.admin, &format!("/presence?limit=5&after={after}")).json();
            assert_eq!(page["missingNodes"], json!([]));
            all.extend(page["presence"].as_array().expect("a list").iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return all,
            }
        }
    };
    let mut owners = BTreeSet::new();
    for (_, node) in nodes.all() {
        let all = pages(node);
        let found: Vec<_> = all.iter().map(|one| &one["channel"]["name"]).collect();
        assert_eq!(found, names.iter().collect::<Vec<_>>());
        assert!(
            all.iter()
                .all(|one| one["master"].is_object() && one["epoch"].is_u64())
        );
        owners.extend(all.iter().map(|one| one["node"].to_string()));
    }
    assert!(owners.len() > 1, "{owners:?}");
    let mut streams: Vec<_> = nodes
        .all()
        .map(|(_, node)| Watcher::open(node.admin, "presence:cam10"))
        .collect();
    for stream in &mut streams {
        assert!(stream.event("presence")["master"].is_object());
    }
    masters.remove(0).close();
    for stream in &mut streams {
        stream.until("presence", |one| one["master"].is_null());
    }
}

/// While slots move a page has all channels, or is refused.
#[test]
#[ignore = "needs etcd"]
fn no_list_is_incomplete_while_slots_move() {
    let Some(mut nodes) = Nodes::start(2) else {
        return;
    };
    let wanted: BTreeSet<String> = (100..160).map(|number| format!("cam{number}")).collect();
    for (number, name) in wanted.iter().enumerate() {
        create(nodes.node(number % 3), name);
    }
    let giver = nodes.largest();
    let [one, other] = nodes.others(giver);
    nodes.node(giver).signal("TERM");
    let (mut whole, mut refused) = (0, 0);
    let mut drained = nodes.take(giver);
    let ended = thread::scope(|scope| {
        let end = scope.spawn(|| drained.ended_within(Duration::from_secs(120)));
        while !end.is_finished() {
            for node in [one, other] {
                let answer = list(nodes.node(node), &json!({}));
                if answer.status == 200 {
                    let found: BTreeSet<String> = names(&answer.ok()).into_iter().collect();
                    assert_eq!(found, wanted);
                    whole += 1;
                } else {
                    answer.refused(503, "ServiceUnavailable");
                    refused += 1;
                }
            }
        }
        end.join().expect("it is waited for")
    });
    assert!(ended.success(), "{ended:?}");
    eprintln!("{whole} lists during the drain, {refused} refused");
    assert!(whole > 0);
    nodes.until_served();
    for node in [one, other] {
        let found = names(&list(nodes.node(node), &json!({})).ok());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
}
