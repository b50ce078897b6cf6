//! States of channels: newest last, whatever happens on the way.

use super::receiver::{Receiver, ok};
use super::{BOTH, broker, configuration, text_of};
use crate::http::{create, get};
use crate::peer::Peer;
use crate::process::{Broker, DEV, arn, fresh_directory};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::until;

#[test]
fn who_is_there_is_told_in_order() {
    let receiver = Receiver::start(ok);
    let broker = broker(
        &receiver,
        "events = [\"presence\"]\nchannels = \"*\"\ninclude = [\"remote\"]",
        2,
    );
    let started = receiver.next("node.started");
    let epoch = started.data()["epoch"].as_u64().expect("a number");
    let arn = arn("cam-1");
    let master = Peer::master(&broker, &arn);
    let joined = receiver.until("channel.presence", |data| data["master"].is_object());
    let remote = joined.data()["master"]["remote"]
        .as_str()
        .unwrap_or_default();
    assert!(remote.starts_with("127.0.0.1:"), "{joined:?}");
    let viewers: Vec<_> = (0..3)
        .map(|nth| Peer::viewer(&broker, &arn, &format!("v{nth}")))
        .collect();
    let three = receiver.until("channel.presence", |data| data["viewers"] == 3);
    assert!(three.number() > joined.number() && three.number().0 == epoch);
    let newer = Peer::master(&broker, &arn);
    receiver.until("channel.presence", |data| {
        data["cause"] == "master.replaced"
    });
    drop(viewers);
    receiver.until("channel.presence", |data| data["viewers"] == 0);
    // The older one is closed for the newer one's departure, which is reported.
    newer.close();
    master.close();
    let left = receiver.until("channel.presence", |data| data["master"].is_null());
    assert_eq!(left.data()["cause"], "master.left");
    assert!(left.data()["reason"].is_string(), "{left:?}");
}

/// An added hook gets the states of its channels, one with other channels gets theirs, and queues stay.
#[test]
fn hooks_are_changed_and_added_by_a_reload() {
    let (first, second) = (Receiver::start(ok), Receiver::start(ok));
    let directory = fresh_directory();
    let urls = [first.url("/hook/{channel}"), second.url("/hook/{channel}")];
    let file = |of_first: &str, of_second: Option<&str>| {
        let hooks = [Some(of_first), of_second].into_iter().flatten();
        let hooks: Vec<_> = hooks
            .zip(["one", "two"].iter().zip(&urls))
            .map(|(lines, (name, url))| (*name, url.as_str(), lines))
            .collect();
        text_of(&directory, &hooks)
    };
    let broker = Broker::configured(&file(BOTH, None), 2);
    let (cam, door) = (arn("cam-1"), arn("door-1"));
    let _masters = [&cam, &door].map(|arn| Peer::master(&broker, arn));
    let is_there = |name: &'static str| {
        move |data: &Value| data["channel"]["name"] == name && data["master"].is_object()
    };
    first.until("channel.presence", is_there("cam-1"));
    let doors = "events = [\"presence\"]\nchannels = \"door-*\"";
    let all = "events = [\"presence\"]\nchannels = \"*\"";
    broker.configure(&file(doors, Some(all)));
    broker.logged(&["needs a SIGHUP: hook.one, hook.two"], 1);
    broker.signal("HUP");
    first.until("channel.presence", is_there("door-1"));
    second.until("channel.presence", is_there("cam-1"));
    let listed = get(broker.admin, "/hooks").json();
    assert_eq!(listed["hooks"][1]["name"], "two", "{listed}");
    broker.configure(&file(doors, None));
    broker.logged(&["needs a restart: hook.two"], 1);
}

/// A master that comes again within the linger is no news of a departure.
#[test]
fn a_master_that_reconnects_was_never_gone() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, BOTH, 1);
    let arn = arn("cam-1");
    Peer::master(&broker, &arn).close();
    let _again = Peer::master(&broker, &arn);
    receiver.until("channel.presence", |data| data["master"].is_object());
    let mut viewer = Some(Peer::viewer(&broker, &arn, "v1"));
    receiver.until("channel.presence", |data| data["viewers"] == 1);
    drop(viewer.take());
    let is_last = |data: &Value| data["viewers"] == 0 && data["cause"] == "viewer.left";
    let last = receiver.until("channel.presence", is_last);
    assert!(last.data()["master"].is_object(), "{last:?}");
}

/// Clients come and go on many channels: at the end the receiver has what the inspector shows.
#[test]
fn in_the_end_the_receiver_knows_all_channels() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, BOTH, 4);
    let mut peers = Vec::new();
    for round in 0..3 {
        for nth in 0..40 {
            let arn = arn(&format!("cam-{nth}"));
            match (nth + round) % 3 {
                0 => peers.push(Peer::master(&broker, &arn)),
                1 => peers.push(Peer::viewer(&broker, &arn, &format!("v{round}"))),
                _ => drop(Peer::viewer(&broker, &arn, "brief")),
            }
        }
    }
    let mut known: BTreeMap<String, (u64, u64, bool, u64)> = BTreeMap::new();
    until("the states", || {
        for event in receiver.all() {
            let Some(name) = event.data()["channel"]["name"].as_str() else {
                continue;
            };
            let (epoch, sequence) = event.number();
            let data = event.data();
            let state = (
                epoch,
                sequence,
                data["master"].is_object(),
                data["viewers"].as_u64().unwrap_or(9),
            );
            let last = known.entry(name.into()).or_insert(state);
            if event.kind() == "channel.presence" {
                assert!((last.0, last.1) <= (epoch, sequence), "it went back");
            }
            *last = state.max(*last);
        }
        let agrees = (0..40).all(|nth| {
            let name = format!("cam-{nth}");
            let rooms = get(broker.admin, &format!("/channels/{name}")).json();
            let viewers = rooms["viewers"].as_array().map_or(0, Vec::len) as u64;
            let state = (rooms["master"].is_object(), viewers);
            known
                .get(&name)
                .is_some_and(|known| (known.2, known.3) == state)
        });
        agrees.then_some(())
    });
}

/// A process that is killed says by its epoch that it is another one.
#[test]
fn a_killed_process_is_followed_by_a_greater_epoch() {
    let receiver = Receiver::start(ok);
    let directory = fresh_directory();
    std::fs::create_dir_all(&directory).expect("target/");
    let url = receiver.url("/");
    let file = configuration(&directory, &[("home", &url, BOTH)]);
    let path = file.to_str().expect("UTF-8");
    let arguments = [&DEV[..], &["--config", path]].concat();
    let mut last = 0;
    for _ in 0..3 {
        let mut broker = Broker::again(&directory, &arguments, 1);
        let started = receiver.next("node.started");
        let epoch = started.data()["epoch"].as_u64().expect("a number");
        assert!(epoch > last, "{epoch} after {last}");
        last = epoch;
        broker.signal("KILL");
        broker.ended_within(std::time::Duration::from_secs(10));
    }
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn a_deleted_channel_has_nobody() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, BOTH, 2);
    let arn = create(broker.plain, "cam-1", 60);
    let _master = Peer::master(&broker, &arn);
    receiver.until("channel.presence", |data| data["master"].is_object());
    let answer = crate::http::call(
        broker.plain,
        "/deleteSignalingChannel",
        &json!({ "ChannelARN": arn }),
    );
    answer.ok();
    let last = receiver.until("channel.presence", |data| {
        data["cause"] == "channel.deleted"
    });
    assert_eq!(
        (&last.data()["master"], &last.data()["viewers"]),
        (&Value::Null, &json!(0))
    );
}
