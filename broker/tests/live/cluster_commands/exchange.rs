//! From the data directory of a single node into etcd, and back into one that a single node is started from.

use crate::cluster_commands::support::{PROGRAM, fresh};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use testkit::Running;

/// A single node.
struct Single(Running);

impl Single {
    fn start(data_dir: &Path) -> Self {
        let mut command = PROGRAM.command();
        command
            .args(["serve", "--auth", "none", "--shards", "1"])
            .args(["--listen", "http://127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(data_dir);
        let log = data_dir.with_extension("log");
        Self(Running::start(&mut command, &log))
    }

    fn call(&self, path: &str, body: &str) -> String {
        let address = self.0.word("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn channels_go_into_etcd_and_back() {
    let Some((etcd, place)) = fresh() else { return };
    let data = place.path("data");
    let node = Single::start(&data);
    for number in 0..5 {
        let answer = node.call(
            "/createSignalingChannel",
            &format!(r#"{{"ChannelName":"cam{number}"}}"#),
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let said = place.run(&["import", "data"]);
    assert_eq!(said.code, Some(1), "a broker uses it: {said:?}");
    drop(node);

    let live = "/heliograph/prod/live/n1";
    etcd.ctl(&["put", live, "{}"]);
    let said = place.run(&["import", "data"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("a node is registered"), "{said:?}");
    etcd.ctl(&["del", live]);

    assert_eq!(place.well(&["import", "data"]), "5 channels are in etcd\n");
    let said = place.run(&["import", "data"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("--replace"), "{said:?}");
    let again = place.well(&["import", "data", "--replace"]);
    assert_eq!(again, "5 channels are in etcd\n");
    assert!(place.well(&["status"]).starts_with("cluster prod: id "));

    assert_eq!(place.well(&["export", "copy"]), "copy: 5 channels\n");
    let said = place.run(&["export", "copy"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("absent or empty"), "{said:?}");
    let said = place.run(&["import", "absent"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let node = Single::start(&place.path("copy"));
    let answer = node.call("/describeSignalingChannel", r#"{"ChannelName":"cam4"}"#);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn channels_of_documents_go_into_etcd_beside_those_there() {
    let Some((etcd, place)) = fresh() else { return };
    let channel = |number: usize, ttl: u32| {
        let name = format!("cam{number}");
        json!({
            "ChannelName": name,
            "ChannelARN": format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/1604032767453"),
            "ChannelType": "SINGLE_MASTER",
            "ChannelStatus": "ACTIVE",
            "CreationTime": 1_604_032_767.453,
            "SingleMasterConfiguration": { "MessageTtlSeconds": ttl },
        })
    };
    let write = |file: &str, list: Vec<Value>| {
        let text = json!({ "ChannelInfoList": list }).to_string();
        fs::write(place.path(file), text).unwrap();
    };
    write(
        "some.json",
        (0..3).map(|number| channel(number, 60)).collect(),
    );
    write(
        "all.json",
        (0..250).map(|number| channel(number, 60)).collect(),
    );
    write("other.json", vec![channel(300, 60), channel(2, 30)]);

    let live = "/heliograph/prod/live/n1";
    etcd.ctl(&["put", live, "{}"]);
    let said = place.run(&["import", "some.json"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let counted = "0 of 3 channels were created: run the command again for the others";
    testkit::assert_has(&said.stderr, &["a node is registered", counted]);
    etcd.ctl(&["del", live]);

    assert_eq!(
        place.well(&["import", "some.json"]),
        "etcd: 3 channels made, 0 there already\n"
    );
    // As after an import that was interrupted: some are there, and the same command completes it.
    assert_eq!(
        place.well(&["import", "all.json"]),
        "etcd: 247 channels made, 3 there already\n"
    );
    let again = place.well(&["import", "some.json", "all.json"]);
    assert_eq!(again, "etcd: 0 channels made, 250 there already\n");
    let said = place.run(&["import", "other.json"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let fault = "other.json: channel cam2 (document 1): it exists with other values (MessageTtlSeconds 30 and 60)";
    assert!(said.stderr.starts_with(fault), "{said:?}");
    assert_eq!(
        place.run(&["import", "some.json", "--replace"]).code,
        Some(2)
    );

    assert_eq!(place.well(&["export", "copy"]), "copy: 250 channels\n");
    let node = Single::start(&place.path("copy"));
    let answer = node.call("/describeSignalingChannel", r#"{"ChannelName":"cam249"}"#);
    assert!(answer.contains("channel/cam249/1604032767453"), "{answer}");
}
