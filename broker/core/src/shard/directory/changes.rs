//! The changes of channels that are under way.

use crate::id::{Account, CallRef, ChannelKey};
use crate::limits::CHANGES_PER_SHARD_MAX;
use crate::record::Record;
use crate::registry::Store;
use crate::shard::Query;
use crate::shard::shares::places::Places;
use crate::time::Wall;
use ahash::RandomState;
use std::collections::{HashMap, VecDeque};

/// A change that the store has, and who waits for its end.
#[derive(Debug)]
pub(crate) struct ChangeUnderWay {
    /// The caller that gets the result; a channel that was created by a connect has none.
    pub(crate) caller: Option<CallRef>,
    /// The account whose place it has, if it has one: the caller's, or the channel's.
    pub(crate) account: Option<Account>,
    pub(crate) step: ChangeStep,
    /// Later changes of the same channel. Each has a place of its own.
    pub(crate) waiting: Waiting,
}

/// The step that is made once a change is durable.
#[derive(Debug)]
pub(crate) enum ChangeStep {
    Create,
    Replace(Record),
    Delete,
}

/// The changes under way: at most one for each channel.
pub(crate) struct Changes {
    pub(crate) store: Box<dyn Store>,
    /// Changes that the store has not reported.
    pub(crate) under_way: HashMap<ChannelKey, ChangeUnderWay, RandomState>,
    /// Those, and the ones that wait behind them, by account.
    pub(crate) places: Places<Account>,
    /// Channels whose deletion is not durable yet.
    pub(crate) deleting: u64,
    /// When the youngest channel was made: a name made again at once is another channel all the same.
    pub(crate) last_created: Wall,
}

impl Changes {
    pub(crate) fn new(store: Box<dyn Store>, newest: Wall, hasher: RandomState) -> Self {
        Self {
            store,
            under_way: HashMap::with_hasher(hasher),
            places: Places::of(CHANGES_PER_SHARD_MAX),
            deleting: 0,
            last_created: newest,
        }
    }
}

/// Changes of one channel that wait for the one under way, in order.
pub(crate) type Waiting = VecDeque<(CallRef, Box<Query>)>;

/// A change that was begun and is to be submitted: of which channel, and what it is.
pub(crate) type BegunChange = (ChannelKey, ChangeStep);

/// Why a change cannot wait for the one under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWait {
    /// As many changes of its channel wait as may.
    Channel,
    /// Its account has no place for one more.
    Account,
}
