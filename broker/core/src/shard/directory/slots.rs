//! The slots of a shard, and what is to be done about them.

use crate::cluster::message::{Held, SlotOrder};
use crate::cluster::slot_maps::{SlotMap, SlotSet};
use crate::cluster::types::{Epoch, ParcelId};
use crate::id::{CallRef, ChannelKey, Identity, Slot};
use crate::limits::{ALONE_CLOSE_MS, CLOSES_PER_TURN};
use crate::shard::{Answer, PageQuestion};
use crate::{record::Record, time::Now};
use codec::identifiers::ChannelArn;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// An order about slots as one shard takes it: with the records and messages that the node around the shards keeps.
#[derive(Debug)]
pub struct ShardOrder {
    /// The order, as the cluster's rules gave it.
    pub order: SlotOrder,
    /// With [`SlotOrder::Serve`] the records of this shard's channels of the slot.
    pub records: Vec<Record>,
    /// With [`SlotOrder::Serve`] and [`SlotOrder::Merge`] the messages of the parcel that is named, if they are kept.
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

/// The answer of all nodes together to the question of a call: once for each that was taken.
pub type NodesAnswer = (CallRef, Box<Answer>);

/// A shard's end of what follows the cluster. Never blocks.
pub trait SlotOrders: Send {
    /// The next order and the next answer, each the oldest. After neither a [`crate::shard::Letter::Slots`] says that
    /// there is one again.
    fn next(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>);

    /// Reports that this shard admits to a slot.
    fn served(&mut self, held: Held);

    /// A connection was admitted to a channel of a slot.
    fn admitted(&mut self, held: Held);

    /// Reports this shard's messages of a parcel.
    fn packed(&mut self, held: Held, parcel: ParcelId, messages: Vec<u8>);

    /// A call wants a page of all nodes' channels: [`Self::next`] has it. False when too many calls want one.
    fn list(&mut self, caller: CallRef, question: PageQuestion) -> bool;

    /// A call wants to know what the other nodes have of an account, `region:account:`: [`Self::next`] has it.
    /// False when too many calls ask.
    fn count(&mut self, caller: CallRef, tenant: &str) -> bool;
}

/// The slots of a shard.
pub(crate) struct DirectorySlots {
    map: Arc<SlotMap>,
    orders: Box<dyn SlotOrders>,
    places: Vec<Place>,
    packing: Vec<SlotPacking>,
    /// Orders wait for the next turn.
    due: bool,
    closing: Option<Closing>,
}

/// One slot.
#[derive(Debug, Default)]
struct Place {
    stage: Stage,
    /// Under which it is served, or was served last.
    epoch: Epoch,
    /// The epoch of its channels' presence.
    presence: u64,
    /// Channels of the slot on this shard.
    channels: Vec<ChannelKey>,
}

/// Whether a slot's channels can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Channels are elsewhere.
    #[default]
    Absent,
    /// Channels are in use.
    Served,
    /// Channels are frozen until it is known whether the slot goes.
    Still,
}

/// Messages that are to be packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotPacking {
    pub(crate) held: Held,
    pub(crate) parcel: ParcelId,
    /// When they are looked at next.
    pub(crate) look: Now,
    /// When connections that have not ended what they began are aborted.
    pub(crate) until: Now,
    pub(crate) aborted: bool,
    /// The slot's channels go afterwards.
    pub(crate) releases: bool,
}

/// All connections are being closed.
#[derive(Clone, Copy, Debug)]
struct Closing {
    began: Now,
    /// Places of the table that were looked at.
    looked: usize,
}

impl DirectorySlots {
    /// No slot is served yet.
    pub(crate) fn new(map: Arc<SlotMap>, orders: Box<dyn SlotOrders>) -> Self {
        let places = (0..crate::cluster::limits::SLOTS).map(|_| Place::default());
        Self {
            map,
            orders,
            places: places.collect(),
            packing: Vec::new(),
            // Orders may have come before the shard was made.
            due: true,
            closing: None,
        }
    }

    /// A channel came into the tables.
    pub(crate) fn channel_came(&mut self, identity: &Identity, key: ChannelKey) {
        if let Some(place) = self.place_of(identity) {
            place.channels.push(key);
        }
    }

    /// A channel is out of the tables.
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

    /// A slot is at this stage from here on.
    pub(crate) fn enter(&mut self, slot: Slot, stage: Stage) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.stage = stage;
        }
    }

    /// The channels of a slot come, with the epoch of their presence.
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

    /// Admits to a slot from here on.
    pub(crate) fn begin(&mut self, held: Held) {
        if let Some(place) = self.places.get_mut(held.slot.index()) {
            place.stage = Stage::Served;
            place.epoch = held.epoch;
        }
        self.orders.served(held);
    }

    /// A call wants a page of all nodes' channels. False when too many do.
    pub(crate) fn list(&mut self, caller: CallRef, question: PageQuestion) -> bool {
        self.orders.list(caller, question)
    }

    /// A call wants to know what the other nodes have of an account. False when too many do.
    pub(crate) fn count(&mut self, caller: CallRef, tenant: &str) -> bool {
        self.orders.count(caller, tenant)
    }

    /// The slots that may be used here at `now`.
    pub(crate) fn served(&self, now: Now) -> SlotSet {
        let mut served = SlotSet::default();
        let places = (0..).map(Slot).zip(&self.places);
        for (slot, _) in places.filter(|(_, place)| place.stage == Stage::Served) {
            served.insert(slot);
        }
        if self.map.is_valid(now) {
            served
        } else {
            SlotSet::default()
        }
    }

    /// Whether a channel that is not in this node's slots does not exist.
    pub(crate) fn knows_absence(&self) -> bool {
        self.map.knows_absence()
    }

    /// The number of nodes that share the account's calls.
    pub(crate) fn nodes(&self) -> u16 {
        self.map.nodes()
    }

    /// The channels of a slot.
    pub(crate) fn channels(&self, slot: Slot) -> Vec<ChannelKey> {
        let place = self.places.get(slot.index());
        place.map_or_else(Vec::new, |place| place.channels.clone())
    }

    /// The number of channels in all slots.
    pub(crate) fn len(&self) -> usize {
        self.places.iter().map(|place| place.channels.len()).sum()
    }

    /// Whether the slot of a name lists this channel.
    pub(crate) fn lists(&self, identity: &Identity, key: ChannelKey) -> bool {
        let place = self.map.slot(identity).map(Slot::index);
        let place = place.and_then(|place| self.places.get(place));
        place.is_some_and(|place| place.channels.contains(&key))
    }
}

impl DirectorySlots {
    /// The next order, and the next answer of all nodes; neither when all that came are carried out.
    pub(crate) fn next_order(&mut self) -> (Option<ShardOrder>, Option<NodesAnswer>) {
        if !self.due {
            return (None, None);
        }
        let (order, answer) = self.orders.next();
        self.due = order.is_some() || answer.is_some();
        (order, answer)
    }

    /// Has the messages of a slot packed, in place of what was to be packed of it before.
    pub(crate) fn pack(&mut self, packing: SlotPacking) {
        self.stop_packing(packing.held.slot);
        self.packing.push(packing);
    }

    /// The messages of a slot are not to be packed any more.
    pub(crate) fn stop_packing(&mut self, slot: Slot) {
        self.packing.retain(|packing| packing.held.slot != slot);
    }

    /// Takes what is to be packed.
    pub(crate) fn take_packing(&mut self) -> Vec<SlotPacking> {
        std::mem::take(&mut self.packing)
    }

    /// Hands over this shard's messages of a parcel.
    pub(crate) fn packed(&mut self, packing: &SlotPacking, messages: Vec<u8>) {
        self.orders.packed(packing.held, packing.parcel, messages);
    }

    /// All connections are to be closed, from `now` on, unless they are already.
    pub(crate) fn close_all(&mut self, now: Now) {
        let (began, looked) = (now, 0);
        self.closing.get_or_insert(Closing { began, looked });
    }

    /// The places of the table of sessions, of `all`, whose connections are to be closed by `now`: a node that is alone
    /// closes all, spread over [`ALONE_CLOSE_MS`], at most [`CLOSES_PER_TURN`] in one turn.
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
    /// Whether the slot of a name may be used here at `now`.
    pub(crate) fn serves(&self, identity: &Identity, now: Now) -> bool {
        let stage = self.map.slot(identity).map(|slot| self.stage(slot));
        stage == Some(Stage::Served) && self.map.is_valid(now)
    }

    /// A connection was admitted to a channel.
    pub(crate) fn admitted(&mut self, arn: &ChannelArn) {
        if let Some(slot) = self.map.slot(&Identity::of(arn))
            && let Some(place) = self.places.get(slot.index())
        {
            let epoch = place.epoch;
            self.orders.admitted(Held { slot, epoch });
        }
    }

    /// Orders have come.
    pub(crate) fn orders_came(&mut self) {
        self.due = true;
    }

    /// When something is due next, in a shard whose table of sessions has this many places.
    pub(crate) fn next_due(&self, sessions: usize) -> Option<Now> {
        let orders = self.due.then_some(Now(0));
        let closing = self.closing.map(|closing| closing.next(sessions));
        let packing = self.packing.iter().map(|packing| packing.look);
        orders.into_iter().chain(closing).chain(packing).min()
    }
}

impl Closing {
    /// When the next connection is to be closed, of a table with this many places.
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
