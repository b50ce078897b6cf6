//! A shard's part in moving slots between nodes: starts and stops serving slots, inserts and drops their channels, and
//! packs and unpacks their messages.
//!
//! ```text
//!             Serve: channels arrive with a parcel's messages        Pause: connections are closed
//!   Absent ──────────────────────────────────────────────► Served ────────────────────────────────► Still
//!     ▲                                                     │  ▲                                       │  │
//!     │          Release: connections are closed            │  │                 Resume                │  │
//!     ├─────────────────────────────────────────────────────┘  └───────────────────────────────────────┘  │
//!     └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//!                                                     Release
//! ```
//! A slot's messages are *packed* once none of its connections has an incomplete or unconfirmed message. By then, any
//! message that its recipient did not receive is pending again, so it moves as well.

use crate::channel::members::Members;
use crate::channel::pending::{KeyName, Message};
use crate::channel::{Life, Towards};
use crate::cluster::message::{Held, Packed, ReleaseCause, SlotOrder};
use crate::event::{Kind, Outcome};
use crate::id::{CallRef, ChannelKey, Identity, Slot};
use crate::limits::{PARCEL_BYTES_MAX, SLOT_LOOK_MS, SLOT_STILL_MS};
use crate::session::web_socket::Role;
use crate::shard::calls::responses::nobody;
use crate::shard::context::Context;
use crate::shard::directory::slots::{ShardOrder, SlotPacking, Stage};
use crate::shard::directory::{ChangeStep, Directory};
use crate::shard::state::State;
use crate::shard::todo::{Each, Todo};
use crate::time::Moment;
use crate::wire;
use crate::{journal::EndReason, record::Record, refusal::Refusal};
use codec::{identifiers::ChannelArn, signal::Action};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::iter::from_fn;
use std::rc::Rc;
use std::sync::Arc;

// Slots that arrive, stay or leave, together with their channels, connections and pending messages.

/// Carries out a slot order, such as serving or releasing a slot.
pub(crate) fn obey(directory: &mut Directory, cx: &mut Context, order: ShardOrder) {
    // If this shard still has channels left over from an earlier time when it served the slot, drop them first.
    if let SlotOrder::Serve(held, ..) = &order.order
        && drop_slot(directory, cx, held.slot)
    {
        return cx.todo.push(Todo::Obey(Box::new(order)));
    }
    let ShardOrder {
        order,
        records,
        messages,
    } = order;
    match order {
        SlotOrder::Serve(held, _, presence) => {
            if let Some(slots) = directory.slots.as_deref_mut() {
                slots.come(held.slot, presence);
            }
            serve(directory, cx, held, records);
            unpack_later(cx, held, messages);
        }
        SlotOrder::Merge(held, _) => unpack_later(cx, held, messages),
        SlotOrder::Pause(held, parcel) => {
            pack_when_still(directory, cx, SlotPacking::new(held, parcel, cx.at.now));
        }
        SlotOrder::Resume(held, packed) => resume(directory, cx, held, packed),
        SlotOrder::Release(held, ReleaseCause::Superseded(Some(parcel))) => {
            let mut packing = SlotPacking::new(held, parcel, cx.at.now);
            packing.releases = true;
            pack_when_still(directory, cx, packing);
        }
        SlotOrder::Release(held, ReleaseCause::Transferred | ReleaseCause::Superseded(None))
        | SlotOrder::Release(held, ReleaseCause::NotLoaded | ReleaseCause::Ends) => {
            drop_slot(directory, cx, held.slot);
        }
        SlotOrder::CloseAll => {
            if let Some(slots) = directory.slots.as_deref_mut() {
                slots.close_all(cx.at.now);
            }
        }
    }
}

fn serve(directory: &mut Directory, cx: &mut Context, held: Held, records: Vec<Record>) {
    let whole = records.len();
    let mut came = 0;
    for record in records {
        // Channels created later must get a later creation time than the arriving ones. The time is capped, because the
        // clock of the node that created them may be far ahead.
        let created = record.created.min(cx.at.wall);
        directory.changes.note_created(created);
        let (identity, holding) = (Identity::of(&record.arn), record.holding());
        (directory.catalog()).ask(|catalog| catalog.holdings.add(identity.tenant(), holding));
        came += usize::from(directory.insert_channel(record, Life::Active).is_some());
    }
    if came < whole {
        let lost = whole - came;
        let text =
            format!("{lost} channels of a slot are not served: the shard's limit is reached");
        cx.telemetry.journal().trouble(cx.at.now, text.into());
    }
    let most = directory.settings().limits.record_bytes_total;
    let exceeded = (directory.catalog()).ask(|catalog| catalog.holdings.exceeded(most));
    if let Some(bytes) = exceeded {
        let text = format!(
            "the channels of this node's slots take {bytes} bytes of memory, and record_bytes_total is {most}: \
             they are served, but no more is taken until it is raised or some are deleted"
        );
        cx.telemetry.journal().trouble(cx.at.now, text.into());
    }
    if let Some(slots) = directory.slots.as_deref_mut() {
        slots.begin(held);
    }
}

fn resume(directory: &mut Directory, cx: &mut Context, held: Held, packed: Packed) {
    let Some(slots) = directory.slots.as_deref_mut() else {
        return;
    };
    slots.stop_packing(held.slot);
    if packed == Packed::Withdrawn {
        for key in slots.channels(held.slot) {
            directory.withdraw(cx, key);
        }
    }
    if let Some(slots) = directory.slots.as_deref_mut() {
        slots.begin(held);
    }
}

/// Closes a slot's connections, and schedules its messages to be packed as soon as no connection has an incomplete
/// message.
fn pack_when_still(directory: &mut Directory, cx: &mut Context, packing: SlotPacking) {
    let Some(slots) = directory.slots.as_deref_mut() else {
        return;
    };
    let slot = packing.held.slot;
    slots.enter(slot, Stage::Still);
    slots.pack(packing);
    cx.todo.each(Each::Still(slots.channels(slot).into_iter()));
}

/// Ends a channel's calls and connections because its slot may move. The master's connection is closed first, so that
/// viewers find the master already there when they reconnect.
pub(crate) fn still_channel(directory: &mut Directory, cx: &mut Context, key: ChannelKey) {
    directory.fail_calls(cx, key, &nobody());
    let live = directory.live(key);
    let Some(members) = live.map(|live| &live.members) else {
        return;
    };
    let all = members.master().into_iter().chain(members.all());
    cx.todo.each(Each::close(all.collect(), EndReason::Drain));
}

/// Packs a slot's messages if the outcome of every message on its connections is known. Otherwise, schedules another
/// check.
pub(crate) fn step_packing(directory: &mut Directory, cx: &mut Context, mut packing: SlotPacking) {
    let slot = packing.held.slot;
    // Connections that are still open, or that have incomplete or unconfirmed messages.
    let busy =
        members_of_slot(directory, slot).flat_map(|members| members.holders().chain(members.all()));
    let busy = Vec::from_iter(busy);
    let is_late = cx.at.now >= packing.until;
    if busy.is_empty() || (is_late && packing.aborted) {
        let messages = pack(directory, slot, cx.at);
        if let Some(slots) = directory.slots.as_deref_mut() {
            (slots.orders).packed(packing.held, packing.parcel, messages);
        }
        if packing.releases {
            drop_slot(directory, cx, slot);
        }
        return;
    }
    if is_late {
        // By the next turn, messages that the aborted connections have not confirmed are pending again.
        packing.aborted = true;
        packing.until = cx.at.now.after(SLOT_STILL_MS / 4);
        cx.todo.each(Each::abort(busy, None));
    }
    let holders = members_of_slot(directory, slot).flat_map(Members::holders);
    cx.todo.each(Each::Ask(Vec::from_iter(holders).into_iter()));
    packing.look = cx.at.now.after(SLOT_LOOK_MS);
    if let Some(slots) = directory.slots.as_deref_mut() {
        slots.pack(packing);
    }
}

fn members_of_slot(directory: &Directory, slot: Slot) -> impl Iterator<Item = &Members> {
    let channels = directory.slots.as_deref().map(|slots| slots.channels(slot));
    let channels = channels.unwrap_or_default().into_iter();
    let live = channels.filter_map(|key| directory.channel(key)?.live());
    live.map(|live| &live.members)
}

/// Drops a slot's channels, along with their connections, calls, changes in progress and pending messages. Returns
/// `false` if the slot has no channels.
fn drop_slot(directory: &mut Directory, cx: &mut Context, slot: Slot) -> bool {
    let Some(slots) = directory.slots.as_deref_mut() else {
        return false;
    };
    slots.stop_packing(slot);
    slots.enter(slot, Stage::Absent);
    let channels = slots.channels(slot);
    let has_channels = !channels.is_empty();
    cx.todo.each(Each::Drop(channels.into_iter()));
    has_channels
}

/// Drops a channel whose slot leaves this node. First answers the callers of its changes, since this shard can no
/// longer learn whether the changes succeeded.
pub(crate) fn drop_channel(directory: &mut Directory, cx: &mut Context, key: ChannelKey) {
    if let Some(mut change) = directory.changes.take_change(key) {
        if let ChangeStep::Replace(record) = &change.step {
            directory.not_replaced(key, record);
        }
        let next = || directory.changes.pop_from(&mut change.waiting);
        let waiting: Vec<CallRef> = from_fn(next).map(|(caller, _)| caller).collect();
        let refusal = Refusal {
            message: MOVED.into(),
            ..nobody()
        };
        for caller in change.caller.into_iter().chain(waiting) {
            cx.todo.answer(caller, refusal.clone());
        }
    }
    directory.end_channel(cx, key, EndReason::Drain);
}

/// Defers the unpacking of a parcel's messages.
fn unpack_later(cx: &mut Context, held: Held, messages: Option<Arc<[u8]>>) {
    if let Some(messages) = messages {
        cx.todo.push(Todo::Unpack(held.slot, messages, 0));
    }
}

const MOVED: &str =
    "Another server has this channel now. Whether the change was made is not known.";

// A *parcel*: a slot's pending messages, encoded for the node to which the slot moves.
//
// Messages appear in the order in which their channel accepted them, each encoded as a [`PackedMessage`] by [`wire`].
// Each shard of the sending node packs its own messages, and the results are concatenated. Each shard of the receiving
// node extracts the messages for its own channels. The sending node counts the messages as withdrawn, the receiving
// node as received. The message that carries the parcel to the other node identifies this format.

/// Packs the pending messages of a slot's channels on this shard. The messages stay here as well until it is known
/// which node will own the slot.
pub(crate) fn pack(directory: &Directory, slot: Slot, at: Moment) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(slots) = directory.slots.as_deref() else {
        return out;
    };
    for channel in slots
        .channels(slot)
        .into_iter()
        .filter_map(|key| directory.channel(key))
    {
        let Some(live) = channel.live() else { continue };
        let mut messages: Vec<_> = live.pending.messages().collect();
        messages.sort_by_key(|(_, _, message)| message.order);
        for (towards, viewer, message) in messages {
            let before = out.len();
            let left_ms = message.expires.since(at.now);
            let packed = PackedMessage {
                towards,
                action: message.action,
                left_ms: u32::try_from(left_ms).unwrap_or(u32::MAX),
                sender_bytes: message.sender_bytes,
                arn: Cow::Borrowed(&channel.record.arn),
                viewer,
                frame: &message.frame,
            };
            out = wire::append(out, &packed);
            if out.len() > PARCEL_BYTES_MAX {
                out.truncate(before);
                return out;
            }
        }
    }
    out
}

/// Unpacks the message at byte offset `from` of a parcel, and defers the rest. If this shard has the message's channel,
/// the message becomes pending, and is delivered if its recipient is connected.
pub(crate) fn unpack(shard: &mut State, slot: Slot, parcel: Arc<[u8]>, from: usize) {
    let State { directory, cx, .. } = shard;
    let bytes = parcel.get(from..).unwrap_or_default();
    if bytes.is_empty() {
        return;
    }
    let Some((packed, rest)) = wire::first::<PackedMessage<'_>>(bytes) else {
        let text = "a parcel of messages ends with unreadable bytes: another version wrote it";
        return cx.telemetry.journal().trouble(cx.at.now, text.into());
    };
    let next = parcel.len() - rest.len();
    keep_packed(directory, cx, slot, packed);
    cx.todo.push(Todo::Unpack(slot, parcel, next));
}

/// Makes a message from a parcel pending, if this shard has its channel.
fn keep_packed(directory: &mut Directory, cx: &mut Context, slot: Slot, packed: PackedMessage<'_>) {
    let identity = Identity::of(&packed.arn);
    if !directory.is_home(&identity, slot) {
        return;
    }
    let kind = Kind::Known(packed.action);
    cx.telemetry.count_received(kind);
    let key = directory.key_of(&identity);
    let found = key.and_then(|key| Some((key, directory.channel(key)?)));
    let found = found.filter(|(_, channel)| channel.record.arn == *packed.arn);
    let found = found.map(|(key, channel)| (key, channel.expiry(cx.at.now)));
    let Some((key, expires)) = found else {
        return cx.telemetry.count_ended(kind, Outcome::Withdrawn);
    };
    let expires = expires.min(cx.at.now.after(packed.left_ms.into()));
    let Some(order) = directory.next_order(key) else {
        return cx.telemetry.count_ended(kind, Outcome::Withdrawn);
    };
    let message = Message {
        action: packed.action,
        expires,
        order,
        sender_bytes: packed.sender_bytes,
        from: None,
        first: true, // the giver has dropped what this message replaced
        frame: packed.frame.into(),
    };
    let viewer: Rc<str> = packed.viewer.into();
    let towards = packed.towards;
    let name = KeyName {
        towards,
        viewer: &viewer,
        caller: None, // the other node's hashes differ
    };
    directory.put_back(cx, key, name, vec![message]);
    let role = match towards {
        Towards::Master => Role::Master,
        Towards::Viewer => Role::Viewer(viewer),
    };
    cx.todo.push(Todo::Deliver(key, role));
    cx.todo.push(Todo::Arm(key));
}

/// A message in a parcel. Cannot be larger than the parcel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PackedMessage<'b> {
    towards: Towards,
    action: Action,
    left_ms: u32,
    sender_bytes: u16,
    arn: Cow<'b, ChannelArn>,
    viewer: &'b str,
    #[serde(serialize_with = "wire::bytes::serialize")]
    frame: &'b [u8],
}

#[cfg(test)]
mod parcel_tests {
    use super::*;
    use proptest::prelude::*;

    type Packed = (bool, usize, (u32, u16, String, Vec<u8>));

    fn packed<'b>(arn: &'b ChannelArn, of: &'b Packed) -> PackedMessage<'b> {
        let (to_viewer, action, (left_ms, sender_bytes, viewer, frame)) = of;
        PackedMessage {
            towards: if *to_viewer {
                Towards::Viewer
            } else {
                Towards::Master
            },
            action: Action::ALL[*action],
            left_ms: *left_ms,
            sender_bytes: *sender_bytes,
            arn: Cow::Borrowed(arn),
            viewer,
            frame,
        }
    }

    proptest! {
        /// A truncated message is ignored. The messages packed before it are still unpacked.
        #[test]
        fn messages_follow_each_other_as_they_were_packed(
            parts in proptest::collection::vec((any::<bool>(), 0..3_usize, any::<(u32, u16, String, Vec<u8>)>()), 1..4),
            foreign in any::<Vec<u8>>(),
        ) {
            let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/17";
            let arn = ChannelArn::parse(arn, true).unwrap();
            let all: Vec<_> = parts.iter().map(|of| packed(&arn, of)).collect();
            let (mut bytes, mut last) = (Vec::new(), 0);
            for message in &all {
                last = bytes.len();
                bytes = wire::append(bytes, message);
            }
            let mut rest = &bytes[..];
            for message in &all {
                let (came, behind) = wire::first::<PackedMessage<'_>>(rest).unwrap();
                prop_assert_eq!(&came, message);
                rest = behind;
            }
            prop_assert!(rest.is_empty());
            for end in last..bytes.len() {
                prop_assert_eq!(wire::first::<PackedMessage<'_>>(&bytes[last..end]), None);
            }
            let _ = wire::first::<PackedMessage<'_>>(&foreign);
        }
    }
}
