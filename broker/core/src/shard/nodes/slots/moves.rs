//! Slots that come, stay and go: what becomes of their channels, connections and kept messages.

use super::{Closing, Packing, SlotOrder, Stage, parcel};
use crate::channel::{Channel, Life};
use crate::cluster::message::{Cause, Held, Packed};
use crate::cluster::types::ParcelId;
use crate::id::{CallRef, ChannelKey, Slot};
use crate::journal::EndReason;
use crate::limits::{ALONE_CLOSE_MS, SLOT_LOOK_MS, SLOT_ORDERS_PER_TURN, SLOT_STILL_MS};
use crate::record::Record;
use crate::shard::Fault;
use crate::shard::books::Books;
use crate::shard::calls::alexa;
use crate::shard::changes::{ChangeStep, ChangeUnderWay, commits};
use crate::shard::directory::Directory;
use crate::shard::end::leave;
use crate::shard::nodes::tunnel;
use crate::shard::road::kept;
use crate::shard::sockets::Sockets;
use crate::time::Moment;

/// Carries out what is due about slots: some orders, connections of a node that is alone, messages to be packed.
pub(in crate::shard) fn work(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    at: Moment,
) {
    if directory.slots.is_none() {
        return;
    }
    for _ in 0..SLOT_ORDERS_PER_TURN {
        let Some(slots) = directory.slots.as_mut().filter(|slots| slots.due) else {
            break;
        };
        match slots.orders.next() {
            Some(order) => obey(sockets, directory, books, order, at),
            None => slots.due = false,
        }
    }
    close_more(sockets, directory, books, at);
    look_at_packing(sockets, directory, books, at);
}

fn obey(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    order: SlotOrder,
    at: Moment,
) {
    match order {
        SlotOrder::Serve(held, records, messages) => {
            serve(sockets, directory, books, held, records, at);
            if let Some(messages) = messages {
                parcel::unpack(sockets, directory, books, held.slot, &messages, at);
            }
        }
        SlotOrder::Merge(held, messages) => {
            parcel::unpack(sockets, directory, books, held.slot, &messages, at);
        }
        SlotOrder::Pause(held, parcel) => {
            directory.enter(held.slot, Stage::Still);
            pack_when_still(sockets, directory, books, (held, parcel), false, at);
        }
        SlotOrder::Resume(held, packed) => resume(directory, books, held, packed),
        SlotOrder::Release(held, Cause::Superseded(Some(parcel))) => {
            directory.enter(held.slot, Stage::Still);
            pack_when_still(sockets, directory, books, (held, parcel), true, at);
        }
        SlotOrder::Release(held, Cause::Transferred | Cause::Superseded(None))
        | SlotOrder::Release(held, Cause::NotLoaded | Cause::Ends) => {
            drop_slot(sockets, directory, books, held.slot, at);
        }
        SlotOrder::Answered(caller, answer) => {
            sockets.send_answer(caller, *answer);
        }
        SlotOrder::CloseAll => {
            if let Some(slots) = &mut directory.slots {
                let (began, looked) = (at.now, 0);
                slots.closing.get_or_insert(Closing { began, looked });
            }
        }
    }
}

fn serve(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    held: Held,
    records: Vec<Record>,
    at: Moment,
) {
    // What is left of an earlier time, if its end has not come to an end.
    drop_slot(sockets, directory, books, held.slot, at);
    let whole = records.len();
    let mut came = 0;
    for record in records {
        // A new channel is younger than all that were here before; a clock far ahead is not followed.
        let created = record.created.min(at.wall);
        directory.changes.last_created = directory.changes.last_created.max(created);
        came += usize::from(directory.insert_channel(record, Life::Active).is_some());
    }
    if came < whole {
        let lost = whole - came;
        let text =
            format!("{lost} channels of a slot have no room: this shard has as many as it may");
        books.diary.trouble(at.now, text.into());
    }
    if let Some((bytes, most)) = directory.holdings.exceeded() {
        let text = format!(
            "the channels of this shard's slots take {bytes} bytes of memory, and {most} are its part of \
             record_bytes_total: they are served, but no more is taken until it is raised or some are deleted"
        );
        books.diary.trouble(at.now, text.into());
    }
    if let Some(slots) = &mut directory.slots {
        slots.begin(held);
    }
}

fn resume(directory: &mut Directory, books: &mut Books, held: Held, packed: Packed) {
    let Some(slots) = &mut directory.slots else {
        return;
    };
    slots
        .packing
        .retain(|packing| packing.held.slot != held.slot);
    if packed == Packed::Withdrawn {
        for key in slots.channels(held.slot) {
            kept::withdraw(directory, books, key);
        }
    }
    if let Some(slots) = &mut directory.slots {
        slots.begin(held);
    }
}

/// Closes a slot's connections; its messages are packed when none of them has begun one any more.
fn pack_when_still(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    (held, parcel): (Held, ParcelId),
    releases: bool,
    at: Moment,
) {
    let Some(slots) = &mut directory.slots else {
        return;
    };
    slots
        .packing
        .retain(|packing| packing.held.slot != held.slot);
    slots.packing.push(Packing {
        held,
        parcel,
        look: at.now,
        until: at.now.after(SLOT_STILL_MS),
        aborted: false,
        releases,
    });
    for key in slots.channels(held.slot) {
        alexa::fail_calls(sockets, directory, books, key, &tunnel::nobody());
        close_connections(sockets, directory, books, key, at);
    }
}

/// The master first, so that the viewers that come back find it.
fn close_connections(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    at: Moment,
) {
    let live = directory.channels.get(key).and_then(Channel::live);
    let Some(members) = live.map(|live| &live.members) else {
        return;
    };
    let others = members.all();
    for session in members.master().into_iter().chain(others) {
        leave::close_web_socket(sockets, directory, books, session, EndReason::Drain, at);
    }
}

/// Packs the messages of slots whose connections have ended what they began.
fn look_at_packing(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    at: Moment,
) {
    let Some(slots) = directory
        .slots
        .as_mut()
        .filter(|slots| !slots.packing.is_empty())
    else {
        return;
    };
    for mut packing in std::mem::take(&mut slots.packing) {
        let busy = holders(directory, packing.held.slot);
        let is_late = at.now >= packing.until;
        if busy.is_empty() || (is_late && packing.aborted) {
            let messages = parcel::pack(directory, packing.held.slot, at);
            if let Some(slots) = &mut directory.slots {
                slots.orders.packed(packing.held, packing.parcel, messages);
            }
            if packing.releases {
                drop_slot(sockets, directory, books, packing.held.slot, at);
            }
            continue;
        }
        if is_late {
            // What comes back of them comes in the next turn.
            packing.aborted = true;
            packing.until = at.now.after(SLOT_STILL_MS / 4);
            for session in busy {
                leave::abort(sockets, directory, books, session, at);
            }
        }
        packing.look = at.now.after(SLOT_LOOK_MS);
        if let Some(slots) = &mut directory.slots {
            slots.packing.push(packing);
        }
    }
}

/// The connections of a slot that have begun a message and not ended it.
fn holders(directory: &Directory, slot: Slot) -> Vec<crate::id::SessionKey> {
    let Some(slots) = &directory.slots else {
        return Vec::new();
    };
    let channels = slots.channels(slot).into_iter();
    let live = channels.filter_map(|key| directory.channels.get(key)?.live());
    live.flat_map(|live| live.members.holders()).collect()
}

/// The channels of a slot go, and what is left of them: connections, calls, changes under way, kept messages.
fn drop_slot(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    slot: Slot,
    at: Moment,
) {
    let Some(slots) = &mut directory.slots else {
        return;
    };
    slots.packing.retain(|packing| packing.held.slot != slot);
    slots.enter(slot, Stage::Absent);
    for key in slots.channels(slot) {
        if let Some(changing) = directory.changes.take(key) {
            answer_change(sockets, directory, key, changing);
        }
        let end = (tunnel::nobody(), EndReason::Drain);
        commits::end_channel(sockets, directory, books, key, &end, at);
    }
}

/// Answers those who asked for a change whose outcome is not known here any more.
fn answer_change(
    sockets: &mut Sockets,
    directory: &mut Directory,
    key: ChannelKey,
    changing: ChangeUnderWay,
) {
    let ChangeUnderWay {
        caller,
        step,
        mut waiting,
        ..
    } = changing;
    match &step {
        ChangeStep::Create => {}
        ChangeStep::Replace(record) => directory.not_replaced(key, record),
        ChangeStep::Delete => directory.changes.deleting -= 1,
    }
    let next = || directory.changes.next_waiting(&mut waiting);
    let waiting: Vec<CallRef> = std::iter::from_fn(next).map(|(caller, _)| caller).collect();
    let fault = Fault {
        message: MOVED.into(),
        ..tunnel::nobody()
    };
    for caller in caller.into_iter().chain(waiting) {
        sockets.send_answer(caller, fault.clone().into());
    }
}

/// Closes as many connections of a node that is alone as the time that has passed wants.
fn close_more(sockets: &mut Sockets, directory: &mut Directory, books: &mut Books, at: Moment) {
    let Some(mut closing) = directory.slots.as_ref().and_then(|slots| slots.closing) else {
        return;
    };
    let all = sockets.sessions.slots();
    let passed = at.now.since(closing.began).min(ALONE_CLOSE_MS);
    let wanted = all as u64 * passed / ALONE_CLOSE_MS;
    let wanted = usize::try_from(wanted).unwrap_or(all);
    for number in closing.looked..wanted {
        if let Some(key) = sockets.sessions.at(number) {
            leave::close_web_socket(sockets, directory, books, key, EndReason::Drain, at);
        }
    }
    closing.looked = wanted.max(closing.looked);
    if let Some(slots) = &mut directory.slots {
        slots.closing = (passed < ALONE_CLOSE_MS).then_some(closing);
    }
}

impl Directory {
    fn enter(&mut self, slot: Slot, stage: Stage) {
        if let Some(slots) = &mut self.slots {
            slots.enter(slot, stage);
        }
    }
}

const MOVED: &str =
    "Another server has this channel now. Whether the change was made is not known.";
