//! From the data directory of a single node into etcd, and back into one that a single node is started from.

use crate::server::{self, Etcd};
use crate::support::{PROGRAM, Place};
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
    if !server::is_installed() {
        return;
    }
    let etcd = Etcd::start();
    let place = Place::of(&etcd);
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
