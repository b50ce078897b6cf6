//! The encoding of messages between nodes.
//!
//! ```text
//!  form (1) | a WireEnvelope, by broker_core::wire
//! ```
//! Nodes have numbers within a process and names everywhere else, so each message contains its own list of names. A
//! malformed message is rejected as a whole, without decoding any part of it.

use crate::names::{Name, Names};
use crate::{limits::MESSAGE_BYTES_MAX, parcels::Part};
use broker_core::cluster::limits::{INNER_VERSION, NODES_MAX};
use broker_core::cluster::message::{Answer, Heard, Parcel, Question};
use broker_core::cluster::types::{Incarnation, NodeId, Owner, ParcelId};
use broker_core::time::Now;
use broker_core::wire::{self, at_most, bytes};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use thiserror::Error;

/// A message between nodes. New kinds may be appended, since earlier versions ignore unknown kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    Question(Question),
    Answer(Answer),
    Goodbye(Incarnation),
    Parcel(Parcel, #[serde(with = "bytes")] Vec<u8>),
    Receipt(ParcelId, bool),
    Part(Part),
    /// Acknowledges the part with this number.
    PartTaken(ParcelId, u16),
    /// A query from one node's process to another's. The sending process assigned the number.
    Inquiry(u64, #[serde(with = "bytes")] Vec<u8>),
    Reply(u64, #[serde(with = "bytes")] Vec<u8>),
    /// Asks which process last answered under the sender's name. Sent over a separate connection. Contains the time by
    /// the sender's clock.
    Seek(Now),
    /// The reply to `Seek`, with the time from the query.
    Found(Now, Option<Heard>),
}

/// The encoded form of a message. Owners of slots are represented by indices into a list of names.
#[derive(Serialize, Deserialize)]
struct WireEnvelope<'m> {
    #[serde(deserialize_with = "at_most::<_, _, _, NODES_MAX>")]
    names: Vec<Name>,
    message: Cow<'m, Message>,
}

/// The reason why bytes cannot be decoded as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum UnreadableMessage {
    /// The message is in an unsupported format, identified by the inner version (inter-node protocol version) that
    /// introduced it.
    #[error("they have the form of inner version {0}, and this program reads that of {FORM}")]
    Form(u8),
    /// The message is too long, truncated, or mentions more nodes than this process can hold.
    #[error("they are malformed, or of an unknown kind")]
    Damaged,
}

/// The current message format, identified by the inner version (inter-node protocol version) that introduced it.
pub(crate) const FORM: u8 = 5;
const _: () = assert!(FORM as u32 <= INNER_VERSION);

/// Encodes a message with the `names` of this process.
///
/// # Panics
/// Panics if an owner has no name in `names`. This cannot happen, since `names` assigns the numbers of owners.
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

pub(crate) fn decode(bytes: &[u8], names: &mut Names) -> Result<Message, UnreadableMessage> {
    let (form, bytes) = bytes.split_first().ok_or(UnreadableMessage::Damaged)?;
    if *form != FORM {
        return Err(UnreadableMessage::Form(*form));
    }
    let envelope = wire::read(bytes, MESSAGE_BYTES_MAX - 1).ok_or(UnreadableMessage::Damaged)?;
    with_numbers(envelope, names).ok_or(UnreadableMessage::Damaged)
}

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
