//! Which channels live here: by key, by name, by account; what is kept on them, and what is changed about them.
//!
//! Invariants (`invariants`): each channel of the table has its name in `names` and is counted in `holdings`; a channel
//! has at most one change under way, and is being created or deleted only by it; `kept` and `waits` count exactly what
//! the channels hold; a slot lists its channels.

mod accounts;
pub(crate) mod calls;
pub(crate) mod changes;
pub(crate) mod channels;
mod holdings;
mod invariants;
mod kept;
mod lists;
pub(crate) mod members;
pub(crate) mod page_turn;
mod pages;
pub(crate) mod permits;
pub(crate) mod slots;
mod under_way;
pub(crate) mod waits;

use crate::channel::{Channel, Life};
use crate::id::{Account, ChannelKey, Identity, ShardId};
use crate::limits::CHANNELS_PER_SHARD_MAX;
use crate::placement::Placement;
use crate::presence::{Audience, News, ViewerNews};
use crate::quota::Bucket;
use crate::record::Records;
use crate::registry::Store;
use crate::settings::Settings;
use crate::shard::calls::wake::polls::Polls;
use crate::shard::shares::Shares;
use crate::shard::sockets::tables::Table;
use crate::time::Wall;
use ahash::RandomState;
use changes::Changes;
use codec::control::Operation;
use holdings::Holdings;
use lists::Lists;
use page_turn::PageTurn;
use slots::Slots;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use waits::Waits;

/// The channels of a shard.
pub(crate) struct Directory {
    settings: Arc<Settings>,
    /// The shard that this is, and where channels live.
    shard: ShardId,
    placement: Placement,
    hasher: RandomState,
    channels: Table<ChannelKey, Channel>,
    /// In order, for lists by name. A hash map would need a second index; a look-up at connect costs some 20
    /// comparisons at a million channels.
    names: BTreeMap<Identity, ChannelKey>,
    /// Channels and bytes of each account in each region.
    holdings: Holdings,
    /// Accounts and names of channels that ended before their connections, for the log lines of these; and how many
    /// connections are left.
    former: BTreeMap<ChannelKey, (Account, Box<str>, u32)>,
    /// The use of the rates of accounts: one bucket for each account and operation.
    account_rates: HashMap<(Identity, Operation), Bucket, RandomState>,
    changes: Changes,
    kept: PendingBudget,
    /// Alexa calls that wait here.
    waits: Waits,
    /// Devices that wait here.
    polls: Polls,
    pages: PageTurn,
    lists: Lists,
    /// The news for those who watch.
    news: News,
    /// The epoch of presence of channels that have no slot.
    epoch: u64,
    /// The news for viewers about their masters.
    viewer_news: ViewerNews,
    /// The hooks that wake masters, by their bits.
    waking: u16,
    /// The slots of this shard, where slots go from one node to another.
    slots: Option<Box<Slots>>,
}

/// The parts of a shard's start that concern its channels.
pub(crate) struct DirectoryStart {
    pub(crate) store: Box<dyn Store>,
    /// The creation time of the youngest channel of an earlier life.
    pub(crate) newest: Wall,
    /// Alexa calls that may wait.
    pub(crate) waiting_calls: usize,
    /// Devices that may wait.
    pub(crate) wake_polls: usize,
    /// The slots of the shard, where slots go from one node to another.
    pub(crate) slots: Option<Box<Slots>>,
    /// Those who get the states of watched channels.
    pub(crate) audience: Box<dyn Audience>,
    /// The epoch of presence of channels that have no slot.
    pub(crate) epoch: u64,
}

impl Directory {
    /// No channels yet.
    pub(crate) fn new(
        settings: Arc<Settings>,
        (shard, placement): (ShardId, Placement),
        hasher: RandomState,
        start: DirectoryStart,
    ) -> Self {
        let DirectoryStart {
            store,
            newest,
            waiting_calls,
            wake_polls,
            slots,
            audience,
            epoch,
        } = start;
        Self {
            channels: Table::new(CHANNELS_PER_SHARD_MAX),
            names: BTreeMap::new(),
            holdings: Holdings::of(settings.record_bytes_of_shard()),
            former: BTreeMap::new(),
            account_rates: HashMap::with_hasher(hasher.clone()),
            changes: Changes::new(store, newest, hasher.clone()),
            kept: PendingBudget::of(&settings),
            waits: Waits::new(waiting_calls, hasher.clone()),
            polls: Polls::new(wake_polls),
            pages: PageTurn::default(),
            lists: Lists::among(settings.shards, slots.is_some()),
            news: News::new(audience),
            epoch,
            viewer_news: ViewerNews::new(settings.presence.linger_ms),
            waking: settings.waking_hooks(),
            slots,
            hasher,
            shard,
            placement,
            settings,
        }
    }

    /// Puts the records of an earlier life into the tables, no two of one name, before any other. Those that have no
    /// room are left out.
    pub(crate) fn load(&mut self, records: Records) {
        let put = |record| self.put_channel(record, Life::Active);
        // At once: a map that grows name by name is half empty where the names come in order.
        self.names = records.into_iter().filter_map(put).collect();
    }

    /// Forgets the use of the rates of accounts: there may be others.
    pub(crate) fn forget_account_rates(&mut self) {
        self.account_rates.clear();
    }
}

/// The bytes that each account and channel keeps, and their bound.
#[derive(Debug)]
struct PendingBudget {
    shares: Shares,
    /// Bytes that the shard may keep.
    most: usize,
}

impl PendingBudget {
    fn of(settings: &Settings) -> Self {
        Self {
            shares: Shares::default(),
            most: settings.pending_bytes_of_shard(),
        }
    }
}
