//! Every operation of the API in loops, and the inspector's pages, at a registry as large as it may become: no turn is
//! long.

#[path = "../../../examples/fill_registry/fill.rs"]
mod fill;

use super::{ATTACKER, Attack, HEALTHY, Trial, full, healthy};
use crate::http::{Connection, request};
use crate::process::{Broker, directory};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use testkit::until;

/// Tags of each channel that is there from the start.
const TAGS: usize = 2;

/// Longest turn of a shard by any call, in milliseconds of its thread (full runs).
const CALL_TURN_MS_MAX: f64 = 5.0;

/// Those of a registry of this size, all of one account.
const LIMITS: &str = "[limits]\nchannels_per_account = 0\nrecord_bytes_per_account = 2000000000\n\
                      record_bytes_total = 2000000000\n";

/// Records that a page looks at beyond those that it may show: the one behind its last, and channels that are being
/// made.
const BEYOND: u64 = 1 + CALLERS as u64;

/// The calls before the trial, after which memory may not grow any more.
const WARM_UP: Duration = Duration::from_secs(1);

/// Callers at a time, of each kind.
const CALLERS: usize = 2;

#[test]
fn no_call_makes_a_long_turn_in_a_large_registry() {
    let channels = if full() { 1_000_000 } else { 3_000 };
    let directory = directory();
    let data = directory.join("data");
    std::fs::create_dir(&data).expect("a directory under target/");
    fill::fill(&data, channels, TAGS);
    let file = directory.join("broker.toml");
    std::fs::write(&file, LIMITS).expect("a file under target/");
    let arguments = ["--dev", "--listen", "http://127.0.0.1:0", "--config"];
    let arguments = [&arguments[..], &[file.to_str().expect("UTF-8")]].concat();
    let broker = Broker::again(&directory, &arguments, 1);
    let before = broker.scrape().sum("heliograph_records_read_total");
    let name = if full() {
        "all calls, 1,000,000 channels"
    } else {
        "all calls"
    };
    let shown = AtomicU64::new(0);
    let all_calls = |attack: &Attack| {
        thread::scope(|scope| {
            for number in 0..CALLERS {
                let (broker, shown) = (&broker, &shown);
                scope.spawn(move || read(broker.plain, attack, channels, shown));
                scope.spawn(move || change(broker.plain, attack, number));
                scope.spawn(move || inspect(broker.admin, attack, shown));
            }
        });
    };
    // Of pages of 1,000 records the allocator keeps some room, 10 to 20 MiB by chance, and no more the longer it lasts.
    all_calls(&Attack::lasting(WARM_UP));
    let outcome = Trial::new(name, &broker).of_lists().run(all_calls);
    let scrape = broker.scrape();
    let read = scrape.sum("heliograph_records_read_total") - before;
    let shown = shown.into_inner() + outcome.healthy_lists * (healthy::LISTED + BEYOND);
    assert!(read <= shown as f64, "{read} records for pages of {shown}");
    if full() {
        let turn = scrape.sum("heliograph_turn_seconds") * 1000.0;
        eprintln!("longest turn by calls: {turn:.2} ms");
        assert!(turn <= CALL_TURN_MS_MAX, "a turn of {turn} ms");
    }
    broker.assert_balanced();
    drop(broker);
}

/// Looks at channels one by one and in pages, from the first, the middle and the last on.
fn read(to: SocketAddr, attack: &Attack, channels: usize, shown: &AtomicU64) {
    let mut caller = Connection::open_from(ATTACKER, to);
    let mut call = |path: &str, body: Value| {
        let answer = caller.call(path, &body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        attack.did(1);
        if let Some(most) = body["MaxResults"].as_u64() {
            shown.fetch_add(most + BEYOND, Ordering::Relaxed);
        }
        answer.json()
    };
    let begins = |with: &str| json!({"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": with});
    let mut number = 0;
    while !attack.over() {
        number = (number + 7919) % channels;
        let name = format!("fill-{number:07}");
        let arn = call("/describeSignalingChannel", json!({"ChannelName": name}))["ChannelInfo"]["ChannelARN"].clone();
        call("/describeSignalingChannel", json!({"ChannelARN": arn}));
        call("/ListTagsForResource", json!({"ResourceARN": arn}));
        let role = json!({"Protocols": ["WSS", "HTTPS"], "Role": "MASTER"});
        call(
            "/getSignalingChannelEndpoint",
            json!({"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": role}),
        );
        call("/v1/get-ice-server-config", json!({"ChannelARN": arn}));
        call(
            "/listSignalingChannels",
            json!({"ChannelNameCondition": begins(&name), "MaxResults": 10}),
        );
        call(
            "/listSignalingChannels",
            json!({"ChannelNameCondition": begins("fill-"), "MaxResults": 1}),
        );
        let mut token = Value::Null;
        for with in [None, Some("fill-00"), Some(&name[..8])] {
            for _ in 0..3 {
                let mut body = json!({"MaxResults": 1000});
                if let Some(with) = with {
                    body["ChannelNameCondition"] = begins(with);
                }
                if !token.is_null() {
                    body["NextToken"] = token;
                }
                token = call("/listSignalingChannels", body)["NextToken"].clone();
                if token.is_null() {
                    break;
                }
            }
            token = Value::Null;
        }
    }
}

/// Makes, changes, tags and deletes channels, each beside a million others; and calls a master that is not there.
fn change(to: SocketAddr, attack: &Attack, caller: usize) {
    let mut connection = Connection::open_from(ATTACKER, to);
    let mut call = |path: &str, body: Value| {
        let answer = connection.call(path, &body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        attack.did(1);
        answer
    };
    let tags: Vec<Value> = (0..50)
        .map(|tag| json!({"Key": format!("key-{tag}"), "Value": "v".repeat(256)}))
        .collect();
    let keys: Vec<&Value> = tags.iter().map(|tag| &tag["Key"]).collect();
    let mut number = 0;
    while !attack.over() {
        number += 1;
        let name = format!("fill-05-{caller}-{number}");
        let created = call("/createSignalingChannel", json!({"ChannelName": name})).json();
        let arn = created["ChannelARN"].as_str().expect("an ARN").to_owned();
        call("/TagResource", json!({"ResourceARN": arn, "Tags": tags}));
        let named = json!({"ChannelARN": arn});
        let version =
            call("/describeSignalingChannel", named).json()["ChannelInfo"]["Version"].clone();
        let ttl = json!({"MessageTtlSeconds": 5});
        call(
            "/updateSignalingChannel",
            json!({"ChannelARN": arn, "CurrentVersion": version, "SingleMasterConfiguration": ttl}),
        );
        call(
            "/UntagResource",
            json!({"ResourceARN": arn, "TagKeyList": keys}),
        );
        let offer =
            json!({"ChannelARN": arn, "SenderClientId": "alexa", "MessagePayload": "b2ZmZXI="});
        let mut waiting = Connection::open_from(ATTACKER, to);
        waiting.send(&request(
            "/v1/send-alexa-offer-to-master",
            &offer.to_string(),
        ));
        call("/deleteSignalingChannel", json!({"ChannelARN": arn}));
        drop(waiting);
    }
}

/// Pages through the inspector's list.
fn inspect(to: SocketAddr, attack: &Attack, shown: &AtomicU64) {
    let page = |query: &str| {
        let get = format!("GET /channels?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // On a crowded machine a shard may be silent for a second, which is 503.
        let answer = until("a page", || {
            let mut operator = Connection::open_from(HEALTHY, to);
            operator.send(get.as_bytes());
            let answer = operator.answer().expect("a page");
            let is_silent = answer.status == 503 && answer.text().contains("does not answer");
            (!is_silent).then_some(answer)
        });
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        attack.did(1);
        let limit = query
            .split("limit=")
            .nth(1)
            .and_then(|rest| rest.split('&').next());
        let limit: u64 = limit.and_then(|limit| limit.parse().ok()).expect("a limit");
        shown.fetch_add(limit + BEYOND, Ordering::Relaxed);
        answer.json()
    };
    while !attack.over() {
        let first = page("limit=1000");
        let token = first["nextToken"]
            .as_str()
            .expect("there are more")
            .to_owned();
        page(&format!("limit=1000&token={token}"));
        page("prefix=fill-000&limit=1000");
        page("prefix=fill-0001999&limit=1");
        page("prefix=nowhere&limit=1");
    }
}
