//! Cameras come back: clients that behave as the C SDK does, which never reads again after GO_AWAY or
//! RECONNECT_ICE_SERVER and connects again after every close.

use crate::http::exchange;
use crate::peer::{Peer, master_query, viewer_query};
use crate::process::{Broker, arn};
use serde_json::json;
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
fn for_ice_servers_it_is_closed_and_comes_back() {
    let broker = Broker::dev(2);
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
