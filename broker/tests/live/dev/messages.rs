//! `/dev/messages` and `/dev/connections`: what a test waits for.

use crate::http::{Connection, call, get};
use crate::peer::{Peer, answer, candidate, offer, to_master, to_viewer, viewer_query};
use crate::process::{Broker, arn};
use serde_json::{Value, json};
use std::fs;
use std::thread;

each_on_shards!(
    what_a_client_has_received_is_shown,
    requests_wait_for_messages_and_connections,
    offers_of_alexa_calls_are_shown,
);

#[test]
fn without_capture_a_request_says_why_there_are_no_messages() {
    let broker = Broker::configured("dev_capture = false\n", 1);
    let answer = get(broker.admin, "/dev/messages");
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("dev_capture"), "{answer:?}");
}

/// The description of an offer: one section of video, H264, recvonly.
pub(crate) const OFFER: &str = concat!(
    "eyJ0eXBlIjoib2ZmZXIiLCJzZHAiOiJ2PTBcclxubT12aWRlbyA5IFVEUC9UTFMvUlRQL1NBVlBGIDk2",
    "XHJcbmE9cnRwbWFwOjk2IEgyNjQvOTAwMDBcclxuYT1yZWN2b25seVxyXG4ifQ==",
);

fn offers_of_alexa_calls_are_shown(broker: &Broker) {
    let arn = arn("alexa");
    let ask = |sender: &str| {
        let mut waiting = Connection::open(broker.plain);
        let call = json!({ "ChannelARN": arn, "SenderClientId": sender, "MessagePayload": "eyJhIjoxfQ==" });
        let path = "/v1/send-alexa-offer-to-master";
        waiting.send(&crate::http::request(path, &call.to_string()));
        waiting
    };
    drop(Peer::viewer(broker, &arn, "v1")); // which creates the channel
    let mut waiting = vec![ask("alexa1")];
    messages(broker, "channel=alexa&min=1&wait=20s");
    let mut master = Peer::master(broker, &arn);
    master.expect(&to_master("SDP_OFFER", "eyJhIjoxfQ==", "alexa1"));
    waiting.push(ask("alexa2"));
    master.expect(&to_master("SDP_OFFER", "eyJhIjoxfQ==", "alexa2"));
    for (sender, waiting) in ["alexa1", "alexa2"].iter().zip(&mut waiting) {
        master.send(&answer(sender, "eyJiIjoxfQ=="));
        waiting.answer().expect("an answer").ok();
    }
    // A call that is refused is not shown: it was no message.
    let none = json!({ "ChannelARN": arn, "SenderClientId": "alexa3", "MessagePayload": "" });
    let path = "/v1/send-alexa-offer-to-master";
    call(broker.plain, path, &none).refused(400, "InvalidArgumentException");
    let page = messages(broker, "channel=alexa&min=4&wait=20s");
    let seen: Vec<[&Value; 4]> = rows(&page)
        .iter()
        .map(|row| ["from", "to", "outcome", "payload"].map(|key| &row[key]))
        .collect();
    assert_eq!(
        json!(seen),
        json!([
            ["alexa1", "MASTER", "kept", { "a": 1 }],
            ["alexa2", "MASTER", "delivered", { "a": 1 }],
            ["MASTER", "alexa1", "call", { "b": 1 }],
            ["MASTER", "alexa2", "call", { "b": 1 }],
        ])
    );
}

fn what_a_client_has_received_is_shown(broker: &Broker) {
    let (shown, other) = (arn("shown"), arn("other"));
    let mut viewer = Peer::secure(broker, &viewer_query(&shown, "v1"));
    viewer.send(&offer(OFFER));
    viewer.expect_silence();
    let mut master = Peer::master(broker, &shown);
    master.expect(&to_master("SDP_OFFER", OFFER, "v1"));
    master.send(&answer("v1", "eyJhIjoxfQ=="));
    viewer.expect(&to_viewer("SDP_ANSWER", "eyJhIjoxfQ=="));
    let mut stranger = Peer::viewer(broker, &other, "v2");
    stranger.send(&candidate("AAAA"));
    stranger.expect_silence();

    let page = messages(broker, "channel=shown");
    let seen: Vec<[&Value; 4]> = rows(&page)
        .iter()
        .map(|row| ["from", "to", "action", "outcome"].map(|key| &row[key]))
        .collect();
    assert_eq!(
        json!(seen),
        json!([
            ["v1", "MASTER", "SDP_OFFER", "kept"],
            ["v1", null, null, "refused"],
            ["MASTER", "v1", "SDP_ANSWER", "delivered"],
        ])
    );
    let first = &rows(&page)[0];
    assert_eq!(first["sdp"]["media"], json!(["video H264 recvonly"]));
    assert_eq!(first["payload"]["type"], "offer");
    assert_eq!(first["bytes"], OFFER.len());
    assert_eq!(rows(&page)[2]["payload"], json!({ "a": 1 }));
    assert_eq!(page["missed"], 0);
    let found = messages(broker, "channel=*o*&action=ICE_CANDIDATE&from=v?");
    assert_eq!(rows(&found).len(), 1);
    assert_eq!(
        rows(&messages(broker, &format!("after={}", page["next"]))).len(),
        0
    );
    for peer in [viewer, master, stranger] {
        peer.close();
    }
}

fn requests_wait_for_messages_and_connections(broker: &Broker) {
    let arn = arn("awaited");
    let admin = broker.admin;
    let ask = |path: &'static str| thread::spawn(move || get(admin, path).json());
    let waiting = [
        ask("/dev/connections?channel=awaited&min=2&wait=20s"),
        ask("/dev/connections?channel=await*&role=viewer&clientId=v?&wait=20s"),
        ask("/dev/messages?channel=awaited&action=SDP_OFFER&wait=20s"),
    ];
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer(OFFER));
    master.expect(&to_master("SDP_OFFER", OFFER, "v1"));
    let [both, one, sent] = waiting.map(|asked| asked.join().expect("an answer"));
    let connections = |page: &Value| page["connections"].as_array().map_or(0, Vec::len);
    assert_eq!(connections(&both), 2, "{both} {one}");
    assert_eq!(connections(&one), 1, "{both} {one}");
    let viewer_shown = &one["connections"][0];
    assert_eq!(viewer_shown["role"], "viewer");
    assert_eq!(viewer_shown["clientId"], "v1");
    assert_eq!(viewer_shown["tls"], false);
    assert_eq!(rows(&sent).len(), 1, "{sent}");
    assert_eq!(
        connections(&get(admin, "/dev/connections?channel=nobody").json()),
        0
    );
    assert_eq!(get(admin, "/dev/connections?role=both").status, 400);
    assert_eq!(get(admin, "/dev/messages?wait=26s").status, 400);
    let unknown = get(admin, "/dev/messages?action=NOPE&wait=25s");
    let allowed = "action: expected SDP_OFFER, SDP_ANSWER, ICE_CANDIDATE";
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.json()["error"].as_str(), Some(allowed));
    master.close();
    viewer.close();
}

/// Some KiB of JSON that are some MiB once they are parsed.
#[test]
fn a_page_of_large_documents_takes_no_more_memory_than_its_text() {
    let broker = Broker::dev(1);
    let bomb = format!("[{}0]", r#"{"":0},"#.repeat(3000));
    let payload = base64_simd::STANDARD.encode_to_string(bomb.as_bytes());
    let mut viewer = Peer::viewer(&broker, &arn("heavy"), "v1");
    for _ in 0..64 {
        viewer.send(&candidate(&payload));
    }
    viewer.expect_silence();
    let most = || {
        let status = fs::read_to_string(format!("/proc/{}/status", broker.id()));
        let status = status.expect("the broker is there");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("the peak of resident memory")
    };
    let before = most();
    let page = messages(&broker, "channel=heavy&action=ICE_CANDIDATE");
    assert_eq!(rows(&page).len(), 64);
    assert_eq!(rows(&page)[63]["payload"][2999], json!({ "": 0 }));
    let more = most() - before;
    // 64 documents at once are 200 MiB.
    assert!(more < 48 << 10, "{more} KiB more");
    viewer.close();
}

fn messages(broker: &Broker, query: &str) -> Value {
    let answer = get(broker.admin, &format!("/dev/messages?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn rows(page: &Value) -> &[Value] {
    page["messages"].as_array().expect("a list")
}
