//! loadgen among the clients while one node is killed and another one drains: its reports of those whose node stayed,
//! and of all the others.

use super::journal::moment;
use crate::cluster_etcd::nodes::{Nodes, served, try_create, until_admitted};
use crate::process::{Broker, beside};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{ended_within, until, until_true};

#[test]
#[ignore = "needs etcd, root and loadgen beside the broker"]
fn channels_of_a_killed_and_a_drained_node_meet_again_and_others_lose_nothing() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let stays = nodes.largest();
    let [lost, leaves] = nodes.others(stays);
    let arn = nodes.channels_of(lost, 1).remove(0);
    let prefix = prefix_of(&nodes, stays);
    let [first, second, third] = [stays, lost, leaves].map(|node| nodes.node(node).plain);
    let everywhere = Load::start(
        &nodes,
        "everywhere",
        &format!(
            "--mode storm --target http://{first} --target http://{second} --target http://{third} \
             --channels {CHANNELS} --viewers-per-channel {VIEWERS}"
        ),
    );
    // A candidate each way of each viewer.
    let met = f64::from(CHANNELS * VIEWERS * 2);
    until_candidates(&nodes, met);
    let steady = Load::start(
        &nodes,
        "steady",
        &format!(
            "--target http://{first} --channel-prefix {prefix} --channels {STEADY} --rate {} --hold 1",
            STEADY * 2,
        ),
    );
    // A session has an offer, an answer and four candidates each way: a thousand messages a second.
    let busy = Load::start(
        &nodes,
        "busy",
        &format!(
            "--target http://{second} --target http://{third} --target http://{first} --channel-prefix busy- \
             --channels {BUSY} --rate 100 --candidates 4 --hold 1",
        ),
    );
    until_candidates(&nodes, met + 8_000.0);

    let before = moment();
    let began = Instant::now();
    nodes.node(lost).signal("KILL");
    nodes.node(leaves).signal("TERM");
    nodes.take(lost).ended_within(Duration::from_secs(5));
    let mut drained = nodes.take(leaves);
    let after = thread::scope(|scope| {
        let end = scope.spawn(|| drained.ended_within(Duration::from_secs(60)));
        until_admitted(nodes.node(stays), &arn);
        let after = began.elapsed();
        let ended = end.join().expect("it is waited for");
        assert!(ended.success(), "{ended:?}");
        after
    });
    eprintln!("a channel of the killed node: admitted after {after:?}");
    assert!(after <= ELSEWHERE_WITHIN, "{after:?}");
    nodes.until_served();
    assert_eq!(served(nodes.node(stays)), 4096.0);

    lost_nothing(&steady.report());
    met_again(&everywhere.report());
    went_on(&busy.report());
    let journal = nodes.journal();
    assert!(journal.moves_since(before) > 0);
    journal.assert_sound();
}

/// The report of those whose node stays.
fn lost_nothing(report: &Value) {
    assert_eq!(report["verdict"], "well", "{report}");
    assert_eq!(report["errors"], json!({}), "{report}");
    assert_eq!(report["messages"]["lost"], 0, "{report}");
    assert!(
        report["sessions"]["completed"].as_u64() >= Some(100),
        "{report}"
    );
    assert_eq!(report["sessions"]["failed"], 0, "{report}");
    assert_eq!(report["cut_off"]["channels"], 0, "{report}");
}

/// The report of those that were connected to all nodes.
fn met_again(report: &Value) {
    for fault in ["duplicated", "reordered", "corrupted", "misrouted"] {
        assert_eq!(report["messages"][fault], 0, "{fault}: {report}");
    }
    let cut_off = &report["cut_off"];
    eprintln!(
        "cut off: {cut_off}, for {} to {} us; messages: {}; errors: {}",
        report["latency_us"]["recovery"]["p50"],
        report["latency_us"]["recovery"]["max"],
        report["messages"],
        report["errors"],
    );
    assert!(
        cut_off["channels"].as_u64() >= Some(u64::from(CHANNELS) / 2),
        "{report}"
    );
    assert_eq!(cut_off["recovered"], cut_off["channels"], "{report}");
    assert_eq!(
        report["sessions"]["completed"],
        CHANNELS * VIEWERS,
        "{report}"
    );
}

/// The report of those that came again and again, a third each to all nodes. What a front had not told of when it was
/// lost may come twice.
fn went_on(report: &Value) {
    for fault in ["lost", "reordered", "corrupted", "misrouted"] {
        assert_eq!(report["messages"][fault], 0, "{fault}: {report}");
    }
    let (sessions, cut_off) = (&report["sessions"], &report["cut_off"]);
    eprintln!(
        "busy: {sessions}, cut off: {cut_off}, messages: {}",
        report["messages"]
    );
    assert!(sessions["completed"].as_u64() >= Some(1_000), "{report}");
    assert!(cut_off["channels"].as_u64() > Some(0), "{report}");
    assert_eq!(cut_off["recovered"], cut_off["channels"], "{report}");
}

/// The beginning of the names of channels that this node has. They are there already.
fn prefix_of(nodes: &Nodes, node: usize) -> String {
    let mut prefixes = (0..1_000).map(|number| format!("steady{number}-"));
    let is_own = |name: &String| {
        until_true("a channel can be made", || {
            try_create(nodes.node(node), name).status == 200
        });
        nodes.owner(name) == node
    };
    let all_own = |prefix: &String| (0..STEADY).all(|number| is_own(&format!("{prefix}{number}")));
    prefixes.find(all_own).expect("it has hardly any slot")
}

/// Waits until this many candidates were delivered.
pub(super) fn until_candidates(nodes: &Nodes, wanted: f64) {
    let name = "heliograph_messages_total{action=\"ICE_CANDIDATE\",outcome=\"delivered\"}";
    let of = |node: &Broker| node.try_scrape().map_or(0.0, |scrape| scrape.sum(name));
    until("an exchange of candidates", || {
        let delivered = nodes.all().map(|(_, node)| of(node));
        (delivered.sum::<f64>() >= wanted).then_some(())
    });
}

/// loadgen, while it runs.
pub(super) struct Load {
    child: Child,
    json: PathBuf,
    errors: PathBuf,
}

impl Load {
    /// Starts it for [`LASTS_S`] with these flags. Its channels are its own.
    fn start(nodes: &Nodes, name: &str, flags: &str) -> Self {
        Self::lasting(nodes, name, LASTS_S, flags)
    }

    /// Starts it for these seconds with these flags.
    pub(super) fn lasting(nodes: &Nodes, name: &str, seconds: u64, flags: &str) -> Self {
        let file = |end: &str| nodes.directory.join(format!("{name}.{end}"));
        let (json, errors) = (file("json"), file("errors"));
        let child = Command::new(beside("loadgen"))
            .args(["run", "--quiet", "--create-channels", "--candidates", "1"])
            .args(["--duration", &seconds.to_string(), "--json"])
            .arg(&json)
            .args(flags.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).expect("a file under target/"))
            .spawn()
            .expect("loadgen beside the broker: cargo build --workspace --bins");
        Self {
            child,
            json,
            errors,
        }
    }

    /// Waits for its end.
    pub(super) fn report(self) -> Value {
        self.report_within(Duration::from_secs(90))
    }

    /// Waits this long for its end.
    pub(super) fn report_within(mut self, limit: Duration) -> Value {
        let ended = ended_within(&mut self.child, limit);
        let text = fs::read_to_string(&self.json).unwrap_or_default();
        let errors = fs::read_to_string(&self.errors).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}; {ended:?}: {errors}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The target is 10 s; the rest is for a busy machine, on which another node drains meanwhile.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(20);

/// Seconds that the load lasts, within which all meet again: [`ELSEWHERE_WITHIN`], and two waits of up to ten seconds
/// each that a peer makes after nodes that are gone have refused it.
const LASTS_S: u64 = 45;

const STEADY: u32 = 3;
const BUSY: u32 = 50;
const CHANNELS: u32 = 12;
const VIEWERS: u32 = 2;
