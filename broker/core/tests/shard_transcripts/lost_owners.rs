//! Clients on links whose channel another node gets: which are closed, when, and in which order.

use super::client;
use super::slots::{Node, held};
use broker_core::cluster::limits::{GIVEN_CLOSE_MS, LOST_CLOSE_MS};
use broker_core::id::NodeId;
use broker_core::machine::{Input, Machine, Output, PassFailure};
use broker_core::shard::{Letter, Shard};

pub(crate) const OWNER: NodeId = NodeId(3);
const NEXT: NodeId = NodeId(4);

/// A node with a link to the owner of the channel: these clients are on it, by their places.
pub(crate) fn with_clients_on_links(clients: &[Option<&str>]) -> Node {
    let mut node = Node::new();
    node.map.assign(held(&node.map).slot, Some(OWNER));
    node.tick(0);
    for (place, client) in (0..).zip(clients) {
        enter(&mut node, *client, place, OWNER);
    }
    node
}

pub(crate) fn enter(node: &mut Node, client: Option<&str>, place: u32, owner: NodeId) {
    let session = node.connect(client);
    let mut parcel = node.shard.release(session);
    Shard::passed_on(&mut parcel).expect("it is for another node");
    let enters = node.shard.joins_link(&parcel, (place, owner), node.at);
    assert!(enters, "there is room");
}

/// The map names another owner, and the shard gets a letter that says so.
fn moves(node: &mut Node, owner: Option<NodeId>, is_given: bool) {
    let slot = held(&node.map).slot;
    node.map.set_given(slot, is_given);
    node.map.assign(slot, owner);
    node.input(Input::Letter(Letter::Slots));
}

/// The clients that are closed in this time, and after how many milliseconds.
fn closed(node: &mut Node, ms: u64) -> Vec<(u32, u64)> {
    let (began, until) = (node.at.now, node.at.now.after(ms));
    let lost = |output: &Output<Letter>| {
        let Output::LoseOwner(place) = output else {
            return None;
        };
        Some(*place)
    };
    let mut closed = Vec::new();
    while let Some(place) = node.next(until, lost) {
        closed.push((place, node.at.now.since(began)));
        node.shard.left_link(place);
    }
    closed
}

fn places(closed: &[(u32, u64)]) -> Vec<u32> {
    closed.iter().map(|(place, _)| *place).collect()
}

#[test]
fn clients_of_a_lost_owner_are_closed_the_masters_first() {
    for (is_given, span) in [(false, LOST_CLOSE_MS), (true, GIVEN_CLOSE_MS)] {
        let clients = [Some("v1"), Some("v2"), None, Some("v3"), None];
        let mut node = with_clients_on_links(&clients);
        assert_eq!(closed(&mut node, 5_000), [], "its owner has it");
        moves(&mut node, Some(NEXT), is_given);
        let times = [0, 1, 2, 3, 4].map(|nth| span * nth / 5);
        let expected: Vec<(u32, u64)> = [2, 4, 0, 1, 3].into_iter().zip(times).collect();
        assert_eq!(closed(&mut node, 5_000), expected, "given: {is_given}");
        node.assert_balanced();
    }
}

#[test]
fn a_slot_without_an_owner_closes_nothing_and_one_that_is_here_closes_all() {
    let mut node = with_clients_on_links(&[None, Some("v1")]);
    moves(&mut node, None, false);
    assert_eq!(closed(&mut node, 30_000), []);
    moves(&mut node, Some(OWNER), false);
    assert_eq!(closed(&mut node, 30_000), [], "it has it again");
    moves(&mut node, Some(NodeId(0)), false);
    assert_eq!(places(&closed(&mut node, 5_000)), [0, 1]);
}

#[test]
fn a_client_that_has_left_is_not_closed_nor_is_the_next_one_at_its_place() {
    let mut node = with_clients_on_links(&[None, Some("v1"), Some("v2")]);
    moves(&mut node, Some(NEXT), false);
    assert_eq!(places(&closed(&mut node, 0)), [0]);
    for place in [1, 2] {
        node.shard.left_link(place);
    }
    enter(&mut node, Some("v2"), 2, NEXT);
    assert_eq!(closed(&mut node, 5_000), []);
    moves(&mut node, Some(OWNER), true);
    assert_eq!(places(&closed(&mut node, 5_000)), [2]);
}

#[test]
fn a_client_that_comes_too_late_is_closed() {
    let mut node = with_clients_on_links(&[Some("v1")]);
    moves(&mut node, Some(NEXT), true);
    assert_eq!(places(&closed(&mut node, 5_000)), [0]);
    enter(&mut node, None, 1, OWNER);
    enter(&mut node, Some("v2"), 2, NEXT);
    assert_eq!(places(&closed(&mut node, 5_000)), [1]);
}

#[test]
fn many_clients_are_spread_evenly_and_each_is_closed_once() {
    const CLIENTS: u32 = 400;
    let mut node = with_clients_on_links(&[]);
    for place in 0..CLIENTS {
        // Not more at one moment than a turn answers.
        node.tick(1);
        enter(&mut node, Some(&format!("v{place}")), place, OWNER);
    }
    moves(&mut node, Some(NEXT), false);
    let closed = closed(&mut node, 5_000);
    assert_eq!(places(&closed), (0..CLIENTS).collect::<Vec<_>>());
    let half = closed.iter().filter(|(_, ms)| *ms < LOST_CLOSE_MS / 2);
    assert_eq!(half.count(), 200);
    assert!(closed.iter().all(|(_, ms)| *ms < LOST_CLOSE_MS));
}

#[test]
fn clients_of_a_dead_link_are_closed_masters_first_and_others_stay() {
    let mut node = with_clients_on_links(&[Some("v1"), None, Some("v2"), Some("v3")]);
    let now = node.at.now;
    node.shard.link_died(&[0, 1, 3, 9], now);
    let closed = closed(&mut node, 5_000);
    assert_eq!(places(&closed), [1, 0, 3]);
    assert!(closed.iter().all(|(_, ms)| *ms < LOST_CLOSE_MS));
}

/// An upgrade that the owner of before had not answered.
#[test]
fn a_request_that_comes_back_goes_to_the_next_owner_at_once() {
    let mut node = with_clients_on_links(&[]);
    let session = node.connect(None);
    let mut parcel = node.shard.release(session);
    let sent = Shard::passed_on(&mut parcel).expect("it is for another node");
    moves(&mut node, Some(NEXT), false);
    let failed = client::failed(OWNER, PassFailure::Moved, sent.bytes);
    let back = node.shard.unanswered(parcel, failed, node.at);
    let to = node.passed_on(100).map(|(key, to, _)| (key, to));
    assert_eq!(to, Some((back, NEXT)));
}
