//! The changes of channels that are under way.

use crate::id::{Account, CallRef, ChannelKey};
use crate::limits::CHANGES_PER_SHARD_MAX;
use crate::record::Record;
use crate::registry::Store;
use crate::shard::Query;
use crate::shard::shares::Places;
use crate::time::Wall;
use ahash::RandomState;
use std::collections::{HashMap, VecDeque};

/// A change that the store has, and who waits for its end.
#[derive(Debug)]
pub(in crate::shard) struct ChangeUnderWay {
    /// The caller that gets the result; a channel that was created by a connect has none.
    pub(in crate::shard) caller: Option<CallRef>,
    /// The account whose place it has, if it has one: the caller's, or the channel's.
    pub(in crate::shard) account: Option<Account>,
    pub(in crate::shard) step: ChangeStep,
    /// Later changes of the same channel. Each has a place of its own.
    pub(in crate::shard) waiting: Waiting,
}

/// The step that is made once a change is durable.
#[derive(Debug)]
pub(in crate::shard) enum ChangeStep {
    Create,
    Replace(Record),
    Delete,
}

/// The changes under way: at most one for each channel.
pub(in crate::shard) struct Changes {
    pub(in crate::shard) store: Box<dyn Store>,
    /// Changes that the store has not reported.
    pub(in crate::shard) under_way: HashMap<ChannelKey, ChangeUnderWay, RandomState>,
    /// Those, and the ones that wait behind them, by account.
    pub(in crate::shard) places: Places<Account>,
    /// Channels whose deletion is not durable yet.
    pub(in crate::shard) deleting: u64,
    /// When the youngest channel was made: a name made again at once is another channel all the same.
    pub(in crate::shard) last_created: Wall,
}

impl Changes {
    pub(in crate::shard) fn new(store: Box<dyn Store>, newest: Wall, hasher: RandomState) -> Self {
        Self {
            store,
            under_way: HashMap::with_hasher(hasher),
            places: Places::of(CHANGES_PER_SHARD_MAX),
            deleting: 0,
            last_created: newest,
        }
    }

    /// A change is under way no longer, whatever became of it.
    pub(in crate::shard) fn take(&mut self, key: ChannelKey) -> Option<ChangeUnderWay> {
        let changing = self.under_way.remove(&key)?;
        if let Some(account) = changing.account {
            self.places.give_back(account);
        }
        Some(changing)
    }

    /// The next of those that waited behind it: it waits no longer.
    pub(in crate::shard) fn next_waiting(
        &mut self,
        waiting: &mut Waiting,
    ) -> Option<(CallRef, Box<Query>)> {
        let (caller, query) = waiting.pop_front()?;
        self.places.give_back(caller.account);
        Some((caller, query))
    }
}

/// Changes of one channel that wait for the one under way, in order.
pub(in crate::shard) type Waiting = VecDeque<(CallRef, Box<Query>)>;

/// A change that was begun and is to be submitted: of which channel, and what it is.
pub(in crate::shard) type BegunChange = (ChannelKey, ChangeStep);
