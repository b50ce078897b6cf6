//! The story of a session, afterwards: `GET /channels/{name}/trace`, and `heliograph trace`.

use crate::http::get;
use crate::peer::{Peer, answer, candidate, candidate_to, offer, to_master, to_viewer};
use crate::process::{Broker, arn, command};
use serde_json::Value;
use std::fs;
use testkit::{until, until_true};

on_shards!(
    a_late_master_and_a_viewer_that_left_are_told_apart,
    the_command_says_why_it_has_nothing,
);

const OFFER: &str = "b2ZmZXI=";
const ANSWER: &str = "YW5zd2Vy";
const CANDIDATE: &str = "Y2Fu";

fn a_late_master_and_a_viewer_that_left_are_told_apart(broker: &Broker) {
    let arn = arn("traced");
    let mut gone = Peer::viewer(broker, &arn, "gone");
    gone.send(&offer(OFFER));
    let mut stays = Peer::viewer(broker, &arn, "stays");
    stays.send(&offer(OFFER));
    stays.send(&candidate(CANDIDATE));
    stays.expect_silence();
    gone.close();
    until("the end of a viewer", || {
        let one = viewer(&trace(broker, ""), "gone")?;
        (!one["left"].is_null()).then_some(())
    });
    let mut master = Peer::master(broker, &arn);
    master.expect(&to_master("SDP_OFFER", OFFER, "stays"));
    master.expect(&to_master("ICE_CANDIDATE", CANDIDATE, "stays"));
    master.expect(&to_master("SDP_OFFER", OFFER, "gone"));
    master.send(&answer("gone", ANSWER));
    master.send(&answer("stays", ANSWER));
    master.send(&candidate_to("stays", CANDIDATE));
    stays.expect(&to_viewer("SDP_ANSWER", ANSWER));
    stays.expect(&to_viewer("ICE_CANDIDATE", CANDIDATE));

    let all = trace(broker, "");
    assert_eq!(all["channel"], "traced");
    assert_eq!(all["recording"], true);
    let told = |id: &str| viewer(&all, id).expect("it was there")["hints"].to_string();
    assert!(told("gone").contains(" before the answer"), "{all}");
    assert!(
        told("stays").contains("what fails after it is ICE or TURN"),
        "{all}"
    );
    let alone = trace(broker, "?client=gone&limit=1");
    assert_eq!(alone["viewers"].as_array().map(Vec::len), Some(1));
    check_command(broker);
}

fn check_command(broker: &Broker) {
    let (code, text) = run(broker, &["traced"]);
    assert_eq!(code, Some(0), "{text}");
    #[rustfmt::skip] // a list
    let cases = ["viewer gone", "viewer stays", "SDP_OFFER", "delivered, was kept", "* "];
    for part in cases {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = run(broker, &["traced", "--client", "gone", "--json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, Some(0));
    assert_eq!(told["viewers"].as_array().map(Vec::len), Some(1));
}

fn the_command_says_why_it_has_nothing(broker: &Broker) {
    let (code, text) = run(broker, &["absent"]);
    assert_eq!(code, Some(1), "{text}");
    testkit::assert_has(&text, &["no such channel"]);
    let (code, text) = run(broker, &["a\nb"]);
    assert_eq!(code, Some(2), "{text}");
    testkit::assert_has(&text, &["expected 1 to 256"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", nobody.local_addr().expect("its address"));
    drop(nobody);
    let output = command()
        .args(["trace", "there", "--admin", &url])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("does not answer"), "{said}");
}

#[test]
fn what_happens_is_followed_until_the_broker_ends() {
    let broker = Broker::dev(1);
    let arn = arn("followed");
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    let directory = crate::process::directory();
    let path = directory.join("out");
    let out = fs::File::create(&path).expect("a file");
    let mut child = command()
        .args([
            "trace",
            "followed",
            "--follow",
            "--admin",
            &format!("http://{}", broker.admin),
        ])
        .stdout(out)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let lines = |wanted: &str| {
        let text = fs::read_to_string(&path).expect("the file");
        text.lines().filter(|line| line.contains(wanted)).count()
    };
    until_true("the beginning", || lines("join") == 1);
    viewer.send(&offer(OFFER));
    until_true("the offer", || lines("SDP_OFFER") == 1);
    viewer.send(&candidate(CANDIDATE));
    until_true("the candidate", || lines("ICE_CANDIDATE") == 1);
    assert_eq!(lines("SDP_OFFER"), 1);
    assert_eq!(lines("join"), 1);
    assert_eq!(lines("channel followed"), 1);
    drop(broker);
    let ended = testkit::ended_within(&mut child, std::time::Duration::from_secs(30));
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
}

fn trace(broker: &Broker, query: &str) -> Value {
    let answer = get(broker.admin, &format!("/channels/traced/trace{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn viewer(trace: &Value, id: &str) -> Option<Value> {
    let viewers = trace["viewers"].as_array().expect("a list");
    viewers.iter().find(|one| one["clientId"] == id).cloned()
}

/// `heliograph trace` with these arguments: its exit code and what it says.
fn run(broker: &Broker, arguments: &[&str]) -> (Option<i32>, String) {
    let exit = broker.asked(&[&["trace"], arguments].concat());
    (exit.code, exit.stdout + &exit.stderr)
}
