//! Changes that outlive the process: every one that was answered, whatever ends it and however many shards there are
//! afterwards (codec/PROTOCOL.md, CHAN-8).
//!
//! * [`kills`]: a broker that is killed again and again.
//! * [`refused`]: a registry that is damaged, foreign or in use.
//! * [`full`], [`slow`]: a disk without room, slow or failing.
//! * [`backup`]: a copy of a running broker's registry, and starts from it.
//! * [`moving`]: channels given to another broker as documents.
//! * [`fixtures`]: what earlier versions wrote.

mod backup;
mod fixtures;
mod full;
pub(crate) mod kills;
mod moving;
mod refused;
mod slow;

use crate::http::{Connection, call, create};
use crate::peer::{Peer, offer};
use crate::process::{Broker, arn, directory};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use testkit::{Directory, until_true};

/// A directory for the data of one broker after the other. Removed at its end.
pub(crate) struct Home(pub(crate) Directory);

impl Home {
    pub(crate) fn new() -> Self {
        let directory = directory();
        fs::write(directory.join("broker.toml"), "[quotas]\noff = true\n").expect("a file");
        Self(directory)
    }

    /// A broker without `--dev` that has this directory's channels and no rates.
    pub(crate) fn start(&self, shards: u16) -> Broker {
        self.start_with(&["--auth", "none"], shards)
    }

    /// The same with `--dev`.
    pub(crate) fn start_dev(&self, shards: u16) -> Broker {
        self.start_with(&["--dev"], shards)
    }

    fn start_with(&self, mode: &[&str], shards: u16) -> Broker {
        let config = self.0.join("broker.toml");
        let config = config.to_str().expect("a path in UTF-8");
        let listen = ["--listen", "http://127.0.0.1:0", "--config", config];
        Broker::again(&self.0, &[mode, &listen].concat(), shards)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data().join("store.redb")
    }
}

/// All that callers can know of all channels, by name: what Describe and ListTagsForResource say, after it was
/// compared with what ListSignalingChannels says.
pub(crate) fn channels(at: SocketAddr) -> BTreeMap<String, (Value, Value)> {
    let mut connection = Connection::open(at);
    let mut found = BTreeMap::new();
    let mut token = Value::Null;
    loop {
        let page = json!({"MaxResults": 100, "NextToken": token});
        let page = connection.call("/listSignalingChannels", &page).ok();
        for listed in page["ChannelInfoList"].as_array().expect("a list") {
            let name = listed["ChannelName"].as_str().expect("a name");
            let described = connection
                .call("/describeSignalingChannel", &json!({"ChannelName": name}))
                .ok();
            assert_eq!(described["ChannelInfo"], *listed, "list and describe agree");
            let tags = json!({"ResourceARN": listed["ChannelARN"]});
            let tags = connection.call("/ListTagsForResource", &tags).ok();
            let before = found.insert(name.to_owned(), (listed.clone(), tags["Tags"].clone()));
            assert!(before.is_none(), "{name} is listed twice");
        }
        match page.get("NextToken") {
            Some(next) => token = next.clone(),
            None => return found,
        }
    }
}

#[test]
fn changes_outlive_a_kill() {
    let home = Home::new();
    let mut broker = home.start(1);
    let at = broker.plain;
    let arns: Vec<String> = (0..20)
        .map(|number| create(at, &format!("cam-{number:02}"), 60))
        .collect();
    change_some(at, &arns);
    let mut expected = channels(at);
    assert_eq!(expected.len(), 19, "one is deleted");
    assert_eq!(
        expected["cam-01"].0["SingleMasterConfiguration"],
        json!({"MessageTtlSeconds": 90})
    );
    assert_eq!(expected["cam-02"].1, json!({"b": "", "c": "3"}));
    for shards in [3, 1, 2] {
        broker.signal("KILL");
        broker.ended_within(Duration::from_secs(10));
        drop(broker);
        broker = home.start(shards);
        assert_eq!(channels(broker.plain), expected, "{shards} shards");
        // The version counts as before, and changes go on.
        let (info, _) = &expected["cam-07"];
        let update = |version: &Value| {
            let body = json!({"ChannelARN": info["ChannelARN"], "CurrentVersion": version,
                "SingleMasterConfiguration": {"MessageTtlSeconds": 5 + shards}});
            call(broker.plain, "/updateSignalingChannel", &body)
        };
        update(&json!("none")).refused(400, "VersionMismatchException");
        update(&info["Version"]).ok();
        expected = channels(broker.plain);
    }
    // A name that is given again bears a later time than any before it, also in another life.
    let again = create(broker.plain, "cam-00", 60);
    assert!(
        time_of(&again) > time_of(&arns[0]),
        "{again} after {}",
        arns[0]
    );
    call(
        broker.plain,
        "/describeSignalingChannel",
        &json!({"ChannelARN": arns[0]}),
    )
    .refused(404, "ResourceNotFoundException");
}

/// Deletes the first, updates the second, tags the third and takes a tag away from it.
fn change_some(at: SocketAddr, arns: &[String]) {
    call(
        at,
        "/deleteSignalingChannel",
        &json!({"ChannelARN": arns[0]}),
    )
    .ok();
    let described = json!({"ChannelARN": arns[1]});
    let described = call(at, "/describeSignalingChannel", &described).ok();
    let update = json!({"ChannelARN": arns[1], "CurrentVersion": described["ChannelInfo"]["Version"],
        "SingleMasterConfiguration": {"MessageTtlSeconds": 90}});
    call(at, "/updateSignalingChannel", &update).ok();
    let tags =
        [("a", "1"), ("b", ""), ("c", "3")].map(|(key, value)| json!({"Key": key, "Value": value}));
    call(
        at,
        "/TagResource",
        &json!({"ResourceARN": arns[2], "Tags": tags}),
    )
    .ok();
    call(
        at,
        "/UntagResource",
        &json!({"ResourceARN": arns[2], "TagKeyList": ["a"]}),
    )
    .ok();
}

#[test]
fn channels_that_came_by_connecting_keep_their_arn() {
    let home = Home::new();
    // The last is one that no clock will show: the creator of a channel chooses the time.
    let arns = [
        arn("one"),
        arn("two"),
        arn("late").replace("/1700000000123", "/999999999999999"),
    ];
    let mut broker = home.start_dev(3);
    let mut peers: Vec<Peer> = arns.iter().map(|arn| Peer::master(&broker, arn)).collect();
    peers.push(Peer::viewer(&broker, &arns[0], "viewer"));
    // They are in use at once, and kept a moment later: a change waits for that, so its answer shows it.
    for arn in &arns {
        tag(&broker, arn);
    }
    let expected = channels(broker.plain);
    for (signal, shards) in [("KILL", 1), ("TERM", 3)] {
        peers.clear();
        broker.signal(signal);
        let _ = broker.ended_within(Duration::from_secs(30));
        drop(broker);
        broker = home.start_dev(shards);
        assert_eq!(channels(broker.plain), expected);
        peers = arns.iter().map(|arn| Peer::master(&broker, arn)).collect();
        let other = crate::peer::master_query(&arns[0].replace("/1700000000123", "/1700000000124"));
        crate::peer::upgrade(&broker, &other, "")
            .0
            .refused(404, "ResourceNotFoundException");
    }
    // Enough for every shard to make some.
    for number in 0..12 {
        let created = create(broker.plain, &format!("created-{number}"), 60);
        let digits = time_of(&created).to_string().len();
        assert_eq!(digits, 13, "{created} bears the clock's time");
    }
}

/// Tags a channel, which is answered when the change is durable.
fn tag(broker: &Broker, arn: &str) {
    let tags = json!([{"Key": "k", "Value": "v"}]);
    let wanted = json!({"ResourceARN": arn, "Tags": tags});
    call(broker.plain, "/TagResource", &wanted).ok();
}

/// Messages that wait for an absent peer live in memory, and the documents say so.
#[test]
fn kept_messages_end_with_the_process() {
    let home = Home::new();
    let broker = home.start_dev(1);
    let arn = arn("demo");
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    until_true("the message is kept", || {
        broker.scrape().sum("heliograph_pending_messages") > 0.5
    });
    tag(&broker, &arn);
    drop((viewer, broker));
    let broker = home.start_dev(1);
    assert!(broker.scrape().sum("heliograph_pending_messages") < 0.5);
    assert!(channels(broker.plain).contains_key("demo"));
}

/// The creation time in an ARN, in milliseconds.
pub(crate) fn time_of(arn: &str) -> u64 {
    let time = arn.rsplit('/').next().and_then(|time| time.parse().ok());
    time.unwrap_or_else(|| panic!("no time in {arn}"))
}
