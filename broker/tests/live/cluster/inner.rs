//! The test in the place of the other node: at the inner port of one, as a stranger or as a front; and as an owner.

use super::nodes::{Files, NAME, NONE, SECRET, create};
use crate::http::{Connection, request};
use crate::peer::{master_query, tcp_from, upgrade_head, viewer_query};
use crate::process::Broker;
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::secret::ClusterSecret;
use codec::link::{Client, End, Frame, Hello, How, Kind, NodeName, Open, Reader, write};
use link::{Keys, Purpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::{until, until_true};

/// The node `n1`, and the test in the place of `n2`.
struct World {
    node: Broker,
    files: Files,
}

/// A connection to an inner listener.
type Inner = StreamOwned<ClientConnection, TcpStream>;

impl World {
    /// One whose node has these slots.
    fn new(slots: &str, others: &str, more: &str) -> Self {
        let files = Files::new();
        files.write_map("map", [slots, others]);
        let node = files.start("n1", 1, more, NONE);
        Self { node, files }
    }

    /// One whose node has nearly all of them.
    fn owner(more: &str) -> Self {
        Self::new("0-4094", "4095", more)
    }

    /// A connection on which nothing was said.
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.files.inner[0]).expect("an inner listener");
        let most = Some(Duration::from_secs(15));
        stream.set_read_timeout(most).expect("set");
        stream
    }

    /// One of a node with these keys.
    fn secured(&self, keys: &Keys) -> Inner {
        let config = keys.client(Purpose::Link).expect("a configuration");
        let name = ServerName::try_from("n1").expect("a name");
        let engine = ClientConnection::new(Arc::new(config), name).expect("an engine");
        StreamOwned::new(engine, self.connect())
    }

    /// A link on which this client has begun.
    fn link(&self, client: Client, request: &[u8]) -> Inner {
        let mut inner = self.secured(&keys(SECRET[0], NAME));
        let mut bytes = hello(INNER_VERSION, NAME, "n1");
        let open = Open {
            client,
            request_bytes: u32::try_from(request.len()).expect("short"),
            begin: request,
        };
        write(&mut bytes, 1, &Frame::Open(open));
        inner.write_all(&bytes).expect("sent");
        inner
    }

    fn refused(&self, reason: &str) -> f64 {
        let name = format!("heliograph_cluster_inner_refused_total{{reason=\"{reason}\"}}");
        self.node.scrape().sum(&name)
    }

    fn failed(&self, reason: &str) -> f64 {
        let name = format!("heliograph_cluster_link_failures_total{{reason=\"{reason}\"}}");
        self.node.scrape().sum(&name)
    }

    /// A client of another node gets an answer.
    fn assert_serves(&self) {
        let mut inner = self.link(client(1, Kind::Call), GET);
        let answer = answer(&mut inner);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}

/// An answer of an owner.
const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The keys of nodes with this secret: its first byte, again and again.
fn keys(byte: u8, cluster: &str) -> Keys {
    let digits = format!("{byte:02x}").repeat(SECRET.len());
    let secret = ClusterSecret::parse(&digits).expect("a secret");
    Keys::derive(&secret, cluster).expect("keys")
}

fn hello(version: u32, cluster: &str, to: &str) -> Vec<u8> {
    let node = |name| NodeName {
        name,
        directory: 0,
        start: 0,
    };
    let mut bytes = Vec::new();
    Hello {
        version,
        cluster,
        from: node("n2"),
        to: node(to),
        shard: 0,
        shards: 1,
    }
    .write(&mut bytes);
    bytes
}

fn client(last: u8, kind: Kind) -> Client {
    Client {
        kind,
        address: SocketAddr::from(([192, 0, 2, last], 4000)),
        listener: 7, // which this node does not have
        tls: true,
        server_name: "".into(),
        certificate: None,
    }
}

/// The first bytes for the client of a link.
fn answer(inner: &mut Inner) -> String {
    read_until(inner, |frame| {
        let Frame::Data { bytes, .. } = frame else {
            return None;
        };
        Some(String::from_utf8_lossy(bytes).into_owned())
    })
}

/// Reads a hello, and then frames up to the one that is looked for.
fn read_until<T>(inner: &mut impl Read, wanted: impl Fn(Frame<'_>) -> Option<T>) -> T {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = inner.read(&mut buffer).expect("more");
        assert_ne!(read, 0, "an end before that frame");
        bytes.extend_from_slice(&buffer[..read]);
        let Ok(Some((_, length))) = Hello::read(&bytes) else {
            continue;
        };
        let (mut reader, mut at) = (Reader::default(), length);
        while let (used, Some((_, frame))) = reader.next(&bytes[at..]).expect("frames") {
            if let Some(found) = wanted(frame) {
                return found;
            }
            at += used;
        }
    }
}

/// Reads to the end, however that comes.
fn assert_closed(mut stream: impl Read) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn strangers_are_closed() {
    let world = World::owner("");
    for bytes in [
        GET,
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..],
        &[0; 10_000],
    ] {
        let before = world.refused("malformed");
        let mut stream = world.connect();
        let _ = stream.write_all(bytes);
        assert_closed(stream);
        until_true("garbage", || world.refused("malformed") > before);
    }
    for keys in [keys(0xac, NAME), keys(SECRET[0], "other")] {
        let before = world.refused("forged");
        let mut inner = world.secured(&keys);
        let _ = inner.write_all(b"x");
        assert_closed(inner);
        until_true("another key", || world.refused("forged") > before);
    }
    world.assert_serves();
}

/// What says the wrong thing behind a right handshake is a node, but not one for this: that of a version without links
/// is one of these.
#[test]
fn hellos_that_do_not_fit_are_refused() {
    let world = World::owner("");
    for hello in [
        hello(INNER_VERSION - 2, NAME, "n1"),
        hello(INNER_VERSION + 2, NAME, "n1"),
        hello(INNER_VERSION, "other", "n1"),
        hello(INNER_VERSION, NAME, "n3"),
        vec![0; 600],
    ] {
        let before = world.refused("malformed");
        let mut inner = world.secured(&keys(SECRET[0], NAME));
        inner.write_all(&hello).expect("sent");
        assert_closed(inner);
        until_true("the refusal", || world.refused("malformed") > before);
    }
    world.assert_serves();
}

#[test]
fn a_hello_may_come_byte_by_byte_but_not_for_ever() {
    let world = World::owner("");
    let mut inner = world.secured(&keys(SECRET[0], NAME));
    for byte in hello(INNER_VERSION, NAME, "n1") {
        inner.write_all(&[byte]).expect("sent");
    }
    let mut first = [0];
    inner.read_exact(&mut first).expect("a hello");
    for keys in [None, Some(keys(SECRET[0], NAME))] {
        let begun = Instant::now();
        match keys {
            None => assert_closed(world.connect()),
            Some(keys) => {
                let mut inner = world.secured(&keys);
                inner.write_all(b"H").expect("sent");
                assert_closed(inner);
            }
        }
        let took = begun.elapsed();
        let bounds = Duration::from_secs(4)..Duration::from_secs(12);
        assert!(bounds.contains(&took), "{took:?}");
    }
    assert_eq!(world.refused("incomplete"), 2.0);
}

#[test]
fn silent_connections_make_room_for_one_that_speaks() {
    let world = World::owner("");
    let silent: Vec<TcpStream> = (0..1030).map(|_| world.connect()).collect();
    until_true("the oldest's end", || world.refused("limit") > 0.0);
    world.assert_serves();
    drop(silent);
    world.assert_serves();
}

/// A stranger has no key, so what it holds is nobody's place.
#[test]
fn silent_connections_keep_no_client_out() {
    let world = World::owner("[limits]\nconnections = 40");
    let silent: Vec<TcpStream> = (0..40).map(|_| world.connect()).collect();
    until("a place for a client", || {
        let mut client = TcpStream::connect(world.node.plain).expect("connected");
        client.write_all(GET).expect("sent");
        let mut answer = [0; 12];
        let answered = client.read_exact(&mut answer).is_ok();
        (answered && &answer == b"HTTP/1.1 404").then_some(())
    });
    assert!(world.refused("limit") >= 1.0);
    drop(silent);
}

#[test]
fn who_was_passed_on_is_known_by_the_clients_address() {
    let world = World::owner("");
    let arn = create(world.node.plain, "cam");
    let head = upgrade_head(&world.node, &master_query(&arn));
    let mut inner = world.link(client(77, Kind::Upgrade), head.as_bytes());
    assert!(answer(&mut inner).starts_with("HTTP/1.1 101 "));
    drop(inner);
    world
        .node
        .logged(&["connection ended", "192.0.2.77:4000"], 1);
}

/// The head of an upgrade for a channel of the test.
const FAR: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/far/17";

fn upgrade(world: &World) -> String {
    upgrade_head(&world.node, &viewer_query(FAR, "v1"))
}

#[test]
fn an_owner_with_another_secret_is_no_node() {
    let world = World::new("0", "1-4095", "");
    let listener = TcpListener::bind(world.files.inner[1]).expect("an address of this test alone");
    let mut client = Connection::open(world.node.plain);
    client.send(upgrade(&world).as_bytes());
    let (stream, _) = listener.accept().expect("a node");
    let config = keys(0xac, NAME).server(Purpose::Link);
    let config = Arc::new(config.expect("a configuration"));
    let engine = ServerConnection::new(config).expect("an engine");
    assert_closed(StreamOwned::new(engine, stream));
    let answer = client.answer().expect("an answer");
    answer.refused(503, "ServiceUnavailable");
    assert_eq!(world.failed("foreign"), 1.0);
}

/// An answer, the end of its stream and the end of the link come together: the client has its answer.
#[test]
fn an_answer_comes_before_the_end_of_its_link() {
    let world = World::new("0", "1-4095", "");
    let listener = TcpListener::bind(world.files.inner[1]).expect("an address of this test alone");
    let config = keys(SECRET[0], NAME).server(Purpose::Link);
    let config = Arc::new(config.expect("a configuration"));
    let mut client = Connection::open(world.node.plain);
    for _ in 0..4 {
        let body = format!("{{\"ChannelARN\":\"{FAR}\"}}");
        client.send(&request("/describeSignalingChannel", &body));
        let (stream, _) = listener.accept().expect("a node");
        let engine = ServerConnection::new(Arc::clone(&config)).expect("an engine");
        let mut owner = StreamOwned::new(engine, stream);
        let mut bytes = hello(INNER_VERSION, NAME, "n1");
        owner.write_all(&bytes).expect("sent");
        read_until(&mut owner, |frame| {
            matches!(frame, Frame::Open(_)).then_some(())
        });
        bytes.clear();
        let data = Frame::Data {
            bytes: NO_CONTENT,
            whole: true,
        };
        write(&mut bytes, 1, &data);
        let end = End {
            how: How::Finish,
            offset: 0,
        };
        write(&mut bytes, 1, &Frame::End(end));
        owner.conn.writer().write_all(&bytes).expect("room");
        owner.conn.send_close_notify();
        let mut records = Vec::new();
        while owner.conn.wants_write() {
            owner.conn.write_tls(&mut records).expect("a vector");
        }
        owner.sock.write_all(&records).expect("sent");
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.status, 204);
    }
}

/// Requests that await a link to an owner that says nothing are bounded; a client of another address gets its place.
#[test]
fn who_waits_for_a_stuck_owner_makes_room_for_other_addresses() {
    let world = World::new("0", "1-4095", "");
    let _listener = TcpListener::bind(world.files.inner[1]).expect("an address of this test alone");
    let head = upgrade(&world);
    let ask = |last| {
        let from = IpAddr::V4(Ipv4Addr::new(127, 9, 9, last));
        let mut one = tcp_from(from, world.node.plain);
        one.write_all(head.as_bytes()).expect("sent");
        one
    };
    let crowd: Vec<TcpStream> = (0..1100).map(|_| ask(9)).collect();
    until_true("a refusal", || world.failed("no_room") > 0.0);
    let mut other = ask(8);
    let mut status = [0; 12];
    other.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 503");
    drop(crowd);
    assert!(world.failed("timeout") > 0.0);
}
