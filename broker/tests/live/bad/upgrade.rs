//! Upgrades that only look odd are accepted. Those that are refused: `shard_transcripts/connections.rs` of the core.

use crate::http::Connection;
use crate::peer::{master_query, percent_encoded, upgrade, upgrade_head, viewer_query};
use crate::process::{Broker, arn};

#[test]
fn odd_upgrades_are_accepted() {
    let broker = Broker::dev(1);
    let good = master_query(&arn("demo"));
    for query in [
        "x-amz-channelarn=".to_owned() + &percent_encoded(&arn("demo")),
        format!("{good}&unknown=1&empty"),
        format!("X-Amz-ChannelARN={}", arn("demo")),
        viewer_query(&arn("demo"), &"v".repeat(256)),
    ] {
        assert_eq!(upgrade(&broker, &query, "").0.status, 101, "{query}");
    }
    let (answer, _) = upgrade(&broker, &master_query(&percent_encoded(&arn("demo"))), "");
    let told = answer.refused(400, "InvalidArgumentException");
    assert!(told.contains("percent-encoded twice"), "{told}");
    // A client for Flutter sends eight bytes, and gets the hash of what it sent; RFC 6455 section 1.3 has the other.
    let ours = upgrade_head(&broker, &good);
    let more = "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (ours.replace("dGhlIHNhbXBsZSBub25jZQ==", "dhjgkqpz"), codec::ws::accept_key("dhjgkqpz")),
        (ours.replace("\r\n\r\n", &format!("\r\n{more}")), *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];
    for (head, accept) in cases {
        let mut connection = Connection::open(broker.plain);
        connection.send(head.as_bytes());
        let answer = connection.answer().expect("an answer");
        let accept = std::str::from_utf8(&accept).expect("ASCII");
        assert_eq!(answer.status, 101);
        assert_eq!(answer.header("sec-websocket-accept"), Some(accept));
        assert_eq!(
            answer.header("sec-websocket-extensions"),
            None,
            "none is offered"
        );
    }
}
