//! A disk without room, and an end while changes are under way.
//!
//! The disk is one of the tests' own, which needs root and `unshare`; without them they say so and pass.

use crate::durable::{Home, channels};
use crate::http::{call, get};
use crate::peer::HealthyPair;
use crate::process::Broker;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use testkit::{until, until_true};

#[test]
fn a_full_disk_stops_changes_alone_and_only_while_it_is_full() {
    run_on_a_small_disk("durable::full::fills_and_frees");
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
    broker.logged(&["the store's disk is full"], 1);
    let rest = fill_for_the_history(&home, &broker);
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
    fs::remove_file(&rest).expect("it is there");
    fs::remove_file(&ballast).expect("it is there");
    until_true("readiness", || get(broker.admin, "/ready").status == 200);
    broker.logged(&["takes changes again"], 1);
    history_has_what_it_missed(&broker);
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

/// Takes the rest of the disk, so that the history has no room for causes: these are more than fit into the pages that
/// it has.
fn fill_for_the_history(home: &Home, broker: &Broker) -> PathBuf {
    let rest = home.data().join("rest");
    drop(fs::write(&rest, vec![1; 8 << 20]));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("/describeSignalingChannel", json!({"ChannelName": 5})),
        ("/describeSignalingChannel", json!({"ChannelName": "absent"})),
        ("/describeSignalingChannel", json!({"ChannelARN": "no ARN"})),
        ("/deleteSignalingChannel", json!({"ChannelARN": crate::process::arn("gone")})),
        ("/nothing", json!({})),
    ];
    for (path, body) in cases {
        let answer = call(broker.plain, path, &body);
        assert!(answer.status >= 400, "{path} {body}");
    }
    broker.logged(&["the history cannot be written"], 1);
    rest
}

fn history_has_what_it_missed(broker: &Broker) {
    until("the history has what it missed", || {
        let history = get(broker.admin, "/history").json();
        let has = |list: &str, name: &str, text: &str| {
            let mut all = history[list].as_array().into_iter().flatten();
            all.any(|it| it[name].as_str().is_some_and(|it| it.starts_with(text)))
        };
        let has_mark = has("marks", "says", "the history could not be written since");
        (has_mark && has("problems", "check", "store_failed")).then_some(())
    });
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
    Some(Home(home.into()))
}

const HOME: &str = "LIVE_TEST_HOME";
