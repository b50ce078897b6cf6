//! The log as operators read it: lines by their schema, whole at the end, and in nobody's way.

use crate::http::call;
use crate::peer::{HealthyPair, Peer, answer, offer, to_master, to_viewer};
use crate::process::{Broker, DEV, arn};
use serde_json::json;

#[test]
fn every_kind_of_line_is_as_the_schema_says() {
    let dev = ["--dev", "--listen", "http://127.0.0.1:0"];
    let json = ["--log-format", "json"];
    let mut broker = Broker::start(&[&dev[..], &json].concat(), 2);
    let arn = crate::http::create(broker.plain, "logged", 60);
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    master.send(&answer("v1", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    viewer.send_bytes(b"\x81\x00").expect("it is taken");
    viewer.expect_close(1002);
    drop(viewer);
    let everybody = "{\"role\":\"all\"}";
    let path = "/channels/logged/disconnect";
    let answer = crate::http::admin(broker.admin, "POST", path, everybody);
    assert_eq!(answer.status, 200, "{}", answer.text());
    master.expect_close(1001);
    drop(master);
    // More than are logged within a second, so that some are counted only.
    for _ in 0..120 {
        call(
            broker.plain,
            "/describeSignalingChannel",
            &json!({"ChannelName": "absent"}),
        )
        .refused(404, "ResourceNotFoundException");
    }
    call(
        broker.plain,
        "/deleteSignalingChannel",
        &json!({ "ChannelARN": arn }),
    )
    .ok();
    broker.signal("TERM");
    let ended = broker.ended_within(std::time::Duration::from_secs(25));
    assert!(ended.success(), "{ended}");
    let log = broker.log();
    #[rustfmt::skip] // a list
    let cases = [
        "\"connection ended\"", "\"refused\"", "\"CreateSignalingChannel\"", "\"Disconnect\"",
        "\"protocol_error:1002\"", "\"draining",
    ];
    for kind in cases {
        assert!(log.contains(kind), "{kind}:\n{log}");
    }
    crate::deploy::log_schema::assert_valid(&log);
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let mut broker = Broker::dev(2);
    let peer = Peer::master(&broker, &arn("logged"));
    broker.signal("TERM");
    peer.close();
    let ended = broker.ended_within(std::time::Duration::from_secs(25));
    assert!(ended.success(), "{ended}");
    testkit::assert_has(&broker.log(), &["connection ended"]);
    assert!(
        broker
            .log()
            .lines()
            .last()
            .is_some_and(|line| line.contains("ended"))
    );
}

/// Connections whose lines, some 200 bytes each, are more than a pipe holds: 64 KiB.
const LINES: usize = 600;

#[test]
fn a_stderr_that_nobody_reads_stops_nothing() {
    let (mut broker, _pipe) = Broker::into_pipe(&DEV, 2);
    let mut pair = HealthyPair::new(&broker);
    for number in 0..LINES {
        drop(Peer::viewer(
            &broker,
            &arn("unheard"),
            &format!("v{}", number % 8),
        ));
    }
    pair.relay();
    assert!(
        broker.scrape().sum("heliograph_log_dropped_total") < 1.0,
        "the queue holds them"
    );
    drop(pair);
    broker.signal("TERM");
    let ended = broker.ended_within(std::time::Duration::from_secs(25));
    assert!(ended.success(), "{ended}");
}
