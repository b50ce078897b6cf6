//! The slots of a shard, and the work due for them.

use crate::cluster::message::{Held, SlotOrder};
use crate::cluster::slot_maps::SlotMap;
use crate::cluster::types::{Epoch, ParcelId};
use crate::id::{CallRef, ChannelKey, Identity, Slot};
use crate::limits::{ALONE_CLOSE_MS, CLOSES_PER_TURN, SLOT_STILL_MS};
use crate::shard::{Answer, PageQuestion};
use crate::{record::Record, time::Now};
use codec::identifiers::ChannelArn;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A slot order for one shard, with the records and messages supplied by the node.
#[derive(Debug)]
pub struct ShardOrder {
    /// The order, as issued by the cluster's rules.
    pub order: SlotOrder,
    /// For [`SlotOrder::Serve`], the records of the slot's channels on this shard.
    pub records: Vec<Record>,
    /// For [`SlotOrder::Serve`] and [`SlotOrder::Merge`], the messages in the parcel, if available.
    pub messages: Option<Arc<[u8]>>,
}

impl From<SlotOrder> for ShardOrder {
    fn from(order: SlotOrder) -> Self {
        let (records, messages) = (Vec::new(), None);
        Self {
            order,
            records,
            messages,
        }
    }
}

/// The merged answer of all nodes to a call's query. There is one for each query that the node accepted.
pub type NodesAnswer = (CallRef, Box<Answer>);

/// A shard's interface to the cluster follower. Never blocks.
pub trait SlotOrders: Send {
    /// Returns the oldest queued order and the oldest queued answer. After both queues have been emptied, a
    /// [`crate::shard::Letter::Slots`] announces new entries.
    fn next(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>);

    /// Reports that this shard now admits connections to a slot.
    fn served(&mut self, held: Held);

    /// Reports that a connection was admitted to a channel in a slot.
    fn admitted(&mut self, held: Held);

    /// Returns this shard's messages for a parcel.
    fn packed(&mut self, held: Held, parcel: ParcelId, messages: Vec<u8>);

    /// Requests a page of all nodes' channels for a call; the page is returned by [`Self::next`]. Returns `false` if
    /// too many requests are in flight.
    fn list(&mut self, caller: CallRef, question: PageQuestion) -> bool;

    /// Requests the other nodes' holdings of an account, given as `region:account:`, for a call; they are returned by
    /// [`Self::next`]. Returns `false` if too many requests are in flight.
    fn count(&mut self, caller: CallRef, tenant: &str) -> bool;
}

/// State of a shard's slots.
pub(crate) struct DirectorySlots {
    map: Arc<SlotMap>,
    orders: Box<dyn SlotOrders>,
    places: Vec<Place>,
    packing: Vec<SlotPacking>,
    /// Whether orders are waiting for the next turn.
    due: bool,
    closing: Option<Closing>,
}

/// State of one slot.
#[derive(Debug, Default)]
struct Place {
    stage: Stage,
    /// Epoch under which the slot is, or was last, served.
    epoch: Epoch,
    /// The presence epoch of the slot's channels.
    presence: u64,
    /// The slot's channels on this shard.
    channels: Vec<ChannelKey>,
}

/// Whether a slot's channels can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The channels are on another node.
    #[default]
    Absent,
    /// The channels are in use.
    Served,
    /// The channels are frozen until it is known whether the slot will move.
    Still,
}

/// A slot whose pending messages are to be packed into a parcel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotPacking {
    pub(crate) held: Held,
    pub(crate) parcel: ParcelId,
    /// When the messages are next checked.
    pub(crate) look: Now,
    /// When connections with incomplete messages are aborted.
    pub(crate) until: Now,
    pub(crate) aborted: bool,
    /// Whether the slot's channels are released after packing.
    pub(crate) releases: bool,
}

impl SlotPacking {
    /// Begins packing at `now`, without releasing the slot afterwards.
    pub(crate) fn new(held: Held, parcel: ParcelId, now: Now) -> Self {
        Self {
            held,
            parcel,
            look: now,
            until: now.after(SLOT_STILL_MS),
            aborted: false,
            releases: false,
        }
    }
}

/// Progress of closing all connections.
#[derive(Clone, Copy, Debug)]
struct Closing {
    began: Now,
    /// Number of table positions already visited.
    looked: usize,
}

impl DirectorySlots {
    /// Creates the state with no slots served yet.
    pub(crate) fn new(map: Arc<SlotMap>, orders: Box<dyn SlotOrders>) -> Self {
        let places = (0..crate::cluster::limits::SLOTS).map(|_| Place::default());
        Self {
            map,
            orders,
            places: places.collect(),
            packing: Vec::new(),
            // Orders may have arrived before the shard was created.
            due: true,
            closing: None,
        }
    }

    /// Adds a channel to its slot.
    pub(crate) fn channel_came(&mut self, identity: &Identity, key: ChannelKey) {
        if let Some(place) = self.place_of(identity) {
            place.channels.push(key);
        }
    }

    /// Removes a channel from its slot.
    pub(crate) fn channel_went(&mut self, identity: &Identity, key: ChannelKey) {
        if let Some(place) = self.place_of(identity)
            && let Some(found) = place.channels.iter().position(|other| *other == key)
        {
            place.channels.swap_remove(found);
        }
    }

    fn place_of(&mut self, identity: &Identity) -> Option<&mut Place> {
        let slot = self.map.slot(identity)?;
        self.places.get_mut(slot.index())
    }

    fn stage(&self, slot: Slot) -> Stage {
        let place = self.places.get(slot.index());
        place.map_or(Stage::Absent, |place| place.stage)
    }

    /// Moves a slot to the given stage.
    pub(crate) fn enter(&mut self, slot: Slot, stage: Stage) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.stage = stage;
        }
    }

    /// Prepares a slot for the arrival of its channels and sets their presence epoch.
    pub(crate) fn come(&mut self, slot: Slot, presence: u64) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.presence = presence;
        }
    }

    /// See [`crate::shard::directory::Directory::presence_epoch`].
    pub(crate) fn presence_epoch(&self, identity: &Identity) -> Option<(Option<Slot>, u64)> {
        let slot = self.map.slot(identity)?;
        let place = self.places.get(slot.index())?;
        (place.stage != Stage::Absent).then_some((Some(slot), place.presence))
    }

    /// Starts admitting connections to a slot.
    pub(crate) fn begin(&mut self, held: Held) {
        if let Some(place) = self.places.get_mut(held.slot.index()) {
            place.stage = Stage::Served;
            place.epoch = held.epoch;
        }
        self.orders.served(held);
    }

    /// Requests a page of all nodes' channels for a call. Returns `false` if too many requests are in flight.
    pub(crate) fn list(&mut self, caller: CallRef, question: PageQuestion) -> bool {
        self.orders.list(caller, question)
    }

    /// Requests the other nodes' holdings of an account for a call. Returns `false` if too many requests are in flight.
    pub(crate) fn count(&mut self, caller: CallRef, tenant: &str) -> bool {
        self.orders.count(caller, tenant)
    }

    /// Whether a channel that is absent from this node's slots is known not to exist.
    pub(crate) fn knows_absence(&self) -> bool {
        self.map.knows_absence()
    }

    /// Returns the number of nodes that share the account's calls.
    pub(crate) fn nodes(&self) -> u16 {
        self.map.nodes()
    }

    pub(crate) fn channels(&self, slot: Slot) -> Vec<ChannelKey> {
        let place = self.places.get(slot.index());
        place.map_or_else(Vec::new, |place| place.channels.clone())
    }

    /// Returns the total number of channels in all slots.
    pub(crate) fn len(&self) -> usize {
        self.places.iter().map(|place| place.channels.len()).sum()
    }

    /// Whether the channel is listed in the slot for this name.
    pub(crate) fn lists(&self, identity: &Identity, key: ChannelKey) -> bool {
        let place = self.map.slot(identity).map(Slot::index);
        let place = place.and_then(|place| self.places.get(place));
        place.is_some_and(|place| place.channels.contains(&key))
    }
}

impl DirectorySlots {
    /// Returns the next order and the next answer of all nodes; both are `None` once all have been processed.
    pub(crate) fn next_order(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>) {
        if !self.due {
            return (None, None);
        }
        let (order, answer) = self.orders.next();
        self.due = order.is_some() || answer.is_some();
        (order, answer)
    }

    /// Schedules the messages of a slot for packing, replacing any earlier request for the slot.
    pub(crate) fn pack(&mut self, packing: SlotPacking) {
        self.stop_packing(packing.held.slot);
        self.packing.push(packing);
    }

    /// Cancels the packing of a slot's messages.
    pub(crate) fn stop_packing(&mut self, slot: Slot) {
        self.packing.retain(|packing| packing.held.slot != slot);
    }

    /// Takes the slots whose messages are to be packed.
    pub(crate) fn take_packing(&mut self) -> Vec<SlotPacking> {
        std::mem::take(&mut self.packing)
    }

    /// Returns this shard's messages for a parcel.
    pub(crate) fn packed(&mut self, packing: &SlotPacking, messages: Vec<u8>) {
        self.orders.packed(packing.held, packing.parcel, messages);
    }

    /// Starts closing all connections at `now`, unless already in progress.
    pub(crate) fn close_all(&mut self, now: Now) {
        let (began, looked) = (now, 0);
        self.closing.get_or_insert(Closing { began, looked });
    }

    /// Returns the positions in the session table, of size `all`, whose connections must be closed by `now`: an
    /// isolated node closes all of its connections, spread over [`ALONE_CLOSE_MS`], at most [`CLOSES_PER_TURN`] per
    /// turn.
    pub(crate) fn places_to_close(&mut self, all: usize, now: Now) -> Range<usize> {
        let Some(mut closing) = self.closing else {
            return 0..0;
        };
        let passed = now.since(closing.began).min(ALONE_CLOSE_MS);
        let wanted = all as u64 * passed / ALONE_CLOSE_MS;
        let wanted = usize::try_from(wanted).unwrap_or(all);
        let places = closing.looked..wanted.min(closing.looked + CLOSES_PER_TURN);
        closing.looked = places.end.max(closing.looked);
        let is_over = passed >= ALONE_CLOSE_MS && places.end >= wanted;
        self.closing = (!is_over).then_some(closing);
        places
    }
}

impl DirectorySlots {
    /// Whether this node may use the slot for this name at `now`.
    pub(crate) fn serves(&self, identity: &Identity, now: Now) -> bool {
        let stage = self.map.slot(identity).map(|slot| self.stage(slot));
        stage == Some(Stage::Served) && self.map.is_valid(now)
    }

    /// Reports that a connection was admitted to a channel.
    pub(crate) fn admitted(&mut self, arn: &ChannelArn) {
        if let Some(slot) = self.map.slot(&Identity::of(arn))
            && let Some(place) = self.places.get(slot.index())
        {
            let epoch = place.epoch;
            self.orders.admitted(Held { slot, epoch });
        }
    }

    /// Records that orders have arrived.
    pub(crate) fn orders_came(&mut self) {
        self.due = true;
    }

    /// Returns when the next work is due, given a session table of this size.
    pub(crate) fn next_due(&self, sessions: usize) -> Option<Now> {
        let orders = self.due.then_some(Now(0));
        let closing = self.closing.map(|closing| closing.next(sessions));
        let packing = self.packing.iter().map(|packing| packing.look);
        orders.into_iter().chain(closing).chain(packing).min()
    }
}

impl Closing {
    /// Returns when the next connection must be closed, given a session table of this size.
    fn next(&self, sessions: usize) -> Now {
        let slots = sessions.max(1) as u64;
        let looked = self.looked as u64 + 1;
        let passed = (ALONE_CLOSE_MS * looked).div_ceil(slots);
        self.began.after(passed.min(ALONE_CLOSE_MS))
    }
}

impl fmt::Debug for DirectorySlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("packing", &self.packing)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}
