//! The interface between the node's thread and the shards. The thread sends orders to start or stop serving slots, and
//! the shards report back. Locks are held only briefly. Client messages do not use this interface.

use crate::edge::turn::shards_now;
use crate::edge::{Links, Post};
use crate::failure::{Failure, Fallible};
use crate::server::cluster::inquiries::Event;
use crate::server::mailboxes::{Mailboxes, post};
use crate::{side::InForce, side::Shared};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::link::LinkTable;
use broker_core::cluster::message::{Ending, Held, Parcel, ParcelSent, ReleaseCause, SlotOrder};
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::cluster::types::{Epoch, NodeId, ParcelId};
use broker_core::id::{CallRef, Identity, ShardId, Slot};
use broker_core::limits::{KEPT_PARCEL_BYTES_MAX, PARCEL_BYTES_MAX};
use broker_core::registry::{StoreError, Ticket};
use broker_core::shard::{Letter, NodesAnswer, PageQuestion, ShardOrder, SlotOrders};
use broker_core::{placement::Placement, readiness::Readiness, record::Record, time::Now};
use broker_etcd::{Commands, HostService, Name, News, boottime};
use crossbeam_channel::Sender;
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

#[expect(
    clippy::disallowed_types,
    reason = "held for moments, a few times for each slot that moves: no message waits for it"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// The orders for all shards, and the shards' reports. There is one `Desk` per process.
pub(crate) struct Desk {
    map: Arc<SlotMap>,
    mailboxes: Mailboxes,
    queues: Box<[Mutex<ShardOrders>]>,
    own: Mutex<Own>,
    pub(crate) journal: Journal,
    pub(crate) parcels: OnceLock<Commands>,
    inquiries: Sender<Event>,
}

/// One shard's orders, and the answers to inquiries that calls on this shard started. There are at most a few orders
/// for each slot of this node.
#[derive(Default)]
struct ShardOrders {
    orders: VecDeque<ShardOrder>,
    answers: VecDeque<NodesAnswer>,
    /// Whether the shard has been notified of orders or of a slot map change, and has not finished processing them.
    is_told: bool,
}

struct Own {
    slots: Vec<SlotServing>,
    /// Messages that shards are packing into parcels for other nodes, by slot. A newer parcel for a slot replaces an
    /// older one.
    packing: HashMap<Slot, Packing>,
}

#[derive(Clone, Copy)]
enum SlotServing {
    Not,
    /// The slot is being loaded. Contains the number of shards that have yet to take over their channels in the slot.
    Begins(Epoch, usize),
    /// All shards serve the slot, and the slot map shows this node as its owner.
    All,
}

struct Packing {
    parcel: ParcelId,
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
                slots: vec![SlotServing::Not; SLOTS.into()],
                packing: HashMap::new(),
            }),
            journal,
            parcels: OnceLock::new(),
            inquiries,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn order(&self, shard: usize, order: ShardOrder) {
        self.put(shard, |queue| queue.orders.push_back(order));
    }

    fn order_all(&self, order: SlotOrder, messages: Option<&Arc<[u8]>>) {
        for shard in 0..self.shards() {
            let messages = messages.cloned();
            let order = ShardOrder {
                messages,
                ..order.into()
            };
            self.order(shard, order);
        }
    }

    pub(crate) fn answer(&self, (caller, answer): NodesAnswer) {
        self.put(caller.shard.index(), |queue| {
            queue.answers.push_back((caller, answer));
        });
    }

    /// Makes every shard check the slot map, because a slot whose clients are connected through links may have a new
    /// owner.
    fn wake_shards(&self) {
        for shard in 0..self.shards() {
            self.put(shard, |_| ());
        }
    }

    fn put(&self, shard: usize, put: impl FnOnce(&mut ShardOrders)) {
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

    pub(crate) fn begins(&self, held: Held) {
        let shards = self.shards();
        let mut own = self.own();
        own.packing.remove(&held.slot);
        own.set(held.slot, SlotServing::Begins(held.epoch, shards));
    }

    pub(crate) fn ends(&self, slot: Slot) {
        let mut own = self.own();
        own.set(slot, SlotServing::Not);
        self.map.assign(slot, None);
        self.journal.line("stops", format_args!("{}", slot.0));
    }

    fn packs(&self, slot: Slot, parcel: ParcelId) {
        let missing = self.shards();
        let packing = Packing {
            parcel,
            missing,
            bytes: Vec::new(),
            to: None,
        };
        self.own().packing.insert(slot, packing);
    }

    /// Records a slot's owner. If this node is the owner, the slot map shows this only once all shards serve the slot.
    fn owned_by(&self, slot: Slot, owner: Option<NodeId>, is_given: bool) {
        let own = self.own();
        let is_served = matches!(own.slots.get(slot.index()), Some(SlotServing::All));
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
        // Without this check, a node that loses thousands of slots at once would send more parcels than the cluster
        // thread can queue.
        if bytes.is_empty() && parcel.sent == ParcelSent::Late {
            return;
        }
        if !parcels.parcel(to, parcel, bytes) {
            tracing::warn!(
                slot = slot.0,
                "queued messages of a slot could not be sent: the queue to the node is full"
            );
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        lock(&self.own)
    }
}

impl Own {
    fn set(&mut self, slot: Slot, serving: SlotServing) {
        if let Some(place) = self.slots.get_mut(slot.index()) {
            *place = serving;
        }
    }
}

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
        let Some(SlotServing::Begins(epoch, missing)) = own.slots.get(held.slot.index()).copied()
        else {
            return;
        };
        if epoch != held.epoch {
            return;
        }
        if missing > 1 {
            return own.set(held.slot, SlotServing::Begins(epoch, missing - 1));
        }
        own.set(held.slot, SlotServing::All);
        self.desk.journal.held("serves", held);
        self.desk.map.assign(held.slot, Some(self.desk.map.own()));
        drop(own);
        self.desk.wake_shards();
    }

    fn admitted(&mut self, held: Held) {
        self.desk.journal.held("admits", held);
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

/// Locks a mutex and ignores poisoning. This is sound because no thread panics while it holds the lock, and the
/// contents are always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// Passes orders from the node's thread to the shards, and publishes what that thread learns.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeNews {
    Drain,
    /// The node has stopped. Contains the names of the other nodes that caused this, if any.
    Ended(Ending, Vec<String>),
}

/// Statistics of all shards on this node, possibly a few seconds old.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) waiting: u64,
    pub(crate) links: LinkTable,
}

pub(crate) struct ShardsOfNode {
    pub(crate) desk: Arc<Desk>,
    pub(crate) links: Arc<Links>,
    pub(crate) placement: Placement,
    pub(crate) report: Sender<NodeNews>,
    pub(crate) tallies: Shared<Tallies>,
    pub(crate) in_force: Arc<OnceLock<InForce>>,
    pub(crate) readiness: Readiness,
    /// Channel records of the slots that are being loaded, by shard. Only a few slots are loaded at a time, which
    /// limits the number of records.
    pub(crate) loading: HashMap<Slot, (Held, Vec<Vec<Record>>)>,
    pub(crate) kept: HashMap<ParcelId, Arc<[u8]>>,
    pub(crate) kept_bytes: usize,
}

impl HostService for ShardsOfNode {
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
        self.desk.journal.held("owns", held);
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
        self.discard(parcel);
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
        let mut own = self.desk.own();
        if let Some(packing) = own.packing.get_mut(&parcel.slot)
            && packing.parcel == parcel.id
        {
            packing.to = Some((to, parcel));
            self.desk.send_if_packed(&mut own, parcel.slot);
        }
    }

    fn written(&mut self, ticket: Ticket, result: Result<(), StoreError>) {
        let Ticket { shard, channel } = ticket;
        let letter = Post::Letter(Letter::Committed(channel, result));
        post(&self.desk.mailboxes, shard.index(), letter);
    }

    fn waiting(&self) -> u64 {
        self.tallies.lock().waiting
    }

    fn credentials(&self) -> Option<[u8; 32]> {
        self.in_force.get()?.borrow().files()
    }

    fn links(&self) -> LinkTable {
        self.tallies.lock().links.clone()
    }

    fn learn(&mut self, news: News) {
        match news {
            News::SlotKey(key) => self.desk.map.set_key(&key),
            News::Node {
                node,
                name,
                hosts,
                ports,
            } => {
                self.desk.map.name_node(node, name.as_str().into());
                self.links.put(node, name.as_str(), &hosts, &ports);
            }
            News::Owner {
                slot,
                owner,
                is_given,
            } => self.desk.owned_by(slot, owner, is_given),
            News::Registered(nodes) => self.desk.map.set_nodes(nodes),
            News::KnowsAbsence(knows) => self.desk.map.set_knows_absence(knows),
            News::NearlyFull(full) => self.readiness.set_store_nearly_full(full),
            News::ValidUntil(until) => {
                let journal = &self.desk.journal;
                journal.line("valid", format_args!("{}", until.0));
                self.desk.map.set_valid_until(as_shards_count(until));
            }
        }
    }

    // If the queue is full, the inquiry is dropped. Its sender repeats it, unless it has side effects.
    fn inquired(&mut self, from: Name, number: u64, inquiry: Vec<u8>) {
        let event = Event::Inquired(from, number, inquiry);
        let _ = self.desk.inquiries.try_send(event);
    }

    fn replied(&mut self, from: Name, number: u64, reply: Vec<u8>) {
        let event = Event::Replied(from, number, reply);
        let _ = self.desk.inquiries.try_send(event);
    }

    // Sending fails only if the process is exiting and the receiver is gone.
    fn drain(&mut self) {
        let _ = self.report.send(NodeNews::Drain);
    }

    fn exit(&mut self, ending: Ending, others: Vec<String>) {
        let _ = self.report.send(NodeNews::Ended(ending, others));
    }
}

impl ShardsOfNode {
    fn serve(&mut self, held: Held, parcel: Option<ParcelId>, presence: u64) {
        let messages = parcel.and_then(|parcel| self.take_kept(parcel));
        let loaded = self.loading.remove(&held.slot);
        let Some((_, shards)) = loaded.filter(|(of, _)| *of == held) else {
            return tracing::error!(
                slot = held.slot.0,
                "a slot is not served: its records were not loaded"
            );
        };
        self.desk.map.set_presence(held.slot, presence);
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

    fn release(&mut self, held: Held, cause: ReleaseCause) {
        self.loading.remove(&held.slot);
        match cause {
            // The process drains as it would without a cluster, and serves clients until it exits.
            ReleaseCause::Ends => return,
            ReleaseCause::Superseded(Some(parcel)) => self.desk.packs(held.slot, parcel),
            ReleaseCause::Transferred
            | ReleaseCause::Superseded(None)
            | ReleaseCause::NotLoaded => {
                self.desk.own().packing.remove(&held.slot);
            }
        }
        self.desk.map.set_presence(held.slot, 0);
        self.desk.ends(held.slot);
        self.desk.order_all(SlotOrder::Release(held, cause), None);
    }

    fn take_kept(&mut self, parcel: ParcelId) -> Option<Arc<[u8]>> {
        let messages = self.kept.remove(&parcel)?;
        self.kept_bytes -= messages.len();
        Some(messages)
    }
}

/// Converts a time from the node's clock to the shards' clock, which stops while the machine is suspended.
///
/// A time in the past is converted to 0. The current time would not do: the current loop iteration may have started
/// earlier.
///
/// The shards' clock is read first, so a pause between the two readings can only make the result earlier.
fn as_shards_count(until: Now) -> Now {
    let shards = shards_now();
    match until.since(boottime()) {
        0 => Now(0),
        left_ms => shards.after(left_ms),
    }
}

// Slot journal for tests. Each slot event is appended as a line to the file that an environment variable names. The
// lines of all nodes on a machine show whether two nodes ever admitted clients to a slot at the same time.
//
// ```text
// 81234567 n1/4711 owns 17 230       owns the slot in this epoch, and loads it
// 81234590 n1/4711 serves 17 230     every shard admits clients to it
// 81234601 n1/4711 admits 17 230     a connection to one of its channels
// 81240003 n1/4711 stops 17          no client is admitted from here on
// 81234599 n1/4711 valid 81242599    no client is admitted from this time on, unless a later line extends it
// ```
// Times are milliseconds of the clock that keeps running while the machine is suspended, which all nodes on a machine
// share. Each line is a single write in append mode, so lines from different threads never mix, and no line is lost if
// the process dies.

/// The journal of slot events, one per process. Does nothing unless `HELIOGRAPH_SLOT_JOURNAL` is set.
pub(crate) struct Journal(Option<(File, String)>);

impl Journal {
    /// Opens the journal's file if `HELIOGRAPH_SLOT_JOURNAL` is set. Fails if the file cannot be opened.
    pub(crate) fn open(node: &str) -> Fallible<Self> {
        let Some(path) = std::env::var_os(SLOT_JOURNAL) else {
            return Ok(Self(None));
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| Failure::Fatal(format!("{SLOT_JOURNAL}: {error}")))?;
        let process = format!("{node}/{}", std::process::id());
        Ok(Self(Some((file, process))))
    }

    fn held(&self, what: &str, held: Held) {
        self.line(what, format_args!("{} {}", held.slot.0, held.epoch.0));
    }

    fn line(&self, what: &str, rest: std::fmt::Arguments<'_>) {
        let Some((file, process)) = &self.0 else {
            return;
        };
        let line = format!("{} {process} {what} {rest}\n", boottime().0);
        let mut file = file;
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::error!("{SLOT_JOURNAL}: {error}");
        }
    }
}

const SLOT_JOURNAL: &str = "HELIOGRAPH_SLOT_JOURNAL";
