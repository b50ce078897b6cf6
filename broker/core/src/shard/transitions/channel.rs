//! The state transitions of channels. For each state and event, the table shows the next state and the HTTP status that
//! the caller receives, or notes that the caller is still waiting.

use super::{SNAPSHOT_NOTE, Slow, arn, compare};
use crate::id::{ChannelKey, SessionKey, ShardId};
use crate::machine::{Input, Machine, Peer};
use crate::settings::{Profile, Settings};
use crate::shard::{Letter, Shard, Start};
use crate::time::{Moment, Now, Wall};
use crate::{channel::Life, placement::Placement, registry::StoreError};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Bound;
use std::sync::Arc;

const STATES: [&str; 5] = ["none", "creating", "active", "updating", "deleting"];

const EVENTS: [&str; 7] = [
    "create",
    "describe",
    "update",
    "delete",
    "connect",
    "stored",
    "not stored",
];

#[test]
fn transitions_of_a_channel_are_those_of_the_snapshot() {
    let mut table = format!(
        "Transitions of a channel. {SNAPSHOT_NOTE}\n\n\
         state    | event      | next state | its caller | the caller before\n",
    );
    for state in STATES {
        for event in EVENTS {
            let mut world = World::new();
            let before = world.enter(state);
            assert_eq!(world.state(), state);
            let caller = world.cause(event);
            let (next, caller, before) =
                (world.state(), world.answer(caller), world.answer(before));
            writeln!(
                table,
                "{state:8} | {event:10} | {next:10} | {caller:10} | {before}"
            )
            .unwrap();
        }
    }
    compare("channel", &table);
}

/// A shard with at most one channel.
struct World {
    shard: Shard,
    at: Moment,
}

impl World {
    fn new() -> Self {
        let mut settings = Settings::new(Profile::Default, true);
        settings.dev = false; // nothing is created by connecting
        let placement = Placement::new([1, 2, 3, 4], 1);
        let start = Start {
            store: Box::new(Slow),
            ..Start::bare(Arc::new(settings), ShardId(0), placement, [5, 6, 7, 8])
        };
        let at = Moment {
            now: Now(1_000_000),
            wall: Wall(1_700_000_000_000),
            micros: 0,
        };
        Self {
            shard: Shard::new(start),
            at,
        }
    }

    /// Brings the channel into the given state. If a change is then in progress, returns its caller.
    fn enter(&mut self, state: &str) -> Option<SessionKey> {
        if state == "none" {
            return None;
        }
        let creator = self.cause("create");
        if state == "creating" {
            return creator;
        }
        self.cause("stored");
        match state {
            "updating" => self.cause("update"),
            "deleting" => self.cause("delete"),
            _ => None,
        }
    }

    fn cause(&mut self, event: &str) -> Option<SessionKey> {
        let (arn, version) = match self.channel() {
            Some((_, arn, version)) => (arn, version),
            None => (arn("cam").as_str().to_owned(), "1".to_owned()),
        };
        let by_arn = format!("\"ChannelARN\":\"{arn}\"");
        match event {
            "create" => self.call("createSignalingChannel", "{\"ChannelName\":\"cam\"}"),
            "describe" => self.call("describeSignalingChannel", "{\"ChannelName\":\"cam\"}"),
            "update" => self.call(
                "updateSignalingChannel",
                &format!(
                    "{{{by_arn},\"CurrentVersion\":\"{version}\",\
                     \"SingleMasterConfiguration\":{{\"MessageTtlSeconds\":30}}}}"
                ),
            ),
            "delete" => self.call("deleteSignalingChannel", &format!("{{{by_arn}}}")),
            "connect" => self.send(&format!(
                "GET /?X-Amz-ChannelARN={arn} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: \
                 Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                arn = arn.replace(':', "%3A").replace('/', "%2F"),
            )),
            "stored" => self.report(Ok(())),
            "not stored" => self.report(Err(StoreError::Failed("full".into()))),
            _ => unreachable!("{event}"),
        }
    }

    fn report(&mut self, result: Result<(), StoreError>) -> Option<SessionKey> {
        let key = self.channel()?.0;
        let letter = Letter::Committed(key, result);
        self.shard.handle(Input::Letter(letter), self.at);
        None
    }

    fn call(&mut self, operation: &str, body: &str) -> Option<SessionKey> {
        let length = body.len();
        self.send(&format!(
            "POST /{operation} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends a request on a new connection.
    fn send(&mut self, request: &str) -> Option<SessionKey> {
        let peer = Peer {
            remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
            listener: 0,
            tls: false,
            inner: false,
        };
        let session = self.shard.open(peer, self.at)?;
        let mut bytes = request.as_bytes().to_vec();
        let input = Input::Received {
            session,
            bytes: &mut bytes,
        };
        self.shard.handle(input, self.at);
        Some(session)
    }

    /// Returns the status that a caller received.
    fn answer(&self, caller: Option<SessionKey>) -> String {
        let Some(caller) = caller else {
            return "-".into();
        };
        let answer = self.shard.unsent(caller);
        match answer.get(9..12) {
            Some(status) => String::from_utf8_lossy(status).into(),
            None => "waits".into(),
        }
    }

    /// Returns the channel's key, ARN and version.
    fn channel(&self) -> Option<(ChannelKey, String, String)> {
        let directory = &self.shard.state.directory;
        let (_, key) = directory.names_from(Bound::Unbounded).next()?;
        let record = &directory.channel(key)?.record;
        Some((
            key,
            record.arn.as_str().into(),
            record.version.as_str().into(),
        ))
    }

    fn state(&self) -> &'static str {
        let Some((key, ..)) = self.channel() else {
            return "none";
        };
        let directory = &self.shard.state.directory;
        let changes = directory.changes.is_changing(key);
        match directory.channel(key).map(|channel| channel.state) {
            None => "none",
            Some(Life::Creating) => "creating",
            Some(Life::Active) if changes => "updating",
            Some(Life::Active) => "active",
            Some(Life::Deleting) => "deleting",
        }
    }
}
