//! A master that sleeps is called when somebody waits for it.

use super::receiver::{Receiver, ok};
use super::{BOTH, broker, broker_of, configuration};
use crate::clients::python_with_clients;
use crate::http::{Connection, create, request};
use crate::peer::{Peer, answer, candidate, offer, to_master, to_viewer};
use crate::process::{arn, directory};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};
use testkit::until;

/// The whole story: an offer is kept, the receiver is called, the camera comes, and the session begins.
#[test]
fn a_kept_offer_calls_the_master_that_gets_it() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, BOTH, 4);
    let arn = arn("cam-1");
    let mut viewer = Peer::viewer(&broker, &arn, "someone");
    let sent = Instant::now();
    viewer.send(&offer("b2ZmZXI="));
    viewer.send(&candidate("Y2Fu"));
    let wake = receiver.next("channel.wake");
    let took = wake.at - sent;
    assert!(took < Duration::from_secs(5), "the call took {took:?}");
    assert_eq!(wake.path, "/hook/cam-1");
    let data = wake.data();
    assert_eq!(data["attempt"], 1);
    assert_eq!(data["channel"]["arn"], json!(arn));
    assert_eq!(data["master"], Value::Null);
    assert_eq!(data["viewers"].as_u64(), Some(1));
    assert!(data["offerExpiresAt"].is_string(), "{data}");
    let text = data.to_string();
    assert!(
        !text.contains("someone") && !text.contains("127.0.0.1"),
        "{text}"
    );
    // The camera wakes up.
    let mut master = Peer::master(&broker, &arn);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "someone"));
    master.expect(&to_master("ICE_CANDIDATE", "Y2Fu", "someone"));
    master.send(&answer("someone", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    let is_over = |data: &Value| data["master"].is_object() && data["waiting"] == json!([]);
    let over = receiver.until("channel.presence", is_over);
    assert_eq!(over.data()["cause"], "master.joined");
    until("the metric", || {
        let scrape = broker.scrape();
        let connected = scrape.sum("heliograph_wakes_total{result=\"connected\"}");
        (connected == 1.0).then_some(())
    });
    assert_eq!(broker.scrape().sum("heliograph_wake_seconds_count"), 1.0);
    viewer.close();
    master.close();
    broker.assert_balanced();
}

/// A call of Alexa that waits for an absent master calls it as an offer of a viewer does.
#[test]
fn a_call_of_alexa_calls_the_master() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, BOTH, 2);
    let arn = create(broker.plain, "cam-1", 60);
    let body =
        json!({ "ChannelARN": arn, "SenderClientId": "alexa.1", "MessagePayload": "b2ZmZXI=" });
    let mut waiting = Connection::open(broker.plain);
    let path = "/v1/send-alexa-offer-to-master";
    waiting.send(&request(path, &body.to_string()));
    let wake = receiver.next("channel.wake");
    assert_eq!(wake.data()["waiting"][0]["action"], "SDP_OFFER");
    let mut master = Peer::master(&broker, &arn);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "alexa.1"));
    master.send(&answer("alexa.1", "YW5zd2Vy"));
    let answered = waiting.answer().expect("an answer").ok();
    assert_eq!(answered, json!({ "Answer": "YW5zd2Vy" }));
}

/// A player that waits calls it, too, by the client id that its token names.
#[test]
fn a_player_calls_the_master() {
    let receiver = Receiver::start(ok);
    let broker = broker(&receiver, &format!("{BOTH}\ninclude = [\"client_id\"]"), 2);
    create(broker.plain, "cam-1", 60);
    let mut player = Connection::open(broker.plain);
    player.send(
        b"POST /whep/cam-1?X-Amz-ClientId=wall-1 HTTP/1.1\r\nHost: localhost\r\n\
          Content-Type: application/sdp\r\nContent-Length: 7\r\n\r\nm=video",
    );
    let wake = receiver.next("channel.wake");
    let data = wake.data();
    let waiting = &data["waiting"][0];
    assert_eq!(waiting["action"], "SDP_OFFER", "{data}");
    assert_eq!(waiting["clientId"], "wall-1", "{data}");
    let answered = player.answer().expect("an answer");
    assert_eq!(answered.status, 409, "{}", answered.text());
    assert_eq!(answered.header("retry-after"), Some("5"));
}

/// `[presence] wake_ttl` keeps messages of channels that a hook wakes for longer than their TTL.
#[test]
fn offers_are_kept_until_a_camera_is_up() {
    let receiver = Receiver::start(ok);
    let directory = crate::process::directory();
    let url = receiver.url("/");
    let file = super::configuration(&directory, &[("home", &url, BOTH)]);
    let text = std::fs::read_to_string(&file).expect("our file");
    let text = text.replace("[presence]\n", "[presence]\nwake_ttl = \"60s\"\n");
    std::fs::write(&file, text).expect("our file");
    let path = file.to_str().expect("UTF-8");
    let broker =
        crate::process::Broker::start(&[&crate::process::DEV[..], &["--config", path]].concat(), 1);
    let watched = create(broker.plain, "cam-1", 5);
    let other = create(broker.plain, "door-1", 5);
    for arn in [&watched, &other] {
        Peer::viewer(&broker, arn, "v1").send(&offer("b2ZmZXI="));
    }
    until("the other's end", || {
        let expired = broker
            .scrape()
            .sum("heliograph_messages_total{action=\"SDP_OFFER\",outcome=\"expired\"}");
        (expired == 1.0).then_some(())
    });
    thread::sleep(Duration::from_millis(100));
    let mut master = Peer::master(&broker, &watched);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
}

/// The library of Standard Webhooks verifies what is sent, and refuses what was changed.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn the_library_of_the_specification_verifies_events() {
    let directory = directory();
    let secret = configuration(&directory, &[]).with_file_name("hook.secret");
    let mut command = python_with_clients();
    command
        .arg("receiver.py")
        .arg(&secret)
        .stdout(Stdio::piped());
    let mut python = command.spawn().expect("Python");
    let output = python.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let port = lines.next().expect("the port");
    let url = format!("http://127.0.0.1:{port}/");
    let broker = broker_of(&[("python", &url, BOTH)], 1);
    let mut viewer = Peer::viewer(&broker, &arn("cam-1"), "v1");
    viewer.send(&offer("b2ZmZXI="));
    let mut told = Vec::new();
    while !told.contains(&"verified channel.wake cam-1".to_owned()) {
        told.push(lines.next().expect("an event"));
        assert!(
            told.iter().all(|line| line.starts_with("verified")),
            "{told:?}"
        );
    }
    python.kill().expect("our child");
    let _ = python.wait();
}

/// A tag that is set later makes a hook watch; with `include` it learns who waits.
#[test]
fn a_tag_opts_a_channel_in() {
    let receiver = Receiver::start(ok);
    let events = "events = [\"wake\", \"presence\"]";
    let lines = format!("{events}\ntag = \"heliograph:hook=wake\"\ninclude = [\"client_id\"]");
    let broker = broker(&receiver, &lines, 2);
    let arn = create(broker.plain, "yard", 60);
    let mut viewer = Peer::viewer(&broker, &arn, "someone");
    viewer.send(&offer("b2ZmZXI="));
    let tags = json!([{ "Key": "heliograph:hook", "Value": "wake" }]);
    let body = json!({ "ResourceARN": arn, "Tags": tags });
    crate::http::call(broker.plain, "/TagResource", &body).ok();
    let wake = receiver.next("channel.wake");
    assert_eq!(wake.data()["clientId"], "someone");
    assert_eq!(wake.data()["cause"], "channel.watched");
    assert_eq!(wake.data()["waiting"][0]["clientId"], "someone");
    // Without the tag it is left alone.
    let body = json!({ "ResourceARN": arn, "TagKeyList": ["heliograph:hook"] });
    crate::http::call(broker.plain, "/UntagResource", &body).ok();
    let last = receiver.until("channel.presence", |data| data["viewers"] == 0);
    assert_eq!(last.data()["cause"], "channel.unwatched");
    until("the end", || {
        let expired = broker
            .scrape()
            .sum("heliograph_wakes_total{result=\"expired\"}");
        (expired == 1.0).then_some(())
    });
}
