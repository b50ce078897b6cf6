//! Loads of slots: the rows of etcd as records, and loads that brought rows which are none.

use crate::limits::NOTE_EVERY;
use crate::names::shown;
use crate::rpc::generated::KeyValue;
use broker_core::cluster::message::Held;
use broker_core::cluster::types::Slot;
use broker_core::record::Record;
use broker_core::registry::decode;
use std::collections::HashMap;
use tokio::time::Instant;
use tracing::error;

/// Loads that brought rows which cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// The number of such rows of each, and the line of the log about the first.
    spoilt: HashMap<Held, (u64, String)>,
    /// The time of the last line of the log about such a slot.
    noted: HashMap<Slot, Instant>,
}

impl Loads {
    /// The records of a page, whose keys begin with `prefix`. Rows that cannot be read spoil the load.
    pub(crate) fn page(&mut self, held: Held, prefix: &str, rows: &[KeyValue]) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row.key.strip_prefix(prefix.as_bytes());
            let key = key.unwrap_or_default();
            let key = String::from_utf8_lossy(key);
            match decode(&key, &row.value) {
                Ok(record) => records.push(record),
                Err(why) => {
                    let first = || (0, format!("{}: {why}", shown(&key)));
                    let (count, _) = self.spoilt.entry(held).or_insert_with(first);
                    *count += 1;
                }
            }
        }
        records
    }

    /// A load ends. Returns whether rows spoilt it. The load is tried again, so the log has a line now and then.
    pub(crate) fn is_spoilt(&mut self, held: Held) -> bool {
        let Some((count, first)) = self.spoilt.remove(&held) else {
            return false;
        };
        let (slot, now) = (held.slot, Instant::now());
        let noted = self.noted.get(&slot);
        if noted.is_none_or(|at| now.duration_since(*at) >= NOTE_EVERY) {
            self.noted.insert(slot, now);
            error!(
                "slot {:03x} is not served, since etcd has {count} records in it that cannot be read, the first of \
                 {first}",
                slot.0
            );
        }
        true
    }
}
