//! A device that waits with `GET /wake` until somebody waits for it. Its time, and the wait's end in a drain, are in
//! `core/tests/shard_transcripts/wake.rs`, where time passes at once.

use crate::cluster::nodes::Nodes;
use crate::http::{Answer, Connection, request};
use crate::peer::{Peer, offer, to_master};
use crate::process::{Broker, arn};
use crate::signed::reload::write;
use crate::signed::service::{Service, principal};
use crate::signed::signer::{Call, Signer};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use testkit::{until, until_true};

/// The configuration that has the path.
pub(crate) const POLLS: &str = "[presence]\nwake_poll = true\n";

/// A device that asks on a connection of its own.
struct Device(Connection);

impl Device {
    fn open(to: SocketAddr) -> Self {
        Self(Connection::open(to))
    }

    /// One that waits already.
    fn waiting(broker: &Broker, arn: &str) -> Self {
        let before = waiting(broker);
        let mut device = Self::open(broker.plain);
        device.ask(arn);
        until_true("the device waits", || waiting(broker) > before);
        device
    }

    fn ask(&mut self, arn: &str) {
        self.0.send(&question(arn));
    }

    fn answer(&mut self) -> Answer {
        self.0.answer().expect("an answer")
    }

    /// Asserts that the answer is that somebody waits on this channel.
    fn is_called(&mut self, arn: &str) {
        let found = self.answer().ok();
        let name = arn.split('/').nth(1).expect("as written");
        assert_eq!(found["channel"], name, "{found}");
        let until = found["until"].as_str().expect("a time");
        assert!(until.ends_with('Z') && until.len() == 24, "{until}");
    }

    /// Asserts that the answer is that there is nothing.
    fn is_left_alone(&mut self) {
        let answer = self.answer();
        answer.assert_common();
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(answer.header("content-length").is_none(), "{answer:?}");
    }
}

/// The bytes of a device's question.
pub(crate) fn question(arn: &str) -> Vec<u8> {
    format!("GET /wake?X-Amz-ChannelARN={arn} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

fn waiting(broker: &Broker) -> f64 {
    broker.scrape().sum("heliograph_waiting_devices")
}

/// The whole story: the camera waits, an offer is kept, it has its answer, it connects and gets the offer.
#[test]
fn a_device_that_waits_gets_its_answer_and_the_offer() {
    let broker = Broker::configured(POLLS, 4);
    let arn = arn("cam-1");
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    let mut device = Device::waiting(&broker, &arn);
    viewer.send(&offer("b2ZmZXI="));
    device.is_called(&arn);
    // On the same connection, which a shard other than the first may have: at once while it is kept.
    device.ask(&arn);
    device.is_called(&arn);
    let mut master = Peer::master(&broker, &arn);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    device.ask(&arn);
    device.is_left_alone();
    master.close();
    // A call of Alexa is somebody who waits, too; and a master that comes ends the wait.
    device = Device::waiting(&broker, &arn);
    let body = json!({ "ChannelARN": arn, "SenderClientId": "a.1", "MessagePayload": "b2Zm" });
    let mut alexa = Connection::open(broker.plain);
    alexa.send(&request(
        "/v1/send-alexa-offer-to-master",
        &body.to_string(),
    ));
    device.is_called(&arn);
    drop(alexa);
    until("the call is withdrawn", || {
        let calls = broker.scrape().sum("heliograph_waiting_calls");
        (calls == 0.0).then_some(())
    });
    device = Device::waiting(&broker, &arn);
    let master = Peer::master(&broker, &arn);
    device.is_left_alone();
    master.close();
    viewer.close();
    drop(device);
    broker.assert_balanced();
}

/// The kernel looks each minute whether the device is there.
#[test]
fn its_connection_is_kept_alive() {
    let broker = Broker::configured(POLLS, 2);
    let arn = arn("cam-1");
    let _viewer = Peer::viewer(&broker, &arn, "v1");
    let device = Device::waiting(&broker, &arn);
    let (stream, _) = device.0.into_parts();
    let port = stream.local_addr().expect("an address").port();
    // /proc/net/tcp has the timer of each socket: 02 is a keepalive.
    let ends = [broker.plain.port(), port].map(|port| format!(":{port:04X}"));
    let left = until("a timer of the broker's end", || {
        let sockets = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        let lines = sockets.lines().skip(1);
        let mut fields = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let is_ours = |fields: &Vec<&str>| (0..2).all(|end| fields[end + 1].ends_with(&ends[end]));
        let ours = fields.find(is_ours).expect("the broker's end");
        let jiffies = ours[5].strip_prefix("02:")?;
        u64::from_str_radix(jiffies, 16).ok()
    });
    assert!(left <= 6_000, "a minute at most: {left}");
}

/// A device signs in headers, and needs the right of a master; without its key it waits no longer.
#[test]
fn a_device_signs_and_its_wait_ends_with_its_key() {
    let all = |name| principal(name, r#"["all"]"#, "");
    let staying = all("staying") + &principal("viewer", r#"["viewer"]"#, "") + POLICIES;
    let service = Service::configured(POLLS, &(all("device") + &staying), 2);
    let (device, staying_one) = (Signer::new("device"), Signer::new("staying"));
    let arn = service.create(&device, "cam-1");
    let call = Call::new(&service.broker, "GET", "/wake").pair("X-Amz-ChannelARN", &arn);
    let presigned = device.presign(call.clone(), 60);
    let refused = service
        .send(&presigned)
        .refused(400, "InvalidArgumentException");
    assert!(refused.contains("Authorization"), "{refused}");
    let signed = Signer::new("viewer").sign(call.clone());
    service.send(&signed).refused(403, "AccessDeniedException");
    let refused = service.send(&call);
    refused.refused(403, "MissingAuthenticationTokenException");

    let mut waits = signed_wait(&service, &device, &arn, 1.0);
    write(&service, "credentials.toml", &staying);
    service.broker.signal("HUP");
    assert_eq!(waits.answer().expect("an answer").status, 204);
    let stays = signed_wait(&service, &staying_one, &arn, 1.0);
    service.broker.signal("HUP");
    is_called_by(&service, &staying_one, &arn, stays);
    drop(waits);
    service.end();
}

/// A device that may not ask any more waits no longer: by the tags of its channel, or by its policy. Others wait on.
#[test]
fn a_wait_ends_with_what_let_it_in() {
    let file = |policies: &str| {
        let staying = principal("staying", r#"["all"]"#, "");
        principal("device", policies, "") + &staying + POLICIES + TAGGED
    };
    let service = Service::configured(POLLS, &file(r#"["tagged"]"#), 2);
    let (device, staying) = (Signer::new("device"), Signer::new("staying"));
    let [own, other] = ["cam-1", "cam-2"].map(|name| service.create(&staying, name));
    let tag = |value: &str| {
        let tags = json!([{"Key": "home", "Value": value}]);
        let body = json!({"ResourceARN": own, "Tags": tags});
        service.call(&staying, "/TagResource", &body).ok();
    };
    tag("17");
    let stays = signed_wait(&service, &staying, &other, 1.0);
    let mut waits = signed_wait(&service, &device, &own, 2.0);
    tag("18");
    assert_eq!(waits.answer().expect("an answer").status, 204);
    tag("17");
    waits = signed_wait(&service, &device, &own, 2.0);
    write(&service, "credentials.toml", &file(r#"["viewer"]"#));
    service.broker.signal("HUP");
    assert_eq!(waits.answer().expect("an answer").status, 204);
    assert_eq!(waiting(&service.broker), 1.0);
    is_called_by(&service, &staying, &other, stays);
    drop(waits);
    service.end();
}

/// A device that waits; `count` wait then.
fn signed_wait(service: &Service, signer: &Signer, arn: &str, count: f64) -> Connection {
    let call = Call::new(&service.broker, "GET", "/wake");
    let mut waits = Connection::open(service.broker.plain);
    let signed = signer.sign(call.pair("X-Amz-ChannelARN", arn));
    waits.send(&signed.bytes());
    until_true("it waits", || waiting(&service.broker) == count);
    waits
}

/// A viewer comes, and the device that waits has its answer.
fn is_called_by(service: &Service, viewer: &Signer, arn: &str, mut waits: Connection) {
    let mut viewer = service.viewer(viewer, arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    assert_eq!(waits.answer().expect("an answer").status, 200);
}

const POLICIES: &str = r#"
[policy.all]
document = '{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}}'
[policy.viewer]
document = '{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*"}}'
"#;

const TAGGED: &str = r#"
[policy.tagged]
document = '''{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*",
    "Condition": {"StringEquals": {"aws:ResourceTag/home": "17"}}}}'''
"#;

/// A device may be connected to any node.
#[test]
fn a_device_waits_through_another_node() {
    let nodes = Nodes::configured(2, [POLLS, POLLS]);
    for (arn, (owner, other)) in
        (nodes.channels().iter()).zip([(&nodes.n1, &nodes.n2), (&nodes.n2, &nodes.n1)])
    {
        let mut device = Device::open(other.plain);
        device.ask(arn);
        until_true("it waits at the owner", || waiting(owner) == 1.0);
        let mut viewer = Peer::viewer(other, arn, "v1");
        viewer.send(&offer("b2ZmZXI="));
        device.is_called(arn);
        viewer.close();
        let mut again = Device::open(other.plain);
        again.ask(arn);
        again.is_called(arn);
        let mut hangs_up = Device::open(other.plain);
        let master = Peer::master(owner, arn);
        master.close();
        hangs_up.ask(arn);
        until_true("it waits", || waiting(owner) == 1.0);
        drop(hangs_up);
        until_true("it has left", || waiting(owner) == 0.0);
    }
}

/// Without the key there is no such path. That the strict profile has none is in `data/broken_values.txt`.
#[test]
fn the_path_is_there_where_it_is_configured() {
    let broker = Broker::dev(1);
    let mut device = Device::open(broker.plain);
    device.ask(&arn("cam-1"));
    device.answer().refused(404, "UnknownOperationException");
}
