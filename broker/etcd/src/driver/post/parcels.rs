//! Parcels of pending messages as messages between nodes: whole, or in parts if they are long.

use crate::limits::PARCEL_MESSAGE_BYTES_MAX;
use crate::names::Name;
use crate::parts::{Arrival, Part, Receiving, Sending};
use crate::system::now;
use crate::wire::Message;
use broker_core::cluster::message::Parcel;
use broker_core::cluster::types::{NodeId, ParcelId};

/// Parcels whose parts are under way, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    sending: Sending,
    receiving: Receiving,
}

impl Parcels {
    /// The message with which a parcel begins; nothing if too many are being sent.
    pub(crate) fn begin(&mut self, to: &Name, parcel: Parcel, bytes: Vec<u8>) -> Option<Message> {
        if bytes.len() <= PARCEL_MESSAGE_BYTES_MAX {
            return Some(Message::Parcel(parcel, bytes));
        }
        let first = self.sending.begin(to.clone(), parcel, bytes, now());
        first.map(Message::Part)
    }

    /// A node has a part: the next one, if there is any.
    pub(crate) fn taken(&mut self, from: &Name, id: ParcelId, number: u16) -> Option<Message> {
        let next = self.sending.taken(from, id, number, now());
        next.map(Message::Part)
    }

    /// A node has said what becomes of a parcel.
    pub(crate) fn forget(&mut self, id: ParcelId) {
        self.sending.forget(id);
    }

    /// The parts that were lost. Parcels that have not gone on for long are dropped, in both directions.
    pub(crate) fn again(&mut self) -> Vec<(Name, Message)> {
        let again = self.sending.again(now()).into_iter();
        let again = again.map(|(to, part)| (to, Message::Part(part)));
        self.receiving.expire(now());
        again.collect()
    }

    /// A part of a parcel came. Returns the answer to it, if it gets one, and the parcel's bytes if that was the last.
    pub(crate) fn arrived(
        &mut self,
        from: NodeId,
        part: Part,
    ) -> (Option<Message>, Option<Vec<u8>>) {
        let (id, number) = (part.parcel.id, part.number);
        let taken = Message::PartTaken(id, number);
        match self.receiving.add(from, part, now()) {
            Arrival::Taken => (Some(taken), None),
            Arrival::Whole(bytes) => (Some(taken), Some(bytes)),
            Arrival::Strange => (None, None),
            Arrival::Refused => (Some(Message::Receipt(id, false)), None),
        }
    }
}
