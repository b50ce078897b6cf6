//! The node: a thread that passes events to the core and carries out the core's outputs.
//!
//! ```text
//!  Handle ── commands ──►┌─ Node ───────────────────────────────────────────────┐
//!  EtcdStore ─ changes ─►│ Core      the rules and their queued inputs          │
//!  Mailbox ──── mail ───►│ Control   leases, the watch, slots ┐                 │──► Service: orders, news
//!  tasks ──── events ───►│ Records   loads, changes           ┴ Connection: etcd│
//!                        │ Post      messages, the hosts of other nodes         │
//!                        └──────────────────────────────────────────────────────┘
//! ```
//! Each input, together with everything that results from it, is processed before the next one. [`DriverNode`] passes
//! an input to the responsible component. Components have private fields. They receive what they need from other
//! components as arguments, and return the remaining work, which only the node carries out.
//!
//! * this file: the components, the data that flows between them, and the reports of tasks;
//! * `handle`: the thread, and the process's handle to it;
//! * `core`: the rules;
//! * `connection`, `control`, `records`: communication with etcd; `capacity`, `orders`: the usage of its database, and
//!   the orders that operators write into it;
//! * `messages`: communication with other nodes;
//! * `news`, `inspection`, `log`: what the node publishes, shows to operators and logs.

mod capacity;
mod connection;
mod control;
mod core;
pub(crate) mod event;
mod handle;
mod inspection;
mod log;
mod messages;
mod news;
mod orders;
mod records;

use crate::directory::{Directory, Keeping, Kept};
use crate::names::{self, Name, shown};
use crate::peers::{PeerMail, Peers};
use crate::schema::{self, OrderWord, ReportValue};
use crate::service::{HostService, Submission};
use crate::system::{now, unix_ms};
use crate::wire::{self, Message};
use crate::{config::NodeConfig, translate::Translator};
use broker_core::cluster;
use broker_core::cluster::limits::{INNER_VERSION, SLOTS, Spans};
use broker_core::cluster::message::{
    Call, Ending, NodeInput, NodeOutput, Parcel, SlotOrder, Transaction,
};
use broker_core::cluster::types::{Key, NodeId, Owner, Revision, Value};
use capacity::Capacity;
use connection::EtcdConnection;
use control::Control;
use core::Core;
use event::{Event, TaskEvents, Which};
use handle::NodeCommand;
pub use handle::{Commands, Driver, Handle, StartError};
pub use inspection::{Inspection, NodeState};
use log::Journal;
use messages::PeerPost;
use news::NewsSoFar;
use orders::Orders;
use records::{BatchOf, LoadOf, Records};
use std::pin::Pin;
use std::sync::Arc;
use tracing::warn;

pub(crate) struct Parts<S, P> {
    pub(crate) config: NodeConfig,
    pub(crate) service: S,
    pub(crate) peers: P,
    translator: Translator,
    pub(crate) directory: Directory,
    pub(crate) kept: Kept,
    pub(crate) seed: u64,
}

pub(crate) struct DriverNode<S, P> {
    core: Core,
    translator: Translator,
    service: S,
    post: PeerPost<P>,
    control: Control,
    records: Records,
    capacity: Capacity,
    orders: Orders,
    keeping: Keeping,
    known: NewsSoFar,
    journal: Journal,
}

impl<S: HostService, P: Peers> DriverNode<S, P> {
    pub(crate) fn new(parts: Parts<S, P>, events: &TaskEvents) -> Self {
        let Parts {
            config,
            mut translator,
            kept,
            seed,
            ..
        } = parts;
        let me = translator.me().clone();
        let node = translator
            .names
            .number(&me)
            .expect("this node is the first in the list");
        let me = Owner {
            node,
            incarnation: kept.incarnation(),
        };
        let settings = cluster::Config {
            me,
            address: names::address(&config.inner.address),
            slots: SLOTS,
            spans: Spans::of_lease(config.lease_ms),
            memory: kept.memory(),
            seed,
        };
        let options = Arc::new(config.etcd);
        let first = usize::try_from(seed % 1_024).unwrap_or(0);
        let connection = |which, first| {
            let options = Arc::clone(&options);
            EtcdConnection::new(which, options, first, events.clone())
        };
        let control = connection(Which::Control, first);
        let records = connection(Which::Records, first + 1);
        Self {
            core: Core::new(settings),
            translator,
            service: parts.service,
            post: PeerPost::new(parts.peers, events.clone()),
            control: Control::new(control, config.lease_ms, &kept),
            records: Records::new(records, me.incarnation),
            capacity: Capacity::new(config.etcd_quota_bytes),
            orders: Orders::default(),
            keeping: Keeping::new(parts.directory, kept, events.clone()),
            known: NewsSoFar::default(),
            journal: Journal::default(),
        }
    }

    fn tick(&mut self) {
        self.core.inputs().tick();
        self.control.look_after(self.core.inputs());
        self.control.connection.connect();
        self.records.connection.connect();
        self.ask_meta();
        self.post.look_up();
        self.capacity.measure(&self.control.connection);
        self.records.expire(self.core.inputs(), &mut self.service);
        self.post.send_parts_again(&mut self.translator);
        self.log();
        self.report();
        let memory = self.core.cluster().memory();
        self.keeping.remember(memory, self.control.meta.id());
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected(which, generation, result) => {
                match which {
                    Which::Control => {
                        self.control.connection.connected(generation, result);
                    }
                    Which::Records => self.records.connected(generation, result),
                }
                self.ask_meta();
            }
            Event::Called(generation, id, told) => {
                let (translator, inputs) = (&mut self.translator, self.core.inputs());
                self.control.told(generation, id, told, translator, inputs);
            }
            Event::Renewal(generation, lease, renewal) => {
                let inputs = self.core.inputs();
                self.control.renewed(generation, lease, renewal, inputs);
            }
            Event::Watched(generation, watch, seen) => {
                let (translator, inputs) = (&mut self.translator, self.core.inputs());
                self.control
                    .watched(generation, watch, seen, translator, inputs);
            }
            Event::Loaded(generation, held, part) => {
                let (inputs, service) = (self.core.inputs(), &mut self.service);
                let load = LoadOf { generation, held };
                self.records
                    .loaded(load, part, &self.translator, inputs, service);
            }
            Event::Written(generation, lane, request, told) => {
                let (inputs, service) = (self.core.inputs(), &mut self.service);
                let batch = BatchOf { generation, lane };
                self.records.written(batch, &request, told, inputs, service);
            }
            Event::Meta(generation, told) => {
                let (translator, inputs) = (&mut self.translator, self.core.inputs());
                if self.control.meta_told(generation, told, translator, inputs) {
                    self.core.start_with_other_history();
                }
            }
            Event::Reported(written) => self.orders.reported(written),
            Event::LookedUp(name, found) => self.post.hosts.answered(&name, found, now()),
            Event::Measured(generation, told) => {
                if let Some(news) = self.capacity.measured(generation, told) {
                    self.service.learn(news);
                }
            }
            Event::Kept(result) => self.keeping.written(result),
        }
    }

    pub(crate) fn mail(&mut self, mail: PeerMail) {
        let (post, translator) = (&mut self.post, &mut self.translator);
        match mail {
            PeerMail::Message(name, bytes) => {
                if let Some((from, message)) = post.read(&name, &bytes, translator) {
                    self.message(from, name, message);
                }
            }
            PeerMail::Asked(name, bytes, reply) => {
                if let Some((from, Message::Seek(asked))) = post.read(&name, &bytes, translator) {
                    let heard = self.core.cluster().heard(from, now());
                    let found = Message::Found(asked, heard);
                    // The caller may have stopped waiting.
                    let _ = reply.send(wire::encode(&found, &translator.names));
                }
            }
            PeerMail::Refused(name) => {
                if let Some(node) = post.unreached(&name, translator) {
                    self.core.inputs().push(NodeInput::Refused(node));
                }
            }
            PeerMail::Unreached(name) => {
                post.unreached(&name, translator);
            }
        }
    }

    fn message(&mut self, from: NodeId, name: Name, message: Message) {
        let inputs = self.core.inputs();
        match message {
            Message::Question(question) => inputs.push(NodeInput::Question(from, question)),
            Message::Answer(answer) => inputs.push(NodeInput::Answer(from, answer)),
            Message::Goodbye(incarnation) => inputs.push(NodeInput::Goodbye(from, incarnation)),
            Message::Found(asked, heard) => inputs.push(NodeInput::Found { from, asked, heard }),
            Message::Receipt(id, taken) => {
                self.post.sending.forget(id);
                inputs.push(NodeInput::ParcelAnswer { from, id, taken });
            }
            Message::Parcel(parcel, bytes) => self.parcel(from, parcel, bytes),
            Message::Part(part) => {
                let parcel = part.parcel;
                if let Some(bytes) = self.post.part(from, part, &self.translator) {
                    self.parcel(from, parcel, bytes);
                }
            }
            Message::PartTaken(id, number) => {
                let translator = &self.translator;
                self.post.part_taken((from, &name), id, number, translator);
            }
            // This query arrives only on a separate connection.
            Message::Seek(_) => {}
            Message::Inquiry(number, bytes) => self.service.inquired(name, number, bytes),
            Message::Reply(number, bytes) => self.service.replied(name, number, bytes),
        }
    }

    fn command(&mut self, command: NodeCommand) {
        let translator = &mut self.translator;
        match command {
            NodeCommand::Drain => self.core.inputs().push(NodeInput::Drain),
            NodeCommand::Rebalance => self.core.inputs().push(NodeInput::Rebalance),
            NodeCommand::Stuck(stuck) => self.core.inputs().stuck = stuck,
            NodeCommand::Parcel(to, parcel, bytes) => {
                self.post.send_parcel(&to, parcel, bytes, translator);
            }
            NodeCommand::Inquiry(of, number, bytes) => {
                let inquiry = Message::Inquiry(number, bytes);
                self.post.send_to(&of, &inquiry, translator);
            }
            NodeCommand::Reply(to, number, bytes) => {
                let reply = Message::Reply(number, bytes);
                self.post.send_to(&to, &reply, translator);
            }
            NodeCommand::Inspect(reply) => {
                // The caller may have given up.
                let _ = reply.send(Inspection::of(
                    &self.core,
                    &self.translator,
                    &self.control,
                    &self.records,
                    &self.capacity,
                ));
            }
        }
    }

    pub(crate) fn submit(&mut self, change: Submission) {
        let (inputs, service) = (self.core.inputs(), &mut self.service);
        let slot_key = self.control.meta.slot_key();
        self.records.submit(change, slot_key, inputs, service);
    }

    /// Passes all queued inputs to the core, and carries out its outputs.
    pub(crate) fn settle(&mut self) {
        self.obey();
        self.core.give_keys(&self.translator.names);
        while self.core.handle_next() {
            while let Some(output) = self.core.poll_output() {
                self.output(output);
            }
        }
        self.records.send(&self.translator);
        self.publish();
    }

    /// Starts shutting down, and refuses all changes that have not completed. The returned future completes once the
    /// last messages have been sent.
    fn close(&mut self) -> Pin<Box<dyn Future<Output = ()>>> {
        self.records.end(&mut self.service);
        self.log();
        self.post.peers.finish()
    }

    /// Reports to the process that the node has ended, unless the handle was dropped.
    pub(crate) fn exit(&mut self) {
        if let Some(ending) = self.core.ending {
            let others = self.others(ending);
            self.service.exit(ending, others);
        }
    }

    /// Returns descriptions of the nodes that made this process exit, for display to operators.
    fn others(&self, ending: Ending) -> Vec<String> {
        match ending {
            Ending::Drained { .. } | Ending::Removed | Ending::Outdated { .. } => {
                return Vec::new();
            }
            Ending::NameTaken => return self.shown([self.core.me().node].into_iter()),
            Ending::Unproven | Ending::OtherVersion { .. } => {}
        }
        let strangers = self.core.cluster().strangers();
        self.shown(strangers.map(|(node, _)| node))
    }

    fn shown(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<String> {
        let shown = nodes.filter_map(|node| {
            let name = self.translator.names.name(node)?;
            let address = self.translator.inner(node);
            let address =
                address.map_or_else(String::new, |inner| format!(" at {}", inner.address));
            Some(format!("{name}{}", shown(&address)))
        });
        shown.collect()
    }

    fn output(&mut self, output: NodeOutput) {
        match output {
            NodeOutput::Etcd(id, Call::Transaction(transaction)) if writes_record(&transaction) => {
                self.records.write(id, &transaction);
            }
            NodeOutput::Etcd(id, call) => {
                let inputs = self.core.inputs();
                self.control.call(id, call, &self.translator, inputs);
            }
            NodeOutput::Ask(to, question) => self.send(to, &Message::Question(question)),
            NodeOutput::Seek(of, asked) => {
                let seek = Message::Seek(asked);
                self.post.ask(of, &seek, &self.translator);
            }
            NodeOutput::Tell(to, answer) => self.send(to, &Message::Answer(answer)),
            NodeOutput::Farewell(to) => {
                let me = self.core.me().incarnation;
                self.send(to, &Message::Goodbye(me));
            }
            NodeOutput::Receipt { to, id, taken } => self.send(to, &Message::Receipt(id, taken)),
            NodeOutput::Send(to, parcel) => {
                if let Some(name) = self.translator.names.name(to) {
                    self.service.send(name.clone(), parcel);
                }
            }
            NodeOutput::Gained(held, gain) => self.journal.gained(held, gain),
            NodeOutput::Load(held) => {
                self.service.load(held);
                let inputs = self.core.inputs();
                self.records.load(held, &self.translator, inputs);
            }
            NodeOutput::Discard(id) => self.service.discard(id),
            NodeOutput::Order(order) => {
                if order == SlotOrder::CloseAll {
                    warn!(
                        "alone: neither etcd nor another node answers, so other nodes may claim the slots; \
                         connections are closed until one of them answers: check the network of this machine"
                    );
                }
                self.journal.order(order, self.core.cluster());
                self.service.order(order);
            }
            NodeOutput::WriteRefused(_, number) => {
                self.records.write_refused(number, &mut self.service);
            }
            NodeOutput::Exit(ending) => self.core.ending = Some(ending),
        }
    }

    fn send(&mut self, to: NodeId, message: &Message) {
        self.post.send(to, message, &self.translator);
    }

    fn parcel(&mut self, from: NodeId, parcel: Parcel, bytes: Vec<u8>) {
        if self.service.keep(parcel.id, bytes) {
            self.core.inputs().push(NodeInput::Parcel(from, parcel));
        } else {
            self.send(from, &Message::Receipt(parcel.id, false));
        }
    }

    /// Reads the meta key from etcd, unless etcd's history contradicts what this node has recorded.
    fn ask_meta(&mut self) {
        if !self.core.cluster().memory().other_history {
            self.control.ask_meta(&self.translator.keys);
        }
    }

    fn obey(&mut self) {
        let lowest = self.translator.lowest;
        if lowest > INNER_VERSION {
            self.core.ending = Some(Ending::Outdated { lowest });
        }
        let Some((revision, order)) = self.translator.order.take() else {
            return;
        };
        let me = self.core.me().incarnation;
        match self.orders.take(revision, &order, me) {
            None => return,
            Some(OrderWord::Drain) => self.service.drain(),
            Some(OrderWord::Rebalance) => self.core.inputs().push(NodeInput::Rebalance),
            Some(OrderWord::Report) => {}
        }
        self.report();
    }

    fn report(&mut self) {
        let Some(order) = self.orders.due() else {
            return;
        };
        let connection = &self.control.connection;
        let (Some(_), Some(lease)) = (connection.up(), self.core.cluster().lease()) else {
            return;
        };
        let key = self.translator.keys.report(self.translator.me());
        let value = schema::write(&self.report_value(order));
        self.orders.write(connection, lease, key, value);
    }

    fn report_value(&self, order: Revision) -> ReportValue {
        let cluster = self.core.cluster();
        let others = self.translator.names.all();
        let reached = others.filter(|(node, _)| cluster.hears(*node, now()));
        let reached = reached.map(|(_, name)| name.as_str().into()).collect();
        ReportValue::new(
            order.0,
            unix_ms(),
            self.service.waiting(),
            reached,
            self.service.credentials(),
            &self.service.links(),
        )
    }

    fn log(&mut self) {
        let (cluster, me) = (self.core.cluster(), self.core.me().node);
        self.journal.write(cluster, me, &self.translator.names);
    }

    /// Publishes everything that has changed since the previous call.
    fn publish(&mut self) {
        let service = &mut self.service;
        self.known.slot_key(self.control.meta.slot_key(), service);
        self.known
            .addresses(&mut self.translator, &mut self.post, service);
        let (cluster, me) = (self.core.cluster(), self.core.me());
        self.known
            .cluster(cluster, me, &self.translator.names, service);
    }
}

fn writes_record(transaction: &Transaction) -> bool {
    let is_record = |(key, _): &(Key, Value)| matches!(key, Key::Record(..));
    transaction.puts.iter().any(is_record)
}
