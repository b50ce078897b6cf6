//! Drives a whole shard in place of the edge.

use benches::fixture::upgrade_head_of_master;
use broker_core::id::{SessionKey, ShardId};
use broker_core::limits::RECORDER_NOTES;
use broker_core::machine::{Input, Machine, Output, Peer};
use broker_core::placement::Placement;
use broker_core::record::{Record, Version};
use broker_core::settings::{Profile, Settings};
use broker_core::shard::{Letter, Shard, Start};
use broker_core::time::{Moment, Now, Wall};
use codec::http::{decode, pairs};
use codec::identifiers::ChannelArn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Stand-in for the edge, whose sockets accept all bytes at once.
pub(crate) struct Driver {
    pub(crate) shard: Shard,
    pub(crate) at: Moment,
    dirty: Vec<SessionKey>,
}

impl Driver {
    pub(crate) fn new(channels: &[String]) -> Self {
        Self::recording(channels, RECORDER_NOTES)
    }

    /// Like [`Self::new`], with a flight recorder of `notes` entries.
    pub(crate) fn recording(channels: &[String], notes: usize) -> Self {
        Self::started(channels, notes, |_| {})
    }

    /// Like [`Self::recording`], but lets `more` modify the parameters of the shard.
    pub(crate) fn started(
        channels: &[String],
        notes: usize,
        more: impl FnOnce(&mut Start),
    ) -> Self {
        let mut settings = Settings::new(Profile::Default, false);
        settings.quotas.off = true;
        settings.region = "us-east-1".into();
        settings.recorder.notes = notes;
        let settings = Arc::new(settings);
        let mut start = Start::bare(settings, ShardId(0), Placement::new(SEEDS, 1), SEEDS);
        start.records = channels.iter().map(|channel| record_of(channel)).collect();
        more(&mut start);
        Self {
            shard: Shard::new(start),
            at: AT,
            dirty: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self, head: &str) -> SessionKey {
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

    /// Passes received bytes to the shard, and returns the bytes sent with their recipients.
    pub(crate) fn receive(
        &mut self,
        from: SessionKey,
        bytes: &mut [u8],
    ) -> Vec<(SessionKey, Vec<u8>)> {
        let mut seen = Vec::new();
        self.handle(from, bytes);
        self.flush(|to, bytes| seen.push((to, bytes.to_vec())));
        seen
    }

    pub(crate) fn handle(&mut self, session: SessionKey, bytes: &mut [u8]) {
        self.input(Input::Received { session, bytes });
    }

    pub(crate) fn flush(&mut self, mut see: impl FnMut(SessionKey, &[u8])) {
        while let Some(session) = self.dirty.pop() {
            let unsent = self.shard.unsent(session);
            see(session, unsent);
            let bytes = unsent.len();
            self.input(Input::Sent {
                session,
                bytes,
                on_wire: bytes,
            });
        }
    }

    pub(crate) fn leave(&mut self, session: SessionKey) {
        self.input(Input::Ended { session });
        self.flush(|_, _| {});
        self.input(Input::Gone {
            session,
            unacknowledged: 0,
        });
    }

    pub(crate) fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, self.at);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Ask(session) => self.shard.handle(
                    Input::Unacknowledged {
                        session,
                        bytes: 0,
                        round_trip_ms: 0,
                    },
                    self.at,
                ),
                Output::Send(session) => self.dirty.push(session),
                Output::Close(_) | Output::Abort(_) | Output::Reset(_) => {}
                Output::HandOver(..)
                | Output::PassOn(..)
                | Output::Displace(_)
                | Output::LoseOwner(_)
                | Output::Leave(_)
                | Output::KeepAlive(_)
                | Output::Admin(_)
                | Output::Post(..)
                | Output::Drained => {
                    unreachable!("one shard, no calls, no drain, no cluster")
                }
            }
        }
    }
}

/// Returns the record of the channel that a master's upgrade names.
pub(crate) fn record_of(channel: &str) -> Record {
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

pub(crate) const SEEDS: [u64; 4] = [1, 2, 3, 4];
pub(crate) const AT: Moment = Moment {
    now: Now(1_000),
    wall: Wall(1_795_000_000_000),
    micros: 0,
};
pub(crate) const PEER: Peer = Peer {
    remote: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
    listener: 0,
    tls: false,
    inner: false,
};
