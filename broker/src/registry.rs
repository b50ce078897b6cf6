//! Registry on disk, which is opened once; a handle to it for each shard; the catalog that all shards read.

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

/// Reason why the stored records cannot be read. The server then does not start.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(OpenError),
    /// A row of the intact store is not a valid record.
    #[error(
        "the store {file} holds a record that cannot be read, of {key:?}: {error}. It was left as it is"
    )]
    Record {
        /// Path of the store's file.
        file: PathBuf,
        /// Key of the row: region, account and name of the channel.
        key: Box<str>,
        /// The error in the record.
        error: RecordError,
    },
}

/// Opens the store in an existing directory and passes every record in it to `give`, sorted by region, account and
/// name.
///
/// Takes time proportional to the number of records. After an error, records that were already passed must not be used.
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

/// Handle of a shard to the store. The store's thread reports the result of each change with its [`Ticket`].
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
            Err((refused, _)) => Err(not_taken(refused)),
        }
    }
}

/// Catalog that all shards share. Each step locks it only for its own duration.
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

fn not_taken(refused: Refused) -> StoreError {
    match refused {
        Refused::Busy => StoreError::Busy,
        Refused::TooLarge | Refused::Closed => StoreError::Failed(refused.to_string().into()),
    }
}

/// Returns the result that a shard gets for a change that could not be made durable.
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
        contract::records_outlive_the_store_that_took_them(&mut OnDisk::new("outlive"));
    }

    #[test]
    fn changes_of_a_name_are_made_in_order() {
        contract::changes_of_a_name_are_made_in_order(&mut OnDisk::new("order"));
    }

    #[test]
    fn a_row_that_is_no_record_is_refused_by_its_key() {
        let dir = Dir::new("refused");
        let store = store::Store::open(&dir.0).unwrap();
        let writer = store.start(|_| {}, || {}).unwrap();
        let (key, value) = ("eu-1:1:channel/x".into(), Some([9, 9].into()));
        let change = store::Change {
            ticket: (),
            key,
            value,
        };
        writer.committer().submit(change).unwrap();
        writer.close();
        let error = open(&dir.0, |_| {}).unwrap_err();
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

    /// The store on a disk.
    struct OnDisk {
        dir: Dir,
        writer: Option<Writer<Ticket>>,
    }

    impl OnDisk {
        fn new(name: &str) -> Self {
            Self {
                dir: Dir::new(name),
                writer: None,
            }
        }
    }

    impl Place for OnDisk {
        type End = DurableStore;

        fn open(&mut self) -> (Open<DurableStore>, Vec<String>) {
            let mut found = Vec::new();
            let give = |record: Record| found.push(record.arn.identity().to_owned());
            let store = open(&self.dir.0, give).unwrap();
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

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("registry-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
