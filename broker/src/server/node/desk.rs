//! Between the node's thread and the shards: orders about slots on their way to each shard, and what shards report of
//! them. Locks are held for moments, and no message of a client passes here.

use crate::edge::Post;
use crate::server::mailboxes::post;
use crate::server::node::inquiry::Event;
use crate::server::node::journal::Journal;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::message::{Held, Parcel, ParcelSent, SlotOrder};
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::cluster::types::{Epoch, NodeId, ParcelId};
use broker_core::id::{CallRef, ShardId, Slot};
use broker_core::limits::PARCEL_BYTES_MAX;
use broker_core::shard::{Letter, NodesAnswer, PageQuestion, Shard, ShardOrder, SlotOrders};
use broker_etcd::{Name, ParcelSender};
use crossbeam_channel::Sender;
use mailbox::Mailbox;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

#[expect(
    clippy::disallowed_types,
    reason = "held for moments, a few times for each slot that moves: no message waits for it"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Those of all shards.
pub(crate) type Mailboxes = Arc<[Mailbox<Post<Shard>>]>;

/// One per process.
pub(crate) struct Desk {
    map: Arc<SlotMap>,
    mailboxes: Mailboxes,
    queues: Box<[Mutex<Queue>]>,
    own: Mutex<Own>,
    pub(crate) journal: Journal,
    /// The sender of parcels; set once the node runs.
    pub(crate) parcels: OnceLock<ParcelSender>,
    /// Questions to all nodes, for the thread that asks them.
    inquiries: Sender<Event>,
}

/// Orders for one shard, of each slot of this node a few at most; and answers to its calls' questions to all nodes.
#[derive(Default)]
struct Queue {
    orders: VecDeque<ShardOrder>,
    answers: VecDeque<NodesAnswer>,
    /// A letter that says so, or that the map has changed, is under way, or the shard takes them one by one.
    is_told: bool,
}

/// The slots of this node, as its shards have them.
struct Own {
    slots: Vec<Serving>,
    /// Messages that shards pack, by slot: those of a newer parcel take the place of older ones.
    packing: HashMap<Slot, Packing>,
}

/// The shards' progress with a slot.
#[derive(Clone, Copy)]
enum Serving {
    /// Nobody is admitted.
    Not,
    /// This many shards have not taken their channels in.
    Begins(Epoch, usize),
    /// All have: the map says that the slot is here.
    All,
}

/// The messages of one slot.
struct Packing {
    parcel: ParcelId,
    /// Shards whose part has not come.
    missing: usize,
    bytes: Vec<u8>,
    to: Option<(Name, Parcel)>,
}

impl Desk {
    pub(crate) fn new(
        (map, mailboxes): (Arc<SlotMap>, Mailboxes),
        inquiries: Sender<Event>,
        journal: Journal,
    ) -> Self {
        Self {
            map,
            queues: mailboxes.iter().map(|_| Mutex::default()).collect(),
            mailboxes,
            own: Mutex::new(Own {
                slots: vec![Serving::Not; SLOTS.into()],
                packing: HashMap::new(),
            }),
            journal,
            parcels: OnceLock::new(),
            inquiries,
        }
    }

    /// The number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.queues.len()
    }

    /// An order for one shard.
    pub(crate) fn order(&self, shard: usize, order: ShardOrder) {
        self.put(shard, |queue| queue.orders.push_back(order));
    }

    /// The same for each, with the messages of a parcel if it names one.
    pub(crate) fn order_all(&self, order: SlotOrder, messages: Option<&Arc<[u8]>>) {
        for shard in 0..self.shards() {
            let messages = messages.cloned();
            let order = ShardOrder {
                messages,
                ..order.into()
            };
            self.order(shard, order);
        }
    }

    /// The answer of all nodes together to a call's question.
    pub(crate) fn answer(&self, (caller, answer): NodesAnswer) {
        self.put(caller.shard.index(), |queue| {
            queue.answers.push_back((caller, answer));
        });
    }

    /// Has every shard look at the map: tunnels may have lost their owners.
    fn wake_shards(&self) {
        for shard in 0..self.shards() {
            self.put(shard, |_| ());
        }
    }

    fn put(&self, shard: usize, put: impl FnOnce(&mut Queue)) {
        let Some(queue) = self.queues.get(shard) else {
            return;
        };
        let mut queue = lock(queue);
        put(&mut queue);
        if !std::mem::replace(&mut queue.is_told, true) {
            drop(queue);
            post(&self.mailboxes, shard, Post::Letter(Letter::Slots));
        }
    }

    /// The shards are about to take in a slot's channels, or to serve it on.
    pub(crate) fn begins(&self, held: Held) {
        let shards = self.shards();
        let mut own = self.own();
        own.packing.remove(&held.slot);
        own.set(held.slot, Serving::Begins(held.epoch, shards));
    }

    /// Nobody is admitted to a slot from here on.
    pub(crate) fn ends(&self, slot: Slot) {
        let mut own = self.own();
        own.set(slot, Serving::Not);
        self.map.assign(slot, None);
        self.journal.stops(slot);
    }

    /// The shards are about to pack a slot's messages as this parcel.
    pub(crate) fn packs(&self, slot: Slot, parcel: ParcelId) {
        let missing = self.shards();
        let (bytes, to) = (Vec::new(), None);
        let packing = Packing {
            parcel,
            missing,
            bytes,
            to,
        };
        self.own().packing.insert(slot, packing);
    }

    /// A parcel is not wanted any more.
    pub(crate) fn forgets_packing(&self, slot: Slot) {
        self.own().packing.remove(&slot);
    }

    /// A parcel goes to this node, as soon as it is packed.
    pub(crate) fn sends(&self, to: Name, parcel: Parcel) {
        let mut own = self.own();
        if let Some(packing) = own.packing.get_mut(&parcel.slot)
            && packing.parcel == parcel.id
        {
            packing.to = Some((to, parcel));
            self.send_if_packed(&mut own, parcel.slot);
        }
    }

    /// A slot has this owner: what this node serves itself is known better from its shards.
    pub(crate) fn owned_by(&self, slot: Slot, owner: Option<NodeId>, is_given: bool) {
        let own = self.own();
        let is_served = matches!(own.slots.get(slot.index()), Some(Serving::All));
        self.map.set_given(slot, is_given);
        if owner != Some(self.map.own()) {
            self.map.assign(slot, owner);
            drop(own);
            self.wake_shards();
        } else if !is_served {
            self.map.assign(slot, None);
        }
    }

    fn send_if_packed(&self, own: &mut Own, slot: Slot) {
        let is_packed = |packing: &Packing| packing.missing == 0 && packing.to.is_some();
        if !own.packing.get(&slot).is_some_and(is_packed) {
            return;
        }
        let Some(Packing { bytes, to, .. }) = own.packing.remove(&slot) else {
            return;
        };
        let (Some((to, parcel)), Some(parcels)) = (to, self.parcels.get()) else {
            return;
        };
        // A node that lost thousands of slots at once would send more parcels than wait for the cluster's thread.
        if bytes.is_empty() && parcel.sent == ParcelSent::Late {
            return;
        }
        if !parcels.send(to, parcel, bytes) {
            tracing::warn!(
                slot = slot.0,
                "kept messages of a slot could not be sent: too much waits for the node"
            );
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        lock(&self.own)
    }
}

impl Own {
    fn set(&mut self, slot: Slot, serving: Serving) {
        if let Some(place) = self.slots.get_mut(slot.index()) {
            *place = serving;
        }
    }
}

/// One shard's end.
pub(crate) struct End {
    pub(crate) desk: Arc<Desk>,
    pub(crate) shard: ShardId,
}

impl SlotOrders for End {
    fn next(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>) {
        let Some(queue) = self.desk.queues.get(self.shard.index()) else {
            return (None, None);
        };
        let mut queue = lock(queue);
        let (order, answer) = (queue.orders.pop_front(), queue.answers.pop_front());
        queue.is_told = order.is_some() || answer.is_some();
        (order, answer)
    }

    fn served(&mut self, held: Held) {
        let mut own = self.desk.own();
        let Some(Serving::Begins(epoch, missing)) = own.slots.get(held.slot.index()).copied()
        else {
            return;
        };
        if epoch != held.epoch {
            return;
        }
        if missing > 1 {
            return own.set(held.slot, Serving::Begins(epoch, missing - 1));
        }
        own.set(held.slot, Serving::All);
        self.desk.journal.serves(held);
        self.desk.map.assign(held.slot, Some(self.desk.map.own()));
        drop(own);
        self.desk.wake_shards();
    }

    fn admitted(&mut self, held: Held) {
        self.desk.journal.admits(held);
    }

    fn packed(&mut self, held: Held, parcel: ParcelId, mut messages: Vec<u8>) {
        let mut own = self.desk.own();
        if let Some(packing) = own.packing.get_mut(&held.slot)
            && packing.parcel == parcel
            && packing.missing > 0
        {
            packing.missing -= 1;
            if packing.bytes.len() + messages.len() <= PARCEL_BYTES_MAX {
                packing.bytes.append(&mut messages);
            }
            self.desk.send_if_packed(&mut own, held.slot);
        }
    }

    fn list(&mut self, caller: CallRef, question: PageQuestion) -> bool {
        let event = Event::List(caller, question);
        self.desk.inquiries.try_send(event).is_ok()
    }

    fn count(&mut self, caller: CallRef, tenant: &str) -> bool {
        let event = Event::Count(caller, tenant.into());
        self.desk.inquiries.try_send(event).is_ok()
    }
}

/// Nobody panics while holding one of these, and what is in them is whole at all times.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
