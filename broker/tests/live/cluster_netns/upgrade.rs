//! Nodes that get another program, one by one, and the one before again, under load. `deploy/ci/upgrade.sh` names the
//! older program; without one all are the same.

use super::load::{Load, until_candidates};
use crate::cluster_etcd::nodes::Nodes;
use crate::cluster_etcd::nodes::setup::Setup;
use crate::cluster_netns::journal::moment;
use crate::http::{Connection, get, request};
use crate::process::binary;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::until;

/// In the environment: an older program, whose nodes are upgraded to the one under test and go back.
const OLD: &str = "HELIOGRAPH_OLD";

/// The port of clients on each host.
const PORT: u16 = 8_080;

const SETUP: [&str; 4] = ["--auth", "none", "--listen", "http://{ip}:8080"];

/// Channels of clients that stay connected, and viewers of each.
const CHANNELS: u32 = 24;
const VIEWERS: u32 = 2;

/// A node that drains, and its successor until all slots are served.
const STEP: Duration = Duration::from_secs(60);

/// From a client's cut to its next message, on a quiet machine.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// Time between creates.
const PACE: Duration = Duration::from_millis(20);

#[test]
#[ignore = "needs etcd, root and loadgen beside the broker; deploy/ci/upgrade.sh gives it an older program"]
fn nodes_get_another_program_one_by_one_and_back() {
    let old = std::env::var_os(OLD).map(PathBuf::from);
    let there_and_back: Vec<PathBuf> = [Some(binary()), old.clone()]
        .into_iter()
        .flatten()
        .collect();
    let setup = Setup {
        arguments: &SETUP,
        program: old.clone(),
        ..Setup::default()
    };
    let Some(mut nodes) = Nodes::on_hosts_as(setup) else {
        return;
    };
    let to = [0, 1, 2].map(|node| SocketAddr::new(nodes.node(node).plain.ip(), PORT));
    let targets = to.map(|to| format!("--target http://{to}")).join(" ");
    let most = STEP * 3 * u32::try_from(there_and_back.len()).expect("two");
    let stay = Load::lasting(
        &nodes,
        "stay",
        most.as_secs(),
        &format!("--mode storm {targets} --channels {CHANNELS} --viewers-per-channel {VIEWERS}"),
    );
    let come = Load::lasting(
        &nodes,
        "come",
        most.as_secs(),
        &format!(
            "{targets} --channel-prefix come- --channels 40 --rate 20 --candidates 4 --hold 1"
        ),
    );
    until_candidates(&nodes, f64::from(CHANNELS * VIEWERS * 2) + 400.0);
    let (before, over) = (moment(), AtomicBool::new(false));
    let mut programs = [(); 3].map(|()| old.clone().unwrap_or_else(binary));
    let made = thread::scope(|scope| {
        let creates = scope.spawn(|| create_until(&over, &to));
        for program in &there_and_back {
            for node in 0..to.len() {
                replace(&mut nodes, node, program);
                programs[node].clone_from(program);
                shows_programs(&nodes, &programs);
            }
        }
        over.store(true, Ordering::Relaxed);
        creates.join().expect("it creates")
    });
    for name in &made {
        let body = json!({ "ChannelName": name });
        Connection::open(to[0])
            .call("/describeSignalingChannel", &body)
            .ok();
    }
    eprintln!(
        "{} channels were created meanwhile, and are there",
        made.len()
    );
    assert!(made.len() > 100, "{}", made.len());
    for (name, load) in [("stay", stay), ("come", come)] {
        judge(name, &load.report_within(most + STEP));
    }
    let journal = nodes.journal();
    assert!(journal.moves_since(before) > 0);
    journal.assert_sound();
}

/// Each node shows the program of every other one, and the problems of all.
fn shows_programs(nodes: &Nodes, programs: &[PathBuf; 3]) {
    let build = |program: &PathBuf| {
        let output = Command::new(program).args(["version", "--json"]).output();
        let output = output.expect("a program").stdout;
        let build: Value = serde_json::from_slice(&output).expect("JSON");
        let commit = build["commit"].as_str().unwrap_or("unknown").to_owned();
        json!([build["version"], commit])
    };
    let builds: Vec<Value> = programs.iter().map(build).collect();
    for (_, node) in nodes.all() {
        until("the programs of all nodes", || {
            let view = get(node.admin, "/cluster").json();
            let mut all = view["nodes"].as_array()?.clone();
            all.sort_by_key(|one| one["name"].as_str().map(str::to_owned));
            eprintln!(
                "inner versions {:?}",
                all.iter()
                    .map(|one| &one["inner_version"])
                    .collect::<Vec<_>>()
            );
            let shown = all.iter().map(|one| json!([one["version"], one["commit"]]));
            let is_known = |one: &Value| one["inner_version"].is_u64() && one["answers"] == true;
            let are_known = all.iter().all(is_known);
            (are_known && shown.collect::<Vec<_>>() == builds).then_some(())
        });
        let problems = get(node.admin, "/problems").json();
        assert_eq!(problems["missingNodes"], json!([]), "{problems}");
    }
}

/// Drains a node and starts this program in its place.
fn replace(nodes: &mut Nodes, node: usize, program: &Path) {
    let began = Instant::now();
    nodes.node(node).signal("TERM");
    let ended = nodes.take(node).ended_within(STEP);
    assert!(ended.success(), "{ended:?}");
    let drained = began.elapsed();
    nodes.set_program(node, program);
    nodes.start_one(node, 1);
    nodes.until_served();
    nodes.rebalance();
    eprintln!(
        "n{}: drained after {drained:?}, serves again after {:?}",
        node + 1,
        began.elapsed()
    );
}

/// Creates channels through any node that answers. Returns the names of those whose creation was acknowledged.
fn create_until(over: &AtomicBool, to: &[SocketAddr; 3]) -> Vec<String> {
    let mut made = Vec::new();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("meanwhile-{number}");
        let body = json!({ "ChannelName": name });
        let asked = request("/createSignalingChannel", &body.to_string());
        let is_made = is_answered(to[number % to.len()], &asked);
        made.extend(is_made.unwrap_or(false).then_some(name));
        thread::sleep(PACE);
    }
    made
}

/// Whether a node answers this request with 200. An error: the node is not there, or goes before it answers.
fn is_answered(to: SocketAddr, asked: &[u8]) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&to, STEP)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.write_all(asked)?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status == *b"HTTP/1.1 200")
}

/// Nothing is lost or sent to somebody else, all that were cut off are back soon, and nothing comes twice but what went
/// to a connection that did not end in order: its last acknowledgement may have been on its way.
#[track_caller]
fn judge(name: &str, report: &Value) {
    let (cut_off, recovery) = (&report["cut_off"], &report["latency_us"]["recovery"]);
    let (messages, errors) = (&report["messages"], &report["errors"]);
    eprintln!(
        "{name}: sessions {}, cut off {cut_off}, back after {} us, at most {} us; messages {messages}; errors {errors}",
        report["sessions"], recovery["p50"], recovery["max"],
    );
    for fault in ["lost", "reordered", "corrupted", "misrouted"] {
        assert_eq!(messages[fault], 0, "{fault}: {report}");
    }
    let ended = ["reset", "ended_early", "messages_of_broken_connections"]
        .map(|kind| errors[kind].as_u64().unwrap_or(0));
    let twice = messages["duplicated"].as_u64().expect("a count");
    assert!(twice <= ended.iter().sum::<u64>(), "{report}");
    assert!(cut_off["channels"].as_u64() > Some(0), "{report}");
    assert_eq!(cut_off["recovered"], cut_off["channels"], "{report}");
    let longest = Duration::from_micros(recovery["max"].as_u64().expect("a time"));
    assert!(longest <= BACK_WITHIN * testkit::slow(), "{report}");
}
