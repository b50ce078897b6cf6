//! The kept messages of a slot as bytes, on their way to the node that gets it.
//!
//! ```text
//!  for each message, in its channel's order of acceptance:
//!  format (1) | direction (1) | action (1) | time left, ms (4) | length of the sender's id (2) |
//!  ARN: length (2), text | viewer's id: length (2), text | frame: length (4), bytes
//! ```
//! Numbers: the least significant byte first. Each shard of the giver packs its own, and the parts follow each other;
//! each shard of the receiver takes its own out. What the giver counts as withdrawn, the receiver counts as received.

use crate::channel::{KeyName, Message, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{Identity, Slot};
use crate::limits::PARCEL_BYTES_MAX;
use crate::session::Role;
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::todo::{Todo, TodoList};
use crate::time::{Moment, Now};
use codec::aws::ChannelArn;
use codec::signal::Action;
use std::rc::Rc;
use std::sync::Arc;

/// The messages of this shard's channels of a slot. They stay here as well, until it is known who has the slot.
pub(super) fn pack(directory: &Directory, slot: Slot, at: Moment) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(slots) = directory.slots() else {
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
            put(
                &mut out,
                &channel.record.arn,
                (towards, &**viewer),
                message,
                at,
            );
            if out.len() > PARCEL_BYTES_MAX {
                out.truncate(before);
                return out;
            }
        }
    }
    out
}

fn put(
    out: &mut Vec<u8>,
    arn: &ChannelArn,
    (towards, viewer): (Towards, &str),
    message: &Message,
    at: Moment,
) {
    let left = message.expires.since(at.now);
    out.push(FORMAT);
    out.push(u8::from(towards == Towards::Viewer));
    out.push(u8::try_from(message.action.index()).unwrap_or(u8::MAX));
    out.extend(u32::try_from(left).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(message.sender_bytes.to_le_bytes());
    put_text(out, arn.as_str());
    put_text(out, viewer);
    let length = u32::try_from(message.frame.len()).unwrap_or(u32::MAX);
    out.extend(length.to_le_bytes());
    out.extend(&message.frame);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(length.to_le_bytes());
    out.extend(text.as_bytes());
}

impl Directory {
    /// Takes in the message of a parcel that begins at this byte, if it is for a channel of this shard: it is kept, and
    /// delivered if its recipient is here. The others follow when that is done.
    pub(in crate::shard) fn unpack(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        (slot, parcel, from): (Slot, Arc<[u8]>, usize),
        at: Moment,
    ) {
        let mut rest = Rest(parcel.get(from..).unwrap_or_default());
        if rest.0.is_empty() {
            return;
        }
        let Some(packed) = rest.message() else {
            let text = "a parcel of kept messages ends in what is none: another version wrote it";
            return books.diary().trouble(at.now, text.into());
        };
        let next = parcel.len() - rest.0.len();
        let identity = Identity::of(&packed.arn);
        if self.is_home(&identity, slot) {
            self.keep_packed(books, todo, &identity, packed, at);
        }
        todo.push(Todo::Unpack(slot, parcel, next));
    }

    fn keep_packed(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        identity: &Identity,
        packed: PackedMessage<'_>,
        at: Moment,
    ) {
        let kind = Kind::Known(packed.action);
        books.count_received(kind);
        let key = self.key_of(identity);
        let found = key.and_then(|key| Some((key, self.channel(key)?)));
        let found = found.filter(|(_, channel)| channel.record.arn == packed.arn);
        let found = found.map(|(key, channel)| (key, channel.expiry(at.now)));
        let Some((key, expires)) = found else {
            return books.count_ended(kind, Outcome::Withdrawn);
        };
        let expires = expires.min(at.now.after(packed.left_ms));
        let Some(order) = self.next_order(key) else {
            return books.count_ended(kind, Outcome::Withdrawn);
        };
        let message = packed.message(order, expires);
        let viewer: Rc<str> = packed.viewer.into();
        let towards = packed.towards;
        let name = KeyName {
            towards,
            viewer: &viewer,
            caller: None, // the other node had another hash for it
        };
        self.put_back(books, key, name, vec![message], at);
        let role = match towards {
            Towards::Master => Role::Master,
            Towards::Viewer => Role::Viewer(viewer),
        };
        todo.push(Todo::Deliver(key, role));
        todo.push(Todo::Arm(key));
    }
}

/// A message of a parcel.
struct PackedMessage<'b> {
    towards: Towards,
    action: Action,
    left_ms: u64,
    sender_bytes: u16,
    arn: ChannelArn,
    viewer: &'b str,
    frame: &'b [u8],
}

impl PackedMessage<'_> {
    fn message(&self, order: u64, expires: Now) -> Message {
        Message {
            action: self.action,
            expires,
            order,
            sender_bytes: self.sender_bytes,
            frame: self.frame.into(),
        }
    }
}

/// The remainder that is still to be read.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    /// The next message; `None` at the end, or before what is none, where the rest stays.
    fn message(&mut self) -> Option<PackedMessage<'b>> {
        let mut rest = Self(self.0);
        let message = rest.read()?;
        self.0 = rest.0;
        Some(message)
    }

    fn read(&mut self) -> Option<PackedMessage<'b>> {
        let [format, direction, action] = self.array()?;
        let towards = match (format, direction) {
            (FORMAT, 0) => Towards::Master,
            (FORMAT, 1) => Towards::Viewer,
            (_, _) => return None,
        };
        let action = *Action::ALL.get(usize::from(action))?;
        let left_ms = u32::from_le_bytes(self.array()?).into();
        let sender_bytes = u16::from_le_bytes(self.array()?);
        let arn = ChannelArn::parse(self.text()?, false).ok()?;
        let viewer = self.text()?;
        let length = u32::from_le_bytes(self.array()?);
        let frame = self.take(usize::try_from(length).ok()?)?;
        Some(PackedMessage {
            towards,
            action,
            left_ms,
            sender_bytes,
            arn,
            viewer,
            frame,
        })
    }

    fn take(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(length.into())?).ok()
    }
}

const FORMAT: u8 = 1;
