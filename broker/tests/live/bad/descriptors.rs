//! No descriptor left: the broker stops accepting, goes on serving, and recovers by itself.

use crate::http::{Connection, call};
use crate::peer::HealthyPair;
use crate::process::Broker;
use serde_json::json;
use std::time::{Duration, Instant};

/// Four shards start with these, and have room for fewer than a hundred connections.
const DESCRIPTORS: u32 = 208;

/// More than there is room for, with the refusals' spare descriptors.
const CROWD: usize = 400;

#[test]
fn the_broker_recovers_from_too_many_connections() {
    for shards in [1, 2, 4] {
        let broker = Broker::with_descriptors(DESCRIPTORS, shards);
        let warning = format!("the limit of open files is {DESCRIPTORS}, which allows ");
        assert!(broker.log().contains(&warning), "{}", broker.log());
        let mut pair = HealthyPair::new(&broker);
        for _ in 0..2 {
            let mut crowd: Vec<Connection> =
                (0..CROWD).map(|_| Connection::open(broker.plain)).collect();
            for connection in &mut crowd {
                connection.send(b"POST /describeSignalingChannel HTTP/1.1\r\n");
            }
            for _ in 0..20 {
                pair.relay();
            }
            drop(crowd);
            unknown_channel_is_told(&broker);
            pair.relay();
        }
        let refused = broker.scrape().sum("heliograph_accept_errors_total");
        assert!(refused > 0.0, "the limit was never met");
        drop(pair);
        broker.assert_balanced();
    }
}

/// Asks until the crowd's end has been noticed: until then the broker may answer that it is full.
fn unknown_channel_is_told(broker: &Broker) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = call(
            broker.plain,
            "/describeSignalingChannel",
            &json!({"ChannelName": "unknown"}),
        );
        if answer.status == 404 {
            answer.refused(404, "ResourceNotFoundException");
            return;
        }
        answer.refused(503, "ServiceUnavailable");
        assert!(
            Instant::now() < until,
            "still full though the crowd is gone"
        );
    }
}
