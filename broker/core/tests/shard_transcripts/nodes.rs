//! A shard of a node in a cluster: what it passes on to other nodes, what it answers itself, and what it refuses.

use crate::shard_transcripts::client::{self, peer};
use crate::shard_transcripts::words::{self, arn, post};
use broker_core::check::Check;
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::id::{Identity, NodeId, SessionKey, ShardId};
use broker_core::journal::{Entry, Journal};
use broker_core::machine::{Input, Machine, Output, PassFailure, PassedOn, Peer};
use broker_core::placement::Placement;
use broker_core::settings::{Auth, Settings};
use broker_core::shard::{Shard, Start};
use broker_core::time::{Moment, Now, Wall};
use codec::link::Kind;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;

const REGION: &str = "us-west-2";
const ACCOUNT: &str = "123456789012";
const OTHER_ACCOUNT: &str = "210987654321";
/// The two channels of the map that somebody owns; every other is nobody's.
const HERE: &str = "here";
const THERE: &str = "there";

/// The network of the proxy in front of all nodes.
const PROXY: &str = "10.9.0.0/16";

struct Kept(Sender<Entry>);

impl Journal for Kept {
    fn note(&mut self, entry: Entry) {
        let _ = self.0.send(entry);
    }
}

struct Node {
    shard: Shard,
    log: Receiver<Entry>,
    at: Moment,
}

impl Node {
    fn new() -> Self {
        Self::with_places(1_000)
    }

    /// One that may have this many connections.
    fn with_places(connections: usize) -> Self {
        let mut settings = Settings {
            auth: Auth::None,
            ..Settings::default()
        };
        settings.proxy.forwarded_from = vec![PROXY.parse().expect("a network")];
        let map = SlotMap::new(&[7; 16], NodeId(0), vec!["n1".into(), "n2".into()]);
        let there = [(ACCOUNT, THERE), (OTHER_ACCOUNT, THERE)].map(|named| (named, NodeId(1)));
        for ((account, name), node) in [((ACCOUNT, HERE), NodeId(0))].into_iter().chain(there) {
            let slot = map.slot(&Identity::new(REGION, account, name));
            map.assign(slot.expect("the key is known"), Some(node));
        }
        let placement = Placement::new([1, 2, 3, 4], 1).in_cluster(Arc::new(map));
        let (to, log) = unbounded();
        let start = Start {
            journal: Box::new(Kept(to)),
            connections,
            ..Start::bare(Arc::new(settings), ShardId(0), placement, [5, 6, 7, 8])
        };
        Self {
            shard: Shard::new(start),
            log,
            // The moment of creation that ARNs of transcripts name.
            at: Moment {
                wall: Wall(1_700_000_000_000),
                ..words::first_moment()
            },
        }
    }

    fn open(&mut self, inner: bool) -> SessionKey {
        let peer = Peer { inner, ..peer() };
        self.shard.open(peer, self.at).expect("there is room")
    }

    /// The node to which the connection is to be passed on after these bytes, if it is.
    fn receive(&mut self, session: SessionKey, bytes: &[u8]) -> Option<NodeId> {
        let mut bytes = bytes.to_vec();
        let bytes = &mut bytes[..];
        self.shard
            .handle(Input::Received { session, bytes }, self.at);
        let mut to = None;
        while let Some(output) = self.shard.poll_output() {
            if let Output::PassOn(key, node) = output {
                assert_eq!((key, to), (session, None), "once");
                to = Some(node);
            }
        }
        to
    }

    fn answer(&self, session: SessionKey) -> String {
        String::from_utf8_lossy(self.shard.queued(session)).into_owned()
    }

    /// Asserts that the last answer is 503 for this reason alone, and ends the connection.
    fn assert_refused(&self, session: SessionKey, check: Check) {
        let answer = self.answer(session);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let fine = answer.to_lowercase().contains("\r\nconnection: close\r\n");
        assert!(fine, "{answer}");
        let counts = self.shard.snapshot().counters.refusals;
        let counted: Vec<_> = counts.each().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(check, 1)]);
    }
}

fn upgrade(channel: &str) -> Vec<u8> {
    words::upgrade(&arn(channel), Some("v1"))
}

fn describe(channel: &str) -> Vec<u8> {
    // With an escape, which the parser resolves in place.
    let (first, rest) = channel.split_at(1);
    let letter = u32::from(first.as_bytes()[0]);
    post(
        "/describeSignalingChannel",
        &format!("{{\"ChannelName\":\"\\u{letter:04x}{rest}\"}}"),
    )
}

#[test]
fn an_upgrade_goes_to_the_node_of_its_channel_as_it_came() {
    let mut node = Node::new();
    let session = node.open(false);
    let bytes = [&upgrade(THERE)[..], b"\x81\x80\0\0\0\0"].concat();
    assert_eq!(node.receive(session, &bytes), Some(NodeId(1)));
    assert_eq!(node.answer(session), "", "nobody has answered");
    let mut parcel = node.shard.release(session);
    let PassedOn {
        peer,
        bytes: sent,
        kind,
        call,
        record_bytes,
        home,
    } = Shard::passed_on(&mut parcel).expect("to a node");
    assert!(home.is_some(), "a stream");
    let found = (peer.remote, sent, kind, call, record_bytes);
    let wanted = (
        client::peer().remote,
        bytes,
        Kind::Upgrade,
        None,
        usize::MAX,
    );
    assert_eq!(found, wanted);
    let snapshot = node.shard.snapshot();
    assert_eq!(snapshot.connections.iter().sum::<u64>(), 0, "it has left");
    assert_eq!((snapshot.request_bytes, snapshot.timers), (0, 0));
}

#[test]
fn a_call_goes_on_whole_however_it_comes_with_what_follows_it() {
    let bytes = [&describe(THERE)[..], &describe(HERE)].concat();
    let whole = describe(THERE).len();
    for cut in [1, 20, whole - 3, whole, whole + 9, bytes.len()] {
        let mut node = Node::new();
        let session = node.open(false);
        let (first, second) = bytes.split_at(cut);
        let mut to = node.receive(session, first);
        // Later bytes are kept by the edge.
        let received = if to.is_some() { first } else { &bytes };
        if to.is_none() {
            to = node.receive(session, second);
        }
        assert_eq!(to, Some(NodeId(1)), "cut at {cut}");
        assert_eq!(cut >= whole, received == first, "cut at {cut}");
        let mut parcel = node.shard.release(session);
        let sent = Shard::passed_on(&mut parcel).expect("to a node");
        assert_eq!(sent.bytes, received, "cut at {cut}");
        assert_eq!(sent.kind, Kind::Call, "it may have been carried out");
        assert_eq!(sent.call, Some(whole), "cut at {cut}");
    }
}

#[test]
fn what_is_owned_here_is_answered_here() {
    let mut node = Node::new();
    let session = node.open(false);
    assert_eq!(node.receive(session, &describe(HERE)), None);
    let fine = node.answer(session).starts_with("HTTP/1.1 404 ");
    assert!(fine, "{}", node.answer(session));
    let session = node.open(false);
    assert_eq!(node.receive(session, &upgrade(HERE)), None);
    assert!(node.answer(session).starts_with("HTTP/1.1 404 "));
}

#[test]
fn what_is_not_passed_on_is_refused() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (true, upgrade(THERE), Check::OwnerElsewhere),
        (true, describe(THERE), Check::OwnerElsewhere),
        (false, upgrade("nobodys"), Check::OwnerNone),
        (false, describe("nobodys"), Check::OwnerNone),
        (false, post("/listSignalingChannels", "{}"), Check::ListIncomplete),
    ];
    for (inner, bytes, check) in cases {
        let mut node = Node::new();
        let session = node.open(inner);
        assert_eq!(node.receive(session, &bytes), None);
        node.assert_refused(session, check);
    }
}

/// The scheme that a proxy reports goes with the client: to policies as TLS, and into the endpoints of the answer.
#[test]
fn what_a_proxy_says_of_tls_holds_at_the_node_of_the_channel() {
    let ask = |channel: &str, proto: &str| {
        let body = format!(
            "{{\"ChannelARN\":\"{}\",\"SingleMasterChannelEndpointConfiguration\":{{\"Protocols\":[\"WSS\"],\
             \"Role\":\"VIEWER\"}}}}",
            arn(channel)
        );
        let call = post("/getSignalingChannelEndpoint", &body);
        let call = String::from_utf8(call).expect("as written");
        let call = call.replacen("localhost:8080", "localhost:444", 1);
        let lines = format!("\r\nX-Forwarded-Proto: {proto}\r\n");
        call.replacen("\r\n", &lines, 1).into_bytes()
    };
    for (from, proto, tls) in [
        ([10, 9, 0, 1], "https", true),
        ([10, 9, 0, 1], "http", false),
        ([10, 8, 0, 1], "https", false),
    ] {
        let mut node = Node::new();
        let remote = (from, 9).into();
        let session = node.shard.open(Peer { remote, ..peer() }, node.at);
        let session = session.expect("there is room");
        assert_eq!(node.receive(session, &ask(THERE, proto)), Some(NodeId(1)));
        let mut parcel = node.shard.release(session);
        let sent = Shard::passed_on(&mut parcel).expect("to a node");
        assert_eq!(sent.peer.tls, tls, "{from:?} {proto}");
    }
    for (tls, proto, wanted) in [
        (true, "https", "wss://localhost:444\""),
        (false, "http", "ws://localhost:444\""),
        // Headers of clients that came by no proxy: the other node says otherwise.
        (false, "https", "ws://localhost:8080\""),
        (true, "http", "ws://localhost:8080\""),
    ] {
        let mut node = Node::new();
        let owner = Peer {
            tls,
            inner: true,
            ..peer()
        };
        let session = node.open(true);
        node.receive(
            session,
            &post("/createSignalingChannel", "{\"ChannelName\":\"here\"}"),
        );
        let session = node.shard.open(owner, node.at).expect("there is room");
        if tls {
            node.shard.handle(Input::Secured { session }, node.at);
        }
        node.receive(session, &ask(HERE, proto));
        let answer = node.answer(session);
        assert!(answer.contains(wanted), "{tls} {proto}: {answer}");
    }
}

#[test]
fn a_connection_that_was_passed_on_ends_with_its_answer() {
    for inner in [false, true] {
        let mut node = Node::new();
        let session = node.open(inner);
        assert_eq!(node.receive(session, &describe(HERE)), None);
        let answer = node.answer(session).to_lowercase();
        let found = answer.contains("\r\nconnection: close\r\n");
        assert_eq!(found, inner, "{answer}");
    }
}

/// A call on a connection between nodes that is kept: its answer says nothing of that connection.
#[test]
fn one_call_ends_its_session_and_its_answer_speaks_to_the_client() {
    for (fields, closes) in [("", false), ("Connection: close\r\n", true)] {
        let mut node = Node::new();
        let session = node.open(true);
        node.shard.comes_by_link(session, Kind::Call);
        let call = String::from_utf8(describe(HERE)).expect("as written");
        let call = call.replacen("\r\n", &format!("\r\n{fields}"), 1);
        let mut bytes = [call.as_bytes(), &describe(HERE)].concat();
        let bytes = &mut bytes[..];
        node.shard
            .handle(Input::Received { session, bytes }, node.at);
        let outputs: Vec<_> = std::iter::from_fn(|| node.shard.poll_output()).collect();
        let is_closed =
            |output: &Output<_>| matches!(output, Output::Close(key) if *key == session);
        assert!(outputs.iter().any(is_closed), "{outputs:?}");
        let answer = node.answer(session);
        let found = answer.contains("\r\nConnection: close\r\n");
        assert_eq!(found, closes, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[test]
fn the_answer_of_another_node_goes_to_its_client_whose_next_request_has_its_turn() {
    for (fields, goes_on) in [("", true), ("Connection: close\r\n", false)] {
        let mut node = Node::new();
        let session = node.open(false);
        let bytes = [&describe(THERE)[..], &describe(HERE)].concat();
        assert_eq!(node.receive(session, &bytes), Some(NodeId(1)));
        let mut parcel = node.shard.release(session);
        let sent = Shard::passed_on(&mut parcel).expect("to a node");
        let rest = sent.bytes[sent.call.expect("a call")..].to_vec();
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\n{{}}");
        let back = node
            .shard
            .answered(parcel, answer.as_bytes(), rest, node.at);
        assert_eq!(node.answer(back), answer);
        let bytes = answer.len();
        let outputs: Vec<_> = std::iter::from_fn(|| node.shard.poll_output()).collect();
        let is_closed = |output: &Output<_>| matches!(output, Output::Close(key) if *key == back);
        assert_eq!(!outputs.iter().any(is_closed), goes_on, "{outputs:?}");
        node.shard.handle(client::sent(back, bytes), node.at);
        node.shard.handle(Input::Tick, node.at);
        assert_eq!(node.answer(back).starts_with("HTTP/1.1 "), goes_on);
        assert_eq!(node.shard.forgotten(node.at.now), 0);
    }
}

/// The node that passed it on has said it already, and sends the body with the head.
#[test]
fn only_the_clients_own_node_says_100_continue() {
    for (inner, says) in [(false, true), (true, false)] {
        let mut node = Node::new();
        let session = node.open(inner);
        let head = String::from_utf8(describe(HERE)).expect("as written");
        let (head, _) = head.split_once("\r\n\r\n").expect("as written");
        node.receive(
            session,
            format!("{head}\r\nExpect: 100-continue\r\n\r\n").as_bytes(),
        );
        assert_eq!(node.answer(session).starts_with("HTTP/1.1 100 "), says);
    }
}

#[test]
fn an_owner_that_does_not_answer_is_503_and_a_line_a_second() {
    let mut node = Node::new();
    for failure in 0..5 {
        let session = node.open(false);
        assert_eq!(node.receive(session, &upgrade(THERE)), Some(NodeId(1)));
        let mut parcel = node.shard.release(session);
        let _ = Shard::passed_on(&mut parcel);
        let failed = client::failed(NodeId(1), PassFailure::Connect, Vec::new());
        let back = node.shard.unanswered(parcel, failed, node.at);
        if failure == 0 {
            node.assert_refused(back, Check::OwnerUnreachable);
        }
        node.at.now = Now(node.at.now.0 + 300);
    }
    let trouble = |entry| {
        let Entry::NodeTrouble {
            node,
            why,
            requests,
        } = entry
        else {
            return None;
        };
        Some((node, why, requests))
    };
    let lines: Vec<_> = node.log.try_iter().filter_map(trouble).collect();
    let line = |requests| (Box::from("n2"), "connect", requests);
    assert_eq!(
        lines,
        [line(1), line(4)],
        "at 1.0 s and 2.2 s, of 1.0, 1.3, 1.6, 1.9 and 2.2"
    );
}

#[test]
fn no_room_on_a_link_is_no_fault_of_the_owner() {
    let mut node = Node::new();
    let session = node.open(false);
    assert_eq!(node.receive(session, &describe(THERE)), Some(NodeId(1)));
    let parcel = node.shard.release(session);
    let failed = client::failed(NodeId(1), PassFailure::NoRoom, Vec::new());
    let back = node.shard.unanswered(parcel, failed, node.at);
    node.assert_refused(back, Check::ConnectionsFull);
    let fine = !node
        .log
        .try_iter()
        .any(|entry| matches!(entry, Entry::NodeTrouble { .. }));
    assert!(fine);
}

#[test]
fn clients_on_links_have_places_by_account() {
    let mut node = Node::with_places(4); // three, since one is kept for those that are not admitted
    let others = String::from_utf8(upgrade(THERE)).expect("text");
    let others = others.replace(ACCOUNT, OTHER_ACCOUNT).into_bytes();
    let begin = |node: &mut Node, request: &[u8], place| {
        let session = node.open(false);
        assert_eq!(node.receive(session, request), Some(NodeId(1)));
        let parcel = node.shard.release(session);
        let enters = node.shard.joins_link(&parcel, (place, NodeId(1)), node.at);
        let ended = std::iter::from_fn(|| node.shard.poll_output());
        let ended = ended.map(|output| {
            let Output::Displace(place) = output else {
                panic!("{output:?}");
            };
            place
        });
        (enters, ended.collect::<Vec<_>>())
    };
    for place in 0..3 {
        assert_eq!(begin(&mut node, &upgrade(THERE), place), (true, vec![]));
    }
    // The newest one of the account that has three makes room.
    assert_eq!(begin(&mut node, &others, 3), (true, vec![2]));
    node.shard.left_link(2);
    // It finds no room itself, and is refused before anybody is connected to.
    let session = node.open(false);
    assert_eq!(node.receive(session, &upgrade(THERE)), None);
    node.assert_refused(session, Check::ConnectionsFull);
    // Calls are passed on by the same rule. What is gone has no place.
    node.shard.left_link(0);
    assert_eq!(begin(&mut node, &describe(THERE), 0), (true, vec![]));
}
