//! ListSignalingChannels in a loop, of channels with many tags, beside healthy clients.

use super::{ATTACKER, Trial, broker, healthy};
use crate::http::Connection;
use crate::process::Broker;
use serde_json::{Value, json};
use std::thread;

/// Channels and tags; `million.rs` has more of them.
const CHANNELS: usize = 400;
const TAGS: usize = 40;

/// Connections that make the channels, and those that list them.
const CALLERS: usize = 8;

#[test]
fn lists_in_a_loop_stall_nobody_and_copy_no_tags() {
    let broker = broker("", 2);
    fill(&broker);
    let before = broker.scrape().sum("heliograph_records_read_total");
    let outcome = Trial::new("lists in a loop", &broker)
        .of_lists()
        .run(|attack| {
            thread::scope(|scope| {
                for _ in 0..CALLERS {
                    scope.spawn(|| {
                        let mut caller = Connection::open_from(ATTACKER, broker.plain);
                        while !attack.over() {
                            let page = list(&mut caller);
                            let infos = page["ChannelInfoList"].as_array().expect("a page");
                            assert!(infos.len() >= CHANNELS, "{} of them", infos.len());
                            assert!(!page.to_string().contains("tag-value"));
                            attack.did(1);
                        }
                    });
                }
            });
        });
    let read = broker.scrape().sum("heliograph_records_read_total") - before;
    // Those of the healthy are among them, and one behind the last of each shard.
    let each = (CHANNELS + 16) as f64;
    let of_healthy = (2 * (healthy::LISTED + 1) * outcome.healthy_lists) as f64;
    assert!(
        read <= outcome.did as f64 * each + of_healthy,
        "{read} records looked at: {outcome:?}"
    );
}

fn list(caller: &mut Connection) -> Value {
    let body = json!({"MaxResults": 1000});
    caller.call("/listSignalingChannels", &body).ok()
}

fn fill(broker: &Broker) {
    let tag =
        |number: usize| json!({"Key": format!("key-{number}"), "Value": "tag-value".repeat(20)});
    let tags: Vec<Value> = (0..TAGS).map(tag).collect();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let tags = &tags;
            scope.spawn(move || {
                let mut connection = Connection::open_from(ATTACKER, broker.plain);
                for number in (caller..CHANNELS).step_by(CALLERS) {
                    let body = json!({"ChannelName": format!("listed-{number}"), "Tags": tags});
                    connection.call("/createSignalingChannel", &body).ok();
                }
            });
        }
    });
}
