//! The on-disk registry. Also contains each shard's handle to the registry, and the catalog that all shards read.

#[cfg(test)]
#[path = "../tests/contract/store.rs"]
mod contract;

use broker_core::catalog::{Catalog, SharedCatalog};
use broker_core::id::{ChannelKey, ShardId};
use broker_core::record::Record;
pub use broker_core::registry::Ticket;
use broker_core::registry::{
    Change, ENCODED_BYTES_MAX, RecordError, Store, StoreError, Submitted, decode, encode, key,
};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use store::{CommitError, Committer, OpenError, Refused};
use thiserror::Error;

/// Why the stored records cannot be read. The server does not start in this case.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(OpenError),
    /// The store is intact, but one of its rows is not a valid record.
    #[error(
        "the store {file} holds a record that cannot be read, of {key:?}: {error}. It was left as it is"
    )]
    Record {
        /// Path of the store file.
        file: PathBuf,
        /// The row's key: the channel's region, account and name.
        key: Box<str>,
        /// What is wrong with the record.
        error: RecordError,
    },
}

/// Opens the store in an existing directory and passes every record in it to `give`, sorted by region, account and
/// name.
///
/// Takes time proportional to the number of records. After an error, the records passed so far must not be used.
///
/// # Errors
/// Returns the reason why the records cannot be read; see [`RegistryError`].
pub fn open(dir: &Path, mut give: impl FnMut(Record)) -> Result<store::Store, RegistryError> {
    let store = store::Store::open(dir).map_err(RegistryError::Store)?;
    let mut refused = None;
    let row = |key: &str, bytes: &[u8]| match decode(key, bytes) {
        Ok(record) => give(record),
        Err(error) => {
            refused.get_or_insert_with(|| (key.into(), error));
        }
    };
    store.load(row).map_err(RegistryError::Store)?;
    match refused {
        None => Ok(store),
        Some((key, error)) => Err(RegistryError::Record {
            file: store.file().into(),
            key,
            error,
        }),
    }
}

/// A shard's handle to the store. The store's thread reports each change's result along with the change's [`Ticket`].
#[derive(Debug)]
pub struct DurableStore {
    shard: ShardId,
    committer: Committer<Ticket>,
}

impl DurableStore {
    /// Creates a shard's handle.
    #[must_use]
    pub fn new(shard: ShardId, committer: Committer<Ticket>) -> Self {
        Self { shard, committer }
    }
}

impl Store for DurableStore {
    fn submit(&mut self, of: ChannelKey, change: Change<'_>) -> Result<Submitted, StoreError> {
        let (arn, value) = match change {
            Change::Put(record) => (&record.arn, Some(encode(record))),
            Change::Remove(arn) => (arn, None),
        };
        let change = store::Change {
            ticket: Ticket {
                shard: self.shard,
                channel: of,
            },
            key: key(arn).into(),
            value,
        };
        match self.committer.submit(change) {
            Ok(()) => Ok(Submitted::Later),
            Err((Refused::Busy, _)) => Err(StoreError::Busy),
            Err((refused @ (Refused::TooLarge | Refused::Closed), _)) => {
                Err(StoreError::Failed(refused.to_string().into()))
            }
        }
    }
}

/// The catalog shared by all shards. A shard locks it only while it executes a single step.
#[derive(Debug, Default)]
pub struct ProcessCatalog(Mutex<Catalog>);

impl SharedCatalog for ProcessCatalog {
    fn with(&self, step: &mut dyn FnMut(&mut Catalog)) {
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "held for microseconds, by calls and changes: no message waits for it"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Returns the error that a shard receives for a change that could not be made durable.
#[must_use]
pub fn not_kept(error: &CommitError) -> StoreError {
    StoreError::Failed(error.to_string().into())
}

const _: () = assert!(ENCODED_BYTES_MAX <= store::limits::VALUE_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::contract::{self, Open, Place};
    use std::sync::mpsc;
    use store::Writer;

    #[test]
    fn records_outlive_the_store_that_took_them() {
        contract::records_outlive_the_store_that_took_them(&mut OnDisk::new());
    }

    #[test]
    fn changes_of_a_name_are_made_in_order() {
        contract::changes_of_a_name_are_made_in_order(&mut OnDisk::new());
    }

    #[test]
    fn a_row_that_is_no_record_is_refused_by_its_key() {
        let dir = testkit::Directory::temporary();
        let store = store::Store::open(&dir).unwrap();
        let writer = store.start(|_| {}, || {}).unwrap();
        let (key, value) = ("eu-1:1:channel/x".into(), Some([9, 9].into()));
        let change = store::Change {
            ticket: (),
            key,
            value,
        };
        writer.committer().submit(change).unwrap();
        writer.close();
        let error = open(&dir, |_| {}).unwrap_err();
        assert!(
            matches!(
                error,
                RegistryError::Record {
                    error: RecordError::Format(9),
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("eu-1:1:channel/x"), "{error}");
    }

    /// A store on disk.
    struct OnDisk {
        dir: testkit::Directory,
        writer: Option<Writer<Ticket>>,
    }

    impl OnDisk {
        fn new() -> Self {
            Self {
                dir: testkit::Directory::temporary(),
                writer: None,
            }
        }
    }

    impl Place for OnDisk {
        type End = DurableStore;

        fn open(&mut self) -> (Open<DurableStore>, Vec<String>) {
            let mut found = Vec::new();
            let give = |record: Record| found.push(record.arn.identity().to_owned());
            let store = open(&self.dir, give).unwrap();
            let (tell, results) = mpsc::channel();
            let on_done = move |done: store::Done<Ticket>| {
                let result = done.result.map_err(|error| not_kept(&error));
                let _ = tell.send((done.ticket, result));
            };
            let writer = store.start(on_done, || {}).unwrap();
            let shards = [2, 5].map(ShardId);
            let shards = shards.map(|shard| (shard, DurableStore::new(shard, writer.committer())));
            self.writer = Some(writer);
            (Open { shards, results }, found)
        }

        fn close(&mut self) {
            self.writer.take().expect("it is open").close();
        }
    }
}
