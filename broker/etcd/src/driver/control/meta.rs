//! The meta key: what never changes in the life of a cluster, and the lowest inner version of its nodes. Nothing else
//! is asked of etcd until it is known.
//!
//! The first node writes it. A node that has seen etcd before never does: where the key is absent then, or is another
//! cluster's, etcd has another history.

use super::Told;
use crate::client::calls::{self, Ask};
use crate::directory::Kept;
use crate::driver::{Event, Node, now, random};
use crate::order::Service;
use crate::peers::Peers;
use crate::rpc::{Compare, RangeRequest, RequestOp, TxnRequest};
use crate::schema::translate;
use crate::schema::values::{self, MetaValue};
use broker_core::cluster::Cluster;
use broker_core::cluster::limits::SLOTS;

/// What is known of the key.
#[derive(Debug)]
pub(in crate::driver) struct Meta {
    /// The id of the cluster that the data directory knows.
    expected: Option<Box<str>>,
    /// The directory has seen etcd before.
    is_known: bool,
    found: Option<MetaValue>,
    is_asked: bool,
}

impl Meta {
    pub(in crate::driver) fn new(kept: &Kept) -> Self {
        Self {
            expected: kept.cluster.clone(),
            is_known: kept.cluster.is_some() || kept.memory().newest.0 > 0,
            found: None,
            is_asked: false,
        }
    }

    /// The cluster's id, as far as it is known.
    pub(in crate::driver) fn id(&self) -> Option<Box<str>> {
        let found = self.found.as_ref().map(|meta| meta.id.clone());
        found.or_else(|| self.expected.clone())
    }

    /// Whether etcd may be asked for more.
    pub(in crate::driver) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    pub(in crate::driver) fn slot_key(&self) -> Option<[u8; 16]> {
        self.found.as_ref().and_then(MetaValue::slot_key)
    }
}

impl<S: Service, P: Peers> Node<S, P> {
    /// Reads the key, or writes it if it is absent and this node may.
    pub(in crate::driver) fn ask_meta(&mut self) {
        if self.meta.is_found() || self.meta.is_asked || self.cluster.memory().other_history {
            return;
        }
        let Some((generation, lines)) = self.control.link.up() else {
            return;
        };
        let lines = lines.clone();
        let key = self.translator.keys.meta();
        let read = RequestOp::read(RangeRequest::key(key.as_str()));
        let mut write = Vec::new();
        if !self.meta.is_known {
            let (Ok(id), Ok(slot_key)) = (random(), random()) else {
                return;
            };
            let proposal = MetaValue::new(id, SLOTS, slot_key);
            write.push(RequestOp::put(key.as_str(), values::write(&proposal)));
        }
        write.push(read.clone());
        let transaction = TxnRequest {
            compare: vec![Compare::absent(key)],
            success: write,
            failure: vec![read],
        };
        self.meta.is_asked = true;
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let told = calls::ask(lines, Ask::Transaction(transaction)).await;
            let _ = events.send(Event::Meta(generation, told)).await;
        });
    }

    pub(in crate::driver) fn meta_told(&mut self, generation: u32, told: Told) {
        self.meta.is_asked = false;
        let outcome = match told {
            Ok(calls::Told::Outcome(outcome)) => outcome,
            Ok(_) => return,
            Err(failure) => return self.control_failed(generation, &failure),
        };
        self.control.link.works(generation);
        let rows = outcome.reads().next().unwrap_or_default();
        let found = match translate::meta(&self.translator.keys, rows) {
            Ok(found) => found,
            Err(unreadable) => return self.control.trouble.begins(&unreadable.to_string()),
        };
        let is_expected = match (&self.meta.expected, &found) {
            (Some(expected), Some(found)) => found.id == *expected,
            (_, None) => false,
            (None, Some(_)) => true,
        };
        let Some(found) = found.filter(|_| is_expected) else {
            return self.is_another_cluster();
        };
        if found.slots != SLOTS || found.slot_key().is_none() {
            let why = format!(
                "the key {} of etcd: it is of {} slots, and this version has {SLOTS}: use the version that wrote it",
                self.translator.keys.meta(),
                found.slots
            );
            return self.control.trouble.begins(&why);
        }
        self.translator.lowest = self.translator.lowest.max(found.lowest);
        self.translator.cluster = Some(found.id.clone());
        self.meta.found = Some(found);
    }

    /// As if etcd showed a lower revision. The node has neither registered nor served so far: its core is made again.
    fn is_another_cluster(&mut self) {
        let mut memory = self.cluster.memory();
        memory.other_history = true;
        self.settings.memory = memory;
        self.cluster = Cluster::new(&self.settings, now());
        self.control.trouble.begins(OTHER);
    }
}

const OTHER: &str = "this etcd was emptied, or has another cluster of the same name than this node's data directory: \
                     check [cluster] etcd and name, or restore etcd";
