//! The records of all channels in the process, sorted by name, plus the number of channels, the record size and the
//! rate usage of each account.
//!
//! The shard that owns a channel publishes the channel's record once the record is durable, and removes it when the
//! channel is deleted. Either happens before any caller receives a response. Every shard reads the catalog directly, so
//! listing channels and checking quotas require no messages between shards.
//!
//! Records are stored in chunks. A reader clones the handles to the chunks that a page needs, and reads the chunks
//! without holding the lock. A writer copies a chunk only while a reader is using it.

use crate::id::Identity;
use crate::limits::CATALOG_CHUNK;
use crate::quota::Bucket;
use crate::record::{Holding, ListedChannel, Record};
use crate::settings::Limits;
use codec::control::{ChannelStatus, Operation};
use codec::identifiers::ChannelArn;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The catalog of the process, shared by all shards.
///
/// Steps are closures that run under a lock for a few microseconds. They must not block, log, or call anything except
/// the catalog.
pub trait SharedCatalog: Send + Sync {
    /// Runs `step` exactly once.
    fn with(&self, step: &mut dyn FnMut(&mut Catalog));
}

impl dyn SharedCatalog + '_ {
    /// Runs `step` under the lock and returns its result.
    ///
    /// # Panics
    /// Panics if the implementation does not run the step.
    pub fn ask<R>(&self, step: impl FnOnce(&mut Catalog) -> R) -> R {
        let (mut step, mut result) = (Some(step), None);
        self.with(&mut |catalog| result = step.take().map(|step| step(catalog)));
        result.expect("the step runs once")
    }

    /// Returns the channels whose identities begin with `prefix` and sort after `after`, and whether there are more. A
    /// page contains at most `limit` channels (one if `limit` is 0). Channels whose creation is not durable yet are
    /// omitted.
    #[must_use]
    pub fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<ListedChannel>, bool) {
        let prefix = Identity::from_text(prefix);
        let after = after.map(Identity::from_text);
        let after = after.filter(|after| *after >= prefix);
        let first = after.as_ref().unwrap_or(&prefix).key();
        let limit = limit.max(1);
        let chunks = self.ask(|catalog| catalog.chunks_from(first, limit + 2));
        let is_before =
            |entry: &CatalogEntry| entry.key() < first || (after.is_some() && entry.key() == first);
        let skipped = chunks.first().map(|chunk| chunk.partition_point(is_before));
        let entries = chunks.iter().flat_map(|chunk| chunk.iter());
        let entries = entries.skip(skipped.unwrap_or(0));
        let mut entries = entries.take_while(|entry| entry.key().starts_with(prefix.key()));
        let page = entries.by_ref().take(limit);
        let page = page.map(|entry| entry.record.listed(entry.status));
        (page.collect(), entries.next().is_some())
    }
}

/// All channel records, and the resource and rate usage of every account.
#[derive(Debug)]
pub struct Catalog {
    /// Chunks of records. The key of a chunk is a lower bound for its records; the first key is the empty string.
    chunks: BTreeMap<Box<str>, Arc<Vec<CatalogEntry>>>,
    /// The number of channels and bytes that each account uses in each region.
    pub(crate) holdings: Holdings,
    /// Rate limit buckets by account and operation.
    pub(crate) rates: BTreeMap<(Identity, Operation), Bucket>,
}

#[derive(Clone, Debug)]
struct CatalogEntry {
    record: Arc<Record>,
    status: ChannelStatus,
}

impl CatalogEntry {
    fn key(&self) -> &str {
        self.record.arn.identity()
    }
}

/// The limit that a reservation would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The account's maximum number of channels.
    Channels,
    /// The maximum total size of the account's records. Carries the number of bytes in use.
    Account(u64),
    /// The maximum total size of all accounts' records.
    Process,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::from([("".into(), Arc::default())]),
            holdings: Holdings::default(),
            rates: BTreeMap::new(),
        }
    }
}

impl Catalog {
    /// Publishes a record, replacing any earlier record with the same name.
    pub fn put(&mut self, record: Arc<Record>, status: ChannelStatus) {
        let entry = CatalogEntry { record, status };
        let Some((_, chunk)) = self.floor(entry.key()) else {
            return;
        };
        let place = chunk.binary_search_by(|other| other.key().cmp(entry.key()));
        let chunk = Arc::make_mut(chunk);
        match place {
            Ok(place) => chunk.splice(place..=place, [entry]).for_each(drop),
            Err(place) if chunk.len() < CATALOG_CHUNK => chunk.insert(place, entry),
            // Appending to a full chunk starts a new one, so records that arrive in order fill their chunks.
            Err(CATALOG_CHUNK) => self.add_chunk(vec![entry]),
            Err(_) => {
                let rest = chunk.split_off(CATALOG_CHUNK / 2);
                self.add_chunk(rest);
                self.put(entry.record, status);
            }
        }
    }

    fn add_chunk(&mut self, chunk: Vec<CatalogEntry>) {
        if let Some(first) = chunk.first() {
            self.chunks.insert(first.key().into(), Arc::new(chunk));
        }
    }

    /// Removes a record if it was published.
    pub fn remove(&mut self, arn: &ChannelArn) {
        let key = arn.identity();
        let Some((floor, chunk)) = self.floor(key) else {
            return;
        };
        if let Ok(place) = chunk.binary_search_by(|other| other.key().cmp(key)) {
            Arc::make_mut(chunk).remove(place);
            let floor: Box<str> = floor.into();
            self.join(&floor);
            let before = (Bound::Unbounded, Bound::Excluded(&*floor));
            if let Some((before, _)) = self.chunks.range::<str, _>(before).next_back() {
                self.join(&before.clone());
            }
        }
    }

    fn floor(&mut self, key: &str) -> Option<(&str, &mut Arc<Vec<CatalogEntry>>)> {
        let range = (Bound::Unbounded, Bound::Included(key));
        let (floor, chunk) = self.chunks.range_mut::<str, _>(range).next_back()?;
        Some((floor, chunk))
    }

    fn join(&mut self, floor: &str) {
        let behind = (Bound::Excluded(floor), Bound::Unbounded);
        let next = self.chunks.range::<str, _>(behind).next();
        let next = next.map(|(key, next)| (key.clone(), next.len()));
        if let (Some((key, len)), Some(chunk)) = (next, self.chunks.get(floor))
            && chunk.len() + len <= CATALOG_CHUNK / 2
            && let Some(next) = self.chunks.remove(&key)
            && let Some(chunk) = self.chunks.get_mut(floor)
        {
            Arc::make_mut(chunk).extend(next.iter().cloned());
        }
    }

    /// Returns the chunks that contain the next `wanted` records, starting at `key`.
    fn chunks_from(&self, key: &str, wanted: usize) -> Vec<Arc<Vec<CatalogEntry>>> {
        let range = (Bound::Unbounded, Bound::Included(key));
        let floor = self.chunks.range::<str, _>(range).next_back();
        let floor = floor.map_or("", |(floor, _)| floor);
        let (mut found, mut chunks) = (0, Vec::new());
        let all = (Bound::Included(floor), Bound::Unbounded);
        for (_, chunk) in self.chunks.range::<str, _>(all) {
            found += chunk.len() - chunk.partition_point(|entry| entry.key() < key);
            chunks.push(Arc::clone(chunk));
            if found >= wanted {
                break;
            }
        }
        chunks
    }
}

impl Catalog {
    /// Returns the number of channels and bytes that a tenant (`region:account:`) uses.
    #[must_use]
    pub fn held_by(&self, tenant: &str) -> Holding {
        self.holdings.of_tenant(tenant)
    }

    /// Reserves channels and bytes for an account. The reservation is released when the creation or update fails, or
    /// when the channel is removed.
    ///
    /// `elsewhere` is the account's usage on other nodes. `most` is the account's channel quota, where 0 means
    /// unlimited.
    ///
    /// # Errors
    /// Returns the limit that would be exceeded; nothing is reserved in this case.
    pub(crate) fn reserve(
        &mut self,
        tenant: &str,
        more: Holding,
        elsewhere: Holding,
        limits: &Limits,
        most: usize,
    ) -> Result<(), Shortage> {
        let held = self.holdings.of_tenant(tenant).and(elsewhere);
        if most > 0 && held.channels >= most as u64 {
            return Err(Shortage::Channels);
        }
        if held.and(more).bytes > limits.record_bytes_per_account as u64 {
            return Err(Shortage::Account(held.bytes));
        }
        if self.holdings.bytes().saturating_add(more.bytes) > limits.record_bytes_total as u64 {
            return Err(Shortage::Process);
        }
        self.holdings.add(tenant, more);
        Ok(())
    }
}

/// The number of channels and bytes in use by each account that has channels.
///
/// A channel uses the size of its record. While a replacement is not durable yet, the channel uses the larger of the
/// two sizes, so the replacement still fits once it is durable. Records that are already stored or that arrive with a
/// slot are always counted. Such records can push the total above the limit, in which case only growth is refused.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    tenants: BTreeMap<Box<str>, Holding>,
    bytes: u64,
    noted: bool,
}

impl Holdings {
    pub(crate) fn of_tenant(&self, tenant: &str) -> Holding {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(|tenant| &**tenant)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the total number of bytes if the total has risen above `most` since the previous call.
    pub(crate) fn exceeded(&mut self, most: usize) -> Option<u64> {
        let is_over = self.bytes > most as u64;
        let was_noted = std::mem::replace(&mut self.noted, is_over);
        (is_over && !was_noted).then_some(self.bytes)
    }

    pub(crate) fn add(&mut self, tenant: &str, more: Holding) {
        self.bytes += more.bytes;
        match self.tenants.get_mut(tenant) {
            Some(held) => *held = held.and(more),
            None => drop(self.tenants.insert(tenant.into(), more)),
        }
    }

    pub(crate) fn went(&mut self, tenant: &str, bytes: usize) {
        self.change(tenant, bytes, 0);
        if let Some(held) = self.tenants.get_mut(tenant) {
            held.channels -= 1;
            if held.channels == 0 {
                self.tenants.remove(tenant);
            }
        }
    }

    pub(crate) fn change(&mut self, tenant: &str, before: usize, after: usize) {
        if let Some(held) = self.tenants.get_mut(tenant) {
            let changed = |bytes: u64| (bytes + after as u64).saturating_sub(before as u64);
            held.bytes = changed(held.bytes);
            self.bytes = changed(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{VERSION_BYTES, Version};
    use crate::settings::Settings;
    use crate::testing::TestCatalog;
    use crate::time::Wall;

    const TENANT: &str = "us-west-2:123456789012:";

    fn record(name: &str, created: u64) -> Arc<Record> {
        let arn = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/{created}");
        Arc::new(Record {
            arn: ChannelArn::parse(&arn, true).unwrap(),
            ttl_seconds: 60,
            created: Wall(created),
            version: Version::from_bytes([b'v'; VERSION_BYTES]).unwrap(),
            tags: Vec::new().into(),
        })
    }

    /// Returns the names and creation times of the channels on all pages.
    fn pages(catalog: &dyn SharedCatalog, prefix: &str, limit: usize) -> Vec<(String, u64)> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let (page, more) = catalog.page(&format!("{TENANT}{prefix}"), after.as_deref(), limit);
            assert!(page.len() <= limit && (!more || page.len() == limit));
            after = page.last().map(|it| format!("{TENANT}{}", it.arn.name()));
            all.extend(
                page.iter()
                    .map(|it| (it.arn.name().to_owned(), it.created.0)),
            );
            if !more {
                return all;
            }
        }
    }

    #[test]
    fn pages_have_every_record_once_whatever_comes_and_goes() {
        let mut random = fastrand::Rng::with_seed(5);
        let (shared, mut model) = (TestCatalog::default(), BTreeMap::new());
        let shared: &dyn SharedCatalog = &shared;
        for round in 1..=40_u64 {
            let grows = round % 10 < 6;
            for step in 0..1_500 {
                let name = if round == 1 {
                    format!("{step:04}")
                } else {
                    random.u16(..6_000).to_string()
                };
                let record = record(&name, round);
                if round == 1 || random.u8(..8) < if grows { 7 } else { 1 } {
                    shared.ask(|catalog| catalog.put(Arc::clone(&record), ChannelStatus::Active));
                    model.insert(name, round);
                } else {
                    shared.ask(|catalog| catalog.remove(&record.arn));
                    model.remove(&name);
                }
            }
            let all: Vec<_> = model.clone().into_iter().collect();
            assert_eq!(pages(shared, "", 1_000), all);
            let some = all.into_iter().filter(|(name, _)| name.starts_with("12"));
            assert_eq!(pages(shared, "12", 7), some.collect::<Vec<_>>());
            let read = shared.ask(|catalog| catalog.chunks_from("", 1_001));
            assert!(read.len() <= 32, "{} chunks for one page", read.len());
        }
    }

    #[test]
    fn a_page_is_of_one_account_and_of_one_moment() {
        let (shared, other) = (
            TestCatalog::default(),
            "arn:aws:kinesisvideo:us-west-2:1:channel/a/17",
        );
        let shared: &dyn SharedCatalog = &shared;
        let other = Record {
            arn: ChannelArn::parse(other, false).unwrap(),
            ..Record::clone(&record("a", 17))
        };
        let put = |record, status| shared.ask(|catalog| catalog.put(record, status));
        put(Arc::new(other), ChannelStatus::Active);
        put(record("a", 17), ChannelStatus::Active);
        let chunks = shared.ask(|catalog| catalog.chunks_from("", 9));
        put(record("a", 17), ChannelStatus::Deleting);
        put(record("b", 17), ChannelStatus::Active);
        assert_eq!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), 2);
        let (page, more) = shared.page(TENANT, None, 1);
        let found = (page[0].arn.name(), page[0].status, more);
        assert_eq!(found, ("a", ChannelStatus::Deleting, true));
        assert_eq!(pages(shared, "c", 5), []);
    }

    #[test]
    fn growth_is_refused_by_the_account_and_by_the_process_and_counted_once() {
        let mut limits = Settings::default().limits;
        (limits.record_bytes_per_account, limits.record_bytes_total) = (1 << 20, 2 << 20);
        let (mut catalog, third) = (Catalog::default(), "us-west-2:000000000002:");
        let more = |channels, bytes| Holding { channels, bytes };
        let none = Holding::default();
        catalog.holdings.add(TENANT, more(1, 1000 << 10));
        catalog
            .holdings
            .add("us-west-2:000000000001:", more(1, 1000 << 10));
        let mut reserve = |tenant, channels, bytes, elsewhere, most| {
            catalog.reserve(tenant, more(channels, bytes), elsewhere, &limits, most)
        };
        let full = Err(Shortage::Account(1000 << 10));
        assert_eq!(reserve(TENANT, 0, (24 << 10) + 1, none, 0), full);
        let both = Err(Shortage::Account((1000 << 10) + (24 << 10)));
        let found = reserve(TENANT, 0, 1, more(0, 24 << 10), 0);
        assert_eq!(found, both, "here and elsewhere");
        assert_eq!(reserve(TENANT, 1, 8, none, 1), Err(Shortage::Channels));
        let found = reserve(TENANT, 1, 8, more(1, 0), 2);
        assert_eq!(found, Err(Shortage::Channels));
        assert_eq!(reserve(TENANT, 1, 8, none, 2), Ok(()));
        let found = reserve(TENANT, 1, 8, none, 2);
        assert_eq!(found, Err(Shortage::Channels), "it was counted");
        let found = reserve(third, 1, (48 << 10) - 7, none, 0);
        assert_eq!(found, Err(Shortage::Process));
        assert_eq!(reserve(third, 1, (48 << 10) - 8, none, 0), Ok(()));
        assert_eq!(catalog.held_by(TENANT), more(2, (1000 << 10) + 8));
    }
}

#[cfg(test)]
mod holdings_tests {
    use super::*;

    fn one(bytes: u64) -> Holding {
        let channels = 1;
        Holding { channels, bytes }
    }

    #[test]
    fn too_many_bytes_are_noted_once_each_time() {
        let mut holdings = Holdings::default();
        holdings.add("a:1:", one(100));
        assert_eq!(holdings.exceeded(100), None);
        holdings.add("a:1:", one(1));
        let found = (holdings.exceeded(100), holdings.exceeded(100));
        assert_eq!(found, (Some(101), None));
        holdings.went("a:1:", 1);
        assert_eq!(holdings.exceeded(100), None);
        holdings.add("a:1:", one(9));
        assert_eq!(holdings.exceeded(100), Some(109));
    }

    #[test]
    fn sums_are_those_of_the_channels_whatever_comes_and_goes() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut holdings = Holdings::default();
        let mut channels: Vec<(&str, usize)> = Vec::new();
        for _ in 0..20_000 {
            let (tenant, bytes) = (
                ["a:1:", "a:2:", "b:1:"][random.usize(..3)],
                random.usize(1..900),
            );
            match random.u8(..4) {
                0 | 1 => {
                    holdings.add(tenant, one(bytes as u64));
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
