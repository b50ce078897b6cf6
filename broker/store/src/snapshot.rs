//! Snapshots: consistent views of the map that can be read while changes continue.
//!
//! The engine keeps a snapshot's pages as long as it exists, so every change in the meantime makes the file grow. After
//! a failed commit, the engine is reopened and may reuse those pages. A [`SnapshotGate`] therefore ends all earlier
//! snapshots. Instead of further rows, their readers receive an error that says that the copy is incomplete.

#![expect(
    clippy::disallowed_types,
    reason = "the store's thread and a reader meet at the gate, once a snapshot's end and once a batch of rows"
)]

use crate::disk::ROWS;
use redb::{Database, Range, ReadableDatabase};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// A consistent view of the map. Keeps one path of pages in memory and does not block commits.
pub struct Snapshot {
    rows: Range<'static, &'static str, &'static [u8]>,
    gate: Arc<SnapshotGate>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Snapshot")
    }
}

/// Why no snapshot could be taken, or why a snapshot ended.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The store was closed, or a commit has failed since the snapshot was taken, so further rows may contradict
    /// earlier ones.
    #[error("the store was closed or failed in the meantime: try again")]
    Ended,
    /// The store cannot be read, because its disk is full or failed.
    #[error("the store's disk is full or has failed")]
    Closed,
    /// The engine could not read its file.
    #[error("the store cannot be read: {0}")]
    Engine(redb::Error),
}

#[derive(Debug, Default)]
pub(crate) struct SnapshotGate {
    shut: Mutex<bool>,
}

impl SnapshotGate {
    /// Ends all snapshots once the current batch of rows has been read.
    pub(crate) fn shut(&self) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Snapshot {
    pub(crate) fn of(database: &Database, gate: &Arc<SnapshotGate>) -> Result<Self, SnapshotError> {
        let range = || -> Result<_, redb::Error> {
            let table = database.begin_read()?.open_table(ROWS)?;
            Ok(table.range::<&str>(..)?)
        };
        Ok(Self {
            rows: range().map_err(SnapshotError::Engine)?,
            gate: Arc::clone(gate),
        })
    }

    /// Passes the next rows to `row`, sorted by key bytes, until it returns `false` or no rows are left. Returns `true`
    /// if there may be more rows. `row` must be quick, because a store that fails or closes waits for it. After an
    /// error, the copy is incomplete.
    pub fn read(
        &mut self,
        mut row: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<bool, SnapshotError> {
        // Held while rows are read, so that closing the gate waits for readers.
        let shut = self.gate.shut.lock();
        let shut = shut.unwrap_or_else(PoisonError::into_inner);
        if *shut {
            return Err(SnapshotError::Ended);
        }
        for entry in self.rows.by_ref() {
            let (key, value) = entry.map_err(|error| SnapshotError::Engine(error.into()))?;
            if !row(key.value(), value.value()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
