//! Orders of an operator to nodes from any machine that reaches etcd: `heliograph cluster drain`, `rebalance` and
//! `finish-upgrade`.

use super::nodes::{Nodes, served};
use crate::client_browser;
use crate::clients::{alone, credentials};
use crate::peer::{HealthyPair, Peer, answer, offer, to_master};
use crate::process::{command, directory};
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use testkit::{ended_within, until_within};

/// Time for three looks at the other nodes.
const LOOKS: Duration = Duration::from_secs(30);

/// The output of a command, and its exit code.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// `heliograph cluster` with these words and the configuration of node `n1`.
fn run(nodes: &Nodes, words: &[&str]) -> Said {
    let directory = &nodes.directory;
    let config = directory.join("n1").join("broker.toml");
    let [out, err] = ["out", "err"].map(|name| directory.join(name));
    let file = |path: &Path| File::create(path).expect("a file under target/");
    let mut child = command()
        .arg("cluster")
        .args(words)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn()
        .expect("the broker starts");
    let status = ended_within(&mut child, Duration::from_secs(180));
    let text = |path: &Path| fs::read_to_string(path).expect("a text");
    Said {
        code: status.and_then(|status| status.code()),
        out: text(&out),
        err: text(&err),
    }
}

#[test]
#[ignore = "needs etcd"]
fn a_node_drains_because_an_operator_asks_elsewhere() {
    let Some(mut nodes) = Nodes::start(2) else {
        return;
    };
    nodes.rebalance();
    let giver = 1;
    let arn = nodes.channels_of(giver, 1).remove(0);
    let mut viewer = Peer::viewer(nodes.node(giver), &arn, "v1");
    viewer.send(&offer("a2VwdA=="));
    viewer.expect_silence();

    for (words, rule) in [
        (["drain", "n9"], "n9: it is not a member of the cluster"),
        (["drain", "n/2"], "n/2: expected 1 to 63 of the characters"),
    ] {
        let said = run(&nodes, &words);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(rule), "{said:?}");
    }

    let said = run(&nodes, &["drain", "n2"]);
    eprintln!("{}", said.out);
    assert_eq!(said.code, Some(0), "{said:?}\n{}", nodes.node(giver).log());
    assert!(said.out.contains("slots left, "), "{said:?}");
    assert!(
        said.out.contains("messages wait") || said.out.contains("has not answered yet"),
        "{said:?}"
    );
    let last = said.out.lines().last().expect("a line");
    assert!(
        last.starts_with("n2 has given all slots to other nodes in "),
        "{said:?}"
    );
    let mut drained = nodes.take(giver);
    let ended = drained.ended_within(Duration::from_secs(30));
    assert!(ended.success(), "as after SIGTERM: {ended:?}");
    let wanted = "all slots were transferred to other nodes";
    testkit::assert_has(&drained.log(), &[wanted]);
    viewer.drain();
    nodes.until_served();
    let mut master = Peer::master(nodes.node(0), &arn);
    master.expect(&to_master("SDP_OFFER", "a2VwdA==", "v1"));
    // Through another node its close says that it has the offer, which is not answered else: it would come once more.
    master.send(&answer("v1", "aGVyZQ=="));
    master.close();

    let said = run(&nodes, &["drain", "n2"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("n2: it does not run"), "{said:?}");

    // Its next process does not carry the order out.
    nodes.start_one(giver, 2);
    let said = run(&nodes, &["rebalance"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    // They are its own; it serves them once it has loaded them.
    nodes.until_served();
    assert!(served(nodes.node(giver)) >= 1364.0);
    HealthyPair::once(nodes.node(giver), &arn);

    nodes.node(0).signal("KILL");
    nodes.take(0).ended_within(Duration::from_secs(5));
    let said = run(&nodes, &["drain", "n3"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    nodes.take(2).ended_within(Duration::from_secs(30));
    testkit::until("the end of the killed node's registration", || {
        let said = run(&nodes, &["drain", "n1"]);
        said.err.contains("n1: it is not registered").then_some(())
    });
    let said = run(&nodes, &["drain", "n2"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("n2: no other node runs"), "{said:?}");
}

#[test]
#[ignore = "needs etcd"]
fn nodes_have_equal_parts_after_a_rebalance() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    let said = run(&nodes, &["check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    #[rustfmt::skip] // a list
    let cases = ["clocks of 3 nodes agree", "each of 3 nodes reaches every other one", "etcd grants leases of 5 s"];
    for line in cases {
        assert!(said.out.contains(&format!("ok       {line}\n")), "{said:?}");
    }
    let said = run(&nodes, &["drain", "n3"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    nodes.take(2).ended_within(Duration::from_secs(30));
    nodes.start_one(2, 1);
    testkit::until("the node that comes back", || {
        let said = run(&nodes, &["rebalance"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out.contains("\nn3    ").then_some(said)
    });
    // The nodes have what the last command found as soon as they have loaded it.
    nodes.until_served();
    for (_, node) in nodes.all() {
        assert!(
            (1364.0..=1366.0).contains(&served(node)),
            "{}",
            served(node)
        );
    }
    let said = run(&nodes, &["rebalance"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out.lines().count(), 5, "nothing moves: {said:?}");
}

#[test]
#[ignore = "needs etcd"]
fn nodes_that_stop_together_have_their_slots_again_without_a_rebalance() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    let shares = |nodes: &Nodes| [0, 1, 2].map(|node| served(nodes.node(node)));
    let before = shares(&nodes);
    let mut stopped = [0, 1, 2].map(|node| nodes.take(node));
    stopped.iter().for_each(|node| node.signal("TERM"));
    for node in &mut stopped {
        node.ended_within(Duration::from_secs(40));
    }
    nodes.start_all(1);
    // The first to end may have given some away in the moment before the others' signal.
    let after = shares(&nodes);
    let is_same = before
        .iter()
        .zip(&after)
        .all(|(one, other)| (one - other).abs() < 256.0);
    assert!(is_same, "{before:?} {after:?}");
}

#[test]
#[ignore = "needs etcd"]
fn a_program_that_is_too_old_for_its_cluster_does_not_start() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    let said = run(&nodes, &["finish-upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let text = "nothing to finish: all nodes have inner version 7, which is the lowest allowed\n";
    assert_eq!(said.out, text);
    nodes.node(2).signal("KILL");
    nodes.take(2).ended_within(Duration::from_secs(5));
    let meta = nodes.etcd[0].ctl(&["get", "--print-value-only", "/heliograph/test/meta"]);
    let raised = meta.trim().replace("\"lowest\":7", "\"lowest\":8");
    assert_ne!(meta.trim(), raised);
    // Only by hand while nodes of version 7 run: they end, and none starts.
    nodes.etcd[0].ctl(&["put", "/heliograph/test/meta", &raised]);
    for node in [0, 1] {
        let mut ended = nodes.take(node);
        let status = ended.ended_within(Duration::from_secs(10));
        assert_eq!(status.code(), Some(2), "{}", ended.log());
    }
    nodes.start_one(2, 1);
    let mut late = nodes.take(2);
    assert_eq!(late.ended_within(Duration::from_secs(10)).code(), Some(2));
    let log = late.log();
    testkit::assert_has(
        &log,
        &["too old for its cluster", "inner version 8; this one has 7"],
    );
}

#[test]
#[ignore = "needs etcd"]
fn a_node_with_other_credentials_files_is_named() {
    let folder = directory();
    fs::create_dir_all(&folder).expect("a directory under target/");
    let common = fs::read_to_string(credentials()).expect("a text");
    let keys = "home.jwks";
    fs::copy(credentials().with_file_name(keys), folder.join(keys)).expect("a file under target/");
    let file = |node: &str| folder.join(format!("{node}.toml"));
    for node in ["n1", "n2", "n3"] {
        fs::write(file(node), &common).expect("a file under target/");
    }
    // A comment is enough: nodes compare bytes.
    fs::write(file("n2"), format!("{common}# as before\n")).expect("a file under target/");
    let files = file("{node}");
    let files = files.to_str().expect("a path in UTF-8");
    let Some(nodes) = Nodes::configured(&["--auth", "sigv4", "--credentials", files], "") else {
        return;
    };
    let said = run(&nodes, &["check"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let line = said.out.lines().find(|line| line.contains("credentials"));
    let line = line.expect("a line about credentials");
    for part in ["error", "n1 n3 (SHA-256 ", "n2 (SHA-256 "] {
        assert!(line.contains(part), "{line}");
    }
    let now = |node: usize| nodes.node(node).page("/overview").json()["now"]["credentials"].clone();
    let differ = until_within(LOOKS, "n1 sees that the files of n2 differ", || {
        let credentials = now(0);
        credentials["differ"][0]["node"]
            .is_string()
            .then_some(credentials)
    });
    assert_eq!(differ["differ"][0]["node"], "n2");
    assert_eq!(differ["differ"][0]["sha256"], now(1)["sha256"]);
    assert_ne!(differ["sha256"], now(1)["sha256"]);
    let metric = "heliograph_cluster_credentials_differ_seconds{node=\"n2\"}";
    assert!(nodes.node(0).scrape().text().contains(metric));

    fs::write(file("n2"), &common).expect("a file under target/");
    nodes.node(1).signal("HUP");
    until_within(LOOKS, "all files are equal", || {
        let said = run(&nodes, &["check"]);
        let agree = said.out.contains("credentials files of 3 nodes agree");
        agree.then_some(())
    });
    until_within(LOOKS, "n1 sees it too", || {
        (now(0)["differ"] == serde_json::json!([])).then_some(())
    });
}

/// The console's page of the cluster, and the links in `cluster status`; the script ends the third node.
#[test]
#[ignore = "needs etcd, and the clients that deploy/ci/check.sh installs"]
fn the_console_shows_the_cluster() {
    let Some(mut nodes) = Nodes::start(2) else {
        return;
    };
    nodes.rebalance();
    let arn = nodes.channels_of(1, 1).remove(0);
    let viewer = Peer::viewer(nodes.node(0), &arn, "v1");
    let links = until_within(LOOKS, "n1 reports the link of its viewer", || {
        let said = run(&nodes, &["status"]).out;
        let (_, of_n1) = said.split_once("\nlinks of n1:\n")?;
        let mut rows = of_n1.lines().map(str::split_whitespace);
        rows.find_map(|mut row| (row.next()? == "n2").then(|| row.next().map(str::to_owned))?)
    });
    assert_ne!(links, "0");
    let mut command = client_browser::node("console/cluster.mjs");
    command
        .env(
            "HELIOGRAPH_ADMIN",
            format!("http://{}", nodes.node(0).admin),
        )
        .env("HELIOGRAPH_ENDS", nodes.node(2).id().to_string())
        .env("HELIOGRAPH_SCREENSHOTS", client_browser::screenshots());
    alone(command);
    viewer.close();
    nodes.take(2).ended_within(Duration::from_secs(5));
}
