//! A night of trouble, read from the JSON in the morning: an outage, its repair, a kill, and the same outage again.

use super::problems::{Channels, FLEET, file, of_check};
use crate::http::get;
use crate::process::fresh_directory;
use crate::signed::service::Service;
use crate::signed::signer::Signer;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use testkit::until;

/// The broker after the night, in its second outage.
pub(crate) struct Night {
    pub(crate) service: Service,
    /// The key of the fleet, and the causes of both outages as the history has them.
    pub(crate) told: Value,
}

impl Night {
    pub(crate) fn play() -> Self {
        let directory = fresh_directory();
        fs::write(directory.join("broker.toml"), "").expect("a file under target/");
        let mut service = Service::in_directory(&directory, &file(true), 2);
        let fleet = Signer::new("fleet");
        let channels = Channels::create(&service);
        let first = channels.outage(&service, &fleet);
        let back = channels.come_back(&service, &fleet);
        until("its end in the history", || {
            let ended = !outages(&service).first()?["ended"].is_null();
            ended.then_some(())
        });
        service.broker.signal("KILL");
        service.broker.ended_within(Duration::from_secs(10));
        drop((back, service));

        let service = Service::in_directory(&directory, &file(true), 2);
        let second = channels.outage(&service, &fleet);
        assert_eq!(second["id"], first["id"], "the same cause, after a restart");
        let outages = until("both outages", || {
            let outages = outages(&service);
            (outages.len() == 2).then_some(outages)
        });
        for (outage, row) in outages.iter().zip([&first, &second]) {
            assert_eq!(outage["first"], row["first"]);
            assert_eq!(outage["channels"], json!(FLEET));
        }
        assert!(outages[1]["ended"].is_null(), "{outages:?}");
        let told = json!({ "key": fleet.id, "outages": outages });
        Self { service, told }
    }

    /// The last mark before the onset of each outage is of the file that was changed.
    pub(crate) fn says_what_changed(&self) {
        let history = get(self.service.broker.admin, "/history?from=-1h").json();
        let marks = history["marks"].as_array().expect("marks").iter();
        // On a busy machine shards may be silent for a moment.
        let marks: Vec<&Value> = marks.filter(|it| it["kind"] != "alert").collect();
        let kinds: Vec<_> = marks.iter().filter_map(|it| it["kind"].as_str()).collect();
        assert_eq!(
            kinds,
            ["start", "reload", "reload", "killed", "start", "reload"]
        );
        for (outage, place) in self.told["outages"]
            .as_array()
            .expect("two")
            .iter()
            .zip([1, 5])
        {
            let onset = outage["first"].as_str().expect("a moment");
            let at = marks[place]["at"].as_u64().expect("a moment");
            // The file is in force a moment before its mark is made.
            let changed = codec::calendar::rfc3339(at - 1_000);
            assert!(*onset > *changed, "{onset} {history}");
            let says = marks[place]["says"].as_str().expect("words");
            assert!(says.starts_with("credentials"), "{says}");
        }
    }
}

/// Causes of the fleet in the history, by their onset.
fn outages(service: &Service) -> Vec<Value> {
    let history = get(service.broker.admin, "/history?from=-1h").json();
    of_check(&history, "unknown_key")
        .into_iter()
        .cloned()
        .collect()
}
