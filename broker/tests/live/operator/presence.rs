//! The presence of channels: `GET /presence`, `presence` of a channel's page, and the topics of `/events`. No hook is
//! configured.

use super::events::Watcher;
use crate::http::{call, create, get};
use crate::peer::{Peer, offer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use testkit::until;

on_shards!(
    those_who_are_there_are_paged_by_name,
    a_channel_is_followed_by_its_name
);

fn pages(broker: &Broker, limit: usize) -> (Vec<Value>, usize) {
    let (mut found, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/presence?limit={limit}&after={after}");
        let page = get(broker.admin, &path).json();
        found.extend(page["presence"].as_array().expect("a list").iter().cloned());
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return (found, pages),
        }
    }
}

fn number(state: &Value) -> (u64, u64) {
    let part = |name: &str| state[name].as_u64().expect("a number");
    (part("epoch"), part("sequence"))
}

fn those_who_are_there_are_paged_by_name(broker: &Broker) {
    let name = |nth: usize| format!("there-{nth}");
    (0..9).for_each(|nth| drop(create(broker.plain, &format!("idle-{nth}"), 60)));
    let masters: Vec<_> = (0..3)
        .map(|nth| Peer::master(broker, &arn(&name(nth))))
        .collect();
    let mut waits = Peer::viewer(broker, &arn(&name(3)), "v1");
    waits.send(&offer("b2ZmZXI="));
    let waiting = until("the offer is kept", || {
        let (found, _) = pages(broker, 1000);
        let state = found.into_iter().nth(3)?;
        (state["waiting"] != json!([])).then_some(state)
    });
    assert_eq!(waiting["waiting"][0]["clientId"], "v1");
    assert_eq!(waiting["waiting"][0]["action"], "SDP_OFFER");
    assert_eq!(waiting["master"], Value::Null);
    assert_eq!(waiting["viewers"], 1);
    assert_eq!(waiting["cause"], Value::Null);
    waits.close();
    // Its offer waits on.
    until("the viewer has left", || {
        let (found, _) = pages(broker, 1000);
        (found[3]["viewers"] == 0 && found[3]["waiting"] != json!([])).then_some(())
    });
    let (found, asked) = pages(broker, 2);
    let names: Vec<_> = found
        .iter()
        .map(|state| &state["channel"]["name"])
        .collect();
    assert_eq!(names, ["there-0", "there-1", "there-2", "there-3"]);
    assert_eq!(asked, 2);
    let remote = found[0]["master"]["remote"].as_str().expect("an address");
    assert!(remote.starts_with("127.0.0.1:"), "{remote}");
    let behind = get(broker.admin, "/presence?after=there-1&limit=1").json();
    assert_eq!(behind["presence"][0]["channel"]["name"], "there-2");
    let own = get(broker.admin, "/channels/there-0").json()["presence"].take();
    assert_eq!(own["master"]["remote"], found[0]["master"]["remote"]);
    assert!(number(&own) > number(&found[0]), "{own}");
    let awaited = get(broker.admin, "/channels?state=awaited&presence=true").json();
    assert_eq!(awaited["channels"].as_array().map(Vec::len), Some(1));
    let waits = &awaited["channels"][0]["presence"]["waiting"][0];
    assert_eq!(waits["clientId"], "v1");
    for wrong in ["limit=0", "limit=1001", "after=a:b", "after=%FF"] {
        let answer = get(broker.admin, &format!("/presence?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
    }
    masters.into_iter().for_each(Peer::close);
}

fn a_channel_is_followed_by_its_name(broker: &Broker) {
    let mut watcher = Watcher::open(broker.admin, "presence:seen");
    assert_eq!(watcher.status(), 200);
    assert_eq!(watcher.event("absent")["status"], 404);
    let mut all = Watcher::open(broker.admin, "presence");
    assert_eq!(all.event("resync")["read"], "/presence");
    let (seen, other) = (arn("seen"), arn("other"));
    let _other = Peer::master(broker, &other);
    all.until("presence", |state| state["channel"]["name"] == "other");
    let mut viewer = Peer::viewer(broker, &seen, "v1");
    viewer.send(&offer("b2ZmZXI="));
    let waits = watcher.until("presence", |state| state["waiting"] != json!([]));
    assert_eq!(waits["cause"], "viewer.waiting");
    let mut later = Watcher::open(broker.admin, "presence:seen");
    let first = later.event("presence");
    assert_eq!(first["waiting"][0]["clientId"], "v1");
    assert!(number(&first) > number(&waits), "{first}");
    let master = Peer::master(broker, &seen);
    for watcher in [&mut watcher, &mut later] {
        let there = watcher.until("presence", |state| state["master"].is_object());
        assert_eq!(there["channel"]["name"], "seen");
        assert!(number(&there) > number(&first), "{there}");
    }
    call(
        broker.plain,
        "/deleteSignalingChannel",
        &json!({ "ChannelARN": seen }),
    )
    .ok();
    let gone = watcher.until("presence", |state| state["cause"] == "channel.deleted");
    assert_eq!(gone["master"], Value::Null);
    assert_eq!(gone["viewers"], 0);
    drop((master, viewer));
}
