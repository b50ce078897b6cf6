//! Slots that come, stay and go: what becomes of their channels, connections and kept messages.

use crate::channel::{Channel, Life};
use crate::cluster::message::{Cause, Held, Packed, SlotOrder};
use crate::cluster::types::ParcelId;
use crate::id::{CallRef, ChannelKey, SessionKey, Slot};
use crate::journal::EndReason;
use crate::limits::{SLOT_LOOK_MS, SLOT_STILL_MS};
use crate::record::Record;
use crate::shard::Fault;
use crate::shard::books::Books;
use crate::shard::calls::refusals::nobody;
use crate::shard::directory::Directory;
use crate::shard::directory::changes::{ChangeStep, ChangeUnderWay};
use crate::shard::directory::slots::{Packing, ShardOrder, Stage};
use crate::shard::nodes::slots::parcel;
use crate::shard::todo::each::Each;
use crate::shard::todo::{Todo, TodoList};
use crate::time::Moment;
use std::sync::Arc;

impl Directory {
    /// Carries out an order about a slot.
    pub(crate) fn obey(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        order: ShardOrder,
        at: Moment,
    ) {
        let ShardOrder {
            order,
            records,
            messages,
        } = order;
        match order {
            SlotOrder::Serve(held, _, presence) => {
                // The remainder of an earlier time on this node goes first, if its release is not over.
                if self.drop_slot(todo, held.slot) {
                    let order = ShardOrder {
                        order,
                        records,
                        messages,
                    };
                    return todo.push(Todo::Obey(Box::new(order)));
                }
                if let Some(slots) = self.slots_mut() {
                    slots.come(held.slot, presence);
                }
                self.serve(books, held, records, at);
                unpack(todo, held, messages);
            }
            SlotOrder::Merge(held, _) => unpack(todo, held, messages),
            SlotOrder::Pause(held, parcel) => {
                self.enter(held.slot, Stage::Still);
                self.pack_when_still(todo, (held, parcel), false, at);
            }
            SlotOrder::Resume(held, packed) => self.resume(books, held, packed),
            SlotOrder::Release(held, Cause::Superseded(Some(parcel))) => {
                self.enter(held.slot, Stage::Still);
                self.pack_when_still(todo, (held, parcel), true, at);
            }
            SlotOrder::Release(held, Cause::Transferred | Cause::Superseded(None))
            | SlotOrder::Release(held, Cause::NotLoaded | Cause::Ends) => {
                self.drop_slot(todo, held.slot);
            }
            SlotOrder::CloseAll => {
                if let Some(slots) = self.slots_mut() {
                    slots.close_all(at.now);
                }
            }
        }
    }

    fn serve(&mut self, books: &mut Books, held: Held, records: Vec<Record>, at: Moment) {
        let whole = records.len();
        let mut came = 0;
        for record in records {
            // A new channel is younger than all that were here before; a clock far ahead is not followed.
            let created = record.created.min(at.wall);
            self.note_created(created);
            came += usize::from(self.insert_channel(record, Life::Active).is_some());
        }
        if came < whole {
            let lost = whole - came;
            let text =
                format!("{lost} channels of a slot have no room: this shard has as many as it may");
            books.diary().trouble(at.now, text.into());
        }
        if let Some((bytes, most)) = self.record_bytes_exceeded() {
            let text = format!(
                "the channels of this shard's slots take {bytes} bytes of memory, and {most} are its part of \
                 record_bytes_total: they are served, but no more is taken until it is raised or some are deleted"
            );
            books.diary().trouble(at.now, text.into());
        }
        if let Some(slots) = self.slots_mut() {
            slots.begin(held);
        }
    }

    fn resume(&mut self, books: &mut Books, held: Held, packed: Packed) {
        let Some(slots) = self.slots_mut() else {
            return;
        };
        slots.stop_packing(held.slot);
        if packed == Packed::Withdrawn {
            for key in slots.channels(held.slot) {
                self.withdraw(books, key);
            }
        }
        if let Some(slots) = self.slots_mut() {
            slots.begin(held);
        }
    }

    /// Closes a slot's connections; its messages are packed when none of them has begun one any more.
    fn pack_when_still(
        &mut self,
        todo: &mut TodoList,
        (held, parcel): (Held, ParcelId),
        releases: bool,
        at: Moment,
    ) {
        let Some(slots) = self.slots_mut() else {
            return;
        };
        slots.pack(Packing {
            held,
            parcel,
            look: at.now,
            until: at.now.after(SLOT_STILL_MS),
            aborted: false,
            releases,
        });
        todo.each(Each::Still(slots.channels(held.slot).into_iter()));
    }

    /// The slot of a channel may go: its calls and connections end, the master's first, so that the viewers that come
    /// back find it.
    pub(crate) fn still_channel(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
    ) {
        self.fail_calls(books, todo, key, &nobody());
        let live = self.channel(key).and_then(Channel::live);
        let Some(members) = live.map(|live| &live.members) else {
            return;
        };
        let all = members.master().into_iter().chain(members.all());
        todo.each(Each::close(all.collect(), EndReason::Drain));
    }

    /// Packs the messages of a slot whose connections have ended what they began.
    pub(crate) fn look_at_packing(
        &mut self,
        todo: &mut TodoList,
        mut packing: Packing,
        at: Moment,
    ) {
        let busy = self.busy(packing.held.slot);
        let is_late = at.now >= packing.until;
        if busy.is_empty() || (is_late && packing.aborted) {
            let messages = parcel::pack(self, packing.held.slot, at);
            if let Some(slots) = self.slots_mut() {
                slots.packed(&packing, messages);
            }
            if packing.releases {
                self.drop_slot(todo, packing.held.slot);
            }
            return;
        }
        if is_late {
            // Their unsent messages come back in the next turn.
            packing.aborted = true;
            packing.until = at.now.after(SLOT_STILL_MS / 4);
            todo.each(Each::abort(busy, None));
        }
        packing.look = at.now.after(SLOT_LOOK_MS);
        if let Some(slots) = self.slots_mut() {
            slots.pack(packing);
        }
    }

    /// The connections of a slot that have begun a message and not ended it, and those that are to be closed yet.
    fn busy(&self, slot: Slot) -> Vec<SessionKey> {
        let Some(slots) = self.slots() else {
            return Vec::new();
        };
        let channels = slots.channels(slot).into_iter();
        let live = channels.filter_map(|key| self.channel(key)?.live());
        let members = live.map(|live| &live.members);
        members
            .flat_map(|members| members.holders().chain(members.all()))
            .collect()
    }

    /// The channels of a slot go, and what is left of them: connections, calls, changes under way, kept messages. False
    /// when it has none.
    fn drop_slot(&mut self, todo: &mut TodoList, slot: Slot) -> bool {
        let Some(slots) = self.slots_mut() else {
            return false;
        };
        slots.stop_packing(slot);
        slots.enter(slot, Stage::Absent);
        let channels = slots.channels(slot);
        let has_channels = !channels.is_empty();
        todo.each(Each::Drop(channels.into_iter()));
        has_channels
    }

    /// The slot of a channel goes, and with it the channel.
    pub(crate) fn drop_channel(&mut self, books: &mut Books, todo: &mut TodoList, key: ChannelKey) {
        if let Some(changing) = self.take_change(key) {
            self.answer_change(todo, key, changing);
        }
        let end = (nobody(), EndReason::Drain);
        self.end_channel(books, todo, key, &end);
    }

    /// Answers those who asked for a change whose outcome is not known here any more.
    fn answer_change(&mut self, todo: &mut TodoList, key: ChannelKey, changing: ChangeUnderWay) {
        let ChangeUnderWay {
            caller,
            step,
            mut waiting,
            ..
        } = changing;
        match &step {
            ChangeStep::Create | ChangeStep::Delete => {}
            ChangeStep::Replace(record) => self.not_replaced(key, record),
        }
        let next = || self.next_waiting(&mut waiting);
        let waiting: Vec<CallRef> = std::iter::from_fn(next).map(|(caller, _)| caller).collect();
        let fault = Fault {
            message: MOVED.into(),
            ..nobody()
        };
        for caller in caller.into_iter().chain(waiting) {
            todo.answer(caller, fault.clone());
        }
    }

    fn enter(&mut self, slot: Slot, stage: Stage) {
        if let Some(slots) = self.slots_mut() {
            slots.enter(slot, stage);
        }
    }
}

/// Leaves a parcel's messages to be put into their slot.
fn unpack(todo: &mut TodoList, held: Held, messages: Option<Arc<[u8]>>) {
    if let Some(messages) = messages {
        todo.push(Todo::Unpack(held.slot, messages, 0));
    }
}

const MOVED: &str =
    "Another server has this channel now. Whether the change was made is not known.";
