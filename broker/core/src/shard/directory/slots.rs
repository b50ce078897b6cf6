//! The slots that a shard serves, and how it carries out the node's orders to serve, pause and release them.

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

/// A slot order for a shard to carry out, with the records and messages that it needs.
#[derive(Debug)]
pub struct ShardOrder {
    /// The order issued by the cluster's rules.
    pub order: SlotOrder,
    /// For [`SlotOrder::Serve`], the records of the slot's channels on this shard.
    pub records: Vec<Record>,
    /// For [`SlotOrder::Serve`] and [`SlotOrder::Merge`], the pending messages sent by the slot's former owner, if
    /// available.
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

/// The call that is waiting for a query to all nodes, and the answer merged from the nodes' answers. Every accepted
/// query gets exactly one merged answer.
pub type NodesAnswer = (CallRef, Box<Answer>);

/// Connects a shard to the part of the process that carries out the cluster's decisions. Methods never block.
pub trait SlotOrders: Send {
    /// Returns the oldest queued order and the oldest queued answer. After the two queues have become empty, a
    /// [`crate::shard::Letter::Slots`] announces the next entry.
    fn next(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>);

    /// Reports that this shard now admits connections to a slot's channels.
    fn served(&mut self, held: Held);

    /// Reports that a connection was admitted to a channel in a slot.
    fn admitted(&mut self, held: Held);

    /// Hands over this shard's pending messages for a slot. They become part of the parcel that is sent to the slot's
    /// next owner.
    fn packed(&mut self, held: Held, parcel: ParcelId, messages: Vec<u8>);

    /// Requests a page of all nodes' channels on behalf of a call. [`Self::next`] returns the page later. Returns
    /// `false` if too many requests are in flight.
    fn list(&mut self, caller: CallRef, question: PageQuestion) -> bool;

    /// Requests the number and total size of an account's channels on the other nodes on behalf of a call. `tenant` has
    /// the form `region:account:`. [`Self::next`] returns the result later. Returns `false` if too many requests are in
    /// flight.
    fn count(&mut self, caller: CallRef, tenant: &str) -> bool;
}

/// The state of all slots on a shard.
pub(crate) struct DirectorySlots {
    pub(crate) map: Arc<SlotMap>,
    pub(crate) orders: Box<dyn SlotOrders>,
    places: Vec<Place>,
    /// The slots whose messages are to be packed.
    pub(crate) packing: Vec<SlotPacking>,
    /// Whether to check for orders and answers in the event loop's next turn.
    pub(crate) due: bool,
    closing: Option<Closing>,
}

/// State of one slot.
#[derive(Debug, Default)]
struct Place {
    stage: Stage,
    /// The epoch in which the slot is being served, or was most recently served.
    epoch: Epoch,
    /// Presence epoch of the slot's channels.
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
    /// The channels can be used on this node.
    Served,
    /// The channels cannot be used until it is known whether the slot will move.
    Still,
}

/// A slot whose pending messages are to be packed into a parcel for another node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotPacking {
    pub(crate) held: Held,
    pub(crate) parcel: ParcelId,
    /// When to check again whether the messages can be packed.
    pub(crate) look: Now,
    /// When to abort connections that still have incomplete messages.
    pub(crate) until: Now,
    pub(crate) aborted: bool,
    /// Whether to drop the slot's channels once their messages have been packed.
    pub(crate) releases: bool,
}

impl SlotPacking {
    /// Creates an entry that starts at `now` and keeps the slot's channels after packing.
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

/// Progress of closing all of the shard's connections.
#[derive(Clone, Copy, Debug)]
struct Closing {
    began: Now,
    /// Number of session table positions visited so far.
    looked: usize,
}

impl DirectorySlots {
    /// Creates the state in which no slot is served yet.
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

    fn place(&self, identity: &Identity) -> Option<&Place> {
        self.places.get(self.map.slot(identity)?.index())
    }

    /// Sets a slot's stage.
    pub(crate) fn enter(&mut self, slot: Slot, stage: Stage) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.stage = stage;
        }
    }

    /// Sets the presence epoch of a slot whose channels are about to be inserted.
    pub(crate) fn come(&mut self, slot: Slot, presence: u64) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.presence = presence;
        }
    }

    /// Returns a channel's slot and presence epoch. See [`crate::shard::directory::Directory::presence_epoch`].
    pub(crate) fn presence_epoch(&self, identity: &Identity) -> Option<(Option<Slot>, u64)> {
        let slot = self.map.slot(identity)?;
        let place = self.places.get(slot.index())?;
        (place.stage != Stage::Absent).then_some((Some(slot), place.presence))
    }

    /// Starts to admit connections to a slot's channels.
    pub(crate) fn begin(&mut self, held: Held) {
        if let Some(place) = self.places.get_mut(held.slot.index()) {
            place.stage = Stage::Served;
            place.epoch = held.epoch;
        }
        self.orders.served(held);
    }

    pub(crate) fn channels(&self, slot: Slot) -> Vec<ChannelKey> {
        let place = self.places.get(slot.index());
        place.map_or_else(Vec::new, |place| place.channels.clone())
    }

    /// Returns the total number of channels in all slots.
    pub(crate) fn len(&self) -> usize {
        self.places.iter().map(|place| place.channels.len()).sum()
    }

    /// Returns whether the slot to which this name belongs contains the channel.
    pub(crate) fn lists(&self, identity: &Identity, key: ChannelKey) -> bool {
        let place = self.place(identity);
        place.is_some_and(|place| place.channels.contains(&key))
    }
}

impl DirectorySlots {
    /// Returns the next order and the next merged answer, if any.
    pub(crate) fn next_order(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>) {
        if !self.due {
            return (None, None);
        }
        let (order, answer) = self.orders.next();
        self.due = order.is_some() || answer.is_some();
        (order, answer)
    }

    /// Schedules the packing of a slot's messages. Replaces an earlier request for the same slot.
    pub(crate) fn pack(&mut self, packing: SlotPacking) {
        self.stop_packing(packing.held.slot);
        self.packing.push(packing);
    }

    /// Cancels the packing of a slot's messages.
    pub(crate) fn stop_packing(&mut self, slot: Slot) {
        self.packing.retain(|packing| packing.held.slot != slot);
    }

    /// Starts to close all connections at `now`, unless this is already in progress.
    pub(crate) fn close_all(&mut self, now: Now) {
        let (began, looked) = (now, 0);
        self.closing.get_or_insert(Closing { began, looked });
    }

    /// Returns the table positions of the sessions to close by `now`. `all` is the size of the session table. An
    /// isolated node closes all of its connections within [`ALONE_CLOSE_MS`], and at most [`CLOSES_PER_TURN`] per turn.
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
    /// Returns whether this node may use the channel with this name at `now`.
    pub(crate) fn serves(&self, identity: &Identity, now: Now) -> bool {
        let place = self.place(identity);
        place.is_some_and(|place| place.stage == Stage::Served) && self.map.is_valid(now)
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

    /// Returns when the next work is due. `sessions` is the size of the session table.
    pub(crate) fn next_due(&self, sessions: usize) -> Option<Now> {
        let orders = self.due.then_some(Now(0));
        let closing = self.closing.map(|closing| closing.next(sessions));
        let packing = self.packing.iter().map(|packing| packing.look);
        orders.into_iter().chain(closing).chain(packing).min()
    }
}

impl Closing {
    /// Returns when the next connection is due to be closed. `sessions` is the size of the session table.
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
