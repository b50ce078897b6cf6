//! Messages for somebody who is not connected (codec/PROTOCOL.md, KEEP).

use crate::http::create;
use crate::peer::{Peer, answer, candidate, candidate_to, offer, status, to_master, to_viewer};
use crate::process::{Broker, arn};
use std::thread;
use std::time::Duration;

on_shards!(
    an_offer_waits_for_the_master,
    an_answer_waits_for_a_viewer_that_never_was,
    newer_descriptions_overwrite_older_ones,
    candidates_are_bounded,
    a_full_store_is_said,
);

fn an_offer_waits_for_the_master(broker: &Broker) {
    let arn = arn("demo");
    let mut viewers: Vec<Peer> = (0..3)
        .map(|n| Peer::viewer(broker, &arn, &format!("v{n}")))
        .collect();
    for (n, viewer) in viewers.iter_mut().enumerate() {
        viewer.send(&offer(&format!("offer{n}==")));
        viewer.send(&candidate(&format!("first{n}==")));
        viewer.send(&candidate(&format!("second{n}=")));
        viewer.expect_silence();
    }
    // A viewer that leaves does not withdraw its offer, which comes last.
    viewers.remove(1).close();
    let mut master = Peer::master(broker, &arn);
    for n in [0, 2, 1] {
        master.expect(&to_master(
            "SDP_OFFER",
            &format!("offer{n}=="),
            &format!("v{n}"),
        ));
        master.expect(&to_master(
            "ICE_CANDIDATE",
            &format!("first{n}=="),
            &format!("v{n}"),
        ));
        master.expect(&to_master(
            "ICE_CANDIDATE",
            &format!("second{n}="),
            &format!("v{n}"),
        ));
    }
    master.expect_silence();
    master.send(&answer("v0", "YW5zd2Vy"));
    viewers[0].expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
}

fn an_answer_waits_for_a_viewer_that_never_was(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    master.send(&answer("late", "YW5zd2Vy"));
    master.send(&candidate_to("late", "Y2Fu"));
    master.expect_silence();
    let mut bystander = Peer::viewer(broker, &arn, "bystander");
    bystander.expect_silence();
    let mut viewer = Peer::viewer(broker, &arn, "late");
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    viewer.expect(&to_viewer("ICE_CANDIDATE", "Y2Fu"));
    viewer.close();
    Peer::viewer(broker, &arn, "late").expect_silence();
}

fn newer_descriptions_overwrite_older_ones(broker: &Broker) {
    let arn = arn("demo");
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("b2xk"));
    viewer.send(&candidate("b2xkLWNhbg=="));
    viewer.send(&offer("bmV3"));
    viewer.send(&candidate("bmV3LWNhbg=="));
    viewer.expect_silence();
    let mut master = Peer::master(broker, &arn);
    master.expect(&to_master("SDP_OFFER", "bmV3", "v1"));
    master.expect(&to_master("ICE_CANDIDATE", "bmV3LWNhbg==", "v1"));
    master.expect_silence();
    master.send(&answer("v2", "b2xk"));
    master.send(&answer("v2", "bmV3"));
    master.expect_silence();
    let mut late = Peer::viewer(broker, &arn, "v2");
    late.expect(&to_viewer("SDP_ANSWER", "bmV3"));
    late.expect_silence();
}

fn candidates_are_bounded(broker: &Broker) {
    let arn = arn("demo");
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    for n in 0..40 {
        viewer.send(&candidate(&format!("candidate{n:02}=")));
    }
    viewer.expect_silence();
    let mut master = Peer::master(broker, &arn);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    for n in 8..40 {
        master.expect(&to_master(
            "ICE_CANDIDATE",
            &format!("candidate{n:02}="),
            "v1",
        ));
    }
    master.expect_silence();
}

/// 512 KiB a channel hold sixteen answers of 32 KiB, or fifteen if their envelopes count.
fn a_full_store_is_said(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let payload = "A".repeat(32_768);
    for n in 0..20 {
        master.send(&format!(
            r#"{{"action":"SDP_ANSWER","messagePayload":"{payload}","recipientClientId":"v{n}","correlationId":"c{n}"}}"#
        ));
    }
    master.send(r#"{"action":"NONE","messagePayload":"AAAA","correlationId":"end"}"#);
    let end = status(
        "end",
        "InvalidArgumentException",
        "400",
        "Unsupported action.",
    );
    let mut refused = Vec::new();
    loop {
        let text = master
            .receive()
            .into_text()
            .expect("a text")
            .as_str()
            .to_owned();
        if text == end {
            break;
        }
        refused.push(text);
    }
    assert!(
        (4..=5).contains(&refused.len()),
        "{} of 20 refused",
        refused.len()
    );
    for (text, n) in refused.iter().rev().zip((0..20).rev()) {
        let full = status(
            &format!("c{n}"),
            "ClientLimitExceededException",
            "400",
            "Too many undelivered messages.",
        );
        assert_eq!(*text, full);
    }
    Peer::viewer(broker, &arn, "v3").expect(&to_viewer("SDP_ANSWER", &payload));
}

/// The shortest time to live is five seconds: what was not fetched by then is gone, what is younger is not.
#[test]
fn messages_expire() {
    let broker = Broker::dev(2);
    let arn = create(broker.plain, "short", 5);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    viewer.send(&offer("b2xk"));
    viewer.send(&candidate("b2xkLWNhbg=="));
    viewer.expect_silence();
    thread::sleep(Duration::from_millis(3_000));
    viewer.send(&candidate("eW91bmc="));
    viewer.expect_silence();
    thread::sleep(Duration::from_millis(3_000));
    let mut master = Peer::master(&broker, &arn);
    master.expect(&to_master("ICE_CANDIDATE", "eW91bmc=", "v1"));
    master.expect_silence();
}
