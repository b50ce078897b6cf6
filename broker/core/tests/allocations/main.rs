//! A message's way through a shard allocates nothing once its buffers are there: counted, in both directions, alone and
//! in bursts. Buffers of more than `SPARE_OUTBOX_BYTES_MAX` are not kept, so larger bursts allocate theirs.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Machine, Output, Peer};
use broker_core::placement::Placement;
use broker_core::record::{Record, Version};
use broker_core::settings::{Profile, Settings};
use broker_core::shard::{Letter, Shard, Start};
use broker_core::time::{Moment, Now, Wall};
use codec::aws::ChannelArn;
use codec::signal::Action;
use codec::signal::client::Outgoing;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

#[test]
fn a_relayed_message_allocates_nothing() {
    for payload in [200, 3_000] {
        for count in [1, 4] {
            let mut driver = Driver::new();
            let master = driver.connect(None);
            let viewer = driver.connect(Some(VIEWER));
            for (from, to, recipient) in [(master, viewer, Some(VIEWER)), (viewer, master, None)] {
                let read = frames(payload, count, recipient);
                let mut buffer = read.clone();
                for round in 0..100 {
                    buffer.copy_from_slice(&read);
                    driver.sent.clear();
                    let counted = allocation_counter::measure(|| driver.receive(from, &mut buffer));
                    let [(recipient, bytes)] = driver.sent[..] else {
                        panic!("one send is due, not {:?}", driver.sent);
                    };
                    assert!(recipient == to && bytes > payload * count);
                    // The first ones make buffers, which are used again.
                    assert!(
                        round < WARM_UP || counted.count_total == 0,
                        "{payload} bytes, {count} at a time, round {round}: {counted:?}"
                    );
                }
            }
        }
    }
}

/// The counter counts: a connection allocates.
#[test]
fn a_connection_allocates() {
    let mut driver = Driver::new();
    let counted = allocation_counter::measure(|| {
        driver.connect(None);
    });
    assert!(counted.count_total > 0, "{counted:?}");
}

/// What a client sends in one piece.
fn frames(payload: usize, count: usize, recipient: Option<&str>) -> Vec<u8> {
    let payload = "A".repeat(payload);
    let (mut out, mut scratch) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let message = Outgoing {
            action: Action::IceCandidate,
            payload: &payload,
            recipient,
            correlation_id: None,
        };
        message.write(&mut out, &mut scratch, [1, 2, 3, 4]);
    }
    out
}

/// The part of the edge, with sockets that take everything at once. Allocates nothing itself once it is warm.
struct Driver {
    shard: Shard,
    dirty: Vec<SessionKey>,
    /// To whom how many bytes were sent.
    sent: Vec<(SessionKey, usize)>,
}

impl Driver {
    fn new() -> Self {
        // Neither what `--dev` adds for tests nor rates.
        let mut settings = Settings::new(Profile::Default, false);
        settings.quotas.off = true;
        let settings = Arc::new(settings);
        let start = Start::bare(settings, ShardId(0), Placement::new(SEEDS, 1), SEEDS);
        Self {
            shard: Shard::new(Start {
                records: vec![channel()],
                ..start
            }),
            dirty: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn connect(&mut self, viewer: Option<&str>) -> SessionKey {
        let session = self.shard.open(PEER, AT).unwrap();
        let viewer = viewer.map_or(String::new(), |id| format!("&X-Amz-ClientId={id}"));
        let target = format!(
            "/?X-Amz-ChannelARN=arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fdemo%2F17{viewer}"
        );
        let mut head = Vec::new();
        codec::ws::request(&mut head, "127.0.0.1", &target, "dGhlIHNhbXBsZSBub25jZQ==");
        self.receive(session, &mut head);
        session
    }

    fn receive(&mut self, session: SessionKey, bytes: &mut [u8]) {
        self.input(Input::Received { session, bytes });
        while let Some(session) = self.dirty.pop() {
            let bytes = self.shard.unsent(session).len();
            self.sent.push((session, bytes));
            self.input(Input::Sent { session, bytes });
        }
    }

    fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, AT);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Send(session) => self.dirty.push(session),
                Output::Close(_)
                | Output::Abort(_)
                | Output::Reset(_)
                | Output::HandOver(..)
                | Output::Post(..)
                | Output::Drained => unreachable!("everybody stays, on one shard"),
            }
        }
    }
}

fn channel() -> Record {
    let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/17";
    Record {
        arn: ChannelArn::parse(arn, false).unwrap(),
        ttl_seconds: 60,
        created: Wall(17),
        version: Version::from_bytes(*b"AAAAAAAAAAAAAAAAAAAA").unwrap(),
        tags: Vec::new(),
    }
}

/// Rounds after which every buffer has its size.
const WARM_UP: usize = 10;
const VIEWER: &str = "viewer-1";
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
};
