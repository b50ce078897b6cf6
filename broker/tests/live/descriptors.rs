//! No descriptor left: the broker stops accepting, goes on serving, and recovers by itself.

use crate::http::{Connection, call};
use crate::peer::HealthyPair;
use crate::process::Broker;
use serde_json::json;
use std::fs;
use std::process::Command;

on_shards!(the_broker_recovers_from_too_many_connections);

fn the_broker_recovers_from_too_many_connections(broker: &Broker) {
    let mut pair = HealthyPair::new(broker);
    let open = fs::read_dir(format!("/proc/{}/fd", broker.id()))
        .expect("the process lives")
        .count();
    let limited = Command::new("prlimit")
        .args([
            "--pid",
            &broker.id().to_string(),
            &format!("--nofile={}", open + 16),
        ])
        .status()
        .expect("prlimit of util-linux");
    assert!(limited.success());
    for _ in 0..2 {
        let mut crowd: Vec<Connection> = (0..64).map(|_| Connection::open(broker.plain)).collect();
        for connection in &mut crowd {
            connection.send(b"POST /describeSignalingChannel HTTP/1.1\r\n");
        }
        for _ in 0..20 {
            pair.relay();
        }
        drop(crowd);
        let unknown = json!({"ChannelName": "unknown"});
        call(broker.plain, "/describeSignalingChannel", &unknown)
            .refused(404, "ResourceNotFoundException");
        pair.relay();
    }
}
