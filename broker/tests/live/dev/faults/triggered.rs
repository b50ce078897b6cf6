//! Faults of sessions that a message sets off: of its sender, and of its recipient.

use super::{error_of, make};
use crate::http::Connection;
use crate::peer::{Peer, answer, master_query, offer, to_master, to_viewer, upgrade_head};
use crate::process::{Broker, arn};
use serde_json::json;
use std::io::ErrorKind;

on_shards!(
    sessions_are_reset,
    a_message_ends_its_senders_session,
    a_delivery_ends_its_recipients_session_and_the_message_is_kept,
    kept_messages_end_the_session_that_they_are_for,
    the_other_acts_leave_the_session_open,
);

fn sessions_are_reset(broker: &Broker) {
    let arn = arn("reset");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    make(
        broker,
        &json!({ "on": "session", "match": { "role": "viewer" }, "do": "reset" }),
    );
    viewer.expect_reset();
    master.expect_silence();
    let mut again = Peer::viewer(broker, &arn, "v1");
    again.send(&offer("AAAA"));
    master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
}

fn a_message_ends_its_senders_session(broker: &Broker) {
    let arn = arn("ends");
    let mut master = Peer::master(broker, &arn);
    let about = json!({ "action": "SDP_OFFER", "role": "viewer" });
    make(
        broker,
        &json!({ "on": "message", "match": about, "do": "reset" }),
    );
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("AAAA"));
    viewer.expect_reset();
    master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
    // Its answer waits for the next connection, which is closed with its own offer.
    master.send(&answer("v1", "BBBB"));
    master.expect_silence();
    make(
        broker,
        &json!({ "on": "message", "match": about, "do": { "close": { "code": 4002, "reason": "Enough." } } }),
    );
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.expect(&to_viewer("SDP_ANSWER", "BBBB"));
    viewer.send(&offer("CCCC"));
    assert_eq!(viewer.expect_close(4002), "Enough.");
    // The offer can be lost as well: a fault of its delivery acts beside the one of its arrival.
    master.expect(&to_master("SDP_OFFER", "CCCC", "v1"));
    make(
        broker,
        &json!({ "on": "message", "match": about, "do": "reset" }),
    );
    make(
        broker,
        &json!({ "on": "delivery", "match": { "role": "master" }, "do": "drop" }),
    );
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("DDDD"));
    viewer.expect_reset();
    master.expect_silence();
}

fn a_delivery_ends_its_recipients_session_and_the_message_is_kept(broker: &Broker) {
    let arn = arn("recipient");
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    for (number, act) in [json!("reset"), json!({ "close": { "code": 1012 } })]
        .into_iter()
        .enumerate()
    {
        let mut master = Peer::master(broker, &arn);
        make(
            broker,
            &json!({ "on": "delivery", "match": { "role": "master" }, "do": act }),
        );
        viewer.send(&offer("AAAA"));
        if number == 0 {
            master.expect_reset();
        } else {
            master.expect_close(1012);
        }
        viewer.expect_silence();
        let mut master = Peer::master(broker, &arn);
        master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
        master.close();
    }
}

fn kept_messages_end_the_session_that_they_are_for(broker: &Broker) {
    let arn = arn("kept");
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("AAAA"));
    viewer.expect_silence();
    make(
        broker,
        &json!({ "on": "delivery", "do": "reset", "times": 2 }),
    );
    // Such a connection ends before its client sees it open.
    for _ in 0..2 {
        let mut reset = Connection::open(broker.plain);
        reset.send(upgrade_head(broker, &master_query(&arn)).as_bytes());
        assert_eq!(error_of(reset.into_parts().0), ErrorKind::ConnectionReset);
    }
    let mut master = Peer::master(broker, &arn);
    master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
}

fn the_other_acts_leave_the_session_open(broker: &Broker) {
    let arn = arn("open");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    for (act, comes) in [
        (json!({ "goAway": { "grace": "10m" } }), "GO_AWAY"),
        (json!("reconnectIce"), "RECONNECT_ICE_SERVER"),
    ] {
        make(broker, &json!({ "on": "delivery", "do": act }));
        viewer.send(&offer("AAAA"));
        master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
        master.expect(&format!(r#"{{"messageType":"{comes}"}}"#));
    }
    make(
        broker,
        &json!({ "on": "message", "match": { "role": "viewer" }, "do": { "stall": { "for": "9m" } } }),
    );
    viewer.send(&offer("AAAA"));
    master.expect(&to_master("SDP_OFFER", "AAAA", "v1"));
    master.send(&answer("v1", "BBBB"));
    master.expect_silence();
    super::clock(broker, "10m");
    viewer.expect(&to_viewer("SDP_ANSWER", "BBBB"));
}
