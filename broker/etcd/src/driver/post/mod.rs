//! Messages to other nodes, and from them.

pub(crate) mod hosts;
mod parcels;

use crate::driver::event::{Event, Events, Resolved};
use crate::driver::log::trouble::Strange;
use crate::names::Name;
use crate::peers::{Mail, Peers, Reply};
use crate::schema::translate::Translator;
use crate::system::now;
use crate::wire::{self, Message};
use broker_core::cluster::message::{Input, Parcel};
use broker_core::cluster::types::NodeId;
use broker_core::time::Now;
use hosts::{Hosts, is_no_name};
use parcels::Parcels;
use std::net::SocketAddr;
use std::pin::Pin;

/// The carrier of messages, and what has to be known to use it.
pub(crate) struct Post<P> {
    peers: P,
    hosts: Hosts,
    parcels: Parcels,
    strange: Strange,
    events: Events,
}

/// The work that remains after a piece of mail came.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// An input of the rules.
    Input(Input),
    /// A parcel that a node offers, with its messages.
    Parcel(NodeId, Parcel, Vec<u8>),
    /// A node asks at this moment of its clock which process last answered under its name.
    Seek(NodeId, Now, Reply),
    /// The process of a node asks this one.
    Inquiry(Name, u64, Vec<u8>),
    /// The reply to an inquiry of this process.
    Reply(Name, u64, Vec<u8>),
}

impl<P: Peers> Post<P> {
    pub(crate) fn new(peers: P, events: Events) -> Self {
        Self {
            peers,
            hosts: Hosts::default(),
            parcels: Parcels::default(),
            strange: Strange::default(),
            events,
        }
    }

    /// Sends a message to a node, if it has a name.
    pub(crate) fn send(&mut self, to: NodeId, message: &Message, translator: &Translator) {
        let Some(name) = translator.names.name(to) else {
            return;
        };
        let bytes = wire::encode(message, &translator.names);
        let at = translator.peers(to).map(|address| self.hosts.at(address));
        self.peers.send(name, &at.unwrap_or_default(), bytes);
    }

    /// Asks a node for one message.
    pub(crate) fn ask(&mut self, of: NodeId, message: &Message, translator: &Translator) {
        let (Some(name), Some(address)) = (translator.names.name(of), translator.peers(of)) else {
            return;
        };
        let bytes = wire::encode(message, &translator.names);
        self.peers.ask(name, &self.hosts.at(address), bytes);
    }

    /// Sends a message to a node of this name.
    pub(crate) fn send_to(&mut self, to: &Name, message: &Message, translator: &mut Translator) {
        if let Ok(node) = translator.names.number(to) {
            self.send(node, message, translator);
        }
    }

    /// Sends a parcel, in parts if it is long.
    pub(crate) fn send_parcel(
        &mut self,
        to: &Name,
        parcel: Parcel,
        bytes: Vec<u8>,
        translator: &mut Translator,
    ) {
        if let Some(message) = self.parcels.begin(to, parcel, bytes) {
            self.send_to(to, &message, translator);
        }
    }

    /// Sends parts of parcels again that were lost.
    pub(crate) fn send_parts_again(&mut self, translator: &mut Translator) {
        for (to, part) in self.parcels.again() {
            self.send_to(&to, &part, translator);
        }
    }

    /// Sends nothing from now on; ends when what was sent has left, or is lost.
    pub(crate) fn finish(&mut self) -> Pin<Box<dyn Future<Output = ()>>> {
        self.peers.finish()
    }

    /// The message of a node, and its number. One that cannot be read is noted.
    fn read(
        &mut self,
        from: &Name,
        bytes: &[u8],
        translator: &mut Translator,
    ) -> Option<(NodeId, Message)> {
        let node = translator.names.number(from).ok()?;
        match wire::decode(bytes, &mut translator.names) {
            Ok(message) => Some((node, message)),
            Err(why) => {
                self.strange.note(node, from, why);
                None
            }
        }
    }

    /// Takes mail. Nothing remains to be done about parts of parcels, nor about what cannot be read.
    pub(crate) fn receive(&mut self, mail: Mail, translator: &mut Translator) -> Option<Delivery> {
        match mail {
            Mail::Message(from, bytes) => {
                let (node, message) = self.read(&from, &bytes, translator)?;
                self.message(node, &from, message, translator)
            }
            Mail::Asked(from, bytes, reply) => match self.read(&from, &bytes, translator)? {
                (node, Message::Seek(asked)) => Some(Delivery::Seek(node, asked, reply)),
                _ => None,
            },
            Mail::Refused(from) => {
                let node = translator.names.number(&from).ok()?;
                let address = translator.peers(node).unwrap_or_default();
                let is_down = is_no_name(address);
                self.doubt_host(node, translator);
                is_down.then_some(Delivery::Input(Input::Refused(node)))
            }
            Mail::Unreached(from) => {
                let node = translator.names.number(&from).ok()?;
                self.doubt_host(node, translator);
                None
            }
        }
    }

    fn message(
        &mut self,
        node: NodeId,
        from: &Name,
        message: Message,
        translator: &Translator,
    ) -> Option<Delivery> {
        Some(match message {
            Message::Question(question) => Delivery::Input(Input::Question(node, question)),
            Message::Answer(answer) => Delivery::Input(Input::Answer(node, answer)),
            Message::Goodbye(incarnation) => Delivery::Input(Input::Goodbye(node, incarnation)),
            Message::Parcel(parcel, bytes) => Delivery::Parcel(node, parcel, bytes),
            Message::Part(part) => {
                let parcel = part.parcel;
                let (answer, whole) = self.parcels.arrived(node, part);
                if let Some(answer) = answer {
                    self.send(node, &answer, translator);
                }
                Delivery::Parcel(node, parcel, whole?)
            }
            Message::PartTaken(id, number) => {
                if let Some(next) = self.parcels.taken(from, id, number) {
                    self.send(node, &next, translator);
                }
                return None;
            }
            Message::Receipt(id, taken) => {
                self.parcels.forget(id);
                let from = node;
                Delivery::Input(Input::ParcelAnswer { from, id, taken })
            }
            Message::Found(asked, heard) => {
                let from = node;
                Delivery::Input(Input::Found { from, asked, heard })
            }
            // It comes over a connection of its own.
            Message::Seek(_) => return None,
            Message::Inquiry(number, inquiry) => Delivery::Inquiry(from.clone(), number, inquiry),
            Message::Reply(number, reply) => Delivery::Reply(from.clone(), number, reply),
        })
    }

    /// The addresses of a host and port; none if its name was not found so far.
    pub(crate) fn addresses(&self, of: &str) -> Vec<SocketAddr> {
        self.hosts.at(of)
    }

    /// Learns the hosts that the roster has. Returns whether the addresses of a node have changed since the last call.
    pub(crate) fn follow(&mut self, translator: &mut Translator) -> bool {
        let has_moved = translator.take_moved();
        if has_moved {
            self.hosts.know(translator.of_others());
        }
        self.hosts.take_changed() || has_moved
    }

    /// Looks up names that are due, on threads of the runtime.
    pub(crate) fn look_up(&mut self) {
        for name in self.hosts.due(now()) {
            self.events.spawn(async move {
                let found = tokio::net::lookup_host((&*name, 0)).await;
                let found = found.map(|found| found.map(|at| at.ip()).collect());
                let found = found.map_err(|error| error.to_string().into());
                Event::LookedUp(name, found)
            });
        }
    }

    /// A look-up has ended.
    pub(crate) fn looked_up(&mut self, name: &str, found: Resolved) {
        self.hosts.answered(name, found, now());
    }

    /// A connection to a node did not come about.
    fn doubt_host(&mut self, node: NodeId, translator: &Translator) {
        let inner = translator.inner(node).map(|inner| &*inner.address);
        for address in inner.into_iter().chain(translator.peers(node)) {
            self.hosts.doubt(address);
        }
    }
}
