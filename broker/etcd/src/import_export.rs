//! From a store on a disk into etcd, and back; and records beside those that are there.
//!
//! Both read one moment of where they come from. An import is possible while no node is registered: each of its
//! transactions compares that, so a node that starts meanwhile ends it.

use crate::limits::{BATCH_BYTES_MAX, CALL, IMPORT_BATCHES_UNDER_WAY, PAGE_ROWS, PUTS_PER_BATCH};
use crate::rpc::generated::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use crate::rpc::{calls::Failure, connection::Lines};
use crate::schema::{self, Keys, MetaValue, SlotValue, Watched};
use crate::{config::Options, names::Name};
use crate::{operator, translate};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::slot_maps::slot_of;
use broker_core::cluster::types::Slot;
use broker_core::registry::{RecordError, decode, encode, key};
use broker_core::{id::Identity, record::Record};
use std::path::Path;
use std::rc::Rc;
use std::{fmt, io};
use store::{OpenError, SnapshotError, Store};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;
use tonic::Status;

/// The treatment of records that are in etcd already, by an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// If there are any, nothing is imported.
    Refuse,
    /// They are removed: afterwards etcd has what the directory has.
    Replace,
}

/// Why records could not be carried over.
#[derive(Debug)]
pub enum ExchangeError {
    /// The cluster's name is none.
    Name,
    /// No member of etcd could be reached, or one failed. What was imported so far is there: import again, replacing.
    Etcd(Box<str>),
    /// A node is registered: it would not see what is imported. Stop all nodes first.
    Nodes,
    /// There are records in etcd already.
    NotEmpty,
    /// etcd has no cluster of this name.
    NoCluster,
    /// A record cannot be read: its key, and why.
    Record(Box<str>, RecordError),
    /// The store on the disk cannot be opened.
    Open(OpenError),
    /// The store on the disk cannot be read.
    Read(SnapshotError),
    /// The store on the disk cannot be written.
    Disk(io::Error),
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("the name of the cluster is none"),
            Self::Etcd(why) => write!(f, "etcd: {why}"),
            Self::Nodes => f.write_str("a node is registered: stop all nodes of the cluster first"),
            Self::NotEmpty => f.write_str(
                "the cluster has records in etcd already: replace them, or use another name",
            ),
            Self::NoCluster => f.write_str("etcd has no cluster of this name"),
            Self::Record(key, why) => write!(f, "the record of {key:?} cannot be read: {why}"),
            Self::Open(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ExchangeError {}

impl From<Status> for ExchangeError {
    fn from(status: Status) -> Self {
        Self::Etcd(Failure::of(&status).to_string().into())
    }
}

/// Puts every record of the store in `directory` into etcd, and says how many there are. The store must not be in use.
///
/// The first import into a cluster that has no nodes yet founds it. Its epochs of presence exceed `epoch` from then on.
///
/// # Errors
/// [`ExchangeError`].
pub fn import(
    etcd: &Options,
    cluster: &str,
    (directory, epoch): (&Path, u64),
    existing: Existing,
) -> Result<u64, ExchangeError> {
    let store = Store::open(directory).map_err(ExchangeError::Open)?;
    let mut unreadable = None;
    let check = |key: &str, bytes: &[u8]| {
        if let Err(why) = decode(key, bytes) {
            unreadable.get_or_insert_with(|| (key.into(), why));
        }
    };
    store.load(check).map_err(ExchangeError::Open)?;
    if let Some((key, why)) = unreadable {
        return Err(ExchangeError::Record(key, why));
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
        let mut rows = store.snapshot().map_err(ExchangeError::Read)?;
        let mut count = 0;
        let batches = || {
            let mut batch = Batch::default();
            let more = rows.read(|identity, value| {
                if let Ok(record) = decode(identity, value) {
                    let slot = slot_of(&key, &Identity::of(&record.arn));
                    batch.put(end.keys.record(slot, identity), value);
                }
                batch.has_room()
            });
            let more = more.map_err(ExchangeError::Read)?;
            Ok((batch, more))
        };
        end.put_batches(batches, &mut count).await?;
        Ok(count)
    })
}

/// Makes a store in `directory`, which has none, of every record of the cluster, and says how many there are, and the
/// greatest epoch of presence so far. Nodes may run meanwhile: what is exported is of one revision.
///
/// # Errors
/// [`ExchangeError`]; then there is no store.
pub fn export(
    etcd: &Options,
    cluster: &str,
    directory: &Path,
) -> Result<(u64, u64), ExchangeError> {
    let runtime = runtime()?;
    let end = runtime.block_on(End::connect(etcd, cluster))?;
    let (mut count, mut failed) = (0, None);
    let filled = store::create(directory, &mut |put| {
        let give = |identity: &str, value: &[u8]| {
            if let Err(why) = decode(identity, value) {
                return Err(ExchangeError::Record(identity.into(), why));
            }
            put(identity, value).map_err(ExchangeError::Disk)?;
            count += 1;
            Ok(())
        };
        match runtime.block_on(end.each_row(give)) {
            Ok(()) => Ok(()),
            Err(ExchangeError::Disk(error)) => Err(error),
            Err(error) => Err(stop(&mut failed, error)),
        }
    });
    match (failed, filled) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(ExchangeError::Disk(error)),
        (None, Ok(())) => Ok((count, runtime.block_on(end.presence())?)),
    }
}

/// Ends the making of a store; what is reported is `error`.
fn stop(failed: &mut Option<ExchangeError>, error: ExchangeError) -> io::Error {
    *failed = Some(error);
    io::ErrorKind::Other.into()
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, ExchangeError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(ExchangeError::Disk)
}

/// Records that one transaction puts.
#[derive(Default)]
pub(crate) struct Batch {
    puts: Vec<RequestOp>,
    bytes: usize,
}

impl Batch {
    pub(crate) fn put(&mut self, key: String, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.bytes += key.len() + value.len();
        self.puts.push(RequestOp::put(key, value));
    }

    /// Whether one more may be put.
    pub(crate) fn has_room(&self) -> bool {
        self.puts.len() < PUTS_PER_BATCH && self.bytes < BATCH_BYTES_MAX
    }
}

/// etcd's end of an exchange.
struct End {
    lines: Lines,
    pub(crate) keys: Keys,
}

impl End {
    /// Over the first member that can be reached.
    pub(crate) async fn connect(options: &Options, cluster: &str) -> Result<Self, ExchangeError> {
        let cluster = Name::new(cluster).ok_or(ExchangeError::Name)?;
        let lines = operator::connect(options).await;
        let lines = lines.map_err(ExchangeError::Etcd)?;
        let keys = Keys::new(&cluster);
        Ok(Self { lines, keys })
    }

    /// The cluster's slot key. A cluster that is not there is founded.
    pub(crate) async fn found(&self) -> Result<[u8; 16], ExchangeError> {
        let random = || ExchangeError::Disk(io::Error::other("the system gives no random bytes"));
        let (mut id, mut slot_key) = ([0; 8], [0; 16]);
        aws_lc_rs::rand::fill(&mut id).map_err(|_| random())?;
        aws_lc_rs::rand::fill(&mut slot_key).map_err(|_| random())?;
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
        let meta = meta.map_err(|unreadable| ExchangeError::Etcd(unreadable.to_string().into()))?;
        meta.filter(|meta| meta.slots == SLOTS)
            .and_then(|meta| meta.slot_key())
            .ok_or(ExchangeError::NoCluster)
    }

    async fn must_be_empty(&self) -> Result<(), ExchangeError> {
        let any = RangeRequest {
            limit: 1,
            keys_only: true,
            ..RangeRequest::range(self.keys.all_records())
        };
        let outcome = self.without_nodes(vec![RequestOp::read(any)]).await?;
        if outcome.reads().all(<[_]>::is_empty) {
            Ok(())
        } else {
            Err(ExchangeError::NotEmpty)
        }
    }

    /// Removes all records, by slots, so that no transaction is large.
    async fn clear(&self) -> Result<(), ExchangeError> {
        let slots: Vec<u16> = (0..SLOTS).collect();
        for some in slots.chunks(PUTS_PER_BATCH) {
            let ranges = some.iter().map(|slot| self.keys.records(Slot(*slot)));
            let removals = ranges.map(RequestOp::delete_range).collect();
            self.without_nodes(removals).await?;
        }
        Ok(())
    }

    /// Puts batches, some at a time, while no node is registered. `next` gives one, and whether more follow; `done` is
    /// the number of records that are in etcd for certain.
    async fn put_batches(
        self: &Rc<Self>,
        mut next: impl FnMut() -> Result<(Batch, bool), ExchangeError>,
        done: &mut u64,
    ) -> Result<(), ExchangeError> {
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
                *done += ended.map_err(|gone| ExchangeError::Etcd(gone.to_string().into()))??;
            }
        }
        Ok(())
    }

    /// Does this if no node is registered.
    async fn without_nodes(
        &self,
        operations: Vec<RequestOp>,
    ) -> Result<TxnResponse, ExchangeError> {
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
            Err(ExchangeError::Nodes)
        }
    }

    async fn transact(&self, transaction: TxnRequest) -> Result<TxnResponse, ExchangeError> {
        match timeout(CALL, self.lines.txn(transaction)).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(ExchangeError::Etcd(Failure::late().to_string().into())),
        }
    }

    /// Gives the key and value of every record, of one moment.
    async fn each_row(
        &self,
        mut give: impl FnMut(&str, &[u8]) -> Result<(), ExchangeError>,
    ) -> Result<(), ExchangeError> {
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

    /// Rows from `next` up to `last`, and whether there are more; all pages are of the first one's revision.
    async fn page(
        &self,
        next: Vec<u8>,
        last: &str,
        revision: &mut Option<i64>,
    ) -> Result<(Vec<KeyValue>, bool), ExchangeError> {
        let read = RangeRequest {
            limit: PAGE_ROWS,
            revision: revision.unwrap_or_default(),
            ..RangeRequest::range((next, last))
        };
        let page = match timeout(CALL, self.lines.range(read)).await {
            Ok(result) => result?,
            Err(_) => return Err(ExchangeError::Etcd(Failure::late().to_string().into())),
        };
        if revision.is_none() {
            *revision = page.header.map(|header| header.revision);
        }
        Ok((page.kvs, page.more))
    }
}

// Records that are added to those that a cluster has in etcd, while no node runs.

/// Gives every record that the cluster has in etcd, of one moment; none where there is no such cluster.
///
/// # Errors
/// [`ExchangeError`]; what was given is then not all.
pub fn each_record(
    etcd: &Options,
    cluster: &str,
    mut give: impl FnMut(Record),
) -> Result<(), ExchangeError> {
    runtime()?.block_on(async {
        let end = End::connect(etcd, cluster).await?;
        end.each_row(|identity, value| {
            let record = decode(identity, value);
            give(record.map_err(|why| ExchangeError::Record(identity.into(), why))?);
            Ok(())
        })
        .await
    })
}

/// Puts records into etcd that are not there, in batches. A cluster that is not there is founded.
///
/// # Errors
/// [`ExchangeError`], and how many of them are in etcd for certain: the others may be put again.
pub fn add(etcd: &Options, cluster: &str, records: &[Record]) -> Result<(), (u64, ExchangeError)> {
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
            let mut batch = Batch::default();
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

// The epochs of presence of a cluster that gets the channels of a single broker, or gives its own to one.

impl End {
    /// The greatest epoch of presence that the cluster has had.
    pub(crate) async fn presence(&self) -> Result<u64, ExchangeError> {
        let outcome = self.transact(TxnRequest {
            success: vec![RequestOp::read(RangeRequest::range(self.keys.watched()))],
            ..TxnRequest::default()
        });
        let outcome = outcome.await?;
        let epochs = outcome.reads().flatten().filter_map(|row| {
            let bytes = &*row.value;
            match self.keys.parse(&row.key)? {
                Watched::Slot(_) => Some(schema::read::<SlotValue>(bytes).ok()?.presence),
                Watched::Meta => Some(schema::read::<MetaValue>(bytes).ok()?.presence),
                Watched::Registration(_) | Watched::Roster(_) => None,
                Watched::Order(_) | Watched::Report(_) => None,
            }
        });
        Ok(epochs.max().unwrap_or(0))
    }

    /// Epochs of presence exceed this one from now on. No node may run.
    async fn raise_presence(&self, epoch: u64) -> Result<(), ExchangeError> {
        let key = self.keys.meta();
        let read = self.transact(TxnRequest {
            success: vec![RequestOp::read(RangeRequest::key(key.as_str()))],
            ..TxnRequest::default()
        });
        let read = read.await?;
        let row = read.reads().flatten().next();
        let row = row.ok_or(ExchangeError::NoCluster)?;
        let meta: MetaValue = schema::read(&row.value)
            .map_err(|error| ExchangeError::Etcd(format!("the key {key}: {error}").into()))?;
        if meta.presence >= epoch {
            return Ok(());
        }
        let raised = schema::with_number(&row.value, "presence", epoch);
        let raise = TxnRequest {
            compare: vec![Compare::unchanged(key.as_str(), row.mod_revision)],
            success: vec![RequestOp::put(key, raised.ok_or(ExchangeError::NoCluster)?)],
            failure: Vec::new(),
        };
        let outcome = self.transact(raise).await?;
        if outcome.succeeded {
            Ok(())
        } else {
            Err(ExchangeError::Nodes)
        }
    }
}
