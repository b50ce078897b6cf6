//! `heliograph channels`: what clients know of channels is the same in another broker, which was given them as
//! documents.

use crate::durable::{Home, change_some, channels};
use crate::http::{call, create};
use crate::peer::HealthyPair;
use crate::process::{Broker, command};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

#[test]
fn channels_move_into_a_broker_that_runs() {
    let (from, to) = (Home::new(), Home::new());
    let broker = from.start(2);
    let arns: Vec<String> = (0..20)
        .map(|number| create(broker.plain, &format!("cam-{number:02}"), 60))
        .collect();
    change_some(broker.plain, &arns);
    let expected = channels(broker.plain);
    let file = to.0.join("channels.json");
    fs::write(&file, documents(&expected)).expect("a file");
    stop(broker);

    let broker = to.start(3);
    let (code, text) = online(&broker, &["--dry-run"], &file);
    assert_eq!(code, Some(0), "{text}");
    testkit::assert_has(&text, &["19 channels would be made, 0 there"]);
    assert!(channels(broker.plain).is_empty());
    let (code, text) = online(&broker, &[], &file);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("19 channels made, 0 there already"), "{text}");
    assert_eq!(channels(broker.plain), expected);
    HealthyPair::once(&broker, arns.last().expect("an ARN"));
    let (code, text) = online(&broker, &[], &file);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("0 channels made, 19 there already"), "{text}");
    let mut offline = command();
    offline
        .args(["channels", "export", "--data-dir"])
        .arg(to.data());
    let exit = testkit::run(&mut offline);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let wanted = "in use by another process, a broker that runs";
    testkit::assert_has(&exit.stderr, &[wanted]);

    // One that is there with another TTL: nothing is made of the others, and their names are free.
    let (name, (info, _)) = expected.first_key_value().expect("a channel");
    let (mut other, mut new) = (info.clone(), info.clone());
    other["SingleMasterConfiguration"]["MessageTtlSeconds"] = 77.into();
    let arn = info["ChannelARN"].as_str().expect("an ARN");
    new["ChannelName"] = "new".into();
    new["ChannelARN"] = arn.replace(&format!("/{name}/"), "/new/").into();
    let faulty = to.0.join("faulty.json");
    let text = json!({"ChannelInfoList": [new, other]}).to_string();
    fs::write(&faulty, text).expect("a file");
    let (code, text) = online(&broker, &[], &faulty);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("it exists with other values"), "{text}");
    assert_eq!(channels(broker.plain), expected);
    create(broker.plain, "new", 60);
    let all = channels(broker.plain);
    stop(broker);
    let broker = to.start(2);
    assert_eq!(channels(broker.plain), all);
    stop(broker);
}

/// An operator's import takes nothing of what the account's callers may do in a second.
#[test]
fn an_import_counts_for_no_quota_of_the_account() {
    let home = Home::new();
    let quotas = "[quotas]\naccount_create = { rate = 1, burst = 5 }\naccount_change = { rate = 1, burst = 1 }\n";
    fs::write(home.0.join("broker.toml"), quotas).expect("a file");
    let broker = home.start(1);
    let made = create(broker.plain, "cam-0", 60);
    let there = channels(broker.plain);
    let documents: Vec<String> = (0..50)
        .map(|number| {
            let arn = made.replace("/cam-0/", &format!("/moved-{number}/"));
            let mut info = there["cam-0"].0.clone();
            info["ChannelName"] = format!("moved-{number}").into();
            info["ChannelARN"] = arn.as_str().into();
            let tags = json!({"ChannelARN": arn, "Tags": {"room": "hall"}});
            format!("{}{tags}", json!({"ChannelInfoList": [info]}))
        })
        .collect();
    let file = home.0.join("channels.json");
    fs::write(&file, documents.concat()).expect("a file");
    let (code, text) = online(&broker, &[], &file);
    assert_eq!(code, Some(0), "{text}");
    let create = |number: usize| {
        let body = json!({"ChannelName": format!("new-{number}")});
        call(broker.plain, "/createSignalingChannel", &body).status
    };
    let created = (0..60).take_while(|number| create(*number) == 200).count();
    assert!(
        (4..60).contains(&created),
        "{created}: a burst of five, and one was there before"
    );
    let tag = json!({"ResourceARN": made, "Tags": [{"Key": "n", "Value": "1"}]});
    assert_eq!(call(broker.plain, "/TagResource", &tag).status, 200);
    stop(broker);
}

/// The documents of channels with their tags.
fn documents(channels: &BTreeMap<String, (Value, Value)>) -> String {
    let list: Vec<&Value> = channels.values().map(|(info, _)| info).collect();
    let tags = channels
        .values()
        .map(|(info, tags)| json!({"ChannelARN": info["ChannelARN"], "Tags": tags}));
    let list = [json!({"ChannelInfoList": list})];
    let documents = list.into_iter().chain(tags);
    documents.map(|document| document.to_string()).collect()
}

/// An import into a broker that runs: its exit code, and what it says.
fn online(broker: &Broker, flags: &[&str], file: &Path) -> (Option<i32>, String) {
    let file = [file.to_str().expect("a path in UTF-8")];
    let exit = broker.asked(&[&["channels", "import"], flags, &file].concat());
    (exit.code, exit.stdout + &exit.stderr)
}

fn stop(mut broker: Broker) {
    broker.signal("TERM");
    broker.ended_within(Duration::from_secs(10));
}
