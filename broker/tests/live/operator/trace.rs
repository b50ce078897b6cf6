//! The story of a session, afterwards: `GET /channels/{name}/trace`, and `heliograph trace`.

use crate::http::{create, exchange, get};
use crate::peer::{Peer, answer, candidate, candidate_to, offer, to_master, to_viewer};
use crate::process::{Broker, arn, command};
use serde_json::Value;
use std::fs;
use testkit::until;

on_shards!(
    a_late_master_and_a_viewer_that_left_are_told_apart,
    what_cannot_be_meant_is_refused,
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
    assert_eq!(
        (&all["recording"], &all["truncated"]),
        (&true.into(), &false.into())
    );
    assert!(
        all["reachesBackTo"]
            .as_str()
            .expect("a date")
            .ends_with('Z')
    );
    let masters = all["master"].as_array().expect("a list");
    assert_eq!((masters.len(), &masters[0]["left"]), (1, &Value::Null));
    assert_eq!(all["viewers"].as_array().map(Vec::len), Some(2));

    check_gone(&all);
    check_stays(&all);
    check_filters(broker);
    check_command(broker);
}

fn check_gone(all: &Value) {
    let gone = viewer(all, "gone").expect("it was there");
    assert_eq!(gone["reason"], "peer_closed");
    assert!(
        gone["remote"]
            .as_str()
            .expect("text")
            .starts_with("127.0.0.1:")
    );
    let wanted = [
        "join",
        "message SDP_OFFER viewer kept",
        "left",
        "delivered SDP_OFFER viewer kept",
        "message SDP_ANSWER master kept",
    ];
    assert_eq!(words(&gone), wanted);
    let hints = gone["hints"].to_string();
    assert!(
        hints.contains("the viewer left ") && hints.contains(" before the answer"),
        "{hints}"
    );
}

fn check_stays(all: &Value) {
    let stays = viewer(all, "stays").expect("it is there");
    assert_eq!(
        (&stays["left"], &stays["reason"]),
        (&Value::Null, &Value::Null)
    );
    let wanted = [
        "join",
        "message SDP_OFFER viewer kept",
        "message ICE_CANDIDATE viewer kept",
        "message unknown viewer refused", // the barrier of `expect_silence`
        "delivered SDP_OFFER viewer kept",
        "delivered ICE_CANDIDATE viewer kept",
        "message SDP_ANSWER master to",
        "message ICE_CANDIDATE master to",
    ];
    assert_eq!(words(&stays), wanted);
    let summary = &stays["summary"];
    assert_eq!(
        summary["candidates"],
        serde_json::json!({ "viewer": 1, "master": 1 })
    );
    assert!(
        summary["answerMs"].as_f64() >= summary["offerMs"].as_f64(),
        "{summary}"
    );
    let hints = stays["hints"].to_string();
    assert!(
        hints.contains("confirmed by 127.0.0.1, which is the proxy where one ends TCP")
            && hints.contains("what fails after it is ICE or TURN"),
        "{hints}"
    );
}

fn check_filters(broker: &Broker) {
    let alone = trace(broker, "?client=gone");
    assert_eq!(alone["viewers"].as_array().map(Vec::len), Some(1));
    let newest = trace(broker, "?limit=1");
    let shown = newest["viewers"].as_array().expect("a list").iter();
    let events: usize = shown
        .map(|one| one["events"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!((events, &newest["truncated"]), (1, &true.into()));
    let later = trace(broker, "?since=9999-01-01T00:00:00Z");
    assert_eq!(viewer(&later, "gone"), None, "it left before");
}

fn check_command(broker: &Broker) {
    let (code, text) = run(broker, &["traced"]);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "viewer gone",
        "viewer stays",
        "SDP_OFFER",
        "delivered, was kept",
        "* ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = run(broker, &["traced", "--client", "gone", "--json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (code, told["viewers"].as_array().map(Vec::len)),
        (Some(0), Some(1))
    );
}

fn what_cannot_be_meant_is_refused(broker: &Broker) {
    create(broker.plain, "there", 60);
    for (path, status) in [
        ("/channels/absent/trace", 404),
        ("/channels/there/trace", 200),
        ("/channels/there/trace?region=eu-west-1", 404),
        ("/channels/a%0Ab/trace", 400),
        ("/channels/there/trace?limit=0", 400),
        ("/channels/there/trace?limit=5001", 400),
        ("/channels/there/trace?since=yesterday", 400),
        ("/channels/there/trace?since=2026-02-30T00:00:00Z", 400),
        (
            "/channels/there/trace?since=9223372036854775807-01-01T00:00:00Z",
            400,
        ),
        (
            "/channels/there/trace?since=2026-01-01T9223372036854775807:00:00Z",
            400,
        ),
        ("/channels/there/trace?client=%FF", 400),
        ("/channels/there/trace?client=%3Cscript%3E%1B%5B2J", 200),
    ] {
        let answer = get(broker.admin, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let told = answer.json();
        assert_eq!(told["error"].is_string(), status != 200, "{path}: {told}");
    }
    let post = format!(
        "POST /channels/there/trace HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
        broker.admin
    );
    assert_eq!(exchange(broker.admin, post.as_bytes()).status, 405);
    let (code, text) = run(broker, &["absent"]);
    assert!(
        code == Some(1) && text.contains("no such channel"),
        "{code:?} {text}"
    );
    let (code, text) = run(broker, &["a\nb"]);
    assert!(
        code == Some(2) && text.contains("allowed 1 to 256"),
        "{code:?} {text}"
    );
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
    let directory = crate::process::fresh_directory();
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
    until("the beginning", || (lines("join") == 1).then_some(()));
    viewer.send(&offer(OFFER));
    until("the offer", || (lines("SDP_OFFER") == 1).then_some(()));
    viewer.send(&candidate(CANDIDATE));
    until("the candidate", || {
        (lines("ICE_CANDIDATE") == 1).then_some(())
    });
    assert_eq!(
        (lines("SDP_OFFER"), lines("join"), lines("channel followed")),
        (1, 1, 1)
    );
    drop(broker);
    let ended = testkit::ended_within(&mut child, std::time::Duration::from_secs(30));
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
    let _ = fs::remove_dir_all(&directory);
}

#[test]
fn a_recorder_that_is_off_says_so() {
    let broker = Broker::configured("[recorder]\nnotes = 0\n", 1);
    create(broker.plain, "quiet", 60);
    let told = get(broker.admin, "/channels/quiet/trace").json();
    assert_eq!(
        (&told["recording"], &told["reachesBackTo"]),
        (&false.into(), &Value::Null)
    );
    let (code, text) = run(&broker, &["quiet"]);
    assert!(
        code == Some(0) && text.contains("[recorder] notes = 0"),
        "{code:?} {text}"
    );
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

/// The events of a viewer in words, in order.
fn words(viewer: &Value) -> Vec<String> {
    let events = viewer["events"].as_array().expect("a list").iter();
    let word = |event: &Value, member: &str| event[member].as_str().map(str::to_owned);
    let line = |event: &Value| {
        let members = ["kind", "action", "from", "route", "after", "why"];
        let words: Vec<String> = members
            .iter()
            .filter_map(|member| word(event, member))
            .collect();
        words.join(" ")
    };
    events.map(line).collect()
}

/// `heliograph trace` with these arguments: its exit code and what it says.
fn run(broker: &Broker, arguments: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}", broker.admin);
    let output = command()
        .arg("trace")
        .args(arguments)
        .args(["--admin", &url])
        .output()
        .expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
