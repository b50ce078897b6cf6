//! A node of a cluster that ends: its clients on links, and requests that are not answered yet.

use super::client::{self, peer};
use super::lost_owners::{OWNER, with_clients_on_links};
use super::slots::{Node, arn, held};
use super::words::upgrade;
use broker_core::id::NodeId;
use broker_core::machine::{Input, Machine, Output, PassFailure, Peer};
use broker_core::shard::{Letter, Shard};

const DRAIN_MS: u64 = 20_000;

const REFUSED: &str = "HTTP/1.1 503 ";

/// The clients that leave in this time, and after how many milliseconds; and whether the shard has drained.
fn left(node: &mut Node, ms: u64) -> (Vec<(u32, u64)>, bool) {
    let (began, until) = (node.at.now, node.at.now.after(ms));
    let (mut left, mut is_drained) = (Vec::new(), false);
    let leaves = |output: &Output<Letter>| {
        if let Output::Leave(place) = output {
            return Some(Some(*place));
        }
        matches!(output, Output::Drained).then_some(None)
    };
    while let Some(found) = node.next(until, leaves) {
        match found {
            Some(place) => left.push((place, node.at.now.since(began))),
            None => is_drained = true,
        }
    }
    node.at.now = until;
    (left, is_drained)
}

fn drain(node: &mut Node) {
    let letter = Input::Letter(Letter::Drain(DRAIN_MS));
    node.shard.handle(letter, node.at);
}

#[test]
fn clients_on_links_leave_over_a_quarter_of_a_drain_the_masters_first() {
    let mut node = with_clients_on_links(&[Some("v1"), None, Some("v2"), None, Some("v3")]);
    drain(&mut node);
    let times = [0, 1, 2, 3, 4].map(|nth| nth * (DRAIN_MS / 4) / 5);
    let expected: Vec<(u32, u64)> = [1, 3, 0, 2, 4].into_iter().zip(times).collect();
    assert_eq!(left(&mut node, DRAIN_MS / 2), (expected, false));
    for place in 0..4 {
        node.shard.left_link(place);
    }
    assert_eq!(left(&mut node, 1_000), (Vec::new(), false), "one is there");
    node.shard.left_link(4);
    assert_eq!(left(&mut node, 1_000), (Vec::new(), true));
    node.assert_balanced();
}

/// A connection that another node passed on.
fn inner() -> Peer {
    Peer {
        inner: true,
        ..peer()
    }
}

/// An upgrade on its way to the owner: its session is with the edge.
fn on_its_way(node: &mut Node) -> (<Shard as Machine>::Parcel, Vec<u8>) {
    let session = node.connect(None);
    let mut parcel = node.shard.release(session);
    let sent = Shard::passed_on(&mut parcel).expect("it is for another node");
    (parcel, sent.bytes)
}

#[test]
fn an_upgrade_that_is_not_answered_is_awaited_and_refused() {
    let mut node = with_clients_on_links(&[]);
    let (parcel, bytes) = on_its_way(&mut node);
    drain(&mut node);
    assert_eq!(left(&mut node, 1_000), (Vec::new(), false), "it is awaited");
    let enters = node.shard.joins_link(&parcel, (0, OWNER), node.at);
    assert!(!enters, "no WebSocket begins");
    let failed = client::failed(OWNER, PassFailure::NoRoom, bytes);
    let back = node.shard.unanswered(parcel, failed, node.at);
    assert!(left(&mut node, 0).1, "nothing is left");
    assert!(node.heard(back).starts_with(REFUSED));
}

#[test]
fn a_request_that_waits_for_an_owner_is_refused() {
    let mut node = with_clients_on_links(&[]);
    let slot = held(&node.map).slot;
    node.map.assign(slot, None);
    let parked = node.connect(None);
    assert_eq!((node.heard(parked).as_str(), node.parked()), ("", 1));
    drain(&mut node);
    // A node that has it is not asked any more.
    node.map.assign(slot, Some(NodeId(4)));
    let (_, is_drained) = left(&mut node, 100);
    assert!(node.heard(parked).starts_with(REFUSED));
    assert_eq!((is_drained, node.parked()), (true, 0));
}

/// The node in front may end: what was begun goes to its client, with a close frame, and the rest is kept.
#[test]
fn a_connection_of_another_node_that_ends_gets_a_close_frame() {
    let mut node = Node::serving(None);
    let master = node.shard.open(inner(), node.at).expect("there is room");
    node.adopt(master);
    node.receive(master, &upgrade(arn().as_str(), None));
    let viewer = node.connect(Some("v1"));
    let offer = "{\"action\":\"SDP_OFFER\",\"messagePayload\":\"bzE=\"}";
    node.says(viewer, offer);
    node.shard.handle(Input::Ended { session: master }, node.at);
    node.tick(0);
    let received = node.heard(master);
    let fine = received.contains("bzE=") && received.ends_with("Going away");
    assert!(fine, "{received}");
    let other = node.connect(Some("v2"));
    node.says(other, &offer.replace("bzE=", "bzI="));
    let next = node.connect(None);
    let heard = node.heard(next);
    assert!(heard.contains("bzI="), "{heard}");
    let fine = !heard.contains("bzE=");
    assert!(fine, "what that node took it hands over: {heard}");
    node.assert_balanced();
}

/// The FIN of a client behind another node confirms nothing: the link reports what the client's machine acknowledged.
#[test]
fn what_the_client_of_another_node_has_not_acknowledged_comes_back() {
    for silent_ms in [0, 2_000] {
        let mut node = Node::serving(None);
        let master = node.shard.open(inner(), node.at).expect("there is room");
        node.adopt(master);
        node.receive(master, &upgrade(arn().as_str(), None));
        let viewer = node.connect(Some("v1"));
        node.unacknowledged = u32::MAX;
        let offer = r#"{"action":"SDP_OFFER","messagePayload":"bzE="}"#;
        node.says(viewer, offer);
        node.tick(silent_ms);
        node.shard.handle(Input::Ended { session: master }, node.at);
        node.tick(0);
        let next = node.connect(None);
        assert!(node.heard(next).contains("bzE="), "{}", node.heard(next));
        node.assert_balanced();
    }
}

/// The node that passed it on asks the next owner.
#[test]
fn an_upgrade_of_another_node_is_closed_without_a_byte() {
    let mut node = Node::serving(None);
    drain(&mut node);
    let session = node.shard.open(inner(), node.at).expect("there is room");
    node.adopt(session);
    node.receive(session, &upgrade(arn().as_str(), None));
    node.tick(0);
    assert_eq!(node.heard(session), "");
    let connections = node.shard.snapshot().connections;
    assert_eq!(connections.iter().sum::<u64>(), 0, "it is gone");
}
