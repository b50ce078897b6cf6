//! Frames of calls between a node and the test, which is the other node: whose bytes are whose, and what ends them.

use super::inner::{self, client as header};
use super::kept::{describe, waiting};
use super::meeting::assert_gone;
use super::nodes::{NAME, SECRET};
use super::owner::{self, link, read_until};
use crate::http::Connection;
use codec::proxy::{
    CallEntry, Entry, FRAME_BYTES, Introduction, LinkKey, OwnerFrame, greeting, introduced,
    read_frame, write_frame,
};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use testkit::until;

/// The header of a call of this length, and bytes behind it.
fn call(inner: &inner::Inner, number: u64, length: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("small");
    let header = inner.call_header(&header(1), CallEntry { number, length });
    [&header[..], bytes].concat()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A call that is answered, with the next one refused unless it is right: the node closes without another word.
#[test]
fn whatever_is_no_next_call_ends_the_connection() {
    let world = inner::World::new("");
    let other = world.connect();
    let good = |inner: &inner::Inner, number| call(inner, number, GET.len(), GET);
    type Next<'a> = &'a dyn Fn(&inner::Inner) -> Vec<u8>;
    let cases: [(&str, &str, Next<'_>); 7] = [
        ("the first again", "malformed", &|it| good(it, 0)),
        ("one is left out", "malformed", &|it| good(it, 2)),
        ("of another connection", "forged", &|_| good(&other, 1)),
        ("no call", "malformed", &|it| {
            [&it.header(&header(1))[..], GET].concat()
        }),
        ("opened ahead", "malformed", &|it| it.ahead()),
        ("a request alone", "malformed", &|_| GET.to_vec()),
        ("more than it says", "malformed", &|it| {
            call(it, 1, GET.len() - 1, GET)
        }),
    ];
    for (what, reason, next) in cases {
        let before = world.refused(reason);
        let mut inner = world.connect();
        inner.say(&good(&inner, 0));
        let answer = inner.frame(0);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{what}: {answer}");
        assert!(!answer.contains("Connection: close"), "{what}: {answer}");
        inner.say(&next(&inner));
        assert_eq!(inner.rest(), "", "{what}");
        until(what, || (world.refused(reason) > before).then_some(()));
    }
    assert_eq!(world.refused("incomplete"), 0.0);
}

/// The end of a request is said by its header: what its text says is nothing to the next one.
#[test]
fn a_request_that_says_another_length_is_its_own_trouble() {
    let world = inner::World::new("");
    let longer = b"POST /describeSignalingChannel HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1";
    let mut inner = world.connect();
    // In pieces of a byte, and what follows the request in its text is answered by nobody.
    for byte in call(&inner, 0, longer.len(), longer) {
        inner.say(&[byte]);
    }
    assert!(inner.frame(0).starts_with("HTTP/1.1 "));
    inner.say(&call(&inner, 1, GET.len(), GET));
    assert!(inner.frame(1).starts_with("HTTP/1.1 404 "));
    // It is answered by its head alone, and the end of it comes together with the next call.
    let whole = call(&inner, 2, longer.len(), longer);
    let (first, last) = whole.split_at(whole.len() - 4);
    inner.say(first);
    assert!(inner.frame(2).starts_with("HTTP/1.1 403 "));
    inner.say(&[last, &call(&inner, 3, GET.len(), GET)].concat());
    assert!(inner.frame(3).starts_with("HTTP/1.1 404 "));
    // A text that wants more than the header has waits for it in vain.
    let shorter =
        b"POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{}";
    inner.say(&call(&inner, 4, shorter.len(), shorter));
    inner.say(&call(&inner, 5, GET.len(), GET));
    assert_eq!(inner.rest_after_taken(4), "");
}

/// Bytes of a request are not awaited behind its answer from a sender that has ended.
#[test]
fn a_call_that_its_sender_has_not_sent_whole_ends_with_its_answer() {
    let world = inner::World::new("[timeouts]\nbody = \"2s\"");
    let mut inner = world.connect();
    let part =
        b"POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{}";
    inner.say(&call(&inner, 0, part.len() + 18, part));
    until("a session", || (world.accepted() == 1.0).then_some(()));
    inner.stream.shutdown(Shutdown::Write).expect("shut");
    assert!(inner.frame(0).starts_with("HTTP/1.1 408 "));
    assert_eq!(inner.stream.read(&mut [0]).ok(), Some(0), "closed");
}

/// An answer says that its call was taken. Word of that comes alone where there is no answer soon.
#[test]
fn a_call_that_is_not_answered_soon_is_said_to_be_taken() {
    let world = inner::World::new("");
    let mut inner = world.connect();
    for number in 0..3 {
        inner.say(&call(&inner, number, GET.len(), GET));
        let head = inner.head();
        assert_eq!(read_frame(&head, number), Ok(None), "an answer's beginning");
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let mut answer = vec![0; length as usize];
        inner.stream.read_exact(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 404 "));
    }
    let waits =
        b"POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{}";
    inner.say(&call(&inner, 3, waits.len(), waits));
    let taken = Ok(Some((OwnerFrame::Taken, FRAME_BYTES)));
    assert_eq!(read_frame(&inner.head(), 3), taken);
}

/// A connection of the node `n1` that waits for its call `next`; its first was answered to a client.
fn kept(world: &owner::World, listener: &TcpListener) -> (TcpStream, Connection) {
    let mut client = Connection::open(world.node.plain);
    client.send(&describe(owner::FAR));
    let mut stream = accept(listener);
    take_call(&mut stream, 0);
    say(&mut stream, 0, OwnerFrame::Answer(ANSWER));
    assert_eq!(client.answer().expect("an answer").text(), "{}");
    until("it waits", || {
        (waiting(&world.node, "out") == 1.0).then_some(())
    });
    (stream, client)
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Takes the call of this number, which is the one that clients of these tests send.
fn take_call(stream: &mut TcpStream, number: u64) {
    let key = LinkKey::derive(&SECRET, NAME);
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let introduction: Introduction = loop {
        if let Some(it) = introduced(&bytes, &link(&key)).expect("a header") {
            break it;
        }
        let read = stream.read(&mut buffer).expect("more");
        assert_ne!(read, 0, "the end before a header");
        bytes.extend_from_slice(&buffer[..read]);
    };
    let asked = describe(owner::FAR);
    let length = u32::try_from(asked.len()).expect("small");
    let call = CallEntry { number, length };
    assert_eq!(introduction.entry, Some(Entry::Call(call)));
    let mut rest = bytes.split_off(introduction.length);
    read_until(stream, &mut rest, asked.len());
    assert_eq!(rest, asked, "its bytes, and none of another");
}

fn say(stream: &mut TcpStream, number: u64, frame: OwnerFrame<'_>) {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, number, frame);
    stream.write_all(&bytes).expect("sent");
}

/// Owners that answer soon say nothing before.
#[test]
fn an_answer_needs_no_word_before_it() {
    let world = owner::World::new();
    let listener = world.owner();
    let (mut stream, mut client) = kept(&world, &listener);
    for number in 1..4 {
        client.send(&describe(owner::FAR));
        take_call(&mut stream, number);
        if number == 2 {
            say(&mut stream, number, OwnerFrame::Taken);
        }
        say(&mut stream, number, OwnerFrame::Answer(ANSWER));
        assert_eq!(client.answer().expect("an answer").text(), "{}");
    }
    world.assert_none_failed();
}

#[test]
fn a_call_that_was_declined_goes_there_again() {
    let world = owner::World::new();
    let listener = world.owner();
    let (mut stream, mut client) = kept(&world, &listener);
    client.send(&[describe(owner::FAR), describe(owner::FAR)].concat());
    take_call(&mut stream, 1);
    say(&mut stream, 1, OwnerFrame::Done);
    drop(stream);
    let mut again = accept(&listener);
    for number in 0..2 {
        take_call(&mut again, number);
        say(&mut again, number, OwnerFrame::Taken);
        say(&mut again, number, OwnerFrame::Answer(ANSWER));
    }
    for _ in 0..2 {
        assert_eq!(client.answer().expect("an answer").text(), "{}");
    }
    world.assert_none_failed();
}

/// An owner that is killed with a call unread resets its connection: the call goes to its next process.
#[test]
fn a_call_that_was_not_read_goes_there_again() {
    let world = owner::World::new();
    let listener = world.owner();
    let (stream, mut client) = kept(&world, &listener);
    client.send(&describe(owner::FAR));
    assert_eq!(stream.peek(&mut [0]).expect("a call"), 1);
    drop(stream);
    let mut again = accept(&listener);
    take_call(&mut again, 0);
    say(&mut again, 0, OwnerFrame::Answer(ANSWER));
    assert_eq!(client.answer().expect("an answer").text(), "{}");
    world.assert_none_failed();
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

/// A call that an owner may have carried out is not sent again: it is 503.
#[test]
fn an_owner_that_ends_or_says_nothing_to_a_call_is_503() {
    let world = owner::World::new();
    let listener = world.owner();
    type Fails<'a> = (&'a str, &'a dyn Fn(TcpStream) -> Option<TcpStream>);
    let cases: [Fails<'_>; 6] = [
        ("closed", &|_| None),
        ("closed", &|mut stream| {
            say(&mut stream, 1, OwnerFrame::Taken);
            None
        }),
        ("closed", &|mut stream| {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, 1, OwnerFrame::Answer(ANSWER));
            stream.write_all(&bytes[..bytes.len() - 1]).expect("sent");
            None
        }),
        ("foreign", &|mut stream| {
            say(&mut stream, 2, OwnerFrame::Answer(ANSWER));
            Some(stream)
        }),
        ("foreign", &|mut stream| {
            stream.write_all(ANSWER).expect("sent");
            Some(stream)
        }),
        ("timeout", &Some),
    ];
    for (reason, fail) in cases {
        let before = world.failed(reason);
        let (mut stream, mut client) = kept(&world, &listener);
        client.send(&describe(owner::FAR));
        take_call(&mut stream, 1);
        let begun = Instant::now();
        let left = fail(stream);
        let answer = client.answer().expect("an answer");
        answer.refused(503, "ServiceUnavailable");
        assert!(begun.elapsed() < Duration::from_millis(3_500));
        client.assert_closed();
        assert_eq!(world.failed(reason) - before, 1.0, "{reason}");
        drop(left);
        until("its end", || {
            (waiting(&world.node, "out") == 0.0).then_some(())
        });
    }
    assert_gone(&world.node);
}

/// An answer is its client's, and what an owner says behind it is nobody's.
#[test]
fn bytes_behind_an_answer_end_the_connection() {
    let world = owner::World::new();
    let listener = world.owner();
    for at_once in [true, false] {
        let (mut stream, mut client) = kept(&world, &listener);
        client.send(&describe(owner::FAR));
        take_call(&mut stream, 1);
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 1, OwnerFrame::Answer(ANSWER));
        let more = if at_once { ANSWER } else { b"" };
        stream
            .write_all(&[&bytes[..], more].concat())
            .expect("sent");
        assert_eq!(client.answer().expect("an answer").text(), "{}");
        if !at_once {
            until("it waits", || {
                (waiting(&world.node, "out") == 1.0).then_some(())
            });
            stream.write_all(ANSWER).expect("sent");
        }
        until("its end", || {
            (waiting(&world.node, "out") == 0.0).then_some(())
        });
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer().expect("its own node's").status, 404);
    }
    world.assert_none_failed();
}

/// A node of the version before answers without a frame, and ends.
#[test]
fn an_owner_that_knows_no_frames_is_understood() {
    let world = owner::World::new();
    let listener = world.owner();
    let mut client = Connection::open(world.node.plain);
    client.send(&describe(owner::FAR));
    let (mut stream, _, mut bytes) = owner::accept(&listener);
    let asked = describe(owner::FAR);
    read_until(&mut stream, &mut bytes, asked.len());
    assert_eq!(bytes, asked);
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(answer).expect("sent");
    drop(stream);
    assert_eq!(client.answer().expect("an answer").text(), "{}");
    client.assert_closed();
    assert_eq!(waiting(&world.node, "out"), 0.0);
    assert_gone(&world.node);
    world.assert_none_failed();
}

impl inner::Inner {
    /// The answer to the call of this number, which the node may say before to have taken.
    pub(crate) fn frame(&mut self, number: u64) -> String {
        self.answer_to(number).expect("an answer")
    }

    /// The first bytes of a frame.
    fn head(&mut self) -> [u8; FRAME_BYTES] {
        let mut head = [0; FRAME_BYTES];
        self.stream.read_exact(&mut head).expect("a frame");
        head
    }

    /// Whatever comes behind the word that the call of this number was taken.
    fn rest_after_taken(&mut self, number: u64) -> String {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        if let Ok(Some((OwnerFrame::Taken, length))) = read_frame(&bytes, number) {
            bytes.drain(..length);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn answer_to(&mut self, number: u64) -> Option<String> {
        let (mut bytes, mut byte) = (Vec::new(), [0; 1]);
        loop {
            match read_frame(&bytes, number).expect("a frame") {
                Some((OwnerFrame::Taken, FRAME_BYTES)) => bytes.clear(),
                Some((OwnerFrame::Answer(answer), _)) => {
                    return Some(String::from_utf8_lossy(answer).into_owned());
                }
                Some(_) => return None,
                None => {
                    self.stream.read_exact(&mut byte).ok()?;
                    bytes.extend_from_slice(&byte);
                }
            }
        }
    }
}
