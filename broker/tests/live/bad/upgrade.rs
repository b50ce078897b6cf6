//! Upgrades that are refused: a status and an AWS-shaped body, never a bare reset (codec/PROTOCOL.md, CON-6).

use crate::http::exchange;
use crate::peer::{
    HealthyPair, Peer, master_query, percent_encoded, upgrade, upgrade_head, viewer_query,
};
use crate::process::{Broker, arn};

on_shards!(
    bad_queries_are_refused,
    requests_that_are_no_upgrade_are_refused,
    the_viewer_table_is_bounded,
    a_channel_recreated_elsewhere_is_absent,
);

fn bad_queries_are_refused(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let good = master_query(&arn("demo"));
    let name = "n".repeat(257);
    let cases = [
        String::new(),
        "X-Amz-ClientId=v1".to_owned(),
        "X-Amz-ChannelARN=".to_owned(),
        "X-Amz-ChannelARN=nonsense".to_owned(),
        format!("{good}&x-amz-channelarn={}", percent_encoded(&arn("demo"))),
        master_query(&arn("demo").replace("1700000000123", "x")),
        master_query(&arn("demo").replace(":channel/", ":stream/")),
        master_query(&arn("demo").replace("kinesisvideo", "s3")),
        master_query(&arn(&name)),
        master_query(&arn("de mo")),
        format!("{good}%"),
        format!("{good}&{good}"),
        format!("{good}&X-Amz-ClientId=v1&X-Amz-ClientId=v2"),
        format!("{good}&X-Amz-ClientId="),
        viewer_query(&arn("demo"), "a b"),
        viewer_query(&arn("demo"), "\u{e9}"),
        viewer_query(&arn("demo"), "AWS_x"),
        viewer_query(&arn("demo"), "aws_x"),
        viewer_query(&arn("demo"), &name),
    ];
    for query in cases {
        let (answer, mut connection) = upgrade(broker, &query, "");
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        answer.refused(400, "InvalidArgumentException");
        assert!(answer.json().get("message").is_some(), "{}", answer.text());
        connection.assert_closed();
        pair.relay();
    }
    let twice = master_query(&percent_encoded(&arn("demo")));
    let (answer, _) = upgrade(broker, &twice, "");
    let told = answer.refused(400, "InvalidArgumentException");
    assert!(told.contains("percent-encoded twice"), "{told}");
    // An upgrade that only looks odd is accepted.
    for query in [
        "x-amz-channelarn=".to_owned() + &percent_encoded(&arn("demo")),
        format!("{good}&unknown=1&empty"),
        format!("X-Amz-ChannelARN={}", arn("demo")),
        viewer_query(&arn("demo"), &"v".repeat(256)),
    ] {
        assert_eq!(upgrade(broker, &query, "").0.status, 101, "{query}");
    }
}

fn requests_that_are_no_upgrade_are_refused(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let good = upgrade_head(broker, &master_query(&arn("demo")));
    let cases = [
        (
            "no Upgrade",
            good.replace("Upgrade: websocket\r\n", ""),
            400,
        ),
        (
            "another protocol",
            good.replace("Upgrade: websocket", "Upgrade: h2c"),
            400,
        ),
        (
            "no key",
            good.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            400,
        ),
        (
            "a long key",
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", &"x".repeat(65)),
            400,
        ),
        (
            "a key with a blank",
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", "a b"),
            400,
        ),
        (
            "two keys",
            good.replace("\r\nUpgrade", "\r\nSec-WebSocket-Key: dhjgkqpz\r\nUpgrade"),
            400,
        ),
        ("version 8", good.replace("Version: 13", "Version: 8"), 426),
    ];
    for (what, bytes, status) in cases {
        let answer = exchange(broker.plain, bytes.as_bytes());
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        } else {
            answer.refused(status, "InvalidArgumentException");
        }
        pair.relay();
    }
    // A client for Flutter sends eight bytes, and gets the hash of what it sent.
    let mut connection = crate::http::Connection::open(broker.plain);
    connection.send(
        good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dhjgkqpz")
            .as_bytes(),
    );
    let answer = connection.answer().expect("an answer");
    let accept = codec::ws::accept_key("dhjgkqpz");
    let accept = std::str::from_utf8(&accept).expect("ASCII");
    assert_eq!(
        (answer.status, answer.header("sec-websocket-accept")),
        (101, Some(accept))
    );
    let odd = good
        .replace("Upgrade: websocket", "upgrade: WebSocket")
        .replace("Connection: Upgrade", "Connection: keep-alive, Upgrade");
    let mut connection = crate::http::Connection::open(broker.plain);
    connection.send(odd.as_bytes());
    assert_eq!(
        connection.answer().expect("an answer").status,
        101,
        "tokens are lists in any case"
    );
}

fn the_viewer_table_is_bounded(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let arn = arn("crowded");
    let mut viewers: Vec<Peer> = (0..10)
        .map(|n| Peer::viewer(broker, &arn, &format!("v{n}")))
        .collect();
    let (answer, mut connection) = upgrade(broker, &viewer_query(&arn, "v10"), "");
    answer.refused(400, "ClientLimitExceededException");
    connection.assert_closed();
    // Taking over a place counts against no limit, and a place that becomes free can be taken.
    let mut again = Peer::viewer(broker, &arn, "v3");
    again.expect_silence();
    viewers.remove(9).close();
    let mut last = Peer::viewer(broker, &arn, "v10");
    last.expect_silence();
    pair.relay();
}

fn a_channel_recreated_elsewhere_is_absent(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let _master = Peer::master(broker, &arn("demo"));
    let other = arn("demo").replace("1700000000123", "1700000000124");
    let (answer, mut connection) = upgrade(broker, &viewer_query(&other, "v1"), "");
    answer.refused(404, "ResourceNotFoundException");
    connection.assert_closed();
    pair.relay();
}
