//! Hands the orders of the node's thread to the shards, and puts what it learns where they read it.

use crate::edge::clock::shards_now;
use crate::edge::{Links, Post};
use crate::server::mailboxes::post;
use crate::server::node::desk::Desk;
use crate::server::node::inquiry::Event;
use crate::server::node::journal::boottime;
use crate::side::InForce;
use broker_core::cluster::message::{Cause, Ending, Held, Parcel, SlotOrder};
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::cluster::types::ParcelId;
use broker_core::id::{Identity, Slot};
use broker_core::limits::KEPT_PARCEL_BYTES_MAX;
use broker_core::placement::Placement;
use broker_core::readiness::Readiness;
use broker_core::record::Record;
use broker_core::registry::{StoreError, Ticket};
use broker_core::shard::{Letter, Shard, ShardOrder};
use broker_core::time::Now;
use broker_etcd::{Name, News, Service};
use crossbeam_channel::Sender;
use mailbox::Mailbox;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A report of the node to the main thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeNews {
    /// An operator wants the process to end in order.
    Drain,
    /// It has ended, because of these other nodes if there are any.
    Ended(Ending, Vec<String>),
}

/// The shards, as the node's thread sees them.
pub(crate) struct Shards {
    pub(crate) desk: Arc<Desk>,
    pub(crate) map: Arc<SlotMap>,
    pub(crate) links: Arc<Links>,
    pub(crate) placement: Placement,
    pub(crate) mailboxes: Arc<[Mailbox<Post<Shard>>]>,
    pub(crate) report: Sender<NodeNews>,
    /// Messages that wait for peers.
    pub(crate) waiting: Arc<AtomicU64>,
    /// The credentials in force, once they are known.
    pub(crate) in_force: Arc<OnceLock<InForce>>,
    /// The state of the store, as shards read it.
    pub(crate) readiness: Readiness,
    /// Records of slots that are loaded, by shard: of as many slots as are loaded at a time.
    pub(crate) loading: HashMap<Slot, (Held, Vec<Vec<Record>>)>,
    /// Messages of parcels that may be used.
    pub(crate) kept: HashMap<ParcelId, Arc<[u8]>>,
    pub(crate) kept_bytes: usize,
    /// Inquiries and replies of other nodes, for the thread that handles them.
    pub(crate) inquiries: Sender<Event>,
}

impl Service for Shards {
    /// The records and the messages that an order names are kept here, and go along to the shards.
    fn order(&mut self, order: SlotOrder) {
        match order {
            SlotOrder::Serve(held, parcel, presence) => self.serve(held, parcel, presence),
            SlotOrder::Merge(_, parcel) => {
                if let Some(messages) = self.take_kept(parcel) {
                    self.desk.order_all(order, Some(&messages));
                }
            }
            SlotOrder::Pause(held, parcel) => {
                self.desk.ends(held.slot);
                self.desk.packs(held.slot, parcel);
                self.desk.order_all(order, None);
            }
            SlotOrder::Resume(held, _) => {
                self.desk.begins(held);
                self.desk.order_all(order, None);
            }
            SlotOrder::Release(held, cause) => self.release(held, cause),
            SlotOrder::CloseAll => self.desk.order_all(order, None),
        }
    }

    fn load(&mut self, held: Held) {
        self.desk.journal.owns(held);
        let shards = vec![Vec::new(); self.desk.shards()];
        self.loading.insert(held.slot, (held, shards));
    }

    fn records(&mut self, held: Held, records: Vec<Record>) {
        let Some((_, shards)) = (self.loading.get_mut(&held.slot)).filter(|(of, _)| *of == held)
        else {
            return;
        };
        for record in records {
            let home = self.placement.shard(&Identity::of(&record.arn));
            if let Some(records) = shards.get_mut(home.index()) {
                records.push(record);
            }
        }
    }

    fn keep(&mut self, parcel: ParcelId, messages: Vec<u8>) -> bool {
        let former = self.take_kept(parcel);
        drop(former);
        if self.kept_bytes + messages.len() > KEPT_PARCEL_BYTES_MAX {
            return false;
        }
        self.kept_bytes += messages.len();
        self.kept.insert(parcel, messages.into());
        true
    }

    fn discard(&mut self, parcel: ParcelId) {
        drop(self.take_kept(parcel));
    }

    fn send(&mut self, to: Name, parcel: Parcel) {
        self.desk.sends(to, parcel);
    }

    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>) {
        let Ticket { shard, channel } = ticket;
        let letter = Post::Letter(Letter::Committed(channel, result));
        post(&self.mailboxes, shard.index(), letter);
    }

    fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    fn credentials(&self) -> Option<[u8; 32]> {
        self.in_force.get()?.borrow().files()
    }

    fn learn(&mut self, news: News) {
        match news {
            News::SlotKey(key) => self.map.set_key(&key),
            News::Node {
                node,
                name,
                hosts,
                ports,
            } => {
                self.map.name_node(node, name.as_str().into());
                self.links.put(node, name.as_str(), &hosts, &ports);
            }
            News::Owner {
                slot,
                owner,
                is_given,
            } => self.desk.owned_by(slot, owner, is_given),
            News::Registered(nodes) => self.map.set_nodes(nodes),
            News::KnowsAbsence(knows) => self.map.set_knows_absence(knows),
            News::NearlyFull(full) => self.readiness.set_store_nearly_full(full),
            News::ValidUntil(until) => {
                self.desk.journal.valid(until);
                self.map.set_valid_until(as_shards_count(until));
            }
        }
    }

    // An item that finds no room is lost, and asked for again.
    fn inquired(&mut self, from: Name, number: u64, inquiry: Vec<u8>) {
        let _ = self
            .inquiries
            .try_send(Event::Inquired(from, number, inquiry));
    }

    fn replied(&mut self, from: Name, number: u64, reply: Vec<u8>) {
        let _ = self.inquiries.try_send(Event::Replied(from, number, reply));
    }

    // Nobody takes the reports of a process that is past its end.
    fn drain(&mut self) {
        let _ = self.report.send(NodeNews::Drain);
    }

    fn exit(&mut self, ending: Ending, others: Vec<String>) {
        let _ = self.report.send(NodeNews::Ended(ending, others));
    }
}

impl Shards {
    fn serve(&mut self, held: Held, parcel: Option<ParcelId>, presence: u64) {
        let messages = parcel.and_then(|parcel| self.take_kept(parcel));
        let loaded = self.loading.remove(&held.slot);
        let Some((_, shards)) = loaded.filter(|(of, _)| *of == held) else {
            return tracing::error!(
                slot = held.slot.0,
                "a slot without its records is not served"
            );
        };
        self.map.set_presence(held.slot, presence);
        self.desk.begins(held);
        for (shard, records) in shards.into_iter().enumerate() {
            let order = ShardOrder {
                order: SlotOrder::Serve(held, parcel, presence),
                records,
                messages: messages.clone(),
            };
            self.desk.order(shard, order);
        }
    }

    fn release(&mut self, held: Held, cause: Cause) {
        self.loading.remove(&held.slot);
        match cause {
            // The process ends, and drains as a single node does: clients are served until then.
            Cause::Ends => return,
            Cause::Superseded(Some(parcel)) => self.desk.packs(held.slot, parcel),
            Cause::Transferred | Cause::Superseded(None) | Cause::NotLoaded => {
                self.desk.forgets_packing(held.slot);
            }
        }
        self.map.set_presence(held.slot, 0);
        self.desk.ends(held.slot);
        self.desk.order_all(SlotOrder::Release(held, cause), None);
    }

    fn take_kept(&mut self, parcel: ParcelId) -> Option<Arc<[u8]>> {
        let messages = self.kept.remove(&parcel)?;
        self.kept_bytes -= messages.len();
        Some(messages)
    }
}

/// A moment of the node's clock, which goes on while the machine sleeps, by the clock of the shards, which does not.
///
/// A moment that has passed becomes 0, not the present: a turn that goes on may have begun before the present.
///
/// The clock of the shards is read first: a pause between the two makes the result earlier, never later.
fn as_shards_count(until: Now) -> Now {
    let shards = shards_now();
    match until.since(boottime()) {
        0 => Now(0),
        left_ms => shards.after(left_ms),
    }
}
