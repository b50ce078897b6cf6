//! The channels homed on this shard, by key, name and account; their pending messages; and changes to them.
//!
//! Invariants (`invariants`): each channel in the table has its name in `names` and is counted in `holdings`; a channel
//! has at most one change in progress, and is created or deleted only by such a change; `kept` and `waits` count
//! exactly what the channels hold; each slot lists its channels.

mod accounts;
pub(crate) mod calls;
mod changes;
pub(crate) mod channels;
pub(crate) mod members;
pub(crate) mod pending;
pub(crate) mod permissions;
pub(crate) mod slots;
pub(crate) mod waiting_callers;
pub(crate) mod waiting_calls;

use crate::catalog::{Holdings, SharedCatalog};
use crate::channel::{Channel, Life};
use crate::id::{Account, CallRef, ChannelKey, Identity, ShardId};
use crate::limits::{CHANNELS_PER_SHARD_MAX, UNANSWERED_BYTES_PARTS};
use crate::presence::{Audience, News};
use crate::record::{Holding, NamedRecord, Record, Records};
use crate::shard::calls::letters::WaitingQueries;
use crate::shard::shares::{Places, Shares};
use crate::shard::sockets::Table;
use crate::time::Wall;
use crate::{placement::Placement, registry::Store, settings::Settings};
use ahash::RandomState;
use codec::control::ChannelStatus;
use slots::DirectorySlots;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use waiting_callers::{Lists, PageTurn, Polls};
use waiting_calls::WaitingCalls;

/// The channels of a shard.
pub(crate) struct Directory {
    settings: Arc<Settings>,
    /// The id of this shard, from which the placement of channels is derived.
    shard: ShardId,
    placement: Placement,
    hasher: RandomState,
    channels: Table<ChannelKey, Channel>,
    /// Channels sorted by identity, for operators' pages. A hash map would need a second index; with a million
    /// channels, the lookup on connect takes about 20 comparisons.
    names: BTreeMap<NamedRecord, ChannelKey>,
    /// Records of all shards in the process.
    catalog: Arc<dyn SharedCatalog>,
    /// Number of channels and record bytes per account and region on this shard.
    holdings: Holdings,
    /// Channels that ended before their connections: account and name, for the log lines of those connections, and the
    /// number of connections left.
    former: BTreeMap<ChannelKey, (Account, Box<str>, u32)>,
    pub(crate) changes: Changes,
    kept: PendingBudget,
    /// Bytes of unanswered offers, limited to a fraction of the pending bytes.
    offers: OfferBudget,
    /// Alexa calls pending on this shard.
    pub(crate) waits: WaitingCalls,
    /// Devices waiting on this shard.
    pub(crate) polls: Polls,
    pub(crate) pages: PageTurn,
    pub(crate) lists: Lists,
    /// Channels on which a connection has lost its slot. Once the connection has closed, the entry is dropped by the
    /// next read.
    displaced: BTreeSet<ChannelKey>,
    /// Presence changes not yet reported to watchers of channels.
    pub(crate) news: News,
    /// Presence epoch of channels that have no slot.
    epoch: u64,
    /// Bit set of the hooks that wake masters.
    waking: u16,
    /// Table position of the next channel whose hooks must be looked up after the hooks have changed.
    rewatch: Option<usize>,
    /// The slots of this shard, if slots move between nodes.
    pub(crate) slots: Option<Box<DirectorySlots>>,
}

/// The parts of a shard's initial state that concern its channels.
pub(crate) struct DirectoryStart {
    pub(crate) settings: Arc<Settings>,
    pub(crate) shard: ShardId,
    pub(crate) placement: Placement,
    pub(crate) hasher: RandomState,
    pub(crate) store: Box<dyn Store>,
    pub(crate) catalog: Arc<dyn SharedCatalog>,
    /// Creation time of a previous process's newest channel.
    pub(crate) newest: Wall,
    /// Maximum number of pending Alexa calls.
    pub(crate) waiting_calls: usize,
    /// Maximum number of waiting devices.
    pub(crate) wake_polls: usize,
    /// The slots of the shard, if slots move between nodes.
    pub(crate) slots: Option<Box<DirectorySlots>>,
    /// Receives the presence of watched channels.
    pub(crate) audience: Box<dyn Audience>,
    /// Presence epoch of channels that have no slot.
    pub(crate) epoch: u64,
}

impl Directory {
    /// Creates a directory with no channels.
    pub(crate) fn new(start: DirectoryStart) -> Self {
        let DirectoryStart {
            settings,
            shard,
            placement,
            hasher,
            store,
            catalog,
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
            catalog,
            holdings: Holdings::default(),
            former: BTreeMap::new(),
            changes: Changes::new(store, newest, settings.changes_of_shard(), hasher.clone()),
            offers: OfferBudget {
                shares: Shares::default(),
                bytes: 0,
                most: settings.pending_bytes_of_shard() / UNANSWERED_BYTES_PARTS,
            },
            kept: PendingBudget::of(&settings),
            waits: WaitingCalls::new(waiting_calls, hasher.clone()),
            polls: Polls::new(wake_polls),
            pages: PageTurn::default(),
            lists: Lists::among(settings.shards, slots.is_some()),
            displaced: BTreeSet::new(),
            news: News::new(audience),
            epoch,
            waking: settings.waking_hooks(),
            rewatch: None,
            slots,
            hasher,
            shard,
            placement,
            settings,
        }
    }

    /// Loads the records of a previous process, whose names must be unique, into the empty tables. Records that do not
    /// fit are skipped.
    pub(crate) fn load(&mut self, records: Records) {
        let put = |record| self.put(record, Life::Active);
        // Collected at once, since inserting names in ascending order leaves a map's nodes half empty.
        self.names = records.into_iter().filter_map(put).collect();
        self.catalog.ask(|catalog| {
            for NamedRecord(record) in self.names.keys() {
                let identity = Identity::of(&record.arn);
                catalog.holdings.add(identity.tenant(), record.holding());
                catalog.put(Arc::clone(record), ChannelStatus::Active);
            }
        });
    }

    /// Replaces the settings.
    pub(crate) fn adopt(&mut self, settings: Arc<Settings>) {
        self.kept.most = settings.pending_bytes_of_shard();
        self.offers.most = self.kept.most / UNANSWERED_BYTES_PARTS;
        self.waking = settings.waking_hooks();
        if settings.hooks != self.settings.hooks {
            self.rewatch = Some(0);
        }
        self.settings = settings;
    }
}

/// The pending bytes of each account and channel, and the limit on their total.
#[derive(Debug)]
struct PendingBudget {
    shares: Shares,
    /// Maximum number of bytes pending on the shard.
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

/// The bytes of unanswered offers, and the limit on their total.
#[derive(Debug)]
struct OfferBudget {
    shares: Shares,
    bytes: usize,
    most: usize,
}

impl OfferBudget {
    /// Updates the bytes of a channel from `before` to `after`.
    fn change(&mut self, account: Account, channel: ChannelKey, before: usize, after: usize) {
        self.shares.change(account, channel, before, after);
        self.bytes = (self.bytes + after) - before;
    }

    /// Returns the channel that must evict an offer if the limit is exceeded.
    fn payer(&self) -> Option<ChannelKey> {
        self.shares.largest().filter(|_| self.bytes > self.most)
    }
}

// Changes to channels that are in progress.

/// A change submitted to the store, and the caller waiting for its result.
#[derive(Debug)]
pub(crate) struct ChangeUnderWay {
    /// The caller waiting for the result; `None` for a channel created by an upgrade.
    pub(crate) caller: Option<CallRef>,
    /// The account charged for the change, if any: either the caller's or the channel's.
    pub(crate) account: Option<Account>,
    pub(crate) step: ChangeStep,
    /// Subsequent changes to the same channel, each charged separately.
    pub(crate) waiting: WaitingQueries,
}

/// The step to apply once a change is durable.
#[derive(Debug)]
pub(crate) enum ChangeStep {
    Create,
    Replace(Record),
    Delete,
}

/// The changes in progress: at most one per channel.
pub(crate) struct Changes {
    pub(crate) store: Box<dyn Store>,
    /// Changes whose result the store has not yet reported.
    pub(crate) under_way: HashMap<ChannelKey, ChangeUnderWay, RandomState>,
    /// Capacity used by changes in progress and those queued after them, by account.
    pub(crate) places: Places<Account>,
    /// Number of channels whose deletion is not yet durable.
    pub(crate) deleting: u64,
    /// Creation time of the newest channel, which ensures that a recreated channel differs from its predecessor.
    last_created: Wall,
}

impl Changes {
    fn new(store: Box<dyn Store>, newest: Wall, most: usize, hasher: RandomState) -> Self {
        Self {
            store,
            under_way: HashMap::with_hasher(hasher),
            places: Places::of(most),
            deleting: 0,
            last_created: newest,
        }
    }
}

/// A change to be submitted to the store, and its channel.
pub(crate) type BegunChange = (ChannelKey, ChangeStep);

// Invariants of the directory, checked after every input in debug builds.

/// Number of channels up to which every channel is checked after each input. In larger directories, which occur only in
/// tests of large tables, only the totals are checked.
const LOOKED_AT_MAX: usize = 64;

impl Directory {
    /// Checks the invariants that hold after each input.
    ///
    /// # Panics
    /// Panics if an invariant is violated.
    pub(crate) fn invariants(&self) {
        let channels = self.channels.len();
        assert_eq!(self.names.len(), channels, "each channel has one name");
        self.check_changes();
        if channels <= LOOKED_AT_MAX {
            self.check_channels();
        }
    }

    /// Checks that each change in progress belongs to a channel and that its capacity is accounted for.
    fn check_changes(&self) {
        let all = &self.changes.under_way;
        let deletes = all
            .values()
            .filter(|it| matches!(it.step, ChangeStep::Delete));
        assert_eq!(deletes.count() as u64, self.changes.deleting, "deletions");
        let places = all
            .values()
            .map(|it| it.waiting.len() + usize::from(it.account.is_some()));
        assert_eq!(
            places.sum::<usize>(),
            self.changes.places.taken(),
            "places of changes"
        );
        #[expect(clippy::disallowed_methods, reason = "the order does not matter")]
        let mut keys = all.keys();
        assert!(
            keys.all(|key| self.channels.get(*key).is_some()),
            "a change of no channel is under way"
        );
        let lost = |(key, (_, _, left)): (&ChannelKey, &(_, _, u32))| {
            *left == 0 || self.channels.get(*key).is_some()
        };
        assert!(
            !self.former.iter().any(lost),
            "a former channel that is none"
        );
    }

    /// Checks that each channel is in every table, and that the totals match.
    fn check_channels(&self) {
        let (mut kept, mut calls, mut offers) = (0, 0, 0);
        for (NamedRecord(record), key) in &self.names {
            let identity = record.arn.identity();
            let channel = self.channels.get(*key);
            assert!(channel.is_some(), "{identity:?} has no channel");
            let Some(channel) = channel else { continue };
            let is_own = Arc::ptr_eq(record, &channel.record);
            assert!(is_own, "a name of another record");
            self.check_life(identity, *key, channel);
            let live = channel.live();
            kept += live.map_or(0, |live| live.pending.bytes());
            offers += live.map_or(0, |live| live.unanswered.bytes());
            let waiting = live.map_or(0, |live| live.calls.len());
            let counted = self.waits.on_channel(channel.record.arn.account(), *key);
            assert_eq!(waiting, counted, "waiting calls of {identity:?}");
            calls += waiting;
            let listed = self
                .slots
                .as_ref()
                .is_none_or(|all| all.lists(&Identity::of(&record.arn), *key));
            assert!(listed, "{identity:?} is not listed in its slot");
        }
        let mut counted = 0;
        for tenant in self.holdings.tenants() {
            let held = self.sum_of(tenant);
            assert_eq!(held, self.holdings.of_tenant(tenant), "what {tenant} holds");
            counted += held.channels;
        }
        assert_eq!(counted, self.names.len() as u64, "channels of accounts");
        assert_eq!(self.kept.shares.bytes(), kept, "bytes of kept messages");
        let counted = (self.offers.bytes, self.offers.shares.bytes());
        assert_eq!(counted, (offers, offers), "bytes of offers");
        assert_eq!(self.waits.len(), calls, "waiting calls");
        let listed = self.slots.as_ref().map(|all| all.len());
        assert!(
            listed.is_none_or(|listed| listed == self.names.len()),
            "channels of slots"
        );
    }

    /// Returns the number of channels of an account, and the bytes of their records.
    fn sum_of(&self, tenant: &str) -> Holding {
        let of = |name: &NamedRecord| name.0.arn.identity().starts_with(tenant);
        let own = self.names.iter().filter(|(name, _)| of(name));
        let holdings = own.filter_map(|(_, key)| {
            let own = self.channels.get(*key)?.record.bytes();
            let bytes = match self.step(*key) {
                Some(ChangeStep::Replace(next)) => own.max(next.bytes()),
                Some(ChangeStep::Create | ChangeStep::Delete) | None => own,
            };
            let bytes = bytes as u64;
            Some(Holding { channels: 1, bytes })
        });
        holdings.fold(Holding::default(), Holding::and)
    }

    /// Checks that a channel's state matches its change in progress.
    fn check_life(&self, identity: &str, key: ChannelKey, channel: &Channel) {
        let step = self.step(key);
        let deletes = matches!(step, Some(ChangeStep::Delete));
        let fits = match channel.state {
            Life::Creating => matches!(step, Some(ChangeStep::Create)),
            Life::Active => !deletes,
            Life::Deleting => deletes,
        };
        assert!(fits, "{identity:?} is {:?} while {step:?}", channel.state);
    }

    fn step(&self, key: ChannelKey) -> Option<&ChangeStep> {
        Some(&self.changes.under_way.get(&key)?.step)
    }
}
