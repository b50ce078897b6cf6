//! The operators' view of channels and connections: `GET /channels` of the admin listener.

use crate::http::get;
use crate::peer::{Peer, answer, candidate_to, offer, to_master, to_viewer, viewer_query};
use crate::process::{Broker, arn};
use serde_json::Value;

on_shards!(a_channel_is_shown_with_its_peers_and_what_is_kept);

fn a_channel_is_shown_with_its_peers_and_what_is_kept(broker: &Broker) {
    let arn = arn("shown");
    let mut older = Peer::master(broker, &arn);
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::secure(broker, &viewer_query(&arn, "v1"));
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    master.send(&answer("v1", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    master.send(&candidate_to("absent", "Y2FuZA=="));
    older.expect_silence();
    master.expect_silence();
    let shown = get(broker.admin, "/channels/shown").json();
    assert_eq!(shown["arn"], arn.as_str());
    assert_eq!(shown["name"], "shown");
    assert_eq!(shown["type"], "SINGLE_MASTER");
    assert_eq!(shown["messageTtlSeconds"], 60);
    assert_eq!(shown["superseded"], 1);
    assert_eq!(shown["waitingCalls"], 0);
    assert_rfc3339(&shown["createdAt"]);
    let master_shown = &shown["master"];
    assert_eq!(master_shown["clientId"], Value::Null);
    assert_eq!(master_shown["tls"], false);
    // The barrier of `expect_silence` is a message as well.
    assert_eq!(master_shown["messagesIn"], 3);
    assert_eq!(master_shown["messagesOut"], 1);
    let viewers = shown["viewers"].as_array().expect("a list");
    assert_eq!(viewers.len(), 1);
    assert_eq!(viewers[0]["clientId"], "v1");
    assert_eq!(viewers[0]["tls"], true);
    assert_eq!(viewers[0]["messagesIn"], 1);
    assert_eq!(viewers[0]["messagesOut"], 1);
    assert_eq!(viewers[0]["outboxBytes"], 0);
    assert!(
        viewers[0]["remote"]
            .as_str()
            .expect("text")
            .starts_with("127.0.0.1:")
    );
    assert!(
        viewers[0]["lastFrameAgeSeconds"]
            .as_f64()
            .expect("a number")
            < 60.0
    );
    assert_rfc3339(&viewers[0]["connectedAt"]);
    let pending = shown["pending"].as_array().expect("a list");
    assert_eq!(pending.len(), 1);
    let kept = &pending[0];
    assert_eq!(kept["from"], "MASTER");
    assert_eq!(kept["to"], "absent");
    assert_eq!(kept["action"], "ICE_CANDIDATE");
    assert!(kept["bytes"].as_u64().expect("a number") > 8);
    assert!(kept["ageSeconds"].as_f64().expect("a number") < 60.0);
    assert_eq!(get(broker.admin, "/channels/absent").status, 404);
    let elsewhere = get(broker.admin, "/channels/shown?region=eu-west-1");
    assert_eq!(elsewhere.status, 404, "{}", elsewhere.text());
    for peer in [older, master, viewer] {
        peer.close();
    }
}

/// `2026-11-20T12:00:01.007Z`.
fn assert_rfc3339(value: &Value) {
    let text = value.as_str().expect("text");
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
}
