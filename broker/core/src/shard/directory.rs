//! The channels homed here, by key, name and account; their pending messages, and the changes made to them.
//!
//! Invariants (`invariants`): each channel of the table has its name in `names` and is counted in `holdings`; a channel
//! has at most one change in progress, and is only created or deleted by it; `kept` and `waits` count exactly what the
//! channels hold; a slot lists its channels.

mod accounts;
mod changes;
pub(crate) mod channels;
pub(crate) mod members;
pub(crate) mod pending;
pub(crate) mod permissions;
pub(crate) mod slots;
pub(crate) mod waiting_callers;

use crate::channel::{Channel, Life};
use crate::id::{Account, CallRef, ChannelKey, Identity, ShardId};
use crate::limits::{CHANNELS_PER_SHARD_MAX, UNANSWERED_BYTES_PARTS};
use crate::presence::{Audience, News};
use crate::record::{Holding, Record, Records};
use crate::shard::calls::letters::WaitingQueries;
use crate::shard::shares::{Places, Shares};
use crate::shard::sockets::Table;
use crate::time::Wall;
use crate::{placement::Placement, quota::Bucket, registry::Store, settings::Settings};
use ahash::RandomState;
use codec::control::Operation;
use slots::DirectorySlots;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use waiting_callers::{Lists, PageTurn, Polls, WaitingCalls};

/// The channels of a shard.
pub(crate) struct Directory {
    settings: Arc<Settings>,
    /// The id of this shard, and the placement of channels.
    shard: ShardId,
    placement: Placement,
    hasher: RandomState,
    channels: Table<ChannelKey, Channel>,
    /// Channels sorted by identity, for lists by name. A hash map would need a second index; a lookup on connect costs
    /// some 20 comparisons at a million channels.
    names: BTreeMap<Identity, ChannelKey>,
    /// Number of channels and bytes of each account in each region.
    holdings: Holdings,
    /// Accounts and names of channels that ended before their connections, for the connections' log lines, and the
    /// number of connections left.
    former: BTreeMap<ChannelKey, (Account, Box<str>, u32)>,
    /// Call rates of accounts: one bucket for each account and operation.
    account_rates: HashMap<(Identity, Operation), Bucket, RandomState>,
    changes: Changes,
    kept: PendingBudget,
    /// Bytes of unanswered offers, limited to a part of the pending bytes.
    offers: OfferBudget,
    /// Alexa calls pending on this shard.
    waits: WaitingCalls,
    /// Devices waiting on this shard.
    polls: Polls,
    pages: PageTurn,
    lists: Lists,
    /// Channels on which a connection lost its slot; entries whose connections have left are dropped when they are
    /// read.
    displaced: BTreeSet<ChannelKey>,
    /// Presence changes not yet reported to watchers of channels.
    news: News,
    /// The presence epoch of channels without a slot.
    epoch: u64,
    /// The hooks that wake masters, as a bit set.
    waking: u16,
    /// Table position of the next channel whose hooks are looked up after the hooks changed.
    rewatch: Option<usize>,
    /// The slots of this shard, if slots move between nodes.
    slots: Option<Box<DirectorySlots>>,
}

/// The parts of a shard's start that concern its channels.
pub(crate) struct DirectoryStart {
    pub(crate) store: Box<dyn Store>,
    /// The creation time of the newest channel of a previous process.
    pub(crate) newest: Wall,
    /// Maximum number of pending Alexa calls.
    pub(crate) waiting_calls: usize,
    /// Maximum number of waiting devices.
    pub(crate) wake_polls: usize,
    /// The slots of the shard, if slots move between nodes.
    pub(crate) slots: Option<Box<DirectorySlots>>,
    /// Readers of the presence of watched channels.
    pub(crate) audience: Box<dyn Audience>,
    /// The presence epoch of channels without a slot.
    pub(crate) epoch: u64,
}

impl Directory {
    /// Creates a directory without channels.
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

    /// Loads the records of a previous process into the empty tables; their names must be unique. Records that do not
    /// fit are left out.
    pub(crate) fn load(&mut self, records: Records) {
        let put = |record| self.put_channel(record, Life::Active);
        // At once: a map that grows name by name is half empty where the names come in order.
        self.names = records.into_iter().filter_map(put).collect();
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

    /// Resets the rates of accounts, since the rates may have changed.
    pub(crate) fn forget_account_rates(&mut self) {
        self.account_rates.clear();
    }
}

/// The pending bytes of each account and channel, and their limit.
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

/// The bytes of unanswered offers.
#[derive(Debug)]
struct OfferBudget {
    shares: Shares,
    bytes: usize,
    most: usize,
}

impl OfferBudget {
    /// Changes the bytes of a channel from `before` to `after`.
    fn change(&mut self, account: Account, channel: ChannelKey, before: usize, after: usize) {
        self.shares.change(account, channel, before, after);
        self.bytes = (self.bytes + after) - before;
    }

    /// The channel that must evict offers, if the limit is exceeded.
    fn payer(&self) -> Option<ChannelKey> {
        self.shares.largest().filter(|_| self.bytes > self.most)
    }
}

// The channels of each account, counted, with the bytes of their records.
//
// A channel counts with the bytes of its record, or of the one that is to replace it, whichever are more: what a
// change that is under way will need is there when it is durable. What was stored earlier, or comes with a slot, is
// counted and never refused, so that the sum may be above what it may be; only growth is refused then.

/// The channels of a shard's accounts. Accounts without channels have no entry.
#[derive(Debug)]
struct Holdings {
    /// Holdings by `region:account:`.
    tenants: BTreeMap<Box<str>, Holding>,
    bytes: u64,
    most: u64,
    /// Whether it has been reported that the limit is exceeded.
    noted: bool,
}

impl Holdings {
    /// Creates empty holdings with this limit in bytes.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            tenants: BTreeMap::new(),
            bytes: 0,
            most: most as u64,
            noted: false,
        }
    }

    /// Holdings of an account in a region.
    fn of_tenant(&self, tenant: &str) -> Holding {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// The accounts that have channels, as sorted `region:account:` prefixes.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(|tenant| &**tenant)
    }

    /// Total number of bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes and their limit, if the limit was newly exceeded since the last call.
    fn exceeded(&mut self) -> Option<(u64, u64)> {
        let is_over = self.bytes > self.most;
        let was_noted = std::mem::replace(&mut self.noted, is_over);
        (is_over && !was_noted).then_some((self.bytes, self.most))
    }

    /// Whether this many more bytes fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.bytes.saturating_add(more as u64) <= self.most
    }

    /// Adds a new channel to the holdings of an account.
    pub(crate) fn came(&mut self, tenant: &str, bytes: usize) {
        let came = Holding {
            channels: 1,
            bytes: bytes as u64,
        };
        self.bytes += came.bytes;
        match self.tenants.get_mut(tenant) {
            Some(held) => *held = held.and(came),
            None => drop(self.tenants.insert(tenant.into(), came)),
        }
    }

    /// Subtracts a removed channel from the holdings of an account.
    pub(crate) fn went(&mut self, tenant: &str, bytes: usize) {
        self.change(tenant, bytes, 0);
        if let Some(held) = self.tenants.get_mut(tenant) {
            held.channels -= 1;
            if held.channels == 0 {
                self.tenants.remove(tenant);
            }
        }
    }

    /// Changes the counted bytes of a channel from `before` to `after`.
    pub(crate) fn change(&mut self, tenant: &str, before: usize, after: usize) {
        if let Some(held) = self.tenants.get_mut(tenant) {
            let changed = |bytes: u64| (bytes + after as u64).saturating_sub(before as u64);
            held.bytes = changed(held.bytes);
            self.bytes = changed(self.bytes);
        }
    }
}

// The changes of channels that are under way.

/// A change submitted to the store, and the caller that waits for its result.
#[derive(Debug)]
pub(crate) struct ChangeUnderWay {
    /// The caller that gets the result; `None` for a channel created by a connect.
    pub(crate) caller: Option<CallRef>,
    /// The account charged for the change, if any: the caller's, or the channel's.
    pub(crate) account: Option<Account>,
    pub(crate) step: ChangeStep,
    /// Later changes of the same channel, each charged separately.
    pub(crate) waiting: WaitingQueries,
}

/// The step to apply once a change is durable.
#[derive(Debug)]
pub(crate) enum ChangeStep {
    Create,
    Replace(Record),
    Delete,
}

/// The changes in progress: at most one for each channel.
struct Changes {
    pub(crate) store: Box<dyn Store>,
    /// Changes whose result the store has not reported yet.
    pub(crate) under_way: HashMap<ChannelKey, ChangeUnderWay, RandomState>,
    /// Capacity used by changes in progress and those queued after them, by account.
    pub(crate) places: Places<Account>,
    /// Number of channels whose deletion is not durable yet.
    pub(crate) deleting: u64,
    /// Creation time of the newest channel: a recreated channel always differs from the earlier one of its name.
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

/// A change to be submitted, with its channel.
pub(crate) type BegunChange = (ChannelKey, ChangeStep);

/// Why a change cannot be queued after the one in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoWait {
    /// The channel's queue of changes is full.
    Channel,
    /// The account has no capacity left.
    Account,
}

// The invariant of the directory, which debug builds check after every input.

/// Maximum number of channels for which each channel is checked after every input. In a larger directory, found only in
/// tests of large tables, only the totals are compared.
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

    /// Checks that each change in progress has a channel and that its capacity is accounted for.
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
        for (identity, key) in &self.names {
            let channel = self.channels.get(*key);
            assert!(channel.is_some(), "{identity:?} has no channel");
            let Some(channel) = channel else { continue };
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
                .is_none_or(|all| all.lists(identity, *key));
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

    /// Number of channels of an account, and the bytes of their records.
    fn sum_of(&self, tenant: &str) -> Holding {
        let own = self
            .names
            .iter()
            .filter(|(identity, _)| identity.tenant() == tenant);
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

    /// Checks that the state of a channel matches the change in progress.
    fn check_life(&self, identity: &Identity, key: ChannelKey, channel: &Channel) {
        let arn = &channel.record.arn;
        let named = [arn.region(), arn.account(), arn.name()];
        let name = [identity.region(), identity.account(), identity.name()];
        assert_eq!(name, named, "a name of another channel");
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

#[cfg(test)]
mod holdings_tests {
    use super::*;

    #[test]
    fn too_many_bytes_are_noted_once_each_time() {
        let mut holdings = Holdings::of(100);
        holdings.came("a:1:", 100);
        assert_eq!(holdings.exceeded(), None);
        holdings.came("a:1:", 1);
        assert_eq!(
            (holdings.exceeded(), holdings.exceeded()),
            (Some((101, 100)), None)
        );
        holdings.went("a:1:", 1);
        assert_eq!(holdings.exceeded(), None);
        holdings.came("a:1:", 9);
        assert_eq!(holdings.exceeded(), Some((109, 100)));
    }

    #[test]
    fn sums_are_those_of_the_channels_whatever_comes_and_goes() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut holdings = Holdings::of(50_000);
        let mut channels: Vec<(&str, usize)> = Vec::new();
        for _ in 0..20_000 {
            let (tenant, bytes) = (
                ["a:1:", "a:2:", "b:1:"][random.usize(..3)],
                random.usize(1..900),
            );
            match random.u8(..4) {
                0 | 1 => {
                    holdings.came(tenant, bytes);
                    channels.push((tenant, bytes));
                }
                2 if !channels.is_empty() => {
                    let (tenant, bytes) = channels.swap_remove(random.usize(..channels.len()));
                    holdings.went(tenant, bytes);
                }
                _ if !channels.is_empty() => {
                    let at = random.usize(..channels.len());
                    let (tenant, before) = channels[at];
                    holdings.change(tenant, before, bytes);
                    channels[at] = (tenant, bytes);
                }
                _ => {}
            }
            if random.u8(..200) == 0 {
                channels
                    .drain(..)
                    .for_each(|(tenant, bytes)| holdings.went(tenant, bytes));
            }
            let all: usize = channels.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(holdings.bytes(), all as u64);
            assert_eq!(holdings.has_room(bytes), all + bytes <= 50_000);
            for tenant in ["a:1:", "a:2:", "b:1:"] {
                let own = channels.iter().filter(|(of, _)| *of == tenant);
                let held = holdings.of_tenant(tenant);
                let count = own.clone().count();
                assert_eq!(held.channels, count as u64);
                assert_eq!(held.bytes, own.map(|(_, bytes)| *bytes as u64).sum::<u64>());
                assert_eq!(holdings.tenants().any(|of| of == tenant), count > 0);
            }
        }
    }
}
