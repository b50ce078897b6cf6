//! The reference model: what the protocol's rules make of every byte that the machines are given, predicted before
//! they are given it. Written from codec/PROTOCOL.md; shares no code with the broker's sessions, channels and routing,
//! and is slow and flat on purpose.
//!
//! Everything that shows is predicted: each frame and response in order, each letter, each end of a connection, each
//! counter. Only what comes by the clock (pings, GO_AWAY, limits) is observed, and then must be allowed; see `timers`.

mod admission;
pub(crate) mod alexa;
pub(crate) mod answers;
pub(crate) mod backlog;
pub(crate) mod books;
pub(crate) mod calls;
pub(crate) mod changes;
mod confirmation;
mod conn;
pub(crate) mod connections;
mod doubt;
pub(crate) mod endings;
mod frames;
pub(crate) mod keeping;
mod late;
mod letters;
pub(crate) mod messages;
mod places;
pub(crate) mod predicted;
mod proof;
pub(crate) mod quotas;
mod repeats;
pub(crate) mod requests;
pub(crate) mod scripted;
mod state;
pub(crate) mod timers;
pub(crate) mod trail;
pub(crate) mod unaccepted;
pub(crate) mod withheld;

use crate::sim::store::Verdicts;
use crate::sim::words::Call;
use broker_core::check::Check;
use broker_core::event::{Counters, Kind, Outcome};
use broker_core::settings::Settings;
use changes::Life;
use codec::signal::Action;
pub(crate) use conn::{Conn, Lost, Permit, Queued, Reply, Stage, Ws};
pub(crate) use letters::{Caller, Question, Record, Told};
pub(crate) use predicted::{Body, Expect, Named, Predicted, PredictedResponse, Refusal};
pub(crate) use state::{Channel, DrainModel, Held, Message, ShardModel, Waiting};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A connection of the world, never used again.
pub(crate) type ConnId = usize;

/// Thrown to end a world in which two things fell into one tick and their order, which does not show, matters. Three of
/// ten worlds end so before their time, most of them because a call is answered by the clock and its caller takes no
/// answers, or because several calls are: see `Model::tick`.
pub(crate) struct OrderDoesNotShow;

/// All that should be, on all shards.
pub(crate) struct Model {
    pub(crate) settings: Arc<Settings>,
    pub(crate) verdicts: Verdicts,
    /// Alexa calls that may wait on one shard.
    pub(crate) waiting_most: usize,
    /// Changes under way of one shard's connections for which its log has places.
    pub(crate) audits_most: usize,
    /// The home of a channel, by its name: the one thing taken from the broker.
    pub(crate) home: Box<dyn Fn(&str) -> usize>,
    pub(crate) now: u64,
    pub(crate) wall: u64,
    pub(crate) shards: Vec<ShardModel>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) messages: Vec<Message>,
    pub(crate) out: Predicted,
    /// A deadline and a departure fell into one tick, and which came first does not show: overwritten and expired are
    /// compared as a sum from there on.
    pub(crate) hazy: bool,
    /// That was in this very tick: how much is kept is known after the next one.
    pub(crate) haze_now: bool,
    /// Rules that were met, for the coverage table.
    pub(crate) met: BTreeSet<&'static str>,
    /// The request of each call, also when its caller has gone since.
    pub(crate) asked: BTreeMap<Caller, Call>,
    /// Departures seen in this tick, and whether something of them found no room.
    pub(crate) departures: usize,
    /// Bytes of messages that were kept in this tick and are not any more.
    pub(crate) freed_bytes: usize,
    /// Bytes of records that the account had when a call was permitted.
    pub(crate) held: BTreeMap<Caller, u64>,
    /// Tokens of the account, by operation.
    pub(crate) account_taken: quotas::Taken,
    /// Answers for callers on the shard that has the channel: they come when the step is over.
    pub(crate) answers: VecDeque<(Caller, Told)>,
    /// Connections whose call was just answered.
    answered: VecDeque<ConnId>,
    /// Faults, in the order in which they were made.
    pub(crate) rules: Vec<scripted::Rule>,
    /// Payloads that a fault held back or doubled: they may come late and twice.
    pub(crate) twice: BTreeSet<String>,
    /// Payloads that a fault sends to another viewer, or as another viewer's.
    pub(crate) misdirected: BTreeSet<String>,
    /// The greatest such number so far: see [`Ws::number`].
    numbers: u64,
    /// Connections that were admitted so far.
    admissions: u64,
    /// The last time for which the process did not run.
    pub(crate) standstill: (u64, u64),
    /// Without and with a subprotocol.
    upgraded_bytes: [usize; 2],
}

/// The account of all callers.
pub(crate) const CALLERS: &str = "123456789012";

/// Error types.
const NOT_FOUND: &str = "ResourceNotFoundException";
const UNAVAILABLE: &str = "ServiceUnavailable";
const LIMITED: &str = "ClientLimitExceededException";

/// As long as every request id.
const REQUEST_ID: &str = "01234567-0123-0123-0123-0123456789ab";

impl Model {
    /// A world without channels and connections.
    pub(crate) fn new(
        settings: Arc<Settings>,
        verdicts: Verdicts,
        (waiting_most, audits_most): (usize, usize),
        shards: usize,
        home: impl Fn(&str) -> usize + 'static,
    ) -> Self {
        let meta = codec::http::Meta {
            wall_ms: 0,
            request_id: REQUEST_ID,
            close: false,
        };
        let upgraded_bytes = [false, true].map(|wss| {
            let mut upgraded = Vec::new();
            codec::http::switching_protocols(&mut upgraded, &meta, &[b'x'; 28], wss);
            upgraded.len()
        });
        Self {
            settings,
            verdicts,
            waiting_most,
            audits_most,
            home: Box::new(home),
            now: 0,
            wall: 0,
            shards: (0..shards).map(|_| ShardModel::default()).collect(),
            channels: Vec::new(),
            conns: Vec::new(),
            messages: Vec::new(),
            out: Predicted::default(),
            hazy: false,
            haze_now: false,
            met: BTreeSet::new(),
            asked: BTreeMap::new(),
            departures: 0,
            freed_bytes: 0,
            held: BTreeMap::new(),
            account_taken: BTreeMap::new(),
            answers: VecDeque::new(),
            answered: VecDeque::new(),
            rules: Vec::new(),
            twice: BTreeSet::new(),
            misdirected: BTreeSet::new(),
            numbers: 0,
            admissions: 0,
            standstill: (0, 0),
            upgraded_bytes,
        }
    }

    /// Ends the world, see [`OrderDoesNotShow`].
    pub(crate) fn give_up(&self) -> ! {
        std::panic::resume_unwind(Box::new(OrderDoesNotShow))
    }

    /// Notes that a rule was met.
    pub(crate) fn met(&mut self, rule: &'static str) {
        self.met.insert(rule);
    }

    /// The living channel of a name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.channels
            .iter()
            .position(|channel| channel.alive && channel.name == name)
    }

    /// The living channel of an ARN, if it is not only being created.
    pub(crate) fn by_arn(&self, arn: &str) -> Option<usize> {
        self.channels
            .iter()
            .position(|one| one.alive && one.arn == arn && one.life != Life::Creating)
    }

    /// Why nothing is at an ARN: what callers do not learn.
    pub(crate) fn absent(&self, arn: &str) -> Refusal {
        let channel = self.named(connections::name_of(arn));
        let channel = channel.map(|channel| &self.channels[channel]);
        let check = match channel {
            None => Check::ChannelAbsent,
            Some(channel) if channel.life == Life::Creating => Check::ChannelAbsent,
            Some(channel) if channel.arn != arn => Check::ChannelStaleArn,
            Some(_) => Check::ChannelDeleting,
        };
        Refusal::new(check, NOT_FOUND)
    }

    pub(crate) fn receive(&mut self, shard: usize, kind: Kind) {
        self.shards[shard].counters.receive(kind);
    }

    pub(crate) fn end(&mut self, shard: usize, action: Action, outcome: Outcome) {
        self.shards[shard]
            .counters
            .end(Kind::Known(action), outcome);
    }

    /// Whether a shard drains.
    pub(crate) fn drains(&self, shard: usize) -> bool {
        self.shards[shard].drain.is_some()
    }

    /// Something control-like is queued for a connection.
    pub(crate) fn expect(&mut self, conn: ConnId, expect: Expect, bytes: usize) {
        self.conns[conn].bytes += bytes;
        self.conns[conn].control += bytes;
        self.out.touched.insert(conn);
        self.conns[conn].expects.push_back(expect);
    }

    /// A connection's outbox has this many bytes of messages more.
    pub(crate) fn grow(&mut self, conn: ConnId, bytes: usize) {
        self.conns[conn].bytes += bytes;
        let shard = self.conns[conn].shard;
        self.shards[shard].outbox_bytes += bytes;
    }

    /// A connection's outbox has this many bytes of messages less.
    pub(crate) fn shrink(&mut self, conn: ConnId, bytes: usize) {
        self.conns[conn].bytes -= bytes;
        self.conns[conn].behind &= self.conns[conn].bytes > 0;
        let shard = self.conns[conn].shard;
        self.shards[shard].outbox_bytes -= bytes;
    }

    /// This many bytes left a connection's outbox that are no messages.
    pub(crate) fn shrink_control(&mut self, conn: ConnId, bytes: usize) {
        self.conns[conn].bytes -= bytes;
        self.conns[conn].control -= bytes;
        self.conns[conn].behind &= self.conns[conn].bytes > 0;
    }

    /// The expected counters of a shard, except the bytes of outboxes.
    pub(crate) fn counters(&self, shard: usize) -> Counters {
        let mut counters = self.shards[shard].counters.clone();
        for channel in self.channels.iter().filter(|one| one.home == shard) {
            let lost = channel
                .calls
                .iter()
                .filter(|call| call.given.is_none() && !call.delivered);
            counters.pending_messages += channel.pending.len() as u64 + lost.count() as u64;
            counters.waiting_calls += channel.calls.len() as u64;
            counters.pending_bytes += self.bytes_of(&channel.pending) as u64;
        }
        counters.pending_messages += self.held(shard) as u64;
        (counters.written_messages, counters.unconfirmed_bytes) = self.written_of(shard);
        for conn in self
            .conns
            .iter()
            .filter(|conn| conn.live && conn.shard == shard)
        {
            counters.outbox_messages += conn.outbox.iter().filter(|one| one.counted).count() as u64;
        }
        counters
    }

    /// The bytes of some messages' frames.
    pub(crate) fn bytes_of(&self, messages: &[usize]) -> usize {
        messages
            .iter()
            .map(|&number| self.messages[number].bytes())
            .sum()
    }
}
