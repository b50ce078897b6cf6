//! Cameras come back: clients that behave as the C SDK does, which never reads again after GO_AWAY or
//! RECONNECT_ICE_SERVER and connects again after every close; and clients that do not read at all.

use crate::http::{Connection, admin, call, create, exchange};
use crate::peer::{HealthyPair, Peer, master_query, offer, to_master, upgrade, viewer_query};
use crate::process::{Broker, arn};
use serde_json::json;
use std::time::Duration;
use testkit::until;
use tungstenite::Message;

const GO_AWAY: &str = r#"{"messageType":"GO_AWAY"}"#;
const RECONNECT_ICE_SERVER: &str = r#"{"messageType":"RECONNECT_ICE_SERVER"}"#;

/// A client that offers the subprotocol `wss`.
struct Camera {
    peer: Peer,
    query: String,
    tls: bool,
}

impl Camera {
    /// A master and a viewer of a channel, each over TLS and plain.
    fn all(broker: &Broker) -> Vec<Self> {
        let mut all = Vec::new();
        for tls in [false, true] {
            let arn = arn(if tls { "secure" } else { "plain" });
            for query in [master_query(&arn), viewer_query(&arn, "v1")] {
                let peer = Peer::offering_wss(broker, &query, tls);
                all.push(Self { peer, query, tls });
            }
        }
        all
    }

    /// Reads until it is closed. After a notice it would never read again, so it must not get one.
    fn is_closed(&mut self) {
        loop {
            let message = self.peer.receive();
            if let Message::Close(frame) = &message {
                let code = frame.as_ref().map(|frame| u16::from(frame.code));
                assert_eq!(code, Some(1001), "{frame:?}");
                return;
            }
            if let Message::Text(text) = &message {
                let lost = [GO_AWAY, RECONNECT_ICE_SERVER].contains(&text.as_str());
                assert!(!lost, "this client will never read again: {text}");
            }
        }
    }

    /// It is there again.
    fn comes_back(&mut self, broker: &Broker) {
        self.peer = Peer::offering_wss(broker, &self.query, self.tls);
        self.peer.expect_silence();
    }
}

#[test]
fn at_its_age_it_is_closed_and_comes_back() {
    let ages = "[timeouts]\nconnection_age = \"3s\"\ngo_away_grace = \"2s\"\n";
    for shards in [1, 2] {
        let broker = Broker::configured(ages, shards);
        let mut cameras = Camera::all(&broker);
        let mut other = Peer::viewer(&broker, &arn("plain"), "browser");
        for camera in &mut cameras {
            camera.is_closed();
            camera.comes_back(&broker);
        }
        other.expect(GO_AWAY);
        other.expect_close(1001);
    }
}

#[test]
fn in_a_drain_it_is_closed() {
    for shards in [1, 2] {
        let mut broker = Broker::configured("[timeouts]\ndrain = \"2s\"\n", shards);
        let mut cameras = Camera::all(&broker);
        let mut other = Peer::viewer(&broker, &arn("plain"), "browser");
        broker.signal("TERM");
        other.expect(GO_AWAY);
        for camera in &mut cameras {
            camera.is_closed();
        }
        other.expect_close(1001);
        drop((cameras, other));
        assert_eq!(broker.ended_within(Duration::from_secs(20)).code(), Some(0));
    }
}

#[test]
fn for_ice_servers_it_is_closed_and_comes_back() {
    for shards in [1, 2] {
        let broker = Broker::dev(shards);
        let mut cameras = Camera::all(&broker);
        let mut other = Peer::viewer(&broker, &arn("plain"), "browser");
        let request = format!(
            "POST /ice/reconnect HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            broker.admin
        );
        let told = exchange(broker.admin, request.as_bytes());
        assert_eq!((told.status, told.json()), (200, json!({"connections": 5})));
        other.expect(RECONNECT_ICE_SERVER);
        for camera in &mut cameras {
            camera.is_closed();
            camera.comes_back(&broker);
        }
        other.expect_silence();
        broker.logged(&["ice_reconnect"], 4);
    }
}

#[test]
fn a_master_that_does_not_read_is_gone_and_offers_wait_for_the_next() {
    let short = "[timeouts]\nping = \"1s\"\npong = \"1s\"\n";
    let broker = Broker::configured(short, 1);
    let arn = arn("demo");
    let (answer, stuck): (_, Connection) = upgrade(&broker, &master_query(&arn), "");
    assert_eq!(answer.status, 101);
    until("the master that does not read is gone", || {
        let masters = broker
            .scrape()
            .sum("heliograph_connections{role=\"master\"}");
        (masters < 0.5).then_some(())
    });
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    let mut next = Peer::master(&broker, &arn);
    next.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    // A client that answers stays.
    next.answer_pings(3);
    next.expect_silence();
    broker.logged(&["unanswered"], 1);
    drop(stuck);
}

#[test]
fn an_older_master_comes_back_when_the_newest_has_left() {
    for shards in [1, 2] {
        let broker = Broker::dev(shards);
        let arn = arn("demo");
        let mut older = Peer::offering_wss(&broker, &master_query(&arn), false);
        let newest = Peer::master(&broker, &arn);
        // One that left within a second would leave it the slot.
        let two = r#"{"advance":"2s"}"#;
        assert_eq!(admin(broker.admin, "POST", "/dev/clock", two).status, 200);
        newest.close();
        let mut viewer = Peer::viewer(&broker, &arn, "v1");
        viewer.send(&offer("b2ZmZXI="));
        older.expect_close(1001);
        let mut back = Peer::offering_wss(&broker, &master_query(&arn), false);
        back.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
        HealthyPair::new(&broker).relay();
    }
}

#[test]
fn a_path_behind_a_url_that_ends_with_a_slash_is_answered() {
    let broker = Broker::dev(1);
    let arn = create(broker.plain, "demo", 60);
    let body = json!({"ChannelARN": arn});
    for path in ["/describeSignalingChannel", "//describeSignalingChannel"] {
        let found = call(broker.plain, path, &body).ok();
        assert_eq!(found["ChannelInfo"]["ChannelName"], json!("demo"));
    }
    call(broker.plain, "//v1/get-ice-server-config", &body).ok();
}
