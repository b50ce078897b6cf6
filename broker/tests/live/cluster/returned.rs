//! Connections between nodes that outlive a WebSocket which both sides have closed: the next client's upgrade goes over
//! the same one. The test is in the place of one node.

use super::ahead::count;
use super::inner::{self, client as header};
use super::meeting::assert_gone;
use super::nodes::{NAME, SECRET, create};
use super::owner::{self, client, link, read_until};
use crate::http::Connection;
use crate::peer::{master_query, upgrade_head};
use codec::proxy::{Entry, Introduction, LinkKey, OwnerFrame, greeting, introduced, write_frame};
use codec::ws::{Opcode, close_frame, close_frame_masked, frame_masked};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;
use testkit::until;

/// The close frame of a client.
fn close() -> Vec<u8> {
    let mut bytes = Vec::new();
    close_frame_masked(&mut bytes, 1000, "", [1, 2, 3, 4]);
    bytes
}

/// The close frame of an owner.
fn closed() -> Vec<u8> {
    let mut bytes = Vec::new();
    close_frame(&mut bytes, 1000, "");
    bytes
}

fn word(number: u64, frame: OwnerFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, number, frame);
    bytes
}

fn free(number: u64) -> Vec<u8> {
    word(number, OwnerFrame::Free)
}

/// A node whose owner is the test, and the connection between them.
struct Link {
    world: owner::World,
    listener: TcpListener,
}

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

impl Link {
    fn new() -> Self {
        let world = owner::World::new();
        let listener = world.owner();
        Self { world, listener }
    }

    /// A client whose upgrade was answered over this connection of the node, or a new one.
    fn upgraded(&self, stream: Option<TcpStream>, number: u64) -> (TcpStream, TcpStream) {
        let (client, head) = client(&self.world.node);
        let mut stream = stream.unwrap_or_else(|| accept(&self.listener));
        take_upgrade(&mut stream, number, &head);
        stream.write_all(SWITCHED).expect("sent");
        let (mut client, mut got) = client.into_parts();
        read_until(&mut client, &mut got, SWITCHED.len());
        assert_eq!(got, SWITCHED);
        (client, stream)
    }

    /// Waits until this many connections came back.
    fn came_back(&self, times: f64) {
        until("a connection that comes back", || {
            (count(&self.world.node, "returned") == times).then_some(())
        });
    }
}

/// Accepts a connection of the node and greets it.
fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("a node");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    stream
        .write_all(&greeting(&owner::CHALLENGE))
        .expect("sent");
    stream
}

/// Takes an upgrade of this number, and nothing behind it.
fn take_upgrade(stream: &mut TcpStream, number: u64, head: &str) {
    let key = LinkKey::derive(&SECRET, NAME);
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let it: Introduction = loop {
        if let Some(it) = introduced(&bytes, &link(&key)).expect("a header") {
            break it;
        }
        let read = stream.read(&mut buffer).expect("more");
        assert_ne!(read, 0, "the end before a header");
        bytes.extend_from_slice(&buffer[..read]);
    };
    assert_eq!(it.entry, Some(Entry::Upgrade(number)));
    let mut rest = bytes.split_off(it.length);
    read_until(stream, &mut rest, head.len());
    assert_eq!(rest, head.as_bytes(), "its bytes, and none of another");
}

/// Reads exactly these bytes.
fn reads(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("bytes");
    assert_eq!(got, expected);
}

/// Reads to the end, however that comes.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("set");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn the_next_client_takes_the_connection_of_the_last() {
    let link = Link::new();
    let mut stream = None;
    for number in 0..5_u64 {
        let (mut client, mut owner) = link.upgraded(stream.take(), number);
        client.write_all(&close()).expect("sent");
        reads(&mut owner, &close());
        // The word may come with the close frame, behind it, or in pieces.
        let bytes = [closed(), free(number)].concat();
        let cuts = [
            bytes.len(),
            closed().len(),
            1,
            closed().len() + 1,
            bytes.len() - 1,
        ];
        let (one, other) = bytes.split_at(cuts[usize::try_from(number).expect("small")]);
        owner.write_all(one).expect("sent");
        if one.len() > 1 {
            reads(&mut client, &closed());
        }
        owner.write_all(other).expect("sent");
        let left = if one.len() > 1 { vec![] } else { closed() };
        assert_eq!(rest(&mut client), left, "{number}");
        drop(client);
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        link.came_back((number + 1) as f64);
        stream = Some(owner);
    }
    assert_eq!(count(&link.world.node, "opened"), 0.0);
    assert_eq!(count(&link.world.node, "used"), 4.0);
    assert_gone(&link.world.node);
    link.world.assert_none_failed();
}

/// The client's end may come before the owner's word: it is not passed on.
#[test]
fn a_client_that_leaves_behind_its_close_frame_leaves_the_connection() {
    let link = Link::new();
    let (mut client, mut owner) = link.upgraded(None, 0);
    client.write_all(&close()).expect("sent");
    client.shutdown(Shutdown::Write).expect("shut");
    reads(&mut owner, &close());
    owner
        .write_all(&[closed(), free(0)].concat())
        .expect("sent");
    assert_eq!(rest(&mut client), closed());
    link.came_back(1.0);
    let (_client, _owner) = link.upgraded(Some(owner), 1);
}

/// Whatever is no end by both close frames and the owner's word alone ends the connection with its client.
#[test]
fn after_any_other_end_the_connection_ends() {
    type Does<'a> = &'a dyn Fn(&mut TcpStream, &mut TcpStream);
    let closes: Does<'_> = &|client, owner| {
        client.write_all(&close()).expect("sent");
        reads(owner, &close());
    };
    let says = |owner: &mut TcpStream, bytes: &[&[u8]]| {
        owner.write_all(&bytes.concat()).expect("sent");
    };
    let cases: [(&str, Does<'_>); 9] = [
        ("no close frame of the client", &|_, owner| {
            says(owner, &[&closed(), &free(0)]);
        }),
        ("no word", &|client, owner| {
            closes(client, owner);
            says(owner, &[&closed()]);
            owner.shutdown(Shutdown::Write).expect("shut");
        }),
        ("another number", &|client, owner| {
            closes(client, owner);
            says(owner, &[&closed(), &free(1)]);
        }),
        ("another word", &|client, owner| {
            closes(client, owner);
            says(owner, &[&closed(), &word(0, OwnerFrame::Done)]);
        }),
        ("more than a word", &|client, owner| {
            closes(client, owner);
            says(owner, &[&closed(), &free(0), b"x"]);
        }),
        ("less than a word", &|client, owner| {
            closes(client, owner);
            says(owner, &[&closed(), &free(0)[..15]]);
            owner.shutdown(Shutdown::Write).expect("shut");
        }),
        ("a frame in place of a word", &|client, owner| {
            closes(client, owner);
            says(owner, &[&closed(), b"\x81\x05hello"]);
        }),
        ("the client says more", &|client, owner| {
            client
                .write_all(&[close(), close()].concat())
                .expect("sent");
            reads(owner, &close());
            says(owner, &[&closed(), &free(0)]);
        }),
        ("the client leaves", &|client, owner| {
            let mut bytes = Vec::new();
            frame_masked(&mut bytes, Opcode::Text, b"x", [1, 2, 3, 4]);
            client.write_all(&bytes).expect("sent");
            client.shutdown(Shutdown::Write).expect("shut");
            reads(owner, &bytes);
            says(owner, &[&closed(), &free(0)]);
        }),
    ];
    for (what, does) in cases {
        let link = Link::new();
        let (mut client, mut owner) = link.upgraded(None, 0);
        does(&mut client, &mut owner);
        let got = rest(&mut client);
        assert_eq!(got, closed(), "{what}: the client gets no byte of the link");
        drop(client);
        assert_eq!(rest(&mut owner), b"", "{what}");
        assert_gone(&link.world.node);
        assert_eq!(count(&link.world.node, "returned"), 0.0, "{what}");
        link.world.assert_none_failed();
    }
}

/// Bytes behind the head of the request are not followed, so their connection does not come back.
#[test]
fn a_client_that_does_not_await_the_answer_keeps_its_connection_to_itself() {
    let link = Link::new();
    let head = upgrade_head(
        &link.world.node,
        &crate::peer::viewer_query(owner::FAR, "v1"),
    );
    let mut client = Connection::open(link.world.node.plain);
    client.send(&[head.as_bytes(), &close()].concat());
    let mut owner = accept(&link.listener);
    let key = LinkKey::derive(&SECRET, NAME);
    let wanted = {
        let mut all = [0; 4096];
        let mut length = None;
        until("a header", || {
            let there = owner.peek(&mut all).expect("bytes");
            length = introduced(&all[..there], &super::owner::link(&key)).expect("a header");
            length.map(|it| it.length)
        }) + head.len()
            + close().len()
    };
    read_until(&mut owner, &mut Vec::new(), wanted);
    let bytes = [SWITCHED, &closed(), &free(0)].concat();
    owner.write_all(&bytes).expect("sent");
    let (mut client, _) = client.into_parts();
    assert_eq!(rest(&mut client), [SWITCHED, &closed()].concat());
    drop(client);
    assert_eq!(rest(&mut owner), b"");
    assert_eq!(count(&link.world.node, "returned"), 0.0);
}

/// The owner closes one that waits just when a client takes it: the upgrade goes there again.
#[test]
fn an_upgrade_that_was_declined_goes_there_again() {
    for unsaid in [false, true] {
        let link = Link::new();
        let (mut client1, mut owner) = link.upgraded(None, 0);
        client1.write_all(&close()).expect("sent");
        reads(&mut owner, &close());
        owner
            .write_all(&[closed(), free(0)].concat())
            .expect("sent");
        assert_eq!(rest(&mut client1), closed());
        drop(client1);
        link.came_back(1.0);
        let (client, head) = client(&link.world.node);
        take_upgrade(&mut owner, 1, &head);
        if !unsaid {
            owner.write_all(&word(1, OwnerFrame::Done)).expect("sent");
        }
        drop(owner);
        let mut again = accept(&link.listener);
        take_upgrade(&mut again, 0, &head);
        again.write_all(SWITCHED).expect("sent");
        let (mut client, mut got) = client.into_parts();
        read_until(&mut client, &mut got, SWITCHED.len());
        assert_eq!(got, SWITCHED, "and no byte of the word");
        link.world.assert_none_failed();
    }
}

/// A node that passes clients on, by hand: the owner takes one after the other on one connection.
#[test]
fn an_owner_takes_the_next_client_on_the_connection_of_the_last() {
    let world = inner::World::new("");
    let arn = create(world.node.plain, "cam");
    let head = upgrade_head(&world.node, &master_query(&arn));
    let mut inner = world.connect();
    for number in 0..4 {
        let upgrade = inner.upgrade_header(&header(1), number);
        inner.say(&[&upgrade[..], head.as_bytes()].concat());
        inner.switched();
        // Of a client that has sent much a receive is armed for good.
        for _ in 0..number * 40 {
            let mut ping = Vec::new();
            frame_masked(&mut ping, Opcode::Ping, b"hi", [1, 2, 3, 4]);
            inner.say(&ping);
            reads(&mut inner.stream, b"\x8a\x02hi");
        }
        inner.say(&close());
        reads(&mut inner.stream, &[closed(), free(number)].concat());
    }
    // A call finds it as well.
    let get: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = u32::try_from(get.len()).expect("small");
    let call = codec::proxy::CallEntry { number: 4, length };
    let call = inner.call_header(&header(1), call);
    inner.say(&[&call[..], get].concat());
    let answer = inner.frame(4);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(world.accepted(), 5.0);
    world.node.assert_balanced();
}

/// Whatever is no next header ends a connection that came back, and nothing of it is another client's.
#[test]
fn whatever_is_no_next_client_ends_the_connection() {
    let world = inner::World::new("");
    let arn = create(world.node.plain, "cam");
    let head = upgrade_head(&world.node, &master_query(&arn));
    let begin = |number: u64| {
        let mut inner = world.connect();
        let upgrade = inner.upgrade_header(&header(1), number);
        inner.say(&[&upgrade[..], head.as_bytes()].concat());
        inner
    };
    let other = world.connect();
    type Next<'a> = &'a dyn Fn(&inner::Inner) -> Vec<u8>;
    let cases: [(&str, &str, Next<'_>); 6] = [
        ("the first again", "malformed", &|it| {
            it.upgrade_header(&header(1), 0)
        }),
        ("one is left out", "malformed", &|it| {
            it.upgrade_header(&header(1), 2)
        }),
        ("of another connection", "forged", &|_| {
            other.upgrade_header(&header(1), 1)
        }),
        ("no number", "malformed", &|it| it.header(&header(1))),
        ("a request alone", "malformed", &|_| {
            head.clone().into_bytes()
        }),
        ("another close frame", "malformed", &|_| close()),
    ];
    for (what, reason, next) in cases {
        let before = world.refused(reason);
        let mut inner = begin(0);
        inner.switched();
        inner.say(&close());
        reads(&mut inner.stream, &[closed(), free(0)].concat());
        let bytes = next(&inner);
        inner.say(&[&bytes[..], head.as_bytes()].concat());
        assert_eq!(inner.rest(), "", "{what}");
        until(what, || (world.refused(reason) > before).then_some(()));
    }
    // The first has the number 0.
    let before = world.refused("malformed");
    assert_eq!(begin(1).rest(), "");
    until("a number", || {
        (world.refused("malformed") > before).then_some(())
    });
    world.node.assert_balanced();
}

/// Without a number, or after another end, the owner closes as it would close a client.
#[test]
fn an_owner_ends_a_connection_that_is_not_to_come_back() {
    let world = inner::World::new("");
    let arn = create(world.node.plain, "cam");
    let head = upgrade_head(&world.node, &master_query(&arn));
    for numbered in [false, true] {
        let mut inner = world.connect();
        let header = if numbered {
            inner.upgrade_header(&header(1), 0)
        } else {
            inner.header(&header(1))
        };
        inner.say(&[&header[..], head.as_bytes()].concat());
        inner.switched();
        if numbered {
            inner.say(&[close(), b"more".to_vec()].concat());
            inner.stream.shutdown(Shutdown::Write).expect("shut");
        } else {
            inner.say(&close());
        }
        let got = rest(&mut inner.stream);
        assert_eq!(got.get(..closed().len()), Some(&closed()[..]), "{got:x?}");
        assert!(numbered || got == closed(), "{got:x?}");
    }
    // A protocol error is no end by both close frames.
    let mut inner = world.connect();
    let upgrade = inner.upgrade_header(&header(1), 0);
    inner.say(&[&upgrade[..], head.as_bytes()].concat());
    inner.switched();
    inner.say(b"\xff\xff");
    let got = rest(&mut inner.stream);
    assert_eq!(
        got.get(..4),
        Some(&[0x88, got[1], 0x03, 0xea][..]),
        "{got:x?}"
    );
    assert_eq!(got.len(), 2 + usize::from(got[1]), "{got:x?}");
    world.node.assert_balanced();
}

/// One that waits says so when it ends.
#[test]
fn an_owner_that_ends_says_that_it_took_no_further_client() {
    let mut world = inner::World::new("");
    let arn = create(world.node.plain, "cam");
    let head = upgrade_head(&world.node, &master_query(&arn));
    let mut inner = world.connect();
    let upgrade = inner.upgrade_header(&header(1), 0);
    inner.say(&[&upgrade[..], head.as_bytes()].concat());
    inner.switched();
    inner.say(&close());
    reads(&mut inner.stream, &[closed(), free(0)].concat());
    until("it waits", || {
        let name = "heliograph_cluster_links_ahead{way=\"in\"}";
        (world.node.scrape().sum(name) == 1.0).then_some(())
    });
    world.node.signal("TERM");
    assert_eq!(rest(&mut inner.stream), word(1, OwnerFrame::Done));
    assert!(world.node.ended_within(Duration::from_secs(10)).success());
}

impl inner::Inner {
    /// Reads the head of the answer to an upgrade, to its last byte.
    fn switched(&mut self) {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).expect("a head");
            head.extend_from_slice(&byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:x?}");
    }
}
