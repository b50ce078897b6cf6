//! Channels that are deleted, and brokers that make none by themselves.

use crate::http::{Connection, call, create};
use crate::peer::{HealthyPair, Peer, master_query, offer, upgrade, viewer_query};
use crate::process::{Broker, arn};
use serde_json::json;

on_shards!(deleting_ends_everybody, a_name_can_be_used_again);

fn deleting_ends_everybody(broker: &Broker) {
    let arn = create(broker.plain, "doomed", 60);
    let mut pair = HealthyPair::new(broker);
    let mut older = Peer::master(broker, &arn);
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::secure(broker, &viewer_query(&arn, "v1"));
    let mut waiting = Connection::open(broker.plain);
    let body = json!({"ChannelARN": arn, "SenderClientId": "alexa", "MessagePayload": "b2ZmZXI="});
    waiting.send(&crate::http::request(
        "/v1/send-alexa-offer-to-master",
        &body.to_string(),
    ));
    assert!(master.receive().is_text());
    let described = call(
        broker.plain,
        "/describeSignalingChannel",
        &json!({"ChannelARN": arn}),
    )
    .ok();
    let wrong = json!({"ChannelARN": arn, "CurrentVersion": "bQ9NQnvAUVdoQFFM"});
    call(broker.plain, "/deleteSignalingChannel", &wrong).refused(400, "VersionMismatchException");
    let right = json!({"ChannelARN": arn, "CurrentVersion": described["ChannelInfo"]["Version"]});
    assert_eq!(
        call(broker.plain, "/deleteSignalingChannel", &right).ok(),
        json!({})
    );
    for peer in [&mut older, &mut master, &mut viewer] {
        assert_eq!(peer.expect_close(1001), "Channel deleted");
    }
    waiting
        .answer()
        .expect("an answer")
        .refused(404, "ResourceNotFoundException");
    call(
        broker.plain,
        "/describeSignalingChannel",
        &json!({"ChannelARN": arn}),
    )
    .refused(404, "ResourceNotFoundException");
    call(
        broker.plain,
        "/deleteSignalingChannel",
        &json!({"ChannelARN": arn}),
    )
    .refused(404, "ResourceNotFoundException");
    pair.relay();
}

fn a_name_can_be_used_again(broker: &Broker) {
    let old = create(broker.plain, "again", 60);
    Peer::viewer(broker, &old, "v1").send(&offer("d2l0aGRyYXdu"));
    call(
        broker.plain,
        "/deleteSignalingChannel",
        &json!({"ChannelARN": old}),
    )
    .ok();
    let new = create(broker.plain, "again", 60);
    assert_ne!(old, new);
    let (answer, _connection) = upgrade(broker, &master_query(&old), "");
    answer.refused(404, "ResourceNotFoundException");
    Peer::master(broker, &new).expect_silence();
}

#[test]
fn without_dev_a_channel_must_exist() {
    for shards in [1, 2] {
        let broker = Broker::strict_channels(shards);
        let known = create(broker.plain, "known", 60);
        let mut pair = HealthyPair::on(&broker, &known);
        for query in [
            master_query(&arn("unknown")),
            viewer_query(&arn("unknown"), "v1"),
            master_query(&arn("known")),
        ] {
            let (answer, mut connection) = upgrade(&broker, &query, "");
            answer.refused(404, "ResourceNotFoundException");
            connection.assert_closed();
        }
        pair.relay();
        call(
            broker.plain,
            "/deleteSignalingChannel",
            &json!({"ChannelARN": known}),
        )
        .ok();
        let (answer, mut connection) = upgrade(&broker, &viewer_query(&known, "v1"), "");
        answer.refused(404, "ResourceNotFoundException");
        connection.assert_closed();
    }
}
