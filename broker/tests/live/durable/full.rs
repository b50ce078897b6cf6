//! A disk without room, and an end while changes are under way.
//!
//! The disk is one of the tests' own, which needs root and `unshare`; without them they say so and pass.

use crate::durable::kills::Wire;
use crate::durable::{Home, channels};
use crate::http::{call, create, get};
use crate::peer::HealthyPair;
use crate::process::run_to_end;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use testkit::until;

#[test]
fn a_full_disk_stops_changes_alone_and_only_while_it_is_full() {
    run_on_a_small_disk("durable::full::fills_and_frees");
}

#[test]
fn a_disk_that_is_full_at_the_start_is_reported() {
    run_on_a_small_disk("durable::full::starts_full");
}

#[test]
#[ignore = "the child of another test"]
fn fills_and_frees() {
    let Some(home) = on_small_disk() else { return };
    let ballast = home.data().join("ballast");
    let mut broker = home.start_dev(2);
    let at = broker.plain;
    let mut pair = HealthyPair::new(&broker);
    fs::write(&ballast, vec![1; 3 << 20]).expect("there is room for it");
    let big = |number: usize| {
        let tags: Vec<Value> = (0..50)
            .map(|key| json!({"Key": format!("key-{key}"), "Value": "v".repeat(256)}))
            .collect();
        json!({"ChannelName": format!("cam-{number}"), "Tags": tags})
    };
    let mut made = 0;
    let refused = loop {
        let answer = call(at, "/createSignalingChannel", &big(made));
        if answer.status != 200 {
            break answer;
        }
        made += 1;
        assert!(made < 1000, "the disk is not that large");
    };
    let text = refused.refused(503, "ServiceUnavailable");
    assert!(text.contains("registry takes no changes"), "{text}");
    assert_eq!(
        get(broker.admin, "/ready").text(),
        r#"{"status":"store_failed"}"#
    );
    assert_eq!(get(broker.admin, "/ready").status, 503);
    assert_eq!(get(broker.admin, "/live").status, 200);
    assert_eq!(get(at, "/ping").status, 200, "balancers keep it");
    broker.logged(&["no room on the store's disk"], 1);
    // All else goes on, also the refused change of a channel that is there.
    pair.relay();
    let known = channels(at);
    assert_eq!(
        known.len(),
        made + 1,
        "those that were answered, and the pair's"
    );
    let first = json!({"ChannelName": "cam-0"});
    let first = call(at, "/describeSignalingChannel", &first).ok()["ChannelInfo"].clone();
    let mut second = HealthyPair::on(&broker, &crate::process::arn("by-connecting"));
    second.relay();
    assert!(!known.contains_key("by-connecting"));

    // Nobody has to ask for a change.
    fs::remove_file(&ballast).expect("it is there");
    until("readiness", || {
        (get(broker.admin, "/ready").status == 200).then_some(())
    });
    broker.logged(&["takes changes again"], 1);
    call(at, "/createSignalingChannel", &big(made)).ok();
    call(
        at,
        "/deleteSignalingChannel",
        &json!({"ChannelARN": first["ChannelARN"]}),
    )
    .ok();
    pair.relay();
    let mut expected = channels(at);
    drop((pair, second));
    broker.signal("KILL");
    let _ = broker.ended_within(Duration::from_secs(10));
    drop(broker);
    let mut found = channels(home.start_dev(1).plain);
    // That one was in use without having been reported as kept.
    for channels in [&mut expected, &mut found] {
        channels.remove("by-connecting");
    }
    assert_eq!(found, expected);
    assert!(found.contains_key(&format!("cam-{made}")) && !found.contains_key("cam-0"));
}

#[test]
#[ignore = "the child of another test"]
fn starts_full() {
    let Some(home) = on_small_disk() else { return };
    let ballast = home.data().join("ballast");
    let fill = || drop(fs::write(&ballast, vec![1; 64 << 20]));
    // With nothing there at all.
    fill();
    let data = home.data();
    let data = data.to_str().expect("UTF-8");
    let listen = ["--listen", "http://127.0.0.1:0", "--admin", "off"];
    let arguments = [
        &["serve", "--auth", "none", "--data-dir", data],
        &listen[..],
    ]
    .concat();
    let (code, text) = run_to_end(&arguments);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("No space left on device") && text.contains(data),
        "{text}"
    );
    fs::remove_file(&ballast).expect("it is there");
    let broker = home.start(1);
    create(broker.plain, "kept", 60);
    drop(broker);

    // With a store that is there: what it holds is served, and changes begin when there is room.
    fill();
    let broker = home.start(2);
    assert!(channels(broker.plain).contains_key("kept"));
    let tags = json!([{"Key": "k", "Value": "v".repeat(256)}]);
    let mut refused = 0;
    for number in 0..2000 {
        let body = json!({"ChannelName": format!("more-{number}"), "Tags": tags});
        refused += u32::from(call(broker.plain, "/createSignalingChannel", &body).status == 503);
        if refused > 2 {
            break;
        }
    }
    assert!(refused > 2, "there was room");
    fs::remove_file(&ballast).expect("it is there");
    until("readiness", || {
        (get(broker.admin, "/ready").status == 200).then_some(())
    });
    create(broker.plain, "again", 60);
}

#[test]
fn an_end_answers_the_changes_that_are_under_way() {
    for shards in [1, 3] {
        let home = Home::new();
        let mut broker = home.start(shards);
        let (to, acks) = (broker.plain, AtomicU32::new(0));
        let outcomes = thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|client| {
                    let acks = &acks;
                    scope.spawn(move || create_until_the_end(to, client, acks))
                })
                .collect();
            while acks.load(Ordering::Relaxed) < 100 {
                thread::sleep(Duration::from_millis(1));
            }
            broker.signal("TERM");
            let ended = clients
                .into_iter()
                .map(|client| client.join().expect("no panic"));
            ended.collect::<Vec<_>>()
        });
        assert_eq!(broker.ended_within(Duration::from_secs(20)).code(), Some(0));
        drop(broker);
        let found: BTreeSet<String> = channels(home.start(2).plain).into_keys().collect();
        for Outcome {
            kept,
            refused,
            unknown,
        } in outcomes
        {
            assert!(kept.is_subset(&found), "answered and lost");
            assert!(refused.is_disjoint(&found), "refused and kept");
            // Without an answer is only what came too late to be read.
            assert!(
                unknown.is_none_or(|name| !found.contains(&name)),
                "made and not answered"
            );
        }
    }
}

/// The names of channels that one client tried to create, by what it learned of them.
#[derive(Debug, Default)]
struct Outcome {
    kept: BTreeSet<String>,
    refused: BTreeSet<String>,
    unknown: Option<String>,
}

fn create_until_the_end(to: std::net::SocketAddr, client: u32, acks: &AtomicU32) -> Outcome {
    let mut outcome = Outcome::default();
    let mut wire = Wire::open(to).expect("it listens");
    for number in 0.. {
        let name = format!("client-{client}-{number}");
        let body = json!({"ChannelName": name});
        match wire.call("/createSignalingChannel", &body) {
            Some((200, _)) => drop(outcome.kept.insert(name)),
            Some((503, _)) => {
                outcome.refused.insert(name);
                return outcome;
            }
            Some((status, body)) => panic!("{status} {body}"),
            None => {
                outcome.unknown = Some(name);
                return outcome;
            }
        }
        acks.fetch_add(1, Ordering::Relaxed);
    }
    outcome
}

/// Runs a test of this program in a mount namespace of its own, where a file system of 8 MiB lies on the data
/// directory.
fn run_on_a_small_disk(test: &str) {
    let home = Home::new();
    fs::create_dir(home.data()).expect("a directory");
    let mount = "mount -t tmpfs -o size=8m tmpfs \"$LIVE_TEST_HOME/data\" || exit 77; exec \"$0\" --exact \"$1\" \
                 --ignored --nocapture";
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", mount])
        .arg(std::env::current_exe().expect("it has a path"))
        .arg(test)
        .env(HOME, &home.0)
        .output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match child {
        Ok(output) if output.status.success() => {
            let text = text(&output.stdout);
            assert!(text.contains("1 passed"), "{text}");
        }
        Ok(output)
            if output.status.code() == Some(77) || text(&output.stderr).contains("unshare") =>
        {
            eprintln!(
                "skipped: no file system can be mounted here: {}",
                text(&output.stderr)
            );
        }
        Ok(output) => panic!("{}{}", text(&output.stdout), text(&output.stderr)),
        Err(error) => eprintln!("skipped: unshare cannot be run here: {error}"),
    }
}

/// The directory that the parent has made; `Home` removes it twice, which is no harm.
fn on_small_disk() -> Option<Home> {
    let home = PathBuf::from(std::env::var_os(HOME)?);
    Some(Home(home))
}

const HOME: &str = "LIVE_TEST_HOME";
