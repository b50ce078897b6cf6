//! A machine that sends its connections on at any moment, also in the middle of a stream: what the broker never does,
//! and the edge bears all the same. Bytes come back as they came.

use crate::edge_live::support::{Bench, Wire, pause};
use broker::edge::EdgeSettings;
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Intake, Machine, Output, Peer};
use broker_core::time::{Moment, Now};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::Duration;
use testkit::until_true;

/// 8 MiB through a connection that moves all the time.
#[test]
fn a_stream_survives_any_number_of_moves() {
    const ROUNDS: u32 = 2000;
    let settings = EdgeSettings::default();
    let bench = Bench::of(2, settings, (64, 16), Mover::new);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let streams = [false, false, true, true].map(|tls| {
            let mut wire = bench.wire(tls);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let sent: Vec<u8> = (0..1024_u32)
                        .flat_map(|at| (round * 1024 + at).to_be_bytes())
                        .collect();
                    wire.write_all(&sent).unwrap();
                    wire.flush().unwrap();
                    let mut back = vec![0; sent.len()];
                    wire.read_exact(&mut back).unwrap();
                    assert!(back == sent, "round {round}");
                }
            })
        });
        let moves = scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                bench.server.post_where_room(|| Move);
                pause(Duration::from_millis(1));
            }
        });
        for stream in streams {
            stream.join().unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        moves.join().unwrap();
    });
    let counts = bench.counts();
    assert!(counts.handovers > 100, "{} handovers", counts.handovers);
    bench.wait_until_empty();
    bench.server.stop().unwrap();
}

/// A large answer is on its way when the connection is to move: it is sent to its end first.
#[test]
fn what_is_in_flight_goes_out_before_the_move() {
    const BYTES: usize = 20 << 20;
    let bench = Bench::of(2, EdgeSettings::default(), (64, 16), Mover::new);
    for tls in [false, true] {
        let mut wire = bench.wire(tls);
        let tcp = wire.tcp().try_clone().unwrap();
        let mut sent = 0;
        if tls {
            // Until the server's socket is full: this end does not read.
            while bench.counts().queued_sends == 0 && sent < BYTES {
                wire.write_all(&[7; 1 << 16]).unwrap();
                sent += 1 << 16;
            }
        } else {
            while sent < 1 << 20 {
                wire.write_all(&[7; 1 << 16]).unwrap();
                sent += 1 << 16;
            }
        }
        wire.flush().unwrap();
        bench.server.post(|| Move);
        let mut back = vec![0; sent];
        wire.read_exact(&mut back).unwrap();
        assert!(back.iter().all(|byte| *byte == 7));
        wire.write_all(b"after").unwrap();
        wire.flush().unwrap();
        let mut after = [0; 5];
        wire.read_exact(&mut after).unwrap();
        assert_eq!(&after, b"after");
        drop(tcp);
    }
    assert!(bench.counts().handovers >= 2);
    bench.wait_until_empty();
    bench.server.stop().unwrap();
}

/// The peer takes nothing of what is to go out before the move.
#[test]
fn a_move_that_cannot_happen_ends_the_connection() {
    let settings = EdgeSettings {
        leaving_ms: 300,
        ..EdgeSettings::default()
    };
    let bench = Bench::of(2, settings, (64, 16), Mover::new);
    for (round, tls) in [false, true].into_iter().enumerate() {
        let mut wire = bench.wire(tls);
        fill(&bench, &mut *wire);
        bench.server.post(|| Move);
        until_true("the end", || bench.counts().overdue == round as u64 + 1);
        assert_eq!(bench.counts().handovers, 0);
    }
    bench.wait_until_empty();
    bench.server.stop().unwrap();
}

/// Sends until nothing comes back while a piece goes in: this end does not read, and both sockets are full.
fn fill(bench: &Bench<Mover>, wire: &mut dyn Wire) {
    let piece = [7; 1 << 18];
    loop {
        let before = bench.counts();
        wire.write_all(&piece).unwrap();
        let received = before.received_bytes + piece.len() as u64;
        until_true("a piece", || bench.counts().received_bytes >= received);
        if bench.counts().sent_bytes == before.sent_bytes {
            return;
        }
    }
}

/// Every session moves to the other shard.
struct Move;

struct Mover {
    id: ShardId,
    sessions: Vec<(u32, Option<Stream>)>,
    outputs: VecDeque<Output<Move>>,
}

#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    launched: usize,
    leaving: bool,
}

impl Mover {
    fn new(id: ShardId) -> Self {
        Self {
            id,
            sessions: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    fn insert(&mut self, stream: Stream) -> SessionKey {
        let free = self
            .sessions
            .iter()
            .position(|(_, stream)| stream.is_none());
        let slot = free.unwrap_or_else(|| {
            self.sessions.push((0, None));
            self.sessions.len() - 1
        });
        self.sessions[slot].1 = Some(stream);
        SessionKey::new(u32::try_from(slot).unwrap(), self.sessions[slot].0)
    }

    fn remove(&mut self, key: SessionKey) -> Stream {
        let place = &mut self.sessions[key.slot()];
        assert_eq!(place.0, key.generation());
        place.0 += 1;
        place.1.take().unwrap()
    }

    fn find(&mut self, key: SessionKey) -> &mut Stream {
        let place = &mut self.sessions[key.slot()];
        assert_eq!(place.0, key.generation());
        place.1.as_mut().unwrap()
    }
}

impl Machine for Mover {
    type Letter = Move;
    type Parcel = Stream;
    type Snapshot = ();
    type Question = ();
    type Reply = ();

    fn open(&mut self, _peer: Peer, _at: Moment) -> Option<SessionKey> {
        Some(self.insert(Stream::default()))
    }

    fn release(&mut self, key: SessionKey) -> Stream {
        let stream = self.remove(key);
        assert_eq!(stream.launched, 0, "all was sent before");
        assert_eq!(stream.bytes.len(), 0, "all was sent before");
        stream
    }

    fn adopt(&mut self, stream: Stream, _at: Moment) -> SessionKey {
        self.insert(Stream {
            leaving: false,
            ..stream
        })
    }

    fn bounce(&mut self, stream: Stream, at: Moment) -> SessionKey {
        self.adopt(stream, at)
    }

    fn has_room(&self) -> bool {
        true
    }

    fn handle(&mut self, input: Input<'_, Move>, _at: Moment) {
        match input {
            Input::Received { session, bytes } => {
                let stream = self.find(session);
                assert!(!stream.leaving, "nothing is said to who was handed over");
                stream.bytes.extend_from_slice(bytes);
                self.outputs.push_back(Output::Send(session));
            }
            Input::Sent { session, bytes, .. } => {
                let stream = self.find(session);
                stream.launched = stream.launched.saturating_sub(bytes);
                stream.bytes.drain(..bytes);
            }
            Input::Ended { session } => self.outputs.push_back(Output::Close(session)),
            Input::Gone { session, .. } => drop(self.remove(session)),
            Input::Letter(Move) => {
                let to = ShardId(1 - self.id.0);
                for (slot, (generation, stream)) in self.sessions.iter_mut().enumerate() {
                    if let Some(stream) = stream
                        && !std::mem::replace(&mut stream.leaving, true)
                    {
                        let key = SessionKey::new(u32::try_from(slot).unwrap(), *generation);
                        self.outputs.push_back(Output::HandOver(key, to));
                    }
                }
            }
            Input::Secured { .. }
            | Input::Unacknowledged { .. }
            | Input::Refused(Move)
            | Input::Tick => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Move>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Now> {
        None
    }

    fn intake(&self, _session: SessionKey) -> Intake {
        Intake::Many
    }

    fn unsent(&self, key: SessionKey) -> &[u8] {
        let stream = self
            .sessions
            .get(key.slot())
            .filter(|place| place.0 == key.generation());
        stream
            .and_then(|place| place.1.as_ref())
            .map_or(&[], |stream| &stream.bytes[stream.launched..])
    }

    fn launched(&mut self, key: SessionKey, bytes: usize) -> bool {
        self.find(key).launched += bytes;
        true
    }

    fn refusable(_letter: &Move) -> bool {
        false
    }

    fn inspect(&mut self, (): (), _at: Moment) {}

    fn snapshot(&self) {}
}
