//! Copies all records from a store on disk into etcd, or from etcd into a store on disk. Also adds single records to
//! etcd.
//!
//! Import and export read a consistent snapshot of their source. An import requires that no node is registered. Each of
//! its transactions verifies this, so a node that starts in the meantime aborts the import.

use crate::config::Options;
use crate::limits::{BATCH_BYTES_MAX, IMPORT_BATCHES_UNDER_WAY, PAGE_ROWS, PUTS_PER_BATCH};
use crate::operator::{CommandError, answer, connect, name};
use crate::rpc::generated::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use crate::schema::{self, Keys, MetaValue, SlotValue, WatchedSubject};
use crate::{rpc::connection::Lines, system::random, translate};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::slot_maps::slot_of;
use broker_core::cluster::types::Slot;
use broker_core::registry::{decode, encode, key};
use broker_core::{id::Identity, record::Record};
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::rc::Rc;
use store::Store;
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, LocalSet};

/// How an import treats records that are already in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// If etcd has any records, import nothing.
    Refuse,
    /// Replace all records, so that etcd ends up with exactly the records in the store.
    Replace,
}

/// Copies all records of the store in `directory` into etcd, and returns their number. The store must not be in use.
///
/// Creates the cluster if it does not exist. Also ensures that all presence epochs assigned in the cluster from now on
/// are higher than `epoch`.
///
/// # Errors
/// Returns the reason why the import failed.
pub fn import(
    etcd: &Options,
    cluster: &str,
    (directory, epoch): (&Path, u64),
    existing: Existing,
) -> Result<u64, CommandError> {
    let store = Store::open(directory).map_err(|error| of_disk(directory, &error))?;
    let mut unreadable = None;
    let check = |key: &str, bytes: &[u8]| {
        if let Err(why) = decode(key, bytes) {
            unreadable.get_or_insert_with(|| of_record(key, &why));
        }
    };
    let loaded = store.load(check);
    loaded.map_err(|error| of_disk(directory, &error))?;
    if let Some(error) = unreadable {
        return Err(error);
    }
    let runtime = runtime()?;
    LocalSet::new().block_on(&runtime, async {
        let end = Rc::new(End::connect(etcd, cluster).await?);
        let key = end.found().await?;
        match existing {
            Existing::Refuse => end.must_be_empty().await?,
            Existing::Replace => end.clear().await?,
        }
        end.raise_presence(epoch).await?;
        let rows = store.snapshot();
        let mut rows = rows.map_err(|error| of_disk(directory, &error))?;
        let mut count = 0;
        let batches = || {
            let mut batch = ImportBatch::default();
            let more = rows.read(|identity, value| {
                if let Ok(record) = decode(identity, value) {
                    let slot = slot_of(&key, &Identity::of(&record.arn));
                    batch.put(end.keys.record(slot, identity), value);
                }
                batch.has_room()
            });
            let more = more.map_err(|error| of_disk(directory, &error))?;
            Ok((batch, more))
        };
        end.put_batches(batches, &mut count).await?;
        Ok(count)
    })
}

/// Creates a store in `directory` with all records of the cluster. The directory must not contain a store yet. Returns
/// the number of records and the highest presence epoch so far. Nodes may be running, since the export reads a single
/// revision.
///
/// # Errors
/// Returns the reason why the export failed. In this case, no store is left behind.
pub fn export(etcd: &Options, cluster: &str, directory: &Path) -> Result<(u64, u64), CommandError> {
    let runtime = runtime()?;
    let end = runtime.block_on(End::connect(etcd, cluster))?;
    let (mut count, mut failed) = (0, None);
    let filled = store::create(directory, &mut |put| {
        let give = |identity: &str, value: &[u8]| {
            decode(identity, value).map_err(|why| of_record(identity, &why))?;
            put(identity, value).map_err(|error| of_disk(directory, &error))?;
            count += 1;
            Ok(())
        };
        runtime.block_on(end.each_row(give)).map_err(|error| {
            failed = Some(error);
            io::ErrorKind::Other.into()
        })
    });
    match (failed, filled) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(of_disk(directory, &error)),
        (None, Ok(())) => Ok((count, runtime.block_on(end.presence())?)),
    }
}

fn of_disk(directory: &Path, error: &dyn Display) -> CommandError {
    CommandError::failed(format_args!("{}: {error}", directory.display()))
}

fn of_record(key: &str, why: &dyn Display) -> CommandError {
    CommandError::failed(format_args!("the record of {key:?} cannot be read: {why}"))
}

fn runtime() -> Result<Runtime, CommandError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(CommandError::failed)
}

#[derive(Default)]
pub(crate) struct ImportBatch {
    puts: Vec<RequestOp>,
    bytes: usize,
}

impl ImportBatch {
    pub(crate) fn put(&mut self, key: String, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.bytes += key.len() + value.len();
        self.puts.push(RequestOp::put(key, value));
    }

    pub(crate) fn has_room(&self) -> bool {
        self.puts.len() < PUTS_PER_BATCH && self.bytes < BATCH_BYTES_MAX
    }
}

struct End {
    lines: Lines,
    pub(crate) keys: Keys,
}

impl End {
    pub(crate) async fn connect(options: &Options, cluster: &str) -> Result<Self, CommandError> {
        let keys = Keys::new(&name(cluster)?);
        let lines = connect(options).await?;
        Ok(Self { lines, keys })
    }

    /// Returns the cluster's slot key. Creates the cluster if it does not exist.
    pub(crate) async fn found(&self) -> Result<[u8; 16], CommandError> {
        let drawn = random().zip(random());
        let (id, slot_key) =
            drawn.ok_or_else(|| CommandError::failed("the system's random generator failed"))?;
        let proposal = MetaValue::new(id, SLOTS, slot_key);
        let key = self.keys.meta();
        let write = RequestOp::put(key.as_str(), schema::write(&proposal));
        let read = RequestOp::read(RangeRequest::key(key.as_str()));
        let founding = TxnRequest {
            compare: vec![Compare::absent(key)],
            success: vec![write, read.clone()],
            failure: vec![read],
        };
        let outcome = self.transact(founding).await?;
        let meta = translate::meta(&self.keys, outcome.reads().next().unwrap_or_default());
        let meta = meta.map_err(|unreadable| Box::from(unreadable.to_string()))?;
        meta.filter(|meta| meta.slots == SLOTS)
            .and_then(|meta| meta.slot_key())
            .ok_or_else(no_cluster)
    }

    async fn must_be_empty(&self) -> Result<(), CommandError> {
        let any = RangeRequest {
            limit: 1,
            keys_only: true,
            ..RangeRequest::range(self.keys.all_records())
        };
        let outcome = self.without_nodes(vec![RequestOp::read(any)]).await?;
        if outcome.reads().all(<[_]>::is_empty) {
            Ok(())
        } else {
            Err(CommandError::refused(
                "the cluster has channels in etcd already: --replace removes them first, or use another name",
            ))
        }
    }

    /// Removes all records. Each transaction clears only some of the slots, to keep transactions small.
    async fn clear(&self) -> Result<(), CommandError> {
        let slots: Vec<u16> = (0..SLOTS).collect();
        for some in slots.chunks(PUTS_PER_BATCH) {
            let ranges = some.iter().map(|slot| self.keys.records(Slot(*slot)));
            let removals = ranges.map(RequestOp::delete_range).collect();
            self.without_nodes(removals).await?;
        }
        Ok(())
    }

    /// Writes batches concurrently, provided that no node is registered. `next` returns a batch and whether more
    /// batches follow. `done` is incremented by the number of records in each confirmed batch.
    async fn put_batches(
        self: &Rc<Self>,
        mut next: impl FnMut() -> Result<(ImportBatch, bool), CommandError>,
        done: &mut u64,
    ) -> Result<(), CommandError> {
        let mut under_way = JoinSet::new();
        let mut more = true;
        while more {
            let batch;
            (batch, more) = next()?;
            let (end, count) = (Rc::clone(self), batch.puts.len() as u64);
            under_way
                .spawn_local(async move { end.without_nodes(batch.puts).await.map(|_| count) });
            let most = usize::from(more) * (IMPORT_BATCHES_UNDER_WAY - 1);
            while under_way.len() > most
                && let Some(ended) = under_way.join_next().await
            {
                *done += ended.map_err(CommandError::failed)??;
            }
        }
        Ok(())
    }

    async fn without_nodes(&self, operations: Vec<RequestOp>) -> Result<TxnResponse, CommandError> {
        let (first, last) = self.keys.registrations();
        let outcome = self.transact(TxnRequest {
            compare: vec![Compare::absent(first).up_to(last)],
            success: operations,
            failure: Vec::new(),
        });
        let outcome = outcome.await?;
        if outcome.succeeded {
            Ok(outcome)
        } else {
            Err(CommandError::refused(NODES))
        }
    }

    async fn transact(&self, transaction: TxnRequest) -> Result<TxnResponse, CommandError> {
        Ok(answer(self.lines.txn(transaction)).await?)
    }

    /// Calls `give` with the key and value of each record, all read at the same revision.
    async fn each_row(
        &self,
        mut give: impl FnMut(&str, &[u8]) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let mut revision = None;
        for number in 0..SLOTS {
            let (first, last) = self.keys.records(Slot(number));
            let mut next = first.clone().into_bytes();
            loop {
                let (rows, more) = self.page(next, &last, &mut revision).await?;
                for row in &rows {
                    let identity = row.key.get(first.len()..).unwrap_or_default();
                    give(&String::from_utf8_lossy(identity), &row.value)?;
                }
                let Some(row) = rows.last().filter(|_| more) else {
                    break;
                };
                next = [&row.key[..], b"\0"].concat();
            }
        }
        Ok(())
    }

    /// Reads one page of the rows from `next` up to `last`. Returns the rows and whether there are more. All pages are
    /// read at the revision of the first one, so that the result is consistent.
    async fn page(
        &self,
        next: Vec<u8>,
        last: &str,
        revision: &mut Option<i64>,
    ) -> Result<(Vec<KeyValue>, bool), CommandError> {
        let read = RangeRequest {
            limit: PAGE_ROWS,
            revision: revision.unwrap_or_default(),
            ..RangeRequest::range((next, last))
        };
        let page = answer(self.lines.range(read)).await?;
        if revision.is_none() {
            *revision = page.header.map(|header| header.revision);
        }
        Ok((page.kvs, page.more))
    }
}

// Adds records to the existing ones in etcd while no node runs.

/// Calls `give` with each record of the cluster in etcd, all at a single revision. If the cluster does not exist,
/// `give` is never called.
///
/// # Errors
/// Returns the reason why the read failed. The records passed to `give` so far are incomplete.
pub fn each_record(
    etcd: &Options,
    cluster: &str,
    mut give: impl FnMut(Record),
) -> Result<(), CommandError> {
    runtime()?.block_on(async {
        let end = End::connect(etcd, cluster).await?;
        end.each_row(|identity, value| {
            let record = decode(identity, value);
            give(record.map_err(|why| of_record(identity, &why))?);
            Ok(())
        })
        .await
    })
}

/// Writes, in batches, the records that etcd does not have yet. Creates the cluster if it does not exist.
///
/// # Errors
/// Returns the number of records that are confirmed to be in etcd, and why the write failed. The remaining records can
/// be written again.
pub fn add(etcd: &Options, cluster: &str, records: &[Record]) -> Result<(), (u64, CommandError)> {
    let runtime = runtime().map_err(|error| (0, error))?;
    let mut done = 0;
    let added = LocalSet::new().block_on(&runtime, async {
        let end = Rc::new(End::connect(etcd, cluster).await?);
        let slot_key = end.found().await?;
        if records.is_empty() {
            return Ok(());
        }
        let mut rest = records.iter();
        let batches = || {
            let mut batch = ImportBatch::default();
            while batch.has_room()
                && let Some(record) = rest.next()
            {
                let slot = slot_of(&slot_key, &Identity::of(&record.arn));
                batch.put(end.keys.record(slot, key(&record.arn)), encode(record));
            }
            Ok((batch, !rest.as_slice().is_empty()))
        };
        end.put_batches(batches, &mut done).await
    });
    added.map_err(|error| (done, error))
}

// Presence epochs must keep increasing when channels are imported from a single broker or exported to one.

impl End {
    pub(crate) async fn presence(&self) -> Result<u64, CommandError> {
        let outcome = self.transact(TxnRequest {
            success: vec![RequestOp::read(RangeRequest::range(self.keys.watched()))],
            ..TxnRequest::default()
        });
        let outcome = outcome.await?;
        let epochs = outcome.reads().flatten().filter_map(|row| {
            let bytes = &*row.value;
            match self.keys.parse(&row.key)? {
                WatchedSubject::Slot(_) => Some(schema::read::<SlotValue>(bytes).ok()?.presence),
                WatchedSubject::Meta => Some(schema::read::<MetaValue>(bytes).ok()?.presence),
                WatchedSubject::Registration(_) | WatchedSubject::Roster(_) => None,
                WatchedSubject::Order(_) | WatchedSubject::Report(_) => None,
            }
        });
        Ok(epochs.max().unwrap_or(0))
    }

    /// Ensures that all future presence epochs are higher than `epoch`. No node may be running.
    async fn raise_presence(&self, epoch: u64) -> Result<(), CommandError> {
        let key = self.keys.meta();
        let read = self.transact(TxnRequest {
            success: vec![RequestOp::read(RangeRequest::key(key.as_str()))],
            ..TxnRequest::default()
        });
        let read = read.await?;
        let row = read.reads().flatten().next();
        let row = row.ok_or_else(no_cluster)?;
        let meta: MetaValue = schema::read(&row.value)
            .map_err(|error| Box::from(format!("the key {key}: {error}")))?;
        if meta.presence >= epoch {
            return Ok(());
        }
        let raised = schema::with_number(&row.value, "presence", epoch);
        let raise = TxnRequest {
            compare: vec![Compare::unchanged(key.as_str(), row.mod_revision)],
            success: vec![RequestOp::put(key, raised.ok_or_else(no_cluster)?)],
            failure: Vec::new(),
        };
        let outcome = self.transact(raise).await?;
        if outcome.succeeded {
            Ok(())
        } else {
            Err(CommandError::refused(NODES))
        }
    }
}

fn no_cluster() -> CommandError {
    CommandError::refused("etcd has no cluster of this name")
}

const NODES: &str = "a node is registered: stop all nodes of the cluster first";
