//! A whole shard without its edge: bytes of a receive to the recipient's outbox and on to "sent"; a request head to
//! the 101.
//!
//! The shard is one in production: channels are in the registry, rates are off, and nothing that `--dev` adds for tests
//! (faults, findings of the strict profile) is looked at.
//!
//! Not in these figures: system calls, TLS, the clock.

use benches::fixture::{Case, VIEWER, cases, upgrade_head, upgrade_head_of_master};
use benches::harness::{ThreadTime, Timer, group, run};
use benches::rival::Relay;
use broker_core::id::{SessionKey, ShardId};
use broker_core::limits::RECORDER_NOTES;
use broker_core::machine::{Input, Machine, Output, Peer};
use broker_core::placement::Placement;
use broker_core::record::{Record, Version};
use broker_core::settings::{Profile, Settings};
use broker_core::shard::{Letter, Shard, Start};
use broker_core::time::{Moment, Now, Wall};
use codec::aws::ChannelArn;
use codec::http::{decode, pairs};
use codec::signal::{Delivery, Role};
use criterion::measurement::Measurement;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

fn main() {
    run(|criterion| {
        for case in cases() {
            for window in [1, 4] {
                relay_to_viewer(criterion, &case, window);
                record(criterion, &case, window);
            }
        }
        let [ice, ..] = cases();
        relay_to_master(criterion, &ice);
        connect(criterion);
    });
}

/// A master sends this many messages in one piece to one of its ten viewers.
fn relay_to_viewer(criterion: &mut Timer, case: &Case, window: usize) {
    let name = format!("{}-window-{window}", case.name);
    let read = case.frames(Role::Master, window);
    let expected = events(case, None, window);
    let viewers: Vec<String> = (0..9).map(|number| format!("viewer-{number}")).collect();
    let mut driver = Driver::new(&["demo".into()]);
    let master = driver.connect(&upgrade_head_of_master("demo"));
    for viewer in &viewers {
        driver.connect(&upgrade_head("demo", viewer));
    }
    let viewer = driver.connect(&upgrade_head("demo", VIEWER));
    let mut group = group(criterion, "shard/relay", &name, window, read.len());
    for _ in 0..3 {
        let seen = driver.receive(master, &mut read.clone());
        assert_eq!(seen, [(viewer, expected.clone())]);
    }
    let mut buffer = read.clone();
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(&read);
            driver.handle(master, &mut buffer);
            driver.flush(|_, bytes| {
                black_box(bytes);
            });
        });
    });
    let mut relay = Relay::new(&read, &[viewers, vec![VIEWER.to_owned()]].concat());
    for _ in 0..3 {
        relay.relay();
        assert_eq!(relay.flush(VIEWER, <[u8]>::to_vec), Some(expected.clone()));
    }
    group.bench_function(Relay::LIBRARY, |bencher| {
        bencher.iter(|| {
            relay.relay();
            relay.flush(VIEWER, |bytes| {
                black_box(bytes);
            })
        });
    });
    group.finish();
}

/// What the flight recorder adds to that: without it, and with a ring of the default length.
fn record(criterion: &mut Timer, case: &Case, window: usize) {
    let name = format!("{}-window-{window}", case.name);
    let read = case.frames(Role::Master, window);
    let expected = events(case, None, window);
    let mut group = group(criterion, "shard/record", &name, window, read.len());
    for notes in [0, RECORDER_NOTES] {
        let mut driver = Driver::recording(&["demo".into()], notes);
        let master = driver.connect(&upgrade_head_of_master("demo"));
        let viewer = driver.connect(&upgrade_head("demo", VIEWER));
        let seen = driver.receive(master, &mut read.clone());
        assert_eq!(seen, [(viewer, expected.clone())]);
        let mut buffer = read.clone();
        group.bench_function(format!("notes-{notes}"), |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(&read);
                driver.handle(master, &mut buffer);
                driver.flush(|_, bytes| {
                    black_box(bytes);
                });
            });
        });
    }
    group.finish();
}

/// A viewer sends one message to its master.
fn relay_to_master(criterion: &mut Timer, case: &Case) {
    let read = case.frames(Role::Viewer, 1);
    let mut driver = Driver::new(&["demo".into()]);
    let master = driver.connect(&upgrade_head_of_master("demo"));
    let viewer = driver.connect(&upgrade_head("demo", VIEWER));
    let seen = driver.receive(viewer, &mut read.clone());
    assert_eq!(seen, [(master, events(case, Some(VIEWER), 1))]);
    let name = format!("{}-to-master", case.name);
    let mut group = group(criterion, "shard/relay", &name, 1, read.len());
    let mut buffer = read.clone();
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(&read);
            driver.handle(viewer, &mut buffer);
            driver.flush(|_, bytes| {
                black_box(bytes);
            });
        });
    });
    group.finish();
}

/// Accepted → head → parsed → admitted → 101 → sent, for one viewer of a channel whose master is there. Leaving is not
/// timed.
fn connect(criterion: &mut Timer) {
    let channels = (10..10 + CHANNELS).map(|number| format!("demo-{number}"));
    let channels: Vec<String> = channels.collect();
    let mut driver = Driver::new(&channels);
    let heads: Vec<String> = channels
        .iter()
        .map(|channel| {
            driver.connect(&upgrade_head_of_master(channel));
            upgrade_head(channel, VIEWER)
        })
        .collect();
    let bytes = heads.iter().map(String::len).max().unwrap_or_default();
    let mut group = group(criterion, "shard/connect", "viewer", 1, bytes);
    group.bench_function("heliograph", |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut time, mut left) = (Duration::ZERO, iterations);
            while left > 0 {
                let mut reads: Vec<_> =
                    heads.iter().map(|head| head.clone().into_bytes()).collect();
                reads.truncate(usize::try_from(left).unwrap_or(CHANNELS));
                left -= reads.len() as u64;
                let mut sessions = Vec::with_capacity(reads.len());
                let start = ThreadTime.start();
                for read in &mut reads {
                    sessions.push(driver.accept(read));
                }
                time += ThreadTime.end(start);
                for session in sessions {
                    driver.leave(session);
                }
            }
            time
        });
    });
    group.finish();
}

/// What the recipient is to get.
fn events(case: &Case, sender: Option<&str>, count: usize) -> Vec<u8> {
    let delivery = Delivery {
        sender,
        ..case.delivery()
    };
    let mut out = Vec::new();
    for _ in 0..count {
        delivery.write(&mut out);
    }
    out
}

/// The part of the edge, with sockets that take everything at once.
struct Driver {
    shard: Shard,
    dirty: Vec<SessionKey>,
}

impl Driver {
    /// A shard with these channels.
    fn new(channels: &[String]) -> Self {
        Self::recording(channels, RECORDER_NOTES)
    }

    /// The same with this many notes of the flight recorder.
    fn recording(channels: &[String], notes: usize) -> Self {
        let mut settings = Settings::new(Profile::Default, false);
        settings.quotas.off = true;
        settings.recorder.notes = notes;
        let settings = Arc::new(settings);
        let start = Start::bare(settings, ShardId(0), Placement::new(SEEDS, 1), SEEDS);
        let shard = Shard::new(Start {
            records: channels.iter().map(|channel| record_of(channel)).collect(),
            ..start
        });
        Self {
            shard,
            dirty: Vec::new(),
        }
    }

    fn accept(&mut self, head: &mut [u8]) -> SessionKey {
        let session = self.shard.open(PEER, AT).expect("there is room");
        self.handle(session, head);
        self.flush(|_, bytes| {
            black_box(bytes);
        });
        session
    }

    /// As [`Driver::accept`], and looks at the answer.
    fn connect(&mut self, head: &str) -> SessionKey {
        let session = self.shard.open(PEER, AT).expect("there is room");
        let seen = self.receive(session, &mut head.to_owned().into_bytes());
        let [(to, answer)] = &seen[..] else {
            panic!("one answer is due, not {seen:?}");
        };
        assert!(
            *to == session && answer.starts_with(b"HTTP/1.1 101 "),
            "{seen:?}"
        );
        session
    }

    /// Handles a receive and gives what was sent, to whom.
    fn receive(&mut self, from: SessionKey, bytes: &mut [u8]) -> Vec<(SessionKey, Vec<u8>)> {
        let mut seen = Vec::new();
        self.handle(from, bytes);
        self.flush(|to, bytes| seen.push((to, bytes.to_vec())));
        seen
    }

    fn handle(&mut self, session: SessionKey, bytes: &mut [u8]) {
        self.input(Input::Received { session, bytes });
    }

    /// Sends what waits: one send per recipient.
    fn flush(&mut self, mut see: impl FnMut(SessionKey, &[u8])) {
        while let Some(session) = self.dirty.pop() {
            let unsent = self.shard.unsent(session);
            see(session, unsent);
            let bytes = unsent.len();
            self.input(Input::Sent { session, bytes });
        }
    }

    fn leave(&mut self, session: SessionKey) {
        self.input(Input::Ended { session });
        self.flush(|_, _| {});
        self.input(Input::Gone { session });
    }

    fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, AT);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Send(session) => self.dirty.push(session),
                Output::Close(_) | Output::Abort(_) | Output::Reset(_) => {}
                Output::HandOver(..)
                | Output::Tunnel(..)
                | Output::Admin(_)
                | Output::Post(..)
                | Output::Drained => {
                    unreachable!("one shard, no calls, no drain, no cluster")
                }
            }
        }
    }
}

/// The record of the channel that upgrades to it name.
fn record_of(channel: &str) -> Record {
    let head = upgrade_head_of_master(channel);
    let query = head.split(['?', ' ']).nth(2).expect("a query");
    let arn = pairs(query).find(|(name, _)| *name == "X-Amz-ChannelARN");
    let arn = decode(arn.expect("an ARN").1).expect("encoded text");
    Record {
        arn: ChannelArn::parse(&arn, false).expect("an ARN"),
        ttl_seconds: 60,
        created: AT.wall,
        version: Version::from_bytes(*b"AAAAAAAAAAAAAAAAAAAA").expect("letters"),
        tags: Vec::new().into(),
    }
}

const CHANNELS: usize = 64;
const SEEDS: [u64; 4] = [1, 2, 3, 4];
const AT: Moment = Moment {
    now: Now(1_000),
    wall: Wall(1_795_000_000_000),
    micros: 0,
};
const PEER: Peer = Peer {
    remote: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
    listener: 0,
    tls: false,
    inner: false,
};
