//! PRESENCE: viewers that ask for it learn whether the master is there, and nobody else learns anything.

use crate::http::{admin, call, create};
use crate::peer::{Peer, answer, master_query, offer, to_master, to_viewer, viewer_query};
use crate::process::{Broker, fresh_directory, run_to_end};
use crate::signed::service::{Service, credentials};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use std::fs;

const ON: &str = "[signaling]\npresence_messages = true\n";
const ASKS: &str = "heliograph-presence";

/// A channel whose owner wants its viewers told.
fn tagged(broker: &Broker, name: &str) -> String {
    let arn = create(broker.plain, name, 60);
    call(broker.plain, "/TagResource", &tag(&arn, "viewers")).ok();
    arn
}

fn tag(arn: &str, value: &str) -> Value {
    json!({ "ResourceARN": arn, "Tags": [{ "Key": "heliograph:presence", "Value": value }] })
}

fn viewer(broker: &Broker, arn: &str, id: &str) -> Peer {
    Peer::plain(broker, &format!("{}&{ASKS}=1", viewer_query(arn, id)))
}

/// The state that a viewer gets next.
fn told(viewer: &mut Peer) -> Value {
    let message = viewer.receive().into_text().expect("a text");
    let message: Value = serde_json::from_str(&message).expect("JSON");
    assert_eq!(message["messageType"], "PRESENCE", "{message}");
    assert_eq!(message.as_object().map(serde_json::Map::len), Some(2));
    let payload = message["messagePayload"].as_str().expect("a text");
    let state = base64_simd::STANDARD.decode_to_vec(payload);
    let state: Value = serde_json::from_slice(&state.expect("base64")).expect("JSON");
    assert_eq!(state.as_object().map(serde_json::Map::len), Some(4));
    assert!(state["epoch"].as_u64().is_some_and(|epoch| epoch > 0));
    state
}

fn advance(broker: &Broker, by: &str) {
    let body = format!(r#"{{"advance":"{by}"}}"#);
    assert_eq!(admin(broker.admin, "POST", "/dev/clock", &body).status, 200);
}

#[test]
fn viewers_are_told_when_the_camera_comes_and_goes() {
    let broker = Broker::configured(ON, 2);
    let arn = tagged(&broker, "cam-1");
    let mut early = viewer(&broker, &arn, "v1");
    let first = told(&mut early);
    assert_eq!(
        (&first["master"], &first["since"]),
        (&json!(false), &Value::Null)
    );
    early.send(&offer("b2ZmZXI="));
    let mut master = Peer::master(&broker, &arn);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    let there = told(&mut early);
    assert_eq!(there["master"], true);
    assert!(
        there["since"]
            .as_str()
            .is_some_and(|text| text.ends_with('Z'))
    );
    let mut late = viewer(&broker, &arn, "v2");
    assert_eq!(told(&mut late), there, "a newcomer gets the present state");
    master.send(&answer("v2", "YW5zd2Vy"));
    late.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    master.expect_silence();
    master.close();
    early.expect_silence();
    advance(&broker, "5s");
    for viewer in [&mut early, &mut late] {
        let gone = told(viewer);
        assert_eq!(gone["master"], false);
        assert!(gone["since"].is_string(), "{gone}");
        let number = |state: &Value| (state["epoch"].as_u64(), state["sequence"].as_u64());
        assert!(number(&gone) > number(&there) && number(&there) > number(&first));
        viewer.expect_silence();
    }
}

/// A camera that comes again at once, and one that flaps.
#[test]
fn a_camera_that_reconnects_was_never_gone() {
    let broker = Broker::configured(ON, 1);
    let arn = tagged(&broker, "cam-1");
    let mut viewer = viewer(&broker, &arn, "v1");
    assert_eq!(told(&mut viewer)["master"], false);
    for round in 0..4 {
        let master = Peer::master(&broker, &arn);
        if round == 0 {
            assert_eq!(told(&mut viewer)["master"], true);
        }
        master.close();
    }
    let _last = Peer::master(&broker, &arn);
    advance(&broker, "20s");
    viewer.expect_silence();
}

/// Neither a viewer that does not ask, nor one of a channel without the tag, nor a master gets any.
#[test]
fn nobody_else_is_told_anything() {
    let broker = Broker::configured(ON, 2);
    let (arn, other) = (tagged(&broker, "cam-1"), create(broker.plain, "door-1", 60));
    call(broker.plain, "/TagResource", &tag(&other, "masters")).ok();
    let mut asks = viewer(&broker, &arn, "v1");
    assert_eq!(told(&mut asks)["master"], false);
    let zero = format!("{}&{ASKS}=0", viewer_query(&arn, "v3"));
    let mut others = [
        Peer::viewer(&broker, &arn, "v2"),
        Peer::plain(&broker, &zero),
        viewer(&broker, &other, "v1"),
    ];
    let asks_too = |arn| Peer::plain(&broker, &format!("{}&{ASKS}=1", master_query(arn)));
    let mut masters = [asks_too(&arn), asks_too(&other)];
    assert_eq!(told(&mut asks)["master"], true);
    others
        .iter_mut()
        .chain(&mut masters)
        .for_each(Peer::expect_silence);
}

/// The tag may come and go while viewers are there.
#[test]
fn the_owner_decides_by_a_tag_at_any_time() {
    let broker = Broker::configured(ON, 2);
    let arn = create(broker.plain, "cam-1", 60);
    let mut viewer = viewer(&broker, &arn, "v1");
    viewer.expect_silence();
    call(broker.plain, "/TagResource", &tag(&arn, "viewers")).ok();
    assert_eq!(told(&mut viewer)["master"], false);
    let body = json!({ "ResourceARN": arn, "TagKeyList": ["heliograph:presence"] });
    call(broker.plain, "/UntagResource", &body).ok();
    let _master = Peer::master(&broker, &arn);
    advance(&broker, "20s");
    viewer.expect_silence();
}

/// It is on under `--dev` alone unless configured, and a fault under the strict profile.
#[test]
fn it_is_off_unless_configured_and_never_strict() {
    let broker = Broker::configured("[signaling]\npresence_messages = false\n", 1);
    let arn = tagged(&broker, "cam-1");
    let mut viewer = viewer(&broker, &arn, "v1");
    let _master = Peer::master(&broker, &arn);
    viewer.expect_silence();
    let directory = fresh_directory();
    let file = directory.join("broker.toml");
    let path = file.to_str().expect("UTF-8");
    fs::write(&file, "profile = \"strict\"\n").expect("a file under target/");
    let (code, text) = run_to_end(&["check-config", "--dev", path]);
    assert_eq!(code, Some(0), "{text}");
    fs::write(&file, format!("profile = \"strict\"\n{ON}")).expect("a file under target/");
    let (code, text) = run_to_end(&["check-config", "--dev", path]);
    let fault = ":3:21: signaling.presence_messages = true: allowed false under the strict profile";
    assert!(code == Some(2) && text.contains(fault), "{text}");
    let _ = fs::remove_dir_all(&directory);
}

/// A presigned URL is for what it says: who may only watch cannot make it say more.
#[test]
fn the_parameter_must_be_signed() {
    let directory = fresh_directory();
    let file = directory.join("broker.toml");
    fs::write(&file, ON).expect("a file under target/");
    let path = file.to_str().expect("UTF-8");
    let service = Service::with(&credentials(), &["--config", path], 2);
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "cam-1");
    service
        .call(&signer, "/TagResource", &tag(&arn, "viewers"))
        .ok();
    let call = |id| Call::viewer(&service.broker, &arn, id);
    let mut asks = service.connect(&signer.presign(call("v1").pair(ASKS, "1"), 60));
    assert_eq!(told(&mut asks)["master"], false);
    let silent = signer.presign(call("v2"), 60);
    let (refused, _) = service.open(&silent.clone().pair(ASKS, "1"));
    assert_eq!(refused.status, 403, "{}", refused.text());
    let mut silent = service.connect(&silent);
    let master = service.connect(&signer.presign(Call::master(&service.broker, &arn), 60));
    assert_eq!(told(&mut asks)["master"], true);
    silent.expect_silence();
    for peer in [asks, silent, master] {
        peer.close();
    }
    service.end();
    let _ = fs::remove_dir_all(&directory);
}
