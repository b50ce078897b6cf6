//! The kept messages of a slot as bytes, on their way to the node that gets it.
//!
//! They follow each other in the order of their channel's acceptance, each a [`PackedMessage`] by [`wire`]. Each shard
//! of the giver packs its own, and the parts follow each other; each shard of the receiver takes its own out. What the
//! giver counts as withdrawn, the receiver counts as received. The message between nodes that brings a parcel says
//! which form this is.

use crate::channel::Towards;
use crate::channel::pending::{KeyName, Message};
use crate::event::{Kind, Outcome};
use crate::id::{Identity, Slot};
use crate::limits::PARCEL_BYTES_MAX;
use crate::session::web_socket::Role;
use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::todo::{Todo, TodoList};
use crate::time::{Moment, Now};
use crate::wire;
use codec::identifiers::ChannelArn;
use codec::signal::Action;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

/// The messages of this shard's channels of a slot. They stay here as well, until it is known who has the slot.
pub(crate) fn pack(directory: &Directory, slot: Slot, at: Moment) -> Vec<u8> {
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

impl Directory {
    /// Takes in the message of a parcel that begins at this byte, if it is for a channel of this shard: it is kept, and
    /// delivered if its recipient is here. The others follow when that is done.
    pub(crate) fn unpack(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        (slot, parcel, from): (Slot, Arc<[u8]>, usize),
        at: Moment,
    ) {
        let bytes = parcel.get(from..).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        let Some((packed, rest)) = wire::first::<PackedMessage<'_>>(bytes) else {
            let text = "a parcel of kept messages ends in what is none: another version wrote it";
            return books.diary().trouble(at.now, text.into());
        };
        let next = parcel.len() - rest.len();
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
        let found = found.filter(|(_, channel)| channel.record.arn == *packed.arn);
        let found = found.map(|(key, channel)| (key, channel.expiry(at.now)));
        let Some((key, expires)) = found else {
            return books.count_ended(kind, Outcome::Withdrawn);
        };
        let expires = expires.min(at.now.after(packed.left_ms.into()));
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

/// A message of a parcel. The parcel's length bounds it.
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

#[cfg(test)]
mod tests {

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
        /// And one that is cut off is none: what was packed before it came first.
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
