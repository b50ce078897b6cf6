//! Parcels of pending messages on their way from one node to another.

use crate::driver::{Node, now};
use crate::limits::PARCEL_MESSAGE_BYTES_MAX;
use crate::names::Name;
use crate::order::Service;
use crate::parts::{Arrival, Part};
use crate::peers::Peers;
use crate::wire::Message;
use broker_core::cluster::message::{Input, Parcel};
use broker_core::cluster::types::NodeId;

impl<S: Service, P: Peers> Node<S, P> {
    /// Sends a parcel, in parts if it is long.
    pub(in crate::driver) fn send_parcel(&mut self, to: Name, parcel: Parcel, bytes: Vec<u8>) {
        let name = to.clone();
        let message = if bytes.len() <= PARCEL_MESSAGE_BYTES_MAX {
            Some(Message::Parcel(parcel, bytes))
        } else {
            let first = self.sending.begin(to, parcel, bytes, now());
            first.map(Message::Part)
        };
        if let Some(message) = message {
            self.tell_named(&name, &message);
        }
    }

    /// Sends parts again that were lost.
    pub(in crate::driver) fn send_parts_again(&mut self) {
        for (to, part) in self.sending.again(now()) {
            self.tell_named(&to, &Message::Part(part));
        }
        self.receiving.expire(now());
    }

    /// Another node offers a parcel.
    pub(in crate::driver) fn parcel(&mut self, from: NodeId, parcel: Parcel, bytes: Vec<u8>) {
        if self.service.keep(parcel.id, bytes) {
            self.inputs.push_back(Input::Parcel(from, parcel));
        } else {
            self.tell(from, &Message::Receipt(parcel.id, false));
        }
    }

    /// A part of a parcel came.
    pub(in crate::driver) fn part_came(&mut self, from: NodeId, part: Part) {
        let (parcel, number) = (part.parcel, part.number);
        let taken = Message::PartTaken(parcel.id, number);
        match self.receiving.add(from, part, now()) {
            Arrival::Taken => self.tell(from, &taken),
            Arrival::Whole(bytes) => {
                self.tell(from, &taken);
                self.parcel(from, parcel, bytes);
            }
            Arrival::Strange => {}
            Arrival::Refused => self.tell(from, &Message::Receipt(parcel.id, false)),
        }
    }
}
