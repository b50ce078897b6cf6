//! A shard and the part of the edge, with sockets that take everything at once.

use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Machine, Output, Peer};
use broker_core::placement::Placement;
use broker_core::record::{Record, Version};
use broker_core::settings::{Hook, Profile, Settings};
use broker_core::shard::{Letter, Shard, Start};
use broker_core::time::{Moment, Now, Wall};
use codec::identifiers::ChannelArn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Allocates nothing itself once it is warm.
pub(crate) struct Driver {
    shard: Shard,
    at: Moment,
    dirty: Vec<SessionKey>,
    /// To whom how many bytes were sent.
    pub(crate) sent: Vec<(SessionKey, usize)>,
}

impl Driver {
    /// A shard with this many channels of an earlier life.
    pub(crate) fn new(channels: usize) -> Self {
        Self::with((0..channels).map(record))
    }

    /// The same with these records.
    pub(crate) fn with(records: impl Iterator<Item = Record>) -> Self {
        Self::start(records, Vec::new())
    }

    /// The same with a hook that gets the states of all channels.
    pub(crate) fn watched(channels: usize) -> Self {
        Self::start((0..channels).map(record), vec![Hook::bare("all")])
    }

    fn start(records: impl Iterator<Item = Record>, hooks: Vec<Hook>) -> Self {
        // Neither what `--dev` adds for tests nor rates.
        let mut settings = Settings::new(Profile::Default, false);
        settings.quotas.off = true;
        settings.hooks = hooks;
        let settings = Arc::new(settings);
        let start = Start::bare(settings, ShardId(0), Placement::new(SEEDS, 1), SEEDS);
        Self {
            shard: Shard::new(Start {
                records: records.collect(),
                ..start
            }),
            at: AT,
            dirty: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// A WebSocket of a channel's master, or of this viewer.
    pub(crate) fn connect(&mut self, channel: usize, viewer: Option<&str>) -> SessionKey {
        self.at.now = self.at.now.after(1); // a turn of its own: one turn serves few requests
        let session = self.shard.open(PEER, self.at).unwrap();
        let viewer = viewer.map_or(String::new(), |id| format!("&X-Amz-ClientId={id}"));
        let target = format!(
            "/?X-Amz-ChannelARN=arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2F\
             demo-{channel:07}%2F1700000000000{viewer}"
        );
        let mut head = Vec::new();
        codec::ws::request(&mut head, "127.0.0.1", &target, "dGhlIHNhbXBsZSBub25jZQ==");
        self.receive(session, &mut head);
        self.sent.clear();
        session
    }

    /// A connection is gone.
    pub(crate) fn leave(&mut self, session: SessionKey) {
        self.shard.handle(
            Input::Gone {
                session,
                unacknowledged: 0,
            },
            self.at,
        );
        while self.shard.poll_output().is_some() {}
    }

    /// Bytes of a client, and what is sent on account of them.
    pub(crate) fn receive(&mut self, session: SessionKey, bytes: &mut [u8]) {
        self.input(Input::Received { session, bytes });
        while let Some(session) = self.dirty.pop() {
            let bytes = self.shard.unsent(session).len();
            self.sent.push((session, bytes));
            self.input(Input::Sent {
                session,
                bytes,
                on_wire: bytes,
            });
            self.input(Input::Unacknowledged {
                session,
                bytes: 0,
                round_trip_ms: 0,
            });
        }
    }

    fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, self.at);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Send(session) => self.dirty.push(session),
                Output::Ask(_) => {} // all is acknowledged at once
                Output::Close(_)
                | Output::Abort(_)
                | Output::Reset(_)
                | Output::HandOver(..)
                | Output::PassOn(..)
                | Output::Displace(_)
                | Output::LoseOwner(_)
                | Output::Leave(_)
                | Output::KeepAlive(_)
                | Output::Admin(_)
                | Output::Post(..)
                | Output::Drained => unreachable!("everybody stays, on one shard"),
            }
        }
    }
}

pub(crate) fn record(number: usize) -> Record {
    let arn = format!(
        "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo-{number:07}/1700000000000"
    );
    Record {
        arn: ChannelArn::parse(&arn, false).unwrap(),
        ttl_seconds: 60,
        created: Wall(1_700_000_000_000),
        version: Version::from_bytes(*b"AAAAAAAAAAAAAAAAAAAA").unwrap(),
        tags: Vec::new().into(),
    }
}

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
