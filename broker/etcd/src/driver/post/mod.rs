//! What comes from other nodes.

pub(super) mod hosts;
mod parcels;

use super::{Node, now};
use crate::order::Service;
use crate::peers::{Mail, Peers};
use crate::wire;
use broker_core::cluster::message::Input;
use hosts::is_no_name;

impl<S: Service, P: Peers> Node<S, P> {
    pub(super) fn mail(&mut self, mail: &Mail) {
        let (from, message) = match mail {
            Mail::Message(from, bytes) => (from, wire::decode(bytes, &mut self.translator.names)),
            Mail::Refused(from) | Mail::Unreached(from) => (from, None),
        };
        let Ok(node) = self.translator.names.number(from) else {
            return;
        };
        match mail {
            Mail::Message(..) => {}
            Mail::Refused(_) => {
                let address = self.translator.peers(node).unwrap_or_default();
                if is_no_name(address) {
                    self.inputs.push_back(Input::Refused(node));
                }
                self.doubt_host(node);
            }
            Mail::Unreached(_) => self.doubt_host(node),
        }
        match message {
            None if matches!(mail, Mail::Message(..)) => self.strange.note(node, from),
            None => {}
            Some(wire::Message::Question(question)) => {
                self.inputs.push_back(Input::Question(node, question));
            }
            Some(wire::Message::Answer(answer)) => {
                self.inputs.push_back(Input::Answer(node, answer));
            }
            Some(wire::Message::Goodbye(incarnation)) => {
                self.inputs.push_back(Input::Goodbye(node, incarnation));
            }
            Some(wire::Message::Parcel(parcel, bytes)) => self.parcel(node, parcel, bytes),
            Some(wire::Message::Part(part)) => self.part_came(node, part),
            Some(wire::Message::PartTaken(id, number)) => {
                if let Some(next) = self.sending.taken(from, id, number, now()) {
                    self.tell(node, &wire::Message::Part(next));
                }
            }
            Some(wire::Message::Receipt(id, taken)) => {
                self.sending.forget(id);
                let from = node;
                self.inputs
                    .push_back(Input::ParcelAnswer { from, id, taken });
            }
            Some(wire::Message::Inquiry(number, inquiry)) => {
                self.service.inquired(from.clone(), number, inquiry);
            }
            Some(wire::Message::Reply(number, reply)) => {
                self.service.replied(from.clone(), number, reply);
            }
        }
    }
}
