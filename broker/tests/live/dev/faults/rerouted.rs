//! Messages that are spoiled, and messages that go to another viewer or come from one.

use super::make;
use crate::http::get;
use crate::peer::{Peer, answer, candidate, offer, to_master, to_viewer};
use crate::process::{Broker, arn};
use serde_json::{Value, json};

on_shards!(
    deliveries_are_spoiled_in_one_part,
    messages_go_to_another_viewer_or_come_from_one
);

fn deliveries_are_spoiled_in_one_part(broker: &Broker) {
    let arn = arn("spoiled");
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    let whole = to_master("ICE_CANDIDATE", "eyJhIg==", "v1");
    let no_json = format!("{}]", whole.strip_suffix('}').expect("an object"));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (json!("corrupt"), to_master("ICE_CANDIDATE", "AAAAAA==", "v1")),
        (json!({ "corrupt": "base64" }), to_master("ICE_CANDIDATE", "!!!!!!!!", "v1")),
        (json!({ "corrupt": "message" }), no_json),
    ];
    for (act, comes) in cases {
        let fault = json!({ "on": "delivery", "match": { "role": "master" }, "do": act });
        let mut master = Peer::master(broker, &arn);
        make(broker, &fault);
        viewer.send(&candidate("eyJhIg=="));
        viewer.send(&candidate("eyJhIg=="));
        master.expect(&comes);
        master.expect(&whole);
        master.close();
        // The same of one that was kept.
        make(broker, &fault);
        viewer.send(&candidate("eyJhIg=="));
        viewer.send(&candidate("eyJhIg=="));
        viewer.expect_silence();
        let mut master = Peer::master(broker, &arn);
        master.expect(&comes);
        master.expect(&whole);
        master.close();
    }
}

fn messages_go_to_another_viewer_or_come_from_one(broker: &Broker) {
    let arn = arn("misdirected");
    let mut master = Peer::master(broker, &arn);
    let mut viewers = ["v1", "v2"].map(|id| Peer::viewer(broker, &arn, id));
    let misdirect = |role: &str, to: &str| {
        let about = json!({ "role": role });
        make(
            broker,
            &json!({ "on": "message", "match": about, "do": { "misdirect": to } }),
        );
    };
    misdirect("master", "v2");
    master.send(&answer("v1", "AAAA"));
    viewers[1].expect(&to_viewer("SDP_ANSWER", "AAAA"));
    viewers[0].expect_silence();
    misdirect("viewer", "v2");
    viewers[0].send(&offer("BBBB"));
    master.expect(&to_master("SDP_OFFER", "BBBB", "v2"));
    // For a viewer that is not there it is kept.
    misdirect("master", "v3");
    master.send(&answer("v1", "CCCC"));
    master.expect_silence();
    Peer::viewer(broker, &arn, "v3").expect(&to_viewer("SDP_ANSWER", "CCCC"));
    let page = get(broker.admin, "/dev/messages?channel=misdirected&min=0").json();
    let rows = page["messages"].as_array().expect("a list").iter();
    let seen: Vec<[&Value; 3]> = rows
        .filter(|row| !row["action"].is_null())
        .map(|row| ["from", "to", "outcome"].map(|key| &row[key]))
        .collect();
    assert_eq!(
        json!(seen),
        json!([
            ["MASTER", "v2", "delivered"],
            ["v2", "MASTER", "delivered"],
            ["MASTER", "v3", "kept"],
        ])
    );
}
