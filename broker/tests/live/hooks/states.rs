//! States of channels: newest last, whatever happens on the way.

use super::receiver::{Receiver, ok};
use super::{BOTH, broker, text_of};
use crate::http::get;
use crate::peer::Peer;
use crate::process::{Broker, arn, directory};
use serde_json::{Value, json};

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
    let directory = directory();
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

/// A cause of trouble begins, for a hook that has such events alone.
#[test]
fn a_problem_is_an_event_at_its_onset() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, "events = [\"problems\"]\nchannels = \"*\"", 1);
    let absent = json!({ "ChannelName": "absent" });
    let answer = crate::http::call(broker.plain, "/describeSignalingChannel", &absent);
    assert_eq!(answer.status, 404);
    let event = receiver.until("node.problem", |data| {
        data["problem"]["check"] == "channel_absent"
    });
    let problem = &event.data()["problem"];
    assert_eq!(problem["ended"], Value::Null);
    assert_eq!(problem["look"], "bad");
    assert!(
        receiver
            .all()
            .iter()
            .all(|it| it.kind().starts_with("node."))
    );
}
