//! Faults of whole sessions.

use super::{clock, make};
use crate::http::get;
use crate::peer::{Peer, answer, offer, to_master, to_viewer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use testkit::until_true;

on_shards!(
    sessions_are_closed_and_told_to_go,
    a_stalled_session_is_sent_nothing_until_it_is_over,
    an_offer_to_a_half_open_session_comes_to_the_next,
    a_half_open_session_is_read_again_when_it_is_over,
);

fn sessions_are_closed_and_told_to_go(broker: &Broker) {
    let arn = arn("sessions");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let on = |role: &str, act: Value| {
        let about = json!({ "channel": "sess*", "role": role });
        json!({ "on": "session", "match": about, "do": act })
    };
    make(
        broker,
        &on(
            "viewer",
            json!({ "close": { "code": 4001, "reason": "as scripted" } }),
        ),
    );
    assert_eq!(viewer.expect_close(4001), "as scripted");
    make(broker, &on("master", json!("reconnectIce")));
    master.expect(r#"{"messageType":"RECONNECT_ICE_SERVER"}"#);
    make(broker, &on("master", json!({ "send": "empty" })));
    master.expect("");
    make(
        broker,
        &on("master", json!({ "goAway": { "grace": "20s" } })),
    );
    master.expect(r#"{"messageType":"GO_AWAY"}"#);
    master.expect_silence();
    clock(broker, "21s");
    master.expect_close(1001);
    // One that is yet to connect.
    make(
        broker,
        &on(
            "viewer",
            json!({ "close": { "code": 1001, "after": "5s" } }),
        ),
    );
    let mut viewer = Peer::viewer(broker, &arn, "v2");
    viewer.expect_silence();
    clock(broker, "6s");
    viewer.expect_close(1001);
}

fn a_stalled_session_is_sent_nothing_until_it_is_over(broker: &Broker) {
    let arn = arn("stalled");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    make(
        broker,
        &json!({ "on": "session", "match": { "role": "master" }, "do": { "stall": { "for": "10m" } } }),
    );
    viewer.send(&offer("AAAA"));
    viewer.expect_silence();
    let outbox = || get(broker.admin, "/channels/stalled").json()["master"]["outboxBytes"].as_u64();
    assert!(outbox() > Some(0), "the offer waits");
    master.send(&answer("v1", "AAAA"));
    viewer.expect(&to_viewer("SDP_ANSWER", "AAAA"));
    clock(broker, "9m");
    assert!(outbox() > Some(0), "it is not closed meanwhile");
    clock(broker, "2m");
    master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
    drop((master, viewer));
}

fn cut_off_master(broker: &Broker, span: &str) {
    make(
        broker,
        &json!({ "on": "session", "match": { "role": "master" }, "do": { "halfOpen": { "for": span } } }),
    );
}

fn an_offer_to_a_half_open_session_comes_to_the_next(broker: &Broker) {
    let arn = arn("half-open");
    let mut cut_off = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    cut_off_master(broker, "30s");
    viewer.send(&offer("AAAA"));
    cut_off.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
    let at_least = |what: &str, metric: &str, least: f64| {
        until_true(what, || broker.scrape().sum(metric) >= least);
    };
    at_least(
        "bytes are not confirmed",
        "heliograph_unconfirmed_bytes",
        1.0,
    );
    let shown = get(broker.admin, "/channels/half-open").json();
    let unconfirmed = shown["master"]["unconfirmedBytes"].as_u64();
    assert!(unconfirmed > Some(0), "{shown}");
    clock(broker, "3s");
    at_least("presence.doubt is over", "heliograph_doubtful", 1.0);
    let listed = get(broker.admin, "/channels?state=doubtful").json();
    let names = listed["channels"].as_array().expect("a list");
    let names: Vec<_> = names.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["half-open"], "{listed}");
    let mut back = Peer::master(broker, &arn);
    back.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
    at_least("it came back", "heliograph_returned_total", 1.0);
    // That one confirms it, and leaves without an answer: once more.
    back.close();
    let mut again = Peer::master(broker, &arn);
    again.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
    again.send(&answer("v1", "AAAA"));
    viewer.expect(&to_viewer("SDP_ANSWER", "AAAA"));
    // Its line is whole again: it had the offer all the same, and its end is read.
    clock(broker, "31s");
    drop(cut_off);
    at_least("it is counted", "heliograph_repeated_total", 1.0);
}

fn a_half_open_session_is_read_again_when_it_is_over(broker: &Broker) {
    let arn = arn("half-open");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    cut_off_master(broker, "5s");
    master.send(&answer("v1", "AAAA"));
    viewer.expect_silence();
    clock(broker, "6s");
    viewer.expect(&to_viewer("SDP_ANSWER", "AAAA"));
}
