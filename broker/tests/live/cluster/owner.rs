//! One node, and the test in the place of the other: what comes over the link, byte for byte, and every way in which an
//! owner may fail.

use super::meeting::assert_gone;
use super::nodes::{Files, NAME, NONE, SECRET};
use crate::http::Connection;
use crate::peer::{tcp_from, viewer_query};
use crate::process::Broker;
use codec::proxy::{CHALLENGE_BYTES, Link, LinkKey, ProxyHeader, greeting, introduced};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use testkit::until;

pub(crate) const CHALLENGE: [u8; CHALLENGE_BYTES] = [5; CHALLENGE_BYTES];

/// A channel of the other node.
pub(crate) const FAR: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/far/17";

/// The node `n1`, which thinks that `n2` owns everything, and where `n2` should listen.
pub(crate) struct World {
    pub(crate) node: Broker,
    files: Files,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::configured("")
    }

    fn configured(more: &str) -> Self {
        let files = Files::new();
        files.write_map("map", ["0", "1-4095"]);
        let node = files.start("n1", 1, more, NONE);
        Self { node, files }
    }

    /// The place of `n2`.
    pub(crate) fn owner(&self) -> TcpListener {
        TcpListener::bind(self.files.inner[1]).expect("an address of this test alone")
    }

    pub(crate) fn failed(&self, reason: &str) -> f64 {
        let name = format!("heliograph_cluster_link_failures_total{{reason=\"{reason}\"}}");
        self.node.scrape().sum(&name)
    }

    /// Asserts that no request for the other node failed.
    pub(crate) fn assert_none_failed(&self) {
        let failed = "heliograph_cluster_link_failures_total";
        assert_eq!(self.node.scrape().sum(failed), 0.0);
    }

    /// Asserts that a client is refused for this reason, and that nothing is left of it.
    fn assert_unreachable(&self, mut client: Connection, reason: &str) {
        let answer = client.answer().expect("an answer");
        answer.refused(503, "ServiceUnavailable");
        client.assert_closed();
        assert_eq!(self.failed(reason), 1.0, "{reason}");
        let refused = self.node.logged(&["refused", "owner_unreachable"], 1);
        assert!(refused[0].contains("upgrade"), "{refused:?}");
        let line = self
            .node
            .logged(&["a node does not answer", "n2", reason], 1);
        assert!(line[0].contains("requests=1"), "{line:?}");
        assert_gone(&self.node);
    }
}

/// A connection that asks for a WebSocket of a channel of the other node.
pub(crate) fn client(node: &Broker) -> (Connection, String) {
    let head = crate::peer::upgrade_head(node, &viewer_query(FAR, "v1"));
    let mut client = Connection::open(node.plain);
    client.send(head.as_bytes());
    (client, head)
}

/// Accepts, greets and takes the header; the connection, and what came behind it so far.
pub(crate) fn accept(listener: &TcpListener) -> (TcpStream, ProxyHeader, Vec<u8>) {
    let (stream, _) = listener.accept().expect("a node");
    greet(stream).expect("a header before the end")
}

/// Greets and takes the header, unless the node has given up.
fn greet(mut stream: TcpStream) -> Option<(TcpStream, ProxyHeader, Vec<u8>)> {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    stream.write_all(&greeting(&CHALLENGE)).ok()?;
    take_header(stream)
}

/// Takes the header of a client on a connection that was greeted.
pub(crate) fn take_header(mut stream: TcpStream) -> Option<(TcpStream, ProxyHeader, Vec<u8>)> {
    let key = LinkKey::derive(&SECRET, NAME);
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(read) = introduced(&bytes, &link(&key)).expect("a header") {
            return Some((stream, read.header, bytes.split_off(read.length)));
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

pub(crate) fn link(key: &LinkKey) -> Link<'_> {
    Link {
        key,
        challenge: &CHALLENGE,
        node: "n2",
    }
}

pub(crate) fn read_until(stream: &mut TcpStream, bytes: &mut Vec<u8>, wanted: usize) {
    let mut buffer = [0; 4096];
    while bytes.len() < wanted {
        let read = stream.read(&mut buffer).expect("more");
        assert_ne!(read, 0, "the end after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// Reads until the end; whether it was a reset.
fn ends_by_reset(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return true,
            Err(error) => panic!("neither an end nor a reset: {error}"),
        }
    }
}

#[test]
fn the_owner_gets_the_clients_address_and_bytes_and_they_end_when_it_ends() {
    let world = World::new();
    let owner = world.owner();
    let source = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
    let head = crate::peer::upgrade_head(&world.node, &viewer_query(FAR, "v1"));
    let mut client = tcp_from(source, world.node.plain);
    client.write_all(head.as_bytes()).expect("sent");
    let (mut link, header, mut bytes) = accept(&owner);
    assert_eq!(header.source, client.local_addr().expect("an address"));
    assert_eq!(header.destination, world.node.plain);
    assert_eq!((header.listener, header.tls), (0, false));
    read_until(&mut link, &mut bytes, head.len());
    assert_eq!(bytes, head.as_bytes());
    // Both ways, then a half-close each.
    let mut got = Vec::new();
    for piece in [b"HTTP/1.1 101 ".to_vec(), vec![7; 100_000]] {
        got.clear();
        link.write_all(&piece).expect("sent");
        read_until(&mut client, &mut got, piece.len());
        assert_eq!(got, piece);
        got.clear();
        client.write_all(&piece).expect("sent");
        read_until(&mut link, &mut got, piece.len());
        assert_eq!(got, piece);
    }
    client.shutdown(Shutdown::Write).expect("shut");
    assert!(!ends_by_reset(&mut link), "the client's end, as an end");
    link.write_all(b"still").expect("sent");
    got.clear();
    read_until(&mut client, &mut got, 5);
    drop(link);
    assert!(!ends_by_reset(&mut client), "the owner's end, as an end");
    let one_way = |to| {
        world.node.scrape().sum(&format!(
            "heliograph_cluster_link_bytes_total{{to=\"{to}\"}}"
        ))
    };
    let expected = 100_013.0;
    assert_eq!(one_way("client"), expected + 5.0);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred bytes")]
    let head = head.len() as f64;
    assert_eq!(one_way("owner"), expected + head);
}

#[test]
fn a_reset_is_passed_on_both_ways() {
    let world = World::new();
    let owner = world.owner();
    let reset = |stream: TcpStream| {
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).expect("set");
    };
    let answered = || {
        let (client, head) = client(&world.node);
        let (mut link, _, mut bytes) = accept(&owner);
        read_until(&mut link, &mut bytes, head.len());
        link.write_all(b"x").expect("sent");
        let (mut client, mut got) = client.into_parts();
        read_until(&mut client, &mut got, 1);
        (client, link)
    };
    let (client, mut link) = answered();
    reset(client);
    assert!(ends_by_reset(&mut link), "the client's reset");
    let (mut client, link) = answered();
    reset(link);
    assert!(ends_by_reset(&mut client), "the owner's reset");
    assert_gone(&world.node);
}

#[test]
fn an_owner_that_is_not_there_is_503() {
    let world = World::new();
    let (client, _) = client(&world.node);
    world.assert_unreachable(client, "connect");
}

#[test]
fn an_owner_that_says_nothing_is_503_within_seconds() {
    let world = World::new();
    let owner = world.owner();
    let begun = Instant::now();
    let (client, _) = client(&world.node);
    let (_link, _) = owner.accept().expect("a node");
    world.assert_unreachable(client, "timeout");
    assert!(
        begun.elapsed() > Duration::from_millis(2_900),
        "{:?}",
        begun.elapsed()
    );
}

/// A node that hangs after it has greeted does not keep an upgrade, whatever a call may take.
#[test]
fn an_owner_that_does_not_answer_an_upgrade_is_503_within_seconds() {
    let world = World::new();
    let owner = world.owner();
    let begun = Instant::now();
    let (client, _) = client(&world.node);
    let (_link, _, _) = accept(&owner);
    world.assert_unreachable(client, "timeout");
    let waited = begun.elapsed();
    let bounds = Duration::from_millis(4_900)..Duration::from_secs(8);
    assert!(bounds.contains(&waited), "{waited:?}");
}

#[test]
fn who_is_no_node_is_503() {
    let world = World::new();
    let owner = world.owner();
    let (client, _) = client(&world.node);
    let (mut link, _) = owner.accept().expect("a node");
    link.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .expect("sent");
    world.assert_unreachable(client, "foreign");
    let mut got = Vec::new();
    let _ = link.read_to_end(&mut got);
    assert_eq!(got, b"", "nothing is said to strangers");
}

#[test]
fn an_owner_that_ends_without_an_answer_is_503() {
    let world = World::new();
    let owner = world.owner();
    let (client, _) = client(&world.node);
    drop(accept(&owner));
    world.assert_unreachable(client, "closed");
}

#[test]
fn an_owner_that_resets_before_an_answer_is_503() {
    let world = World::new();
    let owner = world.owner();
    let (client, _) = client(&world.node);
    let (link, _, _) = accept(&owner);
    let socket = socket2::Socket::from(link);
    socket.set_linger(Some(Duration::ZERO)).expect("set");
    drop(socket);
    world.assert_unreachable(client, "closed");
}

/// A client that leaves meanwhile is no failure of the owner.
#[test]
fn who_has_left_is_not_answered() {
    let world = World::new();
    let owner = world.owner();
    let (client, _) = client(&world.node);
    let (mut link, _, _) = accept(&owner);
    drop(client);
    let _ = ends_by_reset(&mut link);
    drop(link);
    assert_gone(&world.node);
    world.assert_none_failed();
}

/// A side that does not read stops the other by its window; the node holds a buffer, not what was sent.
#[test]
fn who_does_not_read_stops_who_sends() {
    let world = World::new();
    let owner = world.owner();
    let open = || {
        let (client, head) = client(&world.node);
        let (mut link, _, mut bytes) = accept(&owner);
        read_until(&mut link, &mut bytes, head.len());
        link.write_all(b"x").expect("sent");
        let (mut client, mut got) = client.into_parts();
        read_until(&mut client, &mut got, 1);
        (client, link)
    };
    for from_client in [true, false] {
        let (client, link) = open();
        let (mut from, mut to) = if from_client {
            (client, link)
        } else {
            (link, client)
        };
        from.set_nonblocking(true).expect("set");
        // Sends until nothing was taken for a second.
        let (piece, mut sent, mut taken) = (vec![9; 1 << 16], 0usize, Instant::now());
        while taken.elapsed() < Duration::from_secs(1) {
            match from.write(&piece) {
                Ok(bytes) => (sent, taken) = (sent + bytes, Instant::now()),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            assert!(sent < 64 << 20, "more than any socket holds was taken");
        }
        // All of it arrives, once it is read.
        drop_writer(from);
        let mut got = Vec::new();
        to.set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        to.read_to_end(&mut got).expect("an end");
        assert_eq!(got.len(), sent);
        assert!(got.iter().all(|byte| *byte == 9));
    }
    assert_gone(&world.node);
}

fn drop_writer(stream: TcpStream) {
    stream.shutdown(Shutdown::Write).expect("shut");
    // The other direction stays open until its reader has all.
    std::mem::forget(stream);
}

/// A client that takes none of what its owner sent last is cut off.
#[test]
fn a_client_that_reads_nothing_does_not_keep_its_tunnel() {
    let world = World::new();
    let owner = world.owner();
    let (client, _) = client(&world.node);
    let (mut link, _, _) = accept(&owner);
    link.set_write_timeout(Some(Duration::from_secs(1)))
        .expect("set");
    while link.write(&[1; 1 << 16]).is_ok() {}
    drop(link);
    let begun = Instant::now();
    // Earlier than the kernel would (`tcp_user`).
    assert_gone(&world.node);
    assert!(
        begun.elapsed() < Duration::from_secs(27),
        "{:?}",
        begun.elapsed()
    );
    drop(client);
}

/// Requests that wait for an owner that does not greet are bounded; a client of another address gets its turn.
#[test]
fn who_waits_for_a_stuck_owner_makes_room_for_other_addresses() {
    let world = World::new();
    let owner = world.owner();
    // All of them are connected at once.
    SockRef::from(&owner).listen(4096).expect("a backlog");
    owner.set_nonblocking(true).expect("set");
    let (_, head) = client(&world.node);
    let crowd: Vec<TcpStream> = (0..1100)
        .map(|_| {
            let mut one = tcp_from(IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9)), world.node.plain);
            one.write_all(head.as_bytes()).expect("sent");
            one
        })
        .collect();
    until("a refusal", || {
        (world.failed("no_room") > 0.0).then_some(())
    });
    let accepted = || {
        let (stream, _) = owner.accept().ok()?;
        stream.set_nonblocking(false).expect("set");
        Some(stream)
    };
    let waiting: Vec<TcpStream> = std::iter::from_fn(accepted).collect();
    let mut other = tcp_from(IpAddr::V4(Ipv4Addr::new(127, 9, 9, 8)), world.node.plain);
    other.write_all(head.as_bytes()).expect("sent");
    let address: SocketAddr = other.local_addr().expect("an address");
    until("the other address at the owner", || {
        let mut newest = std::iter::from_fn(accepted).filter_map(greet);
        newest.find(|(_, header, _)| header.source == address)
    });
    drop((crowd, waiting));
}

/// Upgrades that are kept, to be sent again, while their owner hangs leave half of the room to others' requests.
#[test]
fn an_owner_that_hangs_leaves_room_for_further_requests() {
    let world = World::new();
    let owner = world.owner();
    // For accepting as well: one that is refused does not come.
    SockRef::from(&owner)
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/far/17";
    let head = crate::peer::upgrade_head(&world.node, &viewer_query(arn, "v1"));
    let line = format!("X-Filler: {}\r\n\r\n", "a".repeat(15_000));
    let large = head.replace("\r\n\r\n", &format!("\r\n{line}"));
    // More than 8 MiB in all.
    let hung: Vec<_> = (0..600)
        .map(|_| {
            let mut client = Connection::open(world.node.plain);
            client.send(large.as_bytes());
            (client, accept(&owner))
        })
        .collect();
    assert_eq!(world.failed("no_room"), 0.0);
    drop(hung);
}
