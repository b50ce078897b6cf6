//! Which channels live here: by key, by name, by account; what is kept on them, and what is changed about them.
//!
//! Invariants (`invariants`): each channel of the table has its name in `names` and is counted in `holdings`; a channel
//! has at most one change under way, and is being created or deleted only by it; `kept` and `waits` count exactly what
//! the channels hold; a slot lists its channels.

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
    /// Bytes of offers that were not answered, which may have a part of those that are kept.
    offers: OfferBudget,
    /// Alexa calls that wait here.
    waits: WaitingCalls,
    /// Devices that wait here.
    polls: Polls,
    pages: PageTurn,
    lists: Lists,
    /// Channels on which a connection lost its slot; those where it has left since are dropped when they are read.
    displaced: BTreeSet<ChannelKey>,
    /// The news for those who watch.
    news: News,
    /// The epoch of presence of channels that have no slot.
    epoch: u64,
    /// The hooks that wake masters, by their bits.
    waking: u16,
    /// The place of the next channel whose hooks are looked up again, after they have changed.
    rewatch: Option<usize>,
    /// The slots of this shard, where slots go from one node to another.
    slots: Option<Box<DirectorySlots>>,
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
    pub(crate) slots: Option<Box<DirectorySlots>>,
    /// Readers of the states of watched channels.
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

    /// Puts the records of an earlier life into the tables, no two of one name, before any other. Those that have no
    /// room are left out.
    pub(crate) fn load(&mut self, records: Records) {
        let put = |record| self.put_channel(record, Life::Active);
        // At once: a map that grows name by name is half empty where the names come in order.
        self.names = records.into_iter().filter_map(put).collect();
    }

    /// From here on these are the settings.
    pub(crate) fn adopt(&mut self, settings: Arc<Settings>) {
        self.kept.most = settings.pending_bytes_of_shard();
        self.offers.most = self.kept.most / UNANSWERED_BYTES_PARTS;
        self.waking = settings.waking_hooks();
        if settings.hooks != self.settings.hooks {
            self.rewatch = Some(0);
        }
        self.settings = settings;
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

/// The bytes of offers that were not answered.
#[derive(Debug)]
struct OfferBudget {
    shares: Shares,
    bytes: usize,
    most: usize,
}

impl OfferBudget {
    /// A channel has `after` bytes that had `before`.
    fn change(&mut self, account: Account, channel: ChannelKey, before: usize, after: usize) {
        self.shares.change(account, channel, before, after);
        self.bytes = (self.bytes + after) - before;
    }

    /// The channel that forgets some, if there are too many.
    fn payer(&self) -> Option<ChannelKey> {
        self.shares.largest().filter(|_| self.bytes > self.most)
    }
}

// The channels of each account, counted, with the bytes of their records.
//
// A channel counts with the bytes of its record, or of the one that is to replace it, whichever are more: what a
// change that is under way will need is there when it is durable. What was stored earlier, or comes with a slot, is
// counted and never refused, so that the sum may be above what it may be; only growth is refused then.

/// The channels of a shard's accounts. An account without channels is not kept.
#[derive(Debug)]
struct Holdings {
    /// By `region:account:`.
    tenants: BTreeMap<Box<str>, Holding>,
    bytes: u64,
    most: u64,
    /// Whether the excess was noted.
    noted: bool,
}

impl Holdings {
    /// None yet, of at most this many bytes.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            tenants: BTreeMap::new(),
            bytes: 0,
            most: most as u64,
            noted: false,
        }
    }

    /// Use of an account in a region.
    fn of_tenant(&self, tenant: &str) -> Holding {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// The accounts that have channels, by `region:account:`, in order.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(|tenant| &**tenant)
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes and what they may be, when they have become more than that since this was asked last.
    fn exceeded(&mut self) -> Option<(u64, u64)> {
        let is_over = self.bytes > self.most;
        let was_noted = std::mem::replace(&mut self.noted, is_over);
        (is_over && !was_noted).then_some((self.bytes, self.most))
    }

    /// Whether this many more fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.bytes.saturating_add(more as u64) <= self.most
    }

    /// A channel of an account is there.
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

    /// Uncounts a channel that is gone.
    pub(crate) fn went(&mut self, tenant: &str, bytes: usize) {
        self.change(tenant, bytes, 0);
        if let Some(held) = self.tenants.get_mut(tenant) {
            held.channels -= 1;
            if held.channels == 0 {
                self.tenants.remove(tenant);
            }
        }
    }

    /// One that counted with `before` bytes counts with `after`.
    pub(crate) fn change(&mut self, tenant: &str, before: usize, after: usize) {
        if let Some(held) = self.tenants.get_mut(tenant) {
            let changed = |bytes: u64| (bytes + after as u64).saturating_sub(before as u64);
            held.bytes = changed(held.bytes);
            self.bytes = changed(self.bytes);
        }
    }
}

// The changes of channels that are under way.

/// A change that the store has, and who waits for its end.
#[derive(Debug)]
pub(crate) struct ChangeUnderWay {
    /// The caller that gets the result; a channel that was created by a connect has none.
    pub(crate) caller: Option<CallRef>,
    /// The account whose place it has, if it has one: the caller's, or the channel's.
    pub(crate) account: Option<Account>,
    pub(crate) step: ChangeStep,
    /// Later changes of the same channel. Each has a place of its own.
    pub(crate) waiting: WaitingQueries,
}

/// The step that is made once a change is durable.
#[derive(Debug)]
pub(crate) enum ChangeStep {
    Create,
    Replace(Record),
    Delete,
}

/// The changes under way: at most one for each channel.
struct Changes {
    pub(crate) store: Box<dyn Store>,
    /// Changes that the store has not reported.
    pub(crate) under_way: HashMap<ChannelKey, ChangeUnderWay, RandomState>,
    /// Answered calls and those that wait behind them, by account.
    pub(crate) places: Places<Account>,
    /// Channels whose deletion is not durable yet.
    pub(crate) deleting: u64,
    /// When the youngest channel was made: a name made again at once is another channel all the same.
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

/// A change that was begun and is to be submitted: of which channel, and what it is.
pub(crate) type BegunChange = (ChannelKey, ChangeStep);

/// Why a change cannot wait for the one under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoWait {
    /// As many changes of its channel wait as may.
    Channel,
    /// No place for one more of its account.
    Account,
}

// The invariant of the directory, which debug builds check after every input.

/// Channels that are all looked at after every input. In a directory with more, which only tests of large tables have,
/// the sums are compared alone.
const LOOKED_AT_MAX: usize = 64;

impl Directory {
    /// Checks what holds when an input was worked off.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn invariants(&self) {
        let channels = self.channels.len();
        assert_eq!(self.names.len(), channels, "each channel has one name");
        self.check_changes();
        if channels <= LOOKED_AT_MAX {
            self.check_channels();
        }
    }

    /// Changes under way are of channels, and their places are counted.
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

    /// Each channel is in every table as it should be, and what they hold is what is counted.
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

    /// The channels of an account, and the bytes of their records.
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

    /// The state of a channel is that of the change under way.
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
