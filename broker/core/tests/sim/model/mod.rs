//! The reference model: what the protocol's rules make of every byte that the machines are given, predicted before
//! they are given it. Written from codec/PROTOCOL.md; shares no code with the broker's sessions, channels and routing,
//! and is slow and flat on purpose.
//!
//! Everything that shows is predicted: each frame and response in order, each letter, each end of a connection, each
//! counter. Only what comes by the clock (pings, GO_AWAY, limits) is observed, and then must be allowed; see `timers`.

pub(crate) mod alexa;
pub(crate) mod answers;
pub(crate) mod backlog;
pub(crate) mod books;
pub(crate) mod calls;
pub(crate) mod changes;
pub(crate) mod connections;
pub(crate) mod endings;
pub(crate) mod keeping;
pub(crate) mod messages;
pub(crate) mod predicted;
pub(crate) mod quotas;
pub(crate) mod requests;
pub(crate) mod scripted;
pub(crate) mod timers;
pub(crate) mod trail;
pub(crate) mod withheld;

use crate::store::Verdicts;
use crate::words::{Call, Piece};
use books::Purpose;
use broker_core::check::Check;
use broker_core::event::{Counters, Kind, Outcome};
use broker_core::id::{ChannelKey, SessionKey};
use broker_core::journal::EndReason;
use broker_core::settings::Settings;
use changes::Life;
use codec::control::Operation;
use codec::signal::Action;
pub(crate) use predicted::{Body, Expect, Named, Predicted, Refusal};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
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
    /// Where channels live, by name: the one thing taken from the broker.
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
    /// What of the rules was met, for the coverage table.
    pub(crate) met: BTreeSet<&'static str>,
    /// What each call asked, also when its caller has gone since.
    pub(crate) asked: BTreeMap<Caller, Call>,
    /// Departures seen in this tick, and whether something of them found no room.
    pub(crate) departures: usize,
    /// Bytes of kept messages that expired in this tick.
    pub(crate) expired_bytes: usize,
    /// Tokens of the account, by operation.
    pub(crate) account_taken: quotas::Taken,
    /// Connections whose call was just answered.
    answered: VecDeque<ConnId>,
    /// Faults, in the order in which they were made.
    pub(crate) rules: Vec<scripted::Rule>,
    /// Payloads that a fault held back or doubled: they may come late and twice.
    pub(crate) twice: BTreeSet<String>,
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

/// One shard.
#[derive(Default)]
pub(crate) struct ShardModel {
    pub(crate) counters: Counters,
    /// Bytes of messages in all outboxes: read off the machine before each input, then predicted.
    pub(crate) outbox_bytes: usize,
    /// The moment at which this many heads and bodies were answered as they arrived.
    pub(crate) fresh: ((u64, u64), u32),
    /// Connections whose requests wait for a turn.
    pub(crate) waiting: VecDeque<ConnId>,
    /// Questions of this shard that are under way, by the shard that is asked.
    asking: BTreeMap<usize, usize>,
    /// Connections of this shard whose Alexa call waits on another.
    pub(crate) offers_out: usize,
    /// Places that its log keeps for changes under way.
    pub(crate) audits_kept: usize,
    /// Alexa calls of other shards that were taken in here and are not confirmed to be over.
    pub(crate) places: BTreeSet<Caller>,
    /// The creation time of its youngest channel.
    pub(crate) last_created: u64,
    pub(crate) drain: Option<DrainModel>,
    pub(crate) diary: books::DiaryModel,
    /// Changes that its store was given.
    pub(crate) submissions: u64,
    /// Connections that may get no notice, admitted so far: their ends are spread.
    pub(crate) quiet: u32,
    /// When the last connection is closed that was to come back for ICE servers.
    pub(crate) recalled: u64,
    pub(crate) trail: trail::Trail,
    /// What faults hold back, by when it is due.
    pub(crate) later: BTreeMap<(u64, u64), withheld::Later>,
    pub(crate) serial: u64,
}

impl ShardModel {
    /// One more question to another shard, if no more than `most` are under way then.
    fn asks(&mut self, home: usize, most: usize) -> bool {
        let asking = self.asking.entry(home).or_default();
        let asks = *asking < most;
        *asking += usize::from(asks);
        asks
    }

    /// A question was answered, or came back.
    fn heard_from(&mut self, home: usize) {
        *self.asking.get_mut(&home).expect("it was asked") -= 1;
    }

    /// No question is under way.
    pub(crate) fn asks_nobody(&self) -> bool {
        self.asking.values().all(|asking| *asking == 0)
    }
}

/// A drain.
#[derive(Clone, Copy)]
pub(crate) struct DrainModel {
    pub(crate) began: u64,
    pub(crate) ends: u64,
    pub(crate) calls_ended: bool,
    pub(crate) over: bool,
}

/// One channel, or what is left of a deleted one.
pub(crate) struct Channel {
    pub(crate) name: String,
    /// The machine's name for it, as its store has it: of channels that keep the same number of bytes, the greatest
    /// pays.
    pub(crate) key: Option<ChannelKey>,
    pub(crate) arn: String,
    pub(crate) account: String,
    pub(crate) ttl: u64,
    pub(crate) home: usize,
    pub(crate) alive: bool,
    pub(crate) master: Option<ConnId>,
    pub(crate) viewers: BTreeMap<String, ConnId>,
    pub(crate) superseded: Vec<(Option<String>, ConnId)>,
    /// Slots whose former connection has begun a message and not ended it, and until when it may: nothing newer goes
    /// there.
    pub(crate) held: Vec<(Option<String>, ConnId, u64)>,
    /// Slots that nobody has but somebody superseded had, and until when nobody is closed for that.
    pub(crate) vacant: Vec<(Option<String>, u64)>,
    /// Kept messages of all keys, in the order of acceptance.
    pub(crate) pending: Vec<usize>,
    pub(crate) calls: Vec<Waiting>,
    pub(crate) taken: quotas::Taken,
    pub(crate) life: changes::Life,
    /// As the store was given it; and by which change it is yet to be seen.
    pub(crate) version: Option<String>,
    pub(crate) drawn_by: Option<u64>,
    pub(crate) tags: changes::Tags,
    pub(crate) changing: Option<changes::Changing>,
}

/// A SendAlexaOfferToMaster call at its channel.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) caller: Caller,
    pub(crate) sender: String,
    pub(crate) message: usize,
    pub(crate) expires: u64,
    pub(crate) given: Option<ConnId>,
    pub(crate) delivered: bool,
}

/// Which call of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) conn: ConnId,
    pub(crate) number: u32,
    pub(crate) shard: usize,
}

/// An accepted message; its number is its place in the order of acceptance.
pub(crate) struct Message {
    pub(crate) action: Action,
    pub(crate) expires: u64,
    pub(crate) accepted: u64,
    pub(crate) payload: String,
    /// The whole text that its recipient reads.
    pub(crate) text: String,
    /// Towards the master, or towards the viewer.
    pub(crate) to_master: bool,
    /// The viewer at either end.
    pub(crate) viewer: String,
    /// The connection that sent it; none of a call.
    pub(crate) from: Option<ConnId>,
    pub(crate) call: bool,
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) shard: usize,
    pub(crate) remote: SocketAddr,
    pub(crate) tls: bool,
    /// A machine has a session of it.
    pub(crate) live: bool,
    /// Index of its place in the gauges.
    pub(crate) place: usize,
    pub(crate) stage: Stage,
    pub(crate) pieces: VecDeque<Piece>,
    /// Bytes of an incomplete piece were fed.
    pub(crate) partial: bool,
    pub(crate) served: bool,
    pub(crate) ended: bool,
    pub(crate) head_began: bool,
    pub(crate) deadline: u64,
    pub(crate) number: u32,
    pub(crate) ws: Option<Ws>,
    /// Messages queued for it and not wholly handed over, in order.
    pub(crate) outbox: VecDeque<Queued>,
    /// How many of these the edge has begun to take.
    pub(crate) begun: usize,
    /// What the machine calls it: of two that wait for the same number of bytes the greater pays.
    pub(crate) key: SessionKey,
    /// Its socket had no room, and it has not taken everything since.
    pub(crate) behind: bool,
    /// It was cut off since it does not read.
    pub(crate) cut: bool,
    /// Bytes of its outbox: read off the machine before each input, then predicted.
    pub(crate) bytes: usize,
    /// How many of these are no messages.
    pub(crate) control: usize,
    /// Answers that were queued in this step and whose length the model does not know.
    pub(crate) unsure: usize,
    /// Its requests wait for a turn.
    pub(crate) queued: bool,
    /// Since when it has taken nothing of the answers that wait for it.
    pub(crate) untaken: Option<u64>,
    /// What must appear in its stream in this step, beside messages.
    pub(crate) expects: VecDeque<Expect>,
    /// Our close frame was queued by the connection's own doing, so what followed in the same read was dropped.
    pub(crate) lost_sync: bool,
    /// Until when a fault keeps everything from it; the end of time, if for good.
    pub(crate) mute: Option<u64>,
    /// Its end waits for that.
    pub(crate) deferred: bool,
    /// When that was over.
    pub(crate) unmuted: u64,
}

/// What a WebSocket is to its channel.
#[derive(Debug)]
pub(crate) struct Ws {
    pub(crate) channel: usize,
    /// `None` for a master.
    pub(crate) viewer: Option<String>,
    pub(crate) superseded: bool,
    pub(crate) opened: u64,
    pub(crate) heard: u64,
    /// Since when a ping is unanswered.
    pub(crate) pinged: Option<u64>,
    pub(crate) told: bool,
    /// Whether it may get GO_AWAY and RECONNECT_ICE_SERVER.
    pub(crate) notices: bool,
    /// When it is closed; at the end of time, if never. And whether that is for ICE servers.
    pub(crate) ends: u64,
    pub(crate) recalled: bool,
    pub(crate) message_began: Option<u64>,
    /// How long after its admission a viewer sent its first offer that was within its rate, and the first SDP_ANSWER
    /// was handed to it.
    pub(crate) setup: [Option<u64>; 2],
    pub(crate) messages_in: u32,
    pub(crate) messages_out: u32,
    /// A second of the clock, and how many frames without effect came in it.
    pub(crate) idle: (u64, u32),
    pub(crate) taken: quotas::Taken,
    /// Why it ends: what happened first, or what else it may have been.
    pub(crate) reason: Option<EndReason>,
    pub(crate) or_reason: Option<EndReason>,
}

/// A message in an outbox.
#[derive(Clone, Copy)]
pub(crate) struct Queued {
    pub(crate) number: usize,
    /// It counts in the gauge.
    pub(crate) counted: bool,
    /// How long its delivery takes is measured.
    pub(crate) timed: bool,
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) enum Stage {
    AwaitTls,
    AwaitHead,
    AwaitBody(Operation),
    AwaitReply(Reply),
    AwaitHandover(String, Option<String>, bool),
    Open,
    /// Our close frame is out since; whether the peer's stream of frames is lost.
    AwaitEcho(u64, bool),
    /// Since when the edge has to end it; never again once it has to abort it.
    Ending(u64),
    Gone,
}

/// What a call waits for.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) call: Call,
    /// What its account has to say first.
    pub(crate) permit: Option<Permit>,
    pub(crate) missing: usize,
    pub(crate) names: Vec<String>,
    pub(crate) more: bool,
    /// An Alexa call: another shard said that it waits there.
    pub(crate) taken: bool,
    /// A change, for whose line the log keeps a place.
    pub(crate) place_kept: bool,
    /// That line was written before the answer.
    pub(crate) noted: bool,
}

/// The account's leave for a call, as far as it has come.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) missing: usize,
    pub(crate) channels: usize,
}

/// What a letter asks on behalf of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// What the call is about.
    Call,
    /// A token of its account.
    Permit,
    /// How many channels a shard has.
    Count,
}

/// An answer of a channel's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Record(Box<Record>),
    Page(Vec<String>, bool),
    Number(usize),
    Done,
    Answer(Option<String>),
    Fault(u16, Refusal),
}

/// What callers learn of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) ttl: u64,
    pub(crate) deleting: bool,
    /// `None` if it was drawn in this very step.
    pub(crate) version: Option<String>,
    pub(crate) tags: changes::Tags,
}

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
            expired_bytes: 0,
            account_taken: BTreeMap::new(),
            answered: VecDeque::new(),
            rules: Vec::new(),
            twice: BTreeSet::new(),
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

impl Message {
    /// The bytes of its frame.
    pub(crate) fn bytes(&self) -> usize {
        crate::wire::frame_bytes(self.text.len())
    }
}
