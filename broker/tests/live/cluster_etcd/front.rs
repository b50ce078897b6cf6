//! A node that ends while clients of other nodes' channels are connected through it; and the end of all nodes.

use super::nodes::Nodes;
use crate::http::{Connection, request};
use crate::peer::{candidate, candidate_to, master_query, tcp, upgrade_head, viewer_query};
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::{until, until_within};
use tungstenite::{Error, Message, WebSocket, client};

/// Channels, each with a client through the node that ends and one through another: together they send 1,000 messages a
/// second, half of them to and half from that node.
const CHANNELS: usize = 32;
const PACE: Duration = Duration::from_millis(64);

/// From the first connection of a client to its second the numbers of its messages leap.
const LEAP: u32 = 1_000_000;
const LAST: u32 = 99_999_999;

/// Some seconds, unless the machine has far more to do than it can.
const TALK_MAX: Duration = Duration::from_secs(120);

#[test]
#[ignore = "needs etcd"]
fn a_drain_loses_no_message_of_clients_connected_through_the_node() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    nodes.rebalance();
    let front = 0;
    let mut arns = nodes.channels_of(1, CHANNELS / 2);
    arns.append(&mut nodes.channels_of(2, CHANNELS / 2));
    let through = nodes.node(front).plain;
    let [other, next] = [1, 2].map(|node| nodes.node(node).plain);
    let (over, passed) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let mut talks = Vec::new();
        for (number, arn) in arns.iter().enumerate() {
            let parts = [(master_query(arn), false), (viewer_query(arn, "v1"), true)];
            let [moves, stays] = [0, 1].map(|part| parts[(number + part) % 2].clone());
            let ends = [(through, next, moves), (other, other, stays)];
            talks.push(ends.map(|(first, then, (query, is_viewer))| {
                let (over, passed) = (&over, &passed);
                let talk = Talk::new([first, then], query, is_viewer);
                scope.spawn(move || talk.converse(over, passed))
            }));
        }
        until_within(Duration::from_secs(60), "messages both ways", || {
            (passed.load(Ordering::Relaxed) > 2_000).then_some(())
        });
        nodes.node(front).signal("TERM");
        let began = Instant::now();
        let ended = nodes.take(front).ended_within(Duration::from_secs(40));
        eprintln!("the node ended after {:?}", began.elapsed());
        over.store(true, Ordering::Relaxed);
        assert!(ended.success(), "{ended:?}");
        let mut sent = 0;
        for ends in talks {
            let [moved, stayed] = ends.map(|end| end.join().expect("a client"));
            assert_eq!(moved.closed, [1001], "one close frame, no reset: {moved:?}");
            assert!(stayed.closed.is_empty(), "{stayed:?}");
            assert_eq!(
                moved.heard, stayed.sent,
                "what was accepted comes, in order"
            );
            let (before, after) = parts(&stayed.heard);
            let (first, second) = parts(&moved.sent);
            assert!(first.starts_with(&before), "{before:?} of {first:?}");
            assert_eq!(after, second, "of the second connection all");
            sent += moved.sent.len() + stayed.sent.len();
        }
        eprintln!("{sent} messages");
    });
    for (_, node) in nodes.all() {
        node.assert_balanced();
    }
}

/// A client that connects again when it is closed.
#[derive(Debug)]
struct Talk {
    /// The address of its first connection, and that of the next.
    to: [SocketAddr; 2],
    query: String,
    is_viewer: bool,
    sent: Vec<u32>,
    heard: Vec<u32>,
    /// The codes of close frames; 0 for any other end.
    closed: Vec<u16>,
}

impl Talk {
    fn new(to: [SocketAddr; 2], query: String, is_viewer: bool) -> Self {
        Self {
            to,
            query,
            is_viewer,
            sent: Vec::new(),
            heard: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Sends a message every so often and receives, until it is over and the other side has sent its last.
    fn converse(mut self, over: &AtomicBool, passed: &AtomicU32) -> Self {
        let mut socket = self.connect();
        let (mut number, mut due) = (0, Instant::now());
        let until = Instant::now() + TALK_MAX;
        while self.heard.last() != Some(&LAST) || self.sent.last() != Some(&LAST) {
            assert!(Instant::now() < until, "{self:?}");
            let has_sent_all = self.sent.last() == Some(&LAST);
            if Instant::now() >= due && !has_sent_all {
                due = Instant::now().max(due + PACE);
                let is_over = over.load(Ordering::Relaxed);
                number = if is_over { LAST } else { number + 1 };
                // Of one that the broker has closed the end is read next.
                if socket.send(Message::text(self.text(number))).is_ok() {
                    self.sent.push(number);
                }
            }
            let wait = due.saturating_duration_since(Instant::now());
            let wait = wait.clamp(Duration::from_millis(1), PACE);
            socket.get_ref().set_read_timeout(Some(wait)).expect("ours");
            match socket.read() {
                Ok(Message::Text(text)) => {
                    passed.fetch_add(1, Ordering::Relaxed);
                    self.heard.push(number_in(&text));
                }
                Ok(Message::Close(frame)) => {
                    self.closed.push(frame.map_or(0, |frame| frame.code.into()));
                    let until = Some(Duration::from_secs(10));
                    socket.get_ref().set_read_timeout(until).expect("ours");
                    let end = socket.read();
                    let is_clean = matches!(end, Err(Error::ConnectionClosed));
                    self.closed.extend((!is_clean).then_some(0));
                    (socket, number) = (self.connect(), LEAP);
                }
                Ok(_) => {}
                Err(Error::Io(error)) if is_timeout(&error) => {}
                Err(error) => {
                    eprintln!("{error}");
                    self.closed.push(0);
                    (socket, number) = (self.connect(), LEAP);
                }
            }
        }
        self
    }

    fn text(&self, number: u32) -> String {
        let payload = format!("{number:08}");
        if self.is_viewer {
            candidate(&payload)
        } else {
            candidate_to("v1", &payload)
        }
    }

    fn connect(&self) -> WebSocket<TcpStream> {
        let to = self.to[usize::from(!self.closed.is_empty())];
        until("an admission", || {
            let url = format!("ws://{to}/?{}", self.query);
            client::client(url, tcp(to)).ok().map(|(socket, _)| socket)
        })
    }
}

/// The numbers of a client's first connection, and those of its second.
fn parts(numbers: &[u32]) -> (Vec<u32>, Vec<u32>) {
    numbers.iter().partition(|number| **number < LEAP)
}

fn number_in(text: &str) -> u32 {
    let (_, rest) = text.split_once(r#""messagePayload":""#).expect("a message");
    rest[..8].parse().expect("a number of eight digits")
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut)
}

/// Those that wait for an owner that is away, or for the answer of one that hangs.
#[test]
#[ignore = "needs etcd"]
fn requests_that_are_not_answered_are_refused_when_their_node_ends() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    let front = 0;
    let [owner, lost] = nodes.others(front);
    // It has no slots to give when it comes back, so its end begins at once.
    nodes.node(front).signal("TERM");
    nodes.take(front).ended_within(Duration::from_secs(40));
    nodes.start_one(front, 1);
    nodes.until_served();
    let arns = [owner, lost].map(|node| nodes.channels_of(node, 1).remove(0));
    nodes.node(owner).signal("STOP");
    nodes.node(lost).signal("KILL");
    nodes.take(lost).ended_within(Duration::from_secs(5));
    let through = nodes.node(front);
    let mut connections = Vec::new();
    for arn in &arns {
        let describe = json!({ "ChannelARN": arn }).to_string();
        for asked in [
            upgrade_head(through, &master_query(arn)).into_bytes(),
            request("/describeSignalingChannel", &describe),
        ] {
            let mut connection = Connection::open(through.plain);
            connection.send(&asked);
            connections.push(connection);
        }
    }
    until_within(Duration::from_secs(2), "requests under way", || {
        let now = through.scrape();
        let waiting =
            now.sum("heliograph_cluster_parked") + now.sum("heliograph_cluster_link_clients");
        (waiting >= 4.0).then_some(())
    });
    through.signal("TERM");
    for connection in &mut connections {
        let answer = connection.answer().expect("an answer, no end without one");
        assert_eq!(answer.status, 503, "{answer:?}");
        connection.assert_closed();
    }
    let ended = nodes.take(front).ended_within(Duration::from_secs(25));
    assert!(ended.success(), "{ended:?}");
    nodes.node(owner).signal("CONT");
}

/// None of them takes what another one has: they do not offer it for long, nor are clients told to come back slowly.
#[test]
#[ignore = "needs etcd"]
fn all_nodes_that_end_together_end_within_fifteen_seconds() {
    let Some(mut nodes) = Nodes::start(1) else {
        return;
    };
    nodes.rebalance();
    let arns = nodes.channels_of(1, 4);
    let clients = arns.iter().enumerate().map(|(number, arn)| {
        let to = nodes.node(number % 3).plain;
        Talk::new([to, to], master_query(arn), false).connect()
    });
    let clients: Vec<_> = clients.collect();
    let began = Instant::now();
    for (_, node) in nodes.all() {
        node.signal("TERM");
    }
    let left: Vec<_> = clients
        .into_iter()
        .map(|mut socket| {
            thread::spawn(move || {
                let until = Some(Duration::from_secs(20));
                socket.get_ref().set_read_timeout(until).expect("ours");
                while socket.read().is_ok() {}
            })
        })
        .collect();
    for node in 0..3 {
        let ended = nodes.take(node).ended_within(Duration::from_secs(40));
        assert!(ended.success(), "{ended:?}");
    }
    let after = began.elapsed();
    eprintln!("all ended after {after:?}");
    assert!(after <= Duration::from_secs(15), "{after:?}");
    for client in left {
        client.join().expect("a client");
    }
}
