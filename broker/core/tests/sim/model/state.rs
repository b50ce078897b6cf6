//! The model's state of shards, channels and messages.

use super::repeats::Unanswered;
use super::{Caller, ConnId, books, changes, quotas, trail, unaccepted, withheld};
use broker_core::event::Counters;
use broker_core::id::ChannelKey;
use codec::signal::Action;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// Questions of this shard that are under way, by the shard that is asked: all, and those that wait for a store.
    pub(crate) asking: BTreeMap<usize, (usize, usize)>,
    /// Calls of which one of those does.
    pub(crate) storing: BTreeSet<Caller>,
    /// Lists that wait for their turn.
    pub(crate) lists: VecDeque<Caller>,
    /// The list that is under way, and how many of its parts are missing.
    pub(crate) list: Option<(Caller, usize)>,
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
    pub(crate) unaccepted: unaccepted::UnacceptedLog,
    /// Changes that its store was given.
    pub(crate) submissions: u64,
    /// Connections that may get no notice, admitted so far: their ends are spread.
    pub(crate) quiet: u32,
    /// When the last connection is closed that was to come back for ICE servers.
    pub(crate) recalled: u64,
    pub(crate) trail: trail::Trail,
    /// Messages and closes that faults hold back, by when they are due.
    pub(crate) later: BTreeMap<(u64, u64), withheld::Later>,
    pub(crate) serial: u64,
    /// The moment of its last tick.
    pub(crate) ticked: u64,
    /// Further ticks of that moment.
    pub(crate) ticks: u32,
}

/// Questions of one account under way from one shard to another, and those of them that wait for a store.
const QUESTIONS: usize = 128;
const CHANGES: usize = QUESTIONS / 2;

impl ShardModel {
    /// One more question to another shard, if its account has places.
    pub(crate) fn asks(&mut self, home: usize, caller: Caller, stored: bool) -> bool {
        let (all, changes) = self.asking.entry(home).or_default();
        let asks = *all < QUESTIONS && (!stored || *changes < CHANGES);
        *all += usize::from(asks);
        if asks && stored {
            *changes += 1;
            self.storing.insert(caller);
        }
        asks
    }

    /// A question was answered, or came back.
    pub(crate) fn heard_from(&mut self, home: usize, caller: Caller) {
        let (all, changes) = self.asking.get_mut(&home).expect("it was asked");
        *all -= 1;
        *changes -= usize::from(self.storing.remove(&caller));
    }

    /// No question is under way.
    pub(crate) fn asks_nobody(&self) -> bool {
        self.asking.values().all(|(all, _)| *all == 0)
    }
}

/// A drain.
#[derive(Clone, Copy)]
pub(crate) struct DrainModel {
    /// Since when clients are sent away: no world has other nodes.
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
    /// Slots to which nothing newer goes.
    pub(crate) held: Vec<Held>,
    /// Slots that nobody has but somebody superseded had, and until when nobody is closed for that.
    pub(crate) vacant: Vec<(Option<String>, u64)>,
    /// Viewers that went by a close frame while something of theirs was kept, and until when it is.
    pub(crate) closed: Vec<(String, u64)>,
    /// Offers of viewers without an answer, in the order of acceptance.
    pub(crate) unanswered: Vec<Unanswered>,
    /// Kept messages of all keys, in the order of acceptance.
    pub(crate) pending: Vec<usize>,
    pub(crate) calls: Vec<Waiting>,
    /// The senders of calls that ended, and until when that is remembered.
    pub(crate) ended_calls: Vec<(String, u64)>,
    pub(crate) taken: quotas::Taken,
    pub(crate) life: changes::Life,
    /// As the store was given it; and by which change it is yet to be seen.
    pub(crate) version: Option<String>,
    pub(crate) drawn_by: Option<u64>,
    pub(crate) tags: changes::Tags,
    pub(crate) changing: Option<changes::Changing>,
}

/// A slot whose former connection has begun a message and not ended it, or has not confirmed one.
pub(crate) struct Held {
    pub(crate) slot: Option<String>,
    pub(crate) by: ConnId,
    /// Until when it may end what it has begun.
    pub(crate) until: u64,
    /// When it is asked what its peer has.
    pub(crate) ask: u64,
    pub(crate) since: u64,
}

/// A SendAlexaOfferToMaster call at its channel.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) caller: Caller,
    pub(crate) sender: String,
    pub(crate) message: usize,
    pub(crate) expires: u64,
    pub(crate) given: Option<ConnId>,
    /// Masters that gave way to another one and have it.
    pub(crate) had: Vec<ConnId>,
    pub(crate) delivered: bool,
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
    /// The viewer's connection that sent it, also if a fault held it back, and whether it is that one's first offer.
    pub(crate) by: Option<ConnId>,
    pub(crate) first: bool,
    pub(crate) call: bool,
}

impl Message {
    /// The bytes of its frame.
    pub(crate) fn bytes(&self) -> usize {
        crate::sim::wire::frame_bytes(self.text.len())
    }
}
