//! The way of any channels in and out again.

use crate::cli::channels::{Place, arn};
use crate::cli::support::broker;
use broker_core::settings::Key;
use proptest::prelude::*;
use serde_json::{Deserializer, Value, json};
use std::collections::BTreeMap;
use std::fs;
use testkit::run;

#[test]
fn the_data_directory_is_by_default_that_of_serve() {
    let help = run(&mut broker(&["channels", "export", "--help"])).stdout;
    let default = Key::of("data_dir").and_then(|key| key.default).unwrap();
    assert!(help.contains(&format!("[default: {default}]")), "{help}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_exported_is_what_was_imported(
        channels in proptest::collection::btree_map("[a-zA-Z0-9_.-]{1,20}", any_channel(), 0..8)
    ) {
        let place = Place::new();
        let mut list = Vec::new();
        let mut tagged = Vec::new();
        for (name, (ttl, created, version, tags)) in channels {
            let arn = arn(&name, &created.to_string());
            let seconds = created as f64 / 1000.0;
            list.push(json!({
                "ChannelName": name,
                "ChannelARN": arn,
                "ChannelType": "SINGLE_MASTER",
                "ChannelStatus": "ACTIVE",
                "CreationTime": seconds,
                "SingleMasterConfiguration": { "MessageTtlSeconds": ttl },
                "Version": version,
            }));
            if !tags.is_empty() {
                tagged.push(json!({ "ChannelARN": arn, "Tags": tags }));
            }
        }
        let mut documents = vec![json!({ "ChannelInfoList": list })];
        documents.append(&mut tagged);
        place.write("channels.json", &documents);
        place.well(&["import", "channels.json"]);
        let exported = place.export();
        let found = Deserializer::from_str(&exported).into_iter::<Value>();
        let found: Vec<Value> = found.map(Result::unwrap).collect();
        prop_assert_eq!(found, documents);

        let other = Place::new();
        fs::write(other.0.path("exported.json"), &exported).unwrap();
        other.well(&["import", "exported.json"]);
        prop_assert_eq!(other.export(), exported);
    }
}

/// TTL, creation time, version and tags.
type Channel = (u32, u64, String, BTreeMap<String, String>);

fn any_channel() -> impl Strategy<Value = Channel> {
    let text = "[\\p{L}\\p{N}_.:/=+@ -]";
    let tags = (format!("{text}{{1,12}}"), format!("{text}{{0,12}}"));
    let tags = proptest::collection::btree_map(
        proptest::string::string_regex(&tags.0).unwrap(),
        proptest::string::string_regex(&tags.1).unwrap(),
        0..5,
    );
    (
        5..=120_u32,
        0..1_000_000_000_000_000_u64,
        "[a-zA-Z0-9]{20}",
        tags,
    )
}
