//! Messages between nodes as bytes.
//!
//! ```text
//!  version (1) | kind (1) | fields        numbers: the least significant byte first
//!  answer: … | names: count (2), each length (1) and UTF-8 | changes, whose owners name a node by its place there
//! ```
//! Nodes have numbers in a process and names everywhere else, so a message has its own list of names. What does not fit
//! is refused as a whole; a message is never read in part.

use crate::limits::MESSAGE_BYTES_MAX;
use crate::names::{Name, Names};
use crate::parts::Part;
use broker_core::cluster::limits::{NODES_MAX, SLOTS};
use broker_core::cluster::message::{Answer, Held, Parcel, ParcelSent, Question};
use broker_core::cluster::types::{
    Incarnation, NodeId, Owner, ParcelId, Revision, Slot, SlotRecord,
};
use broker_core::time::Now;

/// A message of one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Question(Question),
    Answer(Answer),
    Goodbye(Incarnation),
    /// A parcel and the pending messages in it.
    Parcel(Parcel, Vec<u8>),
    Receipt(ParcelId, bool),
    /// A part of a parcel.
    Part(Part),
    /// The part of this number came.
    PartTaken(ParcelId, u16),
    /// Something that the process wants to know of another node's, and its number there.
    Inquiry(u64, Vec<u8>),
    /// The reply to the inquiry of that number.
    Reply(u64, Vec<u8>),
}

const VERSION: u8 = 1;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
const GOODBYE: u8 = 3;
const PARCEL: u8 = 4;
const RECEIPT: u8 = 5;
// A node of a version without these takes no notice of them.
const INQUIRY: u8 = 6;
const REPLY: u8 = 7;
const PART: u8 = 8;
const PART_TAKEN: u8 = 9;

/// A message as bytes. `names` are those of this process; an owner without a name cannot be: it came from there.
pub(crate) fn encode(message: &Message, names: &Names) -> Vec<u8> {
    let mut out = vec![VERSION];
    match message {
        Message::Question(question) => {
            out.push(QUESTION);
            put_u64(&mut out, question.asked.0);
            put_u64(&mut out, question.complete.0);
        }
        Message::Answer(answer) => {
            out.push(ANSWER);
            put_answer(&mut out, answer, names);
        }
        Message::Goodbye(incarnation) => {
            out.push(GOODBYE);
            put_incarnation(&mut out, *incarnation);
        }
        Message::Parcel(parcel, bytes) => {
            out.push(PARCEL);
            put_parcel(&mut out, parcel);
            out.extend_from_slice(bytes);
        }
        Message::Part(part) => {
            out.push(PART);
            put_parcel(&mut out, &part.parcel);
            put_u16(&mut out, part.number);
            put_u16(&mut out, part.count);
            out.extend_from_slice(&part.bytes);
        }
        Message::PartTaken(id, number) => {
            out.push(PART_TAKEN);
            put_parcel_id(&mut out, *id);
            put_u16(&mut out, *number);
        }
        Message::Receipt(id, taken) => {
            out.push(RECEIPT);
            put_parcel_id(&mut out, *id);
            out.push(u8::from(*taken));
        }
        Message::Inquiry(number, bytes) => put_numbered(&mut out, INQUIRY, *number, bytes),
        Message::Reply(number, bytes) => put_numbered(&mut out, REPLY, *number, bytes),
    }
    out
}

/// The message that bytes are; nothing if they are none, or name more nodes than this process can know.
pub(crate) fn decode(bytes: &[u8], names: &mut Names) -> Option<Message> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let mut rest = Rest(bytes);
    if rest.u8()? != VERSION {
        return None;
    }
    let message = match rest.u8()? {
        QUESTION => Message::Question(Question {
            asked: Now(rest.u64()?),
            complete: Revision(rest.u64()?),
        }),
        ANSWER => Message::Answer(rest.answer(names)?),
        GOODBYE => Message::Goodbye(rest.incarnation()?),
        PARCEL => {
            let parcel = rest.parcel()?;
            Message::Parcel(parcel, std::mem::take(&mut rest.0).to_vec())
        }
        PART => Message::Part(Part {
            parcel: rest.parcel()?,
            number: rest.u16()?,
            count: rest.u16()?,
            bytes: std::mem::take(&mut rest.0).to_vec(),
        }),
        PART_TAKEN => Message::PartTaken(rest.parcel_id()?, rest.u16()?),
        RECEIPT => Message::Receipt(rest.parcel_id()?, rest.flag()?),
        INQUIRY => Message::Inquiry(rest.u64()?, std::mem::take(&mut rest.0).to_vec()),
        REPLY => Message::Reply(rest.u64()?, std::mem::take(&mut rest.0).to_vec()),
        _ => return None,
    };
    rest.0.is_empty().then_some(message)
}

fn put_answer(out: &mut Vec<u8>, answer: &Answer, names: &Names) {
    put_u64(out, answer.asked.0);
    put_incarnation(out, answer.incarnation);
    out.push(u8::from(answer.has_etcd));
    out.push(u8::from(answer.stopping));
    put_u64(out, answer.newest.0);
    put_count(out, answer.serves.len());
    for held in &*answer.serves {
        put_u16(out, held.slot.0);
        put_u64(out, held.epoch.0);
    }
    let mut listed: Vec<NodeId> = Vec::new();
    let owners = answer.changes.iter().filter_map(|(_, record)| record.owner);
    for owner in owners {
        if !listed.contains(&owner.node) {
            listed.push(owner.node);
        }
    }
    put_count(out, listed.len());
    for node in &listed {
        let name = names.name(*node).map_or("", Name::as_str);
        out.push(u8::try_from(name.len()).expect("a name has at most 63 bytes"));
        out.extend_from_slice(name.as_bytes());
    }
    put_count(out, answer.changes.len());
    for (slot, record) in &answer.changes {
        put_u16(out, slot.0);
        put_u64(out, record.epoch.0);
        out.push(u8::from(record.owner.is_some()) | u8::from(record.parcel.is_some()) << 1);
        if let Some(owner) = record.owner {
            let place = listed.iter().position(|node| *node == owner.node);
            put_count(out, place.expect("all owners are listed"));
            put_incarnation(out, owner.incarnation);
        }
        if let Some(parcel) = record.parcel {
            put_parcel_id(out, parcel);
        }
    }
}

fn put_parcel(out: &mut Vec<u8>, parcel: &Parcel) {
    put_parcel_id(out, parcel.id);
    put_u16(out, parcel.slot.0);
    put_u64(out, parcel.epoch.0);
    out.push(u8::from(parcel.sent == ParcelSent::Late));
}

fn put_numbered(out: &mut Vec<u8>, kind: u8, number: u64, bytes: &[u8]) {
    out.push(kind);
    put_u64(out, number);
    out.extend_from_slice(bytes);
}

fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u16(
        out,
        u16::try_from(count).expect("at most one for each slot"),
    );
}

fn put_incarnation(out: &mut Vec<u8>, incarnation: Incarnation) {
    put_u32(out, incarnation.directory);
    put_u32(out, incarnation.start);
}

fn put_parcel_id(out: &mut Vec<u8>, id: ParcelId) {
    put_incarnation(out, id.giver);
    put_u32(out, id.number);
}

/// The bytes that are still to be read.
struct Rest<'b>(&'b [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn slot(&mut self) -> Option<Slot> {
        self.u16().filter(|number| *number < SLOTS).map(Slot)
    }

    fn incarnation(&mut self) -> Option<Incarnation> {
        Some(Incarnation {
            directory: self.u32()?,
            start: self.u32()?,
        })
    }

    fn parcel_id(&mut self) -> Option<ParcelId> {
        Some(ParcelId {
            giver: self.incarnation()?,
            number: self.u32()?,
        })
    }

    fn parcel(&mut self) -> Option<Parcel> {
        Some(Parcel {
            id: self.parcel_id()?,
            slot: self.slot()?,
            epoch: Revision(self.u64()?),
            sent: if self.flag()? {
                ParcelSent::Late
            } else {
                ParcelSent::Ahead
            },
        })
    }

    fn text(&mut self) -> Option<&str> {
        let len = usize::from(self.u8()?);
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(taken).ok()
    }

    /// A count of at most `max`.
    fn count(&mut self, max: usize) -> Option<usize> {
        self.u16().map(usize::from).filter(|count| *count <= max)
    }

    fn answer(&mut self, names: &mut Names) -> Option<Answer> {
        let asked = Now(self.u64()?);
        let incarnation = self.incarnation()?;
        let (has_etcd, stopping) = (self.flag()?, self.flag()?);
        let newest = Revision(self.u64()?);
        let serves: Option<Vec<Held>> = (0..self.count(SLOTS.into())?)
            .map(|_| {
                let slot = self.slot()?;
                let epoch = Revision(self.u64()?);
                Some(Held { slot, epoch })
            })
            .collect();
        let serves = serves?;
        if !serves.is_sorted_by(|one, next| one.slot < next.slot) {
            return None;
        }
        let listed: Option<Vec<NodeId>> = (0..self.count(NODES_MAX)?)
            .map(|_| names.number(&Name::new(self.text()?)?).ok())
            .collect();
        let listed = listed?;
        let changes: Option<Vec<(Slot, SlotRecord)>> = (0..self.count(SLOTS.into())?)
            .map(|_| self.change(&listed))
            .collect();
        Some(Answer {
            asked,
            incarnation,
            has_etcd,
            stopping,
            serves: serves.into(),
            changes: changes?,
            newest,
        })
    }

    fn change(&mut self, listed: &[NodeId]) -> Option<(Slot, SlotRecord)> {
        let slot = self.slot()?;
        let epoch = Revision(self.u64()?);
        let has = self.u8().filter(|has| *has < 4)?;
        let owner = match has & 1 {
            0 => None,
            _ => Some(Owner {
                node: *listed.get(usize::from(self.u16()?))?,
                incarnation: self.incarnation()?,
            }),
        };
        let parcel = match has & 2 {
            0 => None,
            _ => Some(self.parcel_id()?),
        };
        let record = SlotRecord {
            epoch,
            owner,
            parcel,
        };
        Some((slot, record))
    }
}

#[cfg(test)]
mod tests;
