//! The channels that this shard owns, indexed by key, by name and by account. Also contains their pending messages and
//! the changes in progress.
//!
//! Invariants, checked by `invariants`: each channel in the table is counted in `holdings` and has its name in `names`.
//! A channel has at most one change in progress, and channels are created or deleted only by such a change. `kept` and
//! `waits` are the totals of the channels' pending messages and pending calls. Each slot lists the channels that belong
//! to it.

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
    /// The id of this shard. Together with `placement`, it determines which channels the shard owns.
    shard: ShardId,
    placement: Placement,
    hasher: RandomState,
    channels: Table<ChannelKey, Channel>,
    /// Channels sorted by region, account and name, the order in which operators page through them. A hash map would
    /// need a second index for this order. Among a million channels, a lookup takes about 20 comparisons.
    names: BTreeMap<NamedRecord, ChannelKey>,
    /// The records of all shards in the process.
    catalog: Arc<dyn SharedCatalog>,
    /// Number of channels on this shard and total size of their records in bytes, per account and region.
    holdings: Holdings,
    /// Channels that were removed while connections to them were still open. Each entry contains the account and the
    /// name, which appear in the log lines about these connections, and the number of connections that are still open.
    former: BTreeMap<ChannelKey, (Account, Box<str>, u32)>,
    pub(crate) changes: Changes,
    kept: PendingBudget,
    /// Total size of unanswered offers, which is limited to a fraction of the pending-bytes limit.
    offers: OfferBudget,
    /// The Alexa and player calls pending on this shard.
    pub(crate) waits: WaitingCalls,
    /// Devices on this shard that are waiting for a client to connect.
    pub(crate) polls: Polls,
    pub(crate) pages: PageTurn,
    pub(crate) lists: Lists,
    /// Channels on which a connection has been superseded. Entries are removed lazily: reading the list drops channels
    /// whose superseded connections have all closed.
    displaced: BTreeSet<ChannelKey>,
    /// Presence changes that have not yet been reported to watchers.
    pub(crate) news: News,
    /// Presence epoch of channels that do not belong to a slot.
    epoch: u64,
    /// Bit set of the hooks that can wake a master.
    waking: u16,
    /// Table position of the next channel whose hooks must be looked up again. Set when the configured hooks change.
    rewatch: Option<usize>,
    /// The slots that this shard serves; `None` if slots do not move between nodes.
    pub(crate) slots: Option<Box<DirectorySlots>>,
}

/// The part of a shard's initial state that is used to create its [`Directory`].
pub(crate) struct DirectoryStart {
    pub(crate) settings: Arc<Settings>,
    pub(crate) shard: ShardId,
    pub(crate) placement: Placement,
    pub(crate) hasher: RandomState,
    pub(crate) store: Box<dyn Store>,
    pub(crate) catalog: Arc<dyn SharedCatalog>,
    /// Creation time of the previous process's newest channel.
    pub(crate) newest: Wall,
    /// Maximum number of pending Alexa calls.
    pub(crate) waiting_calls: usize,
    /// Maximum number of devices that may be waiting for a client at any time.
    pub(crate) wake_polls: usize,
    /// The slots that this shard serves; `None` if slots do not move between nodes.
    pub(crate) slots: Option<Box<DirectorySlots>>,
    /// Receives presence changes of watched channels.
    pub(crate) audience: Box<dyn Audience>,
    /// Presence epoch of channels that do not belong to a slot.
    pub(crate) epoch: u64,
}

impl Directory {
    /// Creates a directory with no channels.
    pub(crate) fn new(start: DirectoryStart) -> Self {
        let (settings, hasher) = (start.settings, start.hasher);
        Self {
            channels: Table::new(CHANNELS_PER_SHARD_MAX),
            names: BTreeMap::new(),
            catalog: start.catalog,
            holdings: Holdings::default(),
            former: BTreeMap::new(),
            changes: Changes {
                store: start.store,
                under_way: HashMap::with_hasher(hasher.clone()),
                places: Places::of(settings.changes_of_shard()),
                deleting: 0,
                last_created: start.newest,
            },
            offers: OfferBudget {
                shares: Shares::default(),
                bytes: 0,
                most: settings.pending_bytes_of_shard() / UNANSWERED_BYTES_PARTS,
            },
            kept: PendingBudget {
                shares: Shares::default(),
                most: settings.pending_bytes_of_shard(),
            },
            waits: WaitingCalls::new(start.waiting_calls, hasher.clone()),
            polls: Polls::new(start.wake_polls),
            pages: PageTurn::default(),
            lists: Lists::among(settings.shards, start.slots.is_some()),
            displaced: BTreeSet::new(),
            news: News::new(start.audience),
            epoch: start.epoch,
            waking: settings.waking_hooks(),
            rewatch: None,
            slots: start.slots,
            hasher,
            shard: start.shard,
            placement: start.placement,
            settings,
        }
    }

    /// Loads the previous process's records into the empty tables. The names in the records must be unique. Skips
    /// records for which there is no room.
    pub(crate) fn load(&mut self, records: Records) {
        let put = |record| self.put(record, Life::Active);
        // `collect` sorts the names and builds the map in bulk. Inserting them one by one in ascending order would
        // leave its nodes half empty.
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

/// Pending-message bytes per account and channel, and the limit on their total.
#[derive(Debug)]
struct PendingBudget {
    shares: Shares,
    /// Maximum number of pending-message bytes on this shard.
    most: usize,
}

/// Bytes of unanswered offers per account and channel, and the limit on their total.
#[derive(Debug)]
struct OfferBudget {
    shares: Shares,
    bytes: usize,
    most: usize,
}

impl OfferBudget {
    /// Updates a channel's byte count from `before` to `after`.
    fn change(&mut self, account: Account, channel: ChannelKey, before: usize, after: usize) {
        self.shares.change(account, channel, before, after);
        self.bytes = (self.bytes + after) - before;
    }

    /// Returns the channel that must evict an offer, if the limit is exceeded.
    fn payer(&self) -> Option<ChannelKey> {
        self.shares.largest().filter(|_| self.bytes > self.most)
    }
}

// Changes in progress.

/// A change that has been submitted to the store, and the caller waiting for its result.
#[derive(Debug)]
pub(crate) struct ChangeUnderWay {
    /// The caller waiting for the result; `None` for a channel created by an upgrade.
    pub(crate) caller: Option<CallRef>,
    /// The account whose capacity the change uses, if any: the caller's account or, if there is no caller, the
    /// channel's account.
    pub(crate) account: Option<Account>,
    pub(crate) step: ChangeStep,
    /// Later changes to the same channel, queued behind this one. Each of them uses capacity as well.
    pub(crate) waiting: WaitingQueries,
}

/// The step to perform once the store has made a change durable.
#[derive(Debug)]
pub(crate) enum ChangeStep {
    Create,
    Replace(Record),
    Delete,
}

/// The changes in progress, at most one per channel.
pub(crate) struct Changes {
    pub(crate) store: Box<dyn Store>,
    /// Changes whose result the store has not yet reported.
    pub(crate) under_way: HashMap<ChannelKey, ChangeUnderWay, RandomState>,
    /// The capacity for changes, divided among accounts. Both changes in progress and queued changes use it.
    pub(crate) places: Places<Account>,
    /// Number of channels that are being deleted.
    pub(crate) deleting: u64,
    /// Creation time of the newest channel. Every new channel gets a later time, so a channel that is deleted and
    /// created again never reuses its ARN.
    last_created: Wall,
}

/// A change to be submitted to the store, and its channel.
pub(crate) type BegunChange = (ChannelKey, ChangeStep);

// The directory's invariants, checked after every input in debug builds.

/// Maximum number of channels that a debug build checks individually after each input. With more channels, which only
/// tests have, it checks just the totals.
const LOOKED_AT_MAX: usize = 64;

impl Directory {
    /// Checks the invariants that hold after every input.
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

    /// Checks that each change in progress belongs to a channel and uses the capacity recorded for it.
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

    /// Checks that every table lists each channel, and that the totals match.
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

    /// Returns an account's number of channels on this shard, and the total size of their records in bytes.
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

    /// Checks that a channel's lifecycle state matches its change in progress.
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
