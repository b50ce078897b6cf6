//! Requests without an owner, and those whose owner cannot be reached: they wait for another one, or for the same, for
//! a bounded time and in a bounded number.

use super::client::{self, peer};
use super::slots::{Node, UPGRADED, arn, held, parcel, record, serve};
use super::words::{post, upgrade};
use broker_core::check::Check;
use broker_core::cluster::message::SlotOrder;
use broker_core::id::{NodeId, SessionKey};
use broker_core::limits::{OWNER_LOOK_MS, OWNER_RETRY_MS, OWNER_WAIT_MS, OWNER_WAITERS_MAX};
use broker_core::machine::{Machine, PassFailure, Peer};
use broker_core::shard::Shard;

const OTHER: NodeId = NodeId(3);
const THIRD: NodeId = NodeId(4);

fn passed_to(node: &mut Node, owner: NodeId) -> SessionKey {
    let slot = held(&node.map).slot;
    node.map.assign(slot, Some(owner));
    node.tick(0);
    node.connect(None)
}

/// The edge could not reach the owner: the request comes back, with its bytes if nothing of it was sent.
fn comes_back(node: &mut Node, session: SessionKey, was_sent: bool) -> SessionKey {
    let mut parcel = node.shard.release(session);
    let taken = Shard::passed_on(&mut parcel).expect("it is for another node");
    let unsent = if was_sent { Vec::new() } else { taken.bytes };
    let failed = client::failed(OTHER, PassFailure::Connect, unsent);
    let back = node.shard.unanswered(parcel, failed, node.at);
    node.adopt(back);
    back
}

#[test]
fn a_request_goes_to_the_next_owner_when_the_first_cannot_be_reached() {
    let mut node = Node::new();
    let session = passed_to(&mut node, OTHER);
    let back = comes_back(&mut node, session, false);
    node.tick(200);
    assert_eq!(node.heard(back), "");
    let slot = held(&node.map).slot;
    node.map.assign(slot, Some(THIRD));
    let found = node.passed_on(100).map(|(key, to, _)| (key, to));
    assert_eq!(found, Some((back, THIRD)));
    let mut parcel = node.shard.release(back);
    let again = Shard::passed_on(&mut parcel).expect("a request");
    assert!(again.bytes.starts_with(b"GET /?X-Amz-ChannelARN="));
}

#[test]
fn a_request_is_admitted_here_when_its_slot_comes_meanwhile() {
    let mut node = Node::new();
    let session = passed_to(&mut node, OTHER);
    let back = comes_back(&mut node, session, false);
    let held = held(&node.map);
    node.order(serve(held, vec![record()], None));
    node.map.assign(held.slot, Some(NodeId(0)));
    node.tick(100);
    assert!(node.heard(back).starts_with(UPGRADED));
    node.assert_balanced();
}

/// A request that another node passed on to this one.
fn passed_here(node: &mut Node, request: &[u8]) -> SessionKey {
    let peer = Peer {
        inner: true,
        ..peer()
    };
    let session = node.shard.open(peer, node.at).expect("there is room");
    node.adopt(session);
    node.receive(session, request);
    session
}

/// The node that passed it on asks the next owner.
#[test]
fn an_upgrade_whose_slot_has_left_is_closed_without_a_byte() {
    let mut node = Node::serving(None);
    let slot = held(&node.map).slot;
    let request = upgrade(arn().as_str(), None);
    node.order(SlotOrder::Pause(held(&node.map), parcel()));
    node.map.assign(slot, None);
    let kept = passed_here(&mut node, &request);
    node.tick(1_000);
    assert_eq!((node.heard(kept).as_str(), node.parked()), ("", 1));
    node.map.assign(slot, Some(OTHER));
    node.tick(OWNER_LOOK_MS);
    let late = passed_here(&mut node, &request);
    node.tick(0);
    for session in [kept, late] {
        assert_eq!(node.heard(session), "");
        assert!(node.shard.unsent(session).is_empty(), "it is gone");
    }
    let connections = node.shard.snapshot().connections;
    assert_eq!((connections.iter().sum::<u64>(), node.parked()), (0, 0));
    node.assert_balanced();
}

/// It may come here, and a call may have been carried out, as far as the other node knows.
#[test]
fn an_upgrade_whose_slot_may_come_and_a_call_wait() {
    let behind = Node::new();
    behind.map.assign(held(&behind.map).slot, Some(OTHER));
    let giver = Node::serving(None);
    giver.map.assign(held(&giver.map).slot, Some(OTHER));
    let describe = post(
        "/describeSignalingChannel",
        &format!("{{\"ChannelARN\":\"{}\"}}", arn().as_str()),
    );
    for (mut node, request) in [(behind, upgrade(arn().as_str(), None)), (giver, describe)] {
        let session = passed_here(&mut node, &request);
        node.tick(OWNER_WAIT_MS - 100);
        assert_eq!((node.heard(session).as_str(), node.parked()), ("", 1));
        node.tick(200);
        assert!(node.heard(session).starts_with("HTTP/1.1 503 "));
    }
}

/// The same owner is tried again, seldom; when the time is over, the answer is 503.
#[test]
fn an_owner_that_stays_away_is_tried_some_times_in_three_seconds() {
    let mut node = Node::new();
    let began = node.at.now;
    let session = passed_to(&mut node, OTHER);
    let mut back = comes_back(&mut node, session, false);
    let mut times = Vec::new();
    while let Some((key, to, at)) = node.passed_on(OWNER_WAIT_MS) {
        assert_eq!((key, to), (back, OTHER));
        times.push(at.since(began));
        back = comes_back(&mut node, key, false);
    }
    assert!((4..=6).contains(&times.len()), "{times:?}");
    assert!(times.is_sorted_by(|one, next| next - one >= OWNER_RETRY_MS));
    assert!(times.iter().all(|ms| *ms <= OWNER_WAIT_MS), "{times:?}");
    let answer = node.heard(back);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(node.at.now.since(began) <= OWNER_WAIT_MS + 100);
    let counts = node.shard.snapshot().counters.refusals;
    let counted: Vec<_> = counts.each().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(Check::OwnerUnreachable, 1)]);
    node.assert_balanced();
}

/// The owner may have carried it out.
#[test]
fn a_request_that_was_sent_is_not_sent_again() {
    let mut node = Node::new();
    let session = passed_to(&mut node, OTHER);
    let back = comes_back(&mut node, session, true);
    assert!(node.heard(back).starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_bounded_number_waits_and_who_leaves_makes_room() {
    let mut node = Node::new();
    node.tick(0);
    // Not more at one moment than a turn answers.
    let come = |node: &mut Node| {
        node.tick(1);
        node.connect(None)
    };
    let waiters: Vec<SessionKey> = (0..OWNER_WAITERS_MAX).map(|_| come(&mut node)).collect();
    assert!(waiters.iter().all(|waiter| node.heard(*waiter).is_empty()));
    assert_eq!(node.parked(), OWNER_WAITERS_MAX);
    let refused = come(&mut node);
    assert!(node.heard(refused).starts_with("HTTP/1.1 503 "));
    for gone in &waiters[..2] {
        node.input(client::gone(*gone, 0));
    }
    assert_eq!(node.parked(), OWNER_WAITERS_MAX - 2);
    for _ in 0..2 {
        let waits = come(&mut node);
        assert_eq!(node.heard(waits), "");
    }
    let refused = come(&mut node);
    assert!(node.heard(refused).starts_with("HTTP/1.1 503 "));
    node.tick(OWNER_WAIT_MS + 100);
    let fine = waiters[2..]
        .iter()
        .all(|waiter| node.heard(*waiter).contains(" 503 "));
    assert!(fine);
    assert_eq!(node.parked(), 0);
    node.assert_balanced();
}

#[test]
fn who_comes_before_the_slot_waits_for_it() {
    let mut node = Node::new();
    let early = node.connect(Some("v1"));
    node.tick(2_000);
    assert_eq!((node.heard(early).as_str(), node.parked()), ("", 1));
    node.order(serve(held(&node.map), vec![record()], None));
    let slot = held(&node.map).slot;
    node.map.assign(slot, Some(NodeId(0)));
    node.tick(100);
    let fine = node.heard(early).starts_with(UPGRADED);
    assert!(fine, "{}", node.heard(early));
    assert_eq!(node.parked(), 0);
    let expected = [held(&node.map)];
    assert_eq!(node.desk(|desk| desk.admitted.clone()), expected);
    node.assert_balanced();
}

#[test]
fn who_waits_for_nobody_is_refused_after_a_while() {
    let mut node = Node::new();
    let early = node.connect(None);
    node.tick(2_900);
    assert_eq!(node.heard(early), "");
    node.tick(200);
    assert!(node.heard(early).starts_with("HTTP/1.1 503 "));
    let counts = node.shard.snapshot().counters.refusals;
    let counted: Vec<_> = counts.each().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(Check::OwnerNone, 1)]);
    node.assert_balanced();
}

#[test]
fn who_waits_follows_the_slot_to_another_node() {
    let mut node = Node::new();
    node.tick(0); // whether there are orders already
    let early = node.connect(None);
    let slot = held(&node.map).slot;
    node.map.assign(slot, Some(NodeId(3)));
    let found = node.passed_on(200).map(|(key, to, _)| (key, to));
    assert_eq!(found, Some((early, NodeId(3))));
}

/// SDKs create a channel that is not found, which may exist on the side of a split that has etcd.
#[test]
fn where_another_node_may_have_a_channel_its_absence_is_not_stated() {
    let other = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1";
    #[rustfmt::skip] // a table, a case per row
    let requests = [
        post("/describeSignalingChannel", r#"{"ChannelName":"cam"}"#),
        post("/describeSignalingChannel", &format!(r#"{{"ChannelARN":"{other}"}}"#)),
        post("/ListTagsForResource", &format!(r#"{{"ResourceARN":"{other}"}}"#)),
        post("/deleteSignalingChannel", &format!(r#"{{"ChannelARN":"{other}"}}"#)),
        upgrade(other, None),
        upgrade(other, Some("v1")),
    ];
    let mut node = Node::new();
    node.take_slot(Vec::new());
    for (knows, status, error) in [
        (true, "404 Not Found", "ResourceNotFoundException"),
        (false, "503 Service Unavailable", "ServiceUnavailable"),
    ] {
        node.map.set_knows_absence(knows);
        for request in &requests {
            let session = node.ask(request);
            let answer = node.heard(session);
            let fine = answer.starts_with(&format!("HTTP/1.1 {status}\r\n"));
            assert!(fine, "{answer}");
            let fine = answer.contains(&format!("\r\nx-amzn-ErrorType: {error}\r\n"));
            assert!(fine, "{answer}");
            let found = answer.contains("\r\nRetry-After: 5\r\n");
            assert_eq!(found, !knows, "{answer}");
        }
    }
    let counts = node.shard.snapshot().counters.refusals;
    let unknown = counts
        .each()
        .find(|(check, _)| *check == Check::AbsenceUnknown);
    assert_eq!(unknown, Some((Check::AbsenceUnknown, 6)));
    // A channel that is here is used as before.
    node.take_slot(vec![record()]);
    let session = node.connect(None);
    assert!(node.heard(session).starts_with(UPGRADED));
    node.assert_balanced();
}
