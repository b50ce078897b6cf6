//! The state transitions of sessions. For each state and event, the table shows the next state, its timeout, and the
//! outputs to the edge.

use super::{SNAPSHOT_NOTE, Slow, arn, compare};
use crate::id::{Identity, SessionKey, ShardId};
use crate::machine::{Input, Machine, Output, Peer};
use crate::placement::Placement;
use crate::session::http::HttpStage;
use crate::session::{SessionState, Wait};
use crate::settings::{Profile, Settings};
use crate::shard::{Letter, Shard, Start};
use crate::time::{Moment, Now, Wall};
use codec::ws::Opcode;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const STATES: [&str; 8] = [
    "AwaitTls",
    "AwaitHead",
    "AwaitBody",
    "AwaitReply",
    "AwaitHandover",
    "Open",
    "AwaitCloseEcho",
    "AwaitGone",
];

const EVENTS: [&str; 12] = [
    "handshake over",
    "unreadable head",
    "ping",
    "empty message",
    "binary message",
    "unmasked frame",
    "close frame",
    "everything sent",
    "peer ends",
    "its time is over",
    "drain begins",
    "drain half over",
];

#[test]
fn transitions_of_a_session_are_those_of_the_snapshot() {
    let mut table = format!(
        "Transitions of a session. {SNAPSHOT_NOTE}\n\n\
         state          | event            | next state     | ends after | outputs\n",
    );
    for state in STATES {
        for event in EVENTS {
            let mut world = World::new();
            world.enter(state);
            assert_eq!(world.state(), state);
            world.outputs();
            world.at(1000);
            world.cause(event);
            let (next, ends, outputs) = (world.state(), world.ends(), world.outputs());
            writeln!(
                table,
                "{state:14} | {event:16} | {next:14} | {ends:10} | {outputs}"
            )
            .unwrap();
        }
    }
    compare("session", &table);
}

/// A shard with one connection.
struct World {
    shard: Shard,
    key: SessionKey,
    at: Moment,
    settings: Arc<Settings>,
}

impl World {
    fn new() -> Self {
        let settings = Arc::new(Settings::new(Profile::Default, true));
        let placement = Placement::new([1, 2, 3, 4], 2);
        let start = Start {
            store: Box::new(Slow),
            ..Start::bare(settings.clone(), ShardId(0), placement, [5, 6, 7, 8])
        };
        let mut world = Self {
            shard: Shard::new(start),
            key: SessionKey::new(0, 0),
            at: Moment::default(),
            settings,
        };
        world.at(1_000_000);
        world
    }

    fn at(&mut self, more_ms: u64) {
        self.at.now = Now(self.at.now.0 + more_ms);
        self.at.wall = Wall(self.at.wall.0 + more_ms);
    }

    /// Brings the connection into the given state.
    fn enter(&mut self, state: &str) {
        let peer = Peer {
            remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
            listener: 0,
            tls: state == "AwaitTls",
            inner: false,
        };
        self.key = self.shard.open(peer, self.at).unwrap();
        match state {
            "AwaitBody" => {
                self.receive(
                    b"POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\n\
                      Content-Length: 9\r\n\r\n",
                );
            }
            "AwaitReply" => {
                let body = format!("{{\"ChannelName\":\"{}\"}}", self.name(true));
                let length = body.len();
                let head = format!(
                    "POST /createSignalingChannel HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
                );
                self.receive((head + &body).as_bytes());
            }
            "AwaitHandover" => self.upgrade(false),
            "Open" => self.upgrade(true),
            "AwaitCloseEcho" => {
                self.upgrade(true);
                self.cause("binary message");
            }
            "AwaitGone" => self.cause("peer ends"),
            _ => {}
        }
        self.cause("everything sent");
    }

    /// Returns the name of a channel that belongs to this shard if `here` is set, and to the other shard otherwise.
    fn name(&self, here: bool) -> String {
        let names = (0..).map(|number| format!("cam-{number}"));
        let mut fits = names.filter(|name| {
            let identity = Identity::of(&arn(name));
            (self.shard.state.sockets.placement().shard(&identity) == ShardId(0)) == here
        });
        fits.next().unwrap()
    }

    fn upgrade(&mut self, here: bool) {
        let arn = arn(&self.name(here))
            .as_str()
            .replace(':', "%3A")
            .replace('/', "%2F");
        let head = format!(
            "GET /?X-Amz-ChannelARN={arn}&X-Amz-ClientId=v1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.receive(head.as_bytes());
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.input(Input::Received {
            session: self.key,
            bytes: &mut bytes,
        });
    }

    fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, self.at);
    }

    fn cause(&mut self, event: &str) {
        let session = self.key;
        match event {
            "handshake over" => {
                if self.state() == "AwaitTls" {
                    self.input(Input::Secured { session });
                }
            }
            "unreadable head" => self.receive(b"\0\r\n\r\n"),
            "ping" => self.receive(&masked(Opcode::Ping)),
            "empty message" => self.receive(&masked(Opcode::Text)),
            "binary message" => self.receive(&masked(Opcode::Binary)),
            "unmasked frame" => self.receive(&[0x81, 0]),
            "close frame" => self.receive(&masked(Opcode::Close)),
            "everything sent" => {
                let bytes = self.shard.unsent(session).len();
                self.input(Input::Sent {
                    session,
                    bytes,
                    on_wire: bytes,
                });
            }
            "peer ends" => self.input(Input::Ended { session }),
            "its time is over" => {
                if let Some(ends) = self.ends_at() {
                    self.at(ends.since(self.at.now) + 64);
                    self.input(Input::Tick);
                }
            }
            "drain begins" => self.input(Input::Letter(Letter::Drain(10_000))),
            "drain half over" => {
                // Clients stay connected until the drain's last two seconds.
                self.input(Input::Letter(Letter::Drain(8_000)));
                self.at(7600);
                self.input(Input::Tick);
            }
            _ => unreachable!("{event}"),
        }
    }

    fn state(&self) -> &'static str {
        let Some(session) = self.shard.state.sockets.session(self.key) else {
            return "none";
        };
        match &session.state {
            SessionState::Http(http) => match http.stage {
                HttpStage::AwaitTls => "AwaitTls",
                HttpStage::AwaitHead => "AwaitHead",
                HttpStage::AwaitBody(_) => "AwaitBody",
                HttpStage::AwaitReply(..) => "AwaitReply",
                HttpStage::AwaitWake(_) => "AwaitWake",
                HttpStage::AwaitHandover(..) => "AwaitHandover",
                HttpStage::AwaitLink(_) => "AwaitLink",
                HttpStage::AwaitAdmin(_) => "AwaitAdmin",
                HttpStage::AwaitOwner(_) => "AwaitOwner",
            },
            SessionState::Open(_) => "Open",
            SessionState::AwaitCloseEcho(..) => "AwaitCloseEcho",
            SessionState::AwaitGone(_) => "AwaitGone",
        }
    }

    fn wait(&self) -> Wait {
        let session = self.shard.state.sockets.session(self.key).unwrap();
        session.waits(&self.settings.timeouts, self.at.now)
    }

    fn ends_at(&self) -> Option<Now> {
        match self.wait() {
            Wait::Until(end) => Some(end),
            Wait::OwnTurn | Wait::Aborted => None,
        }
    }

    fn ends(&self) -> String {
        match self.wait() {
            Wait::Until(end) => format!("{} ms", end.since(self.at.now)),
            Wait::OwnTurn => "own turn".into(),
            Wait::Aborted => "aborted".into(),
        }
    }

    fn outputs(&mut self) -> String {
        let mut names = Vec::new();
        while let Some(output) = self.shard.poll_output() {
            names.push(match output {
                Output::Send(_) => "Send",
                Output::HandOver(..) => "HandOver",
                Output::PassOn(..) => "PassOn",
                Output::Displace(_) => "Displace",
                Output::LoseOwner(_) => "LoseOwner",
                Output::Leave(_) => "Leave",
                Output::KeepAlive(_) => "KeepAlive",
                Output::Admin(_) => "Admin",
                Output::Ask(_) => "Ask",
                Output::Post(..) => "Post",
                Output::Close(_) => "Close",
                Output::Abort(_) => "Abort",
                Output::Reset(_) => "Reset",
                Output::Drained => "Drained",
            });
        }
        if names.is_empty() {
            names.push("-");
        }
        names.join(", ")
    }
}

/// Creates an empty masked frame, as sent by a client.
fn masked(opcode: Opcode) -> [u8; 6] {
    let opcode = match opcode {
        Opcode::Text => 1,
        Opcode::Binary => 2,
        Opcode::Close => 8,
        Opcode::Ping => 9,
        Opcode::Pong => 10,
        Opcode::Continuation => 0,
    };
    [0x80 | opcode, 0x80, 0, 0, 0, 0]
}
