//! The end of many connections at once: a bounded number of them is closed in one turn.

use crate::shard_transcripts::client::{self, peer};
use crate::shard_transcripts::slots::{Node, held, parcel, record};
use crate::shard_transcripts::words::{self, CHANNEL, arn, spoken, upgrade};
use broker_core::cluster::message::{ReleaseCause, SlotOrder};
use broker_core::id::{Identity, SessionKey, ShardId};
use broker_core::limits::CLOSES_PER_TURN;
use broker_core::machine::{Input, Machine, Output};
use broker_core::placement::Placement;
use broker_core::settings::{Profile, Settings};
use broker_core::shard::{Connections, Letter, Question, Reply, Shard, Start};
use broker_core::time::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A shard with one channel, whose clients read and never answer.
struct Crowd {
    shard: Shard,
    at: Moment,
    /// The last bytes that each connection got.
    heard: BTreeMap<SessionKey, Vec<u8>>,
}

impl Crowd {
    /// A channel with its master and this many viewers, `v0` and so on.
    fn of(viewers: usize) -> Self {
        let mut settings = Settings::new(Profile::Default, true);
        settings.limits.viewers_per_channel = viewers;
        settings.limits.connections = 2 * viewers;
        let placement = Placement::new([1, 2, 3, 4], 1);
        let start = Start::bare(Arc::new(settings), ShardId(0), placement, [5, 6, 7, 8]);
        let mut crowd = Self {
            shard: Shard::new(start),
            at: words::first_moment(),
            heard: BTreeMap::new(),
        };
        crowd.connect(None);
        for number in 0..viewers {
            crowd.connect(Some(&format!("v{number}")));
        }
        assert_eq!(crowd.heard.len(), viewers + 1);
        crowd
    }

    /// A connection, in a turn of its own.
    fn connect(&mut self, client_id: Option<&str>) -> SessionKey {
        self.turn();
        let session = self.open(upgrade(&arn(CHANNEL), client_id));
        assert!(self.heard[&session].starts_with(b"HTTP/1.1 101 "));
        session
    }

    fn open(&mut self, mut request: Vec<u8>) -> SessionKey {
        let session = self.shard.open(peer(), self.at).expect("there is room");
        let bytes = &mut request[..];
        self.input(Input::Received { session, bytes });
        session
    }

    /// The next turn.
    fn turn(&mut self) {
        self.at.micros = self.at.micros.wrapping_add(1);
    }

    /// The next turn, with what is due in it; false when nothing is due at once.
    fn tick(&mut self) -> bool {
        let is_due = self
            .shard
            .deadline()
            .is_some_and(|next| next <= self.at.now);
        self.turn();
        if is_due {
            self.input(Input::Tick);
            assert_eq!(self.shard.forgotten(self.at.now), 0);
        }
        is_due
    }

    /// One input, and its outputs. Sockets take everything at once.
    fn input(&mut self, input: Input<'_, Letter>) {
        self.shard.handle(input, self.at);
        while let Some(output) = self.shard.poll_output() {
            let Output::Send(session) = output else {
                panic!("nobody goes: {output:?}");
            };
            let bytes = self.shard.unsent(session).to_vec();
            let sent = bytes.len();
            if sent > 0 {
                self.heard.insert(session, bytes);
                let bytes = sent;
                self.shard.handle(client::sent(session, bytes), self.at);
            }
        }
        let counters = self.shard.snapshot().counters;
        assert_eq!(counters.unaccounted(), 0);
    }

    /// The connections that were closed with this reason.
    fn closed(&self, reason: &str) -> BTreeSet<SessionKey> {
        let heard = self.heard.iter();
        let closed = heard.filter(|(_, bytes)| bytes.ends_with(&close_frame(reason)));
        closed.map(|(session, _)| *session).collect()
    }

    /// Goes on until nothing is due at once; returns how many turns that took. In none of them are more connections
    /// closed than may be.
    fn settle(&mut self, reason: &str) -> usize {
        let (mut turns, mut before) = (0, self.closed(reason).len());
        while self.tick() {
            turns += 1;
            let closed = self.closed(reason).len();
            assert!(closed - before <= CLOSES_PER_TURN, "{before} to {closed}");
            before = closed;
        }
        turns
    }
}

fn close_frame(reason: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    codec::ws::close_frame(&mut frame, 1001, reason);
    frame
}

const DELETED: &str = "Channel deleted";

#[test]
fn a_channel_of_ten_thousand_viewers_ends_in_many_turns_and_its_name_is_free_at_once() {
    let mut crowd = Crowd::of(10_000);
    let all: BTreeSet<SessionKey> = crowd.heard.keys().copied().collect();
    let (master, last) = (*all.first().unwrap(), *all.last().unwrap());
    crowd.turn();
    let caller = crowd.open(spoken(&format!("delete {CHANNEL}"), &crowd.at));
    assert!(crowd.heard[&caller].starts_with(b"HTTP/1.1 200 "));
    let closed = crowd.closed(DELETED);
    assert_eq!(closed.len(), CLOSES_PER_TURN, "the rest waits");
    assert!(closed.contains(&master) && !closed.contains(&last));
    assert_eq!(crowd.shard.snapshot().channels, 0);
    // The name is free, and so are the places of the viewers who are still there.
    let again = crowd.connect(Some("v9999"));
    assert_eq!(crowd.shard.snapshot().channels, 1);
    // Messages of those who are still there reach nobody.
    let mut offer = spoken("SDP_OFFER p1", &crowd.at);
    let (session, bytes) = (last, &mut offer[..]);
    crowd.input(Input::Received { session, bytes });
    let turns = crowd.settle(DELETED);
    assert_eq!(turns, 10_001_usize.div_ceil(CLOSES_PER_TURN) - 1);
    assert_eq!(crowd.closed(DELETED), all);
    assert!(crowd.heard[&again].starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn an_operator_closes_those_who_are_there_once_in_several_turns() {
    let viewers = 3 * CLOSES_PER_TURN;
    let mut crowd = Crowd::of(viewers);
    let all: BTreeSet<SessionKey> = crowd.heard.keys().copied().collect();
    crowd.turn();
    let mut wanted = Vec::new();
    for _ in 0..2 {
        let channel = Identity::new("us-west-2", "123456789012", CHANNEL);
        let which = Connections::All;
        let question = Question::Disconnect { channel, which };
        let Reply::Disconnected(closed) = crowd.shard.inspect(question, crowd.at) else {
            panic!("a number is wanted");
        };
        wanted.extend(closed);
    }
    let most = CLOSES_PER_TURN as u64;
    assert_eq!(wanted, [3 * most + 1, 2 * most + 1]);
    // One that goes by itself is not closed, and one that comes is not meant.
    let last = *all.last().unwrap();
    let mut bytes = spoken("close 1000", &crowd.at);
    let (session, bytes) = (last, &mut bytes[..]);
    crowd
        .shard
        .handle(Input::Received { session, bytes }, crowd.at);
    while let Some(output) = crowd.shard.poll_output() {
        let (Output::Send(session) | Output::Close(session)) = output else {
            panic!("{output:?}");
        };
        let bytes = crowd.shard.unsent(session).to_vec();
        crowd.heard.insert(session, bytes);
    }
    let again = crowd.connect(Some("v0"));
    let turns = crowd.settle("Closed by the operator");
    assert_eq!(turns, 2);
    let mut closed = crowd.closed("Closed by the operator");
    assert!(!closed.contains(&again));
    assert!(closed.insert(last));
    assert_eq!(closed, all);
}

#[test]
fn a_drain_of_a_shard_that_did_not_run_closes_its_connections_in_several_turns() {
    let viewers = 3 * CLOSES_PER_TURN;
    let mut crowd = Crowd::of(viewers);
    crowd.input(Input::Letter(Letter::Drain(8_000)));
    crowd.at.now = crowd.at.now.after(7_600);
    let turns = crowd.settle("Going away");
    assert_eq!(turns, 4);
    assert_eq!(crowd.closed("Going away").len(), viewers + 1);
}

#[test]
fn a_slot_goes_when_all_its_connections_are_closed() {
    let mut settings = Settings::default();
    settings.quotas.off = true;
    settings.limits.viewers_per_channel = 10_000;
    let viewers = 3 * CLOSES_PER_TURN;
    let mut node = Node::with(settings);
    node.take_slot(vec![record()]);
    let mut sessions = vec![node.connect(None)];
    for number in 0..viewers {
        node.at.micros += 1;
        sessions.push(node.connect(Some(&format!("v{number}"))));
    }
    node.at.micros += 1;
    let held = held(&node.map);
    let cause = ReleaseCause::Superseded(Some(parcel()));
    node.desk(|desk| {
        desk.orders
            .push_back(SlotOrder::Release(held, cause).into())
    });
    node.input(Input::Letter(Letter::Slots));
    node.input(Input::Tick);
    let is_closed = |node: &Node, session: &SessionKey| node.heard(*session).contains("Going away");
    let closed = sessions.iter().filter(|it| is_closed(&node, it)).count();
    assert_eq!(closed, CLOSES_PER_TURN);
    assert!(is_closed(&node, &sessions[0]), "the master first");
    assert_eq!(node.desk(|desk| desk.packed.len()), 0, "it is in use");
    node.tick(100);
    assert!(sessions.iter().all(|it| is_closed(&node, it)));
    assert_eq!(node.desk(|desk| desk.packed.len()), 1);
    assert_eq!(node.shard.snapshot().channels, 0);
    node.assert_balanced();
}
