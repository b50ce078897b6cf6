use super::*;
use crate::auth::fixtures::principal;
use crate::auth::{Authenticator, Credentials, SessionKeys, SignatureRules};
use crate::machine::{Input, Machine, Peer};
use crate::settings::{Profile, Settings};
use crate::shard::{Letter, Shard, Start, StartKeys};
use crate::{id::ShardId, placement::Placement, session::SessionState, time::Wall};
use codec::sigv4::signer::{Keys, Signer, Upgrade};
use std::sync::Arc;

const NOW_S: u64 = 1_800_000_000;
const ALLOW: &str = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;

/// Creates credentials for these principals, who may do everything.
fn credentials(names: &[&str]) -> Arc<Credentials> {
    let principals = names.iter().map(|name| principal(name, &[ALLOW]));
    Arc::new(Credentials::new(principals.collect()))
}

/// A shard. If there are two, the test plays the other one.
struct World {
    shard: Shard,
    at: Moment,
}

impl World {
    fn new(names: &[&str], shards: u16) -> Self {
        let mut settings = Settings::new(Profile::Default, true);
        settings.auth_recheck = true;
        settings.timeouts.idle_ms = 3_600_000;
        settings.timeouts.ping_ms = 0;
        let keys = Arc::new(SessionKeys::new(&[0; 32], None));
        let rules = SignatureRules {
            region: None,
            clock_tolerance_s: 300,
            strict: false,
        };
        let authenticator = Authenticator::new(rules, credentials(names), Arc::clone(&keys));
        let placement = Placement::new([1, 2, 3, 4], shards);
        let settings = Arc::new(settings);
        let start = Start {
            keys: StartKeys {
                authenticator: Some(authenticator),
                ..StartKeys::bare(ShardId(0), keys)
            },
            connections: 10_000,
            ..Start::bare(settings, ShardId(0), placement, [5, 6, 7, 8])
        };
        Self {
            shard: Shard::new(start),
            at: Moment {
                now: Now(1_000_000),
                wall: Wall(NOW_S * 1000),
                micros: 0,
            },
        }
    }

    /// Connects a viewer to channel number `number`. The principal `name` signs the request.
    fn connect(&mut self, name: &str, number: usize) -> SessionKey {
        let arn =
            format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/c{number}/1700000000000");
        let upgrade = Upgrade {
            host: "localhost",
            channel_arn: &arn,
            client_id: Some("v1"),
            expires_s: 299,
            now_s: self.at.wall.0 / 1000,
        };
        let keys = Keys {
            access_key_id: &format!("AKID{name}"),
            secret_access_key: "secret",
            session_token: None,
        };
        let target = Signer::new(keys, "us-west-2").presign(&upgrade);
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes();
        let peer = Peer {
            remote: ([127, 0, 0, 1], 50_000).into(),
            listener: 0,
            tls: false,
            inner: false,
        };
        let session = self.shard.open(peer, self.at).unwrap();
        let bytes = &mut head[..];
        self.input(Input::Received { session, bytes });
        if !self.is_open(session) {
            self.input(Input::Tick); // too many connected within one turn
        }
        let answer = String::from_utf8_lossy(self.shard.queued(session));
        assert!(self.is_open(session), "{name} {number}: {answer}");
        session
    }

    fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, self.at);
        while self.shard.poll_output().is_some() {}
    }

    fn reload(&mut self, names: &[&str]) -> Arc<Credentials> {
        let credentials = credentials(names);
        self.input(Input::Letter(Letter::Credentials(Arc::clone(&credentials))));
        credentials
    }

    /// Lets `ms` milliseconds pass in steps of 50. Each step runs all turns that are due.
    fn pass(&mut self, ms: u64) {
        let end = self.at.now.after(ms);
        while self.at.now < end {
            self.at.now = self.at.now.after(50);
            self.at.wall = Wall(self.at.wall.0 + 50);
            for _ in 0..100 {
                self.input(Input::Tick);
                if self.shard.deadline().is_none_or(|due| due > self.at.now) {
                    break;
                }
            }
        }
    }

    fn is_open(&self, session: SessionKey) -> bool {
        let session = self.shard.state.sockets.session(session);
        session.is_some_and(|it| matches!(it.state, SessionState::Open(_)))
    }

    fn open(&self, all: &[SessionKey]) -> usize {
        all.iter().filter(|key| self.is_open(**key)).count()
    }
}

fn peers(world: &mut World, name: &str, numbers: std::ops::Range<usize>) -> Vec<SessionKey> {
    numbers.map(|number| world.connect(name, number)).collect()
}

#[test]
fn what_is_refused_ends_within_five_seconds_spread_over_them() {
    let mut world = World::new(&["staying", "leaving"], 1);
    let staying = peers(&mut world, "staying", 0..41);
    let leaving = peers(&mut world, "leaving", 41..81);
    world.pass(1000);
    world.reload(&["staying"]);
    let mut left = vec![world.open(&leaving)];
    for _ in 0..5 {
        world.pass(1000);
        left.push(world.open(&leaving));
    }
    assert_eq!((left[0], left[5]), (40, 0), "{left:?}");
    let steps = left.windows(2).map(|pair| pair[0] - pair[1]);
    assert!(
        steps
            .clone()
            .take(4)
            .all(|closed| (5..=15).contains(&closed)),
        "{left:?}"
    );
    assert_eq!(world.open(&staying), 41);
    // No connection is closed later.
    world.pass(60_000);
    assert_eq!(world.open(&staying), 41);
}

#[test]
fn more_than_half_wait_ten_seconds_for_another_reload() {
    let mut world = World::new(&["staying", "leaving"], 1);
    let staying = peers(&mut world, "staying", 0..20);
    let leaving = peers(&mut world, "leaving", 20..41);
    let first = world.reload(&["staying"]);
    world.pass(9_000);
    assert_eq!(world.open(&leaving), 21);
    let sum = first.recheck().waiting().unwrap();
    assert_eq!((sum.connections, sum.forbidden), (41, 21));
    let second = world.reload(&["staying", "leaving"]);
    world.pass(60_000);
    assert_eq!(world.open(&leaving), 21);
    assert_eq!(second.recheck().waiting(), None);
    let third = world.reload(&["staying"]);
    world.pass(10_000);
    assert_eq!(world.open(&leaving), 21);
    world.pass(5_000);
    assert_eq!((world.open(&leaving), world.open(&staying)), (0, 20));
    assert_eq!(third.recheck().waiting(), None);
}

#[test]
fn a_reload_that_allows_them_again_keeps_those_that_are_left() {
    let mut world = World::new(&["staying", "leaving"], 1);
    let staying = peers(&mut world, "staying", 0..41);
    let leaving = peers(&mut world, "leaving", 41..81);
    world.reload(&["staying"]);
    world.pass(2_000);
    let left = world.open(&leaving);
    assert!((5..35).contains(&left), "{left}");
    world.reload(&["staying", "leaving"]);
    world.pass(60_000);
    assert_eq!(world.open(&leaving), left);
    // The connections reach their maximum age as if nothing had happened.
    world.pass(3_600_000 - 70_000);
    assert_eq!((world.open(&leaving), world.open(&staying)), (left, 41));
    world.pass(20_000);
    assert_eq!((world.open(&leaving), world.open(&staying)), (0, 0));
}

#[test]
fn shards_add_up_what_they_found() {
    // The only connection here is refused and the other shard refuses none, so no more than half are refused.
    let mut world = World::new(&["staying", "leaving"], 2);
    let mut numbers = 0..;
    let mut here = |world: &mut World, name: &str| {
        let number = numbers.find(|number| is_here(world, *number)).unwrap();
        world.connect(name, number)
    };
    let leaving = here(&mut world, "leaving");
    let credentials = world.reload(&["staying"]);
    world.pass(20_000);
    assert!(
        world.is_open(leaving),
        "the other shard has not asked its own"
    );
    let others = RecheckSum {
        connections: 1,
        forbidden: 0,
    };
    let sum = credentials.recheck().counted(others, 2).unwrap();
    assert!(!sum.is_most());
    world.pass(5_000);
    assert!(!world.is_open(leaving));
}

fn is_here(world: &World, number: usize) -> bool {
    let identity = crate::id::Identity::new("us-west-2", "123456789012", &format!("c{number}"));
    world.shard.state.sockets.placement().shard(&identity) == ShardId(0)
}

#[test]
fn a_turn_asks_a_bounded_number() {
    let mut world = World::new(&["staying"], 1);
    let all = peers(&mut world, "staying", 0..2 * RECHECKS_PER_TURN + 1);
    world
        .shard
        .state
        .gate
        .replace_credentials(credentials(&["staying"]), true, world.at.now);
    let mut turns = 0;
    while let Some(WalkStage::Counting(place, sum)) =
        world.shard.state.gate.walk().map(|it| it.stage)
    {
        assert!(
            usize::try_from(sum.connections).unwrap() <= turns * RECHECKS_PER_TURN,
            "{place}"
        );
        world.input(Input::Tick);
        turns += 1;
    }
    assert!((3..10).contains(&turns), "{turns}");
    world.pass(5_000);
    assert_eq!(world.open(&all), all.len());
}
