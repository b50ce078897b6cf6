//! Messages between nodes as bytes.
//!
//! ```text
//!  form (1) | an Envelope, by broker_core::wire
//! ```
//! Nodes have numbers in a process and names everywhere else, so a message has its own list of names. What does not fit
//! is refused as a whole; a message is never read in part.

use crate::names::{Name, Names};
use crate::{limits::MESSAGE_BYTES_MAX, parcels::Part};
use broker_core::cluster::limits::{INNER_VERSION, NODES_MAX};
use broker_core::cluster::message::{Answer, Heard, Parcel, Question};
use broker_core::cluster::types::{Incarnation, NodeId, Owner, ParcelId};
use broker_core::time::Now;
use broker_core::wire::{self, at_most, bytes};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A message of one node to another. A further kind goes at the end: an earlier version takes no notice of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    Question(Question),
    Answer(Answer),
    Goodbye(Incarnation),
    /// A parcel and the pending messages in it.
    Parcel(Parcel, #[serde(with = "bytes")] Vec<u8>),
    Receipt(ParcelId, bool),
    /// A part of a parcel.
    Part(Part),
    /// The part of this number came.
    PartTaken(ParcelId, u16),
    /// Something that the process wants to know of another node's, and its number there.
    Inquiry(u64, #[serde(with = "bytes")] Vec<u8>),
    /// The reply to the inquiry of that number.
    Reply(u64, #[serde(with = "bytes")] Vec<u8>),
    /// The question which process last answered under the name of the node that asks, with the moment by its clock.
    /// Over a connection of its own, as is the reply.
    Seek(Now),
    /// The reply, with that moment.
    Found(Now, Option<Heard>),
}

/// A message whose owners of slots are places in a list of names.
#[derive(Serialize, Deserialize)]
struct WireEnvelope<'m> {
    #[serde(deserialize_with = "at_most::<_, _, _, NODES_MAX>")]
    names: Vec<Name>,
    message: Cow<'m, Message>,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadableMessage {
    /// Another form: the inner version that brought it.
    Form(u8),
    /// Damaged: too long, cut off, or with more nodes than this process can know.
    Damaged,
}

impl fmt::Display for UnreadableMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(other) => write!(
                f,
                "they have the form of inner version {other}, and this program reads that of {FORM}"
            ),
            Self::Damaged => {
                f.write_str("they are damaged, or of a kind that this program does not know")
            }
        }
    }
}

/// The form of messages: the inner version that brought it.
pub(crate) const FORM: u8 = 5;
const _: () = assert!(FORM as u32 <= INNER_VERSION);

/// A message as bytes. `names` are those of this process.
///
/// # Panics
/// An owner has no name there: its number came from there.
pub(crate) fn encode(message: &Message, names: &Names) -> Vec<u8> {
    let envelope = if let Message::Answer(answer) = message {
        with_places(answer.clone(), names)
    } else {
        WireEnvelope {
            names: Vec::new(),
            message: Cow::Borrowed(message),
        }
    };
    wire::append(vec![FORM], &envelope)
}

fn with_places(mut answer: Answer, names: &Names) -> WireEnvelope<'static> {
    let mut listed: Vec<NodeId> = Vec::new();
    for owner in owners(&mut answer) {
        let place = listed.iter().position(|node| *node == owner.node);
        let place = place.unwrap_or_else(|| {
            listed.push(owner.node);
            listed.len() - 1
        });
        owner.node = NodeId(u16::try_from(place).expect("a process knows fewer nodes"));
    }
    let names = listed.iter().map(|node| names.name(*node).cloned());
    let names: Option<Vec<Name>> = names.collect();
    WireEnvelope {
        names: names.expect("a node has its number from these names"),
        message: Cow::Owned(Message::Answer(answer)),
    }
}

/// The message that bytes are.
///
/// # Errors
/// See [`UnreadableMessage`].
pub(crate) fn decode(bytes: &[u8], names: &mut Names) -> Result<Message, UnreadableMessage> {
    let (form, bytes) = bytes.split_first().ok_or(UnreadableMessage::Damaged)?;
    if *form != FORM {
        return Err(UnreadableMessage::Form(*form));
    }
    let envelope = wire::read(bytes, MESSAGE_BYTES_MAX - 1).ok_or(UnreadableMessage::Damaged)?;
    with_numbers(envelope, names).ok_or(UnreadableMessage::Damaged)
}

/// The message, with the numbers that its nodes have in this process.
fn with_numbers(envelope: WireEnvelope<'_>, names: &mut Names) -> Option<Message> {
    let mut message = envelope.message.into_owned();
    if let Message::Answer(answer) = &mut message {
        if !answer.serves.is_sorted_by(|one, next| one.slot < next.slot) {
            return None;
        }
        let listed = envelope.names.iter();
        let numbers: Result<Vec<_>, _> = listed.map(|name| names.number(name)).collect();
        let numbers = numbers.ok()?;
        for owner in owners(answer) {
            owner.node = *numbers.get(owner.node.index())?;
        }
    }
    Some(message)
}

fn owners(answer: &mut Answer) -> impl Iterator<Item = &mut Owner> {
    let records = answer.changes.iter_mut();
    records.filter_map(|(_, record)| record.owner.as_mut())
}

#[cfg(test)]
mod tests;
