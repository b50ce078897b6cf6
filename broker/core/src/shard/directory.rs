//! Which channels live here: by key, by name, by account; what is kept on them, and what is changed about them.
//!
//! Invariants: each channel of the table has its name in `names` and is counted in `holdings`
//! ([`Directory::insert_channel`]); a channel has at most one change under way; `kept` and `waits` count exactly what
//! the channels hold.

pub(in crate::shard) mod account_rates;
pub(in crate::shard) mod accounts;
pub(in crate::shard) mod changes;
pub(in crate::shard) mod holdings;
pub(in crate::shard) mod kept;
pub(in crate::shard) mod page_turn;
pub(in crate::shard) mod permits;
pub(in crate::shard) mod slots;
pub(in crate::shard) mod waits;

use crate::channel::{Channel, Life};
use crate::id::{Account, ChannelKey, Identity, ShardId};
use crate::limits::CHANNELS_PER_SHARD_MAX;
use crate::placement::Placement;
use crate::quota::Bucket;
use crate::record::{Record, Records};
use crate::registry::Store;
use crate::settings::Settings;
use crate::shard::calls::pages::lists::Lists;
use crate::shard::directory::slots::Slots;
use crate::shard::shares::Shares;
use crate::shard::sockets::tables::Table;
use crate::time::Wall;
use ahash::RandomState;
use changes::Changes;
use codec::control::Operation;
use holdings::Holdings;
use page_turn::PageTurn;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use waits::Waits;

/// The channels of a shard.
pub(super) struct Directory {
    pub(super) settings: Arc<Settings>,
    /// The shard that this is, and where channels live.
    pub(super) shard: ShardId,
    pub(super) placement: Placement,
    pub(super) hasher: RandomState,
    pub(super) channels: Table<ChannelKey, Channel>,
    /// In order, for lists by name. A hash map would need a second index; a look-up at connect costs some 20
    /// comparisons at a million channels.
    pub(super) names: BTreeMap<Identity, ChannelKey>,
    /// Channels and bytes of each account in each region.
    pub(super) holdings: Holdings,
    /// Accounts and names of channels that ended before their connections, for the log lines of these; and how many
    /// connections are left.
    pub(super) former: BTreeMap<ChannelKey, (Account, Box<str>, u32)>,
    /// The use of the rates of accounts: one bucket for each account and operation.
    pub(super) account_rates: HashMap<(Identity, Operation), Bucket, RandomState>,
    pub(super) changes: Changes,
    pub(super) kept: PendingBudget,
    /// Alexa calls that wait here.
    pub(super) waits: Waits,
    pub(super) pages: PageTurn,
    pub(super) lists: Lists,
    /// The slots of this shard, where slots go from one node to another.
    pub(super) slots: Option<Box<Slots>>,
}

impl Directory {
    /// No channels yet.
    pub(super) fn new(
        settings: Arc<Settings>,
        (shard, placement): (ShardId, Placement),
        hasher: RandomState,
        store: Box<dyn Store>,
        newest: Wall,
        waiting_calls: usize,
        slots: Option<Box<Slots>>,
    ) -> Self {
        Self {
            channels: Table::new(CHANNELS_PER_SHARD_MAX),
            names: BTreeMap::new(),
            holdings: Holdings::of(settings.record_bytes_of_shard()),
            former: BTreeMap::new(),
            account_rates: HashMap::with_hasher(hasher.clone()),
            changes: Changes::new(store, newest, hasher.clone()),
            kept: PendingBudget::of(&settings),
            waits: Waits::new(waiting_calls, hasher.clone()),
            pages: PageTurn::default(),
            lists: Lists::among(settings.shards, slots.is_some()),
            slots,
            hasher,
            shard,
            placement,
            settings,
        }
    }

    /// Puts the records of an earlier life into the tables, no two of one name, before any other. Those that have no
    /// room are left out.
    pub(super) fn load(&mut self, records: Records) {
        let put = |record| self.put_channel(record, Life::Active);
        // At once: a map that grows name by name is half empty where the names come in order.
        self.names = records.into_iter().filter_map(put).collect();
    }

    /// Puts a record into the tables; no channel of its name exists before. `None` when there is no room.
    pub(super) fn insert_channel(&mut self, record: Record, state: Life) -> Option<ChannelKey> {
        let (identity, key) = self.put_channel(record, state)?;
        self.names.insert(identity, key);
        Some(key)
    }

    /// Puts a record into all tables but that of names.
    fn put_channel(&mut self, record: Record, state: Life) -> Option<(Identity, ChannelKey)> {
        let (identity, bytes) = (Identity::of(&record.arn), record.bytes());
        let channel = Channel::new(record, state);
        let key = self.channels.insert(channel).ok()?;
        if let Some(slots) = &mut self.slots {
            slots.channel_came(&identity, key);
        }
        self.holdings.came(identity.tenant(), bytes);
        Some((identity, key))
    }

    /// The name of a channel that goes, or was never made, is free.
    pub(super) fn free_name(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let (identity, bytes) = (Identity::of(&channel.record.arn), channel.record.bytes());
        if self.names.remove(&identity).is_some() {
            self.holdings.went(identity.tenant(), bytes);
        }
    }

    /// A channel that counted with `before` bytes counts with `after`.
    pub(super) fn recount(&mut self, key: ChannelKey, before: usize, after: usize) {
        let channel = self.channels.get(key).filter(|_| before != after);
        if let Some(channel) = channel {
            let identity = Identity::of(&channel.record.arn);
            self.holdings.change(identity.tenant(), before, after);
        }
    }
}

/// The bytes that each account and channel keeps, and their bound.
#[derive(Debug)]
pub(in crate::shard) struct PendingBudget {
    pub(in crate::shard) shares: Shares,
    /// Bytes that the shard may keep.
    pub(in crate::shard) most: usize,
}

impl PendingBudget {
    pub(in crate::shard) fn of(settings: &Settings) -> Self {
        Self {
            shares: Shares::default(),
            most: settings.pending_bytes_of_shard(),
        }
    }
}
