//! The connection for records: loads of slots.

use super::{Event as NodeEvent, Node, Which, reporter};
use crate::failure::Failure;
use crate::link::Link;
use crate::load::{self, Part};
use crate::order::Service;
use crate::peers::Peers;
use broker_core::cluster::message::{Held, Input};
use broker_core::record::Record;
use broker_core::registry::decode;
use etcd_client::KeyValue;
use tokio::time::Instant;
use tracing::error;

/// What happens on the connection.
#[derive(Debug)]
pub(super) enum Event {
    Part(u32, Held, Part),
}

/// The connection, and what runs on it.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) link: Link,
    /// Loads that brought what cannot be used.
    spoilt: Vec<Held>,
}

impl Records {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            spoilt: Vec::new(),
        }
    }
}

impl<S: Service, P: Peers> Node<S, P> {
    /// Reads the records of a slot.
    pub(super) fn load(&mut self, held: Held) {
        let Some((generation, lines)) = self.records.link.up() else {
            return self.delayed.push(Input::Loaded { held, whole: false });
        };
        let lines = lines.clone();
        let range = self.translator.keys.records(held.slot);
        let report = reporter(&self.events, move |part| {
            NodeEvent::Records(Event::Part(generation, held, part))
        });
        tokio::task::spawn_local(load::load(lines, range, report));
    }

    pub(super) fn records_event(&mut self, event: Event) {
        let Event::Part(generation, held, part) = event;
        match part {
            Part::Rows(rows) => self.rows(held, &rows),
            Part::Whole(revision) => {
                self.records.link.works(generation);
                let is_spoilt = self.spoils(held);
                let whole = !is_spoilt && revision >= held.epoch;
                let loaded = Input::Loaded { held, whole };
                if whole {
                    self.inputs.push_back(loaded);
                } else {
                    self.delayed.push(loaded);
                }
            }
            Part::Failed(failure) => {
                self.spoils(held);
                self.delayed.push(Input::Loaded { held, whole: false });
                self.records_failed(generation, &failure);
            }
        }
    }

    fn rows(&mut self, held: Held, rows: &[KeyValue]) {
        let (prefix, _) = self.translator.keys.records(held.slot);
        let mut records: Vec<Record> = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row
                .key()
                .strip_prefix(prefix.as_bytes())
                .unwrap_or_default();
            let key = String::from_utf8_lossy(key);
            match decode(&key, row.value()) {
                Ok(record) => records.push(record),
                Err(why) => {
                    error!("etcd holds a record that cannot be read, of {key:?}: {why}");
                    if !self.records.spoilt.contains(&held) {
                        self.records.spoilt.push(held);
                    }
                }
            }
        }
        self.service.records(held, records);
    }

    /// Whether a load that ends brought what cannot be used.
    fn spoils(&mut self, held: Held) -> bool {
        let before = self.records.spoilt.len();
        self.records.spoilt.retain(|spoilt| *spoilt != held);
        self.records.spoilt.len() < before
    }

    /// The connection is given up, unless it was given up already.
    pub(super) fn records_failed(&mut self, generation: u32, failure: &Failure) {
        let endpoint = self.records.link.endpoint().to_owned();
        if let Failure::Refused(_) = failure {
            return self.control.trouble(&failure.to_string());
        }
        if self.records.link.failed(generation, Instant::now()) {
            self.control.trouble(&format!("{endpoint}: {failure}"));
            self.connect(Which::Records);
        }
    }
}
