//! TLS between nodes: what is passed on and refused there. The test is the other node, with keys of its own making.

use super::meeting::{assert_gone, assert_quiet, exchange};
use super::nodes::{Files, NAME, NONE, Nodes, SECRET};
use crate::http::Connection;
use crate::peer::{Peer, upgrade_head, viewer_query};
use crate::process::Broker;
use broker_core::cluster::secret::ClusterSecret;
use codec::proxy::{
    CHALLENGE_BYTES, GREETING_BYTES, Link, LinkKey, ProxyHeader, greeting, introduced,
    read_greeting, write,
};
use link::{Keys, Purpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::until;

pub(crate) const CHALLENGE: [u8; CHALLENGE_BYTES] = [5; CHALLENGE_BYTES];

pub(crate) type OwnerLink = StreamOwned<ServerConnection, TcpStream>;

/// The keys of nodes with this secret: its first byte, again and again.
pub(crate) fn keys(byte: u8) -> Keys {
    let digits = format!("{byte:02x}").repeat(SECRET.len());
    let secret = ClusterSecret::parse(&digits).expect("a secret");
    Keys::derive(&secret, NAME).expect("keys")
}

#[test]
fn peers_meet_across_an_encrypted_link_and_sessions_are_resumed() {
    let nodes = Nodes::encrypted(2);
    let pairs = [(&nodes.n1, &nodes.n2), (&nodes.n2, &nodes.n1)];
    for arn in nodes.channels() {
        for (one, other) in pairs.repeat(4) {
            let mut master = Peer::master(one, &arn);
            let mut viewer = Peer::viewer(other, &arn, "v1");
            exchange(&mut master, &mut viewer);
            // They have all of it, and say so: to the pings behind what they got.
            until("all of it is confirmed", || {
                master.expect_silence();
                viewer.expect_silence();
                let left = |node: &Broker| node.scrape().sum("heliograph_unconfirmed_bytes");
                (left(one) + left(other) < 0.5).then_some(())
            });
            drop((viewer, master)); // without a close frame: their connections do not come back
        }
    }
    assert_quiet(&nodes);
    let handshakes = |outcome| {
        let name = format!("heliograph_tls_handshakes_total{{outcome=\"{outcome}\"}}");
        nodes.n1.scrape().sum(&name) + nodes.n2.scrape().sum(&name)
    };
    let begun = nodes
        .n1
        .scrape()
        .sum("heliograph_cluster_link_clients_total")
        + nodes
            .n2
            .scrape()
            .sum("heliograph_cluster_link_clients_total");
    // Of connections that were opened ahead some were used, each by a tunnel.
    let ahead = |event| {
        let name = format!("heliograph_cluster_ahead_total{{event=\"{event}\"}}");
        nodes.n1.scrape().sum(&name) + nodes.n2.scrape().sum(&name)
    };
    // Calls found connections that were kept.
    let kept = || {
        let name = "heliograph_cluster_kept_used_total";
        nodes.n1.scrape().sum(name) + nodes.n2.scrape().sum(name)
    };
    until("the handshakes of all that were opened", || {
        let all = begun - ahead("used") + ahead("opened") - kept();
        (handshakes("full") + handshakes("resumed") == 2.0 * all).then_some(())
    });
    let (full, resumed) = (handshakes("full"), handshakes("resumed"));
    // Both ends count. The first of each shard towards the other node is a full one.
    assert!(
        full <= 8.0 && resumed > full,
        "{full} full, {resumed} resumed"
    );
}

/// The node `n1`, which thinks that `n2` owns everything, and the test in the place of `n2`.
pub(crate) struct Owner {
    pub(crate) node: Broker,
    _files: Files,
    listener: TcpListener,
}

impl Owner {
    pub(crate) fn new() -> Self {
        let files = Files::encrypted();
        files.write_map("map", ["0", "1-4095"]);
        let listener = TcpListener::bind(files.inner[1]).expect("an address of this test alone");
        let node = files.start("n1", 1, "", NONE);
        Self {
            node,
            _files: files,
            listener,
        }
    }

    /// Accepts as a node with these keys.
    pub(crate) fn accept(&self, keys: &Keys) -> OwnerLink {
        let (stream, _) = self.listener.accept().expect("a node");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        let config = keys.server(Purpose::Tunnel).expect("a configuration");
        let connection = ServerConnection::new(Arc::new(config)).expect("an engine");
        StreamOwned::new(connection, stream)
    }

    /// Greets and takes the header; what came behind it so far.
    pub(crate) fn greet(&self, link: &mut OwnerLink) -> (ProxyHeader, Vec<u8>) {
        link.write_all(&greeting(&CHALLENGE)).expect("sent");
        let key = LinkKey::derive(&SECRET, NAME);
        let signed = Link {
            key: &key,
            challenge: &CHALLENGE,
            node: "n2",
        };
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            if let Some(read) = introduced(&bytes, &signed).expect("a header") {
                return (read.header, bytes.split_off(read.length));
            }
            let read = link.read(&mut buffer).expect("more");
            assert_ne!(read, 0, "the end before a header");
            bytes.extend_from_slice(&buffer[..read]);
        }
    }

    /// A tunnel that has brought its request and one byte of an answer; the client's end first.
    fn open(&self) -> (TcpStream, OwnerLink) {
        let (client, head) = client(&self.node);
        let mut link = self.accept(&keys(SECRET[0]));
        let (_, mut bytes) = self.greet(&mut link);
        read_until(&mut link, &mut bytes, head.len());
        assert_eq!(bytes, head.as_bytes());
        link.write_all(b"x").expect("sent");
        let (mut client, mut got) = client.into_parts();
        read_until(&mut client, &mut got, 1);
        (client, link)
    }

    /// A client gets 503, since what is there is no node.
    fn assert_foreign(&self, mut client: Connection) {
        let answer = client.answer().expect("an answer");
        answer.refused(503, "ServiceUnavailable");
        client.assert_closed();
        let failed = "heliograph_cluster_link_failures_total{reason=\"foreign\"}";
        assert_eq!(self.node.scrape().sum(failed), 1.0);
        assert_gone(&self.node);
    }
}

/// A connection that asks for a WebSocket of a channel of the other node.
pub(crate) fn client(node: &Broker) -> (Connection, String) {
    let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/far/17";
    let head = upgrade_head(node, &viewer_query(arn, "v1"));
    let mut client = Connection::open(node.plain);
    client.send(head.as_bytes());
    (client, head)
}

pub(crate) fn read_until(stream: &mut impl Read, bytes: &mut Vec<u8>, wanted: usize) {
    let mut buffer = [0; 4096];
    while bytes.len() < wanted {
        let read = stream.read(&mut buffer).expect("more");
        assert_ne!(read, 0, "the end after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..read]);
    }
}

#[test]
fn ends_are_passed_on_through_tls_one_at_a_time() {
    let world = Owner::new();
    // The client first.
    let (mut client, mut link) = world.open();
    client.write_all(b"last words").expect("sent");
    client.shutdown(Shutdown::Write).expect("shut");
    let mut got = Vec::new();
    link.read_to_end(&mut got)
        .expect("a close_notify, not a cut");
    assert_eq!(got, b"last words");
    link.write_all(b"still").expect("sent");
    let mut got = Vec::new();
    read_until(&mut client, &mut got, 5);
    link.conn.send_close_notify();
    link.flush().expect("sent");
    assert_eq!(client.read(&mut [0; 16]).expect("an end"), 0);
    drop((client, link));
    // The owner first.
    let (mut client, mut link) = world.open();
    link.write_all(b"all of it").expect("sent");
    link.conn.send_close_notify();
    link.flush().expect("sent");
    let mut got = Vec::new();
    read_until(&mut client, &mut got, 9);
    assert_eq!(client.read(&mut [0; 16]).expect("an end"), 0);
    client.write_all(b"thanks").expect("sent");
    let mut got = Vec::new();
    read_until(&mut link, &mut got, 6);
    drop((client, link));
    assert_gone(&world.node);
}

#[test]
fn resets_are_passed_on_through_tls() {
    let world = Owner::new();
    let reset = |stream: TcpStream| {
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).expect("set");
    };
    let (client, mut link) = world.open();
    reset(client);
    let mut rest = Vec::new();
    let error = link.read_to_end(&mut rest).expect_err("no end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let (mut client, link) = world.open();
    reset(link.sock);
    let error = client.read_to_end(&mut rest).expect_err("no end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_gone(&world.node);
}

/// A side that does not read stops the other by its window; all of it arrives once it is read.
#[test]
fn who_does_not_read_stops_who_sends_through_tls() {
    let world = Owner::new();
    let piece = vec![9; 1 << 16];
    // Towards the owner.
    let (mut client, mut link) = world.open();
    client.set_nonblocking(true).expect("set");
    let sent = send_all(|| client.write(&piece));
    client.shutdown(Shutdown::Write).expect("shut");
    let mut got = Vec::new();
    link.read_to_end(&mut got).expect("an end");
    assert_eq!((got.len(), got.iter().all(|byte| *byte == 9)), (sent, true));
    drop((client, link));
    // Towards the client. Records that the socket had no room for wait in the engine of the test.
    let (mut client, mut link) = world.open();
    link.conn.set_buffer_limit(Some(1 << 17));
    link.sock.set_nonblocking(true).expect("set");
    let sent = send_all(|| link.write(&piece));
    let mut got = Vec::new();
    client.set_nonblocking(false).expect("set");
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    let finish = std::thread::spawn(move || {
        link.sock.set_nonblocking(false).expect("set");
        link.conn.send_close_notify();
        link.flush().expect("sent");
        link.sock.shutdown(Shutdown::Write).expect("shut");
        link
    });
    client.read_to_end(&mut got).expect("an end");
    assert_eq!((got.len(), got.iter().all(|byte| *byte == 9)), (sent, true));
    drop((client, finish.join().expect("sent")));
    assert_gone(&world.node);
}

/// Sends until nothing was taken for a second; how many bytes were.
fn send_all(mut write: impl FnMut() -> std::io::Result<usize>) -> usize {
    let (mut sent, mut taken) = (0, Instant::now());
    while taken.elapsed() < Duration::from_secs(1) {
        match write() {
            Ok(0) => {}
            Ok(bytes) => (sent, taken) = (sent + bytes, Instant::now()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(sent < 64 << 20, "more than any socket holds was taken");
    }
    sent
}

#[test]
fn an_owner_with_another_secret_is_no_node() {
    let world = Owner::new();
    let (client, _) = client(&world.node);
    let mut link = world.accept(&keys(0xac));
    assert!(link.read(&mut [0; 16]).is_err(), "the node ends it");
    world.assert_foreign(client);
}

#[test]
fn an_owner_without_tls_is_no_node() {
    let world = Owner::new();
    let (client, _) = client(&world.node);
    let (mut link, _) = world.listener.accept().expect("a node");
    link.write_all(&greeting(&CHALLENGE)).expect("sent");
    world.assert_foreign(client);
    let mut got = Vec::new();
    let _ = link.read_to_end(&mut got);
    let begun = got.first().expect("a ClientHello");
    assert_eq!(*begun, 0x16, "no header is sent in the clear");
}

#[test]
fn an_owner_that_says_nothing_is_503_within_seconds() {
    let world = Owner::new();
    let (mut client, _) = client(&world.node);
    let (_link, _) = world.listener.accept().expect("a node");
    let answer = client.answer().expect("an answer");
    answer.refused(503, "ServiceUnavailable");
    let failed = "heliograph_cluster_link_failures_total{reason=\"timeout\"}";
    assert_eq!(world.node.scrape().sum(failed), 1.0);
    assert_gone(&world.node);
}

/// One node whose inner port the test connects to.
struct Inner {
    node: Broker,
    address: SocketAddr,
    _files: Files,
}

impl Inner {
    fn new() -> Self {
        let files = Files::encrypted();
        files.write_map("map", ["0-4094", "4095"]);
        let node = files.start("n1", 1, "", NONE);
        Self {
            node,
            address: files.inner[0],
            _files: files,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("an inner listener");
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .expect("set");
        stream
    }

    /// Connects as a node with these keys.
    fn secured(&self, keys: &Keys) -> StreamOwned<ClientConnection, TcpStream> {
        let config = keys.client(Purpose::Tunnel).expect("a configuration");
        let name = ServerName::try_from("node").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("an engine");
        StreamOwned::new(connection, self.connect())
    }

    fn refused(&self, reason: &str) -> f64 {
        let name = format!("heliograph_cluster_inner_refused_total{{reason=\"{reason}\"}}");
        self.node.scrape().sum(&name)
    }

    /// A header for the challenge that was greeted with.
    fn header(&self, link: &mut impl Read) -> Vec<u8> {
        let mut greeting = [0; GREETING_BYTES];
        link.read_exact(&mut greeting).expect("a greeting");
        let challenge = read_greeting(&greeting).expect("a greeting");
        let key = LinkKey::derive(&SECRET, NAME);
        let signed = Link {
            key: &key,
            challenge: &challenge.expect("whole"),
            node: "n1",
        };
        let header = ProxyHeader {
            source: SocketAddr::from(([192, 0, 2, 1], 4000)),
            destination: SocketAddr::from(([198, 51, 100, 1], 443)),
            listener: 7, // which this node does not have
            tls: true,
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &header, &signed);
        bytes
    }

    /// A request behind a valid header is answered, in pieces of this size.
    fn assert_serves(&self, piece: usize) {
        let mut link = self.secured(&keys(SECRET[0]));
        let mut bytes = self.header(&mut link);
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for piece in bytes.chunks(piece) {
            link.write_all(piece).expect("sent");
        }
        let mut answer = Vec::new();
        link.read_to_end(&mut answer)
            .expect("an end with close_notify");
        assert!(answer.starts_with(b"HTTP/1.1 404 "), "{answer:?}");
    }
}

#[test]
fn strangers_on_an_encrypted_port_are_closed() {
    let world = Inner::new();
    world.assert_serves(usize::MAX);
    world.assert_serves(1);
    // No TLS: a header in the clear, and what else comes.
    for bytes in [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let before = world.refused("malformed");
        let mut stranger = world.connect();
        stranger.write_all(bytes).expect("sent");
        let mut got = Vec::new();
        let _ = stranger.read_to_end(&mut got);
        assert!(!got.starts_with(b"HTTP"), "{got:?}");
        until("the count", || {
            (world.refused("malformed") > before).then_some(())
        });
    }
    // TLS with the keys of another secret.
    let mut link = world.secured(&keys(0xac));
    assert!(
        link.write_all(b"header").is_err(),
        "the node's key is another"
    );
    until("the count", || {
        (world.refused("forged") == 1.0).then_some(())
    });
    // A header of another connection.
    let mut first = world.secured(&keys(SECRET[0]));
    let header = world.header(&mut first);
    let mut second = world.secured(&keys(SECRET[0]));
    let _ = world.header(&mut second);
    second.write_all(&header).expect("sent");
    let mut got = Vec::new();
    let _ = second.read_to_end(&mut got);
    assert_eq!(got, b"");
    until("the count", || {
        (world.refused("forged") == 2.0).then_some(())
    });
    world.assert_serves(usize::MAX);
}

#[test]
fn silence_and_half_handshakes_on_an_encrypted_port_have_an_end() {
    let world = Inner::new();
    let begun = Instant::now();
    let mut silent = world.connect();
    let mut half = world.connect();
    half.write_all(&[0x16, 3, 1, 0, 200, 1]).expect("sent");
    let mut large = world.connect();
    // A record of 16,000 bytes that is never whole: more than a node's handshake needs.
    let record = [&[0x16, 3, 1, 0x3e, 0x80][..], &[1; 15_000]].concat();
    let _ = large.write_all(&record);
    let mut greeted = world.secured(&keys(SECRET[0]));
    let _ = world.header(&mut greeted);
    let mut got = Vec::new();
    let _ = large.read_to_end(&mut got);
    assert!(begun.elapsed() < Duration::from_secs(4), "at once");
    for link in [&mut silent as &mut dyn Read, &mut half, &mut greeted] {
        let _ = link.read_to_end(&mut got);
    }
    assert!(begun.elapsed() > Duration::from_secs(4));
    assert_eq!(
        (world.refused("incomplete"), world.refused("malformed")),
        (3.0, 1.0)
    );
    world.assert_serves(usize::MAX);
}

/// Handshakes of many nodes at once wait for their turns, and all come to their end.
#[test]
fn a_storm_of_handshakes_is_served() {
    let world = Inner::new();
    let keys = keys(SECRET[0]);
    let mut links: Vec<_> = (0..200).map(|_| world.secured(&keys)).collect();
    for link in &mut links {
        // Both sides' first flights are on their way before any is looked at.
        while link.conn.wants_write() {
            link.conn.write_tls(&mut link.sock).expect("sent");
        }
    }
    for link in &mut links {
        let mut bytes = world.header(link);
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        link.write_all(&bytes).expect("sent");
    }
    for link in &mut links {
        let mut answer = Vec::new();
        link.read_to_end(&mut answer).expect("an end");
        assert!(answer.starts_with(b"HTTP/1.1 404 "), "{answer:?}");
    }
}
