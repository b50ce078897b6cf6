//! Writes, receives, cancellations, sends and reads in any order. No byte is lost, duplicated or reordered, however few
//! bytes the kernel takes at once.

use super::{BUFFERS, next, small};
use proptest::prelude::*;
use ring::{Completion, Engine, Key, Lent, Received, Ring};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

super::on_both! { any_order_of_operations_keeps_all_bytes_in_order }

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The peer writes this many bytes.
    Write(usize),
    Once,
    Many,
    Cancel,
    Enter,
    /// Sends this many bytes, skipping the first one of the buffer.
    Send(usize),
    /// The peer reads up to this many bytes.
    Read(usize),
    /// Returns the buffers kept so far.
    GiveBack,
    /// Moves the connection to another ring, if no operation is armed.
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..200_usize).prop_map(Step::Write),
        Just(Step::Once),
        Just(Step::Many),
        Just(Step::Cancel),
        Just(Step::Enter),
        (1..300_000_usize).prop_map(Step::Send),
        (1..100_000_usize).prop_map(Step::Read),
        Just(Step::GiveBack),
        Just(Step::Move),
    ]
}

fn any_order_of_operations_keeps_all_bytes_in_order(engine: Engine) {
    let config = ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        let mut world = World::new(engine);
        steps.into_iter().for_each(|step| world.step(step));
        world.finish();
    });
}

const KEY: Key = Key::new(9);

struct World {
    engine: Engine,
    ring: Ring,
    socket: OwnedFd,
    peer: UnixStream,
    kept: Vec<Lent>,
    /// Number of buffers given back since all completions were last read: a completion may be from before.
    returned: usize,
    is_armed: bool,
    /// Size of the send in flight, in bytes.
    sending: usize,
    written: usize,
    received: usize,
    sent: usize,
    read: usize,
}

impl World {
    fn new(engine: Engine) -> Self {
        let (peer, socket) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        Self {
            engine,
            ring: ring_of(engine),
            socket: socket.into(),
            peer,
            kept: Vec::new(),
            returned: 0,
            is_armed: false,
            sending: 0,
            written: 0,
            received: 0,
            sent: 0,
            read: 0,
        }
    }

    fn step(&mut self, step: Step) {
        let socket = self.socket.as_fd();
        match step {
            Step::Write(bytes) => {
                self.peer.write_all(&pattern(self.written, bytes)).unwrap();
                self.written += bytes;
            }
            Step::Once if !self.is_armed => {
                self.ring.receive_once(socket, KEY);
                self.is_armed = true;
            }
            Step::Many if !self.is_armed => {
                self.ring.receive_many(socket, KEY);
                self.is_armed = true;
            }
            Step::Cancel if self.is_armed => self.ring.cancel_receive(socket, KEY),
            Step::Send(bytes) if self.sending == 0 => {
                let mut buffer = vec![0; bytes % 7];
                buffer.extend(pattern(self.sent, bytes));
                self.ring.send(socket, KEY, buffer, bytes % 7);
                self.sent += bytes;
                self.sending = bytes;
            }
            Step::Read(bytes) => self.read(bytes),
            Step::GiveBack => self.give_back(),
            Step::Move if !self.is_armed && self.sending == 0 && self.kept.is_empty() => {
                self.ring.release(socket);
                self.ring = ring_of(self.engine);
            }
            Step::Enter | Step::Once | Step::Many | Step::Cancel | Step::Send(_) | Step::Move => {
                self.ring.enter(0, None).unwrap();
                self.complete_all();
            }
        }
    }

    fn complete_all(&mut self) {
        while let Some(completion) = self.ring.next() {
            self.complete(completion);
        }
        self.returned = 0;
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Received { received, more, .. } => {
                assert!(self.is_armed, "nothing comes behind a final completion");
                self.is_armed = more;
                match received {
                    Received::Bytes(mut lent) => {
                        let bytes = self.ring.bytes(&mut lent).to_vec();
                        assert_eq!(bytes, pattern(self.received, bytes.len()));
                        self.received += bytes.len();
                        self.kept.push(lent);
                    }
                    Received::NoBuffers => {
                        assert!(!more && self.kept.len() + self.returned >= BUFFERS);
                    }
                    Received::Cancelled => assert!(!more),
                    Received::End => assert_eq!(self.received, self.written),
                    Received::Failed(error) => panic!("{error}"),
                }
            }
            Completion::Sent { bytes, result, .. } => {
                assert_eq!(result.unwrap(), self.sending);
                assert!(bytes.len() >= self.sending);
                self.sending = 0;
            }
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, most: usize) {
        let mut bytes = vec![0; most];
        match self.peer.read(&mut bytes) {
            Ok(len) => {
                assert_eq!(bytes[..len], pattern(self.read, len));
                self.read += len;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    fn give_back(&mut self) {
        self.returned += self.kept.len();
        let kept = self.kept.drain(..);
        kept.for_each(|lent| self.ring.give_back(lent));
    }

    /// Lets everything in flight complete, then checks that EOF is received.
    fn finish(mut self) {
        while self.sending > 0 || self.received < self.written || self.is_armed {
            self.give_back();
            self.read(1 << 20);
            if self.is_armed && self.received == self.written {
                self.ring.cancel_receive(self.socket.as_fd(), KEY);
            } else if !self.is_armed && self.received < self.written {
                self.step(Step::Many);
            }
            self.ring.enter(1, Some(Duration::from_millis(1))).unwrap();
            self.complete_all();
        }
        self.read(1 << 20);
        assert_eq!((self.received, self.read), (self.written, self.sent));
        self.give_back();
        drop(self.peer);
        self.ring.receive_once(self.socket.as_fd(), KEY);
        assert!(matches!(
            next(&mut self.ring),
            Completion::Received {
                received: Received::End,
                more: false,
                ..
            }
        ));
    }
}

fn ring_of(engine: Engine) -> Ring {
    Ring::new(&small(engine)).unwrap()
}

/// Returns `len` bytes of the stream, starting at offset `from`.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}
