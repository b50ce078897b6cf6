//! One node whose inner port the test connects to, as another node would, or a stranger.

use super::nodes::{Files, NAME, NONE, SECRET, create};
use crate::http::{Connection, exchange};
use crate::peer::{master_query, upgrade_head};
use crate::process::Broker;
use codec::proxy::{
    CallEntry, GREETING_BYTES, Link, LinkKey, ProxyHeader, read_greeting, write, write_ahead,
    write_call, write_upgrade,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use testkit::until;

pub(crate) struct World {
    pub(crate) node: Broker,
    files: Files,
}

impl World {
    pub(crate) fn new(more: &str) -> Self {
        let files = Files::new();
        files.write_map("map", ["0-4094", "4095"]);
        let node = files.start("n1", 1, more, NONE);
        Self { node, files }
    }

    pub(crate) fn connect(&self) -> Inner {
        let mut stream = TcpStream::connect(self.files.inner[0]).expect("an inner listener");
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .expect("set");
        let mut greeting = [0; GREETING_BYTES];
        stream.read_exact(&mut greeting).expect("a greeting");
        let challenge = read_greeting(&greeting)
            .expect("a greeting")
            .expect("whole");
        Inner { stream, challenge }
    }

    pub(crate) fn refused(&self, reason: &str) -> f64 {
        let name = format!("heliograph_cluster_inner_refused_total{{reason=\"{reason}\"}}");
        self.node.scrape().sum(&name)
    }

    pub(crate) fn accepted(&self) -> f64 {
        let name = "heliograph_cluster_inner_accepted_total";
        self.node.scrape().sum(name)
    }

    /// A valid header still leads to an answer.
    fn assert_serves(&self) {
        let mut inner = self.connect();
        inner.say(
            &[
                &inner.header(&client(1))[..],
                b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ]
            .concat(),
        );
        let answer = inner.rest();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(
            answer.to_lowercase().contains("\r\nconnection: close\r\n"),
            "{answer}"
        );
    }
}

/// A connection to an inner listener that was greeted.
pub(crate) struct Inner {
    pub(crate) stream: TcpStream,
    challenge: [u8; 32],
}

impl Inner {
    pub(crate) fn header(&self, header: &ProxyHeader) -> Vec<u8> {
        self.header_of(header, &SECRET, NAME, "n1")
    }

    fn header_of(
        &self,
        header: &ProxyHeader,
        secret: &[u8; 32],
        cluster: &str,
        node: &str,
    ) -> Vec<u8> {
        let key = LinkKey::derive(secret, cluster);
        self.signed((&key, node), |bytes, link| write(bytes, header, link))
    }

    /// The header of a call on a connection that is kept.
    pub(crate) fn call_header(&self, header: &ProxyHeader, call: CallEntry) -> Vec<u8> {
        let key = LinkKey::derive(&SECRET, NAME);
        self.signed((&key, "n1"), |bytes, link| {
            write_call(bytes, header, call, link)
        })
    }

    /// The header of an upgrade of this number.
    pub(crate) fn upgrade_header(&self, header: &ProxyHeader, number: u64) -> Vec<u8> {
        let key = LinkKey::derive(&SECRET, NAME);
        self.signed((&key, "n1"), |bytes, link| {
            write_upgrade(bytes, header, number, link)
        })
    }

    /// The frame of a connection that is opened ahead.
    pub(crate) fn ahead(&self) -> Vec<u8> {
        let key = LinkKey::derive(&SECRET, NAME);
        self.signed((&key, "n1"), write_ahead)
    }

    /// Bytes of a node that answer the challenge of this connection.
    fn signed(
        &self,
        (key, node): (&LinkKey, &str),
        write: impl FnOnce(&mut Vec<u8>, &Link<'_>),
    ) -> Vec<u8> {
        let challenge = &self.challenge;
        let link = Link {
            key,
            challenge,
            node,
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &link);
        bytes
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads to the end, however that comes.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub(crate) fn client(last: u8) -> ProxyHeader {
    ProxyHeader {
        source: SocketAddr::from(([192, 0, 2, last], 4000)),
        destination: SocketAddr::from(([198, 51, 100, 1], 443)),
        listener: 7, // which this node does not have
        tls: true,
    }
}

#[test]
fn strangers_are_closed_without_a_word() {
    let world = World::new("");
    let first = world.connect();
    let used = first.header(&client(1));
    for (what, reason) in STRANGERS {
        let before = world.refused(reason);
        let mut inner = world.connect();
        let bytes = of_stranger(what, &inner, &used);
        inner.say(&bytes);
        assert_eq!(inner.rest(), "", "{what}");
        until(what, || (world.refused(reason) > before).then_some(()));
    }
    drop(first);
    world.assert_serves();
}

/// The kinds of strangers' bytes, each with the label under which it is counted.
const STRANGERS: [(&str, &str); 11] = [
    ("HTTP", "malformed"),
    ("TLS", "malformed"),
    ("version 1", "malformed"),
    ("zeros", "malformed"),
    ("too long", "malformed"),
    ("another address", "forged"),
    ("another HMAC", "forged"),
    ("used before", "forged"),
    ("another secret", "forged"),
    ("another cluster", "forged"),
    ("another node", "forged"),
];

fn of_stranger(what: &str, inner: &Inner, used: &[u8]) -> Vec<u8> {
    let header = client(1);
    let mut good = inner.header(&header);
    let last = good.len() - 1;
    match what {
        "HTTP" => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        "TLS" => b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        "version 1" => b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        "zeros" => vec![0; 10_000],
        "used before" => used.to_vec(),
        "another secret" => inner.header_of(&header, &[0xac; 32], NAME, "n1"),
        "another cluster" => inner.header_of(&header, &SECRET, "other", "n1"),
        "another node" => inner.header_of(&header, &SECRET, NAME, "n2"),
        _ => {
            let place = match what {
                "too long" => 14,
                "another address" => 16,
                _ => last,
            };
            good[place] ^= 1;
            good
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte_but_not_for_ever() {
    let world = World::new("");
    let mut inner = world.connect();
    let bytes = [
        &inner.header(&client(1))[..],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    .concat();
    for byte in bytes {
        inner.say(&[byte]);
    }
    assert!(inner.rest().starts_with("HTTP/1.1 404 "));
    for half in [0, 20] {
        let begun = Instant::now();
        let mut inner = world.connect();
        let header = inner.header(&client(1));
        inner.say(&header[..half]);
        assert_eq!(inner.rest(), "");
        let took = begun.elapsed();
        assert!(
            took > Duration::from_secs(4) && took < Duration::from_secs(12),
            "{took:?}"
        );
    }
    assert_eq!(world.refused("incomplete"), 2.0);
}

#[test]
fn silent_connections_make_room_for_one_that_speaks() {
    let world = World::new("");
    let silent: Vec<Inner> = (0..1030).map(|_| world.connect()).collect();
    until("the oldest's end", || {
        (world.refused("limit") > 0.0).then_some(())
    });
    world.assert_serves();
    drop(silent);
    world.assert_serves();
}

/// A node that has signed its connection may wait with a client's header, but not without end.
#[test]
fn a_connection_that_is_opened_ahead_waits_for_half_a_minute() {
    let world = World::new("");
    let begun = Instant::now();
    let (silent, mut ahead, mut unused) = (world.connect(), world.connect(), world.connect());
    for inner in [&mut ahead, &mut unused] {
        let frame = inner.ahead();
        inner.say(&frame);
    }
    until("the end of the silent one", || {
        (world.refused("incomplete") == 1.0).then_some(())
    });
    let header = ahead.header(&client(1));
    ahead.say(&[&header[..], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat());
    let answer = ahead.rest();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let more = Duration::from_secs(45);
    unused.stream.set_read_timeout(Some(more)).expect("set");
    assert_eq!(unused.rest(), "");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(29) && took < Duration::from_secs(44),
        "{took:?}"
    );
    assert_eq!(world.refused("incomplete"), 1.0);
    drop(silent);
}

#[test]
fn frames_of_other_connections_and_second_ones_are_refused() {
    let world = World::new("");
    let first = world.connect();
    let mut changed = first.ahead();
    *changed.last_mut().expect("an HMAC") ^= 1;
    // Its header is taken in pieces.
    for piece in [1, 1000] {
        let mut inner = world.connect();
        let bytes = [inner.ahead(), inner.header(&client(1))].concat();
        for piece in bytes.chunks(piece) {
            inner.say(piece);
        }
        inner.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = inner.rest();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    for (bytes, reason) in [
        (first.ahead(), "forged"),
        (changed, "forged"),
        (vec![], "malformed"),
    ] {
        let before = world.refused(reason);
        let mut inner = world.connect();
        let twice = [inner.ahead(), inner.ahead()].concat();
        inner.say(if bytes.is_empty() { &twice } else { &bytes });
        assert_eq!(inner.rest(), "", "{reason}");
        until(reason, || (world.refused(reason) > before).then_some(()));
    }
    // A header of another connection, behind a frame of this one.
    let mut inner = world.connect();
    let bytes = [inner.ahead(), first.header(&client(1))].concat();
    inner.say(&bytes);
    assert_eq!(inner.rest(), "");
    until("the count", || {
        (world.refused("forged") == 3.0).then_some(())
    });
}

#[test]
fn connections_without_a_client_make_room_for_clients() {
    let world = World::new("[limits]\nconnections = 40");
    let ahead: Vec<Inner> = (0..39)
        .map(|_| {
            let mut inner = world.connect();
            let frame = inner.ahead();
            inner.say(&frame);
            inner
        })
        .collect();
    until("all of them", || {
        let name = "heliograph_cluster_links_ahead{way=\"in\"}";
        (world.node.scrape().sum(name) == 39.0).then_some(())
    });
    let clients: Vec<Connection> = (0..20)
        .map(|_| {
            let mut client = Connection::open(world.node.plain);
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(client.answer().expect("an answer").status, 404);
            client
        })
        .collect();
    drop((ahead, clients));
}

/// A stranger has no key, so what it holds is nobody's place.
#[test]
fn silent_connections_keep_no_client_out() {
    let world = World::new("[limits]\nconnections = 40");
    let silent: Vec<Inner> = (0..40).map(|_| world.connect()).collect();
    until("a place for a client", || {
        let mut client = TcpStream::connect(world.node.plain).expect("connected");
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("sent");
        let mut answer = [0; 12];
        let answered = client.read_exact(&mut answer).is_ok();
        (answered && &answer == b"HTTP/1.1 404").then_some(())
    });
    // Those whose header is late end by themselves, and are counted as incomplete.
    assert!(world.refused("limit") >= 1.0);
    drop(silent);
}

/// The owner's bounds are for clients, whichever node passed them on.
#[test]
fn addresses_are_those_of_the_clients() {
    let world = World::new("[limits]\nconnections = 40");
    let open = |last| {
        let mut inner = world.connect();
        let header = inner.header(&client(last));
        inner.say(&header);
        inner
    };
    let mut crowd: Vec<Inner> = (0..40).map(|_| open(1)).collect();
    until("all of them", || {
        let taken = world
            .node
            .scrape()
            .sum("heliograph_cluster_inner_accepted_total");
        (taken >= 39.0).then_some(())
    });
    let mut other = TcpStream::connect(world.node.plain).expect("connected");
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("sent");
    let mut answer = [0; 12];
    other.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 404");
    let evicted = "heliograph_connections_cut_total{reason=\"evicted\"}";
    assert!(world.node.scrape().sum(evicted) > 0.0);
    assert!(crowd.iter_mut().any(|inner| {
        inner
            .stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("set");
        matches!(inner.stream.read(&mut [0; 16]), Ok(0))
    }));
}

#[test]
fn who_was_passed_on_is_known_by_the_clients_address() {
    let world = World::new("");
    let arn = create(world.node.plain, "cam");
    let head = upgrade_head(&world.node, &master_query(&arn));
    let mut inner = world.connect();
    inner.say(&[&inner.header(&client(77))[..], head.as_bytes()].concat());
    let mut answer = [0; 12];
    inner.stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    drop(inner);
    world
        .node
        .logged(&["connection ended", "192.0.2.77:4000"], 1);
}

/// On a port for clients it is what any garbage is.
#[test]
fn a_header_on_a_port_of_clients_is_400() {
    let world = World::new("");
    let inner = world.connect();
    let header = inner.header(&client(1));
    let answer = exchange(world.node.plain, &header);
    assert_eq!(answer.status, 400, "{answer:?}");
    let mut connection = Connection::open(world.node.plain);
    connection.send(&[&header[..], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat());
    assert_eq!(connection.answer().expect("an answer").status, 400);
    connection.assert_closed();
}
