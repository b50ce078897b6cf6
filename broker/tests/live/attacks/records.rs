//! Channels with as many and as long tags as a request may have, made by one tenant until it is refused.

use super::resident_bytes;
use crate::http::Answer;
use crate::process::directory;
use crate::signed::service::{Service, credentials};
use crate::signed::signer::Signer;
use serde_json::{Value, json};
use std::fs;

/// Bytes that the records of an account may take, and those of all: an even part on each of two shards.
const ACCOUNT: u64 = 12 << 20;
const TOTAL: u64 = 16 << 20;

/// Channels that would take much more than both.
const CHANNELS: usize = 600;

/// Bytes that changes on their way to the disk take beside the records, with what the allocator keeps.
const SLACK: u64 = 24 << 20;

#[test]
fn records_of_a_tenant_end_where_the_next_one_still_has_room() {
    let service = bounded(ACCOUNT);
    let (tenant, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
    service.create(&neighbour, "own");
    let before = resident_bytes(&service.broker);
    let (made, refused) = fill(&service, &tenant, "c");
    let told = refused.refused(400, "AccountChannelLimitExceededException");
    assert!(told.contains(&ACCOUNT.to_string()), "{told}");
    assert_within(&service, ACCOUNT);
    let growth = resident_bytes(&service.broker).saturating_sub(before);
    assert!(growth <= ACCOUNT + SLACK, "{} MiB more", growth >> 20);
    // Tags count as channels do, and what takes no more bytes is made.
    let first = &made[0];
    let more = json!({"ResourceARN": first, "Tags": [{"Key": "k00", "Value": "shorter"}]});
    service.call(&tenant, "/TagResource", &more).ok();
    let small = service.create(&neighbour, "small");
    let body = json!({"ResourceARN": small, "Tags": tags()});
    service.call(&neighbour, "/TagResource", &body).ok();
    service.create(&neighbour, "another");
    // A deletion makes room again.
    for arn in &made[1..4] {
        let delete = json!({"ChannelARN": arn});
        service
            .call(&tenant, "/deleteSignalingChannel", &delete)
            .ok();
    }
    assert_eq!(create(&service, &tenant, "again").status, 200);
    service.end();
}

#[test]
fn records_of_all_end_with_503_and_are_served_after_a_restart_with_less() {
    let directory = directory();
    let configure = |total: u64| {
        let text = format!("[limits]\nrecord_bytes_total = {total}\n");
        fs::write(directory.join("broker.toml"), text).expect("a file under target/");
    };
    configure(2 << 20);
    let tenant = Signer::new("admin");
    let service = Service::in_directory(&directory, &credentials(), 2);
    let (made, refused) = fill(&service, &tenant, "c");
    let told = refused.refused(503, "ServiceUnavailable");
    assert!(told.contains("record_bytes_total"), "{told}");
    assert_within(&service, 2 << 20);
    let held = service.broker.scrape().sum("heliograph_record_bytes");
    drop(service);
    configure(1 << 20);
    let service = Service::in_directory(&directory, &credentials(), 2);
    assert_eq!(service.broker.scrape().sum("heliograph_record_bytes"), held);
    let log = service.broker.log();
    assert!(log.contains("record_bytes_total=1048576"), "{log}");
    let describe = json!({"ChannelARN": made[0]});
    service
        .call(&tenant, "/describeSignalingChannel", &describe)
        .ok();
    create(&service, &tenant, "more").refused(503, "ServiceUnavailable");
    for arn in &made {
        let delete = json!({"ChannelARN": arn});
        service
            .call(&tenant, "/deleteSignalingChannel", &delete)
            .ok();
    }
    assert_eq!(service.broker.scrape().sum("heliograph_record_bytes"), 0.0);
    assert_eq!(create(&service, &tenant, "one-more").status, 200);
    service.end();
}

/// A broker of two shards with these bounds.
fn bounded(account: u64) -> Service {
    let text =
        format!("[limits]\nrecord_bytes_total = {TOTAL}\nrecord_bytes_per_account = {account}\n");
    Service::configured(&text, &credentials(), 2)
}

/// Makes channels until one is refused: the ARNs of those that were made, and the refusal.
fn fill(service: &Service, signer: &Signer, name: &str) -> (Vec<String>, Answer) {
    let mut made = Vec::new();
    for number in 0..CHANNELS {
        let answer = create(service, signer, &format!("{name}-{number}"));
        if answer.status != 200 {
            return (made, answer);
        }
        made.push(
            answer.ok()["ChannelARN"]
                .as_str()
                .expect("an ARN")
                .to_owned(),
        );
    }
    panic!("{CHANNELS} channels were made");
}

fn create(service: &Service, signer: &Signer, name: &str) -> Answer {
    let body = json!({"ChannelName": name, "Tags": tags()});
    service.call(signer, "/createSignalingChannel", &body)
}

/// As many tags as a channel may have, as long as fits into a request.
fn tags() -> Vec<Value> {
    let tag = |number| json!({"Key": format!("k{number:02}"), "Value": "語".repeat(256)});
    (0..50).map(tag).collect()
}

fn assert_within(service: &Service, most: u64) {
    let scrape = service.broker.scrape();
    let held = scrape.sum("heliograph_record_bytes");
    assert!(
        held > most as f64 / 2.0 && held <= most as f64,
        "{held} bytes"
    );
    let budget = scrape.sum("heliograph_budget_bytes{budget=\"records\"}");
    assert!(held <= budget, "{held} of {budget} bytes");
}
